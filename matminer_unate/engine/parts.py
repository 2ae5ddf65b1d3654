"""A folder of finished parts with their manifest: what a run has done, whoever stops it.

- ``part-000012.parquet``: the good rows of block 12, where there are any
- ``_errors-000012.csv``: its rows that failed or that there is a remark on, where there are any
- ``_manifest-3-of-8.jsonl``: of shard 3/8 (1/1: of a run that was not shared out), a line that says
  what the run is, then one for each finished part
- ``_manifest.jsonl``: in their place once all is finished, with a last line that says so
- ``_errors.csv``: then, the rows of all tables of errors, in place of these

A part is written under another name and takes its own when it is whole; then its line is written.
Readers of data sets pass over names with ``_`` in front.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from matminer_unate.engine.blocks import Shard
from matminer_unate.engine.computing import Computing
from matminer_unate.engine.identity import differences, input_change
from matminer_unate.engine.locks import living
from matminer_unate.engine.report import Listed, RowReport
from matminer_unate.errors import InputError
from matminer_unate.io.input_rows import InputRow
from matminer_unate.io.whole_files import fresh_file
from matminer_unate.io.writing import PartWriter

FORMAT = 1
"""Of the manifest."""

MANIFEST = "_manifest.jsonl"
ERRORS = "_errors.csv"
ERROR_COLUMNS = ("id", "place", "status", "reason")

_OWN = re.compile(
    r"part-\d{6,}\.parquet|_errors(-\d{6,})?\.csv|_manifest(-\d+-of-\d+)?\.jsonl|"
    r"_lock-\d+-of-\d+(\..*)?|_part-\d{6,}\..*\.tmp|\.(_|part-\d{6,}\.).*\.part"
)
"""Names of runs; other programs write data sets whose first file is part-0.parquet."""

_OF_BLOCK = re.compile(r"(?:part|_errors)-(\d{6,})\.(?:parquet|csv)")
_SHARD_MANIFEST = re.compile(r"_manifest-(\d+)-of-(\d+)\.jsonl")


@dataclass(frozen=True)
class Part:
    """A line of the manifest.

    Attributes
    ----------
    block : int
    items : (int, int)
        Numbers of its items of the input, from and before.
    bytes : int
    sha256 : str
        Of its file; empty where no row is good.
    n_listed : int
        Rows in its table of errors.
    report : dict
        :meth:`RowReport.as_json`.
    """

    block: int
    items: tuple[int, int]
    bytes: int
    sha256: str
    n_listed: int
    report: dict[str, Any]

    @property
    def name(self) -> str:
        return f"part-{self.block:06d}.parquet"

    @property
    def errors_name(self) -> str:
        return f"_errors-{self.block:06d}.csv"

    @property
    def n_rows(self) -> int:
        """Good ones and others."""
        return int(self.report.get("n_good", 0) + self.report.get("n_failed", 0))


def write_part(
    folder: Path,
    block: int,
    items: range,
    rows: Iterable[InputRow],
    computing: Computing,
    schema: pa.Schema,
    tell: Callable[[int], Any] = lambda n: None,
) -> Part:
    """Compute a block and write its files.

    Parameters
    ----------
    folder : Path
    block : int
    items : range
    rows : iterable of InputRow
    computing : Computing
    schema : pyarrow.Schema
        Of the table; what is no column of ``computing`` is carried by the rows.
    tell : callable
        Told the number of rows that were just finished.
    """
    report = RowReport()
    fresh = folder / f"_part-{block:06d}.{socket.gethostname()}.{os.getpid()}.tmp"
    try:
        with PartWriter(fresh, schema) as writer:
            told = 0
            for good, columns in computing.compute(rows, report):
                writer.add(good, columns)
                tell(report.n_good + report.n_failed - told)
                told = report.n_good + report.n_failed
            tell(report.n_good + report.n_failed - told)
        n_bytes, sha256 = 0, ""
        if writer.n_rows:
            content = fresh.read_bytes()
            n_bytes, sha256 = len(content), hashlib.sha256(content).hexdigest()
        span = (items.start, items.stop)
        part = Part(block, span, n_bytes, sha256, len(report.listed), report.as_json())
        if report.listed:
            write_errors(folder / part.errors_name, [report.listed])
        if writer.n_rows:
            fresh.replace(folder / part.name)
    finally:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
    return part


def write_errors(path: Path, parts: Iterable[Iterable[Listed]]) -> None:
    with fresh_file(path) as fresh, fresh.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(ERROR_COLUMNS)
        for rows in parts:
            writer.writerows(rows)


def _read_errors(path: Path) -> list[Listed]:
    # An id, or a reason that has a piece of the input in it, may be of any length.
    csv.field_size_limit(max(csv.field_size_limit(), 2**31 - 1))
    with path.open(encoding="utf-8", newline="") as file:
        return [(r[0], r[1], r[2], r[3]) for r in list(csv.reader(file))[1:]]


@dataclass(frozen=True)
class Manifest:
    """What a manifest says.

    Attributes
    ----------
    path : Path
    shard : Shard
    header : dict
        What the run is.
    parts : tuple of Part
    finished : bool
        Whether it is that of a whole table.
    """

    path: Path
    shard: Shard
    header: dict[str, Any]
    parts: tuple[Part, ...]
    finished: bool

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read one; what a killed process left half written is passed over.

        Raises
        ------
        InputError
            It is damaged, or of another version.
        """
        named = _SHARD_MANIFEST.fullmatch(path.name)
        shard = Shard(*map(int, named.groups())) if named else Shard()
        # What follows the last line end was not written to its end.
        lines = path.read_bytes().split(b"\n")[:-1]
        try:
            contents = [json.loads(line) for line in lines]
            if not contents:
                return cls(path, shard, {}, (), False)
            header = contents[0]["run"]
            if header["format"] != FORMAT:
                raise InputError(
                    f"{path} is of format {header['format']}, this version reads {FORMAT}; go on "
                    "with the version that began it, or pass --overwrite to start anew"
                )
            parts = tuple(
                Part(**{**one["part"], "items": tuple(one["part"]["items"])})
                for one in contents[1:]
                if "part" in one
            )
        except (ValueError, KeyError, TypeError) as e:
            raise InputError(f"{path} is damaged ({e}); pass --overwrite to start anew") from e
        return cls(path, shard, header, parts, "finished" in contents[-1])


