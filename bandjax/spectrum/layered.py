"""Spectral functions of a block-tridiagonal Hamiltonian at a cost that grows with the number of layers.

With z = E − Σ(E) + iη a number for each energy, U_l = <l|H|l + 1> and Σ_sub the self-energy of what lies below the last
layer, elimination from the top gives the Green's function g_l of layer l without the layers below it, and
substitution from the bottom that of the whole stack:

    g_l = (z − H_l − S_l)⁻¹,     S_{l+1} = U_l† g_l U_l,     S_0 = 0      (Σ_sub is added to the last S)
    G_ll = g_l + g_l U_l G_{l+1,l+1} U_l† g_l.

First derivatives only, as on every route: a second one raises TypeError.

Source: recursive Green's functions as in C. H. Lewenkopf, E. R. Mucciolo, J. Comput. Electron. 12, 203 (2013) (after).
"""

import jax
import jax.numpy as jnp
import numpy as np

from bandjax.hamiltonian import LayeredHamiltonian
from bandjax.spectrum.lorentzians import once_only
from bandjax.spectrum.small_matrices import dagger, from_left, from_right, inverse, product


def layer_spectra(
    h: LayeredHamiltonian, x: jax.Array, gamma: jax.Array, substrate: jax.Array | None = None
) -> jax.Array:
    """A of every orbital, −(1/π) Im G_ll, by elimination and substitution; differentiable in all arguments.

    Args:
        h: Layered Hamiltonian at one wave vector, eV; a closing block is left out (a free stack).
        x: Energies minus the real part of a scalar self-energy, eV, shape (energy,).
        gamma: Half widths η − Im Σ in eV, > 0, shape (energy,).
        substrate: Self-energy on the last layer in eV, complex, (n, n, energy); see `surface.substrate_self_energy`.

    Returns:
        1/eV, shape (layer, n, energy); padded rows hold the Lorentzian of a level at 0.
    """
    return _resolved(h.diagonal, h.upper, x, gamma, substrate)


def _sweeps(diagonal, upper, x, gamma, substrate):
    z = jax.lax.complex(x, gamma)

    def eliminate(s: jax.Array, layer: tuple) -> tuple:
        block, u = layer
        g = inverse(matrix_of(z, block, s))
        gu = from_right(g, u)
        return from_left(dagger(u), gu), (g, gu)

    def substitute(below: jax.Array, layer: tuple) -> tuple:
        g, gu, u = layer
        whole = g + product(product(gu, below), from_left(dagger(u), g))
        return whole, density(whole)

    s, (g, gu) = jax.lax.scan(eliminate, _nothing(diagonal, z), (diagonal[:-1], upper))
    last = inverse(matrix_of(z, diagonal[-1], s if substrate is None else s + substrate))
    _, spectra = jax.lax.scan(substitute, last, (g, gu, upper), reverse=True)
    return jnp.concatenate([spectra, density(last)[None]])


_resolved = jax.custom_jvp(_sweeps)


@_resolved.defjvp
def _resolved_jvp(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    return jax.jvp(_sweeps, once_only(primals), tangents)


def matrix_of(z: jax.Array, block: jax.Array, s: jax.Array) -> jax.Array:
    """z − H_l − S_l, (n, n, energy)."""
    return z * jnp.eye(block.shape[0], dtype=block.dtype)[:, :, None] - block[:, :, None] - s


def _nothing(diagonal: jax.Array, z: jax.Array) -> jax.Array:
    n = diagonal.shape[1]
    return jnp.zeros((n, n, z.size), diagonal.dtype)


def density(g: jax.Array) -> jax.Array:
    """−(1/π) Im of the diagonal, (n, energy) of (n, n, energy); as a sum, whose transpose is no scatter."""
    return jnp.sum(g.imag * jnp.eye(g.shape[0], dtype=g.real.dtype)[:, :, None], axis=1) / -np.pi
