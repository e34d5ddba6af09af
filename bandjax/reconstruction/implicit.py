"""An implicit field: a map as a function I(kx, ky, E, …) that a network holds, trained on counts.

`fit_field` trains several small networks (`members`), each on its own part of the counts and stopped by the rest, and takes the mean of their
rates: every count is trained on by most of them, and each is judged by counts that it has not seen. What is held out is a binomial part
of the counts of every pixel, or whole pixels (`held_out="pixels"`: for interpolation, where values between the
pixels matter). The bandwidth of the waves to begin with, and the width where it is None, are chosen by the same judge.
"""

import dataclasses
import functools
import hashlib
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from bandjax import checks
from bandjax.inference.likelihood import noise_scale as measured_scale
from bandjax.reconstruction.choose import HELD_OUT, Scan, climb, thinned
from bandjax.reconstruction.field_network import KINDS, Weights, log_rate
from bandjax.reconstruction.field_training import UNREADABLE, Points, Size, Told, Trained, train_network

FORMAT = 1  # of the files
FIRST_BANDWIDTH, TRIALS = 1.0, 5  # radians over half the window
FIRST_WIDTH = 64
LEAST_COUNTS, LEAST_POINTS = 200, 50  # below them nothing can be held out and judged
MOST_AXES = 5
SPLIT = 71  # of random streams: what is held out shares none with counts that a caller made from the same seed
CHUNK = 8192  # points at a time: bounds the memory of an evaluation


@dataclasses.dataclass(frozen=True)
class Field:
    """A map as a function of its coordinates.

    Attributes:
        weights: Of all members, stacked.
        kind: "fourier" or "siren".
        names: Of the coordinates, in order.
        units: Of the coordinates.
        centre, half: Of the window, by which coordinates are scaled to ±1, (axis,).
        level: Mean of the data in their own units; the field's rate is relative to it.
        record: How it was made: settings (`data` is a digest of the counts), the scan of the bandwidth, scores of every round, seconds an
            epoch, and `held_out`: gain over a flat field in nats a held-out count, mean of the members. That is the score by which each
            training stopped, the best of all its rounds, and of single members: no independent evidence for the field.
    """

    weights: Weights
    kind: str
    names: tuple[str, ...]
    units: tuple[str, ...]
    centre: np.ndarray
    half: np.ndarray
    level: float
    record: dict[str, Any]

    def __call__(self, coords: jax.Array | np.ndarray) -> jax.Array:
        """Mean of a pixel of exposure 1 in the data's units; differentiable in the coordinates, mappable.

        Args:
            coords: (…, axis) in the units of the data's axes.

        Returns:
            Shape (…), > 0, in the dtype of `coords` (whole numbers count as floats). Outside the window it is an extrapolation.
        """
        x = jnp.asarray(coords)
        x = x.astype(jnp.result_type(x, float))
        checks.shape_is("coords", x, (*["…"] * (x.ndim - 1), len(self.names)))
        return self.level * _mean_rate(self.weights, self.centre, self.half, x, self.kind)

    def on(self, axes: Mapping[str, np.ndarray]) -> xr.DataArray:
        """The field on a grid.

        Args:
            axes: Values of every coordinate by name, increasing.

        Raises:
            ValueError: Other axes than the field's.
        """
        if set(axes) != set(self.names):
            raise ValueError(
                f"Argument `axes` must have the axes {', '.join(self.names)} of the field, but has {', '.join(axes)}."
            )
        given = {n: np.atleast_1d(np.asarray(axes[n], float)) for n in self.names}
        for name, axis in given.items():
            checks.increasing(name, axis)
        points = np.stack(np.meshgrid(*given.values(), indexing="ij"), axis=-1).reshape(-1, len(given))
        values = self.level * np.asarray(
            _in_chunks(self.weights, self.centre, self.half, jnp.asarray(points, float), self.kind)
        )
        coords = {n: (n, a, {"units": u}) for (n, a), u in zip(given.items(), self.units, strict=True)}
        shape = tuple(a.size for a in given.values())
        return xr.DataArray(values.reshape(shape), dims=self.names, coords=coords, name="intensity")

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the field to an .npz file; an older one is replaced only when the new one is complete.

        Raises:
            OSError: It could not be written; what stood there before is untouched.
        """
        record = {
            "format": FORMAT, "what": "bandjax field", "kind": self.kind, "names": self.names, "units": self.units,
            "level": self.level, "record": self.record,
        }  # fmt: skip
        arrays = {f"leaf_{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(self.weights))}
        content = io.BytesIO()
        np.savez_compressed(content, head=np.array(json.dumps(record)), centre=self.centre, half=self.half, **arrays)
        path = Path(path)
        part = path.with_name(f".{path.name}.part")
        try:
            part.write_bytes(content.getvalue())
            os.replace(part, path)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise OSError(
                f"File {path} could not be written ({error.strerror}); what stood there before is untouched."
            ) from error
        return path


def load_field(path: str | os.PathLike[str]) -> Field:
    """A field from its file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no field, or one of another format.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"File {path} does not exist.")
    try:
        with np.load(path, allow_pickle=False) as found:
            head = json.loads(str(found["head"]))
            leaves = [found[f"leaf_{i}"] for i in range(len(found.files) - 3)]
            centre, half = found["centre"], found["half"]
    except UNREADABLE as error:
        raise ValueError(
            f"File {path} must be a field saved by bandjax, but cannot be read as one ({error})."
        ) from error
    if not isinstance(head, dict) or head.get("what") != "bandjax field" or head.get("format") != FORMAT:
        found_format = head.get("format") if isinstance(head, dict) else None
        raise ValueError(f"File {path} must be a field of format {FORMAT}, but is of format {found_format!r}.")
    try:
        directions, phases, log_bandwidth, *layers = leaves
        weights = Weights(directions, phases, log_bandwidth, tuple(zip(layers[::2], layers[1::2], strict=True)))
        names, units = tuple(head["names"]), tuple(head["units"])
        checks.one_of("kind", head["kind"], KINDS)
        checks.shape_is("centre", centre, (len(names),))
        checks.shape_is("log_bandwidth", log_bandwidth, ("members", len(names)))
        return Field(weights, head["kind"], names, units, centre, half, float(head["level"]), dict(head["record"]))
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ValueError(f"File {path} must hold a whole field, but holds a damaged one ({error}).") from error


