from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from matminer_unate.io.writing import KEPT_BYTES, LEAST_GROUP_BYTES, group_bytes, join_tables

N_COLUMNS, N_ROWS = 16, 16_000


def parts(n: int) -> Iterator[pa.Table]:
    for k in range(n):
        values = np.random.default_rng(k).normal(size=(N_COLUMNS, N_ROWS)).astype(np.float32)
        yield pa.table({f"c{j}": column for j, column in enumerate(values)})


def test_while_tables_are_joined_one_row_group_is_in_memory(tmp_path: Path) -> None:
    held = []

    def watched() -> Iterator[pa.Table]:
        for part in parts(25):
            held.append(pa.total_allocated_bytes())
            yield part

    before = pa.total_allocated_bytes()
    schema = next(parts(1)).schema
    join_tables(watched(), tmp_path / "out.parquet", ".parquet", schema, 0)
    one = next(parts(1)).nbytes
    assert max(held) - before <= LEAST_GROUP_BYTES + one
    with pq.ParquetFile(tmp_path / "out.parquet") as file:
        assert file.read().equals(pa.concat_tables(parts(25)))
        rows = [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)]
    assert all(n * one / N_ROWS >= LEAST_GROUP_BYTES for n in rows[:-1])


@pytest.mark.parametrize("n_bytes", [10**8, 10**9, 10**10, 10**11])
def test_row_groups_are_of_the_size_that_takes_least_memory(n_bytes: int) -> None:
    def memory(group: int) -> float:
        return group + 400 * KEPT_BYTES * n_bytes / group

    chosen = group_bytes(n_bytes, 400)
    assert chosen >= LEAST_GROUP_BYTES
    assert memory(chosen) <= min(memory(chosen * 2), memory(chosen // 2))
    # A hundred times the rows take ten times the memory, and not a hundred times.
    assert group_bytes(100 * n_bytes, 400) == pytest.approx(10 * chosen, rel=0.01)


def test_small_tables_have_row_groups_of_the_least_size() -> None:
    assert group_bytes(10**6, 400) == LEAST_GROUP_BYTES
