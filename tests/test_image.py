"""The photoemission image: two ways to one image, axes, k_z, edge, resolution, background, errors, gradients."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bandjax.hamiltonian import bloch_hamiltonian, tight_binding
from bandjax.inference.derived import bands_along_cut
from bandjax.materials import load_parameters
from bandjax.photoemission import QUANTITIES, Instrument, arpes_image, plan_image
from bandjax.photoemission.image import signal
from bandjax.photoemission.kinematics import emission_angle, photon_momentum, wave_number
from bandjax.photoemission.matrix_elements import mirror_parities, plane_wave_amplitude
from bandjax.photoemission.pixels import as_axes, central_kz, laboratory_model, lateral_momentum
from bandjax.structure import cubic_lattice, graphene, square_lattice, zincblende
from bandjax.units import BOLTZMANN, FWHM_PER_SIGMA

A, T = 3.9, 0.4  # the s band on a cubic lattice: ε = −2T (cos k_x A + cos k_y A + cos k_z A)
SHARP = Instrument(photon_energy=100.0, fwhm_energy=0.0, fwhm_momentum=0.0, photon_momentum=False, escape_depth=15.0)
ENERGY = np.linspace(-2.5, 0.2, 28)
KX = np.linspace(-0.4, 0.4, 9)


@pytest.fixture(scope="module")
def cubic():
    table = load_parameters("cubic", "single_orbital").replace(t=T, **{"t'": 0.0, "t''": 0.0})
    return tight_binding(cubic_lattice(A), table, spin_orbit=False)


@pytest.fixture(scope="module")
def square():
    return tight_binding(square_lattice(A), load_parameters("square", "single_orbital"), spin_orbit=False)


@pytest.fixture(scope="module")
def flat_carbon():
    return tight_binding(graphene(), load_parameters("graphene", "pz"), spin_orbit=False)


def edge(energy, temperature):
    return 1 / (1 + np.exp(energy / (BOLTZMANN * temperature)))


def cubic_image(instrument, kx, energy, *, kz_energy=None, points=4000):
    """The image of the cubic band by brute force; k_z is that of `kz_energy`, or of each pixel's own energy."""
    at = energy if kz_energy is None else np.full_like(energy, kz_energy)
    kinetic = instrument.photon_energy - instrument.work_function + at
    kz = np.sqrt(0.2624684 * (kinetic + instrument.inner_potential)[None, :] - kx[:, None] ** 2)
    quantile = (np.arange(points) + 0.5) / points - 0.5
    kz = kz[..., None] + np.tan(np.pi * quantile) / (2 * instrument.escape_depth)
    eps = -2 * T * (np.cos(kx * A)[:, None, None] + 1 + np.cos(kz * A))
    spectrum = instrument.eta / np.pi / ((energy[None, :, None] - eps) ** 2 + instrument.eta**2)
    return instrument.gain * spectrum.mean(axis=-1) * edge(energy, instrument.temperature)


def largest(found, expected):
    return np.abs(np.asarray(found) - expected).max() / np.abs(expected).max()


# --- k_z


def test_k_z_broadening_is_the_average_over_a_lorentzian(cubic):
    energy = np.linspace(-0.55, -0.45, 5)
    expected = cubic_image(SHARP, KX, energy)
    errors = [
        largest(arpes_image(cubic, SHARP, {"kx": KX, "energy": energy}, kz_points=n), expected) for n in (5, 21, 321)
    ]
    assert errors[2] < 0.01 < errors[1]
    assert errors[2] < errors[1] < errors[0]
    unbroadened = cubic_image(SHARP.replace(escape_depth=1000.0), KX, energy)
    assert largest(unbroadened, expected) > 0.1


def test_long_escape_depth_gives_the_sharp_k_z(cubic):
    deep, energy = SHARP.replace(escape_depth=1000.0), np.linspace(-0.55, -0.45, 5)
    axes = {"kx": KX, "energy": energy}
    of_middle = cubic_image(deep, KX, energy, kz_energy=-0.5, points=1)
    assert largest(arpes_image(cubic, deep, axes, kz_points=1), of_middle) < 1e-5
    assert largest(arpes_image(cubic, deep, axes, kz_points=21), cubic_image(deep, KX, energy, points=1)) < 0.01


