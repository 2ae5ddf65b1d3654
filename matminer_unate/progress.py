"""Progress bars: of one stage that counts, and of several whose costs are known."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Lock
from typing import Any, Self

from tqdm.auto import tqdm

LEAST_SECONDS = 2.0
"""Of the expected work. Less of it needs no bar."""

_INTERVAL = 0.1
"""Seconds between two drawings at least."""

_WORK = "{desc}: {percentage:3.0f}%|{bar:20}| {elapsed}<{remaining}{postfix}"


@contextmanager
def stage(name: str, total: int, unit: str, shown: bool, digits: int = 0) -> Iterator[tqdm[Any]]:
    """A progress bar, shown from the start; ``total`` counts ``unit``, to some digits.

    In terminals and notebooks, as :class:`WorkBar`.
    """
    layout = (
        f"{{desc}}: {{percentage:3.0f}}%|{{bar}}| {{n:.{digits}f}}/{{total}} {unit} "
        "[{elapsed}<{remaining}, {rate_fmt}{postfix}]"
    )
    one = unit.removesuffix("s")
    hidden = not (shown and _is_read())
    with tqdm(total=total, desc=name, unit=one, disable=hidden, bar_format=layout) as bar:
        yield bar


class WorkBar:
    """A progress bar over stages that take different times, so that the time left is of them all.

    It is drawn where somebody reads it: in a terminal or a notebook, not in a file.

    Parameters
    ----------
    title : str
    seconds : mapping of str to float
        Stages in their order, and what each is expected to take.
    show : bool
    """

    def __init__(self, title: str, seconds: Mapping[str, float], show: bool) -> None:
        self._seconds = dict(seconds)
        self._title, self._total = title, sum(self._seconds.values())
        self._show = show and self._total >= LEAST_SECONDS and _is_read()
        self._bar: tqdm[Any] | None = None
        self._lock = Lock()

    def __enter__(self) -> Self:
        if self._show:
            # The time left is that of the average speed: stages were weighed by their cost.
            self._bar = tqdm(
                desc=f"{self._title} (about {spoken_seconds(self._total)})",
                total=self._total,
                bar_format=_WORK,
                smoothing=0,
                mininterval=_INTERVAL,
                miniters=0,
                nrows=24,  # a terminal that does not tell its size has a line all the same
            )
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            if exception[0] is None:
                self._move(self._total, "done")
            self._bar.close()

    def rows(self, stage: str, n_rows: int, through: str | None = None) -> Callable[[int], None]:
        """Begin a stage of rows; returns what is to be told the number of rows just finished.

        With ``through``, all stages up to that one are done at once.
        """
        started, n_done = time.perf_counter(), 0
        self.begin(stage)
        tell = self.share(stage, through)

        def done(n: int) -> None:
            nonlocal n_done
            n_done += n
            speed = n_done / max(time.perf_counter() - started, 1e-9)
            tell(n_done / max(n_rows, 1), f" {n_done:,}/{n_rows:,} rows, {speed:,.0f}/s")

        return done

    def begin(self, stage: str) -> None:
        """Show a stage, from which nothing may come for a while."""
        names, seconds = list(self._seconds), list(self._seconds.values())
        self._move(sum(seconds[: names.index(stage)]), stage, at_once=True)

    def share(self, stage: str, through: str | None = None) -> Callable[..., None]:
        """What is to be told the share of a stage that is done; it begins when it is told."""
        names, seconds = list(self._seconds), list(self._seconds.values())
        first, last = names.index(stage), names.index(through or stage)
        before, own = sum(seconds[:first]), sum(seconds[first : last + 1])

        def tell(share: float, text: str = "") -> None:
            self._move(before + min(share, 1.0) * own, stage + text)

        return tell

    def _move(self, to: float, text: str, at_once: bool = False) -> None:
        if self._bar is None:
            return
        with self._lock:
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update(max(to - self._bar.n, 0.0))
            if at_once:
                self._bar.refresh()


def spoken_seconds(seconds: float) -> str:
    """``35 s`` or ``3 min``."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _is_read() -> bool:
    return "ipykernel" in sys.modules or bool(getattr(sys.stderr, "isatty", lambda: False)())
