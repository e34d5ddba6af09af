"""Small stacks from keys, with the exact local spectral functions of their layers: what a surrogate is trained on.

All layers that differ lie within `UNIT` = 8 monolayers: superlattices of 2 to 8 monolayers a period, and up to 8 monolayers between
two crystals of one composition each, or between two such superlattices. Abrupt, interdiffused, alloyed and random profiles, any phase, any in-plane lattice
constant from silicon's to germanium's, and layers stretched against the elastic law. Everything comes from a key.
"""

import hashlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bandjax.learning.exact_layers import TABLE, Profile, exact_layers

REACH = 32  # layers to each side that are kept of the surroundings
UNIT = 8
SMALLER = 6  # a unit whose thirds and halves 8 does not have
A_PARALLEL = (5.42, 5.67)  # Å
COUNTS = (32, 16, 8, 24, 24)  # in a block, in the order of `KINDS`
K_POINTS, TURNS = 64, 8  # wave vectors, and blocks until all of them have come
ETA = 0.05  # eV
VALENCE = np.linspace(-13.0, 1.0, 265)  # eV, seen with ETA
ABOVE, ETA_ABOVE = np.arange(1.4, 14.01, 0.4), 0.4  # eV; above the gap a coarse view is enough for the sum rule
ENERGY = np.concatenate([VALENCE, ABOVE])
GAMMA = np.concatenate([np.full(VALENCE.size, ETA), np.full(ABOVE.size, ETA_ABOVE)])


class Layers(NamedTuple):
    """Layers with their surroundings, and their spectral functions at some of the wave vectors."""

    composition: jax.Array  # (layer, 2 REACH + 1), directed: even layers upwards, odd layers downwards
    stretch: jax.Array  # the same
    a_parallel: jax.Array  # (layer,), Å
    spectra: jax.Array  # (layer, k, energy), 1/eV


def reduced_wave_vectors(turn: int = 0, turns: int = 1) -> np.ndarray:
    """Every `turns`-th of the wave vectors along [110], from number `turn` on, in units of the zone edge √2π/a∥."""
    return np.linspace(0.0, 1.0, K_POINTS)[turn::turns]


def surroundings(profile: Profile, period: int | None, reach: int = REACH) -> tuple[jax.Array, jax.Array]:
    """Composition and stretch around each layer, directed, two arrays (layer, 2 reach + 1).

    Args:
        profile: Layers from the bottom; the first and last `period` go on for ever.
        period: Even, as the number of layers; None: the outermost layers go on.
        reach: Layers to each side.
    """
    count = profile.composition.size
    # place of each layer of the endless stack in the profile
    index = np.arange(-reach, count + reach)
    if period is None:
        index = np.clip(index, 0, count - 1)
    else:
        index = np.where(index < 0, index % period, index)
        index = np.where(index >= count, count - period + (index - count) % period, index)
    offset = np.arange(-reach, reach + 1)
    way = np.where(np.arange(count) % 2 == 0, 1, -1)
    at = index[reach + np.arange(count)[:, None] + way[:, None] * offset]
    return profile.composition[at], profile.stretch[at]


def draw_layers(key: jax.Array, turn: jax.Array) -> Layers:
    """One block of layers in float32, at the wave vectors of a turn (an integer, possibly traced)."""
    t = jnp.asarray(np.stack([reduced_wave_vectors(i, TURNS) for i in range(TURNS)]))[turn]
    parts = []
    keys = (*jax.random.split(key, 3), jax.random.fold_in(key, 3), jax.random.fold_in(key, 4))
    for (draw, period), count, one in zip(KINDS, COUNTS, keys, strict=True):
        parts.append(
            jax.lax.map(
                lambda k, draw=draw, period=period: _exact(draw(k, period), period, t), jax.random.split(one, count)
            )
        )
    return Layers(
        *(jnp.concatenate([p.reshape(-1, *p.shape[2:]) for p in fields]) for fields in zip(*parts, strict=True))
    )


def _exact(profile: Profile, period: int, t: jax.Array) -> Layers:
    dtype = profile.composition.dtype
    spectra = exact_layers(profile, period, t, jnp.asarray(ENERGY, dtype), jnp.asarray(GAMMA, dtype))
    count = profile.composition.size
    return Layers(*surroundings(profile, period), jnp.full(count, profile.a_parallel), spectra)


def _repeated(key: jax.Array, period: int) -> Profile:
    """One period of a superlattice."""
    keys = jax.random.split(key, 3)
    return Profile(_pattern(keys[0], period), _stretch(keys[1], period), _a_parallel(keys[2]))


