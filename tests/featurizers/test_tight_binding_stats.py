"""TightBindingStats: what its columns are, invariances, odd crystals, and the host contracts."""

from __future__ import annotations

import pickle
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from pymatgen.core import Lattice, Structure
from real_crystals import crystals
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks
from sklearn.utils.validation import check_is_fitted

from matminer_unate import TightBindingStats
from matminer_unate.crystals.lattice import cell_heights
from matminer_unate.crystals.structures import crystal_arrays
from matminer_unate.crystals.symmetry import primitive_cell
from matminer_unate.errors import InputError, StructureError, UnateWarning
from matminer_unate.featurizers.tight_binding_stats import OWN_QUANTITIES
from matminer_unate.physics.band_quantities import CRYSTAL_NAMES, SITE_NAMES, SITE_QUANTITIES
from matminer_unate.physics.tight_binding import n_orbitals
from site_targets.tight_binding import site_targets

CRYSTALS = crystals()
SMALL = ("NaCl", "Si", "SrTiO3", "ZnO wurtzite", "TiO2 rutile", "P2I4 (triclinic)")
EXACT = {"rtol": 2e-6, "atol": 2e-5}
"""Rounding alone: energies in eV, in float32."""


@pytest.fixture
def featurizer() -> TightBindingStats:
    return TightBindingStats()


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    named = {name: CRYSTALS[name] for name in SMALL}
    return pd.DataFrame({"structure": list(named.values()), "y": range(6)}, index=list(named))


def one_atom(element: str, lattice: Any) -> Structure:
    return Structure(Lattice(lattice), [element], [[0.1, 0.2, 0.3]])


def values_of(structure: Structure, **options: Any) -> dict[str, float]:
    featurizer = TightBindingStats(**options)
    return dict(zip(featurizer.feature_labels(), featurizer.featurize(structure), strict=True))


# -- values


def test_columns_are_the_pooled_site_targets_of_the_primitive_cell() -> None:
    found = values_of(CRYSTALS["TiO2 rutile"])
    cell = primitive_cell(*crystal_arrays(CRYSTALS["TiO2 rutile"]))
    targets = dict(zip((*SITE_NAMES, *CRYSTAL_NAMES), site_targets(*cell).T, strict=True))
    for quantity in SITE_QUANTITIES:
        for pooling in ("mean", "std", "min", "max"):
            expected = getattr(targets[quantity.name], pooling)()
            label = f"tight_binding_{quantity.column}_{pooling}"
            assert found[label] == pytest.approx(expected, rel=1e-4, abs=1e-5), label
    for quantity in OWN_QUANTITIES:
        label = f"tight_binding_{quantity.column}"
        assert found[label] == pytest.approx(targets[quantity.name][0], rel=1e-5, abs=1e-5), label


def test_crystal_quantities_left_out_are_means_that_pooling_gives() -> None:
    targets = site_targets(*crystal_arrays(CRYSTALS["SrTiO3"]))
    means = dict(zip(SITE_NAMES, targets[:, : len(SITE_NAMES)].mean(axis=0), strict=True))
    whole = dict(zip(CRYSTAL_NAMES, targets[0, len(SITE_NAMES) :], strict=True))
    left_out = set(CRYSTAL_NAMES) - {quantity.name for quantity in OWN_QUANTITIES}
    assert len(left_out) == 8
    for name in left_out:
        site_name = name.removesuffix(", mean").replace(" per site", "")
        assert whole[name] == pytest.approx(means[site_name], rel=1e-4, abs=1e-5)


def test_rock_salt_is_an_insulator_with_cations_and_anions() -> None:
    salt, metal = values_of(CRYSTALS["NaCl"]), values_of(one_atom("Al", np.eye(3) * 2.5))
    assert salt["tight_binding_gap"] > 4 > 0.1 > metal["tight_binding_gap"]
    assert salt["tight_binding_charge_max"] > 0.05 > -0.05 > salt["tight_binding_charge_min"]
    assert salt["tight_binding_states_at_the_fermi_level_per_site"] == 0
    assert metal["tight_binding_states_at_the_fermi_level_per_site"] > 0.05
    assert metal["tight_binding_charge_std"] == 0


def test_the_sum_is_over_the_primitive_cell() -> None:
    salt = values_of(CRYSTALS["NaCl"], pooling=("mean", "sum"))
    for name in ("s_electrons", "band_energy"):
        mean, total = (salt[f"tight_binding_{name}_{how}"] for how in ("mean", "sum"))
        assert total == pytest.approx(2 * mean, rel=1e-5)


# -- invariances


