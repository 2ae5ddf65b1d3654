"""README.md and the docstrings are true: snippets run, names exist, commands are understood."""

from __future__ import annotations

import argparse
import doctest
import inspect
import re
import shlex
import tomllib
import warnings
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from places import ROOT

import bandgap
import matminer_unate
import pretrain
import teachers
from matminer_unate import datasets
from matminer_unate.cli import arguments, embedding, info, similar
from matminer_unate.cli import main as cli
from matminer_unate.cli import map as map_command
from matminer_unate.errors import UnateWarning
from matminer_unate.network.weights import shipped_weights
from pretraining.config import PretrainConfig
from pretraining.options import add_options

PAGES = {
    page: (ROOT / page).read_text(encoding="utf-8")
    for page in ("README.md", "training/README.md", "training/results/columns.md")
}
README, TEXT = PAGES["README.md"], "\n".join(PAGES.values())

PUBLIC = [name for name in matminer_unate.__all__ if name != "__version__"]
LOADERS = list(datasets.__all__)

THE_READERS_OWN = {
    "my_cifs/",
    "more.parquet",
    "map.html",
    "query.cif",
    "mp.parquet",
    "data/",
    "gap_model",
    "features.parquet",
    "gaps.csv",
    "bandgap.csv",
    "quickstart.png",
    "runs/mine",
    "runs/paper",
    "runs/smoke",
}
"""Files that commands of the README read or write, where whoever reads it is."""


QUICK: dict[str, dict[str, Any]] = {
    "UnateRegressor": {"weights": "mp_v3", "n_folds": 3, "tight_binding": False},
    "UnateFineTuneRegressor": {"epochs": 1, "n_members": 1, "tight_binding": False},
}
"""Options that a snippet gets in the quick test, beside its own."""


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def semiconductors() -> pd.DataFrame:
    """Read once: the space groups take seconds."""
    return datasets.load_semiconductors()


def run_all(code: list[str]) -> dict[str, Any]:
    names: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnateWarning)
        for block in code:
            exec(compile(block, "README.md", "exec"), names)
    return names


def told(names: dict[str, Any], n_rows: int, n_predicted: int) -> None:
    """Check what the snippets say of their results."""
    labels = matminer_unate.UnateFeaturizer().feature_labels()
    assert len(names["gap"]) == len(names["std"]) == n_predicted
    assert len(names["X"]) == n_rows
    assert names["X"].columns[-1].endswith("spacegroup_number")
    for structure, vectors in zip(names["structures"], names["vectors"], strict=True):
        assert vectors.shape == (len(structure), 128)
        assert vectors.dtype == np.float32
    assert names["table"][labels].notna().all(axis=None)
    assert np.isfinite(names["search"].best_score_)


def test_the_snippets_run_one_after_another_on_a_few_crystals(
    semiconductors: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets, "load_semiconductors", semiconductors.head(32).copy)
    for name, options in QUICK.items():
        quick = partial(getattr(matminer_unate, name), **options)
        monkeypatch.setattr(matminer_unate, name, quick, raising=False)
    told(run_all(blocks("python")), 32, 20)
    assert (tmp_path / "gap_model" / "config.json").is_file()


@pytest.mark.slow
def test_the_snippets_run_on_the_whole_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fine_tuned = partial(matminer_unate.UnateFineTuneRegressor, epochs=3)
    monkeypatch.setattr(matminer_unate, "UnateFineTuneRegressor", fine_tuned, raising=False)
    told(run_all(blocks("python")), 109, 20)
    folder = tmp_path / "my_cifs"
    folder.mkdir()
    for number, structure in enumerate(datasets.load_semiconductors()["structure"].head(3)):
        structure.to(filename=str(folder / f"{number}.cif"))
    (command,) = [c for c in commands() if c.startswith("unate predict")]
    assert cli.main(shlex.split(command)[1:]) == cli.OK
    assert len(pd.read_csv(tmp_path / "gaps.csv")) == 3


