"""The setting of the two-orbital experiments: a cubic e_g model, two maps near k_z = 0 and π/a, their priors, and compiled fits of them.

`Setup.fit` is the descent of `bj.fit` (its stages, tolerances and numbers of trials) in one compiled program, so that hundreds of draws can be
made; `retrieve_two_orbital` states on some of them how well the two agree.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

jax.config.update("jax_enable_x64", True)

import bandjax as bj  # noqa: E402
from bandjax.inference import part_of_map  # noqa: E402
from bandjax.inference.brightness import is_brightness  # noqa: E402
from bandjax.inference.fit import COARSE_STEPS, COARSE_TOLERANCE, TOLERANCE  # noqa: E402
from bandjax.inference.least_squares import State, minimise  # noqa: E402
from bandjax.inference.parameters import all_values, draw_from_prior, free_values, make_transform, start_vector  # noqa: E402
from bandjax.inference.problem import Observed, make_objective, model_values, observed, prepare  # noqa: E402
from bandjax.inference.retrieve import plane_of_map, window_margin  # noqa: E402
from bandjax.photoemission.pixels import central_kz, laboratory_model  # noqa: E402
from bandjax.spectrum.fermi_surface import filled_areas, plane_energies, plane_vectors  # noqa: E402
from experiments.peak_fits import Known  # noqa: E402

A = 3.9  # Å
SHARED = ("t_sigma", "t_delta", "t_sigma'", "t_pi'", "fermi_energy")  # what peaks can know


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that the experiment depends on."""

    pixels: int = 64  # along each axis of the whole zone
    energy: tuple[float, float, float] = (-0.1, 0.06, 0.01)  # first, last, step
    fraction: float = 0.25
    pattern: str = "window"
    peak: float = 40.0  # counts of the brightest pixel, about
    background: float = 0.05  # of the peak
    broadening: tuple[tuple[float, float], ...] = ((0.0, 0.4), (0.0, 0.12))  # eV, 1/Å
    draws: int = 300
    face_draws: int = 5
    peak_fit_draws: int = 20
    robust_draws: int = 10
    misfits: tuple[str, ...] = ("none", "third neighbours", "k_z broadening", "Fermi-liquid width", "matrix element")
    starts: int = 12
    grid: int = 96
    seed: int = 0


PRESETS = {
    "default": Config(),
    "smoke": Config(
        pixels=32,
        energy=(-0.1, 0.06, 0.02),
        draws=3,
        face_draws=1,
        peak_fit_draws=1,
        robust_draws=1,
        misfits=("k_z broadening", "matrix element"),
        starts=2,
        grid=32,
    ),
}
PRIORS = {"t_sigma": (0.3, 0.03), "t_delta": (0.0, 0.02), "t_sigma'": (0.03, 0.01), "t_pi'": (0.0, 0.01)}  # eV
INSTRUMENT = bj.Instrument(
    photon_energy=150.7, inner_potential=12.0, fermi_energy=-0.45, eta=0.02, fwhm_energy=0.03, fwhm_momentum=0.04, temperature=30.0,
    photon_momentum=False,
)  # fmt: skip
PHOTONS = {"kz0": 150.7, "kzpi": 113.6}  # eV: k_z near 0 and π/a
STEPS = 60  # trials at most of the last stage, as in `bj.fit`
KNOWN = Known(0.03, 0.04, 30.0, 0.02)


