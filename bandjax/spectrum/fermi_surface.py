"""Constant-energy surfaces of a model in a plane of constant k_z: filled area of every band, pockets, and their derivatives.

The surface mesh of reciprocal vectors with G_z = 0 spans the plane; on a periodic n × n grid of it every cell is cut into two
triangles, in each of which a band is taken as linear. With e₁ ≤ e₂ ≤ e₃ the band at the corners less E, the filled part of a triangle is

    0 (e₁ > 0),   e₁²/((e₂−e₁)(e₃−e₁)) (e₁ < 0 < e₂),   1 − e₃²/((e₃−e₁)(e₃−e₂)) (e₂ < 0 < e₃),   1 (e₃ < 0).

It depends smoothly enough on the energies for exact first derivatives: areas carry the errors of fitted parameters. The error of
the linear interpolation falls as 1/n².
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from bandjax import checks
from bandjax.hamiltonian import Model
from bandjax.spectrum.bands import bands

# corners of the two triangles of a cell; its diagonal runs from (1, 0) to (0, 1)
_TRIANGLES = (((0, 0), (1, 0), (0, 1)), ((1, 1), (1, 0), (0, 1)))
# neighbours of a corner along the edges of these triangles: what is connected is so for filled and for empty parts alike
_CONNECTED = np.array([[0, 1, 1], [1, 1, 1], [1, 1, 0]])
_FLAT = 1e-12  # eV; keeps the quotients of a flat triangle finite
_REACH = 4  # multiples of each reciprocal vector among which those in the plane are sought


class Pocket(NamedTuple):
    """A closed piece of a constant-energy surface.

    Attributes:
        band: Index from the lowest.
        kind: "electron" (filled inside) or "hole".
        centre: (k_x, k_y) in 1/Å, nearest to 0 of its copies.
        triangles: Which triangles its area is summed over, (2, n, n) booleans.
    """

    band: int
    kind: str
    centre: tuple[float, float]
    triangles: np.ndarray


def plane_vectors(model: Model) -> np.ndarray:
    """The two shortest reciprocal vectors of the model along its x-y plane, (2, 2) in 1/Å.

    Raises:
        ValueError: the crystal is not periodic in that plane.
    """
    return (plane_steps(model) @ np.asarray(model.reciprocal))[:, :2]


def plane_steps(model: Model) -> np.ndarray:
    """The same as multiples of the reciprocal vectors, (2, 3) whole numbers: they stay when the cell changes a little.

    Raises:
        ValueError: the crystal is not periodic in that plane.
    """
    periodic = np.array(model.topology.periodic)
    steps = np.stack(np.meshgrid(*[np.arange(-_REACH, _REACH + 1)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    steps = steps[(steps[:, ~periodic] == 0).all(axis=1)]
    vectors = steps @ np.asarray(model.reciprocal)
    length = np.linalg.norm(vectors, axis=1)
    inside = (np.abs(vectors[:, 2]) < 1e-6) & (length > 1e-6)
    flat, steps = vectors[inside, :2], steps[inside]
    order = np.lexsort((-flat[:, 1].round(9), -flat[:, 0].round(9), np.linalg.norm(flat, axis=1).round(9)))
    flat, steps = flat[order], steps[order]
    for second, step in zip(flat, steps, strict=True):
        if abs(np.linalg.det(np.stack([flat[0], second]))) > 1e-6:
            return np.stack([steps[0], step])
    raise ValueError("Argument `model` must be periodic in its x-y plane, but has no two reciprocal vectors there.")


def plane_energies(
    model: Model, k_z: jax.Array | float, grid: int, vectors: np.ndarray | jax.Array | None = None
) -> jax.Array:
    """Bands on the periodic grid of a plane of constant k_z, (n, n, band) in eV."""
    plane = plane_vectors(model) if vectors is None else vectors
    share = np.arange(grid) / grid
    k = (share[:, None, None] * plane[0] + share[None, :, None] * plane[1]).reshape(-1, 2)
    k = jnp.concatenate([jnp.asarray(k, model.dtype), jnp.full((grid * grid, 1), k_z, model.dtype)], axis=1)
    return bands(model, k).reshape(grid, grid, -1)


def filled_areas(energies: jax.Array, level: jax.Array | float) -> jax.Array:
    """Filled part of every triangle of every band, (band, 2, n, n), in [0, 1].

    Args:
        energies: From `plane_energies`.
        level: Energy on the model's own scale below which states count as filled, eV.
    """
    e = jnp.moveaxis(energies, -1, 0) - level
    corners = [jnp.stack([jnp.roll(e, (-i, -j), (1, 2)) for i, j in triangle]) for triangle in _TRIANGLES]
    low, middle, high = jnp.sort(jnp.stack(corners, axis=2), axis=0)  # each (band, 2, n, n)

    def quotient(a: jax.Array, b: jax.Array, c: jax.Array) -> jax.Array:
        return a**2 / (jnp.maximum(b, _FLAT) * jnp.maximum(c, _FLAT))

    few = quotient(jnp.minimum(low, 0.0), middle - low, high - low)
    most = 1 - quotient(jnp.maximum(high, 0.0), high - low, high - middle)
    return jnp.where(low >= 0, 0.0, jnp.where(high <= 0, 1.0, jnp.where(middle >= 0, few, most)))


def find_pockets(energies: np.ndarray, level: float, vectors: np.ndarray) -> list[Pocket]:
    """Closed pockets of every band, by band, kind and size; open sheets are none.

    Args:
        energies: From `plane_energies`, concrete.
        level: Energy on the model's own scale, eV.
        vectors: From `plane_vectors`.
    """
    n = energies.shape[0]
    found = []
    for band in range(energies.shape[-1]):
        below = energies[..., band] < level
        for kind, inside in (("electron", below), ("hole", ~below)):
            if not inside.any() or inside.all():
                continue
            label = np.empty((3 * n, 3 * n), np.int32)
            ndimage.label(np.tile(inside, (3, 3)), structure=_CONNECTED, output=label)
            pieces = []
            for one in np.unique(label[n : 2 * n, n : 2 * n][inside]):
                at = np.argwhere(label == one)
                own = np.zeros((n, n), bool)
                own[at[:, 0] % n, at[:, 1] % n] = True
                # a piece that meets its own copy runs through the zone: an open sheet, or the outside of a pocket
                if own.sum() == len(at) and not any((own == other).all() for other, _ in pieces):
                    pieces.append((own, _nearest(at.mean(axis=0) / n, vectors)))
            for own, centre in sorted(pieces, key=lambda p: -p[0].sum()):
                touched = [np.any([np.roll(own, (-i, -j), (0, 1)) for i, j in t], axis=0) for t in _TRIANGLES]
                found.append(Pocket(band, kind, centre, np.stack(touched)))
    return found


def pocket_area(pocket: Pocket, filled: jax.Array) -> jax.Array:
    """Area of a pocket as a part of the zone, from `filled_areas` of energies near those it was found in."""
    share = filled[pocket.band]
    share = share if pocket.kind == "electron" else 1 - share
    return jnp.sum(jnp.where(pocket.triangles, share, 0.0)) / pocket.triangles.size


def check_grid(grid: int) -> None:
    """ValueError for a grid too coarse for pockets."""
    checks.positive("grid", grid)
    if grid != int(grid) or grid < 8:
        raise ValueError(f"Argument `grid` must be a whole number ≥ 8, but is {grid!r}.")


def _nearest(fraction: np.ndarray, vectors: np.ndarray) -> tuple[float, float]:
    """The copy of a point (fractional) that is nearest to 0, in 1/Å, without signs that rounding decides."""
    shifts = np.stack(np.meshgrid(*[np.arange(-3, 3)] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
    copies = (fraction % 1 + shifts) @ vectors
    length = np.linalg.norm(copies, axis=1)
    equal = copies[length < length.min() + 1e-3 * np.abs(vectors).max()]
    x, y = max(equal.tolist(), key=lambda c: (round(c[0], 3), round(c[1], 3)))
    return float(x), float(y)
