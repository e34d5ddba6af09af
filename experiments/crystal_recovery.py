"""The reverse network of zinc-blende crystals alone, on simulated cuts of crystals that it has not seen.

Claim: its posteriors are calibrated (ranks of the truth among posterior draws even, p > 0.01 after Bonferroni; 90 %
intervals cover 87 to 93 %), and of images of published crystals it names the material more often than the list alone would.

Two sets of images, both made by the model that the network was trained on (inverse crime), with weights, backgrounds and
noise drawn anew: crystals drawn from the prior (calibration, band energies), and every published table of the space with
its lattice constant strained by up to half a per cent (materials). With `refined` > 0, that many of the first set are
handed to the exact fit, which projects weights and background out.
"""

import dataclasses
import json
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from scipy.stats import chisquare

jax.config.update("jax_enable_x64", True)

import bandjax as bj  # noqa: E402
from bandjax.inference import FreeWeights, Likelihood, instrument_parameters  # noqa: E402
from bandjax.learning.cache import single_precision  # noqa: E402
from bandjax.learning.corners import MARKS, corners, nearest_materials  # noqa: E402
from bandjax.learning.crystal_loop import (  # noqa: E402
    crystal_problem,
    guess_crystal,
    mark_numbers,
    marks_of_draws,
    physical_values,
    prior_marks,
    within,
)
from bandjax.learning.crystals import CrystalFamily, crystal_signal, draw_crystals, expose_crystals  # noqa: E402
from bandjax.learning.images import Clean, Images  # noqa: E402
from bandjax.learning.mixture import log_prob, sample  # noqa: E402
from bandjax.learning.reverse import seen  # noqa: E402
from bandjax.learning.table_space import COORDINATES, table_space  # noqa: E402
from bandjax.learning.weights import Reverse, load_reverse  # noqa: E402
from bandjax.photoemission.kinematics import wave_number  # noqa: E402
from bandjax.photoemission.pixels import band_shift  # noqa: E402
from experiments.common import arguments, write_json  # noqa: E402

