"""Site vectors of a teacher, written to a file that pretraining regresses on.

    python training/teachers.py --teacher chgnet --data mp_mtcgcnn.parquet mp20_val_test.parquet \\
        --max-sites 40 --out chgnet_sites.parquet
    python training/pretrain.py --teacher chgnet_sites.parquet --weights.teacher 8 ...

Give both commands the same ``--data`` and ``--part``, and one of the limits given here as
``--max-sites`` to the second: the limit decides which of a group of duplicates is kept, so crystals
are read once for each limit and all of them are taught.

Small cells come first. A run that was stopped goes on with the same command; what it has done lies
in the folder ``OUT.parts``, which can be read like the finished file.

Teachers:

``chgnet``
    The 64 atom features of CHGNet 0.3.0 (Deng et al., Nat. Mach. Intell. 5, 1031 (2023),
    doi:10.1038/s42256-023-00716-3), from which it reads magnetic moments: a potential trained on
    energies, forces, stresses and moments of the Materials Project. Its weights come with
    ``pip install "matminer_unate[teacher]"``.
``chgnet-readout``
    The same, then the magnetic moment (μ_B) and the energy (eV, without the reference energy of the
    element) of the site.
``tight-binding``
    Site-projected quantities of :mod:`matminer_unate.tight_binding`: no labels at all.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from pymatgen.core import Structure
from tqdm.auto import tqdm

from command import run_script
from matminer_unate.errors import InputError, StructureError
from sources import Crystal, read_crystals
from stopping import SpawnedPool

PART_CRYSTALS = 256
"""Crystals of a part file: what a stopped run loses at most, per process."""

BATCH_SITES = 64
"""CHGNet's edge tensors then stay in the cache of a core: 1,600 sites/s, 1,200 at 512 sites."""

UNSEEN_BY_CHGNET = (84, 85, 86, 87, 88)
"""Po to Ra and everything beyond Pu: not among the 89 elements that it was trained on."""

LAST_OF_CHGNET = 94

SiteVectors = NDArray[np.float32]
"""(n_sites, k)"""


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


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(argv)
    crystals = read_all(args.data, args.part, args.max_sites)
    command = ["python", "training/teachers.py", *(argv or sys.argv[1:])]
    write_site_targets(args.teacher, crystals, Path(args.out), command, args.processes)


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
    done = identifiers_done(out, about)
    todo = [c for c in crystals if c.identifier not in done]
    print(f"{len(crystals):,} crystals, {len(crystals) - len(todo):,} of them done", flush=True)
    if done and not todo and out.is_file() and not parts.is_dir():
        return

    about["command"] = shlex.join(map(_short, command))
    parts.mkdir(parents=True, exist_ok=True)
    first = 1 + max((int(p.stem.split("-")[1]) for p in parts.glob("part-*.parquet")), default=-1)
    chunks = [todo[i : i + PART_CRYSTALS] for i in range(0, len(todo), PART_CRYSTALS)]
    unknown: list[str] = []
    bar = tqdm(total=sum(map(n_sites, todo)), unit="site", unit_scale=True, desc=teacher)
    for k, vectors in enumerate(teach(teacher, chunks, processes)):
        known = [(c, v) for c, v in zip(chunks[k], vectors, strict=True) if v is not None]
        if known:
            write_part(parts / f"part-{first + k:05d}.parquet", known, about)
        unknown += [c.identifier for c, v in zip(chunks[k], vectors, strict=True) if v is None]
        bar.update(sum(map(n_sites, chunks[k])))
    bar.close()
    count = join(out, about)
    print(f"{out}: {count:,} crystals")
    if unknown:
        shown = ", ".join(unknown[:5])
        print(f"{len(unknown):,} crystals that {teacher} cannot judge left out: {shown} …")


def _short(argument: str) -> str:
    """Without the folders of this machine."""
    return Path(argument).name if "/" in argument else argument


