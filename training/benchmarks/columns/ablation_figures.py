"""Figures of the pretraining ablation and of the learning curves."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt

from harness.result_tables import read_results

JUDGED = {
    "gap_2000_kernel_ridge": "gap, kernel ridge",
    "gap_2000_lightgbm_dense": "gap, LightGBM",
    "gap_2000_control_stack": "gap, control + UNATE",
    "log_k_2000_kernel_ridge": "log K, kernel ridge",
}

WORTH_SEEING = 10.0
"""Per cent. Bars of larger changes are cut off, or they would hide the small ones."""


def ablation_figure(path: Path) -> None:
    """Change of each error against the base run, with the spread of the base run's seeds."""
    table = read_results(str(path))
    base = table[table["row"] == "base"]
    means = table.groupby("row")[list(JUDGED)].mean()
    change = 100 * (means / base[list(JUDGED)].mean() - 1)
    change = change.drop(index="base").sort_values("gap_2000_kernel_ridge")
    spread = 100 * base[list(JUDGED)].std() / base[list(JUDGED)].mean()
    fig, axes = plt.subplots(
        1, len(JUDGED), figsize=(11, 0.6 + 0.19 * len(change)), sharey=True, layout="constrained"
    )
    for ax, (key, name) in zip(axes, JUDGED.items(), strict=True):
        ax.axvspan(-2 * spread[key], 2 * spread[key], color="0.9", lw=0)
        ax.axvline(0, color="0.4", lw=0.8)
        colors = ["#c44e52" if v > 0 else "#55a868" for v in change[key]]
        ax.barh(range(len(change)), change[key], color=colors, height=0.7)
        ax.set_xlim(-WORTH_SEEING, WORTH_SEEING)
        for y, value in enumerate(change[key]):
            if abs(value) > WORTH_SEEING:
                side = "right" if value > 0 else "left"
                x = WORTH_SEEING if value > 0 else -WORTH_SEEING
                ax.text(x, y, f" {value:+.0f} ", fontsize=6, ha=side, va="center")
        ax.set_title(name, fontsize=9)
        ax.set_xlabel("change in val MAE (%)", fontsize=8)
        ax.tick_params(labelsize=7)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_yticks(range(len(change)), list(change.index))
    fig.suptitle("against the base run; grey: two standard deviations over its seeds", fontsize=9)
    fig.savefig(path.with_suffix(".png"), dpi=130)


def learning_curve_figure(path: Path) -> None:
    """Errors on val against passes over everything, and against the share of the crystals."""
    table = read_results(str(path))
    fig, axes = plt.subplots(1, 2, figsize=(8, 3), sharey=True, layout="constrained")
    epochs = table[table["row"].str.contains("epoch")]
    share = table[table["row"].str.contains("%") | (table["row"] == "3 epochs")]
    curves = (
        (axes[0], epochs, epochs["row"].str.split().str[0].astype(int), "epochs, all crystals"),
        (
            axes[1],
            share,
            share["row"].str.extract(r"(\d+) %")[0].fillna(100).astype(int),
            "share of the crystals (%), equal steps",
        ),
    )
    for ax, rows, x, label in curves:
        order = x.sort_values().index
        for key in ("gap_2000_kernel_ridge", "gap_2000_lightgbm_dense", "gap_2000_control_stack"):
            ax.plot(x[order], rows.loc[order, key], marker="o", label=JUDGED[key])
        ax.set_xscale("log")
        ax.set_xticks(x[order], [str(v) for v in x[order]])
        ax.minorticks_off()
        ax.set_xlabel(label)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("val MAE (eV), 2,000 labels")
    axes[0].legend(frameon=False, fontsize=8)
    fig.savefig(path.with_suffix(".png"), dpi=150)