class PartsFolder:
    """The folder, as one process sees it.

    Parameters
    ----------
    path : Path
        Of a folder that exists.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._manifest: Path | None = None

    def manifests(self) -> list[Manifest]:
        """All that are there."""
        names = sorted(self.path.glob("_manifest*.jsonl"))
        found = [Manifest.read(path) for path in names if _OWN.fullmatch(path.name)]
        return [manifest for manifest in found if manifest.header]

    def writers(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Locks of the shards that are being written, and by whom."""
        return living(self.path, "_lock-*-of-*")

    def foreign(self) -> list[str]:
        """Names in it that no run has written."""
        return sorted(p.name for p in self.path.iterdir() if not _OWN.fullmatch(p.name))

    def begin(self, header: Mapping[str, Any], shard: Shard, overwrite: bool) -> list[Part]:
        """Begin a run, or go on with it.

        Returns
        -------
        list of Part
            What is finished, whoever did it, by block.

        Raises
        ------
        InputError
            The parts that are there are of another run, or nothing says of which, and they are not
            to be overwritten.
        """
        if not overwrite and not any(self.path.glob("_manifest*")) and self._holds_parts():
            raise InputError(
                f"{self.path} holds parts, but not the manifest that says what they are of; write "
                "elsewhere, or pass --overwrite to replace them"
            )
        if overwrite and self._is_other(header):
            self._check_unheld(shard)
            self.clear()
        if found := self.changes_of(header):
            raise InputError(
                f"{self.path} holds the parts of another run: {'; '.join(found[:5])}. Give the "
                "same to go on with it, or pass --overwrite to start anew"
            )
        for path in self.path.glob("_part-*.tmp"):
            if shard.has(int(path.name.split("-")[1].split(".")[0])):
                path.unlink(missing_ok=True)
        self._manifest = self.path / f"_manifest-{shard.k}-of-{shard.n}.jsonl"
        if not any(manifest.path == self._manifest for manifest in self.manifests()):
            self._manifest.write_bytes(b"")
            self._append({"run": header})
        whole = self._manifest.read_bytes()
        if not whole.endswith(b"\n"):
            with self._manifest.open("r+b") as file:
                file.truncate(whole.rfind(b"\n") + 1)
        return self.parts()

    def changes_of(self, header: Mapping[str, Any]) -> list[str]:
        """What the first run in it that is another than this differs in, by name."""
        found = (changes(manifest.header, header) for manifest in self.manifests())
        return next(filter(None, found), [])

    def _holds_parts(self) -> bool:
        return any(_OF_BLOCK.fullmatch(path.name) for path in self.path.iterdir())

    def _check_unheld(self, shard: Shard) -> None:
        for lock, holder in self.writers():
            if lock.name != f"_lock-{shard.k}-of-{shard.n}":
                raise InputError(
                    f"{self.path} holds the parts of another run, of which process "
                    f"{holder.get('pid')} on {holder.get('host')} is writing one; stop it, or "
                    "write elsewhere"
                )

    def _is_other(self, header: Mapping[str, Any]) -> bool:
        try:
            found = self.manifests()
        except InputError:
            return True
        return any(m.finished or changes(m.header, header) for m in found)

    def parts(self) -> list[Part]:
        """The finished parts whose files are there, by block."""
        by_block = {
            part.block: part
            for manifest in self.manifests()
            for part in manifest.parts
            if self._is_there(part, manifest.finished)
        }
        return [by_block[block] for block in sorted(by_block)]

    def _is_there(self, part: Part, finished: bool) -> bool:
        try:
            if part.sha256 and (self.path / part.name).stat().st_size != part.bytes:
                return False
        except FileNotFoundError:
            return False
        # Those of a finished folder are in one table.
        names = [part.errors_name] + [ERRORS] * finished
        return not part.n_listed or any((self.path / name).is_file() for name in names)

    def add(self, part: Part) -> None:
        """Write the line of a part that is finished."""
        self._append({"part": asdict(part)})

    def abandon(self) -> None:
        """Remove the manifest of this run, if it has no parts, and files that no line names."""
        path = self._manifest
        if path is None or not path.is_file():
            return
        own = Manifest.read(path)
        if own.parts:
            return
        parts = [part for manifest in self.manifests() for part in manifest.parts]
        named = {name for part in parts for name in (part.name, part.errors_name)}
        for file in self.path.iterdir():
            found = _OF_BLOCK.fullmatch(file.name)
            if found and own.shard.has(int(found[1])) and file.name not in named:
                file.unlink(missing_ok=True)
        path.unlink()

    def _append(self, line: dict[str, Any]) -> None:
        if self._manifest is None:
            raise RuntimeError("begin comes first")
        with self._manifest.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def content(self, part: Part, *, remove: bool = False) -> bytes:
        """What is in the file of a part, checked.

        Raises
        ------
        InputError
            It is not what was written. With ``remove``, the file is removed, so that it is made
            anew.
        """
        path = self.path / part.name
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() == part.sha256:
            return content
        if remove:
            path.unlink()
        raise InputError(
            f"{path} was damaged after it was written"
            + (
                ", and is removed; the same command makes it anew and goes on"
                if remove
                else "; remove it, and the command that wrote it makes it anew"
            )
        )

    def tables(self, parts: Iterable[Part]) -> Iterator[pa.Table]:
        """Row groups of the parts, checked; in one thread, which takes half the memory.

        Raises
        ------
        InputError
            The file of a part is not what was written. It is removed, so that it is made anew.
        """
        for part in parts:
            if part.sha256:
                content = self.content(part, remove=True)
                with pq.ParquetFile(pa.BufferReader(content), pre_buffer=False) as file:
                    for group in range(file.num_row_groups):
                        yield file.read_row_group(group, use_threads=False)

    def listed(self, parts: Iterable[Part]) -> Iterator[list[Listed]]:
        """Tables of errors of the parts."""
        for part in parts:
            if part.n_listed:
                path = self.path / part.errors_name
                yield _read_errors(path) if path.is_file() else self._joined_errors[part.block]

    @cached_property
    def _joined_errors(self) -> dict[int, list[Listed]]:
        """The rows of the one table of errors of a finished folder, by block."""
        finished = [part for m in self.manifests() if m.finished for part in m.parts]
        path = self.path / ERRORS
        rows = _read_errors(path) if path.is_file() else []
        if sum(part.n_listed for part in finished) != len(rows) or not rows:
            raise InputError(
                f"{path} is not the table of errors that the run wrote; the command that wrote "
                f"{self.path} makes it anew with --overwrite"
            )
        found, start = {}, 0
        for part in finished:
            found[part.block] = rows[start : start + part.n_listed]
            start += part.n_listed
        return found

    def write_errors(self, path: Path, parts: Iterable[Part]) -> None:
        """All tables of errors as one."""
        write_errors(path, self.listed(parts))

    def finish(self, header: Mapping[str, Any], parts: list[Part]) -> None:
        """Make the folder a data set: one manifest that says that all is there.

        Whatever else runs have written is removed, so that nobody reads it with the parts.
        """
        report = total(parts)
        lines = [{"run": header}, *({"part": asdict(part)} for part in parts)]
        lines.append(
            {"finished": {"parts": len(parts), "rows": report.n_good, "failed": report.n_failed}}
        )
        kept = {MANIFEST} | {part.name for part in parts if part.sha256}
        if any(part.n_listed for part in parts):
            self.write_errors(self.path / ERRORS, parts)
            kept.add(ERRORS)
        # What goes on with the run, should this end here, goes last.
        needed = {path.name for path in self.path.glob("_manifest-*.jsonl")}
        needed |= {part.errors_name for part in parts}
        self._remove_but(kept | needed)
        with fresh_file(self.path / MANIFEST) as fresh:
            fresh.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        self._remove_but(kept)

    def clear(self) -> None:
        """Remove all that runs have written, but locks."""
        self._remove_but(set())

    def _remove_but(self, kept: set[str]) -> None:
        for path in self.path.iterdir():
            own = _OWN.fullmatch(path.name) and not path.name.startswith("_lock")
            if own and path.name not in kept:
                path.unlink(missing_ok=True)


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What two headers differ in, by name."""
    pairs = zip(before.get("inputs", []), now.get("inputs", []), strict=False)
    inputs = [text for old, new in pairs if (text := input_change(old, new))]
    n_before, n_now = len(before.get("inputs", [])), len(now.get("inputs", []))
    if n_before != n_now:
        inputs.append(f"there were {n_before} inputs, and are {n_now}")
    skipped = {"inputs", "n_items", "schema"} if inputs else {"inputs"}
    old, new = ({k: v for k, v in one.items() if k not in skipped} for one in (before, now))
    found = differences(old, new)
    # The columns follow from the other options, whose names say more.
    others = [text for text in found if not text.startswith("schema")]
    return inputs + (others or ["the table has other columns"] * bool(found))


def total(parts: Iterable[Part]) -> RowReport:
    """What happened to the rows of parts."""
    report = RowReport()
    for part in parts:
        report.add(RowReport.from_json(part.report))
    return report
