"""What each command of the command line does; every function takes its options and returns what `--json` prints."""

import argparse
import json
import os
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from bandjax import plot
from bandjax.config import build, fit, read_config, structure_of, suggest
from bandjax.config.build import LATTICES, tables_of
from bandjax.hamiltonian import tight_binding
from bandjax.inference import FitResult
from bandjax.inference.parameters import all_values, make_transform
from bandjax.inference.problem import prepare
from bandjax.io import read, write_atomically, write_map
from bandjax.materials import list_parameters
from bandjax.photoemission import QUANTITIES, arpes_image, as_axes
from bandjax.progress import Bar
from bandjax.results import provenance_of, read_result, result_dataset, valence_bands, write_result
from bandjax.spectrum import bands, k_path

DEMO = "demo_silicon"
STATE = "state.npz"


def materials(options: argparse.Namespace) -> Any:
    """List tables, or print the values of one material."""
    entries = [e for e in list_parameters(options.name) if options.table in (None, e.table)]
    if options.table and not entries:
        raise ValueError(f"No table {options.table!r} holds the material; `bandjax materials` lists them.")
    if options.name is None:
        for e in entries:
            _say(options, f"{e.material:18} {e.table:15} {e.orbitals:8} {e.values:3} values   {e.citation}")
        return [e._asdict() for e in entries]
    out = {}
    for e in entries:
        table, _ = tables_of({"material": e.material, "table": e.table})
        state = dict(table.spec.state)
        out[e.table] = {n: float(v) for n, v in table.values.items()}
        _say(options, f"{e.material} {e.table} ({e.orbitals}), a = {table.spec.lattice_constant} Å\n  {e.citation}")
        for name, value in out[e.table].items():
            _say(options, f"  {name:14} {value:12.6g}  {state.get(name, '')}".rstrip())
    return out


def band_structure(options: argparse.Namespace) -> Any:
    """Bands along a path, as a figure, a table or JSON."""
    table_name = options.table or list_parameters(options.material)[-1].table
    model_section = {"material": options.material, "table": table_name}
    table, _ = tables_of(model_section)
    atoms = structure_of(model_section, table)
    model = tight_binding(atoms, table, spin_orbit=bool(table.spec.spin_orbit))
    flat = not atoms.pbc[2]
    default = "GX" if options.material in LATTICES else ("GKM" if flat else "LGX")
    k, distance, marks = k_path(atoms, options.path or default, options.points)
    energy = np.asarray(bands(model, k))
    filled, _ = valence_bands(model)
    if filled is not None and not model.topology.spin_orbit:
        filled //= 2
    top = 0.0 if filled is None else float(energy[:, filled - 1].max())
    if options.output:
        figure = plot.plot_bands(distance, energy, marks, n_valence=filled, title=f"{options.material} {table_name}")
        _save(figure, Path(options.output))
        _say(options, f"Wrote {options.output}.")
    for place, label in marks:
        at = energy[int(np.argmin(np.abs(distance - place)))] - top
        _say(options, f"{label:>3}  " + " ".join(f"{e:8.3f}" for e in at))
    reference = "the table's own scale" if filled is None else "the valence-band top of the path"
    _say(options, f"eV, relative to {reference}")
    return {
        "material": options.material, "table": table_name, "k": k, "distance": distance, "energy": energy - top,
        "labels": marks, "reference": reference, "n_valence": filled,
    }  # fmt: skip


def simulate(options: argparse.Namespace) -> Any:
    """A map with counting noise, written with what it was made of."""
    config = read_config(options.config)
    wanted = config.get("simulate")
    if options.like:
        like = read(options.like)
        axes = {str(d): like[d].values for d in like.dims}
    elif wanted:
        axes = {name: np.linspace(low, high, int(count)) for name, (low, high, count) in wanted.items()}
    else:
        raise ValueError(
            f"File {options.config} must have a section [simulate] with axes, or `--like MAP` must be given."
        )
    order = as_axes(axes)
    empty = xr.DataArray(np.zeros(order.shape), dims=order.names, coords={n: axes[n] for n in order.names})
    if "maps" in config:
        raise ValueError("`bandjax simulate` makes one map: the configuration must have [map], not [[maps]].")
    config = {k: v for k, v in config.items() if k != "weights"}
    problem = build(config, maps={"map": empty}).problem
    transform = make_transform(problem.parameters)
    truth = {n: float(v) for n, v in all_values(transform, np.asarray(transform.centre)).items()}
    model = problem.model_of({n: v for n, v in truth.items() if n not in QUANTITIES})
    instrument = problem.instrument.replace(**{n: v for n, v in truth.items() if n in QUANTITIES})  # type: ignore[union-attr]
    kz_points = problem.kz_points
    mean = np.asarray(arpes_image(model, instrument, axes, method=problem.method, kz_points=kz_points))
    if (mean < 0).any():
        raise ValueError(f"The background must leave the mean counts ≥ 0, but they reach {mean.min():.3g}.")
    counts = mean if options.no_noise else np.random.default_rng(options.seed).poisson(mean).astype(float)
    units = {
        "energy": "eV",
        "hv": "eV",
        "angle": "degree",
        "deflector": "degree",
        "kx": "1/angstrom",
        "ky": "1/angstrom",
    }
    data = xr.DataArray(counts, dims=order.names, coords={n: (n, axes[n], {"units": units[n]}) for n in order.names})
    data.attrs = {
        **{k: json.dumps(v) if isinstance(v, dict) else v for k, v in provenance_of(options.seed, config).items()},
        "simulated": 1, "note": "simulated by bandjax, no measurement", "energy_reference": "fermi", "seed": options.seed,
        "photon_energy": float(instrument.photon_energy), "work_function": float(instrument.work_function),
        "truth": json.dumps(truth), "mean_counts": float(mean.mean()),
    }  # fmt: skip
    write_map(options.output, data)
    _say(
        options, f"Wrote {options.output}: simulated, mean {mean.mean():.3g} counts a pixel, at most {mean.max():.3g}."
    )
    return {"file": options.output, "mean_counts": float(mean.mean()), "truth": truth}


