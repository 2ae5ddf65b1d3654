"""Where does the time of the learned columns go, by the size of the cell?

    python training/throughput.py --data mp_structures.parquet --out training/results/throughput.csv

Rows of a Parquet table → learned columns on one core, part by part: rows are read and parsed to
structures, checked, given their neighbours, joined to batches, run through the network, pooled and
written. First ``--rows`` real crystals as they are; then supercells of ``--crystals`` of them, of
about 10, 100, 1,000 and 10,000 atoms, with as many atoms in all for each size. Times are of the
CPU, in microseconds an atom, the medians over the rounds, and ``peak_mb`` is how much the memory
grows at most. The network is timed in bfloat16 too, with the largest difference of a column in
standard deviations of it over the crystals, and its floating-point operations are set against what
a product of large matrices does in the same process.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pymatgen.core import Structure
from torch.utils.flop_counter import FlopCounterMode

from harness.command import run_script, script_parser, torch_threads
from harness.memory import forget_peak, held_mb, memory_mb
from harness.result_tables import write_table
from matminer_unate.crystals.batching import collate, fill_batches
from matminer_unate.crystals.checked import CheckedCrystal
from matminer_unate.featurizers.pooling import pooled
from matminer_unate.io.readers import open_inputs
from matminer_unate.network.encoding import DEFAULT_BATCH_SIZE, Encoded, load
from matminer_unate.network.weights import DEFAULT_WEIGHTS, weights_config

SIZES = (10, 100, 1_000, 10_000)
"""Atoms of a supercell."""
POOLING = ("mean", "std")


class Times:
    """CPU seconds by part."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        """Count what the block takes."""
        started = time.process_time()
        yield
        self.seconds[part] += time.process_time() - started


def main() -> None:
    args = parse_arguments()
    with torch_threads(1), tempfile.TemporaryDirectory() as scratch:
        print(f"{gigaflops_of_a_product():.1f} GFLOP/s in a product of matrices", flush=True)
        structures = read(args.data, args.rows, None)
        rows = measured("as they are", args.data, structures, args, Path(scratch))
        few = spread_by_size(structures, args.crystals)
        for size in args.sizes:
            cells = [supercell(s, size) for s in few]
            # As many atoms in all, whatever the size.
            n = max(1, round(max(args.sizes) / np.mean([len(c) for c in cells]) / len(cells)))
            rows += measured(f"{size} atoms", None, cells * n, args, Path(scratch))
    table = pd.DataFrame(rows)
    print(table.to_string(index=False))
    write_table(table, args.out, f"1 thread, medians over {args.rounds} rounds, seed 0")


def parse_arguments() -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--data", required=True, help="parquet file of structures")
    parser.add_argument("--rows", type=int, default=2_000, help="crystals as they are [2000]")
    parser.add_argument("--crystals", type=int, default=4, help="of which supercells are made [4]")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="atoms of a cell")
    parser.add_argument("--rounds", type=int, default=3, help="[3]")
    parser.add_argument("--out", default="throughput.csv", help="[throughput.csv]")
    return parser.parse_args()


def read(data: str, n: int, times: Times | None) -> list[Structure]:
    """The first structures of a table; what is unusable is left out."""
    (source,) = open_inputs([data])
    with (times or Times()).of("read and parse"):
        found = [
            row.structure
            for number, content in source.fetch([range(n)])
            for row in source.parse(number, content)
        ]
    return [structure for structure in found if structure is not None]


def spread_by_size(structures: list[Structure], n: int) -> list[Structure]:
    """Crystals of at most ten atoms, from dense to sparse."""
    small = sorted((s for s in structures if len(s) <= 10), key=lambda s: s.volume / len(s))
    return [small[k] for k in np.linspace(len(small) // 10, len(small) * 9 // 10, n).astype(int)]


def supercell(structure: Structure, n_atoms: int) -> Structure:
    """Of about so many atoms, and about as long as wide."""
    repeats = np.ones(3, dtype=int)
    while len(structure) * (np.prod(repeats) + np.prod(repeats) / repeats.max()) <= n_atoms:
        repeats[np.argmin(repeats * np.array(structure.lattice.abc))] += 1
    return structure * tuple(repeats.tolist())


def measured(
    what: str, data: str | None, structures: list[Structure], args: argparse.Namespace, folder: Path
) -> list[dict[str, Any]]:
    """A row a part."""
    n_atoms, rounds, memory, extra = sum(map(len, structures)), [], 0, dict[str, float]()
    for _ in range(args.rounds):
        times = Times()
        if data:
            read(data, len(structures), times)
        before = held_mb()
        forget_peak()
        extra = one_round(structures, times, folder)
        memory = max(memory, round(memory_mb("VmHWM") - before))
        rounds.append(times.seconds)
    medians = pd.DataFrame(rounds).median()
    whole = medians.drop("network, bfloat16").sum()
    about = {
        "crystals": what,
        "atoms_a_cell": round(n_atoms / len(structures), 1),
        "edges_an_atom": round(extra["edges"] / n_atoms, 1),
        "peak_mb": memory,
    }
    speed = extra["flops"] / medians["network"] / 1e9
    rows = [
        {"part": part, "us_an_atom": 1e6 * seconds / n_atoms, "share": seconds / whole}
        for part, seconds in {**medians, "all in float32": whole}.items()
    ]
    for row in rows:
        row["gflop_s"] = round(speed, 1) if row["part"] == "network" else np.nan
        row["difference"] = (
            round(extra["difference"], 4) if row["part"] == "network, bfloat16" else np.nan
        )
    return [
        about | row | {"us_an_atom": round(row["us_an_atom"], 2), "share": round(row["share"], 3)}
        for row in rows
    ]


def one_round(structures: list[Structure], times: Times, folder: Path) -> dict[str, float]:
    """All parts once; edges, operations, and what bfloat16 changes."""
    config = weights_config(DEFAULT_WEIGHTS)
    encoder, _ = load(DEFAULT_WEIGHTS, "cpu")
    n_edges, flops, columns, halves = 0, 0, [], []

    def graphs() -> Iterator[Any]:
        for row, structure in enumerate(structures):
            with times.of("check"):
                crystal = CheckedCrystal.of(structure)
            with times.of("neighbours"):
                graph = crystal.graph(config.cutoff)
                crystal.forget_graphs()
            yield row, graph

    for batch in fill_batches(graphs(), DEFAULT_BATCH_SIZE):
        n_edges += sum(graph.n_edges for _, graph in batch)
        with times.of("join"):
            data = collate([graph for _, graph in batch])
            crystal = np.repeat(np.arange(len(batch)), np.diff(data.site_start))
            index = torch.from_numpy(crystal)
        with torch.inference_mode():
            with times.of("network"):
                sites, whole = encoder.columns(data, index, len(batch))
            with times.of("network, bfloat16"), torch.autocast("cpu", torch.bfloat16):
                half = encoder.columns(data, index, len(batch))
            if not flops:
                with FlopCounterMode(display=False) as counter:
                    encoder.columns(data, index, len(batch))
                flops = counter.get_total_flops() / data.edge_index.shape[1]
        rows = [row for row, _ in batch]
        with times.of("pool"):
            given = sites.float().numpy(), data.site_start, whole.float().numpy()
            columns.append(pooled(Encoded(rows, *given), POOLING))
        given = half[0].float().numpy(), data.site_start, half[1].float().numpy()
        halves.append(pooled(Encoded(rows, *given), POOLING))
    values = np.concatenate(columns)
    with times.of("write"):
        names = [f"c{k}" for k in range(values.shape[1])]
        pq.write_table(pa.table(dict(zip(names, values.T, strict=True))), folder / "t.parquet")
    spread = np.maximum(values.std(axis=0), 1e-3)
    difference = np.abs(np.concatenate(halves) - values) / spread
    return {"edges": n_edges, "flops": flops * n_edges, "difference": float(difference.max())}


def gigaflops_of_a_product() -> float:
    """What one core does in a product of two matrices, 1024 × 1024."""
    a = torch.rand(1024, 1024)
    found = []
    for _ in itertools.repeat(None, 5):
        started = time.process_time()
        a @ a
        found.append(2 * 1024**3 / (time.process_time() - started) / 1e9)
    return max(found)


if __name__ == "__main__":
    run_script(main)
