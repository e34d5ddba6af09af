"""The k·p matrix of a group of levels at one wave vector: energy, velocities and inverse masses, differentiable.

Levels P of the group at (k₀, model) are kept as a fixed basis; all others, Q, are folded into it exactly, order by order:

    h = H_PP + H_PQ X,      (ε̄ − ε_q) X = H_QP + W_QQ X − X W_PP − X H_PQ X,     W = H − diag(ε), in the group H − ε̄,

iterated three times from X = 0. The eigenvalues of h(k, model) are those of H to fourth order in the distance from where the
basis was taken, so that no eigenvector is ever differentiated: two derivatives in k are the curvature, and one or two more
in the model are the derivative of that.

    ∂h_pp'/∂k_a = u_p† ∂_aH u_p'
    ∂²h_pp'/∂k_a∂k_b = u_p† ∂_a∂_bH u_p' + Σ_q (u_p†∂_aH u_q)(u_q†∂_bH u_p') / (ε̄ − ε_q) + (a ↔ b)

Source: Bloch's effective Hamiltonian, the second order being Löwdin's (P.-O. Löwdin, J. Chem. Phys. 19, 1396 (1951)), after.
"""

from functools import partial
from itertools import product
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bandjax import checks
from bandjax.hamiltonian import Model, bloch_hamiltonian
from bandjax.spectrum.bands import eigenvalues
from bandjax.units import HBAR2_OVER_M

ORDERS = 3  # iterations: two derivatives in k and two in the model
LONGEST_STEP = 0.05  # 1/Å, of the search for an extremum
HALVINGS = 16  # of a step, at most
FLAT = 1e-6  # eV Å²: a smaller curvature is none
SPLIT = (
    1e-4  # eV: what a point beside a stationary one must win to be searched on from, far below k_BT of room temperature
)


class MassTensor(NamedTuple):
    """The k·p matrix of one level or of a group of equal ones.

    Attributes:
        energy: Mean energy in eV, shape ().
        velocity: ∂h/∂k in eV Å, shape (3, level, level), Hermitian in the levels.
        curvature: ∂²h/∂k∂k in eV Å², shape (3, 3, level, level).
    """

    energy: jax.Array
    velocity: jax.Array
    curvature: jax.Array

    @property
    def inverse(self) -> jax.Array:
        """Inverse mass in 1/m_e, the mean over the group's levels, shape (3, 3).

        The tensor where the group is one level or a Kramers pair. Of a warped group such as Γ₈, whose levels have no
        tensors of their own, it is what its levels have on the mean along any direction, d·inverse·d.
        """
        mean = jnp.trace(self.curvature, axis1=2, axis2=3).real / self.curvature.shape[2]
        return (mean + mean.T) / 2 / HBAR2_OVER_M

    def along(self, direction: ArrayLike) -> jax.Array:
        """Masses in m_e along a Cartesian direction, curvature ascending, shape (level,); of a group with equal velocities."""
        d = jnp.asarray(direction, self.energy.dtype)
        checks.shape_is("direction", d, (3,))
        d = d / jnp.linalg.norm(d)
        matrix = jnp.einsum("a,b,abpq->pq", d, d, self.curvature)
        return HBAR2_OVER_M / jnp.linalg.eigvalsh((matrix + matrix.conj().T) / 2)

    @property
    def principal(self) -> jax.Array:
        """Principal masses in m_e of `inverse`, inverse masses ascending, shape (3,)."""
        return 1 / jnp.linalg.eigvalsh(self.inverse)


