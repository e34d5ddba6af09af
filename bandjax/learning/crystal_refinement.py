"""The exact fit of a series of simulated crystals, compiled once: only numbers differ from image to image.

What is fitted are the family's own images (`crystal_signal`, no momentum resolution) with its own priors, and an error of
the k axis; weights and background are projected out as in any fit of a cut, on splines fine enough for what is drawn.
For a measured map there is `crystal_problem`, whose grids are laid for one map.

Levels are taken in ascending order in each half (`crystal_images`), where nothing is differentiated: slopes are
differences over `STEP` of a prior's width.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bandjax.inference.least_squares import minimise
from bandjax.inference.likelihood import Likelihood, cost_and_score, pixel_variance
from bandjax.inference.linear import Smooth, project, project_out, spline_basis
from bandjax.inference.starts import choose_starts
from bandjax.learning.crystal_images import crystal_signal, occupied
from bandjax.learning.crystals import ALIGNMENT, CrystalFamily

STEP = 2e-3  # of a prior's width: 0.0007 Å, a fiftieth of the k_z width at the twelfth zone
EDGE = 1e-3  # of a prior's width within the bounds at which values are held
WEIGHTS, BACKGROUND = (9, 8), (6, 24)  # splines along k and E
RIDGE = 1e-5
TOLERANCE = 0.02  # promised decrease of −log posterior at which a descent ends
GOOD = 1.2  # χ² per pixel up to which no other start is tried
# a descent only reaches lattice constants that put k_z within its own width of the truth, 0.02 Å; so starts are also tried
# with others, every …
FINE, FAR, VARIED = 0.02, 0.24, 2  # … Å up to … Å away, of that many of them
ALIKE = 0.03  # Å; of starts nearer than that one descent does for both


class Cut(NamedTuple):
    """One image to be fitted."""

    data: jax.Array  # counts, (kx, energy)
    weight: jax.Array  # 1/σ², 0 where there is no pixel
    kx: jax.Array
    energy: jax.Array
    photon_energy: jax.Array
    fwhm_energy: jax.Array


class Refined(NamedTuple):
    """Where the best descent ended.

    Attributes:
        values: By name, the error of the k axis as "shift".
        covariance: Laplace, (parameter, parameter), in the order of `values`; of a value on its bound that of the prior.
        costs: −log posterior where each descent ended.
        reduced_chi2: χ² per pixel less what was fitted.
        trials: Of the best descent.
        converged: Whether it ended by itself.
    """

    values: dict[str, float]
    covariance: np.ndarray
    costs: list[float]
    reduced_chi2: float
    trials: int
    converged: bool


def as_cut(counts: Any, mask: Any, kx: Any, energy: Any, photon_energy: Any, fwhm_energy: Any) -> Cut:
    """A simulated image with the variance of its smoothed counts."""
    counts, mask = np.asarray(counts, float), np.asarray(mask) > 0
    variance, _ = pixel_variance(counts, mask, Likelihood("scaled", scale=1.0), np.asarray(energy, float))
    numbers = (np.where(mask, counts, 0.0), mask / variance, kx, energy, photon_energy, fwhm_energy)
    return Cut(*(jnp.asarray(np.asarray(x, float)) for x in numbers))


def refine_crystal(
    family: CrystalFamily, cut: Cut, starts: list[dict[str, float]], *, descents: int = 3, max_steps: int = 30
) -> Refined:
    """Descents from the best of `starts` until one explains the image; the lowest end.

    Args:
        family: What was drawn.
        cut: From `as_cut`.
        starts: Points, the family's numbers by name.
        descents: How many at most.
        max_steps: Trials of each.
    """
    cost, descend, spread = _programs(family, cut.data.shape, max_steps)
    centre, sigma = _numbers(family)[:2]
    points = [(np.array([s[n] for n in family.names] + [0.0]) - centre) / sigma for s in starts]
    costs = [float(cost(jnp.asarray(p), cut)) for p in points]
    at = family.names.index("a")
    away = np.arange(-FAR, FAR + FINE / 2, FINE) / sigma[at]
    varied = [points[i] + da * np.eye(centre.size)[at] for i in np.argsort(costs)[:VARIED] for da in away]
    points, costs = points + varied, costs + [float(cost(jnp.asarray(p), cut)) for p in varied]
    constants = np.array([p[at] for p in points]) * sigma[at]
    alike = np.abs(constants[:, None] - constants) < ALIKE
    ends, pixels = [], int((np.asarray(cut.weight) > 0).sum())
    for i in choose_starts(costs, descents, alike):
        state = descend(jnp.asarray(points[i]), cut)
        chi2, coefficients = spread(state.u, cut)
        ends.append((float(state.cost), state, float(chi2) / (pixels - centre.size - int(coefficients))))
        if ends[-1][2] < GOOD:
            break
    _, best, chi2 = min(ends, key=lambda end: end[0])
    x = np.asarray(_held(family, best.u))
    return Refined(
        dict(zip((*family.names, "shift"), x.tolist(), strict=True)),
        np.linalg.inv(np.asarray(best.fisher)) * np.outer(sigma, sigma), [end[0] for end in ends], chi2, int(best.steps), bool(best.done),
    )  # fmt: skip


@functools.cache
def _numbers(family: CrystalFamily) -> tuple[np.ndarray, ...]:
    """Centre, width and bounds of what is fitted, (number,) each."""
    own = [(p.value, p.sigma, p.lower + EDGE * p.sigma, p.upper - EDGE * p.sigma) for _, p in family.parameters]
    return tuple(np.array([*own, (0.0, ALIGNMENT, -np.inf, np.inf)]).T)


def _held(family: CrystalFamily, z: jax.Array) -> jax.Array:
    """Physical values of standardised ones, within their bounds."""
    centre, sigma, low, high = _numbers(family)
    return jnp.clip(centre + sigma * z, low, high)


@functools.cache
def _programs(family: CrystalFamily, shape: tuple[int, int], max_steps: int):
    """Compiled (point, cut) -> cost; -> the end of a descent; -> χ² and number of coefficients."""
    index = [np.linspace(0, 1, n) for n in shape]
    sharp, smooth = (Smooth(*map(spline_basis, index, n)) for n in (WEIGHTS, BACKGROUND))
    bases, signed = (sharp, sharp, sharp, smooth), (False, False, False, True)

    def images(z: jax.Array, cut: Cut) -> jax.Array:
        x = _held(family, z)
        axes = (cut.kx - x[-1], cut.energy, cut.photon_energy, cut.fwhm_energy)
        bright = crystal_signal(family, x[:-1], *axes) * occupied(family, cut.energy, cut.fwhm_energy)
        return jnp.concatenate([bright, jnp.ones_like(bright[:1])])

    def projected(bright: jax.Array, cut: Cut):
        return project(bright, bases, cut.data, cut.weight, ridge=RIDGE, signed=signed)

    def cost(z: jax.Array, cut: Cut) -> jax.Array:
        found = projected(images(z, cut), cut)
        value, _, _ = cost_and_score("scaled", found.mean, cut.data, cut.weight)
        return value + found.penalty + 0.5 * jnp.sum(z**2)

    def linearise(z: jax.Array, cut: Cut) -> tuple[jax.Array, jax.Array, jax.Array]:
        bright = images(z, cut)
        found = projected(bright, cut)
        slopes = jax.lax.map(lambda d: (images(z + STEP * d, cut) - bright) / STEP, jnp.eye(z.size, dtype=z.dtype))
        slopes = jnp.moveaxis(slopes, 0, -1)
        value, score, fisher = cost_and_score("scaled", found.mean, cut.data, cut.weight)
        raw = (found.surfaces[..., None] * slopes).sum(axis=0)
        gradient = jnp.tensordot(score, raw, 2) + jnp.tensordot(found.slope, slopes, 3) + z
        jacobian = project_out(found, bright, bases, raw, fisher).reshape(-1, z.size)
        matrix = jacobian.T @ (fisher.reshape(-1, 1) * jacobian) + jnp.eye(z.size, dtype=z.dtype)
        return value + found.penalty + 0.5 * jnp.sum(z**2), gradient, matrix

    def descend(z: jax.Array, cut: Cut):
        options = {"max_steps": max_steps, "tolerance": TOLERANCE, "cost": lambda v: cost(v, cut)}
        return minimise(lambda v: linearise(v, cut), z, **options)

    def spread(z: jax.Array, cut: Cut) -> tuple[jax.Array, jax.Array]:
        found = projected(images(z, cut), cut)
        return jnp.sum(cut.weight * (cut.data - found.mean) ** 2), found.free.sum()

    return jax.jit(cost), jax.jit(descend), jax.jit(spread)
