"""What the sample is: crystals as `ase.Atoms`, and which atoms bond."""

from bandjax.structure.crystal import cubic_lattice, graphene, square_lattice, zincblende
from bandjax.structure.neighbours import find_bonds, site_labels

__all__ = ["cubic_lattice", "find_bonds", "graphene", "site_labels", "square_lattice", "zincblende"]
