"""Density-of-states fingerprints: the published formula, windows, edges, distances, collections, derivatives."""

import json
import re
from math import erf, exp, pi, sqrt

import ase
import ase.io
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointDFTCalculator, SinglePointKPoint
from ase.spectrum.band_structure import BandStructure

import bandjax as bj
from bandjax.cli import main
from bandjax.fingerprints import (
    KERNELS,
    METRICS,
    Levels,
    Window,
    as_window,
    ase_levels,
    density,
    file_levels,
    half_grid,
    joined,
    kernel_value,
    principal_map,
    relative_energies,
)
from bandjax.fingerprints.collection import window_text
from bandjax.fingerprints.density import sampling_error

SILICON = bj.zincblende("Si", 5.431)
VOGL = bj.load_parameters("Si", "vogl1983")
GRID = (6, 6, 6)


def silicon_levels(**given) -> Levels:
    return bj.model_levels(bj.tight_binding(SILICON, VOGL, spin_orbit=False, **given), grid=GRID)


@pytest.fixture(scope="module")
def silicon() -> Levels:
    return silicon_levels()


def edges_of(levels):
    """Band edges by one compiled program."""
    return jax.jit(lambda e: bj.band_edges(levels._replace(energy=e)))(levels.energy)


def published(energy, weight, spins, at, w):
    """D(E) written out term by term, without a library of arrays."""
    total = 0.0
    for k, levels in enumerate(energy):
        for eps in levels:
            x = (eps - at) / w
            total += spins * weight[k] * (0.0 if abs(x) > sqrt(8) else exp(-x * x) / sqrt(pi) / w)
    return total


@pytest.mark.parametrize("window", [pytest.param("fermi", marks=pytest.mark.slow), "edges"])
def test_published_formula_on_stored_bands(window, shared):
    """HSE06 levels on their irreducible mesh, published windows, tail cut included."""
    path = shared / "data" / "dft" / "hse06_Si.npz"
    with np.load(path) as file:
        energy, weights = file["E_hse"], file["weights"] / file["weights"].sum()
    levels = file_levels(path, energies="E_hse", electrons=8)
    top, bottom = energy[:, 3].max(), energy[:, 4].min()
    found = jax.jit(lambda e: bj.fingerprint(levels._replace(energy=e), window, coarse=True))(levels.energy)
    at = {
        "fermi": (top + bottom) / 2 + np.linspace(-5, 5, 513),
        "edges": np.append(top + np.linspace(-2, 0.15, 257), bottom + np.linspace(-0.15, 2, 257)),
    }[window]
    expected = np.array([published(energy, weights, 2, e, 0.05) for e in at])
    assert expected.max() > 1 and np.abs(np.asarray(found) - expected).max() < 1e-12 * expected.max()


def test_published_formula_counts_spins_and_cuts_tails():
    energy = np.array([[[-1.0, 0.3]], [[-0.6, 0.4]]])  # a magnet of one k
    levels = bj.array_levels(energy, electrons=2.0, complete=True)
    reach = sqrt(8) * 0.05
    at = np.array([-1.0 - reach - 1e-9, -1.0 - reach + 1e-9, -0.6, 0.35])
    found = density(levels, at)
    expected = [published([[*energy[0, 0], *energy[1, 0]]], [1.0], 1, e, 0.05) for e in at]
    assert found[0] == 0 and found[1] > 3.7e-3
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
def test_kernels_are_minus_the_derivative_of_occupations(kernel):
    occupation = {  # at x = (ε − μ)/w
        "gaussian": lambda x: (1 - erf(x)) / 2,
        "fermi-dirac": lambda x: 1 / (exp(x) + 1),
        "cold": lambda x: erf(-x - 1 / sqrt(2)) / 2 + exp(-((x + 1 / sqrt(2)) ** 2)) / sqrt(2 * pi) + 0.5,
    }[kernel]
    x = np.linspace(-3, 3, 25)
    slope = [(occupation(v - 1e-5) - occupation(v + 1e-5)) / 2e-5 for v in x]
    np.testing.assert_allclose(kernel_value(x, kernel, np.inf), slope, atol=1e-9)  # error of the difference 1e-10
    wide = np.linspace(-40, 40, 8001)
    assert abs(np.trapezoid(kernel_value(wide, kernel, np.inf), wide) - 1) < 1e-12


