"""Spectral functions of layers between two crystals that go on without end: no surface, no mean over k_z.

Elimination from both sides gives every layer the self-energies of all that lies above and below it,

    S_{l+1} = U_l† (z − H_l − S_l)⁻¹ U_l,     T_l = U_l (z − H_{l+1} − T_{l+1})⁻¹ U_l†,     G_ll = (z − H_l − S_l − T_l)⁻¹,

and decimation (`surface.py`) begins both with those of the two crystals, whose units are the first and the last layers. A
superlattice is a stack that both its crystals continue; G_ll is then its mean over k_z.
"""

import jax
import jax.numpy as jnp

from bandjax.hamiltonian import LayeredHamiltonian
from bandjax.spectrum.layered import density, matrix_of
from bandjax.spectrum.small_matrices import dagger, from_left, from_right, inverse
from bandjax.spectrum.surface import substrate_self_energy

DOUBLINGS = 12  # 4096 units: deeper than states reach for η > 0.01 eV


def embedded_spectra(
    h: LayeredHamiltonian, period: int, x: jax.Array, gamma: jax.Array, *, doublings: int = DOUBLINGS
) -> jax.Array:
    """A of every orbital of layers between two half-crystals; differentiable in all arguments.

    Args:
        h: One wave vector, eV, (layer, n, n). The first `period` layers are the unit of the crystal above and the last
            ones that of the crystal below. `closing` couples the last layer of a unit to the first layer of the next: (n, n)
            for both crystals, or (2, n, n) for the one above and the one below.
        period: Layers of a unit, at least 2.
        x, gamma, doublings: As in `surface.surface_and_bulk_green`.

    Returns:
        1/eV, shape (layer, n, energy).

    Raises:
        ValueError: there is no closing block, or there are fewer layers than a unit has.
    """
    count = len(h.diagonal)
    if h.closing is None or not 2 <= period <= count:
        raise ValueError(f"Argument `period` must be from 2 to {count}, with a closing block, but is {period!r}.")
    above, below = h.closing if h.closing.ndim == 3 else (h.closing, h.closing)
    top = LayeredHamiltonian(  # upside down
        h.diagonal[:period][::-1], jax.vmap(dagger)(h.upper[: period - 1])[::-1], dagger(above)
    )
    bottom = LayeredHamiltonian(h.diagonal[-period:], h.upper[count - period :], below)
    s = substrate_self_energy(top, dagger(above), x, gamma, doublings=doublings)
    t = substrate_self_energy(bottom, below, x, gamma, doublings=doublings)
    z = jax.lax.complex(x, gamma)

    def down(s: jax.Array, layer: tuple) -> tuple:
        block, u = layer
        return from_left(dagger(u), from_right(inverse(matrix_of(z, block, s)), u)), s

    def up(t: jax.Array, layer: tuple) -> tuple:
        block, u, s = layer
        seen = density(inverse(matrix_of(z, block, s + t)))
        return from_left(u, from_right(inverse(matrix_of(z, block, t)), dagger(u))), seen

    last, before = jax.lax.scan(down, s, (h.diagonal[:-1], h.upper))
    s = jnp.concatenate([before, last[None]])
    lowest = density(inverse(matrix_of(z, h.diagonal[-1], s[-1] + t)))
    t = from_left(h.upper[-1], from_right(inverse(matrix_of(z, h.diagonal[-1], t)), dagger(h.upper[-1])))
    over = jnp.concatenate([above[None], h.upper[:-1]])  # what couples a layer to the one above it
    _, seen = jax.lax.scan(up, t, (h.diagonal[:-1], over, s[:-1]), reverse=True)
    return jnp.concatenate([seen, lowest[None]])
