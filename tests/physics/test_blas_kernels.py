"""Tight-binding columns are the same with the BLAS kernels of other processors.

OpenBLAS, which NumPy and SciPy bring along, takes its kernels from ``OPENBLAS_CORETYPE``; each has
its own rounding. A number that hangs on the order of equal energies is another one with each.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from places import ROOT, TESTS

KERNELS = ("Haswell", "SkylakeX", "Nehalem")

SCRIPT = """
import json
from real_crystals import crystals
from threadpoolctl import threadpool_info
import numpy, scipy.linalg
from matminer_unate import TightBindingStats
from matminer_unate.crystals.structures import crystal_arrays
from site_targets.tight_binding import site_targets

found = {}
for name in ("NaCl", "SrTiO3"):
    cell = crystals()[name].get_primitive_structure()
    double = cell.copy()
    double.make_supercell([2, 1, 1])
    found[name] = site_targets(*crystal_arrays(cell)).repeat(2, axis=0).tolist()
    found[name + " doubled"] = site_targets(*crystal_arrays(double)).tolist()
    found[name + " columns"] = [TightBindingStats().featurize(cell)]
kernels = sorted({p["architecture"] for p in threadpool_info() if p["internal_api"] == "openblas"})
print(json.dumps({"kernels": kernels, "found": found}))
"""


def values_with(kernel: str) -> dict[str, np.ndarray]:
    """Site targets and columns, computed in a process of its own with this kernel."""
    folders = TESTS / "support", ROOT, ROOT / "training"
    path = os.pathsep.join([*map(str, folders), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "OPENBLAS_CORETYPE": kernel, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )
    if done.returncode < 0:  # killed by a signal: an instruction this processor lacks
        pytest.skip(f"this processor cannot run OpenBLAS's kernels for {kernel}")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    if result["kernels"] != [kernel]:
        pytest.skip(f"BLAS takes the kernels {result['kernels']} where {kernel} was asked for")
    return {name: np.array(values) for name, values in result["found"].items()}


@pytest.fixture(scope="module")
def usual() -> dict[str, np.ndarray]:
    return values_with(KERNELS[0])


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_doubled_cell_has_the_same_targets_with_every_kernel(
    kernel: str, usual: dict[str, np.ndarray]
) -> None:
    found = usual if kernel == KERNELS[0] else values_with(kernel)
    for name in ("NaCl", "SrTiO3"):
        np.testing.assert_allclose(found[f"{name} doubled"], found[name], atol=1e-3)
    for name, values in found.items():
        np.testing.assert_allclose(values, usual[name], rtol=1e-5, atol=1e-4, err_msg=name)
