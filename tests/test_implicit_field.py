"""The implicit field: what it is as a function, that it beats the counts, that it comes back from its file and goes on; refusals."""

import json
import re

import jax
import numpy as np
import pytest
import xarray as xr

from bandjax import fit_field, load_field
from bandjax.cli import main
from bandjax.plot import plot_field
from bandjax.reconstruction import field_training, implicit
from bandjax.reconstruction.field_training import log_likelihood
from experiments import implicit_field as experiment

KX, ENERGY = np.linspace(-0.5, 0.5, 20), np.linspace(-1.0, 0.2, 24)
UNITS = {"kx": "1/angstrom", "energy": "eV"}
SMALL = {"width": 16, "depth": 1, "members": 2, "batch": 128, "bandwidth": 2.0, "rounds": 10, "learning_rate": 1e-2}


def mean_of(peak=10.0):
    return 1 + peak * np.exp(-0.5 * ((ENERGY - KX[:, None] ** 2 + 0.5) / 0.15) ** 2)


def as_map(values, units=UNITS):
    coords = {n: (n, a, {"units": units[n]} if n in units else {}) for n, a in (("kx", KX), ("energy", ENERGY))}
    return xr.DataArray(values, dims=("kx", "energy"), coords=coords, attrs={"energy_reference": "fermi"})


COUNTS = np.random.default_rng(0).poisson(mean_of()).astype(float)
GRID = np.stack(np.meshgrid(KX, ENERGY, indexing="ij"), axis=-1)


@pytest.fixture(scope="module")
def field():
    return fit_field(as_map(COUNTS), **SMALL)


def test_a_field_beats_the_counts_and_a_flat_map(field):
    found = field.on({"kx": KX, "energy": ENERGY})
    off = np.sqrt(np.mean((found.values - mean_of()) ** 2))
    assert off < 0.4 * np.sqrt(np.mean((COUNTS - mean_of()) ** 2))  # as the mean of six pixels that are all alike
    assert field.record["held_out"] > 0.1 and len(field.record["history"]) == 2
    fresh = np.random.default_rng(1).poisson(mean_of())
    flat = np.full_like(COUNTS, COUNTS.mean())
    known = log_likelihood(mean_of(), fresh) - log_likelihood(flat, fresh)
    assert (
        log_likelihood(found.values, fresh) - log_likelihood(flat, fresh) > 0.9 * known
    )  # most of what there is to know
    assert found.dims == ("kx", "energy") and found["kx"].attrs["units"] == "1/angstrom"


def test_a_field_is_positive_and_its_slopes_are_those_of_its_values(field):
    points = np.random.default_rng(2).uniform((-0.5, -1.0), (0.5, 0.2), (40, 2))
    with jax.enable_x64(True):
        values = field(points)
        assert values.shape == (40,) and values.dtype == points.dtype and values.min() > 0
        slopes, h = jax.jit(jax.vmap(jax.grad(field)))(points), 1e-5
        for axis in range(2):
            step = h * np.eye(2)[axis]
            np.testing.assert_allclose(
                slopes[:, axis], (field(points + step) - field(points - step)) / (2 * h), rtol=1e-5, atol=1e-5
            )
    assert abs(slopes).max() > 10
    far = np.array([[50.0, -80.0]])
    assert np.isfinite(field(far)).all() and (field(far) > 0).all()
    np.testing.assert_allclose(field(GRID)[3, 5], field(GRID[3, 5]), rtol=1e-5)


def spread_of(found, other):
    return np.sqrt(np.mean((found - other) ** 2) / np.mean((other - other.mean()) ** 2))


