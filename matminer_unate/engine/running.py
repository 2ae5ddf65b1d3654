"""A run: what is not finished is computed, part by part, and the parts become one table."""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from matminer_unate.engine.blocks import PART_ROWS, Blocks, Shard, parsed
from matminer_unate.engine.cluster import Plan, cluster_parts
from matminer_unate.engine.computing import Computing, Options
from matminer_unate.engine.identity import FileStates, input_identities
from matminer_unate.engine.locks import locked
from matminer_unate.engine.parts import (
    FORMAT,
    MANIFEST,
    Part,
    PartsFolder,
    total,
    write_part,
)
from matminer_unate.engine.report import RowReport
from matminer_unate.errors import InputError
from matminer_unate.io.input_rows import Source
from matminer_unate.io.whole_files import fresh_file
from matminer_unate.io.writing import carried_types, join_tables, table_schema

SUFFIXES = (".parquet", ".csv")


class Progress(Protocol):
    """What is told how far a run is."""

    def stage(self, name: str, total: int | None = None) -> None: ...

    def update(self, n: int = 1) -> None: ...


@dataclass(frozen=True)
class Target:
    """Where the table goes.

    Attributes
    ----------
    out : Path
        A file (.parquet, .csv), or a folder that becomes a data set of Parquet files.
    errors : Path or None
        A CSV file of the rows that failed or that there is a remark on.
    """

    out: Path
    errors: Path | None = None

    @property
    def is_folder(self) -> bool:
        return not self.out.suffix

    @property
    def suffix(self) -> str:
        return self.out.suffix.lower() or ".parquet"

    @property
    def parts(self) -> Path:
        """The folder of finished parts: beside the file, or the folder itself."""
        return self.out if self.is_folder else self.out.with_name(f"{self.out.name}.parts")

    def check(
        self, inputs: Sequence[str | Path], overwrite: bool, shard: Shard | None = None
    ) -> None:
        """Find what is wrong with the files to be written before any work is done.

        Raises
        ------
        InputError
            With the cure.
        """
        if self.out.suffix.lower() not in ("", *SUFFIXES):
            raise InputError(
                f"--out {self.out}: the name must end in .parquet or .csv, or have no ending: then "
                "it is a folder of Parquet files"
            )
        if self.errors is not None and self.errors.suffix.lower() != ".csv":
            raise InputError(f"--errors {self.errors}: the name must end in .csv")
        if self.errors is not None and shard is not None and shard.n > 1:
            raise InputError(
                f"--errors {self.errors}: of shards, each would replace the file of the others; "
                "leave it out, and give it to unate merge, which writes the rows of all of them"
            )
        targets = [path for path in (self.out, self.errors) if path is not None]
        given = {path.resolve() for path in inputs if isinstance(path, Path)}
        for path in targets:
            is_folder = path == self.out and self.is_folder
            if path.resolve() in given:
                raise InputError(f"{path} is an input too; write to another file")
            if path.is_dir() and not is_folder:
                raise InputError(f"{path} is a folder; name a file in it")
            if is_folder and path.is_dir():
                self._check_folder(overwrite)
            elif path.exists() and not overwrite:
                raise InputError(f"{path} exists; pass --overwrite to replace it")
            if not path.absolute().parent.is_dir():
                raise InputError(
                    f"the folder {path.absolute().parent} does not exist; create it first"
                )
        if len({path.resolve() for path in targets}) < len(targets):
            raise InputError("--out and --errors are the same file; name two")

    def _check_folder(self, overwrite: bool) -> None:
        foreign = PartsFolder(self.out).foreign()
        if foreign:
            raise InputError(
                f"{self.out} holds files that no run has written, as {foreign[0]}; name a new "
                "folder"
            )
        if (self.out / MANIFEST).exists() and not overwrite:
            raise InputError(f"{self.out} holds a finished table; pass --overwrite to replace it")


@dataclass
class Outcome:
    """What came of a run.

    Attributes
    ----------
    report : RowReport
        Of all rows, those of earlier processes among them.
    n_before : int
        Rows that were finished before.
    is_whole : bool
        Whether the table is written, and not only a shard of its parts.
    """

    report: RowReport
    n_before: int
    is_whole: bool


