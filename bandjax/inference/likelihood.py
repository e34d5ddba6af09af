"""Likelihoods of counts, and the noise of camera data.

poisson: −log L = Σ (μ − d log μ), Fisher weight 1/μ. scaled: a Gaussian of fixed variance per pixel, −log L =
Σ (d − μ)²/2σ², for averaged or camera data; σ² = scale · d̄ + (relative · d̄)² + (band_error · ∂d̄/∂E)² with d̄ the
smoothed data. `relative` stands for structure that the model cannot describe (detector inhomogeneity), `band_error` for
a Hamiltonian of few parameters, whose bands miss the crystal's (0.03 to 0.1 eV is our choice): without it the brightest band,
where counts are many and that error shows most, decides alone; with it every band counts about equally in energy. It
is treated as independent in every pixel: it balances bands against each other, and does not make a band's energy
uncertain by that much.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.ndimage import gaussian_filter

from bandjax import checks

SMALLEST_MEAN = (
    0.05  # counts: below it the Poisson −log L goes on as a parabola, so that a trial with a mean ≤ 0 has a finite,
)
# steep cost that leads back; counts that small decide nothing


class Likelihood(NamedTuple):
    """Kind of noise.

    Attributes:
        kind: "poisson" (counts) or "scaled" (camera or averaged data).
        scale: Variance per count of "scaled"; None measures it from the data's finest structure.
        relative: Additional standard deviation of "scaled" as a part of the signal.
        band_error: Energy by which the model's bands may miss those of the crystal, eV ("scaled").
        inflation: Factor on every variance (≥ 1): misfit and correlation of residuals, found by a first fit.
    """

    kind: str = "poisson"
    scale: float | None = None
    relative: float = 0.0
    band_error: float = 0.0
    inflation: float = 1.0


def check_likelihood(likelihood: Likelihood) -> Likelihood:
    """`likelihood`, or ValueError for an unknown kind or a width that is not positive."""
    checks.one_of("likelihood.kind", likelihood.kind, ("poisson", "scaled"))
    checks.not_negative("likelihood.relative", likelihood.relative)
    checks.not_negative("likelihood.band_error", likelihood.band_error)
    checks.positive("likelihood.inflation", likelihood.inflation)
    if likelihood.kind == "poisson" and likelihood.band_error:
        raise ValueError(f'Argument `likelihood.band_error` must be 0 for "poisson", but is {likelihood.band_error:g}.')
    if likelihood.scale is not None:
        checks.positive("likelihood.scale", likelihood.scale)
    return likelihood


def noise_scale(data: np.ndarray, mask: np.ndarray) -> float:
    """Variance per count from the finest structure: median of the mixed second difference over √(level), squared.

    d_ij − d_i+1,j − d_i,j+1 + d_i+1,j+1 has four times a pixel's variance where the image is smooth on the scale of a
    pixel; the median ignores the few places where it is not.
    """
    last = data.reshape(-1, *data.shape[-2:])
    kept = mask.reshape(last.shape)
    corner = last[:, :-1, :-1] - last[:, 1:, :-1] - last[:, :-1, 1:] + last[:, 1:, 1:]
    valid = kept[:, :-1, :-1] & kept[:, 1:, :-1] & kept[:, :-1, 1:] & kept[:, 1:, 1:]
    if not valid.any():
        raise ValueError(
            "The noise cannot be measured: the map must have neighbouring pixels with data; give `likelihood.scale`."
        )
    level = (last[:, :-1, :-1] + last[:, 1:, :-1] + last[:, :-1, 1:] + last[:, 1:, 1:]) / 4
    bright = valid & (level > 0.02 * np.mean(data[mask]))
    relative = np.abs(corner[bright]) / np.sqrt(level[bright])  # the noise goes with the brightness of its own place
    return float(max((np.median(relative) / 0.6745 / 2) ** 2, 1e-12))


def pixel_variance(
    data: np.ndarray, mask: np.ndarray, likelihood: Likelihood, energy: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """σ² of every pixel of "scaled" data (…, energy) without the inflation: of the noise, and with the band error."""
    scale = noise_scale(data, mask) if likelihood.scale is None else likelihood.scale
    filled = np.where(mask, data, 0.0)
    weight = gaussian_filter(mask.astype(float), 1.5)
    smooth = np.where(weight > 0, gaussian_filter(filled, 1.5) / np.maximum(weight, 1e-9), 0.0)
    level = np.maximum(smooth, 0.02 * np.mean(data[mask]))  # pixels in the dark keep a finite σ
    noise = scale * level + (likelihood.relative * level) ** 2
    if not likelihood.band_error:
        return noise, noise
    if np.size(energy) < 2:
        raise ValueError("Argument `likelihood.band_error` needs a map with at least two energies, but there is one.")
    return noise, noise + (likelihood.band_error * np.gradient(smooth, energy, axis=-1)) ** 2


def cost_and_score(
    kind: str, mean: jax.Array, data: jax.Array, weight: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """−log L (constants dropped), its derivative in the mean, and the Fisher weight of each pixel.

    Args:
        kind: "poisson" or "scaled".
        mean: Model.
        data: Data.
        weight: "scaled": 1/σ² (0: masked). "poisson": 1 or 0, over the inflation.
    """
    if kind == "scaled":
        return 0.5 * jnp.sum(weight * (data - mean) ** 2), weight * (mean - data), weight
    mu = jnp.maximum(mean, SMALLEST_MEAN)
    below = jnp.minimum(mean - SMALLEST_MEAN, 0.0)
    curvature = (1 + data / mu) / mu
    saturated = jnp.where(data > 0, data * jnp.log(jnp.maximum(data, 1e-30)) - data, 0.0)  # makes 0 the best value
    cost = mu - data * jnp.log(mu) + saturated + (1 - data / mu) * below + 0.5 * curvature * below**2
    score = 1 - data / mu + curvature * below
    return jnp.sum(weight * cost), weight * score, weight * jnp.where(below < 0, curvature, 1 / mu)
