"""Images made on the device: latent, axes and nuisances drawn from a key, imaged by the exact model, counted.

One image is one stack, one k axis and one energy axis, all traced: a single compiled program makes every grid of its
family. What costs is the *signal* (the spectral function seen with the resolution); gain, background, crop, dead pixels
and noise are drawn anew each time it is exposed, so signals may be kept (see `cache`) and noise never is.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bandjax.devices import cache_budget, map_chunks
from bandjax.hamiltonian import find_layers
from bandjax.inference.problem import model_values
from bandjax.learning.crystals import CrystalFamily
from bandjax.learning.family import (
    COUNTED,
    EXPOSURE,
    LEAST_SIGNAL,
    NUISANCES,
    Family,
    draw_values,
    instrument_of,
    standardised,
)
from bandjax.learning.noise import poisson
from bandjax.photoemission import Axes, Plan, signal
from bandjax.photoemission.pixels import laboratory_model
from bandjax.photoemission.plan import REACH
from bandjax.units import FWHM_PER_SIGMA


class Clean(NamedTuple):
    """Signals without gain, background and noise, and what they are of; leading axis: batch."""

    values: jax.Array  # (batch, drawn), physical
    signal: jax.Array  # (batch, kx, energy), 1/eV
    kx: jax.Array  # (batch, kx), 1/Å
    energy: jax.Array  # (batch, energy), E − E_F in eV
    photon_energy: jax.Array  # (batch,), eV
    fwhm_energy: jax.Array  # (batch,), eV


class Images(NamedTuple):
    """What a network sees, and the latent it is to find; leading axis: batch."""

    latent: jax.Array  # (batch, latent), standardised
    counts: jax.Array  # (batch, kx, energy)
    mask: jax.Array  # (batch, kx, energy), 1 where there is a pixel
    kx: jax.Array
    energy: jax.Array
    photon_energy: jax.Array
    fwhm_energy: jax.Array


def draw_images(family: Family, key: jax.Array, batch: int, *, mesh=None) -> Images:
    """Images of `batch` stacks with counting noise, reproducible from the key.

    Args:
        family: What is drawn.
        key: Of everything.
        batch: How many.
        mesh: Devices to split the images over (`bandjax.devices.device_mesh`).
    """
    if not isinstance(family, Family):
        raise TypeError(
            f"Argument `family` must be a family of stacks, but is {family.name!r}: crystals are drawn by `draw_crystals` "
            "and exposed by `expose_crystals`."
        )
    first, second = jax.random.split(key)
    return expose(family, second, draw_clean(family, first, batch, mesh=mesh))


@partial(jax.jit, static_argnames=("family", "batch", "mesh"))
def draw_clean(family: Family, key: jax.Array, batch: int, *, mesh=None) -> Clean:
    """Signals of stacks drawn from the family's priors and ranges, in the default precision."""
    layers = stack_layers(family)
    dtype = jnp.zeros(()).dtype
    r = family.ranges

    def one(key: jax.Array) -> Clean:
        keys = jax.random.split(key, 7)
        values = draw_values(family, keys[0], dtype)
        draw = lambda key, ends: jax.random.uniform(key, (), dtype, *ends)  # noqa: E731
        centre, half = draw(keys[1], r.kx_centre), draw(keys[2], r.kx_half)
        kx = centre + half * jnp.linspace(-1.0, 1.0, r.kx_points, dtype=dtype)
        energy = jnp.linspace(draw(keys[3], r.bottom), draw(keys[4], r.top), r.energy_points, dtype=dtype)
        photon, fwhm = draw(keys[5], r.photon_energy), draw(keys[6], r.fwhm_energy)
        image = clean_signal(family, layers, values, kx, energy, photon, fwhm)
        return Clean(values, image, kx, energy, photon, fwhm)

    per_item = (
        16.0 * len(layers) * r.kx_points * (r.energy_points + 2 * energy_padding(family)) * 60
    )  # sweep over layers
    # one or two at a time on a CPU, whose caches they fit: 54 ms instead of 93 ms an image (float64)
    return map_chunks(one, jax.random.split(key, batch), bytes_per_item=per_item, budget=cache_budget(), mesh=mesh)


def clean_signal(
    family: Family,
    layers: tuple[int, ...],
    values: jax.Array,
    kx: jax.Array,
    energy: jax.Array,
    photon_energy: jax.Array,
    fwhm_energy: jax.Array,
) -> jax.Array:
    """Signal of one stack on one grid in 1/eV, (kx, energy), as `arpes_image` makes it, with traced axes.

    Args:
        family: Model and instrument.
        layers: From `stack_layers`.
        values: What is drawn, (drawn,).
        kx: 1/Å, (kx,).
        energy: E − E_F in eV, even steps, (energy,).
        photon_energy, fwhm_energy: eV.
    """
    named = dict(zip(family.drawn, values, strict=True))
    instrument = instrument_of(family, named, photon_energy, fwhm_energy)
    step, count = energy[1] - energy[0], energy_padding(family)
    below = energy[0] - step * np.arange(count, 0, -1, dtype=energy.dtype)
    above = energy[-1] + step * np.arange(1, count + 1, dtype=energy.dtype)
    padded = jnp.concatenate([below, energy, above])
    # `signal` only reads numbers and lengths from the axes of a plan, which may therefore be traced; `arpes_image`,
    # for which a plan is static, may not be given this one
    plan = Plan(Axes(energy, (("kx", kx),)), family.method, padded, ((energy[0] + energy[-1]) / 2,), 1, layers=layers)
    return signal(family.model_of(model_values(named)), instrument, plan)[0]


