"""A reverse network adapted to images without labels, through the physics.

Every image is refined by the exact model, with the priors of the nuisances widened. The images that it explains
(by the residual test) give two things. Their nuisances become the family's priors, and each image gets a posterior,

    p(x | image) ∝ exp(−½ (x − x*)ᵀ F (x − x*)),

the reconstruction −log L with the priors to second order about its minimum x*. The network then lowers −mean log q(x | image) over images
simulated by the family with its new priors, and over the images themselves, of which every step sees other crops and
thinned counts, with draws of that posterior as labels. No label of any image is needed.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from rich.progress import track

from bandjax.learning.cache import single_precision
from bandjax.learning.checkpoints import State
from bandjax.learning.closed_loop import MISFIT, guess_of
from bandjax.learning.family import COUNTED, EXPOSURE, Family, centre_and_spread, standardised
from bandjax.learning.images import Images, draw_clean, expose, mean_counts
from bandjax.learning.job import make_optimiser, make_schedule, make_step
from bandjax.learning.objective import finish, make_loss
from bandjax.learning.observe import as_seen, check_image
from bandjax.learning.refinement import Refinement
from bandjax.learning.reverse import Seen
from bandjax.learning.weights import Reverse, weights_of, with_weights
from bandjax.photoemission import QUANTITIES

FEWEST = 8  # explained images below which nuisances have no distribution
NARROWEST = 0.3  # part of the old prior's width that the new one has at least
DRAWS = 64  # labels kept of each image
THINNEST = 0.3  # part of the counts, and of each axis, that a step sees at least of an image
OWN = 0.25  # weight of the images themselves in the loss
SIMULATED, WEIGHTS = 1, 2  # streams of random numbers of a seed


@dataclasses.dataclass(frozen=True)
class Adaptation:
    """Settings of an adaptation.

    Attributes:
        widen: Factor on the widths of the nuisances' priors while images are refined.
        starts: Of each refinement, from the network; more are tried only while the image is not explained.
        max_steps: Trials at most of each.
        signals: Stacks simulated with the new priors.
        steps, batch, learning_rate: Of the training.
        seed: Of everything.
    """

    widen: float = 5.0
    starts: int = 3
    max_steps: int = 40
    signals: int = 2048
    steps: int = 600
    batch: int = 64
    learning_rate: float = 3e-4
    seed: int = 0


class Labelled(NamedTuple):
    """An image that the model explains: what the network sees of it, and draws of its posterior."""

    view: Seen
    share: float  # counts that the network sees for each of the map's
    draws: np.ndarray  # (draw, name), physical, in the order of `family.names`


def adapt(
    reverse: Reverse, images: Sequence[xr.DataArray], settings: Adaptation | None = None, *, quiet: bool = False
) -> Reverse:
    """A network for images like these, which carry no labels.

    Args:
        reverse: The network to begin with.
        images: Maps of one instrument: the same axes, photon energy and resolution; see `check_image`.
        settings: See `Adaptation`.
        quiet: Whether to show no progress bars.

    Returns:
        The network with the family whose priors are those of the images' nuisances; its record says how many of the
        images were used (`adapted`).

    Raises:
        ValueError: images differ in axes or attributes, or the model explains too few of them.
    """
    settings = Adaptation() if settings is None else settings
    images = [check_image(image, reverse.family, reverse.network.shape) for image in images]
    _check_alike(images)
    wide = widened(reverse.family, settings.widen)
    labelled = explained(reverse, wide, images, settings, quiet=quiet)
    if len(labelled) < FEWEST:
        raise ValueError(
            f"Argument `images` must hold at least {FEWEST} that the model explains, but it explains {len(labelled)} of {len(images)}."
        )
    family = reverse.family.with_priors(priors_of(reverse.family, [label.draws for label in labelled]))
    with single_precision():
        network, held_out = _trained(reverse, family, labelled, settings, quiet=quiet)
        told = {"images": len(images), "explained": len(labelled), "settings": dataclasses.asdict(settings)}
        return finish(family, network, held_out, reverse.record | {"priors": _priors(family), "adapted": told})


def widened(family: Family, factor: float) -> Family:
    """The family with wider priors of the nuisances that are no exposure."""
    old = {n: centre_and_spread(p) for n, p in family.parameters if n in QUANTITIES}
    return family.with_priors({n: (centre, factor * sigma) for n, (centre, sigma) in old.items()})


def explained(
    reverse: Reverse, family: Family, images: Sequence[xr.DataArray], settings: Adaptation, *, quiet: bool = False
) -> list[Labelled]:
    """The images that the family's model explains, each with draws of its posterior.

    Args:
        reverse: Gives the starts.
        family: Its priors enter the refinements.
        images: Checked maps with the same axes and attributes.
        settings: Starts, steps and seed.
        quiet: Whether to show no progress bar.
    """
    level = float(np.median([np.nanmean(image.values) for image in images]))
    refinement = Refinement(images[0], family, level, max_steps=settings.max_steps)
    names, out = refinement.transform.names, []
    for i, image in enumerate(track(images, "refinements", disable=quiet)):
        counts, guess = image.values, guess_of(image, reverse, seed=settings.seed + i)
        _, state, _ = refinement.refine(counts, guess, settings.starts)
        if not (bool(state.done) and max(refinement.misfits(counts, state)) <= MISFIT):
            continue
        covariance = np.linalg.inv(refinement.precision(state))
        found = list(refinement.values(state).values())
        rng = np.random.default_rng([settings.seed, i])
        draws = rng.multivariate_normal(found, covariance, DRAWS, method="cholesky")
        draws = np.clip(draws, refinement.transform.lower, refinement.transform.upper)
        with single_precision():
            view, share = as_seen(image, reverse.family, seed=settings.seed)
        out.append(Labelled(view, share, draws[:, [names.index(name) for name in reverse.family.names]]))
    return out


def priors_of(family: Family, draws: list[np.ndarray]) -> dict[str, tuple[float, float]]:
    """Centre and width of every nuisance that is no exposure, over draws of images, each (draw, name)."""
    every, out = np.concatenate(draws), {}
    for i, (name, parameter) in enumerate(family.parameters):
        if name in QUANTITIES:
            out[name] = (float(every[:, i].mean()), float(max(every[:, i].std(), NARROWEST * centre_and_spread(parameter)[1])))  # fmt: skip
    return out


def _trained(reverse: Reverse, family: Family, labelled: list[Labelled], settings: Adaptation, *, quiet: bool):
    """The network after its training, and simulated images that it has not seen."""
    key = jax.random.key(settings.seed)
    held = settings.signals // 4
    clean = draw_clean(family, jax.random.fold_in(key, SIMULATED), settings.signals + held)
    loss_of = make_loss(reverse.network)

    def loss(weights, both: tuple[Images, Images]) -> jax.Array:
        return (1 - OWN) * loss_of(weights, both[0]) + OWN * loss_of(weights, both[1])

    optimiser = make_optimiser(make_schedule(settings.learning_rate, settings.steps // 10, settings.steps))
    start = weights_of(reverse.network)
    state, step = State(start, optimiser.init(start), jnp.zeros((), jnp.int32)), jax.jit(make_step(loss, optimiser))
    own = max(1, round(OWN * settings.batch))
    for i in track(range(settings.steps), "adaptation", disable=quiet):
        first, second = jax.random.split(jax.random.fold_in(jax.random.fold_in(key, WEIGHTS), i))
        index = jax.random.randint(first, (settings.batch - own,), held, settings.signals + held)
        simulated = expose(family, second, jax.tree.map(lambda x, index=index: x[index], clean))
        state, value = step(
            state, (simulated, _own_batch(family, labelled, np.random.default_rng([settings.seed, i]), own))
        )
        if not np.isfinite(value):
            raise FloatingPointError(f"The loss must stay finite, but is {float(value)} in step {i} of the adaptation.")
    rest = jax.tree.map(lambda x: x[:held], clean)
    several = [expose(family, jax.random.fold_in(key, 10 + i), rest) for i in range(4)]
    return with_weights(reverse.network, state.weights), jax.tree.map(lambda *x: jnp.concatenate(x), *several)


def _own_batch(family: Family, labelled: list[Labelled], rng: np.random.Generator, count: int) -> Images:
    """Labelled images with other crops and thinned counts, and draws of their posteriors."""
    rows = []
    for i in rng.integers(len(labelled), size=count):
        view, share, draws = labelled[i]
        part = np.exp(rng.uniform(np.log(THINNEST), 0.0))
        counts = rng.binomial(np.round(view.counts).astype(int), part)
        mask = np.array(view.mask)
        for axis, size in enumerate(mask.shape):
            kept = rng.integers(round(family.ranges.crop * size), size + 1)
            first = rng.integers(size - kept + 1)
            inside = (np.arange(size) >= first) & (np.arange(size) < first + kept)
            mask = mask * np.expand_dims(inside, 1 - axis)
        rows.append((counts * mask, mask, draws[rng.integers(len(draws))], share * part, view))
    counts, mask, values, shares, views = zip(*rows, strict=True)
    array = lambda x: jnp.asarray(np.stack(x), jnp.float32)  # noqa: E731
    counts, mask, values = array(counts), array(mask), array(values)
    drawn = len(family.drawn)
    exposure = dict(zip(EXPOSURE, values[:, drawn:].T, strict=True))
    exposure = {n: v * (array(shares) if n in COUNTED else 1.0) for n, v in exposure.items()}
    latent = standardised(family, values[:, :drawn], exposure, mean_counts(counts, mask))
    rest = (array([getattr(v, n) for v in views]) for n in ("kx", "energy", "photon_energy", "fwhm_energy"))
    return Images(latent, counts, mask, *rest)


def _priors(family: Family) -> dict[str, tuple[float, float]]:
    return {name: centre_and_spread(p) for name, p in family.parameters if name in QUANTITIES}


def _check_alike(images: Sequence[xr.DataArray]) -> None:
    if not images:
        raise ValueError("Argument `images` must hold maps, but is empty.")
    for i, image in enumerate(images):
        for name in ("kx", "energy"):
            if not np.array_equal(image[name].values, images[0][name].values):
                raise ValueError(f"Argument `images` must hold maps with the same axes, but map {i} has another `{name}` than the first.")  # fmt: skip
        for name in ("photon_energy", "fwhm_energy"):
            if image.attrs[name] != images[0].attrs[name]:
                raise ValueError(
                    f"Argument `images` must hold maps with the same `{name}`, but map {i} has {image.attrs[name]:g} and the first {images[0].attrs[name]:g}."
                )
