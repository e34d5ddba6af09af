"""Fit maps to a model: coarse-to-fine Levenberg-Marquardt, errors, derived numbers, and a report in words."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from bandjax.inference import least_squares
from bandjax.inference.least_squares import State
from bandjax.inference.likelihood import SMALLEST_MEAN
from bandjax.inference.parameters import all_values, free_values, start_vector
from bandjax.inference.problem import Objective, Part, Problem, make_objective, observed, prepare
from bandjax.inference.uncertainty import Residuals, block_bootstrap, covariance_of, degeneracy_report, residual_tests
from bandjax.photoemission import QUANTITIES

COARSE_TOLERANCE = 0.1  # promised decrease of −log L at which a coarse stage has done its work
TOLERANCE = 1e-3
BOUND_SLOPE = 1e-4  # part of a parameter's scale that a unit of u still moves it, below which it sits on its bound
Progress = Callable[[dict[str, Any]], None]


@dataclasses.dataclass(frozen=True)
class MapResult:
    """One map with its model, all in the axes of the data."""

    data: xr.DataArray
    model: xr.DataArray
    residual: xr.DataArray  # (data − model)/σ
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
        cost: −log posterior at the optimum, without inflation's constants.
        inflation: Factor on the variances of the last stage.
        converged: Whether the last stage ended with a promised decrease below the tolerance.
        history: One entry a trial: stage, step, cost, promised decrease, seconds.
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

    def model(self) -> Any:
        """The fitted model."""
        return self.problem.model_of(model_values(self.values))

    def instrument(self, name: str | None = None) -> Any:
        """The fitted instrument of a map (the only one by default)."""
        name = next(iter(self.maps)) if name is None else name
        given = self.problem.instrument
        base = given[name] if isinstance(given, Mapping) else given
        shared = {n: v for n, v in self.values.items() if n in QUANTITIES}
        own = {n.split(".", 1)[1]: v for n, v in self.values.items() if n.startswith(name + ".")}
        return dataclasses.replace(base, **shared, **{n: v for n, v in own.items() if n in QUANTITIES})


def model_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the values that go to `model_of`: all but instrument numbers, shared or of one map."""
    return {n: v for n, v in values.items() if n.rsplit(".", 1)[-1] not in QUANTITIES}


def fit(
    data: xr.DataArray | Mapping[str, xr.DataArray],
    problem: Problem,
    *,
    max_steps: int = 60,
    progress: Progress | None = None,
    state_file: str | Path | None = None,
    bootstrap_draws: int = 200,
) -> FitResult:
    """Fit one map or several.

    Args:
        data: A cut, volume or scan (dims energy and angle/deflector/kx/ky/hv; NaN: masked), or maps by name.
        problem: Model, parameters, instrument, noise; see `Problem`.
        max_steps: Trials at most in each stage.
        progress: Called after every trial with a dictionary (stage, step, cost, promised, seconds).
        state_file: Where the state is kept while the fit runs (.npz); a fit of the same problem that finds it goes on
            from there.
        bootstrap_draws: Resamplings of the block bootstrap; 0 leaves it out.

    Returns:
        `FitResult`, also where the fit has not converged (it says so).

    Raises:
        ValueError: data, parameters and instrument do not go together (named), or the state file belongs to another
            problem.
    """
    parts, transform = prepare(data, problem)
    objective = make_objective(problem, parts, transform)
    linearise, cost = jax.jit(objective.linearise), jax.jit(objective.cost)
    keeper = _StateFile(state_file, transform.names)
    u, stage_done, history, inflation = keeper.load(jnp.asarray(start_vector(transform)))

    stages = [*problem.broadening, 0.0]
    state = None
    for stage, broadening in enumerate(stages):
        if stage < min(stage_done, len(stages) - 1):
            continue
        obs = [observed(p, broadening=broadening, inflation=inflation) for p in parts]
        tolerance = TOLERANCE if broadening == 0 else COARSE_TOLERANCE
        state = _descend(
            linearise, cost, u, obs, broadening, stage, tolerance, max_steps, history, progress, keeper, inflation
        )
        u = state.u
        if broadening == 0 and problem.inflate and stage_done <= len(stages):
            found = _inflation(objective, parts, u, obs, len(transform.names), inflation)
            if found > 1.5:
                inflation = found
                obs = [observed(p, inflation=inflation) for p in parts]
                state = _descend(
                    linearise, cost, u, obs, 0.0, stage + 1, TOLERANCE, max_steps, history, progress, keeper, inflation
                )
                u = state.u
    return _result(problem, parts, transform, objective, state, obs, inflation, history, bootstrap_draws)


