"""The numbers of a fit as figures: a table with pulls, and the correlation matrix."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from bandjax.plot.fit import DIVERGING


def plot_parameters(result: xr.Dataset) -> Figure:
    """Free parameters with errors, and their pulls from the prior in units of its width."""
    free = result.sel(parameter=result["free"].values.astype(bool))
    names = [str(n) for n in free["parameter"].values]
    rows = np.arange(len(names))
    figure = Figure(figsize=(5.5, 0.9 + 0.2 * len(names)), layout="constrained")
    axis = figure.subplots()
    pull = free["pull"].values
    width = free["standard_error"].values / free["prior_sigma"].values
    axis.axvspan(-1, 1, color="0.93", zorder=0)
    axis.errorbar(
        pull, rows, xerr=np.where(np.isfinite(width), width, 0), fmt="o", markersize=3, color="tab:blue", linewidth=1
    )
    limit = max(3.0, float(np.nanmax(np.abs(pull), initial=0.0)) * 1.1)
    axis.set_xlim(-limit, limit)
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.set_yticks(rows, [_line(free.isel(parameter=i)) for i in rows], fontsize=7, family="monospace")
    axis.set_xlabel("(value − prior)/prior width")
    figure.suptitle("value ± standard error [bootstrap]; grey: one prior width", fontsize=8)
    return figure


def plot_correlation(result: xr.Dataset) -> Figure:
    """Correlations of the free parameters."""
    covariance = result["covariance"].values
    error = np.sqrt(np.diagonal(covariance))
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = covariance / np.outer(error, error)
    names = [str(n) for n in result["parameter_1"].values]
    size = 1.6 + 0.17 * len(names)
    figure = Figure(figsize=(size + 0.6, size), layout="constrained")
    axis = figure.subplots()
    axis.set_facecolor("0.8")
    mesh = axis.imshow(correlation, cmap=DIVERGING, vmin=-1, vmax=1)
    axis.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    axis.set_yticks(range(len(names)), names, fontsize=7)
    figure.colorbar(mesh, ax=axis, label="correlation", shrink=0.8)
    return figure


def _line(row: xr.Dataset) -> str:
    value, error, again = (float(row[n]) for n in ("value", "standard_error", "bootstrap_error"))
    digits = 3 if not np.isfinite(error) or error <= 0 else int(np.clip(1 - np.floor(np.log10(error)), 0, 6))
    boot = f"[{again:.{digits}f}]" if np.isfinite(again) else "[–]"
    return f"{row['parameter'].item()} {value:.{digits}f} ± {error:.{digits}f} {boot} {row['unit'].item()}"
