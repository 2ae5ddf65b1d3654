"""Embedding tables and probes: the rules on small numbers, the commands on small crystals."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from pymatgen.core import Lattice, Structure
from real_crystals import crystals
from small_corpora import as_crystal, prototypes, write_parquet

import embedding_tables
import probes
from benchmarks.embeddings import figures as embeddings_figures
from benchmarks.embeddings import probing, site_tables
from benchmarks.embeddings.element_means import shrink
from benchmarks.embeddings.periodic_table import (
    ELEMENT_PROPERTIES,
    FAMILIES,
    element_class,
    element_property,
    family,
)
from benchmarks.embeddings.probe_scores import purity, repeated_scores, ridge_on_sites
from benchmarks.embeddings.probed_sites import PROBED_TARGETS, centred, oxidation_states, shell
from benchmarks.embeddings.site_tables import export_sites
from benchmarks.untrained import untrained_twin
from harness.result_tables import read_results
from matminer_unate import UnateFeaturizer
from matminer_unate.crystals.structures import crystal_arrays
from matminer_unate.errors import InputError
from matminer_unate.network.weights import load_encoder, weights_config
from pretraining.monitor import within_group_share

textbook = lru_cache(maxsize=1)(crystals)


@pytest.fixture(scope="module")
def parquet(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_parquet(
        tmp_path_factory.mktemp("data") / "crystals.parquet", [as_crystal(s) for s in prototypes()]
    )


# -- export -----------------------------------------------------------------------------------


def test_the_site_table_holds_what_the_featurizer_embeds(
    tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site_tables, "ROWS", 20)
    structures = list(textbook().values())
    out = tmp_path / "sites.parquet"
    export_sites([as_crystal(s) for s in structures], tiny_weights, out)
    table = pd.read_parquet(out)
    expected = [UnateFeaturizer(tiny_weights).embed_sites(s) for s in structures]
    np.testing.assert_allclose(table.filter(like="z_"), np.concatenate(expected), atol=2e-5)
    assert (table.filter(like="z_").dtypes == np.float32).all()
    assert table["atomic_number"].tolist() == [z for s in structures for z in s.atomic_numbers]
    assert table["site"].tolist() == [k for s in structures for k in range(len(s))]
    assert table["identifier"].iloc[0] == structures[0].composition.reduced_formula
    file = pq.ParquetFile(out)
    assert file.schema_arrow.metadata[b"weights"] == b"tiny"


def test_the_element_table_is_the_mean_over_all_sites(tiny_weights: Path) -> None:
    structures = [s for s in textbook().values() if len(s) < 30]
    means = export_sites([as_crystal(s) for s in structures], tiny_weights, None)
    featurizer = UnateFeaturizer(tiny_weights)
    sites = np.concatenate([featurizer.embed_sites(s) for s in structures]).astype(float)
    z = np.concatenate([s.atomic_numbers for s in structures])
    assert means.count[8] == (z == 8).sum()
    for k, n in enumerate(means.elements):
        np.testing.assert_allclose(means.means()[k], sites[z == n].mean(0), atol=2e-5)
    share = within_group_share(torch.from_numpy(sites), torch.from_numpy(z))
    assert means.within_share() == pytest.approx(share, abs=1e-5)


def test_sites_of_unknown_elements_enter_no_mean(tiny_weights: Path) -> None:
    thorium = Structure(Lattice.cubic(5.6), ["Th", "O", "O"], [[0] * 3, [0.25] * 3, [0.75] * 3])
    means = export_sites([as_crystal(thorium)], tiny_weights, None)
    assert means.elements.tolist() == [8]  # the tiny weights know elements up to bismuth


def test_a_crystal_without_a_graph_is_named(tiny_weights: Path) -> None:
    good = as_crystal(textbook()["NaCl"], "good")
    bad = replace(good, identifier="mp-0", lattice=good.lattice * 1e-3)
    with pytest.raises(InputError, match=r"crystal mp-0.*drop it"):
        export_sites([good, bad], tiny_weights, None)


def test_rare_elements_are_drawn_toward_the_frequent_ones_of_their_group() -> None:
    means = np.array([[0.0], [4.0], [8.0], [1.0], [3.0]])
    count = np.array([100, 20, 5, 1, 3])
    vectors, own = shrink(means, count, ["1", "1", "1", "18", "18"])
    assert own.tolist() == [1, 1, 0.25, 0.05, 0.15]
    # Group 1 has two frequent elements with the mean 2; group 18 none, its weighted mean is 2.5.
    expected = [0, 4, 0.25 * 8 + 0.75 * 2, 0.05 * 1 + 0.95 * 2.5, 0.15 * 3 + 0.85 * 2.5]
    np.testing.assert_allclose(vectors[:, 0], expected)


def test_the_export_command_writes_both_tables(
    tiny_weights: Path, parquet: str, tmp_path: Path
) -> None:
    options = ["--weights", str(tiny_weights), "--data", parquet, "--out", str(tmp_path)]
    embedding_tables.main([*options, "--part", "train", "--max-sites", "6"])
    elements = read_results(str(tmp_path / "element_embeddings.csv"))
    sites = pd.read_parquet(tmp_path / "site_embeddings.parquet")
    known = sites[sites["atomic_number"] < 84]
    assert elements["n_sites"].sum() == len(known)
    often = elements[elements["n_sites"] >= 20].iloc[0]
    own = known[known["atomic_number"] == often["atomic_number"]].filter(like="z_").mean()
    np.testing.assert_allclose(
        often.filter(like="z_").astype(float), own.astype(float), rtol=1e-3, atol=1e-4
    )


# -- the periodic table -----------------------------------------------------------------------


def test_every_element_has_a_family_and_the_block_of_its_electrons() -> None:
    assert {family(z) for z in range(1, 104)} == set(FAMILIES)
    symbols = {11: "alkali metal", 57: "lanthanide", 30: "transition metal", 35: "halogen"}
    assert {z: family(z) for z in symbols} == symbols
    assert element_class("group", 58) == "lanthanides"
    assert element_class("group", 17) == "17"
    assert (element_class("period", 26), element_class("block", 26)) == ("4", "d")
    assert element_class("block", 2) == "s"


def test_element_properties_are_measured_ones() -> None:
    sodium = [element_property(name, 11) for name in ELEMENT_PROPERTIES]
    assert sodium == pytest.approx([0.93, 1.66, 5.139, 371.0], rel=1e-3)
    assert np.isnan(element_property("electronegativity", 10))


# -- scores -----------------------------------------------------------------------------------


def test_scores_of_perfect_and_of_constant_predictions() -> None:
    y = np.arange(30.0)
    perfect = repeated_scores(y, np.stack([y, y]))
    assert perfect["R2"]["value"] == 1
    assert perfect["MAE"]["high"] == 0
    constant = repeated_scores(y, np.full((2, 30), y.mean()))
    assert constant["R2"]["value"] == pytest.approx(0)
    assert constant["MAE"]["low"] < 7.5 < constant["MAE"]["high"]


def test_a_linear_site_target_is_found_and_noise_is_not() -> None:
    rng = np.random.default_rng(0)
    X, formulas = rng.normal(size=(600, 5)), np.array([f"F{k // 6}" for k in range(600)], object)
    fit, score = slice(0, 402), slice(402, None)
    for y, low, high in ((X @ np.arange(5.0), 0.99, 1.0), (rng.normal(size=600), -0.2, 0.1)):
        pairs = [(a[fit], a[score]) for a in (X, y, formulas)]
        found = ridge_on_sites(*pairs)["R2"]
        assert low < found["value"] <= high
        assert found["low"] <= found["value"] <= found["high"]


def test_purity_is_one_for_clusters_and_chance_for_noise() -> None:
    rng = np.random.default_rng(0)
    elements, labels = np.arange(40), np.arange(40) % 4
    clusters = np.eye(4)[labels] + 0.01 * rng.normal(size=(40, 4))
    assert purity(clusters, labels, elements) == 1
    chance = [purity(rng.normal(size=(40, 8)), labels, elements) for _ in range(10)]
    assert np.mean(chance) == pytest.approx(9 / 39, abs=0.05)


def test_purity_does_not_count_sites_of_the_same_element() -> None:
    """Two elements of a family, two sites each: only the other element can be right."""
    elements = np.array([1, 1, 2, 2, 3, 3])
    labels = np.array(["a", "a", "a", "a", "b", "b"])
    line = np.array([[0.0], [0.1], [1.0], [1.1], [9.0], [9.1]])
    assert purity(line, labels, elements) == 1  # element 3 is alone in its family


# -- probed sites -----------------------------------------------------------------------------


def test_coordination_numbers_of_textbook_textbook() -> None:
    known = {"NaCl": 6, "Si": 4, "ZnO wurtzite": 4}
    for name, number in known.items():
        assert (shell(as_crystal(textbook()[name]))[:, 0] == number).all()
    assert shell(as_crystal(textbook()["NaCl"]))[0, 1] == pytest.approx(2.82)
    bcc = Structure(Lattice.cubic(4.0), ["Cs", "Cl"], [[0] * 3, [0.5] * 3])
    assert shell(as_crystal(bcc))[:, 0].tolist() == [8, 8]
    alone = Structure(Lattice.cubic(9.0), ["Na"], [[0] * 3])
    assert np.isnan(shell(as_crystal(alone))).all()


def test_oxidation_states_by_bond_valence() -> None:
    spinel = textbook()["MgAl2O4 spinel"].get_primitive_structure()
    silicon = textbook()["Si"]
    assert np.isnan(oxidation_states(as_crystal(silicon))).all()
    assert np.isnan(oxidation_states(as_crystal(spinel))).all()  # fourteen sites: too many
    salt = textbook()["NaCl"]
    assert oxidation_states(as_crystal(salt)).tolist() == [1] * 4 + [-1] * 4


def test_centring_removes_what_the_species_tells() -> None:
    z = np.repeat([1, 2, 3], [20, 20, 2])
    vectors, target = z[:, None] * np.ones((1, 3)), z + np.tile([-1.0, 1.0], 21)
    every = np.ones(42, dtype=bool)
    X, y, use = centred(vectors, target, z, every, every)
    assert use.tolist() == [True] * 40 + [False] * 2  # element 3 has too few sites
    np.testing.assert_allclose(X[use], 0, atol=1e-12)
    np.testing.assert_allclose(np.abs(y[use]), 1)
    assert target[0] == 0  # the input stays as it was


def test_the_untrained_twin_differs_and_is_calibrated(tiny_weights: Path, tmp_path: Path) -> None:
    corpus = [crystal_arrays(s) for s in prototypes()[:10]]
    before = torch.get_rng_state()
    folder = untrained_twin(tiny_weights, tmp_path, corpus)
    assert torch.get_rng_state().equal(before)
    twin, config = load_encoder(folder)
    assert config.encoder == weights_config(tiny_weights).encoder
    state = twin.state_dict()
    means = [v for k, v in state.items() if k.endswith("site_norm.running_mean")]
    assert all(v.abs().max() > 0 for v in means)


# -- the whole --------------------------------------------------------------------------------


def test_what_a_network_was_given_is_said(tiny_weights: Path) -> None:
    tiny = weights_config(tiny_weights)
    grounded = replace(
        tiny,
        encoder=replace(tiny.encoder, n_properties=22),
        training={"config": {"weights": {"physics": 5.0, "properties": 1.0}}},
    )
    ask = probing.is_input
    assert ask("electronegativity", "tiny", tiny) == "no"
    assert ask("electronegativity", "untrained", grounded) == "yes"
    assert ask("electronegativity", "magpie", grounded) == "no"
    assert ask("first ionisation energy", "tiny", grounded) == "no"
    assert ask("block", "tiny", grounded) == "implied"
    assert ask("coordination number", "tiny", tiny) == "implied"
    assert probing.is_pretext("nearest-neighbour distance", grounded) == "yes"
    assert probing.is_pretext("oxidation state", tiny) == "no"


def test_magpie_vectors_leave_the_target_out() -> None:
    elements = np.arange(1, 90)
    assert probing.magpie_without("melting point", elements).shape == (89, 21)
    assert probing.magpie_without("first ionisation energy", elements).shape == (89, 22)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_the_probe_command_writes_scores_and_maps(
    tiny_weights: Path, parquet: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "map_methods", lambda: ["t-SNE"])
    monkeypatch.setattr(probing, "N_RANDOM_TABLES", 2)
    monkeypatch.setattr(probing, "FEWEST_FORMULAS", 2)
    out = tmp_path / "probes.csv"
    options = ["--weights", str(tiny_weights), "--data", parquet, "--out", str(out)]
    probes.main([*options, "--max-sites", "8", "--repeats", "2", "--site-crystals", "90"])
    scores = read_results(str(out))
    assert set(scores["representation"]) == {"tiny", "untrained", "magpie", "random"}
    assert scores["value"].notna().all()
    asked = scores[scores["metric"] == "R2"]
    assert set(asked["target"]) == {*ELEMENT_PROPERTIES, *PROBED_TARGETS}
    assert set(asked.loc[asked["centred"], "representation"]) == {"tiny", "untrained"}
    assert (asked["low"] <= asked["high"]).all()
    random = scores[(scores["representation"] == "random") & (scores["metric"] == "R2")]
    assert (random[random["level"] == "element"]["value"] < 0.2).all()
    embeddings_figures.embedding_map_figure(tmp_path / "probes_maps.csv", out)
    assert 0 < (tmp_path / "probes_maps.png").stat().st_size < 300_000
