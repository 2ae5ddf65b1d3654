"""The fine-tuned network in the blend: honest, saved, and only where structures are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fine_tuning_cases import KilledError, kill_at, press_ctrl_c
from sklearn.base import clone

from matminer_unate import TightBindingStats, UnateRegressor
from matminer_unate.errors import InputError, StructureError, UnateWarning
from matminer_unate.finetuning import fitting, members, settings
from matminer_unate.finetuning.settings import auto_epochs
from matminer_unate.regressors import blend, recipe, unate_regressor
from matminer_unate.regressors.network_expert import NetworkExpert, network_seconds
from matminer_unate.transforms import TransformedTarget, transforms_for

N = 24
FOLDS = [np.arange(k, N, 3) for k in range(3)]


@pytest.fixture(autouse=True, scope="module")
def little_work():
    usual = blend.N_TREES, settings.auto_epochs
    blend.N_TREES, settings.auto_epochs = 20, lambda n_rows: 2
    yield
    blend.N_TREES, settings.auto_epochs = usual


@pytest.fixture(scope="module")
def y(structures) -> np.ndarray:
    return np.array([s.volume / len(s) for s in structures])


@pytest.fixture(scope="module")
def regressor(tiny_weights: Path) -> UnateRegressor:
    options = {"tight_binding": False, "network": True, "n_folds": 3, "device": "cpu"}
    return UnateRegressor(tiny_weights, progress=False, **options)


@pytest.fixture(scope="module")
def fitted(regressor, structures, y) -> UnateRegressor:
    return clone(regressor).fit(structures, y)


def fit_expert(structures, y, weights, outputs=(0, 0, 0), wanted="identity", scoring="mae"):
    transforms = transforms_for(wanted, np.sort(y), np.ones(N))
    target = TransformedTarget(y, np.ones(N), transforms, -np.inf, scoring)
    given = structures, None, target, outputs, FOLDS, weights, "cpu", 0, lambda share: None
    return NetworkExpert.fit(*given), target


def test_the_network_of_a_fold_has_not_seen_its_targets(structures, y, tiny_weights) -> None:
    (expert, before), _ = fit_expert(structures, y, tiny_weights)
    changed = y.copy()
    changed[FOLDS[1]] = np.roll(changed[FOLDS[1]], 1)  # of the same mean and deviation
    (_, after), _ = fit_expert(structures, changed, tiny_weights)
    np.testing.assert_allclose(after[FOLDS[1]], before[FOLDS[1]], rtol=1e-5)
    assert np.abs(after[FOLDS[0]] - before[FOLDS[0]]).max() > 1e-4
    assert len(expert.networks) == 3


def test_folds_may_learn_other_transformations(structures, y, tiny_weights) -> None:
    (expert, held_out), target = fit_expert(structures, y, tiny_weights, (1, 0, 1), "auto")
    log = target.values[:, 1]
    np.testing.assert_allclose(expert.centres, [log.mean(), y.mean(), log.mean()])
    assert ((y.min() - np.ptp(y) < held_out) & (held_out < y.max() + np.ptp(y))).all()
    given = structures[:4], None, target.transforms, (1, 0, 1), "cpu"
    found = expert.predict(*given)
    each = [
        NetworkExpert([network], np.array([centre]), np.array([spread]), tiny_weights)
        for network, centre, spread in zip(
            expert.networks, expert.centres, expert.spreads, strict=True
        )
    ]
    alone = [
        one.predict(structures[:4], None, target.transforms, (output,), "cpu")
        for one, output in zip(each, (1, 0, 1), strict=True)
    ]
    np.testing.assert_allclose(found, np.mean(alone, axis=0))


def test_it_learns_the_errors_that_the_target_is_scored_by(
    structures, y, tiny_weights, monkeypatch
) -> None:
    trained, losses = members.train_members, []

    def listening(*given, **options):
        found = trained(*given, **options)
        losses.append([report.history[-1][1] for _, report in found[0]])
        return found

    monkeypatch.setattr(members, "train_members", listening)
    far = y.copy()
    far[0] += 20 * y.std()  # which squared errors hear of, and absolute ones hardly
    held_out = [fit_expert(structures, far, tiny_weights, scoring=s)[0][1] for s in ("mae", "rmse")]
    assert np.abs(held_out[1] - held_out[0]).max() > 1e-3
    # The first row is in the training rows of the second and third folds.
    assert min(losses[1][1:]) > 2 * max(losses[0][1:])


def test_a_regressor_scored_by_squared_errors_has_such_a_network(
    regressor, structures, y, monkeypatch
) -> None:
    scored, fit = [], NetworkExpert.fit

    def listening(structures, electrons, target, *others):
        scored.append(target.scoring)
        return fit(structures, electrons, target, *others)

    monkeypatch.setattr(NetworkExpert, "fit", listening)
    clone(regressor).set_params(scoring="rmse").fit(structures, y)
    assert scored == ["rmse"]


def test_it_is_a_part_of_the_blend(fitted, structures, y) -> None:
    assert "fine-tuned network" in fitted.blend_
    assert fitted.blend_.sum() == pytest.approx(1)
    model = fitted.fitted_.targets[0].models[0]
    assert len(model.blend.shares) == 4 + 2 * len(model.blend.forests) + 1
    parts = model.blend.shares.copy()
    model.blend.shares[:] = np.eye(len(model.blend.shares))[-1]
    try:
        alone = fitted.predict(structures)
    finally:
        model.blend.shares[:] = parts
    outputs, transforms = model.blend.outputs, model.blend.transforms
    expected = model.network.predict(structures, None, transforms, outputs, "cpu")
    np.testing.assert_allclose(alone, expected)
    assert fitted.importances().sum() == pytest.approx(1)
    assert np.isfinite(fitted.predict_interval(structures, 0.8)).all()


def test_a_saved_model_keeps_its_networks(fitted, structures, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    again = UnateRegressor.load(tmp_path / "model").set_params(progress=False)
    for ours, theirs in zip(
        fitted.predict(structures, return_std=True),
        again.predict(structures, return_std=True),
        strict=True,
    ):
        np.testing.assert_allclose(theirs, ours, rtol=1e-6)
    assert again.network is True
    pd.testing.assert_series_equal(again.blend_, fitted.blend_)


def test_a_frame_of_columns_has_no_structures_for_it(regressor, fitted, structures, y) -> None:
    table = regressor.featurize(structures)
    with pytest.raises(InputError, match="network=True needs structures, not the frame"):
        clone(regressor).fit(table, y)
    with pytest.raises(InputError, match="has a network, which reads structures"):
        fitted.predict(table)
    plain = clone(regressor).set_params(network="auto").fit(table, y)
    assert plain.blend_["fine-tuned network"] == 0
    assert plain.fitted_.targets[0].models[0].network is None


def test_auto_trains_one_from_many_structures_on(regressor, structures, y, monkeypatch) -> None:
    model = clone(regressor).set_params(network="auto")
    assert model.fit(structures, y).fitted_.targets[0].models[0].network is None
    monkeypatch.setattr(unate_regressor, "AUTO_ROWS", N)
    assert model.fit(structures, y).fitted_.targets[0].models[0].network is not None
    with pytest.raises(InputError, match="'network' parameter of UnateRegressor must be"):
        clone(regressor).set_params(network="yes").fit(structures, y)


def let_rows_lack_electrons(monkeypatch: pytest.MonkeyPatch, *rows: int) -> None:
    class Picky(TightBindingStats):
        def _columns_here(self, entries, *given):
            found = super()._columns_here(entries, *given)
            for row in set(rows) & set(range(len(found.values))):
                found.values[row] = np.nan
                found.errors[row] = StructureError("it is too large")
            return found

    monkeypatch.setattr(recipe, "tight_binding_stats", lambda: Picky(on_error="nan"))


def test_rows_that_lack_the_electrons_are_learned_and_told_without_a_network(
    tiny_weights, structures, y, monkeypatch
) -> None:
    let_rows_lack_electrons(monkeypatch, 3)
    model = UnateRegressor(tiny_weights, network=True, n_folds=3, device="cpu", progress=False)
    with pytest.warns(UnateWarning, match="1 of 24 rows lack"):
        model.fit(structures, y)
    main, other = model.fitted_.targets[0].models
    assert main.network is not None
    assert main.network.networks[0].n_given > 0
    assert other.network is None
    with pytest.warns(UnateWarning, match="1 of 5 rows lack"):
        assert np.isfinite(model.predict(structures[:5])).all()


def test_where_most_rows_lack_the_electrons_no_network_reads_them(
    tiny_weights, structures, y, monkeypatch
) -> None:
    let_rows_lack_electrons(monkeypatch, *range(4, N))
    model = UnateRegressor(tiny_weights, network=True, n_folds=3, device="cpu", progress=False)
    with pytest.warns(UnateWarning, match="the columns are left out of the model"):
        model.fit(structures, y)
    (only,) = model.fitted_.targets[0].models
    assert only.without == {"tight binding"}
    assert only.network.networks[0].n_given == 0
    assert np.isfinite(model.predict(structures[:6])).all()


def test_a_training_that_diverges_says_how_to_do_without(
    regressor, structures, y, monkeypatch
) -> None:
    monkeypatch.setattr(fitting, "training_loss", lambda found, *given: found.sum() * np.nan)
    with pytest.raises(InputError, match=r"no network can learn this .* is nan; set network=False"):
        clone(regressor).fit(structures, y)


def test_an_unusable_structure_is_no_row_of_it(regressor, structures, y) -> None:
    some = [*structures[:15], None, *structures[16:]]
    model = clone(regressor).set_params(on_error="nan")
    with pytest.warns(UnateWarning, match="1 of 24 rows"):
        model.fit(some, y)
    with pytest.warns(UnateWarning, match="1 of 24 rows"):
        found = model.predict(some)
    assert np.flatnonzero(np.isnan(found)).tolist() == [15]


@pytest.fixture
def two_transformations(monkeypatch) -> None:
    """The first fold learns another one than the other two, which are trained after it."""
    fit = NetworkExpert.fit

    def fitting_both(structures, electrons, target, outputs, *others):
        return fit(structures, electrons, target, [0, 1, 1], *others)

    monkeypatch.setattr(NetworkExpert, "fit", fitting_both)


@pytest.mark.usefixtures("two_transformations")
def test_a_killed_fit_goes_on_from_its_checkpoints(
    regressor, structures, y, monkeypatch, tmp_path: Path
) -> None:
    whole = clone(regressor).fit(structures, y)
    model = clone(regressor).set_params(checkpoints=tmp_path / "kept")
    steps, inner = [], fitting.set_rates

    def counting(*given):
        steps.append(given)
        inner(*given)

    monkeypatch.setattr(fitting, "set_rates", counting)
    clone(regressor).fit(structures, y)
    n_steps = len(steps)
    with monkeypatch.context() as patch:
        kill_at(patch, n_steps - 1)
        with pytest.raises(KilledError):
            model.fit(structures, y)
    assert list((tmp_path / "kept").iterdir())
    steps.clear()
    model.fit(structures, y)
    assert len(steps) < n_steps / 2
    np.testing.assert_array_equal(model.predict(structures), whole.predict(structures))
    assert not list((tmp_path / "kept").iterdir())
    model.save(tmp_path / "model")
    assert UnateRegressor.load(tmp_path / "model").checkpoints is None


def test_ctrl_c_says_where_the_fit_goes_on_from(
    regressor, structures, y, monkeypatch, tmp_path: Path
) -> None:
    model = clone(regressor).set_params(checkpoints=tmp_path)
    with monkeypatch.context() as patch:
        press_ctrl_c(patch, fitting, "set_rates", 4)
        text = f"the fit was stopped; the same fit goes on from {tmp_path}"
        with pytest.warns(UnateWarning, match=text), pytest.raises(KeyboardInterrupt):
            model.fit(structures, y)
    assert np.isfinite(model.fit(structures, y).predict(structures)).all()
    with pytest.raises(InputError, match="checkpoints need a random_state"):
        model.set_params(random_state=None).fit(structures, y)


def test_its_time_grows_with_rows_and_epochs(monkeypatch) -> None:
    monkeypatch.setattr(settings, "auto_epochs", auto_epochs)
    assert 600 < network_seconds(2_000, 5) < 1_800
    assert network_seconds(8_000, 5) > 1.5 * network_seconds(2_000, 5)
