"""Blocks of an alloy: every site holds a fraction c of a table's second species, and blocks follow it smoothly.

With the fractions w_A = 1 − c, w_B = c of species A and B at each site,

    on-site, spin-orbit:  h_i = Σ_p w_p(i) h_p
    hopping:              t_ij = Σ_pq w_p(i) w_q(j) T_pq(r_j − r_i),    T_BA(d) = T_AB(−d)ᵀ

where each of the four bonds AA, AB, BA, BB is taken at the actual vector, with its own reference length and exponents.
On-site strain terms (Niquet's) are those of a pure atom at the actual vectors, mixed as the on-site energies are; the
shift by a neighbour of the other species counts with that neighbour's fraction. At
c = 0 and c = 1 everywhere this is the model of the labelled atoms; with one fraction at all sites it is the virtual
crystal. The band offset is part of the second species' on-site energies.
"""

import ase
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bandjax import checks
from bandjax.hamiltonian import strain
from bandjax.hamiltonian.blocks import (
    Blocks,
    bond_vectors,
    channel_values,
    channels_of,
    exponents_of,
    labelled_bonds,
    onsite_block,
    spin_orbit_block,
)
from bandjax.hamiltonian.compounds import common_anion, mixed_compounds
from bandjax.hamiltonian.model import PerAtom, bond_group, per_atom
from bandjax.hamiltonian.slater_koster import Channel, slater_koster_block
from bandjax.materials import HYDROGEN, DistanceLaw, Table, TableSpec
from bandjax.structure import find_mixed_bonds, site_labels


def mixed_blocks(
    atoms: ase.Atoms,
    table: Table,
    law: DistanceLaw | None,
    positions: jax.Array,
    cell: jax.Array,
    composition: ArrayLike,
    spin_orbit: bool,
    may_miss: bool = False,
) -> Blocks:
    """Blocks of a structure whose sites hold `composition`, the fraction of the table's second species, shape (atom,);
    of a table of two compounds see `hamiltonian/compounds.py`.

    Hydrogen does not mix; its bond is that of the site's label, whatever fraction the site holds.

    Raises:
        ValueError: a wrong shape, a fraction outside [0, 1], an atom that is neither species or has other than four
            neighbours, or a table without two species of the same orbitals and their three bonds.
    """
    spec, dtype = table.spec, positions.dtype
    if common_anion(spec) is not None:
        return mixed_compounds(atoms, table, law, positions, cell, composition, spin_orbit, may_miss)
    _check_pair(spec, law)
    checks.shape_is("composition", composition, (len(atoms),))
    checks.fraction("composition", composition)
    (i, j, shift), to_hydrogen = find_mixed_bonds(atoms, spec, may_miss=may_miss)
    vector = bond_vectors(positions, cell, i, j, shift)
    c = jnp.asarray(composition, dtype)
    weight = jnp.stack([1 - c, c])  # (species, atom)

    # the four bonds differ in their integrals only, so that all integrals meet one set of angular factors
    species, labels = mixing_species(spec), site_labels(atoms)
    shells, bonds = spec.shells_of(species[0]), [_bond(spec, a, b) for a in species for b in species]
    channels = tuple(channel for _, found in bonds for channel in found)
    exponents = {kind: exponents_of(table, kind, law) for kind, _ in bonds}

    def hopping_block(d: jax.Array, wi: jax.Array, wj: jax.Array) -> jax.Array:
        distance = jnp.linalg.norm(d)
        values = [channel_values(table, kind, exponents[kind], distance) for kind, _ in bonds]
        mixed = [w * v for w, v in zip(jnp.outer(wi, wj).ravel(), values, strict=True)]
        return slater_koster_block(d / distance, shells, shells, channels, jnp.concatenate(mixed))

    hopping = jax.vmap(hopping_block)(vector, weight[:, i].T, weight[:, j].T)
    onsite = _mixed(weight, [onsite_block(table, s, dtype) for s in species])
    if law is not None and law.onsite_form == "niquet2009":
        at, to, outward = np.concatenate([i, j]), np.concatenate([j, i]), jnp.concatenate([vector, -vector])
        for w, s in zip(weight, species, strict=True):
            terms = strain.niquet_blocks(outward, table, law, s)
            terms += (1 - w[to])[:, None, None] * strain.foreign_block(table, law, s, dtype)
            onsite = onsite.at[at].add(w[at][:, None, None] * terms)
    onsite = _with_own(onsite, labels, {s: onsite_block(table, s, dtype) for s in spec.species[2:]})
    coupling = None
    if spin_orbit:
        coupling = _mixed(weight, [spin_orbit_block(table, s, dtype) for s in species])
        coupling = _with_own(coupling, labels, {s: spin_orbit_block(table, s, dtype) for s in spec.species[2:]})
    kind = next(n for n, bond in enumerate(spec.bonds) if set(bond.pair) == set(species))
    network = bond_group(kind, i, j, shift), vector, hopping
    capping = [labelled_bonds(table, law, found, positions, cell) for found in to_hydrogen]
    return Blocks(*zip(network, *capping, strict=True), onsite, coupling)


