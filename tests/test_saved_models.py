"""Folders that earlier versions wrote are read and say what they said.

A folder is named by its kind and format version; one stays here for every version that is still
read. They were written by a small untrained encoder, and by two epochs of fine-tuning of it on the
first 12 structures of ``fine_tuning_cases``. Regressors of other columns than today's are not read.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from fine_tuning_cases import structures
from places import ROOT

from matminer_unate import UnateFeaturizer, UnateFineTuneRegressor, UnateRegressor
from matminer_unate.errors import WeightsError
from matminer_unate.finetuning.saved_networks import FineTunedConfig
from matminer_unate.network.model_folder import FolderConfig
from matminer_unate.network.weights import WeightsConfig, read_config

FOLDERS = ROOT / "tests" / "data" / "saved_models"


@pytest.mark.parametrize(
    ("kind", "name"),
    [(WeightsConfig, "weights"), (FineTunedConfig, "fine_tuned")],
)
def test_there_is_a_folder_for_every_version_that_is_upgraded(
    kind: type[FolderConfig], name: str
) -> None:
    found = {int(folder.name.split("_")[-1]) for folder in FOLDERS.glob(f"{name}_*")}
    assert set(kind.UPGRADES) <= found


def test_weights_of_version_1_are_read() -> None:
    config = read_config(FOLDERS / "weights_1")
    assert config.sha256[:12] == "f428249d2362"
    assert config.encoder.predicted == ("charge",)
    assert config.crystal_labels == ["gap"]
    sites = UnateFeaturizer(FOLDERS / "weights_1").embed_sites(structures(1)[0])
    np.testing.assert_allclose(sites[0], [-0.416692, -0.503916, -0.400609, -0.265071], rtol=1e-4)


@pytest.mark.parametrize("version", [2, 3])
def test_a_fine_tuned_model_of_an_earlier_version_is_read(version: int) -> None:
    model = UnateFineTuneRegressor.load(FOLDERS / f"fine_tuned_{version}", "cpu")
    assert model.weights_config_.name == "small"
    assert (model.n_rows_, model.target_names_, model.interrupted_) == (12, None, False)
    assert (model.target, model.scoring, model.transforms_) == ("identity", "mae", ["identity"])
    found = model.set_params(progress=False).predict(structures(3))
    np.testing.assert_allclose(found, [16.5666187, 16.0979370, 16.1881982], rtol=1e-5)


def test_a_regressor_of_other_columns_is_refused(tmp_path: Path) -> None:
    content = {"kind": "UnateRegressor", "format_version": 5}
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(WeightsError, match="of format 5, this version of matminer_unate reads 9"):
        UnateRegressor.load(tmp_path)
