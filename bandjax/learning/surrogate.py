"""The surrogate: from the layers around an atom to its spectral function A_l(k, E), at once.

An atom sees the composition and the stretch of the layers within a window, and the in-plane lattice constant. From these a small network
makes a few numbers z_r(k), and these a density over the energies,

    A_l(k, E) = N Σ_j y_j φ_j(E) / Σ_j y_j Δ_j,     y = (g + √(g² + δ²))/2 ≥ 0,     g_j(k) = b_j(k) + Σ_r z_r(k) q_rj(k),

with N = 5 orbitals and φ_j ≥ 0 of integral Δ_j: cubic B-splines, dense where valence bands are, coarse hats above the gap and one weight
for the Lorentzian tails beyond. So A ≥ 0, ∫A dE = N whatever the weights are, and A is smooth in everything that an atom
sees. A change outside the window changes nothing.
"""

import dataclasses
import os
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import ArrayLike

from bandjax import checks
from bandjax.learning.exact_layers import ORBITALS, Profile
from bandjax.learning.layer_data import A_PARALLEL, ABOVE, FINGERPRINT, K_POINTS, REACH, VALENCE, surroundings
from bandjax.learning.weights import flat_weights, load_arrays, save_arrays, unflatten_weights, weights_of, with_weights

FORMAT = 1  # of the files, and of the network's architecture

STEP, STEP_ABOVE = VALENCE[1] - VALENCE[0], ABOVE[1] - ABOVE[0]  # eV
DELTA = np.concatenate(
    [np.full(VALENCE.size, STEP), np.full(ABOVE.size, STEP_ABOVE), [1.0]]
)  # Δ_j, eV; last: the tails
A_MIDDLE, A_SPREAD, STRETCH_SPREAD = 5.545, 0.08, 0.01
FADE = 4.0  # layers beyond which a layer's composition enters with less weight: a prior for what is near
MEANS = (1.0, 2.0, 4.0, 8.0, 16.0)  # layers over which the composition is averaged: to both sides, upwards, downwards
WAVES = (1, 2)  # frequencies of sines of these means: bands move by more than their width
SOFT = 0.02  # δ, 1/eV
TOGETHER = 32  # energies


@dataclasses.dataclass(frozen=True)
class SurrogateShape:
    """Sizes of a surrogate.

    Attributes:
        window: Layers to each side that are seen, at most `REACH`.
        rank: Numbers z at each wave vector.
        hidden, depth: Length and number of the network's residual layers.
    """

    window: int = 24
    rank: int = 48
    hidden: int = 256
    depth: int = 3


class Surroundings(NamedTuple):
    """What atoms see, directed (`layer_data.surroundings`); fields may have leading axes."""

    composition: jax.Array  # (…, 2 window + 1)
    stretch: jax.Array  # (…, 2 window + 1)
    a_parallel: jax.Array  # (…,), Å


