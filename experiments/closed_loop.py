"""The closed loop on one grid: optima reached from the network's starts, and verdicts inside and outside the family.

Claim: at 30 counts a pixel at least 99.5 % of the stacks reach the optimum with at most three starts of the network, with
pooled efficiency ≤ 1.15; of images that no stack of the family makes (shuffled rows, a GaAs film, a detector stripe) the
residual test separates AUC ≥ 0.97, at ≤ 3 % false alarms inside the family. One start drawn from the prior is
descended beside. The images of the family are simulated by the model that is fitted (inverse crime).

Scoring as in docs/design.md. Images are kept one by one, so that a run can be killed and goes on where it was.
"""

import dataclasses
import json
import time
from pathlib import Path

import jax
import numpy as np
from rich.progress import track

jax.config.update("jax_enable_x64", True)

import bandjax as bj  # noqa: E402
from bandjax.io import write_atomically  # noqa: E402
from bandjax.learning.closed_loop import MISFIT  # noqa: E402
from bandjax.learning.weights import Reverse, load_reverse  # noqa: E402
from experiments.common import arguments, check_config, write_json  # noqa: E402
from experiments.descents import REACHED, TOLD, Bench  # noqa: E402

KINDS = ("family", "shuffled", "gaas", "stripe")


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that the experiment depends on."""

    draws: int = 300  # stacks of the family; a tenth as many of every other kind
    kx_points: int = 24
    energy_points: int = 48
    mean_counts: float = 30.0
    starts: int = 3
    max_steps: int = 40
    seed: int = 11


PRESETS = {
    "default": Config(),
    "some": Config(draws=20),
    "smoke": Config(draws=1, kx_points=10, energy_points=32, max_steps=15),
}


def run(config: Config, reverse: Reverse, folder: Path) -> dict:
    """All images that `folder` does not hold yet, then the summary."""
    family = reverse.family
    bench = Bench(family, config.kx_points, config.energy_points, config.mean_counts, config.max_steps)
    folder.mkdir(parents=True, exist_ok=True)
    tasks = [("family", i) for i in range(config.draws)]
    tasks += [(kind, i) for kind in KINDS[1:] for i in range(-(-config.draws // 10))]
    for kind, draw in track(tasks, "images"):
        path = folder / f"{kind}_{draw:04d}.json"
        if path.exists():
            check_config(path, config)
            continue
        rng = np.random.default_rng([config.seed, KINDS.index(kind), draw])
        truth, start = (bench.draw(rng) for _ in range(2))
        mean = _gaas(bench, truth) if kind == "gaas" else np.asarray(bench.mean_at(bench.vector(truth)))
        counts = rng.poisson(_spoiled(kind, mean, rng)).astype(float)
        guess, network = bench.look(counts, reverse, draw)
        began = time.perf_counter()
        ends = [bench.descend(counts, u) for u in bench.starts(counts, guess, config.starts if kind == "family" else 1)]
        seconds = network + time.perf_counter() - began
        found = min((end.state for end in ends), key=lambda s: float(s.cost))
        row = {
            "config": dataclasses.asdict(config), "kind": kind, "outside": guess.outside, "network_seconds": network, "seconds": seconds,
            "steps": [end.trials for end in ends], "misfits": bench.misfits(counts, found),
        }  # fmt: skip
        if kind == "family":
            reference, alone = (bench.descend(counts, bench.vector(p)).state for p in (truth, start))
            best = min(float(reference.cost), float(found.cost))
            row |= {
                "reached_by_start": [bool(end.state.cost <= best + REACHED) for end in ends],
                "reached": bool(found.cost <= reference.cost + REACHED), "random_reached": bool(alone.cost <= best + REACHED),
            } | bench.scored(truth, bench.bound(truth, mean), found)  # fmt: skip
        write_atomically(path, json.dumps(row).encode())
    return _summary([check_config(folder / f"{kind}_{draw:04d}.json", config) for kind, draw in tasks])


def _gaas(bench: Bench, point: dict[str, float]) -> np.ndarray:
    """A film of GaAs of as many layers, with the same instrument and nuisances: mean counts."""
    model = bj.tight_binding(bj.slab("GaAs", 24, vacuum=15.0), bj.load_parameters("GaAs", "vogl1983"), spin_orbit=False)
    own = {n: point[n] for n in ("fermi_energy", "eta", "inner_potential")}
    axes = {n: bench.empty[n].values for n in bench.empty.dims}
    bright = np.asarray(bj.arpes_image(model, bench.family.instrument.replace(**own, **TOLD, gain=1.0), axes, method="coherent"))  # fmt: skip
    return (bench.mean_counts - point["background"]) * bright / bright.mean() + point["background"]


def _spoiled(kind: str, mean: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shuffled rows of k, or a stripe of three energies that is half as bright again; else the image as it is."""
    if kind == "shuffled":
        return rng.permutation(mean, axis=0)
    if kind == "stripe":
        first = rng.integers(0, mean.shape[1] - 3)
        mean = mean.copy()
        mean[:, first : first + 3] *= 1.5
    return mean


def _summary(rows: list[dict]) -> dict:
    inside = [r for r in rows if r["kind"] == "family"]
    worst = {k: np.array([max(r["misfits"]) for r in rows if r["kind"] == k]) for k in KINDS}
    outside = {k: np.array([r["outside"] for r in rows if r["kind"] == k]) for k in KINDS}
    kept = [r for r in inside if r["reached"]]
    return {
        "reached": float(np.mean([r["reached"] for r in inside])), "reached_by_first_start": float(np.mean([r["reached_by_start"][0] for r in inside])),
        "random_start_reached": float(np.mean([r["random_reached"] for r in inside])), "median_steps_of_best_start": float(np.median([r["steps"][0] for r in inside])),
        "efficiency": float(np.mean([r["efficiency"] for r in kept])) if kept else float("nan"),
        "coverage_68": float(np.mean([r["covered"] for r in kept])) if kept else float("nan"),
        "false_alarms": float((worst["family"] > MISFIT).mean()),
        "rejected": {k: float((worst[k] > MISFIT).mean()) for k in KINDS[1:]},
        "auc_misfit": {k: _auc(worst["family"], worst[k]) for k in KINDS[1:]},
        "auc_outside": {k: _auc(outside["family"], outside[k]) for k in KINDS[1:]},
        "median_seconds": {"network": float(np.median([r["network_seconds"] for r in rows])), "three_starts": float(np.median([r["seconds"] for r in inside]))},
        "images": {k: int(worst[k].size) for k in KINDS},
    }  # fmt: skip


def _auc(inside: np.ndarray, outside: np.ndarray) -> float:
    """Probability that an image from outside scores above one from inside."""
    return float((outside[:, None] > inside[None]).mean() + 0.5 * (outside[:, None] == inside[None]).mean())


if __name__ == "__main__":
    args = arguments(__doc__, PRESETS, weights="file of a network, or the name of a shipped one (default: buried_sige)")
    started = time.perf_counter()
    chosen, network = PRESETS[args.preset], load_reverse(args.weights or "buried_sige")
    metrics = run(chosen, network, args.out / "images")
    print(json.dumps(metrics, indent=1))
    write_json(args.out / "result.json", chosen, metrics | {"network": network.record}, started)
