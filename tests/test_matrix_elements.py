"""Plane-wave matrix elements: orbitals and their transforms, selection rules, interference, rotations, gradients."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import spherical_jn

from bandjax.hamiltonian import bloch_hamiltonian, rotated, tight_binding
from bandjax.materials import load_parameters
from bandjax.photoemission.atomic_orbitals import (
    DEFAULT_ZETA,
    SlaterOrbital,
    form_factors,
    radial_function,
    slater_orbital,
)
from bandjax.photoemission.instrument import Instrument
from bandjax.photoemission.matrix_elements import (
    chemical_symbol,
    mirror_parities,
    plane_wave_amplitude,
    transition_amplitudes,
)
from bandjax.spectrum import coherent_lorentzians
from bandjax.structure import cubic_lattice, graphene, zincblende
from bandjax.units import BOHR

SI = 5.431  # Å
# (symbol, shell): effective nuclear charge and n* by hand from Slater's rules
CHARGES = {
    ("H", "s"): (1.00, 1),
    ("C", "p"): (3.25, 2),  # 6 − 3·0.35 − 2·0.85
    ("Si", "p"): (4.15, 3),  # 14 − 3·0.35 − 8·0.85 − 2
    ("Si", "s*"): (1.45, 3.7),  # one 3p electron lent: 14 − 3·0.85 − 10
    ("Si", "d"): (1.00, 3),
    ("In", "d"): (1.00, 4.0),  # 5d; the filled 4d belongs to the core
    ("C", "d"): (1.00, 3),  # there is no 2d
    ("As", "s"): (6.30, 3.7),  # 33 − 4·0.35 − 18·0.85 − 10
    ("Fe", "s"): (3.75, 3.7),
    ("Fe", "d"): (6.25, 3),
    ("K", "s"): (2.20, 3.7),
}
# real harmonics times r^l, written out
HARMONICS = {
    ("s", "s"): lambda x, y, z: np.sqrt(1 / (4 * np.pi)) + 0 * x,
    ("p", "px"): lambda x, y, z: np.sqrt(3 / (4 * np.pi)) * x,
    ("p", "py"): lambda x, y, z: np.sqrt(3 / (4 * np.pi)) * y,
    ("p", "pz"): lambda x, y, z: np.sqrt(3 / (4 * np.pi)) * z,
    ("d", "dxy"): lambda x, y, z: np.sqrt(15 / (4 * np.pi)) * x * y,
    ("d", "dyz"): lambda x, y, z: np.sqrt(15 / (4 * np.pi)) * y * z,
    ("d", "dzx"): lambda x, y, z: np.sqrt(15 / (4 * np.pi)) * z * x,
    ("d", "dx2-y2"): lambda x, y, z: np.sqrt(15 / (16 * np.pi)) * (x**2 - y**2),
    ("d", "dz2"): lambda x, y, z: np.sqrt(5 / (16 * np.pi)) * (2 * z**2 - x**2 - y**2),
    ("s*", "s*"): lambda x, y, z: np.sqrt(1 / (4 * np.pi)) + 0 * x,
    ("eg", "dz2"): lambda x, y, z: np.sqrt(5 / (16 * np.pi)) * (2 * z**2 - x**2 - y**2),
    ("z", "pz"): lambda x, y, z: np.sqrt(3 / (4 * np.pi)) * z,
    ("r", "s"): lambda x, y, z: np.sqrt(1 / (4 * np.pi)) + 0 * x,
}


@pytest.fixture(scope="module")
def silicon():
    return tight_binding(zincblende("Si", a=SI), load_parameters("Si", "vogl1983"), spin_orbit=False)


@pytest.fixture(scope="module")
def flat_carbon():
    return tight_binding(graphene(), load_parameters("graphene", "pz"), spin_orbit=False)


def light(polarisation=(1, 0, 0), dipole="length"):
    return Instrument(polarisation=polarisation, dipole=dipole, matrix_elements="plane_wave")


def intensities(model, instrument, k, q=0.0):
    """Energies and |v† u|², summed over spins, of every band."""
    k = jnp.asarray(k, model.dtype)
    eps, u = jnp.linalg.eigh(bloch_hamiltonian(model, k))
    v = plane_wave_amplitude(model, instrument, k + q)
    return np.asarray(eps), (np.abs(np.asarray(v.conj() @ u)) ** 2).sum(axis=0)


def turn(angle):
    """Rotation about z, then by half as much about x."""
    (c, s), (d, t) = ((jnp.cos(x), jnp.sin(x)) for x in (jnp.asarray(angle), jnp.asarray(angle) / 2))
    return jnp.array([[1, 0, 0], [0, d, -t], [0, t, d]]) @ jnp.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


# --- orbitals


@pytest.mark.parametrize(("symbol", "shell"), CHARGES)
def test_exponents_by_slaters_rules(symbol, shell):
    charge, n = CHARGES[symbol, shell]
    orbital = slater_orbital(symbol, shell)
    assert orbital.n == n
    assert orbital.zeta * orbital.n * BOHR == pytest.approx(charge, abs=1e-9)


def test_sites_that_are_no_atoms():
    assert slater_orbital("X", "eg") == SlaterOrbital(2, 3.0, DEFAULT_ZETA)
    assert slater_orbital("A1", "s*") == SlaterOrbital(0, 2.0, DEFAULT_ZETA)
    assert [chemical_symbol(s, "bilayer graphene") for s in ("A1", "B1", "A2", "B2", "C")] == ["C"] * 5
    assert chemical_symbol("A1", "some lattice") == "A1"
    assert chemical_symbol("As", "InAs") == "As"


@pytest.mark.parametrize(("symbol", "shell"), [("Si", "p"), ("In", "s*"), ("Ge", "d"), ("X", "r")])
def test_radial_functions_are_normalised(symbol, shell):
    orbital = slater_orbital(symbol, shell)
    norm = quad(lambda r: radial_function(orbital, r) ** 2 * r**2, 0, 60 / orbital.zeta, limit=200)[0]
    assert norm == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(
    ("symbol", "shell"), [("C", "p"), ("Si", "s"), ("Si", "s*"), ("In", "s*"), ("In", "d"), ("Fe", "d"), ("X", "r")]
)
def test_tabulated_transform_is_the_bessel_integral(symbol, shell):
    orbital = slater_orbital(symbol, shell)
    for k in (0.05, 0.7, 3.0, 9.0):
        pieces = np.linspace(0, 80 / orbital.zeta, 40)

        def integral(extra, power, k=k, pieces=pieces):
            def f(r):
                return spherical_jn(orbital.l + extra, k * r) * radial_function(orbital, r) * r**power

            return sum(quad(f, *ends, epsabs=1e-13)[0] for ends in itertools.pairwise(pieces))

        g0, g1 = form_factors((orbital,), jnp.array(k**2))
        assert g0[0] * k**orbital.l == pytest.approx(integral(0, 2), rel=1e-6, abs=1e-10)
        assert g1[0] * k ** (orbital.l + 1) == pytest.approx(-integral(1, 3), rel=1e-6, abs=1e-10)


def test_transform_of_1s_in_closed_form():
    orbital = slater_orbital("H", "s")
    zeta = orbital.zeta
    k = np.array([0.0, 1e-4, 0.3, 2.0, 12.0, 60.0])
    g0 = jax.vmap(lambda s: form_factors((orbital,), s)[0][0])(jnp.array(k**2))
    np.testing.assert_allclose(g0, 4 * zeta**2.5 / (zeta**2 + k**2) ** 2, rtol=1e-7)


def test_slope_of_the_transform():
    orbitals = tuple(slater_orbital("Si", s) for s in ("s", "p", "d", "s*"))
    for k in (0.4, 2.0, 11.0):
        slope = jax.jacfwd(lambda k: form_factors(orbitals, k**2)[0])(k)  # of the cubic
        np.testing.assert_allclose(slope, k * form_factors(orbitals, jnp.array(k**2))[1], rtol=1e-4)


@pytest.mark.parametrize("dipole", ["length", "velocity"])
def test_amplitudes_are_integrals_over_space(dipole):
    """∫ exp(−iK·r) ε·D R(r) Y(r̂) d³r, done numerically: phases (−i)^l, names of harmonics, both operators."""
    k, field = np.array([0.35, -0.5, 0.6]), np.array([0.3, 0.5 + 0.4j, -0.7])
    field = field / np.linalg.norm(field)
    (cosines, wc), (radii, wr) = np.polynomial.legendre.leggauss(48), np.polynomial.legendre.leggauss(120)
    phi = 2 * np.pi * np.arange(48) / 48
    kinds = [("C", *key) for key in HARMONICS]
    found = transition_amplitudes(kinds, "C", field, dipole, jnp.array(k))
    for kind, value in zip(kinds, found, strict=True):
        orbital = slater_orbital("C", kind[1])
        reach = 25 / orbital.zeta
        r, c, f = np.meshgrid((radii + 1) / 2 * reach, cosines, phi, indexing="ij")
        s = np.sqrt(1 - c**2)
        unit = np.stack([s * np.cos(f), s * np.sin(f), c])
        psi = radial_function(orbital, r) * HARMONICS[kind[1:]](*unit)
        volume = wr[:, None, None] * reach / 2 * wc[None, :, None] * 2 * np.pi / 48 * r**2
        wave = np.exp(-1j * np.tensordot(k, unit * r, 1))
        operator = np.tensordot(field, unit * r, 1) if dipole == "length" else field @ k
        assert value == pytest.approx((volume * wave * operator * psi).sum(), rel=2e-6, abs=2e-6), kind


@pytest.mark.parametrize("dipole", ["length", "velocity"])
def test_partial_waves(dipole):
    """Over all directions of emission at one energy, the factor `lower` changes the wave l − 1 and nothing else."""
    field, size = np.array([0.3, 0.5 + 0.4j, -0.7]), 3.1
    cosines, weight = np.polynomial.legendre.leggauss(6)  # exact for polynomials of order 11; the highest here is 5
    phi = 2 * np.pi * np.arange(8) / 8
    c, f = np.meshgrid(cosines, phi, indexing="ij")
    s = np.sqrt(1 - c**2)
    unit = np.stack([s * np.cos(f), s * np.sin(f), c], axis=-1).reshape(-1, 3)
    area = np.broadcast_to(weight[:, None] * 2 * np.pi / 8, c.shape).ravel()
    for shell in "pd":
        kinds = [("C", *key) for key in HARMONICS if key[0] == shell]
        waves = np.ones((1, len(unit))) if shell == "p" else unit.T  # of order l − 1, not normalised
        without, plain, double = (
            jax.vmap(lambda k, x=x, kinds=kinds: transition_amplitudes(kinds, "C", field, dipole, k, x))(
                jnp.array(size * unit)
            )
            for x in (0.0, 1.0, 2.0)
        )
        scale = np.abs(plain).max()
        np.testing.assert_allclose((waves * area) @ without, 0, atol=1e-12 * scale)
        change = np.asarray(double - plain)
        shares = (waves * area) @ change / ((waves**2) @ area)[:, None]
        np.testing.assert_allclose(waves.T @ shares, change, atol=1e-12 * scale)
        assert np.abs(change).max() > 1e-3 * scale


def test_factors_of_the_second_species():
    """Of a pure second species they are what the factors of the shells are; of a pure first species they do nothing."""
    table, atoms = load_parameters(("Si", "Ge"), "vogl1983"), zincblende("Si", a=SI)
    k = jnp.array([0.4, -0.3, 4.6])
    first, second = (tight_binding(atoms, table, composition=jnp.full(2, c), spin_orbit=False) for c in (0.0, 1.0))
    shells = light().replace(amplitude_s=0.6, amplitude_p_second=-0.5)
    own = light().replace(amplitude_s_second=0.6, amplitude_p_second=-0.5)
    plain, changed = (plane_wave_amplitude(second, i, k) for i in (light(), own))
    p = np.array([o.shell == "p" for o in second.topology.orbitals])
    np.testing.assert_allclose(changed[:, p], -0.5 * plain[:, p], rtol=1e-12)
    np.testing.assert_allclose(changed, plane_wave_amplitude(second, shells, k), rtol=1e-12)
    np.testing.assert_array_equal(*(plane_wave_amplitude(first, i, k) for i in (light(), own)))
    assert np.abs(plain[:, p]).max() > 1e-4


# --- selection rules


def test_length_form_of_an_s_orbital_is_along_k():
    k = jnp.array([0.5, -1.0, 2.0])
    across = np.cross(k, [0.3, 0.2, 0.9])
    along, zero = (
        transition_amplitudes([("Si", "s", "s")], "Si", np.asarray(e) / np.linalg.norm(e), "length", k)
        for e in (k, across)
    )
    assert abs(along[0]) > 0.1
    assert abs(zero[0]) < 1e-14


@pytest.mark.parametrize("dipole", ["length", "velocity"])
def test_p_z_in_normal_emission_and_in_the_mirror_plane(dipole):
    kind, up, tilted = [("C", "z", "pz")], jnp.array([0.0, 0, 4.0]), jnp.array([1.7, 0, 4.0])
    x, y, z = np.eye(3)
    assert abs(transition_amplitudes(kind, "graphene", x, dipole, up)[0]) < 1e-14
    assert abs(transition_amplitudes(kind, "graphene", y, dipole, up)[0]) < 1e-14
    assert abs(transition_amplitudes(kind, "graphene", z, dipole, up)[0]) > 1e-3
    # p_z is even in the plane of normal and emission, light across it is odd, light in it is even
    assert abs(transition_amplitudes(kind, "graphene", y, dipole, tilted)[0]) < 1e-14
    assert abs(transition_amplitudes(kind, "graphene", x, dipole, tilted)[0]) > 1e-3
    # the velocity form is (ε·K) times a p_y that vanishes in this plane
    across = abs(transition_amplitudes([("C", "p", "py")], "C", y, dipole, tilted)[0])
    assert across < 1e-14 if dipole == "velocity" else across > 1e-3


# --- interference


def test_dark_corridor_of_graphene(flat_carbon):
    """Along Γ-K the lower band is seen on Γ's side of the Dirac point only, the upper band on the other only."""
    dirac = 4 * np.pi / (3 * 2.46)
    for step, seen in ((-0.15, 0), (0.15, 1)):
        eps, bright = intensities(flat_carbon, light((1, 0, 1)), [dirac + step, 0.0, 4.0])
        assert eps[0] < -0.5 < 0.5 < eps[1]
        assert bright[1 - seen] < 1e-12 * bright[seen]
    # around the point the lower band's intensity goes as 1 + cos of the angle from the side of Γ
    circle = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    k = np.stack([dirac - 0.02 * np.cos(circle), 0.02 * np.sin(circle), np.full(8, 4.0)], axis=1)
    lower = np.array([intensities(flat_carbon, light((0, 0, 1)), point)[1][0] for point in k])
    np.testing.assert_allclose(lower / lower.max(), (1 + np.cos(circle)) / 2, atol=0.03)