@dataclass
class Run:
    """One command: inputs, what is computed of them, and where it goes.

    Attributes
    ----------
    sources : list of Source
    options : Options
    computing : Computing
        What ``options`` load.
    target : Target
    reading : dict
        Options of the reading that rows depend on.
    stage : str
        What the progress says that is done.
    shard : Shard
    part_rows : int
    overwrite : bool
    must_resume : bool
        Whether it is an error that there is nothing to go on with.
    seen : FileStates or None
        The files of the sources, as they were when these were opened; by default, as they are now.
    say : callable
        Is told lines for people.
    """

    sources: list[Source]
    options: Options
    computing: Computing
    target: Target
    reading: dict[str, Any] = field(default_factory=dict)
    stage: str = "computing"
    shard: Shard = field(default_factory=Shard)
    part_rows: int = PART_ROWS
    overwrite: bool = False
    must_resume: bool = False
    seen: FileStates | None = None
    say: Callable[[str], Any] = lambda text: None

    def __post_init__(self) -> None:
        self.states = self.seen or FileStates(self.sources)
        self.blocks = Blocks(self.sources, self.part_rows)
        carried = carried_types(self.sources)
        computing = self.computing
        new = [*computing.carried, *computing.labels]
        taken = [name for name in new if name in carried and name not in computing.replaces]
        if taken:
            raise InputError(f"the input has a column {taken[0]!r} already; {computing.cure}")
        carried |= {name: pa.type_for_alias(kind) for name, kind in computing.carried.items()}
        made_by = {"matminer_unate": json.dumps(computing.made_by)}
        self.schema = table_schema(carried, computing.labels, self.target.suffix, made_by)

    def header(self) -> dict[str, Any]:
        """What the run is: with another header, its parts would be others."""
        columns = self.schema.remove_metadata().serialize().to_pybytes()
        return {
            "format": FORMAT,
            "made_by": self.computing.made_by,
            "reading": self.reading,
            "inputs": input_identities(self.sources),
            "n_items": self.blocks.n_items,
            "part_rows": self.part_rows,
            "schema": hashlib.sha256(columns).hexdigest(),
        }

    def __call__(self, bar: Progress, cluster: str | None = None) -> Outcome:
        """Compute what is not finished, and write the table.

        Parameters
        ----------
        bar : Progress
        cluster : str, optional
            Compute on Dask: the address of a scheduler, or empty for workers on this machine.

        Raises
        ------
        InputError
            The parts that are there are of another run, or written by another process; the disk is
            full; an input changed while it was read; or finished parts are gone.
        KeyboardInterrupt
            With what is kept.
        """
        header, path = self.header(), self.target.parts
        with (
            parts_folder(path) as folder,
            held(path, self.shard, self.say),
            told_what_is_kept(folder),
        ):
            n_before = self._compute(folder, header, bar, cluster)
            parts = folder.parts()
            check_none_gone(folder, self.blocks.of(self.shard), parts)
            report = total(part for part in parts if self.shard.has(part.block))
            if self.shard.n == 1:
                bar.stage("writing the table")
                write_whole(folder, header, parts, self.target, self.schema)
        return Outcome(report, n_before, self.shard.n == 1)

    def _compute(
        self, folder: PartsFolder, header: dict[str, Any], bar: Progress, cluster: str | None
    ) -> int:
        if self.must_resume and not folder.manifests():
            raise InputError(
                f"{folder.path} holds no unfinished parts to go on with; leave --resume out"
            )
        finished = folder.begin(header, self.shard, self.overwrite)
        done = {part.block for part in finished}
        mine = self.blocks.of(self.shard)
        wanted = [block for block in mine if block not in done]
        n_before = sum(part.n_rows for part in finished if self.shard.has(part.block))
        if done & set(mine):
            self.say(
                f"going on with {folder.path}: {len(mine) - len(wanted):,} of {len(mine):,} parts "
                f"({n_before:,} rows) are finished"
            )
        bar.update(n_before)
        bar.stage(self.stage, sum(len(self.blocks.items_of(block)) for block in mine))
        for part in self._parts(wanted, folder.path, bar, cluster):
            self.states.check(self.blocks.pieces(part.block))
            folder.add(part)
        self.states.check()
        return n_before

    def _parts(
        self, wanted: Sequence[int], path: Path, bar: Progress, cluster: str | None
    ) -> Iterator[Part]:
        parsers = tuple(source.parse for source in self.sources)
        if cluster is not None:
            where = str(path.resolve())
            plan = Plan(self.options, self.computing.made_by, self.schema, where, parsers)
            yield from cluster_parts(plan, self.blocks, wanted, cluster, self.say, bar.update)
            return
        for block, contents in self.blocks.contents(wanted):
            rows, items = parsed(parsers, contents), self.blocks.items_of(block)
            yield write_part(path, block, items, rows, self.computing, self.schema, bar.update)


