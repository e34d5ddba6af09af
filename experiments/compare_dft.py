"""Bands and atom-resolved spectral functions of a parameter table against first principles (PBE, without spin-orbit).

Claim, for "pbe_sp3d5s": valence bands of bulk and strained bulk Si and Ge within 50 meV rms and of superlattices within
90 meV; of the superlattices' atom-resolved A_i(k, E), σ = 0.1 eV over the valence window, the deviation from the mean
over atoms has a cosine ≥ 0.9 and an L1 skill ≥ 0.7 over both baselines. "pbe_sp3s": bands within 200 meV. Larger
errors, or smaller scores, refute it; the published tables, fitted to other things, fail it. For "pbe_sp3s" it IS refuted
(210 to 286 meV in the table's own record): nearest-neighbour sp3s* does not reach further.

"pbe_sp3d5s" was fitted to all these files. What it says of files that a fit has not seen stands in its record
("scores_left_out", made by `experiments/refit_dft.py`): the limits hold for Si2Ge2, Si1Ge3, Si4Ge4 and strained bulk,
not for Si1Ge1. No file is untouched: the table's form and the weight of the maps were chosen with an eye on Si4Ge4.

How the scores are defined, and the rigid shift of each file: `experiments/first_principles.py`. `--table` compares
another named table alone.
"""

import dataclasses
import time
from pathlib import Path

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)

from matplotlib.figure import Figure  # noqa: E402

import bandjax as bj  # noqa: E402
from bandjax.learning.correction import Correction  # noqa: E402
from bandjax.materials import Table  # noqa: E402
from experiments.common import arguments, write_json  # noqa: E402
from experiments.first_principles import (  # noqa: E402
    BULK,
    STACKS,
    STRAINED,
    Reference,
    atom_scores,
    bulk_atom_maps,
    read_reference,
    rigid_shift,
    rms,
    smeared,
    table_levels,
)

