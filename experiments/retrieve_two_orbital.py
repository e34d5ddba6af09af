"""A two-orbital Hamiltonian from a quarter of two Fermi-surface maps, beside peak fits of the same data.

Claim: from one quadrant (1/4 of the wave vectors) of two maps of a cubic e_g model (k_z near 0 and π/a), E − E_F > −0.1 eV only, Poisson
counts, (a) over 300 draws of truth, start and noise the pooled efficiency is at most 1.15 and the pooled 68 % coverage in 64 to
72 %; (b) at least 98 % of the starts reach the optimum; (c) the error is below that of EDC and MDC peak fits with least squares of the
bands on the peaks, given the same starts, priors, resolutions and temperature; (d) one retrieval from 12 starts takes at most 60 s on two cores.

Truths and starts are two draws out of the same priors (which the fit has too); gains have no prior. The data are made by the model that is
fitted (inverse crime): rows of `robustness` are made with something that the fit does not have. "Optimum reached": −log
posterior within 0.01 of a fit started at the truth, or below. k_z is sharp in the fit. Peak fits: experiments/peak_fits.py.
"""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

jax.config.update("jax_enable_x64", True)

import bandjax as bj  # noqa: E402
from bandjax import plot  # noqa: E402
from bandjax.inference import PocketArea, fermi_surface_of, part_of_map, retrieval_metrics  # noqa: E402
from bandjax.inference.least_squares import minimise  # noqa: E402
from bandjax.inference.parameters import all_values, draw_from_prior, free_values, make_transform, start_vector  # noqa: E402
from bandjax.inference.problem import Observed, instrument_values, make_objective, model_values, observed, prepare  # noqa: E402
from bandjax.inference.retrieve import MARGIN  # noqa: E402
from bandjax.inference.uncertainty import residual_tests  # noqa: E402
from bandjax.photoemission.pixels import central_kz, laboratory_model  # noqa: E402
from bandjax.spectrum.fermi_surface import filled_areas, plane_energies, plane_vectors  # noqa: E402
from bandjax.units import FWHM_PER_SIGMA  # noqa: E402
from experiments.common import run_and_save, score  # noqa: E402
from experiments.peak_fits import METHODS, Known, fit_model, fit_peaks, require_lmfit  # noqa: E402

