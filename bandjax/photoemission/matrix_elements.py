"""Photoemission amplitudes: a plane wave as the final state, orbital form factors, the polarisation of the light.

With Bloch sums |k, o> = Σ_R exp(i k·(R + r_o)) |o at R + r_o>, the basis of H(k), a plane wave K and light of the
wave vector q, the field being exp(i q·(R + r_o)) ε throughout the orbital at R + r_o (dipole approximation atom by
atom), the amplitude of a band u is

    <K| ε·D exp(i q·r) |u> = Σ_o u_o M_o(K) Σ_R exp(−i (K − q − k)·(R + r_o)),       M_o(K) = <K| ε·D |o at 0>.

Momentum is conserved in the extended zone, k = K − q: the last sum is the same number for every o. The phase
exp(−i q·r_o) that a final state K would have against Bloch sums at K − q is cancelled by that of the light; no phase is
left to be added, where k itself, not folded into the first zone, goes into H(k). Atoms interfere, and zones differ,
through u. (The field's change across one orbital would put K − q for K into M, a few per cent of K at 600 eV.)

The orbital's transform is φ(K) = ∫ exp(−iK·r) R(r) Y(r̂) d³r (see `atomic_orbitals`), and

    length form     D = r (from the orbital's own centre)      M = i ε·∇_K φ(K)
    velocity form   D = p/ħ                                     M = (ε·K) φ(K)

They differ, because a plane wave is no eigenstate of the crystal. With φ = S(K) g(K²), S a solid harmonic of order l, either
is a sum of the partial waves l − 1 and l + 1 of the final state,

    M ~ a₋ ε·∇S + a₊ [(ε·K) S − K² ε·∇S / (2l + 1)],

in which the form decides on the radial numbers a₋ and a₊ only. They are taken up by numbers of the instrument which may
be fitted: `amplitude_lower`, a factor on a₋, and `amplitude_s`, `amplitude_d` and `amplitude_excited`, factors on what s,
d and s* orbitals emit, those of p being 1; where two species mix, `amplitude_s_second` and `amplitude_p_second` are further
factors on s and p of the second (at 74 eV p of Si and Ge have one sign in the length form, opposite ones in the velocity form: a node of
the transform lies between them). Not covered: scattering of the final state (phase
shifts, diffraction, circular dichroism that comes from it), the change of the field at the surface, r_o in the length
form, and the sign of s* against s, which tables leave open (here all radial functions are positive).

A site that holds a fraction c of species B emits as the average scatterer, M = (1 − c) M_A + c M_B, the coherent part of an
alloy's emission; what its disorder scatters, ~ c (1 − c) |M_A − M_B|² without momentum, is left out.

Source: the same approximation is in S. Moser, J. Electron Spectrosc. Relat. Phenom. 214, 29 (2017) (after).
"""

import jax
import jax.numpy as jnp
import numpy as np

from bandjax.hamiltonian import Model
from bandjax.hamiltonian.model import Orbital
from bandjax.hamiltonian.slater_koster import angular_momentum, quadrupoles, vectors
from bandjax.materials import SHELLS
from bandjax.photoemission.atomic_orbitals import form_factors, slater_orbital
from bandjax.photoemission.instrument import Instrument

CARBON_LABELS = ("A1", "B1", "A2", "B2")  # of the graphene tables


def plane_wave_amplitude(lab: Model, instrument: Instrument, k: jax.Array) -> jax.Array:
    """Amplitudes v over the orbitals with |v† u|² the intensity of the band u, v_o = M_o(K)*.

    Args:
        lab: Model in the laboratory axes.
        instrument: Supplies `polarisation` (laboratory frame; its length does not matter) and `dipole`.
        k: Wave vector K of the final state inside the crystal, band plus photon, laboratory frame, 1/Å, shape (3,).

    Returns:
        Complex, one row per spin (two with spin-orbit, else one), shape (spin, orbital). Unit of length^(5/2) in the
        length form, of length^(1/2) in the velocity form.

    Raises:
        ValueError: `polarisation` is not three numbers, or all are 0.
    """
    of_kind = kind_amplitudes(lab, instrument, k)
    v = jnp.matmul(of_kind, kind_shares(lab).astype(of_kind.dtype), precision="highest")
    if lab.spin_orbit is None:
        return v[None]
    return jnp.stack([jnp.concatenate([v, jnp.zeros_like(v)]), jnp.concatenate([jnp.zeros_like(v), v])])


def kinds_of(model: Model) -> tuple[list[tuple[str, str, str]], np.ndarray, np.ndarray]:
    """Kinds of orbital (site label, shell, name), and the kind of every orbital (without spin) at both ends of the
    composition: where a site does not mix they are the same; (orbital,) each."""
    orbitals, mixing = model.topology.orbitals, model.topology.mixing
    sites = [mixing if mixing is not None and o.site in mixing else (o.site, o.site) for o in orbitals]
    ends = [[(site[end], o.shell, o.name) for site, o in zip(sites, orbitals, strict=True)] for end in (0, 1)]
    kinds = list(dict.fromkeys(ends[0] + ends[1]))
    first, second = (np.array([kinds.index(kind) for kind in end]) for end in ends)
    return kinds, first, second


def kind_shares(model: Model) -> jax.Array:
    """Part of each kind in every orbital (without spin), (kind, orbital): 1 − c and c of the two species that mix."""
    kinds, first, second = kinds_of(model)
    pure = jnp.asarray(np.eye(len(kinds)), model.dtype)
    if model.composition is None:
        return pure[:, first]
    c = model.composition[np.array([o.atom for o in model.topology.orbitals])].astype(model.dtype)
    return (1 - c) * pure[:, first] + c * pure[:, second]


