"""Energies and half widths as the Green's functions take them: z − H with z = E − Σ(E) + iη."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bandjax import checks
from bandjax.hamiltonian import Model

SelfEnergy = ArrayLike | Callable[[jax.Array], jax.Array] | None


def shifted_energies(
    model: Model, energy: jax.Array, eta: ArrayLike, self_energy: SelfEnergy
) -> tuple[jax.Array, jax.Array]:
    """E − Re Σ and η − Im Σ in eV, shape (energy,).

    Raises:
        ValueError: Im Σ > 0.
    """
    sigma = jnp.zeros((), jnp.result_type(energy.dtype, jnp.complex64))
    if self_energy is not None:
        sigma = self_energy(energy) if callable(self_energy) else jnp.asarray(self_energy)
    sigma = jnp.broadcast_to(sigma, energy.shape).astype(jnp.result_type(energy.dtype, jnp.complex64))
    if checks.is_concrete(sigma) and np.any(np.imag(sigma) > 0):
        raise ValueError(
            f"Argument `self_energy` must have an imaginary part ≤ 0, but it reaches {np.imag(sigma).max():g} eV."
        )
    x = (energy - sigma.real).astype(model.dtype)
    return x, jnp.broadcast_to(jnp.asarray(eta) - sigma.imag, energy.shape).astype(model.dtype)
