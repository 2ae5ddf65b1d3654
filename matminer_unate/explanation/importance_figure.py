"""The importances of a fitted model → a figure of bars, in words and with units."""

from __future__ import annotations

import re
import textwrap
from typing import Any

from matminer_unate.errors import InputError
from matminer_unate.regressors.recipe import (
    CELL,
    COMPOSITION,
    FINGERPRINT,
    LEARNED,
    SITES,
    TIGHT_BINDING,
)
from matminer_unate.regressors.recipe_estimator import RecipeEstimator

KINDS = {
    COMPOSITION: ("composition and space group", "#4c78a8"),
    SITES: ("sites and bonds", "#54a24b"),
    CELL: ("layers and springs", "#b279a2"),
    TIGHT_BINDING: ("electrons, tight binding", "#e45756"),
    FINGERPRINT: ("distances and directions", "#eeca3b"),
    LEARNED: ("learned", "#9d9da1"),
}
"""In words, and the colour of each block; all weights are one."""

WIDTH = 46
"""Letters of a line beside a bar."""


def plot_importances(model: RecipeEstimator[Any], n: int = 15, ax: Any = None) -> Any:
    """Draw what a fitted model looks at: the columns with a name, and how much each block counts.

    Parameters
    ----------
    model : UnateRegressor or UnateClassifier
        Fitted. Of several targets, the mean is drawn.
    n : int
        Bars: the most important columns that have a name. Channels of the network have none, and
        are in the legend alone, where every block has the sum of its columns.
    ax : Axes, optional
        Default: of a new figure.

    Returns
    -------
    Axes

    Raises
    ------
    NotFittedError
        The model is not fitted.
    InputError
        ``n`` is below 1, or the model has no importances by block.

    Examples
    --------
    >>> from matminer_unate import UnateRegressor, plot_importances
    >>> from matminer_unate.datasets import load_semiconductors
    >>> df = load_semiconductors().head(40)
    >>> axes = plot_importances(UnateRegressor().fit(df["structure"], df["gap_ev"]))
    """
    import matplotlib.pyplot as plt

    if not isinstance(model, RecipeEstimator):
        raise InputError(
            f"importances are drawn of a UnateRegressor or UnateClassifier, not of {model!r}"
        )
    if not isinstance(n, int) or n < 1:
        raise InputError(f"n is a number of bars, at least 1; got {n!r}")
    importances = model.feature_importances_
    table = model.describe_columns().assign(importance=importances)
    is_learned = table["block"].str.startswith(LEARNED)
    table["kind"] = table["block"].where(~is_learned, LEARNED)
    table["words"] = [
        _in_words(meaning, unit)
        for meaning, unit in zip(table["meaning"], table["unit"], strict=True)
    ]
    is_channel = table["meaning"].str.contains(r"^(?:channel|component) \d+ of")
    top = table[~is_channel].nlargest(n, "importance").iloc[::-1]
    if ax is None:
        ax = plt.figure(figsize=(9, 0.9 + 0.3 * n), layout="constrained").add_subplot()
    ax.barh(range(len(top)), 100 * top["importance"], color=[KINDS[k][1] for k in top["kind"]])
    ax.set_yticks(range(len(top)), top["words"], fontsize=8)
    ax.set_ylim(-0.6, len(top) - 0.4)
    ax.set_xlabel("importance (%)")
    ax.spines[["top", "right"]].set_visible(False)
    shares = table.groupby("kind")["importance"].sum().sort_values(ascending=False)
    patches = [plt.Rectangle((0, 0), 1, 1, color=KINDS[kind][1]) for kind in shares.index]
    labels = [f"{KINDS[kind][0]}: {100 * share:.0f} %" for kind, share in shares.items()]
    style: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1.01, 0.5)}
    title = "all columns of this kind"
    ax.legend(patches, labels, title=title, fontsize=8, title_fontsize=8, frameon=False, **style)
    return ax


def _in_words(meaning: str, unit: str) -> str:
    """What a column means, without its formula; in two lines at most."""
    short = re.sub(r"prediction of (.*?) \(.*\)", r"learned: \1", meaning).split(": ")
    words = ": ".join(short[:2]) if short[0] == "learned" else short[0]
    whole = words if unit in ("–", "", "σ") else f"{words} ({unit})"
    return "\n".join(textwrap.wrap(whole, WIDTH))