def stack_layers(family: Family) -> tuple[int, ...]:
    """Layer of each atom of the family's stacks, from the top; they all have the same."""
    central = {n: p.value for n, p in family.parameters}
    with jax.ensure_compile_time_eval():
        model = family.model_of(model_values(central))
        return find_layers(laboratory_model(model, family.instrument))


@partial(jax.jit, static_argnames=("family",))
def expose(family: Family, key: jax.Array, clean: Clean) -> Images:
    """Counts of signals: exposure, background, crop, dead pixels and Poisson noise, all from the key."""
    r = family.ranges
    dtype = clean.signal.dtype

    def one(key: jax.Array, c: Clean) -> Images:
        keys = jax.random.split(key, 8)
        low, high = np.log(r.counts)
        wanted = jnp.exp(jax.random.uniform(keys[0], (), dtype, low, high))
        drawn = {
            name: q.centre
            + q.spread * jax.random.truncated_normal(k, (q.least - q.centre) / q.spread, jnp.inf, dtype=dtype)
            for k, (name, q) in zip(jax.random.split(keys[1], len(NUISANCES)), NUISANCES.items(), strict=True)
        }
        visible = jnp.outer(kept(keys[2], r.kx_points, r.crop, dtype), kept(keys[3], r.energy_points, r.crop, dtype))
        dead = jax.random.uniform(keys[4], (), dtype, 0.0, r.dead)
        mask = visible * (jax.random.uniform(keys[5], visible.shape, dtype) >= dead)
        dark = exposed(c.signal, c.kx, c.energy, drawn | {"gain": 0.0})  # in units of the mean counts
        bright = exposed(c.signal, c.kx, c.energy, drawn | {"gain": 1.0, "background": 0.0, "background_linear": 0.0})
        part = jnp.maximum(1 - jnp.sum(mask * dark) / mask.sum(), LEAST_SIGNAL)
        gain = part * mask.sum() / jnp.sum(mask * bright)
        counts = mask * poisson(keys[6], jnp.maximum(wanted * (gain * bright + dark), 0))
        level = mean_counts(counts, mask)
        exposure = {"gain": gain} | drawn
        exposure = {n: v * (wanted if n in COUNTED else 1.0) for n, v in exposure.items()}
        latent = standardised(family, c.values, exposure, level)
        return Images(latent, counts, mask, c.kx, c.energy, c.photon_energy, c.fwhm_energy)

    return jax.vmap(one)(jax.random.split(key, clean.signal.shape[0]), clean)


def exposed(signal: jax.Array, kx: jax.Array, energy: jax.Array, exposure: Mapping[str, Any]) -> jax.Array:
    """Mean counts of a signal, added up as `arpes_image` does, (kx, energy).

    Args:
        signal: 1/eV, (kx, energy).
        kx: 1/Å, (kx,).
        energy: E − E_F in eV, (energy,).
        exposure: The numbers of `EXPOSURE`.
    """
    dark = exposure["background"] + exposure["background_linear"] * jnp.maximum(-energy, 0)
    return (1 + exposure["detector_slope"] * kx[:, None]) * (exposure["gain"] * signal + dark)


def mean_image(family: Family, layers: tuple[int, ...], values: jax.Array, image: "Images") -> jax.Array:
    """Mean counts of physical numbers in the order of `family.names`, on the axes of one image, (kx, energy)."""
    if family.marginalised:
        raise ValueError(
            f"Argument `family` must have no marginalised numbers, without which there is no image, but {family.name!r} has {len(family.marginalised)}."
        )
    count = len(family.drawn)
    axes = (image.kx, image.energy, image.photon_energy, image.fwhm_energy)
    bright = clean_signal(family, layers, values[:count], *axes)
    return exposed(bright, image.kx, image.energy, dict(zip(EXPOSURE, values[count:], strict=True)))


def mean_counts(counts: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean counts of the visible pixels, at least one count in all, (…,)."""
    return jnp.maximum((counts * mask).sum(axis=(-2, -1)), 1.0) / jnp.maximum(mask.sum(axis=(-2, -1)), 1.0)


def kept(key: jax.Array, count: int, least: float, dtype) -> jax.Array:
    """1 inside a random window of at least that part of an axis."""
    first, second = jax.random.split(key)
    length = jnp.round(jax.random.uniform(first, (), dtype, least, 1.0) * count)
    start = jnp.floor(jax.random.uniform(second, (), dtype) * (count - length + 1))
    index = jnp.arange(count)
    return ((index >= start) & (index < start + length)).astype(dtype)


def energy_padding(family: Family | CrystalFamily) -> int:
    """Energies by which an axis is continued on each side: enough for the widest resolution on the finest axis."""
    r = family.ranges
    return int(np.ceil(REACH * r.fwhm_energy[1] / FWHM_PER_SIGMA / r.steps["energy"][0]))
