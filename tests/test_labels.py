"""Labels: masses along a path are their formula, tensors at edges are the second derivatives of the bands, and metals do not stop anything."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

import bandjax as bj
from bandjax.fingerprints.labels import labels_on, model_labels, path_labels, straight_pieces, transparent_conductor
from bandjax.materials import Table
from bandjax.spectrum.mass_tensor import level_group, mass_tensor, stationary_point
from bandjax.units import BOLTZMANN, HBAR2_OVER_M

TABLE = bj.load_parameters("GaAs", "klimeck2000")
GAAS = bj.zincblende("GaAs", TABLE.spec.lattice_constant)
MODEL = bj.tight_binding(GAAS, TABLE)
TOP, BOTTOM = 7, 8  # bands of 20; at Γ 2-3 are split off (Γ7), 4-7 the top (Γ8), 8-9 the bottom (Γ6)


def parabola(s, mass, edge=0.0):
    return edge + HBAR2_OVER_M * s**2 / (2 * mass)


@pytest.mark.parametrize("power", [1.0, 1.5])
def test_a_parabola_has_its_own_mass(power):
    s = np.linspace(0, 1, 200) ** power * 0.4
    energy = np.stack([parabola(s, -0.4), parabola(s, 0.07, 1.0)], axis=1)
    found = path_labels(energy, s, 2)
    # second differences of a parabola are exact on even steps; on growing ones too, as its third derivative is zero
    np.testing.assert_allclose([found.electron_mass, found.hole_mass, found.gap], [0.07, -0.4, 1.0], rtol=1e-9)
    assert found.direct and found.vbm_at == found.cbm_at == 0


def test_masses_of_several_bands_are_weighted_by_their_carriers():
    s, masses, edges, temperature = np.linspace(0, 0.8, 4001), (-0.08, -0.5), (-0.03, 0.0), 300.0  # they do not cross

    def holes(x, mass, edge):
        return 1 / (np.exp(min(-parabola(x, mass, edge) / (BOLTZMANN * temperature), 700.0)) + 1)

    counts = [quad(holes, 0, 0.8, args=band, epsabs=1e-12)[0] for band in zip(masses, edges, strict=True)]
    expected = sum(counts) / sum(n / m for n, m in zip(counts, masses, strict=True))
    energy = np.stack([*map(lambda m, e: parabola(s, m, e), masses, edges), parabola(s, 0.1, 1.0)], axis=1)
    found = path_labels(np.sort(energy, axis=1), s, 4)
    assert float(found.hole_mass) == pytest.approx(expected, rel=1e-5)  # trapezoids of 2e-4/Å


def test_bands_that_cross_keep_their_masses():
    s = np.linspace(0, 0.6, 6001)
    two = np.stack([parabola(s, 0.1, 1.0), parabola(s, 0.6, 1.02)], axis=1)  # cross at 0.06 1/Å, half a k_BT up
    valence = parabola(s, -0.3)[:, None]
    apart = path_labels(np.concatenate([valence, two], axis=1), s, 2)
    crossed = path_labels(np.concatenate([valence, np.sort(two, axis=1)], axis=1), s, 2)
    # one point of 6,000 sees the kink: an error of the order of its share
    assert float(crossed.electron_mass) == pytest.approx(float(apart.electron_mass), rel=1e-3)


def test_corners_are_no_curvature():
    """A path with a turn at k ≠ 0, where the slope jumps, and one cut in two pieces there."""
    s = np.concatenate([np.linspace(0, 0.2, 101), np.linspace(0.2, 0.4, 101)[1:]])
    e = np.where(s <= 0.2, parabola(s - 0.2, 0.2) + 0.5 * (0.2 - s), parabola(s - 0.2, 0.2) + 0.9 * (s - 0.2))
    energy = np.stack([e * 0 - 1.0 - e, 1.0 + e], axis=1)
    assert straight_pieces(s, [(0.0, "A"), (0.2, "B"), (0.4, "C")]) == ((0, 100), (100, 200))
    assert float(path_labels(energy, s, 2, marks=[0.2]).electron_mass) == pytest.approx(0.2, rel=1e-6)
    assert float(path_labels(energy, s, 2).electron_mass) < 0.15  # the kink, taken for curvature
    jump = np.concatenate([s[:101], s[100:]])
    again = np.concatenate([energy[:101], energy[100:]])
    assert float(path_labels(again, jump, 2).electron_mass) == pytest.approx(0.2, rel=1e-6)


def test_a_metal_has_no_gap_and_no_masses():
    s = np.linspace(0, 0.5, 50)
    crossing = np.stack([parabola(s, 0.2), parabola(s, 0.2, 0.3)], axis=1)
    insulating = np.stack([parabola(s, -0.2), parabola(s, 0.2, 0.9)], axis=1)
    both = jax.jit(jax.vmap(lambda e: labels_on(e, s, ((0, 49),), 1)))(jnp.stack([crossing, insulating]))
    np.testing.assert_array_equal(np.isnan(both.electron_mass), [True, False])
    assert both.gap[0] == 0 and float(both.gap[1]) == pytest.approx(0.9)
    three = np.concatenate([insulating, insulating[:, 1:] + 3], axis=1)
    qualifies = transparent_conductor(both.gap, both.electron_mass, both.hole_mass)
    np.testing.assert_array_equal(qualifies, [False, True])
    assert (
        path_labels(three, s, 3).gap == 0 and path_labels(three, s, 2).gap > 0
    )  # an odd number of electrons in doubly held levels


@pytest.mark.parametrize(
    ("gap", "electron", "hole", "expected"),
    [
        (0.5, 0.5, -2.0, True), (0.499, 0.1, -0.1, False), (1.0, 0.51, -1.0, True), (1.0, 0.51, -1.01, False),
        (1.0, -0.1, 0.1, False), (1.0, np.nan, np.nan, False), (3.0, 0.7, np.nan, False),
    ],
)  # fmt: skip
def test_the_criterion(gap, electron, hole, expected):
    assert bool(transparent_conductor(gap, electron, hole)) is expected


@pytest.mark.slow
@pytest.mark.parametrize("band", [TOP, BOTTOM, 2], ids=["Γ8", "Γ6", "Γ7"])
@pytest.mark.parametrize("direction", [(1, 0, 0), (1, 1, 0), (1, 1, 1), (0.3, -0.2, 0.7)])
def test_the_matrix_has_the_masses_along_a_direction(band, direction):
    tensor = mass_tensor(MODEL, np.zeros(3), band)
    first, last = level_group(MODEL, np.zeros(3), band)
    assert last - first == (3 if band == TOP else 1)
    along = bj.effective_masses(MODEL, np.zeros((1, 3)), direction)[0, first : last + 1]
    # Γ8 has small linear terms off the axes, which sort `effective_masses` by velocity before curvature
    np.testing.assert_allclose(np.sort(1 / tensor.along(direction)).sum(), np.sort(1 / along).sum(), rtol=1e-9)
    d = np.array(direction) / np.linalg.norm(direction)
    assert float(d @ tensor.inverse @ d) == pytest.approx(float((1 / along).mean()), rel=1e-9)


def test_a_tensor_is_the_second_derivative_of_its_band():
    k, h = np.array([0.11, 0.05, -0.21]), 2e-3
    steps = h * np.eye(3)
    at = [k, *(k + a + b for a in (*steps, *-steps) for b in (*steps, *-steps))]
    e = np.asarray(bj.bands(MODEL, np.array(at)))[:, BOTTOM]
    pair = e[1:].reshape(2, 3, 2, 3)
    expected = (pair[0, :, 0] - pair[0, :, 1] - pair[1, :, 0] + pair[1, :, 1]) / (4 * h**2) / HBAR2_OVER_M
    found = mass_tensor(MODEL, k, BOTTOM)
    assert found.curvature.shape == (3, 3, 1, 1)
    # error of the central difference: h² times the fourth derivative, some 1e3 eV Å⁴, beside tens of eV Å²
    np.testing.assert_allclose(found.inverse, expected, atol=2e-3 * np.abs(expected).max())


@pytest.mark.slow
def test_the_mass_of_one_level_has_a_derivative_in_the_table():
    k = np.array([0.0, 0.1, 0.0])

    @jax.jit
    def mass(value):
        model = bj.tight_binding(GAAS, Table(TABLE.values | {"E_sc": value}, TABLE.spec), spin_orbit=False)
        return mass_tensor(model, k, 4, levels=(4, 4)).inverse[1, 1]

    at, h = jnp.asarray(float(TABLE["E_sc"])), 1e-3
    slope = float(jax.grad(mass)(at))
    assert abs(slope) > 0.1 and slope == pytest.approx(float(mass(at + h) - mass(at - h)) / (2 * h), rel=1e-6)


@pytest.mark.slow
def test_the_mass_of_one_level_has_a_second_derivative_in_the_table():
    k = np.array([0.0, 0.1, 0.0])

    def mass(value):
        model = bj.tight_binding(GAAS, Table(TABLE.values | {"E_sc": value}, TABLE.spec), spin_orbit=False)
        return mass_tensor(model, k, 4, levels=(4, 4)).inverse[1, 1]

    at, h, slope = jnp.asarray(float(TABLE["E_sc"])), 1e-3, jax.jit(jax.grad(mass))
    second = float(jax.jit(jax.jacfwd(jax.grad(mass)))(at))
    assert abs(second) > 0.01 and second == pytest.approx(float(slope(at + h) - slope(at - h)) / (2 * h), rel=1e-5)


@pytest.mark.slow
def test_gap_and_masses_have_derivatives_in_the_table():
    gamma = np.zeros(3)

    def numbers(value):
        model = bj.tight_binding(GAAS, Table(TABLE.values | {"E_sc": value}, TABLE.spec))
        top, bottom = (mass_tensor(model, gamma, b, levels=pair) for b, pair in ((TOP, (4, 7)), (BOTTOM, (8, 9))))
        return jnp.stack([bottom.energy - top.energy, bottom.inverse[0, 0], top.inverse[0, 0]])

    at, h = jnp.asarray(float(TABLE["E_sc"])), 1e-3
    numbers = jax.jit(numbers)
    forward = jax.jit(jax.jacfwd(numbers))(at)
    difference = (numbers(at + h) - numbers(at - h)) / (2 * h)
    assert np.all(np.abs(forward) > 0.01)
    np.testing.assert_allclose(forward, difference, rtol=1e-6)
    np.testing.assert_allclose(jax.jit(jax.jacrev(numbers))(at), forward, rtol=1e-10)


def test_masses_along_a_path_have_derivatives_in_the_energies():
    s = np.linspace(0, 0.4, 40)
    energy = jnp.stack([parabola(s, -0.4), parabola(s, 0.1, 1.0) - 3.0 * s**4], axis=1)

    @jax.jit
    def mass(scale):
        return path_labels(energy * scale, s, 2).electron_mass

    h = 1e-5
    expected = (mass(1 + h) - mass(1 - h)) / (2 * h)
    assert abs(float(expected)) > 0.05
    assert float(jax.grad(mass)(1.0)) == pytest.approx(float(expected), rel=1e-7)


@pytest.mark.slow
def test_gaas_and_silicon():
    k, distance, marks = bj.k_path(GAAS, "LΓX", points=300)
    gaas = model_labels(MODEL, k, distance, marks=marks)
    assert gaas.direct and gaas.valence is not None and gaas.conduction is not None
    assert gaas.gap == pytest.approx(
        1.424, abs=2e-3
    )  # what the table was fitted to: 1.424 eV, 0.067 m_e (Klimeck et al.)
    np.testing.assert_allclose(gaas.conduction.tensor.principal, 0.067, atol=2e-3)
    cold = path_labels(bj.bands(MODEL, k), distance, 8, marks=marks, degeneracy=1, temperature=20.0)
    # at 20 K carriers sit within 2e-3 eV of the edge: the tensor's mass, but for the path's steps of 7e-3/Å
    assert float(cold.electron_mass) == pytest.approx(float(gaas.conduction.tensor.principal[0]), rel=0.02)
    assert 0.067 < float(gaas.path.electron_mass) < 0.08  # heavier by non-parabolicity
    assert -0.4 < float(gaas.path.hole_mass) < -0.1  # between the light and the heavy holes

    atoms = bj.zincblende("Si")
    model = bj.tight_binding(atoms, bj.load_parameters("Si", "jancu1998"), spin_orbit=False)
    k, distance, marks = bj.k_path(atoms, "LΓX", points=120)
    si = model_labels(model, k, distance, marks=marks)
    assert not si.direct and si.conduction is not None and si.conduction.converged
    slope = [float(bj.velocities(model, si.conduction.k[None], d)[0, 4]) for d in np.eye(3)]
    np.testing.assert_allclose(slope, 0, atol=1e-8)
    masses = np.sort(np.asarray(si.conduction.tensor.principal))
    axis = np.argmax(np.abs(si.conduction.k))
    along = [float(bj.effective_masses(model, si.conduction.k[None], d)[0, 4]) for d in np.eye(3)]
    np.testing.assert_allclose(np.sort(along), masses, rtol=1e-8)
    assert np.argmax(along) == axis and 3 < along[axis] / masses[0] < 5  # long axis towards X: 0.92 and 0.19 measured
    assert float(si.path.electron_mass) == pytest.approx(along[axis], rel=0.05)  # the path sees the heavy one


SILICON = bj.tight_binding(bj.zincblende("Si"), bj.load_parameters("Si", "vogl1983"), spin_orbit=False)


def energy_at(model, k, band):
    return float(bj.bands(model, np.asarray(k)[None])[0, band])


@pytest.mark.parametrize(
    ("start", "other"),
    [
        ((0.36, 0.36, 0.36), "a saddle: across Γ-L the band falls"),
        ((1.0, 0.0, 0.0), "a crossing: both levels at X fall, one to either side"),
        pytest.param((0.1, 0.0, 0.0), "Γ, uphill", marks=pytest.mark.slow),
        pytest.param((0.5, 0.5, 0.5), "a maximum at L", marks=pytest.mark.slow),
        pytest.param((0.75, 0.75, 0.0), "a saddle on Γ-K", marks=pytest.mark.slow),
    ],
)
def test_an_edge_is_an_extremum_of_its_kind(start, other):
    """Starts from which Newton alone goes elsewhere; the only minimum of this band is the valley on Γ-X."""
    k, band = np.array(start) * 2 * np.pi / 5.431, 4
    below = energy_at(SILICON, k, band)
    alone = stationary_point(SILICON, k, band)
    assert alone.converged and energy_at(SILICON, alone.k, band) > 1.5, other
    found = stationary_point(SILICON, k, band, extremum="minimum")
    assert found.converged and float(found.tensor.energy) < below
    assert float(found.tensor.energy) == pytest.approx(1.1709, abs=1e-3)  # the minimum of a dense Γ-X path
    assert np.all(np.linalg.eigvalsh(found.tensor.inverse) > 0)


@pytest.mark.slow
def test_labels_of_a_path_without_the_valley_find_a_minimum():
    """Along Γ-L alone the lowest point of silicon's conduction band (vogl1983) is a saddle at 2.16 eV."""
    k, distance, marks = bj.k_path(bj.zincblende("Si"), "ΓL", points=60)
    found = model_labels(SILICON, k, distance, marks=marks)
    assert float(found.path.gap) == pytest.approx(2.16, abs=0.01)
    assert found.conduction is not None and found.conduction.converged
    assert found.gap == pytest.approx(1.171, abs=1e-3) and not found.direct
    assert np.all(np.asarray(found.conduction.tensor.principal) > 0)


