"""Fit maps to a model: coarse-to-fine Levenberg-Marquardt, errors, derived numbers, and a report in words."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from bandjax.inference.descent import IDLE, LATEST, Descent, Progress, Saved, StateFile
from bandjax.inference.least_squares import State
from bandjax.inference.likelihood import SMALLEST_MEAN
from bandjax.inference.parameters import Transform, all_values, free_values, start_vector
from bandjax.inference.problem import (
    Objective,
    Observed,
    Part,
    Problem,
    instrument_values,
    make_objective,
    model_values,
    observed,
    of_map,
    prepare,
)
from bandjax.inference.starts import choose_starts, drawn_points, given_points
from bandjax.inference.uncertainty import (
    Residuals,
    block_bootstrap,
    covariance_of,
    degeneracy_report,
    local_misfit,
    residual_tests,
)

COARSE_TOLERANCE = 0.1  # promised decrease of −log L at which all but the last stage have done their work
COARSE_STEPS = 15  # trials at most of those stages: they only have to reach the basin
TOLERANCE = 5e-3  # promised decrease that ends the last stage: a tenth of a standard error
CONVERGED = IDLE * TOLERANCE  # promised or lately gained decrease of a converged fit: a third of a standard error
HELD = 100  # damping above which small gains only say that steps are short
SAME_END = 0.05  # −log posterior within which two descents have found one optimum: a third of a standard error
REWEIGHTINGS = 2  # final stages with the noise widened where the model misses
BOUND_SLOPE = 1e-4  # part of a parameter's scale that a unit of u still moves it, below which it sits on its bound


@dataclasses.dataclass(frozen=True)
class MapResult:
    """One map with its model, all in the axes of the data."""

    data: xr.DataArray
    model: xr.DataArray
    residual: xr.DataArray  # (data − model)/σ, σ of the noise alone
    widening: xr.DataArray  # factor on σ² with which the pixel entered the last stage
    tests: Residuals


@dataclasses.dataclass(frozen=True)
class FitResult:
    """What a fit found; never a bare number.

    Attributes:
        values: Every parameter, physical.
        errors: Standard errors of the free ones (Laplace; misfit-inflated where `inflation` > 1).
        bootstrap: Standard errors of the free ones from resampled blocks of pixels.
        names: Free parameters, in the order of `covariance`.
        covariance: (parameter, parameter) in the parameters' units.
        pulls: (value − prior)/prior width of the free parameters with a prior.
        derived: name -> (value, Laplace error, bootstrap error).
        maps: Data, model and residual of each map.
        cost: −log posterior at the optimum with the widened noise, constants dropped.
        inflation: Median factor on the variances in the last stage, for misfit and correlated residuals; where the
            model misses most a pixel's own factor is larger (`MapResult.widening`).
        converged: Whether the last stage ended where an undamped step promises less than 0.05 of −log L, or where the
            last four successful trials together gained less than that at a damping below 100 (then the report says so).
        history: One entry a trial: stage, step, cost, promised decrease, seconds.
        start_costs: −log posterior where each start ended (noise not widened); empty with one start.
        start_ends: Every parameter where each start ended, in the order of `start_costs`.
        report: Sentences: degeneracies, unmeasured directions, residual tests, convergence.
    """

    values: dict[str, float]
    errors: dict[str, float]
    bootstrap: dict[str, float]
    names: tuple[str, ...]
    covariance: np.ndarray
    pulls: dict[str, float]
    derived: dict[str, tuple[float, float, float]]
    maps: dict[str, MapResult]
    cost: float
    inflation: float
    converged: bool
    history: list[dict[str, Any]]
    report: list[str]
    problem: Problem
    u: np.ndarray
    start_costs: tuple[float, ...] = ()
    start_ends: tuple[dict[str, float], ...] = ()

    def model(self, name: str | None = None) -> Any:
        """The fitted model of a map (of the first by default)."""
        name = next(iter(self.maps)) if name is None else name
        return of_map(self.problem.model_of, name)(model_values(self.values))

    def instrument(self, name: str | None = None) -> Any:
        """The fitted instrument of a map (the only one by default)."""
        name = next(iter(self.maps)) if name is None else name
        return dataclasses.replace(of_map(self.problem.instrument, name), **instrument_values(self.values, name))


def fit(
    data: xr.DataArray | Mapping[str, xr.DataArray],
    problem: Problem,
    *,
    starts: int | Sequence[Mapping[str, float]] = 1,
    descents: int | None = None,
    alike: ArrayLike | None = None,
    max_steps: int = 60,
    progress: Progress | None = None,
    state_file: str | Path | None = None,
    bootstrap_draws: int = 200,
) -> FitResult:
    """Fit one map or several.

    Args:
        data: A cut, volume or scan (dims energy and angle/deflector/kx/ky/hv; NaN: masked), or maps by name.
        problem: Model, parameters, instrument, noise; see `Problem`.
        starts: Descents: the first from the parameters' values, the others from draws out of their priors (by
            `problem.seed`); the lowest −log posterior wins, and the report says where the others ended. Or the points
            themselves, values of the free parameters by name.
        descents: Of points given, descend only from that many with the lowest −log posterior; None: from all.
        alike: Which of these points are so near each other that one descent does for both, (point, point) booleans; a point
            alike to a lower one is then passed over until no other is left.
        max_steps: Trials at most in each final stage; coarse ones end after 15.
        progress: Called after every trial with a dictionary (stage, step, cost, promised, seconds).
        state_file: Where the state is kept while the fit runs (.npz); a fit of the same problem that finds it goes on
            from there.
        bootstrap_draws: Resamplings of the block bootstrap; 0 leaves it out.

    Returns:
        `FitResult`, also where the fit has not converged (it says so).

    Raises:
        ValueError: data, parameters and instrument do not go together (named), the state file belongs to another
            problem, or a parameter without prior and bounds is to be drawn for further starts.
    """
    given = isinstance(starts, Sequence)
    if len(starts) == 0 if given else (starts != int(starts) or starts < 1):
        raise ValueError(f"Argument `starts` must be a whole number ≥ 1 or a list of points, but is {starts!r}.")
    if descents is not None and (descents != int(descents) or descents < 1):
        raise ValueError(f"Argument `descents` must be a whole number ≥ 1, but is {descents!r}.")
    if alike is not None and (not given or np.shape(alike) != (len(starts),) * 2):
        raise ValueError(f"Argument `alike` must have a row and a column for each given point, but has shape {np.shape(alike)}.")  # fmt: skip
    parts, transform = prepare(data, problem)
    points = given_points(transform, starts) if given else drawn_points(transform, starts, problem.seed)
    objective = make_objective(problem, parts, transform)
    chosen_by = (descents,) if alike is None else (descents, np.asarray(alike).tolist())
    mark = repr(([np.asarray(p).tolist() for p in points], *chosen_by)) if given else starts
    keeper = StateFile(state_file, problem, parts, transform, mark)
    u, first, widening, history, ends = keeper.load(jnp.asarray(start_vector(transform)))
    descent = Descent(objective, progress, keeper, history, ends, momentum=any(np.ndim(b) for b in problem.broadening))
    if given and descents is not None and descents < len(points):
        obs = [observed(part) for part in parts]
        costs = [descent.cost(jnp.asarray(p), obs) for p in points]
        points = [points[i] for i in choose_starts(costs, descents, alike)]

    sharp = len(problem.broadening)  # the stage in which nothing is smoothed
    if (given or len(points) > 1) and (len(ends) < len(points) or first == 0):
        u = _best_of_starts(descent, parts, problem, points, max_steps)
        first, widening = sharp, []
    state, obs = None, []
    if first <= sharp:
        state, obs = _coarse_to_fine(descent, parts, problem, u, max_steps, first=first, exact=not problem.inflate)
        u = state.u
    for stage in range(sharp + 1, sharp + 1 + REWEIGHTINGS * problem.inflate):
        if stage < first:
            continue
        if stage > first or not widening:
            widening = _widening(objective, parts, u, obs, len(transform.names))
        plain = all((w == 1).all() for w in widening)
        obs = [observed(p, widening=w) for p, w in zip(parts, widening, strict=True)]
        last = plain or stage == sharp + REWEIGHTINGS
        state = descent.run(u, obs, stage, TOLERANCE if last else COARSE_TOLERANCE, max_steps, widening=widening)
        u = state.u
        if plain:
            break
    return _result(problem, parts, transform, objective, state, obs, widening, descent, bootstrap_draws)


def _coarse_to_fine(
    descent: Descent,
    parts: list[Part],
    problem: Problem,
    u: jax.Array,
    max_steps: int,
    *,
    first: int = 0,
    exact: bool = True,
) -> tuple[State, list[Observed]]:
    """Descend with the data smoothed less and less, from stage `first` on; the last state, and the data it was for.

    Where other stages follow, the sharp one need not be `exact`.
    """
    coarse = COARSE_TOLERANCE, min(max_steps, COARSE_STEPS)
    for stage, broadening in list(enumerate(problem.broadening))[first:]:
        obs = [observed(p, broadening=broadening) for p in parts]
        u = descent.run(u, obs, stage, *coarse, broadening=broadening).u
    obs = [observed(p) for p in parts]
    return descent.run(u, obs, len(problem.broadening), *((TOLERANCE, max_steps) if exact else coarse)), obs


def _best_of_starts(
    descent: Descent, parts: list[Part], problem: Problem, points: list[np.ndarray], max_steps: int
) -> jax.Array:
    """Descend from every start that is left, noise not widened; the unconstrained numbers of the lowest end."""
    for point in points[len(descent.ends) :]:
        u = jnp.asarray(point)
        if not np.isfinite(descent.cost(u, [observed(p) for p in parts])) and len(descent.ends):
            descent.ends += ((np.inf, np.asarray(u)),)  # a draw that the model cannot image is an end that never wins
            continue
        state, _ = _coarse_to_fine(descent, parts, problem, u, max_steps)
        descent.ends += ((float(state.cost), np.asarray(state.u)),)
        descent.keeper.save(Saved(state.u, 0, [], descent.history, descent.ends))
    return jnp.asarray(min(descent.ends, key=lambda end: end[0])[1])


def _starts_sentence(costs: tuple[float, ...]) -> list[str]:
    """How many starts ended at the lowest −log posterior, and where the next end lies."""
    if len(costs) < 2:
        return []
    above = np.sort(np.array(costs) - min(costs))
    same = int((above < SAME_END).sum())
    rest = f"; the next end lies {above[same]:.3g} above" if same < len(costs) else ""
    return [f"{same} of {len(costs)} starts ended within {SAME_END:g} of the lowest −log posterior{rest}."]


def _widening(
    objective: Objective, parts: list[Part], u: jax.Array, obs: list[Observed], n_parameters: int
) -> list[np.ndarray]:
    """Factors on the variances of every map's pixels: local misfit × (χ² per degree of freedom × pixels that fluctuate
    together), less what the likelihood's own inflation already grants."""
    out = []
    for part, (mean, coefficient) in zip(parts, objective.predict(u, obs, jnp.asarray(0.0)), strict=True):
        sigma = _sigma(part, np.asarray(mean)) * np.sqrt(part.variance / part.noise)
        residual, fitted = (part.data - np.asarray(mean)) / sigma, part.fitted
        local = local_misfit(residual, fitted)
        tests = residual_tests(
            residual / np.sqrt(local), fitted, part.held, n_parameters + coefficient.size, np.zeros_like(residual)
        )
        # white residuals that are too small are no reason to trust the data less or more
        chi2 = max(tests.reduced_chi2, 1.0) if tests.correlated_pixels < 1.5 else tests.reduced_chi2
        common = chi2 * tests.correlated_pixels / part.likelihood.inflation
        out.append(local * (common if common > 1.5 else 1.0))
    return out


