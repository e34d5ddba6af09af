"""Layered (block-tridiagonal) form of the Hamiltonian: one block a layer, coupled to the next layer only.

Layer 0 is the outermost one (greatest height along the normal of a1 and a2 on the side of a3), the last one the deepest. With l, m the
layers of a bond's atoms, H(k) of `bloch_hamiltonian` is sorted into

    diagonal[l] = <l| H |l>,      upper[l] = <l| H |l + 1>,      closing = <last| H |first of the next cell below>,

in the same atomic gauge. Layers with fewer orbitals than the largest are padded by rows of zeros, which couple to
nothing.
"""

from typing import NamedTuple

import ase
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bandjax import checks
from bandjax.hamiltonian.model import BondGroup, Model
from bandjax.materials import HYDROGEN
from bandjax.structure import site_labels

SAME_LAYER = 0.4  # Å; atoms whose heights follow one another within this are one layer (Si(001): layers every 1.36 Å)


class LayeredHamiltonian(NamedTuple):
    """H at one wave vector, in eV: diagonal (layer, n, n), upper (layer − 1, n, n); closing (n, n) where z repeats."""

    diagonal: jax.Array
    upper: jax.Array
    closing: jax.Array | None = None


def find_layers(structure: Model | ase.Atoms, *, tolerance: float = SAME_LAYER) -> tuple[int, ...]:
    """Layer of each atom from its height over the plane of a1 and a2, counted from the top (the side of a3).

    Hydrogen belongs to the layer that is nearest in height.

    Args:
        structure: Model or atoms with positions that are not traced.
        tolerance: Atoms whose heights follow one another within this many Å are one layer.

    Raises:
        ValueError: the positions are traced, or the tolerance is not > 0.
    """
    checks.positive("tolerance", tolerance, "Å")
    cell, positions = structure.cell, structure.positions
    if not checks.is_concrete((cell, positions)):
        raise ValueError("Argument `layers` must be given where positions are traced; `find_layers(atoms)` makes it.")
    cell = np.asarray(cell)
    normal = np.cross(cell[0], cell[1])
    normal *= -1 if normal @ cell[2] < 0 else 1
    height = np.asarray(positions) @ (normal / np.linalg.norm(normal))
    labels = site_labels(structure) if isinstance(structure, ase.Atoms) else structure.topology.sites()
    light = np.array([label == HYDROGEN for label in labels])
    heavy = np.flatnonzero(~light) if not light.all() else np.arange(len(height))
    order = heavy[np.argsort(-height[heavy], kind="stable")]
    layer = np.empty(len(height), int)
    layer[order] = np.concatenate([[0], np.cumsum(-np.diff(height[order]) > tolerance)])
    for atom in np.setdiff1d(np.arange(len(height)), heavy):
        layer[atom] = layer[heavy[np.abs(height[heavy] - height[atom]).argmin()]]
    return tuple(map(int, layer))


def layer_rows(model: Model, layers: tuple[int, ...]) -> np.ndarray:
    """Row of H behind every row of the layers' blocks, −1 where padded; integers, shape (layer, n).

    Raises:
        ValueError: `layers` is not one integer an atom, or leaves a number out.
    """
    topology = model.topology
    if len(layers) != topology.n_atom or sorted(set(layers)) != list(range(max(layers, default=-1) + 1)):
        raise ValueError(
            f"Argument `layers` must give each of {topology.n_atom} atoms a layer from 0 on without gaps, but holds "
            f"{len(layers)} numbers with {len(set(layers))} values up to {max(layers, default=-1)}."
        )
    layer, row = _places(model, layers).T
    rows = np.full((max(layers) + 1, row.max() + 1), -1)
    rows[layer, row] = np.arange(len(row))
    return rows