def mixing_species(spec: TableSpec) -> tuple[str, ...]:
    """The two species that mix: all but hydrogen, and but the anion that two compounds share."""
    return tuple(s for s in spec.species if s not in (HYDROGEN, common_anion(spec)))


def _with_own(mixed: jax.Array, labels: list[str], own: dict[str, jax.Array]) -> PerAtom:
    """One block an atom: its own where its label does not mix."""
    if not own.keys() & set(labels):
        return PerAtom((mixed,), (0,) * len(labels))
    return per_atom([own.get(label, block) for label, block in zip(labels, mixed, strict=True)])


def _check_pair(spec: TableSpec, law: DistanceLaw | None) -> None:
    mixing = mixing_species(spec)
    if len(mixing) != 2:
        raise ValueError(
            f"Argument `composition` needs a table of two species such as load_parameters(('Si', 'Ge'), 'niquet2009'), but "
            f"table {spec.name} of {spec.material} has {len(mixing)}: {', '.join(mixing)}."
        )
    first, second = mixing
    if spec.shells_of(first) != spec.shells_of(second):
        raise ValueError(
            f"Argument `composition` needs two species with the same orbitals, but in table {spec.name} {first} has "
            f"{' '.join(spec.shells_of(first))} and {second} has {' '.join(spec.shells_of(second))}."
        )
    wanted = sorted([tuple(sorted(pair)) for pair in ((first, first), (first, second), (second, second))])
    found = sorted(tuple(sorted(bond.pair)) for bond in spec.bonds if HYDROGEN not in bond.pair)
    if found != wanted or any(bond.length is None for bond in spec.bonds):
        raise ValueError(
            f"Argument `composition` needs one bond with a length for each of "
            f"{', '.join('-'.join(pair) for pair in wanted)}, but table {spec.name} of {spec.material} has "
            f"{', '.join('-'.join(pair) for pair in found)}."
        )
    if law is not None and law.onsite_form not in (None, "niquet2009"):
        raise ValueError(f"Argument `composition` cannot mix the on-site strain terms {law.onsite_form!r}.")


def _bond(spec: TableSpec, a: str, b: str) -> tuple[int, tuple[Channel, ...]]:
    """Kind and channels of the bond from a to b; the bond from b to a has the same integrals with exchanged shells."""
    kind = next(n for n, bond in enumerate(spec.bonds) if bond.pair in ((a, b), (b, a)))
    channels = channels_of(spec.bonds[kind])
    if spec.bonds[kind].pair != (a, b):
        channels = tuple((right, left, symmetry) for left, right, symmetry in channels)
    return kind, channels


def _mixed(weight: jax.Array, blocks: list[jax.Array]) -> jax.Array:
    """Σ_p w_p(i) h_p, shape (atom, …)."""
    return sum(w.reshape(-1, *[1] * h.ndim) * h for w, h in zip(weight, blocks, strict=True))
