"""Band surfaces as a few coefficients of a complete basis, and back, on any grid.

E_b(k) ≈ Σ_n c_bn φ_n(k), the same functions for all bands, c by least squares weighted with the errors of the surfaces. The bases:

- "polynomial": T_i(x) T_j(y) by total degree i + j, x and y from −1 to 1 over the map. Orthogonalised on a hexagon this is the space of the
  hexagonal Zernike polynomials of the same degree, so its residuals are theirs, on that and every other mask;
- "chebyshev": the same products by the larger degree, max(i, j);
- "cosine": cos(i π u) cos(j π v), u and v from 0 to 1 over the map (discrete cosine transform), by i² + j²;
- "plane_waves": 1, cos(R·k), sin(R·k) by |R|, R the vectors of a given lattice in Å: for maps in 1/Å of whole zones, whose bands repeat.

Which of them needs fewest coefficients was measured (docs/reconstruction.md): plane waves where the lattice is known and labels go through the
crossings, else polynomials.
"""

import numpy as np
import xarray as xr
from numpy.polynomial import chebyshev

from bandjax import checks

BASES = ("polynomial", "chebyshev", "cosine", "plane_waves")
MOST = 800  # terms
DEPENDENT = 1e-7  # half of the digits: coefficients are at most so many times larger than the surfaces