def fit_field(
    data: xr.DataArray | np.ndarray, coords: np.ndarray | None = None, *, exposure: np.ndarray | xr.DataArray | None = None,
    units: Mapping[str, str] | None = None, mask: np.ndarray | xr.DataArray | None = None, kind: str = "fourier",
    width: int | None = FIRST_WIDTH, depth: int = 2, bandwidth: float | Sequence[float] | None = None, members: int = 4,
    held_out: str = "counts", noise_scale: float | str = 1.0, batch: int = 256, learning_rate: float = 3e-3, rounds: int = 120,
    seed: int = 0, folder: str | os.PathLike[str] | None = None, progress: Told | None = None,
) -> Field:  # fmt: skip
    """Train a field on a map or on scattered counts.

    Args:
        data: Counts ≥ 0: a DataArray with 1 to 5 axes (NaN is missing), or an array (point,) with `coords`.
        coords: Of scattered counts, (point, axis).
        exposure: Relative time or acceptance of every value, ≥ 0 (0: it does not count), as `data`; None: 1.
        units: Units by axis; needed for scattered counts (whose axes it names, in order) and where a map does not state them.
        mask: True where a value counts, as `data`.
        kind: "fourier" (cosines, then GELU) or "siren" (sines).
        width: Waves and units of a layer; None: chosen by held-out counts.
        depth: Hidden layers.
        bandwidth: Of the waves to begin with, radians over half the window, one or one an axis; None: by held-out counts. It is trained on.
        members: Networks whose mean is taken.
        held_out: "counts", a fifth of the counts of every pixel judges; "pixels", all counts of a fifth of the pixels.
        noise_scale: Variance of a value over its mean, by which values are divided and rounded: 1 for counts; "measure" finds it from
            the finest structure of a map that is not interpolated (camera or averaged data).
        batch: Points of a step.
        learning_rate: Of Adam.
        rounds: Of 50 steps, at most.
        seed: Of weights, batches and what is held out.
        folder: Keeps every training, so that the same call goes on with what a killed one left.
        progress: Told every round: stage, round, score, best.

    Returns:
        The field, with its history in `record`.

    Raises:
        TypeError: `data` is neither.
        ValueError: An argument that does not fit; which, and what it must be.
        FloatingPointError: A training became NaN.
    """
    checks.one_of("kind", kind, KINDS)
    checks.one_of("held_out", held_out, ("counts", "pixels"))
    whole = {"depth": depth, "members": members, "batch": batch, "rounds": rounds}
    for name, value in (whole if width is None else whole | {"width": width}).items():
        checks.whole(name, value)
    checks.whole("seed", seed, 0)
    checks.positive("learning_rate", learning_rate)
    noise_scale = _scale(data, noise_scale)
    table = _table(data, coords, exposure, units, mask, noise_scale)
    axes = len(table.names)
    if bandwidth is not None:
        checks.positive("bandwidth", bandwidth)
        if np.ndim(bandwidth):
            checks.shape_is("bandwidth", bandwidth, (axes,))
        bandwidth = tuple(np.broadcast_to(np.asarray(bandwidth, float), (axes,)).tolist())
    settings = {
        "kind": kind, "depth": depth, "width": width, "bandwidth": bandwidth, "members": members, "held_out_by": held_out,
        "noise_scale": noise_scale, "batch": batch, "learning_rate": learning_rate, "rounds": rounds, "seed": seed,
        "points": len(table.counts), "counts": float(table.counts.sum()), "data": _digest(table),
    }  # fmt: skip
    run = _Run(table, settings, _opened(folder, settings), progress, {})
    chosen, scans = _chosen(run)
    found = [run.train(i, *chosen) for i in range(members)]
    epoch = len(table.counts) / batch * sum(t.seconds for t in found) / max(sum(t.steps for t in found), 1)
    record = settings | scans | {
        "width": chosen[0], "bandwidth_first": list(chosen[1]),
        "bandwidth": np.exp(np.mean([t.weights.log_bandwidth for t in found], axis=0)).tolist(),
        "held_out": float(np.mean([t.score / t.judged for t in found])),
        "held_out_gain": [t.score for t in found], "history": [t.scores.tolist() for t in found],
        "best_round": [t.best_round for t in found], "seconds_per_epoch": epoch,
        "seconds_per_step": epoch * batch / len(table.counts),
        "weights": sum(leaf.size for leaf in jax.tree.leaves(found[0].weights)),
    }  # fmt: skip
    weights = jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *(t.weights for t in found))
    level = table.level * noise_scale
    return Field(weights, kind, table.names, table.units, table.centre, table.half, level, record)


