"""How an image is computed: the static grids, chosen once from axes, instrument and model.

Two ways for crystals. "direct" diagonalises at the wave vector of every pixel (and, where the wave vector of a pixel moves with
energy, at a few energies between which the image is blended): any axes. "grid", for cuts, diagonalises on a fixed
(k_x, k_z) grid whose nodes do not move with the fitted numbers, uses the mirror symmetries of the bands where the
model has them, and carries the result to the pixels with the momentum resolution as its kernel: several times cheaper
for dense cuts of crystals with k_z broadening.
"""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from bandjax import checks
from bandjax.hamiltonian import Model, bloch_hamiltonian, find_layers
from bandjax.photoemission import kinematics
from bandjax.photoemission.instrument import Instrument
from bandjax.photoemission.matrix_elements import mirror_parities
from bandjax.photoemission.pixels import (
    Axes,
    as_axes,
    band_shift,
    central_kz,
    check_reachable,
    laboratory_model,
    lateral_momentum,
)
from bandjax.units import FWHM_PER_SIGMA

REACH = 3.0  # σ of the energy resolution by which an axis is continued on both sides
STACK_METHODS = ("coherent", "incoherent")  # the others are for crystals
METHODS = ("direct", "grid", *STACK_METHODS)
LATERAL_PER_SIGMA = 1.6  # grid step in units of σ_k: the kernel's width is right to 1 %
KERNEL_REACH = 3  # nodes on each side of a pixel that its momentum kernel takes
BLEND_SHIFT = 0.05  # eV: largest shift of a band between two energies of the "direct" way; half of it is averaged away
STEEPEST = 6.0  # eV Å: velocity assumed for that estimate


@dataclasses.dataclass(frozen=True)
class Plan:
    """Static grids of one image."""

    axes: Axes
    method: str  # one of METHODS
    padded_energy: tuple[float, ...]
    nodes: tuple[float, ...]  # "direct": energies at which wave vectors are taken
    kz_points: int  # "direct": quadrature points of the k_z Lorentzian
    kx: tuple[float, ...] = ()  # "grid": nodes along the slit, 1/Å, ≥ 0 when folded
    kz: tuple[float, ...] = ()  # "grid": nodes relative to `kz_origin`
    kz_edges: tuple[float, ...] = ()  # "grid": cells of those nodes
    kz_origin: float = 0.0
    kz_period: float | None = None
    kz_multiple: tuple[int, int, int] | None = None  # reciprocal lattice vectors that make up that period
    fold_x: bool = False
    fold_z: bool = False
    folded_at: tuple[float, float, float] | None = None  # azimuth, incidence and its azimuth that `fold_x` holds for
    choices: tuple = ()  # "grid": the instrument's static choices that the nodes and folds hold for
    levels: tuple[int, int] | None = None
    layers: tuple[int, ...] | None = None  # STACK_METHODS: layer of each atom, from the top


def plan_image(
    model: Model,
    instrument: Instrument,
    axes: Mapping[str, object] | Axes,
    *,
    method: str = "direct",
    kz_points: int | None = None,
    kz_reach: float = 5.0,
    window: float | None = None,
    turning: bool = False,
) -> Plan:
    """Choose the grids of an image.

    Args:
        model: Model with concrete numbers, in the crystal's axes.
        instrument: Instrument with concrete numbers.
        axes: Pixel axes.
        method: "direct" or "grid" (cuts with one lateral axis and one photon energy) for crystals; for stacks that are
            periodic in the plane only "coherent" (amplitudes of the layers add up) or "incoherent" (their
            intensities: the limit integrated over k_z).
        kz_points: Quadrature points of the k_z Lorentzian; 1 takes k_z at its centre and at the middle of the energy
            window; None takes 1 for a model that is not periodic along the normal, else 15.
        kz_reach: "grid": half widths of the Lorentzian that the grid covers beyond the k_z of the pixels.
        window: Levels farther than this (eV) from the energy window everywhere are left out of the sums; None keeps
            all (sum rules hold).
        turning: Whether the plan will also be used for other azimuths of the sample or of the light: "grid" then uses
            no mirror symmetry along the slit.

    Raises:
        ValueError: "grid" for axes that are no cut, or no electron leaves the crystal.
    """
    checks.one_of("method", method, METHODS)
    axes = axes if isinstance(axes, Axes) else as_axes(axes)
    check_reachable(instrument, axes)
    energy = np.array(axes.energy)
    padded = _padded(energy, float(instrument.fwhm_energy))
    if kz_points is None:
        kz_points = 1 if _period(laboratory_model(model, instrument)) is None else 15
    if method in STACK_METHODS:
        if model.topology.periodic[2] or window is not None:
            raise ValueError(
                f"Argument `method` may be {method!r} for a stack that is not periodic along its third lattice vector, "
                "without `window`, only."
            )
        nodes = _blend_nodes(instrument, axes, 1)  # k_z is taken at every energy
        return Plan(axes, method, padded, nodes, 1, layers=find_layers(laboratory_model(model, instrument)))
    if method == "direct":
        plan = Plan(axes, "direct", padded, _blend_nodes(instrument, axes, kz_points), kz_points)
    else:
        plan = _grid(model, instrument, axes, padded, kz_points, kz_reach, turning)
    return plan if window is None else dataclasses.replace(plan, levels=_levels(model, instrument, plan, window))


