"""A small network from coordinates to a log rate: random waves, then dense layers.

First layer, with x the coordinates scaled to ±1 over the window, b_j fixed Gaussian directions and s_a one bandwidth an axis:

    "fourier":  h = (cos z, sin z),  z_j = Σ_a b_ja s_a x_a       (Tancik et al., NeurIPS 2020), then GELU layers
    "siren":    h = sin(z_j + φ_j),  b and φ trained too           (Sitzmann et al., NeurIPS 2020), then sine layers

Here s is a weight like the others (its logarithm is trained), so that axes with finer structure take higher frequencies. What SIREN writes
as ω₀ in every layer is in s, and hidden layers begin uniform in ±√(6/n): the same function at the start, other steps of a
training. The last layer begins at zero: an untrained network is the flat map.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

KINDS = ("fourier", "siren")
MOST = 30.0  # |log rate|: beyond it exp overflows single precision when something went wrong


class Weights(NamedTuple):
    """Weights of one network, or with a leading axis of several.

    Attributes:
        directions: b, (axis, wave).
        phases: φ, (wave,); stays 0 for "fourier".
        log_bandwidth: log s, (axis,).
        layers: (matrix, bias) of every layer after the waves; the last has one output.
    """

    directions: jax.Array
    phases: jax.Array
    log_bandwidth: jax.Array
    layers: tuple[tuple[jax.Array, jax.Array], ...]


def make_weights(key: jax.Array, kind: str, bandwidth: Sequence[float], width: int, depth: int) -> Weights:
    """Random weights, float32.

    Args:
        key: Random key.
        kind: One of `KINDS`.
        bandwidth: s, in radians over half the window, one an axis.
        width: Waves, and units of every hidden layer.
        depth: Hidden layers.
    """
    keys = jax.random.split(key, depth + 2)
    axes = len(bandwidth)
    directions = jax.random.normal(keys[0], (axes, width), jnp.float32)
    phases = jnp.zeros(width, jnp.float32)
    if kind == "siren":
        phases = jax.random.uniform(keys[1], (width,), jnp.float32, -np.pi, np.pi)
    inputs, layers = (2 * width if kind == "fourier" else width), []
    for i in range(depth):
        reach = float(np.sqrt(6 / inputs))
        matrix = jax.random.uniform(keys[2 + i], (inputs, width), jnp.float32, -reach, reach)
        layers.append((matrix, jnp.zeros(width, jnp.float32)))
        inputs = width
    layers.append((jnp.zeros((inputs, 1), jnp.float32), jnp.zeros(1, jnp.float32)))
    return Weights(directions, phases, jnp.log(jnp.asarray(bandwidth, jnp.float32)), tuple(layers))


def log_rate(weights: Weights, x: jax.Array, kind: str) -> jax.Array:
    """Log of the rate relative to the mean of the data at scaled coordinates (…, axis)."""
    fourier = kind == "fourier"
    directions = jax.lax.stop_gradient(weights.directions) if fourier else weights.directions
    z = (x * jnp.exp(weights.log_bandwidth)) @ directions
    h = jnp.concatenate([jnp.cos(z), jnp.sin(z)], axis=-1) if fourier else jnp.sin(z + weights.phases)
    for matrix, bias in weights.layers[:-1]:
        h = h @ matrix + bias
        h = jax.nn.gelu(h) if fourier else jnp.sin(h)
    matrix, bias = weights.layers[-1]
    return jnp.clip((h @ matrix + bias)[..., 0], -MOST, MOST)
