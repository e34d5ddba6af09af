"""Composition as a number: exact at its ends, smooth between, and what a pair's table holds."""

import functools

import ase
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bandjax as bj
from bandjax.hamiltonian import bloch_hamiltonian, rotated, slater_koster
from bandjax.hamiltonian.blocks import channels_of
from bandjax.hamiltonian.slater_koster import slater_koster_block
from bandjax.photoemission.matrix_elements import plane_wave_amplitude

SIGE = ("Si", "Ge")
K = np.array([0.13, -0.21, 0.37])


@functools.cache
def table_of(name):
    return bj.load_parameters(SIGE, name)


@functools.cache
def displaced() -> ase.Atoms:
    """A Si3Ge1 cell off its ideal positions, so that every strain term is at work."""
    atoms = bj.superlattice(SIGE, (3, 1), substrate=5.5)
    atoms.positions += 0.04 * np.random.default_rng(1).normal(size=atoms.positions.shape)
    return atoms


def hamiltonian(atoms, table, **options):
    return jax.jit(lambda: bloch_hamiltonian(bj.tight_binding(atoms, table, **options), jnp.asarray(K)))()


@pytest.mark.parametrize("table", ["vogl1983", "boykin2004", pytest.param("niquet2009", marks=pytest.mark.slow)])
def test_zeros_and_ones_are_the_labelled_atoms(table):
    atoms, values = displaced(), table_of(table)
    labelled = hamiltonian(atoms, values)
    other = atoms.copy()
    other.set_chemical_symbols(["Ge"] * 4)  # the labels do not matter
    mixed = hamiltonian(other, values, composition=np.array([0, 0, 0, 1]))
    np.testing.assert_allclose(mixed, labelled, rtol=0, atol=1e-12)
    assert np.abs(mixed - hamiltonian(atoms, values, composition=np.array([0, 0, 1, 1]))).max() > 0.1


@pytest.mark.parametrize("table", ["vogl1983", pytest.param("niquet2009", marks=pytest.mark.slow)])
def test_gradient_is_that_of_central_differences(table):
    """Of a real number made of all elements of H, through blocks and through the spacings that follow the composition."""
    atoms, values = bj.superlattice(SIGE, (1, 1)), table_of(table)
    size = bj.tight_binding(atoms, values).n_orbital
    real, imaginary = np.random.default_rng(2).normal(size=(2, size, size))

    @jax.jit
    def number(c):
        positions, cell = bj.stack_positions(c, 5.5, SIGE)
        model = bj.tight_binding(atoms, values, positions=positions, cell=cell, composition=c)
        h = bloch_hamiltonian(model, jnp.asarray(K))
        return jnp.sum(real * h.real + imaginary * h.imag)

    c = jnp.array([0.2, 0.9])
    gradient, h = jax.jit(jax.grad(number))(c), 1e-4
    expected = [(number(c + step) - number(c - step)) / (2 * h) for step in h * jnp.eye(2)]
    np.testing.assert_allclose(gradient, expected, rtol=1e-6)
    assert np.abs(gradient).min() > 1e-2


def test_the_block_of_all_shells_is_the_sum_of_its_channels():
    shells = ("s", "p", "d", "s*")
    bond = table_of("niquet2009").spec.bonds[2]
    channels, n = channels_of(bond), jnp.array([2.0, -1.0, 2.0]) / 3
    values = jnp.asarray(np.random.default_rng(0).normal(size=len(channels)))
    found = slater_koster_block(n, shells, shells, channels, values)
    start = dict(zip(shells, (0, 1, 4, 9), strict=True))
    expected = np.zeros((10, 10))
    for (a, b, symmetry), value in zip(channels, values, strict=True):
        part = value * slater_koster(n, a, b, symmetry)
        expected[start[a] : start[a] + part.shape[0], start[b] : start[b] + part.shape[1]] += part
    np.testing.assert_allclose(found, expected, atol=1e-14)


