"""What people do today: peaks of momentum and energy distribution curves, then least squares of the model's bands on the peaks.

Each curve is fitted by `lmfit` with the resolution known: momentum curves (MDC) by Voigt lines of fixed Gaussian width on a constant,
energy curves (EDC) by one Lorentzian under the known Fermi function, both smeared by the known Gaussian, on a constant. Residuals are
those of Poisson deviance, so that few counts do not bias a line. Where peaks are is read from the smoothed curve. The energy of an MDC
near E_F is that of the band which is brightest there, under the known Fermi function, resolution and line width.

A peak goes to the nearest band. Momentum curves count along the direction in which that band is steeper, and not where it is flat: near
a band's edge or saddle they peak at the extremum, not at their energy (the limit of 0.8 eV Å was chosen by looking at errors against
the truth, in this side's favour); there "both" takes the EDC. Weights are the peaks' own errors; priors as the other side's. From the
start on a common error is added to all peaks, 0.1 eV at first and then less, with a robust loss, so that a start whose bands lie far
off does not decide which peaks count; at last outliers beyond 4σ are dropped, and that is repeated until nothing changes.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from scipy.ndimage import gaussian_filter1d
from scipy.optimize import least_squares
from scipy.signal import find_peaks
from scipy.special import voigt_profile

from bandjax.units import BOLTZMANN, FWHM_PER_SIGMA

METHODS = ("mdc", "edc", "both")
OUTLIER = 4.0  # standard deviations
FLAT = 0.8  # eV Å: below this velocity momentum curves are not used, and "both" takes the EDC's peak
ROUNDS = 10
ANNEALED = (0.1, 0.1, 0.05, 0.05, 0.02, 0.01)  # eV: added to the errors of all peaks, robust loss
SMALLEST = 1e-6  # counts


class Peaks(NamedTuple):
    """Peaks of one map: position, which coordinate was measured ("kx", "ky", "energy"), and its error."""

    kx: np.ndarray
    ky: np.ndarray
    energy: np.ndarray
    along: np.ndarray
    sigma: np.ndarray


class Known(NamedTuple):
    """What a user knows: resolutions (FWHM, eV and 1/Å), temperature (K), and about the half width of lines (eV)."""

    fwhm_energy: float
    fwhm_momentum: float
    temperature: float
    eta: float


def require_lmfit() -> Any:
    """The module, or ImportError with one sentence."""
    try:
        import lmfit
    except ImportError as error:
        raise ImportError("Peak fits need lmfit: pip install bandjax[reconstruction].") from error
    return lmfit


def fit_peaks(data: xr.DataArray, known: Known, *, edc: bool = True) -> Peaks:
    """All peaks of a map (ky, kx, energy) that a fit finds; masked pixels are left out."""
    data = data.transpose("ky", "kx", "energy")
    kept = {
        n: np.isfinite(data.values).any(axis=tuple(i for i in range(3) if i != at)) for at, n in enumerate(data.dims)
    }
    data = data.isel({n: k for n, k in kept.items()})
    ky, kx, energy = (data[n].values for n in ("ky", "kx", "energy"))
    effective = effective_energy(energy, known)
    rows: list[tuple] = []
    for e, value in enumerate(energy):
        if value > 0.5 * np.abs(energy[1] - energy[0]):
            continue  # beyond E_F
        for j, y in enumerate(ky):
            rows += [(k, y, effective[e], "kx", s) for k, s in fit_mdc(kx, data.values[j, :, e], known)]
        for i, x in enumerate(kx):
            rows += [(x, k, effective[e], "ky", s) for k, s in fit_mdc(ky, data.values[:, i, e], known)]
    if edc:
        for j, y in enumerate(ky):
            for i, x in enumerate(kx):
                rows += [(x, y, k, "energy", s) for k, s in fit_edc(energy, data.values[j, i], known)]
    columns = list(zip(*rows, strict=True)) or [()] * 5
    return Peaks(*(np.array(c, dtype=str if n == 3 else float) for n, c in enumerate(columns)))


def effective_energy(energy: np.ndarray, known: Known) -> np.ndarray:
    """Energy of the band that is brightest in a momentum curve at each energy: below E_F that energy itself, near it lower, by the
    Fermi function, the resolution and the line's own width."""
    sigma = known.fwhm_energy / FWHM_PER_SIGMA
    fine = np.linspace(energy[0] - 4 * sigma, energy[-1] + 4 * sigma, 801)
    weight = occupation(fine, known) * np.exp(-0.5 * ((energy[:, None] - fine) / sigma) ** 2)
    brightness = weight @ (1 / ((fine[:, None] - fine) ** 2 + known.eta**2))  # (energy, band)
    return fine[brightness.argmax(axis=1)]


