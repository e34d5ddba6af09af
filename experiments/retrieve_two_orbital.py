"""A two-orbital Hamiltonian from a quarter of two Fermi-surface maps, beside peak fits of the same data.

Claim: from one quadrant (1/4 of the wave vectors) of two maps of a cubic e_g model (k_z near 0 and π/a), E − E_F > −0.1 eV only, Poisson
counts, (a) over 300 draws of truth, start and noise the pooled efficiency is at most 1.15 and the pooled 68 % coverage in 64 to
72 %; (b) at least 98 % of the starts reach the optimum; (c) the error is below that of EDC and MDC peak fits with least squares of the
bands on the peaks, given the same starts, priors, resolutions and temperature, also where our side must find a smooth brightness of each map
for itself (the peak fits need no law of intensity); (d) one retrieval from 12 starts takes at most 60 s on two cores.

Truths and starts are two draws out of the same priors (which the fit has too); gains have no prior. The data are made by the model that is
fitted (inverse crime): rows of `misfit` are made with something that neither side has (`two_orbital_misfit`). "Optimum reached": −log
posterior within 0.01 of a fit started at the truth, or below. k_z is sharp in the fit. Peak fits: experiments/peak_fits.py.
"""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)

import bandjax as bj  # noqa: E402
from bandjax import plot  # noqa: E402
from bandjax.inference import PocketArea, fermi_surface_of, retrieval_metrics  # noqa: E402
from experiments.common import run_and_save, score  # noqa: E402
from experiments.peak_fits import METHODS, require_lmfit  # noqa: E402
from experiments.two_orbital import PRESETS, SHARED, Config, Setup  # noqa: E402
from experiments.two_orbital_misfit import PeakFits, misfit  # noqa: E402

BRIGHTNESS = 3  # order of the brightness that our side frees where it is said so


def draws(setup: Setup) -> tuple[dict, list[dict]]:
    """All draws, fitted from a start and from the truth."""
    c, rows = setup.config, []
    began = time.perf_counter()
    for i in range(c.draws):
        truth, start, maps = setup.drawn_maps(i)
        means = setup.means(setup.u_of(truth))
        found, reference = setup.fit(maps, start), setup.fit(maps, truth, reference=True)
        slope = np.asarray(setup.slopes(found.u))
        rows.append({
            "truth": truth, "start": start, "found": np.asarray(setup.to_x(found.u)), "bound": setup.fisher(truth, means),
            "own": np.asarray(found.fisher) / np.outer(slope, slope), "cost": float(found.cost), "reference": float(reference.cost),
            "areas": setup.areas(np.asarray(setup.to_x(found.u))), "true_areas": setup.areas(truth),
        })  # fmt: skip
        print(f"draw {i + 1} of {c.draws} ({time.perf_counter() - began:.0f} s)", end="\r", flush=True)
    print()
    stacked = {n: np.stack([r[n] for r in rows]) for n in rows[0]}
    reached = stacked["cost"] <= stacked["reference"] + 0.01
    error = stacked["found"] - stacked["truth"]
    efficiency, covered = score(error, stacked["bound"], stacked["own"])
    mean = np.asarray(setup.means(setup.u_of(np.asarray(setup.transform.centre)))[0])
    return {
        "parameters": list(setup.names), "draws": c.draws, "reached": float(reached.mean()),
        "not_reached": np.flatnonzero(~reached).tolist(), "efficiency": float(efficiency[reached].mean()),
        "coverage": float(covered[reached].mean()),
        "coverage_by_parameter": dict(zip(setup.names, covered[reached].mean(axis=0).tolist(), strict=True)),
        "rms": dict(zip(setup.names, np.sqrt((error[reached] ** 2).mean(axis=0)).tolist(), strict=True)),
        "median_bound": dict(zip(setup.names, np.median(np.sqrt(np.diagonal(np.linalg.inv(stacked["bound"]), axis1=1, axis2=2)), axis=0).tolist(), strict=True)),
        "area_rms": np.sqrt(((stacked["areas"] - stacked["true_areas"])[reached] ** 2).mean(axis=0)).tolist(),
        "mean_counts": float(mean.mean()), "peak_counts": float(mean.max()),
        "fitted_pixels": int(sum(p.fitted.sum() for p in setup.parts)), "seconds": time.perf_counter() - began,
    }, rows  # fmt: skip


