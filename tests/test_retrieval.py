"""Retrieval: a part of a map, Fermi-surface areas and their errors, starts, and what is refused."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import bandjax as bj
from bandjax import plot
from bandjax.cli import main
from bandjax.inference import retrieve
from bandjax.inference.brightness import brightness_of
from bandjax.inference.fit import FitResult, MapResult
from bandjax.inference.partial import window_limits
from bandjax.inference.problem import make_objective, observed, prepare
from bandjax.inference.uncertainty import Residuals
from bandjax.photoemission.pixels import as_axes
from bandjax.spectrum.fermi_surface import (
    filled_areas,
    find_pockets,
    plane_energies,
    plane_vectors,
    pocket_area,
)

A = 3.9
TABLE = bj.load_parameters("square", "single_orbital")
MODEL_OF = bj.table_model(bj.square_lattice(A), TABLE, spin_orbit=False)
INSTRUMENT = bj.Instrument(
    photon_energy=40.0, fermi_energy=-0.5, eta=0.05, fwhm_energy=0.04, fwhm_momentum=0.09, temperature=60.0, gain=8.0, background=1.0
)  # fmt: skip


def empty(pixels: int = 16, energy: tuple[float, float, int] = (-0.2, 0.1, 13)) -> xr.DataArray:
    k = (np.arange(pixels) - (pixels - 1) / 2) / (pixels / 2) * np.pi / A
    axes = {"ky": k, "kx": k, "energy": np.linspace(*energy)}
    return xr.DataArray(np.ones((pixels, pixels, energy[2])), dims=("ky", "kx", "energy"), coords=axes)


def problem(**changes) -> bj.Problem:
    parameters = {"t": bj.Parameter(0.4, sigma=0.04), "t'": bj.Parameter(-0.1, sigma=0.03)}
    parameters |= bj.instrument_parameters(INSTRUMENT, {"fermi_energy": 0.05, "gain": None})
    return bj.Problem(MODEL_OF, parameters, INSTRUMENT, inflate=False, broadening=((0.0, 0.3),), **changes)


# 1.5 prior widths from where the fits begin, one of them the other way: a fit that ignored the data would not end here
TRUTH = {"t": 0.46, "t'": -0.145, "fermi_energy": -0.425, "gain": 9.0}


@pytest.fixture(scope="module")
def counts() -> xr.DataArray:
    like = empty()
    there = INSTRUMENT.replace(fermi_energy=TRUTH["fermi_energy"], gain=TRUTH["gain"])
    mean = np.asarray(bj.arpes_image(MODEL_OF(TRUTH), there, like))
    return like.copy(data=np.random.default_rng(0).poisson(mean).astype(float))


@pytest.fixture(scope="module")
def found(counts) -> bj.Retrieval:
    return bj.retrieve_hamiltonian(counts, problem(), starts=4, fraction=0.25, energy=(-0.1001, 0.1), grid=48)


def parabola(n: int, mass: float = 2.0) -> np.ndarray:
    """E = m |k|² about 0 on the periodic grid of a square zone of side 2π, (n, n, 1)."""
    k = (np.arange(n) / n + 0.5) % 1 - 0.5
    kx, ky = np.meshgrid(2 * np.pi * k, 2 * np.pi * k, indexing="ij")
    return (mass * (kx**2 + ky**2))[..., None]


@pytest.mark.parametrize(("sign", "kind"), [(1, "electron"), (-1, "hole")])
def test_the_area_of_a_circle_and_its_slope(sign, kind):
    """πr² of a parabolic pocket with r² = E/m, and dA/dE = π/m: linear triangles are off by a part of about (1/n r)²."""
    vectors, level = 2 * np.pi * np.eye(2), sign * 3.0
    energies = sign * parabola(96)
    (pocket,) = find_pockets(energies, level, vectors)
    area = jax.jit(jax.value_and_grad(lambda e: pocket_area(pocket, filled_areas(jnp.asarray(energies), e))))
    exact = np.pi * 1.5 / (2 * np.pi) ** 2
    assert pocket.kind == kind and np.allclose(pocket.centre, 0, atol=1e-6)
    found, slope = area(level)
    assert float(found) == pytest.approx(exact, rel=3e-3)
    assert float(slope) == pytest.approx(sign * exact / 3.0, rel=3e-2)  # a slope converges more slowly


def test_open_sheets_are_no_pockets():
    k = np.arange(32) / 32
    energies = np.cos(2 * np.pi * k)[:, None, None] + 0.1 * np.cos(2 * np.pi * k)[None, :, None]
    assert find_pockets(energies, 0.0, np.eye(2)) == []
    assert float(jax.jit(filled_areas)(jnp.asarray(energies), 0.0).mean()) == pytest.approx(0.5, abs=1e-9)


def test_the_plane_of_graphene():
    """Two vectors of length 4π/(√3 a), the zone's area 8π²/(√3 a²)."""
    model = bj.tight_binding(bj.graphene(a=2.46), bj.load_parameters("graphene", "pz"), spin_orbit=False)
    vectors = plane_vectors(model)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 4 * np.pi / (np.sqrt(3) * 2.46), rtol=1e-6)
    assert abs(np.linalg.det(vectors)) == pytest.approx(8 * np.pi**2 / (np.sqrt(3) * 2.46**2), rel=1e-6)


