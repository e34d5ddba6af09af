"""The measured InAs map inverted from no chosen material: the reverse network of the family "zincblende", then the physics.

Claim: told photon energy, geometry and resolution only, the network names InAs (or says how sure it is of what), and the
exact sp3s* fit that starts from its posterior, with priors that choose no material (no published table as its centre, no
lattice constant, no gap), ends within its errors where the direct fit of `fit_inas.py` ends, which knows table, lattice
constant and gap of InAs: band energies at Γ and X, lattice constant, Δ_SO. Another material named, or band energies
apart by more than three errors, would refute it.

As measured (docs/learning.md): every band energy agrees within 1.2 combined errors, but the lattice constant does not
(0.041 Å, 3.7 errors): refuted there. k_z fixes it only together with the inner potential.

A model of twelve numbers misses the map by more than its noise, in a few places by much. Optima are therefore compared
with the noise widened where the model misses, by one widening for all of them (the mean of their own): without it
pixels that no sp3s* table describes outweigh every prior.

Stages, each kept in its own file, so that a run that was killed goes on:
1. network.json: posterior of the map, materials with probabilities;
2. direct.json: the direct fit, with the known gap and without;
3. coarse.json: descents of the fit without a material from the network's candidates, noise as it is, inner potential and
   escape depth held;
   free_0.json …: from each of their ends, with grids laid anew and the noise widened; ranks.json compares them;
4. control.json: the same problem started at the direct fit's optimum, which a user would not have. Never chosen: it tells
   whether starts or the model decide;
5. direct_from_network.json: the direct fit's own problem, started from the network's posterior.

The band points derived from the image are compared with at the end and used nowhere.
"""

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

jax.config.update("jax_enable_x64", True)

import bandjax as bj  # noqa: E402
from bandjax.inference import FreeWeights, Likelihood, Parameter, bands_along_cut, instrument_parameters  # noqa: E402
from bandjax.inference.fit import FitResult  # noqa: E402
from bandjax.inference.problem import make_objective, observed, prepare  # noqa: E402
from bandjax.io import check_map, read, write_atomically  # noqa: E402
from bandjax.learning.corners import MARKS, nearest_materials  # noqa: E402
from bandjax.learning.crystal_loop import (  # noqa: E402
    CrystalGuess,
    as_momentum_cut,
    crystal_problem,
    guess_crystal,
    mark_numbers,
)
from bandjax.learning.crystals import CrystalFamily  # noqa: E402
from bandjax.learning.table_space import (  # noqa: E402
    SPLITTINGS,
    coordinates_of,
    numbers_of,
    space_model,
    valence_top,
    values_of,
)
from bandjax.learning.weights import Reverse, load_reverse  # noqa: E402
from experiments import fit_inas  # noqa: E402
from experiments.common import arguments, shared_folder, write_json  # noqa: E402

