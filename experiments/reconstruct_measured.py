"""Bands of two measured cuts without a Hamiltonian: bilayer graphene at K, and InAs in soft X-rays.

Claim: from starts sketched by eye the lines agree with what others read off the same maps. Bilayer graphene: a four-band minimal model
through both lines has ħv = 6.62 eV Å and γ1 = 0.45 eV within two standard errors (a ridge fit of the same map, documented beside it; ħv ± 0.02,
γ1 without an error, taken as ± 0.02). InAs: 19 of 20 of the 601 band points documented beside the map, those on the lines' own stretch, lie within
two combined errors of the light- and split-off-hole lines, and of the heavy hole's. More points off would refute it.

Both are raw angle maps; what counts as noise is the residual of a first run (`noise_scale="residual"`). Energies are E − E_F of the files. A line's
wave vector is kx = 0.5123167 √E_kin sin(θ − θ₀), with the photon momentum left out as in the documented points. Points carry the errors that their file
gives them, along k and along E, the former by the line's slope; where lines of the map merge (k < 0.08 1/Å at Γ of InAs) there are no points.
"""

import csv
import dataclasses
import json
import time
from pathlib import Path

import jax
import numpy as np
import xarray as xr

jax.config.update("jax_enable_x64", True)

from scipy.optimize import least_squares  # noqa: E402

import bandjax as bj  # noqa: E402
from bandjax import plot  # noqa: E402
from bandjax.units import K_PER_SQRT_EV  # noqa: E402
from experiments.common import arguments, shared_folder, write_json  # noqa: E402

RIDGE = {"hbar_v": (6.62, 0.02), "gamma1": (0.45, 0.02)}  # of the shared folder's README; the error of gamma1 is ours
# (kx in 1/Å, E in eV) read off the picture beside the data, to 0.1 or 0.2 eV
SKETCHES = {
    "HH": ([-0.6, -0.4, -0.2, 0.0, 0.2, 0.4, 0.6], [-1.7, -1.2, -0.95, -0.75, -0.9, -1.2, -1.7]),
    "LH": ([-0.6, -0.4, -0.2, 0.0, 0.2, 0.4, 0.6], [-3.3, -2.2, -1.3, -0.85, -1.3, -2.2, -3.3]),
    "SO": ([-0.6, -0.4, -0.2, 0.0, 0.2, 0.4, 0.6], [-5.5, -4.2, -2.6, -1.1, -2.6, -4.2, -5.5]),
}
# The upper line leaves the window in the middle: its arms continued
BILAYER = ([-0.22, -0.1, 0.0, 0.1, 0.22], [[-1.0, -0.2, 0.1, -0.4, -1.2], [-1.4, -0.7, -0.3, -0.8, -1.5]])


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that the experiment depends on."""

    bilayer_energy: tuple[float, float] = (-1.4, -0.05)
    bilayer_k: float = 0.22  # 1/Å; beyond lies the detector's edge
    blocks: int = 10
    bootstraps: int = 100
    inas_energy: tuple[float, float] = (-6.2, -0.4)
    inas_k: float = 0.6
    inas_bins: tuple[int, int] = (4, 1)  # energies, angles
    inas_background: int = 12
    seed: int = 0


PRESETS = {"default": Config(), "smoke": Config(inas_bins=(16, 4), inas_k=0.5)}


def wave_vector(angle: np.ndarray, energy: np.ndarray, photon: float, work: float, normal: float) -> np.ndarray:
    """kx in 1/Å at E − E_F."""
    return K_PER_SQRT_EV * np.sqrt(photon - work + energy) * np.sin(np.radians(angle - normal))


def lines_of(
    data: xr.DataArray, sketches: list[tuple[list[float], list[float]]], k: np.ndarray, **options
) -> bj.Reconstruction:
    """Reconstruction from sketches E(k), each on the map's own angles."""
    start = np.stack([np.interp(k, *sketch) for sketch in sketches])
    return bj.reconstruct_bands(data, start, noise_scale="residual", **options)


