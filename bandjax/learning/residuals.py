"""Whether a residual is noise, and if not, of what form it is."""

import numpy as np

from bandjax.inference import FitResult
from bandjax.inference.likelihood import SMALLEST_MEAN
from bandjax.inference.uncertainty import residual_tests

MISFIT = 4.0  # standard deviations by which χ² or a neighbour correlation may exceed that of noise
SMOOTH = 3  # degree of the polynomials that stand for a background in what is said of a misfit


def residual_test(result: FitResult) -> tuple[float, list[str]]:
    """By how many standard deviations the worst of χ² and the neighbours' correlations exceeds noise, and sentences: of
    what form the misfit is, and what else says that the image is not one of counts that the model makes."""
    found = result.maps["map"]
    tests = misfits(found.data.values, found.model.values, len(result.names))
    named = dict(
        zip(("χ²", *(f"the correlation of neighbours along {d}" for d in found.data.dims)), tests, strict=True)
    )
    words = [
        f"{name[0].upper()}{name[1:]} exceeds that of noise by {value:.1f} standard deviations."
        for name, value in named.items()
        if value > MISFIT
    ]
    if not np.isfinite(tests).all():
        words.append("Too few pixels have counts enough to test the residual; add pixels up.")
    if max(tests) > MISFIT:
        words.append(form_of(found.data.values, found.model.values, len(result.names)))
    fitted = np.isfinite(found.data.values)
    if tests[0] < -MISFIT:
        words.append(f"χ² is {-tests[0]:.1f} standard deviations below that of noise: the errors are too large.")
    if (found.data.values[fitted] % 1 != 0).any():
        words.append(
            "The image holds numbers that are not whole, but counts are what noise, errors and verdict assume."
        )
    return max(tests), words


def misfits(data: np.ndarray, model: np.ndarray, parameters: int) -> tuple[float, ...]:
    """Excess of Pearson's χ² and of the correlations of neighbours along each axis, in standard deviations of noise.

    The variance of χ² of Poisson counts is Σ (2 + 1/μ), that of a correlation one over the number of pairs. Pixels whose
    mean is so small that the likelihood no longer is Poisson's (`SMALLEST_MEAN`) are one pixel together, without neighbours.

    Args:
        data: Counts, (kx, energy), NaN where a pixel is not fitted.
        model: Mean counts, the same shape.
        parameters: How many were fitted.

    Returns:
        (χ², correlation along each axis); NaN where hardly more pixels can be tested than parameters were fitted.
    """
    mean = np.maximum(model, SMALLEST_MEAN)
    fitted = np.isfinite(data) & (model > SMALLEST_MEAN)
    if fitted.sum() <= parameters:
        return (float("nan"),) * (1 + data.ndim)
    residual = np.where(fitted, data - mean, 0.0) / np.sqrt(mean)
    tests = residual_tests(residual, fitted, np.zeros_like(fitted), parameters, residual)
    excess, variance = (residual**2).sum() - (fitted.sum() - parameters), (2 + 1 / mean[fitted]).sum()
    faint = np.isfinite(data) & ~fitted
    if faint.any():
        together = max(np.maximum(model[faint], 0).sum(), SMALLEST_MEAN)
        excess += (data[faint].sum() - together) ** 2 / together - 1
        variance += 2 + 1 / together
    chi2 = float(excess / np.sqrt(variance))
    pairs = [(np.delete(fitted, 0, axis) & np.delete(fitted, -1, axis)).sum() for axis in range(data.ndim)]
    return (chi2, *(c * float(np.sqrt(n)) for c, n in zip(tests.correlation, pairs, strict=True)))


def form_of(data: np.ndarray, model: np.ndarray, parameters: int) -> str:
    """Whether another detector or background would explain a misfit: a sentence.

    The detector: a sensitivity of every row and every column, μ_ij (1 + a_i + b_j). The background: cubic polynomials of
    k and E. Both are fitted to the residual by least squares, and the tests are made again.
    """
    mean = np.maximum(model, SMALLEST_MEAN)
    fitted = np.isfinite(data) & (model > SMALLEST_MEAN)
    rows, columns = data.shape
    k, e = np.linspace(-1, 1, rows)[:, None], np.linspace(-1, 1, columns)[None, :]
    smooth = [np.broadcast_to(k**i * e**j, data.shape) for i in range(SMOOTH + 1) for j in range(SMOOTH + 1 - i)]
    each = [mean * (np.arange(rows) == i)[:, None] for i in range(rows)]
    each += [mean * (np.arange(columns) == j)[None, :] for j in range(columns)]
    for design, told in (
        (smooth, "A smooth background would explain the misfit"),
        (each, "The sensitivity of single rows and columns of the detector would explain the misfit"),
        (smooth + each, "A smooth background with the sensitivity of single rows and columns of the detector would explain the misfit"),
    ):  # fmt: skip
        matrix = np.stack([(d / np.sqrt(mean))[fitted] for d in design], axis=-1)
        residual = ((data - mean) / np.sqrt(mean))[fitted]
        found, _, rank, _ = np.linalg.lstsq(matrix, residual, rcond=None)
        better = mean.copy()
        better[fitted] += (matrix @ found) * np.sqrt(mean[fitted])
        if max(misfits(data, np.maximum(better, SMALLEST_MEAN), parameters + int(rank))) <= MISFIT:
            return f"{told}: the stack may still be right, but its errors leave that out."
    return "Neither a smooth background nor the sensitivity of the detector's rows and columns explains the misfit: it lies in the bands."
