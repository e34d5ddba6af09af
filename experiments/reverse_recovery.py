"""The shipped reverse network alone: errors, calibration and distance from the Cramér-Rao bound, against counts.

Claim: on stacks that it has not seen, from 3 to 100 counts a pixel, its posteriors are calibrated (simulation-based
calibration: ranks of the truth among posterior draws are even, p > 0.01 after Bonferroni; 90 % intervals cover 87 to 93 %)
and at 30 counts its median error is at most four times the bound with prior.

Images are simulated by the model that the network was trained on (inverse crime). Ranks after S. Talts et al.,
arXiv:1804.06788 (2018).
"""

import dataclasses
import time

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import chisquare

jax.config.update("jax_enable_x64", True)

from bandjax.learning.cache import single_precision  # noqa: E402
from bandjax.learning.family import Family, physical  # noqa: E402
from bandjax.learning.images import Clean, Images, draw_clean, expose, mean_counts, mean_image, stack_layers  # noqa: E402
from bandjax.learning.mixture import log_prob, sample  # noqa: E402
from bandjax.learning.reverse import seen  # noqa: E402
from bandjax.learning.weights import Reverse, load_reverse  # noqa: E402
from experiments.common import arguments, write_json  # noqa: E402

RANKS = 20  # bins


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that the experiment depends on."""

    images: int = 1000
    counts: tuple[float, ...] = (3.0, 10.0, 30.0, 100.0)
    samples: int = 399  # a multiple of the bins, less one: ranks 0 … 399
    bounds: int = 100  # images whose bound is computed
    seed: int = 9000


PRESETS = {
    "default": Config(),
    "some": Config(images=300, bounds=24),
    "smoke": Config(images=8, counts=(30.0,), samples=39, bounds=1),
}


def run(config: Config, reverse: Reverse) -> dict:
    """Scores at every number of counts."""
    family, key = reverse.family, jax.random.key(config.seed)
    with single_precision():
        clean, bound = draw_clean(family, key, config.images), _bound_of(family)
        return {
            f"{c:g}": _at(config, reverse, clean, bound, jax.random.fold_in(key, i), c)
            for i, c in enumerate(config.counts)
        }


def _at(config: Config, reverse: Reverse, clean: Clean, bound_of, key: jax.Array, counts: float) -> dict:
    family = reverse.family
    ranges = dataclasses.replace(family.ranges, counts=(counts, counts))
    images = expose(dataclasses.replace(family, ranges=ranges), key, clean)
    posterior, _ = jax.jit(lambda s: jax.vmap(reverse.network)(s))(seen(images))
    keys = jax.random.split(jax.random.fold_in(key, 1), config.images)
    draws = np.asarray(jax.jit(jax.vmap(lambda m, k: sample(m, k, config.samples)))(posterior, keys))
    truth = np.asarray(images.latent)
    rank = (draws < truth[:, None]).sum(axis=1)  # (image, latent)
    binned = [np.bincount(r * RANKS // (config.samples + 1), minlength=RANKS) for r in rank.T]
    p = {n: float(chisquare(b).pvalue) for n, b in zip(family.names, binned, strict=True)}
    covered = {}
    for level in (0.68, 0.9):
        # "weibull" puts the n draws at i/(n + 1): then the interval holds the truth of a calibrated posterior that often
        low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=1, method="weibull")
        inside = (truth >= low) & (truth <= high)
        covered[f"{level:g}"] = {"pooled": float(inside.mean())} | dict(zip(family.names, inside.mean(axis=0).tolist(), strict=True))  # fmt: skip
    error = draws.mean(axis=1) - truth
    bound = np.stack([np.asarray(bound_of(jax.tree.map(lambda x, i=i: x[i], images))) for i in range(config.bounds)])  # fmt: skip
    ratio = np.abs(error[: config.bounds]) / bound
    return {
        "minus_log_posterior": float(-log_prob(posterior, images.latent).mean()),
        "rmse_in_priors": dict(zip(family.names, np.sqrt((error**2).mean(axis=0)).tolist(), strict=True)),
        "p_of_ranks": p, "smallest_p_bonferroni": min(1.0, min(p.values()) * len(p)), "covered": covered,
        "median_error_over_bound": float(np.median(ratio)),
        "median_error_over_bound_by_parameter": dict(zip(family.names, np.median(ratio, axis=0).tolist(), strict=True)),
    }  # fmt: skip


def _bound_of(family: Family):
    """Image -> standard deviations of the bound with prior of every latent, in units of the prior, (latent,).

    Axes and nuisances are traced, so it is compiled once.
    """
    layers = stack_layers(family)

    def bound(image: Images) -> jax.Array:
        level = mean_counts(image.counts, image.mask)

        def mean(z: jax.Array) -> jax.Array:
            return mean_image(family, layers, physical(family, z, level), image)

        slopes, mu = jax.jacfwd(mean)(image.latent), mean(image.latent)
        fisher = jnp.einsum("kep,keq->pq", slopes * (image.mask / mu)[..., None], slopes, precision="highest")
        prior = jnp.array([float(name != "gain") for name in family.names])  # the gain has none
        return jnp.sqrt(jnp.diagonal(jnp.linalg.inv(fisher + jnp.diag(prior))))

    return jax.jit(bound)


if __name__ == "__main__":
    args = arguments(__doc__, PRESETS, weights="file of a network, or the name of a shipped one (default: buried_sige)")
    started = time.perf_counter()
    chosen, network = PRESETS[args.preset], load_reverse(args.weights or "buried_sige")
    metrics = run(chosen, network)
    for counts, m in metrics.items():
        print(counts, {k: m[k] for k in ("minus_log_posterior", "smallest_p_bonferroni", "median_error_over_bound")}, m["covered"]["0.9"]["pooled"])  # fmt: skip
    write_json(args.out / "result.json", chosen, {"by_counts": metrics, "network": network.record}, started)