def test_structure_factor_of_silicon(silicon):
    """At reciprocal vectors the lowest band (s in phase) follows the structure factor: (002) is forbidden."""
    g = 2 * np.pi / SI
    eps, forbidden = intensities(silicon, light((0, 0, 1)), [0, 0, 2 * g])
    same, allowed = intensities(silicon, light((0, 0, 1)), [0, 0, 4 * g])
    np.testing.assert_allclose(eps, same, atol=1e-12)
    assert forbidden[0] < 1e-20
    assert allowed[0] > 1e-8


def test_zones_differ_as_the_phases_between_atoms_say(silicon):
    """Bands repeat with G, intensities do not: the amplitude is Σ_o exp(−iG·r_o) M_o(k + G) u_o(k)."""
    g = 2 * np.pi / SI
    k, shift = jnp.array([0.23, 0.11, 0.37]), g * jnp.array([1.0, -1.0, 3.0])
    here, there = intensities(silicon, light(), k), intensities(silicon, light(), k + shift)
    np.testing.assert_allclose(here[0], there[0], atol=1e-12)
    assert np.abs(there[1] / here[1] - 1).max() > 0.5

    _, u = jnp.linalg.eigh(bloch_hamiltonian(silicon, k))
    phase = jnp.exp(-1j * silicon.positions[silicon.topology.atom_of()] @ shift)
    amplitude = (plane_wave_amplitude(silicon, light(), k + shift)[0].conj() * phase) @ u
    np.testing.assert_allclose(np.abs(amplitude) ** 2, there[1], rtol=1e-9)


