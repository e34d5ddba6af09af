"""What the command `retrieve` does."""

import argparse
import json
import os
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from bandjax import plot
from bandjax.config import build, read_config
from bandjax.inference import Retrieval, retrieval_metrics, retrieve_hamiltonian
from bandjax.io import write_atomically
from bandjax.progress import Bar
from bandjax.results import provenance_of, result_dataset, write_result

STATE = "state.npz"


def run_retrieval(options: argparse.Namespace) -> Any:
    """Retrieve a Hamiltonian; writes result.nc, retrieval.json, report.txt and, for maps over kx and ky, fermi_surface.png."""
    config = read_config(options.config)
    prepared = build(config, options.map, folder=Path(options.config).parent)
    out = Path(options.output)
    out.mkdir(parents=True, exist_ok=True)
    state = out / STATE
    if not options.resume:
        state.unlink(missing_ok=True)
    with Bar(options, len(prepared.problem.broadening) + 1) as progress:
        found = retrieve_hamiltonian(
            prepared.maps, prepared.problem, starts=options.starts, fraction=options.fraction, pattern=options.pattern,
            energy=tuple(options.energy) if options.energy else None, bands=options.bands, k_z=options.k_z, grid=options.grid,
            progress=progress, state_file=state, **{"bootstrap_draws": 0, **prepared.options},
        )  # fmt: skip
    provenance = provenance_of(prepared.problem.seed, config, source_files=", ".join(map(os.fspath, options.map)))
    write_result(out / "result.nc", with_surfaces(result_dataset(found.fit, provenance=provenance), found))
    metrics = retrieval_metrics(found)
    write_atomically(out / "retrieval.json", json.dumps(metrics, indent=1, default=float).encode())
    text = told(found)
    write_atomically(out / "report.txt", (text + "\n").encode())
    written = ["result.nc", "retrieval.json", "report.txt"]
    if any({"kx", "ky"} <= set(map(str, m.data.dims)) for n, m in found.fit.maps.items() if n in found.surfaces):
        buffer = BytesIO()
        plot.plot_fermi_surface(found).savefig(buffer, dpi=170, format="png")
        write_atomically(out / "fermi_surface.png", buffer.getvalue())
        written.append("fermi_surface.png")
    state.unlink(missing_ok=True)
    if not options.json:
        print(f"{text}\nWrote {out}/{', '.join(written)}.")
    return metrics | {"out": str(out)}


def with_surfaces(dataset: xr.Dataset, found: Retrieval) -> xr.Dataset:
    """The fit's dataset with filled areas (surface, level) and pockets (pocket) added; NaN where a map's model has fewer bands."""
    if not found.surfaces:
        return dataset
    names = list(found.surfaces)
    surfaces = list(found.surfaces.values())
    dataset = dataset.assign_coords(surface=names)
    part = {"units": "1", "long_name": "part of the zone below E_F"}
    dataset["filled"] = (("surface", "level"), _padded([f.filled for f in surfaces]), part)
    dataset["filled_error"] = (("surface", "level"), _padded([f.filled_error for f in surfaces]), {"units": "1"})
    dataset["plane_kz"] = ("surface", np.array([f.k_z for f in surfaces]), {"units": "1/angstrom"})
    rows = [(n, p) for n, f in zip(names, surfaces, strict=True) for p in f.pockets]
    if rows:
        dataset["pocket_surface"] = ("pocket", np.array([n for n, _ in rows], dtype=object))
        dataset["pocket_kind"] = ("pocket", np.array([p.kind for _, p in rows], dtype=object))
        dataset["pocket_level"] = ("pocket", np.array([p.band for _, p in rows]))
        dataset["pocket_centre"] = (("pocket", "axis"), np.array([p.centre for _, p in rows]), {"units": "1/angstrom"})
        dataset["pocket_area"] = (
            "pocket",
            np.array([p.area for _, p in rows]),
            {"units": "1", "long_name": "part of the zone"},
        )
        dataset["pocket_error"] = ("pocket", np.array([p.error for _, p in rows]), {"units": "1"})
    dataset.attrs |= {"starts": found.starts, "starts_at_the_lowest": found.reached}
    return dataset


def _padded(rows: list[np.ndarray]) -> np.ndarray:
    out = np.full((len(rows), max(map(len, rows))), np.nan)
    for row, values in zip(out, rows, strict=True):
        row[: len(values)] = values
    return out


def told(found: Retrieval) -> str:
    """A retrieval as text for people."""
    state = "converged" if found.fit.converged else "NOT CONVERGED"
    share = ", ".join(f"{n} {u:.1%}" for n, u in found.used.items())
    lines = [
        f"{state}; {found.reached} of {found.starts} starts at the lowest; pixels used: {share}; {found.seconds:.0f} s",
        f"{'':18}{'value':>11}{'± error':>10}",
    ]
    for name in found.fit.names:
        lines.append(
            f"{name:18}{found.fit.values[name]:11.4f}{found.fit.errors[name]:10.4f}  {found.fit.problem.parameters[name].unit}"
        )
    return "\n".join([*lines, *found.report])
