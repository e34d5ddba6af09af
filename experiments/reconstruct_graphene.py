"""Bands of a simulated volume of graphene, without a Hamiltonian: the published posterior, ours on raw counts, and peak fits.

Claim: both bands of a nearest-neighbour graphene volume of 100 × 100 × 400 (t = 1 eV, Voigt lines of sigma 0.2 and Lorentzian half width
0.3 eV, no background) come out, from a start of 0.8 × truth, (a) with the published posterior at sigma_pair 0.3 eV within 16 meV
RMS of the upper band without noise and 34 meV at a peak of 100 counts, smoothed; with sigma_pair by held-out counts, and with the start's
offset and scales by least squares, within 10 % of the best of the whole scans; (b) with ours, on raw counts at peaks of 100, 20 and
5, at half the error or less of line fits to single spectra of the same run, and with errors that cover the truth in 60 to 76 %;
(c) with tight-binding bands as prior, their t and energy fitted to (b) and t left free, within 1 meV at 100.

The single-spectrum fits are given what a user would not know, the true line and the true band as start, and are weighted as
Poisson (scoring to the optimum, heights and a constant background free): they are as good as such fits can be. "Near the crossing" is where
|E| < 0.5 eV, less than the width of the line. Images are simulated by the model that is fitted (inverse crime). fuller's
figures on this recipe, 39.5 meV clean, 41.1 smoothed and 95.8 raw, were measured by the project elsewhere and are not of this run.
"""

import dataclasses
import json
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

jax.config.update("jax_enable_x64", True)

from scipy.optimize import least_squares  # noqa: E402
from scipy.special import voigt_profile  # noqa: E402

import bandjax as bj  # noqa: E402
from bandjax import plot  # noqa: E402
from bandjax.reconstruction import counting  # noqa: E402
from experiments.common import arguments, write_json  # noqa: E402

A = 2.46  # Å
SIGMA, ETA = 0.2, 0.3  # eV
FULLER = {"clean": 39.5, "smoothed": 41.1, "raw": 95.8, "source": "measured by the project elsewhere, not in this run"}


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that the experiment depends on."""

    pixels: int = 100
    energies: int = 400
    peaks: tuple[float, ...] = (100.0, 20.0, 5.0)
    sigma_pair: float = 0.3
    scan: tuple[float, ...] = tuple(
        0.15 * 2.0 ** (i / 2) for i in range(9)
    )  # of both bands; below and above it only rises
    smooth: tuple[float, float, float] = (1.0, 1.0, 4.0)  # pixels
    start: float = 0.8
    offsets: tuple[float, ...] = (-0.4, 0.0, 0.4)  # eV; this and the next two: the scan of starts
    scales: tuple[float, ...] = (0.8, 1.0, 1.2)
    momentum_scales: tuple[float, ...] = (0.95, 1.05)
    wrong_starts: tuple[tuple[float, float, float], ...] = ((0.0, 0.8, 1.0), (0.3, 1.2, 1.0), (-0.3, 0.85, 1.05))
    crossing: float = 0.5  # eV
    seed: int = 0


PRESETS = {
    "default": Config(),
    "smoke": Config(
        pixels=24, energies=100, peaks=(100.0,), scan=(0.3, 1.2), offsets=(0.0,), scales=(1.0, 1.2),
        momentum_scales=(1.0,), wrong_starts=((0.0, 0.8, 1.0),),
    ),
}  # fmt: skip


def truth_of(config: Config) -> xr.DataArray:
    """Both bands on the grid, ± 2π/a along kx and ky: several K points."""
    k = np.linspace(-1, 1, config.pixels) * 2 * np.pi / A
    grid = np.stack([*np.meshgrid(k, k, indexing="ij"), np.zeros((k.size, k.size))], axis=-1)
    energy = model_bands((1.0, 0.0), grid)
    axes = {n: (n, k, {"units": "1/angstrom"}) for n in ("kx", "ky")}
    return xr.DataArray(energy, dims=("band", "kx", "ky"), coords={"band": [0, 1], **axes}, name="band_energy")


def model_bands(parameters: tuple[float, float], grid: np.ndarray) -> np.ndarray:
    """E = E₀ ± t |f(k)|, (band, nx, ny), the upper first, from the program's own graphene."""
    table = bj.load_parameters("graphene", "pz").replace(epsilon=0.0, gamma0=1.0)
    unit = bj.tight_binding(bj.graphene(a=A), table, spin_orbit=False)
    energy = np.asarray(bj.bands(unit, grid.reshape(-1, 3))).reshape(*grid.shape[:2], 2)
    t, offset = parameters
    return offset + t * np.moveaxis(energy, -1, 0)[::-1]


def volume_of(config: Config, truth: xr.DataArray, peak: float | None, seed: int) -> xr.DataArray:
    """Counts of two lines of height `peak` a spectrum; None: the mean itself, of height 1."""
    energy = np.linspace(-5, 5, config.energies)
    line = voigt_profile(energy - truth.values[..., None], SIGMA, ETA).sum(axis=0) / voigt_profile(0, SIGMA, ETA)
    counts = line if peak is None else np.random.default_rng(seed).poisson(peak * line).astype(float)
    axes = {"kx": truth["kx"], "ky": truth["ky"], "energy": ("energy", energy, {"units": "eV"})}
    notes = {"simulated": 1, "energy_reference": "fermi"}
    return xr.DataArray(counts, dims=("kx", "ky", "energy"), coords=axes, name="intensity", attrs=notes)