@pytest.mark.parametrize(
    ("fraction", "limits"),
    [(0.5, [(0.5, 1.0), (0.0, 1.0)]), (0.25, [(0.5, 1.0)] * 2), (0.125, [(0.5, 0.75), (0.5, 1.0)]), (0.0625, [(0.5, 0.75)] * 2)],
)  # fmt: skip
def test_windows_halve_the_axes_in_turn(fraction, limits):
    assert window_limits(fraction, 2) == limits
    part = bj.part_of_map(empty(), fraction)
    assert part.size == fraction * empty().size
    masked = bj.part_of_map(empty(), fraction, margin=0.21)  # two pixels on each side, where there are any
    assert masked.size > part.size and int(masked.notnull().sum()) == part.size


def test_random_parts_keep_whole_spectra():
    part = bj.part_of_map(empty(), 0.25, pattern="random", energy=(-0.1001, 0.1))
    kept = part.notnull().sum("energy")
    assert set(np.unique(kept)) == {0, 9} and int((kept > 0).sum()) == 64
    assert not part.equals(bj.part_of_map(empty(), 0.25, pattern="random", energy=(-0.1001, 0.1), seed=1))


@pytest.mark.slow
def test_starts_agree_and_errors_cover_the_truth(found):
    assert found.reached == found.starts == 4 and found.fit.converged
    pulls = [(found.fit.values[n] - v) / found.fit.errors[n] for n, v in TRUTH.items()]
    assert np.abs(pulls).max() < 3.5 and found.used["map"] == pytest.approx(0.25 * 9 / 13)
    for name, own in found.fit.problem.parameters.items():
        assert not found.fit.errors[name] > 0.5 * own.sigma  # the data say it, not the prior (a gain has none)


@pytest.mark.slow
def test_the_area_has_the_error_of_the_parameters(found):
    """Against the spread of areas over draws of the parameters from their covariance, and against the true area."""
    surface = found.surfaces["map"]
    rng = np.random.default_rng(0)
    names = found.fit.names
    draws = rng.multivariate_normal([found.fit.values[n] for n in names], found.fit.covariance, 200)

    @jax.jit
    def filled(x):
        values = dict(zip(names, x, strict=True))
        model = MODEL_OF({n: values[n] for n in ("t", "t'")})
        return filled_areas(plane_energies(model, 0.0, 48, surface.vectors), values["fermi_energy"]).mean()

    spread = float(jnp.std(jax.lax.map(filled, jnp.asarray(draws))))
    assert float(surface.filled_error[0]) == pytest.approx(spread, rel=0.2)  # 200 draws: 5 %
    truth = filled_areas(plane_energies(MODEL_OF(TRUTH), 0.0, 48, surface.vectors), TRUTH["fermi_energy"]).mean()
    assert abs(surface.filled[0] - float(truth)) < 4 * surface.filled_error[0]
    (pocket,) = surface.pockets
    assert pocket.kind == "hole" and pocket.area == pytest.approx(1 - surface.filled[0])
    assert np.allclose(pocket.centre, np.pi / A, atol=0.02)


