"""Images without labels, and what the physics says of them: which the model explains, their nuisances, draws of their posteriors.

Every image is refined by the exact model, with wide priors of Fermi level, lifetime and inner potential (the exposure's stay). Of the
images that it explains (by the residual test) these nuisances become the family's priors, and each gives pseudo-labels: draws from

    p(x | image) ∝ exp(−½ (x − x*)ᵀ F (x − x*)),

the end x* of the refinement and the Fisher matrix F with the new priors (Laplace, Gauss-Newton). An image with two explanations is
taught by the one that was accepted first.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr
from rich.progress import track

from bandjax.learning.cache import single_precision
from bandjax.learning.closed_loop import guess_of
from bandjax.learning.family import Family, centre_and_spread, exposure_parameters
from bandjax.learning.observe import as_seen
from bandjax.learning.refinement import Refinement
from bandjax.learning.residuals import MISFIT
from bandjax.learning.reverse import Seen
from bandjax.learning.weights import Reverse, load_arrays, save_arrays
from bandjax.photoemission import QUANTITIES

NARROWEST = 0.3  # part of the old prior's width that the new one has at least
DRAWS = 64  # labels kept of each image


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


def widened(family: Family, factor: float) -> Family:
    """The family with wider priors of the nuisances that are no exposure."""
    old = {n: centre_and_spread(p) for n, p in family.parameters if n in QUANTITIES}
    return family.with_priors({n: (centre, factor * sigma) for n, (centre, sigma) in old.items()})


def explained(
    reverse: Reverse, family: Family, images: Sequence[xr.DataArray], *, starts: int, max_steps: int, seed: int,
    folder: Path | None = None, quiet: bool = False,
) -> list[Explained]:  # fmt: skip
    """The images that the family's model explains, each with its Gaussian posterior.

    Args:
        reverse: Gives the starts.
        family: Its priors enter the refinements.
        images: Checked maps with the same axes and attributes.
        starts: Of each refinement, from the network.
        max_steps: Trials at most of each.
        seed: Of the network's draws.
        folder: Keeps each refinement; those that it holds are not done again.
        quiet: Whether to show no progress bar.
    """
    level = float(np.median([np.nanmean(image.values) for image in images]))  # the unit of the backgrounds' priors
    refinement = Refinement(images[0], family, level, max_steps=max_steps)
    names, out = refinement.transform.names, []
    order = [names.index(name) for name in reverse.family.names]
    for i, image in enumerate(track(images, "refinements", disable=quiet)):
        path = None if folder is None else folder / f"{i:04d}.npz"
        if path is not None and path.exists():
            record, kept = load_arrays(path, "a refinement", ("values", "precision"))
        else:
            guess = guess_of(image, reverse, seed=seed + i)
            _, state, _ = refinement.refine(image.values, guess, starts)
            record = {"explained": bool(state.done) and max(refinement.misfits(image.values, state)) <= MISFIT}
            values = np.array(list(refinement.values(state).values()))[order]
            kept = {"values": values, "precision": refinement.precision(state)[np.ix_(order, order)]}
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                save_arrays(path, record, kept)
        if record["explained"]:
            with single_precision():
                view, share = as_seen(image, reverse.family, seed=seed)
            out.append(Explained(view, share, kept["values"], kept["precision"]))
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
