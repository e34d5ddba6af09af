"""Argument checks with one wording: what the argument must be, and what was found.

Every check looks at static facts (shape, type) or at concrete numbers. Values that JAX is tracing are let
through: what can only be known at run time is returned as a flag and put into words by the outer layer.
"""

import difflib
import math
import numbers
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np
from jax.core import Tracer


def is_concrete(x: Any) -> bool:
    """Whether the numbers in `x` can be looked at (that is, `x` is not being traced)."""
    return not any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(x))


def shape_is(name: str, x: Any, expected: Sequence[int | str]) -> None:
    """Raise ValueError unless `x` has the expected shape; a string in `expected` stands for any length."""
    found = np.shape(x)
    fits = len(found) == len(expected) and all(
        isinstance(e, str) or e == f for e, f in zip(expected, found, strict=True)
    )
    if not fits:
        wanted = "(" + ", ".join(str(e) for e in expected) + ("," if len(expected) == 1 else "") + ")"
        raise ValueError(f"Argument `{name}` must have shape {wanted}, but has shape {found}.")


def positive(name: str, x: Any, unit: str = "") -> None:
    """Raise ValueError unless every number in `x` is finite and > 0."""
    if is_concrete(x) and not np.all((np.asarray(x) > 0) & np.isfinite(np.asarray(x))):
        raise ValueError(f"Argument `{name}` must be > 0{_in(unit)}, but is {_worst(x)}.")


def not_negative(name: str, x: Any, unit: str = "") -> None:
    """Raise ValueError unless every number in `x` is finite and ≥ 0."""
    if is_concrete(x) and not np.all((np.asarray(x) >= 0) & np.isfinite(np.asarray(x))):
        raise ValueError(f"Argument `{name}` must be ≥ 0{_in(unit)}, but is {_worst(x)}.")


def whole(name: str, x: Any, least: int = 1) -> None:
    """Raise ValueError unless `x` is one whole number ≥ `least`; 4.0 is one, True and "4" are none."""
    number = not isinstance(x, bool | np.bool_) and np.ndim(x) == 0 and isinstance(x, numbers.Real)
    if not number or not math.isfinite(x) or x != int(x) or x < least:
        raise ValueError(f"Argument `{name}` must be a whole number ≥ {least}, but is {x!r}.")


def whole_numbers(name: str, x: Any, count: int) -> None:
    """Raise ValueError unless `x` is so many whole numbers > 0."""
    values = np.asarray(x)
    if values.shape != (count,) or values.dtype.kind not in "iu" or (values < 1).any():
        raise ValueError(f"Argument `{name}` must be {count} whole numbers > 0, but is {x!r}.")


def fraction(name: str, x: Any) -> None:
    """Raise ValueError unless every number in `x` lies in [0, 1]."""
    values = np.asarray(x) if is_concrete(x) else np.zeros(0)
    bad = values[~((values >= 0) & (values <= 1))]
    if bad.size:
        raise ValueError(f"Argument `{name}` must lie in [0, 1], but holds {bad.ravel()[0]:g}.")


def finite(name: str, x: Any) -> None:
    """Raise ValueError if `x` holds NaN or infinity."""
    if is_concrete(x) and not np.all(np.isfinite(np.asarray(x))):
        count = int(np.sum(~np.isfinite(np.asarray(x))))
        raise ValueError(f"Argument `{name}` must be finite, but {count} of its {np.size(x)} values are not.")


def increasing(name: str, x: Any) -> None:
    """Raise ValueError unless the one-dimensional `x` increases strictly."""
    values = np.asarray(x)
    steps = np.diff(values)
    if values.ndim != 1 or not np.all(steps > 0):
        at = int(np.argmax(~(steps > 0))) if values.ndim == 1 and values.size > 1 else 0
        found = (
            f"goes from {values[at]:g} to {values[at + 1]:g} at index {at}"
            if values.ndim == 1
            else f"has shape {values.shape}"
        )
        raise ValueError(f"Axis `{name}` must increase strictly, but {found}.")


def one_of(name: str, value: Any, allowed: Iterable[Any]) -> None:
    """Raise ValueError unless `value` is one of `allowed`; names the nearest that is."""
    allowed = list(allowed)
    if value not in allowed:
        raise ValueError(
            f"Argument `{name}` must be one of {', '.join(map(repr, allowed))}, but is {value!r}."
            f"{nearest(value, allowed)}"
        )


def nearest(name: Any, known: Iterable[Any]) -> str:
    """' Did you mean …?' with the known name closest in spelling, or '' where none is close."""
    match = difflib.get_close_matches(str(name), [str(k) for k in known], n=1, cutoff=0.5)
    return f" Did you mean {match[0]!r}?" if match else ""


def _in(unit: str) -> str:
    return f" (in {unit})" if unit else ""


def _worst(x: Any) -> str:
    values = np.asarray(x, dtype=float).ravel()
    bad = values[~np.isfinite(values)]
    if bad.size:
        return str(bad[0])
    worst = float(values.min())
    return str(int(worst)) if math.isfinite(worst) and worst == int(worst) else f"{worst:g}"
