"""Fourteen crossing bands of a simulated volume of 150 × 150 × 400 whose intensity vanishes in places, and their compression.

Claim: surfaces over 7 eV with the symmetry of a hexagonal crystal (lattice constant of WSe2, bands that are no calculation of it), Voigt lines (sigma 0.08 eV,
half width 0.06 eV), 100 counts at the brightest peak on a background of 3, come out within 40 meV RMS each, from a start that is 0.1 eV off, 8 % too narrow
and bent by up to 0.05 eV, though every band is dark along lines and every second one in a disc of a seventh of the map's width
(matrix elements that vanish); and as coefficients of plane waves, 5,000 times fewer numbers than the volume, they lose less than 10 meV. A band
above 40 meV, or 10 meV lost, would refute it.

Where a band is dark only the smoothness of the bands is left: the score there is stated apart, with the coverage of the errors. Simulated by
the model that is fitted, apart from the heights, whose dips are sharper than their prior.
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
from experiments.common import arguments, write_json  # noqa: E402
from experiments.reconstruct_eight_bands import scores  # noqa: E402

A = 3.28  # Å
LATTICE = A * np.array([[1.0, 0.0], [0.5, np.sqrt(3) / 2]])
SIGMA, ETA = 0.08, 0.06  # eV
WINDOW = (-7.2, 0.4)  # eV


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that the experiment depends on."""

    pixels: int = 150
    energies: int = 400
    bands: int = 14
    peak: float = 100.0
    background: float = 3.0
    dark: float = 0.1  # of the peak: where a band counts as dark
    ratio: float = 5000.0  # numbers of the volume over coefficients
    sigma_curvature: float | None = None
    seed: int = 0


PRESETS = {
    "default": Config(),
    "smoke": Config(pixels=26, energies=200, bands=4, sigma_curvature=0.02, ratio=500.0),
}


def truth_of(config: Config) -> xr.DataArray:
    """Neighbours disperse against one another and cross in rings; ± 1.5 / Å, beyond the first zone."""
    k = np.linspace(-1.5, 1.5, config.pixels)
    x, y = np.meshgrid(k, k, indexing="ij")
    first = [LATTICE[0], LATTICE[1], LATTICE[1] - LATTICE[0]]
    second = [LATTICE[0] + LATTICE[1], 2 * LATTICE[1] - LATTICE[0], LATTICE[1] - 2 * LATTICE[0]]
    near, far, half = (
        sum(f(r[0] * x + r[1] * y) for r in rs)
        for f, rs in ((np.cos, first), (np.cos, second), (np.sin, [first[0], -first[1], first[2]]))
    )
    surfaces = []
    for band in range(config.bands):
        middle, sign = -0.3 - 6.4 * (band + 0.5) / config.bands, (-1) ** band
        surfaces.append(
            middle + sign * 0.18 * near + 0.05 * np.cos(band) * np.tanh(far) + 0.04 * np.sin(1.3 * band) * half
        )
    axes = {n: (n, k, {"units": "1/angstrom"}) for n in ("kx", "ky")}
    coords = {"band": np.arange(config.bands), **axes}
    return xr.DataArray(np.stack(surfaces), dims=("band", "kx", "ky"), coords=coords, name="band_energy")


def heights_of(config: Config) -> np.ndarray:
    """Of the lines, 0 to `peak`, (band, kx, ky): nodal lines, and discs."""
    u = np.linspace(-1, 1, config.pixels)
    x, y = np.meshgrid(u, u, indexing="ij")
    out = []
    for band in range(config.bands):
        angle = 2.4 * band
        along = np.cos(angle) * x + np.sin(angle) * y
        line = np.sin(2.2 * along + 0.9 * band) ** 2
        place = 0.5 * np.array([np.cos(3.1 * band), np.sin(3.1 * band)])
        away = np.hypot(x - place[0], y - place[1])
        disc = 1 / (1 + np.exp(-(away - 1 / 7) / 0.01)) if band % 2 == 0 else 1.0
        out.append(config.peak * line * disc)
    return np.stack(out)