@pytest.mark.slow
def test_a_valence_band_is_searched_upward():
    k = np.array([0.35, 0.2, 0.1])
    found = stationary_point(MODEL, k, TOP, extremum="maximum")
    assert found.converged and float(found.tensor.energy) >= energy_at(MODEL, k, TOP)
    np.testing.assert_allclose(found.k, 0, atol=1e-6)
    assert np.all(np.linalg.eigvalsh(found.tensor.inverse) < 0)
    down = stationary_point(MODEL, k, TOP, extremum="minimum")  # of the same band: the lowest at the zone's face
    assert not down.converged or float(down.tensor.energy) < energy_at(MODEL, k, TOP)
    if not down.converged:
        np.testing.assert_array_equal(down.k, k)


def test_a_gap_is_direct_by_its_energy():
    """A top that lies 0.1 meV up beside Γ, as linear splitting puts it, leaves the gap direct; 10 meV do not."""
    s = np.linspace(0, 0.4, 60)
    for up, direct in ((1e-4, True), (1e-2, False)):
        valence = parabola(s, -0.4)
        valence[1] = up
        found = path_labels(np.stack([valence, parabola(s, 0.1, 1.0)], axis=1), s, 2)
        assert int(found.vbm_at) == 1 and int(found.cbm_at) == 0 and bool(found.direct) is direct


