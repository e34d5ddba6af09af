"""From a structure and a table to a model: the one place where a model is put together.

    <i a| H |j b> = Σ_channels V(d0) (d0/d)^n · (Slater-Koster factors),      d = |r_j − r_i|

Neighbours come from `atoms` once and are static; the blocks are differentiable in table, positions, cell, composition,
potential and the energy of dangling bonds.
"""

import ase
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bandjax import checks
from bandjax.hamiltonian import strain
from bandjax.hamiltonian.blocks import Blocks, hoppings, labelled_bonds, onsite_block, spin_orbit_block
from bandjax.hamiltonian.composition import mixed_blocks, mixing_species
from bandjax.hamiltonian.dangling import check_shift, raised
from bandjax.hamiltonian.model import BondGroup, Model, Orbital, PerAtom, Topology, per_atom
from bandjax.hamiltonian.slater_koster import angular_momentum
from bandjax.materials import SHELLS, DistanceLaw, Table, TableSpec
from bandjax.structure import find_bonds, site_fractions, site_labels


def tight_binding(
    atoms: ase.Atoms,
    table: Table,
    *,
    positions: ArrayLike | None = None,
    cell: ArrayLike | None = None,
    composition: ArrayLike | None = None,
    potential: ArrayLike | None = None,
    dangling_shift: ArrayLike | None = None,
    spin_orbit: bool = True,
    distance_law: str = "table",
) -> Model:
    """Tight-binding model of a structure.

    Args:
        atoms: Structure; its neighbours are searched once. `atoms.arrays["site"]` may hold the table's site labels.
        table: Parameter table that holds every species of `atoms`; energies in eV.
        positions: Positions in Å, shape (atom, 3), possibly traced; None takes those of `atoms`.
        cell: Lattice vectors in Å, rows, possibly traced; None takes those of `atoms`.
        composition: Fraction of the table's second species at each site, in [0, 1], shape (atom,), possibly traced. With
            it the labels of the atoms do not matter and both species' blocks mix (`hamiltonian/composition.py`). None
            takes `atoms.arrays["composition"]` where that holds fractions, else the labels.
        potential: Electrostatic potential in eV on each atom, shape (atom,), possibly traced, added to all its on-site
            energies; see `structure/potential.py`.
        dangling_shift: Energy in eV, ≥ 0, by which dangling sp3 hybrids are raised (`hamiltonian/dangling.py`), a number
            or shape (atom,), possibly traced; from about 5 eV on surface states leave the gap. None leaves the bonds of
            surfaces dangling and wants all neighbours inside a crystal; with a number atoms may have fewer anywhere.
        spin_orbit: Whether to double the basis and add λ L·σ.
        distance_law: "harrison" (V ~ d^−2, on-site energies untouched), "table" (the table's own exponents and
            on-site terms where it has them, else Harrison; a table with two variants uses its first) or the name
            of one variant ("variant2" of Boykin's Si).

    Returns:
        Model with `n_orbital` = orbitals (× 2 with spin-orbit); orbitals are ordered by atom, spin up first.

    Raises:
        ValueError: the table lacks a species, spin-orbit constants or the named law; atoms are closer than 1 Å or
            none lies within bonding distance; an atom has more than its four neighbours (hydrogen: one) or, inside a
            crystal and without `dangling_shift`, fewer; `positions`, `cell`, `composition`, `potential` or
            `dangling_shift` has a wrong shape; with `composition`, a fraction outside [0, 1] or a table without two
            species that have the same orbitals and all their bonds; with `dangling_shift`, one < 0 or a table without
            sp3 hybrids.
    """
    spec = table.spec
    law = _law(table, distance_law)
    if (
        spin_orbit
        and not spec.spin_orbit
        and any(angular_momentum(s) for _, shells in spec.orbitals for s in shells if s != "z")
    ):
        raise ValueError(
            f"Table {spec.name} of {spec.material} must have spin-orbit constants for `spin_orbit=True`, but has none; "
            "pass `spin_orbit=False`."
        )
    if composition is None:
        composition = site_fractions(atoms)
    composition, potential = (None if x is None else jnp.asarray(x) for x in (composition, potential))
    dangling_shift = None if dangling_shift is None else jnp.asarray(dangling_shift)
    leaves = (positions, cell, composition, potential, dangling_shift, *table.values.values())
    leaves = [x for x in leaves if x is not None]
    dtype = jnp.result_type(*leaves)
    dtype = dtype if jnp.issubdtype(dtype, jnp.floating) else jnp.result_type(float)
    positions = jnp.asarray(atoms.positions if positions is None else positions, dtype)
    cell = jnp.asarray(np.asarray(atoms.cell) if cell is None else cell, dtype)
    checks.shape_is("positions", positions, (len(atoms), 3))
    checks.shape_is("cell", cell, (3, 3))

    may_miss = dangling_shift is not None
    if dangling_shift is not None:
        check_shift(dangling_shift, spec, len(atoms))
    if composition is None:
        blocks = _labelled_blocks(atoms, table, law, positions, cell, spin_orbit, may_miss)
    else:
        blocks = mixed_blocks(atoms, table, law, positions, cell, composition, spin_orbit, may_miss)
    onsite = blocks.onsite if potential is None else _shifted(blocks.onsite, potential)
    if dangling_shift is not None:
        onsite = raised(onsite, blocks, spec, site_labels(atoms), dangling_shift)
    orbitals, first = [], []
    for atom, label in enumerate(site_labels(atoms)):
        first.append(len(orbitals))
        orbitals += [Orbital(atom, label, shell, name) for shell in spec.shells_of(label) for name in SHELLS[shell]]
    topology = Topology(
        tuple(orbitals),
        tuple(first),
        blocks.groups,
        bool(spin_orbit),
        (bool(atoms.pbc[0]), bool(atoms.pbc[1]), bool(atoms.pbc[2])),
        spec.material,
        spec.name,
        None if composition is None else mixing_species(spec),
    )
    c = None if composition is None else composition.astype(dtype)
    return Model(onsite, blocks.spin_orbit, blocks.hopping, blocks.bond_vector, positions, cell, topology, c)


