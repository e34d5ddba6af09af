"""The closed loop on one grid: optima reached from each of the network's starts.

Claim: at 30 counts a pixel at least 99.5 % of the stacks reach the optimum with at most three starts of the network, with
pooled efficiency ≤ 1.15, and at most 3 % are rejected. One start drawn from the prior is descended beside. The images are
simulated by the model that is fitted (inverse crime). What the loop says of other images: out_of_distribution.py.

Scoring as in docs/design.md. Images are kept one by one, so that a run can be killed and goes on where it was.
"""

import dataclasses
import json
import time
from pathlib import Path

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)

from bandjax.learning.residuals import MISFIT  # noqa: E402
from bandjax.learning.weights import Reverse, load_reverse  # noqa: E402
from experiments.common import arguments, kept_rows, write_json  # noqa: E402
from experiments.descents import REACHED, Bench, share  # noqa: E402


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that the experiment depends on."""

    draws: int = 300
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
    tasks = ((f"{draw:04d}", (draw,)) for draw in range(config.draws))
    return _summary(kept_rows(folder, tasks, config, lambda draw: _image(bench, config, reverse, draw)))


def _image(bench: Bench, config: Config, reverse: Reverse, draw: int) -> dict:
    """One stack: where each start of the network, and one drawn from the prior, get."""
    rng = np.random.default_rng([config.seed, draw])
    truth, start = (bench.draw(rng) for _ in range(2))
    mean = np.asarray(bench.mean_at(bench.exact(truth)))
    counts = rng.poisson(mean).astype(float)
    guess, network = bench.look(counts, reverse, draw)
    began = time.perf_counter()
    ends = [bench.descend(counts, u) for u in bench.starts(counts, guess, config.starts)]
    seconds = network + time.perf_counter() - began
    found = min((end.state for end in ends), key=lambda s: float(s.cost))
    reference, alone = (bench.descend(counts, bench.vector(p)).state for p in (truth, start))
    best = min(float(reference.cost), float(found.cost))
    return {
        "network_seconds": network, "seconds": seconds,
        "steps": [end.trials for end in ends], "misfit": max(bench.misfits(counts, found)),
        "reached_by_start": [bool(end.state.cost <= best + REACHED) for end in ends],
        "reached": bool(found.cost <= reference.cost + REACHED), "random_reached": bool(alone.cost <= best + REACHED),
    } | bench.scored(truth, bench.bound(truth, mean), found)  # fmt: skip


def _summary(rows: list[dict]) -> dict:
    kept = [r for r in rows if r["reached"]]
    return {
        "images": len(rows), "reached": share([r["reached"] for r in rows]),
        "reached_by_first_start": share([r["reached_by_start"][0] for r in rows]),
        "random_start_reached": share([r["random_reached"] for r in rows]),
        "median_steps_of_best_start": float(np.median([r["steps"][0] for r in rows])),
        "efficiency": share([r["efficiency"] for r in kept]), "coverage_68": share([c for r in kept for c in r["covered"]]),
        "false_alarms": share([r["misfit"] > MISFIT for r in rows]),
        "median_seconds": {n: float(np.median([r[key] for r in rows])) for n, key in (("network", "network_seconds"), ("three_starts", "seconds"))},
    }  # fmt: skip


if __name__ == "__main__":
    args = arguments(__doc__, PRESETS, weights="file of a network, or the name of a shipped one (default: buried_sige)")
    started = time.perf_counter()
    chosen, network = PRESETS[args.preset], load_reverse(args.weights or "buried_sige")
    metrics = run(chosen, network, args.out / "images")
    print(json.dumps(metrics, indent=1))
    write_json(args.out / "result.json", chosen, metrics | {"network": network.record}, started)
