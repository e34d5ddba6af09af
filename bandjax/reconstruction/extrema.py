"""Stationary points of band surfaces (minima, maxima, saddles) with effective masses; how far two sets of surfaces are apart.

At every pixel the surface within `radius` is fitted by E(k) = c₀ + g·κ + ½ κᵀ H κ, κ = k − k_pixel, by least squares with the weights
(1 − κ²/radius²)². Where the stationary point κ* = −H⁻¹ g of that parabola lies within the pixel's own cell, the surface is stationary:
E* = c₀ + ½ g·κ*, and the eigenvalues h of H are the effective masses m* = (ħ²/h)/m_e: positive at a minimum, negative at a maximum, of
both signs at a saddle. The parabola's own bias grows with the square of `radius` times the fourth derivative of the band.

Errors are the spread over draws of the posterior (`draws=` of `reconstruct_bands`): neighbouring pixels are smoothed together, so that
their standard errors alone do not say how uncertain a curvature is.
"""

from typing import NamedTuple

import numpy as np
import xarray as xr
from scipy.optimize import linear_sum_assignment

from bandjax import checks
from bandjax.units import HBAR2_OVER_M, INVERSE_ANGSTROM

LEAST_POINTS = {
    1: 4,
    2: 8,
}  # of the surface within the radius, by the number of axes: more than the parabola has coefficients


class Extremum(NamedTuple):
    """A stationary point of a band.

    Attributes:
        band: Which.
        kind: "minimum", "maximum" or "saddle".
        k: Where, 1/Å, (axes,).
        energy: eV.
        mass: Principal effective masses in m_e, by rising curvature, (axes,).
        directions: Their unit vectors as columns, (axes, axes).
        k_error, energy_error, mass_error: One standard deviation over the draws; NaN without draws.
        share: Part of the draws that have this kind of point within `radius`; NaN without draws. Noise makes stationary
            points where a band is flat: they have a low share.
    """

    band: int
    kind: str
    k: np.ndarray
    energy: float
    mass: np.ndarray
    directions: np.ndarray
    k_error: np.ndarray
    energy_error: float
    mass_error: np.ndarray
    share: float


def band_extrema(
    surfaces: xr.DataArray, *, radius: float, draws: xr.DataArray | None = None, share: float = 0.5
) -> list[Extremum]:
    """Minima, maxima and saddles inside the grid, with masses.

    Args:
        surfaces: E_b(k) in eV over `band` and one or two axes in 1/Å (`Reconstruction.energy`); NaN where there is none: points
            within `radius` of it are left out.
        radius: Of the parabola, 1/Å.
        draws: Draws of the same surfaces, with an axis `draw` (`Reconstruction.dataset["band_draws"]`); None: no errors.
        share: Points that fewer of the draws have are left out.

    Raises:
        ValueError: Axes in other units or not equidistant, a radius that holds too few points or more than the grid, draws on
            another grid, a band without any neighbourhood that is finite.
    """
    names = [str(d) for d in surfaces.dims if d != "band"]
    if "band" not in surfaces.dims:
        surfaces = surfaces.expand_dims("band")
    steps, axes = _steps(surfaces, names)
    surfaces = surfaces.transpose("band", *names)
    fits = _Parabola(steps, radius, [a.size for a in axes])
    samples = None
    if draws is not None:
        samples = _draws_on(draws, surfaces, names)
    found = []
    for band, surface in enumerate(surfaces.values):
        points = _stationary(surface, fits, axes)
        many = [] if samples is None else [_stationary(s[band], fits, axes) for s in samples]
        for point in points:
            extremum = _with_errors(band, point, many, radius)
            if samples is None or extremum.share >= share:
                found.append(extremum)
    return found


