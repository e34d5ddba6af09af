"""Band map in, surfaces E_b(k) with errors out: the published posterior, and ours on the counts.

`posterior="counts"` (default): Poisson counts, a Voigt line, all bands together, smooth in curvature, errors that contain what heights and
background do not know; see `counting`. `posterior="published"`: log of the preprocessed intensity and a prior of neighbours
of width sigma_pair, each band by itself; see `published`. Both in continuous energies, on any grid: odd, not square,
N × 1, with holes.
"""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from bandjax import checks
from bandjax.inference.likelihood import noise_scale as measured_scale
from bandjax.reconstruction.arguments import check_options
from bandjax.reconstruction.choose import Alignment, align, scan_sigma_pair, thinned
from bandjax.reconstruction.labels import band_labels, in_order, label_sentences
from bandjax.reconstruction.preprocessing import Preprocessing, preprocess
from bandjax.reconstruction.published import published_posterior
from bandjax.reconstruction.surfaces import Options, counting_posterior, settings
from bandjax.reconstruction.volumes import (
    Bands,
    Volume,
    check_columns,
    check_window,
    equidistant,
    in_memory,
    mode_on,
    scaled_surfaces,
    surfaces_on,
    volume_of,
)  # fmt: skip

FIRST_COUNTS = 400  # at the brightest pixel, as which a map counts whose noise is to be found from its residual
MISFIT = 1.5  # mean square residual over that of counting noise, above which errors are inflated
FIRST_SIGMA_PAIR = 0.3  # eV, where the search for sigma_pair begins
SEARCH = (0.5, 1.35, 1.12)  # offset in eV, energy scale, momentum scale: reach of `aligned=True`


@dataclasses.dataclass(frozen=True)
class Reconstruction:
    """Surfaces and what they were made with.

    Attributes:
        energy: (band, …axes of the map) in eV on the map's scale.
        error: Standard errors, the same axes; None if not asked for.
        dataset: Everything: `band_energy`, `band_error`, for the counting posterior `height` and `background` in counts of one energy step,
            and every setting as an attribute.
        converged: Whether the last descent ended.
        report: Sentences on what a reader should know.
    """

    energy: xr.DataArray
    error: xr.DataArray | None
    dataset: xr.Dataset
    converged: bool
    report: list[str]


