"""The photoemission image of a model: spectral function, k_z broadening, Fermi edge, resolution, background, counts.

    I(pixel, E) = (1 + s x) (g [f(E) ∫dk_z' L(k_z' − k_z(pixel, E); 1/2λ) A_v(k∥(pixel, E), k_z', E)] ⊗ resolution + background)

A_v is projected on the photoemission amplitude v ("plane_wave") or summed over all orbitals ("uniform") or over the even
and the odd ones apart ("free", with the k_z average of both beside them, all to be weighted by free smooth functions of
pixel and energy, see `inference`).
The widths and weights are functions of energy and k or belong to orbital projectors, never to a band's index, so that
the image and its derivative are smooth through degeneracies.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bandjax.devices import map_chunks
from bandjax.hamiltonian import Model, bloch_hamiltonian
from bandjax.photoemission import background as background_terms
from bandjax.photoemission.instrument import Instrument, check_instrument, half_width
from bandjax.photoemission.kinematics import wave_number
from bandjax.photoemission.matrix_elements import mirror_parities, plane_wave_amplitude
from bandjax.photoemission.pixels import Axes, band_shift, central_kz, laboratory_model, lateral_momentum, slit_momentum
from bandjax.photoemission.plan import KERNEL_REACH, Plan, check_plan, plan_image
from bandjax.photoemission.resolution import fermi_dirac, gaussian_kernel, gaussian_matrix
from bandjax.photoemission.stack import stack_spectrum
from bandjax.spectrum import coherent_lorentzians, weighted_lorentzians
from bandjax.spectrum.bands import bytes_of_h
from bandjax.units import FWHM_PER_SIGMA


def arpes_image(
    model: Model, instrument: Instrument, axes: Mapping[str, object] | Axes | Plan, *, mesh=None, **options
) -> jax.Array:
    """Photoemission image in counts per pixel, every nuisance inside.

    Args:
        model: Tight-binding model in the crystal's axes.
        instrument: Source, orientation, analyser, background; see `QUANTITIES`.
        axes: Pixel axes: `energy` (E − E_F, eV) with `angle`/`deflector` (degrees) or `kx`/`ky` (1/Å) and, optionally,
            `hv` (eV): a mapping of arrays or an xarray.DataArray; or a `Plan` made before (needed where model or
            instrument are traced by JAX).
        mesh: Devices to split the wave vectors over.
        **options: Passed to `plan_image` (`method`, `kz_points`, `window`, …).

    Returns:
        Shape of the axes in the order hv, ky | deflector, kx | angle, energy. Differentiable once in model and
        instrument.

    Raises:
        ValueError: axes are not recognised, a number is out of bounds, or "free" matrix elements, whose weights the fit
            determines, are asked for here.
    """
    check_instrument(instrument)
    if instrument.matrix_elements == "free":
        raise ValueError(
            'Argument `matrix_elements` must be "uniform" or "plane_wave" for an image; the weights of "free" come from a fit.'
        )
    plan = axes if isinstance(axes, Plan) else plan_image(model, instrument, axes, **options)
    check_plan(plan, instrument)
    return _image(model, instrument, plan, mesh)


@partial(jax.jit, static_argnames=("plan", "mesh"))
def _image(model: Model, instrument: Instrument, plan: Plan, mesh) -> jax.Array:
    bright = instrument.gain * signal(model, instrument, plan, mesh=mesh)[0]
    image = bright + background_terms.background(instrument, jnp.array(plan.axes.energy, bright.dtype), bright)
    return sensitivity(instrument, plan.axes, image.dtype) * image


def sensitivity(instrument: Instrument, axes: Axes, dtype: Any) -> jax.Array:
    """Sensitivity of the detector along the last lateral axis x (kx in 1/Å or angle in degrees), 1 + s x ≥ 0, (x, 1)."""
    if not axes.lateral:
        return jnp.ones((), dtype)
    along = jnp.array(axes.lateral[-1][1], dtype)
    return jnp.maximum(1 + instrument.detector_slope * along, 0.0)[:, None]


def signal(model: Model, instrument: Instrument, plan: Plan, *, mesh=None) -> jax.Array:
    """Images of the projectors in 1/eV, without gain and background, resolution included: (projector, *axes).

    "free": even orbitals, odd orbitals (one image where all have one parity), and with "grid" the average over k_z.
    """
    lab = laboratory_model(model, instrument)
    padded = jnp.array(plan.padded_energy, lab.dtype)
    hvs = plan.axes.hv or (instrument.photon_energy,)
    images = []
    for hv in hvs:
        hv = jnp.asarray(hv, lab.dtype)
        raw = (_on_grid if plan.method == "grid" else _direct)(lab, instrument, plan, hv, padded, mesh)
        raw = raw * fermi_dirac(padded, instrument.temperature).astype(raw.dtype)
        kernel = gaussian_matrix(
            jnp.array(plan.axes.energy, lab.dtype), padded, instrument.fwhm_energy / FWHM_PER_SIGMA
        )
        images.append(jnp.matmul(raw, kernel.T.astype(raw.dtype), precision="highest"))
    shape = (images[0].shape[0], *plan.axes.shape)
    return jnp.stack(images, axis=1).reshape(shape)


def _spectrum_at(
    lab: Model, instrument: Instrument, k: jax.Array, hv: jax.Array, x: jax.Array, gamma: jax.Array, plan: Plan
) -> jax.Array:
    """A of every projector at one laboratory wave vector, (projector, energy)."""
    h = bloch_hamiltonian(lab, k)
    if instrument.matrix_elements == "plane_wave":
        v = plane_wave_amplitude(lab, instrument, k + band_shift(instrument, hv))
        return coherent_lorentzians(h, v, x, gamma).sum(axis=0, keepdims=True)
    return weighted_lorentzians(h, _projectors(lab, instrument), x, gamma, plan.levels)


def _projectors(lab: Model, instrument: Instrument) -> jax.Array | None:
    """Orbitals of each parity where free weights are to tell them apart, else None (the trace)."""
    if instrument.matrix_elements != "free":
        return None
    rows = mirror_parities(lab.topology.orbitals)
    if len(rows) == 1:
        return None
    return jnp.asarray(np.tile(rows, 2 if lab.topology.spin_orbit else 1), lab.dtype)


def _scales(instrument: Instrument, padded: jax.Array, lateral: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Energies on the model's scale and half widths at one k∥."""
    return padded + instrument.fermi_energy, half_width(instrument, padded, lateral).astype(padded.dtype)


