"""The learned part: images from keys, the network's view of them, its posterior, training as a job, the closed loop."""

import contextlib
import dataclasses
import json
import os
import resource
import subprocess
import sys
import time
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import xarray as xr
import zarr
from scipy.stats import multivariate_normal
from scipy.stats import poisson as poisson_law

import bandjax as bj
from bandjax.commands_learning import words as inversion_words
from bandjax.inference.problem import model_values
from bandjax.learning.cache import open_cache, single_precision
from bandjax.learning.checkpoints import State, open_manager, restore_state, save_state
from bandjax.learning.closed_loop import (
    Guess,
    Inversion,
    as_dictionary,
    explanations_of,
    guess_of,
    invert,
    judge,
    problem_of,
)
from bandjax.learning.families import buried_sige
from bandjax.learning.family import COUNTED, EXPOSURE, Ranges, physical, standardised
from bandjax.learning.images import Clean, Images, draw_clean, draw_images, expose, mean_counts
from bandjax.learning.job import make_step
from bandjax.learning.mixture import Mixture, log_prob, mixture_of, moments, parameter_count, sample
from bandjax.learning.noise import poisson
from bandjax.learning.objective import finish, make_loss
from bandjax.learning.observe import as_seen, check_image
from bandjax.learning.residuals import misfits, residual_test
from bandjax.learning.reverse import Shape, seen
from bandjax.learning.training import train
from bandjax.learning.training_config import TrainingConfig, read_training, training_config
from bandjax.learning.weights import load_reverse, make_network, save_reverse, weights_of

SMALL = Shape(rows=6, columns=10, width=8, blocks=1, hidden=8, components=2)
FAMILY = buried_sige()
KEY = jax.random.key(7)


def made_up(count: int, seed: int = 0) -> Clean:
    """Signals of no stack, in the right shapes: what is tested with them is not the physics."""
    rng, r = np.random.default_rng(seed), FAMILY.ranges
    axes = (np.linspace(-0.7, 0.7, r.kx_points), np.linspace(-6.0, 0.3, r.energy_points))
    bright = 4e-5 * rng.gamma(4.0, 0.25, (count, r.kx_points, r.energy_points))
    values = np.array([p.value for _, p in FAMILY.parameters]) * np.ones((count, 1))
    rows = (values, bright, *(a * np.ones((count, 1)) for a in axes), np.full(count, 100.0), np.full(count, 0.1))
    return Clean(*(jnp.asarray(x, jnp.float32) for x in rows))


@pytest.fixture(scope="module")
def images():
    with single_precision():
        return expose(FAMILY, KEY, made_up(4))


@pytest.fixture(scope="module")
def reverse(images):
    """A network that was not trained, with the statistics of a few images."""
    with single_precision():
        return finish(FAMILY, make_network(SMALL), jax.tree.map(lambda x: jnp.repeat(x, 3, axis=0), images), {"config": {}})  # fmt: skip


def as_map(images, index: int = 0) -> xr.DataArray:
    counts = np.where(np.asarray(images.mask[index]) > 0, np.asarray(images.counts[index], float), np.nan)
    axes = {n: np.linspace(*np.asarray(getattr(images, n)[index], float)[[0, -1]], counts.shape[i]) for i, n in enumerate(("kx", "energy"))}  # fmt: skip
    told = {n: float(getattr(images, n)[index]) for n in ("photon_energy", "fwhm_energy")}
    return xr.DataArray(counts, dims=("kx", "energy"), coords=axes, attrs=told)


def test_noise_is_poisson():
    means = jnp.array([0.3, 12.0, 49.0, 51.0, 300.0], jnp.float32)
    counts = np.asarray(jax.jit(lambda k: poisson(k, jnp.broadcast_to(means, (20000, 5))))(KEY))
    for mean, column in zip(np.asarray(means), counts.T, strict=True):
        at = np.arange(int(mean + 6 * mean**0.5 + 4))
        found = (column[:, None] <= at).mean(axis=0)
        # 1.95/√n is exceeded once in a thousand times (Kolmogorov)
        assert np.abs(found - poisson_law.cdf(at, mean)).max() < 1.95 / np.sqrt(20000) + 1e-3
        assert column.min() >= 0 and (column == np.round(column)).all()


