"""Maps of the embeddings."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from PIL import Image

from harness.result_tables import read_results

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
