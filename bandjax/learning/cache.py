"""Signals kept on disk (zarr), for machines on which the exact model is slower than the network is trained.

Block i holds `BLOCK` signals drawn from fold_in(key(seed), i): a run that was killed goes on with the next block, and
two caches of one seed are the same. Only signals are kept; noise, exposure and crop are drawn anew at every use.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import zarr
from rich.progress import track

from bandjax.learning.crystal_images import draw_crystals
from bandjax.learning.crystals import CrystalFamily
from bandjax.learning.family import Family
from bandjax.learning.images import Clean, draw_clean

BLOCK = 128


def open_cache(
    family: Family | CrystalFamily, path: str | Path, count: int, *, seed: int = 0, quiet: bool = False
) -> Clean:
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
    made = family.signal_shape
    shapes = ((len(family.drawn),), made, made[-2:-1], made[-1:], (), ())
    mark = {"family": family.name, "fingerprint": family.signals_fingerprint, "seed": seed}

    def draw(key: jax.Array, block: int) -> Clean:
        return (
            draw_crystals(family, key, BLOCK) if isinstance(family, CrystalFamily) else draw_clean(family, key, BLOCK)
        )

    fields = {name: ("float32", shape) for name, shape in zip(Clean._fields, shapes, strict=True)}
    return Clean(*open_blocks(path, mark, fields, draw, -(-count // BLOCK), BLOCK, quiet=quiet))


def open_blocks(
    path: str | Path, mark: dict[str, Any], fields: dict[str, tuple[str, tuple[int, ...]]],
    draw: Callable[[jax.Array, int], Any], wanted: int, size: int, *, quiet: bool = False,
) -> tuple[np.ndarray, ...]:  # fmt: skip
    """The first blocks of a cache, made in float32 where it does not hold them yet.

    Args:
        path: Folder of the cache.
        mark: What the cache holds: `family`, `fingerprint` and `seed`.
        fields: Kind of number and shape of one item, by name.
        draw: (key, number of the block) to the fields of a block.
        wanted: Blocks.
        size: Items in a block.
        quiet: Whether to show no progress bar.

    Raises:
        ValueError: the folder holds another cache, or is none.
        OSError: it could not be written; what was there is kept.
    """
    group = _group(Path(path), mark, fields, size)
    key = jax.random.key(mark["seed"])
    with single_precision():
        for block in track(range(int(group.attrs["blocks"]), wanted), "signals", disable=quiet):
            with exact_products():
                drawn = draw(jax.random.fold_in(key, block), block)
            try:
                for name, array in zip(fields, drawn, strict=True):
                    stored: Any = group[name]
                    stored.resize(((block + 1) * size, *array.shape[1:]))
                    stored[block * size :] = np.asarray(array)
                group.attrs["blocks"] = block + 1  # last: a block counts only once it is whole
            except OSError as error:
                raise OSError(
                    f"Folder {path} must have room for {wanted} blocks of signals, but block {block + 1} could not be "
                    f"written ({error}); the ones before are kept."
                ) from error
    return tuple(np.asarray(group[name][: wanted * size]) for name in fields)


def single_precision():
    """A context in which JAX computes in float32, whatever the process does.

    Networks and their data are float32. An image then differs from that of float64 by 1e-5 of its brightest pixel
    (measured: 24 layers, sp3s*), far below counting noise, and takes half the time.
    """
    return jax.enable_x64(False)


def exact_products():
    """A context in which products of float32 are not rounded.

    Accelerators multiply float32 in bfloat16 or TF32 unless told otherwise (docs.jax.dev, "Matmul precision"). The networks take that; the
    physics that makes their images must not.
    """
    return jax.default_matmul_precision("highest")


def _group(path: Path, mark: dict[str, Any], fields: dict[str, tuple[str, tuple[int, ...]]], size: int) -> zarr.Group:
    try:
        group = zarr.open_group(path, mode="a")
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"Folder {path} must be a cache of signals, but cannot be opened ({error}).") from error
    if not dict(group.attrs) and not any(True for _ in group.keys()):
        group.attrs.update(mark | {"blocks": 0})
    found = {name: group.attrs.get(name) for name in mark}
    if found != mark:
        raise ValueError(
            f"Folder {path} must hold signals of {_words(mark)}, but holds those of {_words(found)}; choose another folder."
        )
    for name, (kind, shape) in fields.items():
        if name not in group:  # the folder is new, or its making was killed
            group.create_array(name, shape=(0, *shape), chunks=(size, *shape), dtype=kind)
    return group


def _words(mark: dict) -> str:
    return f"family {mark['family']!r} ({mark['fingerprint']}), seed {mark['seed']}"