def test_scattered_counts_are_as_good_as_a_map(field):
    """They miss only the spread of a batch over the pixels: another stream of random numbers, the same function within noise."""
    axes = {"kx": KX, "energy": ENERGY}
    found = fit_field(COUNTS.ravel(), GRID.reshape(-1, 2), units=UNITS, **SMALL).on(axes).values
    on_a_map = field.on(axes).values
    assert (
        0 < spread_of(found, on_a_map) < 0.5 * spread_of(on_a_map, mean_of())
    )  # nearer to one another than to the truth
    assert spread_of(found, mean_of()) < 1.2 * spread_of(on_a_map, mean_of())


@pytest.mark.parametrize("peak", [30.0, 300.0])
def test_who_judges_has_no_random_numbers_in_common_with_the_training(peak):
    """Where no pixel is empty, two binomial draws from one stream go in step: residuals of both were seen to correlate by 0.97."""
    counts = np.random.default_rng(0).poisson(peak, (60, 80)).astype(float)
    judge = experiment.judged(counts, 0, 0)
    given = counts - judge
    axes = {"kx": np.arange(60.0), "energy": np.arange(80.0)}
    data = xr.DataArray(given, dims=tuple(axes), coords={n: (n, a, {"units": UNITS[n]}) for n, a in axes.items()})
    run = implicit._Run(
        implicit._table(data, None, None, None, None, 1.0), {"seed": 0, "held_out_by": "counts"}, None, None, {}
    )
    for number in range(2):
        held = run.split(number).held_counts.reshape(counts.shape)
        for left in (judge - 0.2 * counts, counts - peak):
            off = np.corrcoef((held - 0.2 * given).ravel(), left.ravel())[0, 1]
            assert abs(off) < 4 / np.sqrt(counts.size)


def test_smoothing_is_chosen_by_the_task():
    """Of a map that is constant along one axis, whose pixels are hidden at random: widths by pixels are large along it, and small for counts
    without noise, which pixels between them need all the same."""
    rng = np.random.default_rng(0)
    mean = np.repeat(1e4 * (1 + np.sin(np.arange(30))[:, None] ** 2), 12, axis=1)
    seen = rng.random(mean.shape) > 0.3
    by_counts, by_pixels = (
        experiment.smoothing(rng.poisson(mean).astype(float), seen, rng, by)[1]["sigma_pixels"]
        for by in ("counts", "pixels")
    )
    assert by_pixels[1] >= 1.0 and by_pixels[0] <= 0.5 and by_counts[0] <= 0.5


@pytest.mark.slow
def test_missing_pixels_are_filled():
    holes = COUNTS.copy()
    holes[::5, ::3] = np.nan
    for kind in ("fourier", "siren"):
        found = fit_field(as_map(holes), kind=kind, **SMALL).on({"kx": KX, "energy": ENERGY}).values
        missing = np.isnan(holes)
        assert np.sqrt(np.mean((found - mean_of())[missing] ** 2)) < 0.6 * np.sqrt(
            mean_of()[missing].mean()
        )  # had it been counted: 1


def test_exposure_divides_the_counts():
    """Half of the map seen three times as long: the rate is one smooth function."""
    exposure = np.where(KX[:, None] > 0, 3.0, 1.0) * np.ones_like(COUNTS)
    counts = np.random.default_rng(4).poisson(exposure * mean_of()).astype(float)
    by_name = xr.DataArray(exposure, dims=("kx", "energy")).T
    found = fit_field(as_map(counts), exposure=by_name, **SMALL).on({"kx": KX, "energy": ENERGY}).values
    assert (
        np.sqrt(np.mean((found / mean_of() - 1) ** 2)) < 0.25
    )  # counts themselves, seen three times as long: 0.6 where dim
    wrong = fit_field(as_map(counts), **SMALL).on({"kx": KX, "energy": ENERGY}).values
    assert np.mean(wrong[12:] / mean_of()[12:]) > 2  # a rate three times too high


