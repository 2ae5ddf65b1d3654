"""Barlow Twins against its formula, and its optimum."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.multiprocessing
from encoded_batches import orthogonal_components, random_views

from objectives.barlow_twins import barlow_twins


def test_barlow_twins_is_the_published_formula() -> None:
    first, second = random_views(9, 4)
    expected = 0.0
    for i in range(4):
        for j in range(4):
            c = np.corrcoef(first[:, i].numpy(), second[:, j].numpy())[0, 1]
            expected += (1 - c) ** 2 if i == j else 0.02 * c**2
    assert float(barlow_twins(first, second, 0.02)) == pytest.approx(expected, rel=1e-6)


def test_barlow_twins_of_equal_uncorrelated_components_is_zero() -> None:
    views = orthogonal_components()
    assert barlow_twins(views, views, 1.0) < 1e-12
    # Mean and scale of a component do not matter.
    assert barlow_twins(views, 3 * views + 7, 1.0) < 1e-12
    # Opposite views: every diagonal correlation is −1.
    assert float(barlow_twins(views, -views, 1.0)) == pytest.approx(4 * 7)
    # A component that repeats another one.
    twice = torch.cat([views[:, :1], views[:, :1]], dim=1)
    assert float(barlow_twins(twice, twice, 0.3)) == pytest.approx(2 * 0.3)
