"""Run a script so that what its user can mend ends in one line, and not in a traceback."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from matminer_unate.cli.printable import hide_spglib_warnings, use_printable_output
from matminer_unate.errors import UnateError


@contextmanager
def torch_threads(n: int) -> Iterator[None]:
    """Let torch compute with so many threads, until the block ends."""
    import torch

    usual = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(usual)


def script_parser(doc: str | None) -> argparse.ArgumentParser:
    """A parser whose help begins with the docstring of the script, as it stands."""
    return argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def require_positive(
    parser: argparse.ArgumentParser, args: argparse.Namespace, *names: str
) -> None:
    """End with a line where one of these options is given and below 1."""
    for name in names:
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f"--{name} must be at least 1")


def run_script(main: Callable[[], None]) -> None:
    """Run the main function of a script.

    Parameters
    ----------
    main : callable
        Wrong input, files that cannot be read or written and packages that are missing end it with
        one line and status 1, Ctrl-C with one line and status 130. Every other exception is a
        defect and keeps its traceback.
    """
    use_printable_output()
    hide_spglib_warnings()
    try:
        main()
    except (UnateError, OSError, ImportError) as e:
        sys.exit(f"error: {e}")
    except KeyboardInterrupt as e:
        print(f"\nstopped{f'; {e}' if str(e) else ''}", file=sys.stderr)
        sys.exit(130)
