"""Kinematics: angles and energies to wave vectors, signs of the laboratory frame, photon momentum, orientation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bandjax.hamiltonian import bloch_hamiltonian, tight_binding
from bandjax.materials import load_parameters
from bandjax.photoemission.instrument import Instrument
from bandjax.photoemission.kinematics import (
    azimuth_rotation,
    emission_angle,
    emission_momentum,
    laboratory_rotation,
    perpendicular_momentum,
    photon_momentum,
    wave_number,
)
from bandjax.photoemission.pixels import laboratory_model
from bandjax.structure import square_lattice


def test_wave_number():
    assert wave_number(1.0) == pytest.approx(0.512317, abs=5e-7)  # √(2 m eV)/ħ
    assert wave_number(100.0) == pytest.approx(5.12317, abs=5e-6)


def test_small_angles_by_hand():
    """At 100 eV one degree is 5.12317 · sin 1° = 0.0894 1/Å; the deflector moves k_y."""
    along = emission_momentum(100.0, 1.0, 0.0, 0.0, 0.0)
    across = emission_momentum(100.0, 0.0, 1.0, 0.0, 0.0)
    np.testing.assert_allclose(along, [0.0894116, 0], atol=2e-7)
    np.testing.assert_allclose(across, [0, 0.0894116], atol=2e-7)


@pytest.mark.parametrize(("polar", "tilt"), [(0, 0), (7, 0), (0, -4), (12, 5)])
def test_normal_emission_is_seen_at_polar_and_tilt(polar, tilt):
    np.testing.assert_allclose(emission_momentum(50.0, polar, tilt, polar, tilt), 0, atol=1e-12)
    # a larger angle is a larger k_x, a larger deflector angle a larger k_y
    assert emission_momentum(50.0, polar + 1, tilt, polar, tilt)[0] > 0.05
    assert emission_momentum(50.0, polar, tilt + 1, polar, tilt)[1] > 0.05


@pytest.mark.parametrize(("polar", "tilt"), [(0.0, 0.0), (15.0, -6.0)])
def test_angles_and_momenta_are_inverses(polar, tilt):
    angle, deflector = (x.ravel() for x in jnp.meshgrid(jnp.linspace(-14, 16, 7), jnp.linspace(-10, 10, 5)))
    k = emission_momentum(80.0, angle, deflector, polar, tilt)
    assert float((k**2).sum(-1).max()) < float(wave_number(80.0)) ** 2
    back = emission_angle(80.0, k[:, 0], k[:, 1], polar, tilt)
    np.testing.assert_allclose(back[0], angle, atol=1e-10)
    np.testing.assert_allclose(back[1], deflector, atol=1e-10)
    assert np.abs(k).max() > 1


def test_perpendicular_momentum_by_hand():
    """E_kin 100 eV, V0 12 eV, K∥ = 1: √(0.262468 · 112 − 1) = 5.32883 1/Å."""
    found = perpendicular_momentum(100.0, jnp.array([[0.6, 0.8], [0.0, 0.0]]), 12.0)
    np.testing.assert_allclose(found, [5.32883, 5.42185], atol=1e-5)


def test_photon_momentum():
    q = photon_momentum(586.0, 30.0, 60.0)
    assert np.linalg.norm(q) == pytest.approx(0.297, abs=2e-4)
    # light from +x, +y and outside runs towards −x, −y and into the crystal
    np.testing.assert_allclose(q / np.linalg.norm(q), -np.array([0.25, np.sqrt(3) / 4, np.sqrt(3) / 2]), atol=1e-12)


@pytest.mark.parametrize(("surface", "slit"), [((0, 0, 1), (1, 0, 0)), ((1, 1, 1), (1, -1, 0)), ((1, 1, 0), (0, 1, 1))])
def test_laboratory_axes(surface, slit):
    rotation = laboratory_rotation(surface, slit)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-14)
    assert np.linalg.det(rotation) == pytest.approx(1)
    np.testing.assert_allclose(rotation @ surface, [0, 0, np.linalg.norm(surface)], atol=1e-14)
    x, y, _ = rotation @ slit
    assert x > 0 and abs(y) < 1e-14


@pytest.mark.parametrize(
    ("surface", "slit", "name"),
    [
        ((0, 0, 0), (1, 0, 0), "surface"),
        ((0, 1), (1, 0, 0), "surface"),
        ((0, 0, 1), (0, 0, 2), "slit"),
        ((0, 0, 1), (0, 0, 0), "slit"),
    ],
)
def test_directions_that_make_no_frame(surface, slit, name):
    with pytest.raises(ValueError, match=f"Argument `{name}` must be a direction"):
        laboratory_rotation(surface, slit)


def test_sense_of_the_azimuth():
    """The sample turns counter-clockwise seen from outside: crystal x then points along +y of the laboratory."""
    np.testing.assert_allclose(azimuth_rotation(jnp.array(90.0)) @ jnp.array([1.0, 0, 0]), [0, 1, 0], atol=1e-12)
    table = load_parameters("square", "two_orbital")
    model = tight_binding(square_lattice(), table, spin_orbit=False)
    turned = laboratory_model(model, Instrument(azimuth=90.0))
    levels = lambda m, k: np.linalg.eigvalsh(bloch_hamiltonian(m, jnp.array(k)))  # noqa: E731
    np.testing.assert_allclose(levels(turned, [-0.2, 0.5, 0.0]), levels(model, [0.5, 0.2, 0.0]), atol=1e-12)


def test_sense_of_a_small_azimuth():
    """A feature at crystal k along x is found at (cos a, sin a) of the laboratory."""
    table = load_parameters("square", "single_orbital")
    model = tight_binding(square_lattice(), table, spin_orbit=False)
    turned = laboratory_model(model, Instrument(azimuth=20.0))
    a, k = np.deg2rad(20), 0.7
    there, mirrored = (
        bloch_hamiltonian(turned, jnp.array([k * np.cos(a), s * k * np.sin(a), 0]))[0, 0].real for s in (1, -1)
    )
    straight = bloch_hamiltonian(model, jnp.array([k, 0.0, 0]))[0, 0].real
    assert there == pytest.approx(float(straight), abs=1e-12)
    assert abs(mirrored - straight) > 0.01


def test_gradients_of_angles():
    @jax.jit
    def k(p):
        return emission_momentum(60.0, p[0], p[1], p[2], p[3])

    p = jnp.array([8.0, 3.0, -2.0, 1.5])
    step = 1e-4
    central = np.stack([(k(p + step * e) - k(p - step * e)) / (2 * step) for e in jnp.eye(4)], axis=-1)
    for slopes in jax.jit(lambda p: (jax.jacfwd(k)(p), jax.jacrev(k)(p)))(p):
        np.testing.assert_allclose(slopes, central, atol=1e-8)
    assert np.abs(central).max() > 0.05