def _sigma(part: Part, mean: np.ndarray) -> np.ndarray:
    """Standard deviation of every pixel's noise, without band error or any inflation."""
    if part.likelihood.kind == "poisson":
        return np.sqrt(np.maximum(mean, SMALLEST_MEAN))
    return np.sqrt(part.noise)


def _tests(part: Part, mean: np.ndarray, n_parameters: int) -> Residuals:
    sigma = _sigma(part, mean)
    residual = (part.data - mean) / sigma
    held_cost = 0.5 * residual**2 + np.log(sigma)
    if part.likelihood.kind == "poisson":
        held_cost = np.maximum(mean, SMALLEST_MEAN) - part.data * np.log(np.maximum(mean, SMALLEST_MEAN))
    return residual_tests(residual, part.fitted, part.held, n_parameters, held_cost)


def _result(
    problem: Problem, parts: list[Part], transform: Transform, objective: Objective, state: State, obs: list[Observed],
    widening: list[np.ndarray], descent: Descent, draws: int,
) -> FitResult:  # fmt: skip
    u, idle, start_costs = state.u, descent.idle, tuple(cost for cost, _ in descent.ends)
    x = np.asarray(free_values(transform, u))
    slope = np.diagonal(np.asarray(jax.jacfwd(lambda w: free_values(transform, w))(u)))
    at_bound = np.abs(slope) < BOUND_SLOPE * transform.scale
    slope = np.where(at_bound, np.inf, slope)  # a parameter on its bound has no error of its own
    fisher = np.asarray(state.fisher) / np.outer(slope, slope) + np.diag(np.where(at_bound, 1e30, 0.0))
    covariance, sentences = covariance_of(fisher, transform.names)
    bounds = [
        f"{n} ended on its bound ({v:.4g}); its error is not known."
        for n, v, b in zip(transform.names, x, at_bound, strict=True)
        if b
    ]
    errors = np.where(at_bound, np.nan, np.sqrt(np.diagonal(covariance)))

    resampled = np.full_like(covariance, np.nan)
    if draws and not sentences:
        scores = [np.asarray(s) for s in jax.jit(objective.scores)(u, obs, jnp.asarray(0.0))]
        root = np.asarray(jax.jacfwd(objective.prior_rows)(u)) / slope
        shapes = [p.data.shape for p in parts]
        resampled = block_bootstrap(
            [s / slope for s in scores],
            shapes,
            fisher,
            np.asarray(objective.prior_rows(u)),
            root,
            problem.block,
            draws,
            problem.seed,
        )
    again = np.sqrt(np.diagonal(resampled))

    maps = {}
    predictions = objective.predict(u, obs, jnp.asarray(0.0))
    factors = widening or [np.ones_like(p.data) for p in parts]
    for part, factor, (mean, coefficient) in zip(parts, factors, predictions, strict=True):
        maps[part.name] = _map_result(part, np.asarray(mean), factor, len(x) + coefficient.size)
    report = (
        _starts_sentence(start_costs)
        + sentences
        + bounds
        + degeneracy_report(covariance, transform.names, transform.sigma)
    )
    for name, m in maps.items():
        report.append(
            f"Map {name}: reduced chi² {m.tests.reduced_chi2:.3g}; neighbouring residuals correlate by "
            f"{', '.join(f'{c:.2f}' for c in m.tests.correlation)}; {m.tests.correlated_pixels:.1f} pixels fluctuate together."
        )
    pixels = np.concatenate([f[p.fitted] for f, p in zip(factors, parts, strict=True)])
    inflation = float(np.median(pixels))
    if pixels.max() > 1:
        report.append(
            f"The noise was widened by {inflation:.3g} in variance to cover misfit and correlated residuals, and more "
            f"(up to {pixels.max():.3g}) in {np.mean(pixels > inflation):.1%} of the pixels, where the model misses most."
        )
    rows = np.asarray(objective.prior_rows(u))[len(x) :]
    for known, row in zip(problem.known, rows, strict=True):
        report.append(
            f"{known.name} is fitted as {known.value + row * known.sigma:.4g}; known before: {known.value:.4g} ± "
            f"{known.sigma:.2g} (pull {row:+.1f})."
        )
    converged = float(state.decrement) < CONVERGED or (idle and float(state.damping) < HELD)
    if converged and float(state.decrement) >= CONVERGED:
        report.append(
            f"The last {LATEST} successful steps together gained less than {CONVERGED:g} of −log L, though an undamped "
            f"one promises {float(state.decrement):.3g}: the model misses the data where a step expects to fit them."
        )
    if not converged:
        report.append(f"The fit has not converged: a full step still promises {float(state.decrement):.3g} of −log L.")

    values = {n: float(v) for n, v in all_values(transform, jnp.asarray(x)).items()}
    pulls = {
        n: float((v - p) / s)
        for n, v, p, s in zip(transform.names, x, transform.prior, transform.sigma, strict=True)
        if np.isfinite(s)
    }
    result = FitResult(
        values, dict(zip(transform.names, map(float, errors), strict=True)), dict(zip(transform.names, map(float, again), strict=True)),
        transform.names, covariance, pulls, {}, maps, float(state.cost), inflation, converged, descent.history, report, problem, np.asarray(u), start_costs,
        tuple({n: float(v) for n, v in all_values(transform, free_values(transform, jnp.asarray(e))).items()} for _, e in descent.ends),
    )  # fmt: skip
    return dataclasses.replace(result, derived=_derived(result, transform, x, covariance, resampled))