def _padded(energy: np.ndarray, fwhm: float) -> tuple[float, ...]:
    """Pixel energies, continued on both sides by `REACH` σ of the resolution."""
    if energy.size < 2:
        return tuple(energy)
    reach = REACH * fwhm / FWHM_PER_SIGMA
    low, high = energy[1] - energy[0], energy[-1] - energy[-2]
    below = energy[0] - low * np.arange(int(np.ceil(reach / low)), 0, -1)
    above = energy[-1] + high * np.arange(1, int(np.ceil(reach / high)) + 1)
    return tuple(float(e) for e in np.concatenate([below, energy, above]))


def _blend_nodes(instrument: Instrument, axes: Axes, kz_points: int) -> tuple[float, ...]:
    """Energies at which wave vectors are taken: bands move by less than `BLEND_SHIFT` between two of them along the
    surface, and along the normal by that or k_z by less than its own half width."""
    low, high = axes.energy[0], axes.energy[-1]
    photon = min(axes.hv) if axes.hv else float(instrument.photon_energy)
    kinetic = photon - float(instrument.work_function) + np.array([low, high])
    intervals = 0.0
    if axes.in_angles:
        centre = {"angle": float(instrument.polar), "deflector": float(instrument.tilt)}
        largest = max(abs(v - centre[n]) for n, values in axes.lateral for v in values)
        moved = float(np.diff(kinematics.wave_number(kinetic))[0]) * np.sin(np.deg2rad(min(largest, 90.0)))
        intervals = moved * STEEPEST / BLEND_SHIFT if moved > 1e-4 else 0.0
    if kz_points > 1:  # k_z is most sensitive to the energy where k∥ is largest
        ends = jnp.array([low, high])
        outside = jax.vmap(lambda e: lateral_momentum(instrument, axes, e, jnp.asarray(photon))[0])(ends)
        kz = jax.vmap(lambda o, e: central_kz(instrument, o, e, jnp.asarray(photon)))(outside, ends)
        per_moved = min(2 * float(instrument.escape_depth), STEEPEST / BLEND_SHIFT)
        intervals = max(intervals, float(np.abs(np.diff(kz, axis=0)).max()) * per_moved)
    count = 1 + int(np.ceil(intervals))
    return tuple(float(e) for e in (np.linspace(low, high, count) if count > 1 else [(low + high) / 2]))


def _grid(
    model: Model, instrument: Instrument, axes: Axes, padded: tuple, kz_points: int, kz_reach: float, turning: bool
) -> Plan:
    if len(axes.lateral) != 1 or axes.hv or axes.lateral[0][0] not in ("angle", "kx"):
        raise ValueError(
            f'Argument `method` may be "grid" for cuts (angle or kx, and energy) only, but the axes are {axes.names}.'
        )
    ends = jnp.array([axes.energy[0], axes.energy[-1]])
    hv = jnp.asarray(instrument.photon_energy)
    outside, inside = jax.vmap(lambda e: lateral_momentum(instrument, axes, e, hv))(ends)
    kz = np.asarray(jax.vmap(lambda o, e: central_kz(instrument, o, e, hv))(outside, ends))

    step = LATERAL_PER_SIGMA * float(instrument.fwhm_momentum) / FWHM_PER_SIGMA
    if step <= 0:
        raise ValueError('Argument `fwhm_momentum` must be > 0 (in 1/Å) for the "grid" method, but is 0.')
    margin = (KERNEL_REACH + 2) * step
    low, high = float(inside[..., 0].min()) - margin, float(inside[..., 0].max()) + margin
    lab = laboratory_model(model, instrument)
    fold_x, fold_z = _folds(lab, instrument)
    fold_x = fold_x and not turning
    low, high = low - instrument.origin[0], high - instrument.origin[0]  # nodes count from the origin
    first = 0 if fold_x else int(np.floor(low / step))
    last = int(np.ceil((max(-low, high) if fold_x else high) / step))

    multiple = _period_multiple(lab)
    origin, nodes, edges = _kz_nodes(
        kz, 1 / (2 * float(instrument.escape_depth)), _period(lab), fold_z, kz_points, kz_reach
    )
    return Plan(
        axes, "grid", padded, (), kz_points, tuple(float(i * step) for i in range(first, last + 1)), tuple(map(float, nodes)),
        tuple(map(float, edges)), origin, _period(lab), multiple, fold_x, fold_z,
        _directions(instrument) if fold_x else None, _choices(instrument),
    )  # fmt: skip


