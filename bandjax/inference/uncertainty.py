"""Errors of a fit: Fisher/Laplace covariance, block bootstrap, residual tests, and degeneracies put into words."""

from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter

SINGULAR = (
    1e-10  # eigenvalue of the scaled Fisher matrix, relative to the largest, below which a direction is unmeasured
)
STRONG = 0.9  # correlation that is reported
NEIGHBOURHOOD = 2.0  # pixels: σ of the average of squared residuals, over about 50 pixels of a cut
LARGEST_FACTOR = 10.0  # a region may be trusted less, but is not left out: misfit often sits on the bands themselves
MISSES = 2.0  # such an average scatters by a fifth for pure noise


class Residuals(NamedTuple):
    """What the residuals of one map say.

    Attributes:
        reduced_chi2: Mean of (d − μ)²/σ² over the fitted pixels, per degree of freedom.
        correlation: Correlation of the scaled residual with its neighbour, along each axis.
        correlated_pixels: Pixels that fluctuate together: Σ of the autocorrelation over lags up to ten pixels.
        held_out: Mean −log likelihood per held-out pixel (σ known up to constants); NaN without such pixels.
    """

    reduced_chi2: float
    correlation: tuple[float, ...]
    correlated_pixels: float
    held_out: float


def covariance_of(fisher: np.ndarray, names: tuple[str, ...]) -> tuple[np.ndarray, list[str]]:
    """Inverse of a Fisher matrix, and a sentence for every direction that the data and priors do not measure.

    Parameters that take part in an unmeasured direction get infinite variance.
    """
    scale = 1 / np.sqrt(np.maximum(np.diagonal(fisher), 1e-300))
    value, vector = np.linalg.eigh(fisher * scale[:, None] * scale[None, :])
    bad = value < SINGULAR * value.max()
    inverse = (vector[:, ~bad] / value[~bad]) @ vector[:, ~bad].T
    covariance = inverse * scale[:, None] * scale[None, :]
    sentences = []
    for direction in vector[:, bad].T:
        share = direction**2
        involved = np.flatnonzero(share > 0.05 * share.max())
        covariance[involved, involved] = np.inf
        which = " and ".join(names[i] for i in involved)
        sentences.append(f"The Fisher matrix is singular: the data do not measure {which}; fix one or give it a prior.")
    return covariance, sentences


def degeneracy_report(covariance: np.ndarray, names: tuple[str, ...], sigma: np.ndarray) -> list[str]:
    """Sentences on strong correlations and on parameters that only their prior determines."""
    error = np.sqrt(np.diagonal(covariance))
    out = []
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = covariance / np.outer(error, error)
    for i in range(len(names)):
        for j in range(i + 1, len(names)):
            c = correlation[i, j]
            if np.isfinite(c) and abs(c) > STRONG:
                sign = "anticorrelated" if c < 0 else "correlated"
                out.append(f"{names[i]} and {names[j]} are {abs(c):.0%} {sign}: these data hardly separate them.")
    for name, e, s in zip(names, error, sigma, strict=True):
        if np.isfinite(s) and e > 0.9 * s:
            out.append(f"{name} is known from its prior only: the data leave {e / s:.0%} of the prior's width.")
    return out


def residual_tests(
    residual: np.ndarray, fitted: np.ndarray, held: np.ndarray, n_parameters: int, held_out_cost: np.ndarray
) -> Residuals:
    """Tests on a map of residuals in units of their noise."""
    count = int(fitted.sum())
    chi2 = float((residual[fitted] ** 2).sum() / max(count - n_parameters, 1))
    centred = np.where(fitted, residual - residual[fitted].mean(), 0.0)
    valid = fitted.astype(float)

    def correlation(shift: tuple[int, ...]) -> float:
        a = tuple(slice(s, None) if s >= 0 else slice(None, s) for s in shift)
        b = tuple(slice(None, n - s) if s >= 0 else slice(-s, None) for s, n in zip(shift, residual.shape, strict=True))
        pairs = (valid[a] * valid[b]).sum()
        variance = (centred**2).sum() / count
        return float((centred[a] * centred[b]).sum() / max(pairs, 1) / max(variance, 1e-300))

    axes = [i for i in range(residual.ndim) if residual.shape[i] > 1]
    first = tuple(correlation(tuple(int(i == axis) for i in range(residual.ndim))) for axis in axes)
    together = 1.0
    for axis in axes:  # separable estimate: product over axes of 1 + 2 Σ ρ, up to the first lag without correlation
        total = 1.0
        for lag in range(1, min(11, residual.shape[axis])):
            c = correlation(tuple(lag * int(i == axis) for i in range(residual.ndim)))
            if c < 2 / np.sqrt(count):
                break
            total += 2 * c
        together *= total
    out = float(held_out_cost[held].mean()) if held.any() else float("nan")
    return Residuals(chi2, first, float(together), out)


def local_misfit(residual: np.ndarray, fitted: np.ndarray) -> np.ndarray:
    """Factor on the variance of pixels around which the model misses more than elsewhere, ≥ 1.

    The mean square of the residual over a Gaussian neighbourhood, over its median in the map; 1 where that is below
    `MISSES`, and at most `LARGEST_FACTOR`. So a region that the model cannot describe (a surface state, a
    matrix-element effect) does not pull the parameters away from what describes the rest.
    """
    weight = gaussian_filter(fitted.astype(float), NEIGHBOURHOOD)
    square = gaussian_filter(np.where(fitted, residual**2, 0.0), NEIGHBOURHOOD) / np.maximum(weight, 1e-9)
    ratio = square / np.median(square[fitted])
    return np.where((weight > 1e-3) & (ratio > MISSES), np.minimum(ratio, LARGEST_FACTOR), 1.0)


def block_bootstrap(
    scores: list[np.ndarray],
    shapes: list[tuple[int, ...]],
    fisher: np.ndarray,
    prior_rows: np.ndarray,
    prior_root: np.ndarray,
    side: int,
    draws: int,
    seed: int,
) -> np.ndarray:
    """Covariance of one Newton step from resampled blocks of pixels, (parameter, parameter).

    Every draw takes the blocks of every map with replacement, and the centres of the priors from the priors themselves;
    δ = −F⁻¹ (Σ resampled scores + Rᵀ(r + noise)) with r the priors' (number − prior)/σ, (prior,), and R their
    derivative, (prior, parameter). It holds for correlated residuals as long as the correlation is shorter than a block.

    Source: after H. R. Künsch, Ann. Statist. 17, 1217 (1989), with the estimate linearised.
    """
    rng = np.random.default_rng(seed)
    sums = []
    for score, shape in zip(scores, shapes, strict=True):
        coordinates = np.indices(shape).reshape(len(shape), -1) // side
        label = np.ravel_multi_index(tuple(coordinates), tuple(-(-n // side) for n in shape))
        total = np.zeros((label.max() + 1, score.shape[1]))
        np.add.at(total, label, score)
        sums.append(total)
    steps = []
    for _ in range(draws):
        gradient = prior_root.T @ (prior_rows + rng.normal(size=prior_rows.size))
        for total in sums:
            gradient += total[rng.integers(0, len(total), len(total))].sum(axis=0)
        steps.append(np.linalg.solve(fisher, gradient))
    return np.cov(np.array(steps).T).reshape(fisher.shape)
