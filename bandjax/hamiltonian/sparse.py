"""Sparse form of the Hamiltonian: every atom's own block and those to its neighbours, applied to many vectors at once.

In the cell gauge, with R the lattice vector of the cell that a bond leads to,

    Hᶜ_ij(k) = Σ_bonds t_ij exp(i k·R),      H(k) = D† Hᶜ D,  D = diag exp(i k·r_i)    (H(k): `bloch_hamiltonian`),

only the bonds that leave the cell have phases. Vectors are real arrays (atom, orbital, 2, channel): real and imaginary
part apart, because real blocks then meet real numbers; channels are spins × vectors. Products are written out over
neighbours and orbitals, which XLA fuses with the gather (measured on a CPU, 8,000 atoms of sp3s*, 10 vectors: 4.4 ms, as
a library of sparse matrices takes; batched matrix products 7 to 9 ms).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bandjax.hamiltonian.model import Model, PerAtom


class SparseHamiltonian(NamedTuple):
    """Blocks in eV, padded by zeros to the n orbitals of the largest atom and the neighbours of the best-connected one."""

    onsite: jax.Array  # (atom, n, n), real
    coupling: jax.Array | None  # spin-orbit as a real matrix on (n, real and imaginary part, spin): (atom, 4n, 4n)
    hopping: jax.Array  # (atom, neighbour, n, n), real: <atom| H |neighbour>
    lattice: jax.Array  # (atom, neighbour, 3): R in Å
    neighbour: jax.Array  # (atom, neighbour), integers


def sparse_hamiltonian(model: Model) -> SparseHamiltonian:
    """All blocks of a model, atom by atom; differentiable, and the same for every wave vector."""
    n = orbital_rows(model).shape[1]
    blocks, vectors, source, target = [], [], [], []
    for group, hopping in zip(model.topology.groups, model.hopping, strict=True):
        i, j = np.array(group.i), np.array(group.j)
        lattice = jnp.matmul(jnp.asarray(np.array(group.shift), model.dtype), model.cell, precision="highest")
        blocks += [_padded(hopping, n), _padded(jnp.swapaxes(hopping, 1, 2), n)]
        vectors += [lattice, -lattice]
        source += [i, j]
        target += [j, i]
    entry, neighbour = _slots(np.concatenate(source), np.concatenate(target), model.topology.n_atom)
    blocks.append(jnp.zeros((1, n, n), model.dtype))  # of a neighbour that is not there
    vectors.append(jnp.zeros((1, 3), model.dtype))
    coupling = None
    if model.spin_orbit is not None:
        coupling = _unstacked(model.spin_orbit, lambda block: _real_form(block, n))
    onsite = _unstacked(model.onsite, lambda block: _padded(block, n))
    return SparseHamiltonian(
        onsite, coupling, jnp.concatenate(blocks)[entry], jnp.concatenate(vectors)[entry], jnp.asarray(neighbour)
    )


def bond_phases(h: SparseHamiltonian, k: jax.Array) -> jax.Array:
    """cos k·R and sin k·R of every bond at one wave vector in 1/Å, shape (2, atom, neighbour)."""
    phase = jnp.matmul(h.lattice, k.astype(h.lattice.dtype), precision="highest")
    return jnp.stack([jnp.cos(phase), jnp.sin(phase)])


def apply_sparse(h: SparseHamiltonian, phase: jax.Array, x: jax.Array) -> jax.Array:
    """Hᶜ x for vectors of shape (atom, n, 2, channel), spin the slower part of a channel."""
    n = h.onsite.shape[-1]
    out = sum(h.onsite[:, :, j, None, None] * x[:, j, None] for j in range(n))
    for m in range(h.neighbour.shape[1]):
        w = _turned(x[h.neighbour[:, m]], phase[:, :, m])
        for j in range(n):
            out = out + h.hopping[:, m, :, j, None, None] * w[:, j, None]
    if h.coupling is not None:
        out = out + jnp.matmul(h.coupling, _with_spins(x), precision="highest").reshape(x.shape)
    return out


def sparse_cotangents(
    h: SparseHamiltonian, phase: jax.Array, x: jax.Array, y: jax.Array
) -> tuple[SparseHamiltonian, jax.Array]:
    """Derivatives of y·(Hᶜ x) with respect to h (not `lattice`, which enters by the phases) and phase.

    By matrix products over the channels; differentiating `apply_sparse` would add up twenty padded arrays.
    """
    plain = x[h.neighbour]  # (atom, neighbour, n, 2, channel)
    w = _turned(plain, phase[..., None])
    moved = jnp.einsum("amij,aixc->amjxc", h.hopping, y, precision="highest")
    aside = jnp.stack([-plain[..., 1, :], plain[..., 0, :]], axis=-2)  # i times the vector
    d_phase = jnp.stack([jnp.sum(moved * plain, axis=(2, 3, 4)), jnp.sum(moved * aside, axis=(2, 3, 4))])
    coupling = None
    if h.coupling is not None:
        coupling = jnp.einsum("aib,ajb->aij", _with_spins(y), _with_spins(x), precision="highest")
    return SparseHamiltonian(
        jnp.einsum("aixc,ajxc->aij", y, x, precision="highest"),
        coupling,
        jnp.einsum("aixc,amjxc->amij", y, w, precision="highest"),
        jnp.zeros_like(h.lattice),
        h.neighbour,
    ), d_phase


def to_channels(model: Model, k: jax.Array, v: jax.Array) -> jax.Array:
    """D v, the cell gauge's form of vectors in the atomic gauge, shape (vector, orbital), as channels of `apply_sparse`."""
    rows = orbital_rows(model)
    turn = jnp.exp(1j * jnp.matmul(model.positions, k.astype(model.dtype), precision="highest"))
    v = v.reshape(len(v), 2 if model.topology.spin_orbit else 1, -1)  # (vector, spin, orbital without spin)
    x = jnp.where(rows < 0, 0, v[:, :, rows]) * turn[:, None]  # (vector, spin, atom, n)
    x = jnp.transpose(x, (2, 3, 1, 0)).reshape(*rows.shape, -1)
    return jnp.stack([x.real, x.imag], axis=2).astype(model.dtype)