def _buried(key: jax.Array, period: int) -> Profile:
    """Up to `period` layers between two crystals, three times `period` layers in all."""
    keys = jax.random.split(key, 8)
    below, above = _level(keys[0]), _level(keys[1])
    kind = jax.random.uniform(keys[2])
    place = jnp.arange(period)
    ends = jax.random.uniform(keys[3], (2,), minval=-0.5, maxval=period - 0.5).sort()
    # an interface, abrupt or interdiffused; a thin layer; any pattern
    width = jnp.exp(jax.random.uniform(keys[4], minval=jnp.log(0.1), maxval=jnp.log(1.5)))
    step = lambda edge: 0.5 * (1 + jax.scipy.special.erf((place - edge) / (2**0.5 * width)))  # noqa: E731
    graded = below + (above - below) * step(period / 2 - 0.5)
    level = _level(keys[5])
    layer = below + (level - below) * step(ends[0]) + (above - level) * step(ends[1])
    middle = jnp.where(kind < 0.25, graded, jnp.where(kind < 0.6, layer, _pattern(keys[6], period)))
    c = jnp.concatenate([jnp.full(period, below), jnp.clip(middle, 0.0, 1.0), jnp.full(period, above)])
    stretch = jnp.pad(_stretch(keys[7], period), period)
    return Profile(c, stretch, _a_parallel(jax.random.fold_in(key, 1)))


def _joined(key: jax.Array, period: int) -> Profile:
    """Two crystals or superlattices of up to `period` layers, and a third unit between them."""
    keys = jax.random.split(key, 10)
    units = []
    for i in range(3):
        flat = jax.random.uniform(keys[3 * i]) < 0.35
        units.append(jnp.where(flat, _level(keys[3 * i + 1]), _pattern(keys[3 * i + 2], period)))
    more = jax.random.split(keys[9], 4)
    stretch = jnp.concatenate([_stretch(k, period) for k in more[:3]])
    return Profile(jnp.concatenate(units), stretch, _a_parallel(more[3]))


def _abrupt(key: jax.Array, period: int) -> Profile:
    """As `_joined`, of pure silicon and germanium only and without stretch: interfaces are sharpest there."""
    keys = jax.random.split(key, 6)
    place = jnp.arange(period)
    units = []
    for i in range(3):
        first, second = jax.random.split(keys[i])
        ends = jax.random.randint(first, (2,), 0, period + 1).sort()  # flat where both are one
        inside = (place >= ends[0]) & (place < ends[1])
        units.append(jnp.where(jax.random.uniform(second) < 0.5, inside, ~inside).astype(float))
    c = jnp.concatenate(units)
    return Profile(c, jnp.zeros_like(c), _a_parallel(keys[5]))


def _pattern(key: jax.Array, period: int) -> jax.Array:
    """`period` layers that repeat: two materials or alloys, abrupt or interdiffused; or each layer on its own."""
    keys = jax.random.split(key, 8)
    parts = jnp.array([p for p in range(2, period + 1) if period % p == 0])
    weights = jnp.array([1.0] * (parts.size - 1) + [3.0])
    own = jax.random.choice(keys[0], parts, p=weights / weights.sum())
    first = jax.random.randint(keys[1], (), 1, own)
    inside = (jnp.arange(period) + jax.random.randint(keys[2], (), 0, own)) % own < first
    levels = jnp.where(jax.random.uniform(keys[3]) < 0.6, jnp.array([0.0, 1.0]), jax.random.uniform(keys[4], (2,)))
    c = jnp.where(inside, levels[1], levels[0])
    sigma = jnp.where(jax.random.uniform(keys[5]) < 0.4, jax.random.uniform(keys[6], minval=0.3, maxval=1.5), 1e-3)
    around = (np.arange(period)[:, None] - np.arange(period) + period // 2) % period - period // 2
    mix = jax.nn.softmax(-0.5 * (around / sigma) ** 2, axis=1)
    alone, choose = jax.random.split(keys[7])
    random = jnp.clip(jax.random.uniform(alone, (period,), minval=-0.3, maxval=1.3), 0.0, 1.0)
    return jnp.where(jax.random.uniform(choose) < 0.25, random, mix @ c)


def _level(key: jax.Array) -> jax.Array:
    """Composition of a thick crystal: silicon, germanium or an alloy."""
    kind, value = jax.random.split(key)
    u = jax.random.uniform(kind)
    return jnp.where(u < 0.35, 0.0, jnp.where(u < 0.7, 1.0, jax.random.uniform(value)))


def _stretch(key: jax.Array, count: int) -> jax.Array:
    """None in half of the stacks, up to 1 % (standard deviation) in the others."""
    first, second, third = jax.random.split(key, 3)
    size = jnp.where(jax.random.uniform(first) < 0.5, 0.0, jax.random.uniform(second, maxval=0.01))
    return size * jnp.clip(jax.random.normal(third, (count,)), -2.0, 2.0)


def _a_parallel(key: jax.Array) -> jax.Array:
    return jax.random.uniform(key, minval=A_PARALLEL[0], maxval=A_PARALLEL[1])


KINDS = ((_buried, UNIT), (_repeated, UNIT), (_repeated, SMALLER), (_joined, UNIT), (_abrupt, UNIT))
BLOCK_LAYERS = sum(
    count * period * (3 if draw in (_buried, _joined, _abrupt) else 1)
    for (draw, period), count in zip(KINDS, COUNTS, strict=True)
)
VERSION = 1  # of how stacks are drawn; a change makes old caches and weights unusable
FINGERPRINT = hashlib.sha256(
    repr((VERSION, TABLE, REACH, COUNTS, A_PARALLEL, K_POINTS, TURNS, ENERGY.tolist(), GAMMA.tolist())).encode()
).hexdigest()[:16]
