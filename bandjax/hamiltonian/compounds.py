"""Blocks of two mixed compounds with a common anion: every cation site holds a fraction c of the second compound's cation.

    on-site, spin-orbit of a cation:   h_i = (1 − c_i) h_1 + c_i h_2
    of the anion:                      h_j = (1 − c̄_j) h_1 + c̄_j h_2,     c̄_j: mean of its neighbours' fractions
    hopping:                           t_ij = (1 − c_i) T_1(r_j − r_i) + c_i T_2(r_j − r_i)

with h_1, T_1 of the first compound and h_2, T_2 of the second, each bond at the actual vector with its own reference length.
At c = 0 and 1 this is the model of the labelled atoms; with one fraction everywhere it is the virtual crystal.
"""

import ase
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bandjax import checks
from bandjax.hamiltonian.blocks import Blocks, bond_vectors, hoppings, onsite_block, spin_orbit_block
from bandjax.hamiltonian.model import PerAtom, bond_group
from bandjax.materials import DistanceLaw, Table, TableSpec
from bandjax.structure import find_mixed_bonds, site_labels


def common_anion(spec: TableSpec) -> str | None:
    """The anion that the two compounds of a table share; None of any other table."""
    shared = {entry[0] for entry in spec.onsite_by_neighbour}
    return shared.pop() if shared else None


def mixed_compounds(
    atoms: ase.Atoms,
    table: Table,
    law: DistanceLaw | None,
    positions: jax.Array,
    cell: jax.Array,
    composition: ArrayLike,
    spin_orbit: bool,
    may_miss: bool = False,
) -> Blocks:
    """Blocks of a structure whose cation sites hold `composition`, the fraction of the second cation, shape (atom,).

    What `composition` holds at anions (within 0 … 1) does not matter, nor which of the two cations a site's label names.

    Raises:
        ValueError: a wrong shape, a fraction outside [0, 1], an atom that is none of the three species or has other
            than four neighbours, or a bond between two cations or two anions.
    """
    spec, dtype, labels = table.spec, positions.dtype, site_labels(atoms)
    anion = common_anion(spec)
    checks.shape_is("composition", composition, (len(atoms),))
    checks.fraction("composition", composition)
    (i, j, shift), _ = find_mixed_bonds(atoms, spec, may_miss=may_miss)
    is_anion = np.array(labels) == anion
    if (is_anion[i] == is_anion[j]).any():
        raise ValueError(f"Argument `atoms` must have {anion} on one end of every bond, but has other bonds.")
    turned = is_anion[i] != (spec.bonds[0].pair[0] == anion)  # bonds run as those of the table do
    i, j, shift = np.where(turned, j, i), np.where(turned, i, j), np.where(turned[:, None], -shift, shift)
    vector = bond_vectors(positions, cell, i, j, shift)

    cation, at = (i, j) if is_anion[j].all() else (j, i)
    c = jnp.asarray(composition, dtype)
    count = np.bincount(at, minlength=len(atoms))
    around = jnp.zeros(len(atoms), dtype).at[at].add(c[cation]) / np.maximum(count, 1)
    c = jnp.where(is_anion, around, c)
    weight = jnp.stack([1 - c, c])
    hopping = sum(
        w[cation][:, None, None] * hoppings(table, kind, law, vector) for kind, w in zip(range(2), weight, strict=True)
    )

    ends = [s for s in spec.species if s != anion]

    def mixed(block_of) -> PerAtom:
        """Σ_p w_p h_p of every atom; those of a cation are its own, those of the anion what either compound gives it."""
        stacks = []
        for at in (is_anion, ~is_anion):
            own = [block_of(table, anion, dtype, (s,)) if at is is_anion else block_of(table, s, dtype) for s in ends]
            w = weight[:, at].reshape(2, -1, *[1] * own[0].ndim)
            stacks.append(w[0] * own[0] + w[1] * own[1])
        return PerAtom(tuple(stacks), tuple(map(int, ~is_anion)))

    onsite = mixed(onsite_block)
    coupling = mixed(spin_orbit_block) if spin_orbit else None
    return Blocks((bond_group(0, i, j, shift),), (vector,), (hopping,), onsite, coupling)
