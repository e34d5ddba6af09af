"""Projected spectral functions of one Hermitian matrix, with a derivative that is exact at degeneracies.

For a projector P (here: weights on the orbitals, or |v><v| of a coherent amplitude v)

    A_P(E) = −(1/π) Im Tr[P (x + iγ − H)⁻¹] = Σ_n Q_nn L(x − ε_n; γ),     Q = U† P U,   L = (γ/π)/((x − ε)² + γ²),

with x = E − Re Σ(E) and γ = η − Im Σ(E). Eigenvectors have no derivative at a degeneracy, A has. With X = U† dH U
and a gap δ below which two levels count as one group (Daleckii-Krein divided differences),

    dA_P(E) = Σ_n α_n L(x − ε_n) + Σ_n β_n ∂L/∂ε_n,
    α_n = 2 Re Σ_{|ε_m − ε_n| > δ} X_nm Q_mn / (ε_n − ε_m),      β_n = Re Σ_{|ε_m − ε_n| ≤ δ} X_nm Q_mn.

δ = (machine epsilon)^(1/3) γ balances the rounding error ~ ε_mach/δ of the first sum against the error ~ (δ/γ)² of the
second. The rule is linear in dH, so one rule serves jvp, grad, jacfwd and vmap, to first order: a second derivative
raises.

Source of the divided differences: Yu. L. Daleckii, S. G. Krein (1951/1965), as in R. Bhatia, Matrix Analysis, ch. V
(after).
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

WRITTEN_OUT = 20
"""Up to this many levels their sum is written out term by term: on a CPU a fifth faster than a matrix product."""


FEW = 3
"""Up to this many projectors the derivative is taken from vectors made once a projector."""


@jax.custom_jvp
def eigh_once(h: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Eigenvalues (ascending) and eigenvectors of a Hermitian matrix; differentiating them raises TypeError.

    The derivative of eigenvectors does not exist at degeneracies, and would be silently wrong.
    """
    eps, u = jnp.linalg.eigh(h, symmetrize_input=False)
    return eps, u


@eigh_once.defjvp
def _refuse(primals: Any, tangents: Any) -> Any:
    raise TypeError(
        "A spectral function has a first derivative only: its second derivative must not pass through eigenvectors, "
        "which have none at a degeneracy. Use Gauss-Newton products of first derivatives, or `effective_masses` for "
        "curvatures."
    )


@jax.custom_jvp
def once_only(x: Any) -> Any:
    """`x` itself; differentiating it raises TypeError. For what a rule of first order is given."""
    return x


@once_only.defjvp
def _refuse_twice(primals: Any, tangents: Any) -> Any:
    raise TypeError(
        "A spectral function has a first derivative only, whatever the method. Use Gauss-Newton products of first "
        "derivatives, or `effective_masses` for curvatures."
    )


def group_gap(gamma: jax.Array) -> jax.Array:
    """δ: levels nearer than this are treated as one group."""
    return jnp.finfo(gamma.dtype).eps ** (1 / 3) * jnp.min(gamma)


def lorentzian(x: jax.Array, gamma: jax.Array) -> jax.Array:
    """L(x; γ) = (γ/π)/(x² + γ²), half width γ."""
    return gamma / np.pi / (x**2 + gamma**2)


@partial(jax.custom_jvp, nondiff_argnums=(4,))
def weighted_lorentzians(
    h: jax.Array, weights: jax.Array | None, x: jax.Array, gamma: jax.Array, levels: tuple[int, int] | None = None
) -> jax.Array:
    """A_P(E) for projectors that are diagonal in the orbitals.

    Args:
        h: Hermitian matrix in eV, shape (orbital, orbital).
        weights: Weight of each orbital in each projector, (projector, orbital); None is the trace (one projector).
        x: Energies minus the real part of a scalar self-energy, eV, shape (energy,).
        gamma: Half widths η − Im Σ in eV, shape (energy,).
        levels: First and one past the last level to be summed, for windows that the others do not reach; None: all.

    Returns:
        1/eV, shape (projector, energy).
    """
    eps, u = eigh_once(h)
    eps, u = eps[_window(levels)], u[:, _window(levels)]
    shape = lorentzian(x - eps[:, None], gamma)
    return _sum_levels(populations(u, weights), shape)


