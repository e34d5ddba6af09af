"""Alloys of two species on the sites of a crystal: drawn at random, or the virtual crystal."""

import ase
import numpy as np

from bandjax import checks
from bandjax.materials import interpolate
from bandjax.structure.crystal import zincblende
from bandjax.structure.growth import pair_of


def alloy(
    crystal: ase.Atoms | tuple[str, str],
    fraction: float,
    *,
    species: tuple[str, str] = ("Si", "Ge"),
    repeat: int | tuple[int, int, int] = 1,
    kind: str = "random",
    seed: int = 0,
) -> ase.Atoms:
    """An alloy on the sites of a crystal.

    Args:
        crystal: Structure, of which the sites with a symbol in `species` are filled anew; or two materials such as
            ("Si", "Ge") or ("GaAs", "InAs"): the cubic cell at the lattice constant linear in `fraction`.
        fraction: Fraction of the second species, in [0, 1].
        species: The two elements that mix; taken from the materials where two are given.
        repeat: How often the crystal is repeated along its cell vectors.
        kind: "random" (round(fraction · sites) sites of the second species, drawn without preference) or "virtual"
            (each site holds `fraction`, for `tight_binding`, which mixes the blocks; symbols are of the nearer species).
        seed: Of the random draw.

    Returns:
        Structure with the array "composition" (0 at sites that do not mix). Positions are those of the crystal: nothing
        is relaxed.

    Raises:
        ValueError: a fraction outside [0, 1], an unknown kind, no site to mix, or unknown materials.
    """
    checks.fraction("fraction", fraction)
    checks.one_of("kind", kind, ("random", "virtual"))
    if not isinstance(crystal, ase.Atoms):
        pair = pair_of(crystal)
        species = pair.mixing
        a = float(interpolate(*pair.elastic, fraction).lattice_constant)
        crystal = zincblende(crystal[0], a, cubic=True)
    atoms = crystal.repeat(repeat)
    sites = np.flatnonzero(np.isin(atoms.get_chemical_symbols(), species))
    if not sites.size:
        raise ValueError(
            f"Argument `crystal` must have sites of {' or '.join(species)}, but has {atoms.get_chemical_formula()}."
        )
    composition = np.zeros(len(atoms))
    if kind == "virtual":
        composition[sites] = fraction
    else:
        chosen = np.random.default_rng(seed).permutation(sites)[: round(fraction * sites.size)]
        composition[chosen] = 1.0
    symbols = np.array(atoms.get_chemical_symbols())
    symbols[sites] = np.where(composition[sites] < 0.5, *species)
    atoms.set_chemical_symbols(list(symbols))
    atoms.set_array("composition", composition)
    return atoms
