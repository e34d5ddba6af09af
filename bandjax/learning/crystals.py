"""Images of bulk zinc-blende crystals over the whole space of tables, for a reverse network that is told no material.

A soft X-ray cut along [110] is, as in the fit of one (`inference/linear.py`),

    I(k, E) = w_e A_even + w_o A_odd + w_k ⟨A⟩_kz + w_d ⟨A⟩_kz,k + background,

with the sharp images of even and odd orbitals under the k_z Lorentzian, the k_z average, and the average over the cut
(electrons that phonons have scattered). The weights of a measured map are not known; here they are positive smooth
functions drawn anew each time an image is exposed (domain randomisation), and none of them is inferred.

What costs is the three signals; they are drawn once and kept (`cache`). Bands are even in kx, in the plane that the cut
spans with the normal, so half of the wave vectors are diagonalised; a random error of the k axis stands for the rest of
the alignment. Knots along k_z are dense within `DENSE` of the Lorentzian's centre and grow to half a period; between
them levels, in ascending order, and their weights change linearly, so that averages over k_z are smooth.
"""

import dataclasses
import functools
import hashlib
import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bandjax.devices import cache_budget, map_chunks
from bandjax.hamiltonian import bloch_hamiltonian
from bandjax.inference import Parameter
from bandjax.inference.problem import ModelOf, model_values
from bandjax.learning.family import draw_values
from bandjax.learning.images import Clean, Images, kept
from bandjax.learning.noise import poisson
from bandjax.learning.table_space import COORDINATES, space_model, table_space
from bandjax.photoemission import QUANTITIES, Instrument
from bandjax.photoemission.instrument import half_width
from bandjax.photoemission.matrix_elements import mirror_parities
from bandjax.photoemission.pixels import band_shift, central_kz, laboratory_model
from bandjax.photoemission.plan import REACH
from bandjax.photoemission.resolution import fermi_dirac, gaussian_matrix
from bandjax.spectrum.lorentzians import lorentzian
from bandjax.units import FWHM_PER_SIGMA

VERSION, SIGNALS_VERSION = 1, 1  # of how images are drawn, and of what their signals mean
SIGNALS = 3  # even, odd, k_z average
LEVELS = 10  # of 20: the eight valence bands and the lowest conduction band
DENSE, DENSE_CELLS, GROWING = 0.16, 8, (1.0, 1.7, 2.9, 4.9)  # 1/Å; cells there; relative sizes of those on either side
ALIGNMENT = 0.02  # σ of the error of the k axis, 1/Å: a tenth of a degree at 600 eV
FINER = 6  # cells between two knots
WAVES = (5, 4)  # cosines along k and E of a smooth weight
ROUGH = 0.6  # σ of log weight from place to place
PLANE: dict[str, Any] = {  # of the network that reads these images; see `Shape`
    "rows": 40, "columns": 68, "reach_k": (-1.7, 1.7), "reach_energy": (-8.6, 0.0),
    "typical": (
        (-1.1, 0.3), (1.1, 0.3), (-7.0, 0.6), (-0.6, 0.4), (5.7, 1.3), (600.0, 30.0), (0.105, 0.026), (0.055, 0.005),
        (0.083, 0.007), (math.log(3500.0), 0.2),
    ),
}  # fmt: skip
TYPICAL = {
    "odd": (0.0, 0.6),
    "average": (-0.5, 0.8),
    "diffuse": (-0.5, 0.8),
    "flat": (-1.5, 0.8),
}  # log of parts, mean and σ


@dataclasses.dataclass(frozen=True)
class CrystalRanges:
    """What differs from image to image; see `Ranges`.

    Attributes:
        kx_points, energy_points: Pixels before the crop.
        left: Pixels left of k = 0, which is one of the pixels.
        step: Of the k axis, 1/Å.
        bottom, top: Ends of the energy axis, E − E_F in eV.
        photon_energy, fwhm_energy: eV.
        counts: Mean counts of a pixel.
        crop: Least part of each axis that is kept.
        dead: Largest part of the pixels that are dead.
    """

    kx_points: int = 48
    energy_points: int = 88
    left: tuple[int, int] = (18, 29)
    step: tuple[float, float] = (0.046, 0.064)
    bottom: tuple[float, float] = (-8.4, -6.6)
    top: tuple[float, float] = (-0.5, -0.1)
    photon_energy: tuple[float, float] = (550.0, 650.0)
    fwhm_energy: tuple[float, float] = (0.06, 0.15)
    counts: tuple[float, float] = (30.0, 3000.0)
    crop: float = 0.85
    dead: float = 0.02

    @property
    def steps(self) -> dict[str, tuple[float, float]]:
        """Finest and coarsest step of each axis."""
        lengths = [t - b for t, b in zip(self.top, self.bottom[::-1], strict=True)]
        short, long = (length / (self.energy_points - 1) for length in lengths)
        return {"kx": self.step, "energy": (short, long)}

    @property
    def nodes(self) -> int:
        """Wave vectors along kx that an image needs."""
        return max(self.left[1], self.kx_points - 1 - self.left[0]) + 1


