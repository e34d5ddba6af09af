"""Background of an image: polynomial, step and Shirley-like terms, in counts.

    B(E) = b0 + b1 |E| + b2 E² + step · s((E_step − E)/w) + shirley ∫_E^∞ signal dE'        (E − E_F ≤ 0 below the edge)

The polynomial and the step end at the Fermi level's far side like the data do: b0 is there everywhere, the growing
terms start at E_F. Source of the integral term: D. A. Shirley, Phys. Rev. B 5, 4709 (1972) (after).
"""

import jax
import jax.numpy as jnp

from bandjax.photoemission.instrument import Instrument
from bandjax.units import FWHM_PER_SIGMA


def background(instrument: Instrument, energy: jax.Array, bright: jax.Array) -> jax.Array:
    """Background in counts for the signal `bright` (counts; …, energy), same shape."""
    below = jnp.maximum(-energy, 0.0)
    smooth = instrument.background + instrument.background_linear * below + instrument.background_quadratic * below**2
    step = instrument.step * step_shape(energy, instrument.step_energy, instrument.step_fwhm)
    spacing = jnp.gradient(energy) if energy.size > 1 else jnp.ones_like(energy)
    above = jnp.cumsum((bright * spacing)[..., ::-1], axis=-1)[..., ::-1] - 0.5 * bright * spacing
    return smooth + step + instrument.shirley * above


def step_shape(energy: jax.Array, position: jax.Array, fwhm: jax.Array) -> jax.Array:
    """A step from 0 above to 1 below `position`, an error function whose slope has that full width."""
    sigma = fwhm / FWHM_PER_SIGMA
    return 0.5 * jax.scipy.special.erfc((energy - position) / (jnp.sqrt(2.0) * sigma))