def layered_hamiltonian(model: Model, k: jax.Array, layers: tuple[int, ...] | None = None) -> LayeredHamiltonian:
    """H(k) of one wave vector in layered form; differentiable in model and k.

    Args:
        model: Tight-binding model, periodic along its first two lattice vectors; a stack, or one cell of a
            superlattice that repeats along the third.
        k: Cartesian wave vector in 1/Å, shape (3,); its normal component is a choice of gauge only.
        layers: Layer of each atom, from 0 (outermost) on; None: `find_layers(model)`.

    Returns:
        Blocks in eV whose rows are those of `bloch_hamiltonian` in ascending order (`layer_rows`), spin up first.

    Raises:
        ValueError: a bond spans more than adjacent layers; `layers` does not fit, or must be given.
    """
    layers = find_layers(model) if layers is None else tuple(layers)
    count, n = layer_rows(model, layers).shape
    topology = model.topology
    place = _places(model, layers)
    complex_dtype = jnp.result_type(model.dtype, jnp.complex64)
    repeats = topology.periodic[2]
    diagonal = jnp.zeros((count, n, n), complex_dtype)
    upper = jnp.zeros((count if repeats else count - 1, n, n), complex_dtype)  # the last one closes the period
    first = np.array(topology.first_orbital)
    spins = range(2 if topology.spin_orbit else 1)
    size = len(topology.orbitals)

    for group, hopping, vector in zip(topology.groups, model.hopping, model.bond_vector, strict=True):
        phase = jnp.matmul(vector, k.astype(model.dtype), precision="highest")
        t = jax.lax.complex(jnp.cos(phase), jnp.sin(phase))[:, None, None] * hopping
        i, j = np.array(group.i), np.array(group.j)
        step = _steps(model, group, layers)
        _check_steps(step, i, j, layers, repeats)
        a = first[i][:, None, None] + np.arange(t.shape[1])[None, :, None]
        b = first[j][:, None, None] + np.arange(t.shape[2])[None, None, :]
        a, b = np.broadcast_arrays(a, b)
        for spin in spins:
            (la, ra), (lb, rb) = (np.moveaxis(place[x + spin * size], -1, 0) for x in (a, b))
            s = step == 0
            diagonal = diagonal.at[la[s], ra[s], rb[s]].add(t[s]).at[lb[s], rb[s], ra[s]].add(t[s].conj())
            s = step == 1
            upper = upper.at[la[s], ra[s], rb[s]].add(t[s])
            s = step == -1
            upper = upper.at[lb[s], rb[s], ra[s]].add(t[s].conj())
    diagonal = _add_onsite(diagonal, model, place)
    return LayeredHamiltonian(diagonal, upper[: count - 1], upper[-1] if repeats else None)


def repeating_unit(layered: LayeredHamiltonian, period: int) -> LayeredHamiltonian:
    """The last `period` layers of a stack as the unit of a crystal that goes on downwards without end.

    Raises:
        ValueError: the stack has no layer above the unit, which tells how one unit couples to the next.
    """
    count = len(layered.diagonal)
    if not 1 <= period < count:
        raise ValueError(f"Argument `period` must be from 1 to {count - 1} for {count} layers, but is {period!r}.")
    return LayeredHamiltonian(
        layered.diagonal[-period:], layered.upper[count - period :], layered.upper[count - period - 1]
    )


