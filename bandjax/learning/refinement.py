"""Descents of many images of one family on one grid: compiled once, where `fit` compiles for each image.

Priors of the exposure are in units of one level of counts, which should be that of the series.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from bandjax.inference.descent import Descent, StateFile
from bandjax.inference.least_squares import State
from bandjax.inference.parameters import free_values, start_vector
from bandjax.inference.problem import make_objective, observed, prepare
from bandjax.inference.starts import choose_starts
from bandjax.learning.closed_loop import Guess, misfits, problem_of
from bandjax.learning.family import Family


class End(NamedTuple):
    """Where a descent ended, and how many trials and Jacobians it took."""

    state: State
    trials: int
    jacobians: int


class Refinement:
    """The exact fit of images that share axes, photon energy and resolution; what differs is counts and starts.

    Attributes:
        family: Of the images.
        problem, transform, part: The fit, its parameters, and the map as `prepare` lays it out.
        objective: Pure functions of unconstrained numbers and observations.
        mean_at: Unconstrained numbers to mean counts, (kx, energy).
        slopes: Unconstrained numbers to the derivatives of the physical ones, (parameter,).
    """

    def __init__(self, image: xr.DataArray, family: Family, level: float, max_steps: int = 40) -> None:
        """Lay out the fit.

        Args:
            image: A checked map with the axes and attributes of all.
            family: Of the images.
            level: Mean counts, the unit of the backgrounds' priors.
            max_steps: Trials at most of each descent.
        """
        self.family, self.max_steps = family, max_steps
        self.problem = problem_of(image, family, level)
        (self.part,), self.transform = prepare(image, self.problem)
        self.objective = make_objective(self.problem, [self.part], self.transform)
        self._descent = Descent(self.objective, None, StateFile(None, self.problem, [self.part], self.transform), [])
        zero = jnp.asarray(0.0)
        self.mean_at = jax.jit(lambda u: self.objective.predict(u, [observed(self.part)], zero)[0][0])
        self.slopes = jax.jit(lambda u: jnp.diagonal(jax.jacfwd(lambda w: free_values(self.transform, w))(u)))

    def vector(self, point: dict[str, float]) -> jax.Array:
        """Unconstrained numbers of a point, which the bounds hold."""
        t = self.transform
        margin = 1e-3 * t.scale
        x = np.clip([point[n] for n in t.names], t.lower + margin, t.upper - margin)
        return jnp.asarray(start_vector(t, dict(zip(t.names, x, strict=True))))

    def starts(self, counts: np.ndarray, guess: Guess, count: int) -> list[jax.Array]:
        """The starts that `bandjax.invert` would take."""
        vectors = [self.vector(p) for p in guess.candidates]
        costs = [self._descent.cost(u, self._observed(counts)) for u in vectors]
        return [vectors[i] for i in choose_starts(costs, count, guess.alike)]

    def descend(self, counts: np.ndarray, start: jax.Array, tolerance: float) -> End:
        """One descent, until a step promises less than `tolerance` of −log posterior."""
        obs = self._observed(counts)
        first, before = self._descent.cost(start, obs), len(self._descent.history)
        state = self._descent.run(start, obs, 1, tolerance, self.max_steps)
        # a trial that is taken needs a new Jacobian, one that is not keeps the cost
        costs = [first, *(float(entry["cost"]) for entry in self._descent.history[before:])]
        return End(state, len(costs) - 1, 1 + int((np.diff(costs) < 0).sum()))

    def values(self, u: jax.Array) -> np.ndarray:
        """Physical numbers in the order of `transform.names`."""
        return np.asarray(free_values(self.transform, u), float)

    def precision(self, state: State) -> np.ndarray:
        """Fisher matrix with the priors' precision at the end of a descent, physical, (parameter, parameter)."""
        slopes = np.asarray(self.slopes(state.u))
        return np.asarray(state.fisher) / np.outer(slopes, slopes)

    def misfit(self, counts: np.ndarray, state: State) -> float:
        """The largest of the residual tests of `bandjax.invert`, in standard deviations of noise."""
        return max(misfits(counts, np.asarray(self.mean_at(state.u)), len(self.transform.names)))

    def _observed(self, counts: np.ndarray) -> list:
        fitted = np.isfinite(counts)
        return [observed(self.part._replace(data=np.where(fitted, counts, 0.0), fitted=fitted))]
