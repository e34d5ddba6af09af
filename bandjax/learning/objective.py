"""What a training of a reverse network lowers, and the scores of its end.

    loss = −mean log q(latent | image)

over draws of (latent, image) from the family: its minimum over all q is the posterior itself, whatever the prior.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bandjax.learning.family import Family
from bandjax.learning.images import Images
from bandjax.learning.mixture import log_prob, moments
from bandjax.learning.reverse import ReverseNetwork, seen
from bandjax.learning.weights import Reverse, with_weights

LEVELS = np.linspace(0.0, 1.0, 201)  # of the stored quantiles


def make_loss(network: ReverseNetwork) -> Callable[[Any, Images], jax.Array]:
    """(weights, images) -> −mean log posterior density of the true latents."""

    def loss(weights: Any, images: Images) -> jax.Array:
        mixture, _ = jax.vmap(with_weights(network, weights))(seen(images))
        return -log_prob(mixture, images.latent).mean()

    return loss


def side_by_side(exposures: Sequence[Images]) -> Images:
    """Several exposures of the same stacks, those of each stack together, so that halves share none."""
    return jax.tree.map(lambda *x: jnp.stack(x, axis=1).reshape(-1, *x[0].shape[1:]), *exposures)


def finish(family: Family, network: ReverseNetwork, images: Images, record: dict[str, Any]) -> Reverse:
    """A network with the statistics of its features and its scores on held-out images.

    The first half of the images gives centre and covariance of the features, the second half the distances, so that a
    distance is that of an image which had no part in either. Exposures of one stack must lie side by side (`side_by_side`).
    """
    mixture, features = jax.jit(lambda s: jax.vmap(network)(s))(seen(images))
    features, half = np.asarray(features, float), len(features) // 2
    centre = features[:half].mean(axis=0)
    covariance = np.cov(features[:half].T) + 1e-4 * np.eye(features.shape[1])
    precision = np.linalg.inv(covariance)
    off = features[half:] - centre
    distances = np.quantile(np.sqrt(np.einsum("if,fg,ig->i", off, precision, off)), LEVELS)
    mean, spread = jax.vmap(moments)(mixture)
    error = np.abs(np.asarray(mean - images.latent))
    sigma = np.sqrt(np.asarray(jnp.diagonal(spread, axis1=1, axis2=2)))
    scores = {
        "held_out": len(features), "minus_log_posterior": float(-log_prob(mixture, images.latent).mean()),
        "rmse_in_priors": dict(zip(family.names, np.sqrt((error**2).mean(axis=0)).tolist(), strict=True)),
        "covered_68": dict(zip(family.names, (error < sigma).mean(axis=0).tolist(), strict=True)),
    }  # fmt: skip
    return Reverse(family, network, centre, precision, distances, record | {"scores": scores})
