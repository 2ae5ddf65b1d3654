"""The command ``unate``: files of crystals in, a file of columns or predictions out."""

from __future__ import annotations

import argparse
import atexit
import gc
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from matminer_unate.cli.arguments import make_parser
from matminer_unate.cli.printable import hide_spglib_warnings, use_printable_output
from matminer_unate.errors import UnateError

# Everything else is imported inside the commands: --help must not wait for torch.

OK, SOME_FAILED, UNUSABLE, INTERRUPTED = 0, 1, 2, 130


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
    use_printable_output()
    args = make_parser().parse_args(argv)
    if argv is None:  # a process of our own
        # Imports make a million objects that stay. To look through them for garbage again and
        # again takes half a second, and at the end, for what the system frees anyway, another.
        gc.set_threshold(100_000)
        atexit.register(gc.freeze)
        hide_spglib_warnings()
    try:
        code = _run(args)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The reader of the output (| head) has seen enough; Python would say so again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except (UnateError, OSError, ImportError) as e:
        print(f"unate: error: {e}", file=sys.stderr)
        return UNUSABLE
    except KeyboardInterrupt as e:
        print(
            f"unate: interrupted; {e.args[0] if e.args else 'nothing was written'}", file=sys.stderr
        )
        return INTERRUPTED


def _run(args: argparse.Namespace) -> int:
    if args.command == "info":
        from matminer_unate.cli.info import info

        info(args)
        return OK
    from matminer_unate.cli.progress import CommandProgress

    # The imports take seconds, so something is shown before them.
    with _stopped_by_sigterm(), CommandProgress(args.quiet, "loading") as progress:
        from matminer_unate.cli import commands as table_commands

        args.progress = progress
        finish = getattr(table_commands, args.command)(args)
    return SOME_FAILED if finish() else OK


@contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """End on SIGTERM, which batch systems send before they kill, as on Ctrl-C: in good order."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    sys.exit(main())
