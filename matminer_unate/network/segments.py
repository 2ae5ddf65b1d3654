"""Values of sites → one value for each crystal, or other segment, that they belong to."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor


def segment_pool(
    values: Tensor,
    index: Tensor,
    n_segments: int,
    how: Literal["mean", "min", "max"] = "mean",
    shares: Tensor | None = None,
) -> Tensor:
    """Mean, least or greatest value of each segment.

    ``torch_geometric.utils.scatter`` does the same at the same speed; featurizing goes without it.

    Parameters
    ----------
    values : (n, ...) Tensor
    index : (n,) int64 Tensor
        Segment of each row, in any order.
    n_segments : int
    how : {"mean", "min", "max"}
    shares : (n,) Tensor, optional
        What each row counts in the mean; 1 if not given.

    Returns
    -------
    (n_segments, ...) Tensor
        0 where a segment has no rows.
    """
    pooled = values.new_zeros(n_segments, *values.shape[1:])
    each = index.view(-1, *[1] * (values.ndim - 1))
    if how != "mean":
        where = each.expand_as(values)
        return pooled.scatter_reduce(0, where, values, f"a{how}", include_self=False)
    if shares is not None:
        each = shares.view(-1, *[1] * (values.ndim - 1))
        amount = shares.new_zeros(n_segments).index_add(0, index, shares).clamp(min=1e-6)
        return pooled.index_add(0, index, values * each) / amount.view(-1, *each.shape[1:])
    count = torch.zeros(n_segments, device=index.device)
    count = count.index_add(0, index, torch.ones(len(index), device=index.device)).clamp(min=1.0)
    count = count.view(-1, *each.shape[1:]).to(values.dtype)
    return pooled.index_add(0, index, values) / count
