"""A map as a network's function, against the best smoothing and gridded interpolation, judged by counts that neither has seen.

Claim: at every count level (brightest pixel 100, 20, 5, 1) of a simulated cut through two hyperbolic bands, of a simulated volume of graphene, and of
a measured cut of bilayer graphene (thinned to lower levels), (a) the field trained on 80 % of the counts gives the other 20 % a higher
log-likelihood than Gaussian smoothing with the best width along every axis; (b) trained on some of the pixels (a quarter of them hidden and every sixth
spectrum as a whole; or every other pixel along both axes kept), it gives the hidden ones a higher log-likelihood than linear and cubic
interpolation of the counts or of the best smoothing. A loss at any level would refute it; the seconds of an epoch are stated.

Fairness: both see the same counts and choose by the same rule, a held-out fifth of what they are given, of counts in (a) and of pixels in (b) (widths
of the smoothing: a grid along every axis, and a floor; the field: when to stop; its first bandwidth once, on another draw), then use all of what they
are given. Who judges is drawn from a random stream of its own (`JUDGES`), which shares nothing with what is held out in training. Of the interpolations, the one that
the *judging* counts like best is taken. `regret`: log-likelihood of the truth less that of the estimate, in nats, for simulated data; 0 is perfect.
`gain`: field less baseline on the judging counts, with the standard error of that sum over pixels.
"""

import dataclasses
import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr

jax.config.update("jax_enable_x64", True)

from scipy.interpolate import RegularGridInterpolator, griddata  # noqa: E402
from scipy.ndimage import gaussian_filter  # noqa: E402
from scipy.special import voigt_profile  # noqa: E402

import bandjax as bj  # noqa: E402
from bandjax import plot  # noqa: E402
from bandjax.inference.likelihood import noise_scale  # noqa: E402
from experiments.common import kept_rows, run_and_save, shared_folder  # noqa: E402

