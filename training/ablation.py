"""Which parts of the pretraining earn their place, and how much of it pays?

    python training/ablation.py --data DIR --out training/results/ablation.csv --jobs 2
    python training/ablation.py --table learning_curves --data DIR --jobs 2 \\
        --out training/results/learning_curves.csv

Every row of the table is one pretraining at the same budget (10,000 crystals of up to 20 sites of
``train`` formulas, the same number of epochs) with one thing changed, judged on ``val`` formulas:
errors of ridge, kernel ridge and LightGBM on its columns (``benchmarks/columns/judge.py``),
accuracy of masked species, share of the variance of site embeddings within elements. The learning
curves vary the number of epochs and of crystals, cells of up to 60 sites, the rest as the default.
``mp_v3`` holds trials of settings at equal core time, judged by kernel ridge alone.
Every run has a process of its own, whose output is in ``output.txt`` of its folder. Finished rows
are kept in the table; run again to add the missing ones. ``DIR`` holds the parquet files of the
Materials Project; ``--tight-binding`` is a file of their site targets (``teachers.py``), so that
these are not computed anew for every run. ``--judge`` adds a row of weights that are there already.
"""

from __future__ import annotations

import argparse
import resource
import runpy
import shutil
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pandas as pd

from harness.command import require_positive, run_script, script_parser
from harness.jobs import run_jobs
from harness.result_tables import GrowingTable

PRETRAIN = Path(__file__).with_name("pretrain.py")

FILES = (
    "mp_mtcgcnn.parquet",
    "mp20_val_test.parquet",
    "mpts52_val_test.parquet",
    "mp_elasticity.parquet",
    "mp_piezoelectric.parquet",
    "mp_extra.parquet",
)
"""Pretraining data in ``--data``."""

BASE = "--limit 10000 --max-sites 20 --epochs 4 --max-edges 20000 --warmup 0.1 --ema 0.99"

NO_TIGHT_BINDING = "--weights.tight-binding 0 --weights.tight-binding-crystal 0"

PUBLISHED = (
    f"--weights.physics 0 --weights.fingerprint 0 {NO_TIGHT_BINDING} --weights.properties 0 "
    "--encoder.n-properties 0"
)
"""Options that leave the losses of the paper: node, adjacency, contrast."""

ROWS: dict[str, str] = {
    "base": "",
    # Each loss removed.
    "no node": "--weights.node 0",
    "no adjacency": "--weights.adjacency 0",
    "no contrastive": "--weights.contrastive 0",
    "no physics": "--weights.physics 0",
    "no fingerprint": "--weights.fingerprint 0",
    "no tight-binding": NO_TIGHT_BINDING,
    "no tight-binding of sites": "--weights.tight-binding 0",
    "no tight-binding of crystals": "--weights.tight-binding-crystal 0",
    "no site targets": f"--weights.physics 0 --weights.fingerprint 0 {NO_TIGHT_BINDING}",
    "no property targets": "--weights.properties 0",
    "no element grounding": "--weights.properties 0 --encoder.n-properties 0",
    "contrastive only": "--weights.node 0 --weights.adjacency 0 --weights.physics 0 "
    f"--weights.fingerprint 0 {NO_TIGHT_BINDING} --weights.properties 0 --weights.contrastive 1",
    "site targets only": "--weights.node 0 --weights.adjacency 0 --weights.contrastive 0 "
    "--weights.properties 0",
    "tight-binding only": "--weights.node 0 --weights.adjacency 0 --weights.contrastive 0 "
    "--weights.physics 0 --weights.fingerprint 0 --weights.properties 0",
    # As published, and the published comparison of contrasts.
    "the paper's losses": f"{PUBLISHED} --weights.contrastive 0.5",
    "the paper's losses, barlow": f"{PUBLISHED} --weights.contrastive 0.5 --contrast barlow",
    "the paper's losses, dgi": f"{PUBLISHED} --weights.contrastive 0.5 --contrast dgi",
    "the paper's losses, no contrastive": f"{PUBLISHED} --weights.contrastive 0",
    "unbalanced gradients": "--balance-every 0",
    "atomic element table": "--element-table magpie+atomic --encoder.n-properties 34",
    # The contrastive branch. Its rivals at the weight of half a unit, where they matter.
    "contrastive 0.5": "--weights.contrastive 0.5",
    "barlow 0.5": "--weights.contrastive 0.5 --contrast barlow",
    "vicreg 0.5": "--weights.contrastive 0.5 --contrast vicreg",
    "triplet 0.5": "--weights.contrastive 0.5 --contrast triplet",
    "dgi 0.5": "--weights.contrastive 0.5 --contrast dgi",
    "separate views": "--contrast-views separate",
    "composition-preserving views": "--contrast-views composition",
    "composition-preserving views 0.5": "--contrast-views composition --weights.contrastive 0.5",
    "no hard negatives": "--grouped-share 0",
    # Adjacency.
    "adjacency multiplicity": "--adjacency multiplicity",
    "adjacency bond": "--adjacency bond",
    "adjacency pair-rdf": "--adjacency pair-rdf",
    # Corruption.
    "atom masks only": "--corruption.species-mask-probability 0",
    "species masks only": "--corruption.species-mask-probability 1",
    "mask rate 0.3": "--corruption.mask-rate 0.3",
    "no jitter": "--corruption.jitter",
    "no strain": "--corruption.strain 0",
    "no edge drop": "--corruption.edge-drop 0",
    "no clean crystals": "--corruption.clean-probability 0",
    "a tenth clean crystals": "--corruption.clean-probability 0.1",
    "edge rewiring": "--corruption.edge-rewire 0.1",
    "feature shuffling": "--corruption.shuffle-probability 0.5",
    # Encoder.
    "cartesian": "--encoder.geometry cartesian --corruption.rotate",
    "distance only": "--encoder.geometry distance",
    "width 128": "--encoder.width 128",
    "2 layers": "--encoder.n-layers 2 --encoder.latent-layers 0 1 2 --encoder.column-states 0 1 2",
    "4 layers": "--encoder.n-layers 4 --encoder.latent-layers 0 1 2 3 4 "
    "--encoder.column-states 0 1 2 3 4",
    "cutoff 5.5": "--encoder.cutoff 5.5",
    "latent 64 as columns": "--encoder.latent-dim 64 --encoder.column-states",
    "latent 128 as columns": "--encoder.latent-dim 128 --encoder.column-states",
    # More tasks.
    "edge denoising": "--weights.edge-denoising 0.5",
    "space group": "--weights.space-group 0.5",
    "tight-binding 1": "--weights.tight-binding 1 --weights.tight-binding-crystal 1",
    "tight-binding 10": "--weights.tight-binding 10 --weights.tight-binding-crystal 10",
    "physics 3": "--weights.physics 3",
    "fingerprint 2": "--weights.fingerprint 2",
}