RANKS = 20  # bins
CHUNK = 64  # images at a time


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that the experiment depends on."""

    images: int = 512
    published: int = 8  # images of each published table
    samples: int = 399  # a multiple of the bins, less one
    mark_draws: int = 100
    refined: int = 0
    max_steps: int = 30
    seed: int = 4242


PRESETS = {
    "default": Config(),
    "refined": Config(images=64, published=1, refined=3),
    "smoke": Config(images=8, published=1, samples=39, mark_draws=10),
}


def run(config: Config, reverse: Reverse, out: Path) -> dict:
    """Scores of both sets."""
    family, key = reverse.family, jax.random.key(config.seed)
    with single_precision():
        clean = _in_chunks(lambda k, n: draw_crystals(family, k, n), key, config.images)
        images = expose_crystals(family, jax.random.fold_in(key, 1), clean)
        known = expose_crystals(
            family, jax.random.fold_in(key, 2), _published(family, config, jax.random.fold_in(key, 3))
        )
        draws, score = _posterior(reverse, images, config.samples, jax.random.fold_in(key, 4))
        named, _ = _posterior(reverse, known, config.mark_draws, jax.random.fold_in(key, 5))
    metrics = _calibration(family, np.asarray(images.latent), draws) | {"minus_log_posterior": score}
    metrics |= _bands(family, config, np.asarray(clean.values, float), draws) | _materials(family, config, named)
    if config.refined:
        metrics["refined"] = [_refine(config, reverse, clean, images, i, out) for i in range(config.refined)]
    return metrics


def _in_chunks(draw, key: jax.Array, count: int) -> Clean:
    parts = [draw(jax.random.fold_in(key, i), min(CHUNK, count)) for i in range(-(-count // CHUNK))]
    return jax.tree.map(lambda *x: jnp.concatenate(x)[:count], *parts)


def _published(family: CrystalFamily, config: Config, key: jax.Array) -> Clean:
    """Every published table `published` times, the rest of the numbers and the axes as for any crystal."""
    space = table_space()
    count = len(space.materials) * config.published
    like = _in_chunks(lambda k, n: draw_crystals(family, k, n), key, count)
    rows = np.repeat(np.nan_to_num(space.points), config.published, axis=0)
    strain = np.random.default_rng(config.seed).uniform(-0.005, 0.005, count)
    values = np.array(like.values)
    values[:, : len(COORDINATES)], values[:, 12:14], values[:, 14] = (
        rows[:, :12],
        rows[:, 12:14],
        rows[:, 14] * (1 + strain),
    )
    r = family.ranges

    @jax.jit
    def image(item: tuple) -> jax.Array:
        values, kx, energy, photon, fwhm = item
        step = kx[1] - kx[0]
        left = jnp.clip(jnp.round(-kx[0] / step).astype(int), *r.left)
        half = crystal_signal(family, values, step * jnp.arange(r.nodes, dtype=kx.dtype), energy, photon, fwhm)
        return half[:, jnp.abs(jnp.arange(r.kx_points) - left)]

    items = (jnp.asarray(values), like.kx, like.energy, like.photon_energy, like.fwhm_energy)
    signals = jax.lax.map(image, items)
    return like._replace(values=items[0], signal=signals)


def _posterior(reverse: Reverse, images: Images, count: int, key: jax.Array) -> tuple[np.ndarray, float]:
    """Draws of every image, (image, draw, latent), and the mean −log posterior of the truth."""
    posterior, _ = jax.jit(lambda s: jax.vmap(reverse.network)(s))(seen(images))
    keys = jax.random.split(key, images.counts.shape[0])
    draws = jax.jit(jax.vmap(lambda m, k: sample(m, k, count)))(posterior, keys)
    return np.asarray(draws, float), float(-log_prob(posterior, images.latent).mean())


def _calibration(family: CrystalFamily, truth: np.ndarray, draws: np.ndarray) -> dict:
    count = draws.shape[1]
    rank = (draws < truth[:, None]).sum(axis=1)
    p = [float(chisquare(np.bincount(r * RANKS // (count + 1), minlength=RANKS)).pvalue) for r in rank.T]
    covered = {}
    for level in (0.68, 0.9):
        low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=1, method="weibull")
        inside = (truth >= low) & (truth <= high)
        covered[f"{level:g}"] = {"pooled": float(inside.mean())} | dict(
            zip(family.names, inside.mean(axis=0).tolist(), strict=True)
        )
    error = draws.mean(axis=1) - truth
    return {
        "rmse_in_priors": dict(zip(family.names, np.sqrt((error**2).mean(axis=0)).tolist(), strict=True)),
        "spread_of_truth": dict(zip(family.names, truth.std(axis=0).tolist(), strict=True)),
        "p_of_ranks": dict(zip(family.names, p, strict=True)), "smallest_p_bonferroni": min(1.0, min(p) * len(p)), "covered": covered,
    }  # fmt: skip


def _marks(family: CrystalFamily, draws: np.ndarray, count: int) -> np.ndarray:
    """Marks of some draws of every image, (image, draw, mark)."""
    values = within(family, physical_values(family, draws[:, :count]))
    flat = dict(zip(family.names, values.reshape(-1, values.shape[-1]).T, strict=True))
    return marks_of_draws(flat).reshape(*values.shape[:2], -1)


def _bands(family: CrystalFamily, config: Config, values: np.ndarray, draws: np.ndarray) -> dict:
    truth = marks_of_draws(dict(zip(family.names, values.T, strict=True)))
    found = _marks(family, draws, config.mark_draws)
    error = found.mean(axis=1) - truth
    low, high = np.quantile(found, [0.05, 0.95], axis=1, method="weibull")
    rms = np.sqrt((error**2).mean(axis=0))
    return {
        "marks_rms": dict(zip(MARKS, rms.tolist(), strict=True)),
        "marks_median_error": dict(zip(MARKS, np.median(np.abs(error), axis=0).tolist(), strict=True)),
        "marks_spread": dict(zip(MARKS, truth.std(axis=0).tolist(), strict=True)),
        "marks_covered_90": float(((truth >= low) & (truth <= high)).mean()),
        "bands_rms_meV": 1e3 * float(np.sqrt((error[:, 1:] ** 2).mean())),
        "bands_median_meV": 1e3 * float(np.median(np.abs(error[:, 1:]))),
    }


def _materials(family: CrystalFamily, config: Config, draws: np.ndarray) -> dict:
    """How often the published crystals are named."""
    truth = [m.split("-")[0] for m, _ in table_space().materials for _ in range(config.published)]
    listed = [m for m, _ in corners().materials]
    marks = _marks(family, draws, config.mark_draws)
    ranked = [nearest_materials(y.mean(axis=0), np.cov(y.T), prior=prior_marks(family)) for y in marks]
    kept = [i for i, m in enumerate(truth) if m in listed]  # Sn has no table with spin-orbit coupling
    place = np.array([[n.material for n in ranked[i]].index(truth[i]) for i in kept])
    sure = np.array([ranked[i][0].probability for i in kept])
    return {
        "materials": len({truth[i] for i in kept}), "named_images": len(kept), "named_first": float((place == 0).mean()),
        "named_among_three": float((place < 3).mean()), "mean_probability_of_first": float(sure.mean()),
        "by_material": {m: float(np.mean([place[j] == 0 for j, i in enumerate(kept) if truth[i] == m])) for m in dict.fromkeys(truth[i] for i in kept)},
    }  # fmt: skip


def _refine(config: Config, reverse: Reverse, clean: Clean, images: Images, index: int, out: Path) -> dict:
    """One simulated cut through network and exact fit; kept in its own file."""
    path = out / f"refined_{index}.json"
    if path.exists():
        return json.loads(path.read_text(encoding="utf-8"))
    family = reverse.family
    c, one = jax.tree.map(lambda x: np.asarray(x[index], float), (clean, images))
    axes = {"kx": c.kx, "energy": np.linspace(c.energy[0], c.energy[-1], c.energy.size)}
    told = {"photon_energy": float(c.photon_energy), "fwhm_energy": float(c.fwhm_energy)}
    rows, columns = one.mask.max(axis=1) > 0, one.mask.max(axis=0) > 0
    image = xr.DataArray(np.where(one.mask > 0, one.counts, np.nan), dims=tuple(axes), coords=axes, attrs=told)
    image = image[rows][:, columns]
    guess = guess_crystal(image, reverse)
    across = family.instrument.replace(**told, tilt=_tilt(family, told["photon_energy"]), fwhm_momentum=0.02)
    problem = crystal_problem(
        family, across, instrument_parameters(across, {"tilt": 0.1}), Likelihood("scaled", scale=1.0, band_error=0.02),
        FreeWeights(lateral=12, energy=8), guess.candidates[0], broadening=(0.4,), method="grid", kz_points=11, window=3.0, derived=mark_numbers,
    )  # fmt: skip
    at = {n: p.value for n, p in problem.parameters.items()}
    result = bj.fit(
        image,
        problem,
        starts=[at | p for p in guess.candidates],
        descents=2,
        max_steps=config.max_steps,
        bootstrap_draws=0,
    )
    truth = marks_of_draws(dict(zip(family.names, c.values[:, None], strict=True)))[0]
    found = {n: result.derived[n] for n in MARKS}
    row = {
        "truth": dict(zip(MARKS, truth.tolist(), strict=True)), "network": dict(zip(MARKS, guess.marks[0].tolist(), strict=True)),
        "network_errors": dict(zip(MARKS, np.sqrt(np.diagonal(guess.marks[1])).tolist(), strict=True)),
        "refined": {n: v[0] for n, v in found.items()}, "refined_errors": {n: v[1] for n, v in found.items()},
        "values": result.values, "true_values": dict(zip(family.names, c.values.tolist(), strict=True)),
        "converged": result.converged, "cost": result.cost, "reduced_chi2": result.maps["map"].tests.reduced_chi2,
    }  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(row, indent=1), encoding="utf-8")
    return row


def _tilt(family: CrystalFamily, photon_energy: float) -> float:
    """Tilt in degrees that puts the cut into the mirror plane, where drawn images lie."""
    q = float(band_shift(family.instrument, jnp.asarray(photon_energy))[1])
    return float(np.rad2deg(np.arcsin(-q / float(wave_number(jnp.asarray(photon_energy - 8.5))))))


if __name__ == "__main__":
    args = arguments(__doc__, PRESETS, weights="file of a network, or the name of a shipped one (default: zincblende)")
    started = time.perf_counter()
    chosen, network = PRESETS[args.preset], load_reverse(args.weights or "zincblende")
    metrics = run(chosen, network, args.out)
    print(json.dumps({k: v for k, v in metrics.items() if k != "refined"}, indent=1))
    write_json(args.out / "result.json", chosen, metrics | {"network": network.record}, started)
