"""Energies, gaps, masses and tables agree with values that other programs and papers give.

The eigenvalues of the reference folder were computed with two plain-NumPy constructions and checked against two public
codes (its README says which); the folder is not part of the repository, so these tests skip without it. The formulas at
Γ and X at the end need no folder.
"""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from crystals import HANDBOOK, SYMMETRIC, structure

from bandjax.hamiltonian import tight_binding
from bandjax.materials import list_parameters, load_parameters
from bandjax.spectrum import bands, effective_masses, from_cubic
from bandjax.structure import zincblende
from bandjax.units import HBAR2_OVER_M

FILES = (
    ("Si", "vogl1983", "Si_sp3s_vogl1983"),
    ("Ge", "vogl1983", "Ge_sp3s_vogl1983"),
    ("GaAs", "vogl1983", "GaAs_sp3s_vogl1983"),
    ("Si", "jancu1998", "Si_sp3d5s_jancu1998"),
    ("GaAs", "jancu1998", "GaAs_sp3d5s_jancu1998"),
    ("InAs", "boykin2004", "InAs_sp3d5s_boykin2004"),
    ("Ge", "niquet2009", "Ge_sp3d5s_niquet2009"),
)
ENERGY_TOLERANCE = 1e-9  # eV: rounding of a 40 × 40 diagonalisation with levels of 40 eV is near 1e-13
MASS_TOLERANCE = 1e-3  # relative: the reference differentiates numerically, ours is perturbation theory


@pytest.fixture(scope="module")
def reference(shared):
    folder = shared / "reference"
    if not folder.is_dir():
        pytest.skip(f"needs the reference eigenvalues: no folder {folder}")
    return folder


def read(folder, file):
    return json.loads((folder / f"eigenvalues_{file}.json").read_text(encoding="utf-8"))


def model_of(material, table, data, spin_orbit):
    return tight_binding(zincblende(material, data["a_A"]), load_parameters(material, table), spin_orbit=spin_orbit)


def test_every_file_of_eigenvalues_is_compared(reference):
    found = {path.stem.removeprefix("eigenvalues_") for path in reference.glob("eigenvalues_*.json")}
    assert found == {file for _, _, file in FILES}


def bands_at(model, k, a):
    """Energies at points of unit 2π/a; always 48 of them, the first again where there are fewer: one program for all."""
    return np.asarray(bands(model, from_cubic(np.resize(k, (48, 3)), a)))[: len(k)]


@pytest.mark.parametrize("part", ["no_so", "with_so"])
@pytest.mark.parametrize(("material", "table", "file"), FILES, ids=[f for *_, f in FILES])
def test_eigenvalues(reference, material, table, file, part):
    data = read(reference, file)
    found = data[part]
    named = list(data["points"])
    assert set(named) == {"Gamma", "X", "L", "K", "W", "U"} and len(data["path_k"]) == 41
    k = [*(data["points"][p] for p in named), found["generic_k"]["k"], *data["path_k"]]
    expected = [
        *(found["eigenvalues"][p] for p in named),
        found["generic_k"]["eigenvalues"],
        *found["path_eigenvalues"],
    ]
    model = model_of(material, table, data, part == "with_so")
    energy = bands_at(model, k, data["a_A"])
    assert energy.shape == (48, found["n_bands"])
    np.testing.assert_allclose(energy, np.sort(expected, axis=1), rtol=0, atol=ENERGY_TOLERANCE)


