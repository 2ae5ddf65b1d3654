"""Databases as inputs of ``unate``: counted, read in part, and refused when they have changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matminer.utils.io import load_dataframe_from_json
from places import RECORDED
from stopped_runs import stop_in_part

from matminer_unate.cli import main as cli
from matminer_unate.errors import InputError
from matminer_unate.io import databases
from matminer_unate.io.databases import open_database, open_optimade, parse_query
from matminer_unate.io.input_rows import Source
from matminer_unate.io.readers import open_inputs

BASE = "optimade.example.org/db"
OPTIMADE = f"optimade:https://{BASE}?filter=nsites<=6"

Featurize = Callable[..., int]


def recorded(name: str) -> Any:
    return json.loads((RECORDED / name).read_text())


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The recorded answers of all databases, which a test may change, and what was asked."""
    told = SimpleNamespace(
        mp=recorded("materials_project_summary.json")["data"],
        jarvis=recorded("jarvis_dft_3d.json"),
        matminer=load_dataframe_from_json(RECORDED / "matminer_data_set.json"),
        pages=[recorded("optimade_page_1.json"), recorded("optimade_page_2.json")],
        asked=[],
    )

    class Rester:
        def __init__(self, key: str, **options: Any) -> None:
            self.materials = SimpleNamespace(summary=self)

        def __enter__(self) -> Rester:
            return self

        def __exit__(self, *_: object) -> None: ...

        def search(self, fields: list[str], material_ids: Any = None, **_: Any) -> list[Any]:
            told.asked.append(material_ids)
            return [
                {field: document[field] for field in fields if field in document}
                for document in told.mp
                if material_ids is None or document["material_id"] in material_ids
            ]

    clients = {
        "mp_api.client": SimpleNamespace(MPRester=Rester),
        "jarvis.db.figshare": SimpleNamespace(data=lambda name: told.jarvis),
        "matminer.datasets": SimpleNamespace(load_dataset=lambda name, pbar: told.matminer),
    }
    monkeypatch.setattr(databases, "_client", lambda module, extra="": clients[module])
    monkeypatch.setattr(databases, "MP_BATCH", 2)
    monkeypatch.setenv("MP_API_KEY", "secret")

    def fetch(url: str) -> Any:
        told.asked.append(url)
        return told.pages["page_offset" in url]

    monkeypatch.setattr(databases, "fetch_json", fetch)
    return told


@pytest.fixture
def featurize(tiny_weights: Path) -> Featurize:
    def call(*args: Any) -> int:
        own = ["--weights", tiny_weights, "--device", "cpu", "--quiet", "--part-rows", 1]
        return cli.main(["featurize", *map(str, args), *map(str, own)])

    return call


KINDS = {"mp:all": 3, "jarvis:dft_3d": 2, "matminer:dielectric_constant": 2, OPTIMADE: 7}


@pytest.mark.parametrize(("name", "n"), KINDS.items())
def test_a_part_of_a_database_is_what_is_there_in_the_whole(
    answers: SimpleNamespace, name: str, n: int
) -> None:
    source = open_database(name)
    contents = list(source.fetch([range(n)]))
    assert source.n_rows == len(contents) == n
    assert list(source.fetch([range(1, 2)])) == contents[1:2]
    assert [row.identifier for row in source.rows()] == [content[0] for _, content in contents]
    assert open_database(name).digest == source.digest


@pytest.mark.parametrize("name", ["mp:all", OPTIMADE])
def test_only_what_is_asked_for_is_fetched(answers: SimpleNamespace, name: str) -> None:
    source = open_database(name)
    answers.asked.clear()
    list(source.fetch([range(2, 3)]))
    assert len(answers.asked) == 1


def change(answers: SimpleNamespace, name: str) -> None:
    """Change the last entry, as far as the database tells of it."""
    if name == "mp:all":
        answers.mp[2]["last_updated"] = "2031-01-01"
    elif name == OPTIMADE:
        answers.pages[1]["data"][-1]["attributes"]["last_modified"] = "2031-01-01T00:00:00Z"
    elif name.startswith("jarvis"):
        answers.jarvis[1]["atoms"]["coords"][0][0] += 0.01
    else:
        moved = answers.matminer["structure"][1].copy()
        moved.translate_sites([0], [0.01, 0, 0])
        answers.matminer = answers.matminer.assign(
            structure=[answers.matminer["structure"][0], moved]
        )


