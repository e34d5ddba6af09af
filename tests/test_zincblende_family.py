"""The family of zinc-blende crystals: the space of tables, its images, the materials at its corners, and the loop."""

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import bandjax as bj
from bandjax.hamiltonian import bloch_hamiltonian
from bandjax.inference.problem import model_values
from bandjax.learning import corners as corners_module
from bandjax.learning.cache import single_precision
from bandjax.learning.closed_loop import invert
from bandjax.learning.corners import MARKS, Corners, corners, marks_of, nearest_materials, without_prior
from bandjax.learning.crystal_images import (
    clean_crystal,
    crystal_signal,
    draw_crystals,
    expose_crystals,
    mirror_halves,
    occupied,
    placed,
    smooth_field,
)
from bandjax.learning.crystal_loop import as_momentum_cut, crystal_problem, guess_crystal, mark_numbers, within
from bandjax.learning.crystal_refinement import as_cut, refine_crystal
from bandjax.learning.crystals import ALIGNMENT, ROUGH, CrystalRanges, zincblende_family
from bandjax.learning.families import buried_sige
from bandjax.learning.images import Clean, draw_images
from bandjax.learning.table_space import (
    COORDINATES,
    HOPPINGS,
    NAMES,
    coordinates_of,
    space_model,
    table_space,
    two_species_values,
    valence_top,
    values_of,
)
from bandjax.photoemission import QUANTITIES, plan_image, signal
from bandjax.photoemission.kinematics import laboratory_rotation, wave_number
from bandjax.photoemission.matrix_elements import mirror_parities
from bandjax.photoemission.pixels import band_shift, laboratory_model

FAMILY = zincblende_family()
SMALL = CrystalRanges(kx_points=8, energy_points=20, left=(2, 5))
KEY = jax.random.key(3)


def published(material: str, table: str) -> tuple[dict[str, float], float]:
    """Values of a table under a compound's names, and its lattice constant."""
    found = bj.load_parameters(material, table)
    return two_species_values(found), found.spec.lattice_constant


@pytest.mark.parametrize(("material", "table"), [("InAs", "klimeck2000"), ("Ge", "vogl1983"), ("ZnTe", "vogl1983")])
def test_a_published_table_is_a_point_of_the_space(material, table):
    values, a = published(material, table)
    splittings = {n: values.get(n, 0.0) for n in ("Delta_a", "Delta_c")}
    found = values_of(coordinates_of(values, a) | splittings | {"a": a, "top": valence_top(values)})
    for name, value in values.items():
        assert float(found[name]) == pytest.approx(value, abs=1e-10), name
    row = table_space().points[table_space().materials.index((material, table))]
    assert np.allclose(row[:12], list(coordinates_of(values, a).values())) and row[14] == a
    # Ge: both atoms are one, ZnTe: no splitting is published
    assert np.isnan(row[12]) == ("Delta_a" not in values)


def test_the_space_is_white_where_the_tables_are():
    points = table_space().points[:, :12]
    assert np.abs(points.mean(axis=0)).max() < 1e-12
    # half of the variance is each number's own: the widest directions of the tables are narrower in it, the others wider
    variance = points.var(axis=0, ddof=1)
    assert 1 < variance[0] < 2 and variance[-1] < 0.5 and (np.diff(variance) < 1e-12).all()


def test_a_crystal_of_the_space_is_the_tables_own_strained_by_harrisons_law():
    values, a = published("InAs", "klimeck2000")
    k = jnp.array([[0.0, 0.0, 0.0], [0.3, 0.1, 0.2], [0.5, 0.5, 0.0]])
    own, top = 5.8, -0.3  # not the reference
    strained = values | {n: values[n] * (a / own) ** 2 for n in HOPPINGS}
    point = coordinates_of(strained, own) | {n: values[n] for n in ("Delta_a", "Delta_c")} | {"a": own, "top": top}
    found = bj.bands(space_model(point), k)
    table = bj.load_parameters("InAs", "klimeck2000")
    wanted = bj.bands(bj.tight_binding(bj.zincblende("InAs", a=own), table, distance_law="harrison"), k)
    assert float(found[0, 7]) == pytest.approx(top, abs=1e-9)  # InAs has its Γ8 on top of the valence bands
    assert valence_top(strained) == pytest.approx(float(wanted[0, 7]), abs=1e-9)
    assert np.abs(np.asarray(found - found[0, 7] - wanted + wanted[0, 7])).max() < 1e-9
    # the same coordinates at the published lattice constant are the unstrained crystal but for levels against the top
    assert np.allclose([*coordinates_of(values, a).values()], [point[n] for n in COORDINATES], atol=0.05)


