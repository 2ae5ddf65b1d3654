"""VICReg against its formula, and its optimum."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.multiprocessing
from encoded_batches import orthogonal_components, random_views

from objectives.vicreg import vicreg


def test_vicreg_is_the_published_formula() -> None:
    views = random_views(9, 4)
    first, second = (v.numpy() for v in views)
    invariance = np.mean([(a - b) ** 2 for a, b in zip(first.ravel(), second.ravel(), strict=True)])
    variance = covariance = 0.0
    for v in (first, second):
        matrix = np.cov(v.T)
        variance += np.mean([max(0.0, 1 - math.sqrt(matrix[i, i] + 1e-4)) for i in range(4)]) / 2
        covariance += sum(matrix[i, j] ** 2 for i in range(4) for j in range(4) if i != j) / 4
    expected = 25 * invariance + 20 * variance + 2 * covariance
    assert float(vicreg(*views, 25, 20, 2)) == pytest.approx(expected, rel=1e-9)


def test_vicreg_of_equal_uncorrelated_wide_components_is_zero_and_of_a_collapse_is_not() -> None:
    views = orthogonal_components()
    assert vicreg(views, views, 25, 25, 1) < 1e-12
    point = torch.ones_like(views)
    assert float(vicreg(point, point, 25, 25, 1)) == pytest.approx(25 * 0.99)
    # The views may not part.
    assert float(vicreg(views, views + 2, 25, 25, 1)) == pytest.approx(25 * 4)
