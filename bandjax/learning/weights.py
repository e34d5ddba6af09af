"""Trained networks as flat files: arrays by name in an .npz, with the record of what made them; no pickle.

A file holds the weights of one reverse network, the statistics of its pooled features on images of its family (for the
"outside what I was trained on" score) and a record in JSON: family and fingerprint, configuration, seed, commit, scores.
"""

import dataclasses
import json
import os
import zipfile
from importlib import resources
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from bandjax import checks
from bandjax.learning.families import FAMILIES
from bandjax.learning.family import Family
from bandjax.learning.reverse import ReverseNetwork, Shape

FORMAT = 1  # of these files, and of the network's architecture


@dataclasses.dataclass(frozen=True)
class Reverse:
    """A trained reverse network.

    Attributes:
        family: What it was trained on.
        network: Image to posterior.
        centre, precision: Mean (feature,) and inverse covariance (feature, feature) of its pooled features in the family.
        distances: Quantiles 0, 0.5, …, 100 % of their Mahalanobis distances, on images that were not trained on.
        record: Configuration, seed, commit, scores.
    """

    family: Family
    network: ReverseNetwork
    centre: np.ndarray
    precision: np.ndarray
    distances: np.ndarray
    record: dict[str, Any]


def make_network(shape: Shape, seed: int = 0) -> ReverseNetwork:
    """A network with random weights."""
    return ReverseNetwork(shape, rngs=nnx.Rngs(seed))


def weights_of(network: nnx.Module) -> dict[str, Any]:
    """Its weights as nested dictionaries of arrays."""
    return nnx.to_pure_dict(nnx.state(network, nnx.Param))


def with_weights[Network: nnx.Module](network: Network, weights: dict[str, Any]) -> Network:
    """The network with other weights, which may be traced."""
    graph, state = nnx.split(network)
    nnx.replace_by_pure_dict(state, weights)
    return nnx.merge(graph, state)


def save_reverse(path: str | os.PathLike[str], reverse: Reverse) -> Path:
    """Write a network; an older file is replaced only when the new one is complete.

    Raises:
        OSError: the file could not be written (a full disk); what stood there before is untouched.
    """
    record = reverse.record | {
        "format": FORMAT, "family": reverse.family.name, "fingerprint": reverse.family.fingerprint,
        "shape": dataclasses.asdict(reverse.network.shape),
    }  # fmt: skip
    flat = flat_weights(weights_of(reverse.network))
    statistics = {"centre": reverse.centre, "precision": reverse.precision, "distances": reverse.distances}
    return save_arrays(path, record, flat | statistics)


def save_arrays(path: str | os.PathLike[str], record: dict[str, Any], arrays: dict[str, np.ndarray]) -> Path:
    """Write a record and arrays; an older file is replaced only when the new one is complete.

    Raises:
        OSError: the file could not be written (a full disk); what stood there before is untouched.
    """
    path = Path(path)
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            np.savez_compressed(file, record=np.array(json.dumps(record)), **arrays)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OSError(
            f"File {path} could not be written ({error.strerror}); what stood there before is untouched."
        ) from error
    return path


def load_reverse(source: str | os.PathLike[str] = "buried_sige", *, family: Family | None = None) -> Reverse:
    """A trained network from a file, or the shipped one of a family by its name.

    Args:
        source: Path of an .npz file, or the name of a family.
        family: What the network must have been trained on; None: the shipped family that the file names.

    Raises:
        ValueError: the file is no network, or one of another family, version or descriptor set.
        FileNotFoundError: there is no such file.
    """
    folder = resources.files("bandjax") / "learning" / "weights"
    shipped = folder / f"{source}.npz"
    if str(source) in FAMILIES and shipped.is_file():
        with resources.as_file(shipped) as path:
            return _load(path, family)
    if not Path(source).is_file():
        known = ", ".join(name for name in FAMILIES if (folder / f"{name}.npz").is_file())
        raise FileNotFoundError(
            f"Argument `source` must be a file of weights or one of the families with shipped ones ({known}), but there is no {str(source)!r}."
        )
    return _load(Path(source), family)


