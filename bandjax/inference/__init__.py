"""From images to parameters with errors: parameters and priors, likelihoods, solver, uncertainty, fit."""

from bandjax.inference.derived import bands_along_cut, zincblende_numbers
from bandjax.inference.fit import FitResult, MapResult, fit
from bandjax.inference.likelihood import Likelihood
from bandjax.inference.linear import FreeWeights
from bandjax.inference.parameters import Parameter, instrument_parameters, table_parameters
from bandjax.inference.problem import Problem, table_model

__all__ = [
    "FitResult", "FreeWeights", "Likelihood", "MapResult", "Parameter", "Problem", "bands_along_cut", "fit", "instrument_parameters",
    "table_model", "table_parameters", "zincblende_numbers",
]  # fmt: skip