def bilayer(config: Config, out: Path) -> dict:
    """Both lines, and the minimal model through them."""
    data = bj.read(shared_folder() / "data/arpes/bilayer_graphene_K_21eV/blg_raw_angle.nc").sel(
        energy=slice(*config.bilayer_energy)
    )
    k = wave_vector(data["angle"].values, -0.5, 21.2182, 4.32, 0.0)
    data = data.isel(angle=np.flatnonzero(np.abs(k) < config.bilayer_k))
    k = wave_vector(data["angle"].values, -0.5, 21.2182, 4.32, 0.0)
    found = lines_of(data, [(BILAYER[0], e) for e in BILAYER[1]], k, background=2, seed=config.seed)
    plot.plot_reconstruction(data, found.dataset).savefig(out / "bilayer_graphene.png", dpi=170)
    energy = found.energy.values
    at = wave_vector(data["angle"].values, energy, 21.2182, 4.32, 0.0)
    inside = (energy < config.bilayer_energy[1] - 0.1) & (energy > config.bilayer_energy[0] + 0.1)

    def residual(p: np.ndarray, kept: np.ndarray) -> np.ndarray:
        v, gamma, dirac, centre = p
        root = np.sqrt(gamma**2 / 4 + (v * (at - centre)) ** 2)
        off = dirac - root - np.array([[-1], [1]]) * gamma / 2 - energy
        return np.concatenate([off[:, i][inside[:, i]] for i in kept])

    # Equal weights, like the ridge fit; what the minimal model leaves is the same for neighbours: errors by blocks of angles
    every = np.arange(len(k))
    blocks = np.array_split(every, config.blocks)
    rng = np.random.default_rng(config.seed)
    resampled = [
        np.concatenate([blocks[i] for i in rng.integers(0, len(blocks), len(blocks))]) for _ in range(config.bootstraps)
    ]
    values = least_squares(residual, [6.0, 0.35, 0.15, 0.0], args=(every,)).x
    again = [least_squares(residual, values, args=(kept,)).x for kept in resampled]
    spread = np.ptp(np.percentile(again, [16, 84], axis=0), axis=0) / 2  # a draw without the apex may end anywhere
    off = residual(values, every)
    names = ("hbar_v", "gamma1", "dirac", "centre")
    told = {n: {"value": v, "error": s} for n, v, s in zip(names, values, spread, strict=True)}
    for name, (value, own) in RIDGE.items():
        told[name]["ridge_fit"] = value
        told[name]["sigmas"] = float((told[name]["value"] - value) / np.hypot(told[name]["error"], own))
    return {
        "model_through_the_lines": told,
        "rms_of_the_model_meV": float(1e3 * np.sqrt(np.mean(off**2))),
        **settings(found),
    }


def inas(config: Config, out: Path) -> dict:
    """The three lines against the documented points."""
    folder = shared_folder() / "data/arpes/inas_sxarpes_586eV"
    data = bj.read(folder / "inas_raw_angle.nc").sel(energy=slice(*config.inas_energy))
    geometry = {"photon": 586.0, "work": 4.5, "normal": 1.067}
    k = wave_vector(data["angle"].values, -2.0, **geometry)
    data = data.isel(angle=np.flatnonzero(np.abs(k) < config.inas_k))
    data = data.coarsen(energy=config.inas_bins[0], angle=config.inas_bins[1], boundary="trim").sum()
    k = wave_vector(data["angle"].values, -2.0, **geometry)
    found = lines_of(data, list(SKETCHES.values()), k, background=config.inas_background, seed=config.seed)
    plot.plot_reconstruction(data, found.dataset).savefig(out / "inas.png", dpi=170)
    points = band_points(folder / "band_points_derived.csv")
    assert found.error is not None
    rows = {}
    for band, name in enumerate(SKETCHES):
        energy, error = found.energy.values[band], found.error.values[band]
        at = wave_vector(data["angle"].values, energy, **geometry)
        mine = points[name]
        mine = {n: v[(mine["k_inv_angstrom"] > at[1]) & (mine["k_inv_angstrom"] < at[-2])] for n, v in mine.items()}
        line, own, slope = (np.interp(mine["k_inv_angstrom"], at, v) for v in (energy, error, np.gradient(energy, at)))
        off = mine["e_minus_ef_ev"] - line
        combined = np.sqrt(own**2 + mine["e_err"] ** 2 + (slope * mine["k_err"]) ** 2)
        rows[name] = {
            "points": len(off), "within_one": float(np.mean(np.abs(off) < combined)), "within_two": float(np.mean(np.abs(off) < 2 * combined)),
            "rms_meV": float(1e3 * np.sqrt(np.mean(off**2))), "median_off_meV": float(1e3 * np.median(off)),
            "median_error_of_the_line_meV": float(1e3 * np.median(own)),
        }  # fmt: skip
    return {"bands": rows, **settings(found)}


def band_points(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """Columns of the documented points by band."""
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    columns = ("k_inv_angstrom", "e_minus_ef_ev", "k_err", "e_err")
    return {b: {c: np.array([float(r[c]) for r in rows if r["band"] == b]) for c in columns} for b in SKETCHES}


def settings(found: bj.Reconstruction) -> dict:
    """What was chosen, and what is said of it."""
    kept = ("sigma_curvature", "line_sigma", "line_eta", "reduced_chi2", "noise_scale", "error_inflation")
    return {n: found.dataset.attrs[n] for n in kept} | {"report": found.report, "converged": found.converged}


def run(config: Config, out: Path) -> dict:
    """Both maps."""
    return {"bilayer_graphene": bilayer(config, out), "inas": inas(config, out)}


if __name__ == "__main__":
    args = arguments(__doc__, PRESETS)
    started = time.perf_counter()
    chosen = PRESETS[args.preset]
    args.out.mkdir(parents=True, exist_ok=True)
    found = run(chosen, args.out)
    print(json.dumps(found, indent=1, default=float))
    write_json(args.out / "result.json", chosen, found, started)
