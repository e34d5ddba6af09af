"""What all tests share: double precision, and the folder of real measurements where there is one."""

import os
from pathlib import Path

import jax
import pytest

jax.config.update("jax_enable_x64", True)

ROOT = Path(__file__).resolve().parent.parent


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
