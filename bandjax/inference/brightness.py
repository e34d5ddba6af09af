"""A smooth factor on a map's signal, for matrix elements that nobody knows: numbers of the fit like any other.

    gain -> gain · exp(Σ_ij c_ij P_i(x) P_j(y)),        1 ≤ i + j ≤ 3,

with Legendre polynomials P and x, y the map's kx (or angle) and ky (or deflector), each scaled to −1 … 1 over the axis. c_ij is
called brightness_ and then i times x and j times y: brightness_x, brightness_xy, brightness_yyy. It multiplies what is measured
of the bands, not the background, and is the same for all bands and energies.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.polynomial import legendre

from bandjax.inference.parameters import Parameter
from bandjax.photoemission.pixels import Axes

HIGHEST = 3
PREFIX = "brightness_"
TERMS = {PREFIX + "x" * i + "y" * (n - i): (i, n - i) for n in range(1, HIGHEST + 1) for i in range(n, -1, -1)}


def brightness_parameters(
    order: int = 2, *, maps: Sequence[str] = (), sigma: float = 0.5, lateral: int = 2
) -> dict[str, Parameter]:
    """Free coefficients of a smooth brightness, each with a Gaussian prior around 0.

    Args:
        order: Highest i + j, 1 to 3.
        maps: Names of maps that each have their own; none: one set for all maps.
        sigma: Prior's standard deviation: 0.5 lets the brightness change by about that part of itself.
        lateral: 1 for cuts, which have x only, 2 for volumes.

    Raises:
        ValueError: `order` or `lateral` is out of range.
    """
    for name, value, highest in (("order", order, HIGHEST), ("lateral", lateral, 2)):
        if value not in range(1, highest + 1):
            raise ValueError(f"Argument `{name}` must be a whole number from 1 to {highest}, but is {value!r}.")
    own = [n for n, (i, j) in TERMS.items() if i + j <= order and (lateral == 2 or not j)]
    names = [f"{m}.{n}" for m in maps for n in own] if maps else own
    return {n: Parameter(0.0, sigma=sigma, unit="1") for n in names}


def is_brightness(name: str) -> bool:
    """Whether a parameter's name, with or without that of a map, is one of these coefficients."""
    return name.rsplit(".", 1)[-1] in TERMS


def brightness_of(values: Mapping[str, Any], name: str, axes: Axes) -> jax.Array | float:
    """The factor on the gain of one map, shape (…lateral axes, 1); 1 where no coefficient is its own or shared."""
    found = {}
    for full, value in values.items():
        owner, _, term = full.rpartition(".")
        if term in TERMS and owner in ("", name):
            found[term] = value
    if not found or not axes.lateral:
        return 1.0
    scaled = [np.zeros(1) if len(v) < 2 else 2 * (np.array(v) - v[0]) / (v[-1] - v[0]) - 1 for _, v in axes.lateral]
    logarithm: Any = 0.0
    for term, value in found.items():
        i, j = TERMS[term]
        shape = _legendre(i, scaled[-1])
        if len(scaled) == 2:
            shape = _legendre(j, scaled[0])[:, None] * shape[None, :]
        logarithm = logarithm + value * jnp.asarray(shape)
    return jnp.exp(logarithm)[..., None]


def _legendre(order: int, x: np.ndarray) -> np.ndarray:
    return legendre.legval(x, np.eye(HIGHEST + 1)[order])