def occupation(energy: np.ndarray, known: Known) -> np.ndarray:
    """Fermi function."""
    return 1 / (1 + np.exp(np.clip(energy / (BOLTZMANN * known.temperature), -60, 60)))


def fit_mdc(k: np.ndarray, counts: np.ndarray, known: Known) -> list[tuple[float, float]]:
    """(position, error) of the Voigt lines of one curve."""
    sigma, step = known.fwhm_momentum / FWHM_PER_SIGMA, k[1] - k[0]
    at = candidates(counts)
    if not len(at):
        return []
    start: list[tuple[str, float, float, float]] = [("base", max(float(np.percentile(counts, 10)), 0.1), 0.0, np.inf)]
    gamma = 0.02
    height = float(voigt_profile(0, sigma, gamma))
    for n, i in enumerate(at):
        start.append((f"area{n}", max(float(counts[max(i - 1, 0) : i + 2].mean()), 0.5) / height, 0.0, np.inf))
        start.append((f"place{n}", float(k[i]), float(k[i]) - 4 * step, float(k[i]) + 4 * step))
        start.append((f"gamma{n}", gamma, 1e-4, 0.3))

    def mean(p: dict[str, float]) -> np.ndarray:
        lines = (p[f"area{n}"] * voigt_profile(k - p[f"place{n}"], sigma, p[f"gamma{n}"]) for n in range(len(at)))
        return p["base"] + sum(lines)

    found = _fit(mean, counts, start)
    if found is None:
        return []
    inside = lambda n: k[0] + step < found[f"place{n}"].value < k[-1] - step  # noqa: E731
    good = [
        n for n in range(len(at)) if inside(n) and found[f"area{n}"].value > 3 * (found[f"area{n}"].stderr or np.inf)
    ]
    return [
        (found[f"place{n}"].value, found[f"place{n}"].stderr)
        for n in good
        if 0 < (found[f"place{n}"].stderr or 0) < 0.1
    ]


def fit_edc(energy: np.ndarray, counts: np.ndarray, known: Known) -> list[tuple[float, float]]:
    """(position, error) of the one line of an energy curve below E_F, if it is there."""
    at = candidates(counts)
    if not len(at):
        return []
    sigma, step = known.fwhm_energy / FWHM_PER_SIGMA, energy[1] - energy[0]
    fine = np.arange(energy[0] - 4 * sigma, energy[-1] + 4 * sigma, step / 3)
    kernel = np.exp(-0.5 * ((energy[:, None] - fine) / sigma) ** 2)
    kernel = kernel / kernel.sum(axis=1, keepdims=True) * occupation(fine, known)
    top = int(at[np.argmax(counts[at])])
    start = [
        ("base", max(float(counts[energy > 2 * sigma].mean() if (energy > 2 * sigma).any() else counts.min()), 0.1), 0.0, np.inf),
        ("area", max(float(counts[top]), 1.0) * np.pi * 0.03, 0.0, np.inf),
        ("place", float(min(energy[top], 0.0)), float(energy[0]) - 0.05, 0.05),
        ("gamma", 0.02, 2e-3, 0.3),
    ]  # fmt: skip

    def mean(p: dict[str, float]) -> np.ndarray:
        line = p["gamma"] / np.pi / ((fine - p["place"]) ** 2 + p["gamma"] ** 2)
        return p["base"] + p["area"] * (kernel @ line)

    found = _fit(mean, counts, start)
    if found is None or found["area"].value < 4 * (found["area"].stderr or np.inf):
        return []
    place, error = found["place"].value, found["place"].stderr
    return [(place, error)] if energy[0] + 2 * step < place < 0 and 0 < (error or 0) < 0.03 else []


def candidates(counts: np.ndarray) -> np.ndarray:
    """Where a smoothed curve has peaks that stand out of its noise."""
    smooth = gaussian_filter1d(counts, 1.2, mode="nearest")
    noise = np.sqrt(np.maximum(smooth, 0.3) / 4.2)  # a Gaussian of σ = 1.2 averages 2√π σ = 4.2 pixels
    at, info = find_peaks(smooth, prominence=0.0)
    return at[info["prominences"] > 3.5 * noise[at]]


