"""A reverse network adapted to images without labels, through the physics.

Nuisances of the images that the exact model explains become the family's priors, and each of these images gives draws of its posterior
(`pseudo_labels`). The network then lowers −mean log q(x | image) over images simulated by the family with its new priors, and over the
images themselves, of which every step sees other crops and thinned counts. No image needs a label, and no gradient passes through the
physics. Images that the model does not explain are left out.
Labels of all counts are right for thinned ones on average over many images, not for each: a few images seen often teach too much certainty.
"""

import contextlib
import dataclasses
import hashlib
import os
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from bandjax.learning.cache import open_cache, single_precision
from bandjax.learning.checkpoints import check_folder, open_manager
from bandjax.learning.family import COUNTED, EXPOSURE, Family, centre_and_spread, standardised
from bandjax.learning.images import Images, expose, mean_counts
from bandjax.learning.job import Job, make_schedule, run_job
from bandjax.learning.objective import finish, make_loss, side_by_side
from bandjax.learning.observe import check_image
from bandjax.learning.pseudo_labels import Labelled, explained, labels_of, priors_of, widened
from bandjax.learning.reverse import ReverseNetwork
from bandjax.learning.weights import Reverse, flat_weights, weights_of, with_weights
from bandjax.photoemission import QUANTITIES

FEWEST = 8  # explained images below which nuisances have no distribution
THINNEST = 0.3  # part of the counts that a step sees at least of an image
UNLIKE = 1.5  # factor by which the mean counts of an image may differ from their median
WEIGHTS = 2  # stream of random numbers of a seed
FORMAT = 1  # of what the folder of an adaptation keeps, and of what counts as explained
CHECKPOINT_EVERY = 100  # steps
ALIKE = ("photon_energy", "fwhm_energy")  # attributes that all maps share


@dataclasses.dataclass(frozen=True)
class Adaptation:
    """Settings of an adaptation.

    Attributes:
        widen: Factor on the widths of the nuisances' priors while images are refined.
        starts: Of each refinement, from the network; more are tried only while the image is not explained.
        max_steps: Trials at most of each.
        signals: Stacks simulated with the new priors.
        steps, batch, learning_rate: Of the training.
        own: Weight of the images themselves in the loss, and their part of a batch; 0 leaves them out: then only the priors are learned of them.
        seed: Of everything.
    """

    widen: float = 5.0
    starts: int = 3
    max_steps: int = 40
    signals: int = 2048
    steps: int = 600
    batch: int = 64
    learning_rate: float = 3e-4
    own: float = 0.25
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"widen": 1, "starts": 1, "max_steps": 1, "signals": 8, "steps": 1, "batch": 2}
        for name, value in least.items():
            if not getattr(self, name) >= value:
                raise ValueError(
                    f"Argument `{name}` of an adaptation must be ≥ {value}, but is {getattr(self, name)!r}."
                )
        if not 0 <= self.own < 1:
            raise ValueError(f"Argument `own` of an adaptation must be from 0 to below 1, but is {self.own!r}.")
        if not self.learning_rate > 0:
            raise ValueError(f"Argument `learning_rate` of an adaptation must be > 0, but is {self.learning_rate!r}.")


def adapt(
    reverse: Reverse, images: Sequence[xr.DataArray], settings: Adaptation | None = None, *,
    folder: str | os.PathLike[str] | None = None, quiet: bool = False,
) -> Reverse:  # fmt: skip
    """A network for images like these, which carry no labels.

    Args:
        reverse: The network to begin with.
        images: Maps of one instrument: the same axes, photon energy and resolution; see `check_image`.
        settings: See `Adaptation`.
        folder: Keeps refinements, signals and checkpoints: a call that was killed goes on from there, to the same weights.
            None: nothing is kept.
        quiet: Whether to show no progress bars.

    Returns:
        The network with the family whose priors are those of the images' nuisances; its record says how many of the
        images were used (`adapted`).

    Raises:
        ValueError: images differ in axes or attributes, or the model explains too few of them; the family has marginalised
            numbers; or the folder holds an adaptation of other images, settings or weights.
        FloatingPointError: the loss became NaN (which step).
        OSError: the folder could not be written; what was there is kept.
    """
    settings = Adaptation() if settings is None else settings
    if reverse.family.marginalised:
        raise ValueError(
            "Argument `reverse` must be a network that infers all that its family draws, but that of "
            f"{reverse.family.name!r} is trained over {len(reverse.family.marginalised)} marginalised numbers."
        )
    images = [check_image(image, reverse.family, reverse.network.shape) for image in images]
    _check_alike(images)
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(tempfile.TemporaryDirectory()) if folder is None else folder
        return _adapted(reverse, images, settings, Path(place).resolve(), quiet=quiet)


