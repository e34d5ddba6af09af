"""Training of a reverse network as a job: −mean log q(latent | image) over images that are never seen twice.

Step n draws everything (which signals, exposure, crop, noise) from fold_in(key(seed), n), and the state is weights,
optimiser and n: a run that was killed goes on from its last checkpoint to the same weights, bit for bit, on one device.
"""

import dataclasses
import os
from pathlib import Path

import jax
import jax.numpy as jnp

from bandjax.devices import check_share
from bandjax.learning.cache import exact_products, open_cache, single_precision
from bandjax.learning.checkpoints import check_folder, open_manager
from bandjax.learning.crystal_images import draw_crystals, expose_crystals
from bandjax.learning.crystals import PLANE, CrystalFamily
from bandjax.learning.families import FAMILIES
from bandjax.learning.family import Family
from bandjax.learning.images import Clean, Images, draw_clean, expose
from bandjax.learning.job import Job, make_schedule, run_job
from bandjax.learning.objective import finish, make_loss, side_by_side
from bandjax.learning.reverse import Shape
from bandjax.learning.training_config import TrainingConfig
from bandjax.learning.weights import FORMAT, check_record, make_network, save_reverse, weights_of, with_weights

EXPOSURES = 4  # of each held-out stack, for the scores and the distances of the finished network
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
        mesh: Devices over which every batch is split, and the drawing of new stacks (`signals = 0`).

    Returns:
        The file of the trained network; None where the run was stopped before its end.

    Raises:
        ValueError: the folder holds a training of another configuration, family or version, or `batch` is no multiple of the devices.
        FloatingPointError: the loss became NaN (which step; the last good checkpoint is kept).
        OSError: a checkpoint could not be written; the last one is kept.
    """
    family = FAMILIES[config.family]()
    check_share(config.batch, mesh)
    folder = Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        "format": FORMAT, "family": family.name, "fingerprint": family.fingerprint,
        "config": dataclasses.asdict(config) | {"cache": ""},  # where the signals lie changes nothing
    }  # fmt: skip
    check_folder(folder, record, lambda found, owner: check_record(found, family, owner))
    with single_precision(), open_manager(folder) as manager:
        clean = None
        if config.signals:
            path = Path(config.cache) if config.cache else folder / "signals"
            clean = open_cache(family, path, config.signals, seed=config.seed, quiet=quiet)
            clean = jax.tree.map(lambda x: jnp.asarray(x[: config.signals]), clean)
        network = make_network(_shape(config, family), config.seed)
        job = _job(config, family, network, clean, mesh)
        weights = run_job(job, folder, weights_of(network), manager, stop_after=stop_after, quiet=quiet, mesh=mesh)
        if weights is None:
            return None
        several = [_held_out(config, family, clean, mesh, exposure=i) for i in range(EXPOSURES)]
        images = side_by_side(several)
        reverse = finish(family, with_weights(network, weights), images, record | {"commit": commit, "devices": str(jax.devices()[0].device_kind)})  # fmt: skip
        return save_reverse(folder / "reverse.npz", reverse)


def _job(config: TrainingConfig, family: Family | CrystalFamily, network, clean: Clean | None, mesh) -> Job:
    key = jax.random.fold_in(jax.random.key(config.seed), DATA)
    return Job(
        config.steps, config.checkpoint_every, lambda step: _images(config, family, jax.random.fold_in(key, step), clean, mesh),
        make_loss(network), lambda: _held_out(config, family, clean, mesh),
        make_schedule(config.learning_rate, config.warmup, config.steps),
    )  # fmt: skip


def _images(
    config: TrainingConfig, family: Family | CrystalFamily, key: jax.Array, clean: Clean | None, mesh
) -> Images:
    """The images of one step."""
    first, second = jax.random.split(key)
    if clean is None:
        return _expose(family, second, _draw(family, first, config.batch, mesh))
    # the first ones are held out
    index = jax.random.randint(first, (config.batch,), config.validation, clean.signal.shape[0])
    return _expose(family, second, jax.tree.map(lambda x: x[index], clean))


def _held_out(
    config: TrainingConfig, family: Family | CrystalFamily, clean: Clean | None, mesh, *, exposure: int = 0
) -> Images:
    """Images of stacks that are not trained on, always the same for one number of the exposure."""
    key = jax.random.key(config.seed)
    if clean is None:
        held = _draw(family, jax.random.fold_in(key, HELD_OUT), config.validation, mesh)
    else:
        held = jax.tree.map(lambda x: x[: config.validation], clean)
    return _expose(family, jax.random.fold_in(jax.random.fold_in(key, VALIDATION), exposure), held)


def _shape(config: TrainingConfig, family: Family | CrystalFamily) -> Shape:
    sizes = {name: getattr(config, name) for name in ("components", "width", "blocks", "hidden")}
    plane = PLANE if isinstance(family, CrystalFamily) else dict(family.network_sizes)
    return Shape(latent=len(family.names), **sizes, **plane)


def _draw(family: Family | CrystalFamily, key: jax.Array, batch: int, mesh) -> Clean:
    draw = draw_crystals if isinstance(family, CrystalFamily) else draw_clean
    with exact_products():
        return draw(family, key, batch, mesh=mesh)


def _expose(family: Family | CrystalFamily, key: jax.Array, clean: Clean) -> Images:
    return (expose_crystals if isinstance(family, CrystalFamily) else expose)(family, key, clean)
