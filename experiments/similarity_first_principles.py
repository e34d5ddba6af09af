"""First-principles Si/Ge crystals by fingerprint: bands of another program, on one alignment, sorted by element, strain and composition.

Claim, by the distance "wasserstein" (eV that the states move on the mean) of densities of states per atom that all count from the crystal's own
valence-band top:

1. the nearest of every two-atom crystal (Si and Ge, unstrained, ±2 % hydrostatic and ±2 % biaxial) among the others has its element;
2. distance grows along strain: in all four series −2 %, 0, +2 % the ends are farther from each other than from the middle;
3. distance grows with composition: the superlattices of half Si and half Ge are nearer to each other than to SiGe3.

One miss refutes a sentence. The first two hold, the third fails. Superlattices of different periods have other lines folded onto theirs. What that
alone does, a control by a model says (`folding`): silicon by `Config.control`, one and the same crystal, described as cells of 2, 4 and 8 layers along
Γ-X-M-Γ. If the files' distances among halves were of composition, not of sampling, those of the control would be small beside them. And one
crystal, sampled along its path and on a mesh, is 0.9 eV from itself (`yardstick`), more than Si from Ge. Of one period there are only Si2Ge2 and the same
relaxed, one crystal twice: nothing is left that tests the third sentence. Only crystals on the same lines are compared, and drawn on the map.

Sampling: the files of PBE hold paths. Points of a path weigh by the length of the piece that they stand for, in units of the unstrained zone, so that
neither the density of points nor strain weighs. Two-atom crystals keep L-Γ-X-W-K-Γ (the biaxial ones have a further Γ-Z), superlattices Γ-X-M-Γ.
The HSE06 files hold an irreducible 8 × 8 × 8 mesh with weights, with the levels of PBE on it. Without spin-orbit coupling. Nothing here is made by bandjax but the
fingerprints and the control.
"""

import dataclasses
import itertools
from pathlib import Path

import ase.build
import jax
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from scipy.spatial.distance import cdist

jax.config.update("jax_enable_x64", True)

import bandjax as bj  # noqa: E402
from bandjax.fingerprints import Levels, array_levels, embedded, file_levels, principal_map  # noqa: E402
from experiments.common import run_and_save, shared_folder  # noqa: E402
from experiments.first_principles import STACKS, Reference, read_reference  # noqa: E402