JUDGE = 0.2  # part of the counts, and of the given counts, that judges
WIDTHS = (0.0, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6)  # pixels
FLOORS = (1e-3, 1e-2, 3e-2, 0.1)  # of the mean
SPECTRUM, SHARE = 6, 0.25  # every so many spectra and this part of the pixels are hidden
JUDGES, THINNED, SMOOTHED = 31, 32, 33  # of random streams
MAP = "data/arpes/bilayer_graphene_K_21eV/blg_raw_angle.nc"


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that the experiment depends on."""

    shape: tuple[int, int] = (80, 120)
    peaks: tuple[float, ...] = (100.0, 20.0, 5.0, 1.0)
    draws: int = 3
    hidden_peaks: tuple[float, ...] = (100.0, 20.0, 5.0, 1.0)
    volume: tuple[int, int, int] = (20, 20, 40)
    volume_peaks: tuple[float, ...] = (20.0, 2.0)
    measured_parts: tuple[float, ...] = (1e-3, 1e-4, 1e-2, 1.0)
    kinds: tuple[str, ...] = ("siren",)  # beside "fourier", at two levels
    width: int = 64
    members: int = 3
    batch: int = 256
    rounds: int = 120
    seed: int = 0


PRESETS = {
    "default": Config(),
    "smoke": Config(
        shape=(24, 30), peaks=(20.0,), draws=1, hidden_peaks=(20.0,), volume=(8, 8, 12), volume_peaks=(20.0,), measured_parts=(1e-3,),
        kinds=(), width=16, members=2, batch=256, rounds=6,
    ),
}  # fmt: skip


def as_map(values: np.ndarray, axes: dict[str, np.ndarray], units: dict[str, str]) -> xr.DataArray:
    """A DataArray with its units."""
    coords = {n: (n, a, {"units": units[n]}) for n, a in axes.items()}
    return xr.DataArray(values, dims=tuple(axes), coords=coords, attrs={"simulated": 1, "energy_reference": "fermi"})


def simulated_cut(config: Config) -> xr.DataArray:
    """Mean of a cut: two hyperbolas, lines that widen downwards, brighter on one side, background, Fermi edge; brightest pixel 1."""
    k, e = np.linspace(-0.24, 0.24, config.shape[0]), np.linspace(-1.4, 0.2, config.shape[1])
    mean = np.full(config.shape, 0.06)
    for sign in (1, -1):
        band = 0.1 - np.sqrt(0.21**2 + (6.6 * k) ** 2) - sign * 0.21
        eta = 0.04 + 0.05 * np.abs(band)
        height = (0.25 + 0.9 / (1 + np.exp(-(k - 0.02 * sign) / 0.08))) / (0.02 + eta)
        mean += (
            0.06
            * height[:, None]
            * voigt_profile(e - band[:, None], 0.03, eta[:, None])
            / voigt_profile(0, 0.03, eta)[:, None]
        )
    mean = (mean + 0.05 * (e < 0)) / (1 + np.exp(e / 0.03)) + 0.01
    return as_map(mean / mean.max(), {"kx": k, "energy": e}, {"kx": "1/angstrom", "energy": "eV"})


def simulated_volume(config: Config) -> xr.DataArray:
    """Mean of a volume of graphene about K: two Voigt lines and a constant; brightest pixel 1."""
    nx, ny, ne = config.volume
    kx, ky, e = 1.703 + np.linspace(-0.35, 0.35, nx), np.linspace(-0.35, 0.35, ny), np.linspace(-2.4, 0.4, ne)
    grid = np.stack(np.meshgrid(kx, ky, [0.0], indexing="ij"), axis=-1).reshape(-1, 3)
    model = bj.tight_binding(
        bj.graphene(a=2.46), bj.load_parameters("graphene", "pz").replace(epsilon=0.0), spin_orbit=False
    )
    bands = np.asarray(bj.bands(model, grid)).reshape(nx, ny, 2, 1) - 0.3
    mean = voigt_profile(e - bands, 0.08, 0.08).sum(axis=2) / (1 + np.exp(e / 0.05)) + 0.05
    axes = {"kx": kx, "ky": ky, "energy": e}
    return as_map(mean / mean.max(), axes, {"kx": "1/angstrom", "ky": "1/angstrom", "energy": "eV"})


def log_likelihoods(mean: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """c log μ − μ of every pixel."""
    return counts * np.log(np.maximum(mean, 1e-30)) - mean


def judged(counts: np.ndarray, seed: int, draw: int) -> np.ndarray:
    """The part `JUDGE` of the counts (NaN: none) that judges both sides and is given to neither."""
    rng = np.random.default_rng([seed, JUDGES, draw])
    return rng.binomial(np.nan_to_num(counts).astype(int), JUDGE).astype(float)


def smoothing(
    counts: np.ndarray, seen: np.ndarray, rng: np.random.Generator, held_out: str = "counts"
) -> tuple[np.ndarray, dict[str, Any]]:
    """Gaussian mean of the seen pixels at the widths and the floor that a held-out fifth of their counts, or of them, likes best."""
    given = np.where(seen, counts, 0)
    if held_out == "counts":
        held, at, known, part = rng.binomial(given.astype(int), JUDGE).astype(float), seen, seen, JUDGE / (1 - JUDGE)
    else:
        at = seen & (rng.random(counts.shape) < JUDGE)
        held, known, part = np.where(at, given, 0), seen & ~at, 1.0
    best: tuple = (-np.inf,)
    for sigma in itertools.product(WIDTHS, repeat=counts.ndim):
        mean, whole = _smoothed(given - held, known, sigma), (given - held).sum() / known.sum()
        for floor in FLOORS:
            trial = (mean + floor * whole) / (1 + floor)
            score = float(np.sum(log_likelihoods(part * trial, held)[at]))
            best = max(best, (score, sigma, floor))
    _, sigma, floor = best
    return (_smoothed(given, seen, sigma) + floor * given.sum() / seen.sum()) / (1 + floor), {
        "sigma_pixels": sigma,
        "floor": floor,
    }


def _smoothed(given: np.ndarray, seen: np.ndarray, sigma: tuple[float, ...]) -> np.ndarray:
    if seen.all():
        return gaussian_filter(given, sigma, mode="nearest")
    weight = gaussian_filter(seen.astype(float), sigma, mode="nearest")
    mean = gaussian_filter(given, sigma, mode="nearest") / np.maximum(weight, 1e-9)
    return np.where(weight > 1e-6, mean, given.sum() / seen.sum())  # too far from every pixel: the mean of all


class Bench:
    """The maps, and what is measured on each; every result is a row of its own."""

    def __init__(self, config: Config, out: Path) -> None:
        self.config, self.out = config, out
        self.cut, self.volume = simulated_cut(config), simulated_volume(config)
        self.bandwidth: float | None = None

    def scan(self) -> dict[str, Any]:
        """Bandwidth by held-out counts of one draw of the cut at the second level; all other fields begin with it."""
        peak = self.config.peaks[min(1, len(self.config.peaks) - 1)]
        counts = np.random.default_rng([self.config.seed, 99]).poisson(peak * self.cut.values).astype(float)
        field = self.field(self.cut.copy(data=counts), "fourier", 0, members=1)
        return {"bandwidth": field.record["bandwidth_first"][0], "scan": field.record["scan_bandwidth"]}

    def field(self, data: xr.DataArray, kind: str, seed: int, held_out: str = "counts", **more: Any) -> bj.Field:
        """A field as configured."""
        c = self.config
        given = {
            "width": c.width,
            "members": c.members,
            "batch": c.batch,
            "rounds": c.rounds,
            "bandwidth": self.bandwidth,
        } | more
        return bj.fit_field(data, kind=kind, seed=seed, held_out=held_out, **given)

    def simulated(self, part: str, peak: float, draw: int, kind: str = "fourier") -> dict[str, Any]:
        """Denoising of the cut or the volume."""
        like = self.cut if part == "cut" else self.volume
        counts = np.random.default_rng([self.config.seed, draw, round(1e3 * peak)]).poisson(peak * like.values)
        return self.denoise(
            counts.astype(float), like, peak * like.values, f"{part}_{peak:g}_{kind}_{draw}", kind, draw
        )

    def measured(self, data: xr.DataArray, part: float) -> dict[str, Any]:
        """Denoising of a part of the measured counts."""
        rng = np.random.default_rng([self.config.seed, THINNED, round(1e6 * part)])
        counts = rng.binomial(np.nan_to_num(data.values).astype(int), part).astype(float)
        counts[np.isnan(data.values)] = np.nan
        row = self.denoise(counts, data, None, f"measured_{part:g}", "fourier", 0)
        return row | {
            "peak_counts": float(np.nanmax(counts)),
            "mean_counts": float(np.nanmean(counts)),
            "noise_scale": data.attrs["noise_scale"],
        }

    def denoise(
        self, counts: np.ndarray, like: xr.DataArray, truth: np.ndarray | None, name: str, kind: str, seed: int
    ) -> dict[str, Any]:
        """Field and best smoothing of 80 % of the counts, judged by the rest."""
        valid = ~np.isnan(counts)
        judge = judged(counts, self.config.seed, seed)
        given = np.where(valid, counts - judge, np.nan)
        rng = np.random.default_rng([self.config.seed, SMOOTHED, seed])
        smooth, chosen = smoothing(np.nan_to_num(given), valid, rng)
        began = time.perf_counter()
        field = self.field(like.copy(data=given), kind, seed)
        seconds = time.perf_counter() - began
        if not seed:
            plot.plot_field(like.copy(data=given), field).savefig(self.out / f"{name}.png", dpi=170)
        found = field.on({n: like[n].values for n in field.names}).values
        part = JUDGE / (1 - JUDGE)
        row = compared(
            part * found, {"smoothing": part * smooth}, judge, valid, None if truth is None else JUDGE * truth
        )
        return row | chosen | told(field, seconds)

    def interpolate(self, name: str, peak: float) -> dict[str, Any]:
        """Field of the seen pixels and interpolations of their counts or smoothing, judged by the hidden ones."""
        rng = np.random.default_rng([self.config.seed, 7, round(1e3 * peak)])
        counts = rng.poisson(peak * self.cut.values).astype(float)
        seen = hidden(self.config.shape, rng)[name]
        others = interpolations(counts, seen, rng)
        began = time.perf_counter()
        if name == "coarse":
            data = self.cut.copy(data=counts).isel({str(d): slice(None, None, 2) for d in self.cut.dims})
        else:
            data = self.cut.copy(data=np.where(seen, counts, np.nan))
        field = self.field(data, "fourier", 0, "pixels")
        seconds = time.perf_counter() - began
        found = field.on({n: self.cut[n].values for n in field.names}).values
        return compared(found, others, counts, ~seen, peak * self.cut.values) | told(field, seconds)


def interpolations(counts: np.ndarray, seen: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Linear and cubic interpolation of the seen counts and of their best smoothing, with the nearest value outside and a floor."""
    floor = FLOORS[1] * counts[seen].mean()
    corner = seen[::2, ::2].all() and seen.sum() == seen[::2, ::2].size  # every other pixel along both axes
    if corner:
        small = counts[::2, ::2]
        smooth, _ = smoothing(small, np.ones_like(small, bool), rng, "pixels")
        axes = [np.arange(0, n, 2.0) for n in counts.shape]
        points = np.stack(
            np.meshgrid(
                *(np.clip(np.arange(n), 0, a[-1]) for n, a in zip(counts.shape, axes, strict=True)), indexing="ij"
            ),
            axis=-1,
        )
        return {
            f"{method} of {what}": np.maximum(RegularGridInterpolator(axes, values, method=method)(points), floor)
            for method in ("linear", "cubic") for what, values in (("counts", small), ("smoothing", smooth))
        }  # fmt: skip
    smooth, _ = smoothing(counts, seen, rng, "pixels")
    at = np.argwhere(seen)
    out = {"smoothing": smooth}
    for method, (what, values) in itertools.product(("linear", "cubic"), (("counts", counts), ("smoothing", smooth))):
        grid = np.indices(counts.shape).reshape(2, -1).T
        filled, nearest = (
            griddata(at, values[seen], grid, method=m).reshape(counts.shape) for m in (method, "nearest")
        )
        out[f"{method} of {what}"] = np.maximum(np.where(np.isnan(filled), nearest, filled), floor)
    return out