def test_a_field_comes_back_from_its_file(field, tmp_path):
    again = load_field(field.save(tmp_path / "field.npz"))
    np.testing.assert_array_equal(again(GRID), field(GRID))
    assert (again.names, again.units, again.record["bandwidth"]) == (
        field.names,
        field.units,
        field.record["bandwidth"],
    )
    other = tmp_path / "other.npz"
    np.savez(other, x=np.zeros(3))
    with pytest.raises(ValueError, match=r"other.npz must be a field saved by bandjax"):
        load_field(other)
    with np.load(tmp_path / "field.npz") as found:
        arrays = dict(found)
    arrays["head"] = np.array(json.dumps(json.loads(str(arrays["head"])) | {"format": 99}))
    np.savez(other, **arrays)
    with pytest.raises(ValueError, match=r"must be a field of format 1, but is of format 99"):
        load_field(other)
    with pytest.raises(FileNotFoundError):
        load_field(tmp_path / "none.npz")


def test_whole_numbers_are_coordinates_like_others(field):
    """Weights follow the dtype of the coordinates: as whole numbers all of them were 0 or 1."""
    whole = np.array([[0, -1], [0, 0]])
    np.testing.assert_array_equal(field(whole), field(whole.astype(float)))
    assert field(whole)[0] != field(whole)[1]


def test_a_damaged_field_is_refused(field, tmp_path):
    path = field.save(tmp_path / "field.npz")
    with np.load(path) as found:
        arrays = dict(found)
    head = json.loads(str(arrays["head"]))
    leaves = sorted(n for n in arrays if n.startswith("leaf"))
    damaged = {
        "names": arrays | {"head": np.array(json.dumps({k: v for k, v in head.items() if k != "names"}))},
        "sirens": arrays | {"head": np.array(json.dumps(head | {"kind": "sirens"}))},
        "an odd number of leaves": {n: v for n, v in arrays.items() if n != leaves[-1]},
        "another number of axes": arrays | {"centre": np.zeros(3)},
    }
    for what, content in damaged.items():
        np.savez(path, **content)
        with pytest.raises(ValueError, match=r"must (hold a whole field|be a field saved by bandjax)"):
            load_field(path)
            pytest.fail(what)
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(ValueError, match="must be a field saved by bandjax"):
        load_field(path)


@pytest.mark.slow
def test_other_data_are_another_training(tmp_path):
    """As many counts in as many pixels, at other places, with another exposure, in another order: none takes the old training."""
    small = SMALL | {"members": 1, "rounds": 2}
    fit_field(as_map(COUNTS), folder=tmp_path, **small)
    others = {
        "order": dict(data=as_map(COUNTS[::-1].copy())),
        "exposure": dict(data=as_map(COUNTS), exposure=np.full(COUNTS.shape, 2.0)),
        "places": dict(data=as_map(COUNTS).assign_coords(kx=("kx", 2 * KX, {"units": "1/angstrom"}))),
    }
    for given in others.values():
        with pytest.raises(ValueError, match="training of this configuration, but data = "):
            fit_field(**given, folder=tmp_path, **small)


@pytest.mark.slow
def test_a_finished_training_keeps_its_seconds(tmp_path):
    """Read from its file it takes no time, and is not said to have taken none; a broken file is named."""
    small = SMALL | {"members": 1, "rounds": 3}
    first = fit_field(as_map(COUNTS), folder=tmp_path, **small).record["seconds_per_epoch"]
    again = fit_field(as_map(COUNTS), folder=tmp_path, **small).record["seconds_per_epoch"]
    assert 0 < first == again
    (state,) = tmp_path.glob("*.npz")
    state.write_bytes(state.read_bytes()[:-200])
    with pytest.raises(ValueError, match=f"File {state} must hold the state of a training"):
        fit_field(as_map(COUNTS), folder=tmp_path, **small)


