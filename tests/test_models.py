"""Lattice models have the bands that their closed formulas give.

Sources of the formulas: E. McCann, M. Koshino, Rep. Prog. Phys. 76, 056503 (2013) for graphene and its bilayer;
J. C. Slater, G. F. Koster, Phys. Rev. 94, 1498 (1954), Table I for the e_g orbitals.
"""

import numpy as np
import pytest

from bandjax.hamiltonian import tight_binding
from bandjax.materials import load_parameters
from bandjax.spectrum import bands, from_fractional
from bandjax.structure import cubic_lattice, graphene, square_lattice

TIGHT = {"rtol": 0, "atol": 1e-12}
A = 2.46
K = np.array([[4 * np.pi / (3 * A), 0, 0]])  # corner of the zone for lattice vectors at 60 degrees, the first along x


@pytest.fixture
def k():
    return np.random.default_rng(1).uniform(-1, 1, (12, 3))


def f(k):
    """Σ exp(i k·δ) over the three neighbours of an A atom of graphene, B at (0, a/√3)."""
    delta = A / np.sqrt(3) * np.array([[0, 1], [np.sqrt(3) / 2, -0.5], [-np.sqrt(3) / 2, -0.5]])
    return np.exp(1j * k[:, :2] @ delta.T).sum(axis=1)


def test_graphene(k):
    model = tight_binding(graphene(), load_parameters("graphene", "pz"), spin_orbit=False)
    half = 3.16 * np.abs(f(k))
    np.testing.assert_allclose(bands(model, k), np.stack([-half, half], axis=1), **TIGHT)
    assert np.ptp(half) > 1


def test_dirac_point_is_at_the_corner():
    atoms = graphene()
    model = tight_binding(atoms, load_parameters("graphene", "pz"), spin_orbit=False)
    corner = from_fractional(atoms, [[1 / 3, 2 / 3, 0], [2 / 3, 1 / 3, 0]])
    np.testing.assert_allclose(bands(model, np.concatenate([K, corner])), 0, **TIGHT)
    q = 1e-4
    speed = 3.16 * np.sqrt(3) / 2 * A  # ħv = √3/2 γ0 a
    energy = bands(model, K + q * np.array([[0.6, 0.8, 0]]))
    np.testing.assert_allclose(energy[0], [-speed * q, speed * q], rtol=1e-4)


def bilayer(**values):
    table = load_parameters("bilayer graphene", "pz").replace(**values)
    return tight_binding(graphene(2), table, spin_orbit=False)


def test_bilayer_of_two_hoppings(k):
    """E² = γ1²/2 + U²/4 + x² ± √(γ1⁴/4 + x² (γ1² + U²)) with x = γ0 |f|."""
    for u in (0.0, 0.17):
        x2 = (3.16 * np.abs(f(k))) ** 2
        root = np.sqrt(0.381**4 / 4 + x2 * (0.381**2 + u**2))
        high, low = (np.sqrt(0.381**2 / 2 + u**2 / 4 + x2 + sign * root) for sign in (1, -1))
        found = bands(bilayer(gamma3=0.0, gamma4=0.0, Delta=0.0, U=u), k)
        np.testing.assert_allclose(found, np.stack([-high, -low, low, high], axis=1), rtol=0, atol=1e-10)


def test_bilayer_at_the_corner():
    found = bands(bilayer(gamma3=0.0, gamma4=0.0, Delta=0.0), K)[0]
    np.testing.assert_allclose(found, [-0.381, 0, 0, 0.381], **TIGHT)
    u, split = 0.2, np.hypot(0.1, 0.381)
    np.testing.assert_allclose(bands(bilayer(Delta=0.0, U=u), K)[0], [-split, -u / 2, u / 2, split], **TIGHT)


def test_bilayer_of_all_hoppings(k):
    """Eq. (30) of the source, with energies of A1, B1, A2, B2 as the table's note says."""
    g0, g1, g3, g4, delta, u = 3.1, 0.39, 0.36, 0.13, 0.021, 0.08
    expected = []
    for z in f(k):
        upper = [[0, -g0 * z, g4 * z, -g3 * z.conj()], [0, 0, g1, g4 * z], [0, 0, 0, -g0 * z], [0, 0, 0, 0]]
        h = np.diag([u / 2, u / 2 + delta, -u / 2 + delta, -u / 2]) + np.array(upper) + np.array(upper).conj().T
        expected.append(np.linalg.eigvalsh(h))
    found = bands(bilayer(gamma0=g0, gamma1=g1, gamma3=g3, gamma4=g4, Delta=delta, U=u), k)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("material", ["square", "cubic", "tetragonal"])
def test_one_orbital(material, k):
    """E = ε − 2t Σ cos − 4t' Σ cos cos − 2t'' Σ cos 2… over the axes that hop, and −2t_z cos k_z c."""
    atoms = {"square": square_lattice(), "cubic": cubic_lattice(), "tetragonal": cubic_lattice(c=6.6)}[material]
    values = {"epsilon": 0.3, "t": 0.41, "t'": -0.12, "t''": 0.07}
    table = load_parameters(material, "single_orbital").replace(**values)
    x, y, z = 3.9 * k.T
    axes = [x, y, z] if material == "cubic" else [x, y]
    pairs = [(p, q) for i, p in enumerate(axes) for q in axes[:i]]
    expected = 0.3 - 2 * 0.41 * sum(map(np.cos, axes)) - 2 * 0.07 * sum(np.cos(2 * p) for p in axes)
    expected += 4 * 0.12 * sum(np.cos(p) * np.cos(q) for p, q in pairs)
    if material == "tetragonal":
        table = table.replace(t_z=0.06)
        expected = expected - 2 * 0.06 * np.cos(6.6 * k[:, 2])
    found = bands(tight_binding(atoms, table, spin_orbit=False), k)
    np.testing.assert_allclose(found[:, 0], expected, **TIGHT)


