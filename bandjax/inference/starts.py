"""Where the descents of a fit begin: points that are given, or drawn out of the priors."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from bandjax.inference.parameters import Transform, draw_from_prior, start_vector

EDGE = 0.05  # of the way from a bound to a parameter's own value; from 1e-4 descents were seen to end on the bound


def given_points(transform: Transform, starts: Sequence[Mapping[str, float]]) -> list[np.ndarray]:
    """Unconstrained numbers of points given by name; a value on or beyond a bound starts inside it (see `inside`).

    Raises:
        ValueError: a point lacks a free parameter.
    """
    points = []
    for start in starts:
        missing = [n for n in transform.names if n not in start]
        if missing:
            raise ValueError(f"Argument `starts` must give every free parameter, but a point has no {missing[0]!r}.")
        x = inside(transform, np.array([float(start[n]) for n in transform.names]))
        points.append(start_vector(transform, dict(zip(transform.names, x, strict=True))))
    return points


def inside(transform: Transform, x: np.ndarray) -> np.ndarray:
    """Values of the free parameters as a descent may start from them, (parameter,).

    On a bound the slope of the transformation vanishes, and a descent that starts there never leaves: so a start keeps
    `EDGE` of the distance between the bound and the parameter's own value.
    """
    t = transform
    with np.errstate(invalid="ignore"):
        low = np.where(np.isfinite(t.lower), t.lower + EDGE * (t.centre - t.lower), -np.inf)
        high = np.where(np.isfinite(t.upper), t.upper - EDGE * (t.upper - t.centre), np.inf)
    return np.clip(x, low, high)


def drawn_points(transform: Transform, starts: int, seed: int) -> list[np.ndarray]:
    """Unconstrained numbers of the parameters' values and of draws out of their priors.

    Raises:
        ValueError: a free parameter has neither a prior nor two bounds.
    """
    return [start_vector(transform, point) for point in drawn_values(transform, starts, seed)]


def drawn_values(transform: Transform, starts: int, seed: int) -> list[dict[str, float]]:
    """The free parameters' values, then draws out of their priors, by name; see `holding_loose` for those without one."""
    rng = np.random.default_rng([seed, 1])
    drawn = [transform.centre, *(draw_from_prior(transform, rng) for _ in range(starts - 1))]
    return [dict(zip(transform.names, map(float, x), strict=True)) for x in drawn]


def holding_loose(transform: Transform, values: np.ndarray, where: np.ndarray | bool = True) -> Transform:
    """The priors, with what has neither a prior nor two bounds (a gain) held at `values`, so that all can be drawn.

    Args:
        transform: Parameters and priors.
        values: Of the free parameters, (parameter,).
        where: Which of them may be held, (parameter,).
    """
    t = transform
    loose = ~np.isfinite(t.sigma) & ~(np.isfinite(t.lower) & np.isfinite(t.upper)) & where
    return t._replace(prior=np.where(loose, values, t.prior), sigma=np.where(loose, 1e-9 * t.scale, t.sigma))


def choose_starts(costs: Sequence[float], count: int, alike: ArrayLike | None = None) -> list[int]:
    """The points to descend from, in the order in which they should be.

    Each is the lowest of those that are not alike to one chosen before; only when none is left the lowest of all.

    Args:
        costs: −log posterior of each point; one that is not finite comes last.
        count: How many are chosen at most.
        alike: Whether two points are so near each other that one descent does for both, (point, point).
    """
    order = [int(i) for i in np.argsort(np.where(np.isfinite(costs), costs, np.inf), kind="stable")]
    near = np.zeros((len(order),) * 2, bool) if alike is None else np.asarray(alike)
    chosen: list[int] = []
    while order and len(chosen) < count:
        new = (i for i in order if np.isfinite(costs[i]) and not near[i, chosen].any())
        chosen.append(next(new, order[0]))
        order.remove(chosen[-1])
    return chosen
