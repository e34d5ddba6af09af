"""Fingerprints of spectral operators: compare, find, classify and design crystals by their electrons."""

from bandjax.fingerprints.collection import (
    Neighbours,
    joined,
    levels_collection,
    make_collection,
    nearest_neighbours,
    principal_map,
)
from bandjax.fingerprints.density import density, fingerprint
from bandjax.fingerprints.design import Design, design_stack
from bandjax.fingerprints.design_targets import FingerprintTarget
from bandjax.fingerprints.distances import METRICS, embedded, fingerprint_distance
from bandjax.fingerprints.kernels import KERNELS, PUBLISHED_CUT, kernel_value
from bandjax.fingerprints.labels import Labels, ModelLabels, model_labels, path_labels, transparent_conductor
from bandjax.fingerprints.levels import BandEdges, Levels, array_levels, band_edges, half_grid, model_levels
from bandjax.fingerprints.matching import Match, match_fingerprint
from bandjax.fingerprints.operators import OPERATORS, operator_fingerprint, operator_spectra
from bandjax.fingerprints.screening import (
    DUMMY,
    Protocol,
    Screening,
    precision_recall,
    screen,
    screening_metrics,
    screening_sweep,
    training_sizes,
    training_split,
)
from bandjax.fingerprints.sources import ase_levels, file_levels
from bandjax.fingerprints.stack_family import NUMBERS, StackFamily, stack_numbers, superlattice_family
from bandjax.fingerprints.structures import fingerprint_structures, grid_of, structure_names
from bandjax.fingerprints.tables import table_for
from bandjax.fingerprints.windows import WINDOWS, Window, as_window, relative_energies, window_energies
from bandjax.fingerprints.zoo import Crystals, draw_zoo, zoo_atoms, zoo_model
from bandjax.fingerprints.zoo_features import STRUCTURE_FEATURES, ZooFeatures, zoo_features, zoo_parts

__all__ = [
    "DUMMY", "KERNELS", "METRICS", "NUMBERS", "OPERATORS", "PUBLISHED_CUT", "STRUCTURE_FEATURES", "WINDOWS", "BandEdges", "Crystals", "Design",
    "FingerprintTarget", "Labels", "Levels", "Match", "ModelLabels", "Neighbours", "Protocol", "Screening", "StackFamily", "Window", "ZooFeatures",
    "array_levels", "as_window", "ase_levels", "band_edges", "density", "design_stack", "draw_zoo", "embedded", "file_levels", "fingerprint",
    "fingerprint_distance", "fingerprint_structures", "grid_of", "half_grid", "joined", "kernel_value", "levels_collection", "make_collection",
    "match_fingerprint", "model_labels", "model_levels", "nearest_neighbours", "operator_fingerprint", "operator_spectra", "path_labels",
    "precision_recall", "principal_map", "relative_energies", "screen", "screening_metrics", "screening_sweep", "stack_numbers", "structure_names", "superlattice_family",
    "table_for", "training_sizes", "training_split", "transparent_conductor", "window_energies", "zoo_atoms", "zoo_features", "zoo_model",
    "zoo_parts",
]  # fmt: skip
