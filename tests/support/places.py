"""Where things lie, for the tests."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
RECORDED = TESTS / "data"
SHARED = ROOT.parent / "shared" / "data"
"""Labelled crystals; tests that want them are skipped where they are not."""
