"""What an image says of every layer, and of the bands: by the network alone, and refined.

Claim: at 30 counts a pixel the bands of a stack that are made again from the inferred numbers miss the true ones by at most
100 meV (rms, network alone) and 30 meV (refined), and by less than a half and a quarter of what the prior's centre misses; composition, neighbours,
strain and bond length of every layer come out better than the prior knows them, and their 68 % and 90 % intervals cover that often,
beside interfaces and inside. Layers that the prior already knows (spread of the fraction below 0.01) are not scored.

Energies count from E_F, which is inferred too, and are compared level by level (sorted at each k) in the window of the
image. A layer is beside an interface where its composition changes to a neighbour by more than `STEP`. Images are simulated by the
model that is fitted (inverse crime); they are kept one by one, so that a run can be killed and goes on where it was.
"""

import dataclasses
import json
import time
from pathlib import Path

import ase
import jax
import jax.numpy as jnp
import numpy as np

jax.config.update("jax_enable_x64", True)

import bandjax as bj  # noqa: E402
from bandjax.inference.problem import model_values  # noqa: E402
from bandjax.learning.cache import single_precision  # noqa: E402
from bandjax.learning.family import Family, centre_and_spread, physical  # noqa: E402
from bandjax.learning.mixture import sample  # noqa: E402
from bandjax.learning.weights import Reverse, load_reverse  # noqa: E402
from experiments.common import arguments, kept_rows, write_json  # noqa: E402
from experiments.descents import Bench  # noqa: E402

STEP = 0.1  # change of composition to a neighbouring layer beside which a layer counts as one of an interface
WINDOW = (-5.8, 0.0)  # E − E_F in eV, that of the image
KNOWN = 0.01  # spread of a layer's fraction over the prior below which it is not scored
LEVELS = (0.68, 0.9)
QUANTILE = {0.68: 0.99446, 0.9: 1.64485}  # of the normal distribution
WHAT = ("fraction", "shell_fraction_1", "strain_xx", "strain_zz", "bond_length")


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that the experiment depends on."""

    draws: int = 200
    kx_points: int = 24
    energy_points: int = 48
    mean_counts: float = 30.0
    starts: int = 3
    max_steps: int = 40
    samples: int = 400
    wave_vectors: int = 8
    seed: int = 31


PRESETS = {
    "default": Config(),
    "some": Config(draws=40),
    "smoke": Config(draws=2, kx_points=10, energy_points=32, max_steps=15, samples=50, wave_vectors=2),
}


class Reading:
    """Descriptors of the layers and bands of a family's stacks, compiled once."""

    def __init__(self, family: Family, names: tuple[str, ...], wave_vectors: int) -> None:
        self.names = names
        central = {n: centre_and_spread(p)[0] for n, p in family.parameters}
        model = family.model_of(model_values(central))
        # labels do not matter where a composition is given
        atoms = ase.Atoms("Si" * len(model.positions), model.positions, cell=model.cell, pbc=(True, True, False))
        columns = [[n for n, _ in bj.DESCRIPTORS].index(name) for name in WHAT]
        k = np.zeros((wave_vectors, 3))
        k[:, :2] = np.linspace(0, 0.7, wave_vectors)[:, None] / np.sqrt(2)  # along the slit, [110]

        def named(x: jax.Array) -> dict[str, jax.Array]:
            return dict(zip(names, x, strict=True))

        def layers(x: jax.Array) -> jax.Array:
            made = family.model_of(model_values(named(x)))
            told = bj.environment(atoms, ("Si", "Ge"), positions=made.positions, cell=made.cell, composition=made.composition)  # fmt: skip
            return told.features()[:, columns]

        def levels(x: jax.Array) -> jax.Array:
            return bj.bands(family.model_of(model_values(named(x))), k) - named(x)["fermi_energy"]

        self.layers, self.bands = jax.jit(layers), jax.jit(levels)
        self.of_draws = jax.jit(lambda draws: jax.lax.map(layers, draws, batch_size=16))
        self.slopes = jax.jit(jax.jacfwd(layers))


def run(config: Config, reverse: Reverse, folder: Path) -> dict:
    """All images that `folder` does not hold yet, then the summary."""
    bench = Bench(reverse.family, config.kx_points, config.energy_points, config.mean_counts, config.max_steps)
    reading = Reading(reverse.family, bench.transform.names, config.wave_vectors)
    tasks = ((f"{draw:04d}", (draw,)) for draw in range(config.draws))
    rows = kept_rows(folder, tasks, config, lambda draw: _image(bench, reading, config, reverse, draw))
    return summary(rows, known(bench, reading, config))


def known(bench: Bench, reading: Reading, config: Config) -> np.ndarray:
    """Layers whose composition the prior knows to `KNOWN`, (layer,)."""
    draws = [bench.draw(np.random.default_rng([config.seed, 1, i])) for i in range(config.samples)]
    each = np.asarray(reading.of_draws(np.array([[p[n] for n in reading.names] for p in draws])))
    return each[:, :, 0].std(axis=0) < KNOWN