def _scale(data: Any, noise_scale: float | str) -> float:
    if isinstance(noise_scale, str) and noise_scale != "measure":
        raise ValueError(f'Argument `noise_scale` must be a number > 0 or "measure", but is {noise_scale!r}.')
    if noise_scale != "measure":
        checks.positive("noise_scale", noise_scale)
        return float(noise_scale)
    if not isinstance(data, xr.DataArray) or data.ndim < 2:
        raise ValueError(
            'Argument `noise_scale` must be a number for what is no map of two or more axes, but is "measure".'
        )
    counts = np.asarray(data, float)
    return measured_scale(np.nan_to_num(counts), ~np.isnan(counts))


class _Table(NamedTuple):
    """Valid points of either kind of data; `pixel` is half of each one's pixel in scaled coordinates, (point, axis)."""

    x: np.ndarray
    counts: np.ndarray
    exposure: np.ndarray
    names: tuple[str, ...]
    units: tuple[str, ...]
    centre: np.ndarray
    half: np.ndarray
    pixel: np.ndarray

    @property
    def level(self) -> float:
        return float(self.counts.sum() / self.exposure.sum())


def _table(
    data: xr.DataArray | np.ndarray, coords: np.ndarray | None, exposure: Any, units: Mapping[str, str] | None, mask: Any,
    noise_scale: float,
) -> _Table:  # fmt: skip
    if isinstance(data, xr.DataArray):
        if coords is not None:
            raise ValueError("Argument `coords` must be left out for a DataArray, which has its own, but is given.")
        points, names, told, pixel = _of_map(data, units or {})
    elif isinstance(data, np.ndarray | jax.Array):
        points, names, told, pixel = _of_points(data, coords, units or {})
    else:
        raise TypeError(f"Argument `data` must be an xarray.DataArray or an array, but is a {type(data).__name__}.")
    counts = np.asarray(data, float)
    if np.isinf(counts).any() or (counts < 0).any():
        bad = counts[np.isinf(counts) | (counts < 0)]
        raise ValueError(
            f"Argument `data` must hold counts ≥ 0 or NaN, but {bad.size} of its {counts.size} values are negative or infinite, such as {bad[0]:g}."
        )
    if isinstance(data, xr.DataArray):  # axes by name, not by order
        exposure, mask = (x.transpose(*data.dims) if isinstance(x, xr.DataArray) else x for x in (exposure, mask))
    weight = np.ones_like(counts) if exposure is None else np.asarray(exposure, float)
    checks.shape_is("exposure", weight, counts.shape)
    checks.not_negative("exposure", weight)
    valid = ~np.isnan(counts) & (weight > 0)
    if mask is not None:
        checks.shape_is("mask", mask, counts.shape)
        valid &= np.asarray(mask, bool)
    counts, weight = counts[valid] / noise_scale, weight[valid]
    if noise_scale != 1:
        counts = np.round(counts)
    elif np.any(counts != np.round(counts)):
        raise ValueError(
            "Argument `data` must hold whole counts, but holds fractions; give `noise_scale`, the variance of a value over its mean, "
            "by which the values are divided and rounded."
        )
    if counts.size < LEAST_POINTS or counts.sum() < LEAST_COUNTS:
        raise ValueError(
            f"Argument `data` must hold at least {LEAST_COUNTS} counts in {LEAST_POINTS} points to train a field and judge it, but "
            f"holds {counts.sum():.6g} in {counts.size}."
        )
    points = points[valid.ravel()]
    low, high = points.min(axis=0), points.max(axis=0)
    if (high <= low).any():
        name = names[int(np.argmin(high - low))]
        raise ValueError(
            f"Axis `{name}` must have more than one value, but all points have {low[names.index(name)]:g}."
        )
    centre, half = (low + high) / 2, (high - low) / 2
    pixel = pixel[valid.ravel()] / half
    return _Table((points - centre) / half, counts.ravel(), weight.ravel(), names, told, centre, half, pixel)