def compress_bands(
    surfaces: xr.DataArray, *, coefficients: int | None = None, tolerance: float | None = None, basis: str | None = None,
    lattice: np.ndarray | None = None, error: xr.DataArray | np.ndarray | None = None, correlated: float = 1.0,
    mask: xr.DataArray | np.ndarray | None = None,
) -> xr.Dataset:  # fmt: skip
    """Coefficients of band surfaces.

    Args:
        surfaces: (band, one or two axes) in eV; NaN where there is none.
        coefficients: Terms of every band; give this or `tolerance`.
        tolerance: eV: the fewest terms whose RMS difference from the surfaces (every pixel counting alike) is not more in any band.
        basis: One of the module's; None: "plane_waves" with a lattice, else "polynomial".
        lattice: Vectors of the lattice in the plane, Å, rows; (2, 2), or (1, 1) for a cut.
        error: Standard errors of the surfaces, the same shape, eV: the weights, and what the errors of the coefficients come from.
        correlated: Pixels that fluctuate together: smooth surfaces have errors in common with their neighbours, which
            standard errors alone do not say. The variances of the coefficients are multiplied by it.
        mask: True where surfaces count, their shape without `band`.

    Returns:
        `coefficient` and, with `error`, `coefficient_error` (band, term) in eV; `function`, the two numbers of every term; `rms`, what was
        lost, eV a band; `covariance` (band, term, term) with `error`. `expand_bands` makes surfaces of it.

    Raises:
        ValueError: Neither or both of `coefficients` and `tolerance`, more terms than the pixels tell apart, a tolerance that no number of
            terms reaches, a lattice that is missing or of another dimension, or another shape.
    """
    if (coefficients is None) == (tolerance is None):
        given = "neither is" if coefficients is None else "both are"
        raise ValueError(f"Argument `coefficients` or `tolerance` must be given, but {given}.")
    basis = basis or ("polynomial" if lattice is None else "plane_waves")
    checks.one_of("basis", basis, BASES)
    names, values, seen = _as_rows(surfaces, mask)
    pixels = int(seen.sum())
    most = min(pixels // 2, MOST)
    if coefficients is not None and not 0 < coefficients <= most:
        raise ValueError(
            f"Argument `coefficients` must be 1 to {most} (half of the {pixels} pixels, at most {MOST}), but is {coefficients}."
        )
    weight = np.ones_like(values)
    if error is not None:
        ordered = error.transpose(*surfaces.dims) if isinstance(error, xr.DataArray) else error
        checks.shape_is("error", ordered, surfaces.shape)
        given = np.asarray(ordered, float).reshape(values.shape)
        checks.positive("error", given[:, seen], "eV")
        weight = 1 / np.where(seen, given, 1.0)
    terms, extent = _terms(basis, names, surfaces, lattice, coefficients or most)
    design = _functions(basis, terms, extent, [surfaces[n].values for n in names])[seen]
    apart = _apart(design)
    if coefficients is not None and apart < len(terms):
        raise ValueError(
            f"Argument `coefficients` must be at most {apart} for these {pixels} pixels, which tell no more functions apart, but is {coefficients}."
        )
    count = len(terms) if tolerance is None else _fewest(design[:, :apart], values[:, seen], weight[:, seen], tolerance)
    found, covariances, lost = [], [], []
    for row, w in zip(values[:, seen], weight[:, seen], strict=True):
        q, r = np.linalg.qr(design[:, :count] * w[:, None])
        c = np.linalg.solve(r, q.T @ (w * row))
        inverse = np.linalg.inv(r)
        found.append(c)
        covariances.append(correlated * inverse @ inverse.T)
        lost.append(np.sqrt(np.mean((design[:, :count] @ c - row) ** 2)))
    out = xr.Dataset({"coefficient": (("band", "term"), np.stack(found), {"units": "eV"})})
    if error is not None:
        out["covariance"] = (("band", "term", "term_"), np.stack(covariances))
        spread = np.sqrt(np.diagonal(np.stack(covariances), axis1=1, axis2=2))
        out["coefficient_error"] = (("band", "term"), spread, {"units": "eV"})
    out["function"] = (("term", "axis"), terms[:count])
    out["rms"] = ("band", np.array(lost), {"units": "eV"})
    out.attrs = {"basis": basis, "axes": list(names), "extent": extent.ravel(), "correlated": float(correlated)}
    if "band" in surfaces.coords:
        out = out.assign_coords(band=surfaces["band"].values)
    return out


def expand_bands(compressed: xr.Dataset, axes: dict[str, np.ndarray]) -> xr.Dataset:
    """Surfaces of coefficients on any grid: `band_energy` and, where the coefficients have errors, `band_error` in eV.

    Args:
        compressed: From `compress_bands`.
        axes: Values of its axes by name; outside the map that was compressed polynomials are worth nothing.

    Raises:
        ValueError: Other axes than those that were compressed.
    """
    names = list(np.atleast_1d(compressed.attrs["axes"]))
    if sorted(axes) != sorted(names):
        raise ValueError(f"Argument `axes` must hold {', '.join(names)}, but holds {', '.join(axes) or 'none'}.")
    places = [np.asarray(axes[n], float) for n in names]
    extent = np.asarray(compressed.attrs["extent"]).reshape(-1, 2)
    functions = _functions(compressed.attrs["basis"], compressed["function"].values, extent, places)
    shape, coords = tuple(p.size for p in places), dict(zip(names, places, strict=True))
    if "band" in compressed.coords:
        coords["band"] = compressed["band"].values
    parts = {"band_energy": compressed["coefficient"].values @ functions.T}
    if "covariance" in compressed:
        spread = np.einsum("pi,bij,pj->bp", functions, compressed["covariance"].values, functions, optimize=True)
        parts["band_error"] = np.sqrt(np.maximum(spread, 0.0))
    made = {n: (("band", *names), v.reshape(-1, *shape), {"units": "eV"}) for n, v in parts.items()}
    return xr.Dataset(made, coords=coords)


def _as_rows(
    surfaces: xr.DataArray, mask: xr.DataArray | np.ndarray | None
) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Names of the axes, (band, pixel), and which pixels count."""
    names = tuple(str(d) for d in surfaces.dims if d != "band")
    if surfaces.dims != ("band", *names) or len(names) not in (1, 2):
        found = ", ".join(map(str, surfaces.dims))
        raise ValueError(f"Argument `surfaces` must have the axes band and then one or two others, but has {found}.")
    values = np.asarray(surfaces.values, float).reshape(surfaces.sizes["band"], -1)
    seen = np.isfinite(values).all(axis=0)
    if mask is not None:
        mask = mask.transpose(*names) if isinstance(mask, xr.DataArray) else mask
        checks.shape_is("mask", np.asarray(mask), surfaces.shape[1:])
        seen &= np.asarray(mask, bool).ravel()
    return names, values, seen


def _terms(
    basis: str, names: tuple[str, ...], surfaces: xr.DataArray, lattice: np.ndarray | None, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """The two numbers of every function in the order of the basis, (term, axis), and the lowest and highest place of every axis."""
    extent = np.array([[float(surfaces[n][0]), float(surfaces[n][-1])] for n in names])
    dimension = len(names)
    if basis == "plane_waves":
        if lattice is None or np.shape(lattice) != (dimension, dimension):
            found = "is missing" if lattice is None else f"has shape {np.shape(lattice)}"
            raise ValueError(
                f"Argument `lattice` must have shape ({dimension}, {dimension}) for plane waves, but {found}."
            )
        vectors = _shortest(np.asarray(lattice, float), count // 2 + 1)
        return vectors.repeat(2, axis=0)[1 : count + 1], extent
    reach = count if dimension == 1 else int(np.ceil(np.sqrt(2 * count))) + 2
    pairs = np.stack(np.meshgrid(*[np.arange(reach)] * dimension, indexing="ij"), axis=-1).reshape(-1, dimension)
    size = {"polynomial": pairs.sum(1), "chebyshev": pairs.max(1), "cosine": (pairs**2).sum(1)}[basis]
    return pairs[np.argsort(size, kind="stable")][:count].astype(float), extent


def _shortest(lattice: np.ndarray, count: int) -> np.ndarray:
    """The shortest vectors of a lattice, 0 first, one of R and −R each, (count, axis)."""
    volume = abs(np.linalg.det(lattice))
    if not volume > 1e-9 * np.linalg.norm(lattice) ** len(lattice):
        raise ValueError(f"Argument `lattice` must hold vectors that span the plane, but is {lattice.tolist()}.")
    radius = volume if len(lattice) == 1 else np.sqrt(volume)
    while True:
        # |n_i| = |R·b_i| ≤ |R| |b_i|: all R within the radius, whatever the shape of the cell
        reach = np.floor(radius * np.linalg.norm(np.linalg.inv(lattice), axis=0) + 1e-9).astype(int)
        steps = np.stack(np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij"), axis=-1)
        steps = steps.reshape(-1, len(lattice))
        first = np.where(steps[:, 0] != 0, steps[:, 0], steps[:, -1])
        vectors = steps[first >= 0] @ lattice
        length = np.linalg.norm(vectors, axis=1)
        vectors, length = vectors[length <= radius], length[length <= radius]
        if len(vectors) >= count:
            return vectors[np.argsort(np.round(length, 6), kind="stable")][:count]
        radius *= 1.5


def _functions(basis: str, terms: np.ndarray, extent: np.ndarray, axes: list[np.ndarray]) -> np.ndarray:
    """φ, (pixel, term)."""
    places = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
    if basis == "plane_waves":
        angles = places @ terms.T
        # 1, then a cosine and a sine of every vector
        place = np.arange(len(terms))
        return np.where((place % 2 == 0) & (place > 0), np.sin(angles), np.cos(angles))
    unit = 2 * (places - extent[:, 0]) / (extent[:, 1] - extent[:, 0]) - 1
    if basis == "cosine":
        return np.prod(np.cos(0.5 * np.pi * (unit + 1)[:, None] * terms), axis=-1)
    highest = int(terms.max())
    parts = [chebyshev.chebvander(u, highest)[:, t.astype(int)] for u, t in zip(unit.T, terms.T, strict=True)]
    return np.prod(parts, axis=0)


def _apart(design: np.ndarray) -> int:
    """How many of the first functions these pixels tell apart: the next lies within `DEPENDENT` of those before it."""
    _, r = np.linalg.qr(design)
    left = np.abs(np.diagonal(r)) / np.linalg.norm(design, axis=0)[: len(r)]
    return int(np.argmax(left < DEPENDENT)) if (left < DEPENDENT).any() else min(design.shape)


def _fewest(design: np.ndarray, values: np.ndarray, weight: np.ndarray, tolerance: float) -> int:
    """Terms that every band needs, by the plain RMS of what the weighted fit with so many terms leaves."""
    rms = np.zeros(design.shape[1])
    for row, w in zip(values, weight, strict=True):
        q, _ = np.linalg.qr(design * w[:, None])  # its first n columns span the first n functions
        left = row.copy()
        for n, (column, share) in enumerate(zip(q.T, q.T @ (w * row), strict=True)):
            left -= column * share / w
            rms[n] = max(rms[n], np.sqrt(np.mean(left**2)))
    if not rms.min() <= tolerance:
        raise ValueError(
            f"Argument `tolerance` must be at least what {len(rms)} terms leave, {rms.min():.3g} eV, but is {tolerance:g}."
        )
    return int(np.argmax(rms <= tolerance)) + 1
