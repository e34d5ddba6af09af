"""Images of zinc-blende crystals, made on the device.

A soft X-ray cut along [110] is, as in the fit of one (`inference/linear.py`),

    I(k, E) = w_e A_even + w_o A_odd + w_k ⟨A⟩_kz + w_d ⟨A⟩_kz,k + background,

with the sharp images of even and odd orbitals under the k_z Lorentzian, the k_z average, and the average over the cut
(electrons that phonons have scattered). The weights of a measured map are not known; here they are positive smooth
functions drawn anew each time an image is exposed (domain randomisation), and none of them is inferred.

What costs is the three signals; they are drawn once and kept (`cache`), on half of kx (bands are even in it, in the plane
that the cut spans with the normal) and on energies enough for every valence-band top: k = 0, alignment, top and the ends
of the axes are drawn anew at every exposure too. A higher top is a larger kinetic energy at the same band energy, which k_z
cannot tell from an inner potential: what is kept is made with u = V0 + top − centre, and top and V0 are drawn given u.

Knots along k_z are dense within `DENSE` of the Lorentzian's centre and grow to half a period; between them levels, in
ascending order in each half, and their weights change linearly, so that averages over k_z are smooth. The halves are
those of the mirror y → −y, which acts on the spin too: even orbitals with a spin along y and odd ones against it, or
the other way round. They do not mix in the mirror plane, and two matrices of 10 cost half as much as one of 20.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm

from bandjax.devices import cache_budget, map_chunks
from bandjax.hamiltonian import bloch_hamiltonian
from bandjax.inference.problem import model_values
from bandjax.learning.crystals import (
    ALIGNMENT,
    DENSE,
    DENSE_CELLS,
    FINER,
    GROWING,
    LEVELS,
    ROUGH,
    TYPICAL,
    WAVES,
    CrystalFamily,
)
from bandjax.learning.family import draw_values, instrument_of
from bandjax.learning.images import Clean, Images, energy_padding, kept
from bandjax.learning.noise import poisson
from bandjax.photoemission.instrument import half_width
from bandjax.photoemission.kinematics import laboratory_rotation
from bandjax.photoemission.matrix_elements import mirror_parities
from bandjax.photoemission.pixels import band_shift, central_kz, laboratory_model
from bandjax.photoemission.resolution import gaussian_matrix
from bandjax.spectrum.lorentzians import lorentzian
from bandjax.units import BOLTZMANN, FWHM_PER_SIGMA


@partial(jax.jit, static_argnames=("family", "batch", "mesh"))
def draw_crystals(family: CrystalFamily, key: jax.Array, batch: int, *, mesh=None) -> Clean:
    """Signals of crystals drawn from the family's priors and ranges, in the default precision; see `clean_crystal`."""
    dtype = jnp.zeros(()).dtype
    r = family.ranges

    def one(key: jax.Array) -> Clean:
        keys = jax.random.split(key, 5)
        ends = (r.step, r.energy_step, r.photon_energy, r.fwhm_energy)
        numbers = [jax.random.uniform(k, (), dtype, *e) for k, e in zip(keys[1:], ends, strict=True)]
        return clean_crystal(family, draw_values(family, keys[0], dtype), *numbers)

    per_item = (
        8.0 * LEVELS * FINER * (DENSE_CELLS + 2 * len(GROWING)) * (family.signal_shape[-1] + 60)
    )  # of one kx at a time
    return map_chunks(one, jax.random.split(key, batch), bytes_per_item=per_item, budget=cache_budget(), mesh=mesh)


