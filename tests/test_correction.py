"""The learned correction to first principles: what it keeps by construction, how far it reaches, its derivative and its files."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bandjax as bj
from bandjax.hamiltonian import bloch_hamiltonian
from bandjax.learning.correction import (
    SIZES,
    TABLE,
    Correction,
    corrected,
    load_correction,
    no_correction,
    save_correction,
)

SIGE = ("Si", "Ge")
RNG = np.random.default_rng(5)
WEIGHTS = {name: 0.05 * RNG.normal(size=size) for name, size in SIZES.items()}  # eV; as large as the trained ones
K = np.array([0.31, -0.12, 0.23])  # 1/Å
ATOMS = bj.superlattice(SIGE, (2, 2))
MOVED = ATOMS.positions + 0.03 * RNG.normal(size=ATOMS.positions.shape)  # Å


@pytest.fixture(scope="module")
def table():
    return bj.load_parameters(SIGE, TABLE)


@pytest.fixture(scope="module")
def hamiltonians(table):
    """H of the table and of the corrected one, compiled once: (positions, cell, weights, k) -> both."""

    def both(positions, cell, weights, k):
        model = bj.tight_binding(ATOMS, table, positions=positions, cell=cell, spin_orbit=False)
        return bloch_hamiltonian(model, k), bloch_hamiltonian(corrected(model, Correction(weights, {})), k)

    return jax.jit(both)


@pytest.fixture(scope="module")
def chain(table):
    """The correction of 12 layers of silicon of which each may hold germanium: composition -> model."""
    model = bj.tight_binding(bj.superlattice(("Si", "Si"), (6, 6)), table, spin_orbit=False)

    def at(composition):
        return corrected(dataclasses.replace(model, composition=composition), Correction(WEIGHTS, {}))

    return jax.jit(at)


def test_weights_of_zero_give_the_table(hamiltonians):
    plain, same = hamiltonians(MOVED, ATOMS.cell[:], no_correction().weights, K)
    np.testing.assert_array_equal(plain, same)
    _, other = hamiltonians(MOVED, ATOMS.cell[:], WEIGHTS, K)
    assert float(jnp.abs(other - plain).max()) > 0.05


def test_the_corrected_hamiltonian_is_hermitian_and_real_in_space(hamiltonians):
    _, h = hamiltonians(MOVED, ATOMS.cell[:], WEIGHTS, K)
    _, turned = hamiltonians(MOVED, ATOMS.cell[:], WEIGHTS, -K)
    np.testing.assert_allclose(h, h.conj().T, rtol=0, atol=1e-13)  # rounding of sums of some eV
    np.testing.assert_allclose(turned, h.conj(), rtol=0, atol=1e-13)


@pytest.mark.parametrize("handedness", [1, -1], ids=["rotation", "reflection"])
def test_it_turns_with_the_crystal(hamiltonians, handedness):
    """Levels and what each atom holds of them, of a displaced crystal without any symmetry."""
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    turn *= handedness * np.linalg.det(turn)
    _, h = hamiltonians(MOVED, ATOMS.cell[:], WEIGHTS, K)
    _, turned = hamiltonians(MOVED @ turn.T, ATOMS.cell[:] @ turn.T, WEIGHTS, turn @ K)
    (e, u), (e_turned, u_turned) = np.linalg.eigh(h), np.linalg.eigh(turned)
    np.testing.assert_allclose(e_turned, e, rtol=0, atol=1e-11)
    weight, weight_turned = ((np.abs(x) ** 2).reshape(len(ATOMS), -1, len(e)).sum(axis=1) for x in (u, u_turned))
    np.testing.assert_allclose(weight_turned, weight, rtol=0, atol=1e-7)  # levels some meV apart


def test_an_atom_changes_blocks_within_two_bonds_only(chain):
    """Layer 5 of 12 becomes germanium: two bonds are two layers."""
    before, after = chain(jnp.zeros(12)), chain(jnp.zeros(12).at[5].set(1.0))
    own = [float(jnp.abs(a - b).max()) for a, b in zip(before.onsite, after.onsite, strict=True)]
    assert [at for at, change in enumerate(own) if change > 0] == [3, 4, 5, 6, 7]
    changed = set()
    for group, a, b in zip(before.topology.groups, before.hopping, after.hopping, strict=True):
        at = np.flatnonzero(np.abs(a - b).max(axis=(1, 2)) > 0)
        changed |= {layer for n in at for layer in (group.i[n], group.j[n])}
    assert changed == {3, 4, 5, 6, 7}


def test_fractions_of_one_are_the_labelled_atoms(table, chain):
    """Silicon of which two layers hold a fraction of one of germanium, and the labelled stack at the same positions."""
    stack = bj.superlattice(SIGE, (10, 2))
    silicon = bj.superlattice(("Si", "Si"), (6, 6))
    place = {"positions": silicon.positions, "cell": silicon.cell[:], "spin_orbit": False}
    labelled = jax.jit(lambda: corrected(bj.tight_binding(stack, table, **place), Correction(WEIGHTS, {})))()
    plain = bj.tight_binding(stack, table, **place)
    fraction = chain(jnp.asarray(stack.symbols == "Ge", float))
    base = bj.tight_binding(silicon, table, spin_orbit=False)
    for atom in range(12):
        expected = labelled.onsite[atom] - plain.onsite[atom]
        np.testing.assert_allclose(fraction.onsite[atom] - base.onsite[atom], expected, rtol=0, atol=1e-12)


def test_gradient_in_the_positions_is_that_of_differences(hamiltonians):
    matrix = np.random.default_rng(2).normal(size=(40, 40))

    def number(positions):
        return jnp.sum(matrix * hamiltonians(positions, ATOMS.cell[:], WEIGHTS, K)[1].real)

    direction = np.random.default_rng(3).normal(size=MOVED.shape)
    step = 1e-5
    expected = (number(MOVED + step * direction) - number(MOVED - step * direction)) / (2 * step)
    found = float(jnp.sum(jax.grad(number)(MOVED) * direction))
    assert abs(found) > 1.0 and found == pytest.approx(float(expected), rel=1e-7)


def test_spectra_are_positive_and_keep_the_sum_rule(table):
    model = corrected(bj.tight_binding(bj.zincblende("Ge"), table, spin_orbit=False), Correction(WEIGHTS, {}))
    angle = np.linspace(-np.pi / 2, np.pi / 2, 4002)[1:-1]  # E = 8 tan(angle): the whole line
    a = bj.spectral_function(model, K[None], 8 * np.tan(angle), eta=0.5, resolve="atom")[0]
    assert float(a.min()) >= 0
    total = np.sum(np.asarray(a) * (8 / np.cos(angle) ** 2)[:, None], axis=0) * (angle[1] - angle[0])
    np.testing.assert_allclose(total, 10.0, rtol=1e-3)  # one interval of 4001 is cut at each end


def test_what_it_was_not_learned_for_is_refused(table, tmp_path):
    zero = no_correction()
    model = bj.tight_binding(bj.zincblende("Si"), table, spin_orbit=False)
    other = bj.tight_binding(bj.zincblende("Si"), bj.load_parameters("Si", "vogl1983"), spin_orbit=False)
    with pytest.raises(ValueError, match="must be of table pbe_sp3d5s.* but is of vogl1983"):
        corrected(other, zero)
    with pytest.raises(ValueError, match="corrected to first principles"):
        corrected(corrected(model, zero), zero)
    with pytest.raises(ValueError, match="knows no surfaces.* atom 0 has 2"):
        corrected(bj.tight_binding(bj.slab("Si", 4), table, spin_orbit=False), zero)
    path = save_correction(tmp_path / "mine.npz", Correction(WEIGHTS, {"seed": 1}))
    again = load_correction(path)
    assert again.record["seed"] == 1
    np.testing.assert_array_equal(again.weights["second"], WEIGHTS["second"])
    save_correction(path, Correction(WEIGHTS | {"shift": np.zeros((4, 3))}, {}))
    with pytest.raises(ValueError, match=r"'shift' of shape \(4, 2\)"):
        load_correction(path)
    with pytest.raises(ValueError, match="must hold a correction"):
        load_correction(_reverse_file())
    with pytest.raises(FileNotFoundError, match="there is no"):
        load_correction(tmp_path / "none.npz")


def _reverse_file():
    from importlib import resources

    return resources.files("bandjax") / "learning" / "weights" / "surrogate.npz"
