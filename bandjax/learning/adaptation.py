"""A reverse network adapted to images without labels, through the physics.

Every image is refined by the exact model, with wide priors of Fermi level, lifetime and inner potential (the exposure's stay). Of the
images that it explains (by the residual test) these nuisances become the family's priors, and each gives pseudo-labels: draws from

    p(x | image) ∝ exp(−½ (x − x*)ᵀ F (x − x*)),

the end x* of the refinement and the Fisher matrix F with the new priors (Laplace, Gauss-Newton). The network then lowers
−mean log q(x | image) over images simulated by the family with its new priors, and over the images themselves, of which every
step sees other crops and thinned counts. No image needs a label, and no gradient passes through the physics.

An image with two explanations is taught by the one that was accepted first; images that the model does not explain are left out.
Labels of all counts are right for thinned ones on average over many images, not for each: a few images seen often teach too much certainty.
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
from bandjax.learning.closed_loop import guess_of
from bandjax.learning.family import COUNTED, EXPOSURE, Family, centre_and_spread, exposure_parameters, standardised
from bandjax.learning.images import Images, draw_clean, expose, mean_counts
from bandjax.learning.job import make_optimiser, make_schedule, make_step
from bandjax.learning.objective import finish, make_loss, side_by_side
from bandjax.learning.observe import as_seen, check_image
from bandjax.learning.refinement import Refinement
from bandjax.learning.residuals import MISFIT
from bandjax.learning.reverse import Seen
from bandjax.learning.weights import Reverse, weights_of, with_weights
from bandjax.photoemission import QUANTITIES

FEWEST = 8  # explained images below which nuisances have no distribution
NARROWEST = 0.3  # part of the old prior's width that the new one has at least
DRAWS = 64  # labels kept of each image
THINNEST = 0.3  # part of the counts that a step sees at least of an image
UNLIKE = 1.5  # factor by which the mean counts of an image may differ from their median
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

    def __post_init__(self) -> None:
        least = {"widen": 1, "starts": 1, "max_steps": 1, "signals": 8, "steps": 1, "batch": 2}
        for name, value in least.items():
            if not getattr(self, name) >= value:
                raise ValueError(
                    f"Argument `{name}` of an adaptation must be ≥ {value}, but is {getattr(self, name)!r}."
                )
        if not self.learning_rate > 0:
            raise ValueError(f"Argument `learning_rate` of an adaptation must be > 0, but is {self.learning_rate!r}.")


class Explained(NamedTuple):
    """An image that the model explains: what the network sees of it, and its Gaussian posterior."""

    view: Seen
    share: float  # counts that the network sees for each of the map's
    values: np.ndarray  # (name,), physical, in the order of `family.names`
    precision: np.ndarray  # (name, name)


class Labelled(NamedTuple):
    """An image with draws of its posterior."""

    view: Seen
    share: float
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
        ValueError: images differ in axes or attributes, or the model explains too few of them; or the family has hidden numbers.
    """
    settings = Adaptation() if settings is None else settings
    if reverse.family.hidden:
        raise ValueError(
            "Argument `reverse` must be a network that infers all that its family draws, but that of "
            f"{reverse.family.name!r} is trained over {len(reverse.family.hidden)} hidden numbers."
        )
    images = [check_image(image, reverse.family, reverse.network.shape) for image in images]
    _check_alike(images)
    wide = widened(reverse.family, settings.widen)
    found = explained(reverse, wide, images, settings, quiet=quiet)
    if len(found) < FEWEST:
        raise ValueError(
            f"Argument `images` must hold at least {FEWEST} that the model explains, but it explains {len(found)} of {len(images)}."
        )
    family = reverse.family.with_priors(priors_of(reverse.family, found))
    labelled = [
        labels_of(image, wide, family, np.random.default_rng([settings.seed, i])) for i, image in enumerate(found)
    ]
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
) -> list[Explained]:
    """The images that the family's model explains, each with its Gaussian posterior.

    Args:
        reverse: Gives the starts.
        family: Its priors enter the refinements.
        images: Checked maps with the same axes and attributes.
        settings: Starts, steps and seed.
        quiet: Whether to show no progress bar.
    """
    level = float(np.median([np.nanmean(image.values) for image in images]))  # the unit of the backgrounds' priors
    refinement = Refinement(images[0], family, level, max_steps=settings.max_steps)
    names, out = refinement.transform.names, []
    for i, image in enumerate(track(images, "refinements", disable=quiet)):
        counts, guess = image.values, guess_of(image, reverse, seed=settings.seed + i)
        _, state, _ = refinement.refine(counts, guess, settings.starts)
        if not (bool(state.done) and max(refinement.misfits(counts, state)) <= MISFIT):
            continue
        with single_precision():
            view, share = as_seen(image, reverse.family, seed=settings.seed)
        order = [names.index(name) for name in reverse.family.names]
        values = np.array(list(refinement.values(state).values()))[order]
        out.append(Explained(view, share, values, refinement.precision(state)[np.ix_(order, order)]))
    return out