def test_grid_takes_k_z_at_every_energy(cubic):
    expected = cubic_image(SHARP, KX, ENERGY)
    found = arpes_image(
        cubic, SHARP.replace(fwhm_momentum=0.005), {"kx": KX, "energy": ENERGY}, method="grid", kz_points=31
    )
    assert largest(found, expected) < 0.01
    assert largest(cubic_image(SHARP, KX, ENERGY, kz_energy=-1.15), expected) > 0.1


def test_direct_takes_k_z_at_every_energy(cubic):
    found = arpes_image(cubic, SHARP, {"kx": KX, "energy": ENERGY}, kz_points=101)
    assert largest(found, cubic_image(SHARP, KX, ENERGY)) < 0.03


def test_k_z_is_that_of_the_whole_momentum_where_axes_count_from_an_origin(cubic):
    """At k∥ = 1/Å k_z is 0.1/Å less than at normal emission."""
    there = SHARP.replace(origin=(1.0, 0.0), fwhm_momentum=0.005)
    axes, expected = {"kx": KX, "energy": ENERGY}, cubic_image(SHARP, KX + 1.0, ENERGY)
    assert largest(arpes_image(cubic, there, axes, method="grid", kz_points=31), expected) < 0.01
    assert largest(arpes_image(cubic, there, axes, kz_points=101), expected) < 0.03
    eps = -2 * T * (np.cos((KX + 1.0) * A) + 1 + np.cos(A * bands_along_cut(cubic, there, KX)[1][:, 0]))
    np.testing.assert_allclose(bands_along_cut(cubic, there, KX)[0][:, 0], eps, atol=1e-9)


@pytest.mark.parametrize("across", [{}, {"ky": np.array([0.2, 0.3])}], ids=["cut", "map"])
def test_an_origin_changes_the_names_of_momenta_only(cubic, across):
    here = SHARP.replace(tilt=0.0 if across else 3.0, photon_momentum=True)
    seen, renamed = (
        arpes_image(cubic, instrument, across | {"kx": kx, "energy": ENERGY[::9]}, kz_points=5)
        for instrument, kx in ((here, KX + 0.7), (here.replace(origin=(0.7, 0.0)), KX))
    )
    np.testing.assert_allclose(np.asarray(renamed), np.asarray(seen), rtol=1e-9)


def test_by_angle_both_ways_add_the_origin_to_what_is_emitted(cubic):
    """Off normal emission across the slit, where k_y depends on what is emitted along it."""
    there = SHARP.replace(photon_energy=40.0, tilt=12.0, origin=(1.2, 0.0), fwhm_momentum=0.02, fwhm_energy=0.05)
    axes = {"angle": np.linspace(-8, 8, 81), "energy": np.linspace(-1.2, -0.8, 9)}
    direct, grid = (np.asarray(arpes_image(cubic, there, axes, method=m, kz_points=31)) for m in ("direct", "grid"))
    inner = slice(12, -12)  # at the ends the direct way lacks the pixels beyond
    assert largest(grid[inner], direct[inner]) < 0.06  # 0.04 without an origin: the direct way blends two energies
    band, kz = bands_along_cut(cubic, there, np.array([0.2]), by_angle=True)
    across = -np.sin(np.deg2rad(12.0)) * np.sqrt(0.2624684 * (35.5 + band[0, 0]) - 0.2**2)
    eps = -2 * T * (np.cos(1.4 * A) + np.cos(across * A) + np.cos(kz[0, 0] * A))
    assert band[0, 0] == pytest.approx(eps, abs=1e-4)  # the energy of k is that of the round before


@pytest.mark.parametrize(
    ("origin", "axes"),
    [((0.0, 1.9), {"kx": KX}), ((1.9, 0.0), {"angle": np.linspace(-40, 40, 9)})],
    ids=["kx", "angle"],
)
def test_electrons_that_an_origin_keeps_inside_are_refused(cubic, origin, axes):
    slow = SHARP.replace(photon_energy=15.0, inner_potential=0.0, origin=origin)
    with pytest.raises(ValueError, match="must stay below the wave number of the slowest electrons"):
        plan_image(cubic, slow, axes | {"energy": ENERGY})


