"""SiteDescriptorStats: values worked out by hand, invariances, and the host contracts."""

from __future__ import annotations

import math
import pickle
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matminer.featurizers.base import MultipleFeaturizer
from matminer.featurizers.structure import DensityFeatures
from pymatgen.core import Lattice, Structure
from real_crystals import crystals
from scipy.special import erfc
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils import estimator_checks
from sklearn.utils.validation import check_is_fitted

from matminer_unate import SiteDescriptorStats, UnateFeaturizer
from matminer_unate.errors import InputError, StructureError, UnateWarning
from matminer_unate.physics.site_descriptors import DESCRIPTORS

POOLING = ("mean", "std", "min", "max")


@pytest.fixture
def featurizer() -> SiteDescriptorStats:
    return SiteDescriptorStats()


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    named = crystals()
    return pd.DataFrame(
        {"structure": list(named.values()), "y": np.arange(len(named), dtype=float)},
        index=list(named),
    )


def values_of(structure: Structure, **options: Any) -> dict[str, float]:
    featurizer = SiteDescriptorStats(**options)
    labels = featurizer.feature_labels()
    return dict(zip(labels, featurizer.featurize(structure), strict=True))


# -- values


class RockSalt:
    """NaCl with a = 5.64 Å, worked out from Magpie's table and the formulas alone.

    Within 4.5 Å an ion has 6 of the other kind at a/2 and 12 of its own at a/√2.
    """

    def __init__(self) -> None:
        self.edge, self.cutoff = 5.64, 4.5
        self.chi = {"Na": 0.93, "Cl": 3.16}
        self.radius = {"Na": 1.66, "Cl": 1.02}  # Å
        self.valence = {"Na": 1, "Cl": 7}
        self.state = {"Na": 1, "Cl": -1}
        self.other = {"Na": "Cl", "Cl": "Na"}

    def envelope(self, d: float) -> float:
        return (math.cos(math.pi * d / self.cutoff) + 1) / 2

    def weight(self, a: str, b: str, d: float) -> float:
        bond = math.exp((self.radius[a] + self.radius[b] - d) / 0.37)
        return min(bond, 3) * self.envelope(d)

    def potential(self, d: float) -> float:
        return math.erfc(0.35 * d) / d - math.erfc(0.35 * self.cutoff) / self.cutoff

    def site(self, ion: str) -> dict[str, float]:
        """All 26 physics descriptors of one ion."""
        near, far = self.edge / 2, self.edge / math.sqrt(2)
        o = self.other[ion]
        radii, like_radii = self.radius[ion] + self.radius[o], 2 * self.radius[ion]
        bond, like = self.weight(ion, o, near), self.weight(ion, ion, far)
        total = 6 * bond + 12 * like
        opposite = 6 * bond / total  # share of the bond weight that goes to the other kind
        delta = self.chi[o] - self.chi[ion]
        charge = 6 * bond * math.tanh(delta)  # the other ion's is the opposite
        felt = 12 * self.potential(far) - 6 * self.potential(near)  # of the ion's own charge
        bonded = sum(n * min(max(10 * w - 2, 0), 1) for n, w in ((6, bond), (12, like)))
        assert bond > 0.06  # its electronegativity counts fully
        assert not 0.04 < like < 0.06  # fully or not at all
        seen = [delta] + ([0.0] if like > 0.05 else [])

        def mean(other: float, own: float) -> float:
            return opposite * other + (1 - opposite) * own

        return {
            "log_bond_weight": math.log(total),
            "log_bonded_neighbours": math.log(1 + bonded),
            "mean_electronegativity_difference": opposite * delta,
            "mean_absolute_electronegativity_difference": opposite * abs(delta),
            "max_electronegativity_difference": max(seen),
            "min_electronegativity_difference": min(seen),
            "std_electronegativity_difference": abs(delta) * math.sqrt(opposite * (1 - opposite)),
            "pauling_ionicity": opposite * (1 - math.exp(-(delta**2) / 4)),
            "shortest_bond_over_radius_sum": min(near / radii, far / like_radii),
            "shortest_bond": near,
            "mean_bond_over_radius_sum": mean(near / radii, far / like_radii),
            "electronegativity_charge": charge,
            "potential_of_electronegativity_charges": charge * felt,
            "mean_neighbour_electronegativity_charge": mean(-charge, charge),
            "guessed_oxidation_state": self.state[ion],
            "potential_of_guessed_oxidation_states": self.state[ion] * felt,
            "mean_neighbour_oxidation_state": self.state[ion] * mean(-1, 1),
            "share_of_like_neighbours": 1 - opposite,
            "share_of_anion_neighbours": opposite if ion == "Na" else 1 - opposite,
            "share_of_cation_neighbours": opposite if ion == "Cl" else 1 - opposite,
            "mean_neighbour_valence_electrons": mean(self.valence[o], self.valence[ion]),
            "mean_neighbour_row": 3,
            "bond_weight_minus_oxidation_state": total - 1,
            "charge_imbalance_of_the_guess": 0,
            "valence_electrons_per_volume": 32 / self.edge**3,
            "log_volume_per_atom": math.log(self.edge**3 / 8),
        }


