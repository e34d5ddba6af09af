"""Blocks of the Hamiltonian from a table: one bond's hoppings, one species' on-site energies and spin-orbit coupling.

<i a| H |j b> = Σ_channels V(d0) (d0/d)^n · (Slater-Koster factors),      d = |r_j − r_i|
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bandjax.hamiltonian.model import BondGroup
from bandjax.hamiltonian.slater_koster import slater_koster
from bandjax.hamiltonian.spin_orbit import spin_orbit_matrix
from bandjax.materials import SHELLS, DistanceLaw, Table

HARRISON_EXPONENT = 2.0
Channel = tuple[str, str, str]  # shell of i, shell of j, symmetry


class Blocks(NamedTuple):
    """All blocks of a structure, as `Model` holds them: one entry a group of bonds, or an atom."""

    groups: tuple[BondGroup, ...]
    bond_vector: tuple[jax.Array, ...]
    hopping: tuple[jax.Array, ...]
    onsite: tuple[jax.Array, ...]
    spin_orbit: tuple[jax.Array, ...] | None


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
    return assembled(*shells, channel_values(table, kind, exponents, distance), vector / distance)


def channel_values(table: Table, kind: int, exponents: list, distance: jax.Array) -> dict[Channel, jax.Array]:
    """V(d0) (d0/d)^n in eV of every channel of a kind of bond, for distances in Å of any shape."""
    bond = table.spec.bonds[kind]
    stretch = 1.0 if bond.length is None else bond.length / distance
    values: dict[Channel, jax.Array] = {}
    for integral, exponent in zip(bond.integrals, exponents, strict=True):
        key = (integral.shell_i, integral.shell_j, integral.symmetry)
        values[key] = values.get(key, 0.0) + table.combine(integral.value).astype(distance.dtype) * stretch**exponent
    return values


def assembled(
    shells_i: tuple[str, ...], shells_j: tuple[str, ...], values: dict[Channel, jax.Array], n: jax.Array
) -> jax.Array:
    """Σ_channels V · (Slater-Koster factors) of one bond along the unit vector n, (orbital of i, orbital of j)."""
    blocks = {(a, b): jnp.zeros((len(SHELLS[a]), len(SHELLS[b])), n.dtype) for a in shells_i for b in shells_j}
    for (a, b, symmetry), value in values.items():
        blocks[a, b] += value * slater_koster(n, a, b, symmetry)
    return jnp.concatenate([jnp.concatenate([blocks[a, b] for b in shells_j], axis=1) for a in shells_i], axis=0)


def onsite_block(table: Table, species: str, dtype: np.dtype) -> jax.Array:
    """On-site energies of a species in eV, diagonal, shape (orbital, orbital)."""
    energies = {shell: table.combine(c) for s, shell, c in table.spec.onsite if s == species}
    diagonal = [
        jnp.full((len(SHELLS[shell]),), energies.get(shell, 0.0), dtype) for shell in table.spec.shells_of(species)
    ]
    return jnp.diag(jnp.concatenate(diagonal))


def spin_orbit_block(table: Table, species: str, dtype: np.dtype) -> jax.Array:
    """λ L·σ of a species in eV, complex, shape (2, orbital, 2, orbital)."""
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