@pytest.mark.parametrize(("material", "table", "file"), FILES, ids=[f for *_, f in FILES])
def test_gap_splitting_and_masses(reference, material, table, file):
    data = read(reference, file)
    part, expected = data["with_so"], data["with_so"]["analysis"]
    model, valence = model_of(material, table, data, True), part["n_valence"]
    lowest = expected["CBM_k_2pi_a"]
    energy = bands_at(model, [[0, 0, 0], lowest], data["a_A"])
    top = energy[0, valence - 1]
    assert top == pytest.approx(expected["VBM_Gamma"], abs=ENERGY_TOLERANCE)
    assert energy[1, valence] - top == pytest.approx(expected["gap_eV"], abs=ENERGY_TOLERANCE)
    assert energy[0, valence] - top == pytest.approx(expected["direct_gap_Gamma_eV"], abs=ENERGY_TOLERANCE)
    assert top - energy[0, valence - 5] == pytest.approx(expected["Delta_SO_Gamma_eV"], abs=ENERGY_TOLERANCE)

    for name, direction in {"100": [1, 0, 0], "110": [1, 1, 0], "111": [1, 1, 1]}.items():
        mass = np.asarray(effective_masses(model, np.zeros((1, 3)), direction))[0]
        holes = np.sort(-mass[valence - 4 : valence])
        found = {"lh": holes[:2].mean(), "hh": holes[2:].mean(), "so": -mass[valence - 6 : valence - 4].mean()}
        for kind, value in found.items():
            assert value == pytest.approx(expected[f"m_{kind}_{name}"], rel=MASS_TOLERANCE), (kind, name)
    if "m_l_CBM" in expected:
        along = np.array(lowest)
        across = np.cross(along, [0.0, 0.0, 1.0])
        k = from_cubic([lowest], data["a_A"])
        found = [float(effective_masses(model, k, d)[0, valence]) for d in (along, across)]
        assert found == pytest.approx([expected["m_l_CBM"], expected["m_t_CBM"]], rel=MASS_TOLERANCE)
    else:
        # conduction bands this light bend away from their parabola within the reference's own step of 0.002 · 2π/a
        # (0.2 % for InAs): the same difference agrees to rounding, its limit of small steps is our mass
        def by_difference(step):
            e = bands_at(model, [[-step, 0, 0], [0, 0, 0], [step, 0, 0]], data["a_A"])[:, valence]
            return float(HBAR2_OVER_M / (e[0] + e[2] - 2 * e[1]) * (2 * np.pi * step / data["a_A"]) ** 2)

        assert by_difference(2e-3) == pytest.approx(expected["m_e_Gamma_lowest_CB"], rel=1e-6)
        mass = float(effective_masses(model, np.zeros((1, 3)), [1, 0, 0])[0, valence])
        assert mass == pytest.approx((4 * by_difference(5e-4) - by_difference(1e-3)) / 3, rel=1e-5)


# How the reference folder writes the names of values (left) and how the package does; elements have one name where the
# folder has one for anion and one for cation.
SP3S = {"E_sa": "E_sa", "E_pa": "E_pa", "E_sc": "E_sc", "E_pc": "E_pc", "E_ssa": "E_s*a", "E_ssc": "E_s*c"}
SP3S |= {"V_ss": "V_ss", "V_xx": "V_xx", "V_xy": "V_xy", "V_sapc": "V_sapc", "V_scpa": "V_scpa"}
SP3S |= {"V_ssapc": "V_s*apc", "V_passc": "V_pas*c", "Delta_a": "Delta_a", "Delta_c": "Delta_c"}
SP3S_ELEMENT = {"E_sa": "E_s", "E_sc": "E_s", "E_pa": "E_p", "E_pc": "E_p", "E_ssa": "E_s*", "E_ssc": "E_s*"}
SP3S_ELEMENT |= {"V_ss": "V_ss", "V_xx": "V_xx", "V_xy": "V_xy", "V_sapc": "V_sp", "V_scpa": "V_sp"}
SP3S_ELEMENT |= {"V_ssapc": "V_s*p", "V_passc": "V_s*p", "Delta_a": "Delta", "Delta_c": "Delta"}
BOND = {"ss": "ss", "stst": "s*s*", "pps": "pps", "ppp": "ppp", "dds": "dds", "ddp": "ddp", "ddd": "ddd"}
SP3D5S = BOND | {"sastc": "sas*c", "stasc": "s*asc", "sapc": "sapc", "scpa": "scpa", "stapc": "s*apc"}
SP3D5S |= {"stcpa": "s*cpa", "sadc": "sadc", "scda": "scda", "stadc": "s*adc", "stcda": "s*cda", "padcs": "padcs"}
SP3D5S |= {"pcdas": "pcdas", "padcp": "padcp", "pcdap": "pcdap", "lambda_a": "lambda_a", "lambda_c": "lambda_c"}
SP3D5S |= {"E_s_a": "E_s_a", "E_p_a": "E_p_a", "E_d_a": "E_d_a", "E_st_a": "E_s*_a"}
SP3D5S |= {"E_s_c": "E_s_c", "E_p_c": "E_p_c", "E_d_c": "E_d_c", "E_st_c": "E_s*_c"}
SP3D5S_ELEMENT = BOND | {"sastc": "ss*", "stasc": "ss*", "sapc": "sp", "scpa": "sp", "stapc": "s*p", "stcpa": "s*p"}
SP3D5S_ELEMENT |= {"sadc": "sd", "scda": "sd", "stadc": "s*d", "stcda": "s*d", "padcs": "pds", "pcdas": "pds"}
SP3D5S_ELEMENT |= {"padcp": "pdp", "pcdap": "pdp", "lambda_a": "lambda", "lambda_c": "lambda"}
SP3D5S_ELEMENT |= {"E_s_a": "E_s", "E_p_a": "E_p", "E_d_a": "E_d", "E_st_a": "E_s*"}
SP3D5S_ELEMENT |= {"E_s_c": "E_s", "E_p_c": "E_p", "E_d_c": "E_d", "E_st_c": "E_s*"}
NIQUET_SIGE = BOND | {"sp": "sapc", "ps": "scpa", "sd": "sadc", "ds": "scda", "sst": "sas*c", "sts": "s*asc"}
NIQUET_SIGE |= {"stp": "s*apc", "pst": "s*cpa", "std": "s*adc", "dst": "s*cda", "pds": "padcs", "dps": "pcdas"}
NIQUET_SIGE |= {"pdp": "padcp", "dpp": "pcdap"}
EXPONENT = {"ss": "ss", "sst": "ss*", "stst": "s*s*", "sp": "sp", "stp": "s*p", "sd": "sd", "std": "s*d", "pps": "pps"}
EXPONENT |= {"ppp": "ppp", "pds": "pds", "pdp": "pdp", "dds": "dds", "ddp": "ddp", "ddd": "ddd"}
STRAIN = {"alpha_s": "alpha_s", "alpha_p": "alpha_p", "alpha_d": "alpha_d", "alpha_st": "alpha_s*"}
STRAIN |= {n: n for n in ("beta_p0", "beta_p1", "beta_pd0", "beta_pd1", "beta_d0", "beta_sp0", "beta_sd0")}
STRAIN |= {"beta_stp0": "beta_s*p0", "beta_std0": "beta_s*d0"}

