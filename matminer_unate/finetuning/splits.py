"""What is drawn at random before a fine-tuning: seeds, and the rows that choose the epoch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupShuffleSplit

from matminer_unate.errors import InputError

Splits = Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]
"""Training rows and held-out rows of each member."""

LEAST_FORMULAS = 10
"""Of which some can be held out."""


def seeds_of(random_state: int | None, n_members: int) -> list[int]:
    """For the first weights of each member, the training of each, and the split."""
    sequence = np.random.SeedSequence(random_state)
    seeds: list[int] = sequence.generate_state(2 * n_members + 1).astype(int).tolist()
    return [*seeds[:-1], seeds[-1] if random_state is None else int(random_state)]


def random_splits(formulas: Sequence[str], n_members: int, share: float, seed: int) -> Splits:
    """Rows to learn from and rows that choose the epoch, for each member.

    Parameters
    ----------
    formulas : sequence of str
        Rows of one formula stay together.
    n_members : int
    share : float
        Of the formulas, to choose by.
    seed : int

    Raises
    ------
    InputError
        Nothing is left to learn from.
    """
    rows = np.arange(len(formulas))
    if not share or len(set(formulas)) < LEAST_FORMULAS:
        return [(rows, rows[:0])] * n_members
    try:
        splitter = GroupShuffleSplit(n_members, test_size=share, random_state=seed)
        return list(splitter.split(rows, groups=formulas))
    except ValueError:
        raise InputError(
            f"validation_share {share} leaves no training rows of the {len(set(formulas))} "
            "formulas; lower it"
        ) from None
