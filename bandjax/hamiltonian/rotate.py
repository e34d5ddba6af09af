"""A model seen from turned axes: same energies at turned wave vectors, orbitals along the new axes."""

import jax
import jax.numpy as jnp
import numpy as np

from bandjax.checks import is_concrete
from bandjax.hamiltonian.model import Model, per_atom
from bandjax.hamiltonian.slater_koster import angular_momentum, quadrupoles, vectors
from bandjax.materials import SHELLS


def rotated(model: Model, rotation: jax.Array) -> Model:
    """The model in axes turned by `rotation` (v_new = rotation @ v), so that p_x points along the new x.

    Shells that hold only some orbitals of their l ("pz", "eg", "z") must be mapped onto themselves by the rotation;
    "z" and "s" shells always pass, and a concrete rotation is checked. The spin stays quantised along the old z: sums over both spins do not see it.

    Args:
        model: Tight-binding model.
        rotation: Orthogonal matrix with determinant 1, shape (3, 3), possibly traced.

    Raises:
        ValueError: a concrete rotation does not keep an incomplete shell.
    """
    rotation = jnp.asarray(rotation, model.dtype)
    turn = [_atom_rotation(model, atom, rotation) for atom in range(model.topology.n_atom)]
    for d in turn:
        if is_concrete(d) and np.abs(np.asarray(d @ d.T) - np.eye(len(d))).max() > 1e-4:
            raise ValueError(
                "Argument `rotation` must map the model's shells onto themselves, but turns an incomplete one "
                f"({', '.join(sorted({o.shell for o in model.topology.orbitals}))}) out of itself."
            )
    onsite = per_atom(
        [jnp.einsum("ab,bc,dc->ad", d, h, d, precision="highest") for d, h in zip(turn, model.onsite, strict=True)]
    )
    coupling = model.spin_orbit
    if coupling is not None:
        coupling = per_atom(
            [jnp.einsum("ab,sbtc,dc->satd", d, h, d, precision="highest") for d, h in zip(turn, coupling, strict=True)]
        )
    hopping = []
    for group, blocks in zip(model.topology.groups, model.hopping, strict=True):
        di, dj = turn[group.i[0]], turn[group.j[0]]  # all atoms of a group have the same shells
        hopping.append(jnp.einsum("ab,nbc,dc->nad", di, blocks, dj, precision="highest"))
    return Model(
        onsite,
        coupling,
        tuple(hopping),
        tuple(v @ rotation.T for v in model.bond_vector),
        model.positions @ rotation.T,
        model.cell @ rotation.T,
        model.topology,
        model.composition,
    )


def _atom_rotation(model: Model, atom: int, rotation: jax.Array) -> jax.Array:
    shells = []
    for orbital in model.topology.orbitals:
        if orbital.atom == atom and (
            not shells or shells[-1][0] != orbital.shell or orbital.name == SHELLS[orbital.shell][0]
        ):
            shells.append((orbital.shell,))
    return jax.scipy.linalg.block_diag(*[shell_rotation(shell, rotation) for (shell,) in shells])


def shell_rotation(shell: str, rotation: jax.Array) -> jax.Array:
    """D with (orbital along new axes)_a = Σ_b D_ab (orbital along old axes)_b, shape (orbital, orbital)."""
    order = angular_momentum(shell)
    if order == 0 or shell == "z":
        return jnp.eye(len(SHELLS[shell]), dtype=rotation.dtype)
    if order == 1:
        e = jnp.asarray(vectors(shell), rotation.dtype)
        return e @ rotation @ e.T
    q = jnp.asarray(quadrupoles(shell), rotation.dtype)
    return jnp.einsum("aij,ik,bkl,jl->ab", q, rotation, q, rotation, precision="highest")
