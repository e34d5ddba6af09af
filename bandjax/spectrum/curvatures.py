"""Energy and curvature of groups of levels, differentiable once: what a design or a fit that knows masses descends on.

With H(k + t d) = H₀ + t H₁ + t²/2 H₂ + …, U the eigenvectors of a group of levels that is apart from all others, and
R_n = Σ_{p outside} |p⟩⟨p|/(ε_n − ε_p), the subspace of the group goes on as U + t Ω₁ + t²/2 Ω₂ + …,

    Ω₁ = R H₁ U,      Ω₂ = R (H₂ U + 2 H₁ Ω₁ − 2 Ω₁ U†H₁U),
    F = Σ_{n in the group} d²ε_n/dt² = Tr U†(H₂ U + 2 H₁ Ω₁).

A change dH changes the sum of the group's levels by Tr P dH, P the projector on it, at every t; so to second order in t

    dF = Tr[P₀ dH₂ + 2 P₁ dH₁ + P₂ dH₀],      P₀ = UU†,  P₁ = Ω₁U† + UΩ₁†,
    P₂ = Ω₂U† + UΩ₂† + 2 Ω₁Ω₁† − 2 UΩ₁†Ω₁U†,

which has no derivative of an eigenvector, and holds whether the levels inside the group meet or not (Kramers pairs, whose
spin splitting along d cancels in the sum). `mass_tensor` gives a model's whole tensor and more derivatives; here matrices come in as
they are, which levels are meant may be traced, and value and derivative cost one diagonalisation.

Source: T. Kato, Perturbation Theory for Linear Operators, ch. II (after): expansion of the projector and of the weighted mean.
"""

from functools import partial

import jax
import jax.numpy as jnp

from bandjax.spectrum.lorentzians import eigh_once


@partial(jax.custom_jvp, nondiff_argnums=(4,))
def group_curvatures(
    h: jax.Array, first_order: jax.Array, second_order: jax.Array, start: jax.Array, size: int
) -> tuple[jax.Array, jax.Array]:
    """Mean energy, and mean curvature along directions, of groups of neighbouring levels.

    Args:
        h: H₀, Hermitian, eV, shape (orbital, orbital).
        first_order, second_order: H₁ and H₂ along every direction, eV Å and eV Å², shape (direction, orbital, orbital).
        start: Place of the lowest level of each group among the ascending levels, integers, shape (group,); may be traced.
        size: Levels in a group: 2 for Kramers pairs.

    Returns:
        Energies in eV, shape (group,), and curvatures in eV Å², shape (group, direction); infinite or NaN where a group
        touches another level. Derivatives of first order only: a second one raises.
    """
    eps, u = eigh_once(h)

    def one(first: jax.Array) -> tuple[jax.Array, jax.Array]:
        level, group, quotient = _group(eps, u, first, size)

        def along(h1: jax.Array, h2: jax.Array) -> jax.Array:
            omega = _outside(u, quotient, h1 @ group)
            return jnp.sum(group.conj() * (h2 @ group + 2 * h1 @ omega)).real / size

        return level.mean(), jax.vmap(along)(first_order, second_order)

    with jax.default_matmul_precision("highest"):
        return jax.vmap(one)(start)


@group_curvatures.defjvp
def _group_curvatures_jvp(size: int, primals: tuple, tangents: tuple) -> tuple[tuple, tuple]:
    h, first_order, second_order, start = primals
    dh, dfirst, dsecond, _ = tangents
    eps, u = eigh_once(h)

    def one(first: jax.Array) -> tuple[tuple, tuple]:
        level, group, quotient = _group(eps, u, first, size)

        def along(h1: jax.Array, h2: jax.Array, dh1: jax.Array, dh2: jax.Array) -> tuple[jax.Array, jax.Array]:
            moved = h1 @ group
            omega = _outside(u, quotient, moved)
            bent = h2 @ group + 2 * h1 @ omega
            omega2 = _outside(u, quotient, bent - 2 * omega @ (group.conj().T @ moved))
            value = _trace(group, bent)
            slope = _trace(group, dh2 @ group) + 4 * _trace(omega, dh1 @ group)
            inner = omega.conj().T @ omega
            slope += 2 * (_trace(omega2, dh @ group) + _trace(omega, dh @ omega) - _trace(group, dh @ group @ inner))
            return value / size, slope / size

        curvature, slope = jax.vmap(along)(first_order, second_order, dfirst, dsecond)
        return (level.mean(), curvature), (_trace(group, dh @ group) / size, slope)

    with jax.default_matmul_precision("highest"):
        return jax.vmap(one)(start)


def _group(eps: jax.Array, u: jax.Array, first: jax.Array, size: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Levels of a group, their eigenvectors (orbital, level), and 1/(ε_n − ε_p), 0 inside the group, (p, level)."""
    level = jax.lax.dynamic_slice_in_dim(eps, first, size)
    group = jax.lax.dynamic_slice_in_dim(u, first, size, axis=1)
    place = jnp.arange(eps.shape[0])
    inside = (place >= first) & (place < first + size)
    gap = level[None, :] - eps[:, None]
    return level, group, jnp.where(inside[:, None], 0.0, 1 / jnp.where(inside[:, None], 1.0, gap))


def _outside(u: jax.Array, quotient: jax.Array, x: jax.Array) -> jax.Array:
    """R_n x_n for every column n."""
    return u @ (quotient * (u.conj().T @ x))


def _trace(a: jax.Array, b: jax.Array) -> jax.Array:
    """Re Tr a†b."""
    return jnp.sum(a.conj() * b).real