def reconstruct_bands(
    data: xr.DataArray, initial: Bands, *, posterior: str = "counts", sigma_pair: float | None = None,
    sigma_curvature: float | None = None, prior: Bands | None = None, sigma_prior: float | None = None,
    prior_modes: Sequence[Bands] | None = None, line: tuple[float, float] | None = None, background: int = 1, fermi_edge: xr.DataArray | np.ndarray | None = None,
    offset: float = 0.0, momentum_scale: float = 1.0, aligned: bool = False,
    preprocessing: Preprocessing | None = None, anneal: Sequence[float] | None = None,
    mask: np.ndarray | xr.DataArray | None = None, fill_missing: bool = False, noise_scale: float | str = 1.0,
    freedom: float | None = 2.0, errors: bool = True, draws: int = 0, seed: int = 0,
) -> Reconstruction:  # fmt: skip
    """Reconstruct the bands of a map.

    Args:
        data: Counts with the axis `energy` and one or two others (`bandjax.read`); NaN where missing.
        initial: Start: surfaces on the map's grid (DataArray with `band`, Dataset, NetCDF file or array), eV. Where `band` has a coordinate,
            the bands of `prior` and `prior_modes` are taken by it, and the result has it.
        posterior: "counts" or "published".
        sigma_pair: Width of the prior of neighbours, eV. "published": None chooses it by held-out counts. "counts": None is none.
        sigma_curvature: Width of the prior of second differences, eV a pixel² ("counts"); None: by held-out counts.
        prior: Mean of the prior, such as tight-binding bands ("counts"): what is smooth is then the difference from it.
        sigma_prior: Width of the prior about `prior` at every k, eV; None: none, an offset and a slope from it cost nothing.
        prior_modes: Surfaces of all bands, each added to `prior` in the amount that the map wants ("counts"): the derivatives ∂E/∂θ of
            tight-binding bands, in eV per unit of θ. The result has `prior_amplitude`, the change of θ, with its covariance, and
            the errors contain it.
        line: (sigma, eta) of the Voigt line in eV ("counts"); None: fitted.
        background: Values ≥ 0 of the background at every k, equidistant in energy from the first to the last, linear in between; 1: a
            constant ("counts").
        fermi_edge: Factor of the mean at every energy, such as a Fermi function; None: 1 ("counts").
        offset: Added to the start, eV.
        momentum_scale: The start is taken at momentum_scale · k.
        aligned: Search one offset (± 0.5 eV), energy scale and momentum scale of the start first, by least squares of blurred lines.
        preprocessing: Symmetrisation, contrast, smoothing; meant for "published".
        anneal: Blurs in eV of the stages, descending; "published" ends with 0. None: from the energy window.
        mask: True where the map counts.
        fill_missing: Let the prior fill spectra without any number; a given `prior` implies it.
        noise_scale: Variance of a value over its mean, by which values are divided ("counts", and to choose sigma_pair): 1 for counts; "measure" finds
            it from the finest structure (camera or averaged data), "residual" from the residual of a first run, which takes what lines
            of one shape do not describe for noise ("counts").
        freedom: ν of Student's t of the second differences of a neighbourhood; None: Gaussian ("counts").
        errors: Whether to compute standard errors.
        draws: How many draws of the surfaces to keep as `band_draws` ("counts"): errors of whatever is computed from surfaces, such as
            `band_extrema`, with the correlation between pixels in them.
        seed: Of held-out counts and drawn errors.

    Returns:
        Surfaces, errors and settings. Errors are those of the posterior (Laplace): of "published" they say how sharp a posterior is
        that counts every spectrum as one electron, not how far the band may be off.

    Raises:
        ValueError: An argument that does not fit the map or the posterior; which, and what it must be.
        TypeError: `data` is not a DataArray.
        ImportError: Contrast equalisation without scikit-image.
    """
    checks.one_of("posterior", posterior, ("counts", "published"))
    check_options(
        posterior, sigma_pair, sigma_curvature, prior, sigma_prior, prior_modes, line, background, fermi_edge, momentum_scale, freedom, draws, noise_scale
    )  # fmt: skip
    volume = volume_of(data, mask=mask)
    seen = check_columns(volume, filled=fill_missing or prior is not None)
    initial = in_memory(initial, volume)
    labels = band_labels(initial)
    if prior is not None:
        prior = in_order(in_memory(prior, volume, "prior"), labels, "prior")
    if prior_modes is not None:
        prior_modes = [in_order(in_memory(m, volume, "prior_modes"), labels, "prior_modes") for m in prior_modes]
    start = surfaces_on(initial, volume, inside=False)
    alignment = Alignment(float(offset), 1.0, float(momentum_scale))
    if aligned:
        found = align(
            volume, alignment.apply(start, volume), offset=SEARCH[0], energy_scale=SEARCH[1], momentum_scale=SEARCH[2]
        )
        alignment = Alignment(
            found.offset + found.energy_scale * alignment.offset,
            found.energy_scale,
            alignment.momentum_scale * found.momentum_scale,
        )
    start = first_start = alignment.apply(start, volume)
    check_window(start, volume, "initial")
    scale = _scale(volume, noise_scale)
    attributes: dict[str, Any] = {
        "posterior": posterior, "bands": len(start), "offset": alignment.offset, "energy_scale": alignment.energy_scale,
        "momentum_scale": alignment.momentum_scale, "aligned": int(aligned), "noise_scale": scale,
        "spectra": int(seen.size), "spectra_without_data": int((~seen).sum()), "seed": int(seed),
        "values_total": float(np.nansum(volume.counts)), "values_largest": float(np.nanmax(volume.counts)),
    }  # fmt: skip
    report = [f"{int((~seen).sum())} of {seen.size} spectra have no data: the prior fills them."] * bool((~seen).any())
    if posterior == "published":
        steps = preprocessing or Preprocessing()
        found = _published(volume, start, sigma_pair, steps, anneal, scale, errors, seed, attributes, report)
        return _labelled(found, first_start, volume, labels)
    if aligned and prior is not None:
        report.append("The start was moved by `aligned`; `prior` was not.")
    if preprocessing is not None:
        if (preprocessing.rotational or preprocessing.mirror) and sigma_curvature is None:
            raise ValueError(
                "Argument `sigma_curvature` must be given with a symmetrised map, but is None: held-out counts need whole counts."
            )
        if preprocessing.rotational or preprocessing.mirror:
            report.append(
                "The map is a mean of symmetric images: `noise_scale` must be smaller by their number, or errors are too large."
            )
        volume, done = preprocess(volume, preprocessing)
        attributes |= done
        if preprocessing.clahe or any(preprocessing.smooth):
            report.append(
                "The counts were smoothed or equalised: their noise is no longer that of counts, and errors do not hold."
            )
    options = Options(
        sigma_curvature=sigma_curvature, freedom=freedom, sigma_pair=sigma_pair, sigma_prior=sigma_prior, background=background,
        line=line, anneal=anneal, seed=seed,
    )  # fmt: skip
    given = prior, () if prior_modes is None else prior_modes, fermi_edge
    if noise_scale == "residual":
        scale = float(np.nanpercentile(volume.counts, 99.9)) / FIRST_COUNTS  # a hot pixel is not the peak
        first = _counting(volume, start, *given, scale, options, False, 0, dict(attributes), [])
        misfit = first.dataset.attrs["reduced_chi2"]
        if not misfit > 0:
            raise ValueError(
                'Argument `noise_scale` must be a number for this map, but "residual" found no pixel bright enough to judge noise by.'
            )
        scale *= misfit
        attributes["noise_scale"] = scale
        start = surfaces_on(first.energy, volume)
    return _labelled(
        _counting(volume, start, *given, scale, options, errors, draws, attributes, report), first_start, volume, labels
    )


