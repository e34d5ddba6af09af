"""What the commands `train`, `invert` and `adapt` do. They alone import Flax, optax and orbax, which take seconds to load."""

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from bandjax.devices import all_devices
from bandjax.inference import Parameter
from bandjax.io import check_map, read, write_atomically
from bandjax.learning.adaptation import adapt
from bandjax.learning.closed_loop import Inversion, as_dictionary, invert
from bandjax.learning.family import centre_and_spread
from bandjax.learning.surrogate import load_surrogate
from bandjax.learning.surrogate_training import SurrogateConfig, read_surrogate_config, train_surrogate
from bandjax.learning.training import train
from bandjax.learning.training_config import TrainingConfig, read_training
from bandjax.learning.weights import load_reverse, save_reverse
from bandjax.progress import Bar
from bandjax.results import provenance_of, result_dataset, source_commit, write_result


def run_training(options: argparse.Namespace) -> Any:
    """Train, or go on with the training in the output folder."""
    quiet = options.quiet or options.json or not sys.stderr.isatty()
    if options.what == "surrogate":
        config = read_surrogate_config(options.config) if options.config else SurrogateConfig()
        written = train_surrogate(config, options.output, quiet=quiet, commit=source_commit(), mesh=all_devices())
        record = load_surrogate(written).record
        told = f"R² of held-out layers {record['scores']['r2']:.4f}, of the deviation {record['scores']['r2_deviation']:.4f}"
    else:
        config = read_training(options.config) if options.config else TrainingConfig()
        written = train(config, options.output, quiet=quiet, commit=source_commit(), mesh=all_devices())
        record = load_reverse(written).record
        told = f"−log posterior of held-out latents {record['scores']['minus_log_posterior']:.3f}"
    if not options.json:
        print(f"Wrote {written}: {told}.")
    return {"file": str(written), "scores": record["scores"]}


def run_inversion(options: argparse.Namespace) -> Any:
    """Invert one map; writes inversion.json, result.nc and report.txt."""
    image = _map(options.map, options)
    reverse = load_reverse(options.weights) if options.weights else load_reverse()
    out = Path(options.output)
    out.mkdir(parents=True, exist_ok=True)  # before what takes long
    with Bar(options, 1) as progress:
        found = invert(image, reverse=reverse, starts=options.starts, progress=progress)
    numbers = as_dictionary(found)
    write_atomically(out / "inversion.json", json.dumps(numbers, indent=1, default=float).encode())
    provenance = provenance_of(0, {"family": reverse.family.name}, source_files=str(options.map))
    write_result(out / "result.nc", result_dataset(found.fit, provenance=provenance))
    text = words(found)
    write_atomically(out / "report.txt", (text + "\n").encode())
    if not options.json:
        print(f"{text}\nWrote {out}/inversion.json, result.nc, report.txt.")
    return numbers | {"out": str(out)}


def run_adaptation(options: argparse.Namespace) -> Any:
    """Adapt a network to maps; writes its file."""
    out = Path(options.output)
    if out.suffix != ".npz":
        raise ValueError(f"Argument `--output` must name an .npz file, but is {options.output!r}.")
    images = [_map(path, options) for path in options.map]
    reverse = load_reverse(options.weights) if options.weights else load_reverse()
    out.parent.mkdir(parents=True, exist_ok=True)  # before what takes long
    # kept beside the result, so that a killed adaptation goes on; of no use after it
    folder = out.with_name(out.name + ".job")
    adapted = adapt(reverse, images, folder=folder, quiet=options.quiet or options.json or not sys.stderr.isatty())
    save_reverse(out, adapted)
    shutil.rmtree(folder, ignore_errors=True)  # what cannot be deleted is no reason to fail now
    told = adapted.record["adapted"]
    if not options.json:
        print(f"The model explains {told['explained']} of {told['images']} maps. New priors:")
        for name, (centre, sigma) in adapted.record["priors"].items():
            print(f"{name:18}{centre:11.4g} ± {sigma:.2g}")
        print(f"Wrote {out}.")
    return {"file": str(out), "priors": adapted.record["priors"], **told}


def _map(path: str, options: argparse.Namespace) -> xr.DataArray:
    """A map, with what the command line tells of it."""
    image = check_map(read(path))
    given = {n: getattr(options, n) for n in ("photon_energy", "fwhm_energy")}
    return image.assign_attrs({n: v for n, v in given.items() if v is not None})


def words(found: Inversion) -> str:
    """An inversion as text for people."""
    lines = [found.verdict.upper(), f"{'':18}{'value':>11}{'± error':>10}{'network':>11}{'± error':>10}{'prior ±':>10}"]
    for name, parameter in found.fit.problem.parameters.items():
        known = name in found.guess.values  # not what the network was trained over
        guess = f"{found.guess.values[name]:11.4g}{found.guess.errors[name]:10.2g}" if known else f"{'–':>11}{'–':>10}"
        lines.append(
            f"{name:18}{found.values[name]:11.4g}{found.errors[name]:10.2g}{guess}{_width(parameter):10.2g}  {parameter.unit}"
        )
    return "\n".join([*lines, *found.report])


def _width(parameter: Parameter) -> float:
    """Standard deviation of a prior, also of one that is even between bounds; infinite where there is none."""
    bounded = np.isfinite(parameter.lower) and np.isfinite(parameter.upper)
    return centre_and_spread(parameter)[1] if np.isfinite(parameter.sigma) or bounded else float("inf")