def clean_crystal(
    family: CrystalFamily, values: jax.Array, step: jax.Array, energy_step: jax.Array, photon_energy: jax.Array, fwhm_energy: jax.Array
) -> Clean:  # fmt: skip
    """Signals of one crystal as they are kept: without occupation, kx ≥ 0, its top put at the centre of the prior.

    Args:
        family: Model and instrument.
        values: What is drawn, (drawn,); those of the result have u for V0.
        step, energy_step: Of the axes, 1/Å and eV.
        photon_energy, fwhm_energy: eV.
    """
    top, potential = (family.drawn.index(n) for n in ("top", "inner_potential"))
    centre, (_, nodes, count) = family.parameters[top][1].value, family.signal_shape
    values = values.at[potential].add(values[top] - centre).at[top].set(centre)
    lowest = centre + family.ranges.top[0] - family.tops[1] - (family.ranges.energy_points - 1) * energy_step
    kx, energy = (jnp.arange(n, dtype=values.dtype) for n in (nodes, count))
    kx, energy = step * kx, lowest + energy_step * energy
    signal = crystal_signal(family, values, kx, energy, photon_energy, fwhm_energy)
    return Clean(values, signal, kx, energy, photon_energy, fwhm_energy)


def crystal_signal(
    family: CrystalFamily, values: jax.Array, kx: jax.Array, energy: jax.Array, photon_energy: jax.Array, fwhm_energy: jax.Array
) -> jax.Array:  # fmt: skip
    """Images of the even and of the odd orbitals and their k_z average in 1/eV, all levels occupied, (signal, kx, energy).

    The cut lies in the mirror plane; the k_z Lorentzian is that of the middle of the window, moved with the energy.

    Args:
        family: Model and instrument.
        values: What is drawn, (drawn,).
        kx: 1/Å, (kx,).
        energy: E − E_F in eV, even steps, (energy,).
        photon_energy, fwhm_energy: eV.
    """
    named = dict(zip(family.drawn, values, strict=True))
    instrument = instrument_of(family, named, photon_energy, fwhm_energy)
    lab = laboratory_model(family.model_of(model_values(named)), instrument)
    parities = mirror_parities(lab.topology.orbitals)
    across = laboratory_rotation(instrument.surface, instrument.slit)[1]
    even_odd = jnp.asarray(parities, values.dtype)
    padding = energy_padding(family)
    step = energy[1] - energy[0]
    padded = energy[0] + step * jnp.arange(-padding, energy.size + padding, dtype=energy.dtype)
    q = band_shift(instrument, photon_energy)
    half_period = 2 * np.pi / named["a"]
    knots = _kz_edges(half_period)
    offsets = jnp.interp(jnp.arange(FINER * (knots.size - 1) + 1) / FINER, jnp.arange(knots.size), knots)
    middle, width = padded.shape[0] // 2, 1 / (2 * instrument.escape_depth)

    def at_kx(kx: jax.Array) -> jax.Array:
        outside = jnp.broadcast_to(jnp.stack([kx + q[0], q[1]]), (padded.shape[0], 2))
        centre = central_kz(instrument, outside, padded, photon_energy)
        off = offsets[:, None] - (centre - centre[middle])  # (edge, energy)
        # the Lorentzian's part below each edge, with its periodic images
        below = sum(jnp.arctan((off + 2 * n * half_period) / width) for n in (-1, 0, 1)) / np.pi
        share = jnp.diff(below, axis=0)
        share = share / share.sum(axis=0)
        cells = jnp.diff(offsets)
        gamma = half_width(instrument, padded, jnp.stack([kx, jnp.zeros_like(kx)]))

        def levels(offset: jax.Array) -> tuple[jax.Array, jax.Array]:
            h = bloch_hamiltonian(lab, jnp.stack([kx, jnp.zeros_like(kx), centre[middle] + offset]))
            eps, u = jnp.linalg.eigh(mirror_halves(h, parities, across))
            count = LEVELS // 2
            weight = jnp.einsum("po,hol->phl", even_odd, jnp.abs(u[..., :count]) ** 2)
            return eps[:, :count].ravel(), weight.reshape(2, -1)  # (level,), (parity, level)

        eps, weight = (_between(x) for x in jax.vmap(levels)(knots))
        everywhere = jnp.einsum("zpl,zle->zpe", weight, lorentzian(padded - eps[..., None], gamma))
        sharp = jnp.einsum("zpe,ze->pe", everywhere, share)
        average = jnp.einsum("zpe,z->e", everywhere, cells / cells.sum())
        return jnp.concatenate([sharp, average[None]])

    raw = jnp.moveaxis(jax.lax.map(at_kx, kx), 1, 0)
    kernel = gaussian_matrix(energy, padded, fwhm_energy / FWHM_PER_SIGMA)
    return jnp.einsum("pxs,es->pxe", raw, kernel.astype(raw.dtype))