def test_edges_beside_the_path_are_told():
    """Masses are those of the path; gap and `on_path` know of the rest, but for rounding."""
    s = np.linspace(0, 0.4, 60)
    path = jnp.stack([parabola(s, -0.4), parabola(s, 0.1, 1.0)], axis=1)

    def found(valence, conduction):
        elsewhere = jnp.array([[-1.0, 2.0], [valence, conduction]])
        return labels_on(path, s, ((0, 59),), 1, elsewhere=elsewhere)

    alone = labels_on(path, s, ((0, 59),), 1)
    for labels, on_path, gap, at in (
        (alone, True, 1.0, (0, 0)),
        (found(-0.5, 1.5), True, 1.0, (0, 0)),
        (found(1e-14, 1 - 1e-14), True, 1.0, (0, 0)),  # the same wave vector again
        (found(-0.5, 0.998), True, 0.998, (0, 61)),  # 2 meV are won between two points of the path
        (found(-0.5, 0.7), False, 0.7, (0, 61)),
        (found(0.1, 1.5), False, 0.9, (61, 0)),
    ):
        assert bool(labels.on_path) is on_path and float(labels.gap) == pytest.approx(gap)
        assert (int(labels.vbm_at), int(labels.cbm_at)) == at and bool(labels.direct) is (at == (0, 0))
        assert labels.electron_mass == alone.electron_mass and labels.hole_mass == alone.hole_mass


