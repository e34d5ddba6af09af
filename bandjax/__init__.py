"""bandjax reads atomic structure out of photoemission.

A differentiable tight-binding Hamiltonian and its spectral function are the exact forward model of an ARPES image; a
fit runs the other way, from an image to the Hamiltonian with error bars. The names below are the face of the program;
see docs/ for one page a job.
"""

from bandjax.config import fit
from bandjax.hamiltonian import Model, tight_binding
from bandjax.inference import (
    FitResult,
    FreeWeights,
    Known,
    Likelihood,
    Parameter,
    Problem,
    instrument_parameters,
    table_model,
    table_parameters,
)
from bandjax.io import read
from bandjax.materials import Table, list_parameters, load_parameters, load_table
from bandjax.photoemission import Instrument, arpes_image, plan_image
from bandjax.results import read_result, result_dataset, write_result
from bandjax.spectrum import (
    bands,
    density_of_states,
    effective_masses,
    from_cubic,
    from_fractional,
    k_path,
    spectral_function,
    velocities,
)
from bandjax.structure import cubic_lattice, graphene, square_lattice, zincblende

__version__ = "0.1.0"

__all__ = [
    "FitResult", "FreeWeights", "Instrument", "Known", "Likelihood", "Model", "Parameter", "Problem", "Table", "arpes_image", "bands",
    "cubic_lattice", "density_of_states", "effective_masses", "fit", "from_cubic", "from_fractional", "graphene",
    "instrument_parameters", "k_path", "list_parameters", "load_parameters", "load_table", "plan_image", "read", "read_result", "result_dataset", "spectral_function",
    "square_lattice", "table_model", "table_parameters", "tight_binding", "velocities", "write_result", "zincblende",
]  # fmt: skip