def kind_amplitudes(lab: Model, instrument: Instrument, k: jax.Array) -> jax.Array:
    """M(K)* of each kind of orbital, (kind,); arguments as in `plane_wave_amplitude`."""
    field = _unit_polarisation(instrument)
    kinds, _, _ = kinds_of(lab)
    lower = jnp.asarray(instrument.amplitude_lower, lab.dtype)
    of_kind = transition_amplitudes(
        kinds, lab.topology.material, field, instrument.dipole, k.astype(lab.dtype), lower
    ).conj()
    factor = {"s": instrument.amplitude_s, "d": instrument.amplitude_d, "s*": instrument.amplitude_excited}
    of_second = {"s": instrument.amplitude_s_second, "p": instrument.amplitude_p_second}
    second = lab.topology.mixing[1] if lab.topology.mixing else None
    factors = [
        factor.get(shell, 1.0) * (of_second.get(shell, 1.0) if site == second else 1.0) for site, shell, _ in kinds
    ]
    return of_kind * jnp.stack([jnp.asarray(f, lab.dtype) for f in factors])


def mirror_parities(orbitals: tuple[Orbital, ...]) -> np.ndarray:
    """Projectors on the orbitals that are even and odd under y → −y (the plane of slit and surface normal).

    In a mirror plane of the crystal and without spin-orbit, light polarised in the plane shows even bands and light
    polarised across it odd ones; one smooth weight of the whole image cannot follow that where two bands meet. Not
    covered: interference of even and odd parts, which is there off the plane, with spin-orbit, or where the plane is
    no mirror.

    Args:
        orbitals: Of a model in the laboratory axes, without spin.

    Returns:
        0 or 1, shape (1 or 2, orbital): one row where all orbitals have one parity.
    """
    odd = np.array([_odd_in_y(o.shell, o.name) for o in orbitals])
    rows = np.stack([~odd, odd])
    return rows[rows.any(axis=1)].astype(float)


def _odd_in_y(shell: str, name: str) -> bool:
    """Whether a real orbital changes its sign under y → −y."""
    _, b, q = _harmonic(shell, name)
    mirror = np.diag([1.0, -1.0, 1.0])
    return bool(b.any() or q.any()) and bool(np.allclose(mirror @ b, -b) and np.allclose(mirror @ q @ mirror, -q))


def transition_amplitudes(
    kinds: list[tuple[str, str, str]],
    material: str,
    field: np.ndarray,
    dipole: str,
    k: jax.Array,
    lower: jax.Array | float = 1.0,
) -> jax.Array:
    """M(K) of orbitals (site label, shell, name) at the origin, complex, shape (orbital,).

    `lower` is a factor on the partial wave l − 1 (see the module's docstring).
    """
    radial = [slater_orbital(chemical_symbol(site, material), shell) for site, shell, _ in kinds]
    distinct = tuple(dict.fromkeys(radial))
    g = form_factors(distinct, (k**2).sum())
    place = np.array([distinct.index(r) for r in radial])
    g0, g1 = g[0][place], g[1][place]

    # S(K) = a + b·K + K·QK, of which one term is there for each orbital
    a, b, q = (
        jnp.asarray(x, k.dtype) for x in map(np.stack, zip(*(_harmonic(s, o) for _, s, o in kinds), strict=True))
    )
    qk = jnp.matmul(q, k, precision="highest")
    solid = a + jnp.matmul(b, k, precision="highest") + jnp.matmul(qk, k, precision="highest")
    complex_dtype = jnp.result_type(k.dtype, jnp.complex64)
    eps = jnp.asarray(field, complex_dtype)
    along = jnp.matmul(eps, k.astype(complex_dtype), precision="highest")  # ε·K
    order = np.array([angular_momentum(shell) for _, shell, _ in kinds])
    phase = 4 * np.pi * (-1j) ** order
    gradient = jnp.matmul((b + 2 * qk).astype(complex_dtype), eps, precision="highest")  # ε·∇S
    if dipole == "velocity":
        direct, outward = 0.0, g0  # M ~ direct ε·∇S + outward (ε·K) S
    else:
        phase, direct, outward = 1j * phase, g0, g1
    part = (k**2).sum() / jnp.asarray(2 * order + 1, k.dtype)
    minus = (direct + outward * part) * gradient
    plus = outward * (along * solid - part * gradient)
    return jnp.asarray(phase, complex_dtype) * (lower * minus + plus)


def chemical_symbol(site: str, material: str) -> str:
    """Chemical symbol of a site label: the label itself, or carbon for the sublattices of a graphene table."""
    return "C" if site in CARBON_LABELS and "graphene" in material else site


def _harmonic(shell: str, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """a, b (3,), Q (3, 3) of one real solid harmonic, normalised on the sphere."""
    order, index = angular_momentum(shell), SHELLS[shell].index(name)
    a, b, q = np.zeros(()), np.zeros(3), np.zeros((3, 3))
    if order == 0:
        a = np.array(np.sqrt(1 / (4 * np.pi)))
    elif order == 1:
        b = np.sqrt(3 / (4 * np.pi)) * vectors(shell)[index]
    else:
        q = np.sqrt(15 / (8 * np.pi)) * quadrupoles(shell)[index]
    return a, b, q


def _unit_polarisation(instrument: Instrument) -> np.ndarray:
    field = np.asarray(instrument.polarisation, complex)
    if field.shape != (3,) or not 0 < np.linalg.norm(field) < np.inf:
        raise ValueError(f"Argument `polarisation` must be three numbers, not all 0, but is {instrument.polarisation}.")
    return field / np.linalg.norm(field)