def test_windows():
    edges = as_window("edges")
    energy = relative_energies(edges, 0.05)
    assert len(energy) == 514 and energy[[0, 256, 257, 513]] == pytest.approx([-2, 0.15, -0.15, 2])
    assert len(relative_energies(as_window("fermi"), 0.05)) == 513
    assert as_window("vbm:-3:1.5:31+cbm:0:2:11") == (Window("vbm", -3, 1.5, 31), Window("cbm", 0, 2, 11))


def test_half_grid_is_the_whole_grid(silicon):
    whole = np.stack(np.meshgrid(*(np.arange(n) / n for n in GRID), indexing="ij"), axis=-1).reshape(-1, 3)
    model = bj.tight_binding(SILICON, VOGL, spin_orbit=False)
    every = bj.array_levels(bj.bands(model, whole @ np.asarray(model.reciprocal)), electrons=8, complete=True)
    assert len(half_grid(GRID)[0]) == 112 < len(whole)
    at = np.linspace(-8, 4, 100)
    np.testing.assert_allclose(density(silicon, at), density(every, at), rtol=1e-10, atol=1e-10)


def test_band_edges(silicon):
    edges = edges_of(silicon)
    assert abs(edges.vbm) < 1e-3  # the table's zero is the valence-band top
    x = bj.bands(bj.tight_binding(SILICON, VOGL, spin_orbit=False), bj.from_cubic([[2 / 3, 0, 0]], 5.431))
    assert edges.gap == pytest.approx(float(x[0, 4] - edges.vbm), abs=1e-9)  # 2/3 of Γ-X is the lowest of this grid
    assert edges.fermi == pytest.approx(float(edges.vbm + edges.cbm) / 2)
    by_fermi = edges_of(silicon._replace(electrons=None, fermi=float(edges.vbm) + 0.1))
    assert by_fermi.gap == pytest.approx(float(edges.gap)) and by_fermi.fermi == pytest.approx(float(edges.vbm) + 0.1)


def test_band_edges_of_a_magnet_and_a_metal():
    up, down = [[-2.0, -1.0, 3.0]], [[-1.5, 2.0, 4.0]]
    magnet = edges_of(bj.array_levels([up, down], electrons=3))
    assert (magnet.vbm, magnet.cbm, magnet.gap) == (-1.0, 2.0, 3.0)
    sheet = bj.tight_binding(bj.graphene(), bj.load_parameters("graphene", "pz"), spin_orbit=False)
    metal = edges_of(bj.model_levels(sheet, grid=(12, 12, 1)))
    assert metal.gap == 0 and np.isnan(metal.vbm) and abs(metal.fermi) < 1e-9


@pytest.mark.slow
def test_band_edges_of_meshes_as_they_come():
    """A wave vector of weight 0 (a band's beside a mesh), electrons that end inside a level, and float32."""
    with_band = bj.array_levels([[-1.0, 2.0], [-1.2, 2.5], [-0.9, 1.9]], [0.5, 0.5, 0.0], electrons=2)
    assert bj.band_edges(with_band).gap == pytest.approx(3.0)
    for electrons in (2.5, 3):
        assert bj.band_edges(bj.array_levels([[-1.0, 2.0, 5.0]], electrons=electrons)).gap == 0
    table = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), bj.load_parameters("graphene", "pz"))
    atoms = bj.graphene()
    places = {"positions": np.asarray(atoms.positions, np.float32), "cell": np.asarray(atoms.cell[:], np.float32)}
    sheet = bj.model_levels(bj.tight_binding(atoms, table, spin_orbit=False, **places), grid=(12, 12, 1))
    assert sheet.energy.dtype == np.float32 and bj.band_edges(sheet).gap == 0


@pytest.mark.slow
def test_an_atom_of_a_supercell_has_the_fingerprint_of_the_cell():
    """Whatever the order and the origin of its atoms; the supercell's coarser grid holds the same wave vectors."""
    cell = bj.zincblende("GaAs", 5.6533)
    large = cell * (2, 1, 1)
    large = large[np.array([3, 0, 2, 1])]
    large.translate([0.3, -0.2, 0.1])
    options = {"per": "atom", "spin_orbit": False, "smearing": 0.3, "coarse": True}
    one = bj.fingerprint_structures([cell], "vogl1983", "vbm:-3:3:41", grid=(4, 2, 2), **options)
    two = bj.fingerprint_structures([large], "vogl1983", "vbm:-3:3:41", grid=(2, 2, 2), **options)
    np.testing.assert_allclose(two["fingerprint"].values, one["fingerprint"].values, rtol=1e-9, atol=1e-10)


