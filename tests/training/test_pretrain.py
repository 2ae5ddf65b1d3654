"""``training/pretrain.py`` from a folder of files to weights, stopped and resumed on the way."""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from small_corpora import CUTOFF, as_crystal, make_corpus, prototypes, write_parquet
from torch import nn

import pretrain
from augmentations.corruption import CorruptionConfig
from corpora.batches import clean_view
from corpora.corpus import Corpus
from corpora.element_tables import element_table
from corpora.sampling import epoch_batches
from corpora.shares import WHOLE
from matminer_unate import UnateFeaturizer
from matminer_unate.errors import InputError
from matminer_unate.network import checkpoints
from matminer_unate.network.config import EncoderConfig
from matminer_unate.network.encoder import SiteEncoder
from matminer_unate.network.optimisation import update_average
from matminer_unate.network.weights import load_encoder, read_config
from matminer_unate.physics.elements import magpie_property
from pretrain import parse_arguments
from pretraining import optimisation
from pretraining import run as run_module
from pretraining.checkpointing import Progress, load_checkpoint, save_checkpoint
from pretraining.config import LossWeights, PretrainConfig
from pretraining.data import read_corpora
from pretraining.export import recalibrate, standardise
from pretraining.optimisation import average_decay, learning_rate, make_optimizer, step_generator
from pretraining.options import add_options
from pretraining.presets import PRESETS
from pretraining.pretrainer import Pretrainer
from pretraining.targets import with_predictions
from pretraining.views import ViewMaker
from site_targets import files

TRAINING = Path(pretrain.__file__).parent

SMALL = """
    --weights.tight-binding 0 --weights.tight-binding-crystal 0
    --name small --part all --epochs 2 --max-edges 600 --max-sites 8 --ema 0.8
    --encoder.cutoff 4 --encoder.width 16 --encoder.n-layers 2 --encoder.n-rbf 8
    --encoder.n-moments 2 --encoder.latent-dim 8 --encoder.latent-layers 0 1 2
    --encoder.column-states 1 2
""".split()  # noqa: SIM905

NO_FILES = LossWeights(tight_binding=0.0, tight_binding_crystal=0.0)
"""Losses that need no file of targets."""

ENCODER = EncoderConfig(
    cutoff=CUTOFF, width=16, n_layers=2, n_rbf=8, n_moments=2, latent_dim=8,
    latent_layers=(0, 1, 2), column_states=(1, 2), n_properties=22,
)  # fmt: skip


@pytest.fixture(scope="session")
def cifs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the CIF files of 24 crystals."""
    folder = tmp_path_factory.mktemp("cifs")
    for k, structure in enumerate(prototypes()[:24]):
        structure.to(folder / f"{k:02d}.cif", fmt="cif")
    return folder


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same crystals as a parquet file, which is read faster."""
    path = tmp_path_factory.mktemp("table") / "crystals.parquet"
    return write_parquet(path, [as_crystal(s) for s in prototypes()[:24]])


