"""Maps are read from every format as they were measured, and come back as they were written."""

import os
import resource
import warnings

import h5py
import io_files as files
import numpy as np
import pytest
import xarray as xr

from bandjax import io

# format: (writer, file name, energies are kinetic, (angle, energy) or a deflector volume, attributes it must give)
HV = {"photon_energy": 36.0}
FORMATS = {
    "netcdf4": (files.netcdf4, "a.nc", False, False, HV | {"sweeps": 5}),
    "netcdf3": (files.netcdf3, "a.nc", False, False, HV | {"sweeps": 5}),
    "hdf5": (files.hdf5, "a.h5", False, False, HV | {"sweeps": 5}),
    "nexus": (
        files.nexus,
        "a.nxs",
        True,
        True,
        HV | {"work_function": 4.2, "temperature": 80.0, "material": "Cu(111)"},
    ),
    "nexus old": (files.nexus_old, "a.nxs", True, False, HV),
    "igor-wave": (files.igor_binary, "a.ibw", True, False, HV | {"material": "Cu(111)", "Lens Mode": "Angular30"}),
    "igor-packed": (files.igor_packed, "a.pxt", True, False, HV),
    "ses-text": (files.ses_text, "a.txt", True, False, HV | {"Lens Mode": "Angular30"}),
    "ses-text volume": (lambda path: files.ses_text(path, volume=True), "a.txt", True, True, HV),
    "ses-zip": (files.ses_zip, "a.zip", True, True, HV | {"Lens Mode": "DA30_01", "Note": "50%"}),
    "specs-xy": (files.specs_xy, "a.xy", True, False, HV | {"work_function": 4.2}),
    "text columns": (files.columns, "a.csv", False, False, HV | {"sweeps": "5"}),
    "text matrix": (files.matrix, "a.txt", False, False, HV),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_map(name, tmp_path):
    writer, file_name, kinetic, volume, attributes = FORMATS[name]
    path = writer(tmp_path / file_name)
    with warnings.catch_warnings():
        if name not in ("nexus old",):
            warnings.simplefilter("error")
        data = io.read(path)
    assert io.recognise(path) == name.split(" ")[0] == data.attrs["source_format"]
    assert data.dims == (("deflector", "angle", "energy") if volume else ("angle", "energy"))
    assert data.dtype == np.float64
    np.testing.assert_array_equal(data.values, files.VOLUME if volume else files.IMAGE)
    np.testing.assert_allclose(data.energy, files.KINETIC if kinetic else files.ENERGY, atol=1e-7)
    np.testing.assert_allclose(data.angle, files.ANGLE, atol=1e-7)
    if volume:
        np.testing.assert_allclose(data.deflector, files.DEFLECTOR, atol=1e-7)
    assert data.attrs["energy_reference"] == ("kinetic" if kinetic else "fermi")
    for key, value in attributes.items():
        assert data.attrs[key] == value, key
    shifted = io.to_fermi(data, fermi_kinetic=files.FERMI) if kinetic else data
    np.testing.assert_allclose(shifted.energy, files.ENERGY, atol=1e-7)
    io.check_map(shifted)


@pytest.mark.parametrize("name", FORMATS)
def test_a_written_map_is_read_back_unchanged(name, tmp_path):
    writer, file_name, *_ = FORMATS[name]
    data = io.read(writer(tmp_path / file_name))
    again = io.read(io.write_map(tmp_path / "out.nc", data))
    again.attrs["source_file"], again.attrs["source_format"] = data.attrs["source_file"], data.attrs["source_format"]
    xr.testing.assert_identical(data, again)
    xr.testing.assert_identical(data, io.standardise(data))


# --- names, units, directions


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("eV", "alpha"), ("angle", "energy")),  # erlab cut
        (("beta", "eV", "alpha"), ("deflector", "angle", "energy")),  # erlab map
        (("eV", "kp"), ("kx", "energy")),
        (("kx", "ky", "eV"), ("ky", "kx", "energy")),
        (("kz", "kx", "eV"), ("kz", "kx", "energy")),
        (("theta_par", "eV"), ("angle", "energy")),  # peaks
        (("defl_perp", "theta_par", "eV"), ("deflector", "angle", "energy")),
        (("hv", "k_par", "eV"), ("hv", "kx", "energy")),
        (("phi", "eV"), ("angle", "energy")),  # PyARPES
        (("energy", "kx"), ("kx", "energy")),
    ],
)
def test_axis_names_of_other_programs(names, expected):
    sizes = range(3, 3 + len(names))
    values = files.counts(*sizes)
    coords = {
        name: np.linspace(-1, 1, size) + (20 if name == "hv" else 0) for name, size in zip(names, sizes, strict=True)
    }
    data = xr.DataArray(values, dims=names, coords=coords, attrs={"hv": 21.2, "temp_sample": 20.0})
    with warnings.catch_warnings():
        warnings.simplefilter("error" if "eV" in names else "ignore")
        out = io.standardise(data)
    assert out.dims == expected
    back = {
        new: old
        for old in names
        for new in expected
        if np.array_equal(out[new], coords[old]) and out[new].size == len(coords[old])
    }
    np.testing.assert_array_equal(out.values, data.transpose(*[back[dim] for dim in expected]).values)
    assert out.attrs["photon_energy"] == 21.2
    assert out.attrs["temperature"] == 20.0


