"""What a notebook shows of an estimator: scikit-learn's box, with what it is and which weights."""

from __future__ import annotations

import inspect
from typing import Any

from matminer_unate.errors import UnateError
from matminer_unate.network.weights import check_weights, weights_config


class NotebookView:
    """Puts a caption below the name of an estimator in scikit-learn's HTML view.

    The caption is the first line of the docstring, and the name and checksum of each of its
    weights. It stands in pipelines and other compositions too.
    """

    def _sk_visual_block_(self) -> Any:
        # Where this private class is elsewhere, scikit-learn catches the error and shows its own.
        from sklearn.utils._repr_html.estimator import _VisualBlock

        name, caption = type(self).__name__, notebook_caption(self)
        return _VisualBlock(
            "single", self, names=name, name_details=str(self), name_caption=caption
        )


def notebook_caption(estimator: Any) -> str:
    """``Learned columns for …. Weights: mp_v3 (sha256 f92ac416aee1…)``."""
    what = summary_of(type(estimator))
    if not hasattr(estimator, "weights"):
        return what
    try:
        configs = [weights_config(w) for w in check_weights(estimator.weights)]
    except (UnateError, OSError) as e:  # an estimator may be looked at before it is right
        return f"{what} Weights: {e}"
    told = ", ".join(f"{config.name} (sha256 {config.sha256[:12]}…)" for config in configs)
    return f"{what} Weights: {told}"


def summary_of(cls: type) -> str:
    """The first line of the docstring of a class."""
    return (inspect.getdoc(cls) or "").partition("\n")[0]
