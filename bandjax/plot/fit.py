"""Data | model | residual of a fit, with the fitted bands, and energy and momentum curves with their model.

Figures are made without pyplot, so that no window opens and no state is kept: `figure.savefig(path)`.
"""

import json

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

SEQUENTIAL, DIVERGING = "viridis", "RdBu_r"
UNITS = {"energy": "E − E$_F$ (eV)", "kx": "k$_x$ (1/Å)", "ky": "k$_y$ (1/Å)", "angle": "angle (°)"}
UNITS |= {"deflector": "deflector (°)", "hv": "photon energy (eV)"}
LARGEST_SIGMA = 5.0  # residual colours saturate here at most


def plot_fit(result: xr.Dataset, name: str | None = None, *, bands: bool = True) -> Figure:
    """Data, model (same colours) and residual/σ of a cut; a volume or scan is shown at its central slices.

    Args:
        result: Dataset of a fit (`result_dataset`, `read_result`).
        name: Map, where the fit has several; None takes the first.
        bands: Whether to draw the fitted bands on the first map, where that is a cut.
    """
    images = slices(result, name)
    first = json.loads(result.attrs["maps"])[0]
    whole_cut = len(images) == 1 and name in (None, first)  # `band_energy` belongs to the first map's own cut
    rows = len(images)
    figure = Figure(figsize=(7.0, 0.5 + 2.9 * rows), layout="constrained")
    panels = figure.subplots(rows, 3, squeeze=False, sharex="row", sharey="row")
    for row, image in zip(panels, images, strict=True):
        data, model, residual, title = image
        high = float(np.nanpercentile(data, 99.7))
        low = min(0.0, float(np.nanpercentile(data, 0.3)))
        for axis, array, heading in ((row[0], data, "data" + title), (row[1], model, "model")):
            mesh = draw(axis, array, cmap=SEQUENTIAL, vmin=low, vmax=high)
            axis.set_title(heading, fontsize=9)
        figure.colorbar(mesh, ax=list(row[:2]), label="counts", shrink=0.9, pad=0.01)
        limit = float(np.clip(np.nanpercentile(np.abs(residual), 99), 1.0, LARGEST_SIGMA))
        mesh = draw(row[2], residual, cmap=DIVERGING, vmin=-limit, vmax=limit)
        row[2].set_title("(data − model)/σ", fontsize=9)
        figure.colorbar(mesh, ax=row[2], label="σ", shrink=0.9, pad=0.01, extend="both")
        if bands and whole_cut and "band_energy" in result and "energy" in data.dims:
            for axis in row:
                _draw_bands(axis, result, data)
        for axis in row[1:]:
            axis.set_ylabel("")
    chi2 = result.attrs.get("reduced_chi2")
    state = "" if result.attrs.get("converged", 1) else ", not converged"
    figure.suptitle(f"{result.attrs.get('model', '')}: reduced χ² {chi2:.3g}{state}", fontsize=10)
    return figure


def slices(result: xr.Dataset, name: str | None = None) -> list[tuple[xr.DataArray, xr.DataArray, xr.DataArray, str]]:
    """Two-dimensional (data, model, residual, title) of a map: itself, or central slices of a volume."""
    names = json.loads(result.attrs["maps"])
    suffix = f"_{name or names[0]}" if len(names) > 1 else ""
    arrays = [result[f"{kind}{suffix}"] for kind in ("data", "model", "residual")]
    if suffix:
        arrays = [a.rename({d: str(d).removesuffix(suffix) for d in a.dims}) for a in arrays]
    lateral = [d for d in arrays[0].dims if d != "energy"]
    chosen = [{}]
    if len(lateral) > 1:
        chosen = [{d: arrays[0].sizes[d] // 2 for d in lateral if d != keep} for keep in lateral]
        if arrays[0].ndim == 3 and "hv" not in lateral:
            chosen.append({"energy": arrays[0].sizes["energy"] * 2 // 3})
    out = []
    for where in chosen:
        parts = [", ".join(f"{d} = {float(arrays[0][d][i]):.3g}" for d, i in where.items())]
        title = f", {parts[0]}" if parts[0] else ""
        out.append((*(a.isel(where) for a in arrays), title))
    return out


def draw(axis: Axes, image: xr.DataArray, **options: object):
    """A map as colours, energy upwards; masked pixels stay grey."""
    across, up = _directions(image)
    values = image.transpose(up, across).values
    axis.set_facecolor("0.8")
    mesh = axis.pcolormesh(image[across], image[up], values, shading="nearest", rasterized=True, **options)
    axis.set_xlabel(UNITS.get(across, across))
    axis.set_ylabel(UNITS.get(up, up))
    return mesh


def plot_curves(result: xr.Dataset, name: str | None = None, *, count: int = 5) -> Figure:
    """Energy distribution curves at `count` pixels and momentum distribution curves at `count` energies, with the model."""
    data, model, _, _ = slices(result, name)[0]
    across, up = _directions(data)
    figure = Figure(figsize=(7.0, 3.6), layout="constrained")
    panels = figure.subplots(1, 2)
    for axis, along, other in ((panels[0], up, across), (panels[1], across, up)):
        places = np.linspace(0, data.sizes[other] - 1, count + 2).round().astype(int)[1:-1]
        step = 0.8 * float(np.nanpercentile(data, 99))
        for i, place in enumerate(places):
            cut = {other: place}
            axis.plot(data[along], data.isel(cut) + i * step, ".", color="0.55", markersize=2)
            axis.plot(model[along], model.isel(cut) + i * step, color="tab:red", linewidth=1)
            label = f"{float(data[other][place]):.2f}"
            axis.annotate(
                label, (1.0, i * step), xycoords=("axes fraction", "data"), fontsize=7, ha="right", va="bottom"
            )
        axis.set_xlabel(UNITS.get(along, along))
        axis.set_ylabel("counts, shifted")
        axis.set_title(f"at {UNITS.get(other, other)}", fontsize=9)
    figure.suptitle("data (dots) and model (lines)", fontsize=10)
    return figure


def _directions(image: xr.DataArray) -> tuple[str, str]:
    dims = [str(d) for d in image.dims]
    up = "energy" if "energy" in dims else dims[0]
    return next(d for d in reversed(dims) if d != up), up


def _draw_bands(axis: Axes, result: xr.Dataset, image: xr.DataArray) -> None:
    across, _ = _directions(image)
    energy = result["band_energy"].values
    if across == "kx":
        x = np.broadcast_to(result["kx"].values[:, None], energy.shape)
    elif across == "angle" and "band_angle" in result:
        x = result["band_angle"].values
    else:
        return
    low, high = float(image["energy"][0]), float(image["energy"][-1])
    for band in range(energy.shape[1]):
        inside = (energy[:, band] >= low) & (energy[:, band] <= high)
        axis.plot(
            np.where(inside, x[:, band], np.nan), np.where(inside, energy[:, band], np.nan), "--", color="w" if axis.get_title() != "(data − model)/σ" else "k",
            linewidth=0.7, alpha=0.8,
        )  # fmt: skip
    axis.set_xlim(float(image[across].min()), float(image[across].max()))
    axis.set_ylim(low, high)