def test_rock_salt_has_the_26_values_worked_out_by_hand() -> None:
    found = values_of(crystals()["NaCl"])
    sodium, chlorine = (RockSalt().site(ion) for ion in ("Na", "Cl"))
    assert [f"site_{name}_mean" for name in sodium] == list(found)[:26]
    for name, a in sodium.items():
        b = chlorine[name]
        expected = [(a + b) / 2, abs(a - b) / 2, min(a, b), max(a, b)]
        got = [found[f"site_{name}_{how}"] for how in POOLING]
        np.testing.assert_allclose(got, expected, rtol=2e-5, atol=2e-6, err_msg=name)


def test_rock_salt_has_the_fingerprint_worked_out_by_hand() -> None:
    found = values_of(crystals()["NaCl"], descriptors="fingerprint", pooling="mean")
    salt = RockSalt()
    shells = [(6, salt.edge / 2), (12, salt.edge / math.sqrt(2))]
    near, far = (n * salt.envelope(d) * math.exp(-(((d - 2.6) / 0.4) ** 2)) for n, d in shells)
    for weight, of in (
        ("count", {"Na": 1, "Cl": 1}),
        ("electronegativity", salt.chi),
        ("radius", salt.radius),
        ("valence", {"Na": 0.1, "Cl": 0.7}),
    ):
        both = (of["Na"] + of["Cl"]) / 2  # the mean over the two ions
        assert found[f"site_radial_{weight}_2.6A_mean"] == pytest.approx(
            both * (near + far), rel=1e-4
        )
    width = (4.0 - 1.8) / 3
    count = sum(n * salt.envelope(d) * math.exp(-(((d - 1.8) / width) ** 2)) for n, d in shells)
    assert found["site_shell_count_1.8A_mean"] == pytest.approx(count, rel=1e-4)
    # Both shells are cubic: nothing is lopsided or stretched.
    for name, value in found.items():
        if "asymmetry" in name or "anisotropy" in name:
            assert value == pytest.approx(0, abs=1e-5), name


def test_descriptors_of_a_low_symmetry_crystal_agree_with_plain_loops() -> None:
    from matminer_unate.physics.elements import magpie_property

    structure = crystals()["P2I4 (triclinic)"]
    radius, chi = magpie_property("CovalentRadius") / 100, magpie_property("Electronegativity")
    cutoff = 4.5
    charges, stretch = [], []
    neighbours = structure.get_all_neighbors(cutoff)
    for site, around in zip(structure, neighbours, strict=True):
        charge, moment = 0.0, np.zeros((3, 3))
        for n in around:
            d, fade = n.nn_distance, (math.cos(math.pi * n.nn_distance / cutoff) + 1) / 2
            a, b = site.specie.Z, n.specie.Z
            weight = min(math.exp((radius[a] + radius[b] - d) / 0.37), 3) * fade
            charge += weight * math.tanh(chi[b] - chi[a])
            unit = (n.coords - site.coords) / d
            shell = fade * math.exp(-(((d - 4.0) / (2.2 / 3)) ** 2))
            moment += shell * (np.outer(unit, unit) - np.eye(3) / 3)
        charges.append(charge)
        stretch.append(np.linalg.norm(moment))
    shift = erfc(0.35 * cutoff) / cutoff
    potentials = [
        sum(charges[n.index] * (erfc(0.35 * (d := n.nn_distance)) / d - shift) for n in around)
        for around in neighbours
    ]
    found = values_of(structure, descriptors="all")
    for name, sites in (
        ("electronegativity_charge", charges),
        ("potential_of_electronegativity_charges", potentials),
        ("shell_anisotropy_4.0A", stretch),
    ):
        expected = [f(sites) for f in (np.mean, np.std, np.min, np.max)]
        got = [found[f"site_{name}_{how}"] for how in POOLING]
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5, err_msg=name)