def test_the_digest_does_not_depend_on_the_precision():
    assert not np.isnan(table_space().mean).any()
    with single_precision():
        assert table_space.__wrapped__().digest == table_space().digest
    other = dataclasses.replace(FAMILY, source="other tables")
    assert other.fingerprint != FAMILY.fingerprint and other.signals_fingerprint != FAMILY.signals_fingerprint
    brighter = dataclasses.replace(FAMILY, ranges=CrystalRanges(counts=(1.0, 2.0)))
    assert brighter.fingerprint != FAMILY.fingerprint and brighter.signals_fingerprint == FAMILY.signals_fingerprint


@pytest.mark.slow
def test_smooth_weights_have_the_roughness_that_is_stated():
    fields = np.asarray(jax.vmap(lambda k: smooth_field(k, 24, 40, jnp.float64))(jax.random.split(KEY, 400)))
    # of 400 fields with about three effective numbers each: 3 % of the deviation
    assert np.sqrt((fields**2).mean()) == pytest.approx(ROUGH, rel=0.1)
    assert np.abs(np.diff(fields, axis=1)).max() < 0.35 * np.abs(fields).max()  # smooth along k


def test_materials_are_named_by_their_bands_and_the_rest_is_scatter(monkeypatch):
    marks = np.zeros((4, 8))
    marks[:, 0], marks[:, 2] = (5.6, 5.6, 6.06, 6.1), (-3.0, -2.8, -2.5, -2.6)
    made = Corners((("GaAs", "one"), ("GaAs", "two"), ("InAs", "one"), ("AlSb", "one")), marks, 0.01 * np.eye(8))
    monkeypatch.setattr(corners_module, "corners", lambda: made)
    found = nearest_materials(marks[2], 1e-4 * np.eye(8))
    assert [n.material for n in found] == ["InAs", "AlSb", "GaAs"] and found[0].distance == 0
    assert sum(n.probability for n in found) == pytest.approx(1)
    # (0.04² + 0.1²)/(0.01 + 1e-4), one number of each
    assert found[1].distance == pytest.approx((0.04**2 + 0.1**2) / 0.0101)
    assert found[0].probability / found[1].probability == pytest.approx(np.exp(found[1].distance / 2))
    even = nearest_materials(marks[2], 1e4 * np.eye(8))  # an image that says nothing
    assert all(n.probability == pytest.approx(1 / 3, abs=1e-3) for n in even)


def test_a_prior_is_divided_out_of_a_posterior():
    rng = np.random.default_rng(0)
    spread, told = (b @ b.T + 0.5 * np.eye(4) for b in rng.normal(size=(2, 4, 4)))
    middle, seen = rng.normal(size=(2, 4))
    posterior = np.linalg.inv(np.linalg.inv(spread) + np.linalg.inv(told))
    mean = posterior @ (np.linalg.inv(spread) @ middle + np.linalg.inv(told) @ seen)
    found, width = without_prior(mean, posterior, middle, spread)
    assert np.allclose(found, seen) and np.allclose(width, told)
    found, width = without_prior(middle, spread, middle, spread)  # an image that says nothing
    assert np.allclose(found, middle) and np.linalg.eigvalsh(width - 100 * spread).min() > 0


def cut(values=None) -> xr.DataArray:
    """A map in angles, of noise alone."""
    axes = {"angle": np.linspace(-6, 6.4, 60), "energy": np.linspace(-7.8, -0.4, 80)}
    rng = np.random.default_rng(0)
    return xr.DataArray(
        rng.poisson(400.0, (60, 80)) * 50.0 if values is None else values, dims=tuple(axes), coords=axes
    )


