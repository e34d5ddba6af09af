"""Hopping constants of bilayer graphene from a measured cut through K (He I, hν = 21.2 eV).

Claim: with the interlayer bias fixed at 0 the raw angle map gives γ0 = 3.11 ± 0.1 eV and γ1 = 0.45 ± 0.05 eV (a ridge
fit of the same data, documented beside them, found 3.11 and 0.45); with the bias U free the data leave U and γ1 to each
other, and the report says so in words. Other values, or a silent degeneracy, would refute it.

The minimal model: γ0, γ1 (and U); γ3 = γ4 = Δ = 0. The sample was turned so that K lies at the slit's centre, and the
cut's direction is not documented: angles are counted from K, and both directions of high symmetry are tried.
Data: see $BANDJAX_SHARED/data/arpes/bilayer_graphene_K_21eV/README.md.
"""

import dataclasses
import time
from pathlib import Path

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)

import bandjax as bj  # noqa: E402
from bandjax.inference.fit import FitResult  # noqa: E402
from bandjax.io import check_map, read  # noqa: E402
from bandjax.plot import plot_fit  # noqa: E402
from bandjax.results import provenance_of, result_dataset, write_result  # noqa: E402
from experiments.common import arguments, shared_folder, write_json  # noqa: E402

SLITS = {"across Γ-K": (0.0, 1.0, 0.0), "along Γ-K": (1.0, 0.0, 0.0)}  # K lies along x of `bj.graphene`


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that the experiment depends on."""

    energy: tuple[float, float] = (-1.45, -0.05)
    angle: tuple[float, float] = (-6.2, 6.2)  # beyond lies the detector's edge
    bins: tuple[int, int] = (1, 1)
    relative_noise: float = 0.02
    broadening: tuple[float, ...] = (0.3,)
    weights: tuple[int, int] = (8, 6)
    max_steps: int = 40
    seed: int = 0


PRESETS = {"default": Config(), "smoke": Config(bins=(4, 3), max_steps=6, weights=(5, 4))}


def problem(config: Config, slit: str, *, bias: bool) -> bj.Problem:
    """Minimal bilayer model with smooth free weights."""
    atoms = bj.graphene(2)
    table = bj.load_parameters("bilayer graphene", "pz").replace(gamma3=0.0, gamma4=0.0, Delta=0.0)
    corner = 4 * np.pi / (3 * 2.46)  # |ΓK| in 1/Å
    along = SLITS[slit]
    base = bj.Instrument(
        photon_energy=21.2182, work_function=4.32, fermi_energy=-0.15, temperature=300.0, polar=-0.45, eta=0.08, eta_linear=0.05,
        fwhm_energy=0.05, fwhm_momentum=0.012, slit=along, photon_momentum=False, matrix_elements="free",
        origin=(corner, 0.0) if slit == "along Γ-K" else (0.0, -corner),
    )  # fmt: skip
    free = {"gamma0": 0.5, "gamma1": 0.3, **({"U": 0.5} if bias else {})}
    parameters = {
        n: bj.Parameter(float(table[n]) if n != "U" else 0.1, prior=float(table[n]), sigma=free.get(n, 1.0), fixed=n not in free)
        for n in table.energies if n != "U" or bias
    }  # fmt: skip
    parameters |= bj.instrument_parameters(
        base, {"fermi_energy": 0.3, "polar": 0.3, "eta": 0.05, "eta_linear": 0.05, "fwhm_momentum": 0.006}
    )
    return bj.Problem(
        bj.table_model(atoms, table, spin_orbit=False), parameters, base, bj.Likelihood("scaled", relative=config.relative_noise),
        weights=bj.FreeWeights(lateral=config.weights[0], energy=config.weights[1], background_step=0.25),
        broadening=config.broadening, held_out=0.08, seed=config.seed, method="grid", kz_points=1,
    )  # fmt: skip


def summary(result: FitResult) -> dict:
    """What is kept of one fit."""
    return {
        "values": result.values, "errors": result.errors, "bootstrap": result.bootstrap, "report": result.report, "cost": result.cost,
        "held_out": result.maps["map"].tests.held_out, "reduced_chi2": result.maps["map"].tests.reduced_chi2,
        "converged": result.converged, "inflation": result.inflation,
    }  # fmt: skip


def run(config: Config, out: Path) -> dict:
    """Both directions without bias; the better one with the bias free."""
    path = shared_folder() / "data/arpes/bilayer_graphene_K_21eV/blg_raw_angle.nc"
    data = check_map(read(path), path=path).sel(energy=slice(*config.energy), angle=slice(*config.angle))
    data = data.coarsen(energy=config.bins[0], angle=config.bins[1], boundary="trim").mean(keep_attrs=True)
    out.mkdir(parents=True, exist_ok=True)
    metrics: dict = {"pixels": int(data.size)}
    results = {}
    for slit in SLITS:
        results[slit] = bj.fit(data, problem(config, slit, bias=False), max_steps=config.max_steps)
        metrics[slit] = summary(results[slit])
        print(
            slit,
            {n: (round(results[slit].values[n], 3), round(results[slit].bootstrap[n], 3)) for n in results[slit].names},
            metrics[slit]["held_out"],
        )
    best = min(results, key=lambda s: metrics[s]["held_out"])
    metrics["direction"] = best
    free = bj.fit(data, problem(config, best, bias=True), max_steps=config.max_steps)
    metrics["bias free"] = summary(free)
    print("bias free", {n: (round(free.values[n], 3), round(free.errors[n], 3)) for n in free.names})
    print("\n".join(free.report))
    for name, result in (("bias_0", results[best]), ("bias_free", free)):
        dataset = result_dataset(result, provenance=provenance_of(config.seed, dataclasses.asdict(config)))
        write_result(out / f"result_{name}.nc", dataset)
        plot_fit(dataset).savefig(out / f"fit_{name}.png", dpi=150)
    return metrics


if __name__ == "__main__":
    args = arguments(__doc__, PRESETS)
    started = time.perf_counter()
    chosen = PRESETS[args.preset]
    write_json(args.out / "result.json", chosen, run(chosen, args.out), started)
