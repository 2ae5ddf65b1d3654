"""How much time, memory and disk does a ``UnateIndex`` of a million crystals take?

    python training/index_size.py --data data/ --out training/results/index_size.csv

Its rows are synthetic: embeddings of real crystals (Materials Project, no ``test`` formulas),
repeated with noise that moves each by about 1, the distance of polymorphs. Each repetition has
formulas of its own, so that formulas have as many rows as in the table. For every step there are
the seconds of CPU, on one core, the most memory that the process held in it and what it holds after
it. The search is exact and asks all rows: ``agreement`` is the share of the ten nearest rows that a
plain search in double precision finds too, over 20 queries.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.labelled_tables import read_labelled, structures_of
from harness.command import run_script, script_parser
from harness.jobs import run_jobs
from harness.memory import forget_peak, held_mb, memory_mb
from harness.result_tables import write_table
from matminer_unate import UnateIndex

MAX_SITES = 60
MOVED = 1.0
"""Distance by which noise moves an embedding."""

N_QUERIES = 1_000
N_CHECKED = 20
"""Queries that are searched plainly too."""

K = 10

Embeddings = NDArray[np.float32]


def main() -> None:
    args = parse_arguments()
    with tempfile.TemporaryDirectory() as scratch:
        real = Path(scratch) / "real"
        write_real_rows(Path(args.data), args.crystals, real)
        jobs = [(real, n) for n in args.rows]
        rows: list[dict[str, Any]] = []
        # One after another, each in a fresh process: its memory is its own.
        for _, job in run_jobs(measure, jobs, 1, fresh=True):
            rows += job.result()
            print(pd.DataFrame(job.result()).to_string(index=False), flush=True)
    note = f"seed 0, rows made of {args.crystals} crystals, {N_QUERIES} queries, k = {K}, 1 thread"
    write_table(pd.DataFrame(rows), args.out, note)


def parse_arguments() -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--data", required=True, help="folder of the parquet files")
    parser.add_argument("--crystals", type=int, default=10_000, help="real ones [10000]")
    parser.add_argument(
        "--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="of the indices"
    )
    parser.add_argument("--out", default="index_size.csv")
    return parser.parse_args()


def write_real_rows(data: Path, n: int, folder: Path) -> None:
    """Save an index of real crystals."""
    table = read_labelled(data / "mp_mtcgcnn.parquet", ["band_gap_ev"], MAX_SITES)
    table = table[table["formula_split"] != "test"].sample(n, random_state=0)
    UnateIndex(structures_of(table), table["material_id"].tolist()).save(folder)


def synthetic(real: UnateIndex, n: int, rng: np.random.Generator) -> UnateIndex:
    """An index of ``n`` rows that are like the real ones."""
    found = UnateIndex(weights=real.weights)
    places = np.arange(n) % len(real)
    embeddings = real.embeddings[places]
    spread = MOVED / np.sqrt(embeddings.shape[1])
    for part in np.array_split(embeddings, 1 + n // 10_000):
        part += rng.normal(scale=spread, size=part.shape).astype(np.float32)
    copies = (np.arange(n) // len(real)).tolist()
    found.ids = [f"{real.ids[k]}-{copy}" for k, copy in zip(places, copies, strict=True)]
    found.formulas = [f"{real.formulas[k]} {copy}" for k, copy in zip(places, copies, strict=True)]
    found._blocks = [embeddings]
    return found


def measure(real_folder: Path, n: int) -> list[dict[str, Any]]:
    """A row a step."""
    rng = np.random.default_rng(0)
    real = UnateIndex.load(real_folder)
    asked = synthetic(real, len(real), rng).embeddings[rng.permutation(len(real))[:N_QUERIES]]
    base = held_mb()
    rows: list[dict[str, Any]] = []

    def step(name: str, work: Callable[[], Any], **more: Any) -> Any:
        forget_peak()
        started = time.process_time()
        found = work()
        seconds = time.process_time() - started
        peak = memory_mb("VmHWM") - base
        about = {"rows": n, "step": name, "cpu_seconds": round(seconds, 4)}
        rows.append(about | {"peak_mb": round(peak), "held_mb": round(held_mb() - base)} | more)
        return found

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "index"
        synthetic(real, n, rng).save(folder)
        index = step("load", lambda: UnateIndex.load(folder))
        rows[-1]["disk_mb"] = round(sum(f.stat().st_size for f in folder.iterdir()) / 2**20, 1)
        step("save", lambda: index.save(folder))
    step("the first query", lambda: index.query_embeddings(asked[:1], K))
    step("another query", lambda: index.query_embeddings(asked[1:2], K))
    found = step(f"{N_QUERIES} queries", lambda: index.query_embeddings(asked, K))
    rows[-1]["agreement"] = agreement(index.embeddings, asked, found)
    step("duplicates", index.duplicates)
    return rows


def agreement(embeddings: Embeddings, asked: Embeddings, found: pd.DataFrame) -> float:
    """Share of the rows found that a plain search finds too."""
    same = 0
    for query in range(N_CHECKED):
        squares = np.zeros(len(embeddings))
        for column, value in zip(embeddings.T, asked[query].tolist(), strict=True):
            squares += (column - value) ** 2.0
        nearest = np.argpartition(squares, K)[:K]
        same += np.isin(found.loc[found["query"] == query, "row"], nearest).sum()
    return same / (N_CHECKED * K)


if __name__ == "__main__":
    run_script(main)
