"""Unfolding: the spectral weight of a large cell on the zone of a smaller, repeated one.

With α a sublattice of the small crystal, o an orbital, N lattice points n_j and the average lattice a = M⁻¹A, the small
crystal's Bloch states are vectors over the rows of the large cell's H(k), in its atomic gauge

    v_αo(k) = (1/√N) Σ_{j on α} exp(i k·(n_j a − r_j)) |j o>,      A(k, E) = Σ_αo A_{v_αo}(k, E),

with k anywhere in the small crystal's zones. Of a repeated small cell they span whole eigenstates of H(k): each band
has weight 1. In alloys and strained cells they are Bloch states of the average lattice, by sublattice and name of the
orbital, whatever species sits there. Over the wave vectors that fold onto one, the weights of a state sum to 1; at one k,
all weights sum to the number of orbitals of the small cell.

Source: T. B. Boykin, G. Klimeck, Phys. Rev. B 71, 115215 (2005), for tight binding (after).
"""

from functools import partial
from typing import NamedTuple

import ase
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.typing import ArrayLike

from bandjax import checks
from bandjax.devices import map_chunks
from bandjax.hamiltonian import Model, Orbital, bloch_hamiltonian
from bandjax.spectrum.bands import as_wave_vectors, bytes_of_h, refuse_large
from bandjax.spectrum.chebyshev import expanded_spectra
from bandjax.spectrum.energies import SelfEnergy, shifted_energies
from bandjax.spectrum.expansion import Expansion, choose, series_of
from bandjax.spectrum.lorentzians import coherent_lorentzians, eigh_once
from bandjax.structure import Sites, find_sites

METHODS = ("auto", "eigh", "chebyshev")
RESOLVE = (None, "atom", "orbital")


def unfolded_spectral_function(
    model: Model,
    primitive: ase.Atoms | Sites,
    k: ArrayLike,
    energy: ArrayLike,
    *,
    eta: ArrayLike = 0.1,
    sigma: float | None = None,
    resolve: str | None = None,
    method: str = "auto",
    self_energy: SelfEnergy = None,
    expansion: Expansion | None = None,
    budget: float | None = None,
    mesh: Mesh | None = None,
) -> jax.Array:
    """Spectral function of a large cell on the zone of a small crystal that it (nearly) repeats.

    Args:
        model: Tight-binding model of the large cell: an alloy, a strained, relaxed or repeated crystal.
        primitive: The small crystal; or `find_sites(positions, cell, primitive)`, needed where positions are traced.
        k: Cartesian wave vectors in 1/Å, not folded, shape (k, 3).
        energy: Energies in eV on the model's own scale, shape (energy,).
        eta: Lorentzian half width in eV, > 0; a number or shape (energy,).
        sigma: Instead of the Lorentzian the Jackson kernel of this standard deviation in eV (method "chebyshev").
        resolve: None (sum), "atom" (sublattice of `primitive`) or "orbital" (of these, spins summed; `unfolded_orbitals`
            names them): appends that axis.
        method: "eigh"; "chebyshev", whose cost grows with the number of atoms and not with its cube; "auto" is the one
            that costs less (`crossovers.py`), "chebyshev" with `sigma`, and "eigh" where the model is traced and
            no `expansion` given.
        self_energy: Scalar Σ(E) in eV with Im Σ ≤ 0, as in `spectral_function`; not with `sigma`.
        expansion: Window and number of moments of method "chebyshev"; None: `chebyshev_expansion` at these widths and
            k. Where the spectrum leaves the window, or a traced width has too few moments, the result is NaN.
        budget: Memory for temporaries in bytes; None: `devices.memory_budget()`.
        mesh: Devices to split k over; None: the current one.

    Returns:
        1/eV, shape (k, energy[, atom | orbital]); the integral over energy is the number of orbitals of `primitive`.
        Exact first derivatives.

    Raises:
        ValueError: a shape does not fit, `primitive` does not tile the cell, widths ≤ 0, a method or `resolve` that
            is unknown, or a cell too large for the memory budget.
    """
    checks.one_of("method", method, METHODS)
    checks.one_of("resolve", resolve, RESOLVE)
    energy, k = jnp.asarray(energy), as_wave_vectors(model, k)
    checks.shape_is("energy", energy, ("energy",))
    checks.positive("eta", eta, "eV")
    bloch = _bloch(model, primitive)
    vectors = len(bloch.owner)
    if method == "auto":
        method, expansion = choose(model, k, eta, sigma, expansion, vectors)
    if method == "eigh" and sigma is not None:
        raise ValueError("Argument `sigma` must be None for method 'eigh', whose lines are Lorentzians of `eta`.")
    if method == "chebyshev":
        expansion, series = series_of(model, k, energy, eta, sigma, self_energy, expansion)
        out = expanded_spectra(model, k, _states, None, bloch, series, expansion, vectors, budget, mesh)
    else:
        refuse_large(model, budget)
        x, gamma = shifted_energies(model, energy, eta, self_energy)
        out = _by_diagonalisation(model, bloch, k, x, gamma, budget, mesh)
    out = jnp.einsum("gv,kve->keg", _groups(model, primitive, resolve), out, precision="highest")
    return out[..., 0] if resolve is None else out


