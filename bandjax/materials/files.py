"""The package's data files."""

import functools
import json
from importlib import resources
from typing import Any


@functools.cache
def package_file(name: str) -> dict[str, Any]:
    """Content of bandjax/materials/data/`name`.json, read once."""
    text = resources.files("bandjax.materials").joinpath("data", f"{name}.json").read_text(encoding="utf-8")
    return json.loads(text)
