"""Whole images: the map that takes chinook 8.46 s, and a cut of InAs with k_z broadening.

chinook's map is 100 k × 100 E of bulk Si with 10 orbitals; ours has kinematics, plane-wave matrix elements (of Slater
orbitals, in closed form), Fermi edge and resolutions in it too. The background is 0: on a large one the error of the
signal (here some 1e-5) would vanish below the last digit. The error is that of everything after the amplitudes, which
both share, against the same steps in numpy over a solve at every energy.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from bandjax.hamiltonian import tight_binding
from bandjax.materials import load_parameters
from bandjax.photoemission import Instrument, Plan, arpes_image, plan_image
from bandjax.photoemission.matrix_elements import plane_wave_amplitude
from bandjax.photoemission.pixels import band_shift, central_kz, laboratory_model, lateral_momentum
from bandjax.spectrum import spectral_function
from bandjax.structure import zincblende
from bandjax.units import BOLTZMANN, FWHM_PER_SIGMA
from benchmarks import peers
from benchmarks.cases import silicon
from benchmarks.timing import Row, compiled, in_turn, row

SIZES = {"tiny": (6, 12), "default": (100, 100)}  # k, energies of chinook's map
# the InAs cut: k, energies, momentum resolution in 1/Å (the grid's step follows it), k_z points, those of the reference
CUT_SIZES = {"tiny": (5, 12, 0.3, 15, 31), "default": (150, 200, 0.03, 31, 151)}
LIMIT = 15e-3  # s


def run(size: str) -> list[Row]:
    return [_chinook_map(*SIZES[size]), _cut(*CUT_SIZES[size])]


def _chinook_map(count: int, energy_count: int) -> Row:
    instrument = Instrument(photon_energy=100.0, fermi_energy=0.3, eta=0.1, matrix_elements="plane_wave", gain=1.0)
    axes = {"kx": np.linspace(-1.0, 1.0, count), "energy": np.linspace(-5.0, 0.2, energy_count)}
    model = silicon.model(silicon.table())
    plan = plan_image(model, instrument, axes, kz_points=1)
    lab = jax.jit(laboratory_model)(model, instrument)
    centre, hv = jnp.asarray(plan.nodes[0]), jnp.asarray(instrument.photon_energy)
    outside, inside = lateral_momentum(instrument, plan.axes, centre, hv)
    k = jnp.concatenate([inside, central_kz(instrument, outside, centre, hv)[:, None]], axis=1)
    calls = {
        "lapack": silicon.lapack(lab, k),
        "image": compiled(lambda model, instrument: arpes_image(model, instrument, plan), model, instrument),
    }
    timings = in_turn(calls)
    error = silicon.relative(calls["image"][0](), _by_hand(lab, instrument, plan, k))
    return row(
        f"{peers.CHINOOK_MAP}, {count} k × {energy_count} E, plane wave",
        timings["image"],
        items=count * energy_count,
        item="pixels",
        baseline=(silicon.LAPACK, timings["lapack"].least),
        target="wall",
        limit=LIMIT,
        error=error,
        tolerance=1e-9,
        error_against="solve, then edge and resolutions in numpy, of the largest",
        note=f"chinook 1.1.3: {peers.CHINOOK_SECONDS} s with hydrogenic radial integrals",
    )


def _by_hand(lab, instrument: Instrument, plan: Plan, k: jax.Array) -> np.ndarray:
    """The image of a cut in k_x with one k_z per pixel, without spin, step by step."""
    padded, energy, kx = np.array(plan.padded_energy), np.array(plan.axes.energy), np.array(plan.axes.lateral[0][1])
    photon = band_shift(instrument, jnp.asarray(instrument.photon_energy))
    v = jax.jit(jax.vmap(lambda q: plane_wave_amplitude(lab, instrument, q + photon)[0]))(k)
    x = padded + instrument.fermi_energy
    bare = np.asarray(spectral_function(lab, k, x, eta=instrument.eta, amplitude=v, method="solve"))
    edge = 1 / (1 + np.exp(np.clip(padded / (BOLTZMANN * instrument.temperature), -700, 700)))

    def blur(at: np.ndarray, source: np.ndarray, fwhm: float) -> np.ndarray:
        weight = np.exp(-0.5 * ((at[:, None] - source) * FWHM_PER_SIGMA / fwhm) ** 2) * np.gradient(source)
        return weight / weight.sum(axis=1, keepdims=True)

    sharp = blur(kx, kx, instrument.fwhm_momentum) @ (bare * edge) @ blur(energy, padded, instrument.fwhm_energy).T
    return instrument.gain * sharp


def _cut(count: int, energy_count: int, fwhm_momentum: float, kz_points: int, reference: int) -> Row:
    model = jax.jit(partial(tight_binding, zincblende("InAs")))(load_parameters("InAs", "boykin2004"))
    instrument = Instrument(
        photon_energy=90.0,
        fermi_energy=0.6,
        eta=0.15,
        eta_linear=0.03,
        escape_depth=6.0,
        gain=1.0,
        fwhm_momentum=fwhm_momentum,
    )
    axes = {"kx": np.linspace(-0.8, 0.8, count), "energy": np.linspace(-7.0, 0.3, energy_count)}
    plan = plan_image(model, instrument, axes, method="grid", kz_points=kz_points)
    calls = {
        "grid": compiled(lambda model, instrument: arpes_image(model, instrument, plan), model, instrument),
        "lapack": silicon.lapack(model, silicon.wave_vectors(len(plan.kx) * len(plan.kz))),
    }
    timings = in_turn(calls)
    fine = plan_image(model, instrument, axes, method="grid", kz_points=reference)
    error = silicon.relative(calls["grid"][0](), jax.jit(lambda m, i: arpes_image(m, i, fine))(model, instrument))
    return row(
        f"image: InAs sp3d5s* cut, {count} k × {energy_count} E, {len(plan.kx)} × {len(plan.kz)} (k_x, k_z) grid",
        timings["grid"],
        items=count * energy_count,
        item="pixels",
        baseline=(f"{silicon.LAPACK}, one of 40 orbitals a node", timings["lapack"].least),
        error=error,
        tolerance=0.02,
        error_against=f"the grid with {reference} k_z points, of the largest",
    )
