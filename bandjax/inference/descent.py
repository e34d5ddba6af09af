"""One descent of a fit on the host: trials one by one, so that each can be shown, saved and interrupted."""

import dataclasses
import hashlib
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bandjax.inference import least_squares
from bandjax.inference.least_squares import State
from bandjax.inference.parameters import Transform
from bandjax.inference.problem import Objective, Observed, Part, Problem, of_map, stage_widths

Progress = Callable[[dict[str, Any]], None]
HISTORY = ("stage", "broadening", "step", "cost", "promised", "damping", "seconds")


LATEST = 4  # successful trials …
IDLE = 10  # … that must together gain more than so many tolerances, or a stage is at its end


class Saved(NamedTuple):
    """Where an interrupted fit stands.

    Attributes:
        u: Unconstrained numbers.
        stage: Stage that was running.
        widening: Factors on the pixels' variances, one array a map; empty before the first reweighting.
        history: Trials so far.
        ends: Where the starts that are done have ended: −log posterior and unconstrained numbers.
    """

    u: jax.Array
    stage: int
    widening: list[np.ndarray]
    history: list[dict[str, Any]]
    ends: tuple[tuple[float, np.ndarray], ...] = ()


@dataclasses.dataclass
class Descent:
    """Runs stages one after the other; the trials of all are kept in `history`, and `idle` says whether the last stage
    ended because successful trials hardly gained any more; `momentum`: whether some stage smooths along the momentum."""

    objective: Objective
    progress: Progress | None
    keeper: "StateFile"
    history: list[dict[str, Any]]
    ends: tuple[tuple[float, np.ndarray], ...] = ()
    momentum: bool = False

    def __post_init__(self) -> None:
        self.idle = False
        self._linearise, self._cost = jax.jit(self.objective.linearise), jax.jit(self.objective.cost)

    def cost(self, u: jax.Array, obs: list[Observed]) -> float:
        """−log posterior at full sharpness."""
        return float(self._cost(u, obs, jnp.zeros(2) if self.momentum else jnp.asarray(0.0)))

    def run(
        self,
        u: jax.Array,
        obs: list[Observed],
        stage: int,
        tolerance: float,
        steps: int,
        *,
        broadening: float | tuple[float, float] = 0.0,
        widening=(),
    ) -> State:
        """Descend from `u`, at most `steps` trials, until an undamped step promises less than `tolerance` or successful
        trials hardly gain any more (where a model misses the data, steps promise more than they hold); then `done`."""
        widths = stage_widths(broadening)
        width = jnp.asarray(widths) if self.momentum else jnp.asarray(widths[0])
        state = least_squares.start_state(lambda v: self._linearise(v, obs, width), u)
        if not np.isfinite(state.cost):
            raise ValueError(f"The start of a fit must give a finite −log posterior, but gives {float(state.cost)}.")
        self.idle = False
        costs = [float(state.cost)]  # after each successful trial
        for _ in range(steps):
            promised = float(state.decrement)
            idle = len(costs) > LATEST and costs[-1 - LATEST] - costs[-1] < IDLE * tolerance
            # where non-negative weights come and go the cost has kinks, at which no step does better
            stuck = promised < least_squares.KINK * tolerance and float(state.damping) > 1.0
            if bool(state.done) or promised < tolerance or stuck or idle:
                self.idle = idle
                return state._replace(done=jnp.asarray(True))
            began = time.perf_counter()
            point, expected = least_squares.trial_step(state)
            reached = self._cost(point, obs, width)
            if np.isfinite(reached) and reached < state.cost:
                gain = (state.cost - reached) / expected
                state = least_squares.accept(state, point, gain, self._linearise(point, obs, width), tolerance)
                costs.append(float(state.cost))
            else:
                state = least_squares.reject(state, tolerance)
            numbers = (stage, widths[0], int(state.steps), float(state.cost), float(state.decrement))
            entry = dict(zip(HISTORY, (*numbers, float(state.damping), time.perf_counter() - began), strict=True))
            self.history.append(entry)
            self.keeper.save(Saved(state.u, stage, list(widening), self.history, self.ends))
            if self.progress is not None:
                self.progress(entry)
        return state


