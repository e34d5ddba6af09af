"""Refitted tables against first principles (shared folder), the shift by foreign neighbours, and the refit's derivative."""

import json
from importlib import resources

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bandjax as bj
from experiments.compare_dft import Config, compare
from experiments.first_principles import BULK, STACKS, STRAINED, read_reference
from experiments.refit_dft import PRESETS, fit, levels_and_maps, scores_of

SIGE = ("Si", "Ge")
SP3S = 300.0  # meV; 200 is out of reach: nearest-neighbour sp3s* reaches 208 for bulk Si, and that only without a gap


def refit_of(name):
    """What the table's file says of its refit."""
    text = resources.files("bandjax.materials").joinpath("data", f"{name}.json").read_text(encoding="utf-8")
    return json.loads(text)["refit"]


def scores(table, name):
    """Valence rms in meV, and for a stack the scores of its deviations."""
    found, _ = compare(bj.load_parameters(SIGE, table), read_reference(name), Config())
    return found["valence_rms_meV"], found.get("all")


@pytest.mark.parametrize(
    ("table", "name", "limit"),
    [
        ("pbe_sp3d5s", BULK[0], 50.0),
        ("pbe_sp3s", BULK[1], SP3S),
        *(pytest.param("pbe_sp3d5s", n, 50.0, marks=pytest.mark.slow) for n in (BULK[1], *STRAINED)),
        *(pytest.param("pbe_sp3d5s", n, 90.0, marks=pytest.mark.slow) for n in STACKS),
        *(pytest.param("pbe_sp3s", n, SP3S, marks=pytest.mark.slow) for n in (BULK[0], *STRAINED, *STACKS)),
    ],
)
def test_refitted_tables_are_as_good_as_they_say(dft, table, name, limit):
    refit = refit_of(table)
    rms, atoms = scores(table, name)
    stated = refit["scores"][name]
    assert rms == pytest.approx(stated["valence_rms_meV"], abs=0.1)  # the stated numbers are rounded to 0.001
    assert rms <= limit
    assert (name in refit["held"]) != (name in refit["train"])
    if atoms is not None:
        for key in ("cosine", "skill_over_average", "skill_over_bulk_atom"):
            assert atoms[key] == pytest.approx(stated[key], abs=2e-3)
    if table == "pbe_sp3d5s" and atoms is not None:
        assert atoms["cosine"] >= 0.9 and min(atoms["skill_over_average"], atoms["skill_over_bulk_atom"]) >= 0.7


@pytest.mark.slow
def test_a_stack_that_the_fit_has_not_seen_scores_as_stated(dft):
    """Minutes: the fit again without Si4Ge4."""
    config, left = PRESETS["default"], STACKS[4]
    assert (left,) in config.left_out
    data, _ = fit(config, tuple(n for n in config.train if n != left))
    found, stated = scores_of(data, (left,))[left], refit_of("pbe_sp3d5s")["scores_left_out"][left]
    # a descent of fifteen steps ends within a thousandth of its cost on any machine
    assert found == pytest.approx(stated, rel=5e-3)
    assert found["valence_rms_meV"] <= 90.0 and found["cosine"] >= 0.9
    assert min(found[k] for k in ("skill_over_average", "skill_over_bulk_atom", "interface_skill_over_average")) >= 0.7


def test_a_published_table_fails_the_same_comparison(dft):
    assert scores("niquet2009", BULK[0])[0] > 100.0


@pytest.mark.slow
def test_a_published_table_fails_on_the_atoms_of_a_stack(dft):
    rms, atoms = scores("niquet2009", STACKS[3])
    assert rms > 90.0 and atoms["cosine"] < 0.9 and atoms["skill_over_average"] < 0.7


@pytest.mark.parametrize("material", [pytest.param("Si", marks=pytest.mark.slow), "Ge"])
def test_the_gaps_of_the_refitted_tables_are_open(material):
    """HSE06 without spin-orbit: Si 1.17 eV, Ge 0.69 eV; the conduction bands were fitted lightly, hence ±0.35 eV."""
    atoms = bj.zincblende(material)
    k, _, _ = bj.k_path(atoms, "LΓX", 21)
    gap = {}
    for table in ("pbe_sp3d5s", "pbe_sp3s"):
        e = bj.bands(bj.tight_binding(atoms, bj.load_parameters(material, table), spin_orbit=False), k)
        gap[table] = float(e[:, 4].min() - e[:, 3].max())
    assert gap["pbe_sp3d5s"] == pytest.approx({"Si": 1.17, "Ge": 0.69}[material], abs=0.35)
    assert gap["pbe_sp3s"] > 0.1


@pytest.mark.slow
def test_a_foreign_neighbour_shifts_the_levels():
    """In Si1Ge3 the four neighbours of Si, and two, none and two of those of the Ge atoms, are of the other species."""
    atoms, table = bj.superlattice(SIGE, (1, 3)), bj.load_parameters(SIGE, "pbe_sp3s")
    without = table.replace(**{n: 0.0 for n in table.values if ".delta_" in n})
    labelled, plain = (bj.tight_binding(atoms, t, spin_orbit=False) for t in (table, without))
    mixed = bj.tight_binding(atoms, table, composition=np.array([0.0, 1, 1, 1]), spin_orbit=False)
    for atom, (symbol, foreign) in enumerate((("Si", 4), ("Ge", 2), ("Ge", 0), ("Ge", 2))):
        shift = [float(table[f"{symbol}.delta_{shell}"]) for shell in ("s", "p", "p", "p", "s*")]
        expected = plain.onsite[atom] + foreign * np.diag(shift)
        np.testing.assert_allclose(labelled.onsite[atom], expected, rtol=0, atol=1e-12)
        np.testing.assert_allclose(mixed.onsite[atom], expected, rtol=0, atol=1e-12)
    assert abs(float(table["Si.delta_p"])) > 1e-3
    half = bj.tight_binding(atoms, table, composition=np.array([0.5, 1, 1, 1]), spin_orbit=False)
    change = float(half.onsite[2][0, 0] - mixed.onsite[2][0, 0])
    assert change == pytest.approx(0.0, abs=1e-12)  # of no neighbour of the half atom
    change = float(half.onsite[1][0, 0] - mixed.onsite[1][0, 0])
    assert change == pytest.approx(-2 * 0.5 * float(table["Ge.delta_s"]), abs=1e-12)


def test_derivative_of_a_map_at_degenerate_levels():
    """Central differences of A_i(E), which are exact where those of eigenvectors are not: two pairs of equal levels."""
    rng = np.random.default_rng(0)
    u = np.linalg.qr(rng.normal(size=(6, 6)) + 1j * rng.normal(size=(6, 6)))[0]
    h0 = u @ np.diag([-2.0, -2.0, -1.0, 0.5, 0.5, 1.5]) @ u.conj().T
    dh = rng.normal(size=(6, 6)) + 1j * rng.normal(size=(6, 6))
    h0, dh = (h0 + h0.conj().T) / 2, (dh + dh.conj().T) / 2
    of_atom = jnp.asarray(np.repeat(np.eye(2), 3, axis=1))
    grid = jnp.linspace(-3.0, 2.0, 21)

    def maps(t):
        return levels_and_maps(h0 + t * dh, of_atom, grid, 0.2, 6)[1]

    step = 1e-4
    found = jax.jit(lambda t: jax.jvp(maps, (t,), (1.0,))[1])(0.0)
    expected = (maps(step) - maps(-step)) / (2 * step)
    assert float(jnp.abs(found).max()) > 0.1
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * float(jnp.abs(found).max()))
