"""Nanotubes: screw operations against the whole period, curvature against published laws, levels against sum rules."""

import itertools

import ase.build
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bandjax as bj
from bandjax.fingerprints import Levels, density
from bandjax.hamiltonian import bloch_hamiltonian, tight_binding
from bandjax.hamiltonian.helical import helical_hamiltonian, radial_hoppings
from bandjax.materials import load_parameters
from bandjax.spectrum.helical import helical_bands, mesh_size, tube_levels, van_hove_energies
from bandjax.structure import chiral_angle, list_nanotubes, nanotube, tube, tube_diameter
from bandjax.structure.nanotube import SHAPES, screw

KINDS = ((4, 4), (7, 0), (5, 2), (8, 4))  # armchair, zigzag, chiral, chiral with a fourfold axis
GAMMA0, BOND = 2.66, 1.42


@pytest.fixture(scope="module")
def table():
    return load_parameters("nanotube", "pz")


def distances(atoms):
    return np.sort(atoms.get_all_distances(mic=True).ravel())


@pytest.mark.parametrize("indices", KINDS)
def test_rolled_tube_equals_that_of_ase(indices):
    ours, theirs = nanotube(*indices, shape="rolled"), ase.build.nanotube(*indices, bond=BOND, vacuum=10.0)
    np.testing.assert_allclose(distances(ours), distances(theirs), atol=1e-9)
    assert ours.cell[2, 2] == pytest.approx(theirs.cell[2, 2], abs=1e-9)


@pytest.mark.parametrize("indices", [*KINDS, (12, 9)])
def test_bonds_are_equal_and_the_period_is_graphenes(indices):
    atoms = nanotube(*indices, cells=2)  # of which none is its own image's neighbour
    between = atoms.get_all_distances(mic=True)
    bonded = (between > 0) & (between < 1.2 * BOND)
    assert np.all(bonded.sum(axis=1) == 3)
    np.testing.assert_allclose(between[bonded], BOND, atol=1e-12)
    rolled = tube(*indices, shape="rolled")
    assert float(tube(*indices).period) == pytest.approx(float(rolled.period), abs=1e-12)
    assert float(tube(*indices).radius) > float(rolled.radius) == pytest.approx(tube_diameter(*indices) / 2)


def test_screw_operations_reach_every_cell():
    for n, m in list_nanotubes(2, 15):
        (p, q), built = screw(n, m), tube(n, m)
        assert n * q - m * p == built.fold
        assert built.hexagons * float(built.step) == pytest.approx(built.fold * float(built.period))


def test_collection_of_the_experiment():
    """Diameters 0.6 to 2 nm: two tubes of one family 2n + m meet by chance in 2.4 %, (n − m) mod 3 in a third."""
    n, m = np.array(list_nanotubes(6, 20)).T
    family = 2 * n + m
    same = family[:, None] == family
    assert len(n) == 195 and (same.sum() - 195) / (195 * 194) == pytest.approx(0.024, abs=5e-4)
    assert chiral_angle(7, 7) == pytest.approx(30) and chiral_angle(9, 0) == 0


def radial_levels(positions, period, k):
    """Levels of the atoms of one period by the formula of the radial orbitals, written out: independent of bandjax."""
    out = positions - positions.mean(axis=0)
    out[:, 2] = 0
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    h = np.zeros((len(out), len(out)), complex)
    for shift in (-1, 0, 1):
        d = positions[None] + np.array([0, 0, shift * period]) - positions[:, None]
        length = np.linalg.norm(d, axis=2)
        i, j = np.nonzero((length > 0.1) & (length < 1.2 * BOND))
        b = d[i, j] / length[i, j][:, None]
        along = np.sum(out[i] * b, axis=1) * np.sum(out[j] * b, axis=1)
        t = -GAMMA0 * (np.sum(out[i] * out[j], axis=1) - along) + GAMMA0 * along
        h[i, j] += t * (BOND / length[i, j]) ** 2 * np.exp(1j * k * d[i, j, 2])
    return np.linalg.eigvalsh(h)


