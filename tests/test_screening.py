"""Screening: the zoo is what its atoms say, the grid's stars stand for all of it, and the protocol is fair and repeatable."""

import sys

import ase.io
import jax
import numpy as np
import pytest

import bandjax as bj
from bandjax.fingerprints import (
    DUMMY,
    STRUCTURE_FEATURES,
    Levels,
    Protocol,
    draw_zoo,
    fingerprint,
    fingerprint_structures,
    model_levels,
    path_labels,
    precision_recall,
    screen,
    screening_sweep,
    training_sizes,
    training_split,
    zoo_atoms,
    zoo_features,
    zoo_model,
    zoo_parts,
)
from bandjax.fingerprints.zoo import KINDS, PAIRS, STRAINS, take
from bandjax.fingerprints.zoo_features import tetragonal_cell, tetragonal_grid

ZOO = draw_zoo(jax.random.key(3), 400)
K = np.random.default_rng(0).normal(size=(4, 3))


def first_of(elements: bool, bilayers: int, kind: str | None = None) -> int:
    """Index of one crystal of the zoo."""
    fits = (np.asarray(ZOO.pair == 0) == elements) & (np.asarray(ZOO.bilayers) == bilayers)
    if kind is not None:
        fits &= np.asarray(ZOO.kind) == KINDS.index(kind)
    return int(np.flatnonzero(fits)[0])


def test_the_draw_is_the_keys_and_within_its_bounds():
    again = draw_zoo(jax.random.key(3), 400)
    other = draw_zoo(jax.random.key(4), 400)
    for x, y in zip(ZOO, again, strict=True):
        np.testing.assert_array_equal(x, y)
    assert np.any(np.asarray(other.strain) != np.asarray(ZOO.strain))
    assert np.abs(ZOO.strain).max() <= 0.04 and 0 <= ZOO.profile.min() and ZOO.profile.max() <= 1
    assert set(np.asarray(ZOO.pair)) == set(range(len(PAIRS)))
    layered = np.asarray(ZOO.kind) == KINDS.index("superlattice")
    np.testing.assert_array_equal(np.asarray(ZOO.bilayers) > 1, layered)
    own = np.asarray(ZOO.profile)[np.asarray(ZOO.kind) == KINDS.index("crystal")]
    assert np.all((own == 0) | (own == 1)) and 0.2 < own[:, 0].mean() < 0.8
    some = draw_zoo(jax.random.key(0), 50, kinds=(0, 0, 1), pairs=(0,) * 8 + (1, 1))
    assert np.all(some.kind == 2) and np.all(some.pair >= 8)


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("elements", "bilayers"),
    [(True, 1), (False, 1), pytest.param(True, 3, marks=SLOW), pytest.param(False, 2, marks=SLOW), pytest.param(False, 3, marks=SLOW)],
)  # fmt: skip
def test_a_crystal_has_the_bands_of_its_atoms(elements, bilayers):
    index = first_of(elements, bilayers)
    atoms = zoo_atoms(ZOO, index)
    table = bj.load_parameters(tuple(atoms.info["materials"].split()), atoms.info["table"])
    found = bj.bands(zoo_model(elements, bilayers, take(ZOO, index)), K)
    np.testing.assert_allclose(found, bj.bands(bj.tight_binding(atoms, table), K), atol=1e-11)
    assert len(atoms) == 2 * bilayers and atoms.pbc.all()


@pytest.mark.parametrize("mode", range(3), ids=STRAINS)
def test_strain_is_what_it_says(mode):
    """Of pure GaAs: heights and a∥ against the elastic constants."""
    pair = PAIRS.index(("GaAs", "InAs"))
    crystal = take(ZOO, np.array([0]))._replace(pair=np.array([pair]), bilayers=np.array([1]), profile=np.zeros((1, 6)))
    atoms = zoo_atoms(crystal._replace(mode=np.array([mode]), strain=np.array([0.03])), 0)
    a, c = np.sqrt(2) * atoms.cell.lengths()[0] / 5.65325, 2 * atoms.cell[2, 2] / 5.65325
    ratio = 56.6 / 122.1  # c12/c11
    expected = {
        "hydrostatic": (1.03, 1.03), "biaxial": (1.03, 1 - 2 * ratio * 0.03), "uniaxial": (1 - 0.03 * ratio / (1 + ratio), 1.03)
    }[STRAINS[mode]]  # fmt: skip
    np.testing.assert_allclose((a, c), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("elements", "bilayers", "shifted"),
    [(False, 1, False), (False, 1, True), pytest.param(False, 2, True, marks=SLOW), pytest.param(True, 3, False, marks=SLOW), pytest.param(True, 3, True, marks=SLOW)],
)  # fmt: skip
def test_stars_stand_for_the_whole_grid(elements, bilayers, shifted):
    """Fingerprints from one wave vector of each star and from all of a grid, which is one of the reciprocal lattice."""
    index = first_of(elements, bilayers)
    model = zoo_model(elements, bilayers, take(ZOO, index))
    a, height = tetragonal_cell(model)
    unit = 2 * np.pi / np.array([a, a, height])
    plane, axis = 4, 2
    some, weight = tetragonal_grid(plane, axis, not elements, shifted)
    i, j, up = (
        x.ravel() for x in np.meshgrid(*((np.arange(n) + shifted / 2) / n for n in (plane, plane, axis)), indexing="ij")
    )
    every = np.stack([i - j, i + j, up], axis=1)
    found = [
        fingerprint(Levels(bj.bands(model, k * unit), w, 8.0 * bilayers, 1), "fermi", coarse=True, cut=np.inf)
        for k, w in ((some, weight), (every, np.full(len(every), 1 / len(every))))
    ]
    assert len(some) < len(every) and weight.sum() == pytest.approx(1)
    np.testing.assert_allclose(*found, atol=1e-9 * float(found[0].max()))
    # moving the grid by reciprocal vectors gives the same levels: it has the lattice's period
    shifted = every * unit + np.asarray(model.reciprocal).sum(axis=0)
    np.testing.assert_allclose(bj.bands(model, shifted), bj.bands(model, every * unit), atol=1e-9)
    on_grid = np.asarray(model.reciprocal) / unit @ np.linalg.inv(np.array([[1, 1, 0], [-1, 1, 0], [0, 0, 1]]))
    np.testing.assert_allclose(on_grid * (plane, plane, axis), np.round(on_grid * (plane, plane, axis)), atol=1e-9)


