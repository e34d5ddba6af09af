"""What a reverse network is trained on: a family of stacks, with priors, instrument and the ranges of its images.

The *latent* of an image is what the network infers: the numbers of the stack, the nuisances of the instrument, and its
gain and background. It is standardised to order one. For a number x with prior x0 ± σ, z = (x − x0)/σ. How many counts an
image has is no property of a sample, so gain and background are counted in units of the image's own mean counts n̄:

    z_gain = log(gain · b/n̄)/0.4,     z_background = (background/n̄ − 0.08)/0.03,     b: mean signal of the central stack,

and likewise the background that grows with the binding energy (0.03 ± 0.015 per eV). The detector's slope is a plain number (±0.1 Å).
"""

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bandjax import checks
from bandjax.inference import Parameter
from bandjax.inference.problem import ModelOf
from bandjax.photoemission import QUANTITIES, Instrument

VERSION = 2  # of what the latent means and how images are exposed; a change makes old weights unusable
SIGNALS_VERSION = 1  # of how signals are drawn; a change makes old caches unusable
GAIN_SPREAD = 0.4  # σ of log(gain · b/n̄): stacks and crops are brighter or darker by that


class Nuisance(NamedTuple):
    """Prior of a number of the exposure, in units of the mean counts where it is counted."""

    centre: float
    spread: float
    least: float
    unit: str


NUISANCES = {
    "background": Nuisance(0.08, 0.03, 0.01, "counts"),
    "background_linear": Nuisance(0.03, 0.015, 0.0, "counts/eV"),
    "detector_slope": Nuisance(0.0, 0.1, -0.5, "Å"),
}
LEAST_SIGNAL = 0.2  # part of the counts that is signal at least
EXPOSURE = ("gain", *NUISANCES)  # the end of every latent
COUNTED = ("gain", "background", "background_linear")  # those that grow with the counts


@dataclasses.dataclass(frozen=True)
class Ranges:
    """What differs from image to image; every pair is drawn evenly between its ends.

    Attributes:
        kx_points, energy_points: Pixels before the crop. Shapes are static under `jit`; axes, crop and mask are not.
        kx_centre, kx_half: Middle and half length of the k axis, 1/Å.
        bottom, top: Ends of the energy axis, E − E_F in eV.
        photon_energy, fwhm_energy: eV; known to who inverts.
        counts: Mean counts of a pixel (drawn evenly in the logarithm).
        crop: Least part of each axis that is kept.
        dead: Largest part of the pixels that are dead.
    """

    kx_points: int = 24
    energy_points: int = 48
    kx_centre: tuple[float, float] = (-0.1, 0.1)
    kx_half: tuple[float, float] = (0.55, 0.9)
    bottom: tuple[float, float] = (-7.0, -4.8)
    top: tuple[float, float] = (0.0, 0.6)
    photon_energy: tuple[float, float] = (90.0, 110.0)
    fwhm_energy: tuple[float, float] = (0.05, 0.2)
    counts: tuple[float, float] = (3.0, 100.0)
    crop: float = 0.75
    dead: float = 0.03

    @property
    def steps(self) -> dict[str, tuple[float, float]]:
        """Finest and coarsest step of each axis."""
        lengths = {
            "kx": [2 * h for h in self.kx_half],
            "energy": [t - b for t, b in zip(self.top, self.bottom[::-1], strict=True)],
        }
        points = {"kx": self.kx_points, "energy": self.energy_points}
        return {n: (short / (points[n] - 1), long / (points[n] - 1)) for n, (short, long) in lengths.items()}


@dataclasses.dataclass(frozen=True)
class Drawn:
    """What a network is trained on: models with priors, seen by one kind of instrument; hashable, so that it can be a
    static argument.

    Attributes:
        name: For checkpoints and messages.
        source: What the model is made of, in words; part of the fingerprint.
        model_of: From the values that are no instrument numbers to a model.
        parameters: (name, `Parameter`) of what is drawn, each with a prior.
        instrument: The numbers that are neither drawn nor known from the image.
    """

    name: str
    source: str
    model_of: ModelOf
    parameters: tuple[tuple[str, Parameter], ...]
    instrument: Instrument

    @property
    def drawn(self) -> tuple[str, ...]:
        """Names of what has a prior of its own."""
        return tuple(name for name, _ in self.parameters)

    @property
    def sample_names(self) -> tuple[str, ...]:
        """Those of the latent that belong to the sample, not to the instrument."""
        return tuple(name for name in self.drawn if name not in QUANTITIES)

    @property
    def _set_by_hand(self) -> dict[str, Any]:
        """Numbers of the instrument that are not the defaults; those that it may get later leave a digest as it is."""
        plain = Instrument()
        found = {f.name: getattr(self.instrument, f.name) for f in dataclasses.fields(plain)}
        return {n: v for n, v in found.items() if v != getattr(plain, n)}


