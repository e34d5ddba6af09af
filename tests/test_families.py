"""Families of stacks, and starts that differ: whole layer numbers as continuous ones, even priors, two explanations."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import bandjax as bj
from bandjax.inference import Parameter, periodic_layers
from bandjax.inference.parameters import free_values, make_transform
from bandjax.inference.starts import EDGE, choose_starts, given_points, inside
from bandjax.learning.closed_loop import APART, explanations_of, judge
from bandjax.learning.families import FAMILIES, buried_sige, sige_superlattice
from bandjax.learning.family import EXPOSURE, VERSION, Ranges, centre_and_spread, draw_values, physical, standardised
from bandjax.learning.mixture import Mixture, distances, sample

KEY = jax.random.key(3)
FAMILY = sige_superlattice()


@pytest.mark.parametrize(("cap", "first", "second"), [(3, 2, 4), (1, 8, 2), (5, 2, 2)])
def test_whole_numbers_with_sharp_interfaces_are_the_stack_that_they_count(cap, first, second):
    layers = 24
    counted = ([0.0] * cap + ([1.0] * second + [0.0] * first) * layers)[:layers]
    values = {"cap": cap, "first": first, "second": second, "interface": 0.05}
    assert np.allclose(periodic_layers(values, np.arange(layers)), counted, atol=1e-9)


def test_a_smooth_superlattice_has_a_gradient_in_its_layer_numbers():
    @jax.jit
    def at(x):
        return periodic_layers(dict(zip(("cap", "first", "second", "interface"), x, strict=True)), np.arange(24))

    x = jnp.array([2.3, 3.7, 4.2, 0.6])
    assert 0 <= at(x).min() and at(x).max() <= 1
    slope, h = jax.jit(jax.jacfwd(at))(x), 1e-5
    for i, column in enumerate(np.asarray(slope).T):
        step = h * np.eye(4)[i]
        assert np.abs(column).max() > 0.2
        assert np.allclose(column, (at(x + step) - at(x - step)) / (2 * h), atol=1e-8)
    # a layer more on top moves everything else down by one
    assert np.allclose(at(x.at[0].add(1.0))[1:], at(x)[:-1], atol=1e-12)


def test_even_priors_are_drawn_between_their_bounds():
    draw = jax.jit(jax.vmap(lambda key: draw_values(FAMILY, key, jnp.float64)))
    draws = np.asarray(draw(jax.random.split(KEY, 4000)))
    for (name, p), column in zip(FAMILY.parameters, draws.T, strict=True):
        centre, spread = centre_and_spread(p)
        assert p.lower <= column.min() and column.max() <= p.upper, name
        # five standard errors of a mean, and of a deviation (at most that of a normal distribution)
        assert abs(column.mean() - centre) < 5 * spread / np.sqrt(4000), name
        assert abs(column.std() / spread - 1) < 5 / np.sqrt(8000), name
    whole = np.bincount(np.round(draws[:, 1]).astype(int))
    assert (whole[:2] == 0).all() and whole.size == 9 and np.abs(whole[2:] - 4000 / 7).max() < 5 * np.sqrt(4000 / 7)


def test_an_even_prior_is_standardised_by_its_bounds():
    values = jnp.array([[p.value for _, p in FAMILY.parameters]]).at[0, 1].set(8.5)
    exposure = {n: jnp.array([1.0]) for n in EXPOSURE}
    z = standardised(FAMILY, values, exposure, jnp.array([20.0]))
    assert np.allclose(z[0, : len(FAMILY.drawn)], [0, 3**0.5, *[0] * (len(FAMILY.drawn) - 2)], atol=1e-12)
    assert np.allclose(physical(FAMILY, z, jnp.array([20.0]))[0, : len(FAMILY.drawn)], values[0])


def test_a_family_is_found_by_its_own_name():
    assert {name: make().name for name, make in FAMILIES.items()} == {name: name for name in FAMILIES}
    assert len({make().fingerprint for make in FAMILIES.values()}) == len(FAMILIES)
    if VERSION == 2:  # what the shipped network of buried_sige was trained on
        assert buried_sige().fingerprint == "c2f562713b062392"


def two_wells() -> Mixture:
    """Two narrow explanations, two apart in the first of three latents."""
    mean = jnp.array([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])
    root = jnp.diag(jnp.array([10.0, 5.0, 1.0])) * jnp.ones((2, 1, 1))
    return Mixture(jnp.log(jnp.array([0.7, 0.3])), mean, root)


def test_starts_of_a_posterior_differ():
    """Every draw of the likelier explanation costs less than any of the other, which still gets the second start."""
    mixture = two_wells()
    points = jnp.concatenate([mixture.mean, jax.jit(sample, static_argnums=2)(mixture, KEY, 12)])
    right = np.asarray(points[:, 0] > 0)
    assert 2 < right.sum() < 13
    apart = np.asarray(jax.jit(distances, static_argnums=2)(mixture, points, (0, 1)))
    assert (apart[right][:, right] < APART).all() and (apart[right][:, ~right] > APART).all()
    costs = list(np.where(right, 100.0, 150.0) + np.arange(14))
    assert right[choose_starts(costs, 3)].all()  # without looking where they are: one explanation thrice
    first, second, third = choose_starts(costs, 3, apart < APART)
    assert right[first] and not right[second] and right[third] and third != first


@pytest.mark.slow
def test_points_that_differ_in_one_of_many_numbers_are_apart():
    wide = Mixture(jnp.zeros(1), jnp.zeros((1, 9)), jnp.eye(9)[None])
    points = jnp.zeros((3, 9)).at[1, 4].set(5.0).at[2, 4].set(6.0)
    found = np.asarray(distances(wide, points, range(9)))
    # the difference of two draws has √2 of a draw's deviation: 5/√2 is below four of them, 6/√2 above
    assert found[0, 1] < APART < found[0, 2]
    assert np.allclose(found[0, 2], 6 / 2**0.5 / 2)  # the root mean square would be 6/√2/3


def test_the_order_of_starts():
    costs, nothing = [3.0, np.nan, 1.0, 2.0], np.eye(4, dtype=bool)
    assert choose_starts(costs, 4) == choose_starts(costs, 4, nothing) == [2, 3, 0, 1]
    assert choose_starts(costs, 9, np.ones((4, 4), bool)) == [2, 3, 0, 1]


def of_a_square_lattice(parameters) -> tuple[bj.Problem, xr.DataArray]:
    """A fit of a band of hopping s², and simulated counts for s = 0.6."""
    table, atoms = bj.load_parameters("square", "single_orbital"), bj.square_lattice()

    def model_of(values):
        return bj.tight_binding(atoms, table.replace(t=values["s"] ** 2), spin_orbit=False)

    model_of.names = frozenset({"s"})
    instrument = bj.Instrument(
        photon_energy=40.0, fermi_energy=0.0, eta=0.2, fwhm_energy=0.08, fwhm_momentum=0.05, gain=20.0, background=0.5,
        temperature=1000.0, photon_momentum=False,
    )  # fmt: skip
    axes = {"kx": np.linspace(-0.5, 0.5, 6), "energy": np.linspace(-2.0, 2.0, 12)}
    mean = np.asarray(bj.arpes_image(model_of({"s": 0.6}), instrument, axes, kz_points=1))
    data = xr.DataArray(np.random.default_rng(0).poisson(mean).astype(float), dims=tuple(axes), coords=axes)
    return bj.Problem(model_of, parameters, instrument, inflate=False, broadening=()), data


def test_starts_keep_away_from_bounds():
    transform = make_transform(
        {"a": Parameter(1.0, lower=0.0, sigma=0.3), "b": Parameter(2.0, 1.0, 5.0), "c": Parameter(0.0, sigma=1.0)}
    )
    x = inside(transform, np.array([-3.0, 9.0, -40.0]))
    assert np.allclose(x, [EDGE, 5 - 3 * EDGE, -40.0]) and (inside(transform, x) == x).all()
    (u,) = given_points(transform, [{"a": 0.0, "b": 1.0, "c": 0.5}])
    slope = np.diagonal(jax.jacfwd(lambda v: free_values(transform, v))(jnp.asarray(u)))
    # a unit of u is one scale at the parameter's own value: a start keeps a twentieth of it
    assert (slope >= 0.99 * EDGE * transform.scale).all()


@pytest.mark.slow
def test_a_descent_leaves_the_bound_that_it_was_started_on():
    parameters = {"s": Parameter(0.55, 0.1, 1.5), "background": Parameter(0.6, 0.0, sigma=3.0, unit="counts")}
    problem, data = of_a_square_lattice(parameters)
    there, started = (
        bj.fit(data, problem, starts=[{"s": 0.55, "background": b}], bootstrap_draws=0) for b in (0.6, 0.0)
    )
    assert started.cost == pytest.approx(there.cost, abs=0.05) and there.values["background"] > 0.2


@pytest.mark.slow
def test_two_explanations_are_found_by_starts_that_differ():
    """A hopping s² that two values of s make: from alike starts one is found, and the verdict knows of no other."""
    parameters = {"s": Parameter(0.3, -1.5, 1.5)}
    problem, data = of_a_square_lattice(parameters)
    points = [{"s": s} for s in (0.59, 0.58, 0.62, -0.7)]
    side = np.sign([p["s"] for p in points])
    family = SimpleNamespace(
        name="square", parameters=(("s", parameters["s"]._replace(sigma=1.0)),), sample_names=("s",), ranges=Ranges()
    )
    for alike, verdict in ((None, "accepted"), (side[:, None] == side, "ambiguous")):
        result = bj.fit(data, problem, starts=points, descents=2, alike=alike, bootstrap_draws=0)
        found = explanations_of(result)
        assert judge(result, family, SimpleNamespace(outside=0.5, seen=30.0), 0.0, [], found)[0] == verdict
        assert abs(found[0][1]["s"]) == pytest.approx(0.6, abs=5 * result.errors["s"])
    with pytest.raises(ValueError, match=r"`alike` must have a row and a column for each given point"):
        bj.fit(data, problem, starts=points, alike=np.eye(3))
