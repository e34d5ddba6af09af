"""Spectral functions A(k, E) and the density of states of a model."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.typing import ArrayLike

from bandjax import checks
from bandjax.devices import cache_budget, map_chunks, sum_chunks
from bandjax.hamiltonian import (
    Model,
    bloch_hamiltonian,
    find_layers,
    is_layered,
    layer_rows,
    layered_hamiltonian,
    repeating_unit,
)
from bandjax.spectrum.bands import as_wave_vectors, bytes_of_h, refuse_large
from bandjax.spectrum.chebyshev import resolved_spectra
from bandjax.spectrum.coherent import coherent_spectra
from bandjax.spectrum.crossovers import CROSSOVER_LAYERS
from bandjax.spectrum.energies import SelfEnergy, shifted_energies
from bandjax.spectrum.expansion import Expansion, choose, series_of
from bandjax.spectrum.layered import layer_spectra
from bandjax.spectrum.lorentzians import coherent_lorentzians, weighted_lorentzians
from bandjax.spectrum.surface import substrate_self_energy

METHODS = ("auto", "eigh", "layered", "chebyshev", "solve")
RESOLVE = (None, "atom", "orbital", "layer")
LEAST_ENERGIES = 32  # that one sweep over the layers takes together
SWEEP_ARRAYS = 12  # (n, n) blocks of every layer and energy that a sweep and its gradient keep


def spectral_function(
    model: Model,
    k: ArrayLike,
    energy: ArrayLike,
    *,
    eta: ArrayLike = 0.1,
    sigma: float | None = None,
    resolve: str | None = None,
    method: str = "auto",
    self_energy: SelfEnergy = None,
    amplitude: ArrayLike | None = None,
    layers: Sequence[int] | None = None,
    substrate: int | None = None,
    expansion: Expansion | None = None,
    key: jax.Array | None = None,
    samples: int = 16,
    budget: float | None = None,
    mesh: Mesh | None = None,
) -> jax.Array:
    """Spectral function A(k, E) = −(1/π) Im G(k, E + iη − Σ(E)).

    Args:
        model: Tight-binding model.
        k: Cartesian wave vectors in 1/Å, shape (k, 3).
        energy: Energies in eV on the model's own scale, shape (energy,).
        eta: Lorentzian half width in eV, > 0; a number or shape (energy,).
        sigma: Instead of the Lorentzian the Jackson kernel of this standard deviation in eV (method "chebyshev").
        resolve: None (trace), "atom", "orbital" (spins summed) or "layer": appends that axis.
        method: "eigh" diagonalises and differentiates by divided differences; "layered" sweeps over the layers of a
            stack; "chebyshev" expands (`chebyshev.py`); "solve" inverts z − H at every energy (the test oracle); "auto" is
            "layered" with a substrate, else "chebyshev" with `sigma` or `key`, else "layered" from `CROSSOVER_LAYERS`
            of the given `layers` on, else "chebyshev" where an expansion costs less (`crossovers.py`), and else "eigh".
        self_energy: Scalar Σ(E) in eV with Im Σ ≤ 0: a function of energy, a number or an array (energy,).
        amplitude: v over the rows of H, shape (k, orbital): then A_v = v†(…)v, shape (k, energy), and `resolve` is
            None.
        layers: Layer of each atom, 0 outermost; None: from the heights of the atoms, which must then not be traced.
        substrate: The last so many layers repeat downwards without end (method "layered"); None: they do not. Of
            the last layer, on-site terms that depend on neighbours lack the bonds that were cut.
        expansion: Window and number of moments of method "chebyshev"; None: `chebyshev_expansion` at these widths and
            k. Where the spectrum leaves the window, or a traced width has too few moments, the result is NaN.
        key: Random key, for the trace by method "chebyshev": the mean over `samples` random-phase vectors, with a relative
            error of about 1/√(samples · orbitals in the width). None: an exact trace, at a cost of atoms².
        samples: Number of random vectors at each k.
        budget: Memory for temporaries in bytes; None: `devices.memory_budget()`.
        mesh: Devices to split k over; None: the current one.

    Returns:
        1/eV, shape (k, energy[, atom | orbital | layer]); the integral over energy is the number of orbitals (v†v). Exact
        first derivatives in model, k, energy, eta, self-energy and amplitude; a second derivative raises TypeError.

    Raises:
        ValueError: a shape does not fit, `eta` ≤ 0, Im Σ > 0, an unknown `resolve` or `method`, a layered route for
            what is no stack (a bond spans more than adjacent layers, or the cell repeats along its third vector), or a cell
            too large for the memory budget.

    Source:
        E. N. Economou, Green's Functions in Quantum Physics, ch. 1 and 5 (after).
    """
    checks.one_of("method", method, METHODS)
    checks.one_of("resolve", resolve, RESOLVE)
    checks.positive("eta", eta, "eV")
    energy = jnp.asarray(energy)
    if energy.ndim != 1:
        raise ValueError(f"Argument `energy` must have shape (energy,), but has shape {energy.shape}.")
    if amplitude is not None and resolve is not None:
        raise ValueError(f"Argument `resolve` must be None where an amplitude is given, but is {resolve!r}.")
    if amplitude is not None:
        amplitude = jnp.asarray(amplitude)
        checks.shape_is("amplitude", amplitude, (np.shape(k)[0], model.n_orbital))
    k = as_wave_vectors(model, k)
    if layers is not None:
        layers = tuple(int(layer) for layer in layers)
    elif resolve == "layer" or method == "layered" or substrate is not None:
        layers = find_layers(model)
    if method == "auto":
        stack = layers is not None and max(layers, default=0) + 1 >= CROSSOVER_LAYERS and not model.topology.periodic[2]
        if substrate is not None:
            method = "layered"
        elif sigma is not None or key is not None:
            method = "chebyshev"
        elif stack and is_layered(model, layers):
            method = "layered"
        else:
            count = 1 if amplitude is not None else model.n_orbital
            method, expansion = choose(model, k, eta, sigma, expansion, count)
    if method == "layered" and model.topology.periodic[2]:
        raise ValueError("A model must not repeat along its third lattice vector for method 'layered', but does.")
    if method != "layered" and substrate is not None:
        raise ValueError(f"Argument `substrate` must be None for method {method!r}, but is {substrate!r}.")
    if method != "chebyshev":
        for name, value in (("sigma", sigma), ("key", key)):
            if value is not None:
                raise ValueError(f"Argument `{name}` must be None for method {method!r}, but is given.")
    if key is not None and (resolve is not None or amplitude is not None):
        raise ValueError(
            "Argument `key` must be None with `resolve` or an amplitude, but is given: random vectors give traces."
        )
    if method == "chebyshev":
        expansion, series = series_of(model, k, energy, eta, sigma, self_energy, expansion)
        owner = _owners(model, resolve, layers)
        return resolved_spectra(
            model, k, series, expansion, amplitude, None if resolve is None else owner, key, samples, budget, mesh
        )
    x, gamma = shifted_energies(model, energy, eta, self_energy)
    if method == "layered":
        return _layered(model, k, x, gamma, amplitude, resolve, layers, substrate, budget, mesh)
    refuse_large(model, budget)
    return _spectral_function(model, k, x, gamma, amplitude, resolve, method, layers, budget, mesh)


@partial(jax.jit, static_argnums=(5, 6, 7, 8, 9))
def _spectral_function(model, k, x, gamma, amplitude, resolve, method, layers, budget, mesh):
    weights = orbital_groups(model, resolve, layers)

    def one(item: tuple) -> jax.Array:
        q, v = item
        h = bloch_hamiltonian(model, q)
        if method == "solve":
            return _by_inversion(h, weights, v, x, gamma)
        if v is not None:
            return coherent_lorentzians(h, v[None], x, gamma)
        return weighted_lorentzians(h, weights, x, gamma)

    rows = 1 if weights is None else weights.shape[0]
    per_item = bytes_of_h(model) + model.dtype.itemsize * x.size * (4 * model.n_orbital + rows)
    if method == "solve":
        per_item += 6 * model.dtype.itemsize * x.size * model.n_orbital**2
    out = map_chunks(one, (k, amplitude), bytes_per_item=per_item, budget=budget, mesh=mesh)
    return out[:, 0] if resolve is None else jnp.swapaxes(out, 1, 2)


@partial(jax.jit, static_argnums=(5, 6, 7, 8, 9))
def _layered(model, k, x, gamma, amplitude, resolve, layers, substrate, budget, mesh):
    """By sweeps over the layers; an item of work is one k and a block of energies."""
    energies = x.size
    rows = layer_rows(model, layers)
    owner = _owners(model, resolve, layers)
    count = owner.max() + 1

    def one(item: tuple) -> jax.Array:
        q, v, x, gamma = item
        h = layered_hamiltonian(model, q, layers)
        below = None
        if substrate is not None:
            unit = repeating_unit(h, substrate)
            below = substrate_self_energy(unit, unit.closing, x, gamma)
        if v is not None:
            return coherent_spectra(h, jnp.where(rows < 0, 0, v[rows])[None], x, gamma, below)[None]
        a = layer_spectra(h, x, gamma, below)
        kept = np.argwhere(rows >= 0)
        order = rows[rows >= 0]
        return jax.ops.segment_sum(a[kept[:, 0], kept[:, 1]], owner[order], count)

    per_energy = SWEEP_ARRAYS * 2 * model.dtype.itemsize * rows.size * rows.shape[1]
    limit = cache_budget(budget)
    block = min(energies, max(LEAST_ENERGIES, limit // per_energy))
    blocks = -(-energies // block)
    x, gamma = (
        jnp.tile(jnp.pad(a, (0, blocks * block - energies), mode="edge").reshape(blocks, block), (len(k), 1))
        for a in (x, gamma)
    )
    items = (*(None if a is None else jnp.repeat(a, blocks, axis=0) for a in (k, amplitude)), x, gamma)
    out = map_chunks(one, items, bytes_per_item=per_energy * block, budget=limit, mesh=mesh)
    out = jnp.swapaxes(out, 1, 2).reshape(len(k), blocks * block, -1)[:, :energies]
    return out[..., 0] if resolve is None else out


def density_of_states(
    model: Model,
    energy: ArrayLike,
    *,
    eta: ArrayLike = 0.1,
    grid: tuple[int, int, int] = (8, 8, 8),
    budget: float | None = None,
) -> jax.Array:
    """Density of states per cell (both spins where the model has spin-orbit), 1/eV, shape (energy,).

    Args:
        model: Tight-binding model.
        energy: Energies in eV, shape (energy,).
        eta: Lorentzian half width in eV, > 0.
        grid: Numbers of k points along the reciprocal vectors; H. J. Monkhorst, J. D. Pack, Phys. Rev. B 13, 5188
            (1976).
        budget: Memory for temporaries in bytes.
    """
    checks.positive("eta", eta, "eV")
    checks.positive("grid", grid)
    refuse_large(model, budget)
    axes = [(2 * np.arange(n) + 1 - n) / (2 * n) for n in grid]
    fractional = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    return _density_of_states(
        model, jnp.asarray(fractional, model.dtype), jnp.asarray(energy), jnp.asarray(eta), budget
    )


@partial(jax.jit, static_argnums=(4,))
def _density_of_states(model, fractional, energy, eta, budget):
    x, gamma = energy.astype(model.dtype), jnp.broadcast_to(eta, energy.shape).astype(model.dtype)

    def one(q: jax.Array) -> jax.Array:
        return weighted_lorentzians(bloch_hamiltonian(model, q), None, x, gamma)[0]

    per_item = bytes_of_h(model) + model.dtype.itemsize * energy.size * 4 * model.n_orbital
    return sum_chunks(one, fractional @ model.reciprocal, bytes_per_item=per_item, budget=budget) / fractional.shape[0]


def orbital_groups(model: Model, resolve: str | None, layers: tuple[int, ...] | None = None) -> jax.Array | None:
    """Weights (group, row of H) that sum the rows of one atom, orbital or layer, both spins; None for the trace."""
    if resolve is None:
        return None
    owner = _owners(model, resolve, layers)
    return jnp.asarray(np.arange(owner.max() + 1)[:, None] == owner[None, :], model.dtype)


def _owners(model: Model, resolve: str | None, layers: tuple[int, ...] | None) -> np.ndarray:
    """Group of each row of H."""
    size = len(model.topology.orbitals)
    owner = {
        None: lambda: np.zeros(size, int),
        "orbital": lambda: np.arange(size),
        "atom": lambda: model.topology.atom_of()[:size],
        "layer": lambda: np.array(layers)[model.topology.atom_of()[:size]],
    }[resolve]()
    return np.tile(owner, 2 if model.topology.spin_orbit else 1)


def _by_inversion(
    h: jax.Array, weights: jax.Array | None, v: jax.Array | None, x: jax.Array, gamma: jax.Array
) -> jax.Array:
    """A by inverting z − H at every energy, shape (projector, energy)."""
    eye = jnp.eye(h.shape[0], dtype=h.dtype)
    z = jax.lax.complex(x, gamma)
    g = jax.vmap(lambda e: jnp.linalg.inv(e * eye - h))(z)
    if v is not None:
        return -jnp.einsum("i,eij,j->e", v.conj(), g, v.astype(h.dtype), precision="highest").imag[None] / np.pi
    diagonal = -jnp.diagonal(g, axis1=1, axis2=2).imag.T / np.pi
    return diagonal.sum(axis=0)[None] if weights is None else jnp.matmul(weights, diagonal, precision="highest")
