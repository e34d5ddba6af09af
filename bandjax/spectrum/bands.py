"""Band energies, velocities and effective masses.

Velocities and curvatures come from degenerate perturbation theory in H' = ∂H/∂k and H'' = ∂²H/∂k², taken along one
direction d, and never from a derivative of eigenvectors:

    ħv:      eigenvalues of u_n† H' u_m inside each group of equal levels,
    ∂²E/∂k²: eigenvalues of u_n† H'' u_m + 2 Σ_{p outside} (u_n†H'u_p)(u_p†H'u_m)/(ε − ε_p)
             inside each group of equal levels and equal velocities,      m/m_e = (ħ²/m_e) / (∂²E/∂k²).

Source: degenerate k·p theory, e.g. P. Y. Yu, M. Cardona, Fundamentals of Semiconductors, ch. 2.6 (after).
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.typing import ArrayLike

from bandjax import checks
from bandjax.devices import map_chunks, refuse_beyond
from bandjax.hamiltonian import Model, bloch_hamiltonian
from bandjax.spectrum.lorentzians import eigh_once
from bandjax.units import HBAR2_OVER_M

EIGH_ARRAYS = 8  # matrices of one k point alive at once: H, U, LAPACK's copies and work space, cotangents


@jax.custom_jvp
def eigenvalues(h: jax.Array) -> jax.Array:
    """Eigenvalues of a Hermitian matrix, ascending; first derivative dε_n = u_n† dH u_n, a second one raises.

    Inside a group of equal levels only the sum of the derivatives has a meaning.
    """
    return jnp.linalg.eigvalsh(h, symmetrize_input=False)


@eigenvalues.defjvp
def _eigenvalues_jvp(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    (h,), (dh,) = primals, tangents
    eps, u = eigh_once(h)
    return eps, jnp.einsum("in,ij,jn->n", u.conj(), dh, u, precision="highest").real


@partial(jax.jit, static_argnames=("budget", "mesh"))
def bands(model: Model, k: ArrayLike, *, budget: float | None = None, mesh: Mesh | None = None) -> jax.Array:
    """Band energies.

    Args:
        model: Tight-binding model.
        k: Cartesian wave vectors in 1/Å, shape (k, 3).
        budget: Memory for temporaries in bytes; None: `devices.memory_budget()`.
        mesh: Devices to split k over; None: the current one.

    Returns:
        Ascending energies in eV on the model's own scale, shape (k, band). Differentiable once; at a degeneracy only
        sums over the group have a meaning.

    Raises:
        ValueError: `k` has not the shape (k, 3), or the matrix of one k is beyond the memory budget.
    """
    k = as_wave_vectors(model, k)
    refuse_large(model, budget)
    return map_chunks(
        lambda q: eigenvalues(bloch_hamiltonian(model, q)),
        k,
        bytes_per_item=bytes_of_h(model),
        budget=budget,
        mesh=mesh,
    )


@jax.jit
def velocities(model: Model, k: ArrayLike, direction: ArrayLike, *, degeneracy: float | None = None) -> jax.Array:
    """ħ times the group velocity along a direction, ∂E/∂k in eV Å.

    Args:
        model: Tight-binding model.
        k: Cartesian wave vectors in 1/Å, shape (k, 3).
        direction: Cartesian direction (any length > 0), shape (3,).
        degeneracy: Levels nearer than this (eV; None: 1e-6, in float32 3e-4) are one group, within which velocities ascend.

    Returns:
        Shape (k, band), bands in ascending order of energy.
    """
    k = as_wave_vectors(model, k)
    d = _unit(direction, model)
    return jax.vmap(lambda q: _expansion(model, q, d, degeneracy)[1])(k)


@jax.jit
def effective_masses(model: Model, k: ArrayLike, direction: ArrayLike, *, degeneracy: float | None = None) -> jax.Array:
    """Effective masses along a direction in units of the electron mass: positive where the band curves upward.

    Args:
        model: Tight-binding model.
        k: Cartesian wave vectors in 1/Å, shape (k, 3), normally band extrema.
        direction: Cartesian direction (any length > 0), shape (3,).
        degeneracy: Levels nearer than this (eV; None: 1e-6, in float32 3e-4) are one group.

    Returns:
        Shape (k, band), bands in ascending order of energy, within a group of equal levels by velocity and curvature.
    """
    k = as_wave_vectors(model, k)
    d = _unit(direction, model)
    return jax.vmap(lambda q: HBAR2_OVER_M / _expansion(model, q, d, degeneracy)[2])(k)


def as_wave_vectors(model: Model, k: ArrayLike) -> jax.Array:
    """`k` as an array of the model's dtype, checked to have the shape (k, 3)."""
    k = jnp.asarray(k)
    if k.ndim != 2 or k.shape[1] != 3:
        raise ValueError(f"Argument `k` must have shape (k, 3), but has shape {k.shape}.")
    return k.astype(model.dtype)


