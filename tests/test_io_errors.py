"""Every wrong file and wrong map is refused in one sentence that says what it must be and what was found."""

import logging
import zipfile

import h5py
import io_files as files
import numpy as np
import pytest
import xarray as xr

from bandjax import io


def cut(writer, name, fraction=0.6):
    """A file that ends too early."""

    def write(folder):
        path = writer(folder / name)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * fraction)])
        return path

    return write


def holding(name, content):
    """A file with this content."""

    def write(folder):
        path = folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def netcdf(name="a.nc", **changes):
    """A NetCDF file with other variables, dimensions or units than it should have."""

    def write(folder):
        dims = changes.get("dims", ("angle", "energy"))
        units = changes.get("units", ("degree", "eV"))
        axes = changes.get("axes", (files.ANGLE, files.ENERGY))
        coords = {d: (d, a, {"units": u} if u else {}) for d, a, u in zip(dims, axes, units, strict=True)}
        maps = {n: (dims, files.IMAGE) for n in changes.get("names", ("intensity",))}
        xr.Dataset(maps, coords).to_netcdf(folder / name, engine="h5netcdf")
        return folder / name

    return write


def other_zip(folder):
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.writestr("readme.txt", "nothing")
    return folder / "a.zip"


def two_axes_alike(folder):
    with h5py.File(folder / "a.h5", "w") as file:
        file["map"] = np.ones((5, 5))
        file["energy"], file["angle"] = np.arange(5.0), np.arange(5.0)
    return folder / "a.h5"


def nexus_without_axes(folder):
    path = files.nexus(folder / "a.nxs")
    with h5py.File(path, "a") as file:
        del file["entry/data"].attrs["axes"]
    return path


def broken_line(folder):
    path = files.columns(folder / "a.csv")
    path.write_text(path.read_text().replace("\n", "\n1,2\n", 8).replace("\n1,2\n", "\n", 7))
    return path


KNOWN = "formats read here: NetCDF4"
ANGLES = files.ANGLE.copy()
ANGLES[3] = ANGLES[1]

FILES = {
    "empty": (holding("a.nc", b""), ["a.nc must be a map, but it is empty", KNOWN]),
    "unknown bytes": (holding("a.dat", b"\x01\x00\xff\x00" * 50), ["first bytes belong to none", KNOWN]),
    "text called nc": (holding("a.nc", "hello"), ["a.nc must be NetCDF4 or", "does not begin like one", KNOWN]),
    "NetCDF4 cut": (cut(files.netcdf4, "a.nc"), ["must be a complete HDF5 or NetCDF4 file", "truncated", KNOWN]),
    "classic NetCDF cut": (cut(files.netcdf3, "a.nc"), ["must be a complete NetCDF file", KNOWN]),
    "HDF5 cut": (cut(files.hdf5, "a.h5"), ["must be a complete HDF5", KNOWN]),
    "NeXus cut": (cut(files.nexus, "a.nxs"), ["must be a complete HDF5", KNOWN]),
    "Igor wave cut": (cut(files.igor_binary, "a.ibw"), ["must be a complete Igor binary wave", KNOWN]),
    "Igor wave, a header only": (cut(files.igor_binary, "a.ibw", 0.1), ["must be a complete Igor binary wave"]),
    "Igor wave, data cut": (cut(files.igor_binary, "a.ibw", 0.75), ["must be a complete Igor binary wave"]),
    "Igor packed cut": (cut(files.igor_packed, "a.pxt"), ["must be a complete Igor packed experiment", KNOWN]),
    "text called ibw": (holding("a.ibw", "hello"), ["must be a complete Igor binary wave", KNOWN]),
    "SES text cut": (
        cut(files.ses_text, "a.txt", 0.8),
        ["must be a complete SES text file", "numbers where 7 rows of 6", KNOWN],
    ),
    "zip cut": (cut(files.ses_zip, "a.zip"), ["must be a complete zip archive", KNOWN]),
    "another zip": (other_zip, ["must be Scienta DA30 volume, as its suffix says", KNOWN]),
    "volume too short": (lambda f: files.ses_zip(f / "a.zip", 4), ["has 416 bytes where", "take 420"]),
    "imaging lens": (
        lambda f: files.specs_xy(f / "a.xy", "LowMagnification"),
        ["angular lens mode", "'LowMagnification'"],
    ),
    "Prodigy cut": (
        cut(files.specs_xy, "a.xy", 0.7),
        ["must be a complete Prodigy text file", "Curves/Scan: 5, and 3 are there"],
    ),
    "unknown axis": (
        netcdf(dims=("angle", "delay"), units=("deg", "fs")),
        ["must hold a map", "energy (or eV)", "delay: 7"],
    ),
    "one axis": (holding("a.csv", "energy,counts\n1,2\n2,3\n"), ["must name two columns", "['energy', 'counts']"]),
    "two axes alike": (two_axes_alike, ["must hold a map of two or more axes", "map (axis 0: 5, axis 1: 5)"]),
    "NeXus without axes": (nexus_without_axes, ["must hold a map", "entry/data (axis 0: 3, axis 1: 5, axis 2: 7)"]),
    "same axis twice": (netcdf(dims=("alpha", "phi")), ["one axis 'angle', but both 'alpha' and 'phi'"]),
    "axis not in order": (netcdf(axes=(ANGLES, files.ENERGY)), ["axis 'angle' that increases strictly", "at index 2"]),
    "NaN on an axis": (netcdf(axes=(files.ANGLE * np.nan, files.ENERGY)), ["axis 'angle' that increases", "nan"]),
    "unknown unit": (netcdf(units=("pixel", "eV")), ["axis 'angle' in one of deg", "in 'pixel'"]),
    "several maps": (netcdf(names=("up", "down")), ["several maps, 'up', 'down'", "`variable=`"]),
    "text without names": (
        holding("a.txt", "1 2 3\n4 5 6\n7 8 9\n"),
        ["must name its axes", "# rows: energy", "names none"],
    ),
    "text with words": (holding("a.txt", "energy angle counts\n1 2 x\n"), ["grid of numbers", "'x'"]),
    "text of uneven lines": (broken_line, ["lines of equal length", "has 2 entries, not 3"]),
    "points missing": (
        holding("a.csv", "energy,kx,i\n1,1,1\n1,2,1\n2,1,1\n"),
        ["every point of its grid of 2 × 2 once", "1 points are missing and 0"],
    ),
    "prose": (holding("a.txt", "Dear all,\nno data today.\n"), ["a.txt must name two columns or more"]),
    "comments only": (holding("a.txt", "# energy\n"), ["it holds no numbers", KNOWN]),
    "kinetic below zero": (
        holding("a.csv", "Kinetic Energy [eV],angle [deg],i\n-1,0,1\n-1,1,1\n2,0,1\n2,1,1\n"),
        ["kinetic energies ≥ 0", "begin at -1 eV"],
    ),
}


