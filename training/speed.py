"""How fast are the columns, side by side with matminer's own?

    python training/speed.py --data mp20_val_test.parquet --out training/results/speed.csv
    python training/speed.py --data mp_mtcgcnn.parquet --sites 50 100 --rows 100 --out large.csv

Every contender turns the same structures into a DataFrame in a fresh process of its own, several
rounds in turn, on ``--cores`` cores. The whole path is timed, from ``Structure`` objects on;
the first three rows warm up imports and caches and are not counted. ``UnateRegressor.featurize``
is timed part by part too, once its tables of these elements are filled, with what its parts share
in ``structures`` or in the first part that needs it.

Run it with the extra ``teacher`` (``pip install "matminer_unate[teacher]"``), without which CHGNet
is left out, and while nothing else computes. ``cpu_seconds`` are of a contender's process and of
those that it starts: where ``seconds`` are more than these, it has waited for the cores. matminer,
unless told otherwise, starts a new process for every ten rows on as many cores as there are.
"""

from __future__ import annotations

import argparse
import multiprocessing
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
from matminer_unate.progress import WorkBar

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
        (name, args.data, min(args.rows, 60) if name == slow else args.rows, tuple(args.sites))
        for number in range(args.rounds)
        for name in args.only or CONTENDERS
        if name != slow or number == 0
    ]
    rows = []
    for _, job in run_jobs(measure, jobs, 1, fresh=True, n_threads=len(cores)):
        rows += job.result()
        print(rows[-1], flush=True)
    if not args.only:
        rows += [{"what": "import", "seconds": import_seconds()} for _ in range(args.rounds)]
    summary = summarise(pd.DataFrame(rows))
    print(summary.round(3).to_string())
    write_table(summary.round(4), args.out, f"medians over rounds, on {len(cores)} cores")


def parse_arguments() -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--data", required=True, help="parquet file of structures")
    parser.add_argument("--rows", type=int, default=1000, help="structures [1000]")
    parser.add_argument("--sites", type=int, nargs=2, default=(1, 20), help="of a cell [1 20]")
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, help="contenders [all]")
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


class PartTimes(WorkBar):
    """Takes the place of the progress bar, and keeps the seconds of each part."""

    def __init__(self) -> None:
        super().__init__("", {}, show=False)
        self.parts: dict[str, tuple[float, float]] = {}
        self._part: tuple[str, float, float] | None = None

    def rows(self, stage: str, n_rows: int, through: str | None = None) -> Callable[[int], None]:
        """A part begins, and the one before it ends."""
        self.end()
        self._part = stage.removeprefix("columns: "), time.perf_counter(), time.process_time()
        return lambda n: None

    def end(self) -> None:
        """The last part ends."""
        if self._part is not None:
            part, wall, cpu = self._part
            self.parts[part] = time.perf_counter() - wall, time.process_time() - cpu


class RegressorColumns:
    """``UnateRegressor.featurize`` as a featurizer, with the seconds of its parts."""

    def __init__(self) -> None:
        from matminer_unate import UnateRegressor

        self.recipe = UnateRegressor()._recipe()
        self.times = PartTimes()

    def featurize_dataframe(self, df: pd.DataFrame, col_id: str, **options: Any) -> pd.DataFrame:
        """Formula and columns, twice: the first time fills tables."""
        structures = list(df[col_id])
        self.recipe.describe(structures, None, True, PartTimes())
        self.times = PartTimes()
        copies = [structure.copy() for structure in structures]
        found = self.recipe.describe(copies, None, True, self.times).table
        self.times.end()
        return found


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
    "UnateRegressor": RegressorColumns,
    "matminer Magpie, 1 process": lambda: magpie(1),
    "matminer Magpie, all cores": lambda: magpie(None),
    "matminer structural stack": structural_stack,
}
if find_spec("chgnet"):
    CONTENDERS["CHGNet atom features"] = CHGNetFeatures


def measure(name: str, data: str, n_rows: int, sites: tuple[int, int]) -> list[dict[str, Any]]:
    """Seconds from structures to a DataFrame, and the peak memory of the process; of parts too."""
    table = pd.read_parquet(data, columns=["lattice", "species", "frac_coords", "n_sites"])
    some = table[table["n_sites"].between(*sites)].sample(n_rows + 3, random_state=0)
    structures = structures_of(some)
    featurizer = CONTENDERS[name]()

    def featurize(some: list[Any]) -> pd.DataFrame:
        column = [s.composition for s in some] if "Magpie" in name else some
        frame = pd.DataFrame({"crystal": column})
        return featurizer.featurize_dataframe(frame, "crystal", ignore_errors=True, pbar=False)

    # A spawned process spawns those that it starts, and each of matminer's, for ten rows, would
    # import everything anew: forty times slower than the forked ones that its users have.
    multiprocessing.set_start_method(None, force=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        featurize(structures[:3])
        started, cpu = time.perf_counter(), cpu_seconds()
        out = featurize(structures[3:])
        took = {name: (time.perf_counter() - started, cpu_seconds() - cpu)}
    if isinstance(featurizer, RegressorColumns):
        parts = featurizer.times.parts
        wall, cpu = (sum(seconds) for seconds in zip(*parts.values(), strict=True))
        took = {name: (wall, cpu)} | {f"{name}: {part}": both for part, both in parts.items()}
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return [
        {
            "what": what,
            "rows": len(out),
            "columns": out.shape[1] - 1 if what == name else None,
            "seconds": wall,
            "cpu_seconds": cpu,
            "structures_per_s": len(out) / wall,
            "peak_memory_mb": memory,
        }
        for what, (wall, cpu) in took.items()
    ]


def cpu_seconds() -> float:
    """Of this process, and of those that it has started and that have ended."""
    return sum(os.times()[:4])


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
    summary["unate_is_faster_by"] = speed.get("UNATE", float("nan")) / summary["structures_per_s"]
    summary["rounds"] = table.groupby("what", sort=False).size().to_numpy()
    return summary


if __name__ == "__main__":
    run_script(main)
