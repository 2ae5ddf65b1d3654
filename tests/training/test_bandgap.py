"""The grid of ``training/bandgap.py``: arms, training loop, bookkeeping and comparisons."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from small_corpora import materials_project, prototypes

import bandgap
from benchmarks.networks import worker
from benchmarks.networks.arms import ARMS, PRESETS, Preset, make_network, shape, site_vectors
from benchmarks.networks.property_cartnet import PropertyCartNet
from benchmarks.networks.statistics import summarise
from benchmarks.networks.trials import Trial, claim, whole_grid
from harness.comparisons import holm, paired_change
from harness.result_tables import read_results
from matminer_unate import UnateFeaturizer, UnateFineTuneRegressor
from matminer_unate.crystals.graph import radius_graph
from matminer_unate.crystals.structures import crystal_arrays
from matminer_unate.errors import InputError
from matminer_unate.finetuning.fitting import (
    fit_network,
    parameter_groups,
    predict,
    set_rates,
    training_loss,
)
from matminer_unate.finetuning.networks import Crystals
from matminer_unate.finetuning.settings import FitSettings
from matminer_unate.network.weights import load_encoder

CPU = torch.device("cpu")
SMALL = shape(width=16, n_layers=2, n_rbf=8, n_moments=2, cutoff=4.0)


def structures(n: int = 24) -> list:
    return [s for s in prototypes() if max(s.atomic_numbers) <= 83][:n]


def small_crystals(n: int = 24) -> Crystals:
    return Crystals([radius_graph(*crystal_arrays(s), 4.0) for s in structures(n)])


def volumes(n: int = 24) -> np.ndarray:
    return np.array([s.volume / len(s) for s in structures(n)])


# -- networks -------------------------------------------------------------------------------------


def test_one_hot_vectors_reproduce_the_network_that_reads_atomic_numbers() -> None:
    torch.manual_seed(0)
    plain = PropertyCartNet(SMALL).eval()
    fed = PropertyCartNet(SMALL, "vectors", n_vector=119).eval()
    fed.load_state_dict(
        {k: v for k, v in plain.state_dict().items() if k != "backbone.species.weight"},
        strict=False,
    )
    fed.vector_input.map[1].weight.data = plain.backbone.species.weight.data.T.clone()
    crystals = small_crystals(5)
    vectors = [np.eye(119, dtype=np.float32)[g.atomic_numbers] for g in crystals.graphs]
    rows = np.arange(5)
    expected = predict(plain, crystals, rows, CPU)
    found = predict(fed, Crystals(crystals.graphs, vectors), rows, CPU)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_has_finite_gradients_everywhere_it_should_learn(
    arm: str, tiny_weights: Path
) -> None:
    torch.manual_seed(0)
    network = make_network(arm, Preset(SMALL, FitSettings()), str(tiny_weights))
    arrays = [crystal_arrays(s) for s in structures(6)]
    kind = ARMS[arm].vectors
    vectors = site_vectors(kind, arrays, np.arange(6), str(tiny_weights)) if kind else None
    cutoff = load_encoder(tiny_weights)[1].cutoff if ARMS[arm].node_input is None else 4.0
    crystals = Crystals([radius_graph(*a, cutoff) for a in arrays], vectors)
    network.train()(crystals.batch(range(6), CPU)).square().sum().backward()
    # The latent head of an encoder without predicted quantities feeds nothing.
    idle = {
        name
        for name, p in network.named_parameters()
        if p.grad is None or not p.grad.isfinite().all()
    }
    assert all("latent" in name or "layer_norms" in name for name in idle)


@pytest.mark.parametrize("arm", ["Z", "finetune"])
def test_a_prediction_is_that_of_the_crystal_alone_and_of_its_supercell(
    arm: str, tiny_weights: Path
) -> None:
    torch.manual_seed(0)
    network = make_network(arm, Preset(shape(), FitSettings()), str(tiny_weights))
    few = structures(4)
    larger = few[1].copy()
    larger.make_supercell([2, 1, 1])
    graphs = [radius_graph(*crystal_arrays(s), 4.5) for s in [*few, larger]]
    crystals = Crystals(graphs)
    together = predict(network, crystals, range(5), CPU)
    alone = [predict(network, crystals, [k], CPU)[0] for k in range(5)]
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-6)
    assert together[4] == pytest.approx(together[1], rel=1e-3, abs=1e-5)


def test_finetune_starts_from_the_encoder_and_scratch_does_not(tiny_weights: Path) -> None:
    trained = load_encoder(tiny_weights)[0].state_dict()["backbone.site_in.weight"]
    for arm, same in (("finetune", True), ("scratch", False)):
        network = make_network(arm, PRESETS["cpu"], str(tiny_weights))
        assert torch.equal(network.state_dict()["encoder.backbone.site_in.weight"], trained) == same


def test_the_paper_preset_has_the_published_number_of_parameters() -> None:
    network = make_network("Z", PRESETS["paper"], "")
    assert sum(p.numel() for p in network.parameters()) == 2_497_281


# -- site vectors ---------------------------------------------------------------------------------


def test_site_vectors_are_those_of_the_featurizer(tiny_weights: Path) -> None:
    arrays = [crystal_arrays(s) for s in structures(3)]
    found = site_vectors("site", arrays, np.arange(3), str(tiny_weights))
    featurizer = UnateFeaturizer(tiny_weights, device="cpu")
    for structure, vectors in zip(structures(3), found, strict=True):
        np.testing.assert_allclose(featurizer.embed_sites(structure), vectors, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["element", "random-table"])
def test_tables_give_every_site_of_an_element_one_vector(kind: str, tiny_weights: Path) -> None:
    arrays = [crystal_arrays(s) for s in structures(6)]
    vectors = np.concatenate(site_vectors(kind, arrays, np.arange(6), str(tiny_weights)))
    numbers = np.concatenate([z for _, _, z in arrays])
    for z in np.unique(numbers):
        assert len(np.unique(vectors[numbers == z], axis=0)) == 1
    assert len(np.unique(vectors, axis=0)) == len(np.unique(numbers))


# -- training loop --------------------------------------------------------------------------------


def fit(seed: int = 0, held_out: int = 0, **changes: object) -> tuple:
    torch.manual_seed(seed)
    settings = FitSettings(**{"epochs": 4, "batch_size": 6, "evaluations": 4} | changes)
    rows = np.arange(24)
    network = PropertyCartNet(SMALL)
    split = 24 - held_out
    return fit_network(
        network, small_crystals(), volumes(), rows[:split], rows[split:], settings, seed, CPU
    )


def test_training_learns_and_repeats_to_the_bit() -> None:
    network, report = fit(epochs=8, learning_rate=1e-2)
    assert report.history[-1][1] < 0.8 * report.history[0][1]
    again, _ = fit(epochs=8, learning_rate=1e-2)
    for one, other in zip(network.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_weights_of_the_best_epoch_are_kept() -> None:
    network, report = fit(held_out=8, epochs=12, evaluations=12, recalibrate=False)
    errors = [error for _, _, error in report.history]
    assert report.best_error == min(errors)
    assert report.best_epoch == report.history[int(np.argmin(errors))][0]
    found = predict(network, small_crystals(), range(16, 24), CPU)
    assert np.abs(found - volumes()[16:]).mean() == pytest.approx(min(errors))


def test_no_weights_are_kept_before_the_earliest_epoch() -> None:
    _, report = fit(held_out=8, epochs=12, evaluations=12, earliest=0.75)
    errors = [error for epoch, _, error in report.history if epoch >= 9]
    assert len(report.history) == 12
    assert report.best_epoch == 9 + int(np.argmin(errors))


def test_training_stops_when_nothing_improves() -> None:
    _, report = fit(held_out=8, epochs=40, evaluations=40, learning_rate=1e-9, patience=2)
    assert len(report.history) < 40


def test_predictions_below_the_floor_are_no_error_there() -> None:
    found = torch.tensor([-2.0, 1.0, -1.0], requires_grad=True)
    target = torch.tensor([0.0, 0.0, 3.0])
    assert training_loss(found, target, -np.inf).item() == pytest.approx((2 + 1 + 4) / 3)
    loss = training_loss(found, target, 0.0)
    assert loss.item() == pytest.approx((0.2 + 1 + 3.1) / 3)
    loss.backward()
    assert found.grad[0].abs() < found.grad[1].abs()
    assert found.grad[2] < 0


def test_deeper_layers_learn_more_slowly(tiny_weights: Path) -> None:
    network = make_network("finetune", PRESETS["cpu"], str(tiny_weights))
    settings = FitSettings(pretrained_share=0.5, layer_decay=0.1, frozen_share=0.3)
    groups = parameter_groups(network, settings)
    share = {id(p): g["share"] for g in groups for p in g["params"]}
    named = dict(network.named_parameters())
    assert share[id(named["of_sites.0.weight"])] == 1
    last = share[id(named["encoder.backbone.layers.1.gate.weight"])]
    first = share[id(named["encoder.backbone.layers.0.gate.weight"])]
    species = share[id(named["encoder.backbone.species.weight"])]
    assert last > first > species > 0
    optimizer = torch.optim.AdamW(groups)
    set_rates(optimizer, 0.2, settings)
    assert {g["lr"] > 0 for g in optimizer.param_groups if g["pretrained"]} == {False}
    set_rates(optimizer, 0.4, settings)
    assert all(g["lr"] > 0 for g in optimizer.param_groups)


def test_a_single_row_cannot_be_trained_on() -> None:
    with pytest.raises(InputError, match="at least two rows"):
        fit(held_out=23)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_training_runs_on_a_gpu_and_predicts_the_same_on_the_cpu() -> None:
    rows, device = np.arange(24), torch.device("cuda")
    settings = FitSettings(epochs=4, batch_size=6, evaluations=4)
    network, report = fit_network(
        PropertyCartNet(SMALL),
        small_crystals(),
        volumes(),
        rows[:16],
        rows[16:],
        settings,
        0,
        device,
    )
    assert np.isfinite(report.best_error)
    on_gpu = predict(network, small_crystals(), rows, device)
    np.testing.assert_allclose(
        predict(network.cpu(), small_crystals(), rows, CPU), on_gpu, rtol=1e-3
    )


# -- the grid -------------------------------------------------------------------------------------


@pytest.fixture
def command(tmp_path: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A command whose trials take a second."""
    small = [s for s in prototypes() if max(s.atomic_numbers) <= 83][:80]
    materials_project(small).to_parquet(tmp_path / "mp_mtcgcnn.parquet")
    monkeypatch.setitem(
        bandgap.PRESETS, "cpu", Preset(SMALL, FitSettings(epochs=1, batch_size=16, evaluations=1))
    )
    options = ["--data", tmp_path, "--weights", tiny_weights, "--out", tmp_path / "out.csv"]
    return [*map(str, options), "--arms", "Z", "site", "--fractions", "0.5", "--seeds", "2"]