def _image(bench: Bench, reading: Reading, config: Config, reverse: Reverse, draw: int) -> dict:
    """One stack: errors of its layers (layer, descriptor) and of its bands by prior, network and refinement."""
    rng = np.random.default_rng([config.seed, draw])
    truth = bench.draw(rng)
    counts = rng.poisson(np.asarray(bench.mean_at(bench.exact(truth)))).astype(float)
    guess, _ = bench.look(counts, reverse, draw)
    x = np.array([truth[n] for n in reading.names])
    true, energies = np.asarray(reading.layers(x)), np.asarray(reading.bands(x))
    inside = (energies > WINDOW[0]) & (energies < WINDOW[1])

    with single_precision():
        latents = sample(guess.posterior, jax.random.key(draw), config.samples)
        draws = physical(reverse.family, latents, jnp.float32(guess.seen))
    draws = _bounded(bench, reverse.family, np.asarray(draws, float), reading.names)
    each = np.asarray(reading.of_draws(draws))  # (sample, layer, descriptor)
    out = {}
    mean = np.array([guess.values[n] for n in reading.names])
    prior = x.copy()  # the nuisances do not matter
    for name, parameter in reverse.family.parameters:
        prior[reading.names.index(name)] = centre_and_spread(parameter)[0]
    prior, mean = (_bounded(bench, reverse.family, p[None], reading.names)[0] for p in (prior, mean))

    def row(found: np.ndarray, at: np.ndarray, covered: dict) -> dict:
        missed = (np.asarray(reading.bands(at)) - energies)[inside]
        return {"error": (found - true).tolist(), "bands": float(np.sqrt((missed**2).mean())), "covered": covered}

    out["prior"] = row(np.asarray(reading.layers(prior)), prior, {})
    covered = {}
    for level in LEVELS:
        low, high = np.quantile(each, [(1 - level) / 2, (1 + level) / 2], axis=0, method="weibull")
        covered[f"{level:g}"] = ((true >= low) & (true <= high)).tolist()
    out["network"] = row(each.mean(axis=0), mean, covered)

    _, state, _ = bench.refine(counts, guess, config.starts)
    at = np.array(list(bench.values(state).values()))
    covariance = np.linalg.inv(bench.precision(state))
    slopes = np.asarray(reading.slopes(at))
    sigma = np.sqrt(np.einsum("ldi,ij,ldj->ld", slopes, covariance, slopes))
    found = np.asarray(reading.layers(at))
    covered = {f"{level:g}": (np.abs(found - true) <= QUANTILE[level] * sigma).tolist() for level in LEVELS}
    out["refined"] = row(found, at, covered)
    change = np.abs(np.diff(true[:, 0]))
    beside = np.maximum(np.append(change, 0), np.append(0, change)) > STEP
    return {"truth": truth, "beside": beside.tolist()} | out


def _bounded(bench: Bench, family: Family, draws: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """Draws in the order of `names`, moved to the nearest allowed value."""
    order = [family.names.index(n) for n in names] if draws.shape[1] == len(family.names) else range(len(names))
    return np.clip(draws[:, order], bench.transform.lower, bench.transform.upper)


def summary(rows: list[dict], known: np.ndarray) -> dict:
    """Root mean square errors and coverages, of layers beside interfaces and inside, and of the bands."""
    beside = np.concatenate([r["beside"] for r in rows])
    open_to_it = np.tile(~known, len(rows))
    out: dict = {"images": len(rows), "layers": {"interface": int((beside & open_to_it).sum()), "inner": int((~beside & open_to_it).sum())}}  # fmt: skip
    for way in ("prior", "network", "refined"):
        error = np.concatenate([r[way]["error"] for r in rows])
        bands = np.array([r[way]["bands"] for r in rows])
        out[way] = {
            "bands_meV": {"rms": 1e3 * float(np.sqrt((bands**2).mean())), "median": 1e3 * float(np.median(bands))}
        }
        for where, chosen in (("interface", beside & open_to_it), ("inner", ~beside & open_to_it)):
            own = {"rmse": dict(zip(WHAT, np.sqrt((error[chosen] ** 2).mean(axis=0)).tolist(), strict=True))}
            for level in rows[0][way]["covered"]:
                hit = np.concatenate([r[way]["covered"][level] for r in rows])[chosen]
                own[f"covered_{level}"] = dict(zip(WHAT, hit.mean(axis=0).tolist(), strict=True))
            out[way][where] = own
    return out


if __name__ == "__main__":
    args = arguments(__doc__, PRESETS, weights="file of a network, or the name of a shipped one (default: buried_sige)")
    started = time.perf_counter()
    chosen, network = PRESETS[args.preset], load_reverse(args.weights or "buried_sige")
    metrics = run(chosen, network, args.out / "images")
    print(json.dumps(metrics, indent=1))
    write_json(args.out / "result.json", chosen, metrics | {"weights": network.record}, started)
