"""One line an epoch, in a CSV file and on the screen."""

from __future__ import annotations

import csv
from pathlib import Path

from pretraining.checkpointing import Progress


def trim_log(path: Path, n_epochs: int) -> None:
    """Forget the epochs that are run anew: of an earlier run, or logged but not saved."""
    if n_epochs == 0:
        path.unlink(missing_ok=True)
    elif path.exists():
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[: n_epochs + 1]))


def log_epoch(
    out: Path, progress: Progress, more: dict[str, float], tensorboard: bool
) -> dict[str, float]:
    """Append the means of one epoch, and what was measured after it, to the log."""
    row: dict[str, float] = {
        "epoch": progress.epoch + 1,
        "step": progress.step,
        "wall_s": round(progress.seconds, 1),
    }
    row |= {name: round(progress.mean(name), 5) for name in progress.sums}
    row |= {name: round(value, 5) for name, value in more.items()}
    path = out / "log.csv"
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)
    if tensorboard:
        from torch.utils.tensorboard import SummaryWriter

        with SummaryWriter(str(out / "tensorboard")) as board:
            for name, value in row.items():
                board.add_scalar(name, value, progress.epoch + 1)
    return row
