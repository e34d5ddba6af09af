"""Numbers that follow from a fitted Hamiltonian: gap, Δ_SO, masses, band energies; errors are propagated by `fit`."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from bandjax.hamiltonian import Model
from bandjax.photoemission import Instrument
from bandjax.photoemission.kinematics import laboratory_rotation
from bandjax.photoemission.pixels import band_shift, central_kz, laboratory_model, slit_momentum
from bandjax.spectrum import bands, effective_masses


def gap_at_gamma(n_valence: int) -> Callable[[Model], jax.Array]:
    """Function of a zinc-blende model with spin-orbit: lowest conduction band at Γ minus valence-band top, eV.

    Differentiable: the top is the mean of its four levels, the conduction band that of its two.
    """

    def gap(model: Model) -> jax.Array:
        eps = bands(model, jnp.zeros((1, 3), model.dtype))[0]
        return eps[n_valence : n_valence + 2].mean() - eps[n_valence - 4 : n_valence].mean()

    return gap


def zincblende_numbers(n_valence: int):
    """Function of (model, instrument) that gives the edges at Γ of a zinc-blende crystal with spin-orbit.

    gap_gamma (lowest conduction band at Γ minus valence-band top), delta_so, valence_top (E − E_F), all in eV, and
    the masses m_hh, m_lh, m_so, m_e along the slit in units of the electron mass (holes negative).
    """

    def numbers(model: Model, instrument: Instrument) -> dict[str, float]:
        gamma = jnp.zeros((1, 3), model.dtype)
        eps = np.asarray(bands(model, gamma))[0]
        slit = laboratory_rotation(instrument.surface, instrument.slit)[0]
        top = eps[n_valence - 1]
        mass = np.asarray(effective_masses(model, gamma, slit))[0]
        return {
            "gap_gamma": float(gap_at_gamma(n_valence)(model)),
            "delta_so": float(top - eps[n_valence - 5]),
            "valence_top": float(top - instrument.fermi_energy),
            "m_so": float(mass[n_valence - 5]),
            "m_lh": float(mass[n_valence - 4 : n_valence].max()),
            "m_hh": float(mass[n_valence - 4 : n_valence].min()),
            "m_e": float(mass[n_valence]),
        }

    return numbers


def bands_along_cut(
    model: Model,
    instrument: Instrument,
    kx: np.ndarray,
    *,
    energy: float | None = None,
    ky: float | None = None,
    by_angle: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Band energies E − E_F along the cut at the centre of the k_z distribution.

    k_z and k_y of a pixel depend on its energy; each band is taken where the pixel of its own energy looks: E and k are
    made consistent by three rounds (one electron volt moves k_z by about 1e-2 1/Å, so that the first is almost exact).

    Args:
        model: Model in crystal axes.
        instrument: Orientation, photon energy, inner potential, Fermi energy.
        kx: Momenta along the slit in 1/Å, counted from the instrument's `origin`, shape (kx,).
        energy: Take every band's k_z at this energy (E − E_F) instead.
        ky: Momentum across the slit in 1/Å, counted from `origin`; None: what the tilt makes of it.
        by_angle: Whether the slit's axis is an angle: the emitted electron's momentum along it is then without `origin`.

    Returns:
        (band energies (kx, band) ascending, k_z (kx, band) in 1/Å).
    """
    lab = laboratory_model(model, instrument)
    hv = jnp.asarray(float(instrument.photon_energy))
    q = band_shift(instrument, hv)
    n = model.n_orbital
    guess = np.full((kx.size, n), -1.0 if energy is None else energy)
    kinetic_limit = -0.5 * float(hv - instrument.work_function)
    for _ in range(3 if energy is None else 1):
        kinetic = float(hv) - float(instrument.work_function) + np.clip(guess, kinetic_limit, None)
        outside, inside = slit_momentum(
            instrument, jnp.broadcast_to(kx[:, None], guess.shape), kinetic, q, ky=ky, by_angle=by_angle
        )
        kz = np.asarray(
            central_kz(instrument, outside, jnp.asarray(kinetic - float(hv) + float(instrument.work_function)), hv)
        )
        k = np.concatenate([np.asarray(inside), kz[..., None]], axis=-1)
        if not lab.topology.periodic[2]:  # no band depends on k_z
            guess = np.asarray(bands(lab, k[:, n // 2])) - float(instrument.fermi_energy)
            continue
        energies = np.asarray(bands(lab, k.reshape(-1, 3))).reshape(kx.size, n, n) - float(instrument.fermi_energy)
        guess = np.stack([energies[:, b, b] for b in range(n)], axis=1)
    order = np.argsort(guess, axis=1)
    return np.take_along_axis(guess, order, axis=1), np.take_along_axis(kz, order, axis=1)
