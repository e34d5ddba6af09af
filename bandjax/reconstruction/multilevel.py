"""A preconditioner for Newton steps of smooth fields: local matrices on the grid and on coarser and coarser ones, added up.

H = (local matrices of the data) + Σ δᵀ w δ. Where the data say nothing (holes, bands that cross), only the prior holds a field, and what it
holds least is smooth: conjugate gradients with the local matrices of the pixels alone need hundreds of steps there. M = Σ_l P_l D_l⁻¹ P_lᵀ
adds the same on grids of every 2^l-th pixel, with P_l the interpolation by cubic B-splines (of finite second derivatives, as this prior
wants) and D_l about the local matrices of P_lᵀ H P_l. The number of steps then hardly depends on the size of the grid.

Source: multilevel diagonal scaling, after Bramble, Pasciak, Xu, Math. Comp. 55, 1 (1990).
"""

import itertools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

LEAST = 6  # points along an axis below which it is not halved again
LEVELS = 5
DENSE = 80  # points along an axis up to which splines are a matrix
CHUNK = 128  # pixels


def preconditioner(block: jax.Array, diagonals: Sequence[jax.Array]) -> Callable[[jax.Array], jax.Array]:
    """r → M r.

    Args:
        block: Local matrices of the data, positive (semi)definite, (component, component, nx, ny).
        diagonals: Diagonals of the prior's three parts, d², (δd)² and (δ²d)², (component, nx, ny) each; their sum with `block` is
            positive definite.
    """
    sizes = grids(block.shape[-2:])
    inverses = [inverse(block + as_blocks(sum(diagonals)))]
    for level, size in enumerate(sizes[1:], 1):
        energies = _energies(sizes, level)
        block = _pooled(block, size)
        diagonals = [_pooled(d, size) for d in diagonals]
        here = as_blocks(sum(d * e for d, e in zip(diagonals, energies, strict=True)))
        inverses.append(inverse(block * energies[0] + here))

    def apply(right: jax.Array) -> jax.Array:
        parts = [right]
        for size in sizes[1:]:
            parts.append(restrict(parts[-1], size))
        found = product(inverses[-1], parts[-1])
        for part, local, size in zip(parts[-2::-1], inverses[-2::-1], sizes[-2::-1], strict=True):
            found = refine(found, size) + product(local, part)
        return found

    return apply


