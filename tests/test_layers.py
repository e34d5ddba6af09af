"""A file of bandjax imports only from rooms above its own."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "bandjax"
ROOMS = (
    *("units", "checks", "files", "devices", "materials", "structure", "hamiltonian", "spectrum", "photoemission"),
    *("inference", "learning", "reconstruction", "fingerprints", "io", "results", "plot", "config"),
    *(
        "progress",
        "commands_learning",
        "commands_reconstruction",
        "commands_retrieval",
        "commands_fingerprints",
        "commands",
        "parser",
        "cli",
    ),
)
ALLOWED = {room: set(ROOMS[: place + 1]) for place, room in enumerate(ROOMS)}
ALLOWED["io"] = {"units", "checks", "files", "io"}  # files are read without the physics
FACE = ("__init__", "__main__")  # bandjax/__init__.py gathers the public names of all rooms


def room_of(path: Path, package: Path) -> str:
    """The room of a file: its folder or module right under the package."""
    return path.relative_to(package).with_suffix("").parts[0]


def imported_rooms(path: Path, package: Path) -> set[str]:
    """The rooms that a file imports from, wherever in the file it does so; "" stands for the package's face."""
    inside = path.relative_to(package.parent).with_suffix("").parts
    rooms: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        names: list[tuple[str, ...]] = []
        if isinstance(node, ast.Import):
            names = [tuple(alias.name.split(".")) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = inside[: len(inside) - node.level] if node.level else ()
            base = (*start, *(node.module.split(".") if node.module else ()))
            names = [(*base, alias.name) for alias in node.names] if len(base) == 1 else [base]
        rooms |= {name[1] if len(name) > 1 else "" for name in names if name[0] == package.name}
    return rooms


def violations(path: Path, package: Path) -> list[str]:
    """One line for each import that goes to a room below, or to none of the list."""
    room = room_of(path, package)
    if room in FACE:
        return []
    if room not in ALLOWED:
        return [f"{path.name}: {room!r} is not a room of the list"]
    return [
        f"{path.name} ({room}) imports {found or 'the face'}" for found in imported_rooms(path, package) - ALLOWED[room]
    ]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_upwards(path):
    assert violations(path, PACKAGE) == []


@pytest.mark.parametrize(
    ("file", "line", "wrong"),
    [
        ("spectrum/bands.py", "from bandjax.hamiltonian import model", False),
        ("spectrum/bands.py", "from bandjax import checks, units", False),
        ("spectrum/bands.py", "from .lorentzians import broaden", False),
        ("spectrum/bands.py", "import numpy as np", False),
        ("__init__.py", "from bandjax.cli import main", False),
        ("cli.py", "import bandjax.plot.maps", False),
        ("spectrum/bands.py", "from bandjax.photoemission.image import arpes_image", True),
        ("spectrum/bands.py", "def f():\n    import bandjax.io", True),
        ("spectrum/bands.py", "from bandjax import inference", True),
        ("spectrum/bands.py", "from ..inference import fit", True),
        ("spectrum/bands.py", "from .. import inference", True),
        ("spectrum/bands.py", "import bandjax", True),
        ("inference/fit.py", "from bandjax.io import read", True),
        ("io/read.py", "from bandjax.structure import crystal", True),
        ("utils/all.py", "", True),
    ],
)
def test_the_reader_of_imports_sees(file, line, wrong, tmp_path):
    path = tmp_path / "bandjax" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(line)
    assert bool(violations(path, tmp_path / "bandjax")) is wrong