KEPT = ("cost", "reduced_chi2", "held_out", "rms_meV", "converged", "values", "errors", "pulls", "report")
HELD = (
    "inner_potential",
    "escape_depth",
)  # until the crystal is found: else it runs along their valley to their bounds
NUISANCES = ("polar", "tilt", "eta_linear", "eta_momentum")  # with the priors of the direct fit


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that the experiment depends on."""

    direct: fit_inas.Config = fit_inas.PRESETS["default"]
    starts: int = 2
    coarse_steps: int = 15
    max_steps: int = 40
    seed: int = 0


PRESETS = {
    "default": Config(),
    "smoke": Config(direct=fit_inas.PRESETS["smoke"], starts=2, coarse_steps=2, max_steps=2),
}


def run(config: Config, reverse: Reverse, out: Path) -> dict:
    """All stages that `out` does not hold yet, then the comparison."""
    out.mkdir(parents=True, exist_ok=True)

    def stage(name: str, make: Callable[[], dict], network: str = reverse.record["fingerprint"]) -> dict:
        mark = json.loads(json.dumps({"config": dataclasses.asdict(config), "network": network}))
        path = out / f"{name}.json"
        if path.exists():
            found = json.loads(path.read_text(encoding="utf-8"))
            if found["mark"] != mark:
                raise ValueError(
                    f"File {path} must hold a stage of this configuration, but holds one of {found['mark']}."
                )
            return found["content"]
        content = make()
        write_atomically(path, json.dumps({"mark": mark, "content": content}, indent=1, default=float).encode())
        return content

    data = fit_inas.load(config.direct)
    guess = guess_crystal(measured(config), reverse, seed=config.seed)
    network = stage("network", lambda: told_by_network(guess))
    print(
        "network:",
        [(n, round(p, 3), round(d, 1)) for n, p, d in network["nearest"][:4]],
        f"outside {network['outside']:.2f}",
    )
    direct = stage(
        "direct", lambda: {k: numbers_of_fit(direct_fit(config, data, k)) for k in ("with_gap", "without_gap")}, "none"
    )
    coarse = stage("coarse", lambda: coarse_fit(config, data, guess, reverse.family))
    free = [
        stage(f"free_{i}", lambda start=end: fine_fit(config, data, reverse.family, start))
        for i, end in enumerate(coarse["start_ends"])
    ]
    control = stage("control", lambda: fine_fit(config, data, reverse.family, free_point(direct["with_gap"]["values"])))
    ranks = stage("ranks", lambda: {"costs": compared([*free, control], config, data, reverse.family)})
    best = free[int(np.argmin(ranks["costs"][:-1]))]
    figure_of(config, guess, direct["with_gap"], best).savefig(out / "bands.png", dpi=200)
    for cost, found in zip(ranks["costs"], [*free, control], strict=True):
        print(f"end {cost:.2f}:", {n: round(found["values"][n], 3) for n in ("a", "inner_potential", "escape_depth")})
    again = stage("direct_from_network", lambda: numbers_of_fit(direct_fit(config, data, "with_gap", guess)))
    return compare(network, direct, again, best, control) | {
        "ranks": ranks["costs"],
        "coarse_costs": coarse["start_costs"],
    }


def measured(config: Config) -> xr.DataArray:
    """The map in the window of the fit as the network takes it, before any binning of our own."""
    path = shared_folder() / "data/arpes/inas_sxarpes_586eV/inas_raw_angle.nc"
    raw = check_map(read(path), path=path, negative="mask").sel(energy=slice(*config.direct.energy))
    return as_momentum_cut(raw, fit_inas.instrument(0.0), fwhm_energy=0.09)


def told_by_network(guess: CrystalGuess) -> dict:
    """The network's answer as plain values."""
    mean, covariance = guess.marks
    return {
        "values": guess.values, "errors": guess.errors, "outside": guess.outside, "nearest": [list(n) for n in guess.nearest],
        "marks": dict(zip(MARKS, mean.tolist(), strict=True)),
        "marks_errors": dict(zip(MARKS, np.sqrt(np.diagonal(covariance)).tolist(), strict=True)),
        "candidates": list(guess.candidates),
    }  # fmt: skip


def direct_fit(config: Config, data: xr.DataArray, kind: str, guess: CrystalGuess | None = None) -> FitResult:
    """The problem of `fit_inas.py`, from its own start or from the network's candidates."""
    problem = fit_inas.problem(config.direct, "sp3s", "klimeck2000", table_free=True)
    known = problem.known if kind == "with_gap" else ()
    problem = dataclasses.replace(problem, known=known, derived=mark_numbers)
    if guess is None:
        return bj.fit(data, problem, max_steps=config.max_steps, bootstrap_draws=0)
    points = [direct_point(p, problem) for p in guess.candidates]
    return bj.fit(data, problem, starts=points, descents=config.starts, max_steps=config.max_steps, bootstrap_draws=0)


