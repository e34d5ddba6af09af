"""Spectral function resolved by orbital, beside bare LAPACK on the same stack and beside a solve at every energy."""

import jax.numpy as jnp

from bandjax.spectrum import spectral_function
from benchmarks.cases import silicon
from benchmarks.timing import Row, Timing, compiled, in_turn, row

SIZES = {"tiny": (8, 16, 8), "default": (512, 256, 32)}  # k, energies, k of the solve


def run(size: str) -> list[Row]:
    count, energy_count, solve_count = SIZES[size]
    solve = compiled(_by("solve"), *_arguments(solve_count, energy_count, "float64"))
    exact = {"orbital": solve[0]()}
    exact["trace"] = jnp.sum(exact["orbital"], axis=-1)
    label = f"{count} k × {energy_count} E, 10 orbitals"
    against = f"solve in float64 at {solve_count} k, of the largest"
    common = {"items": count * energy_count, "item": "pixels", "error_against": against}
    rows = []
    for dtype, tolerance in (("float64", 1e-10), ("float32", 2e-3)):
        arguments = _arguments(count, energy_count, dtype)
        calls = {
            "lapack": silicon.lapack(silicon.model(arguments[0]), arguments[1]),
            "orbital": compiled(_by("eigh"), *arguments),
            "trace": compiled(_by("eigh", None), *arguments),
        }
        timings = in_turn(calls)
        baseline = (f"{silicon.LAPACK} ({dtype})", timings["lapack"].least)
        for name, expected in exact.items():
            judged = {"error": silicon.relative(calls[name][0]()[:solve_count], expected), "tolerance": tolerance}
            rows.append(
                row(f"spectral: {name}, {label}, {dtype}", timings[name], baseline=baseline, **judged, **common)
            )
    scale = count / solve_count
    timing = in_turn({"solve": solve})["solve"]
    timing = Timing([t * scale for t in timing.seconds], timing.wall * scale, timing.compile_seconds)
    judged = {"error": rows[0].error, "tolerance": rows[0].tolerance}  # of the one against the other
    ours = ("the same by diagonalisation", rows[0].seconds)
    note = f"measured on {solve_count} k, times {scale:g}"
    rows.append(row(f"spectral: solve, {label}, float64", timing, baseline=ours, note=note, **judged, **common))
    return rows


def _arguments(count: int, energy_count: int, dtype: str) -> tuple:
    """The same k and energies in each dtype, and the first k in the longer list too."""
    return silicon.table(dtype), silicon.wave_vectors(count, dtype), silicon.energies(energy_count, dtype)


def _by(method: str, resolve: str | None = "orbital"):
    return lambda values, k, e: spectral_function(
        silicon.model(values), k, e, eta=silicon.ETA, resolve=resolve, method=method
    )