@weighted_lorentzians.defjvp
def _weighted_jvp(levels: tuple[int, int] | None, primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    h, weights, x, gamma = primals
    dh, dweights, dx, dgamma = tangents
    eps_all, u_all = eigh_once(h)
    eps, u = eps_all[_window(levels)], u_all[:, _window(levels)]
    q = populations(u, weights)
    shape = lorentzian(x - eps[:, None], gamma)
    per_eps = (2 * np.pi / gamma) * (x - eps[:, None]) * shape**2
    per_gamma = shape / gamma - 2 * np.pi * shape**2

    dhu = jnp.matmul(dh, u, precision="highest")
    if weights is None:
        beta = jnp.einsum("in,in->n", u.conj(), dhu, precision="highest").real[None]
        d_out = contract(beta, per_eps)
    else:
        divided = divided_differences(eps, eps_all, group_gap(gamma))
        few = weights.shape[0] <= FEW
        alpha, beta = (slopes_by_projector if few else slopes_by_orbital)(u, u_all, weights, dhu, *divided)
        d_out = contract(alpha, shape) + contract(beta, per_eps)
        d_out += contract(populations(u, dweights), shape)
    d_out += contract(q, per_gamma) * dgamma - contract(q, per_eps) * dx
    return _sum_levels(q, shape), d_out  # as in the primal: under vmap both must keep the batch in one place


def slopes_by_projector(u, u_all, weights, dhu, quotient, same) -> tuple[jax.Array, jax.Array]:
    """α and β from y_n = Σ_m u_m Q_mn/(ε_n − ε_m) and its like for the group, which do not depend on dH: cheapest for
    few projectors and many tangents."""
    q = jnp.matmul(u_all.conj().T, weights[:, :, None] * u, precision="highest")  # Q_mn, (projector, m, n)
    y = jnp.matmul(u_all, q * quotient.T, precision="highest")
    w = jnp.matmul(u_all, q * same.T, precision="highest")
    alpha = 2 * jnp.einsum("on,pon->pn", dhu.conj(), y, precision="highest").real
    return alpha, jnp.einsum("on,pon->pn", dhu.conj(), w, precision="highest").real


def slopes_by_orbital(u, u_all, weights, dhu, quotient, same) -> tuple[jax.Array, jax.Array]:
    """α and β from their parts on every orbital: cheapest for many projectors."""
    xmn = jnp.matmul(u_all.conj().T, dhu, precision="highest")
    outside = jnp.matmul(u_all, xmn * quotient.T, precision="highest").conj()  # Σ_m X_nm/(ε_n − ε_m) U*_om
    inside = jnp.matmul(u_all, xmn * same.T, precision="highest").conj()
    return contract(weights, 2 * (u * outside).real), contract(weights, (u * inside).real)


@jax.custom_jvp
def coherent_lorentzians(h: jax.Array, v: jax.Array, x: jax.Array, gamma: jax.Array) -> jax.Array:
    """A_v(E) = Σ_n |v† u_n|² L(x − ε_n; γ) for amplitudes v over the orbitals.

    Args:
        h: Hermitian matrix in eV, shape (orbital, orbital).
        v: Amplitudes, real or complex, shape (amplitude, orbital).
        x, gamma: As in `weighted_lorentzians`.

    Returns:
        1/eV (times the unit of |v|²), shape (amplitude, energy).
    """
    eps, u = eigh_once(h)
    c = jnp.matmul(v, u.conj(), precision="highest")  # c = U†v, one row an amplitude
    return contract(squared(c), lorentzian(x - eps[:, None], gamma))


@coherent_lorentzians.defjvp
def _coherent_jvp(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    h, v, x, gamma = primals
    dh, dv, dx, dgamma = tangents
    eps, u = eigh_once(h)
    c = jnp.matmul(v, u.conj(), precision="highest")
    q = squared(c)
    shape = lorentzian(x - eps[:, None], gamma)
    per_eps = (2 * np.pi / gamma) * (x - eps[:, None]) * shape**2
    per_gamma = shape / gamma - 2 * np.pi * shape**2

    # Σ_m X_nm c_m/(ε_n − ε_m) = u_n† dH y_n with y_n = Σ_m u_m c_m/(ε_n − ε_m): dH is met once per amplitude, and X
    # is never formed. Likewise for the group, with w_n = Σ_{m in the group} u_m c_m.
    quotient, same = divided_differences(eps, eps, group_gap(gamma))
    y = jnp.einsum("im,nm,vm->vin", u, quotient, c, precision="highest")
    w = jnp.einsum("im,nm,vm->vin", u, same, c, precision="highest")
    bra = u.conj() * c.conj()[:, None, :]
    alpha = 2 * jnp.einsum("vin,ij,vjn->vn", bra, dh, y, precision="highest").real
    beta = jnp.einsum("vin,ij,vjn->vn", bra, dh, w, precision="highest").real
    dc = jnp.matmul(dv, u.conj(), precision="highest")
    alpha += 2 * (c.conj() * dc).real
    d_out = contract(alpha, shape) + contract(beta, per_eps)
    d_out += contract(q, per_gamma) * dgamma - contract(q, per_eps) * dx
    return contract(q, shape), d_out


def _window(levels: tuple[int, int] | None) -> slice:
    return slice(None) if levels is None else slice(*levels)


def divided_differences(eps_n: jax.Array, eps_m: jax.Array, delta: jax.Array) -> tuple[jax.Array, jax.Array]:
    """1/(ε_n − ε_m) outside a group and 0 inside; 1 inside and 0 outside."""
    gap = eps_n[:, None] - eps_m[None, :]
    same = jnp.abs(gap) <= delta
    return jnp.where(same, 0.0, 1.0 / jnp.where(same, 1.0, gap)), same.astype(gap.dtype)


def populations(u: jax.Array, weights: jax.Array | None) -> jax.Array:
    """Q_nn, shape (projector, band)."""
    if weights is None:
        return jnp.ones((1, u.shape[-1]), u.real.dtype)
    return contract(weights, squared(u))


def squared(z: jax.Array) -> jax.Array:
    return z.real**2 + z.imag**2


def _sum_levels(q: jax.Array, shape: jax.Array) -> jax.Array:
    """Σ_n Q_n L_n(E), written out where the levels are few: XLA then fuses the Lorentzians into one pass over E."""
    if shape.shape[0] > WRITTEN_OUT:
        return contract(q, shape)
    return sum((q[:, n, None] * shape[n] for n in range(1, shape.shape[0])), q[:, 0, None] * shape[0])


def contract(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.matmul(a, b, precision="highest")