PIECES = {"bulk": ("L", "Γ", "X", "W", "K", "Γ"), "stack": ("Γ", "X", "M", "Γ")}
MESHES = {"PBE": "E_pbe", "HSE06": "E_hse"}
ORDER = tuple(
    name.format(s)
    for s in ("Si", "Ge")
    for name in ("hydro_{}_PBE_m2pct", "biax_{}_PBE_m2pct", "bulk_{}_PBE", "biax_{}_PBE_p2pct", "hydro_{}_PBE_p2pct")
)  # two-atom crystals of each element, from the smallest to the largest
FOLDED = {2: "sl_Si1Ge1_PBE", 4: "sl_Si2Ge2_PBE", 8: "sl_Si4Ge4_PBE"}  # layers: the file with that cell and path
GE_FRACTION = {"sl_Si1Ge3_PBE": 0.75} | dict.fromkeys((s for s in STACKS if s != "sl_Si1Ge3_PBE"), 0.5)


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that the experiment depends on."""

    window: str = "absolute:-14:2:321"  # eV beside the valence-band top
    smearing: float = 0.2  # eV
    metric: str = "wasserstein"
    others: tuple[str, ...] = ("euclidean", "manhattan")
    control: str = "vogl1983"  # table of silicon


PRESETS = {"default": Config(), "smoke": Config(others=())}


def path_levels(reference: Reference) -> Levels:
    """Levels along the pieces of `PIECES`, E = 0 at the valence-band top; weights are lengths in units of the unstrained zone."""
    wanted = PIECES["stack" if reference.is_stack else "bulk"]
    names = [label for _, label in reference.marks]
    first = next(i for i in range(len(names)) if tuple(names[i : i + len(wanted)]) == wanted)
    cubic = {"L": (0.5, 0.5, 0.5), "Γ": (0, 0, 0), "X": (1, 0, 0), "W": (1, 0.5, 0), "K": (0.75, 0.75, 0)}
    square = {"Γ": (0, 0, 0), "X": (0.5, 0.5, 0), "M": (1, 0, 0)}
    corners = np.array([(square if reference.is_stack else cubic)[name] for name in wanted], float)
    weight = np.zeros(len(reference.k))
    for piece, length in enumerate(np.linalg.norm(np.diff(corners, axis=0), axis=1)):
        low, high = (reference.marks[first + piece + end][0] for end in (0, 1))
        at = np.flatnonzero((reference.distance >= low - 1e-9) & (reference.distance <= high + 1e-9))
        steps = np.diff(np.clip(reference.distance[at], low, high))
        weight[at] += length * (np.append(steps, 0) + np.append(0, steps)) / 2 / steps.sum()
    return array_levels(reference.energy, weight, electrons=2 * reference.n_valence)


def mesh_levels(symbol: str, functional: str) -> Levels:
    """Levels of the irreducible mesh, E = 0 at the highest valence level of it, which holds Γ."""
    path = shared_folder() / "data" / "dft" / f"hse06_{symbol}.npz"
    levels = file_levels(path, energies=MESHES[functional], electrons=8)
    return levels._replace(energy=levels.energy - np.asarray(levels.energy)[:, 3].max())


def folded_silicon(layers: int, table: str) -> tuple[Levels, int]:
    """Silicon by a table as a cell of so many layers, on the wave vectors of the superlattice with that cell; and the atoms of the cell."""
    reference, own = read_reference(FOLDED[layers]), bj.zincblende("Si")
    a = 2 * np.asarray(own.cell).max()  # of the cube, 5.431 Å as the files' cells in the plane
    cell = np.array(
        [[a / 2, a / 2, 0], [-a / 2, a / 2, 0], [a / 2, 0, a / 2] if layers == 2 else [0, 0, layers * a / 4]]
    )
    atoms = ase.build.make_supercell(own, np.linalg.solve(np.asarray(own.cell).T, cell.T).T.round().astype(int))
    model = bj.tight_binding(atoms, bj.load_parameters("Si", table), spin_orbit=False)
    energy = np.asarray(bj.bands(model, reference.k))
    top = energy[:, 2 * len(atoms) - 1].max()
    return path_levels(reference._replace(energy=energy - top)), len(atoms)


def name_of(file: str) -> str:
    """Of a file, for people: biax_Si_PBE_m2pct is `Si biaxial −2 %`."""
    kind, what, *rest = file.split("_")
    if kind == "sl":
        return what + (" relaxed" if "relaxed" in rest else "")
    strain = {"m2pct": " −2 %", "p2pct": " +2 %"}.get(rest[-1], "")
    return f"{what} {({'biax': 'biaxial', 'hydro': 'hydrostatic', 'bulk': ''})[kind]}{strain}".strip()


def run(config: Config, out: Path, save) -> dict:
    """Collection, distances, claims and the figure."""
    levels, atoms, group = {}, {}, {}
    for file in (*ORDER, *STACKS):
        reference = read_reference(file)
        name = name_of(file)
        levels[name], atoms[name] = path_levels(reference), len(reference.atoms)
        group[name] = "stack" if reference.is_stack else "bulk"
    for symbol, functional in itertools.product(("Si", "Ge"), MESHES):
        name = f"{symbol} {functional} mesh"
        levels[name], atoms[name], group[name] = mesh_levels(symbol, functional), 2, "mesh"
    # a path has too few wave vectors for the smearing, which all of one group share: hence `coarse`
    options = {"window": config.window, "smearing": config.smearing}
    features = [np.asarray(bj.fingerprint(one, coarse=True, **options)) / atoms[name] for name, one in levels.items()]
    collection = bj.make_collection(np.array(features), list(levels), per="atom", **options)
    apart = {
        metric: distances(np.array(features), collection["step"].values, metric)
        for metric in (config.metric, *config.others)
    }
    names = list(levels)
    control = np.array([
        np.asarray(bj.fingerprint(one, coarse=True, **options)) / count
        for one, count in (folded_silicon(layers, config.control) for layers in FOLDED)
    ])  # fmt: skip
    metrics: dict = {
        "crystals": names, "group": group, "distance_eV": apart[config.metric].tolist(),
        "claims": {metric: claims(names, d) for metric, d in apart.items()},
        "folding": {metric: folding(names, d, control, collection, metric) for metric, d in apart.items()},
        "yardstick": {s: between(names, apart[config.metric], s, f"{s} PBE mesh") for s in ("Si", "Ge")},
        "nearest": {
            name: dict(zip(("name", "distance"), nearest(names, apart[config.metric], name, group), strict=True)) for name in names
        },
    }  # fmt: skip
    for cells, row in metrics["folding"][config.metric].items():
        print(f"{cells}: files {row['files']:.3f} eV, silicon alone {row['silicon']:.3f} eV")
    for name, row in metrics["nearest"].items():
        print(f"{name:22} nearest on the same lines: {row['name']:22} {row['distance']:.3f} eV")
    own = collection.isel(structure=[i for i, n in enumerate(names) if group[n] == "bulk"])
    place, share = principal_map(own, metric=config.metric)
    metrics["map"] = {"place": dict(zip(own["structure"].values.tolist(), place.tolist(), strict=True)), "share": share.tolist()}  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    figure_of(names, apart[config.metric], metrics["map"]).savefig(out / "first_principles.png", dpi=200)
    return metrics


def folding(names: list[str], apart: np.ndarray, control: np.ndarray, collection, metric: str) -> dict[str, dict[str, float]]:  # fmt: skip
    """Distances between cells of different numbers of layers: of the files, and of silicon alone."""
    same = distances(control, collection["step"].values, metric)
    return {
        f"{a} and {b} layers": {
            "files": between(names, apart, name_of(FOLDED[a]), name_of(FOLDED[b])),
            "silicon": float(same[list(FOLDED).index(a), list(FOLDED).index(b)]),
        }
        for a, b in itertools.combinations(FOLDED, 2)
    }


def distances(features: np.ndarray, step: np.ndarray, metric: str) -> np.ndarray:
    """All distances of fingerprints (crystal, energy)."""
    rows = np.asarray(embedded(features, metric, step=step))
    return cdist(rows, rows, "euclidean" if metric == "euclidean" else "cityblock")


def between(names: list[str], apart: np.ndarray, one: str, other: str) -> float:
    """Distance of two crystals."""
    return float(apart[names.index(one), names.index(other)])


def nearest(names: list[str], apart: np.ndarray, name: str, group: dict[str, str]) -> tuple[str, float]:
    """The nearest of the same lines through the zone."""
    others = [n for n in names if n != name and group[n] == group[name]]
    best = min(others, key=lambda n: between(names, apart, name, n))
    return best, between(names, apart, name, best)


def claims(names: list[str], apart: np.ndarray) -> dict:
    """How many of each sentence's cases hold, and those that do not."""
    bulk = [name_of(f) for f in ORDER]
    only = dict.fromkeys(bulk, "bulk")
    wrong = [
        n for n in bulk if nearest(bulk, apart[np.ix_(*[[names.index(b) for b in bulk]] * 2)], n, only)[0][:2] != n[:2]
    ]
    series, misses = {}, []
    for symbol, kind in itertools.product(("Si", "Ge"), ("hydrostatic", "biaxial")):
        low, high = (f"{symbol} {kind} {sign}2 %" for sign in "−+")
        series[f"{symbol} {kind}"] = row = {
            "ends": between(names, apart, low, high), "to −2 %": between(names, apart, symbol, low), "to +2 %": between(names, apart, symbol, high),
        }  # fmt: skip
        if row["ends"] <= max(row["to −2 %"], row["to +2 %"]):
            misses.append(f"{symbol} {kind}")
    half = [name_of(s) for s in STACKS if GE_FRACTION[s] == 0.5]
    far = name_of("sl_Si1Ge3_PBE")
    pairs = list(itertools.permutations(half, 2))
    nearer = [p for p in pairs if between(names, apart, *p) < between(names, apart, p[0], far)]
    return {
        "element": {"right": len(bulk) - len(wrong), "of": len(bulk), "wrong": wrong},
        "strain": {"right": len(series) - len(misses), "of": len(series), "wrong": misses, "distances": series},
        "composition": {
            "right": len(nearer), "of": len(pairs), "wrong": [p for p in pairs if p not in nearer],
            "among halves": {f"{a}, {b}": between(names, apart, a, b) for a, b in itertools.combinations(half, 2)},
            f"to {far}": {n: between(names, apart, n, far) for n in half},
        },
    }  # fmt: skip


