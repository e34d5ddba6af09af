"""Wave vectors from fractional coordinates, from units of 2π/a and from labels; always Cartesian in 1/Å out."""

import ase
import numpy as np
from numpy.typing import ArrayLike

from bandjax.checks import positive, shape_is


def from_fractional(atoms: ase.Atoms, fractional: ArrayLike) -> np.ndarray:
    """Cartesian wave vectors (k, 3) in 1/Å of multiples of the reciprocal lattice vectors."""
    fractional = np.atleast_2d(np.asarray(fractional, float))
    shape_is("fractional", fractional, ("k", 3))
    return 2 * np.pi * fractional @ np.asarray(atoms.cell.reciprocal())


def from_cubic(k: ArrayLike, a: float) -> np.ndarray:
    """Cartesian wave vectors (k, 3) in 1/Å of vectors in units of 2π/a along cubic axes."""
    positive("a", a, "Å")
    k = np.atleast_2d(np.asarray(k, float))
    shape_is("k", k, ("k", 3))
    return k * (2 * np.pi / a)


def k_path(atoms: ase.Atoms, path: str, points: int = 100) -> tuple[np.ndarray, np.ndarray, list[tuple[float, str]]]:
    """Wave vectors along a path of labels such as "LΓX" (Γ may be written G; a comma starts a new piece).

    Returns:
        (k (k, 3) in 1/Å, distance along the path (k,) in 1/Å, [(distance, label), …]).

    Raises:
        ValueError: a label does not belong to the lattice; the lattice's labels are listed.
    """
    lattice = atoms.cell.bandpath(npoints=0, pbc=tuple(atoms.pbc))
    for label in path.replace("Γ", "G").replace(",", ""):
        if not label.isdigit() and label not in lattice.special_points:
            known = ", ".join(lattice.special_points)
            raise ValueError(f"Argument `path` must consist of labels of the lattice ({known}), but has {label!r}.")
    found = atoms.cell.bandpath(path.replace("Γ", "G"), npoints=points, pbc=tuple(atoms.pbc))
    distance, ticks, labels = found.get_linear_kpoint_axis()  # with the factor 2π, which cartesian_kpts leaves out
    marks = [(float(t), label.replace("G", "Γ")) for t, label in zip(ticks, labels, strict=True)]
    return 2 * np.pi * found.cartesian_kpts(), distance, marks