def _labelled_blocks(
    atoms: ase.Atoms,
    table: Table,
    law: DistanceLaw | None,
    positions: jax.Array,
    cell: jax.Array,
    spin_orbit: bool,
    may_miss: bool,
) -> Blocks:
    """Blocks where each atom is what its label says."""
    dtype, labels = positions.dtype, site_labels(atoms)
    bonds = [
        labelled_bonds(table, law, found, positions, cell) for found in find_bonds(atoms, table.spec, may_miss=may_miss)
    ]
    groups, vectors, hopping = zip(*bonds, strict=True) if bonds else ((), (), ())

    # each kind once, in an order that does not change from run to run: compiled programs stay the same
    sites = list(zip(labels, _neighbour_labels(table.spec, labels, groups), strict=True))
    own = {site: onsite_block(table, site[0], dtype, site[1]) for site in dict.fromkeys(sites)}
    onsite = [own[site] for site in sites]
    if law is not None and law.onsite_form == "niquet2009":
        onsite = strain.niquet_terms(onsite, table, law, labels, groups, vectors)
    if law is not None and law.onsite_form == "boykin2004":
        ideal = [_unstrained(table, law, group, vector) for group, vector in zip(groups, vectors, strict=True)]
        onsite = strain.boykin_terms(onsite, table, law, labels, groups, hopping, ideal)
    coupling = None
    if spin_orbit:
        own = {site: spin_orbit_block(table, site[0], dtype, site[1]) for site in dict.fromkeys(sites)}
        coupling = per_atom([own[site] for site in sites])
    return Blocks(groups, vectors, hopping, per_atom(onsite), coupling)


def _neighbour_labels(spec: TableSpec, labels: list[str], groups: tuple[BondGroup, ...]) -> list[tuple[str, ...]]:
    """Labels around each atom, sorted, where its energies depend on them; () for all other atoms."""
    shared = {entry[0] for entry in (*spec.onsite_by_neighbour, *spec.spin_orbit_by_neighbour)}
    around: list[list[str]] = [[] for _ in labels]
    for group in groups if shared else ():
        for a, b in zip(group.i + group.j, group.j + group.i, strict=True):
            if labels[a] in shared:
                around[a].append(labels[b])
    return [tuple(sorted(found)) for found in around]


def _unstrained(table: Table, law: DistanceLaw, group: BondGroup, vectors: jax.Array) -> jax.Array:
    """Hoppings of these bonds in the unstrained crystal, along the cubic axes."""
    length = table.spec.bonds[group.kind].length
    return hoppings(table, group.kind, law, jnp.sign(vectors) * (length / np.sqrt(3)))


def _shifted(onsite: PerAtom, potential: jax.Array) -> PerAtom:
    """On-site blocks plus the potential of each atom."""
    checks.shape_is("potential", potential, (len(onsite),))
    checks.finite("potential", potential)
    shifted = tuple(
        h + potential[onsite.atoms_of(at)].astype(h.dtype)[:, None, None] * jnp.eye(h.shape[-1], dtype=h.dtype)
        for at, h in enumerate(onsite.stacks)
    )
    return PerAtom(shifted, onsite.stack_of)


def _law(table: Table, name: str) -> DistanceLaw | None:
    """The law of that name; None is Harrison's."""
    laws = table.spec.laws
    if name == "harrison" or (name == "table" and not laws):
        return None
    if name == "table":
        return laws[0]
    known = ["harrison", "table", *(law.name for law in laws if law.name != "table")]
    checks.one_of("distance_law", name, known)
    return next(law for law in laws if law.name == name)