class Block(nnx.Module):
    """A residual layer."""

    def __init__(self, width: int, *, rngs: nnx.Rngs) -> None:
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        self.inside, self.out = nnx.Linear(width, width, rngs=rngs), nnx.Linear(width, width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(…, width) to (…, width)."""
        return x + self.out(nnx.gelu(self.inside(self.norm(x))))


class SurrogateNetwork(nnx.Module):
    """Surroundings to weights y_j."""

    def __init__(self, shape: SurrogateShape, *, rngs: nnx.Rngs) -> None:
        if not 1 <= shape.window <= REACH:
            raise ValueError(f"Argument `window` must be from 1 to {REACH} layers, but is {shape.window}.")
        self.shape = shape
        h = shape.hidden
        self.first = nnx.Linear(feature_count(shape.window), h, rngs=rngs)
        self.blocks = nnx.List([Block(h, rngs=rngs) for _ in range(shape.depth)])
        self.heads = nnx.Param(0.3 / h**0.5 * jax.random.normal(rngs.params(), (h, K_POINTS, shape.rank)))
        self.centre = nnx.Param(jnp.zeros((K_POINTS, shape.rank)))
        self.components = nnx.Param(0.01 * jax.random.normal(rngs.params(), (K_POINTS, shape.rank, DELTA.size)))  # q
        self.mean = nnx.Param(jnp.full((K_POINTS, DELTA.size), 0.1))  # b

    def __call__(self, seen: Surroundings, k: jax.Array | slice = slice(None)) -> jax.Array:
        """N y_j/Σ y_j Δ_j, 1/eV, at the wave vectors of index `k`, (…, k, level)."""
        y, scale = self.by_wave_vector(seen, k)
        return jnp.moveaxis(y * scale[..., None], 0, -2)

    def by_wave_vector(self, seen: Surroundings, k: jax.Array | slice = slice(None)) -> tuple[jax.Array, jax.Array]:
        """y_j, (k, …, level), and N/Σ y_j Δ_j in 1/eV, (k, …), at the wave vectors of index `k`.

        Every wave vector has components of its own: with k first each is one product of matrices, which saves a third of the time.
        """
        z = jnp.moveaxis(self.coordinates(seen, k), -2, 0)
        flat = jnp.matmul(z.reshape(z.shape[0], -1, z.shape[-1]), self.components[...][k])
        g = (flat + self.mean[...][k][:, None]).reshape(*z.shape[:-1], -1)
        y = 0.5 * (g + jnp.sqrt(g**2 + SOFT**2))
        return y, ORBITALS / (y @ jnp.asarray(DELTA, y.dtype))

    def coordinates(self, seen: Surroundings, k: jax.Array | slice = slice(None)) -> jax.Array:
        """z_r at the wave vectors of index `k`, (…, k, rank)."""
        x = self.first(features(seen))
        for block in self.blocks:
            x = block(x)
        return jnp.einsum("...h,hkr->...kr", x, self.heads[...][:, k]) + self.centre[...][k]


def features(seen: Surroundings) -> jax.Array:
    """Inputs of the network, of order one, (…, feature)."""
    dtype, w = seen.composition.dtype, (seen.composition.shape[-1] - 1) // 2
    fade = jnp.asarray(1 / (1 + np.abs(np.arange(-w, w + 1)) / FADE), dtype)
    means = (2 * seen.composition - 1) @ jnp.asarray(_averages(w), dtype)
    waves = [f(np.pi * n * means) for n in WAVES for f in (jnp.sin, jnp.cos)]
    a = ((seen.a_parallel - A_MIDDLE) / A_SPREAD)[..., None]
    return jnp.concatenate(
        [(2 * seen.composition - 1) * fade, seen.stretch / STRETCH_SPREAD * fade, a, means, *waves], axis=-1
    )


def feature_count(window: int) -> int:
    """Length of `features`."""
    return 2 * (2 * window + 1) + 1 + 3 * len(MEANS) * (1 + 2 * len(WAVES))


def _averages(window: int) -> np.ndarray:
    """Weights of the layers of a window in each mean, (2 window + 1, mean)."""
    offset = np.arange(-window, window + 1)
    weights = [
        np.exp(-np.abs(offset) / reach) * side
        for reach in MEANS
        for side in (offset == offset, offset >= 0, offset <= 0)
    ]
    return np.stack([w / w.sum() for w in weights], axis=1)


def at_trained_energies(weights: jax.Array) -> jax.Array:
    """A at `layer_data.ENERGY` from the network's numbers, 1/eV: splines at their own knots, hats at theirs."""
    n = VALENCE.size
    y, above = weights[..., :n], weights[..., n : n + ABOVE.size]
    padded = jnp.concatenate([y[..., :1], y, y[..., -1:]], axis=-1)
    return jnp.concatenate([(padded[..., :-2] + 4 * y + padded[..., 2:]) / 6, above], axis=-1)


def at_energies(weights: jax.Array, energy: np.ndarray) -> jax.Array:
    """A at energies within the valence window, 1/eV, (…, energy) from (…, level).

    By products with a few energies at a time, each of which needs few splines: gathers have slow derivatives.
    """
    n, place = VALENCE.size, (np.asarray(energy) - VALENCE[0]) / STEP
    first = np.clip(np.floor(place + 1e-9).astype(int), 0, n - 2)
    t = place - first
    parts = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    splines = np.zeros((n, place.size))
    for i, part in zip((-1, 0, 1, 2), parts, strict=True):
        np.add.at(splines, (np.clip(first + i, 0, n - 1), np.arange(place.size)), part / 6)
    found = []
    for at in range(0, place.size, TOGETHER):
        some = splines[:, at : at + TOGETHER]
        used = np.flatnonzero(some.any(axis=1))
        low, high = used[0], used[-1] + 1
        found.append(
            jnp.matmul(weights[..., low:high], jnp.asarray(some[low:high], weights.dtype), precision="highest")
        )
    return jnp.concatenate(found, axis=-1)


@dataclasses.dataclass(frozen=True)
class Surrogate:
    """A trained surrogate.

    Attributes:
        network: Surroundings to spectra.
        record: Configuration, seed, commit, scores.
    """

    network: SurrogateNetwork
    record: dict[str, Any]


def surrogate_spectra(
    surrogate: Surrogate, composition: ArrayLike, a_parallel: ArrayLike, *, stretch: ArrayLike | None = None,
    repeats: bool = False, k: ArrayLike | None = None, energy: ArrayLike | None = None,
) -> jax.Array:  # fmt: skip
    """A_l(k, E) of the layers of a (001) Si/Ge stack without surfaces, by the surrogate.

    The same quantity as `exact_layers`: k along [110], integrated over k_z, spins not counted, η = 0.05 eV. Differentiable in
    composition, `a_parallel` and `stretch`; a sum over layers is the stack's. Surfaces are not covered.

    Args:
        surrogate: From `load_surrogate`.
        composition: Fraction of Ge from the bottom, (layer,), possibly traced; its dtype is that of the result.
        a_parallel: In-plane lattice constant in Å, trained from 5.42 to 5.67.
        stretch: Relative change of the layers' out-of-plane constants against the elastic law, (layer,), trained to ±2 %; None: 0.
        repeats: Whether the layers are one period of a superlattice (an even number); else the outermost layers go on for ever.
        k: Wave vectors in units of the zone edge √2π/a∥, not traced, shape (k,); folded into [0, 1]. Between the 64 of the
            training the two neighbours are mixed. None: those 64.
        energy: eV on the table's scale, within −13 … 1, not traced, shape (energy,). None: 265 values.

    Returns:
        1/eV, shape (layer, k, energy).

    Raises:
        ValueError: wrong shapes, fractions outside [0, 1], a∥ or energies outside the trained range, an odd period.
    """
    c = jnp.asarray(composition)
    c = c if jnp.issubdtype(c.dtype, jnp.floating) else c.astype(float)
    checks.shape_is("composition", c, ("layer",))
    checks.fraction("composition", composition)
    if repeats and c.size % 2:
        raise ValueError(f"Argument `composition` must have an even number of layers to repeat, but has {c.size}.")
    if checks.is_concrete(a_parallel) and not A_PARALLEL[0] <= float(a_parallel) <= A_PARALLEL[1]:
        raise ValueError(
            f"Argument `a_parallel` must be within {A_PARALLEL[0]:g} … {A_PARALLEL[1]:g} Å, what the surrogate was trained on, "
            f"but is {float(a_parallel):g}."
        )
    stretch = jnp.zeros_like(c) if stretch is None else jnp.asarray(stretch, c.dtype)
    checks.shape_is("stretch", stretch, (c.size,))
    energies = VALENCE if energy is None else np.asarray(energy, float)
    if energies.ndim != 1 or energies.size == 0 or energies.min() < VALENCE[0] or energies.max() > VALENCE[-1]:
        raise ValueError(
            f"Argument `energy` must lie within {VALENCE[0]:g} … {VALENCE[-1]:g} eV, (energy,), but does not."
        )
    network = _in_dtype(surrogate.network, c.dtype)
    a = jnp.asarray(a_parallel, c.dtype)
    around = surroundings(Profile(c, stretch, a), c.size if repeats else None, network.shape.window)
    seen = Surroundings(*around, jnp.broadcast_to(a, c.shape))

    def at(index: Any) -> jax.Array:
        y, scale = network.by_wave_vector(seen, index)
        return jnp.swapaxes(at_energies(y, energies) * scale[..., None], 0, 1)

    if k is None:
        return at(slice(None))
    place = np.abs((np.asarray(k, float) + 1) % 2 - 1) * (K_POINTS - 1)
    checks.shape_is("k", place, ("k",))
    if np.abs(place - np.round(place)).max() < 1e-6:
        return at(_slice_of(np.round(place).astype(int)))
    first = np.minimum(np.floor(place).astype(int), K_POINTS - 2)
    part = jnp.asarray(place - first, c.dtype)[:, None]
    low, high = at(first), at(first + 1)
    return (1 - part) * low + part * high


def _slice_of(index: np.ndarray) -> np.ndarray | slice:
    """A slice instead of even steps upwards: taking it costs less."""
    step = np.diff(index)
    even = index.size > 1 and step[0] > 0 and (step == step[0]).all()
    return slice(int(index[0]), int(index[-1]) + 1, int(step[0])) if even else index


def _in_dtype(network: SurrogateNetwork, dtype: Any) -> SurrogateNetwork:
    return with_weights(network, jax.tree.map(lambda x: x.astype(dtype), weights_of(network)))


def surrogate_record() -> dict[str, Any]:
    """What makes weights and checkpoints those of this surrogate."""
    return {"model": "surrogate", "format": FORMAT, "fingerprint": FINGERPRINT}


def check_surrogate_record(record: dict[str, Any], owner: str) -> None:
    """ValueError unless weights or a checkpoint belong to a surrogate of this version, table and data."""
    for name, wanted in surrogate_record().items():
        if record.get(name) != wanted:
            raise ValueError(
                f"{owner} must hold a surrogate of format {FORMAT} and fingerprint {FINGERPRINT} (table, stacks, axes), but its "
                f"{name} is {record.get(name)!r}; train again."
            )


def save_surrogate(path: str | os.PathLike[str], surrogate: Surrogate) -> Path:
    """Write a surrogate, its weights in half precision; see `weights.save_arrays`."""
    record = surrogate.record | surrogate_record() | {"shape": dataclasses.asdict(surrogate.network.shape)}
    flat = flat_weights(weights_of(surrogate.network))
    return save_arrays(path, record, {name: array.astype(np.float16) for name, array in flat.items()})


def load_surrogate(source: str | os.PathLike[str] | None = None) -> Surrogate:
    """A trained surrogate from a file; None: the shipped one.

    Raises:
        ValueError: the file is no surrogate, or one of another version, table or training data.
        FileNotFoundError: there is no such file.
    """
    if source is None:
        with resources.as_file(resources.files("bandjax") / "learning" / "weights" / "surrogate.npz") as path:
            return load_surrogate(path)
    path = Path(source)
    if not path.is_file():
        raise FileNotFoundError(
            f"Argument `source` must be a file of weights or None, but there is no {str(source)!r}."
        )
    record, arrays = load_arrays(path, "a surrogate")
    check_surrogate_record(record, f"File {path}")
    network = SurrogateNetwork(SurrogateShape(**record["shape"]), rngs=nnx.Rngs(0))
    return Surrogate(with_weights(network, unflatten_weights(weights_of(network), arrays, path)), record)