def mass_tensor(
    model: Model,
    k: ArrayLike,
    band: int,
    *,
    levels: tuple[int, int] | None = None,
    degeneracy: float | None = None,
) -> MassTensor:
    """The k·p matrix of the level `band` and of those equal to it.

    Args:
        model: Tight-binding model.
        k: Cartesian wave vector in 1/Å, shape (3,), normally a band edge.
        band: Index of the level, ascending from 0.
        levels: First and last index of the group; None: the levels that are nearer than `degeneracy` to their neighbours.
        degeneracy: eV; None: 1e-6, in float32 3e-4.

    Returns:
        Differentiable at this k in the model (and in k), twice beyond the curvature, as long as the group stays one group.

    Raises:
        ValueError: `k` has not three components, `band` or `levels` are not of the model, or `levels` is None while the
            model is traced.
    """
    k = jnp.asarray(k, model.dtype)
    checks.shape_is("k", k, (3,))
    if not 0 <= band < model.n_orbital:
        raise ValueError(f"Argument `band` must lie in 0 … {model.n_orbital - 1}, but is {band}.")
    if levels is None:
        levels = level_group(model, k, band, degeneracy=degeneracy)
    first, last = levels
    if not 0 <= first <= last < model.n_orbital:
        raise ValueError(
            f"Argument `levels` must be two indices in 0 … {model.n_orbital - 1}, ascending, but is {levels}."
        )
    return _tensor(model, k, first, last)


def level_group(model: Model, k: ArrayLike, band: int, *, degeneracy: float | None = None) -> tuple[int, int]:
    """First and last index of the levels that equal `band` at k.

    Raises:
        ValueError: the model is traced: which levels are equal is not known then.
    """
    if not checks.is_concrete((model, k)):
        raise ValueError("Argument `levels` must be given while the model or `k` is traced, but is None.")
    if degeneracy is None:
        degeneracy = 3e-4 if model.dtype == np.float32 else 1e-6
    eps = np.asarray(_levels(model, jnp.asarray(k, model.dtype)))
    group = np.concatenate([[0], np.cumsum(np.diff(eps) > degeneracy)])
    found = np.flatnonzero(group == group[band])
    return int(found[0]), int(found[-1])


class Stationary(NamedTuple):
    """A stationary point of a band: `k` (3,) in 1/Å, whether the search ended there, and the k·p matrix at it."""

    k: jax.Array
    converged: bool
    tensor: MassTensor


def stationary_point(
    model: Model, k: ArrayLike, band: int, *, extremum: str | None = None, steps: int = 60, tolerance: float | None = None, degeneracy: float | None = None
) -> Stationary:  # fmt: skip
    """The stationary point of a band near k, or its nearest minimum or maximum downhill or uphill from k.

    Newton's method on the mean energy of the level's group. With `extremum` the curvatures are taken with the sign that leads there,
    a step that leads the other way is halved, and where the slope vanishes at a point of another kind, a saddle or
    two bands that cross with a slope, the search leaves it towards the side that is better.

    Args:
        model: Tight-binding model, not traced.
        k: Start, Cartesian in 1/Å, shape (3,), normally the best point of a grid or path.
        band: Index of the level, ascending from 0.
        extremum: "minimum" (of a conduction band), "maximum" (of a valence band) or None: of any kind.
        steps: At most.
        tolerance: Slope in eV Å at which the search ends, > 0; None: 1e-9, in single precision 1e-4.
        degeneracy: As in `mass_tensor`.

    Returns:
        `converged` is False where the slope stayed, as at a crossing, or the point is not of the wanted kind; `k` is then the start. The
            energy is never worse than at the start. Along directions in which the band is flat the point does not move. A degenerate point that
            none beside it, within 0.05/Å, betters by 0.1 meV counts as the extremum, so that Kramers pairs that split linearly stay whole.

    Raises:
        ValueError: `extremum` is none of these; see `mass_tensor`.
    """
    if extremum is not None:
        checks.one_of("extremum", extremum, ("minimum", "maximum"))
    if tolerance is None:
        tolerance = 1e-4 if model.dtype == np.float32 else 1e-9
    checks.positive("tolerance", tolerance, "eV Å")
    start = k = np.asarray(k, float)
    sign = {"minimum": 1.0, "maximum": -1.0}.get(extremum or "", 0.0)
    for _ in range(steps):
        found = mass_tensor(model, k, band, degeneracy=degeneracy)
        slope = np.asarray(jnp.trace(found.velocity, axis1=1, axis2=2).real) / found.velocity.shape[1]
        curvature, axes = np.linalg.eigh(np.asarray(found.inverse) * HBAR2_OVER_M)
        if np.linalg.norm(slope) < tolerance:
            least = SPLIT if found.velocity.shape[1] > 1 else 1e-5 if model.dtype == np.float32 else 1e-10
            away = np.zeros(3) if sign == 0 else _better_beside(model, k, band, sign, axes, least)
            if not away.any():
                return Stationary(jnp.asarray(k, model.dtype), True, found)
            k = k + away
            continue
        along = axes.T @ slope
        curved = np.abs(curvature) > FLAT
        bend = np.where(curved, curvature if sign == 0 else sign * np.abs(curvature), 1.0)
        step = axes @ np.where(curved, -along / bend, 0.0)
        if sign and not step.any():
            step = -sign * slope / FLAT
        step = step * min(1.0, LONGEST_STEP / max(np.linalg.norm(step), 1e-12))
        k = k + (step if sign == 0 else _backtracked(model, k, band, sign, step))
    return Stationary(jnp.asarray(start, model.dtype), False, mass_tensor(model, start, band, degeneracy=degeneracy))


