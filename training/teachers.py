"""Site vectors of a teacher, written to a file that pretraining regresses on.

    python training/teachers.py --teacher chgnet --data mp_mtcgcnn.parquet mp20_val_test.parquet \\
        --max-sites 40 --out chgnet_sites.parquet
    python training/pretrain.py --teacher chgnet_sites.parquet --weights.teacher 8 ...

Give both commands the same ``--data``, ``--part`` and ``--accept-doubtful``, and one of the limits
given here as ``--max-sites`` to the second: the limit decides which of a group of duplicates is
kept, so crystals are read once for each limit and all of them are taught.

Small cells come first. A run that was stopped goes on with the same command; what it has done lies
in the folder ``OUT.parts``, which can be read like the finished file.

Teachers:

``chgnet``
    The 64 atom features of CHGNet 0.3.0 (Deng et al., Nat. Mach. Intell. 5, 1031 (2023),
    doi:10.1038/s42256-023-00716-3), from which it reads magnetic moments: a potential trained on
    energies, forces, stresses and moments of the Materials Project. Its weights come with
    ``pip install "matminer_unate[teacher]"``.
``chgnet-readout``
    The same, then the magnetic moment (μ_B) and the energy (eV, without the reference energy of the
    element) of the site.
``tight-binding``
    Site-projected quantities of :mod:`matminer_unate.physics.tight_binding`: no labels at all.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from harness.command import require_positive, run_script, script_parser
from site_targets.computing import TEACHERS, read_all, write_site_targets


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(argv)
    crystals = read_all(args.data, args.part, args.max_sites, args.accept_doubtful)
    command = ["python", "training/teachers.py", *(argv or sys.argv[1:])]
    write_site_targets(args.teacher, crystals, Path(args.out), command, args.processes)


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--teacher", choices=sorted(TEACHERS), required=True)
    parser.add_argument(
        "--data", nargs="+", required=True, help="parquet files and folders of CIF or POSCAR files"
    )
    parser.add_argument(
        "--part",
        nargs="+",
        choices=["train", "val", "test", "all"],
        default=["train"],
        help="formulas to teach [train]",
    )
    parser.add_argument(
        "--max-sites", nargs="+", type=int, default=[40], help="limits of sites [40]"
    )
    parser.add_argument("--accept-doubtful", action="store_true", help="as in training/pretrain.py")
    parser.add_argument("--processes", type=int, default=1, help="[1]")
    parser.add_argument("--out", required=True, help="parquet file to write")
    args = parser.parse_args(argv)
    require_positive(parser, args, "processes")
    return args


if __name__ == "__main__":
    run_script(main)
