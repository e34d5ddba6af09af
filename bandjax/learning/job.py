"""The steps of a training, whatever is trained: progress, metrics, checkpoints, a loss that became NaN."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
from jax.sharding import Mesh
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bandjax.devices import replicate, split
from bandjax.learning.checkpoints import State, metrics_until, restore_state, save_state, write_metrics


class Job(NamedTuple):
    """What differs between trainings.

    Attributes:
        steps: Of the whole training.
        checkpoint_every: Steps between checkpoints (and rows of metrics.csv).
        batch_of: Number of a step to its batch; must depend on nothing else.
        loss: (weights, batch) -> mean loss.
        validation: The batch that is held out, always the same.
        schedule: Learning rate of a step.
    """

    steps: int
    checkpoint_every: int
    batch_of: Callable[[int], Any]
    loss: Callable[[Any, Any], jax.Array]
    validation: Callable[[], Any]
    schedule: optax.Schedule


def make_schedule(learning_rate: float, warmup: int, steps: int) -> optax.Schedule:
    """Rises during `warmup` steps, then falls to zero as a cosine."""
    return optax.warmup_cosine_decay_schedule(0.0, learning_rate, min(warmup, steps // 2), steps)


def make_optimiser(schedule: optax.Schedule) -> optax.GradientTransformation:
    """Adam with clipped gradients and a little weight decay."""
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=1e-4))


def make_step(loss: Callable, optimiser: optax.GradientTransformation) -> Callable:
    """(state, batch) -> (state, loss)."""

    def step(state: State, batch: Any) -> tuple[State, jax.Array]:
        value, gradient = jax.value_and_grad(loss)(state.weights, batch)
        change, kept = optimiser.update(gradient, state.optimiser, state.weights)
        return State(optax.apply_updates(state.weights, change), kept, state.step + 1), value

    return step


def run_job(
    job: Job, folder: Path, weights: Any, manager: ocp.CheckpointManager, *, stop_after: int | None = None,
    quiet: bool = False, mesh: Mesh | None = None,
) -> Any:  # fmt: skip
    """All steps that are left after the last checkpoint, with checkpoints and metrics.

    Args:
        job: The training.
        folder: For metrics.csv.
        weights: Where it begins, if there is no checkpoint.
        manager: The checkpoints.
        stop_after: Steps of this call at most.
        quiet: Whether to show no progress bar.
        mesh: Devices that hold the state, and over which every batch is split: XLA adds up their gradients.

    Returns:
        The trained weights; None where steps are left.

    Raises:
        FloatingPointError: the loss became NaN (which step; the last good checkpoint is kept).
        OSError: a checkpoint could not be written; the last one is kept.
    """
    optimiser = make_optimiser(job.schedule)
    state = restore_state(manager, State(weights, optimiser.init(weights), jnp.zeros((), jnp.int32)))
    state = state if mesh is None else replicate(state, mesh)  # a restored one lies on one device
    begin, last = int(state.step), job.steps
    last = min(last, begin + stop_after) if stop_after is not None else last
    loss_of, step_once = jax.jit(job.loss), jax.jit(make_step(job.loss, optimiser))
    validation = None
    rows = metrics_until(folder / "metrics.csv", begin)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    started, total = time.perf_counter(), []
    with Progress(*columns, disable=quiet) as progress:
        task = progress.add_task("training", total=job.steps, completed=begin)
        for step in range(begin, last):
            batch = job.batch_of(step)
            state, value = step_once(state, batch if mesh is None else split(batch, mesh))
            total.append(float(value))
            if not math.isfinite(total[-1]):
                kept = manager.latest_step()
                raise FloatingPointError(
                    f"The loss of step {step} became {total[-1]}; the last good checkpoint "
                    f"({'none yet' if kept is None else f'step {kept}'}) is kept in {folder}. A smaller `learning_rate` may help."
                )
            progress.update(task, advance=1, description=f"training, loss {total[-1]:.3f}")
            if (step + 1) % job.checkpoint_every == 0 or step + 1 == job.steps:
                validation = job.validation() if validation is None else validation
                score = float(loss_of(state.weights, validation))
                seconds = time.perf_counter() - started
                rows.append((step + 1, float(np.mean(total)), score, float(job.schedule(step)), seconds))
                total = []
                save_state(manager, state, folder)
                write_metrics(folder / "metrics.csv", rows)
    return None if int(state.step) < job.steps else state.weights