# --- two ways, two kinds of axes


@pytest.mark.parametrize(
    ("name", "matrix_elements"), [("kx", "plane_wave"), pytest.param("angle", "uniform", marks=pytest.mark.slow)]
)
def test_direct_and_grid_agree(flat_carbon, name, matrix_elements):
    """A cut across K of graphene. By angle the direct way blends two energies, whose bands lie up to 0.05 eV apart."""
    instrument = Instrument(
        photon_energy=200.0, tilt=1.5, azimuth=4.0, eta=0.1, fwhm_energy=0.05, fwhm_momentum=0.03, incidence=60.0,
        matrix_elements=matrix_elements, polarisation=(1, 0, 1),
    )  # fmt: skip
    lateral = np.linspace(8, 18, 121) if name == "angle" else np.linspace(1, 2.3, 131)
    axes = {name: lateral, "energy": np.linspace(-1.2, 0.2, 41)}
    direct, grid = (
        np.asarray(arpes_image(flat_carbon, instrument, axes, method=m, kz_points=1)) for m in ("direct", "grid")
    )
    inner = slice(16, -16)  # at the ends the direct way lacks the pixels beyond
    assert largest(direct[inner], grid[inner]) < (0.03 if name == "angle" else 2e-3)
    assert grid[inner].max() > 5 * np.median(grid[inner])


@pytest.mark.parametrize("photon", [True, False])
def test_angles_and_momenta_are_one_place(photon):
    """A band's k∥ comes back from the emission angles at which it is seen, photon momentum included."""
    instrument = SHARP.replace(photon_energy=500.0, tilt=3.0, polar=5.0, incidence=60.0, photon_momentum=photon)
    kx, ky = np.linspace(-0.9, 0.9, 4), np.linspace(-0.7, 0.5, 3)
    q = np.asarray(photon_momentum(500.0, 60.0, 0.0)) * photon
    outside, inside = lateral_momentum(instrument, as_axes({"kx": kx, "ky": ky, "energy": [-0.5]}), -0.5, 500.0)
    np.testing.assert_allclose(outside - inside, np.broadcast_to(q[:2], (12, 2)), atol=1e-14)
    for point, seen in zip(inside, outside, strict=True):
        angle, deflector = emission_angle(495.0, *seen, 5.0, 3.0)
        axes = as_axes({"angle": [angle], "deflector": [deflector], "energy": [-0.5]})
        np.testing.assert_allclose(lateral_momentum(instrument, axes, -0.5, 500.0)[1][0], point, atol=1e-12)


def test_cut_by_momentum_lies_where_the_slit_is(square):
    """Without `ky` the cut is that of a straight slit (deflector 0) on the tilted sample."""
    instrument = SHARP.replace(photon_energy=500.0, tilt=3.0, incidence=60.0, photon_momentum=True)
    energy, kx = np.array([-0.5]), np.linspace(-1, 1, 9)
    q = np.asarray(photon_momentum(500.0, 60.0, 0.0))
    angle = np.rad2deg(np.arcsin((kx + q[0]) / float(wave_number(495.0))))
    by_angle = arpes_image(square, instrument, {"angle": angle, "energy": energy}, kz_points=1)
    by_momentum = arpes_image(square, instrument, {"kx": kx, "energy": energy}, kz_points=1)
    np.testing.assert_allclose(by_momentum, by_angle, rtol=1e-9)


def test_a_plan_stays_right_when_the_sample_turns(square):
    """A plan that is to turn gives what a plan made at that azimuth gives; a folded one is refused."""
    instrument = SHARP.replace(tilt=3.0, fwhm_momentum=0.03)
    axes = {"angle": np.linspace(-5, 5, 21), "energy": np.linspace(-1, 0, 11)}
    turned = instrument.replace(azimuth=3.0)
    plan = plan_image(square, instrument, axes, method="grid", kz_points=1, turning=True)
    after = arpes_image(square, turned, axes, method="grid", kz_points=1)
    assert largest(arpes_image(square, turned, plan), after) < 0.01
    assert largest(arpes_image(square, instrument, plan), after) > 0.05
    with pytest.raises(ValueError, match="turning=True"):
        arpes_image(square, turned, plan_image(square, instrument, axes, method="grid", kz_points=1))