@dataclasses.dataclass(frozen=True)
class Family(Drawn):
    """Stacks of one kind.

    Attributes:
        ranges: What differs from image to image.
        brightness: Mean signal of the central stack, 1/eV: the unit of the gain.
        method: How images are made; see `plan_image`.
        marginalised: Names of what is drawn, and free in the fit, but not inferred by the network, which is trained over it.
        network_sizes: Sizes of the network that differ from those of `Shape`, by name.
    """

    ranges: Ranges
    brightness: float
    method: str = "coherent"
    marginalised: tuple[str, ...] = ()
    network_sizes: tuple[tuple[str, Any], ...] = ()

    @property
    def inferred(self) -> tuple[str, ...]:
        """Those of what is drawn that the network infers."""
        return tuple(name for name in self.drawn if name not in self.marginalised)

    @property
    def sample_names(self) -> tuple[str, ...]:
        """Those of the latent that belong to the sample, not to the instrument."""
        return tuple(name for name in self.inferred if name not in QUANTITIES)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the latent, in its order."""
        return (*self.inferred, *EXPOSURE)

    def with_priors(self, priors: Mapping[str, tuple[float, float]]) -> "Family":
        """The family with other Gaussian priors: centre and standard deviation by name.

        Raises:
            ValueError: a name is not drawn, a centre lies out of its bounds, or a width is not positive.
        """
        parameters = dict(self.parameters)
        for name, (centre, sigma) in priors.items():
            if name not in parameters:
                raise ValueError(f"Argument `priors` must name numbers of family {self.name!r}, but names {name!r}.{checks.nearest(name, parameters)}")  # fmt: skip
            old = parameters[name]
            if not (old.lower <= centre <= old.upper and sigma > 0):
                raise ValueError(
                    f"Argument `priors` must give `{name}` a centre within {old.lower:g} … {old.upper:g} and a positive width, but gives {centre:g} ± {sigma:g}."
                )
            parameters[name] = old._replace(value=float(centre), prior=None, sigma=float(sigma))
        return dataclasses.replace(self, parameters=tuple(parameters.items()))

    @property
    def signal_shape(self) -> tuple[int, ...]:
        """Shape of the kept signal of one stack."""
        return (self.ranges.kx_points, self.ranges.energy_points)

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits of everything that makes a latent mean the same."""
        content = (VERSION, self.name, self.source, self.parameters, self._set_by_hand, self.ranges, self.brightness)
        return digest((*content, self.method, self.names, sorted(NUISANCES.items()), GAIN_SPREAD))

    @property
    def centre_of_marginalised(self) -> dict[str, float]:
        """Centres of the priors of what the network does not infer, by name."""
        return {n: centre_and_spread(p)[0] for n, p in self.parameters if n in self.marginalised}

    @property
    def signals_fingerprint(self) -> str:
        """Sixteen hexadecimal digits of everything that signals depend on, the exposure left out."""
        made = {n: v for n, v in dataclasses.asdict(self.ranges).items() if n not in ("counts", "crop", "dead")}
        return digest((SIGNALS_VERSION, self.name, self.source, self.parameters, self._set_by_hand, made, self.method))


