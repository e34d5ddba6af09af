"""Figures of `similarity_nanotubes.py`."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

COLOURS = ("tab:green", "tab:blue", "tab:orange")  # (n − m) mod 3 = 0, 1, 2


def plot_neighbours(pairs, edges, diameter, family, kind, nearest) -> Figure:
    """Each tube joined to its nearest neighbour: on the map of (n, m), and on the plot of transition energies over diameter."""
    figure = Figure(figsize=(10, 5), layout="constrained")
    sheet, kataura = figure.subplots(1, 2)
    n, m = np.array(pairs).T
    place = np.stack([n + m / 2, m * np.sqrt(3) / 2], axis=1)
    joined = family == family[nearest]
    _join(sheet, place, nearest, joined)
    for value, colour in enumerate(COLOURS):
        at = kind == value
        sheet.plot(*place[at].T, "o", color=colour, markersize=4, label=f"(n − m) mod 3 = {value}")
    for pair, (x, y) in zip(pairs, place, strict=True):
        if pair[1] == 0 and pair[0] % 2:
            sheet.annotate(f"({pair[0]}, 0)", (x, y - 0.9), ha="center", fontsize=6)
        elif pair[0] == pair[1]:
            sheet.annotate(f"({pair[0]}, {pair[0]})", (x - 0.3, y + 0.4), ha="right", fontsize=6)
    sheet.set(
        aspect="equal",
        ylim=(-1.8, place[:, 1].max() + 1.8),
        xlabel="zigzag direction (a)",
        ylabel="armchair direction (a)",
        title="chiral vectors",
    )
    sheet.plot([], [], color="0.45", label="nearest: same family 2n + m")
    sheet.plot([], [], color="tab:red", label="nearest: another family")
    sheet.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=3, frameon=False, columnspacing=0.8)
    for order, marker in ((0, "o"), (1, "^")):
        at = np.isfinite(edges[:, order]) & np.isfinite(edges[nearest, order])
        _join(kataura, np.stack([diameter / 10, edges[:, order]], axis=1), nearest, joined, at)
        for value, colour in enumerate(COLOURS):
            chosen = kind == value
            kataura.plot(diameter[chosen] / 10, edges[chosen, order], marker, color=colour, markersize=3)
        kataura.plot([], [], marker, color="0.4", markersize=3, label=("E11 (the gap)", "E22")[order])
    kataura.set(xlabel="diameter (nm)", ylabel="energy between subband edges (eV)", title="van Hove energies")
    kataura.legend(fontsize=7, frameon=False)
    return figure


def _join(
    axis: Axes, place: np.ndarray, nearest: np.ndarray, same: np.ndarray, shown: np.ndarray | None = None
) -> None:
    shown = np.ones(len(same), bool) if shown is None else shown
    for chosen, colour in ((same & shown, "0.45"), (~same & shown, "tab:red")):
        axis.add_collection(
            LineCollection(
                list(np.stack([place, place[nearest]], axis=1)[chosen]), colors=colour, linewidths=1.0, zorder=0
            )
        )


def plot_scan(
    shares: dict[tuple[str, str, float], list[float]],
    smearing: float,
    levels: dict[str, tuple[float, float]],
    saddle: float,
) -> Figure:
    """Shares of both labels over the reach of the window.

    Args:
        shares: By metric, what states are counted in, and reach in eV.
        smearing: Of all of them, eV.
        levels: Shares of both labels by the name of what they are to be compared with.
        saddle: Energy of graphene's saddle point, eV.
    """
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    reaches = sorted({reach for *_, reach in shares})
    for which, axis in enumerate(figure.subplots(1, 2, sharey=True)):
        for at, metric in enumerate(dict.fromkeys(name for name, *_ in shares)):
            for per, line in (("length", "-"), ("atom", "--")):
                drawn = [shares[metric, per, r][which] for r in reaches if (metric, per, r) in shares]
                if drawn:
                    label = metric if per == "length" or metric in ("cosine", "wasserstein") else None
                    axis.plot(reaches, 100 * np.array(drawn), line, color=f"C{at}", marker=".", label=label)
        for name, values in levels.items():
            axis.axhline(100 * values[which], color="0.6", linewidth=0.8)
            x, side, beside = (reaches[0], "left", 1) if values[which] < 0.9 else (reaches[-1], "right", -4)
            axis.annotate(name, (x, 100 * values[which] + beside), ha=side, fontsize=7, color="0.4")
        axis.axvline(saddle, color="0.8", linewidth=4, zorder=0)
        axis.set(xlabel="window: E_F ± (eV)", ylim=(0, 100))
    axes = figure.axes
    axes[0].set(ylabel="nearest neighbours that share it (%)", title="family 2n + m")
    axes[1].set(title="(n − m) mod 3")
    axes[0].annotate("saddle point", (saddle + 0.08, 96), fontsize=7, color="0.4")
    axes[0].legend(
        fontsize=7,
        frameon=False,
        title=f"smearing {smearing:g} eV\n(dashed: per atom)",
        title_fontsize=7,
        loc="upper right",
    )
    return figure


def plot_densities(energy: np.ndarray, panels: Sequence[dict[str, np.ndarray]], reach: float) -> Figure:
    """Densities of states of a few tubes, each over that of its nearest neighbour.

    Args:
        energy: E − E_F in eV, (energy,).
        panels: States per eV and Å by name, (energy,), the tube first.
        reach: End of the window in eV.
    """
    figure = Figure(figsize=(7, 5), layout="constrained")
    for axis, panel in zip(figure.subplots(len(panels), 1, sharex=True), panels, strict=True):
        for (name, values), line in zip(panel.items(), ("C0-", "C1--"), strict=True):
            axis.plot(energy, values, line, linewidth=1, label=name)
        axis.axvspan(reach, energy[-1], color="0.93", zorder=0)
        axis.set(ylabel="states/(eV Å)", xlim=(0, energy[-1]), ylim=(0, None))
        axis.legend(fontsize=7, frameon=False, loc="upper left")
    figure.axes[-1].set_xlabel("E − E_F (eV); grey: outside the window")
    return figure