def unfolded_bands(
    model: Model, primitive: ase.Atoms | Sites, k: ArrayLike, *, budget: float | None = None
) -> tuple[jax.Array, jax.Array]:
    """Energies of a large cell and their weight on the small crystal's zone, by diagonalisation.

    Args:
        model, primitive, k: As in `unfolded_spectral_function`.
        budget: Memory for temporaries in bytes.

    Returns:
        Energies in eV, ascending, and weights W_n = Σ_αo |v_αo†u_n|², both (k, band). Of equal levels only the sum of
        the weights has a meaning, and weights have no derivative: the unfolded spectral function has.
    """
    k = as_wave_vectors(model, k)
    refuse_large(model, budget)
    return _bands_and_weights(model, _bloch(model, primitive), k, budget)


def unfolded_orbitals(model: Model, primitive: ase.Atoms | Sites) -> list[Orbital]:
    """What the last axis of `resolve="orbital"` holds: `atom` counts sublattices, `site` is a first atom's label there."""
    sites, columns = _columns(model, primitive)
    _, first = np.unique(columns[: len(model.topology.orbitals)], return_index=True)
    found = [model.topology.orbitals[row] for row in first]
    return [o._replace(atom=int(sites.sublattice[o.atom])) for o in found]


class _Bloch(NamedTuple):
    """What the Bloch states of the small crystal are made of."""

    point: jax.Array  # (atom, 3): n_j
    inverse: jax.Array  # M⁻¹
    owner: jax.Array  # (state, row of H): 1 where the row belongs to the state's sublattice and orbital


def _bloch(model: Model, primitive: ase.Atoms | Sites) -> _Bloch:
    sites, columns = _columns(model, primitive)
    owner = np.arange(columns.max() + 1)[:, None] == columns
    parts = (sites.point, np.linalg.inv(sites.matrix), owner)
    return _Bloch(*(jnp.asarray(part, model.dtype) for part in parts))


def _columns(model: Model, primitive: ase.Atoms | Sites) -> tuple[Sites, np.ndarray]:
    """Sites of the atoms, and for each row of H the small crystal's Bloch state that it belongs to, spin up first."""
    if isinstance(primitive, ase.Atoms):
        if not checks.is_concrete((model.positions, model.cell)):
            raise ValueError(
                "Argument `primitive` must be `find_sites(positions, cell, primitive)` where positions are traced."
            )
        primitive = find_sites(np.asarray(model.positions), np.asarray(model.cell), primitive)
    if len(primitive.sublattice) != model.topology.n_atom:
        raise ValueError(
            f"Argument `primitive` must hold the sites of {model.topology.n_atom} atoms, but holds {len(primitive.sublattice)}."
        )
    kinds = [(int(primitive.sublattice[o.atom]), o.shell, o.name) for o in model.topology.orbitals]
    order = {kind: at for at, kind in enumerate(sorted(dict.fromkeys(kinds), key=lambda kind: kind[0]))}
    columns = np.array([order[kind] for kind in kinds])
    if model.topology.spin_orbit:
        columns = np.concatenate([columns, columns + len(order)])
    return primitive, columns


def _groups(model: Model, primitive: ase.Atoms | Sites, resolve: str | None) -> jax.Array:
    """Which states are summed, (group, state)."""
    orbitals = unfolded_orbitals(model, primitive)
    owner = {
        None: [0] * len(orbitals),
        "orbital": list(range(len(orbitals))),
        "atom": [o.atom for o in orbitals],
    }[resolve]
    owner = np.tile(owner, 2 if model.topology.spin_orbit else 1)
    return jnp.asarray(np.arange(owner.max() + 1)[:, None] == owner, model.dtype)


def _states(model: Model, k: jax.Array, _: None, bloch: _Bloch, vectors: int) -> jax.Array:
    """v_αo(k), shape (state, row of H)."""
    average = jnp.matmul(bloch.inverse, model.cell, precision="highest")
    off = jnp.matmul(bloch.point, average, precision="highest") - model.positions
    phase = jnp.matmul(off, k, precision="highest")[model.topology.atom_of()]
    norm = jnp.sqrt(jnp.abs(jnp.linalg.det(bloch.inverse)))  # 1/√N
    return norm * bloch.owner * jax.lax.complex(jnp.cos(phase), jnp.sin(phase))


@partial(jax.jit, static_argnums=(5, 6))
def _by_diagonalisation(model, bloch, k, x, gamma, budget, mesh):
    vectors = len(bloch.owner)

    def one(q: jax.Array) -> jax.Array:
        return coherent_lorentzians(bloch_hamiltonian(model, q), _states(model, q, None, bloch, vectors), x, gamma)

    per_item = bytes_of_h(model) + model.dtype.itemsize * vectors * (4 * model.n_orbital + x.size)
    return map_chunks(one, k, bytes_per_item=per_item, budget=budget, mesh=mesh)


@partial(jax.jit, static_argnums=(3,))
def _bands_and_weights(model, bloch, k, budget):
    def one(q: jax.Array) -> tuple[jax.Array, jax.Array]:
        eps, u = eigh_once(bloch_hamiltonian(model, q))
        v = _states(model, q, None, bloch, len(bloch.owner))
        overlap = jnp.matmul(v.conj(), u, precision="highest")
        return eps, jnp.sum(overlap.real**2 + overlap.imag**2, axis=0)

    return map_chunks(one, k, bytes_per_item=bytes_of_h(model), budget=budget)
