"""Figures of the table of classical regressors."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.ticker import FuncFormatter, NullFormatter

from benchmarks.columns.feature_sets import RECIPE
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

BARS = (
    "magpie",
    "megnet-elements",
    "soap",
    *CURVES[1:6],
    "mp_v2_taught",
    "magpie+mp_v2",
    *CURVES[6:],
)

COST_LABELS = 2000

HEADS = {
    "lightgbm": ("LightGBM", "#4c72b0"),
    "kernel_ridge": ("kernel ridge", "#dd8452"),
    "stack": ("stack", "#55a868"),
}


def classical_figures(path: Path) -> None:
    """All figures of the table: learning curves, error against cost, and bars of two tasks."""
    table = read_results(str(path))
    learning_curves(table, path.with_name(f"{path.stem}_curves.png"))
    error_against_cost(table, path.with_name(f"{path.stem}_cost.png"))
    for task in ("gap", "bulk_modulus"):
        rows = table[(table["task"] == task) & (table["labels"].astype(str) == "2000")]
        if len(rows):
            bars(rows, PROPERTIES[task].title, path.with_name(f"{path.stem}_{task}_2000.png"))


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


def error_against_cost(table: pd.DataFrame, out: Path) -> None:
    """Test error against the time that the columns of 1,000 crystals take on one core."""
    best = table[table["best_head_on_val"] & (table["features"] != "dummy")]
    # With 2,000 labels, or as many as there are.
    few = best[best["n_train"] <= COST_LABELS]
    most = few.groupby("task")["n_train"].transform("max")
    few = few[few["n_train"] == most]
    tasks = [t for t in ("gap", "bulk_modulus", "piezoelectric") if t in set(few["task"])]
    if not tasks:
        return
    fig, axes = plt.subplots(1, len(tasks), figsize=(4.4 * len(tasks), 3.6), squeeze=False)
    for ax, task in zip(axes[0], tasks, strict=True):
        for row in few[few["task"] == task].itertuples():
            if row.features not in STYLES:
                continue
            name, color, line = STYLES[row.features]
            marker = {"-": "o", "--": "D", ":": "s"}[line]
            ax.plot(
                row.featurize_cpu_s_per_1000,
                row.test_error,
                marker,
                color=color,
                label=name,
                fillstyle="full" if line == "-" else "none",
            )
        n = few.loc[few["task"] == task, "n_train"].iloc[0]
        ax.set_title(f"{PROPERTIES[task].title}, {n:,} labels", fontsize=9)
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.set_xlabel("CPU seconds for the columns of 1,000 crystals", fontsize=8)
        ax.tick_params(labelsize=7)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel("test error, best head on val", fontsize=8)
    _finish(fig, axes[0, -1], out, columns=4)


def bars(rows: pd.DataFrame, title: str, out: Path) -> None:
    """Test error of each feature set with each kind of regressor."""
    sets = [k for k in BARS if k in set(rows["features"])]
    fig, ax = plt.subplots(figsize=(7, 0.8 + 0.5 * len(sets)))
    height = 0.8 / len(HEADS)
    for k, (head, (name, color)) in enumerate(HEADS.items()):
        values = rows[rows["head"] == head].set_index("features")["test_error"].reindex(sets)
        y = [i + (k - (len(HEADS) - 1) / 2) * height for i in range(len(sets))]
        ax.barh(y, values, height=height, color=color, label=name)
        _label(ax, y, values)
    whole = rows[rows["head"] == RECIPE].set_index("features")["test_error"].reindex(sets)
    ax.barh(range(len(sets)), whole, height=height, color="black", label="blend")
    _label(ax, range(len(sets)), whole)
    ax.margins(y=0.01)
    ax.set_yticks(range(len(sets)), [STYLES[s][0] for s in sets], fontsize=8)
    ax.invert_yaxis()
    ax.set_xlabel(f"test error: {title}, 2,000 labels", fontsize=8)
    ax.spines[["top", "right"]].set_visible(False)
    _finish(fig, ax, out, columns=4)


def _label(ax: plt.Axes, y: Iterable[float], values: pd.Series) -> None:
    for yy, value in zip(y, values, strict=True):
        if np.isfinite(value):
            ax.text(value, yy, f" {value:.3g}", va="center", fontsize=6)


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
