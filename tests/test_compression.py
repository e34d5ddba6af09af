"""Band surfaces as coefficients: exact in the span of each basis, errors, masks, cuts, refusals."""

import numpy as np
import pytest
import xarray as xr

import bandjax as bj

LATTICE = 2.46 * np.array([[1.0, 0.0], [0.5, np.sqrt(3) / 2]])
KX, KY = np.linspace(-1.5, 1.3, 31), np.linspace(-1.0, 1.2, 24)


def surfaces(values, kx=KX, ky=KY):
    return xr.DataArray(np.asarray(values), dims=("band", "kx", "ky"), coords={"kx": kx, "ky": ky})


def polynomial(x, y):
    return np.stack([0.4 * x**2 * y - y**3 + 0.2, x - 0.3 * y**2])


def waves(x, y):
    return np.stack([np.cos(LATTICE[0, 0] * x), np.sin(LATTICE[1] @ np.stack([x.ravel(), y.ravel()])).reshape(x.shape)])


def cosines(x, y):
    u, v = (x - KX[0]) / np.ptp(KX), (y - KY[0]) / np.ptp(KY)
    return np.stack([np.cos(2 * np.pi * u) * np.cos(np.pi * v), 1 + 0 * u])


# basis, function in its span, terms that hold it: all of degree 3, of degrees to 3, i² + j² ≤ 5 and the first star
SPANS = {
    "polynomial": (polynomial, 10), "chebyshev": (polynomial, 16), "cosine": (cosines, 9), "plane_waves": (waves, 7)
}  # fmt: skip