def _digest(table: _Table) -> str:
    """Of everything that is trained on: another map of as many counts is another training."""
    digest = hashlib.sha256()
    for array in (table.x, table.counts, table.exposure, table.pixel, table.centre, table.half):
        digest.update(np.ascontiguousarray(array, float).tobytes())
    return digest.hexdigest()[:16]


def _of_map(
    data: xr.DataArray, units: Mapping[str, str]
) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...], np.ndarray]:
    names = tuple(map(str, data.dims))
    if not 1 <= len(names) <= MOST_AXES:
        raise ValueError(f"Argument `data` must have 1 to {MOST_AXES} axes, but has {len(names)}.")
    told, axes = [], []
    for name in names:
        if name not in data.coords:
            raise ValueError(f"Argument `data` must have values on its axis {name!r}, but has none.")
        checks.increasing(name, data[name].values)
        checks.finite(name, data[name].values)
        told.append(str(units.get(name, data[name].attrs.get("units", ""))))
        axes.append(np.asarray(data[name].values, float))
        _stated(name, told[-1])
    half = [np.gradient(a) / 2 if a.size > 1 else np.zeros(1) for a in axes]
    points, pixel = (np.stack(np.meshgrid(*v, indexing="ij"), axis=-1).reshape(-1, len(axes)) for v in (axes, half))
    return points, names, tuple(told), pixel


def _of_points(
    data: np.ndarray, coords: np.ndarray | None, units: Mapping[str, str]
) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...], np.ndarray]:
    if coords is None or np.ndim(data) != 1:
        raise ValueError(
            "Argument `data` must be a DataArray, or one-dimensional with `coords` (point, axis), but is not."
        )
    if not units:
        raise ValueError(
            "Argument `units` must name the axes of scattered counts with their units, such as {'kx': '1/angstrom', 'energy': 'eV'}, "
            "but is empty."
        )
    points = np.asarray(coords, float)
    checks.shape_is("coords", points, (len(data), len(units)))
    checks.finite("coords", points)
    if len(units) > MOST_AXES:
        raise ValueError(f"Argument `coords` must have 1 to {MOST_AXES} axes, but has {len(units)}.")
    for name, unit in units.items():
        _stated(name, unit)
    return points, tuple(units), tuple(units.values()), np.zeros_like(points)


def _stated(name: str, unit: str) -> None:
    if not unit:
        raise ValueError(
            f"Axis `{name}` must state its units, but does not; give them as `units={{{name!r}: …}}` ('1' for a plain number)."
        )