def test_exposures_follow_the_key_and_the_step():
    with single_precision():
        one, again, other = (expose(FAMILY, jax.random.fold_in(KEY, step), made_up(4)) for step in (1, 1, 2))
    assert all((a == b).all() for a, b in zip(one, again, strict=True))
    assert (one.counts != other.counts).mean() > 0.3 and (one.kx == other.kx).all()
    hidden = np.asarray(one.mask) == 0
    assert 0 < hidden.mean() < 0.6 and (np.asarray(one.counts)[hidden] == 0).all()
    level = np.asarray(mean_counts(one.counts, one.mask))
    assert level.min() > 2 and level.max() < 110


def test_a_latent_is_its_numbers():
    values = jnp.array([[p.value + 0.3 * p.sigma for _, p in FAMILY.parameters]])
    exposure = {"gain": 2e5, "background": 1.5, "background_linear": 0.4, "detector_slope": -0.07}
    z = standardised(FAMILY, values, {n: jnp.array([v]) for n, v in exposure.items()}, jnp.array([20.0]))
    assert FAMILY.names[-4:] == tuple(exposure) and np.allclose(z[0, :-4], 0.3)
    assert np.allclose(z[0, -3:], [(1.5 / 20 - 0.08) / 0.03, (0.4 / 20 - 0.03) / 0.015, -0.7], rtol=1e-5)
    assert np.allclose(physical(FAMILY, z, jnp.array([20.0]))[0], [*values[0], *exposure.values()])


@pytest.mark.slow
def test_masked_and_foreign_pixels_change_nothing(images):
    network = jax.jit(make_network(SMALL).__call__)
    first = jax.tree.map(lambda x: x[0], seen(images))
    before = network(first)[0]
    behind = network(first._replace(counts=first.counts + 1000 * (1 - first.mask)))[0]
    assert all((a == b).all() for a, b in zip(before, behind, strict=True))
    # an axis that goes on behind the mask is the same image
    more = lambda x: jnp.pad(x, ((0, 0), (0, 5)))  # noqa: E731
    step = first.energy[1] - first.energy[0]
    longer = first._replace(
        counts=more(first.counts), mask=more(first.mask),
        energy=jnp.concatenate([first.energy, first.energy[-1] + step * jnp.arange(1, 6)]),
    )  # fmt: skip
    assert np.allclose(network(longer)[0].mean, before.mean, atol=1e-4)
    seen_pixel = jnp.argmax(first.mask.ravel())
    changed = network(first._replace(counts=first.counts.ravel().at[seen_pixel].add(50).reshape(first.counts.shape)))[0]
    assert np.abs(changed.mean - before.mean).max() > 1e-6


def test_the_posterior_is_a_normalised_density():
    p, c = 3, 2
    numbers = jax.random.normal(KEY, (parameter_count(p, c),), jnp.float64)
    mixture = mixture_of(numbers, p, c)
    covariance = np.linalg.inv(np.asarray(mixture.root @ jnp.swapaxes(mixture.root, -1, -2)))
    z = np.array([0.3, -0.2, 0.5])
    density = sum(
        np.exp(w) * multivariate_normal(m, v).pdf(z) for w, m, v in zip(mixture.log_weight, mixture.mean, covariance, strict=True)
    )  # fmt: skip
    assert np.isclose(np.exp(log_prob(mixture, jnp.asarray(z))), density, rtol=1e-10)
    draws = np.asarray(sample(mixture, KEY, 20000))
    mean, spread = moments(mixture)
    error = np.sqrt(np.diagonal(spread) / 20000)
    assert (np.abs(draws.mean(axis=0) - mean) < 5 * error).all()
    assert np.allclose(np.cov(draws.T), spread, atol=0.1 * np.abs(spread).max())


@pytest.mark.slow
def test_the_loss_has_a_finite_gradient(images):
    network = make_network(SMALL)
    with single_precision():
        slope = jax.jit(jax.grad(make_loss(network)))(weights_of(network), images)
    leaves = jax.tree.leaves(slope)
    assert all(np.isfinite(x).all() for x in leaves) and sum(float(jnp.abs(x).sum()) for x in leaves) > 0


@pytest.fixture(scope="module")
def signals(tmp_path_factory):
    """A cache whose signals are made up, so that a training test needs no exact images."""
    folder = tmp_path_factory.mktemp("signals") / "cache"
    import bandjax.learning.cache as cache

    patch = pytest.MonkeyPatch()
    patch.setattr(cache, "draw_clean", lambda family, key, count: made_up(count, int(jax.random.bits(key)) % 1000))
    open_cache(FAMILY, folder, 128, seed=4, quiet=True)
    patch.undo()
    return folder


