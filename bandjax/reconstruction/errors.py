"""Standard errors of a field: noise, smoothing, and numbers that the prior leaves free.

With the Fisher matrix F of the data and the prior's P the posterior's variance is C = (F + P)⁻¹ = C F C + C P C: what noise does to the
estimate, and what a surface as rough as the prior allows is smoothed away (Laplace approximation). Bands are smoother than that: the prior
takes second differences of neighbouring pixels as independent, those of a band are not, and a prior wide enough for its kinks is too wide elsewhere.
Where the prior has a tail, P is that of the Gaussian that touches it from above. With C itself the 68 % intervals of smooth bands cover 80 %,
with C F C alone those of surfaces drawn from the prior 52 % (two axes; in the limit of many pixels). `surface_errors` therefore counts

    C F C + max(½ C P C, ⟨b²⟩) + ½ g C P C,    b = C P (x − mean): what smoothing the answer once more takes away,

⟨⟩ over 5 × 5 pixels: with the first half both lie within 60 to 76 %. The other half is added, g from 0 to 1, where the data's share C F C/C falls
below its median: there (holes, dark regions) the prior is all there is, and nothing shows how rough the surface is. F has the moduli of its diagonal (`fields.positive`):
the curvature of the published posterior can be negative at a pixel.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.ndimage import uniform_filter

from bandjax.reconstruction import fields, multilevel

DENSE_LIMIT = 1500  # unknowns up to which errors come from the inverse itself
DRAWS_AT_ONCE = 8
DRAWS = 64  # of the posterior, for the errors of larger fields
DRAW_TOLERANCE = (
    0.1  # measured: medians within 1 % of those at 0.01; without the coarser grids 0.03 gave a quarter too little
)
SMOOTHING = 0.5  # part of C P C that counts where there are data
CG_TOLERANCE, CG_STEPS = 1e-5, 2000


class Variances(NamedTuple):
    """Diagonals of C = C F C + C P C, (component, nx, ny), and how they were found."""

    noise: np.ndarray
    smoothing: np.ndarray
    method: str


def standard_errors(
    found: fields.Local, prior: fields.Smoothness, d: jax.Array, *, seed: int = 0
) -> tuple[np.ndarray, str]:
    """√ of the diagonal of the inverse Hessian (Laplace approximation), (component, nx, ny), and how it was found."""
    parts = variances(found, prior, d, seed=seed)
    return np.sqrt(parts.noise + parts.smoothing), parts.method


def surface_errors(
    found: fields.Local, prior: fields.Smoothness, d: jax.Array, *, seed: int = 0
) -> tuple[np.ndarray, str]:
    """Errors that count smoothing as the module's head says, (component, nx, ny), and how they were found."""
    noise, smoothing, method = variances(found, prior, d, seed=seed)
    shape = (1, *(min(fields.POOL, n) for n in d.shape[1:]))
    bias = uniform_filter(np.asarray(_smoothed_away(found, prior, d)) ** 2, shape, mode="nearest")
    share = noise / (noise + smoothing)
    seen = np.asarray(jnp.einsum("ccxy->xy", fields.positive(found.hessian))) > 0  # pixels with data
    typical = np.median(share[:, seen], axis=1)[:, None, None]
    unseen = (1 - SMOOTHING) * np.clip(1 - share / typical, 0, 1)
    variance = noise + np.maximum(SMOOTHING * smoothing, bias) + unseen * smoothing
    return np.sqrt(variance), f"{method}; noise, and the part {SMOOTHING:g} of smoothing"


def variances(found: fields.Local, prior: fields.Smoothness, d: jax.Array, *, seed: int = 0) -> Variances:
    """Diagonals of C F C and C P C.

    Up to `DENSE_LIMIT` unknowns the matrix is inverted. Above, from `DRAWS` draws x = H⁻¹ (√F z + δᵀ√w z′), the two parts each by
    conjugate gradients. Their sum comes from the law of total variance about every pixel, σ² = (1/H)_local + Var(x̂ | neighbours) with
    x̂ = x − H_local⁻¹ (H x), which scatters far less than the draws' own variance; only how it divides comes from the latter.
    """
    return _dense(found, prior, d) if d.size <= DENSE_LIMIT else _drawn(found, prior, d, seed)


def _dense(found: fields.Local, prior: fields.Smoothness, d: jax.Array) -> Variances:
    size = d.size
    found = found._replace(hessian=fields.positive(found.hessian))
    matrix = np.asarray(_columns(found, prior, d)).reshape(size, size)
    fisher = np.asarray(_columns(found, None, d)).reshape(size, size)
    inverse = np.linalg.inv(matrix)
    total = np.diagonal(inverse)
    noise = np.einsum("ij,jk,ki->i", inverse, fisher, inverse, optimize=True)
    total = np.where(total > 0, total, np.inf)
    noise = np.where(np.isfinite(total), np.clip(noise, 0, total), 0)
    return Variances(noise.reshape(d.shape), (total - noise).reshape(d.shape), "exact inverse of the Hessian")


@jax.jit
def _columns(found: fields.Local, prior: fields.Smoothness | None, d: jax.Array) -> jax.Array:
    unit = jnp.eye(d.size, dtype=d.dtype).reshape(d.size, *d.shape)
    if prior is None:
        return jax.lax.map(lambda v: fields.block_product(found.hessian, v), unit, batch_size=64)
    return jax.lax.map(fields.hessian_product(found, prior, d), unit, batch_size=64)


