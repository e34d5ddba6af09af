"""The surrogate: what it keeps by construction, its derivatives, its training as a job, and the exact spectra that it learns."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import bandjax as bj
from bandjax.learning import layer_data, surrogate_training
from bandjax.learning.exact_layers import ORBITALS, Profile, exact_layers
from bandjax.learning.layer_data import (
    ABOVE,
    BLOCK_LAYERS,
    ENERGY,
    K_POINTS,
    REACH,
    TURNS,
    VALENCE,
    Layers,
    surroundings,
)
from bandjax.learning.surrogate import (
    DELTA,
    Surrogate,
    SurrogateNetwork,
    SurrogateShape,
    Surroundings,
    at_energies,
    at_trained_energies,
    load_surrogate,
    save_surrogate,
    surrogate_spectra,
)
from bandjax.learning.surrogate_training import read_surrogate_config, surrogate_config, train_surrogate
from bandjax.learning.training import train
from bandjax.learning.training_config import TrainingConfig

SMALL = SurrogateShape(window=4, rank=3, hidden=8, depth=1)
RNG = np.random.default_rng(3)
PROFILE = RNG.random(24)


@pytest.fixture(scope="module")
def untrained():
    """A network of large random weights: what it keeps, it keeps by construction."""
    network = SurrogateNetwork(SMALL, rngs=nnx.Rngs(1))
    network.components[...] = jax.random.normal(jax.random.key(2), network.components[...].shape)
    return Surrogate(network, {})


def test_sum_rule_and_sign_hold_for_any_weights(untrained):
    around = jnp.asarray(RNG.random((6, 2, 9)))
    weights = untrained.network(Surroundings(around[:, 0], 0.01 * around[:, 1], jnp.full(6, 5.5)))
    assert weights.shape == (6, K_POINTS, DELTA.size) and float(weights.min()) >= 0
    assert np.abs(np.asarray(weights, float) @ DELTA / ORBITALS - 1).max() < 1e-5  # float32 weights
    assert float(weights.std()) > 0.01  # it is no constant that is kept


def test_splines_and_hats_have_the_integrals_that_the_sum_rule_takes():
    n = VALENCE.size
    bump = np.zeros(DELTA.size)
    bump[100] = 1.0
    fine = np.linspace(VALENCE[90], VALENCE[110], 4001)
    values = np.asarray(at_energies(jnp.asarray(bump), fine))
    assert values.min() >= 0 and np.isclose(np.trapezoid(values, fine), DELTA[100], rtol=1e-6)
    y = jnp.asarray(RNG.random(DELTA.size))
    assert np.allclose(at_energies(y, VALENCE), at_trained_energies(y)[:n], atol=1e-12)
    assert np.allclose(at_trained_energies(y)[n:], y[n : n + ABOVE.size])


def test_gradient_is_the_difference_quotient(untrained):
    weights = jnp.asarray(RNG.normal(size=(24, 3, 7)))
    k, energy = np.array([0.0, 0.31, 1.0]), np.linspace(-12.9, 0.9, 7)

    @jax.jit
    def f(c, stretch, a):
        return (weights * surrogate_spectra(untrained, c, a, stretch=stretch, k=k, energy=energy)).sum()

    point = (jnp.asarray(PROFILE), jnp.zeros(24), jnp.asarray(5.5))
    gradient = jax.jit(jax.grad(f, (0, 1, 2)))(*point)
    scale = (1e-6, 1e-8, 1e-6)
    for i, h in enumerate(scale):
        direction = jnp.asarray(RNG.normal(size=point[i].shape))
        moved = [jax.tree.map(lambda x: x, list(point)) for _ in range(2)]
        moved[0][i], moved[1][i] = point[i] + h * direction, point[i] - h * direction
        expected = (f(*moved[0]) - f(*moved[1])) / (2 * h)
        found = jnp.vdot(gradient[i], direction)
        assert abs(float(expected)) > 1e-4 and np.isclose(found, expected, rtol=1e-5)


def test_what_lies_outside_the_window_changes_nothing(untrained):
    near, far = PROFILE.copy(), PROFILE.copy()
    near[16], far[17] = 1 - near[16], 1 - far[17]  # 4 and 5 layers from layer 12, which sees 4
    a, b, c = (surrogate_spectra(untrained, jnp.asarray(x), 5.5, k=[0.5])[12] for x in (PROFILE, near, far))
    assert (a == c).all() and float(jnp.abs(a - b).max()) > 1e-3


def test_wave_vectors_fold_and_mix(untrained):
    def at(*k):
        return surrogate_spectra(untrained, jnp.asarray(PROFILE), 5.5, k=k, energy=[-3.0, -1.0])

    step = 1 / (K_POINTS - 1)
    assert np.allclose(at(0.5 * step), (at(0.0) + at(step)) / 2, atol=1e-9)
    assert np.allclose(at(1.25, -0.25, 2.4), at(0.75, 0.25, 0.4), atol=1e-9)
    assert np.allclose(
        at(1.0)[:, 0], surrogate_spectra(untrained, jnp.asarray(PROFILE), 5.5, energy=[-3.0, -1.0])[:, -1]
    )


def test_surroundings_are_directed_and_go_on():
    profile = Profile(jnp.arange(6.0), jnp.zeros(6), jnp.asarray(5.5))
    repeated, _ = surroundings(profile, 6, 2)
    assert repeated[0].tolist() == [4, 5, 0, 1, 2] and repeated[5].tolist() == [1, 0, 5, 4, 3]
    ends, _ = surroundings(profile, None, 2)
    assert ends[0].tolist() == [0, 0, 0, 1, 2] and ends[5].tolist() == [5, 5, 5, 4, 3]
    units, _ = surroundings(profile, 2, 3)
    assert units[0].tolist() == [1, 0, 1, 0, 1, 2, 3] and units[4].tolist() == [1, 2, 3, 4, 5, 4, 5]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"composition": [0.5, 1.2]}, "`composition` must"),
        ({"composition": [0.5] * 3, "repeats": True}, "even number of layers to repeat, but has 3"),
        ({"a_parallel": 5.9}, "`a_parallel` must be within 5.42 … 5.67 Å"),
        ({"energy": [-14.0]}, "`energy` must lie within -13 … 1 eV"),
        ({"stretch": [0.0]}, "`stretch` must"),
    ],
)
def test_arguments_that_are_refused(arguments, sentence, untrained):
    with pytest.raises(ValueError, match=sentence):
        surrogate_spectra(untrained, **{"composition": [0.0, 1.0], "a_parallel": 5.5} | arguments)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("stepz = 4", "'stepz' is no key of a training. Did you mean 'steps'"),
        ("rank = 0", "`rank` must be > 0, but is 0"),
        ("blocks = 8", "`blocks` must be at least 16"),
        ('window = "far"', "`window` must be like 24"),
    ],
)
def test_configurations_that_are_refused(text, sentence, tmp_path):
    path = tmp_path / "train.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=sentence):
        read_surrogate_config(path)


@pytest.mark.slow
def test_weights_travel_in_a_file_and_others_are_refused(untrained, tmp_path):
    path = save_surrogate(tmp_path / "net.npz", Surrogate(untrained.network, {"scores": {"r2": 0.5}}))
    again = load_surrogate(path)
    assert again.record["scores"] == {"r2": 0.5}
    seen = Surroundings(jnp.ones(9), jnp.zeros(9), jnp.asarray(5.5))
    assert np.allclose(again.network(seen), untrained.network(seen), rtol=0.1, atol=0.02)  # half precision
    with np.load(path) as file:
        arrays = dict(file)
    record = json.loads(str(arrays["record"]))
    for name, value in (("format", 0), ("fingerprint", "00"), ("model", None)):
        np.savez(tmp_path / "old.npz", **arrays | {"record": np.array(json.dumps(record | {name: value}))})
        with pytest.raises(ValueError, match=f"its {name} is {value!r}; train again"):
            load_surrogate(tmp_path / "old.npz")
    np.savez(tmp_path / "old.npz", **{n: a for n, a in arrays.items() if n != "mean"})
    with pytest.raises(ValueError, match="all weights of its network, but mean is missing"):
        load_surrogate(tmp_path / "old.npz")
    (tmp_path / "broken.npz").write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"must hold a surrogate, but is no \.npz file"):
        load_surrogate(tmp_path / "broken.npz")
    with pytest.raises(FileNotFoundError, match="must be a file of weights or None"):
        load_surrogate(tmp_path / "nowhere.npz")


@pytest.fixture
def made_up(monkeypatch):
    """Spectra of no stack, in the right shapes: what is tested with them is not the physics."""

    def draw(key, turn):
        keys = jax.random.split(key, 3)
        around = jax.random.uniform(keys[0], (BLOCK_LAYERS, 2 * REACH + 1))
        spectra = jax.random.uniform(keys[1], (BLOCK_LAYERS, K_POINTS // TURNS, ENERGY.size)) * (
            1 + around[:, REACH, None, None]
        )
        return Layers(around, 0.01 * around, jnp.full(BLOCK_LAYERS, 5.5), spectra)

    monkeypatch.setattr(surrogate_training, "draw_layers", draw)


@pytest.mark.slow
def test_a_killed_training_ends_bit_for_bit_where_an_undisturbed_one_does(made_up, tmp_path):
    config = surrogate_config(
        {"steps": 4, "batch": 4, "blocks": 16, "cache": str(tmp_path / "cache"), "checkpoint_every": 2, "window": 4, "rank": 3,
         "hidden": 8, "depth": 1}
    )  # fmt: skip
    whole = train_surrogate(config, tmp_path / "whole", quiet=True)
    assert (
        train_surrogate(config, tmp_path / "killed", quiet=True, stop_after=3) is None
    )  # after the checkpoint of step 2
    resumed = train_surrogate(config, tmp_path / "killed", quiet=True)
    with np.load(whole) as a, np.load(resumed) as b:
        assert a.files == b.files and all((a[n] == b[n]).all() for n in a.files)
    with pytest.raises(ValueError, match="rank = 3 there and 4 here"):
        train_surrogate(dataclasses.replace(config, rank=4), tmp_path / "killed", quiet=True)
    with pytest.raises(ValueError, match=r"seed 1, but holds those of family 'layers' .*seed 0"):
        train_surrogate(dataclasses.replace(config, seed=1), tmp_path / "other", quiet=True)
    # the folder of a surrogate is none of a reverse network
    with pytest.raises(ValueError, match="must belong to family 'buried_sige'"):
        train(TrainingConfig(), tmp_path / "whole", quiet=True)


@pytest.mark.slow
def test_exact_layers_are_the_mean_over_k_z_of_the_superlattice():
    c, a, t, eta = np.array([0.0, 0, 0, 0.3, 1, 1, 1, 0.6]), 5.5, np.array([0.0, 0.37]), 0.2
    energy = np.linspace(-13, 1, 41)
    call = jax.jit(
        lambda c: exact_layers(Profile(c, jnp.zeros(8), jnp.asarray(a)), 8, t, jnp.asarray(energy), jnp.full(41, eta))
    )
    found = call(jnp.asarray(c))
    atoms = bj.graded(("Si", "Ge"), c, substrate=a, vacuum=None)
    model = bj.tight_binding(atoms, bj.load_parameters(("Si", "Ge"), "vogl1983"), spin_orbit=False)
    count = 48  # 384 layers: states of this half width reach less far
    kz = (np.arange(count) + 0.5) * 2 * np.pi / atoms.cell[2, 2] / count
    k = np.array([[x * np.pi / a, x * np.pi / a, z] for x in t for z in kz])
    exact = np.asarray(bj.spectral_function(model, k, energy, eta=eta, resolve="atom", method="eigh"))
    exact = exact.reshape(2, count, 41, 8).mean(axis=1)
    assert np.abs(np.moveaxis(exact, -1, 0) - found).max() < 1e-5 * exact.max()
    # an odd layer is an even one upside down; turned by one layer, the reversed profile puts layer i at 8 − i
    mirrored = call(jnp.asarray(np.roll(c[::-1], 2)))
    order = [(1 - i) % 8 for i in range(8)]
    assert np.abs(mirrored[jnp.array(order)] - found).max() < 1e-9
    assert np.abs(found[1] - found[2]).max() > 1e-3


@pytest.mark.slow
def test_the_shipped_surrogate_knows_a_long_superlattice():
    surrogate = load_surrogate()
    c = np.repeat([0.0, 1.0, 0.0, 1.0], [5, 7, 6, 4])
    t = layer_data.reduced_wave_vectors(3, 20)
    found = np.asarray(surrogate_spectra(surrogate, jnp.asarray(c), 5.5, repeats=True, k=t))
    energy = jnp.asarray(VALENCE)
    exact = np.asarray(exact_layers(Profile(jnp.asarray(c), jnp.zeros(22), jnp.asarray(5.5)), 22, t, energy, jnp.full(energy.shape, 0.05)))  # fmt: skip
    error = ((found - exact) ** 2).sum()
    assert error < 0.1 * ((exact - exact.mean()) ** 2).sum()
    assert found.min() >= 0 and surrogate.record["scores"]["r2"] > 0.9