def _energies(model: Model, k: np.ndarray, band: int) -> np.ndarray:
    return np.asarray(_level_rows(model, jnp.asarray(k, model.dtype)))[:, band]


def _backtracked(model: Model, k: np.ndarray, band: int, sign: float, step: np.ndarray) -> np.ndarray:
    """The longest of step, step/2, step/4, … after which the band is not worse, but for rounding."""
    rounding = 1e-5 if model.dtype == np.float32 else 1e-11
    tried = np.concatenate([[0.0], 0.5 ** np.arange(HALVINGS)])
    energy = sign * _energies(model, k + tried[:, None] * step, band)
    good = np.flatnonzero(energy[1:] <= energy[0] + rounding)
    return step * tried[1 + good[0]] if good.size else 0 * step


def _better_beside(model: Model, k: np.ndarray, band: int, sign: float, axes: np.ndarray, least: float) -> np.ndarray:
    """The step among some dozens about a stationary point that makes the band best, by `least` eV at least; 0 where there is none."""
    cubes = np.array([d for d in product((-1, 0, 1), repeat=3) if any(d)], float)
    cubes = cubes / np.linalg.norm(cubes, axis=1, keepdims=True)
    directions = np.concatenate([cubes, axes.T, -axes.T])
    parts = (1.0, 0.5, 0.2, 0.05, 0.02)
    tried = np.concatenate([np.zeros((1, 3)), *(directions * LONGEST_STEP * part for part in parts)])
    energy = sign * _energies(model, k + tried, band)
    best = int(np.argmin(energy))
    return tried[best] if energy[best] < energy[0] - least else np.zeros(3)


@jax.jit
def _level_rows(model: Model, k: jax.Array) -> jax.Array:
    return jax.vmap(lambda one: eigenvalues(bloch_hamiltonian(model, one)))(k)


@jax.jit
def _levels(model: Model, k: jax.Array) -> jax.Array:
    return eigenvalues(bloch_hamiltonian(model, k))


@partial(jax.jit, static_argnums=(2, 3))
def _tensor(model: Model, k: jax.Array, first: int, last: int) -> MassTensor:
    fixed = bloch_hamiltonian(*jax.lax.stop_gradient((model, k)))
    eps, u = jnp.linalg.eigh(fixed)
    outside = np.concatenate([np.arange(first), np.arange(last + 1, model.n_orbital)])
    p, q = u[:, first : last + 1], u[:, outside]
    centre = eps[first : last + 1].mean()
    gap = (centre - eps[outside])[:, None]

    def folded(k: jax.Array) -> jax.Array:
        h = bloch_hamiltonian(model, k)
        pp, pq = p.conj().T @ h @ p, p.conj().T @ h @ q
        qp, w_qq = q.conj().T @ h @ p, q.conj().T @ h @ q - jnp.diag(eps[outside])
        w_pp = pp - centre * jnp.eye(last + 1 - first)
        x = jnp.zeros_like(qp)
        for _ in range(ORDERS):
            x = (qp + w_qq @ x - x @ w_pp - x @ pq @ x) / gap
        return pp + pq @ x

    h = folded(k)
    velocity = jnp.moveaxis(jax.jacfwd(folded)(k), -1, 0)
    curvature = jnp.moveaxis(jax.jacfwd(jax.jacfwd(folded))(k), (-2, -1), (0, 1))
    return MassTensor(jnp.trace(h).real / (last + 1 - first), velocity, curvature)