class Setup:
    """The problem, and compiled functions of it for many draws."""

    def __init__(self, config: Config, *, brightness: int = 0) -> None:
        self.config = config
        table = bj.load_parameters("cubic", "two_orbital").replace(**{n: v for n, (v, _) in PRIORS.items()})
        table_of = bj.table_model(bj.cubic_lattice(A), table, spin_orbit=False)
        k = (np.arange(config.pixels) - (config.pixels - 1) / 2) / (config.pixels / 2) * np.pi / A
        first, last, step = config.energy
        energy = first + step * np.arange(round((last - first) / step) + 1)
        self.axes = {"ky": k, "kx": k, "energy": energy}
        self.instruments = {n: INSTRUMENT.replace(photon_energy=hv) for n, hv in PHOTONS.items()}
        start = table_of({})
        few = bj.arpes_image(start, self.instruments["kz0"].replace(gain=1.0), self.axes, kz_points=1)
        gain = config.peak / float(few.max())
        self.instruments = {
            n: i.replace(gain=gain, background=config.background * config.peak) for n, i in self.instruments.items()
        }
        base = self.instruments["kz0"]
        parameters = {n: bj.Parameter(v, sigma=s) for n, (v, s) in PRIORS.items()}
        widths = {"fermi_energy": 0.05, "eta": 0.005, "background": 0.1 * float(base.background)}
        parameters |= bj.instrument_parameters(base, widths)
        for name in PHOTONS:
            parameters[f"{name}.gain"] = bj.instrument_parameters(base, ("gain",))["gain"]
        if brightness:
            parameters |= bj.brightness_parameters(brightness, maps=tuple(PHOTONS))
        self.problem = bj.Problem(
            table_of,
            parameters,
            self.instruments,
            kz_points=1,
            inflate=False,
            broadening=config.broadening,
            seed=config.seed,
        )
        shape = tuple(len(v) for v in self.axes.values())
        empty = xr.DataArray(np.ones(shape), dims=tuple(self.axes), coords=self.axes)
        self.whole, self.transform = prepare(dict.fromkeys(PHOTONS, empty), self.problem)
        self.parts, _ = prepare({n: self.cut(empty) for n in PHOTONS}, self.problem)
        self.names = self.transform.names
        blank = [observed(p) for p in self.whole]
        full = make_objective(self.problem, self.whole, self.transform)
        self.means = jax.jit(lambda u: [m for m, _ in full.predict(u, blank, jnp.asarray(0.0))])
        objective = make_objective(self.problem, self.parts, self.transform)
        self.linearise, self.cost = jax.jit(objective.linearise), jax.jit(objective.cost)
        unseen = [observed(p) for p in self.parts]
        self.part_means = jax.jit(lambda u: [m for m, _ in objective.predict(u, unseen, jnp.asarray(0.0))])

        def descend(
            u: jax.Array, obs: list[Observed], width: jax.Array, tolerance: jax.Array, steps: jax.Array
        ) -> State:
            return minimise(
                lambda v: objective.linearise(v, obs, width), u, max_steps=steps, tolerance=tolerance,
                cost=lambda v: objective.cost(v, obs, width),
            )  # fmt: skip

        self.descend = jax.jit(descend)
        self.to_x = jax.jit(lambda u: free_values(self.transform, u))
        self.slopes = jax.jit(lambda u: jnp.diagonal(jax.jacfwd(lambda w: free_values(self.transform, w))(u)))

    def cut(self, data: xr.DataArray) -> xr.DataArray:
        """The part that is fitted."""
        c = self.config
        return part_of_map(data, c.fraction, pattern=c.pattern, margin=window_margin(data, INSTRUMENT), seed=c.seed)

    def maps(self, means: list[np.ndarray], rng: np.random.Generator) -> dict[str, xr.DataArray]:
        """Counts of whole maps."""
        return {
            n: xr.DataArray(
                rng.poisson(np.asarray(m)).astype(float),
                dims=tuple(self.axes),
                coords=self.axes,
                attrs={"simulated": 1},
            )
            for n, m in zip(PHOTONS, means, strict=True)
        }

    def draw(self, index: int) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
        """Truth and start out of the priors (gains: the truth as it is, the start up to 10 % off), and the noise's generator."""
        rng = np.random.default_rng([self.config.seed, index])
        free = [n for n in self.names if not n.endswith("gain")]
        prior = make_transform({n: self.problem.parameters[n] for n in free})
        points = []
        for spread in (0.0, 0.1):
            x = dict(zip(free, draw_from_prior(prior, rng), strict=True))
            gain = float(self.instruments["kz0"].gain)
            points.append(np.array([x.get(n, gain * (1 + spread * rng.uniform(-1, 1))) for n in self.names]))
        return points[0], points[1], rng

    def drawn_maps(self, index: int) -> tuple[np.ndarray, np.ndarray, dict[str, xr.DataArray]]:
        """Truth, start and the counts of a draw."""
        truth, start, rng = self.draw(index)
        return truth, start, self.maps(self.means(self.u_of(truth)), rng)

    def point(self, names: tuple[str, ...], x: np.ndarray) -> np.ndarray:
        """The values of another setup in the order of this one; a brightness that the other has not is 0."""
        given = dict(zip(names, x, strict=True))
        return np.array([given.get(n, 0.0) if is_brightness(n) else given[n] for n in self.names])

    def u_of(self, x: np.ndarray) -> jax.Array:
        """Unconstrained numbers."""
        return jnp.asarray(start_vector(self.transform, dict(zip(self.names, x, strict=True))))

    def fit(self, maps: dict[str, xr.DataArray], start: np.ndarray, *, reference: bool = False) -> State:
        """The descent of `bj.fit` in one compiled program; `reference`: without coarse stages, to the last digit."""
        parts = [p._replace(data=np.nan_to_num(self.cut(maps[p.name]).values)) for p in self.parts]
        u, obs = self.u_of(start), [observed(p) for p in parts]
        if reference:
            return self.descend(u, obs, jnp.zeros(2), jnp.asarray(1e-6), jnp.asarray(100))
        coarse = jnp.asarray(COARSE_TOLERANCE), jnp.asarray(COARSE_STEPS)
        for width in self.config.broadening:
            smooth = [observed(p, broadening=width) for p in parts]
            u = self.descend(u, smooth, jnp.asarray(width), *coarse).u
        return self.descend(u, obs, jnp.zeros(2), jnp.asarray(TOLERANCE), jnp.asarray(STEPS))

    def errors(self, found: State) -> np.ndarray:
        """Standard errors of a fit, in the parameters' units."""
        slope = np.asarray(self.slopes(found.u))
        return np.sqrt(np.diagonal(np.linalg.inv(np.asarray(found.fisher) / np.outer(slope, slope))))

    def fisher(self, x: np.ndarray, means: list) -> np.ndarray:
        """Fisher matrix with the priors' precision at x, in the parameters' units."""
        parts = [
            p._replace(
                data=np.nan_to_num(
                    self.cut(xr.DataArray(np.asarray(m), dims=tuple(self.axes), coords=self.axes)).values
                )
            )
            for p, m in zip(self.parts, means, strict=True)
        ]
        u = self.u_of(x)
        slope = np.asarray(self.slopes(u))
        return np.asarray(self.linearise(u, [observed(p) for p in parts], jnp.asarray(0.0))[2]) / np.outer(slope, slope)

    def areas(self, x: np.ndarray, **more: float) -> np.ndarray:
        """Filled part of the zone, of each band in each plane, (map × band,); `more`: values that are no parameters."""
        values = {n: float(v) for n, v in all_values(self.transform, jnp.asarray(x)).items()} | more
        return np.asarray(self._areas({n: jnp.asarray(v) for n, v in values.items()})).ravel()

    def _areas(self, values: dict[str, jax.Array]) -> jax.Array:
        if not hasattr(self, "_compiled"):
            grid = self.config.grid
            start = self.problem.model_of({})  # type: ignore[operator]
            heights = {n: plane_of_map(start, i) for n, i in self.instruments.items()}
            vectors = plane_vectors(start)

            def of(values: dict[str, jax.Array]) -> jax.Array:
                model = self.problem.model_of(model_values(values))  # type: ignore[operator]
                parts = (
                    filled_areas(plane_energies(model, z, grid, vectors), values["fermi_energy"])
                    for z in heights.values()
                )
                return jnp.stack([f.mean(axis=(1, 2, 3)) for f in parts])

            self._compiled = jax.jit(of)
        return self._compiled(values)

    def bands_of(self, name: str) -> Callable:
        """For the peak fits: E − E_F and slopes in θ = `SHARED` at (k, 2), each k at its own k_z at E_F."""
        instrument = self.instruments[name]

        @jax.jit
        def at(theta: jax.Array, k: jax.Array) -> tuple[jax.Array, jax.Array]:
            k_z = central_kz(instrument, k, jnp.zeros(()), jnp.asarray(float(instrument.photon_energy)))
            points = jnp.concatenate([k, k_z[:, None]], axis=1)

            def energies(t: jax.Array) -> jax.Array:
                model = self.problem.model_of(dict(zip(SHARED[:-1], t[:-1], strict=True)))  # type: ignore[operator]
                return bj.bands(laboratory_model(model, instrument), points) - t[-1]

            return energies(theta), jax.jacfwd(energies)(theta)

        def padded(theta: np.ndarray, k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            size = 256 * -(-max(len(k), 1) // 256)  # few sizes, few compilations
            full = np.concatenate([k, np.zeros((size - len(k), 2))])
            e, d = at(jnp.asarray(theta), jnp.asarray(full))
            return np.asarray(e)[: len(k)], np.asarray(d)[: len(k)]

        return padded
