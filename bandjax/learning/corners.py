"""Which published material a crystal of the table space is: by its valence bands and lattice constant, not by its table.

Two tables of one material may differ in every number and have the same bands. A crystal is therefore compared by

    y = (a;  Γ7 below the top;  three pairs of valence bands at X and at L below the top),

what a valence-band map can see. With mean ȳ and covariance C of y from a posterior, and T the covariance by which
tables of one material differ from each other (by different authors and orbital sets; measured on the package's own),

    P(material) ∝ mean over its tables of N(y_table; ȳ, C + T),

every material being as likely as the next before. It says which of the materials on the list the map fits best, and
`distance`, (y_table − ȳ)ᵀ(C + T)⁻¹(y_table − ȳ), whether that one fits: 8 is expected.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bandjax.hamiltonian import Model, bloch_hamiltonian, tight_binding
from bandjax.learning.table_space import LATTICE_CONSTANTS, LEFT_OUT
from bandjax.materials import list_parameters, load_parameters
from bandjax.spectrum import bands
from bandjax.structure import zincblende

LEAST_KNOWN = 1e-3  # precision of what an image tells, in units of the prior's, below which it tells nothing
LEAST_SCATTER = 0.02  # Å and eV: lattice constants differ by that with temperature and strain
MARKS = ("a", "Gamma7", "X5", "X4", "X3", "L5", "L4", "L3")  # bands counted in pairs of spins from the bottom


class Corners(NamedTuple):
    """Published crystals by their marks.

    Attributes:
        materials: (material, table).
        marks: y, (table, 8).
        scatter: T, (8, 8).
    """

    materials: tuple[tuple[str, str], ...]
    marks: np.ndarray
    scatter: np.ndarray


class Nearest(NamedTuple):
    """A material that a crystal may be.

    Attributes:
        material: Its name.
        probability: Among the materials of the list.
        distance: Of its nearest table.
    """

    material: str
    probability: float
    distance: float


def marks_of(model: Model, valence: int = 8) -> jax.Array:
    """y of a zinc-blende crystal with spin-orbit coupling: Å, and eV relative to the valence-band top, (8,).

    Args:
        model: Crystal with axes along the cubic ones.
        valence: Number of valence bands, spins counted.
    """
    return _marks(model, bands(model, _points(model)), valence)


def _points(model: Model) -> jax.Array:
    """Γ, X and L in 1/Å."""
    return jnp.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.5, 0.5, 0.5]], model.dtype) * 2 * np.pi / _constant(model)


def _constant(model: Model) -> jax.Array:
    return jnp.cbrt(4 * jnp.abs(jnp.linalg.det(model.cell)))


def _marks(model: Model, levels: jax.Array, valence: int) -> jax.Array:
    pairs = levels[:, :valence].reshape(3, -1, 2).mean(axis=2)  # of spins, ascending
    top = pairs[0, -2:].mean()
    below = jnp.concatenate([pairs[0, -3:-2], pairs[1, :0:-1], pairs[2, :0:-1]]) - top
    return jnp.concatenate([_constant(model)[None], below])


@functools.cache
def corners() -> Corners:
    """All zinc-blende crystals of the package's tables with spin-orbit coupling whose lattice constant is in the space."""
    materials, marks = [], []
    for entry in list_parameters():
        with jax.ensure_compile_time_eval():
            table = load_parameters(entry.material, entry.table)
        a = table.spec.lattice_constant
        known = bool(table.spec.spin_orbit) and a is not None and LATTICE_CONSTANTS[0] <= a <= LATTICE_CONSTANTS[1]
        if not known or (entry.material, entry.table) in LEFT_OUT:
            continue
        material = entry.material.split("-")[0]  # "Si-VB" is silicon too
        with jax.ensure_compile_time_eval():  # and not as one program, which would be compiled for every material
            model = tight_binding(zincblende(material, a=a), table)
            h = np.stack([np.asarray(bloch_hamiltonian(model, k)) for k in _points(model)])
            marks.append(np.asarray(_marks(model, jnp.asarray(np.linalg.eigvalsh(h)), 8), float))
        materials.append((material, entry.table))
    y = np.array(marks)
    names = np.array([m for m, _ in materials])
    off = np.concatenate([y[names == n] - y[names == n].mean(axis=0) for n in set(names) if (names == n).sum() > 1])
    freedom = sum((names == n).sum() - 1 for n in set(names) if (names == n).sum() > 1)
    scatter = off.T @ off / freedom
    return Corners(tuple(materials), y, scatter + LEAST_SCATTER**2 * np.eye(len(MARKS)))


def nearest_materials(
    mean: np.ndarray, covariance: np.ndarray, *, prior: tuple[np.ndarray, np.ndarray] | None = None
) -> list[Nearest]:
    """The published materials with their probabilities, the likeliest first.

    Args:
        mean, covariance: Of the marks in a posterior, (8,) and (8, 8).
        prior: The same of the prior that the posterior contains, which is divided out: else materials in the middle
            of it are favoured. None: there is none to speak of.
    """
    found = corners()
    if prior is not None:
        mean, covariance = without_prior(mean, covariance, *prior)
    width = np.asarray(covariance) + found.scatter
    off = found.marks - np.asarray(mean)
    distance = np.einsum("ti,ij,tj->t", off, np.linalg.inv(width), off)
    names = [m for m, _ in found.materials]
    weight = np.exp(-0.5 * (distance - distance.min()))
    score = {n: float(np.mean([w for w, m in zip(weight, names, strict=True) if m == n])) for n in dict.fromkeys(names)}
    least = {n: float(min(d for d, m in zip(distance, names, strict=True) if m == n)) for n in score}
    total = sum(score.values())
    return sorted((Nearest(n, s / total, least[n]) for n, s in score.items()), key=lambda x: -x.probability)


def without_prior(
    mean: np.ndarray, covariance: np.ndarray, prior_mean: np.ndarray, prior_covariance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the Gaussian that turns a Gaussian prior into a posterior; where the posterior is no
    narrower than the prior the image says nothing, and the covariance is as good as infinite."""
    lower = np.linalg.cholesky(np.linalg.inv(prior_covariance))
    whitened = np.linalg.inv(lower) @ np.linalg.inv(covariance) @ np.linalg.inv(lower).T
    size, direction = np.linalg.eigh((whitened + whitened.T) / 2)
    root = lower @ direction  # in rootᵀ y the prior has precision 1 and the posterior `size`
    after, before, told = root.T @ mean, root.T @ prior_mean, np.maximum(size - 1, LEAST_KNOWN)
    centre = np.where(size - 1 > LEAST_KNOWN, (size * after - before) / told, before)
    back = np.linalg.inv(root.T)
    return back @ centre, back / told @ back.T
