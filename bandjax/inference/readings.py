"""What a fitted stack says in words: whole numbers of layers, the profile with its error, and what escapes no more."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import norm

from bandjax.inference.fit import FitResult
from bandjax.inference.parameters import all_values, draw_from_prior, make_transform
from bandjax.inference.posterior import Posterior
from bandjax.inference.starts import holding_loose

Quantity = Callable[[Mapping[str, Any]], Any]
STANDS_OUT = 0.9  # probability from which a whole number is given
UNSEEN = 0.9  # posterior over prior width from which a composition counts as not measured
PRIOR_DRAWS = 2000  # a width to 2 %


class Reading(NamedTuple):
    """A derived number beside the nearest whole one.

    Attributes:
        name: What it is.
        value, error: Continuous (at the optimum, or the median of draws), with its standard error; infinite where a
            parameter behind it is unmeasured or on its bound.
        nearest: Nearest whole number.
        probability: That it is the right one, if one is: its part of the posterior, rounded to whole numbers.
        sentence: All that in words.
    """

    name: str
    value: float
    error: float
    nearest: int
    probability: float
    sentence: str


class ProfileBand(NamedTuple):
    """Composition by depth with errors.

    Attributes:
        depth: Monolayers from the surface, (layer,).
        value: At the optimum.
        error: Standard deviation of the posterior.
        prior: Mean of the prior.
        prior_error: Its standard deviation.
        share: Part of the intensity that comes from each layer, if all emit alike; sums to 1.
        report: What is not seen, in words.
    """

    depth: np.ndarray
    value: np.ndarray
    error: np.ndarray
    prior: np.ndarray
    prior_error: np.ndarray
    share: np.ndarray
    report: list[str]


def layer_count(values: Mapping[str, Any]) -> Any:
    """Thickness of the buried layer of `buried_layer`, monolayers."""
    return values["lower"] - values["upper"]


def layer_content(values: Mapping[str, Any]) -> Any:
    """Amount of the second element in it: monolayers of the pure element."""
    return values["fraction"] * layer_count(values)


def read_layers(
    result: FitResult, quantities: Mapping[str, Quantity], *, whole: bool = True, posterior: Posterior | None = None
) -> list[Reading]:
    """Derived numbers and their whole-number readings, such as "4.02 ± 0.05 Ge layers: 4 (probability 1.00)".

    Args:
        result: A fit.
        quantities: By name, functions of the values that JAX can differentiate, and map over draws, e.g.
            {"Ge layers": layer_count}.
        whole: Whether the sentence says which whole number is meant; False for what is not counted, such as energies.
        posterior: Draws to take error and probability from; None: the Gaussian of the fit's covariance.
    """
    transform = make_transform(result.problem.parameters)
    free = jnp.asarray([result.values[n] for n in result.names])
    out = []
    for name, quantity in quantities.items():

        def of(x: jax.Array, quantity: Quantity = quantity) -> jax.Array:
            return jnp.asarray(quantity(all_values(transform, x)), x.dtype)

        value, slope = float(of(free)), np.asarray(jax.grad(of)(free))
        used = slope != 0
        if posterior is None and any(
            u and not np.isfinite(result.errors[n]) for n, u in zip(result.names, used, strict=True)
        ):
            sentence = f"{value:.4g} {name}, of unknown error."
            out.append(Reading(name, value, np.inf, round(value), np.nan, sentence))
            continue
        if posterior is None:
            error = float(np.sqrt(slope[used] @ result.covariance[np.ix_(used, used)] @ slope[used]))
            nearest = round(value)
            probability = float(np.diff(norm.cdf([nearest - 0.5, nearest + 0.5], value, max(error, 1e-12)))[0])
        else:
            drawn = np.asarray(jax.jit(jax.vmap(of))(jnp.asarray(posterior.draws)), float)
            value, error = float(np.median(drawn)), float(drawn.std())
            nearest = round(value)
            probability = float(np.mean(np.round(drawn) == nearest))
        number = (
            f"{nearest} (probability {probability:.2f})" if probability >= STANDS_OUT else "no whole number stands out"
        )
        digits = int(np.clip(1 - np.floor(np.log10(max(error, 1e-6))), 0, 4))
        sentence = f"{value:.{digits}f} ± {error:.{digits}f} {name}" + (f": {number}." if whole else ".")
        out.append(Reading(name, value, error, nearest, probability, sentence))
    return out


def profile_band(
    result: FitResult,
    profile: Callable[[Mapping[str, Any], np.ndarray], Any],
    depth: np.ndarray,
    spacing: float,
    *,
    posterior: Posterior | None = None,
) -> ProfileBand:
    """Composition by depth with the errors of a fit, beside what the prior alone would say.

    Args:
        result: A fit with an `escape_depth`.
        profile: As in `stack_model`: (values, depth in monolayers) -> composition (layer,).
        depth: Monolayers from the surface, ascending, (layer,).
        spacing: Distance of two monolayers, Å.
        posterior: Draws; None: those of the Gaussian of the fit's covariance.

    Raises:
        ValueError: the fit has not measured a number of the profile, and there are no draws; or one has neither a prior
            nor two bounds.
    """
    rng = np.random.default_rng([result.problem.seed, 2])
    transform = make_transform(result.problem.parameters)
    x = np.array([result.values[n] for n in result.names])

    def at(x: jax.Array) -> jax.Array:
        return jnp.asarray(profile(all_values(transform, x), depth))

    of = jax.jit(jax.vmap(at))
    used = (np.asarray(jax.jacfwd(at)(jnp.asarray(x))) != 0).any(axis=0)  # parameters that the profile depends on
    drawn = _gaussian_draws(x, used, result, rng) if posterior is None else posterior.draws
    drawn = np.clip(drawn, transform.lower, transform.upper)  # a Gaussian knows no bounds
    held = holding_loose(transform, x, ~used)  # what the profile does not depend on
    before = np.asarray(of(jnp.asarray([draw_from_prior(held, rng) for _ in range(PRIOR_DRAWS)])))
    after = np.asarray(of(jnp.asarray(drawn)))
    error, prior_error = after.std(axis=0), before.std(axis=0)
    reach = float(result.instrument().escape_depth)
    share = np.exp(-depth * spacing / reach)
    share /= share.sum()
    blind = (error > UNSEEN * prior_error) & (prior_error > 0.01)
    report = []
    if blind.any():
        first = int(np.flatnonzero(blind)[0])
        report.append(
            f"From depth {depth[first]:g} monolayers on ({share[first:].sum():.1%} of the intensity at λ = {reach:.3g} Å) there are "
            f"{int(blind[first:].sum())} of {len(depth) - first} layers whose composition is known no better than before."
        )
    prior_sigma = dict(zip(transform.names, transform.sigma, strict=True))
    for name in result.names:
        if result.errors[name] > UNSEEN * prior_sigma[name]:
            report.append(f"The image says nothing about {name}: its error is that of the prior.")
    return ProfileBand(
        depth, np.asarray(of(jnp.asarray(x[None])))[0], error, before.mean(axis=0), prior_error, share, report
    )


def _gaussian_draws(x: np.ndarray, used: np.ndarray, result: FitResult, rng: np.random.Generator) -> np.ndarray:
    """Draws from the Gaussian of the covariance, (draw, parameter); what was not measured is held where it is not used."""
    measured = np.array([np.isfinite(result.errors[n]) for n in result.names])  # and not on a bound
    missing = [n for n, m, u in zip(result.names, measured, used, strict=True) if u and not m]
    if missing:
        raise ValueError(
            f"Argument `result` must have measured every parameter of the profile, but not {', '.join(missing)}."
        )
    covariance = result.covariance[np.ix_(measured, measured)]
    sigma = np.sqrt(np.diagonal(covariance))
    correlation = covariance / np.outer(sigma, sigma)  # numbers of one size: gains and lattice constants differ by 1e7
    draws = np.tile(x, (PRIOR_DRAWS, 1))
    correlation = (correlation + correlation.T) / 2
    draws[:, measured] += sigma * rng.multivariate_normal(np.zeros(sigma.size), correlation, PRIOR_DRAWS)
    return draws
