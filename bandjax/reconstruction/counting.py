"""Our posterior of a band map: counts, a line shape, and smooth surfaces.

The mean of a pixel is μ(k, E) = f(E) [Σ_b A_b(k) V(E − E_b(k)) + Σ_j B_j(k) s_j(E)], with V the Voigt line of height 1 (so A is in counts
at the peak), s the background's shapes (a constant, or the hat functions of a piecewise linear one), and f a known
factor (Fermi edge) or 1. Noise: Poisson, −log L = Σ μ − c log μ, for the counts as they are — nothing is smoothed. The field is
x = (E_b, log A_b, log B_j) on the grid of k; the Hessian of the data is the Fisher matrix Jᵀ J/μ, one small matrix a pixel, so that the
uncertainty of amplitudes and background is in the errors of the energies. Priors: `fields.Smoothness`.

All bands are fitted together: where two cross, both are in the mean, and what keeps their labels is the prior of
their curvature.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bandjax.reconstruction import fields
from bandjax.reconstruction.line_shape import voigt

CHUNK = 256  # pixels at a time: bounds the memory of the derivatives
LEAST_MEAN = 1e-4  # counts, added to every mean, so that its logarithm exists where bands and background are 0


class Counts(NamedTuple):
    """Data of the posterior.

    Attributes:
        counts: (nx, ny, energy); 0 where masked.
        valid: Whether a number is there, the same shape.
        energy: eV, (energy,).
        factor: f(E), (energy,).
        shapes: s_j(E), (background, energy).
    """

    counts: jax.Array
    valid: jax.Array
    energy: jax.Array
    factor: jax.Array
    shapes: jax.Array


class Line(NamedTuple):
    """Widths of the line, one for all bands: Gaussian standard deviation and Lorentzian half width, eV."""

    sigma: jax.Array
    eta: jax.Array


def counts_of(
    intensity: np.ndarray, energy: np.ndarray, *, background: int = 1, factor: np.ndarray | None = None
) -> Counts:
    """Data of an array with NaN for missing pixels."""
    missing = np.isnan(intensity)
    shapes = np.ones((1, energy.size))
    if background > 1:
        knots = np.linspace(energy[0], energy[-1], background)
        shapes = np.stack([np.interp(energy, knots, row) for row in np.eye(background)])
    given = np.ones_like(energy) if factor is None else factor
    parts = (np.where(missing, 0.0, intensity), energy, given, shapes)
    counts, *rest = (jnp.asarray(part, intensity.dtype) for part in parts)
    return Counts(counts, jnp.asarray(~missing), *rest)


def means(data: Counts, line: Line, x: jax.Array) -> jax.Array:
    """μ, (nx, ny, energy), of the field x."""
    size, nx, ny = x.shape
    flat = x.reshape(size, nx * ny).T
    found = jax.lax.map(lambda row: _parts(data, line, row)[0], flat, batch_size=min(CHUNK, nx * ny))
    return found.reshape(nx, ny, -1)


def _parts(data: Counts, line: Line, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """μ of one pixel, (energy,), and its derivative in the field, (component, energy)."""
    bands = (x.size - data.shapes.shape[0]) // 2
    height, ground = jnp.exp(x[bands : 2 * bands]), jnp.exp(x[2 * bands :])
    shape, slope = voigt(data.energy - x[:bands, None], *line)
    by_height = data.factor * height[:, None] * shape
    by_ground = data.factor * ground[:, None] * data.shapes
    mu = by_height.sum(0) + by_ground.sum(0) + LEAST_MEAN
    return mu, jnp.concatenate([-data.factor * height[:, None] * slope, by_height, by_ground])


def cost(data: Counts, line: Line, x: jax.Array) -> jax.Array:
    """−log L without the constant Σ log c!."""
    mu = means(data, line, x)
    return jnp.sum(data.valid * mu - data.counts * jnp.log(mu))


def data_term(data: Counts, line: Line, x: jax.Array) -> fields.Local:
    """−log L with its gradient and the Fisher matrices, some pixels at a time."""
    size, nx, ny = x.shape
    pixels = nx * ny
    flat = x.reshape(size, pixels).T
    counts = data.counts.reshape(pixels, -1)
    rows = (flat, counts, data.valid.reshape(pixels, -1))
    found = jax.lax.map(lambda row: _pixel(data, line, *row), rows, batch_size=min(CHUNK, pixels))
    value, gradient, fisher = found
    return fields.Local(
        jnp.sum(value), gradient.T.reshape(size, nx, ny), jnp.moveaxis(fisher, 0, -1).reshape(size, size, nx, ny)
    )


def _pixel(data: Counts, line: Line, x: jax.Array, counts: jax.Array, valid: jax.Array) -> tuple[jax.Array, ...]:
    mu, jacobian = _parts(data, line, x)
    gradient = jacobian @ (valid - counts / mu)
    fisher = (jacobian * (valid / mu)) @ jacobian.T
    return jnp.sum(valid * mu - counts * jnp.log(mu)), gradient, fisher


@jax.jit
def descend(
    data: Counts, line: Line, prior: fields.Smoothness, mean: jax.Array, x: jax.Array, longest: jax.Array, *,
    steps: int | jax.Array, tolerance: float | jax.Array,
) -> fields.Descent:  # fmt: skip
    """`fields.descend` on the counting likelihood."""
    local = functools.partial(data_term, data, line)
    return fields.descend(local, prior, mean, x, longest=longest, steps=steps, tolerance=tolerance)


@jax.jit
def better_line(data: Counts, line: Line, x: jax.Array, found: fields.Local) -> tuple[Line, jax.Array]:
    """One scoring step of log sigma and log eta, with all local unknowns profiled out pixel by pixel.

    A weak prior (factor e about where they are) keeps the two from running off where only one of them is seen.

    Returns:
        The line, and the largest relative change.
    """

    size, nx, ny = x.shape
    logs = jnp.log(jnp.stack(line))
    flat = x.reshape(size, -1).T
    blocks = jnp.moveaxis(found.hessian.reshape(size, size, -1), -1, 0)
    counts = data.counts.reshape(nx * ny, -1)

    def one(row: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        x, block, counts, valid = row

        mu, by_x = _parts(data, line, x)
        by_line = _by_widths(data, line, x)
        score = by_line @ (valid - counts / mu)
        weighted = by_line * (valid / mu)
        own, mixed = weighted @ by_line.T, weighted @ by_x.T
        floor = 1e-6 * jnp.trace(block) + 1e-30
        return score, own - mixed @ jnp.linalg.solve(block + floor * jnp.eye(block.shape[0]), mixed.T)

    rows = (flat, blocks, counts, data.valid.reshape(nx * ny, -1))
    score, fisher = jax.lax.map(one, rows, batch_size=min(CHUNK, nx * ny))
    change = -jnp.linalg.solve(fisher.sum(0) + jnp.eye(2), score.sum(0))
    change = jnp.clip(change, -0.3, 0.3)
    return Line(*jnp.exp(logs + change)), jnp.max(jnp.abs(change))


def _by_widths(data: Counts, line: Line, x: jax.Array) -> jax.Array:
    """Derivative of one pixel's μ in log sigma and log eta, (2, energy)."""
    bands = (x.size - data.shapes.shape[0]) // 2
    distance = data.energy - x[:bands, None]

    def lines(logs: jax.Array) -> jax.Array:
        return voigt(distance, *jnp.exp(logs))[0]

    logs = jnp.log(jnp.stack(line))
    height = jnp.exp(x[bands : 2 * bands, None])
    parts = [jax.jvp(lines, (logs,), (direction,))[1] for direction in jnp.eye(2, dtype=logs.dtype)]
    return jnp.stack([data.factor * (height * part).sum(0) for part in parts])
