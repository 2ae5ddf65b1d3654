"""How fast are the columns, side by side with matminer's own?

    python training/speed.py --data mp20_val_test.parquet --out training/results/speed.csv

Every contender turns the same structures into a DataFrame in a fresh process of its own, several
rounds in turn, on ``--cores`` cores. The whole path is timed, from ``Structure`` objects on;
the first three rows warm up imports and caches and are not counted. CHGNet takes part where it is
installed (the extra ``teacher``).
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pandas as pd

from benchmarks.columns.peer_features import CHGNetFeatures, structural_stack
from benchmarks.labelled_tables import structures_of
from harness.command import run_script, script_parser
from harness.jobs import run_jobs
from harness.result_tables import write_table

IMPORT_ON_TOP = (
    "import matminer.featurizers.base, time; t = time.perf_counter();"
    "from matminer_unate import UnateFeaturizer; print(time.perf_counter() - t)"
)


def main() -> None:
    args = parse_arguments()
    cores = sorted(os.sched_getaffinity(0))[: args.cores]
    os.sched_setaffinity(0, cores)
    # A hundred times slower, so it gets fewer rows and one round.
    slow = "matminer structural stack"
    jobs = [
        (name, args.data, min(args.rows, 60) if name == slow else args.rows)
        for number in range(args.rounds)
        for name in CONTENDERS
        if name != slow or number == 0
    ]
    rows = []
    for _, job in run_jobs(measure, jobs, 1, fresh=True, n_threads=len(cores)):
        rows.append(job.result())
        print(rows[-1], flush=True)
    rows += [{"what": "import", "seconds": import_seconds()} for _ in range(args.rounds)]
    summary = summarise(pd.DataFrame(rows))
    print(summary.round(3).to_string())
    write_table(summary.round(4), args.out, f"medians over rounds, on {len(cores)} cores")


def parse_arguments() -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--data", required=True, help="parquet file of structures")
    parser.add_argument("--rows", type=int, default=1000, help="structures [1000]")
    parser.add_argument("--rounds", type=int, default=5, help="[5]")
    parser.add_argument("--cores", type=int, default=2, help="[2]")
    parser.add_argument("--out", default="speed.csv")
    return parser.parse_args()


def unate(weights: str | None = None) -> Any:
    from matminer_unate import UnateFeaturizer

    return UnateFeaturizer(weights) if weights else UnateFeaturizer()


def site_descriptor_stats() -> Any:
    from matminer_unate import SiteDescriptorStats

    return SiteDescriptorStats()


def tight_binding_stats() -> Any:
    from matminer_unate import TightBindingStats

    return TightBindingStats()


def magpie(n_jobs: int | None) -> Any:
    from matminer.featurizers.composition import ElementProperty

    featurizer = ElementProperty.from_preset("magpie", impute_nan=True)
    if n_jobs:
        featurizer.set_n_jobs(n_jobs)
    return featurizer


CONTENDERS: dict[str, Callable[[], Any]] = {
    "UNATE": unate,
    "UNATE, taught": lambda: unate("mp_v2_taught"),
    "SiteDescriptorStats": site_descriptor_stats,
    "TightBindingStats": tight_binding_stats,
    "matminer Magpie, 1 process": lambda: magpie(1),
    "matminer Magpie, all cores": lambda: magpie(None),
    "matminer structural stack": structural_stack,
}
if find_spec("chgnet"):
    CONTENDERS["CHGNet atom features"] = CHGNetFeatures


def measure(name: str, data: str, n_rows: int) -> dict[str, Any]:
    """Seconds from structures to a DataFrame, and the peak memory of the process."""
    table = pd.read_parquet(data, columns=["lattice", "species", "frac_coords", "n_sites"])
    structures = structures_of(table[table["n_sites"] <= 20].sample(n_rows + 3, random_state=0))
    featurizer = CONTENDERS[name]()

    def featurize(some: list[Any]) -> pd.DataFrame:
        column = [s.composition for s in some] if "Magpie" in name else some
        frame = pd.DataFrame({"crystal": column})
        return featurizer.featurize_dataframe(frame, "crystal", ignore_errors=True, pbar=False)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        featurize(structures[:3])
        started = time.perf_counter()
        out = featurize(structures[3:])
        seconds = time.perf_counter() - started
    return {
        "what": name,
        "rows": len(out),
        "columns": out.shape[1] - 1,
        "seconds": seconds,
        "structures_per_s": len(out) / seconds,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def import_seconds() -> float:
    """What importing UnateFeaturizer adds to importing matminer's base."""
    out = subprocess.run(
        [sys.executable, "-c", IMPORT_ON_TOP],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return float(out)


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """Medians over rounds."""
    summary = table.groupby("what", sort=False).median().reset_index()
    speed = summary.set_index("what")["structures_per_s"]
    summary["unate_is_faster_by"] = [speed["UNATE"] / v for v in summary["structures_per_s"]]
    summary["rounds"] = table.groupby("what", sort=False).size().to_numpy()
    return summary


if __name__ == "__main__":
    run_script(main)
