"""Maps: points, colours of elements, and a page that draws in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from disordered_crystals import disordered_crystals
from real_crystals import crystals

from matminer_unate.cli import main as cli
from matminer_unate.errors import InputError, UnateWarning
from matminer_unate.maps.corpus_map import CorpusMap, place
from matminer_unate.maps.page import map_page, periodic_table

NAMED = crystals()
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)


@pytest.fixture(scope="module")
def corpus(tiny_weights: Path) -> CorpusMap:
    found = CorpusMap(tiny_weights, "cpu")
    known = [{"gap": float(k) if k else None, "x": "a </script>"} for k in range(len(NAMED))]
    assert found.add(list(NAMED.values()), list(NAMED), known) == {}
    return found


def content(page: str) -> dict[str, Any]:
    (text,) = re.findall(r'<script id="data" type="application/json">(.*?)</script>', page, re.S)
    found: dict[str, Any] = json.loads(text)
    return found


def test_the_page_holds_every_crystal_and_what_is_known_of_it(corpus: CorpusMap) -> None:
    page = corpus.html("gap", title="Crystals <&>")
    data = content(page)
    assert len(data["x"]) == len(data["y"]) == len(NAMED)
    assert data["columns"]["id"]["texts"] == list(NAMED)
    assert data["columns"]["gap"]["numbers"][:3] == [None, 1, 2]
    assert "a </script>" in data["columns"]["x (of the table)"]["texts"]
    groups = dict(zip(NAMED, data["columns"]["space group"]["texts"], strict=True))
    assert groups["NaCl"] == "Fm-3m (225)"
    assert data["color"] == "gap"
    assert page.count("Crystals &lt;&amp;&gt;") == 2
    assert "@" not in page[: page.index("<script")]
    outside = page.replace("http://www.w3.org", "")
    assert not re.search(r'<(script|link|img)[^>]*(src|href)="http', outside)


def test_a_crystal_that_is_unusable_is_left_out_with_its_error(tiny_weights: Path) -> None:
    found = CorpusMap(tiny_weights, "cpu")
    broken = NAMED["NaCl"].copy()
    broken.append("Na", [0.001, 0, 0])
    errors = found.add([NAMED["Si"], None, broken], ["a", "b", "c"])
    assert set(errors) == {1, 2}
    assert [row["id"] for row in found.rows] == ["a"]
    with pytest.raises(InputError, match="at least 3 crystals"):
        found.html()


def test_a_disordered_crystal_has_a_place_where_it_is_ordered(tiny_weights: Path) -> None:
    found = CorpusMap(tiny_weights, "cpu", "ordered")
    with pytest.warns(UnateWarning, match=r"1 row\(s\) hold (such )?sites"):
        assert not found.add([NAMED["Si"], disordered_crystals()["CuZn"]], ["a", "b"])
    assert [row["formula"] for row in found.rows] == ["Si", "ZnCu"]


def test_a_column_that_is_not_there_is_named(corpus: CorpusMap) -> None:
    with pytest.raises(InputError, match=r"no column 'gaps' to colour by; there are: id, formula"):
        corpus.html("gaps")


def test_places_are_the_principal_components() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(50, 4)) * [5, 2, 0.1, 0.1]
    found, axes = place(points, "pca")
    centred = points - points.mean(axis=0)
    apart = np.linalg.norm(centred[:, :2] - centred[:1, :2], axis=1)
    assert np.abs(np.linalg.norm(found - found[0], axis=1) - apart).max() < 0.5
    assert axes[0].startswith("component 1: 8")


def test_a_layout_that_is_unknown_is_refused() -> None:
    with pytest.raises(InputError, match="layout must be 'pca' or 'umap', got 'tsne'"):
        place(np.eye(4), "tsne")  # type: ignore[arg-type]


def test_every_element_has_a_place_of_its_own(corpus: CorpusMap) -> None:
    table = {e["symbol"]: e for e in periodic_table(corpus.element_colors())}
    assert len({(e["row"], e["column"]) for e in table.values()}) == len(table) == 103
    assert (table["Ce"]["row"], table["Ce"]["column"]) == (9, 5)
    assert table["O"]["color"].startswith("rgb(")
    assert table["Xe"]["color"] is None


def test_texts_beyond_a_dozen_are_grey() -> None:
    points = pd.DataFrame({"x": range(30), "y": 0.0, "id": "a", "formula": "Si", "kind": range(30)})
    points["kind"] = points["kind"].map("kind {}".format)
    data = content(map_page(points, ("a", "b"), {}, "kind", "t", "s"))
    assert len(data["columns"]["kind"]["categories"]) == 12


def test_the_command_writes_the_page(tiny_weights: Path, tmp_path: Path, capsys: Any) -> None:
    frame = pd.DataFrame(
        {
            "id": list(NAMED),
            "gap_ev": np.arange(len(NAMED)) / 2,
            "structure": [json.dumps(s.as_dict()) for s in NAMED.values()],
        }
    )
    bad = frame.iloc[[0]].assign(structure="nothing", id="bad")
    path, out = tmp_path / "corpus.parquet", tmp_path / "map.html"
    pd.concat([frame, bad]).to_parquet(path)
    command = ["map", str(path), "--out", str(out), "--weights", str(tiny_weights)]
    assert cli.main([*command, "--color", "gaps"]) == cli.UNUSABLE
    assert "has no column 'gaps'; its columns are: gap_ev" in capsys.readouterr().err
    assert cli.main([*command, "--color", "gap_ev", "--device", "cpu"]) == cli.SOME_FAILED
    shown = capsys.readouterr()
    assert f"{len(NAMED)} crystals on a map" in shown.out
    assert "bad" in shown.err
    assert content(out.read_text(encoding="utf-8"))["color"] == "gap_ev"
    assert cli.main([*command, "--color", "gap_ev"]) == cli.UNUSABLE
    assert "--overwrite" in capsys.readouterr().err


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
@pytest.mark.slow
def test_points_are_drawn_in_a_browser(corpus: CorpusMap, tmp_path: Path) -> None:
    page, shot = tmp_path / "map.html", tmp_path / "map.png"
    page.write_text(corpus.html("gap"), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-quic", "--no-first-run"]
    options += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    options += ["--enable-unsafe-swiftshader", "--virtual-time-budget=8000"]
    options += [f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1200,800"]
    command = [str(BROWSER), *options, f"--screenshot={shot}", page.as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    from matplotlib.image import imread

    pixels = imread(shot)[60:740, 60:700, :3]
    colored = (pixels.max(axis=-1) - pixels.min(axis=-1)) > 0.3  # of Viridis, on white
    assert colored.sum() > 20 * len(NAMED)
