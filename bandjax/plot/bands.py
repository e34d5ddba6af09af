"""Bands along a path of high-symmetry points."""

import numpy as np
from matplotlib.figure import Figure


def plot_bands(
    distance: np.ndarray,
    energy: np.ndarray,
    marks: list[tuple[float, str]],
    *,
    n_valence: int | None = None,
    title: str = "",
    window: tuple[float, float] | None = None,
) -> Figure:
    """Band structure, energies relative to the valence-band top of the path where the filling is known.

    Args:
        distance: Along the path in 1/Å, (k,).
        energy: eV, (k, band), ascending.
        marks: [(distance, label), …] of the high-symmetry points, as `k_path` returns them.
        n_valence: Filled bands; None leaves the energies on the table's own scale.
        title: Heading.
        window: Energies shown; None: all.
    """
    figure = Figure(figsize=(3.5, 3.8), layout="constrained")
    axis = figure.subplots()
    top = 0.0 if n_valence is None else float(energy[:, n_valence - 1].max())
    axis.plot(distance, energy - top, color="tab:blue", linewidth=1)
    for place, _ in marks:
        axis.axvline(place, color="0.7", linewidth=0.6, zorder=0)
    axis.set_xticks([place for place, _ in marks], [label for _, label in marks])
    axis.axhline(0.0, color="0.7", linewidth=0.6, linestyle=":", zorder=0)
    axis.set_xlim(float(distance[0]), float(distance[-1]))
    axis.set_ylabel("E (eV), table's scale" if n_valence is None else "E − valence-band top (eV)")
    if window is not None:
        axis.set_ylim(*window)
    axis.set_title(title, fontsize=9)
    return figure
