"""What the commands `reconstruct` and `field` do."""

import argparse
import dataclasses
import json
import os
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from bandjax import checks, plot
from bandjax.config import build, read_config
from bandjax.inference import bands_along_cut
from bandjax.inference.parameters import all_values, make_transform
from bandjax.inference.problem import instrument_values, model_values, of_map
from bandjax.io import read, write_atomically, write_map
from bandjax.progress import Bar
from bandjax.reconstruction import Preprocessing, Reconstruction, fit_field, reconstruct_bands
from bandjax.results import provenance_of

DEGENERATE = 1e-3  # eV: bands of a model that are nearer, root mean square, are one line whatever the resolution
INSIDE = 0.5  # part of a model's band that must lie in the energy window for the band to be asked for


def run_reconstruction(options: argparse.Namespace) -> Any:
    """Reconstruct the bands of one map; writes the surfaces and figures."""
    out = Path(options.output)
    if out.suffix != ".nc":
        raise ValueError(f"Argument `--output` must name a .nc file, but is {options.output!r}.")
    if bool(options.initial) == bool(options.model):
        given = "both are" if options.initial else "neither is"
        raise ValueError(
            f"One of `--initial` (a file of surfaces) and `--model` (a configuration) must be given, but {given}."
        )
    if options.prior == "model" and not options.model:
        raise ValueError("Argument `--prior model` must come with `--model`, but there is none.")
    if options.bands is not None:
        checks.whole("--bands", options.bands)
        if not options.model:
            raise ValueError("Argument `--bands` must come with `--model`, whose bands are counted, but there is none.")
    out.parent.mkdir(parents=True, exist_ok=True)  # now, not when the work is done
    data = _within(read(options.map), options.energy)
    initial = model_bands(options.model, data, options.bands) if options.model else options.initial
    prior = initial if options.prior == "model" else options.prior
    steps = Preprocessing(
        rotational=options.rotational, mirror=options.mirror, clahe=options.clahe, smooth=tuple(options.smooth)
    )
    found = reconstruct_bands(
        data, initial, posterior=options.posterior, sigma_pair=options.sigma_pair, sigma_curvature=options.sigma_curvature,
        prior=prior, line=options.line, background=options.background, offset=options.offset, momentum_scale=options.momentum_scale,
        aligned=options.align, preprocessing=steps if steps != Preprocessing() else None, fill_missing=options.fill_missing,
        noise_scale=_noise(options.noise_scale, "measure", "residual"), seed=options.seed,
    )  # fmt: skip
    config = {k: v for k, v in vars(options).items() if k not in ("run", "json")}
    write_reconstruction(out, found, provenance_of(options.seed, config, source_files=os.fspath(options.map)))
    figures = {"": plot.plot_reconstruction(data, found.dataset)}
    if found.energy.ndim == 3:
        figures["_slices"] = plot.plot_slices(data, found.dataset)
    if "height" in found.dataset:
        figures["_residual"] = plot.plot_residual(data, found.dataset)
    written = [str(out)]
    for name, figure in figures.items():
        buffer = BytesIO()
        figure.savefig(buffer, dpi=170, format="png")
        written.append(str(write_atomically(out.with_name(f"{out.stem}{name}.png"), buffer.getvalue())))
    told = _told(found)
    if options.model and initial.attrs["merged"]:
        told.append(
            f"{initial.attrs['merged']} bands of the model lie within {initial.attrs['merged_below']:.3g} eV (the energy resolution) of the next lower "
            "and count as one with it."
        )
    if not options.json:
        print("\n".join([*told, *found.report, f"Wrote {', '.join(written)}."]))
    plain = {k: v for k, v in found.dataset.attrs.items() if k != "report"}
    return plain | {"file": str(out), "report": found.report, "band_ranges": _ranges(found)}


