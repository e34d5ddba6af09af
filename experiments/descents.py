"""Descents of many images of one family on one grid, compiled once, and their scores."""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from bandjax.inference import Problem
from bandjax.inference.descent import Descent, StateFile
from bandjax.inference.least_squares import State
from bandjax.inference.parameters import Transform, free_values, start_vector
from bandjax.inference.problem import Observed, make_objective, observed, prepare
from bandjax.inference.starts import choose_starts
from bandjax.learning.closed_loop import MISFIT, Guess, guess_of, misfits, problem_of
from bandjax.learning.family import COUNTED, NUISANCES, Family, draw_values
from bandjax.learning.weights import Reverse
from experiments.common import score

TOLERANCE = 1e-4  # promised decrease of −log L at which a descent ends, far below the 0.01 that it is judged by
REACHED = 0.01  # −log posterior above the reference within which the optimum counts as reached
SIGNAL = 0.85  # part of the mean counts that a central stack's signal is
AXES = {"kx": (-0.7, 0.7), "energy": (-5.8, 0.3)}  # 1/Å; E − E_F in eV
TOLD = {"photon_energy": 100.0, "fwhm_energy": 0.1}


class End(NamedTuple):
    """Where a descent ended, after how many trials and Jacobians, and its seconds."""

    state: State
    trials: int
    jacobians: int
    seconds: float


class Bench:
    """The exact fit of a family's images on one grid; what differs from image to image is counts and starts.

    Attributes:
        family: Of the images.
        empty: An image of ones.
        problem, transform: The fit and its parameters.
        mean_at: Unconstrained numbers to mean counts.
        slopes: Unconstrained numbers to the derivatives of the physical ones.
    """

    family: Family
    empty: xr.DataArray
    problem: Problem
    transform: Transform

    def __init__(self, family: Family, kx_points: int, energy_points: int, mean_counts: float, max_steps: int) -> None:
        points = {"kx": kx_points, "energy": energy_points}
        axes = {n: np.linspace(*ends, points[n]) for n, ends in AXES.items()}
        self.family, self.mean_counts, self.max_steps = family, mean_counts, max_steps
        self.empty = xr.DataArray(np.ones((kx_points, energy_points)), dims=tuple(axes), coords=axes, attrs=TOLD)
        self.problem = problem_of(self.empty, family, mean_counts)
        (self._part,), self.transform = prepare(self.empty, self.problem)
        objective = make_objective(self.problem, [self._part], self.transform)
        self._descent = Descent(objective, None, StateFile(None, self.problem, [self._part], self.transform), [])
        zero, weight = jnp.asarray(0.0), observed(self._part).weight
        self.mean_at = jax.jit(lambda u: objective.predict(u, [observed(self._part)], zero)[0][0])
        self._fisher = jax.jit(lambda u, mean: objective.linearise(u, [Observed(mean, weight)], zero)[2])
        self.slopes = jax.jit(lambda u: jnp.diagonal(jax.jacfwd(lambda w: free_values(self.transform, w))(u)))

    def draw(self, rng: np.random.Generator) -> dict[str, float]:
        """Numbers of a stack and its exposure, from the priors."""
        values = draw_values(self.family, jax.random.key(int(rng.integers(2**31))), jnp.float64)
        drawn = {n: max(rng.normal(q.centre, q.spread), q.least) for n, q in NUISANCES.items()}
        exposure = {n: v * (self.mean_counts if n in COUNTED else 1.0) for n, v in drawn.items()}
        exposure["gain"] = self.mean_counts * SIGNAL / self.family.brightness
        return dict(zip(self.family.drawn, map(float, values), strict=True)) | exposure

    def vector(self, point: dict[str, float]) -> jax.Array:
        """Unconstrained numbers of a point, which the bounds hold."""
        t = self.transform
        margin = 1e-3 * t.scale
        x = np.clip([point[n] for n in t.names], t.lower + margin, t.upper - margin)
        return jnp.asarray(start_vector(t, dict(zip(t.names, x, strict=True))))

    def look(self, counts: np.ndarray, reverse: Reverse, seed: int) -> tuple[Guess, float]:
        """What the network says of an image, and its seconds."""
        began = time.perf_counter()
        guess = guess_of(self.empty.copy(data=counts), reverse, seed=seed)
        return guess, time.perf_counter() - began

    def starts(self, counts: np.ndarray, guess: Guess, count: int) -> list[jax.Array]:
        """The starts that `bandjax.invert` would take."""
        obs = [observed(self._part._replace(data=counts))]
        vectors = [self.vector(p) for p in guess.candidates]
        costs = [self._descent.cost(u, obs) for u in vectors]
        return [vectors[i] for i in choose_starts(costs, count, guess.alike)]

    def descend(self, counts: np.ndarray, start: jax.Array) -> End:
        """One descent."""
        obs = [observed(self._part._replace(data=counts))]
        first = self._descent.cost(start, obs)
        before, began = len(self._descent.history), time.perf_counter()
        state = self._descent.run(start, obs, 1, TOLERANCE, self.max_steps)
        seconds = time.perf_counter() - began
        # a trial that is taken needs a new Jacobian, one that is not keeps the cost
        costs = [first, *(float(entry["cost"]) for entry in self._descent.history[before:])]
        return End(state, len(costs) - 1, 1 + int((np.diff(costs) < 0).sum()), seconds)

    def refine(self, counts: np.ndarray, guess: Guess, count: int) -> tuple[list[End], State, float]:
        """Descents from at most that many starts of the network, while the residual test rejects what has been found:
        where they ended, the best, and the seconds with the choice of the starts."""
        began, ends = time.perf_counter(), []
        for u in self.starts(counts, guess, count):
            ends.append(self.descend(counts, u))
            if max(self.misfits(counts, ends[-1].state)) <= MISFIT:
                break
        best = min((end.state for end in ends), key=lambda s: float(s.cost))
        return ends, best, time.perf_counter() - began

    def values(self, state: State) -> dict[str, float]:
        """Physical numbers of a point."""
        found = np.asarray(free_values(self.transform, state.u), float)
        return dict(zip(self.transform.names, found.tolist(), strict=True))

    def misfits(self, counts: np.ndarray, state: State) -> tuple[float, ...]:
        """Of the residual at a point, as `bandjax.invert` tests it."""
        return misfits(counts, np.asarray(self.mean_at(state.u)), len(self.transform.names))

    def bound(self, truth: dict[str, float], mean: np.ndarray) -> np.ndarray:
        """Fisher matrix at the truth with the priors' precision, (parameter, parameter), physical."""
        u = self.vector(truth)
        slopes = np.asarray(self.slopes(u))
        return np.asarray(self._fisher(u, jnp.asarray(mean))) / np.outer(slopes, slopes)

    def scored(self, truth: dict[str, float], bound: np.ndarray, state: State) -> dict[str, Any]:
        """Efficiency of a fit, and which parameters its own 68 % intervals cover."""
        slopes = np.asarray(self.slopes(state.u))
        own = np.asarray(state.fisher) / np.outer(slopes, slopes)
        found = self.values(state)
        error = np.array([found[n] - truth[n] for n in self.transform.names])
        efficiency, covered = score(error[None], bound[None], own[None])
        return {"efficiency": float(efficiency[0]), "covered": covered[0].tolist()}


def share(flags: Sequence[bool]) -> float:
    """Part of them that is true; NaN of none."""
    return float(np.mean(flags)) if len(flags) else float("nan")
