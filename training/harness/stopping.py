"""Ctrl-C: steps that are finished first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")


@contextmanager
def interrupt_at_the_end() -> Iterator[None]:
    """Ctrl-C within the block is raised when it ends; a second one at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard: list[bool] = []

    def hear(*_: object) -> None:
        if heard:
            raise KeyboardInterrupt
        heard.append(True)

    usual = signal.signal(signal.SIGINT, hear)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
    if heard:
        raise KeyboardInterrupt


def whole_steps(items: Iterable[Item]) -> Iterator[Item]:
    """The items; Ctrl-C is raised between them, not while one of them is worked on."""
    for item in items:
        with interrupt_at_the_end():
            yield item
