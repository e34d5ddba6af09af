"""Chebyshev moments of a sparse Hamiltonian, and their derivative without storing the recursion.

With φ_0 = v, φ_1 = Hφ_0 and φ_{n+1} = 2Hφ_n − φ_{n−1}, one product gives two moments μ_n = v†T_n(H)v:

    μ_{2n} = 2 φ_n†φ_n − μ_0,      μ_{2n+1} = 2 φ_{n+1}†φ_n − μ_1.

Tangents run along with the recursion. Cotangents run it backwards: it is reversible (φ_{n−1} = 2Hφ_n − φ_{n+1}), and so a
few vectors are kept, whatever the number of moments.

Source of the doubling: A. Weiße, G. Wellein, A. Alvermann, H. Fehske, Rev. Mod. Phys. 78, 275 (2006).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from bandjax.hamiltonian import SparseHamiltonian, sparse
from bandjax.spectrum.lorentzians import once_only


def chebyshev_moments(h: SparseHamiltonian, phase: jax.Array, x: jax.Array, count: int) -> jax.Array:
    """μ_n = x†T_n(H)x of every channel for a Hamiltonian whose spectrum lies within ±1.

    Args:
        h: Scaled sparse Hamiltonian.
        phase: `bond_phases` at the wave vector.
        x: Vectors (atom, n, 2, channel).
        count: Number of moments, even and ≥ 4.

    Returns:
        Shape (moment, channel). Exact first derivatives in both modes; a second derivative raises TypeError.
    """
    return _moments(count, h, phase, x)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _moments(count: int, h: SparseHamiltonian, phase: jax.Array, x: jax.Array) -> jax.Array:
    return _recursion(count, h, phase, x)[0]


@_moments.defjvp
def _moments_jvp(count: int, primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    h, phase, x = primals
    dh, dphase, dx = tangents
    h, phase, x = once_only((h, phase, x))
    moments, last = _recursion(count, h, phase, x)
    arrays, rebuild = _without_integers(h)

    def forward(t: tuple) -> jax.Array:
        run = lambda arrays, phase, x: _recursion(count, rebuild(arrays), phase, x)[0]  # noqa: E731
        return jax.jvp(run, (arrays, phase, x), t)[1]

    def backward(ct: jax.Array) -> tuple:
        ch, cphase, cx = _backwards(count, h, phase, last, ct)
        return _without_integers(ch)[0], cphase, cx

    return moments, _linear(forward, backward, (_without_integers(dh)[0], dphase, dx))


def _recursion(count: int, h: SparseHamiltonian, phase: jax.Array, x: jax.Array) -> tuple[jax.Array, tuple]:
    """Moments (moment, channel), and φ_M, φ_{M+1} with M = count/2 − 1."""

    def step(carry: tuple, _: None) -> tuple:
        before, here = carry
        after = 2 * sparse.apply_sparse(h, phase, here) - before
        return (here, after), (_dot(here, here), _dot(after, here))

    first = sparse.apply_sparse(h, phase, x)
    mu = jnp.stack([_dot(x, x), _dot(first, x)])
    last, doubled = jax.lax.scan(step, (x, first), None, length=count // 2 - 1)
    rest = 2 * jnp.stack(doubled, axis=1) - mu
    return jnp.concatenate([mu[None], rest]).reshape(count, -1), last


def _backwards(count: int, h: SparseHamiltonian, phase: jax.Array, last: tuple, ct: jax.Array) -> tuple:
    """Cotangents of h, phase and x by the recursion run backwards.

    With p_n and r_n the weights of φ_n†φ_n and φ_{n+1}†φ_n in Σ_m ct_m μ_m, and g_n = 2 p_n φ_n + r_n φ_{n+1} + r_{n−1} φ_{n−1},

        λ_n = g_n + 2H̃λ_{n+1} − λ_{n+2}    (H̃λ_1 for n = 0),      H̄ = Σ_n 2 λ_{n+1} φ_n†    (λ_1 φ_0† for n = 0).
    """
    pairs = ct.reshape(count // 2, 2, -1)
    start = pairs[0] - pairs[1:].sum(axis=0)
    p = jnp.concatenate([start[None, 0], 2 * pairs[1:, 0]])
    r = jnp.concatenate([start[None, 1], 2 * pairs[1:, 1]])
    here, after = last  # φ_M, φ_{M+1}

    def step(carry: tuple, weights: tuple) -> tuple:
        after, here, two_on, one_on, total = carry
        p, r, r_before = weights
        before = 2 * sparse.apply_sparse(h, phase, here) - after
        total = _add(total, sparse.sparse_cotangents(h, phase, here, 2 * one_on))
        new = 2 * p * here + r * after + r_before * before
        new = new + 2 * sparse.apply_sparse(h, phase, one_on) - two_on
        return (here, before, one_on, new, total), None

    nothing = jax.tree.map(jnp.zeros_like, (h, phase))
    carry = (after, here, jnp.zeros_like(here), r[-1] * here, nothing)
    (after, here, two_on, one_on, total), _ = jax.lax.scan(step, carry, (p[1:], r[1:], r[:-1]), reverse=True)
    total = _add(total, sparse.sparse_cotangents(h, phase, here, one_on))
    cx = 2 * p[0] * here + r[0] * after + sparse.apply_sparse(h, phase, one_on) - two_on
    return *total, cx


def _dot(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.sum(a * b, axis=(0, 1, 2))


def _add(a: tuple, b: tuple) -> tuple:
    (ha, pa), (hb, pb) = a, b
    (xa, rebuild), (xb, _) = _without_integers(ha), _without_integers(hb)
    return rebuild(jax.tree.map(jnp.add, xa, xb)), pa + pb


def _without_integers(h: SparseHamiltonian) -> tuple[tuple, Callable[[tuple], SparseHamiltonian]]:
    """The arrays of h that the recursion differentiates, and what puts them back."""
    return (h.onsite, h.coupling, h.hopping), lambda a: h._replace(onsite=a[0], coupling=a[1], hopping=a[2])


def _linear(forward: Callable, backward: Callable, x: Any) -> jax.Array:
    """forward(x), a linear map whose transpose is `backward`.

    JAX gives a map its own transpose, and maps it over batches too, only as a linear solve: here that of the triangular
    system (1, 0; −forward, 1)(x, y) = (x, 0). All its entries must be of the same kind, hence the added zero.
    """
    zero = 0 * sum(jnp.ravel(leaf)[0] for leaf in jax.tree.leaves(x))
    x = jax.tree.map(lambda leaf: leaf + zero, x)
    out = jax.eval_shape(forward, x)
    solved = jax.lax.custom_linear_solve(
        lambda b: b,
        (x, jnp.full(out.shape, zero)),
        lambda _, b: (b[0], b[1] + forward(b[0])),
        lambda _, b: (jax.tree.map(jnp.add, b[0], backward(b[1])), b[1]),
        symmetric=True,
    )
    return solved[1]
