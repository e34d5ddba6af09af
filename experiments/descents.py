"""Descents of many images of one family on one grid, compiled once, and their scores."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from scipy.stats import truncnorm

from bandjax.inference.least_squares import State
from bandjax.learning.closed_loop import Guess, guess_of
from bandjax.learning.family import COUNTED, NUISANCES, Family, draw_values
from bandjax.learning.refinement import Refinement
from bandjax.learning.weights import Reverse
from experiments.common import score

TOLERANCE = 1e-4  # promised decrease of −log L at which a descent ends, far below the 0.01 that it is judged by
REACHED = 0.01  # −log posterior above the reference within which the optimum counts as reached
SIGNAL = 0.85  # part of the mean counts that a central stack's signal is
AXES = {"kx": (-0.7, 0.7), "energy": (-5.8, 0.3)}  # 1/Å; E − E_F in eV
TOLD = {"photon_energy": 100.0, "fwhm_energy": 0.1}


class Bench(Refinement):
    """The exact fit of a family's images on one grid, and how images are drawn and scored.

    Attributes:
        empty: An image of ones.
        mean_counts: Of the images.
    """

    def __init__(
        self, family: Family, kx_points: int, energy_points: int, mean_counts: float, max_steps: int,
        ends: Mapping[str, tuple[float, float]] = AXES, told: Mapping[str, float] = TOLD,
    ) -> None:  # fmt: skip
        points = {"kx": kx_points, "energy": energy_points}
        axes = {n: np.linspace(*ends[n], points[n]) for n in points}
        self.mean_counts = mean_counts
        self.empty = xr.DataArray(np.ones((kx_points, energy_points)), dims=tuple(axes), coords=axes, attrs=dict(told))
        super().__init__(self.empty, family, mean_counts, max_steps=max_steps, tolerance=TOLERANCE)

    def draw(self, rng: np.random.Generator) -> dict[str, float]:
        """Numbers of a stack and its exposure, from the priors."""
        values = draw_values(self.family, jax.random.key(int(rng.integers(2**31))), jnp.float64)
        cut = {n: (q.least - q.centre) / q.spread for n, q in NUISANCES.items()}
        drawn = {n: q.centre + q.spread * truncnorm.rvs(cut[n], np.inf, random_state=rng) for n, q in NUISANCES.items()}
        exposure = {n: v * (self.mean_counts if n in COUNTED else 1.0) for n, v in drawn.items()}
        exposure["gain"] = self.mean_counts * SIGNAL / self.family.brightness
        return dict(zip(self.family.drawn, map(float, values), strict=True)) | exposure

    def look(self, counts: np.ndarray, reverse: Reverse, seed: int) -> tuple[Guess, float]:
        """What the network says of an image, and its seconds."""
        began = time.perf_counter()
        guess = guess_of(self.empty.copy(data=counts), reverse, seed=seed)
        return guess, time.perf_counter() - began

    def scored(self, truth: dict[str, float], bound: np.ndarray, state: State) -> dict[str, Any]:
        """Efficiency of a fit, and which parameters its own 68 % intervals cover."""
        own, found = self.precision(state), self.values(state)
        error = np.array([found[n] - truth[n] for n in self.transform.names])
        efficiency, covered = score(error[None], bound[None], own[None])
        return {"efficiency": float(efficiency[0]), "covered": covered[0].tolist()}


def share(flags: Sequence[bool]) -> float:
    """Part of them that is true; NaN of none."""
    return float(np.mean(flags)) if len(flags) else float("nan")
