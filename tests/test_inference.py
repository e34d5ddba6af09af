"""Parameters, likelihoods, solver, projection and error estimates: each against something that is not the fit itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from scipy.optimize import lsq_linear

import bandjax as bj
from bandjax.inference import Known, bands_along_cut
from bandjax.inference.descent import Descent
from bandjax.inference.least_squares import minimise
from bandjax.inference.likelihood import Likelihood, cost_and_score, noise_scale, pixel_variance
from bandjax.inference.linear import (
    FreeWeights,
    averaged_basis,
    background_basis,
    project,
    project_out,
    solve_nonnegative,
    spline_basis,
    weight_basis,
)
from bandjax.inference.parameters import Parameter, all_values, free_values, make_transform, start_vector
from bandjax.inference.problem import Objective, make_objective, observed, prepare
from bandjax.inference.uncertainty import (
    block_bootstrap,
    covariance_of,
    degeneracy_report,
    local_misfit,
    residual_tests,
)

AXES = {"kx": np.linspace(-0.5, 0.5, 14), "energy": np.linspace(-3.0, 3.0, 30)}


def square_problem(**changes):
    """A one-orbital square lattice: three hoppings, cheap enough for many fits."""
    table = bj.load_parameters("square", "single_orbital")
    atoms = bj.square_lattice()
    instrument = bj.Instrument(
        photon_energy=40.0, fermi_energy=0.0, eta=0.1, fwhm_energy=0.08, fwhm_momentum=0.02, gain=40.0, background=2.0,
        temperature=5000.0 / 5, photon_momentum=False,
    )  # fmt: skip
    parameters = {
        "t": Parameter(float(table["t"])), "t'": Parameter(float(table["t'"])), "t''": Parameter(float(table["t''"]), fixed=True),
        "epsilon": Parameter(0.0, fixed=True), **bj.instrument_parameters(instrument, {"eta": 0.05, "gain": None}),
    }  # fmt: skip
    options = {"broadening": (0.3,), "inflate": False, **changes}
    return table, atoms, instrument, parameters, options


def simulate(atoms, table, instrument, seed=0, axes=AXES):
    model = bj.tight_binding(atoms, table, spin_orbit=False)
    mean = np.asarray(bj.arpes_image(model, instrument, axes, kz_points=1))
    counts = np.random.default_rng(seed).poisson(mean).astype(float)
    return xr.DataArray(counts, dims=tuple(axes), coords=axes)


def problem_of(parameters, atoms, table, instrument, options):
    return bj.Problem(bj.table_model(atoms, table, spin_orbit=False), parameters, instrument, **options)


@pytest.mark.parametrize(
    "parameter",
    [
        Parameter(2.0, sigma=0.3),
        Parameter(0.4, lower=0.0, sigma=0.2),
        Parameter(0.7, lower=0.0, upper=1.0, sigma=0.1),
        Parameter(-3.0),
        Parameter(-0.4, upper=0.0, sigma=0.2),
    ],
)
def test_transform_goes_there_and_back(parameter):
    transform = make_transform({"x": parameter})
    for value in (parameter.value, parameter.value * 0.9, parameter.value * 1.2):
        u = start_vector(transform, {"x": value})
        assert np.allclose(free_values(transform, jnp.asarray(u)), value, rtol=1e-12)
    assert np.allclose(start_vector(transform), 0.0, atol=1e-12)
    slope = jax.jacfwd(lambda u: free_values(transform, u))(jnp.zeros(1))[0, 0]
    far = [float(free_values(transform, jnp.array([u]))[0]) for u in (-30.0, 30.0)]
    assert parameter.lower <= min(far) and max(far) <= parameter.upper
    assert np.isclose(slope, transform.scale[0])  # one unit of u moves the parameter by its scale at the start


def test_ties_and_fixed_values():
    transform = make_transform(
        {"a": Parameter(2.0), "b": Parameter(0.0, tied=("a", -1.5)), "c": Parameter(7.0, fixed=True)}
    )
    values = all_values(transform, jnp.array([3.0]))
    assert transform.names == ("a",)
    assert {k: float(v) for k, v in values.items()} == {"a": 3.0, "b": -4.5, "c": 7.0}


@pytest.mark.parametrize("kind", ["poisson", "scaled"])
def test_score_is_the_derivative_of_the_cost(kind):
    rng = np.random.default_rng(0)
    mean = jnp.asarray(np.concatenate([rng.uniform(0.5, 20, 30), [-0.3, 0.01, 0.0]]))
    data, weight = jnp.asarray(rng.poisson(5, 33).astype(float)), jnp.asarray(rng.uniform(0.5, 2, 33))
    score, slope = jax.jit(
        lambda m: (
            cost_and_score(kind, m, data, weight)[1],
            jax.grad(lambda n: cost_and_score(kind, n, data, weight)[0])(m),
        )
    )(mean)
    assert np.allclose(score, slope, rtol=1e-9, atol=1e-9)


def test_poisson_cost_is_the_textbook_one():
    mean, data = jnp.array([3.0, 8.0]), jnp.array([5.0, 6.0])
    other = jnp.array([4.0, 7.0])
    difference = (
        cost_and_score("poisson", mean, data, jnp.ones(2))[0] - cost_and_score("poisson", other, data, jnp.ones(2))[0]
    )
    expected = np.sum(mean - data * np.log(mean)) - np.sum(other - data * np.log(other))
    assert np.isclose(difference, expected, rtol=1e-12)


def test_noise_is_measured_from_the_data():
    x, e = np.linspace(-1, 1, 80), np.linspace(-2, 0, 120)
    smooth = 400 * (1 + np.exp(-((x[:, None] - 0.3 * e) ** 2) / 0.1))
    data = smooth + np.random.default_rng(1).normal(size=smooth.shape) * np.sqrt(2.5 * smooth)
    mask = np.ones_like(data, bool)
    assert noise_scale(data, mask) == pytest.approx(2.5, rel=0.1)  # 9,600 pixels: the median is good to a few per cent
    variance, same = pixel_variance(data, mask, Likelihood("scaled"), e)
    assert variance is same
    assert np.mean((data - smooth) ** 2 / variance) == pytest.approx(1.0, rel=0.1)


def test_band_error_covers_a_band_that_is_that_far_off():
    """A line moved by 30 meV differs from itself by about one standard deviation of the widened noise."""
    x, e = np.linspace(-1, 1, 60), np.linspace(-2, 0, 200)
    line = lambda shift: 100 + 5000 / (1 + ((e[None, :] + 1 + 0.6 * x[:, None] - shift) / 0.15) ** 2)  # noqa: E731
    noise, variance = pixel_variance(
        line(0.0), np.ones((60, 200), bool), Likelihood("scaled", scale=1.0, band_error=0.03), e
    )
    ratio = (line(0.03) - line(0.0)) ** 2 / (variance - noise)
    steep = variance > 10 * noise
    assert 0.2 < steep.mean() < 0.8
    assert np.median(ratio[steep]) == pytest.approx(1.0, abs=0.35)  # smoothing and curvature of the line


def test_noise_is_measured_where_most_of_the_map_is_dark():
    """Poisson counts, a third of the map a hundred times brighter than the rest."""
    mean = np.where(np.linspace(0, 1, 120)[None, :] < 0.37, 1000.0, 10.0) * np.ones((80, 1))
    data = np.random.default_rng(2).poisson(mean).astype(float)
    assert noise_scale(data, np.ones_like(data, bool)) == pytest.approx(1.0, rel=0.15)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"broadening": (-0.4,)}, "`broadening` must be > 0"),
        ({"kz_points": 0}, "`kz_points` must be a whole number"),
        ({"block": 0}, "`block` must be a whole number"),
        ({"window": 0.01}, "`window` must leave levels"),
    ],
)
def test_options_that_are_no_such_thing(options, sentence):
    table, atoms, instrument, parameters, others = square_problem(**options)
    data = simulate(atoms, table, instrument)
    data = data.assign_coords(energy=data.energy + (20.0 if "window" in options else 0.0))
    with pytest.raises(ValueError, match=sentence):
        prepare(data, problem_of(parameters, atoms, table, instrument, others))


def test_bands_along_a_cut_count_from_the_origin():
    """Graphene around K: the Dirac point lies at kx = 0 of a map that is centred there."""
    atoms, table = bj.graphene(), bj.load_parameters("graphene", "pz")
    corner = 4 * np.pi / (3 * 2.46)
    instrument = bj.Instrument(photon_energy=60.0, slit=(1, 0, 0), origin=(corner, 0.0), photon_momentum=False)
    model = bj.tight_binding(atoms, table, spin_orbit=False)
    away = bands_along_cut(model, instrument.replace(origin=(0.0, 0.0)), np.array([corner]))[0]
    found = bands_along_cut(model, instrument, np.array([0.0]))[0]
    np.testing.assert_allclose(found, away, atol=1e-6)
    assert np.ptp(found) < 0.3 < np.ptp(bands_along_cut(model, instrument, np.array([0.4]))[0])


def test_nonnegative_solution_agrees_with_scipy():
    rng = np.random.default_rng(3)
    design, target = rng.normal(size=(60, 14)), rng.normal(size=60)
    bounded = np.arange(14) < 10
    c, free = solve_nonnegative(jnp.asarray(design.T @ design), jnp.asarray(design.T @ target), jnp.asarray(bounded))
    reference = lsq_linear(design, target, bounds=(np.where(bounded, 0.0, -np.inf), np.inf), tol=1e-14).x
    assert np.allclose(c, reference, atol=1e-7)
    assert (np.asarray(c)[bounded] >= 0).all() and not bool(np.asarray(free)[bounded].all())


def test_what_the_data_do_not_measure_stays_where_it_is():
    """A parameter without any curvature: finite steps and promise, and the others go on to their minimum."""

    def linearise(u):
        return 0.5 * (u[0] - 3) ** 2, jnp.array([u[0] - 3, 0.0]), jnp.diag(jnp.array([1.0, 0.0]))

    found = minimise(linearise, jnp.array([0.0, 0.7]))
    np.testing.assert_allclose(found.u, [3.0, 0.7], atol=0.02)
    assert np.isfinite(found.decrement)


def test_a_stiff_valley_is_not_called_an_optimum():
    """Least squares of (1e4 (y − x²), 3 (1 − x)) from far off: small gains of stiff steps are no convergence."""

    def rows(u):
        return jnp.array([1e4 * (u[1] - u[0] ** 2), 3 * (1 - u[0])])

    def linearise(u, obs, width):
        r, j = rows(u), jax.jacfwd(rows)(u)
        return 0.5 * r @ r, r @ j, j.T @ j

    class Nowhere:
        def save(self, saved):
            pass

    objective = Objective(lambda u, *_: 0.5 * jnp.sum(rows(u) ** 2), linearise, None, None, None)
    descent = Descent(objective, None, Nowhere(), [])
    state = descent.run(jnp.array([-1.2, 1.44]), [], 0, 5e-3, 3)
    assert float(state.cost) > 1 and not state.done and not descent.idle


def test_splines_sum_to_one():
    assert np.allclose(spline_basis(np.linspace(-3, 4, 50), 9).sum(axis=0), 1.0)


def test_minimiser_finds_the_rosenbrock_minimum():
    def linearise(u):
        residual = lambda v: jnp.stack([10 * (v[1] - v[0] ** 2), 1 - v[0]])  # noqa: E731
        r, j = residual(u), jax.jacfwd(residual)(u)
        return 0.5 * r @ r, j.T @ r, j.T @ j

    starts = jnp.array([[-1.2, 1.0], [2.0, -3.0], [0.3, 0.8]])
    found = jax.jit(jax.vmap(lambda u: minimise(linearise, u, max_steps=100, tolerance=1e-12)))(starts)
    assert bool(found.done.all())
    assert np.allclose(found.u, 1.0, atol=1e-5)


def bottom(model):
    """Lowest level at Γ: ε − 4t − 4t′ − … of the square lattice."""
    return bj.bands(model, jnp.zeros((1, 3)))[0, 0]


@pytest.mark.parametrize("known", [(), (Known("bottom", bottom, -1.0, 0.01),)])
def test_gradient_and_fisher_of_the_objective(known):
    table, atoms, instrument, parameters, options = square_problem(known=known)
    data = simulate(atoms, table, instrument)
    problem = problem_of(parameters, atoms, table, instrument, options)
    parts, transform = prepare(data, problem)
    objective = make_objective(problem, parts, transform)
    obs = [observed(parts[0])]
    u = jnp.asarray(np.random.default_rng(0).normal(size=len(transform.names)) * 0.3)
    _, gradient, fisher = objective.linearise(u, obs, jnp.asarray(0.0))
    cost = jax.jit(lambda v: objective.cost(v, obs, jnp.asarray(0.0)))
    predict = jax.jit(lambda v: objective.predict(v, obs, 0.0)[0][0])
    values = jax.jit(lambda v: free_values(transform, v))
    numeric = np.array([(cost(u + h) - cost(u - h)) / 2e-5 for h in 1e-5 * np.eye(u.size)])
    assert np.abs(numeric).max() > 1
    assert np.allclose(gradient, numeric, rtol=1e-5, atol=1e-4 * np.abs(numeric).max())
    jacobian = np.array([
        (np.asarray(predict(u + h)) - np.asarray(predict(u - h))).ravel() / 2e-5 for h in 1e-5 * np.eye(u.size)
    ])  # fmt: skip
    mean = np.asarray(predict(u)).ravel()
    assert mean.min() > 0.05  # below, the Poisson −log L is continued as a parabola
    slope = np.array([np.asarray(values(u + h) - values(u - h)) / 2e-5 for h in 1e-5 * np.eye(u.size)])
    expected = (jacobian / mean) @ jacobian.T + (slope / transform.sigma**2) @ slope.T
    for number in known:
        at = jax.jit(lambda v: number.of(problem.model_of(all_values(transform, free_values(transform, v)))))  # noqa: B023
        row = np.array([(at(u + h) - at(u - h)) / 2e-5 for h in 1e-5 * np.eye(u.size)]) / number.sigma
        assert np.outer(row, row).max() > 0.01 * np.abs(expected).max()
        expected += np.outer(row, row)
    assert np.allclose(fisher, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())


@pytest.mark.slow
def test_gradient_with_projected_weights():
    """The cost with the linear nuisances at their best has the derivative that `linearise` states."""
    table, atoms, instrument, parameters, options = square_problem(
        weights=FreeWeights(lateral=5, energy=4, background_lateral=3, background_step=1.5), method="grid"
    )
    parameters = {n: p for n, p in parameters.items() if n != "gain"}
    data = simulate(atoms, table, instrument)
    problem = problem_of(parameters, atoms, table, instrument, {**options, "likelihood": Likelihood("scaled")})
    parts, transform = prepare(data, problem)
    objective = make_objective(problem, parts, transform)
    obs = [observed(parts[0])]
    u = jnp.full(len(transform.names), 0.2)
    gradient = objective.linearise(u, obs, jnp.asarray(0.0))[1]
    cost = jax.jit(objective.cost)
    numeric = np.array([(cost(u + h, obs, 0.0) - cost(u - h, obs, 0.0)) / 2e-4 for h in 1e-4 * np.eye(u.size)])
    assert np.abs(numeric).max() > 1
    assert np.allclose(gradient, numeric, atol=1e-5 * np.abs(numeric).max())


def test_fit_recovers_the_truth_within_errors_and_reports():
    """Simulated by the fitted model (inverse crime): solver and errors, not physics."""
    table, atoms, instrument, parameters, options = square_problem()
    data = simulate(atoms, table, instrument, seed=4)
    start = {**parameters, "t": parameters["t"]._replace(value=0.44), "t'": parameters["t'"]._replace(value=-0.09)}
    result = bj.fit(data, problem_of(start, atoms, table, instrument, options), bootstrap_draws=100)
    assert result.converged
    for name in ("t", "t'"):
        assert abs(result.values[name] - float(table[name])) < 4 * result.errors[name]
        assert 0.5 < result.bootstrap[name] / result.errors[name] < 2.0
    assert result.maps["map"].tests.reduced_chi2 == pytest.approx(1.0, abs=0.2)  # 420 pixels: ±0.07
    assert any("chi" in sentence for sentence in result.report)


def test_nodes_resolve_the_narrowest_momentum_resolution_of_a_fit():
    table, atoms, instrument, parameters, options = square_problem(method="grid")
    data = simulate(atoms, table, instrument)
    fixed, _ = prepare(data, problem_of(parameters, atoms, table, instrument, options))
    parameters |= bj.instrument_parameters(instrument, ("fwhm_momentum",))
    free, transform = prepare(data, problem_of(parameters, atoms, table, instrument, options))
    steps = [float(np.diff(p[0].plan.kx)[0]) for p in (free, fixed)]
    assert steps[0] == pytest.approx(0.7 * steps[1])
    assert transform.lower[transform.names.index("fwhm_momentum")] == pytest.approx(0.7 * 0.02)


@pytest.mark.slow
def test_what_is_known_of_the_model_enters_the_fit():
    """A number said to be known to 1 meV is met, its own error shrinks, and the report says what it was fitted as."""
    table, atoms, instrument, parameters, options = square_problem(
        derived=lambda model, _: {"bottom": float(bottom(model))}
    )
    data = simulate(atoms, table, instrument, seed=4)
    value = float(bottom(bj.tight_binding(atoms, table, spin_orbit=False))) - 5e-3
    free = bj.fit(data, problem_of(parameters, atoms, table, instrument, options), bootstrap_draws=50)
    options |= {"known": (Known("bottom", bottom, value, 1e-3),)}
    told = bj.fit(data, problem_of(parameters, atoms, table, instrument, options), bootstrap_draws=50)
    assert float(bottom(told.model())) == pytest.approx(value, abs=3e-3)  # the data pull it back
    assert float(bottom(free.model())) - value > 5e-3
    for error, before in zip(told.derived["bottom"][1:], free.derived["bottom"][1:], strict=True):
        assert 0.5e-3 < error < 1.05e-3 < before  # Laplace and bootstrap
    assert any(s.startswith("bottom is fitted as") for s in told.report)
    with pytest.raises(ValueError, match=r"known.bottom.*> 0"):
        prepare(
            data,
            problem_of(parameters, atoms, table, instrument, options | {"known": (Known("bottom", bottom, 0, 0),)}),
        )


def test_joint_fit_shares_and_separates():
    table, atoms, instrument, parameters, options = square_problem()
    cold, warm = simulate(atoms, table, instrument, 1), simulate(atoms, table, instrument.replace(eta=0.2), 2)
    parameters = {n: p for n, p in parameters.items() if n != "eta"}
    parameters |= {"cold.eta": Parameter(0.12, 0.001, 1.0), "warm.eta": Parameter(0.16, 0.001, 1.0)}
    joint = bj.fit(
        {"cold": cold, "warm": warm}, problem_of(parameters, atoms, table, instrument, options), bootstrap_draws=0
    )
    assert abs(joint.values["cold.eta"] - 0.1) < 4 * joint.errors["cold.eta"]
    assert abs(joint.values["warm.eta"] - 0.2) < 4 * joint.errors["warm.eta"]
    assert set(joint.maps) == {"cold", "warm"}


@pytest.mark.slow
def test_maps_of_different_crystals_share_what_has_one_name():
    """The same table stretched: the second map is told from its own model, the hoppings from both."""
    table, atoms, instrument, parameters, options = square_problem()
    wide = atoms.copy()
    wide.set_cell(atoms.cell * 1.04, scale_atoms=True)
    models = {
        name: bj.table_model(crystal, table, spin_orbit=False) for name, crystal in (("narrow", atoms), ("wide", wide))
    }
    maps = {name: simulate(crystal, table, instrument, 1) for name, crystal in (("narrow", atoms), ("wide", wide))}
    assert np.abs(maps["narrow"] - maps["wide"]).max() > 20  # counts: the maps do differ
    found = bj.fit(maps, bj.Problem(models, parameters, instrument, **options), bootstrap_draws=0)
    for name in ("t", "t'"):
        assert abs(found.values[name] - float(table[name])) < 4 * found.errors[name]
    assert all(0.8 < m.tests.reduced_chi2 < 1.2 for m in found.maps.values())
    assert found.model("wide").cell[0, 0] == pytest.approx(1.04 * found.model().cell[0, 0])
    with pytest.raises(
        ValueError, match=r"`model_of` must have one entry for each map \(narrow, wide\), but has narrow"
    ):
        bj.fit(maps, bj.Problem({"narrow": models["narrow"]}, parameters, instrument, **options))


@pytest.mark.slow
def test_masked_pixels_do_not_matter():
    table, atoms, instrument, parameters, options = square_problem()
    data = simulate(atoms, table, instrument, 5)
    spoiled = data.copy()
    spoiled[3:6, 10:14] = np.nan
    poisoned = data.copy()
    poisoned[3:6, 10:14] = 1e6
    problem = problem_of(parameters, atoms, table, instrument, options)
    a = bj.fit(spoiled, problem, bootstrap_draws=0)
    b = bj.fit(poisoned.where(spoiled.notnull()), problem, bootstrap_draws=0)
    assert a.values == b.values
    assert a.values["t"] != bj.fit(data, problem, bootstrap_draws=0).values["t"]
    parts, transform = prepare(spoiled, problem)
    objective, u = make_objective(problem, parts, transform), jnp.asarray(start_vector(transform))
    other = parts[0]._replace(data=np.where(parts[0].fitted, parts[0].data, 1e6))
    for width in (0.0, 0.3):
        seen = [[observed(p, broadening=width)] for p in (parts[0], other)]
        assert objective.cost(u, seen[0], jnp.asarray(width)) == objective.cost(u, seen[1], jnp.asarray(width))


@pytest.mark.slow
def test_interrupted_fit_goes_on(tmp_path):
    table, atoms, instrument, parameters, options = square_problem()
    data = simulate(atoms, table, instrument, 6)
    start = {**parameters, "t": parameters["t"]._replace(value=0.45)}
    problem = problem_of(start, atoms, table, instrument, options)
    whole = bj.fit(data, problem, bootstrap_draws=0)

    def stop(entry):
        if entry["stage"] == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bj.fit(data, problem, bootstrap_draws=0, progress=stop, state_file=tmp_path / "state.npz")
    resumed = bj.fit(data, problem, bootstrap_draws=0, state_file=tmp_path / "state.npz")
    assert resumed.history[0]["cost"] == whole.history[0]["cost"]  # the first part's trials are kept
    assert resumed.values["t"] == pytest.approx(whole.values["t"], abs=1e-3 * whole.errors["t"] + 1e-6)


def test_held_out_pixels_are_not_fitted():
    table, atoms, instrument, parameters, options = square_problem(held_out=0.2)
    data = simulate(atoms, table, instrument, 7)
    parts, _ = prepare(data, problem_of(parameters, atoms, table, instrument, options))
    assert 0.05 < parts[0].held.mean() < 0.4 and not (parts[0].held & parts[0].fitted).any()
    assert float(observed(parts[0]).weight[parts[0].held].max()) == 0.0


def test_singular_fisher_is_put_into_words():
    fisher = np.array([[2.0, 2.0, 0.1], [2.0, 2.0, 0.1], [0.1, 0.1, 1.0]])
    covariance, sentences = covariance_of(fisher, ("epsilon", "fermi_energy", "t"))
    assert len(sentences) == 1 and "epsilon and fermi_energy" in sentences[0]
    assert np.isinf(covariance[0, 0]) and np.isfinite(covariance[2, 2])


def test_degeneracies_are_put_into_words():
    covariance = np.array([[1.0, -0.95, 0.0], [-0.95, 1.0, 0.0], [0.0, 0.0, 0.97]])
    report = degeneracy_report(covariance, ("U", "gamma1", "z"), np.array([np.inf, np.inf, 1.0]))
    assert any(s.startswith("U and gamma1 are 95% anticorrelated") for s in report)
    assert any(s.startswith("z is known from its prior only") for s in report)
    assert len(report) == 2


def test_residual_correlation_is_seen():
    rng = np.random.default_rng(0)
    white = rng.normal(size=(60, 60))
    everywhere = np.ones((60, 60), bool)
    plain = residual_tests(white, everywhere, ~everywhere, 3, white)
    smooth = (white[:-1] + white[1:])[:-1, :-2] / np.sqrt(2)
    kept = np.ones_like(smooth, bool)
    correlated = residual_tests(smooth, kept, ~kept, 3, smooth)
    assert plain.correlated_pixels == pytest.approx(1.0, abs=0.2)
    assert correlated.correlation[0] == pytest.approx(0.5, abs=0.06)
    assert correlated.correlated_pixels == pytest.approx(2.0, abs=0.3)  # 1 + 2 · 1/2


def test_block_bootstrap_of_a_mean():
    """The mean of n pixels: the bootstrap's variance is σ²/n."""
    noise = np.random.default_rng(0).normal(size=(40, 40)) * 3
    score = (noise.mean() - noise).reshape(-1, 1)
    covariance = block_bootstrap([score], [(40, 40)], np.array([[1600.0]]), np.zeros(1), np.zeros((1, 1)), 4, 400, 0)
    assert covariance[0, 0] == pytest.approx(9 / 1600, rel=0.4)  # 100 blocks and 400 draws


