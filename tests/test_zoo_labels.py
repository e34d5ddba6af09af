"""The zoo's labels, made many at a time on its own coarse path and grid, are those of each crystal alone on a dense path."""

import jax
import numpy as np
import pytest

import bandjax as bj
from bandjax.fingerprints import draw_zoo, model_labels, path_labels, zoo_atoms
from bandjax.fingerprints.zoo import PAIRS, take
from bandjax.fingerprints.zoo_features import crystal_features

ZOO = draw_zoo(jax.random.key(0), 400)
CHEAP = (("GaAs", "InAs"), ("AlP", "GaP"))  # a direct gap and a valley near X
COARSEST = 0.05  # 1/Å, of the zoo's steps


@pytest.fixture(scope="module")
def zoo_labels():
    return jax.jit(lambda elements, crystal: crystal_features(elements, 1, crystal).labels, static_argnums=0)


def dense_path(atoms, points):
    """The lines of the zoo, written out: [100], [001], [111] to the faces of the zone of one bilayer, [110] to K; at 0.3 t² + 0.7 t of
    each, t even, so that steps near Γ are a little shorter."""
    a, c = np.sqrt(2) * np.linalg.norm(atoms.cell[0]), 2 * atoms.cell[2, 2]
    ends = 2 * np.pi / np.array([a, a, c]) * np.array([[1, 0, 0], [0, 0, 1], [0.75, 0.75, 0], [0.5, 0.5, 0.5]])
    lengths = np.linalg.norm(ends, axis=1)
    along = np.linspace(0, 1, points) ** 2 * 0.3 + np.linspace(0, 1, points) * 0.7  # denser near Γ
    k = (ends[:, None] * along[:, None]).reshape(-1, 3)
    before = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    return k, (before[:, None] + lengths[:, None] * along).ravel()


@pytest.mark.parametrize(
    ("pair", "searched"),
    [
        *((p, False) for p in CHEAP),
        *(pytest.param(p, True, marks=pytest.mark.slow) for p in PAIRS),
    ],
    ids=lambda x: "".join(x) if isinstance(x, tuple) else "searched" if x else "path",
)
def test_labels_of_one_crystal_of_a_pair(pair, searched, zoo_labels):
    place = PAIRS.index(pair)
    index = int(np.flatnonzero((np.asarray(ZOO.pair) == place) & (np.asarray(ZOO.bilayers) == 1))[0])
    found = zoo_labels(place == 0, take(ZOO, index))
    atoms = zoo_atoms(ZOO, index)
    model = bj.tight_binding(atoms, bj.load_parameters(pair, "jancu1998"))
    k, distance = dense_path(atoms, 300 if searched else 120)
    dense = path_labels(bj.bands(model, k), distance, 8, degeneracy=1)
    assert bool(found.on_path) and bool(found.direct) == bool(dense.direct)
    # half of the coarsest step from the bottom of a valley of 0.9 m_e: 2.6 meV, and never below the dense path's but for its own 0.1 meV
    valley = 1e3 * 7.62 / 2 / 0.9 * (COARSEST / 2) ** 2
    assert -0.5 < 1e3 * float(found.gap - dense.gap) < valley
    # steps near Γ are up to a half of the thermal wave vector √(2 m k_BT)/ħ (0.011/Å for 0.018 m_e), near X 0.05/Å beside 0.1/Å on a band that is no
    # parabola over k_BT. Of the ten pairs beside 300 points a line, holes are at most 4.1 % off (AlAs/InAs), electrons 5.4 % (GaSb/InSb) and
    # −4.6 % (GaP/InP): with steps half as long 0.4 and −0.8 %, so the zoo's steps are the cause; from 120 to 300 points the dense path itself moves by 0.6 %
    assert float(found.hole_mass) == pytest.approx(float(dense.hole_mass), rel=0.05)
    assert float(found.electron_mass) == pytest.approx(float(dense.electron_mass), rel=0.06)
    if not searched:
        return
    edges = model_labels(model, k, distance)
    assert edges.valence is not None and edges.conduction is not None
    assert edges.valence.converged and edges.conduction.converged
    # the extremum lies on these lines: between two points of the path, not in another valley
    assert -1.0 < 1e3 * (edges.gap - float(dense.gap)) < 1e-6 and -1.0 - valley < 1e3 * (edges.gap - float(found.gap))
    assert np.all(np.asarray(edges.conduction.tensor.principal) > 0)
