"""The baseline of the retrieval experiments: peak fits give back a band where they can (narrow resolution, many counts)."""

import numpy as np
import pytest
import xarray as xr
from scipy.ndimage import gaussian_filter1d

from bandjax.units import FWHM_PER_SIGMA
from experiments.peak_fits import Known, effective_energy, fit_model, fit_peaks, occupation

TRUTH = np.array([2.0, 0.9])  # E = a |k|² − μ: eV Å² and eV, a contour of 0.67 1/Å
KNOWN = Known(fwhm_energy=0.02, fwhm_momentum=0.012, temperature=20.0, eta=0.015)


def bands(theta: np.ndarray, k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    square = np.sum(k**2, axis=1)
    return (theta[0] * square - theta[1])[:, None], np.stack([square, -np.ones_like(square)], axis=1)[:, None, :]


def counts(peak: float) -> xr.DataArray:
    """A slice of the parabola's quadrant, the resolutions laid on a four times finer grid; 2 counts of background."""
    fine, coarse = {}, {"ky": (0.1, 0.3, 6), "kx": (0.4, 0.8, 40), "energy": (-0.26, 0.06, 33)}
    for name, (low, high, n) in coarse.items():
        step = (high - low) / (n - 1)
        fine[name] = low + step * (np.arange(-8 * 4, 4 * (n + 8)) / 4)
    k = np.stack(np.meshgrid(fine["kx"], fine["ky"]), axis=-1).reshape(-1, 2)
    band = bands(TRUTH, k)[0].reshape(fine["ky"].size, fine["kx"].size, 1)
    mean = KNOWN.eta / np.pi / ((fine["energy"] - band) ** 2 + KNOWN.eta**2) * occupation(fine["energy"], KNOWN)
    for axis, (name, fwhm) in enumerate((("ky", 0.012), ("kx", 0.012), ("energy", 0.02))):
        mean = gaussian_filter1d(mean, fwhm / FWHM_PER_SIGMA / np.diff(fine[name])[0], axis=axis)
    mean = mean[32:-32:4, 32:-32:4, 32:-32:4]
    axes = {n: v[32:-32:4] for n, v in fine.items()}
    drawn = np.random.default_rng(0).poisson(peak * mean / mean.max() + 2).astype(float)
    return xr.DataArray(drawn, dims=tuple(axes), coords=axes)


@pytest.fixture(scope="module")
def peaks():
    pytest.importorskip("lmfit", reason="peak fits need lmfit: pip install bandjax[reconstruction]")
    return {"map": fit_peaks(counts(2000.0), KNOWN)}


@pytest.mark.slow
@pytest.mark.parametrize("method", ["mdc", "edc", "both"])
def test_many_counts_and_a_narrow_resolution_give_the_band_back(peaks, method):
    """From 8 % and 60 meV off. Momentum curves know all of their shape: values within four errors. The shape of energy curves
    lacks the momentum resolution (13 meV at this slope), of which E_F cuts one side off: the band within 4 meV."""
    prior = TRUTH * 1.02, np.array([0.2, 0.1])
    theta, covariance, used = fit_model(peaks, {"map": bands}, TRUTH + np.array([0.16, 0.06]), prior, method)
    error = np.sqrt(np.diagonal(covariance))
    assert used > 50 and (error < 0.1 * prior[1]).all()  # the peaks say it, not the prior
    if method != "edc":
        assert (np.abs(theta - TRUTH) < 4 * error).all()
    k = np.stack([np.linspace(0.58, 0.67, 9), np.zeros(9)], axis=1)
    assert np.abs(bands(theta, k)[0] - bands(TRUTH, k)[0]).max() < (4e-3 if method == "edc" else 1e-3)


@pytest.mark.slow
def test_peaks_lie_on_the_band(peaks):
    found = peaks["map"]
    below = found.energy < -0.05
    for along, limit in (("kx", 2e-3), ("energy", 4e-3)):
        at = below & (found.along == along)
        off = bands(TRUTH, np.stack([found.kx[at], found.ky[at]], axis=1))[0][:, 0] - found.energy[at]
        if along == "kx":
            off = off / (2 * TRUTH[0] * found.kx[at])  # in 1/Å
        assert at.sum() > 20 and abs(np.median(off)) < limit


def test_the_brightest_band_of_a_momentum_curve():
    """Far below E_F that of the curve's energy; above it one below it."""
    energy = np.array([-0.3, -0.2, 0.02])
    found = effective_energy(energy, KNOWN)
    np.testing.assert_allclose(found[:2], energy[:2], atol=2e-3)
    assert -0.05 < found[2] < 0.01
