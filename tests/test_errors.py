"""Wrong input to materials, structure, hamiltonian and spectrum is refused in one sentence that names it.

Each case: what is called, the kind of error, and words that its message must hold, in order.
"""

import re

import ase
import numpy as np
import pytest

from bandjax.hamiltonian import rotated, slater_koster, tight_binding
from bandjax.materials import list_parameters, load_parameters, load_table
from bandjax.spectrum import bands, density_of_states, effective_masses, from_cubic, from_fractional, k_path
from bandjax.spectrum import spectral_function as spectrum
from bandjax.structure import cubic_lattice, graphene, square_lattice, zincblende

VOGL = load_parameters("Si", "vogl1983")
NIQUET = load_parameters("Si", "niquet2009")
SI = zincblende("Si", 5.431)
GRAPHENE = tight_binding(graphene(), load_parameters("graphene", "pz"), spin_orbit=False)
K0, E3 = np.zeros((1, 3)), np.linspace(-1, 1, 3)
BARE = type(VOGL)(VOGL.values, type(VOGL.spec)(**{**vars(VOGL.spec), "spin_orbit": ()}))


def two_atoms(distance):
    return ase.Atoms("Si2", positions=[[0, 0, 0], [distance, 0, 0]], cell=[20, 20, 20], pbc=True)


