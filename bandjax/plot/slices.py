"""A volume cut at constant energies with the surfaces that cross there, and what a reconstruction leaves of the map."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bandjax.plot.surfaces import COLOURS, axis_label, energy_label
from bandjax.reconstruction import residual

NOISE = 4.0  # units of the noise at the ends of the residual's colour scale
SLICES = 3


def plot_slices(data: xr.DataArray, found: xr.Dataset, energies: Sequence[float] | None = None) -> Figure:
    """Constant-energy maps of a volume with the lines where each surface has that energy: its Fermi surface at E = 0.

    Args:
        data: The volume, over energy and two other axes.
        found: The dataset of a `Reconstruction` on these axes.
        energies: eV; the nearest of the map are shown. None: three that divide the span of the surfaces, one of them E_F where bands cross it.

    Raises:
        ValueError: the map is no volume.
    """
    names = sorted(str(d) for d in found["band_energy"].dims if d != "band")  # kx along x
    if len(names) != 2:
        raise ValueError(
            f"Argument `data` must be a volume for slices, but has the axes {', '.join(map(str, data.dims))}."
        )
    shown = _energies(data, found) if energies is None else list(energies)
    figure = Figure(figsize=(2.5 * len(shown) + 0.4, 2.9), layout="constrained")
    for axis, energy in zip(np.atleast_1d(figure.subplots(1, len(shown))), shown, strict=True):
        _slice(axis, data.sel(energy=energy, method="nearest").transpose(names[1], names[0]), found, names)
    return figure


def plot_residual(data: xr.DataArray, found: xr.Dataset) -> Figure:
    """What the expected counts leave of the map, in units of the noise: cuts through the middle, and all of its histogram beside the normal law.

    Raises:
        ValueError: `found` is no reconstruction by counts.
    """
    left = residual(data, found)
    names = [str(d) for d in left.dims if d != "energy"]
    figure = Figure(figsize=(2.7 * (len(names) + 1), 2.9), layout="constrained")
    axes = figure.subplots(1, len(names) + 1)
    for axis, along in zip(axes, names, strict=False):
        others = {n: left.sizes[n] // 2 for n in names if n != along}
        image = left.isel(others).transpose("energy", along)
        shown = axis.pcolormesh(
            left[along].values, left["energy"].values, image.values, cmap="RdBu_r", vmin=-NOISE, vmax=NOISE, shading="nearest", rasterized=True
        )  # fmt: skip
        axis.set(xlabel=axis_label(found[along]), ylabel=energy_label(data))
        title = ", ".join(f"{n} = {float(left[n][i]):.2f}" for n, i in others.items())
        axis.set_title(title, fontsize=8)
        if axis is axes[len(names) - 1]:
            figure.colorbar(shown, ax=axis, label="(data − expected)/noise")
    bins = np.linspace(-6, 6, 61)
    values = left.values[np.isfinite(left.values)]
    axes[-1].hist(np.clip(values, -6, 6), bins, density=True, color="0.7")
    axes[-1].plot(bins, np.exp(-(bins**2) / 2) / np.sqrt(2 * np.pi), "k", lw=1)
    axes[-1].set(xlabel="(data − expected)/noise", ylabel="part of the pixels", yscale="log", ylim=(1e-6, 1))
    return figure


def _energies(data: xr.DataArray, found: xr.Dataset) -> list[float]:
    """Three of the map's energies inside the span of the surfaces, E_F instead of the nearest where it lies inside."""
    low, high = float(found["band_energy"].min()), float(found["band_energy"].max())
    chosen = np.quantile(found["band_energy"].values, (np.arange(SLICES) + 0.5) / SLICES)
    if data.attrs.get("energy_reference") == "fermi" and low < 0 < high:
        chosen[np.abs(chosen).argmin()] = 0.0
    return [float(e) for e in chosen]


def _slice(axis: Axes, image: xr.DataArray, found: xr.Dataset, names: list[str]) -> None:
    x, y = (found[n].values for n in names)
    axis.pcolormesh(x, y, image.values, cmap="Greys", shading="nearest", rasterized=True)
    energy = float(image["energy"])
    for b in range(found.sizes["band"]):
        surface = found["band_energy"].isel(band=b).transpose(names[1], names[0]).values
        if np.nanmin(surface) < energy < np.nanmax(surface):
            axis.contour(
                x, y, surface, [energy], colors=[COLOURS[b % len(COLOURS)]], linewidths=1.0, linestyles="solid"
            )
    axis.set(xlabel=axis_label(found[names[0]]), ylabel=axis_label(found[names[1]]))
    axis.set_title(f"E = {energy:.2f} eV", fontsize=8)
    if found[names[0]].attrs.get("units") == found[names[1]].attrs.get("units"):
        axis.set_aspect("equal")
