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
from bandjax.fingerprints.kernels import kernel_cut, kernel_value
from bandjax.fingerprints.levels import TOUCHING, BandEdges, Levels, band_edges
from bandjax.fingerprints.windows import Window, as_window, relative_energies, window_energies

PUBLISHED_SMEARING = 0.05
TAIL = 3.0  # smearings from a level beyond which an uncut Gaussian is below 1e-4 of its peak
SAMPLING = 0.2
"""Largest `sampling_error` of a fingerprint: about the part of the area by which D misses that of endless wave vectors. Where the estimate is 0.1 to 0.3 that part was
0.4 to 1.8 times it (Si, GaAs, InAs of vogl1983, klimeck2000, jancu1998, with and without spin-orbit, E_F ± 5 eV, w = 0.05 to 0.2 eV). Where a strain, an alloy or layers
lower the symmetry it is up to three times too small: a star of wave vectors whose levels split by less than w counts as several, and tells hardly more than one."""


def fingerprint(
    levels: Levels,
    window: str | Window | Sequence[Window] = "fermi",
    *,
    smearing: float = PUBLISHED_SMEARING,
    kernel: str = "gaussian",
    cut: float | None = None,
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
        cut: The kernel is zero for |ε − E| > cut·w; None: √8 for the Gaussian, as published, which makes it jump, and no cut for the others. Infinity
            leaves it smooth.
        edges: Fermi level and edges to count from; None: those of the levels.
        align: "follow": derivatives know that the window moves with the edges (see `band_edges` for what these have at a
            degenerate one); "fixed": they do not.
        coarse: Whether wave vectors may be too few for the smearing (`SAMPLING`), as those of molecules are.

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
    refuse_metal(pieces, edges)
    if align == "fixed":
        edges = BandEdges(*(jax.lax.stop_gradient(e) for e in edges))
    energy = window_energies(pieces, smearing, edges)
    if checks.is_concrete((levels, energy)):
        check_window(levels, pieces, energy, smearing, coarse, kernel_cut(kernel, cut))
    return density(levels, energy, smearing=smearing, kernel=kernel, cut=cut)


def density(
    levels: Levels, energy: ArrayLike, *, smearing: float = PUBLISHED_SMEARING, kernel: str = "gaussian",
    cut: float | None = None,
) -> jax.Array:  # fmt: skip
    """D(E) of the module's head at given energies (energy,) on the levels' scale: states per eV and cell."""
    weight = levels.weight * levels.degeneracy  # Σ_s: a level that holds two electrons stands for both spins
    return _density(levels.energy, weight, jnp.asarray(energy), float(smearing), kernel, kernel_cut(kernel, cut))


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
    """Edges that a window's pieces need; zeros where they need none.

    Raises:
        ValueError: the levels do not tell.
    """
    references = {p.reference for p in pieces}
    if references == {"absolute"}:
        zero = jnp.zeros((), levels.energy.dtype)
        return BandEdges(zero, zero, zero, zero)
    return band_edges(levels, smearing=smearing)


def refuse_metal(pieces: Sequence[Window], edges: BandEdges) -> None:
    """Raise ValueError where a piece counts from an edge that a metal does not have; traced edges pass."""
    edge = sorted({p.reference for p in pieces} & {"vbm", "cbm"})
    if edge and checks.is_concrete(edges.gap) and not edges.gap > 0:
        raise ValueError(
            f"Argument `window` must count from 'fermi' or 'absolute' for a metal, but counts from {edge[0]!r}: bands cross the "
            f"Fermi level at {float(edges.fermi):.3f} eV."
        )


def check_window(
    levels: Levels, pieces: Sequence[Window], energy: jax.Array, smearing: float, coarse: bool, cut: float = np.inf
) -> None:
    """Raise ValueError where a window is not covered by the levels, or these are too few for the smearing."""
    eps, at = np.sort(np.asarray(levels.energy), axis=None), 0
    relative = relative_energies(pieces, smearing)
    reach = min(cut, TAIL) * smearing
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
        if part[-1] + reach > float(levels.complete_below):
            raise ValueError(
                f"Argument `window` must end at {float(levels.complete_below) - reach - origin:+.2f} eV beside {piece.reference} or below, since bands may "
                f"be missing whose lines begin there, but ends at {relative[at - 1]:+.2f}."
            )
    if not coarse:
        found = sampling_error(levels, energy, smearing)
        if found > SAMPLING:
            count = levels.energy.shape[0]
            # in three dimensions the estimate falls with the number of wave vectors to the power −3/4
            needed = int(np.ceil(count * (found / SAMPLING) ** (4 / 3)))
            raise ValueError(
                f"Argument `levels` must have wave vectors dense enough for a smearing of {smearing:g} eV, but with {count} of them the density is off by "
                f"about {found:.0%}: some {needed} are needed for {SAMPLING:.0%} (or allow it with `coarse=True`, `--coarse` on the command line)."
            )


def sampling_error(levels: Levels, energy: ArrayLike, smearing: float) -> float:
    """Mean of 1/n(E), weighted by D: n(E) = (Σ w f)²/Σ (w f)² over levels that differ; two that spin-orbit splits are one, in their middle. See `SAMPLING`."""
    eps = np.asarray(levels.energy)
    if levels.degeneracy == 1 and levels.channels == 1 and eps.shape[1] % 2 == 0:
        eps = eps.reshape(len(eps), -1, 2).mean(axis=2)
    weight = np.broadcast_to(np.asarray(levels.weight)[:, None], eps.shape).ravel()
    order = np.argsort(eps, axis=None)
    ascending, weight = eps.ravel()[order], weight[order]
    first = np.append(True, np.diff(ascending) > TOUCHING)  # levels of equivalent wave vectors are one
    merged = np.bincount(np.cumsum(first) - 1, weight)
    f = np.exp(-(((ascending[first][:, None] - np.asarray(energy)) / smearing) ** 2))
    total, squares = merged @ f, merged**2 @ f**2
    seen = total > 0
    return float((squares[seen] / total[seen]).sum() / total[seen].sum()) if seen.any() else 1.0