def init_config(options: argparse.Namespace) -> Any:
    """Write a configuration."""
    text, config = suggest(options.map, options.material, options.table, variable=options.variable)
    write_atomically(options.output, text.encode())
    _say(options, f"Wrote {options.output}. Fit with:  bandjax fit {options.map} -c {options.output} -o out/")
    return {"file": options.output, "config": config}


def fit_maps(options: argparse.Namespace) -> Any:
    """Fit, write the result and its figures."""
    config = read_config(options.config)
    dataset, _ = run_fit(config, options.map, Path(options.output), options, Path(options.config).parent)
    return summary(dataset) | {"out": options.output}


def run_fit(
    config: dict[str, Any], files: list[str], out: Path, options: argparse.Namespace, folder: Path
) -> tuple[xr.Dataset, FitResult]:
    """Fit as configured, with progress and a state file, and write everything to `out`."""
    prepared = build(config, files, folder=folder)
    out.mkdir(parents=True, exist_ok=True)
    state = out / STATE
    if not getattr(options, "resume", False) and state.exists():
        prepare(prepared.maps, prepared.problem)  # an interrupted fit is given up only for one that can start
        state.unlink()
    with Bar(options, len(prepared.problem.broadening) + 1) as progress:
        result = fit(prepared.maps, prepared.problem, progress=progress, state_file=state, **prepared.options)
    provenance = provenance_of(prepared.problem.seed, config, source_files=", ".join(map(os.fspath, files)))
    dataset = result_dataset(result, provenance=provenance)
    write_result(out / "result.nc", dataset)
    write_atomically(out / "report.txt", (words(dataset) + "\n").encode())
    figures = {
        "fit": plot.plot_fit,
        "parameters": plot.plot_parameters,
        "correlation": plot.plot_correlation,
        "curves": plot.plot_curves,
    }
    for name, figure in figures.items():
        _save(figure(dataset), out / f"{name}.png")
    for other in json.loads(dataset.attrs["maps"])[1:]:
        _save(plot.plot_fit(dataset, other), out / f"fit_{other}.png")
    state.unlink(missing_ok=True)
    _say(options, words(dataset))
    _say(options, f"Wrote {out}/result.nc, report.txt, {', '.join(f'{f}.png' for f in figures)}.")
    return dataset, result


def report(options: argparse.Namespace) -> Any:
    """Print a result."""
    dataset = read_result(options.result)
    _say(options, words(dataset))
    return summary(dataset)


def demo(options: argparse.Namespace) -> Any:
    """Fit the bundled simulated map and print truth beside fit."""
    with resources.as_file(resources.files("bandjax") / "data") as folder:
        source = folder / f"{DEMO}.nc"
        config = read_config(folder / f"{DEMO}.toml")
        truth = json.loads(read(source).attrs["truth"])
        _say(options, "Fitting a map of silicon that is simulated, made by the same model, with counting noise …")
        dataset, _ = run_fit(config, [str(source)], Path(options.out), options, folder)
    rows = []
    for i, name in enumerate(map(str, dataset["parameter"].values)):
        if bool(dataset["free"][i]) and name in truth:
            value, error = float(dataset["value"][i]), float(dataset["standard_error"][i])
            rows.append((name, truth[name], value, error, (value - truth[name]) / error))
    _say(
        options,
        "\nsimulated, made by the same model\n"
        + f"{'parameter':18}{'truth':>10}{'fit':>10}{'± error':>10}{'off by σ':>10}",
    )
    for name, true, value, error, off in rows:
        _say(options, f"{name:18}{true:10.4f}{value:10.4f}{error:10.4f}{off:10.1f}")
    return summary(dataset) | {"simulated": True, "truth": {r[0]: r[1] for r in rows}}


