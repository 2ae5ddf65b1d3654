"""Progress bars of several stages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm.auto import tqdm


@contextmanager
def stage(name: str, total: int, unit: str, shown: bool, digits: int = 0) -> Iterator[tqdm[Any]]:
    """A progress bar, shown from the start; ``total`` counts ``unit``, to some digits."""
    layout = (
        f"{{desc}}: {{percentage:3.0f}}%|{{bar}}| {{n:.{digits}f}}/{{total}} {unit} "
        "[{elapsed}<{remaining}, {rate_fmt}{postfix}]"
    )
    one = unit.removesuffix("s")
    with tqdm(total=total, desc=name, unit=one, disable=not shown, bar_format=layout) as bar:
        yield bar
