"""A commented configuration to start from, with choices taken from the map itself.

Chosen from the data: the window (where the detector sees something, and for a semiconductor up to its valence edge), the
binning, the normal-emission angle (from the map's symmetry, where the file does not state it) and, from a scan of the
misfit, the Fermi level on the table's scale, the direction of the slit and the inner potential.
Chosen from the crystal: k_z broadening for three-dimensional ones, the direction of the slit for graphene.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from bandjax.config.build import BAND_EDGES, are_counts, build, is_zincblende, load_map, structure_of, tables_of
from bandjax.config.template import render
from bandjax.hamiltonian import tight_binding
from bandjax.inference import gap_at_gamma
from bandjax.inference.parameters import start_vector
from bandjax.inference.problem import make_objective, observed, prepare
from bandjax.io import read, to_fermi
from bandjax.materials import Table, list_parameters
from bandjax.spectrum import bands

PIXELS = {"energy": 170, "lateral": 130}  # about so many are kept along each axis of a cut
VOLUME_PIXELS = {"energy": 60, "lateral": 24}
DEEPEST = 8.0  # eV below E_F: lower bands of sp3 tables are shallow fits
ABOVE_EDGE = 0.2  # eV above E_F that are kept
DARK = 0.3  # part of the median brightness below which a column is a detector's edge
ABOVE_VALENCE = 0.3  # eV above the valence edge of a gapped map that are kept: what lies higher is no bulk valence band
# eV on either side of the guess: Fermi levels that are tried with p shells and without; a sheet may be doped so far
SCAN = {True: 1.2, False: 1.8}
SCAN_STEP = 0.15  # eV
SLITS = ([1, 0, 0], [1, 1, 0])  # on (001)
INNER_POTENTIALS = np.arange(4.0, 17.0, 2.0)  # eV
KNOTS = {"pixels": 6, "energy": 0.6}  # pixels and eV for each spline of the weights: coarser than a line of a deep map
BAND_ERROR = {True: 0.1, False: 0.03}  # eV: what tables of crystals, and of p_z sheets near E_F, leave
GAP_SIGMA = 0.1  # eV: temperature moves gaps by as much (GaAs, 0 to 300 K), and tables are fitted to one of them
SCAN_PIXELS = (24, 48)


def suggest(
    path: str | os.PathLike[str], material: str, table: str | None = None, *, variable: str | None = None
) -> tuple[str, dict[str, Any]]:
    """Text and content of a configuration that fits this map as it is.

    Args:
        path: The map.
        material: Such as "InAs", "graphene", "bilayer graphene".
        table: Such as "boykin2004"; None takes the last that the package lists for it.
        variable: Which map, where the file holds several.

    Raises:
        ValueError: the map, the material or the table is not usable.
    """
    entries = list_parameters(material)
    table = entries[-1].table if table is None else table
    model: dict[str, Any] = {"material": material, "table": table}
    values, _ = tables_of(model)
    atoms = structure_of(model, values)
    raw = read(path, variable=variable)
    if "energy" not in raw.dims:
        raise ValueError(f"File {path} must have an energy axis, but has {', '.join(map(str, raw.dims))}.")
    if not bool((raw > 0).any()):
        raise ValueError(f"File {path} must hold counts, but no value of it is above zero.")
    settings = _map_settings(raw, path, variable)
    data = load_map(path, settings)
    deep = bool(atoms.pbc[2])
    edge = _edge(data)
    if deep and edge < -ABOVE_VALENCE:
        settings["energy"][1] = round(edge + ABOVE_VALENCE, 3)
        data = load_map(path, settings)
    cut = len([d for d in data.dims if d != "energy"]) == 1 and not data.attrs.get("simulated")
    instrument = _instrument(data, values, atoms, deep)
    counts = are_counts(data)
    config: dict[str, Any] = {"map": settings, "model": model, "instrument": instrument}
    rough = deep and not any("d" in shells for _, shells in values.spec.orbitals)  # sp3s* tables differ widely
    config["table_prior"] = {"relative": 0.4, "least": 0.5} if rough else {"relative": 0.15, "least": 0.2}
    held = _fixed(values)
    if held:
        config["table_prior"]["fixed"] = held
    if is_zincblende(values) and values.spec.spin_orbit:
        model_there = tight_binding(atoms, values)
        at_gamma = np.asarray(bands(model_there, jnp.zeros((1, 3))))[0]
        if np.ptp(at_gamma[BAND_EDGES - 4 : BAND_EDGES]) < 1e-3:  # else the bands are inverted, and no edge is there
            config["known"] = {"gap_gamma": [round(float(gap_at_gamma(BAND_EDGES)(model_there)), 4), GAP_SIGMA]}
    free = ["fermi_energy", "eta"]
    free += ["polar"] if "angle" in data.dims else []
    free += ["azimuth"] if not deep and "kx" in data.dims else []
    free += ["eta_linear"] if cut else []
    free += ["fwhm_energy"] if cut and not deep and float(data["energy"][-1]) > 0 else []  # the Fermi edge shows it
    free += ["inner_potential", "escape_depth", "eta_momentum"] if deep else []
    if cut:
        config["likelihood"] = {"kind": "scaled", **({"scale": 1.0} if counts else {}), "relative": 0.02}
        config["likelihood"]["band_error"] = BAND_ERROR[deep]
        pixels = max(data.sizes[d] for d in data.dims if d != "energy")
        span = float(data["energy"][-1] - data["energy"][0])
        config["weights"] = {
            "lateral": int(np.clip(pixels // KNOTS["pixels"], 6, 32)), "energy": int(np.clip(span / KNOTS["energy"], 8, 20))
        }  # fmt: skip
    else:
        config["likelihood"] = {"kind": "poisson" if counts else "scaled"}
        free += ["gain", "background"]
    config["parameters"] = {"free": free}
    for name in ("gamma0", "gamma1"):  # −γ has the same bands: the fit should not wander there
        if name in values.energies:
            config["parameters"][name] = {"lower": 0.0}
    config["fit"] = {
        "broadening": [round(min(0.4, 0.15 * float(np.ptp(data["energy"].values))), 3)], "held_out": 0.1,
        "method": "grid" if cut else "direct", "kz_points": (15 if cut else 7) if deep else 1,
        "seed": 0, "max_steps": 40,
    }  # fmt: skip
    if deep and len(values.energies) > 16:
        config["fit"]["window"] = 4.0
    _align(config, data, values, atoms)
    return render(config, data, str(path)), config


def _map_settings(raw: xr.DataArray, path: Any, variable: str | None) -> dict[str, Any]:
    """The [map] section: window, bins, what to do with negative values."""
    settings: dict[str, Any] = {} if variable is None else {"variable": variable}
    if raw.attrs.get("energy_reference") == "kinetic":
        found = raw.attrs.get("fermi_level_kinetic")
        if found is None and not ("photon_energy" in raw.attrs and "work_function" in raw.attrs):
            found = _fermi_edge(raw)
        if found is not None:
            settings["fermi_kinetic"] = round(float(found), 4)
        raw = to_fermi(raw, **({"fermi_kinetic": settings["fermi_kinetic"]} if found is not None else {}))
    if bool((raw < 0).any()):
        settings["negative"] = "mask"
    lateral = [str(d) for d in raw.dims if d not in ("energy", "hv")]
    good = np.isfinite(raw) & (raw >= 0)
    bright = raw.where(good)
    others = [d for d in raw.dims if d != "energy"]
    energy = raw["energy"].values
    seen = good.mean(others).values > 0.9
    low = max(float(energy[seen][0]) if seen.any() else float(energy[0]), -DEEPEST)
    high = min(float(energy[-1]), ABOVE_EDGE)
    settings["energy"] = [round(low, 3), round(high, 3)]
    for axis in lateral:
        profile = bright.sel(energy=slice(low, high)).mean([d for d in raw.dims if d != axis]).values
        kept = np.flatnonzero(profile > DARK * np.nanmedian(profile))
        first, last = raw[axis].values[[kept[0], kept[-1]]]
        if kept[0] > 0 or kept[-1] < raw.sizes[axis] - 1:
            settings[axis] = [round(float(first), 4), round(float(last), 4)]
    wanted = PIXELS if len(lateral) == 1 and "hv" not in raw.dims else VOLUME_PIXELS
    bins = {}
    for axis in (*lateral, "energy"):
        limits = settings.get(axis, [float(raw[axis][0]), float(raw[axis][-1])])
        count = raw.sel({axis: slice(*limits)}).sizes[axis]
        bins[axis] = max(1, round(count / wanted["energy" if axis == "energy" else "lateral"]))
    if any(n > 1 for n in bins.values()):
        settings["bin"] = bins
    return settings


def _fermi_edge(raw: xr.DataArray) -> float:
    """Steepest descent of the integrated intensity: the Fermi level of a metal, on the kinetic scale."""
    curve = raw.mean([d for d in raw.dims if d != "energy"]).values
    width = max(3, curve.size // 100)
    smooth = np.convolve(curve, np.ones(width) / width, mode="same")
    slope = np.gradient(smooth)[width:-width]
    return float(raw["energy"].values[width:-width][np.argmin(slope)])


def _instrument(data: xr.DataArray, table: Table, atoms: Any, deep: bool) -> dict[str, Any]:
    """The [instrument] section."""
    out: dict[str, Any] = {}
    for name in ("photon_energy", "work_function", "temperature"):
        if name in data.attrs:
            out[name] = float(data.attrs[name])
    hv = float(np.mean(data["hv"])) if "hv" in data.dims else out.get("photon_energy", 21.2)
    if "photon_energy" not in out:
        if deep and "hv" not in data.dims:
            raise ValueError(
                "The map must state its photon energy (attribute `photon_energy`, eV) to place a three-dimensional "
                "crystal's k_z, but does not; add it to the file."
            )
        out["photon_energy"] = hv
    kinetic = hv - out.get("work_function", 4.5)
    if "angle" in data.dims:
        out["polar"] = round(_centre(data, "angle"), 3)
    out["photon_momentum"] = False
    per_degree = 0.512317 * np.sqrt(kinetic) * np.pi / 180
    lateral = next((str(d) for d in data.dims if d in ("angle", "kx")), None)
    step = float(np.diff(data[lateral]).mean()) * (per_degree if lateral == "angle" else 1.0) if lateral else 0.02
    out["fwhm_momentum"] = round(float(np.clip(max(1.5 * step, 0.12 * per_degree), 0.01, 0.2)), 4)
    out["fwhm_energy"] = 0.09 if hv > 300 else 0.05
    out["eta"] = 0.2 if hv > 300 else 0.12
    if deep:
        out["inner_potential"] = 12.0
        out["escape_depth"] = round(float(10 * (143 / kinetic**2 + 0.054 * np.sqrt(kinetic))), 1)
        out["surface"], out["slit"], out["eta_momentum"] = [0, 0, 1], SLITS[0], 0.05
    elif any("z" in shells for _, shells in table.spec.orbitals):
        corner = 4 * np.pi / (3 * float(np.linalg.norm(atoms.cell[0])))
        reach = float(np.abs(data[lateral]).max()) * (per_degree if lateral == "angle" else 1.0) if lateral else 0.0
        if reach < 0.7 * corner and "deflector" not in data.dims and "ky" not in data.dims:
            out["slit"] = [0, 1, 0]
            out["origin"] = [0.0, round(-corner, 5)]
    return out


def _centre(data: xr.DataArray, axis: str) -> float:
    """Angle about which the map is most nearly its own mirror image; what the file states comes first."""
    stated = data.attrs.get("normal_emission_angle")
    if stated is not None:
        return float(stated)
    values = data.mean([d for d in data.dims if d not in (axis, "energy")]).transpose("energy", axis).values
    x = data[axis].values
    sharp = np.nan_to_num(-np.gradient(np.gradient(values, axis=0), axis=0))
    best, score = float(x.mean()), -np.inf
    for centre in np.linspace(x[0] + 0.3 * np.ptp(x), x[-1] - 0.3 * np.ptp(x), 161):
        half = min(centre - x[0], x[-1] - centre)
        u = np.linspace(0, half, 60)[3:]
        left = np.array([np.interp(centre - u, x, row) for row in sharp])
        right = np.array([np.interp(centre + u, x, row) for row in sharp])
        norm = np.sqrt((left**2).sum() * (right**2).sum())
        found = float((left * right).sum() / norm) if norm > 0 else -np.inf
        if found > score:
            best, score = float(centre), found
    return best


def _fixed(table: Table) -> list[str]:
    """Values that one cut does not measure, or that only repeat another number."""
    if any("z" in shells for _, shells in table.spec.orbitals):
        return [n for n in table.energies if n not in ("gamma0", "gamma1")]
    return [n for n in table.energies if "s*" in n or n.startswith("epsilon")]


def _align(config: dict[str, Any], data: xr.DataArray, table: Table, atoms: Any) -> None:
    """Scan the Fermi level on the table's scale for the smallest misfit of the start, on a coarse copy of the map."""
    spin_orbit = bool(table.spec.spin_orbit)
    model = tight_binding(atoms, table, spin_orbit=spin_orbit)
    shells = {s for _, own in table.spec.orbitals for s in own}
    if "p" in shells:
        electrons = 4 * len(atoms) // (1 if spin_orbit else 2)
        at_gamma = np.asarray(bands(model, jnp.zeros((1, 3))))[0]
        top = float(at_gamma[min(electrons, at_gamma.size) - 1])
        guess = top - min(_edge(data), 0.0)
    else:  # the band's middle, and for graphene the Dirac point
        sample = jnp.asarray(np.random.default_rng(0).uniform(-2, 2, (64, 3)))
        guess = float(np.asarray(bands(model, sample)).mean())
    coarse = data
    factors = {str(d): max(1, data.sizes[d] // SCAN_PIXELS[d == "energy"]) for d in data.dims if d != "hv"}
    coarse = coarse.coarsen(factors, boundary="trim").reduce(np.mean).assign_attrs(data.attrs)
    config["instrument"]["fermi_energy"] = round(guess, 3)
    if "weights" not in config:
        floor, mean = float(np.nanpercentile(data, 5)), float(data.mean())
        config["instrument"] |= {"gain": round(max(mean, 1e-3), 4), "background": round(max(floor, 0.02 * mean), 4)}
    trial = {k: dict(v) for k, v in config.items()}
    trial["likelihood"] = {"kind": "scaled", "scale": 1.0}
    trial["fit"] |= {"held_out": 0.0, "kz_points": min(5, trial["fit"]["kz_points"])}
    reach = SCAN["p" in shells]
    levels = guess + np.arange(-reach, reach + SCAN_STEP / 2, SCAN_STEP)
    scanned = [trial["instrument"].get("slit")]
    if "inner_potential" in trial["instrument"]:
        scanned = list(SLITS)
    best = (np.inf, {})
    for slit in scanned:
        trial["instrument"] |= {} if slit is None else {"slit": slit}
        misfit = _misfit(trial, coarse)
        own = min(
            ((misfit({"fermi_energy": float(e)}), {"fermi_energy": float(e)}) for e in levels), key=lambda t: t[0]
        )
        if "inner_potential" in trial["instrument"]:
            near = own[1]["fermi_energy"] + np.array([-0.3, -0.15, 0.0, 0.15, 0.3])
            pairs = [{"fermi_energy": float(e), "inner_potential": float(v)} for e in near for v in INNER_POTENTIALS]
            own = min(((misfit(p), p) for p in pairs), key=lambda t: t[0])
        if own[0] < best[0]:
            best = (own[0], own[1] | ({} if slit is None else {"slit": slit}))
    if not np.isfinite(best[0]):
        raise ValueError(
            f"The map must be comparable with {config['model']['material']}, but no Fermi level gives an image."
        )
    config["instrument"] |= {k: round(v, 3) if isinstance(v, float) else v for k, v in best[1].items()}


def _misfit(config: dict[str, Any], data: xr.DataArray) -> Callable[[Mapping[str, float]], float]:
    """−log L of a configuration's start with some numbers changed."""
    problem = build_in_memory(config, data)
    parts, transform = prepare(data, problem)
    cost = jax.jit(make_objective(problem, parts, transform).cost)
    seen = [observed(p, broadening=0.25) for p in parts]
    centre = dict(zip(transform.names, transform.centre, strict=True))

    def misfit(changes: Mapping[str, float]) -> float:
        found = float(cost(jnp.asarray(start_vector(transform, {**centre, **changes})), seen, jnp.asarray(0.25)))
        return found if np.isfinite(found) else np.inf

    return misfit


def build_in_memory(config: Mapping[str, Any], data: xr.DataArray) -> Any:
    """The problem of a configuration for a map that is in memory already."""
    return build({k: v for k, v in config.items() if k != "map"}, maps={"map": data}).problem


def _edge(data: xr.DataArray) -> float:
    """Highest energy at which the integrated intensity exceeds the middle between its floor above and its level below."""
    curve = data.mean([d for d in data.dims if d != "energy"]).values
    energy = data["energy"].values
    floor = float(np.nanmin(curve[energy > energy[-1] - 0.15]))
    bright = np.flatnonzero(curve > floor + 0.4 * (np.nanmedian(curve) - floor))
    return float(energy[bright[-1]]) if bright.size else 0.0
