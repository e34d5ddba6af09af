"""Crystals and models that several test files share, each built once a run."""

import functools

import ase
import numpy as np

from bandjax.hamiltonian import Model, tight_binding
from bandjax.materials import Table, load_parameters
from bandjax.structure import cubic_lattice, graphene, square_lattice, zincblende

# one elemental and one compound crystal for every kind of published table, a pair of elements, and the lattice models
PUBLISHED = (
    ("Si", "vogl1983"),
    ("GaAs", "klimeck2000"),
    ("GaAs", "jancu1998"),
    ("InAs", "boykin2004"),
    ("Ge", "niquet2009"),
    (("Si", "Ge"), "niquet2009"),
)
FLAT = (
    ("graphene", "pz"),
    ("bilayer graphene", "pz"),
    ("square", "single_orbital"),
    ("square", "two_orbital"),
)
CASES = (*PUBLISHED, *FLAT, ("tetragonal", "single_orbital"), ("cubic", "two_orbital"))
ELEMENTAL = (("Si", "vogl1983"), ("Si", "boykin2004"), ("Ge", "jancu1998"), ("Ge", "niquet2009"), ("C", "jancu1998"))

# lattice constants in Å where the table prints none (handbook values; the bands do not depend on them in units of 2π/a)
HANDBOOK = {"ZnSe": 5.668, "CdS": 5.832, "ZnS": 5.409, "CdSe": 6.05, "CdTe": 6.482}

# k in units of 2π/a: where levels are degenerate (Γ, X, L, on Δ and Λ), and where they are not
SYMMETRIC = np.array([[0, 0, 0], [1, 0, 0], [0.5, 0.5, 0.5], [0.3, 0, 0], [0.2, 0.2, 0.2]])
GENERIC = np.array([[0.137, 0.291, -0.418]])


def name_of(case) -> str:
    """Identity of a case in the list of tests."""
    material, table = case
    return f"{''.join(material)}-{table}".replace(" ", "_")


def structure(material: str | tuple[str, str], table: Table) -> ase.Atoms:
    """The crystal that a table describes, at the table's lattice constant."""
    if material in ("graphene", "bilayer graphene", "nanotube"):  # the last unrolled
        return graphene(2 if material == "bilayer graphene" else 1)
    if material == "square":
        return square_lattice()
    if material in ("cubic", "tetragonal"):
        return cubic_lattice(c=6.6 if material == "tetragonal" else None)
    if not isinstance(material, str):
        length = next(b.length for b in table.spec.bonds if b.pair == material)
        return zincblende("".join(material), 4 / np.sqrt(3) * length)
    anion, cation = table.spec.species[0], table.spec.species[-1]
    a = table.spec.lattice_constant or HANDBOOK[material]
    return zincblende(cation if anion == cation else cation + anion, a)


@functools.cache
def build(material: str | tuple[str, str], table: str, spin_orbit: bool = True) -> tuple[ase.Atoms, Table, Model]:
    """Structure, table and model; spin-orbit only where the table has it."""
    values = load_parameters(material, table)
    atoms = structure(material, values)
    return atoms, values, tight_binding(atoms, values, spin_orbit=spin_orbit and bool(values.spec.spin_orbit))


def length_unit(atoms: ase.Atoms) -> float:
    """Cubic (or in-plane) lattice constant in Å of one of the above primitive crystals."""
    zincblende_like = len(atoms) == 2 and atoms.pbc.all()
    return float(2 * np.abs(atoms.cell).max() if zincblende_like else np.linalg.norm(atoms.cell[0]))