SETS = {
    "sp3s_vogl1983": "vogl1983",
    "sp3s_klimeck2000": "klimeck2000",
    "sp3d5s_jancu1998": "jancu1998",
    "sp3d5s_boykin2004": "boykin2004",
    "sp3d5s_niquet2009": "niquet2009",
}
ELEMENTS = ("C", "Si", "Ge", "Sn", "Si-VB")


@pytest.fixture(scope="module")
def parameters(reference):
    return json.loads((reference / "parameters.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("theirs", "ours"), SETS.items())
def test_tables_hold_the_published_values(parameters, theirs, ours):
    materials = parameters["tables"][theirs]["materials"]
    single = {m for m in materials if not m.startswith("SiGe_")}
    assert {e.material for e in list_parameters() if e.table == ours} == single
    for material in single:
        table = load_parameters(material, ours)
        expected = dict(materials[material]["values"])
        assert table.spec.lattice_constant == expected.pop("a", None)
        element = material in ELEMENTS
        names = (SP3S_ELEMENT if element else SP3S) if "sp3s" in theirs else (SP3D5S_ELEMENT if element else SP3D5S)
        energies = set(table.energies)
        for name, value in expected.items():
            assert float(table[names[name]]) == value, (material, name)
            energies.discard(names[name])
        assert not energies, f"{material} has values that the reference lacks: {energies}"
        uncertain = {names[n] for n in materials[material].get("uncertain", {}) if n in names}
        assert uncertain == dict(table.spec.state).keys(), material


@pytest.mark.parametrize("material", ["Si", "Ge"])
def test_niquet_strain_constants(parameters, material):
    table, data = load_parameters(material, "niquet2009"), parameters["tables"]["sp3d5s_niquet2009"]
    expected = {f"n_{EXPONENT[n]}": v for n, v in data["eta"][material].items()}
    expected |= {STRAIN[n]: v for n, v in data["onsite_strain"][material].items()}
    assert {n: float(table[n]) for n in table.values if n not in table.energies} == expected


def test_boykin_strain_constants(parameters):
    strain = parameters["strain"]
    expected = {}
    for number in (1, 2):
        exponents = strain[f"eta_boykin_Si_variant{number}"]
        expected |= {f"variant{number}.n_{EXPONENT[n]}": v for n, v in exponents.items() if n in EXPONENT}
    couplings = {n.replace("st", "s*").replace("_", ""): v for n, v in strain["boykin_diagonal_C"]["Si"].items()}
    expected |= {f"variant1.C_{'ss*' if n == 'ss*' else n}": v for n, v in couplings.items()}
    table = load_parameters("Si", "boykin2004")
    assert {n: float(table[n]) for n in table.values if n not in table.energies} == expected
    assert dict(table.spec.laws[0].energy_shift) == {"Si": strain["boykin_diagonal_C"]["E_shift_eV"]["Si"]}

    table = load_parameters("Ge", "boykin2004")
    expected = {f"n_{EXPONENT[n]}": v for n, v in strain["eta_boykin_Ge"].items() if n in EXPONENT}
    couplings = {n.replace("st", "s*").replace("_", ""): v for n, v in strain["boykin_diagonal_C"]["Ge"].items()}
    expected |= {f"C_{n}": v for n, v in couplings.items()}
    assert {n: float(table[n]) for n in table.values if n not in table.energies} == expected


def test_the_silicon_germanium_pair(parameters):
    niquet = parameters["tables"]["sp3d5s_niquet2009"]
    table = load_parameters(("Si", "Ge"), "niquet2009")
    bond = {n: v for n, v in niquet["SiGe_bond"].items() if n != "d0"}
    assert {n: float(table[f"SiGe.{NIQUET_SIGE[n]}"]) for n in bond} == bond
    assert {n: float(table[f"SiGe.n_{EXPONENT[n]}"]) for n in niquet["eta"]["SiGe"]} == niquet["eta"]["SiGe"]
    assert float(table["SiGe.offset"]) == niquet["onsite_strain"]["VBO_Ge_shift_eV"]
    assert next(b.length for b in table.spec.bonds if b.pair == ("Si", "Ge")) == niquet["SiGe_bond"]["d0"]

    expected = parameters["tables"]["sp3d5s_boykin2004"]["materials"]["SiGe_Si_anion_Ge_cation"]["values"]
    table = load_parameters(("Si", "Ge"), "boykin2004")
    for name, value in expected.items():
        if name in SP3D5S and not name.startswith(("E_", "lambda")):
            assert float(table[f"SiGe.{SP3D5S[name]}"]) == value, name
    assert next(b.length for b in table.spec.bonds if b.pair == ("Si", "Ge")) == pytest.approx(
        np.sqrt(3) / 4 * expected["a"], abs=1e-5
    )


def test_every_listed_table_gives_bands():
    """No table is without a crystal, and none gives NaN; the count is written out so that a lost material shows."""
    entries = list_parameters()
    count = {name: sum(e.table == name for e in entries) for name in {e.table for e in entries}}
    assert count == {
        **{"vogl1983": 16, "klimeck2000": 16, "jancu1998": 12, "boykin2004": 4, "niquet2009": 2},
        **{"pbe_sp3s": 2, "pbe_sp3d5s": 2},
        **{"pz": 3, "single_orbital": 3, "two_orbital": 3},
    }
    for entry in entries:
        table = load_parameters(entry.material, entry.table)
        assert entry.values <= len(table.values) and entry.uncertain == len(table.spec.state)
        assert (table.spec.lattice_constant is None) == (entry.table == "klimeck2000" and entry.material in HANDBOOK)


@pytest.mark.slow
@pytest.mark.parametrize("entry", list_parameters(), ids=lambda e: f"{e.material}-{e.table}".replace(" ", "_"))
def test_bands_of_every_material_are_finite(entry):
    table = load_parameters(entry.material, entry.table)
    model = tight_binding(structure(entry.material, table), table, spin_orbit=bool(table.spec.spin_orbit))
    energy = bands(model, SYMMETRIC)
    assert bool(jnp.all(jnp.isfinite(energy))) and bool(jnp.all(jnp.diff(energy, axis=1) >= 0))


def test_silicon_at_gamma_and_x_by_hand():
    """Levels at Γ are E_s ± V_ss, E_p ± V_xx and twice E_s*; at X E_p ± V_xy and a 3 × 3 problem, all twice."""
    model = tight_binding(zincblende("Si", 5.431), load_parameters("Si", "vogl1983"), spin_orbit=False)
    found = bands(model, from_cubic([[0, 0, 0], [1, 0, 0]], 5.431))
    gamma = [-4.2 - 8.3, 0.0, 0.0, 0.0, 3.43, 3.43, 3.43, 8.3 - 4.2, 6.685, 6.685]
    np.testing.assert_allclose(found[0], np.sort(gamma), atol=1e-12)
    three = np.linalg.eigvalsh([[-4.2, 0, 5.7292], [0, 6.685, 5.3749], [5.7292, 5.3749, 1.715]])
    x = [*three, *three, 1.715 - 4.575, 1.715 - 4.575, 1.715 + 4.575, 1.715 + 4.575]
    np.testing.assert_allclose(found[1], np.sort(x), atol=1e-12)


def test_gallium_arsenide_at_gamma_by_hand():
    """Two-level problems of anion and cation: s with V_ss; p with Δ/3 (j = 3/2) or −2Δ/3 (j = 1/2) added."""
    model = tight_binding(zincblende("GaAs", 5.6533), load_parameters("GaAs", "vogl1983"))

    def two(a, b, v, times):
        middle, half = (a + b) / 2, np.hypot((a - b) / 2, v)
        return [middle - half, middle + half] * times

    delta_a, delta_c = 0.421, 0.174
    expected = [*two(-8.3431, -2.6569, -6.4513, 2), 8.5914, 8.5914, 6.7386, 6.7386]
    expected += two(1.0414 + delta_a / 3, 3.6686 + delta_c / 3, 1.9546, 4)
    expected += two(1.0414 - 2 * delta_a / 3, 3.6686 - 2 * delta_c / 3, 1.9546, 2)
    np.testing.assert_allclose(bands(model, np.zeros((1, 3)))[0], np.sort(expected), atol=1e-12)
