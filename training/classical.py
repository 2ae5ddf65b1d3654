"""What are the columns worth to someone with LightGBM or kernel ridge?

Trains classical regressors on pooled UNATE columns, on hand-made descriptors, on columns of other
packages and on several of them together, and compares them on held-out formulas:

    python training/classical.py --data data/ --work runs/classical --jobs 3
    python training/classical.py --data data/ --work runs/classical --tasks gap bulk_modulus \\
        --labels 2000 --out gap_and_bulk_modulus.csv

``--data`` is the folder of the parquet files that ``training/benchmarks/properties.py`` names.
The models see random subsets of the ``train`` formulas; every choice (kernel ridge's settings,
LightGBM's, which head) is made on ``val``; each head then meets ``test`` once.

A stopped run goes on with the same command: columns, and the errors of each case of the table
(property, feature set, number of labels), lie in ``--work``. They are computed anew where weights
changed; delete that folder when data or code did. The table is rewritten as cases finish; changes
against references and the table of wins come last.

``UnateRegressor`` is a row with the first weights and one with all of them; it is no classifier.

What is left out, because it costs time and decides nothing: random forests and the feature sets
``FEW_LABELS_ONLY`` above 2,000 labels; the plain setting of LightGBM on more than 300 columns
unless it is 1 % better on val of the first subset; exact kernel ridge above 6,000 labels (3,000
landmarks instead), whose width and penalty are those of the first 2,000 labels.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.columns.cases import Case, HeadErrors, case_path, read_case, run_cases
from benchmarks.columns.column_cache import Blocks
from benchmarks.columns.feature_sets import RECIPE, feature_sets, is_feasible
from benchmarks.columns.statistics import CaseErrors, add_comparisons, count_wins
from benchmarks.columns.subsets import (
    ALL,
    LABELS,
    label_counts,
    n_train,
    parts_of,
    read_property_table,
)
from benchmarks.properties import PROPERTIES, Property
from harness.command import require_positive, run_script, script_parser
from harness.jobs import run_jobs
from harness.result_tables import write_table
from matminer_unate.regressors.recipe_estimator import RECIPE_WEIGHTS

FEW_LABELS = 2000
FEW_LABELS_ONLY = ("megnet-elements", "soap", "tight-binding", "untrained", "chgnet")
"""Feature sets that are run up to ``FEW_LABELS`` only, and with them UNATE added to Magpie or to
the control with fingerprint, and ``UnateRegressor`` with the first weights alone."""

NOTE = "subset seeds 0-4 up to 500 labels, 0-2 above; CPU seconds, one thread"


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(argv)
    data, work = Path(args.data), Path(args.work)
    tables = {c: read_property_table(data, c) for c in {PROPERTIES[t].crystals for t in args.tasks}}
    cases = plan(args, tables)
    blocks = {c: Blocks(work / "columns" / c, args.weights) for c in tables}
    weights = [Path(w).name for w in args.weights]
    sets = feature_sets(weights)
    needed = {(PROPERTIES[c.task].crystals, b) for c in cases for b in sets[c.features][1]}
    wanted = sorted(needed, key=_cost, reverse=True)  # the slow ones first
    jobs = [(data, blocks[c], c, b) for c, b in wanted]
    for done, (k, job) in enumerate(run_jobs(compute_block, jobs, args.jobs), 1):
        job.result()
        print(f"{done}/{len(jobs)} columns: {' '.join(wanted[k])}", flush=True)
    groups: dict[tuple[str, str], list[Case]] = {}
    for case in cases:
        groups.setdefault((case.task, case.features), []).append(case)
    folder = work / "cases"
    names = list(groups)
    fits = [(data, folder, blocks[PROPERTIES[task].crystals], g) for (task, _), g in groups.items()]
    for done, (k, job) in enumerate(run_jobs(run_cases, fits, args.jobs), 1):
        job.result()
        print(f"{done}/{len(fits)} {' '.join(names[k])}", flush=True)
        write_table(result_table(cases, folder, blocks, sets)[0], args.out, NOTE)
    table, errors = result_table(cases, folder, blocks, sets)
    formulas = {t: test_formulas(PROPERTIES[t], tables[PROPERTIES[t].crystals]) for t in args.tasks}
    write_table(add_comparisons(table, errors, formulas), args.out, NOTE)
    wins = count_wins(table, errors, formulas, weights)
    if len(wins):
        write_table(wins, str(Path(args.out).with_name(f"{Path(args.out).stem}_wins.csv")), NOTE)


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--data", required=True, help="folder of the parquet files")
    parser.add_argument("--work", default="runs/classical", help="[runs/classical]")
    parser.add_argument("--tasks", nargs="+", default=list(PROPERTIES), help="[all]")
    counts = [*map(str, LABELS), ALL]
    parser.add_argument("--labels", nargs="+", default=counts, choices=counts, help="[all]")
    parser.add_argument("--sets", nargs="+", help="feature sets [all that can be had]")
    parser.add_argument(
        "--weights", nargs="+", default=list(RECIPE_WEIGHTS), help="[all that ship]"
    )
    parser.add_argument("--jobs", type=int, default=2, help="processes, one core each [2]")
    parser.add_argument("--out", default="classical.csv", help="[classical.csv]")
    args = parser.parse_args(argv)
    require_positive(parser, args, "jobs")
    names = [Path(w).name for w in args.weights]
    if len(set(names)) < len(names):
        parser.error(f"weights need different names, got {', '.join(names)}")
    for given, known in ((args.tasks, PROPERTIES), (args.sets or [], feature_sets(names))):
        for name in given:
            if name not in known:
                parser.error(f"{name!r} is none of {', '.join(known)}")
    for file in {PROPERTIES[t].file for t in args.tasks}:
        if not (Path(args.data) / file).is_file():
            parser.error(f"{Path(args.data) / file}: no such file; check --data")
    return args


def plan(args: argparse.Namespace, tables: dict[str, pd.DataFrame]) -> list[Case]:
    """Cells of the table, those of one task and feature set in the order of their labels."""
    cases = []
    skipped = set()
    for task in args.tasks:
        table = tables[PROPERTIES[task].crystals]
        counts = [n for n in label_counts(PROPERTIES[task], table) if str(n) in args.labels]
        for name, (_, blocks) in feature_sets([Path(w).name for w in args.weights]).items():
            if args.sets and name not in args.sets:
                continue
            missing = [b for b in blocks if not is_feasible(b, len(table))]
            skipped |= {(task, b) for b in missing}
            if not missing:
                cases += [Case(task, name, n) for n in counts if _is_wanted(task, name, n, table)]
    for block in sorted({b for _, b in skipped}):
        print(f"without {block}: {', '.join(sorted(t for t, b in skipped if b == block))}")
    return cases


def _is_wanted(task: str, features: str, n_labels: int | str, table: pd.DataFrame) -> bool:
    few = ("magpie+", "control+fingerprint+", f"{RECIPE}_")
    if features not in FEW_LABELS_ONLY and not features.startswith(few):
        return True
    n = n_train(PROPERTIES[task], table) if n_labels == ALL else int(n_labels)
    return n <= FEW_LABELS


def _cost(wanted: tuple[str, str]) -> tuple[bool, bool]:
    crystals, block = wanted
    return block in ("tight-binding", "chgnet", "structural"), crystals.startswith("mp_mt")


def compute_block(data: Path, blocks: Blocks, crystals: str, block: str) -> None:
    """Compute one block of columns, unless it is there."""
    if not blocks.path(block).exists():
        blocks.compute(block, read_property_table(data, crystals, structures=True))


def finished(
    cases: list[Case], folder: Path, blocks_of: dict[str, Blocks], sets: dict[str, Any]
) -> Iterator[tuple[Case, Blocks, Path]]:
    """Cells that have been run with the columns as they are now."""
    digests: dict[tuple[str, str], str] = {}
    for case in cases:
        crystals = PROPERTIES[case.task].crystals
        blocks = blocks_of[crystals]
        key = crystals, case.features
        if key not in digests:
            digests[key] = blocks.digest(sets[case.features][1])
        path = case_path(folder, case, digests[key])
        if path.exists():
            yield case, blocks, path


def result_table(
    cases: list[Case], folder: Path, blocks_of: dict[str, Blocks], sets: dict[str, Any]
) -> tuple[pd.DataFrame, CaseErrors]:
    """A row for each head of each finished case, and the errors of the test rows."""
    rows = []
    errors: CaseErrors = {}
    for case, blocks, path in finished(cases, folder, blocks_of, sets):
        for head, facts, e in read_case(path):
            # Of several trainings, the mean error of each row.
            errors[case.task, str(case.labels), case.features, head] = e.test.mean(0, dtype=float)
            rows.append(
                {
                    "task": case.task,
                    "labels": str(case.labels),
                    "features": case.features,
                    "head": head,
                    "settings": e.settings,
                    "metric": PROPERTIES[case.task].metric,
                    **summary(e),
                    **facts,
                    "featurize_cpu_s_per_1000": blocks.seconds(sets[case.features][1]),
                    "fit_cpu_s": e.seconds,
                }
            )
    table = pd.DataFrame(rows)
    if len(table):
        case_of = ["task", "labels", "features"]
        best = table.groupby(case_of)["val_error"].transform("min")
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


def test_formulas(property_: Property, table: pd.DataFrame) -> pd.Series:
    """Reduced formulas of the test rows."""
    return table["formula_reduced"].iloc[parts_of(property_, table)[2]]


if __name__ == "__main__":
    run_script(main)
