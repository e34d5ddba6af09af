"""Strained crystals: levels of another program, on-site shifts, scaling laws and deformation potentials.

The levels at Γ of strained silicon and Boykin's on-site shifts were computed by an independent NumPy script from the
published formulas, never by bandjax; they stand here as literals.
"""

import numpy as np
import pytest

from bandjax.hamiltonian import tight_binding
from bandjax.hamiltonian.bloch import onsite_matrix
from bandjax.materials import SHELLS, load_parameters
from bandjax.spectrum import bands
from bandjax.structure import graphene, zincblende

A = 5.431
EPS = np.array([[0.01, 0.004, 0], [0.004, -0.005, 0.002], [0, 0.002, 0.003]])
KLEINMAN = 0.53


def strained(material, a, strain, kleinman=0.0):
    """Zinc blende under a strain tensor; the second atom moves by −ζ (a/2)(ε_yz, ε_xz, ε_xy) against the first."""
    atoms = zincblende(material, a)
    atoms.set_cell(np.asarray(atoms.cell) @ (np.eye(3) + strain).T, scale_atoms=True)
    atoms.positions[1] -= kleinman * a / 2 * np.array([strain[1, 2], strain[0, 2], strain[0, 1]])
    return atoms


def shifts(model, table, label):
    """Diagonal of the first atom's on-site block minus the table's energies, by orbital name (s* apart from s)."""
    names = [name for shell in table.spec.shells_of(label) for name in SHELLS[shell]]
    energies = {shell: float(table.combine(c)) for s, shell, c in table.spec.onsite if s == label}
    reference = [energies[shell] for shell in table.spec.shells_of(label) for _ in SHELLS[shell]]
    return dict(zip(names, np.diagonal(model.onsite[0]) - reference, strict=True))


def test_levels_of_strained_silicon_niquet():
    model = tight_binding(strained("Si", A, EPS, KLEINMAN), load_parameters("Si", "niquet2009"))
    energy = np.asarray(bands(model, np.zeros((1, 3))))[0, :12]
    np.testing.assert_allclose(energy[::2], energy[1::2], atol=1e-11)
    expected = [-11.736455, -0.058560, 0.002191, 0.071739, 3.189741, 3.310617]
    np.testing.assert_allclose(energy[::2], expected, rtol=0, atol=1e-6)


def test_onsite_shifts_of_strained_silicon_boykin():
    table = load_parameters("Si", "boykin2004")
    found = shifts(tight_binding(strained("Si", A, EPS, KLEINMAN), table), table, "Si")
    expected = {
        **{"s": -0.005927, "px": 0.034580, "py": -0.066902, "pz": -0.012795, "dyz": -0.032985, "dzx": -0.045601},
        **{"dxy": -0.038745, "dx2-y2": -0.049380, "dz2": -0.047865, "s*": -0.012880},
    }
    assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("material", "table"), [("Si", "niquet2009"), ("Ge", "niquet2009"), ("Si", "boykin2004")])
def test_onsite_terms_vanish_without_strain(material, table):
    values = load_parameters(material, table)
    atoms = zincblende(material, values.spec.lattice_constant)
    with_law, without = (
        onsite_matrix(tight_binding(atoms, values, distance_law=law, spin_orbit=False)) for law in ("table", "harrison")
    )
    np.testing.assert_allclose(with_law, without, rtol=0, atol=1e-12)
    atoms = strained(material, values.spec.lattice_constant, EPS)
    strained_law = onsite_matrix(tight_binding(atoms, values, distance_law="table", spin_orbit=False))
    assert np.abs(strained_law - without).max() > 1e-2


