"""A configuration as TOML text with comments that teach."""

from collections.abc import Mapping
from typing import Any

import xarray as xr

from bandjax.photoemission import QUANTITIES

HEAD = """# Configuration of a fit, written by `bandjax init-config` for
#   {path}
# with axes {axes}.
# Run it as it is:   bandjax fit {path} -c THIS_FILE -o out/
# Energies are E − E_F in eV (negative below), angles in degrees, momenta in 1/Å. Lines may be changed or left out.
"""
SECTIONS = {
    "map": "What of the map is fitted: windows [low, high], bins (pixels put together), `negative` = \"mask\" leaves out\n"
    "# pixels below zero. Also: exclude = [{energy = [-5.2, -5.0], angle = [1.0, 1.2]}], photon_energy, shift (eV).",
    "model": "Crystal and parameter table (`bandjax materials` lists them); file = \"mine.toml\" takes a table of your own,\n"
    "# a the lattice constant in Å, start another table whose values the fit starts from.",
    "instrument": "Numbers of source, sample and analyser. Those not named in [parameters] stay as they are here.",
    "table_prior": "Every energy of the table is free, with a Gaussian prior around its published value: its width is\n"
    "# `relative` × |value|, but at least `least` eV (spin-orbit constants: a tenth of that). `fixed` are held.",
    "known": "What is known of the crystal from elsewhere, [value, standard deviation] in eV: its direct gap at Γ, which\n"
    "# occupied bands do not show (here the table's own).",
    "likelihood": "Noise: \"poisson\" for counts, \"scaled\" (variance = scale × smoothed data; scale measured from the map if\n"
    "# left out) for averaged or camera data and with [weights]. band_error: by how many eV the bands of any such table\n"
    "# may miss the crystal's; then no bright band decides alone.",
    "weights": "Matrix elements as smooth free functions of pixel and energy (splines along each) and a smooth background,\n"
    "# found exactly at every step. Leave the section out for the instrument's own gain and background.",
    "parameters": "Instrument numbers that are free, with usual priors. Details of any parameter, for example:\n"
    "# [parameters.eta]\n# value = 0.1\n# lower = 0.01\n# upper = 1.0\n# prior = 0.1\n# sigma = 0.05\n"
    "# also: fixed = true, tied = [\"other\", 2.0]",
    "fit": "broadening: extra widths (eV) of the coarse stages; held_out: part of the pixels kept to score the model on;\n"
    "# kz_points: points of the k_z distribution (1 for two-dimensional materials); window: levels farther than\n"
    "# this (eV) from the energies are left out.",
}  # fmt: skip
NOTES = {
    "photon_momentum": "the normal-emission angle taken from the map's symmetry already contains it",
    "fermi_energy": "start: smallest misfit of a scan; on the energy scale of the table",
    "escape_depth": "start: the universal curve of Seah and Dench",
    "surface": "outward normal (hkl); (001) is assumed",
    "slit": "direction of the slit in the crystal: for graphene normal to Γ–K, on (001) the better of [1, 0, 0] and [1, 1, 0]",
    "inner_potential": "start: smallest misfit of a scan",
    "origin": "1/Å: K, from which momenta and angles are counted",
    "photon_energy": "21.2 where the file states none: put yours",
    "polar": "slit angle of normal emission: stated by the file, or from the map's symmetry",
}


def render(config: Mapping[str, Any], data: xr.DataArray, path: str) -> str:
    """TOML text of a configuration."""
    axes = ", ".join(f"{d} {float(data[d][0]):.3g} … {float(data[d][-1]):.3g} ({data.sizes[d]})" for d in data.dims)
    lines = [HEAD.format(path=path, axes=axes)]
    for section in ("map", "model", "instrument", "table_prior", "known", "parameters", "likelihood", "weights", "fit"):
        if section not in config:
            continue
        lines += [f"# {SECTIONS[section]}", f"[{section}]"]
        for key, value in config[section].items():
            lines.append(f"{key} = {_toml(value)}" + _note(section, key))
        lines.append("")
    return "\n".join(lines)


def _note(section: str, key: str) -> str:
    if section != "instrument":
        return ""
    quantity = QUANTITIES.get(key)
    words = [f"{quantity.unit}: {quantity.meaning}"] if quantity else []
    words += [NOTES[key]] if key in NOTES else []
    return f"  # {'; '.join(words)}" if words else ""


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k} = {_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return repr(value)