def _scale(volume: Volume, noise_scale: float | str) -> float:
    if noise_scale == "residual":
        return 1.0  # found in a first run
    if noise_scale == "measure":
        counts = np.moveaxis(volume.counts, 1, 0)  # (ny, nx, energy): neighbours along x and energy
        return measured_scale(np.nan_to_num(counts), ~np.isnan(counts))
    checks.positive("noise_scale", noise_scale)
    return float(noise_scale)


def _published(
    volume: Volume, start: np.ndarray, sigma_pair: float | None, steps: Preprocessing, anneal: Sequence[float] | None,
    scale: float, errors: bool, seed: int, attributes: dict[str, Any], report: list[str],
) -> Reconstruction:  # fmt: skip
    span = float(volume.energy[-1] - volume.energy[0])
    stages = (*(b for b in anneal if b > 0), 0.0) if anneal is not None else (span / 20, span / 40, span / 80, 0.0)
    by = "given"
    if sigma_pair is None:
        counts = volume.counts if scale == 1 else np.round(volume.counts / scale)
        halves = [equidistant(volume._replace(counts=part)) for part in thinned(counts, seed)]
        scan = scan_sigma_pair(*halves, lambda v: preprocess(v, steps)[0], start, FIRST_SIGMA_PAIR, anneal=stages)
        sigma_pair, by = scan.best, "held-out counts"
        attributes |= {
            "scan_sigma_pair": scan.values.tolist(),
            "scan_held_out_mean_square_eV2": (-scan.scores).tolist(),
        }
        if scan.at_end:
            report.append(f"sigma_pair = {sigma_pair:.3g} eV lies at the end of what was tried.")
    volume = equidistant(volume)
    prepared, done = preprocess(volume, steps)
    found = published_posterior(prepared.counts, prepared.energy, start, sigma_pair, anneal=stages, errors=errors)
    attributes |= done | {
        "sigma_pair": float(sigma_pair), "sigma_pair_by": by, "anneal": list(stages), "cost": found.cost, "steps": found.steps,
        "error_method": found.error_method, "converged": int(found.converged),
    }  # fmt: skip
    return _result(volume, found.energy, found.error, {}, found.converged, attributes, report)


