"""Draws from the posterior of a fit by importance sampling around its optimum.

Proposal: Student's t with `FREEDOM` degrees of freedom in the unconstrained numbers u, with the Laplace covariance. With
cost(u) = −log posterior of the parameters x(u), a draw has the weight

    w ∝ exp(−cost(u)) |dx/du| / q(u),      effective number of draws = (Σ w)² / Σ w²,

and draws are resampled by it. It costs one image a draw and needs no chain; it holds for one optimum (`fit(starts=)`
looks for others) and says so itself where the posterior is far from the proposal.

Source: A. B. Owen, Monte Carlo theory, methods and examples, ch. 9 (after).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import multivariate_t

from bandjax.inference.fit import FitResult
from bandjax.inference.parameters import free_values
from bandjax.inference.problem import make_objective, observed, prepare

FREEDOM = 8  # tails wider than a Gaussian's, so that no weight is unbounded
TOO_FEW = 0.1  # part of the draws that must remain effective for errors to be believed


class Posterior(NamedTuple):
    """Equally probable draws.

    Attributes:
        names: Free parameters.
        draws: Physical values, (draw, parameter).
        effective: Effective number of independent draws behind them.
        report: A sentence, with a warning where they are too few.
    """

    names: tuple[str, ...]
    draws: np.ndarray
    effective: float
    report: list[str]


def sample_posterior(
    result: FitResult, key: jax.Array, *, draws: int = 400, progress: Callable[[int, int], None] | None = None
) -> Posterior:
    """Draws from the posterior around the optimum of a fit, with the noise as it was widened there; linear nuisances
    (`Problem.weights`) at their best for each draw.

    Args:
        result: A fit whose parameters all have an error.
        key: Random key.
        draws: Images to compute, and draws to return.
        progress: Called after each image with (done, draws).

    Raises:
        ValueError: a parameter of the fit has no error (unmeasured, or on its bound), `draws` < 2, or no draw has a finite
            image.
    """
    if draws < 2:
        raise ValueError(f"Argument `draws` must be at least 2, but is {draws!r}.")
    bad = [n for n, e in result.errors.items() if not np.isfinite(e)]
    if bad:
        raise ValueError(f"Argument `result` must have an error for every parameter, but {', '.join(bad)} has none.")
    parts, transform = prepare({name: m.data for name, m in result.maps.items()}, result.problem)
    obs = [observed(part, widening=m.widening.values) for part, m in zip(parts, result.maps.values(), strict=True)]
    cost = jax.jit(make_objective(result.problem, parts, transform).cost)
    slopes = jax.jit(lambda u: jnp.diagonal(jax.jacfwd(lambda w: free_values(transform, w))(u)))
    slope = np.asarray(slopes(result.u))
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())
    proposal = multivariate_t(result.u, result.covariance / np.outer(slope, slope), df=FREEDOM, seed=rng)
    points = np.reshape(proposal.rvs(draws), (draws, len(result.names)))
    log_weight = np.empty(draws)
    for i, u in enumerate(points):
        value, moved = float(cost(jnp.asarray(u), obs, jnp.asarray(0.0))), np.abs(np.asarray(slopes(u)))
        log_weight[i] = (
            -value + np.log(moved).sum() - float(np.squeeze(proposal.logpdf(u))) if np.isfinite(value) else -np.inf
        )
        if progress is not None:
            progress(i + 1, draws)
    if not np.isfinite(log_weight.max()):
        raise ValueError(
            "Argument `result` must have an optimum around which images are finite, but no draw gives one."
        )
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    effective = float(1 / (weight**2).sum())
    place = np.searchsorted(np.cumsum(weight)[:-1], (np.arange(draws) + rng.uniform()) / draws)
    x = np.stack([np.asarray(free_values(transform, jnp.asarray(u))) for u in points[place]])
    report = [f"{draws} draws from the posterior count as {effective:.0f} independent ones."]
    if effective < TOO_FEW * draws:
        report.append("The posterior is far from Gaussian around this optimum: do not trust its errors or these draws.")
    return Posterior(transform.names, x, effective, report)
