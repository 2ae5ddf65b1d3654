"""Regression on what is known of the targets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from encoded_batches import sites, view_of

from objectives.target_regression import TargetRegression


def test_site_targets_are_compared_by_mean_squared_error_where_they_are_known() -> None:
    torch.manual_seed(0)
    batch, predicted, targets = sites([1] * 5), torch.randn(5, 6), torch.randn(5, 4)
    targets[2] = torch.nan
    targets[0, 1] = torch.nan
    batch = replace(batch, teacher=targets)
    view = replace(view_of(batch, predicted, torch.ones(5).bool(), batch.z), predicted=predicted)
    loss, _ = TargetRegression("teacher", slice(1, 3), slice(4, 6))(view, batch)
    squares = [
        float(predicted[i, 4 + k] - targets[i, 1 + k]) ** 2
        for i in range(5)
        for k in range(2)
        if not torch.isnan(targets[i, 1 + k])
    ]
    assert len(squares) == 7
    assert float(loss) == pytest.approx(np.mean(squares), rel=1e-5)
    unknown = replace(batch, teacher=torch.full((5, 4), torch.nan))
    assert TargetRegression("teacher", slice(1, 3), slice(4, 6))(view, unknown)[0] == 0.0