def _kz_nodes(
    kz: np.ndarray, width: float, period: float | None, fold: bool, points: int, reach: float
) -> tuple[float, np.ndarray, np.ndarray]:
    """Origin, nodes and cell edges along k_z: even steps around the pixels' k_z, then steps that grow by a quarter each.

    A crystal's nodes cover a whole period (half of it where folded), so that the tails of the Lorentzian are kept.
    """
    if points == 1:
        return 0.0, np.array([kz.mean()]), np.array([kz.mean() - 1.0, kz.mean() + 1.0])
    spacing = 2 * reach * width / (points - 1)
    if fold:  # both 0 and half a period are mirror planes
        half = (period or 0.0) / 2  # a fold needs a period
        origin = float(np.round(kz.mean() / half) * half)
        low, high, ends = 0.0, np.abs(kz - origin).max() + reach * width / 2, (0.0, half)
    else:
        origin = float(kz.mean())
        low, high = kz.min() - origin - reach * width / 2, kz.max() - origin + reach * width / 2
        ends = (-period / 2, period / 2) if period else (low - reach * width / 2, high + reach * width / 2)
    edges = (
        list(np.arange(low, min(high, ends[1]), spacing))
        if fold
        else list(np.arange(max(low, ends[0]), min(high, ends[1]), spacing))
    )
    for side in (1, -1):
        if side == -1 and fold:
            continue
        grown, edge, end = spacing, edges[-1] if side == 1 else edges[0], ends[1] if side == 1 else ends[0]
        added = []
        while side * (end - edge) > 1.5 * grown:
            edge += side * grown
            added.append(edge)
            grown *= 1.25
        added.append(end)
        edges = edges + added if side == 1 else added[::-1] + edges
    edges = np.array(edges)
    nodes = (edges[1:] + edges[:-1]) / 2
    return origin, nodes, edges


def _period(lab: Model) -> float | None:
    """Shortest reciprocal-lattice vector along the surface normal, 1/Å; None where the crystal has none."""
    multiple = _period_multiple(lab)
    return None if multiple is None else float((np.array(multiple) @ np.asarray(lab.reciprocal))[2])


def _period_multiple(lab: Model) -> tuple[int, int, int] | None:
    """How many of each reciprocal lattice vector make up the shortest one along the surface normal."""
    shortest, found = None, None
    reciprocal = np.asarray(lab.reciprocal)
    for triple in np.ndindex(9, 9, 9):
        multiple = np.array(triple) - 4
        if any(m and not p for m, p in zip(multiple, lab.topology.periodic, strict=True)):
            continue  # the cell's length where there is vacuum means nothing
        vector = multiple @ reciprocal
        if abs(vector[0]) + abs(vector[1]) < 1e-6 and vector[2] > 1e-6 and (shortest is None or vector[2] < shortest):
            shortest, found = vector[2], (int(multiple[0]), int(multiple[1]), int(multiple[2]))
    return found