class StateFile:
    """The running state of a fit in an .npz file, replaced as a whole after every trial; no file where `path` is None."""

    def __init__(
        self, path: str | Path | None, problem: Problem, parts: list[Part], transform: Transform, starts: int | str = 1
    ) -> None:
        self.path = None if path is None else Path(path)
        self.names = transform.names
        self.fingerprint = _fingerprint(problem, parts, transform, starts)

    def load(self, start: jax.Array) -> Saved:
        """What is saved, or the start.

        Raises:
            ValueError: the file is no such state, or that of another fit.
        """
        if self.path is None or not self.path.exists():
            return Saved(start, 0, [], [])
        try:
            with np.load(self.path, allow_pickle=False) as file:
                saved = {name: file[name] for name in file.files}
            found = str(saved["fingerprint"])
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"File {self.path} must hold the state of a fit, but cannot be read ({error}).") from error
        if found != self.fingerprint:
            raise ValueError(
                f"File {self.path} must hold the state of this fit (the same data, parameters and starts), "
                f"but holds that of another one, of {', '.join(map(str, saved['names']))}."
            )
        history = [dict(zip(HISTORY, map(float, row), strict=True)) for row in saved["history"]]
        widening = [saved[f"widening_{i}"] for i in range(len(saved)) if f"widening_{i}" in saved]
        ends = tuple((float(cost), u) for cost, u in zip(saved["end_costs"], saved["ends"], strict=True))
        return Saved(jnp.asarray(saved["u"]), int(saved["stage"]), widening, history, ends)

    def save(self, saved: Saved) -> None:
        """Replace the file.

        Raises:
            OSError: it cannot be written (named).
        """
        if self.path is None:
            return
        part = self.path.with_name(self.path.name + ".part")
        try:
            with part.open("wb") as file:
                np.savez(
                    file, u=np.asarray(saved.u), stage=saved.stage, names=np.array(self.names), fingerprint=self.fingerprint,
                    history=np.array([list(h.values()) for h in saved.history]).reshape(-1, len(HISTORY)),
                    end_costs=np.array([cost for cost, _ in saved.ends]),
                    ends=np.array([u for _, u in saved.ends]).reshape(len(saved.ends), len(self.names)),
                    **{f"widening_{i}": w for i, w in enumerate(saved.widening)},
                )  # fmt: skip
            part.replace(self.path)
        except OSError as error:
            raise OSError(
                f"File {self.path} must be writable for the state of the fit, but is not ({error})."
            ) from error


def _fingerprint(problem: Problem, parts: list[Part], transform: Transform, starts: int | str) -> str:
    """Digest of what makes a fit the same: parameters, model at the start, instruments, noise, plans, options, data."""
    options = (
        problem.broadening,
        problem.weights,
        problem.held_out,
        problem.block,
        problem.seed,
        problem.inflate,
        starts,
    )
    digest = hashlib.sha256(repr((options, transform.names, transform.held, transform.tied)).encode())
    values = {n: p.value for n, p in problem.parameters.items()}
    models = [of_map(problem.model_of, part.name)(values) for part in parts]
    bounds = (transform.centre, transform.lower, transform.upper, transform.prior, transform.sigma)
    digest.update(repr([(n.name, n.value, n.sigma, float(n.of(models[0]))) for n in problem.known]).encode())
    for array in (*bounds, *jax.tree.leaves(models if isinstance(problem.model_of, Mapping) else models[0])):
        digest.update(np.ascontiguousarray(array).tobytes())
    for part in parts:
        digest.update(repr((part.name, part.plan, part.instrument, part.likelihood)).encode())
        for array in (part.data, part.variance, part.fitted):
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
