"""Smooth fields on a grid of wave vectors: their prior, and the linear systems of a Newton step (errors: `errors`).

A field has several components on one grid (energies of bands, logarithms of amplitudes), shape (component, nx, ny); a cut
is a grid (n, 1). −log prior = ½ Σ [p₀ d² + p₁ (δd)² + p₂ (δ²d)²] of d = x − mean, with δ the differences of nearest
neighbours along both axes, δ² the second differences xx, yy and √2 xy (those of a thin plate), and p₀, p₁, p₂ one number a
component. With `tail` τ > 0 the second differences of a neighbourhood share a Student's t: Σ p₂ (δ²d)² becomes
Σ_k (1 + τ) log(1 + τ S_k)/τ, S_k the mean of p₂ (δ²d)² over the 5 × 5 pixels about k. A kink (where two bands touch) then costs its logarithm,
not its square, and noise, which has no neighbourhood, is not taken for one. The weight Σ_k (1 + τ)/(1 + τ S_k) of each second difference makes the
Gaussian that touches this prior from above (majorise, minimise).
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bandjax.reconstruction import multilevel
from bandjax.reconstruction.multilevel import as_blocks, diagonal
from bandjax.reconstruction.multilevel import product as block_product

CG_TOLERANCE = 3e-3  # of the right-hand side, for a Newton step: the step is repeated anyway
CG_STEPS = 400
POOL = 5  # pixels along each axis of a neighbourhood that shares the scale of its second differences


class Smoothness(NamedTuple):
    """Prior of a field; every array holds one number a component.

    Attributes:
        point: p₀, 1/σ² of a component about its mean.
        pair: p₁, 1/σ² of the difference of neighbours.
        curvature: p₂, 1/σ² of a second difference.
        tail: τ of Student's t for second differences, 1/(degrees of freedom); 0: Gaussian.
    """

    point: jax.Array
    pair: jax.Array
    curvature: jax.Array
    tail: jax.Array | float = 0.0


class Local(NamedTuple):
    """Data term of a field: a sum over pixels.

    Attributes:
        cost: −log likelihood, scalar.
        gradient: (component, nx, ny).
        hessian: Its second derivative (or the Fisher matrix), (component, component, nx, ny).
    """

    cost: jax.Array
    gradient: jax.Array
    hessian: jax.Array


class Descent(NamedTuple):
    """End of a descent.

    Attributes:
        x: The field.
        cost: −log posterior.
        gradient: Largest component of its gradient times the local standard deviation: 0 at the optimum.
        steps: Evaluations of the data term.
        converged: Whether the last step lowered the cost by less than the tolerance.
    """

    x: jax.Array
    cost: jax.Array
    gradient: jax.Array
    steps: jax.Array
    converged: jax.Array


def differences(d: jax.Array, *, squared: bool = False) -> tuple[jax.Array, ...]:
    """d, δx, δy, δxx, δyy, √2 δxy, each linear in d (with `squared`: with the squares of the coefficients).

    An axis that is too short for one gives an empty array.
    """
    one, two, root = (1.0, 4.0, 2.0) if squared else (-1.0, -2.0, np.sqrt(2))
    return (
        d,
        d[:, 1:] + one * d[:, :-1],
        d[:, :, 1:] + one * d[:, :, :-1],
        d[:, 2:] + two * d[:, 1:-1] + d[:, :-2],
        d[:, :, 2:] + two * d[:, :, 1:-1] + d[:, :, :-2],
        root * (d[:, 1:, 1:] + one * (d[:, 1:, :-1] + d[:, :-1, 1:]) + d[:, :-1, :-1]),
    )


def _precisions(prior: Smoothness) -> tuple[jax.Array, ...]:
    point, pair, curvature = (jnp.asarray(p)[:, None, None] for p in prior[:3])
    return point, pair, pair, curvature, curvature, curvature


def weights(prior: Smoothness, d: jax.Array) -> tuple[jax.Array, ...]:
    """Weight of every difference of `differences`, at the deviation d."""
    precision, found = _precisions(prior), differences(d)
    level, transposed = jax.vjp(_pooled, tuple(p * r**2 for p, r in zip(precision[3:], found[3:], strict=True)))
    shared = transposed((1 + prior.tail) / (1 + prior.tail * level))[0]
    plain = [jnp.broadcast_to(p, r.shape) for p, r in zip(precision[:3], found[:3], strict=True)]
    return (*plain, *(p * w for p, w in zip(precision[3:], shared, strict=True)))


def prior_cost(prior: Smoothness, d: jax.Array) -> jax.Array:
    """−log prior of the deviation d, without its constant."""
    squares = [p * r**2 for p, r in zip(_precisions(prior), differences(d), strict=True)]
    level, tail = _pooled(tuple(squares[3:])), jnp.asarray(prior.tail, d.dtype)
    robust = (1 + tail) * jnp.where(tail > 0, jnp.log1p(tail * level) / jnp.where(tail > 0, tail, 1), level)
    return 0.5 * (sum(jnp.sum(s) for s in squares[:3]) + jnp.sum(robust))


def _pooled(squares: tuple[jax.Array, ...]) -> jax.Array:
    """Sum of the three squares at each pixel, averaged over `POOL` × `POOL` pixels; linear in the squares."""
    xx, yy, xy = squares
    total = jnp.pad(xx, ((0, 0), (1, 1), (0, 0))) + jnp.pad(yy, ((0, 0), (0, 0), (1, 1)))
    for a in ((1, 0), (0, 1)):
        for b in ((1, 0), (0, 1)):
            total += 0.25 * jnp.pad(xy, ((0, 0), a, b))
    return _boxes(total) / _boxes(jnp.ones_like(total))


def _boxes(values: jax.Array) -> jax.Array:
    return jax.lax.reduce_window(values, np.zeros((), values.dtype), jax.lax.add, (1, POOL, POOL), (1, 1, 1), "SAME")


def prior_product(weight: tuple[jax.Array, ...], d: jax.Array) -> jax.Array:
    """Σ δᵀ w δ d: the gradient of the prior at d, and its (majorising) Hessian times d."""
    found, transposed = jax.vjp(differences, d)
    return transposed(tuple(w * r for w, r in zip(weight, found, strict=True)))[0]


def prior_diagonals(weight: tuple[jax.Array, ...], shape: tuple[int, ...]) -> list[jax.Array]:
    """Diagonals of Σ δᵀ w δ, Σ w times the squares of the stencil's coefficients, for d, δ and δ² apart."""
    transposed = jax.vjp(functools.partial(differences, squared=True), jnp.zeros(shape, weight[0].dtype))[1]
    none = tuple(jnp.zeros_like(w) for w in weight)
    return [transposed((*none[:a], *weight[a:b], *none[b:]))[0] for a, b in ((0, 1), (1, 3), (3, 6))]


