"""A sine network as stand-in for A(k, E; parameters) of a tight-binding model: what it costs in error and in time, and where it pays.

Claim: a SIREN that was trained on exact spectral functions of the square two-orbital model over the priors of its four hoppings
retrieves them from counts by the same scoring steps as the exact model, but (a) with an error that is not the noise's alone: its pooled
efficiency (1 is the bound) lies above the exact model's, the more the more counts; (b) after minutes of training; and (c) a value
and gradient of the likelihood cost less than by the exact model only for models of more orbitals than a stated number. An
efficiency of the stand-in as good as the exact one's at all counts, or a gain of time at two orbitals, would refute it.

Data: one quadrant, E − E_F from −0.1 to 0.06 eV, Lorentzian lines of half width `eta`, Fermi edge at 30 K, no resolution, constant background.
Free in both retrievals: four hoppings and E_F with their priors, gain and background. The stand-in's coordinates are (kx, ky, E, four hoppings),
E on the model's scale, so that E_F, gain, edge and background are exact in both. Counts are made by the exact model (inverse crime of the exact
one). Loss of the training: the Poisson deviance per unit of intensity. For (c) the same network is timed beside models of 1 to 40
orbitals: that it would describe the larger ones as well is not shown, so the number of orbitals is a lower bound.
"""

import dataclasses
import functools
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

jax.config.update("jax_enable_x64", True)

from matplotlib.figure import Figure  # noqa: E402

import bandjax as bj  # noqa: E402
from bandjax.inference.least_squares import minimise  # noqa: E402
from bandjax.io import write_atomically  # noqa: E402
from bandjax.reconstruction.field_network import Weights, log_rate, make_weights  # noqa: E402
from bandjax.units import BOLTZMANN  # noqa: E402
from experiments.common import run_and_save, score  # noqa: E402