@dataclasses.dataclass(frozen=True)
class CrystalFamily:
    """Bulk crystals seen along [110]; hashable. Attributes as in `Family`."""

    name: str
    source: str
    model_of: ModelOf
    parameters: tuple[tuple[str, Parameter], ...]
    instrument: Instrument
    ranges: CrystalRanges

    @property
    def drawn(self) -> tuple[str, ...]:
        """Names of what has a prior."""
        return tuple(name for name, _ in self.parameters)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the latent, in its order."""
        return self.drawn

    @property
    def sample_names(self) -> tuple[str, ...]:
        """Those that belong to the crystal."""
        return tuple(name for name in self.drawn if name not in QUANTITIES)

    @property
    def signal_shape(self) -> tuple[int, ...]:
        """Shape of the kept signals of one crystal."""
        return (SIGNALS, self.ranges.kx_points, self.ranges.energy_points)

    @property
    def _set_by_hand(self) -> dict[str, Any]:
        plain = Instrument()
        found = {f.name: getattr(self.instrument, f.name) for f in dataclasses.fields(plain)}
        return {n: v for n, v in found.items() if v != getattr(plain, n)}

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits of everything that makes a latent mean the same."""
        return _digest(VERSION, self.signals_fingerprint, WAVES, ROUGH, TYPICAL, self.ranges)

    @property
    def signals_fingerprint(self) -> str:
        """The same of what makes kept signals the same: exposure, crop and noise are drawn at every use."""
        r = dataclasses.replace(self.ranges, counts=(1.0, 1.0), crop=1.0, dead=0.0)
        drawing = (DENSE, DENSE_CELLS, GROWING, FINER, ALIGNMENT, LEVELS)
        return _digest(SIGNALS_VERSION, self.name, self.source, self.parameters, self._set_by_hand, r, drawing)


def _digest(*content: Any) -> str:
    return hashlib.sha256(repr(content).encode()).hexdigest()[:16]


@functools.cache
def zincblende_family(ranges: CrystalRanges | None = None) -> CrystalFamily:
    """Zinc-blende crystals of the space of sp3s* tables (`table_space`), (001) faces, soft X-rays, slit along [110]."""
    inf = float("inf")
    parameters = {n: Parameter(0.0, -3.0, 3.0, sigma=1.0, unit="1") for n in COORDINATES}
    parameters |= {
        "Delta_a": Parameter(0.4, 0.0, inf, sigma=0.3),
        "Delta_c": Parameter(0.25, 0.0, inf, sigma=0.2),
        "a": Parameter(5.95, 5.3, 6.7, sigma=0.35, unit="Å"),
        "top": Parameter(-0.8, -2.0, 0.1, sigma=0.4),
        "eta": Parameter(0.12, 0.03, 0.5, sigma=0.05),
        "eta_momentum": Parameter(0.08, 0.0, 0.5, sigma=0.06, unit="eV Å"),
        "escape_depth": Parameter(18.0, 6.0, 40.0, sigma=6.0, unit="Å"),
        "inner_potential": Parameter(9.0, 0.0, 20.0, sigma=4.0),
    }
    instrument = Instrument(
        work_function=4.5, inner_potential=9.0, incidence=70.0, incidence_azimuth=90.0, temperature=80.0, escape_depth=18.0,
        eta=0.12, eta_momentum=0.08, fwhm_momentum=0.02, surface=(0, 0, 1), slit=(1, 1, 0), matrix_elements="free",
    )  # fmt: skip
    space = table_space()
    source = f"table space of {len(space.materials)} tables {space.digest}"
    return CrystalFamily(
        "zincblende", source, space_model, tuple(parameters.items()), instrument, CrystalRanges() if ranges is None else ranges
    )  # fmt: skip


@partial(jax.jit, static_argnames=("family", "batch", "mesh"))
def draw_crystals(family: CrystalFamily, key: jax.Array, batch: int, *, mesh=None) -> Clean:
    """Signals of crystals drawn from the family's priors and ranges, in the default precision; (batch, signal, kx, energy)."""
    dtype = jnp.zeros(()).dtype
    r = family.ranges

    def one(key: jax.Array) -> Clean:
        keys = jax.random.split(key, 8)
        draw = lambda key, ends: jax.random.uniform(key, (), dtype, *ends)  # noqa: E731
        values = draw_values(family, keys[0], dtype)
        left = jax.random.randint(keys[1], (), r.left[0], r.left[1] + 1)
        step, error = draw(keys[2], r.step), ALIGNMENT * jax.random.normal(keys[3], (), dtype)
        energy = jnp.linspace(draw(keys[4], r.bottom), draw(keys[5], r.top), r.energy_points, dtype=dtype)
        photon, fwhm = draw(keys[6], r.photon_energy), draw(keys[7], r.fwhm_energy)
        half = crystal_signal(family, values, step * jnp.arange(r.nodes, dtype=dtype), energy, photon, fwhm)
        pixel = jnp.arange(r.kx_points) - left
        return Clean(values, half[:, jnp.abs(pixel)], step * pixel + error, energy, photon, fwhm)

    per_item = 8.0 * LEVELS * FINER * (DENSE_CELLS + 2 * len(GROWING)) * (r.energy_points + 60)  # of one kx at a time
    return map_chunks(one, jax.random.split(key, batch), bytes_per_item=per_item, budget=cache_budget(), mesh=mesh)


