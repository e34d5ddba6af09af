"""Where method "auto" of spectral functions changes from diagonalisation to another route; measured, one CPU core.

| route | taken where | measured |
|---|---|---|
| layered | a stack has this many layers | equal at 16 monolayers of sp3s*, 9 times faster at 64 |
| Chebyshev | orbitals² > this × moments × vectors | 8 to 12 for ten vectors, 24 to 40 for one; 320 to 2,560 orbitals, σ and η alike |

`benchmarks/cases/layered.py` and `chebyshev.py` measure both beside diagonalisation.
"""

CROSSOVER_LAYERS = 16
CROSSOVER_EXPANSION = 25.0
