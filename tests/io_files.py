"""Small files of every format that `bandjax.io` reads, written here byte by byte and not by bandjax."""

import struct
import zipfile
from pathlib import Path

import h5py
import numpy as np
import xarray as xr
from scipy.io import netcdf_file

ENERGY = np.linspace(-1.5, 0.3, 7)
ANGLE = np.linspace(-4.0, 5.0, 5)
DEFLECTOR = np.linspace(-2.0, 2.0, 3)
KINETIC = ENERGY + 31.8
FERMI = 31.8  # eV, the Fermi level on the kinetic axis


def counts(*shape: int) -> np.ndarray:
    """Whole positive numbers, all different, so that a wrong order or a transposition shows."""
    return np.arange(1.0, 1.0 + np.prod(shape)).reshape(shape) * 2


IMAGE = counts(len(ANGLE), len(ENERGY))  # canonical order: (angle, energy)
VOLUME = counts(len(DEFLECTOR), len(ANGLE), len(ENERGY))


def netcdf4(path: Path) -> Path:
    """xarray's own NetCDF4, (energy, angle), with units."""
    array = xr.DataArray(IMAGE.T, dims=("energy", "angle"), coords={"energy": ENERGY, "angle": ANGLE})
    array.energy.attrs["units"], array.angle.attrs["units"] = "eV", "degree"
    array.attrs = {"photon_energy_eV": 36.0, "sweeps": 5}
    array.to_dataset(name="intensity").to_netcdf(path, engine="h5netcdf")
    return path


def netcdf3(path: Path) -> Path:
    """Classic NetCDF by SciPy."""
    with netcdf_file(path, "w") as file:
        for name, axis, unit in (("energy", ENERGY, "eV"), ("angle", ANGLE, "degree")):
            file.createDimension(name, len(axis))
            file.createVariable(name, "d", (name,))[:] = axis
            file.variables[name].units = unit
        file.createVariable("intensity", "d", ("energy", "angle"))[:] = IMAGE.T
        file.photon_energy_eV = 36.0
        file.sweeps = 5
    return path


def hdf5(path: Path) -> Path:
    """Plain HDF5: an array in a group with its axes beside it."""
    with h5py.File(path, "w") as file:
        group = file.create_group("scan")
        group["counts"] = IMAGE.T
        group["energy"], group["angle"] = ENERGY, ANGLE
        group["energy"].attrs["units"], group["angle"].attrs["units"] = "eV", "deg"
        group["hv"] = 36.0
        group.attrs["sweeps"] = 5
    return path


def nexus(path: Path) -> Path:
    """NXmpes_arpes: kinetic energies, photon energy in the beam, a pump beam beside it."""
    with h5py.File(path, "w") as file:
        file.attrs["default"] = "entry"
        for name, kind in {
            "entry": "NXentry",
            "entry/data": "NXdata",
            "entry/instrument": "NXinstrument",
            "entry/instrument/beam_pump": "NXbeam",
            "entry/instrument/beam_xuv": "NXbeam",
            "entry/instrument/electronanalyzer": "NXelectronanalyzer",
            "entry/sample": "NXsample",
        }.items():
            file.require_group(name).attrs["NX_class"] = kind
        entry, data = file["entry"], file["entry/data"]
        entry.attrs["default"] = "data"
        entry["definition"] = "NXmpes_arpes"
        data.attrs["signal"], data.attrs["axes"] = "data", ["angular1", "angular0", "energy"]
        data["data"] = VOLUME
        data["angular1"], data["angular0"], data["energy"] = np.radians(DEFLECTOR), ANGLE, KINETIC * 1e3
        data["angular1"].attrs["units"], data["angular0"].attrs["units"] = "rad", "degree"
        data["energy"].attrs["units"], data["energy"].attrs["type"] = "meV", "kinetic"
        entry["instrument/beam_pump/incident_energy"] = 1.55
        entry["instrument/beam_xuv/incident_energy"] = 36000.0
        entry["instrument/beam_xuv/incident_energy"].attrs["units"] = "meV"
        entry["instrument/electronanalyzer/work_function"] = 4.2
        entry["sample/temperature"], entry["sample/name"] = 80.0, "Cu(111)"
    return path