def prior_diagonal(weight: tuple[jax.Array, ...], shape: tuple[int, ...]) -> jax.Array:
    """Diagonal of Σ δᵀ w δ."""
    return sum(prior_diagonals(weight, shape), jnp.zeros(()))


def conjugate_gradients(
    product: Callable[[jax.Array], jax.Array], right: jax.Array, inverse: Callable[[jax.Array], jax.Array],
    tolerance: float, steps: int,
) -> jax.Array:  # fmt: skip
    """Solve product(x) = right, preconditioned by `inverse`.

    Where a direction of negative curvature is met, x is what was found before it, or that first direction: it goes downhill.
    """
    limit = tolerance**2 * jnp.sum(right * inverse(right))

    def proceed(state: Any) -> jax.Array:
        _, _, _, size, count, negative = state
        return (size > limit) & (count < steps) & ~negative

    def step(state: Any) -> Any:
        x, residual, direction, size, count, _ = state
        along = product(direction)
        curvature = jnp.sum(direction * along)
        negative = curvature <= 0
        length = jnp.where(negative, 0.0, size / jnp.where(negative, 1.0, curvature))
        x, residual = x + length * direction, residual - length * along
        mended = inverse(residual)
        new = jnp.sum(residual * mended)
        return x, residual, mended + new / size * direction, jnp.where(negative, size, new), count + 1, negative

    first = inverse(right)
    begin = (jnp.zeros_like(right), right, first, jnp.sum(right * first), 0, jnp.asarray(False))
    x, _, _, _, count, negative = jax.lax.while_loop(proceed, step, begin)
    return jnp.where(negative & (count == 1), first, x)


