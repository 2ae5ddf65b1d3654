"""Files, folders, tables and databases → a DataFrame of structures, for use in Python."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from matminer_unate.cif.reading import SITE_TOLERANCE
from matminer_unate.errors import InputError, StructureError, warn_user
from matminer_unate.io.databases import is_database
from matminer_unate.io.readers import iter_inputs
from matminer_unate.io.tables import EXACT, plain, plain_text

if TYPE_CHECKING:
    import pandas as pd

    from matminer_unate.io.input_rows import InputRow

STRUCTURE = "structure"
"""Column of what was read."""


def read_structures(
    paths: str | PathLike[str] | Iterable[str | PathLike[str]],
    column: str | None = None,
    *,
    on_error: Literal["raise", "nan"] = "raise",
    accept_doubtful: bool = False,
    site_tolerance: float = SITE_TOLERANCE,
) -> pd.DataFrame:
    """Read all crystals of files, folders, archives, tables or a database, as ``unate`` does.

    Parameters
    ----------
    paths : path, or iterable of them
        CIF, POSCAR or pymatgen JSON files, folders and archives of them, tables (Parquet, CSV,
        JSON lines) with a column of structures, ASE's files, patterns as ``parts/*.parquet``, or a
        database by name, as ``"jarvis:dft_3d"``; ``unate featurize --help`` lists them all.
    column : str, optional
        The column of structures in tables; by default it is found by its name.
    on_error : {"raise", "nan"}
        What a crystal that cannot be read does: stop with an error that names it, or be None in
        its row, with one warning with the count.
    accept_doubtful : bool
        Take crystals that may be others than their files mean, as a CIF without the hydrogens that
        its formula has, with one warning; by default these cannot be read.
    site_tolerance : float, Å
        Of CIFs: images of an atom under symmetry that are nearer than this are one atom.

    Returns
    -------
    DataFrame
        A row a crystal, in the order of the input: ``structure`` (pymatgen Structure), then the
        other columns of numbers and texts that a table has. Its index, ``id``, is the path of a
        file, or what the table calls the row. Sites of mixed or partial occupancy are kept;
        featurizers and models say what they make of them (``disorder``).

    Raises
    ------
    InputError
        A path is missing or nothing that can be read, or an option is wrong.
    StructureError
        A crystal cannot be read; the message names its place.

    Examples
    --------
    >>> from matminer_unate import read_structures
    >>> read_structures("my_cifs/")  # doctest: +SKIP
    """
    import pandas as pd

    if on_error not in ("raise", "nan"):
        raise InputError(f"on_error must be 'raise' or 'nan', got {on_error!r}")
    alone = isinstance(paths, str | PathLike)
    some: list[Any] = [paths] if alone else list(paths)  # type: ignore[arg-type]
    names = [str(path) if is_database(str(path)) else Path(path).expanduser() for path in some]
    found = iter_inputs(
        names, column, accept_doubtful=accept_doubtful, site_tolerance=site_tolerance
    )
    rows = list(found)
    failed = [row for row in rows if row.error is not None]
    if failed and on_error == "raise":
        more = f"\n{len(failed) - 1} more cannot be read either. " if len(failed) > 1 else "\n"
        raise StructureError(
            f"{failed[0].place}: {failed[0].error}{more}To go on without such crystals, pass "
            "on_error='nan'."
        )
    _warn(failed, len(rows), "could not be read and have no structure")
    _warn([row for row in rows if row.doubts], len(rows), "may be other crystals than is meant")
    _warn([row for row in rows if row.notes], len(rows), "were read with a remark")
    others = dict.fromkeys(name for row in rows for name in row.carried)
    if STRUCTURE in others:
        raise InputError(
            f"the input has a column {STRUCTURE!r} that holds something else than the crystals, "
            "whose column is so named in the result; rename it"
        )
    columns = {name: _column([row.carried.get(name) for row in rows]) for name in others}
    crystals = pd.Series([row.structure for row in rows], dtype=object)
    table = pd.DataFrame({STRUCTURE: crystals, **columns})
    return table.set_axis([row.identifier for row in rows]).rename_axis("id")


def _column(values: list[Any]) -> pd.Series:
    """Cells of a column; whole numbers stay so beside empty cells, and keep all digits."""
    import pandas as pd

    cells = [_cell(value) for value in values]
    known = [cell for cell in cells if cell is not None]
    whole = [c for c in known if isinstance(c, int) and not isinstance(c, bool)]
    kind = None
    if len(whole) == len(known) < len(cells) and known:
        kind = "Int64" if all(-(2**63) <= c < 2**63 for c in whole) else "object"
    elif len(whole) < len(known) and any(abs(c) > EXACT for c in whole):
        kind = "object"  # pandas would make floats of them
    return pd.Series(cells, dtype=kind)


def _cell(value: Any) -> Any:
    try:
        return plain(value)
    except (ValueError, OverflowError):  # times that Python's have no room for
        return plain_text(value)


def _warn(rows: list[InputRow], n: int, what: str) -> None:
    if rows:
        first = rows[0]
        reason = first.error or "; ".join((*first.doubts, *first.notes))
        warn_user(f"{len(rows)} of {n} crystals {what}; the first is {first.place}: {reason}")
