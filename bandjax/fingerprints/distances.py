"""Distances of fingerprints a(E), b(E).

    "euclidean"     √Σ_i (a_i − b_i)²
    "cosine"        1 − a·b/(|a| |b|)
    "manhattan"     ∫ |a − b| dE: the area between both, states that lie elsewhere; of narrow peaks it counts those without partner
    "wasserstein"   ∫ |A(E) − B(E)| dE in eV, A and B the running integrals of a and b, each scaled to end at 1: how far, on the mean,
                    weight has to be moved along the energy
    "mmd"           √(∫∫ (a−b)(E) exp(−(E−E′)²/2σ²) (a−b)(E′) dE dE′), σ = `sigma_mmd`: the maximum mean discrepancy of a Gaussian kernel

The first two are those of A. Zadoks, A. Marrazzo, N. Marzari, npj Comput. Mater. (2024) (after); the last is after A. Gretton et al.,
J. Mach. Learn. Res. 13, 723 (2012). Each is the distance of vectors that `embedded` makes, straight ("euclidean", "mmd"), by the
angle ("cosine") or along the axes ("manhattan", "wasserstein"), so that a search in a collection needs nothing else.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bandjax import checks

METRICS = ("euclidean", "cosine", "manhattan", "wasserstein", "mmd")
VECTOR_METRICS = {
    "euclidean": "euclidean", "cosine": "cosine", "manhattan": "manhattan", "wasserstein": "manhattan", "mmd": "euclidean",
}  # fmt: skip
"""Distance of embedded vectors, by its name in scikit-learn."""


def embedded(
    features: ArrayLike,
    metric: str = "euclidean",
    *,
    step: ArrayLike = 1.0,
    sigma_mmd: float = 0.2,
    scale: bool = False,
) -> jax.Array:
    """Vectors whose plain distance is the metric's, see the module's head.

    Args:
        features: Fingerprints, shape (…, energy).
        metric: One of `METRICS`.
        step: eV that each point stands for, a number or shape (energy,); pieces of a window follow each other.
        sigma_mmd: σ of "mmd" in eV, > 0.
        scale: Whether fingerprints are compared in shape only: divided by their sums over `step` first. "cosine" and
            "wasserstein" do so anyway.

    Returns:
        Shape (…, energy).

    Raises:
        ValueError: an unknown metric, a σ ≤ 0, or a step that does not fit; a fingerprint of no weight where shapes are compared.
    """
    checks.one_of("metric", metric, METRICS)
    checks.positive("sigma_mmd", sigma_mmd, "eV")
    features = jnp.asarray(features)
    step = np.broadcast_to(np.asarray(step, float), features.shape[-1:])
    if scale or metric == "wasserstein":
        total = jnp.sum(features * step, axis=-1, keepdims=True)
        checks.positive("features.sum()", total)
        features = features / total
    if metric == "cosine":
        norm = jnp.sqrt(jnp.sum(features**2, axis=-1, keepdims=True))
        checks.positive("|features|", norm)
        return features / norm
    if metric == "wasserstein":
        reached = jnp.cumsum(features * step, axis=-1) - features * step / 2
        return reached * step
    if metric == "manhattan":
        return features * step
    if metric == "mmd":
        root = jnp.asarray(mmd_root(step, sigma_mmd), features.dtype)
        return jnp.matmul(features * step, root, precision="highest")
    return features


def mmd_root(step: np.ndarray, sigma: float) -> np.ndarray:
    """R with R Rᵀ = exp(−(E−E′)²/2σ²) of a window's points; eigenvalues below 0 are rounding."""
    value, vector = np.linalg.eigh(_gaussian_kernel(step, sigma))
    return vector * np.sqrt(np.maximum(value, 0.0))


