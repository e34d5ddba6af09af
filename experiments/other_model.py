"""Images of a buried layer that another model made, read by a network which was trained over many tables, and by its refinement.

Claim: the network of the family "buried_sige_tables" reads the Ge fraction within 0.1 and both interfaces within one monolayer in 90 %
of the images of a model outside its training, and its 90 % intervals hold the truth of every descriptor as often as they say, within
three standard deviations of counting images; refined with table and matrix elements free, the same. Bias and coverage of each descriptor are
stated, for images of the family itself too ("family"), and for how many the verdict is that the model cannot make the image.

The other model is that of `invert_foreign_stack`: the sp3d5s* table refitted to first principles, the velocity form of the dipole operator,
a line width that grows with (E − E_F)², a Shirley-like background. The family's tables come from Niquet's; what they share
with the other model are bulk bands near Γ, to 0.03 eV (`spread_tables`), photon energy, polarisation and escape depth. No standards are
used. The first `refined` images are refined too. Everything is simulated. Errors of a fit that misses the image are widened by the root of its reduced χ².
"""

import dataclasses
import json
import time
from pathlib import Path

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)

from bandjax.inference.parameters import draw_from_prior, make_transform  # noqa: E402
from bandjax.learning.residuals import MISFIT  # noqa: E402
from bandjax.learning.weights import Reverse, load_reverse  # noqa: E402
from experiments.common import arguments, kept_rows, write_json  # noqa: E402
from experiments.descents import Bench, share  # noqa: E402
from experiments.invert_foreign_stack import LATENT, LIMITS, Study  # noqa: E402
from experiments.invert_foreign_stack import Config as Foreign  # noqa: E402

REQUIRED = 0.9
NORMAL_90 = 1.645  # standard deviations of a 90 % interval


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that the experiment depends on."""

    draws: int = 300
    refined: int = 20  # of these are refined too
    kx_points: int = 24
    energy_points: int = 40
    mean_counts: float = 30.0
    starts: int = 1
    max_steps: int = 40
    seed: int = 51


PRESETS = {
    "default": Config(),
    "some": Config(draws=100, refined=8),
    "smoke": Config(draws=2, refined=1, kx_points=18, energy_points=30, max_steps=3),
}
AXES = {"kx": (-0.6, 0.6), "energy": (-2.6, 0.3)}  # 1/Å; E − E_F in eV
TOLD = {"photon_energy": 74.0, "fwhm_energy": 0.1}
DESCRIPTORS = tuple(LATENT)


def run(config: Config, reverse: Reverse, folder: Path) -> dict:
    """All images that `folder` does not hold yet, then the summary of both makers."""
    bench = Bench(
        reverse.family, config.kx_points, config.energy_points, config.mean_counts, config.max_steps, AXES, TOLD
    )
    study = Study(
        Foreign(mean_counts=config.mean_counts, kx_points=config.kx_points, energy_points=config.energy_points)
    )
    tasks = ((f"{draw:04d}", (draw,)) for draw in range(config.draws))
    rows = kept_rows(folder, tasks, config, lambda draw: _both(bench, study, config, reverse, draw))
    makers = {maker: _summary([r[maker] for r in rows]) for maker in ("other", "family")}
    return {"claim": _claim(makers["other"])} | makers


def _both(bench: Bench, study: Study, config: Config, reverse: Reverse, draw: int) -> dict:
    """One stack of the other model and one of the family."""
    rng = np.random.default_rng([config.seed, draw])
    transform = make_transform(study.latent)
    theirs = dict(zip(transform.names, draw_from_prior(transform, rng).tolist(), strict=True))
    counts = study.simulate(theirs, rng).values
    ours = bench.draw(rng)
    own = rng.poisson(np.asarray(bench.mean_at(bench.exact(ours)))).astype(float)
    return {
        "other": _read(bench, config, reverse, draw, theirs, counts),
        "family": _read(bench, config, reverse, draw, {n: ours[n] for n in DESCRIPTORS}, own),
    }


def _read(
    bench: Bench, config: Config, reverse: Reverse, draw: int, truth: dict[str, float], counts: np.ndarray
) -> dict:
    """What the network and the refinement say of one image."""
    guess, _ = bench.look(counts, reverse, draw)
    row = {
        "truth": truth,
        "outside": guess.outside,
        "network": {n: (guess.values[n], guess.errors[n]) for n in DESCRIPTORS},
    }
    if draw >= config.refined:
        return row
    ends, found, seconds = bench.refine(counts, guess, config.starts)
    mean = np.asarray(bench.mean_at(found.u))
    chi2 = float(((counts - mean) ** 2 / mean).sum() / (counts.size - len(bench.transform.names)))
    sigma = np.sqrt(np.diagonal(np.linalg.inv(bench.precision(found)))) * max(chi2, 1.0) ** 0.5
    values = bench.values(found)
    return row | {
        "chi2": chi2, "misfit": max(bench.misfits(counts, found)), "seconds": seconds,
        "jacobians": sum(end.jacobians for end in ends), "finished": ends[-1].trials < config.max_steps,
        "refined": {n: (values[n], float(sigma[bench.transform.names.index(n)])) for n in DESCRIPTORS},
    }  # fmt: skip


def _summary(rows: list[dict]) -> dict:
    """Bias, scatter and coverage of every descriptor, by the network and refined, beside the prior; and the verdicts."""
    refined = [r for r in rows if "refined" in r]
    out: dict = {
        "outside": share([r["outside"] > 1 for r in rows]),
        "network": _errors(rows, "network"),
        "refined": _errors(refined, "refined"),
    }
    return out | {
        "rejected": share([r["misfit"] > MISFIT for r in refined]), "finished": share([r["finished"] for r in refined]),
        "median_chi2": float(np.median([r["chi2"] for r in refined])), "median_seconds": float(np.median([r["seconds"] for r in refined])),
        "median_jacobians": float(np.median([r["jacobians"] for r in refined])),
    }  # fmt: skip


def _errors(rows: list[dict], way: str) -> dict:
    """Of every descriptor, over the images that were read that way."""
    out: dict = {"images": len(rows)}
    for name in DESCRIPTORS:
        off = np.array([r[way][name][0] - r["truth"][name] for r in rows])
        pull = np.abs(off) / [r[way][name][1] for r in rows]
        out[name] = {
            "bias": float(off.mean()), "rmse": float(np.sqrt((off**2).mean())), "median_error": float(np.median(np.abs(off))),
            "prior": LATENT[name][1], "coverage_68": share(pull < 1), "coverage_90": share(pull < NORMAL_90),
        } | ({"within": share(np.abs(off) < LIMITS[name])} if name in LIMITS else {})  # fmt: skip
    return out


def _claim(of_other: dict) -> dict[str, bool]:
    """Whether it held, for the network and refined."""
    return {
        way: all(_held(of_other[way][n], of_other[way]["images"]) for n in DESCRIPTORS)
        for way in ("network", "refined")
    }


def _held(descriptor: dict, images: int) -> bool:
    margin = 3 * (0.9 * 0.1 / images) ** 0.5
    return descriptor.get("within", 1.0) >= REQUIRED and abs(descriptor["coverage_90"] - 0.9) <= margin


if __name__ == "__main__":
    args = arguments(__doc__, PRESETS, weights="file of a network of buried_sige_tables (default: the shipped one)")
    started = time.perf_counter()
    chosen, network = PRESETS[args.preset], load_reverse(args.weights or "buried_sige_tables")
    metrics = run(chosen, network, args.out / "images")
    print(json.dumps(metrics, indent=1))
    write_json(args.out / "result.json", chosen, metrics | {"weights": network.record}, started)