DECIDING = ("base", "no contrastive", "no tight-binding", "no element grounding")
"""Rows that decide the default, run with three seeds."""


CURVES_BASE = "--max-sites 60"

CURVES: dict[str, str] = {
    # Passes over everything; the shipped weights are one more, see --judge.
    "1 epoch": "--epochs 1",
    "3 epochs": "--epochs 3",
    # The same number of steps as 3 epochs of everything, on a part of it.
    "10 % of the crystals": "--limit 4300 --epochs 30",
    "30 % of the crystals": "--limit 13000 --epochs 10",
}

MP_V3_BASE = "--limit 10000 --max-sites 20 --max-edges 20000 --warmup 0.1 --ema 0.99"

ONE_VIEW = "--contrast-views separate --weights.contrastive 0"
TARGETS_FIRST = (
    f"{ONE_VIEW} --weights.tight-binding 10 --weights.tight-binding-crystal 10 "
    "--corruption.clean-probability 0.75"
)

MP_V3: dict[str, str] = {
    # About the same core time each.
    "as mp_v2": "--epochs 4",
    "one view": f"{ONE_VIEW} --epochs 8",
    "targets first": f"{TARGETS_FIRST} --epochs 8",
    "targets first, width 128": f"{TARGETS_FIRST} --epochs 4 --encoder.width 128",
    "targets first, 4 layers": f"{TARGETS_FIRST} --epochs 6 --encoder.n-layers 4 "
    "--encoder.latent-layers 0 1 2 3 4 --encoder.column-states 0 1 2 3 4",
    "targets first, all clean": f"{TARGETS_FIRST} --epochs 8 --corruption.clean-probability 1",
}

TABLES = {
    "ablation": (BASE, ROWS, DECIDING),
    "learning_curves": (CURVES_BASE, CURVES, ()),
    "mp_v3": (MP_V3_BASE, MP_V3, ()),
}
"""Options of all rows, of each row, and rows with three seeds."""

