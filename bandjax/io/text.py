r"""Plain text grids, in columns or as a matrix; separated by commas, semicolons, tabs or blanks.

Columns: a line of names, then one line a pixel, such as `energy,kx,intensity` (the column with no axis name is the
intensity; units may follow, as in `energy [meV]`). Matrix: the first row holds one axis, the first column the other;
they are named in the corner, rows first, as `energy [eV]\angle [deg]`, or by the comments `# rows: energy` and
`# columns: angle`. Comments `# name: value` become attributes. Axes that nothing names are refused, not guessed.
"""

import re
from pathlib import Path

import numpy as np
import xarray as xr

from bandjax.io.axes import known_names, label
from bandjax.io.formats import broken
from bandjax.io.ses import decode

_COMMENT = ("#", "%", ";")


def read(path: Path, variable: str | None) -> xr.DataArray:
    """The map of a text grid with its own names; there is one map in the file, and `variable` may name its column."""
    notes: dict[str, str] = {}
    comments: list[str] = []
    lines: list[str] = []
    for line in decode(path.read_bytes()).splitlines():
        if line.strip().startswith(_COMMENT):
            comments.append(line.strip().lstrip("#%; "))
        elif line.strip():
            lines.append(line)
    for comment in comments:
        match = re.match(r"([^:=]+?)\s*[:=]\s*(.+)", comment)
        if match:
            notes.setdefault(match[1].strip(), match[2].strip())
    if not lines:
        raise broken(path, "a map in a known format", "it holds no numbers")
    separator = next((mark for mark in (",", ";", "\t") if mark in lines[-1]), None)
    rows = [[part.strip() for part in line.split(separator)] for line in lines]
    head = rows[0] if not _number(rows[0][-1]) else None
    if head is None and comments:
        last = [part.strip() for part in comments[-1].split(separator)]
        head = last if len(last) == len(rows[0]) and _axes(last) else None
    elif head is not None:
        rows = rows[1:]
    if not rows:
        raise broken(path, "a map in a known format", "it holds no numbers")
    if head is not None and len(_axes(head)) >= 2:
        return _columns(path, head, rows, notes, variable)
    if head is not None:
        raise ValueError(
            f"File {path} must name two columns or more among {known_names()} in its first line, but has {head}."
        )
    return _matrix(path, rows, notes, variable)


def _columns(
    path: Path, head: list[str], rows: list[list[str]], notes: dict[str, str], variable: str | None
) -> xr.DataArray:
    table = _table(path, rows)
    if table.shape[1] != len(head):
        raise ValueError(
            f"File {path} must have as many names as columns, but has {len(head)} names for {table.shape[1]} columns."
        )
    dims = _axes(head)
    values = [name for name in head if name not in dims]
    if variable is not None and variable not in values:
        raise ValueError(f"Argument `variable` must be one of {values} in File {path}, but is {variable!r}.")
    if variable is None and len(values) != 1:
        raise ValueError(
            f"File {path} must have one column beside its axes {dims}, but has {values}: choose with `variable=`."
        )
    column = head.index(variable or values[0])
    places, coords = [], {}
    for name in dims:
        grid, place = np.unique(table[:, head.index(name)], return_inverse=True)
        coords[name] = grid
        places.append(place)
    shape = [len(coords[name]) for name in dims]
    counts = np.zeros(shape)
    np.add.at(counts, tuple(places), 1)
    if not np.all(counts == 1):
        raise ValueError(
            f"File {path} must have every point of its grid of {' × '.join(map(str, shape))} once, "
            f"but {int(np.sum(counts == 0))} points are missing and {int(np.sum(counts > 1))} come up more than once."
        )
    image = np.empty(shape)
    image[tuple(places)] = table[:, column]
    return xr.DataArray(image, dims=dims, coords=coords, attrs=notes)


def _matrix(path: Path, rows: list[list[str]], notes: dict[str, str], variable: str | None) -> xr.DataArray:
    if variable is not None:
        raise ValueError(f"Argument `variable` must be None for the matrix in File {path}, but is {variable!r}.")
    corner = rows[0][0] if not _number(rows[0][0]) else ""
    match = re.fullmatch(r"([^\\/|\[(]+(?:[\[(][^\])]*[\])])?)\s*[\\/|]\s*(.+)", corner)
    down, across = (match[1].strip(), match[2].strip()) if match else (notes.get("rows"), notes.get("columns"))
    if not down or not across:
        raise ValueError(
            f"File {path} must name its axes, rows first, in its corner ('energy\\angle') or in comments "
            "('# rows: energy', '# columns: angle'), but names none."
        )
    for key in ("rows", "columns"):
        notes.pop(key, None)
    short = len(rows) > 1 and len(rows[0]) == len(rows[1]) - 1
    top = rows[0] if short else rows[0][1:]
    table = _table(path, rows[1:])
    if table.shape[-1] != len(top) + 1:
        raise ValueError(
            f"File {path} must have {len(top) + 1} columns as its first row says, but below it has {table.shape[-1]}."
        )
    coords = {down: table[:, 0], across: _table(path, [top])[0]}
    return xr.DataArray(table[:, 1:], dims=(down, across), coords=coords, attrs=notes)


def _table(path: Path, rows: list[list[str]]) -> np.ndarray:
    length = len(rows[0]) if rows else 0
    for number, row in enumerate(rows):
        if len(row) != length:
            raise ValueError(
                f"File {path} must have lines of equal length, but data line {number + 1} has {len(row)} entries, "
                f"not {length}."
            )
    try:
        return np.array(rows, dtype=np.float64)
    except ValueError as error:
        bad = next(part for row in rows for part in row if not _number(part))
        raise ValueError(f"File {path} must be a grid of numbers in text, but holds {bad[:40]!r}.") from error


def _axes(head: list[str]) -> list[str]:
    return [name for name in head if label(name).name is not None]


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