def rewritten(structure: Structure) -> dict[str, Structure]:
    """The same crystal in other words."""
    rng = np.random.default_rng(0)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    if np.linalg.det(turn) > 0:
        turn[0] *= -1  # a reflection as well
    order = rng.permutation(len(structure))
    species = np.array(structure.species, dtype=object)
    shear = np.array([[1, 2, 0], [0, 1, -1], [1, 2, 1]])
    skewed = structure.copy()
    skewed.make_supercell([[1, 1, 0], [0, 2, 0], [0, 1, 1]])
    return {
        "reflected": Structure(
            Lattice(structure.lattice.matrix @ turn),
            structure.species,
            structure.frac_coords + rng.normal(size=3),
        ),
        "reordered": Structure(
            structure.lattice, species[order].tolist(), structure.frac_coords[order]
        ),
        "primitive": structure.get_primitive_structure(),
        "2 x 2 x 2": structure * (2, 2, 2),
        "skewed and doubled": skewed,
        "unimodular": Structure(
            Lattice(shear @ structure.lattice.matrix),
            structure.species,
            structure.cart_coords,
            coords_are_cartesian=True,
        ),
    }


@pytest.mark.parametrize("name", CRYSTALS)
def test_columns_depend_on_neither_cell_nor_orientation_nor_origin_nor_order(name: str) -> None:
    featurizer = TightBindingStats(pooling=("mean", "std", "min", "max", "sum"))
    others = rewritten(CRYSTALS[name])
    rows = featurizer.transform([CRYSTALS[name], *others.values()])
    for way, row in zip(others, rows[1:], strict=True):
        np.testing.assert_allclose(row, rows[0], err_msg=way, **EXACT)


@pytest.mark.parametrize("name", CRYSTALS)
def test_the_primitive_cell_is_the_same_for_every_way_to_write_a_crystal(name: str) -> None:
    def metric(structure: Structure) -> tuple[NDArray, list[int]]:
        lattice, frac_coords, z = primitive_cell(*crystal_arrays(structure))
        assert ((frac_coords >= 0) & (frac_coords <= 1)).all()
        return lattice @ lattice.T, sorted(z.tolist())

    expected, species = metric(CRYSTALS[name])
    assert len(species) == len(CRYSTALS[name].get_primitive_structure())
    for way, other in rewritten(CRYSTALS[name]).items():
        found, others = metric(other)
        np.testing.assert_allclose(found, expected, atol=1e-6, err_msg=way)
        assert others == species


def test_nothing_is_moved_on_the_way_to_the_primitive_cell() -> None:
    structure = CRYSTALS["SiO2 quartz"] * (2, 1, 1)
    lattice, frac_coords, z = primitive_cell(*crystal_arrays(structure))
    found = Structure(Lattice(lattice), z, frac_coords)
    for site in found:
        (near, *_) = sorted(structure.get_sites_in_sphere(site.coords, 0.1), key=lambda n: n[1])
        assert near.nn_distance < 1e-6
        assert near.specie == site.specie


def test_copies_a_little_off_still_count_and_those_far_off_do_not() -> None:
    double = CRYSTALS["SrTiO3"] * (2, 1, 1)
    for shift, n_sites in ((2e-4, 5), (5e-2, 10)):
        moved = double.copy().translate_sites([0], [shift, 0, 0], frac_coords=False)
        assert len(primitive_cell(*crystal_arrays(moved))[2]) == n_sites


def test_alone_and_among_others_agree(frame: pd.DataFrame, featurizer: TightBindingStats) -> None:
    structures = list(frame["structure"]) * 2
    together = featurizer.transform(structures)
    alone = np.array([featurizer.featurize(s) for s in frame["structure"]])
    np.testing.assert_array_equal(together, np.concatenate([alone, alone]))


# -- odd crystals


@pytest.mark.parametrize(
    ("element", "lattice"),
    [
        ("Fe", [[2.5, 0, 0], [2500, 2.5, 0], [0, 35_000, 2.5]]),  # sheared
        ("C", np.diag([1.4, 1.4, 90])),  # flat
        ("H", np.eye(3) * 0.9),  # very dense
        ("Na", np.eye(3) * 15),  # very sparse
        ("Ne", np.eye(3) * 3.2),
        ("Ra", np.eye(3) * 5),
        ("Pu", np.eye(3) * 3),
    ],
)
def test_odd_crystals_have_finite_columns(element: str, lattice: Any) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnateWarning)
        values = TightBindingStats().featurize(one_atom(element, lattice))
    assert np.isfinite(values).all()
    assert np.abs(values).max() < 1e4


