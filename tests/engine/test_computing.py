"""What is computed of rows: featurizers side by side, the recipe, saved models."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from real_crystals import crystals

from matminer_unate import TightBindingStats, UnateRegressor
from matminer_unate.cli import main as cli
from matminer_unate.engine.computing import FeaturizeOptions
from matminer_unate.engine.report import RowReport
from matminer_unate.errors import InputError
from matminer_unate.io.input_rows import InputRow

pytest.importorskip("lightgbm")

NAMED = crystals()


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "in.csv"
    dicts = [json.dumps(s.as_dict()) for s in NAMED.values()]
    pd.DataFrame({"structure": [*dicts[:4], "", *dicts[4:6]], "formula": "mine"}).to_csv(
        path, index=False
    )
    return path


def featurize(*args: object) -> int:
    return cli.main(["featurize", *map(str, args), "--device", "cpu"])


def test_the_recipe_is_what_the_regressor_learns_from(
    table: Path, tmp_path: Path, tiny_weights: Path
) -> None:
    out = tmp_path / "out.parquet"
    code = featurize(table, "--out", out, "--columns", "recipe", "--weights", tiny_weights)
    assert code == cli.SOME_FAILED
    structures = list(NAMED.values())[:6]
    expected = UnateRegressor(tiny_weights, device="cpu", progress=False).featurize(structures)
    found = pd.read_parquet(out)
    assert list(found) == ["id", "formula", *expected.columns[1:]]
    assert list(found["formula"]) == list(expected["formula"])
    np.testing.assert_allclose(found.iloc[:, 2:], expected.iloc[:, 1:], rtol=1e-4, atol=1e-4)
    made_by = json.loads(pq.read_schema(out).metadata[b"matminer_unate"])
    assert made_by["columns"]["recipe"]["weights"] == ["tiny"]


def test_columns_that_the_recipe_has_come_once(
    table: Path, tmp_path: Path, tiny_weights: Path
) -> None:
    outs = [tmp_path / "recipe.parquet", tmp_path / "all.parquet"]
    options = ["--weights", tiny_weights, "--columns"]
    featurize(table, "--out", outs[0], *options, "recipe")
    names = ["unate", "site-descriptors", "tight-binding", "recipe"]
    assert featurize(table, "--out", outs[1], *options, *names) == cli.SOME_FAILED
    one, other = map(pd.read_parquet, outs)
    pd.testing.assert_frame_equal(one, other)


def test_a_crystal_without_tight_binding_has_the_other_columns_of_the_recipe(
    tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matminer_unate.errors import StructureError

    prepare = TightBindingStats._prepare

    def small(self: TightBindingStats, structure: object) -> object:
        if len(structure) == 8:  # type: ignore[arg-type]
            raise StructureError("too large")
        return prepare(self, structure)

    monkeypatch.setattr(TightBindingStats, "_prepare", small)
    computing = FeaturizeOptions(("recipe",), weights=str(tiny_weights), device="cpu").load()
    rows = [InputRow(name, f"place of {name}", NAMED[name]) for name in ("SrTiO3", "Si")]
    report = RowReport()
    ((good, values),) = computing.compute(rows, report)
    assert [row.identifier for row in good] == ["SrTiO3", "Si"]
    lacking = np.isnan(values[1])
    assert {label.split("_")[0] for label in np.array(computing.labels)[lacking]} == {"tight"}
    assert not np.isnan(values[0]).any()
    said = next(text for text in report.warnings if "tight binding" in text)
    assert report.warnings[said] == (1, "place of Si: too large")


def test_wrong_columns_are_refused() -> None:
    with pytest.raises(InputError, match="name each once"):
        FeaturizeOptions(("unate", "unate")).load()
    with pytest.raises(InputError, match="the recipe has poolings of its own"):
        FeaturizeOptions(("recipe",), pooling=("mean",)).load()


def test_a_report_is_the_same_from_its_json_and_from_its_parts() -> None:
    row = InputRow("id", "place", None, notes=("a note",))
    reports = []
    for n in range(3):
        report = RowReport(n_good=n)
        report.remark(row)
        report.failed(row, ValueError(f"reason {n}"))
        report.warned([row], ["1 row(s) are odd; the first is row 0", "the rest is fine"])
        reports.append(report)
    total = RowReport()
    for report in reports:
        total.add(RowReport.from_json(json.loads(json.dumps(report.as_json()))))
    assert (total.n_good, total.n_failed) == (3, 3)
    assert total.shown == [("place", f"reason {n}") for n in range(3)]
    assert total.remarks == {"remark": (3, "place: a note")}
    assert total.warnings == {"row(s) are odd": (3, "place"), "the rest is fine": (0, None)}
