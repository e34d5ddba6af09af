"""Images that no stack of the family makes, told from those that one does, by the residual of the exact refinement.

Claim: the residual test separates each of seven kinds of foreign images from images of the family with AUC ≥ 0.97, at ≤ 3 % false
alarms inside; `outside`, the network's own score, is reported beside. Kinds: another material (a GaAs film), another lattice
(one s orbital on a cubic lattice), another orbital set (the same stacks by sp3d5s*, boykin2004), rows in random order,
a detector stripe (three energies half as bright again), a mesh in front of the detector (every third row 25 % darker), and the
measured map of bilayer graphene on stretched axes (one map: what differs is the noise). How often a misfit is said to be of the
detector's form is counted too. All but graphene are simulated; 30 counts a pixel like the family. Rejected is a misfit beyond the limit; `invert`
says "unfinished" instead while a descent still gains so much that it might explain the image.

Images are kept one by one, so that a run can be killed and goes on where it was.
"""

import dataclasses
import json
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

jax.config.update("jax_enable_x64", True)

import bandjax as bj  # noqa: E402
from bandjax.inference import stack_model  # noqa: E402
from bandjax.inference.problem import model_values  # noqa: E402
from bandjax.io import read  # noqa: E402
from bandjax.learning.images import exposed  # noqa: E402
from bandjax.learning.residuals import MISFIT, residual_test  # noqa: E402
from bandjax.learning.weights import Reverse, load_reverse  # noqa: E402
from experiments.common import arguments, kept_rows, shared_folder, write_json  # noqa: E402
from experiments.descents import TOLD, Bench  # noqa: E402

FOREIGN = ("gaas", "cubic", "sp3d5s", "graphene")  # images of other crystals
SPOILED = ("shuffled", "stripe", "mesh")  # images of the family, spoiled
KINDS = ("family", *FOREIGN, *SPOILED)


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that the experiment depends on."""

    draws: int = 300  # images of the family; a tenth as many of every other kind
    kinds: tuple[str, ...] = KINDS
    kx_points: int = 24
    energy_points: int = 48
    mean_counts: float = 30.0
    starts: int = 3
    max_steps: int = 40
    seed: int = 51


PRESETS = {
    "default": Config(),
    "some": Config(draws=100),
    "smoke": Config(draws=1, kinds=("family", "gaas", "shuffled"), kx_points=16, energy_points=32, max_steps=15),
}


def run(config: Config, reverse: Reverse, folder: Path) -> dict:
    """All images that `folder` does not hold yet, then the summary."""
    bench = Bench(reverse.family, config.kx_points, config.energy_points, config.mean_counts, config.max_steps)
    foreign = Foreign(bench)
    if "graphene" in config.kinds:
        shared_folder()  # refused before anything is computed
    tasks = [(k, i) for k in config.kinds for i in range(config.draws if k == "family" else -(-config.draws // 10))]
    named = ((f"{kind}_{draw:04d}", (kind, draw)) for kind, draw in tasks)
    return summary(kept_rows(folder, named, config, lambda *task: _image(bench, foreign, config, reverse, *task)))


def _image(bench: Bench, foreign: "Foreign", config: Config, reverse: Reverse, kind: str, draw: int) -> dict:
    """One image: the network's score, the misfit of its refinement, and what is said of it."""
    rng = np.random.default_rng([config.seed, KINDS.index(kind), draw])
    truth = bench.draw(rng)
    mean = foreign(kind, truth) if kind in FOREIGN else np.asarray(bench.mean_at(bench.exact(truth)))
    counts = rng.poisson(spoiled(kind, mean, rng)).astype(float)
    guess, _ = bench.look(counts, reverse, draw)
    _, found, _ = bench.refine(counts, guess, config.starts)
    best = xr.DataArray(np.asarray(bench.mean_at(found.u)), dims=("kx", "energy"))
    seen = SimpleNamespace(maps={"map": SimpleNamespace(data=best.copy(data=counts), model=best)}, names=bench.transform.names)  # fmt: skip
    misfit, words = residual_test(seen)  # type: ignore[arg-type]
    return {"kind": kind, "outside": guess.outside, "misfit": misfit, "words": words}


