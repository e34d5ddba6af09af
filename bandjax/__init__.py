"""bandjax reads atomic structure out of photoemission.

A differentiable tight-binding Hamiltonian and its spectral function are the exact forward model of an ARPES image; a
fit runs the other way, from an image to the Hamiltonian with error bars. The names below are the face of the program;
see docs/ for one page a job.
"""

from typing import TYPE_CHECKING

from bandjax.config import fit
from bandjax.fingerprints import (
    FingerprintTarget,
    array_levels,
    ase_levels,
    band_edges,
    design_stack,
    file_levels,
    fingerprint,
    fingerprint_distance,
    fingerprint_structures,
    levels_collection,
    make_collection,
    match_fingerprint,
    model_levels,
    nearest_neighbours,
    operator_fingerprint,
    operator_spectra,
    stack_numbers,
    superlattice_family,
)
from bandjax.hamiltonian import Model, tight_binding
from bandjax.inference import (
    FitResult,
    FreeWeights,
    Known,
    Likelihood,
    Parameter,
    Problem,
    Retrieval,
    brightness_parameters,
    buried_layer,
    instrument_parameters,
    layer_content,
    layer_count,
    part_of_map,
    periodic_layers,
    profile_band,
    read_layers,
    retrieve_hamiltonian,
    sample_posterior,
    stack_model,
    table_model,
    table_parameters,
    valence_offset,
    well_numbers,
)
from bandjax.io import read, read_collection, write_collection
from bandjax.materials import Table, list_parameters, load_parameters, load_table
from bandjax.photoemission import Instrument, arpes_image, plan_image
from bandjax.reconstruction import (
    Extremum,
    Field,
    Preprocessing,
    Reconstruction,
    band_distance,
    band_extrema,
    compress_bands,
    expand_bands,
    fit_field,
    load_field,
    reconstruct_bands,
)
from bandjax.results import read_result, result_dataset, write_result
from bandjax.spectrum import (
    bands,
    chebyshev_expansion,
    density_of_states,
    effective_masses,
    from_cubic,
    from_fractional,
    k_path,
    spectral_function,
    unfolded_bands,
    unfolded_orbitals,
    unfolded_spectral_function,
    velocities,
)
from bandjax.structure import (
    DESCRIPTORS,
    alloy,
    cubic_lattice,
    depth_below_surface,
    environment,
    erf_profile,
    exponential_potential,
    find_sites,
    graded,
    graphene,
    island,
    keating,
    linear_potential,
    relax,
    slab,
    square_lattice,
    stack_positions,
    stepped,
    superlattice,
    zincblende,
)

if TYPE_CHECKING:  # at run time these come from __getattr__ below
    from bandjax.learning.adaptation import Adaptation, adapt
    from bandjax.learning.closed_loop import Inversion, invert
    from bandjax.learning.correction import Correction, corrected, load_correction
    from bandjax.learning.crystal_images import draw_crystals, expose_crystals
    from bandjax.learning.crystal_loop import CrystalGuess, as_momentum_cut, crystal_problem, guess_crystal
    from bandjax.learning.crystals import zincblende_family
    from bandjax.learning.families import buried_algaas, buried_sige, sige_superlattice
    from bandjax.learning.images import draw_images
    from bandjax.learning.surrogate import Surrogate, load_surrogate, surrogate_spectra
    from bandjax.learning.weights import Reverse, load_reverse

__version__ = "0.1.0"

_LEARNED = {  # name -> module; these need Flax, which takes seconds to import
    "Adaptation": "adaptation", "Inversion": "closed_loop", "Reverse": "weights", "Surrogate": "surrogate", "adapt": "adaptation",
    "buried_algaas": "families", "buried_sige": "families", "draw_images": "images", "invert": "closed_loop",
    "load_reverse": "weights", "load_surrogate": "surrogate", "sige_superlattice": "families", "surrogate_spectra": "surrogate",
    "CrystalGuess": "crystal_loop", "as_momentum_cut": "crystal_loop", "crystal_problem": "crystal_loop",
    "guess_crystal": "crystal_loop", "draw_crystals": "crystal_images", "expose_crystals": "crystal_images", "zincblende_family": "crystals",
    "Correction": "correction", "corrected": "correction", "load_correction": "correction",
}  # fmt: skip


def __getattr__(name: str):
    """The learned part, imported when it is first asked for."""
    if name not in _LEARNED:
        raise AttributeError(f"module 'bandjax' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"bandjax.learning.{_LEARNED[name]}"), name)


__all__ = [
    "DESCRIPTORS",
    "Adaptation",
    "Correction",
    "CrystalGuess",
    "Extremum",
    "Field",
    "FingerprintTarget",
    "FitResult",
    "FreeWeights",
    "Instrument",
    "Inversion",
    "Known",
    "Likelihood",
    "Model",
    "Parameter",
    "Preprocessing",
    "Problem",
    "Reconstruction",
    "Retrieval",
    "Reverse",
    "Surrogate",
    "Table",
    "adapt",
    "alloy",
    "arpes_image",
    "array_levels",
    "as_momentum_cut",
    "ase_levels",
    "band_distance",
    "band_edges",
    "band_extrema",
    "bands",
    "brightness_parameters",
    "buried_algaas",
    "buried_layer",
    "buried_sige",
    "chebyshev_expansion",
    "compress_bands",
    "corrected",
    "crystal_problem",
    "cubic_lattice",
    "density_of_states",
    "depth_below_surface",
    "design_stack",
    "draw_crystals",
    "draw_images",
    "effective_masses",
    "environment",
    "erf_profile",
    "expand_bands",
    "exponential_potential",
    "expose_crystals",
    "file_levels",
    "find_sites",
    "fingerprint",
    "fingerprint_distance",
    "fingerprint_structures",
    "fit",
    "fit_field",
    "from_cubic",
    "from_fractional",
    "graded",
    "graphene",
    "guess_crystal",
    "instrument_parameters",
    "invert",
    "island",
    "k_path",
    "keating",
    "layer_content",
    "layer_count",
    "levels_collection",
    "linear_potential",
    "list_parameters",
    "load_correction",
    "load_field",
    "load_parameters",
    "load_reverse",
    "load_surrogate",
    "load_table",
    "make_collection",
    "match_fingerprint",
    "model_levels",
    "nearest_neighbours",
    "operator_fingerprint",
    "operator_spectra",
    "part_of_map",
    "periodic_layers",
    "plan_image",
    "profile_band",
    "read",
    "read_collection",
    "read_layers",
    "read_result",
    "reconstruct_bands",
    "relax",
    "result_dataset",
    "retrieve_hamiltonian",
    "sample_posterior",
    "sige_superlattice",
    "slab",
    "spectral_function",
    "square_lattice",
    "stack_model",
    "stack_numbers",
    "stack_positions",
    "stepped",
    "superlattice",
    "superlattice_family",
    "surrogate_spectra",
    "table_model",
    "table_parameters",
    "tight_binding",
    "unfolded_bands",
    "unfolded_orbitals",
    "unfolded_spectral_function",
    "valence_offset",
    "velocities",
    "well_numbers",
    "write_collection",
    "write_result",
    "zincblende",
    "zincblende_family",
]
