"""A map beside the field that was trained on it, and what is left in units of the noise."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from bandjax import checks
from bandjax.reconstruction import Field


def plot_field(
    data: xr.DataArray, field: Field, *, exposure: np.ndarray | xr.DataArray | None = None, at: dict[str, int] | None = None,
    finer: int = 1,
) -> Figure:  # fmt: skip
    """Data, field and residual (data − field)/√(field × noise scale) on a plane of the map.

    Args:
        data: What it was trained on, with two or more axes; the last two are drawn, the others cut.
        field: The field.
        exposure: As for `fit_field`: data and residual are drawn at exposure 1; None: 1 everywhere.
        at: Index of each axis that is cut; None: the middle.
        finer: The field is drawn on a grid so many times finer.
    """
    if data.ndim < 2 or set(map(str, data.dims)) != set(field.names):
        told = ", ".join(map(str, data.dims))
        raise ValueError(
            f"Argument `data` must have the axes {', '.join(field.names)} of the field, at least two, but has {told}."
        )
    cut = {str(d): data.sizes[d] // 2 for d in data.dims[:-2]} | (at or {})
    if exposure is None:
        seconds = xr.ones_like(data, float)
    elif isinstance(exposure, xr.DataArray):
        seconds = exposure.transpose(*data.dims)
    else:
        checks.shape_is("exposure", exposure, data.shape)
        seconds = data.copy(data=np.asarray(exposure, float))
    plane = data.isel(cut)
    weight = seconds.isel(cut).values
    weight = np.where(weight > 0, weight, np.nan)
    rates = plane.values / weight
    x, y = (str(d) for d in plane.dims)
    axes = {n: np.atleast_1d(plane[n].values) for n in field.names}
    mean = field.on(axes).transpose(*(n for n in field.names if n not in (x, y)), x, y).values.reshape(plane.shape)
    scale = field.record.get("noise_scale", 1.0)
    left = (rates - mean) / np.sqrt(scale * mean / weight)
    fine = {**axes, **{n: _finer(axes[n], finer) for n in (x, y)}}
    drawn = field.on(fine).transpose(*(n for n in field.names if n not in (x, y)), x, y)
    drawn = drawn.values.reshape(fine[x].size, fine[y].size)
    figure = Figure(figsize=(7.6, 2.7), layout="constrained")
    top = float(np.nanmax([np.nanpercentile(rates, 99.8), mean.max()]))
    counts, noise = {"cmap": "viridis", "vmin": 0.0, "vmax": top}, {"cmap": "RdBu_r", "vmin": -4.0, "vmax": 4.0}
    parts = (
        ("data", axes, rates, counts, "counts"), ("field", fine, drawn, counts, "counts"), ("residual", axes, left, noise, "σ of the noise"),
    )  # fmt: skip
    for axis, (title, where, values, colours, label) in zip(figure.subplots(1, 3, sharey=True), parts, strict=True):
        shown = axis.pcolormesh(where[x], where[y], values.T, shading="nearest", rasterized=True, **colours)
        figure.colorbar(shown, ax=axis, label=label)
        axis.set_title(title, fontsize=9)
        axis.set_xlabel(_label(data, x))
    figure.axes[0].set_ylabel(_label(data, y))
    if cut:
        figure.suptitle(", ".join(f"{n} = {float(data[n][i]):.3g}" for n, i in cut.items()), fontsize=9)
    return figure


def _finer(axis: np.ndarray, factor: int) -> np.ndarray:
    places = np.linspace(0, axis.size - 1, factor * (axis.size - 1) + 1)
    return np.interp(places, np.arange(axis.size), axis)


def _label(data: xr.DataArray, name: str) -> str:
    unit = {"1/angstrom": "1/Å"}.get(data[name].attrs.get("units", ""), data[name].attrs.get("units", ""))
    told = "E − E_F" if name == "energy" and data.attrs.get("energy_reference") == "fermi" else name
    return f"{told} ({unit})" if unit else told