def _load(path: Path, family: Family | None) -> Reverse:
    record, arrays = load_arrays(path, "a reverse network", ("centre", "precision", "distances"))
    statistics = [arrays.pop(name) for name in ("centre", "precision", "distances")]
    if not isinstance(record.get("shape"), dict):
        raise ValueError(f"File {path} must hold a reverse network, but its record does not say of which shape.")
    if family is None:
        family = known_family(record.get("family"), f"File {path}")
        family = family.with_priors(_checked_priors(record["priors"], path)) if "priors" in record else family
    check_record(record, family, f"File {path}")
    fields = {k: _as_tuples(v) for k, v in record["shape"].items()}
    network = make_network(Shape(**fields))
    new = unflatten_weights(weights_of(network), arrays, path)
    return Reverse(family, with_weights(network, new), *statistics, record)


def _checked_priors(priors: Any, path: Path) -> dict[str, tuple[float, float]]:
    pairs = priors.values() if isinstance(priors, dict) else [None]
    if not all(isinstance(p, list) and len(p) == 2 and all(isinstance(x, int | float) for x in p) for p in pairs):
        raise ValueError(f"File {path} must hold centre and width of each prior, but its record holds {priors!r}.")
    return {name: (float(centre), float(sigma)) for name, (centre, sigma) in priors.items()}


def _as_tuples(value: Any) -> Any:
    """JSON's lists as tuples, which can be static."""
    return tuple(map(_as_tuples, value)) if isinstance(value, list) else value


def load_arrays(path: Path, what: str, names: tuple[str, ...] = ()) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Record and arrays of a file.

    Raises:
        ValueError: the file cannot be read as `what`, or lacks one of the named arrays.
    """
    if not zipfile.is_zipfile(path):  # NumPy would take it for a pickle, and tell how to load one
        raise ValueError(f"File {path} must hold {what}, but is no .npz file, or is cut short.")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"File {path} must hold {what}, but cannot be read as one ({error}).") from error
    missing = [name for name in ("record", *names) if name not in arrays]
    if missing:
        raise ValueError(f"File {path} must hold {what}, but has no {missing[0]!r}.")
    try:
        record = json.loads(str(arrays.pop("record")))
    except ValueError as error:
        raise ValueError(f"File {path} must hold {what}, but its record cannot be read ({error}).") from error
    if not isinstance(record, dict):
        raise ValueError(f"File {path} must hold {what}, but its record is none.")
    return record, arrays


def flat_weights(weights: dict[str, Any]) -> dict[str, np.ndarray]:
    """Weights by their names from the root, joined by "/"."""
    return {"/".join(map(str, names)): np.asarray(array) for names, array in _leaves(weights)}


def unflatten_weights(like: dict[str, Any], arrays: dict[str, np.ndarray], path: Path) -> dict[str, Any]:
    """Weights of the shape of `like`, in float32, from `flat_weights`.

    Raises:
        ValueError: one is missing or has another shape.
    """
    leaves = [("/".join(map(str, names)), array) for names, array in _leaves(like)]
    wrong = [name for name, array in leaves if arrays.get(name, np.zeros(0)).shape != array.shape]
    if wrong:
        raise ValueError(f"File {path} must hold all weights of its network, but {wrong[0]} is missing or misshapen.")
    return jax.tree.unflatten(jax.tree.structure(like), [jnp.asarray(arrays[name], jnp.float32) for name, _ in leaves])


def known_family(name: Any, owner: str) -> Family:
    """The shipped family of that name, or ValueError."""
    if name not in FAMILIES:
        raise ValueError(
            f"{owner} must belong to one of the families {', '.join(FAMILIES)}, but names {name!r}.{checks.nearest(name, FAMILIES)}"
        )
    return FAMILIES[name]()


def check_record(record: dict[str, Any], family: Family, owner: str) -> None:
    """ValueError unless weights or a checkpoint belong to this family, version and descriptor set."""
    if record.get("format") != FORMAT:
        raise ValueError(
            f"{owner} must hold weights of format {FORMAT}, but has format {record.get('format')!r}; train again."
        )
    if (record.get("family"), record.get("fingerprint")) != (family.name, family.fingerprint):
        raise ValueError(
            f"{owner} must belong to family {family.name!r} ({family.fingerprint}: its priors, ranges and descriptors), "
            f"but was trained on {record.get('family')!r} ({record.get('fingerprint')})."
        )


def _leaves(tree: dict[str, Any]) -> list[tuple[tuple[Any, ...], jax.Array]]:
    """(names from the root, array) of nested dictionaries, in the order of `jax.tree`."""
    return [(tuple(k.key for k in path), leaf) for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]]