@pytest.mark.parametrize("a", [3.8, 4.0])
def test_one_orbital_keeps_its_neighbours_at_another_lattice_constant(a, k):
    """Harrison's V ~ d⁻² scales all hoppings of the square by (3.9/a)²."""
    table = load_parameters("square", "single_orbital")
    at_table = bands(tight_binding(square_lattice(), table, spin_orbit=False), k / 3.9)
    found = bands(tight_binding(square_lattice(a), table, spin_orbit=False), k / a)
    np.testing.assert_allclose(found, at_table * (3.9 / a) ** 2, **TIGHT)


@pytest.mark.parametrize("material", ["square", "cubic", "tetragonal"])
def test_two_orbitals_of_third_neighbours_and_levels_apart(material, k):
    """Third neighbours repeat the first at twice the phase; Δ parts the levels of the tetragonal lattice, t_z hops along c."""
    atoms = {"square": square_lattice(), "cubic": cubic_lattice(), "tetragonal": cubic_lattice(c=6.6)}[material]
    values = dict.fromkeys(("epsilon", "t_sigma", "t_delta", "t_sigma'", "t_pi'"), 0.0)
    third = {"t_sigma''": 0.07, "t_delta''": 0.02}
    table = load_parameters(material, "two_orbital")
    far = bands(tight_binding(atoms, table.replace(**values | third | _along_c(material)), spin_orbit=False), k)
    first = {"t_sigma": 0.07, "t_delta": 0.02}
    near = tight_binding(
        atoms, table.replace(**values | {n: 0.0 for n in third} | first | _along_c(material)), spin_orbit=False
    )
    twice = k * [2, 2, 1] if material == "tetragonal" else 2 * k
    np.testing.assert_allclose(far, bands(near, twice), **TIGHT)
    if material == "tetragonal":  # nothing hops but along c
        only = table.replace(**values | {n: 0.0 for n in third} | {"Delta": 0.3, "t_z": 0.11, "t_z_delta": 0.02})
        cz = np.cos(6.6 * k[:, 2])
        levels = np.sort(np.stack([0.15 - 2 * 0.02 * cz, -0.15 - 2 * 0.11 * cz], axis=1), axis=1)
        np.testing.assert_allclose(bands(tight_binding(atoms, only, spin_orbit=False), k), levels, **TIGHT)


def _along_c(material: str) -> dict:
    return {"Delta": 0.3, "t_z": 0.11} if material == "tetragonal" else {}


def test_tetragonal_two_orbitals_without_what_parts_them_are_those_of_the_square(k):
    """x²−y² and 3z²−r² as shells of their own: the same matrix as the pair "eg"."""
    values = {"t_sigma": 0.52, "t_delta": 0.08, "t_sigma'": 0.06, "t_pi'": 0.03, "t_sigma''": 0.02, "t_delta''": 0.01}
    tetragonal = load_parameters("tetragonal", "two_orbital").replace(Delta=0.0, t_z=0.0, **values)
    square = load_parameters("square", "two_orbital").replace(**values)
    apart = bands(tight_binding(cubic_lattice(c=6.6), tetragonal, spin_orbit=False), k)
    np.testing.assert_allclose(apart, bands(tight_binding(square_lattice(), square, spin_orbit=False), k), **TIGHT)


@pytest.mark.parametrize("material", ["square", "cubic"])
def test_two_orbitals(material, k):
    """x²−y² and 3z²−r² with V = −t: first neighbours σ and δ, second neighbours σ and π."""
    atoms = square_lattice() if material == "square" else cubic_lattice()
    values = {"epsilon": -0.2, "t_sigma": 0.52, "t_delta": 0.08, "t_sigma'": 0.06, "t_pi'": 0.03}
    table = load_parameters(material, "two_orbital").replace(**values)
    s, d, s2, p2 = -0.52, -0.08, -0.06, -0.03
    cx, cy, cz = np.cos(3.9 * k.T)
    aa = -0.2 + 2 * (cx + cy) * (3 * s + d) / 4 + 4 * cx * cy * p2
    bb = -0.2 + 2 * (cx + cy) * (s + 3 * d) / 4 + 4 * cx * cy * s2 / 4
    ab = -np.sqrt(3) / 2 * (s - d) * (cx - cy)
    if material == "cubic":
        # along z: (x²−y²) δ, (3z²−r²) σ; in the planes xz and yz the orbitals of the plane xy turned by threefold axes
        aa, bb = aa + 2 * cz * d, bb + 2 * cz * s
        for c, sign in ((cx, 1), (cy, -1)):  # planes zx and yz
            turn = np.array([[-0.5, sign * np.sqrt(3) / 2], [-sign * np.sqrt(3) / 2, -0.5]])
            local = turn.T @ np.diag([p2, s2 / 4]) @ turn
            aa, bb, ab = (m + 4 * c * cz * local[i] for m, i in ((aa, (0, 0)), (bb, (1, 1)), (ab, (0, 1))))
    middle, half = (aa + bb) / 2, np.hypot((aa - bb) / 2, ab)
    found = bands(tight_binding(atoms, table, spin_orbit=False), k)
    np.testing.assert_allclose(found, np.stack([middle - half, middle + half], axis=1), **TIGHT)
    assert np.abs(ab).max() > 0.1
