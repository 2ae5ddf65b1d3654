"""Changes of the tight-binding model: that the parts are the model, and what each change does."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Lattice, Structure
from real_crystals import crystals

from benchmarks.columns.regressors import Rows
from benchmarks.electrons import corrections
from benchmarks.electrons.band_columns import pressure, slopes, transitions
from benchmarks.electrons.judging import Judge, Trial
from benchmarks.electrons.model import POPULATIONS, bands_of, both_spins, matrices_of, solve
from benchmarks.electrons.parts import PARTS, POOLING, Solved, columns_of
from matminer_unate import TightBindingStats
from matminer_unate.physics.band_quantities import DISPERSION, SITE_NAMES, describe, quantities
from matminer_unate.physics.tight_binding import Bands

CRYSTALS = crystals()


def rock_salt(cation: str, anion: str, length: float) -> Structure:
    positions = [[0, 0, 0], [0.5, 0.5, 0.5]]
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(length), [cation, anion], positions)


def solved(structure: Structure) -> Solved:
    return Solved(TightBindingStats()._prepare(structure))


@pytest.mark.parametrize("name", ["NaCl", "Si"])
def test_the_parts_are_what_the_featurizer_says(name: str) -> None:
    featurizer = TightBindingStats(pooling=POOLING)
    labels = featurizer.feature_labels()
    theirs = featurizer.transform([CRYSTALS[name]])[0]
    dispersion_too = np.array(
        [label.removeprefix("tight_binding_") in {q.column for q in DISPERSION} for label in labels]
    )
    s = solved(CRYSTALS[name])
    for part, these in (("present", ~dispersion_too), ("dispersion", dispersion_too)):
        np.testing.assert_allclose(columns_of(PARTS[part](s)), theirs[these], rtol=1e-6, atol=2e-6)


@pytest.mark.parametrize("name", CRYSTALS)
def test_the_fast_solver_of_the_package_finds_what_the_plain_one_finds(name: str) -> None:
    s = solved(CRYSTALS[name])
    cell = s.crystal.lattice, s.crystal.frac_coords, s.crystal.graph
    [(sites, whole)] = quantities([cell])
    each_site, expected = describe(s.bands)
    np.testing.assert_allclose(whole, expected, atol=1e-6)
    orbit = s.m.crystal.orbit
    linear = slice(0, SITE_NAMES.index("centre of occupied states"))  # the others are ratios
    for number in np.unique(orbit):
        mean = each_site[orbit == number].mean(axis=0)
        for site in sites[orbit == number]:
            np.testing.assert_allclose(site[linear], mean[linear], atol=1e-6)


@pytest.mark.parametrize("population", POPULATIONS)
def test_shares_sum_to_one(population: str) -> None:
    s = solved(rock_salt("Mg", "O", 4.21))
    np.testing.assert_allclose(s.populated(population).share.sum(axis=0), 1.0, atol=1e-9)


def test_slopes_are_those_of_a_stretched_crystal() -> None:
    structure = rock_salt("Mg", "O", 4.21)
    s = solved(structure)
    # Bands may cross, so all of a k point together.
    slope = slopes(s.m, s.states).sum(axis=(1, 2))
    energies = []
    for factor in (1.002, 0.998):
        other = structure.copy()
        other.scale_lattice(structure.volume * factor**3)
        energies.append(solved(other).states.energy.sum(axis=1))
    np.testing.assert_allclose(slope, (energies[0] - energies[1]) / 0.004, rtol=2e-3)
    sites, crystal = pressure(s.m, s.bands, slopes(s.m, s.states))
    # Bands alone pull the atoms together.
    assert (sites[:, 0] > 0).all()
    assert crystal[0] > 0


def test_the_potential_of_rock_salt_is_madelungs() -> None:
    a = 5.64
    crystal = TightBindingStats()._prepare(rock_salt("Na", "Cl", a))
    v = corrections.ewald(crystal.lattice, crystal.frac_coords) @ [1.0, -1.0]
    np.testing.assert_allclose(np.abs(v), 1.747565 * 2 / a, rtol=1e-3)


def test_spins_without_splitting_are_the_same_bands() -> None:
    bands = solved(rock_salt("Mn", "O", 4.44)).bands
    for ours, theirs in zip(describe(both_spins(bands, bands)), describe(bands), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_exchange_splits_open_d_shells_by_hunds_rule() -> None:
    m = solved(rock_salt("Mn", "O", 4.44)).m
    shift = corrections.exchange_shift(m, {4: 0.8}, salts_only=True)
    np.testing.assert_allclose(np.unique(shift), [0.0, 0.5 * 0.8 * 5])
    m = solved(rock_salt("Zn", "O", 4.28)).m
    assert not corrections.exchange_shift(m, {4: 0.8}, salts_only=True).any()


def test_a_crystal_field_has_the_symmetry_of_the_site() -> None:
    m = solved(rock_salt("Ni", "O", 4.18)).m
    potential, core = corrections.crystal_field(m)
    nickel = int(np.flatnonzero(m.z == 28)[0])
    for block in (potential[nickel], core[nickel]):
        np.testing.assert_allclose(block, block.T, atol=1e-6)
        # s, p, t2g and e: four different levels in an octahedron, and nothing mixes.
        assert len(np.unique(np.linalg.eigvalsh(block[1:4, 1:4]).round(3))) == 1
        assert len(np.unique(np.linalg.eigvalsh(block[4:, 4:]).round(3))) == 2
    assert potential[nickel, 0, 0] < 0 < core[nickel, 0, 0]


def test_transitions_of_levels_without_hopping() -> None:
    bands = Bands(
        energy=np.tile([[-1.0, 2.0]], (2, 1)),
        share=np.tile(np.eye(3, 2)[:, None], (1, 2, 1)),
        grid_shares=np.ones(1),
        grid_weights=np.array([[0.5, 0.5]]),
        orbit=np.zeros(1, dtype=int),
        n_electrons=np.array([2.0]),
        level=np.zeros((1, 3)),
    )
    sites, crystal = transitions(bands)
    # One electron pair, 3 eV up, from s to p of the site.
    np.testing.assert_allclose(sites, np.log(2 / (3**2 + 1) + 1e-3), atol=1e-3)
    assert crystal[:6].argmax() == 2


def test_columns_that_know_the_target_are_judged_better() -> None:
    rng = np.random.default_rng(0)
    good = rng.normal(size=(160, 6)).astype(np.float32)
    y = good[:, 0] - 2 * good[:, 1]
    train, val, formulas = np.arange(120), np.arange(120, 160), np.arange(160)
    fits = [
        Rows(y, train[train % 3 != k], val, train[train % 3 == k], formulas, seed=k)
        for k in range(3)
    ]
    judge = Judge(Trial("toy", pd.DataFrame(index=formulas), {"toy": fits}), good)
    for head in ("kernel_ridge", "lightgbm"):
        found = judge.judge(good, "toy", head)
        assert found.val.shape == (3, 40)
        assert found.held_out.shape == (120,)
        noise = judge.judge(rng.normal(size=(160, 6)).astype(np.float32), "toy", head)
        assert found.rows.mean() < 0.7 * noise.rows.mean()


def test_solving_the_own_hamiltonian_is_the_default() -> None:
    m = matrices_of(TightBindingStats()._prepare(CRYSTALS["NaCl"]))
    shares = [POPULATIONS["Mulliken"](solve(m, H)) for H in (None, m.H)]
    energies = [solve(m, H).energy for H in (None, m.H)]
    np.testing.assert_array_equal(*energies)
    assert len(bands_of(m, energies[0], shares[0]).share) == 3 * len(m.z)