def sentence(error: BaseException) -> str:
    """The message, after checking that it is one sentence on one line."""
    text = str(error)
    assert "\n" not in text and "Traceback" not in text
    return text


@pytest.mark.parametrize("name", FILES)
@pytest.mark.filterwarnings("error")
def test_wrong_files(name, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # as in a program that sets up no logging
    writer, words = FILES[name]
    path = writer(tmp_path)
    with pytest.raises(ValueError) as caught:
        io.read(path)
    text = sentence(caught.value)
    assert f"File {path} " in text
    for word in words:
        assert word in text
    assert capfd.readouterr() == ("", "")  # no library prints beside the sentence


@pytest.mark.parametrize("name", ["NetCDF4 cut", "classic NetCDF cut", "Igor wave cut", "SES text cut", "zip cut"])
def test_the_library_s_own_error_is_kept(name, tmp_path):
    with pytest.raises(ValueError) as caught:
        io.read(FILES[name][0](tmp_path))
    assert caught.value.__cause__ is not None


def test_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"File .*none.nc must exist, but there is no such file\."):
        io.read(tmp_path / "none.nc")
    with pytest.raises(IsADirectoryError, match=r"must be a file, but .* is a folder\."):
        io.read(tmp_path)


@pytest.mark.parametrize(
    ("variable", "words"),
    [
        ("intensty", ["`variable` must be one of 'intensity'", "is 'intensty'", "Did you mean 'intensity'?"]),
        ("error", ["two or more axes", "for 'error'", "error (angle: 5)"]),
    ],
)
def test_wrong_variable(variable, words, tmp_path):
    data = xr.open_dataset(files.netcdf4(tmp_path / "a.nc"), engine="h5netcdf").load()
    data.assign(error=("angle", files.ANGLE)).to_netcdf(tmp_path / "b.nc", engine="h5netcdf")
    with pytest.raises(ValueError) as caught:
        io.read(tmp_path / "b.nc", variable=variable)
    for word in words:
        assert word in sentence(caught.value)


def good() -> xr.DataArray:
    """A map that passes the check."""
    coords = {"angle": ("angle", files.ANGLE), "energy": ("energy", files.ENERGY)}
    attributes = {"photon_energy": 36.0, "energy_reference": "fermi"}
    return xr.DataArray(files.IMAGE.copy(), dims=("angle", "energy"), coords=coords, attrs=attributes)


def changed(place, value):
    """The good map with other counts at `place`."""
    data = good()
    data.values[place] = value
    return data