def test_photon_momentum_enters_the_orbitals_only(flat_carbon):
    """With q the two atoms keep their relative phase: the corridor stays at the band's wave vector."""
    dirac = 4 * np.pi / (3 * 2.46)
    _, bright = intensities(flat_carbon, light((1, 0, 1)), [dirac - 0.1, 0.0, 12.0], q=jnp.array([-0.2, 0.05, -0.2]))
    assert bright[1] < 1e-12 * bright[0]


# --- rotations, spin, precision


@pytest.mark.parametrize(("dipole", "spin_orbit"), [("length", True), ("velocity", False)])
def test_turning_crystal_light_and_detector_together_changes_nothing(dipole, spin_orbit):
    model = tight_binding(zincblende("InAs"), load_parameters("InAs", "jancu1998"), spin_orbit=spin_orbit)
    rotation = turn(0.7) @ turn(-1.1)
    field = np.array([1.0, 0.5j, -0.3])
    k = jnp.array([0.9, 0.4, 3.1])
    energy = jnp.linspace(-12, 8, 60)

    @functools.partial(jax.jit, static_argnums=1)
    def spectrum(model, field, k):
        v = plane_wave_amplitude(model, light(field, dipole), k)
        return coherent_lorentzians(bloch_hamiltonian(model, k), v, energy, jnp.full(60, 0.2)).sum(axis=0)

    before, turned_field = spectrum(model, tuple(field), k), tuple(np.asarray(rotation) @ field)
    after = spectrum(rotated(model, rotation), turned_field, rotation @ k)
    np.testing.assert_allclose(after, before, rtol=1e-10)
    other = spectrum(model, turned_field, k)  # turning the light alone does change it
    assert np.abs(other / before - 1).max() > 0.1


