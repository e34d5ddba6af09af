"""From maps to a Hamiltonian: several starts through the exact model, errors, and the Fermi surface with its errors.

`fit` does the work: counts (or scaled) likelihood, exact first derivatives, Laplace errors. Added here are the choice of a part
of the data, evidence that the starts agree, and areas of bands and pockets in each map's plane, propagated to first order:
var A = (∂A/∂θ) C (∂A/∂θ)ᵀ with C the covariance of the fit.
"""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from bandjax import checks
from bandjax.hamiltonian import Model
from bandjax.inference.descent import Progress
from bandjax.inference.fit import SAME_END, FitResult, fit
from bandjax.inference.parameters import all_values, make_transform
from bandjax.inference.partial import part_of_map
from bandjax.inference.problem import Problem, instrument_values, model_values, of_map
from bandjax.inference.starts import drawn_values, holding_loose
from bandjax.photoemission import Instrument
from bandjax.photoemission.kinematics import wave_number
from bandjax.photoemission.pixels import as_axes, band_shift, central_kz, laboratory_model
from bandjax.spectrum.fermi_surface import (
    check_grid,
    filled_areas,
    find_pockets,
    plane_energies,
    plane_steps,
    pocket_area,
)
from bandjax.units import FWHM_PER_SIGMA

MARGIN = 3.0  # σ of the momentum resolution kept, masked, around a window


class PocketArea(NamedTuple):
    """A closed pocket: its band (from the lowest), kind, centre (1/Å), and area with error as parts of the zone."""

    band: int
    kind: str
    centre: tuple[float, float]
    area: float
    error: float


class FermiSurface(NamedTuple):
    """Constant-energy surface at E_F in the plane of one map.

    Attributes:
        k_z: The plane, 1/Å in the laboratory frame.
        vectors: Reciprocal vectors that span it, (2, 2) in 1/Å.
        filled: Part of the zone below E_F of every band, (band,), and its standard error.
        filled_error: See `filled`.
        pockets: Closed pockets, by band; empty where all sheets are open.
        band_error: Standard error of the bands, (n, n, band) on the grid n·vectors/n, eV relative to E_F.
        energies: Bands E − E_F on that grid.
    """

    k_z: float
    vectors: np.ndarray
    filled: np.ndarray
    filled_error: np.ndarray
    pockets: tuple[PocketArea, ...]
    energies: np.ndarray
    band_error: np.ndarray

    @property
    def zone(self) -> float:
        """Area of the zone in 1/Å²."""
        return float(abs(np.linalg.det(self.vectors)))


@dataclasses.dataclass(frozen=True)
class Retrieval:
    """A Hamiltonian from maps.

    Attributes:
        fit: Values, errors, covariance, data, model and residual; see `FitResult`.
        starts: How many descents were made, and how many of them ended within 0.05 of the lowest −log posterior.
        reached: See `starts`.
        surfaces: Fermi surface in the plane of each map.
        used: Pixels of each map that were taken (fitted, or held out to score the fit), as a part of all its pixels with data.
        seconds: Wall-clock time, compilation included.
        report: Sentences of the fit, and on the areas.
    """

    fit: FitResult
    starts: int
    reached: int
    surfaces: dict[str, FermiSurface]
    used: dict[str, float]
    seconds: float
    report: list[str]