def about_site_targets(path: str | Path) -> dict[str, str]:
    """Teacher, version and command of a file of site targets, empty where it does not say."""
    found: dict[str, str] = json.loads(
        (pq.read_schema(path).metadata or {}).get(b"site_targets", b"{}")
    )
    return found


def read_all(data: Sequence[str], parts: Sequence[str], limits: Sequence[int]) -> list[Crystal]:
    """The crystals of every part, read with every limit of sites; smallest cells first.

    An identifier that stands for one cell with one limit and for another with the next is left out:
    pretraining could not tell for which of them the vectors are.
    """
    found: dict[str, Crystal] = {}
    ambiguous = set()
    for part in parts:
        for limit in limits:
            for crystal in read_crystals(data, limit, None if part == "all" else part):
                other = found.setdefault(crystal.identifier, crystal)
                if not same_cell(crystal, other):
                    ambiguous.add(crystal.identifier)
    kept = [c for c in found.values() if c.identifier not in ambiguous]
    if ambiguous:
        print(f"{len(ambiguous)} identifiers left out that stand for several cells")
    return sorted(kept, key=n_sites)


def n_sites(crystal: Crystal) -> int:
    return len(crystal.atomic_numbers)


def same_cell(a: Crystal, b: Crystal) -> bool:
    """Whether two crystals are the same numbers, site by site."""
    return (
        np.array_equal(a.atomic_numbers, b.atomic_numbers)
        and np.array_equal(a.frac_coords, b.frac_coords)
        and np.array_equal(a.lattice, b.lattice)
    )


# Teachers


def chgnet_targets(crystals: Sequence[Crystal], readout: bool = False) -> list[SiteVectors | None]:
    """Atom features of CHGNet before its last convolution, (n_sites, 64) or with ``readout`` 66.

    ``None`` for crystals with an element it never saw, or with a site that has no neighbour within
    its 6 Å.
    """
    model = load_chgnet()
    graphs = {}
    for k, c in enumerate(crystals):
        unseen = np.isin(c.atomic_numbers, UNSEEN_BY_CHGNET) | (c.atomic_numbers > LAST_OF_CHGNET)
        if not unseen.any():
            structure = Structure(c.lattice, c.atomic_numbers.tolist(), c.frac_coords)
            graph = model.graph_converter(structure, graph_id=c.identifier)
            centres = graph.atom_graph.reshape(-1, 2)[:, 0]  # one-dimensional without any edge
            if len(centres.unique()) == n_sites(c):
                graphs[k] = graph
    vectors: list[SiteVectors | None] = [None] * len(crystals)
    for batch in batches_by_sites(list(graphs), [n_sites(c) for c in crystals]):
        inputs = [graphs[k] for k in batch]
        with torch.inference_mode():
            found = model(inputs, task="em", return_site_energies=True, return_atom_feas=True)
            shifts = model.composition_model.get_site_energies(inputs)
        for k, features, moment, energy, shift in zip(
            batch, found["atom_fea"], found["m"], found["site_energies"], shifts, strict=True
        ):
            columns = [features, moment[:, None], (energy - shift)[:, None]]
            vectors[k] = torch.cat(columns if readout else columns[:1], dim=1).numpy()
    return vectors


@lru_cache(maxsize=1)
def load_chgnet() -> Any:
    """CHGNet 0.3.0 on the CPU, from its wheel."""
    try:
        from chgnet.model import CHGNet
    except ImportError as e:
        raise ImportError("this teacher needs chgnet: pip install 'matminer_unate[teacher]'") from e
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its number of parameters
        model = CHGNet.load(model_name="0.3.0", use_device="cpu", verbose=False)
    model.graph_converter.set_isolated_atom_response("ignore")  # seen to by the caller
    return model.eval()


def batches_by_sites(members: Sequence[int], sizes: Sequence[int]) -> Iterator[list[int]]:
    """Cut into runs of at most ``BATCH_SITES`` sites; a larger crystal is alone."""
    batch: list[int] = []
    for k in members:
        if batch and sum(sizes[b] for b in batch) + sizes[k] > BATCH_SITES:
            yield batch
            batch = []
        batch.append(k)
    if batch:
        yield batch


