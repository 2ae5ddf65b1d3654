"""The package as a whole: imports, metadata, what must not happen."""

from __future__ import annotations

import ast
import configparser
import subprocess
import sys
import tomllib

import pytest
from places import ROOT


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_importing_the_package_imports_no_torch_pyg_or_lightgbm() -> None:
    code = (
        "import sys, matminer_unate; from matminer_unate import UnateFeaturizer; UnateFeaturizer();"
        "print([m for m in ('torch', 'torch_geometric', 'lightgbm') if m in sys.modules])"
    )
    assert run(code) == "[]"


def test_settings_of_weights_are_read_without_torch() -> None:
    code = (
        "import sys; from matminer_unate.network.weights import read_config;"
        "print(read_config('mp_v3').encoder.cutoff, 'torch' in sys.modules)"
    )
    assert run(code) == "4.5 False"


@pytest.mark.slow
def test_featurizing_needs_no_torch_geometric_and_no_network() -> None:
    code = """
import socket, sys
def refuse(*args, **kwargs): raise OSError("no network in this test")
socket.socket.connect = refuse
sys.modules["torch_geometric"] = None
import warnings; warnings.simplefilter("ignore")
from matminer_unate import UnateFeaturizer
from pymatgen.core import Lattice, Structure
print(len(UnateFeaturizer().featurize(Structure(Lattice.cubic(3), ["Po"], [[0, 0, 0]]))))
"""
    assert int(run(code).splitlines()[-1]) > 100


def test_setup_cfg_holds_tool_settings_only() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    assert not {"metadata", "options"} & set(config.sections())


def test_every_module_says_what_it_does_and_stays_readable() -> None:
    for path in [*ROOT.glob("matminer_unate/**/*.py"), *ROOT.glob("training/**/*.py")]:
        text = path.read_text(encoding="utf-8")
        assert text.lstrip().startswith('"""'), path
        assert text.count("\n") <= 500, path


def test_nothing_in_the_repository_unpickles_or_evaluates_code() -> None:
    for path in [*ROOT.glob("matminer_unate/**/*.py"), *ROOT.glob("training/**/*.py")]:
        text = path.read_text(encoding="utf-8")
        for word in ("import pickle", "pickle.load", "torch.load(", " eval(", " exec("):
            assert word not in text, (path, word)


def test_results_name_the_command_that_made_them() -> None:
    for path in ROOT.glob("training/results/**/*.csv"):
        first = path.read_text(encoding="utf-8").splitlines()[0]
        assert first.startswith("# "), path
        assert " training/" in first, path


def test_runtime_dependencies_are_the_declared_ones() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {d.split(">")[0].replace("-", "_") for d in project["dependencies"]}
    declared.remove("scikit_learn")
    imported = set()
    for file in (ROOT / "matminer_unate").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.split(".")[0])
    of_matplotlib = {"mpl_toolkits"}
    others = imported - set(sys.stdlib_module_names) - {"matminer_unate"} - of_matplotlib
    optional = {"ase", "umap"}
    assert others - optional == declared | {"sklearn"}
