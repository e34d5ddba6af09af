"""From what the analyser measures (angles, energies) to the electron's wave vector in the crystal.

Laboratory frame: z is the outward surface normal, x lies along the slit. With emission angles θ (along the slit) and
δ (deflector, across it), polar angle p and tilt t (the θ and δ at which normal emission appears),

    K = 0.512317 √E_kin,   E_kin = hν − φ + (E − E_F),      K_lab = K R_x(t) R_y(−p) (sin θ cos δ, sin δ, cos θ cos δ)

Behind the surface step V0 the parallel part is kept and k_z = √(K² + 2mV0/ħ² − K∥²). The photon brings its momentum
q = −(hν/ħc)(sin α cos ψ, sin α sin ψ, cos α) for light that comes in at α from the normal, from the direction ψ (from
x): the band's wave vector is K_inside − q.

Source: S. Hüfner, Photoelectron Spectroscopy, ch. 1 and 6 (after).
"""

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from bandjax.units import HBAR_C, K_PER_SQRT_EV


def wave_number(kinetic_energy: jax.Array) -> jax.Array:
    """|K| in 1/Å of a free electron with that kinetic energy in eV."""
    return K_PER_SQRT_EV * jnp.sqrt(kinetic_energy)


def photon_momentum(photon_energy: jax.Array, incidence: jax.Array, incidence_azimuth: jax.Array) -> jax.Array:
    """q in 1/Å in the laboratory frame, shape (3,); angles in degrees."""
    alpha, psi = jnp.deg2rad(incidence), jnp.deg2rad(incidence_azimuth)
    direction = jnp.stack([jnp.sin(alpha) * jnp.cos(psi), jnp.sin(alpha) * jnp.sin(psi), jnp.cos(alpha)])
    return -photon_energy / HBAR_C * direction


def emission_momentum(
    kinetic_energy: jax.Array, angle: jax.Array, deflector: jax.Array, polar: jax.Array, tilt: jax.Array
) -> jax.Array:
    """Parallel wave vector outside the crystal, (…, 2) in 1/Å, of electrons that leave at those angles (degrees)."""
    theta, delta, p, t = (jnp.deg2rad(x) for x in (angle, deflector, polar, tilt))
    k = wave_number(kinetic_energy)
    x, y, z = jnp.sin(theta) * jnp.cos(delta), jnp.sin(delta), jnp.cos(theta) * jnp.cos(delta)
    x, z = x * jnp.cos(p) - z * jnp.sin(p), x * jnp.sin(p) + z * jnp.cos(p)
    y = y * jnp.cos(t) - z * jnp.sin(t)
    return jnp.stack(jnp.broadcast_arrays(k * x, k * y), axis=-1)


def emission_angle(
    kinetic_energy: jax.Array, kx: jax.Array, ky: jax.Array, polar: jax.Array, tilt: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The inverse of `emission_momentum`: slit and deflector angle in degrees of an electron with K∥ = (kx, ky)."""
    k = wave_number(kinetic_energy)
    x, y = kx / k, ky / k
    z = jnp.sqrt(1 - x**2 - y**2)
    p, t = jnp.deg2rad(polar), jnp.deg2rad(tilt)
    y, z = y * jnp.cos(t) + z * jnp.sin(t), z * jnp.cos(t) - y * jnp.sin(t)
    x, z = x * jnp.cos(p) + z * jnp.sin(p), z * jnp.cos(p) - x * jnp.sin(p)
    return jnp.rad2deg(jnp.arctan2(x, z)), jnp.rad2deg(jnp.arcsin(y))


def perpendicular_momentum(kinetic_energy: jax.Array, parallel: jax.Array, inner_potential: jax.Array) -> jax.Array:
    """k_z in 1/Å inside the crystal of an electron with parallel wave vector (…, 2) outside."""
    inside = wave_number(kinetic_energy) ** 2 + K_PER_SQRT_EV**2 * inner_potential - (parallel**2).sum(axis=-1)
    return jnp.sqrt(inside)


def laboratory_rotation(surface: ArrayLike, slit: ArrayLike) -> np.ndarray:
    """Rotation matrix from crystal to laboratory axes, shape (3, 3): rows are x, y, z in the crystal's axes.

    Args:
        surface: Outward normal in the crystal's Cartesian axes (for a cubic crystal its Miller indices), shape (3,).
        slit: Direction of the slit at azimuth 0; its part normal to `surface` is dropped, shape (3,).

    Raises:
        ValueError: one of them is zero or both are parallel.
    """
    z, x = np.asarray(surface, float), np.asarray(slit, float)
    if z.shape != (3,) or not np.linalg.norm(z) > 0:
        raise ValueError(f"Argument `surface` must be a direction of three numbers, not all 0, but is {surface}.")
    z = z / np.linalg.norm(z)
    if x.shape != (3,) or not np.linalg.norm(x - (x @ z) * z) > 1e-9:
        raise ValueError(
            f"Argument `slit` must be a direction of three numbers not along the surface normal, but is {slit}."
        )
    x = x - (x @ z) * z
    x = x / np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z])


def azimuth_rotation(azimuth: jax.Array) -> jax.Array:
    """Rotation of the sample about the surface normal by that many degrees (counter-clockwise seen from outside)."""
    c, s = jnp.cos(jnp.deg2rad(azimuth)), jnp.sin(jnp.deg2rad(azimuth))
    zero, one = jnp.zeros_like(c), jnp.ones_like(c)
    return jnp.stack([jnp.stack([c, -s, zero]), jnp.stack([s, c, zero]), jnp.stack([zero, zero, one])])
