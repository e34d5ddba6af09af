"""Hydrogen beside the elements of a table: one s orbital, and its bond to an element.

A table's file may hold, under "hydrogen", the on-site energy of H and the integrals of its bonds, where they were made
for that table. Values are named by their owner as those of a pair: "H.E_s", "SiH.ss", "SiH.sp".
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from bandjax.materials.table import Bond, Integral, Table, TableSpec

HYDROGEN = "H"


def hydrogen_parts(
    data: Mapping[str, Any], elements: tuple[str, ...], base: Table
) -> tuple[dict[str, float], TableSpec]:
    """Values and meaning of a table with hydrogen, from a file's data and the table without it.

    Only elements with a published bond to hydrogen have one; the others' dangling bonds cannot be filled by it.

    Raises:
        ValueError: hydrogen is not the last element, or the file has no bond of it to any of the elements.
    """
    known = data.get("hydrogen", {})
    bonded = [element for element in base.spec.species if element in known]
    if elements[-1] != HYDROGEN or elements.count(HYDROGEN) > 1 or not bonded:
        have = f"has those of {', '.join(known)} only" if known else "has none"
        raise ValueError(
            f"Table {data['name']} must hold bonds to hydrogen, the last of the elements, for {elements}, but {have}; "
            "`tight_binding(…, dangling_shift=…)` passivates without hydrogen."
        )
    values = {name: float(value) for name, value in base.values.items()}
    spec, bonds, state = base.spec, base.spec.bonds, base.spec.state
    for element in bonded:
        entry, owner = known[element], f"{element}{HYDROGEN}"
        values |= {f"{HYDROGEN}.E_s": entry["values"]["E_s"]}
        values |= {f"{owner}.{name}": value for name, value in entry["values"].items() if name != "E_s"}
        integrals = tuple(
            Integral(shell, "s", "sigma", ((f"{owner}.{_name(shell)}", 1.0),))
            for shell in spec.shells_of(element)
            if _name(shell) in entry["values"]
        )
        bonds += (Bond((element, HYDROGEN), entry["length"], integrals),)
        state += tuple((name, entry["state"]) for name in values if name.startswith((f"{owner}.", f"{HYDROGEN}.")))
    return values, dataclasses.replace(
        spec,
        material=f"{spec.material}-{HYDROGEN}",
        species=(*spec.species, HYDROGEN),
        orbitals=(*spec.orbitals, (HYDROGEN, ("s",))),
        onsite=(*spec.onsite, (HYDROGEN, "s", ((f"{HYDROGEN}.E_s", 1.0),))),
        bonds=bonds,
        state=state,
        neighbours=(*spec.neighbours, (HYDROGEN, 1)),
    )


def _name(shell: str) -> str:
    """How the file names the integral between a shell and hydrogen's s: lower l first, s* before s."""
    return {"s": "ss", "s*": "s*s", "p": "sp", "d": "sd"}[shell]