@pytest.mark.slow
def test_what_is_refused_loses_nothing(tmp_path, capsys):
    tin = bj.zincblende("Sn", 6.49)  # with spin-orbit no gap
    ase.io.write(
        tmp_path / "s.extxyz", [bj.zincblende("Si", 5.431), tin, ase.Atoms("Cu", pbc=True, cell=np.eye(3) * 3)]
    )
    line = [
        "fingerprint",
        tmp_path / "s.extxyz",
        "-o",
        tmp_path / "f.nc",
        "--table",
        "vogl1983",
        "--window",
        "vbm:-2:1:31",
        "--grid",
        2,
        2,
        2,
    ]
    assert main([*map(str, line), "--smearing", "0.3", "--coarse"]) == 2
    told = capsys.readouterr().err
    assert "holds the other" in told and "Cu-2" in told
    assert "Si2-0" in bj.read_collection(tmp_path / "f.nc")["structure"].values


def test_settings_are_read_back_and_compared():
    for window in ("fermi", "edges", "vbm:-3:1.5:31+cbm:0:2:11", "absolute:-0.1234567891:1e1:7"):
        assert as_window(window_text(as_window(window))) == as_window(window)
    one, two = (bj.make_collection(np.eye(3, 40), "abc", window="fermi:-1:1:40", source=s) for s in ("vogl1983", "PBE"))
    with pytest.raises(ValueError, match="`mixed=True` compares them"):
        bj.nearest_neighbours(one, two, count=1)
    assert (bj.nearest_neighbours(one, two, count=1, mixed=True).index[:, 0] == np.arange(3)).all()
    assert joined([one, two], mixed=True).attrs["source"] == "vogl1983; PBE"
    pieces = bj.make_collection(np.eye(3, 514), "abc", window="edges")
    with pytest.raises(ValueError, match="several pieces"):
        bj.nearest_neighbours(pieces, count=1, metric="wasserstein")


def test_fermi_level_holds_the_electrons():
    """And its derivative is that of the implicit function."""
    energy = jnp.asarray(np.random.default_rng(0).normal(size=(20, 3)))

    @jax.jit
    def level(shift):
        moved = energy.at[:, 1].add(shift)
        return bj.band_edges(Levels(moved, jnp.full(20, 0.05), 2.6, 2), smearing=0.2).fermi

    held = sum(2 * 0.05 * (1 - erf((e - float(level(0.0))) / 0.2)) / 2 for e in np.asarray(energy).ravel())
    assert held == pytest.approx(2.6, abs=1e-12)
    by_difference = (level(1e-5) - level(-1e-5)) / 2e-5
    assert by_difference > 0.1 and jax.grad(level)(0.0) == pytest.approx(float(by_difference), abs=1e-8)


def sheared(x):
    """Strain of less symmetry than the crystal: stretched along x, sheared in the plane."""
    return jnp.eye(3) + x * jnp.array([[1.0, 0.4, 0.0], [0.4, 0.0, 0.0], [0.0, 0.0, 0.0]])