def mirror_halves(h: jax.Array, parities: np.ndarray, across: np.ndarray) -> jax.Array:
    """The two blocks of a Hamiltonian with spin at a k of the mirror plane y = 0, (half, orbital, orbital).

    Args:
        h: In eV, spin up first, (2 orbital, 2 orbital).
        parities: From `mirror_parities`.
        across: The direction y in the axes of the spin (those of the crystal; see `rotated`), without a part along z, (3,).
    """
    count = parities.shape[1]
    sign = jnp.asarray(parities[0] - parities[1], h.real.dtype)
    turn = complex(across[0], across[1])
    up_up, up_down = h[:count, :count], h[:count, count:]
    down_up, down_down = h[count:, :count], h[count:, count:]
    # basis (|up⟩ + s turn |down⟩)/√2 of each orbital: spin along y where s = 1, s the parity or its opposite
    kept = up_up + sign[:, None] * down_down * sign
    flipped = turn * up_down * sign + turn.conjugate() * sign[:, None] * down_up
    return jnp.stack([kept + flipped, kept - flipped]) / 2


def _kz_edges(half_period: jax.Array) -> jax.Array:
    """Edges of the cells along k_z from −half a period to half a period around the Lorentzian's centre."""
    grown = np.cumsum(GROWING) / np.sum(GROWING)
    outer = DENSE + (half_period - DENSE) * jnp.asarray(grown, half_period.dtype)
    inner = jnp.linspace(-DENSE, DENSE, DENSE_CELLS + 1, dtype=half_period.dtype)
    return jnp.concatenate([-outer[::-1], inner, outer])


def _between(at_knots: jax.Array) -> jax.Array:
    """What changes linearly from knot to knot, in the middle of each of the `FINER` cells between two, (cell, …)."""
    part = (np.arange(FINER) + 0.5) / FINER
    part = jnp.asarray(part, at_knots.dtype).reshape(1, FINER, *(1,) * (at_knots.ndim - 1))
    low, high = at_knots[:-1, None], at_knots[1:, None]
    return (low + part * (high - low)).reshape(-1, *at_knots.shape[1:])


@partial(jax.jit, static_argnames=("family",))
def expose_crystals(family: CrystalFamily, key: jax.Array, clean: Clean) -> Images:
    """Counts of kept signals: axes, valence-band top, occupation, smooth weights, background, crop, dead pixels and
    Poisson noise, all from the key."""
    r = family.ranges
    dtype = clean.signal.dtype
    centre = jnp.array([p.value for _, p in family.parameters], dtype)
    sigma = jnp.array([p.sigma for _, p in family.parameters], dtype)

    def one(key: jax.Array, c: Clean) -> Images:
        keys = jax.random.split(key, 9)
        low, high = np.log(r.counts)
        wanted = jnp.exp(jax.random.uniform(keys[0], (), dtype, low, high))
        visible = jnp.outer(kept(keys[1], r.kx_points, r.crop, dtype), kept(keys[2], r.energy_points, r.crop, dtype))
        dead = jax.random.uniform(keys[3], (), dtype, 0.0, r.dead)
        mask = visible * (jax.random.uniform(keys[4], visible.shape, dtype) >= dead)
        values, kx, energy, signal = placed(family, keys[8], c)
        diffuse = jnp.broadcast_to(signal[2].mean(axis=0), visible.shape)
        parts = jnp.stack([*signal, diffuse, jnp.ones_like(diffuse)])
        parts = parts / jnp.maximum(jnp.sum(mask * parts, axis=(1, 2), keepdims=True) / mask.sum(), 1e-9)
        size = jnp.array([(0.0, 0.0), *TYPICAL.values()], dtype)
        log = size[:, 0] + size[:, 1] * jax.random.normal(keys[5], (len(size),), dtype)
        fields = jax.vmap(lambda k: smooth_field(k, r.kx_points, r.energy_points, dtype))(
            jax.random.split(keys[6], len(size))
        )
        mean = (jnp.exp(log[:, None, None] + fields) * parts).sum(axis=0)
        mean = mean * wanted / (jnp.sum(mask * mean) / mask.sum())
        counts = mask * poisson(keys[7], mean)
        return Images((values - centre) / sigma, counts, mask, kx, energy, c.photon_energy, c.fwhm_energy)

    return jax.vmap(one)(jax.random.split(key, clean.signal.shape[0]), clean)


