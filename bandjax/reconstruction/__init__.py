"""Band map → bands, without a Hamiltonian: Markov random fields of continuous energies."""

from bandjax.reconstruction.markov_field import Reconstruction, reconstruct_bands
from bandjax.reconstruction.preprocessing import Preprocessing

__all__ = ["Preprocessing", "Reconstruction", "reconstruct_bands"]
