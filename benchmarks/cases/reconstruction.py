"""Bands of a simulated graphene volume: the published posterior at sigma_pair 0.3 eV (a hundredth of the grid), and ours on counts with its widths given.

Everything that a call does is in the time (checks, arrays, the descent), compilation is not; errors are not computed. The volume is
simulated by the model that is fitted.
"""

import numpy as np
import xarray as xr
from scipy.special import voigt_profile

from bandjax.hamiltonian import tight_binding
from bandjax.materials import load_parameters
from bandjax.reconstruction import reconstruct_bands
from bandjax.spectrum import bands
from bandjax.structure import graphene
from benchmarks.timing import Row, in_turn, row

SIZES = {"tiny": (16, 60), "default": (100, 400)}  # pixels along each axis, energies
SIGMA, ETA, PEAK = 0.2, 0.3, 100.0  # eV, counts
SECONDS = 2.0
TOLERANCE = {"tiny": 0.05, "default": 0.016}  # eV; the small grid has its K points between the pixels


def run(size: str) -> list[Row]:
    pixels, energies = SIZES[size]
    k = np.linspace(-1, 1, pixels) * 2 * np.pi / 2.46
    grid = np.stack([*np.meshgrid(k, k, indexing="ij"), np.zeros((pixels, pixels))], axis=-1)
    table = load_parameters("graphene", "pz").replace(epsilon=0.0, gamma0=1.0)
    unit = tight_binding(graphene(a=2.46), table, spin_orbit=False)
    truth = np.moveaxis(np.asarray(bands(unit, grid.reshape(-1, 3))).reshape(pixels, pixels, 2), -1, 0)[::-1]
    energy = np.linspace(-5, 5, energies)
    line = voigt_profile(energy - truth[..., None], SIGMA, ETA).sum(axis=0) / voigt_profile(0, SIGMA, ETA)
    axes = {"kx": k, "ky": k, "energy": energy}
    clean, counts = (
        xr.DataArray(values.astype(float), dims=("kx", "ky", "energy"), coords=axes)
        for values in (line, np.random.default_rng(0).poisson(PEAK * line))
    )

    def published() -> np.ndarray:
        found = reconstruct_bands(
            clean, 0.8 * truth[:1], posterior="published", sigma_pair=0.3 * 100 / pixels, errors=False
        )
        return found.energy.values

    def ours() -> np.ndarray:
        found = reconstruct_bands(counts, 0.8 * truth, line=(SIGMA, ETA), sigma_curvature=0.005, errors=False)
        return found.energy.values

    timings = in_turn({"published": published, "ours": ours})
    label = f"{pixels} × {pixels} × {energies}"
    common = {"items": pixels**2, "item": "spectra", "tolerance": TOLERANCE[size], "error_against": "truth, rms, eV"}
    return [
        row(f"reconstruction: published posterior, one band, {label}", timings["published"], target="wall", limit=SECONDS,
            error=rms(published(), truth[:1]), **common),
        row(f"reconstruction: counts, two bands, {label}", timings["ours"], error=rms(ours(), truth), **common),
    ]  # fmt: skip


def rms(found: np.ndarray, truth: np.ndarray) -> float:
    """Root mean square, eV."""
    return float(np.sqrt(np.mean((found - truth) ** 2)))
