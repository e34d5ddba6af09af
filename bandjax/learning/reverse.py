"""The reverse network: from counts on any grid to a posterior over the latent.

Queries sit at learned places (k, E) of the physical plane, not of the picture. Each attends to the pixels near it,

    f_q = Σ_i m_i w_qi a_i/(Σ_i m_i w_qi + ε),     w_qi = exp(−(k_i − k_q)²/2ℓ_k² − (E_i − E_q)²/2ℓ_E²),

and also sees how much it could attend to (its coverage), so that axes, steps, crops and dead pixels enter through the
coordinates and the mask m. a is the variance-stabilised count √(n + 3/8) (F. J. Anscombe, Biometrika 35, 246 (1948)) in
units of the image's mean, and the mean itself, which sets the noise, is told beside it. Rows of queries of one k become
tokens, which mixer blocks (after I. Tolstikhin et al., MLP-Mixer, 2021) combine.
"""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from bandjax.learning.images import Images, mean_counts
from bandjax.learning.mixture import Mixture, mixture_of, parameter_count

GLOBALS = 10  # numbers that describe an image as a whole
FEATURES = 64  # of the pooled image, by which images are compared with those of the training
EMPTY = 0.05  # ε above


@dataclasses.dataclass(frozen=True)
class Shape:
    """Sizes of a reverse network.

    Attributes:
        latent: Numbers to infer.
        components: Gaussians of the posterior.
        rows, columns: Queries along k and E.
        reach_k, reach_energy: Ends of the plane that they cover, 1/Å and eV.
        width: Length of a token.
        blocks: Mixer blocks.
        hidden: Length of the head's layers.
        typical: (centre, scale) of what describes an image as a whole, in the order of `_globals`.
    """

    latent: int = 11
    components: int = 4
    rows: int = 24
    columns: int = 56
    reach_k: tuple[float, float] = (-1.0, 1.0)
    reach_energy: tuple[float, float] = (-7.0, 0.6)
    width: int = 128
    blocks: int = 3
    hidden: int = 256
    typical: tuple[tuple[float, float], ...] = (
        (0.0, 1.0), (0.0, 1.0), (-5.0, 1.5), (0.0, 1.5), (2.9, 1.1), (100.0, 6.0), (0.125, 0.045), (0.06, 0.1), (0.13, 0.1),
        (math.log(800.0), 1.0),
    )  # fmt: skip


class Seen(NamedTuple):
    """One image as the network sees it: no latent."""

    counts: jax.Array  # (kx, energy)
    mask: jax.Array  # (kx, energy)
    kx: jax.Array  # 1/Å
    energy: jax.Array  # E − E_F, eV
    photon_energy: jax.Array  # eV
    fwhm_energy: jax.Array  # eV


def seen(images: Images) -> Seen:
    """What is seen of images; every field keeps its leading axes."""
    return Seen(*(getattr(images, name) for name in Seen._fields))


