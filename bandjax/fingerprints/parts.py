"""Finished chunks of a long run in a folder, so that a run that was killed goes on where it stopped.

One .npz file a chunk, each written as a whole or not at all, beside `settings.json`, which says what they were made with.
"""

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import ase
import jax.numpy as jnp
import numpy as np

from bandjax.materials import Table
from bandjax.structure import site_fractions, site_labels

UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


class Part(NamedTuple):
    """What one chunk gave.

    Attributes:
        index: Places of the structures that were taken, (taken,).
        features: Fingerprints, (taken, energy).
        labels: Fermi level, edges and gap in eV and whether spin-orbit is included, (taken, 5).
        refused: Places of those that were not taken, (refused,).
        words: Why, (refused,).
    """

    index: np.ndarray
    features: np.ndarray
    labels: np.ndarray
    refused: np.ndarray
    words: np.ndarray


class Parts:
    """The finished chunks of one run by number; none where `folder` is None.

    Args:
        folder: Where they are kept; made where it is not there.
        settings: What the run depends on besides structures and tables, as text by name.
        structures: All structures of the run.
        tables: All tables of the run.

    Raises:
        ValueError: the folder holds the parts of another run (what differs is named), or something else.
        OSError: it cannot be written.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None,
        settings: dict[str, str],
        structures: Sequence[ase.Atoms],
        tables: Sequence[Table],
    ) -> None:
        self.folder = None if folder is None else Path(folder)
        if self.folder is None:
            return
        own = settings | {
            "structures": _digest_of_structures(structures), "tables": _digest_of_tables(tables),
            "precision": str(jnp.zeros(()).dtype), "version of bandjax": version("bandjax"),
        }  # fmt: skip
        kept = self.folder / "settings.json"
        if not kept.exists():
            if self.folder.exists() and (not self.folder.is_dir() or any(self.folder.glob("*.npz"))):
                raise ValueError(f"Folder {self.folder} must hold parts of this run, but holds other files.")
            self.folder.mkdir(parents=True, exist_ok=True)
            _write(kept, lambda file: file.write(json.dumps(own, indent=1).encode()))
            return
        try:
            found = json.loads(kept.read_text())
            differs = next((name for name in own | found if own.get(name) != found.get(name)), None)
        except (*UNREADABLE, AttributeError, TypeError) as error:
            raise ValueError(f"File {kept} must hold the settings of a run, but cannot be read ({error}).") from error
        if differs is not None:
            theirs, ours = found.get(differs), own.get(differs)
            words = (
                f"other {differs}"
                if differs in ("structures", "tables")
                else f"`{differs}` {theirs} where this run has {ours}"
            )
            raise ValueError(
                f"Folder {self.folder} must hold parts of this run, but they were made with {words}; delete it to start afresh."
            )

    def get(self, number: int) -> Part | None:
        """The chunk of that number, or None where it is not finished.

        Raises:
            ValueError: its file is damaged.
        """
        if self.folder is None or not self._file(number).exists():
            return None
        try:
            with np.load(self._file(number), allow_pickle=False) as file:
                return Part(*(file[name] for name in Part._fields))
        except UNREADABLE as error:
            raise ValueError(
                f"File {self._file(number)} must hold a part of a run, but cannot be read ({error})."
            ) from error

    def put(self, number: int, part: Part) -> None:
        """Keep a finished chunk.

        Raises:
            OSError: it cannot be written; the ones before are kept.
        """
        if self.folder is not None:
            _write(self._file(number), lambda file: np.savez(file, **part._asdict()))

    def _file(self, number: int) -> Path:
        assert self.folder is not None
        return self.folder / f"{number:06d}.npz"


def _write(path: Path, content: Callable[[Any], Any]) -> None:
    """Write a file as a whole or not at all."""
    new = path.with_name(path.name + ".new")
    with new.open("wb") as file:
        content(file)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def _digest_of_structures(structures: Sequence[ase.Atoms]) -> str:
    digest = hashlib.sha256()
    for atoms in structures:
        fractions = site_fractions(atoms)
        told = (site_labels(atoms), atoms.pbc.tolist(), str(atoms.info.get("materials", "")), fractions is None)
        digest.update(repr(told).encode())
        for array in (atoms.positions, np.asarray(atoms.cell), [] if fractions is None else fractions):
            digest.update(np.ascontiguousarray(array, float).tobytes())
    return digest.hexdigest()


def _digest_of_tables(tables: Sequence[Table]) -> str:
    digest = hashlib.sha256()
    for table in tables:
        digest.update(repr((table.spec, sorted(table.values))).encode())
        digest.update(np.array([float(table.values[name]) for name in sorted(table.values)]).tobytes())
    return digest.hexdigest()
