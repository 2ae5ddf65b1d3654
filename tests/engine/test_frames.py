"""Frames of other engines: Dask DataFrames and batches of Arrow."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from real_crystals import crystals

from matminer_unate import (
    SiteDescriptorStats,
    UnateFeaturizer,
    featurize_batch,
    featurize_dask,
)
from matminer_unate.errors import InputError, StructureError

STRUCTURES = list(crystals().values())


@pytest.fixture
def featurizer(tiny_weights: Path) -> UnateFeaturizer:
    return UnateFeaturizer(tiny_weights, device="cpu")


# -- Dask -----------------------------------------------------------------------------------------


@pytest.fixture
def frame() -> pd.DataFrame:
    index = pd.Index(range(0, 10 * len(STRUCTURES), 10), name="key")
    texts = [s.to(fmt="cif") for s in STRUCTURES]
    return pd.DataFrame({"cif": texts, "structure": STRUCTURES, "y": 1.5}, index=index)


def dask_frame(frame: pd.DataFrame, objects: bool = False) -> Any:
    dask, dd = pytest.importorskip("dask"), pytest.importorskip("dask.dataframe")
    with dask.config.set({"dataframe.convert-string": not objects}):
        return dd.from_pandas(frame, npartitions=3)


@pytest.mark.parametrize("column", ["cif", "structure"])
def test_a_dask_frame_gets_the_columns_lazily_and_keeps_its_divisions(
    column: str, frame: pd.DataFrame, featurizer: UnateFeaturizer
) -> None:
    ddf = dask_frame(frame[[column, "y"]], objects=column == "structure")
    found = featurize_dask(ddf, column, featurizer)
    assert found.divisions == ddf.divisions
    assert found.npartitions == ddf.npartitions == 3
    computed = found.compute(scheduler="sync")
    pd.testing.assert_series_equal(found.dtypes, computed.dtypes)
    expected = featurizer.featurize_dataframe(frame[[column, "y"]], column, pbar=False)
    labels = featurizer.feature_labels()
    assert list(computed.index) == list(expected.index)
    assert list(computed) == list(expected)
    np.testing.assert_allclose(computed[labels], expected[labels], rtol=1e-4, atol=1e-5)
    assert (computed[labels].dtypes == np.float32).all()


def test_structures_that_dask_made_text_of_are_told_with_the_cure(
    frame: pd.DataFrame, featurizer: UnateFeaturizer
) -> None:
    found = featurize_dask(dask_frame(frame), "structure", featurizer)
    with pytest.raises(InputError, match=r"dataframe\.convert-string"):
        found.compute(scheduler="sync")


def test_what_is_wrong_with_the_columns_is_told_before_anything_is_computed(
    frame: pd.DataFrame, featurizer: UnateFeaturizer
) -> None:
    with pytest.raises(InputError, match="no column 'nope'"):
        featurize_dask(dask_frame(frame), "nope", featurizer)
    taken = frame.assign(**{featurizer.feature_labels()[0]: 1.0})
    with pytest.raises(InputError, match="exists in input dataframe"):
        featurize_dask(dask_frame(taken), "cif", featurizer)


@pytest.mark.slow
def test_each_worker_loads_the_network_once(
    frame: pd.DataFrame, featurizer: UnateFeaturizer
) -> None:
    def n_loads() -> int:
        from matminer_unate.network.encoding import _load

        return int(_load.cache_info().misses)

    distributed = pytest.importorskip("distributed")
    dd = pytest.importorskip("dask.dataframe")
    many = pd.concat([frame[["cif"]]] * 4, ignore_index=True)
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        ddf = dd.from_pandas(many, npartitions=8)
        values = featurize_dask(ddf, "cif", featurizer).compute()
        found = client.run(n_loads)
    assert len(values) == len(many)
    assert set(found.values()) == {1}


# -- Arrow ----------------------------------------------------------------------------------------


def columns() -> dict[str, Any]:
    return {
        "cif": [s.to(fmt="cif") for s in STRUCTURES],
        "json": [json.dumps(s.as_dict()) for s in STRUCTURES],
        "n": pa.array(range(len(STRUCTURES)), pa.int16()),
    }


@pytest.mark.parametrize("column", ["cif", "json"])
@pytest.mark.parametrize("kind", ["batch", "table"])
def test_a_batch_gets_the_columns_of_transform(
    column: str, kind: str, featurizer: UnateFeaturizer
) -> None:
    given: Any = pa.table(columns()) if kind == "table" else pa.record_batch(columns())
    found = featurize_batch(given, column, featurizer)
    assert type(found) is type(given)
    empty = featurize_batch(given.schema.empty_table(), column, featurizer)
    assert (found.schema, empty.num_rows) == (empty.schema, 0)
    assert found.select(given.schema.names).equals(given)
    values = found.select(featurizer.feature_labels()).to_pandas()
    expected = featurizer.transform(STRUCTURES)
    np.testing.assert_allclose(values, expected, rtol=1e-3, atol=1e-4)


def test_a_bad_row_of_a_batch_is_null_or_an_error(featurizer: UnateFeaturizer) -> None:
    batch = pa.record_batch({"cif": ["", STRUCTURES[0].to(fmt="cif")]})
    with pytest.raises(StructureError, match="row 0"):
        featurize_batch(batch, "cif", featurizer)
    lenient = featurizer.set_params(on_error="nan")
    with pytest.warns(UserWarning, match="1 of 2 rows could not be encoded"):
        found = featurize_batch(batch, "cif", lenient)
    assert found.column(1).null_count == 1
    with pytest.raises(InputError, match="no column 'x'; it has cif"):
        featurize_batch(batch, "x", featurizer)
    with pytest.raises(InputError, match="already"):
        featurize_batch(found, "cif", featurizer)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")
def test_the_recipe_for_ray() -> None:
    import ray

    featurizer = SiteDescriptorStats()
    data = ray.data.from_arrow(pa.table(columns()))
    table = data.map_batches(
        lambda batch: featurize_batch(batch, "cif", featurizer),
        batch_format="pyarrow",
        batch_size=3,
    )
    found = table.to_pandas().sort_values("n")[featurizer.feature_labels()]
    np.testing.assert_allclose(found, featurizer.transform(STRUCTURES), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("pyspark") is None, reason="PySpark is not installed")
def test_the_recipe_for_spark() -> None:
    from pyspark.sql import SparkSession
    from pyspark.sql.pandas.types import from_arrow_schema, to_arrow_schema

    spark = SparkSession.builder.master("local[1]").getOrCreate()
    featurizer = SiteDescriptorStats()
    frame = spark.createDataFrame(pa.table(columns()).to_pandas())
    empty = to_arrow_schema(frame.schema).empty_table()
    schema = from_arrow_schema(featurize_batch(empty, "cif", featurizer).schema)
    table = frame.mapInArrow(
        lambda batches: (featurize_batch(b, "cif", featurizer) for b in batches), schema
    )
    found = table.toPandas().sort_values("n")[featurizer.feature_labels()]
    np.testing.assert_allclose(found, featurizer.transform(STRUCTURES), rtol=1e-3, atol=1e-4)