def test_a_cut_in_angles_becomes_counts_over_momenta():
    instrument = FAMILY.instrument.replace(photon_energy=586.0, polar=1.067)
    found = as_momentum_cut(cut(), instrument, 0.09)
    assert found.dims == ("kx", "energy") and found.attrs == {"photon_energy": 586.0, "fwhm_energy": 0.09}
    kinetic = 586.0 - 4.5 - 4.1
    wanted = float(wave_number(jnp.asarray(kinetic))) * np.sin(
        np.deg2rad(found.coords["kx"].size and cut().angle.values - 1.067)
    )
    assert np.allclose(found.kx.values, wanted, atol=1e-9)
    # every count stands for 50 numbers of the camera; the noise of 4,720 pixels gives that to a few per cent
    assert float(found.mean()) == pytest.approx(400, rel=0.1)


def test_the_fit_of_no_material_starts_where_it_is_told_and_keeps_its_priors():
    start = dict.fromkeys(COORDINATES, 0.7) | {"a": 6.2, "inner_potential": 11.0}
    own = bj.instrument_parameters(FAMILY.instrument, {"tilt": 0.15})
    problem = crystal_problem(FAMILY, FAMILY.instrument, own, bj.Likelihood("scaled"), bj.FreeWeights(), start, seed=4)
    for name in COORDINATES:
        p = problem.parameters[name]
        assert (p.value, p.prior, p.sigma) == (0.7, 0.0, 2.0) and not np.isfinite(p.lower)
    family = dict(FAMILY.parameters)
    for name in ("a", "inner_potential"):
        assert problem.parameters[name].value == start[name] and problem.parameters[name].prior == family[name].value
        assert problem.parameters[name].sigma == family[name].sigma
    assert problem.parameters["top"].value == problem.parameters["top"].prior == family["top"].value
    assert set(problem.parameters) == set(family) | {"tilt"} and problem.seed == 4 and problem.known == ()
    start |= {"inner_potential": 18.0, "eta": 0.01}  # on a bound, and beyond one
    problem = crystal_problem(FAMILY, FAMILY.instrument, own, bj.Likelihood("scaled"), bj.FreeWeights(), start)
    assert 17 < problem.parameters["inner_potential"].value < 18 and 0.03 < problem.parameters["eta"].value < 0.04


def test_other_networks_are_refused():
    crystals, stacks = (SimpleNamespace(family=f, network=None) for f in (FAMILY, buried_sige()))
    with pytest.raises(ValueError, match="must be a network of stacks, but is one of 'zincblende'"):
        invert(cut(), reverse=crystals)
    with pytest.raises(ValueError, match="must be a network of crystals, but is one of 'buried_sige'"):
        guess_crystal(cut(), stacks)
    with pytest.raises(TypeError, match="must be a family of stacks, but is 'zincblende'"):
        draw_images(FAMILY, KEY, 2)


def test_starts_lie_within_their_bounds():
    names = FAMILY.names
    low = within(FAMILY, np.full(len(names), -100.0))
    for (_, p), value in zip(FAMILY.parameters, low, strict=True):
        assert p.lower < value < p.lower + 0.01 * p.sigma


def made_up(count: int) -> Clean:
    """Kept crystals of a small family whose signals say where they are: kx + 100 E."""
    family = dataclasses.replace(FAMILY, ranges=SMALL)
    values = np.tile([p.value + 0.5 * p.sigma for _, p in family.parameters], (count, 1))
    values[:, family.drawn.index("top")] = -0.8
    _, nodes, energies = family.signal_shape
    step = SMALL.energy_step[0]
    kx, energy = 0.05 * np.arange(nodes), -0.8 - 0.5 - 0.1 - 19 * step + step * np.arange(energies)
    signals = np.broadcast_to(kx[:, None] + 100 * energy, (count, *family.signal_shape))
    axes = (np.tile(kx, (count, 1)), np.tile(energy, (count, 1)))
    return jax.tree.map(jnp.asarray, Clean(values, signals, *axes, np.full(count, 600.0), np.full(count, 0.1)))


