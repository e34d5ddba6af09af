"""The benchmarks give right results at small sizes, valid files and sound comparisons; no time is judged here."""

import json
import math

import pytest

from benchmarks import run, timing
from benchmarks.cases import CASES
from benchmarks.compare import compare
from benchmarks.timing import Row, Timing, in_turn, row


@pytest.fixture(autouse=True)
def few_repeats(monkeypatch):
    """Times do not matter here."""
    monkeypatch.setattr(timing, "BUDGET", 0.0)
    monkeypatch.setattr(timing, "LEAST", 2)


HEAVY = {
    "spectral",
    "gradient",
    "jacobian",
    "layered",
    "surface",
    "fit",
    "image",
    "memory",
    "chebyshev",
    "stack_fit",
    "surrogate",
    "reconstruction",
    "fingerprints",
}


@pytest.mark.parametrize("case", [pytest.param(c, marks=[pytest.mark.slow] if c in HEAVY else []) for c in CASES])
def test_every_row_is_finite_and_right(case):
    rows = run.run_cases([case], "tiny")
    assert rows
    for r in rows:
        assert r["seconds"] > 0 and r["median"] >= r["seconds"] and math.isfinite(r["throughput"]), r["name"]
        assert r["right"], (r["name"], r["error"], r["tolerance"])
        assert (r["baseline"] is None) == (r["ratio"] is None), r["name"]
        assert r["met"] is None, "targets are for the default sizes"
    assert len({r["name"] for r in rows}) == len(rows)
    if case == "memory":
        assert rows[0]["peak_bytes"] > 1e7


def test_file_keeps_runs_by_device_and_commit(tmp_path, capsys, monkeypatch):
    judged = {"error": 0.0, "tolerance": 1e-3, "error_against": "b"}
    found = row("hamiltonian: a", Timing([1.0, 2.0], 1.0, 0.5), items=10, item="k", **judged)
    rows = [{"case": "hamiltonian", **found.as_dict()}]
    monkeypatch.setattr(run, "run_cases", lambda names, size: rows)
    file = tmp_path / "run.json"
    assert run.main(["hamiltonian", "--tiny", "--threads", "0", "--json", str(file)]) == 0
    kept = json.loads(file.read_text(encoding="utf-8"))
    ((name, record),) = kept["runs"].items()
    assert record["device"]["platform"] == "cpu" and record["commit"] in name and record["versions"]["jax"]
    assert all(r["size"] == "tiny" and r["error_against"] for r in record["rows"])

    # another case is added, the same one replaced, another commit kept apart
    extra = {**record, "size": "tiny", "load": 0.0}
    run.write(file, extra | {"rows": [record["rows"][0] | {"seconds": 1.0}, record["rows"][0] | {"name": "other"}]})
    run.write(file, extra | {"commit": "0000000", "date": "1999-01-01T00:00:00Z"})
    runs = json.loads(file.read_text(encoding="utf-8"))["runs"]
    assert sorted(r["commit"] for r in runs.values()) == sorted(["0000000", record["commit"]])
    names = [r["name"] for r in runs[name]["rows"]]
    assert len(names) == len(set(names)) == len(record["rows"]) + 1
    assert run.newest(file)["commit"] == record["commit"]

    capsys.readouterr()
    assert run.main(["hamiltonian", "--tiny", "--threads", "0", "--compare", str(file)]) == 0
    printed = capsys.readouterr().out
    assert "verdict" in printed and "gone" in printed and "LAPACK" in printed


def test_list_names_every_case(capsys):
    assert run.main(["--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(CASES)


@pytest.mark.parametrize("arguments", [["nothing"], ["--compare", "missing.json"]])
def test_wrong_arguments_end_with_a_sentence(arguments, capsys):
    with pytest.raises(SystemExit):
        run.main(arguments)
    assert "must" in capsys.readouterr().err


def test_file_of_another_format_is_refused(tmp_path):
    file = tmp_path / "other.json"
    file.write_text('{"runs": {}}')
    with pytest.raises(ValueError, match="must be of the format"):
        run.newest(file)


@pytest.mark.parametrize(
    ("old", "new", "verdict"),
    [
        ((1.00, 1.10), (1.05, 1.20), "same"),  # the spreads overlap
        ((1.00, 1.01), (1.02, 1.03), "same"),  # outside both spreads, but within what two equal runs differ by
        ((1.00, 1.01), (1.20, 1.21), "slower"),
        ((1.00, 1.50), (1.40, 1.60), "same"),  # much, but a noisy old run
        ((1.00, 1.05), (0.50, 0.90), "faster"),
        ((1.00, 1.05), (0.50, 1.02), "same"),  # a noisy new run
    ],
)
def test_a_change_is_one_outside_the_noise(old, new, verdict):
    rows = [[{"name": "a", "seconds": s, "median": m, "right": True}] for s, m in (old, new)]
    (change,) = compare(*rows)
    assert change.verdict == verdict
    assert change.ratio == pytest.approx(new[0] / old[0])


def test_a_wrong_result_is_never_called_faster():
    a = {"name": "a", "seconds": 1.0, "median": 1.0, "right": True}
    old = [a, a | {"name": "b"}]
    new = [a | {"seconds": 0.1, "median": 0.1, "right": False}, a | {"name": "c"}]
    assert [c.verdict for c in compare(old, new)] == ["wrong", "new", "gone"]


@pytest.mark.parametrize(
    ("error", "ratio_limit", "met"),
    [(0.0, 2.0, True), (0.0, 0.4, False), (1.0, 2.0, False), (math.nan, 2.0, False), (0.0, None, None)],
)
def test_a_target_is_met_by_right_results_only(error, ratio_limit, met):
    judged = {"error": error, "tolerance": 1e-3, "error_against": "b", "target": "ratio", "limit": ratio_limit}
    found = row("a", Timing([1.0, 2.0, 3.0], 1.0), items=10, item="k", baseline=("c", 2.0), **judged)
    assert isinstance(found, Row)
    assert (found.seconds, found.median, found.ratio, found.throughput) == (1.0, 2.0, 0.5, 10.0)
    assert found.met is met


def test_calls_are_measured_in_turn():
    order = []
    timings = in_turn({"a": lambda: order.append("a"), "b": (lambda: order.append("b"), 0.5)})
    assert order == ["a", "b"] * 3  # the first is the warm-up
    assert len(timings["a"].seconds) == 2
    assert (timings["a"].compile_seconds, timings["b"].compile_seconds) == (None, 0.5)
