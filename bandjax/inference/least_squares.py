"""Levenberg-Marquardt on exact Fisher matrices (Gauss-Newton for a Gaussian, Fisher scoring for counts).

    (F + λ diag F) δ = −g,     accepted when the cost falls; λ follows the ratio of the gained to the promised decrease.

Source: K. Levenberg, Quart. Appl. Math. 2, 164 (1944); D. W. Marquardt, SIAM J. Appl. Math. 11, 431 (1963); the
adaptation of λ after H. B. Nielsen, IMM-REP-1999-05.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp


class State(NamedTuple):
    """Everything that a fit needs to go on: saved while it runs, given back to resume it."""

    u: jax.Array
    cost: jax.Array
    gradient: jax.Array
    fisher: jax.Array
    damping: jax.Array
    growth: jax.Array
    steps: jax.Array
    decrement: jax.Array  # promised decrease of the cost by an undamped step
    done: jax.Array


Linearise = Callable[[jax.Array], tuple[jax.Array, jax.Array, jax.Array]]
START_DAMPING = 1e-2
LARGEST_DAMPING = 1e12
KINK = 10  # tolerances up to which a promise is not believed where steps no longer gain


def start_state(linearise: Linearise, u: jax.Array, damping: float = START_DAMPING) -> State:
    """The state at the start point."""
    cost, gradient, fisher = linearise(u)
    one = jnp.ones((), u.dtype)
    return State(
        u,
        cost,
        gradient,
        fisher,
        damping * one,
        2 * one,
        jnp.zeros((), int),
        _decrement(gradient, fisher),
        jnp.zeros((), bool),
    )


def trial_step(state: State) -> tuple[jax.Array, jax.Array]:
    """The next point to try, and the decrease of the cost that the quadratic model promises there."""
    damped = state.fisher + jnp.diag(state.damping * _curvatures(state.fisher))
    step = -_solve(damped, state.gradient)
    promised = -(state.gradient @ step) - 0.5 * step @ state.fisher @ step
    return state.u + step, promised


def accept(state: State, u: jax.Array, gain: jax.Array, linearised: tuple, tolerance: float) -> State:
    """The state after a successful trial; `gain` is gained over promised decrease."""
    cost, gradient, fisher = linearised
    shrink = jnp.clip(1 - (2 * gain - 1) ** 3, 0.1, 2.0)
    damping = jnp.maximum(state.damping * shrink, 1e-12)
    decrement = _decrement(gradient, fisher)
    # a small gain is an end only of a step that is hardly damped, and where little more is promised
    stalled = (state.cost - cost < 0.1 * tolerance) & (state.damping < 1.0) & (decrement < KINK * tolerance)
    small = (decrement < tolerance) | stalled
    return State(
        u,
        cost,
        gradient,
        fisher,
        damping,
        jnp.full_like(state.growth, 2.0),
        state.steps + 1,
        decrement,
        small & (gain > 0),
    )


def reject(state: State, tolerance: float) -> State:
    """The state after a trial that did not lower the cost; done when the damping has left nothing to try."""
    damping = state.damping * state.growth
    stuck = (damping > LARGEST_DAMPING) | (state.decrement < tolerance)
    return state._replace(damping=damping, growth=2 * state.growth, steps=state.steps + 1, done=stuck)


def minimise(
    linearise: Linearise, u: jax.Array, *, max_steps: int = 60, tolerance: float = 1e-4,
    cost: Callable[[jax.Array], jax.Array] | None = None,
) -> State:  # fmt: skip
    """The whole descent inside JAX, for `vmap` over starts and data sets.

    Args:
        linearise: u -> (cost, gradient, Fisher matrix).
        u: Start.
        max_steps: Trials at most.
        tolerance: Done when an undamped step promises less than this decrease of −log L.
        cost: u -> cost, where that is much cheaper than its slopes: trials are then judged by it first (which `vmap`
            would undo).
    """

    def judged(state: State) -> State:
        point, promised = trial_step(state)
        reached = jnp.inf if cost is None else cost(point)
        gain = (state.cost - reached) / jnp.maximum(promised, 1e-300)
        return jax.lax.cond(
            jnp.isfinite(reached) & (reached < state.cost),
            lambda: accept(state, point, gain, linearise(point), tolerance),
            lambda: reject(state, tolerance),
        )

    def body(state: State) -> State:
        point, promised = trial_step(state)
        linearised = linearise(point)
        better = jnp.isfinite(linearised[0]) & (linearised[0] < state.cost)
        gain = (state.cost - linearised[0]) / jnp.maximum(promised, 1e-300)
        taken, left = accept(state, point, gain, linearised, tolerance), reject(state, tolerance)
        return jax.tree.map(lambda a, b: jnp.where(better, a, b), taken, left)

    return jax.lax.while_loop(
        lambda s: ~s.done & (s.steps < max_steps), body if cost is None else judged, start_state(linearise, u)
    )


def _decrement(gradient: jax.Array, fisher: jax.Array) -> jax.Array:
    return 0.5 * gradient @ _solve(fisher + 1e-12 * jnp.diag(_curvatures(fisher)), gradient)


def _curvatures(fisher: jax.Array) -> jax.Array:
    """Diagonal of the Fisher matrix, above 0 also for what the data do not measure."""
    return jnp.maximum(jnp.diagonal(fisher), 1e-12 * jnp.max(jnp.diagonal(fisher)))


def _solve(matrix: jax.Array, vector: jax.Array) -> jax.Array:
    """Symmetric solve with rows and columns scaled to a unit diagonal."""
    scale = 1 / jnp.sqrt(jnp.maximum(jnp.diagonal(matrix), 1e-300))
    scaled = matrix * scale[:, None] * scale[None, :]
    return scale * jnp.linalg.solve(scaled, scale * vector)
