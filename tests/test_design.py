"""Stacks designed by fingerprint: curvatures of groups, superlattices of all periods as one program, the search, its errors."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bandjax as bj
from bandjax.fingerprints import FingerprintTarget, design_stack, stack_numbers, superlattice_family
from bandjax.fingerprints.design import spread_stacks
from bandjax.fingerprints.design_targets import fingerprint_objective, number_objective
from bandjax.fingerprints.stack_family import SHARP, as_point, between_periods, composition_of, number_slopes
from bandjax.hamiltonian import bloch_hamiltonian, closed_hamiltonian, layered_hamiltonian
from bandjax.spectrum import group_curvatures
from bandjax.units import HBAR2_OVER_M

MATERIALS = ("GaAs", "AlAs")
TABLE = bj.load_parameters(MATERIALS, "klimeck2000")
BOUNDS = {"layers": ((1, 3), (1, 2)), "fractions": ((0.0, 0.0), (0.2, 0.6)), "a_parallel": (5.60, 5.66)}
TRUTH = {"layers_1": 2, "layers_2": 1, "fraction_1": 0.0, "fraction_2": 0.4, "a_parallel": 5.63}
CHOSEN = ("gap", "valence_offset", "electron_mass_growth", "hole_mass_plane")


@pytest.fixture(scope="module")
def family():
    return superlattice_family(MATERIALS, TABLE, **BOUNDS)


def exact_model(stack):
    profile = [stack[f"fraction_{i}"] for i in (1, 2) for _ in range(stack[f"layers_{i}"])]
    return bj.tight_binding(bj.graded(MATERIALS, profile, substrate=stack["a_parallel"], vacuum=None), TABLE)


def hermitian(rng, n=8):
    a = rng.normal(size=(n, n)) + 1j * rng.normal(size=(n, n))
    return a + a.conj().T


def test_curvatures_of_groups_and_their_derivative():
    """Against differences of eigenvalues along t and along a parameter; two levels of a group meet exactly at t = 0."""
    rng = np.random.default_rng(1)
    u = np.linalg.qr(hermitian(rng))[0]
    h0 = u @ np.diag([-3.0, -1, 0, 0, 2, 3, 5, 6]) @ u.conj().T
    moved, h1, moved1, h2, moved2 = (hermitian(rng) for _ in range(5))
    start = np.array([2, 5])

    @jax.jit
    def of(p):
        return group_curvatures(h0 + p * moved, (h1 + p * moved1)[None], (h2 + p**2 * moved2)[None], start, 2)

    def mean(p, t):
        h = h0 + p * moved + t * (h1 + p * moved1) + t**2 / 2 * (h2 + p**2 * moved2)
        eps = np.linalg.eigvalsh(h)
        return np.array([eps[s : s + 2].mean() for s in start])

    p, t, step = 0.0, 2e-3, 1e-4
    curvature = sum(w * mean(p, n * t) for n, w in zip(range(-2, 3), (-1, 16, -30, 16, -1), strict=True)) / (12 * t**2)
    energy, found = of(p)
    np.testing.assert_allclose(energy, mean(p, 0.0), atol=1e-12)
    np.testing.assert_allclose(found[:, 0], curvature, rtol=1e-6)
    forward = jax.jvp(of, (p,), (1.0,))[1]
    for tangent, above, below in zip(forward, of(step), of(-step), strict=True):
        np.testing.assert_allclose(tangent, (above - below) / (2 * step), rtol=1e-5)
        assert np.abs(tangent).min() > 1e-2
    backward = jax.jit(jax.grad(lambda q: of(q)[1].sum()))(p)
    np.testing.assert_allclose(backward, forward[1].sum(), rtol=1e-10)
    with pytest.raises(TypeError, match="first derivative"):
        jax.jvp(lambda q: jax.jvp(of, (q,), (1.0,))[1], (p,), (1.0,))


@pytest.mark.slow
@pytest.mark.parametrize("period", [1, 2, 3])
def test_a_stack_closed_on_itself_is_the_superlattice(period):
    """At any k, with the bilayers in one order or the other; the rest lies far above."""
    profile = np.array([0.1, 0.5, 0.9])[:period]
    long = bj.graded(MATERIALS, np.resize(profile, 5), substrate=5.64, vacuum=15.0)
    once = bj.graded(MATERIALS, profile, substrate=5.64, vacuum=None)
    k = jnp.array([0.11, -0.23, 0.31])
    layered = layered_hamiltonian(bj.tight_binding(long, TABLE), k, tuple(atom // 2 for atom in range(10)))
    closed = np.linalg.eigvalsh(closed_hamiltonian(layered, period))
    expected = np.linalg.eigvalsh(bloch_hamiltonian(bj.tight_binding(once, TABLE), k))
    np.testing.assert_allclose(closed[: len(expected)], expected, atol=1e-12)
    assert (closed[len(expected) :] > 100).all()
    with pytest.raises(ValueError, match="`period` must be from 1 to 4 for 5 layers, but is 5"):
        closed_hamiltonian(layered, 5)


def test_offset_of_compounds():
    """The mean of three labelled bulk levels without spin-orbit, the same strain."""

    def top(fraction):
        bulk = bj.graded(MATERIALS, [fraction, fraction], substrate=5.63, vacuum=None)
        return np.asarray(bj.bands(bj.tight_binding(bulk, TABLE, spin_orbit=False), np.zeros((1, 3))))[0, 5:8].mean()

    found = bj.valence_offset(TABLE, MATERIALS)({"fraction": 1.0, "a_parallel": 5.63})
    assert float(found) == pytest.approx(top(1.0) - top(0.0), abs=1e-12) and found < -0.4


@pytest.mark.slow
def test_numbers_are_those_of_the_superlattice(family):
    """Gap, masses and offset by another way: bands, masses by degenerate perturbation theory."""
    found = stack_numbers(family, TRUTH)
    model, gamma = exact_model(TRUTH), np.zeros((1, 3))
    filled = 8 * 3
    energy = np.asarray(bj.bands(model, gamma))[0]
    assert found["gap"] == pytest.approx(energy[filled] - energy[filled - 1], abs=1e-10)
    for name, direction in (("growth", (0, 0, 1)), ("plane", (1, 0, 0))):
        mass = np.asarray(bj.effective_masses(model, gamma, direction))[0]
        for carrier, pair in (("hole", mass[filled - 2 : filled]), ("electron", mass[filled : filled + 2])):
            assert found[f"{carrier}_mass_{name}"] == pytest.approx(2 / (1 / pair).sum(), rel=1e-6)
    offset = bj.valence_offset(TABLE, MATERIALS)({"fraction": 0.4, "a_parallel": 5.63})
    assert found["valence_offset"] == pytest.approx(float(offset), abs=1e-12)


@pytest.mark.slow
def test_continuous_layers(family):
    """The second compound has the amount that the numbers say, whole layers are abrupt, and derivatives are those of differences."""
    p = as_point(family, TRUTH | {"layers_1": 2.3})
    smooth = composition_of(family, jnp.asarray(p), 4, 0.3)
    assert float(smooth[:4].sum()) == pytest.approx(1.7 * 0.4, abs=0.06 * 0.4)  # steps are sampled at whole places
    np.testing.assert_allclose(smooth[4:], smooth[:3])
    sharp = composition_of(family, jnp.asarray(as_point(family, TRUTH)), 3, SHARP)
    np.testing.assert_allclose(sharp[:3], [0, 0, 0.4], atol=1e-12)

    def at(q):
        return between_periods(family, partial(number_slopes, family), q)

    slope = at(p)[1]  # 3.3 bilayers, between periods of 3 and 4
    for place, step in ((0, 1e-4), (1, 1e-4), (3, 1e-4), (4, 1e-4)):
        ends = []
        for sign in (1, -1):
            q = p.copy()
            q[place] += sign * step
            ends.append(at(q)[0])
        np.testing.assert_allclose(slope[:, place], (ends[0] - ends[1]) / (2 * step), rtol=1e-5, atol=1e-7)
        assert np.abs(slope[0, place]) > 1e-3


def test_residuals_have_the_slopes_that_they_say(family):
    """Also where a curvature is far too small or of the wrong sign, where the logarithm goes on as its tangent."""
    objective = number_objective(family, {"gap": 1.6, "electron_mass_growth": 0.1, "hole_mass_plane": -0.3}, 0.02, 0.05)
    exact = np.array([1.6, HBAR2_OVER_M / 0.1, HBAR2_OVER_M / -0.3])
    assert np.abs(objective.residuals(exact)[0]).max() < 1e-12
    for factors in ((1.1, 0.9, 1.2), (0.9, 0.01, -0.5), (1.0, -2.0, 0.04)):
        x = exact * factors
        above, below = (objective.residuals(x * (1 + step))[0] for step in (1e-6, -1e-6))
        np.testing.assert_allclose(objective.residuals(x)[1], (above - below) / (2e-6 * x), rtol=1e-6)
    heavier = objective.residuals(exact / 1.05)[0]
    np.testing.assert_allclose(heavier[1:], 1.0, rtol=1e-9)  # 5 % heavier is one tolerance


def test_design_finds_the_stack(family):
    """Its numbers tell the truth's layers, composition and strain; the truth is none of the starts."""
    target = {name: stack_numbers(family, TRUTH)[name] for name in CHOSEN}
    starts = spread_stacks(family, 6)
    assert np.abs(starts - as_point(family, TRUTH)).max(axis=1).min() > 0.01
    found = design_stack(target, family, energy_tolerance=5e-4, mass_tolerance=1e-3, screened=6)
    assert found.converged and found.direct and found.layers == (2, 1) and "meets the target" in found.sentence
    assert found.values["fraction_2"] == pytest.approx(0.4, abs=1e-2)
    assert found.history[0]["stage"] == "screened" and found.history[0]["cost"] > 100 * found.distance**2
    for name, value in target.items():
        within = 1e-3 * abs(value) if "mass" in name else 5e-4
        assert abs(found.achieved[name] - value) <= within and abs(found.deviation[name]) <= 1