def _folds(lab: Model, instrument: Instrument) -> tuple[bool, bool]:
    """Whether bands and their parts of both parities are unchanged under k_x → −k_x and k_z → −k_z (tried at three k)."""
    if instrument.matrix_elements == "plane_wave":
        return False, False
    generic = np.array([[0.31, 0.07, 0.23], [0.83, -0.05, 0.41], [0.17, 0.29, -0.11]])

    parities = np.tile(mirror_parities(lab.topology.orbitals), 2 if lab.topology.spin_orbit else 1)

    def fingerprint(k: np.ndarray) -> np.ndarray:
        h = np.asarray(jax.vmap(lambda q: bloch_hamiltonian(lab, q))(jnp.asarray(k, lab.dtype)))
        eps, h = np.linalg.eigvalsh(h), h / np.abs(h).sum(axis=-1).max()
        moments = [np.linalg.matrix_power(h, n) for n in range(1, 5)]  # of the parts of both parities
        return np.concatenate([eps, *(np.einsum("po,koo->kp", parities, m).real for m in moments)], axis=1)

    tolerance = 1e-6 if lab.dtype == np.float64 else 1e-3
    here = fingerprint(generic)
    flips = [np.abs(fingerprint(generic * np.array(s)) - here).max() < tolerance for s in ((-1, 1, 1), (1, 1, -1))]
    q = np.asarray(band_shift(instrument, jnp.asarray(instrument.photon_energy)))
    if instrument.origin != (0.0, 0.0):
        return False, bool(flips[1] and _period(lab))
    return bool(flips[0] and abs(q[0]) < 1e-3), bool(flips[1] and _period(lab))


def _directions(instrument: Instrument) -> tuple[float, float, float]:
    """What a mirror symmetry along the slit depends on."""
    return float(instrument.azimuth), float(instrument.incidence), float(instrument.incidence_azimuth)


def _choices(instrument: Instrument) -> tuple:
    """What nodes and folds of the "grid" way depend on, apart from numbers."""
    folds = "plane_wave" if instrument.matrix_elements == "plane_wave" else "trace"
    return instrument.surface, instrument.slit, instrument.origin, folds, instrument.photon_momentum


def check_plan(plan: Plan, instrument: Instrument) -> None:
    """Raise ValueError where a plan meets other static choices, or one with a mirror symmetry other directions."""
    if plan.choices and plan.choices != _choices(instrument):
        raise ValueError(
            f"Argument `axes` must be a plan made for {_choices(instrument)} (surface, slit, origin, matrix elements, "
            f"photon momentum), but was made for {plan.choices}."
        )
    numbers = (instrument.azimuth, instrument.incidence, instrument.incidence_azimuth)
    if plan.folded_at is None or not all(checks.is_concrete(n) for n in numbers):
        return
    if not np.allclose(plan.folded_at, _directions(instrument), atol=1e-6):
        raise ValueError(
            f"Argument `axes` must be a plan made with `turning=True` (or for this instrument) where the sample or the "
            f"light turns, but it uses the mirror symmetry at azimuth, incidence and incidence azimuth {plan.folded_at}, "
            f"not {_directions(instrument)}."
        )


def _levels(model: Model, instrument: Instrument, plan: Plan, window: float) -> tuple[int, int]:
    """Range of levels that come within `window` of the energies anywhere on a coarse sample of the image's k."""
    lab = laboratory_model(model, instrument)
    photons = plan.axes.hv or (float(instrument.photon_energy),)
    low, high = plan.axes.energy[0], plan.axes.energy[-1]
    half = 3 / (2 * float(instrument.escape_depth))
    sample = []
    for hv, energy in {(p, e) for p in (photons[0], photons[-1]) for e in (low, (low + high) / 2, high)}:
        outside, inside = lateral_momentum(instrument, plan.axes, jnp.asarray(energy), jnp.asarray(hv))
        centre = np.asarray(central_kz(instrument, outside, jnp.asarray(energy), jnp.asarray(hv)))
        few = np.unique(np.linspace(0, len(inside) - 1, 25).astype(int))
        for i in few:
            kz = np.linspace(centre[i] - half, centre[i] + half, 5) if plan.kz_points > 1 else centre[i : i + 1]
            if plan.kz:
                kz = np.concatenate([kz, plan.kz_origin + np.array(plan.kz)[:: max(1, len(plan.kz) // 9)]])
            sample += [(*np.asarray(inside[i]), z) for z in kz]
    k = jnp.asarray(np.array(sample), lab.dtype)
    eps = np.linalg.eigvalsh(np.asarray(jax.vmap(lambda q: bloch_hamiltonian(lab, q))(k)))
    eps = eps - float(instrument.fermi_energy)
    chosen = np.flatnonzero((eps.max(axis=0) > low - window) & (eps.min(axis=0) < high + window))
    if not chosen.size:
        raise ValueError(
            f"Argument `window` must leave levels near {low:g} … {high:g} eV, but all lie farther than {window:g} eV from it."
        )
    return int(chosen[0]), int(chosen[-1]) + 1