WRONG = {
    "unknown material": (lambda: load_parameters("GaAz", "vogl1983"), ValueError, ["vogl1983", "'GaAz'", "'GaAs'"]),
    "material of another table": (lambda: load_parameters("InAs", "niquet2009"), ValueError, ["niquet2009", "Si, Ge"]),
    "unknown table": (lambda: load_parameters("Si", "vogl83"), ValueError, ["`table`", "'vogl83'", "'vogl1983'"]),
    "pair that is not there": (lambda: load_parameters(("Si", "C"), "niquet2009"), ValueError, ["pair", "'C'", "SiGe"]),
    "table without pairs": (lambda: load_parameters(("Si", "Ge"), "klimeck2000"), ValueError, ["klimeck2000", "none"]),
    "three elements of a table": (
        lambda: load_parameters(("Si", "Ge", "GaAs", "H"), "jancu1998"), ValueError, ["`material`", "pair", "'GaAs'"],
    ),
    "a tuple of one": (lambda: load_parameters(("Si",), "jancu1998"), ValueError, ["`material`", "a name", "('Si',)"]),
    "three compounds": (
        lambda: load_parameters(("GaAs", "InAs", "AlAs"), "jancu1998"), ValueError, ["`material`", "pair", "'AlAs'"],
    ),
    "hydrogen alone": (lambda: load_parameters(("H", "H"), "jancu1998"), ValueError, ["`material`", "('H', 'H')"]),
    "hydrogen that is not last": (
        lambda: load_parameters(("Si", "H", "Ge"), "jancu1998"), ValueError, ["jancu1998", "hydrogen, the last"],
    ),
    "listing an unknown material": (lambda: list_parameters("graphen"), ValueError, ["'graphen'", "'graphene'"]),
    "unknown value": (lambda: VOGL["V_xs"], KeyError, ["vogl1983", "'V_xs'", "'V_x"]),
    "changing an unknown value": (lambda: VOGL.replace(E_q=1.0), KeyError, ["'E_q'", "'E_"]),
    "element that is none": (lambda: zincblende("Xx"), ValueError, ["`material`", "'Xx'"]),
    "three elements": (lambda: zincblende("InGaAs"), ValueError, ["`material`", "one or two", "'InGaAs'"]),
    "lattice constant of no table": (lambda: zincblende("BN"), ValueError, ["'BN'"]),
    "tables that differ in lattice constant": (lambda: zincblende("CdS"), ValueError, ["`a`", "CdS"]),
    "negative lattice constant": (lambda: zincblende("Si", -5.4), ValueError, ["`a`", "> 0", "-5.4"]),
    "graphene of three layers": (lambda: graphene(3), ValueError, ["`layers`", "1 or 2", "3"]),
    "graphene without vacuum": (lambda: graphene(vacuum=0.0), ValueError, ["`vacuum`", "> 0", "0"]),
    "square lattice of size 0": (lambda: square_lattice(0.0), ValueError, ["`a`", "> 0"]),
    "cubic lattice of size NaN": (lambda: cubic_lattice(np.nan), ValueError, ["`a`", "> 0", "nan"]),
    "atoms on top of each other": (lambda: tight_binding(two_atoms(0.5), VOGL), ValueError, ["1.0 Å", "0.500 Å"]),
    "atoms too far apart": (lambda: tight_binding(two_atoms(4.0), VOGL), ValueError, ["neighbour", "15%", "atom 0"]),
    "species that the table lacks": (
        lambda: tight_binding(zincblende("GaAs", 5.65), VOGL), ValueError, ["vogl1983", "'Ga'", "atom 0", "Si"],
    ),
    "lattice that the shells do not fit": (
        lambda: tight_binding(square_lattice(4.6), load_parameters("square", "single_orbital"), spin_orbit=False),
        ValueError, ["neighbour", "5%", "atom 0"],
    ),
    "unknown distance law": (
        lambda: tight_binding(SI, NIQUET, distance_law="harison"), ValueError,
        ["`distance_law`", "'harison'", "'harrison'"],
    ),
    "no spin-orbit constants": (lambda: tight_binding(SI, BARE), ValueError, ["`spin_orbit=True`", "has none"]),
    "positions of three atoms": (
        lambda: tight_binding(SI, VOGL, positions=np.zeros((3, 3))), ValueError, ["`positions`", r"(2, 3)", "(3, 3)"],
    ),
    "cell of two vectors": (
        lambda: tight_binding(SI, VOGL, cell=np.eye(2)), ValueError, ["`cell`", "(3, 3)", "(2, 2)"],
    ),
    "integral that does not exist": (
        lambda: slater_koster(np.array([1.0, 0, 0]), "s", "p", "pi"), ValueError, ["Shells s and p", "pi"],
    ),
    "k of one axis": (lambda: bands(GRAPHENE, np.zeros(3)), ValueError, ["`k`", "(k, 3)", "(3,)"]),
    "k of two columns": (lambda: spectrum(GRAPHENE, np.zeros((5, 2)), E3), ValueError, ["`k`", "(k, 3)", "(5, 2)"]),
    "direction of two numbers": (
        lambda: effective_masses(GRAPHENE, K0, [1.0, 0.0]), ValueError, ["`direction`", "(3,)", "(2,)"],
    ),
    "η of zero": (lambda: spectrum(GRAPHENE, K0, E3, eta=0.0), ValueError, ["`eta`", "> 0", "eV", "0"]),
    "η below zero": (lambda: spectrum(GRAPHENE, K0, E3, eta=[0.1, -0.2, 0.1]), ValueError, ["`eta`", "> 0", "-0.2"]),
    "η of a density": (lambda: density_of_states(GRAPHENE, E3, eta=np.nan), ValueError, ["`eta`", "> 0", "nan"]),
    "grid of zero": (lambda: density_of_states(GRAPHENE, E3, grid=(2, 0, 1)), ValueError, ["`grid`", "> 0", "0"]),
    "gain in the self-energy": (
        lambda: spectrum(GRAPHENE, K0, E3, self_energy=0.2j), ValueError, ["`self_energy`", "≤ 0", "0.2"],
    ),
    "energies in two axes": (lambda: spectrum(GRAPHENE, K0, E3[None]), ValueError, ["`energy`", "(energy,)", "(1, 3)"]),
    "unknown method": (lambda: spectrum(GRAPHENE, K0, E3, method="eig"), ValueError, ["`method`", "'eig'", "'eigh'"]),
    "unknown resolution": (lambda: spectrum(GRAPHENE, K0, E3, resolve="atoms"), ValueError, ["`resolve`", "'atom'"]),
    "amplitude and resolution": (
        lambda: spectrum(GRAPHENE, K0, E3, resolve="atom", amplitude=np.ones((1, 2))), ValueError,
        ["`resolve`", "'atom'"],
    ),
    "amplitude of another model": (
        lambda: spectrum(GRAPHENE, K0, E3, amplitude=np.ones((1, 5))), ValueError, ["`amplitude`", "(1, 2)", "(1, 5)"],
    ),
    "budget of zero": (lambda: bands(GRAPHENE, K0, budget=0.0), ValueError, ["`budget`", "> 0", "0"]),
    "label of another lattice": (lambda: k_path(SI, "ΓQ"), ValueError, ["`path`", "X", "'Q'"]),
    "fractions of two columns": (
        lambda: from_fractional(SI, [[0, 0]]), ValueError, ["`fractional`", "(k, 3)", "(1, 2)"],
    ),
    "unit of no length": (lambda: from_cubic([[0, 0, 1]], 0.0), ValueError, ["`a`", "> 0"]),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input(case):
    call, kind, words = WRONG[case]
    with pytest.raises(kind, match="(?s)" + ".*".join(map(re.escape, words))):
        call()


GENERAL = """
convention = "general"
lattice_constant = 3.9
values = { e = 0.1, t = 0.4 }
orbitals = { X = ["r"] }
onsite = { X = { r = { e = 1 } } }
[[bonds]]
pair = ["X", "X"]
length = 3.9
integrals = [ { shells = ["r", "r"], symmetry = "isotropic", value = { t = -1 } } ]
"""
VOGL_FORM = """
convention = "vogl sp3s*"
material = "my silicon"
anion = "Si"
cation = "Si"
lattice_constant = 5.431
[values]
E_s = -4.2
E_p = 1.715
"E_s*" = 6.685
V_ss = -8.3
V_xx = 1.715
V_xy = 4.575
V_sp = 5.7292
"V_s*p" = 5.3749
Delta = 0.045
"""
BASE = 'base = "Si/vogl1983"\n[values]\nV_ss = -8.0\n'


def written(tmp_path, text, name="mine.toml"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_user_table_in_the_three_forms(tmp_path):
    changed = load_table(written(tmp_path, BASE))
    assert float(changed["V_ss"]) == -8.0 and float(changed["V_xx"]) == float(VOGL["V_xx"])

    own = load_table(written(tmp_path, VOGL_FORM))
    assert own.spec.material == "my silicon" and own.spec.name == "mine"
    expected = bands(tight_binding(SI, VOGL), np.array([[0.1, 0.2, 0.3]]))
    np.testing.assert_allclose(bands(tight_binding(SI, own), np.array([[0.1, 0.2, 0.3]])), expected, atol=1e-12)

    general = load_table(written(tmp_path, GENERAL))
    energy = bands(tight_binding(square_lattice(), general, spin_orbit=False), np.array([[0.2, 0.3, 0.0]]))
    assert float(energy[0, 0]) == pytest.approx(0.1 - 0.8 * (np.cos(0.78) + np.cos(1.17)), abs=1e-12)

    text = '{"base": "Si/vogl1983", "values": {"V_ss": -8.0}}'
    assert float(load_table(written(tmp_path, text, "mine.json"))["V_ss"]) == -8.0


WRONG_TABLE = {
    "no TOML": ("values = = 3", ["must be TOML"]),
    "no values": ('base = "Si/vogl1983"', ["'values'", "missing"]),
    "unknown key": (
        BASE.replace("[values]", "lattise_constant = 5\n[values]"),
        ["'lattise_constant'", "'lattice_constant'"],
    ),
    "no number": (BASE.replace("-8.0", '"-8.0"'), ["'V_ss'", "number", "'-8.0'"]),
    "a truth value": (BASE.replace("-8.0", "true"), ["'V_ss'", "number", "True"]),
    "unknown value": (BASE.replace("V_ss", "V_sss"), ["Si/vogl1983", "'V_sss'", "'V_ss'"]),
    "base without table": (BASE.replace("Si/vogl1983", "Si"), ["`table`", "'Si'"]),
    "base of an unknown material": (BASE.replace("Si/", "Sj/"), ["vogl1983", "'Sj'", "Did you mean"]),
    "neither base nor convention": ("values = { a = 1 }", ["base", "convention", "neither"]),
    "unknown convention": (GENERAL.replace("general", "voglish"), ["convention", "'voglish'"]),
    "missing value": (VOGL_FORM.replace("V_xy", "V_zz"), ["'V_xy'", "missing"]),
    "missing anion": (VOGL_FORM.replace("anion", "note"), ["'anion'", "missing"]),
    "unknown orbital": (GENERAL.replace('["r"] }', '["f"] }'), ["orbital of X", "'f'"]),
    "on-site energy of an orbital not there": (GENERAL.replace("{ r = { e", "{ s = { e"), ["onsite", "'s'", "'X'"]),
    "unknown symmetry": (GENERAL.replace('"isotropic"', '"phi"'), ["symmetry", "'phi'"]),
    "missing bonds": (GENERAL.replace("[[bonds]]", "[[note]]"), ["'bonds'", "missing"]),
    "value of a bond not there": (GENERAL.replace("{ t = -1 }", "{ u = -1 }"), ["'u'", "missing"]),
}


@pytest.mark.parametrize("case", WRONG_TABLE)
def test_wrong_user_table(case, tmp_path):
    text, words = WRONG_TABLE[case]
    path = written(tmp_path, text)
    with pytest.raises(ValueError, match="(?s)" + ".*".join(map(re.escape, [str(path), *words]))):
        load_table(path)


def test_user_table_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.toml"):
        load_table(tmp_path / "none.toml")
    with pytest.raises(ValueError, match="must be JSON"):
        load_table(written(tmp_path, "{", "mine.json"))


def test_turned_model_keeps_its_checks():
    with pytest.raises((TypeError, ValueError), match=r"shape|dimension"):
        rotated(GRAPHENE, np.eye(2))
    lattice = tight_binding(square_lattice(), load_parameters("square", "two_orbital"), spin_orbit=False)
    c, s = np.cos(0.35), np.sin(0.35)
    with pytest.raises(ValueError, match="incomplete one"):
        rotated(lattice, np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]))