# --- axes and shapes


@pytest.mark.slow
def test_volume_and_scan_shapes(square, cubic):
    kx, ky, energy = np.linspace(-0.5, 0.5, 5), np.linspace(-0.3, 0.3, 3), np.linspace(-1, 0.1, 7)
    volume = arpes_image(square, SHARP, {"energy": energy, "kx": kx, "ky": ky}, kz_points=1)
    assert volume.shape == (3, 5, 7)  # (ky, kx, energy), in whatever order the axes are named
    np.testing.assert_allclose(volume[2], volume[0], rtol=1e-9)
    assert largest(volume[1], np.asarray(volume[0])) > 0.1

    hv = [80.0, 95.0, 110.0]
    scan = arpes_image(cubic, SHARP, {"hv": hv, "kx": kx, "energy": energy}, kz_points=3)
    assert scan.shape == (3, 5, 7)
    one = arpes_image(cubic, SHARP.replace(photon_energy=110.0), {"kx": kx, "energy": energy}, kz_points=3)
    np.testing.assert_allclose(scan[2], one, rtol=1e-12)
    assert largest(scan[0], np.asarray(one)) > 0.1  # k_z

    curve = arpes_image(cubic, SHARP, {"energy": energy}, kz_points=1)
    assert curve.shape == (7,)


# --- matrix elements


@pytest.mark.slow
def test_one_pixel_with_matrix_elements():
    """Σ_n |v†u_n|² L(E − ε_n), written out, with the photon's momentum in the final state but not in the bands."""
    model = tight_binding(zincblende("GaAs"), load_parameters("GaAs", "klimeck2000"))
    instrument = SHARP.replace(
        photon_energy=586.0, incidence=70.0, incidence_azimuth=30.0, photon_momentum=True, matrix_elements="plane_wave",
        polarisation=(1, 0.5j, 0), fermi_energy=0.4,
    )  # fmt: skip
    energy = np.array([-2.0])
    found = arpes_image(model, instrument, {"kx": [0.3], "ky": [0.1], "energy": energy}, kz_points=1)
    q = photon_momentum(586.0, 70.0, 30.0)
    outside = np.array([0.3, 0.1]) + q[:2]
    kz = np.sqrt(0.2624684 * (586.0 - 4.5 - 2.0 + 12.0) - outside @ outside) - q[2]
    k = jnp.array([0.3, 0.1, kz])
    eps, u = jnp.linalg.eigh(bloch_hamiltonian(model, k))
    weight = (np.abs(plane_wave_amplitude(model, instrument, k + q).conj() @ u) ** 2).sum(axis=0)
    lorentzian = instrument.eta / np.pi / ((energy + 0.4 - eps) ** 2 + instrument.eta**2)
    assert found[0, 0, 0] == pytest.approx(float(instrument.gain * (weight * lorentzian).sum()), rel=1e-5)


# --- edge, resolution, background, counts


def test_fermi_edge(square):
    energy, axes = np.linspace(-0.3, 0.3, 25), {"energy": np.linspace(-0.3, 0.3, 25)}
    cold, warm = (arpes_image(square, SHARP.replace(temperature=t), axes, kz_points=1) for t in (150.0, 600.0))
    np.testing.assert_allclose(cold / warm, edge(energy, 150.0) / edge(energy, 600.0), rtol=1e-6)
    zero = arpes_image(square, SHARP.replace(temperature=0.0), axes, kz_points=1)
    assert np.all(zero[13:] == 0) and np.all(zero[:12] > 0)
    lorentzian = SHARP.gain * SHARP.eta / np.pi / ((energy - float(square_level(square))) ** 2 + SHARP.eta**2)
    np.testing.assert_allclose(warm, lorentzian * edge(energy, 600.0), rtol=1e-6)


def square_level(model):
    return bloch_hamiltonian(model, jnp.zeros(3))[0, 0].real