def bytes_of_h(model: Model) -> int:
    """Estimate of the memory that one wave vector's diagonalisation takes."""
    return EIGH_ARRAYS * 2 * model.dtype.itemsize * model.n_orbital**2


def refuse_large(model: Model, budget: float | None) -> None:
    """Raise ValueError where the diagonalisation of one H is beyond the memory budget."""

    def fits(limit: float) -> str:
        orbitals = int(np.sqrt(limit / (EIGH_ARRAYS * 2 * model.dtype.itemsize)))
        return f"{orbitals} orbitals; method 'chebyshev' of spectral functions takes larger cells"

    refuse_beyond(bytes_of_h(model), budget, f"the diagonalisation of {model.n_orbital} orbitals", fits)


def _unit(direction: ArrayLike, model: Model) -> jax.Array:
    d = jnp.asarray(direction, model.dtype)
    checks.shape_is("direction", d, (3,))
    return d / jnp.linalg.norm(d)


def _expansion(
    model: Model, k: jax.Array, d: jax.Array, degeneracy: float | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Energy, first and second derivative along d of every band at one k."""

    def along(t: jax.Array) -> jax.Array:
        return bloch_hamiltonian(model, k + t * d)

    def first(t: jax.Array) -> jax.Array:
        return jax.jvp(along, (t,), (jnp.ones_like(t),))[1]

    single = model.dtype == np.float32
    if degeneracy is None:
        degeneracy = 3e-4 if single else 1e-6
    zero = jnp.zeros((), model.dtype)
    h, (h1, h2) = along(zero), jax.jvp(first, (zero,), (jnp.ones_like(zero),))

    eps, u = eigh_once(h)
    gap = eps[:, None] - eps[None, :]
    same = jnp.abs(gap) < degeneracy
    velocity, u = _diagonalise_groups(u.conj().T @ h1 @ u, same, u)

    x = u.conj().T @ h1 @ u
    quotient = jnp.where(same, 0.0, 1.0 / jnp.where(same, 1.0, gap))
    second = u.conj().T @ h2 @ u + 2 * jnp.einsum("np,np,pm->nm", x, quotient, x)
    scale = jnp.maximum(1.0, jnp.max(jnp.abs(velocity)))
    alike = same & (jnp.abs(velocity[:, None] - velocity[None, :]) < (1e-3 if single else 1e-5) * scale)
    second = (second + second.conj().T) / 2  # equal up to the width of a group
    curvature, _ = _diagonalise_groups(second, alike, u)
    return eps, velocity, curvature


def _diagonalise_groups(matrix: jax.Array, same: jax.Array, u: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Eigenvalues of the diagonal blocks marked by `same`, in the order of the groups, and u turned accordingly."""
    start = jnp.argmax(same, axis=1)  # first member labels the group
    block = jnp.where(same, matrix, 0.0)
    apart = 4 * (1 + jnp.max(jnp.sum(jnp.abs(block), axis=1)))  # keeps the groups in order while they are diagonalised
    value, r = jnp.linalg.eigh(block + jnp.diag(start * apart).astype(matrix.dtype))
    return value - start * apart, u @ r