@pytest.mark.parametrize("name", KINDS)
def test_a_stopped_run_goes_on_and_is_refused_where_the_database_has_changed(
    answers: SimpleNamespace,
    featurize: Featurize,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole, out = tmp_path / "whole.parquet", tmp_path / "out.parquet"
    status = featurize(name, "--out", whole)
    assert status == (cli.SOME_FAILED if name == OPTIMADE else cli.OK)
    with monkeypatch.context() as stopped:
        stop_in_part(stopped, 2)
        assert featurize(name, "--out", out) == cli.INTERRUPTED
    with monkeypatch.context():
        change(answers, name)
        capsys.readouterr()
        assert featurize(name, "--out", out) == cli.UNUSABLE
        said = capsys.readouterr().err
        assert "holds the parts of another run: the input" in said
        assert "has changed" in said
    restore(answers, name)
    assert featurize(name, "--out", out, "--resume") == status
    pd.testing.assert_frame_equal(pd.read_parquet(out), pd.read_parquet(whole))


def restore(answers: SimpleNamespace, name: str) -> None:
    """Undo :func:`change`."""
    answers.mp[2].pop("last_updated", None)
    answers.pages[1]["data"][-1]["attributes"].pop("last_modified", None)
    answers.jarvis = recorded("jarvis_dft_3d.json")
    answers.matminer = load_dataframe_from_json(RECORDED / "matminer_data_set.json")


def test_what_the_materials_project_does_not_return_is_a_failed_row(
    answers: SimpleNamespace,
) -> None:
    source = open_database("mp:all")
    answers.mp.pop(1)
    rows = list(source.rows())
    assert [row.structure is None for row in rows].count(True) == 1
    (gone,) = [row for row in rows if row.error]
    assert "did not return it" in str(gone.error)


@pytest.mark.parametrize(
    ("query", "criteria"),
    [
        ("elements=Fe", {"elements": ["Fe"]}),
        ("elements=Fe|O,is_stable=false", {"elements": ["Fe", "O"], "is_stable": False}),
        ("energy_above_hull=0", {"energy_above_hull": (0, 0)}),
        ("band_gap=0.0,num_sites=4", {"band_gap": (0.0, 0.0), "num_sites": 4}),
        ("has_props=dielectric", {"has_props": ["dielectric"]}),
    ],
)
def test_criteria_mean_what_is_written(query: str, criteria: dict[str, Any]) -> None:
    assert parse_query(query) == criteria


def test_what_the_client_refuses_is_told_with_a_cure(
    answers: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers.mp = None
    with pytest.raises(InputError, match=r"Materials Project failed \(TypeError.*; check"):
        open_database("mp:is_stable=true")


def test_data_sets_of_jarvis_name_entries_in_several_ways(answers: SimpleNamespace) -> None:
    for entry in answers.jarvis:
        entry["id"] = entry.pop("jid")
    expected = [str(entry["id"]) for entry in answers.jarvis]
    assert [row.identifier for row in open_database("jarvis:some").rows()] == expected
    for entry in answers.jarvis:
        del entry["atoms"]
    with pytest.raises(InputError, match="jarvis:some has no entry with 'atoms'; name"):
        open_database("jarvis:some")


def test_data_sets_carry_their_other_scalar_columns(
    answers: SimpleNamespace, featurize: Featurize, tmp_path: Path
) -> None:
    frame = answers.matminer.assign(
        n=[np.int64(3), None],
        tensor=[np.eye(3), np.eye(3)],
        seen=[pd.Timestamp("2026-01-02"), pd.NaT],
        note=[pd.NA, "x"],
        composition=[s.composition for s in answers.matminer["structure"]],
        poscar=[s.to(fmt="poscar") for s in answers.matminer["structure"]],
    )
    answers.matminer = frame
    source = open_database("matminer:dielectric_constant")
    assert {name: str(kind) for name, kind in source.carried.items()} == {
        "material_id": "string", "formula": "string", "gap pbe": "double", "n": "double",
        "note": "string",
    }  # fmt: skip
    assert source.left_behind == ("tensor", "seen", "composition", "poscar")
    first, second = source.rows()
    assert (first.carried["gap pbe"], first.carried["n"], first.carried["note"]) == (0.0, 3.0, None)
    assert second.carried["formula"] == frame["formula"][1]
    assert featurize("matminer:dielectric_constant", "--out", tmp_path / "out.parquet") == cli.OK
    written = pd.read_parquet(tmp_path / "out.parquet")
    assert list(written)[:6] == ["id", *source.carried]
    assert written["gap pbe"].tolist() == frame["gap pbe"].tolist()

    answers.jarvis[0] |= {"gap": "na", "id": 7, "modes": [1.5]}
    answers.jarvis[1] |= {"gap": 1.25}
    source = open_database("jarvis:dft_3d")
    assert [row.carried for row in source.rows()] == [
        {name: entry[name] for name in ("jid", "spg_number", "formula", "func")} | {"gap": gap}
        for entry, gap in zip(answers.jarvis, (None, 1.25), strict=True)
    ]
    assert source.left_behind == ("modes", "id")
    digest = source.digest
    answers.jarvis[1]["gap"] = 1.5
    assert open_database("jarvis:dft_3d").digest != digest


def test_pages_that_change_while_they_are_read_end_the_run(answers: SimpleNamespace) -> None:
    source = open_database(OPTIMADE)
    answers.pages[0]["data"].pop(0)
    with pytest.raises(InputError, match="changed while it was read"):
        list(source.rows())


def test_the_first_listing_asks_for_no_structures(answers: SimpleNamespace) -> None:
    open_optimade(f"https://{BASE}")
    assert "response_fields=last_modified" in answers.asked[0]


def test_databases_stand_beside_files(answers: SimpleNamespace, tmp_path: Path) -> None:
    table = tmp_path / "a.jsonl"
    table.write_text(json.dumps({"structure": answers.mp[0]["structure"]}) + "\n")
    found: list[Source] = open_inputs([table, "mp:all"], max_sites=1)
    assert [source.n_rows for source in found] == [1, 3]
    assert all("sites" in str(row.error) for source in found for row in source.rows())
