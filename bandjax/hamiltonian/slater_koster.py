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

Channel = tuple[str, str, str]  # shell of i, shell of j, symmetry
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
    elif symmetry == "delta" and _have_delta(shell_i, shell_j):
        sigma, pi = jnp.outer(_sigma(n, shell_i), _sigma(n, shell_j)), _pi(n, shell_i) @ _pi(n, shell_j).T
        factors = jnp.asarray(_same_orbital((shell_i,), (shell_j,)), n.dtype) - sigma - pi
    else:
        raise ValueError(f"Shells {shell_i} and {shell_j} have no {symmetry} integral.")
    return factors * (-1.0 if li > lj and (li + lj) % 2 else 1.0)


def slater_koster_block(
    n: jax.Array, shells_i: tuple[str, ...], shells_j: tuple[str, ...], channels: tuple[Channel, ...], values: jax.Array
) -> jax.Array:
    """Σ V · (angular factors) of all channels between two sites: the sum of `slater_koster` over channels.

    The factors of all shells come from one outer product of components for each symmetry, which keeps the program
    small where many channels are compiled.

    Args:
        n: Unit vector from site i to site j, shape (3,).
        shells_i: Shells of site i.
        shells_j: Shells of site j.
        channels: (shell i, shell j, symmetry) of each integral; one that stands there twice counts twice.
        values: Integrals in eV, shape (channel,).

    Returns:
        Shape (orbital i, orbital j), in eV.

    Raises:
        ValueError: two shells have no integral of that symmetry.
    """
    sigma_i, sigma_j = (jnp.concatenate([_sigma(n, s) for s in shells]) for shells in (shells_i, shells_j))
    pi_i, pi_j = (jnp.concatenate([_pi(n, s) for s in shells]) for shells in (shells_i, shells_j))
    sigma, pi = jnp.outer(sigma_i, sigma_j), jnp.matmul(pi_i, pi_j.T, precision="highest")
    delta = jnp.asarray(_same_orbital(shells_i, shells_j), n.dtype) - sigma - pi  # see `_have_delta`
    factors = {"sigma": sigma, "pi": pi, "delta": delta, "isotropic": jnp.ones_like(sigma)}
    block = jnp.zeros_like(sigma)
    for symmetry in dict.fromkeys(symmetry for _, _, symmetry in channels):
        chosen = [at for at, channel in enumerate(channels) if channel[2] == symmetry]
        places = np.stack([_place(channels[at], shells_i, shells_j) for at in chosen]).astype(n.dtype)
        block += factors[symmetry] * jnp.tensordot(values[np.array(chosen)], places, 1, precision="highest")
    return block


def _place(channel: Channel, shells_i: tuple[str, ...], shells_j: tuple[str, ...]) -> np.ndarray:
    """Sign of a channel where its two shells meet, 0 elsewhere, (orbital i, orbital j)."""
    a, b, symmetry = channel
    li, lj = angular_momentum(a), angular_momentum(b)
    known = symmetry in ("isotropic", "sigma") or (symmetry == "pi" and min(li, lj) >= 1)
    if not (known or (symmetry == "delta" and _have_delta(a, b))):
        raise ValueError(f"Shells {a} and {b} have no {symmetry} integral.")
    sign = -1.0 if symmetry != "isotropic" and li > lj and (li + lj) % 2 else 1.0
    rows = [s == a for s in shells_i for _ in SHELLS[s]]
    columns = [s == b for s in shells_j for _ in SHELLS[s]]
    return sign * np.outer(rows, columns)


def _have_delta(a: str, b: str) -> bool:
    """Whether two shells have a delta integral here: equal d shells, or two parts of one ("x2y2" and "z2")."""
    both_d = angular_momentum(a) == angular_momentum(b) == 2
    return both_d and (a == b or not set(SHELLS[a]) & set(SHELLS[b]))


def _same_orbital(shells_i: tuple[str, ...], shells_j: tuple[str, ...]) -> np.ndarray:
    i, j = ([(s, name) for s in shells for name in SHELLS[s]] for shells in (shells_i, shells_j))
    return np.array([[a == b for b in j] for a in i], float)


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
    order = angular_momentum(shell)
    if order == 0:
        return jnp.zeros((1, 3), n.dtype)
    if order == 1:
        e = jnp.asarray(vectors(shell), n.dtype)
        return e - jnp.outer(e @ n, n)
    q = jnp.asarray(quadrupoles(shell), n.dtype)
    qn = jnp.einsum("aij,j->ai", q, n, precision="highest")
    return np.sqrt(2.0).astype(n.dtype) * (qn - jnp.outer(qn @ n, n))