def _pooled(values: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Means of the pixels about each of a coarser grid's, (…, nx, ny) to (…, mx, my)."""
    for axis, m in zip((-2, -1), shape, strict=True):
        n = values.shape[axis]
        if n != m:  # 2m − 2 or 2m − 1 pixels
            widths = [(0, 0)] * values.ndim
            widths[axis] = (1, 2 * m - 1 - n)
            pairs = jnp.moveaxis(jnp.pad(values, widths, mode="edge"), axis, -1)
            values = jnp.moveaxis(0.5 * (pairs[..., ::2] + pairs[..., 1::2]), -1, axis)
    return values


def _energies(sizes: list[tuple[int, ...]], level: int) -> list[float]:
    """Σ d², Σ (δd)² and Σ (δ²d)² of a spline of a level, over those of a single pixel."""
    own, single = [], []
    for axis, n in enumerate(sizes[0]):
        halved = sum(a[axis] != b[axis] for a, b in itertools.pairwise(sizes[: level + 1]))
        spline = np.ones(1)
        for _ in range(halved):
            wide = np.zeros(2 * spline.size - 1)
            wide[::2] = spline
            spline = np.convolve(wide, np.array([1, 4, 6, 4, 1]) / 8)
        own.append(_squares(spline, n))
        single.append(_squares(np.ones(1), n))
    found, reference = (_combined(*parts) for parts in (own, single))
    return [a / b if b else 0.0 for a, b in zip(found, reference, strict=True)]


def _squares(values: np.ndarray, points: int) -> list[float]:
    padded = np.pad(values, 2)
    return [float(np.sum(np.diff(padded, order) ** 2)) * (points > order) for order in range(3)]


def _combined(x: list[float], y: list[float]) -> tuple[float, ...]:
    return x[0] * y[0], x[1] * y[0] + x[0] * y[1], x[2] * y[0] + x[0] * y[2] + 2 * x[1] * y[1]


def grids(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Sizes of the grids, the given one first."""
    found = [tuple(shape)]
    while max(found[-1]) >= LEAST and len(found) < LEVELS:
        found.append(tuple(n // 2 + 1 if n >= LEAST else n for n in found[-1]))
    return found


def refine(coarse: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """B-spline interpolation of (…, mx, my) to (…, nx, ny); an axis of the same length stays. Linear in `coarse`, and keeps planes."""
    for axis, n in zip((-2, -1), shape, strict=True):
        if coarse.shape[axis] != n:
            coarse = jnp.moveaxis(_refine_last(jnp.moveaxis(coarse, axis, -1), n), -1, axis)
    return coarse


def _refine_last(c: jax.Array, n: int) -> jax.Array:
    if n <= DENSE:
        return c @ _matrix(c.shape[-1], n).astype(c.dtype)
    e = jnp.concatenate([2 * c[..., :1] - c[..., 1:2], c, 2 * c[..., -1:] - c[..., -2:-1]], axis=-1)
    even = (e[..., :-2] + 6 * e[..., 1:-1] + e[..., 2:]) / 8
    odd = (e[..., 1:-1] + e[..., 2:]) / 2
    return jnp.stack([even, odd], axis=-1).reshape(*c.shape[:-1], -1)[..., :n]


def _matrix(m: int, n: int) -> np.ndarray:
    """The same as a matrix (m, n): quicker to compile, and as quick to apply where it is small."""
    e = np.pad(np.eye(m), ((0, 0), (1, 1)))
    e[:2, 0], e[-2:, -1] = (2, -1), (-1, 2)
    even, odd = (e[:, :-2] + 6 * e[:, 1:-1] + e[:, 2:]) / 8, (e[:, 1:-1] + e[:, 2:]) / 2
    return np.stack([even, odd], axis=-1).reshape(m, -1)[:, :n]


def restrict(fine: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """The transpose of `refine`."""
    coarse = jax.ShapeDtypeStruct((*fine.shape[:-2], *shape), fine.dtype)
    return jax.linear_transpose(lambda c: refine(c, fine.shape[-2:]), coarse)(fine)[0]


def product(block: jax.Array, d: jax.Array) -> jax.Array:
    """The local matrices (component, component, nx, ny) times a field."""
    return jnp.sum(block * d[None], axis=1)


def diagonal(block: jax.Array) -> jax.Array:
    """Diagonals of local matrices, (component, nx, ny)."""
    return jnp.moveaxis(jnp.diagonal(block, axis1=0, axis2=1), -1, 0)


def as_blocks(d: jax.Array) -> jax.Array:
    """Local matrices with these diagonals."""
    return jnp.eye(d.shape[0], dtype=d.dtype)[:, :, None, None] * d[:, None]


def inverse(block: jax.Array) -> jax.Array:
    """Inverse of positive definite local matrices: Gauss-Jordan, as many pixels at once as fit a processor's cache."""
    size, pixels = block.shape[0], block.shape[2] * block.shape[3]
    if size == 1:
        return 1 / block
    chunks = -(-pixels // CHUNK)
    flat = jnp.pad(block.reshape(size, size, pixels), ((0, 0), (0, 0), (0, chunks * CHUNK - pixels)), mode="edge")

    def eliminate(i: jax.Array, a: jax.Array) -> jax.Array:
        own = jnp.arange(size)[:, None, None] == i
        row, column = a[i] / a[i, i], jnp.where(own[:, 0], 0.0, a[:, i])
        row = row.at[i].set(1 / a[i, i])
        return jnp.where(own, row[None], jnp.where(own[:, 0], 0.0, a) - column[:, None] * row[None])

    parts = jnp.moveaxis(flat.reshape(size, size, chunks, CHUNK), 2, 0)
    found = jax.lax.map(lambda part: jax.lax.fori_loop(0, size, eliminate, part), parts)
    return jnp.moveaxis(found, 0, 2).reshape(size, size, -1)[..., :pixels].reshape(block.shape)