@pytest.mark.slow
def test_features_are_in_order_and_labels_those_of_the_path():
    index = [first_of(False, 2), first_of(False, 1), first_of(True, 1), first_of(False, 1, "alloy")]
    few = take(ZOO, np.array(index))
    found = zoo_features(few)
    assert (
        found.fermi.shape == (4, 513)
        and found.edges.shape == (4, 514)
        and found.structure.shape[1] == len(STRUCTURE_FEATURES)
    )
    assert np.isfinite(found.fermi).all() and np.isfinite(found.edges).all() and np.isfinite(found.structure).all()
    fraction = found.structure[:, STRUCTURE_FEATURES.index("fraction_Si")]
    assert fraction[2] > 0 and np.all(fraction[[0, 1, 3]] == 0)
    np.testing.assert_array_equal(found.structure[:, STRUCTURE_FEATURES.index("bilayers")], [2, 1, 1, 1])
    rest = list(zoo_parts(few, skip=2))  # batches: compounds of one bilayer, of two, Si/Ge
    assert len(rest) == 1 and list(rest[0][0]) == [2]
    np.testing.assert_allclose(rest[0][1].fermi[0], found.fermi[2], rtol=1e-9)
    # the second crystal's path along [001] by itself
    model = zoo_model(False, 1, take(ZOO, index[1]))
    _, height = tetragonal_cell(model)
    s = np.linspace(0, 1, 200) ** 1.5 * np.pi / float(height)
    along = path_labels(bj.bands(model, np.outer(s, [0, 0, 1])), s, 8, degeneracy=1)
    assert found.labels.vbm[1] >= along.vbm - 1e-9 and found.labels.cbm[1] <= along.cbm + 1e-9


CLEAR = np.random.default_rng(1).normal(size=(120, 3))
LABEL = CLEAR[:, 0] > 0.8
QUICK = Protocol(trees=25, search_trees=10, features_a_split=("sqrt",), smallest_leaf=(1, 2))


def test_parts_are_stratified_repeatable_and_share_nothing():
    train, asked = training_split(LABEL, 30, repeat=2)
    assert set(train) | set(asked) == set(range(120)) and not set(train) & set(asked)
    assert LABEL[train].sum() == round(30 * LABEL.mean())
    np.testing.assert_array_equal(train, training_split(LABEL, 30, repeat=2)[0])
    assert np.any(train != training_split(LABEL, 30, repeat=3)[0])
    assert 1 == LABEL[training_split(LABEL, 2, repeat=0)[0]].sum()  # one of each, whatever the share
    sizes = training_sizes(5000)
    assert len(sizes) == 28 and sizes[0] == 5 and sizes[-1] == 4000 and np.all(np.diff(sizes) > 0)


def test_each_part_holds_both_classes():
    """Of two that qualify one is asked about, whatever the size."""
    label = np.arange(10) < 2
    for size in range(2, 10):
        for part in training_split(label, size, repeat=0):
            assert label[part].any()
        assert len(training_split(label, size, repeat=0)[0]) == size


