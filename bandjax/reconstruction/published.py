"""The published posterior of a band map, in continuous energies.

Per band −log p(E) = −Σ_k log I(k, E_k) + Σ_neighbours (E_k − E_l)²/(2 sigma_pair²), with I the preprocessed intensity. Here E_k is
any energy: log I is a cubic spline along the energy, whose second derivative makes the Hessian exact; bands do not see one
another. The descent goes from a blurred to the bare intensity (annealing), each stage by Newton's method.

Source: Xian, Stimper, Zacharias, Dendzik, Dong, Beaulieu, Schölkopf, Wolf, Rettig, Carbogno, Bauer, Ernstorfer, Nat. Comput.
Sci. 3, 101 (2022), after the description of it that this project was given; the energies there are on the grid, found by iterated
conditional modes.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.ndimage import uniform_filter1d

from bandjax.reconstruction import fields, splines
from bandjax.reconstruction.errors import standard_errors

FLOOR = 1e-3  # of the largest intensity, added before the logarithm: a pixel without counts repels a band by 7, not by infinity
STEPS, TOLERANCE = 60, 1e-4  # Newton steps a stage; change of −log posterior at which one ends


class Published(NamedTuple):
    """End of the last stage.

    Attributes:
        energy: (band, nx, ny) in eV.
        error: Standard errors by the Laplace approximation of this posterior, whose likelihood counts every spectrum as one
            electron: they say how sharp this posterior is, not how far the band may be off. None unless asked for.
        error_method: How they were found.
        cost: −log posterior.
        converged: Whether the last stage did.
        steps: Evaluations of all stages.
    """

    energy: np.ndarray
    error: np.ndarray | None
    error_method: str
    cost: float
    converged: bool
    steps: int


def published_posterior(
    intensity: np.ndarray, energy: np.ndarray, start: np.ndarray, sigma_pair: float | np.ndarray, *,
    anneal: Sequence[float], errors: bool = True,
) -> Published:  # fmt: skip
    """Maximum of the published posterior.

    Args:
        intensity: Preprocessed, ≥ 0, (nx, ny, energy); NaN where missing. A spectrum without any number leaves its energy to
            the prior.
        energy: Equidistant, increasing, eV, (energy,).
        start: (band, nx, ny) in eV.
        sigma_pair: Width of the prior of neighbours in eV, one number or one a band.
        anneal: Blurs of the stages in eV (standard deviations), descending; 0 is the intensity itself.
        errors: Whether to compute standard errors.
    """
    filled, seen = filled_spectra(intensity, energy)
    prior = pair_prior(sigma_pair, len(start), filled.dtype)
    x = jnp.asarray(start, filled.dtype)
    steps, found, surface = 0, None, None
    for blur in anneal:
        surface = log_spline(blurred(filled, blur / (energy[1] - energy[0])), energy)
        found = _stage(surface, jnp.asarray(seen), prior, x)
        x, steps = found.x, steps + int(found.steps)
    assert found is not None and surface is not None
    error, method = None, "not computed"
    if errors:
        term = data_term(surface, jnp.asarray(seen), x)
        error, method = standard_errors(term, prior, x)
    return Published(np.asarray(x), error, method, float(found.cost), bool(found.converged), steps)


@jax.jit
def _stage(surface: splines.Spline, seen: jax.Array, prior: fields.Smoothness, x: jax.Array) -> fields.Descent:
    count = surface.coefficients.shape[-1] - 2
    longest = jnp.full(len(x), count / 8, x.dtype) * surface.step
    local = functools.partial(data_term, surface, seen)
    return fields.descend(local, prior, jnp.zeros_like(x), x, longest=longest, steps=STEPS, tolerance=TOLERANCE)


def data_term(surface: splines.Spline, seen: jax.Array, x: jax.Array) -> fields.Local:
    """−Σ log I(k, E_k) with its exact derivatives."""
    value, first, second = (seen * part for part in splines.evaluate(surface, x))
    eye = jnp.eye(len(x), dtype=x.dtype)[:, :, None, None]
    return fields.Local(-jnp.sum(value), -first, -second * eye)


def pair_prior(sigma_pair: float | np.ndarray, bands: int, dtype: np.dtype) -> fields.Smoothness:
    """The prior of neighbours alone."""
    pair = jnp.broadcast_to(jnp.asarray(1 / np.asarray(sigma_pair, float) ** 2, dtype), (bands,))
    return fields.Smoothness(jnp.zeros(bands, dtype), pair, jnp.zeros(bands, dtype))


def log_spline(intensity: np.ndarray, energy: np.ndarray) -> splines.Spline:
    """Spline of log(I/max I + FLOOR)."""
    return splines.spline(np.log(intensity / intensity.max() + intensity.dtype.type(FLOOR)), energy)


def blurred(intensity: np.ndarray, sigma: float) -> np.ndarray:
    """Blurred along the energy by three boxes, close to a Gaussian of `sigma` steps; at less than half a step unchanged."""
    if sigma < 0.5:
        return intensity
    length = max(round(np.sqrt(4 * sigma**2 + 1)), 2)  # three boxes of length n have the variance (n² − 1)/4
    for shift in (0, -1, 0) if length % 2 == 0 else (0, 0, 0):
        intensity = uniform_filter1d(intensity, length, axis=-1, mode="nearest", origin=shift)
    return intensity


def filled_spectra(intensity: np.ndarray, energy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Missing energies by linear interpolation of the spectrum; 1 for spectra with data, 0 for those without, (nx, ny)."""
    missing = np.isnan(intensity)
    if not missing.any():
        return intensity, np.ones(intensity.shape[:2], intensity.dtype)
    out, seen = intensity.copy(), ~missing.all(axis=-1)
    for i, j in zip(*np.nonzero(missing.any(axis=-1)), strict=True):
        gap = missing[i, j]
        out[i, j] = np.interp(energy, energy[~gap], intensity[i, j, ~gap]) if seen[i, j] else 0.0
    return out, seen.astype(intensity.dtype)