def _direct(lab: Model, instrument: Instrument, plan: Plan, hv: jax.Array, padded: jax.Array, mesh) -> jax.Array:
    """Diagonalise at every pixel (× node energy × k_z point); (projector, direction, padded energy)."""
    half = 1 / (2 * instrument.escape_depth)
    quantiles = (np.arange(plan.kz_points) + 0.5) / plan.kz_points - 0.5
    offsets = half * jnp.tan(np.pi * jnp.array(quantiles, lab.dtype))  # equal parts of the Lorentzian in k_z

    def at_node(energy: float) -> jax.Array:
        outside, inside = lateral_momentum(instrument, plan.axes, jnp.asarray(energy, lab.dtype), hv)
        if plan.layers is not None:
            return _stack_at(lab, instrument, plan, outside, inside, hv, padded, mesh)
        centre = central_kz(instrument, outside, jnp.asarray(energy, lab.dtype), hv)

        def one(item: tuple) -> jax.Array:
            lateral, kz = item
            x, gamma = _scales(instrument, padded, lateral)
            at = lambda offset: _spectrum_at(  # noqa: E731
                lab, instrument, jnp.concatenate([lateral, (kz + offset)[None]]), hv, x, gamma, plan
            )
            return jax.vmap(at)(offsets).mean(axis=0)

        per_item = plan.kz_points * _bytes(lab, len(plan.padded_energy))
        return map_chunks(one, (inside, centre), bytes_per_item=per_item, mesh=mesh)

    if len(plan.nodes) == 1:
        raw = at_node(plan.nodes[0])
    else:
        blend = _hats(np.array(plan.nodes), np.array(plan.padded_energy))
        raw = sum(at_node(e) * jnp.array(b, lab.dtype) for e, b in zip(plan.nodes, blend, strict=True))
    raw = jnp.moveaxis(raw, 1, 0)  # (projector, direction, energy)
    return _blur_lateral(raw, instrument, plan, hv)


