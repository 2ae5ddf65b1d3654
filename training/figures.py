"""Figures from the committed result tables.

    python training/figures.py

reads ``training/results/*.csv`` and writes a PNG of the same name beside each.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt

from benchmarks.columns.ablation_figures import ablation_figure, learning_curve_figure
from benchmarks.columns.figures import classical_figures
from benchmarks.embeddings.figures import embedding_map_figure
from benchmarks.networks.figures import bandgap_figure

RESULTS = Path(__file__).parent / "results"


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


def finish(fig: plt.Figure, ax: plt.Axes, path: Path) -> None:
    """Last touches, and the file."""
    ax.spines[["top", "right"]].set_visible(False)
    fig.tight_layout()
    fig.savefig(path.with_suffix(".png"), dpi=150)


if __name__ == "__main__":
    main()