@pytest.mark.parametrize("indices", [*KINDS[:3], pytest.param(KINDS[3], marks=pytest.mark.slow)])
def test_screw_operations_give_the_levels_of_the_whole_period(indices, table):
    """Against the atoms of ase, one by one."""
    atoms = ase.build.nanotube(*indices, bond=BOND, vacuum=10.0)
    built = tube(*indices, shape="rolled")
    for k in (0.0, 0.137, 0.31):
        mu = jnp.arange(built.hexagons)
        found = jnp.sort(helical_bands(built, table, jnp.full(built.hexagons, k), mu).ravel())
        np.testing.assert_allclose(found, radial_levels(atoms.positions, atoms.cell[2, 2], k), atol=1e-10)


@pytest.mark.parametrize("indices", [pytest.param(i, marks=() if i == (5, 2) else pytest.mark.slow) for i in KINDS])
def test_tight_binding_of_the_p_shell_on_the_radial_orbitals(indices, table):
    """Against the Slater-Koster engine: H(k) of all p orbitals of `nanotube`, projected."""
    atoms = nanotube(*indices)
    model = tight_binding(atoms, table, spin_orbit=False)
    out = atoms.positions - np.diag(atoms.cell) / 2
    out[:, 2] = 0
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    built, k = tube(*indices), 0.173
    h = np.asarray(bloch_hamiltonian(model, jnp.array([0.0, 0.0, k]))).reshape(len(atoms), 3, len(atoms), 3)
    expected = np.linalg.eigvalsh(np.einsum("ia,iajb,jb->ij", out, h, out))
    found = helical_bands(built, table, jnp.full(built.hexagons, k), jnp.arange(built.hexagons))
    np.testing.assert_allclose(jnp.sort(found.ravel()), expected, atol=1e-10)