def test_one_row_per_spin(silicon):
    k = jnp.array([0.2, 0.1, 3.0])
    one = plane_wave_amplitude(silicon, light(), k)
    arsenide = tight_binding(zincblende("InAs"), load_parameters("InAs", "jancu1998"))
    two = plane_wave_amplitude(arsenide, light(), k)
    assert one.shape == (1, 10)
    assert two.shape == (2, 40)
    np.testing.assert_array_equal(two[0, :20], two[1, 20:])
    assert not np.any(two[0, 20:]) and not np.any(two[1, :20])


@pytest.mark.parametrize("dipole", ["length", "velocity"])
def test_single_precision_follows_the_model(dipole):
    model = tight_binding(zincblende("Si", a=SI), load_parameters("Si", "jancu1998"), spin_orbit=False)
    single = jax.tree.map(lambda x: x.astype(np.float32), model)
    k = jnp.array([0.4, 0.2, 5.0])
    found, exact = (plane_wave_amplitude(m, light(dipole=dipole), k) for m in (single, model))
    assert found.dtype == np.complex64 and exact.dtype == np.complex128
    # u = ln(1 + K²/ζ²) ~ 5 has 4e-7 of rounding, which exp(−(n* + 2 + 2l) u/2) multiplies by at most 30
    np.testing.assert_allclose(found, exact, rtol=3e-5, atol=1e-6 * float(np.abs(exact).max()))


