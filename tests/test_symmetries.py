"""Symmetries of every Hamiltonian, whatever its table: of the matrix, of the zone, of the cell, of the crystal."""

import ase
import jax
import numpy as np
import pytest
from crystals import CASES, ELEMENTAL, FLAT, PUBLISHED, build, length_unit, name_of
from hypothesis import given, settings
from hypothesis import strategies as st

from bandjax.hamiltonian import bloch_hamiltonian, rotated, tight_binding
from bandjax.spectrum import bands

TOLERANCE = 1e-11  # eV: rounding of a diagonalisation with levels of 40 eV
ALL = pytest.mark.parametrize("case", CASES, ids=name_of)
FEW = settings(max_examples=6, deadline=None)

number = st.floats(-1, 1, allow_nan=False, width=32)
waves = st.lists(st.tuples(number, number, number), min_size=4, max_size=4).map(lambda k: 1.5 * np.array(k))  # 1/Å
hamiltonian = jax.jit(jax.vmap(bloch_hamiltonian, (None, 0)))


def bands_of(atoms, table, model, k):
    return np.asarray(bands(tight_binding(atoms, table, spin_orbit=model.topology.spin_orbit), k))


@ALL
@given(k=waves)
@FEW
def test_hermitian_and_finite(case, k):
    h = np.asarray(hamiltonian(build(*case)[2], k))
    assert np.isfinite(h).all() and np.array_equal(h, h.conj().swapaxes(1, 2))
    assert np.abs(h).max() > 0.1


@ALL
@given(k=waves)
@FEW
def test_time_reversal(case, k):
    _, _, model = build(*case)
    np.testing.assert_allclose(bands(model, -k), bands(model, k), rtol=0, atol=TOLERANCE)


@ALL
@given(k=waves, n=st.lists(st.integers(-2, 2), min_size=12, max_size=12))
@FEW
def test_periodic_in_the_reciprocal_lattice(case, k, n):
    atoms, _, model = build(*case)
    n = np.array(n).reshape(4, 3) * atoms.pbc
    g = 2 * np.pi * n @ np.asarray(atoms.cell.reciprocal())
    np.testing.assert_allclose(bands(model, k + g), bands(model, k), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("case", ELEMENTAL, ids=name_of)
@given(k=waves)
@FEW
def test_kramers_pairs_with_inversion(case, k):
    """With an inversion centre, spin-orbit leaves every level of every k twofold."""
    _, _, model = build(*case)
    assert model.topology.spin_orbit
    energy = np.asarray(bands(model, k))
    np.testing.assert_allclose(energy[:, ::2], energy[:, 1::2], rtol=0, atol=TOLERANCE)


def test_spin_splits_levels_without_inversion():
    energy = np.asarray(bands(build("GaAs", "jancu1998")[2], np.array([[0.3, 0.1, 0.2]])))
    assert np.abs(energy[:, ::2] - energy[:, 1::2]).max() > 1e-3


# as many as hypothesis draws: one program serves both
GENERIC = np.array([[0.31, -0.22, 0.17], [0.9, 0.4, -0.6], [-0.05, 0.02, 0.6], [0.13, 0.7, 0.44]])


@ALL
def test_shift_of_the_origin(case):
    atoms, table, model = build(*case)
    moved = atoms.copy()
    moved.positions += [0.37, -1.21, 0.83]
    if moved.pbc.all():
        moved.wrap()
    np.testing.assert_allclose(bands_of(moved, table, model, GENERIC), bands(model, GENERIC), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("case", [c for c in CASES if len(build(*c)[0]) > 1], ids=name_of)
def test_permutation_of_the_atoms(case):
    atoms, table, model = build(*case)
    order = np.roll(np.arange(len(atoms)), 1)
    found = bands_of(atoms[order], table, model, GENERIC)
    np.testing.assert_allclose(found, bands(model, GENERIC), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("case", [PUBLISHED[0], PUBLISHED[3], *FLAT, ("tetragonal", "single_orbital")], ids=name_of)
def test_doubled_cell_folds_the_bands(case):
    atoms, table, model = build(*case)
    double = atoms.repeat((2, 1, 1))
    g = 2 * np.pi * np.asarray(double.cell.reciprocal())[0]
    both = np.concatenate([bands(model, GENERIC), bands(model, GENERIC + g)], axis=1)
    found = bands_of(double, table, model, GENERIC)
    np.testing.assert_allclose(found, np.sort(both, axis=1), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("case", [PUBLISHED[0], PUBLISHED[3], PUBLISHED[5]], ids=name_of)
def test_conventional_cell_of_eight_atoms(case):
    """The cubic cell repeats the primitive one at four k; its H is scattered, not kept dense, for sp3d5s*."""
    atoms, table, _ = build(*case)
    a = length_unit(atoms)
    corners = a / 2 * np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]])
    positions = (corners[:, None] + atoms.positions[None]).reshape(-1, 3)
    cubic = ase.Atoms(list(atoms.symbols) * 4, positions=positions, cell=[a] * 3, pbc=True)
    model = tight_binding(atoms, table, spin_orbit=False)
    k, g = GENERIC[:1], 2 * np.pi / a * np.vstack([np.zeros(3), np.eye(3)])
    found = np.asarray(bands(tight_binding(cubic, table, spin_orbit=False), k))
    np.testing.assert_allclose(found[0], np.sort(np.ravel(bands(model, k + g))), rtol=0, atol=TOLERANCE)


TURN = {
    "rotoinversion": np.array([[0, 1, 0], [-1, 0, 0], [0, 0, -1]]),
    "threefold axis 111": np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]]),
    "mirror 110": np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1]]),
    "fourfold axis z": np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]]),
    "threefold axis z": np.array([[-1, -np.sqrt(3), 0], [np.sqrt(3), -1, 0], [0, 0, 2]]) / 2,
    "mirror x": np.diag([-1, 1, 1]),
}
HAS = {
    **{case: ("rotoinversion", "threefold axis 111", "mirror 110") for case in PUBLISHED},
    **{(m, "pz"): ("threefold axis z", "mirror x") for m in ("graphene", "bilayer graphene")},
    **{("square", t): ("fourfold axis z", "mirror x") for t in ("single_orbital", "two_orbital")},
    ("tetragonal", "single_orbital"): ("fourfold axis z", "mirror x"),
    ("cubic", "two_orbital"): ("fourfold axis z", "threefold axis 111"),
}


