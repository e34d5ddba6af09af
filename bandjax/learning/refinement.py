"""Descents of many images of one family on one grid: compiled once, where `fit` compiles for each image.

Priors of the exposure are in units of one level of counts, which should be that of the series.
"""

import time
from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from bandjax.inference.descent import Descent, StateFile
from bandjax.inference.least_squares import State
from bandjax.inference.parameters import free_values, start_vector
from bandjax.inference.problem import Observed, make_objective, observed, prepare
from bandjax.inference.starts import choose_starts, given_points
from bandjax.learning.closed_loop import Guess, problem_of
from bandjax.learning.family import Family
from bandjax.learning.residuals import misfits

# standard deviations of the residual test up to which no other start is tried: noise exceeds them once in fifty times, and
# an end that does not may still be wrong where it would be accepted (3.8 was seen, 108 of −log posterior above the optimum)
SURE = 2.5


class End(NamedTuple):
    """Where a descent ended, after how many trials and Jacobians, and its seconds."""

    state: State
    trials: int
    jacobians: int
    seconds: float


class Refinement:
    """The exact fit of images that share axes, photon energy and resolution; what differs is counts and starts.

    Attributes:
        family: Of the images.
        problem, transform: The fit and its parameters.
        mean_at: Unconstrained numbers to mean counts, (kx, energy).
        slopes: Unconstrained numbers to the derivatives of the physical ones, (parameter,).
    """

    def __init__(
        self, image: xr.DataArray, family: Family, level: float, *, max_steps: int = 40, tolerance: float = 5e-3
    ) -> None:
        """Lay out the fit.

        Args:
            image: A checked map with the axes and attributes of all.
            family: Of the images.
            level: Mean counts, the unit of the backgrounds' priors.
            max_steps: Trials at most of each descent.
            tolerance: Promised decrease of −log posterior at which a descent ends (0.005: a tenth of a standard error).
        """
        self.family, self.max_steps, self.tolerance = family, max_steps, tolerance
        self.problem = problem_of(image, family, level)
        (self._part,), self.transform = prepare(image, self.problem)
        objective = make_objective(self.problem, [self._part], self.transform)
        self._descent = Descent(objective, None, StateFile(None, self.problem, [self._part], self.transform), [])
        zero, weight = jnp.asarray(0.0), observed(self._part).weight
        self.mean_at = jax.jit(lambda u: objective.predict(u, [observed(self._part)], zero)[0][0])
        self._fisher = jax.jit(lambda u, mean: objective.linearise(u, [Observed(mean, weight)], zero)[2])
        self.slopes = jax.jit(lambda u: jnp.diagonal(jax.jacfwd(lambda w: free_values(self.transform, w))(u)))

    def exact(self, point: dict[str, float]) -> jax.Array:
        """Unconstrained numbers of a point within the bounds."""
        return jnp.asarray(start_vector(self.transform, point))

    def vector(self, point: dict[str, float]) -> jax.Array:
        """Unconstrained numbers from which a descent to a point may start: away from the bounds."""
        return jnp.asarray(given_points(self.transform, [point])[0])

    def starts(self, counts: np.ndarray, guess: Guess, count: int) -> list[jax.Array]:
        """The starts that `bandjax.invert` would take."""
        obs, vectors = self._observed(counts), [self.vector(p) for p in guess.candidates]
        costs = [self._descent.cost(u, obs) for u in vectors]
        return [vectors[i] for i in choose_starts(costs, count, guess.alike)]

    def descend(self, counts: np.ndarray, start: jax.Array) -> End:
        """One descent; dead pixels are NaN."""
        obs, before, began = self._observed(counts), len(self._descent.history), time.perf_counter()
        first = self._descent.cost(start, obs)
        state = self._descent.run(start, obs, 1, self.tolerance, self.max_steps)
        seconds = time.perf_counter() - began
        # a trial that is taken needs a new Jacobian, one that is not keeps the cost
        costs = [first, *(float(entry["cost"]) for entry in self._descent.history[before:])]
        return End(state, len(costs) - 1, 1 + int((np.diff(costs) < 0).sum()), seconds)

    def refine(self, counts: np.ndarray, guess: Guess, count: int) -> tuple[list[End], State, float]:
        """`try_starts` from at most that many starts of the network; the seconds hold the choice of the starts too."""
        began = time.perf_counter()
        ends, best, _ = self.try_starts(counts, self.starts(counts, guess, count))
        return ends, best, time.perf_counter() - began

    def try_starts(self, counts: np.ndarray, starts: Iterable[jax.Array]) -> tuple[list[End], State, float]:
        """Descents from one start after the other while the residual leaves doubts at what has been found: where they
        ended, the best, and the seconds."""
        began, ends = time.perf_counter(), []
        for u in starts:
            ends.append(self.descend(counts, u))
            if max(self.misfits(counts, ends[-1].state)) <= SURE:
                break
        best = min((end.state for end in ends), key=lambda s: float(s.cost))
        return ends, best, time.perf_counter() - began

    def values(self, state: State) -> dict[str, float]:
        """Physical numbers of a point."""
        found = np.asarray(free_values(self.transform, state.u), float)
        return dict(zip(self.transform.names, found.tolist(), strict=True))

    def precision(self, state: State) -> np.ndarray:
        """Fisher matrix with the priors' precision at the end of a descent, physical, (parameter, parameter)."""
        slopes = np.asarray(self.slopes(state.u))
        return np.asarray(state.fisher) / np.outer(slopes, slopes)

    def misfits(self, counts: np.ndarray, state: State) -> tuple[float, ...]:
        """Of the residual at a point, as `bandjax.invert` tests it."""
        return misfits(counts, np.asarray(self.mean_at(state.u)), len(self.transform.names))

    def bound(self, truth: dict[str, float], mean: np.ndarray) -> np.ndarray:
        """Fisher matrix at the truth with the priors' precision, (parameter, parameter), physical."""
        u = self.exact(truth)
        slopes = np.asarray(self.slopes(u))
        return np.asarray(self._fisher(u, jnp.asarray(mean))) / np.outer(slopes, slopes)

    def _observed(self, counts: np.ndarray) -> list[Observed]:
        fitted = np.isfinite(counts)
        return [observed(self._part._replace(data=np.where(fitted, counts, 0.0), fitted=fitted))]
