"""Results of a fit as one NetCDF file: data, model, residual, parameters, covariance, bands, provenance.

Dimensions: those of the maps; `parameter` (all), `parameter_1`, `parameter_2` (free ones); `derived`; `trial`;
`sentence`; `kx` and `band` of the fitted bands. With several maps their variables carry the map's name as a suffix and
the axes too where they differ.
"""

import datetime
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr

from bandjax import devices
from bandjax.inference import FitResult, bands_along_cut
from bandjax.io import write_atomically
from bandjax.photoemission import Instrument, as_axes
from bandjax.photoemission.kinematics import emission_angle, wave_number
from bandjax.photoemission.pixels import band_shift, lateral_momentum

ELECTRONS = {"p": 4, "z": 1}  # valence electrons an atom, by the shell that marks a kind of table
FORMAT = 1


def write_result(
    path: str | os.PathLike[str], result: FitResult | xr.Dataset, *, provenance: Mapping[str, Any] | None = None
) -> Path:
    """Write a fit to NetCDF4; an older file is replaced only when the new one is complete.

    Raises:
        OSError: the file could not be written; what stood there before is untouched.
    """
    dataset = result if isinstance(result, xr.Dataset) else result_dataset(result, provenance=provenance)
    encoding = {
        name: {"zlib": True, "complevel": 4}
        for name, v in dataset.data_vars.items()
        if v.dtype.kind == "f" and v.size > 1000
    }
    return write_atomically(path, bytes(dataset.to_netcdf(engine="h5netcdf", encoding=encoding)))


