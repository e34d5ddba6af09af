"""Reconstructed bands on the map they were read from: energy-momentum cuts with error bands, surfaces, and their errors."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = ("tab:cyan", "tab:orange", "tab:green", "tab:pink", "tab:olive", "white", "tab:red", "tab:purple")


def plot_reconstruction(data: xr.DataArray, found: xr.Dataset, *, truth: xr.DataArray | None = None) -> Figure:
    """Cuts through the middle of the map with the bands, ± 2 standard errors; for a volume also the first band's surface and its errors.

    Args:
        data: The map, with the axis `energy` and one or two others.
        found: The dataset of a `Reconstruction`.
        truth: Bands that simulated data were made with, on the same axes.
    """
    names = [str(d) for d in found["band_energy"].dims if d != "band"]
    if len(names) == 1:
        figure = Figure(figsize=(3.8, 3.6), layout="constrained")
        _cut(figure.subplots(), data, found, truth, names[0], {})
        return figure
    figure = Figure(figsize=(7.2, 6.2), layout="constrained")
    axes = figure.subplots(2, 2)
    for axis, along, across in ((axes[0, 0], names[0], names[1]), (axes[0, 1], names[1], names[0])):
        _cut(axis, data, found, truth, along, {across: found.sizes[across] // 2})
    band = found["band_energy"].isel(band=0)
    _surface(figure, axes[1, 0], band, "E of band 0 (eV)", "viridis", 1.0)
    if "band_error" in found:
        _surface(figure, axes[1, 1], found["band_error"].isel(band=0), "standard error (meV)", "magma", 1e3)
    else:
        axes[1, 1].set_axis_off()
    return figure


def _cut(
    axis: Axes, data: xr.DataArray, found: xr.Dataset, truth: xr.DataArray | None, along: str, at: dict[str, int]
) -> None:
    image = data.isel(at).transpose("energy", along)
    k = found[along].values
    shown = axis.pcolormesh(
        data[along].values, data["energy"].values, image.values, cmap="Greys", shading="nearest", rasterized=True
    )
    axis.figure.colorbar(shown, ax=axis, label="counts")
    bands = found["band_energy"].isel(at)
    for b in range(bands.sizes["band"]):
        colour = COLOURS[b % len(COLOURS)]
        energy = bands.isel(band=b).values
        axis.plot(k, energy, color=colour, linewidth=1.0)
        if "band_error" in found:
            error = 2 * found["band_error"].isel(at).isel(band=b).values
            axis.fill_between(k, energy - error, energy + error, color=colour, alpha=0.4, linewidth=0)
        if truth is not None:
            axis.plot(k, truth.isel(at).isel(band=b).values, "k:", linewidth=0.8)
    axis.set_xlabel(axis_label(found[along]))
    axis.set_ylabel(energy_label(data))
    low, high = float(data["energy"].min()), float(data["energy"].max())
    axis.set_ylim(low, high)
    if at:
        ((name, place),) = at.items()
        axis.set_title(f"{name} = {float(found[name][place]):.3g}", fontsize=8)


def _surface(figure: Figure, axis: Axes, values: xr.DataArray, label: str, colours: str, factor: float) -> None:
    x, y = (values[d] for d in values.dims)
    numbers = factor * values.values.T
    limit = np.nanpercentile(numbers, (1, 99))
    shown = axis.pcolormesh(
        x.values, y.values, numbers, cmap=colours, vmin=limit[0], vmax=limit[1], shading="nearest", rasterized=True
    )
    figure.colorbar(shown, ax=axis, label=label)
    axis.set_xlabel(axis_label(x))
    axis.set_ylabel(axis_label(y))
    if x.attrs.get("units") == y.attrs.get("units"):
        axis.set_aspect("equal")


def energy_label(data: xr.DataArray) -> str:
    """Of a map's energy axis."""
    return "E − E_F (eV)" if data.attrs.get("energy_reference") == "fermi" else "E (eV)"


def axis_label(coordinate: xr.DataArray) -> str:
    """Name and unit of an axis."""
    unit = {"1/angstrom": "1/Å"}.get(coordinate.attrs.get("units", ""), coordinate.attrs.get("units", ""))
    return f"{coordinate.name} ({unit})" if unit else str(coordinate.name)