def test_a_target_out_of_reach(family):
    found = design_stack({"gap": 2.5, "electron_mass_growth": 0.03}, family, screened=6, tried=4, starts=1)
    assert not found.converged and "is the nearest that was found, and misses gap by -" in found.sentence
    assert len(found.layers) == 2 and found.achieved["gap"] < 2.3


@pytest.mark.slow
def test_design_by_a_whole_fingerprint(family):
    """The program's fingerprint is the library's; a stack is found by it alone, up to the tolerance."""
    grid, smearing = (2, 2, 2), 0.1
    levels = bj.model_levels(exact_model(TRUTH), grid=grid)
    features = bj.fingerprint(levels, "edges", smearing=smearing, cut=np.inf, coarse=True)
    target = FingerprintTarget(features, "edges", smearing, grid, tolerance=0.01)
    objective = fingerprint_objective(family, target)
    np.testing.assert_allclose(objective.slopes(as_point(family, TRUTH), 3, SHARP)[0], objective.target, atol=1e-10)
    found = design_stack(target, family, screened=6)
    assert found.converged and found.layers == (2, 1)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({}, "`target` must name some of gap, valence_offset"),
        ({"gap": -0.3}, "`target` must have gap > 0 .in eV., but has -0.3"),
        ({"electron_mass_growth": 0.0}, "`target` must have electron_mass_growth > 0 .in m_e., but has 0"),
        ({"hole_mass_plane": 0.1}, "`target` must have hole_mass_plane < 0 .in m_e., but has 0.1"),
        ({"gap": np.nan}, "`target` must be finite, but has gap = nan"),
        ({"gapp": 1.5}, "Did you mean 'gap'?"),
        (FingerprintTarget(np.ones(7)), "`target.features` must have shape .514,., but has shape .7,."),
        (FingerprintTarget(np.zeros(514)), "length of target.features` must be > 0, but is 0"),
    ],
)  # fmt: skip
def test_targets_that_no_stack_can_meet(family, target, message):
    with pytest.raises(ValueError, match=message):
        design_stack(target, family)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"layers": ((1, 3),), "fractions": ((0.0, 0.0),)}, "must have one pair of bounds for each of two layers"),
        ({"layers": ((3, 1), (1, 2))}, "`layers` must hold a lower and an upper bound, but holds .3, 1."),
        ({"layers": ((0, 1), (1, 2))}, "`layers` must hold whole numbers ≥ 1"),
        ({"fractions": ((0.0, 0.0), (0.5, 1.5))}, "`fractions` must lie in .0, 1., but holds 1.5"),
        ({"a_parallel": (0.0, 5.6)}, "`a_parallel` must be > 0 .in Å., but is 0"),
        ({"interface": 0.0}, "`interface` must be > 0 .in bilayers., but is 0"),
        ({"materials": ("Si", "Ge")}, "must be two compounds with a common anion"),
    ],
)  # fmt: skip
def test_families_that_are_none(changed, message):
    with pytest.raises(ValueError, match=message):
        superlattice_family(changed.pop("materials", MATERIALS), TABLE, **(BOUNDS | changed))


def test_stacks_that_are_none_of_the_family(family):
    with pytest.raises(ValueError, match="but has no 'a_parallel'"):
        stack_numbers(family, {n: v for n, v in TRUTH.items() if n != "a_parallel"})
    with pytest.raises(ValueError, match="`stack` must have whole numbers ≥ 1 of bilayers, 6 at most together"):
        stack_numbers(family, TRUTH | {"layers_1": 2.5})