MAPS = {
    "axes": (good().rename(angle="delay"), {}, ["must have axes among hv,", "has 'delay', 'energy'"]),
    "one value": (good().isel(angle=[2]), {}, ["at least two values on its axis 'angle'"]),
    "descending": (good().isel(energy=slice(None, None, -1)), {}, ["Axis `energy` must increase strictly", "0.3 to 0"]),
    "pixels": (good().assign_coords(angle=files.ANGLE * 100), {}, ["'angle' within ±90 degree", "reaches 500"]),
    "kinetic": (good().assign_attrs(energy_reference="kinetic"), {}, ["energies E − E_F", "kinetic", "`to_fermi`"]),
    "negative": (
        changed((0, slice(2, 4)), [-1.0, -7.5]),
        {},
        ["2 of its 35 values are negative", "lowest -7.5", '"mask"'],
    ),
    "infinite": (changed((0, 0), np.inf), {}, ["finite counts, but 1 are infinite"]),
    "zero": (changed(..., 0.0), {}, ["all its 35 values are zero"]),
    "NaN": (changed(..., np.nan), {}, ["all its 35 values are NaN"]),
    "all masked": (changed(..., -1.0), {"negative": "mask"}, ["all its 35 values are NaN or masked"]),
    "no photon energy": (
        good().drop_attrs(deep=False),
        {},
        ["photon energy of an angle map", "no attribute `photon_energy`"],
    ),
    "photon energy NaN": (good().assign_attrs(photon_energy=np.nan), {}, ["`photon_energy` > 0 (in eV)", "nan"]),
    "photon energy text": (good().assign_attrs(photon_energy="He I"), {}, ["`photon_energy` > 0", "'He I'"]),
    "photon energy given": (
        good(),
        {"photon_energy": -1.0},
        ["Argument `photon_energy` must be > 0 (in eV), but is -1"],
    ),
    "option": (good(), {"negative": "clip"}, ["Argument `negative` must be one of 'raise', 'mask'"]),
}


@pytest.mark.parametrize("name", MAPS)
def test_maps_that_cannot_be_fitted(name):
    data, options, words = MAPS[name]
    with pytest.raises(ValueError) as caught:
        io.check_map(data, **options)
    for word in words:
        assert word in sentence(caught.value)
    assert "Argument `" in str(caught.value)


def test_the_check_names_the_file():
    with pytest.raises(ValueError, match=r"^File scan.nc must hold counts ≥ 0"):
        io.check_map(changed((0, 0), -1.0).assign_attrs(source_file="scan.nc"))
    with pytest.raises(ValueError, match=r"^File b.nc must hold counts ≥ 0"):
        io.check_map(changed((0, 0), -1.0).assign_attrs(source_file="scan.nc"), path="b.nc")


KINETIC = {"energy_reference": "kinetic"}


@pytest.mark.parametrize(
    ("attributes", "options", "words"),
    [
        ({"energy_reference": "fermi"}, {"fermi_kinetic": 31.8}, ["kinetic energies", "is 'fermi'"]),
        (KINETIC, {"fermi_kinetic": 31.8, "work_function": 4.2}, ["`fermi_kinetic` must be given alone"]),
        (KINETIC, {}, ["`photon_energy` must be given in eV", "`fermi_kinetic` serves instead"]),
        (KINETIC, {"photon_energy": 36.0}, ["`work_function` must be given in eV"]),
        (KINETIC, {"photon_energy": 36.0, "work_function": 0.0}, ["`work_function` must be > 0 (in eV), but is 0"]),
        (KINETIC, {"fermi_kinetic": -1.0}, ["`fermi_kinetic` must be > 0"]),
    ],
)
def test_wrong_arguments_of_to_fermi(attributes, options, words):
    with pytest.raises(ValueError) as caught:
        io.to_fermi(good().drop_attrs(deep=False).assign_attrs(attributes), **options)
    for word in words:
        assert word in sentence(caught.value)


def test_one_photon_energy_at_a_time():
    data = good().assign_attrs(KINETIC).expand_dims(hv=[30.0, 40.0])
    with pytest.raises(ValueError, match="but has an axis `hv`: convert map by map"):
        io.to_fermi(data, fermi_kinetic=31.8)


@pytest.mark.parametrize("function", [io.standardise, io.check_map, lambda data: io.write_map("a.nc", data)])
def test_not_a_map(function):
    with pytest.raises(TypeError, match=r"must be an xarray.DataArray, but is a ndarray\."):
        function(files.IMAGE)


@pytest.mark.filterwarnings("ignore:.*states no units")
def test_what_is_not_a_number_or_an_axis():
    with pytest.raises(ValueError, match="must hold real numbers, but holds complex128"):
        io.standardise(good() * 1j)
    with pytest.raises(ValueError, match="must give the values of its axis 'angle', but has none"):
        io.standardise(good().drop_vars("angle"))
    with pytest.raises(ValueError, match="has an axis 'delay' of length 5"):
        io.standardise(good().rename(angle="delay"))
    with pytest.raises(ValueError, match=r"`energy_reference` among .*, but has 'vacuum'"):
        io.standardise(good().assign_attrs(energy_reference="vacuum"))


def test_an_attribute_that_cannot_be_written(tmp_path):
    with pytest.raises(TypeError, match="Attribute `history` of `data` must be text, a number or a list"):
        io.write_map(tmp_path / "a.nc", good().assign_attrs(history={"a": 1}))
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(OSError, match=r"a.nc could not be written \(No such file or directory\)"):
        io.write_map(tmp_path / "none" / "a.nc", good())
