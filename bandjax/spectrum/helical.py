"""Bands, levels and van Hove energies of a nanotube.

One period of a chiral tube holds hundreds of atoms; the screw operations leave two. The zone of the smallest screw operation (rise
h) with the rotations of order g is 0 ≤ k < 2π/h, μ = 0 … g − 1, and since E(−k, −μ) = E(k, μ), half of it is enough.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bandjax import checks
from bandjax.hamiltonian.helical import helical_coupling, radial_hoppings, radial_onsite
from bandjax.materials import Table
from bandjax.structure.nanotube import Tube


class TubeLevels(NamedTuple):
    """Levels of a tube on an even mesh of half its helical zone: energies in eV (k, 2), wave vectors in 1/Å (k,), angular
    momenta (k,), and weights (k,) that sum to 1. One electron an atom fills half of the levels."""

    energy: jax.Array
    k: jax.Array
    mu: jax.Array
    weight: jax.Array


def helical_bands(tube: Tube, table: Table, k: ArrayLike, mu: ArrayLike) -> jax.Array:
    """Energies ε ∓ |H_AB| of the radial p orbitals in eV, ascending, shape (k, 2).

    At a crossing (H_AB = 0, an armchair tube at its Fermi points) only the sum of both bands has a derivative.

    Args:
        tube: The tube, possibly with traced lengths.
        table: See `radial_hoppings`.
        k: Wave vectors along the axis in 1/Å, shape (k,).
        mu: Angular momenta, whole numbers, shape (k,).

    Raises:
        ValueError: `k` is not a vector or `mu` has another shape; see `radial_hoppings`.
    """
    k, mu = jnp.asarray(k, tube.rise.dtype), jnp.asarray(mu)
    checks.shape_is("k", k, ("k",))
    checks.shape_is("mu", mu, k.shape)
    middle, half = radial_onsite(tube, table), jnp.abs(helical_coupling(tube, radial_hoppings(tube, table), k, mu))
    return jnp.stack([middle - half, middle + half], axis=1)


def mesh_size(tube: Tube, table: Table, spacing: float) -> int:
    """Points k of a full line of the helical zone for which neighbouring levels are at most `spacing` (eV) apart.

    With |dE/dk| ≤ Σ_j |t_j z_j|. The tube's and table's numbers must be concrete.

    Raises:
        ValueError: `spacing` is not positive; see `radial_hoppings`.
    """
    checks.positive("spacing", spacing, "eV")
    steepest = float(jnp.sum(jnp.abs(radial_hoppings(tube, table) * tube.rise)))
    return 2 * math.ceil(np.pi / float(tube.step) * steepest / spacing)


def tube_levels(tube: Tube, table: Table, size: int) -> TubeLevels:
    """Levels on an even mesh of `size` points for each of the tube's `fold` lines; see `mesh_size`.

    Raises:
        ValueError: `size` is odd or < 2; see `radial_hoppings`.
    """
    if size < 2 or size % 2:
        raise ValueError(f"Argument `size` must be even and ≥ 2, but is {size}.")
    q = 2 * np.pi * (np.arange(size) + 0.5) / size
    lines = []  # (μ, phases k h, weight): μ and −μ are one another's mirror images, μ = 0 is its own
    for mu in range(tube.fold // 2 + 1):
        own = 2 * mu == tube.fold
        lines.append((mu, q[: size // 2], 2.0) if mu == 0 else (mu, q, 1.0 if own else 2.0))
    phase = np.concatenate([line for _, line, _ in lines])
    mu = np.concatenate([np.full(len(line), m) for m, line, _ in lines])
    weight = np.concatenate([np.full(len(line), w) for _, line, w in lines]) / (size * tube.fold)
    k = jnp.asarray(phase, tube.rise.dtype) / tube.step
    return TubeLevels(helical_bands(tube, table, k, mu), k, jnp.asarray(mu), jnp.asarray(weight, k.dtype))


def van_hove_energies(tube: Tube, table: Table, count: int, *, spacing: float = 0.02) -> np.ndarray:
    """Lowest distances in eV of a subband's minimum from its mirror image below ε: the gap E11, then E22, …, each once.

    Minima of |H_AB|² along the helical zone, found on a mesh and followed to the end by Newton's method.

    Args:
        tube: The tube, of concrete numbers.
        table: See `radial_hoppings`.
        count: How many.
        spacing: Of the levels on the mesh, in eV; minima with less than three points between them may be missed.

    Returns:
        Shape (count,), ascending; distances within 1 meV of each other (the two valleys, μ and −μ) count as one. NaN where the
        tube has fewer.

    Raises:
        ValueError: `count` < 1; see `mesh_size`.
    """
    if count < 1:
        raise ValueError(f"Argument `count` must be ≥ 1, but is {count}.")
    size = mesh_size(tube, table, spacing)
    hoppings, turn, rise = (np.asarray(x, float) for x in (radial_hoppings(tube, table), tube.turn, tube.rise))
    mu, k = np.meshgrid(
        np.arange(tube.fold // 2 + 1), 2 * np.pi * np.arange(size) / size / float(tube.step), indexing="ij"
    )

    def derivatives(mu: np.ndarray, k: np.ndarray) -> list[np.ndarray]:
        terms = hoppings * np.exp(1j * (mu[..., None] * turn + k[..., None] * rise))
        return [np.sum(terms * (1j * rise) ** order, axis=-1) for order in range(3)]

    square = np.abs(derivatives(mu, k)[0]) ** 2
    low = (square <= np.roll(square, 1, axis=1)) & (square < np.roll(square, -1, axis=1))
    mu, k = mu[low], k[low]
    for _ in range(5):
        f, slope, curvature = derivatives(mu, k)
        bend = np.abs(slope) ** 2 + np.real(f.conj() * curvature)
        flat = bend <= 1e-9 * np.sum(hoppings**2 * rise**2)  # a subband without dispersion stays where it is
        k = k - np.where(flat, 0, np.real(f.conj() * slope)) / np.where(flat, 1, bend)
    energies = np.sort(2 * np.abs(derivatives(mu, k)[0]))
    energies = energies[np.diff(energies, prepend=-1) > 1e-3]
    return np.pad(energies[:count], (0, max(0, count - len(energies))), constant_values=np.nan)
