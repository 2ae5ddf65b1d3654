"""What a CIF says its crystal is made of, against what was read."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import gcd

from pymatgen.core import Element

from matminer_unate.cif.tokens import Block, decimals

SYMBOLS = frozenset({element.symbol for element in Element} - {"T"} | {"D"})
"""T is a tetrahedral site in most files that have it, not tritium."""

FORMULAS = ("_chemical_formula_sum", "_chemical_formula_moiety", "_chemical_formula_structural")
"""The first of these that can be read is believed."""

UNITS = "_cell_formula_units_z"
DENSITIES = ("_exptl_crystal_density_diffrn", "_cell_density")
VOLUME = "_cell_volume"

ROUNDING = 0.01
"""Relative difference of amounts that is taken for rounding where the crystal is disordered or the
formula has decimals; other formulas must agree to the atom."""

_PART = re.compile(r"([A-Z][a-z]?|[(\[]|[)\]])(\d*\.?\d*)(?:\(\d+\))?")
_CAPITALS = re.compile(_PART.pattern.replace("[a-z]", "[A-Za-z]"))
"""Formulas of old programs are in capitals: NA CL. CO is cobalt there, elsewhere C and O."""

Amounts = Mapping[str, tuple[float, float]]
"""Element → how much of it, and by how much that may be off."""


@dataclass(frozen=True)
class Formula:
    """A formula as the file has it.

    Attributes
    ----------
    tag : str
    text : str
    amounts : dict
        By element; deuterium counts as hydrogen.
    """

    tag: str
    text: str
    amounts: Amounts
    other: Amounts | None = None
    """Another reading, where the formula is in capitals."""

    @property
    def is_whole(self) -> bool:
        return all(value == round(value) for value, _ in self.amounts.values())

    def is_divided(self, units: float) -> bool:
        """Whether this can be the formula of a cell with so many formula units."""
        return units > 0 and all(
            abs(a / units - round(a / units)) < 1e-6 for a, _ in self.amounts.values()
        )

    def units(self, found: Amounts, is_ordered: bool) -> float | None:
        """How many of this formula a cell of these atoms holds; None if it is another compound."""
        if self.other is not None:
            other = replace(self, amounts=self.other, other=None).units(found, is_ordered)
            if other is not None:
                return other
        exact = is_ordered and self.is_whole
        for element, (amount, _) in self.amounts.items():
            if amount and element in found:
                units = found[element][0] / amount
                if all(
                    self._agree(found.get(e, (0.0, 0.0)), e, units, exact)
                    for e in {*found, *self.amounts}
                ):
                    return units
        return None

    def _agree(self, found: tuple[float, float], element: str, units: float, exact: bool) -> bool:
        amount, off = self.amounts.get(element, (0.0, 0.0))
        if exact:
            return abs(found[0] - units * amount) < 1e-6 * max(1.0, found[0])
        allowed = max(ROUNDING * found[0], found[1], units * off) + 1e-6
        return abs(found[0] - units * amount) <= allowed


def find_formula(block: Block) -> tuple[Formula | None, str]:
    """The formula of a block, and a remark where there is one that cannot be read."""
    remark = ""
    for tag in FORMULAS:
        text = block.single(tag)
        if text is None or text.strip() in ("?", ".", ""):
            continue
        amounts, other = parse_formula(text), parse_formula(text, _CAPITALS)
        if amounts or other:
            shown = " ".join(text.split())
            return Formula(tag, shown, amounts or other or {}, other if amounts else None), ""
        remark = remark or (
            f"the formula {' '.join(text.split())[:60]!r} ({tag}) cannot be understood; the "
            "composition was not checked with it"
        )
    return None, remark


def parse_formula(text: str, pattern: re.Pattern[str] = _PART) -> Amounts | None:
    """Amounts of ``C2 H6 O``, ``Mg (O H)2``, ``Na0.97 Cl`` or ``(C H4)2, 3(H2 O)``, or None."""
    total: dict[str, tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
    for moiety in re.split(r"[,·]", text):
        parsed = _moiety(moiety.strip(), pattern)
        if parsed is None:
            return None
        for element, (amount, off) in parsed.items():
            total[element] = (total[element][0] + amount, total[element][1] + off)
    return dict(total)


def _moiety(text: str, pattern: re.Pattern[str]) -> dict[str, tuple[float, float]] | None:
    before = re.match(r"(\d+\.?\d*)\s*(?=[(A-Z\[])", text)
    times = float(before[1]) if before else 1.0
    # A charge, as in (N H4 1+), belongs to no element.
    text = re.sub(r"(?<=\s)\d*[+-](?=\s|\)|$)", "", text[before.end() :] if before else text)
    stack: list[dict[str, tuple[float, float]]] = [{}]
    end = 0
    for match in pattern.finditer(text):
        if text[end : match.start()].strip():
            return None
        end = match.end()
        symbol, written = match.groups()
        count, off = (float(written), _last_digit(written)) if written else (1.0, 0.0)
        if symbol in "([":
            if written:
                return None
            stack.append({})
        elif symbol in ")]":
            if len(stack) < 2:
                return None
            _add(stack[-2], stack.pop(), count)
        else:
            symbol = symbol.capitalize()
            if symbol not in SYMBOLS:
                return None
            _add(stack[-1], {symbol: (1.0, off / count if count else 0.0)}, count)
    if text[end:].strip() or len(stack) > 1 or not stack[0]:
        return None
    return {element: (times * a, times * b) for element, (a, b) in stack[0].items()}


def _add(
    into: dict[str, tuple[float, float]], what: Mapping[str, tuple[float, float]], count: float
) -> None:
    for element, (amount, off) in what.items():
        known = into.get(hydrogen(element), (0.0, 0.0))
        into[hydrogen(element)] = (known[0] + count * amount, known[1] + count * off)


def hydrogen(symbol: str) -> str:
    """H for deuterium."""
    return "H" if symbol == "D" else symbol


def _last_digit(written: str) -> float:
    """Half a unit of the last decimal."""
    places = decimals(written)
    return 0.5 * 10.0**-places if places else 0.0


def written(amounts: Amounts) -> str:
    """Amounts as a formula; without their common divisor."""
    values = {e: amount for e, (amount, _) in amounts.items()}
    counts = [round(v) for v in values.values()]
    if all(abs(v - c) < 1e-6 for v, c in zip(values.values(), counts, strict=True)):
        divisor = gcd(*counts) or 1
        values = {e: v / divisor for e, v in values.items()}
    return " ".join(f"{e}{'' if v == 1 else f'{v:g}'}" for e, v in values.items())


def difference(formula: Formula, found: Amounts) -> str:
    """Which elements are missing, too many, or of another amount, with the cure."""
    missing = [e for e, (amount, _) in formula.amounts.items() if amount and e not in found]
    extra = [e for e in found if e not in formula.amounts]
    parts = []
    if missing:
        parts.append(f"no {', '.join(missing)} was read")
    if extra:
        parts.append(f"the formula has no {', '.join(extra)}")
    if not parts:
        parts.append("the amounts differ")
    cure = "add the atoms that are missing" if missing else "mend the atoms or the formula"
    if missing == ["H"]:
        cure = "add the positions of the hydrogens"
    return f"{' and '.join(parts)}; {cure}"


def mass_density(found: Amounts, volume: float) -> float:
    """g/cm³ of these atoms in a cell of this volume (Å³)."""
    mass = sum(amount * float(Element(e).atomic_mass) for e, (amount, _) in found.items())
    return mass * 1.66053907 / volume
