"""Bad input to the training scripts: a message that names it and its cure, and nothing lost."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from pymatgen.core import Lattice, Structure
from safetensors.torch import load_file
from small_corpora import as_crystal, make_corpus, write_parquet

import ablation
import pretrain
import sources
from benchmarks.embeddings import element_means
from corpora.crystal import Crystal
from corpora.formulas import read_formulas
from corpora.reading import read_with_report
from corpora.sampling import epoch_batches
from harness.command import run_script
from matminer_unate.crystals.checks import check_crystal
from matminer_unate.datasets import load_semiconductors
from matminer_unate.errors import InputError, StructureError
from matminer_unate.io.databases import open_matminer
from pretraining import options as options_module
from pretraining.checkpointing import load_checkpoint
from pretraining.config import LossWeights
from pretraining.model_card import inherited, model_card
from pretraining.presets import PRESETS
from site_targets.computing import write_site_targets
from site_targets.files import read_site_targets
from site_targets.tight_binding import site_targets, tight_binding_targets

SMOKE = ["--preset", "smoke", "--epochs", "1", "--part", "all", "--n-monitor", "4"]


@pytest.fixture(scope="module")
def crystals() -> list[Crystal]:
    structures = load_semiconductors()["structure"][:8]
    return [as_crystal(s, f"s{k}") for k, s in enumerate(structures)]


@pytest.fixture(scope="module")
def table(crystals: list[Crystal], tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_parquet(tmp_path_factory.mktemp("data") / "crystals.parquet", crystals)


@pytest.fixture(scope="module")
def finished(table: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "finished"
    pretrain.main(["--data", table, "--out", str(out), *SMOKE])
    return out


def one_atom(length: float, name: str) -> Crystal:
    return as_crystal(Structure(Lattice.cubic(length), ["Cu"], [[0, 0, 0]]), name)


def refused(main: Callable[[list[str]], None], argv: list[str], capsys) -> str:
    """The message with which argparse ends a command."""
    with pytest.raises(SystemExit) as stopped:
        main(argv)
    assert stopped.value.code == 2
    return str(capsys.readouterr().err.splitlines()[-1])


# -- scripts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [InputError("no such row"), OSError("no such row"), ImportError("no such row")]
)
def test_what_the_user_can_mend_ends_a_script_in_one_line(error: Exception) -> None:
    def main() -> None:
        raise error

    with pytest.raises(SystemExit, match=r"^error: no such row$"):
        run_script(main)


def test_defects_of_ours_keep_their_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run_script(lambda: print(1 / 0))


@pytest.mark.slow
@pytest.mark.parametrize(
    "script", ["pretrain.py", "teachers.py --teacher tight-binding", "sources.py"]
)
def test_scripts_say_which_file_is_missing_without_a_traceback(script: str, tmp_path: Path) -> None:
    name, *options = script.split()
    command = [sys.executable, str(Path(pretrain.__file__).with_name(name)), *options]
    command += ["--data", "nowhere.cif", "--out", str(tmp_path / "out.parquet")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 1
    assert ran.stderr == "error: nowhere.cif: no such file or folder; check the path\n"


# -- options of pretrain.py -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("epochs", "0"),
        ("limit", "-1"),
        ("n-monitor", "-1"),
        ("max-edges", "0"),
        ("max-sites", "0"),
        ("learning-rate", "nan"),
        ("learning-rate", "-1"),
        ("weight-decay", "nan"),
        ("clip-norm", "0"),
        ("clip-norm", "nan"),
        ("warmup", "1"),
        ("warmup", "nan"),
        ("ema", "1"),
        ("ema", "nan"),
        ("temperature", "0"),
        ("hard-weight", "nan"),
        ("grouped-share", "nan"),
        ("balance-every", "-1"),
        ("seed", "-1"),
        ("seed", "99999999999999999999"),
        ("encoder.width", "0"),
        ("encoder.n-rbf", "0"),
        ("encoder.n-moments", "-1"),
        ("encoder.latent-dim", "0"),
    ],
)
def test_a_number_out_of_range_is_refused_by_the_name_of_its_option(
    option: str, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--data", "a", "--out", str(tmp_path / "out"), f"--{option}", value]
    assert f"--{option} must be a number from" in refused(pretrain.main, argv, capsys)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("value", ["nan", "inf", "-1"])
def test_weights_are_numbers_from_zero_on(
    value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--data", "a", "--out", str(tmp_path), "--weights.node", value]
    assert "weight node must be a number" in refused(pretrain.main, argv, capsys)


def test_a_run_without_any_objective_is_refused() -> None:
    with pytest.raises(ValueError, match="every weight is 0"):
        LossWeights(*[0.0] * 11)


@pytest.mark.parametrize("option", ["--corruption.strain", "--corruption.jitter"])
def test_deviations_are_finite(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--data", "a", "--out", str(tmp_path), option, "nan"]
    assert "finite" in refused(pretrain.main, argv, capsys)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--weights.teacher", "1"], "need each other"),
        (["--teacher", __file__], "need each other"),
        (["--teacher", "gone.parquet", "--weights.teacher", "1"], "gone.parquet: no such file"),
        (["--tight-binding", "gone.parquet"], "gone.parquet: no such file"),
    ],
)
def test_files_of_targets_are_asked_for_before_anything_is_read(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--data", "a", "--out", str(tmp_path), *options]
    assert message in refused(pretrain.main, argv, capsys)


def test_tensorboard_is_asked_for_before_the_first_epoch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options_module, "find_spec", lambda name: None)
    argv = ["--data", "a", "--out", str(tmp_path), "--tensorboard"]
    assert "pip install tensorboard" in refused(pretrain.main, argv, capsys)


# -- small and odd corpora ------------------------------------------------------------------------


def test_a_run_needs_no_monitor(table: str, tmp_path: Path) -> None:
    pretrain.main(["--data", table, "--out", str(tmp_path), *SMOKE, "--n-monitor", "0"])
    log = pd.read_csv(tmp_path / "log.csv")
    assert "total" in log
    assert not any(name.startswith("monitor_") for name in log)
    weights = load_file(tmp_path / "weights" / "model.safetensors")
    assert all(torch.isfinite(value).all() for value in weights.values())


def test_one_crystal_is_monitored_without_warnings_and_nan(
    crystals: list[Crystal], tmp_path: Path
) -> None:
    data = write_parquet(tmp_path / "one.parquet", crystals[:1])
    pretrain.main(["--data", data, "--out", str(tmp_path / "run"), *SMOKE])
    assert np.isfinite(pd.read_csv(tmp_path / "run" / "log.csv").to_numpy()).all()


def test_one_site_is_too_little(tmp_path: Path) -> None:
    data = write_parquet(tmp_path / "one.parquet", [one_atom(50.0, "far")])
    with pytest.raises(InputError, match="one crystal of one site"):
        pretrain.main(["--data", data, "--out", str(tmp_path / "run"), *SMOKE])


@pytest.mark.parametrize("max_edges", [1, 60, 10_000])
@pytest.mark.parametrize("n", [2, 3, 8])
def test_no_batch_is_a_single_site(n: int, max_edges: int) -> None:
    """Batch normalisation fails of it, in whatever epoch the last batch happens to be one."""
    lengths = np.linspace(2.2, 3.2, n)
    structures = [Structure(Lattice.cubic(a), ["Cu"], [[0, 0, 0]]) for a in lengths]
    corpus = make_corpus(structures)
    for seed in range(5):
        batches = epoch_batches(corpus, max_edges, np.random.default_rng(seed))
        assert sorted(np.concatenate(batches)) == list(range(n))
        assert min(len(members) for members in batches) > 1


def test_a_run_of_one_atom_cells_one_edge_a_batch(tmp_path: Path) -> None:
    cells = [one_atom(a, f"cu{k}") for k, a in enumerate((2.3, 2.6, 2.9))]
    data = write_parquet(tmp_path / "cu.parquet", cells)
    pretrain.main(["--data", data, "--out", str(tmp_path / "run"), *SMOKE, "--max-edges", "1"])
    assert (tmp_path / "run" / "weights").is_dir()


def test_numbers_that_are_not_finite_stop_a_run_before_weights_are_written(
    table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretrain, "learning_rate", lambda done, config: 1e30)
    for options in ([], ["--n-monitor", "0"], ["--epochs", "3"]):
        out = tmp_path / str(len(list(tmp_path.iterdir())))
        with pytest.raises(InputError, match=r"finite.*lower --learning-rate"):
            pretrain.main(["--data", table, "--out", str(out), *SMOKE, *options])
        assert not (out / "weights").exists()


def test_blank_lines_in_the_data_statement_do_not_spoil_the_card() -> None:
    config = replace(PRESETS["smoke"], data_statement="**Data.** CC BY 4.0.\n\n\n \n\nCite it.\n\n")
    run = {"wall_s": 1, "steps": 1, "processes": 1, "device": "cpu"}
    about = {"run": run, "n_crystals": 1, "n_sites": 1, "torch": "", "python": "", "date": ""}
    card = model_card(config, about, {1: 1})
    assert "**Data.** CC BY 4.0.\n\nCite it.\n\n**File.**" in card


def test_the_card_says_what_the_weights_before_had_seen() -> None:
    run = {"wall_s": 1, "steps": 1, "processes": 1, "device": "cpu", "start_from": "mp_v2_taught"}
    run |= inherited("mp_v2_taught")
    about = {"run": run, "n_crystals": 1, "n_sites": 1, "torch": "", "python": "", "date": ""}
    card = model_card(replace(PRESETS["smoke"], start_from="mp_v2_taught"), about, {1: 1})
    assert "**The student of a teacher:** the weights that this run went on from" in card
    assert "CHGNet was trained on energies" in " ".join(card.split())
    assert "without any property label" not in card
    assert inherited("mp_v3") == {"start_parts": ["train"]}
    assert inherited("") == {}


@pytest.mark.parametrize(
    ("part", "before", "expected"),
    [
        ("train", ["train"], "Formulas of the other parts (`train` 80 %, `val` 10 %, `test` 10 %;"),
        ("test", ["train"], "Formulas of the part `val` (`train` 80 %"),
        ("test", ["train"], "the weights that this run went on from had seen those of `train`."),
        ("test", ["train", "val"], "**No formula was held out** by the weights"),
        ("train", ["all"], "**No formula was held out** by the weights"),
        ("all", [], "No formula was held out. The formulas in `mine.txt` were left out"),
    ],
)
def test_the_card_says_which_formulas_nobody_has_seen(
    part: str, before: list[str], expected: str
) -> None:
    about_run: dict[str, Any] = {"part": part, "start_from": "mp_v3" if before else ""}
    config = replace(PRESETS["smoke"], exclude_formulas="lists/mine.txt", **about_run)
    run = {"wall_s": 1, "steps": 1, "processes": 1, "device": "cpu", "start_from": "mp_v3"}
    run |= {"start_parts": before} if before else {}
    about = {"run": run, "n_crystals": 1, "n_sites": 1, "torch": "", "python": "", "date": ""}
    card = " ".join(model_card(config, about, {1: 1}).split())
    assert expected in card
    assert ("the weights that it went on from may have seen them" in card) == bool(before)


# -- stopped runs ---------------------------------------------------------------------------------


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"depth": 3}', None])
def test_a_damaged_configuration_is_named_on_resume(
    content: str | None, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    file = tmp_path / "run" / "config.json"
    file.unlink() if content is None else file.write_text(content)
    said = refused(pretrain.main, ["--out", str(tmp_path / "run"), "--resume"], capsys)
    assert f"{file} cannot be read" in said


def damage(file: Path, how: str) -> None:
    good = file.read_bytes()
    other = file.parent / "weights" / "model.safetensors"
    cases = {"cut": good[:1000], "empty": b"", "text": b"hello hello", "foreign": b""}
    file.write_bytes(other.read_bytes() if how == "foreign" else cases[how])


@pytest.mark.parametrize("how", ["cut", "empty", "text", "foreign"])
def test_a_damaged_checkpoint_is_named_and_left_alone(
    how: str, finished: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    file = tmp_path / "run" / "checkpoint.safetensors"
    damage(file, how)
    before, log = file.read_bytes(), (tmp_path / "run" / "log.csv").read_bytes()
    with pytest.raises(InputError, match=r"checkpoint\.safetensors is no readable checkpoint"):
        load_checkpoint(file, torch.nn.Linear(1, 1), torch.nn.Linear(1, 1), None)  # type: ignore[arg-type]
    assert file.read_bytes() == before
    assert (tmp_path / "run" / "log.csv").read_bytes() == log


def test_a_checkpoint_of_another_network_is_named(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    file = tmp_path / "run" / "config.json"
    content = json.loads(file.read_text())
    content["encoder"]["width"] = 24
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match="of another network"):
        pretrain.main(["--out", str(tmp_path / "run"), "--resume"])


# -- site targets ---------------------------------------------------------------------------------


def targets_file(path: Path, crystals: list[Crystal], vectors: Callable[[Crystal], object]) -> Path:
    rows = [
        {"identifier": c.identifier, "n_sites": len(c.atomic_numbers), "values": vectors(c)}
        for c in crystals
    ]
    pd.DataFrame(rows).to_parquet(path)
    return path


def test_damaged_files_of_site_targets_are_named(crystals: list[Crystal], tmp_path: Path) -> None:
    file = targets_file(tmp_path / "t.parquet", crystals, lambda c: [1.0] * len(c.atomic_numbers))
    whole = file.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"hello"):
        file.write_bytes(content)
        with pytest.raises(InputError, match=r"t\.parquet is no readable Parquet file"):
            read_site_targets(file)
        with pytest.raises(InputError, match=r"t\.parquet is no readable Parquet file"):
            write_site_targets("tight-binding", crystals[:1], file, ["x"])
        assert file.read_bytes() == content


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "'values' holds null"),
        ("text", "'values' holds string"),
        (["text", "text"], "not lists of numbers"),
        ([math.inf, 1.0], "s0 has infinite values; drop its row"),
        ([math.nan, math.nan], "holds no values"),
    ],
)
def test_site_targets_that_are_no_numbers_are_refused(
    value: object, message: str, crystals: list[Crystal], tmp_path: Path
) -> None:
    file = targets_file(tmp_path / "t.parquet", crystals[:1], lambda c: value)
    with pytest.raises(InputError, match=message):
        read_site_targets(file)


def test_it_is_said_how_many_crystals_have_site_targets(
    table: str, crystals: list[Crystal], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = targets_file(tmp_path / "t.parquet", crystals[:3], lambda c: [0.0, 1.0])
    options = ["--teacher", str(file), "--weights.teacher", "1"]
    pretrain.main(["--data", table, "--out", str(tmp_path / "run"), *SMOKE, *options])
    assert "teacher targets of 3 of 8 crystals" in capsys.readouterr().out


def test_a_folder_is_no_file_for_site_targets(crystals: list[Crystal], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        write_site_targets("tight-binding", crystals[:1], tmp_path, ["x"])


def cube(length: float) -> np.ndarray:
    return np.eye(3) * length


@pytest.mark.parametrize(
    ("lattice", "coords", "numbers"),
    [
        (cube(4.0), np.zeros((0, 3)), []),
        (cube(4.0), [[0.0, 0, 0]], [0]),
        (cube(4.0), [[0.0, 0, 0]], [119]),
        (cube(4.0), [[np.nan, 0, 0]], [6]),
        (cube(np.nan), [[0.0, 0, 0]], [6]),
        (np.ones((3, 3)), [[0.0, 0, 0]], [6]),
        (cube(4.0), [[0.0, 0, 0]] * 2, [6, 6]),
        (np.diag([1000.0, 1000.0, 0.3]), [[0.0, 0, 0]], [6]),
    ],
)
def test_what_is_no_crystal_has_no_tight_binding_targets(
    lattice: np.ndarray, coords: np.ndarray, numbers: list[int]
) -> None:
    z = np.array(numbers, dtype=np.int64)
    with pytest.raises(StructureError):
        site_targets(lattice, np.array(coords), z)
    bad = Crystal(lattice, np.array(coords), z, "x")
    good = one_atom(2.5, "cu")
    assert [v is None for v in tight_binding_targets([good, bad])] == [False, True]


# -- data -----------------------------------------------------------------------------------------


def test_a_cell_that_repeats_itself_within_an_atom_is_named_and_left_out(
    crystals: list[Crystal], tmp_path: Path
) -> None:
    needle = replace(crystals[0], lattice=np.diag([1000.0, 1000.0, 0.3]), identifier="needle")
    data = write_parquet(tmp_path / "t.parquet", [*crystals, needle])
    with pytest.warns(UserWarning, match=r"needle.*repeats itself every 0\.3 Å"):
        assert len(read_with_report([data], 40, None)[0]) == len(crystals)
    # A cell that is only written in long vectors is a crystal.
    sheared = np.array([[5.0, 0, 0], [5000.0, 5.0, 0], [0, 70_000.0, 5.0]])
    check_crystal(sheared, np.zeros((1, 3)), np.array([26]))


def test_an_empty_name_is_not_the_present_folder() -> None:
    with pytest.raises(InputError, match="without a name"):
        read_with_report([""], 40, None)


def test_a_list_of_formulas_without_any_is_no_list(tmp_path: Path) -> None:
    (tmp_path / "none.txt").write_text("\n\n")
    with pytest.raises(InputError, match="holds no formula"):
        read_formulas(str(tmp_path / "none.txt"))


def test_a_data_set_that_matminer_does_not_have_is_named() -> None:
    with pytest.raises(InputError, match="matminer:nope: Unrecognized dataset name"):
        open_matminer("nope")


def test_a_folder_that_cannot_be_written_is_found_before_the_reading(
    table: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "is a folder" in refused(sources.main, ["--data", table, "--out", str(tmp_path)], capsys)
    csv = ["--data", table, "--out", str(tmp_path / "t.csv")]
    assert "the table is Parquet; name it .parquet" in refused(sources.main, csv, capsys)
    sources.main(["--data", table, "--out", str(tmp_path / "new" / "t.parquet")])
    assert (tmp_path / "new" / "t.parquet").is_file()


# -- other scripts --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rows", "nonsense"], "'nonsense' is no row of ablation; it has base, no node"),
        (["--jobs", "0"], "--jobs must be at least 1"),
        (["--tight-binding", "gone.parquet"], "gone.parquet: no such file"),
        (["--data", "gone"], "gone: no such file"),
    ],
)
def test_an_ablation_refuses_rows_and_files_that_there_are_not(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--data", str(tmp_path), "--out", str(tmp_path / "a.csv"), *options]
    assert message in refused(ablation.main, argv, capsys)


def test_weights_that_know_no_element_of_the_data_have_no_share() -> None:
    means = element_means.ElementMeans(4)
    assert math.isnan(means.within_share())
