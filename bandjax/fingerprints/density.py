"""The published fingerprint: a broadened density of states in a window of energy.

    D(E) = Σ_s Σ_k w_k Σ_n f((ε_skn − E)/w)/w

with the kernels of `kernels.py`, the windows of `windows.py` and w = 0.05 eV (`smearing`).

Source: A. Zadoks, A. Marrazzo, N. Marzari, npj Comput. Mater. (2024) (after).
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bandjax import checks
from bandjax.fingerprints.kernels import PUBLISHED_CUT, kernel_value
from bandjax.fingerprints.levels import TOUCHING, BandEdges, Levels, band_edges
from bandjax.fingerprints.windows import Window, as_window, relative_energies, window_energies

PUBLISHED_SMEARING = 0.05
COARSE = 2.0
"""Levels farther apart than this many smearings are seen one by one: of a row of equal steps 2w the sum of Gaussians
ripples by 17 % (2 exp(−π²/4))."""


def fingerprint(
    levels: Levels,
    window: str | Window | Sequence[Window] = "fermi",
    *,
    smearing: float = PUBLISHED_SMEARING,
    kernel: str = "gaussian",
    cut: float = PUBLISHED_CUT,
    edges: BandEdges | None = None,
    align: str = "follow",
    coarse: bool = False,
) -> jax.Array:
    """Density-of-states fingerprint of a crystal.

    Args:
        levels: Energies at weighted wave vectors.
        window: Name in `WINDOWS`, text such as "vbm:-3:1:257", or pieces.
        smearing: w in eV, > 0.
        kernel: One of `KERNELS`.
        cut: The kernel is zero for |ε − E| > cut·w; the published √8 makes it jump, infinity leaves it smooth.
        edges: Fermi level and edges to count from; None: those of the levels.
        align: "follow": derivatives know that the window moves with the edges (see `band_edges` for what these have at a
            degenerate one); "fixed": they do not.
        coarse: Whether levels may lie farther apart than `COARSE` smearings, as those of molecules do.

    Returns:
        States per eV and cell, both spins counted, shape (energy,). Differentiable once in the energies.

    Raises:
        ValueError: a window that counts from the edges of a metal, that holds no level or reaches beyond what is complete;
            too few wave vectors for the smearing (the number needed is given). Of traced levels the result is NaN for a metal,
            and the other two are not seen.
    """
    checks.positive("smearing", smearing, "eV")
    checks.one_of("align", align, ("follow", "fixed"))
    pieces = as_window(window)
    if edges is None:
        edges = edges_for(levels, pieces, smearing)
    if align == "fixed":
        edges = BandEdges(*(jax.lax.stop_gradient(e) for e in edges))
    energy = window_energies(pieces, smearing, edges)
    if checks.is_concrete((levels, energy)):
        check_window(levels, pieces, energy, smearing, edges, coarse)
    return density(levels, energy, smearing=smearing, kernel=kernel, cut=cut)


def density(
    levels: Levels, energy: ArrayLike, *, smearing: float = PUBLISHED_SMEARING, kernel: str = "gaussian",
    cut: float = PUBLISHED_CUT,
) -> jax.Array:  # fmt: skip
    """D(E) of the module's head at given energies (energy,) on the levels' scale: states per eV and cell."""
    weight = levels.weight * levels.degeneracy  # Σ_s: a level that holds two electrons stands for both spins
    return _density(levels.energy, weight, jnp.asarray(energy), float(smearing), kernel, float(cut))


@partial(jax.jit, static_argnums=(3, 4, 5))
def _density(
    levels: jax.Array, weight: jax.Array, energy: jax.Array, smearing: float, kernel: str, cut: float
) -> jax.Array:
    def add(total: jax.Array, item: tuple) -> tuple[jax.Array, None]:
        eps, w = item
        f = kernel_value((eps[:, None] - energy[None, :]) / smearing, kernel, cut)
        return total + w * f.sum(axis=0), None

    total, _ = jax.lax.scan(add, jnp.zeros(energy.shape, levels.dtype), (levels, weight))
    return total / smearing


def edges_for(levels: Levels, pieces: Sequence[Window], smearing: float) -> BandEdges:
    """Edges that a window's pieces need.

    Raises:
        ValueError: the levels do not tell, or are a metal's and a piece counts from an edge.
    """
    references = {p.reference for p in pieces}
    if references == {"absolute"}:
        zero = jnp.zeros((), levels.energy.dtype)
        return BandEdges(zero, zero, zero, zero)
    edges = band_edges(levels, smearing=smearing)
    refuse_metal(pieces, edges)
    return edges


def refuse_metal(pieces: Sequence[Window], edges: BandEdges) -> None:
    """Raise ValueError where a piece counts from an edge that a metal does not have; traced edges pass."""
    edge = sorted({p.reference for p in pieces} & {"vbm", "cbm"})
    if edge and checks.is_concrete(edges.gap) and not edges.gap > 0:
        raise ValueError(
            f"Argument `window` must count from 'fermi' or 'absolute' for a metal, but counts from {edge[0]!r}: bands cross the "
            f"Fermi level at {float(edges.fermi):.3f} eV."
        )


def check_window(
    levels: Levels, pieces: Sequence[Window], energy: jax.Array, smearing: float, edges: BandEdges, coarse: bool
) -> None:
    """Raise ValueError where a window is not covered by the levels, or they lie too far apart for the smearing."""
    eps, at = np.sort(np.asarray(levels.energy), axis=None), 0
    relative = relative_energies(pieces, smearing)
    for piece in pieces:
        part = np.asarray(energy[at : at + piece.points])
        origin = float(part[0] - relative[at])
        at += piece.points
        inside = eps[(eps >= part[0]) & (eps <= part[-1])]
        if not inside.size:
            raise ValueError(
                f"Argument `window` must hold levels, but {piece.reference} {relative[at - piece.points]:+g} … {relative[at - 1]:+g} eV "
                f"holds none; the bands run from {eps[0] - origin:.2f} to {eps[-1] - origin:.2f} eV on that scale."
            )
        if part[-1] > float(levels.complete_below):
            raise ValueError(
                f"Argument `window` must end where bands may be missing, at {float(levels.complete_below) - origin:+.2f} eV beside "
                f"{piece.reference}, or below, but ends at {relative[at - 1]:+.2f}."
            )
        if not coarse:
            _check_spacing(levels, inside, float(edges.gap), smearing)


def _check_spacing(levels: Levels, inside: np.ndarray, gap: float, smearing: float) -> None:
    """Mean distance of different levels, the gap left out, at most `COARSE` smearings."""
    steps = np.diff(inside)
    steps = steps[(steps > TOUCHING) & ~np.isclose(steps, gap, rtol=0, atol=1e-9)]
    if not steps.size:  # flat bands
        return
    spacing = steps.mean()
    if spacing > COARSE * smearing:
        count = levels.energy.shape[0]
        raise ValueError(
            f"Argument `levels` must have wave vectors dense enough for a smearing of {smearing:g} eV, but levels of the window lie {spacing:.2f} eV "
            f"apart on the mean: about {int(np.ceil(count * spacing / (COARSE * smearing)))} different wave vectors are needed, {count} are given "
            "(or allow it with `coarse=True`)."
        )
