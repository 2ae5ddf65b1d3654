"""The file of the tight-binding model: free atoms, and two-centre integrals of all their pairs.

``training/tight_binding_tables.py`` makes it. Its metadata say how far what is read from it is from
the integrals themselves.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

FILE = "tight_binding_tables.safetensors"


@cache
def tables() -> dict[str, NDArray]:
    """Arrays of the file by name, read once a process.

    Element k has atomic number k + 1; rows of a shell that an element does not have are zero.

    =========== ============== =====================================================================
    name        shape          what
    =========== ============== =====================================================================
    electrons   (103,)         valence electrons of the neutral atom
    levels      (103, 3)       of its s, p and d orbitals, eV; NaN where there is no shell
    first       (20, 103, R)   of each element as the first of a pair, for the hopping (eV) and the
                               overlap in the ten channels in which ℓ of the first is not above that
                               of the second
    second      (20, 103, R)   of each element as the second
    core        (20, R, R, K)  Σ first[z1] second[z2] core → (K,), coefficients of ``splines``
    splines     (20, K, N)     coefficients of cubic B-splines on even knots in the root of the
                               distance
    =========== ============== =====================================================================
    """
    from safetensors.numpy import load

    arrays = load((files("matminer_unate.physics") / FILE).read_bytes())
    return {name: array.astype(np.float64) for name, array in arrays.items()}