@pytest.mark.parametrize(
    ("name", "unit", "canonical", "scale"),
    [
        ("energy", "meV", "energy", 1e-3),
        ("angle", "rad", "angle", 180 / np.pi),
        ("angle", "mrad", "angle", 0.18 / np.pi),
        ("alpha", "°", "angle", 1.0),
        ("kx", "nm^-1", "kx", 0.1),
        ("kx", "1/Å", "kx", 1.0),
        ("kx", "Å⁻¹", "kx", 1.0),
        ("kx", "1 / angstrom", "kx", 1.0),
        ("kx", "1/bohr", "kx", 1 / 0.529177210903),
        ("hv", "keV", "hv", 1e3),
    ],
)
def test_units_are_converted(name, unit, canonical, scale):
    values = np.linspace(-0.5, 2.0, 4)
    data = xr.DataArray(np.ones(4), dims=name, coords={name: (name, values, {"units": unit})})
    out = io.standardise(data)
    np.testing.assert_allclose(out[canonical], values * scale, rtol=1e-14)
    assert (
        out[canonical].attrs["units"] == {"energy": "eV", "hv": "eV", "angle": "degree", "kx": "1/angstrom"}[canonical]
    )


def test_missing_units_are_said_and_noted():
    data = xr.DataArray(files.IMAGE, dims=("angle", "energy"), coords={"angle": files.ANGLE, "energy": files.ENERGY})
    with pytest.warns(UserWarning, match="states no units for angle: degree, energy: eV"):
        out = io.standardise(data)
    assert out.attrs["units_assumed"] == "angle: degree, energy: eV"


def test_a_descending_axis_is_turned_round(tmp_path):
    data = io.read(files.netcdf4(tmp_path / "a.nc"))
    out = io.standardise(data.isel(energy=slice(None, None, -1)))
    assert out.attrs.pop("flipped_axes") == "energy"
    xr.testing.assert_identical(out, data)


def test_axes_of_one_value_become_numbers(tmp_path):
    data = io.read(files.netcdf4(tmp_path / "a.nc"))
    del data.attrs["photon_energy"]
    out = io.standardise(data.expand_dims(hv=[21.2], scan=[3]))
    assert out.dims == ("angle", "energy")
    assert out.attrs["photon_energy"] == 21.2
    assert out.coords["scan"] == 3


# --- what energies are counted from


@pytest.mark.parametrize(
    ("label", "values", "attributes", "expected", "turned"),
    [
        ("energy", files.ENERGY, {}, "fermi", False),
        ("energy", files.KINETIC, {}, "kinetic", False),
        ("Kinetic Energy [eV]", files.KINETIC, {}, "kinetic", False),
        ("Binding Energy [eV]", -files.ENERGY[::-1], {}, "fermi", True),  # positive below the Fermi level
        ("Binding Energy [eV]", files.ENERGY, {}, "fermi", False),  # as many ARPES groups write it
        ("E-EF", files.ENERGY + 2, {}, "fermi", False),
        ("eV", files.ENERGY, {"Energy Scale": "Kinetic"}, "fermi", False),  # left over from before a shift
        ("eV", files.KINETIC, {"eV_type": "kinetic"}, "kinetic", False),
        ("energy", files.ENERGY + 2, {"energy_reference": "fermi"}, "fermi", False),
    ],
)
def test_energy_reference(label, values, attributes, expected, turned):
    data = xr.DataArray(files.IMAGE[0], dims=label, coords={label: (label, values, {"units": "eV"})}, attrs=attributes)
    out = io.standardise(data)
    assert out.attrs["energy_reference"] == expected
    order = slice(None, None, -1) if turned else slice(None)
    np.testing.assert_array_equal(out.energy, (-values if turned else values)[order])
    np.testing.assert_array_equal(out, files.IMAGE[0][order])


