"""Slater-Koster blocks between s, p and d shells, written with tensors instead of a table of cases.

With the unit vector n from site i to site j, a p orbital is a unit vector e_a and a d orbital a symmetric traceless
matrix Q_a with Tr Q_a Q_b = δ_ab. Their components along the bond are

    σ:  p_a = n·e_a            d_a = √(3/2) n·Q_a n
    π:  e_a − n (n·e_a)        √2 (Q_a n − n (n·Q_a n))      (vectors normal to n)

and a two-centre integral joins equal components. Exchanging the shells gives (−1)^(l+l').

Source: J. C. Slater and G. F. Koster, Phys. Rev. 94, 1498 (1954), Table I.
"""

import jax
import jax.numpy as jnp
import numpy as np

from bandjax.materials import SHELLS

_R2, _R6 = np.sqrt(2), np.sqrt(6)
_QUADRUPOLES = {
    "dxy": np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]]) / _R2,
    "dyz": np.array([[0, 0, 0], [0, 0, 1], [0, 1, 0]]) / _R2,
    "dzx": np.array([[0, 0, 1], [0, 0, 0], [1, 0, 0]]) / _R2,
    "dx2-y2": np.diag([1.0, -1.0, 0.0]) / _R2,
    "dz2": np.diag([-1.0, -1.0, 2.0]) / _R6,
}
_VECTORS = {"px": np.eye(3)[0], "py": np.eye(3)[1], "pz": np.eye(3)[2]}


def angular_momentum(shell: str) -> int:
    """l of a shell: 0, 1 or 2."""
    return {"s": 0, "p": 1, "d": 2}[SHELLS[shell][0][0]]


def quadrupoles(shell: str) -> np.ndarray:
    """The matrices Q_a of a d shell, (orbital, 3, 3)."""
    return np.stack([_QUADRUPOLES[name] for name in SHELLS[shell]])


def vectors(shell: str) -> np.ndarray:
    """The vectors e_a of a p shell, (orbital, 3)."""
    return np.stack([_VECTORS[name] for name in SHELLS[shell]])


def slater_koster(n: jax.Array, shell_i: str, shell_j: str, symmetry: str) -> jax.Array:
    """Angular factors of one two-centre integral for a bond along n.

    Args:
        n: Unit vector from site i to site j, shape (3,).
        shell_i: Shell of site i, a key of `SHELLS`.
        shell_j: Shell of site j.
        symmetry: "sigma", "pi", "delta" or "isotropic".

    Returns:
        Shape (orbital i, orbital j): <i, a| H |j, b> for a unit integral.

    Raises:
        ValueError: the two shells have no integral of that symmetry.
    """
    li, lj = angular_momentum(shell_i), angular_momentum(shell_j)
    if symmetry == "isotropic":
        return jnp.ones((1, 1), n.dtype)
    if symmetry == "sigma":
        factors = jnp.outer(_sigma(n, shell_i), _sigma(n, shell_j))
    elif symmetry == "pi" and min(li, lj) >= 1:
        factors = _pi(n, shell_i) @ _pi(n, shell_j).T
    elif symmetry == "delta" and li == lj == 2 and shell_i == shell_j:
        si, pi = _sigma(n, shell_i), _pi(n, shell_i)
        factors = jnp.eye(len(SHELLS[shell_i]), dtype=n.dtype) - jnp.outer(si, si) - pi @ pi.T
    else:
        raise ValueError(f"Shells {shell_i} and {shell_j} have no {symmetry} integral.")
    return factors * (-1.0 if li > lj and (li + lj) % 2 else 1.0)


def _sigma(n: jax.Array, shell: str) -> jax.Array:
    order = angular_momentum(shell)
    if order == 0:
        return jnp.ones((1,), n.dtype)
    if order == 1:
        return jnp.asarray(vectors(shell), n.dtype) @ n
    q = jnp.asarray(quadrupoles(shell), n.dtype)
    return np.sqrt(1.5).astype(n.dtype) * jnp.einsum("aij,i,j->a", q, n, n, precision="highest")


def _pi(n: jax.Array, shell: str) -> jax.Array:
    """Components normal to n, shape (orbital, 3)."""
    if angular_momentum(shell) == 1:
        e = jnp.asarray(vectors(shell), n.dtype)
        return e - jnp.outer(e @ n, n)
    q = jnp.asarray(quadrupoles(shell), n.dtype)
    qn = jnp.einsum("aij,j->ai", q, n, precision="highest")
    return np.sqrt(2.0).astype(n.dtype) * (qn - jnp.outer(qn @ n, n))