BRIEF = ("mp_v3",)
"""Tables judged by kernel ridge with the most labels only."""


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(argv)
    data, work = Path(args.data), Path(args.work)
    base, rows, deciding = TABLES[args.table]
    runs = [(row, 0) for row in rows] + [(row, seed) for row in deciding for seed in (1, 2)]
    runs = [run for run in runs if args.rows is None or run[0] in args.rows]
    table = GrowingTable(args.out, ("row", "seed"), "one row a run; errors on val formulas")
    runs = [run for run in runs if run not in table.known]
    print(f"{len(table.known)} rows done, {len(runs)} to do", flush=True)
    prepare(data, work)
    for weights in args.judge:
        row = judge_weights(weights, data, work, args.table in BRIEF)
        if (row["row"], 0) not in table.known:
            table.add(row)
    more = ["--tight-binding", args.tight_binding] if args.tight_binding else []
    jobs = [
        (
            name,
            seed,
            [*base.split(), *rows[name].split(), "--seed", str(seed), *more],
            data,
            work,
            args.table in BRIEF,
        )
        for name, seed in runs
    ]
    ended = run_jobs(run_one, jobs, args.jobs, fresh=True)
    for count, (number, job) in enumerate(ended, 1):
        if job.exception():
            print(f"{runs[number]}: {job.exception()!r}", flush=True)
            continue
        table.add(job.result())
        error = job.result()["gap_2000_kernel_ridge"]
        print(f"{count}/{len(jobs)} {runs[number][0]} {error:.4f}", flush=True)


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--data", required=True, help="folder of the parquet files")
    parser.add_argument("--table", choices=TABLES, default="ablation", help="[ablation]")
    parser.add_argument("--work", default="runs/ablation", help="for the runs [runs/ablation]")
    parser.add_argument("--jobs", type=int, default=2, help="runs at once, one core each [2]")
    parser.add_argument("--tight-binding", help="parquet file of tight-binding site targets")
    parser.add_argument("--rows", nargs="*", help="only these")
    parser.add_argument(
        "--judge", nargs="*", default=(), help="names or folders of weights to judge as they are"
    )
    parser.add_argument("--out", default="ablation.csv")
    args = parser.parse_args(argv)
    require_positive(parser, args, "jobs")
    rows = TABLES[args.table][1]
    for name in args.rows or ():
        if name not in rows:
            parser.error(f"{name!r} is no row of {args.table}; it has {', '.join(rows)}")
    for path in filter(None, (args.data, args.tight_binding)):
        if not Path(path).exists():
            parser.error(f"{path}: no such file or folder; check the path")
    return args


def prepare(data: Path, work: Path) -> None:
    """Compute the control columns once, for all runs."""
    from benchmarks.columns.judge import load_judged

    load_judged(data, work / "cache")


def judge_weights(weights: str, data: Path, work: Path, brief: bool) -> dict[str, object]:
    """A row for weights that were trained elsewhere."""
    from benchmarks.columns.judge import judge, load_judged
    from matminer_unate.network.weights import weights_config

    found = weights_config(weights)
    training, name = found.training, found.name
    epochs, run = training["config"]["epochs"], training["run"]
    if "start_from" in run:  # `name` (sha256 …), which need not be there any more
        name += f", from {run['start_from'].split('`')[1]}"
    judged = judge(weights, load_judged(data, work / "cache"), brief)
    return {
        "row": f"{epochs} epochs ({name})",
        "seed": 0,
        "options": f"--epochs {epochs} on {run['processes']} processes",
        **{k: round(v, 5) for k, v in judged.items()},
        "wall_s": run["wall_s"],
    }


def run_one(
    name: str, seed: int, options: list[str], data: Path, work: Path, brief: bool
) -> dict[str, object]:
    """Pretrain and judge one row, in a process of its own; what it prints is kept in a file."""
    from benchmarks.columns.judge import judge, load_judged

    out = work / f"{name.replace(' ', '_')}-{seed}"
    files = [str(data / f) for f in FILES]
    there = (out / "checkpoint.safetensors").exists()
    if not (out / "weights" / "model.safetensors").exists():
        pretrain([*options, "--data", *files, "--out", str(out), "--resume"], out / "output.txt")
    usage = resource.getrusage(resource.RUSAGE_SELF)
    log = pd.read_csv(out / "log.csv").iloc[-1]
    result = {
        "row": name,
        "seed": seed,
        "options": " ".join(Path(o).name if "/" in o else o for o in options),
        **judge(str(out / "weights"), load_judged(data, work / "cache"), brief),
        **held_out_r2(out),
        **{k: log[k] for k in log.index if k.startswith(("monitor_", "scale_")) or k == "wall_s"},
        # Of a run that was stopped and goes on, only the last part would be counted.
        "pretrain_cpu_s": float("nan") if there else usage.ru_utime + usage.ru_stime,
    }
    shutil.rmtree(out / "tensorboard", ignore_errors=True)
    return {k: v if isinstance(v, str) else round(float(v), 5) for k, v in result.items()}


def held_out_r2(out: Path) -> dict[str, float]:
    """How well the targets of held-out crystals are predicted: means, and that of the gap."""
    from pretraining.target_errors import TARGET_ERRORS

    errors = pd.read_csv(out / TARGET_ERRORS)
    means = errors.groupby("objective", sort=False)["r2"].mean()
    gap = errors.loc[errors["quantity"] == "tight_binding_gap", "r2"]
    found = {f"r2_{objective}": float(r2) for objective, r2 in means.items()}
    return found | ({"r2_tight_binding_gap": float(gap.iloc[0])} if len(gap) else {})


def pretrain(options: list[str], output: Path) -> None:
    """Run ``pretrain.py`` in this process as its users do."""
    output.parent.mkdir(parents=True, exist_ok=True)
    sys.argv = [str(PRETRAIN), *options]
    with output.open("a", encoding="utf-8") as file, redirect_stdout(file), redirect_stderr(file):
        runpy.run_path(str(PRETRAIN), run_name="__main__")


if __name__ == "__main__":
    run_script(main)
