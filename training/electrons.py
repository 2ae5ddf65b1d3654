"""Is a change of the tight-binding model worth it? Columns with it, against those without.

    python training/electrons.py --data data/ --work runs/electrons \\
        --out training/results/electrons.csv

For each property, 3,000 crystals of up to 20 sites are drawn from the ``train`` formulas and cut
into three folds by formula. Kernel ridge and LightGBM are fitted three times, on two folds each
(2,000 crystals), and meet all crystals of the ``val`` formulas and those of the third fold. No
``test`` formula takes part. Variants are compared crystal by crystal with ``present``: the columns
of ``TightBindingStats`` but for the five of dispersion, which came of these trials and are the
part ``dispersion``. What variants change in the model is told in
``training/benchmarks/electrons/``.

A stopped run goes on with the same command: blocks of columns and the table's rows are kept. Delete
``--work`` and the table when code or data change.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.columns.regressors import Matrix
from benchmarks.electrons.judging import HEADS, JUDGED, Judge, Judgement, Trial, load_trial
from benchmarks.electrons.parts import CONTROL_PART, PARTS, compute_parts
from benchmarks.properties import PROPERTIES
from harness.command import run_script, script_parser
from harness.comparisons import bootstrap_change, paired_change, resample_formulas
from harness.jobs import run_on_one_thread
from harness.result_tables import GrowingTable

PRESENT = "present"
"""The columns of the model without dispersion, as when the trials began."""
BESIDE_CONTROL = "control too"
ADDITIONS = ("dispersion", "edge counts", "transitions", "pressure", "volume")
"""Parts that are columns beside the present ones; all others can also take their place."""

VARIANTS: dict[str, tuple[str, ...]] = {
    PRESENT: (PRESENT,),
    **{f"{part} instead": (part,) for part in PARTS if part not in (PRESENT, *ADDITIONS)},
    **{f"{part} too": (PRESENT, part) for part in PARTS if part != PRESENT},
    "dispersion and pressure too": (PRESENT, "dispersion", "pressure"),
    BESIDE_CONTROL: (PRESENT, CONTROL_PART),
    "control: dispersion too": (PRESENT, CONTROL_PART, "dispersion"),
    "control: pressure too": (PRESENT, CONTROL_PART, "pressure"),
    "control: feedback instead": ("feedback", CONTROL_PART),
    "control: feedback and exchange instead": ("feedback and exchange", CONTROL_PART),
}
"""Those that begin with ``control:`` are compared with the present columns beside the control."""


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(argv)
    run_on_one_thread(run, args)


def run(args: argparse.Namespace) -> None:
    """Compute the columns, fit, and write."""
    note = "three fits (seeds 0-2) on two thirds of 3,000 train crystals; errors on val formulas"
    table = GrowingTable(args.out, ("property", "variant", "head"), note)
    always = (
        VARIANTS[BESIDE_CONTROL] if any(v.startswith("control:") for v in args.variants) else ()
    )
    wanted = list(dict.fromkeys(p for v in args.variants for p in (PRESENT, *always, *VARIANTS[v])))
    for name in args.crystals:
        trial = load_trial(Path(args.data), name)
        folder = Path(args.work) / name
        seconds = compute_parts(trial.table["structure"], wanted, folder)
        print(name, {k: round(v, 1) for k, v in seconds.items()}, "CPU s", flush=True)
        blocks = {p: np.load(folder / f"{p}.npy") for p in wanted}
        judge_variants(trial, blocks, args.variants, table)


def judge_variants(
    trial: Trial, blocks: dict[str, Matrix], variants: list[str], table: GrowingTable
) -> None:
    """Add a row for each property, variant and head that the table does not have."""
    judge = Judge(trial, blocks[PRESENT])
    held_out = trial.table["formula_reduced"].to_numpy()
    for key, fits in trial.fits.items():
        val = fits[0].val
        formulas = np.concatenate([held_out[val], held_out[: val[0]]])
        codes, counts = resample_formulas(formulas, n_draws=2_000)
        for head in HEADS:
            missing = [v for v in variants if (key, v, head) not in table.known]
            if not missing:
                continue
            references = {}
            for variant in missing:
                against = BESIDE_CONTROL if variant.startswith("control:") else PRESENT
                if against not in references:
                    columns = np.hstack([blocks[p] for p in VARIANTS[against]])
                    references[against] = judge.judge(columns, key, head)
                columns = np.hstack([blocks[p] for p in VARIANTS[variant]])
                found = references.get(variant) or judge.judge(columns, key, head)
                row: dict[str, Any] = {
                    "property": key,
                    "variant": variant,
                    "head": head,
                    "against": against,
                }
                row |= {"metric": PROPERTIES[key].metric, "n_columns": columns.shape[1]}
                row |= compared(found, references[against], len(val), codes, counts)
                table.add(row)


def compared(
    found: Judgement, present: Judgement, n_val: int, codes: Any, counts: Any
) -> dict[str, float]:
    """Errors on val and held-out rows, and changes in per cent."""
    over_fits = paired_change(found.val.mean(axis=1), present.val.mean(axis=1))
    over_rows = bootstrap_change(found.rows, present.rows, codes, counts)
    numbers = {
        "val_error": found.val.mean(),
        "held_out_error": found.held_out.mean(),
        "val_change_pct": over_fits.percent,
        "val_change_low": over_fits.low,
        "val_change_high": over_fits.high,
        "held_out_change_pct": 100 * (found.held_out.mean() / present.held_out.mean() - 1),
        "rows_change_pct": over_rows.percent,
        "rows_change_low": over_rows.low,
        "rows_change_high": over_rows.high,
    }
    return {k: float(f"{v:.4g}") for k, v in numbers.items()}


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--data", required=True, help="folder of the parquet files")
    parser.add_argument("--work", default="runs/electrons", help="[runs/electrons]")
    parser.add_argument("--crystals", nargs="+", default=list(JUDGED), choices=JUDGED)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), help="[all]")
    parser.add_argument("--out", default="electrons.csv", help="[electrons.csv]")
    args = parser.parse_args(argv)
    for variant in args.variants:
        if variant not in VARIANTS:
            parser.error(f"{variant!r} is none of {', '.join(VARIANTS)}")
    if not Path(args.data).is_dir():
        parser.error(f"{args.data}: no such folder; check --data")
    return args


if __name__ == "__main__":
    run_script(main)
