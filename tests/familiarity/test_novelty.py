"""UnateNovelty: what is familiar, what is not, and the summary beside the weights."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from real_crystals import crystals
from sklearn.base import clone

from matminer_unate import UnateFeaturizer, UnateNovelty
from matminer_unate.errors import InputError, StructureError, UnateWarning, WeightsError
from matminer_unate.familiarity.corpus_summary import CorpusSummary

NAMED = crystals()
USUAL = list(NAMED.values())


@pytest.fixture
def summarised(tiny_weights: Path) -> Path:
    """The tiny weights with a summary of the crystals here."""
    sites = UnateFeaturizer(tiny_weights, device="cpu").embed_sites(USUAL)
    CorpusSummary.of(sites, sites[::2]).write(tiny_weights, {"crystals": len(sites)})
    return tiny_weights


def test_a_misplaced_atom_and_other_chemistry_are_novel() -> None:
    salt = NAMED["NaCl"]
    pressed = salt.copy()
    pressed.translate_sites([0], [0.12, 0.05, 0], to_unit_cell=True)
    odd = Structure(salt.lattice, ["Xe"] * 4 + ["Os"] * 4, salt.frac_coords)
    novelty = UnateNovelty()
    values = novelty.transform([salt, pressed, odd])
    assert values.min() >= 0
    assert values.max() <= 1
    assert (values[1:, 0] > values[0, 0]).all()
    assert novelty.is_familiar([salt, pressed, odd]).tolist()[::2] == [True, False]
    assert novelty.is_familiar(salt) is True


def test_columns_are_named_and_the_same_for_every_cell(summarised: Path) -> None:
    quartz = NAMED["SiO2 quartz"]
    values = UnateNovelty().transform([quartz, quartz * (2, 1, 1)])
    np.testing.assert_allclose(values[0], values[1], atol=0.002)
    novelty = UnateNovelty(summarised, device="cpu")
    table = novelty.describe_columns()
    assert list(table["name"]) == [
        "novelty_tiny",
        "novelty_tiny_mean_site",
        "novelty_tiny_oddest_site",
    ]
    assert clone(novelty).get_params() == novelty.get_params()


def test_novelty_to_training_rows_is_a_share_of_them(summarised: Path) -> None:
    novelty = UnateNovelty(summarised, device="cpu").fit(USUAL)
    assert novelty.feature_labels()[-1] == "novelty_tiny_to_training"
    values = novelty.transform([*USUAL, Structure(Lattice.cubic(2.2), ["B"], [[0, 0, 0]])])[:, -1]
    assert (values[:-1] == 0).all()
    assert values[-1] > 0
    with pytest.raises(InputError, match="two reduced formulas"):
        novelty.fit([NAMED["Si"]] * 3)


def test_embeddings_of_other_weights_are_not_compared(
    summarised: Path, other_weights: Path, tmp_path: Path
) -> None:
    other = tmp_path / "weights"
    shutil.copytree(other_weights, other)
    sites = UnateFeaturizer(other, device="cpu").embed_sites(USUAL)
    CorpusSummary.of(sites, sites[::2]).write(other, {"crystals": len(sites)})
    novelty = UnateNovelty(summarised, device="cpu").fit(USUAL).set_params(weights=other)
    with pytest.raises(InputError, match="are not those of the fit; fit again"):
        novelty.transform(USUAL)
    assert novelty.fit(USUAL).transform(USUAL)[:, -1].max() == 0
    assert novelty.set_params(weights=summarised).fit().transform(USUAL).shape[1] == 3


def test_unusable_structures_are_not_familiar(summarised: Path) -> None:
    with pytest.raises(StructureError, match="row 1"):
        UnateNovelty(summarised).is_familiar([NAMED["Si"], None])
    with pytest.warns(UnateWarning, match="1 of 2 rows"):
        found = UnateNovelty(summarised, on_error="nan").is_familiar([NAMED["Si"], None], 2.0)
    assert found.tolist() == [True, False]


def test_a_summary_that_is_missing_or_of_other_weights_is_told(
    summarised: Path, other_weights: Path
) -> None:
    with pytest.raises(WeightsError, match=r"training/corpus_summary\.py"):
        UnateNovelty(other_weights).fit()
    summary = (summarised / "corpus_summary.safetensors").read_bytes()
    (other_weights / "corpus_summary.safetensors").write_bytes(summary)
    try:
        with pytest.raises(WeightsError, match="of other weights"):
            UnateNovelty(other_weights).fit()
    finally:
        (other_weights / "corpus_summary.safetensors").unlink()
