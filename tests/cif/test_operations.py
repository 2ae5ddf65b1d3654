"""Operations and names of space groups: what is refused, and what contradicts itself."""

from __future__ import annotations

import tracemalloc
from itertools import product

import numpy as np
import pytest

from matminer_unate.cif.operations import (
    MAX_OPERATIONS,
    Symmetry,
    contradictions,
    find_symmetry,
    lacks_operations,
    named_otherwise,
)
from matminer_unate.cif.tokens import Block, read_blocks
from matminer_unate.errors import StructureError

NAME, NUMBER = "_symmetry_space_group_name_H-M", "_symmetry_Int_Tables_number"
HALL = "_symmetry_space_group_name_Hall"
OLD, NEW = "_symmetry_equiv_pos_as_xyz", "_space_group_symop_operation_xyz"
CENTRED = ("x,y,z", "x+1/2,y+1/2,z", "x+1/2,y,z+1/2", "x,y+1/2,z+1/2")


def listed(*operations: str, tag: str = OLD) -> str:
    return "\n".join(["loop_", tag, *(f"'{operation}'" for operation in operations), ""])


def block(text: str) -> Block:
    (one,) = read_blocks(f"data_x\n{text}")
    return one


def symmetry(text: str) -> Symmetry:
    return find_symmetry(block(text), np.eye(3))[0]


def translations(n: int) -> list[str]:
    shifts = product(range(24), repeat=3)
    return [f"x+{a}/24,y+{b}/24,z+{c}/24" for (a, b, c), _ in zip(shifts, range(n), strict=False)]


# -- lists ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["3/2x,y,z", "1.5x,y,z", "0.5*x+x,y,z", "x+1/0,y,z"])
def test_coefficients_that_are_no_whole_numbers_are_refused(operation: str) -> None:
    with pytest.raises(StructureError, match="is no symmetry operation; write it like"):
        symmetry(listed("x,y,z", operation))


def test_coefficients_may_be_written_out() -> None:
    found = symmetry(listed("1x,y,z", "-1*x,-1.0y,z+.5"))
    np.testing.assert_array_equal(found.rotations[1], np.diag([-1, -1, 1]))
    np.testing.assert_allclose(found.translations[1], [0, 0, 0.5])


def test_more_operations_than_a_cell_can_have_are_refused() -> None:
    assert len(symmetry(listed(*translations(MAX_OPERATIONS)))) == MAX_OPERATIONS
    with pytest.raises(StructureError, match=r"lists 6,000 operations, more than the 2,000 that"):
        symmetry(listed(*translations(6_000)))
    magnetic = listed(*translations(60), tag="_space_group_symop_magn_operation.xyz")
    centring = listed(*translations(60), tag="_space_group_symop_magn_centering.xyz")
    with pytest.raises(StructureError, match=r"lists 3,600 operations"):
        symmetry(magnetic + centring)


def test_the_test_for_a_group_needs_little_memory() -> None:
    found = symmetry(listed(*translations(24 * 24 * 3)))
    tracemalloc.start()
    assert not found.is_group
    assert tracemalloc.get_traced_memory()[1] < 100e6
    tracemalloc.stop()
    assert symmetry(listed(*translations(24 * 24))).is_group


def test_two_lists_of_operations_that_differ_contradict_each_other() -> None:
    for first, second in ((OLD, OLD), (NEW, OLD), (OLD, NEW)):
        text = listed("x,y,z", tag=first) + listed(*CENTRED, tag=second)
        (said,) = contradictions(block(text), symmetry(text))
        assert (
            said == "the block has two lists of operations that differ; leave the one that is meant"
        )
    damaged = listed("x,y,z", tag=NEW) + listed("x,y", tag=OLD)
    assert contradictions(block(damaged), symmetry(damaged))


def test_two_lists_of_the_same_operations_are_one() -> None:
    other = ("x, y, z", "1/2+x, 1/2+y, z", "0.5+x, y, -1/2+z", "x, 3/2+y, 1/2+z")
    text = listed(*CENTRED, tag=NEW) + listed(*reversed(other), tag=OLD)
    assert contradictions(block(text), symmetry(text)) == []


# -- names ----------------------------------------------------------------------------------------


def test_names_of_groups_of_more_or_fewer_operations_are_found_wherever_they_are() -> None:
    one, many = f"{NAME} 'P 1'\n", f"{NUMBER} 225\n"
    hall = f"{HALL} 'P 1'\n{NAME} 'F m -3 m'\n"
    for text, source in (
        (one + many, "the space group 'P 1' has"),
        (one + many + listed("x,y,z"), f"{OLD} lists"),
        (hall, "the Hall symbol 'P 1' has"),
    ):
        said = named_otherwise(block(text), symmetry(text))
        assert said.startswith(f"{source} 1 operations, the space group ")
        assert said.endswith(" has 192")
    for text in (one, one + f"{NUMBER} 1\n", f"{many}{NAME} 'F m -3 m'\n{HALL} '-F 4 2 3'\n"):
        assert named_otherwise(block(text), symmetry(text)) == ""


def test_operations_are_lacking_in_the_cell_of_the_group_but_not_in_a_primitive_cell() -> None:
    text = f"{NAME} 'F m -3 m'\n" + listed("x,y,z", "-x,-y,-z")
    assert named_otherwise(block(text), symmetry(text))
    assert lacks_operations(block(text), symmetry(text), np.eye(3))
    primitive = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2
    assert not lacks_operations(block(text), symmetry(text), primitive)
    supercell = f"{NAME} 'P 1'\n" + listed("x,y,z", "x,y+1/2,z")
    assert not lacks_operations(block(supercell), symmetry(supercell), np.eye(3))


def test_two_groups_of_as_many_operations_contradict_each_other() -> None:
    text = f"{NAME} 'P n m a'\n{NUMBER} 59\n"
    (said,) = contradictions(block(text), symmetry(text))
    assert said.startswith("the space group 'P n m a' and the space group number 59 are two")
    for right in (f"{NAME} 'P n m a'\n{NUMBER} 62\n", text + listed("x,y,z", "-x,-y,-z")):
        assert contradictions(block(right), symmetry(right)) == []


@pytest.mark.parametrize(
    ("hall", "n_operations"), [("P 32", 3), ("P 3 2", 6), ("P_62", 6), ("P 6 2", 12), ("-P2ybc", 4)]
)
def test_blanks_tell_hall_symbols_apart(hall: str, n_operations: int) -> None:
    assert len(symmetry(f"{HALL} '{hall}'\n")) == n_operations


def test_a_hall_symbol_without_the_blanks_that_tell_is_left_to_the_name() -> None:
    assert len(symmetry(f"{HALL} 'P32'\n{NAME} 'P 32'\n")) == 3
