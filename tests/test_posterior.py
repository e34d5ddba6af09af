"""Several starts, draws from a posterior, whole-number readings and the profile of a stack with its errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from scipy.stats import norm

import bandjax as bj
from bandjax.inference import FitResult
from bandjax.inference.parameters import Parameter, draw_from_prior, make_transform, start_vector
from bandjax.inference.posterior import Posterior
from bandjax.inference.problem import make_objective, observed, prepare
from bandjax.materials.elastic import elastic_constants

AXES = {"kx": np.linspace(-0.5, 0.5, 6), "energy": np.linspace(-2.0, 2.0, 12)}
TABLE = bj.load_parameters("square", "single_orbital")
ATOMS = bj.square_lattice()


def problem_of(free, gain=0.5, **options):
    instrument = bj.Instrument(
        photon_energy=40.0, fermi_energy=0.0, eta=0.2, fwhm_energy=0.08, fwhm_momentum=0.05, gain=gain, background=0.01,
        temperature=1000.0, photon_momentum=False,
    )  # fmt: skip
    table_values = {n: Parameter(float(TABLE[n]), fixed=n != free) for n in ("t", "t'", "t''", "epsilon")}
    if free == "t":
        table_values["t"] = Parameter(float(TABLE["t"]), -1.0, 1.0)
    parameters = table_values | (bj.instrument_parameters(instrument, {"gain": 1e3}) if free == "gain" else {})
    return bj.Problem(
        bj.table_model(ATOMS, TABLE, spin_orbit=False), parameters, instrument, inflate=False, broadening=(), **options
    )


def simulate(problem, seed=0):
    model = bj.tight_binding(ATOMS, TABLE, spin_orbit=False)
    mean = np.asarray(bj.arpes_image(model, problem.instrument, AXES, kz_points=1))
    counts = np.random.default_rng(seed).poisson(mean).astype(float)
    return xr.DataArray(counts, dims=tuple(AXES), coords=AXES)


@pytest.mark.slow
def test_draws_follow_the_posterior():
    """Few counts, one free number: mean and width against the integral of exp(−cost) over a grid, where Laplace is off."""
    problem = problem_of("gain")
    data = simulate(problem)
    assert data.sum() < 15
    result = bj.fit(data, problem, bootstrap_draws=0)
    found = bj.sample_posterior(result, jax.random.key(1), draws=300)
    parts, transform = prepare(data, problem)
    cost = jax.jit(make_objective(problem, parts, transform).cost)
    grid = np.linspace(0.02, 4, 400)
    at = [float(cost(jnp.asarray(start_vector(transform, {"gain": g})), [observed(parts[0])], 0.0)) for g in grid]
    density = np.exp(min(at) - np.array(at))
    density /= density.sum()
    mean = density @ grid
    width = np.sqrt(density @ (grid - mean) ** 2)
    assert found.effective > 150
    noise = width / np.sqrt(found.effective)
    assert found.draws.mean() == pytest.approx(mean, abs=4 * noise) and abs(result.values["gain"] - mean) > 4 * noise
    assert found.draws.std() == pytest.approx(width, abs=4 * noise)


@pytest.mark.slow
def test_the_best_of_several_starts_wins(tmp_path):
    """From a hopping far off a descent ends on a bound; an interrupted search goes on where it was."""
    problem = problem_of("t", gain=20.0)
    data = simulate(problem)
    wrong = Parameter(-0.9, -1.0, 1.0)
    stuck = bj.Problem(**{**vars(problem), "parameters": {**problem.parameters, "t": wrong}, "seed": 5})
    alone = bj.fit(data, stuck, bootstrap_draws=0)
    assert alone.values["t"] > 0.99 and alone.start_costs == ()
    seen = []

    def stop_in_the_third(entry):
        seen.append(entry)
        if entry["stage"] == 0 and len(state_ends()) == 2:
            raise KeyboardInterrupt

    def state_ends():
        path = tmp_path / "state.npz"
        return np.load(path)["ends"] if path.exists() else []

    with pytest.raises(KeyboardInterrupt):
        bj.fit(data, stuck, starts=4, bootstrap_draws=0, state_file=tmp_path / "state.npz", progress=stop_in_the_third)
    again = []
    result = bj.fit(data, stuck, starts=4, bootstrap_draws=0, state_file=tmp_path / "state.npz", progress=again.append)
    whole = bj.fit(data, stuck, starts=4, bootstrap_draws=0)
    assert result.values["t"] == pytest.approx(float(TABLE["t"]), abs=5 * result.errors["t"])
    assert len(result.start_costs) == 4 and result.cost <= min(result.start_costs) + 1e-6
    assert len(again) < len(whole.history)  # the starts that were done are not repeated
    assert result.start_costs == pytest.approx(whole.start_costs, abs=1e-9)
    assert result.start_costs[0] == pytest.approx(alone.cost, abs=1e-6) and alone.cost > result.cost + 10
    assert any("starts ended within" in sentence for sentence in result.report)
    given = bj.fit(data, stuck, starts=[alone.values, whole.values], descents=1, bootstrap_draws=0)
    assert given.start_costs == pytest.approx([whole.cost], abs=0.01)  # the better point, and no descent from the other
    assert given.start_ends[0]["t"] == pytest.approx(whole.values["t"], abs=whole.errors["t"])
    with pytest.raises(ValueError, match="must give every free parameter, but a point has no"):
        bj.fit(data, stuck, starts=[{"gain": 1.0}])
    with pytest.raises(ValueError, match="`descents` must be a whole number ≥ 1, but is 0"):
        bj.fit(data, stuck, starts=[alone.values], descents=0)


def test_draws_keep_to_priors_and_bounds():
    parameters = {
        "a": Parameter(0.5, 0.4, 0.6),
        "b": Parameter(1.0, lower=0.0, sigma=1.0),
        "c": Parameter(2.0, sigma=0.1),
    }
    transform, rng = make_transform(parameters), np.random.default_rng(0)
    x = np.array([draw_from_prior(transform, rng) for _ in range(2000)])
    assert x[:, 0].min() > 0.4 and x[:, 0].max() < 0.6 and x[:, 0].std() == pytest.approx(0.2 / np.sqrt(12), rel=0.05)
    assert x[:, 1].min() > 0 and x[:, 1].mean() == pytest.approx(1 + norm.pdf(1) / norm.cdf(1), abs=0.06)
    assert x[:, 2].std() == pytest.approx(0.1, rel=0.05)
    with pytest.raises(ValueError, match="`d` must have a prior width or two bounds"):
        draw_from_prior(make_transform({"d": Parameter(1.0)}), rng)


def stack_result(covariance):
    """A fit of a buried layer that was never run: values and covariance by hand."""
    values = {"fraction": 0.5, "upper": 6.0, "lower": 10.02, "interface": 0.8}
    sigma = {"fraction": 0.15, "upper": 1.5, "lower": 2.0, "interface": 0.3}
    parameters = {n: Parameter(v, 0.0, 1.0 if n == "fraction" else np.inf, sigma=sigma[n]) for n, v in values.items()}
    problem = bj.Problem(lambda v: None, parameters, bj.Instrument(photon_energy=100.0, escape_depth=10.0))
    errors = dict(zip(values, np.sqrt(np.diagonal(covariance)), strict=True))
    return FitResult(
        values, errors, {}, tuple(values), covariance, {}, {}, {"map": None}, 0.0, 1.0, True, [], [], problem, np.zeros(4)
    )  # fmt: skip


def test_whole_layers_are_read_with_their_probability():
    covariance = np.diag([0.02, 0.1, 0.2, 0.2]) ** 2
    covariance[1, 2] = covariance[2, 1] = 0.01  # both interfaces move together
    result = stack_result(covariance)
    count, amount = bj.read_layers(result, {"SiGe layers": bj.layer_count, "Ge": bj.layer_content})
    error = np.sqrt(0.1**2 + 0.2**2 - 2 * 0.01)
    assert (count.nearest, count.value) == (4, pytest.approx(4.02)) and count.error == pytest.approx(error)
    expected = norm.cdf(4.5, 4.02, error) - norm.cdf(3.5, 4.02, error)
    assert count.probability == pytest.approx(expected) and count.sentence.startswith("4.02 ± 0.17 SiGe layers: 4")
    assert amount.error == pytest.approx(np.hypot(4.02 * 0.02, 0.5 * error))
    on_bound = stack_result(covariance)
    on_bound.errors["lower"] = np.nan
    blind = bj.read_layers(on_bound, {"SiGe layers": bj.layer_count})[0]
    assert not np.isfinite(blind.error) and "unknown error" in blind.sentence
    vague = bj.read_layers(stack_result(covariance * 25), {"SiGe layers": bj.layer_count})[0]
    assert "no whole number stands out" in vague.sentence


def test_readings_of_draws_are_those_of_their_distribution():
    draws = np.random.default_rng(0).normal([0.5, 6.0, 10.0, 0.8], [0.05, 0.3, 0.2, 0.1], (300, 4))
    posterior = Posterior(("fraction", "upper", "lower", "interface"), draws, 300.0, [])
    (amount,) = bj.read_layers(stack_result(np.eye(4)), {"Ge": bj.layer_content}, posterior=posterior)
    expected = draws[:, 0] * (draws[:, 2] - draws[:, 1])
    assert (amount.value, amount.error) == (pytest.approx(np.median(expected)), pytest.approx(expected.std()))
    assert amount.probability == pytest.approx(np.mean(np.abs(expected - 2) < 0.5)) and 0.5 < amount.probability < 1


def test_the_profile_says_what_the_light_does_not_reach():
    sharp = np.diag([0.02, 0.1, 0.1, 0.1]) ** 2
    blind = np.diag([0.02, 0.1, 2.0, 0.1]) ** 2  # the lower interface as wide as its prior
    depth = np.arange(20.0)
    seen, not_seen = (bj.profile_band(stack_result(c), bj.buried_layer, depth, 1.36) for c in (sharp, blind))
    assert seen.report == [] and seen.share.sum() == pytest.approx(1.0)
    assert seen.error[8] == pytest.approx(0.02, rel=0.1)  # inside, only the fraction's own
    at_the_edge = np.hypot(0.5 * 0.02, 0.5 * norm.pdf(0) / 0.8 * 0.1)
    assert seen.error[6] == pytest.approx(at_the_edge, rel=0.1) and seen.prior_error[8] > 0.1
    assert any("says nothing about lower" in s for s in not_seen.report)
    assert any(s.startswith("From depth") for s in not_seen.report)
    on_bound = stack_result(sharp)
    on_bound.errors["lower"] = np.nan
    with pytest.raises(ValueError, match="must have measured every parameter of the profile, but not lower"):
        bj.profile_band(on_bound, bj.buried_layer, depth, 1.36)
    # what the profile does not depend on may be on its bound
    even = bj.profile_band(on_bound, lambda values, depth: values["fraction"] * np.ones(depth.shape), depth, 1.36)
    np.testing.assert_allclose(even.error, 0.02, rtol=0.1)  # 1000 draws or so: 2 %


TABLE_OF_PAIR = bj.load_parameters(("Si", "Ge"), "vogl1983")


@pytest.mark.slow
def test_levels_of_a_well_rise_with_its_thickness():
    """Confinement: a wider layer holds its highest level nearer to the band edge, with a hole's mass."""
    model_of = bj.stack_model(TABLE_OF_PAIR, 20, spin_orbit=False, dangling_shift=10.0)
    values = {"fraction": 0.9, "upper": 5.0, "interface": 0.2, "a_parallel": 5.431, "SiGe.offset": 0.68}
    instrument = bj.Instrument(photon_energy=100.0, fermi_energy=1.2, slit=(1, 1, 0))
    found = [bj.well_numbers(2)(model_of(values | {"lower": 5.0 + n}), instrument) for n in (6.0, 8.0, 11.0)]
    tops = [f["well_1"] for f in found]
    assert tops[0] < tops[1] < tops[2] < 0 and all(f["well_2"] <= f["well_1"] and f["mass_1"] < 0 for f in found)
    with pytest.raises(ValueError, match="mixed layers only"):
        bj.well_numbers()(bj.tight_binding(bj.slab("Si", 8), bj.load_parameters("Si", "vogl1983")), instrument)


