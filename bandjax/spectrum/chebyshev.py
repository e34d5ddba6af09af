"""Spectral functions of large cells by Chebyshev expansion: only products H x, at a cost proportional to the number of atoms.

For each wave vector a batch of vectors v goes through one recursion (`moments.py`), whose moments all energies share
(`expansion.py`). The vectors are an amplitude, unit vectors of single orbitals, random vectors for the trace, or the Bloch
states of unfolding.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from bandjax.devices import cache_budget, map_chunks, refuse_beyond
from bandjax.hamiltonian import Model, sparse
from bandjax.spectrum.expansion import Expansion
from bandjax.spectrum.moments import chebyshev_moments

VECTORS_AT_ONCE = 16  # unit and random vectors of one item of work
WORK_ARRAYS = 36  # arrays like the vectors that a gradient holds at a time (measured: 38, blocks included; the value 9)
DIVERGED = 1.01  # |μ_n| ≤ μ_0 inside the window; beyond, moments grow exponentially

Start = Callable[[Model, jax.Array, Any, Any, int], jax.Array]


def expanded_spectra(
    model: Model,
    k: jax.Array,
    start: Start,
    items: Any,
    shared: Any,
    series: jax.Array,
    expansion: Expansion,
    vectors: int,
    budget: float | None = None,
    mesh: Mesh | None = None,
) -> jax.Array:
    """A_v(E) of several vectors at every k: one recursion for all energies; differentiable in all arrays.

    Args:
        model: Tight-binding model.
        k: Cartesian wave vectors in 1/Å, (item, 3).
        start: Function of (model, one k, one item, shared, vectors) that gives the vectors over the rows of H, atomic
            gauge, shape (vector, orbital); defined once in a module, so that it compiles once.
        items: Pytree with a leading axis (item,), or None.
        shared: Pytree that is the same for all items, or None.
        series: c_n(E), shape (energy, moment).
        expansion: Window and number of moments.
        vectors: How many vectors an item has.
        budget, mesh: As in `spectral_function`.

    Returns:
        1/eV times |v|², shape (item, vector, energy); NaN where moments show that the spectrum leaves the window.

    Raises:
        ValueError: the vectors of one item are beyond the memory budget.
    """
    need = item_bytes(model, vectors)
    refuse_beyond(
        need,
        budget,
        f"the {vectors} vectors of method 'chebyshev' over {model.n_orbital} orbitals",
        lambda limit: f"some {int(model.topology.n_atom * limit / need)} atoms",
    )
    return _spectra(model, k, items, shared, series, start, expansion, vectors, budget, mesh)


def resolved_spectra(
    model: Model,
    k: jax.Array,
    series: jax.Array,
    expansion: Expansion,
    amplitude: jax.Array | None,
    owner: np.ndarray | None,
    key: jax.Array | None,
    samples: int,
    budget: float | None,
    mesh: Mesh | None,
) -> jax.Array:
    """A of one amplitude (k, orbital), of every group of rows of H (`owner`, one a row), or the trace, (k, energy[, group])."""
    expand = partial(expanded_spectra, budget=budget, mesh=mesh)
    if amplitude is not None:
        return expand(model, k, _given, amplitude, None, series, expansion, 1)[:, 0]
    vectors = min(VECTORS_AT_ONCE, model.n_orbital if key is None else samples)
    blocks = -(-(model.n_orbital if key is None else samples) // vectors)
    at = jnp.repeat(k, blocks, axis=0)
    if key is not None:
        out = expand(model, at, _random, jax.random.split(key, len(at)), None, series, expansion, vectors)
        return out.reshape(len(k), blocks * vectors, -1).mean(axis=1)
    rows = jnp.tile(jnp.arange(blocks) * vectors, len(k))
    out = expand(model, at, _unit, rows, None, series, expansion, vectors)
    out = out.reshape(len(k), blocks * vectors, -1)[:, : model.n_orbital]
    if owner is None:
        return out.sum(axis=1)
    return jnp.swapaxes(jax.vmap(lambda a: jax.ops.segment_sum(a, owner, int(owner.max()) + 1))(out), 1, 2)


def _given(model: Model, k: jax.Array, amplitude: jax.Array, _: None, vectors: int) -> jax.Array:
    return amplitude[None]


def _unit(model: Model, k: jax.Array, row: jax.Array, _: None, vectors: int) -> jax.Array:
    """Unit vectors from a row on; past the last row they are zero."""
    return jax.nn.one_hot(row + jnp.arange(vectors), model.n_orbital, dtype=model.dtype)


def _random(model: Model, k: jax.Array, key: jax.Array, _: None, vectors: int) -> jax.Array:
    """Numbers of modulus 1: their spectral functions are traces on average."""
    angle = 2 * np.pi * jax.random.uniform(key, (vectors, model.n_orbital), model.dtype)
    return jax.lax.complex(jnp.cos(angle), jnp.sin(angle))


def item_bytes(model: Model, vectors: int) -> int:
    """Estimate of the memory that the recursion of some vectors takes."""
    rows = sparse.orbital_rows(model)
    spins = 2 if model.topology.spin_orbit else 1
    blocks = rows.size * rows.shape[1] * (2 * 5 + (32 if spins == 2 else 0))  # and their cotangents
    return model.dtype.itemsize * (WORK_ARRAYS * rows.size * 2 * spins * vectors + blocks)


@partial(jax.jit, static_argnums=(5, 6, 7, 8, 9))
def _spectra(model, k, items, shared, series, start, expansion, vectors, budget, mesh):
    h = sparse.sparse_hamiltonian(model)
    h = h._replace(
        onsite=(h.onsite - expansion.centre * jnp.eye(h.onsite.shape[-1], dtype=model.dtype)) / expansion.half,
        coupling=None if h.coupling is None else h.coupling / expansion.half,
        hopping=h.hopping / expansion.half,
    )

    def one(item: tuple) -> jax.Array:
        q, extra = item
        x = sparse.to_channels(model, q, start(model, q, extra, shared, vectors))
        mu = chebyshev_moments(h, sparse.bond_phases(h, q), x, expansion.count)
        mu = mu.reshape(expansion.count, -1, vectors).sum(axis=1)  # over spins
        out = jnp.matmul(series, mu, precision="highest").T
        fits = jnp.max(jnp.abs(mu), axis=0) <= DIVERGED * mu[0]
        return jnp.where(fits[:, None], out, jnp.nan)

    return map_chunks(
        one, (k, items), bytes_per_item=item_bytes(model, vectors), budget=cache_budget(budget), mesh=mesh
    )
