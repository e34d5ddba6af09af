"""One module a case, one function `run(size)` in each; sizes are "tiny" (the tests) and "default"."""

CASES = (
    "hamiltonian",
    "spectral",
    "gradient",
    "jacobian",
    "image",
    "fit",
    "memory",
    "layered",
    "surface",
    "chebyshev",
    "stack_fit",
    "surrogate",
    "reconstruction",
    "fingerprints",
)