def direct_point(point: dict[str, float], problem: bj.Problem) -> dict[str, float]:
    """A crystal of the network in the parameters of the direct fit, whose lattice constant it takes; numbers of the
    instrument that the network does not tell start where the direct fit does."""
    values = {n: float(v) for n, v in values_of(point | {"a": fit_inas.LATTICE_CONSTANT}).items()}
    start = {n: p.value for n, p in problem.parameters.items()}
    level = start["fermi_energy"]  # the direct fit's energies have the table's zero
    shifted = {n: v + level if n.startswith("E_") else v for n, v in values.items()}
    return start | shifted | {n: point[n] for n in ("inner_potential", "escape_depth", "eta", "eta_momentum")}


def free_point(direct: dict[str, float]) -> dict[str, float]:
    """The direct fit's crystal in the parameters of the fit without a material."""
    values = {n: v - direct["fermi_energy"] if n.startswith("E_") else v for n, v in direct.items()}
    point = coordinates_of(values, fit_inas.LATTICE_CONSTANT) | {n: values[n] for n in (*SPLITTINGS, *NUISANCES)}
    point |= {n: values[n] for n in ("eta", "escape_depth", "inner_potential")}
    return point | {"a": fit_inas.LATTICE_CONSTANT, "top": valence_top(values)}


def free_problem(config: Config, family: CrystalFamily, start: dict[str, float], **options) -> bj.Problem:
    """The problem without a material, its grids laid for `start`."""
    c, base = config.direct, fit_inas.instrument(0.0)
    nuisances = instrument_parameters(base, {n: fit_inas.NUISANCES[n] for n in NUISANCES})
    nuisances["eta_momentum"] = Parameter(0.08, -1.0, 1.0, sigma=0.1, unit="eV Å")
    lateral, along = c.weights
    likelihood = Likelihood("scaled", relative=c.relative_noise, band_error=c.band_error)
    return crystal_problem(
        family, base, nuisances, likelihood, FreeWeights(lateral=lateral, energy=along), start, held_out=c.held_out, seed=c.seed,
        method="grid", kz_points=c.kz_points, window=3.0, derived=mark_numbers, **options,
    )  # fmt: skip


def coarse_fit(config: Config, data: xr.DataArray, guess: CrystalGuess, family: CrystalFamily) -> dict:
    """Where descents from the network's candidates end, noise as it is, with `HELD` at the middle of their priors."""
    held = {n: p.value for n, p in family.parameters if n in HELD}
    problem = free_problem(
        config, family, guess.candidates[0] | held, broadening=config.direct.broadening, inflate=False
    )
    parameters = {n: p._replace(fixed=n in HELD) for n, p in problem.parameters.items()}
    problem = dataclasses.replace(problem, parameters=parameters)
    at = {n: p.value for n, p in parameters.items()}
    starts = [at | p | held for p in guess.candidates]
    result = bj.fit(
        data,
        problem,
        starts=starts,
        descents=config.starts,
        max_steps=config.coarse_steps,
        bootstrap_draws=0,
        progress=show,
    )
    return {"start_costs": list(result.start_costs), "start_ends": list(result.start_ends)}


def fine_fit(config: Config, data: xr.DataArray, family: CrystalFamily, start: dict[str, float]) -> dict:
    """The fit from a point near an optimum, grids laid there, noise widened where the model misses."""
    problem = free_problem(config, family, start, broadening=())
    at = {n: p.value for n, p in problem.parameters.items()}
    result = bj.fit(data, problem, starts=[at | start], max_steps=config.max_steps, bootstrap_draws=0, progress=show)
    return numbers_of_fit(result) | {
        "start": start,
        "u": result.u.tolist(),
        "widening": result.maps["map"].widening.values.tolist(),
    }