def train(options: argparse.Namespace) -> Any:
    """Train a network."""
    from bandjax.commands_learning import run_training  # Flax and orbax take seconds to load

    return run_training(options)


def invert(options: argparse.Namespace) -> Any:
    """Invert a map by network and exact refinement."""
    from bandjax.commands_learning import run_inversion  # as above

    return run_inversion(options)


def adapt(options: argparse.Namespace) -> Any:
    """Adapt a network to maps without labels."""
    from bandjax.commands_learning import run_adaptation  # as above

    return run_adaptation(options)


def reconstruct(options: argparse.Namespace) -> Any:
    """Reconstruct the bands of a map."""
    from bandjax.commands_reconstruction import run_reconstruction  # for the other commands it need not be read

    return run_reconstruction(options)


def field(options: argparse.Namespace) -> Any:
    """Train a field on a map."""
    from bandjax.commands_reconstruction import run_field  # for the other commands it need not be read

    return run_field(options)


def retrieve(options: argparse.Namespace) -> Any:
    """Retrieve a Hamiltonian from maps."""
    from bandjax.commands_retrieval import run_retrieval  # for the other commands it need not be read

    return run_retrieval(options)


def fingerprint(options: argparse.Namespace) -> Any:
    """Fingerprints of structures."""
    from bandjax.commands_fingerprints import run_fingerprint

    return run_fingerprint(options)


def nearest(options: argparse.Namespace) -> Any:
    """Nearest neighbours in a collection of fingerprints."""
    from bandjax.commands_fingerprints import run_nearest

    return run_nearest(options)


def summary(dataset: xr.Dataset) -> dict[str, Any]:
    """The numbers of a result as plain values."""
    columns = ("value", "standard_error", "bootstrap_error", "pull")
    parameters = {
        str(n): {c: _number(dataset[c].values[i]) for c in columns} | {"unit": str(dataset["unit"].values[i]), "free": bool(dataset["free"].values[i])}
        for i, n in enumerate(dataset["parameter"].values)
    }  # fmt: skip
    derived = {}
    if "derived" in dataset.coords:
        for i, n in enumerate(dataset["derived"].values):
            derived[str(n)] = [
                _number(dataset[f"derived_{c}"].values[i]) for c in ("value", "error", "bootstrap_error")
            ]
    kept = ("model", "converged", "reduced_chi2", "inflation", "cost", "held_out_cost", "n_valence", "date", "commit")
    return {k: dataset.attrs.get(k) for k in kept} | {
        "parameters": parameters, "derived": derived, "report": [str(s) for s in dataset["report"].values],
    }  # fmt: skip


def words(dataset: xr.Dataset) -> str:
    """A result as text for people."""
    a = dataset.attrs
    state = "converged" if a["converged"] else "NOT CONVERGED"
    lines = [f"{a['model']}: {state}, reduced chi² {a['reduced_chi2']:.3g}, −log posterior {a['cost']:.6g}"]
    if a["inflation"] > 1.5:
        lines.append(f"errors hold for noise widened by {a['inflation']:.3g} in variance")
    lines.append(f"{'':18}{'value':>11}{'± error':>10}{'bootstrap':>10}{'pull':>7}")
    for name, p in summary(dataset)["parameters"].items():
        if p["free"]:
            cells = [_cell(p["standard_error"], 10), _cell(p["bootstrap_error"], 10), _cell(p["pull"], 7, 1)]
            lines.append(f"{name:18}{p['value']:11.4f}{''.join(cells)}  {p['unit']}")
    for name, (value, error, again) in summary(dataset)["derived"].items():
        lines.append(f"{name:18}{value:11.4f}{_cell(error, 10)}{_cell(again, 10)}         derived")
    return "\n".join([*lines, *(str(s) for s in dataset["report"].values)])


def _save(figure: Any, path: Path) -> None:
    from io import BytesIO

    buffer = BytesIO()
    figure.savefig(buffer, dpi=170, format=path.suffix.lstrip(".") or "png")
    write_atomically(path, buffer.getvalue())


def _say(options: argparse.Namespace, text: str) -> None:
    if not options.json:
        print(text, file=sys.stdout)


def _number(x: Any) -> float | None:
    return float(x) if np.isfinite(x) else None


def _cell(x: float | None, width: int, digits: int = 4) -> str:
    return f"{'–':>{width}}" if x is None else f"{x:{width}.{digits}f}"


RUN: dict[str, Callable[[argparse.Namespace], Any]] = {
    "materials": materials, "bands": band_structure, "simulate": simulate, "init-config": init_config, "fit": fit_maps,
    "report": report, "invert": invert, "train": train, "adapt": adapt,
    "reconstruct": reconstruct, "retrieve": retrieve, "field": field, "fingerprint": fingerprint,
    "nearest": nearest, "demo": demo,
}  # fmt: skip