@pytest.fixture(scope="session")
def finished(table: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted run."""
    out = tmp_path_factory.mktemp("run") / "finished"
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        pretrain.main(["--data", table, "--out", str(out), *SMALL])
    (out / "shown.txt").write_text(shown.getvalue(), encoding="utf-8")
    return out


def make_model() -> Pretrainer:
    corpus = make_corpus(prototypes()[:3])
    config = PretrainConfig(encoder=ENCODER, weights=NO_FILES)
    return Pretrainer(with_predictions(config, corpus), corpus)


def weights_of(run: Path) -> bytes:
    return (run / "weights" / "model.safetensors").read_bytes()


def log_of(run: Path) -> pd.DataFrame:
    return pd.read_csv(run / "log.csv").drop(columns="wall_s")


# -- from files to columns -----------------------------------------------------------------------


# pymatgen says so when it rounds a third of a cell edge.
@pytest.mark.filterwarnings("ignore:Issues encountered while parsing CIF:UserWarning")
def test_a_folder_of_cif_files_becomes_weights_that_give_columns(
    cifs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    pretrain.main(["--data", str(cifs), "--out", str(out), *SMALL])
    featurizer = UnateFeaturizer(out / "weights", device="cpu")
    structures = list(prototypes()[:24])
    columns = featurizer.featurize_dataframe(
        pd.DataFrame({"structure": structures}), "structure", pbar=False
    ).drop(columns="structure")
    # Mean and standard deviation of two states and of the predicted descriptors.
    assert columns.shape == (24, 2 * (2 * 16 + 82))
    assert columns.columns[0] == "unate_small_mean_l1_000"
    assert np.isfinite(columns.to_numpy()).all()
    assert (columns.std() > 1e-3).all()
    embedded = featurizer.embed_sites(structures[0])
    assert embedded.shape == (len(structures[0]), 8)


def test_the_weights_say_how_they_were_made(finished: Path, table: str) -> None:
    config = read_config(finished / "weights")
    training = config.training
    assert config.name == "small"
    assert training["n_crystals"] == 24
    assert training["n_sites"] == sum(map(len, prototypes()[:24]))
    assert training["config"]["data"] == [Path(table).name]  # no path of this machine
    assert training["config"]["epochs"] == 2
    assert training["run"]["processes"] == 1
    assert training["run"]["steps"] == log_of(finished)["step"].iloc[-1]
    counts = np.bincount([z for s in prototypes()[:24] for z in s.atomic_numbers], minlength=119)
    assert config.element_counts == {str(z): int(n) for z, n in enumerate(counts) if n}
    card = " ".join((finished / "weights" / "README.md").read_text().split())
    assert config.sha256 in card
    assert "24 crystals" in card
    assert "all formulas, from" in card
    assert "No formula was held out." in card


def test_the_card_says_which_formulas_were_held_out(table: str, tmp_path: Path) -> None:
    pretrain.main(["--data", table, "--out", str(tmp_path), *SMALL, "--part", "train"])
    card = " ".join((tmp_path / "weights" / "README.md").read_text().split())
    assert "formulas of the part `train` only, from" in card
    assert "Formulas of the other parts" in card


def test_the_log_has_every_loss_and_every_sign_of_health(finished: Path) -> None:
    log = pd.read_csv(finished / "log.csv")
    weights = NO_FILES
    losses = {f.name for f in fields(weights) if getattr(weights, f.name)}
    each = losses | {"masked_accuracy", "retrieval_accuracy", "alignment", "uniformity"}
    health = {"majority_accuracy", "composition_accuracy", "effective_rank"}
    health |= {"spread_min", "spread_median", "within_element_share"}
    measured = {f"monitor_{name}" for name in each | health}
    scales = {f"scale_{name}" for name in losses}
    assert {"epoch", "step", "wall_s", "total", *each, *measured, *scales} == set(log.columns)
    assert log["epoch"].tolist() == [1, 2]
    assert np.isfinite(log.to_numpy(dtype=float)).all()
    assert log["step"].is_monotonic_increasing
    assert log["adjacency"].iloc[1] < log["adjacency"].iloc[0]
    assert log["monitor_effective_rank"].between(1, 8).all()
    assert log["monitor_within_element_share"].between(0, 1).all()


def test_exported_vectors_have_mean_0_and_standard_deviation_1_over_the_corpus(
    finished: Path,
) -> None:
    """Through the featurizer, so graphs of training and of use are the same ones."""
    featurizer = UnateFeaturizer(finished / "weights", device="cpu", pooling="sum")
    sites = np.concatenate([featurizer.embed_sites(s) for s in prototypes()[:24]])
    np.testing.assert_allclose(sites.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(sites.std(0, ddof=1), 1, atol=1e-4)
    # The columns before pooling.
    encoder, _ = load_encoder(finished / "weights")
    corpus = make_corpus(prototypes()[:24])
    batch = clean_view(corpus.batch(np.arange(24)), CUTOFF)
    with torch.no_grad():
        columns, _ = encoder.columns(batch, torch.zeros(len(batch.z), dtype=torch.long), 1)
    np.testing.assert_allclose(columns.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(columns.std(0), 1, atol=1e-4)
    pooled = featurizer.featurize_many(list(prototypes()[:24]), pbar=False)
    np.testing.assert_allclose(np.sum(pooled, axis=0), columns.sum(0), atol=1e-2)


# -- the same run twice --------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_weights_bit_for_bit(
    finished: Path, table: str, tmp_path: Path
) -> None:
    pretrain.main(["--data", table, "--out", str(tmp_path / "again"), *SMALL])
    assert weights_of(tmp_path / "again") == weights_of(finished)
    pretrain.main(["--data", table, "--out", str(tmp_path / "other"), *SMALL, "--seed", "1"])
    assert weights_of(tmp_path / "other") != weights_of(finished)


class Stop(Exception):  # noqa: N818
    """Raised where a run is to be cut off."""


def stop_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Let a run fail in the optimizer step after ``step`` finished ones."""

    steps = itertools.count()

    def update(average: Any, model: Any, decay: float) -> None:
        if next(steps) == step:
            raise Stop
        update_average(average, model, decay)

    monkeypatch.setattr(pretrain, "update_average", update)


def steps_of(run: Path) -> int:
    return int(log_of(run)["step"].iloc[0])


@pytest.mark.parametrize("where", ["first epoch", "end of epoch", "second epoch"])
def test_an_interrupted_run_resumes_to_the_same_weights_bit_for_bit(
    where: str, finished: Path, table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    n = steps_of(finished)
    assert n >= 3
    step = {"first epoch": 2, "end of epoch": n, "second epoch": n + 2}[where]
    always = [*SMALL, "--checkpoint-minutes", "0"]
    command = ["--data", table, "--out", str(tmp_path), *always]
    with monkeypatch.context() as patch:
        stop_at(patch, step)
        with pytest.raises(Stop):
            pretrain.main(command)
    with safe_open(tmp_path / pretrain.CHECKPOINT, "pt") as file:
        assert json.loads(file.metadata()["facts"])["step"] == step
    pretrain.main([*command, "--resume"])
    assert weights_of(tmp_path) == weights_of(finished)
    pd.testing.assert_frame_equal(log_of(tmp_path), log_of(finished))


def test_a_run_of_several_processes_is_not_gone_on_with_by_one(
    table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["--data", table, "--out", str(tmp_path), *SMALL, "--checkpoint-minutes", "0"]
    with monkeypatch.context() as patch:
        stop_at(patch, 1)
        with pytest.raises(Stop):
            pretrain.main(command)
    written = replace(Progress(epoch=0, batch=1, step=1), processes=2)
    monkeypatch.setattr(run_module, "load_checkpoint", lambda *state: written)
    with pytest.raises(InputError, match=r"within an epoch on 2 process.*; go on with 2"):
        pretrain.main([*command, "--resume"])


def test_two_runs_do_not_share_a_folder(table: str, tmp_path: Path) -> None:
    command = ["--data", table, "--out", str(tmp_path / "run"), *SMALL]
    with pretrain.held(tmp_path / "run"), pytest.raises(InputError, match=r"is writing to .*run"):
        pretrain.main(command)
    assert not (tmp_path / "run" / "config.json").exists()
    pretrain.main(command)
    assert not list((tmp_path / "run").glob("_lock*"))


def test_steps_after_the_last_checkpoint_are_repeated(
    finished: Path, table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["--data", table, "--out", str(tmp_path), *SMALL]  # saved after epochs only
    with monkeypatch.context() as patch:
        stop_at(patch, steps_of(finished) + 2)
        with pytest.raises(Stop):
            pretrain.main(command)
    pretrain.main([*command, "--resume"])
    assert weights_of(tmp_path) == weights_of(finished)
    pd.testing.assert_frame_equal(log_of(tmp_path), log_of(finished))


def test_an_epoch_is_logged_once_even_if_the_run_stops_before_it_is_saved(
    finished: Path, table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["--data", table, "--out", str(tmp_path), *SMALL]

    def fail(*args: Any) -> None:
        raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "save_checkpoint", fail)
        with pytest.raises(Stop):
            pretrain.main([*command])
    pretrain.main([*command, "--resume"])
    pd.testing.assert_frame_equal(log_of(tmp_path), log_of(finished))


def test_resuming_a_finished_run_exports_the_same_weights(
    finished: Path, table: str, tmp_path: Path
) -> None:
    shutil.copytree(finished, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / "weights")
    pretrain.main(["--data", table, "--out", str(tmp_path / "copy"), *SMALL, "--resume"])
    assert weights_of(tmp_path / "copy") == weights_of(finished)
    pd.testing.assert_frame_equal(log_of(tmp_path / "copy"), log_of(finished))


def test_resuming_needs_no_options(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "copy")
    pretrain.main(["--out", str(tmp_path / "copy"), "--resume"])
    assert weights_of(tmp_path / "copy") == weights_of(finished)


def test_a_new_run_does_not_mix_with_an_old_one_in_its_folder(
    finished: Path, table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stale checkpoint would be resumed under the new settings and exported as the new run."""
    shutil.copytree(finished, tmp_path / "copy")
    with pytest.raises(SystemExit):
        pretrain.main(["--data", table, "--out", str(tmp_path / "copy"), *SMALL, "--seed", "1"])
    assert json.loads((tmp_path / "copy" / "config.json").read_text())["seed"] == 0
    assert weights_of(tmp_path / "copy") == weights_of(finished)


@pytest.mark.slow
def test_a_killed_process_resumes_to_the_same_weights(
    finished: Path, table: str, tmp_path: Path
) -> None:
    command = ["--data", table, "--out", str(tmp_path), *SMALL, "--checkpoint-minutes", "0"]
    process = subprocess.Popen(
        [sys.executable, str(TRAINING / "pretrain.py"), *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    saved = tmp_path / pretrain.CHECKPOINT
    deadline = time.monotonic() + 60
    while not saved.is_file() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "weights").exists()
    pretrain.main([*command, "--resume"])
    assert weights_of(tmp_path) == weights_of(finished)


# -- checkpoints ---------------------------------------------------------------------------------


def training_state(seed: int) -> tuple[nn.Module, nn.Module, torch.optim.Optimizer]:
    """A model, its average and an optimizer that has made two steps."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.randn(5, 3)).sum().backward()
        optimizer.step()
    return model, copy.deepcopy(model), optimizer


def test_a_checkpoint_restores_every_tensor_and_the_progress(tmp_path: Path) -> None:
    progress = Progress(3, 7, 90, 12.5, {"total": 1 / 3})
    before, after = training_state(0), training_state(1)
    save_checkpoint(tmp_path / "checkpoint", *before, progress)
    assert load_checkpoint(tmp_path / "checkpoint", *after) == progress
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("moment", range(2))
def test_a_checkpoint_can_be_read_whenever_its_writer_dies(
    moment: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, path = training_state(0), tmp_path / "checkpoint"
    save_checkpoint(path, *state, Progress(step=1))
    calls = 0

    def dying(original: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == moment + 1:
                raise Stop
            return original(*args, **kwargs)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", dying(Path.replace))
        patch.setattr(checkpoints, "save_file", dying(checkpoints.save_file))
        with pytest.raises(Stop):
            save_checkpoint(path, *state, Progress(step=2))
    assert calls == moment + 1
    assert load_checkpoint(path, *training_state(1)).step == 1
    save_checkpoint(path, *state, Progress(step=3))
    assert load_checkpoint(path, *training_state(1)).step == 3


# -- options -------------------------------------------------------------------------------------


def test_the_configuration_survives_json() -> None:
    config = PretrainConfig(
        data=("a.parquet", "b"),
        data_statement="CC BY 4.0, Å",
        encoder=EncoderConfig(latent_layers=(1, 3)),
        corruption=CorruptionConfig(jitter=(0.01, 0.03)),
        weights=LossWeights(node=0.0),
    )
    assert PretrainConfig.from_json(config.to_json()) == config
    for preset in PRESETS.values():
        assert PretrainConfig.from_json(preset.to_json()) == preset


@pytest.mark.parametrize("part", [(), ("encoder",), ("corruption",), ("weights",)])
def test_an_unknown_key_in_a_configuration_is_an_error(part: tuple[str, ...]) -> None:
    content = json.loads(PretrainConfig().to_json())
    place = content
    for key in part:
        place = place[key]
    place["depth"] = 3
    with pytest.raises(TypeError, match="depth"):
        PretrainConfig.from_json(json.dumps(content))


def test_options_reach_the_nested_settings() -> None:
    options = """
        --data a.parquet b --out here --encoder.width 32 --encoder.geometry cartesian
        --encoder.latent-layers 1 3 --encoder.column-states --corruption.jitter 0.01 0.02
        --corruption.rotate --weights.contrastive 0 --learning-rate 1e-3 --limit 5
    """
    args, config = parse_arguments(options.split())
    assert (args.out, args.resume) == ("here", False)
    expected = replace(
        PretrainConfig(),
        data=("a.parquet", "b"),
        learning_rate=1e-3,
        limit=5,
        encoder=replace(
            PretrainConfig().encoder,
            width=32,
            geometry="cartesian",
            latent_layers=(1, 3),
            column_states=(),
        ),
        corruption=CorruptionConfig(jitter=(0.01, 0.02), rotate=True),
        weights=LossWeights(contrastive=0.0),
    )
    assert config == expected
    _, config = parse_arguments(["--data", "a", "--no-corruption.rotate"])
    assert config == replace(PretrainConfig(), data=("a",))


def option_names() -> Iterator[str]:
    for item in fields(PretrainConfig):
        value = getattr(PretrainConfig(), item.name)
        inner = [f"{item.name}.{f.name}" for f in fields(value)] if is_dataclass(value) else []
        yield from (f"--{name}".replace("_", "-") for name in inner or [item.name])


def test_every_setting_has_an_option_and_the_help_shows_its_default(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse_arguments(["--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    for name in option_names():
        assert f"{name} " in shown or f"{name}," in shown or f"{name}\n" in shown
    assert "[0.02 0.05 0.1]" in shown


def test_the_help_explains_every_setting() -> None:
    parser = argparse.ArgumentParser()
    add_options(parser, PretrainConfig())
    explained = {action.option_strings[0]: action.help or "" for action in parser._actions}
    for name in option_names():
        text, bracket, default = explained[name].rpartition(" [")
        assert len(text.split()) >= 3, name
        assert bracket, (name, default)
    assert explained["--encoder.cutoff"].endswith("moments. (Å) [4.5]")
    assert explained["--weights.node"] == "Give back the species that were hidden. [1.0]"


def test_an_epoch_is_a_line_of_few_numbers_with_a_legend_and_the_end_says_how_to_go_on(
    finished: Path,
) -> None:
    shown = (finished / "shown.txt").read_text(encoding="utf-8")
    lines = shown.splitlines()
    (heading,) = [k for k, line in enumerate(lines) if line.startswith("  epoch ")]
    n_epochs = len(log_of(finished))
    headings = lines[heading].split()
    for line, row in zip(lines[heading + 1 :], log_of(finished).itertuples(), strict=False):
        assert len(line) == len(lines[heading])
        values = dict(zip(headings, line.split(), strict=False))
        assert values["epoch"] == f"{row.epoch}/{n_epochs}"
        assert float(values["loss"]) == pytest.approx(row.total, abs=1e-3)
        assert float(values["species"]) == pytest.approx(row.monitor_node, abs=1e-3)
        assert float(values["hidden"]) == pytest.approx(row.monitor_masked_accuracy, abs=1e-3)
    assert lines[heading + n_epochs].endswith("0 s")
    for name in headings[1:]:
        assert any(line.lstrip().startswith(f"{name}  ") for line in lines)
    assert f'UnateFeaturizer(weights="{finished / "weights"}")' in shown
    assert f"--weights {finished / 'weights'} --out" in lines[-1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--data needs at least one"),
        (["--resume"], "--data needs at least one"),
        (["--data"], "--data needs at least one"),
        (["--data", "a", "--depth", "3"], "unrecognized arguments: --depth 3"),
        (["--data", "a", "--encoder.depth", "3"], "unrecognized arguments: --encoder.depth 3"),
        (["--data", "a", "--epochs", "many"], "invalid int value: 'many'"),
        (["--data", "a", "--encoder.geometry", "round"], "invalid choice: 'round'"),
        (["--data", "a", "--name", "my weights"], "name 'my weights' may hold letters"),
        (["--data", "a", "--encoder.n-layers", "2"], "latent_layers must name states 0 to 2"),
        (["--data", "a", "--encoder.n-layers", "4"], "no loss would reach the layers behind 3"),
        (["--data", "a", "--corruption.jitter", "0.3"], "past the skin"),
        (["--data", "a", "--preset", "huge"], "invalid choice: 'huge'"),
    ],
)
def test_wrong_options_end_with_a_message(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse_arguments(["--out", str(tmp_path), *options])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_other_settings_on_resume_are_not_ignored_in_silence(
    finished: Path, table: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished, tmp_path / "copy")
    with pytest.raises(SystemExit):
        pretrain.main(["--out", str(tmp_path / "copy"), "--resume", "--epochs", "3"])
    assert "epochs" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        pretrain.main(["--out", str(tmp_path / "copy"), "--resume", "--preset", "paper"])
    assert "which are not those of --preset paper" in capsys.readouterr().err


# -- parts of the loop ---------------------------------------------------------------------------


def test_the_learning_rate_rises_and_falls_once() -> None:
    config = PretrainConfig(learning_rate=1.0, warmup=0.1)
    rates = [learning_rate(done, config) for done in np.linspace(0, 1, 1001)]
    assert 0 < rates[0] < 0.01
    assert max(rates) == pytest.approx(1.0, abs=1e-3)
    assert np.argmax(rates) == pytest.approx(100, abs=2)
    assert rates[-1] == pytest.approx(0, abs=1e-6)
    assert np.all(np.diff(rates[:99]) > 0)
    assert np.all(np.diff(rates[101:]) < 0)
    assert np.abs(np.diff(rates)).max() < 0.02


def test_only_matrices_decay() -> None:
    model = make_model()
    decayed, plain = (g["params"] for g in make_optimizer(model, PretrainConfig()).param_groups)
    assert sum(map(len, (decayed, plain))) == len(list(model.parameters()))
    assert all(p.ndim == 2 for p in decayed)
    species = model.encoder.backbone.species.weight
    assert any(p is species for p in plain)
    assert all(p.ndim < 2 or p is species for p in plain)


def test_the_average_is_an_exponential_one_that_starts_fast() -> None:
    model, average = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 1.0)
    nn.init.constant_(average.weight, 0.0)
    expected = 0.0
    for step in range(30):
        update_average(average, model, average_decay(step, 0.6))
        decay = min(0.6, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay)
        assert float(average.weight.detach()) == pytest.approx(expected, rel=1e-5)


def test_random_states_differ_by_seed_step_and_process() -> None:
    cpu = torch.device("cpu")
    seeds = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1)]
    drawn = {seed: torch.rand(3, generator=step_generator(cpu, *seed)) for seed in seeds}
    assert len({tuple(v.tolist()) for v in drawn.values()}) == len(seeds)
    assert torch.rand(3, generator=step_generator(cpu, 0, 1, 1)).equal(drawn[0, 1, 1])


def test_an_objective_of_weight_zero_is_not_built() -> None:
    weights = LossWeights(
        contrastive=0.0, physics=0.0, tight_binding=0.0, tight_binding_crystal=0.0
    )
    corpus = make_corpus(prototypes()[:6])
    config = with_predictions(PretrainConfig(encoder=ENCODER, weights=weights), corpus)
    counts = torch.from_numpy(corpus.element_counts)
    model = Pretrainer(config, corpus)
    batch, generator = corpus.batch(np.arange(6)), torch.Generator().manual_seed(0)
    losses = model(batch, ViewMaker(config, counts)(batch, generator))
    assert not {"contrastive", "retrieval_accuracy", "physics"} & set(losses)
    expected = sum(scale * losses[name] for name, scale in model.balance.scales().items())
    torch.testing.assert_close(losses["total"], expected)
    losses["total"].backward()
    assert all(p.grad is not None for p in model.parameters())


def test_masked_sites_do_not_show_their_element_properties() -> None:
    """Row 0 is the masked species; with its properties a mask would hide nothing."""
    table = element_table("magpie")
    assert table.shape == (119, 22)
    assert (table[0] == 0).all()
    np.testing.assert_allclose(table[1:104].mean(0), 0, atol=0.1)
    radius = magpie_property("CovalentRadius")
    order = np.corrcoef(table[1:104, 6], radius[1:104])[0, 1]
    assert order > 0.999
    model = make_model()
    np.testing.assert_allclose(model.encoder.backbone.properties, table, rtol=1e-6)


# -- export --------------------------------------------------------------------------------------


def corpus_and_encoder() -> tuple[Corpus, SiteEncoder]:
    torch.manual_seed(0)
    encoder = SiteEncoder(ENCODER)
    for part in encoder.modules():
        if isinstance(part, nn.BatchNorm1d):  # statistics of something else
            nn.init.normal_(part.running_mean, mean=5.0)
            nn.init.uniform_(part.running_var, 20.0, 30.0)
    return make_corpus(prototypes()[:12]), encoder


def test_recalibration_replaces_the_statistics_by_those_of_clean_graphs() -> None:
    corpus, encoder = corpus_and_encoder()
    batches = epoch_batches(corpus, 1200, np.random.default_rng(0))
    assert len(batches) > 1
    reference = copy.deepcopy(encoder).train()

    def norms(model: nn.Module) -> list[nn.BatchNorm1d]:
        return [m for m in model.modules() if isinstance(m, nn.BatchNorm1d)]

    for norm in norms(reference):
        norm.reset_running_stats()
        norm.momentum = 1.0  # holds the statistics of the last batch alone
    seen: list[list[tuple[torch.Tensor, torch.Tensor]]] = []
    for members in batches:
        with torch.no_grad():
            reference.backbone(clean_view(corpus.batch(members), CUTOFF))
        each = [(n.running_mean, n.running_var) for n in norms(reference)]
        seen.append([(mean.clone(), variance.clone()) for mean, variance in each])
    momenta = [norm.momentum for norm in norms(encoder)]
    recalibrate(encoder, corpus, batches, torch.device("cpu"))
    assert not encoder.training
    assert [norm.momentum for norm in norms(encoder)] == momenta
    for norm, found in zip(norms(encoder), zip(*seen, strict=True), strict=True):
        mean, variance = (torch.stack(part).mean(0) for part in zip(*found, strict=True))
        torch.testing.assert_close(norm.running_mean, mean, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(norm.running_var, variance, rtol=1e-4, atol=1e-5)


def test_standardising_keeps_a_component_that_never_changes_finite() -> None:
    corpus, encoder = corpus_and_encoder()
    batches = epoch_batches(corpus, 1200, np.random.default_rng(0))
    nn.init.zeros_(encoder.latent.weight[0])
    recalibrate(encoder, corpus, batches, torch.device("cpu"))
    standardise(encoder, corpus, batches, torch.device("cpu"))
    with torch.no_grad():
        sites = encoder(clean_view(corpus.batch(np.arange(12)), CUTOFF))
    assert torch.isfinite(sites).all()
    assert sites[:, 0].abs().max() < 1e-3
    torch.testing.assert_close(sites[:, 1:].std(0), torch.ones(7), atol=1e-4, rtol=0)


# -- going on from other weights ------------------------------------------------------------------


def test_a_run_goes_on_from_other_weights(
    finished: Path, table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[SiteEncoder] = []
    load_start = optimisation.load_start

    def spy(weights: str, encoder: SiteEncoder) -> None:
        load_start(weights, encoder)
        seen.append(copy.deepcopy(encoder))

    monkeypatch.setattr(run_module, "load_start", spy)
    options = [*SMALL, "--start-from", str(finished / "weights"), "--limit", "9", "--epochs", "1"]
    pretrain.main(["--data", table, "--out", str(tmp_path), *options])
    before, first = load_encoder(finished / "weights")
    assert all(
        torch.equal(a, b)
        for a, b in zip(before.state_dict().values(), seen[0].state_dict().values(), strict=True)
    )
    config = read_config(tmp_path / "weights")
    assert set(config.element_counts) == set(first.element_counts)  # of all 24 crystals
    assert config.training["config"]["start_from"] == "weights"  # no path of this machine
    card = " ".join((tmp_path / "weights" / "README.md").read_text().split())
    assert f"went on from the weights `small` (sha256 {first.sha256[:12]}…)" in card


def test_quantities_that_the_start_predicts_too_are_matched_by_name(finished: Path) -> None:
    start, config = load_encoder(finished / "weights")
    names = ("something_new", *reversed(config.encoder.predicted[3:]))
    encoder = SiteEncoder(replace(config.encoder, predicted=names, crystal_predicted=("a",)))
    fresh = encoder.predict[2].weight[0].clone()
    optimisation.load_start(str(finished / "weights"), encoder)
    assert torch.equal(encoder.predict[2].weight[0], fresh)
    for part in ("weight", "bias"):
        ours, theirs = (getattr(e.predict[2], part) for e in (encoder, start))
        assert torch.equal(ours[1:], theirs[3:].flip(0))
    assert torch.equal(encoder.predict[0].weight, start.predict[0].weight)
    assert torch.equal(encoder.latent.weight, start.latent.weight)


def test_other_settings_than_those_of_the_start_are_an_error(
    finished: Path, table: str, tmp_path: Path
) -> None:
    options = [*SMALL, "--start-from", str(finished / "weights"), "--encoder.n-rbf", "9"]
    with pytest.raises(ValueError, match=r"n_rbf 8 there, 9 here.*--encoder options"):
        pretrain.main(["--data", table, "--out", str(tmp_path), *options])


def test_a_start_that_is_not_there_is_an_error(
    table: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        pretrain.main(["--data", table, "--out", str(tmp_path), *SMALL, "--start-from", "nowhere"])
    assert "--start-from nowhere" in capsys.readouterr().err


# -- several processes ---------------------------------------------------------------------------


def torchrun(script: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Two processes on this machine; the run is over when this returns."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run(
        [sys.executable, *launcher, str(script), *options],
        env=environment | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=400,  # a busy machine
    )


@pytest.mark.slow
def test_two_processes_train_one_model(table: str, tmp_path: Path) -> None:
    out, script = tmp_path / "run", TRAINING / "pretrain.py"
    done = torchrun(script, "--data", table, "--out", str(out), *SMALL)
    assert done.returncode == 0, done.stderr[-3000:]
    config = read_config(out / "weights")
    assert config.training["run"]["processes"] == 2
    assert config.training["n_crystals"] == 24
    assert len(log_of(out)) == 2
    columns = UnateFeaturizer(out / "weights", device="cpu").featurize(prototypes()[0])
    assert np.isfinite(columns).all()
    # And it goes on from a checkpoint: here from the one after the last epoch.
    before = weights_of(out)
    shutil.rmtree(out / "weights")
    done = torchrun(script, "--data", table, "--out", str(out), *SMALL, "--resume")
    assert done.returncode == 0, done.stderr[-3000:]
    assert weights_of(out) == before


@pytest.mark.slow
def test_more_processes_than_formulas_is_an_error(tmp_path: Path) -> None:
    table = write_parquet(tmp_path / "one.parquet", [as_crystal(prototypes()[0])])
    script, out = TRAINING / "pretrain.py", tmp_path / "out"
    done = torchrun(script, "--data", table, "--out", str(out), *SMALL)
    assert done.returncode
    assert "1 crystals are too few for 2 processes" in done.stderr


SHARES = """
import json, sys
from pathlib import Path
import torch.distributed as dist
from corpora.corpus import Corpus
from corpora.reading import read_with_report
from corpora.shares import Share

dist.init_process_group("gloo")
share = Share(dist.get_rank(), dist.get_world_size())
table, limit, out = sys.argv[1], int(sys.argv[2]) or None, Path(sys.argv[3])
crystals, report = read_with_report([table], 100, None, limit, share=share)
targets = {"teacher": {c.identifier: c.frac_coords.astype("f4") for c in crystals[::2]}}
targets = targets if share.rank else {}
corpus = Corpus(crystals, 4.0, targets, progress=False, share=share)
found = {
    "identifiers": [c.identifier for c in crystals],
    "formulas": sorted({c.formula for c in crystals}),
    "kept": report.kept,
    "elements": corpus.element_counts.tolist(),
    "spacegroups": corpus.spacegroup_counts.tolist(),
    "mean": corpus.scales["descriptors"][0].tolist(),
    "deviation": corpus.scales["descriptors"][1].tolist(),
    "n_targets": corpus.n_targets("teacher"),
    "knows": corpus.knows("teacher"),
    "n_in_all": corpus.n_in_all,
}
(out / f"{share.rank}.json").write_text(json.dumps(found))
dist.destroy_process_group()
"""


@pytest.mark.slow
@pytest.mark.parametrize("limit", [0, 9])
def test_shares_are_disjoint_and_have_the_scales_of_the_whole(tmp_path: Path, limit: int) -> None:
    crystals = [as_crystal(s, f"id-{k}") for k, s in enumerate(prototypes()[:24])]
    table = write_parquet(tmp_path / "t.parquet", [*crystals, crystals[3]])
    script = tmp_path / "shares.py"
    script.write_text(SHARES)
    done = torchrun(script, table, str(limit), str(tmp_path))
    assert done.returncode == 0, done.stderr[-3000:]
    one, other = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    both = [*one["identifiers"], *other["identifiers"]]
    assert not {*one["formulas"]} & {*other["formulas"]}
    assert len({*both}) == len(both) == (limit or 24)
    assert min(len(one["identifiers"]), len(other["identifiers"])) > 0
    whole = Corpus([c for c in crystals if c.identifier in both], 4.0, progress=False)
    for found in (one, other):
        assert found["kept"] == found["n_in_all"] == len(both)
        assert found["elements"] == whole.element_counts.tolist()
        assert found["spacegroups"] == whole.spacegroup_counts.tolist()
        np.testing.assert_allclose(found["mean"], whole.scales["descriptors"][0], rtol=1e-5)
        np.testing.assert_allclose(found["deviation"], whole.scales["descriptors"][1], rtol=1e-5)
        assert (found["n_targets"], found["knows"]) == (3, True)


# -- presets -------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_preset_makes_a_step(preset: str, precision: Literal["fp32", "bf16"]) -> None:
    config = replace(PRESETS[preset], precision=precision)
    config = replace(
        config, weights=replace(config.weights, tight_binding=0.0, tight_binding_crystal=0.0)
    )
    corpus = make_corpus(prototypes()[:6], config.encoder.cutoff)
    config = with_predictions(config, corpus)
    counts = torch.from_numpy(corpus.element_counts)
    model = Pretrainer(config, corpus)
    batch, generator = corpus.batch(np.arange(6)), torch.Generator().manual_seed(0)
    views = ViewMaker(config, counts)(batch, generator)
    with optimisation.mixed_precision(config, torch.device("cpu")):
        losses = model(batch, views, measure=config.balance_every > 0)
    losses["total"].backward()
    assert all(torch.isfinite(v) for v in losses.values())
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    assert sum(p.grad is None for p in model.parameters()) == 0


# -- tight-binding targets ------------------------------------------------------------------------


@pytest.mark.slow
def test_tight_binding_targets_are_computed_once_and_named_in_the_columns(
    table: str, tmp_path: Path
) -> None:
    weights = ["--weights.tight-binding", "1", "--weights.tight-binding-crystal", "1"]
    options = [*SMALL, *weights, "--limit", "6", "--epochs", "1"]
    pretrain.main(["--data", table, "--out", str(tmp_path), *options])
    log = log_of(tmp_path)
    assert log["tight_binding"].iloc[0] > 0
    # The crystals that are measured on are taught too.
    assert "monitor_tight_binding" in log
    labels = UnateFeaturizer(tmp_path / "weights").feature_labels()
    assert "unate_small_mean_tight_binding_charge" in labels
    assert labels[-22] == "unate_small_tight_binding_gap"  # of the crystal, not pooled
    assert len(set(labels)) == len(labels)
    written = (tmp_path / "tight_binding.parquet").stat().st_mtime_ns
    shutil.rmtree(tmp_path / "weights")
    pretrain.main(["--out", str(tmp_path), "--resume"])
    assert (tmp_path / "tight_binding.parquet").stat().st_mtime_ns == written


def test_unequal_shares_of_processes_are_told() -> None:
    assert run_module.about_unequal([7]) == run_module.about_unequal([9, 10]) == ""
    assert "some 40 % of the crystals; use fewer processes" in run_module.about_unequal([1, 4])


def test_site_targets_of_data_that_were_changed_are_not_learned(tmp_path: Path) -> None:
    """Rows without a name of their own are named by their place in the file."""
    config = replace(PRESETS["smoke"], data=(str(tmp_path / "t.parquet"),), part="all")
    config = replace(config, weights=LossWeights(tight_binding=1.0))
    some = [s for s in prototypes() if len(s) == 2][:6]
    given = pd.read_parquet(write_parquet(tmp_path / "t.parquet", list(map(as_crystal, some))))
    given = given.drop(columns="material_id")
    given.to_parquet(tmp_path / "t.parquet")
    read_corpora(config, tmp_path / "run", WHOLE)
    read_corpora(config, tmp_path / "run", WHOLE)  # as it was
    given.iloc[::-1].to_parquet(tmp_path / "t.parquet", index=False)
    with pytest.raises(InputError, match=r"tight_binding\.parquet is of another structure named"):
        read_corpora(config, tmp_path / "run", WHOLE)
    kept = replace(config, tight_binding=str(tmp_path / "run" / "tight_binding.parquet"))
    with pytest.raises(InputError, match=r"tight_binding\.parquet is of another structure named"):
        read_corpora(kept, tmp_path / "run", WHOLE)
    (tmp_path / "run" / "tight_binding.parquet").unlink()
    read_corpora(config, tmp_path / "run", WHOLE)


def test_a_teacher_that_knows_none_of_the_crystals_is_an_error(table: str, tmp_path: Path) -> None:
    other = replace(as_crystal(prototypes()[0]), identifier="somebody else")
    file = tmp_path / "teacher.parquet"
    parts = tmp_path / "teacher.parquet.parts"
    parts.mkdir()
    vectors = np.zeros((len(other.atomic_numbers), 3), dtype=np.float32)
    about = {"teacher": "fake", "version": "1"}
    files.write_part(parts / "part-00000.parquet", [(other, vectors)], about)
    files.join(file, about)
    options = [*SMALL, "--weights.teacher", "1", "--teacher", str(file)]
    with pytest.raises(ValueError, match="--teacher names no file with site targets of these"):
        pretrain.main(["--data", table, "--out", str(tmp_path / "run"), *options])
