"""What models say of how unlike their training rows a new row is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from few_trees import trees
from pymatgen.core import Lattice, Structure

from matminer_unate import UnateClassifier, UnateFeaturizer, UnateNovelty, UnateRegressor
from matminer_unate.cli import main as cli
from matminer_unate.errors import InputError, UnateWarning
from matminer_unate.familiarity.corpus_summary import CorpusSummary
from matminer_unate.regressors.error_bars import LEAST_SCALE, widening
from matminer_unate.regressors.unfamiliarity import N_KEPT, Unfamiliarity

N = 30

ODD = Structure(Lattice.cubic(2.1), ["B"], [[0, 0, 0]])


@pytest.fixture(autouse=True, scope="module")
def few_trees():
    with trees(30):
        yield


@pytest.fixture(scope="module")
def weights(tiny_weights: Path, structures, tmp_path_factory) -> Path:
    """The tiny weights with a summary of the crystals here."""
    folder = tmp_path_factory.mktemp("summarised") / "tiny"
    shutil.copytree(tiny_weights, folder)
    sites = UnateFeaturizer(folder, device="cpu").embed_sites(structures)
    CorpusSummary.of(sites, sites[::2]).write(folder, {"crystals": len(sites)})
    return folder


@pytest.fixture(scope="module")
def y(structures) -> np.ndarray:
    return np.array([s.volume / len(s) for s in structures])


@pytest.fixture(scope="module")
def fitted(weights: Path, structures, y) -> UnateRegressor:
    model = UnateRegressor(weights, tight_binding=False, device="cpu", n_folds=3, progress=False)
    return model.fit(structures, y)


def test_shares_are_ranks_among_the_training_rows() -> None:
    found = Unfamiliarity.of(np.array([0.4, 0.2, 0.8, 0.6])).shares(np.array([1.0, 0.5, 0.4, 0.1]))
    np.testing.assert_allclose(found, [0.0, 0.5, 0.5, 1.0])
    similarity = np.random.default_rng(0).random(50_000)
    kept = Unfamiliarity.of(similarity)
    assert len(kept.usual) == N_KEPT
    some = np.linspace(0.01, 0.99, 9)
    np.testing.assert_allclose(
        kept.shares(some), [(similarity > s).mean() for s in some], atol=2e-3
    )


def test_distances_are_those_of_the_kernel_in_units_of_the_usual_one() -> None:
    r = np.array([0.0, 0.2, 0.5, 1.0, 4.0, 30.0])
    similarity = (1 + 3**0.5 * r) * np.exp(-(3**0.5) * r)
    usual = Unfamiliarity.of(similarity[[1, 2, 3]])
    np.testing.assert_allclose(usual.distances(similarity), r / 0.5, rtol=1e-6, atol=1e-7)
    assert np.isfinite(usual.distances(np.array([0.0, 1 + 1e-12]))).all()
    same = Unfamiliarity.of(np.ones(3))
    assert same.distances(np.array([1.0, 0.5]))[0] == 0
    close = np.array([1 - 1e-4, 1 - 1.01e-6, 1 - 0.99e-6, 1 - 1e-9])
    found = Unfamiliarity.of(np.ones(3)).distances(close)
    np.testing.assert_allclose(found, np.sqrt(2 * (1 - close)), rtol=0.01)
    assert widening(np.array([0.2, 3.0, 1e6])).tolist() == [1.0, 3.0, 10.0]


def test_error_bars_widen_with_the_distance(fitted, structures) -> None:
    model, layout = fitted.fitted_.targets[0].models[0], fitted.fitted_.layout
    columns = fitted.featurize([*structures, ODD]).iloc[:, 1:].to_numpy(np.float64)
    _, similarity = model.kernel.predict(columns)
    factor = widening(model.unfamiliarity.distances(similarity))
    assert factor.min() == 1
    assert factor[-1] > 1
    _, size, _ = model.predict(columns, layout, 0.0)
    assert size[-1] >= factor[-1] * LEAST_SCALE * model.scale.mean


def test_novelty_comes_last_and_changes_nothing(fitted, structures, weights) -> None:
    asked = pd.Series([structures[0], ODD], index=["known", "odd"])
    plain, std = fitted.predict(asked, return_std=True)
    found, novelty = fitted.predict(asked, return_novelty=True)
    np.testing.assert_array_equal(found, plain)
    three = fitted.predict(asked, return_std=True, return_novelty=True)
    np.testing.assert_array_equal(three[1], std)
    pd.testing.assert_frame_equal(three[2], novelty)
    assert list(novelty) == ["to_training", "to_corpus"]
    assert list(novelty.index) == ["known", "odd"]
    assert novelty.loc["known", "to_training"] == 0
    assert novelty.loc["odd", "to_training"] > 0.5
    expected = UnateNovelty(weights, device="cpu").transform(list(asked))[:, 0]
    np.testing.assert_allclose(novelty["to_corpus"], expected)


def test_a_frame_has_no_sites_and_no_novelty_to_the_corpus(fitted, structures) -> None:
    table = fitted.featurize(structures[:4])
    _, novelty = fitted.predict(table, return_novelty=True)
    _, expected = fitted.predict(structures[:4], return_novelty=True)
    np.testing.assert_allclose(novelty["to_training"], expected["to_training"])
    assert novelty["to_corpus"].isna().all()


def test_rows_without_an_answer_have_no_novelty(fitted, structures) -> None:
    fitted.set_params(on_error="nan")
    with pytest.warns(UnateWarning, match="1 of 2 rows"):
        _, novelty = fitted.predict([structures[3], None], return_novelty=True)
    fitted.set_params(on_error="raise")
    assert novelty.isna().all(axis=1).tolist() == [False, True]


def test_several_targets_share_one_novelty_and_it_is_saved(
    fitted, structures, y, tmp_path: Path
) -> None:
    table = fitted.featurize([*structures, ODD])
    model = UnateRegressor(**fitted.get_params()).fit(table[:N], np.column_stack([y, y[::-1]]))
    _, novelty = model.predict(table, return_novelty=True)
    assert novelty.shape == (N + 1, 2)
    model.save(tmp_path / "model")
    again = UnateRegressor.load(tmp_path / "model").set_params(progress=False)
    found, same = again.predict(table, return_novelty=True)
    assert found.shape == (N + 1, 2)
    pd.testing.assert_frame_equal(same, novelty)


def test_a_classifier_tells_it_beside_probabilities(
    weights, fitted, structures, y, tmp_path
) -> None:
    table = fitted.featurize([*structures, ODD])
    model = UnateClassifier(
        weights, tight_binding=False, device="cpu", n_folds=3, progress=False
    ).fit(table[:N], y > np.median(y))
    found, novelty = model.predict_proba(table, return_novelty=True)
    np.testing.assert_array_equal(found, model.predict_proba(table))
    assert novelty["to_training"].iloc[-1] > novelty["to_training"].iloc[:N].max()
    model.save(tmp_path / "model")
    again = UnateClassifier.load(tmp_path / "model").set_params(progress=False)
    pd.testing.assert_frame_equal(again.predict_proba(table, return_novelty=True)[1], novelty)


def test_the_command_line_writes_it(fitted, structures, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    asked = [structures[2], ODD]
    frame = pd.DataFrame({"structure": [json.dumps(s.as_dict()) for s in asked]})
    frame.to_csv(tmp_path / "in.csv", index=False)
    given = ["predict", tmp_path / "model", tmp_path / "in.csv", "--out", tmp_path / "out.csv"]
    assert cli.main([*map(str, given), "--novelty", "--device", "cpu"]) == cli.OK
    found = pd.read_csv(tmp_path / "out.csv")
    ends = ("", "_std", "_novelty_to_training", "_novelty_to_corpus")
    assert list(found)[-4:] == [f"prediction{end}" for end in ends]
    _, expected = fitted.predict(asked, return_novelty=True)
    np.testing.assert_allclose(found.iloc[:, -2:], expected, atol=1e-6)


def test_a_fine_tuned_network_cannot_tell(tmp_path: Path) -> None:
    from matminer_unate.engine.predictions import PredictOptions

    (tmp_path / "config.json").write_text('{"kind": "UnateFineTuneRegressor"}', encoding="utf-8")
    with pytest.raises(InputError, match="leave --novelty out"):
        PredictOptions(str(tmp_path), "cpu", novelty=True).load()
    with pytest.raises(InputError, match="has no intervals; leave --interval out"):
        PredictOptions(str(tmp_path), "cpu", interval=0.9).load()