def placed(family: CrystalFamily, key: jax.Array, c: Clean) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Values of a kept crystal with a top drawn anew, axes of an image of it, and its occupied signals on them."""
    r, dtype, keys = family.ranges, c.signal.dtype, jax.random.split(key, 4)
    left = jax.random.randint(keys[0], (), r.left[0], r.left[1] + 1)
    pixel = jnp.arange(r.kx_points) - left
    kx = (c.kx[1] - c.kx[0]) * pixel + ALIGNMENT * jax.random.normal(keys[1], (), dtype)
    at, potential = (family.drawn.index(n) for n in ("top", "inner_potential"))
    (centre, s), (v, sv) = ((family.parameters[i][1].value, family.parameters[i][1].sigma) for i in (at, potential))
    # top given u, both priors Gaussian
    mean = centre + s**2 / (s**2 + sv**2) * (c.values[potential] - v)
    width = s * sv / math.hypot(s, sv)
    low, high = family.tops
    top = mean + width * jax.random.truncated_normal(keys[2], (low - mean) / width, (high - mean) / width, dtype=dtype)
    values = c.values.at[potential].add(centre - top).at[at].set(top)
    step, end = c.energy[1] - c.energy[0], jax.random.uniform(keys[3], (), dtype, *r.top)
    first = jnp.floor((end - (top - centre) - c.energy[0]) / step).astype(int) - (r.energy_points - 1)
    energy = c.energy[0] + step * (first + jnp.arange(r.energy_points)) + (top - centre)
    signal = jax.lax.dynamic_slice_in_dim(c.signal[:, jnp.abs(pixel)], first, r.energy_points, axis=2)
    return values, kx, energy, signal * occupied(family, energy, c.fwhm_energy)


def occupied(family: CrystalFamily, energy: jax.Array, fwhm_energy: jax.Array) -> jax.Array:
    """The Fermi function under the resolution (a logistic of scale T is a normal one of 1.7 T), (energy,)."""
    return norm.cdf(-energy / jnp.hypot(fwhm_energy / FWHM_PER_SIGMA, 1.7 * BOLTZMANN * family.instrument.temperature))


def smooth_field(key: jax.Array, rows: int, columns: int, dtype) -> jax.Array:
    """A smooth random function with standard deviation `ROUGH`, (row, column): cosines whose size falls with their order."""
    m, n = np.meshgrid(*(np.arange(w) for w in WAVES), indexing="ij")
    size = 1.0 / (1.0 + m**2 + n**2)
    size[0, 0] = 0.0
    size *= ROUGH / np.sqrt((size**2 / np.where((m > 0) & (n > 0), 4, 2)).sum())
    along = [
        np.cos(np.pi * np.outer(np.arange(w), np.linspace(0, 1, p)))
        for w, p in zip(WAVES, (rows, columns), strict=True)
    ]
    coefficient = jnp.asarray(size, dtype) * jax.random.normal(key, WAVES, dtype)
    return jnp.asarray(along[0].T, dtype) @ coefficient @ jnp.asarray(along[1], dtype)
