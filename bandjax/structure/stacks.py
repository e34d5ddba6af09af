"""Stacks as `ase.Atoms`: superlattices, slabs, graded interfaces; on (001) and, where asked for, on (110) and (111).

All are pseudomorphic: one in-plane lattice constant, that of the substrate, and layers strained along z after their
elastic constants (`structure/growth.py`). Besides positions they carry two arrays: "layer", the monolayer's index from
the bottom (hydrogen: −1 and the number of layers), and "composition", the fraction of the second of the two mixing
elements at each site (0 at the common anion and at hydrogen), which `tight_binding` reads. Layer 0 is at z = 0.
"""

from collections.abc import Sequence

import ase
import numpy as np
from jax.typing import ArrayLike

from bandjax import checks
from bandjax.materials import HYDROGEN
from bandjax.structure.growth import in_plane_constant, pair_of, stack_positions
from bandjax.structure.oriented import SURFACES, oriented_stack


def superlattice(
    materials: tuple[str, str],
    layers: Sequence[int],
    *,
    substrate: str | float | None = None,
    surface: tuple[int, int, int] = (0, 0, 1),
) -> ase.Atoms:
    """A periodic superlattice with abrupt interfaces.

    With n + m ≡ 2 (mod 4) monolayers the third cell vector leans by a∥/2 along x, so that one period is enough.

    Args:
        materials: Two elements, or two compounds with a common anion: ("Si", "Ge"), ("GaAs", "InAs").
        layers: Numbers of layers, alternating between the materials, the first one at the bottom: (4, 4), (1, 3, 2, 2).
            Monolayers of elements, bilayers of compounds.
        substrate: Material or in-plane lattice constant in Å; None is the first material.
        surface: As in `graded`.

    Raises:
        ValueError: an odd sum of monolayers (not commensurate), a number of layers < 1, an unknown material or
            substrate.
    """
    return graded(materials, _alternating(layers), substrate=substrate, vacuum=None, surface=surface)


def slab(
    materials: str | tuple[str, str],
    layers: int | Sequence[int],
    *,
    substrate: str | float | None = None,
    vacuum: float = 15.0,
    hydrogen: float | None = None,
) -> ase.Atoms:
    """A finite (001) stack with ideal, unreconstructed 1 × 1 surfaces; periodic in the plane only.

    Args:
        materials: One or two materials, as in `superlattice`.
        layers: Numbers of layers from the bottom, alternating between the materials. A slab of a compound ends with a
            cation below and an anion on top.
        substrate: Material or in-plane lattice constant in Å; None is the first material.
        vacuum: Empty height of the cell in Å.
        hydrogen: Bond length in Å (Si-H: 1.48) of two hydrogen atoms a surface atom, along its ideal missing bonds;
            None leaves the bonds dangling.

    Raises:
        ValueError: a number of layers < 1, a length ≤ 0, an unknown material or substrate.
    """
    return graded(materials, _alternating(layers), substrate=substrate, vacuum=vacuum, hydrogen=hydrogen)


def graded(
    materials: str | tuple[str, str],
    composition: ArrayLike,
    *,
    substrate: str | float | None = None,
    vacuum: float | None = 15.0,
    hydrogen: float | None = None,
    surface: tuple[int, int, int] = (0, 0, 1),
) -> ase.Atoms:
    """A stack of any composition profile, for instance of `erf_profile`; spacings follow the composition.

    The symbol of an atom is that of the nearer species.

    Args:
        materials: One or two materials, as in `superlattice`.
        composition: Fraction of the second material from the bottom, in [0, 1], shape (layer,); of compounds
            (bilayer,).
        substrate: Material or in-plane lattice constant in Å; None is the first material.
        vacuum: Empty height of the cell in Å; None makes the stack periodic along z.
        hydrogen: As in `slab`; (001) only.
        surface: Growth direction: (0, 0, 1), (1, 1, 0) (layers of two atoms) or (1, 1, 1) (double layers). The Cartesian
            axes are the cubic ones in any case, and layers count as `structure/oriented.py` says.

    Raises:
        ValueError: a composition outside [0, 1], a periodic (001) stack with an odd number of monolayers, a length ≤ 0, an
            unknown material, substrate or surface, hydrogen on another surface.
    """
    pair = pair_of(materials)
    a_parallel = in_plane_constant(pair.elastic[0].lattice_constant if substrate is None else substrate)
    checks.one_of("surface", tuple(surface), SURFACES)
    if tuple(surface) != (0, 0, 1):
        if hydrogen is not None:
            raise ValueError(f"Argument `hydrogen` must be None for surface {tuple(surface)}: only (0, 0, 1) has it.")
        return oriented_stack(pair, composition, float(a_parallel), tuple(surface), vacuum)
    positions, cell = stack_positions(composition, a_parallel, materials, vacuum=vacuum, hydrogen=hydrogen)
    x = np.asarray(composition, float)
    fraction = x if pair.common is None else np.stack([x, np.zeros_like(x)], axis=1).ravel()
    symbols = np.where(fraction < 0.5, *pair.mixing)
    if pair.common is not None:
        symbols[1::2] = pair.common
    layer = np.arange(len(symbols))
    if hydrogen is not None:
        symbols = np.concatenate([symbols, [HYDROGEN] * 4])
        layer = np.concatenate([layer, [-1, -1, len(layer), len(layer)]])
        fraction = np.concatenate([fraction, np.zeros(4)])
    atoms = ase.Atoms(
        list(symbols), positions=np.asarray(positions), cell=np.asarray(cell), pbc=(True, True, vacuum is None)
    )
    atoms.set_array("layer", layer)
    atoms.set_array("composition", fraction)
    return atoms


def _alternating(layers: int | Sequence[int]) -> np.ndarray:
    """0 for layers of the first material and 1 for those of the second."""
    counts = [layers] if np.ndim(layers) == 0 else list(layers)
    for count in counts:
        if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 1:
            raise ValueError(f"Argument `layers` must hold whole numbers ≥ 1, but holds {count!r}.")
    return np.concatenate([np.full(count, float(place % 2)) for place, count in enumerate(counts)] or [np.zeros(0)])
