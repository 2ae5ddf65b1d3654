"""The arguments of ``unate``, command by command."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matminer_unate import __version__
from matminer_unate.cli.map import add_map
from matminer_unate.cli.options import add_column, add_device, add_disorder, add_weights, input_path
from matminer_unate.cli.similar import add_similar
from matminer_unate.engine.blocks import PART_ROWS, Shard
from matminer_unate.engine.columns import COLUMNS
from matminer_unate.featurizers.pooling import POOLINGS
from matminer_unate.network.weights import DEFAULT_WEIGHTS

_INPUT = (
    "INPUT is any of\n"
    "  - CIF, POSCAR/CONTCAR (.vasp) or pymatgen JSON files,\n"
    "  - a folder of them, with its subfolders, or an archive (.tar, .tar.gz, .zip), which\n"
    "    is not unpacked,\n"
    "  - a table (.parquet, .csv, .tsv, .json, .jsonl) with a column of CIF text, POSCAR\n"
    "    text or dicts of pymatgen, JARVIS or OPTIMADE, or with the columns lattice\n"
    "    (9 numbers, vectors as rows, in angstrom), frac_coords and species (atomic\n"
    "    numbers or symbols),\n"
    "  - a folder of Parquet files; what its subfolders are named for (year=2020) are columns,\n"
    "  - extended XYZ (.extxyz, .xyz), an ASE database (.db, .json) or trajectory (.traj);\n"
    '    these need ASE: pip install "matminer_unate[ase]",\n'
    "  - a pattern in quotes, as 'parts/*.parquet',\n"
    "  - a database or data set: mp:all or mp:energy_above_hull=0:0.05,num_sites=1:40 (needs\n"
    '    pip install "matminer_unate[mp]" and a key in MP_API_KEY), jarvis:dft_3d (needs\n'
    "    matminer_unate[jarvis]), matminer:NAME, 'optimade:https://host/path?filter=…'.\n"
    "Parquet, CSV and JSON lines may be of any length; a .json file is read whole."
)

_RESUMING = (
    "a run that was stopped:\n"
    "  Finished parts are kept in FILE.parts. The same command goes on with them, and the table\n"
    "  is what it would have been; with another input, model or option it is refused.\n"
    "  --out FOLDER (a name without ending) keeps the parts as a data set of Parquet files, with\n"
    "  row counts and checksums in _manifest.jsonl.\n\n"
)

_SHARING = (
    "many machines, one disk (an array job of SLURM):\n"
    "  #!/bin/sh\n"
    "  #SBATCH --array=1-100 --cpus-per-task=2 --requeue\n"
    "  unate {command} --out {out} --shard $SLURM_ARRAY_TASK_ID/100\n"
    "then, once:\n"
    "  unate merge --out {out}\n\n"
    "a cluster of Dask, whose workers see the same folders:\n"
    "  dask scheduler\n"
    "  dask worker tcp://HOST:8786 --nthreads 1 --nworkers auto\n"
    "  unate {command} --out {out} --dask tcp://HOST:8786\n\n"
)

_STATUS = (
    "exit status:\n"
    "  0 all rows are good, 1 some failed (the good ones are written), 2 nothing usable\n\n"
)


def make_parser() -> argparse.ArgumentParser:
    """The parser; ``command`` of what it parses names the function that runs it."""
    parser = argparse.ArgumentParser(
        prog="unate",
        description="Columns and predictions for crystals, from a pretrained graph encoder.",
        epilog="example:\n  unate featurize structures/ --out features.parquet",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"unate {__version__}")
    commands = parser.add_subparsers(
        title="commands", required=True, metavar="COMMAND", dest="command"
    )
    _add_featurize(commands)
    _add_predict(commands)
    _add_merge(commands)
    add_similar(commands)
    add_map(commands)
    _add_info(commands)
    return parser


def _add_featurize(commands: Any) -> None:
    parser = commands.add_parser(
        "featurize",
        usage="unate featurize INPUT [INPUT ...] --out FILE|FOLDER [options]",
        help="write the columns of crystals to a table",
        description=(
            "Compute the columns of every crystal and write them to a table: id, the other scalar\n"
            "columns of the input, then the features. Crystals that cannot be used are left out\n"
            f"and listed at the end.\n\n{_INPUT}"
        ),
        epilog=(
            "columns:\n"
            "  unate             learned ones, of a pretrained network (UnateFeaturizer)\n"
            "  site-descriptors  electronegativities, bonds, potentials (SiteDescriptorStats)\n"
            "  fingerprint       distances and directions of neighbours (SiteDescriptorStats)\n"
            "  cell              layers, vacuum, stiffness of the whole cell (CellStats)\n"
            "  tight-binding     electrons of a tight-binding model (TightBindingStats)\n"
            "  recipe            all that UnateRegressor learns from, which its fit takes\n\n"
            f"{_STATUS}{_RESUMING}"
            f"{_SHARING.format(command='featurize mp.parquet', out='features.parquet')}examples:\n"
            "  unate featurize structures/ --out features.parquet\n"
            "  unate featurize mp.csv --columns unate tight-binding --out features.parquet\n"
            "  unate featurize mp.csv --column cif --pooling mean std max --out features.csv"
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_table_options(parser)
    add_disorder(parser, average=True)
    add_weights(parser, None, f"{DEFAULT_WEIGHTS}, of the recipe its own two")
    parser.add_argument(
        "--columns",
        nargs="+",
        type=_column,
        default=["unate"],
        metavar="NAME",
        help=f"{', '.join(COLUMNS)}; one or several (default: unate)",
    )
    parser.add_argument(
        "--pooling",
        nargs="+",
        type=_pooling,
        metavar="NAME",
        help="mean, std, min, max, sum; in the order of the columns (default: mean std for unate, "
        "mean std min max for the others)",
    )
    parser.add_argument(
        "--batch-size",
        type=_positive,
        metavar="N",
        help="graph edges encoded at once; bounds the memory (default: as UnateFeaturizer)",
    )


def _add_predict(commands: Any) -> None:
    parser = commands.add_parser(
        "predict",
        usage="unate predict MODEL INPUT [INPUT ...] --out FILE|FOLDER [options]",
        help="write the predictions of a saved model to a table",
        description=(
            "Predict a property or class of every crystal with a saved UnateRegressor,\n"
            "UnateClassifier or UnateFineTuneRegressor, and write a table: id, the other scalar\n"
            f"columns of the input, then what is predicted.\n\n{_INPUT}"
        ),
        epilog=(
            "columns:\n"
            "  UnateRegressor          prediction, prediction_std (standard deviation), and with\n"
            "                          --interval prediction_low, prediction_high\n"
            "  UnateClassifier         prediction (most probable class), and the probability of\n"
            "                          each as prediction_CLASS\n"
            "  UnateFineTuneRegressor  prediction\n"
            "  with --novelty          prediction_novelty_to_training, …_to_corpus\n"
            "  Of several targets, the name of each stands after prediction_.\n\n"
            f"{_STATUS}{_RESUMING}"
            f"{_SHARING.format(command='predict gap_model/ mp.parquet', out='gaps.parquet')}"
            "example:\n  unate predict gap_model/ structures/ --out gaps.csv"
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="folder of the saved model")
    _add_table_options(parser)
    add_disorder(parser, None, "as the model has it")
    parser.add_argument(
        "--name",
        default="prediction",
        help="what the names of the new columns begin with (default: prediction)",
    )
    parser.add_argument(
        "--interval",
        type=_share,
        metavar="SHARE",
        help="write the ends of intervals that hold this share of new crystals, as 0.9 (of "
        "UnateRegressor)",
    )
    parser.add_argument(
        "--novelty",
        action="store_true",
        help="write what is unfamiliar too: the share of the training rows, and of ordinary "
        "crystals, that are nearer to others (0.5 is usual; not of UnateFineTuneRegressor)",
    )


def _add_table_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "input",
        nargs="+",
        type=input_path,
        metavar="INPUT",
        help="files, folders, tables, databases",
    )
    add(
        "--out",
        required=True,
        type=Path,
        metavar="FILE|FOLDER",
        help="table to write: .parquet, .csv, or a folder of Parquet files",
    )
    add_column(parser)
    add_device(parser)
    add(
        "--errors",
        type=Path,
        metavar="FILE.csv",
        help="write all rows that failed, are doubtful or have a remark to this file (of shards, "
        "unate merge does)",
    )
    add(
        "--accept-doubtful",
        action="store_true",
        help="take crystals that may not be those of their CIFs, e.g. without hydrogens that the "
        "formula has (default: these rows fail)",
    )
    add(
        "--site-tolerance",
        type=_tolerance,
        default=0.3,
        metavar="Å",
        help="in CIFs, images of an atom nearer than this are one atom (default: 0.3)",
    )
    add(
        "--max-sites",
        type=_positive,
        default=50_000,
        metavar="N",
        help="larger cells fail, before they fill the memory (default: 50,000)",
    )
    add(
        "--overwrite",
        action="store_true",
        help="replace files that exist, and unfinished parts of other runs",
    )
    add(
        "--resume",
        action="store_true",
        help="go on with the parts that are finished, and fail where there are none (default: go "
        "on where there are some)",
    )
    add(
        "--shard",
        type=_shard,
        default="1/1",
        metavar="K/N",
        help="compute the K-th of N shares; unate merge joins them",
    )
    add(
        "--dask",
        nargs="?",
        const="",
        type=_address,
        metavar="ADDRESS",
        help="compute on the workers of the Dask scheduler at tcp://HOST:8786, which see the same "
        "folders; without ADDRESS on a worker for each core of this machine (needs "
        "matminer_unate[dask])",
    )
    add(
        "--part-rows",
        type=_positive,
        default=PART_ROWS,
        metavar="N",
        help=f"rows of the input in a part, which a run that is stopped may lose (default: "
        f"{PART_ROWS:,})",
    )
    add("--quiet", action="store_true", help="print nothing but errors and failed rows")


def _add_merge(commands: Any) -> None:
    parser = commands.add_parser(
        "merge",
        help="join the parts that shards have written",
        description=(
            "Join what all N runs with --shard K/N have written, in the order of the input, after\n"
            "checking that no part is missing or damaged and that all are of one run: the same\n"
            "input, options and weights."
        ),
        epilog=(
            f"{_STATUS}examples:\n"
            "  unate merge --out features.parquet\n"
            "  unate merge --out features.parquet node1/features.parquet.parts node2/…"
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "parts",
        nargs="*",
        type=Path,
        metavar="PARTS",
        help="folders of parts (default: FILE.parts, or FOLDER)",
    )
    add("--out", required=True, type=Path, metavar="FILE|FOLDER", help="as given to the shards")
    add(
        "--errors",
        type=Path,
        metavar="FILE.csv",
        help="write all rows that failed, are doubtful or have a remark to this file",
    )
    add(
        "--overwrite",
        action="store_true",
        help="replace files that exist, and parts of other runs where those of --out go",
    )
    add("--quiet", action="store_true", help="print nothing but errors and failed rows")


def _add_info(commands: Any) -> None:
    parser = commands.add_parser(
        "info",
        help="show versions, device, classes and weights",
        description="Show versions, the device, the public classes and what the weights are.",
        epilog="examples:\n  unate info\n  unate info --weights my_weights/ --card",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_weights(parser)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--json", action="store_true", help="print as JSON")
    what.add_argument("--card", action="store_true", help="print the model card")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def _shard(text: str) -> Shard:
    try:
        return Shard.parse(text)
    except ValueError as e:
        raise argparse.ArgumentTypeError(str(e)) from None


def _address(text: str) -> str:
    host, colon, port = text.rpartition(":")
    # argparse reads the empty one of --dask alone as well.
    if text and not (host and colon and port.isdecimal()):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no tcp://HOST:PORT; name the inputs before --dask"
        )
    return text


def _column(text: str) -> str:
    return _one_of(COLUMNS, text, "--columns")


def _pooling(text: str) -> str:
    return _one_of(POOLINGS, text, "--pooling")


def _one_of(names: Sequence[str], text: str, option: str) -> str:
    if text not in names:
        raise argparse.ArgumentTypeError(
            f"{text!r} is none of {', '.join(names)}; name the inputs before {option}"
        )
    return text


def _number(text: str) -> float:
    """NaN, which is within no bounds, of what is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _share(text: str) -> float:
    value = _number(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share between 0 and 1")
    return value


def _tolerance(text: str) -> float:
    value = _number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no distance from 0 to 1 Å")
    return value