def test_a_grid_that_was_stopped_goes_on_where_it_was(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, out = worker.Worker.run, tmp_path / "out.csv"
    ran = []

    def stop_at_third(self: worker.Worker, trial: Trial) -> None:
        if len(ran) == 2:
            raise KeyboardInterrupt
        ran.append(trial)
        run(self, trial)

    monkeypatch.setattr(worker.Worker, "run", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        bandgap.main(command)
    assert len(read_results(str(out))) == 2
    ran.append(None)  # so that it does not stop again
    bandgap.main(command)
    table = read_results(str(out))
    assert len(table) == 4
    assert not table.duplicated(["arm", "fraction", "seed"]).any()
    assert len(set(ran)) == 5
    assert out.read_text().startswith("# python training/")
    bandgap.main(command)  # nothing is left to do
    assert len(ran) == 5
    changes = read_results(str(tmp_path / "out_changes.csv"))
    assert list(changes["arm"]) == ["site"]
    assert np.isfinite(changes["test_rows_low"]).all()


def test_half_a_row_is_not_taken_for_one(command: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    bandgap.main([*command, "--only", "Z"])
    whole = out.read_bytes()
    out.write_bytes(whole[:-30])
    bandgap.main([*command, "--only", "Z"])
    again = read_results(str(out)).drop(columns="train_s")
    out.write_bytes(whole)
    pd.testing.assert_frame_equal(again, read_results(str(out)).drop(columns="train_s"))
    out.write_bytes(b"")
    with pytest.raises(InputError, match="holds no table"):
        bandgap.main(command)


def test_targets_and_folds_are_told_apart_in_one_table() -> None:
    def grid(*options: str) -> list[Trial]:
        return bandgap.parse_arguments(["--data", "x", *options]).grid

    hardness = grid("--protocol", "table", "--target", "hardness")
    density = grid("--protocol", "table", "--target", "density")
    first, second = (grid("--protocol", "matbench_mp_gap", "--fold", fold) for fold in "01")
    assert not set(hardness) & set(density)
    assert not set(first) & set(second)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--seeds 0", "--seeds must be"),
        ("--fractions -1", "--fractions must be"),
        ("--jobs 0", "--jobs must be"),
        ("--target gap", "--target, the column to predict, go together"),
        ("--protocol table", "--target, the column to predict, go together"),
        ("--protocol table --target gap --properties band_gap", "--properties is not for"),
        ("--protocol jarvis-opt --fold 1", "--fold is for"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    options: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        bandgap.parse_arguments(["--data", "x", *options.split()])
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_share_a_grid(tmp_path: Path, tiny_weights: Path) -> None:
    materials_project(list(prototypes()[:80])).to_parquet(tmp_path / "mp_mtcgcnn.parquet")
    out = tmp_path / "out.csv"
    command = ["--data", tmp_path, "--weights", tiny_weights, "--out", out, "--jobs", "2"]
    trials = ["--arms", "Z", "random-table", "--fractions", "20", "--seeds", "2"]
    bandgap.main([*map(str, command), *trials, "--set", "epochs=1"])
    table = read_results(str(out))
    assert sorted(zip(table["arm"], table["seed"], strict=True)) == [
        ("Z", 0), ("Z", 1), ("random-table", 0), ("random-table", 1)
    ]  # fmt: skip
    assert (tmp_path / "out_changes.csv").exists()


def test_the_predictions_kept_are_those_of_the_row(command: list[str], tmp_path: Path) -> None:
    bandgap.main([*command, "--only", "Z"])
    for row in read_results(str(tmp_path / "out.csv")).itertuples():
        trial = Trial(row.protocol, row.property, row.arm, row.fraction, row.seed)
        with np.load(tmp_path / "out_predictions" / trial.predictions()) as kept:
            error = np.abs(kept["test_predicted"] - kept["test_true"]).mean()
            assert error == pytest.approx(row.test_mae, rel=1e-4)
            assert kept["test_predicted"].min() >= 0
            assert len(kept["test_formula"]) == len(kept["test_true"])


def test_the_estimator_has_its_own_defaults_and_takes_changes(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = partial(UnateFineTuneRegressor, epochs=1, n_members=1, tight_binding=False)
    monkeypatch.setattr(worker, "UnateFineTuneRegressor", quick)
    bandgap.main([*command, "--arms", "Z", "estimator", "--seeds", "1"])
    changed = [*command, "--arms", "estimator", "--seeds", "1", "--set"]
    bandgap.main([*changed, "epochs=2"])
    table = read_results(str(tmp_path / "out.csv"))
    assert list(table["arm"]) == ["Z", "estimator", "estimator"]
    assert list(table["epochs"])[1:] == [1, 2]
    assert np.isfinite(table["test_mae"]).all()
    with pytest.raises(InputError, match="estimator has no such parameter"):
        bandgap.main([*changed, "jitter=0.1"])


def test_a_cell_that_another_process_works_on_is_left_to_it(tmp_path: Path) -> None:
    trial = Trial("mp-gap-20", "band_gap", "Z", 0.5, 0)
    out = tmp_path / "out.csv"
    with claim(out, trial) as mine:
        assert mine
        with claim(out, trial) as also:
            assert not also
        with claim(out, Trial("mp-gap-20", "band_gap", "Z", 0.5, 1)) as other:
            assert other
    with claim(out, trial) as again:
        assert again


@pytest.mark.slow
def test_a_lock_is_let_go_of_when_its_process_is_killed(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    script = (
        "import sys, time; sys.path.insert(0, sys.argv[1]); from pathlib import Path\n"
        "from benchmarks.networks.trials import Trial, claim\n"
        "with claim(Path(sys.argv[2]), Trial('a', 'b', 'Z', 0.5, 0)) as mine:\n"
        "    print(mine, flush=True); time.sleep(600)\n"
    )
    folder = str(Path(bandgap.__file__).parent)
    arguments = [sys.executable, "-c", script, folder, str(out)]
    trial = Trial("a", "b", "Z", 0.5, 0)
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        with claim(out, trial) as mine:
            assert not mine
        process.kill()
        process.wait()
    with claim(out, trial) as mine:
        assert mine


def test_tables_of_other_settings_are_not_mixed(command: list[str], tmp_path: Path) -> None:
    bandgap.main([*command, "--only", "site"])
    table = read_results(str(tmp_path / "out.csv"))
    table["weights"] = "other 0123"
    table.to_csv(tmp_path / "out.csv", index=False)
    with pytest.raises(InputError, match="has rows with weights 'other 0123'"):
        bandgap.main(command)


def test_settings_are_compared_in_one_table(command: list[str], tmp_path: Path) -> None:
    short = [*command, "--fractions", "0.5", "--seeds", "1"]
    bandgap.main(short)
    bandgap.main([*short, "--set", "epochs=2"])
    table = read_results(str(tmp_path / "out.csv"))
    assert list(table["changes"].fillna("")) == ["", "", "epochs=2", "epochs=2"]
    assert len(list((tmp_path / "out_predictions").glob("*.npz"))) == 4
    changes = read_results(str(tmp_path / "out_changes.csv"))
    assert list(changes["changes"].fillna("")) == ["", "epochs=2"]


@pytest.mark.parametrize(
    ("setting", "message"),
    [("depth=3", "no such setting"), ("epochs=many", "expected int"), ("epochs=0", "at least 1")],
)
def test_settings_that_make_no_sense_are_refused(setting: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        worker.with_changes(FitSettings(), [setting])


def test_the_whole_grid_holds_what_the_readme_promises() -> None:
    grid = pd.DataFrame(whole_grid())
    assert not grid.duplicated().any()
    quarter = grid[(grid["protocol"] == "mp-gap-20") & (grid["property"] == "band_gap")]
    counts = quarter.groupby(["arm", "fraction"]).size()
    assert (counts[:, 0.25] == 5).all()
    assert set(counts[:, 0.25].index) == set(ARMS) - {"estimator"}
    for arm in ("Z", "site", "finetune"):
        assert (counts[arm] >= 3).all()
        assert len(counts[arm]) == 4


def test_epochs_fall_as_labels_rise() -> None:
    found = [PRESETS["cpu"].settings("Z", n, 0.0).epochs for n in (100, 4_000, 16_000)]
    assert found == [80, 50, 25]
    assert PRESETS["paper"].settings("Z", 4_000, 0.0).epochs == 500
    rates = {PRESETS["paper"].settings(arm, 4_000, 0.0).learning_rate for arm in ARMS}
    assert rates == {1e-3}
    assert PRESETS["cpu"].settings("Z", 4_000, 0.0).learning_rate == 5e-3


def test_arms_are_compared_in_pairs_and_corrected_together(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [
        {
            "protocol": "p", "property": "gap", "preset": "cpu", "changes": "", "arm": arm,
            "fraction": 0.25, "seed": seed, "val_mae": value, "test_mae": value * 1.1,
            "jarvis_mae": np.nan, "unseen_mae": np.nan,
        }
        for arm, level in (("Z", 0.4), ("site", 0.36), ("element", 0.41))
        for seed, value in enumerate(level * np.exp(rng.normal(0, 0.02, 5)))
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    found = summarise(table, tmp_path).set_index(["reference", "arm"])
    site, z = (table[table["arm"] == a]["test_mae"].to_numpy() for a in ("site", "Z"))
    expected = paired_change(site, z)
    row = found.loc[("Z", "site")]
    assert row["test_pct"] == pytest.approx(expected.percent)
    assert row["test_low"] == pytest.approx(expected.low)
    assert row["n_seeds"] == 5
    assert np.isnan(row["jarvis_pct"])
    p = found.loc["Z", "test_p"].to_numpy()
    np.testing.assert_allclose(found.loc["Z", "test_p_holm"], holm(p))
    assert set(found.index.get_level_values(0)) == {"Z"}
