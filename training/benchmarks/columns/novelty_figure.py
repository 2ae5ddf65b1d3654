"""Figure of ``novelty_coverage.csv``: whose errors are large, and whether error bars tell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from harness.result_tables import read_results

MEASURES = {
    "kernel": "distance in the kernel's scales",
    "embedding": "distance of mean embeddings",
    "corpus": "distance to the pretraining corpus",
}
TITLES = {
    "gap": "gap",
    "bulk_modulus": "log K",
    "formation_energy": "formation energy",
}
BEFORE, AFTER = "without novelty", "times distance"
COLOURS = ("#4c78a8", "#bab0ac", "#e0c37a")


def novelty_figure(path: Path) -> None:
    """Write the figure beside the table."""
    import matplotlib.pyplot as plt

    table = read_results(str(path))
    table["left_out"] = table["left_out"].fillna("")
    fig, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    plain = table[(table["error_bars"] == BEFORE) & (table["left_out"] == "")]
    means = plain.groupby("property").mean(numeric_only=True).loc[list(TITLES)]
    places = np.arange(len(means))
    for k, (measure, words) in enumerate(MEASURES.items()):
        ratio = means[f"mae_least_familiar_tenth_{measure}"] / means["mae"]
        left.bar(places + 0.26 * (k - 1), ratio, 0.24, color=COLOURS[k], label=words)
    left.axhline(1, color="0.4", lw=0.8)
    left.set_xticks(places, TITLES.values())
    left.set_ylim(0, 3.1)
    left.set_ylabel("error of the least familiar tenth / error of all")
    left.set_title("Are unfamiliar crystals predicted worse?", fontsize=10)
    style = {"title": "unfamiliar by", "title_fontsize": 8, "loc": "upper left"}
    left.legend(fontsize=8, frameon=False, **style)
    groups = {
        "all rows": ("", "coverage_90"),
        "least sure\ntenth": ("", "coverage_90_least_sure_tenth"),
        "least familiar\ntenth": ("", "coverage_90_least_familiar_tenth_kernel"),
        "elements not\nlearned from": ("groups", "coverage_90"),
        "… least familiar\ntenth": ("groups", "coverage_90_least_familiar_tenth_kernel"),
    }
    for k, (name, words) in enumerate({BEFORE: "without", AFTER: "with"}.items()):
        part = table[table["error_bars"] == name]
        of = {"": part[part["left_out"] == ""], "groups": part[part["left_out"] != ""]}
        found = [100 * _mean(of[rows], column) for rows, column in groups.values()]
        bars = right.bar(
            np.arange(len(groups)) + 0.4 * (k - 0.5), found, 0.37,
            color=("#bab0ac", "#4c78a8")[k], label=f"error bars {words} novelty",
        )  # fmt: skip
        right.bar_label(bars, fmt="%.0f", fontsize=8)
    right.axhline(90, color="0.4", lw=0.8)
    right.set_xticks(range(len(groups)), groups, fontsize=8)
    right.set_ylim(50, 104)
    right.set_ylabel("rows within their 90 % intervals (%)")
    right.set_title("Do intervals hold? Means over properties", fontsize=10)
    right.legend(fontsize=8, frameon=False, loc="upper right", ncols=2)
    for ax in (left, right):
        ax.spines[["top", "right"]].set_visible(False)
    fig.savefig(path.with_suffix(".png"), dpi=110)
    plt.close(fig)


def _mean(rows: pd.DataFrame, column: str) -> float:
    """Mean of properties, of the means of each over its subsets or groups."""
    return float(rows.groupby("property")[column].mean().mean())