def tight_binding_targets(crystals: Sequence[Crystal]) -> list[SiteVectors | None]:
    from matminer_unate.tight_binding import site_targets

    vectors: list[SiteVectors | None] = []
    for c in crystals:
        try:
            vectors.append(site_targets(c.lattice, c.frac_coords, c.atomic_numbers))
        except StructureError:  # one of thousands must not end a run of hours
            vectors.append(None)
    return vectors


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


def teach(
    name: str, chunks: Sequence[Sequence[Crystal]], processes: int
) -> Iterator[list[SiteVectors | None]]:
    """The vectors of each chunk, in order, on one-threaded processes (or in this one)."""
    if processes == 1:
        yield from (checked_targets(name, chunk) for chunk in chunks)
        return
    # OpenMP reads this when a child loads torch.
    os.environ["OMP_NUM_THREADS"] = "1"
    with SpawnedPool(processes) as pool:
        for future in [pool.submit(checked_targets, name, chunk) for chunk in chunks]:
            yield future.result()


def checked_targets(name: str, crystals: Sequence[Crystal]) -> list[SiteVectors | None]:
    """A teacher's vectors, of the right shape and finite in the 16 bits they are kept in."""
    vectors = TEACHERS[name].targets(crystals)
    for crystal, v in zip(crystals, vectors, strict=True):
        if v is None:
            continue
        if v.ndim != 2 or len(v) != n_sites(crystal):
            raise InputError(
                f"{name} gave shape {v.shape} for the {n_sites(crystal)} sites of "
                f"{crystal.identifier}; expected one row a site"
            )
        if not (np.abs(v) <= np.finfo(np.float16).max).all():
            raise InputError(
                f"{name} gave values for {crystal.identifier} that are not finite or too large for "
                "float16; let it return None for crystals it cannot judge, or change its units"
            )
    return vectors


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
            "n_sites": pa.array([len(v) for _, v in known], pa.int32()),
            "n_targets": pa.array([v.shape[1] for _, v in known], pa.int32()),
            "values": pa.ListArray.from_arrays(pa.array(offsets), pa.array(values)),
        }
    )
    draft = path.with_name("draft-" + path.name)
    pq.write_table(
        table.replace_schema_metadata({"site_targets": json.dumps(about)}),
        draft,
        compression="zstd",
    )
    draft.replace(path)


def join(out: Path, about: dict[str, str]) -> int:
    """Make one file of what was there and the parts; returns its number of crystals."""
    files = finished_files(out)
    if not files:
        raise InputError("the teacher could judge none of the crystals; nothing is written")
    schema = pq.read_schema(files[0]).with_metadata({"site_targets": json.dumps(about)})
    draft = out.with_name("draft-" + out.name)
    count = 0
    with pq.ParquetWriter(draft, schema, compression="zstd") as writer:
        for file in files:
            source = pq.ParquetFile(file)
            for group in range(source.num_row_groups):
                writer.write_table(source.read_row_group(group).cast(schema))
            count += source.metadata.num_rows
    draft.replace(out)
    shutil.rmtree(parts_folder(out))
    return count


def finished_files(out: Path) -> list[Path]:
    parts = sorted(parts_folder(out).glob("part-*.parquet"))
    return [out, *parts] if out.is_file() else parts


def identifiers_done(out: Path, about: dict[str, str]) -> set[str]:
    """Crystals in the file and its parts, which must be of the same teacher and version."""
    done: set[str] = set()
    for file in finished_files(out):
        metadata = open_parquet(file).schema_arrow.metadata or {}
        made_by = json.loads(metadata.get(b"site_targets", b"{}"))
        if any(made_by.get(key) != value for key, value in about.items()):
            raise InputError(
                f"{file} was made by {made_by.get('teacher')}, {made_by.get('version')}, and not "
                f"by {about['teacher']}, {about['version']}; give another --out or delete it"
            )
        done.update(pq.read_table(file, columns=["identifier"])["identifier"].to_pylist())
    return done


