"""From the names that papers print to on-site energies and two-centre integrals.

Vogl's nearest-neighbour matrix elements of a zinc-blende crystal are sums over four bonds with direction cosines
(±1, ±1, ±1)/√3, hence (Vogl, Hjalmarson, Dow, J. Phys. Chem. Solids 44, 365 (1983), after public transcriptions):

    V_ss = 4 (ssσ)    V_xx = 4/3 [(ppσ) + 2 (ppπ)]    V_xy = 4/3 [(ppσ) − (ppπ)]    V_sp = 4/√3 (spσ)

`Delta` is the full splitting of an atomic p level, λ = Δ/3; the `lambda` of the sp3d5s* tables already is Δ/3.
"""

import math

from bandjax.materials.table import Bond, Integral

_ROOT3_4 = math.sqrt(3) / 4
_LETTER = {"s": "sigma", "p": "pi", "d": "delta"}


def vogl_sp3s(anion: str, cation: str, values: dict[str, float], prefix: str = "") -> dict:
    """On-site, spin-orbit and bond entries of an sp3s* table in Vogl's convention."""
    same = anion == cation
    site = {anion: "" if same else "a", cation: "" if same else "c"}

    onsite, spin_orbit = [], []
    for species, letter in site.items():
        onsite += [(species, shell, ((f"{prefix}E_{shell}{letter}", 1.0),)) for shell in ("s", "p", "s*")]
        delta = f"Delta_{letter}" if letter else "Delta"
        if delta in values:
            spin_orbit.append((species, "p", ((prefix + delta, 1 / 3),)))

    return {
        "orbitals": tuple((species, ("s", "p", "s*")) for species in site),
        "onsite": tuple(onsite),
        "spin_orbit": tuple(spin_orbit),
        "bond": ((anion, cation), vogl_integrals(same, prefix)),
    }


def vogl_integrals(same: bool, prefix: str = "") -> tuple[Integral, ...]:
    """The 7 integrals between an anion and a cation, as combinations of Vogl's matrix elements."""
    sp, ps, stp, pst = ("V_sp", "V_sp", "V_s*p", "V_s*p") if same else ("V_sapc", "V_scpa", "V_s*apc", "V_pas*c")
    return (
        Integral("s", "s", "sigma", ((prefix + "V_ss", 0.25),)),
        Integral("p", "p", "sigma", ((prefix + "V_xx", 0.25), (prefix + "V_xy", 0.5))),
        Integral("p", "p", "pi", ((prefix + "V_xx", 0.25), (prefix + "V_xy", -0.25))),
        Integral("s", "p", "sigma", ((prefix + sp, _ROOT3_4),)),
        Integral("p", "s", "sigma", ((prefix + ps, _ROOT3_4),)),
        Integral("s*", "p", "sigma", ((prefix + stp, _ROOT3_4),)),
        Integral("p", "s*", "sigma", ((prefix + pst, _ROOT3_4),)),
    )


def sp3d5s(anion: str, cation: str, values: dict[str, float], prefix: str = "") -> dict:
    """On-site, spin-orbit and bond entries of an sp3d5s* table of two-centre integrals."""
    same = anion == cation
    site = {anion: "" if same else "_a", cation: "" if same else "_c"}

    onsite, spin_orbit = [], []
    for species, letter in site.items():
        onsite += [(species, shell, ((f"{prefix}E_{shell}{letter}", 1.0),)) for shell in ("s", "p", "d", "s*")]
        if f"lambda{letter}" in values:
            spin_orbit.append((species, "p", ((f"{prefix}lambda{letter}", 1.0),)))
    return {
        "orbitals": tuple((species, ("s", "p", "d", "s*")) for species in site),
        "onsite": tuple(onsite),
        "spin_orbit": tuple(spin_orbit),
        "bond": ((anion, cation), sp3d5s_integrals(same, prefix)),
    }


def sp3d5s_integrals(same: bool, prefix: str = "") -> tuple[Integral, ...]:
    """The 14 kinds of integral (20 with their order) between an anion and a cation."""
    integrals = []
    for name, pair in (("ss", ("s", "s")), ("s*s*", ("s*", "s*"))):
        integrals.append(Integral(*pair, "sigma", ((prefix + name, 1.0),)))
    for left, right in (("s", "s*"), ("s", "p"), ("s*", "p"), ("s", "d"), ("s*", "d")):
        anion_first = left + right if same else f"{left}a{right}c"
        cation_first = left + right if same else (f"{right}a{left}c" if right == "s*" else f"{left}c{right}a")
        integrals.append(Integral(left, right, "sigma", ((prefix + anion_first, 1.0),)))
        integrals.append(Integral(right, left, "sigma", ((prefix + cation_first, 1.0),)))
    for letter, symmetry in _LETTER.items():
        if letter != "d":
            integrals.append(Integral("p", "p", symmetry, ((f"{prefix}pp{letter}", 1.0),)))
            pd, dp = (f"pd{letter}",) * 2 if same else (f"padc{letter}", f"pcda{letter}")
            integrals.append(Integral("p", "d", symmetry, ((prefix + pd, 1.0),)))
            integrals.append(Integral("d", "p", symmetry, ((prefix + dp, 1.0),)))
        integrals.append(Integral("d", "d", symmetry, ((f"{prefix}dd{letter}", 1.0),)))
    return tuple(integrals)


def exponent_name(integral: Integral) -> str:
    """Name of the distance exponent of an integral, as the sp3d5s* tables list them: 'sp', 's*d', 'pdp', …"""
    order = ("s", "s*", "p", "d")
    left, right = sorted((integral.shell_i, integral.shell_j), key=order.index)
    if left in ("p", "d"):
        return left + right + {"sigma": "s", "pi": "p", "delta": "d"}[integral.symmetry]
    return left + right


def zincblende_bond(pair: tuple[str, str], integrals: tuple[Integral, ...], lattice_constant: float | None) -> Bond:
    """The nearest-neighbour bond of a zinc-blende crystal, d0 = √3/4 a."""
    return Bond(pair, None if lattice_constant is None else _ROOT3_4 * lattice_constant, integrals)
