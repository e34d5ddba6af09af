"""Band map → bands, without a Hamiltonian: Markov random fields of continuous energies; band surfaces as coefficients."""

from bandjax.reconstruction.compression import compress_bands, expand_bands
from bandjax.reconstruction.markov_field import Reconstruction, reconstruct_bands
from bandjax.reconstruction.preprocessing import Preprocessing

__all__ = ["Preprocessing", "Reconstruction", "compress_bands", "expand_bands", "reconstruct_bands"]
