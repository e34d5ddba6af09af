"""Lattice and elastic constants, and what pseudomorphic growth on (001) makes of them.

A layer that keeps the in-plane lattice constant a∥ of its substrate relaxes along the growth axis until that is free of
stress, σ_zz = 2 C12 ε∥ + C11 ε⊥ = 0:

    ε∥ = a∥/a − 1,    ε⊥ = −2 (C12/C11) ε∥,    a⊥ = a (1 + ε⊥)

Source: C. G. Van de Walle, R. M. Martin, Phys. Rev. B 34, 5621 (1986), (after); linear elasticity. The
constants and their citation stand in data/elastic.json.
"""

from typing import NamedTuple

import jax
from jax.typing import ArrayLike

from bandjax.checks import nearest
from bandjax.materials.files import package_file


class Elastic(NamedTuple):
    """Lattice constant in Å and elastic constants in GPa of a cubic crystal."""

    lattice_constant: ArrayLike
    c11: ArrayLike
    c12: ArrayLike


def elastic_constants(material: str) -> Elastic:
    """Lattice and elastic constants of "Si", "Ge" or a III-V binary.

    Raises:
        ValueError: the package holds no constants of the material; the nearest name is given.
    """
    known = package_file("elastic")["materials"]
    if material not in known:
        raise ValueError(
            f"Material must be one with elastic constants ({', '.join(known)}), but is {material!r}."
            f"{nearest(material, known)}"
        )
    entry = known[material]
    return Elastic(entry["lattice_constant"], entry["c11"], entry["c12"])


def interpolate(first: Elastic, second: Elastic, composition: ArrayLike) -> Elastic:
    """Constants of an alloy, linear in the fraction of the second material (Vegard); `composition` may be traced."""
    return Elastic(*((1 - composition) * a + composition * b for a, b in zip(first, second, strict=True)))


def out_of_plane_constant(elastic: Elastic, a_parallel: ArrayLike) -> jax.Array:
    """a⊥ in Å of a (001) layer with in-plane lattice constant `a_parallel` in Å; everything may be traced."""
    a = elastic.lattice_constant
    return a * (1 - 2 * (elastic.c12 / elastic.c11) * (a_parallel / a - 1))
