"""``python -m matminer_unate``: the command ``unate``."""

from __future__ import annotations

import sys

from matminer_unate.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
