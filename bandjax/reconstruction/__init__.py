"""Band map → bands, without a Hamiltonian: Markov random fields of continuous energies; band surfaces as coefficients; a map
as a function that networks hold.
"""

from bandjax.reconstruction.compression import compress_bands, expand_bands
from bandjax.reconstruction.expected import expected_counts, residual
from bandjax.reconstruction.extrema import Extremum, band_distance, band_extrema
from bandjax.reconstruction.implicit import Field, fit_field, load_field
from bandjax.reconstruction.markov_field import Reconstruction, reconstruct_bands
from bandjax.reconstruction.preprocessing import Preprocessing

__all__ = [
    "Extremum",
    "Field",
    "Preprocessing",
    "Reconstruction",
    "band_distance",
    "band_extrema",
    "compress_bands",
    "expand_bands",
    "expected_counts",
    "fit_field",
    "load_field",
    "reconstruct_bands",
    "residual",
]
