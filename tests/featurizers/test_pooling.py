"""site vectors → crystal vector, and graphs → batches."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from matminer_unate.crystals.batching import fill_batches
from matminer_unate.crystals.graph import RadiusGraph
from matminer_unate.errors import InputError
from matminer_unate.featurizers.pooling import POOLINGS, check_pooling, pool

RNG = np.random.default_rng(0)


def test_pooling_equals_numpy_crystal_by_crystal() -> None:
    sizes = [1, 4, 2, 7]
    sites = RNG.normal(size=(sum(sizes), 5)).astype(np.float32)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    pooled = pool(sites, starts, POOLINGS)
    for row, (a, b) in zip(pooled, itertools.pairwise(starts), strict=True):
        expected = [getattr(sites[a:b], name)(axis=0) for name in POOLINGS]
        np.testing.assert_allclose(row, np.concatenate(expected), rtol=1e-5, atol=1e-6)


def test_the_order_of_poolings_is_the_order_of_columns() -> None:
    sites = RNG.normal(size=(6, 2)).astype(np.float32)
    starts = np.array([0, 2, 6])
    both = pool(sites, starts, ("max", "mean"))
    np.testing.assert_array_equal(both[:, :2], pool(sites, starts, ("max",)))
    np.testing.assert_array_equal(both[:, 2:], pool(sites, starts, ("mean",)))


def test_equal_sites_have_no_spread_and_size_only_enters_the_sum() -> None:
    one = RNG.normal(size=(1, 3)).astype(np.float32)
    eight = np.repeat(one, 8, axis=0)
    starts = np.array([0, 1, 9])
    pooled = pool(np.concatenate([one, eight]), starts, ("mean", "std", "min", "max", "sum"))
    np.testing.assert_array_equal(pooled[0, :12], pooled[1, :12])
    assert (pooled[:, 3:6] == 0).all()
    np.testing.assert_allclose(pooled[1, 12:], 8 * pooled[0, 12:], rtol=1e-6)


@pytest.mark.parametrize("pooling", ["median", (), ("mean", "mean"), ("mean", "Mean")])
def test_unknown_repeated_or_no_poolings_are_refused(pooling: object) -> None:
    with pytest.raises(InputError, match="mean, std, min, max, sum"):
        check_pooling(pooling)


def graph(n_edges: int) -> RadiusGraph:
    return RadiusGraph(
        np.ones(1, dtype=np.int64),
        np.zeros((2, n_edges), dtype=np.int64),
        np.zeros((n_edges, 3), dtype=np.float32),
        np.zeros((n_edges, 3), dtype=np.int64),
    )


def test_batches_hold_everything_in_order_within_the_budget() -> None:
    sizes = RNG.integers(1, 60, size=50)
    batches = list(fill_batches(((i, graph(n)) for i, n in enumerate(sizes)), 100))
    assert [i for batch in batches for i, _ in batch] == list(range(50))
    assert all(sum(g.n_edges for _, g in batch) <= 100 for batch in batches)


def test_a_graph_above_the_budget_is_a_batch_of_its_own() -> None:
    batches = list(fill_batches([(0, graph(5)), (1, graph(500)), (2, graph(5))], 100))
    assert [[i for i, _ in batch] for batch in batches] == [[0], [1], [2]]


def test_graphs_are_drawn_only_as_batches_need_them() -> None:
    drawn = []

    def items():
        for i in range(100):
            drawn.append(i)
            yield i, graph(10)

    next(fill_batches(items(), 50))
    assert len(drawn) <= 6