def retrieve_hamiltonian(
    data: xr.DataArray | Mapping[str, xr.DataArray],
    problem: Problem,
    *,
    starts: int | Sequence[Mapping[str, float]] = 10,
    fraction: float = 1.0,
    pattern: str = "window",
    energy: tuple[float, float] | None = None,
    bands: int | None = None,
    k_z: float | Mapping[str, float] | None = None,
    grid: int = 120,
    max_steps: int = 60,
    progress: Progress | None = None,
    state_file: str | Path | None = None,
    bootstrap_draws: int = 0,
) -> Retrieval:
    """Hamiltonian of one map or several (volumes, constant-energy maps, cuts), from all of the data or a part.

    Args:
        data: A map, or maps by name (other k_z, other energies), fitted jointly.
        problem: Model, parameters with priors, instrument, noise; see `Problem`.
        starts: Descents: the first from the parameters' values, the others from draws out of their priors (a parameter with
            neither a prior nor two bounds, such as a gain, keeps its value). Or the points themselves, by name, also if it is one.
        fraction: Part of the wave vectors that is used; see `part_of_map`.
        pattern: "window" or "random".
        energy: (low, high), E − E_F in eV, such as (−0.1, 0.05); None: all.
        bands: How many bands (spin-degenerate ones once) the data show; a model with fewer is refused.
        k_z: Planes of the Fermi surface, 1/Å in the laboratory frame; None: that of normal emission at E_F (0 for a
            model that is not periodic along the normal).
        grid: Points along each side of the zone for the areas.
        max_steps, progress, state_file, bootstrap_draws: As for `fit`.

    Returns:
        `Retrieval`, also where the fit has not converged or a Fermi surface could not be made (it says so).

    Raises:
        ValueError: what `fit` and `part_of_map` raise, or the model has fewer bands than `bands`.
    """
    began = time.perf_counter()
    check_grid(grid)
    maps = {"map": data} if isinstance(data, xr.DataArray) else dict(data)
    parts = {}
    for name, array in maps.items():
        margin = window_margin(array, of_map(problem.instrument, name))
        parts[name] = part_of_map(array, fraction, pattern=pattern, energy=energy, margin=margin, seed=problem.seed)
    _check_bands(problem, next(iter(maps)), bands)
    points, given = _points(problem, starts)
    found = fit(
        parts, problem, starts=given, max_steps=max_steps, progress=progress, state_file=state_file, bootstrap_draws=bootstrap_draws
    )  # fmt: skip
    costs = np.array(found.start_costs or (found.cost,))
    reached = int((costs - costs.min() < SAME_END).sum())
    surfaces, failed = {}, []
    for name in maps:
        try:
            surface = fermi_surface_of(found, name, k_z=k_z if k_z is None else of_map(k_z, name), grid=grid)
        except ValueError as error:  # the fit is done: it is not lost for what follows from it
            failed.append(f"Map {name}: no Fermi surface ({error})")
            continue
        if surface is not None:
            surfaces[name] = surface
    used = {n: float(np.isfinite(parts[n].values).sum() / max(np.isfinite(maps[n].values).sum(), 1)) for n in maps}
    report = [*found.report, *(s for n, f in surfaces.items() for s in _sentences(n, f)), *failed]
    return Retrieval(found, len(points), reached, surfaces, used, time.perf_counter() - began, report)