REFITTED = ("pbe_sp3d5s", "pbe_sp3s")


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that the comparison depends on."""

    tables: tuple[str, ...] = (*REFITTED, "niquet2009", "jancu1998", "boykin2004", "vogl1983")
    files: tuple[str, ...] = (*BULK, *STRAINED, *STACKS)
    points: int | None = None  # wave vectors a file; None: all
    sigma: float = 0.1  # eV
    window: tuple[float, float, float] = (-13.6, 0.0, 0.02)  # eV below the valence-band top: from, to, step
    figure: str = "sl_Si4Ge4_PBE"


PRESETS = {
    "default": Config(),
    "smoke": Config(tables=("pbe_sp3d5s", "niquet2009"), files=(BULK[0], STACKS[1]), points=12, figure=STACKS[1]),
}


def compare(
    table: Table, reference: Reference, config: Config, correction: Correction | None = None
) -> tuple[dict, dict[str, np.ndarray]]:
    """Numbers of one file, and of a stack the maps (k, atom, energy) they were made from; of the table, or of it corrected."""
    energy, weight = table_levels(table, reference.atoms, reference.k, correction)
    shift = rigid_shift(energy, reference)
    n = reference.n_valence
    found = {
        "valence_rms_meV": 1e3 * rms(energy, reference),
        "largest_meV": 1e3 * float(np.abs(energy[:, :n] - reference.energy[:, :n] - shift).max()),
        "gap_on_path_eV": float(energy[:, n].min() - energy[:, n - 1].max()),
        "gap_of_reference_eV": float(reference.energy[:, n].min() - reference.energy[:, n - 1].max()),
    }
    if not reference.is_stack:
        return found, {}
    low, high, step = config.window
    grid = np.linspace(low, high, round((high - low) / step) + 1)
    maps = {
        "first principles": smeared(reference.energy, reference.weight, grid, config.sigma),
        "tight binding": smeared(energy - shift, weight, grid, config.sigma),
        "energy": grid,
    }
    bulk = bulk_atom_maps(table, reference, grid, config.sigma, shift)
    interface = reference.interface
    for name, chosen in (("all", interface | True), ("inner", ~interface), ("interface", interface)):
        if chosen.any():
            found[name] = atom_scores(maps["tight binding"], maps["first principles"], bulk, chosen)
    return found, maps


def run(config: Config, out: Path) -> dict:
    """Every table against every file."""
    references = [read_reference(name, config.points) for name in config.files]
    metrics: dict = {}
    for name in config.tables:
        table = bj.load_parameters(("Si", "Ge"), name)
        metrics[name] = {}
        print(f"{name}: valence rms in meV; atoms: cosine, skill over average, over bulk atom of the deviation")
        for reference in references:
            found, maps = compare(table, reference, config)
            metrics[name][reference.name] = found
            print(f"  {reference.name:24s}{found['valence_rms_meV']:7.1f}", end="")
            for kind in ("all", "inner", "interface"):
                if kind in found:
                    s = found[kind]
                    three = f"{s['cosine']:.3f} {s['skill_over_average']:.3f} {s['skill_over_bulk_atom']:.3f}"
                    print(f"   {kind} {three}", end="")
            print(flush=True)
            if maps and reference.name == config.figure and name == config.tables[0]:
                out.mkdir(parents=True, exist_ok=True)
                panels(reference, maps, name).savefig(out / f"atoms_{reference.name}.png", dpi=150)
    return metrics


def panels(reference: Reference, maps: dict[str, np.ndarray], title: str) -> Figure:
    """A_i of first principles | tight binding | difference for each kind of atom, all on one scale."""
    rows = inequivalent(reference, maps["first principles"])
    figure = Figure(figsize=(7.2, 1.2 + 1.75 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), 3, sharex=True, sharey=True, squeeze=False)
    a, b, grid = maps["first principles"], maps["tight binding"], maps["energy"]
    top = float(np.percentile(np.concatenate([a, b], axis=1)[:, rows], 99.8))
    headings = ("first principles (PBE)", f"tight binding ({title})", "difference")
    for row, atom in zip(axes, rows, strict=True):
        for axis, image in zip(row, (a[:, atom], b[:, atom], b[:, atom] - a[:, atom]), strict=True):
            signed = axis is row[2]
            mesh = axis.pcolormesh(
                reference.distance, grid, image.T, cmap="RdBu_r" if signed else "viridis",
                vmin=-top if signed else 0.0, vmax=top, shading="nearest", rasterized=True,
            )  # fmt: skip
            for place, _ in reference.marks:
                axis.axvline(place, color="0.5" if signed else "w", linewidth=0.4)
            axis.set_xticks([place for place, _ in reference.marks], [label for _, label in reference.marks])
            if axis is row[1]:
                sequential = mesh
        kind = "interface" if reference.interface[atom] else "inner"
        row[0].set_ylabel(f"{reference.atoms.symbols[atom]}, {kind}\nE − VB top (eV)", fontsize=8)
    for axis, heading in zip(axes[0], headings, strict=True):
        axis.set_title(heading, fontsize=9)
    for shown, columns in ((sequential, axes[:, :2]), (mesh, axes[:, 2:])):
        figure.colorbar(
            shown, ax=list(columns.ravel()), label="1/eV", location="bottom", shrink=0.6, aspect=30, pad=0.01
        )
    return figure


def inequivalent(reference: Reference, maps: np.ndarray) -> list[int]:
    """One atom of each kind: those whose maps differ by more than 5 % from all that were taken before."""
    taken: list[int] = []
    for atom in range(maps.shape[1]):
        size = np.abs(maps[:, atom]).sum()
        if all(np.abs(maps[:, atom] - maps[:, other]).sum() > 0.05 * size for other in taken):
            taken.append(atom)
    return taken


if __name__ == "__main__":
    args = arguments(__doc__, PRESETS, table="a named table, compared alone")
    started = time.perf_counter()
    chosen = PRESETS[args.preset]
    if args.table:
        chosen = dataclasses.replace(chosen, tables=(args.table,))
    write_json(args.out / "result.json", chosen, run(chosen, args.out), started)
