"""How much memory does each process of a pretraining run take, when several share the crystals?

    python training/rank_memory.py --data mp_mtcgcnn.parquet mp20_val_test.parquet \\
        --out training/results/rank_memory.csv

What ``torchrun --nproc-per-node N training/pretrain.py`` does, with N = 1 and 2 processes joined by
gloo: each reads the sources, keeps the formulas that are its own, makes graphs and clean targets,
and trains for ``--steps`` steps. Targets that are computed beforehand are left out. The first
process has the held-out crystals too. Of each process: the peak of the resident memory in each
stage, and what it holds after it, once what is free is given back.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import torch.distributed as dist
from torch import nn

from corpora.corpus import Corpus
from corpora.shares import Share
from harness.command import run_script, script_parser
from harness.jobs import run_jobs
from harness.memory import forget_peak, held_mb, memory_mb
from harness.result_tables import write_table
from pretraining.config import LossWeights, PretrainConfig
from pretraining.data import read_corpora
from pretraining.optimisation import step_generator
from pretraining.run import Run


def main() -> None:
    args = parse_arguments()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for world in args.processes:
            store = Path(scratch) / f"store{world}"
            jobs = [(rank, world, str(store), args) for rank in range(world)]
            found = dict(run_jobs(measure, jobs, world, fresh=True))
            rows += [row for rank in range(world) for row in found[rank].result()]
            print(pd.DataFrame(rows[-3 * world :]).to_string(index=False), flush=True)
    write_table(pd.DataFrame(rows), args.out, f"seed 0, {args.steps} steps, 1 thread a process")


def parse_arguments() -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--data", nargs="+", required=True, help="as training/pretrain.py")
    parser.add_argument("--crystals", type=int, default=0, help="a random choice [all]")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2], help="[1 2]")
    parser.add_argument("--steps", type=int, default=5, help="of training [5]")
    parser.add_argument("--out", default="rank_memory.csv", help="[rank_memory.csv]")
    return parser.parse_args()


def measure(rank: int, world: int, store: str, args: argparse.Namespace) -> list[dict[str, Any]]:
    """One process of several: a row a stage."""
    torch.set_num_threads(1)
    if world > 1:
        dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
    weights = replace(LossWeights(), tight_binding=0.0, tight_binding_crystal=0.0)
    config = PretrainConfig(data=tuple(args.data), limit=args.crystals, weights=weights)
    rows: list[dict[str, Any]] = []

    def stage(name: str, work: Callable[[], Any]) -> Any:
        forget_peak()
        found = work()
        peak, held = memory_mb("VmHWM"), held_mb()
        about = {"processes": world, "process": rank + 1, "stage": name}
        rows.append(about | {"peak_mb": round(peak), "held_mb": round(held)})
        return found

    with tempfile.TemporaryDirectory() as out:
        place = rank, world, torch.device("cpu")
        stage("imports", lambda: None)
        share = Share(rank, world)
        corpus, held_out = stage("reading", lambda: read_corpora(config, Path(out), share))
        run = Run(config, corpus, held_out, Path(out), place, False)
        stage("training", lambda: train(run, args.steps))
        run.leave()
    for row in rows:
        row |= {
            "crystals": len(run.corpus),
            "sites": int(run.corpus.n_sites.sum()),
            "edges": int(run.corpus.n_edges.sum()),
            "arrays_mb": round(array_bytes(run.corpus) / 2**20),
        }
    return rows


def train(run: Run, steps: int) -> None:
    """The first steps of a run, as ``training/pretrain.py`` makes them."""
    run.model.train()
    for step, members in enumerate(run.batches()[:steps]):
        batch = run.corpus.batch(members)
        views = run.make_views(batch, step_generator(run.device, step, run.rank))
        run.optimizer.zero_grad()
        run.wrapped(batch, views, False)["total"].backward()
        nn.utils.clip_grad_norm_(run.model.parameters(), run.config.clip_norm)
        run.optimizer.step()


def array_bytes(corpus: Corpus) -> int:
    """Of the arrays that a corpus keeps of its crystals."""
    kept = [*vars(corpus).values(), *corpus._targets.values()]
    return sum(getattr(value, "nbytes", 0) for value in kept)


if __name__ == "__main__":
    run_script(main)