# --- gradients


@pytest.mark.parametrize("dipole", ["length"])
def test_gradient_in_k_and_rotation(silicon, dipole):
    def intensity_at(p):
        model = rotated(silicon, turn(p[3]))
        v = plane_wave_amplitude(model, light((1, 0.3j, 0.5), dipole), p[:3])
        h = bloch_hamiltonian(model, p[:3])
        return coherent_lorentzians(h, v, jnp.array([-3.0, -1.0]), jnp.full(2, 0.3)).sum()

    p = jnp.array([0.31, -0.2, 2.4, 0.5])
    reverse, forward = jax.jit(lambda p: (jax.grad(intensity_at)(p), jax.jacfwd(intensity_at)(p)))(p)
    intensity, step = jax.jit(intensity_at), 1e-5
    central = np.array([(intensity(p + step * e) - intensity(p - step * e)) / (2 * step) for e in jnp.eye(4)])
    assert np.abs(central).min() > 1e-3 * np.abs(central).max()
    np.testing.assert_allclose(reverse, forward, rtol=1e-9)
    np.testing.assert_allclose(reverse, central, rtol=1e-5)


@pytest.mark.parametrize("dipole", ["length", "velocity"])
def test_finite_at_zero_wave_vector(dipole):
    model = tight_binding(zincblende("Si", a=SI), load_parameters("Si", "jancu1998"), spin_orbit=False)

    def parts_at(k):
        v = plane_wave_amplitude(model, light((1, 0, 1), dipole), k)
        return jnp.stack([v.real, v.imag])

    zero = jnp.zeros(3)
    reverse, forward = jax.jit(lambda k: (jax.jacrev(parts_at)(k), jax.jacfwd(parts_at)(k)))(zero)
    parts, step = jax.jit(parts_at), 1e-4
    assert np.isfinite(parts(zero)).all()
    assert np.isfinite(reverse).all()
    central = np.stack([(parts(step * e) - parts(-step * e)) / (2 * step) for e in jnp.eye(3)], axis=-1)
    np.testing.assert_allclose(forward, central, atol=1e-5 * np.abs(central).max())
    assert np.abs(central).max() > 0.1


