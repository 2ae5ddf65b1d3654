"""What are the columns worth to someone with LightGBM or kernel ridge?

Trains classical regressors on pooled UNATE columns, on hand-made descriptors, on columns of other
packages and on several of them together, and compares them on held-out formulas:

    python training/classical.py --data data/ --work runs/classical --jobs 3
    python training/classical.py --data data/ --work runs/classical --tasks gap bulk_modulus \\
        --labels 2000 --out gap_and_bulk_modulus.csv
    python training/classical.py --matbench matbench_dielectric --out matbench.json

``--matbench`` runs official tasks instead (``training/benchmarks/columns/matbench.py``). Otherwise
``--data`` is the folder of the parquet files that ``training/benchmarks/columns/subsets.py`` names.
The models see random subsets of the ``train`` formulas; every choice (kernel ridge's settings,
LightGBM's, which head) is made on ``val``; each head then meets ``test`` once.

A stopped run goes on with the same command: columns, and the errors of each cell of the table
(task, feature set, number of labels), lie in ``--work``. They are computed anew where weights
changed; delete that folder when data or code did. The table is rewritten as cells finish; changes
against references and the table of wins come last.

``UnateRegressor`` is a row with the first weights and one with all of them; it is no classifier.

What is left out, because it costs time and decides nothing: random forests and the feature sets
``FEW_LABELS_ONLY`` above 2,000 labels; the plain setting of LightGBM on more than 300 columns
unless it is 1 % better on val of the first subset; exact kernel ridge above 6,000 labels (3,000
landmarks instead), whose width and penalty are those of the first 2,000 labels.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, as_completed
from pathlib import Path
from typing import Any

import pandas as pd
from threadpoolctl import threadpool_limits

from benchmarks.columns import matbench as matbench_tasks
from benchmarks.columns.column_cache import Blocks
from benchmarks.columns.feature_sets import RECIPE, feature_sets, is_feasible
from benchmarks.columns.statistics import CellErrors, add_comparisons, count_wins
from benchmarks.columns.subsets import ALL, LABELS, label_counts, n_train, read_crystals
from benchmarks.columns.table_cells import Cell, HeadErrors, cell_path, read_cell, run_cells
from benchmarks.properties import TASKS
from harness.command import run_script
from harness.result_tables import write_table
from harness.stopping import SpawnedPool
from matminer_unate import UnateRegressor
from matminer_unate.regressors.unate_regressor import DEFAULT_REGRESSOR_WEIGHTS

FEW_LABELS = 2000
FEW_LABELS_ONLY = ("megnet-elements", "soap", "tight-binding", "untrained", "chgnet")
"""Feature sets that are run up to ``FEW_LABELS`` only, and with them UNATE added to Magpie or to
the control with fingerprint, and ``UnateRegressor`` with the first weights alone."""

NOTE = "subset seeds 0-4 up to 500 labels, 0-2 above; CPU seconds, one thread"


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(argv)
    if args.matbench:
        model = UnateRegressor(args.weights, n_jobs=args.jobs, device="cpu")
        matbench_tasks.run(args.matbench, model, args.out)
        return
    # Set before the workers load their libraries. One thread each: more are slower.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    data, work = Path(args.data), Path(args.work)
    tables = {c: read_crystals(data, c) for c in {TASKS[t].crystals for t in args.tasks}}
    cells = plan(args, tables)
    blocks = {c: Blocks(work / "columns" / c, args.weights) for c in tables}
    weights = [Path(w).name for w in args.weights]
    sets = feature_sets(weights)
    wanted = {(TASKS[c.task].crystals, b) for c in cells for b in sets[c.features][1]}
    run_parallel(
        compute_block,
        # The slow ones first.
        [(data, blocks[c], c, b) for c, b in sorted(wanted, key=_cost, reverse=True)],
        args.jobs,
        lambda done, n, block: print(f"{done}/{n} columns: {block[2]} {block[3]}", flush=True),
    )
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.task, cell.features), []).append(cell)
    folder = work / "cells"

    def report(done: int, n: int, group: tuple[Any, ...]) -> None:
        print(f"{done}/{n} {group[3][0].task} {group[3][0].features}", flush=True)
        write_table(result_table(cells, folder, blocks, sets)[0], args.out, NOTE)

    run_parallel(
        run_cells,
        [(data, folder, blocks[TASKS[g[0].task].crystals], g) for g in groups.values()],
        args.jobs,
        report,
    )
    table, errors = result_table(cells, folder, blocks, sets)
    formulas = {t: test_formulas(tables[TASKS[t].crystals], TASKS[t].column) for t in args.tasks}
    write_table(add_comparisons(table, errors, formulas), args.out, NOTE)
    wins = count_wins(table, errors, formulas, weights)
    if len(wins):
        write_table(wins, str(Path(args.out).with_name(f"{Path(args.out).stem}_wins.csv")), NOTE)


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="folder of the parquet files")
    parser.add_argument("--matbench", nargs="+", metavar="TASK", help="official tasks instead")
    parser.add_argument("--work", default="runs/classical", help="[runs/classical]")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), help="[all]")
    counts = [*map(str, LABELS), ALL]
    parser.add_argument("--labels", nargs="+", default=counts, choices=counts, help="[all]")
    parser.add_argument("--sets", nargs="+", help="feature sets [all that can be had]")
    parser.add_argument(
        "--weights", nargs="+", default=list(DEFAULT_REGRESSOR_WEIGHTS), help="[all that ship]"
    )
    parser.add_argument("--jobs", type=int, default=2, help="processes, one core each [2]")
    parser.add_argument("--out", default="classical.csv", help="[classical.csv; matbench.json]")
    args = parser.parse_args(argv)
    if args.matbench:
        if args.out == parser.get_default("out"):
            args.out = "matbench.json"
        return args
    if not args.data:
        parser.error("--data is needed: the folder of the parquet files")
    if args.jobs < 1:
        parser.error("--jobs must be at least 1")
    names = [Path(w).name for w in args.weights]
    if len(set(names)) < len(names):
        parser.error(f"weights need different names, got {', '.join(names)}")
    for given, known in ((args.tasks, TASKS), (args.sets or [], feature_sets(names))):
        for name in given:
            if name not in known:
                parser.error(f"{name!r} is none of {', '.join(known)}")
    for file in {TASKS[t].file for t in args.tasks}:
        if not (Path(args.data) / file).is_file():
            parser.error(f"{Path(args.data) / file}: no such file; check --data")
    return args


def plan(args: argparse.Namespace, tables: dict[str, pd.DataFrame]) -> list[Cell]:
    """Cells of the table, those of one task and feature set in the order of their labels."""
    cells = []
    skipped = set()
    for task in args.tasks:
        table = tables[TASKS[task].crystals]
        counts = [n for n in label_counts(TASKS[task], table) if str(n) in args.labels]
        for name, (_, blocks) in feature_sets([Path(w).name for w in args.weights]).items():
            if args.sets and name not in args.sets:
                continue
            missing = [b for b in blocks if not is_feasible(b, len(table))]
            skipped |= {(task, b) for b in missing}
            if not missing:
                cells += [Cell(task, name, n) for n in counts if _is_wanted(task, name, n, table)]
    for block in sorted({b for _, b in skipped}):
        print(f"without {block}: {', '.join(sorted(t for t, b in skipped if b == block))}")
    return cells


def _is_wanted(task: str, features: str, n_labels: int | str, table: pd.DataFrame) -> bool:
    if features.startswith(RECIPE) and TASKS[task].classes:
        return False
    few = ("magpie+", "control+fingerprint+", f"{RECIPE}_")
    if features not in FEW_LABELS_ONLY and not features.startswith(few):
        return True
    n = n_train(TASKS[task], table) if n_labels == ALL else int(n_labels)
    return n <= FEW_LABELS


def _cost(wanted: tuple[str, str]) -> tuple[bool, bool]:
    crystals, block = wanted
    return block in ("tight-binding", "chgnet", "structural"), crystals.startswith("mp_mt")


def compute_block(data: Path, blocks: Blocks, crystals: str, block: str) -> None:
    """Compute one block of columns, unless it is there."""
    if not blocks.path(block).exists():
        blocks.compute(block, read_crystals(data, crystals, structures=True))


def run_parallel(
    run: Callable[..., object],
    tasks: list[tuple[Any, ...]],
    jobs: int,
    report: Callable[[int, int, tuple[Any, ...]], None],
) -> None:
    """Run tasks in processes, or here if there is to be one; tell of each that ends."""
    if jobs == 1:
        # The libraries are loaded, and the environment no longer asked.
        with threadpool_limits(1):
            for done, task in enumerate(tasks, 1):
                run(*task)
                report(done, len(tasks), task)
        return
    with SpawnedPool(jobs) as pool:
        futures: dict[Future[object], tuple[Any, ...]] = {pool.submit(run, *t): t for t in tasks}
        for done, future in enumerate(as_completed(futures), 1):
            future.result()
            report(done, len(tasks), futures[future])


def finished(
    cells: list[Cell], folder: Path, blocks_of: dict[str, Blocks], sets: dict[str, Any]
) -> Iterator[tuple[Cell, Blocks, Path]]:
    """Cells that have been run with the columns as they are now."""
    digests: dict[tuple[str, str], str] = {}
    for cell in cells:
        crystals = TASKS[cell.task].crystals
        blocks = blocks_of[crystals]
        key = crystals, cell.features
        if key not in digests:
            digests[key] = blocks.digest(sets[cell.features][1])
        path = cell_path(folder, cell, digests[key])
        if path.exists():
            yield cell, blocks, path


def result_table(
    cells: list[Cell], folder: Path, blocks_of: dict[str, Blocks], sets: dict[str, Any]
) -> tuple[pd.DataFrame, CellErrors]:
    """A row for each head of each finished cell, and the errors of the test rows."""
    rows = []
    errors: CellErrors = {}
    for cell, blocks, path in finished(cells, folder, blocks_of, sets):
        for head, facts, e in read_cell(path):
            # Of several trainings, the mean error of each row.
            errors[cell.task, str(cell.labels), cell.features, head] = e.test.mean(0, dtype=float)
            rows.append(
                {
                    "task": cell.task,
                    "labels": str(cell.labels),
                    "features": cell.features,
                    "head": head,
                    "settings": e.settings,
                    "metric": TASKS[cell.task].metric,
                    **summary(e),
                    **facts,
                    "featurize_cpu_s_per_1000": blocks.seconds(sets[cell.features][1]),
                    "fit_cpu_s": e.seconds,
                }
            )
    table = pd.DataFrame(rows)
    if len(table):
        cell_of = ["task", "labels", "features"]
        best = table.groupby(cell_of)["val_error"].transform("min")
        table["best_head_on_val"] = table["val_error"] == best
        numbers = table.select_dtypes("float").columns
        table[numbers] = table[numbers].map(lambda v: float(f"{v:.5g}"))
    return table, errors


def summary(errors: HeadErrors) -> dict[str, float]:
    """Mean errors over subsets, and how they scatter."""
    on_test = errors.test.mean(axis=1, dtype=float)
    return {
        "n_subsets": len(on_test),
        "val_error": float(errors.val.mean()),
        "test_error": float(on_test.mean()),
        "test_error_sd_subsets": float(on_test.std(ddof=1)) if len(on_test) > 1 else float("nan"),
    }


def test_formulas(table: pd.DataFrame, column: str) -> pd.Series:
    """Reduced formulas of the test rows of a task."""
    wanted = table[column].notna() & (table["formula_split"] == "test")
    return table.loc[wanted, "formula_reduced"]


if __name__ == "__main__":
    run_script(main)
