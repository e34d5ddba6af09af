"""Linear nuisances of a cut: smooth weights of the orbital images and a smooth background, projected out exactly.

    model(pixel, E) = Σ_v [Σ_s c_vs B_s(pixel, E)] I_v(pixel, E) + Σ_b c_b B_b(pixel, E)

B_s are tensor products of cubic B-splines. For given bands the best coefficients follow from one linear least-squares
problem (variable projection); the weights belong to orbital projectors, so that the model is smooth through
degeneracies. The background has a fine spline along the energy times a few smooth functions of the pixel: it can follow
steps of a non-dispersing background but no band.

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


def weight_basis(free: FreeWeights, pixel: np.ndarray, energy: np.ndarray) -> np.ndarray:
    """Basis functions of one projector's weight, (function, pixel, energy)."""
    return _tensor(spline_basis(pixel, free.lateral), spline_basis(energy, free.energy))


def background_basis(free: FreeWeights, pixel: np.ndarray, energy: np.ndarray) -> np.ndarray:
    """Basis functions of the background, (function, pixel, energy)."""
    count = max(4, round((energy[-1] - energy[0]) / free.background_step) + 3)
    return _tensor(spline_basis(pixel, free.background_lateral), spline_basis(energy, count))


def _tensor(lateral: np.ndarray, along: np.ndarray) -> np.ndarray:
    return np.einsum("ap,be->abpe", lateral, along).reshape(-1, lateral.shape[1], along.shape[1])


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
        kept = free[:, None] & free[None, :]
        masked = jnp.where(kept, matrix, 0.0) + jnp.diag(jnp.where(free, 0.0, jnp.diagonal(matrix)))
        return jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(masked), jnp.where(free, vector, 0.0))

    def exchange(index: int, free: jax.Array) -> jax.Array:
        c = solve(free)
        gradient = matrix @ c - vector
        release = ~free & (gradient < -1e-9 * jnp.abs(vector).max())
        drop = free & nonnegative & (c < 0)
        release = jnp.where(
            index < rounds - 3, release, False
        )  # the last rounds only drop, so that the result is feasible
        return (free & ~drop) | release

    free = jax.lax.fori_loop(0, rounds, exchange, jnp.ones_like(nonnegative))
    c = solve(free)
    return jnp.where(nonnegative, jnp.maximum(c, 0.0), c), free
