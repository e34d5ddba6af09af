"""Shells of neighbours along the bonds of a tetrahedral network, and which bond lies along which direction; static.

Shells are those of the diamond lattice: 4 atoms one bond away, 12 two bonds away, and of the 24 three bonds away the nearer 12
(√11/4 a; the others, along straight zigzags, are √19/4 a away and beyond the fourth shell).
"""

import ase
import numpy as np
from jax.typing import ArrayLike

from bandjax import checks
from bandjax.structure.keating import Network

_BEYOND_THIRD = (np.sqrt(11) + np.sqrt(19)) / 8  # of a; halfway between the two kinds of atoms three bonds away
LEAST_COSINE = 0.9  # of a bond and its direction: 26°, more than strain bends it, less than half the angle between two
_TETRAHEDRON = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)

Shell = tuple[np.ndarray, np.ndarray, np.ndarray]  # i (pair,), j (pair,), shift of j (pair, 3)


def shells_of(atoms: ase.Atoms, network: Network) -> tuple[Shell, Shell, Shell]:
    """First to third shell of each atom, every pair in both directions."""
    first = np.column_stack(
        [
            np.concatenate([network.i, network.j]),
            np.concatenate([network.j, network.i]),
            np.concatenate([network.shift, -network.shift]),
        ]
    )
    home = np.column_stack([np.arange(len(atoms)), np.arange(len(atoms)), np.zeros((len(atoms), 3), int)])
    second = _without(_extended(first, first), home)
    third = _without(_extended(second, first), np.concatenate([first, second]))
    vector = _vectors(atoms, third)
    a = 4 / np.sqrt(3) * np.linalg.norm(_vectors(atoms, first), axis=1).mean()
    third = third[np.linalg.norm(vector, axis=1) < _BEYOND_THIRD * a]
    one, two, three = ((rows[:, 0], rows[:, 1], rows[:, 2:]) for rows in (first, second, third))
    return one, two, three


def _extended(paths: np.ndarray, bonds: np.ndarray) -> np.ndarray:
    """Rows (i, j, shift) reached by one more bond."""
    order = np.argsort(bonds[:, 0], kind="stable")
    bonds = bonds[order]
    begin = np.searchsorted(bonds[:, 0], paths[:, 1], side="left")
    count = np.searchsorted(bonds[:, 0], paths[:, 1], side="right") - begin
    at = np.repeat(np.arange(len(paths)), count)
    step = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    taken = bonds[begin[at] + step]
    return np.column_stack([paths[at, 0], taken[:, 1], paths[at, 2:] + taken[:, 2:]])


def _without(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The distinct rows that are not among the others."""
    rows = np.unique(rows, axis=0)
    both = np.concatenate([rows, np.unique(others, axis=0)])
    _, place, count = np.unique(both, axis=0, return_index=True, return_counts=True)
    return both[np.sort(place[(count == 1) & (place < len(rows))])]


def _vectors(atoms: ase.Atoms, rows: np.ndarray) -> np.ndarray:
    return atoms.positions[rows[:, 1]] + rows[:, 2:] @ np.asarray(atoms.cell) - atoms.positions[rows[:, 0]]


def bonds_by_direction(
    atoms: ase.Atoms, network: Network, orientation: ArrayLike | None
) -> tuple[np.ndarray, np.ndarray]:
    """The cubic direction of each directed bond, and Σ n nᵀ over the directions without a bond of each atom.

    Returns:
        (directions (2 × bond, 3), unit vectors; missing (atom, 3, 3)).

    Raises:
        ValueError: `orientation` is no rotation, or the bonds of an atom do not lie along its four directions.
    """
    axes = np.eye(3) if orientation is None else np.asarray(orientation, float)
    checks.shape_is("orientation", axes, (3, 3))
    if not np.allclose(axes @ axes.T, np.eye(3), atol=1e-6):
        raise ValueError("Argument `orientation` must hold three perpendicular unit vectors as rows, but does not.")
    ideal = _TETRAHEDRON @ axes
    rows = np.column_stack([network.i, network.j, network.shift])
    vector = _vectors(atoms, rows)
    vector = np.concatenate([vector, -vector])
    cosine = vector / np.linalg.norm(vector, axis=1, keepdims=True) @ ideal.T
    start = np.concatenate([network.i, network.j])
    count = len(atoms)
    upward, downward = (np.bincount(start, (sign * cosine).max(axis=1), count) for sign in (1, -1))
    sign = np.where(upward > downward, 1, -1)[start]
    label = (sign[:, None] * cosine).argmax(axis=1)
    taken = np.zeros((count, 4), int)
    np.add.at(taken, (start, label), 1)
    aside = np.bincount(start, (sign[:, None] * cosine).max(axis=1) < LEAST_COSINE, count)
    wrong = np.flatnonzero((taken > 1).any(axis=1) | (aside > 0))
    if wrong.size:
        raise ValueError(
            f"The bonds of every atom must lie along the cubic ⟨111⟩ directions, but those of atom {wrong[0]} "
            f"({atoms.symbols[wrong[0]]}) do not: pass the cubic axes as `orientation`."
        )
    missing = np.einsum("at,tx,ty->axy", 1 - taken, ideal, ideal)
    return sign[:, None] * ideal[label], missing
