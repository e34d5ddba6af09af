"""Two-orbital maps made with something that no fit has: how far off each side is, and whether our residual says so.

Per kind: our fit, our fit with the brightness of every map free (Legendre polynomials to third order), and MDC, EDC and combined peak
fits, all of the same maps from the same starts. Truths are draws of the priors: with the truth at their centre a side that
knows nothing would look best. `pull` is the mean error over the fit's own; `scaled` the root mean
square error in prior widths, `area` that of the filled areas.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr

import bandjax as bj
from bandjax.inference.least_squares import State
from bandjax.inference.parameters import all_values
from bandjax.inference.problem import instrument_values, model_values
from bandjax.inference.uncertainty import residual_tests
from experiments.peak_fits import METHODS, Peaks, fit_model, fit_peaks
from experiments.two_orbital import KNOWN, PHOTONS, SHARED, A, Setup

THIRD = 0.01  # eV
ESCAPE = 15.0  # Å
QUADRATIC = 1.0  # 1/eV: the half width grows by a half at −0.1 eV
ELEMENT = 0.4  # the brightness goes from 0.6 to 1.4
FREED = ("none", "matrix element")  # where our side also fits with its brightness free
FLAGGED = 4.5  # standard deviations of a correlation of white residuals; six are looked at


class PeakFits:
    """Peak fits of a setup's maps, and the model's parameters from them."""

    def __init__(self, setup: Setup) -> None:
        self.setup, self.at = setup, [setup.names.index(n) for n in SHARED]
        self.bands = {n: setup.bands_of(n) for n in PHOTONS}
        self.prior = setup.transform.prior[self.at], setup.transform.sigma[self.at]

    def peaks(self, maps: dict[str, xr.DataArray]) -> dict[str, Peaks]:
        """Of the part of every map that is fitted."""
        return {n: fit_peaks(self.setup.cut(m), KNOWN) for n, m in maps.items()}

    def model(self, peaks: dict[str, Peaks], start: np.ndarray, method: str) -> tuple[np.ndarray, np.ndarray, int]:
        """θ = `SHARED`, its covariance, the number of peaks used."""
        return fit_model(peaks, self.bands, start[self.at], self.prior, method)


def altered(setup: Setup, kind: str, truth: np.ndarray) -> list[np.ndarray]:
    """Mean counts of maps made with something that the fit does not have."""
    values = {n: float(v) for n, v in all_values(setup.transform, jnp.asarray(truth)).items()}
    out = []
    for name, instrument in setup.instruments.items():
        there = dataclasses.replace(instrument, **instrument_values(values, name))
        own, points = model_values(values), 1
        if kind == "third neighbours":
            own = {**own, "t_sigma''": THIRD}
        if kind == "k_z broadening":
            there, points = there.replace(escape_depth=ESCAPE), 9
        if kind == "Fermi-liquid width":
            there = there.replace(eta_quadratic=QUADRATIC)
        model = setup.problem.model_of(own)  # type: ignore[operator]
        mean = np.asarray(bj.arpes_image(model, there, setup.axes, kz_points=points))
        if kind == "matrix element":
            ky, kx = np.meshgrid(setup.axes["ky"], setup.axes["kx"], indexing="ij")
            bright = mean - float(there.background)
            mean = bright * (1 + ELEMENT * np.cos(kx * A) * np.cos(ky * A / 2))[..., None] + float(there.background)
        out.append(np.maximum(mean, 0.0))
    return out


def misfit(setup: Setup, free: Setup, keep: Callable[[dict], None] = lambda found: None) -> dict[str, dict]:
    """Every kind: errors of every side; what is done is handed to `keep` after each kind."""
    peak_fit, out = PeakFits(setup), {}
    for kind in setup.config.misfits:
        sides: dict[str, list[dict]] = {}

        def off(x: np.ndarray, truth: np.ndarray, areas: np.ndarray) -> dict[str, np.ndarray]:
            return {"off": (x - truth)[peak_fit.at], "area": setup.areas(x) - areas}

        for i in range(setup.config.robust_draws):
            truth, start, rng = setup.draw(10_000 + i)
            areas = setup.areas(truth, **({"t_sigma''": THIRD} if kind == "third neighbours" else {}))
            maps = setup.maps(altered(setup, kind, truth), rng)
            for name, own in (("fit", setup), ("fit, brightness free", free)):
                if own is free and kind not in FREED:
                    continue
                found = own.fit(maps, own.point(setup.names, start))
                to_plain = [own.names.index(n) for n in setup.names]
                x, sigma = np.asarray(own.to_x(found.u))[to_plain], own.errors(found)[to_plain]
                sides.setdefault(name, []).append(
                    off(x, truth, areas) | {"sigma": sigma[peak_fit.at]} | residual(own, maps, found)
                )
            peaks = peak_fit.peaks(maps)
            for method in METHODS:
                theta, covariance, _ = peak_fit.model(peaks, start, method)
                whole = truth.copy()
                whole[peak_fit.at] = theta
                sides.setdefault(method, []).append(
                    off(whole, truth, areas) | {"sigma": np.sqrt(np.diagonal(covariance))}
                )
        width = peak_fit.prior[1]
        out[kind] = {name: _summary(rows, width) for name, rows in sides.items()}
        for name in sides:
            if name.startswith("fit"):
                out[kind][name]["peak_fits_over_it"] = {
                    m: {
                        n: out[kind][m][n] / out[kind][name][n]
                        for n in ("scaled", "area", "scaled_median", "area_median")
                    }
                    for m in METHODS
                }
        print(
            kind,
            {
                n: {m: v for m, v in s.items() if m in ("mean_pull", "scaled", "area", "flagged")}
                for n, s in out[kind].items()
            },
            flush=True,
        )
        keep(out)
    return out


def residual(setup: Setup, maps: dict[str, xr.DataArray], found: State) -> dict[str, float]:
    """Mean reduced chi², and the largest correlation of neighbouring residuals in its standard deviations."""
    tests: list[tuple[float, float]] = []
    for part, mean in zip(setup.parts, (np.asarray(m) for m in setup.part_means(found.u)), strict=True):
        data = np.nan_to_num(setup.cut(maps[part.name]).values)
        left = np.where(part.fitted, (data - mean) / np.sqrt(mean), 0.0)
        t = residual_tests(left, part.fitted, part.held, len(setup.names), np.zeros_like(left))
        tests.append((t.reduced_chi2, max(abs(np.array(t.correlation))) * np.sqrt(int(part.fitted.sum()))))
    return {"chi2": float(np.mean([t[0] for t in tests])), "correlation": max(t[1] for t in tests)}


def _summary(rows: list[dict], width: np.ndarray) -> dict[str, Any]:
    off, area, sigma = (np.stack([r[n] for r in rows]) for n in ("off", "area", "sigma"))
    by_draw = {"scaled": np.sqrt(np.mean((off / width) ** 2, axis=1)), "area": np.sqrt(np.mean(area**2, axis=1))}
    named = lambda x: dict(zip(SHARED, np.asarray(x).tolist(), strict=True))  # noqa: E731
    out: dict[str, Any] = {
        "draws": len(rows), "bias": named(off.mean(axis=0)), "error": named(sigma.mean(axis=0)), "mean_pull": named((off / sigma).mean(axis=0)),
        "coverage": float((np.abs(off) <= sigma).mean()), "area_rms": np.sqrt(np.mean(area**2, axis=0)).tolist(),
    }  # fmt: skip
    for n, values in by_draw.items():  # one failed fit rules a root mean square: the draw in the middle, and every draw
        out |= {
            n: float(np.sqrt(np.mean(values**2))),
            f"{n}_median": float(np.median(values)),
            f"{n}_by_draw": values.tolist(),
        }
    if "chi2" in rows[0]:
        correlation = np.array([r["correlation"] for r in rows])
        out |= {
            "reduced_chi2": float(np.mean([r["chi2"] for r in rows])), "neighbour_correlation_sigma": float(correlation.mean()),
            "flagged": float((correlation > FLAGGED).mean()),
        }  # fmt: skip
    return out
