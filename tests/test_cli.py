"""The command line, from a simulated map to a report."""

import json
import tomllib

import numpy as np
import pytest

import bandjax as bj
from bandjax import commands
from bandjax.cli import main
from bandjax.results import read_result

SIMULATED = """
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
[simulate]
kx = [-0.7, 0.7, 14]
energy = [-2.0, 0.3, 20]
[fit]
kz_points = 1
bootstrap_draws = 20
"""


def run(capsys, *arguments) -> dict:
    """What a command prints with --json."""
    assert main([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def simulated(tmp_path, capsys):
    """Folder with a configuration and a map made of it."""
    (tmp_path / "sim.toml").write_text(SIMULATED)
    run(capsys, "simulate", "-c", tmp_path / "sim.toml", "-o", tmp_path / "map.nc", "--seed", 3)
    return tmp_path


def test_simulate_fit_report(simulated, capsys):
    data = bj.read(simulated / "map.nc")
    assert data.attrs["simulated"] == 1 and np.all(data.values == np.round(data.values))
    found = run(capsys, "fit", simulated / "map.nc", "-c", simulated / "sim.toml", "-o", simulated / "out")
    truth = json.loads(data.attrs["truth"])
    for name in ("fermi_energy", "eta", "gain", "background"):
        p = found["parameters"][name]
        assert abs(p["value"] - truth[name]) < 5 * p["standard_error"]
    assert found["converged"]
    names = {f.name for f in (simulated / "out").iterdir()}
    assert names == {"result.nc", "report.txt", "fit.png", "parameters.png", "correlation.png", "curves.png"}
    again = run(capsys, "report", simulated / "out" / "result.nc")
    assert again["parameters"] == found["parameters"]
    assert main(["report", str(simulated / "out" / "result.nc")]) == 0
    assert "converged" in capsys.readouterr().out


@pytest.mark.slow
def test_a_written_configuration_runs_as_it_is(simulated, capsys):
    run(
        capsys,
        "init-config",
        simulated / "map.nc",
        "--material",
        "square",
        "--table",
        "single_orbital",
        "-o",
        simulated / "fit.toml",
    )
    config = tomllib.loads((simulated / "fit.toml").read_text())
    assert config["likelihood"]["kind"] == "poisson"  # whole numbers
    assert abs(config["instrument"]["fermi_energy"] - 0.2) < 0.2  # found by the scan
    found = run(capsys, "fit", simulated / "map.nc", "-c", simulated / "fit.toml", "-o", simulated / "out")
    assert found["converged"]


@pytest.mark.slow  # test_inference.py interrupts a fit by its function
@pytest.mark.parametrize("in_trial", ["first", "last"])
def test_a_fit_that_was_interrupted_goes_on(simulated, capsys, monkeypatch, in_trial):
    command = ["fit", simulated / "map.nc", "-c", simulated / "sim.toml", "-o"]
    whole = run(capsys, *command, simulated / "whole")
    after = 1 if in_trial == "first" else read_result(simulated / "whole" / "result.nc").sizes["trial"]
    calls, real = [], commands._Progress._step

    def stop(self, entry):
        calls.append(entry)
        if len(calls) == after:
            raise KeyboardInterrupt
        real(self, entry)

    monkeypatch.setattr(commands._Progress, "_step", stop)
    assert main([*map(str, command), str(simulated / "out"), "--json"]) == 130
    assert "--resume" in capsys.readouterr().err
    assert (simulated / "out" / "state.npz").exists()
    monkeypatch.undo()
    resumed = run(capsys, *command, simulated / "out", "--resume")
    for name, p in whole["parameters"].items():
        if p["free"]:
            assert abs(resumed["parameters"][name]["value"] - p["value"]) < 0.05 * p["standard_error"]
    assert not (simulated / "out" / "state.npz").exists()


def test_materials_and_bands(tmp_path, capsys):
    assert {"InAs", "graphene"} <= {e["material"] for e in run(capsys, "materials")}
    assert "E_s*" in run(capsys, "materials", "Si", "--table", "vogl1983")["vogl1983"]
    out = tmp_path / "bands.png"
    found = run(capsys, "bands", "Si", "--table", "vogl1983", "--path", "LGX", "--points", 30, "-o", out)
    energy = np.array(found["energy"])
    assert energy.shape == (30, 20) and [label for _, label in found["labels"]] == ["L", "Γ", "X"]
    assert energy[:, found["n_valence"] - 1].max() == pytest.approx(0.0)
    assert out.stat().st_size > 5000
    assert main(["materials", "Sii"]) == 2
    assert "Did you mean 'Si'?" in capsys.readouterr().err


def test_every_command_teaches(capsys):
    for name in commands.RUN:
        with pytest.raises(SystemExit):
            main([name, "--help"])
        options = capsys.readouterr().out.split("options:")[1]
        assert [line for line in options.splitlines() if line and not line.startswith(" ")], (
            name
        )  # what comes after them
    assert main([]) == 0


@pytest.mark.slow
def test_fit_takes_a_path(simulated):
    table = bj.load_parameters("square", "single_orbital")
    model_of = bj.table_model(bj.square_lattice(), table, spin_orbit=False)
    instrument = bj.Instrument(photon_energy=30.0, fermi_energy=0.2, eta=0.15, gain=40.0, background=2.0)
    problem = bj.Problem(model_of, bj.instrument_parameters(instrument, ("gain",)), instrument, broadening=())
    assert bj.fit(simulated / "map.nc", problem, bootstrap_draws=0).values["gain"] == pytest.approx(40, rel=0.05)
