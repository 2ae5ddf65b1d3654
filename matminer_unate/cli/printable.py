"""Text that any terminal can show: what its encoding lacks is written with what it has."""

from __future__ import annotations

import codecs
import os
import sys
import unicodedata

_WORDS = {
    "—": "-", "–": "-", "−": "-", "…": "...", "→": "->", "·": "*", "×": "x", "≤": "<=", "≥": ">=",
    "≠": "!=", "±": "+-", "∞": "inf", "√": "sqrt", "≈": "~", "’": "'", "‘": "'", "“": '"',
    "”": '"', "σ": "sigma", "α": "alpha", "β": "beta", "γ": "gamma", "Γ": "Gamma", "λ": "lambda",
    "μ": "mu", "Δ": "Delta", "∈": "in",
}  # fmt: skip

_HANDLER = "matminer_unate.cli.printable"


def use_printable_output() -> None:
    """Let stdout and stderr write Å as A, and whatever has no such stand-in as an escape.

    Where the user has chosen another way (``PYTHONIOENCODING=ascii:replace``), that is kept.
    """
    codecs.register_error(_HANDLER, _stand_in)
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "errors", None) in ("strict", "surrogateescape", "backslashreplace"):
            getattr(stream, "reconfigure", lambda errors: None)(errors=_HANDLER)


def hide_spglib_warnings() -> None:
    """Where spglib finds no symmetry at one tolerance, another is tried: lines for nobody.

    For a process of our own; a user who has set ``SPGLIB_WARNING`` is heard.
    """
    os.environ.setdefault("SPGLIB_WARNING", "OFF")


def _stand_in(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(map(_one, lacking)), error.end


def _one(character: str) -> str:
    parts = unicodedata.normalize("NFKD", character)  # Å is A and a ring, ⁻ a raised −
    plain = "".join(_WORDS.get(part, part if part.isascii() else "") for part in parts)
    return plain or character.encode("ascii", "backslashreplace").decode()