def test_valence_offset_is_that_of_two_strained_crystals():
    """Against primitive cells strained by hand; the table's own offset enters one to one."""
    offset = bj.valence_offset(TABLE_OF_PAIR)
    values = {"fraction": 1.0, "a_parallel": 5.50, "SiGe.offset": 0.5}

    def mean_level(element, c11, c12, a):
        out_of_plane = a * (1 - 2 * c12 / c11 * (5.50 / a - 1))
        atoms = bj.zincblende(element, a=1.0)
        atoms.set_cell(atoms.cell.array * [5.50, 5.50, out_of_plane], scale_atoms=True)
        table = bj.load_parameters(element, "vogl1983")
        return float(bj.bands(bj.tight_binding(atoms, table, spin_orbit=False), np.zeros((1, 3)))[0, 1:4].mean())

    constants = elastic_constants("Si"), elastic_constants("Ge")
    silicon, germanium = (
        mean_level(n, float(c.c11), float(c.c12), float(c.lattice_constant))
        for n, c in zip(("Si", "Ge"), constants, strict=True)
    )
    assert float(offset(values)) == pytest.approx(germanium + 0.5 - silicon, abs=1e-9)
    slope = jax.grad(lambda x: offset(values | {"SiGe.offset": x}))(0.5)
    assert float(slope) == pytest.approx(1.0, abs=1e-9)
    assert float(offset(values | {"fraction": 0.0})) == pytest.approx(0.0, abs=1e-12)
