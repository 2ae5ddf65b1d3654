"""Hostile inputs: never a crash without a clear error, never a wrong row, never a hang.

Two kinds of tests: random batches of good crystals and bad rows (hypothesis), and a table of the
known bad inputs, each with what must be said about it.
"""

from __future__ import annotations

import decimal
import math
import multiprocessing
import os
import resource
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pymatgen.core import (
    Composition,
    DummySpecies,
    Element,
    IMolecule,
    IStructure,
    Lattice,
    Molecule,
    Species,
    Structure,
)
from real_crystals import crystals

from matminer_unate import UnateFeaturizer
from matminer_unate.crystals.graph import radius_graph
from matminer_unate.crystals.neighbours import _sparse_neighbours, pairs_within
from matminer_unate.errors import InputError, StructureError, UnateWarning

SECONDS = 5.0
"""Limit of one example. It takes milliseconds; a slow machine is no hang."""

CUTOFF = 4.5

GOOD = {name: crystals()[name] for name in ("NaCl", "Si", "SrTiO3", "ZnO wurtzite")}

CUBE = Lattice.cubic(4.0)


@pytest.fixture(scope="module")
def featurizer(tiny_weights: Path) -> UnateFeaturizer:
    return UnateFeaturizer(tiny_weights, device="cpu")


@pytest.fixture(scope="module")
def alone(featurizer: UnateFeaturizer) -> dict[str, NDArray]:
    """Every good crystal's row, computed by itself."""
    return {name: np.array(featurizer.featurize(s)) for name, s in GOOD.items()}


def one(species: Any = "Na", lattice: Lattice = CUBE, **options: Any) -> Structure:
    return Structure(lattice, [species], [[0, 0, 0]], **options)


