"""Labels of a crystal: gap, where its edges lie, effective masses, and the criterion of a transparent conductor.

With the v lowest bands full, along a path of wave vectors with the distance s,

    E_V = max_k ε_kv,   E_C = min_k ε_k,v+1,   gap = max(0, E_C − E_V)
    m_e/m_C = Σ_n>v ∫ f(ε_n) κ_n ds / Σ_n>v ∫ f(ε_n) ds,            f = 1/(exp((ε − E_C)/k_BT) + 1)        (electrons)
    m_e/m_V = Σ_n≤v ∫ (1 − f(ε_n)) κ_n ds / Σ_n≤v ∫ (1 − f(ε_n)) ds,   f with E_V in place of E_C              (holes)
    κ_n = (m_e/ħ²) ∂²ε_n/∂s²,   T = 300 K,    transparent conductor: gap ≥ 0.5 eV and (0 < m_C ≤ 0.5 or −1.0 ≤ m_V < 0)

so that electrons are positive and holes negative. Second derivatives are second differences on the path's own steps,
within each of its straight pieces; the outermost point of a piece has its neighbour's. Bands that cross change places in
the sums without changing them. Only the curvature along the path counts: of a valley of silicon a path along its axis sees
the heavy mass. The tensors at the edges are those of `spectrum/mass_tensor.py`.

Source: label and thresholds of A. Zadoks, A. Marrazzo, N. Marzari, npj Comput. Mater. (2024), after. That the masses there
are curvatures along the band path, weighted by the occupation at 300 K, is known second-hand; where the Fermi level lies
is not, and at the edge is our choice.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bandjax import checks
from bandjax.fingerprints.levels import TOUCHING, TOUCHING_SINGLE, electrons_of
from bandjax.hamiltonian import Model
from bandjax.spectrum import bands
from bandjax.spectrum.mass_tensor import MassTensor, Stationary, stationary_point
from bandjax.units import BOLTZMANN, HBAR2_OVER_M

DIRECT_WITHIN = 1e-3  # eV: a gap at one place that is larger than the smallest by less is direct
BETWEEN_POINTS = 3e-3  # eV: what a valley of mass 0.1 wins between points of a path 0.05/Å apart
LEAST_GAP, LARGEST_ELECTRON_MASS, LARGEST_HOLE_MASS = 0.5, 0.5, 1.0  # eV, m_e, m_e: the published criterion


class Labels(NamedTuple):
    """What a crystal is labelled with; a metal has gap 0 and masses NaN.

    Attributes:
        gap, vbm, cbm: eV, shape (). `vbm` is the highest energy of the last full band, `cbm` the lowest of the next: in a
            metal the latter is lower.
        vbm_at, cbm_at: Index along the path of both, of equal ones (within 1e-6 eV, in single precision 1e-4) the first.
        direct: Whether the smallest difference of both bands at one place is the gap, within 1 meV: where spin pairs split linearly
            the top lies a little beside Γ, by some 0.1 meV.
        electron_mass: m_C in m_e; > 0 where the band curves upward.
        hole_mass: m_V in m_e, < 0 where it curves downward.
        on_path: Whether both edges lie on the path, so that gap and masses are of the same valleys. False only where energies
            beside the path were given and one of them betters the path's own edge, whose masses these remain, by more than 3 meV
            (less is won between two points of the path in one valley).
    """

    gap: jax.Array
    vbm: jax.Array
    cbm: jax.Array
    vbm_at: jax.Array
    cbm_at: jax.Array
    direct: jax.Array
    electron_mass: jax.Array
    hole_mass: jax.Array
    on_path: jax.Array


def path_labels(
    energy: ArrayLike,
    distance: ArrayLike,
    electrons: float,
    *,
    marks: Sequence[float | tuple[float, str]] = (),
    degeneracy: int = 2,
    temperature: float = 300.0,
) -> Labels:
    """Labels from energies along a path.

    Args:
        energy: eV, ascending, shape (k, band), of our bands or any others; all conduction bands within some k_BT of the
            lowest should be there.
        distance: Along the path in 1/Å, shape (k,), not decreasing; two points at the same distance begin a new piece.
        electrons: In the cell, > 0.
        marks: Distances at which the path turns, as `k_path` gives them, alone or with their labels.
        degeneracy: Electrons that a level holds: 2 without spin-orbit and magnetism, else 1.
        temperature: T in K, > 0.

    Returns:
        `gap`, `vbm` and `cbm` are differentiable in the energies (of degenerate edges only sums are), masses too: the edges'
        places stay. An odd number of electrons in doubly held levels is a metal.

    Raises:
        ValueError: shapes that do not fit, a distance that decreases, no straight piece of three points, a temperature ≤ 0, or
            more electrons than the bands hold and one band above them.
    """
    energy = jnp.asarray(energy)
    checks.shape_is("energy", energy, ("k", "band"))
    checks.finite("energy", energy)
    distance = np.asarray(distance, float)
    checks.shape_is("distance", distance, (energy.shape[0],))
    checks.one_of("degeneracy", degeneracy, (1, 2))
    pieces = straight_pieces(distance, marks)
    return labels_on(energy, distance, pieces, electrons / degeneracy, temperature=temperature)


def straight_pieces(
    distance: np.ndarray, marks: Sequence[float | tuple[float, str]] = ()
) -> tuple[tuple[int, int], ...]:
    """First and last index of every straight piece of a path that has three points or more; see `path_labels`.

    Raises:
        ValueError: the distance decreases, or there is no such piece.
    """
    steps = np.diff(distance)
    if np.any(steps < 0):
        at = int(np.argmax(steps < 0))
        raise ValueError(
            f"Argument `distance` must not decrease, but goes from {distance[at]:g} to {distance[at + 1]:g} at index {at}."
        )
    near = 1e-6 * steps[steps > 0].min(initial=1.0)
    turns = np.array([m[0] if isinstance(m, tuple) else m for m in marks], float)
    turning = [] if not turns.size else np.flatnonzero(np.abs(distance[:, None] - turns).min(axis=1) < near)
    ends = sorted({0, len(distance) - 1, *map(int, turning)})
    jumps = set(map(int, np.flatnonzero(steps <= 0)))  # between this point and the next
    pieces, start = [], 0
    for index in range(1, len(distance)):
        if index - 1 in jumps:
            pieces.append((start, index - 1))
            start = index
        elif index in ends:
            pieces.append((start, index))
            start = index
    pieces = tuple((a, b) for a, b in pieces if b - a >= 2)
    if not pieces:
        raise ValueError(
            f"Argument `distance` must have three points or more on a straight piece of the path, but has {len(distance)} points "
            f"in all and {len(turns)} marks."
        )
    return pieces


def labels_on(
    energy: jax.Array,
    distance: ArrayLike,
    pieces: Sequence[tuple[int, int]],
    filled: float,
    *,
    temperature: float = 300.0,
    elsewhere: jax.Array | None = None,
) -> Labels:
    """Labels from energies along a path whose pieces are known; everything but these may be traced.

    Args:
        energy: eV, ascending, shape (k, band).
        distance: 1/Å, shape (k,).
        pieces: First and last index of each straight piece.
        filled: Number of full bands; not a whole number: a metal.
        temperature: K, > 0.
        elsewhere: Energies at further wave vectors, (other k, band), that edges and gap know of; indices count on into
            them. Masses are those of the path beside the path's own edges; `on_path` says whether these are the edges of the gap.
    """
    checks.positive("temperature", temperature, "K")
    valence = int(np.ceil(filled - 1e-9))
    if not 1 <= valence < energy.shape[1]:
        raise ValueError(
            f"Argument `electrons` must fill at least one band and leave one of {energy.shape[1]} empty, but fills {filled:g}."
        )
    known = energy if elsewhere is None else jnp.concatenate([energy, elsewhere])
    top, bottom = known[:, valence - 1], known[:, valence]
    vbm, cbm = top[jnp.argmax(top)], bottom[jnp.argmin(bottom)]
    touching = TOUCHING if energy.dtype == np.float64 else TOUCHING_SINGLE  # equal wave vectors differ by rounding
    vbm_at, cbm_at = jnp.argmax(top >= vbm - touching), jnp.argmax(bottom <= cbm + touching)
    whole = abs(filled - round(filled)) < 1e-9
    insulating = (cbm - vbm > touching) & whole
    missed = jnp.maximum(vbm - energy[:, valence - 1].max(), energy[:, valence].min() - cbm)  # by the path alone
    gap = jnp.where(insulating, cbm - vbm, 0.0)
    s = jnp.asarray(distance, energy.dtype)
    hole = _path_mass(energy[:, :valence], s, pieces, -1.0, temperature)
    electron = _path_mass(energy[:, valence:], s, pieces, 1.0, temperature)
    nan = jnp.asarray(jnp.nan, energy.dtype)
    return Labels(
        gap, vbm, cbm, vbm_at, cbm_at, jnp.min(bottom - top) < cbm - vbm + DIRECT_WITHIN,
        jnp.where(insulating, electron, nan), jnp.where(insulating, hole, nan), missed <= BETWEEN_POINTS,
    )  # fmt: skip


def _path_mass(
    energy: jax.Array, s: jax.Array, pieces: Sequence[tuple[int, int]], sign: float, temperature: float
) -> jax.Array:
    """Mass in m_e of the bands above (sign 1) or below (−1) the gap, weighted by their carriers."""
    edge = sign * jnp.min(sign * energy)
    weighted, total = 0.0, 0.0
    for first, last in pieces:
        e, x = energy[first : last + 1], s[first : last + 1]
        step = jnp.diff(x)[:, None]
        slope = jnp.diff(e, axis=0) / step
        inner = 2 * jnp.diff(slope, axis=0) / (step[1:] + step[:-1])
        curvature = jnp.concatenate([inner[:1], inner, inner[-1:]]) / HBAR2_OVER_M
        carriers = jax.nn.sigmoid(-sign * (e - edge) / (BOLTZMANN * temperature))
        length = jnp.concatenate([step[:1], step[1:] + step[:-1], step[-1:]]) / 2
        weighted += jnp.sum(length * carriers * curvature)
        total += jnp.sum(length * carriers)
    return total / weighted


def transparent_conductor(
    gap: ArrayLike,
    electron_mass: ArrayLike,
    hole_mass: ArrayLike,
    *,
    least_gap: float = LEAST_GAP,
    largest_electron_mass: float = LARGEST_ELECTRON_MASS,
    largest_hole_mass: float = LARGEST_HOLE_MASS,
) -> jax.Array:
    """Whether gap ≥ least_gap and (0 < m_C ≤ largest_electron_mass or −largest_hole_mass ≤ m_V < 0); NaN masses fail.

    Args:
        gap: eV, any shape.
        electron_mass, hole_mass: m_e, the same shape.
        least_gap: eV.
        largest_electron_mass, largest_hole_mass: m_e, > 0.
    """
    checks.positive("largest_electron_mass", largest_electron_mass, "m_e")
    checks.positive("largest_hole_mass", largest_hole_mass, "m_e")
    gap, m_c, m_v = (jnp.asarray(x) for x in (gap, electron_mass, hole_mass))
    light = ((m_c > 0) & (m_c <= largest_electron_mass)) | ((m_v < 0) & (m_v >= -largest_hole_mass))
    return (gap >= least_gap) & light


class ModelLabels(NamedTuple):
    """Labels of a model: those along the path, and the edges searched from its best points.

    Attributes:
        path: Labels along the path.
        gap: Between the searched edges, eV; 0 of a metal.
        direct: Whether they are at the same k within 1e-4/Å, or equal up to a reciprocal vector.
        valence, conduction: Edges: k in 1/Å, whether the search converged, and the k·p matrix with its masses. A converged one is a
            maximum of the valence band, a minimum of the conduction band, and not worse than the path's; one that is not is the path's best
            point. None of a metal.
    """

    path: Labels
    gap: float
    direct: bool
    valence: Stationary | None
    conduction: Stationary | None

    @property
    def masses(self) -> tuple[MassTensor, MassTensor] | None:
        """k·p matrices of the valence-band top and the conduction-band bottom; None of a metal."""
        return (
            None if self.valence is None or self.conduction is None else (self.valence.tensor, self.conduction.tensor)
        )


def model_labels(
    model: Model,
    k: ArrayLike,
    distance: ArrayLike,
    *,
    marks: Sequence[float | tuple[float, str]] = (),
    electrons: float | None = None,
    temperature: float = 300.0,
) -> ModelLabels:
    """Labels of a model from a path, with the edges searched from the path's best points.

    Args:
        model: Tight-binding model, not traced (of a traced one: `labels_on`).
        k: Wave vectors of the path in 1/Å, shape (k, 3); from `k_path`, as the next two.
        distance: Along the path in 1/Å, shape (k,).
        marks: Distances at which it turns.
        electrons: In the cell; None: 4 an atom for tables with p orbitals, 1 for p_z tables.
        temperature: K.

    Raises:
        ValueError: see `path_labels`; the number of electrons is not known.
    """
    electrons = electrons_of(model) if electrons is None else electrons
    if electrons is None:
        raise ValueError("Argument `electrons` must be given for this kind of table, but is None.")
    degeneracy = 1 if model.topology.spin_orbit else 2
    found = path_labels(
        bands(model, k), distance, electrons, marks=marks, degeneracy=degeneracy, temperature=temperature
    )
    if not found.gap > 0:
        return ModelLabels(found, 0.0, False, None, None)
    last = round(electrons / degeneracy) - 1
    k = np.asarray(k)
    valence = stationary_point(model, k[int(found.vbm_at)], last, extremum="maximum")
    conduction = stationary_point(model, k[int(found.cbm_at)], last + 1, extremum="minimum")
    gap = float(conduction.tensor.energy - valence.tensor.energy)
    apart = np.asarray(conduction.k - valence.k) @ np.asarray(model.cell).T / (2 * np.pi)
    apart = (apart - np.round(apart)) @ np.asarray(model.reciprocal)
    return ModelLabels(found, max(gap, 0.0), bool(np.linalg.norm(apart) < 1e-4), valence, conduction)
