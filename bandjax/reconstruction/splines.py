"""Cubic splines along the energy, one a pixel: value and two derivatives at any energy, exact derivatives of one another."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.ndimage import spline_filter1d


class Spline(NamedTuple):
    """Cubic B-spline on equidistant energies.

    Attributes:
        coefficients: (nx, ny, energy + 2): one more than the energies at either end.
        first: Lowest energy in eV.
        step: Distance of the energies in eV.
    """

    coefficients: jax.Array
    first: jax.Array
    step: jax.Array


def spline(values: np.ndarray, energy: np.ndarray) -> Spline:
    """The spline through values (nx, ny, energy) on equidistant energies, mirrored at both ends."""
    inner = spline_filter1d(values, 3, axis=-1, output=values.dtype, mode="mirror")
    padded = np.concatenate([inner[..., 1:2], inner, inner[..., -2:-1]], axis=-1)
    dtype = values.dtype.type
    return Spline(jnp.asarray(padded), jnp.asarray(dtype(energy[0])), jnp.asarray(dtype((energy[-1] - energy[0]) / (energy.size - 1))))  # fmt: skip


def evaluate(s: Spline, at: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Value, first and second derivative in the energy at energies (band, nx, ny).

    Outside the window the value goes on as its edge value minus half the squared distance in steps, so that a maximum is
    never there.
    """
    count = s.coefficients.shape[-1] - 2
    place = (at - s.first) / s.step
    inside = jnp.clip(place, 0.0, count - 1.0)
    beyond = place - inside
    low = jnp.clip(jnp.floor(inside), 0, count - 2).astype(int)
    t = inside - low
    taps = jnp.moveaxis(low, 0, -1)
    four = [jnp.moveaxis(jnp.take_along_axis(s.coefficients, taps + i, axis=-1), -1, 0) for i in range(4)]
    u = 1 - t
    # The four pieces of the cubic B-spline and their derivatives in t
    basis = (u**3 / 6, (3 * t**3 - 6 * t**2 + 4) / 6, (3 * u**3 - 6 * u**2 + 4) / 6, t**3 / 6)
    slope = (-(u**2) / 2, (3 * t**2 - 4 * t) / 2, -(3 * u**2 - 4 * u) / 2, t**2 / 2)
    bend = (u, 3 * t - 2, 3 * u - 2, t)
    value, first, second = (sum(c * b for c, b in zip(four, w, strict=True)) for w in (basis, slope, bend))
    value = value - 0.5 * beyond**2
    out = beyond != 0
    first = jnp.where(out, -beyond, first)
    second = jnp.where(out, -1.0, second)
    return value, first / s.step, second / s.step**2
