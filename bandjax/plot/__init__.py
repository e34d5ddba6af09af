"""Figures: what was measured, what the model makes of it, and what is left; parameters, correlations, bands, curves."""

from bandjax.plot.bands import plot_bands
from bandjax.plot.fermi import plot_fermi_surface
from bandjax.plot.field import plot_field
from bandjax.plot.fit import plot_curves, plot_fit
from bandjax.plot.numbers import plot_correlation, plot_parameters
from bandjax.plot.slices import plot_residual, plot_slices
from bandjax.plot.stack import plot_profile
from bandjax.plot.surfaces import plot_reconstruction

__all__ = [
    "plot_bands",
    "plot_correlation",
    "plot_curves",
    "plot_fermi_surface",
    "plot_field",
    "plot_fit",
    "plot_parameters",
    "plot_profile",
    "plot_reconstruction",
    "plot_residual",
    "plot_slices",
]