def test_a_kept_crystal_is_placed_anew_at_every_use():
    family = dataclasses.replace(FAMILY, ranges=SMALL)
    kept = made_up(400)
    values, kx, energy, bright = jax.jit(jax.vmap(lambda k, c: placed(family, k, c)))(jax.random.split(KEY, 400), kept)
    top, potential = (np.asarray(values[:, family.drawn.index(n)]) for n in ("top", "inner_potential"))
    # a kinetic energy and an inner potential add up: neither the map of the bands nor k_z has changed
    assert np.allclose(top + potential, kept.values[:, family.drawn.index("inner_potential")] - 0.8)
    others = [i for i, n in enumerate(family.drawn) if n not in ("top", "inner_potential")]
    assert (values[:, others] == kept.values[:, others]).all()
    # given V0 + top half a σ above its mean, the top is a normal number; 400 draws give its mean to 0.05 σ
    wanted = -0.8 + 0.4**2 / (0.4**2 + 2.5**2) * 1.25
    assert top.mean() == pytest.approx(wanted, abs=0.07) and top.std() == pytest.approx(0.395, rel=0.1)
    assert top.min() >= -2.0 and top.max() <= 0.1
    end = np.asarray(energy[:, -1])
    assert (
        (end <= SMALL.top[1]).all() and (end > SMALL.top[0] - SMALL.energy_step[0] - 1e-9).all() and np.ptp(end) > 0.3
    )
    moved = np.asarray(energy) - (top + 0.8)[:, None]  # back on the scale of the kept ones
    lit = np.asarray(bright)[:, 1] / np.asarray(occupied(family, energy, jnp.full((400, 1), 0.1)))[:, None, :]
    along = (lit - 100 * moved[:, None, :]).mean(axis=2)  # the |kx| that is looked at
    at_zero = along.argmin(axis=1)
    error = np.asarray(kx)[np.arange(400), at_zero]
    assert np.allclose(np.abs(np.asarray(kx) - error[:, None]), along, atol=1e-9)
    # 400 draws: a standard deviation to 4 %
    assert error.std() == pytest.approx(ALIGNMENT, rel=0.15) and set(at_zero) == set(
        range(SMALL.left[0], SMALL.left[1] + 1)
    )


def test_the_mirror_halves_are_the_whole():
    point = {n: p.value + 0.7 * p.sigma for n, p in FAMILY.parameters}
    lab = laboratory_model(FAMILY.model_of(model_values(point)), FAMILY.instrument)
    across = laboratory_rotation(FAMILY.instrument.surface, FAMILY.instrument.slit)[1]
    h = np.asarray(bloch_hamiltonian(lab, jnp.array([0.31, 0.0, 1.13])))
    halves = np.linalg.eigvalsh(mirror_halves(jnp.asarray(h), mirror_parities(lab.topology.orbitals), across))
    whole = np.linalg.eigvalsh(h)
    assert np.abs(np.sort(halves.ravel()) - whole).max() < 1e-9
    assert (
        np.abs(np.sort(halves[:, :5].ravel()) - whole[:10]).max() < 1e-9 and np.diff(whole)[0] > 1e-3
    )  # no pairs here


def test_the_priors_of_the_instrument_are_bounded_and_shared_with_the_fit():
    own = dict(FAMILY.parameters)
    problem = crystal_problem(FAMILY, FAMILY.instrument, {}, bj.Likelihood("scaled"), bj.FreeWeights(), {})
    for name, largest in (("inner_potential", 3.0), ("escape_depth", 4.0)):
        p = problem.parameters[name]
        assert (p.prior, p.sigma, p.lower, p.upper) == (
            own[name].value,
            own[name].sigma,
            own[name].lower,
            own[name].upper,
        )
        assert np.isfinite([p.lower, p.upper]).all() and p.sigma <= largest


@pytest.mark.slow
def test_exposures_differ_and_their_latents_do_not():
    family, clean = dataclasses.replace(FAMILY, ranges=SMALL), made_up(3)
    clean = clean._replace(signal=jnp.asarray(np.random.default_rng(1).random(clean.signal.shape)))
    one, other = (expose_crystals(family, jax.random.key(i), clean) for i in (1, 2))
    kept = [i for i, n in enumerate(family.drawn) if n not in ("top", "inner_potential")]
    assert np.allclose(one.latent[:, kept], 0.5, atol=1e-9) and (one.latent[:, kept] == other.latent[:, kept]).all()
    assert not np.allclose(one.counts, other.counts)
    for images in (one, other):
        counts, mask = np.asarray(images.counts), np.asarray(images.mask)
        assert (counts[mask == 0] == 0).all() and (counts >= 0).all() and (counts % 1 == 0).all()
        low, high = family.ranges.counts
        level = (counts * mask).sum(axis=(1, 2)) / mask.sum(axis=(1, 2))
        assert (level > 0.8 * low).all() and (level < 1.2 * high).all()


