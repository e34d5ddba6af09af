"""What the sample is: crystals, stacks and alloys as `ase.Atoms`, which atoms bond, and potentials on them."""

from bandjax.structure.alloy import alloy
from bandjax.structure.crystal import cubic_lattice, graphene, square_lattice, zincblende
from bandjax.structure.environment import DESCRIPTORS, Environment, electronegativity, environment
from bandjax.structure.growth import erf_profile, stack_positions
from bandjax.structure.keating import ForceField, keating
from bandjax.structure.nanotube import Tube, chiral_angle, list_nanotubes, nanotube, tube, tube_diameter
from bandjax.structure.neighbours import Bonds, find_bonds, find_mixed_bonds, site_fractions, site_labels
from bandjax.structure.potential import depth_below_surface, exponential_potential, linear_potential
from bandjax.structure.relax import Relaxed, relax
from bandjax.structure.rough import island, stepped
from bandjax.structure.sites import Sites, find_sites
from bandjax.structure.stacks import graded, slab, superlattice

__all__ = [
    "DESCRIPTORS",
    "Bonds",
    "Environment",
    "ForceField",
    "Relaxed",
    "Sites",
    "Tube",
    "alloy",
    "chiral_angle",
    "cubic_lattice",
    "depth_below_surface",
    "electronegativity",
    "environment",
    "erf_profile",
    "exponential_potential",
    "find_bonds",
    "find_mixed_bonds",
    "find_sites",
    "graded",
    "graphene",
    "island",
    "keating",
    "linear_potential",
    "list_nanotubes",
    "nanotube",
    "relax",
    "site_fractions",
    "site_labels",
    "slab",
    "square_lattice",
    "stack_positions",
    "stepped",
    "superlattice",
    "tube",
    "tube_diameter",
    "zincblende",
]
