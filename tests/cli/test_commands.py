"""``unate predict``: a saved model and files of crystals in, a table of predictions out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from real_crystals import crystals
from small_corpora import prototypes
from stopped_runs import stop_in_part

from matminer_unate import UnateFineTuneRegressor, UnateRegressor
from matminer_unate.cli import main as cli
from matminer_unate.engine import computing

NAMED = crystals()


@pytest.fixture(scope="module")
def model(tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model of volumes per atom."""
    folder = tmp_path_factory.mktemp("model")
    X = list(NAMED.values())
    regressor = UnateFineTuneRegressor(
        tiny_weights, epochs=3, tight_binding=False, progress=False, device="cpu"
    )
    regressor.fit(X, [s.volume / len(s) for s in X]).save(folder)
    return folder


def run(*args: object) -> int:
    return cli.main(["predict", *map(str, args), "--device", "cpu"])


def test_a_table_gets_the_predictions_row_for_row(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(computing, "CHUNK_ROWS", 3)
    frame = pd.DataFrame(
        {"id": list(NAMED), "structure": [json.dumps(s.as_dict()) for s in NAMED.values()]}
    )
    frame["mass"] = range(len(frame))
    frame.to_csv(tmp_path / "in.csv", index=False)
    out = tmp_path / "out.parquet"
    assert run(model, tmp_path / "in.csv", "--out", out, "--name", "volume") == cli.OK
    found = pd.read_parquet(out)
    assert list(found) == ["id", "mass", "volume"]
    assert list(found["id"]) == list(NAMED)
    expected = UnateFineTuneRegressor.load(model, "cpu").predict(list(NAMED.values()))
    np.testing.assert_allclose(found["volume"], expected, rtol=1e-4)
    assert b"UnateFineTuneRegressor" in pq.read_schema(out).metadata[b"matminer_unate"]
    assert f"{len(NAMED)} rows in" in capsys.readouterr().out


def test_predictions_that_were_stopped_go_on(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for n, structure in enumerate(NAMED.values()):
        structure.to(filename=str(tmp_path / f"{n}.cif"))
    outs = [tmp_path / "whole.csv", tmp_path / "resumed.csv"]
    options = ["--part-rows", 2, "--out"]
    assert run(model, tmp_path / "*.cif", *options, outs[0]) == cli.OK
    with monkeypatch.context() as patched:
        stop_in_part(patched, 3)
        assert run(model, tmp_path / "*.cif", *options, outs[1]) == cli.INTERRUPTED
    assert run(model, tmp_path / "*.cif", *options, outs[1], "--name", "other") == cli.UNUSABLE
    assert "holds the parts of another run: the table has other columns" in capsys.readouterr().err
    assert run(model, tmp_path / "*.cif", *options, outs[1], "--resume") == cli.OK
    assert outs[0].read_bytes() == outs[1].read_bytes()


def test_bad_files_are_listed_and_good_ones_predicted(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    NAMED["Si"].to(filename=str(tmp_path / "Si.cif"))
    (tmp_path / "empty.cif").write_text("")
    out = tmp_path / "out.csv"
    code = run(model, tmp_path / "Si.cif", tmp_path / "empty.cif", "--out", out)
    assert code == cli.SOME_FAILED
    assert len(pd.read_csv(out)) == 1
    assert "1 of 2 rows failed" in capsys.readouterr().err


def test_a_saved_unate_regressor_predicts_with_its_deviation(
    tiny_weights: Path,
    other_weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("lightgbm")
    X = [s for s in prototypes() if max(s.atomic_numbers) <= 83][:30]
    model = UnateRegressor((tiny_weights, other_weights), tight_binding=False, device="cpu")
    model.fit(X, [s.volume / len(s) for s in X]).save(tmp_path / "model")
    pd.DataFrame({"structure": [json.dumps(s.as_dict()) for s in X[:4]]}).to_csv(
        tmp_path / "in.csv", index=False
    )
    assert run(tmp_path / "model", tmp_path / "in.csv", "--out", tmp_path / "out.csv") == cli.OK
    found = pd.read_csv(tmp_path / "out.csv")
    assert list(found) == ["id", "prediction", "prediction_std"]
    expected = model.predict(X[:4], return_std=True)
    np.testing.assert_allclose(found["prediction"], expected[0], rtol=1e-4)
    np.testing.assert_allclose(found["prediction_std"], expected[1], rtol=1e-4)

    again = tmp_path / "again.csv"
    given = tmp_path / "model", tmp_path / "out.csv", "--out", again
    assert run(tmp_path / "model", tmp_path / "in.csv", "--out", again, "--interval", 0.8) == cli.OK
    ends = pd.read_csv(again)[["prediction_low", "prediction_high"]]
    np.testing.assert_allclose(ends, model.predict_interval(X[:4], 0.8), rtol=1e-4)
    frame = pd.read_csv(tmp_path / "in.csv").assign(prediction=1.0)
    frame.to_csv(tmp_path / "out.csv", index=False)
    assert run(*given, "--overwrite") == cli.UNUSABLE
    assert "give the predictions another name with --name" in capsys.readouterr().err
    assert run(*given, "--overwrite", "--interval", 0.99) == cli.UNUSABLE
    assert "coverage must be a number above 0 and, with 30" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run(*given, "--interval", 90)
    assert "'90' is no share between 0 and 1" in capsys.readouterr().err


def test_a_network_of_several_targets_writes_a_column_for_each(
    tiny_weights: Path, tmp_path: Path
) -> None:
    X = list(NAMED.values())
    y = pd.DataFrame({"volume": [s.volume for s in X], "sites": [float(len(s)) for s in X]})
    options = {"epochs": 1, "tight_binding": False, "progress": False, "device": "cpu"}
    model = UnateFineTuneRegressor(tiny_weights, **options).fit(X, y)
    model.save(tmp_path / "model")
    NAMED["Si"].to(filename=str(tmp_path / "Si.cif"))
    assert run(tmp_path / "model", tmp_path / "Si.cif", "--out", tmp_path / "out.csv") == cli.OK
    found = pd.read_csv(tmp_path / "out.csv")
    names = ["prediction_volume", "prediction_sites"]
    assert list(found) == ["id", *names]
    np.testing.assert_allclose(found[names], model.predict([NAMED["Si"]]), rtol=1e-3)


def test_a_folder_that_is_no_model_is_one_line_on_stderr(
    tiny_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    NAMED["Si"].to(filename=str(tmp_path / "Si.cif"))
    for folder in (tiny_weights, tmp_path, tmp_path / "nowhere"):
        code = run(folder, tmp_path / "Si.cif", "--out", tmp_path / "out.csv")
        assert code == cli.UNUSABLE
        assert "is no saved model" in capsys.readouterr().err
    assert not (tmp_path / "out.csv").exists()
