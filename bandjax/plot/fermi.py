"""Fermi surfaces of a retrieval: data, model and residual at E_F, with the fitted contours and their errors."""

from collections.abc import Mapping

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bandjax.inference import FermiSurface, Retrieval

NEAR = 0.03  # eV: energies on both sides of E_F that are added up
COLOURS = ("tab:cyan", "tab:orange", "tab:green", "tab:pink")
STYLES = ("dashed", "dotted", "dashdot")


def plot_fermi_surface(
    found: Retrieval,
    *,
    others: Mapping[str, Mapping[str, FermiSurface]] | None = None,
    whole: Mapping[str, xr.DataArray] | None = None,
) -> Figure:
    """One row a map: data near E_F with contours of every band, model, residual, in the same colours.

    Args:
        found: The retrieval; maps without `kx` and `ky` are left out.
        others: Name -> map -> surface: contours to be drawn beside those found (a truth, another method).
        whole: The maps before a part was taken, to be shown in the first column with the part framed.

    Raises:
        ValueError: no map has both axes.
    """
    shown = {
        n: m for n, m in found.fit.maps.items() if {"kx", "ky"} <= set(map(str, m.data.dims)) and n in found.surfaces
    }
    if not shown:
        raise ValueError(
            "Argument `found` must hold a map over kx and ky for its Fermi surface to be drawn, but holds none."
        )
    figure = Figure(figsize=(7.4, 2.1 * len(shown) + 0.5), layout="constrained")
    rows = figure.subplots(len(shown), 3, squeeze=False)
    for axes, (name, one) in zip(rows, shown.items(), strict=True):
        near = np.abs(one.data["energy"].values) <= NEAR
        near = near if near.any() else np.arange(near.size) == np.abs(one.data["energy"].values).argmin()
        slices = {k: getattr(one, k).isel(energy=near) for k in ("data", "model", "residual")}
        missing = one.data.isel(energy=near).isnull().all("energy")
        images = {
            "data": slices["data"].sum("energy", skipna=True).where(~missing),
            "model": slices["model"].sum("energy").where(~missing),
            "residual": (slices["residual"].sum("energy", skipna=True) / np.sqrt(int(near.sum()))).where(~missing),
        }
        limit = float(np.nanpercentile(images["model"].values, 99.5))
        if whole is not None:
            first = whole[name].isel(energy=np.abs(whole[name]["energy"].values) <= NEAR).sum("energy")
            _image(axes[0], first, "Greys", 0.0, limit, "counts")
            x, y = (images["data"].where(~missing, drop=True)[d].values for d in ("kx", "ky"))
            axes[0].plot(
                [x[0], x[-1], x[-1], x[0], x[0]], [y[0], y[0], y[-1], y[-1], y[0]], color="tab:red", linewidth=0.8
            )
        else:
            _image(axes[0], images["data"], "Greys", 0.0, limit, "counts")
        _image(axes[1], images["model"], "Greys", 0.0, limit, "counts")
        _image(axes[2], images["residual"], "RdBu_r", -4.0, 4.0, "residual (σ)")
        origin = found.fit.instrument(name).origin
        for axis in axes[:2]:
            _contours(axis, found.surfaces[name], origin, "solid", 1.2)
            for style, surfaces in zip(STYLES, (others or {}).values(), strict=False):
                _contours(axis, surfaces[name], origin, style, 1.2, colour="black" if style == "dotted" else "tab:red")
        titles = (f"{name}\n|E − E_F| ≤ {NEAR * 1e3:.0f} meV", "model", "residual")
        for axis, title in zip(axes, titles, strict=True):
            axis.set_title(title, fontsize=7)
    lines = [Line2D([], [], color=COLOURS[b % len(COLOURS)], label=f"band {b}, fit") for b in _crossing(found)]
    for style, other in zip(STYLES, others or {}, strict=False):
        lines.append(Line2D([], [], color="black" if style == "dotted" else "tab:red", linestyle=style, label=other))
    figure.legend(handles=lines, loc="outside lower center", ncols=len(lines), fontsize=8, frameon=False)
    return figure


def _crossing(found: Retrieval) -> list[int]:
    """Bands that cross E_F in some plane."""
    sides = [(f.energies.min(axis=(0, 1)) < 0) & (f.energies.max(axis=(0, 1)) > 0) for f in found.surfaces.values()]
    return sorted({int(b) for s in sides for b in np.flatnonzero(s)})


def _image(axis: Axes, values: xr.DataArray, colours: str, low: float, high: float, label: str) -> None:
    values = values.transpose("ky", "kx")
    image = axis.pcolormesh(
        values["kx"].values, values["ky"].values, values.values, cmap=colours, vmin=low, vmax=high, shading="nearest", rasterized=True
    )  # fmt: skip
    bar = axis.figure.colorbar(image, ax=axis, shrink=0.62, aspect=14)
    bar.set_label(label, fontsize=8)
    bar.ax.tick_params(labelsize=7)
    axis.tick_params(labelsize=7)
    axis.set_aspect("equal")
    axis.set_xlim(float(values["kx"].min()), float(values["kx"].max()))
    axis.set_ylim(float(values["ky"].min()), float(values["ky"].max()))
    axis.set_xlabel("k_x (1/Å)", fontsize=8)
    axis.set_ylabel("k_y (1/Å)", fontsize=8)


def _contours(
    axis: Axes,
    surface: FermiSurface,
    origin: tuple[float, float],
    style: str,
    width: float,
    *,
    colour: str | None = None,
) -> None:
    """Contours E = E_F of every band, in all copies of the zone that the axis shows; its momenta count from `origin`."""
    n = surface.energies.shape[0]
    share = np.arange(n + 1) / n
    x, y = np.array(axis.get_xlim()) + origin[0], np.array(axis.get_ylim()) + origin[1]
    reach = np.abs([*x, *y]).max()
    copies = int(np.ceil(2 * reach / np.linalg.norm(surface.vectors, axis=1).min())) + 1
    for b in range(surface.energies.shape[-1]):
        band = np.pad(surface.energies[..., b], ((0, 1), (0, 1)), mode="wrap")
        if band.min() > 0 or band.max() < 0:
            continue
        for i in range(-copies, copies):
            for j in range(-copies, copies):
                k = (share[:, None, None] + i) * surface.vectors[0] + (share[None, :, None] + j) * surface.vectors[1]
                low, high = k.min(axis=(0, 1)), k.max(axis=(0, 1))
                if high[0] < x[0] or low[0] > x[1] or high[1] < y[0] or low[1] > y[1]:
                    continue
                k = k - np.array(origin)
                axis.contour(
                    k[..., 0], k[..., 1], band, levels=[0.0], colors=[colour or COLOURS[b % len(COLOURS)]], linewidths=width,
                    linestyles=style,
                )  # fmt: skip