def _stack_at(
    lab: Model, instrument: Instrument, plan: Plan, outside: jax.Array, inside: jax.Array, hv: jax.Array, padded: jax.Array, mesh
) -> jax.Array:  # fmt: skip
    """Spectra of a stack at every direction, each energy at its own k_z; (direction, 1, padded energy)."""
    kz = jax.vmap(lambda e: central_kz(instrument, outside, e, hv), out_axes=1)(padded)

    def one(item: tuple) -> jax.Array:
        lateral, kz = item
        x, gamma = _scales(instrument, padded, lateral)
        return stack_spectrum(
            lab, instrument, plan.layers, lateral, kz, hv, x, gamma, coherent=plan.method == "coherent"
        )

    return map_chunks(one, (inside, kz), bytes_per_item=_bytes(lab, len(plan.padded_energy)), mesh=mesh)


def _blur_lateral(raw: jax.Array, instrument: Instrument, plan: Plan, hv: jax.Array) -> jax.Array:
    """Momentum resolution along every lateral axis with more than one pixel."""
    sizes = [len(v) for _, v in plan.axes.lateral]
    image = raw.reshape(raw.shape[0], *sizes, raw.shape[-1])
    per_degree = jnp.deg2rad(1.0) * wave_number(hv - instrument.work_function) if plan.axes.in_angles else 1.0
    for axis, (_, values) in enumerate(plan.axes.lateral):
        if len(values) > 1:
            pixel = jnp.array(values, raw.dtype)
            kernel = gaussian_matrix(pixel, pixel, instrument.fwhm_momentum / FWHM_PER_SIGMA / per_degree)
            image = jnp.moveaxis(
                jnp.tensordot(kernel.astype(raw.dtype), image, (1, axis + 1), precision="highest"), 0, axis + 1
            )
    return image.reshape(raw.shape)


def _on_grid(lab: Model, instrument: Instrument, plan: Plan, hv: jax.Array, padded: jax.Array, mesh) -> jax.Array:
    """Diagonalise on the (k_x, k_z) grid, then average over k_z and carry to the pixels; (projector, pixel, energy)."""
    q = band_shift(instrument, hv)
    stretch = _stretch(lab, plan)  # nodes, cells and their origin go with the zone where the cell is fitted
    kz, origin = stretch * jnp.array(plan.kz, lab.dtype), stretch * plan.kz_origin

    def at_kx(kx: jax.Array) -> jax.Array:
        middle = padded.shape[0] // 2
        kinetic = hv - instrument.work_function + padded[middle]
        outside, (kx, ky) = slit_momentum(instrument, kx, kinetic, q, by_angle=plan.axes.in_angles)
        outside = jnp.broadcast_to(outside, (padded.shape[0], 2))
        centre = central_kz(instrument, outside, padded, hv) - origin
        x, gamma = _scales(instrument, padded, jnp.stack([kx, ky]))
        if len(plan.kz) == 1:
            k = jnp.stack([kx, ky, centre[middle] + origin])
            return _spectrum_at(lab, instrument, k, hv, x, gamma, plan)
        share = _kz_shares(plan, centre, 1 / (2 * instrument.escape_depth), stretch)  # (k_z, energy)
        at = lambda z: _spectrum_at(lab, instrument, jnp.stack([kx, ky, z + origin]), hv, x, gamma, plan)  # noqa: E731
        everywhere = jax.vmap(at)(kz)
        sharp = jnp.einsum("zpe,ze->pe", everywhere, share, precision="highest")
        if instrument.matrix_elements != "free":
            return sharp
        cells = np.diff(plan.kz_edges)
        parts = jnp.array(cells / cells.sum(), lab.dtype)
        return jnp.concatenate([sharp, jnp.einsum("zpe,z->e", everywhere, parts, precision="highest")[None]])

    nodes = jnp.array(plan.kx, lab.dtype)
    per_item = len(plan.kz) * _bytes(lab, len(plan.padded_energy))
    raw = jnp.moveaxis(map_chunks(at_kx, nodes, bytes_per_item=per_item, mesh=mesh), 1, 0)  # (projector, node, energy)
    return _to_pixels(raw, instrument, plan, hv, padded)


