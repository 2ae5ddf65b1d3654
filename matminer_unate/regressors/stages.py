"""The stages of a fit, and what each is expected to take; for the bar that shows the time left."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from matminer_unate.regressors.network_expert import network_seconds
from matminer_unate.regressors.recipe import OPTIONAL
from matminer_unate.regressors.training_rows import NONE, Blocks

FIT_ROWS = (0, 250, 2_000, 16_000)
FIT_SECONDS = (3.0, 8.0, 38.0, 150.0)
"""Of one core, for the model with all blocks; for the time left."""
KERNEL_SHARE = 0.3
"""Of it, kernel ridge regression."""
QUICK_SHARE = 0.4
"""What a model without a block takes of it."""


def stage_names(k: int, n_targets: int, models: Sequence[Blocks]) -> list[tuple[str, str]]:
    """Stages of the fit of a target: kernel ridge and trees of each model."""
    target = f"target {k + 1}/{n_targets}, " if n_targets > 1 else ""
    names = [f"without {', '.join(sorted(blocks))}, " if blocks else "" for blocks in models]
    return [(f"{target}{name}kernel", f"{target}{name}trees") for name in names]


def network_stage(k: int, n_targets: int) -> str:
    """Stage of the network of a target."""
    return f"target {k + 1}/{n_targets}, network" if n_targets > 1 else "network"


def stage_seconds(
    n_rows: int, n_targets: int, n_folds: int, tight_binding: bool, network: bool = False
) -> dict[str, float]:
    """Expected seconds of these stages."""
    whole = float(np.interp(n_rows, FIT_ROWS, FIT_SECONDS)) * n_folds / 5
    models = [NONE, *(frozenset([block]) for block in OPTIONAL if tight_binding)]
    stages = {}
    for k in range(n_targets):
        names = stage_names(k, n_targets, models)
        for blocks, (kernel, trees) in zip(models, names, strict=True):
            seconds = whole * (QUICK_SHARE if blocks else 1.0)
            stages[kernel], stages[trees] = seconds * KERNEL_SHARE, seconds * (1 - KERNEL_SHARE)
            if not blocks:
                expected = network_seconds(n_rows, n_folds) if network else 0.0
                stages[network_stage(k, n_targets)] = expected
    return stages
