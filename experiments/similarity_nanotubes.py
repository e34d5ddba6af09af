"""Carbon nanotubes by fingerprint: the nearest neighbour has the same family 2n + m and the same (n − m) mod 3.

Claim: of all (n, m) with diameters of 0.6 to 2 nm, the nearest by the fingerprint of `Config.chosen` is of the same family 2n + m for at least
50 % (chance: 2.4 %) and shares (n − m) mod 3 for at least 95 % (chance: 33 %), far above the nearest by gap alone.

Bands: radial p orbitals with curvature (`bandjax/hamiltonian/helical.py`). The chosen settings rest on two arguments. The window ends
below the saddle point of graphene at |V_ppπ|, where every tube, of any family, has its highest peak. And states are counted per Å
along the tube: a subband's edge is then the same peak in every tube, so that the area between two densities ("manhattan") counts the
edges without a partner. Tubes of one family share about every other edge, see densities.png: 2n + m is three times the number of lines
of allowed wave vectors from Γ to K.

These settings were written down after a first look at such scores. Hence a scan over windows, smearings, metrics and normalisations
stands beside them (`scan`), and so does what a choice by score is worth (`held_out`): the best settings among half of the tubes alone,
scored on the other half, over many halves.
"""

import dataclasses
from collections.abc import Callable
from itertools import product
from pathlib import Path

import jax
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from rich.progress import track
from scipy.spatial.distance import cdist
from scipy.stats import spearmanr

jax.config.update("jax_enable_x64", True)

import bandjax as bj  # noqa: E402
from bandjax.fingerprints import Levels, as_window, density, embedded, relative_energies  # noqa: E402
from bandjax.fingerprints.distances import VECTOR_METRICS  # noqa: E402
from bandjax.materials import Table  # noqa: E402
from bandjax.spectrum.helical import mesh_size, tube_levels, van_hove_energies  # noqa: E402
from bandjax.structure import Tube, chiral_angle, list_nanotubes, tube, tube_diameter  # noqa: E402
from experiments.common import run_and_save  # noqa: E402

SCIKIT_TO_SCIPY = {"euclidean": "euclidean", "cosine": "cosine", "manhattan": "cityblock"}
ATOMS = 2  # of the helical cell


