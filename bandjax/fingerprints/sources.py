"""Levels from other programs: ASE's calculators and band structures, and files of arrays."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bandjax.fingerprints.levels import Levels, array_levels

ENERGIES = ("energy", "energies", "eigenvalues", "E")
WEIGHTS = ("weights", "weight", "k_weights")


def ase_levels(source: Any, *, electrons: float | None = None, degeneracy: int = 2) -> Levels:
    """Levels of an ASE calculator (or atoms that carry one), or of an `ase.spectrum.band_structure.BandStructure`.

    Args:
        source: A finished calculator with eigenvalues at weighted wave vectors, or a band structure, whose wave vectors
            then weigh alike: what comes of a path is the path's own density of states and no crystal's.
        electrons: Electrons in the cell among the bands; None: the source's Fermi level tells what is filled.
        degeneracy: Electrons that a level holds: 2, or 1 for bands with spin-orbit; a magnet's is 1 in any case.

    Returns:
        Energies on the source's scale, in eV. Bands above the highest are taken to be missing.

    Raises:
        TypeError: neither of both.
        ValueError: as `array_levels`.
    """
    calculator = getattr(source, "calc", None) or source
    if hasattr(calculator, "get_eigenvalues") and hasattr(calculator, "get_k_point_weights"):
        spins, weights = int(calculator.get_number_of_spins()), np.asarray(calculator.get_k_point_weights())
        energy = np.array([
            [calculator.get_eigenvalues(kpt=k, spin=s) for k in range(len(weights))] for s in range(spins)
        ])  # fmt: skip
        return array_levels(
            energy, weights, electrons=electrons, fermi=float(calculator.get_fermi_level()), degeneracy=degeneracy
        )
    if hasattr(calculator, "energies") and hasattr(calculator, "reference"):
        reference = float(calculator.reference)
        return array_levels(
            np.asarray(calculator.energies), electrons=electrons, fermi=reference, degeneracy=degeneracy
        )
    raise TypeError(
        f"Argument `source` must be an ASE calculator with eigenvalues or a BandStructure, but is a {type(source).__name__}."
    )


def file_levels(path: str | os.PathLike[str], *, energies: str | None = None, electrons: float | None = None, degeneracy: int = 2) -> Levels:  # fmt: skip
    """Levels from a NumPy file (.npz) of arrays, such as first-principles bands.

    Args:
        path: File with energies (k, band) or (spin, k, band) in eV and, where wave vectors weigh differently, weights (k,).
        energies: Name of the array of energies; None: the first there is of `ENERGIES`. Weights are the first of `WEIGHTS`;
            without them all weigh alike.
        electrons: In the cell among the bands; None: the file's `electrons`, or else its `fermi` tells what is filled.
        degeneracy: Electrons that a level holds: 2, or 1 for bands with spin-orbit.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no .npz file of plain arrays, or lacks the energies; and as `array_levels`.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"File {path} does not exist.")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, AttributeError, EOFError) as error:
        raise ValueError(f"File {path} must be a .npz file of plain arrays, but is not ({error}).") from error
    name = energies if energies is not None else _first(arrays, ENERGIES)
    if name is None or name not in arrays:
        wanted = repr(energies) if energies is not None else "one of " + ", ".join(ENERGIES)
        raise ValueError(f"File {path} must hold energies as {wanted}, but holds {', '.join(arrays)}.")
    weights = _first(arrays, WEIGHTS)
    if electrons is None and "electrons" in arrays:
        electrons = float(arrays["electrons"])
    fermi = float(arrays["fermi"]) if electrons is None and "fermi" in arrays else None
    return array_levels(
        arrays[name],
        None if weights is None else arrays[weights],
        electrons=electrons,
        fermi=fermi,
        degeneracy=degeneracy,
    )


def _first(arrays: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    return next((n for n in names if n in arrays), None)
