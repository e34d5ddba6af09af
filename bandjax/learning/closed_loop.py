"""The closed loop: image -> network -> best starts -> exact refinement -> residual test -> verdict.

The network only says where to start and how sure it is; every number of the answer, its error and the verdict come from
the exact model. The verdict is "rejected" where the refined model misses the image by more than its noise, "ambiguous"
where a second, different explanation is about as good, "unfinished" where the descent has not converged, else "accepted".
An unconverged descent that at its last pace would still explain the image is "unfinished", not "rejected".
"""

import dataclasses
import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from scipy.special import xlogy

from bandjax.inference import FitResult, Problem, fit
from bandjax.inference.descent import Progress
from bandjax.inference.likelihood import SMALLEST_MEAN
from bandjax.learning.cache import single_precision
from bandjax.learning.family import COUNTED, Family, centre_and_spread, exposure_parameters, physical
from bandjax.learning.images import mean_counts
from bandjax.learning.mixture import Mixture, distances, moments, sample
from bandjax.learning.observe import as_seen, check_image
from bandjax.learning.residuals import MISFIT, residual_test
from bandjax.learning.reverse import ReverseNetwork, Seen
from bandjax.learning.weights import Reverse, load_reverse

SAMPLES = 16  # draws from the posterior that are candidates for a start beside the means of its components
UNLIKELY = 0.01  # weight of a component below which its mean is none of the candidates
APART = 2.0  # standard deviations (see `distances`) between starts; two draws of one of six numbers exceed it 1 time in 1200
AMBIGUOUS = 3.0  # −log posterior by which a second explanation may be worse: odds of 1 to 20
DIFFERENT = 4.0  # standard errors by which it must differ in a number of the sample
OUTSIDE = 0.995  # quantile of the distances in the family beyond which an image is called unlike the training
FEWER = 0.8  # part of the fewest trained counts below which an image is said to have too few
PACE, AHEAD = 8, 5.0  # an unconverged descent is not judged if five times what its last eight trials gained would do
PRIOR_ONLY = 0.9  # part of the prior's width above which a number is not measured


@dataclasses.dataclass(frozen=True)
class Guess:
    """What the network alone says of an image.

    Attributes:
        posterior: Over the standardised latent.
        values, errors: Mean and standard deviation of every number, physical.
        outside: Distance of the image's pooled features from those of the family, in units of the 99.5 % quantile there;
            above 1 the image is unlike what was trained on.
        level: Mean counts a pixel.
        seen: Those that the network saw, pixels of a fine map being added up and counts beyond its range thinned.
        candidates: Points to start from, physical, by name.
        alike: Which of them belong to one explanation as far as the network can tell, (candidate, candidate).
    """

    posterior: Mixture
    values: dict[str, float]
    errors: dict[str, float]
    outside: float
    level: float
    seen: float
    candidates: tuple[dict[str, float], ...]
    alike: np.ndarray


@dataclasses.dataclass(frozen=True)
class Inversion:
    """What the closed loop found.

    Attributes:
        verdict: "accepted", "ambiguous", "rejected" or "unfinished".
        report: Sentences: why, and what the fit says of itself.
        values, errors: From the exact model (Laplace).
        guess: The network's answer, beside.
        misfit: Standard deviations by which the worst residual test exceeds noise.
        explanations: The refined answers, best first: −log posterior above the best, and values by name.
        fit: The refinement in full.
        seconds: Of the network and of the refinement, compilation included where it was needed.
    """

    verdict: str
    report: list[str]
    values: dict[str, float]
    errors: dict[str, float]
    guess: Guess
    misfit: float
    explanations: tuple[tuple[float, dict[str, float]], ...]
    fit: FitResult
    seconds: dict[str, float]


