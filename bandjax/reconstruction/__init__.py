"""Band map → bands, without a Hamiltonian: Markov random fields of continuous energies; a map as a function, held by a network."""

from bandjax.reconstruction.implicit import Field, fit_field, load_field
from bandjax.reconstruction.markov_field import Reconstruction, reconstruct_bands
from bandjax.reconstruction.preprocessing import Preprocessing

__all__ = ["Field", "Preprocessing", "Reconstruction", "fit_field", "load_field", "reconstruct_bands"]
