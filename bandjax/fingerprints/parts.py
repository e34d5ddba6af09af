"""Finished chunks of a long run in a folder, so that a run that was killed goes on where it stopped.

One .npz file a chunk, each written as a whole or not at all, beside `settings.json`, which says what they were made with, and
`lock`, which says which process works there. Nothing else in the folder is ever removed.
"""

import contextlib
import hashlib
import io
import json
import os
import platform
import re
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import ase
import jax
import jax.numpy as jnp
import numpy as np

from bandjax.files import BusyError, lock_folder, write_atomically
from bandjax.materials import Table
from bandjax.structure import site_fractions, site_labels

OWN = re.compile(r"settings\.json|\d{6}\.npz|\.(settings\.json|\d{6}\.npz)\.\d+\.part")
LABELS = 5  # of a structure: see `Part`


class PartsError(ValueError):
    """A folder or file that is not of this run: it is left as it is."""


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
    """The finished chunks of one run by number, `with` which the run works; none where `folder` is None.

    At the end of the block the folder stays, unless the run refused what it was given (ValueError): no other run could go on with
    those parts, and one of other settings would be refused.

    Args:
        folder: Where they are kept; made where it is not there.
        settings: What the run depends on besides structures and tables, as text by name.
        structures: All structures of the run.
        tables: All tables of the run.
        points: Energies of a fingerprint.

    Raises:
        PartsError: on entering, the folder holds the parts of another run (what differs is named), or something else.
        BusyError: on entering, another process works in it.
        OSError: on entering, it cannot be written.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None,
        settings: dict[str, str],
        structures: Sequence[ase.Atoms],
        tables: Sequence[Table],
        points: int,
    ) -> None:
        self.folder = None if folder is None else Path(folder)
        self.points = points
        self.settings = settings | {
            "structures": _digest_of_structures(structures), "tables": _digest_of_tables(tables),
            "precision": str(jnp.zeros(()).dtype), "version of bandjax": version("bandjax"),
            "version of JAX": f"{version('jax')}, {version('jaxlib')}", "platform": f"{jax.default_backend()}, {platform.machine()}",
        }  # fmt: skip

    def __enter__(self) -> "Parts":
        if self.folder is not None:
            self._refuse_foreign(self.folder)  # before anything is written into it
            lock = lock_folder(self.folder)
            try:
                self._agree(self.folder)
            except BaseException:
                lock.unlink(missing_ok=True)
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.folder is None:
            return
        if isinstance(error, ValueError) and not isinstance(error, PartsError):
            _clear(self.folder)
        else:
            (self.folder / "lock").unlink(missing_ok=True)

    def get(self, number: int, chunk: Sequence[int]) -> Part | None:
        """The chunk of that number, or None where it is not finished.

        Args:
            number: From 0.
            chunk: Places of its structures.

        Raises:
            PartsError: its file is damaged, or of other structures.
        """
        if self.folder is None or not self._file(number).exists():
            return None
        try:
            with np.load(self._file(number), allow_pickle=False) as file:
                part = Part(*(np.asarray(file[name]) for name in Part._fields))
        # damaged archives raise nearly anything: zlib.error, NotImplementedError, TypeError …
        except Exception as error:
            raise PartsError(
                f"File {self._file(number)} must hold a part of a run, but cannot be read ({error}); delete it."
            ) from error
        taken = part.index.size
        wanted = [(taken,), (taken, self.points), (taken, LABELS), (len(chunk) - taken,), (len(chunk) - taken,)]
        if (
            [x.shape for x in part] != wanted
            or part.features.dtype.kind != "f"
            or sorted(np.append(part.index, part.refused).tolist()) != sorted(chunk)
        ):
            raise PartsError(
                f"File {self._file(number)} must hold {len(chunk)} structures of this run in {self.points} energies, but does not; delete it."
            )
        return part

    def put(self, number: int, part: Part) -> None:
        """Keep a finished chunk.

        Raises:
            OSError: it cannot be written; the ones before are kept.
        """
        if self.folder is not None:
            content = io.BytesIO()
            np.savez(content, **part._asdict())  # pyright: ignore[reportArgumentType]
            write_atomically(self._file(number), content.getvalue())

    def _file(self, number: int) -> Path:
        assert self.folder is not None
        return self.folder / f"{number:06d}.npz"

    def _refuse_foreign(self, folder: Path) -> None:
        """Raise PartsError where a folder without settings holds more than what a run killed at its very start leaves."""
        names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        foreign = {name for name in names if name != "lock" and not (name.endswith(".part") and OWN.fullmatch(name))}
        if (foreign and "settings.json" not in names) or (folder.exists() and not folder.is_dir()):
            raise PartsError(f"Folder {folder} must be empty or hold parts of this run, but holds other files.")

    def _agree(self, folder: Path) -> None:
        """Write the settings, or compare them with those that are there."""
        kept = folder / "settings.json"
        if not kept.exists():
            write_atomically(kept, json.dumps(self.settings, indent=1).encode())
            return
        try:
            found = json.loads(kept.read_text(encoding="utf-8"))
            names = self.settings | found
        except (OSError, ValueError, TypeError) as error:
            raise PartsError(f"File {kept} must hold the settings of a run, but cannot be read ({error}).") from error
        differs = next((name for name in names if self.settings.get(name) != found.get(name)), None)
        if differs is not None:
            words = (
                f"other {differs}"
                if differs in ("structures", "tables")
                else f"`{differs}` {found.get(differs)} where this run has {self.settings.get(differs)}"
            )
            raise PartsError(
                f"Folder {folder} must hold parts of this run, but they were made with {words}; delete it to start afresh."
            )


def remove_parts(folder: str | os.PathLike[str]) -> None:
    """Remove the parts of a run that is done, and the folder where it holds nothing else; leave them where another run has begun with them.

    Raises:
        OSError: they cannot be removed.
    """
    folder = Path(folder)
    try:
        lock_folder(folder)
    except BusyError:
        return
    _clear(folder)


def _clear(folder: Path) -> None:
    """Remove this program's own files, the lock last, and the folder if it is then empty."""
    for path in folder.iterdir():
        if OWN.fullmatch(path.name):
            path.unlink(missing_ok=True)
    (folder / "lock").unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # it holds a file of the user's, or the lock of a run that has just begun
        folder.rmdir()


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
