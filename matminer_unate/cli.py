"""The command ``unate``: files of crystals in, a file of learned columns out."""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matminer_unate import __version__
from matminer_unate.checkpoint import (
    CARD,
    DEFAULT_WEIGHTS,
    read_config,
    shipped_weights,
    weights_folder,
)
from matminer_unate.errors import InputError, UnateError

if TYPE_CHECKING:
    from matminer_unate.encoding import PreparedCrystal
    from matminer_unate.featurizer import UnateFeaturizer
    from matminer_unate.readers import InputRow, Source

# Everything else is imported inside the commands: --help must not wait for torch.

OK, SOME_FAILED, UNUSABLE, INTERRUPTED = 0, 1, 2, 130

SHOWN_FAILURES = 20


def main(argv: list[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : list of str, optional
        Arguments after the program's name; by default those of this process.

    Returns
    -------
    int
        0 all rows are good; 1 some failed, the others are written; 2 nothing usable; 130 stopped
        with Ctrl-C.
    """
    args = _parser().parse_args(argv)
    try:
        code = int(args.run(args))
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The reader of the output (| head) has seen enough; Python would say so again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except (UnateError, OSError) as e:
        _say(f"error: {e}")
        return UNUSABLE
    except KeyboardInterrupt:
        _say("interrupted; nothing was written")
        return INTERRUPTED


def _say(text: str) -> None:
    print(f"unate: {text}", file=sys.stderr)


# -- arguments ------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="unate",
        description="Learned columns for crystal structures, from a pretrained graph encoder.",
        epilog="example:\n  unate featurize structures/ --out features.parquet",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"unate {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_featurize(commands)
    _add_info(commands)
    return parser


def _add_featurize(commands: Any) -> None:
    parser = commands.add_parser(
        "featurize",
        help="write the columns of crystals to a table",
        description=(
            "Compute the columns of every crystal and write them to a table: id, the other scalar\n"
            "columns of the input, then the features. Crystals that cannot be used are left out\n"
            "and listed at the end.\n\n"
            "INPUT is any of\n"
            "  - CIF, POSCAR/CONTCAR (.vasp) or pymatgen JSON files,\n"
            "  - a folder of them, with its subfolders,\n"
            "  - a table (.parquet, .csv, .tsv, .json, .jsonl) with a column of CIF text, POSCAR\n"
            "    text or pymatgen dicts, or with the columns lattice (9 numbers, vectors as rows,\n"
            "    in angstrom), frac_coords and species (atomic numbers or symbols).\n"
            "Parquet, CSV and JSON lines may be of any length; a .json file is read whole."
        ),
        epilog=(
            "exit status:\n"
            "  0 all rows are good, 1 some failed (the good ones are written), 2 nothing usable\n\n"
            "examples:\n"
            "  unate featurize structures/ --out features.parquet\n"
            "  unate featurize mp.csv --column cif --pooling mean std max --out features.csv"
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=_featurize)
    add = parser.add_argument
    add("input", nargs="+", type=Path, metavar="INPUT", help="files, folders or tables")
    add("--out", required=True, type=Path, metavar="FILE", help="table to write: .parquet or .csv")
    _add_weights(parser)
    add(
        "--pooling",
        nargs="+",
        default=["mean", "std"],
        metavar="NAME",
        help="mean, std, min, max, sum; in the order of the columns (default: mean std)",
    )
    add("--column", metavar="NAME", help="column of structures (default: found by its name)")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:<n> (default: auto)")
    add(
        "--batch-size",
        type=_positive,
        metavar="N",
        help="graph edges encoded at once; bounds the memory (default: as UnateFeaturizer)",
    )
    add("--errors", type=Path, metavar="FILE.csv", help="write all rows that failed to this file")
    add("--overwrite", action="store_true", help="replace files that exist")
    add("--quiet", action="store_true", help="print nothing but errors and failed rows")


def _add_info(commands: Any) -> None:
    parser = commands.add_parser(
        "info",
        help="show versions, device and weights",
        description="Show versions, the device and what the weights are.",
        epilog="examples:\n  unate info\n  unate info --weights my_weights/ --card",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=_info)
    _add_weights(parser)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--json", action="store_true", help="print as JSON")
    what.add_argument("--card", action="store_true", help="print the model card")


def _add_weights(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--weights",
        default=DEFAULT_WEIGHTS,
        metavar="NAME|FOLDER",
        help=f"weights that come with the package, or a folder (default: {DEFAULT_WEIGHTS})",
    )


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


# -- featurize ------------------------------------------------------------------------------------


def _featurize(args: argparse.Namespace) -> int:
    _check_targets(args)
    from matminer_unate.feature_table import FeatureWriter, carried_types, encode_rows, fresh_file
    from matminer_unate.readers import open_inputs

    featurizer = _featurizer(args)
    started = time.perf_counter()
    sources = open_inputs(args.input, args.column)
    report = _Report(args.weights)
    with (
        _failure_file(args.errors) as failures,
        fresh_file(args.out) as part,
        FeatureWriter(
            part,
            args.out.suffix.lower(),
            carried_types(sources),
            featurizer.feature_labels(),
            _provenance(featurizer),
        ) as writer,
        _progress(sources, args.quiet) as bar,
    ):
        report.failures, report.bar = failures, bar
        rows = chain.from_iterable(source.rows() for source in sources)
        for good, columns in encode_rows(rows, featurizer, report.prepared, report.failed):
            writer.add(good, columns)
            bar.update(len(good))
    report.print(sources, writer.n_rows, args)
    if not writer.n_rows:
        raise InputError("no row could be featurized; nothing was written")
    if not args.quiet:
        seconds = time.perf_counter() - started
        print(
            f"{writer.n_rows:,} rows with {len(featurizer.feature_labels()):,} features in "
            f"{seconds:.1f} s ({writer.n_rows / seconds:,.0f} rows/s): {args.out}"
        )
    return SOME_FAILED if report.n_failed else OK


def _check_targets(args: argparse.Namespace) -> None:
    """Find what is wrong with the files to be written before any work is done."""
    if args.out.suffix.lower() not in (".parquet", ".csv"):
        raise InputError(f"--out {args.out}: the name must end in .parquet or .csv")
    if args.errors is not None and args.errors.suffix.lower() != ".csv":
        raise InputError(f"--errors {args.errors}: the name must end in .csv")
    targets = [path for path in (args.out, args.errors) if path is not None]
    inputs = {path.resolve() for path in args.input}
    for path in targets:
        if path.resolve() in inputs:
            raise InputError(f"{path} is an input too; write to another file")
        if path.is_dir():
            raise InputError(f"{path} is a folder; name a file in it")
        if path.exists() and not args.overwrite:
            raise InputError(f"{path} exists; pass --overwrite to replace it")
        if not path.parent.is_dir():
            raise InputError(f"the folder {path.parent} does not exist; create it first")
    if len({path.resolve() for path in targets}) < len(targets):
        raise InputError("--out and --errors are the same file; name two")


def _featurizer(args: argparse.Namespace) -> UnateFeaturizer:
    from matminer_unate.featurizer import UnateFeaturizer

    featurizer = UnateFeaturizer(args.weights, tuple(args.pooling), args.device)
    if args.batch_size is not None:
        featurizer.set_params(batch_size=args.batch_size)
    return featurizer.fit()


def _provenance(featurizer: UnateFeaturizer) -> dict[str, str]:
    config = read_config(featurizer.weights)
    made_by = {
        "version": __version__,
        "weights": config.name,
        "sha256": config.sha256,
        "pooling": list(featurizer.pooling),
    }
    return {"matminer_unate": json.dumps(made_by)}


def _progress(sources: Sequence[Source], quiet: bool) -> Any:
    from tqdm import tqdm

    total = sum(source.n_rows for source in sources)
    # disable=None: no bar where stderr is a file.
    return tqdm(total=total, unit="rows", disable=True if quiet else None)


@contextmanager
def _failure_file(path: Path | None) -> Iterator[Any]:
    """A csv.writer for the rows that failed, or None."""
    if path is None:
        yield None
        return
    from matminer_unate.feature_table import fresh_file

    with fresh_file(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "place", "reason"])
        yield writer


@dataclass
class _Report:
    """What happened to the rows; the counts of all, but only the first few failures."""

    weights: str
    n_failed: int = 0
    shown: list[tuple[str, str]] = field(default_factory=list)
    n_noted: int = 0
    first_note: str = ""
    failures: Any = None
    bar: Any = None

    def __post_init__(self) -> None:
        from matminer_unate.columns import EncodingNotes
        from matminer_unate.encoding import weights_config

        self.encoding = EncodingNotes(weights_config(self.weights))

    def prepared(self, row: InputRow, crystal: PreparedCrystal) -> None:
        self.encoding.read(crystal)
        if row.notes:
            self.n_noted += 1
            self.first_note = self.first_note or f"{row.place}: {row.notes[0]}"

    def failed(self, row: InputRow, error: Exception) -> None:
        self.n_failed += 1
        reason = " ".join(str(error).split())
        if len(self.shown) < SHOWN_FAILURES:
            self.shown.append((row.place, reason))
        if self.failures is not None:
            self.failures.writerow([row.identifier, row.place, reason])
        self.bar.update()

    def print(self, sources: Sequence[Source], n_good: int, args: argparse.Namespace) -> None:
        """Tell of warnings and failures, on stderr."""
        if not args.quiet:
            self._print_notes(sources)
        if not self.n_failed:
            return
        _say(f"{self.n_failed:,} of {self.n_failed + n_good:,} rows failed:")
        width = min(48, max(len(place) for place, _ in self.shown))
        for place, reason in self.shown:
            print(f"  {place:<{width}}  {reason}", file=sys.stderr)
        more = self.n_failed - len(self.shown)
        if more:
            cure = "" if args.errors else " (--errors FILE.csv writes all of them)"
            print(f"  … and {more:,} more{cure}", file=sys.stderr)
        if args.errors:
            print(f"  all of them: {args.errors}", file=sys.stderr)

    def _print_notes(self, sources: Sequence[Source]) -> None:
        for text in self.encoding.texts():
            _say(f"warning: {text}")
        if self.n_noted:
            _say(
                f"warning: pymatgen had doubts about {self.n_noted:,} row(s) that it read; the "
                f"first is {self.first_note}"
            )
        for source in sources:
            if source.skipped:
                names = ", ".join(path.name for path in source.skipped[:3])
                dots = ", …" if len(source.skipped) > 3 else ""
                _say(
                    f"note: {len(source.skipped):,} other file(s) in {source.path} were not read: "
                    f"{names}{dots}"
                )


# -- info -----------------------------------------------------------------------------------------


def _info(args: argparse.Namespace) -> int:
    if args.card:
        print((weights_folder(args.weights) / CARD).read_text(encoding="utf-8"), end="")
        return OK
    if args.json:
        print(json.dumps({**_environment(), "weights": _weights(args.weights)}, indent=1))
        return OK
    # The versions are of use even where the weights are not.
    _print_pairs(_environment())
    print()
    _print_pairs(_weights(args.weights))
    return OK


def _environment() -> dict[str, Any]:
    import platform
    from importlib.metadata import version

    from matminer_unate.encoding import resolve_device

    packages = {name: version(name) for name in ("torch", "pymatgen", "matminer")}
    return {
        "matminer_unate": __version__,
        "python": platform.python_version(),
        **packages,
        "device": str(resolve_device("auto")),
        "shipped_weights": shipped_weights(),
    }


def _weights(weights: str) -> dict[str, Any]:
    from matminer_unate.featurizer import UnateFeaturizer

    config, folder = read_config(weights), weights_folder(weights)
    card = folder / CARD
    return {
        "name": config.name,
        "folder": str(folder.resolve()),
        "columns": len(UnateFeaturizer(weights).feature_labels()),
        "cutoff_angstrom": config.cutoff,
        "geometry": config.encoder_config.geometry,
        "latent_size": config.latent_dim,
        "elements_known": len(config.known_elements),
        "pretraining_crystals": config.training.get("n_crystals"),
        "sha256": config.sha256,
        "card": str(card.resolve()) if card.is_file() else None,
    }


def _print_pairs(pairs: dict[str, Any]) -> None:
    for name, value in pairs.items():
        shown = ", ".join(value) if isinstance(value, list) else value
        if isinstance(value, int):
            shown = f"{value:,}"
        print(f"{name.replace('_angstrom', ' (Å)'):<22}{'—' if shown in (None, '') else shown}")


if __name__ == "__main__":
    sys.exit(main())