def test_hoppings_mix_bilinearly_and_onsite_energies_linearly():
    atoms, values = bj.zincblende("Si", 5.5), table_of("vogl1983")

    def model(c):
        return bj.tight_binding(atoms, values, composition=np.array(c, float), spin_orbit=False)

    ends = {(p, q): model((p, q)) for p in (0, 1) for q in (0, 1)}
    mixed = model((0.3, 0.8))
    expected = sum((0.3 if p else 0.7) * (0.8 if q else 0.2) * m.hopping[0] for (p, q), m in ends.items())
    np.testing.assert_allclose(mixed.hopping[0], expected, atol=1e-12)
    np.testing.assert_allclose(mixed.onsite[1], 0.2 * ends[0, 0].onsite[1] + 0.8 * ends[1, 1].onsite[1], atol=1e-12)


def test_a_mixed_site_emits_as_the_average_scatterer():
    atoms, values = bj.zincblende("Si", 5.5), table_of("vogl1983")
    instrument = bj.Instrument(polarisation=(1.0, 0.4j, 0.3), matrix_elements="plane_wave")
    k = jnp.array([0.3, 1.1, 2.0])

    @jax.jit
    def amplitude(c):
        model = bj.tight_binding(atoms, values, composition=c, spin_orbit=False)
        turned = rotated(model, jnp.eye(3))  # keeps the composition
        return plane_wave_amplitude(turned, instrument, k)[0]

    pure = []
    for symbols in ("Si2", "Ge2"):
        labelled = atoms.copy()
        labelled.set_chemical_symbols(symbols)
        f = jax.jit(
            lambda a=labelled: plane_wave_amplitude(bj.tight_binding(a, values, spin_orbit=False), instrument, k)[0]
        )
        pure.append(np.asarray(f()))
    si, ge = pure
    assert np.abs(si - ge).max() > 0.05 * np.abs(si).max()
    np.testing.assert_allclose(amplitude(jnp.zeros(2)), si, atol=1e-14)
    np.testing.assert_allclose(amplitude(jnp.ones(2)), ge, atol=1e-14)
    c = np.repeat([0.3, 0.8], 5)
    np.testing.assert_allclose(amplitude(jnp.array([0.3, 0.8])), (1 - c) * si + c * ge, atol=1e-14)
    slope = jax.jit(jax.jacfwd(amplitude))(jnp.array([0.3, 0.8]))
    np.testing.assert_allclose(slope[:5, 0], (ge - si)[:5], atol=1e-14)
    assert not np.asarray(slope[5:, 0]).any()


def test_a_virtual_crystal_lies_between_its_ends():
    values = table_of("vogl1983")

    def levels(x):
        atoms = bj.alloy(bj.zincblende("Si", 5.545), x, kind="virtual")
        e = np.asarray(bj.bands(bj.tight_binding(atoms, values), np.zeros((1, 3))))[0]
        return e[0], e[7], e[7] - e[2]  # bottom, valence-band top, spin-orbit splitting

    for low, middle, high in zip(*map(levels, (0.0, 0.5, 1.0)), strict=True):
        assert min(low, high) < middle < max(low, high)


def test_the_array_of_a_stack_is_read():
    values = table_of("vogl1983")
    atoms = bj.graded(SIGE, [0.0, 0.3, 0.8, 1.0], vacuum=None)
    given = hamiltonian(atoms, values, composition=atoms.arrays["composition"])
    np.testing.assert_array_equal(hamiltonian(atoms, values), given)
    atoms.arrays.pop("composition")
    assert np.abs(hamiltonian(atoms, values) - given).max() > 0.1


def test_a_slab_takes_a_composition():
    atoms = bj.graded(SIGE, [0.0, 0.2, 0.6, 0.2, 0.0])
    model = bj.tight_binding(atoms, table_of("vogl1983"))
    assert len(model.topology.groups[0].i) == 2 * 4  # two bonds between neighbouring layers


