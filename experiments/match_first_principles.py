"""A Hamiltonian from a density of states alone: the fingerprint's distance as a loss, on first-principles levels.

Claim: the HSE06 density of states of silicon and of germanium (29 wave vectors of an 8 × 8 × 8 mesh, no labels of bands or k,
energies on the absolute scale of the calculation) from 14 eV below the valence-band top to 4 eV above it moves a published sp3d5s* table so that its
valence levels at Γ, X and L, which the fit saw among all others without knowing which they are, come within 0.2 eV (root mean square) of the
calculation's, and the rigid shift between both scales within 0.1 eV, with `noise` = `judged`. More would refute it.

Conduction levels are stated too: where several bands overlap a density of states does not say which is which, and they may become worse.
Data: HSE06 levels by GPAW, not made by the model that is fitted.
"""

import dataclasses
import json
import time
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np

jax.config.update("jax_enable_x64", True)

import bandjax as bj  # noqa: E402
from bandjax.fingerprints import density  # noqa: E402
from experiments.common import run_and_save, shared_folder  # noqa: E402

LATTICE = {"Si": 5.431, "Ge": 5.658}  # Å, of the calculation
POINTS = {"Gamma": (0, 0, 0), "X": (1, 0, 0), "L": (0.5, 0.5, 0.5)}  # 2π/a
VALENCE = 4


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that the experiment depends on."""

    materials: tuple[str, ...] = ("Si", "Ge")
    table: str = "niquet2009"
    window: tuple[float, float, float] = (-14.0, 4.0, 0.05)  # eV beside the valence-band top: first, last, step
    smearing: float = 0.3  # eV
    grid: int = 8
    relative: float = 0.1  # prior of every value of the table
    noise: tuple[float, ...] = (0.05, 0.02, 0.01)
    judged: float = 0.02
    sigma_mmd: tuple[float, ...] = (1.0, 0.3)


PRESETS = {
    "default": Config(),
    "smoke": Config(materials=("Si",), table="vogl1983", grid=4, noise=(0.05,), window=(-14.0, 1.0, 0.1), sigma_mmd=(1.0,)),
}  # fmt: skip


def deviations(model, levels: dict, a: float) -> dict[str, float]:
    """Root mean square difference of levels at Γ, X and L from HSE06's, both beside their valence-band top, in eV."""
    found = np.array(bj.bands(model, bj.from_cubic(list(POINTS.values()), a)))
    found -= found[0, VALENCE - 1]
    off = np.array(
        [row[: VALENCE + 2] - np.array(levels[n]["HSE06"][: VALENCE + 2]) for n, row in zip(POINTS, found, strict=True)]
    )
    return {
        "valence": float(np.sqrt((off[:, :VALENCE] ** 2).mean())),
        "conduction": float(np.sqrt((off[:, VALENCE:] ** 2).mean())),
    }


def run(config: Config, out: Path, save) -> dict:
    """Every material and weight of the data against the priors."""
    folder, metrics = shared_folder() / "data" / "dft", {}
    out.mkdir(parents=True, exist_ok=True)
    figure, axes = plt.subplots(
        1, len(config.materials), figsize=(3.6 * len(config.materials), 2.8), layout="constrained", squeeze=False
    )
    for material, axis in zip(config.materials, axes[0], strict=True):
        a = LATTICE[material]
        known = json.loads((folder / f"hse06_{material}.json").read_text(encoding="utf-8"))["high_symmetry"]
        levels = bj.file_levels(folder / f"hse06_{material}.npz", energies="E_hse", electrons=2 * VALENCE)
        top = float(np.asarray(levels.energy)[:, VALENCE - 1].max())
        energy = top + np.arange(*config.window)
        target = np.asarray(density(levels, energy, smearing=config.smearing, cut=np.inf))
        table = bj.load_parameters(material, config.table)
        held = tuple(n for n in table.energies if n in ("lambda", "Delta"))  # the levels are without spin-orbit
        parameters = bj.table_parameters(table, relative=config.relative, fixed=held)
        model_of = bj.table_model(bj.zincblende(material, a), table, spin_orbit=False)
        rows = {"published table": deviations(model_of({}), known, a)}
        for noise in config.noise:
            begin = time.perf_counter()
            found = bj.match_fingerprint(
                target, energy, model_of, parameters, grid=(config.grid,) * 3, smearing=config.smearing,
                sigma_mmd=config.sigma_mmd, noise=noise,
            )  # fmt: skip
            model = model_of(found.values)
            own = float(bj.bands(model, np.zeros((1, 3)))[0, VALENCE - 1])
            rows[f"noise {noise:g}"] = deviations(model, known, a) | {
                "distance": found.distance, "distance_before": found.distance_before, "converged": found.converged,
                "shift_error": found.shift - (own - top), "wall_seconds": time.perf_counter() - begin, "history": found.history,
                "values": found.values,
            }  # fmt: skip
            metrics[material] = rows
            save(metrics)
        start = density(
            bj.model_levels(model_of({}), grid=(config.grid,) * 3),
            energy + found.shift,
            smearing=config.smearing,
            cut=np.inf,
        )
        axis.plot(energy - top, target, "k", lw=1.6, label=f"{material}, HSE06")
        axis.plot(energy - top, start, "C0:", lw=1, label=f"{config.table}")
        axis.plot(energy - top, found.fingerprint, "C3", lw=1, label="matched")
        axis.set(xlabel="E − E$_{VBM}$ (eV)", ylabel="density of states (1/eV)")
        axis.legend(fontsize=7)
    figure.savefig(out / "densities.png", dpi=170)
    return metrics


if __name__ == "__main__":
    run_and_save(__doc__, PRESETS, run)