def single_spectra(volume: xr.DataArray, truth: xr.DataArray) -> np.ndarray:
    """Poisson line fits of each spectrum for itself, (band, nx, ny): damped scoring from the true bands with the true line."""
    data = counting.counts_of(volume.values, volume["energy"].values)
    line = counting.Line(jnp.asarray(SIGMA), jnp.asarray(ETA))
    peak = float(volume.max())
    rest = [np.full((2, *truth.shape[1:]), np.log(0.5 * peak)), np.full((1, *truth.shape[1:]), np.log(0.01 * peak))]
    x = jnp.asarray(np.concatenate([truth.values, *rest]))
    found = _each_alone(data, line, x)
    return np.asarray(found[:2])


@jax.jit
def _each_alone(data: counting.Counts, line: counting.Line, x: jax.Array) -> jax.Array:
    """Levenberg-Marquardt with a damping a pixel; heights kept within e^±12 of 1 so that a band that vanishes stays finite."""

    def cost(x: jax.Array) -> jax.Array:
        mu = counting.means(data, line, x)
        return jnp.sum(mu - data.counts * jnp.log(mu), axis=-1)

    def step(_: int, state: tuple) -> tuple:
        x, value, damping = state
        found = counting.data_term(data, line, x)
        block = jnp.moveaxis(found.hessian, (0, 1), (-2, -1))
        diagonal = jnp.diagonal(block, axis1=-2, axis2=-1)
        block = block + jnp.eye(x.shape[0]) * (damping[..., None] * diagonal + 1e-9)[..., None, :]
        change = -jnp.linalg.solve(block, jnp.moveaxis(found.gradient, 0, -1)[..., None])[..., 0]
        change = jnp.clip(jnp.moveaxis(change, -1, 0), -0.3, 0.3)
        trial = jnp.concatenate([x[:2] + change[:2], jnp.clip(x[2:] + change[2:], -12, 12)])
        new = cost(trial)
        better = new <= value
        damping = jnp.where(better, damping * 0.3, jnp.minimum(damping * 5, 1e6))
        return jnp.where(better, trial, x), jnp.where(better, new, value), damping

    begin = (x, cost(x), jnp.full(x.shape[1:], 1e-2))
    return jax.lax.fori_loop(0, 40, step, begin)[0]


def rms(found: np.ndarray, truth: np.ndarray) -> float:
    """Root mean square of the difference in meV."""
    return float(1e3 * np.sqrt(np.mean((found - truth) ** 2)))


def scores(config: Config, found: np.ndarray, truth: np.ndarray, error: np.ndarray | None = None) -> dict:
    """RMS in meV of all, far from and near the crossing, and the coverage of the errors."""
    near = np.abs(truth) < config.crossing
    where = {"all": np.ones_like(near), "far": ~near, "near": near}
    out = {f"rms_{n}": rms(found[m], truth[m]) for n, m in where.items()}
    if error is not None:
        inside = np.abs(found - truth) <= error
        out |= {f"coverage_{n}": float(inside[m].mean()) for n, m in where.items()}
        out["median_error_meV"] = float(1e3 * np.median(error))
    return out


def timed(call, *given, **options) -> tuple:
    """What a call returns, its seconds when everything is compiled, and those of the first time."""
    begin = time.perf_counter()
    call(*given, **options)
    middle = time.perf_counter()
    found = call(*given, **options)
    return found, time.perf_counter() - middle, middle - begin


def run(config: Config, out: Path) -> dict:
    """All parts, with the figures."""
    truth = truth_of(config)
    start = config.start * truth
    metrics: dict = {"fuller": FULLER, "published": published(config, truth, start), "counts": {}}
    for peak in config.peaks:
        volume = volume_of(config, truth, peak, config.seed)
        begin = time.perf_counter()
        found = bj.reconstruct_bands(volume, start)
        seconds = time.perf_counter() - begin
        alone = single_spectra(volume, truth)
        assert found.error is not None
        ours = scores(config, found.energy.values, truth.values, found.error.values)
        single = scores(config, alone, truth.values)
        row = {"ours": ours | {"seconds_with_compilation": seconds}, "single_spectra": single}
        row |= {f"ratio_{n}": ours[f"rms_{n}"] / single[f"rms_{n}"] for n in ("all", "far", "near")}
        row["settings"] = {k: v for k, v in found.dataset.attrs.items() if k != "report"}
        row["report"] = found.report
        row["with_tight_binding"] = with_tight_binding(config, volume, found, truth)
        metrics["counts"][f"{peak:g}"] = row
        figure = plot.plot_reconstruction(volume, found.dataset, truth=truth)
        figure.savefig(out / f"peak_{peak:g}.png", dpi=170)
    return metrics


