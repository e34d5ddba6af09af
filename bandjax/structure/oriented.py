"""Stacks grown on (110) and (111); the Cartesian axes stay the cubic ones and the growth axis is the normal n.

In units of a, layer k holds the sites k s and (k − 1) s + τ with τ = (1, 1, 1)/4, in the in-plane cell t1, t2:

    (110): t1 = (0, 0, 1),          t2 = (1, −1, 0)/2,    s = (1, 0, 1)/2: flat layers of two atoms, a/√8 apart
    (111): t1 = (−1, 1, 0)/2,       t2 = (−1, 0, 1)/2,    s = (1, 1, 0)/2: puckered double layers, a/√3 apart

s is a lattice vector, so that any number of layers is commensurate; the third cell vector leans. A layer strained by ε∥ in
the plane relaxes along n by ε⊥ = −D ε∥,

    D_110 = (C11 + 3 C12 − 2 C44)/(C11 + C12 + 2 C44),    D_111 = 2 (C11 + 2 C12 − 2 C44)/(C11 + 2 C12 + 4 C44),

with C44 of Keating's relation (`structure/keating.py`). The sublattices of a strained (111) layer also shift against each
other: `relax` finds that.

Source: C. G. Van de Walle, R. M. Martin, Phys. Rev. B 34, 5621 (1986), (after); checked against `relax` in the tests.
"""

import ase
import numpy as np

from bandjax import checks
from bandjax.materials import Elastic, interpolate
from bandjax.structure.growth import Pair

SURFACES = ((0, 0, 1), (1, 1, 0), (1, 1, 1))
_CELLS = {
    (1, 1, 0): np.array([[0, 0, 1], [0.5, -0.5, 0], [0.5, 0, 0.5]]),
    (1, 1, 1): np.array([[-0.5, 0.5, 0], [-0.5, 0, 0.5], [0.5, 0.5, 0]]),
}
_BASIS = np.full(3, 0.25)


def oriented_stack(
    pair: Pair, composition: np.ndarray, a_parallel: float, surface: tuple[int, int, int], vacuum: float | None
) -> ase.Atoms:
    """A (110) or (111) stack with the arrays "layer" and "composition"; layer 0 contains the origin.

    Args:
        pair: The two end materials.
        composition: Fraction of the second material, bottom to top, shape (layer,).
        a_parallel: In-plane cubic lattice constant in Å.
        surface: (1, 1, 0) or (1, 1, 1).
        vacuum: None stacks periodically; a height in Å makes a finite slab.

    Raises:
        ValueError: a composition outside [0, 1] or without layers, a length ≤ 0.
    """
    composition = np.asarray(composition, float)
    checks.shape_is("composition", composition, ("layer",))
    checks.fraction("composition", composition)
    count = len(composition)
    if count == 0:
        raise ValueError("Argument `composition` must have at least one layer, but is empty.")
    normal = np.array(surface) / np.linalg.norm(surface)
    first, second, step = _CELLS[surface]
    tall = _out_of_plane(interpolate(*pair.elastic, composition), a_parallel, surface)
    rise = step @ normal
    drop = (step - _BASIS) @ normal  # of the lower site of a double layer; 0 for (110)
    above = np.roll(tall, -1)
    # the bond between two layers is the mean of both, or of a compound that of the cation below it
    bond = tall if pair.common is not None and drop > 1e-9 else (tall + above) / 2
    gap = bond * (rise - drop) + above * drop
    height = np.concatenate([[0.0], np.cumsum(gap)])
    positions, symbols, fractions = [], [], []
    for k, x in enumerate(composition):
        for site, lift in ((k * step, 0.0), ((k - 1) * step + _BASIS, -drop * tall[k])):
            positions.append(a_parallel * _in_plane(site, first, second, normal) + (height[k] + lift) * normal)
        shared = pair.common is not None
        mixed = pair.mixing[int(x >= 0.5)]
        symbols += [mixed, pair.common if shared else mixed]
        fractions += [x, 0.0 if shared else x]
    if vacuum is None:
        third = a_parallel * _in_plane(count * step, first, second, normal) + height[count] * normal
    else:
        checks.positive("vacuum", vacuum, "Å")
        third = (height[count - 1] + vacuum) * normal
    cell = np.stack([a_parallel * first, a_parallel * second, third])
    atoms = ase.Atoms(symbols, positions=positions, cell=cell, pbc=(True, True, vacuum is None))
    atoms.set_array("layer", np.repeat(np.arange(count), 2))
    atoms.set_array("composition", np.array(fractions))
    return atoms


def _in_plane(site: np.ndarray, first: np.ndarray, second: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """The part of a site in the plane, moved into the in-plane cell."""
    coordinates = np.linalg.solve(np.stack([first, second, normal]).T, site)[:2]
    inside = coordinates - np.floor(coordinates + 1e-9)
    return inside @ np.stack([first, second])


def _out_of_plane(elastic: Elastic, a_parallel: float, surface: tuple[int, int, int]) -> np.ndarray:
    """Lattice constant along the normal in Å, shape (layer,)."""
    a, c11, c12 = elastic
    c44 = (c11 - c12) * (c11 + 3 * c12) / (2 * (c11 + c12))
    if surface == (1, 1, 0):
        ratio = (c11 + 3 * c12 - 2 * c44) / (c11 + c12 + 2 * c44)
    else:
        ratio = 2 * (c11 + 2 * c12 - 2 * c44) / (c11 + 2 * c12 + 4 * c44)
    return a * (1 - ratio * (a_parallel / a - 1))
