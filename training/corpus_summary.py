"""Summarise the corpus of some weights, for ``UnateNovelty``.

    python training/corpus_summary.py --data data/ --weights mp_v3
    python training/corpus_summary.py --data data/ --weights runs/mine/weights

writes ``corpus_summary.safetensors`` into the folder of the weights: k-means centres of the site
embeddings of crystals of the ``train`` formulas, which pretraining has seen, and how far crystals
of the ``val`` formulas, which it has not, are from these.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from benchmarks.labelled_tables import read_labelled, structures_of
from harness.command import run_script, script_parser
from matminer_unate import UnateFeaturizer
from matminer_unate.familiarity.corpus_summary import CorpusSummary

MAX_SITES = 60


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(argv)
    path = Path(args.data) / args.file
    table = read_labelled(path, ["volume_per_atom_ang3"], MAX_SITES)
    featurizer = UnateFeaturizer(args.weights, on_error="nan")
    found = []
    for part, n in (("train", args.crystals), ("val", args.held_out)):
        rows = table[table["formula_split"] == part]
        rows = rows.sample(min(n, len(rows)), random_state=0)
        embeddings = featurizer.embed_sites(structures_of(rows))
        found.append([sites for sites in embeddings if len(sites)])
        print(f"{part}: {len(rows)} crystals", flush=True)
    corpus, held_out = found
    summary = CorpusSummary.of(corpus, held_out)
    about = {"file": args.file, "crystals": len(corpus), "held_out": len(held_out), "seed": 0}
    out = summary.write(args.weights, about)
    print(f"wrote {out} ({out.stat().st_size / 1e3:.0f} kB)")
    print("median distance of a site:", np.round(np.median(summary.held_out[0]), 3))


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--data", required=True, help="folder of the parquet files")
    parser.add_argument("--file", default="mp_mtcgcnn.parquet", help="of these [mp_mtcgcnn]")
    parser.add_argument("--weights", default="mp_v3", help="name or folder [mp_v3]")
    parser.add_argument("--crystals", type=int, default=16_000, help="of train [16000]")
    parser.add_argument("--held-out", type=int, default=3_000, help="of val [3000]")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run_script(main)
