"""Crystals of a table → columns of other packages, to compare with.

A crystal that a package cannot describe gets a row of NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matminer.featurizers.composition import ElementProperty
from pymatgen.core import Composition, Structure

from benchmarks.columns.regressors import Matrix
from matminer_unate.crystals.structures import crystal_arrays
from matminer_unate.featurizers.pooling import pool

POOLING = ("mean", "std", "min", "max")
"""Of the atom features, as of our own site descriptors."""

SOAP_SETTINGS = {"r_cut": 5.0, "n_max": 8, "l_max": 6}
"""Lengths in Å. With the species compressed ("mu2": their products summed over weights Z) there are
252 columns whatever the elements."""


def megnet_elements(table: pd.DataFrame) -> Matrix:
    """matminer's preset of MEGNet's element embeddings: 16 numbers × 5 statistics.

    The embeddings come from a network trained on formation energies (Chen et al., Chem. Mater. 31,
    3564 (2019), doi:10.1021/acs.chemmater.9b01294).
    """
    featurizer = ElementProperty.from_preset("megnet_el", impute_nan=True)
    featurizer.set_n_jobs(1)
    compositions = [Composition(f) for f in table["formula_reduced"]]
    return np.array(featurizer.featurize_many(compositions, pbar=False), dtype=np.float32)


def structural(table: pd.DataFrame) -> Matrix:
    """matminer's featurizers of the structure, seven of them; about 3 crystals a second."""
    stack = structural_stack()
    stack.set_n_jobs(1)
    found = stack.featurize_many(list(table["structure"]), ignore_errors=True, pbar=False)
    columns = pd.DataFrame(found, columns=stack.feature_labels())
    # A word; the number of the space group says it too.
    return columns.drop(columns="crystal_system").to_numpy(np.float32)


def soap(table: pd.DataFrame) -> Matrix:
    """SOAP of dscribe, power spectra averaged over sites; species told apart by weights Z.

    Bartók et al., Phys. Rev. B 87, 184115 (2013), doi:10.1103/PhysRevB.87.184115; compression:
    Darby et al., npj Comput. Mater. 8, 166 (2022), doi:10.1038/s41524-022-00847-y.
    """
    try:
        from dscribe.descriptors import SOAP
    except ImportError as e:
        raise ImportError('SOAP needs dscribe: pip install "matminer_unate[soap]"') from e
    from pymatgen.io.ase import AseAtomsAdaptor

    species = sorted({int(z) for numbers in table["species"] for z in numbers})
    descriptor = SOAP(
        **SOAP_SETTINGS,
        species=species,
        periodic=True,
        average="outer",
        compression={"mode": "mu2", "species_weighting": {z: float(z) for z in species}},
    )
    atoms = [AseAtomsAdaptor.get_atoms(s) for s in table["structure"]]
    return np.array([descriptor.create(a) for a in atoms], dtype=np.float32)


def chgnet(table: pd.DataFrame) -> Matrix:
    """CHGNet's atom features pooled over sites: what supervision with energies and forces gives."""
    rows = []
    for start in range(0, len(table), 256):
        rows += _chgnet(table["structure"].iloc[start : start + 256], POOLING)
    return np.array(rows, dtype=np.float32)


def _chgnet(structures: Sequence[Structure], pooling: Sequence[str]) -> list[Any]:
    """CHGNet's 64 atom features pooled over the sites of each crystal."""
    from corpora.crystal import Crystal
    from site_targets.chgnet import chgnet_targets

    crystals = [Crystal(*crystal_arrays(s), str(k)) for k, s in enumerate(structures)]
    sites = (np.full((1, 64), np.nan) if s is None else s for s in chgnet_targets(crystals))
    return [pool(np.asarray(s), np.array([0, len(s)]), pooling)[0] for s in sites]


class CHGNetFeatures:
    """Atom features of CHGNet 0.3.0, averaged over sites; as fast as it goes, in batches."""

    def featurize_dataframe(self, df: pd.DataFrame, col_id: str, **options: Any) -> pd.DataFrame:
        means = np.array(_chgnet(df[col_id], ("mean",)))
        return pd.concat([df, pd.DataFrame(means, index=df.index)], axis=1)


def structural_stack() -> Any:
    from matminer.featurizers import structure as s
    from matminer.featurizers.base import MultipleFeaturizer

    return MultipleFeaturizer(
        [
            s.DensityFeatures(),
            s.GlobalSymmetryFeatures(),
            s.StructuralHeterogeneity(),
            s.ChemicalOrdering(),
            s.MaximumPackingEfficiency(),
            s.SiteStatsFingerprint.from_preset("CoordinationNumber_ward-prb-2017"),
            s.SiteStatsFingerprint.from_preset("LocalPropertyDifference_ward-prb-2017"),
        ]
    )