A = 3.9  # Å
PRIORS = {"t_sigma": (0.3, 0.03), "t_delta": (0.0, 0.02), "t_sigma'": (0.03, 0.01), "t_pi'": (0.0, 0.01)}  # eV
FERMI = (-0.45, 0.05)  # eV, prior of E_F
REACH = 3.0  # standard deviations of the priors over which the stand-in is trained
WINDOW = (-0.75, -0.20)  # eV on the model's scale, for E − E_F of the data and ± 3 σ of E_F
NAMES = (*PRIORS, "fermi_energy", "log_gain", "log_background")


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that the experiment depends on."""

    pixels: int = 16  # along each axis of the quadrant
    energies: int = 17
    eta: float = 0.03  # eV
    peaks: tuple[float, ...] = (40.0, 400.0)
    background: float = 0.05  # of the peak
    draws: int = 8
    width: int = 96
    depth: int = 3
    bandwidth: float = 2.0  # radians over half the window
    steps: int = 6000
    batch: int = 1024
    spectra: int = 64  # of exact wave vectors and parameters a step; the batch is drawn from their energies
    learning_rate: float = 1e-3
    timed_pixels: int = 256
    timed_energies: tuple[int, ...] = (17, 100)
    orbitals: tuple[int, ...] = (1, 2, 10, 20, 40)
    repeats: int = 3
    seed: int = 0


PRESETS = {
    "default": Config(),
    "smoke": Config(
        pixels=8, energies=6, peaks=(40.0,), draws=3, width=16, depth=1, steps=40, batch=128, timed_pixels=8,
        timed_energies=(6,), orbitals=(1, 2), repeats=1,
    ),
}  # fmt: skip
Spectrum = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]  # (hoppings, k (n, 2), energy (n, m)) -> 1/eV


def exact(config: Config) -> Spectrum:
    """A(k, E; hoppings) summed over both orbitals, 1/eV; `energy` (m,) is the same for all k."""
    model_of = bj.table_model(bj.square_lattice(A), bj.load_parameters("square", "two_orbital"), spin_orbit=False)

    def spectrum(hoppings: jax.Array, k: jax.Array, energy: jax.Array) -> jax.Array:
        model = model_of(dict(zip(PRIORS, hoppings, strict=True)))
        points = jnp.concatenate([k, jnp.zeros((len(k), 1))], axis=1)
        return bj.spectral_function(model, points, energy, eta=config.eta)

    return spectrum


def scaled(hoppings: jax.Array, k: jax.Array, energy: jax.Array) -> jax.Array:
    """Coordinates of the stand-in, each about ±1: (…, 7) of hoppings (…, 4), k (…, 2), energy (…)."""
    centre, sigma = np.array(list(PRIORS.values())).T
    low, high = WINDOW
    at = (energy - (low + high) / 2) / ((high - low) / 2)
    parts = [k * A / (np.pi / 2) - 1, at[..., None], (hoppings - centre) / (REACH * sigma)]
    return jnp.concatenate(parts, axis=-1)


def stand_in(weights: Weights) -> Spectrum:
    """The same of the network."""

    def spectrum(hoppings: jax.Array, k: jax.Array, energy: jax.Array) -> jax.Array:
        shape = (len(k), len(energy))
        coordinates = scaled(
            jnp.broadcast_to(hoppings, (*shape, hoppings.size)), jnp.broadcast_to(k[:, None], (*shape, 2)), jnp.broadcast_to(energy, shape)
        )  # fmt: skip
        return jnp.exp(log_rate(weights, coordinates.astype(jnp.float32), "siren")).astype(energy.dtype)

    return spectrum


def drawn(config: Config, key: jax.Array, count: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Random hoppings (n, 4), uniform over the priors' reach, wave vectors (n, 2) of the quadrant, energies (n, m)."""
    first, second, third = jax.random.split(key, 3)
    centre, sigma = np.array(list(PRIORS.values())).T
    hoppings = centre + REACH * sigma * jax.random.uniform(first, (count, len(PRIORS)), float, -1, 1)
    k = jax.random.uniform(second, (count, 2), float, 0, np.pi / A)
    energy = jax.random.uniform(third, (count, config.batch // config.spectra), float, *WINDOW)
    return hoppings, k, energy


def trained(config: Config, file: Path) -> tuple[Weights, dict[str, Any]]:
    """The stand-in of a file that an earlier run with the same training left, else a new one, which is then kept there."""
    names = ("eta", "width", "depth", "bandwidth", "steps", "batch", "spectra", "learning_rate", "seed")
    head = json.dumps({n: getattr(config, n) for n in names})
    like = make_weights(jax.random.key(0), "siren", (1.0,) * (3 + len(PRIORS)), config.width, config.depth)
    if file.exists():
        with np.load(file, allow_pickle=False) as found:
            if str(found["head"]) == head:
                leaves = [jnp.asarray(found[f"leaf_{i}"]) for i in range(len(jax.tree.leaves(like)))]
                return jax.tree.unflatten(jax.tree.structure(like), leaves), json.loads(str(found["told"]))
    weights, told = train(config, exact(config))
    leaves = {f"leaf_{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(weights))}
    content = io.BytesIO()
    np.savez(content, head=np.array(head), told=np.array(json.dumps(told)), **leaves)
    write_atomically(file, content.getvalue())
    return weights, told


def train(config: Config, spectrum: Spectrum) -> tuple[Weights, dict[str, Any]]:
    """The stand-in, by exact spectra that are drawn anew every step."""
    key = jax.random.key(config.seed)
    weights = make_weights(key, "siren", (config.bandwidth,) * (3 + len(PRIORS)), config.width, config.depth)
    schedule = optax.warmup_cosine_decay_schedule(0.0, config.learning_rate, min(200, config.steps // 2), config.steps)
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))

    def batch(key: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
        hoppings, k, energy = drawn(config, key, count)
        target = jax.vmap(lambda h, q, e: spectrum(h, q[None], e)[0])(hoppings, k, energy)
        spread = energy.shape
        at = scaled(
            jnp.broadcast_to(hoppings[:, None], (*spread, 4)), jnp.broadcast_to(k[:, None], (*spread, 2)), energy
        )
        return at.reshape(-1, at.shape[-1]).astype(jnp.float32), target.ravel().astype(jnp.float32)

    def loss(weights: Weights, at: jax.Array, target: jax.Array) -> jax.Array:
        log = log_rate(weights, at, "siren")
        return jnp.mean(jnp.exp(log) - target * log - target + target * jnp.log(target)) / jnp.mean(target)

    @functools.partial(jax.jit, static_argnames="steps")
    def several(state: tuple, first: jax.Array, steps: int) -> tuple[tuple, jax.Array]:
        def step(state: tuple, number: jax.Array) -> tuple[tuple, jax.Array]:
            weights, kept = state
            at, target = batch(jax.random.fold_in(key, number), config.spectra)
            value, gradient = jax.value_and_grad(loss)(weights, at, target)
            change, kept = optimiser.update(gradient, kept, weights)
            return (optax.apply_updates(weights, change), kept), value

        return jax.lax.scan(step, state, first + jnp.arange(steps))

    state, history = (weights, optimiser.init(weights)), []
    each = max(config.steps // 40, 1)
    began = time.perf_counter()
    for first in range(0, config.steps, each):
        state, values = several(state, jnp.asarray(first + 1), each)
        history.append(float(values.mean()))
        print(
            f"step {first + each} of {config.steps}: {history[-1]:.3g} ({time.perf_counter() - began:.0f} s)",
            flush=True,
        )
    seconds = time.perf_counter() - began
    at, target = jax.jit(batch, static_argnums=1)(jax.random.fold_in(key, 0), 512)
    found = jnp.exp(jax.jit(lambda w: log_rate(w, at, "siren"))(state[0]))
    off = np.asarray(found - target)
    told = {
        "seconds": seconds, "history": history, "weights": int(sum(leaf.size for leaf in jax.tree.leaves(weights))),
        "rms_over_mean": float(np.sqrt(np.mean(off**2)) / np.mean(target)),
        "rms_over_rms": float(np.sqrt(np.mean(off**2) / np.mean(np.asarray(target) ** 2))),
        "deviance_per_intensity": float(loss(state[0], at, target)),
    }  # fmt: skip
    return state[0], told


class Quadrant:
    """Hoppings, E_F, gain and background from the counts of one quadrant, by one of the two spectra."""

    def __init__(self, config: Config, spectrum: Spectrum, peak: float) -> None:
        k = (np.arange(config.pixels) + 0.5) / config.pixels * np.pi / A
        self.k = jnp.asarray(np.stack(np.meshgrid(k, k, indexing="ij"), axis=-1).reshape(-1, 2))
        self.energy = jnp.linspace(-0.1, 0.06, config.energies)
        self.edge = 1 / (1 + jnp.exp(self.energy / (BOLTZMANN * 30.0)))
        self.spectrum = spectrum
        brightest = float(
            jnp.max(
                self.edge * exact(config)(jnp.asarray([v for v, _ in PRIORS.values()]), self.k, self.energy + FERMI[0])
            )
        )
        self.prior = np.array(
            [*PRIORS.values(), FERMI, (np.log(peak / brightest), 0.2), (np.log(config.background * peak), 0.2)]
        )
        self.fit = jax.jit(
            lambda u, counts: minimise(lambda v: self.linearise(v, counts), u, max_steps=60, tolerance=1e-5)
        )
        self.jitted = jax.jit(self.linearise)
        self.means = jax.jit(self.mean)

    def values(self, u: jax.Array) -> jax.Array:
        """Parameters of numbers in units of the priors' widths."""
        return self.prior[:, 0] + self.prior[:, 1] * u

    def mean(self, u: jax.Array) -> jax.Array:
        """Mean counts (k, energy)."""
        x = self.values(u)
        spectrum = self.spectrum(x[: len(PRIORS)], self.k, self.energy + x[len(PRIORS)])
        return jnp.exp(x[-2]) * self.edge * spectrum + jnp.exp(x[-1])

    def linearise(self, u: jax.Array, counts: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """−log posterior, its gradient and the Fisher matrix with the priors."""
        mean, push = jax.linearize(self.mean, u)
        slopes = jax.vmap(push)(jnp.eye(u.size)).reshape(u.size, -1)
        mu, c = mean.ravel(), counts.ravel()
        cost = jnp.sum(mu - c * jnp.log(mu)) + 0.5 * u @ u
        return cost, slopes @ (1 - c / mu) + u, (slopes / mu) @ slopes.T + jnp.eye(u.size)


def retrieve(config: Config, weights: Weights, peak: float) -> dict[str, Any]:
    """Both retrievals from the same counts and starts; each is scored at its own optimum, the better of fits from start and truth."""
    ways = {"exact": Quadrant(config, exact(config), peak), "stand_in": Quadrant(config, stand_in(weights), peak)}
    rows: dict[str, list] = {n: [] for n in ways}
    bounds = []
    for draw in range(config.draws):
        rng = np.random.default_rng([config.seed, draw])
        truth, start = np.clip(rng.normal(size=(2, len(NAMES))), -2, 2)  # priors, cut: fits stay within REACH
        mean = ways["exact"].means(jnp.asarray(truth))
        counts = jnp.asarray(rng.poisson(np.asarray(mean)).astype(float))
        bounds.append(np.asarray(ways["exact"].jitted(jnp.asarray(truth), counts)[2]))
        for name, way in ways.items():
            began = time.perf_counter()
            found = way.fit(jnp.asarray(start), counts)
            found.u.block_until_ready()
            seconds = time.perf_counter() - began
            reference = way.fit(jnp.asarray(truth), counts)
            reached = float(found.cost) <= float(reference.cost) + 0.01
            best = found if float(found.cost) <= float(reference.cost) else reference
            rows[name].append((np.asarray(best.u) - truth, np.asarray(best.fisher), seconds, reached))
        print(f"draw {draw + 1} of {config.draws}", {n: bool(r[-1][3]) for n, r in rows.items()}, flush=True)
    out: dict[str, Any] = {"peak": peak, "mean_counts": float(mean.mean())}
    sigma = np.array([s for _, s in ways["exact"].prior])
    for name, found in rows.items():
        error, own, seconds, reached = (np.stack([r[i] for r in found]) for i in range(4))
        efficiency, covered = score(error, np.stack(bounds), own)
        out[name] = {
            "efficiency": float(efficiency.mean()), "median_efficiency": float(np.median(efficiency)), "reached": float(reached.mean()),
            "coverage": float(covered.mean()),
            "rms": dict(zip(NAMES, (sigma * np.sqrt((error**2).mean(axis=0))).tolist(), strict=True)),
            "seconds_per_retrieval": float(np.median(seconds)),
        }  # fmt: skip
    out["error_ratio"] = {n: out["stand_in"]["rms"][n] / out["exact"]["rms"][n] for n in NAMES}
    out["median_bound"] = dict(
        zip(
            NAMES,
            (sigma * np.median([np.sqrt(np.diagonal(np.linalg.inv(b))) for b in bounds], axis=0)).tolist(),
            strict=True,
        )
    )
    return out


def model_of_size(orbitals: int) -> tuple[Callable, dict[str, float]]:
    """A model with so many orbitals and its values: square lattices, then silicon (sp3s*) in cells of 2, 4 and 8 atoms."""
    if orbitals <= 2:
        table = bj.load_parameters("square", "single_orbital" if orbitals == 1 else "two_orbital")
        atoms = bj.square_lattice(A)
    else:
        table = bj.load_parameters("Si", "vogl1983")
        atoms = bj.zincblende("Si") if orbitals == 10 else bj.superlattice(("Si", "Si"), (orbitals // 10,) * 2)
    values = {n: float(v) for n, v in table.values.items() if float(v)}
    model_of = bj.table_model(atoms, table, spin_orbit=False)
    assert model_of({}).topology.n_orbital == orbitals
    return model_of, values


def timing(config: Config, weights: Weights) -> dict[str, Any]:
    """Seconds of a value and gradient of the likelihood by exact models of several sizes, and by the stand-in."""
    rng = np.random.default_rng(config.seed)
    k = jnp.asarray(rng.uniform(0, np.pi / A, (config.timed_pixels, 2)))
    points = jnp.concatenate([k, jnp.zeros((len(k), 1))], axis=1)
    out: dict[str, Any] = {}
    for m in config.timed_energies:
        energy = jnp.linspace(-0.55, -0.39, m)
        counts = jnp.asarray(rng.poisson(5.0, (len(k), m)).astype(float))

        def cost(a: jax.Array, counts: jax.Array = counts) -> jax.Array:
            mu = a + 0.1
            return jnp.sum(mu - counts * jnp.log(mu))

        network = stand_in(weights)
        through = jax.jit(jax.value_and_grad(lambda h, e=energy, n=network: cost(n(h, k, e))))
        row = {"stand_in": _seconds(through, jnp.asarray([v for v, _ in PRIORS.values()]), config.repeats)}
        for orbitals in config.orbitals:
            model_of, values = model_of_size(orbitals)

            def value(v: dict, e: jax.Array = energy, model_of: Callable = model_of) -> jax.Array:
                return cost(bj.spectral_function(model_of(v), points, e, eta=config.eta))

            row[f"exact_{orbitals}"] = _seconds(jax.jit(jax.value_and_grad(value)), values, config.repeats)
        pays = [n for n in config.orbitals if row[f"exact_{n}"] > row["stand_in"]]
        row["pays_from_orbitals"] = min(pays) if pays else None
        out[f"{m} energies"] = row
        print(m, row, flush=True)
    return out


def _seconds(call: Callable, argument: Any, repeats: int) -> float:
    jax.block_until_ready(call(argument))
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(call(argument))
        times.append(time.perf_counter() - began)
    return min(times)


def figure_of(config: Config, weights: Weights, metrics: dict[str, Any]) -> Figure:
    """A(k, E) of both along a line, their difference, and the times."""
    figure = Figure(figsize=(7.2, 5.6), layout="constrained")
    axes = figure.subplots(2, 2)
    k = jnp.stack([jnp.linspace(0, np.pi / A, 120)] * 2, axis=1)
    energy = jnp.linspace(*WINDOW, 110)
    hoppings = jnp.asarray([v for v, _ in PRIORS.values()])
    maps = [np.asarray(f(hoppings, k, energy)) for f in (exact(config), stand_in(weights))]
    top = maps[0].max()
    for axis, values, title, colours, low in (
        (axes[0, 0], maps[0], "exact", "viridis", 0.0), (axes[0, 1], maps[1], "stand-in", "viridis", 0.0),
        (axes[1, 0], 10 * (maps[1] - maps[0]), "10 × difference", "RdBu_r", -top),
    ):  # fmt: skip
        shown = axis.pcolormesh(k[:, 0], energy, values.T, cmap=colours, vmin=low, vmax=top, rasterized=True)
        axis.set(title=title, xlabel="kx = ky (1/Å)", ylabel="E (eV, model's scale)")
        figure.colorbar(shown, ax=axis, label="A (1/eV)")
    axis = axes[1, 1]
    for colour, (name, row) in zip(("tab:blue", "tab:orange", "tab:green"), metrics["timing"].items(), strict=False):
        axis.loglog(
            config.orbitals,
            [1e3 * row[f"exact_{n}"] for n in config.orbitals],
            "o-",
            color=colour,
            label=f"exact, {name}",
        )
        axis.axhline(1e3 * row["stand_in"], color=colour, linestyle="--", label=f"stand-in, {name}")
    axis.set(xlabel="orbitals", ylabel="value and gradient (ms)", title=f"{config.timed_pixels} wave vectors")
    axis.legend(fontsize=7)
    return figure


def run(config: Config, out: Path, keep: Callable[[dict], None] = lambda metrics: None) -> dict[str, Any]:
    """All parts, with the figure."""
    out.mkdir(parents=True, exist_ok=True)
    metrics: dict[str, Any] = {}
    weights, metrics["training"] = trained(config, out / "standin.npz")
    keep(metrics)
    metrics["timing"] = timing(config, weights)
    keep(metrics)
    metrics["retrieval"] = {}
    for peak in config.peaks:
        metrics["retrieval"][f"{peak:g}"] = found = retrieve(config, weights, peak)
        print(
            f"peak {peak:g}",
            {n: (found[n]["efficiency"], found[n]["seconds_per_retrieval"]) for n in ("exact", "stand_in")},
        )
        keep(metrics)
    figure_of(config, weights, metrics).savefig(out / "standin.png", dpi=170)
    return metrics


if __name__ == "__main__":
    run_and_save(__doc__, PRESETS, run)
