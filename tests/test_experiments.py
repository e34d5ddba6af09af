"""Every experiment's `smoke` preset runs and writes what it promises. Slow: each compiles a fit of its own."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

ROOT = Path(__file__).resolve().parent.parent
SHIPPED_TABLES = ROOT / "bandjax" / "learning" / "weights" / "buried_sige_tables.json"
pytestmark = pytest.mark.slow


def run(name: str, out: Path) -> dict:
    """Run one experiment as a user would and return its result.json."""
    command = [sys.executable, "-m", f"experiments.{name}", "--preset", "smoke", "--out", str(out)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=900)
    result = json.loads((out / "result.json").read_text(encoding="utf-8"))
    assert result["versions"]["jax"] and result["device"]["platform"] and result["config"]
    return result["metrics"]


def test_recover_bulk(tmp_path):
    metrics = run("recover_bulk", tmp_path)["Si"]
    assert metrics["reached"] > 0.5 and 0.2 < metrics["efficiency"] < 3  # four draws of 12 parameters


def test_fit_inas(tmp_path, shared):
    metrics = run("fit_inas", tmp_path)
    assert {"SO", "LH", "HH"} == set(metrics["sp3s_klimeck2000"]["rms_meV"])
    result = xr.open_dataset(tmp_path / "result_sp3s_klimeck2000.nc", engine="h5netcdf")
    assert result.band_energy.dims == ("kx", "band") and result.kx.to_index().is_monotonic_increasing
    assert result.attrs["n_valence"] == 8 and result.attrs["model"]


def test_fit_bilayer_graphene(tmp_path, shared):
    metrics = run("fit_bilayer_graphene", tmp_path)
    assert 2.5 < metrics[metrics["direction"]]["values"]["gamma0"] < 3.7
    assert any("U" in sentence for sentence in metrics["bias free"]["report"])


def test_invert_stack(tmp_path):
    metrics = run("invert_stack", tmp_path)
    assert metrics["parameters"][:4] == ["fraction", "upper", "lower", "interface"]
    for name in ("upper", "a_parallel"):  # one stack, from a start drawn from the prior
        assert metrics["rms_error"][name] < 6 * metrics["median_bound"][name]


def test_alloy_spectral_function(tmp_path):
    metrics = run("alloy_spectral_function", tmp_path)
    assert metrics["lines"] > 8 and abs(metrics["s_like"]["weight"] - 1) < 0.05
    assert metrics["s_like"]["width"] > 2 * metrics["top"]["width"]  # 64 atoms
    assert (tmp_path / "unfolded_bands.png").stat().st_size > 10_000


def test_separate_interfaces(tmp_path):
    metrics = run("separate_interfaces", tmp_path)
    assert min(found["area"]["interface_distance"] for found in metrics.values()) >= 0.99


def test_design_stack(tmp_path):
    metrics = run("design_stack", tmp_path)
    assert metrics["numbers"]["reached"] == metrics["numbers"]["reached_tighter"] == 2
    assert (
        metrics["numbers"]["program_differs_by"] < 1e-6 and metrics["without_gradient"]["nearest_reached_tighter"] == 0
    )
    assert (tmp_path / "design_stack.png").stat().st_size > 10_000


def test_compare_dft(tmp_path, shared):
    metrics = run("compare_dft", tmp_path)
    refitted, published = metrics["pbe_sp3d5s"], metrics["niquet2009"]
    assert all(refitted[name]["valence_rms_meV"] < published[name]["valence_rms_meV"] for name in refitted)
    assert refitted["sl_Si2Ge2_PBE"]["all"]["cosine"] > 0.9 > published["sl_Si2Ge2_PBE"]["all"]["cosine"]
    assert (tmp_path / "atoms_sl_Si2Ge2_PBE.png").stat().st_size > 10_000


def test_refit_dft(tmp_path, shared):
    metrics = run("refit_dft", tmp_path)
    assert metrics["cost"][-1] < metrics["cost"][0]
    written = json.loads((tmp_path / "pbe_sp3d5s.json").read_text(encoding="utf-8"))
    assert written["refit"]["train"] and written["materials"]["Si"]["values"]["lambda"] == 0.01851


def test_first_principles_surrogate(tmp_path, shared):
    metrics = run("first_principles_surrogate", tmp_path)  # of two files, which teach it nothing of a third
    assert metrics["cost"][-1] < metrics["cost"][0] and metrics["held"]["sl_Si2Ge2_PBE"]["corrected"]["all_l1"] < 1
    assert metrics["scores"]["bulk_Si_PBE"]["valence_rms_meV"] < 25  # the table's: 29
    assert (tmp_path / "correction.npz").is_file() and (tmp_path / "atom_sl_Si2Ge2_PBE.png").stat().st_size > 10_000


def test_reverse_recovery(tmp_path):
    at = run("reverse_recovery", tmp_path)["by_counts"]["30"]
    assert at["minus_log_posterior"] < 8 and at["median_error_over_bound"] < 6  # the prior's entropy is 15.6


def test_refinement_gain(tmp_path):
    metrics = run("refinement_gain", tmp_path)
    assert metrics["images"] == metrics["random"]["tried"] == 1 and metrics["refined"]["reached"] == 1.0
    assert metrics["prior_starts"]["tried"] == 1 and 1 <= metrics["prior_starts"]["mean_starts"] <= 3


def test_spread_tables(tmp_path):
    metrics = run("spread_tables", tmp_path)
    assert (
        metrics["claim"]
        and metrics["Ge"]["of the fit"]["valence after"] < 0.5 * metrics["Ge"]["of the fit"]["valence before"]
    )
    made, shipped = (json.loads(p.read_text()) for p in (tmp_path / "tables.json", SHIPPED_TABLES))
    assert made["names"] == shipped["names"] and np.allclose(
        made["mean"], shipped["mean"], atol=1e-3
    )  # of least squares


def test_other_model(tmp_path):
    metrics = run("other_model", tmp_path)
    assert metrics["other"]["network"]["images"] == 2 and metrics["other"]["refined"]["images"] == 1
    # of the family: a network that knew nothing would miss by a prior's width on average
    assert metrics["family"]["network"]["fraction"]["rmse"] < 0.15


def test_transfer_gaas(tmp_path):
    metrics = run("transfer_gaas", tmp_path)["zero_shot"]
    assert metrics["images"] == 1 and metrics["descriptors"]["fraction"]["refined_rmse"] < 0.15  # the prior's width


def test_closed_loop(tmp_path):
    metrics = run("closed_loop", tmp_path)
    assert metrics["reached"] == 1.0 and metrics["false_alarms"] == 0.0


def test_out_of_distribution(tmp_path):
    metrics = run("out_of_distribution", tmp_path)
    assert metrics["false_alarms"] == 0.0 and metrics["gaas"]["rejected"] == metrics["shuffled"]["rejected"] == 1.0


def test_layer_descriptors(tmp_path):
    metrics = run("layer_descriptors", tmp_path)
    assert metrics["refined"]["bands_meV"]["rms"] < metrics["network"]["bands_meV"]["rms"] < 300


def test_self_consistency(tmp_path):
    metrics = run("self_consistency", tmp_path)  # four steps teach it nothing
    assert metrics["explained"] >= 8 and (tmp_path / "adapted.npz").is_file()
    for name, (centre, sigma) in metrics["true_priors"].items():
        assert abs(metrics["priors"][name][0] - centre) < sigma, name  # they were moved by three and four of these


def test_surrogate_accuracy(tmp_path):
    metrics = run("surrogate_accuracy", tmp_path)
    assert metrics["all"]["r2"] > 0.9 and metrics["all"]["r2_deviation"] > 0.5
    assert metrics["sum_rule"]["largest_error"] < 1e-3 and metrics["sum_rule"]["least_weight"] >= 0


def test_inner_and_interface(tmp_path):
    metrics = run("inner_and_interface", tmp_path)
    assert min(found["difference"] for found in metrics.values()) > 0.02
    assert (tmp_path / "inner_and_interface.png").stat().st_size > 10_000


def test_invert_inas(tmp_path, shared):
    metrics = run("invert_inas", tmp_path)
    # five-fold coarser pixels and two steps from the network: the lattice constant, which nobody tells it, to 2 %
    assert metrics["free"]["values"]["a"] == pytest.approx(6.0583, rel=0.02)
    materials = [name for name, _, _ in metrics["nearest_refined"]]
    assert "InAs" in materials[:3] and (tmp_path / "bands.png").stat().st_size > 10_000


def test_crystal_recovery(tmp_path):
    metrics = run("crystal_recovery", tmp_path)
    assert 0.7 < metrics["covered"]["0.9"]["pooled"] <= 1  # of eight images
    for name in ("a", "top"):  # what a cut measures best
        assert metrics["rmse_in_priors"][name] < metrics["spread_of_truth"][name]


def test_reconstruct_eight_bands(tmp_path):
    found = run("reconstruct_eight_bands", tmp_path)["0.8 x"]
    assert max(found["rms_meV"]) < 15 and found["swapped"] == 0 and found["converged"]
    assert (tmp_path / "start_0.png").stat().st_size > 10_000


def test_reconstruct_fourteen_bands(tmp_path):
    metrics = run("reconstruct_fourteen_bands", tmp_path)  # four of them
    assert max(metrics["rms_meV"]) < 40 and metrics["swapped"] == 0
    assert metrics["compression"]["plane_waves"]["added_found_meV"] < 10


def test_retrieve_two_orbital(tmp_path):
    pytest.importorskip("lmfit", reason="peak fits need lmfit: pip install bandjax[reconstruction]")
    metrics = run("retrieve_two_orbital", tmp_path)
    assert (
        metrics["draws"]["reached"] == 1.0 and 0.2 < metrics["draws"]["efficiency"] < 3
    )  # three draws of nine numbers
    assert metrics["retrieval"]["reached"] == metrics["retrieval"]["starts"] == 2
    assert metrics["face"]["reached"] == 1 and metrics["face"]["largest_difference_in_errors"] < 0.1
    peaks = metrics["peak_fits"]["both"]
    assert peaks["over ours"]["scaled"] > 1 and "scaled" in peaks["over ours, brightness free"]
    start = metrics["retrieval"]["truth"]["t_sigma"]
    assert abs(start - 0.3) > 1e-3  # the truth is drawn: the first start, the priors' centre, is not it
    found = metrics["misfit"]
    assert found["k_z broadening"]["fit"]["neighbour_correlation_sigma"] > 4.5  # the residual says so
    assert {"fit", "fit, brightness free", "mdc", "edc", "both"} == set(found["matrix element"])
    assert found["matrix element"]["fit, brightness free"]["scaled"] < found["matrix element"]["fit"]["scaled"]
    assert (tmp_path / "fermi_surface.png").stat().st_size > 10_000


def test_data_fraction(tmp_path):
    pytest.importorskip("lmfit", reason="peak fits need lmfit: pip install bandjax[reconstruction]")
    points = run("data_fraction", tmp_path)["points"]
    assert [p["pattern"] for p in points] == ["window", "window", "random"]
    assert points[0]["peak_fits"]["ours"]["error_in_priors"] < points[0]["peak_fits"]["both"]["error_in_priors"]
    assert points[0]["efficiency"] < 3 and points[1]["efficiency"] < 3  # two draws of nine numbers
    assert (tmp_path / "data_fraction.png").stat().st_size > 10_000


def test_implicit_field(tmp_path):
    metrics = run("implicit_field", tmp_path)
    row = metrics["rows"]["cut_20_0"]
    assert row["gain_over_flat"] > 10 * row["gain_error"]  # six rounds of a tiny network: it need not beat smoothing
    assert row["seconds_per_epoch"] > 0
    assert metrics["pooled"]["20"]["draws"] == 1 and {"holes_20", "coarse_20", "volume_20"} <= set(metrics["rows"])
    assert metrics["rows"]["holes_20"]["gain_over_flat"] > 10 * metrics["rows"]["holes_20"]["gain_error"]
    assert (tmp_path / "cut_20_fourier_0.png").stat().st_size > 10_000


def test_siren_standin(tmp_path):
    metrics = run("siren_standin", tmp_path)
    found = metrics["retrieval"]["40"]
    assert 0.1 < found["exact"]["efficiency"] < 3 < found["stand_in"]["efficiency"]  # 40 steps train nothing
    history = metrics["training"]["history"]  # one batch scatters by 0.1: ten of them, 0.03
    assert np.mean(history[-10:]) < np.mean(history[:10])
    assert (tmp_path / "standin.png").stat().st_size > 10_000


def test_similarity_superlattices(tmp_path):
    metrics = run("similarity_superlattices", tmp_path)  # two periods, strains in five steps
    assert metrics["entries"] == 10 and metrics["chosen"]["period"] == 1
    assert (tmp_path / "superlattices.png").stat().st_size > 10_000


def test_match_first_principles(tmp_path, dft):
    row = run("match_first_principles", tmp_path)["Si"]["noise 0.05"]
    assert row["distance"] < 0.5 * row["distance_before"]


def test_similarity_first_principles(tmp_path, dft):
    from experiments.similarity_first_principles import folded_silicon

    pytest.importorskip("sklearn", reason="the map needs scikit-learn: pip install bandjax[fingerprints]")
    metrics = run("similarity_first_principles", tmp_path)  # all files, one distance
    found = metrics["claims"]["wasserstein"]
    assert found["element"]["right"] == 10 and found["strain"]["right"] == 4
    assert metrics["nearest"]["Si2Ge2"]["name"] == "Si2Ge2 relaxed" and metrics["yardstick"]["Si"] > 0.5
    # folding alone is more than half of the distance between periods
    assert all(0.5 < row["silicon"] / row["files"] < 1 for row in metrics["folding"]["wasserstein"].values())
    lowest = [float(folded_silicon(layers, "vogl1983")[0].energy.min()) for layers in (2, 4, 8)]
    assert np.ptp(lowest) < 1e-9  # one crystal: Γ₁ in all three cells
    assert (tmp_path / "first_principles.png").stat().st_size > 10_000


def test_similarity_nanotubes(tmp_path):
    pytest.importorskip("sklearn", reason="nearest neighbours need scikit-learn: pip install bandjax[fingerprints]")
    metrics = run("similarity_nanotubes", tmp_path)  # a few narrow tubes
    assert metrics["chosen"]["family"] > 2 * metrics["chance"]["family"] and metrics["chosen"]["kind"] > 0.8
    assert (
        metrics["chosen"]["family"] > metrics["published"]["family"]
        and metrics["held_out"]["family"][0] > metrics["chance"]["family"]
    )
    four = next(e for e in metrics["edges"] if (e["count"], e["metric"]) == (4, "manhattan"))
    both = metrics["family_by_tube_beside_E11_to_E44"]
    assert four["family"] == (both["both"] + both["edges alone"]) / metrics["tubes"]
    assert four["family"] > metrics["baselines"]["gap"]["family"]
    assert (
        metrics["chosen"]["sorted_by_gap"]["mean_rank_correlation"]
        > metrics["published"]["sorted_by_gap"]["mean_rank_correlation"]
    )
    for name in ("neighbours", "windows", "densities"):
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000


def test_screen_zoo(tmp_path):
    metrics = run("screen_zoo", tmp_path)
    assert metrics["zoo"]["crystals"] == 64 and 0 < metrics["zoo"]["qualify"]["light"] < 0.5
    light = metrics["main"]["light"]
    assert set(light) >= {"fingerprint", "structure", "dummy"} and sum("made twice" in name for name in light) == 2
    assert metrics["main"]["published"]["fingerprint"]["recall"]["mean"] > 0.7  # nine of ten qualify
    with xr.open_dataset(tmp_path / "zoo.nc", engine="h5netcdf") as zoo:
        assert zoo.sizes == {"structure": 64, "energy": 513} and np.isfinite(zoo.fingerprint).all()
    again = run("screen_zoo", tmp_path)  # everything is there: the same rows
    assert again["main"] == metrics["main"] and again["zoo"]["wall_seconds"] == metrics["zoo"]["wall_seconds"]