def test_a_sheared_cell_is_that_of_the_same_crystal(featurizer: TightBindingStats) -> None:
    cells = [np.eye(3) * 2.5, [[2.5, 0, 0], [2500, 2.5, 0], [0, 35_000, 2.5]]]
    plain, sheared = featurizer.transform([one_atom("Fe", cell) for cell in cells])
    np.testing.assert_allclose(sheared, plain, **EXACT)


def test_superheavy_and_lone_atoms_warn_once(featurizer: TightBindingStats) -> None:
    rows = [one_atom(e, np.eye(3) * a) for e, a in (("Cf", 3.3), ("Og", 4), ("Cm", 3.3), ("K", 9))]
    with pytest.warns(UnateWarning) as caught:
        assert np.isfinite(featurizer.transform(rows)).all()
    texts = [str(w.message) for w in caught if w.category is UnateWarning]
    assert texts == [
        "2 row(s) hold elements whose covalent radius is not tabulated (Cf, Og); the mean over the "
        "elements is used for them, and from Rf on the atom one row above; the first is row 0",
        "1 row(s) hold atoms with no neighbour within 5.0 Å; these stay free atoms; the "
        "first is row 3",
    ]


def test_hundreds_of_sites_without_symmetry_take_seconds() -> None:
    cell = CRYSTALS["SrTiO3"] * (5, 4, 2)
    cell.perturb(0.05)
    started = time.process_time()
    values = TightBindingStats(pooling="mean").featurize(cell)
    assert time.process_time() - started < 10  # measured at 0.6 s
    assert np.isfinite(values).all()


def test_too_large_a_cell_is_told_with_the_cure_before_it_is_computed() -> None:
    cell = CRYSTALS["SrTiO3"] * (6, 6, 6)
    cell.perturb(0.05)
    started = time.process_time()
    with pytest.raises(StructureError, match=r"1080 sites with 6480 orbitals.*max_orbitals=6000"):
        TightBindingStats(max_orbitals=6000).featurize(cell)
    assert time.process_time() - started < 30
    assert TightBindingStats().precheck(cell)
    small = TightBindingStats(max_orbitals=29)
    assert not small.precheck(CRYSTALS["SrTiO3"])
    assert TightBindingStats(max_orbitals=30).precheck(CRYSTALS["SrTiO3"] * (3, 3, 3))


def test_orbitals_are_counted_by_element() -> None:
    assert n_orbitals(np.array([1, 2, 6, 22, 30, 31, 38])) == 1 + 1 + 4 + 9 + 9 + 4 + 9


def test_sites_in_one_place_are_named_as_they_were_given() -> None:
    structure = CRYSTALS["NaCl"].copy()
    structure.append("Cl", [0.51, 0, 0])
    with pytest.raises(StructureError, match=r"row 0: sites 7 and 8 are 0.0564 Å apart"):
        TightBindingStats().transform([structure])


# -- names


def test_labels_are_fresh_distinct_and_told_in_the_docstring(featurizer: TightBindingStats) -> None:
    labels = featurizer.feature_labels()
    assert len(set(labels)) == len(labels) == 4 * 28 + 14
    assert all(label.isascii() and " " not in label for label in labels)
    assert labels[0] == "tight_binding_charge_mean"
    assert labels[-14] == "tight_binding_gap"
    text = " ".join((TightBindingStats.__doc__ or "").split())
    for label in [*labels[:28], *labels[-14:]]:
        name = label.removeprefix("tight_binding_").removesuffix("_mean")
        stem = name[2:] if name[1] == "_" else name
        documented = stem.split("_of_0")[0].split("_of_1")[0]
        if name.startswith("states_at") and not name.endswith("per_site"):
            documented = "states_at_<minus_><c>_ev"
        assert documented in text, name
    labels.append("x")
    assert "x" not in featurizer.feature_labels()
    assert all(t.lstrip().startswith("@article{") for t in featurizer.citations())


# -- matminer


def test_featurize_dataframe_keeps_rows_columns_and_index(
    featurizer: TightBindingStats, frame: pd.DataFrame
) -> None:
    out = featurizer.featurize_dataframe(frame, "structure", pbar=False)
    assert out.index.equals(frame.index)
    assert list(out.columns) == ["structure", "y", *featurizer.feature_labels()]
    assert set(out.dtypes.iloc[2:]) == {np.dtype("float32")}
    with pytest.raises(InputError, match=r'"tight_binding_charge_mean" exists'):
        featurizer.featurize_dataframe(out, "structure", pbar=False)