def band_distance(first: xr.DataArray, second: xr.DataArray, *, shift: str = "none", match: bool = False) -> xr.Dataset:
    """How far two sets of surfaces on one grid are apart, in eV.

    Args:
        first: Over `band` and the axes.
        second: The same grid and as many bands; NaN in either leaves a point out.
        shift: "none"; "common", the mean difference of all bands is taken out first (another zero of energy); "band", that of each band.
        match: Bands are paired so that the sum of squares is least after the shift (Hungarian algorithm), not by their number.

    Returns:
        `rms`, `mean`, `largest` (band,), the root mean square of all (`rms_all`), `shift` taken out (band,), and `partner`, the number of the
        band of `second` that each is compared with.

    Raises:
        ValueError: Another grid or number of bands, or no common point.
    """
    checks.one_of("shift", shift, ("none", "common", "band"))
    names = [str(d) for d in first.dims if d != "band"]
    a = first.transpose("band", *names)
    b = _like(second, a, names, "second").transpose("band", *names)
    if a.sizes["band"] != b.sizes["band"]:
        raise ValueError(
            f"Argument `second` must have the {a.sizes['band']} bands of `first`, but has {b.sizes['band']}."
        )
    one, two = (s.values.reshape(s.sizes["band"], -1) for s in (a, b))
    if not (np.isfinite(one).all(axis=0) & np.isfinite(two).all(axis=0)).any():
        raise ValueError(
            "Arguments `first` and `second` must have a point in common where all bands are finite, but have none."
        )
    partner = np.arange(len(one))
    if match:
        apart = two[None] - one[:, None]
        if shift == "band":
            apart = apart - np.nanmean(apart, axis=-1, keepdims=True)  # a common one is that of any pairs
        costs = np.nanmean(apart**2, axis=-1)
        partner = linear_sum_assignment(costs)[1]
    off = two[partner] - one
    taken = np.zeros(len(one))
    if shift != "none":
        taken = np.nanmean(off, axis=1) if shift == "band" else np.full(len(one), np.nanmean(off))
        off = off - taken[:, None]
    found = {
        "rms": np.sqrt(np.nanmean(off**2, axis=1)), "mean": np.nanmean(off, axis=1), "largest": np.nanmax(np.abs(off), axis=1),
        "shift": taken, "partner": partner,
    }  # fmt: skip
    out = xr.Dataset({n: ("band", v) for n, v in found.items()})
    out["rms_all"] = float(np.sqrt(np.nanmean(off**2)))
    return out