def open_parquet(file: Path) -> pq.ParquetFile:
    """Open a file, or say which one is damaged."""
    try:
        return pq.ParquetFile(file)
    except pa.ArrowException as e:
        raise InputError(f"{file} is no readable Parquet file ({e}); delete or make it anew") from e


def read_site_targets(path: str | Path) -> dict[str, SiteVectors]:
    """Read a teacher's site vectors.

    Parameters
    ----------
    path : str or Path
        A file made by this script, or the folder of parts of an unfinished one. Any parquet file
        with the columns ``identifier``, ``n_sites`` and ``values`` (a list of n_sites · k numbers,
        site by site) will do.

    Returns
    -------
    dict of str to (n_sites, k) float32
        By the crystals' identifiers. The arrays are views of one array a row group, so the memory
        is that of the numbers.

    Raises
    ------
    InputError
        The file is missing, damaged or without values, a column is missing, a row holds infinite
        values or not as many for each of its sites as the other rows, or an identifier comes twice.
    """
    path = Path(path)
    files = sorted(path.glob("part-*.parquet")) if path.is_dir() else [path]
    if not files or not files[0].is_file():
        unfinished = parts_folder(path)
        cure = (
            f"its run is unfinished: repeat its command, or read {unfinished}"
            if unfinished.is_dir()
            else "make it with training/teachers.py"
        )
        raise InputError(f"no site targets at {path}; {cure}")
    targets: dict[str, SiteVectors] = {}
    width: int | None = None
    for file in files:
        source = open_parquet(file)
        columns = ["identifier", "n_sites", "values"]
        missing = [name for name in columns if name not in source.schema_arrow.names]
        if missing:
            raise InputError(f"{file} has no column {missing[0]!r}, so holds no site targets")
        for group in range(source.num_row_groups):
            table = source.read_row_group(group, columns=columns).combine_chunks()
            if not table.num_rows:
                continue
            lists = table["values"].combine_chunks()
            kind = lists.type
            number = pa.types.is_list(kind) and (
                pa.types.is_floating(kind.value_type) or pa.types.is_null(kind.value_type)
            )
            if not number:
                raise InputError(f"{file}: 'values' holds {kind} and not lists of numbers")
            flat = lists.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
            lengths = lists.value_lengths().to_numpy(zero_copy_only=False)
            sizes = table["n_sites"].to_numpy()
            if width is None:
                width = int(lengths[0] // max(sizes[0], 1))
            starts = np.cumsum(lengths) - lengths
            rows = zip(table["identifier"].to_pylist(), sizes, starts, lengths, strict=True)
            for identifier, size, start, length in rows:
                if length != size * width or not length:
                    raise InputError(
                        f"{file}: {identifier} has {length} values for {size} sites, expected "
                        f"{width} for each; make the file again"
                    )
                if identifier in targets:
                    raise InputError(f"{file}: {identifier} comes twice; drop one of the rows")
                targets[identifier] = flat[start : start + length].reshape(size, width)
                if np.isinf(targets[identifier]).any():
                    raise InputError(f"{file}: {identifier} has infinite values; drop its row")
    if not any(np.isfinite(vectors).any() for vectors in targets.values()):
        raise InputError(f"{path} holds no values; make it again with training/teachers.py")
    return targets


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--teacher", choices=sorted(TEACHERS), required=True)
    parser.add_argument(
        "--data", nargs="+", required=True, help="parquet files and folders of CIF or POSCAR files"
    )
    parser.add_argument(
        "--part",
        nargs="+",
        choices=["train", "val", "test", "all"],
        default=["train"],
        help="formulas to teach [train]",
    )
    parser.add_argument(
        "--max-sites", nargs="+", type=int, default=[40], help="limits of sites [40]"
    )
    parser.add_argument("--processes", type=int, default=1, help="[1]")
    parser.add_argument("--out", required=True, help="parquet file to write")
    args = parser.parse_args(argv)
    if args.processes < 1:
        parser.error("--processes must be at least 1")
    return args


if __name__ == "__main__":
    run_script(main)
