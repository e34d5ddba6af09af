"""What a training keeps in its folder: run.json (what it is), checkpoints/ (orbax, atomic) and metrics.csv.

Orbax writes a checkpoint beside the others and renames it when it is complete, so that a run killed while writing
leaves the ones before. The CSV is rewritten as a whole and cut to the checkpoint from which a run goes on.
"""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp

METRICS = ("step", "loss", "validation", "rate", "seconds")
KEPT = 2  # checkpoints


class State(NamedTuple):
    """What a checkpoint holds."""

    weights: Any
    optimiser: Any
    step: jax.Array


def check_folder(folder: Path, record: dict[str, Any], check: Callable[[dict[str, Any], str], None]) -> None:
    """Mark a new folder with what is trained in it, or check the mark of one in which a training has begun.

    Args:
        folder: Of the training.
        record: What is trained, with its `config`.
        check: Raises ValueError where a found record, whose owner it is told, is another model's or version's.

    Raises:
        ValueError: the folder holds the training of another configuration, model or version.
    """
    path = folder / "run.json"
    if not path.exists():
        _replace(path, json.dumps(record, indent=1))
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"File {path} must say what is trained in its folder, but cannot be read ({error})."
        ) from error
    if not isinstance(found, dict) or not isinstance(found.get("config", {}), dict):
        raise ValueError(f"File {path} must say what is trained in its folder, but does not.")
    check(found, f"Folder {folder}")
    there, here = found.get("config", {}), record["config"]
    if there != here:
        names = [n for n in here | there if there.get(n) != here.get(n)]
        told = ", ".join(f"{n} = {there.get(n)!r} there and {here.get(n)!r} here" for n in names)
        raise ValueError(f"Folder {folder} must hold a training of this configuration, but {told}.")


def open_manager(folder: Path) -> ocp.CheckpointManager:
    """The checkpoints of a folder; a context manager."""
    options = ocp.CheckpointManagerOptions(
        max_to_keep=KEPT, enable_async_checkpointing=False, cleanup_tmp_directories=True
    )
    return ocp.CheckpointManager(folder / "checkpoints", options=options)


def save_state(manager: ocp.CheckpointManager, state: State, folder: Path) -> None:
    """Write a checkpoint.

    Raises:
        OSError: it could not be written; the ones before are kept.
    """
    try:
        manager.save(int(state.step), args=ocp.args.StandardSave(state._asdict()))
        manager.wait_until_finished()
    except (OSError, ValueError) as error:  # TensorStore says ValueError where a disk is full
        raise OSError(
            f"Folder {folder} must have room for the checkpoint of step {int(state.step)}, but it could not be written "
            f"({error}); the ones before are kept."
        ) from error


def restore_state(manager: ocp.CheckpointManager, like: State) -> State:
    """The state of the last checkpoint, or the one given where there is none."""
    step = manager.latest_step()
    if step is None:
        return like
    abstract = jax.tree.map(ocp.tree.to_shape_dtype_struct, like._asdict())
    return State(**manager.restore(step, args=ocp.args.StandardRestore(abstract)))


def metrics_until(path: Path, step: int) -> list[tuple]:
    """Rows of metrics.csv up to a step; none where there is no file."""
    if not path.exists() or step == 0:
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [tuple(map(float, row)) for row in list(csv.reader(file))[1:] if float(row[0]) <= step]


def write_metrics(path: Path, rows: list[tuple]) -> None:
    """Replace metrics.csv."""
    lines = [",".join(METRICS), *(",".join(f"{x:.10g}" for x in row) for row in rows)]
    _replace(path, "\n".join(lines) + "\n")


def _replace(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
