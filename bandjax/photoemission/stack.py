"""Photoemission of a stack, coherent over its layers, and the incoherent sum for comparison.

With the depth z_o of orbital o below the outermost atom and λ the attenuation length of the intensity, the amplitude

    v_o = M_o exp(−z_o/2λ),      A_v = −(1/π) Im v† (z − H)⁻¹ v,

in the atomic gauge of H(k∥, k_z): the phases exp(i k_z z) of the layers are in H. In the bulk limit A_v is the band
structure averaged over a Lorentzian in k_z of half width 1/(2λ). The incoherent sum Σ_o |M_o|² exp(−z_o/λ) A_oo is its
limit integrated over k_z: it has no k_z selectivity. Both are divided by the number of primitive cells that are seen,
Σ_atoms exp(−z/λ) over the atoms of a cell (two in zinc blende, one in the lattices of single orbitals), so that stack
and bulk have one scale. Hydrogen emits, but does not count as an atom of a cell.
"""

import jax
import jax.numpy as jnp
import numpy as np

from bandjax.hamiltonian import Model, layer_rows, layered_hamiltonian
from bandjax.photoemission.instrument import Instrument
from bandjax.photoemission.matrix_elements import plane_wave_amplitude
from bandjax.photoemission.plan import band_shift
from bandjax.spectrum.layered import coherent_spectra, layer_spectra
from bandjax.structure import HYDROGEN, depth_below_surface


def stack_spectrum(
    lab: Model,
    instrument: Instrument,
    layers: tuple[int, ...],
    k: jax.Array,
    hv: jax.Array,
    x: jax.Array,
    gamma: jax.Array,
    *,
    coherent: bool,
) -> jax.Array:
    """A of a stack at one laboratory wave vector, (1, energy).

    Args:
        lab: Model in the laboratory axes, not periodic along z.
        instrument: Supplies `escape_depth` and the matrix elements.
        layers: Layer of each atom, from 0 (outermost) on.
        k: Wave vector of the band inside, k_z included, 1/Å.
        hv: Photon energy, eV.
        x, gamma: Energies and half widths, eV, shape (energy,).
        coherent: Whether amplitudes or intensities of the layers add up.
    """
    topology = lab.topology
    rows = layer_rows(lab, layers)
    seen = jnp.exp(-depth_below_surface(lab.positions) / instrument.escape_depth)
    if instrument.matrix_elements == "plane_wave":
        v = plane_wave_amplitude(lab, instrument, k + band_shift(instrument, hv))
    else:
        v = jnp.asarray(_alike(lab, layers), lab.dtype)
    v = v * jnp.sqrt(seen)[topology.atom_of()]
    v = jnp.where(rows >= 0, v[:, rows], 0.0)  # (amplitude, layer, n)
    h = layered_hamiltonian(lab, k, layers)
    if coherent:
        out = coherent_spectra(h, v, x, gamma).sum(axis=0)
    else:
        weight = (v.real**2 + v.imag**2).sum(axis=0)
        out = jnp.einsum("ln,lne->e", weight, layer_spectra(h, x, gamma), precision="highest")
    crystal = np.array([topology.orbitals[first].site != HYDROGEN for first in topology.first_orbital])
    return out[None] * _atoms_of_cell(lab) / seen[crystal].sum()


def _atoms_of_cell(lab: Model) -> int:
    """Atoms of the bulk's primitive cell: two where there are p shells (zinc blende), else one."""
    return 2 if any(o.shell == "p" for o in lab.topology.orbitals) else 1


def _alike(lab: Model, layers: tuple[int, ...]) -> np.ndarray:
    """Amplitudes of "uniform", (amplitude, orbital): each orbital and spin on every n-th layer, n the atoms of a cell.

    Their sum is the trace of the bulk's cell, in which atoms do not interfere.
    """
    period = _atoms_of_cell(lab)
    labels = [
        (o.site == HYDROGEN, o.shell, o.name, layers[o.atom] % period, row // len(lab.topology.orbitals))
        for row, o in enumerate(lab.topology.labels())
    ]
    kinds = list(dict.fromkeys(labels))
    return np.array([[label == kind for label in labels] for kind in kinds], float)
