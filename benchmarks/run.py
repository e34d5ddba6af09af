"""Run benchmark cases, print them as a table, keep them as JSON by device and commit, compare with an older file.

    python -m benchmarks.run                            all cases, some three minutes
    python -m benchmarks.run memory --json FILE         one case, added to FILE
    python -m benchmarks.run --compare benchmarks/results/cpu.json

One processor by default, so that times compare with those of other programs on one thread. Times are then processor
times of the process (on an idle machine the same as wall times; on a busy one those depend on who else runs), else wall
times; the wall time stands beside them in either case.
"""

import argparse
import dataclasses
import importlib
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.cases import CASES

PACKAGES = ("jax", "jaxlib", "numpy", "scipy", "ase")
FORMAT = "bandjax benchmarks 1"


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 1 where a result is wrong; a missed target is shown, not an error."""
    options = _parse(argv)
    if options.list:
        for name in CASES:
            print(f"{name:12} {importlib.import_module(f'benchmarks.cases.{name}').__doc__.splitlines()[0]}")
        return 0
    old = newest(options.compare) if options.compare else None
    limit_threads(options.threads)
    os.environ["JAX_PLATFORMS"] = {"cpu": "cpu", "gpu": "cuda"}[options.device]
    import jax

    jax.config.update("jax_enable_x64", True)
    size = "tiny" if options.tiny else "default"
    record = provenance(size)
    record["rows"] = run_cases(options.cases or CASES, size)
    show(record)
    if options.json:
        write(options.json, record)
    if old is not None:
        show_changes(old, record)
    return 0 if all(r["right"] for r in record["rows"]) else 1


def run_cases(names: Sequence[str], size: str) -> list[dict[str, Any]]:
    """Rows of the cases, as dicts; the targets are for the default size only."""
    rows = []
    for name in names:
        print(f"{name} …", file=sys.stderr, flush=True)
        case = importlib.import_module(f"benchmarks.cases.{name}")
        found = case.run(size)
        if size == "tiny":
            found = [dataclasses.replace(r, limit=None) for r in found]
        rows += [{"case": name, **r.as_dict()} for r in found]
    return rows


def limit_threads(count: int) -> None:
    """Keep this process and its children on `count` processors; 0 leaves all. Works before JAX has started."""
    if count > 0:
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ[name] = str(count)
        if hasattr(os, "sched_setaffinity"):  # Linux
            os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[-count:]))


def provenance(size: str) -> dict[str, Any]:
    """Where, when and with what the rows were measured."""
    from bandjax.devices import describe
    from bandjax.results import source_commit
    from benchmarks.timing import clock

    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    device = describe()
    device["name"] = f"{device['platform']} {_processor() if device['platform'] == 'cpu' else device['kind']}"
    return {
        "device": device,
        "commit": _short(source_commit()),
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "size": size,
        "threads": processors,
        "clock": clock()[0],
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {"python": platform.python_version()} | {p: metadata.version(p) for p in PACKAGES},
    }


def key(record: dict[str, Any]) -> str:
    """Under which a record is kept in a file."""
    return f"{record['device']['name']}, {record['threads']} threads @ {record['commit']}"


def write(path: Path, record: dict[str, Any]) -> None:
    """Add a record to a file; rows of the same device and commit are replaced by name, others stay."""
    from bandjax.io.write import write_atomically

    runs = _read(path)["runs"] if path.exists() else {}
    earlier = runs.get(key(record), {"rows": []})
    stamp = {k: record[k] for k in ("date", "size", "load")}
    names = {r["name"] for r in record["rows"]}
    rows = [r for r in earlier["rows"] if r["name"] not in names] + [r | stamp for r in record["rows"]]
    runs[key(record)] = {k: v for k, v in record.items() if k not in stamp} | {"date": record["date"], "rows": rows}
    path.parent.mkdir(parents=True, exist_ok=True)
    content = json.dumps({"format": FORMAT, "runs": runs}, indent=1, ensure_ascii=False) + "\n"
    write_atomically(path, content.encode())


def newest(path: Path) -> dict[str, Any]:
    """The newest record of a file."""
    return max(_read(path)["runs"].values(), key=lambda r: r["date"])


def show(record: dict[str, Any]) -> None:
    """The table, and the peers' figures for the cases in it."""
    from rich.console import Console
    from rich.table import Table

    from benchmarks.peers import PEERS, SOURCE

    console = Console(width=None if sys.stdout.isatty() else 200)
    facts = (key(record), record["date"], f"jax {record['versions']['jax']}", record["clock"], f"load {record['load']}")
    console.print("; ".join(facts), highlight=False)
    table = Table()
    numbers = ("compile s", "min ms", "median ms", "wall ms", "ratio")
    for name in ("row", *numbers, "baseline", "target", "met", "error", "against", "throughput"):
        table.add_column(name, justify="right" if name in numbers else "left")
    for r in record["rows"]:
        table.add_row(*_cells(r))
    console.print(table, highlight=False)
    cases = {r["case"] for r in record["rows"]}
    shown = [p for p in PEERS if p.work.split(":")[0] in cases]
    if shown:
        peers = Table(title=f"peers, for orders of magnitude ({SOURCE})", title_justify="left")
        for name in ("program", "work", "ms", "note"):
            peers.add_column(name, justify="right" if name == "ms" else "left")
        for p in shown:
            peers.add_row(p.program, p.work, f"{1e3 * p.seconds:.4g}", p.note)
        console.print(peers, highlight=False)


