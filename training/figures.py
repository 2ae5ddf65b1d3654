"""Figures from the committed result tables.

    python training/figures.py

reads ``training/results/*.csv`` and writes a PNG of the same name beside each.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

RESULTS = Path(__file__).parent / "results"

SETS = {
    "magpie": "Magpie (132)",
    "untrained": "untrained encoder",
    "unate": "UNATE",
    "magpie+unate": "Magpie + UNATE",
    "control": "hand-made control",
    "control+unate": "control + UNATE",
}
HEADS = {"lightgbm_best": ("LightGBM", "#4c72b0"), "kernel_ridge": ("kernel ridge", "#dd8452")}


def main() -> None:
    gap_figure(RESULTS / "gap_2000.csv")


def gap_figure(path: Path) -> None:
    """Test MAE of each feature set with both kinds of regressor."""
    table = pd.read_csv(path, comment="#")
    trees = table[table["head"].str.startswith("lightgbm")]
    # Of the two LightGBM settings, the one that is better on the validation formulas.
    chosen = trees.loc[trees.groupby("features")["val_mae"].idxmin()].assign(head="lightgbm_best")
    table = pd.concat([chosen, table[table["head"] == "kernel_ridge"]])
    fig, ax = plt.subplots(figsize=(7, 3.2))
    height = 0.38
    for offset, (head, (label, color)) in zip(
        (-height / 2, height / 2), HEADS.items(), strict=True
    ):
        rows = table[table["head"] == head].set_index("features").loc[list(SETS)]
        y = [k + offset for k in range(len(SETS))]
        ax.barh(y, rows["test_mae"], height=height, color=color, label=label)
        for yy, value in zip(y, rows["test_mae"], strict=True):
            ax.text(value + 0.004, yy, f"{value:.3f}", va="center", fontsize=7)
    ax.set_yticks(range(len(SETS)), list(SETS.values()))
    ax.invert_yaxis()
    ax.set_xlabel("test MAE of the PBE band gap (eV), 2,000 training crystals")
    ax.legend(frameon=False, fontsize=8, ncols=2, loc="lower left", bbox_to_anchor=(0, 1))
    ax.spines[["top", "right"]].set_visible(False)
    fig.tight_layout()
    fig.savefig(path.with_suffix(".png"), dpi=150)


if __name__ == "__main__":
    main()