def test_a_disordered_structure_stops_with_its_row_and_the_cure(
    featurizer: TightBindingStats, frame: pd.DataFrame
) -> None:
    bad = frame.copy()
    bad.iat[2, 0] = Structure(Lattice.cubic(4), [{"Na": 0.5, "K": 0.5}], [[0, 0, 0]])
    with pytest.raises(
        StructureError, match=r"row 2 \(index 'SrTiO3'\): site 0 is disordered"
    ) as e:
        featurizer.featurize_dataframe(bad, "structure", pbar=False)
    assert "on_error='nan'" in str(e.value)
    out = featurizer.featurize_dataframe(
        bad, "structure", ignore_errors=True, return_errors=True, pbar=False
    )
    errors = out.pop("TightBindingStats Exceptions")
    assert "disordered" in errors["SrTiO3"]
    assert errors.drop("SrTiO3").isna().all()
    assert featurizer.precheck_dataframe(bad, "structure") == pytest.approx(5 / 6)
    with pytest.warns(UnateWarning, match=r"1 of 6 rows could not be") as caught:
        values = TightBindingStats(on_error="nan").transform(bad["structure"])
    assert [w.category for w in caught].count(UnateWarning) == 1
    np.testing.assert_array_equal(values, out.iloc[:, 2:])
    assert np.isnan(values).all(axis=1).tolist() == [k == 2 for k in range(6)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": "median"}, "mean, std, min, max, sum"),
        ({"max_orbitals": 0}, "at least 1; got 0"),
        ({"max_orbitals": True}, "at least 1; got True"),
        ({"max_orbitals": 1e3}, "number of orbitals"),
        ({"on_error": "ignore"}, "'raise' or 'nan'"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    featurizer = TightBindingStats(**options)
    for use in (featurizer.fit, featurizer.feature_labels, lambda: featurizer.transform([])):
        with pytest.raises(InputError, match=message):
            use()


# -- scikit-learn


def test_pipelines_set_output_clone_and_pickle_work(frame: pd.DataFrame) -> None:
    options = {
        "pooling": ("max",),
        "max_orbitals": 500,
        "on_error": "nan",
        "disorder": "ordered",
    }
    featurizer = TightBindingStats(**options)
    assert clone(featurizer).get_params() == options
    expected = featurizer.transform(frame["structure"])
    for other in (clone(featurizer), pickle.loads(pickle.dumps(featurizer))):
        np.testing.assert_array_equal(other.transform(frame["structure"]), expected)
    out = clone(featurizer).set_output(transform="pandas").transform(frame["structure"])
    assert out.index.equals(frame.index)
    assert list(out.columns) == featurizer.feature_labels()
    pipeline = make_pipeline(featurizer, Ridge()).fit(frame["structure"], frame["y"])
    assert np.isfinite(pipeline.predict(frame["structure"])).all()
    check_is_fitted(featurizer)


@pytest.mark.parametrize(
    "check",
    [
        estimator_checks.check_estimator_cloneable,
        estimator_checks.check_estimator_tags_renamed,
        estimator_checks.check_valid_tag_types,
        estimator_checks.check_estimator_repr,
        estimator_checks.check_no_attributes_set_in_init,
        estimator_checks.check_parameters_default_constructible,
        estimator_checks.check_get_params_invariance,
        estimator_checks.check_set_params,
    ],
)
def test_scikit_learns_own_checks_pass(check: Any, featurizer: TightBindingStats) -> None:
    check("TightBindingStats", featurizer)


# -- cost


def test_no_torch_is_imported() -> None:
    code = (
        "import sys; from pymatgen.core import Lattice, Structure;"
        "from matminer_unate import TightBindingStats;"
        "TightBindingStats().featurize(Structure(Lattice.cubic(3), ['Po'], [[0, 0, 0]]));"
        "print([m for m in ('torch', 'torch_geometric', 'lightgbm') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_other_libraries_keep_their_threads(featurizer: TightBindingStats) -> None:
    from threadpoolctl import threadpool_info

    before = {p["filepath"]: p["num_threads"] for p in threadpool_info()}
    featurizer.featurize(CRYSTALS["Si"])
    after = {p["filepath"]: p["num_threads"] for p in threadpool_info()}
    assert {path: after[path] for path in before} == before


def test_cells_are_reduced_to_the_shortest_vectors() -> None:
    lattice, _, _ = primitive_cell(
        *crystal_arrays(one_atom("Po", [[3, 0, 0], [9, 3, 0], [6, 6, 3]]))
    )
    np.testing.assert_allclose(cell_heights(lattice)[0], (3, 3, 3))
