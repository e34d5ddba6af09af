"""Files that are written as a whole or not at all, and folders that belong to one process at a time."""

import contextlib
import os
import platform
from pathlib import Path


class BusyError(ValueError):
    """A folder in which another process works."""


def write_atomically(path: str | os.PathLike[str], content: bytes) -> Path:
    """Write bytes to a temporary file beside `path`, then put it in its place in one step.

    Raises:
        OSError: The file could not be written; what stood there before is untouched.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise OSError(
            f"File {path} could not be written ({error.strerror}); what stood there before is untouched."
        ) from error
    return path


def lock_folder(folder: Path) -> Path:
    """Make a folder where it is not there, and in it the file `lock`, which holds this process' number and machine.

    A lock of a process of this machine that no longer lives is taken over, and one of this process' own number: a machine that
    starts afresh gives the same numbers again. So two threads of one process are not kept apart.

    Returns:
        The file, to be removed when the work is done.

    Raises:
        BusyError: another process works in it.
        OSError: it cannot be made.
    """
    lock = folder / "lock"
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileNotFoundError:  # a run that ended has just removed the folder
            continue
        except FileExistsError:
            with contextlib.suppress(FileNotFoundError):  # it has just ended
                _take_over(lock)
            continue
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(f"{os.getpid()} {platform.node()}")
        return lock


def _take_over(lock: Path) -> None:
    """Remove the lock of a process that no longer lives."""
    number, _, machine = lock.read_text(encoding="utf-8", errors="replace").partition(" ")
    if machine != platform.node() or not number.isdecimal():
        raise BusyError(
            f"Folder {lock.parent} must belong to one run at a time, but process {number or '?'} of {machine or '?'} has it; "
            f"wait for it, or delete {lock} if it is no more."
        )
    if int(number) != os.getpid() and _lives(int(number)):
        raise BusyError(
            f"Folder {lock.parent} must belong to one run at a time, but process {number} works in it; wait for it, or name another output."
        )
    lock.unlink()


def _lives(process: int) -> bool:
    """Whether a process of this machine runs; True where that cannot be asked."""
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)  # sends nothing
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
