"""Training of a surrogate as a job: least squares on the principal components of small stacks' spectra.

The exact spectra of a cache are turned into spline coefficients; at each wave vector their mean b and leading principal components q
(scaled to unit variance) are taken, and the network learns the coordinates z of every layer, each weighted by the variance that it
stands for. Step n draws its layers from fold_in(key(seed), n), so a run that was killed goes on to the same weights.
"""

import dataclasses
import os
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from bandjax.devices import check_share
from bandjax.learning.cache import open_blocks, single_precision
from bandjax.learning.checkpoints import check_folder, open_manager
from bandjax.learning.exact_layers import ORBITALS
from bandjax.learning.job import Job, make_schedule, run_job
from bandjax.learning.layer_data import (
    BLOCK_LAYERS,
    ENERGY,
    FINGERPRINT,
    K_POINTS,
    REACH,
    TURNS,
    VALENCE,
    Layers,
    draw_layers,
)
from bandjax.learning.surrogate import (
    DELTA,
    Surrogate,
    SurrogateNetwork,
    SurrogateShape,
    Surroundings,
    at_trained_energies,
    check_surrogate_record,
    save_surrogate,
    surrogate_record,
)
from bandjax.learning.training_config import checked_config, read_keys
from bandjax.learning.weights import weights_of, with_weights

DATA = 1  # stream of random numbers of a seed
FIXED = ("mean", "components")  # taken from the data
HELD_OUT = TURNS  # blocks, one of each turn


@dataclasses.dataclass(frozen=True)
class SurrogateConfig:
    """Everything that the training of a surrogate depends on; the keys of its TOML file.

    Attributes:
        seed: Of the stacks, weights and batches.
        steps: Steps of the optimiser.
        batch: Layers a step.
        blocks: Blocks of stacks (see `layer_data`) in the cache; the first 8 are held out.
        cache: Folder of the exact spectra; "" keeps them in the output folder.
        learning_rate: Largest; it rises during `warmup` steps and then falls to zero as a cosine.
        warmup: Steps.
        checkpoint_every: Steps between checkpoints (and rows of metrics.csv).
        window, rank, hidden, depth: See `SurrogateShape`.
    """

    seed: int = 0
    steps: int = 11000
    batch: int = 512
    blocks: int = 128
    cache: str = ""
    learning_rate: float = 2e-3
    warmup: int = 200
    checkpoint_every: int = 500
    window: int = 24
    rank: int = 48
    hidden: int = 256
    depth: int = 3


class Batch(NamedTuple):
    """Layers of one turn, and the coordinates of their spectra."""

    seen: Surroundings
    target: jax.Array  # (layer, k, rank)
    turn: jax.Array


def read_surrogate_config(path: str | os.PathLike[str]) -> SurrogateConfig:
    """A configuration from TOML; see `training_config.read_training`."""
    return surrogate_config(read_keys(path), f"File {path}")


def surrogate_config(found: dict[str, Any], owner: str = "Argument `config`") -> SurrogateConfig:
    """A checked `SurrogateConfig` from its keys."""
    positive = ("steps", "batch", "learning_rate", "checkpoint_every", "window", "rank", "hidden")
    config = checked_config(SurrogateConfig, found, positive, owner)
    if config.blocks < 2 * HELD_OUT:
        raise ValueError(f"{owner}: `blocks` must be at least {2 * HELD_OUT}, half of them held out, but is {config.blocks}.")  # fmt: skip
    return config