A = 3.9  # Å
SHARED = ("t_sigma", "t_delta", "t_sigma'", "t_pi'", "fermi_energy")  # what peaks can know


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that the experiment depends on."""

    pixels: int = 64  # along each axis of the whole zone
    energy: tuple[float, float, float] = (-0.1, 0.06, 0.01)  # first, last, step
    fraction: float = 0.25
    pattern: str = "window"
    peak: float = 40.0  # counts of the brightest pixel, about
    background: float = 0.05  # of the peak
    broadening: tuple[tuple[float, float], ...] = ((0.0, 0.4), (0.0, 0.12))  # eV, 1/Å
    draws: int = 300
    peak_fit_draws: int = 20
    robust_draws: int = 10
    starts: int = 12
    grid: int = 96
    seed: int = 0


PRESETS = {
    "default": Config(),
    "smoke": Config(pixels=32, energy=(-0.1, 0.06, 0.02), draws=3, peak_fit_draws=1, robust_draws=1, starts=2, grid=32),
}
PRIORS = {"t_sigma": (0.3, 0.03), "t_delta": (0.0, 0.02), "t_sigma'": (0.03, 0.01), "t_pi'": (0.0, 0.01)}  # eV
INSTRUMENT = bj.Instrument(
    photon_energy=150.7, inner_potential=12.0, fermi_energy=-0.45, eta=0.02, fwhm_energy=0.03, fwhm_momentum=0.04, temperature=30.0,
    photon_momentum=False,
)  # fmt: skip
PHOTONS = {"kz0": 150.7, "kzpi": 113.6}  # eV: k_z near 0 and π/a
KNOWN = Known(0.03, 0.04, 30.0, 0.02)


class Setup:
    """The problem, and compiled functions of it for many draws."""

    def __init__(self, config: Config, *, brightness: int = 0) -> None:
        self.config = config
        table = bj.load_parameters("cubic", "two_orbital").replace(**{n: v for n, (v, _) in PRIORS.items()})
        table_of = bj.table_model(bj.cubic_lattice(A), table, spin_orbit=False)
        k = (np.arange(config.pixels) - (config.pixels - 1) / 2) / (config.pixels / 2) * np.pi / A
        first, last, step = config.energy
        energy = first + step * np.arange(round((last - first) / step) + 1)
        self.axes = {"ky": k, "kx": k, "energy": energy}
        self.instruments = {n: INSTRUMENT.replace(photon_energy=hv) for n, hv in PHOTONS.items()}
        start = table_of({})
        few = bj.arpes_image(start, self.instruments["kz0"].replace(gain=1.0), self.axes, kz_points=1)
        gain = config.peak / float(few.max())
        self.instruments = {
            n: i.replace(gain=gain, background=config.background * config.peak) for n, i in self.instruments.items()
        }
        base = self.instruments["kz0"]
        parameters = {n: bj.Parameter(v, sigma=s) for n, (v, s) in PRIORS.items()}
        widths = {"fermi_energy": 0.05, "eta": 0.005, "background": 0.1 * float(base.background)}
        parameters |= bj.instrument_parameters(base, widths)
        for name in PHOTONS:
            parameters[f"{name}.gain"] = bj.instrument_parameters(base, ("gain",))["gain"]
        if brightness:
            parameters |= bj.brightness_parameters(brightness, maps=tuple(PHOTONS))
        self.problem = bj.Problem(
            table_of,
            parameters,
            self.instruments,
            kz_points=1,
            inflate=False,
            broadening=config.broadening,
            seed=config.seed,
        )
        shape = tuple(len(v) for v in self.axes.values())
        empty = xr.DataArray(np.ones(shape), dims=tuple(self.axes), coords=self.axes)
        self.whole, self.transform = prepare(dict.fromkeys(PHOTONS, empty), self.problem)
        self.parts, _ = prepare({n: self.cut(empty) for n in PHOTONS}, self.problem)
        self.names = self.transform.names
        blank = [observed(p) for p in self.whole]
        full = make_objective(self.problem, self.whole, self.transform)
        self.means = jax.jit(lambda u: [m for m, _ in full.predict(u, blank, jnp.asarray(0.0))])
        objective = make_objective(self.problem, self.parts, self.transform)
        self.linearise, self.cost = jax.jit(objective.linearise), jax.jit(objective.cost)
        unseen = [observed(p) for p in self.parts]
        self.part_means = jax.jit(lambda u: [m for m, _ in objective.predict(u, unseen, jnp.asarray(0.0))])

        def descend(u: jax.Array, obs: list[Observed], width: jax.Array, tolerance: jax.Array):
            return minimise(
                lambda v: objective.linearise(v, obs, width), u, max_steps=40, tolerance=tolerance,
                cost=lambda v: objective.cost(v, obs, width),
            )  # fmt: skip

        self.descend = jax.jit(descend)
        self.to_x = jax.jit(lambda u: free_values(self.transform, u))
        self.slopes = jax.jit(lambda u: jnp.diagonal(jax.jacfwd(lambda w: free_values(self.transform, w))(u)))

    def cut(self, data: xr.DataArray) -> xr.DataArray:
        """The part that is fitted."""
        margin = MARGIN * float(INSTRUMENT.fwhm_momentum) / FWHM_PER_SIGMA
        c = self.config
        return part_of_map(data, c.fraction, pattern=c.pattern, margin=margin, seed=c.seed)

    def maps(self, means: list[np.ndarray], rng: np.random.Generator) -> dict[str, xr.DataArray]:
        """Counts of whole maps."""
        return {
            n: xr.DataArray(
                rng.poisson(np.asarray(m)).astype(float),
                dims=tuple(self.axes),
                coords=self.axes,
                attrs={"simulated": 1},
            )
            for n, m in zip(PHOTONS, means, strict=True)
        }

    def draw(self, index: int) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
        """Truth and start out of the priors (gains: the truth as it is, the start up to 10 % off), and the noise's generator."""
        rng = np.random.default_rng([self.config.seed, index])
        free = [n for n in self.names if not n.endswith("gain")]
        prior = make_transform({n: self.problem.parameters[n] for n in free})
        points = []
        for spread in (0.0, 0.1):
            x = dict(zip(free, draw_from_prior(prior, rng), strict=True))
            gain = float(self.instruments["kz0"].gain)
            points.append(np.array([x.get(n, gain * (1 + spread * rng.uniform(-1, 1))) for n in self.names]))
        return points[0], points[1], rng

    def u_of(self, x: np.ndarray) -> jax.Array:
        """Unconstrained numbers."""
        return jnp.asarray(start_vector(self.transform, dict(zip(self.names, x, strict=True))))

    def fit(self, maps: dict[str, xr.DataArray], start: np.ndarray, *, coarse: bool = True) -> Any:
        """The descent of `bj.fit` in one compiled program."""
        parts = [p._replace(data=np.nan_to_num(self.cut(maps[p.name]).values)) for p in self.parts]
        u = self.u_of(start)
        for width in self.config.broadening if coarse else ():
            obs = [observed(p, broadening=width) for p in parts]
            u = self.descend(u, obs, jnp.asarray(width), jnp.asarray(0.1)).u
        return self.descend(u, [observed(p) for p in parts], jnp.zeros(2), jnp.asarray(1e-5))

    def fisher(self, x: np.ndarray, means: list) -> np.ndarray:
        """Fisher matrix with the priors' precision at x, in the parameters' units."""
        parts = [
            p._replace(
                data=np.nan_to_num(
                    self.cut(xr.DataArray(np.asarray(m), dims=tuple(self.axes), coords=self.axes)).values
                )
            )
            for p, m in zip(self.parts, means, strict=True)
        ]
        u = self.u_of(x)
        slope = np.asarray(self.slopes(u))
        return np.asarray(self.linearise(u, [observed(p) for p in parts], jnp.asarray(0.0))[2]) / np.outer(slope, slope)

    def areas(self, x: np.ndarray, **more: float) -> np.ndarray:
        """Filled part of the zone, of each band in each plane, (map × band,); `more`: values that are no parameters."""
        values = {n: float(v) for n, v in all_values(self.transform, jnp.asarray(x)).items()} | more
        return np.asarray(self._areas({n: jnp.asarray(v) for n, v in values.items()})).ravel()

    def _areas(self, values: dict[str, jax.Array]) -> jax.Array:
        if not hasattr(self, "_compiled"):
            grid = self.config.grid
            heights = {n: plane_of(i) for n, i in self.instruments.items()}
            vectors = plane_vectors(self.problem.model_of({}))  # type: ignore[operator]

            def of(values: dict[str, jax.Array]) -> jax.Array:
                model = self.problem.model_of(model_values(values))  # type: ignore[operator]
                parts = (
                    filled_areas(plane_energies(model, z, grid, vectors), values["fermi_energy"])
                    for z in heights.values()
                )
                return jnp.stack([f.mean(axis=(1, 2, 3)) for f in parts])

            self._compiled = jax.jit(of)
        return self._compiled(values)

    def bands_of(self, name: str) -> Callable:
        """For the peak fits: E − E_F and slopes in θ = `SHARED` at (k, 2), each k at its own k_z at E_F."""
        instrument = self.instruments[name]

        @jax.jit
        def at(theta: jax.Array, k: jax.Array) -> tuple[jax.Array, jax.Array]:
            k_z = central_kz(instrument, k, jnp.zeros(()), jnp.asarray(float(instrument.photon_energy)))
            points = jnp.concatenate([k, k_z[:, None]], axis=1)

            def energies(t: jax.Array) -> jax.Array:
                model = self.problem.model_of(dict(zip(SHARED[:-1], t[:-1], strict=True)))  # type: ignore[operator]
                return bj.bands(laboratory_model(model, instrument), points) - t[-1]

            return energies(theta), jax.jacfwd(energies)(theta)

        def padded(theta: np.ndarray, k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            size = 256 * -(-max(len(k), 1) // 256)  # few sizes, few compilations
            full = np.concatenate([k, np.zeros((size - len(k), 2))])
            e, d = at(jnp.asarray(theta), jnp.asarray(full))
            return np.asarray(e)[: len(k)], np.asarray(d)[: len(k)]

        return padded


def plane_of(instrument: bj.Instrument) -> float:
    """k_z of normal emission at E_F."""
    hv = jnp.asarray(float(instrument.photon_energy))
    return float(central_kz(instrument, jnp.zeros((1, 2)), jnp.zeros(()), hv)[0])


def draws(setup: Setup) -> tuple[dict, list[dict]]:
    """All draws, fitted from a start and from the truth."""
    c, rows = setup.config, []
    began = time.perf_counter()
    for i in range(c.draws):
        truth, start, rng = setup.draw(i)
        means = setup.means(setup.u_of(truth))
        maps = setup.maps(means, rng)
        found, reference = setup.fit(maps, start), setup.fit(maps, truth, coarse=False)
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


def peak_fits(setup: Setup, rows: list[dict]) -> dict:
    """The baseline on the first draws."""
    require_lmfit()
    c = setup.config
    at = [setup.names.index(n) for n in SHARED]
    bands = {n: setup.bands_of(n) for n in PHOTONS}
    prior = setup.transform.prior[at], setup.transform.sigma[at]
    results: dict[str, dict[str, list]] = {
        m: {"error": [], "covariance": [], "area": [], "used": [], "scaled": []} for m in METHODS
    }
    began = time.perf_counter()
    for i, row in enumerate(rows[: c.peak_fit_draws]):
        truth, start, rng = setup.draw(i)
        maps = setup.maps(setup.means(setup.u_of(truth)), rng)
        peaks = {n: fit_peaks(setup.cut(m), KNOWN) for n, m in maps.items()}
        for method in METHODS:
            theta, covariance, used = fit_model(peaks, bands, start[at], prior, method)
            whole = truth.copy()
            whole[at] = theta
            error = theta - truth[at]
            marginal = np.linalg.inv(row["bound"])[np.ix_(at, at)]
            r = results[method]
            r["error"].append(error)
            r["covariance"].append(covariance)
            r["area"].append(setup.areas(whole) - row["true_areas"])
            r["used"].append(used)
            r["scaled"].append(error @ np.linalg.solve(marginal, error) / len(at))
        print(f"peak fits {i + 1} of {c.peak_fit_draws} ({time.perf_counter() - began:.0f} s)", end="\r", flush=True)
    print()
    own = {
        "error": np.stack([(r["found"] - r["truth"])[at] for r in rows[: c.peak_fit_draws]]),
        "area": np.stack([r["areas"] - r["true_areas"] for r in rows[: c.peak_fit_draws]]),
        "scaled": [
            float((r["found"] - r["truth"])[at] @ np.linalg.solve(np.linalg.inv(r["bound"])[np.ix_(at, at)], (r["found"] - r["truth"])[at]) / len(at))
            for r in rows[: c.peak_fit_draws]
        ],
    }  # fmt: skip
    rms = lambda x: np.sqrt(np.mean(np.square(x), axis=0))  # noqa: E731
    by_draw = lambda x: np.sqrt(np.mean(np.square(x), axis=1))  # noqa: E731
    filled = rms(own["area"]) > 1e-9  # a band that does not cross E_F in a plane has no area to be wrong
    metrics: dict[str, Any] = {
        "ours": {"rms": dict(zip(SHARED, rms(own["error"]).tolist(), strict=True)), "area_rms": rms(own["area"]).tolist(),
        "scaled_error": float(np.sqrt(np.mean(own["scaled"]))), "scaled_by_draw": np.sqrt(own["scaled"]).tolist(),
        "area_by_draw": by_draw(own["area"]).tolist()},
        "draws": len(own["scaled"]),
    }  # fmt: skip
    for method, r in results.items():
        errors, areas = np.stack(r["error"]), np.stack(r["area"])
        sigma = np.sqrt(np.diagonal(np.stack(r["covariance"]), axis1=1, axis2=2))
        metrics[method] = {
            "rms": dict(zip(SHARED, rms(errors).tolist(), strict=True)), "mean": dict(zip(SHARED, errors.mean(axis=0).tolist(), strict=True)),
            "area_rms": rms(areas).tolist(), "scaled_error": float(np.sqrt(np.mean(r["scaled"]))),
            "coverage": float((np.abs(errors) <= sigma).mean()), "peaks": float(np.mean(r["used"])),
            "ratio_by_parameter": dict(zip(SHARED, (rms(errors) / rms(own["error"])).tolist(), strict=True)),
            "ratio_scaled": float(np.sqrt(np.mean(r["scaled"]) / np.mean(own["scaled"]))),
            "ratio_area": (rms(areas)[filled] / rms(own["area"])[filled]).tolist(),
            "ratio_area_pooled": float(np.sqrt((areas[:, filled] ** 2).mean() / (own["area"][:, filled] ** 2).mean())),
            # one failed fit rules a root mean square: the draw in the middle, and every draw
            "ratio_scaled_median": float(np.sqrt(np.median(r["scaled"]) / np.median(own["scaled"]))),
            "ratio_area_median": float(np.median(by_draw(areas)) / np.median(by_draw(own["area"]))),
            "scaled_by_draw": np.sqrt(r["scaled"]).tolist(), "area_by_draw": by_draw(areas).tolist(),
        }  # fmt: skip
    metrics["seconds_per_draw"] = (time.perf_counter() - began) / len(own["scaled"])
    return metrics


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


THIRD = 0.01  # eV
ESCAPE = 15.0  # Å
QUADRATIC = 1.0  # 1/eV: the half width grows by a half at −0.1 eV
ELEMENT = 0.4  # the brightness goes from 0.6 to 1.4
ALTERED = ("none", "third neighbours", "k_z broadening", "Fermi-liquid width", "matrix element")


def robustness(setup: Setup, kinds: tuple[str, ...] = ALTERED) -> dict:
    """Bias where the data have something that the fit lacks, and whether its residual says so."""
    c, out = setup.config, {}
    at = [setup.names.index(n) for n in SHARED]
    bands = {n: setup.bands_of(n) for n in PHOTONS}
    prior = setup.transform.prior[at], setup.transform.sigma[at]
    centre = np.asarray(setup.transform.centre)
    for kind in kinds:
        rows = []
        true_areas = setup.areas(centre, **({"t_sigma''": THIRD} if kind == "third neighbours" else {}))
        for i in range(c.robust_draws):
            _, start, rng = setup.draw(10_000 + i)
            start = np.where([".brightness" in n for n in setup.names], 0.0, start)
            means = altered(setup, kind, centre)
            maps = setup.maps(means, rng)
            found = setup.fit(maps, start)
            x = np.asarray(setup.to_x(found.u))
            slope = np.asarray(setup.slopes(found.u))
            sigma = np.sqrt(np.diagonal(np.linalg.inv(np.asarray(found.fisher) / np.outer(slope, slope))))
            mean = [np.asarray(m) for m in setup.part_means(found.u)]
            tests = []
            for part, m in zip(setup.parts, mean, strict=True):
                data = np.nan_to_num(setup.cut(maps[part.name]).values)
                residual = np.where(part.fitted, (data - m) / np.sqrt(m), 0.0)
                t = residual_tests(residual, part.fitted, part.held, len(x), np.zeros_like(residual))
                count = int(part.fitted.sum())
                tests.append((t.reduced_chi2, max(abs(np.array(t.correlation))) * np.sqrt(count)))
            rows.append({
                "pull": (x - centre)[at] / sigma[at], "sigma": sigma[at], "off": (x - centre)[at], "area": setup.areas(x) - true_areas,
                "chi2": np.mean([t[0] for t in tests]), "correlation": max(t[1] for t in tests),
            })  # fmt: skip
            if i == 0:
                peaks = {n: fit_peaks(setup.cut(m), KNOWN) for n, m in maps.items()}
                theta, _, _ = fit_model(peaks, bands, start[at], prior, "both")
                whole = centre.copy()
                whole[at] = theta
                rows[-1]["peak_area"] = setup.areas(whole) - true_areas
                rows[-1]["peak_off"] = theta - centre[at]
        rms = lambda n, rows=rows: np.sqrt(np.mean([r[n] ** 2 for r in rows], axis=0))  # noqa: E731
        out[kind] = {
            "mean_pull": dict(zip(SHARED, np.mean([r["pull"] for r in rows], axis=0).tolist(), strict=True)),
            "error": dict(zip(SHARED, np.mean([r["sigma"] for r in rows], axis=0).tolist(), strict=True)),
            "bias": dict(zip(SHARED, np.mean([r["off"] for r in rows], axis=0).tolist(), strict=True)),
            "area_rms": rms("area").tolist(), "reduced_chi2": float(np.mean([r["chi2"] for r in rows])),
            "neighbour_correlation_sigma": float(np.mean([r["correlation"] for r in rows])),
            "flagged": float(np.mean([r["correlation"] > FLAGGED for r in rows])),
            "peak_fit_area_error_of_first": rows[0]["peak_area"].tolist(),
            "peak_fit_off_of_first": dict(zip(SHARED, rows[0]["peak_off"].tolist(), strict=True)),
        }  # fmt: skip
        print(kind, {n: out[kind][n] for n in ("mean_pull", "area_rms", "neighbour_correlation_sigma", "flagged")})
    return out


FLAGGED = 4.5  # standard deviations of a correlation of white residuals; six are looked at


def one_retrieval(setup: Setup, out: Path) -> dict:
    """The face, `bj.retrieve_hamiltonian`, from whole maps at the priors' centre, timed; peak fits of the same data; the figure."""
    _, start, rng = setup.draw(20_000)
    truth = np.asarray(setup.transform.centre)
    maps = setup.maps(setup.means(setup.u_of(truth)), rng)
    c = setup.config
    found = bj.retrieve_hamiltonian(
        maps, setup.problem, starts=c.starts, fraction=c.fraction, pattern=c.pattern, energy=(c.energy[0] - 1e-6, c.energy[1] + 1e-6),
        bands=2, grid=c.grid,
    )  # fmt: skip
    values = dict(zip(setup.names, truth.tolist(), strict=True))
    at = [setup.names.index(n) for n in SHARED]
    began = time.perf_counter()
    peaks = {n: fit_peaks(setup.cut(m), KNOWN) for n, m in maps.items()}
    prior = setup.transform.prior[at], setup.transform.sigma[at]
    theta, _, _ = fit_model(peaks, {n: setup.bands_of(n) for n in PHOTONS}, start[at], prior, "both")
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
    setup = Setup(config)
    metrics: dict[str, Any] = {}
    metrics["draws"], rows = draws(setup)
    print({n: metrics["draws"][n] for n in ("reached", "efficiency", "coverage", "area_rms")})
    keep(metrics)
    metrics["peak_fits"] = peak_fits(setup, rows)
    for method in METHODS:
        print(
            method,
            {
                n: metrics["peak_fits"][method][n]
                for n in ("ratio_scaled", "ratio_scaled_median", "ratio_area_pooled", "ratio_area_median", "coverage")
            },
        )
    keep(metrics)
    metrics["retrieval"] = one_retrieval(setup, out)
    print("one retrieval", {n: metrics["retrieval"][n] for n in ("reached", "starts", "seconds")})
    keep(metrics)
    metrics["robustness"] = robustness(setup)
    metrics["robustness with free brightness"] = robustness(Setup(config, brightness=3), ("none", "matrix element"))
    return metrics


if __name__ == "__main__":
    run_and_save(__doc__, PRESETS, run)
