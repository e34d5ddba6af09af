"""Signals kept on disk (zarr), for machines on which the exact model is slower than the network is trained.

Block i holds `BLOCK` signals drawn from fold_in(key(seed), i): a run that was killed goes on with the next block, and
two caches of one seed are the same. Only signals are kept; noise, exposure and crop are drawn anew at every use.
"""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import zarr
from rich.progress import track

from bandjax.learning.family import Family
from bandjax.learning.images import Clean, draw_clean

BLOCK = 128


def open_cache(family: Family, path: str | Path, count: int, *, seed: int = 0, quiet: bool = False) -> Clean:
    """At least `count` signals of a family as NumPy arrays, made where the cache does not hold them yet.

    Args:
        family: What is drawn.
        path: Folder of the cache.
        count: Signals wanted; whole blocks are made.
        seed: Of the draws.
        quiet: Whether to show no progress bar.

    Raises:
        ValueError: the folder holds the cache of another family, version or seed, or is no cache.
        OSError: it could not be written; what was there is kept.
    """
    group = _group(family, Path(path), seed)
    wanted = -(-count // BLOCK)
    key = jax.random.key(seed)
    with single_precision():
        for block in track(range(int(group.attrs["blocks"]), wanted), "signals", disable=quiet):
            drawn = draw_clean(family, jax.random.fold_in(key, block), BLOCK)
            try:
                for name, array in zip(Clean._fields, drawn, strict=True):
                    stored: Any = group[name]
                    stored.resize(((block + 1) * BLOCK, *array.shape[1:]))
                    stored[block * BLOCK :] = np.asarray(array)
                group.attrs["blocks"] = block + 1  # last: a block counts only once it is whole
            except OSError as error:
                raise OSError(
                    f"Folder {path} must have room for {wanted} blocks of signals, but block {block + 1} could not be "
                    f"written ({error}); the ones before are kept."
                ) from error
    return Clean(*(np.asarray(group[name][: wanted * BLOCK]) for name in Clean._fields))


def single_precision():
    """A context in which JAX computes in float32, whatever the process does.

    Networks and their data are float32. An image then differs from that of float64 by 1e-5 of its brightest pixel
    (measured: 24 layers, sp3s*), far below counting noise, and takes half the time.
    """
    return jax.enable_x64(False)


def _group(family: Family, path: Path, seed: int) -> zarr.Group:
    try:
        group = zarr.open_group(path, mode="a")
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"Folder {path} must be a cache of signals, but cannot be opened ({error}).") from error
    mark = {"family": family.name, "fingerprint": family.fingerprint, "seed": seed}
    if not dict(group.attrs) and not any(True for _ in group.keys()):
        group.attrs.update(mark | {"blocks": 0})
    found = {name: group.attrs.get(name) for name in mark}
    if found != mark:
        raise ValueError(
            f"Folder {path} must hold signals of {_words(mark)}, but holds those of {_words(found)}; choose another folder."
        )
    r = family.ranges
    shapes = ((len(family.drawn),), (r.kx_points, r.energy_points), (r.kx_points,), (r.energy_points,), (), ())
    for name, shape in zip(Clean._fields, shapes, strict=True):
        if name not in group:  # the folder is new, or its making was killed
            group.create_array(name, shape=(0, *shape), chunks=(BLOCK, *shape), dtype="float32")
    return group


def _words(mark: dict) -> str:
    return f"family {mark['family']!r} ({mark['fingerprint']}), seed {mark['seed']}"
