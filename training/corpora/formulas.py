"""Which part of the data a formula belongs to."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pymatgen.core import Composition

from matminer_unate.crystals.formula import reduced_formula
from matminer_unate.errors import InputError


def formula_part(formula: str) -> str:
    """The part, train 80 / val 10 / test 10, that a reduced formula falls in, in every data set."""
    residue = int(hashlib.sha256(formula.encode()).hexdigest(), 16) % 100
    return "train" if residue < 80 else "val" if residue < 90 else "test"


def read_formulas(path: str) -> frozenset[str]:
    """Reduced formulas of a file.

    Parameters
    ----------
    path : str
        Parquet or CSV with a column ``formula_reduced`` or ``formula``, or text with one formula a
        line. Formulas need not be reduced: Si2O4 stands for SiO2.

    Raises
    ------
    InputError
        The file cannot be read, has no such column, or holds something that is no formula.
    """
    file = Path(path)
    suffix = file.suffix.lower()
    texts: list[Any]
    try:
        if suffix in (".parquet", ".pq"):
            names = pq.read_schema(file).names
            texts = pd.read_parquet(file, columns=[_column(file, names)]).iloc[:, 0].tolist()
        elif suffix in (".csv", ".tsv"):
            # Not pandas, for which the formula NaN is a missing value.
            with file.open(newline="", encoding="utf-8-sig") as lines:
                rows = csv.DictReader(lines, delimiter="\t" if suffix == ".tsv" else ",")
                name = _column(file, rows.fieldnames or [])
                texts = [row[name] for row in rows]
        else:
            texts = [t for line in file.read_text().splitlines() if (t := line.strip())]
    except (OSError, pa.ArrowException, UnicodeDecodeError) as e:
        raise InputError(f"{file}: no readable table or text of formulas ({e})") from e
    if not texts:
        raise InputError(f"{file} holds no formula; leave the option out to exclude none")
    found = set()
    for n, text in enumerate(texts):
        try:
            numbers = _numbers(Composition(text, strict=True))
        except Exception as e:
            raise InputError(
                f"{file}, row {n}: {text!r} is no formula, or not one of fractions that a multiple "
                "makes whole; mend the row"
            ) from e
        found.add(reduced_formula(np.array(numbers)))
    return frozenset(found)


def _numbers(composition: Composition) -> list[int]:
    """Atomic number of each atom; of Li0.5CoO2, those of LiCo2O4."""
    if any(abs(k - round(k)) > 1e-6 for k in composition.values()):
        whole, factor = composition.get_integer_formula_and_factor()
        if any(abs(k / factor - round(k / factor)) > 1e-3 for k in composition.values()):
            raise ValueError("no whole numbers")
        composition = Composition(whole)
    return [z for e, k in composition.items() for z in [e.Z] * round(k)]


def _column(file: Path, names: Sequence[str]) -> str:
    for name in ("formula_reduced", "formula"):
        if name in names:
            return name
    raise InputError(
        f"{file} has no column 'formula_reduced' or 'formula'; it has {', '.join(names)}"
    )