def check_none_gone(folder: PartsFolder, blocks: Iterable[int], parts: Sequence[Part]) -> None:
    """See that all blocks have parts whose files are there.

    Raises
    ------
    InputError
        Another program has removed some, or cut them short.
    """
    n_gone = len(set(blocks) - {part.block for part in parts})
    if n_gone:
        raise InputError(
            f"{folder.path} lacks the files of {n_gone:,} finished part(s), or they were cut short "
            "since; the same command makes them anew"
        )


def write_whole(
    folder: PartsFolder,
    header: dict[str, Any],
    parts: list[Part],
    target: Target,
    schema: pa.Schema,
) -> None:
    """All parts → the table, and the table of errors; the parts of a file are removed."""
    if target.errors is not None:
        folder.write_errors(target.errors, parts)
    full = [part for part in parts if part.sha256]
    if target.is_folder:
        if full:
            folder.finish(header, parts)
        else:
            folder.clear()
        return
    if len(full) == 1 and target.suffix == ".parquet":
        next(folder.tables(full))  # is it whole?
        (folder.path / full[0].name).replace(target.out)
    elif full:
        with fresh_file(target.out) as fresh:
            n_bytes = sum(part.bytes for part in full)
            join_tables(folder.tables(full), fresh, target.suffix, schema, n_bytes)
    folder.clear()


@contextmanager
def parts_folder(path: Path) -> Iterator[PartsFolder]:
    """The folder of parts, made if need be; it goes again unless there is something to keep."""
    try:
        path.mkdir(exist_ok=True)
        yield PartsFolder(path)
    finally:
        with suppress(OSError):  # it is not empty
            path.rmdir()


@contextmanager
def held(path: Path, shard: Shard, say: Callable[[str], Any]) -> Iterator[None]:
    """Keep other processes from the blocks of a shard.

    Raises
    ------
    InputError
        One of them is at work on these.
    """
    own = path / f"_lock-{shard.k}-of-{shard.n}"
    with locked(own, say):
        for lock, holder in PartsFolder(path).writers():
            k, n = lock.name.removeprefix("_lock-").split("-of-")
            if lock != own and n.isdecimal() and shard.meets(Shard(int(k), int(n))):
                raise InputError(
                    f"process {holder.get('pid')} on {holder.get('host')} is writing shard {k}/{n} "
                    f"to {path}; wait for it, or write elsewhere"
                )
        yield


@contextmanager
def told_what_is_kept(folder: PartsFolder) -> Iterator[None]:
    """Where a run ends early, say what of it is kept, and how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_kept(folder) or "nothing was written") from None
    except OSError as e:
        kept = _kept(folder)
        if e.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InputError(
                f"the disk of {folder.path.absolute().parent} is full; free some space, then "
                + (kept or "start again: nothing was written")
            ) from e
        raise OSError(f"{e}; {kept or 'nothing was written'}") from e
    except InputError:
        _kept(folder)
        raise


def _kept(folder: PartsFolder) -> str:
    try:
        parts = folder.parts()
    except InputError:
        return ""
    folder.abandon()
    if not parts:
        return ""
    n_rows = sum(part.n_rows for part in parts)
    return f"the same command goes on: {n_rows:,} rows are kept in {folder.path}"
