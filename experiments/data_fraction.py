"""How much of a Fermi surface is needed: the error of a two-orbital Hamiltonian against the part of the data.

Claim: with windows of 1, 1/2, 1/4, 1/8 and 1/16 of the wave vectors of two maps (E − E_F > −0.1 eV; the setting of retrieve_two_orbital) every
fit from a draw of the priors reaches the optimum, and the pooled efficiency stays within 0.65 to 1.35 (16 draws of 9 numbers: ± 0.12), so that the
curve is that of the information in the data: a window costs more than the square root of its size once whole pockets are missing. Whether
it held is `claim` in the result. Spectra drawn at random are shown beside it without a claim: single starts do not always reach the optimum there.
Peak fits of the first windows run beside ours of the same draws.

Errors are root mean squares over the draws that reached the optimum, in units of the prior's width, and of filled areas of the zone;
`bound` is what the Fisher matrix at the truth, prior included, allows. Data are made by the model that is fitted (inverse crime).
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from matplotlib.figure import Figure

jax.config.update("jax_enable_x64", True)

from experiments import retrieve_two_orbital as two  # noqa: E402
from experiments.common import run_and_save  # noqa: E402


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that the experiment depends on beside the setting of retrieve_two_orbital."""

    fractions: tuple[float, ...] = (1.0, 0.5, 0.25, 0.125, 0.0625)
    draws: int = 16
    random_draws: int = 8
    peak_fit_draws: int = 2
    base: two.Config = dataclasses.field(default_factory=two.Config)


PRESETS = {
    "default": Config(),
    "smoke": Config(
        fractions=(1.0, 0.25), draws=2, random_draws=1, peak_fit_draws=1, base=two.PRESETS["smoke"]
    ),
}  # fmt: skip


def curve_point(config: Config, fraction: float, pattern: str) -> dict:
    """Errors at one fraction."""
    count = config.draws if pattern == "window" else config.random_draws
    peaks = config.peak_fit_draws if pattern == "window" else 0
    own = dataclasses.replace(config.base, fraction=fraction, pattern=pattern, draws=count, peak_fit_draws=peaks)
    setup = two.Setup(own)
    found, rows = two.draws(setup)
    at = [setup.names.index(n) for n in two.SHARED]
    width = setup.transform.sigma[at]
    error = np.stack([r["found"] - r["truth"] for r in rows])[:, at] / width
    bound = np.stack([np.diagonal(np.linalg.inv(r["bound"]))[at] for r in rows]) / width**2
    reached = np.array([r["cost"] <= r["reference"] + 0.01 for r in rows])
    area = np.stack([r["areas"] - r["true_areas"] for r in rows])[reached]
    crossed = np.abs(area).max(axis=0) > 1e-9
    out = {
        "fraction": fraction, "pattern": pattern, "draws": count, "reached": found["reached"], "efficiency": found["efficiency"],
        "coverage": found["coverage"], "rms": found["rms"], "fitted_pixels": found["fitted_pixels"],
        "error_in_priors": float(np.sqrt((error[reached] ** 2).mean())), "bound_in_priors": float(np.sqrt(bound[reached].mean())),
        "area_rms": float(np.sqrt((area[:, crossed] ** 2).mean())), "seconds_per_draw": found["seconds"] / count,
    }  # fmt: skip
    if peaks:  # "ours": fits of the same draws, reached or not
        baseline = two.peak_fits(setup, rows)
        out["peak_fits"] = {
            m: {
                "error_in_priors": float(np.sqrt(np.mean((np.array(list(baseline[m]["rms"].values())) / width) ** 2))),
                "area_rms": float(np.sqrt(np.mean(np.square(baseline[m]["area_rms"])[crossed]))),
                "draws": baseline["draws"],
            }
            for m in (*two.METHODS, "ours")
        }
    return out


def holds(points: list[dict]) -> bool:
    """The claim of the module's head."""
    windows = [p for p in points if p["pattern"] == "window"]
    return all(p["reached"] == 1 and 0.65 <= p["efficiency"] <= 1.35 for p in windows)


def plot_curve(points: list[dict]) -> Figure:
    """Errors against the fraction."""
    figure = Figure(figsize=(7.2, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for pattern, colour in (("window", "tab:blue"), ("random", "tab:orange")):
        own = [p for p in points if p["pattern"] == pattern or p["fraction"] == 1]
        x = [p["fraction"] for p in own]
        left.loglog(x, [p["error_in_priors"] for p in own], "o-", color=colour, label=f"{pattern}, fits")
        left.loglog(x, [p["bound_in_priors"] for p in own], "--", color=colour, linewidth=1, label=f"{pattern}, bound")
        right.loglog(x, [p["area_rms"] for p in own], "o-", color=colour, label=f"{pattern}, fits")
    windows = [p for p in points if "peak_fits" in p]
    for axis, key in ((left, "error_in_priors"), (right, "area_rms")):
        for method, colour in (("both", "black"), ("mdc", "tab:grey"), ("ours", "tab:cyan")):
            values = [p["peak_fits"][method][key] for p in windows]
            name = {"both": "peaks (MDC and EDC)", "mdc": "peaks (MDC)", "ours": "fits of the draws of the peaks"}[
                method
            ]
            axis.loglog([p["fraction"] for p in windows], values, "s:", color=colour, label=f"window, {name}")
        axis.set_xlabel("part of the wave vectors")
        axis.set_xticks(
            [p["fraction"] for p in windows], [f"1/{round(1 / p['fraction'])}".removesuffix("/1") for p in windows]
        )
        axis.minorticks_off()
    left.set_ylabel("rms error (prior widths)")
    right.set_ylabel("rms error of filled areas (zones)")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=7, frameon=False)
    return figure


def run(config: Config, out: Path, keep: Callable[[dict], None] = lambda metrics: None) -> dict:
    """All fractions and both patterns, with the figure; what is done is handed to `keep` after each."""
    out.mkdir(parents=True, exist_ok=True)
    points: list[dict] = []
    for pattern in ("window", "random"):
        for fraction in config.fractions:
            if fraction == 1 and pattern == "random":
                continue
            points.append(curve_point(config, fraction, pattern))
            print({n: v for n, v in points[-1].items() if n not in ("rms",)}, flush=True)
            keep({"points": points})
    print(f"claim: {holds(points)}")
    plot_curve(points).savefig(out / "data_fraction.png", dpi=170)
    return {"points": points, "claim": holds(points)}


if __name__ == "__main__":
    run_and_save(__doc__, PRESETS, run)