def nexus_old(path: Path) -> Path:
    """NXarpes as beamlines wrote it: `signal` and `axis` attributes on the fields."""
    with h5py.File(path, "w") as file:
        for name, kind in {
            "entry1": "NXentry",
            "entry1/analyser": "NXdata",
            "entry1/instrument": "NXinstrument",
            "entry1/instrument/monochromator": "NXmonochromator",
        }.items():
            file.require_group(name).attrs["NX_class"] = kind
        group = file["entry1/analyser"]
        group["data"], group["angles"], group["energies"] = IMAGE[None], ANGLE, KINETIC
        group["data"].attrs["signal"] = 1
        group["angles"].attrs["axis"], group["energies"].attrs["axis"] = 2, 3
        group["angles"].attrs["units"], group["energies"].attrs["units"] = "degree", "eV"
        file["entry1/instrument/monochromator/energy"] = 36.0
    return path


def igor_wave(values: np.ndarray, axes: list[tuple[np.ndarray, str]], note: str = "", name: str = "map") -> bytes:
    """Bytes of a version 5 Igor binary wave (Technical Note 003), little-endian float32, first index fastest."""
    body = values.astype("<f4").tobytes(order="F")
    shape = [*values.shape, 0, 0, 0, 0][:4]
    step = [float(axis[1] - axis[0]) for axis, _ in axes] + [1.0] * (4 - len(axes))
    start = [float(axis[0]) for axis, _ in axes] + [0.0] * (4 - len(axes))
    units = [unit.encode() for _, unit in axes] + [b""] * (4 - len(axes))
    short = b"".join(unit.ljust(4, b"\0") if len(unit) < 4 else b"\0" * 4 for unit in units)
    long = [unit if len(unit) > 3 else b"" for unit in units]
    header = struct.pack("<3Iihh6sh32siI4i", 0, 0, 0, values.size, 2, 0, b"", 1, name.encode(), 0, 0, *shape)
    header += struct.pack("<4d4d4s16s", *step, *start, b"", short)
    header = header.ljust(320, b"\0")  # what follows is Igor's own, unused on reading
    first = struct.pack(
        "<hhiiii4i4iiii", *(5, 0, len(header) + len(body), 0, len(note), 0, *map(len, long), *[0] * 4, 0, 0, 0)
    )
    return first + header + body + note.encode() + b"".join(long)


def igor_binary(path: Path, energy_unit: str = "Kinetic Energy [eV]", angle_unit: str = "Y-Scale [deg]") -> Path:
    """A wave as SES writes it."""
    note = "[SES]\rLens Mode=Angular30\rExcitation Energy=36\rSample=Cu(111)\r"
    path.write_bytes(igor_wave(IMAGE.T, [(KINETIC, energy_unit), (ANGLE, angle_unit)], note))
    return path


def igor_packed(path: Path, names: tuple[str, ...] = ("VB",)) -> Path:
    """A packed experiment with one wave for each name."""
    content = b""
    for name in names:
        axes = [(KINETIC, "Kinetic Energy [eV]"), (ANGLE, "Y-Scale [deg]")]
        wave = igor_wave(IMAGE.T, axes, "Excitation Energy=36\r", name)
        content += struct.pack("<Hhi", 3, 0, len(wave)) + wave
    path.write_bytes(content)
    return path


