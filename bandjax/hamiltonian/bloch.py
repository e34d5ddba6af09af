"""Bloch Hamiltonian in the atomic gauge: H_ij(k) = Σ_bonds t_ij exp(i k·(r_j − r_i)).

Each bond is stored once. With t a bond's real block placed in the full matrix and φ = k·(r_j − r_i),

    H(k) = H_onsite + H_SO + Σ_bonds [cos φ (t + tᵀ) + i sin φ (t − tᵀ)],

two real matrix products over bonds for all k at once when mapped by `vmap`, and Hermitian to the last bit.
"""

import jax
import jax.numpy as jnp
import numpy as np

from bandjax.hamiltonian.model import Model, PerAtom

DENSE_LIMIT = 64  # orbitals (without spin) up to which one full matrix a bond is kept; beyond, elements are scattered


def bloch_hamiltonian(model: Model, k: jax.Array) -> jax.Array:
    """H(k) of one wave vector.

    Args:
        model: Tight-binding model, energies in eV.
        k: Cartesian wave vector in 1/Å, shape (3,).

    Returns:
        Hermitian matrix in eV, shape (orbital, orbital), spin up first where the model has spin.
    """
    size = len(model.topology.orbitals)
    real = jnp.zeros((size, size), model.dtype)
    imaginary = jnp.zeros((size, size), model.dtype)
    for hopping, vector, rows, columns in _placed(model):
        phase = jnp.matmul(vector, k.astype(model.dtype), precision="highest")
        if size <= DENSE_LIMIT:
            t = jnp.zeros((hopping.shape[0], size, size), model.dtype)
            t = t.at[np.arange(hopping.shape[0])[:, None, None], rows, columns].set(hopping)
            t_transposed = jnp.swapaxes(t, 1, 2)
            real += jnp.tensordot(jnp.cos(phase), t + t_transposed, 1, precision="highest")
            imaginary += jnp.tensordot(jnp.sin(phase), t - t_transposed, 1, precision="highest")
        else:
            c, s = jnp.cos(phase)[:, None, None] * hopping, jnp.sin(phase)[:, None, None] * hopping
            real = real.at[rows, columns].add(c).at[columns, rows].add(c)
            imaginary = imaginary.at[rows, columns].add(s).at[columns, rows].add(-s)
    h = jax.lax.complex(real + onsite_matrix(model), imaginary)
    return h if model.spin_orbit is None else _with_spin(h, model, model.spin_orbit)


def onsite_matrix(model: Model) -> jax.Array:
    """On-site matrix without spin, real, shape (orbital, orbital)."""
    return block_diagonal(model, model.onsite)


def onsite_hamiltonian(model: Model, *, spin_orbit: bool = True) -> jax.Array:
    """The part of H(k) without hopping, complex, (orbital, orbital), both spins where the model has them; with λ L·σ or without it."""
    h = onsite_matrix(model) * (1 + 0j)
    if model.spin_orbit is None:
        return h
    return _with_spin(h, model, model.spin_orbit) if spin_orbit else jnp.kron(jnp.eye(2), h)


def block_diagonal(model: Model, blocks: PerAtom) -> jax.Array:
    """Blocks of all atoms, (orbital, orbital) each, on the diagonal of the matrix without spin."""
    size = len(model.topology.orbitals)
    if size <= DENSE_LIMIT:
        return jax.scipy.linalg.block_diag(*blocks)
    first = np.array(model.topology.first_orbital)
    matrix = jnp.zeros((size, size), blocks.stacks[0].dtype)
    for at, stack in enumerate(blocks.stacks):
        rows = first[blocks.atoms_of(at)][:, None] + np.arange(stack.shape[-1])
        matrix = matrix.at[rows[:, :, None], rows[:, None, :]].set(stack)
    return matrix


def _placed(model: Model):
    """For each group of bonds: blocks, vectors, and the row and column of every element of a block."""
    first = np.array(model.topology.first_orbital)
    for group, hopping, vector in zip(model.topology.groups, model.hopping, model.bond_vector, strict=True):
        rows = first[list(group.i)][:, None, None] + np.arange(hopping.shape[1])[None, :, None]
        columns = first[list(group.j)][:, None, None] + np.arange(hopping.shape[2])[None, None, :]
        rows, columns = np.broadcast_arrays(rows, columns)
        yield hopping, vector, rows, columns


def _with_spin(h: jax.Array, model: Model, coupling: PerAtom) -> jax.Array:
    """Both spins of H, plus λ L·σ of every atom."""
    zero = jnp.zeros_like(h)
    blocks = [[h, zero], [zero, h]]
    for s in range(2):
        for t in range(2):
            part = PerAtom(tuple(stack[:, s, :, t, :] for stack in coupling.stacks), coupling.stack_of)
            blocks[s][t] += block_diagonal(model, part)
    return jnp.block(blocks)
