"""Band map → bands, without a Hamiltonian: Markov random fields of continuous energies."""

from bandjax.reconstruction.extrema import Extremum, band_distance, band_extrema
from bandjax.reconstruction.markov_field import Reconstruction, reconstruct_bands
from bandjax.reconstruction.preprocessing import Preprocessing

__all__ = [
    "Extremum",
    "Preprocessing",
    "Reconstruction",
    "band_distance",
    "band_extrema",
    "reconstruct_bands",
]