def read_result(path: str | os.PathLike[str]) -> xr.Dataset:
    """The dataset of a fit, in memory.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is cut short, of another format, or no result of a fit.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"File {path} does not exist.")
    try:
        with xr.open_dataset(path, engine="h5netcdf") as found:
            dataset = found.load()
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise ValueError(
            f"File {path} must be a complete NetCDF4 file written by `bandjax fit`, but cannot be read ({error})."
        ) from error
    if "parameter" not in dataset.dims or "covariance" not in dataset:
        raise ValueError(f"File {path} must be the result of a fit, but has no variables `parameter` and `covariance`.")
    return dataset


def result_dataset(result: FitResult, *, provenance: Mapping[str, Any] | None = None) -> xr.Dataset:
    """Everything of a fit as one `xarray.Dataset`; see the module's head.

    Args:
        result: The fit.
        provenance: Attributes to keep (see `provenance_of`); None collects them here.

    Returns:
        Variables data, model, residual, widening (factor on the noise's variance; with several maps `<name>_<map>`), value, standard_error, bootstrap_error,
        prior, prior_sigma, pull, unit, free (parameter), covariance (parameter_1, parameter_2), derived_value,
        derived_error, derived_bootstrap_error (derived), history (trial, quantity), report (sentence) and, where a map
        has a slit axis, band_energy (kx, band) = E − E_F in eV and kz (kx, band) in 1/Å, spin-resolved.
    """
    model = result.model()
    out = xr.Dataset(attrs=_clean(provenance_of(result.problem.seed) if provenance is None else provenance))
    several = len(result.maps) > 1
    for name, found in result.maps.items():
        suffix = f"_{name}" if several else ""
        for kind in ("data", "model", "residual", "widening"):
            array = getattr(found, kind)
            array = array.rename({d: f"{d}{suffix}" for d in array.dims}) if several else array
            array = array.drop_vars([c for c in array.coords if c not in array.dims])
            out[f"{kind}{suffix}"] = _plain(array)
        out[f"residual{suffix}"].attrs["units"] = "standard deviations of the noise"
    for name, columns in _parameter_columns(result).items():
        out[name] = ("parameter", columns)
    out = out.assign_coords(
        parameter=list(result.values), parameter_1=list(result.names), parameter_2=list(result.names)
    )
    out["covariance"] = (("parameter_1", "parameter_2"), result.covariance)
    if result.derived:
        numbers = np.array(list(result.derived.values()), float)
        out = out.assign_coords(derived=list(result.derived))
        for column, name in enumerate(("derived_value", "derived_error", "derived_bootstrap_error")):
            out[name] = ("derived", numbers[:, column])
    if result.history:
        out = out.assign_coords(quantity=list(result.history[0]))
        out["history"] = (("trial", "quantity"), np.array([list(map(float, h.values())) for h in result.history]))
    out["report"] = ("sentence", np.array(result.report or [""], dtype=object))
    first = next(iter(result.maps))
    electrons, note = valence_bands(model)
    bands = _bands(result, model, first)
    if bands is not None:
        kx, energy, kz, angle = bands
        if "kx" in out.dims and not np.allclose(out["kx"].values, kx, rtol=0, atol=1e-6):
            out = out.rename(kx="kx_map")  # the map's own axis is not regular
        out = out.assign_coords(kx=kx)
        if electrons is None:
            electrons = int((np.median(energy, axis=0) < 0).sum())
        notes = {"units": "eV", "long_name": "E − E_F", "model": result_name(model), "n_valence": electrons}
        out["band_energy"] = (
            ("kx", "band"),
            energy,
            {**notes, "spin": "resolved: bands without spin-orbit come twice"},
        )
        out["kz"] = (("kx", "band"), kz, {"units": "1/angstrom", "long_name": "k_z at the centre of its distribution"})
        if angle is not None:
            out["band_angle"] = (("kx", "band"), angle, {"units": "degree", "long_name": "slit angle of band_energy"})
        out["kx"].attrs = {"units": "1/angstrom", "long_name": "wave vector along the slit"}
    tests = [m.tests for m in result.maps.values()]
    out.attrs |= {
        "result_format": FORMAT, "converged": int(result.converged), "cost": result.cost, "inflation": result.inflation,
        "reduced_chi2": float(np.mean([t.reduced_chi2 for t in tests])), "maps": json.dumps(list(result.maps)),
        "held_out_cost": float(np.mean([t.held_out for t in tests])), "model": result_name(model),
        "material": model.topology.material, "table": model.topology.table, "spin_orbit": int(model.topology.spin_orbit),
        "n_valence": -1 if electrons is None else electrons, "n_valence_note": note,
    }  # fmt: skip
    return out


def provenance_of(seed: int, config: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """Seed, versions, commit, device, date and configuration, as attributes of a result."""
    from importlib.metadata import PackageNotFoundError, version

    def of(package: str) -> str:
        try:
            return version(package)
        except PackageNotFoundError:
            return "not installed"

    return {
        "seed": int(seed),
        "versions": json.dumps(
            {"python": sys.version.split()[0], **{p: of(p) for p in ("bandjax", "jax", "numpy", "scipy", "xarray")}}
        ),
        "commit": source_commit(),
        "device": json.dumps(devices.describe()),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "config": json.dumps(config or {}),
        **more,
    }


def result_name(model: Any) -> str:
    """Name of a model: material and table."""
    return f"{model.topology.material} {model.topology.table}"


def source_commit() -> str:
    """Commit of the source tree that the package lies in, with "+" where tracked code is changed; "unknown" outside one."""
    folder = Path(__file__).resolve().parent.parent
    if not (folder / ".git").exists():
        return "unknown"

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "*.py", "bandjax")
        return git("rev-parse", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _parameter_columns(result: FitResult) -> dict[str, Any]:
    columns: dict[str, list] = {
        n: [] for n in ("value", "standard_error", "bootstrap_error", "prior", "prior_sigma", "pull", "unit", "free")
    }
    for name, value in result.values.items():
        p = result.problem.parameters[name]
        has_prior = name in result.pulls
        columns["value"].append(value)
        columns["standard_error"].append(result.errors.get(name, np.nan))
        columns["bootstrap_error"].append(result.bootstrap.get(name, np.nan))
        columns["prior"].append((p.value if p.prior is None else p.prior) if has_prior else np.nan)
        columns["prior_sigma"].append(p.sigma if has_prior else np.inf)
        columns["pull"].append(result.pulls.get(name, np.nan))
        columns["unit"].append(p.unit)
        columns["free"].append(int(name in result.names))
    out: dict[str, Any] = {n: np.array(c) for n, c in columns.items()}
    out["unit"] = np.array(columns["unit"], dtype=object)
    return out


def valence_bands(model: Any) -> tuple[int | None, str]:
    """Valence bands, spin-resolved: electrons in the cell; None where the table does not say."""
    shells = {o.shell for o in model.topology.orbitals}
    for shell, electrons in ELECTRONS.items():
        if shell in shells:
            return electrons * model.topology.n_atom, f"{electrons} valence electrons an atom"
    return None, "bands that lie below E_F along most of the cut; the table does not tell the filling"


def _bands(result: FitResult, model: Any, name: str) -> tuple[np.ndarray, ...] | None:
    """kx, E − E_F, k_z and (angle maps) the slit angle of the fitted bands."""
    instrument: Instrument = result.instrument(name)
    axes = as_axes(result.maps[name].data)
    lateral = dict(axes.lateral)
    if axes.hv:
        instrument = instrument.replace(photon_energy=float(np.mean(axes.hv)))
    if "kx" in lateral:
        low, high, count = lateral["kx"][0], lateral["kx"][-1], len(lateral["kx"])
    elif "angle" in lateral:
        hv = jnp.asarray(float(instrument.photon_energy))
        along = [
            np.asarray(lateral_momentum(instrument, axes, jnp.asarray(e), hv)[1])[:, 0] - instrument.origin[0]
            for e in (axes.energy[0], axes.energy[len(axes.energy) // 2], axes.energy[-1])
        ]
        low, high, count = min(map(np.min, along)), max(map(np.max, along)), len(lateral["angle"])
    else:
        return None
    kx = np.linspace(low, high, max(count, 101)) if "kx" not in lateral else np.linspace(low, high, count)
    energy, kz = bands_along_cut(model, instrument, kx, by_angle="angle" in lateral)
    if not model.topology.spin_orbit:
        energy, kz = np.repeat(energy, 2, axis=1), np.repeat(kz, 2, axis=1)
    if "kx" in lateral:
        return kx, energy, kz, None
    hv = float(instrument.photon_energy)
    q = np.asarray(band_shift(instrument, jnp.asarray(hv)))
    kinetic = np.maximum(hv - float(instrument.work_function) + energy, 1e-3)
    outside = np.broadcast_to(kx[:, None], energy.shape) + q[0]
    across = -np.sin(np.deg2rad(float(instrument.tilt))) * np.sqrt(
        np.maximum(wave_number(kinetic) ** 2 - outside**2, 0)
    )
    angle = emission_angle(jnp.asarray(kinetic), outside, across, instrument.polar, instrument.tilt)[0]
    return kx, energy, kz, np.asarray(angle)


def _clean(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {k: (json.dumps(v) if isinstance(v, dict | bool) else v) for k, v in attributes.items() if v is not None}


def _plain(array: xr.DataArray) -> xr.DataArray:
    """A copy whose attributes NetCDF can hold."""
    kept = (str, int, float, np.number)
    array = array.copy()
    array.attrs = {k: v for k, v in array.attrs.items() if isinstance(v, kept) and not isinstance(v, bool)}
    for dim in array.dims:
        notes = {k: v for k, v in array[dim].attrs.items() if isinstance(v, kept) and not isinstance(v, bool)}
        array[dim].attrs = notes
    return array
