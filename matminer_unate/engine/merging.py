"""Parts of all shards of a run → one table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matminer_unate.engine.blocks import Shard
from matminer_unate.engine.parts import (
    Manifest,
    Part,
    PartsFolder,
    changes,
    total,
    write_errors,
)
from matminer_unate.engine.report import RowReport
from matminer_unate.engine.running import (
    Progress,
    Target,
    check_none_gone,
    held,
    parts_folder,
    told_what_is_kept,
    write_whole,
)
from matminer_unate.errors import InputError
from matminer_unate.io.whole_files import fresh_file

Homes = dict[int, tuple[PartsFolder, Part]]
"""By block, the folder that its part is taken from."""


def merge(
    folders: Sequence[Path],
    target: Target,
    bar: Progress,
    overwrite: bool = False,
    say: Callable[[str], Any] = lambda text: None,
) -> RowReport:
    """Join the parts of all shards of a run.

    Parameters
    ----------
    folders : sequence of Path
        Folders of parts: several where the shards had no common disk.
    target : Target
    bar : Progress
    overwrite : bool
        Remove the parts of other runs that are where those of the target go.
    say : callable
        Is told lines for people.

    Raises
    ------
    InputError
        Parts are missing, damaged or of different runs, or a shard is being written; or where the
        parts of the target go, there are those of another run.
    """
    bar.stage("looking at the parts")
    for path in folders:
        _check_written(path)
    own = target.parts
    with (
        parts_folder(own) as gathered,
        held(own, Shard(), say),
        told_what_is_kept(gathered),
    ):
        opened = [p for p in map(PartsFolder, folders) if p.path.resolve() != own.resolve()]
        if len(opened) < len(folders):
            opened.append(gathered)
        header, homes = _homes(opened)
        report = total(homes[block][1] for block in sorted(homes))
        bar.stage("writing the table")
        if report.n_good:
            return _join(opened, header, homes, gathered, target, overwrite)
        if target.errors is not None:
            lists = (rows for b in sorted(homes) for rows in homes[b][0].listed([homes[b][1]]))
            write_errors(target.errors, lists)
        return report


def _check_written(path: Path) -> None:
    if not path.is_dir():
        raise InputError(f"{path}: no such folder of parts; check the name")
    for _, holder in PartsFolder(path).writers():
        raise InputError(
            f"process {holder.get('pid')} on {holder.get('host')} is writing to {path}; wait for it"
        )


def _homes(folders: Sequence[PartsFolder]) -> tuple[dict[str, Any], Homes]:
    """What the run is, and where its parts are: of several, in the last of the folders."""
    manifests = [m for folder in folders for m in folder.manifests()]
    if not manifests:
        raise InputError(f"{folders[0].path} holds no parts; name the folder that --shard wrote to")
    first = manifests[0]
    for other in manifests[1:]:
        found = changes(first.header, other.header)
        if found:
            raise InputError(
                f"{first.path} and {other.path} are of different runs: {'; '.join(found[:5])}. "
                "Give the parts of one run only, all of whose shards had the same"
            )
    homes = {part.block: (folder, part) for folder in folders for part in folder.parts()}
    _check_all_there(first, manifests, homes.keys())
    return first.header, homes


def _check_all_there(first: Manifest, manifests: Sequence[Manifest], there: Any) -> None:
    n_blocks = -(-first.header["n_items"] // first.header["part_rows"])
    missing = [block for block in range(n_blocks) if block not in there]
    if not missing:
        return
    n = max(manifest.shard.n for manifest in manifests)
    lacking = sorted({block % n + 1 for block in missing})
    shards = ", ".join(f"{k}/{n}" for k in lacking[:8]) + (", …" if len(lacking) > 8 else "")
    raise InputError(
        f"{len(missing):,} of {n_blocks:,} parts are missing, of "
        f"{'shard' if len(lacking) == 1 else 'shards'} {shards}; run "
        f"{'it' if len(lacking) == 1 else 'them'} again, with the same command"
    )


def _join(
    folders: Sequence[PartsFolder],
    header: dict[str, Any],
    homes: Homes,
    gathered: PartsFolder,
    target: Target,
    overwrite: bool,
) -> RowReport:
    elsewhere = [block for block in sorted(homes) if homes[block][0] is not gathered]
    if elsewhere:
        is_source = gathered in folders
        if not (is_source or overwrite) and (found := gathered.changes_of(header)):
            raise InputError(
                f"{gathered.path} holds the parts of another run than those to be merged: "
                f"{'; '.join(found[:5])}. Give another --out, or pass --overwrite to remove them"
            )
        there = {
            part.block for part in gathered.begin(header, Shard(), overwrite and not is_source)
        }
        for block in elsewhere:
            if block not in there:
                _copy(*homes[block], gathered)
    parts = gathered.parts()
    check_none_gone(gathered, homes, parts)
    schema = next(gathered.tables(part for part in parts if part.sha256)).schema
    if target.is_folder:
        for _ in gathered.tables(parts):
            pass  # each is checked
    write_whole(gathered, header, parts, target, schema)
    return total(parts)


def _copy(folder: PartsFolder, part: Part, gathered: PartsFolder) -> None:
    if part.sha256:
        content = folder.content(part)
        with fresh_file(gathered.path / part.name) as fresh:
            fresh.write_bytes(content)
    if part.n_listed:
        write_errors(gathered.path / part.errors_name, folder.listed([part]))
    gathered.add(part)
