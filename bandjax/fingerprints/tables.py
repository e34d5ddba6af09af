"""Which materials of a table a structure needs."""

from collections.abc import Sequence
from itertools import combinations

import ase

from bandjax.materials import Table, list_parameters, load_parameters
from bandjax.structure import site_labels
from bandjax.structure.crystal import elements_of


def table_key(atoms: ase.Atoms) -> tuple[str, ...]:
    """What tells a structure's table: ("materials", …) that `info["materials"]` names, or ("species", …)."""
    materials = str(atoms.info.get("materials", "")).split()
    return ("materials", *materials) if materials else ("species", *sorted(set(site_labels(atoms))))


def table_of(kind: tuple[str, ...], name: str) -> Table:
    """The table of that name for what `table_key` tells.

    Raises:
        ValueError: it holds no such material or combination.
    """
    if kind[0] == "species":
        return table_for(kind[1:], name)
    return load_parameters(kind[1] if len(kind) == 2 else kind[1:], name)


def table_for(species: Sequence[str], name: str) -> Table:
    """The table of a set of species: an element, a compound, two elements, or two compounds with a common anion.

    Raises:
        ValueError: the table holds no such combination.
    """
    wanted = set(species)
    if "/" in name:
        material, name = name.split("/", 1)
        return load_parameters(material, name)
    known = [e.material for e in list_parameters() if e.table == name]
    if not known:
        load_parameters("Si", name)  # raises: there is no such table
    parts = {}
    for material in known:
        try:
            parts[material] = set(elements_of(material))
        except ValueError:
            parts[material] = set(load_parameters(material, name).spec.species)
    exact = [m for m, elements in parts.items() if elements == wanted]
    if len(exact) > 1:
        raise ValueError(
            f"Argument `table` must name one material of {name} for {', '.join(sorted(wanted))}, as {exact[0] + '/' + name!r}, but {len(exact)} fit: {', '.join(exact)}."
        )
    if exact:
        return load_parameters(exact[0], name)
    pairs = [p for p in combinations(parts, 2) if parts[p[0]] | parts[p[1]] == wanted]
    reasons = []
    for pair in pairs:
        try:
            return load_parameters(pair, name)
        except ValueError as error:
            reasons.append(str(error))
    raise ValueError(
        f"Table {name} must hold {', '.join(sorted(wanted))} as a material or a pair of materials, but does not"
        f"{' (' + reasons[0] + ')' if reasons else ''}; it has {', '.join(known)}."
    )
