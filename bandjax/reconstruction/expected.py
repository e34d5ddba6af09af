"""Counts that reconstructed surfaces expect, and what the map leaves of them."""

import numpy as np
import xarray as xr
from scipy.special import voigt_profile

NEEDED = ("band_energy", "height", "background")


def expected_counts(found: xr.Dataset, energy: xr.DataArray) -> xr.DataArray:
    """Mean counts μ = f(E) [Σ_b A_b V(E − E_b) + background], V the Voigt line of height 1.

    Args:
        found: Dataset of a `Reconstruction` by counts.
        energy: Energy axis of the map, eV, with its coordinate.

    Returns:
        In the map's counts, with the axes of the surfaces and `energy` last.

    Raises:
        ValueError: the dataset is of the published posterior, which has no line shape.
    """
    missing = [name for name in NEEDED if name not in found]
    if missing:
        raise ValueError(
            f"Argument `found` must be a reconstruction by counts, with {', '.join(NEEDED)}, but lacks {', '.join(missing)}."
        )
    at = energy.values
    sigma, eta = float(found.attrs["line_sigma"]), float(found.attrs["line_eta"])
    surfaces, heights = found["band_energy"].values[..., None], found["height"].values[..., None]
    lines = heights * voigt_profile(at - surfaces, sigma, eta) / voigt_profile(0.0, sigma, eta)
    ground = np.moveaxis(found["background"].values, 0, -1)
    if ground.shape[-1] > 1:
        knots = found["background_energy"].values
        ground = ground @ np.stack([np.interp(at, knots, row) for row in np.eye(knots.size)])
    factor = found["fermi_edge"].values if "fermi_edge" in found else 1.0
    names = [str(d) for d in found["band_energy"].dims if d != "band"]
    coords = {n: found[n] for n in names} | {"energy": energy}
    return xr.DataArray(factor * (np.nansum(lines, axis=0) + ground), coords, [*names, "energy"], name="expected")


def residual(data: xr.DataArray, found: xr.Dataset) -> xr.DataArray:
    """(data − μ)/√(s μ), in units of the noise; s is the variance over the mean of a value (`noise_scale`).

    Raises:
        ValueError: as `expected_counts`.
    """
    mean = expected_counts(found, data["energy"])
    noise = np.sqrt(float(found.attrs["noise_scale"]) * np.maximum(mean, np.finfo(float).tiny))
    return ((data.transpose(*mean.dims) - mean) / noise).rename("residual")
