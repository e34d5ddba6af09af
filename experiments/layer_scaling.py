"""Cost of the spectral function of a stack against its number of layers.

Claim: one coherent sweep, and all layer-resolved spectra, cost O(layers): the exponent fitted from 32 layers on is at most
1.1, where diagonalisation goes with the cube; both agree with diagonalisation to 1e-10 of the maximum where that is
affordable. An exponent above 1.1 or a larger difference refutes it.

Times are the smallest of several runs of one compiled call, in processor time (a busy machine disturbs it less).
"""

import dataclasses
import time

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

jax.config.update("jax_enable_x64", True)

import bandjax as bj  # noqa: E402
from bandjax.hamiltonian import find_layers  # noqa: E402
from experiments.common import arguments, write_json  # noqa: E402


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that the experiment depends on."""

    layers: tuple[int, ...] = (8, 16, 32, 64, 128, 256, 512, 1024)
    fit_from: int = 32
    diagonalise_to: int = 128
    energies: int = 128
    eta: float = 0.05
    repeats: int = 5


PRESETS = {"default": Config(), "smoke": Config((8, 16, 32), 8, 16, 24, 0.1, 2)}


def timed(call, repeats: int) -> tuple[float, np.ndarray]:
    """Least processor seconds of a compiled call, and its result."""
    result = jax.block_until_ready(call())
    least = np.inf
    for _ in range(repeats):
        began = time.process_time()
        jax.block_until_ready(call())
        least = min(least, time.process_time() - began)
    return least, np.asarray(result)


def run(config: Config) -> dict:
    """Times and differences by route and number of layers."""
    table = bj.load_parameters(("Si", "Ge"), "vogl1983")
    energy = np.linspace(-6.0, 4.0, config.energies)
    k = np.array([[0.11, 0.07, 0.0]])
    seconds: dict[str, dict[int, float]] = {"coherent": {}, "layer-resolved": {}, "diagonalisation": {}}
    differences = {}
    for n in config.layers:
        atoms = bj.graded(("Si", "Ge"), np.linspace(0, 1, n), substrate="Si")
        model = bj.tight_binding(atoms, table, spin_orbit=False)
        layers = find_layers(atoms)
        depth = np.asarray(bj.depth_below_surface(model.positions))[np.array(model.topology.atom_of())]
        amplitude = jnp.exp(-jnp.asarray(depth)[None] / 20.0)
        options = {"eta": config.eta, "layers": layers}
        routes = {
            "coherent": lambda o=options, m=model, v=amplitude: bj.spectral_function(
                m, k, energy, amplitude=v, method="layered", **o
            ),
            "layer-resolved": lambda o=options, m=model: bj.spectral_function(
                m, k, energy, resolve="layer", method="layered", **o
            ),
        }
        if n <= config.diagonalise_to:
            routes["diagonalisation"] = lambda o=options, m=model: bj.spectral_function(
                m, k, energy, resolve="layer", method="eigh", **o
            )
        found = {}
        for name, call in routes.items():
            seconds[name][n], found[name] = timed(call, config.repeats)
        if "diagonalisation" in found:
            exact = found["diagonalisation"]
            differences[n] = float(np.abs(found["layer-resolved"] - exact).max() / exact.max())
        print(n, {name: f"{seconds[name][n]:.4f} s" for name in found}, flush=True)
    exponents = {}
    for name in ("coherent", "layer-resolved"):
        chosen = [n for n in config.layers if n >= config.fit_from]
        exponents[name] = float(np.polyfit(np.log(chosen), np.log([seconds[name][n] for n in chosen]), 1)[0])
    return {"seconds": seconds, "exponents": exponents, "difference": differences, "fit_from": config.fit_from}


def figure_of(metrics: dict) -> Figure:
    """Time against layers, double logarithmic."""
    figure = Figure(figsize=(3.5, 3.0), layout="constrained")
    axis = figure.subplots()
    for (name, times), marker in zip(metrics["seconds"].items(), "osd", strict=True):
        label = name + (f" (exponent {metrics['exponents'][name]:.2f})" if name in metrics["exponents"] else "")
        axis.loglog(list(times), list(times.values()), marker=marker, markersize=4, linewidth=1, label=label)
    axis.set_xlabel("monolayers")
    axis.set_ylabel("processor time of one k (s)")
    axis.legend(fontsize=7, frameon=False)
    axis.grid(which="major", color="0.9", linewidth=0.5)
    return figure


if __name__ == "__main__":
    args = arguments(__doc__, PRESETS)
    started = time.perf_counter()
    chosen = PRESETS[args.preset]
    metrics = run(chosen)
    print({"exponents": metrics["exponents"], "largest difference": max(metrics["difference"].values())})
    write_json(args.out / "result.json", chosen, metrics, started)
    figure_of(metrics).savefig(args.out / "layer_scaling.png", dpi=200)
