"""Site vectors of a whole corpus, in parts, on several processes."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from corpora.crystal import Crystal
from corpora.reading import read_with_report
from harness.jobs import run_jobs
from matminer_unate.errors import InputError
from site_targets.chgnet import chgnet_targets
from site_targets.files import SiteVectors, identifiers_done, join, parts_folder, write_part
from site_targets.tight_binding import tight_binding_targets

PART_CRYSTALS = 256
"""Crystals of a part file: what a stopped run loses at most, per process."""


@dataclass(frozen=True)
class Teacher:
    """Where site vectors come from.

    Attributes
    ----------
    targets : callable
        Crystals to one (n_sites, k) array each, ``None`` for crystals it cannot judge.
    version : callable
        What made the vectors; runs of different versions are not mixed in one file.
    """

    targets: Callable[[Sequence[Crystal]], list[SiteVectors | None]]
    version: Callable[[], str]


def write_site_targets(
    teacher: str,
    crystals: Sequence[Crystal],
    out: Path,
    command: Sequence[str],
    processes: int = 1,
) -> None:
    """Compute and write the vectors of the crystals that are not in the file yet.

    Parameters
    ----------
    teacher : str
        Key of ``TEACHERS``.
    crystals : sequence of Crystal
    out : Path
        The parquet file; unfinished work is in the folder of parts beside it.
    command : sequence of str
        What made the file, to be kept in it.
    processes : int
    """
    if out.is_dir():
        raise InputError(f"{out} is a folder; give --out the name of a file")
    parts = parts_folder(out)
    about = {"teacher": teacher, "version": TEACHERS[teacher].version()}
    done = identifiers_done(out, about, crystals)
    todo = [c for c in crystals if c.identifier not in done]
    print(f"{len(crystals):,} crystals, {len(crystals) - len(todo):,} of them done", flush=True)
    if done and not todo and out.is_file() and not parts.is_dir():
        return

    about["command"] = shlex.join(map(_short, command))
    parts.mkdir(parents=True, exist_ok=True)
    first = 1 + max((int(p.stem.split("-")[1]) for p in parts.glob("part-*.parquet")), default=-1)
    chunks = [todo[i : i + PART_CRYSTALS] for i in range(0, len(todo), PART_CRYSTALS)]
    unknown: list[str] = []
    bar = tqdm(total=sum(map(len, todo)), unit="site", unit_scale=True, desc=teacher)
    threads = None if processes == 1 else 1
    jobs = [(teacher, chunk) for chunk in chunks]
    for k, job in run_jobs(checked_targets, jobs, processes, n_threads=threads):
        vectors = job.result()
        known = [(c, v) for c, v in zip(chunks[k], vectors, strict=True) if v is not None]
        if known:
            write_part(parts / f"part-{first + k:05d}.parquet", known, about)
        unknown += [c.identifier for c, v in zip(chunks[k], vectors, strict=True) if v is None]
        bar.update(sum(map(len, chunks[k])))
    bar.close()
    count = join(out, about)
    print(f"{out}: {count:,} crystals")
    if unknown:
        shown = ", ".join(unknown[:5])
        print(f"{len(unknown):,} crystals that {teacher} cannot judge left out: {shown} …")


def _short(argument: str) -> str:
    """Without the folders of this machine."""
    return Path(argument).name if "/" in argument else argument


def read_all(
    data: Sequence[str], parts: Sequence[str], limits: Sequence[int], accept_doubtful: bool = False
) -> list[Crystal]:
    """The crystals of every part, read with every limit of sites; smallest cells first.

    An identifier that stands for one cell with one limit and for another with the next is left out:
    pretraining could not tell for which of them the vectors are.
    """
    found: dict[str, Crystal] = {}
    ambiguous = set()
    for part, limit in itertools.product(parts, limits):
        kept, _ = read_with_report(
            data, limit, None if part == "all" else part, accept_doubtful=accept_doubtful
        )
        for crystal in kept:
            if not same_cell(crystal, found.setdefault(crystal.identifier, crystal)):
                ambiguous.add(crystal.identifier)
    kept = [c for c in found.values() if c.identifier not in ambiguous]
    if ambiguous:
        print(f"{len(ambiguous)} identifiers left out that stand for several cells")
    return sorted(kept, key=len)


def same_cell(a: Crystal, b: Crystal) -> bool:
    """Whether two crystals are the same numbers, site by site."""
    return (
        np.array_equal(a.atomic_numbers, b.atomic_numbers)
        and np.array_equal(a.frac_coords, b.frac_coords)
        and np.array_equal(a.lattice, b.lattice)
    )


TEACHERS: dict[str, Teacher] = {
    "chgnet": Teacher(chgnet_targets, lambda: f"CHGNet 0.3.0 (chgnet {version('chgnet')})"),
    "chgnet-readout": Teacher(
        partial(chgnet_targets, readout=True),
        lambda: f"CHGNet 0.3.0 (chgnet {version('chgnet')})",
    ),
    "tight-binding": Teacher(
        tight_binding_targets, lambda: f"matminer_unate {version('matminer_unate')}"
    ),
}


def checked_targets(name: str, crystals: Sequence[Crystal]) -> list[SiteVectors | None]:
    """A teacher's vectors, of the right shape and finite in the 16 bits they are kept in."""
    vectors = TEACHERS[name].targets(crystals)
    for crystal, v in zip(crystals, vectors, strict=True):
        if v is None:
            continue
        if v.ndim != 2 or len(v) != len(crystal):
            raise InputError(
                f"{name} gave shape {v.shape} for the {len(crystal)} sites of "
                f"{crystal.identifier}; expected one row a site"
            )
        if not (np.abs(v) <= np.finfo(np.float16).max).all():
            raise InputError(
                f"{name} gave values for {crystal.identifier} that are not finite or too large for "
                "float16; let it return None for crystals it cannot judge, or change its units"
            )
    return vectors