@dataclasses.dataclass(frozen=True)
class Setting:
    """Of a fingerprint and its distance: the window is E_F ± reach."""

    reach: float  # eV
    smearing: float  # eV
    per: str  # "atom" or "length"
    metric: str


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that the experiment depends on."""

    diameters: tuple[float, float] = (6.0, 20.0)  # Å
    published: Setting = Setting(5.0, 0.05, "atom", "euclidean")
    chosen: Setting = Setting(2.4, 0.02, "length", "manhattan")
    points: int = 513
    reaches: tuple[float, ...] = (1.0, 1.5, 2.0, 2.2, 2.4, 2.6, 3.0, 4.0, 5.0)
    smearings: tuple[float, ...] = (0.01, 0.02, 0.05, 0.1, 0.2)
    metrics: tuple[str, ...] = ("euclidean", "cosine", "manhattan", "wasserstein", "mmd")
    sigma_mmd: float = 0.2
    step: float = 0.01  # eV, of the scan's energies
    halves: int = 200
    bare_sigma: float = 6.38  # eV: V_ppσ without the effect of the bonds' orbitals, as another model
    seed: int = 0


PRESETS = {
    "default": Config(),
    "smoke": Config(diameters=(6.0, 9.0), reaches=(2.4, 5.0), smearings=(0.05,), metrics=("euclidean", "manhattan"), step=0.02, halves=5),
}  # fmt: skip


def levels_of(tube: Tube, table: Table, smearing: float) -> tuple[jax.Array, jax.Array]:
    """Energies (k, 2) and weights (k,), levels at most a smearing apart; sizes are powers of two, so that few programs are compiled."""
    size = 2 ** int(np.ceil(np.log2(mesh_size(tube, table, smearing))))
    found = tube_levels(tube, table, size)
    return found.energy, found.weight


def states(energy: jax.Array, weight: jax.Array, at: np.ndarray, smearing: float) -> jax.Array:
    """States per eV and helical cell at energies `at`, shape (energy,)."""
    return density(Levels(energy, weight, float(ATOMS), 2), at, smearing=smearing)


def per_unit(values: np.ndarray, tubes: list[Tube], per: str) -> np.ndarray:
    """States per eV and helical cell, (tube, energy), counted per atom or per Å along the tube."""
    cells = np.array([built.fold / float(built.step) for built in tubes]) if per == "length" else 1 / ATOMS
    return values * np.reshape(cells, (-1, 1))


def shares(apart: np.ndarray, family: np.ndarray, kind: np.ndarray, asked: np.ndarray | None = None) -> list[float]:
    """Of the queries, how many have a nearest neighbour of their family, and of their (n − m) mod 3."""
    nearest = np.argmin(apart + np.diag(np.full(len(apart), np.inf)), axis=1)
    rows = np.arange(len(apart)) if asked is None else asked
    return [float(np.mean(label[rows] == label[nearest[rows]])) for label in (family, kind)]


def chance(label: np.ndarray) -> float:
    """How often two different entries share a label."""
    same = label[:, None] == label
    return float((same.sum() - len(label)) / (len(label) * (len(label) - 1)))


def distances(values: np.ndarray, step: float, metric: str, sigma_mmd: float) -> np.ndarray:
    """All distances of fingerprints (tube, energy)."""
    vectors = np.asarray(embedded(values, metric, step=step, sigma_mmd=sigma_mmd))
    return cdist(vectors, vectors, SCIKIT_TO_SCIPY[VECTOR_METRICS[metric]])


def collection_of(setting: Setting, tubes: list[Tube], table: Table, config: Config):
    """Fingerprints by the program's own functions, as a user makes them."""
    window = f"fermi:{-setting.reach}:{setting.reach}:{config.points}"
    energy = relative_energies(as_window(window), setting.smearing)  # the bands are symmetric about E_F = 0
    values = [
        states(*levels_of(built, table, setting.smearing), energy, setting.smearing)
        for built in track(tubes, "fingerprints")
    ]
    names = [f"({built.n}, {built.m})" for built in tubes]
    return bj.make_collection(
        per_unit(np.array(values), tubes, setting.per), names, window=window, smearing=setting.smearing, per=setting.per
    )


def scan(tubes: list[Tube], table: Table, config: Config) -> dict[Setting, np.ndarray]:
    """Distances of all tubes for every combination of settings. The bands are symmetric about E_F: E > 0 says all."""
    energy = np.arange(0, max(config.reaches) + config.step / 2, config.step)
    found = {}
    for smearing in config.smearings:
        cells = np.array([
            states(*levels_of(built, table, smearing), energy, smearing)
            for built in track(tubes, f"scan, smearing {smearing:g} eV")
        ])  # fmt: skip
        for per, reach, metric in product(("atom", "length"), config.reaches, config.metrics):
            if metric in ("cosine", "wasserstein") and per == "length":
                continue  # of shapes: as per atom
            values = per_unit(cells, tubes, per)[:, energy <= reach + 1e-9]
            found[Setting(reach, smearing, per, metric)] = distances(values, config.step, metric, config.sigma_mmd)
    return found