def test_the_potential_shifts_its_atom():
    atoms, values = bj.zincblende("Si", 5.431), bj.load_parameters("Si", "vogl1983")
    plain = bj.tight_binding(atoms, values)
    shifted = bj.tight_binding(atoms, values, potential=[0.0, -0.25])
    np.testing.assert_array_equal(shifted.onsite[0], plain.onsite[0])
    np.testing.assert_allclose(shifted.onsite[1], plain.onsite[1] - 0.25 * np.eye(5), atol=1e-14)
    rigid = bj.tight_binding(atoms, values, potential=jnp.array([0.4, 0.4]))
    np.testing.assert_allclose(bj.bands(rigid, K[None]), bj.bands(plain, K[None]) + 0.4, atol=1e-12)


def test_a_pair_without_its_own_bond_takes_the_mean():
    pair, si, ge = table_of("vogl1983"), *(bj.load_parameters(m, "vogl1983") for m in SIGE)
    for name, own in (("V_xy", "V_xy"), ("V_sapc", "V_sp"), ("V_scpa", "V_sp"), ("V_pas*c", "V_s*p")):
        assert float(pair[f"SiGe.{name}"]) == pytest.approx((float(si[own]) + float(ge[own])) / 2)
    length = {bond.pair: bond.length for bond in pair.spec.bonds}
    assert length["Si", "Ge"] == pytest.approx(np.sqrt(3) / 8 * (5.431 + 5.6579))
    assert dict(pair.spec.state)["SiGe.V_xy"].startswith("not of this paper")
    moved = pair.replace(**{"SiGe.offset": pair["SiGe.offset"] + 0.1})
    atoms = bj.superlattice(SIGE, (1, 1))
    before, after = (bj.tight_binding(atoms, t, spin_orbit=False).onsite for t in (pair, moved))
    np.testing.assert_allclose(after[0] - before[0], 0, atol=1e-14)
    np.testing.assert_allclose(after[1] - before[1], 0.1 * np.eye(5), atol=1e-14)


def vacancy() -> ase.Atoms:
    atoms = bj.zincblende("Si", 5.5, cubic=True)
    del atoms[3]
    return atoms


GENERAL = """
convention = "general"
values = {e = 0.0, t = -1.0}
[orbitals]
A = ["s"]
B = ["s", "p"]
[onsite]
A = {s = {e = 1.0}}
[[bonds]]
pair = ["A", "B"]
length = 2.4
integrals = [{shells = ["s", "s"], symmetry = "sigma", value = {t = 1.0}}]
"""


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda p: bj.tight_binding(displaced(), p, composition=[0, 0, 0, 1.5]), ["composition", "[0, 1]", "1.5"]),
        (lambda p: bj.tight_binding(displaced(), p, composition=[0, 1]), ["composition", "(4,)", "(2,)"]),
        (lambda p: bj.tight_binding(displaced(), p, potential=[0.0]), ["potential", "(4,)", "(1,)"]),
        (
            lambda p: bj.tight_binding(vacancy(), p, composition=np.full(7, 0.5)),
            ["must have 4 neighbours", "has 3", "and 1 more"],
        ),
        (
            lambda p: bj.tight_binding(bj.slab("Si", 4, hydrogen=1.5), p, composition=np.full(8, 0.5)),
            ["lacks 'H'", "atom 4"],
        ),
        (
            lambda p: bj.tight_binding(
                bj.zincblende("Si"), bj.load_parameters("Si", "vogl1983"), composition=[0.5, 0.5]
            ),
            ["composition", "two species", "has 1"],
        ),
        (
            lambda p: bj.tight_binding(
                bj.zincblende("GaAs"), bj.load_parameters("GaAs", "vogl1983"), composition=[0.5, 0.5]
            ),
            ["one bond with a length", "As-Ga"],
        ),
    ],
)
def test_bad_compositions_get_one_sentence(call, words):
    with pytest.raises(ValueError) as caught:
        call(table_of("vogl1983"))
    text = str(caught.value)
    assert all(word in text for word in words), text


def test_species_with_other_orbitals_do_not_mix(tmp_path):
    (tmp_path / "general.toml").write_text(GENERAL)
    table = bj.load_table(tmp_path / "general.toml")
    with pytest.raises(ValueError, match="same orbitals, but in table general A has s and B has s p"):
        bj.tight_binding(bj.zincblende("Si"), table, composition=[0.5, 0.5], spin_orbit=False)