def _map_result(part: Part, mean: np.ndarray, factor: np.ndarray, n_parameters: int) -> MapResult:
    sigma = _sigma(part, mean)
    dims = part.plan.axes.names
    like = part.array.transpose(*dims)
    data = np.where(part.fitted | part.held, part.data, np.nan)
    model = like.copy(data=mean).rename("model")
    residual = like.copy(data=(data - mean) / sigma).rename("residual")
    widening = like.copy(data=factor).rename("widening")
    return MapResult(like.copy(data=data).rename("data"), model, residual, widening, _tests(part, mean, n_parameters))


def _derived(result: FitResult, transform, x: np.ndarray, covariance: np.ndarray, resampled: np.ndarray) -> dict:
    """Derived numbers, with errors from central differences along every parameter."""
    numbers = result.problem.derived
    if numbers is None:
        return {}

    first = of_map(result.problem.model_of, next(iter(result.maps)))
    build = jax.jit(lambda values: first(model_values(values)))

    def at(point: np.ndarray) -> dict[str, float]:
        values = {n: float(v) for n, v in all_values(transform, jnp.asarray(point)).items()}
        return numbers(build(values), dataclasses.replace(result, values=values).instrument())

    centre = at(x)
    known = np.isfinite([result.errors[n] for n in result.names])  # measured, and not on a bound
    step = np.where(known, np.sqrt(np.where(known, np.diagonal(covariance), 1.0)), transform.scale) * 0.1
    jacobian = {name: np.zeros(x.size) for name in centre}
    for i in range(x.size):
        high, low = at(x + step[i] * np.eye(x.size)[i]), at(x - step[i] * np.eye(x.size)[i])
        for name in centre:
            jacobian[name][i] = (high[name] - low[name]) / (2 * step[i])

    def error(name: str, matrix: np.ndarray) -> float:
        j = jacobian[name]
        used = j != 0
        if not known[used].all():
            return np.inf
        return float(np.sqrt(j[used] @ matrix[np.ix_(used, used)] @ j[used]))

    return {name: (value, error(name, covariance), error(name, resampled)) for name, value in centre.items()}
