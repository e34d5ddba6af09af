"""A model whose density of states is a given one: the distance of two fingerprints as a loss that survives rigid shifts.

    min over θ, s of   ½ |r|² + ½ Σ ((θ − θ₀)/σ_θ)²,      |r| = d(D_θ(E + s), T(E))/(`noise` · |T|)

d is the maximum mean discrepancy of `distances.py`, whose vectors are linear in D, so that the descent is that of least squares
(`inference/least_squares.py`). Its σ goes down in stages: wide kernels see in which direction weight must move when lines do not
overlap yet, narrow ones see the lines. The shift s makes the zero of energy of the target irrelevant.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bandjax import checks
from bandjax.fingerprints.density import density
from bandjax.fingerprints.distances import embedded, fingerprint_distance, mmd_root
from bandjax.fingerprints.levels import Levels, model_levels
from bandjax.hamiltonian import Model
from bandjax.inference.least_squares import minimise
from bandjax.inference.parameters import Parameter, Transform, all_values, free_values, make_transform, start_vector

SHIFTS_PER_SIGMA = 2
"""Shifts that are tried before the first stage lie so close, beside its σ."""


TOLERANCE = 1e-3
"""A stage is done when a step promises less than this of the loss, which is ½ where the distance is `noise` of the target's norm."""


class Match(NamedTuple):
    """What `match_fingerprint` found.

    Attributes:
        values: Every parameter by name, fixed and tied ones too.
        errors: Of the free ones, by name: standard deviations by the curvature of the loss; they mean something where
            `noise` does.
        shift: s in eV: an energy E of the target is E + s on the model's scale.
        distance: Of shape and size at the last stage's σ, as a part of the target's norm.
        distance_before: The same at the start values, at their best shift.
        fingerprint: D_θ(E + s) at the target's energies, shape (energy,).
        history: Loss, steps and σ of each stage.
        converged: Whether the last stage came to rest.
    """

    values: dict[str, float]
    errors: dict[str, float]
    shift: float
    distance: float
    distance_before: float
    fingerprint: np.ndarray
    history: list[dict[str, float]]
    converged: bool


def match_fingerprint(
    target: ArrayLike,
    energy: ArrayLike,
    model_of: Callable[[Mapping[str, Any]], Model],
    parameters: Mapping[str, Parameter],
    *,
    grid: Sequence[int] = (8, 8, 8),
    smearing: float = 0.1,
    kernel: str = "gaussian",
    sigma_mmd: Sequence[float] = (1.0, 0.4, 0.15),
    shape_only: bool = False,
    shift: bool = True,
    noise: float = 0.01,
    max_steps: int = 60,
) -> Match:
    """Parameters whose density of states is nearest to a target.

    Args:
        target: Density of states in 1/eV, any unit where `shape_only`, shape (energy,); made with the same kernel and smearing.
        energy: eV, equally spaced, on the target's own scale.
        model_of: Parameters' values by name -> model, differentiable.
        parameters: Start values, bounds and priors (`Parameter`).
        grid, smearing, kernel: Of the model's density of states, see `model_levels` and `fingerprint`; no tail is cut.
        sigma_mmd: σ of the distance in eV, stage by stage, each > 0.
        shape_only: Whether both are divided by their integrals first.
        shift: Whether a rigid shift of the energies is free. If not it is 0.
        noise: Distance, as a part of the target's norm, that counts as one standard deviation beside the priors, > 0.
        max_steps: Trials of a stage, at most.

    Returns:
        See `Match`.

    Raises:
        ValueError: energies that are not equally spaced, a target that does not fit them, holds NaN or no weight; what
            `make_transform` and `model_levels` refuse.
    """
    target, energy = np.asarray(target, float), np.asarray(energy, float)
    checks.increasing("energy", energy)
    checks.shape_is("target", target, energy.shape)
    checks.finite("target", target)
    checks.positive("target.sum()", target.sum())
    checks.positive("noise", noise)
    checks.positive("sigma_mmd", np.asarray(sigma_mmd), "eV")
    steps = np.diff(energy)
    if steps.max() - steps.min() > 1e-6 * steps.max():
        raise ValueError(
            f"Argument `energy` must be equally spaced, but its steps run from {steps.min():g} to {steps.max():g} eV."
        )
    step, at = float(steps.mean()), jnp.asarray(energy)
    transform = make_transform(parameters)
    free = len(transform.names)

    def levels_of(u: jax.Array) -> Levels:
        return model_levels(model_of(all_values(transform, free_values(transform, u[:free]))), grid=grid)

    def spectrum(u: jax.Array) -> jax.Array:
        moved = at + u[free] if shift else at
        return density(levels_of(u), moved, smearing=smearing, kernel=kernel, cut=np.inf)

    # jitted once; its Jacobian by tangents, of which there are few
    both = jax.jit(lambda u: (spectrum(u), jax.jacfwd(spectrum)(u)))
    start = jnp.asarray(start_vector(transform))
    if shift:
        broadened = partial(density, levels_of(start), smearing=smearing, kernel=kernel, cut=np.inf)
        start = jnp.append(
            start, _best_shift(broadened, levels_of(start), energy, target, float(sigma_mmd[0]), shape_only)
        )
    last = {"step": step, "sigma_mmd": float(sigma_mmd[-1])}
    wanted = embedded(target, "mmd", scale=shape_only, **last)

    def apart(u: jax.Array) -> float:
        return float(
            jnp.linalg.norm(embedded(both(u)[0], "mmd", scale=shape_only, **last) - wanted) / jnp.linalg.norm(wanted)
        )

    u, history = start, []
    for sigma in map(float, sigma_mmd):
        linearise = _linearisation(both, target, transform, step, sigma, shape_only, noise)
        state = minimise(linearise, u, max_steps=max_steps, tolerance=TOLERANCE)
        u = state.u
        history.append(
            {"sigma_mmd": sigma, "loss": float(state.cost), "steps": int(state.steps), "done": bool(state.done)}
        )
    slopes = np.asarray(jax.jacfwd(lambda v: free_values(transform, v))(u[:free]))
    covariance = np.linalg.pinv(np.asarray(state.fisher))[:free, :free]
    errors = np.sqrt(np.maximum(np.diag(slopes @ covariance @ slopes.T), 0.0))
    values = all_values(transform, free_values(transform, u[:free]))
    return Match(
        {n: float(x) for n, x in values.items()}, dict(zip(transform.names, map(float, errors), strict=True)),
        float(u[free]) if shift else 0.0, apart(u), apart(start), np.asarray(both(u)[0]), history, bool(history[-1]["done"]),
    )  # fmt: skip


