"""Neighbour search: once, outside JAX, with static integers as its result."""

import ase
import ase.neighborlist
import numpy as np

from bandjax.materials import HYDROGEN, Bond, TableSpec

CLOSEST = 1.0  # Å; no two atoms of a solid are nearer
ALLOW = "; a number for `dangling_shift` allows fewer"
STRETCH = 0.15  # a pair bonds when its distance is within ±15 % of the bond's reference length: strains of a few
# per cent pass, the second neighbours of every lattice here (≥ 41 % farther) do not
STRETCH_OF_SHELLS = (
    0.05  # where a table lists several lengths for one pair, unlisted neighbours may lie between them or
)
# just beyond (√5 a is 12 % farther than 2 a on the square lattice)


def site_labels(atoms: ase.Atoms) -> list[str]:
    """The table's label of each atom: `atoms.arrays["site"]`, or else its chemical symbol."""
    return [str(s) for s in atoms.arrays.get("site", atoms.get_chemical_symbols())]


def site_fractions(atoms: ase.Atoms) -> np.ndarray | None:
    """The array "composition" of the structure, (atom,); None without it, or where each site holds one species."""
    composition = atoms.arrays.get("composition")
    return None if composition is None or np.isin(composition, (0, 1)).all() else composition


def known_labels(atoms: ase.Atoms, spec: TableSpec) -> list[str]:
    """The table's label of each atom.

    Raises:
        ValueError: an atom's label is not in the table.
    """
    labels = site_labels(atoms)
    for index, label in enumerate(labels):
        if label not in spec.species:
            hint = ""
            if label == HYDROGEN:
                hint = (
                    " load_parameters(('Si', 'H'), 'jancu1998') holds hydrogen; for other tables leave it out and pass "
                    "`dangling_shift`."
                )
            raise ValueError(
                f"Table {spec.name} of {spec.material} must hold every species, but lacks {label!r} (atom {index}); "
                f"it has {', '.join(spec.species)}.{hint}"
            )
    return labels


Bonds = tuple[Bond, np.ndarray, np.ndarray, np.ndarray]  # kind, atoms i and j, cell shifts


def find_bonds(atoms: ase.Atoms, spec: TableSpec, *, may_miss: bool = False) -> list[Bonds]:
    """Each bond of the structure once, grouped by the table's kinds of bond.

    Args:
        atoms: Structure.
        spec: Meaning of the table.
        may_miss: Whether atoms may have fewer neighbours than in the crystal; where the structure ends (is not periodic
            in all three directions) they may in any case.

    Returns:
        For every kind that occurs: (bond, i (bond,), j (bond,), shift (bond, 3)); atom j in the cell `shift` away
        is bonded to atom i, and i has the label `bond.pair[0]`. A distance belongs to the kind of the nearest length,
        within ±15 %, or ±5 % where the pair has several lengths.

    Raises:
        ValueError: an atom's label is not in the table, two atoms are closer than 1 Å, or an atom has no
            neighbour within bonding distance or, in zinc blende, other than four (hydrogen: one).
    """
    labels = known_labels(atoms, spec)
    bonds = _labelled_bonds(atoms, spec, labels)
    ends = [np.concatenate([i, j]) for _, i, j, _ in bonds]
    count = np.bincount(np.concatenate([np.zeros(0, int), *ends]), minlength=len(atoms))
    _check_lengths(spec, labels, count, atoms)
    _check_neighbours(dict(spec.neighbours), labels, count, np.full(len(atoms), may_miss or not atoms.pbc.all()))
    return bonds


def _labelled_bonds(atoms: ase.Atoms, spec: TableSpec, labels: list[str]) -> list[Bonds]:
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

    bonds = []
    for row, bond in enumerate(spec.bonds):
        chosen = bonded & (kind == row)
        if bond.pair[0] == bond.pair[1]:
            chosen &= _first_half(i, j, shift)
        if chosen.any():
            bonds.append((bond, i[chosen], j[chosen], shift[chosen]))
    return bonds


def _check_lengths(spec: TableSpec, labels: list[str], count: np.ndarray, atoms: ase.Atoms) -> None:
    alone = np.flatnonzero(count == 0)
    if alone.size and spec.bonds:
        wanted = ", ".join(
            f"{b.pair[0]}-{b.pair[1]} {b.length if b.length is not None else _shortest(atoms):.3f} Å"
            for b in spec.bonds
        )
        stretch = max(_stretch(bond, spec) for bond in spec.bonds)
        raise ValueError(
            f"Every atom must have a neighbour within ±{stretch:.0%} of a bond length of table {spec.name} ({wanted}), "
            f"but atom {alone[0]} ({labels[alone[0]]}) has none."
        )


