"""Frames of other engines with the columns of a featurizer: Dask's, and batches of Arrow.

Both leave the work to an engine that has its own ways to share it out and to repeat what failed; of
this package, each of its processes loads a network once, when it first computes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from matminer_unate.errors import InputError
from matminer_unate.featurizers.base import StructureFeaturizer
from matminer_unate.featurizers.inputs import column_of
from matminer_unate.processes import keep_freed_memory

if TYPE_CHECKING:
    import pyarrow as pa

_AS_TEXT = ("Full Formula", "Structure Summary")
"""How ``str(structure)`` begins, which is no format."""


def featurize_dask(ddf: Any, column: str, featurizer: StructureFeaturizer) -> Any:
    """Add the columns of a featurizer to a Dask DataFrame, lazily.

    Parameters
    ----------
    ddf : dask.dataframe.DataFrame
    column : str
        Of structures: objects of pymatgen or ASE, dicts, or the text of CIFs, POSCARs or JSON.
    featurizer : StructureFeaturizer
        ``UnateFeaturizer``, ``SiteDescriptorStats`` or ``TightBindingStats``. With
        ``on_error="nan"``, unusable structures are rows of NaN; otherwise the first of a partition
        is an error when it is computed.

    Returns
    -------
    dask.dataframe.DataFrame
        Partitions, divisions and index as in ``ddf``, the new columns (float32) at the end.

    Raises
    ------
    InputError
        There is no such column, or a new column is there already, or an option is wrong.

    Notes
    -----
    ``dask.dataframe.from_pandas`` makes text of objects. To keep structures, say before::

        dask.config.set({"dataframe.convert-string": False})

    Workers with one thread each are best: several batches at once on one core each beat one batch
    on several cores.

    Examples
    --------
    >>> import dask
    >>> import dask.dataframe as dd
    >>> from matminer_unate import SiteDescriptorStats, featurize_dask
    >>> from matminer_unate.datasets import load_semiconductors
    >>> with dask.config.set({"dataframe.convert-string": False}):
    ...     ddf = dd.from_pandas(load_semiconductors().head(20), npartitions=2)
    >>> table = featurize_dask(ddf, "structure", SiteDescriptorStats())
    >>> table.divisions, len(table.columns)
    ((0, 10, 19), 111)
    >>> df = table.compute(scheduler="sync")
    """
    meta = featurizer.featurize_dataframe(ddf._meta, column, pbar=False)
    return ddf.map_partitions(_featurized, column, featurizer, meta=meta)


def _featurized(part: pd.DataFrame, column: str, featurizer: StructureFeaturizer) -> pd.DataFrame:
    for value in column_of(part, column).head(1):
        if isinstance(value, str) and value.startswith(_AS_TEXT):
            raise InputError(
                f"the column {column!r} holds str(structure), which nothing can read: Dask made "
                'text of the structures. Say dask.config.set({"dataframe.convert-string": False}) '
                "before from_pandas, or give CIFs or JSON"
            )
    keep_freed_memory()
    table: Any = featurizer.featurize_dataframe(part, column, pbar=False)
    return table


def featurize_batch(
    batch: pa.RecordBatch | pa.Table, column: str, featurizer: StructureFeaturizer
) -> Any:
    """Add the columns of a featurizer to a batch of Arrow.

    This one function is all that engines need which hand out batches. Ray Data::

        import ray
        from matminer_unate import UnateFeaturizer, featurize_batch

        featurizer = UnateFeaturizer(on_error="nan")
        data = ray.data.read_parquet("structures/")
        table = data.map_batches(
            lambda batch: featurize_batch(batch, "cif", featurizer),
            batch_format="pyarrow", batch_size=1000,
        )
        table.write_parquet("features/")

    Spark::

        from matminer_unate import UnateFeaturizer, featurize_batch
        from pyspark.sql.pandas.types import from_arrow_schema, to_arrow_schema

        featurizer = UnateFeaturizer(on_error="nan")
        frame = spark.read.parquet("structures/").select("material_id", "cif")
        empty = to_arrow_schema(frame.schema).empty_table()
        schema = from_arrow_schema(featurize_batch(empty, "cif", featurizer).schema)
        table = frame.mapInArrow(
            lambda batches: (featurize_batch(b, "cif", featurizer) for b in batches), schema
        )
        table.write.parquet("features/")

    Parameters
    ----------
    batch : pyarrow.RecordBatch or pyarrow.Table
    column : str
        Of structures: the text of CIFs, POSCARs or JSON, or structs of pymatgen's dicts.
    featurizer : StructureFeaturizer
        As for :func:`featurize_dask`.

    Returns
    -------
    As ``batch``
        Its columns as they were, and the new ones (float32, null where a structure is unusable
        and ``on_error="nan"``).

    Raises
    ------
    InputError
        There is no such column, or a new column is there already.
    StructureError
        A structure is unusable; the message names its row in the batch.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from matminer_unate import SiteDescriptorStats, featurize_batch
    >>> from matminer_unate.datasets import load_semiconductors
    >>> cifs = [structure.to(fmt="cif") for structure in load_semiconductors()["structure"][:5]]
    >>> batch = pa.record_batch({"cif": cifs})
    >>> featurize_batch(batch, "cif", SiteDescriptorStats()).shape
    (5, 105)
    """
    import pyarrow as pa

    names, labels = batch.schema.names, featurizer.feature_labels()
    if column not in names:
        raise InputError(f"the batch has no column {column!r}; it has {', '.join(names)}")
    taken = [label for label in labels if label in names]
    if taken:
        raise InputError(
            f"the batch has a column {taken[0]!r} already; drop the {len(taken)} columns of this "
            "name first, or featurize with other options"
        )
    schema = batch.schema
    for label in labels:
        schema = schema.append(pa.field(label, pa.float32()))
    values = featurizer.transform(batch.column(names.index(column)).to_pylist())
    new = [pa.array(one, pa.float32(), from_pandas=True) for one in values.T.copy()]
    kind = pa.Table if isinstance(batch, pa.Table) else pa.RecordBatch
    return kind.from_arrays([*batch.columns, *new], schema=schema)