def _best_shift(
    spectrum: Callable, levels: Levels, energy: np.ndarray, target: np.ndarray, sigma: float, shape_only: bool
) -> float:
    """Where the start is nearest, among all shifts at which its levels meet the target's energies."""
    eps, step = np.asarray(levels.energy), float(np.diff(energy).mean())
    low, high = eps.min() - energy[-1], eps.max() - energy[0]
    shifts = np.linspace(low, high, int(np.ceil(SHIFTS_PER_SIGMA * (high - low) / sigma)) + 2)
    found = np.stack([spectrum(energy + s) for s in shifts])
    if shape_only:  # a window without levels has no shape
        found = np.maximum(found, 1e-12)
    options = {"step": step, "sigma_mmd": sigma, "scale": shape_only}
    return float(shifts[np.argmin(fingerprint_distance(found, target[None], "mmd", **options))])


def _linearisation(
    both: Callable, target: np.ndarray, transform: Transform, step: float, sigma: float, shape_only: bool, noise: float
) -> Callable[[jax.Array], tuple[jax.Array, jax.Array, jax.Array]]:
    """u -> (loss, gradient, Gauss-Newton matrix) of the module's head."""
    options = {"step": step, "sigma_mmd": sigma, "scale": shape_only}
    wanted = embedded(target, "mmd", **options)
    scale = noise * jnp.linalg.norm(wanted)
    free, known = len(transform.names), np.isfinite(transform.sigma)
    root = mmd_root(np.full(len(target), step), sigma) * step

    def pull(u: jax.Array) -> jax.Array:
        x = free_values(transform, u[:free])
        return jnp.where(known, (x - transform.prior) / np.where(known, transform.sigma, 1.0), 0.0)

    @jax.jit
    def linearise(u: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        spectrum, slopes = both(u)
        if shape_only:
            total = spectrum.sum() * step
            slopes = slopes / total - spectrum[:, None] * slopes.sum(axis=0) * step / total**2
            spectrum = spectrum / total
        residual = jnp.append((root.T @ spectrum - wanted) / scale, pull(u))
        jacobian = jnp.concatenate([root.T @ slopes / scale, jax.jacfwd(pull)(u)])
        return residual @ residual / 2, jacobian.T @ residual, jacobian.T @ jacobian

    return linearise