STRAINED = {
    "structure": lambda x: silicon_levels(cell=jnp.asarray(SILICON.cell[:]) @ sheared(x), positions=jnp.asarray(SILICON.positions) @ sheared(x)),
    "table": lambda x: bj.model_levels(
        bj.tight_binding(SILICON, VOGL.replace(V_xy=VOGL.values["V_xy"] + x), spin_orbit=False), grid=GRID
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", STRAINED)
@pytest.mark.parametrize(
    "metric", [None, "mmd", *(pytest.param(m, marks=pytest.mark.slow) for m in METRICS if m != "mmd")]
)
def test_gradients_of_fingerprints_and_distances(what, metric, silicon):
    """Uncut kernel, fixed alignment: AD = central difference to 1e-6 of its size (the step leaves 1e-7 of curvature)."""
    edges = bj.band_edges(silicon)
    options = {"edges": edges, "cut": np.inf, "align": "fixed", "coarse": True, "smearing": 0.2}
    other = bj.fingerprint(silicon_levels(potential=jnp.array([0.2, -0.1])), "vbm:-4:3:101", **options)
    mix = np.random.default_rng(1).normal(size=101)

    def value(x):
        found = bj.fingerprint(STRAINED[what](x), "vbm:-4:3:101", **options)
        return found @ mix if metric is None else bj.fingerprint_distance(found, other, metric, step=0.07)

    step = 5e-6
    by_difference = float(value(step) - value(-step)) / (2 * step)
    by_ad = float(jax.jvp(value, (0.0,), (1.0,))[1])
    assert float(jax.grad(value)(0.0)) == pytest.approx(by_ad, rel=1e-9)
    assert abs(by_difference) > 1e-3 and by_ad == pytest.approx(by_difference, rel=1e-6)


@pytest.mark.slow
def test_alignment_moves_the_window():
    """Levels that move as a whole keep a fingerprint whose window follows; with a fixed one it changes as dD/dE says."""
    energy = np.random.default_rng(2).normal(size=(30, 4)) + np.array([-3.0, -2.6, 2.0, 2.5])

    def value(shift, align):
        levels = Levels(jnp.asarray(energy) + shift, jnp.full(30, 1 / 30), 4.0, 2)
        return bj.fingerprint(levels, "vbm:-1:1:41", align=align, cut=np.inf, coarse=True)

    _, follow = jax.jvp(lambda s: value(s, "follow"), (0.0,), (1.0,))
    _, fixed = jax.jvp(lambda s: value(s, "fixed"), (0.0,), (1.0,))
    assert np.abs(follow).max() < 1e-9 and np.abs(fixed).max() > 1


def test_distances_by_hand():
    at = np.linspace(-3, 3, 601)
    step = at[1] - at[0]
    a, b = (np.exp(-((at - m) ** 2) / 0.02) for m in (0.0, 0.4))
    assert bj.fingerprint_distance(a, b) == pytest.approx(np.sqrt(((a - b) ** 2).sum()))
    assert bj.fingerprint_distance(a, b, "manhattan", step=step) == pytest.approx(
        2 * 0.1 * sqrt(2 * np.pi) * erf(sqrt(2)), rel=5e-4
    )
    assert bj.fingerprint_distance(a, b, "cosine") == pytest.approx(
        1 - exp(-(0.4**2) / 0.04), abs=1e-9
    )  # overlap of Gaussians
    assert bj.fingerprint_distance(a, b, "wasserstein", step=step) == pytest.approx(
        0.4, abs=1e-9
    )  # what was moved how far
    sigma, v = 0.2, 0.01  # MMD of two normal distributions of variance v: closed form
    wide = sigma**2 + 2 * v
    expected = sqrt(2 * sigma / sqrt(wide) * (1 - exp(-(0.4**2) / (2 * wide))))
    mmd = {"metric": "mmd", "step": step, "sigma_mmd": sigma, "scale": True}
    assert bj.fingerprint_distance(a, b, **mmd) == pytest.approx(expected, rel=1e-6)
    for metric in METRICS:
        assert bj.fingerprint_distance(a, b, metric, step=step, max_shift=0.5) < 1e-6
        assert bj.fingerprint_distance(a, 3 * b, metric, step=step, max_shift=0.5, scale=True) < 1e-6
    assert bj.fingerprint_distance(a, b, step=step, max_shift=0.3) > 0.5


def test_vectors_of_a_search_have_the_distance():
    rng = np.random.default_rng(3)
    features = rng.random((5, 40))
    for metric in METRICS:
        collection = bj.make_collection(features, list("abcde"), window="fermi:-1:1:40")
        found = bj.nearest_neighbours(collection, count=4, metric=metric)
        step = collection["step"].values
        for row in range(5):
            direct = [
                float(bj.fingerprint_distance(features[row], features[i], metric, step=step)) for i in found.index[row]
            ]
            assert row not in found.index[row] and direct == sorted(direct)
            np.testing.assert_allclose(direct, found.distance[row], rtol=1e-6)


def test_collections_join_and_map():
    rng = np.random.default_rng(4)
    one, two = (bj.make_collection(rng.random((3, 40)), names, window="fermi:-1:1:40") for names in ("abc", "def"))
    whole = joined([one, two])
    assert list(whole["structure"].values) == list("abcdef") and whole["step"].dims == ("energy",)
    points, share = principal_map(whole)
    assert points.shape == (6, 2) and 0 < share.sum() < 1
    other = bj.make_collection(rng.random((3, 40)), "xyz", window="fermi:-1:1:40", smearing=0.1)
    with pytest.raises(ValueError, match="must have the same `smearing`"):
        joined([one, other])
    with pytest.raises(ValueError, match="must have the same `smearing`"):
        bj.nearest_neighbours(one, other)


def test_structures_of_a_file(tmp_path, capsys):
    """The command line: fingerprints of a file, neighbours; the batch agrees with one at a time."""
    structures = []
    for a in (5.35, 5.43, 5.46, 5.55):
        structures.append(bj.zincblende("Si", a))
        structures[-1].info["name"] = f"Si {a}"
    structures.append(bj.zincblende("Ge", 5.658))
    ase.io.write(tmp_path / "s.extxyz", structures)
    common = [
        "--table",
        "vogl1983",
        "--no-spin-orbit",
        "--grid",
        "6",
        "6",
        "6",
        "--window",
        "vbm:-3:3:61",
        "--smearing",
        "0.1",
        "--coarse",
    ]
    assert main(["fingerprint", str(tmp_path / "s.extxyz"), "-o", str(tmp_path / "f.nc"), *common, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["structures"][-1] == "Ge2-4"
    collection = bj.read_collection(tmp_path / "f.nc")
    alone = bj.model_levels(bj.tight_binding(structures[2], VOGL, spin_orbit=False), grid=GRID)
    expected = bj.fingerprint(alone, "vbm:-3:3:61", smearing=0.1, coarse=True)
    np.testing.assert_allclose(collection["fingerprint"].values[2], expected, rtol=1e-9, atol=1e-9)
    assert collection["gap"].values[2] == pytest.approx(float(bj.band_edges(alone).gap))
    assert main(["nearest", str(tmp_path / "f.nc"), "--of", "Si 5.43", "--count", "4", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["Si 5.43"]
    assert [row["name"] for row in found] == ["Si 5.46", "Si 5.35", "Si 5.55", "Ge2-4"]


def test_levels_of_ase():
    points = [SinglePointKPoint(w, 0, k, eps_n=np.array([-1.0 - k, 0.5 + k])) for k, w in enumerate((0.25, 0.75))]
    atoms = SILICON.copy()
    atoms.calc = SinglePointDFTCalculator(atoms, efermi=-0.2, kpts=points, bzkpts=np.zeros((2, 3)))
    levels = ase_levels(atoms)
    np.testing.assert_allclose(levels.weight, (0.25, 0.75))
    edges = bj.band_edges(levels)
    assert (edges.vbm, edges.cbm, edges.fermi) == (-1.0, 0.5, -0.2)
    path = SILICON.cell.bandpath("GX", npoints=7)
    lines = BandStructure(path, np.zeros((1, 7, 3)) + np.array([-1.0, 0.0, 2.0]), reference=0.5)
    edges = bj.band_edges(ase_levels(lines))
    assert (edges.vbm, edges.cbm) == (0.0, 2.0)


def test_levels_of_files(tmp_path, capsys):
    """The command line takes levels of other programs."""
    rng = np.random.default_rng(6)
    for name, moved in (("a", 0.0), ("b", 0.1), ("c", 0.5)):
        np.savez(tmp_path / f"{name}.npz", E=rng.normal([-1.0 - moved, 2.0], 0.2, (300, 2)), weights=np.ones(300))
    files = [str(tmp_path / f"{n}.npz") for n in "abc"]
    common = ["-o", str(tmp_path / "f.nc"), "--window", "cbm:-6:-0.7:107", "--smearing", "0.2", "--json"]
    assert main(["fingerprint", *files, "--electrons", "2", *common]) == 0
    assert len(json.loads(capsys.readouterr().out)["gap"]) == 3
    assert (
        main(["nearest", str(tmp_path / "f.nc"), "--of", "a", "--metric", "wasserstein", "--count", "2", "--json"]) == 0
    )
    assert [row["name"] for row in json.loads(capsys.readouterr().out)["a"]] == ["b", "c"]
    for more, words in (
        ([], "knows neither"),
        (["--electrons", "2", "--per", "atom"], "`--per` must come with structures"),
    ):
        assert main(["fingerprint", *files, *more, *common]) == 2
        assert words in capsys.readouterr().err
    assert (
        main(["fingerprint", files[0], str(tmp_path / "s.extxyz"), *common]) == 2
        and "must all be levels" in capsys.readouterr().err
    )
    (tmp_path / "s.extxyz").write_text("")
    assert main(["fingerprint", str(tmp_path / "s.extxyz"), *common]) == 2 and "`--table`" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "spin_orbit"), [("vogl1983", False), ("jancu1998", True)])
def test_estimate_of_too_few_wave_vectors(name, spin_orbit):
    """Within the factors that `SAMPLING` gives, against a much denser grid; spin-orbit's split levels do not count twice (0.16, not 0.27)."""
    table = bj.load_parameters("GaAs", name)
    model = bj.tight_binding(bj.zincblende("GaAs", table.spec.lattice_constant), table, spin_orbit=spin_orbit)
    few, many = (bj.model_levels(model, grid=(n,) * 3) for n in (8, 20 if name == "vogl1983" else 16))
    energy = np.linspace(-5.0, 5.0, 201) + float(bj.band_edges(many).fermi)
    found, converged = (np.asarray(density(x, energy, smearing=0.1)) for x in (few, many))
    missed = np.abs(found - converged).sum() / converged.sum()
    assert 0.2 < sampling_error(few, energy, 0.1) < 0.3
    assert 0.6 < missed / sampling_error(few, energy, 0.1) < 1.4


def test_bad_input(silicon, tmp_path, capsys):
    metal = bj.array_levels(np.random.default_rng(5).normal(size=(112, 10)), electrons=2, complete=True)
    cases = [
        (lambda: bj.fingerprint(metal, "vbm"), "must count from 'fermi' or 'absolute' for a metal"),
        (lambda: bj.fingerprint(silicon, "vbm", smearing=0.02), r"with 112 of them the density is off by about \d+%: some \d+ are needed for 20%"),
        (lambda: bj.fingerprint(silicon, "vbm:40:50:11"), "holds none; the bands run from"),
        (lambda: bj.fingerprint(bj.array_levels(silicon.energy[:, :6], silicon.weight, electrons=8), "vbm"), "since bands may be missing"),
        (lambda: bj.fingerprint(silicon, "vbn"), "Did you mean 'vbm'"),
        (lambda: bj.fingerprint(silicon, Window("vbm", 1.0, -1.0)), "must rise"),
        (lambda: bj.fingerprint(silicon._replace(electrons=None)), "knows neither"),
        (lambda: bj.array_levels(np.zeros((4, 3)), electrons=8), "must lie in 0 … 6"),
        (lambda: bj.array_levels(np.zeros(4)), "must have shape"),
        (lambda: bj.array_levels(np.zeros((2, 1)), [1.0, -1.0]), "≥ 0"),
        (lambda: bj.fingerprint_distance(np.ones(3), np.ones(4)), "must have 3 energies"),
        (lambda: bj.fingerprint_distance(np.ones(9), np.ones(9), step=0.1, max_shift=2.0), "between one step"),
        (lambda: bj.fingerprint_structures([], "vogl1983"), "one structure or more"),
        (lambda: bj.fingerprint_structures([bj.zincblende("Si", 5.4), ase.Atoms("Cu", pbc=True, cell=np.eye(3) * 3)], "vogl1983"), "Structure Cu-1"),
        (lambda: joined([]), "one collection or more"),
    ]  # fmt: skip
    for call, words in cases:
        with pytest.raises(ValueError) as refused:
            call()
        assert re.search(words, str(refused.value)), words
    with pytest.raises(TypeError, match="must be an ASE calculator"):
        ase_levels(SILICON)
    (tmp_path / "no.nc").write_text("text")
    (tmp_path / "no.npz").write_text("text")
    with pytest.raises(ValueError, match=r"must be a \.npz file"):
        file_levels(tmp_path / "no.npz")
    for line, words in (
        (["nearest", tmp_path / "no.nc"], "must be a complete NetCDF4 file"),
        (["nearest", tmp_path / "none.nc"], "does not exist"),
        (["fingerprint", tmp_path / "no.nc", "-o", tmp_path / "f.nc", "--table", "vogl1983"], "must hold structures that ASE reads"),
        (["fingerprint", tmp_path / "no.nc", "-o", tmp_path / "f.csv", "--table", "vogl1983"], "must name a .nc file"),
    ):  # fmt: skip
        assert main([str(w) for w in line]) == 2
        assert words in capsys.readouterr().err