def test_block_bootstrap_keeps_the_width_of_a_prior():
    """Without data the spread is the prior's own."""
    covariance = block_bootstrap(
        [np.zeros((64, 1))], [(8, 8)], np.array([[25.0]]), np.zeros(1), np.array([[5.0]]), 4, 2000, 0
    )
    assert covariance[0, 0] == pytest.approx(1 / 25, rel=0.1)  # 2,000 draws: ±3 %


def test_background_basis_follows_a_step():
    energy, pixel = np.linspace(-8, 0, 150), np.linspace(-6, 6, 20)
    step = np.broadcast_to(1 / (1 + np.exp((energy + 4.3) / 0.15)), (20, 150)).ravel()
    basis = dense(background_basis(FreeWeights(), pixel, energy))
    fitted = basis @ np.linalg.lstsq(basis, step, rcond=None)[0]
    assert np.abs(fitted - step).max() < 0.05


def dense(smooth):
    """The functions of a basis, (pixel × energy, coefficient)."""
    return np.einsum("ap,be->peab", smooth.lateral, smooth.along).reshape(-1, smooth.size)


@pytest.mark.slow
def test_projection_is_the_dense_least_squares():
    """Sums that factorise against the design matrix written out: coefficients, cost and the projected Jacobian."""
    rng = np.random.default_rng(8)
    pixel, energy = np.linspace(-1, 1, 17), np.linspace(-3, 0, 23)
    free = FreeWeights(lateral=6, energy=5, background_step=0.8)
    bases = (
        weight_basis(free, pixel, energy),
        averaged_basis(free, pixel, energy),
        background_basis(free, pixel, energy),
    )
    images = jnp.asarray(np.concatenate([rng.uniform(0.2, 2, (2, 17, 23)), np.ones((1, 17, 23))]))
    data, weight = jnp.asarray(rng.uniform(1, 5, (17, 23))), jnp.asarray(rng.uniform(0, 2, (17, 23)))
    ridge = 1e-4
    found = project(images, bases, data, weight, ridge=ridge, signed=(False, False, True))

    design = np.concatenate(
        [np.asarray(i).reshape(-1, 1) * dense(b) for i, b in zip(images, bases, strict=True)], axis=1
    )
    w, d = np.asarray(weight).ravel(), np.asarray(data).ravel()
    normal = (design * w[:, None]).T @ design
    penalty = ridge * (np.diagonal(normal) + 1e-3 * np.diagonal(normal).mean())
    rows = np.concatenate([design * np.sqrt(w)[:, None], np.diag(np.sqrt(penalty))])
    target = np.concatenate([d * np.sqrt(w), np.zeros(penalty.size)])
    lowest = np.where(np.arange(penalty.size) < penalty.size - bases[2].size, 0.0, -np.inf)
    reference = lsq_linear(rows, target, bounds=(lowest, np.inf), tol=1e-14).x
    assert 0 < (~np.asarray(found.free)).sum() < penalty.size / 2
    np.testing.assert_allclose(found.coefficients, reference, atol=1e-5 * np.abs(reference).max())
    np.testing.assert_allclose(found.mean.ravel(), design @ reference, rtol=1e-5)
    assert float(found.penalty) == pytest.approx(0.5 * (penalty * reference**2).sum(), rel=1e-4)

    jacobian = rng.normal(size=(17, 23, 3))
    kept = np.asarray(found.free)
    fitted = np.linalg.solve(
        normal[np.ix_(kept, kept)] + np.diag(penalty[kept]), design[:, kept].T @ (w[:, None] * jacobian.reshape(-1, 3))
    )
    expected = jacobian.reshape(-1, 3) - design[:, kept] @ fitted
    out = project_out(found, images, bases, jnp.asarray(jacobian), weight)
    np.testing.assert_allclose(out.reshape(-1, 3), expected, atol=1e-9)


def test_a_region_that_the_model_misses_is_given_more_noise():
    rng = np.random.default_rng(0)
    residual = rng.normal(size=(60, 70))
    everywhere = np.ones_like(residual, bool)
    assert (local_misfit(residual, everywhere) > 1).mean() < 0.005
    residual[20:30, 40:55] *= 2.5
    factor = local_misfit(residual, everywhere)
    assert 4 < np.median(factor[22:28, 43:52]) < 9  # 6.25; 150 pixels, and a median that blurred neighbours raise
    assert local_misfit(np.where(factor > 1, 100.0, residual), everywhere).max() == 10  # trusted less, not left out
    assert (factor[:, :30] == 1).mean() > 0.99
