"""Fingerprints of many structures: those with the same atoms and bonds run as one program, mapped over positions and cells."""

import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import ase
import jax
import numpy as np
import xarray as xr

from bandjax import checks
from bandjax.devices import map_chunks
from bandjax.fingerprints.collection import PER, make_collection, window_text
from bandjax.fingerprints.density import PUBLISHED_SMEARING, check_window, density, edges_for, refuse_metal
from bandjax.fingerprints.kernels import kernel_cut
from bandjax.fingerprints.levels import BandEdges, Levels, model_levels
from bandjax.fingerprints.parts import Part, Parts
from bandjax.fingerprints.tables import table_key, table_of
from bandjax.fingerprints.windows import Window, as_window, window_energies
from bandjax.hamiltonian import Model, tight_binding
from bandjax.materials import Table
from bandjax.spectrum.bands import bytes_of_h
from bandjax.structure import find_bonds, find_mixed_bonds, site_fractions, site_labels

SPACING = 0.12
"""Of wave vectors along each reciprocal vector, 1/Å: 17 points along those of silicon's primitive cell, which leave its density within an
eighth of the area at the published smearing (`density.SAMPLING`)."""


class _Settings(NamedTuple):
    """What one program depends on besides the atoms; static."""

    pieces: tuple[Window, ...]
    smearing: float
    kernel: str
    cut: float
    grid: tuple[int, int, int]
    spin_orbit: bool