def priors_of(family: Family, found: Sequence[Explained]) -> dict[str, tuple[float, float]]:
    """Centre and width of every nuisance that is no exposure: mean and variance over images, less their own mean variance."""
    values = np.array([image.values for image in found])
    own = np.array([np.diagonal(np.linalg.inv(image.precision)) for image in found]).mean(axis=0)
    variance = np.maximum(values.var(axis=0, ddof=1) - own, 0.0)
    return {
        name: (float(values[:, i].mean()), float(max(np.sqrt(variance[i]), NARROWEST * centre_and_spread(p)[1])))
        for i, (name, p) in enumerate(family.parameters) if name in QUANTITIES
    }  # fmt: skip


def labels_of(image: Explained, old: Family, new: Family, rng: np.random.Generator) -> Labelled:
    """Draws of an image's posterior, moved from the old priors to the new ones and kept within the bounds."""
    precision, pull = image.precision.copy(), image.precision @ image.values
    for i, ((name, before), (_, after)) in enumerate(zip(old.parameters, new.parameters, strict=True)):
        if name in QUANTITIES:
            for (centre, sigma), sign in ((centre_and_spread(before), -1), (centre_and_spread(after), 1)):
                precision[i, i] += sign / sigma**2
                pull[i] += sign * centre / sigma**2
    draws = rng.multivariate_normal(
        np.linalg.solve(precision, pull), np.linalg.inv(precision), DRAWS, method="cholesky"
    )
    low, high = np.array(
        [(p.lower, p.upper) for _, p in (*new.parameters, *exposure_parameters(1.0, new.brightness).items())]
    ).T
    return Labelled(image.view, image.share, np.clip(draws, low, high))


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
    return with_weights(reverse.network, state.weights), side_by_side(several)


def _own_batch(family: Family, labelled: list[Labelled], rng: np.random.Generator, count: int) -> Images:
    """Labelled images with other crops and thinned counts, and draws of their posteriors."""
    rows = []
    for i in rng.integers(len(labelled), size=count):
        view, share, draws = labelled[i]
        least = family.ranges.counts[0] / float(mean_counts(view.counts, view.mask))  # no fewer counts than are trained
        part = np.exp(rng.uniform(min(np.log(max(THINNEST, least)), 0.0), 0.0))
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
    if len(images) < FEWEST:
        raise ValueError(f"Argument `images` must hold at least {FEWEST} maps, but holds {len(images)}.")
    for i, image in enumerate(images):
        for name in ("kx", "energy"):
            if not np.array_equal(image[name].values, images[0][name].values):
                raise ValueError(f"Argument `images` must hold maps with the same axes, but map {i} has another `{name}` than the first.")  # fmt: skip
        mean, middle = float(image.mean()), float(np.median([i.mean() for i in images]))
        if not 1 / UNLIKE < mean / middle < UNLIKE:
            raise ValueError(
                f"Argument `images` must hold maps of about the same counts, but map {i} has {mean:.3g} a pixel and their median is {middle:.3g}."
            )
        for name in ("photon_energy", "fwhm_energy"):
            if image.attrs[name] != images[0].attrs[name]:
                raise ValueError(
                    f"Argument `images` must hold maps with the same `{name}`, but map {i} has {image.attrs[name]:g} and the first {images[0].attrs[name]:g}."
                )
