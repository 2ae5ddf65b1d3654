"""A quantity of a site or crystal: its name, unit and formula, in one place."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

Class = TypeVar("Class", bound=type)

_WIDTH = 96
"""Of the tables, in characters."""


@dataclass(frozen=True)
class Quantity:
    """One number of a site or of a crystal.

    Attributes
    ----------
    name : str
        In words. Columns, targets of pretraining and the names in weights folders are made of it.
    unit : str
        "–" if it has none.
    formula : str
    family : str
        How the tables name it together with those that differ in a number or a shell.
    is_site_mean : bool
        Whether it is that of the crystal which is the mean of one of its sites.
    """

    name: str
    unit: str
    formula: str
    family: str = ""
    is_site_mean: bool = False

    @property
    def column(self) -> str:
        """As a part of a column name: ``shortest_bond``, ``radial_count_1.4A``."""
        return slug(self.name) + ("A" if self.name.endswith(" Å") else "")


def slug(name: str) -> str:
    """``states at -2 eV`` → ``states_at_minus_2_ev``, as targets of pretraining are named."""
    words = re.sub(r"[-−](?=\d)", "minus ", name.lower())
    return re.sub(r"[^a-z0-9.]+", "_", words).strip("_")


def names_of(quantities: Sequence[Quantity]) -> tuple[str, ...]:
    return tuple(quantity.name for quantity in quantities)


def with_tables(**tables: Sequence[Quantity]) -> Callable[[Class], Class]:
    """Decorate a class: where its docstring has ``{physics}``, that table of quantities stands."""

    def fill(cls: Class) -> Class:
        for key, quantities in tables.items():
            if cls.__doc__:
                table = textwrap.indent(_table(quantities), "    ").strip()
                cls.__doc__ = cls.__doc__.replace(f"{{{key}}}", table)
        return cls

    return fill


def _table(quantities: Sequence[Quantity]) -> str:
    rows = {q.family or q.column: (q.unit, q.formula) for q in quantities}
    first = max(map(len, rows))
    second = max(4, *(len(unit) for unit, _ in rows.values()))
    third = _WIDTH - first - second - 2
    rule = " ".join("=" * width for width in (first, second, third))
    lines = [rule, f"{'quantity':{first}} {'unit':{second}} formula", rule]
    for name, (unit, formula) in rows.items():
        head = f"{name:{first}} {unit:{second}} "
        rest = " " * len(head)
        lines += textwrap.wrap(
            formula, _WIDTH, initial_indent=head, subsequent_indent=rest, break_on_hyphens=False
        )
    return "\n".join([*lines, rule])
