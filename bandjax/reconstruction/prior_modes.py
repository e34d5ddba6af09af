"""Numbers of the prior's mean that the map decides, such as the parameters of a tight-binding model.

The prior's mean is m + Σ_j a_j M_j with free amplitudes a (M_j = ∂E/∂θ_j, so that a is the change of θ to first order). With the data's
Fisher matrix F and the prior's P, and C = (F + P)⁻¹, what is left for a when the surfaces have followed is

    S = Mᵀ P M − Mᵀ P C P M = Mᵀ P C F M,      δa = S⁻¹ Mᵀ P (x − m),      x → x + C P M δa,

and the variance of the surfaces grows by the diagonal of (C P M) S⁻¹ (C P M)ᵀ (a joint Gaussian of x and a, a integrated out). A combination that
costs the prior nothing (an offset, under a prior of curvature) has S = 0 and changes nothing: it is in x already.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bandjax.reconstruction import fields
from bandjax.reconstruction.errors import solve

UNDETERMINED = 1e-6  # eigenvalue of S over that of Mᵀ P M + Mᵀ F M, below which a combination is left where it is


class Step(NamedTuple):
    """One Newton step of the amplitudes.

    Attributes:
        amplitude: δa, (mode,).
        covariance: S⁻¹, (mode, mode); 0 for what is undetermined.
        follow: C P M, (mode, component, nx, ny).
        gain: By how much −log posterior falls to second order.
    """

    amplitude: np.ndarray
    covariance: np.ndarray
    follow: jax.Array
    gain: float

    @property
    def variance(self) -> np.ndarray:
        """Diagonal of (C P M) S⁻¹ (C P M)ᵀ, (component, nx, ny)."""
        follow = np.asarray(self.follow)
        return np.einsum("icxy,ij,jcxy->cxy", follow, self.covariance, follow)

    def draws(self, count: int, seed: int) -> np.ndarray:
        """What the surfaces may be off by with the amplitudes, (draw, component, nx, ny)."""
        values, vectors = np.linalg.eigh(self.covariance)
        normal = np.random.default_rng((seed, 1)).standard_normal((count, len(values)))
        return np.tensordot(normal * np.sqrt(np.maximum(values, 0)) @ vectors.T, np.asarray(self.follow), 1)


def step(found: fields.Local, prior: fields.Smoothness, d: jax.Array, modes: jax.Array) -> Step:
    """The amplitudes' step at the deviation d = x − mean.

    Args:
        found: Data term at x.
        prior: Of d.
        d: (component, nx, ny).
        modes: M, (mode, component, nx, ny).
    """
    follow, whole, left, slope = (np.asarray(part) for part in _terms(found, prior, d, modes))
    scale = np.sqrt(np.maximum(np.diagonal(whole), np.finfo(float).tiny))
    values, vectors = np.linalg.eigh(left / np.outer(scale, scale))
    kept = values > UNDETERMINED
    inverse = (vectors[:, kept] / values[kept]) @ vectors[:, kept].T / np.outer(scale, scale)
    change = inverse @ slope
    return Step(change, inverse, jnp.asarray(follow), float(0.5 * slope @ change))


@jax.jit
def _terms(found: fields.Local, prior: fields.Smoothness, d: jax.Array, modes: jax.Array) -> tuple[jax.Array, ...]:
    weight = fields.weights(prior, d)
    pulled = jax.vmap(lambda m: fields.prior_product(weight, m))(modes)
    seen = jax.vmap(lambda m: fields.block_product(fields.positive(found.hessian), m))(modes)
    behind = jax.lax.map(lambda right: solve(found, prior, d, right), seen)  # C F M
    stiff, left = (jnp.einsum("icxy,jcxy->ij", pulled, other) for other in (modes, behind))
    whole = stiff + jnp.einsum("icxy,jcxy->ij", modes, seen)
    return modes - behind, whole, 0.5 * (left + left.T), jnp.einsum("icxy,cxy->i", pulled, d)