def _adapted(
    reverse: Reverse, images: Sequence[xr.DataArray], settings: Adaptation, folder: Path, *, quiet: bool
) -> Reverse:
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()) and not (folder / "run.json").exists():
        raise ValueError(f"Folder {folder} must be empty or hold an adaptation, but holds other files.")
    config = dataclasses.asdict(settings) | {
        "images": _digest(images), "weights": _digest_of_weights(reverse), "precision": str(jnp.zeros(()).dtype)
    }  # fmt: skip
    check_folder(folder, {"adaptation": FORMAT, "config": config}, partial(_check_mark, config=config))
    wide = widened(reverse.family, settings.widen)
    how = {"starts": settings.starts, "max_steps": settings.max_steps, "seed": settings.seed}
    found = explained(reverse, wide, images, **how, folder=folder / "refined", quiet=quiet)
    if len(found) < FEWEST:
        raise ValueError(
            f"Argument `images` must hold at least {FEWEST} that the model explains, but it explains {len(found)} of {len(images)}."
        )
    family = reverse.family.with_priors(priors_of(reverse.family, found))
    labelled = [
        labels_of(image, wide, family, np.random.default_rng([settings.seed, i])) for i, image in enumerate(found)
    ]
    with single_precision():
        network, held_out = _trained(reverse, family, labelled, settings, folder, quiet=quiet)
        told = {"images": len(images), "explained": len(labelled), "settings": dataclasses.asdict(settings)}
        return finish(family, network, held_out, reverse.record | {"priors": _priors(family), "adapted": told})


def _trained(
    reverse: Reverse, family: Family, labelled: list[Labelled], settings: Adaptation, folder: Path, *, quiet: bool
) -> tuple[ReverseNetwork, Images]:
    """The network after its training, and simulated images that it has not seen."""
    key, held = jax.random.key(settings.seed), settings.signals // 4
    clean = open_cache(family, folder / "signals", settings.signals + held, seed=settings.seed, quiet=quiet)
    clean = jax.tree.map(lambda x: jnp.asarray(x[: settings.signals + held]), clean)
    own = min(settings.batch - 1, max(1, round(settings.own * settings.batch))) if settings.own else 0
    loss_of = make_loss(reverse.network)

    def loss(weights: Any, both: tuple[Images, Images | None]) -> jax.Array:
        simulated, measured = both
        if measured is None:
            return loss_of(weights, simulated)
        return (1 - settings.own) * loss_of(weights, simulated) + settings.own * loss_of(weights, measured)

    def batch_of(i: int) -> tuple[Images, Images | None]:
        first, second = jax.random.split(jax.random.fold_in(jax.random.fold_in(key, WEIGHTS), i))
        index = jax.random.randint(first, (settings.batch - own,), held, settings.signals + held)
        simulated = expose(family, second, jax.tree.map(lambda x: x[index], clean))
        rng = np.random.default_rng([settings.seed, i])
        return simulated, _own_batch(family, labelled, rng, own) if own else None

    rest = jax.tree.map(lambda x: x[:held], clean)
    several = [expose(family, jax.random.fold_in(key, 10 + i), rest) for i in range(4)]
    schedule = make_schedule(settings.learning_rate, settings.steps // 10, settings.steps)
    job = Job(settings.steps, CHECKPOINT_EVERY, batch_of, loss, lambda: (several[0], batch_of(settings.steps)[1]), schedule)  # fmt: skip
    with open_manager(folder) as manager:
        weights = run_job(job, folder, weights_of(reverse.network), manager, quiet=quiet)
    return with_weights(reverse.network, weights), side_by_side(several)


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


def _digest(images: Sequence[xr.DataArray]) -> str:
    """Sixteen hexadecimal digits of maps that are alike in axes and attributes."""
    first = images[0]
    told = repr([float(first.attrs[n]) for n in ALIKE]).encode()
    arrays = [first["kx"].values, first["energy"].values, *(image.values for image in images)]
    return hashlib.sha256(told + b"".join(np.ascontiguousarray(x, float).tobytes() for x in arrays)).hexdigest()[:16]


def _digest_of_weights(reverse: Reverse) -> str:
    """Sixteen hexadecimal digits of a network and its family."""
    flat = flat_weights(weights_of(reverse.network))
    content = reverse.family.fingerprint.encode() + b"".join(flat[name].tobytes() for name in sorted(flat))
    return hashlib.sha256(content).hexdigest()[:16]


def _check_mark(found: dict[str, Any], owner: str, *, config: dict[str, Any]) -> None:
    if found.get("adaptation") != FORMAT:
        raise ValueError(
            f"{owner} must be empty or hold an adaptation of this version, but holds something else; delete it."
        )
    changed = [n for n in ("images", "weights", "precision") if found.get("config", {}).get(n) != config[n]]
    if changed:
        raise ValueError(
            f"{owner} must hold an adaptation with the same {' and '.join(changed)}, but was begun with others; delete it to begin anew."
        )


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
        for name in ALIKE:
            if image.attrs[name] != images[0].attrs[name]:
                raise ValueError(
                    f"Argument `images` must hold maps with the same `{name}`, but map {i} has {image.attrs[name]:g} and the first {images[0].attrs[name]:g}."
                )
