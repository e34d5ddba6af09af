"""Electrostatic potentials along the surface normal z, in eV on each atom, for `tight_binding(…, potential=…)`.

A positive value raises the energies of the electrons. Depths count from the topmost atom downwards. Everything may be
traced, so that band bending can be fitted; any other profile is an array of the same shape.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from bandjax import checks


def depth_below_surface(positions: ArrayLike) -> jax.Array:
    """Depth in Å below the topmost atom, shape (atom,), for positions in Å, shape (atom, 3)."""
    checks.shape_is("positions", positions, ("atom", 3))
    z = jnp.asarray(positions)[:, 2]
    return jnp.max(z) - z


def linear_potential(depth: ArrayLike, at_surface: ArrayLike, length: ArrayLike) -> jax.Array:
    """V(z) = V0 (1 − z/L) down to the depth L, and 0 below.

    Args:
        depth: Depth z in Å, any shape.
        at_surface: V0 in eV.
        length: L in Å, > 0.

    Raises:
        ValueError: `length` is a number ≤ 0.
    """
    checks.positive("length", length, "Å")
    return at_surface * jnp.maximum(1 - jnp.asarray(depth) / length, 0.0)


def exponential_potential(depth: ArrayLike, at_surface: ArrayLike, length: ArrayLike) -> jax.Array:
    """V(z) = V0 exp(−z/L), the band bending of a surface with screening length L.

    Args:
        depth: Depth z in Å, any shape.
        at_surface: V0 in eV.
        length: L in Å, > 0.

    Raises:
        ValueError: `length` is a number ≤ 0.
    """
    checks.positive("length", length, "Å")
    return at_surface * jnp.exp(-jnp.asarray(depth) / length)
