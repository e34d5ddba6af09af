"""The stack whose fingerprint is nearest a target, by gradient, whole layers read off at the end.

Residuals r in units of their tolerances (`design_targets.py`) are brought down by Levenberg-Marquardt steps on ½ Σ r² in continuous
layer numbers, fractions and strain, from the nearest few of some stacks that are spread over the family and do not depend on the target.
Around each end the abrupt stacks with the next smaller and larger whole layer numbers are tried, fractions and strain descending once
more at each; where none meets the target, the neighbours of the nearest follow, the nearest first.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import expit, logit
from scipy.stats import qmc

from bandjax import checks
from bandjax.fingerprints.design_targets import (
    FingerprintTarget,
    Objective,
    fingerprint_objective,
    number_objective,
)
from bandjax.fingerprints.stack_family import SHARP, StackFamily, between_periods, is_direct, stack_numbers
from bandjax.inference import least_squares
from bandjax.inference.starts import EDGE

HIT = 0.02
"""A descent ends where √Σ r² is below this part of the tolerances."""
SLOW = 0.01
"""A descent ends where a step that is hardly damped gains less than this part of the cost."""

_trial_step, _accept, _reject = map(jax.jit, (least_squares.trial_step, least_squares.accept, least_squares.reject))


class Design(NamedTuple):
    """A designed stack.

    Attributes:
        layers: Whole numbers of bilayers.
        values: By `StackFamily.names`, layers included: `stack_numbers` takes it.
        achieved: `NUMBERS` of this stack: eV and m_e.
        deviation: Each target's miss in units of its tolerance.
        distance: √Σ r², in tolerances.
        converged: Whether every target is met within its tolerance and the gap is the one at Γ.
        direct: Whether the gap at Γ is the crystal's.
        continuous: Values at the end of the descent from which the layers were read off.
        history: Cost ½ Σ r² of every accepted step: {"start", "stage", "step", "cost"}; the first, "screened", is of the nearest stack before any.
        others: Values of the stacks with other whole numbers that were met on the way and meet the target too.
        sentence: All that in words.
    """

    layers: tuple[int, ...]
    values: dict[str, float]
    achieved: dict[str, float]
    deviation: dict[str, float]
    distance: float
    converged: bool
    direct: bool
    continuous: dict[str, float]
    history: list[dict[str, Any]]
    others: list[dict[str, float]]
    sentence: str


def design_stack(
    target: Mapping[str, float] | FingerprintTarget,
    family: StackFamily,
    *,
    energy_tolerance: float = 0.02,
    mass_tolerance: float = 0.05,
    screened: int = 48,
    starts: int = 3,
    tried: int = 30,
    max_steps: int = 25,
    progress: Callable[[dict[str, Any]], None] | None = None,
) -> Design:
    """The stack of a family that comes nearest a target.

    Args:
        target: Some of `NUMBERS` by name, as `stack_numbers` defines them: energies in eV (a gap > 0), masses in m_e (electrons
            > 0, holes < 0); or a whole fingerprint.
        family: Where to look.
        energy_tolerance, mass_tolerance: What counts as met by numbers: eV, and part of a mass, > 0.
        screened: Stacks evaluated at first, of which the nearest are the starts.
        starts: Descents at most; no further one begins once the target is met.
        tried: Stacks with whole layers tried at most.
        max_steps: Trials of a descent at most.
        progress: Called with every entry of `history`.

    Returns:
        A target out of the family's reach gives the nearest stack that was found, with `converged` False.

    Raises:
        ValueError: a name that is unknown, a gap ≤ 0, a mass of 0 or of the wrong sign, a number that is not finite, no target; a
            fingerprint that does not fit its window.
    """
    for name, count in (("screened", screened), ("starts", starts), ("tried", tried), ("max_steps", max_steps)):
        checks.positive(name, count)
    if isinstance(target, FingerprintTarget):
        objective = fingerprint_objective(family, target)
    else:
        objective = number_objective(family, target, energy_tolerance, mass_tolerance)
    search = _Search(family, objective, max_steps, progress)
    points = spread_stacks(family, screened)
    costs = [search.trial(p).cost for p in points]
    search.note("screened", 0, min(costs))
    for start, at in enumerate(np.argsort(costs)[:starts]):
        search.from_start(points[at], start)
        if search.met(search.best):
            break
    search.walk(tried)
    return search.result()


def spread_stacks(family: StackFamily, count: int) -> np.ndarray:
    """Stacks with whole layers spread evenly over a family (Halton's sequence), shape (stack, value)."""
    bounds = family.bounds
    share = qmc.Halton(len(bounds), scramble=False).random(count + 1)[1:]  # the first point is a corner
    layered = np.arange(len(bounds)) < len(family.layers)
    low, high = bounds[:, 0] - 0.5 * layered, bounds[:, 1] + 0.5 * layered
    points = low + share * (high - low)
    return np.where(layered, np.clip(np.rint(points), bounds[:, 0], bounds[:, 1]), points)


class _Trial(NamedTuple):
    """A stack with whole layers, and the continuous values that it was read off."""

    p: np.ndarray
    features: np.ndarray
    cost: float
    end: np.ndarray


class _Search:
    """One target in one family: what was tried, and the history."""

    def __init__(
        self, family: StackFamily, objective: Objective, max_steps: int, progress: Callable | None
    ) -> None:  # fmt: skip
        self.family, self.objective, self.max_steps, self.progress = family, objective, max_steps, progress
        self.count = len(family.layers)
        self.start = 0
        self.tried: dict[tuple[int, ...], _Trial] = {}
        self.history: list[dict[str, Any]] = []

    @property
    def best(self) -> _Trial:
        return min(self.tried.values(), key=lambda trial: trial.cost)

    def from_start(self, p: np.ndarray, start: int) -> None:
        """Descend, and try the whole numbers around the end."""
        self.start = start
        wider = np.where(np.arange(len(p)) < self.count, 0.5, 0.0)  # whole numbers at the bounds stay inside
        bounds = self.family.bounds + wider[:, None] * [-1, 1]
        end = self.descend(self.smooth, p, bounds, "continuous")
        sides = [sorted({int(np.floor(n)), int(np.ceil(n))}) for n in end[: self.count]]
        self.try_all(itertools.product(*sides), end)

    def walk(self, most: int) -> None:
        """Try the neighbours of the nearest stack whose neighbours were not tried, until the target is met or `most` were."""
        left = set(self.tried)
        while left and not self.met(self.best) and len(self.tried) < most:
            whole = min(left, key=lambda layers: self.tried[layers].cost)
            before, known = self.tried[whole], set(self.tried)
            self.try_all(itertools.product(*((n - 1, n, n + 1) for n in whole)), before.end, before.p)
            left = (left - {whole}) | (set(self.tried) - known)

    def try_all(self, layers: Iterable[tuple[int, ...]], end: np.ndarray, p: np.ndarray | None = None) -> None:
        """Try stacks with these whole numbers, those before and those outside the family left out."""
        for whole in layers:
            inside_bounds = all(
                low <= n <= high for n, (low, high) in zip(whole, self.family.layers, strict=True)
            )  # fmt: skip
            if whole in self.tried or not inside_bounds:
                continue
            q = np.concatenate([whole, (end if p is None else p)[self.count :]])
            bounds = self.family.bounds
            bounds[: self.count] = np.array(whole)[:, None]
            q = self.descend(self.sharp, q, bounds, "-".join(map(str, whole)))
            self.tried[whole] = self.trial(q, end)

    def trial(self, p: np.ndarray, end: np.ndarray | None = None) -> _Trial:
        """The abrupt stack with the whole layers of p."""
        features = self.sharp(p)[0]
        r = self.objective.residuals(features)[0]
        cost = float(r @ r) / 2
        return _Trial(p, features, cost if np.isfinite(cost) else np.inf, p if end is None else end)

    def sharp(self, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Features of a stack with whole layers, and their derivatives."""
        return self.objective.slopes(p, int(np.rint(p[: self.count].sum())), SHARP)

    def smooth(self, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Features with continuous layers, and their derivatives."""
        return between_periods(self.family, self.objective.slopes, p)

    def descend(self, features_of: Callable, p: np.ndarray, bounds: np.ndarray, stage: str) -> np.ndarray:
        """Values at the end of a descent between bounds; values whose bounds are equal are held."""
        free = np.flatnonzero(bounds[:, 0] < bounds[:, 1])
        if not free.size:
            return p
        low, high = bounds[free].T

        def point(u: np.ndarray) -> np.ndarray:
            out = p.copy()
            out[free] = low + (high - low) * expit(u)
            return out

        def linearise(u: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            features, derivative = features_of(point(u))
            r, slope = self.objective.residuals(features)
            j = slope[:, None] * derivative[:, free] * (high - low) * expit(u) * expit(-u)
            return r @ r / 2, j.T @ r, j.T @ j

        share = np.clip((p[free] - low) / (high - low), EDGE, 1 - EDGE)
        state = least_squares.start_state(linearise, jnp.asarray(logit(share)))
        self.note(stage, 0, state.cost)
        enough = HIT**2 / 2
        while not state.done and state.steps < self.max_steps and state.cost > enough:
            u, promised = _trial_step(state)
            linearised = linearise(np.asarray(u))
            gained = state.cost - linearised[0]
            if not (np.isfinite(gained) and gained > 0):
                state = _reject(state, enough)
                continue
            slow = bool((gained < SLOW * state.cost) & (state.damping < 1.0))
            state = _accept(state, u, gained / promised, linearised, enough)
            self.note(stage, state.steps, state.cost)
            if slow:
                break
        return point(np.asarray(state.u))

    def note(self, stage: str, step: Any, cost: Any) -> None:
        entry = {"start": self.start, "stage": stage, "step": int(step), "cost": float(cost)}
        self.history.append(entry)
        if self.progress is not None:
            self.progress(entry)

    def met(self, trial: _Trial) -> bool:
        return np.isfinite(trial.cost) and all(abs(x) <= 1 for x in self.objective.deviation(trial.features).values())

    def named(self, p: np.ndarray) -> dict[str, float]:
        return dict(zip(self.family.names, map(float, p), strict=True))

    def result(self) -> Design:
        best, direct = self.best, is_direct(self.family, self.best.p)
        met = self.met(best)
        others = [self.named(trial.p) for trial in self.tried.values() if trial is not best and self.met(trial)]
        achieved = stack_numbers(self.family, self.named(best.p))
        deviation = {name: float(x) for name, x in self.objective.deviation(best.features).items()}
        layers = tuple(int(n) for n in best.p[: self.count])
        return Design(
            layers, self.named(best.p), achieved, deviation, float(np.sqrt(2 * best.cost)), met and direct, direct,
            self.named(best.end), self.history, others, self._sentence(layers, best, deviation, met, direct),
        )  # fmt: skip

    def _sentence(
        self, layers: Sequence[int], best: _Trial, deviation: Mapping[str, float], met: bool, direct: bool
    ) -> str:  # fmt: skip
        first, second = self.family.materials
        fractions = best.p[self.count : 2 * self.count]
        parts = ", ".join(
            f"{n} bilayer{'s' if n > 1 else ''} of {first if f == 0 else second if f == 1 else f'{first} with {f:.3f} of {second}'}"
            for n, f in zip(layers, fractions, strict=True)
        )
        if met:
            verdict = (
                "meets the target"
                if direct
                else "would meet the target, but has a smaller gap than that at Γ elsewhere"
            )
        else:
            missed = ", ".join(f"{name} by {x:+.2g} tolerances" for name, x in deviation.items() if not abs(x) <= 1)
            verdict = f"is the nearest that was found, and misses {missed}"
        return f"The stack of {parts} on a∥ = {best.p[-1]:.4f} Å {verdict}."