def crystal_signal(
    family: CrystalFamily, values: jax.Array, kx: jax.Array, energy: jax.Array, photon_energy: jax.Array, fwhm_energy: jax.Array
) -> jax.Array:  # fmt: skip
    """Images of the even and of the odd orbitals and their k_z average in 1/eV, (signal, kx, energy).

    The cut lies in the mirror plane; the k_z Lorentzian is that of the middle of the window, moved with the energy.

    Args:
        family: Model and instrument.
        values: What is drawn, (drawn,).
        kx: 1/Å, (kx,).
        energy: E − E_F in eV, even steps, (energy,).
        photon_energy, fwhm_energy: eV.
    """
    named = dict(zip(family.drawn, values, strict=True))
    numbers = {n: v for n, v in named.items() if n in QUANTITIES}
    instrument = dataclasses.replace(family.instrument, **numbers, photon_energy=photon_energy, fwhm_energy=fwhm_energy)
    lab = laboratory_model(family.model_of(model_values(named)), instrument)
    parities = jnp.asarray(np.tile(mirror_parities(lab.topology.orbitals), 2), values.dtype)
    padding = int(np.ceil(REACH * family.ranges.fwhm_energy[1] / FWHM_PER_SIGMA / family.ranges.steps["energy"][0]))
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
            eps, u = jnp.linalg.eigh(h)
            return eps[:LEVELS], parities @ jnp.abs(u[:, :LEVELS]) ** 2  # (parity, level)

        eps, weight = (_between(x) for x in jax.vmap(levels)(knots))
        everywhere = jnp.einsum("zpl,zle->zpe", weight, lorentzian(padded - eps[..., None], gamma))
        sharp = jnp.einsum("zpe,ze->pe", everywhere, share)
        average = jnp.einsum("zpe,z->e", everywhere, cells / cells.sum())
        return jnp.concatenate([sharp, average[None]])

    raw = jnp.moveaxis(jax.lax.map(at_kx, kx), 1, 0) * fermi_dirac(padded, instrument.temperature)
    kernel = gaussian_matrix(energy, padded, fwhm_energy / FWHM_PER_SIGMA)
    return jnp.einsum("pxs,es->pxe", raw, kernel.astype(raw.dtype))


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
    """Counts of signals: smooth weights, background, crop, dead pixels and Poisson noise, all from the key."""
    r = family.ranges
    dtype = clean.signal.dtype
    centre = jnp.array([p.value for _, p in family.parameters], dtype)
    sigma = jnp.array([p.sigma for _, p in family.parameters], dtype)

    def one(key: jax.Array, c: Clean) -> Images:
        keys = jax.random.split(key, 12)
        low, high = np.log(r.counts)
        wanted = jnp.exp(jax.random.uniform(keys[0], (), dtype, low, high))
        visible = jnp.outer(kept(keys[1], r.kx_points, r.crop, dtype), kept(keys[2], r.energy_points, r.crop, dtype))
        dead = jax.random.uniform(keys[3], (), dtype, 0.0, r.dead)
        mask = visible * (jax.random.uniform(keys[4], visible.shape, dtype) >= dead)
        diffuse = jnp.broadcast_to(c.signal[2].mean(axis=0), visible.shape)
        parts = jnp.stack([*c.signal, diffuse, jnp.ones_like(diffuse)])
        parts = parts / jnp.maximum(jnp.sum(mask * parts, axis=(1, 2), keepdims=True) / mask.sum(), 1e-9)
        size = jnp.array([(0.0, 0.0), *TYPICAL.values()], dtype)
        log = size[:, 0] + size[:, 1] * jax.random.normal(keys[5], (len(size),), dtype)
        fields = jax.vmap(lambda k: smooth_field(k, r.kx_points, r.energy_points, dtype))(
            jax.random.split(keys[6], len(size))
        )
        mean = (jnp.exp(log[:, None, None] + fields) * parts).sum(axis=0)
        mean = mean * wanted / (jnp.sum(mask * mean) / mask.sum())
        counts = mask * poisson(keys[7], mean)
        return Images((c.values - centre) / sigma, counts, mask, c.kx, c.energy, c.photon_energy, c.fwhm_energy)

    return jax.vmap(one)(jax.random.split(key, clean.signal.shape[0]), clean)


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