@pytest.mark.slow
def test_drawn_images_are_those_of_the_exact_model():
    """The cut lies in the mirror plane, where `signal` needs the tilt that undoes the photon's momentum."""
    with single_precision():
        family = dataclasses.replace(FAMILY, ranges=dataclasses.replace(SMALL, photon_energy=(590.0, 590.0)))
        drawn = draw_crystals(family, KEY, 2)
        again = draw_crystals(family, KEY, 2)
    assert all((a == b).all() for a, b in zip(drawn, again, strict=True))
    assert drawn.signal.shape[1:] == family.signal_shape and (drawn.values[:, family.drawn.index("top")] == -0.8).all()
    middle = {n: p.value for n, p in FAMILY.parameters}
    values = jnp.array(list(middle.values()))
    kx, energy = np.arange(12) * 0.1, np.linspace(-7.5, -0.3, 60)
    found = crystal_signal(FAMILY, values, jnp.asarray(kx), jnp.asarray(energy), jnp.asarray(590.0), jnp.asarray(0.1))
    own = {n: v for n, v in middle.items() if n in QUANTITIES}
    across = float(band_shift(FAMILY.instrument, jnp.asarray(590.0))[1])
    tilt = float(np.rad2deg(np.arcsin(-across / float(wave_number(jnp.asarray(590.0 - 4.5 - 4.0))))))
    # a narrow momentum resolution sets the grid's step, which the drawn images do without
    instrument = FAMILY.instrument.replace(**own, photon_energy=590.0, fwhm_energy=0.1, fwhm_momentum=0.004, tilt=tilt)
    model = FAMILY.model_of(model_values(middle))
    plan = plan_image(model, instrument, {"kx": kx, "energy": energy}, method="grid", kz_points=61, kz_reach=8.0)
    exact, mine = np.asarray(signal(model, instrument, plan)), np.asarray(found)
    off = np.abs(mine - exact).sum(axis=(1, 2)) / exact.sum(axis=(1, 2))
    assert (
        off[:2] < 0.03
    ).all()  # levels change linearly between knots along k_z; two of twenty bands far above are left out
    assert off[2] < 0.15  # the far cells of both k_z averages are coarse


@pytest.mark.slow
def test_the_published_crystals_are_their_own_nearest():
    found = corners()
    assert ("InAs", "jancu1998") in found.materials and ("Sn", "vogl1983") not in found.materials
    named = [nearest_materials(y, 0.03**2 * np.eye(8))[0].material for y in found.marks]
    assert np.mean([n == m for n, (m, _) in zip(named, found.materials, strict=True)]) > 0.95
    model = bj.tight_binding(bj.zincblende("InAs", a=6.0583), bj.load_parameters("InAs", "jancu1998"))
    y = found.marks[found.materials.index(("InAs", "jancu1998"))]
    assert np.allclose(marks_of(model), y, atol=1e-9)
    # J.-M. Jancu et al., Phys. Rev. B 57, 6493 (1998) give Δ_SO(Γ) = 0.38 eV
    assert y[MARKS.index("Gamma7")] == pytest.approx(-0.38, abs=0.01)


@pytest.mark.slow
def test_a_grid_goes_with_the_zone_of_a_fitted_lattice_constant():
    point = {n: p.value for n, p in FAMILY.parameters if n in NAMES}
    instrument = FAMILY.instrument.replace(photon_energy=586.0, fwhm_momentum=0.05, tilt=1.3, fwhm_energy=0.3)
    axes = {"kx": np.linspace(-0.6, 0.6, 9), "energy": np.linspace(-5.0, -0.5, 24)}
    plan = plan_image(space_model(point), instrument, axes, method="grid", kz_points=9)
    wide = space_model(point | {"a": point["a"] * 1.004})
    image = signal(wide, instrument, plan)
    new = signal(wide, instrument, plan_image(wide, instrument, axes, method="grid", kz_points=9))
    fixed = signal(wide, instrument, dataclasses.replace(plan, kz_multiple=None))
    moved, stayed = (float(jnp.abs(x - new).sum() / new.sum()) for x in (image, fixed))
    # nodes that go with the zone lie within 0.4 % of the new plan's distances from Γ, others off by how far Γ of the twelfth
    # zone has moved, 0.05 1/Å
    assert stayed > 0.1 and moved < 0.05 * stayed

    def total(a):
        return (signal(space_model(point | {"a": a}), instrument, plan) * new).sum()

    a = point["a"]
    slope = jax.jvp(total, (jnp.asarray(a),), (jnp.asarray(1.0),))[1]
    step = 1e-5
    assert float(slope) == pytest.approx(float(total(a + step) - total(a - step)) / (2 * step), rel=1e-5)
    assert abs(float(slope)) > 1e-3 * float(total(a))


