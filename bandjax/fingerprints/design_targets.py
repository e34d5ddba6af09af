"""What a designed stack is to meet: a few numbers, or a whole fingerprint; both as residuals in units of their tolerances.

numbers:      (E − E_t)/δ_E,      ln(m/m_t)/ln(1 + δ_m)
fingerprint:  (D/|D| − D_t/|D_t|)/δ_D,      whose squares sum to 2 (cosine distance)/δ_D²
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bandjax import checks
from bandjax.fingerprints.density import PUBLISHED_SMEARING, fingerprint
from bandjax.fingerprints.stack_family import (
    NUMBERS,
    StackFamily,
    named_numbers,
    number_slopes,
    stack_levels,
    with_slopes,
)
from bandjax.fingerprints.windows import Window, as_window
from bandjax.units import HBAR2_OVER_M

TINY_RATIO = 0.05
"""Below this ratio of curvatures, and where their signs differ, the logarithm goes on as its tangent."""


class FingerprintTarget(NamedTuple):
    """A whole fingerprint as a target; `grid` is that of the superlattice's own cell.

    Attributes:
        features: As `fingerprint(model_levels(model, grid=grid), window, smearing=smearing, cut=np.inf)` makes it, any scale,
            shape (energy,).
        window, smearing: See `fingerprint`.
        grid: See `model_levels`.
        tolerance: What counts as met: length of the difference of the two fingerprints, each scaled to length 1.
    """

    features: ArrayLike
    window: str | Window | Sequence[Window] = "edges"
    smearing: float = PUBLISHED_SMEARING
    grid: tuple[int, int, int] = (2, 2, 2)
    tolerance: float = 0.05


class Objective(Protocol):
    """What the search asks of a target."""

    def slopes(self, p: np.ndarray, period: int, sigma: float) -> tuple[np.ndarray, np.ndarray]:
        """Features of a period of whole bilayers, and their derivatives in p."""
        ...

    def residuals(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Residuals in tolerances and the derivative of each in its own feature."""
        ...

    def deviation(self, features: np.ndarray) -> dict[str, float]:
        """Miss of each part of the target, by name, in tolerances: met within −1 … 1."""
        ...


class NumberObjective(NamedTuple):
    """Numbers by name; made by `number_objective`."""

    family: StackFamily
    names: tuple[str, ...]
    target: np.ndarray
    energy_tolerance: float
    mass_tolerance: float

    @property
    def masses(self) -> np.ndarray:
        return np.array(["mass" in name for name in self.names])

    def slopes(self, p: np.ndarray, period: int, sigma: float) -> tuple[np.ndarray, np.ndarray]:
        chosen = [NUMBERS.index(name) for name in self.names]
        found, derivative = number_slopes(self.family, p, period, sigma)
        return np.asarray(found)[chosen], np.asarray(derivative)[chosen]

    def residuals(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        wanted = np.where(self.masses, HBAR2_OVER_M / self.target, 1.0)
        ratio = np.where(self.masses, features / wanted, 1.0)  # of curvatures, that is m_t/m
        large = np.maximum(ratio, TINY_RATIO)
        logarithm = np.log(large) + np.minimum(ratio / TINY_RATIO - 1, 0.0)
        scale = np.log1p(self.mass_tolerance)
        of_energy = (features - self.target) / self.energy_tolerance
        slope = np.where(self.masses, -1 / (large * wanted * scale), 1 / self.energy_tolerance)
        return np.where(self.masses, -logarithm / scale, of_energy), slope

    def deviation(self, features: np.ndarray) -> dict[str, float]:
        numbers = named_numbers(features, self.names)
        out = {}
        for name, wanted in zip(self.names, map(float, self.target), strict=True):
            if "mass" in name:
                out[name] = (numbers[name] / wanted - 1) / self.mass_tolerance
            else:
                out[name] = (numbers[name] - wanted) / self.energy_tolerance
        return out


class FingerprintObjective(NamedTuple):
    """A whole fingerprint; made by `fingerprint_objective`."""

    family: StackFamily
    target: np.ndarray  # of length 1
    of: Callable[[StackFamily, np.ndarray, int, float], tuple[jax.Array, jax.Array]]
    tolerance: float

    def slopes(self, p: np.ndarray, period: int, sigma: float) -> tuple[np.ndarray, np.ndarray]:
        found, derivative = self.of(self.family, p, period, sigma)
        return np.asarray(found), np.asarray(derivative)

    def residuals(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return (features - self.target) / self.tolerance, np.full(len(features), 1 / self.tolerance)

    def deviation(self, features: np.ndarray) -> dict[str, float]:
        return {"fingerprint": float(np.linalg.norm(features - self.target)) / self.tolerance}


def number_objective(
    family: StackFamily, target: Mapping[str, float], energy_tolerance: float, mass_tolerance: float
) -> NumberObjective:
    """Numbers as an objective.

    Raises:
        ValueError: as `design_stack` says.
    """
    checks.positive("energy_tolerance", energy_tolerance, "eV")
    checks.positive("mass_tolerance", mass_tolerance)
    if not target:
        raise ValueError(f"Argument `target` must name some of {', '.join(NUMBERS)}, but is empty.")
    for name, value in target.items():
        checks.one_of("target", name, NUMBERS)
        if not np.isfinite(value):
            raise ValueError(f"Argument `target` must be finite, but has {name} = {value}.")
        hole = name.startswith("hole_mass")
        if (name == "gap" or "mass" in name) and not (value < 0 if hole else value > 0):
            unit = "m_e" if "mass" in name else "eV"
            raise ValueError(
                f"Argument `target` must have {name} {'<' if hole else '>'} 0 (in {unit}), but has {value:g}."
            )
    names = tuple(name for name in NUMBERS if name in target)
    wanted = np.array([float(target[name]) for name in names])
    return NumberObjective(family, names, wanted, float(energy_tolerance), float(mass_tolerance))


def fingerprint_objective(family: StackFamily, target: FingerprintTarget) -> FingerprintObjective:
    """A whole fingerprint as an objective.

    Raises:
        ValueError: features that do not fit the window, are not finite or all 0; a tolerance or smearing ≤ 0.
    """
    checks.positive("tolerance", target.tolerance)
    checks.positive("smearing", target.smearing, "eV")
    pieces = as_window(target.window)
    features = np.asarray(target.features, float)
    checks.shape_is("target.features", features, (sum(piece.points for piece in pieces),))
    checks.finite("target.features", features)
    length = np.linalg.norm(features)
    checks.positive("the length of target.features", length)

    def of_stack(family: StackFamily, p: jax.Array, period: jax.Array, sigma: jax.Array) -> jax.Array:
        levels = stack_levels(family, p, period, sigma, target.grid)
        found = fingerprint(levels, pieces, smearing=target.smearing, cut=np.inf)
        return found / jnp.linalg.norm(found)

    of = jax.jit(partial(with_slopes, of_stack), static_argnums=0)
    return FingerprintObjective(family, features / length, of, float(target.tolerance))