def invert(
    image: xr.DataArray, *, reverse: Reverse | None = None, starts: int = 3, max_steps: int = 40, seed: int = 0,
    progress: Progress | None = None,
) -> Inversion:  # fmt: skip
    """Stack, errors and verdict from a photoemission cut.

    Args:
        image: Counts on `kx` and `energy`, with the attributes `photon_energy` and `fwhm_energy`; see `check_image`.
        reverse: A trained network; None: the shipped one.
        starts: Starts from the network that are refined, of different explanations where it sees several; the lowest −log
            posterior wins. One cannot be ambiguous.
        max_steps: Trials at most of each descent.
        seed: Of the draws from the network's posterior.
        progress: Called after every trial of a descent.

    Raises:
        ValueError: the image is no such cut, or lies outside the ranges that were trained, or there is no start.
    """
    if starts != int(starts) or starts < 1:
        raise ValueError(f"Argument `starts` must be a whole number ≥ 1, but is {starts!r}.")
    reverse = load_reverse() if reverse is None else reverse
    if not isinstance(reverse.family, Family):
        raise ValueError(
            f"Argument `reverse` must be a network of stacks, but is one of {reverse.family.name!r}, whose weights and "
            "backgrounds are nobody's: see `guess_crystal` and `crystal_problem`."
        )
    image = check_image(image, reverse.family, reverse.network.shape)
    began = time.perf_counter()
    guess = guess_of(image, reverse, seed=seed)
    middle = time.perf_counter()
    result = fit(
        image, problem_of(image, reverse.family, guess.level), starts=guess.candidates, descents=starts, alike=guess.alike,
        max_steps=max_steps, progress=progress, bootstrap_draws=0,
    )  # fmt: skip
    seconds = {"network": middle - began, "refinement": time.perf_counter() - middle}
    misfit, words = residual_test(result)
    explanations = explanations_of(result)
    verdict, report = judge(result, reverse.family, guess, misfit, words, explanations)
    return Inversion(
        verdict, report + result.report, result.values, result.errors, guess, misfit, explanations, result, seconds
    )


def guess_of(image: xr.DataArray, reverse: Reverse, *, seed: int = 0) -> Guess:
    """The network's posterior of a checked map, and points to start from."""
    with single_precision():
        view, share = as_seen(image, reverse.family, seed=seed)
        seen = _look(reverse.network, view, jax.random.key(seed), reverse.family)
    posterior, features, level, *numbers = jax.tree.map(np.asarray, seen)
    # the network saw counts of several pixels added up, or a part of them; the fit takes the pixels as they are
    scale = np.where(np.isin(reverse.family.names, COUNTED), 1 / share, 1.0)
    points, centre, covariance, apart = (np.asarray(x, float) for x in numbers)
    points, centre, sigma = points * scale, centre * scale, np.sqrt(np.diagonal(covariance)) * scale
    off = np.asarray(features, float) - reverse.centre
    distance = float(np.sqrt(off @ reverse.precision @ off))
    limit = float(np.interp(OUTSIDE, np.linspace(0, 1, reverse.distances.size), reverse.distances))
    named = lambda x: dict(zip(reverse.family.names, map(float, x), strict=True))  # noqa: E731
    weight = np.sort(np.exp(posterior.log_weight))[::-1]
    kept = np.concatenate([weight >= min(UNLIKELY, weight[0]), np.ones(SAMPLES, bool)])
    return Guess(
        posterior, named(centre), named(sigma), distance / limit, float(np.nanmean(image.values)), float(level),
        tuple(named(p) | reverse.family.centre_of_marginalised for p in points[kept]), apart[np.ix_(kept, kept)] < APART,
    )  # fmt: skip


@partial(jax.jit, static_argnames=("family",))  # compiled once for each shape of an image
def _look(network: ReverseNetwork, view: Seen, key: jax.Array, family: Family) -> tuple:
    """Posterior, features and mean counts, then physical numbers: candidates (candidate, latent), mean (latent,) and
    covariance (latent, latent) of the posterior; and how far the candidates lie apart, (candidate, candidate)."""
    posterior, features = network(view)
    mean, covariance = moments(posterior)
    order = jnp.argsort(-posterior.log_weight)
    latents = jnp.concatenate([posterior.mean[order], sample(posterior, key, SAMPLES)])
    level = mean_counts(view.counts, view.mask)
    slope = jax.jacfwd(lambda z: physical(family, z, level))(mean)
    apart = distances(posterior, latents, [family.names.index(name) for name in family.sample_names])
    points, centre = physical(family, latents, level), physical(family, mean, level)
    return posterior, features, level, points, centre, slope @ covariance @ slope.T, apart


def problem_of(image: xr.DataArray, family: Family, level: float) -> Problem:
    """The exact fit of a checked map: the family's priors, gain and background in units of its mean counts."""
    instrument = family.instrument.replace(
        photon_energy=float(image.attrs["photon_energy"]), fwhm_energy=float(image.attrs["fwhm_energy"])
    )
    parameters = dict(family.parameters) | exposure_parameters(level, family.brightness)
    return Problem(family.model_of, parameters, instrument, broadening=(), inflate=False, method=family.method)


