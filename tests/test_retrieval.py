"""Retrieval: a part of a map, Fermi-surface areas and their errors, starts, and what is refused."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import bandjax as bj
from bandjax.cli import main
from bandjax.inference.partial import window_limits
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


@pytest.fixture(scope="module")
def counts() -> xr.DataArray:
    like = empty()
    mean = np.asarray(bj.arpes_image(MODEL_OF({}), INSTRUMENT, like))
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
    truth = {"t": 0.4, "t'": -0.1, "fermi_energy": -0.5, "gain": 8.0}
    pulls = [(found.fit.values[n] - v) / found.fit.errors[n] for n, v in truth.items()]
    assert np.abs(pulls).max() < 3.5 and found.used["map"] == pytest.approx(0.25 * 9 / 13)


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
    truth = filled_areas(plane_energies(MODEL_OF({}), 0.0, 48, surface.vectors), -0.5).mean()
    assert abs(surface.filled[0] - float(truth)) < 4 * surface.filled_error[0]
    (pocket,) = surface.pockets
    assert pocket.kind == "hole" and pocket.area == pytest.approx(1 - surface.filled[0])
    assert np.allclose(pocket.centre, np.pi / A, atol=0.02)


@pytest.mark.slow
def test_smoothing_along_the_momentum_brings_a_far_start_home(counts):
    """From bands that cross E_F elsewhere: the smoothed stage is needed, and ends where the others end."""
    far = {"t": 0.55, "t'": 0.05, "fermi_energy": -0.2, "gain": 8.0}
    data = bj.part_of_map(counts, 0.25, energy=(-0.1001, 0.1), margin=0.12)
    near = bj.fit(data, problem(), bootstrap_draws=0)
    again = bj.fit(data, problem(), starts=[far], bootstrap_draws=0)
    assert again.cost == pytest.approx(near.cost, abs=0.01)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda c: bj.retrieve_hamiltonian(c, problem(), bands=2), "must have the 2 bands that are asked for, but .* has 1"),
        (lambda c: bj.retrieve_hamiltonian(c, problem(), energy=(-0.2, -0.05)), "`fermi_energy` may be free where a map reaches the Fermi edge"),
        (lambda c: bj.retrieve_hamiltonian(c * np.nan, problem()), "must hold pixels with data, but all are masked"),
        (lambda c: bj.retrieve_hamiltonian(c, problem(), starts=0), "`starts` must be a whole number ≥ 1"),
        (lambda c: bj.retrieve_hamiltonian(c, problem(), grid=4), "`grid` must be a whole number ≥ 8"),
        (lambda c: bj.part_of_map(c, 0.0), r"`fraction` must be a number in \(0, 1\], but is 0.0"),
        (lambda c: bj.part_of_map(c, 1.5), r"`fraction` must be a number in \(0, 1\]"),
        (lambda c: bj.part_of_map(c, 0.5, pattern="half"), "`pattern` must be one of 'window', 'random'"),
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
    assert "must have the 3 bands" in capsys.readouterr().err
