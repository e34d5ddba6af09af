"""Choosing one map where a file holds several."""

from collections.abc import Mapping, Sequence

import xarray as xr

from bandjax import checks
from bandjax.io.axes import known_names, label

PREFERRED = ("intensity", "spectrum", "data")


def looks_like_map(dims: Sequence[object], shape: Sequence[int], kind: str) -> bool:
    """Whether an array has numbers on two or more axes, all with known names (axes of length 1 do not count)."""
    names = [label(str(dim)).name for dim, size in zip(dims, shape, strict=True) if size > 1]
    return kind in "iufb" and len(names) >= 2 and None not in names


def choose[Found](maps: Mapping[str, Found], variable: str | None, source: str, others: Mapping[str, str]) -> Found:
    """The one map of a file, or the one asked for.

    Args:
        maps: Maps with known axes by name; a name may be a path, whose last part then serves too.
        variable: The name asked for, or None: the only map, else the only one named as in `PREFERRED`.
        source: "File …", for the error sentences.
        others: What else the file holds, name -> description, for the error sentences.

    Raises:
        ValueError: No map, several, or not the one asked for.
    """
    if variable is not None:
        matches = [name for name in maps if variable in (name, name.rsplit("/", 1)[-1])]
        exact = [name for name in matches if name == variable]
        matches = exact or matches
        if len(matches) == 1:
            return maps[matches[0]]
        if len(matches) > 1:
            raise ValueError(f"{source} has several maps called {variable!r}: give one of {_list(matches)}.")
        if variable in others:
            raise ValueError(
                f"{source} must have two or more axes named among {known_names()} for {variable!r}, "
                f"but it is {others[variable]}."
            )
        hint = checks.nearest(variable, maps)
        raise ValueError(f"Argument `variable` must be one of {_list(maps)} in {source}, but is {variable!r}.{hint}")
    if len(maps) == 1:
        return next(iter(maps.values()))
    if not maps:
        found = "; ".join(others.values()) or "nothing of the kind"
        raise ValueError(
            f"{source} must hold a map of two or more axes named among {known_names()}, but holds {found}."
        )
    for wanted in PREFERRED:
        matches = [name for name in maps if name.rsplit("/", 1)[-1].lower() == wanted]
        if len(matches) == 1:
            return maps[matches[0]]
    raise ValueError(f"{source} holds several maps, {_list(maps)}: choose one with `variable=`.")


def describe(array: xr.DataArray, name: str) -> str:
    """A line on an array, such as "counts (x: 3, y: 4)"."""
    return f"{name} ({', '.join(f'{dim}: {size}' for dim, size in array.sizes.items())})"


def _list(names: object) -> str:
    return ", ".join(repr(name) for name in names) or "none"  # type: ignore[attr-defined]