def _stretch(lab: Model, plan: Plan) -> jax.Array | float:
    """Period along k_z of the model over that of the one that the plan was made for."""
    if plan.kz_multiple is None or plan.kz_period is None:
        return 1.0
    return jnp.matmul(jnp.array(plan.kz_multiple, lab.dtype), lab.reciprocal, precision="highest")[2] / plan.kz_period


def _kz_shares(plan: Plan, centre: jax.Array, half: jax.Array, stretch: jax.Array | float) -> jax.Array:
    """Part of the (periodic) Lorentzian around k_z(E) that falls to each node's cell, (node, energy), summing to 1."""
    edges = stretch * jnp.array(plan.kz_edges, centre.dtype)
    images = [n * stretch * float(plan.kz_period) for n in range(-2, 3)] if plan.kz_period else [0.0]

    def below(z: jax.Array) -> jax.Array:  # (edge, energy): the Lorentzian's part below z
        return sum(jnp.arctan((z[:, None] + shift - centre[None, :]) / half) for shift in images) / np.pi

    share = jnp.diff(below(edges), axis=0)
    if plan.fold_z:  # node z stands for −z too
        share = share - jnp.diff(below(-edges), axis=0)
    return share / share.sum(axis=0)


def _to_pixels(raw: jax.Array, instrument: Instrument, plan: Plan, hv: jax.Array, padded: jax.Array) -> jax.Array:
    """Values at the pixels' k_x(E), averaged with the momentum resolution over the nearest nodes."""
    energy_index = jnp.arange(padded.shape[0])
    if plan.axes.in_angles:
        inside = jax.vmap(lambda e: lateral_momentum(instrument, plan.axes, e, hv)[1][:, 0], out_axes=1)(padded)
    else:
        inside = jnp.broadcast_to(
            jnp.array(plan.axes.lateral[0][1], raw.dtype)[:, None], (plan.axes.shape[0], padded.shape[0])
        )
    if plan.axes.in_angles:
        inside = inside - instrument.origin[0]  # nodes count from the origin
    step = plan.kx[1] - plan.kx[0]
    nearest = jax.lax.stop_gradient(jnp.round(inside / step).astype(int))
    sigma = instrument.fwhm_momentum / FWHM_PER_SIGMA
    offsets = np.arange(-KERNEL_REACH, KERNEL_REACH + 1)
    node = nearest[..., None] + offsets  # (pixel, energy, neighbour), in units of the step
    weight = gaussian_kernel(inside[..., None] - node * step, sigma)
    weight = weight / weight.sum(axis=-1, keepdims=True)
    first = round(plan.kx[0] / step)
    index = jnp.clip((jnp.abs(node) if plan.fold_x else node) - first, 0, len(plan.kx) - 1)
    gathered = raw[:, index, energy_index[None, :, None]]
    return jnp.einsum("pxen,xen->pxe", gathered, weight.astype(raw.dtype), precision="highest")


def _hats(nodes: np.ndarray, energy: np.ndarray) -> np.ndarray:
    """Linear interpolation weights of each node at each energy, constant beyond the ends: (node, energy)."""
    return np.stack([np.interp(energy, nodes, row) for row in np.eye(nodes.size)])


def _bytes(lab: Model, energies: int) -> float:
    return bytes_of_h(lab) + lab.dtype.itemsize * energies * (4 * lab.n_orbital + 2 * len(lab.topology.orbitals))
