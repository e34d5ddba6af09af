"""Fermi edge and Gaussian resolution."""

import jax
import jax.numpy as jnp
import numpy as np

from bandjax.checks import is_concrete
from bandjax.units import BOLTZMANN


def fermi_dirac(energy: jax.Array, temperature: jax.Array) -> jax.Array:
    """Occupation at energies E − E_F in eV; a step at temperature 0 (K), one half at E_F."""
    thermal = jnp.maximum(BOLTZMANN * jnp.asarray(temperature, energy.dtype), 1e-9)
    return jax.nn.sigmoid(-energy / thermal)


def gaussian_kernel(distance: jax.Array, sigma: jax.Array) -> jax.Array:
    """exp(−d²/2σ²), not normalised; σ is kept above 1e-12 so that σ = 0 is the limit of a sharp kernel."""
    return jnp.exp(-0.5 * (distance / jnp.maximum(sigma, 1e-12)) ** 2)


def gaussian_matrix(pixel: jax.Array, source: jax.Array, sigma: jax.Array) -> jax.Array:
    """Matrix (pixel, source) that averages samples at `source` with a Gaussian around each pixel.

    Rows are normalised, so that a constant stays constant at the ends; uneven steps are weighted by their length.
    """
    if source.size == 1:
        return jnp.ones((pixel.size, 1), pixel.dtype)
    length = jnp.asarray(np.gradient(np.asarray(source)) if is_concrete(source) else jnp.gradient(source))
    # a σ far below the pixel step would leave only rounding: the nearest pixel then keeps the weight
    weight = gaussian_kernel(pixel[:, None] - source[None, :], jnp.maximum(sigma, 1e-3 * jnp.min(length))) * length
    return weight / weight.sum(axis=1, keepdims=True)
