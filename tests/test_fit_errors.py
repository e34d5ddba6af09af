"""Wrong input to a fit gets one sentence and exit code 2, and no traceback."""

import errno
import os

import numpy as np
import pytest
import xarray as xr

import bandjax as bj
from bandjax.cli import main
from bandjax.io import write_map

CONFIG = """
[model]
material = "square"
table = "single_orbital"
a = 3.9
[instrument]
photon_energy = 30.0
fermi_energy = 0.2
eta = 0.15
gain = 40.0
background = 2.0
[table_prior]
free = []
[parameters]
free = ["fermi_energy", "eta", "gain", "background"]
[fit]
broadening = []
kz_points = 1
bootstrap_draws = 0
"""


def a_map(**changes) -> xr.DataArray:
    axes = {"kx": np.linspace(-0.7, 0.7, 10), "energy": np.linspace(-2.0, 0.3, 12)}
    counts = np.random.default_rng(0).poisson(20, (10, 12)).astype(float)
    data = xr.DataArray(counts, dims=("kx", "energy"), coords=axes, attrs={"energy_reference": "fermi"})
    data["kx"].attrs["units"], data["energy"].attrs["units"] = "1/angstrom", "eV"
    return data.copy(**changes) if changes else data


def refused(tmp_path, capsys, data=None, config=CONFIG, path=None, extra=()) -> str:
    """The one sentence that `bandjax fit` answers with."""
    if path is None:
        path = tmp_path / "map.nc"
        write_map(path, a_map() if data is None else data)
    (tmp_path / "fit.toml").write_text(config)
    code = main(["fit", str(path), "-c", str(tmp_path / "fit.toml"), "-o", str(tmp_path / "out"), *extra])
    captured = capsys.readouterr()
    assert code == 2 and captured.out == "" and "Traceback" not in captured.err
    lines = [line for line in captured.err.splitlines() if not line.startswith("bandjax: note")]
    assert len(lines) == 1
    return lines[0]


def test_counts_that_are_negative_zero_or_missing(tmp_path, capsys):
    values = a_map().values
    assert "must hold counts ≥ 0" in refused(tmp_path, capsys, a_map(data=values - 30))
    assert "all its 120 values are zero" in refused(tmp_path, capsys, a_map(data=values * 0))
    assert "are NaN or masked" in refused(tmp_path, capsys, a_map(data=values * np.nan))
    assert "infinite" in refused(tmp_path, capsys, a_map(data=np.where(values == values.max(), np.inf, values)))


def test_maps_without_known_axes_or_photon_energy(tmp_path, capsys):
    unknown = a_map().rename(kx="stage")
    assert "stage" in refused(tmp_path, capsys, unknown)
    angles = a_map().rename(kx="angle")
    angles["angle"].attrs["units"] = "degree"
    assert "photon energy" in refused(tmp_path, capsys, angles)
    backwards = a_map().assign_coords(kx=np.r_[0.0, 0.2, 0.1, np.arange(3, 10)])
    assert "increases strictly" in refused(tmp_path, capsys, backwards)


def test_files_that_are_missing_cut_short_or_of_no_known_format(tmp_path, capsys):
    assert "none.nc" in refused(tmp_path, capsys, path=tmp_path / "none.nc")
    whole = write_map(tmp_path / "whole.nc", a_map()).read_bytes()
    (tmp_path / "short.nc").write_bytes(whole[: len(whole) // 2])
    assert "short.nc" in refused(tmp_path, capsys, path=tmp_path / "short.nc")
    (tmp_path / "odd.bin").write_bytes(bytes(range(256)) * 20)
    assert "odd.bin" in refused(tmp_path, capsys, path=tmp_path / "odd.bin")


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('"eta", "gain"', '"etta", "gain"', "Did you mean 'eta'?"),
        ("eta = 0.15", "eta = 0.0", "`eta` must lie between 0.002"),
        ("eta = 0.15", "eta = -0.1", "`eta` must lie between 0.002"),
        ("eta = 0.15", "etha = 0.15", "Did you mean 'eta'?"),
        ("[fit]", "[fitt]", "Did you mean 'fit'?"),
        ('material = "square"', 'material = "squere"', "Did you mean 'square'?"),
        ('"single_orbital"', '"single_orbitals"', "Did you mean 'single_orbital'?"),
        ("[fit]", "[parameters.eta]\nlower = 0.2\n[fit]", "`eta` must start within its bounds 0.2 … 5, but starts at 0.15"),
        ("[fit]", "[parameters.eta]\nsigma = 0.0\n[fit]", "`eta` must have a prior width > 0"),
        ("[fit]", "[parameters.eta]\ntied = [\"etta\", 1.0]\n[fit]", "which does not exist"),
        ("[fit]", "[map]\nenergy = [3.0, 4.0]\n[fit]", "leaves nothing"),
        ("[fit]", "[map]\nangle = [3.0, 4.0]\n[fit]", "has the axes kx, energy"),
        ("[fit]", "[likelihood]\nkind = \"gauss\"\n[fit]", "must be one of 'poisson', 'scaled'"),
        ("[model]", "[model", "must be TOML"),
    ],
)  # fmt: skip
def test_configurations_that_are_wrong(old, new, sentence, tmp_path, capsys):
    assert old in CONFIG
    assert sentence in refused(tmp_path, capsys, config=CONFIG.replace(old, new))


def test_an_unmeasured_direction_is_reported_in_words():
    table = bj.load_parameters("square", "single_orbital")
    model_of = bj.table_model(bj.square_lattice(), table, spin_orbit=False)
    instrument = bj.Instrument(photon_energy=30.0, fermi_energy=0.2, eta=0.15, gain=40.0, background=2.0)
    onsite = next(iter(table.energies))
    parameters = {
        onsite: bj.Parameter(float(table[onsite])),
        "fermi_energy": bj.Parameter(0.2),
        "gain": bj.Parameter(40.0, lower=0.0),
    }
    result = bj.fit(a_map(), bj.Problem(model_of, parameters, instrument, broadening=()), max_steps=4)
    words = [s for s in result.report if "singular" in s]
    assert words and onsite in words[0] and "fermi_energy" in words[0]
    assert np.isinf(result.errors[onsite])


@pytest.mark.slow
def test_a_full_disk_while_results_are_written_leaves_the_old_result(tmp_path, capsys, monkeypatch):
    write_map(tmp_path / "map.nc", a_map())
    (tmp_path / "fit.toml").write_text(CONFIG + "max_steps = 2\n")
    command = ["fit", str(tmp_path / "map.nc"), "-c", str(tmp_path / "fit.toml"), "-o", str(tmp_path / "out"), "--json"]
    assert main(command) == 0
    capsys.readouterr()
    before = (tmp_path / "out" / "result.nc").read_bytes()
    real = os.replace

    def full(source, target):
        if str(target).endswith("result.nc"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(source, target)

    monkeypatch.setattr(os, "replace", full)
    assert main(command) == 2
    error = capsys.readouterr().err
    assert "No space left on device" in error and "untouched" in error and "Traceback" not in error
    assert (tmp_path / "out" / "result.nc").read_bytes() == before
