"""Blocks: the same ones whoever computes which of them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from matminer_unate.engine.blocks import Blocks, Shard
from matminer_unate.errors import InputError
from matminer_unate.io.input_rows import InputRow, Source, selected, within


def source(name: str, n: int, held: int | None = None) -> Source:
    def parse(number: int, content: str) -> list[InputRow]:
        return [InputRow(content, content, None)]

    contents = [f"{name}{k}" for k in range(n if held is None else held)]
    return Source(Path(name), partial(selected, contents), parse, n, (Path(name),))


def found(blocks: Blocks, numbers: list[int]) -> dict[int, list[str]]:
    return {
        number: [content for _, _, content in contents]
        for number, contents in blocks.contents(numbers)
    }


def test_blocks_run_through_all_inputs() -> None:
    blocks = Blocks([source("a", 3), source("b", 0), source("c", 4)], 2)
    assert (blocks.n_items, blocks.n_blocks) == (7, 4)
    every = {0: ["a0", "a1"], 1: ["a2", "c0"], 2: ["c1", "c2"], 3: ["c3"]}
    assert found(blocks, [0, 1, 2, 3]) == every
    assert found(blocks, [1, 3]) == {1: every[1], 3: every[3]}
    assert found(blocks, []) == {}
    assert blocks.pieces(1) == [(0, range(2, 3)), (2, range(0, 1))]


def test_each_block_is_of_one_shard() -> None:
    blocks = Blocks([source("a", 100)], 3)
    shards = [blocks.of(Shard(k, 7)) for k in range(1, 8)]
    assert sorted(block for shard in shards for block in shard) == list(range(34))
    assert max(map(len, shards)) - min(map(len, shards)) <= 1
    assert Shard.parse("3/7") == Shard(3, 7)
    assert Shard(1, 2).meets(Shard(1, 3))
    assert not Shard(1, 2).meets(Shard(2, 2))


def test_an_input_that_ends_too_early_is_told() -> None:
    blocks = Blocks([source("a", 9, held=5)], 2)
    with pytest.raises(InputError, match="a became shorter while it was read"):
        found(blocks, [0, 1, 2, 3])
    with pytest.raises(InputError, match="became shorter"):
        found(blocks, [4])


@pytest.mark.parametrize("held", [1, 5, 8])
def test_a_block_that_is_not_whole_is_never_handed_out_whole(held: int) -> None:
    with pytest.raises(InputError, match="a, b became shorter while it was read"):
        found(Blocks([source("a", 9, held), source("b", 3)], 100), [0])


@pytest.mark.parametrize("ranges", [[], [range(0, 1)], [range(2, 4), range(4, 5), range(8, 20)]])
def test_ranges_select_by_number(ranges: list[range]) -> None:
    wanted = {n for r in ranges for n in r if n < 10}
    assert [n for n, _ in selected("abcdefghij", ranges)] == sorted(wanted)
    clipped = within(ranges, 3, 9)
    assert {n for r in clipped for n in r} == {n for n in wanted if 3 <= n < 9}
