"""Training of a reverse network as a job: −mean log q(latent | image) over images that are never seen twice.

Step n draws everything (which signals, exposure, crop, noise) from fold_in(key(seed), n), and the state is weights,
optimiser and n: a run that was killed goes on from its last checkpoint to the same weights, bit for bit, on one device.
"""

import dataclasses
import math
import os
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bandjax.devices import replicate
from bandjax.learning.cache import open_cache, single_precision
from bandjax.learning.checkpoints import (
    check_folder,
    metrics_until,
    open_manager,
    restore_state,
    save_state,
    write_metrics,
)
from bandjax.learning.family import FAMILIES, Family
from bandjax.learning.images import Clean, Images, draw_clean, expose
from bandjax.learning.objective import State, finish, make_loss, make_step
from bandjax.learning.reverse import Shape
from bandjax.learning.training_config import TrainingConfig
from bandjax.learning.weights import FORMAT, make_network, save_reverse, weights_of, with_weights

DATA, HELD_OUT, VALIDATION = 1, 2, 3  # streams of random numbers of a seed; the weights start from stream 0


def train(
    config: TrainingConfig, folder: str | os.PathLike[str], *, quiet: bool = False, stop_after: int | None = None,
    commit: str = "unknown", mesh=None,
) -> Path | None:  # fmt: skip
    """Train, or go on with a training that `folder` holds.

    Args:
        config: What is trained; a folder with checkpoints must have been begun with the same.
        folder: For checkpoints/, metrics.csv and the result reverse.npz.
        quiet: Whether to show no progress bar.
        stop_after: Stop after that many steps of this call, as if killed after its last checkpoint; for tests.
        commit: Of the source, for the record.
        mesh: Devices over which the drawing of new stacks (`signals = 0`) is split.

    Returns:
        The file of the trained network; None where the run was stopped before its end.

    Raises:
        ValueError: the folder holds a training of another configuration, family or version.
        FloatingPointError: the loss became NaN (which step; the last good checkpoint is kept).
        OSError: a checkpoint could not be written; the last one is kept.
    """
    family = FAMILIES[config.family]()
    folder = Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        "format": FORMAT, "family": family.name, "fingerprint": family.fingerprint,
        "config": dataclasses.asdict(config) | {"cache": ""},  # where the signals lie changes nothing
    }  # fmt: skip
    check_folder(folder, record, family)
    with single_precision(), open_manager(folder) as manager:
        clean = None
        if config.signals:
            path = Path(config.cache) if config.cache else folder / "signals"
            clean = open_cache(family, path, config.signals, seed=config.seed, quiet=quiet)
            clean = jax.tree.map(lambda x: jnp.asarray(x[: config.signals]), clean)
        network, optimiser = make_network(_shape(config, family), config.seed), _optimiser(config)
        weights = weights_of(network)
        state = State(weights, optimiser.init(weights), jnp.zeros((), jnp.int32))
        state = restore_state(manager, state)
        state = state if mesh is None else replicate(state, mesh)  # a restored one lies on one device
        state = _run(config, family, folder, network, optimiser, state, clean, manager, stop_after, quiet, mesh)
        if int(state.step) < config.steps:
            return None
        images = _held_out(config, family, clean, mesh)
        reverse = finish(family, with_weights(network, state.weights), images, record | {"commit": commit, "devices": str(jax.devices()[0].device_kind)})  # fmt: skip
        return save_reverse(folder / "reverse.npz", reverse)


def _run(config, family, folder, network, optimiser, state, clean, manager, stop_after, quiet, mesh) -> State:
    """All steps that are left, with checkpoints and metrics."""
    key = jax.random.fold_in(jax.random.key(config.seed), DATA)
    begin, last = int(state.step), config.steps
    last = min(last, begin + stop_after) if stop_after is not None else last
    loss_of = jax.jit(make_loss(network))
    step_once = jax.jit(make_step(make_loss(network), optimiser))
    validation, schedule = None, _schedule(config)
    rows = metrics_until(folder / "metrics.csv", begin)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    started, total = time.perf_counter(), []
    with Progress(*columns, disable=quiet) as progress:
        task = progress.add_task("training", total=config.steps, completed=begin)
        for step in range(begin, last):
            images = _images(config, family, jax.random.fold_in(key, step), clean, mesh)
            state, value = step_once(state, images)
            total.append(float(value))
            if not math.isfinite(total[-1]):
                kept = manager.latest_step()
                raise FloatingPointError(
                    f"The loss of step {step} became {total[-1]}; the last good checkpoint "
                    f"({'none yet' if kept is None else f'step {kept}'}) is kept in {folder}. A smaller `learning_rate` may help."
                )
            progress.update(task, advance=1, description=f"training, loss {total[-1]:.3f}")
            if (step + 1) % config.checkpoint_every == 0 or step + 1 == config.steps:
                validation = _held_out(config, family, clean, mesh) if validation is None else validation
                score = float(loss_of(state.weights, validation))
                seconds = time.perf_counter() - started
                rows.append((step + 1, float(np.mean(total)), score, float(schedule(step)), seconds))
                total = []
                save_state(manager, state, folder)
                write_metrics(folder / "metrics.csv", rows)
    return state


def _images(config: TrainingConfig, family: Family, key: jax.Array, clean: Clean | None, mesh) -> Images:
    """The images of one step."""
    first, second = jax.random.split(key)
    if clean is None:
        return expose(family, second, draw_clean(family, first, config.batch, mesh=mesh))
    # the first ones are held out
    index = jax.random.randint(first, (config.batch,), config.validation, clean.signal.shape[0])
    return expose(family, second, jax.tree.map(lambda x: x[index], clean))


def _held_out(config: TrainingConfig, family: Family, clean: Clean | None, mesh) -> Images:
    """Images of stacks that are not trained on, always the same."""
    key = jax.random.key(config.seed)
    if clean is None:
        held = draw_clean(family, jax.random.fold_in(key, HELD_OUT), config.validation, mesh=mesh)
    else:
        held = jax.tree.map(lambda x: x[: config.validation], clean)
    return expose(family, jax.random.fold_in(key, VALIDATION), held)


def _shape(config: TrainingConfig, family: Family) -> Shape:
    return Shape(
        latent=len(family.names), components=config.components, width=config.width, blocks=config.blocks,
        hidden=config.hidden,
    )  # fmt: skip


def _schedule(config: TrainingConfig) -> optax.Schedule:
    warmup = min(config.warmup, config.steps // 2)
    return optax.warmup_cosine_decay_schedule(0.0, config.learning_rate, warmup, config.steps)


def _optimiser(config: TrainingConfig) -> optax.GradientTransformation:
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(_schedule(config), weight_decay=1e-4))