def test_two_by_two_hamiltonian_gives_the_bands(table):
    built = tube(6, 4)
    table = table.replace(epsilon=0.3)
    h = helical_hamiltonian(built, table, 0.21, 3)
    np.testing.assert_allclose(h, h.conj().T, atol=1e-15)
    found = helical_bands(built, table, jnp.array([0.21]), jnp.array([3]))[0]
    np.testing.assert_allclose(found, np.linalg.eigvalsh(h), atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_armchair_tubes_stay_metallic(shape, table):
    for n in (4, 7, 12):
        assert van_hove_energies(tube(n, n, shape=shape), table.replace(V_ppsigma=5.0), 1)[0] < 1e-6


def test_small_gaps_follow_the_published_law(table):
    """3 γ0 a²/4d² cos 3θ for (n − m) mod 3 = 0: C. L. Kane, E. J. Mele, Phys. Rev. Lett. 78, 1932 (1997), for the form and
    M. Ouyang et al., Science 292, 702 (2001), for the factor and the measured 80 ± 5, 42 ± 4, 29 ± 3 meV (after)."""
    measured = {(9, 0): (80, 5), (12, 0): (42, 4), (15, 0): (29, 3)}
    for indices, (gap, sigma) in measured.items():
        assert abs(1e3 * van_hove_energies(tube(*indices), table, 1)[0] - gap) < sigma
    for n, m in [(9, 0), (15, 0), (12, 3), (13, 4), (10, 7)]:
        law = 0.75 * GAMMA0 * BOND**2 / tube_diameter(n, m) ** 2 * np.cos(np.radians(3 * chiral_angle(n, m)))
        gap = van_hove_energies(tube(n, m), table, 1)[0]
        assert gap == pytest.approx(law, rel=0.05)  # the next order is (a/d)², 4 % for (9, 0)


def test_sigma_and_pi_integrals_act_on_the_fermi_point_as_published(table):
    """The shift of the Fermi points is ∝ 1 − 3(V_ppσ − V_ppπ)/(8|V_ppπ|): T. Ando, J. Phys. Soc. Jpn. 69, 1757 (2000), (after)."""
    for sigma in (0.0, GAMMA0, 6.38):
        gap = van_hove_energies(tube(30, 0), table.replace(V_ppsigma=sigma), 1)[0]
        law = abs(1 - 3 * (sigma + GAMMA0) / (8 * GAMMA0)) * 3 * GAMMA0 * BOND**2 / tube_diameter(30, 0) ** 2
        assert gap == pytest.approx(law, rel=0.01)


def test_gaps_of_semiconducting_tubes(table):
    """2 γ0 a/d, better the wider the tube: C. T. White, D. H. Robertson, J. W. Mintmire, Phys. Rev. B 47, 5485 (1993)."""
    off = []
    for n, m in [(10, 0), (20, 0), (40, 0), (80, 0)]:
        law = 2 * GAMMA0 * BOND / tube_diameter(n, m)
        off.append(abs(van_hove_energies(tube(n, m), table, 1)[0] / law - 1))
    assert all(wide < 0.6 * narrow for narrow, wide in itertools.pairwise(off)) and off[-1] < 0.02


def test_ratio_of_the_two_lowest_transitions_tells_the_families_apart(table):
    """E22/E11 is above 2 for (2n + m) mod 3 = 2 and below for 1, the more so near zigzag, as measured by S. M. Bachilo et al.,
    Science 298, 2361 (2002), (after; excitons make the measured ratios smaller throughout)."""
    ratio = {}
    for n, m in [(9, 1), (8, 3), (7, 5), (8, 1), (7, 3), (6, 5)]:
        first, second = van_hove_energies(tube(n, m), table, 2)
        ratio[n, m] = second / first
    assert ratio[9, 1] < ratio[8, 3] < ratio[7, 5] < 2 < ratio[6, 5] < ratio[7, 3] < ratio[8, 1]


def test_wide_tubes_are_graphene(table):
    """A (2000, 0) tube folds graphene's bands: E = γ0 |1 + 2 cos(√3 k a/2 ...)| on its lines."""
    built, mu = tube(2000, 0), jnp.array([0, 500, 1333])
    found = helical_bands(built, table, jnp.zeros(3), mu)[:, 1]
    np.testing.assert_allclose(found, GAMMA0 * jnp.abs(1 + 2 * jnp.cos(jnp.pi * mu / 2000)), atol=1e-5)


@pytest.mark.parametrize("indices", [pytest.param(i, marks=() if i == (8, 4) else pytest.mark.slow) for i in KINDS])
def test_half_the_zone_has_the_moments_of_the_whole(indices, table):
    """Σ w = 1, Σ w ε² = Σ t² and Σ w ε⁴, the number of closed walks, against the whole period."""
    built, table = tube(*indices), table.replace(epsilon=0.2)
    levels = tube_levels(built, table, mesh_size(built, table, 1.0))
    power = [float(jnp.sum(levels.weight[:, None] * (levels.energy - 0.2) ** p)) for p in (0, 1, 2, 4)]
    k = jnp.repeat(jnp.linspace(0, 2 * jnp.pi / built.period, 24, endpoint=False), built.hexagons)
    whole = helical_bands(built, table, k, jnp.tile(jnp.arange(built.hexagons), 24)) - 0.2
    expected = [2, 0, 2 * float(jnp.sum(radial_hoppings(built, table) ** 2)), 2 * float(jnp.mean(whole**4))]
    np.testing.assert_allclose(power, expected, atol=1e-10)


def test_density_of_states_of_a_metal(table):
    """Two bands of two valleys and two spins through E_F: 8/(3π a γ0) per eV and Å, J. W. Mintmire, C. T. White, Phys. Rev. Lett. 81,
    2506 (1998); curvature takes a part of (a/d)² off it."""
    built = tube(30, 30)
    levels = tube_levels(built, table, mesh_size(built, table, 0.05))
    per_cell = density(Levels(levels.energy, levels.weight, 2.0, 2), jnp.zeros(1), smearing=0.05, cut=np.inf)[0]
    assert per_cell * built.fold / built.step == pytest.approx(8 / (3 * np.pi * BOND * GAMMA0), rel=5e-3)


def test_levels_lie_as_dense_as_asked(table):
    built = tube(5, 2)
    levels = tube_levels(built, table, mesh_size(built, table, 0.02))
    assert 0.005 < np.abs(np.diff(levels.energy[:, 1])).max() <= 0.02


@pytest.mark.slow
def test_gradients_in_table_and_shape(table):
    names = ("V_pppi", "V_ppsigma", "epsilon")

    def moment(x):
        built = tube(6, 4, bond=x[3], axial_strain=x[4], radial_strain=x[5])
        levels = tube_levels(built, table.replace(**dict(zip(names, x[:3], strict=True))), 16)
        return jnp.sum(levels.weight[:, None] * jnp.cos(levels.energy / 3))

    x, moment = jnp.array([-2.66, 2.66, 0.1, 1.42, 0.01, -0.02]), jax.jit(moment)
    found, step = jax.grad(moment)(x), 1e-5
    central = [(moment(x + step * e) - moment(x - step * e)) / (2 * step) for e in jnp.eye(6)]
    np.testing.assert_allclose(found, central, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(jax.jacfwd(moment)(x), found, rtol=1e-9)
    assert np.abs(found).min() > 1e-5


def test_derivative_at_a_crossing(table):
    """An armchair tube at its Fermi point cos(kh) = −t1/2t2 of μ = 0, where H_AB is 0: the sum of both bands has its derivative."""
    built = tube(5, 5)
    across, *_, other = sorted(zip(np.abs(built.rise), radial_hoppings(built, table), strict=True))
    k = jnp.arccos(-across[1] / (2 * other[1]))[None] / built.step

    def levels(k, epsilon):
        return helical_bands(built, table.replace(epsilon=epsilon), k, jnp.array([0]))[0]

    np.testing.assert_allclose(levels(k, 0.1), 0.1, atol=1e-12)
    along, up = jax.jacrev(levels, argnums=(0, 1))(k, 0.1)
    np.testing.assert_allclose(up, 1, atol=1e-12)
    np.testing.assert_allclose(along.sum(axis=0), 0, atol=1e-12)


@pytest.mark.slow
def test_states_per_length_do_not_depend_on_the_cell():
    """A flat p_z model of the same tube in cells of one and of two periods; a crystal has no length."""
    options = {"smearing": 0.3, "per": "length", "coarse": True}
    once, twice = (
        bj.fingerprint_structures([nanotube(3, 3, cells=c)], "pz", "fermi:-3:3:31", grid=(1, 1, 24 // c), **options)
        for c in (1, 2)
    )
    np.testing.assert_allclose(once["fingerprint"], twice["fingerprint"], rtol=1e-9)
    assert once["fingerprint"].attrs["units"] == "1/eV/angstrom"
    with pytest.raises(ValueError, match="periodic in one direction"):
        bj.fingerprint_structures([bj.zincblende("Si")], "vogl1983", grid=(2, 2, 2), **options)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: tube(3, 4), "n ≥ m ≥ 0"),
        (lambda: tube(5.0, 1), "integers"),
        (lambda: tube(0, 0), "n ≥ 1"),
        (lambda: tube(5, 5, shape="flat"), "Argument `shape` must be one of"),
        (lambda: tube(5, 5, bond=0.0), "Argument `bond` must be > 0"),
        (lambda: tube(5, 5, axial_strain=-1.0), "`1 \\+ axial_strain` must be > 0"),
        (lambda: nanotube(5, 5, cells=0), "Argument `cells` must be ≥ 1"),
        (lambda: list_nanotubes(20, 6), "Argument `largest`"),
        (lambda: radial_hoppings(tube(5, 5), load_parameters("graphene", "pz")), "('nanotube', 'pz')"),
        (lambda: tube_levels(tube(5, 5), load_parameters("nanotube", "pz"), 3), "must be even"),
        (lambda: mesh_size(tube(5, 5), load_parameters("nanotube", "pz"), 0.0), "Argument `spacing` must be > 0"),
        (lambda: van_hove_energies(tube(5, 5), load_parameters("nanotube", "pz"), 0), "Argument `count`"),
        (lambda: helical_bands(tube(5, 5), load_parameters("nanotube", "pz"), jnp.zeros(2), jnp.zeros(3)), "`mu`"),
    ],
)  # fmt: skip
def test_bad_input_gets_one_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
