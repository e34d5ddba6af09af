"""Named parameters with bounds, priors and ties, and the map to unconstrained numbers that the solver moves.

A free parameter x with both bounds is x = a + (b − a) σ(u), with a lower bound only x = a + (x0 − a) e^u, without
bounds x = x0 + s u; u is of order one. A tied parameter is a multiple of another, a fixed one keeps its value.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import truncnorm

from bandjax.checks import nearest
from bandjax.materials import Table
from bandjax.photoemission import QUANTITIES, Instrument

INF = math.inf


class Parameter(NamedTuple):
    """One number of a fit.

    Attributes:
        value: Start (or fixed) value.
        lower, upper: Bounds.
        prior: Centre of a Gaussian prior; None: the start value.
        sigma: Standard deviation of the prior; infinite: no prior.
        unit: Unit in words.
        fixed: Whether the value is held.
        tied: (name, factor): the value is factor × that parameter.
    """

    value: float
    lower: float = -INF
    upper: float = INF
    prior: float | None = None
    sigma: float = INF
    unit: str = "eV"
    fixed: bool = False
    tied: tuple[str, float] | None = None


def table_parameters(
    table: Table,
    *,
    relative: float = 0.1,
    least: float = 0.1,
    start: Table | None = None,
    fixed: tuple[str, ...] = (),
) -> dict[str, Parameter]:
    """Every energy of a table as a parameter with a Gaussian prior around its published value.

    Args:
        table: Centre of the priors.
        relative: Standard deviation as a part of the value …
        least: … but not below this, in eV (spin-orbit constants, which are small and well known: a tenth of it).
        start: Another table of the same form whose values are the start; None starts at `table`.
        fixed: Names held at their start value.

    Raises:
        ValueError: a name in `fixed`, or a value of `start`, is not in the table.
    """
    for name in fixed:
        if name not in table.energies:
            raise ValueError(
                f"Argument `fixed` must name values of the table, but has {name!r}.{nearest(name, table.energies)}"
            )
    coupling = {name for _, _, c in table.spec.spin_orbit for name, _ in c}
    out = {}
    for name in table.energies:
        centre = float(table[name])
        floor = least / 10 if name in coupling else least
        value = float((start or table)[name])
        out[name] = Parameter(value, prior=centre, sigma=max(relative * abs(centre), floor), fixed=name in fixed)
    return out


def instrument_parameters(
    instrument: Instrument, names: Mapping[str, float | None] | tuple[str, ...]
) -> dict[str, Parameter]:
    """Numbers of an instrument as parameters: start and prior centre from `instrument`, bounds and units from `QUANTITIES`.

    Args:
        instrument: Start values.
        names: Names to free, or a mapping from name to the prior's standard deviation (None: the usual one).

    Raises:
        ValueError: a name is no number of an instrument; the nearest that is is given.
    """
    widths = names if isinstance(names, Mapping) else dict.fromkeys(names)
    out = {}
    for name, sigma in widths.items():
        if name not in QUANTITIES:
            raise ValueError(f"Instrument has no {name!r}.{nearest(name, QUANTITIES)}")
        q = QUANTITIES[name]
        width = q.prior_sigma if sigma is None else float(sigma)
        out[name] = Parameter(float(getattr(instrument, name)), q.lower, q.upper, sigma=width, unit=q.unit)
    return out


class Transform(NamedTuple):
    """Static arrays of the map between unconstrained numbers and parameters; made by `make_transform`."""

    names: tuple[str, ...]  # free parameters
    centre: np.ndarray
    scale: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    prior: np.ndarray
    sigma: np.ndarray
    held: tuple[tuple[str, float], ...]
    tied: tuple[tuple[str, str, float], ...]


def make_transform(parameters: Mapping[str, Parameter]) -> Transform:
    """Check the parameters and lay out their transformation.

    Raises:
        ValueError: bounds exclude the start, a prior is not positive, a tie names an unknown or tied parameter, or
            nothing is free.
    """
    for name, p in parameters.items():
        if not p.lower <= p.value <= p.upper or not math.isfinite(p.value):
            raise ValueError(
                f"Parameter `{name}` must start within its bounds {p.lower:g} … {p.upper:g}, but starts at {p.value:g}."
            )
        if not p.sigma > 0:
            raise ValueError(f"Parameter `{name}` must have a prior width > 0, but has {p.sigma:g}.")
        if p.tied is not None:
            if p.tied[0] not in parameters:
                raise ValueError(
                    f"Parameter `{name}` is tied to {p.tied[0]!r}, which does not exist.{nearest(p.tied[0], parameters)}"
                )
            if parameters[p.tied[0]].tied is not None:
                raise ValueError(f"Parameter `{name}` is tied to {p.tied[0]!r}, which is tied itself.")
    free = {n: p for n, p in parameters.items() if not p.fixed and p.tied is None}
    if not free:
        raise ValueError("Argument `parameters` must hold at least one free parameter, but all are fixed or tied.")
    for name, p in free.items():
        if p.value in (p.lower, p.upper):
            side = "above" if p.value == p.lower else "below"
            raise ValueError(
                f"Parameter `{name}` must start inside its bounds {p.lower:g} … {p.upper:g}, but starts on one; start it {side} {p.value:g} or fix it."
            )
    values = list(free.values())
    centre = np.array([p.value for p in values])
    scale = np.array([min(p.sigma, max(0.1 * abs(p.value), 0.01)) for p in values])
    prior = np.array([p.value if p.prior is None else p.prior for p in values])
    return Transform(
        tuple(free),
        centre,
        scale,
        np.array([p.lower for p in values]),
        np.array([p.upper for p in values]),
        prior,
        np.array([p.sigma for p in values]),
        tuple((n, p.value) for n, p in parameters.items() if p.fixed and p.tied is None),
        tuple((n, p.tied[0], p.tied[1]) for n, p in parameters.items() if p.tied is not None),
    )


def start_vector(transform: Transform, values: Mapping[str, float] | None = None) -> np.ndarray:
    """Unconstrained numbers of the start, or of other values of the free parameters."""
    x = np.array([values[n] for n in transform.names]) if values is not None else transform.centre
    t = transform
    both, low, high = _bounded(t)
    u = (x - t.centre) / t.scale
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (x - t.lower) / (t.upper - t.lower)
        u = np.where(both, np.log(share / (1 - share)) - _logit_centre(t), u)
        u = np.where(low, np.log((x - t.lower) / (t.centre - t.lower)), u)
        u = np.where(high, np.log((t.upper - x) / (t.upper - t.centre)), u)
    return np.where(both | low | high, u / _slope(t), u)


def draw_from_prior(transform: Transform, rng: np.random.Generator) -> np.ndarray:
    """Free parameters drawn from their priors inside their bounds (evenly where there are only bounds), (parameter,).

    Raises:
        ValueError: a free parameter has neither a prior nor two bounds.
    """
    t = transform
    even = ~np.isfinite(t.sigma)
    for i in np.flatnonzero(even & ~(np.isfinite(t.lower) & np.isfinite(t.upper))):
        raise ValueError(
            f"Parameter `{t.names[i]}` must have a prior width or two bounds to be drawn at random, but has neither."
        )
    sigma = np.where(even, 1.0, t.sigma)
    normal = truncnorm.rvs((t.lower - t.prior) / sigma, (t.upper - t.prior) / sigma, t.prior, sigma, random_state=rng)
    span = [(a, b) if e else (0.0, 0.0) for a, b, e in zip(t.lower, t.upper, even, strict=True)]
    return np.where(even, rng.uniform(*np.transpose(span)), normal)


def free_values(transform: Transform, u: jax.Array) -> jax.Array:
    """Physical values of the free parameters, (parameter,)."""
    t = transform
    both, low, high = _bounded(t)
    lower, upper = np.where(np.isfinite(t.lower), t.lower, 0.0), np.where(np.isfinite(t.upper), t.upper, 1.0)
    steep = u * _slope(t)
    logistic = lower + (upper - lower) * jax.nn.sigmoid(steep + np.where(both, _logit_centre(t), 0.0))
    growing = jnp.exp(jnp.where(low | high, steep, 0.0))
    above, below = lower + (t.centre - lower) * growing, upper - (upper - t.centre) * growing
    x = jnp.where(high, below, t.centre + t.scale * u)
    return jnp.where(both, logistic, jnp.where(low, above, x))


def all_values(transform: Transform, x: jax.Array) -> dict[str, jax.Array]:
    """Every parameter by name: free, fixed and tied."""
    values = {n: x[i] for i, n in enumerate(transform.names)}
    values |= {n: jnp.asarray(v, x.dtype) for n, v in transform.held}
    return values | {n: factor * values[other] for n, other, factor in transform.tied}


def _logit_centre(t: Transform) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (t.centre - t.lower) / (t.upper - t.lower)
        return np.where(np.isfinite(share), np.log(share / (1 - share)), 0.0)


def _bounded(t: Transform) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which parameters have both bounds, only a lower one, only an upper one."""
    low, high = np.isfinite(t.lower), np.isfinite(t.upper)
    return low & high, low & ~high, high & ~low


def _slope(t: Transform) -> np.ndarray:
    """du_bounded/du that makes one unit of u about one `scale` of the parameter at the start."""
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (t.centre - t.lower) / (t.upper - t.lower)
        logistic = t.scale / ((t.upper - t.lower) * share * (1 - share))
        above, below = t.scale / (t.centre - t.lower), -t.scale / (t.upper - t.centre)
    both, low, high = _bounded(t)
    return np.where(both, logistic, np.where(low, above, np.where(high, below, 1.0)))
