"""From a structure and a table to a model: the one place where blocks are made.

    <i a| H |j b> = Σ_channels V(d0) (d0/d)^n · (Slater-Koster factors),      d = |r_j − r_i|

Neighbours come from `atoms` once and are static; the blocks are differentiable in table, positions and cell.
"""

import ase
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bandjax import checks
from bandjax.hamiltonian import strain
from bandjax.hamiltonian.model import BondGroup, Model, Orbital, Topology
from bandjax.hamiltonian.slater_koster import angular_momentum, slater_koster
from bandjax.hamiltonian.spin_orbit import spin_orbit_matrix
from bandjax.materials import SHELLS, DistanceLaw, Table
from bandjax.structure import find_bonds, site_labels

HARRISON_EXPONENT = 2.0


def tight_binding(
    atoms: ase.Atoms,
    table: Table,
    *,
    positions: ArrayLike | None = None,
    cell: ArrayLike | None = None,
    spin_orbit: bool = True,
    distance_law: str = "table",
) -> Model:
    """Tight-binding model of a structure.

    Args:
        atoms: Structure; its neighbours are searched once. `atoms.arrays["site"]` may hold the table's site labels.
        table: Parameter table that holds every species of `atoms`; energies in eV.
        positions: Positions in Å, shape (atom, 3), possibly traced; None takes those of `atoms`.
        cell: Lattice vectors in Å, rows, possibly traced; None takes those of `atoms`.
        spin_orbit: Whether to double the basis and add λ L·σ.
        distance_law: "harrison" (V ~ d^−2, on-site energies untouched), "table" (the table's own exponents and
            on-site terms where it has them, else Harrison; a table with two variants uses its first) or the name
            of one variant ("variant2" of Boykin's Si).

    Returns:
        Model with `n_orbital` = orbitals (× 2 with spin-orbit); orbitals are ordered by atom, spin up first.

    Raises:
        ValueError: the table lacks a species, spin-orbit constants or the named law; atoms are closer than 1 Å or
            none lies within bonding distance; `positions` or `cell` has a wrong shape.
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
    bonds = find_bonds(atoms, spec)
    labels = site_labels(atoms)
    dtype = jnp.result_type(float)
    leaves = [x for x in (positions, cell, *table.values.values()) if x is not None]
    dtype = jnp.result_type(*leaves) if jnp.issubdtype(jnp.result_type(*leaves), jnp.floating) else dtype
    positions = jnp.asarray(atoms.positions if positions is None else positions, dtype)
    cell = jnp.asarray(np.asarray(atoms.cell) if cell is None else cell, dtype)
    checks.shape_is("positions", positions, (len(atoms), 3))
    checks.shape_is("cell", cell, (3, 3))

    orbitals, first = [], []
    for atom, label in enumerate(labels):
        first.append(len(orbitals))
        orbitals += [Orbital(atom, label, shell, name) for shell in spec.shells_of(label) for name in SHELLS[shell]]

    groups, vectors, hopping, ideal = [], [], [], []
    for bond, i, j, shift in bonds:
        kind = spec.bonds.index(bond)
        vector = positions[j] + jnp.asarray(shift, dtype) @ cell - positions[i]
        exponents = _exponents(table, kind, law)
        block = jax.vmap(lambda d, kind=kind, n=exponents: _hopping_block(table, kind, n, d))(vector)
        groups.append(
            BondGroup(
                kind, tuple(map(int, i)), tuple(map(int, j)), tuple((int(a), int(b), int(c)) for a, b, c in shift)
            )
        )
        vectors.append(vector)
        hopping.append(block)
        if law is not None and law.onsite_form == "boykin2004":
            direction = jnp.sign(vector) * (bond.length / np.sqrt(3))  # of the unstrained crystal, along the cubic axes
            ideal.append(jax.vmap(lambda d, kind=kind, n=exponents: _hopping_block(table, kind, n, d))(direction))

    onsite = [_onsite_block(table, label, dtype) for label in labels]
    if law is not None and law.onsite_form == "niquet2009":
        onsite = strain.niquet_terms(onsite, table, law, labels, groups, vectors)
    if law is not None and law.onsite_form == "boykin2004":
        onsite = strain.boykin_terms(onsite, table, law, labels, groups, hopping, ideal)
    topology = Topology(
        tuple(orbitals),
        tuple(first),
        tuple(groups),
        bool(spin_orbit),
        (bool(atoms.pbc[0]), bool(atoms.pbc[1]), bool(atoms.pbc[2])),
        spec.material,
        spec.name,
    )
    coupling = tuple(_spin_orbit_block(table, label, dtype) for label in labels) if spin_orbit else None
    return Model(tuple(onsite), coupling, tuple(hopping), tuple(vectors), positions, cell, topology)


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


def _exponents(table: Table, kind: int, law: DistanceLaw | None) -> list[jax.Array | float]:
    bond = table.spec.bonds[kind]
    if law is None:
        return [HARRISON_EXPONENT] * len(bond.integrals)
    names = dict(law.exponents)[bond.pair]
    return [table.values[name] for name in names]


def _hopping_block(table: Table, kind: int, exponents: list, vector: jax.Array) -> jax.Array:
    """<i a|H|j b> of one bond, shape (orbital of i, orbital of j)."""
    spec = table.spec
    bond = spec.bonds[kind]
    shells_i, shells_j = spec.shells_of(bond.pair[0]), spec.shells_of(bond.pair[1])
    distance = jnp.linalg.norm(vector)
    n = vector / distance
    stretch = 1.0 if bond.length is None else bond.length / distance
    blocks = {(a, b): jnp.zeros((len(SHELLS[a]), len(SHELLS[b])), vector.dtype) for a in shells_i for b in shells_j}
    for integral, exponent in zip(bond.integrals, exponents, strict=True):
        value = table.combine(integral.value).astype(vector.dtype) * stretch**exponent
        key = (integral.shell_i, integral.shell_j)
        blocks[key] += value * slater_koster(n, *key, integral.symmetry)
    return jnp.concatenate([jnp.concatenate([blocks[a, b] for b in shells_j], axis=1) for a in shells_i], axis=0)


def _onsite_block(table: Table, species: str, dtype: np.dtype) -> jax.Array:
    energies = {shell: table.combine(c) for s, shell, c in table.spec.onsite if s == species}
    diagonal = [
        jnp.full((len(SHELLS[shell]),), energies.get(shell, 0.0), dtype) for shell in table.spec.shells_of(species)
    ]
    return jnp.diag(jnp.concatenate(diagonal))


def _spin_orbit_block(table: Table, species: str, dtype: np.dtype) -> jax.Array:
    shells = table.spec.shells_of(species)
    size = sum(len(SHELLS[s]) for s in shells)
    block = jnp.zeros((2, size, 2, size), jnp.result_type(dtype, jnp.complex64))
    start = 0
    for shell in shells:
        stop = start + len(SHELLS[shell])
        for site, name, combination in table.spec.spin_orbit:
            if (site, name) == (species, shell):
                value = table.combine(combination).astype(dtype)
                block = block.at[:, start:stop, :, start:stop].add(value * spin_orbit_matrix(shell).astype(block.dtype))
        start = stop
    return block
