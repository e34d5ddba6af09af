"""A network trained on a SiGe layer in silicon reads an AlGaAs layer in gallium arsenide: what it still gives.

Claim: the network of the family "buried_sige" carries over to "buried_algaas" as a source of starts: read in the priors of the
new family it is worse than a network that was trained there, and says that the images are unlike its training, but
refined with the GaAs/AlAs model from at most three of its starts it reaches the optimum in at least 95 % of the images.

The latent of an image is counted from the centre of a prior in units of its width, and that is how it is carried over: the
network's fraction, depths and interface width as they are, its lattice constant and offset relative to the new
family's. Images are simulated by the model that refines (inverse crime). Kept one by one, as in `refinement_gain`.
"""

import dataclasses
import json
import time
from pathlib import Path

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)

from bandjax.learning.families import buried_algaas  # noqa: E402
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
    seed: int = 31


PRESETS = {
    "default": Config(),
    "some": Config(draws=20),
    "smoke": Config(draws=1, kx_points=10, energy_points=32, max_steps=15),
}


def run(config: Config, networks: dict[str, Reverse], folder: Path) -> dict:
    """All images that `folder` does not hold yet, then the summary."""
    bench = Bench(buried_algaas(), config.kx_points, config.energy_points, config.mean_counts, config.max_steps)
    tasks = ((f"{draw:04d}", (draw,)) for draw in range(config.draws))
    rows = kept_rows(folder, tasks, config, lambda draw: _image(bench, config, networks, draw))
    return {name: _summary(bench, [r | r["by_network"][name] for r in rows]) for name in networks}


def _image(bench: Bench, config: Config, networks: dict[str, Reverse], draw: int) -> dict:
    """One stack: each network alone, and refined."""
    rng = np.random.default_rng([config.seed, draw])
    truth = bench.draw(rng)
    mean = np.asarray(bench.mean_at(bench.exact(truth)))
    counts = rng.poisson(mean).astype(float)
    reference, bound = bench.descend(counts, bench.vector(truth)).state, bench.bound(truth, mean)
    by_network = {}
    for name, reverse in networks.items():
        guess, _ = bench.look(counts, reverse, draw)
        ends, found, _ = bench.refine(counts, guess, config.starts)
        by_network[name] = {
            "network": guess.values, "network_errors": guess.errors, "outside": guess.outside, "refined": bench.values(found),
            "reached": bool(found.cost <= reference.cost + REACHED), "jacobians": sum(end.jacobians for end in ends),
        } | bench.scored(truth, bound, found)  # fmt: skip
    return {"truth": truth, "by_network": by_network}


def _summary(bench: Bench, rows: list[dict]) -> dict:
    """Errors of every number of the sample, alone and refined, beside the prior's spread; and the rates."""
    widths = {n: p.sigma for n, p in bench.family.parameters}
    descriptors = {}
    for at, name in enumerate(bench.transform.names):
        if name not in bench.family.sample_names:
            continue
        off = {way: np.array([r[way][name] - r["truth"][name] for r in rows]) for way in ("network", "refined")}
        descriptors[name] = {
            "prior": widths[name], "network_rmse": float(np.sqrt((off["network"] ** 2).mean())), "network_bias": float(off["network"].mean()),
            "network_coverage_68": share([abs(o) <= r["network_errors"][name] for o, r in zip(off["network"], rows, strict=True)]),
            "refined_rmse": float(np.sqrt((off["refined"] ** 2).mean())), "refined_coverage_68": share([r["covered"][at] for r in rows]),
        }  # fmt: skip
    kept = [r for r in rows if r["reached"]]
    return {
        "images": len(rows), "reached": share([r["reached"] for r in rows]), "efficiency": share([r["efficiency"] for r in kept]),
        "median_jacobians": float(np.median([r["jacobians"] for r in rows])), "outside": share([r["outside"] > 1 for r in rows]),
        "descriptors": descriptors,
    }  # fmt: skip


if __name__ == "__main__":
    args = arguments(
        __doc__, PRESETS, weights="file of the network of buried_sige (default: the shipped one)",
        trained="file of a network of buried_algaas; left out where not given",
    )  # fmt: skip
    started = time.perf_counter()
    chosen, source = PRESETS[args.preset], load_reverse(args.weights or "buried_sige")
    tried = {"zero_shot": dataclasses.replace(source, family=buried_algaas())}
    if args.trained:
        tried["trained"] = load_reverse(args.trained)
    metrics = run(chosen, tried, args.out / "images")
    print(json.dumps(metrics, indent=1))
    write_json(args.out / "result.json", chosen, metrics | {"network": source.record}, started)