class Foreign:
    """Mean counts of images that are none of the family's, with the family's instrument and exposure."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.axes = {n: bench.empty[n].values for n in bench.empty.dims}
        self.sp3d5s = stack_model(bj.load_parameters(("Si", "Ge"), "boykin2004"), 24, spin_orbit=False)

    def __call__(self, kind: str, point: dict[str, float]) -> np.ndarray:
        """Mean counts, (kx, energy)."""
        dark = exposed(jnp.ones((1, 1)), *self.axes.values(), point | {"gain": 0.0})
        bright = np.asarray(exposed(self._signal(kind, point), *self.axes.values(), point | {"gain": 1.0}) - dark)
        return np.asarray(dark) + bright * (self.bench.mean_counts - dark.mean()) / bright.mean()

    def _signal(self, kind: str, point: dict[str, float]) -> np.ndarray:
        if kind == "graphene":
            path = shared_folder() / "data/arpes/bilayer_graphene_K_21eV/blg_kmap.nc"
            data = read(path).transpose("kx", "energy").fillna(0.0)
            stretched = {n: np.linspace(*data[n].values[[0, -1]], len(v)) for n, v in self.axes.items()}
            return np.maximum(data.interp(stretched).values, 0.0)
        own = {n: point[n] for n in ("fermi_energy", "eta", "inner_potential")}
        method = "coherent"
        if kind == "gaas":
            atoms = bj.slab("GaAs", 24, vacuum=15.0)
            model = bj.tight_binding(atoms, bj.load_parameters("GaAs", "vogl1983"), spin_orbit=False)
        elif kind == "sp3d5s":
            model = self.sp3d5s(model_values({n: point[n] for n in point if n != "SiGe.offset"}))
            own["fermi_energy"] += _top("boykin2004") - _top("vogl1983")
        else:
            table = bj.load_parameters("cubic", "single_orbital")
            model = bj.tight_binding(bj.cubic_lattice(), table, spin_orbit=False)
            own["fermi_energy"], method = float(bj.bands(model, np.zeros((1, 3)))[0, -1]) - 0.5, "direct"
        instrument = self.bench.family.instrument.replace(**own, **TOLD, gain=1.0)
        return np.asarray(bj.arpes_image(model, instrument, self.axes, method=method))


def _top(table: str) -> float:
    """Valence-band top of bulk silicon on the table's scale, eV."""
    model = bj.tight_binding(bj.zincblende("Si"), bj.load_parameters("Si", table), spin_orbit=False)
    return float(bj.bands(model, np.zeros((1, 3)))[0, 3])


def spoiled(kind: str, mean: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rows of k in random order, a stripe, or a mesh; else the image as it is."""
    mean = mean.copy()
    if kind == "shuffled":
        return rng.permutation(mean, axis=0)
    if kind == "stripe":
        first = rng.integers(0, mean.shape[1] - 3)
        mean[:, first : first + 3] *= 1.5
    if kind == "mesh":
        mean[rng.integers(3) :: 3] *= 0.75
    return mean


def summary(rows: list[dict]) -> dict:
    """False alarms, and of every foreign kind how much is rejected, by what, and how well told apart."""
    kinds = list(dict.fromkeys(r["kind"] for r in rows))
    of = lambda kind, name: np.array([r[name] for r in rows if r["kind"] == kind])  # noqa: E731
    out: dict = {"images": {k: int(of(k, "misfit").size) for k in kinds}}
    out["false_alarms"] = float((of("family", "misfit") > MISFIT).mean())
    for kind in kinds[1:]:
        told = [any("detector would explain" in w for w in r["words"]) for r in rows if r["kind"] == kind]
        out[kind] = {
            "rejected": float((of(kind, "misfit") > MISFIT).mean()), "detector": float(np.mean(told)),
            "auc_misfit": auc(of("family", "misfit"), of(kind, "misfit")), "auc_outside": auc(of("family", "outside"), of(kind, "outside")),
            "least_misfit": float(of(kind, "misfit").min()),
        }  # fmt: skip
    return out


def auc(inside: np.ndarray, outside: np.ndarray) -> float:
    """Probability that an image from outside scores above one from inside."""
    return float((outside[:, None] > inside[None]).mean() + 0.5 * (outside[:, None] == inside[None]).mean())


if __name__ == "__main__":
    args = arguments(__doc__, PRESETS, weights="file of a network, or the name of a shipped one (default: buried_sige)")
    started = time.perf_counter()
    chosen, network = PRESETS[args.preset], load_reverse(args.weights or "buried_sige")
    metrics = run(chosen, network, args.out / "images")
    print(json.dumps(metrics, indent=1))
    write_json(args.out / "result.json", chosen, metrics | {"network": network.record}, started)