# --- errors


@pytest.mark.parametrize("polarisation", [(0, 0, 0), (1, 0), (np.nan, 0, 1)])
def test_polarisation_must_be_a_direction(polarisation):
    model = tight_binding(cubic_lattice(), load_parameters("cubic", "single_orbital"), spin_orbit=False)
    with pytest.raises(ValueError, match="`polarisation` must be three numbers"):
        plane_wave_amplitude(model, light(polarisation), jnp.ones(3))


# --- parities of the orbitals


def test_parities_are_those_of_the_harmonics():
    """f(x, −y, z) = ± f(x, y, z), from the harmonics written out above."""
    point = np.array([0.3, 0.7, -0.4])
    model = tight_binding(zincblende("GaAs", a=5.65), load_parameters("GaAs", "jancu1998"), spin_orbit=False)
    even, odd = mirror_parities(model.topology.orbitals)
    np.testing.assert_array_equal(even + odd, 1)
    for orbital, is_odd in zip(model.topology.orbitals, odd, strict=True):
        f = HARMONICS[orbital.shell, orbital.name]
        assert f(*(point * [1, -1, 1])) == pytest.approx((1 - 2 * is_odd) * f(*point))


def test_orbitals_of_one_parity_are_one_projector(flat_carbon):
    np.testing.assert_array_equal(mirror_parities(flat_carbon.topology.orbitals), np.ones((1, 2)))