def volume_of(config: Config, truth: xr.DataArray, heights: np.ndarray) -> xr.DataArray:
    """Counts."""
    energy = np.linspace(*WINDOW, config.energies)
    mean = np.full((*truth.shape[1:], energy.size), config.background)
    for band, height in zip(truth.values, heights, strict=True):
        mean += height[..., None] * voigt_profile(energy - band[..., None], SIGMA, ETA) / voigt_profile(0, SIGMA, ETA)
    axes = {"kx": truth["kx"], "ky": truth["ky"], "energy": ("energy", energy, {"units": "eV"})}
    notes = {"simulated": 1, "energy_reference": "fermi"}
    counts = np.random.default_rng(config.seed).poisson(mean).astype(float)
    return xr.DataArray(counts, dims=("kx", "ky", "energy"), coords=axes, name="intensity", attrs=notes)


def start_of(truth: xr.DataArray) -> xr.DataArray:
    """Off, too narrow, and bent, as a calculation would be."""
    x, y = truth["kx"].values[:, None], truth["ky"].values[None]
    bent = np.stack([0.05 * np.sin(x + 0.7 * b) * np.cos(1.2 * y - b) for b in range(truth.sizes["band"])])
    return 0.92 * truth + 0.1 + bent


def run(config: Config, out: Path) -> dict:
    """Reconstruction, then compression."""
    truth, heights = truth_of(config), heights_of(config)
    volume, start = volume_of(config, truth, heights), start_of(truth)
    begin, processor = time.perf_counter(), time.process_time()
    found = bj.reconstruct_bands(volume, start, aligned=True, sigma_curvature=config.sigma_curvature)
    seconds, processor = time.perf_counter() - begin, time.process_time() - processor
    assert found.error is not None
    off, inside = found.energy.values - truth.values, found.error.values
    dark = heights < config.dark * config.peak
    metrics = scores(found.energy.values, truth.values, 0.05)
    metrics["rms_of_start_meV"] = scores(start.values, truth.values, 0.05)["rms_meV"]
    for name, where in (("bright", ~dark), ("dark", dark)):
        metrics[name] = {
            "share": float(where.mean()), "rms_meV": float(1e3 * np.sqrt(np.mean(off[where] ** 2))),
            "coverage": float(np.mean(np.abs(off[where]) <= inside[where])), "median_error_meV": float(1e3 * np.median(inside[where])),
        }  # fmt: skip
    metrics |= {
        "wall_seconds": seconds,
        "processor_seconds": processor,
        "report": found.report,
        "converged": found.converged,
    }
    metrics |= {
        k: found.dataset.attrs[k] for k in ("sigma_curvature", "line_sigma", "line_eta", "offset", "energy_scale")
    }
    metrics["compression"] = compressed(config, volume, found.energy, truth)
    plot.plot_reconstruction(volume, found.dataset, truth=truth).savefig(out / "bands.png", dpi=170)
    return metrics


def compressed(config: Config, volume: xr.DataArray, found: xr.DataArray, truth: xr.DataArray) -> dict:
    """What each basis loses at the same number of coefficients: of the surfaces found, of the true ones, of those in ascending order."""
    terms = int(volume.size / config.ratio / found.sizes["band"])
    ordered = truth.copy(data=np.sort(truth.values, axis=0))
    out: dict = {"ratio": volume.size / (terms * found.sizes["band"]), "terms_a_band": terms}
    for basis in ("plane_waves", "polynomial", "chebyshev", "cosine"):
        lattice = LATTICE if basis == "plane_waves" else None
        row = {}
        for name, surfaces in (("found", found), ("true", truth), ("in_ascending_order", ordered)):
            small = bj.compress_bands(surfaces, coefficients=terms, basis=basis, lattice=lattice)
            back = bj.expand_bands(small, {n: surfaces[n].values for n in ("kx", "ky")})["band_energy"]
            row[f"added_{name}_meV"] = float(1e3 * np.sqrt(np.mean((back - surfaces).values ** 2, axis=(1, 2))).max())
            if name == "found":
                row["rms_after_meV"] = scores(back.values, truth.values, 0.05)["rms_meV"]
        out[basis] = row
    return out


if __name__ == "__main__":
    args = arguments(__doc__, PRESETS)
    started = time.perf_counter()
    chosen = PRESETS[args.preset]
    args.out.mkdir(parents=True, exist_ok=True)
    found = run(chosen, args.out)
    print(json.dumps(found, indent=1, default=float))
    write_json(args.out / "result.json", chosen, found, started)
