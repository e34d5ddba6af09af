"""Which site of a smaller, repeated crystal each atom of a large cell sits on.

The large cell is M times the average small one, A = M·a with an integer matrix M; a = M⁻¹A is the average lattice, strain
included. Each atom belongs to one lattice point n·a and one sublattice, the nearest within a common shift.
"""

from typing import NamedTuple

import ase
import numpy as np

from bandjax import checks

DISTORTION = (
    0.15  # of the average lattice against the given one, volume apart; beyond, the integers M are no longer safe
)


class Sites(NamedTuple):
    """Lattice point (atom, 3), integers n; sublattice (atom,), an atom of the primitive cell; M (3, 3), integers."""

    point: np.ndarray
    sublattice: np.ndarray
    matrix: np.ndarray


def find_sites(positions: np.ndarray, cell: np.ndarray, primitive: ase.Atoms) -> Sites:
    """Sites of a crystal `primitive` that the atoms of a large cell occupy, one each.

    Args:
        positions: Of the large cell's atoms in Å, shape (atom, 3); displaced from the sites by less than half a bond.
        cell: Lattice vectors of the large cell in Å, rows.
        primitive: The small crystal. Its species do not matter, nor its volume: a strained or relaxed cell has the average
            lattice M⁻¹A, whatever the constants of `primitive`. Of a slab it is a slab with the same share of vacuum.

    Raises:
        ValueError: the cell is no whole multiple of the primitive one, by shape or by the number of atoms, or two atoms
            sit on one site.
    """
    positions, cell, small = np.asarray(positions, float), np.asarray(cell, float), np.asarray(primitive.cell, float)
    checks.shape_is("positions", positions, ("atom", 3))
    times = len(positions) / len(primitive)
    small = small * (abs(np.linalg.det(cell) / np.linalg.det(small)) / times) ** (1 / 3)
    matrix = np.rint(cell @ np.linalg.inv(small)).astype(int)
    found = abs(round(np.linalg.det(matrix)))
    average = np.linalg.solve(matrix, cell) if found else small
    off = np.abs(average @ np.linalg.inv(small) - np.eye(3)).max()
    if found != times or off > DISTORTION:
        raise ValueError(
            f"Argument `primitive` must fill the cell of {len(positions)} atoms a whole number of times, but its "
            f"{len(primitive)} atoms and lattice vectors fill it {found} times with a distortion of {off:.0%}."
        )
    place = positions @ np.linalg.inv(average)
    basis = primitive.positions @ np.linalg.inv(np.asarray(primitive.cell))
    least, best = np.inf, (np.zeros((0, 3), int), np.zeros(0, int))
    for start in basis:  # on which sublattice the first atom sits
        shift = place[0] - start
        for _ in range(2):  # the mean displacement is the common shift
            difference = place[:, None] - basis[None] - shift
            off_site = difference - np.rint(difference)
            length = np.linalg.norm(off_site @ average, axis=2)
            sublattice = length.argmin(axis=1)
            chosen = off_site[np.arange(len(place)), sublattice]
            shift = shift + chosen.mean(axis=0)
        cost = (length.min(axis=1) ** 2).sum()
        if cost < least - 1e-9:
            point = np.rint(difference[np.arange(len(place)), sublattice]).astype(int)
            least, best = cost, (point, sublattice)
    _check_one_each(*best, matrix)
    return Sites(*best, matrix)


def _check_one_each(point: np.ndarray, sublattice: np.ndarray, matrix: np.ndarray) -> None:
    fraction = point @ np.linalg.inv(matrix)
    inside = np.rint((fraction - np.floor(fraction + 1e-9)) @ matrix).astype(int)
    site = np.column_stack([sublattice, inside])
    _, first, back = np.unique(site, axis=0, return_index=True, return_inverse=True)
    double = np.flatnonzero(first[back.ravel()] != np.arange(len(site)))
    if double.size:
        raise ValueError(
            f"Atoms must sit on one site of argument `primitive` each, but atoms {first[back.ravel()][double[0]]} and "
            f"{double[0]} are nearest to the same one."
        )
