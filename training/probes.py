"""What do the embeddings know? Probes of the element table and of site embeddings.

    python training/probes.py --weights mp_v3 --data mp_mtcgcnn.parquet \\
        --out training/results/probes.csv

fits small models on frozen embeddings and asks them for what is known: properties and classes of
the elements (elements as samples), and coordination number, nearest-neighbour distance and
oxidation state of sites (fitted on ``train`` formulas, scored on ``val`` formulas), the latter also
after subtracting the mean of each element from embedding and target: what is left is not the
species. Beside them stand the same network untrained, Magpie's element vectors (without the target
asked for) and a random vector an element. ``is_input`` says whether the network was given the
answer (``yes``), something that implies it, or not; ``is_pretext`` whether pretraining asked for it
or for something like it.

``--out`` is a table of scores, from which the maps (t-SNE and, with ``umap-learn``, UMAP) are apart
in ``<out>_maps.csv``; ``training/figures.py`` draws them.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import pandas as pd

from benchmarks.embeddings.probe_scores import Floats
from benchmarks.embeddings.probed_sites import embed_sample, site_sample
from benchmarks.embeddings.probing import (
    N_RANDOM_TABLES,
    WITHIN,
    Row,
    describe,
    element_probes,
    element_vectors,
    is_input,
    is_pretext,
    neighbourhoods,
    site_probes,
)
from benchmarks.embeddings.site_tables import export_sites
from benchmarks.untrained import untrained_twin
from corpora.reading import read_with_report
from harness.command import run_script, script_parser
from harness.result_tables import write_table
from matminer_unate.network.weights import DEFAULT_WEIGHTS, weights_config


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(argv)
    config = weights_config(args.weights)
    # A sample of the train formulas of this size gives every element's mean to well below the
    # distances between elements.
    train, _ = read_with_report(args.data, args.max_sites, "train", args.limit)
    val, _ = read_with_report(args.data, args.max_sites, "val", args.limit)
    sample = site_sample(train, val, args.site_crystals)
    print(f"{len(train)} crystals for the element table, {len(sample.z)} probed sites", flush=True)

    sites: dict[str, Floats] = {}
    tables: dict[str, Floats] = {}
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        arrays = ((c.lattice, c.frac_coords, c.atomic_numbers) for c in train)
        twin = untrained_twin(args.weights, Path(folder), arrays)
        for name, weights in ((config.name, args.weights), ("untrained", twin)):
            means = export_sites(train, weights, None)
            tables[name] = element_vectors(means, config)
            sites[name] = embed_sample(sample, weights)
            rows.append(
                describe("site", WITHIN, name, tables[name].shape[1])
                | {"probe": "1 - SS_between/SS_total", "metric": "share"}
                | {"value": means.within_share(), "n": means.count.sum()}
            )
    elements = means.elements
    rows += element_probes(tables, elements, args.repeats)
    rows += site_probes(sites, sample)
    purity_rows, maps = neighbourhoods(config.name, tables, elements, sites, sample)
    result = pd.DataFrame(rows + purity_rows)
    result["is_input"] = [
        is_input(t, r, config)
        for t, r in zip(result["target"], result["representation"], strict=True)
    ]
    result["is_pretext"] = [
        is_pretext(t, config) if r == config.name else "no"
        for t, r in zip(result["target"], result["representation"], strict=True)
    ]
    order = ["level", "target", "centred", "probe", "metric", "representation", "dimension"]
    order += ["value", "low", "high", "sd", "n", "is_input", "is_pretext"]
    note = (
        f"95 % intervals: bootstrap over elements (elements) or val formulas (sites); sd over "
        f"{args.repeats} repeats of 5 folds, or over {N_RANDOM_TABLES} random tables (purity)"
    )
    write_table(result.reindex(columns=order).round(4), args.out, note)
    write_table(maps.round(2), str(Path(args.out).with_suffix("")) + "_maps.csv", "seed 0")


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--weights", default=DEFAULT_WEIGHTS, help=f"[{DEFAULT_WEIGHTS}]")
    parser.add_argument("--data", nargs="+", required=True, help="parquet files or folders of CIFs")
    parser.add_argument("--max-sites", type=int, default=20, help="sites a cell at most [20]")
    parser.add_argument("--limit", type=int, default=20_000, help="crystals a part [20000]")
    parser.add_argument(
        "--site-crystals", type=int, default=3_000, help="to fit site probes on; a third to score"
    )
    parser.add_argument("--repeats", type=int, default=20, help="of 5-fold cross-validation [20]")
    parser.add_argument("--out", default="probes.csv")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run_script(main)
