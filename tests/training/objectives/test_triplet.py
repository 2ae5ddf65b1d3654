"""The triplet loss against loops over anchors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.multiprocessing
from encoded_batches import random_views
from torch import Tensor

from objectives.triplet import triplet


def triplet_by_loops(
    first: Tensor, second: Tensor, formula: list[int], system: list[int], margin: float
) -> float:
    """Mean over the anchors that have a negative; of the own chemical system, if there is one."""
    a, b = ([v / v.norm() for v in views] for views in (first, second))
    each = []
    for i in range(len(a)):
        others = [j for j in range(len(b)) if formula[j] != formula[i]]
        hard = [j for j in others if system[j] == system[i]]
        distances = [float((a[i] - b[j]).norm()) for j in hard or others]
        if distances:
            each.append(max(0.0, float((a[i] - b[i]).norm()) - min(distances) + margin))
    return float(np.mean(each)) if each else 0.0


@pytest.mark.parametrize("margin", [0.2, 1.0])
@pytest.mark.parametrize(
    ("formula", "system"),
    [
        ([0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5]),
        ([0, 1, 1, 2, 3, 0], [0, 1, 1, 1, 2, 0]),
        ([0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]),
    ],
    ids=["all differ", "systems", "one formula"],
)
def test_triplet_is_the_published_formula(
    formula: list[int], system: list[int], margin: float
) -> None:
    first, second = random_views()
    loss = triplet(first, second, torch.tensor(formula), torch.tensor(system), margin)
    expected = triplet_by_loops(first, second, formula, system, margin)
    assert float(loss) == pytest.approx(expected, rel=1e-9)


def test_the_hard_negative_is_of_the_same_chemical_system() -> None:
    angle = torch.tensor([0.0, 0.2, 0.5, 2.0], dtype=torch.float64)
    views = torch.stack([angle.cos(), angle.sin()], dim=1)
    formula, system = torch.tensor([0, 1, 2, 3]), torch.tensor([0, 1, 2, 0])
    chosen = triplet(views[:1], views[:1], formula[:1], system[:1], 1.0)
    assert chosen == 0.0  # alone: no negative
    # Crystal 1 is the nearest to crystal 0, but crystal 3 shares its chemical system.
    chord = [2 * math.sin(x / 2) for x in (2.0, 0.2, 0.3, 2.0)]
    expected = np.mean([max(0.0, 1 - c) for c in chord])
    assert float(triplet(views, views, formula, system, 1.0)) == pytest.approx(expected)


def test_triplet_of_distant_crystals_is_zero() -> None:
    views = torch.eye(5, dtype=torch.float64)
    number = torch.arange(5)
    assert triplet(views, views, number, number, 1.4) == 0.0
    assert float(triplet(views, views, number, number, 1.5)) == pytest.approx(1.5 - math.sqrt(2))
