"""Fingerprints of spectral operators: compare, find, classify and design crystals by their electrons."""

from bandjax.fingerprints.collection import Neighbours, joined, make_collection, nearest_neighbours, principal_map
from bandjax.fingerprints.density import density, fingerprint
from bandjax.fingerprints.design import Design, design_stack
from bandjax.fingerprints.design_targets import FingerprintTarget
from bandjax.fingerprints.distances import METRICS, embedded, fingerprint_distance
from bandjax.fingerprints.kernels import KERNELS, PUBLISHED_CUT, kernel_value
from bandjax.fingerprints.levels import BandEdges, Levels, array_levels, band_edges, half_grid, model_levels
from bandjax.fingerprints.operators import OPERATORS, operator_fingerprint, operator_spectra
from bandjax.fingerprints.sources import ase_levels, file_levels
from bandjax.fingerprints.stack_family import NUMBERS, StackFamily, stack_numbers, superlattice_family
from bandjax.fingerprints.structures import fingerprint_structures, grid_of, structure_names, table_for
from bandjax.fingerprints.windows import WINDOWS, Window, as_window, relative_energies, window_energies

__all__ = [
    "KERNELS", "METRICS", "NUMBERS", "OPERATORS", "PUBLISHED_CUT", "WINDOWS", "BandEdges", "Design", "FingerprintTarget", "Levels", "Neighbours",
    "StackFamily", "Window", "array_levels", "as_window", "ase_levels", "band_edges", "density", "design_stack", "embedded", "file_levels",
    "fingerprint", "fingerprint_distance", "fingerprint_structures", "grid_of", "half_grid", "joined", "kernel_value", "make_collection",
    "model_levels", "nearest_neighbours", "operator_fingerprint", "operator_spectra", "principal_map", "relative_energies", "stack_numbers",
    "structure_names", "superlattice_family", "table_for", "window_energies",
]  # fmt: skip
