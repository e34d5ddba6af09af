"""Crystals as `ase.Atoms`: zinc blende, graphene and the model lattices.

Site labels. A table that tells sublattices apart (bilayer graphene: A1, B1, A2, B2) finds each atom's label in
`atoms.arrays["site"]`; without that array the chemical symbol is the label.
"""

import re

import ase
import ase.data
import numpy as np

from bandjax.checks import positive
from bandjax.materials import list_parameters, load_parameters


def zincblende(material: str, a: float | None = None, *, cubic: bool = False) -> ase.Atoms:
    """A zinc-blende (for an element: diamond) crystal, axes along the cubic axes.

    Args:
        material: "Si", "InAs", …: the first element (cation) sits at the origin, the second at a/4 (1, 1, 1).
        a: Lattice constant in Å; None takes it from the package's tables where these agree within 0.02 Å.
        cubic: The conventional cell of eight atoms instead of the primitive one of two.

    Raises:
        ValueError: `material` is not one or two elements, `a` is not positive, or `a` is None and the tables
            have no common value.
    """
    elements = elements_of(material)
    if a is None:
        a = _lattice_constant(material)
    positive("a", a, "Å")
    first, second = elements[0], elements[-1]
    cell = a / 2 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]], dtype=float)
    atoms = ase.Atoms([first, second], positions=[[0, 0, 0], [a / 4] * 3], cell=cell, pbc=True)
    if cubic:
        corners = a / 2 * np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]], dtype=float)
        positions = (corners[:, None] + atoms.positions[None]).reshape(-1, 3)
        atoms = ase.Atoms([first, second] * 4, positions=positions, cell=[a] * 3, pbc=True)
    return atoms


def elements_of(material: str) -> list[str]:
    """The one or two elements of a material's name, in its order.

    Raises:
        ValueError: `material` is not one or two elements.
    """
    elements = re.findall(r"[A-Z][a-z]?", material)
    if (
        not 1 <= len(elements) <= 2
        or "".join(elements) != material
        or any(e not in ase.data.chemical_symbols for e in elements)
    ):
        raise ValueError(
            f"Argument `material` must name one or two elements such as 'Si' or 'InAs', but is {material!r}."
        )
    return elements


def _lattice_constant(material: str) -> float:
    found = [load_parameters(e.material, e.table).spec.lattice_constant for e in list_parameters(material)]
    found = [a for a in found if a is not None]
    if not found or max(found) - min(found) > 0.02:
        raise ValueError(f"Argument `a` must be given in Å for {material}: the tables' values are {found}.")
    return found[0]


def graphene(layers: int = 1, *, a: float = 2.46, spacing: float = 3.35, vacuum: float = 20.0) -> ase.Atoms:
    """Graphene, or Bernal-stacked bilayer graphene with site labels A1, B1, A2, B2 (B1 below A2); z is normal.

    Args:
        layers: 1 or 2.
        a: Lattice constant in Å.
        spacing: Distance of the layers in Å.
        vacuum: Height of the cell in Å; the crystal is periodic in the plane only.

    Raises:
        ValueError: `layers` is not 1 or 2, or a length is not positive.
    """
    for name, value in (("a", a), ("spacing", spacing), ("vacuum", vacuum)):
        positive(name, value, "Å")
    if layers not in (1, 2):
        raise ValueError(f"Argument `layers` must be 1 or 2, but is {layers!r}.")
    cell = np.array([[a, 0, 0], [a / 2, a * np.sqrt(3) / 2, 0], [0, 0, vacuum]])
    step = np.array([0.0, a / np.sqrt(3), 0.0])  # from A to B
    positions = [0 * step, step]
    if layers == 2:
        up = np.array([0.0, 0.0, spacing])
        positions += [step + up, 2 * step + up]
    atoms = ase.Atoms("C" * len(positions), positions=positions, cell=cell, pbc=(True, True, False))
    if layers == 2:
        atoms.set_array("site", np.array(["A1", "B1", "A2", "B2"]))
    return atoms


def square_lattice(a: float = 3.9, *, vacuum: float = 20.0) -> ase.Atoms:
    """One site (symbol X) on a square lattice of constant `a` in Å, periodic in the plane."""
    positive("a", a, "Å")
    return ase.Atoms("X", positions=[[0, 0, 0]], cell=[a, a, vacuum], pbc=(True, True, False))


def cubic_lattice(a: float = 3.9, *, c: float | None = None) -> ase.Atoms:
    """One site (symbol X) on a cubic lattice of constant `a`, or a tetragonal one of height `c`, in Å."""
    positive("a", a, "Å")
    return ase.Atoms("X", positions=[[0, 0, 0]], cell=[a, a, a if c is None else c], pbc=True)
