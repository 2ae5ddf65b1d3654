"""Options whose worker ends while it computes the row 20, as where its memory is too small."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from matminer_unate.engine.computing import FeaturizedColumns, FeaturizeOptions, Results
from matminer_unate.engine.report import RowReport
from matminer_unate.io.input_rows import InputRow

MARK, TIMES = "UNATE_TEST_MARK", "UNATE_TEST_TIMES"
"""Environment: a file that tells that a worker has ended; ``once`` or ``always``."""


class DyingColumns(FeaturizedColumns):
    """Columns of a worker that ends."""

    def __init__(self, columns: FeaturizedColumns) -> None:
        self.__dict__.update(columns.__dict__)

    def compute(self, rows: Iterable[InputRow], report: RowReport) -> Results:
        kept, mark = list(rows), Path(os.environ[MARK])
        is_time = os.environ[TIMES] == "always" or not mark.exists()
        if is_time and any(row.carried["n"] == 20 for row in kept):
            mark.write_text("")
            os._exit(9)
        return super().compute(kept, report)


class DyingOptions(FeaturizeOptions):
    """Options that load them."""

    def load(self) -> Any:
        return DyingColumns(super().load())