def _counting(
    volume: Volume, start: np.ndarray, prior: Bands | None, prior_modes: Sequence[Bands],
    fermi_edge: xr.DataArray | np.ndarray | None, scale: float, options: Options, errors: bool, draws: int,
    attributes: dict[str, Any], report: list[str],
) -> Reconstruction:  # fmt: skip
    mean = None if prior is None else surfaces_on(prior, volume, "prior")
    if mean is not None and len(mean) != len(start):
        raise ValueError(f"Argument `prior` must have the {len(start)} bands of `initial`, but has {len(mean)}.")
    modes = np.stack([mode_on(mode, volume, len(start)) for mode in prior_modes]) if prior_modes else None
    factor = None if fermi_edge is None else np.asarray(fermi_edge, float)
    if factor is not None:
        checks.shape_is("fermi_edge", factor, (volume.energy.size,))
        checks.not_negative("fermi_edge", factor)
    counts = volume.counts
    if scale != 1:
        counts = counts / scale
        counts = np.round(counts) if options.sigma_curvature is None else counts
    found = counting_posterior(
        counts, volume.energy, start, options, prior=mean, modes=modes, factor=factor, errors=errors, draws=draws
    )
    attributes |= settings(options, found) | {
        "error_method": found.error_method, "converged": int(found.converged), "prior": "plane" if mean is None else "surfaces",
    }  # fmt: skip
    if found.scan is not None and found.scan.at_end:
        report.append(f"sigma_curvature = {found.sigma_curvature:.3g} eV lies at the end of what was tried.")
    inflation = 1.0
    if found.reduced_chi2 > MISFIT:
        inflation = float(np.sqrt(found.reduced_chi2))
        report.append(
            f"The mean square residual is {found.reduced_chi2:.3g} times that of counting noise: lines of one shape on this "
            f"background do not describe the map, or `noise_scale` is too small; errors are multiplied by its root, {inflation:.3g}."
        )
    attributes["error_inflation"] = inflation
    error = None if found.error is None else inflation * found.error
    extra = {"height": found.height * scale, "background": found.background * scale}
    out = _result(volume, found.energy, error, extra, found.converged, attributes, report)
    if factor is not None:
        out.dataset["fermi_edge"] = ("energy", factor)
    if modes is not None:
        out.dataset["prior_amplitude"] = ("mode", found.amplitude)
        covariance = inflation**2 * found.amplitude_covariance
        out.dataset["prior_amplitude_covariance"] = (("mode", "mode_"), covariance)
    if draws:
        drawn = found.energy + inflation * (found.draws - found.energy)
        each = [volume.surfaces(d, "band_draws", units="eV") for d in drawn]
        out.dataset["band_draws"] = xr.concat(each, "draw")
    return out


def _result(
    volume: Volume, energy: np.ndarray, error: np.ndarray | None, extra: dict[str, np.ndarray], converged: bool,
    attributes: dict[str, Any], report: list[str],
) -> Reconstruction:  # fmt: skip
    if not converged:
        report.append("The last descent did not end within its steps.")
    surfaces = volume.surfaces(energy, "band_energy", units="eV")
    out = xr.Dataset({"band_energy": surfaces})
    if error is not None:
        out["band_error"] = volume.surfaces(error, "band_error", units="eV", long_name="one standard error")
    for name, values in extra.items():
        part = volume.surfaces(values, name, units="counts of one energy step")
        if name == "background":  # its values at these energies, or one for all
            knots = np.linspace(volume.energy[0], volume.energy[-1], len(values)) if len(values) > 1 else [np.nan]
            part = part.rename(band="background_energy").assign_coords(background_energy=knots)
        out[name] = part
    out.attrs = attributes | {"report": json.dumps(report)}
    return Reconstruction(surfaces, out.get("band_error"), out, converged, report)


def _labelled(found: Reconstruction, start: np.ndarray, volume: Volume, labels: np.ndarray | None) -> Reconstruction:
    """The start's labels on the result, and what there is to say of them."""
    surfaces = found.energy.values.reshape(start.shape)
    report = [*found.report, *label_sentences(start, surfaces, volume, labels)]
    dataset = found.dataset.assign_attrs(report=json.dumps(report))
    if labels is not None:
        dataset = dataset.assign_coords(band=("band", labels))
    return Reconstruction(dataset["band_energy"], dataset.get("band_error"), dataset, found.converged, report)


__all__ = ["Preprocessing", "Reconstruction", "reconstruct_bands", "scaled_surfaces"]
