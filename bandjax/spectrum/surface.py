"""Semi-infinite crystals and superlattices by decimation.

A unit of P layers that repeats downwards without end is first reduced to its layer 0 (the layers between are
eliminated), which leaves a chain with energy-dependent blocks ε, α = <0|H|0'>, β = <0'|H|0> and ε_s at the end. Each
step then eliminates every other site of the chain,

    g = (z − ε)⁻¹,   ε_s ← ε_s + α g β,   ε ← ε + α g β + β g α,   α ← α g α,   β ← β g β,

so that N steps reach 2^N units deep, until α and β have vanished: G_surface = (z − ε_s)⁻¹, G_bulk = (z − ε)⁻¹. The number
of steps is fixed, and derivatives go through them.

Source: M. P. López Sancho, J. M. López Sancho, J. Rubio, J. Phys. F 15, 851 (1985) (after).
"""

import jax
import jax.numpy as jnp

from bandjax.hamiltonian import LayeredHamiltonian
from bandjax.spectrum.small_matrices import dagger, from_left, from_right, inverse, product

DOUBLINGS = 20
"""2^20 units: with a bandwidth of 20 eV α has vanished for every η > 1e-3 eV; further steps change nothing."""


def surface_and_bulk_green(
    unit: LayeredHamiltonian, x: jax.Array, gamma: jax.Array, *, doublings: int = DOUBLINGS
) -> tuple[jax.Array, jax.Array]:
    """G of layer 0 of a unit that repeats downwards only (its surface), and of one that repeats both ways (the bulk).

    Args:
        unit: Layers of the unit with its closing block, at one wave vector along the surface; see `repeating_unit`.
        x: Energies minus the real part of a scalar self-energy, eV, shape (energy,).
        gamma: Half widths η − Im Σ in eV, > 0, shape (energy,).
        doublings: Number of steps; 2^doublings units must be deeper than states reach within the half width.

    Returns:
        Two arrays in 1/eV, complex, shape (n, n, energy); differentiable in all arguments.

    Raises:
        ValueError: the unit has no closing block.
    """
    if unit.closing is None:
        raise ValueError("Argument `unit` must repeat (see `repeating_unit`), but has no closing block.")
    z = jax.lax.complex(x, gamma)
    z_matrix = z * jnp.eye(unit.closing.shape[0], dtype=z.dtype)[:, :, None]

    def double(chain: tuple, _: None) -> tuple:
        surface, bulk, alpha, beta = chain
        g = inverse(z_matrix - bulk)
        ag, bg = product(alpha, g), product(beta, g)
        down = product(ag, beta)
        return (surface + down, bulk + down + product(bg, alpha), product(ag, alpha), product(bg, beta)), None

    (surface, bulk, _, _), _ = jax.lax.scan(double, _chain(unit, z_matrix), length=doublings)
    return inverse(z_matrix - surface), inverse(z_matrix - bulk)


def substrate_self_energy(
    unit: LayeredHamiltonian, coupling: jax.Array, x: jax.Array, gamma: jax.Array, *, doublings: int = DOUBLINGS
) -> jax.Array:
    """Self-energy U G_surface U† that a semi-infinite crystal gives the layer above it, eV, (n, n, energy).

    Args:
        unit, x, gamma, doublings: As in `surface_and_bulk_green`.
        coupling: U = <layer above|H|layer 0 of the unit> in eV, (n, n); `unit.closing` where the crystal just goes on.
    """
    surface, _ = surface_and_bulk_green(unit, x, gamma, doublings=doublings)
    return from_right(from_left(coupling, surface), dagger(coupling))


def _chain(unit: LayeredHamiltonian, z_matrix: jax.Array) -> tuple:
    """ε_s, ε, α, β of the chain of layers 0, each (n, n, energy)."""
    diagonal, upper, closing = unit
    shape = z_matrix.shape
    if len(diagonal) == 1:
        eps, alpha, beta = (jnp.broadcast_to(b[:, :, None], shape) for b in (diagonal[0], closing, dagger(closing)))
        return eps, eps, alpha, beta

    def add_layer(corners: tuple, layer: tuple) -> tuple:
        first, right, left, last = corners  # G_11, G_1N, G_N1, G_NN of the layers between
        block, u = layer
        right, left = from_right(right, u), from_left(dagger(u), left)
        g = inverse(z_matrix - block[:, :, None] - from_right(from_left(dagger(u), last), u))
        right_g = product(right, g)
        return (first + product(right_g, left), right_g, product(g, left), g), None

    g = inverse(z_matrix - diagonal[1][:, :, None])
    (first, right, left, last), _ = jax.lax.scan(add_layer, (g, g, g, g), (diagonal[2:], upper[1:]))
    down, up = upper[0], dagger(upper[0])
    surface = diagonal[0][:, :, None] + from_right(from_left(down, first), up)
    bulk = surface + from_right(from_left(dagger(closing), last), closing)
    alpha = from_right(from_left(down, right), closing)
    beta = from_right(from_left(dagger(closing), left), up)
    return surface, bulk, alpha, beta
