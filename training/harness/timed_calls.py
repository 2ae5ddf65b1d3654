"""Time the calls of an estimator in a fresh process, whichever version of the package that finds.

    PYTHONPATH=../before python training/harness/timed_calls.py TightBindingStats structures.json

It needs nothing else of this repository. Printed as JSON: milliseconds a crystal of the first call
and of the best of three later ones. CPU time is that of this process and its children (Linux).
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any


def main() -> None:
    from pymatgen.core import Structure

    import matminer_unate

    warnings.simplefilter("ignore")
    kind, path = sys.argv[1:]
    structures = [Structure.from_dict(entry) for entry in json.loads(Path(path).read_text())]
    estimator: Any = getattr(matminer_unate, kind)(on_error="nan")
    call = estimator.featurize if hasattr(estimator, "predict") else estimator.transform
    times = []
    for _ in range(4):
        cpu, wall = cpu_seconds(), time.perf_counter()
        call(structures)
        cpu, wall = cpu_seconds() - cpu, time.perf_counter() - wall
        times.append(
            {f"{k}_ms": 1e3 * s / len(structures) for k, s in (("cpu", cpu), ("wall", wall))}
        )
    later = min(times[1:], key=lambda some: some["wall_ms"])
    print(json.dumps({"first": times[0], "later": later}))


def cpu_seconds() -> float:
    """Of this process and of its children that are there now."""
    seconds = time.process_time()
    for threads in Path("/proc/self/task").glob("*/children"):
        for child in threads.read_text().split():
            fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
            seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return seconds


if __name__ == "__main__":
    main()