def train_surrogate(
    config: SurrogateConfig, folder: str | os.PathLike[str], *, quiet: bool = False, stop_after: int | None = None,
    commit: str = "unknown", mesh: Mesh | None = None,
) -> Path | None:  # fmt: skip
    """Train, or go on with a training that `folder` holds; arguments, result and errors are those of `training.train`."""
    check_share(config.batch, mesh)
    folder = Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    record = surrogate_record() | {"config": dataclasses.asdict(config) | {"cache": ""}}
    check_folder(folder, record, check_surrogate_record)
    with single_precision(), open_manager(folder) as manager:
        layers = open_layers(config, folder, quiet)
        network = SurrogateNetwork(_shape(config), rngs=nnx.Rngs(config.seed))
        means, components, targets = principal_components(layers, config.rank)
        weights = weights_of(network)
        fixed = {"mean": jnp.asarray(means), "components": jnp.asarray(components)}
        job = _job(config, network, fixed, layers, targets)
        learned = {name: value for name, value in weights.items() if name not in FIXED}
        trained = run_job(job, folder, learned, manager, stop_after=stop_after, quiet=quiet, mesh=mesh)
        if trained is None:
            return None
        network = with_weights(network, trained | fixed)
        scores = held_out_scores(network, layers)
        made = {"commit": commit, "devices": str(jax.devices()[0].device_kind), "scores": scores}
        return save_surrogate(folder / "surrogate.npz", Surrogate(network, record | made))


