"""Adaptation without labels: new priors, images as their own teachers, refusals; and the refinement that makes the labels."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import bandjax as bj
from bandjax.inference.problem import model_values
from bandjax.learning import adaptation, pseudo_labels
from bandjax.learning.adaptation import THINNEST, Adaptation, adapt
from bandjax.learning.cache import single_precision
from bandjax.learning.closed_loop import guess_of
from bandjax.learning.families import buried_sige
from bandjax.learning.family import COUNTED, EXPOSURE, centre_and_spread, physical
from bandjax.learning.images import expose, mean_counts
from bandjax.learning.objective import finish
from bandjax.learning.pseudo_labels import NARROWEST, Explained, Labelled, explained, labels_of, priors_of, widened
from bandjax.learning.refinement import Refinement
from bandjax.learning.reverse import FEATURES, Seen, Shape
from bandjax.learning.weights import Reverse, load_reverse, make_network, save_reverse, weights_of
from tests.test_learning import made_up

SMALL = Shape(latent=13, rows=6, columns=10, width=8, blocks=1, hidden=8, components=2)
FAMILY = buried_sige()
AXES = {"kx": np.linspace(-0.7, 0.7, 20), "energy": np.linspace(-5.5, 0.3, 32)}
TOLD = {"photon_energy": 100.0, "fwhm_energy": 0.2}


def a_map(counts) -> xr.DataArray:
    return xr.DataArray(np.asarray(counts, float), dims=tuple(AXES), coords=AXES, attrs=TOLD)


@pytest.fixture(scope="module")
def reverse():
    """A network that was not trained, with made-up statistics of its features."""
    with single_precision():
        return Reverse(
            FAMILY, make_network(SMALL), np.zeros(FEATURES), np.eye(FEATURES), np.linspace(0, 20, 201), {"config": {}}
        )


def test_a_family_takes_other_priors():
    other = FAMILY.with_priors({"eta": (0.2, 0.03)})
    assert centre_and_spread(dict(other.parameters)["eta"]) == (0.2, 0.03)
    assert dict(other.parameters) | {"eta": 0} == dict(FAMILY.parameters) | {"eta": 0}
    assert other.fingerprint != FAMILY.fingerprint and other.signals_fingerprint != FAMILY.signals_fingerprint
    wide = dict(widened(FAMILY, 5.0).parameters)
    for name, p in FAMILY.parameters:
        factor = 5.0 if name in ("fermi_energy", "eta", "inner_potential") else 1.0  # the sample's stay
        assert centre_and_spread(wide[name]) == pytest.approx((p.value, factor * p.sigma))


@pytest.mark.parametrize(
    ("priors", "sentence"),
    [
        ({"etta": (0.1, 0.1)}, "'etta'. Did you mean 'eta'"), ({"eta": (9.0, 0.1)}, "within 0.002 … 5"),
        ({"eta": (0.1, 0.0)}, "positive width, but gives 0.1 ± 0"),
    ],
)  # fmt: skip
def test_priors_that_are_refused(priors, sentence):
    with pytest.raises(ValueError, match=sentence.replace("?", r"\?")):
        FAMILY.with_priors(priors)


@pytest.mark.slow
def test_an_adapted_network_travels_with_its_priors(reverse, tmp_path):
    family = FAMILY.with_priors({"eta": (0.2, 0.03), "inner_potential": (13.7, 0.4)})
    priors = {"eta": (0.2, 0.03), "inner_potential": (13.7, 0.4)}
    with single_precision():
        images = expose(family, jax.random.key(1), made_up(8))
        adapted = finish(family, make_network(SMALL), images, {"priors": priors})
    found = load_reverse(save_reverse(tmp_path / "adapted.npz", adapted)).family
    assert found.fingerprint == family.fingerprint and found.parameters == family.parameters
    with pytest.raises(ValueError, match="must belong to family"):
        load_reverse(tmp_path / "adapted.npz", family=FAMILY)


def of_values(values, sigma) -> Explained:
    return Explained(None, 1.0, np.asarray(values), np.diag(1 / np.asarray(sigma) ** 2))


def test_new_priors_are_those_of_the_images():
    rng = np.random.default_rng(0)
    middle = np.array([p.value for _, p in FAMILY.parameters] + [1.0] * len(EXPOSURE))
    sigma, eta = 0.01 * np.abs(middle), FAMILY.names.index("eta")
    sigma[eta] = 0.03
    found = []
    for _ in range(4000):
        values = middle.copy()
        values[eta] = 0.2 + np.hypot(0.04, 0.03) * rng.normal()  # images differ by 0.04, each is known to 0.03
        found.append(of_values(values, sigma))
    priors = priors_of(FAMILY, found)
    assert set(priors) == {"fermi_energy", "eta", "inner_potential"}
    assert priors["eta"] == pytest.approx((0.2, 0.04), rel=0.06)  # five standard errors of 4000 draws of variance 0.05²
    assert priors["inner_potential"] == pytest.approx((12.0, NARROWEST * 0.5))  # all the same: not narrower than that


def test_labels_have_the_new_priors_instead_of_the_old():
    wide, new = widened(FAMILY, 5.0), FAMILY.with_priors({"eta": (0.2, 0.03)})
    middle = np.array([p.value for _, p in FAMILY.parameters] + [1.0] * len(EXPOSURE))
    sigma, eta = 0.01 * np.abs(middle), FAMILY.names.index("eta")
    likelihood = 0.02  # with the wide prior 0.12 ± 0.1 it gave these
    sigma[eta] = (likelihood**-2 + 0.1**-2) ** -0.5
    middle[eta] = sigma[eta] ** 2 * (0.15 / likelihood**2 + 0.12 / 0.1**2)
    draws = np.concatenate(
        [labels_of(of_values(middle, sigma), wide, new, np.random.default_rng(i)).draws for i in range(100)]
    )
    expected = (likelihood**-2 + 0.03**-2) ** -0.5
    mean = expected**2 * (0.15 / likelihood**2 + 0.2 / 0.03**2)
    count = len(draws)
    assert draws[:, eta].mean() == pytest.approx(mean, abs=4 * expected / np.sqrt(count))
    assert draws[:, eta].std() == pytest.approx(expected, rel=4 / np.sqrt(2 * count))
    assert draws[:, 0].mean() == pytest.approx(middle[0], abs=4 * sigma[0] / np.sqrt(count))  # the sample's stay


def test_an_image_teaches_with_fewer_counts_and_other_crops():
    rng = np.random.default_rng(1)
    view = Seen(*(jnp.asarray(x, jnp.float32) for x in (rng.poisson(60.0, (20, 32)), np.ones((20, 32)), *AXES.values(), 100.0, 0.2)))  # fmt: skip
    values = np.array([p.value for _, p in FAMILY.parameters] + [1e6, 5.0, 1.5, 0.07])
    with single_precision():
        batch = adaptation._own_batch(FAMILY, [Labelled(view, 2.0, values[None])], np.random.default_rng(2), 40)
        level = mean_counts(batch.counts, batch.mask)
        back = np.asarray(physical(FAMILY, batch.latent, level))
    counts, mask = np.asarray(batch.counts), np.asarray(batch.mask)
    assert (counts <= np.asarray(view.counts)).all() and (counts[mask == 0] == 0).all()
    kept = mask.mean(axis=(1, 2))
    assert kept.min() >= 0.7**2 and kept.max() <= 1 and kept.std() > 0.05
    part = np.asarray(level) / 60.0
    assert part.min() > 0.9 * THINNEST and part.max() < 1.1 and part.std() > 0.1
    counted = [FAMILY.names.index(n) for n in COUNTED]
    # the view has two counts for each of the map's, of which a part is kept: so have gain and backgrounds
    assert np.allclose(back[:, counted] / values[counted] / 2, part[:, None], rtol=0.05)
    assert np.allclose(np.delete(back, counted, axis=1), np.delete(values, counted), rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda m: m.assign_coords(kx=m.kx + 0.01), "map 1 has another `kx`"),
        (lambda m: m.assign_attrs(fwhm_energy=0.1), "same `fwhm_energy`, but map 1 has 0.1 and the first 0.2"),
        (lambda m: m * 2, "about the same counts, but map 1 has 2 a pixel and their median is 1"),
        (lambda m: m, "explains 0 of 9"),
    ],
)
def test_series_that_are_refused(reverse, change, sentence, monkeypatch):
    monkeypatch.setattr(adaptation, "explained", lambda *_, **__: [])
    image = a_map(np.ones((20, 32)))
    with pytest.raises(ValueError, match=sentence):
        adapt(reverse, [image, change(image), *[image] * 7], quiet=True)


def test_a_series_that_is_too_short_is_refused(reverse):
    with pytest.raises(ValueError, match="at least 8 maps, but holds 0"):
        adapt(reverse, [], quiet=True)


def test_settings_that_are_refused():
    with pytest.raises(ValueError, match="`batch` of an adaptation must be ≥ 2, but is 1"):
        Adaptation(batch=1)


@pytest.mark.slow
def test_labels_come_from_the_physics_alone(reverse):
    """An untrained network, images with nuisances four prior widths away: what is explained is near the truth."""
    family = widened(FAMILY, 5.0)
    rng, truth = np.random.default_rng(5), {n: p.value for n, p in FAMILY.parameters}
    truth |= {
        "eta": 0.2,
        "inner_potential": 14.0,
        "gain": 6e5,
        "background": 2.5,
        "background_linear": 0.8,
        "detector_slope": 0.1,
    }
    own = {n: v for n, v in truth.items() if n not in FAMILY.sample_names}
    mean = bj.arpes_image(
        FAMILY.model_of(model_values(truth)), FAMILY.instrument.replace(**own, **TOLD), AXES, method="coherent"
    )
    images = [a_map(rng.poisson(mean)) for _ in range(3)] + [a_map(rng.permutation(rng.poisson(mean), axis=0))]
    found = explained(reverse, family, images, starts=3, max_steps=40, seed=0, quiet=True)
    assert 1 <= len(found) <= 3  # never the one with shuffled rows; an untrained network may start elsewhere
    for label in found:
        sigma = np.sqrt(np.diagonal(np.linalg.inv(label.precision)))
        assert (np.abs(label.values - np.array([truth[n] for n in FAMILY.names])) < 6 * sigma).all()
        assert sigma[FAMILY.names.index("eta")] < 0.3 * dict(family.parameters)["eta"].sigma


@pytest.mark.slow
def test_one_compiled_refinement_is_the_fit(reverse):
    """On one image `Refinement` ends where `bandjax.fit` does."""
    truth = {n: p.value for n, p in FAMILY.parameters}
    told = FAMILY.instrument.replace(**TOLD, gain=6e5, background=2.5, background_linear=0.8)
    mean = np.asarray(bj.arpes_image(FAMILY.model_of(model_values(truth)), told, AXES, method="coherent"))
    image = a_map(np.random.default_rng(3).poisson(mean))
    refinement = Refinement(image, FAMILY, float(image.mean()))
    start = {n: p.value for n, p in refinement.problem.parameters.items()}
    end = refinement.descend(image.values, refinement.vector(start))
    whole = bj.fit(image, refinement.problem, starts=[start], bootstrap_draws=0)
    errors = np.array([whole.errors[n] for n in refinement.transform.names])
    expected = np.array([whole.values[n] for n in refinement.transform.names])
    assert (np.abs(np.array(list(refinement.values(end.state).values())) - expected) < 0.1 * errors).all()
    assert np.allclose(np.sqrt(np.diag(np.linalg.inv(refinement.precision(end.state)))), errors, rtol=0.02)
    assert max(refinement.misfits(image.values, end.state)) < 4 and 1 < end.jacobians <= end.trials + 1
    guess = guess_of(image, reverse)
    assert len(refinement.starts(image.values, guess, 2)) == 2


@pytest.mark.slow
def test_a_killed_adaptation_goes_on_to_the_same_weights(reverse, tmp_path, monkeypatch):
    """Killed among the refinements, before and within the training; another configuration or other maps are refused."""
    truth = {n: p.value for n, p in FAMILY.parameters} | {"gain": 6e5, "background": 2.5, "background_linear": 0.8}
    own = {n: v for n, v in truth.items() if n not in FAMILY.sample_names}
    mean = np.asarray(bj.arpes_image(FAMILY.model_of(model_values(truth)), FAMILY.instrument.replace(**own, **TOLD), AXES, method="coherent"))  # fmt: skip
    rng = np.random.default_rng(8)
    images = [a_map(rng.poisson(mean)) for _ in range(8)]
    settings = Adaptation(starts=1, max_steps=30, signals=8, steps=4, batch=4)
    # that the model explains all of them is not what is tested here
    monkeypatch.setattr(pseudo_labels, "MISFIT", 1e9)
    monkeypatch.setattr(adaptation, "CHECKPOINT_EVERY", 2)
    whole = adapt(reverse, images, settings, quiet=True)
    refine, done = Refinement.refine, []

    def killed(self, *args):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(1)
        return refine(self, *args)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Refinement, "refine", killed)
        adapt(reverse, images, settings, folder=tmp_path, quiet=True)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(adaptation, "run_job", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        adapt(reverse, images, settings, folder=tmp_path, quiet=True)
    steps = adaptation._own_batch

    def killed_at_step_3(family, labelled, rng, count):
        if len(done) == 3 + 4:  # two steps, whose checkpoint is kept, the batch of the validation, and the third
            raise KeyboardInterrupt
        done.append(1)
        return steps(family, labelled, rng, count)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(adaptation, "_own_batch", killed_at_step_3)
        adapt(reverse, images, settings, folder=tmp_path, quiet=True)
    assert (tmp_path / "checkpoints" / "2").is_dir() and not (tmp_path / "checkpoints" / "4").exists()
    monkeypatch.setattr(Refinement, "refine", lambda *_: pytest.fail("a kept refinement was done again"))
    again = adapt(reverse, images, settings, folder=tmp_path, quiet=True)
    for one, other in zip(*(jax.tree.leaves(weights_of(r.network)) for r in (whole, again)), strict=True):
        assert (np.asarray(one) == np.asarray(other)).all()
    with pytest.raises(ValueError, match="steps = 4 there and 5 here"):
        adapt(reverse, images, dataclasses.replace(settings, steps=5), folder=tmp_path, quiet=True)
    for other in ([*images[:-1], images[0]], [m.assign_attrs(photon_energy=101.0) for m in images]):
        with pytest.raises(ValueError, match="the same images, but was begun with others; delete it"):
            adapt(reverse, other, settings, folder=tmp_path, quiet=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(ValueError, match="must be empty or hold an adaptation, but holds other files"):
        adapt(reverse, images, settings, folder=tmp_path / "mine", quiet=True)