def draw_values(family: Drawn, key: jax.Array, dtype) -> jax.Array:
    """Physical values drawn from the priors within their bounds, (drawn,); evenly where there are only bounds."""
    p = [parameter for _, parameter in family.parameters]
    even = np.array([is_even(q) for q in p])
    centre, sigma = _prior(family, dtype, family.drawn)
    low, high = jnp.array([q.lower for q in p], dtype), jnp.array([q.upper for q in p], dtype)
    normal = jax.random.truncated_normal(key, (low - centre) / sigma, (high - centre) / sigma, dtype=dtype)
    drawn = centre + sigma * normal
    if not even.any():
        return drawn
    share = jax.random.uniform(jax.random.fold_in(key, 1), drawn.shape, dtype)
    return jnp.where(even, jnp.where(even, low, 0) + share * jnp.where(even, high - low, 0), drawn)


def instrument_of(
    family: Drawn, values: Mapping[str, jax.Array], photon_energy: jax.Array, fwhm_energy: jax.Array
) -> Instrument:
    """The family's instrument with the numbers among `values` that are its own, and what is known from the image (eV)."""
    numbers = {n: v for n, v in values.items() if n in QUANTITIES}
    return dataclasses.replace(family.instrument, **numbers, photon_energy=photon_energy, fwhm_energy=fwhm_energy)


def standardised(family: Family, values: jax.Array, exposure: Mapping[str, jax.Array], level: jax.Array) -> jax.Array:
    """The latent of physical numbers.

    Args:
        family: Supplies priors.
        values: What is drawn, (…, drawn).
        exposure: The numbers of `EXPOSURE`, each (…,).
        level: Mean counts of the image's visible pixels, (…,).
    """
    centre, sigma = _prior(family, values.dtype, family.inferred)
    values = values[..., np.array([family.drawn.index(n) for n in family.inferred])]
    z = [jnp.log(exposure["gain"] * family.brightness / level) / GAIN_SPREAD]
    z += [(exposure[n] / (level if n in COUNTED else 1.0) - q.centre) / q.spread for n, q in NUISANCES.items()]
    return jnp.concatenate([(values - centre) / sigma, jnp.stack(z, axis=-1)], axis=-1)


def physical(family: Family, latent: jax.Array, level: jax.Array) -> jax.Array:
    """Physical numbers of a latent, in the order of `family.names`, (…, latent); bounds are not looked at."""
    centre, sigma = _prior(family, latent.dtype, family.inferred)
    count = len(family.inferred)
    found = [jnp.exp(GAIN_SPREAD * latent[..., count]) * level / family.brightness]
    for i, (name, q) in enumerate(NUISANCES.items(), count + 1):
        found.append((q.centre + q.spread * latent[..., i]) * (level if name in COUNTED else 1.0))
    return jnp.concatenate([centre + sigma * latent[..., :count], jnp.stack(found, axis=-1)], axis=-1)


def exposure_parameters(level: float, brightness: float) -> dict[str, Parameter]:
    """Gain (without a prior), backgrounds and detector slope of an image with that mean count, for a fit."""
    found = {"gain": Parameter(level / brightness, 0.0, unit="counts")}
    for name, q in NUISANCES.items():
        unit = level if name in COUNTED else 1.0
        # below what is drawn: on a bound a number has no error
        lower = unit * (q.least / 10 if q.least > 0 else q.least - q.spread)
        upper = float("inf") if q.least >= 0 else -lower
        found[name] = Parameter(q.centre * unit, lower, upper, sigma=q.spread * unit, unit=q.unit)
    return found


def _prior(family: Drawn, dtype, names: tuple[str, ...]) -> tuple[jax.Array, jax.Array]:
    parameters = dict(family.parameters)
    centre, sigma = zip(*(centre_and_spread(parameters[name]) for name in names), strict=True)
    return jnp.array(centre, dtype), jnp.array(sigma, dtype)


def is_even(parameter: Parameter) -> bool:
    """Whether the prior is even between two bounds: it has no width of its own."""
    return not np.isfinite(parameter.sigma)


def centre_and_spread(parameter: Parameter) -> tuple[float, float]:
    """Centre and standard deviation of a prior, before its bounds cut it; of an even one those between its bounds."""
    if is_even(parameter):
        return (parameter.lower + parameter.upper) / 2, (parameter.upper - parameter.lower) / 12**0.5
    return parameter.value if parameter.prior is None else parameter.prior, parameter.sigma


def digest(content: Any) -> str:
    """Sixteen hexadecimal digits of what its `repr` shows."""
    return hashlib.sha256(repr(content).encode()).hexdigest()[:16]