@pytest.mark.slow
def test_a_stage_smooths_map_and_model_alike():
    """Data without noise, smoothed along the momentum, are what the model gives in that stage (away from the map's edge)."""
    like, own = empty(24), problem()
    mean = like.copy(data=np.asarray(bj.arpes_image(MODEL_OF({}), INSTRUMENT, like)))
    parts, transform = prepare(mean, own)
    objective = make_objective(own, parts, transform)
    smooth, sharp = (np.asarray(observed(parts[0], broadening=b).data) for b in ((0.0, 0.3), 0.0))
    model = np.asarray(
        objective.predict(jnp.zeros(len(transform.names)), [observed(parts[0])], jnp.asarray([0.0, 0.3]))[0][0]
    )
    inner = np.s_[6:-6, 6:-6]
    off = lambda data: np.abs(data - model)[inner].max() / model.max()  # noqa: E731
    assert off(smooth) < 0.02 < 0.2 < off(sharp)  # resolutions of 0.09 and 0.3 after one another are one of 0.313


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda c: bj.retrieve_hamiltonian(c, problem(), bands=2), "`bands` must be at most the 1 bands of square single_orbital, but is 2"),
        (lambda c: bj.retrieve_hamiltonian(c * np.nan, problem()), "must hold pixels with data, but all are masked"),
        (lambda c: bj.retrieve_hamiltonian(c, problem(), starts=0), "`starts` must be a whole number ≥ 1"),
        (lambda c: bj.retrieve_hamiltonian(c, problem(), starts=2.5), "`starts` must be a whole number ≥ 1, but is 2.5"),
        (lambda c: bj.retrieve_hamiltonian(c, problem(), starts=True), "`starts` must be a whole number ≥ 1, but is True"),
        (lambda c: bj.retrieve_hamiltonian(c, problem(), starts=[]), "`starts` must be a whole number ≥ 1 or a list of points"),
        (lambda c: bj.retrieve_hamiltonian(c, problem(), grid=4), "`grid` must be a whole number ≥ 8"),
        (lambda c: bj.part_of_map(c, 0.0), r"`fraction` must be a number in \(0, 1\], but is 0.0"),
        (lambda c: bj.part_of_map(c, 1.5), r"`fraction` must be a number in \(0, 1\]"),
        (lambda c: bj.part_of_map(c, 0.5, pattern="half"), "`pattern` must be one of 'window', 'random'"),
        (lambda c: bj.part_of_map(c, energy=(-0.1, 0.0, 0.1)), r"`energy` must have shape \(2,\), but has shape \(3,\)"),
        (lambda c: bj.part_of_map(c, energy=(1.0, 2.0)), "`energy` must hold energies of the map"),
        (lambda c: bj.part_of_map(c, 1e-3, pattern="random"), "`fraction` must leave a spectrum"),
    ],
)  # fmt: skip
def test_what_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call(empty())


@pytest.mark.parametrize(
    ("broadening", "words"),
    [(((0.1, -0.1),), "pairs"), (((0.0, 0.0),), "pairs"), (((0.1, 0.1, 0.1),), "pairs")],
)
def test_stages_that_are_refused(broadening, words):
    with pytest.raises(ValueError, match=words):
        bj.fit(empty(), dataclasses.replace(problem(), broadening=broadening))


