"""Preprocessing of a band map before the published posterior: symmetrisation, local contrast, smoothing; each optional, each recorded.

Steps are applied in this order: `rotational` (mean over the n rotations about the centre), `mirror` (mean with the mirror image at the
line through the centre along an axis), `clahe` (contrast-limited adaptive histogram equalisation, scikit-image), `smooth`
(Gaussian, SciPy). The counting posterior wants none of them: they correlate the noise. Distortions of k are left to existing tools.

A symmetry is believed only as far as the data have it: the asymmetry, ‖I − I_sym‖/‖I‖ of the blurred map's pixels that have all their
images, is measured first, and beyond `max_asymmetry` the step is refused. Noise that the blur leaves counts as asymmetry: maps with less than
about one count a pixel need a larger `max_asymmetry`.
"""

import json
from typing import Any, NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.optimize import minimize

from bandjax import checks
from bandjax.reconstruction.volumes import Volume

BLUR = 1.5  # pixels, before the asymmetry is measured and the centre is sought: structure counts, not noise


class Preprocessing(NamedTuple):
    """What is done to a map; the default is nothing.

    Attributes:
        rotational: Order n of the rotation axis (2, 3, 4, 6); 0: no.
        mirror: "" or the axis ("kx", …) whose direction changes sign.
        centre: Of both, in the units of the axes; None finds it where the blurred map is most symmetric.
        max_asymmetry: Beyond this relative difference from the symmetrised map the step is refused.
        clahe: Clip limit of scikit-image in (0, 1]; 0: no.
        clahe_kernel: Size of its windows in pixels (x, y, energy); None is an eighth of the map along each axis.
        smooth: Standard deviations in pixels (x, y, energy).
    """

    rotational: int = 0
    mirror: str = ""
    centre: tuple[float, ...] | None = None
    max_asymmetry: float = 0.3
    clahe: float = 0.0
    clahe_kernel: tuple[int, ...] | None = None
    smooth: tuple[float, float, float] = (0.0, 0.0, 0.0)


def preprocess(volume: Volume, steps: Preprocessing) -> tuple[Volume, dict[str, Any]]:
    """The map after the steps, and what was done, as attributes of a result.

    Raises:
        ValueError: A symmetry that the data contradict (with the asymmetry), that the axes cannot have, or a number out of range.
        ImportError: `clahe`, and scikit-image is not installed.
    """
    checks.one_of("preprocessing.rotational", steps.rotational, (0, 2, 3, 4, 6))
    checks.not_negative("preprocessing.smooth", steps.smooth)
    done: dict[str, Any] = {}
    if steps.rotational or steps.mirror:
        volume, done = _symmetrised(volume, steps)
    if steps.clahe:
        checks.fraction("preprocessing.clahe", steps.clahe)
        volume = volume._replace(counts=_equalised(volume.counts, steps))
        done |= {
            "preprocessing_clahe": float(steps.clahe),
            "preprocessing_clahe_kernel": str(steps.clahe_kernel or "an eighth"),
        }
    if any(steps.smooth):
        volume = volume._replace(counts=smoothed(volume.counts, steps.smooth))
        done["preprocessing_smooth_pixels"] = json.dumps(list(map(float, steps.smooth)))
    return volume, done


def smoothed(counts: np.ndarray, sigma: tuple[float, ...]) -> np.ndarray:
    """Gaussian mean of the pixels that have numbers; NaN stays where a spectrum has none."""
    missing = np.isnan(counts)
    if not missing.any():
        return gaussian_filter(counts, sigma, mode="nearest")
    weight = gaussian_filter((~missing).astype(counts.dtype), sigma, mode="nearest")
    out = gaussian_filter(np.where(missing, 0, counts), sigma, mode="nearest") / np.maximum(weight, 1e-12)
    out[missing.all(axis=-1)] = np.nan
    return out


def _equalised(counts: np.ndarray, steps: Preprocessing) -> np.ndarray:
    try:
        from skimage.exposure import equalize_adapthist  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError(
            "Adaptive histogram equalisation needs scikit-image: install bandjax[reconstruction]."
        ) from error
    missing = np.isnan(counts)
    filled = np.where(missing, 0, counts) / np.nanmax(counts)
    flat = filled[:, 0] if filled.shape[1] == 1 else filled
    kernel = steps.clahe_kernel
    found = (
        equalize_adapthist(flat, kernel_size=kernel, clip_limit=steps.clahe).reshape(counts.shape).astype(counts.dtype)
    )
    found[missing] = np.nan
    return found