def compared(
    found: np.ndarray, others: dict[str, np.ndarray], counts: np.ndarray, where: np.ndarray, truth: np.ndarray | None
) -> dict[str, Any]:
    """Gain of the field over the best of the others on the judging counts."""
    own = log_likelihoods(found, counts)[where]
    scores = {n: log_likelihoods(v, counts)[where] for n, v in others.items()}
    best = max(scores, key=lambda n: scores[n].sum())
    gain = own - scores[best]
    flat = log_likelihoods(np.full_like(counts, counts[where].mean()), counts)[where]
    out: dict[str, Any] = {
        "gain_over_flat": float(own.sum() - flat.sum()),
        "gain": float(gain.sum()), "gain_error": float(np.sqrt(gain.size) * gain.std()), "judging_counts": float(counts[where].sum()),
        "baseline": best, "gains": {n: float((own - s).sum()) for n, s in scores.items()},
    }  # fmt: skip
    if truth is not None:
        right = log_likelihoods(truth, counts)[where].sum()
        out |= {"regret_field": float(right - own.sum()), "regret_baseline": float(right - scores[best].sum())}
        out |= {"rms_field": rms(found, truth, where), "rms_baseline": rms(others[best], truth, where)}
    return out


def rms(found: np.ndarray, truth: np.ndarray, where: np.ndarray) -> float:
    """Root mean square error over the root mean square of the truth."""
    return float(np.sqrt(np.mean((found - truth)[where] ** 2) / np.mean(truth[where] ** 2)))


