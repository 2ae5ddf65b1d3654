"""Archives of structure files (.tar, also compressed, and .zip) → their members, one at a time.

Nothing is unpacked to the disk, and one member is in memory at once. Members come in the order of
the archive. A member that cannot be read is an error in its place; where a tar archive is cut short
or damaged, nothing can be read from there on, and that is its last item.
"""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath

from matminer_unate.errors import InputError, StructureError
from matminer_unate.io.input_rows import Ranges, path_text, selected
from matminer_unate.io.tables import DAMAGED_GZIP

ARCHIVE_SUFFIXES = (".tar", ".tgz", ".tbz2", ".txz", ".zip")
"""Of names without the .gz, .bz2 or .xz that may follow .tar."""

Member = tuple[str, "bytes | StructureError"]
"""Name, after that of the archive, and content."""

_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, *DAMAGED_GZIP, ValueError)


def is_archive(path: Path) -> bool:
    """Whether a file is an archive, by its name."""
    name = path.name.lower()
    for ending in (".gz", ".bz2", ".xz"):
        name = name.removesuffix(ending) if f".tar{ending}" in name else name
    return name.endswith(ARCHIVE_SUFFIXES)


def open_archive(
    path: Path, wanted: Callable[[PurePosixPath], bool]
) -> tuple[int, tuple[Path, ...], Callable[[Ranges], Iterator[tuple[int, Member]]]]:
    """Look at an archive.

    Parameters
    ----------
    path : Path
    wanted : callable
        Whether a member of this name is a structure file.

    Returns
    -------
    n_members : int
        That are wanted, and one more for damage after which no other can be read.
    skipped : tuple of Path
        The others.
    fetch : callable
        Starts reading ranges of the wanted members.

    Raises
    ------
    InputError
        It is no archive, or holds no structure files.
    """
    members = _zip_members if zipfile.is_zipfile(path) else _tar_members
    skipped: list[Path] = []
    reading = members(path, wanted, skipped)
    first = next(reading, None)
    if first is not None and first[0] == path_text(path):
        raise InputError(str(first[1]))
    n_members = (first is not None) + sum(1 for _ in reading)
    if not n_members:
        raise InputError(
            f"{path}: the archive holds no structure files (.cif, .vasp, .poscar, .json, POSCAR*, "
            "CONTCAR*)" + (f", but for example {skipped[0]}; unpack it" if skipped else "")
        )
    return n_members, tuple(skipped), partial(_fetch, members, path, wanted)


Members = Callable[[Path, Callable[[PurePosixPath], bool], list[Path]], Iterator[Member]]


def _fetch(
    members: Members, path: Path, wanted: Callable[[PurePosixPath], bool], ranges: Ranges
) -> Iterator[tuple[int, Member]]:
    yield from selected(members(path, wanted, []), ranges)


def _tar_members(
    path: Path, wanted: Callable[[PurePosixPath], bool], skipped: list[Path]
) -> Iterator[Member]:
    name = ""
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                archive.members = []  # type: ignore[attr-defined]  # else it remembers them all
                if not member.isfile() or _is_hidden(member.name):
                    continue
                if not wanted(PurePosixPath(member.name)):
                    skipped.append(Path(member.name))
                    continue
                name = member.name
                file = archive.extractfile(member)
                content = b"" if file is None else file.read()
                if len(content) < member.size:
                    raise EOFError(f"{len(content):,} of {member.size:,} bytes are there")
                yield _place(path, name), content
                name = ""
    except _DAMAGED as e:
        said = f"{path}: the archive is damaged or cut short from here on ({e}); copy it again"
        yield (_place(path, name) if name else path_text(path)), StructureError(said)


def _zip_members(
    path: Path, wanted: Callable[[PurePosixPath], bool], skipped: list[Path]
) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.is_dir() or _is_hidden(member.filename):
                continue
            if not wanted(PurePosixPath(member.filename)):
                skipped.append(Path(member.filename))
                continue
            try:
                content: bytes | StructureError = archive.read(member)
            except (*_DAMAGED, RuntimeError, NotImplementedError) as e:  # or it has a password
                content = StructureError(f"the member could not be read ({e}); pack it again")
            yield _place(path, member.filename), content


def _place(path: Path, member: str) -> str:
    return path_text(path / PurePosixPath(member))


def _is_hidden(name: str) -> bool:
    # macOS puts a ._x.cif beside every x.cif it packs, or a folder __MACOSX.
    parts = PurePosixPath(name).parts
    return any(part.startswith(".") and part != "." for part in parts) or "__MACOSX" in parts
