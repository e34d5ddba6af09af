"""Photoemission of a stack, coherent over its layers, and the incoherent sum for comparison.

With the depth z_o of orbital o below the outermost atom and λ the attenuation length of the intensity, the amplitude

    v_o = M_o exp(−z_o/2λ),      A_v = −(1/π) Im v† (z − H)⁻¹ v,

in the atomic gauge of H(k∥, k_z); here H is that of k_z = 0 and v_o carries exp(−i k_z z_o), so that one sweep serves all
energies, each at its own k_z(E). In the bulk limit A_v is the band
structure averaged over a Lorentzian in k_z of half width 1/(2λ). The incoherent sum Σ_o |M_o|² exp(−z_o/λ) A_oo is its
limit integrated over k_z: it has no k_z selectivity. Both are divided by the number of primitive cells that are seen,
Σ_atoms exp(−z/λ) over the atoms of a cell (two in zinc blende, one in the lattices of single orbitals), so that stack
and bulk have one scale. Hydrogen emits, but does not count as an atom of a cell.
"""

import jax
import jax.numpy as jnp
import numpy as np

from bandjax.hamiltonian import Model, layer_rows, layered_hamiltonian
from bandjax.materials import HYDROGEN
from bandjax.photoemission.instrument import Instrument
from bandjax.photoemission.matrix_elements import kind_amplitudes, kind_shares
from bandjax.photoemission.pixels import band_shift
from bandjax.spectrum import Emission, emission_spectra, layer_spectra
from bandjax.structure import depth_below_surface


def stack_spectrum(
    lab: Model,
    instrument: Instrument,
    layers: tuple[int, ...],
    lateral: jax.Array,
    kz: jax.Array,
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
        lateral: Wave vector of the band along the surface, 1/Å, shape (2,).
        kz: The same along the normal, inside, 1/Å, shape (energy,).
        hv: Photon energy, eV.
        x, gamma: Energies and half widths, eV, shape (energy,).
        coherent: Whether amplitudes or intensities of the layers add up.
    """
    rows = layer_rows(lab, layers)
    h = layered_hamiltonian(lab, jnp.concatenate([lateral, jnp.zeros(1, lab.dtype)]), layers)
    depth = depth_below_surface(lab.positions)
    crystal = np.array([site != HYDROGEN for site in lab.topology.sites()])
    scale = _atoms_of_cell(lab) / jnp.exp(-depth / instrument.escape_depth)[crystal].sum()
    depth = jnp.where(rows >= 0, depth[lab.topology.atom_of()][rows], 0.0)
    element, share = _elements(lab, instrument, layers, lateral, kz, hv)
    share = jnp.where(rows >= 0, share[:, rows], 0).astype(lab.dtype)
    emission = Emission(element, share, depth, 0.5 / instrument.escape_depth, kz)
    if coherent:
        return emission_spectra(h, emission, x, gamma)[None] * scale
    v = jnp.einsum("ake,kln->alne", element, share, precision="highest")
    weight = (v.real**2 + v.imag**2).sum(axis=0)
    seen = jnp.exp(-depth / instrument.escape_depth)[..., None]
    return jnp.sum(weight * seen * layer_spectra(h, x, gamma), axis=(0, 1))[None] * scale


def _elements(
    lab: Model, instrument: Instrument, layers: tuple[int, ...], lateral: jax.Array, kz: jax.Array, hv: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Matrix elements (amplitude, kind, energy), and the part of each kind in every row of H, (kind, row)."""
    if instrument.matrix_elements != "plane_wave":
        alike = _alike(lab, layers)
        return jnp.asarray(
            np.eye(len(alike))[..., None] * np.ones(kz.shape), jnp.result_type(lab.dtype, 1j)
        ), jnp.asarray(alike)
    k = jnp.concatenate([jnp.broadcast_to(lateral, (kz.shape[0], 2)), kz[:, None]], axis=1) + band_shift(instrument, hv)
    element = jax.vmap(lambda k: kind_amplitudes(lab, instrument, k), out_axes=-1)(k)  # (kind, energy)
    spins = np.eye(1 if lab.spin_orbit is None else 2)
    # spins do not interfere: one amplitude for each, with kinds of its own
    return jnp.concatenate([s[:, None, None] * element for s in spins.T], axis=1), jnp.kron(spins, kind_shares(lab))


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