def compared(fits: list[dict], config: Config, data: xr.DataArray, family: CrystalFamily) -> list[float]:
    """−log posterior of every optimum, the noise widened by the mean of their widenings."""
    widening = np.mean([f["widening"] for f in fits], axis=0)
    costs = []
    for found in fits:
        problem = free_problem(config, family, found["start"], broadening=())
        parts, transform = prepare(data, problem)
        cost = jax.jit(make_objective(problem, parts, transform).cost)
        costs.append(float(cost(np.array(found["u"]), [observed(parts[0], widening=widening)], 0.0)))
    return costs


def show(entry: dict) -> None:
    """Progress of a descent."""
    print(f"stage {entry['stage']} step {entry['step']:3d} {entry['cost']:.2f} ({entry['seconds']:.1f} s)", flush=True)


def numbers_of_fit(result: FitResult) -> dict:
    """What is kept of a fit."""
    tests = result.maps["map"].tests
    kx = np.linspace(-1.5, 1.2, 271)
    energy, _ = bands_along_cut(result.model(), result.instrument(), kx)
    return {
        "values": result.values, "errors": result.errors, "pulls": result.pulls, "derived": result.derived, "cost": result.cost,
        "start_costs": list(result.start_costs), "start_ends": list(result.start_ends), "inflation": result.inflation,
        "converged": result.converged, "reduced_chi2": tests.reduced_chi2, "held_out": tests.held_out,
        "rms_meV": fit_inas.deviations(result), "report": result.report, "steps": len(result.history),
        "bands": {"kx": kx.tolist(), "energy": energy[:, :8].tolist()},
    }  # fmt: skip


def compare(network: dict, direct: dict, again: dict, free: dict, control: dict) -> dict:
    """Band energies of the fits in errors of the direct one, table numbers beside each other, and the materials."""
    reference = direct["with_gap"]
    names = [n for n in reference["derived"] if not n.startswith("m_e")]

    def pulls(found: dict, other: dict) -> dict:
        out = {}
        for n in names:
            (value, error, _), (theirs, own, _) = found["derived"][n], other["derived"][n]
            out[n] = {"free": value, "error": error, "direct": theirs, "direct_error": own}
            out[n]["in_direct_errors"] = (value - theirs) / own if own > 0 else None
            out[n]["in_both"] = (value - theirs) / np.hypot(error, own) if error + own > 0 else None
        return out

    mean = np.array([free["derived"][n][0] for n in MARKS])
    error = np.array([free["derived"][n][1] for n in MARKS])
    return {
        "network": {k: network[k] for k in ("nearest", "outside", "marks", "marks_errors", "values", "errors")},
        "free": {k: free[k] for k in KEPT}, "control": {k: control[k] for k in KEPT},
        "direct": {k: {n: d[n] for n in ("cost", "reduced_chi2", "held_out", "rms_meV", "converged", "values", "errors")} for k, d in direct.items()},
        "direct_from_network": {n: again[n] for n in ("cost", "start_costs", "converged", "values")},
        "pulls": pulls(free, reference), "pulls_without_gap": pulls(free, direct["without_gap"]),
        "pulls_from_network": pulls(again, reference), "pulls_of_control": pulls(control, reference),
        "table": tables(reference["values"], free["values"]),
        "nearest_refined": [list(n) for n in nearest_materials(mean, np.diag(error**2))],
    }  # fmt: skip


def tables(direct: dict, free: dict) -> dict:
    """Numbers of both fits on one scale: coordinates of the space, and the twelve numbers behind them."""
    a = fit_inas.LATTICE_CONSTANT
    mine = {n: float(v) for n, v in values_of(free).items()}
    return {
        "direct": {n: direct[n] for n in SPLITTINGS} | {"coordinates": coordinates_of(direct, a), "numbers": numbers_of(direct, a).tolist()},
        "free": {n: free[n] for n in SPLITTINGS} | {"coordinates": coordinates_of(mine, free["a"]), "numbers": numbers_of(mine, free["a"]).tolist()},
    }  # fmt: skip