def ses_text(path: Path, regions: tuple[str, ...] = ("VB",), volume: bool = False) -> Path:
    """SES's text export, with Windows line ends; with `volume` a third dimension."""

    def row(numbers: np.ndarray) -> str:
        return " ".join(f"{x:.9g}" for x in numbers)

    lines = ["[Info]", f"Number of Regions={len(regions)}", "Version=1.3.1", ""]
    for n, name in enumerate(regions, 1):
        axes = [("Kinetic Energy [eV]", KINETIC), ("Y-Scale [deg]", ANGLE)] + [("Thetay [deg]", DEFLECTOR)] * volume
        lines += [f"[Region {n}]", f"Region Name={name}"]
        for d, (label, axis) in enumerate(axes, 1):
            lines += [
                f"Dimension {d} name={label}",
                f"Dimension {d} size={len(axis)}",
                f"Dimension {d} scale={row(axis)}",
            ]
        lines += ["", f"[Info {n}]", "Lens Mode=Angular30", "Excitation Energy=36", "Energy Scale=Kinetic", ""]
        for m, image in enumerate(VOLUME if volume else [IMAGE], 1):
            lines += [f"[Data {n}:{m}]" if volume else f"[Data {n}]"]
            lines += [f" {e:.9g}  {row(image[:, i])}" for i, e in enumerate(KINETIC)] + [""]
    path.write_bytes("\r\n".join(lines).encode())
    return path


def ses_zip(path: Path, missing_bytes: int = 0) -> Path:
    """A DA30 archive: deflector volume, energy fastest."""
    spectrum = ["[spectrum]", "name=VB"]
    for part, label, axis in (
        ("width", "Kinetic Energy [eV]", KINETIC),
        ("height", "Thetax [deg]", ANGLE),
        ("depth", "Thetay [deg]", DEFLECTOR),
    ):
        spectrum += [f"{part}={len(axis)}", f"{part}offset={axis[0]}", f"{part}delta={axis[1] - axis[0]}"]
        spectrum += [f"{part}label={label}"]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("viewer.ini", "[viewer]\nregion_list=VB\n")
        archive.writestr("VB.ini", "[SES]\nLens Mode=DA30_01\nExcitation Energy=36\n[Run Mode Information]\nNote=50%\n")
        archive.writestr("Spectrum_VB.ini", "\n".join(spectrum))
        content = VOLUME.astype("<f4").tobytes()
        archive.writestr("Spectrum_VB.bin", content[: len(content) - missing_bytes])
    return path


def specs_xy(path: Path, lens: str = "WideAngleMode:40V") -> Path:
    """SPECS Prodigy's text export."""
    lines = ["# Created by: SpecsLab Prodigy, Version 4.64", f"# Analyzer Lens:   {lens}"]
    lines += ["# Excitation Energy: 36.0", "# Eff. Workfunction: 4.2", "# Energy Axis: Kinetic Energy"]
    lines += [f"# Values/Curve: {len(ENERGY)}", f"# Curves/Scan: {len(ANGLE)}", "#"]
    for angle, curve in zip(ANGLE, IMAGE, strict=True):
        lines += [f"# NonEnergyOrdinate: {angle:g}", "# Cycle: 0, Curve: 0, Scan: 0"]
        lines += [f"{e:.9g}  {i:.9g}" for e, i in zip(KINETIC, curve, strict=True)] + [""]
    path.write_text("\n".join(lines))
    return path


def columns(path: Path, head: str = "energy [eV],angle [deg],counts") -> Path:
    """A table of energy, angle, intensity, energies falling."""
    lines = ["# photon_energy: 36 eV", "# sweeps: 5", head]
    lines += [f"{e:.9g},{a:.9g},{IMAGE[j, i]:.9g}" for i, e in enumerate(ENERGY) for j, a in enumerate(ANGLE)]
    path.write_text("\n".join(lines))
    return path


def matrix(path: Path, corner: str = r"energy [eV]\angle [deg]") -> Path:
    """A matrix, tabs between, named in its corner."""
    lines = ["# photon_energy: 36", "\t".join([corner] * bool(corner) + [f"{a:.9g}" for a in ANGLE])]
    lines += ["\t".join([f"{e:.9g}", *(f"{x:.9g}" for x in IMAGE[:, i])]) for i, e in enumerate(ENERGY)]
    path.write_text("\n".join(lines))
    return path