def fingerprint_structures(
    structures: Sequence[ase.Atoms],
    table: str | Table,
    window: str | Window | Sequence[Window] = "fermi",
    *,
    smearing: float = PUBLISHED_SMEARING,
    kernel: str = "gaussian",
    cut: float | None = None,
    per: str = "cell",
    spacing: float = SPACING,
    grid: Sequence[int] | None = None,
    spin_orbit: bool = True,
    names: Sequence[str] | None = None,
    coarse: bool = False,
    refused: list[tuple[str, str]] | None = None,
    progress: Callable[[int, int], Any] | None = None,
    state_folder: str | os.PathLike[str] | None = None,
) -> xr.Dataset:
    """A collection of the fingerprints of structures, by a parameter table.

    Args:
        structures: Crystals; `arrays["composition"]` may hold fractions (see `tight_binding`). `info["materials"]` such as
            "GaAs InAs" names the materials of an alloy whose symbols do not tell them.
        table: Name of a table that holds every structure's species ("vogl1983"; "graphene/pz" where several of its materials
            have them), or a table.
        window, smearing, kernel, cut, coarse: See `fingerprint`.
        per: Count states in the "cell", as published, or an "atom", so that cells of different sizes compare, or, of structures
            that are periodic in one direction, an Å along it ("length"): then every band edge is a peak of one height for one mass.
        spacing: Largest distance of wave vectors along each reciprocal vector, 1/Å, > 0; structures of one topology share a grid, so that
            nothing jumps between them.
        grid: Numbers of wave vectors instead, for all structures alike.
        spin_orbit: Whether to include it where a table has it.
        names: One a structure; None: `info["name"]`, or the formula and the place in the list.
        refused: Where given, a structure that would raise is left out instead, and its name and the sentence are appended here.
        progress: Called with (structures done, all).
        state_folder: Where finished chunks of at most 64 structures are kept while it runs: a new or empty folder, or that of the same call,
            which goes on from there, to the same collection bit by bit. It stays afterwards, unless the call itself raises ValueError.

    Returns:
        See `collection.py`; with the labels gap (eV), vbm, cbm and fermi (eV on the table's scale), atoms, formula, spin_orbit
            (whether it was included).

    Raises:
        ValueError: no structure; a species that the table lacks; what `fingerprint` refuses (the structure is named); a
            `state_folder` of other structures or settings, or in which another process works.
    """
    structures = list(structures)
    if not structures:
        raise ValueError("Argument `structures` must hold one structure or more, but is empty.")
    checks.one_of("per", per, PER)
    checks.positive("spacing", spacing, "1/Å")
    checks.positive("smearing", smearing, "eV")
    pieces = as_window(window)
    names = structure_names(structures) if names is None else [str(n) for n in names]
    if len(names) != len(structures):
        raise ValueError(f"Argument `names` must hold {len(structures)} names, but holds {len(names)}.")
    if grid is not None:
        checks.whole_numbers("grid", grid, 3)

    def refuse(index: int, error: ValueError) -> None:
        if refused is None:
            raise ValueError(f"Structure {names[index]}: {error}") from error
        refused.append((names[index], str(error)))

    groups: dict[Any, list[int]] = {}
    tables: dict[tuple[str, ...], Table] = {}
    for index, atoms in enumerate(structures):
        try:
            kind = table_key(atoms)
            if kind not in tables:
                tables[kind] = table if isinstance(table, Table) else table_of(kind, table)
            _share(atoms, per)
            groups.setdefault((kind, _topology_key(atoms, tables[kind])), []).append(index)
        except ValueError as error:
            refuse(index, error)

    density_of_k = f"{spacing:g} 1/Å" if grid is None else " × ".join(str(int(n)) for n in grid)
    settings = {
        "window": window_text(pieces), "smearing": repr(float(smearing)), "kernel": kernel, "cut": repr(kernel_cut(kernel, cut)), "per": per,
        "spin_orbit": str(spin_orbit), "coarse": str(coarse), "wave vectors": repr(float(spacing)) if grid is None else density_of_k, "chunk": str(CHUNK),
    }  # fmt: skip
    found: list[Part] = []
    done = len(structures) - sum(map(len, groups.values()))
    with Parts(
        state_folder, settings, structures, list(tables.values()), sum(piece.points for piece in pieces)
    ) as parts:
        for (kind, _), members in groups.items():
            own = tables[kind]
            with_spin = spin_orbit and bool(own.spec.spin_orbit)
            points = grid if grid is not None else np.max([grid_of(structures[i], spacing) for i in members], axis=0)
            wanted = _Settings(
                pieces, smearing, kernel, cut, (int(points[0]), int(points[1]), int(points[2])), with_spin
            )
            run, size = None, -(-len(members) // -(-len(members) // CHUNK))  # chunks of one size, as even as can be
            for at in range(0, len(members), size):
                chunk = members[at : at + size]
                part = parts.get(len(found), chunk)
                if part is None:
                    run = run or _program(structures[members[0]], own, wanted)
                    part = _part(run, structures, chunk, size, wanted, coarse, per)
                    parts.put(len(found), part)
                found.append(part)
                for index, words in zip(part.refused, part.words, strict=True):
                    refuse(index, ValueError(str(words)))
                done += len(chunk)
                if progress is not None:
                    progress(done, len(structures))
        index = np.concatenate([part.index for part in found]) if found else np.zeros(0, int)
        if not index.size:
            name, words = (refused or [("", "")])[0]
            raise ValueError(
                f"Argument `structures` must hold one that can be taken, but all are refused; {name}: {words}"
            )
    order = np.argsort(index)
    kept = index[order].tolist()
    features = np.concatenate([part.features for part in found if part.index.size])[order]
    columns = np.concatenate([part.labels for part in found if part.index.size])[order]
    collection = make_collection(
        features, [names[i] for i in kept], window=pieces, smearing=smearing, kernel=kernel, cut=cut, per=per,
        labels={
            **{n: columns[:, c] for c, n in enumerate(("fermi", "vbm", "cbm", "gap"))},
            "spin_orbit": columns[:, 4].astype(int), "atoms": np.array([len(structures[i]) for i in kept]),
            "formula": np.array([structures[i].get_chemical_formula() for i in kept], dtype=object),
        },
        source=f"{table if isinstance(table, str) else table.spec.name}, {'with' if spin_orbit else 'without'} spin-orbit",
    )  # fmt: skip
    for name in ("fermi", "vbm", "cbm", "gap"):
        collection[name].attrs["units"] = "eV"
    return collection.assign_attrs(wave_vectors=density_of_k)


CHUNK = 64
"""Structures of one program call, at most; what a run that is killed loses."""


def _part(
    run: Callable[[list[ase.Atoms]], tuple],
    structures: list[ase.Atoms],
    members: list[int],
    size: int,
    settings: _Settings,
    coarse: bool,
    per: str,
) -> Part:
    """Fingerprints of some structures of one topology by their program, which takes `size` at once."""
    found, edges, levels = run([structures[i] for i in (members + members[-1:] * size)[:size]])
    cut = kernel_cut(settings.kernel, settings.cut)
    taken: list[int] = []  # places among the members
    refused: list[tuple[int, str]] = []
    for place, index in enumerate(members):
        try:
            refuse_metal(settings.pieces, edges[place])
            energy = window_energies(settings.pieces, settings.smearing, edges[place])
            check_window(levels[place], settings.pieces, energy, settings.smearing, coarse, cut)
            taken.append(place)
        except ValueError as error:
            refused.append((index, str(error)))
    share = np.array([_share(structures[members[place]], per) for place in taken])
    labels = [(*(float(e) for e in edges[place]), float(settings.spin_orbit)) for place in taken]
    return Part(
        np.array([members[place] for place in taken], int), found[taken] / share[:, None].astype(found.dtype),
        np.reshape(np.array(labels, float), (-1, 5)), np.array([i for i, _ in refused], int), np.array([w for _, w in refused], str),
    )  # fmt: skip


def structure_names(structures: Sequence[ase.Atoms]) -> list[str]:
    """`info["name"]` of each, or its formula and place; a name that repeats gets its place, too."""
    names = [str(a.info.get("name", f"{a.get_chemical_formula()}-{i}")) for i, a in enumerate(structures)]
    repeated = {n for n in names if names.count(n) > 1} if len(set(names)) < len(names) else set()
    return [f"{n}-{i}" if n in repeated else n for i, n in enumerate(names)]


def grid_of(atoms: ase.Atoms, spacing: float) -> tuple[int, int, int]:
    """Numbers of wave vectors, at most `spacing` (1/Å) apart along each reciprocal vector; 1 where there is no period."""
    lengths = 2 * np.pi * np.linalg.norm(np.asarray(atoms.cell.reciprocal()), axis=1)
    n = [max(1, int(np.ceil(q / spacing))) if p else 1 for q, p in zip(lengths, atoms.pbc, strict=True)]
    return n[0], n[1], n[2]


def _share(atoms: ase.Atoms, per: str) -> float:
    """What the states of a cell are divided by."""
    if per == "length" and np.sum(atoms.pbc) != 1:
        raise ValueError(
            f"Argument `per` must be 'cell' or 'atom' for a structure that is periodic in {np.sum(atoms.pbc)} directions, but is 'length'."
        )
    return {"cell": 1.0, "atom": float(len(atoms)), "length": float(atoms.cell.lengths()[atoms.pbc].sum())}[per]


def _topology_key(atoms: ase.Atoms, table: Table) -> Any:
    """What makes two structures run the same program."""
    labels, periodic = tuple(site_labels(atoms)), tuple(map(bool, atoms.pbc))
    if site_fractions(atoms) is not None:
        found = find_mixed_bonds(atoms, table.spec)[0]
        return "mixed", labels, periodic, tuple(np.asarray(x).tobytes() for x in found)
    bonds = tuple((str(b[0]), *(np.asarray(x).tobytes() for x in b[1:])) for b in find_bonds(atoms, table.spec))
    return labels, periodic, bonds


def _program(first: ase.Atoms, table: Table, settings: _Settings) -> Callable[[list[ase.Atoms]], tuple]:
    """Function of structures with the topology of `first`: features (structure, energy), their edges and levels."""

    def model_of(position: Any, cell: Any, fraction: Any) -> Model:
        return tight_binding(
            first, table, positions=position, cell=cell, composition=fraction, spin_orbit=settings.spin_orbit
        )

    def one(item: tuple) -> tuple:
        levels = model_levels(model_of(*item), grid=settings.grid)
        edges = edges_for(levels, settings.pieces, settings.smearing)
        energy = window_energies(settings.pieces, settings.smearing, edges)
        features = density(levels, energy, smearing=settings.smearing, kernel=settings.kernel, cut=settings.cut)
        return features, edges, levels.energy

    model = model_of(first.positions, np.asarray(first.cell), site_fractions(first))
    kind = model_levels(model, grid=settings.grid)
    need = bytes_of_h(model) * kind.energy.shape[0]
    mapped = jax.jit(lambda items: map_chunks(one, items, bytes_per_item=need))

    def run(structures: list[ase.Atoms]) -> tuple[np.ndarray, list[BandEdges], list[Levels]]:
        fractions = None if site_fractions(first) is None else np.stack([a.arrays["composition"] for a in structures])
        items = (
            np.stack([a.positions for a in structures]),
            np.stack([np.asarray(a.cell) for a in structures]),
            fractions,
        )
        features, edges, energy = jax.tree.map(np.asarray, mapped(items))
        count = range(len(structures))
        return (
            features,
            [BandEdges(*(e[i] for e in edges)) for i in count],
            [kind._replace(energy=energy[i]) for i in count],
        )

    return run
