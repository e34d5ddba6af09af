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

from bandjax.hamiltonian import Model
from bandjax.inference.descent import Progress
from bandjax.inference.fit import SAME_END, FitResult, fit
from bandjax.inference.parameters import all_values, draw_from_prior, make_transform
from bandjax.inference.partial import part_of_map
from bandjax.inference.problem import Problem, instrument_values, model_values, of_map
from bandjax.photoemission import Instrument
from bandjax.photoemission.pixels import central_kz, laboratory_model
from bandjax.spectrum.fermi_surface import (
    check_grid,
    filled_areas,
    find_pockets,
    plane_energies,
    plane_vectors,
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
        used: Pixels of each map that were fitted, as a part of all its pixels with data.
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
            neither a prior nor two bounds, such as a gain, keeps its value). Or the points themselves, by name.
        fraction: Part of the wave vectors that is used; see `part_of_map`.
        pattern: "window" or "random".
        energy: (low, high), E − E_F in eV, such as (−0.1, 0.05); None: all.
        bands: How many bands (spin-degenerate ones once) the data show; a model with fewer is refused.
        k_z: Planes of the Fermi surface, 1/Å in the laboratory frame; None: that of normal emission at E_F (0 for a
            model that is not periodic along the normal).
        grid: Points along each side of the zone for the areas.
        max_steps, progress, state_file, bootstrap_draws: As for `fit`.

    Returns:
        `Retrieval`, also where the fit has not converged (it says so).

    Raises:
        ValueError: what `fit` and `part_of_map` raise; the model has fewer bands than `bands`; or `fermi_energy` is free
            and no map reaches the Fermi edge.
    """
    began = time.perf_counter()
    check_grid(grid)
    maps = dict(data) if isinstance(data, Mapping) and not isinstance(data, xr.DataArray) else {"map": data}
    parts = {}
    for name, array in maps.items():
        blur = MARGIN * float(of_map(problem.instrument, name).fwhm_momentum) / FWHM_PER_SIGMA
        parts[name] = part_of_map(array, fraction, pattern=pattern, energy=energy, margin=blur, seed=problem.seed)
    _check_bands(problem, next(iter(maps)), bands)
    _check_edge(problem, parts)
    points = starts if not isinstance(starts, int) else _drawn(problem, starts)
    given = parts if len(parts) > 1 or isinstance(problem.instrument, Mapping) else next(iter(parts.values()))
    found = fit(
        given, problem, starts=points if len(points) > 1 else 1, max_steps=max_steps, progress=progress, state_file=state_file,
        bootstrap_draws=bootstrap_draws,
    )  # fmt: skip
    costs = np.array(found.start_costs or (found.cost,))
    reached = int((costs - costs.min() < SAME_END).sum())
    surfaces = {}
    for name in maps:
        surface = fermi_surface_of(found, name, k_z=k_z if k_z is None else of_map(k_z, name), grid=grid)
        if surface is not None:
            surfaces[name] = surface
    used = {n: float(np.isfinite(parts[n].values).sum() / max(np.isfinite(maps[n].values).sum(), 1)) for n in maps}
    report = [*found.report, *(s for n, f in surfaces.items() for s in _sentences(n, f))]
    return Retrieval(found, len(points), reached, surfaces, used, time.perf_counter() - began, report)


def fermi_surface_of(
    found: FitResult, name: str | None = None, *, k_z: float | None = None, grid: int = 120
) -> FermiSurface | None:
    """Fermi surface of a fit in the plane of one of its maps, with errors; None for a crystal that is not periodic there."""
    name = next(iter(found.maps)) if name is None else name
    instrument = found.instrument(name)
    lab = laboratory_model(found.model(name), instrument)
    if not all(lab.topology.periodic[:2]):
        return None
    height = _plane(lab, instrument) if k_z is None else float(k_z)
    vectors = plane_vectors(lab)
    names = found.names
    values = {n: jnp.asarray(v) for n, v in found.values.items()}
    transform = make_transform(found.problem.parameters)

    def bands_at(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        now = values | {n: x[i] for i, n in enumerate(names)}
        now |= {n: factor * now[other] for n, other, factor in transform.tied}
        there = dataclasses.replace(of_map(found.problem.instrument, name), **instrument_values(now, name))
        model = of_map(found.problem.model_of, name)(model_values(now))
        energies = plane_energies(laboratory_model(model, there), height, grid, vectors) - there.fermi_energy
        return energies, energies

    x = jnp.asarray([found.values[n] for n in names])
    slopes, energies = jax.jit(jax.jacfwd(bands_at, has_aux=True))(x)
    pockets = find_pockets(np.asarray(energies), 0.0, vectors)
    shares, per_energy = jax.vjp(lambda e: _areas(e, pockets), energies)
    rows = jax.vmap(per_energy)(jnp.eye(shares.size))[0]  # (area, n, n, band)
    jacobian = np.einsum("aijb,ijbp->ap", np.asarray(rows), np.asarray(slopes))
    error = _propagated(jacobian, found.covariance)
    count = energies.shape[-1]
    listed = tuple(
        PocketArea(p.band, p.kind, p.centre, float(a), float(e))
        for p, a, e in zip(pockets, np.asarray(shares)[count:], error[count:], strict=True)
    )
    spread = _propagated(np.asarray(slopes).reshape(-1, x.size), found.covariance).reshape(energies.shape)
    filled = np.asarray(shares)[:count]
    return FermiSurface(height, vectors, filled, error[:count], listed, np.asarray(energies), spread)


def _areas(energies: jax.Array, pockets: list) -> jax.Array:
    """Filled part of the zone of every band, then area of every pocket."""
    filled = filled_areas(energies, 0.0)
    return jnp.stack([*filled.mean(axis=(1, 2, 3)), *(pocket_area(p, filled) for p in pockets)])


def _propagated(jacobian: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Standard errors of numbers with these derivatives; infinite where one depends on what is not measured."""
    known = np.isfinite(np.diagonal(covariance))
    inner = np.where(known[:, None] & known[None, :], covariance, 0.0)
    variance = np.einsum("ap,pq,aq->a", jacobian, inner, jacobian)
    open_ended = (np.abs(jacobian[:, ~known]) > 0).any(axis=1)
    return np.where(open_ended, np.inf, np.sqrt(np.maximum(variance, 0.0)))


