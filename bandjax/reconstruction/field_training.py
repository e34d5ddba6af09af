"""Training of one network on counts: Poisson likelihood, averaged weights, stopped by what is held out.

Loss of a batch: mean of e μ − c log μ, with c the counts of a pixel, e its exposure (0 where it does not count) and μ the rate in
units of the mean. What is judged and kept is the exponential mean of the weights, at the round (of `STEPS` steps) where the held-out
log-likelihood was largest. Adam at one rate until `PATIENCE` rounds brought nothing; then from the best again with smaller steps, `DROPS` times: with few
counts this changes nothing, with many it is what brings the field below the noise. Round r draws its batches from fold_in(key, r): a
training that was killed goes on from its file to the same weights.
"""

import functools
import os
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from bandjax.reconstruction.field_network import Weights, log_rate, make_weights

STEPS = 50  # of a round
AVERAGE = 0.99  # of the weights before, kept at a step
PATIENCE = 5  # rounds without a better score
DROPS, DROP = 2, 4.0  # how often, and by what, steps become smaller
JUDGED = 30_000  # pixels at most, by which a round is judged
KEPT_EVERY = 10.0  # seconds between states that are written
UNREADABLE = (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile)  # what a damaged .npz raises
Told = Callable[[dict[str, Any]], None]


class Points(NamedTuple):
    """What is trained on, in the order of the points.

    Attributes:
        x: Scaled coordinates, (point, axis).
        half: Half of every point's pixel, (point, axis), over which batches are spread, so that the field has nothing finer; 0 for scattered points.
        counts, exposure: Of the training, in units of the mean rate, (point,).
        held_counts, held_exposure: Of the judge, in counts.
    """

    x: np.ndarray
    half: np.ndarray
    counts: np.ndarray
    exposure: np.ndarray
    held_counts: np.ndarray
    held_exposure: np.ndarray


class Size(NamedTuple):
    """Of a network and its training."""

    kind: str
    width: int
    depth: int
    batch: int
    learning_rate: float
    rounds: int


class Trained(NamedTuple):
    """One network.

    Attributes:
        weights: Averaged, of the best round.
        score: Its held-out log-likelihood above that of a flat field, nats.
        rounds: Of the training.
        best_round: The one that was kept.
        scores: Of every round.
        seconds: Of the training without the judging and the first round of every process (which compiles).
        steps: That took these seconds; 0 where no other round was trained.
        judged: Held-out counts that gave the score.
    """

    weights: Weights
    score: float
    rounds: int
    best_round: int
    scores: np.ndarray
    seconds: float
    steps: int
    judged: float


class _State(NamedTuple):
    weights: Weights
    optimiser: Any
    average: Weights
    best: Weights


class _Place(NamedTuple):
    """Where a training is: scores of its rounds, the best of them, drops of the rate, the round of the last, what its steps took."""

    scores: list[float]
    best: int = 0
    drops: int = 0
    since: int = 0
    steps: int = 0
    seconds: float = 0.0


def train_network(
    points: Points, size: Size, bandwidth: tuple[float, ...], key: jax.Array, *, file: Path | None = None,
    progress: Told | None = None,
) -> Trained:  # fmt: skip
    """Train one network from random weights.

    Args:
        points: Data.
        size: Of the network and its training.
        bandwidth: Of the waves to begin with, radians over half the window.
        key: Random key of weights and batches.
        file: Keeps the state; a training that stands there goes on.
        progress: Told every round.

    Raises:
        FloatingPointError: The likelihood became NaN.
    """
    weights = make_weights(key, size.kind, bandwidth, size.width, size.depth)
    state = _State(weights, _optimiser().init(weights), weights, weights)
    x, half, counts, exposure = (jnp.asarray(p, jnp.float32) for p in points[:4])
    at = np.sort(np.random.default_rng(0).permutation(len(points.x))[:JUDGED])
    judged, held, weight = x[at], points.held_counts[at], points.held_exposure[at]
    flat = float(np.sum(points.counts) / np.sum(points.exposure))
    place = _Place([])
    if file is not None and file.exists():
        state, place = _read(file, state)
    written, first = time.monotonic(), len(place.scores)
    while len(place.scores) < size.rounds and place.drops <= DROPS:
        began, number = time.perf_counter(), len(place.scores)
        rate = jnp.float32(size.learning_rate / DROP**place.drops)
        state = _round(state, x, half, counts, exposure, jax.random.fold_in(key, number), rate, size)
        state.weights.log_bandwidth.block_until_ready()
        if number > first:
            place = place._replace(seconds=place.seconds + time.perf_counter() - began, steps=place.steps + STEPS)
        mean = np.asarray(_rates(state.average, judged, size.kind), float) * weight
        score = log_likelihood(mean, held) - log_likelihood(flat * weight, held)
        if not np.isfinite(score):
            raise FloatingPointError(
                f"The likelihood became {score} in round {number}; a smaller `learning_rate` may help."
            )
        better = not number or score > place.scores[place.best]
        place = place._replace(scores=[*place.scores, score], best=number if better else place.best)
        state = state._replace(best=state.average) if better else state
        if number - max(place.best, place.since) >= PATIENCE:
            state = _State(state.best, _optimiser().init(state.best), state.best, state.best)
            place = place._replace(drops=place.drops + 1, since=number)
        if file is not None and time.monotonic() - written > KEPT_EVERY:
            _write(file, state, place)
            written = time.monotonic()
        if progress is not None:
            progress({"round": number + 1, "score": score, "best": place.scores[place.best]})
    if file is not None:
        _write(file, state, place)
    scores = np.array(place.scores)
    return Trained(
        state.best, float(scores[place.best]), len(scores), place.best, scores, place.seconds, place.steps, float(held.sum())
    )  # fmt: skip


