"""The reverse network of zinc-blende crystals alone, on simulated cuts of crystals that it has not seen.

Claim: its posteriors are calibrated (ranks of the truth among posterior draws even, p > 0.01 after Bonferroni; 90 %
intervals cover 87 to 93 %), and of images of published crystals it names the material more often than the list alone would.
That it knows band energies to 100 meV (median) is refuted (163 meV on 512 crystals).

Two sets of images, both made by the model that the network was trained on (inverse crime), with weights, backgrounds and
noise drawn anew: crystals drawn from the prior (calibration, band energies), and every published table of the space with
its lattice constant strained by up to half a per cent (materials). With `draws` > 0, that many of the first set are
handed to the exact fit (`refine_crystal`, each kept in its own file), which projects weights and background out.
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

from bandjax.learning.cache import single_precision  # noqa: E402
from bandjax.learning.corners import MARKS, corners, nearest_materials  # noqa: E402
from bandjax.learning.crystal_images import clean_crystal, draw_crystals, expose_crystals  # noqa: E402
from bandjax.learning.crystal_loop import (  # noqa: E402
    guess_crystal,
    marks_of_draws,
    physical_values,
    prior_marks,
    within,
)
from bandjax.learning.crystal_refinement import GOOD, as_cut, refine_crystal  # noqa: E402
from bandjax.learning.crystals import CrystalFamily  # noqa: E402
from bandjax.learning.images import Clean, Images  # noqa: E402
from bandjax.learning.mixture import log_prob, sample  # noqa: E402
from bandjax.learning.reverse import seen  # noqa: E402
from bandjax.learning.table_space import table_space  # noqa: E402
from bandjax.learning.weights import Reverse, load_reverse  # noqa: E402
from experiments.common import arguments, kept_rows, write_json  # noqa: E402

DRAWS = 200  # from the errors of a refined crystal
RANKS = 20  # bins
CHUNK = 64  # images at a time


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that the experiment depends on."""

    images: int = 512
    published: int = 8  # images of each published table
    samples: int = 399  # a multiple of the bins, less one
    mark_draws: int = 100
    draws: int = 0  # crystals of the first set that are refined
    max_steps: int = 30
    seed: int = 4242


PRESETS = {
    "default": Config(),
    "refined": Config(images=64, published=1, draws=32),
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
    values = physical_values(family, np.asarray(images.latent, float))
    metrics |= _bands(family, config, values, draws) | _materials(family, config, named)
    if config.draws:
        items = [jax.tree.map(lambda x, i=i: np.asarray(x[i], float), images) for i in range(config.draws)]
        tasks = [(f"refined_{i}", (family, reverse, one, config.max_steps)) for i, one in enumerate(items)]
        metrics["refined"] = _refined_scores(family, kept_rows(out, tasks, config, _refine))
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
    values[:, :14], values[:, 14] = rows[:, :14], rows[:, 14] * (1 + strain)

    @jax.jit
    def made(item: tuple) -> Clean:
        values, kx, energy, photon, fwhm = item
        return clean_crystal(family, values, kx[1] - kx[0], energy[1] - energy[0], photon, fwhm)

    return jax.lax.map(made, (jnp.asarray(values), like.kx, like.energy, like.photon_energy, like.fwhm_energy))


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


def _refine(family: CrystalFamily, reverse: Reverse, one: Images, max_steps: int) -> dict:
    """One simulated cut through network and exact fit."""
    axes = {"kx": one.kx, "energy": np.linspace(one.energy[0], one.energy[-1], one.energy.size)}
    told = {"photon_energy": float(one.photon_energy), "fwhm_energy": float(one.fwhm_energy)}
    rows, columns = one.mask.max(axis=1) > 0, one.mask.max(axis=0) > 0
    image = xr.DataArray(np.where(one.mask > 0, one.counts, np.nan), dims=tuple(axes), coords=axes, attrs=told)
    # the widest images reach beyond the plane that the network covers
    guess = guess_crystal(image[rows][:, columns].sel(kx=slice(*reverse.network.shape.reach_k)), reverse)
    began = time.perf_counter()
    cut = as_cut(one.counts, one.mask, one.kx, one.energy, one.photon_energy, one.fwhm_energy)
    found = refine_crystal(family, cut, list(guess.candidates), max_steps=max_steps)
    seconds = time.perf_counter() - began
    truth = physical_values(family, one.latent)
    numbers = np.array([found.values[n] for n in family.names])
    rng, own = np.random.default_rng(0), found.covariance[:-1, :-1]  # of all but the shift
    drawn = within(family, rng.multivariate_normal(numbers, own, DRAWS))
    marks = marks_of_draws(dict(zip(family.names, np.vstack([truth, numbers, drawn]).T, strict=True)))
    return {
        "truth": marks[0].tolist(), "network": guess.marks[0].tolist(), "network_errors": np.sqrt(np.diagonal(guess.marks[1])).tolist(),
        "refined": marks[1].tolist(), "refined_errors": marks[2:].std(axis=0).tolist(), "values": numbers.tolist(),
        "errors": np.sqrt(np.diagonal(own)).tolist(), "true_values": truth.tolist(), "reduced_chi2": found.reduced_chi2,
        "costs": found.costs, "trials": found.trials, "converged": found.converged, "counts": float(one.counts[one.mask > 0].mean()),
        "named": nearest_materials(marks[1], np.cov(marks[2:].T))[0].material, "seconds": seconds,
    }  # fmt: skip


def _refined_scores(family: CrystalFamily, rows: list[dict]) -> dict:
    """Band energies, numbers and coverage of refined crystals, all of them and those whose image is explained."""
    get = lambda name: np.array([r[name] for r in rows])  # noqa: E731
    explained = get("reduced_chi2") < GOOD

    def of(kept: np.ndarray) -> dict:
        error, network = ((get(n) - get("truth"))[kept] for n in ("refined", "network"))
        pulls = ((get("values") - get("true_values")) / get("errors"))[kept]
        return {
            "crystals": int(kept.sum()), "bands_rms_meV": 1e3 * float(np.sqrt((error[:, 1:] ** 2).mean())),
            "bands_median_meV": 1e3 * float(np.median(np.abs(error[:, 1:]))),
            "network_bands_median_meV": 1e3 * float(np.median(np.abs(network[:, 1:]))),
            "marks_median_error": dict(zip(MARKS, np.median(np.abs(error), axis=0).tolist(), strict=True)),
            "marks_covered_68": float((np.abs(error) < get("refined_errors")[kept]).mean()),
            "covered_68": dict(zip(family.names, (np.abs(pulls) < 1).mean(axis=0).tolist(), strict=True)),
            "covered_68_pooled": float((np.abs(pulls) < 1).mean()),
        }  # fmt: skip

    found = {"all": of(np.full(len(rows), True)), "seconds_median": float(np.median(get("seconds")))}
    return found | ({"explained": of(explained)} if explained.any() else {})


if __name__ == "__main__":
    args = arguments(__doc__, PRESETS, weights="file of a network, or the name of a shipped one (default: zincblende)")
    started = time.perf_counter()
    chosen, network = PRESETS[args.preset], load_reverse(args.weights or "zincblende")
    metrics = run(chosen, network, args.out)
    print(json.dumps({k: v for k, v in metrics.items() if k != "refined"}, indent=1))
    write_json(args.out / "result.json", chosen, metrics | {"network": network.record}, started)
