"""What every experiment writes beside its numbers, and where the shared data lie."""

import argparse
import dataclasses
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.progress import track

import bandjax
from bandjax import devices
from bandjax.io.write import write_atomically
from bandjax.results import source_commit


def shared_folder() -> Path:
    """The folder of measured maps: $BANDJAX_SHARED, or `shared` beside the checkout.

    Raises:
        FileNotFoundError: it is not there.
    """
    folder = Path(os.environ.get("BANDJAX_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    if not folder.is_dir():
        raise FileNotFoundError(
            f"The folder of measured maps must be given in $BANDJAX_SHARED, but {folder} is no folder."
        )
    return folder


def arguments(doc: str, presets: dict[str, Any], **options: str) -> argparse.Namespace:
    """--preset and --out, the same for every experiment, and its own options by name with their help; None if not given."""
    parser = argument_parser(doc, presets)
    for name, explanation in options.items():
        parser.add_argument(f"--{name}", help=explanation)
    return parser.parse_args()


def run_and_save(doc: str, presets: dict[str, Any], run: Callable[..., dict]) -> None:
    """Run `run(config, out, save)`, which may save what it has on the way, and keep what it returns in result.json."""
    args = arguments(doc, presets)
    started = time.perf_counter()
    chosen = presets[args.preset]

    def save(metrics: dict) -> None:
        write_json(args.out / "result.json", chosen, metrics, started)

    save(run(chosen, args.out, save))


def argument_parser(doc: str, presets: dict[str, Any]) -> argparse.ArgumentParser:
    """With --preset and --out, the same for every experiment; as all begin with it, it also gives each matrix one core."""
    devices.one_core_a_matrix()
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=sorted(presets), default="default")
    parser.add_argument(
        "--out", type=Path, default=Path("out") / Path(sys.argv[0]).stem, help="folder for results and figures"
    )
    return parser


def check_config(path: Path, config: Any) -> dict[str, Any]:
    """A draw that was kept, as `json.load` gives it.

    Raises:
        ValueError: it was made with another configuration (their number of draws apart: more may be added).
    """
    row = json.loads(path.read_text(encoding="utf-8"))
    wanted = json.loads(json.dumps(dataclasses.asdict(config))) | {"draws": row["config"]["draws"]}
    if row["config"] != wanted:
        raise ValueError(f"File {path} must hold a draw of this configuration, but holds one of {row['config']}.")
    return row


def kept_rows(
    folder: Path,
    tasks: Iterable[tuple[str, tuple]],
    config: Any,
    make: Callable[..., dict[str, Any]],
    *,
    what: str = "images",
) -> list[dict[str, Any]]:
    """Rows that a folder keeps, one JSON file each: made where there is none yet, so that a killed run goes on where it was.

    Args:
        folder: Of the files; made if need be.
        tasks: Name of each file, and what `make` is called with.
        config: Of the experiment, kept in every row.
        make: Gives the rest of a row.
        what: The rows are of, for the progress bar.

    Raises:
        ValueError: a file was made with another configuration; see `check_config`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, task in track(list(tasks), what):
        path = folder / f"{name}.json"
        if not path.exists():
            row = {"config": dataclasses.asdict(config)} | make(*task)
            write_atomically(path, json.dumps(row).encode())
        rows.append(check_config(path, config))
    return rows


def score(error: np.ndarray, bound: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Efficiency of each fit, (θ̂ − θ)ᵀ bound⁻¹ (θ̂ − θ)/p, and which parameters its own 68 % interval covers.

    Args:
        error: θ̂ − θ, (draw, p).
        bound: Fisher matrix at the truth with the priors' precision, (draw, p, p).
        own: The same at the fit, (draw, p, p).

    Returns:
        Shapes (draw,) and (draw, p).
    """
    sigma = np.sqrt(np.diagonal(np.linalg.inv(own), axis1=1, axis2=2))
    return np.einsum("di,dij,dj->d", error, bound, error) / error.shape[1], np.abs(error) <= sigma


def write_json(path: Path, config: Any, metrics: dict[str, Any], started: float) -> None:
    """result.json: config, metrics, versions, commit, device, wall time; replaced as a whole."""
    content = {
        "config": dataclasses.asdict(config),
        "metrics": metrics,
        "versions": {
            "python": platform.python_version(), "bandjax": bandjax.__version__, "jax": jax.__version__, "numpy": np.__version__
        },
        "commit": source_commit(),
        "device": devices.describe(),
        "wall_seconds": time.perf_counter() - started,
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(content, indent=1, default=float).encode())
