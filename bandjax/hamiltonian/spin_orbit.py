"""Intra-atomic spin-orbit coupling H_SO = λ L·σ for p and d shells.

In the Cartesian basis (L_k)_ab = −i ε_kab, so that <x↑|H_SO|y↑> = −iλ; for d shells, held as symmetric traceless
matrices, L_k acts as the commutator, (L_k Q) = [ℓ_k, Q] with (ℓ_k)_ij = −i ε_kij. A p level splits into
λ (j = 3/2) and −2λ (j = 1/2): Δ = 3λ.

Source: D. J. Chadi, Phys. Rev. B 16, 790 (1977), for the form in a tight-binding basis (after).
"""

import numpy as np

from bandjax.hamiltonian.slater_koster import angular_momentum, quadrupoles, vectors
from bandjax.materials import SHELLS

_LEVI_CIVITA = np.zeros((3, 3, 3))
for _a, _b, _c in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
    _LEVI_CIVITA[_a, _b, _c], _LEVI_CIVITA[_a, _c, _b] = 1.0, -1.0
PAULI = np.array([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])


def angular_momentum_matrices(shell: str) -> np.ndarray:
    """L_x, L_y, L_z of a shell in its real orbitals, in units of ħ; shape (3, orbital, orbital), complex."""
    rotation = -1j * _LEVI_CIVITA
    order = angular_momentum(shell)
    if order == 0:
        return np.zeros((3, len(SHELLS[shell]), len(SHELLS[shell])), complex)
    if order == 1:
        e = vectors(shell)
        return np.einsum("ai,kij,bj->kab", e, rotation, e)
    q = quadrupoles(shell)
    moved = np.einsum("kij,bjl->kbil", rotation, q) - np.einsum("bij,kjl->kbil", q, rotation)
    return np.einsum("aij,kbij->kab", q, moved)


def spin_orbit_matrix(shell: str) -> np.ndarray:
    """L·σ of a shell, shape (2, orbital, 2, orbital): (spin, orbital) of the bra, then of the ket."""
    return np.einsum("kst,kab->satb", PAULI, angular_momentum_matrices(shell))