class Block(nnx.Module):
    """Mixes tokens, then the numbers within each."""

    def __init__(self, tokens: int, width: int, *, rngs: nnx.Rngs) -> None:
        self.first, self.second = nnx.LayerNorm(width, rngs=rngs), nnx.LayerNorm(width, rngs=rngs)
        self.across = nnx.Linear(tokens, 2 * tokens, rngs=rngs)
        self.back = nnx.Linear(2 * tokens, tokens, rngs=rngs)
        self.within = nnx.Linear(width, 2 * width, rngs=rngs)
        self.out = nnx.Linear(2 * width, width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Tokens to tokens, (token, width)."""
        x = x + self.back(nnx.gelu(self.across(self.first(x).T))).T
        return x + self.out(nnx.gelu(self.within(self.second(x))))


class ReverseNetwork(nnx.Module):
    """Image to posterior; written for one image, to be mapped."""

    def __init__(self, shape: Shape, *, rngs: nnx.Rngs) -> None:
        self.shape = shape
        k, e = np.linspace(*shape.reach_k, shape.rows), np.linspace(*shape.reach_energy, shape.columns)
        self.k, self.energy = nnx.Param(jnp.array(k, jnp.float32)), nnx.Param(jnp.array(e, jnp.float32))
        self.log_reach = nnx.Param(jnp.log(jnp.array([0.6 * (k[1] - k[0]), 0.7 * (e[1] - e[0])], jnp.float32)))
        self.embed = nnx.Linear(2 * shape.columns, shape.width, rngs=rngs)
        self.place = nnx.Param(0.02 * jax.random.normal(rngs.params(), (shape.rows, shape.width)))
        self.whole = nnx.Linear(GLOBALS, shape.width, rngs=rngs)
        self.blocks = nnx.List([Block(shape.rows, shape.width, rngs=rngs) for _ in range(shape.blocks)])
        self.norm = nnx.LayerNorm(shape.width, rngs=rngs)
        self.narrow = nnx.Linear(shape.width, 48, rngs=rngs)
        self.head = nnx.Linear(48 * shape.rows + GLOBALS, shape.hidden, rngs=rngs)
        self.deeper = nnx.Linear(shape.hidden, shape.hidden, rngs=rngs)
        self.pooled = nnx.Linear(shape.hidden, FEATURES, rngs=rngs)
        self.out = nnx.Linear(
            shape.hidden + FEATURES, parameter_count(shape.latent, shape.components), rngs=rngs,
            kernel_init=nnx.initializers.normal(0.02), bias_init=nnx.initializers.normal(0.3),
        )  # fmt: skip

    def __call__(self, image: Seen) -> tuple[Mixture, jax.Array]:
        """Posterior of one image, and its pooled features (feature,)."""
        whole = _globals(image, self.shape.typical)
        attended, coverage = self.attend(image)
        x = self.embed(jnp.concatenate([attended, coverage], axis=-1)) + self.place[...] + self.whole(whole)
        for block in self.blocks:
            x = block(x)
        x = nnx.gelu(self.narrow(self.norm(x))).ravel()
        x = nnx.gelu(self.head(jnp.concatenate([x, whole])))
        x = x + nnx.gelu(self.deeper(x))
        features = nnx.tanh(self.pooled(x))
        numbers = self.out(jnp.concatenate([x, features]))
        return mixture_of(numbers, self.shape.latent, self.shape.components), features

    def attend(self, image: Seen) -> tuple[jax.Array, jax.Array]:
        """What the queries find, and how much of their surroundings has pixels, both (row, column)."""
        level = mean_counts(image.counts, image.mask)
        stable = (jnp.sqrt(image.counts + 0.375) - jnp.sqrt(0.375)) / jnp.sqrt(level)
        reach = jnp.exp(self.log_reach[...])
        near_k = jnp.exp(-0.5 * ((self.k[...][:, None] - image.kx) / reach[0]) ** 2)
        near_e = jnp.exp(-0.5 * ((self.energy[...][:, None] - image.energy) / reach[1]) ** 2)
        mass = near_k @ image.mask @ near_e.T
        found = near_k @ (image.mask * stable) @ near_e.T / (mass + EMPTY)
        steps = (image.kx[1] - image.kx[0]) * (image.energy[1] - image.energy[0])
        return found, mass * steps / (2 * np.pi * reach[0] * reach[1])  # 1 inside an image without dead pixels


def _globals(image: Seen, typical: tuple[tuple[float, float], ...]) -> jax.Array:
    """What describes an image as a whole, less its typical values and of order one, (GLOBALS,)."""
    level = mean_counts(image.counts, image.mask)
    row, column = image.mask.max(axis=1) > 0, image.mask.max(axis=0) > 0
    numbers = jnp.stack([
        jnp.min(jnp.where(row, image.kx, jnp.inf)), jnp.max(jnp.where(row, image.kx, -jnp.inf)),
        jnp.min(jnp.where(column, image.energy, jnp.inf)), jnp.max(jnp.where(column, image.energy, -jnp.inf)),
        jnp.log(level), image.photon_energy, image.fwhm_energy, image.kx[1] - image.kx[0],
        image.energy[1] - image.energy[0], jnp.log(image.mask.sum()),
    ])  # fmt: skip
    centre, scale = np.array(typical).T
    return (numbers - jnp.asarray(centre, numbers.dtype)) / jnp.asarray(scale, numbers.dtype)
