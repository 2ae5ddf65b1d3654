"""Files of site vectors: parts while they are computed, one table in the end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from corpora.crystal import Crystal
from matminer_unate.errors import InputError
from matminer_unate.io.whole_files import fresh_file

SiteVectors = NDArray[np.float32]
"""(n_sites, k)"""

COLUMNS = ["identifier", "n_sites", "values"]
"""What a file of site targets has at least, a row a crystal."""

DIGEST = "digest"
"""Column of ``Crystal.digest``, by which vectors are told that are of other structures."""


def about_site_targets(path: str | Path) -> dict[str, str]:
    """Teacher, version and command of a file, or folder of parts, empty where it does not say."""
    found: dict[str, str] = json.loads(
        (pq.read_schema(_files_of(Path(path))[0]).metadata or {}).get(b"site_targets", b"{}")
    )
    return found


# The file: one row a crystal, in row groups of a few hundred


def parts_folder(out: Path) -> Path:
    return out.with_name(out.name + ".parts")


def write_part(
    path: Path, known: Sequence[tuple[Crystal, SiteVectors]], about: dict[str, str]
) -> None:
    """Write vectors of some crystals; the file is there whole or not at all."""
    widths = {v.shape[1] for _, v in known}
    if len(widths) > 1:
        raise InputError(f"the teacher gave vectors of different lengths, {sorted(widths)}")
    sizes = [v.size for _, v in known]
    # 16 bits: the rounding, 5e-4 of a value, is far below the error of any student.
    values = np.concatenate([v.astype(np.float16).ravel() for _, v in known])
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    table = pa.table(
        {
            "identifier": pa.array([c.identifier for c, _ in known], pa.string()),
            DIGEST: pa.array([c.digest for c, _ in known], pa.string()),
            "n_sites": pa.array([len(v) for _, v in known], pa.int32()),
            "n_targets": pa.array([v.shape[1] for _, v in known], pa.int32()),
            "values": pa.ListArray.from_arrays(pa.array(offsets), pa.array(values)),
        }
    )
    table = table.replace_schema_metadata({"site_targets": json.dumps(about)})
    with fresh_file(path) as fresh:
        pq.write_table(table, fresh, compression="zstd")


def join(out: Path, about: dict[str, str]) -> int:
    """Make one file of what was there and the parts; returns its number of crystals."""
    files = finished_files(out)
    if not files:
        raise InputError("the teacher could judge none of the crystals; nothing is written")
    schema = pq.read_schema(files[0]).with_metadata({"site_targets": json.dumps(about)})
    done: set[str] = set()  # a join that was killed may have left parts beside their table
    with fresh_file(out) as fresh, pq.ParquetWriter(fresh, schema, compression="zstd") as writer:
        for file in files:
            source = pq.ParquetFile(file)
            for group in range(source.num_row_groups):
                table = source.read_row_group(group).cast(schema)
                names = table["identifier"].to_pylist()
                if not done.isdisjoint(names):
                    table = table.filter(pa.array([name not in done for name in names]))
                writer.write_table(table)
                done.update(names)
    shutil.rmtree(parts_folder(out))
    return len(done)


def finished_files(out: Path) -> list[Path]:
    parts = sorted(parts_folder(out).glob("part-*.parquet"))
    return [out, *parts] if out.is_file() else parts


def identifiers_done(out: Path, about: dict[str, str], crystals: Sequence[Crystal]) -> set[str]:
    """Crystals in the file and its parts, which must be of the same teacher and version.

    Raises
    ------
    InputError
        They are not, or hold one of these crystals with another structure.
    """
    digests = {crystal.identifier: crystal.digest for crystal in crystals}
    done: set[str] = set()
    for file in finished_files(out):
        metadata = open_parquet(file).schema_arrow.metadata or {}
        made_by = json.loads(metadata.get(b"site_targets", b"{}"))
        if any(made_by.get(key) != value for key, value in about.items()):
            raise InputError(
                f"{file} was made by {made_by.get('teacher')}, {made_by.get('version')}, and not "
                f"by {about['teacher']}, {about['version']}; give another --out or delete it"
            )
        if DIGEST not in pq.read_schema(file).names:
            raise InputError(
                f"{file} does not say which structures it is of; delete it and make it anew"
            )
        table = pq.read_table(file, columns=["identifier", DIGEST])
        _check_digests(file, table, digests)
        done.update(table["identifier"].to_pylist())
    return done


def _check_digests(file: Path, table: pa.Table, digests: Mapping[str, str]) -> None:
    """Refuse vectors of structures that are other ones by now."""
    pairs = zip(table["identifier"].to_pylist(), table[DIGEST].to_pylist(), strict=True)
    for identifier, digest in pairs:
        if digests.get(identifier, digest) != digest:
            raise InputError(
                f"{file} is of another structure named {identifier}: the data were changed since "
                "it was made; delete it and make it anew"
            )


def open_parquet(file: Path) -> pq.ParquetFile:
    """Open a file, or say which one is damaged."""
    try:
        return pq.ParquetFile(file)
    except pa.ArrowException as e:
        raise InputError(f"{file} is no readable Parquet file ({e}); delete or make it anew") from e


def read_site_targets(
    path: str | Path,
    wanted: Container[str] | None = None,
    digests: Mapping[str, str] | None = None,
) -> dict[str, SiteVectors]:
    """Read a teacher's site vectors.

    Parameters
    ----------
    path : str or Path
        A file made by this script, or the folder of parts of an unfinished one. Any parquet file
        with the columns ``identifier``, ``n_sites`` and ``values`` (a list of n_sites · k numbers,
        site by site) will do.
    wanted : container of str, optional
        Keep the vectors of these crystals only.
    digests : mapping of str to str, optional
        ``Crystal.digest`` by identifier. A file that has a column of them is to agree.

    Returns
    -------
    dict of str to (n_sites, k) float32
        By the crystals' identifiers. Without ``wanted``, the arrays are views of one array a row
        group, so the memory is that of the numbers.

    Raises
    ------
    InputError
        The file is missing, damaged or without values, a column is missing, a row holds infinite
        values or not as many for each of its sites as the other rows, an identifier comes twice, or
        a row is of another structure than its crystal's.
    """
    path = Path(path)
    targets: dict[str, SiteVectors] = {}
    width: int | None = None
    seen: set[str] = set()
    any_known = False
    for file in _files_of(path):
        source = _open_site_targets(file)
        for group in range(source.num_row_groups):
            compared = digests is not None and DIGEST in source.schema_arrow.names
            names = [*COLUMNS, *([DIGEST] if compared else [])]
            table = source.read_row_group(group, columns=names).combine_chunks()
            if compared:
                _check_digests(file, table, digests or {})
            for identifier, vectors in _rows(file, table, width) if table.num_rows else ():
                if identifier in seen:
                    raise InputError(f"{file}: {identifier} comes twice; drop one of the rows")
                if np.isinf(vectors).any():
                    raise InputError(f"{file}: {identifier} has infinite values; drop its row")
                seen.add(identifier)
                width, any_known = vectors.shape[1], any_known or bool(np.isfinite(vectors).any())
                if wanted is None:
                    targets[identifier] = vectors
                elif identifier in wanted:
                    targets[identifier] = vectors.copy()
    if not any_known:
        raise InputError(f"{path} holds no values; make it again with training/teachers.py")
    return targets


def _files_of(path: Path) -> list[Path]:
    """The file, or the parts of an unfinished one."""
    files = sorted(path.glob("part-*.parquet")) if path.is_dir() else [path]
    if files and files[0].is_file():
        return files
    unfinished = parts_folder(path)
    cure = "make it with training/teachers.py"
    if unfinished.is_dir():
        cure = f"its run is unfinished: repeat its command, or read {unfinished}"
    raise InputError(f"no site targets at {path}; {cure}")


def _open_site_targets(file: Path) -> pq.ParquetFile:
    source = open_parquet(file)
    missing = [name for name in COLUMNS if name not in source.schema_arrow.names]
    if missing:
        raise InputError(f"{file} has no column {missing[0]!r}, so holds no site targets")
    kind = source.schema_arrow.field("values").type
    number = pa.types.is_list(kind) and (
        pa.types.is_floating(kind.value_type) or pa.types.is_null(kind.value_type)
    )
    if source.metadata.num_rows and not number:
        raise InputError(f"{file}: 'values' holds {kind} and not lists of numbers")
    return source


def _rows(file: Path, table: pa.Table, width: int | None) -> Iterator[tuple[str, SiteVectors]]:
    """Identifier and vectors of each row, of ``width`` values a site if that is known."""
    lists = table["values"].combine_chunks()
    flat = lists.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
    lengths = lists.value_lengths().to_numpy(zero_copy_only=False)
    sizes = table["n_sites"].to_numpy()
    starts = np.cumsum(lengths) - lengths
    rows = zip(table["identifier"].to_pylist(), sizes, starts, lengths, strict=True)
    for identifier, size, start, length in rows:
        width = int(length // max(size, 1)) if width is None else width
        if length != size * width or not length:
            raise InputError(
                f"{file}: {identifier} has {length} values for {size} sites, expected {width} for "
                "each; make the file again"
            )
        yield identifier, flat[start : start + length].reshape(size, width)
