"""Linear nuisances of a cut: smooth weights of the images and a smooth background, projected out exactly.

    model(pixel, E) = Σ_i S_i(pixel, E) I_i(pixel, E),     S_i(pixel, E) = Σ_ab c_iab P_a(pixel) Q_b(E)

I_i is the sharp image of the even or of the odd orbitals, the k_z-averaged one, or 1 (the background); P and Q are cubic B-splines, so that sums over
pixels factorise and no design matrix is formed. For given bands the best coefficients follow from one linear problem
(variable projection). A weight belongs to no band, so that the model is smooth through degeneracies. The background has
a fine spline along the energy times a few smooth functions of the pixel: it can follow steps of a non-dispersing
background but no band.

Source: G. H. Golub, V. Pereyra, SIAM J. Numer. Anal. 10, 413 (1973); L. Kaufman, BIT 15, 49 (1975) (after).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.interpolate import BSpline


class FreeWeights(NamedTuple):
    """Knots of the smooth weights and of the background of a cut.

    Attributes:
        lateral: Splines along the pixel axis for the weights.
        energy: Splines along the energy for the weights.
        background_lateral: Splines along the pixel axis for the background.
        background_step: Knot distance along the energy for the background, eV.
        ridge: Weight of the penalty that keeps undetermined coefficients small, relative to the mean curvature.
    """

    lateral: int = 8
    energy: int = 5
    background_lateral: int = 4
    background_step: float = 0.3
    ridge: float = 1e-5


def spline_basis(x: np.ndarray, count: int) -> np.ndarray:
    """`count` B-splines (cubic, or of the highest order that fits) over the range of x, shape (count, x)."""
    degree = min(3, count - 1)
    inner = np.linspace(x[0], x[-1], count - degree + 1)
    knots = np.concatenate([[x[0]] * degree, inner, [x[-1]] * degree])
    return BSpline.design_matrix(np.clip(x, x[0], x[-1]), knots, degree).toarray().T


class Smooth(NamedTuple):
    """Tensor-product splines over a cut: lateral (a, pixel) and along the energy (b, energy)."""

    lateral: np.ndarray
    along: np.ndarray

    @property
    def size(self) -> int:
        """Number of coefficients."""
        return self.lateral.shape[0] * self.along.shape[0]


def weight_basis(free: FreeWeights, pixel: np.ndarray, energy: np.ndarray) -> Smooth:
    """Splines of the weight of each sharp image."""
    return Smooth(spline_basis(pixel, free.lateral), spline_basis(energy, free.energy))


def averaged_basis(free: FreeWeights, pixel: np.ndarray, energy: np.ndarray) -> Smooth:
    """Splines of the weight of the k_z-averaged image: a third of the sharp one's along the pixels, half along E."""
    return Smooth(spline_basis(pixel, max(4, free.lateral // 3)), spline_basis(energy, max(4, free.energy // 2)))


def background_basis(free: FreeWeights, pixel: np.ndarray, energy: np.ndarray) -> Smooth:
    """Splines of the background."""
    count = max(4, round((energy[-1] - energy[0]) / free.background_step) + 3)
    return Smooth(spline_basis(pixel, free.background_lateral), spline_basis(energy, count))


class Projected(NamedTuple):
    """The best linear coefficients for given images.

    Attributes:
        mean: The model, (pixel, energy).
        surfaces: S_i, (image, pixel, energy).
        coefficients: Of all images in turn, (c,).
        free: Which of them are not held at 0, (c,).
        matrix: Normal matrix with the ridge, (c, c).
        penalty: ½ ridge Σ c² A_cc, part of the cost.
        slope: ∂ penalty/∂I_i at fixed coefficients, (image, pixel, energy).
    """

    mean: jax.Array
    surfaces: jax.Array
    coefficients: jax.Array
    free: jax.Array
    matrix: jax.Array
    penalty: jax.Array
    slope: jax.Array


def project(
    images: jax.Array,
    bases: tuple[Smooth, ...],
    data: jax.Array,
    weight: jax.Array,
    *,
    ridge: float,
    signed: tuple[bool, ...],
) -> Projected:
    """Minimise ½ Σ w (d − Σ_i S_i I_i)² + ½ ridge Σ c² A_cc over the coefficients.

    Args:
        images: I_i, (image, pixel, energy).
        bases: Splines of each S_i.
        data, weight: d and w = 1/σ² (0: masked), (pixel, energy).
        ridge: Weight of the penalty, relative to the diagonal A_cc of the normal matrix.
        signed: Whether the coefficients of S_i may be negative (the background's may).
    """
    rows = []
    for i, a in enumerate(bases):
        rows.append([_overlap(weight * images[i] * images[j], a, b) if j >= i else None for j, b in enumerate(bases)])
    matrix = jnp.block([[m if m is not None else rows[j][i].T for j, m in enumerate(r)] for i, r in enumerate(rows)])
    diagonal = jnp.diagonal(matrix)
    penalised = ridge * (diagonal + 1e-3 * diagonal.mean())  # the mean keeps coefficients without data at 0
    matrix += jnp.diag(penalised)
    nonnegative = np.concatenate([np.full(b.size, not s) for b, s in zip(bases, signed, strict=True)])
    c, free = solve_nonnegative(matrix, moments(weight * data * images, bases), jnp.asarray(nonnegative))
    surfaces = expand(c, bases)
    squares = expand(c**2, tuple(Smooth(b.lateral**2, b.along**2) for b in bases))
    penalty = 0.5 * jnp.sum(penalised * c**2)
    return Projected(
        (surfaces * images).sum(axis=0), surfaces, c, free, matrix, penalty, ridge * weight * images * squares
    )


def project_out(found: Projected, images: jax.Array, bases: tuple[Smooth, ...], jacobian: jax.Array, fisher: jax.Array):
    """A Jacobian (pixel, energy, parameter) less what the linear coefficients take up, in the metric `fisher`."""
    weighted = fisher[..., None] * jacobian
    overlap = jax.vmap(lambda column: moments(images * column, bases), in_axes=-1, out_axes=-1)(weighted)
    overlap = jnp.where(found.free[:, None], overlap, 0.0)
    inner = jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(_decoupled(found.matrix, found.free)), overlap)
    taken = jax.vmap(lambda c: (expand(c, bases) * images).sum(axis=0), in_axes=1, out_axes=-1)(inner)
    return jacobian - taken


def expand(coefficients: jax.Array, bases: tuple[Smooth, ...]) -> jax.Array:
    """Σ_ab c_ab P_a Q_b of every basis in turn, (basis, pixel, energy)."""
    out, start = [], 0
    for b in bases:
        c = coefficients[start : start + b.size].reshape(b.lateral.shape[0], b.along.shape[0])
        out.append(jnp.matmul(jnp.asarray(b.lateral).T @ c, jnp.asarray(b.along), precision="highest"))
        start += b.size
    return jnp.stack(out)


def moments(maps: jax.Array, bases: tuple[Smooth, ...]) -> jax.Array:
    """Σ_pixel,E map_i P_a Q_b of every basis in turn, (c,): the transpose of `expand`."""
    return jnp.concatenate([
        jnp.matmul(jnp.asarray(b.lateral) @ m, jnp.asarray(b.along).T, precision="highest").ravel()
        for m, b in zip(maps, bases, strict=True)
    ])  # fmt: skip


def _overlap(weight: jax.Array, left: Smooth, right: Smooth) -> jax.Array:
    """Σ_pixel,E w P_a P'_b Q_c Q'_d as a matrix of (a, c) and (b, d); one axis is summed at a time."""
    pairs = (left.lateral[:, None] * right.lateral[None]).reshape(-1, weight.shape[0])
    along = (left.along[:, None] * right.along[None]).reshape(-1, weight.shape[1])
    sums = jnp.matmul(jnp.matmul(jnp.asarray(pairs), weight), jnp.asarray(along).T, precision="highest")
    shape = (left.lateral.shape[0], right.lateral.shape[0], left.along.shape[0], right.along.shape[0])
    return sums.reshape(shape).transpose(0, 2, 1, 3).reshape(left.size, right.size)


def _decoupled(matrix: jax.Array, free: jax.Array) -> jax.Array:
    """A normal matrix in which only the free coefficients are coupled."""
    both = free[:, None] & free[None, :]
    return jnp.where(both, matrix, 0.0) + jnp.diag(jnp.where(free, 0.0, jnp.diagonal(matrix)))


def solve_nonnegative(
    matrix: jax.Array, vector: jax.Array, nonnegative: jax.Array, *, rounds: int = 30
) -> tuple[jax.Array, jax.Array]:
    """Minimise ½ cᵀAc − bᵀc with c ≥ 0 where `nonnegative`, by block principal pivoting.

    Args:
        matrix: A, positive definite, (c, c).
        vector: b, (c,).
        nonnegative: Which coefficients must not be negative, (c,).
        rounds: Exchanges of coefficients between the free and the zero set; a dozen is enough in practice.

    Returns:
        Coefficients, and which of them are free (not held at 0).

    Source: L. F. Portugal, J. J. Júdice, L. N. Vicente, Math. Comput. 63, 625 (1994) (after).
    """

    def solve(free: jax.Array) -> jax.Array:
        factor = jax.scipy.linalg.cho_factor(_decoupled(matrix, free))
        return jax.scipy.linalg.cho_solve(factor, jnp.where(free, vector, 0.0))

    def exchange(state: tuple) -> tuple:
        index, free, _ = state
        c = solve(free)
        gradient = matrix @ c - vector
        release = ~free & (gradient < -1e-9 * jnp.abs(vector).max())
        drop = free & nonnegative & (c < 0)
        release = jnp.where(index < rounds - 3, release, False)  # the last rounds only drop: the result is feasible
        return index + 1, (free & ~drop) | release, jnp.any(drop | release)

    start = (0, jnp.ones_like(nonnegative), jnp.asarray(True))
    _, free, _ = jax.lax.while_loop(lambda s: (s[0] < rounds) & s[2], exchange, start)
    c = solve(free)
    return jnp.where(nonnegative, jnp.maximum(c, 0.0), c), free
