"""Which blocks of columns make a row of the table of regressors."""

from __future__ import annotations

from importlib.util import find_spec

CONTROL = ("magpie", "cell", "physics")

RECIPE = "unate_regressor"
"""``UnateRegressor``, of classes ``UnateClassifier``: a row of the table like the feature sets."""

STRUCTURAL_LIMIT = 1000
"""Crystals. matminer's structural featurizers take a second for three of them."""

OPTIONAL = {"soap": "dscribe", "chgnet": "chgnet"}
"""Blocks that need another package."""


def feature_sets(weights: list[str]) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """By name, the blocks of the trees of the stack, and all blocks.

    Parameters
    ----------
    weights : list of str
        Names of UNATE weights, which are names of their blocks.
    """
    tight_bound = (*CONTROL, "tight-binding")
    sets: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {"dummy": ((), ())}
    alone = ("magpie", "megnet-elements", "structural", "soap", "chgnet", "tight-binding")
    sets |= {b: ((b,), (b,)) for b in (*alone, "untrained", *weights)}
    sets |= {
        "magpie+structural": (("magpie", "structural"), ("magpie", "structural")),
        "control": (CONTROL, CONTROL),
        "control+fingerprint": (CONTROL, (*CONTROL, "fingerprint")),
        "control+chgnet": (CONTROL, (*CONTROL, "chgnet")),
        "control+tight-binding": (tight_bound, tight_bound),
    }
    for w in weights:
        sets |= {
            f"magpie+{w}": (("magpie",), ("magpie", w)),
            f"control+{w}": (CONTROL, (*CONTROL, w)),
            f"control+fingerprint+{w}": (CONTROL, (*CONTROL, "fingerprint", w)),
            f"control+tight-binding+{w}": (tight_bound, (*tight_bound, w)),
        }
    # In the order of its columns.
    trees = (*CONTROL, "cell-stats", "tight-binding")
    sets |= {
        name: (trees, (*trees, "fingerprint", *used)) for name, used in recipes(weights).items()
    }
    return sets


def recipes(weights: list[str]) -> dict[str, list[str]]:
    """Rows of ``UnateRegressor`` and the weights they use: the first, and all."""
    found = {RECIPE: weights}
    return found if len(weights) == 1 else {f"{RECIPE}_{weights[0]}": weights[:1]} | found


def is_feasible(block: str, n_crystals: int) -> bool:
    """Whether a block can be computed here in sensible time."""
    if block == "structural":
        return n_crystals <= STRUCTURAL_LIMIT
    return block not in OPTIONAL or find_spec(OPTIONAL[block]) is not None
