"""Everything between the bands and the detector that has a number: named, with unit, bounds and prior.

An `Instrument` is a pytree of numbers (fittable) with a few static choices. `QUANTITIES` is the one list of what each
number is; the fit, the configuration file and the documentation read it.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bandjax import checks


class Quantity(NamedTuple):
    """What an instrument number is: unit, hard bounds, a prior width to start from, and a sentence."""

    unit: str
    lower: float
    upper: float
    prior_sigma: float
    meaning: str


_INF = float("inf")
QUANTITIES: dict[str, Quantity] = {
    "photon_energy": Quantity("eV", 0.0, _INF, 0.1, "photon energy hν"),
    "work_function": Quantity("eV", 0.0, 10.0, 0.1, "work function φ of the analyser: E_kin = hν − φ + (E − E_F)"),
    "inner_potential": Quantity("eV", -50.0, 100.0, 3.0, "step V0 at the surface; sets k_z"),
    "polar": Quantity("degree", -90.0, 90.0, 0.3, "slit angle at which normal emission appears"),
    "tilt": Quantity("degree", -90.0, 90.0, 0.3, "deflector angle at which normal emission appears"),
    "azimuth": Quantity("degree", -180.0, 180.0, 1.0, "rotation of the sample about its normal"),
    "incidence": Quantity("degree", 0.0, 90.0, 2.0, "angle of the light to the surface normal"),
    "incidence_azimuth": Quantity(
        "degree", -180.0, 180.0, 5.0, "direction in the surface from which the light comes, from the slit"
    ),
    "fermi_energy": Quantity("eV", -_INF, _INF, 0.5, "Fermi level on the energy scale of the parameter table"),
    "temperature": Quantity("K", 0.0, 2000.0, 10.0, "temperature of the Fermi edge"),
    "escape_depth": Quantity(
        "Å", 0.5, 1000.0, 4.0, "attenuation length λ of the intensity; k_z has the half width 1/(2λ)"
    ),
    "eta": Quantity("eV", 2e-3, 5.0, 0.05, "constant part of the lifetime half width"),
    "eta_linear": Quantity("1", -1.0, 1.0, 0.02, "part of the half width that grows with |E − E_F|, per eV"),
    "eta_quadratic": Quantity("1/eV", 0.0, 1.0, 0.005, "Fermi-liquid part of the half width, per (E − E_F)²"),
    "eta_momentum": Quantity(
        "eV Å", -5.0, 5.0, 0.05, "part of the half width that grows with the parallel wave vector |k|"
    ),
    "fwhm_energy": Quantity("eV", 0.0, 5.0, 0.02, "energy resolution (Gaussian, full width)"),
    "fwhm_momentum": Quantity(
        "1/Å", 0.0, 1.0, 0.005, "momentum resolution along every momentum axis (Gaussian, full width)"
    ),
    "amplitude_s": Quantity("1", -10.0, 10.0, 0.3, "factor on the amplitude of s orbitals (plane_wave), p being 1"),
    "amplitude_d": Quantity("1", -10.0, 10.0, 0.3, "factor on the amplitude of d orbitals (plane_wave), p being 1"),
    "amplitude_lower": Quantity(
        "1",
        -10.0,
        10.0,
        0.3,
        "factor on the partial wave l − 1 of what p and d orbitals emit (plane_wave), l + 1 being 1",
    ),
    "amplitude_excited": Quantity(
        "1", -10.0, 10.0, 0.3, "factor on the amplitude of s* orbitals (plane_wave), p being 1"
    ),
    "amplitude_s_second": Quantity(
        "1", -10.0, 10.0, 0.3, "further factor on s of the second of two species that mix (plane_wave)"
    ),
    "amplitude_p_second": Quantity(
        "1", -10.0, 10.0, 0.3, "further factor on p of the second of two species that mix (plane_wave)"
    ),
    "gain": Quantity("counts", 0.0, _INF, _INF, "counts per 1/eV of the spectral function"),
    "background": Quantity("counts", 0.0, _INF, _INF, "constant background"),
    "background_linear": Quantity("counts/eV", -_INF, _INF, _INF, "background growing with binding energy"),
    "background_quadratic": Quantity(
        "counts/eV²", -_INF, _INF, _INF, "background growing with the square of the binding energy"
    ),
    "shirley": Quantity(
        "1/eV", 0.0, _INF, _INF, "background proportional to the signal integrated over higher energies (Shirley-like)"
    ),
    "step": Quantity("counts", -_INF, _INF, _INF, "height of a background step below `step_energy`"),
    "step_energy": Quantity("eV", -_INF, _INF, 0.3, "position of that step (E − E_F)"),
    "step_fwhm": Quantity("eV", 1e-3, 5.0, 0.2, "width of that step"),
    "detector_slope": Quantity(
        "Å or 1/degree", -1.0, 1.0, 0.1, "change of the detector's sensitivity along kx or angle, from 1 at 0"
    ),
}
NARROWEST = 2e-3  # eV; a half width that the growing parts would make negative is held here
MATRIX_ELEMENTS = ("uniform", "plane_wave", "free")
DIPOLE = ("length", "velocity")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Instrument:
    """Photon source, sample orientation, analyser and detector.

    The meaning, unit and bounds of every number are in `QUANTITIES`. Static choices: `surface` and `slit` (crystal
    directions of the normal and of the slit at azimuth 0), `matrix_elements` ("uniform", "plane_wave", "free"),
    `dipole` ("length" or "velocity"), `polarisation` (complex field vector in the laboratory frame),
    `photon_momentum` (whether it is subtracted), `origin` (k∥ in 1/Å in the laboratory axes that momenta and angles are
    counted from, for maps centred on a zone corner).
    """

    photon_energy: Any = 21.2
    work_function: Any = 4.5
    inner_potential: Any = 12.0
    polar: Any = 0.0
    tilt: Any = 0.0
    azimuth: Any = 0.0
    incidence: Any = 45.0
    incidence_azimuth: Any = 0.0
    fermi_energy: Any = 0.0
    temperature: Any = 20.0
    escape_depth: Any = 8.0
    eta: Any = 0.1
    eta_linear: Any = 0.0
    eta_quadratic: Any = 0.0
    eta_momentum: Any = 0.0
    fwhm_energy: Any = 0.05
    fwhm_momentum: Any = 0.01
    amplitude_s: Any = 1.0
    amplitude_d: Any = 1.0
    amplitude_lower: Any = 1.0
    amplitude_excited: Any = 1.0
    amplitude_s_second: Any = 1.0
    amplitude_p_second: Any = 1.0
    gain: Any = 100.0
    background: Any = 0.0
    background_linear: Any = 0.0
    background_quadratic: Any = 0.0
    shirley: Any = 0.0
    step: Any = 0.0
    step_energy: Any = 0.0
    step_fwhm: Any = 0.2
    detector_slope: Any = 0.0
    surface: tuple[float, float, float] = dataclasses.field(default=(0, 0, 1), metadata={"static": True})
    slit: tuple[float, float, float] = dataclasses.field(default=(1, 0, 0), metadata={"static": True})
    matrix_elements: str = dataclasses.field(default="uniform", metadata={"static": True})
    dipole: str = dataclasses.field(default="length", metadata={"static": True})
    polarisation: tuple[complex, complex, complex] = dataclasses.field(default=(1, 0, 0), metadata={"static": True})
    photon_momentum: bool = dataclasses.field(default=True, metadata={"static": True})
    origin: tuple[float, float] = dataclasses.field(default=(0.0, 0.0), metadata={"static": True})

    def replace(self, **changes: Any) -> "Instrument":
        """The same instrument with some numbers or choices changed.

        Raises:
            ValueError: there is no such number (the nearest name is given), or a number is out of its bounds.
        """
        known = [f.name for f in dataclasses.fields(self)]
        for name in changes:
            if name not in known:
                raise ValueError(f"Instrument has no {name!r}.{checks.nearest(name, known)}")
        return check_instrument(dataclasses.replace(self, **changes))

    @property
    def values(self) -> dict[str, Any]:
        """The fittable numbers by name."""
        return {name: getattr(self, name) for name in QUANTITIES}


def check_instrument(instrument: Instrument) -> Instrument:
    """`instrument`, with numbers inside their bounds and known choices.

    Raises:
        ValueError: otherwise; the name, what it must be and what was found.
    """
    for name, quantity in QUANTITIES.items():
        value = getattr(instrument, name)
        if not checks.is_concrete(value):
            continue
        low = float(np.min(np.asarray(value)))
        high = float(np.max(np.asarray(value)))
        if not (quantity.lower <= low and high <= quantity.upper):
            raise ValueError(
                f"Argument `{name}` must lie between {quantity.lower:g} and {quantity.upper:g} {quantity.unit}, but is {low if low < quantity.lower else high:g}."
            )
    checks.one_of("matrix_elements", instrument.matrix_elements, MATRIX_ELEMENTS)
    checks.one_of("dipole", instrument.dipole, DIPOLE)
    return instrument


def half_width(instrument: Instrument, energy: jax.Array, lateral: jax.Array) -> jax.Array:
    """Lifetime half width −Im Σ(E, k) = η + η1 |E| + η2 E² + η_k |k∥| in eV, a function of energy (E − E_F) and momentum.

    It belongs to no band, so that it is smooth through degeneracies; a band that sits at larger momenta at the same
    energy (the heavy hole) may still be wider than another.

    Args:
        instrument: Supplies the coefficients.
        energy: E − E_F in eV, shape (energy,).
        lateral: k∥ in 1/Å, shape (2,).
    """
    momentum = jnp.sqrt(jnp.sum(lateral**2) + 1e-12)  # 1e-6 1/Å keeps the derivative at 0 finite
    by_energy = instrument.eta + instrument.eta_linear * jnp.abs(energy) + instrument.eta_quadratic * energy**2
    return jnp.maximum(by_energy + instrument.eta_momentum * momentum, NARROWEST)