@pytest.mark.parametrize(
    ("options", "attributes"),
    [
        ({"fermi_kinetic": 31.8}, {}),
        ({"photon_energy": 36.0, "work_function": 4.2}, {"fermi_level_kinetic": 30.0}),
        ({"work_function": 4.2}, {"photon_energy": 36.0}),
        ({}, {"photon_energy": 36.0, "work_function": 4.2}),
        ({}, {"photon_energy": 36.0, "work_function": 4.0, "fermi_level_kinetic": 31.8}),
    ],
)
def test_to_fermi(options, attributes, tmp_path):
    data = io.read(files.igor_binary(tmp_path / "a.ibw"))
    data.attrs = {"energy_reference": "kinetic"} | attributes
    out = io.to_fermi(data, **options)
    np.testing.assert_allclose(out.energy, files.ENERGY, atol=1e-7)
    assert out.attrs["energy_reference"] == "fermi"
    assert out.attrs["fermi_level_kinetic"] == pytest.approx(31.8)
    assert data.attrs["energy_reference"] == "kinetic"


# --- several maps in a file


def test_the_variable_is_chosen_by_name(tmp_path):
    coords = {"energy": ("energy", files.ENERGY, {"units": "eV"}), "angle": ("angle", files.ANGLE, {"units": "deg"})}
    path = tmp_path / "two.nc"
    both = xr.Dataset(
        {"up": (("angle", "energy"), files.IMAGE), "down": (("angle", "energy"), 3 * files.IMAGE)}, coords
    )
    both.to_netcdf(path, engine="h5netcdf")
    np.testing.assert_array_equal(io.read(path, variable="down"), 3 * files.IMAGE)
    both.assign(intensity=both.up + 1, error=("angle", files.ANGLE)).to_netcdf(path, engine="h5netcdf")
    np.testing.assert_array_equal(io.read(path), files.IMAGE + 1)


@pytest.mark.parametrize("name", ["ses-text", "igor-packed"])
def test_the_region_is_chosen_by_name(name, tmp_path):
    writer, file_name, *_ = FORMATS[name]
    path = writer(tmp_path / file_name, ("VB", "CB"))
    np.testing.assert_array_equal(io.read(path, variable="CB"), files.IMAGE)
    with pytest.raises(ValueError, match="'VB', 'CB': choose one with `variable=`"):
        io.read(path)