def log_likelihood(mean: np.ndarray, counts: np.ndarray) -> float:
    """Σ c log μ − μ without Σ log c!; pixels of mean 0 are those that do not count."""
    mean = np.broadcast_to(mean, counts.shape)
    return float(np.sum(np.where(counts > 0, counts * np.log(np.where(mean > 0, mean, 1.0)), 0.0) - mean))


def _optimiser() -> optax.GradientTransformation:
    return optax.chain(optax.clip_by_global_norm(1.0), optax.scale_by_adam())


@functools.partial(jax.jit, static_argnames="size")
def _round(
    state: _State, x: jax.Array, half: jax.Array, counts: jax.Array, exposure: jax.Array, key: jax.Array, rate: jax.Array,
    size: Size,
) -> _State:  # fmt: skip
    optimiser = _optimiser()

    def loss(weights: Weights, x: jax.Array, counts: jax.Array, exposure: jax.Array) -> jax.Array:
        log = log_rate(weights, x, size.kind)
        return jnp.mean(exposure * jnp.exp(log) - counts * log)

    def step(state: _State, key: jax.Array) -> tuple[_State, None]:
        which, where = jax.random.split(key)
        at = jax.random.randint(which, (size.batch,), 0, x.shape[0])
        spread = half[at] * jax.random.uniform(where, (size.batch, x.shape[1]), minval=-1.0)
        gradient = jax.grad(loss)(state.weights, x[at] + spread, counts[at], exposure[at])
        change, kept = optimiser.update(gradient, state.optimiser, state.weights)
        weights = jax.tree.map(lambda w, d: w - rate * d, state.weights, change)
        average = optax.incremental_update(weights, state.average, 1 - AVERAGE)
        return _State(weights, kept, average, state.best), None

    return jax.lax.scan(step, state, jax.random.split(key, STEPS))[0]


@functools.partial(jax.jit, static_argnames="kind")
def _rates(weights: Weights, x: jax.Array, kind: str) -> jax.Array:
    return jnp.exp(log_rate(weights, x, kind))


def _write(file: Path, state: _State, place: _Place) -> None:
    leaves = {f"leaf_{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(state))}
    part = file.with_name(f".{file.name}.part")
    with part.open("wb") as out:
        np.savez(out, scores=np.array(place.scores), place=np.array(place[1:], float), **leaves)
    os.replace(part, file)


def _read(file: Path, like: _State) -> tuple[_State, _Place]:
    try:
        with np.load(file, allow_pickle=False) as found:
            leaves = [jnp.asarray(found[f"leaf_{i}"]) for i in range(len(jax.tree.leaves(like)))]
            *whole, seconds = found["place"].tolist()
            place = _Place(found["scores"].tolist(), *map(int, whole), seconds)
    except UNREADABLE as error:
        raise ValueError(
            f"File {file} must hold the state of a training, but cannot be read ({error}); without it the training begins anew."
        ) from error
    return jax.tree.unflatten(jax.tree.structure(like), leaves), place