def with_tight_binding(config: Config, volume: xr.DataArray, first: bj.Reconstruction, truth: xr.DataArray) -> dict:
    """t and E₀ fitted to surfaces without a Hamiltonian, then the same map with those bands as prior, whose t stays free."""
    k = [truth[n].values for n in ("kx", "ky")]
    grid = np.stack([*np.meshgrid(*k, indexing="ij"), np.zeros((k[0].size, k[1].size))], axis=-1)
    unit = model_bands((1.0, 0.0), grid)
    assert first.error is not None
    # Where two lines overlap the surfaces are biased beyond their errors: those points are left to the map itself
    clear = np.abs(first.energy.values) > 2 * config.crossing
    energy, error = first.energy.values[clear], first.error.values[clear]
    fit = least_squares(lambda p: (p[1] + p[0] * unit[clear] - energy) / error, [config.start, 0.0])
    bands = truth.copy(data=model_bands(tuple(fit.x), grid))
    found = bj.reconstruct_bands(volume, bands, prior=bands, prior_modes=[truth.copy(data=unit)])
    assert found.error is not None
    told = {
        "t_fitted_to_surfaces": fit.x[0], "t": fit.x[0] + float(found.dataset["prior_amplitude"][0]), "t_true": 1.0,
        "t_error": float(np.sqrt(found.dataset["prior_amplitude_covariance"].values[0, 0])),
        "sigma_curvature": found.dataset.attrs["sigma_curvature"], "rms_of_the_fitted_model": rms(bands.values, truth.values),
    }  # fmt: skip
    return scores(config, found.energy.values, truth.values, found.error.values) | told


def published(config: Config, truth: xr.DataArray, start: xr.DataArray) -> dict:
    """The published posterior of the upper band: clean, smoothed, raw; and sigma_pair by held-out counts against the scan."""
    upper, first = truth.values[0], start.isel(band=[0])
    smooth = bj.Preprocessing(smooth=config.smooth)
    clean, counts = (volume_of(config, truth, peak, config.seed) for peak in (None, 100.0))
    out: dict = {}
    common = {"posterior": "published", "errors": False}
    for name, volume, steps in (("clean", clean, None), ("smoothed", counts, smooth), ("raw", counts, None)):
        found, seconds, cold = timed(
            bj.reconstruct_bands, volume, first, sigma_pair=config.sigma_pair, preprocessing=steps, **common
        )
        out[name] = {"rms": rms(found.energy.values[0], upper), "seconds": seconds, "seconds_first_call": cold}
    scan = {}
    for sigma in config.scan:
        found = bj.reconstruct_bands(counts, start, sigma_pair=sigma, preprocessing=smooth, **common)
        scan[f"{sigma:g}"] = rms(found.energy.values, truth.values)
    chosen = bj.reconstruct_bands(counts, start, preprocessing=smooth, **common)
    best = min(scan.values())
    mine = rms(chosen.energy.values, truth.values)
    sigma_pair = chosen.dataset.attrs["sigma_pair"]
    out["by_held_out"] = {
        "sigma_pair": sigma_pair, "rms_of_both_bands": mine, "scan": scan, "best_of_scan": best, "over_best": mine / best - 1
    }  # fmt: skip
    return out | {"start_by_misfit": start_by_misfit(config, counts, truth, sigma_pair, smooth)}


def start_by_misfit(
    config: Config, counts: xr.DataArray, truth: xr.DataArray, sigma_pair: float, smooth: bj.Preprocessing
) -> dict:
    """Offset and scales of the start as `aligned=True` finds them, against a scan of all of them that is judged by the truth."""

    def result(offset: float, scale: float, momentum: float, **options) -> bj.Reconstruction:
        return bj.reconstruct_bands(
            counts, scale * truth, posterior="published", sigma_pair=sigma_pair, preprocessing=smooth, errors=False,
            offset=offset, momentum_scale=momentum, **options,
        )  # fmt: skip

    scan = {
        f"{o:g} eV, {s:g}, {m:g}": rms(result(o, s, m).energy.values, truth.values)
        for o in config.offsets for s in config.scales for m in config.momentum_scales
    }  # fmt: skip
    rows = {}
    for offset, scale, momentum in config.wrong_starts:
        found = result(offset, scale, momentum, aligned=True)
        mine = rms(found.energy.values, truth.values)
        settings = {n: found.dataset.attrs[n] for n in ("offset", "energy_scale", "momentum_scale")}
        as_given = rms(result(offset, scale, momentum).energy.values, truth.values)
        name = f"{offset:g} eV, {scale:g}, {momentum:g}"
        rows[name] = {"rms": mine, "over_best": mine / min(scan.values()) - 1, "rms_as_given": as_given} | settings
    return {"starts": rows, "scan": scan, "best_of_scan": min(scan.values()), "worst_of_scan": max(scan.values())}


if __name__ == "__main__":
    args = arguments(__doc__, PRESETS)
    started = time.perf_counter()
    chosen = PRESETS[args.preset]
    args.out.mkdir(parents=True, exist_ok=True)
    found = run(chosen, args.out)
    print(json.dumps(found, indent=1, default=float))
    write_json(args.out / "result.json", chosen, found, started)