@pytest.mark.parametrize(
    ("case", "turn"), [(c, t) for c in CASES for t in HAS[c]], ids=lambda x: x if x in TURN else name_of(x)
)
def test_point_group(case, turn):
    _, _, model = build(*case)
    found = bands(model, GENERIC @ TURN[turn].T)
    np.testing.assert_allclose(found, bands(model, GENERIC), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("case", "turn"), [(("GaAs", "jancu1998"), "threefold axis z"), (("graphene", "pz"), "fourfold axis z")], ids=str
)
def test_what_is_no_symmetry_changes_the_bands(case, turn):
    _, _, model = build(*case)
    change = np.asarray(bands(model, GENERIC @ TURN[turn].T) - bands(model, GENERIC))
    assert np.abs(change).max() > 1e-3


def rotation(axis, angle):
    """Rodrigues' matrix."""
    x, y, z = np.asarray(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


@ALL
def test_turned_axes(case):
    """`rotated` has the energies of k at R k; "pz" and "eg" shells turn about the axes that map them on themselves."""
    _, _, model = build(*case)
    turn = (
        rotation([0.3, -0.5, 0.8], 0.9)
        if case in PUBLISHED
        else rotation([0, 0, 1], np.pi / 2 if "two" in case[1] else 0.9)
    )
    moved = rotated(model, turn)
    h = np.asarray(hamiltonian(moved, GENERIC @ turn.T))
    assert np.abs(h - hamiltonian(model, GENERIC)).max() > 1e-3 or case not in PUBLISHED
    np.testing.assert_allclose(bands(moved, GENERIC @ turn.T), bands(model, GENERIC), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("case", [c for c in PUBLISHED if c != ("InAs", "boykin2004")], ids=name_of)
def test_turned_model_is_the_model_of_the_turned_crystal(case):
    """Without spin, turning the blocks is the same as making them from turned positions (Slater-Koster covariance)."""
    atoms, table, _ = build(*case)
    turn = rotation([0.3, -0.5, 0.8], 0.9)
    moved = rotated(tight_binding(atoms, table, spin_orbit=False), turn)
    made = tight_binding(
        atoms, table, positions=atoms.positions @ turn.T, cell=np.asarray(atoms.cell) @ turn.T, spin_orbit=False
    )
    k = GENERIC @ turn.T
    np.testing.assert_allclose(hamiltonian(moved, k), hamiltonian(made, k), rtol=0, atol=1e-12)