def fingerprint_distance(
    a: ArrayLike,
    b: ArrayLike,
    metric: str = "euclidean",
    *,
    step: ArrayLike = 1.0,
    sigma_mmd: float = 0.2,
    scale: bool = False,
    max_shift: float = 0.0,
) -> jax.Array:
    """Distance of two fingerprints of one window.

    Args:
        a, b: Shape (…, energy), the same energies.
        metric, step, sigma_mmd, scale: See `embedded`.
        max_shift: Invariance under a rigid shift: the least distance when b is moved by whole steps of the window, by at most
            so many eV. Only points at least so far inside the ends of the window then count, for every shift alike; for
            windows of one piece.

    Returns:
        Shape (…). Its derivative at a = b is 0 by convention, where "euclidean" and "mmd" have none; with a shift it is
        that at the best shift, which is exact where the best shift is unique.

    Raises:
        ValueError: shapes differ, see also `embedded`; a shift for steps that differ or for a window that is too short.
    """
    a, b = jnp.asarray(a), jnp.asarray(b)
    if a.shape[-1] != b.shape[-1]:
        raise ValueError(f"Argument `b` must have {a.shape[-1]} energies as `a` has, but has {b.shape[-1]}.")
    apart = partial(_apart, metric=metric, sigma_mmd=sigma_mmd, scale=scale)
    if max_shift == 0.0:
        return apart(a, b, step)
    step = even_step(step)
    reach = round(max_shift / step)
    points = a.shape[-1]
    if reach < 1 or points - 2 * reach < 2:
        raise ValueError(
            f"Argument `max_shift` must lie between one step ({step:g} eV) and half the window ({points * step / 2:g} eV), but is {max_shift:g}."
        )
    inner = a[..., reach : points - reach]

    def at(start: jax.Array) -> jax.Array:
        return apart(inner, jax.lax.dynamic_slice_in_dim(b, start, points - 2 * reach, axis=-1), step)

    return jnp.min(jax.lax.map(at, jnp.arange(2 * reach + 1)), axis=0)


def _apart(a: jax.Array, b: jax.Array, step: ArrayLike, metric: str, sigma_mmd: float, scale: bool) -> jax.Array:
    if metric != "mmd":
        return vector_distance(*(embedded(x, metric, step=step, scale=scale) for x in (a, b)), metric)
    a, b = (embedded(x, "euclidean", step=step, scale=scale) for x in (a, b))
    difference = (a - b) * jnp.asarray(step, a.dtype)
    kernel = _gaussian_kernel(np.broadcast_to(step, a.shape[-1:]), sigma_mmd)
    return _root(jnp.einsum("...i,ij,...j", difference, kernel, difference, precision="highest"))


def _gaussian_kernel(step: np.ndarray, sigma: float) -> np.ndarray:
    """exp(−(E−E′)²/2σ²) of a window's points."""
    energy = np.cumsum(step) - np.asarray(step) / 2
    return np.exp(-((energy[:, None] - energy[None, :]) ** 2) / (2 * sigma**2))


def even_step(step: ArrayLike) -> float:
    """The one step of a window, in eV.

    Raises:
        ValueError: its steps differ (the half steps at both ends apart).
    """
    steps = np.atleast_1d(np.asarray(step, float))
    inner = steps[1:-1] if steps.size > 2 else steps
    if inner.max() - inner.min() > 1e-9 * inner.max():
        raise ValueError(
            f"Argument `step` must be one step for a shift, but runs from {inner.min():g} to {inner.max():g} eV: windows of several pieces cannot be shifted."
        )
    return float(inner[0])


def vector_distance(a: jax.Array, b: jax.Array, metric: str) -> jax.Array:
    """Distance of embedded vectors (…, energy)."""
    if metric == "cosine":
        return 1 - jnp.sum(a * b, axis=-1)
    if metric in ("manhattan", "wasserstein"):
        return jnp.sum(jnp.abs(a - b), axis=-1)
    return _root(jnp.sum((a - b) ** 2, axis=-1))


def _root(square: jax.Array) -> jax.Array:
    """Square root with the derivative 0 at 0."""
    apart = square > 0
    return jnp.where(apart, jnp.sqrt(jnp.where(apart, square, 1.0)), 0.0)