# -- invariances


@pytest.mark.parametrize("name", crystals())
def test_columns_depend_on_neither_cell_nor_orientation_nor_origin_nor_order(name: str) -> None:
    structure = crystals()[name]
    rng = np.random.default_rng(0)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    if np.linalg.det(turn) > 0:
        turn[0] *= -1  # a reflection as well
    frac_coords = structure.frac_coords + rng.normal(size=3)
    order = rng.permutation(len(structure))
    species = np.array(structure.species, dtype=object)
    skewed = structure.copy()
    skewed.make_supercell([[1, 1, 0], [0, 1, 0], [0, 1, 1]])
    variants = [
        Structure(Lattice(structure.lattice.matrix @ turn), structure.species, frac_coords),
        Structure(structure.lattice, species[order].tolist(), structure.frac_coords[order]),
        structure.get_primitive_structure(),
        structure * (2, 1, 2),
        skewed,
    ]
    rows = SiteDescriptorStats(descriptors="all").transform([structure, *variants])
    np.testing.assert_allclose(rows[1:], np.tile(rows[0], (5, 1)), rtol=1e-3, atol=1e-3)


def test_alone_and_among_others_agree(frame: pd.DataFrame) -> None:
    featurizer = SiteDescriptorStats(descriptors="all", pooling=(*POOLING, "sum"))
    structures = list(frame["structure"]) * 2
    together = featurizer.transform(structures)
    alone = np.array([featurizer.featurize(s) for s in structures])
    np.testing.assert_allclose(alone, together, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        np.split(together, 5, axis=1)[4],
        np.split(together, 5, axis=1)[0] * [[len(s)] for s in structures],
        rtol=1e-4,
        atol=1e-4,
    )


def test_equal_graphs_of_isolated_atoms_in_cells_of_unlike_volume_are_told_apart() -> None:
    rows = [Structure(Lattice.cubic(a), ["Cs"], [[0, 0, 0]]) for a in (6.0, 8.0)]
    with pytest.warns(UnateWarning, match=r"2 row\(s\) hold atoms with no neighbour within 3.82 Å"):
        values = SiteDescriptorStats(pooling="mean").transform(rows)
    labels = SiteDescriptorStats(pooling="mean").feature_labels()
    volumes = values[:, labels.index("site_log_volume_per_atom_mean")]
    np.testing.assert_allclose(volumes, [math.log(216), math.log(512)], rtol=1e-6)


# -- names


def test_labels_are_fresh_distinct_and_told_in_the_docstring() -> None:
    text = SiteDescriptorStats.__doc__ or ""
    for group, descriptors in DESCRIPTORS.items():
        labels = SiteDescriptorStats(descriptors=group).feature_labels()
        assert len(set(labels)) == len(labels) == 4 * len(descriptors)
        assert all(label.isascii() and " " not in label for label in labels)
    for descriptor in DESCRIPTORS["all"]:
        stem, _, last = descriptor.column.rpartition("_")
        documented = f"{stem}_<c>A" if last[0].isdigit() else descriptor.column
        assert f"\n    {documented} " in text, descriptor
        assert " ".join(descriptor.formula.split()[:3]) in text, descriptor
    featurizer = SiteDescriptorStats()
    labels = featurizer.feature_labels()
    assert labels[9] == "site_shortest_bond_mean"
    assert labels[25] == "site_log_volume_per_atom_mean"
    assert labels[-1].endswith("_max")
    labels.append("x")
    assert "x" not in featurizer.feature_labels()
    assert all(t.lstrip().startswith("@article{") for t in featurizer.citations())
    assert all(isinstance(t, str) for t in featurizer.implementors())