def held_out(found: dict[Setting, np.ndarray], family: np.ndarray, kind: np.ndarray, config: Config) -> dict:
    """Settings chosen by the sum of both shares among half of the tubes alone; shares of the other half as queries to all."""
    rng, rows, chosen = np.random.default_rng(config.seed), [], []
    for _ in range(config.halves):
        order = rng.permutation(len(family))
        known, asked = order[: len(order) // 2], order[len(order) // 2 :]
        score = {s: sum(shares(d[np.ix_(known, known)], family[known], kind[known])) for s, d in found.items()}
        best = max(score, key=lambda s: score[s])
        chosen.append(best)
        rows.append(shares(found[best], family, kind, asked))
    mean, spread = np.mean(rows, axis=0), np.std(rows, axis=0)
    often = max(set(chosen), key=chosen.count)
    return {
        "family": [float(mean[0]), float(spread[0])], "kind": [float(mean[1]), float(spread[1])],
        "most_often": dataclasses.asdict(often), "times": chosen.count(often), "different": len(set(chosen)),
    }  # fmt: skip


def sorted_by_gap(apart: np.ndarray, gap: np.ndarray) -> dict:
    """Whether near by fingerprint is near by gap: rank correlation for each query, and gaps of nearest neighbours and of all pairs."""
    off = np.abs(gap[:, None] - gap)
    others = ~np.eye(len(gap), dtype=bool)
    rank = [spearmanr(apart[i][others[i]], off[i][others[i]]).statistic for i in range(len(gap))]
    nearest = np.argmin(np.where(others, apart, np.inf), axis=1)
    return {
        "mean_rank_correlation": float(np.mean(rank)),
        "median_gap_difference_nearest_meV": float(1e3 * np.median(off[np.arange(len(gap)), nearest])),
        "median_gap_difference_all_meV": float(1e3 * np.median(off[others])),
    }


def run(config: Config, out: Path, save: Callable[[dict], None]) -> dict:
    """Everything; see the module's head."""
    table = bj.load_parameters("nanotube", "pz")
    pairs = list_nanotubes(*config.diameters)
    n, m = np.array(pairs).T
    family, kind = 2 * n + m, (n - m) % 3
    tubes = [tube(*pair) for pair in pairs]
    edges = np.array([van_hove_energies(built, table, 4) for built in track(tubes, "van Hove energies")])
    diameter = np.array([tube_diameter(*pair) for pair in pairs])
    alone = np.array([np.sum(family == f) == 1 for f in family])
    metrics: dict = {
        "tubes": len(pairs), "families": len(set(family.tolist())), "without_a_relative": int(alone.sum()),
        "chance": {"family": chance(family), "kind": chance(kind)},
        "baselines": {
            name: dict(zip(("family", "kind"), shares(cdist(x, x), family, kind), strict=True))
            for name, x in {
                "gap": edges[:, :1], "diameter": diameter[:, None], "E11 and E22": edges[:, :2],
                "gap and diameter/nm": np.stack([edges[:, 0], diameter / 10], axis=1),
            }.items()
        },
    }  # fmt: skip
    nearest = {}
    for name in ("published", "chosen"):
        setting = getattr(config, name)
        collection = collection_of(setting, tubes, table, config)
        apart = distances(collection["fingerprint"].values, collection["step"].values, setting.metric, config.sigma_mmd)
        nearest[name] = bj.nearest_neighbours(collection, count=1, metric=setting.metric).index[:, 0]
        row = {
            "family": float(np.mean(family == family[nearest[name]])),
            "kind": float(np.mean(kind == kind[nearest[name]])),
        }
        by_angle = {
            f"{low} to {low + 10} deg": float(np.mean((family == family[nearest[name]])[chosen]))
            for low in (0, 10, 20)
            if (chosen := np.array([low <= min(chiral_angle(*p), 29.999) < low + 10 for p in pairs])).any()
        }
        metrics[name] = row | {"family_by_chiral_angle": by_angle, "sorted_by_gap": sorted_by_gap(apart, edges[:, 0])}
        save(metrics)
    bare = table.replace(V_ppsigma=config.bare_sigma)
    other = collection_of(config.chosen, tubes, bare, config)
    apart = distances(other["fingerprint"].values, other["step"].values, config.chosen.metric, config.sigma_mmd)
    metrics["chosen_with_bare_sigma"] = dict(zip(("family", "kind"), shares(apart, family, kind), strict=True))
    save(metrics)

    found = scan(tubes, table, config)
    scores = {s: shares(d, family, kind) for s, d in found.items()}
    metrics["held_out"] = held_out(found, family, kind, config)
    metrics["scan"] = [dataclasses.asdict(s) | {"family": a, "kind": b} for s, (a, b) in scores.items()]
    save(metrics)
    plot_neighbours(pairs, edges, diameter, family, kind, nearest["chosen"]).savefig(out / "neighbours.png", dpi=200)
    plot_scan(scores, config, metrics).savefig(out / "windows.png", dpi=200)
    plot_densities(pairs, tubes, table, nearest["chosen"], config).savefig(out / "densities.png", dpi=200)
    return metrics


COLOURS = ("tab:green", "tab:blue", "tab:orange")  # (n − m) mod 3 = 0, 1, 2


def plot_neighbours(pairs, edges, diameter, family, kind, nearest) -> Figure:
    """Each tube joined to its nearest neighbour: on the map of (n, m), and on the plot of transition energies over diameter."""
    figure = Figure(figsize=(10, 4.6), layout="constrained")
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
    sheet.set(aspect="equal", xlabel="zigzag direction (a)", ylabel="armchair direction (a)", title="chiral vectors")
    sheet.plot([], [], color="0.45", label="nearest: same family 2n + m")
    sheet.plot([], [], color="tab:red", label="nearest: another family")
    sheet.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2, frameon=False)
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