def test_pixels_of_an_uneven_axis_are_its_own():
    """Halves of the distances to the neighbours: 1, 1.5 and 2 on an axis 0, 1, 3, 5 of half length 2.5."""
    axis = np.array([0.0, 1.0, 3.0, 5.0])
    data = xr.DataArray(np.full((4, 20), 5.0), dims=("kx", "energy"), coords={"kx": axis, "energy": np.arange(20.0)})
    table = implicit._table(data, None, None, UNITS, None, 1.0)
    np.testing.assert_allclose(table.pixel[::20, 0], np.array([0.5, 0.75, 1.0, 1.0]) / 2.5)
    np.testing.assert_allclose(table.pixel[:, 1], 0.5 / 9.5)


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_field(field, tmp_path, monkeypatch):
    monkeypatch.setattr(field_training, "KEPT_EVERY", 0.0)

    def kill(entry):
        if entry["round"] == 4 and entry["stage"].startswith("network 2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_field(as_map(COUNTS), folder=tmp_path, progress=kill, **SMALL)
    rounds = []
    again = fit_field(as_map(COUNTS), folder=tmp_path, progress=lambda e: rounds.append(e["round"]), **SMALL)
    assert rounds[0] == 5  # the fourth was written before it was told
    np.testing.assert_array_equal(again(GRID), field(GRID))
    with pytest.raises(ValueError, match=r"training of this configuration, but seed = 0 there and 1 here"):
        fit_field(as_map(COUNTS), folder=tmp_path, seed=1, **SMALL)


@pytest.mark.slow
def test_bandwidth_by_held_out_counts_and_whole_pixels():
    given = SMALL | {"bandwidth": None, "members": 1, "rounds": 3, "held_out": "pixels"}
    found = fit_field(as_map(COUNTS), **given)
    scan = found.record["scan_bandwidth"]
    assert found.record["bandwidth_first"] == [scan["values"][int(np.argmax(scan["scores"]))]] * 2
    assert found.record["held_out_gain"] == [max(scan["scores"])]


def test_the_figure_of_a_field(field, tmp_path):
    figure = plot_field(as_map(COUNTS), field, finer=2)
    figure.savefig(tmp_path / "field.png")
    titles = [axis.get_title() for axis in figure.axes[:3]]
    assert titles == ["data", "field", "residual"]
    left = figure.axes[2].collections[0].get_array()
    assert abs(np.mean(np.square(left)) - 1) < 0.2  # in units of the noise
    with pytest.raises(ValueError, match="axes kx, energy of the field"):
        plot_field(as_map(COUNTS).rename(kx="ky"), field)


def test_the_residual_of_an_exposed_map(field):
    """Twenty times as long as for `field`: counts twenty times as high are no residual, once they are told to be."""
    counts = as_map(np.random.default_rng(5).poisson(20 * mean_of()).astype(float))
    exposure = xr.full_like(counts, 20.0).T
    left = {
        e is None: plot_field(counts, field, exposure=e).axes[2].collections[0].get_array() for e in (None, exposure)
    }
    assert np.abs(left[False]).mean() < 3 < 20 < np.abs(left[True]).mean()


NEGATIVE, INFINITE = COUNTS.copy(), COUNTS.copy()
NEGATIVE[2, 3], INFINITE[2, 3] = -1, np.inf
REFUSED = {
    "negative counts": (lambda: fit_field(as_map(NEGATIVE)), "counts ≥ 0 or NaN.*1 of its 480.*-1"),
    "infinite counts": (lambda: fit_field(as_map(INFINITE)), "1 of its 480 .*inf"),
    "fractions": (lambda: fit_field(as_map(COUNTS / 3)), "whole counts.*`noise_scale`"),
    "too few counts": (lambda: fit_field(as_map(np.eye(20, 24))), "at least 200 counts in 50 points.*20 in 480"),
    "all masked": (lambda: fit_field(as_map(COUNTS), mask=np.zeros_like(COUNTS, bool)), "0 in 0"),
    "no units": (lambda: fit_field(as_map(COUNTS, {"kx": "1/angstrom"})), "`energy` must state its units"),
    "points without units": (lambda: fit_field(COUNTS.ravel(), GRID.reshape(-1, 2)), "`units` must name the axes"),
    "points without coordinates": (lambda: fit_field(COUNTS.ravel(), units=UNITS), "`data` must be a DataArray, or.*`coords`"),
    "coordinates of another length": (lambda: fit_field(COUNTS.ravel(), GRID[0], units=UNITS), r"`coords` must have shape \(480, 2\)"),
    "coordinates that are NaN": (
        lambda: fit_field(COUNTS.ravel(), np.full((480, 2), np.nan), units=UNITS), "`coords` must be finite"
    ),
    "coordinates of a map": (lambda: fit_field(as_map(COUNTS), GRID), "`coords` must be left out"),
    "points on a line": (lambda: fit_field(COUNTS[0].repeat(4), np.ones((96, 1)), units={"kx": "1"}), "`kx` must have more than one value"),
    "exposure of another shape": (lambda: fit_field(as_map(COUNTS), exposure=np.ones(3)), "`exposure` must have shape"),
    "unknown kind": (lambda: fit_field(as_map(COUNTS), kind="sirens"), "`kind`.*'sirens'.*'siren'"),
    "bandwidth of zero": (lambda: fit_field(as_map(COUNTS), bandwidth=0.0), "`bandwidth` must be > 0"),
    "bandwidths of another number": (lambda: fit_field(as_map(COUNTS), bandwidth=(1.0, 2.0, 3.0)), r"`bandwidth` must have shape \(2,\)"),
    "half a network": (lambda: fit_field(as_map(COUNTS), members=2.5), "`members` must be a whole number ≥ 1, but is 2.5"),
    "half a wave": (lambda: fit_field(as_map(COUNTS), width=8.5), "`width` must be a whole number ≥ 1, but is 8.5"),
    "no wave": (lambda: fit_field(as_map(COUNTS), width=0), "`width` must be a whole number ≥ 1, but is 0"),
    "a word for a number": (lambda: fit_field(as_map(COUNTS), noise_scale="measured"), '`noise_scale` must be a number > 0 or "measure", but is \'measured\''),
    "noise of points": (lambda: fit_field(COUNTS.ravel(), GRID.reshape(-1, 2), units=UNITS, noise_scale="measure"), "`noise_scale`"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case):
    call, words = REFUSED[case]
    with pytest.raises(ValueError, match=f"(?s){words}"):
        call()


@pytest.mark.slow
def test_the_command(tmp_path, capsys):
    as_map(COUNTS).rename("intensity").to_netcdf(tmp_path / "map.nc", engine="h5netcdf")
    files = {n: str(tmp_path / n) for n in ("map.nc", "field.npz", "fine.nc")}
    given = ["--width", "16", "--depth", "1", "--members", "2", "--bandwidth", "2"]
    grid = ["--grid", files["fine.nc"], "--shape", "40", "50"]
    assert main(["field", files["map.nc"], "-o", files["field.npz"], *grid, *given, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["held_out"] > 0.1 and len(told["files"]) == 3
    fine = xr.open_dataset(files["fine.nc"], engine="h5netcdf")
    assert fine.intensity.shape == (40, 50) and fine.kx.attrs["units"] == "1/angstrom"
    assert json.loads(fine.intensity.attrs["config"])["shape"] == [40, 50] and "commit" in fine.intensity.attrs
    found = load_field(files["field.npz"])
    np.testing.assert_allclose(
        found.on({n: fine[n].values for n in ("kx", "energy")}).values, fine.intensity, rtol=1e-6
    )
    assert (tmp_path / "field.png").stat().st_size > 10_000
    assert main(["field", files["map.nc"], "-o", files["field.npz"], "--grid", files["fine.nc"], "--shape", "40"]) == 2
    assert re.search("--shape.*2 numbers.*kx, energy", capsys.readouterr().err)
