"""Tables of two compounds with a common anion (GaAs and InAs), for superlattices and alloys of labelled atoms.

Values are named by their owner: "GaAs.E_sa", "InAs.V_ss". Each bond is that of its own compound, so no new integral is
needed. What belongs to the common anion (on-site energies, spin-orbit constant) is the mean over its four neighbours of what
the neighbour's compound has: in the bulk of either it is that compound's own. "GaAsInAs.offset" (eV) shifts every on-site
energy of the second compound; it is the difference of the valence-band offsets in data/valence_band.json, which fits tables
whose zero of energy is the valence-band top.
"""

from collections.abc import Mapping
from typing import Any

from bandjax.checks import nearest
from bandjax.materials import conventions
from bandjax.materials.files import package_file
from bandjax.materials.table import TableSpec

# tables whose compounds have their energies on a common scale already; the others have each its own valence-band top at 0
_COMMON_SCALE = ("boykin2004",)


def compound_parts(data: Mapping[str, Any], materials: tuple[str, str]) -> tuple[dict[str, float], TableSpec]:
    """Values and meaning of the table of two compounds, from a file's data.

    Raises:
        ValueError: the file lacks one of them, they are the same, have no common anion, or no known offset.
    """
    for material in materials:
        if material not in data["materials"]:
            raise ValueError(
                f"Table {data['name']} has no material {material!r}.{nearest(material, data['materials'])} "
                f"It has {', '.join(data['materials'])}."
            )
    entries = [data["materials"][material] for material in materials]
    anions, cations = ([entry[end] for entry in entries] for end in ("anion", "cation"))
    if anions[0] != anions[1] or cations[0] == cations[1] or anions[0] in cations:
        raise ValueError(f"A table of two compounds needs two that share their anion only, but they are {materials}.")
    build = conventions.vogl_sp3s if data["convention"] == "vogl sp3s*" else conventions.sp3d5s
    values: dict[str, float] = {}
    parts, bonds, state = [], (), ()
    for material, entry in zip(materials, entries, strict=True):
        prefix = f"{material}."
        values |= {prefix + name: v for name, v in entry["values"].items()}
        found = build(entry["anion"], entry["cation"], entry["values"], prefix=prefix)
        parts.append(found)
        bonds += (conventions.zincblende_bond(*found["bond"], lattice_constant=entry["lattice_constant"]),)
        state += tuple((prefix + name, s) for name, s in entry["uncertain"].items())
    offset = f"{''.join(materials)}.offset"
    if data["name"] in _COMMON_SCALE:
        values[offset], why = 0.0, "0: this table's energies lie on a common scale already"
    else:
        valence = package_file("valence_band")["materials"]
        unknown = [material for material in materials if material not in valence]
        if unknown:
            raise ValueError(
                f"A table of two compounds needs their valence-band offset, but the package has none of {unknown[0]!r}; it has "
                f"those of {', '.join(valence)}."
            )
        values[offset] = round(valence[materials[1]] - valence[materials[0]], 6)
        why = (
            "not of this paper: difference of recommended valence-band offsets, which are uncertain by a tenth of an eV"
        )
    state += ((offset, why),)
    second = tuple((s, shell, (*c, (offset, 1.0))) for s, shell, c in parts[1]["onsite"])
    onsite = _split(anions[0], cations, parts[0]["onsite"], second)
    coupled = bool(parts[0]["spin_orbit"] and parts[1]["spin_orbit"])
    spin_orbit = _split(anions[0], cations, *(p["spin_orbit"] if coupled else () for p in parts))
    orbitals = tuple(dict((*parts[0]["orbitals"], *parts[1]["orbitals"])).items())
    spec = TableSpec(
        data["name"], "-".join(materials), data["citation"], tuple(s for s, _ in orbitals), orbitals, onsite[0],
        spin_orbit[0], bonds, None, (), state, "the common anion is the mean over its neighbours",
        tuple((species, 4) for species, _ in orbitals), onsite[1], spin_orbit[1],
    )  # fmt: skip
    return values, spec


def _split(anion: str, cations: list[str], first: tuple, second: tuple) -> tuple[tuple, tuple]:
    """Entries by species, with the mean for the anion, and the anion's entries by neighbour."""
    own = tuple(entry for entry in (*first, *second) if entry[0] != anion)
    by_neighbour = tuple(
        (anion, cation, shell, c)
        for cation, entries in zip(cations, (first, second), strict=True)
        for species, shell, c in entries
        if species == anion
    )
    shells = dict.fromkeys(shell for _, _, shell, _ in by_neighbour)
    mean = tuple(
        (anion, shell, tuple((n, factor / 2) for _, _, s, c in by_neighbour if s == shell for n, factor in c))
        for shell in shells
    )
    return (*mean, *own), by_neighbour