def find_mixed_bonds(
    atoms: ase.Atoms, spec: TableSpec, *, may_miss: bool = False
) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], list[Bonds]]:
    """Each bond of an alloy's network once, whatever species its ends hold, and those to hydrogen.

    Args:
        atoms: Structure.
        spec: Meaning of the table.
        may_miss: Whether atoms may have fewer than four neighbours; those in the outermost layers of a slab may in any
            case (array "layer"; without it all atoms of a structure that ends).

    Returns:
        The network: i (bond,), j (bond,), shift (bond, 3); two atoms bond where their distance is within ±15 % of one
        of the table's lengths. And the bonds between hydrogen and a site of this label, as `find_bonds` gives them.

    Raises:
        ValueError: an atom's label is not in the table, two atoms are closer than 1 Å, or an atom has other than four
            neighbours (hydrogen: one).
    """
    labels = known_labels(atoms, spec)
    heavy = np.array(labels) != HYDROGEN
    lengths = [bond.length for bond in spec.bonds if HYDROGEN not in bond.pair]
    i, j, shift = _bonded(atoms, min(lengths), max(lengths))
    bonded = heavy[i] & heavy[j]
    i, j, shift = i[bonded], j[bonded], shift[bonded]
    hydrogen = [found for found in _labelled_bonds(atoms, spec, labels) if HYDROGEN in found[0].pair]
    ends = [np.concatenate([a, b]) for a, b in ((i, j), *((a, b) for _, a, b, _ in hydrogen))]
    count = np.bincount(np.concatenate(ends), minlength=len(atoms))
    number = dict(spec.neighbours) or {species: 4 for species in spec.species}
    _check_neighbours(number, labels, count, np.full(len(atoms), True) if may_miss else _outermost(atoms))
    return (i, j, shift), hydrogen


def find_network(atoms: ase.Atoms, shortest: float, longest: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each bond of a tetrahedral network once: pairs from 15 % below `shortest` to 15 % above `longest`, in Å.

    Returns:
        i (bond,), j (bond,), shift (bond, 3): atom j in the cell `shift` away is bonded to atom i.

    Raises:
        ValueError: two atoms are closer than 1 Å, or an atom has other than four neighbours (in the outermost layers of
            a slab: more than four).
    """
    i, j, shift = _bonded(atoms, shortest, longest)
    labels = list(atoms.symbols)
    count = np.bincount(np.concatenate([i, j]), minlength=len(atoms))
    _check_neighbours(dict.fromkeys(labels, 4), labels, count, _outermost(atoms), hint="")
    return i, j, shift


def _bonded(atoms: ase.Atoms, shortest: float, longest: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of a tetrahedral network, not counted: i, j, shift."""
    i, j, distance, shift = _neighbours(atoms, (1 + STRETCH) * longest)
    bonded = (distance > (1 - STRETCH) * shortest) & _first_half(i, j, shift)
    return i[bonded], j[bonded], shift[bonded]


def _outermost(atoms: ase.Atoms) -> np.ndarray:
    """Atoms of the outermost layers of a slab, whose bonds may dangle, (atom,)."""
    layer = atoms.arrays.get("layer", np.zeros(len(atoms), int))
    surface = (layer == layer.min()) | (layer == layer.max())
    return surface if not atoms.pbc.all() else np.zeros(len(atoms), bool)


def _check_neighbours(
    number: dict[str, int], labels: list[str], count: np.ndarray, may_miss: np.ndarray, *, hint: str = ALLOW
) -> None:
    """`number` of neighbours of each label, if any; `may_miss` (atom,): where fewer are no error."""
    if not number:
        return
    expected = np.array([number[label] for label in labels])
    wrong = np.flatnonzero((count > expected) | ((count < expected) & ~may_miss))
    if wrong.size:
        found = ", ".join(f"atom {at} ({labels[at]}) has {count[at]}" for at in wrong[:3])
        more = f" and {wrong.size - 3} more are wrong" if wrong.size > 3 else ""
        few = hint if (count[wrong] < expected[wrong]).all() else ""
        wanted = ", ".join(f"{n} ({species})" for species, n in number.items()) if HYDROGEN in number else "4"
        raise ValueError(f"Every atom must have {wanted} neighbours, but {found}{more}{few}.")


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