def run_field(options: argparse.Namespace) -> Any:
    """Train a field on one map; writes it, a figure and, where asked, the field on a grid."""
    out = Path(options.output)
    if out.suffix != ".npz":
        raise ValueError(f"Argument `--output` must name a .npz file, but is {options.output!r}.")
    if options.shape and not options.grid:
        raise ValueError(
            "Argument `--shape` must come with `--grid`, the file of the field on that grid, but there is none."
        )
    if options.grid and Path(options.grid).suffix != ".nc":
        raise ValueError(f"Argument `--grid` must name a .nc file, but is {options.grid!r}.")
    for path in (out, *([Path(options.grid)] if options.grid else ())):
        path.parent.mkdir(parents=True, exist_ok=True)  # now, not when the work is done
    data = _within(read(options.map), options.energy)
    if options.shape and (len(options.shape) != data.ndim or min(options.shape) < 1):
        raise ValueError(
            f"Argument `--shape` must be {data.ndim} numbers ≥ 1, one for each of {', '.join(map(str, data.dims))}, but is "
            f"{' '.join(map(str, options.shape))}."
        )
    config = {k: v for k, v in vars(options).items() if k not in ("run", "json")}
    scale = _noise(options.noise_scale, "measure")
    with Bar(
        options, 1, lambda e: f"{e['stage']}, round {e['round']}: gain {e['score']:.6g}, best {e['best']:.6g}"
    ) as bar:
        found = fit_field(
            data, kind=options.kind, width=options.width, depth=options.depth, bandwidth=options.bandwidth, members=options.members,
            held_out=options.held_out, noise_scale=scale, rounds=options.rounds, seed=options.seed, folder=options.folder, progress=bar,
        )  # fmt: skip
    provenance = provenance_of(options.seed, config, source_files=os.fspath(options.map))
    dataclasses.replace(found, record=found.record | {"provenance": provenance}).save(out)
    written = [str(out)]
    if options.grid:
        own = {str(d): data[d].values for d in data.dims}
        axes = {
            n: a if not options.shape else np.linspace(a[0], a[-1], options.shape[i])
            for i, (n, a) in enumerate(own.items())
        }
        grid = found.on(axes)
        grid.attrs = {k: v for k, v in data.attrs.items() if isinstance(v, str | int | float)} | provenance
        grid.attrs |= {
            "field": json.dumps(found.record),
            "note": "a field trained on counts by bandjax, no measurement",
        }
        written.append(str(write_map(options.grid, grid)))
    if data.ndim > 1:
        buffer = BytesIO()
        plot.plot_field(data, found, finer=2).savefig(buffer, dpi=170, format="png")
        written.append(str(write_atomically(out.with_suffix(".png"), buffer.getvalue())))
    plain = {k: v for k, v in found.record.items() if k != "history"}
    if not options.json:
        bandwidth = ", ".join(f"{b:.3g}" for b in plain["bandwidth"])
        print(
            f"{plain['members']} networks of {plain['weights']} weights on {plain['counts']:.4g} counts in {plain['points']} points; "
            f"bandwidth {bandwidth} rad over half the window\n"
            f"stopped at {plain['held_out']:.4g} nats a held-out count above a flat map; {plain['seconds_per_epoch']:.2g} s an epoch\n"
            + "".join(f"{line}\n" for line in _ends(plain))
            + f"Wrote {', '.join(written)}."
        )
    return plain | {"files": written}


def _noise(text: str, *words: str) -> float | str:
    """The option `--noise-scale`: a number, or one of the words."""
    if text in words:
        return text
    try:
        return float(text)
    except ValueError:
        raise ValueError(
            f"Argument `--noise-scale` must be a number > 0, {' or '.join(words)}, but is {text!r}."
        ) from None


def _ends(record: dict[str, Any]) -> list[str]:
    """A sentence for every scan whose best value is the last that was tried."""
    scans = {n.removeprefix("scan_"): s for n, s in record.items() if n.startswith("scan_") and s["at_end"]}
    return [
        f"The {n} lies at the end of what was tried ({min(s['values']):.3g} to {max(s['values']):.3g}): give another as --{n}."
        for n, s in scans.items()
    ]


def _within(data: xr.DataArray, energy: tuple[float, float] | None) -> xr.DataArray:
    """The part of a map between two energies."""
    if not energy:
        return data
    low, high = energy
    data = data.sel(energy=slice(low, high))
    if data.sizes["energy"] < 2:
        raise ValueError(f"Argument `--energy` must hold energies of the map, but none lies in {low:g} to {high:g} eV.")
    return data


def write_reconstruction(path: Path, found: Reconstruction, provenance: dict[str, Any]) -> None:
    """The dataset as NetCDF4, replaced as a whole."""
    dataset = found.dataset.assign_attrs(
        {k: json.dumps(v) if isinstance(v, dict) else v for k, v in provenance.items()}
    )
    write_atomically(path, bytes(dataset.to_netcdf(engine="h5netcdf")))


