"""Two runs side by side: what changed by more than the noise.

A row spreads from the minimum to the median of its repeats. It has changed when the two spreads do not overlap (the
median of the faster run lies below the minimum of the slower one) and the minima differ by more than `NOISE`, by which
two runs of the same program differ on a shared machine. Everything else is "same".
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

NOISE = 0.1  # part of a time


class Change(NamedTuple):
    """One row in both runs; ratio = new/old of the minima."""

    name: str
    old: float
    new: float
    ratio: float
    verdict: str  # "same", "faster", "slower", "wrong", "new" or "gone"


def compare(old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> list[Change]:
    """Changes of all rows (dicts with name, seconds, median, right), in the order of `new`, those gone at the end."""
    before, after = {r["name"]: r for r in old}, {r["name"]: r for r in new}
    nan = float("nan")
    changes = []
    for name, b in after.items():
        if name not in before:
            changes.append(Change(name, nan, b["seconds"], nan, "new"))
            continue
        a = before[name]
        verdict = "same"
        if not b["right"]:
            verdict = "wrong"
        elif b["median"] < a["seconds"] and b["seconds"] < (1 - NOISE) * a["seconds"]:
            verdict = "faster"
        elif a["median"] < b["seconds"] and a["seconds"] < (1 - NOISE) * b["seconds"]:
            verdict = "slower"
        changes.append(Change(name, a["seconds"], b["seconds"], b["seconds"] / a["seconds"], verdict))
    changes += [Change(name, a["seconds"], nan, nan, "gone") for name, a in before.items() if name not in after]
    return changes
