"""Levels of a crystal: energies at weighted wave vectors, how many electrons fill them, and the edges that follow.

E_F of a metal: Σ_k w_k Σ_n g ½ erfc((ε_kn − E_F)/σ) = N         g: electrons that a level holds
of an insulator: the middle of the gap, E_VBM = max_k ε_kv, E_CBM = min_k ε_k,v+1, v = N/g
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bandjax import checks
from bandjax.hamiltonian import Model
from bandjax.spectrum import bands

VALENCE = {
    **dict.fromkeys(("H",), 1), **dict.fromkeys(("Zn", "Cd"), 2), **dict.fromkeys(("B", "Al", "Ga", "In"), 3),
    **dict.fromkeys(("C", "Si", "Ge", "Sn"), 4), **dict.fromkeys(("N", "P", "As", "Sb"), 5), **dict.fromkeys(("S", "Se", "Te"), 6),
}  # fmt: skip
"""Electrons that an atom brings into s and p orbitals."""
BISECTIONS = 60
TOUCHING = 1e-6
"""Edges nearer than this, in eV, touch (in float32: `TOUCHING_SINGLE`): the levels of graphene at K differ by rounding."""
TOUCHING_SINGLE = 1e-4


class Levels(NamedTuple):
    """Energies of a crystal; made by `model_levels`, `array_levels`, `bandjax.io.read_levels`.

    Attributes:
        energy: eV, ascending at every wave vector, shape (k, band); the two spin channels of a magnet follow each other along k.
        weight: Weights of the wave vectors, whose sum is 1 in each spin channel, shape (k,).
        electrons: Electrons in the cell among these bands; None: not known.
        degeneracy: Electrons that a level holds: 2 without spin-orbit and magnetism, else 1.
        complete_below: Energy below which no level is missing, eV; infinity where the bands are all that the model has.
        fermi: Fermi level in eV where the source gives it; None: from `electrons`.
    """

    energy: jax.Array
    weight: jax.Array
    electrons: float | None
    degeneracy: int
    complete_below: jax.Array | float = np.inf
    fermi: jax.Array | float | None = None
    channels: int = 1  # spin channels: 2 of a magnet


class BandEdges(NamedTuple):
    """Fermi level, valence-band top and conduction-band bottom in eV, shape ().

    Of a metal `vbm` and `cbm` are NaN and `gap` is 0.
    """

    fermi: jax.Array
    vbm: jax.Array
    cbm: jax.Array
    gap: jax.Array


def model_levels(
    model: Model,
    *,
    grid: Sequence[int] = (8, 8, 8),
    electrons: float | None = None,
    budget: float | None = None,
) -> Levels:
    """Levels of a model on a regular grid about Γ, of which time reversal leaves one half.

    Args:
        model: Tight-binding model; periodic directions are sampled, the others have one point.
        grid: Numbers of wave vectors along the reciprocal vectors, > 0; the points are the multiples of 1/n, Γ among
            them, so that edges at Γ (and, where n is even, on the zone's faces) are met.
        electrons: In the cell, 0 < N ≤ what the bands hold; None: by the elements for tables with s and p orbitals, one an atom for p_z tables, else not known.
        budget: Memory for temporaries in bytes.

    Returns:
        `energy` differentiable once in the model. A level holds two electrons without spin-orbit.

    Raises:
        ValueError: a grid that is not three whole numbers > 0, or more electrons than the bands hold.
    """
    fractional, weight = half_grid(periodic_grid(model, grid))
    energy = bands(model, jnp.asarray(fractional, model.dtype) @ model.reciprocal, budget=budget)
    degeneracy = 1 if model.topology.spin_orbit else 2
    if electrons is None:
        electrons = electrons_of(model)
    else:
        _check_electrons(electrons, degeneracy * energy.shape[1], energy.shape[1])
    return Levels(energy, jnp.asarray(weight, model.dtype), electrons, degeneracy)


def periodic_grid(model: Model, grid: Sequence[int]) -> tuple[int, int, int]:
    """Numbers of wave vectors, one where the model has no period.

    Raises:
        ValueError: not three whole numbers > 0.
    """
    checks.whole_numbers("grid", grid, 3)
    sizes = np.where(model.topology.periodic, np.asarray(grid), 1)
    return int(sizes[0]), int(sizes[1]), int(sizes[2])


def half_grid(sizes: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Fractional wave vectors (k, 3) of a grid about Γ, one of each pair ±k, and their weights (k,), sum 1."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in sizes), indexing="ij"), axis=-1).reshape(-1, 3)
    number = np.ravel_multi_index(index.T, sizes)
    partner = np.ravel_multi_index((-index % np.array(sizes)).T, sizes)
    kept = number <= partner
    weight = np.where(number == partner, 1.0, 2.0)[kept] / len(index)
    return index[kept] / np.array(sizes), weight


def electrons_of(model: Model) -> float | None:
    """Valence electrons in the cell: of the elements where the table has s and p orbitals, one an atom of a p_z table; else None."""
    shells, sites = {o.shell for o in model.topology.orbitals}, model.topology.sites()
    if shells == {"z"}:
        return float(len(sites))
    if {"s", "p"} <= shells and all(site in VALENCE for site in sites):
        return float(sum(VALENCE[site] for site in sites))
    return None


def _check_electrons(electrons: float, held: int, count: int) -> None:
    if not 0 < electrons <= held:
        raise ValueError(f"Argument `electrons` must lie in 0 … {held}, what {count} bands hold, but is {electrons:g}.")


def array_levels(
    energy: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    electrons: float | None = None,
    fermi: float | None = None,
    degeneracy: int = 2,
    complete: bool = False,
) -> Levels:
    """Levels from arrays.

    Args:
        energy: eV, shape (k, band), or (spin, k, band) of a magnet, whose levels hold one electron each.
        weights: Weights of the wave vectors, ≥ 0, any scale, shape (k,); None: all alike. Wave vectors of weight 0 (a path beside the mesh, as hybrid
            calculations have it) are left out.
        electrons: Electrons in the cell among these bands, 0 < N ≤ what they hold; None: not known.
        fermi: Fermi level in eV, on the scale of `energy`.
        degeneracy: Electrons that a level holds, 1 or 2; a magnet's is 1.
        complete: Whether the bands are all there are. If not, the highest band's minimum bounds what is known.

    Raises:
        ValueError: a shape that does not fit, NaN, weights < 0 or all 0, more electrons than the bands hold, a degeneracy
            other than 1 or 2.
    """
    energy = jnp.asarray(energy, float)
    if energy.ndim not in (2, 3):
        raise ValueError(
            f"Argument `energy` must have shape (k, band) or (spin, k, band), but has shape {energy.shape}."
        )
    checks.finite("energy", energy)
    checks.one_of("degeneracy", degeneracy, (1, 2))
    if energy.ndim == 3:
        if energy.shape[0] > 1:
            degeneracy = 1
        channels, count = energy.shape[:2]
    else:
        channels, count = 1, energy.shape[0]
    energy = jnp.sort(energy.reshape(channels * count, -1), axis=1)
    weight = jnp.ones(count, energy.dtype) if weights is None else jnp.asarray(weights, energy.dtype)
    checks.shape_is("weights", weight, (count,))
    checks.not_negative("weights", weight)
    checks.positive("weights.sum()", weight.sum())
    weight = jnp.tile(weight / weight.sum(), channels)
    energy, weight = energy[np.asarray(weight) > 0], weight[np.asarray(weight) > 0]
    if electrons is not None:
        _check_electrons(electrons, channels * degeneracy * energy.shape[1], energy.shape[1])
    below = np.inf if complete else energy[:, -1].min()
    return Levels(energy, weight, electrons, degeneracy, below, fermi, channels)


def band_edges(levels: Levels, *, smearing: float = 0.05) -> BandEdges:
    """Fermi level and band edges.

    An insulator has, in each spin channel, the same number of levels below the middle of the gap at every given wave
    vector. Where several wave vectors share an edge its derivative is their mean; of levels that are degenerate at one k
    only sums have a derivative, so that an edge such as Γ₈ has one only for changes that do not split it.

    Args:
        levels: With `electrons` or `fermi`.
        smearing: σ in eV, > 0, of a metal's Fermi level (the module's head).

    Raises:
        ValueError: neither `electrons` nor `fermi` is known.
    """
    energy = levels.energy
    if levels.electrons is None and levels.fermi is None:
        raise ValueError("Argument `levels` must know `electrons` or `fermi` for band edges, but knows neither.")
    if levels.electrons is not None:
        held = jnp.broadcast_to(levels.degeneracy * levels.weight[:, None], energy.shape).ravel()
        order = jnp.argsort(energy.ravel())
        half_a_level = levels.degeneracy * levels.weight.min() / 2  # for rounding
        filled = jnp.cumsum(held[order]) <= levels.electrons + half_a_level
        ascending = energy.ravel()[order]
        top = jnp.max(jnp.where(filled, ascending, -jnp.inf))
        bottom = jnp.min(jnp.where(filled, jnp.inf, ascending))
        between = (top + bottom) / 2
    else:
        between = jnp.asarray(levels.fermi, energy.dtype)
        top = jnp.max(jnp.where(energy <= between, energy, -jnp.inf))
        bottom = jnp.min(jnp.where(energy > between, energy, jnp.inf))
    below = jnp.sum(energy <= between, axis=1).reshape(levels.channels, -1)
    touching = TOUCHING if energy.dtype == np.float64 else TOUCHING_SINGLE
    gapped = jnp.all(below == below[:, :1]) & jnp.isfinite(bottom) & (bottom - top > touching)
    if levels.electrons is not None:  # whole levels: N of a single k may end inside one
        gapped &= jnp.abs(levels.degeneracy * jnp.sum(below[:, 0]) - levels.electrons) < 1e-6 * (1 + levels.electrons)
    nan = jnp.asarray(jnp.nan, energy.dtype)
    vbm, cbm = jnp.where(gapped, top, nan), jnp.where(gapped, bottom, nan)
    if levels.fermi is not None:
        fermi = jnp.asarray(levels.fermi, energy.dtype)
    else:
        fermi = jnp.where(gapped, between, fermi_level(levels, smearing))
    return BandEdges(fermi, vbm, cbm, jnp.where(gapped, bottom - top, 0.0))


def fermi_level(levels: Levels, smearing: float) -> jax.Array:
    """E_F at which the levels, occupied by ½ erfc((ε − E_F)/σ), hold the electrons; differentiable in them.

    Raises:
        ValueError: `smearing` is not > 0.
    """
    checks.positive("smearing", smearing, "eV")
    energy = levels.energy

    def held(level: jax.Array, eps: jax.Array) -> jax.Array:
        occupation = jax.scipy.special.erfc((eps - level) / smearing) / 2
        return levels.degeneracy * jnp.sum(levels.weight[:, None] * occupation)

    fixed = jax.lax.stop_gradient(energy)

    def halve(_: int, bracket: tuple) -> tuple:
        low, high = bracket
        middle = (low + high) / 2
        below = held(middle, fixed) < levels.electrons
        return jnp.where(below, middle, low), jnp.where(below, high, middle)

    low, high = jax.lax.fori_loop(0, BISECTIONS, halve, (fixed.min() - 10 * smearing, fixed.max() + 10 * smearing))
    level = (low + high) / 2
    slope = jax.grad(held)(level, fixed)
    # a Newton step whose value is next to nothing and whose derivative is that of the implicit function
    return level - (held(level, energy) - levels.electrons) / jnp.maximum(slope, jnp.finfo(energy.dtype).tiny)