def open_layers(config: SurrogateConfig, folder: Path, quiet: bool) -> Layers:
    """All blocks of the cache as NumPy arrays, (block, layer, …)."""
    path = Path(config.cache) if config.cache else folder / "layers"
    around = (2 * REACH + 1,)
    fields = {
        "composition": ("float32", around), "stretch": ("float32", around), "a_parallel": ("float32", ()),
        "spectra": ("float16", (K_POINTS // TURNS, ENERGY.size)),
    }  # fmt: skip
    mark = {"family": "layers", "fingerprint": FINGERPRINT, "seed": config.seed}
    draw = jax.jit(draw_layers)
    found = open_blocks(
        path, mark, fields, lambda key, block: draw(key, jnp.int32(block % TURNS)), config.blocks, BLOCK_LAYERS, quiet=quiet
    )  # fmt: skip
    return Layers(*(x.reshape(config.blocks, BLOCK_LAYERS, *x.shape[1:]) for x in found))


def principal_components(layers: Layers, rank: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean b (k, level), components q (k, rank, level) of spline coefficients, and coordinates z (block, layer, k of the turn, rank)."""
    blocks, count = layers.spectra.shape[:2]
    mean = np.zeros((K_POINTS, DELTA.size), np.float32)
    components = np.zeros((K_POINTS, rank, DELTA.size), np.float32)
    targets = np.zeros((blocks, count, K_POINTS // TURNS, rank), np.float32)
    to_splines, n = _to_splines(), VALENCE.size
    for turn in range(TURNS):
        for at, k in enumerate(range(turn, K_POINTS, TURNS)):
            y = np.array(layers.spectra[turn::TURNS, :, at], np.float32)
            y[..., :n] = y[..., :n] @ to_splines
            flat = y[1:].reshape(-1, y.shape[-1])  # block 0 of the turn is held out
            middle = flat.mean(axis=0)
            some = (flat - middle)[::3]
            variance, vectors = np.linalg.eigh(some.T @ some / len(some))
            vectors, spread = vectors[:, ::-1][:, :rank], np.sqrt(np.maximum(variance[::-1][:rank], 1e-9))
            mean[k, :-1], components[k, :, :-1] = middle, (vectors * spread).T
            targets[turn::TURNS, :, at] = (y - middle) @ vectors / spread
    # the tails take what is missing to the number of orbitals
    mean[:, -1] = ORBITALS - mean[:, :-1] @ DELTA[:-1]
    components[..., -1] = -components[..., :-1] @ DELTA[:-1]
    return mean, components, targets


def _to_splines() -> np.ndarray:
    """Values at the knots times this are the coefficients of the cubic spline."""
    n = VALENCE.size
    at_knots = (4 * np.eye(n) + np.eye(n, k=1) + np.eye(n, k=-1)) / 6
    at_knots[0, 0] = at_knots[-1, -1] = 5 / 6
    return np.linalg.inv(at_knots).T.astype(np.float32)


def _job(config: SurrogateConfig, network: SurrogateNetwork, fixed: dict, layers: Layers, targets: np.ndarray) -> Job:
    variance = (fixed["components"] ** 2 * jnp.asarray(DELTA, jnp.float32)).sum(
        axis=-1
    )  # of every component, (k, rank)
    variance = variance / variance.sum() * TURNS
    key = jax.random.fold_in(jax.random.key(config.seed), DATA)

    def batch(blocks: Any, at: Any, turn: int) -> Batch:
        seen = _seen(layers, blocks, at, config.window)
        return Batch(seen, jnp.asarray(targets[blocks, at]), jnp.int32(turn))

    def batch_of(step: int) -> Batch:
        rng = np.random.default_rng(np.asarray(jax.random.key_data(jax.random.fold_in(key, step))))
        turn = step % TURNS
        rows = (config.blocks - turn - 1) // TURNS  # blocks of this turn after the first one
        blocks = turn + TURNS * rng.integers(1, rows + 1, config.batch)
        return batch(blocks, rng.integers(0, BLOCK_LAYERS, config.batch), turn)

    def loss(weights: dict, batch: Batch) -> jax.Array:
        k = batch.turn + TURNS * jnp.arange(K_POINTS // TURNS)
        z = with_weights(network, weights | fixed).coordinates(batch.seen, k)
        return ((z - batch.target) ** 2 * variance[k]).sum(axis=(1, 2)).mean()

    schedule = make_schedule(config.learning_rate, config.warmup, config.steps)
    return Job(config.steps, config.checkpoint_every, batch_of, loss, lambda: batch(0, slice(None), 0), schedule)


def _seen(layers: Layers, blocks: Any, at: Any, window: int) -> Surroundings:
    """What those layers see within the window."""
    cut = slice(REACH - window, REACH + window + 1)
    around = (layers.composition[..., cut][blocks, at], layers.stretch[..., cut][blocks, at])
    return Surroundings(*map(jnp.asarray, around), jnp.asarray(layers.a_parallel[blocks, at]))


def held_out_scores(network: SurrogateNetwork, layers: Layers) -> dict[str, Any]:
    """R² of the valence window over the blocks that were held out, of all and of the deviation from a mean of each species."""
    predict = jax.jit(lambda seen, k: at_trained_energies(network(seen, k)))
    sums = np.zeros(5)
    for block in range(HELD_OUT):
        seen = _seen(layers, block, slice(None), network.shape.window)
        found = predict(seen, block + TURNS * jnp.arange(K_POINTS // TURNS))
        sums += error_sums(np.asarray(found), np.asarray(layers.spectra[block], np.float32), layers.composition[block][:, REACH])  # fmt: skip
    return {"held_out_layers": HELD_OUT * BLOCK_LAYERS} | scores_of(sums)


def error_sums(found: np.ndarray, exact: np.ndarray, composition: np.ndarray) -> np.ndarray:
    """Σ(error²), Σ(exact − mean)², Σ(exact − species mean)², Σ|error|, Σ exact over the valence window; (layer, k, energy) each.

    The species' means are A_Si(k, E) and A_Ge(k, E) that fit these layers best by A ≈ (1 − c) A_Si + c A_Ge.
    """
    n = VALENCE.size
    found, exact = found[..., :n], exact[..., :n]
    species = np.stack([1 - composition, composition], axis=1)
    flat = exact.reshape(len(exact), -1)
    baseline = (species @ np.linalg.lstsq(species, flat, rcond=None)[0]).reshape(exact.shape)
    error = found - exact
    return np.array([(error**2).sum(), ((exact - exact.mean()) ** 2).sum(), ((exact - baseline) ** 2).sum(), np.abs(error).sum(), exact.sum()])  # fmt: skip


def scores_of(sums: np.ndarray) -> dict[str, float]:
    """R², R² of the deviation and normalised L1 from `error_sums`, which may have been added up."""
    square, total, deviation, absolute, weight = map(float, sums)
    return {"r2": 1 - square / total, "r2_deviation": 1 - square / deviation, "l1": absolute / weight}


def _shape(config: SurrogateConfig) -> SurrogateShape:
    return SurrogateShape(config.window, config.rank, config.hidden, config.depth)
