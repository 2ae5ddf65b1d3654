"""The learned vectors of the elements as a data source of matminer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matminer.utils.data import AbstractData
from numpy.typing import NDArray

from matminer_unate.errors import InputError, StructureError
from matminer_unate.network.element_vectors import ElementVectors, element_vectors
from matminer_unate.network.weights import DEFAULT_WEIGHTS, weights_config


class UnateElementData(AbstractData):
    """One learned vector an element: the mean of its site embeddings over the pretraining crystals.

    A data source of matminer, for ``ElementProperty`` and whatever else takes one. The properties
    are the components ``z_000``, ``z_001``, … (``prop_names``), in standard deviations over the
    sites of the pretraining crystals.

    Parameters
    ----------
    weights : str or path
        Name of weights that come with the package, or a weights folder with an
        ``elements.safetensors``.
    impute_nan : bool
        Give elements that the weights have not seen the mean over the elements, as matminer's own
        sources do by default, and not NaN.

    Notes
    -----
    * Of each crystal, the embeddings of an element's sites are averaged first, and these over the
      crystals that hold it. Elements of few crystals are drawn toward the mean over all elements
      (empirical Bayes): with n crystals, w·own + (1 − w)·mean, w = τ²/(τ² + σ²/n), where σ² is the
      variance of a component within an element and τ² that between elements.
      :meth:`to_frame` has n (``n_crystals``) and w (``own_share``).
    * 89 elements have vectors in the shipped weights; of others, every property is NaN.

    References
    ----------
    UNATE, arXiv:2605.25866. Empirical Bayes: Morris, J. Am. Stat. Assoc. 78, 47 (1983).

    Examples
    --------
    >>> from matminer.featurizers.composition import ElementProperty
    >>> from matminer_unate import UnateElementData
    >>> data = UnateElementData()
    >>> featurizer = ElementProperty(data, data.prop_names, ["mean", "range"], impute_nan=False)
    """

    def __init__(self, weights: str | Path = DEFAULT_WEIGHTS, impute_nan: bool = False) -> None:
        self.weights = weights
        self.impute_nan = impute_nan

    def __repr__(self) -> str:
        return f"{type(self).__name__}(weights={self.weights!r}, impute_nan={self.impute_nan!r})"

    @property
    def prop_names(self) -> list[str]:
        """Names of the properties."""
        return [f"z_{k:03d}" for k in range(weights_config(self.weights).latent_dim)]

    def get_elemental_property(self, elem: Any, property_name: str) -> float:
        """One component of the vector of an element; NaN if the weights have not seen it.

        Parameters
        ----------
        elem : Element, Species or str
            With or without an oxidation state, which makes no difference.
        property_name : str
            One of :attr:`prop_names`.

        Raises
        ------
        InputError
            There is no such element or property.
        """
        vector = self.vector(elem)
        letter, _, number = str(property_name).partition("_")
        if letter != "z" or len(number) < 3 or not number.isdecimal() or int(number) >= len(vector):
            raise InputError(
                f"no property {property_name!r}; there are z_000 to z_{len(vector) - 1:03d}"
            )
        return float(vector[int(number)])

    def vector(self, elem: Any) -> NDArray[np.float32]:
        """The vector of an element, (latent_dim,) float32."""
        found = self._table()
        z = atomic_number(elem)
        if self.impute_nan and not found.is_known[z]:
            mean: NDArray[np.float32] = found.vectors[found.is_known].mean(axis=0)
            return mean
        return found.vectors[z]

    def to_frame(self) -> pd.DataFrame:
        """All elements that have a vector: ``n_crystals``, ``own_share`` and components, by symbol.

        Returns
        -------
        DataFrame
            A row an element, in the order of atomic numbers.
        """
        from pymatgen.core import Element

        found = self._table()
        known = np.flatnonzero(found.is_known)
        index = pd.Index([Element.from_Z(int(z)).symbol for z in known], name="element")
        facts = {"n_crystals": found.n_crystals[known], "own_share": found.own_share[known]}
        vectors = pd.DataFrame(found.vectors[known], index, self.prop_names)
        return pd.concat([pd.DataFrame(facts, index), vectors], axis=1)

    def _table(self) -> ElementVectors:
        return element_vectors(self.weights)


def atomic_number(elem: Any) -> int:
    """Atomic number of an element of whatever kind.

    Raises
    ------
    InputError
        It is none.
    """
    from pymatgen.core import DummySpecies, Element, Species

    try:
        if isinstance(elem, str):
            elem = Species.from_str(elem) if elem[-1:] in "+-" else Element(elem)
        if isinstance(elem, Element | Species) and not isinstance(elem, DummySpecies):
            return int(elem.Z)
    except ValueError:
        pass
    raise InputError(f"{elem!r} is no element; give an Element, a Species or a symbol")


def element_fractions(formula: Any) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Elements of a formula, ascending, and their shares of the atoms.

    Parameters
    ----------
    formula : Composition, str or dict of symbol to amount
        Oxidation states are dropped.

    Returns
    -------
    atomic_numbers : (n_elements,) int64
    fractions : (n_elements,) float64
        Their sum is 1.

    Raises
    ------
    StructureError
        It is missing or no formula.
    """
    from pymatgen.core import Composition

    if pd.api.types.is_scalar(formula) and pd.isna(formula):
        raise StructureError("the formula is missing (None or NaN); drop or fill this row")
    if not isinstance(formula, Composition | str | dict):
        raise StructureError(
            f"expected a formula (Composition, str or dict), got {type(formula).__name__}; of a "
            "structure, take structure.composition"
        )
    try:
        composition = Composition(formula).element_composition
        amounts = {atomic_number(elem): float(n) for elem, n in composition.items()}
    except (ValueError, TypeError, KeyError, AttributeError) as e:
        raise StructureError(f"{formula!r} is no formula ({e}); correct or drop this row") from e
    total = sum(amounts.values())
    if not amounts or not np.isfinite(total) or min(amounts.values()) <= 0:
        raise StructureError(f"{formula!r} holds no atoms; correct or drop this row")
    numbers = np.array(sorted(amounts), dtype=np.int64)
    return numbers, np.array([amounts[z] for z in numbers.tolist()]) / total
