"""Photoemission of a stack, coherent over its layers, and the incoherent sum for comparison.

With the depth z_o of orbital o below the outermost atom and λ the attenuation length of the intensity, the amplitude

    v_o = M_o exp(−z_o/2λ),      A_v = −(1/π) Im v† (z − H)⁻¹ v,

in the atomic gauge of H(k∥, k_z); here H is that of k_z = 0 and v_o carries exp(−i k_z z_o), so that one sweep serves all
energies, each at its own k_z(E). In the bulk limit A_v is the band
structure averaged over a Lorentzian in k_z of half width 1/(2λ). The incoherent sum Σ_o |M_o|² exp(−z_o/λ) A_oo is its
limit integrated over k_z: it has no k_z selectivity. Both are divided by the number of primitive cells that are seen,
Σ_atoms exp(−z/λ) over the atoms of a cell (two in zinc blende, one in the lattices of single orbitals), so that stack
and bulk have one scale.
"""

import jax
import jax.numpy as jnp
import numpy as np

from bandjax.hamiltonian import Model, layer_rows, layered_hamiltonian
from bandjax.photoemission.instrument import Instrument
from bandjax.photoemission.matrix_elements import plane_wave_amplitude
from bandjax.photoemission.plan import band_shift
from bandjax.spectrum.layered import coherent_spectra, layer_spectra
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
    atom = lab.topology.atom_of()
    rows = layer_rows(lab, layers)
    depth = depth_below_surface(lab.positions)
    seen = jnp.exp(-depth / instrument.escape_depth)
    if instrument.matrix_elements == "plane_wave":
        k = jnp.concatenate([jnp.broadcast_to(lateral, (kz.shape[0], 2)), kz[:, None]], axis=1)
        at = lambda k: plane_wave_amplitude(lab, instrument, k + band_shift(instrument, hv))  # noqa: E731
        v = jax.vmap(at, out_axes=-1)(k)  # (amplitude, orbital, energy)
    else:
        v = jnp.asarray(_alike(lab, layers), lab.dtype)[:, :, None]
    v = v * jnp.sqrt(seen)[atom][:, None]
    h = layered_hamiltonian(lab, jnp.concatenate([lateral, jnp.zeros(1, lab.dtype)]), layers)
    scale = _atoms_of_cell(lab) / seen.sum()
    if coherent:
        phase = -depth[atom][:, None] * kz
        v = v * jax.lax.complex(jnp.cos(phase), jnp.sin(phase))  # the gauge of H(k) with k_z in it
        return coherent_spectra(h, _by_layer(v, rows), x, gamma)[None] * scale
    weight = _by_layer(v.real**2 + v.imag**2, rows).sum(axis=0)
    return jnp.sum(weight * layer_spectra(h, x, gamma), axis=(0, 1))[None] * scale


def _by_layer(v: jax.Array, rows: np.ndarray) -> jax.Array:
    """(amplitude, orbital, energy) -> (amplitude, layer, n, energy), 0 where padded."""
    return jnp.where((rows >= 0)[..., None], v[:, rows], 0.0)


def _atoms_of_cell(lab: Model) -> int:
    """Atoms of the bulk's primitive cell: two where there are p shells (zinc blende), else one."""
    return 2 if any(o.shell == "p" for o in lab.topology.orbitals) else 1


def _alike(lab: Model, layers: tuple[int, ...]) -> np.ndarray:
    """Amplitudes of "uniform", (amplitude, orbital): each orbital and spin on every n-th layer, n the atoms of a cell.

    Their sum is the trace of the bulk's cell, in which atoms do not interfere.
    """
    period = _atoms_of_cell(lab)
    labels = [
        (o.shell, o.name, layers[o.atom] % period, row // len(lab.topology.orbitals))
        for row, o in enumerate(lab.topology.labels())
    ]
    kinds = list(dict.fromkeys(labels))
    return np.array([[label == kind for label in labels] for kind in kinds], float)
