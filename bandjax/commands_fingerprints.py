"""What the commands `fingerprint` and `nearest` do."""

import argparse
import csv
import os
from io import StringIO
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np

from bandjax.checks import nearest as near
from bandjax.config.build import UNREADABLE
from bandjax.fingerprints import Levels, file_levels, fingerprint_structures, levels_collection, nearest_neighbours
from bandjax.fingerprints.parts import remove_parts
from bandjax.fingerprints.structures import SPACING
from bandjax.io import read_collection, write_atomically, write_collection
from bandjax.progress import Bar
from bandjax.results import provenance_of

OF_STRUCTURES = ("table", "per", "spacing", "grid", "no_spin_orbit")  # options that mean nothing to levels
OF_LEVELS = ("energies", "electrons", "degeneracy")


def run_fingerprint(options: argparse.Namespace) -> Any:
    """Fingerprints of a file of structures; writes one collection."""
    out = Path(options.output)
    if out.suffix != ".nc":
        raise ValueError(f"Argument `--output` must name a .nc file, but is {options.output!r}.")
    out.parent.mkdir(parents=True, exist_ok=True)
    common = {
        "window": options.window,
        "smearing": options.smearing,
        "kernel": options.kernel,
        "cut": options.cut,
        "coarse": options.coarse,
    }
    refused: list[tuple[str, str]] = []
    parts = parts_of(options)
    if parts is None:
        other = next((path for path in options.structures if Path(path).suffix != ".npz"), None)
        if other is not None:
            raise ValueError(f"Files must all be levels (.npz) where one is, but {other} is not.")
        _unused(options, OF_STRUCTURES, "structures", "levels (.npz files)")
        collection = levels_collection(_levels(options), **common)
    else:
        _unused(options, OF_LEVELS, "levels (.npz files)", "structures")
        if options.table is None:
            raise ValueError("Argument `--table` must name a parameter table for structures, but is not given.")
        structures = read_structures(options.structures)
        with Bar(options, 1, lambda entry: f"{entry['done']} of {entry['all']} structures") as progress:
            collection = fingerprint_structures(
                structures, options.table, per=options.per or "cell", spacing=options.spacing or SPACING, grid=options.grid,
                spin_orbit=not options.no_spin_orbit, refused=refused,
                progress=lambda done, whole: progress({"done": done, "all": whole}), state_folder=parts, **common,
            )  # fmt: skip
    config = {k: v for k, v in vars(options).items() if k not in ("run", "json")}
    provenance = provenance_of(0, config, source_files=", ".join(map(os.fspath, options.structures)))
    write_collection(out, collection.assign_attrs(provenance))
    if parts is not None:
        remove_parts(parts)
    gap = collection["gap"].values
    if not options.json:
        print(
            f"{len(gap)} fingerprints of {collection.sizes['energy']} energies; gap 0 of {int((gap <= 0).sum())}, up to {gap.max():.3f} eV.\n"
            f"Wrote {out}."
        )
    if refused:
        rest = f" and {len(refused) - 1} more" if len(refused) > 1 else ""
        raise ValueError(
            f"File {out} holds the other {len(gap)} structures, but {refused[0][0]}{rest} could not be taken: {refused[0][1]}"
        )
    return {"file": str(out), "structures": collection["structure"].values.tolist(), "gap": gap}


def parts_of(options: argparse.Namespace) -> Path | None:
    """The folder that keeps what a run of `fingerprint` has finished; None of levels, which keep nothing."""
    levels = any(Path(path).suffix == ".npz" for path in options.structures)
    out = Path(options.output)
    return None if levels else out.with_name(out.name + ".parts")


def _unused(options: argparse.Namespace, names: tuple[str, ...], owner: str, given: str) -> None:
    """Raise ValueError where an option was given that has no meaning here."""
    for name in names:
        if getattr(options, name) not in (None, False):
            raise ValueError(f"Argument `--{name.replace('_', '-')}` must come with {owner}, but {given} are given.")


def _levels(options: argparse.Namespace) -> dict[str, Levels]:
    levels: dict[str, Levels] = {}
    for path in options.structures:
        name = Path(path).stem
        if name in levels:
            raise ValueError(f"Files of levels must have different names, but two are called {name!r}.")
        levels[name] = file_levels(
            path, energies=options.energies, electrons=options.electrons, degeneracy=options.degeneracy or 2
        )
    return levels


def read_structures(paths: list[str]) -> list[ase.Atoms]:
    """All structures of files that ASE reads.

    Raises:
        ValueError: a file is none of these or holds no structure.
    """
    structures: list[ase.Atoms] = []
    for path in paths:
        if not Path(path).is_file():
            raise FileNotFoundError(f"File {path} does not exist.")
        try:
            found = ase.io.read(path, index=":")
        except UNREADABLE as error:
            raise ValueError(f"File {path} must hold structures that ASE reads, but does not ({error}).") from error
        if not isinstance(found, list) or not found:
            raise ValueError(f"File {path} must hold structures, but holds none.")
        structures += found
    return structures


def run_nearest(options: argparse.Namespace) -> Any:
    """Nearest neighbours in a collection, as a table."""
    collection = read_collection(options.collection)
    queries = None if options.queries is None else read_collection(options.queries)
    asked = collection if queries is None else queries
    names = [str(n) for n in asked["structure"].values]
    if options.of is not None and options.of not in names:
        raise ValueError(
            f"Argument `--of` must be one of the {len(names)} names, but is {options.of!r}; the first is {names[0]!r}.{near(options.of, names)}"
        )
    if options.of is not None:
        one = asked.isel(structure=[names.index(options.of)])
        queries = one
        if asked is collection:
            collection = collection.isel(structure=np.array([n != options.of for n in names]))
        names = [options.of]
    found = nearest_neighbours(
        collection, queries, count=options.count, metric=options.metric, scale=options.shape_only, max_shift=options.max_shift,
        sigma_mmd=options.sigma_mmd, mixed=options.mixed,
    )  # fmt: skip
    known = [str(n) for n in collection["structure"].values]
    table = {
        name: [{"name": known[i], "distance": float(d)} for i, d in zip(index, apart, strict=True)]
        for name, index, apart in zip(names, found.index, found.distance, strict=True)
    }
    if options.output:
        _write_table(options.output, table)
    if not options.json:
        for name, rows in table.items():
            print(f"{name}: " + ", ".join(f"{r['name']} ({r['distance']:.4g})" for r in rows))
    return table


def _write_table(path: str, table: dict[str, list[dict[str, Any]]]) -> None:
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["structure", "rank", "neighbour", "distance"])
    for name, rows in table.items():
        writer.writerows([name, rank + 1, row["name"], f"{row['distance']:.9g}"] for rank, row in enumerate(rows))
    write_atomically(path, text.getvalue().encode())
