"""Blocks of the Hamiltonian from a table: one bond's hoppings, one species' on-site energies and spin-orbit coupling.

<i a| H |j b> = Σ_channels V(d0) (d0/d)^n · (Slater-Koster factors),      d = |r_j − r_i|
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bandjax.hamiltonian.model import BondGroup, PerAtom, bond_group
from bandjax.hamiltonian.slater_koster import Channel, slater_koster_block
from bandjax.hamiltonian.spin_orbit import spin_orbit_matrix
from bandjax.materials import SHELLS, Bond, DistanceLaw, Table, TableSpec
from bandjax.materials.table import Combination
from bandjax.structure import Bonds

HARRISON_EXPONENT = 2.0


class Blocks(NamedTuple):
    """All blocks of a structure, as `Model` holds them: one entry a group of bonds, or an atom."""

    groups: tuple[BondGroup, ...]
    bond_vector: tuple[jax.Array, ...]
    hopping: tuple[jax.Array, ...]
    onsite: PerAtom
    spin_orbit: PerAtom | None


def exponents_of(table: Table, kind: int, law: DistanceLaw | None) -> list[jax.Array | float]:
    """Distance exponent n of each integral of a kind of bond; Harrison's 2 without a law."""
    bond = table.spec.bonds[kind]
    if law is None:
        return [HARRISON_EXPONENT] * len(bond.integrals)
    names = dict(law.exponents)[bond.pair]
    return [table.values[name] for name in names]


def hopping_block(table: Table, kind: int, exponents: list, vector: jax.Array) -> jax.Array:
    """<i a|H|j b> of one bond, shape (orbital of i, orbital of j)."""
    bond = table.spec.bonds[kind]
    distance = jnp.linalg.norm(vector)
    shells = table.spec.shells_of(bond.pair[0]), table.spec.shells_of(bond.pair[1])
    values = channel_values(table, kind, exponents, distance)
    return slater_koster_block(vector / distance, *shells, channels_of(bond), values)


def bond_vectors(positions: jax.Array, cell: jax.Array, i: np.ndarray, j: np.ndarray, shift: np.ndarray) -> jax.Array:
    """r_j − r_i in Å of bonds from atom i to atom j in the cell `shift` away, shape (bond, 3)."""
    return positions[j] + jnp.matmul(jnp.asarray(shift, cell.dtype), cell, precision="highest") - positions[i]


def hoppings(table: Table, kind: int, law: DistanceLaw | None, vectors: jax.Array) -> jax.Array:
    """<i a|H|j b> of bonds of one kind, shape (bond, orbital of i, orbital of j)."""
    exponents = exponents_of(table, kind, law)
    return jax.vmap(lambda vector: hopping_block(table, kind, exponents, vector))(vectors)


def labelled_bonds(
    table: Table, law: DistanceLaw | None, found: Bonds, positions: jax.Array, cell: jax.Array
) -> tuple[BondGroup, jax.Array, jax.Array]:
    """Bonds whose ends are what their labels say, as `Blocks` holds them: group, vectors and hoppings."""
    bond, i, j, shift = found
    kind = table.spec.bonds.index(bond)
    vectors = bond_vectors(positions, cell, i, j, shift)
    return bond_group(kind, i, j, shift), vectors, hoppings(table, kind, law, vectors)


def channels_of(bond: Bond) -> tuple[Channel, ...]:
    """(shell i, shell j, symmetry) of each integral."""
    return tuple((integral.shell_i, integral.shell_j, integral.symmetry) for integral in bond.integrals)


def channel_values(table: Table, kind: int, exponents: list, distance: jax.Array) -> jax.Array:
    """V(d0) (d0/d)^n in eV of every integral of a kind of bond at a distance in Å, shape (channel,)."""
    bond = table.spec.bonds[kind]
    values = jnp.array([table.combine(integral.value) for integral in bond.integrals], distance.dtype)
    if bond.length is None:
        return values
    return values * (bond.length / distance) ** jnp.array(exponents, distance.dtype)


def onsite_block(table: Table, species: str, dtype: np.dtype, neighbours: tuple[str, ...] = ()) -> jax.Array:
    """On-site energies of a species in eV, diagonal, shape (orbital, orbital); `neighbours` as for `_entries`."""
    energies = {shell: table.combine(c) for shell, c in _entries(table.spec, "onsite", species, neighbours)}
    diagonal = [
        jnp.full((len(SHELLS[shell]),), energies.get(shell, 0.0), dtype) for shell in table.spec.shells_of(species)
    ]
    return jnp.diag(jnp.concatenate(diagonal))


def _entries(spec: TableSpec, kind: str, species: str, neighbours: tuple[str, ...]) -> list[tuple[str, Combination]]:
    """(shell, combination) of a species; of one that two compounds share, the mean over its `neighbours`."""
    shared = [e for e in getattr(spec, f"{kind}_by_neighbour") if e[0] == species]
    if not shared or not neighbours:
        return [(shell, c) for s, shell, c in getattr(spec, kind) if s == species]
    mean: dict[str, Combination] = {}
    for _, neighbour, shell, combination in shared:
        share = neighbours.count(neighbour) / len(neighbours)
        mean[shell] = (*mean.get(shell, ()), *((name, share * factor) for name, factor in combination))
    return list(mean.items())


def spin_orbit_block(table: Table, species: str, dtype: np.dtype, neighbours: tuple[str, ...] = ()) -> jax.Array:
    """λ L·σ of a species in eV, complex, shape (2, orbital, 2, orbital); `neighbours` as for `_entries`."""
    shells = table.spec.shells_of(species)
    size = sum(len(SHELLS[s]) for s in shells)
    block = jnp.zeros((2, size, 2, size), jnp.result_type(dtype, jnp.complex64))
    start = 0
    for shell in shells:
        stop = start + len(SHELLS[shell])
        for name, combination in _entries(table.spec, "spin_orbit", species, neighbours):
            if name == shell:
                value = table.combine(combination).astype(dtype)
                block = block.at[:, start:stop, :, start:stop].add(value * spin_orbit_matrix(shell).astype(block.dtype))
        start = stop
    return block
