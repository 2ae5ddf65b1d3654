"""The page and the figure of the MatBench results, beside the published entries."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from benchmarks.matbench.published import PUBLISHED, Entry
from benchmarks.matbench.tasks import N_FOLDS, TASKS, Task
from harness.result_tables import read_results

OURS, THEIRS = "#4c72b0", "#b0b0b0"

LONGEST = 3
"""Median bars; longer ones are cut off."""

RUN = ["task", "model", "options", "n_train", "n_val", "seed"]
"""Columns that the folds of a quick look share."""

EVERY_NETWORK = {("network.n_members", "1"), ("network.validation_share", "0")}
"""Options of all networks here, which the introduction names once."""

INTRODUCTION = """# MatBench

Official tasks, targets and folds of MatBench v0.1 ([Dunn et al.
2020](https://doi.org/10.1038/s41524-020-00406-3)), made by `training/matbench.py`: a row of
[`{table}`]({table}) is one fold. Errors are means over all five; "same rows" are those of the
official rows that the files of `--data` have, and "strict" those of them whose crystal and target
surely belong together. Published entries are those of the leaderboard of January 2024, judged
anew on the same rows where a number stands there. *Recipe* is `UnateRegressor` (or, of classes,
`UnateClassifier`) on its columns. *Network* is `UnateFineTuneRegressor` with one member that learns
from all training rows (`n_members=1`, `validation_share=0`) and the parameters named, or the mean
of several such networks. *Both* is their mean, in which the networks have the share named, chosen
on training rows. *Trees of 15 leaves* are those of earlier code, in which they did not grow with
the number of rows, and which the command no longer makes. Areas under the ROC curve are of labels,
as MatBench computes them (its issues 137 and 181); that of probabilities stands beside. *Held out*
is `held_out_error_`, what the model expects of new formulas; official folds also judge formulas
that the training rows have.
"""


class Shown(NamedTuple):
    """A row of the tables."""

    name: str
    official: float | None
    same_rows: float | None
    strict: float | None
    note: str


def matbench_report(path: Path) -> None:
    """Write the page and the figure beside the table."""
    table = read_results(str(path))
    test = table[table["part"] == "test"]
    sections = [INTRODUCTION.format(table=path.name)]
    drawn = [name for name in _tasks_of(test) if runs_of(test[test["task"] == name], whole=True)]
    if drawn:
        sections.append(f"![errors of the test folds]({path.with_suffix('.png').name})\n")
        sections.append(
            "A bar is the best of a model's options on test rows; all of them are in the tables, "
            "and the README has those that were chosen on training rows.\n"
        )
    sections += [_test_section(name, test[test["task"] == name]) for name in _tasks_of(test)]
    if (table["part"] == "val").any():
        sections.append(_val_section(table[table["part"] == "val"]))
    path.with_suffix(".md").write_text("\n".join(sections), encoding="utf-8")
    if drawn:
        _figure(test, drawn, path.with_suffix(".png"))


def _tasks_of(table: pd.DataFrame) -> list[str]:
    known = [name for name in TASKS if name in set(table["task"])]
    return known + sorted(set(table["task"]) - set(TASKS))


def runs_of(rows: pd.DataFrame, whole: bool) -> list[tuple[str, str, pd.DataFrame]]:
    """Model, options and rows of each run of a task, of all folds or of some of them only.

    Folds differ by more than models do: means over some of them are not to be compared.
    """
    return [
        (model, options, run)
        for (model, options), run in rows.groupby(["model", "options"], sort=False)
        if (run["fold"].nunique() == N_FOLDS) == whole
    ]


def our_rows(rows: pd.DataFrame) -> list[Shown]:
    """One for each model and options of a task that has all folds."""
    found = []
    for model, options, run in runs_of(rows, whole=True):
        complete = run["rows_missing"].max() == 0
        spread = f"± {run['error'].std():.4f}"
        seconds = run[["columns_cpu_s", "fit_cpu_s", "predict_cpu_s"]].sum(axis=1).mean()
        note = f"{spread}, {seconds / 60:.0f} CPU min a fold"
        if run["roc_auc_of_probabilities"].notna().any():
            note += f"; of probabilities {run['roc_auc_of_probabilities'].mean():.4f}"
        elif model == "recipe" and run["held_out_error"].notna().any():
            note += f"; held out {run['held_out_error'].mean():.4f}"
        name = _name(model, options)
        error, strict = float(run["error"].mean()), float(run["error_strict"].mean())
        found.append(Shown(name, error if complete else None, error, strict, note))
    return found


def _test_section(name: str, rows: pd.DataFrame) -> str:
    task = TASKS.get(name)
    shown = [*our_rows(rows), *(_shown(e) for e in PUBLISHED.get(name, ()))]
    shown.sort(key=lambda row: _sign(task) * _ranked_by(row))
    n_rows, missing = int(rows["n_rows_task"].iloc[0]), int(rows["rows_missing"].iloc[0])
    share = n_rows / (n_rows + missing)
    lines = [
        f"## {_title(name, task)}",
        "",
        f"{n_rows:,} of {n_rows + missing:,} official rows ({share:.1%}).",
        "",
        "| | all official rows | same rows | strict | ± over the folds, cost |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| {row.name} | {_number(row.official)} | {_number(row.same_rows)} "
            f"| {_number(row.strict)} | {row.note} |"
            for row in shown
        ),
        "",
    ]
    return "\n".join([*lines, *_of_some_folds(rows)])


def _name(model: str, options: str) -> str:
    words = options_in_words(options)
    return f"**this package, {model}**" + (f" ({words})" if words else "")


def options_in_words(options: str) -> str:
    """The column ``options`` as a reader wants it, without what all networks share.

    >>> options_in_words("network.epochs=20 network.n_members=1 networks=2 share=0.8")
    '2 networks, 20 epochs, share 0.8'
    """
    words = []
    plain = options.split()
    pairs = dict(word.split("=", 1) for word in plain if "=" in word)
    if n_networks := pairs.pop("networks", None):
        words.append(f"{n_networks} networks")
    if n_epochs := pairs.pop("network.epochs", None):
        words.append(f"{n_epochs} epochs")
    for name, value in pairs.items():
        if (name, value) not in EVERY_NETWORK:
            words.append(f"{name.removeprefix('network.')} {value}")
    phrase = " ".join(word for word in plain if "=" not in word)
    return ", ".join([*words, *([phrase] if phrase not in ("", "defaults") else [])])


def _of_some_folds(rows: pd.DataFrame) -> list[str]:
    """Runs that were not made to the end, beside the complete ones of the model."""
    runs, complete = runs_of(rows, whole=False), runs_of(rows, whole=True)
    if not runs:
        return []
    lines = [
        "Some folds only, and what the complete runs of the same model have on these:",
        "",
        "| | folds | same rows | complete runs |",
        "| --- | --- | --- | --- |",
    ]
    for model, options, run in runs:
        folds = sorted(run["fold"])
        others = [
            f"{other.loc[other['fold'].isin(folds), 'error'].mean():.4f}"
            for name, _, other in complete
            if name == model
        ]
        lines.append(
            f"| {_name(model, options)} | {', '.join(map(str, folds))} "
            f"| {run['error'].mean():.4f} | {', '.join(others)} |"
        )
    return [*lines, ""]


def _val_section(rows: pd.DataFrame) -> str:
    lines = [
        "## Quick looks",
        "",
        "Some of the training rows of a fold, judged on others of them; no test row was looked at.",
        "Not to be compared with entries.",
        "",
        "| task | model | options | training rows | judged rows | folds | error | CPU s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for keys, run in rows.groupby(RUN, sort=False):
        task, model, options, n_train, n_val, _ = keys
        seconds = run[["columns_cpu_s", "fit_cpu_s", "predict_cpu_s"]].sum(axis=1).mean()
        lines.append(
            f"| {task} | {model} | {options_in_words(options)} | {n_train} | {n_val} | {len(run)} "
            f"| {run['error'].mean():.4f} | {seconds:.0f} |"
        )
    return "\n".join([*lines, ""])


def _shown(entry: Entry) -> Shown:
    return Shown(entry.name, entry.official, entry.same_rows, entry.strict, "")


def _ranked_by(row: Shown) -> float:
    numbers = [n for n in (row.same_rows, row.official, row.strict) if n is not None]
    return numbers[0]


def _sign(task: Task | None) -> int:
    """−1 for areas under curves, the largest of which are best."""
    return -1 if task and task.classes else 1


def _title(name: str, task: Task | None) -> str:
    return f"{name}: {task.title} ({task.unit})" if task else name


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _figure(test: pd.DataFrame, names: list[str], path: Path) -> None:
    n_across = min(len(names), 3)
    n_down = -(-len(names) // n_across)
    fig, axes = plt.subplots(
        n_down,
        n_across,
        figsize=(3.6 * n_across + 1, 3.4 * n_down),
        layout="constrained",
        squeeze=False,
    )
    for ax in axes.flat[len(names) :]:
        ax.set_axis_off()
    for ax, name in zip(axes.flat, names, strict=False):
        _bars(ax, name, test[test["task"] == name])
    fig.suptitle(
        "blue: this package; grey: published, on the same rows where known (dark), else on all",
        fontsize=9,
    )
    fig.savefig(path, dpi=150)
    plt.close(fig)


def _bars(ax: Axes, name: str, rows: pd.DataFrame) -> None:
    task = TASKS.get(name)
    best: dict[str, Shown] = {}  # of each model
    for row in sorted(our_rows(rows), key=lambda row: _sign(task) * _ranked_by(row)):
        best.setdefault(row.name.partition(" (")[0], row)
    ours = [row._replace(name=model.replace("**", "")) for model, row in best.items()]
    published = [_shown(e) for e in PUBLISHED.get(name, ()) if e.name != "dummy"]
    bars = sorted([*ours, *published], key=_ranked_by)
    values = [_ranked_by(row) for row in bars]
    colours = [
        OURS if row.note else ("#808080" if row.same_rows is not None else THEIRS) for row in bars
    ]
    longest = LONGEST * float(np.median(values))
    drawn = ax.barh(range(len(bars)), np.minimum(values, longest), color=colours, height=0.7)
    labels = [f"{value:.4f}" + (" (cut off)" if value > longest else "") for value in values]
    ax.bar_label(drawn, labels, padding=2, fontsize=7)
    ax.set_yticks(range(len(bars)), [row.name for row in bars], fontsize=8)
    if _sign(task) > 0:
        ax.invert_yaxis()
        ax.set_xlim(0, 1.2 * min(values[-1], longest))
    else:
        ax.set_xlim(0.5, 1.05)  # from chance on
    ax.set_xlabel(_title(name, task).replace(": ", "\n"), fontsize=8)
    ax.tick_params(axis="x", labelsize=8)
    ax.spines[["top", "right"]].set_visible(False)