def test_energy_resolution_is_a_convolution(square):
    energy, fwhm = np.linspace(-3.2, 0.5, 371), 0.12
    level = {"fermi_energy": square_level(square) + 1.0, "eta": 0.05, "temperature": 30.0}  # 1 eV below the edge
    sharp, broad = (
        np.asarray(arpes_image(square, SHARP.replace(fwhm_energy=w, **level), {"energy": energy}, kz_points=1))
        for w in (0.0, fwhm)
    )
    kernel = np.exp(-0.5 * ((energy[:, None] - energy[None, :]) / (fwhm / FWHM_PER_SIGMA)) ** 2)
    expected = (kernel / kernel[185].sum()) @ sharp
    np.testing.assert_allclose(broad[40:-20], expected[40:-20], rtol=1e-6, atol=1e-9 * expected.max())
    assert largest(sharp, broad) > 0.3
    # the window's ends see what lies beyond them
    cut = arpes_image(square, SHARP.replace(fwhm_energy=fwhm, **level), {"energy": energy[200:300]}, kz_points=1)
    np.testing.assert_allclose(cut, broad[200:300], rtol=0.01)


def test_background_and_gain(square):
    axes = {"kx": KX, "energy": ENERGY}
    plain = np.asarray(arpes_image(square, SHARP, axes, kz_points=1))
    image = lambda **numbers: np.asarray(arpes_image(square, SHARP.replace(**numbers), axes, kz_points=1))  # noqa: E731
    below = np.maximum(-ENERGY, 0)
    np.testing.assert_allclose(image(gain=250.0), 2.5 * plain, rtol=1e-12)
    np.testing.assert_allclose(
        image(background=3.0, background_linear=2.0, background_quadratic=0.5),
        plain + 3 + 2 * below + 0.5 * below**2, rtol=1e-12,
    )  # fmt: skip
    step = image(step=7.0, step_energy=-1.0, step_fwhm=0.2) - plain
    assert step[0, 0] == pytest.approx(7) and abs(step[0, -1]) < 1e-6 and step[0, 15] == pytest.approx(3.5)
    slope = 1 + 0.2 * KX[:, None]  # the detector counts the background too
    np.testing.assert_allclose(image(background=3.0, detector_slope=0.2), slope * (plain + 3.0), rtol=1e-12)
    shirley = image(shirley=0.2) - plain
    above = np.array([np.trapezoid(plain[:, i:], ENERGY[i:], axis=1) for i in range(ENERGY.size)]).T
    half_pixel = 0.5 * plain[:, -1:] * (ENERGY[1] - ENERGY[0])
    np.testing.assert_allclose(shirley, 0.2 * (above + half_pixel), rtol=1e-9)


# --- errors


@pytest.mark.parametrize(
    ("numbers", "axes", "options", "message"),
    [
        ({"matrix_elements": "free"}, {"kx": KX, "energy": ENERGY}, {}, "come from a fit"),
        ({}, {"kx": KX}, {}, "must hold an axis 'energy'"),
        ({}, {"kx": KX[::-1], "energy": ENERGY}, {}, "Axis `kx` must increase"),
        ({}, {"angl": KX, "energy": ENERGY}, {}, "Did you mean 'angle'"),
        ({}, {"angle": KX, "ky": KX, "energy": ENERGY}, {}, "mixes ky, angle"),
        ({"photon_energy": 5.0}, {"kx": KX, "energy": ENERGY}, {}, "Argument `photon_energy` must exceed"),
        ({"photon_energy": 5.0}, {"kx": KX, "energy": ENERGY}, {"method": "grid"}, "`photon_energy` must exceed"),
        ({"photon_energy": 9.0}, {"kx": 3 * KX, "energy": ENERGY}, {}, "kx must stay below the wave number"),
        ({}, {"kx": KX, "energy": ENERGY}, {"method": "grid"}, "`fwhm_momentum` must be > 0"),
        ({"fwhm_momentum": 0.02}, {"kx": KX, "ky": KX, "energy": ENERGY}, {"method": "grid"}, "for cuts"),
        ({}, {"kx": KX, "energy": ENERGY}, {"method": "exact"}, "must be one of 'direct', 'grid'"),
    ],
)  # fmt: skip
def test_errors_name_the_argument(square, numbers, axes, options, message):
    instrument = dataclasses.replace(SHARP, **numbers)
    with pytest.raises(ValueError, match=message):
        arpes_image(square, instrument, axes, **options)


