"""Neighbour search: once, outside JAX, with static integers as its result."""

import ase
import ase.neighborlist
import numpy as np

from bandjax.materials import Bond, TableSpec

CLOSEST = 1.0  # Å; no two atoms of a solid are nearer
STRETCH = 0.15  # a pair bonds when its distance is within ±15 % of the bond's reference length: strains of a few
# per cent pass, the second neighbours of every lattice here (≥ 41 % farther) do not
STRETCH_OF_SHELLS = (
    0.05  # where a table lists several lengths for one pair, unlisted neighbours may lie between them or
)
# just beyond (√5 a is 12 % farther than 2 a on the square lattice)


def site_labels(atoms: ase.Atoms) -> list[str]:
    """The table's label of each atom: `atoms.arrays["site"]`, or else its chemical symbol."""
    return [str(s) for s in atoms.arrays.get("site", atoms.get_chemical_symbols())]


def known_labels(atoms: ase.Atoms, spec: TableSpec) -> list[str]:
    """The table's label of each atom.

    Raises:
        ValueError: an atom's label is not in the table.
    """
    labels = site_labels(atoms)
    for index, label in enumerate(labels):
        if label not in spec.species:
            raise ValueError(
                f"Table {spec.name} of {spec.material} must hold every species, but lacks {label!r} (atom {index}); "
                f"it has {', '.join(spec.species)}."
            )
    return labels


def find_bonds(atoms: ase.Atoms, spec: TableSpec) -> list[tuple[Bond, np.ndarray, np.ndarray, np.ndarray]]:
    """Each bond of the structure once, grouped by the table's kinds of bond.

    Returns:
        For every kind that occurs: (bond, i (bond,), j (bond,), shift (bond, 3)); atom j in the cell `shift` away
        is bonded to atom i, and i has the label `bond.pair[0]`. A distance belongs to the kind of the nearest length,
        within ±15 %, or ±5 % where the pair has several lengths.

    Raises:
        ValueError: an atom's label is not in the table, two atoms are closer than 1 Å, or an atom has no
            neighbour within bonding distance.
    """
    labels = known_labels(atoms, spec)
    lengths = [b.length if b.length is not None else _shortest(atoms) for b in spec.bonds]
    cutoff = max([CLOSEST, *((1 + STRETCH) * length for length in lengths)])
    i, j, distance, shift = _neighbours(atoms, cutoff)
    label = np.array(labels)
    misfit = np.full((len(spec.bonds), i.size), np.inf)
    for row, (bond, length) in enumerate(zip(spec.bonds, lengths, strict=True)):
        fits = (label[i] == bond.pair[0]) & (label[j] == bond.pair[1])
        off = np.abs(distance / length - 1)
        misfit[row] = np.where(fits & (off < _stretch(bond, spec)), off, np.inf)
    kind = misfit.argmin(axis=0) if i.size else np.zeros(0, int)
    bonded = np.isfinite(misfit.min(axis=0)) if i.size else np.zeros(0, bool)

    bonds, touched = [], set()
    for row, bond in enumerate(spec.bonds):
        chosen = bonded & (kind == row)
        if bond.pair[0] == bond.pair[1]:
            chosen &= _first_half(i, j, shift)
        touched |= set(i[chosen]) | set(j[chosen])
        if chosen.any():
            bonds.append((bond, i[chosen], j[chosen], shift[chosen]))
    alone = sorted(set(range(len(atoms))) - touched)
    if alone and spec.bonds:
        wanted = ", ".join(
            f"{b.pair[0]}-{b.pair[1]} {length:.3f} Å" for b, length in zip(spec.bonds, lengths, strict=True)
        )
        stretch = max(_stretch(bond, spec) for bond in spec.bonds)
        raise ValueError(
            f"Every atom must have a neighbour within ±{stretch:.0%} of a bond length of table {spec.name} ({wanted}), "
            f"but atom {alone[0]} ({labels[alone[0]]}) has none."
        )
    return bonds


def find_mixed_bonds(atoms: ase.Atoms, spec: TableSpec) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each bond of an alloy's network once, whatever species its ends hold.

    Returns:
        i (bond,), j (bond,), shift (bond, 3): two atoms bond where their distance is within ±15 % of one of the
        table's lengths.

    Raises:
        ValueError: an atom's label is not in the table, two atoms are closer than 1 Å, or an atom has other than four
            neighbours (in the outermost layers of a slab: more than four).
    """
    known_labels(atoms, spec)
    lengths = [bond.length for bond in spec.bonds]
    return find_network(atoms, min(lengths), max(lengths))


def find_network(atoms: ase.Atoms, shortest: float, longest: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each bond of a tetrahedral network once: pairs from 15 % below `shortest` to 15 % above `longest`, in Å.

    Returns:
        i (bond,), j (bond,), shift (bond, 3): atom j in the cell `shift` away is bonded to atom i.

    Raises:
        ValueError: two atoms are closer than 1 Å, or an atom has other than four neighbours (in the outermost layers of
            a slab: more than four).
    """
    i, j, distance, shift = _neighbours(atoms, (1 + STRETCH) * longest)
    bonded = (distance > (1 - STRETCH) * shortest) & _first_half(i, j, shift)
    i, j, shift = i[bonded], j[bonded], shift[bonded]
    _check_tetrahedral(atoms, np.bincount(np.concatenate([i, j]), minlength=len(atoms)))
    return i, j, shift


def _check_tetrahedral(atoms: ase.Atoms, count: np.ndarray) -> None:
    layer = atoms.arrays.get("layer", np.zeros(len(atoms), int))
    surface = (layer == layer.min()) | (layer == layer.max())
    may_miss = surface if not atoms.pbc.all() else np.zeros(len(atoms), bool)
    wrong = np.flatnonzero(np.where(may_miss, count > 4, count != 4))
    if wrong.size:
        found = ", ".join(f"atom {at} ({atoms.symbols[at]}) has {count[at]}" for at in wrong[:3])
        more = f" and {wrong.size - 3} more are wrong" if wrong.size > 3 else ""
        raise ValueError(f"Every atom must have 4 neighbours, but {found}{more}.")


def _neighbours(atoms: ase.Atoms, cutoff: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Pairs i, j, their distances and cell shifts, both ways.

    Raises:
        ValueError: two atoms are closer than 1 Å.
    """
    i, j, distance, shift = ase.neighborlist.neighbor_list("ijdS", atoms, cutoff)
    if distance.size and distance.min() < CLOSEST:
        at = int(distance.argmin())
        raise ValueError(
            f"Atoms must be at least {CLOSEST} Å apart, but atoms {i[at]} and {j[at]} are {distance[at]:.3f} Å apart."
        )
    return i, j, distance, shift


def _stretch(bond: Bond, spec: TableSpec) -> float:
    """Relative misfit up to which a distance counts as the bond's length."""
    shells = [b for b in spec.bonds if set(b.pair) == set(bond.pair)]
    return STRETCH if len(shells) == 1 else STRETCH_OF_SHELLS


def _first_half(i: np.ndarray, j: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Of the two directions of each bond, the one that comes first."""
    leading = np.where(shift[:, 0] != 0, shift[:, 0], np.where(shift[:, 1] != 0, shift[:, 1], shift[:, 2]))
    return (leading > 0) | ((leading == 0) & (i < j))


def _shortest(atoms: ase.Atoms) -> float:
    distance = ase.neighborlist.neighbor_list("d", atoms, 6.0)
    if not distance.size:
        raise ValueError("Every atom must have a neighbour within 6 Å, but none has.")
    return float(distance.min())
