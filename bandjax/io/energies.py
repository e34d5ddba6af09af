"""What a map's energies are counted from, and the way from kinetic energies to E − E_F.

Equation: E − E_F = E_kin − (hν − φ), with φ the work function that the analyser sees (its own, when it is in
electrical contact with the sample), so that the Fermi edge lies at E_kin = hν − φ.

Source: Damascelli, Hussain, Shen, Rev. Mod. Phys. 75, 473 (2003), section II.
"""

import numpy as np
import xarray as xr

from bandjax import checks
from bandjax.io.axes import plain

REFERENCES = ("fermi", "kinetic")


def find_reference(data: xr.DataArray, source: str) -> xr.DataArray:
    """Note in `energy_reference` whether the energies are "kinetic" or E − E_F ("fermi"); turn binding energies round.

    What the axis itself says comes first (its name, `long_name`, `type`), then what the file says of its energy scale.
    Where neither says anything, or the file says "kinetic" of energies below zero (left behind by a program that
    shifted them), the sign decides: kinetic energies are positive, E − E_F reaches below zero. A binding energy that
    is positive below the Fermi level changes its sign (noted in `binding_energy_turned`).

    Raises:
        ValueError: `energy_reference` is another word, or an axis labelled kinetic goes below zero.
    """
    if "energy" not in data.dims:
        return data
    if "energy_reference" in data.attrs:
        found = data.attrs["energy_reference"]
        if found not in REFERENCES:
            raise ValueError(
                f"{source} must have an attribute `energy_reference` among {REFERENCES}, but has {found!r}."
            )
        return data
    axis = data["energy"]
    low, high = float(axis.min()), float(axis.max())
    said = _word(axis.attrs.get(key) for key in ("label", "long_name", "type"))
    if said == "kinetic" and low < 0:
        raise ValueError(f"{source} must have kinetic energies ≥ 0 as its axis says, but they begin at {low:g} eV.")
    if said is None:
        said = _word(data.attrs.get(key) for key in ("Energy Scale", "Energy Axis", "eV_type", "energy_scale"))
        if said == "kinetic" and low < 0:
            said = None
    if said is None:
        said = "fermi" if low < 0 else "kinetic"
        data = data.assign_attrs(energy_reference_note="not stated; taken from the sign of the energies")
    if said == "binding":
        said = "fermi"
        if abs(high) > abs(low):
            data = data.assign_coords(energy=("energy", -axis.values, axis.attrs))
            data = data.assign_attrs(binding_energy_turned=1)
    return data.assign_attrs(energy_reference=said)


def to_fermi(
    data: xr.DataArray,
    *,
    photon_energy: float | None = None,
    work_function: float | None = None,
    fermi_kinetic: float | None = None,
) -> xr.DataArray:
    """Shift kinetic energies to E − E_F.

    Args:
        data: A map whose attribute `energy_reference` is "kinetic".
        photon_energy: In eV; None takes the attribute of that name.
        work_function: Of the analyser, in eV; None takes the attribute of that name.
        fermi_kinetic: Kinetic energy of the Fermi level in eV, from a Fermi edge; given instead of the other two. None
            takes the attribute `fermi_level_kinetic` where neither of the others is given.

    Returns:
        The map with energies E − E_F, `energy_reference` = "fermi" and the level used in `fermi_level_kinetic`.

    Raises:
        ValueError: The energies are not kinetic, hν or φ is missing or not > 0, both ways are given, or hν is an axis.
    """
    if data.attrs.get("energy_reference") != "kinetic" or "energy" not in data.dims:
        found = data.attrs.get("energy_reference", "not stated")
        raise ValueError(f"Argument `data` must have kinetic energies, but its `energy_reference` is {found!r}.")
    if "hv" in data.dims:
        raise ValueError("Argument `data` must have one photon energy, but has an axis `hv`: convert map by map.")
    given = photon_energy is not None or work_function is not None
    if fermi_kinetic is not None and given:
        raise ValueError(
            "Argument `fermi_kinetic` must be given alone, but `photon_energy` or `work_function` is given too."
        )
    if fermi_kinetic is None and not given:
        fermi_kinetic = data.attrs.get("fermi_level_kinetic")
    if fermi_kinetic is None:
        photon_energy = data.attrs.get("photon_energy") if photon_energy is None else photon_energy
        work_function = data.attrs.get("work_function") if work_function is None else work_function
        for name, value in (("photon_energy", photon_energy), ("work_function", work_function)):
            if value is None:
                raise ValueError(
                    f"Argument `{name}` must be given in eV, but the map has no attribute of that name either; "
                    "`fermi_kinetic` serves instead."
                )
            checks.positive(name, value, "eV")
        fermi_kinetic = float(photon_energy) - float(work_function)  # type: ignore[arg-type]
    checks.positive("fermi_kinetic", fermi_kinetic, "eV")
    axis = data["energy"]
    notes = {**axis.attrs, "long_name": "E - E_F", "label": "energy"}
    shifted = data.assign_coords(energy=("energy", np.asarray(axis.values) - float(fermi_kinetic), notes))
    return shifted.assign_attrs(energy_reference="fermi", fermi_level_kinetic=float(fermi_kinetic))


def _word(texts: object) -> str | None:
    for text in texts:  # type: ignore[attr-defined]
        found = plain(text)
        if "kinetic" in found or found == "ekin":
            return "kinetic"
        if "binding" in found or found == "ebin":
            return "binding"
        if "eef" in found or "fermi" in found or "eminusef" in found:
            return "fermi"
    return None