def test_numbers_out_of_bounds(square):
    with pytest.raises(ValueError, match=r"`escape_depth` must lie between 0\.5 and 1000 Å, but is 0\.1"):
        arpes_image(square, dataclasses.replace(SHARP, escape_depth=0.1), {"kx": KX, "energy": ENERGY})


# --- gradients and precision


@pytest.mark.parametrize(
    ("method", "matrix_elements"), [("direct", "plane_wave"), pytest.param("grid", "uniform", marks=pytest.mark.slow)]
)
def test_gradient_of_an_image(method, matrix_elements):
    """Reverse mode against central differences in every number of the instrument and every value of the table."""
    atoms, table = zincblende("Si", a=5.431), load_parameters("Si", "vogl1983")
    energies = [name for name in table.values if name != "Delta"]  # no spin-orbit here
    instrument = Instrument(
        photon_energy=90.0, polar=1.0, tilt=1.5, azimuth=5.0, incidence=50.0, incidence_azimuth=20.0, fermi_energy=0.6,
        temperature=900.0, eta=0.25, eta_linear=0.05, eta_quadratic=0.01, eta_momentum=0.1, fwhm_energy=0.2,
        fwhm_momentum=0.15, background=1.0, background_linear=0.5, background_quadratic=0.1, shirley=0.1, step=2.0,
        step_energy=-1.0, amplitude_s=1.2, amplitude_lower=0.7, amplitude_excited=0.8, matrix_elements=matrix_elements, polarisation=(1, 0.2j, 0.5),
        gain=3000.0 if matrix_elements == "plane_wave" else 10.0, detector_slope=0.02,
    )  # fmt: skip
    axes = {"angle": np.linspace(-8, 9, 9), "energy": np.linspace(-3, 0.5, 8)}
    model = tight_binding(atoms, table, spin_orbit=False)
    plan = plan_image(model, instrument, axes, method=method, kz_points=3 if method == "direct" else 7)
    weights = jnp.array(np.random.default_rng(1).normal(size=(9, 8)))
    values = {
        **{name: float(v) for name, v in instrument.values.items()},
        **{n: float(table[n]) for n in energies},
    }

    def total(values):
        model = tight_binding(atoms, table.replace(**{n: values[n] for n in energies}), spin_orbit=False)
        turned = dataclasses.replace(instrument, **{n: values[n] for n in QUANTITIES})
        return (weights * arpes_image(model, turned, plan)).sum()

    gradient = jax.jit(jax.grad(total))(values)
    total = jax.jit(total)
    of_plane_waves = {"amplitude_s", "amplitude_lower", "amplitude_excited"}
    idle = {"amplitude_d", "amplitude_s_second", "amplitude_p_second"} | (
        of_plane_waves if matrix_elements == "uniform" else set()
    )
    assert all(
        gradient[name] == 0 for name in idle
    )  # no d orbitals, no mixing species, and amplitudes of plane waves only
    for name, value in values.items():
        if name in idle:
            continue
        step = 1e-5 * max(1.0, abs(value))
        central = (total({**values, name: value + step}) - total({**values, name: value - step})) / (2 * step)
        assert gradient[name] == pytest.approx(float(central), rel=2e-4, abs=1e-8), name
        assert abs(central) > 1e-7, name


@pytest.mark.parametrize("method", ["direct", "grid"])
def test_single_precision(method):
    model = tight_binding(zincblende("Si", a=5.431), load_parameters("Si", "vogl1983"), spin_orbit=False)
    single = jax.tree.map(lambda x: x.astype(np.float32), model)
    instrument = SHARP.replace(
        photon_energy=100.0, fwhm_energy=0.1, fwhm_momentum=0.03, eta=0.2, matrix_elements="plane_wave"
    )
    axes = {"kx": np.linspace(-0.5, 0.5, 7), "energy": np.linspace(-4, 0, 9)}
    found, exact = (arpes_image(m, instrument, axes, method=method, kz_points=5) for m in (single, model))
    # levels carry 1e-6 eV · a few, A(E) changes by 1/η of that, k_z of 5 1/Å carries 5e-7
    assert largest(found, np.asarray(exact)) < 1e-4
    assert found.dtype == np.float32


