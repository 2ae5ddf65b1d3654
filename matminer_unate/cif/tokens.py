"""Text of a CIF → its data blocks: values and loops by tag.

The grammar is CIF 1.1 (https://www.iucr.org/resources/cif/spec/version1.1). What does not follow
it is kept beside what does, with its line: a loop that lacks a value is of no matter where nobody
needs that loop, and the reason for a failure where somebody does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from matminer_unate.errors import StructureError

NULLS = frozenset({"?", "."})
"""Unknown, and not applicable; only where they are not quoted."""

_TOKEN = re.compile(
    r"""
      ^;(?P<text>(?s:.*?))(?:^;|\Z)                 # a text field, from ; to ; at starts of lines
    | \#[^\n]*
    | '(?P<single>(?:[^'\n]|'(?=\S))*)'             # a quote ends where white space follows it
    | "(?P<double>(?:[^"\n]|"(?=\S))*)"
    | (?P<word>\S+)
    """,
    re.MULTILINE | re.VERBOSE,
)

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?:\((\d+)\)?)?$")


@dataclass
class Loop:
    """One loop, or one tag with its value (a loop of one row).

    Attributes
    ----------
    line : int
        Where it begins; the first line is 1.
    columns : dict of str to list of (str or None)
        Values by tag; None for ``?`` and ``.`` without quotes.
    fault : str
        Why the columns are empty, where they could not be told apart.
    """

    line: int
    columns: dict[str, list[str | None]]
    fault: str = ""


@dataclass
class Block:
    """One data block.

    Attributes
    ----------
    name : str
    line : int
    loops : dict of str to list of Loop
        By tag: those that have it, which in a good file is one. Tags are in lower case with ``_``
        for ``.``, so that ``_atom_site.fract_x`` of newer dictionaries is ``_atom_site_fract_x``.
    faults : list of str
        What is not CIF, each with its line.
    is_cut : bool
        Whether the text ends within the last value of the block, without an end of the line.
    """

    name: str
    line: int
    loops: dict[str, list[Loop]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    is_cut: bool = False

    def add(self, loop: Loop) -> None:
        for tag in loop.columns:
            self.loops.setdefault(tag, []).append(loop)

    def single(self, tag: str) -> str | None:
        """The value of a tag that is no loop; None where it is missing or unknown.

        Raises
        ------
        StructureError
            The block has two different values for it.
        """
        loops = self.loops.get(tag, ())
        found = dict.fromkeys(v for loop in loops for v in loop.columns[tag] if v is not None)
        if len(found) > 1:
            first, second, *_ = found
            raise StructureError(
                f"the block has {tag} twice, {first!r} and {second!r}; leave one of them"
            )
        return next(iter(found), None)

    def has(self, prefix: str) -> bool:
        """Whether any tag begins like this."""
        return any(tag.startswith(prefix) for tag in self.loops)


def read_blocks(text: str) -> list[Block]:
    """Take the text of a CIF apart; save frames and what precedes the first block are left out.

    Text without any ``data_`` line is one block without a name.
    """
    text = text.removeprefix("\ufeff")
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _Reader(text).read()


_Token = tuple[str, bool, int]
"""Text, whether it is a bare word, and where it begins."""


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.lines = (0, 1)
        self.blocks: list[Block] = []
        self.waiting: tuple[str, int] | None = None  # a tag that has no value yet
        self.open_text = ""

    def read(self) -> list[Block]:
        tokens = self._tokens()
        token = next(tokens, None)
        while token is not None:
            token = self._item(token, tokens)
        self._end_tag()
        if self.open_text and self.blocks:
            self.blocks[-1].faults.append(self.open_text)
        if self.blocks:
            self.blocks[-1].is_cut = not self.text[-1:].isspace()
        return self.blocks

    def _tokens(self) -> Iterator[_Token]:
        for match in _TOKEN.finditer(self.text):
            kind = match.lastgroup
            if kind == "text":
                self._check_closed(match)
            if kind is not None:
                yield match[kind], kind == "word", match.start()

    def _check_closed(self, match: re.Match[str]) -> None:
        if match.end() == len(self.text) and not self.text.endswith("\n;"):
            line = self._line(match.start())
            self.open_text = f"line {line}: a text field begins with ; and is never closed"

    def _item(self, token: _Token, tokens: Iterator[_Token]) -> _Token | None:
        """Take one token, and for a loop or a frame all that belong to it; return the next."""
        word, bare, place = token
        low = word[:7].lower() if bare else ""
        if low.startswith("_"):
            self._end_tag()
            self.waiting = (_tag(word), place)
        elif low.startswith("data_"):
            self._end_tag()
            self.blocks.append(Block(word[5:], self._line(place)))
        elif low == "loop_":
            self._end_tag()
            return self._loop(place, tokens)
        elif low.startswith("save_") and len(word) > 5:
            self._end_tag()
            return _after_frame(tokens)
        elif self.waiting is not None:
            self._add(Loop(self._line(self.waiting[1]), {self.waiting[0]: [_value(word, bare)]}))
            self.waiting = None
        elif self.blocks:
            line, quoted = self._line(place), word.startswith(("'", '"')) and bare
            what = "is a quote that is never closed" if quoted else "belongs to no tag"
            self.blocks[-1].faults.append(f"line {line}: {_short(word)} {what}")
        return next(tokens, None)

    def _loop(self, place: int, tokens: Iterator[_Token]) -> _Token | None:
        tags: list[str] = []
        values: list[str | None] = []
        after = None
        for word, bare, at in tokens:
            if bare and word[0] == "_" and not values:
                tags.append(_tag(word))
            elif bare and _is_keyword(word):
                after = (word, bare, at)
                break
            else:
                values.append(_value(word, bare))
        self._add_loop(self._line(place), tags, values)
        return after

    def _add_loop(self, line: int, tags: list[str], values: list[str | None]) -> None:
        width = len(tags)
        fault = ""
        if not tags:
            fault = f"the loop at line {line} has no tags"
        elif len(set(tags)) < width:
            twice = next(tag for tag in tags if tags.count(tag) > 1)
            fault = f"the loop at line {line} has the tag {twice} twice"
        elif len(values) % width or not values:
            fault = f"the loop at line {line} has {width} tags but {len(values)} values"
        if fault:
            self._add(Loop(line, {tag: [] for tag in tags}, fault))
        else:
            self._add(Loop(line, {tag: values[k::width] for k, tag in enumerate(tags)}))

    def _end_tag(self) -> None:
        """A tag is followed by another tag or by the end: it has no value."""
        if self.waiting is None:
            return
        (tag, place), self.waiting = self.waiting, None
        line = self._line(place)
        self._add(Loop(line, {tag: []}, f"the tag {tag} at line {line} has no value"))

    def _add(self, loop: Loop) -> None:
        if not self.blocks:
            self.blocks.append(Block("", loop.line))
        self.blocks[-1].add(loop)

    def _line(self, place: int) -> int:
        # Places mostly grow, so that the text is counted through once.
        before, line = self.lines if self.lines[0] <= place else (0, 1)
        self.lines = (place, line + self.text.count("\n", before, place))
        return self.lines[1]


def _is_keyword(word: str) -> bool:
    low = word[:5].lower()
    return word[0] == "_" or low in ("loop_", "data_", "save_", "stop_", "globa")


def _after_frame(tokens: Iterator[_Token]) -> _Token | None:
    for word, bare, _ in tokens:
        if bare and word.lower() == "save_":
            break
    return next(tokens, None)


def _tag(word: str) -> str:
    return word.lower().replace(".", "_")


def _value(word: str, bare: bool) -> str | None:
    return None if bare and word in NULLS else word


def _short(word: str) -> str:
    return repr(word if len(word) <= 30 else f"{word[:29]}…")


# -- values ---------------------------------------------------------------------------------------


def number(text: str) -> tuple[float, float] | None:
    """A number of a CIF and its standard uncertainty: ``1.002(5)`` → 1.002, 0.005; None if none."""
    text = text.strip()
    match = _NUMBER.match(text)
    if match is None:
        return None
    value = text.partition("(")[0]
    if match[1] is None:
        return float(value), 0.0
    mantissa, _, exponent = value.lower().partition("e")
    places = decimals(mantissa) - int(exponent or 0)
    return float(value), int(match[1]) * 10.0**-places


def decimals(written: str) -> int:
    """Digits behind the point of a number as it is written, its uncertainty left out."""
    return len(written.partition("(")[0].partition(".")[2])


def is_shortest(written: str, others: Sequence[str]) -> bool:
    """Whether a number, which is among the others, has fewer decimals than all of these."""
    places, own = [decimals(other) for other in others], decimals(written)
    return places.count(own) == 1 and own == min(places)


def no_number(what: str, text: str | None) -> StructureError:
    """The error for a value that should be a number."""
    comma = "; write a decimal point" if "," in (text or "") else "; mend it"
    return StructureError(f"{what} is {text!r}, no number{comma}")