@dataclasses.dataclass(frozen=True)
class _Run:
    """Trainings on one table, each with its number's part held out."""

    table: _Table
    settings: dict[str, Any]
    folder: Path | None
    progress: Told | None
    done: dict[str, Trained]

    def split(self, number: int) -> Points:
        t, seed = self.table, [self.settings["seed"], SPLIT, number]
        if self.settings["held_out_by"] == "counts":
            train, held = thinned(t.counts, seed)
            weights = (1 - HELD_OUT) * t.exposure, HELD_OUT * t.exposure
        else:
            judge = np.random.default_rng(seed).random(t.counts.size) < HELD_OUT
            train, held = np.where(judge, 0, t.counts), np.where(judge, t.counts, 0)
            weights = np.where(judge, 0, t.exposure), np.where(judge, t.exposure, 0)
        return Points(t.x, t.pixel, train / t.level, weights[0], held, t.level * weights[1])

    def train(self, number: int, width: int, bandwidth: tuple[float, ...]) -> Trained:
        """The network of a number; a trial whose bandwidth is chosen is the first member already."""
        s, stage = (
            self.settings,
            f"network {number + 1}, width {width}, bandwidth " + ", ".join(f"{b:.3g}" for b in bandwidth),
        )
        if stage not in self.done:
            depth, batch, rounds = (int(s[n]) for n in ("depth", "batch", "rounds"))
            size = Size(s["kind"], width, depth, batch, float(s["learning_rate"]), rounds)
            file = None if self.folder is None else self.folder / f"{stage.replace(', ', '_').replace(' ', '_')}.npz"
            told = self.progress
            tell = None if told is None else (lambda entry: told({"stage": stage} | entry))
            key = jax.random.fold_in(jax.random.key(s["seed"]), number)
            self.done[stage] = train_network(self.split(number), size, bandwidth, key, file=file, progress=tell)
        return self.done[stage]


def _chosen(run: _Run) -> tuple[tuple[int, tuple[float, ...]], dict[str, Any]]:
    """Width and bandwidth with the scans that chose them, by trainings that share what is held out and their random numbers."""
    width, bandwidth, axes = run.settings["width"], run.settings["bandwidth"], len(run.table.names)
    scans: dict[str, Any] = {}

    def judge(width: float, bandwidth: tuple[float, ...]) -> float:
        return run.train(0, round(width), bandwidth).score

    def keep(name: str, scan: Scan) -> float:
        scans[f"scan_{name}"] = {"values": scan.values.tolist(), "scores": scan.scores.tolist(), "at_end": scan.at_end}
        return scan.best

    first = FIRST_WIDTH if width is None else width
    if bandwidth is None:
        scan = climb(lambda b: judge(first, (b,) * axes), FIRST_BANDWIDTH, halvings=0, trials=TRIALS)
        bandwidth = (keep("bandwidth", scan),) * axes
    if width is None:
        width = round(keep("width", climb(lambda w: judge(w, bandwidth), first, halvings=0, trials=TRIALS)))
    return (width, bandwidth), scans


def _opened(folder: str | os.PathLike[str] | None, settings: dict[str, Any]) -> Path | None:
    if folder is None:
        return None
    from bandjax.learning.checkpoints import check_folder  # it imports orbax, which takes seconds

    path = Path(folder).resolve()
    path.mkdir(parents=True, exist_ok=True)
    plain = json.loads(json.dumps({"format": FORMAT, "what": "bandjax field", "config": settings}))
    check_folder(path, plain, _same_format)
    return path


def _same_format(found: dict[str, Any], owner: str) -> None:
    if found.get("what") != "bandjax field" or found.get("format") != FORMAT:
        raise ValueError(f"{owner} must hold the training of a field of format {FORMAT}, but holds something else.")


@functools.partial(jax.jit, static_argnames="kind")
def _mean_rate(weights: Weights, centre: jax.Array, half: jax.Array, x: jax.Array, kind: str) -> jax.Array:
    weights, centre, half = jax.tree.map(lambda w: w.astype(x.dtype), (weights, centre, half))
    return jax.vmap(lambda w: jnp.exp(log_rate(w, (x - centre) / half, kind)))(weights).mean(axis=0)


@functools.partial(jax.jit, static_argnames="kind")
def _in_chunks(weights: Weights, centre: jax.Array, half: jax.Array, points: jax.Array, kind: str) -> jax.Array:
    rows = functools.partial(_mean_rate, weights, centre, half, kind=kind)
    return jax.lax.map(rows, points, batch_size=min(CHUNK, len(points)))


__all__ = ["Field", "fit_field", "load_field"]