def closed_hamiltonian(layered: LayeredHamiltonian, period: ArrayLike, *, apart: float = 1e3) -> jax.Array:
    """H of the crystal that repeats the first `period` layers of a stack, at the stack's wave vector.

    The stack must go on in the period for one layer at least, so that layer `period` is what layer 0 is; layers count here
    the way the crystal repeats, upwards or downwards. The period may be traced: superlattices of many periods are one program.

    Args:
        layered: A finite stack's blocks; k's normal component is then that of the crystal.
        period: Number of layers, 1 … (layer − 1), possibly traced.
        apart: Energy in eV, above all levels, at which the orbitals of the other layers are left without coupling.

    Returns:
        Hermitian matrix in eV, shape (orbital, orbital) of all layers but the last; its lowest levels are the crystal's.

    Raises:
        ValueError: the stack repeats by itself, or a period outside that range.
    """
    count, n, _ = layered.diagonal.shape
    if layered.closing is not None:
        raise ValueError("Argument `layered` must be of a finite stack, but is of one that repeats along z.")
    if checks.is_concrete(period) and not 1 <= int(period) < count:
        raise ValueError(f"Argument `period` must be from 1 to {count - 1} for {count} layers, but is {period!r}.")
    layer = jnp.arange(count - 1)
    inside = (layer < period)[:, None, None]
    diagonal = jnp.where(inside, layered.diagonal[:-1], apart * jnp.eye(n, dtype=layered.diagonal.dtype))
    upper = jnp.where(inside, layered.upper, 0.0)
    above = (layer + 1) % period
    h = jnp.zeros((count - 1, count - 1, n, n), layered.diagonal.dtype)
    h = h.at[layer, layer].add(diagonal).at[layer, above].add(upper)
    h = h.at[above, layer].add(jnp.swapaxes(upper, 1, 2).conj())
    return jnp.swapaxes(h, 1, 2).reshape((count - 1) * n, -1)


def is_layered(model: Model, layers: tuple[int, ...]) -> bool:
    """Whether every bond joins atoms of one layer or of adjacent ones."""
    layer_rows(model, layers)
    return all(np.all(np.abs(_steps(model, group, layers)) <= 1) for group in model.topology.groups)


def _steps(model: Model, group: BondGroup, layers: tuple[int, ...]) -> np.ndarray:
    """Layers from the first to the second atom of each bond, downwards; a cell up the third vector is above."""
    layer = np.array(layers)
    up = np.array(group.shift)[:, 2] if model.topology.periodic[2] else 0
    return layer[np.array(group.j)] - (max(layers) + 1) * up - layer[np.array(group.i)]


def _places(model: Model, layers: tuple[int, ...]) -> np.ndarray:
    """Layer, and row inside its block, of each row of H; shape (row of H, 2)."""
    owner = np.array(layers)[model.topology.atom_of()]
    inside = np.empty(len(owner), int)
    for layer in range(owner.max() + 1):
        inside[owner == layer] = np.arange(np.count_nonzero(owner == layer))
    return np.stack([owner, inside], axis=1)


def _check_steps(step: np.ndarray, i: np.ndarray, j: np.ndarray, layers: tuple[int, ...], repeats: bool) -> None:
    for at in np.flatnonzero(np.abs(step) > 1)[:1]:
        hint = (
            " a cell that repeats along the third lattice vector must have its layers numbered from the top"
            if repeats
            else " merge layers in argument `layers`"
        )
        raise ValueError(
            f"Bonds must join atoms of one layer or of adjacent layers, but that of atoms {i[at]} (layer "
            f"{layers[i[at]]}) and {j[at]} (layer {layers[j[at]]}) spans {abs(step[at])};{hint}."
        )


def _add_onsite(diagonal: jax.Array, model: Model, place: np.ndarray) -> jax.Array:
    """On-site energies and spin-orbit coupling added to the layers' blocks, all atoms of one kind at a time."""
    topology = model.topology
    size, first = len(topology.orbitals), np.array(topology.first_orbital)
    spins = 2 if topology.spin_orbit else 1
    for stack, block in enumerate(model.onsite.stacks):
        n = block.shape[-1]
        rows = first[model.onsite.atoms_of(stack)][:, None] + np.arange(n)
        layer, row = np.moveaxis(place[rows[:, None, :] + size * np.arange(spins)[None, :, None]], -1, 0)
        for s in range(spins):
            at = (layer[:, s, :, None], row[:, s, :, None], row[:, s, None, :])
            diagonal = diagonal.at[at].add(block.astype(diagonal.dtype))
        if model.spin_orbit is not None:
            coupling = model.spin_orbit.stacks[stack]
            at = (layer[:, :, :, None, None], row[:, :, :, None, None], row[:, None, None, :, :])
            diagonal = diagonal.at[at].add(coupling)
    return diagonal
