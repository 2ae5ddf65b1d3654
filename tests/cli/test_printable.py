"""What the commands print: in any encoding, with what they are doing and for how long."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from real_crystals import crystals
from stopped_runs import stop_in_part

from matminer_unate import UnateFeaturizer
from matminer_unate.cli import main as cli
from matminer_unate.cli import report
from matminer_unate.cli.printable import use_printable_output
from matminer_unate.engine import computing, predictions
from matminer_unate.engine.blocks import Shard
from matminer_unate.engine.report import RowReport
from matminer_unate.errors import StructureError, warn_user
from matminer_unate.io.input_rows import InputRow
from matminer_unate.network.weights import weights_config

NAMED = crystals()


# -- encodings ------------------------------------------------------------------------------------


def test_info_is_printed_where_the_terminal_knows_only_ascii(tiny_weights: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "matminer_unate.cli.main", "info", "--weights", str(tiny_weights)],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        timeout=120,
    )
    assert done.returncode == cli.OK, done.stderr
    assert re.search(rb"cutoff \(A\) +4\.5", done.stdout)
    assert re.search(rb"pretraining_crystals +-", done.stdout)
    assert b"Traceback" not in done.stderr


def encoded(monkeypatch: pytest.MonkeyPatch, encoding: str) -> tuple[io.BytesIO, io.BytesIO]:
    """Stdout and stderr as they are in a terminal of this encoding."""
    raw = io.BytesIO(), io.BytesIO()
    for name, buffer in zip(("stdout", "stderr"), raw, strict=True):
        stream = io.TextIOWrapper(buffer, encoding, write_through=True)
        monkeypatch.setattr(sys, name, stream)
    return raw


@pytest.mark.parametrize(
    ("encoding", "cutoff"),
    [("ascii", "(A)"), ("latin-1", "(Å)"), ("cp1252", "(Å)"), ("cp437", "(Å)"), ("utf-8", "(Å)")],
)
def test_info_is_printed_in_the_encoding_of_the_terminal(
    tiny_weights: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, cutoff: str
) -> None:
    out, _ = encoded(monkeypatch, encoding)
    assert cli.main(["info", "--weights", str(tiny_weights)]) == cli.OK
    assert f"cutoff {cutoff}" in out.getvalue().decode(encoding)


def test_failed_rows_and_names_of_files_are_printed_in_ascii(
    tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "Größe.cif").write_text("")
    NAMED["Si"].to(filename=str(tmp_path / "Si.cif"))
    out, err = encoded(monkeypatch, "ascii")
    args = ["--weights", str(tiny_weights), "--device", "cpu"]
    code = cli.main(["featurize", str(tmp_path), "--out", str(tmp_path / "Lücke—.csv"), *args])
    assert code == cli.SOME_FAILED
    assert out.getvalue().rstrip().endswith(b"Lucke-.csv")
    assert re.search(rb"Gro\\xdfe\.cif +the file is empty", err.getvalue())
    assert (tmp_path / "Lücke—.csv").is_file()


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_is_printed_in_ascii(monkeypatch: pytest.MonkeyPatch, option: str) -> None:
    encoded(monkeypatch, "ascii")
    with pytest.raises(SystemExit) as stopped:
        cli.main(["featurize", "--help"] if option == "--help" else [option])
    assert stopped.value.code == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2 Å — 3 Å³", b"2 A - 3 A3"),
        ("a → b … −1·10⁻⁴", b"a -> b ... -1*10-4"),
        ("Müller \udcff 結", b"Muller \\udcff \\u7d50"),
    ],
)
def test_what_an_encoding_lacks_is_written_with_what_it_has(
    text: str, expected: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, _ = encoded(monkeypatch, "ascii")
    use_printable_output()
    print(text, end="", flush=True)
    assert out.getvalue() == expected


def test_a_way_that_the_user_has_chosen_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, "ascii", errors="ignore"))
    use_printable_output()
    print("5 Å", end="", flush=True)
    assert raw.getvalue() == b"5 "


# -- progress -------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_featurize_shows_its_stages_on_a_terminal_and_leaves_nothing_behind(
    tiny_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    for name in ("Si", "NaCl"):
        NAMED[name].to(filename=str(tmp_path / f"{name}.cif"))
    args = ["--out", str(tmp_path / "o.csv"), "--weights", str(tiny_weights), "--device", "cpu"]
    assert cli.main(["featurize", str(tmp_path), *args]) == cli.OK
    shown = terminal.getvalue()
    stages = ["loading", "looking at the input", "0/2 rows", "featurizing:   0%", "2/2 rows"]
    places = [shown.find(stage) for stage in stages]
    assert -1 not in places
    assert places == sorted(places)
    assert shown.endswith("\r")
    assert "2 rows with" in capsys.readouterr().out


def test_the_bar_of_a_resumed_run_counts_what_was_done_before(
    tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    for n in range(5):
        NAMED["Si"].to(filename=str(tmp_path / "in" / f"{n}.cif"))
    args = ["featurize", str(tmp_path / "in"), "--out", str(tmp_path / "o.csv"), "--device", "cpu"]
    args += ["--weights", str(tiny_weights), "--part-rows", "1"]
    with monkeypatch.context() as patched:
        stop_in_part(patched, 3)
        assert cli.main(args) == cli.INTERRUPTED
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert cli.main(args) == cli.OK
    shown = terminal.getvalue()
    assert "2 of 5 parts (2 rows) are finished" in shown
    assert re.search(r"featurizing:  40%\|.*\| 2/5 rows", shown)
    assert "5/5 rows" in shown


def test_nothing_is_shown_where_stderr_is_a_file_or_quiet_is_asked_for(
    tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    NAMED["Si"].to(filename=str(tmp_path / "Si.cif"))
    args = ["featurize", str(tmp_path / "Si.cif"), "--weights", str(tiny_weights)]
    for stream, more in ((io.StringIO(), []), (Terminal(), ["--quiet"])):
        monkeypatch.setattr(sys, "stderr", stream)
        out = ["--out", str(tmp_path / "o.csv"), "--overwrite", "--device", "cpu"]
        assert cli.main([*args, *out, *more]) == cli.OK
        assert stream.getvalue() == ""


def rows(n: int) -> Iterator[InputRow]:
    for k in range(n):
        yield InputRow(str(k), f"place {k}", NAMED["Si"])


def test_what_a_model_warns_of_names_the_row_of_the_input(
    tiny_weights: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(computing, "CHUNK_ROWS", 4)

    def predict(structures: list[Any]) -> Any:
        n = len(structures)
        warn_user(f"{n} row(s) hold elements without energies; the first is row {n - 1} (index 0)")
        if len(structures) == 4:
            warn_user("row 2 (index 2) has no columns of tight binding")
        return np.zeros((len(structures), 1)), None

    model = predictions.Predictor({}, weights_config(tiny_weights), "raise", ("",), predict)
    said = RowReport()
    done = list(predictions.PredictedColumns(model, "y").compute(rows(6), said))
    assert [len(good) for good, _ in done] == [4, 2]
    args: Any = SimpleNamespace(quiet=False, errors=None)
    report.print_report(said, [], [], args)
    err = capsys.readouterr().err
    assert "unate: warning: 6 row(s) hold elements without energies; the first is place 3\n" in err
    assert "unate: warning: place 2 has no columns of tight binding\n" in err


# -- cures ----------------------------------------------------------------------------------------


def test_the_cure_is_one_that_the_method_has(tiny_weights: Path) -> None:
    featurizer = UnateFeaturizer(tiny_weights, device="cpu")
    with pytest.raises(StructureError, match=r"^row 1: .*\nTo give .*, set on_error='nan'\.$"):
        featurizer.transform([NAMED["Si"], None])
    with pytest.raises(StructureError, match=r"pass ignore_errors=True or .* on_error='nan'"):
        featurizer.featurize_many([NAMED["Si"], None], pbar=False)


@pytest.mark.parametrize(("n", "command"), [(1, "--errors"), (2, "unate merge --errors")])
def test_what_lists_the_failed_rows_of_shards_is_merge(
    n: int, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = RowReport(n_failed=30, shown=[("place", "reason")])
    args: Any = SimpleNamespace(quiet=False, errors=None, shard=Shard(1, n))
    report.print_report(said, [], [], args)
    assert f"29 more ({command} FILE.csv writes all of them)" in capsys.readouterr().err


def test_the_regressors_cure_is_its_own_parameter(tiny_weights: Path) -> None:
    pytest.importorskip("lightgbm")
    from matminer_unate import UnateRegressor

    model = UnateRegressor(tiny_weights, tight_binding=False, device="cpu")
    with pytest.raises(StructureError, match="set on_error='nan'") as e:
        model.featurize([NAMED["Si"], None])
    assert "ignore_errors" not in str(e.value)
    assert "featurizer" not in str(e.value)
    assert "on_error" in model.get_params()
