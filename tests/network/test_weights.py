"""weights folder ↔ encoder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_encoder import TINY

from matminer_unate import UnateFeaturizer
from matminer_unate.errors import WeightsError
from matminer_unate.network.encoder import SiteEncoder
from matminer_unate.network.model_folder import CONFIG, MODEL
from matminer_unate.network.weights import (
    load_encoder,
    read_config,
    save_encoder,
    shipped_weights,
    weights_folder,
)


@pytest.fixture
def folder(tiny_weights: Path, tmp_path: Path) -> Path:
    """A copy of the tiny weights that a test may damage."""
    return Path(shutil.copytree(tiny_weights, tmp_path / "weights"))


def change_config(folder: Path, **changes: object) -> None:
    content = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(content | changes))


def test_saved_and_loaded_weights_are_bit_equal(tmp_path: Path) -> None:
    torch.manual_seed(3)
    encoder = SiteEncoder(TINY).eval()
    saved = save_encoder(tmp_path, "mine", encoder, {1: 5, 8: 0}, {"seed": 3}, "sha {sha256}")
    loaded, config = load_encoder(tmp_path)
    assert config.sha256 == saved.sha256
    assert config.known_elements == {1}
    assert loaded.config == TINY
    assert not loaded.training
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
    assert config.sha256 in (tmp_path / "README.md").read_text()


def test_every_shipped_folder_loads_and_has_a_card() -> None:
    assert "mp_v3" in shipped_weights()
    for name in shipped_weights():
        encoder, config = load_encoder(name)
        assert config.name == name
        assert all(torch.isfinite(t).all() for t in encoder.state_dict().values())
        card = (weights_folder(name) / "README.md").read_text()
        assert config.sha256 in card
        assert "CC BY 4.0" in card
        assert config.training["config"]["part"] == "train"


def damage_truncate(folder: Path) -> None:
    content = (folder / MODEL).read_bytes()
    (folder / MODEL).write_bytes(content[: len(content) // 2])


def damage_flip(folder: Path) -> None:
    content = bytearray((folder / MODEL).read_bytes())
    content[-1] ^= 1
    (folder / MODEL).write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_truncate, "truncated or changed.*sha256"),
        (damage_flip, "truncated or changed.*sha256"),
        (lambda f: (f / MODEL).unlink(), "has no model.safetensors; copy the whole"),
        (lambda f: (f / CONFIG).unlink(), "is no weights folder: it has no config.json"),
        (lambda f: (f / CONFIG).write_text("{"), "not readable JSON"),
        (lambda f: (f / CONFIG).write_bytes(b"\xff\xfe\x00"), "not readable JSON"),
        (lambda f: (f / CONFIG).write_text("[]"), "no JSON object"),
        (lambda f: change_config(f, format_version=99), "format 99, this version.*reads 1, 2"),
        (lambda f: change_config(f, surprise=1), r"unknown entries \['surprise'\]"),
        (lambda f: change_config(f, name="a b"), "letters, digits"),
        (lambda f: change_config(f, encoder={}), "malformed"),
        (lambda f: change_config(f, element_counts={"x": 1}), "malformed"),
        (lambda f: change_config(f, element_counts={"200": 1}), "malformed"),
        (lambda f: change_config(f, element_counts={"1": "many"}), "malformed"),
        (lambda f: change_config(f, encoder=[]), "malformed"),
        (lambda f: change_config(f, kind="UnateRegressor"), "is no weights folder: it holds"),
    ],
)
def test_damaged_folders_say_what_is_wrong_and_what_to_do(
    folder: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(folder)
    with pytest.raises(WeightsError, match=message):
        load_encoder(folder)
    with pytest.raises(ValueError, match=message):
        UnateFeaturizer(folder).fit()


def test_settings_that_do_not_fit_the_tensors_are_refused(folder: Path) -> None:
    encoder = json.loads((folder / CONFIG).read_text())["encoder"]
    change_config(folder, encoder=encoder | {"width": 8})
    with pytest.raises(WeightsError, match="does not fit the encoder settings"):
        load_encoder(folder)
    change_config(folder, encoder=encoder | {"colour": "red"})
    with pytest.raises(WeightsError, match=r"encoder has unknown entries \['colour'\]"):
        load_encoder(folder)


def test_weights_that_exist_nowhere_name_what_is_shipped() -> None:
    with pytest.raises(WeightsError, match=r"neither shipped \(.*mp_v3.*\) nor a folder"):
        read_config("no/such/folder")


def test_weights_replaced_under_the_same_path_are_noticed(folder: Path) -> None:
    from real_crystals import crystals

    structure = crystals()["NaCl"]
    before = UnateFeaturizer(folder).featurize(structure)
    torch.manual_seed(9)
    save_encoder(folder, "other", SiteEncoder(TINY).eval(), dict.fromkeys(range(1, 84), 1), {}, "")
    after = UnateFeaturizer(folder)
    assert after.feature_labels()[0].startswith("unate_other_")
    assert after.featurize(structure) != before


def test_names_that_columns_cannot_have_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="letters, digits"):
        save_encoder(tmp_path, "my weights", SiteEncoder(TINY), {}, {}, "")