def descend(
    local: Callable[[jax.Array], Local], prior: Smoothness, mean: jax.Array, x: jax.Array, *, longest: jax.Array,
    steps: jax.Array | int, tolerance: jax.Array | float,
) -> Descent:  # fmt: skip
    """Newton's method (Levenberg-Marquardt damped, inner solutions by conjugate gradients) on −log likelihood − log prior.

    Written for `jit`: the data term is evaluated once a step, at the trial.

    Args:
        local: Data term.
        prior: Prior of x − mean.
        mean: (component, nx, ny).
        x: Start, the same shape.
        longest: Longest step of a component, (component,).
        steps: Evaluations of the data term at most.
        tolerance: The descent ends when the cost falls by less.
    """
    longest = longest[:, None, None]

    def trial_from(x: jax.Array, found: Local, damping: jax.Array, wanted: jax.Array) -> tuple[jax.Array, ...]:
        """Trial, what it promises to gain, and the gradient in local standard deviations; without `wanted` only that."""
        weight = weights(prior, x - mean)
        right = -(found.gradient + prior_product(weight, x - mean))
        parts = prior_diagonals(weight, x.shape)
        own = jnp.abs(diagonal(found.hessian)) + sum(parts)

        def newton() -> jax.Array:
            # Damping adds to the diagonal: of the data term where there is one, of the prior where the data say nothing
            inverse = multilevel.preconditioner(positive(found.hessian) + as_blocks(damping * own), parts)
            return conjugate_gradients(lambda v: product(v) + damping * own * v, right, inverse, CG_TOLERANCE, CG_STEPS)

        def product(v: jax.Array) -> jax.Array:
            return block_product(found.hessian, v) + prior_product(weight, v)

        change = jnp.clip(jax.lax.cond(wanted, newton, lambda: jnp.zeros_like(x)), -longest, longest)
        promised = jnp.sum(change * (right - 0.5 * product(change)))
        return x + change, promised, jnp.max(jnp.abs(right) / jnp.sqrt(own))

    def proceed(state: Any) -> jax.Array:
        *_, count, done, _ = state
        return (count < steps) & ~done

    def step(state: Any) -> Any:
        x, found, cost, trial, promised, damping, count, _, _ = state
        there = local(trial)
        new = there.cost + prior_cost(prior, trial - mean)
        better = ~(new > cost) & jnp.isfinite(new)
        x, found = jax.tree.map(lambda a, b: jnp.where(better, a, b), (trial, there), (x, found))
        kept = cost - new > 0.7 * promised  # the parabola holds: hardly any damping next time
        lower = damping * jnp.where(kept, 0.05, 0.5)
        damping = jnp.where(better, lower, jnp.maximum(damping * 5, 1e-2))
        done = (better & (cost - new < tolerance)) | (damping > 1e8)
        cost = jnp.where(better, new, cost)
        trial, promised, size = trial_from(x, found, damping, ~done & (count + 1 < steps))
        return x, found, cost, trial, promised, damping, count + 1, done, size

    zero, size = jnp.zeros((), x.dtype), x.shape[0]
    nothing = Local(zero, jnp.zeros_like(x), jnp.zeros((size, *x.shape), x.dtype))
    begin = (x, nothing, zero + jnp.inf, x, zero, zero + 5e-3, 0, jnp.asarray(False), zero)
    x, _, cost, _, _, damping, count, done, size = jax.lax.while_loop(proceed, step, begin)
    return Descent(x, cost, size, count, done & (damping <= 1e8))


def hessian_product(found: Local, prior: Smoothness, d: jax.Array) -> Callable[[jax.Array], jax.Array]:
    """v → H v of −log posterior at the deviation d (of its majoriser where the prior has a `tail`)."""
    weight = weights(prior, d)
    return lambda v: block_product(found.hessian, v) + prior_product(weight, v)


def positive(block: jax.Array) -> jax.Array:
    """The local matrices with the moduli of their diagonal: Fisher matrices stay, those of independent bands become positive."""
    return block + as_blocks(jnp.abs(diagonal(block)) - diagonal(block))