class _Parabola:
    """Least-squares parabolas at all pixels at once: one row of coefficients a monomial, on the offsets within the radius."""

    def __init__(self, steps: list[float], radius: float, sizes: list[int]) -> None:
        checks.positive("radius", radius, "1/Å")
        reach = [int(radius / s) for s in steps]
        if any(2 * r + 1 > n for r, n in zip(reach, sizes, strict=True)):
            raise ValueError(
                f"Argument `radius` must fit into the grid, but {radius:g} 1/Å spans more than its points."
            )
        offsets = np.stack(np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij"), axis=-1).reshape(
            -1, len(steps)
        )
        kappa = offsets * steps
        weight = np.maximum(1 - np.sum(kappa**2, axis=1) / radius**2, 0) ** 2
        inside = weight > 0
        if inside.sum() < LEAST_POINTS[len(steps)]:
            raise ValueError(
                f"Argument `radius` must hold at least {LEAST_POINTS[len(steps)]} points of the surface, but {radius:g} 1/Å holds "
                f"{int(inside.sum())} (steps {', '.join(f'{s:.4g}' for s in steps)} 1/Å)."
            )
        self.offsets, self.reach, self.steps = offsets[inside], reach, np.asarray(steps)
        kappa, weight = kappa[inside], weight[inside]
        pairs = [(i, j) for i in range(len(steps)) for j in range(i, len(steps))]
        columns = [np.ones(len(kappa)), *kappa.T, *(kappa[:, i] * kappa[:, j] / (2 if i == j else 1) for i, j in pairs)]
        design = np.stack(columns, axis=1)
        self.rows = np.linalg.solve(design.T @ (weight[:, None] * design), (weight[:, None] * design).T)
        self.pairs = pairs

    def __call__(self, surface: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """c₀, g and H at every pixel whose neighbourhood lies inside, on the grid without its edges."""
        inner = tuple(n - 2 * r for n, r in zip(surface.shape, self.reach, strict=True))
        out = np.zeros((len(self.rows), *inner))
        for offset, column in zip(self.offsets, self.rows.T, strict=True):
            part = surface[tuple(slice(r + o, r + o + n) for r, o, n in zip(self.reach, offset, inner, strict=True))]
            out += column.reshape(-1, *[1] * surface.ndim) * part
        axes = surface.ndim
        hessian = np.zeros((*inner, axes, axes))
        for value, (i, j) in zip(out[1 + axes :], self.pairs, strict=True):
            hessian[..., i, j] = hessian[..., j, i] = value
        return out[0], np.moveaxis(out[1 : 1 + axes], 0, -1), hessian


class _Point(NamedTuple):
    kind: str
    k: np.ndarray
    energy: float
    mass: np.ndarray
    directions: np.ndarray


def _stationary(surface: np.ndarray, fits: _Parabola, axes: list[np.ndarray]) -> list[_Point]:
    """Pixels whose parabola is stationary within their cell; of neighbours that both claim one, the nearer."""
    level, slope, hessian = fits(surface)
    finite = np.isfinite(level) & np.isfinite(slope).all(axis=-1) & np.isfinite(hessian).all(axis=(-2, -1))
    if not finite.any():
        raise ValueError(
            "Argument `surfaces` must have a point with finite energies around it in every band, but one has none."
        )
    level, slope = np.where(finite, level, 0.0), np.where(finite[..., None], slope, 0.0)
    values, vectors = np.linalg.eigh(np.where(finite[..., None, None], hessian, np.eye(surface.ndim)))
    regular = finite & (np.abs(values).min(axis=-1) > 1e-9 * np.abs(values[finite]).max())
    safe = np.where(regular[..., None, None], hessian, np.eye(surface.ndim))
    place = -np.linalg.solve(safe, slope[..., None])[..., 0]
    cell = np.abs(place / fits.steps)
    # a little more than half, so that none falls between two cells
    chosen = np.argwhere(regular & np.all(cell <= 0.6, axis=-1))
    points: list[tuple[float, _Point]] = []
    for at in map(tuple, chosen):
        h = values[at]
        kind = "minimum" if h[0] > 0 else "maximum" if h[-1] < 0 else "saddle"
        k = np.array([a[i + r] for a, i, r in zip(axes, at, fits.reach, strict=True)]) + place[at]
        energy = float(level[at] + 0.5 * slope[at] @ place[at])
        points.append((float(cell[at].max()), _Point(kind, k, energy, HBAR2_OVER_M / h, vectors[at])))
    kept: list[_Point] = []
    for _, point in sorted(points, key=lambda p: p[0]):
        if all(np.any(np.abs(point.k - other.k) > 1.5 * fits.steps) for other in kept):
            kept.append(point)
    return sorted(kept, key=lambda p: tuple(p.k))


def _with_errors(band: int, point: _Point, many: list[list[_Point]], radius: float) -> Extremum:
    axes = len(point.k)
    nearest = []
    for points in many:
        same = [p for p in points if p.kind == point.kind and np.linalg.norm(p.k - point.k) <= radius]
        if same:
            nearest.append(min(same, key=lambda p: float(np.linalg.norm(p.k - point.k))))
    if len(nearest) < 2:
        nothing = np.full(axes, np.nan)
        return Extremum(band, *point, nothing, np.nan, nothing, len(nearest) / len(many) if many else np.nan)
    k, mass = (np.std([getattr(p, n) for p in nearest], axis=0, ddof=1) for n in ("k", "mass"))
    return Extremum(
        band, *point, k, float(np.std([p.energy for p in nearest], ddof=1)), mass, len(nearest) / len(many)
    )  # fmt: skip


def _steps(surfaces: xr.DataArray, names: list[str]) -> tuple[list[float], list[np.ndarray]]:
    if len(names) not in (1, 2):
        raise ValueError(
            f"Argument `surfaces` must have one or two axes beside `band`, but has {', '.join(names) or 'none'}."
        )
    steps, axes = [], []
    for name in names:
        unit = surfaces[name].attrs.get("units", "") if name in surfaces.coords else ""
        if unit not in INVERSE_ANGSTROM:
            raise ValueError(
                f"Argument `surfaces` must have its axis {name!r} in 1/angstrom for masses, but it is in {unit or 'no unit'!r}."
            )
        axis = np.asarray(surfaces[name].values, float)
        step = np.diff(axis)
        if not np.allclose(step, step.mean(), rtol=1e-3):
            raise ValueError(
                f"Argument `surfaces` must have an equidistant axis {name!r}, but its steps are {step.min():.4g} to {step.max():.4g}."
            )
        steps.append(float(step.mean()))
        axes.append(axis)
    return steps, axes


def _like(other: xr.DataArray, surfaces: xr.DataArray, names: list[str], label: str) -> xr.DataArray:
    for name in names:
        if (
            name not in other.dims
            or other.sizes[name] != surfaces.sizes[name]
            or not np.allclose(other[name], surfaces[name])
        ):
            raise ValueError(f"Argument `{label}` must lie on the grid of the surfaces, but its axis {name!r} differs.")
    return other if "band" in other.dims else other.expand_dims("band")


def _draws_on(draws: xr.DataArray, surfaces: xr.DataArray, names: list[str]) -> np.ndarray:
    if "draw" not in draws.dims:
        raise ValueError(f"Argument `draws` must have an axis 'draw', but has {', '.join(map(str, draws.dims))}.")
    found = _like(draws, surfaces, names, "draws").transpose("draw", "band", *names)
    if found.sizes["band"] != surfaces.sizes["band"]:
        raise ValueError(
            f"Argument `draws` must have the {surfaces.sizes['band']} bands of the surfaces, but has {found.sizes['band']}."
        )
    return found.values