def face(setup: Setup, rows: list[dict]) -> dict:
    """The first draws by `bj.retrieve_hamiltonian`, from the same single start: how far the compiled descent is from what a user gets."""
    c, off, above, reached = setup.config, [], [], []
    for i, row in enumerate(rows[: c.face_draws]):
        _, start, maps = setup.drawn_maps(i)
        point = dict(zip(setup.names, start.tolist(), strict=True))
        found = bj.retrieve_hamiltonian(
            maps, setup.problem, starts=[point], fraction=c.fraction, pattern=c.pattern, grid=c.grid
        )
        values = np.array([found.fit.values[n] for n in setup.names])
        off.append((values - row["found"]) / np.array([found.fit.errors[n] for n in setup.names]))
        above.append(found.fit.cost - row["cost"])
        reached.append(found.fit.cost <= row["reference"] + 0.01)
    return {
        "draws": len(off), "largest_difference_in_errors": float(np.abs(off).max()), "largest_difference_of_cost": float(np.abs(above).max()),
        "reached": float(np.mean(reached)),
    }  # fmt: skip


def peak_fits(setup: Setup, rows: list[dict], free: Setup | None = None) -> dict:
    """The baseline on the first draws, beside our fits of them, and beside those with the brightness of every map free."""
    require_lmfit()
    c = setup.config
    at = [setup.names.index(n) for n in SHARED]
    peak_fit = PeakFits(setup)
    results: dict[str, dict[str, list]] = {
        m: {"error": [], "covariance": [], "area": [], "used": [], "scaled": []}
        for m in (*METHODS, "ours", "ours, brightness free")
    }
    began = time.perf_counter()

    def note(name: str, row: dict, x: np.ndarray, areas: np.ndarray) -> None:
        error, bound = (x - row["truth"])[at], np.linalg.inv(row["bound"])[np.ix_(at, at)]
        results[name]["error"].append(error)
        results[name]["area"].append(areas - row["true_areas"])
        results[name]["scaled"].append(error @ np.linalg.solve(bound, error) / len(at))

    for i, row in enumerate(rows[: c.peak_fit_draws]):
        truth, start, maps = setup.drawn_maps(i)
        peaks = peak_fit.peaks(maps)
        for method in METHODS:
            theta, covariance, used = peak_fit.model(peaks, start, method)
            whole = truth.copy()
            whole[at] = theta
            note(method, row, whole, setup.areas(whole))
            results[method]["covariance"].append(covariance)
            results[method]["used"].append(used)
        note("ours", row, row["found"], row["areas"])
        if free is not None:
            x = np.asarray(free.to_x(free.fit(maps, free.point(setup.names, start)).u))
            x = x[[free.names.index(n) for n in setup.names]]
            note("ours, brightness free", row, x, setup.areas(x))
        print(f"peak fits {i + 1} of {c.peak_fit_draws} ({time.perf_counter() - began:.0f} s)", end="\r", flush=True)
    print()
    rms = lambda x: np.sqrt(np.mean(np.square(x), axis=0))  # noqa: E731
    by_draw = lambda x: np.sqrt(np.mean(np.square(x), axis=1))  # noqa: E731
    filled = rms(results["ours"]["area"]) > 1e-9  # a band that does not cross E_F in a plane has no area to be wrong
    metrics: dict[str, Any] = {"draws": len(results["ours"]["scaled"])}
    for name, r in results.items():
        if not r["error"]:
            continue
        areas = np.stack(r["area"])[:, filled]
        metrics[name] = {
            "rms": dict(zip(SHARED, rms(r["error"]).tolist(), strict=True)), "mean": dict(zip(SHARED, np.mean(r["error"], axis=0).tolist(), strict=True)),
            "area_rms": rms(r["area"]).tolist(), "scaled_error": float(np.sqrt(np.mean(r["scaled"]))),
            # one failed fit rules a root mean square: the draw in the middle, and every draw
            "scaled_by_draw": np.sqrt(r["scaled"]).tolist(), "area_by_draw": by_draw(areas).tolist(),
        }  # fmt: skip
        if name in METHODS:
            sigma = np.sqrt(np.diagonal(np.stack(r["covariance"]), axis1=1, axis2=2))
            metrics[name] |= {
                "coverage": float((np.abs(np.stack(r["error"])) <= sigma).mean()),
                "peaks": float(np.mean(r["used"])),
            }
    for method in METHODS:
        for ours in ("ours", "ours, brightness free"):
            if ours in metrics:
                metrics[method][f"over {ours}"] = _ratios(metrics[method], metrics[ours])
    metrics["seconds_per_draw"] = (time.perf_counter() - began) / metrics["draws"]
    return metrics


