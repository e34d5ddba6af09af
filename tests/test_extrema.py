"""Stationary points, masses and distances of band surfaces, on bands whose answers are known in closed form."""

import numpy as np
import pytest
import xarray as xr

from bandjax import band_distance, band_extrema
from bandjax.units import HBAR2_OVER_M

K = np.linspace(-1, 1, 41)
UNIT = {"units": "1/angstrom"}


def surfaces(*bands, k=K):
    axes = {n: (n, k, UNIT) for n in ("kx", "ky")}
    return xr.DataArray(np.stack(bands), dims=("band", "kx", "ky"), coords=axes)


def test_a_tilted_paraboloid():
    hessian = np.array([[3.0, 0.8], [0.8, -1.2]])
    place = np.array([0.13, -0.22])
    x = np.stack(np.meshgrid(K, K, indexing="ij"), axis=-1) - place
    surface = -0.4 + 0.5 * np.einsum("...i,ij,...j", x, hessian, x)
    (saddle, bowl) = sorted(
        band_extrema(surfaces(surface, 0.5 * 2.0 * (x**2).sum(-1)), radius=0.2), key=lambda e: e.band
    )
    values, vectors = np.linalg.eigh(hessian)
    assert (saddle.kind, bowl.kind) == ("saddle", "minimum")
    np.testing.assert_allclose(saddle.k, place, atol=1e-9)
    np.testing.assert_allclose(saddle.mass, HBAR2_OVER_M / values, rtol=1e-9)
    np.testing.assert_allclose(abs(saddle.directions), abs(vectors), rtol=1e-8)
    assert saddle.energy == pytest.approx(-0.4) and np.isnan(saddle.energy_error) and np.isnan(saddle.share)


def test_a_cosine_band_has_its_four_kinds_of_points():
    """−cos kx a − cos ky a: minimum, maxima, saddles where they must be; the parabola's bias is the fourth derivative's."""
    k, a = np.linspace(-1.5, 1.5, 61), 3.0
    found = band_extrema(surfaces(-np.cos(a * k)[:, None] - np.cos(a * k), k=k), radius=0.16)
    kinds = {kind: sum(e.kind == kind for e in found) for kind in ("minimum", "maximum", "saddle")}
    assert kinds == {"minimum": 1, "maximum": 4, "saddle": 4}
    (centre,) = (e for e in found if e.kind == "minimum")
    bias = (a * 0.16) ** 2 / 12 / 2  # κ² cos averages to less than radius²/2 under the weights, and k⁴/24 against k²/2
    np.testing.assert_allclose(centre.mass, HBAR2_OVER_M / a**2, rtol=2 * bias)
    corner = max((e for e in found if e.kind == "maximum"), key=lambda e: e.k.sum())
    np.testing.assert_allclose(corner.k, np.pi / a, atol=1e-3)


def test_a_cut():
    line = xr.DataArray(0.3 - 1.7 * (K - 0.31) ** 2, dims="kx", coords={"kx": ("kx", K, UNIT)})
    (top,) = band_extrema(line, radius=0.2)
    assert top.kind == "maximum"
    np.testing.assert_allclose([top.k[0], top.energy, top.mass[0]], [0.31, 0.3, -HBAR2_OVER_M / 3.4], rtol=1e-9)


def test_errors_are_those_of_the_draws():
    """Draws that differ in curvature, offset and place: their spread comes back; what most draws lack is left out."""
    rng = np.random.default_rng(0)
    curvature, level, place = 2 + 0.1 * rng.normal(size=200), 0.05 * rng.normal(size=200), 0.02 * rng.normal(size=200)
    line = xr.DataArray(K**2, dims="kx", coords={"kx": ("kx", K, UNIT)})
    draws = level[:, None] + 0.5 * curvature[:, None] * (K - place[:, None]) ** 2
    draws = xr.DataArray(draws, dims=("draw", "kx"), coords={"kx": line.kx})
    (found,) = band_extrema(line, radius=0.2, draws=draws)
    np.testing.assert_allclose(
        [found.k_error[0], found.energy_error, found.mass_error[0], found.share],
        [place.std(ddof=1), level.std(ddof=1), (HBAR2_OVER_M / curvature).std(ddof=1), 1.0], rtol=1e-6,
    )  # fmt: skip
    assert band_extrema(line, radius=0.2, draws=-draws) == []