@pytest.mark.parametrize("stretch", [0.97, 1.02])
def test_harrison_scales_hoppings_and_leaves_onsite_energies(stretch):
    table = load_parameters("GaAs", "vogl1983")
    ideal, moved = (tight_binding(zincblende("GaAs", 5.6533 * s), table) for s in (1.0, stretch))
    np.testing.assert_allclose(moved.hopping[0], ideal.hopping[0] * stretch**-2, rtol=1e-12)
    np.testing.assert_array_equal(onsite_matrix(moved), onsite_matrix(ideal))
    assert np.abs(ideal.hopping[0]).max() > 0.5

    table = load_parameters("graphene", "pz")  # no on-site energies: the bands scale as a whole
    k = np.array([[0.3, 0.7, 0.0], [0.9, -0.2, 0.0]])
    ideal = bands(tight_binding(graphene(), table, spin_orbit=False), k)
    moved = bands(tight_binding(graphene(a=2.46 * stretch), table, spin_orbit=False), k / stretch)
    np.testing.assert_allclose(moved, ideal * stretch**-2, rtol=1e-12)


def test_table_law_uses_the_exponent_of_each_channel():
    table, stretch = load_parameters("Si", "niquet2009"), 1.015
    ideal, moved = (tight_binding(zincblende("Si", A * s), table, spin_orbit=False) for s in (1.0, stretch))
    ratio = np.asarray(moved.hopping[0] / np.where(ideal.hopping[0] == 0, np.nan, ideal.hopping[0]))[0]
    names = [name for shell in table.spec.shells_of("Si") for name in SHELLS[shell]]
    for row, column, exponent in (
        ("s", "s", 3.56701),
        ("s", "px", 2.0353),
        ("s*", "s*", 0.64401),
        ("s", "dxy", 2.14811),
    ):
        at = names.index(row), names.index(column)
        assert ratio[at] == pytest.approx(stretch**-exponent, rel=1e-10), (row, column)


@pytest.mark.parametrize(("material", "a", "expected"), [("Si", 5.431, -2.125), ("Ge", 5.6563, -2.76)])
def test_shear_deformation_potential_niquet(material, a, expected):
    """b from a traceless strain along z without spin-orbit: E_xy − E_z = 3 b (ε_xx − ε_zz) at the valence-band top."""
    eps = 1e-4
    atoms = strained(material, a, np.diag([eps, eps, -2 * eps]))
    energy = np.asarray(
        bands(tight_binding(atoms, load_parameters(material, "niquet2009"), spin_orbit=False), [[0, 0, 0]])
    )
    top = energy[0, 1:4]
    doublet_is_low = top[1] - top[0] < top[2] - top[1]
    split = top[0] - top[2]  # of the x, y doublet from the z level
    assert doublet_is_low
    assert split / (9 * eps) == pytest.approx(expected, abs=0.03)


def test_variants_of_boykins_silicon():
    table = load_parameters("Si", "boykin2004")
    atoms = strained("Si", A, EPS, KLEINMAN)
    blocks = {
        law: tight_binding(atoms, table, distance_law=law, spin_orbit=False)
        for law in ("table", "variant1", "variant2", "harrison")
    }
    np.testing.assert_array_equal(blocks["table"].hopping[0], blocks["variant1"].hopping[0])
    for other in ("variant2", "harrison"):
        assert np.abs(blocks[other].hopping[0] - blocks["table"].hopping[0]).max() > 1e-3
        assert shifts(blocks[other], table, "Si") == pytest.approx(dict.fromkeys(shifts(blocks[other], table, "Si"), 0))
    with pytest.raises(ValueError, match=r"distance_law.*'variant1', 'variant2'.*'variant3'.*Did you mean 'variant"):
        tight_binding(atoms, table, distance_law="variant3")


@pytest.mark.parametrize("table", ["niquet2009", "boykin2004"])
def test_relabelled_axes_relabel_the_onsite_terms(table):
    """x → y → z → x applied to the strain permutes the p shifts: the terms favour no axis."""
    values = load_parameters("Si", table)
    turn = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]])
    first = shifts(tight_binding(strained("Si", A, EPS, KLEINMAN), values), values, "Si")
    second = shifts(tight_binding(strained("Si", A, turn @ EPS @ turn.T, KLEINMAN), values), values, "Si")
    assert [second[n] for n in ("px", "py", "pz")] == pytest.approx([first[n] for n in ("py", "pz", "px")], abs=1e-12)
    assert abs(first["px"] - first["py"]) > 1e-3
