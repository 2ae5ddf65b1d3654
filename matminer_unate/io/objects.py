"""Whatever object stands for a crystal (pymatgen, ASE, dicts, text) → pymatgen Structure."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

import numpy as np

from matminer_unate.errors import StructureError

_ONE_A_ROW = "each row holds one structure; a list of sites becomes one with Structure.from_sites"

SHOWN_TEXT = 40
"""Characters of a text that is no structure."""

_CURES: dict[type, str] = {
    str: (
        "read files first, with matminer_unate.read_structures or Structure.from_file; formulas "
        "alone are for UnateCompositionFeaturizer"
    ),
    bytes: "decode and parse it first with Structure.from_str",
    PurePath: "read it first, with matminer_unate.read_structures or Structure.from_file",
    list: _ONE_A_ROW,
    tuple: _ONE_A_ROW,
    np.ndarray: _ONE_A_ROW,
    object: "convert it to a Structure, or drop this row",
}
"""By kind of input, the first that fits."""


def as_structure(crystal: Any) -> Any:
    """Structure of whatever stands for one; raises StructureError with the cure."""
    from pymatgen.core import IMolecule, IStructure

    if isinstance(crystal, IStructure):
        return crystal
    if _is_missing(crystal):
        raise StructureError("the structure is missing (None or NaN); drop or fill this row")
    if isinstance(crystal, dict) or (isinstance(crystal, str) and is_structure_text(crystal)):
        return _from_content(crystal)
    if isinstance(crystal, IMolecule):
        raise StructureError(
            "a Molecule has no lattice; place it in a periodic cell first "
            "(Molecule.get_boxed_structure)"
        )
    # ASE is optional, so its class is known by name.
    if any(c.__module__ == "ase.atoms" and c.__name__ == "Atoms" for c in type(crystal).__mro__):
        return from_ase(crystal)
    cure = next(text for kind, text in _CURES.items() if isinstance(crystal, kind))
    given = f" {crystal[:SHOWN_TEXT]!r}" if isinstance(crystal, str) else ""
    raise StructureError(
        "expected a structure (of pymatgen or ASE, a dict, or the text of a CIF or POSCAR), got "
        f"{type(crystal).__name__}{given}; {cure}"
    )


def is_structure_text(text: str) -> bool:
    """Whether this can only be the content of a file (CIF, POSCAR, JSON), and not its name."""
    return "\n" in text.strip() or text.lstrip().startswith("{")


def _from_content(content: Any) -> Any:
    """Structure of a dict or text, read as a cell of a table is."""
    from matminer_unate.io.parsing import attempt, from_cell

    parsed = attempt(from_cell, content)
    if parsed.error is not None:
        raise parsed.error
    if parsed.doubts:
        raise StructureError(
            f"{'; '.join(parsed.doubts)}; if it is right all the same, read it with "
            "Structure.from_str and pass that"
        )
    return parsed.structure


def _is_missing(value: Any) -> bool:
    """Whether this is None or a NaN of whatever make (NumPy, Decimal, pd.NA, pd.NaT)."""
    import pandas as pd

    return bool(pd.api.types.is_scalar(value) and pd.isna(value))


def from_ase(atoms: Any) -> Any:
    """Structure of ``ase.Atoms``; raises StructureError unless they are an ordered crystal."""
    from pymatgen.io.ase import AseAtomsAdaptor

    cell = np.asarray(atoms.cell)
    if np.isfinite(cell).all() and np.linalg.matrix_rank(cell) < 3:
        raise StructureError(
            "the ASE Atoms have no cell volume; set atoms.cell and atoms.pbc, or drop this row if "
            "it is a molecule"
        )
    if not all(atoms.pbc):
        raise StructureError("ASE Atoms must be periodic in all directions; set atoms.pbc = True")
    # ASE reads a disordered CIF as its majority species and keeps the truth here.
    for kind, share in (atoms.info.get("occupancy") or {}).items():
        if len(share) != 1 or abs(sum(share.values()) - 1) > 1e-6:
            raise StructureError(
                f"the ASE Atoms are disordered (atoms.info['occupancy'] of kind {kind} is "
                f"{share}); choose an ordered approximant and delete that entry"
            )
    return AseAtomsAdaptor.get_structure(atoms)