def _symmetrised(volume: Volume, steps: Preprocessing) -> tuple[Volume, dict[str, Any]]:
    maps = _operations(volume, steps)
    blurred = smoothed(volume.counts, (BLUR if volume.shape[0] > 1 else 0, BLUR if volume.shape[1] > 1 else 0, BLUR))
    if steps.centre is None:
        centre = _best_centre(volume, blurred, maps)
    else:
        centre = np.atleast_1d(np.asarray(steps.centre, float))
        checks.shape_is("preprocessing.centre", centre, (len(volume.axes),))
    asymmetry = _asymmetry(volume, blurred, maps, centre)
    told = f"{steps.rotational}-fold rotation" * bool(steps.rotational) + " and " * bool(
        steps.rotational and steps.mirror
    )
    told += f"mirror of {steps.mirror}" * bool(steps.mirror)
    if not asymmetry <= steps.max_asymmetry:
        raise ValueError(
            f"The map must have the symmetry that it is given ({told}), but differs from its symmetrised self by {asymmetry:.2g} of "
            f"its norm (at most {steps.max_asymmetry:g} is allowed) about the centre {_told(centre)}."
        )
    images = np.stack([_image(volume, volume.counts, matrix, centre) for matrix in maps])
    with np.errstate(invalid="ignore"):
        count = (~np.isnan(images)).sum(axis=0)
        mean = np.nansum(images, axis=0) / np.where(count, count, np.nan)
    done = {
        "preprocessing_rotational": int(steps.rotational), "preprocessing_mirror": steps.mirror,
        "preprocessing_centre": _told(centre), "preprocessing_centre_found": int(steps.centre is None),
        "preprocessing_asymmetry": float(asymmetry),
    }  # fmt: skip
    return volume._replace(counts=mean.astype(volume.counts.dtype)), done


def _operations(volume: Volume, steps: Preprocessing) -> list[np.ndarray]:
    """Matrices of the symmetry in the plane of the axes, the identity first."""
    dimension = len(volume.axes)
    maps = [np.eye(dimension)]
    if steps.rotational:
        if dimension == 1 or volume.units[0] != volume.units[1]:
            raise ValueError("Argument `preprocessing.rotational` needs two axes in one unit, but the map has not.")
        angles = 2 * np.pi * np.arange(steps.rotational) / steps.rotational
        maps = [np.array([[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]]) for t in angles]
    if steps.mirror:
        checks.one_of("preprocessing.mirror", steps.mirror, volume.names)
        flip = np.eye(dimension)
        flip[volume.names.index(steps.mirror)] *= -1
        maps += [flip @ m for m in maps]
    return maps


def _image(volume: Volume, counts: np.ndarray, matrix: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """The map at the images of its own pixels, linear in between; NaN outside."""
    if np.allclose(matrix, np.eye(len(matrix))):
        return counts
    grid = np.stack(np.meshgrid(*volume.axes, indexing="ij"))
    at = np.einsum("ij,j...->i...", matrix, grid - centre.reshape(-1, *(1,) * len(volume.axes)))
    at += centre.reshape(-1, *(1,) * len(volume.axes))
    index = [
        np.interp(a, axis, np.arange(axis.size), left=np.nan, right=np.nan)
        for a, axis in zip(at, volume.axes, strict=True)
    ]
    if len(index) == 1:
        index = [index[0][:, None], np.zeros((len(index[0]), 1))]
    outside = np.isnan(index[0] + index[1])
    where = [np.where(outside, 0, i) for i in index]
    out = np.empty_like(counts)
    for e in range(counts.shape[-1]):
        out[..., e] = map_coordinates(counts[..., e], where, order=1, mode="nearest")
    out[outside] = np.nan
    return out


def _asymmetry(volume: Volume, blurred: np.ndarray, maps: list[np.ndarray], centre: np.ndarray) -> float:
    """‖I − I_sym‖/‖I‖ of pixels that have all their images; inf where fewer than a tenth of the map has."""
    images = np.stack([_image(volume, blurred, matrix, centre) for matrix in maps])
    whole = ~np.isnan(images).any(axis=0)
    if whole.mean() < 0.1:
        return np.inf
    mean = images.mean(axis=0)
    return float(np.sqrt(np.sum((images[0] - mean)[whole] ** 2) / np.sum(images[0][whole] ** 2)))


def _best_centre(volume: Volume, blurred: np.ndarray, maps: list[np.ndarray]) -> np.ndarray:
    """Centre of least asymmetry near the middle of the map, from about eight energies."""
    thin = blurred[..., :: max(1, blurred.shape[-1] // 8)]
    middle = np.array([a.mean() for a in volume.axes])
    reach = np.array([np.ptp(a) / 6 for a in volume.axes])
    # A coarse search first: the asymmetry has more than one minimum in a zone that repeats
    trials = np.stack(np.meshgrid(*[np.linspace(-1, 1, 5)] * len(reach), indexing="ij"), axis=-1).reshape(
        -1, len(reach)
    )
    best = min((middle + reach * t for t in trials), key=lambda c: _asymmetry(volume, thin, maps, c))
    found = minimize(
        lambda c: min(_asymmetry(volume, thin, maps, best + reach * c), 1e3), np.zeros(len(reach)), method="Nelder-Mead",
        options={"initial_simplex": np.vstack([np.zeros(len(reach)), 0.3 * np.eye(len(reach))]), "xatol": 1e-3, "maxfev": 80},
    )  # fmt: skip
    return best + reach * found.x


def _told(centre: np.ndarray) -> str:
    return ", ".join(f"{c:.4g}" for c in centre)
