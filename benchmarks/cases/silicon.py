"""The crystal, wave vectors and baseline that the cases share: bulk Si, sp3s* of Vogl."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from bandjax.hamiltonian import Model, bloch_hamiltonian, tight_binding
from bandjax.materials import Table, load_parameters
from bandjax.structure import zincblende

A = 5.431  # Å
ENERGY_WINDOW = (-13.0, 7.0)  # eV, on the table's scale
ETA = 0.1  # eV
LAPACK = "numpy LAPACK eigh, H given"
ATOMS = zincblende("Si", A)


def table(dtype: str = "float64") -> Table:
    """Vogl's values of Si."""
    return jax.tree.map(lambda v: jnp.asarray(v, dtype), load_parameters("Si", "vogl1983"))


@partial(jax.jit, static_argnames=("spin_orbit",))
def model(values: Table, *, spin_orbit: bool = False) -> Model:
    """10 orbitals, or 20 with spin-orbit."""
    return tight_binding(ATOMS, values, spin_orbit=spin_orbit)


def wave_vectors(count: int, dtype: str = "float64") -> jax.Array:
    """Γ, X, L, points along Δ and Λ (degenerate levels), and then random ones; (k, 3) in 1/Å."""
    special = [(0, 0, 0), (1, 0, 0), (0.5, 0.5, 0.5), (0.3, 0, 0), (0, 0, 0.7), (0.2, 0.2, 0.2), (0.4, -0.4, 0.4)]
    random = np.random.default_rng(0).uniform(-1, 1, (count, 3))  # a shorter list is the start of a longer one
    random[: min(count, len(special))] = special[:count]
    return jnp.asarray(2 * np.pi / A * random, dtype)


def energies(count: int, dtype: str = "float64") -> jax.Array:
    """Energies in eV on the table's scale."""
    return jnp.linspace(*ENERGY_WINDOW, count, dtype=dtype)


def stack(of: Model, k: jax.Array) -> np.ndarray:
    """H of all wave vectors as a numpy array, (k, orbital, orbital)."""
    return np.asarray(jax.jit(lambda of, k: jax.vmap(lambda q: bloch_hamiltonian(of, q))(k))(of, k))


def lapack(of: Model, k: jax.Array) -> Callable[[], object]:
    """The baseline: eigenvalues and eigenvectors of the given stack by LAPACK through numpy."""
    h = stack(of, k)
    return lambda: np.linalg.eigh(h)


def relative(found: object, expected: object) -> float:
    """Largest deviation of two pytrees in units of the largest expected number; infinite where that is zero."""
    worst, scale = 0.0, 0.0
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        worst = max(worst, float(np.abs(np.asarray(a) - np.asarray(b)).max()))
        scale = max(scale, float(np.abs(np.asarray(b)).max()))
    return worst / scale if scale > 0 else float("inf")
