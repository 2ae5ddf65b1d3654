"""Figures of the table of classical regressors."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.artist import Artist

from benchmarks.properties import PROPERTIES
from harness.result_tables import read_results

STYLES: dict[str, tuple[str, str, str]] = {
    # Name, colour, line style.
    "dummy": ("median", "#b0b0b0", ":"),
    "magpie": ("Magpie", "#4c4c4c", "-"),
    "megnet-elements": ("MEGNet elements", "#8c8c8c", "-"),
    "magpie+structural": ("Magpie + structural", "#937860", "-"),
    "soap": ("SOAP", "#ccb974", "-"),
    "untrained": ("untrained encoder", "#64b5cd", ":"),
    "mp_v2": ("UNATE", "#4c72b0", ":"),
    "mp_v2_taught": ("UNATE, taught", "#8172b2", ":"),
    "magpie+mp_v2": ("Magpie + UNATE", "#86a8d9", "-"),
    "magpie+mp_v2_taught": ("Magpie + UNATE, taught", "#b8aede", "-"),
    "control": ("control", "#dd8452", "-"),
    "control+fingerprint": ("control with fingerprint", "#dd8452", "--"),
    "control+fingerprint+mp_v2": ("control with fingerprint + UNATE", "#4c72b0", "--"),
    "control+fingerprint+mp_v2_taught": (
        "control with fingerprint + UNATE, taught",
        "#8172b2",
        "--",
    ),
    "control+mp_v2": ("control + UNATE", "#4c72b0", "-"),
    "control+mp_v2_taught": ("control + UNATE, taught", "#8172b2", "-"),
    "tight-binding": ("tight binding", "#55a868", ":"),
    "control+tight-binding": ("control + tight binding", "#55a868", "-"),
    "control+tight-binding+mp_v2": ("control + tight binding + UNATE", "#4c72b0", "--"),
    "control+tight-binding+mp_v2_taught": (
        "control + tight binding + UNATE, taught",
        "#8172b2",
        "--",
    ),
    "unate_regressor_mp_v2": ("UnateRegressor, without labels in pretraining", "#000000", ":"),
    "unate_regressor": ("UnateRegressor", "#000000", "-"),
    "chgnet": ("CHGNet", "#c44e52", ":"),
    "control+chgnet": ("control + CHGNet", "#c44e52", "-"),
}

CURVES = (
    "magpie",
    "untrained",
    "chgnet",
    "control",
    "control+fingerprint",
    "mp_v2",
    "control+mp_v2",
    "control+mp_v2_taught",
    "tight-binding",
    "control+tight-binding",
    "unate_regressor_mp_v2",
    "unate_regressor",
)
"""Of the learning curves; more would not be told apart. The constant would squeeze all others."""

HEADLINE_TASK = "gap"
HEADLINE = {
    # Name, colour.
    "magpie": ("Magpie", "#b0b0b0"),
    "control": ("Magpie, cell and sites by hand", "#b0b0b0"),
    "chgnet": ("CHGNet's atom features", "#b0b0b0"),
    "mp_v3": ("UnateFeaturizer", "#4c72b0"),
    "tight-binding": ("TightBindingStats", "#55a868"),
    "unate_regressor": ("UnateRegressor", "#000000"),
}

NEWER = ("classical_tight_binding.csv", "classical_recipe.csv")
"""Rows that were remade for a few properties; they stand in for those of the whole table."""


def classical_figures(path: Path) -> None:
    """Figures of the table, and of what was remade beside it: learning curves, and a few bars."""
    table = read_results(str(path))
    learning_curves(table, path.with_name(f"{path.stem}_curves.png"))
    newer = [read_results(str(p)) for n in NEWER if (p := path.with_name(n)).exists()]
    keys = ["task", "labels", "features", "head"]
    every = pd.concat([table, *newer]).astype({"labels": str})
    headline_bars(every.drop_duplicates(keys, keep="last"), path.with_name(f"{path.stem}_gap.png"))


def learning_curves(table: pd.DataFrame, out: Path) -> None:
    """Test error of each feature set, with the head that is best on val, against labels."""
    best = table[table["best_head_on_val"]]
    tasks = [t for t in PROPERTIES if t in set(best["task"])]
    n_rows = -(-len(tasks) // 4)
    fig, axes = plt.subplots(
        n_rows, min(4, len(tasks)), figsize=(12, 0.8 + 3 * n_rows), squeeze=False
    )
    for ax, task in zip(axes.flat, tasks, strict=False):
        rows = best[best["task"] == task]
        for features in CURVES:
            curve = rows[rows["features"] == features].sort_values("n_train")
            if len(curve):
                name, color, line = STYLES[features]
                x, y = curve["n_train"], curve["test_error"]
                ax.plot(x, y, line, color=color, marker="o", ms=3, lw=1.3, label=name)
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_title(PROPERTIES[task].title, fontsize=9)
        # Ticks at the numbers of labels themselves.
        ticks = sorted(set(rows["n_train"]))
        ax.set_xticks(ticks, [str(n) for n in ticks], fontsize=7)
        ax.tick_params(axis="y", which="both", labelsize=7)
        ax.minorticks_off()
        low, high = rows.loc[rows["features"].isin(CURVES), "test_error"].agg(["min", "max"])
        steps = [low * (high / low) ** (k / 3) for k in range(4)]
        ax.set_yticks(steps, [f"{v:.2g}" for v in steps])
        ax.spines[["top", "right"]].set_visible(False)
    for ax in axes.flat[len(tasks) :]:
        ax.set_axis_off()
    for ax in axes[-1]:
        ax.set_xlabel("training crystals", fontsize=8)
    for ax in axes[:, 0]:
        ax.set_ylabel("test error", fontsize=8)
    _finish(fig, axes[0, 0], out, columns=4)


def headline_bars(table: pd.DataFrame, out: Path) -> None:
    """Test error of a few feature sets, each with the regressor that is best on val; sorted."""
    rows = table[(table["task"] == HEADLINE_TASK) & (table["labels"].astype(str) == "2000")]
    best = rows[rows["best_head_on_val"]].set_index("features")
    best = best.loc[[name for name in HEADLINE if name in best.index]]
    best = best.sort_values("test_error", ascending=False)
    fig, ax = plt.subplots(figsize=(6.4, 0.6 + 0.42 * len(best)))
    ax.barh(range(len(best)), best["test_error"], color=[HEADLINE[f][1] for f in best.index])
    for y, error in enumerate(best["test_error"]):
        ax.text(error, y, f" {error:.2f}", va="center", fontsize=9)
    ax.set_yticks(range(len(best)), [HEADLINE[f][0] for f in best.index], fontsize=9)
    unit, n = PROPERTIES[HEADLINE_TASK].unit, len(HEADLINE)
    ax.set_xlabel(f"mean absolute error of the PBE gap ({unit}), 2,000 labels", fontsize=9)
    ax.set_ylim(-0.6, n - 0.4)
    ax.spines[["top", "right"]].set_visible(False)
    fig.tight_layout()
    fig.savefig(out, dpi=130)
    plt.close(fig)


def _finish(fig: plt.Figure, ax: plt.Axes, out: Path, columns: int) -> None:
    handles: dict[str, Artist] = {}
    for axes in fig.axes:
        found, labels = axes.get_legend_handles_labels()
        handles |= dict(zip(labels, found, strict=True))
    fig.tight_layout()
    n_lines = -(-len(handles) // columns)
    room = (0.15 + 0.2 * n_lines) / fig.get_figheight()
    fig.subplots_adjust(bottom=fig.subplotpars.bottom + room)
    fig.legend(
        list(handles.values()),
        list(handles),
        loc="lower center",
        ncols=columns,
        frameon=False,
        fontsize=8,
    )
    fig.savefig(out, dpi=130)
    plt.close(fig)
