"""Passivation without atoms: dangling sp3 hybrids are raised in energy.

An atom's bond along the unit vector n is that of the hybrid h = ½ (s + √3 p·n). In the crystal its four hybrids span s and
p; where neighbours are missing, the hybrids of those that are there span less, and everything else of s and p dangles:

    H_onsite += Δ (1 − P),      P = Aᵀ (A Aᵀ)⁻¹ A,      rows of A: the hybrids of the bonds that are there.

In an ideal crystal 1 − P is the sum of the projectors on the dangling hybrids, and the result that of raising these. In
this form no direction of a missing bond has to be known, an atom with four neighbours is never touched however its
bonds are bent, and the derivative in all positions exists.

Source: S. Lee, F. Oyafuso, P. von Allmen, G. Klimeck, Phys. Rev. B 69, 045316 (2004), from its abstract: raising the energy
of dangling bonds removes surface states from the gap, for a shift above 5 eV all of them. The projector is ours.
"""

import jax
import jax.numpy as jnp
import numpy as np

from bandjax import checks
from bandjax.hamiltonian.blocks import Blocks
from bandjax.hamiltonian.model import PerAtom
from bandjax.materials import SHELLS, TableSpec


def check_shift(shift: jax.Array, spec: TableSpec, count: int) -> None:
    """Raise ValueError for a shift < 0 or of a wrong shape, or a table of which no species has sp3 hybrids."""
    if shift.ndim:
        checks.shape_is("dangling_shift", shift, (count,))
    checks.not_negative("dangling_shift", shift, "eV")
    if not _expected(spec):
        raise ValueError(
            f"Argument `dangling_shift` must be None for table {spec.name} of {spec.material}, which has no sp3 hybrids."
        )


def _expected(spec: TableSpec) -> dict[str, int]:
    """Neighbours in the crystal of the species with s and p orbitals."""
    return {species: n for species, n in spec.neighbours if {"s", "p"} <= set(spec.shells_of(species))}


def raised(onsite: PerAtom, blocks: Blocks, spec: TableSpec, labels: list[str], shift: jax.Array) -> PerAtom:
    """On-site blocks (one an atom) with dangling hybrids raised by `shift` eV, a number or shape (atom,)."""
    expected = _expected(spec)
    shift = jnp.broadcast_to(shift, (len(labels),)).astype(onsite.stacks[0].dtype)
    ends = [np.concatenate([group.i, group.j]) for group in blocks.groups]
    at = np.concatenate(ends).astype(int)
    outward = jnp.concatenate([jnp.concatenate([v, -v]) for v in blocks.bond_vector])
    count = np.bincount(at, minlength=len(labels))
    stacks, stack_of = list(onsite.stacks), np.array(onsite.stack_of)
    missing = [atom for atom, label in enumerate(labels) if label in expected and count[atom] < expected[label]]
    for label, number in sorted({(labels[atom], int(count[atom])) for atom in missing}):
        atoms = np.array([atom for atom in missing if (labels[atom], count[atom]) == (label, number)])
        bonds = np.array([np.flatnonzero(at == atom) for atom in atoms])
        place, stack = _sp_rows(spec.shells_of(label)), stack_of[atoms[0]]
        where = (onsite.place[atoms][:, None, None], place[:, None], place[None, :])
        free = shift[atoms][:, None, None] * jax.vmap(_dangling)(outward[bonds])
        stacks[stack] = stacks[stack].at[where].add(free)
    return PerAtom(tuple(stacks), onsite.stack_of)


def _dangling(bonds: jax.Array) -> jax.Array:
    """1 − P in (s, px, py, pz) of an atom with these bond vectors (bond, 3)."""
    direction = bonds / jnp.linalg.norm(bonds, axis=1, keepdims=True)
    hybrids = (
        jnp.concatenate([jnp.ones_like(direction[:, :1]), np.sqrt(3.0).astype(bonds.dtype) * direction], axis=1) / 2
    )
    eye = jnp.eye(4, dtype=bonds.dtype)
    if not len(bonds):
        return eye
    overlap = jnp.matmul(hybrids, hybrids.T, precision="highest")
    return eye - jnp.matmul(hybrids.T, jnp.linalg.solve(overlap, hybrids), precision="highest")


def _sp_rows(shells: tuple[str, ...]) -> np.ndarray:
    """Rows of s, px, py, pz in a block."""
    first = dict(zip(shells, np.cumsum([0, *(len(SHELLS[s]) for s in shells)]), strict=False))
    return np.array([first["s"], *(first["p"] + np.arange(3))])
