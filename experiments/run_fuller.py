"""fuller (github.com/mpes-kit/fuller, MIT) on a volume of ours, live, in a process of its own environment.

An experiment's `--fuller PYTHON` names the interpreter of an environment where `pip install fuller` was run. Its iterated conditional modes
get the same counts, smoothed by its own filter, one band after the other, from a start on its energy grid.
As a script: `python run_fuller.py given.npz found.npz`, with nothing but NumPy and fuller.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

EPOCHS = 100  # passes over both fields of the checkerboard


def fuller(
    interpreter: str, volume: Any, start: np.ndarray, eta: float, *, smooth: tuple[float, float, float] | None = None
) -> tuple[np.ndarray, dict]:
    """Surfaces (band, nx, ny) in eV, and its seconds.

    Args:
        interpreter: Python of the environment.
        volume: DataArray with the axes kx, ky, energy.
        start: (band, nx, ny) in eV.
        eta: Its width of the prior of neighbours, eV.
        smooth: Standard deviations of its Gaussian filter in pixels; None: none.

    Raises:
        subprocess.CalledProcessError: It failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        given, found = Path(folder) / "given.npz", Path(folder) / "found.npz"
        axes = {n: volume[n].values for n in ("kx", "ky", "energy")}
        np.savez(given, counts=volume.values, start=start, eta=eta, smooth=smooth or (), **axes)
        subprocess.run([interpreter, __file__, str(given), str(found)], check=True, stdout=subprocess.DEVNULL)
        with np.load(found) as result:
            told = {"seconds": result["seconds"].tolist(), "seconds_of_all_bands": float(result["seconds"].sum())}
            return result["bands"], told | {"version": str(result["version"]), "epochs": EPOCHS}


def main(given: str, found: str) -> None:
    """Run it, in its environment."""
    from importlib.metadata import version

    from fuller.mrfRec import MrfRec  # pyright: ignore[reportMissingImports]

    with np.load(given) as data:
        axes = {n: data[n] for n in ("kx", "ky", "energy")}
        counts, starts, smooth = data["counts"], data["start"], tuple(data["smooth"])
        eta = float(data["eta"])
    bands, seconds = [], []
    for start in starts:
        begin = time.perf_counter()
        field = MrfRec(axes["energy"], axes["kx"], axes["ky"], counts.copy(), E0=start, eta=eta)
        if smooth:
            field.smoothenI(smooth)
        field.iter_para(EPOCHS, use_gpu=False, disable_tqdm=True)
        bands.append(field.getEb())
        seconds.append(time.perf_counter() - begin)
    np.savez(found, bands=np.stack(bands), seconds=seconds, version=version("fuller"))


if __name__ == "__main__":
    main(*sys.argv[1:])