def test_hdf5_takes_attached_scales(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"], file["e"] = files.ANGLE, files.ENERGY
        file["deflector"] = files.ANGLE * 2  # as long as the angle, but not its axis
        file["x"].make_scale("angle")
        file["map"] = files.IMAGE
        file["map"].dims[0].attach_scale(file["x"])
        file.move("x", "alpha")
        file["map"].dims[1].label = "e"
    with pytest.warns(UserWarning, match="states no units"):
        data = io.read(tmp_path / "a.h5")
    np.testing.assert_array_equal(data.angle, files.ANGLE)
    np.testing.assert_array_equal(data, files.IMAGE)


@pytest.mark.parametrize(("energy", "angle"), [("eV", "deg"), ("eV", "°")])
def test_igor_axes_named_by_their_units_only(energy, angle, tmp_path):
    data = io.read(files.igor_binary(tmp_path / "a.ibw", energy, angle))
    np.testing.assert_array_equal(data, files.IMAGE)
    np.testing.assert_allclose(data.energy, files.KINETIC, atol=1e-9)
    assert data.attrs["axes_assumed"] == f"energy from the unit 'eV'; angle from the unit '{angle}'"


def test_a_matrix_is_named_by_comments(tmp_path):
    path = files.matrix(tmp_path / "a.txt", corner="")
    path.write_text("# rows: energy [eV]\n# columns: angle [deg]\n" + path.read_text())
    np.testing.assert_array_equal(io.read(path), files.IMAGE)


def test_metadata_that_is_not_a_number_keeps_its_name():
    data = xr.DataArray(files.IMAGE[0], dims="eV", coords={"eV": files.ENERGY})
    data.attrs = {
        "temperature_K": np.nan,
        "photon_energy_eV": "36 eV",
        "work_function_assumed_eV": 4.5,
        "hv": "unknown",
    }
    out = io.standardise(data).attrs
    assert out["photon_energy"] == 36.0 and out["work_function"] == 4.5
    assert out["work_function_assumed_eV"] == 4.5 and out["hv"] == "unknown"
    assert "temperature" not in out and np.isnan(out["temperature_K"])


# --- the check before a fit


def test_nan_and_masked_negative_counts_are_counted(tmp_path):
    data = io.read(files.netcdf4(tmp_path / "a.nc"))
    data[0, 0], data[1, 2], data[2, 2] = np.nan, -3.0, -0.5
    out = io.check_map(data, negative="mask")
    assert (out.attrs["masked_pixels"], out.attrs["masked_negative"]) == (3, 2)
    assert np.isnan(out[1, 2]) and data[1, 2] == -3.0


def test_the_photon_energy_can_be_given_to_the_check(tmp_path):
    data = io.read(files.netcdf4(tmp_path / "a.nc"))
    del data.attrs["photon_energy"]
    assert io.check_map(data, photon_energy=21.2).attrs["photon_energy"] == 21.2


# --- writing


def test_a_full_disk_leaves_the_old_file(tmp_path):
    """The limit on the size of a file stands for the full disk."""
    path = io.write_map(tmp_path / "a.nc", io.read(files.netcdf4(tmp_path / "source.nc")))
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(
            OSError, match=r"^File .*a\.nc could not be written \(.*\); what stood there before is untouched\."
        ):
            io.write_atomically(path, b"x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["a.nc", "source.nc"]


# --- the measured files


def test_the_measured_maps_read(shared):
    expected = {
        "inas_sxarpes_586eV/inas_raw_angle.nc": ((391, 1376), 586.0, 4.5, 81.9, 1.067),
        "inas_sxarpes_586eV/inas_kmap.nc": ((531, 801), 586.0, 4.5, 81.9, 1.067),
        "bilayer_graphene_K_21eV/blg_raw_angle.nc": ((82, 137), 21.2182, 4.32, None, None),
        "bilayer_graphene_K_21eV/blg_kmap.nc": ((164, 162), 21.2182, 4.32, None, None),
        "graphene_li_36eV_igor/graphene_raw_101_raw_angle.nc": ((383, 468), 36.0, None, 80.0, None),
    }
    for name, (shape, *values) in expected.items():
        data = io.read(shared / "data" / "arpes" / name)
        assert data.shape == shape and data.dims[1] == "energy"
        assert data.attrs["energy_reference"] == "fermi"
        for key, value in zip(
            ("photon_energy", "work_function", "temperature", "normal_emission_angle"), values, strict=True
        ):
            assert data.attrs.get(key) == value, (name, key)
        checked = io.check_map(data, negative="mask")
        assert checked.attrs["masked_negative"] == (36 if name.endswith("inas_raw_angle.nc") else 0)


def test_the_igor_wave_agrees_with_its_conversion(shared):
    folder = shared / "data" / "arpes" / "graphene_li_36eV_igor"
    converted = io.read(folder / "graphene_raw_101_raw_angle.nc")
    wave = io.read(folder / "original_graphene_raw_101.ibw")
    assert wave.attrs["energy_reference"] == "kinetic" and wave.attrs["photon_energy"] == 36.0
    wave = io.to_fermi(wave, fermi_kinetic=converted.attrs["fermi_level_kinetic"])
    np.testing.assert_array_equal(wave, converted)
    np.testing.assert_allclose(wave.energy, converted.energy, atol=1e-9)
    np.testing.assert_allclose(wave.angle, converted.angle, atol=1e-9)
