"""The figure of the band-gap comparison."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
from scipy.stats import t as student

from harness.result_tables import read_results

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
