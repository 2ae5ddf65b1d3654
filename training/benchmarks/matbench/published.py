"""Entries of MatBench's leaderboard, on all official rows and on those that the files here have."""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """Mean over the five test folds of a published entry.

    Attributes
    ----------
    name : str
    official : float or None
        On all rows, as the leaderboard had it in January 2024.
    same_rows, strict : float or None
        Of its published predictions, on the rows of the parquet files, and on those of them that
        are surely linked to the official ones.
    """

    name: str
    official: float | None
    same_rows: float | None = None
    strict: float | None = None


PUBLISHED: dict[str, tuple[Entry, ...]] = {
    "log_kvrh": (
        Entry("coNGN", 0.0491, 0.0489, 0.0477),
        Entry("coGN", 0.0535),
        Entry("MODNet 0.1.12", 0.0548),
        Entry("MODNet 0.1.10", 0.0548),
        Entry("ALIGNN", 0.0568, 0.0567, 0.0555),
        Entry("AMMExpress", None, 0.0644, 0.0629),
        Entry("CrabNet", None, 0.0757, 0.0726),
        Entry("random forest", 0.0820, 0.0819, 0.0796),
        Entry("dummy", 0.2897),
    ),
    "log_gvrh": (
        Entry("coNGN", 0.0670, 0.0668, 0.0657),
        Entry("coGN", 0.0689),
        Entry("ALIGNN", 0.0715, 0.0715, 0.0703),
        Entry("MODNet 0.1.12", 0.0731),
        Entry("MODNet 0.1.10", 0.0731),
        Entry("AMMExpress", None, 0.0872, 0.0860),
        Entry("CrabNet", None, 0.1012, 0.0982),
        Entry("random forest", 0.1040, 0.1039, 0.1017),
        Entry("dummy", 0.2931),
    ),
    "perovskites": (
        Entry("coGN", 0.0269, 0.0269),
        Entry("ALIGNN", 0.0288, 0.0288),
        Entry("DeeperGATGNN", 0.0288, 0.0288),
        Entry("coNGN", 0.0290, 0.0290),
        Entry("Finder", 0.0320, 0.0320),
        Entry("random forest", 0.2355, 0.2355),
        Entry("dummy", 0.5660, 0.5660),
    ),
    "mp_gap": (
        Entry("coGN", 0.1559),
        Entry("DeeperGATGNN", 0.1694),
        Entry("coNGN", 0.1697, 0.1682, 0.1536),
        Entry("ALIGNN", 0.1861, 0.1855, 0.1745),
        Entry("MegNet (kgcnn)", 0.1934),
        Entry("CrabNet", None, 0.2642, 0.2324),
        Entry("AMMExpress", None, 0.2823, 0.2531),
        Entry("random forest", 0.3452, 0.3455, 0.3120),
        Entry("dummy", 1.3272),
    ),
    "mp_is_metal": (
        Entry("CGCNN", 0.9520),
        Entry("ALIGNN", 0.9128),
        Entry("coGN", 0.9124),
        Entry("AMMExpress", 0.9093),
        Entry("coNGN", 0.9089),
        Entry("random forest", 0.8992),
        Entry("dummy", 0.5012),
    ),
}
"""By task, the best first. Official numbers are from the leaderboard of materialsproject/matbench.
Areas under the ROC curve are of labels: see :func:`leaderboard.scores`."""
