"""A collection of fingerprints as one `xarray.Dataset`, its nearest neighbours and its map.

Variables: `fingerprint` (structure, energy) in states per eV, `step` (energy) in eV, the names `structure`, and whatever labels one
adds, (structure,). Attributes hold the settings: collections of different settings do not mix.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from bandjax import checks
from bandjax.fingerprints.density import PUBLISHED_SMEARING, fingerprint
from bandjax.fingerprints.distances import VECTOR_METRICS, embedded, fingerprint_distance
from bandjax.fingerprints.kernels import kernel_cut
from bandjax.fingerprints.levels import Levels, band_edges
from bandjax.fingerprints.windows import Window, as_window, piece_steps, relative_energies

SETTINGS = ("window", "smearing", "kernel", "cut", "per", "source")
"""What must be alike in collections that are compared; "source" is a table, or says that levels came from elsewhere."""
PER = ("cell", "atom", "length")


class Neighbours(NamedTuple):
    """Nearest entries of a collection: index (query, rank) and distance (query, rank), nearest first."""

    index: np.ndarray
    distance: np.ndarray


def make_collection(
    features: ArrayLike,
    names: Sequence[str],
    *,
    window: str | Window | Sequence[Window],
    smearing: float = PUBLISHED_SMEARING,
    kernel: str = "gaussian",
    cut: float | None = None,
    per: str = "cell",
    labels: Mapping[str, ArrayLike] | None = None,
    source: str = "arrays",
) -> xr.Dataset:
    """Fingerprints with their settings.

    Args:
        features: Shape (structure, energy), states per eV and `per`.
        names: One a structure.
        window, smearing, kernel, cut: As `fingerprint` was given them.
        per: "cell", "atom" or (of wires and tubes) "length" in Å: what the states are counted in.
        labels: Further variables (structure,) by name.
        source: Where the levels come from, in words; collections of different sources are not compared unasked.

    Raises:
        ValueError: shapes that do not fit the window or each other, or features that are not finite.
    """
    pieces = as_window(window)
    features = np.asarray(features)
    energy = relative_energies(pieces, smearing)
    checks.shape_is("features", features, (len(names), len(energy)))
    checks.finite("features", features)
    checks.one_of("per", per, PER)
    dataset = xr.Dataset(
        {
            "fingerprint": (("structure", "energy"), features, {"units": f"1/eV/{'angstrom' if per == 'length' else per}", "long_name": "density of states"}),
            "step": ("energy", piece_steps(pieces, smearing), {"units": "eV", "long_name": "weight of each point in an integral"}),
            "relative_energy": ("energy", energy, {"units": "eV", "long_name": "energy beside each piece's reference"}),
        },
        coords={"structure": np.array([str(n) for n in names], dtype=object)},
        attrs={"window": window_text(pieces), "smearing": float(smearing), "kernel": kernel, "cut": kernel_cut(kernel, cut), "per": per, "source": source},
    )  # fmt: skip
    for name, values in (labels or {}).items():
        dataset[name] = ("structure", np.asarray(values))
    return dataset


def levels_collection(
    levels: Mapping[str, Levels],
    window: str | Window | Sequence[Window] = "fermi",
    *,
    smearing: float = PUBLISHED_SMEARING,
    kernel: str = "gaussian",
    cut: float | None = None,
    coarse: bool = False,
) -> xr.Dataset:
    """Collection of the fingerprints (per cell) of named levels, with fermi, vbm, cbm and gap in eV as labels; see `fingerprint`.

    Raises:
        ValueError: there are none; what `fingerprint` refuses, with the name.
    """
    if not levels:
        raise ValueError("Argument `levels` must hold one crystal or more, but is empty.")
    options = {"smearing": smearing, "kernel": kernel, "cut": cut}
    rows, edges = [], []
    for name, one in levels.items():
        try:
            edges.append(band_edges(one, smearing=smearing))
            rows.append(np.asarray(fingerprint(one, window, coarse=coarse, **options)))
        except ValueError as error:
            raise ValueError(f"Levels {name}: {error}") from error
    labels = {n: np.array([float(getattr(e, n)) for e in edges]) for n in ("fermi", "vbm", "cbm", "gap")}
    return make_collection(np.stack(rows), list(levels), window=window, labels=labels, **options)


def window_text(pieces: Sequence[Window]) -> str:
    """A window as text that `as_window` reads back."""
    return "+".join(
        f"{p.reference}:{float(p.low)!r}{_smearings(p.low_smearings)}:{float(p.high)!r}{_smearings(p.high_smearings)}:{p.points}"
        for p in pieces
    )


def joined(collections: Sequence[xr.Dataset], *, mixed: bool = False) -> xr.Dataset:
    """Several collections as one; labels and notes that not all of them share are left out. `mixed`: see `nearest_neighbours`.

    Raises:
        ValueError: none is given, or their settings differ (the first that does is named with both values).
    """
    if not collections:
        raise ValueError("Argument `collections` must hold one collection or more, but is empty.")
    for other in collections[1:]:
        same_settings(collections[0], other, mixed=mixed)
    shared = set.intersection(*(set(map(str, c.data_vars)) for c in collections))
    per_structure = [v for v in collections[0].data_vars if v in shared and "structure" in collections[0][v].dims]
    whole = xr.concat([c[per_structure] for c in collections], dim="structure", combine_attrs="override")
    rest = [v for v in collections[0].data_vars if "structure" not in collections[0][v].dims]
    return whole.assign({v: collections[0][v] for v in rest}).assign_attrs(_shared_notes(collections))


def _smearings(count: float) -> str:
    return f"{'+' if count > 0 else '-'}{abs(float(count))!r}w" if count else ""


def _shared_notes(collections: Sequence[xr.Dataset]) -> dict[str, Any]:
    """Attributes that are the same in all; of different sources, their names."""
    first = collections[0].attrs
    notes = {k: v for k, v in first.items() if all(str(c.attrs.get(k)) == str(v) for c in collections)}
    return notes | {"source": "; ".join(dict.fromkeys(str(c.attrs["source"]) for c in collections))}


def same_settings(one: xr.Dataset, other: xr.Dataset, *, mixed: bool = False) -> None:
    """Raise ValueError unless two collections were made with the same settings; with `mixed` their sources may differ."""
    for key in SETTINGS:
        if one.attrs.get(key) != other.attrs.get(key) and not (mixed and key == "source"):
            more = "; `mixed=True` compares them nevertheless" if key == "source" else ""
            raise ValueError(
                f"Collections must have the same `{key}`, but one has {one.attrs.get(key)!r} and the other {other.attrs.get(key)!r}{more}."
            )


def nearest_neighbours(
    collection: xr.Dataset,
    queries: xr.Dataset | None = None,
    *,
    count: int = 5,
    metric: str = "euclidean",
    sigma_mmd: float = 0.2,
    scale: bool = False,
    max_shift: float = 0.0,
    mixed: bool = False,
) -> Neighbours:
    """Nearest entries of a collection.

    Args:
        collection: From `make_collection`, `joined` or a file.
        queries: Another collection of the same settings; None: each entry of the collection, itself left out.
        count: How many, ≥ 1.
        metric, sigma_mmd, scale, max_shift: See `fingerprint_distance`. With a shift every pair is compared in turn; without, scikit-learn searches.
        mixed: Whether collections from different sources (tables, other programs) may be compared: part of each distance is then
            between the sources.

    Raises:
        ValueError: settings that differ, or more neighbours than there are entries.
        ImportError: scikit-learn is not installed.
    """
    checks.one_of("metric", metric, VECTOR_METRICS)
    own = queries is None
    if queries is not None:
        same_settings(collection, queries, mixed=mixed)
    _one_piece(collection, metric)
    available = collection.sizes["structure"] - own
    if not 1 <= count <= available:
        raise ValueError(f"Argument `count` must lie in 1 … {available}, the entries to be found, but is {count}.")
    asked = (collection if queries is None else queries)["fingerprint"].values
    known, step = collection["fingerprint"].values, collection["step"].values
    if max_shift:
        apart = np.stack([
            np.asarray(fingerprint_distance(known, q[None], metric, step=step, sigma_mmd=sigma_mmd, scale=scale, max_shift=max_shift)) for q in asked
        ])  # fmt: skip
        if own:
            np.fill_diagonal(apart, np.inf)
        index = np.argsort(apart, axis=1, kind="stable")[:, :count]
        return Neighbours(index, np.take_along_axis(apart, index, axis=1))
    neighbours = sklearn("neighbors")
    vectors, asked = (
        np.asarray(embedded(f, metric, step=step, sigma_mmd=sigma_mmd, scale=scale)) for f in (known, asked)
    )
    search = neighbours.NearestNeighbors(metric=VECTOR_METRICS[metric], algorithm="brute").fit(vectors)
    apart, index = search.kneighbors(None if own else asked, n_neighbors=count)
    return Neighbours(index, apart)


def _one_piece(collection: xr.Dataset, metric: str) -> None:
    """Raise ValueError for a distance along the energy in a window whose pieces do not follow each other."""
    if metric in ("wasserstein", "mmd") and len(as_window(str(collection.attrs["window"]))) > 1:
        raise ValueError(
            f"Argument `metric` must be 'euclidean', 'manhattan' or 'cosine' for a window of several pieces, between which no energy is defined, but is {metric!r}."
        )


def principal_map(
    collection: xr.Dataset, *, metric: str = "euclidean", scale: bool = False, components: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    """Map of a collection: its principal components (structure, component) and their shares of the variance.

    Raises:
        ValueError: as `nearest_neighbours`.
        ImportError: scikit-learn is not installed.
    """
    _one_piece(collection, metric)
    vectors = np.asarray(
        embedded(collection["fingerprint"].values, metric, step=collection["step"].values, scale=scale)
    )
    found = sklearn("decomposition").PCA(n_components=components, svd_solver="full").fit(vectors)
    return found.transform(vectors), found.explained_variance_ratio_


def sklearn(part: str) -> Any:
    """A module of scikit-learn.

    Raises:
        ImportError: it is not installed; says what installs it.
    """
    from importlib import import_module

    try:
        return import_module(f"sklearn.{part}")
    except ImportError as error:
        raise ImportError(
            "Collections of fingerprints are searched by scikit-learn, which is not installed: pip install 'bandjax[fingerprints]'."
        ) from error
