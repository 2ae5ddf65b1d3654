"""Figures from the committed result tables.

    python training/figures.py

reads ``training/results/*.csv`` and writes a PNG of the same name beside each.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.columns.ablation_figures import ablation_figure, learning_curve_figure
from benchmarks.columns.figures import classical_figures
from benchmarks.columns.novelty_figure import novelty_figure
from benchmarks.embeddings.figures import embedding_map_figure
from benchmarks.matbench.report import matbench_report
from benchmarks.networks.figures import bandgap_figure
from harness.command import run_script

RESULTS = Path(__file__).parent / "results"


FIGURES: dict[Callable[..., None], tuple[str, ...]] = {
    classical_figures: ("classical.csv",),
    ablation_figure: ("ablation.csv",),
    learning_curve_figure: ("learning_curves.csv",),
    novelty_figure: ("novelty_coverage.csv",),
    matbench_report: ("matbench.csv",),
    bandgap_figure: ("bandgap.csv", "bandgap_changes.csv"),
    embedding_map_figure: ("probes_maps.csv", "probes.csv"),
}
"""What draws them, and from which tables."""


def main() -> None:
    for draw, names in FIGURES.items():
        tables = [RESULTS / name for name in names]
        if all(table.exists() for table in tables):
            draw(*tables)


if __name__ == "__main__":
    run_script(main)
