"""Physical constants and the unit conversions that the whole program uses.

Energies are in eV, lengths in Å, wave vectors in 1/Å, temperatures in K, angles in degrees at the
interface and in radians inside formulas.

Source: CODATA 2018 recommended values (exact SI values where the SI defines them): h = 6.62607015e-34 J s,
e = 1.602176634e-19 C, c = 299792458 m/s, k_B = 1.380649e-23 J/K, m_e = 9.1093837015e-31 kg.
"""

import math

PLANCK = 6.62607015e-34  # J s
HBAR_SI = PLANCK / (2 * math.pi)
ELEMENTARY_CHARGE = 1.602176634e-19  # C
SPEED_OF_LIGHT = 299792458.0  # m/s
ELECTRON_MASS = 9.1093837015e-31  # kg

BOLTZMANN = 1.380649e-23 / ELEMENTARY_CHARGE  # eV/K
HBAR2_OVER_2M = HBAR_SI**2 / (2 * ELECTRON_MASS) / ELEMENTARY_CHARGE * 1e20  # eV Å²
HBAR2_OVER_M = 2 * HBAR2_OVER_2M  # eV Å²
K_PER_SQRT_EV = 1.0 / math.sqrt(HBAR2_OVER_2M)  # 0.512317 1/Å per sqrt(eV)
HBAR_C = HBAR_SI * SPEED_OF_LIGHT / ELEMENTARY_CHARGE * 1e10  # eV Å
FWHM_PER_SIGMA = 2 * math.sqrt(2 * math.log(2))
BOHR = 0.529177210903  # Å
HARTREE = 27.211386245988  # eV
GIGAPASCAL = 1e-21 / ELEMENTARY_CHARGE  # eV/Å³
INVERSE_ANGSTROM = (
    "1/angstrom",
    "1/Å",
    "angstrom^-1",
    "Å^-1",
)  # how the unit of a wave vector may be written on an axis
