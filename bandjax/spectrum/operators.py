"""Densities of operators, Tr[O f(H − E)], for any broadening f and with a derivative that is exact at degeneracies.

    D_O(E) = Σ_n Q_nn f(ε_n − E),     Q = U† O U,     ∫ f = 1

O = 1 gives the density of states, a projector on an atom's orbitals that atom's spectral function. The derivative is that of
`lorentzians.py` with f in the Lorentzian's place: with X = U† dH U,

    dD_O = Σ_n α_n f(ε_n − E) + Σ_n β_n f′(ε_n − E) + Σ_n (U† dO U)_nn f(ε_n − E)
    α_n = 2 Re Σ_{|ε_m − ε_n| > δ} X_nm Q_mn/(ε_n − ε_m),     β_n = Re Σ_{|ε_m − ε_n| ≤ δ} X_nm Q_mn.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from bandjax.spectrum.lorentzians import contract, divided_differences, eigh_once, group_gap

Broadening = Callable[[jax.Array], jax.Array]


@partial(jax.custom_jvp, nondiff_argnums=(3, 4))
def operator_density(
    h: jax.Array, operators: jax.Array, energy: jax.Array, broadening: Broadening, smearing: float
) -> jax.Array:
    """D_O(E) of the module's head.

    Args:
        h: Hermitian matrix in eV, shape (orbital, orbital).
        operators: Hermitian matrices, shape (operator, orbital, orbital).
        energy: eV, shape (energy,).
        broadening: f of ε − E in eV (any shape), in 1/eV; differentiable.
        smearing: Its scale in eV: levels nearer than (machine epsilon)^(1/3) of it are one group.

    Returns:
        Unit of the operators per eV, shape (operator, energy). Differentiable once in h, operators and energy.
    """
    eps, u = eigh_once(h)
    q = jnp.einsum("in,pij,jn->pn", u.conj(), operators, u, precision="highest").real
    return contract(q, broadening(eps[:, None] - energy[None, :]))


@operator_density.defjvp
def _operator_jvp(broadening: Broadening, smearing: float, primals: tuple, tangents: tuple) -> tuple:
    h, operators, energy = primals
    dh, doperators, denergy = tangents
    eps, u = eigh_once(h)
    x = eps[:, None] - energy[None, :]
    f, slope = jax.jvp(broadening, (x,), (jnp.ones_like(x),))
    q = jnp.einsum("im,pij,jn->pmn", u.conj(), operators, u, precision="highest")
    diagonal = jnp.einsum("pnn->pn", q).real
    xnm = jnp.einsum("in,ij,jm->nm", u.conj(), dh, u, precision="highest")
    quotient, same = divided_differences(eps, eps, group_gap(jnp.asarray(smearing, eps.dtype)))
    alpha = 2 * jnp.einsum("nm,nm,pmn->pn", xnm, quotient, q, precision="highest").real
    beta = jnp.einsum("nm,nm,pmn->pn", xnm, same, q, precision="highest").real
    dq = jnp.einsum("in,pij,jn->pn", u.conj(), doperators, u, precision="highest").real
    d_out = contract(alpha + dq, f) + contract(beta, slope) - contract(diagonal, slope) * denergy
    return contract(diagonal, f), d_out