# --- images of the parities


@pytest.mark.slow
def test_images_of_even_and_odd_orbitals_add_up_to_the_whole():
    """Both parities add up to the trace, by either method; "grid" adds the k_z-averaged image."""
    model = tight_binding(zincblende("GaAs", a=5.65), load_parameters("GaAs", "klimeck2000"), spin_orbit=False)
    base = dataclasses.replace(
        SHARP, fwhm_energy=0.1, fwhm_momentum=0.05, eta=0.05, slit=(1, 1, 0), matrix_elements="free"
    )
    axes = {"kx": np.linspace(0.1, 0.6, 11), "energy": np.linspace(-6, -0.1, 60)}
    for method in ("direct", "grid"):
        plan = plan_image(model, base, axes, method=method, kz_points=5)
        whole = dataclasses.replace(base, matrix_elements="uniform")
        total = signal(model, whole, plan_image(model, whole, axes, method=method, kz_points=5))[0]
        parts = signal(model, base, plan)
        assert len(parts) == (2 if method == "direct" else 3)
        np.testing.assert_allclose(parts[0] + parts[1], total, rtol=1e-9, atol=1e-12)
        assert parts[0].min() >= 0 and parts[1].min() >= 0
        if method == "direct":  # spins without coupling double everything
            table = load_parameters("GaAs", "klimeck2000").replace(Delta_a=0.0, Delta_c=0.0)
            both = tight_binding(zincblende("GaAs", a=5.65), table, spin_orbit=True)
            np.testing.assert_allclose(signal(both, base, plan), 2 * parts, rtol=1e-8, atol=1e-9)


def test_images_of_the_parities_are_weighted_sums_over_bands():
    """At one k: Σ_n odd_n L(E − ε_n), with the weights of y-odd orbitals by name."""
    model = tight_binding(zincblende("GaAs", a=5.65), load_parameters("GaAs", "klimeck2000"), spin_orbit=False)
    base = dataclasses.replace(SHARP, eta=0.1, tilt=2.0, slit=(1, 1, 0), matrix_elements="free")
    axes = {"kx": [0.5], "energy": np.linspace(-0.4, -0.3, 3)}
    plan = plan_image(model, base, axes, kz_points=1)
    outside, inside = lateral_momentum(base, plan.axes, jnp.asarray(plan.nodes[0]), jnp.asarray(100.0))
    kz = central_kz(base, outside, jnp.asarray(plan.nodes[0]), jnp.asarray(100.0))
    there = jnp.concatenate([inside[0], kz])
    eps, u = np.linalg.eigh(jax.jit(lambda k: bloch_hamiltonian(laboratory_model(model, base), k))(there))
    odd = np.array([o.name == "py" for o in model.topology.orbitals]) @ np.abs(u) ** 2
    assert np.ptp(odd) > 0.5
    energy = np.array(axes["energy"])
    line = float(base.eta) / np.pi / ((energy[:, None] - eps) ** 2 + float(base.eta) ** 2)
    expected = np.stack([line @ (1 - odd), line @ odd]) * edge(energy, base.temperature)
    np.testing.assert_allclose(signal(model, base, plan)[:, 0], expected, rtol=1e-6)


@pytest.mark.parametrize(("ky", "pure"), [(0.0, True), (0.2, False)])
def test_bands_in_the_mirror_plane_have_one_parity(ky, pure):
    """(110) of zinc blende is a mirror plane: with the slit in it, bands without spin are even or odd orbitals."""
    model = tight_binding(zincblende("GaAs", a=5.65), load_parameters("GaAs", "klimeck2000"), spin_orbit=False)
    along = dataclasses.replace(SHARP, slit=(1, 1, 0))
    h = jax.jit(lambda k: bloch_hamiltonian(laboratory_model(model, along), k))(jnp.array([0.5, ky, 0.3]))
    odd = mirror_parities(model.topology.orbitals)[1] @ np.abs(np.linalg.eigh(h)[1]) ** 2
    assert (np.minimum(odd, 1 - odd).max() < 1e-12) == pure
    assert odd.sum() == pytest.approx(2)  # p_y of two atoms
