"""Figures from the committed result tables.

    python training/figures.py

reads ``training/results/*.csv`` and writes a PNG of the same name beside each.
"""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from PIL import Image
from scipy.stats import t as student

from classical_figures import classical_figures
from result_tables import read_results

RESULTS = Path(__file__).parent / "results"

JUDGED = {
    "gap_2000_kernel_ridge": "gap, kernel ridge",
    "gap_2000_lightgbm_dense": "gap, LightGBM",
    "gap_2000_control_stack": "gap, control + UNATE",
    "log_k_2000_kernel_ridge": "log K, kernel ridge",
}

WORTH_SEEING = 10.0
"""Per cent. Bars of larger changes are cut off, or they would hide the small ones."""

ARMS = {
    "Z": ("atomic number (CartNet)", "#4c4c4c"),
    "site": ("UNATE site embedding in its place", "#4c72b0"),
    "finetune": ("fine-tuned UNATE encoder", "#55a868"),
    "site+Z": ("site embedding and atomic number", "#64b5cd"),
    "bottleneck": ("site embedding through 16 channels", "#8172b2"),
    "element": ("UNATE element table", "#dd8452"),
    "untrained": ("untrained encoder's embedding", "#937860"),
    "random-table": ("random element table", "#b0b0b0"),
    "scratch": ("fine-tuned network, not pretrained", "#c44e52"),
}

FAMILY_COLORS = {
    "alkali metal": "#d62728",
    "alkaline earth metal": "#ff7f0e",
    "transition metal": "#1f77b4",
    "lanthanide": "#17becf",
    "actinide": "#7b4ea3",
    "post-transition metal": "#6b6b6b",
    "metalloid": "#8c6d31",
    "nonmetal": "#2ca02c",
    "halogen": "#b5bd00",
    "noble gas": "#e377c2",
}


def main() -> None:
    if (RESULTS / "classical.csv").exists():
        classical_figures(RESULTS / "classical.csv")
    if (RESULTS / "ablation.csv").exists():
        ablation_figure(RESULTS / "ablation.csv")
    if (RESULTS / "learning_curves.csv").exists():
        learning_curve_figure(RESULTS / "learning_curves.csv")
    if (RESULTS / "bandgap_changes.csv").exists():
        bandgap_figure(RESULTS / "bandgap.csv", RESULTS / "bandgap_changes.csv")
    if (RESULTS / "probes_maps.csv").exists():
        embedding_map_figure(RESULTS / "probes_maps.csv", RESULTS / "probes.csv")


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
                ax.text(WORTH_SEEING, y, f"+{value:.0f} ", fontsize=6, ha="right", va="center")
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


def bandgap_figure(path: Path, changes: Path) -> None:
    """CartNet's test MAE against the share of the labels, and all arms where they all ran."""
    table = read_results(str(path)).query("protocol == 'mp-gap-20' and property == 'band_gap'")
    change = read_results(str(changes)).query(
        "protocol == 'mp-gap-20' and property == 'band_gap' and reference == 'Z'"
    )
    fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    curves = table.groupby(["arm", "fraction"], sort=False)["test_mae"].agg(
        ["mean", "sem", "count"]
    )
    for arm, (name, color) in ARMS.items():
        points = curves.loc[arm].sort_index() if arm in curves.index else curves.iloc[:0]
        if len(points) < 2:
            continue
        # The interval of the mean over subsets and seeds.
        half = points["sem"] * student.ppf(0.975, points["count"].clip(lower=2) - 1)
        share = 100 * points.index.to_numpy()
        left.errorbar(share, points["mean"], half, marker="o", capsize=3, color=color, label=name)
    left.set_xticks(sorted(100 * table["fraction"].unique()))
    left.set_xlabel("share of the labels (%)")
    left.set_ylabel("test MAE of the PBE band gap (eV)")
    left.set_ylim(bottom=0)
    left.legend(frameon=False, fontsize=8)
    most = change.groupby("fraction")["arm"].nunique().idxmax()
    bars = change[change["fraction"] == most].set_index("arm")
    bars = bars.loc[[arm for arm in ARMS if arm in bars.index]].sort_values("test_pct")
    y = range(len(bars))
    right.barh(y, bars["test_pct"], color=[ARMS[arm][1] for arm in bars.index], height=0.7)
    error = [bars["test_pct"] - bars["test_low"], bars["test_high"] - bars["test_pct"]]
    right.errorbar(bars["test_pct"], y, xerr=error, fmt="none", ecolor="0.3", capsize=3)
    right.axvline(0, color="0.4", lw=0.8)
    right.set_yticks(y, [ARMS[arm][0] for arm in bars.index], fontsize=8)
    right.invert_yaxis()
    right.set_xlabel(f"change in test MAE (%)\nwith {100 * most:g} % of the labels")
    for ax in (left, right):
        ax.spines[["top", "right"]].set_visible(False)
    fig.suptitle("95 % intervals over subsets and seeds; right: of paired log-ratios", fontsize=9)
    fig.savefig(path.with_suffix(".png"), dpi=150)