def model_bands(config_file: str, data: xr.DataArray, asked: int | None) -> xr.DataArray:
    """Bands E − E_F of a configured model on the grid of a map, those that lie in its energy window.

    Args:
        config_file: TOML, see `read_config`; its starting values are taken.
        data: The map, over kx or kx and ky.
        asked: How many bands are wanted, ≥ 1; None: those in the window. Bands nearer to one another than the instrument's energy
            resolution count once; how many did is the attribute `merged`, below how much `merged_below` (eV).

    Raises:
        ValueError: The map has other axes, or fewer bands than asked lie in the window.
    """
    lateral = [str(d) for d in data.dims if d != "energy"]
    if sorted(lateral) not in (["kx"], ["kx", "ky"]):
        raise ValueError(
            f"Argument `--model` must come with a map over kx, or kx and ky, but the map has {', '.join(lateral)}."
        )
    config = {k: v for k, v in read_config(config_file).items() if k != "weights"}
    problem = build(config, maps={"map": data}, folder=Path(config_file).parent).problem
    transform = make_transform(problem.parameters)
    values = {n: float(v) for n, v in all_values(transform, np.asarray(transform.centre)).items()}
    model = of_map(problem.model_of, "map")(model_values(values))
    instrument = of_map(problem.instrument, "map").replace(**instrument_values(values, "map"))
    kx = data["kx"].values
    rows = data["ky"].values if "ky" in lateral else [None]
    energy = np.stack([bands_along_cut(model, instrument, kx, ky=ky)[0] for ky in rows], axis=1)  # (kx, ky, band)
    limit, every = max(float(instrument.fwhm_energy), DEGENERATE), energy.shape[-1]
    energy = _merged(energy, limit)
    low, high = float(data["energy"].min()), float(data["energy"].max())
    share = ((energy > low) & (energy < high)).mean(axis=(0, 1))
    inside = np.flatnonzero(share > INSIDE)
    wanted = len(inside) if asked is None else asked
    if wanted > len(inside) or not wanted:
        raise ValueError(
            f"The model must have the {wanted or 1} bands that are asked for in the map's window of {low:.4g} to {high:.4g} eV, but has "
            f"{len(inside)} of its {energy.shape[-1]} there."
        )
    chosen = energy[..., inside[-wanted:]]  # the highest
    out = xr.DataArray(chosen, dims=("kx", "ky", "band"), coords={"kx": kx, "band": np.arange(wanted)})
    out.attrs = {"merged": every - energy.shape[-1], "merged_below": limit}
    return out.assign_coords(ky=rows) if "ky" in lateral else out.isel(ky=0)


def _merged(energy: np.ndarray, limit: float) -> np.ndarray:
    """Neighbouring bands that stay within `limit` of one another (spin pairs) as their mean: this map does not tell them apart."""
    groups = [[0]]
    for band in range(1, energy.shape[-1]):
        near = np.sqrt(np.mean((energy[..., band] - energy[..., groups[-1][0]]) ** 2)) < limit
        groups[-1].append(band) if near else groups.append([band])
    return np.stack([energy[..., group].mean(axis=-1) for group in groups], axis=-1)


def _told(found: Reconstruction) -> list[str]:
    a = found.dataset.attrs
    lines = [
        f"{a['bands']} bands on {a['spectra']} spectra, posterior {a['posterior']}: {'converged' if found.converged else 'NOT CONVERGED'}"
    ]
    if a["aligned"]:
        lines.append(
            f"start: offset {a['offset']:.4g} eV, energy scale {a['energy_scale']:.4g}, momentum scale {a['momentum_scale']:.4g}"
        )
    for name in ("sigma_pair", "sigma_curvature"):
        if name in a:
            by = a.get(f"{name}_by", "given")
            lines.append(f"{name} = {a[name]:.3g} eV ({by})")
    if "line_sigma" in a:
        lines.append(
            f"line: sigma {a['line_sigma']:.4g} eV, eta {a['line_eta']:.4g} eV ({a['line_by']}); reduced chi² {a['reduced_chi2']:.3g}"
        )
    lines.append(f"{'band':>6}{'lowest':>10}{'highest':>10}{'median ±':>11}   eV")
    for row in _ranges(found):
        error = "–" if row["error"] is None else f"{row['error']:.4f}"
        lines.append(f"{row['band']:>6}{row['lowest']:>10.3f}{row['highest']:>10.3f}{error:>11}")
    return lines


def _ranges(found: Reconstruction) -> list[dict[str, Any]]:
    rows = []
    for b in range(found.energy.sizes["band"]):
        band = found.energy.isel(band=b)
        error = None if found.error is None else float(found.error.isel(band=b).median())
        rows.append({"band": b, "lowest": float(band.min()), "highest": float(band.max()), "error": error})
    return rows
