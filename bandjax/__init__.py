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
    stack_model,
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
from bandjax.structure import (
    DESCRIPTORS,
    alloy,
    cubic_lattice,
    depth_below_surface,
    environment,
    erf_profile,
    exponential_potential,
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

__version__ = "0.1.0"

__all__ = [
    "DESCRIPTORS",
    "FitResult",
    "FreeWeights",
    "Instrument",
    "Known",
    "Likelihood",
    "Model",
    "Parameter",
    "Problem",
    "Table",
    "alloy",
    "arpes_image",
    "bands",
    "cubic_lattice",
    "density_of_states",
    "depth_below_surface",
    "effective_masses",
    "environment",
    "erf_profile",
    "exponential_potential",
    "fit",
    "from_cubic",
    "from_fractional",
    "graded",
    "graphene",
    "instrument_parameters",
    "island",
    "k_path",
    "keating",
    "linear_potential",
    "list_parameters",
    "load_parameters",
    "load_table",
    "plan_image",
    "read",
    "read_result",
    "relax",
    "result_dataset",
    "slab",
    "spectral_function",
    "square_lattice",
    "stack_model",
    "stack_positions",
    "stepped",
    "superlattice",
    "table_model",
    "table_parameters",
    "tight_binding",
    "velocities",
    "write_result",
    "zincblende",
]  # fmt: skip
