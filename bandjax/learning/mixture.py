"""Gaussian mixtures with full covariances, the form of a network's posterior.

    p(z) = Σ_c w_c N(z; μ_c, (L_c L_cᵀ)⁻¹),     L lower triangular with a positive diagonal

The Cholesky factor is that of the precision, so that the density needs no solve and log det is Σ log L_ii.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

LARGEST_LOG = 6.0  # |log| of a diagonal element at most: widths between e^-6 and e^6 of the prior's


class Mixture(NamedTuple):
    """A mixture over a latent; any leading axes.

    Attributes:
        log_weight: (…, component), normalised.
        mean: (…, component, latent).
        root: L, (…, component, latent, latent).
    """

    log_weight: jax.Array
    mean: jax.Array
    root: jax.Array


def parameter_count(latent: int, components: int) -> int:
    """Free numbers of a mixture."""
    return components * (1 + latent + latent * (latent + 1) // 2)


def mixture_of(numbers: jax.Array, latent: int, components: int) -> Mixture:
    """The mixture of `parameter_count` unconstrained numbers, (…, number)."""
    rows, columns = np.tril_indices(latent)
    head, mean, lower = jnp.split(numbers, [components, components * (1 + latent)], axis=-1)
    shape = (*numbers.shape[:-1], components)
    lower = lower.reshape(*shape, rows.size)
    on_diagonal = rows == columns
    lower = jnp.where(on_diagonal, jnp.exp(jnp.clip(lower, -LARGEST_LOG, LARGEST_LOG)), lower)
    root = jnp.zeros((*shape, latent, latent), numbers.dtype).at[..., rows, columns].set(lower)
    return Mixture(jax.nn.log_softmax(head), mean.reshape(*shape, latent), root)


def log_prob(mixture: Mixture, z: jax.Array) -> jax.Array:
    """log p(z) of latents (…, latent) under mixtures with the same leading axes, (…,)."""
    off = jnp.einsum("...cij,...ci->...cj", mixture.root, z[..., None, :] - mixture.mean, precision="highest")
    log_det = jnp.log(jnp.diagonal(mixture.root, axis1=-2, axis2=-1)).sum(axis=-1)
    each = log_det - 0.5 * (off**2).sum(axis=-1) - 0.5 * z.shape[-1] * np.log(2 * np.pi)
    return jax.nn.logsumexp(mixture.log_weight + each, axis=-1)


def sample(mixture: Mixture, key: jax.Array, count: int) -> jax.Array:
    """Draws from one mixture (no leading axes), (count, latent)."""
    first, second = jax.random.split(key)
    chosen = jax.random.categorical(first, mixture.log_weight, shape=(count,))
    normal = jax.random.normal(second, (count, mixture.mean.shape[-1]), mixture.mean.dtype)
    solve = lambda root, x: jax.scipy.linalg.solve_triangular(root, x, lower=True, trans="T")  # noqa: E731
    return mixture.mean[chosen] + jax.vmap(solve)(mixture.root[chosen], normal)


def distances(mixture: Mixture, points: jax.Array, of: Sequence[int]) -> jax.Array:
    """How far latents lie apart, in standard deviations, (point, point): the larger of the root mean square over directions and
    half of the largest difference of one latent, so that what differs in one number alone is apart too.

    The standard deviation is that of the difference of two draws from the components that the points belong to (those
    most likely to have made them): two draws of one component are about 1 apart, however many other components there are.

    Args:
        mixture: One mixture (no leading axes).
        points: (point, latent).
        of: The latents that count.
    """
    one_by_one = lambda z: log_prob(Mixture(jnp.zeros((c, 1)), *(x[:, None] for x in mixture[1:])), z)  # noqa: E731
    c, eye = mixture.log_weight.size, jnp.eye(points.shape[-1], dtype=points.dtype)
    owner = jnp.argmax(mixture.log_weight + jax.vmap(one_by_one)(points), axis=-1)
    inverse = jax.vmap(lambda root: jax.scipy.linalg.cho_solve((root, True), eye))(mixture.root)
    kept = np.array(of)
    covariance = inverse[:, kept[:, None], kept][owner]
    off = (points[:, None] - points)[..., kept]
    both = covariance[:, None] + covariance
    solved = jnp.linalg.solve(both, off[..., None])[..., 0]
    largest = (jnp.abs(off) / jnp.sqrt(jnp.diagonal(both, axis1=-2, axis2=-1))).max(axis=-1)
    return jnp.maximum(jnp.sqrt((off * solved).mean(axis=-1)), largest / 2)


def moments(mixture: Mixture) -> tuple[jax.Array, jax.Array]:
    """Mean (latent,) and covariance (latent, latent) of one mixture."""
    weight = jnp.exp(mixture.log_weight)
    mean = weight @ mixture.mean
    eye = jnp.eye(mean.size, dtype=mean.dtype)
    inverse = jax.vmap(lambda root: jax.scipy.linalg.cho_solve((root, True), eye))(mixture.root)
    off = mixture.mean - mean
    return mean, jnp.einsum("c,cij->ij", weight, inverse + off[:, :, None] * off[:, None, :], precision="highest")
