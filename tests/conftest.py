"""What all tests share: double precision, the folder of real measurements where there is one, and compiled programs.

Most of the tests' time is compiling, so what does not serve it is kept small here, and workers take over from each
other what one of them has compiled.
"""

import gc
import os
import tempfile
from pathlib import Path

# one thread a worker: those of linear algebra wait for each other in a loop, with more processor time than their work
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax
import pytest

jax.config.update("jax_enable_x64", True)
jax.config.update(
    "jax_traceback_in_locations_limit", 0
)  # the lines of the source in compiled programs; errors keep theirs
gc.freeze()  # the modules stay: nothing to look for in them
gc.set_threshold(50_000, 20, 100)

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = pytest.StashKey[tempfile.TemporaryDirectory]()


def pytest_configure(config):
    """Workers of one run share their compiled programs in a folder that goes with the run.

    A program is found again by its text, the compiler's version and flags. JAX_COMPILATION_CACHE_DIR, where it is set,
    names a folder that stays, for runs after this one.
    """
    if hasattr(config, "workerinput"):
        jax.config.update("jax_compilation_cache_dir", config.workerinput["programs"])
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    else:
        config.stash[PROGRAMS] = tempfile.TemporaryDirectory(prefix="bandjax-tests-")


def pytest_unconfigure(config):
    if PROGRAMS in config.stash:
        config.stash[PROGRAMS].cleanup()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    """Tells a worker the folder."""
    folder = os.environ.get("JAX_COMPILATION_CACHE_DIR") or node.config.stash[PROGRAMS].name
    node.workerinput["programs"] = folder


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of measured maps and reference files: $BANDJAX_SHARED, or `shared` beside the repository."""
    folder = Path(os.environ.get("BANDJAX_SHARED") or ROOT.parent / "shared")
    if not folder.is_dir():
        pytest.skip(f"needs the measured maps: no folder {folder} (set BANDJAX_SHARED)")
    return folder


@pytest.fixture
def dft(shared, monkeypatch):
    """The folder of first-principles files, made known to the experiments."""
    if not (shared / "data" / "dft").is_dir():
        pytest.skip(f"needs the first-principles files: no folder {shared / 'data' / 'dft'}")
    monkeypatch.setenv("BANDJAX_SHARED", str(shared))