def tiny(signals, **changes) -> TrainingConfig:
    return training_config(
        {"seed": 4, "steps": 4, "batch": 4, "signals": 40, "validation": 8, "cache": str(signals), "checkpoint_every": 2, "components": 1,
         "width": 8, "blocks": 1, "hidden": 8} | changes
    )  # fmt: skip


@pytest.mark.slow
def test_a_killed_training_ends_bit_for_bit_where_an_undisturbed_one_does(signals, tmp_path):
    config = tiny(signals)
    whole = train(config, tmp_path / "whole", quiet=True)
    assert train(config, tmp_path / "killed", quiet=True, stop_after=3) is None  # after the checkpoint of step 2
    resumed = train(config, tmp_path / "killed", quiet=True)
    with np.load(whole) as a, np.load(resumed) as b:
        assert a.files == b.files and all((a[n] == b[n]).all() for n in a.files)
    rows = (tmp_path / "killed" / "metrics.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["step", "2", "4"]
    with pytest.raises(ValueError, match="seed = 4 there and 5 here"):
        train(dataclasses.replace(config, seed=5), tmp_path / "killed", quiet=True)


TWO_DEVICES = """
import sys
import jax
from jax.sharding import NamedSharding, PartitionSpec
import jax.numpy as jnp
import optax
from bandjax.devices import device_mesh, split
from bandjax.learning import training
from bandjax.learning.checkpoints import open_manager
from pathlib import Path
from bandjax.learning.images import Clean
from bandjax.learning.job import Job, run_job
from bandjax.learning.training_config import training_config

def signals(family, key, count, mesh=None):
    shapes = (9,), (24, 48), (24,), (48,), (), ()
    made = Clean(*(jax.random.uniform(jax.random.fold_in(key, i), (count, *s), minval=0.5) for i, s in enumerate(shapes)))
    return jax.device_put(made, NamedSharding(mesh, PartitionSpec("batch")))

training.draw_clean = signals
config = training_config({"steps": 2, "batch": 4, "signals": 0, "validation": 4, "checkpoint_every": 1, "components": 1,
                          "width": 8, "blocks": 1, "hidden": 8})
for stop in (1, None):
    written = training.train(config, sys.argv[1], quiet=True, stop_after=stop, mesh=device_mesh())
print(len(jax.devices()), written.name)

def steps(folder, mesh):
    folder.mkdir()
    batch = lambda i: (jnp.arange(8.0) + i, jnp.float32(2.0))
    job = Job(3, 3, batch, lambda w, b: ((w["x"] - b[1] * b[0]) ** 2).mean(), lambda: batch(9), optax.constant_schedule(0.1))
    with open_manager(folder) as manager:
        return float(run_job(job, folder, {"x": jnp.zeros(())}, manager, quiet=True, mesh=mesh)["x"])

root, mesh = Path(sys.argv[1]), device_mesh()
one, two = steps(root / "one", None), steps(root / "two", mesh)
assert one > 0.2 and abs(one - two) < 1e-6, (one, two)
assert len(split(jnp.arange(8.0), mesh).sharding.device_set) == 2
try:
    split(jnp.arange(7.0), mesh)
except ValueError as error:
    assert "multiple of the 2 devices, but is 7" in str(error)
else:
    raise AssertionError("7 were split over 2")
"""


@pytest.mark.slow
def test_a_training_on_two_devices_goes_on(tmp_path):
    env = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    done = subprocess.run([sys.executable, "-c", TWO_DEVICES, str(tmp_path)], capture_output=True, text=True, env=env)
    assert done.returncode == 0 and done.stdout.split() == ["2", "reverse.npz"], done.stderr[-2000:]


@pytest.mark.slow
def test_ten_kills_at_any_moment_change_nothing(signals, tmp_path):
    """SIGKILL, ten times, while steps are made and checkpoints are written: the same weights, no file that cannot be read."""
    steps = 240  # a checkpoint every second step, so that kills also hit the writing
    settings = {k: v for k, v in dataclasses.asdict(tiny(signals, steps=steps)).items() if k != "cache"}
    lines = [f"{k} = {json.dumps(v)}" for k, v in {**settings, "cache": str(signals)}.items()]
    (tmp_path / "config.toml").write_text("\n".join(lines))
    whole = train(tiny(signals, steps=steps), tmp_path / "whole", quiet=True)
    command = [
        sys.executable,
        "-c",
        "from bandjax.cli import main; raise SystemExit(main())",
        "train",
        "reverse",
        "-c",
        str(tmp_path / "config.toml"),
        "--quiet",
    ]
    command += ["-o", str(tmp_path / "killed")]
    rng, metrics, kills = np.random.default_rng(3), tmp_path / "killed" / "metrics.csv", 0
    while kills < 10:
        before = metrics.read_text() if metrics.exists() else ""
        run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while run.poll() is None and (metrics.read_text() if metrics.exists() else "") == before:
            time.sleep(0.01)  # until it has gone on from where it was
        time.sleep(rng.uniform(0, 0.3))
        assert run.poll() is None, "the training ended before it was killed ten times: give it more steps"
        run.kill()
        run.wait()
        kills += 1
    assert subprocess.run(command, check=False).returncode == 0
    with np.load(whole) as a, np.load(tmp_path / "killed" / "reverse.npz") as b:
        assert all((a[n] == b[n]).all() for n in a.files if n != "record")  # the record names the commit


@pytest.mark.slow
def test_a_loss_that_is_nan_stops_in_words(signals, tmp_path, monkeypatch):
    import bandjax.learning.training as training

    real, calls = training.expose, []

    def broken(family, key, clean):
        calls.append(1)
        images = real(family, key, clean)
        return images._replace(latent=images.latent * (np.nan if len(calls) == 4 else 1.0))  # step 2: one is validation

    monkeypatch.setattr(training, "expose", broken)
    with pytest.raises(FloatingPointError, match=r"loss of step 2 became nan; the last good checkpoint \(step 2\)"):
        train(tiny(signals), tmp_path, quiet=True)
    monkeypatch.undo()
    assert train(tiny(signals), tmp_path, quiet=True).is_file()


@contextlib.contextmanager
def no_room(size: int):
    """As on a full disk: no file may grow beyond that many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_keeps_what_was_written(tmp_path, monkeypatch):
    import bandjax.learning.cache as cache

    state = State({"a": jax.random.normal(KEY, (200, 200))}, (), jnp.asarray(1))
    with open_manager(tmp_path / "run") as manager:
        save_state(manager, state, tmp_path / "run")
        with no_room(20_000), pytest.raises(OSError, match="must have room for the checkpoint of step 2"):
            save_state(manager, state._replace(step=jnp.asarray(2)), tmp_path / "run")
        assert int(restore_state(manager, state).step) == 1
    monkeypatch.setattr(cache, "draw_clean", lambda family, key, count: made_up(count))
    open_cache(FAMILY, tmp_path / "signals", 128, quiet=True)
    with no_room(20_000), pytest.raises(OSError, match="must have room for 2 blocks of signals, but block 2"):
        open_cache(FAMILY, tmp_path / "signals", 256, quiet=True)
    assert open_cache(FAMILY, tmp_path / "signals", 128, quiet=True).signal.shape[0] == 128


def test_a_cache_whose_making_was_killed_is_made(tmp_path, monkeypatch):
    import bandjax.learning.cache as cache

    monkeypatch.setattr(cache, "draw_clean", lambda family, key, count: made_up(count))
    mark = {"family": FAMILY.name, "fingerprint": FAMILY.signals_fingerprint, "seed": 4, "blocks": 0}
    zarr.open_group(tmp_path / "killed", mode="a").attrs.update(mark)  # what comes first
    assert open_cache(FAMILY, tmp_path / "killed", 128, seed=4, quiet=True).signal.shape == (128, 24, 48)
    zarr.open_group(tmp_path / "foreign", mode="a").create_array("energy", shape=(3,), dtype="float32")
    with pytest.raises(ValueError, match="but holds those of family None"):
        open_cache(FAMILY, tmp_path / "foreign", 128, seed=4, quiet=True)


def test_a_cache_of_another_seed_or_family_is_refused(signals):
    with pytest.raises(ValueError, match=r"seed 5, but holds those of family 'buried_sige' .*seed 4"):
        open_cache(FAMILY, signals, 128, seed=5, quiet=True)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("stepz = 4", "'stepz' is no key of a training. Did you mean 'steps'"),
        ("steps = 0", "`steps` must be > 0, but is 0"),
        ("blocks = -1", "`blocks` must be ≥ 0, but is -1"),
        ('steps = "many"', "`steps` must be like 6000, but is 'many'"),
        ('family = "buried_gaas"', "names 'buried_gaas'. Did you mean 'buried_algaas'"),
        ("signals = 10", "`signals` must exceed `validation` .1024., but is 10"),
        ("steps = ", "must be TOML"),
    ],
)
def test_configurations_that_are_refused(text, sentence, tmp_path):
    path = tmp_path / "train.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=sentence):
        read_training(path)


@pytest.mark.slow
def test_weights_travel_in_a_file_and_others_are_refused(reverse, images, tmp_path):
    path = save_reverse(tmp_path / "net.npz", reverse)
    again = load_reverse(path)
    image = jax.tree.map(lambda x: x[0], seen(images))
    assert (again.network(image)[0].mean == reverse.network(image)[0].mean).all()
    assert again.record["scores"] and (again.distances == reverse.distances).all()
    with pytest.raises(ValueError, match=r"must belong to family 'buried_sige' .* but was trained on"):
        load_reverse(path, family=buried_sige(ranges=Ranges(crop=0.5)))
    with np.load(path) as file:
        arrays = dict(file)
    record = json.loads(str(arrays["record"]))
    np.savez(tmp_path / "old.npz", **arrays | {"record": np.array(json.dumps(record | {"format": 0}))})
    with pytest.raises(ValueError, match="must hold weights of format 1, but has format 0"):
        load_reverse(tmp_path / "old.npz")
    (tmp_path / "broken.npz").write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match="must hold a reverse network, but is no"):
        load_reverse(tmp_path / "broken.npz")
    with pytest.raises(FileNotFoundError, match="one of the shipped families buried_sige"):
        load_reverse(tmp_path / "nowhere.npz")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda d: d.rename(kx="angle"), "must have the axes kx .* but has angle, energy"),
        (lambda d: d.assign_attrs(photon_energy=21.2), "`photon_energy` within 90 … 110 eV"),
        (lambda d: d.assign_attrs(fwhm_energy=None), "must have the attribute `fwhm_energy` in eV, but has None"),
        (lambda d: d.assign_coords(energy=d.energy - 4), "Axis `energy` must lie within -7 … 0.6"),
        (lambda d: d.assign_coords(energy=("energy", d.energy.values, {"units": "meV"})), "`energy` must be in eV, but is in 'meV'"),
        (lambda d: d[:, ::4], "Axis `energy` must have steps up to"),
        (lambda d: d[5:12], "Axis `kx` must be at least 0.813 long"),
        (lambda d: d * 0, "must hold counts ≥ 0, some of them > 0"),
        (lambda d: d.where(d.kx < 0.5, np.inf), "must hold counts ≥ 0, some of them > 0"),
        (lambda d: d.values, "must be an xarray.DataArray, but is a ndarray"),
    ],
)  # fmt: skip
def test_images_that_are_refused(change, sentence, images):
    with pytest.raises((ValueError, TypeError), match=sentence):
        check_image(change(as_map(images)), FAMILY, SMALL)


def test_finer_maps_are_added_up_and_dead_pixels_stay_dead(images):
    image = as_map(images).fillna(1.0)
    fine = image.interp(energy=np.linspace(*image.energy.values[[0, -1]], 96)).round()
    fine[3, 10] = np.nan
    view, share = as_seen(check_image(fine, FAMILY, SMALL), FAMILY)
    assert share == 2
    assert view.counts.shape == (24, 48) and float(view.mask.sum()) == 24 * 48 - 1 and view.mask[3, 5] == 0
    assert float(view.counts.sum()) == pytest.approx(float(fine.sum()) - float(fine[3, 11]))


def test_brighter_maps_are_thinned():
    rng = np.random.default_rng(2)
    axes = {"kx": np.linspace(-0.7, 0.7, 24), "energy": np.linspace(-5.5, 0.3, 48)}
    image = xr.DataArray(rng.poisson(400.0, (24, 48)) * 1.0, dims=tuple(axes), coords=axes, attrs={"photon_energy": 100.0, "fwhm_energy": 0.1})  # fmt: skip
    view, share = as_seen(check_image(image, FAMILY, SMALL), FAMILY, seed=1)
    assert share == pytest.approx(0.25, rel=0.01)
    kept = np.asarray(view.counts)
    assert kept.mean() == pytest.approx(100, abs=4 * 10 / np.sqrt(kept.size))
    assert kept.var() == pytest.approx(100, rel=4 * np.sqrt(2 / kept.size))  # still Poisson
    assert (np.asarray(as_seen(check_image(image, FAMILY, SMALL), FAMILY, seed=1)[0].counts) == kept).all()


def test_the_form_of_a_misfit_is_told():
    rng = np.random.default_rng(3)
    mean = 30 * np.exp(-0.5 * ((np.arange(48) - 20) / 6) ** 2) * np.ones((24, 1)) + 3
    slanted = mean + 0.15 * np.arange(48) * np.linspace(0.2, 1.8, 24)[:, None]
    column, stripe, band = np.ones((24, 1)), np.ones(48), np.ones((24, 48))
    column[5:9], stripe[30:33] = 0.3, 1.6
    band[np.arange(24), np.arange(24) + 10] = 2.0
    for made, told in (
        (slanted, "A smooth background would explain"), (mean * column, "The sensitivity of single rows"), (mean * stripe, "The sensitivity of single rows"),
        (slanted * stripe, "A smooth background with"), (mean * band, "it lies in the bands"),
    ):  # fmt: skip
        maps = {
            n: xr.DataArray(x, dims=("kx", "energy")) for n, x in (("data", rng.poisson(made) * 1.0), ("model", mean))
        }
        misfit, words = residual_test(SimpleNamespace(maps={"map": SimpleNamespace(**maps)}, names=()))
        assert misfit > 4 and told in words[-1], (told, words)


def test_pixels_with_hardly_a_count_are_judged_together():
    rng = np.random.default_rng(4)
    mean = np.full((24, 48), 5.0)
    mean[:, 30:] = 1e-3
    found = np.array([misfits(rng.poisson(mean).astype(float), mean, 0) for _ in range(40)])
    assert np.abs(found.mean(axis=0)).max() < 4 / np.sqrt(40)
    counts = rng.poisson(mean).astype(float)
    counts[5:10, 40] = 3.0  # where the model has nothing
    assert misfits(counts, mean, 0)[0] > 4


def test_misfits_are_of_order_one_for_noise_and_large_for_structure():
    rng = np.random.default_rng(0)
    mean = np.full((24, 48), 3.0)
    noise = np.array([misfits(rng.poisson(mean).astype(float), mean, 0) for _ in range(60)])
    assert np.abs(noise.mean(axis=0)).max() < 4 / np.sqrt(60)
    assert ((noise.std(axis=0) > 0.65) & (noise.std(axis=0) < 1.35)).all()  # four standard errors of a deviation
    mean[:, 20:23] *= 3
    chi2, along_k, _ = misfits(rng.poisson(mean).astype(float), np.full((24, 48), 3.0), 0)
    assert chi2 > 4 and along_k > 4


@pytest.mark.slow
def test_a_guess_is_of_the_pixels_of_the_map(reverse, images):
    """Of a map with every energy split in two the network sees the same; gain and background are those of half a pixel."""
    image = as_map(images).fillna(0.0)
    step = float(image.energy[1] - image.energy[0])
    fine = xr.concat([(image * f).assign_coords(energy=image.energy + s * step / 4) for f, s in ((0.4, -1), (0.6, 1))], "energy").sortby("energy")  # fmt: skip
    whole, half = (guess_of(check_image(d.assign_attrs(image.attrs), FAMILY, SMALL), reverse) for d in (image, fine))
    for name in FAMILY.names:
        factor = 0.5 if name in COUNTED else 1.0
        # the middles of the pairs are the energies only to float32
        assert half.values[name] == pytest.approx(factor * whole.values[name], rel=1e-3)
        assert half.errors[name] == pytest.approx(factor * whole.errors[name], rel=1e-2)
    assert half.level == pytest.approx(whole.level / 2)


def fitted(ends: list[dict], costs: list[float], errors: dict | None = None, converged: bool = True) -> SimpleNamespace:
    """What the verdict reads of a fit."""
    error = {n: 0.1 * p.sigma for n, p in FAMILY.parameters} | dict.fromkeys(EXPOSURE, 1.0) | (errors or {})
    return SimpleNamespace(start_ends=ends, start_costs=costs, errors=error, converged=converged)


def test_verdicts():
    middle = {n: p.value for n, p in FAMILY.parameters} | dict.fromkeys(EXPOSURE, 1.0)
    guess = SimpleNamespace(outside=0.5, seen=30.0)
    sigma = 0.1 * dict(FAMILY.parameters)["fraction"].sigma  # the error of the fraction
    for apart, above, count, verdict in (
        (5.0, 2.0, 2, "ambiguous"), (5.0, 4.0, 2, "accepted"), (2.0, 2.0, 2, "accepted"), (0.5, 2.0, 1, "accepted"),
    ):  # fmt: skip
        other = middle | {"fraction": middle["fraction"] + apart * sigma}
        result = fitted([other, middle], [100.0 + above, 100.0])
        found = explanations_of(result)
        assert found[0] == (0.0, middle) and len(found) == count
        assert judge(result, FAMILY, guess, 1.0, [], found)[0] == verdict, (apart, above)
    one = fitted([middle], [100.0])
    assert judge(one, FAMILY, guess, 4.1, ["why"], ((0.0, middle),)) == (
        "rejected", ["Rejected: no stack of family 'buried_sige' makes this image.", "why"]
    )  # fmt: skip
    open_end = fitted([middle], [100.0], converged=False)
    assert judge(open_end, FAMILY, guess, 1.0, [], ((0.0, middle),))[0] == "unfinished"
    # 920 of −log L are missed; a descent gains 500 or 150 in its last eight trials, or much in the one before the last
    counts = {n: xr.DataArray(x) for n, x in (("data", np.full((24, 48), 3.0)), ("model", np.ones((24, 48))))}
    for gained, verdict in ((500.0, "unfinished"), (150.0, "rejected")):
        open_end.history, open_end.maps = (
            [{"step": i + 1, "cost": 5000.0 - gained * i / 8} for i in range(20)],
            {"map": SimpleNamespace(**counts)},
        )
        assert judge(open_end, FAMILY, guess, 50.0, [], ((0.0, middle),))[0] == verdict
    last = [{"step": i + 1, "cost": 2000.0} for i in range(3)]  # a further descent, which gains nothing
    open_end.history = [{"step": i + 1, "cost": 9000.0 - 300 * i} for i in range(20)] + last
    assert judge(open_end, FAMILY, guess, 50.0, [], ((0.0, middle),))[0] == "rejected"


def test_the_table_of_an_inversion_gives_the_priors_of_its_fit():
    numbers = dict.fromkeys(FAMILY.names, 1.0)
    empty = xr.DataArray(np.ones((24, 48)), attrs={"photon_energy": 100.0, "fwhm_energy": 0.1})
    found = SimpleNamespace(
        verdict="accepted", report=["Why."], values=numbers, errors=numbers, guess=SimpleNamespace(values=numbers, errors=numbers),
        fit=SimpleNamespace(problem=problem_of(empty, FAMILY, 30.0)),
    )  # fmt: skip
    rows = {row.split()[0]: row.split()[5:] for row in inversion_words(found).splitlines()[2:-1]}
    assert list(rows) == list(FAMILY.names)
    assert rows["upper"] == ["1", "monolayers"] and rows["gain"] == ["inf", "counts"]
    assert rows["background"] == ["0.9", "counts"]  # 0.03 of the mean counts
    known = {n: v for n, v in numbers.items() if n != "eta"}  # of a family in which eta is marginalised
    found.guess = SimpleNamespace(values=known, errors=known)
    row = next(line for line in inversion_words(found).splitlines() if line.startswith("eta"))
    assert row.split() == ["eta", "1", "1", "–", "–", "0.02", "eV"]


def test_an_unknown_error_is_null_in_json():
    guess = Guess(Mixture(*3 * (jnp.zeros(1),)), {}, {}, 0.5, 30.0, 30.0, (), np.zeros((0, 0), bool))
    found = Inversion("accepted", [], {"lower": 1.0}, {"lower": np.nan, "upper": 0.5}, guess, 0.0, (), None, {})
    assert json.loads(json.dumps(as_dictionary(found), allow_nan=False))["errors"] == {"lower": None, "upper": 0.5}


def test_maps_that_hold_no_counts_are_named():
    mean = np.full((24, 48), 10.0)
    for data, told in (
        (np.random.default_rng(1).poisson(mean), []),
        (np.random.default_rng(1).poisson(100 * mean) / 100, ["below that of noise", "not whole"]),
    ):
        maps = {n: xr.DataArray(x * 1.0, dims=("kx", "energy")) for n, x in (("data", data), ("model", mean))}
        found = SimpleNamespace(maps={"map": SimpleNamespace(**maps)}, names=())
        misfit, words = residual_test(found)
        assert misfit < 4 and len(words) == len(told) and all(t in w for t, w in zip(told, words, strict=True))


def test_what_is_not_measured_is_named():
    guess = SimpleNamespace(outside=1.5, seen=1.0)
    prior = {n: p.sigma for n, p in FAMILY.parameters}
    told = lambda errors: " ".join(judge(fitted([], [], errors), FAMILY, guess, 0.0, [], ())[1])  # noqa: E731
    assert "does not measure interface: what is given" in told({"interface": 0.95 * prior["interface"]})
    assert "sees 1; its posterior" in told({})
    assert "does not measure lower: what is given" in told({"lower": np.inf})
    assert "does not measure" not in told({"lower": np.nan})  # on its bound, which is no prior
    assert "the posterior is the prior" in told({n: prior[n] for n in FAMILY.sample_names})
    assert "unlike those that the network was trained on (1.5 times" in told({})


@pytest.mark.slow
def test_the_learned_programs_lower_for_a_gpu():
    """Drawing images and a training step become programs of CUDA (made here, not run there)."""
    with single_precision():
        draw = jax.jit(lambda data: draw_images(FAMILY, jax.random.wrap_key_data(data), 2))
        data = jax.random.key_data(KEY)
        network, optimiser = make_network(SMALL), optax.adamw(1e-3)
        weights = weights_of(network)
        state = State(weights, optimiser.init(weights), jnp.zeros((), jnp.int32))

        def step(weights, *fields):
            after, value = make_step(make_loss(network), optimiser)(state._replace(weights=weights), Images(*fields))
            return after.weights, value

        for program, inputs in ((draw, (data,)), (jax.jit(step), (weights, *jax.eval_shape(draw, data)))):
            assert jax.export.export(program, platforms=["cuda"])(*inputs).platforms == ("cuda",)


@pytest.mark.slow
def test_importing_the_package_does_not_import_flax():
    code = "import sys, bandjax; print([m for m in ('flax', 'optax', 'orbax.checkpoint', 'zarr') if m in sys.modules]); bandjax.invert"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.strip() == "[]"


@pytest.mark.slow
def test_images_of_traced_axes_are_those_of_the_exact_model():
    with single_precision():
        drawn = draw_images(FAMILY, KEY, 2)
        again = draw_images(FAMILY, KEY, 2)
        clean = draw_clean(FAMILY, jax.random.split(KEY)[0], 2)
    assert all((a == b).all() for a, b in zip(drawn, again, strict=True))
    named = dict(zip(FAMILY.drawn, map(float, clean.values[1]), strict=True))
    own = {n: named[n] for n in ("fermi_energy", "eta", "inner_potential")}
    told = {n: float(getattr(clean, n)[1]) for n in ("photon_energy", "fwhm_energy")}
    axes = {n: np.asarray(getattr(clean, n)[1], float) for n in ("kx", "energy")}
    exact = bj.arpes_image(FAMILY.model_of(model_values(named)), FAMILY.instrument.replace(**own, **told, gain=1.0), axes, method="coherent")  # fmt: skip
    # float32 against float64, and axes of equal steps only to float32
    assert np.abs(np.asarray(exact) - np.asarray(clean.signal[1])).max() < 2e-4 * float(exact.max())


@pytest.mark.slow
def test_the_shipped_network_closes_the_loop():
    reverse = load_reverse()
    with single_precision():
        clean = draw_clean(reverse.family, jax.random.key(123), 2)
        ranges = dataclasses.replace(reverse.family.ranges, counts=(30.0, 30.0))
        images = expose(dataclasses.replace(reverse.family, ranges=ranges), jax.random.key(5), clean)
    found = invert(as_map(images), reverse=reverse)
    assert found.verdict == "accepted" and found.guess.outside < 1.5
    truth = dict(zip(reverse.family.drawn, map(float, clean.values[0]), strict=True))
    for name in reverse.family.sample_names:
        assert abs(found.values[name] - truth[name]) < 5 * found.errors[name]
        assert abs(found.guess.values[name] - truth[name]) < 5 * found.guess.errors[name]
    shuffled = as_map(images).copy(data=np.random.default_rng(0).permutation(as_map(images).values, axis=0))
    assert invert(shuffled, reverse=reverse, starts=1).verdict == "rejected"