def test_metrics_are_those_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    train, asked = training_split(LABEL, 40, repeat=0)
    noisy = CLEAR + np.random.default_rng(2).normal(size=CLEAR.shape)
    found = screen(noisy, LABEL, train, asked, protocol=QUICK)
    truth, called = LABEL[asked], found.score > 0.5
    expected = {
        "recall": metrics.recall_score(truth, called),
        "precision": metrics.precision_score(truth, called),
        "balanced_accuracy": metrics.balanced_accuracy_score(truth, called),
        "f1": metrics.f1_score(truth, called),
        "accuracy": metrics.accuracy_score(truth, called),
        "average_precision": metrics.average_precision_score(truth, found.score),
        "prevalence": truth.mean(),
    }
    assert 0.3 < expected["recall"] < 1 and 0.2 < expected["precision"] < 1
    assert found.metrics == pytest.approx(expected, rel=1e-12)
    precision, recall, _ = metrics.precision_recall_curve(truth, found.score)
    at = np.array([0.1, 0.5, 0.9, 1.0])
    np.testing.assert_allclose(
        precision_recall(truth, found.score, at), [precision[recall >= r - 1e-12].max() for r in at]
    )


def test_a_forest_finds_what_a_dummy_does_not():
    pytest.importorskip("imblearn")
    noisy = CLEAR + 0.5 * np.random.default_rng(3).normal(size=CLEAR.shape)  # so that forests of another seed differ
    rows = list(
        screening_sweep({"noisy": noisy, DUMMY: None}, LABEL, sizes=(20, 60), repeats=2, protocol=QUICK, seed=1)
    )
    assert [(r["features"], r["size"], r["repeat"]) for r in rows[:3]] == [
        ("noisy", 20, 0),
        (DUMMY, 20, 0),
        ("noisy", 20, 1),
    ]
    score = {
        name: np.mean([r["balanced_accuracy"] for r in rows if r["features"] == name]) for name in ("noisy", DUMMY)
    }
    assert score["noisy"] > 0.6 and abs(score[DUMMY] - 0.5) < 0.2
    assert rows[0]["chosen"]["min_samples_leaf"] in (1, 2) and rows[1]["chosen"] == {}
    done = [(r["features"], r["size"], r["repeat"]) for r in rows if r is not rows[-2]]
    (rest,) = screening_sweep(
        {"noisy": noisy, DUMMY: None}, LABEL, sizes=(20, 60), repeats=2, protocol=QUICK, seed=1, done=done
    )
    assert rest == rows[-2] and rest["features"] == "noisy"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: training_split(np.zeros(9, bool), 3, repeat=0), ["`label`", "both classes", "all 9 are False"]),
        (lambda: training_split(LABEL, 120, repeat=0), ["`size`", "2 … 119", "120"]),
        (lambda: training_split(LABEL.astype(int), 12, repeat=0), ["`label`", "True and False", "int"]),
        (lambda: screen(CLEAR, LABEL, np.flatnonzero(~LABEL), np.flatnonzero(LABEL)), ["`train`", "both classes", "fail"]),
        (lambda: screen(CLEAR, LABEL, np.arange(100), 100 + np.flatnonzero(~LABEL[100:])), ["`asked`", "qualify"]),
        (lambda: screen(CLEAR, LABEL, np.arange(100), np.arange(98, 120)), ["`asked`", "no member of `train`", "shares 2"]),
        (lambda: screen(CLEAR[:5], LABEL, *training_split(LABEL, 9, repeat=0)), ["`features`", "(120, feature)"]),
        (lambda: screen(CLEAR * np.nan, LABEL, *training_split(LABEL, 9, repeat=0)), ["`features`", "finite"]),
        (lambda: training_sizes(100, smallest=0.9), ["`smallest`", "0.9"]),
        (lambda: draw_zoo(jax.random.key(0), 0), ["`count`", "> 0"]),
        (lambda: draw_zoo(jax.random.key(0), 5, pairs=(1.0,)), ["`pairs`", "(10,)"]),
    ],
)  # fmt: skip
def test_bad_input_is_told(call, words):
    with pytest.raises(ValueError) as error:
        call()
    for word in words:
        assert word in str(error.value)


def test_without_the_extra_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "imblearn.ensemble", None)
    with pytest.raises(ImportError, match=r"bandjax\[fingerprints\]"):
        screen(CLEAR, LABEL, *training_split(LABEL, 20, repeat=0), protocol=QUICK)


def test_the_zoos_structures_go_through_a_file(tmp_path):
    """What `bandjax fingerprint` makes of them is what their own model has, with the pair that `info` names."""
    index = first_of(False, 1, "alloy")
    ase.io.write(tmp_path / "zoo.extxyz", [zoo_atoms(ZOO, index)], format="extxyz")
    (atoms,) = ase.io.read(tmp_path / "zoo.extxyz", index=":")
    found = fingerprint_structures([atoms], "jancu1998", grid=(2, 2, 2), coarse=True)
    own = fingerprint(model_levels(zoo_model(False, 1, take(ZOO, index)), grid=(2, 2, 2)), coarse=True)
    # 8 digits of a position in the file are worth some 1e-7 eV, of a kernel whose slope is up to 200/eV²
    np.testing.assert_allclose(found["fingerprint"][0], own, atol=1e-4 * float(own.max()))