def test_distances():
    one = surfaces(np.zeros((41, 41)), np.ones((41, 41)))
    other = one.isel(band=[1, 0]) + 0.1
    other[0, 0, 0] = np.nan
    plain = band_distance(one, other)
    np.testing.assert_allclose(plain["rms"], [1.1, 0.9])
    assert float(plain["rms_all"]) == pytest.approx(np.sqrt((1.1**2 * 1680 + 0.9**2 * 1681) / 3361))
    paired = band_distance(one, other, match=True, shift="common")
    np.testing.assert_array_equal(paired["partner"], [1, 0])
    np.testing.assert_allclose(paired["rms"], 0, atol=1e-12)
    np.testing.assert_allclose(paired["shift"], 0.1)
    tilted = one + xr.DataArray([0.2, -0.2], dims="band")
    np.testing.assert_allclose(band_distance(one, tilted, shift="band")["rms"], 0, atol=1e-12)
    np.testing.assert_allclose(band_distance(one, tilted, shift="common")["rms"], 0.2)


def test_a_hole_hides_only_what_lies_beside_it():
    """The minimum far from a missing pixel is found as before; one within the radius of it is not claimed."""
    surface = (K[:, None] - 0.3) ** 2 + (K - 0.1) ** 2
    whole = surfaces(surface)
    (expected,) = band_extrema(whole, radius=0.2)
    holed = whole.copy(deep=True)
    holed[0, 3, 5] = np.nan
    (found,) = band_extrema(holed, radius=0.2)
    np.testing.assert_allclose([*found.k, found.energy, *found.mass], [*expected.k, expected.energy, *expected.mass])
    holed[0, 26, 23] = np.nan
    assert band_extrema(holed, radius=0.2) == []
    with pytest.raises(ValueError, match="finite energies around it in every band"):
        band_extrema(whole * np.nan, radius=0.2)


def test_pairs_are_those_that_are_nearest_after_the_shift():
    """Two shapes, each moved to where the other was: by raw squares they would be taken for one another."""
    one = surfaces(K[:, None] + 0 * K, 1 + 0.5 * K**2 + 0 * K[:, None])
    other = surfaces(1 + K[:, None] + 0 * K, 0.5 * K**2 + 0 * K[:, None])
    found = band_distance(one, other, match=True, shift="band")
    np.testing.assert_array_equal(found["partner"], [0, 1])
    np.testing.assert_allclose(found["rms"], 0, atol=1e-12)
    np.testing.assert_array_equal(band_distance(one, other, match=True)["partner"], [1, 0])


LINE = xr.DataArray(K**2, dims="kx", coords={"kx": ("kx", K, UNIT)})
REFUSED = {
    "degrees": (lambda: band_extrema(LINE.assign_coords(kx=("kx", K, {"units": "degree"})), radius=0.2), "'kx' in 1/angstrom.*'degree'"),
    "uneven steps": (lambda: band_extrema(LINE.assign_coords(kx=("kx", K**3, UNIT)), radius=0.2), "equidistant axis 'kx'"),
    "radius of a pixel": (lambda: band_extrema(LINE, radius=0.06), "at least 4 points.*0.06 1/Å holds 3"),
    "radius of the grid": (lambda: band_extrema(LINE, radius=1.5), "fit into the grid.*1.5"),
    "draws without draws": (lambda: band_extrema(LINE, radius=0.2, draws=LINE), "`draws` must have an axis 'draw'"),
    "draws on another grid": (
        lambda: band_extrema(LINE, radius=0.2, draws=LINE.isel(kx=slice(5)).expand_dims("draw")), "`draws`.*axis 'kx' differs"
    ),
    "other bands": (lambda: band_distance(surfaces(K[:, None] * K), surfaces(*[K[:, None] * K] * 2)), "the 1 bands of `first`.*has 2"),
    "nothing in common": (lambda: band_distance(LINE.expand_dims("band"), (LINE * np.nan).expand_dims("band")), "in common.*none"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case):
    call, words = REFUSED[case]
    with pytest.raises(ValueError, match=f"(?s){words}"):
        call()