@pytest.mark.slow
def test_the_command_line(tmp_path, capsys):
    config = tmp_path / "sim.toml"
    config.write_text("""
[model]
material = "tetragonal"
table = "two_orbital"
[instrument]
photon_energy = 40.0
fermi_energy = -0.7
eta = 0.05
fwhm_energy = 0.04
fwhm_momentum = 0.1
gain = 5.0
background = 1.0
[table_prior]
relative = 0.1
least = 0.03
free = ["t_sigma", "Delta"]
[parameters]
free = ["fermi_energy", "gain"]
[simulate]
kx = [-0.8, 0.8, 16]
ky = [-0.8, 0.8, 16]
energy = [-0.2, 0.1, 13]
[fit]
broadening = [[0.0, 0.3]]
inflate = false
kz_points = 1
""")
    assert main(["simulate", "-c", str(config), "-o", str(tmp_path / "map.nc")]) == 0
    command = [
        "retrieve",
        str(tmp_path / "map.nc"),
        "-c",
        str(config),
        "-o",
        str(tmp_path / "out"),
        "--starts",
        "3",
        "--grid",
        "40",
    ]
    capsys.readouterr()
    assert main([*command, "--fraction", "0.5", "--energy", "-0.1", "0.06", "--bands", "2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["starts"] == 3 and told["errors"]["Delta"] < 0.03  # less than its prior
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert names == {"result.nc", "retrieval.json", "report.txt", "fermi_surface.png"}
    dataset = bj.read_result(tmp_path / "out" / "result.nc")
    assert dataset["filled"].dims == ("surface", "level") and "pocket_area" in dataset
    assert main([*command, "--bands", "3"]) == 2
    assert "`bands` must be at most the 2 bands of tetragonal two_orbital, but is 3" in capsys.readouterr().err


def given_to_the_fit(monkeypatch, data, own, **options):
    """What `retrieve_hamiltonian` hands to `fit`."""
    seen = {}

    def fit(data, problem, **more):
        seen.update(data=data, **more)
        raise StopIteration

    monkeypatch.setattr(retrieve, "fit", fit)
    with pytest.raises(StopIteration):
        bj.retrieve_hamiltonian(data, own, **options)
    return seen


def test_a_single_given_start_is_where_the_descent_begins(monkeypatch):
    point = {"t": 0.5, "t'": -0.05, "fermi_energy": -0.4, "gain": 7.0}
    assert given_to_the_fit(monkeypatch, empty(), problem(), starts=[point])["starts"] == [point]
    assert given_to_the_fit(monkeypatch, empty(), problem(), starts=1)["starts"] == 1
    drawn = given_to_the_fit(monkeypatch, empty(), problem(), starts=np.int64(3))["starts"]
    assert len(drawn) == 3 and drawn[0]["t"] == 0.4 and drawn[1]["t"] != 0.4 and drawn[2]["gain"] == pytest.approx(8.0)


def test_a_mapping_of_one_map_keeps_its_name(monkeypatch):
    own = dataclasses.replace(problem(), parameters={"t": bj.Parameter(0.4, sigma=0.04), "foo.gain": bj.Parameter(8.0)})
    seen = given_to_the_fit(monkeypatch, {"foo": empty()}, own, starts=1)
    assert list(seen["data"]) == ["foo"]
    parts, transform = prepare(seen["data"], own)
    assert parts[0].name == "foo" and transform.names == ("t", "foo.gain")


def test_the_margin_of_an_angle_map_is_in_degrees(monkeypatch):
    """Three σ of a resolution in 1/Å around the window, whatever the axes: at E_kin = 35.5 eV a degree is 0.0533 1/Å."""
    degree = np.deg2rad(1) * 0.512317 * np.sqrt(INSTRUMENT.photon_energy - INSTRUMENT.work_function)
    kept = {}
    for names, step in ((("ky", "kx"), 0.02), (("deflector", "angle"), 0.02 / degree)):
        at = step * (np.arange(40) - 19.5)
        axes = {names[0]: at, names[1]: at, "energy": np.linspace(-0.1, 0.1, 3)}
        data = xr.DataArray(np.ones((40, 40, 3)), dims=tuple(axes), coords=axes)
        part = given_to_the_fit(monkeypatch, data, problem(), starts=1, fraction=0.25)["data"]["map"]
        kept[names] = part.shape
    assert kept["ky", "kx"] == kept["deflector", "angle"] == (25, 25, 3)  # 20 and 3 × 0.09/2.355/0.02 = 5 beside them


@pytest.fixture(scope="module")
def graphene() -> bj.Retrieval:
    """As if fitted: a map about K, the lattice constant and E_F free; what follows from a fit is looked at."""
    table, k = bj.load_parameters("graphene", "pz").replace(epsilon=0.0), np.linspace(-0.35, 0.35, 10)
    like = empty(10, (-0.2, 0.1, 5)).assign_coords(kx=k, ky=k)

    def model_of(values):
        scale = values["a"] / 2.46
        return bj.tight_binding(
            ATOMS, table, positions=scale * ATOMS.positions, cell=scale * ATOMS.cell.array, spin_orbit=False
        )  # hoppings follow the distance

    there = INSTRUMENT.replace(fermi_energy=-0.6, origin=(4 * np.pi / (3 * 2.46), 0.0))
    parameters = {"a": bj.Parameter(2.46, sigma=0.05, unit="Å")} | bj.instrument_parameters(
        there, {"fermi_energy": 0.05}
    )
    own, errors = bj.Problem(model_of, parameters, there), {"a": 0.01, "fermi_energy": 0.02}
    one = MapResult(like, like, 0 * like, like, Residuals(1.0, (0.0,) * 3, 1.0, np.nan))
    found = FitResult(
        {"a": 2.46, "fermi_energy": -0.6}, errors, {}, ("a", "fermi_energy"), np.diag([1e-4, 4e-4]), {}, {}, {"map": one}, 0.0, 1.0,
        True, [], [], own, np.zeros(2),
    )  # fmt: skip
    return bj.Retrieval(found, 1, 1, {"map": retrieve.fermi_surface_of(found, grid=60)}, {"map": 1.0}, 0.0, [])


ATOMS = bj.graphene(a=2.46)


def test_contours_lie_where_the_map_counts_its_momenta_from(graphene):
    """About K the pocket of the Dirac cone is drawn about the middle: on every drawn contour a band is at E_F."""
    axis = plot.plot_fermi_surface(graphene).axes[1]
    drawn = [p.vertices for c in axis.collections if hasattr(c, "levels") for p in c.get_paths() if len(p.vertices)]
    points = np.concatenate(drawn)
    inside = points[np.abs(points).max(axis=1) < 0.35]
    assert len(inside) > 8 and np.abs(np.linalg.norm(inside, axis=1) - 0.1).max() < 0.03  # 0.6 eV over ħv = 6 eV Å
    origin = np.array(graphene.fit.instrument().origin)
    k = np.concatenate([inside + origin, np.zeros((len(inside), 1))], axis=1)
    energies = np.asarray(bj.bands(graphene.fit.model(), k)) - graphene.fit.values["fermi_energy"]
    assert np.abs(energies).min(axis=1).max() < 0.03  # of a cone whose radius is three steps


def test_a_lattice_constant_scales_the_zone_with_the_surface(graphene):
    """Against areas of a crystal 0.2 % larger: its part of the zone moves with its hoppings only."""
    surface = graphene.surfaces["map"]
    a, level = graphene.fit.values["a"], graphene.fit.values["fermi_energy"]

    def filled(a):
        model = graphene.fit.problem.model_of({"a": a})
        return np.asarray(filled_areas(plane_energies(model, 0.0, 60), level).mean(axis=(1, 2, 3)))

    slope = (filled(1.001 * a) - filled(0.999 * a)) / (0.002 * a)
    only_a = dataclasses.replace(graphene.fit, covariance=np.diag([0.01**2, 0.0]))
    error = retrieve.fermi_surface_of(only_a, grid=60).filled_error
    assert error[0] > 1e-5
    np.testing.assert_allclose(error, 0.01 * np.abs(slope), rtol=0.02, atol=1e-9)
    assert surface.zone == pytest.approx(8 * np.pi**2 / (np.sqrt(3) * a**2), rel=1e-5)


def test_a_parameter_on_its_bound_leaves_areas_without_an_error(graphene):
    """`fit` says that its error is not known (NaN) and keeps 1e-30 in the covariance: areas must not take it for exact."""
    at_bound = graphene.fit.errors | {"fermi_energy": np.nan}
    known = dataclasses.replace(graphene.fit, errors=at_bound, covariance=np.diag([0.01**2, 1e-30]))
    surface = retrieve.fermi_surface_of(known, grid=60)
    assert (
        np.isinf(surface.filled_error[0]) and surface.filled_error[1] == 0
    )  # the upper band is empty whatever E_F does
    assert np.isinf(surface.band_error).all()
    metrics = retrieve.retrieval_metrics(dataclasses.replace(graphene, surfaces={"map": surface}))
    json.dumps(metrics, allow_nan=False)
    assert metrics["surfaces"]["map"]["filled_error"] == [None, 0.0]


def test_a_fit_is_not_lost_with_its_surface(graphene, monkeypatch):
    def broken(*args, **more):
        raise ValueError("Argument `model` must be periodic.")

    monkeypatch.setattr(retrieve, "fermi_surface_of", broken)
    monkeypatch.setattr(retrieve, "fit", lambda *args, **more: graphene.fit)
    again = bj.retrieve_hamiltonian(graphene.fit.maps["map"].data, graphene.fit.problem, starts=1)
    assert again.surfaces == {} and "Map map: no Fermi surface (Argument `model` must be periodic.)" in again.report


def test_a_map_that_ends_below_the_fermi_edge_is_fitted(monkeypatch):
    """`fermi_energy` places the bands on the table's scale: bands below E_F determine it."""
    assert (
        given_to_the_fit(monkeypatch, empty(), problem(), energy=(-0.2, -0.05), starts=1)["data"]["map"]["energy"].max()
        < 0
    )


MODELS = {  # structure, table, what is free, Fermi level on the table's scale, photon energy, centre of the map
    "tetragonal single_orbital": (bj.cubic_lattice(A, c=6.6), ("t", "t_z"), -0.3, 60.0, (0.0, 0.0)),
    "cubic two_orbital": (bj.cubic_lattice(A), ("t_sigma", "t_sigma'"), -0.7, 60.0, (0.0, 0.0)),
    "graphene pz": (bj.graphene(), ("gamma0",), -1.0, 60.0, (4 * np.pi / (3 * 2.46), 0.0)),
    "Si vogl1983": (bj.zincblende("Si"), ("V_xx", "V_sp"), -1.0, 60.0, (0.0, 0.0)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_every_kind_of_model_is_retrieved(name):
    """From half of a volume, two starts; values within their errors of those that the data were made with."""
    atoms, free, level, photon, origin = MODELS[name]
    material, _, which = name.rpartition(" ")
    table = bj.load_parameters(material, which)
    model_of = bj.table_model(atoms, table, spin_orbit=bool(table.spec.spin_orbit))
    instrument = INSTRUMENT.replace(
        fermi_energy=level, photon_energy=photon, origin=origin, fwhm_momentum=0.08, eta=0.08
    )
    k = np.linspace(-0.6, 0.6, 18)
    axes = {"ky": k, "kx": k, "energy": np.linspace(-0.3, 0.1, 11)}  # k_z of one point is that of the window's middle
    sign = np.array([1.5, -1.5])  # prior widths from where the fits begin
    truth = {n: float(table[n]) * (1 + 0.04 * s) for n, s in zip(free, sign, strict=False)}
    truth |= {"fermi_energy": level - 0.045, "gain": 9.0}
    there = instrument.replace(fermi_energy=truth["fermi_energy"], gain=truth["gain"])
    mean = np.asarray(bj.arpes_image(model_of(truth), there, axes, kz_points=1))
    data = xr.DataArray(np.random.default_rng(1).poisson(mean).astype(float), dims=tuple(axes), coords=axes)
    parameters = {n: bj.Parameter(float(table[n]), sigma=0.04 * abs(float(table[n]))) for n in free}
    parameters |= bj.instrument_parameters(instrument, {"fermi_energy": 0.03, "gain": None})
    problem = bj.Problem(model_of, parameters, instrument, inflate=False, broadening=((0.0, 0.3),), kz_points=1, seed=3)
    found = bj.retrieve_hamiltonian(data, problem, starts=2, fraction=0.5, grid=24)
    pulls = [(found.fit.values[n] - v) / found.fit.errors[n] for n, v in truth.items()]
    assert found.reached == 2 and np.abs(pulls).max() < 3.5
    assert found.fit.errors[free[0]] < 0.5 * parameters[free[0]].sigma  # the data say it, not the prior
    assert np.isfinite(found.surfaces["map"].filled_error).all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: bj.brightness_parameters(4), "`order` must be a whole number from 1 to 3, but is 4"),
        (lambda: bj.brightness_parameters(1, lateral=0), "`lateral` must be a whole number from 1 to 2"),
        (
            lambda: bj.fit(empty().isel(ky=0, drop=True), problem_with(bj.brightness_parameters(1))),
            "`brightness_y` must go with maps that have two lateral axes, but map `map` has kx, energy",
        ),
        (lambda: bj.fit(empty(), problem_with({"brightness_z": bj.Parameter(0.0)})), "`brightness_z` must be a value of the model"),
    ],
)  # fmt: skip
def test_brightness_that_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def problem_with(more: dict[str, bj.Parameter]) -> bj.Problem:
    own = problem()
    return dataclasses.replace(own, parameters={**own.parameters, **more})


def test_brightness_is_a_product_of_legendre_polynomials():
    """c_10 x + c_02 (3y² − 1)/2 with x = kx and y = ky scaled to ±1; a map's own beside what all share."""
    axes = as_axes(empty())
    x = np.linspace(-1, 1, 16)
    values = {"brightness_x": 0.3, "other.brightness_x": 9.0, "own.brightness_yy": -0.2, "t": 5.0}
    expected = np.exp(0.3 * x[None, :] - 0.2 * (1.5 * x[:, None] ** 2 - 0.5))[..., None]
    np.testing.assert_allclose(brightness_of(values, "own", axes), expected, rtol=1e-6)
    assert brightness_of({"t": 1.0, "other.brightness_x": 1.0}, "own", axes) == 1.0
    assert len(bj.brightness_parameters(3)) == 9 and set(bj.brightness_parameters(1, maps=("a",))) == {
        "a.brightness_x",
        "a.brightness_y",
    }


@pytest.mark.slow
def test_a_free_brightness_takes_up_a_smooth_matrix_element():
    """Data 1 ± 0.4 as bright along kx: hoppings are off without the coefficients, and within their errors with them."""
    like = empty(24)
    mean = np.asarray(bj.arpes_image(MODEL_OF({}), INSTRUMENT.replace(gain=160.0), like))
    x, y = np.linspace(-1, 1, 24), np.linspace(-1, 1, 24)[:, None]
    data = like.copy(data=1.0 + (mean - 1.0) * (1 + 0.3 * x + 0.2 * x * y)[..., None])
    pulls = {}
    for name, more in (("without", {}), ("with", bj.brightness_parameters(3))):
        own = problem_with(more)
        own.parameters["gain"] = own.parameters["gain"]._replace(value=150.0)
        found = bj.fit(bj.part_of_map(data, 0.25, margin=0.12), own, bootstrap_draws=0)
        truth = {"t": 0.4, "t'": -0.1, "fermi_energy": -0.5}
        pulls[name] = max(abs(found.values[n] - v) / found.errors[n] for n, v in truth.items())
    assert pulls["with"] < 0.5 and pulls["without"] > 2.0  # data without noise, of 160 counts/eV
