"""Run a script so that what its user can mend ends in one line, and not in a traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable

from matminer_unate.errors import UnateError
from matminer_unate.printable import use_printable_output


def run_script(main: Callable[[], None]) -> None:
    """Run the main function of a script.

    Parameters
    ----------
    main : callable
        Wrong input, files that cannot be read or written and packages that are missing end it with
        one line and status 1. Every other exception is a defect and keeps its traceback.
    """
    use_printable_output()
    try:
        main()
    except (UnateError, OSError, ImportError) as e:
        sys.exit(f"error: {e}")
    except KeyboardInterrupt:
        sys.exit(130)
