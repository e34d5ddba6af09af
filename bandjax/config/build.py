"""From a checked configuration and files to maps in memory and a `Problem`."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ase
import ase.io
import numpy as np
import xarray as xr
from ase.io.formats import UnknownFileTypeError

from bandjax import checks, inference
from bandjax.inference import (
    FitResult,
    FreeWeights,
    Known,
    Likelihood,
    Parameter,
    Problem,
    gap_at_gamma,
    instrument_parameters,
    table_model,
    table_parameters,
    zincblende_numbers,
)  # fmt: skip
from bandjax.io import check_map, read, to_fermi
from bandjax.materials import Table, load_parameters, load_table
from bandjax.photoemission import QUANTITIES, Instrument, check_instrument
from bandjax.structure import cubic_lattice, graphene, square_lattice, zincblende

AXES = ("hv", "deflector", "ky", "angle", "kx", "energy")
# what the readers of ASE raise for a file that is not theirs or cut short
UNREADABLE = (
    UnknownFileTypeError,
    AttributeError,
    IndexError,
    KeyError,
    OSError,
    RuntimeError,
    StopIteration,
    TypeError,
    ValueError,
)
TETRAGONAL = 6.6 / 3.9  # c/a of the package's tetragonal tables
LATTICES: dict[str, Callable[[float], ase.Atoms]] = {
    "square": square_lattice,
    "cubic": cubic_lattice,
    "tetragonal": lambda a: cubic_lattice(a, c=TETRAGONAL * a),
}
KNOWN = {"gap_gamma": gap_at_gamma}
BAND_EDGES = 8  # valence bands of a zinc-blende crystal, spin-resolved


class Prepared(NamedTuple):
    """A fit, ready to run: maps, problem, and the options of `inference.fit`."""

    maps: dict[str, xr.DataArray] | xr.DataArray
    problem: Problem
    options: dict[str, Any]


def fit(
    data: xr.DataArray | str | os.PathLike[str] | Mapping[str, xr.DataArray | str | os.PathLike[str]],
    problem: Problem,
    **options: Any,
) -> FitResult:
    """Fit maps in memory or in files; see `bandjax.inference.fit` for the options and the result.

    Args:
        data: A map, the path of its file (read, shifted to E − E_F where kinetic, and checked), or several by name.
        problem: What is fitted to it.
        **options: Passed on.
    """
    if isinstance(data, Mapping) and not isinstance(data, xr.DataArray):
        return inference.fit({name: _loaded(one) for name, one in data.items()}, problem, **options)
    return inference.fit(_loaded(data), problem, **options)


def _loaded(data: xr.DataArray | str | os.PathLike[str]) -> xr.DataArray:
    return data if isinstance(data, xr.DataArray) else load_map(data, {})


def load_map(path: str | os.PathLike[str], settings: Mapping[str, Any]) -> xr.DataArray:
    """Read a map, cut its window, mask and bin it as a [map] section says.

    Counts (whole numbers) are added up in a bin, other values averaged, unless `bin_by` says "sum" or "mean".

    Raises:
        ValueError: the file is not usable (see `bandjax.io`), or a window leaves nothing.
    """
    data = read(path, variable=settings.get("variable"))
    if data.attrs.get("energy_reference") == "kinetic":
        given = {k: settings[k] for k in ("photon_energy", "work_function", "fermi_kinetic") if k in settings}
        data = to_fermi(data, **(given if "fermi_kinetic" not in given else {"fermi_kinetic": given["fermi_kinetic"]}))
    if settings.get("shift"):
        data = data.assign_coords(energy=data["energy"] + float(settings["shift"]))
    negative = settings.get("negative", "raise")
    data = check_map(data, path=path, negative=negative, photon_energy=settings.get("photon_energy"))
    for axis in AXES:
        if axis in settings:
            data = _window(data, axis, settings[axis], path)
    for box in settings.get("exclude", ()):
        data = _without(data, box)
    return _binned(data, settings)


def _window(data: xr.DataArray, axis: str, limits: Sequence[float], path: Any) -> xr.DataArray:
    if axis not in data.dims:
        raise ValueError(f"[map] gives a window in {axis!r}, but File {path} has the axes {', '.join(data.dims)}.")
    if np.size(limits) != 2 or not limits[0] < limits[1]:
        raise ValueError(f"[map] must give `{axis}` as [low, high], but gives {limits}.")
    kept = data.sel({axis: slice(*limits)})
    if kept.sizes[axis] < 2:
        low, high = float(data[axis][0]), float(data[axis][-1])
        raise ValueError(
            f"[map] `{axis}` = {list(limits)} must lie in the map's {low:g} … {high:g}, but leaves nothing."
        )
    return kept


def _without(data: xr.DataArray, box: Mapping[str, Sequence[float]]) -> xr.DataArray:
    inside = xr.ones_like(data, dtype=bool)
    for axis, limits in box.items():
        checks.one_of("exclude", axis, list(map(str, data.dims)))
        if np.size(limits) != 2:
            raise ValueError(f"[map] `exclude` must give `{axis}` as [low, high], but gives {limits!r}.")
        low, high = limits
        inside = inside & (data[axis] >= low) & (data[axis] <= high)
    return data.where(~inside)


def are_counts(data: xr.DataArray) -> bool:
    """Whether all values are whole numbers."""
    values = data.values[np.isfinite(data.values)]
    return bool(np.all(values == np.round(values)))


def _binned(data: xr.DataArray, settings: Mapping[str, Any]) -> xr.DataArray:
    factors = settings.get("bin", {})
    for axis in factors:
        checks.one_of("bin", axis, list(map(str, data.dims)))
    factors = {axis: int(n) for axis, n in factors.items() if int(n) > 1}
    if not factors:
        return data
    by = settings.get("bin_by", "sum" if are_counts(data) else "mean")
    checks.one_of("bin_by", by, ("sum", "mean"))
    attributes = data.attrs
    coarse = data.coarsen(factors, boundary="trim")
    data = coarse.reduce(np.sum if by == "sum" else np.mean)  # a masked pixel masks its bin
    return data.assign_attrs(attributes | {"binned": str(factors), "binned_by": by})


def build(
    config: Mapping[str, Any],
    files: Sequence[str | os.PathLike[str]] = (),
    *,
    folder: str | os.PathLike[str] = ".",
    maps: Mapping[str, xr.DataArray] | None = None,
) -> Prepared:
    """Maps and problem of a configuration.

    Args:
        config: From `read_config`.
        files: Paths of the maps in the order of [[maps]]; none: the `file` of each section, relative to `folder`.
        folder: Folder of the configuration file.
        maps: Maps in memory instead of files.

    Raises:
        ValueError, FileNotFoundError: a map, table, number or name is not usable; which, and what it must be.
    """
    sections = [dict(s) for s in config.get("maps", [])] or [{"name": "map", **config.get("map", {})}]
    shared = config.get("map", {}) if "maps" in config else {}
    if maps is None:
        paths = list(files) or [Path(folder) / s["file"] for s in sections if "file" in s]
        if len(paths) != len(sections):
            raise ValueError(f"The configuration describes {len(sections)} map(s), but {len(paths)} file(s) are given.")
        maps = {s["name"]: load_map(p, {**shared, **s}) for s, p in zip(sections, paths, strict=True)}
    instruments = {
        s["name"]: _instrument({**config.get("instrument", {}), **s.get("instrument", {})}, maps[s["name"]])
        for s in sections
    }
    noise = {s["name"]: _likelihood({**config.get("likelihood", {}), **s.get("likelihood", {})}) for s in sections}

    table, start = tables_of(config["model"], folder)
    atoms = structure_of(config["model"], table, folder)
    spin_orbit = config["model"].get("spin_orbit", bool(table.spec.spin_orbit))
    model_of = table_model(
        atoms, table, spin_orbit=spin_orbit, distance_law=config["model"].get("distance_law", "table")
    )
    options = dict(config.get("fit", {}))
    first = next(iter(instruments.values()))
    edges = is_zincblende(table) and spin_orbit and len(atoms) == 2
    derived = options.pop("derived", True) and edges
    problem = Problem(
        model_of,
        parameters_of(config, table, start, instruments),
        instruments if len(sections) > 1 else first,
        noise if len(sections) > 1 else next(iter(noise.values())),
        known=_known(config.get("known", {}), edges),
        weights=_tuple("weights", FreeWeights, config["weights"]) if "weights" in config else None,
        derived=zincblende_numbers(BAND_EDGES) if derived else None,
        **{
            k: tuple(v) if isinstance(v, list) else v
            for k, v in options.items()
            if k not in ("max_steps", "bootstrap_draws")
        },
    )
    run = {k: options[k] for k in ("max_steps", "bootstrap_draws") if k in options}
    return Prepared(dict(maps) if len(sections) > 1 else next(iter(maps.values())), problem, run)


def _known(section: Mapping[str, Any], edges: bool) -> tuple[Known, ...]:
    """What a [known] section says of the model."""
    if section and not edges:
        raise ValueError("[known] may be given only for a two-atom zinc-blende cell with spin-orbit.")
    out = []
    for name, pair in section.items():
        checks.one_of("known", name, tuple(KNOWN))
        numbers = isinstance(pair, list) and len(pair) == 2 and all(isinstance(x, int | float) for x in pair)
        if not numbers or not np.isfinite(pair).all() or pair[1] <= 0:
            raise ValueError(
                f"[known] must give `{name}` as [value, standard deviation > 0] in eV, but gives {pair!r}."
            )
        out.append(Known(name, KNOWN[name](BAND_EDGES), float(pair[0]), float(pair[1])))
    return tuple(out)


def tables_of(model: Mapping[str, Any], folder: str | os.PathLike[str] = ".") -> tuple[Table, Table | None]:
    """Table of a [model] section, and the one that the fit starts at, if another."""
    table = (
        load_table(Path(folder) / model["file"])
        if "file" in model
        else load_parameters(model["material"], model["table"])
    )
    if "start" not in model:
        return table, None
    start = load_parameters(model["material"], model["start"])
    for name in table.values:
        if name not in start.values:
            raise ValueError(
                f"[model] `start` must be a table with the same values, but {model['start']} lacks {name!r}."
            )
    return table, start


def structure_of(model: Mapping[str, Any], table: Table, folder: str | os.PathLike[str] = ".") -> ase.Atoms:
    """Crystal of a [model] section: a structure file, a lattice of the package, or zinc blende."""
    if "structure" in model:
        path = Path(folder) / model["structure"]
        if not path.is_file():
            raise FileNotFoundError(f"File {path} ([model] `structure`) does not exist.")
        try:
            found = ase.io.read(path)
        except UNREADABLE as error:
            raise ValueError(f"File {path} must be a structure that ASE reads, but is not ({error}).") from error
        return found if isinstance(found, ase.Atoms) else found[0]
    a = model.get("a", table.spec.lattice_constant)
    shells = {s for _, own in table.spec.orbitals for s in own}
    if "z" in shells:
        layers = model.get("layers", 2 if "A2" in table.spec.species else 1)
        return graphene(layers, a=a or 2.46)
    material = table.spec.material
    if material in LATTICES:
        return LATTICES[material](a or 3.9)
    return zincblende(material.split("-")[0], a)


def parameters_of(
    config: Mapping[str, Any], table: Table, start: Table | None, instruments: Mapping[str, Instrument]
) -> dict[str, Parameter]:
    """Every parameter of a configuration.

    Raises:
        ValueError: a name is neither of the table nor of the instrument; the nearest that is is given.
    """
    prior = dict(config.get("table_prior", {}))
    only = prior.pop("free", None)
    fixed = tuple(prior.pop("fixed", ())) if only is None else tuple(n for n in table.energies if n not in only)
    _names(only or (), table.energies)
    out = table_parameters(table, start=start, fixed=fixed, **prior)
    given = dict(config.get("parameters", {}))
    instrument_names = (
        (*QUANTITIES, *(f"{m}.{q}" for m in instruments for q in QUANTITIES))
        if len(instruments) > 1
        else tuple(QUANTITIES)
    )
    known = (*table.values, *instrument_names)
    free = given.pop("free", [])
    _names((*free, *given), known)
    for name in dict.fromkeys((*free, *given)):
        if name in table.values:
            base = out.get(name, Parameter(float(table[name])))._replace(fixed=False)
        else:
            owner, _, quantity = name.rpartition(".")
            instrument = instruments[owner] if owner else next(iter(instruments.values()))
            base = instrument_parameters(instrument, (quantity,))[quantity]
        own = dict(given.get(name, {}))
        if "tied" in own:
            own["tied"] = (own["tied"][0], float(own["tied"][1]))
        if "value" in own and "prior" not in own and base.prior is None:
            own["prior"] = own["value"]
        out[name] = base._replace(
            **{k: float(v) if k in ("value", "lower", "upper", "prior", "sigma") else v for k, v in own.items()}
        )
    return out


def _names(found: Sequence[str], known: Sequence[str]) -> None:
    for name in found:
        if name not in known:
            raise ValueError(
                f"Parameter `{name}` must be a value of the table or a number of the instrument, but is neither."
                f"{checks.nearest(name, known)}"
            )


def _instrument(section: Mapping[str, Any], data: xr.DataArray) -> Instrument:
    numbers = dict(section)
    for name in ("photon_energy", "work_function", "temperature"):
        if name not in numbers and name in data.attrs:
            numbers[name] = float(data.attrs[name])
    if "photon_energy" not in numbers and "hv" in data.dims:
        numbers["photon_energy"] = float(data["hv"].mean())
    if "photon_energy" not in numbers:
        raise ValueError(
            "The photon energy must be stated by the map, or as `photon_energy` (eV) in [instrument] or [map], but is not."
        )
    for key, value in numbers.items():
        if isinstance(value, str) and not isinstance(getattr(Instrument(), key), str):
            raise ValueError(f"[instrument] must give `{key}` as a number, but gives {value!r}.")
    static = ("surface", "slit", "polarisation", "origin")
    numbers = {k: tuple(v) if k in static else v for k, v in numbers.items()}
    numbers = {k: float(v) if isinstance(v, int) and not isinstance(v, bool) else v for k, v in numbers.items()}
    return check_instrument(dataclasses.replace(Instrument(), **numbers))


def _likelihood(section: Mapping[str, Any]) -> Likelihood:
    return _tuple("likelihood", Likelihood, section)


def _tuple(name: str, kind: Any, section: Mapping[str, Any]) -> Any:
    for key in section:
        checks.one_of(name, key, kind._fields)
    return kind(**section)


def is_zincblende(table: Table) -> bool:
    """Whether a table is one of a zinc-blende crystal: those of the package that have p shells are."""
    return any("p" in shells for _, shells in table.spec.orbitals)
