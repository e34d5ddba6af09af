"""Kernels that broaden a level: f(x) of x = (ε − E)/w with ∫ f dx = 1.

    "gaussian"      f(x) = exp(−x²)/√π
    "fermi-dirac"   f(x) = 1/(2 + eˣ + e⁻ˣ),                    minus the derivative of the Fermi function
    "cold"          f(x) = exp(−(x + 1/√2)²) (2 + √2 x)/√π,     minus the derivative of cold smearing's occupation

Cold smearing is not symmetric: N. Marzari, D. Vanderbilt, A. De Vita, M. C. Payne, Phys. Rev. Lett. 82, 3296 (1999)
(after) write it in (μ − ε)/σ, which is −x at μ = E. Its kernel is negative for x < −√2.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bandjax import checks

KERNELS = ("gaussian", "fermi-dirac", "cold")
PUBLISHED_CUT = float(np.sqrt(8))
"""|x| beyond which the published kernel, the Gaussian, is zero: a jump of exp(−8)/(√π w), 3.8e-3/eV at w = 0.05 eV."""


def kernel_cut(kernel: str, cut: float | None) -> float:
    """Where a kernel's tails end: `cut`, or by default √8 for the Gaussian, as published, and nowhere for the others, whose tails are longer.

    Raises:
        ValueError: an unknown kernel, or a cut that is not > 0.
    """
    checks.one_of("kernel", kernel, KERNELS)
    if cut is None:
        return PUBLISHED_CUT if kernel == "gaussian" else np.inf
    if not cut > 0:
        raise ValueError(f"Argument `cut` must be > 0 (infinity leaves the tails), but is {cut!r}.")
    return float(cut)


def kernel_value(x: ArrayLike, kernel: str = "gaussian", cut: float | None = None) -> jax.Array:
    """f(x) of the module's head, zero for |x| > `cut` (None: see `kernel_cut`).

    Args:
        x: (ε − E)/w, any shape.
        kernel: One of `KERNELS`.
        cut: Where the tails end, > 0; infinity leaves them, and f is then smooth.

    Raises:
        ValueError: as `kernel_cut`.
    """
    cut, x = kernel_cut(kernel, cut), jnp.asarray(x)
    f = {"gaussian": _gaussian, "fermi-dirac": _fermi_dirac, "cold": _cold}[kernel](x)
    return f if np.isinf(cut) else jnp.where(jnp.abs(x) > cut, 0.0, f)


def _gaussian(x: jax.Array) -> jax.Array:
    return jnp.exp(-(x**2)) / np.sqrt(np.pi)


def _fermi_dirac(x: jax.Array) -> jax.Array:
    return jax.nn.sigmoid(x) * jax.nn.sigmoid(-x)


def _cold(x: jax.Array) -> jax.Array:
    return jnp.exp(-((x + np.sqrt(0.5)) ** 2)) * (2 + np.sqrt(2) * x) / np.sqrt(np.pi)
