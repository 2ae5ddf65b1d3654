"""Imports go from the upper rooms to the lower ones, and never in a circle."""

from __future__ import annotations

from pathlib import Path

from layout import arrows, circles, folder_arrows, modules, repeated_places
from places import ROOT

ORDER = (
    ("matminer_unate.errors",),
    (
        "matminer_unate.parameters",
        "matminer_unate.processes",
        "matminer_unate.progress",
        "matminer_unate.target_floors",
        "matminer_unate.targets",
        "matminer_unate.transforms",
    ),
    ("matminer_unate.cif", "matminer_unate.scores", "matminer_unate.worker_processes"),
    ("matminer_unate.io",),
    ("matminer_unate.crystals",),
    ("matminer_unate.network", "matminer_unate.physics"),
    ("matminer_unate.featurizers",),
    ("matminer_unate.familiarity", "matminer_unate.finetuning", "matminer_unate.maps"),
    ("matminer_unate.regressors",),
    ("matminer_unate.engine", "matminer_unate.explanation"),
    # The public names.
    ("matminer_unate", "matminer_unate.datasets"),
    ("matminer_unate.cli",),
    ("matminer_unate.__main__", "harness"),
    ("corpora", "slater_koster"),
    ("augmentations", "objectives", "site_targets"),
    ("pretraining", "benchmarks"),
    ("benchmarks.columns", "benchmarks.embeddings", "benchmarks.matbench"),
    ("benchmarks.electrons", "benchmarks.networks"),
)
"""Rooms from the ground up. Those of one floor know nothing of each other."""

FLOORS = {room: floor for floor, rooms in enumerate(ORDER) for room in rooms}

SCRIPTS = {name for name, path in modules(ROOT).items() if path.parent == ROOT / "training"}
"""They stand above all rooms."""


ARROWS = arrows(ROOT)


def room_of(module: str) -> str:
    while module not in FLOORS:
        module, dot, _ = module.rpartition(".")
        assert dot, "a new folder needs its place in ORDER"
    return module


def test_imports_are_found_wherever_they_stand() -> None:
    assert "matminer_unate.errors" in ARROWS["matminer_unate.cif.reading"]
    assert "benchmarks.columns.judge" in ARROWS["ablation"]  # within a function


def test_no_import_runs_up() -> None:
    upward = []
    for module in set(ARROWS) - SCRIPTS:
        home = room_of(module)
        rooms = {other: room_of(other) for other in ARROWS[module] - SCRIPTS}
        upward += [
            f"{module} imports {other}"
            for other, room in rooms.items()
            if room != home and FLOORS[room] >= FLOORS[home]
        ]
    assert sorted(upward) == []


def test_no_script_is_imported() -> None:
    found = [(module, other) for module, others in ARROWS.items() for other in others & SCRIPTS]
    assert found == []


def test_neither_modules_nor_folders_import_in_a_circle() -> None:
    folders = folder_arrows(ROOT)
    folders.pop("matminer_unate")  # its __init__ gathers the public names
    folders.pop("training")
    assert circles(folders) == []
    assert circles(ARROWS) == []  # none expected


def test_circles_and_repeated_places_are_seen(tmp_path: Path) -> None:
    six = "\n".join(f"x = [{k}]" for k in range(6))
    for name, text in {"a": f"import b\n{six}", "b": f"from a import x\n\n{six}", "c": ""}.items():
        (tmp_path / "training").mkdir(exist_ok=True)
        (tmp_path / "training" / f"{name}.py").write_text(text)
    assert circles(arrows(tmp_path)) == [["a", "b"]]
    assert repeated_places(tmp_path) == 2
