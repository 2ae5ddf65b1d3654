"""Points and what is known of them → one HTML file that needs nothing else, not even a network."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from typing import Any

import numpy as np
import pandas as pd

from matminer_unate.errors import InputError

MOST_CATEGORIES = 12
"""Texts of a column that get a colour of their own; the rest is grey."""
DIGITS = 6

PLACES = ("x", "y")


def map_page(
    points: pd.DataFrame,
    axes: tuple[str, str],
    element_colors: Mapping[str, tuple[int, int, int]],
    color: str | None,
    title: str,
    source: str,
) -> str:
    """An interactive page: hover, colour by a column, search by formula, lasso to CSV.

    Parameters
    ----------
    points : DataFrame
        ``x``, ``y``, ``id``, ``formula`` and any other columns.
    axes : pair of str
        Names of the axes.
    element_colors : mapping
        Red, green and blue, 0 to 255, of the elements in the periodic table.
    color : str, optional
        The column that is shown first. Default: the first one of numbers, or else the last one.
    title, source : str

    Raises
    ------
    InputError
        ``color`` is no column.
    """
    from plotly.offline import get_plotlyjs  # which takes a second

    columns = {str(name): column_of(points[name]) for name in points if name not in PLACES}
    numeric = [name for name, column in columns.items() if "numbers" in column]
    if color is not None and color not in columns:
        names = ", ".join(columns)
        raise InputError(f"there is no column {color!r} to colour by; there are: {names}")
    data = {
        "x": _rounded(points["x"]),
        "y": _rounded(points["y"]),
        "axes": list(axes),
        "columns": columns,
        "color": color or next(iter(numeric), next(reversed(columns))),
        "elements": periodic_table(element_colors),
    }
    # "<" could end the script early.
    text = json.dumps(data, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    page = files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    filled = {
        "@TITLE@": escape(title),
        "@SOURCE@": escape(f"{len(points):,} crystals, {source}"),
        "@DATA@": text,
        "@PLOTLY@": get_plotlyjs(),
    }
    # In one pass, as what is filled in may hold marks.
    return re.sub("|".join(filled), lambda found: filled[found.group()], page)


def column_of(values: pd.Series) -> dict[str, Any]:
    """``numbers`` (null where unknown), or ``texts`` and as ``categories`` the most frequent."""
    if pd.api.types.is_bool_dtype(values) or not pd.api.types.is_numeric_dtype(values):
        texts = ["" if pd.isna(v) else str(v) for v in values]
        frequent = pd.Series([t for t in texts if t], dtype=object).value_counts()
        return {"texts": texts, "categories": list(frequent.index[:MOST_CATEGORIES])}
    return {"numbers": _rounded(values)}


def periodic_table(colors: Mapping[str, tuple[int, int, int]]) -> list[dict[str, Any]]:
    """Symbol, row, column and colour of all elements; null for those without a colour."""
    from pymatgen.core import Element

    found = []
    for number in range(1, 104):
        element = Element.from_Z(number)
        row, column = element.row, element.group
        if element.is_lanthanoid or element.is_actinoid:
            row, first = (9, 57) if element.is_lanthanoid else (10, 89)
            column = number - first + 4
        rgb = colors.get(element.symbol)
        shade = None if rgb is None else "rgb({}, {}, {})".format(*rgb)
        found.append({"symbol": element.symbol, "row": row, "column": column, "color": shade})
    return found


def _rounded(values: pd.Series) -> list[float | None]:
    """Numbers of a few digits, which make the page smaller; None where they are not finite."""
    numbers = np.asarray(pd.to_numeric(values), dtype=np.float64)
    return [float(f"{v:.{DIGITS}g}") if math.isfinite(v) else None for v in numbers]