# -- matminer


def test_featurize_dataframe_keeps_rows_columns_and_index(
    featurizer: SiteDescriptorStats, frame: pd.DataFrame
) -> None:
    out = featurizer.featurize_dataframe(frame, "structure", pbar=False)
    assert out.index.equals(frame.index)
    assert list(out.columns) == ["structure", "y", *featurizer.feature_labels()]
    assert set(out.dtypes.iloc[2:]) == {np.dtype("float32")}
    copy = frame.copy()
    assert featurizer.featurize_dataframe(copy, "structure", inplace=True, pbar=False) is None
    pd.testing.assert_frame_equal(copy, out)
    with pytest.raises(InputError, match=r'"site_log_bond_weight_mean" exists in input dataframe'):
        featurizer.featurize_dataframe(copy, "structure", pbar=False)
    two = featurizer.featurize_dataframe(frame, "structure", multiindex=True, pbar=False)
    assert set(two.columns.get_level_values(0)) == {"Input Data", "SiteDescriptorStats"}


def test_learned_and_physical_columns_stand_side_by_side(
    featurizer: SiteDescriptorStats, frame: pd.DataFrame, tiny_weights: Path
) -> None:
    learned = UnateFeaturizer(tiny_weights, device="cpu")
    both = MultipleFeaturizer([DensityFeatures(), featurizer, learned], iterate_over_entries=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python's own on fork with threads
        out = both.featurize_dataframe(frame, "structure", pbar=False)
    for each in (featurizer, learned):
        np.testing.assert_allclose(
            out[each.feature_labels()], each.transform(frame["structure"]), atol=1e-5
        )


def disordered() -> Structure:
    return Structure(Lattice.cubic(4), [{"Na": 0.5, "K": 0.5}], [[0, 0, 0]])


def test_a_disordered_structure_stops_with_its_row_and_the_cure(
    featurizer: SiteDescriptorStats, frame: pd.DataFrame
) -> None:
    bad = frame.copy()
    bad.iat[2, 0] = disordered()
    with pytest.raises(
        StructureError, match=r"row 2 \(index 'SrTiO3'\): site 0 is disordered"
    ) as e:
        featurizer.featurize_dataframe(bad, "structure", pbar=False)
    assert "on_error='nan'" in str(e.value)
    out = featurizer.featurize_dataframe(
        bad, "structure", ignore_errors=True, return_errors=True, pbar=False
    )
    errors = out.pop("SiteDescriptorStats Exceptions")
    assert "disordered" in errors["SrTiO3"]
    assert errors.drop("SrTiO3").isna().all()
    expected = featurizer.transform(frame["structure"])
    expected[2] = np.nan
    np.testing.assert_array_equal(out.iloc[:, 2:], expected)
    assert featurizer.precheck_dataframe(bad, "structure") == pytest.approx(1 - 1 / len(bad))


def test_on_error_nan_gives_nan_rows_and_one_warning() -> None:
    rows = [disordered(), crystals()["Si"], None, disordered()]
    with pytest.warns(UnateWarning, match=r"3 of 4 rows could not be.*row 0: site 0") as caught:
        values = SiteDescriptorStats(on_error="nan").transform(rows)
    assert len(caught) == 1
    assert np.isnan(values).all(axis=1).tolist() == [True, False, True, True]


def test_objects_that_fail_when_read_are_bad_rows(featurizer: SiteDescriptorStats) -> None:
    broken = Structure.__new__(Structure)
    with pytest.raises(StructureError, match="row 0: the structure could not be read"):
        featurizer.transform([broken])
    assert not featurizer.precheck(broken)


def test_elements_without_tabulated_properties_warn_once(featurizer: SiteDescriptorStats) -> None:
    rows = [Structure(Lattice.cubic(3), [e], [[0, 0, 0]]) for e in ("He", "Ne", "Kr")]
    with pytest.warns(UnateWarning, match=r"2 row\(s\) hold elements.*\(He, Ne\).*mean") as caught:
        assert np.isfinite(featurizer.transform(rows)).all()
    assert len(caught) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": "median"}, "mean, std, min, max, sum"),
        ({"descriptors": "chemistry"}, "physics, fingerprint, all; got 'chemistry'"),
        ({"descriptors": ["physics"]}, "descriptors must be one of"),
        ({"cutoff": 0}, "from 2 to 12 Å; got 0"),
        ({"cutoff": math.nan}, "from 2 to 12 Å; got nan"),
        ({"cutoff": "4.5"}, "from 2 to 12 Å"),
        ({"on_error": "ignore"}, "'raise' or 'nan'"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    featurizer = SiteDescriptorStats(**options)
    for use in (featurizer.fit, featurizer.feature_labels, lambda: featurizer.transform([])):
        with pytest.raises(InputError, match=message):
            use()


# -- scikit-learn


def test_pipelines_grid_search_and_column_transformer_work(frame: pd.DataFrame) -> None:
    pipeline = Pipeline([("site", SiteDescriptorStats()), ("ridge", Ridge())])
    grid = {"site__descriptors": ["physics", "all"], "site__pooling": ["mean", POOLING]}
    search = GridSearchCV(pipeline, grid, cv=3, error_score="raise")
    search.fit(frame["structure"], frame["y"])
    assert np.isfinite(search.predict(frame["structure"])).all()
    columns = ColumnTransformer([("s", SiteDescriptorStats(), "structure")])
    out = columns.set_output(transform="pandas").fit_transform(frame)
    assert out.columns[0] == "s__site_log_bond_weight_mean"
    assert out.index.equals(frame.index)


def test_set_output_clone_and_pickle_keep_everything(frame: pd.DataFrame) -> None:
    options = {
        "pooling": ("max",),
        "descriptors": "all",
        "cutoff": 5.0,
        "on_error": "nan",
        "disorder": "ordered",
    }
    featurizer = SiteDescriptorStats(**options)
    assert clone(featurizer).get_params() == options
    expected = featurizer.transform(frame["structure"])
    for other in (clone(featurizer), pickle.loads(pickle.dumps(featurizer))):
        np.testing.assert_array_equal(other.transform(frame["structure"]), expected)
    out = clone(featurizer).set_output(transform="pandas").transform(frame["structure"])
    assert out.index.equals(frame.index)
    assert list(out.columns) == featurizer.feature_labels()


def test_no_fit_is_needed(featurizer: SiteDescriptorStats) -> None:
    check_is_fitted(featurizer)
    assert featurizer.fit() is featurizer
    featurizer.set_n_jobs(8)
    assert featurizer.n_jobs == 1


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
def test_scikit_learns_own_checks_pass(check: Any, featurizer: SiteDescriptorStats) -> None:
    check("SiteDescriptorStats", featurizer)


# -- cost


def test_no_torch_is_imported() -> None:
    code = (
        "import sys; from pymatgen.core import Lattice, Structure;"
        "from matminer_unate import SiteDescriptorStats;"
        "SiteDescriptorStats().featurize(Structure(Lattice.cubic(3), ['Po'], [[0, 0, 0]]));"
        "print([m for m in ('torch', 'torch_geometric', 'lightgbm') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_thousands_of_structures_a_second_become_columns() -> None:
    # Measured at about 6,000 a second and core; the bound leaves room for a busy machine. Strains
    # make every crystal a new one, since equal ones are computed once.
    named, structures = crystals(), []
    for k in range(200):
        for name in ("SrTiO3", "ZnO wurtzite", "TiO2 rutile"):
            structures.append(named[name].copy())
            structures[-1].apply_strain(1e-4 * k)
    featurizer = SiteDescriptorStats()
    featurizer.transform(structures[:10])
    started = time.process_time()
    featurizer.transform(structures)
    assert len(structures) / (time.process_time() - started) > 1_200
