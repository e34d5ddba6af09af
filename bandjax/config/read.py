"""The configuration file: TOML, every key checked against the list below, the nearest named where one is unknown."""

import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from bandjax.checks import nearest
from bandjax.config.build import KNOWN
from bandjax.inference import FreeWeights, Likelihood, Parameter
from bandjax.photoemission import Instrument

MAP_KEYS = (
    *("file", "variable", "energy", "kx", "ky", "angle", "deflector", "hv", "bin", "bin_by", "negative", "exclude"),
    *("photon_energy", "work_function", "fermi_kinetic", "shift"),
)
NAMED_MAP_KEYS = ("name", *MAP_KEYS, "instrument", "likelihood")
KEYS: dict[str, tuple[str, ...]] = {
    "map": MAP_KEYS,
    "model": ("material", "table", "file", "structure", "a", "layers", "spin_orbit", "distance_law", "start"),
    "instrument": tuple(f.name for f in fields(Instrument)),
    "table_prior": ("relative", "least", "fixed", "free"),
    "known": tuple(KNOWN),
    "likelihood": Likelihood._fields,
    "weights": FreeWeights._fields,
    "simulate": ("hv", "deflector", "ky", "angle", "kx", "energy"),
    "fit": (
        *("broadening", "held_out", "method", "kz_points", "window", "seed", "max_steps", "block", "inflate"),
        *("bootstrap_draws", "derived"),
    ),
}
PARAMETER_KEYS = Parameter._fields


def read_config(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A configuration file as nested dictionaries, checked.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no TOML, or holds a key that is not known (the nearest is given).
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"File {path} does not exist; `bandjax init-config MAP` writes one to start from.")
    try:
        config = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"File {path} must be TOML, but {error}.") from error
    try:
        return check_config(config)
    except ValueError as error:
        raise ValueError(f"File {path}: {error}") from error


def check_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """`config`, or ValueError for a section or key that is not known, or a section that is no section."""
    _known("section", config, (*KEYS, "parameters", "maps"))
    for section, allowed in KEYS.items():
        _known(f"key of [{section}]", _section(config.get(section, {}), section), allowed)
    for name, entry in _section(config.get("parameters", {}), "parameters").items():
        if name != "free":
            _known(f"key of [parameters.{name}]", _section(entry, f"parameters.{name}"), PARAMETER_KEYS)
    if not isinstance(config.get("maps", []), list):
        raise ValueError("`maps` must be a list of tables, written [[maps]].")
    for entry in config.get("maps", []):
        _known("key of [[maps]]", entry, NAMED_MAP_KEYS)
        _known("key of [maps.instrument]", entry.get("instrument", {}), KEYS["instrument"])
        _known("key of [maps.likelihood]", entry.get("likelihood", {}), KEYS["likelihood"])
        if "name" not in entry:
            raise ValueError("Every [[maps]] must have a `name`.")
    model = config.get("model", {})
    if ("file" in model) == ("table" in model):
        raise ValueError("[model] must have either `table` (of the package) or `file` (your own table).")
    if "table" in model and "material" not in model:
        raise ValueError('[model] must have `material`, such as "InAs"; `bandjax materials` lists them.')
    return dict(config)


def _section(found: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(found, Mapping):
        raise ValueError(f"[{name}] must be a section with keys, but is {found!r}.")
    return found


def _known(what: str, found: Iterable[str], allowed: Iterable[str]) -> None:
    allowed = list(allowed)
    for key in found:
        if key not in allowed:
            raise ValueError(f"{key!r} is no {what}.{nearest(key, allowed)} Known: {', '.join(allowed)}.")