def _fit(mean: Callable[[dict[str, float]], np.ndarray], counts: np.ndarray, start: list[tuple]) -> Any:
    """lmfit parameters at the least Poisson deviance, or None where the fit fails."""
    lmfit = require_lmfit()
    parameters = lmfit.Parameters()
    for name, value, low, high in start:
        parameters.add(name, value=value, min=low, max=high)
    saturated = np.where(counts > 0, counts * np.log(np.maximum(counts, 1e-30)) - counts, 0.0)

    def deviance(p: Any) -> np.ndarray:
        mu = np.maximum(mean(p.valuesdict()), SMALLEST)
        twice = 2 * (mu - counts * np.log(mu) + saturated)
        return np.sign(counts - mu) * np.sqrt(np.maximum(twice, 0.0))

    try:
        found = lmfit.minimize(deviance, parameters, method="leastsq", scale_covar=False, max_nfev=400)
    except (ValueError, FloatingPointError, np.linalg.LinAlgError):
        return None
    return found.params if found.success and found.errorbars else None


Bands = Callable[
    [np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]
]  # θ, k -> E − E_F (k, band), ∂E/∂θ (k, band, p)


def fit_model(
    peaks: dict[str, Peaks],
    bands: dict[str, Bands],
    start: np.ndarray,
    prior: tuple[np.ndarray, np.ndarray],
    method: str,
) -> tuple[np.ndarray, np.ndarray, int]:
    """Least squares of the bands on the peaks of all maps.

    Args:
        peaks: By map.
        bands: By map: energies and slopes at (k, 2).
        start: θ.
        prior: Centre and standard deviation (infinite: none) of θ.
        method: Which peaks, of `METHODS`.

    Returns:
        θ, its covariance, and the number of peaks used.
    """
    theta, centre, width = start.copy(), *prior

    def rows(t: np.ndarray, chosen: dict[str, tuple]) -> tuple[np.ndarray, np.ndarray]:
        residual, slope = [(t - centre) / width], [np.diag(1 / width)]
        for n, (at, band, sigma) in chosen.items():
            if not len(at):
                continue
            p = peaks[n]
            e, d = bands[n](t, np.stack([p.kx[at], p.ky[at]], axis=1))
            pick = np.arange(len(at)), band
            residual.append((e[pick] - p.energy[at]) / sigma)
            slope.append(d[pick] / sigma[:, None])
        return np.concatenate(residual), np.concatenate(slope)

    chosen: dict[str, tuple] = {}
    for added in (*ANNEALED, *[0.0] * ROUNDS):
        before, chosen = chosen, {n: _assign(p, bands[n], theta, method, added) for n, p in peaks.items()}
        if not added and all(np.array_equal(chosen[n][0], before[n][0]) for n in chosen):
            break
        found = least_squares(
            lambda t, now=chosen: rows(t, now)[0], theta, jac=lambda t, now=chosen: rows(t, now)[1],
            loss="soft_l1" if added else "linear", x_scale=np.minimum(width, 0.05),
        )  # fmt: skip
        theta = found.x
    jacobian = rows(theta, chosen)[1]
    return theta, np.linalg.inv(jacobian.T @ jacobian), sum(len(c[0]) for c in chosen.values())


def _assign(
    p: Peaks, bands: Bands, theta: np.ndarray, method: str, added: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Peaks that count, their bands, and their errors in eV, `added` included: all peaks with it, else those within `OUTLIER`."""
    if not p.kx.size:
        return np.zeros(0, int), np.zeros(0, int), np.zeros(0)
    k = np.stack([p.kx, p.ky], axis=1)
    e = bands(theta, k)[0]
    band = np.abs(e - p.energy[:, None]).argmin(axis=1)
    everywhere = np.arange(len(band))
    h = 1e-4
    vx, vy = (
        np.abs(bands(theta, k + h * np.eye(2)[i])[0] - bands(theta, k - h * np.eye(2)[i])[0])[everywhere, band]
        / (2 * h)
        for i in range(2)
    )
    speed = np.hypot(vx, vy)
    steeper = np.where(vx >= vy, "kx", "ky")
    is_edc = p.along == "energy"
    wanted = {
        "mdc": (p.along == steeper) & (speed >= FLAT), "edc": is_edc, "both": np.where(is_edc, speed < FLAT, (p.along == steeper) & (speed >= FLAT))
    }[method]  # fmt: skip
    sigma = np.where(is_edc, p.sigma, p.sigma * np.where(p.along == "kx", vx, vy))
    sigma = np.hypot(np.maximum(sigma, 1e-4), added)
    off = np.abs(e[everywhere, band] - p.energy) / np.hypot(sigma, 2e-3)
    at = np.flatnonzero(wanted if added else wanted & (off < OUTLIER))
    return at, band[at], sigma[at]