def plot_scan(scores: dict[Setting, list[float]], config: Config, metrics: dict) -> Figure:
    """Shares over the reach of the window, at the chosen smearing or the nearest to it."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    smearing = min(config.smearings, key=lambda s: abs(s - config.chosen.smearing))
    saddle = -float(bj.load_parameters("nanotube", "pz")["V_pppi"])
    for axis, which, name in zip(figure.subplots(1, 2, sharey=True), (0, 1), ("family", "kind"), strict=True):
        for at, metric in enumerate(config.metrics):
            for per, line in (("length", "-"), ("atom", "--")):
                drawn = [scores.get(Setting(reach, smearing, per, metric)) for reach in config.reaches]
                if all(drawn):
                    label = metric if per == "length" or metric in ("cosine", "wasserstein") else None
                    axis.plot(
                        config.reaches,
                        [100 * d[which] for d in drawn if d],
                        line,
                        color=f"C{at}",
                        marker=".",
                        label=label,
                    )
        for value, text in ((metrics["chance"][name], "chance"), (metrics["baselines"]["gap"][name], "gap alone")):
            axis.axhline(100 * value, color="0.6", linewidth=0.8)
            axis.annotate(text, (config.reaches[0], 100 * value + 1), fontsize=7, color="0.4")
        axis.axvline(saddle, color="0.8", linewidth=4, zorder=0)
        axis.set(xlabel="window: E_F ± (eV)", ylim=(0, 100))
    axes = figure.axes
    axes[0].set(ylabel="nearest neighbours that share it (%)", title="family 2n + m")
    axes[1].set(title="(n − m) mod 3")
    axes[0].annotate("saddle point", (saddle + 0.05, 96), fontsize=7, color="0.4")
    axes[0].legend(
        fontsize=7,
        frameon=False,
        title=f"smearing {smearing:g} eV\n(dashed: per atom)",
        title_fontsize=7,
        loc="upper right",
    )
    return figure


def plot_densities(pairs, tubes, table, nearest, config: Config) -> Figure:
    """Densities of states of a few tubes, each over that of its nearest neighbour."""
    energy = np.linspace(0, 3.2, 1200)
    family = [2 * n + m for n, m in pairs]
    zigzag, armchair = np.argmin([abs(a - b) for a, b in pairs]), np.argmax([a - b for a, b in pairs])
    middle = int(
        np.argmin([abs(chiral_angle(*p) - 15) + abs(tube_diameter(*p) - np.mean(config.diameters)) for p in pairs])
    )
    figure = Figure(figsize=(7, 5), layout="constrained")
    for axis, at in zip(figure.subplots(3, 1, sharex=True), (int(armchair), middle, int(zigzag)), strict=True):
        for index, line in ((at, "C0-"), (int(nearest[at]), "C1--")):
            levels = levels_of(tubes[index], table, config.chosen.smearing)
            values = states(*levels, energy, config.chosen.smearing)[None]
            values = per_unit(np.asarray(values), [tubes[index]], config.chosen.per)[0]
            axis.plot(energy, values, line, linewidth=1, label=f"{pairs[index]}, 2n + m = {family[index]}")
        axis.axvspan(config.chosen.reach, energy[-1], color="0.93", zorder=0)
        axis.set(ylabel="states/(eV Å)", xlim=(0, energy[-1]), ylim=(0, None))
        axis.legend(fontsize=7, frameon=False, loc="upper left")
    axis.set_xlabel("E − E_F (eV); grey: outside the window")
    return figure


if __name__ == "__main__":
    run_and_save(__doc__ or "", PRESETS, run)
