"""What a command is doing, how fast, and how long it will take: one line on a terminal."""

from __future__ import annotations

import sys
import time
from threading import Event, Thread
from types import TracebackType
from typing import Self

from tqdm import tqdm

_WAITING = "{desc} [{elapsed}]"
_COUNTING = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} rows [{elapsed}{postfix}]"

_TICK = 0.5
"""Seconds after which the line is drawn again, so that it is seen that the program lives."""


class CommandProgress:
    """A bar on stderr, where that is a terminal; it leaves nothing behind.

    Parameters
    ----------
    quiet : bool
        Show nothing.
    name : str
        The first stage.
    """

    def __init__(self, quiet: bool, name: str) -> None:
        # disable=None: no bar where stderr is a file.
        disable = True if quiet else None
        # nrows: a terminal that does not tell its size has a line all the same.
        self._bar = tqdm(
            desc=name, bar_format=_WAITING, disable=disable, leave=False, mininterval=0, nrows=24
        )
        self._since = self._last = time.perf_counter()
        self._before = 0
        self._closed = Event()
        self._ticker = Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Self:
        if not self._bar.disable:
            self._ticker.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closed.set()
        if self._ticker.is_alive():
            self._ticker.join()
        self._bar.close()

    def stage(self, name: str, total: int | None = None) -> None:
        """Begin something else; the rate is that of this stage.

        Parameters
        ----------
        name : str
            What is being done.
        total : int, optional
            Rows in all, from when on they are known.
        """
        self._since = self._last = time.perf_counter()
        self._before = self._bar.n
        if total is not None:
            self._bar.total = total
        self._bar.bar_format = _COUNTING if self._bar.total else _WAITING
        self._bar.set_description_str(name, refresh=False)
        self._draw()

    def update(self, n: int = 1) -> None:
        """Count rows that are done."""
        self._last = time.perf_counter()
        self._bar.update(n)
        # More than were foreseen: a file of a folder may hold several crystals.
        if self._bar.total is not None and self._bar.n > self._bar.total:
            self._bar.total = self._bar.n

    def say(self, text: str) -> None:
        """Print a line on stderr, above the bar."""
        self._bar.clear()
        print(f"unate: {text}", file=sys.stderr)

    def _tick(self) -> None:
        while not self._closed.wait(_TICK):
            self._draw()

    def _draw(self) -> None:
        if self._bar.disable:
            return
        done, seconds = self._bar.n - self._before, self._last - self._since
        text = ""
        if done and seconds > _TICK:
            rate = done / seconds
            left = (self._bar.total - self._bar.n) / rate - (time.perf_counter() - self._last)
            text = f"{rate:,.1f} rows/s, {tqdm.format_interval(max(0, left))} left"
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.refresh()