# -- commands


def commands() -> list[str]:
    lines = [line for block in blocks("sh", TEXT) for line in block.splitlines()]
    return [re.sub(r"\s+# .*", "", line) for line in lines]


def test_every_command_is_understood(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    understood = {
        "training/pretrain.py": pretrain.parse_arguments,
        "training/bandgap.py": bandgap.parse_arguments,
        "training/teachers.py": teachers.parse_arguments,
    }
    seen = set()
    for command in commands():
        words = shlex.split(command)
        if words[0] == "python3":
            assert (ROOT / "constraints.txt").is_file()
            assert words[-1] == "pytest" or (ROOT / words[-1]).is_file()
            continue
        if words[0] == "unate":
            arguments.make_parser().parse_args(words[1:])
            continue
        (script,) = [k for k, word in enumerate(words) if word.startswith("training/")]
        understood[words[script]](words[script + 1 :])
        seen.add(words[script])
    assert seen >= {"training/pretrain.py", "training/bandgap.py"}


def test_every_option_in_the_text_exists() -> None:
    modules = arguments, embedding, info, cli, similar, map_command, bandgap, teachers, pretrain
    sources = " ".join(map(inspect.getsource, modules))
    parser = argparse.ArgumentParser()
    add_options(parser, PretrainConfig())
    known = {option for action in parser._actions for option in action.option_strings}
    for option in set(re.findall(r"(?<![\w-])--[a-z][\w.-]*", TEXT)):
        assert option in known | {"--nproc-per-node"} or f'"{option}"' in sources, option


def test_install_comes_before_use_and_before_every_snippet() -> None:
    assert README.index("pip install") < README.index("```python")
    assert README.index("load_semiconductors()") < README.index("featurize_dataframe(")


# -- names


def codes(text: str) -> set[str]:
    return set(re.findall(r"``?([^`\n]+)``?", text))


def documented() -> dict[str, str]:
    texts = dict(PAGES)
    for name in PUBLIC:
        cls = getattr(matminer_unate, name)
        texts[name] = inspect.getdoc(cls) or ""
        for method, function in vars(cls).items():
            if not method.startswith("_") and callable(function):
                texts[f"{name}.{method}"] = inspect.getdoc(function) or ""
    return texts


def labels() -> list[str]:
    poolings = ("mean", "std", "min", "max", "sum")
    return [
        label
        for featurizer in (
            *(matminer_unate.UnateFeaturizer(w, poolings) for w in shipped_weights()),
            matminer_unate.SiteDescriptorStats(poolings, "all"),
            matminer_unate.TightBindingStats(poolings),
            matminer_unate.UnateCompositionFeaturizer(),
            matminer_unate.UnateNovelty(),
        )
        for label in featurizer.feature_labels()
    ]


def test_every_column_that_is_named_exists() -> None:
    known, seen = labels(), set()
    for place, text in documented().items():
        for code in codes(text):
            if not re.fullmatch(r"(unate|tight_binding|site|…)_[\w…<>.]+", code):
                continue
            if code in matminer_unate.__all__:
                continue
            pattern = ".*".join(map(re.escape, re.split(r"…|<[^>]*>", code)))
            if code.startswith("…_z_"):
                continue  # of weights that pool the embedding itself
            assert any(re.fullmatch(pattern, label) for label in known), (place, code)
            seen.add(code)
    assert {"unate_mp_v3_tight_binding_gap", "unate_mp_v3_mean_l2_017"} <= seen


def test_every_class_function_and_option_that_is_named_exists() -> None:
    objects = {name: getattr(matminer_unate, name) for name in PUBLIC}
    for place, text in documented().items():
        for name in re.findall(r"\b(?:Unate|TightBinding|SiteDescriptor)[A-Z]\w+", text):
            assert name in objects, (place, name)
        for name in re.findall(r"\bload_\w+", text):
            assert name in LOADERS, (place, name)
        for name, options in re.findall(r"\b((?:Unate|Tight|Site)\w+)\(([^()]*)\)", text):
            given = re.findall(r"\b(\w+)=", options)
            assert set(given) <= set(inspect.signature(objects[name]).parameters), (place, given)


@pytest.mark.parametrize("page", PAGES)
def test_every_file_and_link_of_a_page_exists(page: str) -> None:
    text, home = PAGES[page], (ROOT / page).parent
    links = set(re.findall(r"\]\(([^)#\s]+)\)", text))
    local = {link for link in links if not link.startswith("http")}
    assert local
    for path in local:
        assert (home / path).exists(), path
    named = {c for c in codes(text) if re.fullmatch(r"[\w./-]+(/|\.(py|md|csv|png|txt))", c)}
    for path in named - THE_READERS_OWN:
        inside = [ROOT, home, ROOT / "training" / "results"]
        assert any((folder / path).exists() for folder in inside), path


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 170


def test_the_numbers_of_columns_are_right() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| .* \| ([\d,]+) \|$", README, re.MULTILINE))
    found = {
        "UnateFeaturizer": len(matminer_unate.UnateFeaturizer().feature_labels()),
        "TightBindingStats": len(matminer_unate.TightBindingStats().feature_labels()),
        "SiteDescriptorStats": len(matminer_unate.SiteDescriptorStats().feature_labels()),
        "CellStats": len(matminer_unate.CellStats().feature_labels()),
        "UnateRegressor": len(matminer_unate.UnateRegressor()._recipe().names()),
        "UnateClassifier": len(matminer_unate.UnateClassifier()._recipe().names()),
        "UnateSiteFeaturizer": len(matminer_unate.UnateSiteFeaturizer().feature_labels()),
        "UnateCompositionFeaturizer": len(
            matminer_unate.UnateCompositionFeaturizer().feature_labels()
        ),
        "UnateElementData": len(matminer_unate.UnateElementData().prop_names),
        "UnateNovelty": len(matminer_unate.UnateNovelty().feature_labels()),
    }
    assert {name: int(n.replace(",", "")) for name, n in rows.items()} == found


def test_the_metadata_names_authors_and_pages() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["authors"] == [{"name": "The matminer_unate developers"}]
    for url in project["urls"].values():
        assert url.removeprefix("https://").rstrip("/") in README


@pytest.mark.parametrize("script", sorted(ROOT.glob("examples/*.py")), ids=lambda path: path.stem)
def test_a_notebook_says_what_its_script_says(script: Path) -> None:
    jupytext = pytest.importorskip("jupytext")
    pair = [jupytext.read(script), jupytext.read(script.with_suffix(".ipynb"))]
    one, other = ([(c.cell_type, c.source) for c in notebook.cells] for notebook in pair)
    assert one == other


# -- docstrings

EXAMPLES = [
    "UnateFeaturizer",
    "CellStats",
    "SiteDescriptorStats",
    "TightBindingStats",
    "draw_contributions",
    "featurize_batch",
    "featurize_dask",
    "site_contributions",
    "ordered_structure",
    *LOADERS,
    pytest.param("UnateRegressor", marks=pytest.mark.slow),
    pytest.param("UnateFineTuneRegressor", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_of_the_docstring_runs(
    name: str, semiconductors: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    thing = getattr(datasets if name in LOADERS else matminer_unate, name)
    home = import_module(thing.__module__)
    if name not in LOADERS:
        monkeypatch.setattr(datasets, "load_semiconductors", semiconductors.copy)
    (test,) = doctest.DocTestFinder(recurse=False).find(thing, name, home)
    assert test.examples
    assert not any(doctest.SKIP in example.options for example in test.examples)
    assert doctest.DocTestRunner().run(test).failed == 0


def test_every_public_name_has_an_example() -> None:
    for name in (*PUBLIC, *LOADERS):
        thing = getattr(datasets if name in LOADERS else matminer_unate, name)
        assert ">>> " in (inspect.getdoc(thing) or ""), name
