"""NT-Xent against loops over anchors, and its optimum."""

from __future__ import annotations

import math

import pytest
import torch
import torch.multiprocessing
from encoded_batches import random_views
from torch import Tensor

from objectives.nt_xent import NTXent, nt_xent


def nt_xent_by_loops(
    first: Tensor, second: Tensor, group: list[int], tau: float, hard: list[int], weight: float
) -> float:
    """Equation 1 of arXiv:2002.05709, averaged over the 2B anchors."""
    n = len(first)
    views = [v / v.norm() for v in (*first, *second)]
    groups, hards = [*group, *group], [*hard, *hard]
    total = 0.0
    for a in range(2 * n):
        p = a + n if a < n else a - n
        denominator = math.exp(float(views[a] @ views[p]) / tau)
        for k in range(2 * n):
            if groups[k] != groups[a]:
                times = weight if hards[k] == hards[a] else 1.0
                denominator += times * math.exp(float(views[a] @ views[k]) / tau)
        total -= math.log(math.exp(float(views[a] @ views[p]) / tau) / denominator)
    return total / (2 * n)


@pytest.mark.parametrize(
    "group", [[0, 1, 2, 3, 4, 5], [0, 1, 1, 2, 1, 0]], ids=["single", "groups"]
)
@pytest.mark.parametrize("tau", [0.1, 0.5])
@pytest.mark.parametrize("weight", [1.0, 4.0])
def test_nt_xent_is_the_published_formula(group: list[int], tau: float, weight: float) -> None:
    first, second = random_views()
    hard = [k // 2 for k in group]
    loss = nt_xent(first, second, torch.tensor(group), tau, torch.tensor(hard), weight)
    expected = nt_xent_by_loops(first, second, group, tau, hard, weight)
    assert float(loss) == pytest.approx(expected, rel=1e-10)


def test_nt_xent_has_the_right_gradient() -> None:
    first, second = (v.requires_grad_() for v in random_views(4, 3))
    group, hard = torch.tensor([0, 1, 1, 2]), torch.tensor([0, 0, 0, 1])
    assert torch.autograd.gradcheck(
        lambda a, b: nt_xent(a, b, group, 0.3, hard, 2.0), (first, second)
    )


def test_other_views_of_the_same_formula_are_no_negatives() -> None:
    first, second = random_views(3)
    # Crystal 1 is a duplicate of crystal 0: pushing them apart would cost a lot.
    first[1], second[1] = first[0], second[0]
    told, untold = (nt_xent(first, second, torch.tensor(g), 0.1) for g in ([0, 0, 1], [0, 1, 2]))
    assert told < untold - 0.3
    assert nt_xent(first, second, torch.tensor([0, 0, 0]), 0.1) == 0.0  # only the positive is left


def test_without_temperature_every_view_is_as_likely() -> None:
    first, second = random_views(7)
    loss = nt_xent(first, second, torch.arange(7), 1e9)
    assert float(loss) == pytest.approx(math.log(2 * 7 - 1), abs=1e-6)


def test_equal_views_of_orthogonal_crystals_reach_the_known_optimum() -> None:
    views = torch.eye(4, dtype=torch.float64)
    loss = nt_xent(views, views, torch.arange(4), 0.5)
    assert float(loss) == pytest.approx(math.log(1 + 6 * math.exp(-2)), rel=1e-10)
    assert nt_xent(views, views, torch.arange(4), 0.02) < 1e-15


def test_nt_xent_does_not_depend_on_order_sides_or_length() -> None:
    first, second = random_views()
    group = torch.tensor([0, 1, 1, 2, 3, 4])
    expected = nt_xent(first, second, group, 0.1)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    for other in (
        nt_xent(first[order], second[order], group[order], 0.1),
        nt_xent(second, first, group, 0.1),
        nt_xent(3 * first, 0.1 * second, group, 0.1),
    ):
        torch.testing.assert_close(other, expected)


def test_a_temperature_of_zero_is_an_error() -> None:
    with pytest.raises(ValueError, match="are positive, got 0"):
        NTXent(8, temperature=0.0)