@pytest.mark.parametrize("basis", SPANS)
def test_what_the_basis_holds_comes_back_on_any_grid(basis):
    function, terms = SPANS[basis]
    lattice = LATTICE if basis == "plane_waves" else None
    truth = surfaces(function(*np.meshgrid(KX, KY, indexing="ij")))
    hexagon = np.abs(KX)[:, None] + 0.5 * np.abs(KY) < 1.2
    holes = truth.where(xr.DataArray(np.arange(KY.size) != 3, dims="ky"))
    for given, mask in ((truth, None), (truth, hexagon), (holes, None)):
        small = bj.compress_bands(given, coefficients=terms, basis=basis, lattice=lattice, mask=mask)
        assert small["coefficient"].shape == (2, terms) and small["rms"].max() < 1e-10
        other = {"kx": np.linspace(-1, 1, 7), "ky": np.linspace(-0.5, 1, 5)}
        back = bj.expand_bands(small, other)["band_energy"]
        np.testing.assert_allclose(back, function(*np.meshgrid(*other.values(), indexing="ij")), atol=1e-9)
    # half of them cannot hold both, or the test above would prove nothing
    short = bj.compress_bands(truth, coefficients=terms // 2, basis=basis, lattice=lattice)
    assert short["rms"].max() > 1e-3


def test_errors_are_carried_to_the_coefficients_and_back():
    """Independent errors of unequal size: 68 % of the intervals hold the truth, of coefficients and of surfaces."""
    x, y = np.meshgrid(KX, KY, indexing="ij")
    truth, rng = np.repeat(polynomial(x, y), 60, axis=0), np.random.default_rng(0)
    error = np.broadcast_to(0.01 * (1 + 4 * (x > 0)), truth.shape)
    noisy = surfaces(truth + error * rng.standard_normal(truth.shape))
    exact = bj.compress_bands(surfaces(truth), coefficients=10)["coefficient"]
    small = bj.compress_bands(noisy, coefficients=10, error=error)
    held = np.abs(small["coefficient"] - exact) < small["coefficient_error"]
    assert held.mean() == pytest.approx(0.683, abs=0.06)  # 4 σ of 120 independent bands with 10 coefficients each
    back = bj.expand_bands(small, {"kx": KX, "ky": KY})
    assert (np.abs(back["band_energy"] - truth) < back["band_error"]).mean() == pytest.approx(0.683, abs=0.06)
    wider = bj.compress_bands(noisy, coefficients=10, error=error, correlated=4.0)
    np.testing.assert_allclose(wider["coefficient_error"], 2 * small["coefficient_error"])
    equal = bj.compress_bands(noisy, coefficients=10)["coefficient"]  # weights help
    assert np.std(small["coefficient"] - exact) < 0.9 * np.std(equal - exact)


def test_the_fewest_terms_for_a_tolerance_and_cuts():
    k = np.linspace(-1, 1, 80)
    cut = xr.DataArray(np.stack([k**4, np.exp(k)]), dims=("band", "k"), coords={"k": k, "band": [3, 5]})
    small = bj.compress_bands(cut, tolerance=1e-3)
    fewer = bj.compress_bands(cut, coefficients=small.sizes["term"] - 1)
    assert small["rms"].max() <= 1e-3 < fewer["rms"].max()
    back = bj.expand_bands(small, {"k": k})["band_energy"]
    assert back.dims == ("band", "k") and list(back["band"]) == [3, 5]
    np.testing.assert_allclose(back, cut, atol=5e-3)


def test_the_tolerance_holds_with_errors_too():
    """Errors that rise tenfold towards one side: the weighted fit leaves more there, and needs more terms than the plain one."""
    k = np.linspace(-1, 1, 80)
    cut = xr.DataArray(np.exp(3 * k)[None], dims=("band", "k"), coords={"k": k})
    error = 0.01 * 10 ** (2 * (k[None] + 1))
    small = bj.compress_bands(cut, tolerance=1e-3, error=error)
    assert (
        float(small["rms"].max()) <= 1e-3 and small.sizes["term"] > bj.compress_bands(cut, tolerance=1e-3).sizes["term"]
    )
    fewer = bj.compress_bands(cut, coefficients=small.sizes["term"] - 1, error=error)
    assert fewer["rms"].max() > 1e-3


def test_errors_and_masks_go_by_their_axes():
    x, y = np.meshgrid(KX, KX, indexing="ij")
    square = surfaces(polynomial(x, y), ky=KX)
    error = square.copy(data=np.broadcast_to(0.01 * (1 + 4 * (x > 0)), square.shape))
    inside = xr.DataArray(x + 0.2 * y < 0.9, dims=("kx", "ky"))
    plain = bj.compress_bands(square + 0.1 * (square > 0), coefficients=6, error=error.values, mask=inside.values)
    turned = bj.compress_bands(
        square + 0.1 * (square > 0), coefficients=6, error=error.transpose("ky", "band", "kx"), mask=inside.T
    )
    np.testing.assert_array_equal(turned["coefficient"], plain["coefficient"])


def test_plane_waves_go_by_the_length_of_their_vectors():
    """A cell of 3 Å × 60 Å: the ten shortest vectors are multiples of the shorter side."""
    small = bj.compress_bands(surfaces(np.zeros((1, 31, 24))), coefficients=21, lattice=np.diag([3.0, 60.0]))
    length = np.linalg.norm(small["function"], axis=1)
    np.testing.assert_allclose(length, [0, *np.repeat(3.0 * np.arange(1, 11), 2)])


FLAT = surfaces(np.zeros((2, KX.size, KY.size)))
REFUSED = {
    "neither": (dict(), "`coefficients` or `tolerance` must be given, but neither is"),
    "both": (dict(coefficients=3, tolerance=0.1), "`coefficients` or `tolerance` must be given, but both are"),
    "too many": (dict(coefficients=500), "`coefficients` must be 1 to 372.*744 pixels.*is 500"),
    "unknown basis": (dict(coefficients=3, basis="zernike"), "`basis`.*'zernike'"),
    "no lattice": (
        dict(coefficients=3, basis="plane_waves"),
        r"`lattice` must have shape \(2, 2\) for plane waves, but is missing",
    ),
    "vectors on a line": (
        dict(coefficients=3, lattice=np.ones((2, 2))),
        "`lattice` must hold vectors that span the plane",
    ),
    "a row of pixels": (
        dict(coefficients=6, mask=np.arange(KX.size)[:, None] + 0 * KY == 3),
        "`coefficients` must be at most 2 for these 24 pixels.*is 6",
    ),
    "errors of another shape": (
        dict(coefficients=3, error=np.ones((2, 24, 31))),
        r"`error` must have shape \(2, 31, 24\)",
    ),
    "mask of another shape": (dict(coefficients=3, mask=np.ones(3, bool)), "`mask`"),
    "errors of zero": (dict(coefficients=3, error=np.zeros(FLAT.shape)), "`error` must be > 0"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case):
    options, words = REFUSED[case]
    with pytest.raises(ValueError, match=words):
        bj.compress_bands(FLAT, **options)


def test_refusals_of_what_no_basis_can():
    rough = surfaces(np.random.default_rng(0).normal(size=FLAT.shape))
    with pytest.raises(ValueError, match=r"`tolerance` must be at least what 300 terms leave, 0\.\d+ eV, but is 1e-06"):
        bj.compress_bands(rough, tolerance=1e-6)
    with pytest.raises(ValueError, match="`axes` must hold kx, ky, but holds k"):
        bj.expand_bands(bj.compress_bands(FLAT, coefficients=3), {"k": KX})
    with pytest.raises(ValueError, match="`surfaces` must have the axes band"):
        bj.compress_bands(FLAT.transpose("kx", "ky", "band"), coefficients=3)
