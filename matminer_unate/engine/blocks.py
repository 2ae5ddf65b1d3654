"""Inputs → numbered blocks of rows: always the same ones, whoever computes which of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Self

from matminer_unate.errors import InputError
from matminer_unate.io.input_rows import InputRow, Source, within

PART_ROWS = 2_000
"""Items of the input in a block: some seconds of work, or a minute of the slowest columns."""


@dataclass(frozen=True)
class Shard:
    """Every n-th block, from the k-th (from 1) on: sorted inputs are shared evenly too.

    Attributes
    ----------
    k, n : int
    """

    k: int = 1
    n: int = 1

    @classmethod
    def parse(cls, text: str) -> Self:
        """From ``K/N``; raises ValueError."""
        k, slash, n = text.partition("/")
        if not (slash and k.isdecimal() and n.isdecimal() and 1 <= int(k) <= int(n)):
            raise ValueError(f"{text!r} is no K/N with K from 1 to N")
        return cls(int(k), int(n))

    def __str__(self) -> str:
        return f"{self.k}/{self.n}"

    def has(self, block: int) -> bool:
        """Whether a block is of this shard."""
        return block % self.n == self.k - 1

    def meets(self, other: Shard) -> bool:
        """Whether two shards may have a block in common."""
        return self.n != other.n or self.k == other.k


@dataclass(frozen=True)
class Blocks:
    """The items of all inputs in turn, as many to a block.

    Attributes
    ----------
    sources : sequence of Source
    size : int
    """

    sources: Sequence[Source]
    size: int = PART_ROWS

    @property
    def n_items(self) -> int:
        return sum(source.n_rows for source in self.sources)

    @property
    def n_blocks(self) -> int:
        return -(-self.n_items // self.size)

    def of(self, shard: Shard) -> list[int]:
        """Numbers of a shard's blocks."""
        return [block for block in range(self.n_blocks) if shard.has(block)]

    def items_of(self, block: int) -> range:
        """Numbers of a block's items, through all inputs."""
        return range(block * self.size, min((block + 1) * self.size, self.n_items))

    def contents(self, blocks: Sequence[int]) -> Iterator[tuple[int, Iterator[Content]]]:
        """Blocks with what is to be parsed of each, which is fetched as it is asked for.

        Raises
        ------
        InputError
            An input has become shorter.
        """
        wanted = iter(blocks)
        for block, some in groupby(self._fetched(blocks), lambda found: found[0]):
            if block != next(wanted):
                break
            yield block, whole((content for _, content in some), self.items_of(block), self.names)
        if next(wanted, None) is not None:
            raise _shorter(self.names)

    @property
    def names(self) -> str:
        """The first inputs, for messages."""
        return ", ".join(str(source.path) for source in self.sources[:3])

    def pieces(self, block: int) -> list[tuple[int, range]]:
        """Numbers of the sources of a block, with the range of items of each."""
        items, start, found = self.items_of(block), 0, []
        for k, source in enumerate(self.sources):
            stop = start + source.n_rows
            found += [
                (k, range(r.start - start, r.stop - start)) for r in within([items], start, stop)
            ]
            start = stop
        return found

    def _fetched(self, blocks: Sequence[int]) -> Iterator[tuple[int, Content]]:
        ranges = _joined([self.items_of(block) for block in blocks])
        start = 0
        for k, source in enumerate(self.sources):
            stop = start + source.n_rows
            own = [range(r.start - start, r.stop - start) for r in within(ranges, start, stop)]
            if own:
                for number, content in source.fetch(own):
                    yield (start + number) // self.size, (k, number, content)
            start = stop


Content = tuple[int, int, Any]
"""Number of the source, number of the item in it, and its content."""


def whole(contents: Iterable[Content], items: range, names: str) -> Iterator[Content]:
    """The contents of a block.

    Raises
    ------
    InputError
        At their end, if they are fewer than its items.
    """
    n = 0
    for content in contents:
        n += 1
        yield content
    if n < len(items):
        raise _shorter(names)


def _shorter(names: str) -> InputError:
    return InputError(f"{names} became shorter while it was read; start anew with --overwrite")


def parsed(sources: Sequence[Any], contents: Iterator[Content]) -> Iterator[InputRow]:
    """The rows of items; of the sources, ``parse`` is used."""
    for k, number, content in contents:
        yield from sources[k](number, content)


def _joined(ranges: Sequence[range]) -> list[range]:
    """Ranges, those that touch in one."""
    found: list[range] = []
    for one in ranges:
        if found and found[-1].stop == one.start:
            found[-1] = range(found[-1].start, one.stop)
        else:
            found.append(one)
    return found
