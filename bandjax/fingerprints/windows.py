"""Windows of energy in which a fingerprint is taken, and what they count from.

A window is one piece or several in a row: each has a reference (the Fermi level, the valence-band top, the conduction-band
bottom, or the scale of the levels), a range in eV beside it and a number of points, both ends among them. The published ones:

    "fermi"   E_F − 5 … E_F + 5              513 points
    "vbm"     VBM − 2 … VBM + 6              513
    "cbm"     CBM − 6 … CBM + 2              513
    "edges"   VBM − 2 … VBM + 3w, then CBM − 3w … CBM + 2,  257 + 257

Source: A. Zadoks, A. Marrazzo, N. Marzari, npj Comput. Mater. (2024) (after; the number of points of "vbm" and "cbm" is
taken over from "fermi").
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bandjax import checks
from bandjax.fingerprints.levels import BandEdges

REFERENCES = ("fermi", "vbm", "cbm", "absolute")


class Window(NamedTuple):
    """One piece: `low` and `high` in eV beside the reference, moved outwards by so many smearings."""

    reference: str
    low: float
    high: float
    points: int = 513
    low_smearings: float = 0.0
    high_smearings: float = 0.0


WINDOWS: dict[str, tuple[Window, ...]] = {
    "fermi": (Window("fermi", -5.0, 5.0, 513),),
    "vbm": (Window("vbm", -2.0, 6.0, 513),),
    "cbm": (Window("cbm", -6.0, 2.0, 513),),
    "edges": (Window("vbm", -2.0, 0.0, 257, 0.0, 3.0), Window("cbm", 0.0, 2.0, 257, -3.0, 0.0)),
}


def as_window(window: str | Window | Sequence[Window]) -> tuple[Window, ...]:
    """A window's pieces from its name, from text such as "vbm:-3:1:257" (several joined by "+"; "vbm:-2:0+3w" ends three smearings
    above), or from pieces.

    Raises:
        ValueError: an unknown name or reference, a piece that ends before it begins or has less than two points.
    """
    if isinstance(window, str):
        if window in WINDOWS:
            return WINDOWS[window]
        pieces = tuple(_piece(text, window) for text in re.split(r"\+(?=[a-z])", window))
    else:
        pieces = (window,) if isinstance(window, Window) else tuple(window)
    for piece in pieces:
        checks.one_of("window.reference", piece.reference, REFERENCES)
        if not piece.low < piece.high or piece.points < 2:
            raise ValueError(
                f"Argument `window` must rise and have two points or more, but has {piece.low:g} … {piece.high:g} eV in {piece.points}."
            )
    return pieces


def _piece(text: str, whole: str) -> Window:
    number = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?"
    end = rf"({number})(?:([-+](?:\d+\.?\d*|\.\d+))w)?"  # 0.5, or 0+3w: with so many smearings
    found = re.fullmatch(rf"(\w+):{end}:{end}(?::(\d+))?", text.strip())
    if found is None:
        raise ValueError(
            f"Argument `window` must be one of {', '.join(WINDOWS)} or pieces such as 'vbm:-3:1:257' joined by '+', but is {whole!r}."
            f"{checks.nearest(whole, WINDOWS)}"
        )
    low, low_w, high, high_w, points = found.groups()[1:]
    return Window(found[1], float(low), float(high), int(points or 513), float(low_w or 0), float(high_w or 0))


def relative_energies(pieces: Sequence[Window], smearing: float) -> np.ndarray:
    """Energies beside each piece's own reference, eV, one piece after the other, shape (energy,)."""
    return np.concatenate([
        np.linspace(p.low + p.low_smearings * smearing, p.high + p.high_smearings * smearing, p.points) for p in pieces
    ])  # fmt: skip


def window_energies(pieces: Sequence[Window], smearing: float, edges: BandEdges) -> jax.Array:
    """Energies of a window on the levels' own scale, eV, shape (energy,)."""
    origin = {"fermi": edges.fermi, "vbm": edges.vbm, "cbm": edges.cbm, "absolute": jnp.zeros_like(edges.fermi)}
    counted = jnp.concatenate([jnp.full(p.points, 1.0) * origin[p.reference] for p in pieces])
    return counted + jnp.asarray(relative_energies(pieces, smearing), counted.dtype)


def piece_steps(pieces: Sequence[Window], smearing: float) -> np.ndarray:
    """Weight of each point in an integral over energy (trapezoids within each piece), eV, shape (energy,)."""
    steps, at = [], 0
    energies = relative_energies(pieces, smearing)
    for p in pieces:
        part = energies[at : at + p.points]
        steps.append(np.gradient(part) * np.where((np.arange(p.points) % (p.points - 1)) == 0, 0.5, 1.0))
        at += p.points
    return np.concatenate(steps)