@pytest.mark.slow
def test_marks_of_a_fit_are_on_both_scales():
    point = {n: p.value for n, p in FAMILY.parameters if n in NAMES}
    numbers = mark_numbers(space_model(point), FAMILY.instrument)
    assert numbers["valence_top"] == pytest.approx(point["top"], abs=1e-9) and numbers["a"] == pytest.approx(point["a"])
    assert numbers["X5 - E_F"] == pytest.approx(numbers["X5"] + point["top"])
    assert numbers["delta_so"] == pytest.approx(-numbers["Gamma7"], abs=1e-9)


@pytest.mark.slow
def test_a_kept_crystal_placed_anew_is_the_crystal_with_that_top():
    """Up to the knots along k_z, which are laid around another centre."""
    family = dataclasses.replace(FAMILY, ranges=SMALL)
    numbers = [jnp.asarray(x) for x in (0.05, 0.08, 590.0, 0.1)]
    values = jnp.array([p.value for _, p in FAMILY.parameters]).at[FAMILY.drawn.index("top")].set(-1.5)
    kept = clean_crystal(family, values, *numbers)
    new, kx, energy, bright = placed(family, KEY, kept)
    pixel = jnp.round((kx - (kx[0] - jnp.round(kx[0] / 0.05) * 0.05)) / 0.05)
    exact = crystal_signal(family, new, 0.05 * jnp.abs(pixel), energy, *numbers[2:]) * occupied(
        family, energy, numbers[3]
    )
    off = np.abs(np.asarray(bright - exact)).sum(axis=(1, 2)) / np.asarray(exact).sum(axis=(1, 2))
    assert abs(float(new[FAMILY.drawn.index("top")]) + 1.5) > 0.1 and off.max() < 0.02
    unshifted = new.at[FAMILY.drawn.index("inner_potential")].set(9.0 + 4.0)  # and V0 matters
    wrong = crystal_signal(family, unshifted, 0.05 * jnp.abs(pixel), energy, *numbers[2:])
    assert float(jnp.abs(wrong - exact)[0].sum() / exact[0].sum()) > 0.05


@pytest.mark.slow
def test_a_simulated_crystal_is_refined_to_the_truth():
    rng = np.random.default_rng(0)
    truth = {n: p.value + 0.4 * p.sigma * rng.normal() for n, p in FAMILY.parameters}
    ranges = CrystalRanges(kx_points=24, energy_points=44, left=(10, 13), step=(0.08, 0.1), energy_step=(0.14, 0.18))
    family = dataclasses.replace(FAMILY, ranges=ranges)
    kx, energy = jnp.linspace(-1.0, 1.1, 24), jnp.linspace(-7.2, -0.3, 44)
    told = jnp.asarray(600.0), jnp.asarray(0.1)
    bright = crystal_signal(family, jnp.array([truth[n] for n in family.names]), kx - 0.01, energy, *told)
    mean = 1500 * np.asarray(bright[0] + 0.5 * bright[1] + 0.3 * bright[2] + 0.05)
    cut = as_cut(rng.poisson(mean), np.ones_like(mean), kx, energy, *told)
    near = {n: truth[n] + 0.2 * p.sigma for n, p in family.parameters}
    far = {n: p.value for n, p in family.parameters} | {"a": truth["a"] + 0.3}
    found = refine_crystal(family, cut, [far, near], max_steps=40)
    errors = dict(zip(found.values, np.sqrt(np.diagonal(found.covariance)), strict=True))
    # 1,056 pixels less 300 coefficients
    assert found.converged and len(found.costs) == 1 and 0.8 < found.reduced_chi2 < 1.2
    assert abs(found.values["a"] - truth["a"]) < 4 * errors["a"] < 0.1
    assert abs(found.values["shift"] - 0.01) < 4 * errors["shift"] < 0.02
    # 20 numbers: four errors in any of them is one case in a thousand
    assert all(abs(found.values[n] - truth[n]) < 4 * errors[n] for n in truth)