def _drawn(found: fields.Local, prior: fields.Smoothness, d: jax.Array, seed: int) -> Variances:
    rng = np.random.default_rng(seed)
    total, local = [jnp.zeros_like(d)] * 3, jnp.zeros_like(d)
    for _ in range(0, DRAWS, DRAWS_AT_ONCE):
        squares, local = _draws(found, prior, d, _normal(rng, DRAWS_AT_ONCE, d))
        total = [a + b / DRAWS for a, b in zip(total, squares, strict=True)]
    centre, by_noise, by_prior = (np.asarray(part) for part in total)
    variance = np.asarray(local) + centre
    share = by_noise / (by_noise + by_prior)
    told = f"{DRAWS} draws of the Laplace approximation, conditioned on each pixel's neighbours"
    return Variances(variance * share, variance * (1 - share), told)


@jax.jit
def _draws(
    found: fields.Local, prior: fields.Smoothness, d: jax.Array, normal: list[jax.Array]
) -> tuple[tuple[jax.Array, ...], jax.Array]:
    """Σ over the draws of x̂², and of the squares of their two parts; the variance at given neighbours."""
    weight = fields.weights(prior, d)
    block = fields.positive(found.hessian)
    inverse = multilevel.inverse(block + multilevel.as_blocks(fields.prior_diagonal(weight, d.shape)))
    by_noise, by_prior = _parts(found, prior, d, normal)
    x = by_noise + by_prior
    product = fields.hessian_product(found._replace(hessian=block), prior, d)
    mapped = jax.vmap(lambda v: v - fields.block_product(inverse, product(v)))
    return tuple(jnp.sum(part**2, axis=0) for part in (mapped(x), by_noise, by_prior)), multilevel.diagonal(inverse)


@jax.jit
def _parts(
    found: fields.Local, prior: fields.Smoothness, d: jax.Array, normal: list[jax.Array]
) -> tuple[jax.Array, jax.Array]:
    """Draws C √F z and C δᵀ√w z′, each (draw, component, nx, ny), from standard normal z and z′."""
    weight = fields.weights(prior, d)
    block = fields.positive(found.hessian)
    own = fields.prior_diagonals(weight, d.shape)
    # keeps the factor real where the data say nothing
    block = block + 1e-9 * multilevel.as_blocks(multilevel.diagonal(block) + sum(own))
    root = jnp.moveaxis(jnp.linalg.cholesky(jnp.moveaxis(block, (0, 1), (-2, -1))), (-2, -1), (0, 1))
    _, transposed = jax.vjp(fields.differences, d)
    solved = _solver(found._replace(hessian=block), prior, d, DRAW_TOLERANCE, fields.CG_STEPS)

    def draw(own: jax.Array, *others: jax.Array) -> tuple[jax.Array, jax.Array]:
        between = transposed(tuple(jnp.sqrt(w) * z for w, z in zip(weight, others, strict=True)))[0]
        return solved(fields.block_product(root, own)), solved(between)

    return jax.vmap(draw)(*normal)


def deviations(found: fields.Local, prior: fields.Smoothness, d: jax.Array, count: int, *, seed: int = 0) -> np.ndarray:
    """Draws of what the surfaces may be off by, (draw, component, nx, ny), correlated between pixels as they are.

    Noise in full and smoothing by the part `SMOOTHING`, as `surface_errors` counts them where the data rule.
    """
    rng = np.random.default_rng(seed)
    drawn = []
    for begin in range(0, count, DRAWS_AT_ONCE):
        some = min(DRAWS_AT_ONCE, count - begin)
        by_noise, by_prior = _parts(found, prior, d, _normal(rng, some, d))
        drawn.append(np.asarray(by_noise) + np.sqrt(SMOOTHING) * np.asarray(by_prior))
    return np.concatenate(drawn)


def _normal(rng: np.random.Generator, count: int, d: jax.Array) -> list[jax.Array]:
    shapes = [d.shape, *(part.shape for part in jax.eval_shape(fields.differences, d))]
    return [jnp.asarray(rng.standard_normal((count, *shape)), d.dtype) for shape in shapes]


@jax.jit
def _smoothed_away(found: fields.Local, prior: fields.Smoothness, d: jax.Array) -> jax.Array:
    """b = C P d."""
    return solve(found, prior, d, fields.prior_product(fields.weights(prior, d), d))


def solve(found: fields.Local, prior: fields.Smoothness, d: jax.Array, right: jax.Array) -> jax.Array:
    """C `right`, the prior's weights being those at d."""
    plain = found._replace(hessian=fields.positive(found.hessian))
    return _solver(plain, prior, d, CG_TOLERANCE, CG_STEPS)(right)


def _solver(
    found: fields.Local, prior: fields.Smoothness, d: jax.Array, tolerance: float, steps: int
) -> Callable[[jax.Array], jax.Array]:
    """right → H⁻¹ right, for positive local matrices."""
    product = fields.hessian_product(found, prior, d)
    precondition = multilevel.preconditioner(found.hessian, fields.prior_diagonals(fields.weights(prior, d), d.shape))
    return lambda right: fields.conjugate_gradients(product, right, precondition, tolerance, steps)