def figure_of(names: list[str], apart: np.ndarray, found: dict) -> Figure:
    """The distance matrix, and the map of the two-atom crystals."""
    figure, (matrix, plane) = plt.subplots(1, 2, figsize=(11.5, 6), layout="constrained")
    image = matrix.imshow(apart, cmap="viridis")
    matrix.set_xticks(range(len(names)), names, rotation=90, fontsize=6)
    matrix.set_yticks(range(len(names)), names, fontsize=6)
    for edge in (9.5, 14.5):
        matrix.axhline(edge, color="white", linewidth=0.8)
        matrix.axvline(edge, color="white", linewidth=0.8)
    matrix.set_title("all files; beyond a white line: other lines through the zone")
    figure.colorbar(image, ax=matrix, shrink=0.8, label="distance (eV)")
    place = found["place"]
    colours = {"Si": "C0", "Ge": "C1"}
    for symbol, kind in itertools.product(("Si", "Ge"), ("hydrostatic", "biaxial")):
        line = np.array([place[n] for n in (f"{symbol} {kind} −2 %", symbol, f"{symbol} {kind} +2 %")])
        plane.plot(*line.T, "-" if kind == "hydrostatic" else "--", color=colours[symbol], linewidth=1, zorder=1)
        plane.plot(*line[[0, 2]].T, "o" if kind == "hydrostatic" else "s", color=colours[symbol], markersize=5, label=f"{symbol}, ±2 % {kind}")  # fmt: skip
        for end, sign in ((0, "−"), (2, "+")):
            plane.annotate(sign, line[end], xytext=(4, 3), textcoords="offset points", fontsize=8)
    for symbol, colour in colours.items():
        plane.plot(*place[symbol], "*", color=colour, markersize=12, label=symbol)
    first, second = (100 * s for s in found["share"])
    plane.set(
        xlabel=f"first component, {first:.0f} % of the variance",
        ylabel=f"second component, {second:.0f} % of the variance",
    )
    plane.set_title("two-atom crystals: line by line from −2 to +2 %")
    plane.locator_params(axis="x", nbins=6)
    plane.legend(fontsize=7, frameon=False)
    return figure


if __name__ == "__main__":
    run_and_save(__doc__ or "", PRESETS, run)