def test_a_search_that_finds_nothing_says_so():
    k = np.array([0.2, 0.1, 0.05])
    found = stationary_point(MODEL, k, BOTTOM, steps=1)
    assert not found.converged
    np.testing.assert_array_equal(found.k, k)


def test_distances_of_a_path_are_those_of_its_wave_vectors():
    k, distance, marks = bj.k_path(GAAS, "LΓX,KΓ", points=40)
    steps, apart = np.diff(distance), np.linalg.norm(np.diff(k, axis=0), axis=1)
    np.testing.assert_allclose(steps[steps > 0], apart[steps > 0], rtol=1e-10)
    assert np.sum(steps == 0) == 1 and marks[2][0] == pytest.approx(np.linalg.norm(k[0]) + 2 * np.pi / 5.666, rel=1e-9)


S, E = np.linspace(0, 1, 10), np.stack([-np.ones(10), np.ones(10)], axis=1)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: path_labels(E[0], S, 2), ["`energy`", "(k, band)"]),
        (lambda: path_labels(E, S[:5], 2), ["`distance`", "(10,)"]),
        (lambda: path_labels(E, S[::-1], 2), ["`distance`", "must not decrease", "index 0"]),
        (lambda: path_labels(E[:2], S[:2], 2), ["`distance`", "three points"]),
        (lambda: path_labels(E, S, 4), ["`electrons`", "leave one of 2 empty", "fills 2"]),
        (lambda: path_labels(E, S, 2, temperature=0.0), ["`temperature`", "> 0"]),
        (lambda: path_labels(np.where(E > 0, np.nan, E), S, 2), ["`energy`", "finite"]),
        (lambda: transparent_conductor(1.0, 0.1, -0.1, largest_hole_mass=-1.0), ["`largest_hole_mass`", "> 0"]),
        (lambda: mass_tensor(MODEL, np.zeros(3), 20), ["`band`", "0 … 19", "20"]),
        (lambda: mass_tensor(MODEL, np.zeros(3), 7, levels=(7, 6)), ["`levels`", "(7, 6)"]),
        (lambda: jax.jit(lambda m: mass_tensor(m, np.zeros(3), 7))(MODEL), ["`levels`", "traced"]),
        (lambda: stationary_point(MODEL, np.zeros(3), 7, extremum="saddle"), ["`extremum`", "minimum", "saddle"]),
    ],
)  # fmt: skip
def test_bad_input_is_told(call, words):
    with pytest.raises(ValueError) as error:
        call()
    for word in words:
        assert word in str(error.value)
