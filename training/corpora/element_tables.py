"""Element property tables: an input of the encoder beside the species, and a pretext target."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Element

from matminer_unate.physics.elements import magpie_property
from matminer_unate.physics.magpie import MAGPIE

KNOWN = 104
"""Rows below this atomic number are in the tables."""

N_PROPERTIES = {"magpie": 22, "magpie+atomic": 34}


def element_table(name: str) -> NDArray[np.float64]:
    """Properties standardised over the elements, (119, n); row 0 (masked) is zero.

    A value that an element lacks is the mean, 0.

    Parameters
    ----------
    name : {"magpie", "magpie+atomic"}
        The second adds, from the element data of pymatgen: energies of the outermost s, p and d
        orbitals of the free atom (eV; LDA, NIST), first and second ionization energy (log eV),
        electron affinity (eV), mean cationic, mean anionic and van der Waals radius (Å), lowest and
        highest common oxidation state, and their number.
    """
    table = np.stack([magpie_property(column) for column in MAGPIE], axis=1)
    if name == "magpie+atomic":
        rows = [_atomic(z) if 0 < z < KNOWN else [np.nan] * 12 for z in range(119)]
        table = np.hstack([table, np.array(rows)])
    elements = table[1:KNOWN]
    table = (table - np.nanmean(elements, 0)) / np.nanstd(elements, 0)
    table[0] = 0.0
    return np.nan_to_num(table).clip(-4.0, 4.0)


def _atomic(z: int) -> list[float]:
    with warnings.catch_warnings():  # of values that pymatgen does not have
        warnings.simplefilter("ignore")
        e = Element.from_Z(z)
        orbitals = getattr(e, "atomic_orbitals_eV", None) or {}
        outer = [
            max((v for k, v in orbitals.items() if k[-1] == shell), default=np.nan)
            for shell in "spd"
        ]
        ionization = [*e.ionization_energies, None, None][:2]
        states = e.common_oxidation_states
        found = [
            *outer,
            *(np.log(v) if v else np.nan for v in ionization),
            e.electron_affinity,
            float(e.average_cationic_radius) or np.nan,
            float(e.average_anionic_radius) or np.nan,
            e.van_der_waals_radius,
            min(states, default=np.nan),
            max(states, default=np.nan),
            len(states),
        ]
    return [np.nan if v is None else float(v) for v in found]