def explanations_of(result: FitResult) -> tuple[tuple[float, dict[str, float]], ...]:
    """Where the descents ended, best first, without those that found the same place."""
    order = np.argsort(result.start_costs)
    kept: list[tuple[float, dict[str, float]]] = []
    for i in order:
        values, above = result.start_ends[i], result.start_costs[i] - result.start_costs[order[0]]
        if np.isfinite(above) and not any(_apart(result, values, other) < 1.0 for _, other in kept):
            kept.append((float(above), values))
    return tuple(kept)


def _apart(result: FitResult, one: dict[str, float], other: dict[str, float], names: tuple[str, ...] | None = None) -> float:  # fmt: skip
    """Largest difference of a number, in standard errors."""
    errors = {n: e for n, e in result.errors.items() if np.isfinite(e) and e > 0 and (names is None or n in names)}
    return max((abs(one[n] - other[n]) / e for n, e in errors.items()), default=0.0)


def judge(
    result: FitResult, family: Family, guess: Guess, misfit: float, words: list[str], explanations: tuple
) -> tuple[str, list[str]]:
    """Verdict, and the sentences that give its reasons."""
    report = []
    if guess.outside > 1:
        report.append(
            f"The image is unlike those that the network was trained on ({guess.outside:.1f} times the distance that "
            f"{1 - OUTSIDE:.1%} of them exceed); its posterior is not to be trusted."
        )
    if guess.seen < FEWER * family.ranges.counts[0]:
        report.append(
            f"The network was trained on {family.ranges.counts[0]:g} to {family.ranges.counts[1]:g} counts a pixel, but "
            f"sees {guess.seen:.2g}; its posterior is not to be trusted."
        )
    sigma = {name: centre_and_spread(p)[1] for name, p in family.parameters}
    # of a number on its bound, whose error is NaN, the fit's own report speaks
    blind = [n for n in family.sample_names if result.errors[n] >= PRIOR_ONLY * sigma[n]]
    if len(blind) == len(family.sample_names):
        report.append("The image has too few counts to say anything of the stack: the posterior is the prior.")
    elif blind:
        report.append(f"The image does not measure {', '.join(blind)}: what is given for them is the prior.")
    report = [*words, *report]
    others = [e for e in explanations[1:] if e[0] < AMBIGUOUS and _apart(result, e[1], explanations[0][1], family.sample_names) > DIFFERENT]  # fmt: skip
    if misfit > MISFIT and (result.converged or not _descending(result)):
        return "rejected", [f"Rejected: no stack of family {family.name!r} makes this image.", *report]
    if np.isnan(misfit):
        return "unfinished", ["Unfinished: the residual could not be tested.", *report]
    if not result.converged:
        return "unfinished", ["Unfinished: the refinement has not converged; give more `max_steps` or `starts`.", *report]  # fmt: skip
    if others:
        told = ", ".join(f"{n} = {explanations[0][1][n]:.4g} or {others[0][1][n]:.4g}" for n in family.sample_names)
        return "ambiguous", [f"Ambiguous: two explanations within {others[0][0]:.2g} of −log posterior: {told}.", *report]  # fmt: skip
    return "accepted", [f"Accepted: the residual is noise ({misfit:+.1f} standard deviations at most).", *report]


def _descending(result: FitResult) -> bool:
    """Whether an unconverged descent, at the pace of its last trials, could still explain what it misses."""
    steps = [entry["step"] for entry in result.history]
    first = max((i for i in range(1, len(steps)) if steps[i] <= steps[i - 1]), default=0)  # of the last descent
    costs = [entry["cost"] for entry in result.history[first:]][-PACE - 1 :]
    found = result.maps["map"]
    data, mean = found.data.values, np.maximum(found.model.values, SMALLEST_MEAN)
    missed = np.nansum(mean - data + xlogy(data, data / mean) - 0.5)  # of −log L: half the deviance above its mean
    return len(costs) > 1 and AHEAD * (costs[0] - costs[-1]) > missed


def as_dictionary(found: Inversion) -> dict[str, Any]:
    """The numbers of an inversion as plain values, for JSON; None for an error that is not known."""
    errors = {n: e if np.isfinite(e) else None for n, e in found.errors.items()}
    return {
        "verdict": found.verdict, "report": found.report, "values": found.values, "errors": errors,
        "network": {"values": found.guess.values, "errors": found.guess.errors, "outside": found.guess.outside},
        "misfit": found.misfit, "mean_counts": found.guess.level, "seconds": found.seconds,
        "explanations": [{"above": above, "values": values} for above, values in found.explanations],
    }  # fmt: skip
