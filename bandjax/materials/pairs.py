"""Tables of two elements and the bond between them, for alloys and interfaces.

Values are named by their owner: "Si.E_s", "Ge.V_ss", "SiGe.sapc". The pair's bond comes from the table's own entry or,
where the entry says so, as the mean of the two elements' integrals at the mean bond length. "SiGe.offset" (eV) shifts
every on-site energy of the second element: the offset between the two tables' zeros of energy.
"""

from collections.abc import Mapping
from typing import Any

from bandjax.materials import conventions
from bandjax.materials.table import Bond, DistanceLaw, Integral, TableSpec


def pair_parts(data: Mapping[str, Any], elements: tuple[str, ...]) -> tuple[dict[str, float], TableSpec]:
    """Values and meaning of the pair's table, from a file's data.

    Raises:
        ValueError: the file has no such pair.
    """
    joined = "".join(elements)
    if joined not in data.get("pairs", {}):
        known = ", ".join(data.get("pairs", {})) or "none"
        raise ValueError(f"Table {data['name']} must hold the pair {elements}, but its pairs are: {known}.")
    pair = data["pairs"][joined]
    sp3s = data["convention"] == "vogl sp3s*"
    build = conventions.vogl_sp3s if sp3s else conventions.sp3d5s
    values: dict[str, float] = {}
    orbitals, onsite, spin_orbit, bonds, state = (), (), (), (), ()
    for element in elements:
        entry = data["materials"][element]
        parts = build(element, element, entry["values"], prefix=f"{element}.")
        values |= {f"{element}.{name}": v for name, v in entry["values"].items()}
        orbitals += parts["orbitals"]
        onsite += parts["onsite"]
        spin_orbit += parts["spin_orbit"]
        bonds += (conventions.zincblende_bond(*parts["bond"], lattice_constant=entry["lattice_constant"]),)
        state += tuple((f"{element}.{name}", s) for name, s in entry["uncertain"].items())
    integrals = (conventions.vogl_integrals if sp3s else conventions.sp3d5s_integrals)(False, prefix=f"{joined}.")
    if pair.get("integrals") == "mean":
        own, length = _mean(values, integrals, bonds)
    else:
        own, length = {f"{joined}.{name}": v for name, v in pair["values"].items()}, pair["length"]
    values |= own
    bonds += (Bond((elements[0], elements[1]), length, integrals),)
    state += tuple((name, pair["state"]) for name in own)
    law_values, laws = _laws(data, pair, elements, bonds)
    values |= law_values
    if "band_offset_of_second" in pair:  # on-site shift of the second element, a value of its own
        offset = f"{joined}.offset"
        values[offset] = pair["band_offset_of_second"]
        state += ((offset, pair["band_offset_state"]),)
        onsite = tuple((s, shell, (*c, (offset, 1.0)) if s == elements[1] else c) for s, shell, c in onsite)
    spec = TableSpec(
        data["name"], f"{elements[0]}-{elements[1]}", data["citation"], elements, orbitals, onsite, spin_orbit, bonds,
        None, laws, state, pair.get("note", ""), tuple((element, 4) for element in elements),
    )  # fmt: skip
    return values, spec


def _mean(
    values: Mapping[str, float], integrals: tuple[Integral, ...], bonds: tuple[Bond, ...]
) -> tuple[dict[str, float], float]:
    """Named values of the pair's bond, each the mean of the two elements', and the mean bond length."""
    mean = {}
    for mixed, first, second in zip(integrals, bonds[0].integrals, bonds[1].integrals, strict=True):
        for (name, _), (a, _), (b, _) in zip(mixed.value, first.value, second.value, strict=True):
            mean[name] = (values[a] + values[b]) / 2
    return mean, (bonds[0].length + bonds[1].length) / 2


def _laws(
    data: Mapping[str, Any], pair: Mapping[str, Any], elements: tuple[str, ...], bonds: tuple[Bond, ...]
) -> tuple[dict[str, float], tuple[DistanceLaw, ...]]:
    """Exponents and strain constants of the three bonds, and their law; none where the table has none."""
    if "distance_laws" not in data:
        return {}, ()
    first_law = {element: next(iter(data["distance_laws"][element].values())) for element in elements}
    values, exponents, onsite_values = {}, [], []
    for bond, owner in zip(bonds, (*elements, "".join(elements)), strict=True):
        found = first_law[owner]["exponents"] if owner in first_law else pair["exponents"]
        values |= {f"{owner}.n_{key}": v for key, v in found.items()}
        exponents.append((bond.pair, tuple(f"{owner}.n_{conventions.exponent_name(i)}" for i in bond.integrals)))
    forms = {law.get("onsite_form") for law in first_law.values()}
    form = "niquet2009" if forms == {"niquet2009"} else None  # Boykin's C of mixed bonds are not in the table
    for element in elements:
        constants = {}
        if form is not None:
            constants = first_law[element]["onsite"] | pair.get("foreign_neighbour", {}).get(element, {})
        values |= {f"{element}.{key}": v for key, v in constants.items()}
        onsite_values.append((element, tuple((key, f"{element}.{key}") for key in constants)))
    return values, (DistanceLaw("table", tuple(exponents), form, tuple(onsite_values)),)