def unchecked(lattice: Any, species: list[Any], coords: Any) -> Structure:
    """A structure as a careless program makes it: pymatgen's warnings are not heeded."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Structure(lattice() if callable(lattice) else lattice, species, coords)


def parts(a: float, b: float, c: float, *angles: float) -> Callable[[], Lattice]:
    return lambda: Lattice.from_parameters(a, b, c, *angles)


# -- random batches ------------------------------------------------------------------------------

lengths = st.floats(-6, 6).map(lambda x: 10**x)
angles = st.sampled_from([0.001, 0.01, 1.0, 20.0, 60.0, 90.0, 90.0, 120.0, 150.0, 179.0, 179.9])
entries = st.one_of(
    st.floats(-10, 10), st.sampled_from([0.0, math.nan, math.inf, 1e-6, 1e5, 1e300, -1e-300])
)


@st.composite
def sheared_lattices(draw: st.DrawFn) -> Lattice:
    """Another cell of a decent lattice, with vectors up to a million times too long."""
    matrix = np.diag(draw(st.tuples(*[st.floats(0.6, 9.0)] * 3)))
    for _ in range(draw(st.integers(1, 4))):
        i, j = draw(st.permutations(range(3)))[:2]
        matrix[i] += draw(st.integers(-1000, 1000)) * matrix[j]
    return Lattice(matrix)


def turned(*lengths: float) -> Lattice:
    frame = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    return Lattice(np.diag(lengths) @ frame)


def lattice_of(parameters: tuple[float, ...]) -> Lattice:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # angles that no cell can have
        return Lattice.from_parameters(*parameters)


sound_lattices = st.one_of(
    st.tuples(*[st.floats(2.0, 8.0)] * 3, *[st.floats(60, 115)] * 3).map(lattice_of),
    sheared_lattices(),
)
lattices = st.one_of(
    st.tuples(lengths, lengths, lengths, angles, angles, angles).map(lattice_of),
    st.lists(entries, min_size=9, max_size=9).map(lambda m: Lattice(np.reshape(m, (3, 3)))),
    st.tuples(*[st.floats(0, 5).map(lambda x: 10**x)] * 3).map(lambda abc: turned(*abc)),
)

sound_species = st.sampled_from(
    ["H", "D", "O", "Si", "Fe", "Bi", "Po", "Og", Species("Fe", 3, spin=5), Species("Mn", 2.5)]
)  # polonium and oganesson are unknown to the weights
species = st.sampled_from(
    [
        DummySpecies("X"),
        DummySpecies("Qa", 1),
        {"Na": 0.5, "K": 0.5},
        {"Na": 0.7},
        {"Na": 0.999999},
    ]
)

sound_coordinates = st.integers(0, 19).map(lambda n: n / 20 + 0.013)
coordinates = st.one_of(
    st.floats(-3, 3),
    st.sampled_from([0.0, 0.0, 0.5, 1e-9, 1.0, 9e4, 1e6, 1e300, math.nan, math.inf]),
)


@st.composite
def structures(draw: st.DrawFn) -> Structure:
    """A structure with one thing wrong, or everything, or perhaps nothing."""
    wrong = draw(st.sampled_from(["lattice", "species", "coordinates", "crowd", "all", "none"]))
    lattice = draw(lattices if wrong in ("lattice", "all") else sound_lattices)
    kind = species if wrong in ("species", "all") else sound_species
    place = coordinates if wrong in ("coordinates", "all") else sound_coordinates
    sites = draw(st.lists(st.tuples(kind, place, place, place), min_size=1, max_size=5))
    if wrong in ("crowd", "all"):  # the same species many times, in a small corner or all over
        spread = draw(st.sampled_from([1.0, 0.05, 1e-4]))
        random = np.random.default_rng(draw(st.integers(0, 9)))
        sites += [(sites[0][0], *xyz) for xyz in random.random((300, 3)) * spread]
        roomy = draw(st.sampled_from([None, Lattice.cubic(20), Lattice.hexagonal(60, 9)]))
        lattice = lattice if roomy is None else roomy
    return unchecked(lattice, [s[0] for s in sites], [s[1:] for s in sites])


class Thorny(Structure):
    """A structure whose parts cannot be read."""

    @property
    def lattice(self) -> Lattice:
        raise RuntimeError("no lattice today")


def thorny() -> Thorny:
    made = Thorny.__new__(Thorny)
    made.__dict__.update(GOOD["NaCl"].__dict__)
    return made


scalars = st.one_of(
    st.none(),
    st.floats(),
    st.integers(),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.booleans(),
    st.sampled_from([pd.NA, pd.NaT, np.float32("nan"), decimal.Decimal("nan"), np.datetime64()]),
)
objects = st.sampled_from(
    [
        Composition("NaCl"),
        CUBE,
        Element("Na"),
        Structure,
        Molecule(["H"], [[0, 0, 0]]),
        GOOD["NaCl"][0],
        GOOD["NaCl"].as_dict(),
        list(GOOD["NaCl"]),
        [[GOOD["NaCl"]]],
        (GOOD["NaCl"], GOOD["Si"]),
        np.zeros((2, 3)),
        pd.Series([1]),
        pd.DataFrame({"a": [1]}),
        Structure(CUBE, [], []),
        Structure.__new__(Structure),
        thorny(),
        len,
    ]
)
garbage = st.one_of(
    scalars,
    objects,
    st.lists(scalars, max_size=3).filter(lambda x: len(x) != 1),
    st.dictionaries(st.text(max_size=2), scalars, max_size=2),
)


@st.composite
def hostile_inputs(draw: st.DrawFn) -> Any:
    return draw(garbage if draw(st.integers(0, 4)) == 0 else structures())


hostile = hostile_inputs()

RANDOM = settings(
    deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


def only_unate_warnings(caught: list[warnings.WarningMessage]) -> bool:
    return all(issubclass(w.category, UnateWarning) for w in caught)


# At least two hostile rows an example: 600 and more in all.
@settings(RANDOM, max_examples=300)
@given(
    rows=st.lists(hostile, min_size=2, max_size=4),
    places=st.lists(st.integers(0, 8), min_size=4, max_size=4),
)
def test_hostile_rows_are_nan_with_their_error_and_good_rows_are_right(
    featurizer: UnateFeaturizer, alone: dict[str, NDArray], rows: list[Any], places: list[int]
) -> None:
    batch: list[tuple[str, Any]] = list(GOOD.items())
    for row, place in zip(rows, places, strict=False):
        batch.insert(place, ("", row))
    frame = pd.DataFrame({"name": [name for name, _ in batch]})
    frame["structure"] = np.empty(len(batch), dtype=object)
    for i, (_, row) in enumerate(batch):
        frame.iat[i, 1] = row
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        out = featurizer.featurize_dataframe(
            frame, "structure", ignore_errors=True, return_errors=True, pbar=False
        )
    assert time.perf_counter() - start < SECONDS
    assert only_unate_warnings(caught)
    values = out.iloc[:, 2:-1].to_numpy()
    for (name, _), row, error in zip(batch, values, out.iloc[:, -1], strict=True):
        if name:
            np.testing.assert_allclose(row, alone[name], atol=1e-5)
        if isinstance(error, str):
            assert "StructureError: " in error
            assert np.isnan(row).all()
        else:
            assert np.isfinite(row).all()


@settings(RANDOM, max_examples=200)
@given(row=hostile, place=st.integers(0, 4))
def test_a_hostile_row_stops_with_its_number_or_has_the_value_it_has_alone(
    featurizer: UnateFeaturizer, row: Any, place: int
) -> None:
    batch: list[Any] = list(GOOD.values())
    batch.insert(place, row)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnateWarning)
        try:
            values = featurizer.featurize_many(batch, pbar=False)
            expected = featurizer.featurize(row)
            np.testing.assert_allclose(values[place], expected, rtol=1e-4, atol=1e-5)
            return
        except StructureError as e:
            message = str(e)
    assert message.startswith(f"row {place}: ")
    assert "ignore_errors=True" in message
    assert not featurizer.precheck(row)


# -- the table: what is said ---------------------------------------------------------------------


def ase_atoms(symbols: str = "Na", **options: Any) -> Any:
    ase = pytest.importorskip("ase")
    return ase.Atoms(symbols, **({"cell": [4, 4, 4], "pbc": True} | options))


def clump(n: int, step: float, box: float) -> Structure:
    """n³ atoms on a grid of `step` Å in the corner of a large box."""
    grid = np.stack(np.meshgrid(*[np.arange(n)] * 3), axis=-1).reshape(-1, 3)
    return Structure(Lattice.cubic(box), ["Na"] * len(grid), grid * step / box)


MISSING = ("the structure is missing", "drop or fill")
UNITS = ("Å", "check")

# What the row holds, what is said of it, and the cure.
BAD: dict[str, tuple[Any, str, str]] = {
    "None": (None, *MISSING),
    "NaN": (math.nan, *MISSING),
    "NumPy NaN": (np.float32("nan"), *MISSING),
    "pd.NA": (pd.NA, *MISSING),
    "pd.NaT": (pd.NaT, *MISSING),
    "Decimal NaN": (decimal.Decimal("nan"), *MISSING),
    "string": ("NaCl.cif", "got str 'NaCl.cif'", "read_structures or Structure.from_file"),
    "path": (Path("NaCl.cif"), "got PosixPath", "Structure.from_file"),
    "bytes": (b"data_NaCl", "got bytes", "Structure.from_str"),
    "dict": ({"a": 1}, "no pymatgen Structure dict", "Structure.as_dict()"),
    "text": ("data_x\n_cell_length_a 1\n", "a cell but no atoms", "export"),
    "list of sites": (list(GOOD["NaCl"]), "got list", "Structure.from_sites"),
    "empty list": ([], "got list", "each row holds one structure"),
    "pair": ((GOOD["NaCl"], GOOD["Si"]), "got tuple", "each row holds one structure"),
    "array": (np.zeros((3, 3)), "got ndarray", "each row holds one structure"),
    "number": (3, "got int", "convert it"),
    "Composition": (Composition("NaCl"), "got Composition", "convert it"),
    "Lattice": (CUBE, "got Lattice", "convert it"),
    "PeriodicSite": (GOOD["NaCl"][0], "got PeriodicSite", "convert it"),
    "class": (Structure, "expected a structure (of pymatgen", "convert it"),
    "Molecule": (Molecule(["H"], [[0, 0, 0]]), "no lattice", "get_boxed_structure"),
    "IMolecule": (IMolecule(["H"], [[0, 0, 0]]), "no lattice", "get_boxed_structure"),
    "no sites": (Structure(CUBE, [], []), "no sites", "drop"),
    "unreadable": (thorny(), "could not be read", "no lattice today"),
    "half made": (Structure.__new__(Structure), "could not be read", "AttributeError"),
    "disordered": (one({"Na": 0.5, "K": 0.5}), "site 0 is disordered", "ordered approximant"),
    "vacancies": (one({"Na": 0.9}), "site 0 is disordered (Na0.9)", "ordered approximant"),
    "almost full": (one({"Na": 0.99999}), "site 0 is disordered", "ordered approximant"),
    "dummy": (one(DummySpecies("X")), "site 0 holds the dummy species X", "replace or remove"),
    "charged dummy": (one(DummySpecies("Qa", 2)), "dummy species Qa2+", "replace or remove"),
    "NaN coordinate": (unchecked(CUBE, ["Na"], [[0, math.nan, 0]]), "site 0 has non-", "check"),
    "inf coordinate": (unchecked(CUBE, ["Na"], [[0, 0, -math.inf]]), "non-finite", "check"),
    "far coordinate": (unchecked(CUBE, ["Na"], [[1e6, 0, 0]]), "is 1e+06", "coords_are_cartesian"),
    "on top": (Structure(CUBE, ["Na", "K"], [[0] * 3, [1] * 3]), "0 Å apart", "merge"),
    "0.04 Å apart": (Structure(CUBE, ["Na", "K"], [[0] * 3, [0, 0, 0.01]]), "0.04 Å", "merge"),
    "NaN lattice": (one(lattice=Lattice(np.full((3, 3), np.nan))), "non-finite", "check"),
    "inf lattice": (one(lattice=Lattice(np.diag([4, 4, np.inf]))), "non-finite", "check"),
    "zero lattice": (one(lattice=Lattice(np.zeros((3, 3)))), "volume is 0 Å³", "check units"),
    "flat lattice": (one(lattice=Lattice([[4, 0, 0], [0, 4, 0], [4, 4, 0]])), "flat", "angles"),
    "lattice of 1e-6 Å": (one(lattice=Lattice.cubic(1e-6)), "far too small", "check units"),
    "lattice of 1e6 Å": (one(lattice=Lattice.cubic(1e6)), "1e+06 Å long", "check the units"),
    "lattice of 1e200 Å": (one(lattice=Lattice(np.eye(3) * 1e200)), "1e+200 Å", "check the units"),
    "angles in radians": (unchecked(parts(4, 4, 4, *[math.pi / 2] * 3), ["Na"], [[0] * 3]), *UNITS),
    "angle of 0.01°": (unchecked(parts(5, 5, 5, 90, 90, 0.01), ["Na"], [[0] * 3]), *UNITS),
    "angle of 179.9°": (
        unchecked(parts(5, 5, 5, 90, 90, 179.9), ["Na"], [[0] * 3]),
        "repeats itself every 0.00873 Å",
        "angles (degrees)",
    ),
    "lengths in nm": (
        Structure(Lattice(GOOD["NaCl"].lattice.matrix / 10), ["Na"] * 8, GOOD["NaCl"].frac_coords),
        "8 sites in 0.179 Å³",
        "not nm",
    ),
    "two periodic directions": (
        one(lattice=Lattice(np.eye(3) * 4, pbc=(True, True, False))),
        "periodic along (True, True, False)",
        "rebuild it",
    ),
    "8000 atoms in 9 Å³": (clump(20, 0.11, 50), "so close together", "units"),
}


@pytest.mark.parametrize("name", BAD)
def test_the_message_says_what_which_row_and_the_cure(
    featurizer: UnateFeaturizer, alone: dict[str, NDArray], name: str
) -> None:
    bad, what, cure = BAD[name]
    check_message(featurizer, alone, bad, what, cure)


def check_message(
    featurizer: UnateFeaturizer, alone: dict[str, NDArray], bad: Any, what: str, cure: str
) -> None:
    column = pd.Series([GOOD["Si"], None, GOOD["NaCl"]], index=["a", "b", "c"], dtype=object)
    column.iat[1] = bad
    frame = column.to_frame("structure")
    start = time.perf_counter()
    with pytest.raises(StructureError) as e:
        featurizer.featurize_dataframe(frame, "structure", pbar=False)
    assert time.perf_counter() - start < SECONDS
    message = str(e.value)
    assert message.startswith("row 1 (index 'b'): ")
    assert what in message
    assert cure in message
    assert "on_error='nan'" in message
    out = featurizer.featurize_dataframe(
        frame, "structure", ignore_errors=True, return_errors=True, pbar=False
    )
    assert what in out.iloc[1, -1]
    assert out.iloc[1, 1:-1].isna().all()
    np.testing.assert_allclose(out.iloc[0, 1:-1].astype(float), alone["Si"], atol=1e-5)
    np.testing.assert_allclose(out.iloc[2, 1:-1].astype(float), alone["NaCl"], atol=1e-5)


@pytest.mark.parametrize(
    ("options", "what", "cure"),
    [
        ({"pbc": False}, "periodic in all directions", "atoms.pbc = True"),
        ({"pbc": (True, True, False)}, "periodic in all directions", "atoms.pbc = True"),
        ({"cell": None}, "no cell volume", "atoms.cell"),
        ({"cell": [math.nan, 4, 4]}, "non-finite", "check"),
        ({"positions": [[math.nan, 0, 0]]}, "site 0 has non-finite", "check"),
        ({"symbols": "X"}, "dummy species X", "replace"),
        ({"symbols": ""}, "no sites", "drop"),
        # As ASE reads a disordered CIF: the majority species, with the truth in `info`.
        ({"info": {"occupancy": {"0": {"Na": 0.6, "K": 0.4}}}}, "are disordered", "approximant"),
    ],
)
def test_unusable_ase_atoms_are_told_apart(
    featurizer: UnateFeaturizer,
    alone: dict[str, NDArray],
    options: dict[str, Any],
    what: str,
    cure: str,
) -> None:
    check_message(featurizer, alone, ase_atoms(**options), what, cure)


# -- the table: what looks hostile and is not ----------------------------------------------------


def salt(lattice: Any = None, species: Any = ("Na", "Cl"), shift: Any = 0, **options: Any) -> Any:
    """The primitive cell of rock salt, or something made of it."""
    matrix = 2.82 * (np.ones((3, 3)) - np.eye(3)) if lattice is None else lattice
    coords = np.array([[0, 0, 0], [0.5, 0.5, 0.5]]) + shift
    return Structure(Lattice(matrix), list(species), coords, **options)


def reshaped(steps: list[tuple[int, int, int]], random_frame: bool = False) -> Structure:
    """Rock salt in another cell of the same lattice, and in another frame."""
    basis = np.eye(3)
    for i, j, times in steps:
        basis[i] += times * basis[j]
    cell = salt()
    matrix = basis @ cell.lattice.matrix
    if random_frame:
        matrix = matrix @ np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    return Structure(Lattice(matrix), cell.species, cell.frac_coords @ np.linalg.inv(basis))


ODD: dict[str, Callable[[], Any]] = {
    "left-handed": lambda: salt(salt().lattice.matrix[[1, 0, 2]]),
    "mirrored": lambda: salt(salt().lattice.matrix * [1, 1, -1]),
    "sheared a thousandfold": lambda: reshaped([(0, 1, 1000)]),
    "sheared along two vectors": lambda: reshaped([(1, 0, 90), (2, 1, 70)]),
    "sheared along three vectors": lambda: reshaped([(1, 0, 30), (2, 1, -20), (0, 2, 5)], True),
    "far images": lambda: salt(shift=[[90_000, 0, -70_000], [-1, 2, 3]]),
    "just below an integer": lambda: salt(shift=-1e-17),
    "oxidation states": lambda: salt(species=[Species("Na", 1), Species("Cl", -1)]),
    "odd oxidation states": lambda: salt(species=[Species("Na", 0.5), Species("Cl", None)]),
    "spins": lambda: salt(species=[Species("Na", 1, spin=5), Species("Cl", -1, spin=-1)]),
    "charge": lambda: salt(charge=1),
    "empty properties": lambda: salt(site_properties={"magmom": [None, None]}),
    "odd properties": lambda: salt(site_properties={"x": [math.nan, object()]}, labels=["?", ""]),
    "occupancy within rounding": lambda: salt(species=[{"Na": 0.9999999}, {"Cl": 1.0}]),
    "immutable": lambda: IStructure.from_sites(list(salt())),
    "sorted copy": lambda: salt().get_sorted_structure(reverse=True),
    "ASE": lambda: ase_salt(),
    "ASE with constraints": lambda: ase_salt(constraint=True),
    "ASE with full occupancies": lambda: ase_salt(info={"occupancy": {"0": {"Na": 1}}}),
}


def ase_salt(constraint: bool = False, **options: Any) -> Any:
    pytest.importorskip("ase")
    from ase.constraints import FixAtoms

    held = FixAtoms([0]) if constraint else None
    cell = salt()
    return ase_atoms(
        "NaCl", cell=cell.lattice.matrix, positions=cell.cart_coords, constraint=held, **options
    )


@pytest.mark.parametrize("name", ODD)
def test_other_guises_of_a_crystal_get_its_row(featurizer: UnateFeaturizer, name: str) -> None:
    odd = ODD[name]()
    np.testing.assert_allclose(
        featurizer.featurize(odd), featurizer.featurize(salt()), rtol=1e-4, atol=1e-4
    )


def test_isotopes_are_their_element_and_unknown_elements_warn(featurizer: UnateFeaturizer) -> None:
    rows = featurizer.featurize_many(
        [one(s, Lattice.cubic(3)) for s in ("H", "D", "T")], pbar=False
    )
    assert rows[0] == rows[1] == rows[2]
    with pytest.warns(UnateWarning, match="structure holds.*not seen.*masked species"):
        assert np.isfinite(featurizer.featurize(one("Og", Lattice.cubic(3)))).all()


# -- what would hang or fill the memory ----------------------------------------------------------


def gas(n: int, spacing: float) -> Structure:
    """n³ atoms, each far from all others."""
    grid = np.stack(np.meshgrid(*[np.arange(n) / n] * 3), axis=-1).reshape(-1, 3)
    return Structure(Lattice.cubic(n * spacing), ["Ar"] * len(grid), grid)


TWO = ["Na", "Cl"]
CENTRED = [[0, 0, 0], [0.5, 0.5, 0.5]]

# pymatgen's search would need minutes or gigabytes for each of these.
WIDE: dict[str, tuple[Callable[[], Structure], int]] = {
    "two atoms in a box of 1e3 Å": (lambda: Structure(Lattice.cubic(1e3), TWO, CENTRED), 16),
    "two atoms in a box of 1e5 Å": (lambda: Structure(Lattice.cubic(1e5), TWO, CENTRED), 16),
    "a bond across the corner of a huge box": (
        lambda: Structure(Lattice.cubic(1e5), TWO, [[0, 0, 0], [-2e-5, -1e-5, -1e-5]]),
        2,
    ),
    "a needle": (lambda: Structure(Lattice.tetragonal(3, 1e5), TWO, CENTRED), 16),
    "a needle in a turned frame": (lambda: Structure(turned(3, 3, 1e5), TWO, CENTRED), 16),
    "a sheet in a turned frame": (lambda: Structure(turned(3, 1e4, 1e4), TWO, CENTRED), 4),
    "a gas of 8000 isolated atoms": (lambda: gas(20, 20.0), 48_000),
}


@pytest.mark.parametrize("name", WIDE)
def test_wide_and_sparse_cells_cost_little_time_and_memory(name: str) -> None:
    build, n_edges = WIDE[name]
    crystal = build()
    arrays = crystal.lattice.matrix, crystal.frac_coords, np.array(crystal.atomic_numbers)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    graph = radius_graph(*arrays, CUTOFF)
    assert time.process_time() - start < SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kB
    assert graph.n_edges == n_edges


def test_more_edges_than_memory_for_them_are_refused_before_the_search() -> None:
    copper = Structure.from_spacegroup("Fm-3m", Lattice.cubic(3.61), ["Cu"], [[0, 0, 0]])
    n = 33
    shifts = np.stack(np.meshgrid(*[np.arange(n)] * 3), axis=-1).reshape(-1, 1, 3)
    coords = ((copper.frac_coords + shifts) / n).reshape(-1, 3)
    numbers = np.full(len(coords), 29)
    start = time.process_time()
    with pytest.raises(StructureError, match=r"143748 sites have about .* smaller cell"):
        radius_graph(copper.lattice.matrix * n, coords, numbers, CUTOFF)
    assert time.process_time() - start < SECONDS


def test_any_cell_of_a_lattice_gives_the_same_edges() -> None:
    random = np.random.default_rng(0)
    for _ in range(60):
        lattice = np.diag(random.uniform(2.5, 8, 3)) + 0.7 * random.normal(size=(3, 3))
        frac = random.random((3, 3)) + random.integers(-3, 3, (3, 3))
        numbers = np.array([8, 14, 26])
        basis = np.eye(3)
        for _ in range(3):
            i, j = random.choice(3, 2, replace=False)
            basis[i] += random.integers(-40, 40) * basis[j]
        sheared, coords = basis @ lattice, frac @ np.linalg.inv(basis)
        try:
            plain = radius_graph(lattice, frac, numbers, CUTOFF, 0.3)
        except StructureError:
            with pytest.raises(StructureError):
                radius_graph(sheared, coords, numbers, CUTOFF, 0.3)
            continue
        graph = radius_graph(sheared, coords, numbers, CUTOFF, 0.3)
        assert graph.n_edges == plain.n_edges
        np.testing.assert_allclose(
            np.sort(np.linalg.norm(graph.edge_vector, axis=1)),
            np.sort(np.linalg.norm(plain.edge_vector, axis=1)),
            atol=1e-4,
        )
        # The images are those of the cell that was given.
        source, target = graph.edge_index
        if not graph.n_isolated:
            home = (coords - np.floor(coords)) @ sheared
            expected = home[source] + graph.edge_image @ sheared - home[target]
            np.testing.assert_allclose(graph.edge_vector, expected, atol=1e-4)


def test_the_search_for_sparse_boxes_finds_what_pymatgens_finds() -> None:
    random = np.random.default_rng(0)
    for _ in range(30):
        lattice = np.diag(random.uniform(3, 12, 3)) + random.normal(size=(3, 3))
        points = random.random((random.integers(1, 8), 3)) @ lattice
        radius = random.uniform(2, 9)
        ours, theirs = (
            np.column_stack(search(points, points, lattice, radius))
            for search in (_sparse_neighbours, pairs_within)
        )
        ours = ours[ours[:, -1] > 1e-8]  # pymatgen's are given without each atom itself
        order = [np.lexsort(np.round(table[:, :5]).T) for table in (ours, theirs)]
        np.testing.assert_allclose(ours[order[0]], theirs[order[1]], atol=1e-9)


# -- odd frames ----------------------------------------------------------------------------------


def frame_of_three() -> pd.DataFrame:
    return pd.DataFrame({"structure": [GOOD[n] for n in list(GOOD)[:3]], "y": [1.0, 2.0, 3.0]})


def expected_rows(alone: dict[str, NDArray]) -> NDArray:
    return np.array([alone[n] for n in list(GOOD)[:3]])


@pytest.mark.parametrize(
    "index",
    [
        pd.Index(["x", "x", "x"]),
        pd.Index([math.nan, None, math.nan], dtype=object),
        pd.MultiIndex.from_tuples([(1, "a"), (1, "b"), (1, "a")]),
        pd.date_range("2020-01-01", periods=3, tz="UTC"),
        pd.CategoricalIndex(["u", "u", "v"]),
        pd.IntervalIndex.from_breaks([0, 1, 2, 3]),
        pd.Index([2, 0, 1]),
    ],
    ids=["repeated", "NaN", "MultiIndex", "dates", "categories", "intervals", "shuffled"],
)
def test_any_index_is_kept_and_named(
    featurizer: UnateFeaturizer, alone: dict[str, NDArray], index: pd.Index
) -> None:
    frame = frame_of_three().set_axis(index, axis=0)
    out = featurizer.featurize_dataframe(frame, "structure", pbar=False)
    assert out.index.equals(index)
    assert list(out["y"]) == [1.0, 2.0, 3.0]
    np.testing.assert_allclose(out.iloc[:, 2:], expected_rows(alone), atol=1e-5)
    frame.iat[1, 0] = None
    with pytest.raises(StructureError) as e:
        featurizer.featurize_dataframe(frame, "structure", pbar=False)
    shown = "(1, 'b')" if isinstance(index, pd.MultiIndex) else repr(index.tolist()[1])
    assert f"row 1 (index {shown})" in str(e.value)


@pytest.mark.parametrize("label", [0, ("a", "b"), None, 1.5, pd.Timestamp("2020-01-01")])
def test_any_column_label_is_found(
    featurizer: UnateFeaturizer, alone: dict[str, NDArray], label: Any
) -> None:
    frame = frame_of_three()
    frame.columns = pd.Index([label, "y"], tupleize_cols=False)
    out = featurizer.featurize_dataframe(frame, label, pbar=False)
    np.testing.assert_allclose(out.iloc[:, 2:], expected_rows(alone), atol=1e-5)


def test_two_columns_of_one_name_are_refused_where_they_are_meant(
    featurizer: UnateFeaturizer, alone: dict[str, NDArray]
) -> None:
    frame = frame_of_three()
    doubled = pd.concat([frame, frame[["y"]]], axis=1)
    out = featurizer.featurize_dataframe(doubled, "structure", pbar=False)
    np.testing.assert_allclose(out.iloc[:, 3:], expected_rows(alone), atol=1e-5)
    doubled.columns = ["structure", "structure", "y"]
    with pytest.raises(InputError):
        featurizer.featurize_dataframe(doubled, "structure", pbar=False)


@pytest.mark.parametrize(
    "column",
    [
        pd.Series(["x", None], dtype="string"),
        pd.Series([1, None], dtype="Int64"),
        pd.Series(["a", None], dtype="category"),
        pd.Series([None, pd.Timestamp("2020-01-01")]),
        pd.Series(pd.arrays.SparseArray([0.0, np.nan])),
        pd.Series([True, False]),
        pd.Series([1 + 2j, np.nan]),
    ],
    ids=lambda c: str(c.dtype),
)
def test_columns_of_other_types_are_rows_of_nan(
    featurizer: UnateFeaturizer, column: pd.Series
) -> None:
    out = featurizer.featurize_dataframe(
        column.to_frame("s"), "s", ignore_errors=True, return_errors=True, pbar=False
    )
    assert out.iloc[:, 1:-1].isna().all(axis=None)
    assert out.iloc[:, -1].str.contains("StructureError").all()
    with pytest.raises(StructureError, match=r"row 0 \(index 0\)"):
        featurizer.featurize_dataframe(column.to_frame("s"), "s", pbar=False)


@pytest.mark.parametrize(
    "bad", [{0}, {2}, {0, 2}, {0, 1, 2}], ids=["first", "last", "both ends", "all"]
)
@pytest.mark.parametrize("on_error", ["raise", "nan"])
@pytest.mark.parametrize("return_errors", [False, True])
def test_bad_rows_anywhere_under_every_option(
    featurizer: UnateFeaturizer,
    alone: dict[str, NDArray],
    bad: set[int],
    on_error: str,
    return_errors: bool,
) -> None:
    frame = frame_of_three()
    for row in bad:
        frame.iat[row, 0] = None
    chosen = UnateFeaturizer(featurizer.weights, device="cpu", on_error=on_error)
    out = chosen.featurize_dataframe(
        frame, "structure", ignore_errors=True, return_errors=return_errors, pbar=False
    )
    values = out.iloc[:, 2 : 2 + len(chosen.feature_labels())].to_numpy()
    for row, expected in enumerate(expected_rows(alone)):
        np.testing.assert_allclose(
            values[row], np.full_like(expected, np.nan) if row in bad else expected, atol=1e-5
        )
    if return_errors:
        errors = out["UnateFeaturizer Exceptions"]
        assert set(np.flatnonzero(errors.notna())) == bad


def test_inplace_on_a_slice_leaves_the_whole_frame_alone(
    featurizer: UnateFeaturizer, alone: dict[str, NDArray]
) -> None:
    whole = frame_of_three()
    part = whole[whole["y"] > 1]
    with warnings.catch_warnings():
        # pandas' own: it cannot know whether the caller wanted the whole frame changed.
        warnings.simplefilter("ignore", pd.errors.SettingWithCopyWarning)
        featurizer.featurize_dataframe(part, "structure", inplace=True, pbar=False)
    np.testing.assert_allclose(part.iloc[:, 2:], expected_rows(alone)[1:], atol=1e-5)
    assert whole.shape == (3, 2)


def test_empty_frames_and_missing_columns(featurizer: UnateFeaturizer) -> None:
    empty = pd.DataFrame({"structure": []})
    n_columns = len(featurizer.feature_labels())
    for options in ({}, {"ignore_errors": True, "return_errors": True}, {"multiindex": True}):
        out = featurizer.featurize_dataframe(empty, "structure", pbar=False, **options)
        assert out.shape == (0, 1 + n_columns + ("return_errors" in options))
    for frame in (pd.DataFrame(), empty):
        with pytest.raises(InputError, match="no column 'crystal'"):
            featurizer.featurize_dataframe(frame, "crystal", pbar=False)


def test_many_rows_of_few_crystals_are_quick(
    featurizer: UnateFeaturizer, alone: dict[str, NDArray]
) -> None:
    rows = [GOOD["NaCl"], None, GOOD["Si"], math.nan] * 500
    start = time.perf_counter()
    values = np.array(featurizer.featurize_many(rows, ignore_errors=True, pbar=False))
    assert time.perf_counter() - start < SECONDS
    assert np.isnan(values[1::2]).all()
    np.testing.assert_allclose(values[0::4], np.tile(alone["NaCl"], (500, 1)), atol=1e-5)
    np.testing.assert_allclose(values[2::4], np.tile(alone["Si"], (500, 1)), atol=1e-5)


# -- interrupts, threads, forks ------------------------------------------------------------------


class Interrupting(Structure):
    """As if the user pressed Ctrl-C while this row was read."""

    @property
    def lattice(self) -> Lattice:
        raise KeyboardInterrupt


def test_an_interrupt_is_not_taken_for_a_bad_row(featurizer: UnateFeaturizer) -> None:
    row = Interrupting.__new__(Interrupting)
    row.__dict__.update(GOOD["NaCl"].__dict__)
    with pytest.raises(KeyboardInterrupt):
        featurizer.featurize_many([GOOD["Si"], row], ignore_errors=True, pbar=False)


def test_threads_can_share_a_featurizer(
    featurizer: UnateFeaturizer, alone: dict[str, NDArray]
) -> None:
    found: dict[int, NDArray] = {}

    def work(number: int) -> None:
        rows = [*list(GOOD.values())[number % 4 :], None]
        found[number] = np.array(featurizer.featurize_many(rows, ignore_errors=True, pbar=False))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(found) == list(range(8))
    expected = np.array(list(alone.values()))
    for number, values in found.items():
        assert np.isnan(values[-1]).all()
        np.testing.assert_allclose(values[:-1], expected[number % 4 :], atol=1e-5)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_gives_the_same_rows(
    featurizer: UnateFeaturizer, alone: dict[str, NDArray]
) -> None:
    # The child cannot hang the tests: it is given a minute.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python's own on fork with threads
        with multiprocessing.get_context("fork").Pool(1) as pool:
            rows = pool.map_async(featurizer.featurize, list(GOOD.values())).get(60)
    np.testing.assert_allclose(rows, np.array(list(alone.values())), atol=1e-5)


# -- odd arguments -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [list, tuple])
def test_transform_names_the_bad_row_of_a_plain_list(
    featurizer: UnateFeaturizer, kind: type
) -> None:
    with pytest.raises(StructureError, match="row 1: the structure is missing"):
        featurizer.transform(kind([GOOD["Si"], None]))


def test_an_array_without_dimensions_is_a_bad_row(featurizer: UnateFeaturizer) -> None:
    rows = featurizer.featurize_many([np.array(None)], ignore_errors=True, pbar=False)
    assert np.isnan(rows).all()


@pytest.mark.parametrize("label", [{}, pd.Series(list(GOOD.values()))], ids=["dict", "Series"])
def test_what_cannot_name_a_column_is_refused(featurizer: UnateFeaturizer, label: Any) -> None:
    with pytest.raises(InputError, match="no column"):
        featurizer.featurize_dataframe(frame_of_three(), label, pbar=False)


@pytest.mark.parametrize("options", [{"disable": True}, {"disable": True, "total": 9}])
def test_the_bar_can_be_given_every_option_of_tqdm(
    featurizer: UnateFeaturizer, options: dict[str, Any]
) -> None:
    assert len(featurizer.featurize_many([GOOD["Si"]], pbar=options)) == 1


@pytest.mark.parametrize("options", [{"weights": None}, {"weights": 3}, {"pooling": None}])
def test_options_of_another_type_are_refused(
    featurizer: UnateFeaturizer, options: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=r"weights|pooling"):
        UnateFeaturizer(**({"weights": featurizer.weights} | options)).featurize(GOOD["Si"])
