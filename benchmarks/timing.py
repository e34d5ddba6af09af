"""Measuring: compile time apart from run time, repeats taken in turn, peak memory in a process of its own.

What is compared is measured in turn (a, b, c, a, b, c, …), so that a busy moment of the machine falls on all of it.
The minimum of the repeats is the figure (the least disturbed run), the median beside it says how noisy it was.

With one processor the clock is the process's own processor time, all its threads together: a neighbour on the same
processor then does not count, where a wall clock would also count every wait for one's turn. The least wall time is
kept beside it; on an idle machine the two agree.
"""

import dataclasses
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

ROOT = Path(__file__).resolve().parent.parent
BUDGET = 6.0  # seconds that the repeats of one comparison may take together
LEAST, MOST = 5, 60  # repeats


class Timing(NamedTuple):
    """Seconds of the repeats after warm-up, and wall seconds of compilation before it (None: nothing is compiled)."""

    seconds: list[float]
    wall: float  # least wall time
    compile_seconds: float | None = None

    @property
    def least(self) -> float:
        return min(self.seconds)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table. `target` bounds `ratio`, `wall` or `peak_bytes`; it is met only by a right result."""

    name: str
    seconds: float  # minimum of the repeats
    median: float
    wall: float  # minimum of the wall times
    repeats: int
    compile_seconds: float | None
    throughput: float  # items per second
    item: str  # what is counted
    error: float
    tolerance: float
    error_against: str
    baseline: str | None = None
    baseline_seconds: float | None = None
    ratio: float | None = None
    target: str | None = None  # which figure the target bounds
    limit: float | None = None
    peak_bytes: int | None = None
    note: str = ""

    @property
    def right(self) -> bool:
        return bool(math.isfinite(self.error) and self.error <= self.tolerance)

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None: there is none for this row (or not at this size)."""
        if self.target is None or self.limit is None:
            return None
        return bool(self.right and getattr(self, self.target) <= self.limit)

    def as_dict(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "right": self.right, "met": self.met}


def row(name: str, timing: Timing, *, items: float, baseline: tuple[str, float] | None = None, **rest: Any) -> Row:
    """A row from a timing; `baseline` is (what, its seconds in the same run)."""
    against = {}
    if baseline is not None:
        against = {"baseline": baseline[0], "baseline_seconds": baseline[1], "ratio": timing.least / baseline[1]}
    return Row(
        name,
        timing.least,
        timing.median,
        timing.wall,
        len(timing.seconds),
        timing.compile_seconds,
        items / timing.least,
        **against,
        **rest,
    )


def clock() -> tuple[str, Callable[[], float]]:
    """Name and function of the clock: processor time where everything runs on one CPU processor, else wall time."""
    one = hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) == 1
    if one and jax.default_backend() == "cpu":
        return "processor time", time.process_time
    return "wall time", time.perf_counter


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Seconds of one call by `clock()` and by the wall."""
    now = clock()[1]
    start, wall = now(), time.perf_counter()
    call()
    return now() - start, time.perf_counter() - wall


def compiled(f: Callable, *arguments: Any) -> tuple[Callable[[], Any], float]:
    """`f(*arguments)` as a call without arguments that waits for its result, and the seconds of compilation."""
    start = time.perf_counter()
    program = jax.jit(f).lower(*arguments).compile()
    return lambda: jax.block_until_ready(program(*arguments)), time.perf_counter() - start


def in_turn(calls: Mapping[str, Callable | tuple[Callable, float]]) -> dict[str, Timing]:
    """Timings of several calls (as `compiled` gives them, or plain ones), measured in turn after one warm-up each."""
    plain = {name: call if callable(call) else call[0] for name, call in calls.items()}
    for call in plain.values():
        call()
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    begin, rounds = time.perf_counter(), 0
    while rounds < LEAST or (rounds < MOST and time.perf_counter() - begin < BUDGET):
        for name, call in plain.items():
            taken[name].append(timed(call))
        rounds += 1
    return {
        name: Timing([s for s, _ in taken[name]], min(w for _, w in taken[name]), None if callable(call) else call[1])
        for name, call in calls.items()
    }


def in_own_process(module: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """What `python -m module CONFIG` prints as its last line, both JSON; the process inherits this one's processors."""
    command = [sys.executable, "-m", module, json.dumps(config)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(
            f"Benchmark process {module} must end well, but ended with {done.returncode}:\n{done.stderr[-2000:]}"
        )
    return json.loads(done.stdout.splitlines()[-1])


def peak_bytes() -> int:
    """Largest resident memory that this process has had.

    Linux counts into `ru_maxrss` what the parent held when it started the process; VmHWM is this process alone.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