def fermi_surface_of(
    found: FitResult, name: str | None = None, *, k_z: float | None = None, grid: int = 120
) -> FermiSurface | None:
    """Fermi surface of a fit in the plane of one of its maps, with errors; None for a crystal that is not periodic there.

    Errors are infinite where a number depends on a parameter that is not measured or ended on its bound. Areas are parts of the zone of
    each crystal: a lattice constant among the parameters scales zone and surface alike.
    """
    name = next(iter(found.maps)) if name is None else name
    instrument = found.instrument(name)
    lab = laboratory_model(found.model(name), instrument)
    if not all(lab.topology.periodic[:2]):
        return None
    height = plane_of_map(lab, instrument) if k_z is None else float(k_z)
    steps = plane_steps(lab)
    vectors = (steps @ np.asarray(lab.reciprocal))[:, :2]
    names = found.names
    values = {n: jnp.asarray(v) for n, v in found.values.items()}
    transform = make_transform(found.problem.parameters)

    def bands_at(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        now = values | {n: x[i] for i, n in enumerate(names)}
        now |= {n: factor * now[other] for n, other, factor in transform.tied}
        there = dataclasses.replace(of_map(found.problem.instrument, name), **instrument_values(now, name))
        now_lab = laboratory_model(of_map(found.problem.model_of, name)(model_values(now)), there)
        own = (jnp.asarray(steps) @ now_lab.reciprocal)[:, :2]  # the grid moves with the zone
        energies = plane_energies(now_lab, height, grid, own) - there.fermi_energy
        return energies, energies

    x = jnp.asarray([found.values[n] for n in names])
    slopes, energies = jax.jit(jax.jacfwd(bands_at, has_aux=True))(x)
    pockets = find_pockets(np.asarray(energies), 0.0, vectors)
    shares, per_energy = jax.vjp(lambda e: _areas(e, pockets), energies)
    rows = jax.vmap(per_energy)(jnp.eye(shares.size))[0]  # (area, n, n, band)
    jacobian = np.einsum("aijb,ijbp->ap", np.asarray(rows), np.asarray(slopes))
    known = np.isfinite([found.errors[n] for n in names])
    error = _propagated(jacobian, found.covariance, known)
    count = energies.shape[-1]
    listed = tuple(
        PocketArea(p.band, p.kind, p.centre, float(a), float(e))
        for p, a, e in zip(pockets, np.asarray(shares)[count:], error[count:], strict=True)
    )
    spread = _propagated(np.asarray(slopes).reshape(-1, x.size), found.covariance, known).reshape(energies.shape)
    filled = np.asarray(shares)[:count]
    return FermiSurface(height, vectors, filled, error[:count], listed, np.asarray(energies), spread)


def _areas(energies: jax.Array, pockets: list) -> jax.Array:
    """Filled part of the zone of every band, then area of every pocket."""
    filled = filled_areas(energies, 0.0)
    return jnp.stack([*filled.mean(axis=(1, 2, 3)), *(pocket_area(p, filled) for p in pockets)])


def _propagated(jacobian: np.ndarray, covariance: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Standard errors of numbers with these derivatives; infinite where one depends on what is not `known`."""
    inner = np.where(known[:, None] & known[None, :], covariance, 0.0)
    variance = np.einsum("ap,pq,aq->a", jacobian, inner, jacobian)
    open_ended = (np.abs(jacobian[:, ~known]) > 0).any(axis=1)
    return np.where(open_ended, np.inf, np.sqrt(np.maximum(variance, 0.0)))


def plane_of_map(lab: Model, instrument: Instrument) -> float:
    """k_z at E_F where a map counts its momenta from, 1/Å: the plane of its Fermi surface; 0 for a model that is not periodic along z."""
    if not lab.topology.periodic[2]:
        return 0.0
    hv = jnp.asarray(float(instrument.photon_energy))
    outside = jnp.array(instrument.origin) + band_shift(instrument, hv)[:2]
    return float(central_kz(instrument, outside[None], jnp.zeros(()), hv)[0])


def window_margin(data: xr.DataArray, instrument: Instrument) -> float:
    """How far the momentum resolution reaches around a window, in the unit of the map's lateral axes; see `part_of_map`."""
    reach = MARGIN * float(instrument.fwhm_momentum) / FWHM_PER_SIGMA
    axes = as_axes(data)
    if not axes.in_angles:
        return reach
    hv = (
        min(axes.hv) if axes.hv else float(instrument.photon_energy)
    )  # of the slowest electrons, whose angles are largest
    return reach / float(jnp.deg2rad(1.0) * wave_number(jnp.asarray(hv - float(instrument.work_function))))


def _points(
    problem: Problem, starts: int | Sequence[Mapping[str, float]]
) -> tuple[Sequence[Mapping[str, float]], int | Sequence[Mapping[str, float]]]:
    """Where descents begin, and what `fit` is told of it: of a single one that was not given, its own start."""
    if isinstance(starts, Sequence) and not isinstance(starts, str):
        return starts, starts
    checks.whole("starts", starts)
    transform = make_transform(problem.parameters)
    points = drawn_values(holding_loose(transform, transform.centre), int(starts), problem.seed)
    return points, points if len(points) > 1 else 1


def _check_bands(problem: Problem, name: str, bands: int | None) -> None:
    if bands is None:
        return
    transform = make_transform(problem.parameters)
    start = {n: float(v) for n, v in all_values(transform, jnp.asarray(transform.centre)).items()}
    model = of_map(problem.model_of, name)(model_values(start))
    count = len(model.topology.orbitals)
    if bands > count:
        raise ValueError(
            f"Argument `bands` must be at most the {count} bands of {model.topology.material} {model.topology.table}, but is {bands}."
        )


def _sentences(name: str, surface: FermiSurface) -> list[str]:
    """The areas in words."""
    filled = ", ".join(f"{f:.4f} ± {e:.4f}" for f, e in zip(surface.filled, surface.filled_error, strict=True))
    out = [f"Map {name}, k_z = {surface.k_z:.3f} 1/Å: bands fill {filled} of the zone ({surface.zone:.4f} 1/Å²)."]
    for p in surface.pockets:
        out.append(
            f"Map {name}: {p.kind} pocket of band {p.band} around ({p.centre[0]:.3f}, {p.centre[1]:.3f}) 1/Å: "
            f"{p.area:.4f} ± {p.error:.4f} of the zone."
        )
    return out


def retrieval_metrics(found: Retrieval) -> dict[str, Any]:
    """Plain numbers of a retrieval, for JSON; None for what is not known or infinite."""
    return _finite_or_none({
        "values": found.fit.values, "errors": found.fit.errors, "starts": found.starts, "reached": found.reached,
        "used": found.used, "seconds": found.seconds, "converged": found.fit.converged, "report": found.report,
        "reduced_chi2": {n: m.tests.reduced_chi2 for n, m in found.fit.maps.items()},
        "surfaces": {
            n: {
                "k_z": f.k_z, "zone": f.zone, "filled": f.filled.tolist(), "filled_error": f.filled_error.tolist(),
                "pockets": [p._asdict() for p in f.pockets],
            } for n, f in found.surfaces.items()
        },
    })  # fmt: skip


def _finite_or_none(x: Any) -> Any:
    if isinstance(x, Mapping):
        return {k: _finite_or_none(v) for k, v in x.items()}
    if isinstance(x, list | tuple):
        return [_finite_or_none(v) for v in x]
    return None if isinstance(x, float) and not np.isfinite(x) else x
