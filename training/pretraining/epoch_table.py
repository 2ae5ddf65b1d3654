"""One line an epoch, of the numbers that tell whether it learns; the log has all of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

COLUMNS = {
    "node": ("species", "loss of the hidden species (cross-entropy, nats)"),
    "adjacency": ("adjacency", "loss of the adjacency"),
    "contrastive": ("contrast", "loss of the contrast of two views"),
    "physics": ("sites", "squared error of physical site descriptors, in their variance"),
    "tight_binding": ("electrons", "squared error of the electrons of a site, in their variance"),
    "masked_accuracy": ("hidden", "share of the hidden species that is guessed right"),
    "retrieval_accuracy": ("retrieval", "share of the views that find the other view"),
}
"""By name in the log: heading, and what it means."""


class EpochTable:
    """Prints the epochs of a run as a table, with a legend above the first of them.

    Parameters
    ----------
    n_epochs : int
    n_monitor : int
        Crystals that losses are measured on after an epoch; 0 where those in it are shown.
    log : Path
        Where all numbers are.
    """

    def __init__(self, n_epochs: int, n_monitor: int, log: Path) -> None:
        self.n_epochs, self.n_monitor, self.log = n_epochs, n_monitor, log
        self.begun = False

    def print(self, row: Mapping[str, float], rate: float, seconds: float, total: float) -> None:
        """Print one epoch.

        Parameters
        ----------
        row : mapping of str to float
            As in the log.
        rate : float
            Learning rate at its end.
        seconds, total : float
            Time of this epoch, and of the run so far.
        """
        start = "monitor_" if self.n_monitor else ""
        shown = [name for name in COLUMNS if start + name in row]
        if not self.begun:
            self._legend(shown, row)
            self.begun = True
        epoch = int(row["epoch"])
        left = total / epoch * (self.n_epochs - epoch)
        cells = [f"{epoch:>{len(str(self.n_epochs))}}/{self.n_epochs}".rjust(7)]
        cells += [_number(row["total"]), *(_number(row[start + name]) for name in shown)]
        cells += [f"{rate:9.1e}", f"{seconds:9.1f}", f"{_time(left):>9}"]
        print(" ".join(cells), flush=True)

    def _legend(self, shown: list[str], row: Mapping[str, float]) -> None:
        where = "training crystals"
        if self.n_monitor:
            where = f"{self.n_monitor:,} crystals, of held-out formulas where there are any"
        print(f"\nall of these and more: {self.log}\n")
        print("  loss       all losses of the training crystals, weighted and balanced")
        for name in shown:
            heading, meaning = COLUMNS[name]
            print(f"  {heading:<10} {meaning}")
        if "monitor_majority_accuracy" in row and "masked_accuracy" in shown:
            print(
                f"             (the commonest species: {row['monitor_majority_accuracy']:.3f}, "
                f"a guess from the visible ones: {row['monitor_composition_accuracy']:.3f})"
            )
        print("  lr         learning rate at the end of the epoch")
        print("  s          seconds of the epoch")
        print("  left       time left, in all")
        print(f"\n  all but the first measured on {where}\n")
        headings = ["loss", *(COLUMNS[name][0] for name in shown), "lr", "s", "left"]
        print("  epoch " + " ".join(f"{heading:>9}" for heading in headings))


def _number(value: float) -> str:
    return f"{value:9.3f}"


def _time(seconds: float) -> str:
    minutes = seconds / 60
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
