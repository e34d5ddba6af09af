"""Eight crossing bands of a simulated volume of 128 × 128 × 285, labels kept, from scaled and shifted starts.

Claim: with Voigt lines (sigma 0.1 eV, Lorentzian half width 0.05 eV) at a peak of 100 counts, and starts of 0.8 × truth, 1.2 × truth and
truth + 0.3 eV, every band comes out within 15 meV RMS (the energy step is 17.6 meV), no two bands change their names, and it takes less
than 60 s on two cores (with the errors of every pixel twice that or more: timed apart, after the surfaces alone). A band above 15 meV, or one point in a thousand where another band is nearer than its own by 50 meV, would refute it.

The start is moved first (`aligned=True`: one offset, energy scale and momentum scale for all bands, by least squares), as a user would have to
do by eye. Simulated by the model that is fitted (inverse crime). With `--fuller PYTHON`, the interpreter of an environment that holds
fuller (`pip install fuller`), that runs on the same volume, smoothed, from the same moved start, band by band: see `run_fuller.py`.
"""

import dataclasses
import json
import time
from pathlib import Path

import jax
import numpy as np
import xarray as xr

jax.config.update("jax_enable_x64", True)

from scipy.special import voigt_profile  # noqa: E402

import bandjax as bj  # noqa: E402
from bandjax import plot  # noqa: E402
from bandjax.reconstruction import choose, volumes  # noqa: E402
from experiments.common import arguments, write_json  # noqa: E402
from experiments.run_fuller import fuller  # noqa: E402

SIGMA, ETA = 0.1, 0.05  # eV
WINDOW = (-4.5, 0.5)  # eV


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that the experiment depends on."""

    pixels: int = 128
    energies: int = 285
    peak: float = 100.0
    starts: tuple[str, ...] = ("0.8 x", "1.2 x", "+0.3 eV")
    sigma_curvature: float | None = None
    swapped: float = 0.05  # eV
    fuller_eta: tuple[float, ...] = (0.05, 0.1, 0.3)  # eV, its width of the prior of neighbours
    seed: int = 0


PRESETS = {
    "default": Config(),
    "half": Config(pixels=64, starts=("0.8 x",)),
    "smoke": Config(pixels=24, energies=143, starts=("0.8 x",), sigma_curvature=0.02),
}


def truth_of(pixels: int) -> xr.DataArray:
    """Four pairs of bands, (band, kx, ky); the two of a pair, and pairs among one another, cross along lines."""
    k = np.linspace(-1, 1, pixels)
    x, y = np.meshgrid(k, k, indexing="ij")
    bands = []
    for i in range(4):
        middle = -0.3 - 0.82 * i
        bands.append(middle + 0.35 * x + 0.25 * np.cos(np.pi * y) - 0.15 * x**2)
        bands.append(middle - 0.2 - 0.3 * x - 0.3 * np.cos(np.pi * y) + 0.2 * y)
    axes = {n: (n, k, {"units": "1/angstrom"}) for n in ("kx", "ky")}
    return xr.DataArray(
        np.stack(bands), dims=("band", "kx", "ky"), coords={"band": np.arange(8), **axes}, name="band_energy"
    )


def volume_of(config: Config, truth: xr.DataArray) -> xr.DataArray:
    """Counts: lines of equal heights, no background."""
    energy = np.linspace(*WINDOW, config.energies)
    line = sum(voigt_profile(energy - band[..., None], SIGMA, ETA) for band in truth.values)
    mean = config.peak * line / voigt_profile(0, SIGMA, ETA)
    counts = np.random.default_rng(config.seed).poisson(mean).astype(float)
    axes = {"kx": truth["kx"], "ky": truth["ky"], "energy": ("energy", energy, {"units": "eV"})}
    notes = {"simulated": 1, "energy_reference": "fermi"}
    return xr.DataArray(counts, dims=("kx", "ky", "energy"), coords=axes, name="intensity", attrs=notes)


def scores(found: np.ndarray, truth: np.ndarray, swapped: float) -> dict:
    """RMS of every band in meV, and the share of points where another true band is nearer than the own by more than `swapped`."""
    own = np.abs(found - truth)
    others = np.abs(found[:, None] - truth[None])  # (found, true, kx, ky)
    others[np.arange(len(truth)), np.arange(len(truth))] = np.inf
    rms = 1e3 * np.sqrt(np.mean(own**2, axis=(1, 2)))
    return {"rms_meV": rms.tolist(), "swapped": float(np.mean(own - others.min(axis=1) > swapped))}


def run(config: Config, out: Path, interpreter: str | None = None) -> dict:
    """Every start, with a figure each."""
    truth = truth_of(config.pixels)
    volume = volume_of(config, truth)
    moved = {"0.8 x": 0.8 * truth, "1.2 x": 1.2 * truth, "+0.3 eV": truth + 0.3}
    metrics: dict = {"energy_step_meV": 1e3 * float(np.diff(volume["energy"])[0])}
    for i, name in enumerate(config.starts):
        options = {"aligned": True, "sigma_curvature": config.sigma_curvature}
        times = [(time.perf_counter(), time.process_time())]
        for errors in (False, False, True) if i == 0 else (False,):  # the very first compiles
            found = bj.reconstruct_bands(volume, moved[name], errors=errors, **options)
            times.append((time.perf_counter(), time.process_time()))
        row = scores(found.energy.values, truth.values, config.swapped)
        if found.error is not None:
            row["coverage"] = float(np.mean(np.abs(found.energy.values - truth.values) <= found.error.values))
        wall, processor = np.diff(times, axis=0).T
        row |= {"wall_seconds": wall.tolist(), "processor_seconds": processor.tolist(), "report": found.report}
        names = ("offset", "energy_scale", "momentum_scale", "sigma_curvature", "line_sigma", "line_eta", "converged")
        metrics[name] = row | {k: found.dataset.attrs[k] for k in names}
        print(json.dumps({name: metrics[name]}, default=float), flush=True)
        plot.plot_reconstruction(volume, found.dataset, truth=truth).savefig(out / f"start_{i}.png", dpi=170)
    if interpreter is not None:
        v = volumes.volume_of(volume)
        start = choose.Alignment(
            *(metrics[config.starts[0]][k] for k in ("offset", "energy_scale", "momentum_scale"))
        ).apply(moved[config.starts[0]].values, v)
        metrics["fuller"] = {}
        for eta in config.fuller_eta:
            surfaces, told = fuller(interpreter, volume, start, eta, smooth=(1.0, 1.0, 2.0))
            metrics["fuller"][f"{eta:g}"] = told | scores(surfaces, truth.values, config.swapped)
    return metrics


if __name__ == "__main__":
    args = arguments(__doc__, PRESETS, fuller="interpreter of an environment with fuller, which runs beside ours")
    started = time.perf_counter()
    chosen = PRESETS[args.preset]
    args.out.mkdir(parents=True, exist_ok=True)
    write_json(args.out / "result.json", chosen, run(chosen, args.out, args.fuller), started)