def _descend(
    linearise, cost, u, obs, broadening, stage, tolerance, max_steps, history, progress, keeper, inflation
) -> State:
    width = jnp.asarray(float(broadening))
    state = least_squares.start_state(lambda v: linearise(v, obs, width), u)
    for _ in range(max_steps):
        if bool(state.done) or float(state.decrement) < tolerance:
            return state._replace(done=jnp.asarray(True))
        began = time.perf_counter()
        point, promised = least_squares.trial_step(state)
        reached = cost(point, obs, width)
        if np.isfinite(reached) and reached < state.cost:
            gain = (state.cost - reached) / promised
            state = least_squares.accept(state, point, gain, linearise(point, obs, width), tolerance)
        else:
            state = least_squares.reject(state, tolerance)
        entry = {
            "stage": stage, "broadening": float(broadening), "step": int(state.steps), "cost": float(state.cost),
            "promised": float(state.decrement), "damping": float(state.damping), "seconds": time.perf_counter() - began,
        }  # fmt: skip
        history.append(entry)
        keeper.save(state.u, stage, history, inflation)
        if progress is not None:
            progress(entry)
    return state


def _inflation(
    objective: Objective, parts: list[Part], u: jax.Array, obs: list, n_parameters: int, before: float
) -> float:
    """χ² per degree of freedom × pixels that fluctuate together, averaged over the maps; at least 1."""
    factors = []
    for part, (mean, coefficient) in zip(parts, objective.predict(u, obs, jnp.asarray(0.0)), strict=True):
        tests = _tests(part, np.asarray(mean), n_parameters + coefficient.size)
        factors.append(max(tests.reduced_chi2, 1.0 if tests.correlated_pixels < 1.5 else 0.0) * tests.correlated_pixels)
    return max(1.0, float(np.mean(factors)), before)


def _sigma(part: Part, mean: np.ndarray) -> np.ndarray:
    if part.likelihood.kind == "poisson":
        return np.sqrt(np.maximum(mean, SMALLEST_MEAN) * part.likelihood.inflation)
    return np.sqrt(part.variance * part.likelihood.inflation)


def _tests(part: Part, mean: np.ndarray, n_parameters: int) -> Residuals:
    sigma = _sigma(part, mean)
    residual = (part.data - mean) / sigma
    held_cost = 0.5 * residual**2 + np.log(sigma)
    if part.likelihood.kind == "poisson":
        held_cost = np.maximum(mean, SMALLEST_MEAN) - part.data * np.log(np.maximum(mean, SMALLEST_MEAN))
    return residual_tests(residual, part.fitted, part.held, n_parameters, held_cost)


def _result(problem, parts, transform, objective, state, obs, inflation, history, draws) -> FitResult:
    u = state.u
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
    errors = np.sqrt(np.diagonal(covariance))

    resampled = np.full_like(covariance, np.nan)
    if draws and not sentences:
        scores = [np.asarray(s) for s in jax.jit(objective.scores)(u, obs, jnp.asarray(0.0))]
        pull = (x - transform.prior) / transform.sigma**2
        shapes = [p.data.shape for p in parts]
        resampled = block_bootstrap(
            [s / slope for s in scores],
            shapes,
            fisher,
            pull,
            1 / transform.sigma**2,
            problem.block,
            draws,
            problem.seed,
        )
    again = np.sqrt(np.diagonal(resampled))

    maps = {}
    predictions = objective.predict(u, obs, jnp.asarray(0.0))
    for part, (mean, coefficient) in zip(parts, predictions, strict=True):
        maps[part.name] = _map_result(part, np.asarray(mean), len(x) + coefficient.size)
    report = sentences + bounds + degeneracy_report(covariance, transform.names, transform.sigma)
    for name, m in maps.items():
        report.append(
            f"Map {name}: reduced chi² {m.tests.reduced_chi2:.3g}; neighbouring residuals correlate by "
            f"{', '.join(f'{c:.2f}' for c in m.tests.correlation)}; {m.tests.correlated_pixels:.1f} pixels fluctuate together."
        )
    if inflation > 1.5:
        report.append(f"The noise was widened by {inflation:.3g} in variance to cover misfit and correlated residuals.")
    converged = bool(state.done) and float(state.decrement) < 1.0
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
        transform.names, covariance, pulls, {}, maps, float(state.cost), float(inflation), converged, history, report, problem, np.asarray(u),
    )  # fmt: skip
    return dataclasses.replace(result, derived=_derived(result, transform, x, covariance, resampled))