def _plane(lab: Model, instrument: Instrument) -> float:
    """k_z of normal emission at E_F."""
    if not lab.topology.periodic[2]:
        return 0.0
    hv = jnp.asarray(float(instrument.photon_energy))
    return float(central_kz(instrument, jnp.zeros((1, 2)), jnp.zeros(()), hv)[0])


def _drawn(problem: Problem, starts: int) -> list[dict[str, float]]:
    """The parameters' own values, then draws out of their priors."""
    if starts < 1:
        raise ValueError(f"Argument `starts` must be a whole number ≥ 1 or a list of points, but is {starts!r}.")
    t = make_transform(problem.parameters)
    drawable = np.isfinite(t.sigma) | (np.isfinite(t.lower) & np.isfinite(t.upper))
    held = t._replace(prior=np.where(drawable, t.prior, t.centre), sigma=np.where(drawable, t.sigma, 1e-9 * t.scale))
    rng = np.random.default_rng([problem.seed, 1])
    drawn = [t.centre, *(draw_from_prior(held, rng) for _ in range(starts - 1))]
    return [dict(zip(t.names, map(float, x), strict=True)) for x in drawn]


def _check_bands(problem: Problem, name: str, bands: int | None) -> None:
    if bands is None:
        return
    transform = make_transform(problem.parameters)
    start = {n: float(v) for n, v in all_values(transform, jnp.asarray(transform.centre)).items()}
    model = of_map(problem.model_of, name)(model_values(start))
    count = len(model.topology.orbitals)
    if bands > count:
        raise ValueError(f"The model must have the {bands} bands that are asked for, but {model.topology.material} {model.topology.table} has {count}.")  # fmt: skip


def _check_edge(problem: Problem, maps: Mapping[str, xr.DataArray]) -> None:
    free = [n for n, p in problem.parameters.items() if n.rsplit(".", 1)[-1] == "fermi_energy" and not p.fixed]
    for name in free:
        own = [m for m in maps if name in ("fermi_energy", f"{m}.fermi_energy")]
        top = {m: float(maps[m]["energy"].max()) for m in own}
        if own and max(top.values()) < 0:
            ends = ", ".join(f"{m} at {e:.3g} eV" for m, e in top.items())
            raise ValueError(
                f"Parameter `{name}` may be free where a map reaches the Fermi edge (energy ≥ 0) only, but they end: {ends}."
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
    """Plain numbers of a retrieval, for JSON."""
    return {
        "values": found.fit.values, "errors": found.fit.errors, "starts": found.starts, "reached": found.reached,
        "used": found.used, "seconds": found.seconds, "converged": found.fit.converged, "report": found.report,
        "reduced_chi2": {n: m.tests.reduced_chi2 for n, m in found.fit.maps.items()},
        "surfaces": {
            n: {
                "k_z": f.k_z, "zone": f.zone, "filled": f.filled.tolist(), "filled_error": f.filled_error.tolist(),
                "pockets": [p._asdict() for p in f.pockets],
            } for n, f in found.surfaces.items()
        },
    }  # fmt: skip
