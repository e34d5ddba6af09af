"""Fits from files: the configuration that says what is fitted to what, made into a `Problem`; and one to start from."""

from bandjax.config.build import Prepared, build, fit, structure_of
from bandjax.config.read import check_config, read_config
from bandjax.config.suggest import suggest

__all__ = ["Prepared", "build", "check_config", "fit", "read_config", "structure_of", "suggest"]