def _ratios(theirs: dict, ours: dict) -> dict[str, float]:
    """Their error over ours: pooled over draws (root mean squares), and of the draw in the middle."""
    out = {}
    for n in ("scaled", "area"):
        a, b = np.array(theirs[f"{n}_by_draw"]), np.array(ours[f"{n}_by_draw"])
        out |= {n: float(np.sqrt(np.mean(a**2) / np.mean(b**2))), f"{n}_median": float(np.median(a) / np.median(b))}
    return out


def one_retrieval(setup: Setup, out: Path) -> dict:
    """The face, `bj.retrieve_hamiltonian`, from whole maps of one more draw of the priors, timed; peak fits of the same data; the figure."""
    truth, start, maps = setup.drawn_maps(20_000)
    c = setup.config
    found = bj.retrieve_hamiltonian(
        maps, setup.problem, starts=c.starts, fraction=c.fraction, pattern=c.pattern, energy=(c.energy[0] - 1e-6, c.energy[1] + 1e-6),
        bands=2, grid=c.grid,
    )  # fmt: skip
    values = dict(zip(setup.names, truth.tolist(), strict=True))
    began, peak_fit = time.perf_counter(), PeakFits(setup)
    theta, _, _ = peak_fit.model(peak_fit.peaks(maps), start, "both")
    seconds = time.perf_counter() - began
    by_peaks = {**values, **dict(zip(SHARED, theta.tolist(), strict=True))}
    surfaces = {"truth": _surfaces(found, values, c.grid), "peak fits": _surfaces(found, by_peaks, c.grid)}
    figure = plot.plot_fermi_surface(found, others=surfaces, whole=maps)
    figure.savefig(out / "fermi_surface.png", dpi=170)
    metrics = retrieval_metrics(found) | {"truth": values}
    for name, planes in surfaces.items():
        metrics[f"pockets of {name}"] = {n: [_without_error(p) for p in f.pockets] for n, f in planes.items()}
    metrics["peak_fit_values"], metrics["peak_fit_seconds"] = by_peaks, seconds
    return metrics


def _without_error(pocket: PocketArea) -> dict:
    """As plain numbers; the covariance is that of the fit, not of these values."""
    return {n: v for n, v in pocket._asdict().items() if n != "error"}


def _surfaces(found: bj.Retrieval, values: dict[str, float], grid: int) -> dict:
    other = dataclasses.replace(found.fit, values={**found.fit.values, **values})
    return {n: fermi_surface_of(other, n, grid=grid) for n in found.surfaces}


def run(config: Config, out: Path, keep: Callable[[dict], None] = lambda metrics: None) -> dict:
    """All parts, with the figure; what is done is handed to `keep` after each."""
    out.mkdir(parents=True, exist_ok=True)
    setup, free = Setup(config), Setup(config, brightness=BRIGHTNESS)
    metrics: dict[str, Any] = {}
    metrics["draws"], rows = draws(setup)
    print({n: metrics["draws"][n] for n in ("reached", "efficiency", "coverage", "area_rms")})
    keep(metrics)
    metrics["face"] = face(setup, rows)
    print("by retrieve_hamiltonian", metrics["face"], flush=True)
    metrics["peak_fits"] = peak_fits(setup, rows, free)
    for method in METHODS:
        print(
            method,
            {n: v for n, v in metrics["peak_fits"][method].items() if n.startswith(("over", "coverage"))},
            flush=True,
        )
    keep(metrics)
    metrics["retrieval"] = one_retrieval(setup, out)
    print("one retrieval", {n: metrics["retrieval"][n] for n in ("reached", "starts", "seconds")}, flush=True)
    keep(metrics)
    metrics["misfit"] = misfit(setup, free, lambda found: keep(metrics | {"misfit": found}))
    return metrics


if __name__ == "__main__":
    run_and_save(__doc__, PRESETS, run)