def show_changes(old: dict[str, Any], record: dict[str, Any]) -> None:
    """Ratios to an older run."""
    from rich.console import Console
    from rich.table import Table

    from benchmarks.compare import compare

    console = Console(width=None if sys.stdout.isatty() else 200)
    if old["device"]["name"] != record["device"]["name"] or old["threads"] != record["threads"]:
        console.print(f"Another machine: old {key(old)}, new {key(record)}. Seconds do not compare.", highlight=False)
    table = Table(
        title=f"against {key(old)}: changed = the spreads minimum … median do not overlap, and by more than a tenth",
        title_justify="left",
    )
    for name in ("row", "old ms", "new ms", "new/old", "verdict"):
        table.add_column(name, justify="left" if name in ("row", "verdict") else "right")
    cases = {r["case"] for r in record["rows"]}
    for c in compare([r for r in old["rows"] if r["case"] in cases], record["rows"]):
        table.add_row(c.name, f"{1e3 * c.old:.3f}", f"{1e3 * c.new:.3f}", f"{c.ratio:.2f}", c.verdict)
    console.print(table, highlight=False)


def _cells(r: dict[str, Any]) -> list[str]:
    units = {"ratio": ("ratio", 1, ""), "wall": ("wall", 1e3, " ms"), "peak_bytes": ("peak", 1e-9, " GB")}
    word, factor, unit = units[r["target"] or "ratio"]
    limit = "" if r["limit"] is None else f"{word} ≤ {r['limit'] * factor:g}{unit}"
    peak = f", peak {r['peak_bytes'] / 1e9:.2f} GB" if r["peak_bytes"] else ""
    return [
        r["name"] + (f" [{r['note']}]" if r["note"] else ""),
        "" if r["compile_seconds"] is None else f"{r['compile_seconds']:.2f}",
        f"{1e3 * r['seconds']:.3f}",
        f"{1e3 * r['median']:.3f}",
        f"{1e3 * r['wall']:.3f}",
        "" if r["ratio"] is None else f"{r['ratio']:.2f}",
        r["baseline"] or "",
        limit,
        {True: "yes", False: "NO", None: ""}[r["met"]],
        f"{r['error']:.1e} {'≤' if r['right'] else '> !'} {r['tolerance']:.0e}",
        r["error_against"],
        f"{r['throughput']:.3g} {r['item']}/s{peak}",
    ]


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", metavar="case", help=f"{', '.join(CASES)}; none: all")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="keep the rows there, by device and commit; runs already in it stay"
    )
    parser.add_argument("--list", action="store_true", help="name the cases and end")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--compare", type=Path, metavar="OLD.json", help="print ratios to the newest run in that file")
    parser.add_argument("--threads", type=int, default=1, help="processors to use; 0: all (default 1)")
    parser.add_argument("--tiny", action="store_true", help="smallest sizes: checks the results, not the times")
    options = parser.parse_args(argv)
    for name in options.cases:
        if name not in CASES:
            parser.error(f"case must be one of {', '.join(CASES)}, but is {name!r}")
    if options.compare and not options.compare.is_file():
        parser.error(f"--compare must name a file of benchmark runs, but there is no {options.compare}")
    return options


def _read(path: Path) -> dict[str, Any]:
    data = json.loads(path.read_text(encoding="utf-8"))
    if data.get("format") != FORMAT:
        raise ValueError(f"File {path} must be of the format {FORMAT!r}, but is of {data.get('format')!r}.")
    return data


def _short(commit: str) -> str:
    """Seven digits of a commit, and its mark of changed code."""
    return commit if commit == "unknown" else commit[:7] + "+" * commit.endswith("+")


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    sys.exit(main())
