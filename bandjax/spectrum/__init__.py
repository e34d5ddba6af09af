"""Bands and spectral functions of a model, and the derivative of the spectral function."""

from bandjax.spectrum.bands import bands, effective_masses, eigenvalues, velocities
from bandjax.spectrum.coherent import Emission, coherent_spectra, emission_spectra
from bandjax.spectrum.curvatures import group_curvatures
from bandjax.spectrum.embedded import embedded_spectra
from bandjax.spectrum.expansion import Expansion, chebyshev_expansion
from bandjax.spectrum.helical import TubeLevels, helical_bands, mesh_size, tube_levels, van_hove_energies
from bandjax.spectrum.layered import layer_spectra
from bandjax.spectrum.lorentzians import coherent_lorentzians, lorentzian, weighted_lorentzians
from bandjax.spectrum.mass_tensor import MassTensor, Stationary, level_group, mass_tensor, stationary_point
from bandjax.spectrum.spectral import density_of_states, orbital_groups, spectral_function
from bandjax.spectrum.surface import substrate_self_energy, surface_and_bulk_green
from bandjax.spectrum.unfolding import unfolded_bands, unfolded_orbitals, unfolded_spectral_function
from bandjax.spectrum.wave_vectors import from_cubic, from_fractional, k_path

__all__ = [
    "Emission", "Expansion", "MassTensor", "Stationary", "TubeLevels", "bands", "chebyshev_expansion", "coherent_lorentzians", "coherent_spectra",
    "density_of_states", "effective_masses", "eigenvalues", "embedded_spectra", "emission_spectra", "from_cubic", "from_fractional",
    "group_curvatures", "helical_bands", "k_path", "layer_spectra", "level_group", "lorentzian", "mass_tensor", "mesh_size", "orbital_groups",
    "spectral_function", "stationary_point", "substrate_self_energy", "surface_and_bulk_green", "tube_levels", "unfolded_bands", "unfolded_orbitals",
    "unfolded_spectral_function", "van_hove_energies", "velocities", "weighted_lorentzians",
]  # fmt: skip