def orbital_rows(model: Model) -> np.ndarray:
    """Row of H (spin up) of each atom's orbitals, −1 where padded; integers, shape (atom, n)."""
    first = np.array(model.topology.first_orbital)
    count = np.diff(np.append(first, len(model.topology.orbitals)))
    place = np.arange(count.max())
    return np.where(place < count[:, None], first[:, None] + place, -1)


def _slots(source: np.ndarray, target: np.ndarray, n_atom: int) -> tuple[np.ndarray, np.ndarray]:
    """For each atom the directed bonds that start there, and where they end; the last bond + 1 and itself if fewer."""
    order = np.argsort(source, kind="stable")
    count = np.bincount(source, minlength=n_atom)
    place = np.arange(source.size) - np.repeat(np.cumsum(count) - count, count)
    entry = np.full((n_atom, count.max()), source.size)
    entry[source[order], place] = order
    itself = np.broadcast_to(np.arange(n_atom)[:, None], entry.shape)
    return entry, np.where(entry < source.size, np.append(target, 0)[entry], itself).astype(np.int32)


def _turned(w: jax.Array, phase: jax.Array) -> jax.Array:
    """(cos + i sin) w for real and imaginary parts along the last axis but one; phase (2, atom, …) on w (atom, …, n, 2, c)."""
    c, s = (p.reshape((*w.shape[:-3], 1, 1, 1)) for p in phase)
    re, im = w[..., :1, :], w[..., 1:, :]
    return jnp.concatenate([c * re - s * im, s * re + c * im], axis=-2)


def _with_spins(x: jax.Array) -> jax.Array:
    """(atom, n, 2, spin × vector) as (atom, n × 2 × spin, vector)."""
    return x.reshape(x.shape[0], 4 * x.shape[1], -1)


def _padded(block: jax.Array, n: int) -> jax.Array:
    return jnp.pad(block, ((0, 0), (0, n - block.shape[1]), (0, n - block.shape[2])))


def _real_form(block: jax.Array, n: int) -> jax.Array:
    """(atom, spin, orbital, spin, orbital) complex as a real matrix on (orbital, part, spin)."""
    block = jnp.pad(block, ((0, 0), (0, 0), (0, n - block.shape[2]), (0, 0), (0, n - block.shape[4])))
    parts = jnp.stack(
        [jnp.stack([block.real, -block.imag], axis=-1), jnp.stack([block.imag, block.real], axis=-1)], axis=-2
    )  # (atom, s, i, t, j, part, part)
    return jnp.transpose(parts, (0, 2, 5, 1, 4, 6, 3)).reshape(-1, 4 * n, 4 * n)


def _unstacked(blocks: PerAtom, padded) -> jax.Array:
    """All blocks in the order of the atoms, padded to one shape."""
    order = np.concatenate([blocks.atoms_of(stack) for stack in range(len(blocks.stacks))])
    return jnp.concatenate([padded(stack) for stack in blocks.stacks])[np.argsort(order)]
