"""The figure of importances says what it draws in words, and hides nothing."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from real_crystals import crystals

from matminer_unate import plot_importances
from matminer_unate.errors import InputError

S = list(crystals().values())


def test_every_column_of_the_recipe_is_described(fitted) -> None:
    table = fitted.describe_columns()
    assert list(table["name"]) == list(fitted.feature_names_)
    assert table.notna().all(axis=None)
    row = table.set_index("name").loc["MagpieData mean MeltingT"]
    assert tuple(row) == ("K", "melting point of the element, mean over the atoms", row["block"])
    assert set(table["block"]) == set(fitted.fitted_.layout.widths)


def test_bars_are_the_most_important_named_columns_and_the_legend_has_all(fitted) -> None:
    ax = plot_importances(fitted, n=6)
    widths = [bar.get_width() for bar in ax.patches]
    assert len(widths) == 6
    assert widths == sorted(widths)
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert not any("channel" in label or "MagpieData" in label for label in labels)
    shares = [text.get_text() for text in ax.get_legend().get_texts()]
    assert sum(int(text.split(": ")[1].removesuffix(" %")) for text in shares) == pytest.approx(
        100, abs=3
    )
    table = fitted.describe_columns()
    learned = np.array(fitted.feature_importances_)[table["block"].str.startswith("unate ")].sum()
    assert f"learned: {100 * learned:.0f} %" in shares
    plt.close("all")


def test_axes_may_be_given_and_wrong_arguments_are_told(fitted) -> None:
    _, ax = plt.subplots()
    assert plot_importances(fitted, ax=ax) is ax
    plt.close("all")
    with pytest.raises(InputError, match="at least 1"):
        plot_importances(fitted, n=0)
    with pytest.raises(InputError, match="not of 'model'"):
        plot_importances("model")
