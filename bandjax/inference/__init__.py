"""From images to parameters with errors: parameters and priors, likelihoods, solver, uncertainty, fit."""

from bandjax.inference.derived import bands_along_cut, gap_at_gamma, zincblende_numbers
from bandjax.inference.fit import FitResult, MapResult, fit
from bandjax.inference.likelihood import Likelihood
from bandjax.inference.linear import FreeWeights
from bandjax.inference.parameters import Parameter, instrument_parameters, table_parameters
from bandjax.inference.partial import part_of_map
from bandjax.inference.posterior import Posterior, sample_posterior
from bandjax.inference.problem import Known, Problem, table_model
from bandjax.inference.readings import ProfileBand, Reading, layer_content, layer_count, profile_band, read_layers
from bandjax.inference.retrieve import (
    FermiSurface,
    PocketArea,
    Retrieval,
    fermi_surface_of,
    retrieval_metrics,
    retrieve_hamiltonian,
)
from bandjax.inference.stack import buried_layer, periodic_layers, stack_model
from bandjax.inference.wells import valence_offset, well_numbers

__all__ = [
    "FermiSurface", "FitResult", "FreeWeights", "Known", "Likelihood", "MapResult", "Parameter", "PocketArea", "Posterior", "Problem", "ProfileBand", "Reading",
    "Retrieval", "bands_along_cut", "buried_layer", "fermi_surface_of", "fit", "gap_at_gamma", "instrument_parameters", "layer_content", "layer_count",
    "part_of_map", "periodic_layers", "profile_band", "read_layers", "retrieval_metrics", "retrieve_hamiltonian", "sample_posterior", "stack_model",
    "table_model", "table_parameters", "valence_offset", "well_numbers", "zincblende_numbers",
]  # fmt: skip
