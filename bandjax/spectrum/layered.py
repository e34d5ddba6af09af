"""Spectral functions of a block-tridiagonal Hamiltonian at a cost that grows with the number of layers.

With z = E − Σ(E) + iη a number for each energy, U_l = <l|H|l + 1> and Σ_sub the self-energy of what lies below the last
layer, elimination from the top gives the Green's function g_l of layer l without the layers below it, and
substitution from the bottom that of the whole stack:

    g_l = (z − H_l − S_l)⁻¹,     S_{l+1} = U_l† g_l U_l,     S_0 = 0      (Σ_sub is added to the last S)
    G_ll = g_l + g_l U_l G_{l+1,l+1} U_l† g_l.

Coherent amplitudes v are carried along: with y_{l+1} = v_{l+1} + U_l† g_l y_l and w†_{l+1} = v†_{l+1} + w†_l g_l U_l,

    v†Gv = Σ_l w†_l g_l y_l,     dA_v = −(1/π) Im [x̃†(dH + dΣ_sub − dz) x + dv† x + x̃† dv],   x = Gv,  x̃† = v†G,

so that all tangents are contractions with x and x̃, which one substitution gives.

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
        g = inverse(_matrix(z, block, s))
        gu = from_right(g, u)
        return from_left(dagger(u), gu), (g, gu)

    def substitute(below: jax.Array, layer: tuple) -> tuple:
        g, gu, u = layer
        whole = g + product(product(gu, below), from_left(dagger(u), g))
        return whole, _density(whole)

    s, (g, gu) = jax.lax.scan(eliminate, _nothing(diagonal, z), (diagonal[:-1], upper))
    last = inverse(_matrix(z, diagonal[-1], s if substrate is None else s + substrate))
    _, spectra = jax.lax.scan(substitute, last, (g, gu, upper), reverse=True)
    return jnp.concatenate([spectra, _density(last)[None]])


_resolved = jax.custom_jvp(_sweeps)


@_resolved.defjvp
def _resolved_jvp(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    return jax.jvp(_sweeps, once_only(primals), tangents)


def coherent_spectra(
    h: LayeredHamiltonian, v: jax.Array, x: jax.Array, gamma: jax.Array, substrate: jax.Array | None = None
) -> jax.Array:
    """A_v = −(1/π) Im v†Gv of amplitudes over all layers, by one elimination; differentiable in all arguments.

    Args:
        h, x, gamma, substrate: As in `layer_spectra`.
        v: Amplitudes, real or complex, shape (amplitude, layer, n) or, where they depend on energy,
            (amplitude, layer, n, energy); 0 where padded.

    Returns:
        1/eV (times the unit of |v|²), shape (amplitude, energy).
    """
    v = v.astype(h.diagonal.dtype)
    v = v[..., None] if v.ndim == 3 else v
    return _coherent(h.diagonal, h.upper, jnp.swapaxes(v, 0, 1), x, gamma, substrate)


@jax.custom_jvp
def _coherent(diagonal, upper, v, x, gamma, substrate):
    """v has shape (layer, amplitude, n, energy or 1)."""
    total, _ = _eliminate(diagonal, upper, v, jax.lax.complex(x, gamma), substrate, keep=False)
    return -total.imag / np.pi


@_coherent.defjvp
def _coherent_jvp(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    diagonal, upper, v, x, gamma, substrate = once_only(primals)
    d_diagonal, d_upper, dv, dx, dgamma, d_substrate = tangents
    total, (g, y, w) = _eliminate(diagonal, upper, v, jax.lax.complex(x, gamma), substrate, keep=True)

    def substitute(below: tuple, layer: tuple) -> tuple:
        ket, bra = below  # x and x̃† of the layer below
        g, y, w, u = layer
        ket = _apply(g, y + _apply(u[..., None], ket))
        bra = _apply_left(w + _apply_left(bra, dagger(u)[..., None]), g)
        return (ket, bra), (ket, bra)

    end = _apply(g[-1], y[-1]), _apply_left(w[-1], g[-1])
    _, above = jax.lax.scan(substitute, end, (g[:-1], y[:-1], w[:-1], upper), reverse=True)
    ket, bra = (jnp.concatenate([a, e[None]]) for a, e in zip(above, end, strict=True))  # (layer, amplitude, n, energy)

    d_ket = _act(d_diagonal, ket) + dv
    d_ket = d_ket.at[:-1].add(_act(d_upper, ket[1:])).at[1:].add(_act(jnp.swapaxes(d_upper, 1, 2).conj(), ket[:-1]))
    if substrate is not None:
        d_ket = d_ket.at[-1].add(_apply(d_substrate, ket[-1]))
    change = jnp.sum(bra * d_ket, axis=(0, 2)) + jnp.sum(dv.conj() * ket, axis=(0, 2))
    change -= jnp.sum(bra * ket, axis=(0, 2)) * jax.lax.complex(dx, dgamma)
    return -total.imag / np.pi, -change.imag / np.pi


def _eliminate(diagonal, upper, v, z, substrate, *, keep: bool) -> tuple:
    """v†Gv (amplitude, energy), and where it is kept g, y and w† of every layer."""

    def step(carry: tuple, layer: tuple) -> tuple:
        s, y, w, total = carry
        block, u, v_next = layer
        g = inverse(_matrix(z, block, s))
        gy = _apply(g, y)
        total += jnp.sum(w * gy, axis=1)
        u_dagger = dagger(u)
        carry = (
            from_right(from_left(u_dagger, g), u),
            v_next + _apply(u_dagger[..., None], gy),
            v_next.conj() + _apply_left(_apply_left(w, g), u[..., None]),
            total,
        )
        return carry, (g, y, w) if keep else None

    n = diagonal.shape[1]
    y = jnp.broadcast_to(v[0], (v.shape[1], n, z.size))
    start = (jnp.zeros((n, n, z.size), z.dtype), y, y.conj(), jnp.zeros((v.shape[1], z.size), z.dtype))
    (s, y, w, total), kept = jax.lax.scan(step, start, (diagonal[:-1], upper, v[1:]))
    g = inverse(_matrix(z, diagonal[-1], s if substrate is None else s + substrate))
    total += jnp.sum(w * _apply(g, y), axis=1)
    if keep:
        kept = tuple(jnp.concatenate([a, last[None]]) for a, last in zip(kept, (g, y, w), strict=True))
    return total, kept


def _matrix(z: jax.Array, block: jax.Array, s: jax.Array) -> jax.Array:
    """z − H_l − S_l, (n, n, energy)."""
    return z * jnp.eye(block.shape[0], dtype=block.dtype)[:, :, None] - block[:, :, None] - s


def _nothing(diagonal: jax.Array, z: jax.Array) -> jax.Array:
    n = diagonal.shape[1]
    return jnp.zeros((n, n, z.size), diagonal.dtype)


def _density(g: jax.Array) -> jax.Array:
    """−(1/π) Im of the diagonal, (n, energy) of (n, n, energy); as a sum, whose transpose is no scatter."""
    return jnp.sum(g.imag * jnp.eye(g.shape[0], dtype=g.real.dtype)[:, :, None], axis=1) / -np.pi


def _apply(g: jax.Array, y: jax.Array) -> jax.Array:
    """g y: (i, j, energy), (amplitude, j, energy) -> (amplitude, i, energy)."""
    return jnp.sum(g[None] * y[:, None], axis=2)


def _apply_left(w: jax.Array, g: jax.Array) -> jax.Array:
    """w g: (amplitude, i, energy), (i, j, energy) -> (amplitude, j, energy)."""
    return jnp.sum(w[:, :, None] * g[None], axis=1)


def _act(blocks: jax.Array, ket: jax.Array) -> jax.Array:
    """One block a layer, (layer, i, j), on (layer, amplitude, j, energy)."""
    return jnp.einsum("lij,lvje->lvie", blocks, ket, precision="highest")
