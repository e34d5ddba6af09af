"""A result file holds what the fit found, and is never half written."""

import errno
import json
import os

import numpy as np
import pytest
import xarray as xr

import bandjax as bj
from bandjax.inference import bands_along_cut


@pytest.fixture(scope="module")
def result() -> bj.FitResult:
    """A small fit of a square lattice."""
    table = bj.load_parameters("square", "single_orbital")
    model_of = bj.table_model(bj.square_lattice(), table, spin_orbit=False)
    instrument = bj.Instrument(photon_energy=30.0, fermi_energy=0.2, eta=0.15, gain=40.0, background=2.0)
    axes = {"kx": np.linspace(-0.7, 0.7, 16), "energy": np.linspace(-2.0, 0.3, 24)}
    mean = np.asarray(bj.arpes_image(model_of(table.values), instrument, axes, kz_points=1))
    counts = np.random.default_rng(0).poisson(mean).astype(float)
    counts[3, 4] = np.nan
    data = xr.DataArray(counts, dims=("kx", "energy"), coords=axes)
    name = max(table.energies, key=lambda n: abs(float(table[n])))
    parameters = bj.table_parameters(table, fixed=tuple(n for n in table.energies if n != name))
    parameters |= bj.instrument_parameters(instrument, ("eta", "gain", "background"))
    return bj.fit(data, bj.Problem(model_of, parameters, instrument, broadening=(), kz_points=1), bootstrap_draws=20)


def test_a_result_comes_back_as_it_was_written(result, tmp_path):
    bj.write_result(tmp_path / "result.nc", result)
    back = bj.read_result(tmp_path / "result.nc")
    assert list(back["parameter"].values) == list(result.values)
    np.testing.assert_array_equal(back["value"], list(result.values.values()))
    np.testing.assert_array_equal(back["covariance"], result.covariance)
    free = back["free"].values.astype(bool)
    assert list(back["parameter"].values[free]) == list(result.names)
    np.testing.assert_array_equal(back["standard_error"].values[free], [result.errors[n] for n in result.names])
    for kind in ("data", "model", "residual"):
        xr.testing.assert_allclose(back[kind].drop_attrs(), getattr(result.maps["map"], kind).drop_attrs())
    assert int(back["data"].isnull().sum()) == 1
    assert list(back["report"].values) == result.report
    assert back.attrs["converged"] == int(result.converged) == 1
    assert {"python", "jax", "numpy", "bandjax"} <= set(json.loads(back.attrs["versions"]))


def test_bands_are_energies_from_the_fermi_level_and_pairs_come_twice(result, tmp_path):
    found = bj.result_dataset(result)
    kx = found["kx"].values
    assert found["band_energy"].dims == ("kx", "band") and np.all(np.diff(kx) > 0)
    np.testing.assert_allclose(np.diff(kx), np.diff(kx)[0])
    assert kx[0] <= -0.7 and kx[-1] >= 0.7
    expected, _ = bands_along_cut(result.model(), result.instrument(), kx)
    np.testing.assert_allclose(found["band_energy"], np.repeat(expected, 2, axis=1))
    assert found["band_energy"].attrs["n_valence"] in (0, 2) and "square" in found["band_energy"].attrs["model"]


def test_a_full_disk_leaves_the_old_result(result, tmp_path, monkeypatch):
    path = tmp_path / "result.nc"
    bj.write_result(path, result)
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(OSError, match=r"could not be written .No space left on device.; what stood there before"):
        bj.write_result(path, result)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["result.nc"]


def test_what_is_no_result_is_refused(result, tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        bj.read_result(tmp_path / "none.nc")
    path = bj.write_result(tmp_path / "result.nc", result)
    short = tmp_path / "short.nc"
    short.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ValueError, match="must be a complete NetCDF4 file"):
        bj.read_result(short)
    xr.Dataset({"a": ("x", [1.0])}).to_netcdf(tmp_path / "other.nc", engine="h5netcdf")
    with pytest.raises(ValueError, match="must be the result of a fit"):
        bj.read_result(tmp_path / "other.nc")
