"""Photoemission of stacks: coherence over layers and k_z, scale, gradients; and the inversion's model of a buried layer."""

import dataclasses

import ase
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bandjax as bj
from bandjax.inference import buried_layer
from bandjax.photoemission.pixels import as_axes, central_kz, lateral_momentum

A, T = 3.9, 0.4  # the s band ε = −2T (cos k_x A + cos k_y A + cos k_z A)
BASE = bj.Instrument(
    photon_energy=100.0, fwhm_energy=0.0, fwhm_momentum=0.0, photon_momentum=False, escape_depth=15.0, eta=0.05, gain=1.0,
    temperature=1.0,
)  # fmt: skip


def central(instrument, kx, energy):
    """k_z at one momentum and energy."""
    axes = as_axes({"kx": [kx], "energy": [energy]})
    at = (jnp.asarray(float(energy)), jnp.asarray(float(instrument.photon_energy)))
    return float(central_kz(instrument, lateral_momentum(instrument, axes, *at)[0], *at)[0])


CHAIN = """
convention = "general"
lattice_constant = 3.9
[orbitals]
X = ["r"]
[values]
epsilon = 0.0
t = -0.4
[onsite.X]
r = { epsilon = 1 }
[[bonds]]
pair = ["X", "X"]
length = 3.9
integrals = [{ shells = ["r", "r"], symmetry = "isotropic", value = { t = 1 } }]
"""


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """The cubic lattice with its nearest neighbours only, or so many layers of it."""
    path = tmp_path_factory.mktemp("table") / "chain.toml"
    path.write_text(CHAIN)
    table = bj.load_table(path)

    def build(layers=None):
        atoms = bj.cubic_lattice(A)
        if layers:
            z = A * np.arange(layers)
            atoms = ase.Atoms("X" * layers, [[0, 0, h] for h in z], cell=[A, A, z[-1] + 20], pbc=(True, True, False))
        return bj.tight_binding(atoms, table, spin_orbit=False)

    return build


@pytest.mark.parametrize("elements", ["uniform", pytest.param("plane_wave", marks=pytest.mark.slow)])
def test_a_chain_peaks_at_the_band_of_its_kz_and_incoherently_at_the_band_edge(chain, elements):
    instrument = dataclasses.replace(BASE, fermi_energy=3.0, escape_depth=30.0, matrix_elements=elements)
    energy = np.linspace(-6.0, -0.2, 291)
    axes = {"kx": [0.2], "energy": energy}
    coherent, incoherent = (
        np.asarray(bj.arpes_image(chain(60), instrument, axes, method=m))[0] for m in ("coherent", "incoherent")
    )
    kz = np.array([central(instrument, 0.2, e) for e in energy])
    band = -2 * T * (np.cos(0.2 * A) + 1 + np.cos(kz * A)) - 3.0
    at_its_own = energy[np.argmin(np.abs(energy - band))]  # where E = ε(k_z(E))
    edges = -2 * T * (np.cos(0.2 * A) + 1 + np.array([1, -1])) - 3.0
    assert np.abs(at_its_own - edges).min() > 0.3
    assert abs(energy[coherent.argmax()] - at_its_own) < 0.03  # a step and a part of η
    assert np.abs(energy[incoherent.argmax()] - edges).min() < 0.06  # the edge's singularity, rounded by η


@pytest.mark.slow
def test_coherent_silicon_is_the_bulk_averaged_over_a_lorentzian_in_kz():
    """Half width 1/(2λ); what differs is the surface, where waves are reflected."""
    table = bj.load_parameters("Si", "vogl1983")
    bulk = bj.tight_binding(bj.zincblende("Si", a=5.431), table, spin_orbit=False)
    stack = bj.tight_binding(bj.slab("Si", 60), table, spin_orbit=False)
    top = float(bj.bands(bulk, np.zeros((1, 3)))[0, 3])
    instrument = dataclasses.replace(BASE, eta=0.1, escape_depth=10.0, fermi_energy=top + 0.2, slit=(1, 1, 0))
    axes = {"kx": [0.0, 0.6], "energy": np.linspace(-5, -0.2, 60)}
    expected = np.asarray(bj.arpes_image(bulk, instrument, axes, kz_points=101))
    found = np.asarray(bj.arpes_image(stack, instrument, axes, method="coherent"))
    without = np.asarray(bj.arpes_image(stack, instrument, axes, method="incoherent"))
    for e, f, w in zip(expected, found, without, strict=True):
        assert f.argmax() == e.argmax()
        assert np.corrcoef(e, f)[0, 1] > 0.95 > np.corrcoef(e, w)[0, 1]
        assert f.sum() == pytest.approx(e.sum(), rel=0.05)


def test_a_crystal_has_no_coherent_image(chain):
    with pytest.raises(ValueError, match="not periodic along its third lattice vector"):
        bj.arpes_image(chain(), BASE, {"kx": [0.1], "energy": [-1.0, -0.5]}, method="coherent")


def test_a_buried_layer_is_counted_from_the_surface():
    values = {"fraction": 0.4, "upper": 3.0, "lower": 7.0, "interface": 0.2}
    x = np.asarray(buried_layer(values, np.arange(12.0)))
    assert x[5] == pytest.approx(0.4, abs=1e-6) and x[3] == pytest.approx(0.2) and max(x[0], x[10]) < 1e-6
    table = bj.load_parameters(("Si", "Ge"), "vogl1983")
    model = bj.stack_model(table, 12, spin_orbit=False)(values | {"a_parallel": 5.431})
    spacing = np.diff(np.asarray(model.positions)[:, 2])  # from the bottom: layer i lies 11 − i below the surface
    assert spacing[:3] == pytest.approx(5.431 / 4, abs=1e-3) and spacing[11 - 5 - 1] > 5.431 / 4 + 0.02


@pytest.mark.slow
def test_gradient_in_the_latent_of_a_stack():
    """Forward mode through composition, positions and the sweep over layers against central differences."""
    table = bj.load_parameters(("Si", "Ge"), "vogl1983")
    model_of = bj.stack_model(table, 8, spin_orbit=False)
    names = ("fraction", "upper", "lower", "interface", "a_parallel", "SiGe.offset")
    start = jnp.array([0.4, 2.2, 5.5, 0.8, 5.45, 0.6])
    instrument = dataclasses.replace(BASE, matrix_elements="plane_wave", fermi_energy=0.3, eta=0.2, slit=(1, 1, 0))
    axes = {"kx": [0.2, 0.5], "energy": np.linspace(-4, -0.5, 9)}
    plan = bj.plan_image(model_of(dict(zip(names, start, strict=True))), instrument, axes, method="coherent")
    image = jax.jit(lambda x: bj.arpes_image(model_of(dict(zip(names, x, strict=True))), instrument, plan))
    slopes = np.asarray(jax.jit(jax.jacfwd(image))(start))
    for i, h in enumerate(1e-4 * np.eye(6)):
        numeric = (np.asarray(image(start + h)) - np.asarray(image(start - h))) / 2e-4
        assert np.abs(numeric).max() > 0
        np.testing.assert_allclose(slopes[..., i], numeric, atol=1e-5 * np.abs(numeric).max())
