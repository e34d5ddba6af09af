"""Spectral functions of amplitudes that reach over many layers, by one elimination from the top.

With g_l of `layered`, amplitudes v are carried along: y_{l+1} = v_{l+1} + U_l† g_l y_l and w†_{l+1} = v†_{l+1} + w†_l g_l U_l,

    v†Gv = Σ_l w†_l g_l y_l,     dA_v = −(1/π) Im [x̃†(dH + dΣ_sub − dz) x + dv† x + x̃† dv],   x = Gv,  x̃† = v†G,

so that all tangents are contractions with x and x̃, which one substitution gives. Where v is that of photoemission,

    v_o(E) = M_κ(o)(E) exp(−z_o/2λ − i k_z(E) z_o)      (orbital o of kind κ at depth z_o; the phase is the gauge of H(k∥, k_z)),

the tangents of v are those of few numbers, and x, x̃ are contracted with v first (`emission_spectra`).

Source: recursive Green's functions as in C. H. Lewenkopf, E. R. Mucciolo, J. Comput. Electron. 12, 203 (2013) (after).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bandjax.hamiltonian import LayeredHamiltonian
from bandjax.spectrum.layered import matrix_of
from bandjax.spectrum.lorentzians import once_only
from bandjax.spectrum.small_matrices import dagger, from_left, from_right, inverse


class Emission(NamedTuple):
    """Amplitudes of photoelectrons over the layers of a stack, factorised.

    Attributes:
        element: M of each kind of orbital, complex, (amplitude, kind, energy).
        share: Part of each kind in each row (1 and 0 where rows are of one kind; 0 where padded), (kind, layer, n).
        depth: z of each row, Å, (layer, n).
        decay: 1/2λ in 1/Å, λ the attenuation length of the intensity.
        kz: Wave vector along the normal inside, 1/Å, (energy,).
    """

    element: jax.Array
    share: jax.Array
    depth: jax.Array
    decay: jax.Array
    kz: jax.Array


def coherent_spectra(
    h: LayeredHamiltonian, v: jax.Array, x: jax.Array, gamma: jax.Array, substrate: jax.Array | None = None
) -> jax.Array:
    """Σ_v A_v = −(1/π) Im Σ_v v†Gv of amplitudes over all layers, by one elimination; differentiable in all arguments.

    Args:
        h, x, gamma, substrate: As in `layer_spectra`.
        v: Amplitudes, real or complex, shape (amplitude, layer, n) or, where they depend on energy,
            (amplitude, layer, n, energy); 0 where padded.

    Returns:
        1/eV (times the unit of |v|²), shape (energy,).
    """
    v = v.astype(h.diagonal.dtype)
    v = v[..., None] if v.ndim == 3 else v
    return _coherent(h.diagonal, h.upper, jnp.swapaxes(v, 0, 1), x, gamma, substrate)


def emission_spectra(
    h: LayeredHamiltonian, emission: Emission, x: jax.Array, gamma: jax.Array, substrate: jax.Array | None = None
) -> jax.Array:
    """`coherent_spectra` of factorised amplitudes, whose many tangents then cost little; (energy,)."""
    return _emitted(h.diagonal, h.upper, emission, x, gamma, substrate)


@jax.custom_jvp
def _coherent(diagonal, upper, v, x, gamma, substrate):
    """v has shape (layer, amplitude, n, energy or 1)."""
    total, _ = _eliminate(diagonal, upper, v, jax.lax.complex(x, gamma), substrate, keep=False)
    return -total.imag / np.pi


@_coherent.defjvp
def _coherent_jvp(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    diagonal, upper, v, x, gamma, substrate = once_only(primals)
    value, ket, bra = _both_sides(diagonal, upper, v, x, gamma, substrate)
    dv = tangents[2]
    slope = jnp.sum(bra * dv, axis=(0, 1, 2)) + jnp.sum(dv.conj() * ket, axis=(0, 1, 2))
    return value, -(slope.imag + _change_of_h(ket, bra, *tangents[:2], *tangents[3:])) / np.pi


@jax.custom_jvp
def _emitted(diagonal, upper, emission, x, gamma, substrate):
    return _coherent(diagonal, upper, _amplitudes(emission), x, gamma, substrate)


@_emitted.defjvp
def _emitted_jvp(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    diagonal, upper, emission, x, gamma, substrate = once_only(primals)
    tangent = tangents[2]
    v = _amplitudes(emission)
    value, ket, bra = _both_sides(diagonal, upper, v, x, gamma, substrate)
    # dv = v [dM/M − d(decay + i k_z) z − (decay + i k_z) dz], and Im(x̃†dv + dv†x) is linear in each
    left, right = jnp.sum(bra * v, axis=1), jnp.sum(v.conj() * ket, axis=1)  # (layer, n, energy)
    real, imaginary = (left + right).imag, (left - right).real
    slope = -tangent.decay * jnp.tensordot(emission.depth, real, 2, precision="highest")
    slope -= tangent.kz * jnp.tensordot(emission.depth, imaginary, 2, precision="highest")
    slope -= jnp.tensordot(tangent.depth, emission.decay * real + emission.kz * imaginary, 2, precision="highest")
    wave = _wave(emission)[:, None]
    left, right = bra * wave, wave.conj() * ket
    by_share = jnp.einsum("ake,lane->klne", emission.element, left, precision="highest")
    by_share += jnp.einsum("ake,lane->klne", emission.element.conj(), right, precision="highest")
    slope += jnp.tensordot(tangent.share, by_share.imag, 3, precision="highest")
    left, right = (jnp.einsum("kln,lane->ake", emission.share, a, precision="highest") for a in (left, right))
    slope += jnp.sum(tangent.element * left + tangent.element.conj() * right, axis=(0, 1)).imag
    return value, -(slope + _change_of_h(ket, bra, *tangents[:2], *tangents[3:])) / np.pi


def _wave(emission: Emission) -> jax.Array:
    """exp(−z/2λ − i k_z z), (layer, n, energy)."""
    depth = emission.depth[..., None]
    return jnp.exp(jax.lax.complex(*jnp.broadcast_arrays(-depth * emission.decay, -depth * emission.kz)))


def _amplitudes(emission: Emission) -> jax.Array:
    """v of every row, (layer, amplitude, n, energy)."""
    element = jnp.einsum("ake,kln->lane", emission.element, emission.share, precision="highest")
    return element * _wave(emission)[:, None]


def _both_sides(diagonal, upper, v, x, gamma, substrate) -> tuple[jax.Array, jax.Array, jax.Array]:
    """A_v, x = Gv and x̃† = v†G, both (layer, amplitude, n, energy)."""
    total, (g, y, w) = _eliminate(diagonal, upper, v, jax.lax.complex(x, gamma), substrate, keep=True)

    def substitute(below: tuple, layer: tuple) -> tuple:
        ket, bra = below  # x and x̃† of the layer below
        g, y, w, u = layer
        ket = _apply(g, y + _apply(u[..., None], ket))
        bra = _apply_left(w + _apply_left(bra, dagger(u)[..., None]), g)
        return (ket, bra), (ket, bra)

    end = _apply(g[-1], y[-1]), _apply_left(w[-1], g[-1])
    _, above = jax.lax.scan(substitute, end, (g[:-1], y[:-1], w[:-1], upper), reverse=True)
    ket, bra = (jnp.concatenate([a, e[None]]) for a, e in zip(above, end, strict=True))
    return -total.imag / np.pi, ket, bra


def _change_of_h(ket, bra, d_diagonal, d_upper, dx, dgamma, d_substrate) -> jax.Array:
    """Im Σ_v x̃†(dH + dΣ_sub − dz) x, (energy,)."""
    slope = -jnp.sum(bra * ket, axis=(0, 1, 2)) * jax.lax.complex(dx, dgamma)
    if d_substrate is not None:
        slope += jnp.sum(bra[-1] * _apply(d_substrate, ket[-1]), axis=(0, 1))
    down, up = _pairs(bra[:-1], ket[1:]), _pairs(bra[1:], ket[:-1]).swapaxes(1, 2)
    at = _pairs(bra, ket)
    change = slope.imag + _contract(d_diagonal.real, at.imag) + _contract(d_diagonal.imag, at.real)
    return change + _contract(d_upper.real, (down + up).imag) + _contract(d_upper.imag, (down - up).real)


def _eliminate(diagonal, upper, v, z, substrate, *, keep: bool) -> tuple:
    """Σ_v v†Gv (energy,), and where it is kept g, y and w† of every layer."""

    def step(carry: tuple, layer: tuple) -> tuple:
        s, y, w, total = carry
        block, u, v_next = layer
        g = inverse(matrix_of(z, block, s))
        gy = _apply(g, y)
        total += jnp.sum(w * gy, axis=(0, 1))
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
    start = (jnp.zeros((n, n, z.size), z.dtype), y, y.conj(), jnp.zeros_like(z))
    (s, y, w, total), kept = jax.lax.scan(step, start, (diagonal[:-1], upper, v[1:]))
    g = inverse(matrix_of(z, diagonal[-1], s if substrate is None else s + substrate))
    total += jnp.sum(w * _apply(g, y), axis=(0, 1))
    if keep:
        kept = tuple(jnp.concatenate([a, last[None]]) for a, last in zip(kept, (g, y, w), strict=True))
    return total, kept


def _apply(g: jax.Array, y: jax.Array) -> jax.Array:
    """g y: (i, j, energy), (amplitude, j, energy) -> (amplitude, i, energy)."""
    return jnp.sum(g[None] * y[:, None], axis=2)


def _apply_left(w: jax.Array, g: jax.Array) -> jax.Array:
    """w g: (amplitude, i, energy), (i, j, energy) -> (amplitude, j, energy)."""
    return jnp.sum(w[:, :, None] * g[None], axis=1)


def _pairs(bra: jax.Array, ket: jax.Array) -> jax.Array:
    """Σ_v x̃†_i x_j of every layer, (layer, i, j, energy); what a change of the block (i, j) is multiplied by."""
    return jnp.sum(bra[:, :, :, None] * ket[:, :, None], axis=1)


def _contract(blocks: jax.Array, pairs: jax.Array) -> jax.Array:
    """Real products of (layer, i, j) and (layer, i, j, energy); a library product where there are many tangents."""
    return jnp.tensordot(blocks, pairs, 3, precision="highest")