def figure_of(config: Config, guess: CrystalGuess, direct: dict, free: dict) -> Figure:
    """The map with the bands of the network alone (draws) and of both fits, and both tables' bands from L to Γ to X."""
    image = measured(config)
    figure = Figure(figsize=(9.6, 3.6), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True, width_ratios=(1.0, 1.0, 0.8))
    bright = image.values / np.nanmean(image.values, axis=0, keepdims=True)
    for axis in panels[:2]:
        axis.pcolormesh(image.kx, image.energy, bright.T, cmap="Greys", vmin=0.6, vmax=1.9, rasterized=True)
        axis.set_xlabel("k$_x$ along [110] (1/Å)")
        axis.set_xlim(float(image.kx.min()), float(image.kx.max()))
    kx = np.linspace(-1.5, 1.2, 136)
    base = fit_inas.instrument(0.0)
    for i in range(8):
        point = {n: d[i] for n, d in guess.draws.items()}
        instrument = base.replace(inner_potential=max(point["inner_potential"], 0.0))
        energy, _ = bands_along_cut(space_model(point), instrument, kx)
        panels[0].plot(kx, energy[:, 2:8], color="tab:blue", lw=0.4, alpha=0.5)
    panels[0].set_title("network alone (8 draws)", fontsize=9)
    atoms = bj.zincblende("InAs", a=fit_inas.LATTICE_CONSTANT)
    table = bj.load_parameters("InAs", "klimeck2000").replace(
        **{n: v for n, v in direct["values"].items() if n.startswith(("E_", "V_", "Delta"))}
    )
    models = (bj.tight_binding(atoms, table), space_model(free["values"]))
    zeros = (direct["values"]["fermi_energy"], 0.0)
    styles = (("tab:orange", "-", "direct fit (told InAs)"), ("tab:blue", "--", "told no material"))
    for found, model, zero, (colour, style, label) in zip((direct, free), models, zeros, styles, strict=True):
        lines = panels[1].plot(
            found["bands"]["kx"], np.array(found["bands"]["energy"])[:, 2:], style, color=colour, lw=0.9
        )
        lines[0].set_label(label)
        constant = float(np.cbrt(4 * abs(np.linalg.det(np.asarray(model.cell)))))
        t = np.linspace(0, 1, 41)[:, None]
        path = np.concatenate([(1 - t) * [[0.5, 0.5, 0.5]], t * [[1.0, 0.0, 0.0]]]) * 2 * np.pi / constant
        panels[2].plot(
            np.r_[-t[::-1, 0] * 3**0.5 / 2, t[:, 0]],
            np.asarray(bj.bands(model, path))[:, :8] - zero,
            style,
            color=colour,
            lw=0.9,
        )
    panels[1].set_title("refined, bands at the cut's k$_z$", fontsize=9)
    panels[1].legend(fontsize=7, loc="lower right")
    panels[2].set_title("bands of the tables", fontsize=9)
    panels[2].set_xticks([-(3**0.5) / 2, 0.0, 1.0], ["L", "Γ", "X"])
    panels[2].set_xlim(-(3**0.5) / 2, 1.0)
    panels[2].axvline(0.0, color="0.7", lw=0.5)
    panels[0].set_ylabel("E − E$_F$ (eV)")
    panels[0].set_ylim(*config.direct.energy)
    return figure


if __name__ == "__main__":
    args = arguments(__doc__, PRESETS, weights="file of a network, or the name of a shipped one (default: zincblende)")
    started = time.perf_counter()
    chosen, network = PRESETS[args.preset], load_reverse(args.weights or "zincblende")
    metrics = run(chosen, network, args.out)
    print(json.dumps({k: metrics[k] for k in ("pulls", "nearest_refined")}, indent=1, default=float))
    write_json(args.out / "result.json", chosen, metrics | {"record": network.record}, started)