def embedding_map_figure(path: Path, probes: Path) -> None:
    """Maps of the element table and of sites by family, with the purity of neighbourhoods."""
    # NA is no missing value here: it could be a symbol.
    maps = pd.read_csv(path, comment="#", keep_default_na=False)
    purity = read_results(str(probes)).query("metric == 'purity'")
    name = next(r for r in purity["representation"] if r not in ("untrained", "magpie", "random"))
    levels = {
        "element": "elements (means over sites)",
        "site": "sites (neighbours of other elements)",
    }
    methods = list(maps["method"].unique())
    fig, axes = plt.subplots(
        2, len(methods), figsize=(5.6 * len(methods), 10.6), squeeze=False, layout="constrained"
    )
    for row, (level, title) in zip(axes, levels.items(), strict=True):
        scores = purity[purity["level"] == level].set_index(["target", "representation"])["value"]
        numbers = [
            "{} {:.2f} ({:.2f}; {:.2f})".format(
                target, *scores[[(target, r) for r in (name, "untrained", "random")]]
            )
            for target in ("family", "group", "block")
        ]
        for ax, method in zip(row, methods, strict=True):
            here = maps[(maps["level"] == level) & (maps["method"] == method)]
            _draw_families(ax, here, labelled=level == "element")
            ax.set_title(f"{title}, {method}\npurity: {', '.join(numbers)}", fontsize=9)
    handles = [
        plt.Line2D([], [], marker="o", ls="", color=color, label=family)
        for family, color in FAMILY_COLORS.items()
    ]
    fig.suptitle(
        "purity: share of the 5 nearest neighbours, in all dimensions, of the same class; "
        "in brackets (untrained network; random table)",
        fontsize=9,
    )
    fig.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False, fontsize=9)
    # Thousands of coloured dots: a palette makes the file three times smaller.
    drawn = io.BytesIO()
    fig.savefig(drawn, dpi=110)
    plt.close(fig)
    image = Image.open(drawn).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=3)
    image.save(path.with_suffix(".png"), optimize=True)


def _draw_families(ax: plt.Axes, points: pd.DataFrame, labelled: bool) -> None:
    """Points coloured by family, with the symbol at each or at the middle of an element's sites."""
    colors = points["family"].map(FAMILY_COLORS)
    # Mixed, or the family drawn last would hide the others.
    order = points.sample(frac=1, random_state=0).index
    size, alpha = (170, 0.45) if labelled else (5, 0.8)
    ax.scatter(
        points["x"][order], points["y"][order], s=size, c=colors[order], alpha=alpha, linewidths=0
    )
    middle = points.groupby("symbol")[["x", "y"]].median()
    for symbol, x, y in middle.itertuples():
        box = None if labelled else {"fc": "white", "ec": "none", "alpha": 0.6, "pad": 0.3}
        fontsize = 8 if labelled else 6
        ax.text(x, y, symbol, ha="center", va="center", fontsize=fontsize, bbox=box)
    ax.set_xticks([])
    ax.set_yticks([])


def finish(fig: plt.Figure, ax: plt.Axes, path: Path) -> None:
    """Last touches, and the file."""
    ax.spines[["top", "right"]].set_visible(False)
    fig.tight_layout()
    fig.savefig(path.with_suffix(".png"), dpi=150)


if __name__ == "__main__":
    main()
