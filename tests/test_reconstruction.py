"""Bands of a map without a Hamiltonian: derivatives, recovery, errors, invariances, holes, refusals, the command."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from scipy.special import voigt_profile

from bandjax import Preprocessing, reconstruct_bands
from bandjax.cli import main
from bandjax.commands_reconstruction import model_bands
from bandjax.plot import plot_residual, plot_slices
from bandjax.reconstruction import (
    choose,
    counting,
    errors,
    expected_counts,
    fields,
    line_shape,
    multilevel,
    prior_modes,
    published,
    residual,
    splines,
    volumes,
)
from bandjax.reconstruction.preprocessing import preprocess

ENERGY = np.linspace(-1.0, 1.0, 40)
SIGMA, ETA = 0.1, 0.05
K = np.linspace(-1, 1, 8)
RNG = np.random.default_rng(0)
SMOOTH = fields.Smoothness(jnp.array([0.3, 0.0]), jnp.array([0.0, 2.0]), jnp.array([40.0, 10.0]), 0.5)


def paraboloid(x=K, y=K):
    return 0.5 * x[:, None] ** 2 - 0.3 * y**2 - 0.2 + 0.1 * x[:, None]


def volume(surface, peak=100.0, seed=None, k=(K, K), energy=ENERGY):
    """A DataArray (kx, ky, energy) of one line and a constant background of 2; counts where there is a seed, else their mean."""
    mean = peak * voigt_profile(energy - surface[..., None], SIGMA, ETA) / voigt_profile(0, SIGMA, ETA) + 2.0
    values = mean if seed is None else np.random.default_rng(seed).poisson(mean).astype(float)
    coords = {n: (n, a, {"units": "1/angstrom"}) for n, a in zip(("kx", "ky"), k, strict=True)}
    coords |= {"energy": ("energy", energy, {"units": "eV"})}
    return xr.DataArray(values, dims=("kx", "ky", "energy"), coords=coords, attrs={"energy_reference": "fermi"})


def by_counts(data, start, **options):
    given = {"line": (SIGMA, ETA), "sigma_curvature": 0.02, "freedom": None} | options
    return reconstruct_bands(data, np.asarray(start)[None], **given)


def test_a_spline_and_its_derivatives():
    values = np.sin(3 * ENERGY) + np.zeros((2, 3, 1))
    s = splines.spline(values, ENERGY)
    at, h = jnp.asarray(RNG.uniform(-0.7, 0.7, (1, 2, 3))), 1e-4
    evaluate = jax.jit(splines.evaluate)
    (value, first, second), up, down = (evaluate(s, at + step) for step in (0, h, -h))
    np.testing.assert_allclose(value, np.sin(3 * at), atol=2e-5)  # h⁴ of the spline
    np.testing.assert_allclose(first, (up[0] - down[0]) / (2 * h), atol=1e-6)
    np.testing.assert_allclose(second, (up[1] - down[1]) / (2 * h), atol=1e-5)
    assert abs(second).max() > 1


def test_the_line_is_a_voigt():
    x = np.linspace(-2, 2, 41)
    voigt = jax.jit(line_shape.voigt)
    for sigma, eta in ((0.2, 0.3), (0.2, 1e-9), (0.2, 0.02), (0.02, 0.3)):
        value, slope = voigt(x, sigma, eta)
        np.testing.assert_allclose(value, voigt_profile(x, sigma, eta) / voigt_profile(0, sigma, eta), atol=1e-6)
        h = 1e-5
        ends = [voigt(x + d, sigma, eta)[0] for d in (h, -h)]
        np.testing.assert_allclose(slope, (ends[0] - ends[1]) / (2 * h), atol=1e-3 * abs(slope).max())


def test_derivatives_of_the_published_posterior():
    surface = published.log_spline(RNG.uniform(1, 2, (4, 3, 40)), ENERGY)
    prior = published.pair_prior(0.3, 2, np.dtype(float))
    x, v, h = jnp.asarray(RNG.uniform(-0.8, 0.8, (2, 4, 3))), jnp.asarray(RNG.normal(size=(2, 4, 3))), 1e-5

    @jax.jit
    def cost(x):
        return published.data_term(surface, 1.0, x).cost + fields.prior_cost(prior, x)

    @jax.jit
    def gradient(x):
        return published.data_term(surface, 1.0, x).gradient + fields.prior_product(fields.weights(prior, x), x)

    np.testing.assert_allclose(jnp.vdot(gradient(x), v), (cost(x + h * v) - cost(x - h * v)) / (2 * h), rtol=1e-6)
    product = jax.jit(lambda x: fields.hessian_product(published.data_term(surface, 1.0, x), prior, x)(v))(x)
    np.testing.assert_allclose(product, (gradient(x + h * v) - gradient(x - h * v)) / (2 * h), rtol=1e-4, atol=1e-3)


def test_derivatives_of_the_counting_likelihood():
    """The Fisher matrix is the Hessian where the counts are their own mean."""
    surface = paraboloid()[:3, :2]
    line = counting.Line(jnp.asarray(SIGMA), jnp.asarray(ETA))
    x = jnp.asarray(np.stack([surface, np.full((3, 2), 3.0), np.full((3, 2), 0.5)]))
    data = counting.counts_of(np.ones((3, 2, 40)), ENERGY)
    data = data._replace(counts=jax.jit(counting.means)(data, line, x))
    term = jax.jit(counting.data_term)
    v, h = jnp.asarray(RNG.normal(size=x.shape)), 1e-5
    np.testing.assert_allclose(term(data, line, x).gradient, 0, atol=1e-9)
    ends = [term(data, line, x + s * h * v) for s in (1, -1)]
    difference = (ends[0].gradient - ends[1].gradient) / (2 * h)
    np.testing.assert_allclose(fields.block_product(term(data, line, x).hessian, v), difference, rtol=1e-4, atol=1e-3)
    beside = term(data, line, x + 0.1 * v).gradient
    slope = (term(data, line, x + (0.1 + h) * v).cost - term(data, line, x + (0.1 - h) * v).cost) / (2 * h)
    np.testing.assert_allclose(jnp.vdot(beside, v), slope, rtol=1e-6)


@pytest.mark.parametrize(
    "shape", [(6, 5), (7, 1), *(pytest.param(s, marks=pytest.mark.slow) for s in ((1, 7), (2, 2)))]
)
def test_the_gaussian_prior_is_its_formula(shape):
    """½ Σ p₀ d² + p₁ (δd)² + p₂ (δ²d)² by numpy, edges and cuts too; every second difference has the weight 1."""
    d = np.random.default_rng(1).normal(size=(2, *shape))
    gaussian = SMOOTH._replace(tail=0.0)
    point, pair, curvature = (np.asarray(p)[:, None, None] for p in gaussian[:3])
    first = [np.diff(d, axis=axis) for axis in (1, 2)]
    second = [np.diff(d, 2, axis=1), np.diff(d, 2, axis=2), np.sqrt(2) * np.diff(np.diff(d, axis=1), axis=2)]
    parts = [point * d**2, *(pair * f**2 for f in first), *(curvature * s**2 for s in second)]
    np.testing.assert_allclose(fields.prior_cost(gaussian, jnp.asarray(d)), 0.5 * sum(p.sum() for p in parts))
    for weight, part in zip(fields.weights(gaussian, jnp.asarray(d))[3:], second, strict=True):
        np.testing.assert_allclose(weight, np.broadcast_to(curvature, part.shape))


def test_derivatives_of_the_prior():
    d, v, h = jnp.asarray(RNG.normal(size=(2, 5, 4))), jnp.asarray(RNG.normal(size=(2, 5, 4))), 1e-5
    cost = jax.jit(fields.prior_cost)

    @jax.jit
    def gradient_and_diagonal(d):
        weight = fields.weights(SMOOTH, d)
        unit = jnp.zeros_like(d).at[1, 2, 1].set(1.0)
        own = fields.prior_product(weight, unit)[1, 2, 1]
        return fields.prior_product(weight, d), own, fields.prior_diagonal(weight, d.shape)[1, 2, 1]

    gradient, own, diagonal = gradient_and_diagonal(d)
    np.testing.assert_allclose(
        jnp.vdot(gradient, v), (cost(SMOOTH, d + h * v) - cost(SMOOTH, d - h * v)) / (2 * h), rtol=1e-6
    )
    np.testing.assert_allclose(diagonal, own)
    plane = np.add.outer(np.arange(5.0), 2 * np.arange(4.0)) + np.ones((2, 1, 1))
    only = SMOOTH._replace(point=jnp.zeros(2), pair=jnp.zeros(2))
    np.testing.assert_allclose(cost(only, jnp.asarray(plane)), 0, atol=1e-20)  # planes are free


@pytest.mark.parametrize("shape", [pytest.param((21, 30), marks=pytest.mark.slow), (40, 1)])
def test_coarser_grids_solve_what_only_the_prior_holds(shape):
    """A hole in the data: with the coarser grids 20 steps are enough, with the pixels' own matrices they are not."""
    prior = fields.Smoothness(jnp.zeros(2), jnp.array([0.0, 1.0]), jnp.array([1e3, 10.0]))
    weight = fields.weights(prior, jnp.zeros((2, *shape)))
    block = np.broadcast_to(np.array([[40.0, 15.0], [15.0, 20.0]])[..., None, None], (2, 2, *shape)).copy()
    block[:, :, shape[0] // 4 : -shape[0] // 4] = 0
    truth = jnp.asarray(RNG.normal(size=(2, *(1 if n == 1 else 3 for n in shape))))
    truth = jax.image.resize(truth, (2, *shape), "cubic")

    @jax.jit
    def left(truth):
        parts = fields.prior_diagonals(weight, truth.shape)
        own = multilevel.inverse(block + multilevel.as_blocks(sum(parts)))
        many, one = multilevel.preconditioner(jnp.asarray(block), parts), lambda r: fields.block_product(own, r)

        def product(v):
            return fields.block_product(block, v) + fields.prior_product(weight, v)

        found = [fields.conjugate_gradients(product, product(truth), m, 1e-9, 20) for m in (many, one)]
        return (
            jnp.array([jnp.linalg.norm(f - truth) / jnp.linalg.norm(truth) for f in found]),
            many(truth),
            many(product(truth)),
        )

    (with_grids, without), there, back = left(truth)
    assert with_grids < 0.01 < 0.1 < without
    other = jnp.asarray(RNG.normal(size=truth.shape))  # conjugate gradients need a symmetric, positive inverse
    np.testing.assert_allclose(jnp.vdot(other, there), jnp.vdot(left(other)[1], truth), rtol=1e-9)
    assert jnp.vdot(truth, there) > 0 and jnp.vdot(truth, back) > 0


def test_transfers_between_grids():
    planes = lambda n, m: np.add.outer(np.arange(n) * 1.0, 3.0 * np.arange(m))  # noqa: E731
    for n, m in ((21, 12), (90, 7)):  # the longer axis takes the stencil, the others are matrices
        sizes = multilevel.grids((n, m))
        assert sizes[1] == (n // 2 + 1, m // 2 + 1) and len(sizes) > 2
        coarse = jnp.asarray(2.0 * planes(*sizes[1]))
        np.testing.assert_allclose(multilevel.refine(coarse, (n, m)), planes(n, m), atol=1e-12)
        for size, wanted in ((n, m // 2 + 1), (n, m)):
            assert multilevel.refine(coarse, (size, wanted)).shape == (size, wanted)
    block = RNG.normal(size=(3, 3, 19, 11))
    block = np.einsum("ijxy,kjxy->ikxy", block, block)
    inverse = jax.jit(multilevel.inverse)(block + 0.1 * np.eye(3)[:, :, None, None])
    exact = np.linalg.inv(np.moveaxis(block, (0, 1), (2, 3)) + 0.1 * np.eye(3))
    np.testing.assert_allclose(np.moveaxis(inverse, (0, 1), (2, 3)), exact, rtol=1e-8)


def drawn_surfaces(count, sigma=0.02):
    """Surfaces drawn from the prior of second differences, about a plane: white noise in its eigenvectors."""
    prior = fields.Smoothness(jnp.zeros(1), jnp.zeros(1), jnp.array([sigma**-2]))
    unit = jnp.eye(64).reshape(64, 1, 8, 8)
    columns = jax.jit(jax.vmap(lambda v: fields.prior_product(fields.weights(prior, 0 * v), v)))(unit)
    values, vectors = np.linalg.eigh(np.asarray(columns).reshape(64, 64))
    spread = np.where(values > 1e-6 * values[-1], 1 / np.sqrt(np.maximum(values, 1e-30)), 0)  # planes are free
    draws = np.random.default_rng(3).normal(size=(count, 64)) * spread @ vectors.T
    return 0.3 * K[:, None] + draws.reshape(count, 8, 8)


@pytest.mark.slow
def test_counts_give_the_band_and_its_errors():
    """Twelve surfaces drawn from the prior: RMS below the bound of single spectra, 68 % intervals, transposition."""
    truths = drawn_surfaces(12)
    off, inside = [], []
    for seed, truth in enumerate(truths):
        found = by_counts(volume(truth, 20.0, seed), truth + 0.15)
        off.append(found.energy.values[0] - truth)
        inside.append(abs(off[-1]) < found.error.values[0])
        assert found.converged
    assert np.sqrt(np.mean(np.square(off))) < 0.9 * single_spectrum_bound()  # smoothness helps
    assert 0.60 < np.mean(inside) < 0.76  # 768 points, some 300 of them independent: 68 ± 3 %
    data = volume(truths[0], 20.0, 0)
    turned = by_counts(data.transpose("ky", "kx", "energy").rename(kx="ky", ky="kx"), truths[0].T + 0.15)
    np.testing.assert_allclose(turned.energy.values[0].T, truths[0] + off[0], atol=1e-3)  # a tenth of an error


def single_spectrum_bound():
    """Standard error of the energy of one line of 20 counts on 2, heights known, from the Fisher information."""
    h = 1e-4
    mean = volume(np.zeros((1, 1)), 20.0, k=(K[:1], K[:1])).values
    slope = (volume(np.full((1, 1), h), 20.0, k=(K[:1], K[:1])).values - mean) / h
    return 1 / np.sqrt(np.sum(slope**2 / mean))


@pytest.mark.slow
def test_holes_are_filled_with_larger_errors():
    truth = paraboloid()
    data = volume(truth, 100.0, 1)
    data[2:4, 5] = np.nan
    found = by_counts(data, truth + 0.1, fill_missing=True, sigma_curvature=0.05)  # the surface's own is 0.08 and 0.05
    hole = np.zeros((8, 8), bool)
    hole[2:4, 5] = True
    error, off = found.error.values[0], abs(found.energy.values[0] - truth)
    assert error[hole].min() > 1.5 * np.median(error[~hole])
    assert np.all(off < 4 * error)
    mask = ~hole
    masked = by_counts(
        volume(truth, 100.0, 1), truth + 0.1, fill_missing=True, mask=mask, sigma_curvature=0.05, draws=3
    )
    assert masked.dataset["band_draws"].dims == ("draw", "band", "kx", "ky")
    np.testing.assert_allclose(masked.energy.values, found.energy.values, atol=1e-9)  # a mask is a hole


def quadratic_problem():
    """A data term with random Fisher matrices, two components on 6 × 5 pixels, and everything as dense matrices."""
    rng = np.random.default_rng(4)
    half = rng.normal(size=(2, 2, 6, 5))
    block = np.einsum("ikxy,jkxy->ijxy", half, half) * 100
    block[:, :, 2:4, 1:3] = 0  # a hole
    d = jnp.asarray(rng.normal(size=(2, 6, 5)) * 0.1)
    term = fields.Local(jnp.zeros(()), jnp.zeros_like(d), jnp.asarray(block))
    prior = SMOOTH._replace(point=jnp.array([0.3, 0.3]))
    unit = jnp.eye(60).reshape(60, 2, 6, 5)
    columns = jax.jit(jax.vmap(lambda v: fields.prior_product(fields.weights(prior, d), v)))(unit)
    stiff = np.asarray(columns).reshape(60, 60)
    fisher = np.asarray(jax.vmap(lambda v: fields.block_product(term.hessian, v))(unit)).reshape(60, 60)
    return term, prior, d, fisher, stiff


def test_the_two_parts_of_the_variance():
    term, prior, d, fisher, stiff = quadratic_problem()
    inverse = np.linalg.inv(fisher + stiff)
    wanted = np.diagonal(inverse @ fisher @ inverse), np.diagonal(inverse @ stiff @ inverse)
    exact = errors.variances(term, prior, d)
    for part, value in zip(exact[:2], wanted, strict=True):
        np.testing.assert_allclose(part.ravel(), value, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
def test_drawn_variances():
    term, prior, d, _, _ = quadratic_problem()
    exact, drawn = errors.variances(term, prior, d), errors._drawn(term, prior, d, 0)
    wanted = exact.noise.ravel(), exact.smoothing.ravel()
    np.testing.assert_allclose((drawn.noise + drawn.smoothing).ravel(), sum(wanted), rtol=0.5)
    ratio = (drawn.noise + drawn.smoothing).ravel() / sum(wanted)
    assert ratio.mean() == pytest.approx(1, abs=0.05)  # 60 of them, each to some 10 % from 64 draws
    share = wanted[0] / sum(wanted)
    np.testing.assert_allclose(
        (drawn.noise / (drawn.noise + drawn.smoothing)).ravel(), share, atol=0.25
    )  # 4 σ at a share of one half
    off = errors.deviations(term, prior, d, 64)
    spread = off.std(axis=0) / np.sqrt(exact.noise + errors.SMOOTHING * exact.smoothing)
    assert off.shape == (64, 2, 6, 5) and spread.mean() == pytest.approx(
        1, abs=0.06
    )  # 60 of them, each to 9 %, correlated


@pytest.mark.slow
def test_free_amplitudes_of_the_prior_are_a_joint_gaussian():
    """Step, covariance and the growth of the surfaces' variance against the dense matrix of surfaces and amplitudes together."""
    term, prior, d, fisher, stiff = quadratic_problem()
    modes = np.random.default_rng(5).normal(size=(2, 2, 6, 5))
    flat = modes.reshape(2, 60)
    joint = np.block([[fisher + stiff, -stiff @ flat.T], [-flat @ stiff, flat @ stiff @ flat.T]])
    covariance = np.linalg.inv(joint)
    found = prior_modes.step(term, prior, d, jnp.asarray(modes))
    np.testing.assert_allclose(found.covariance, covariance[60:, 60:], rtol=1e-4)  # conjugate gradients to 1e-5
    np.testing.assert_allclose(
        found.variance.ravel(), np.diagonal(covariance[:60, :60] - np.linalg.inv(fisher + stiff)), rtol=1e-3, atol=1e-9
    )
    slope = np.concatenate(
        [np.zeros(60), flat @ stiff @ np.asarray(d).ravel()]
    )  # at the optimum of x for the present mean
    np.testing.assert_allclose(found.amplitude, (covariance @ slope)[60:], rtol=1e-4)
    plane = (np.linspace(-0.37, 1.1, 6)[:, None] + np.linspace(-1, 0.3, 5))[None, None] * np.ones((1, 2, 1, 1))
    only = prior._replace(point=jnp.zeros(2), pair=jnp.zeros(2))
    np.testing.assert_array_equal(
        prior_modes.step(term, only, d, jnp.asarray(plane)).amplitude, 0
    )  # costs nothing: undetermined


@pytest.mark.slow
def test_the_scale_of_the_prior_comes_from_the_map():
    """A prior whose scale is 20 % off: its amplitude comes back within its error, and the errors of the surface hold."""
    shape = np.cos(2 * K)[:, None] + 0.5 * np.sin(3 * K)
    truth = 0.3 * shape - 0.1
    z, inside = [], []
    for seed in range(5):
        prior = 0.24 * shape[None]
        found = by_counts(
            volume(truth, 20.0, seed), truth + 0.05, prior=prior, prior_modes=[shape[None]], sigma_curvature=1e-4
        )
        error = np.sqrt(found.dataset["prior_amplitude_covariance"].values[0, 0])
        z.append((found.dataset["prior_amplitude"].values[0] - 0.06) / error)
        inside.append(np.mean(abs(found.energy.values[0] - truth) < 2 * found.error.values[0]))
    assert 0.3 < np.sqrt(np.mean(np.square(z))) < 2.1  # χ² of 5: 0.4 % on either side
    assert np.mean(inside) > 0.75  # 95 % expected, but one number moves a whole map


def test_a_cut_by_the_published_posterior():
    """N × 1, an odd N, from far off; the narrower sigma_pair, the flatter the band."""
    k = np.linspace(-1, 1, 11)
    truth = 0.6 * k**2 - 0.3
    data = volume(truth[:, None], k=(k, K[:1])).isel(ky=0, drop=True)
    spread = {}
    for sigma in (1.0, 0.02):
        found = reconstruct_bands(data, truth + 0.4, posterior="published", sigma_pair=sigma)
        assert found.energy.dims == ("band", "kx") and found.converged
        spread[sigma] = np.ptp(found.energy.values)
        if sigma == 1.0:
            np.testing.assert_allclose(found.energy.values[0], truth, atol=0.01)  # steps of 0.05 eV
    assert spread[0.02] < 0.8 * spread[1.0]


@pytest.mark.parametrize("shape", [(9, 6), (7, 1), (50, 41)])
@pytest.mark.slow
def test_any_grid_and_everything_chosen(shape):
    """Line and smoothness fitted, from a shifted start; the last grid takes the coarse stage."""
    k = tuple(np.linspace(-1, 1, n) for n in shape)
    truth = paraboloid(*k) if shape[1] > 1 else 0.5 * k[0][:, None] ** 2 - 0.2
    found = reconstruct_bands(volume(truth, 100.0, 2, k=k), (truth + 0.2)[None])
    assert np.sqrt(np.mean((found.energy.values[0] - truth) ** 2)) < 0.01
    assert found.dataset.attrs["line_sigma"] == pytest.approx(SIGMA, abs=0.02)
    assert found.dataset.attrs["sigma_curvature_by"] == "held-out counts"


@pytest.mark.slow
def test_labels_are_kept_through_a_crossing():
    k = np.linspace(-1, 1, 41)
    truth = np.stack([0.7 * k, -0.7 * k])[..., None]
    one, two = (volume(t, 100.0, k=(k, K[:1])).values for t in truth)
    data = volume(truth[0], k=(k, K[:1])).copy(data=np.random.default_rng(0).poisson(one + two).astype(float))
    found = reconstruct_bands(data.isel(ky=0, drop=True), 0.8 * truth[..., 0])
    assert np.sqrt(np.mean((found.energy.values - truth[..., 0]) ** 2)) < 0.01


def test_alignment_finds_offset_and_scale():
    truth = paraboloid()
    v = volumes.volume_of(volume(truth, 100.0, 0))
    found = choose.align(v, (truth[None] - 0.2) / 1.15, offset=0.4, energy_scale=1.3)
    assert found.offset == pytest.approx(0.2, abs=0.02)
    np.testing.assert_allclose(found.apply((truth[None] - 0.2) / 1.15, v)[0], truth, atol=0.03)


def test_thinning_splits_counts():
    counts = RNG.poisson(20, (5, 4, 30)).astype(float)
    train, held = choose.thinned(counts, 0)
    np.testing.assert_array_equal(train + held, counts)
    assert held.sum() / counts.sum() == pytest.approx(choose.HELD_OUT, abs=0.02)  # 3 σ of 12,000 counts


def test_symmetrisation_about_a_found_centre():
    k = np.linspace(-1, 1, 21)
    x, y = np.meshgrid(k - 0.1, k + 0.05, indexing="ij")
    surface = 0.4 * (x**2 + y**2) - 0.4
    data = volumes.volume_of(volume(surface, 100.0, 0, k=(k, k)))
    out, done = preprocess(data, Preprocessing(rotational=4, mirror="kx"))
    centre = [float(c) for c in done["preprocessing_centre"].split(",")]
    np.testing.assert_allclose(centre, [0.1, -0.05], atol=0.02)
    mean = volume(surface, 100.0, k=(k, k)).values
    inner = (slice(5, 15), slice(5, 15))
    assert np.std((out.counts - mean)[inner]) < 0.6 * np.std((data.counts - mean)[inner])  # eight images
    tilted = volumes.volume_of(volume(0.6 * x, 100.0, 0, k=(k, k)))
    with pytest.raises(ValueError, match=r"4-fold rotation.*differs.*by 0\.\d+ of its norm"):
        preprocess(tilted, Preprocessing(rotational=4, centre=(0.0, 0.0)))


FLAT = volume(paraboloid())
START = paraboloid()[None]
GRID = xr.DataArray(START, dims=("band", "kx", "ky"), coords={"kx": 2 * K, "ky": K})
REFUSED = {
    "no energies": (lambda: reconstruct_bands(FLAT.isel(energy=0), START), "'energy' and one or two others"),
    "negative values": (lambda: reconstruct_bands(FLAT - 10, START), "counts ≥ 0.*negative"),
    "more bands than energies hold": (lambda: reconstruct_bands(FLAT, np.repeat(START, 11, 0)), "at most 10 bands.*40 energies.*has 11"),
    "start outside the window": (lambda: reconstruct_bands(FLAT, START + 5), "energy window.*-1 to 1 eV.*band 0.*64 of 64"),
    "another shape": (lambda: reconstruct_bands(FLAT, START[:, :5]), r"`initial`.*shape \(8, 8\).*\(1, 5, 8\)"),
    "another grid": (lambda: reconstruct_bands(FLAT, GRID), "`initial`.*grid of the map.*'kx'.*from -2 to 2"),
    "NaN in the start": (lambda: reconstruct_bands(FLAT, START * np.nan), "`initial` must be finite"),
    "everything masked": (lambda: reconstruct_bands(FLAT, START, mask=np.zeros((8, 8), bool)), "zero, NaN or masked"),
    "mask of another shape": (lambda: reconstruct_bands(FLAT, START, mask=np.ones(8, bool)), r"`mask`.*\(8, 8, 40\)"),
    "prior with other bands": (
        lambda: reconstruct_bands(FLAT, START, prior=np.repeat(START, 2, 0)), "`prior`.*1 bands of `initial`.*has 2"
    ),
    "a spectrum without data": (
        lambda: reconstruct_bands(FLAT.where(FLAT.kx != K[2]), START), "8 of 64 are all NaN.*kx = -0.4286, ky = -1; fill_missing=True"
    ),
    "modes of no prior": (lambda: reconstruct_bands(FLAT, START, prior_modes=[START]), "`prior_modes` needs `prior`"),
    "modes with other bands": (
        lambda: reconstruct_bands(FLAT, START, prior=START, prior_modes=[np.repeat(START, 2, 0)]), "`prior_modes` must have the 1 bands.*has 2"
    ),
    "draws of the other posterior": (
        lambda: reconstruct_bands(FLAT, START, posterior="published", draws=3), '`draws` belongs to posterior="counts"'
    ),
    "width of no prior": (lambda: reconstruct_bands(FLAT, START, sigma_prior=0.1), "`sigma_prior` needs `prior`"),
    "prior of the other posterior": (
        lambda: reconstruct_bands(FLAT, START, posterior="published", prior=START), '`prior` belongs to posterior="counts"'
    ),
    "unknown posterior": (lambda: reconstruct_bands(FLAT, START, posterior="count"), "`posterior`.*'count'.*'counts'"),
    "width of zero": (lambda: reconstruct_bands(FLAT, START, sigma_pair=0.0), "`sigma_pair` must be > 0"),
    "fractions, smoothness unknown": (
        lambda: reconstruct_bands(FLAT, START, posterior="published"), "whole counts only.*give `sigma_pair`"
    ),
    "rotation of a cut": (
        lambda: reconstruct_bands(
            FLAT.isel(ky=0, drop=True), START[..., 0], posterior="published", sigma_pair=1.0, preprocessing=Preprocessing(rotational=3)
        ),
        "`preprocessing.rotational` needs two axes",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case):
    call, words = REFUSED[case]
    with pytest.raises(ValueError, match=f"(?s){words}"):
        call()


@pytest.mark.slow
def test_expected_counts_leave_noise():
    """Their residual is what the fit says of itself, on a slope of background and with a Fermi edge; figures show it."""
    edge = 1 / (1 + np.exp((ENERGY - 0.5) / 0.05))
    data = volume(paraboloid(), 60.0)
    data = data.copy(data=np.random.default_rng(3).poisson((data.values + 3 * ENERGY + 3) * edge).astype(float))
    found = by_counts(data, paraboloid() + 0.05, background=2, fermi_edge=edge)
    assert found.dataset.attrs["energy_binning"] == 1
    expected, left = expected_counts(found.dataset, data["energy"]), residual(data, found.dataset)
    several = expected.values > 1
    assert (left.values[several] ** 2).mean() == pytest.approx(
        found.dataset.attrs["reduced_chi2"], rel=1e-4
    )  # as the fit's Voigt
    assert 0.8 < found.dataset.attrs["reduced_chi2"] < 1.2 and expected.dims == data.dims
    figure = plot_slices(data, found.dataset)
    assert len(figure.axes) == 3 and any(abs(float(a.get_title().split()[2])) < 0.04 for a in figure.axes)
    assert len(plot_residual(data, found.dataset).axes) == 4
    with pytest.raises(ValueError, match="lacks height, background"):
        expected_counts(found.dataset[["band_energy"]], data["energy"])


@pytest.mark.slow
def test_the_command(tmp_path, capsys):
    truth = paraboloid()
    data = volume(truth, 100.0, 5)
    data.rename("intensity").to_netcdf(tmp_path / "map.nc", engine="h5netcdf")
    start = xr.DataArray(
        truth[None] + 0.1, dims=("band", "kx", "ky"), coords={"kx": data.kx, "ky": data.ky}, name="band_energy"
    )
    start.to_netcdf(tmp_path / "start.nc", engine="h5netcdf")
    given = ["--sigma-curvature", "0.02", "--line", str(SIGMA), str(ETA)]
    arguments = [
        "reconstruct",
        tmp_path / "map.nc",
        "--initial",
        tmp_path / "start.nc",
        "-o",
        tmp_path / "found.nc",
        *given,
    ]
    assert main([*map(str, arguments), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["converged"] == 1 and told["sigma_curvature_by"] == "given"
    found = xr.open_dataset(tmp_path / "found.nc", engine="h5netcdf")
    off = found.band_energy.transpose("band", "kx", "ky").values[0] - truth
    assert np.sqrt(np.mean(off**2)) < 0.01 and found.band_error.max() < 0.05
    assert found.attrs["date"] and json.loads(found.attrs["config"])["sigma_curvature"] == 0.02
    assert (tmp_path / "found.png").stat().st_size > 10_000
    assert main(["reconstruct", str(tmp_path / "map.nc"), "-o", str(tmp_path / "again.nc")]) == 2
    assert re.search("--initial.*--model", capsys.readouterr().err)


def test_bands_of_a_model_count_once_within_the_resolution_of_the_map(tmp_path):
    """Valence bands of Si along a cut: spin pairs and what lies within the resolution are one; below it they are told apart."""
    k = np.linspace(-0.3, 0.3, 7)
    data = xr.DataArray(np.ones((7, 30)), dims=("kx", "energy"), coords={"kx": k, "energy": np.linspace(-4, 1, 30)})
    found = {}
    for resolution in (0.005, 0.5):
        config = tmp_path / f"{resolution}.toml"
        config.write_text(
            '[model]\nmaterial = "Si"\ntable = "vogl1983"\nspin_orbit = true\n[instrument]\nphoton_energy = 100.0\nescape_depth = 10.0\n'
            f'fwhm_energy = {resolution}\n[parameters]\nfree = ["fermi_energy", "brightness_x"]\n'
        )
        found[resolution] = model_bands(str(config), data, None)
    narrow, wide = found[0.005], found[0.5]
    assert wide.attrs["merged"] > narrow.attrs["merged"] == 10 and wide.attrs["merged_below"] == 0.5  # spin pairs
    assert narrow.sizes["band"] > wide.sizes["band"]


def test_errors_are_finite_where_a_pixel_curves_the_other_way():
    """The published posterior's own curvature can be negative: small and large grids both take its modulus."""
    hessian = jnp.full((1, 1, 6, 6), 4.0).at[0, 0, 2, 3].set(-30.0)
    found = fields.Local(jnp.zeros(()), jnp.zeros((1, 6, 6)), hessian)
    prior = fields.Smoothness(jnp.zeros(1), jnp.ones(1), jnp.zeros(1))
    dense = errors._dense(found, prior, jnp.zeros((1, 6, 6)))
    total = dense.noise + dense.smoothing
    assert np.isfinite(total).all() and (dense.noise > 0).all()
    drawn = errors._drawn(found, prior, jnp.zeros((1, 6, 6)), 0)
    np.testing.assert_allclose(drawn.noise + drawn.smoothing, total, rtol=0.3)  # 64 draws