def told(field: bj.Field, seconds: float) -> dict[str, Any]:
    """What of a field is kept."""
    names = (
        "bandwidth_first",
        "bandwidth",
        "seconds_per_epoch",
        "seconds_per_step",
        "best_round",
        "points",
        "weights",
        "held_out",
    )
    return {n: field.record[n] for n in names} | {"seconds": seconds}


def hidden(shape: tuple[int, ...], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """What is seen: all but a quarter of the pixels and every sixth spectrum; every other pixel along both axes."""
    holes = rng.random(shape) >= SHARE
    holes[SPECTRUM // 2 :: SPECTRUM] = False
    coarse = np.zeros(shape, bool)
    coarse[::2, ::2] = True
    return {"holes": holes, "coarse": coarse}


def measured(config: Config) -> xr.DataArray:
    """Whole counts of the measured cut, by the noise of its finest structure.

    Raises:
        FileNotFoundError: the shared folder is not there.
    """
    data = bj.read(str(shared_folder() / MAP))
    scale = noise_scale(np.nan_to_num(data.values), ~np.isnan(data.values))
    out = data.copy(data=np.round(data.values / scale))
    out.attrs["noise_scale"] = scale
    return out


def run(config: Config, out: Path, keep: Callable[[dict], None] = lambda metrics: None) -> dict[str, Any]:
    """All rows, each kept in a file, so that a killed run goes on where it was; what is done is handed to `keep` after each."""
    out.mkdir(parents=True, exist_ok=True)
    bench = Bench(config, out)
    metrics: dict[str, Any] = {"rows": {}}

    def row(name: str, make: Callable[..., dict[str, Any]], *given: Any) -> None:
        found = kept_rows(out / "rows", [(name, given)], config, make)[0]
        metrics["rows"][name] = {n: v for n, v in found.items() if n != "config"}
        shown = ("gain", "gain_error", "baseline", "regret_field", "regret_baseline", "seconds_per_epoch", "bandwidth")
        print(name, {n: found[n] for n in shown if n in found}, flush=True)
        bench.bandwidth = metrics["rows"]["scan"]["bandwidth"]
        keep(metrics | {"pooled": pooled(config, metrics["rows"])})

    row("scan", bench.scan)
    for peak in config.peaks:
        row(f"cut_{peak:g}_0", bench.simulated, "cut", peak, 0)
    try:
        data = measured(config)
    except FileNotFoundError as error:
        metrics["measured_skipped"] = str(error)
        print(f"The measured cut is left out: {error}")
        data = None
    for part in config.measured_parts[:2] if data is not None else ():
        row(f"measured_{part:g}", bench.measured, data, part)
    for peak in config.hidden_peaks:
        for name in ("holes", "coarse"):
            row(f"{name}_{peak:g}", bench.interpolate, name, peak)
    for peak in config.volume_peaks:
        row(f"volume_{peak:g}", bench.simulated, "volume", peak, 0)
    for kind in config.kinds:
        for peak in config.peaks[1:3]:
            row(f"{kind}_{peak:g}", bench.simulated, "cut", peak, 0, kind)
    for part in config.measured_parts[2:3] if data is not None else ():
        row(f"measured_{part:g}", bench.measured, data, part)
    for draw in range(1, config.draws):
        for peak in config.peaks:
            row(f"cut_{peak:g}_{draw}", bench.simulated, "cut", peak, draw)
    for part in config.measured_parts[3:] if data is not None else ():  # the most counts take the longest
        row(f"measured_{part:g}", bench.measured, data, part)
    return metrics | {"pooled": pooled(config, metrics["rows"])}


def pooled(config: Config, rows: dict[str, dict]) -> dict[str, dict[str, float]]:
    """Mean and spread over noise draws of the cut, by level."""
    out = {}
    for peak in config.peaks:
        found = [rows[n] for n in (f"cut_{peak:g}_{draw}" for draw in range(config.draws)) if n in rows]
        if not found:
            continue
        names = ("gain", "regret_field", "regret_baseline", "rms_field", "rms_baseline", "seconds_per_epoch", "seconds")
        out[f"{peak:g}"] = {n: float(np.mean([r[n] for r in found])) for n in names} | {"draws": len(found)}
        if len(found) > 1:
            out[f"{peak:g}"] |= {f"{n}_spread": float(np.std([r[n] for r in found], ddof=1)) for n in names[:3]}
    return out


if __name__ == "__main__":
    run_and_save(__doc__, PRESETS, run)