def _map_result(part: Part, mean: np.ndarray, n_parameters: int) -> MapResult:
    sigma = _sigma(part, mean)
    dims = part.plan.axes.names
    like = part.array.transpose(*dims)
    data = np.where(part.fitted | part.held, part.data, np.nan)
    model = like.copy(data=mean).rename("model")
    residual = like.copy(data=(data - mean) / sigma).rename("residual")
    return MapResult(like.copy(data=data).rename("data"), model, residual, _tests(part, mean, n_parameters))


def _derived(result: FitResult, transform, x: np.ndarray, covariance: np.ndarray, resampled: np.ndarray) -> dict:
    """Derived numbers, with errors from central differences along every parameter."""
    numbers = result.problem.derived
    if numbers is None:
        return {}

    build = jax.jit(lambda values: result.problem.model_of(model_values(values)))

    def at(point: np.ndarray) -> dict[str, float]:
        values = {n: float(v) for n, v in all_values(transform, jnp.asarray(point)).items()}
        return numbers(build(values), dataclasses.replace(result, values=values).instrument())

    centre = at(x)
    step = np.where(np.isfinite(np.diagonal(covariance)), np.sqrt(np.diagonal(covariance)), transform.scale) * 0.1
    jacobian = {name: np.zeros(x.size) for name in centre}
    for i in range(x.size):
        high, low = at(x + step[i] * np.eye(x.size)[i]), at(x - step[i] * np.eye(x.size)[i])
        for name in centre:
            jacobian[name][i] = (high[name] - low[name]) / (2 * step[i])

    def error(name: str, matrix: np.ndarray) -> float:
        j = jacobian[name]
        used = j != 0
        return float(np.sqrt(j[used] @ matrix[np.ix_(used, used)] @ j[used]))

    return {name: (value, error(name, covariance), error(name, resampled)) for name, value in centre.items()}


class _StateFile:
    """The running state of a fit in an .npz file, replaced as a whole after every trial."""

    def __init__(self, path: str | Path | None, names: tuple[str, ...]) -> None:
        self.path = None if path is None else Path(path)
        self.names = names

    def load(self, u: jax.Array) -> tuple[jax.Array, int, list, float]:
        if self.path is None or not self.path.exists():
            return u, 0, [], 1.0
        with np.load(self.path, allow_pickle=False) as saved:
            if tuple(saved["names"]) != self.names:
                raise ValueError(
                    f"File {self.path} must hold the state of this fit ({', '.join(self.names)}), but holds {', '.join(saved['names'])}."
                )
            keys = ("stage", "broadening", "step", "cost", "promised", "damping", "seconds")
            history = [dict(zip(keys, map(float, row), strict=True)) for row in saved["history"]]
            return jnp.asarray(saved["u"]), int(saved["stage"]), history, float(saved["inflation"])

    def save(self, u: jax.Array, stage: int, history: list, inflation: float) -> None:
        if self.path is None:
            return
        part = self.path.with_name(self.path.name + ".part")
        with part.open("wb") as file:
            np.savez(
                file, u=np.asarray(u), stage=stage, inflation=inflation, names=np.array(self.names),
                history=np.array([list(h.values()) for h in history]),
            )  # fmt: skip
        part.replace(self.path)
