"""The configuration of a training: TOML, every key checked, the nearest named where one is unknown."""

import dataclasses
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bandjax import checks
from bandjax.learning.weights import known_family


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """Everything that a training depends on; the keys of its TOML file.

    Attributes:
        family: Name of a family.
        seed: Of weights, images and noise.
        steps: Steps of the optimiser.
        batch: Images a step.
        signals: Signals to draw before the training and keep on disk; each is exposed anew at every use. 0 draws new
            stacks in every step (for accelerators).
        cache: Folder of the signals; "" keeps them in the output folder.
        learning_rate: Largest; it rises during `warmup` steps and then falls to zero as a cosine.
        warmup: Steps.
        validation: Images that are held out.
        checkpoint_every: Steps between checkpoints (and rows of metrics.csv).
        components, width, blocks, hidden: See `Shape`.
    """

    family: str = "buried_sige"
    seed: int = 0
    steps: int = 6000
    batch: int = 128
    signals: int = 65536
    cache: str = ""
    learning_rate: float = 1e-3
    warmup: int = 200
    validation: int = 1024
    checkpoint_every: int = 250
    components: int = 4
    width: int = 128
    blocks: int = 3
    hidden: int = 256


def read_training(path: str | os.PathLike[str]) -> TrainingConfig:
    """A training's configuration from TOML.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no TOML, or has a key that is not known (the nearest is given) or a value of another kind.
    """
    return training_config(read_keys(path), f"File {path}")


def read_keys(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Keys and values of a TOML file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no TOML.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"File {path} does not exist; it holds the keys of a training, such as steps = 6000.")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"File {path} must be TOML, but {error}.") from error


def training_config(found: Mapping[str, Any], owner: str = "Argument `config`") -> TrainingConfig:
    """A checked `TrainingConfig` from its keys."""
    positive = ("steps", "batch", "learning_rate", "validation", "checkpoint_every", "components", "width", "hidden")
    config = checked_config(TrainingConfig, found, positive, owner)
    if config.signals and config.signals <= config.validation:
        raise ValueError(f"{owner}: `signals` must exceed `validation` ({config.validation}), but is {config.signals}.")
    known_family(config.family, owner)
    return config


def checked_config[Config](
    kind: type[Config], found: Mapping[str, Any], positive: tuple[str, ...], owner: str
) -> Config:
    """A configuration of a dataclass with defaults; unknown keys, other kinds of values and numbers ≤ 0 are refused."""
    default = dataclasses.asdict(kind())
    for key, value in found.items():
        if key not in default:
            raise ValueError(f"{owner}: {key!r} is no key of a training.{checks.nearest(key, default)} Known: {', '.join(default)}.")  # fmt: skip
        kinds = (int, float) if isinstance(default[key], float) else type(default[key])
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise ValueError(f"{owner}: `{key}` must be like {default[key]!r}, but is {value!r}.")
    config = kind(**found)
    for key in positive:
        if not getattr(config, key) > 0:
            raise ValueError(f"{owner}: `{key}` must be > 0, but is {getattr(config, key)}.")
    for key in ("seed", "signals", "warmup", "blocks"):
        if getattr(config, key, 0) < 0:
            raise ValueError(f"{owner}: `{key}` must be ≥ 0, but is {getattr(config, key)}.")
    return config
