"""Ways in which CIFs are damaged, or unusual and right; each is a function of the text.

The texts are those of the CifWriter of pymatgen: pairs, a loop of operations, then one of atoms.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

RIGHT = ""
"""What is said of a crystal that must be read rightly: nothing."""

Rows = list[list[str]]


@dataclass(frozen=True)
class Way:
    """A way to change a CIF.

    Attributes
    ----------
    change : callable
        Text → text or bytes.
    reason : str
        Pattern of the reason for a failure; empty where it has to be read.
    may_be_right : bool
        Whether the right crystal will do as well as the reason, as it depends on the crystal.
    moved : float, Å
        How far an atom may be from where it was.
    """

    change: Callable[[str], str | bytes]
    reason: str = RIGHT
    may_be_right: bool = False
    moved: float = 0.02


# -- the parts of a text --------------------------------------------------------------------------


def atoms(text: str) -> tuple[str, list[str], Rows]:
    """What precedes the loop of atoms, its tags, and its rows."""
    head, _, loop = text.rpartition("loop_\n")
    lines = [line.split() for line in loop.splitlines()]
    tags = [line[0] for line in lines if line[0].startswith("_")]
    return head, tags, [line for line in lines if not line[0].startswith("_")]


def join(head: str, tags: list[str], rows: Rows) -> str:
    lines = ["loop_", *(f" {tag}" for tag in tags), *("  " + "  ".join(row) for row in rows)]
    return head + "\n".join(lines) + "\n"


def column(name: str, change: Callable[[int, str], str]) -> Callable[[str], str]:
    """Change the values of a column of atoms, given the row's number."""

    def damage(text: str) -> str:
        head, tags, rows = atoms(text)
        at = tags.index(f"_atom_site_{name}")
        for n, row in enumerate(rows):
            row[at] = change(n, row[at])
        return join(head, tags, rows)

    return damage


def without(*names: str) -> Callable[[str], str]:
    """Leave out columns of atoms."""

    def damage(text: str) -> str:
        head, tags, rows = atoms(text)
        kept = [k for k, tag in enumerate(tags) if tag.removeprefix("_atom_site_") not in names]
        return join(head, [tags[k] for k in kept], [[row[k] for k in kept] for row in rows])

    return damage


def last_element(change: Callable[[list[str]], list[str] | None]) -> Callable[[str], str]:
    """Change, or leave out, the atoms of the last element."""

    def damage(text: str) -> str:
        head, tags, rows = atoms(text)
        element = rows[-1][0]
        changed = [change(row) if row[0] == element else row for row in rows]
        return join(head, tags, [row for row in changed if row is not None])

    return damage


def substitute(pattern: str, by: str, count: int = 0) -> Callable[[str], str]:
    return lambda text: re.sub(pattern, by, text, count=count, flags=re.MULTILINE)


def before_cell(what: str) -> Callable[[str], str]:
    return lambda text: text.replace("_cell_length_a", f"{what}\n_cell_length_a", 1)


def each(*changes: Callable[[str], str]) -> Callable[[str], str]:
    def damage(text: str) -> str:
        for change in changes:
            text = change(text)
        return text

    return damage


# -- ways that need more than a line --------------------------------------------------------------

OTHER = """data_other
_cell_length_a 3
_cell_length_b 3
_cell_length_c 3
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
loop_
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Po1 0 0 0
"""

OPERATIONS = r"^loop_\n _symmetry_equiv_pos_site_id\n _symmetry_equiv_pos_as_xyz\n(?:  \d+  .*\n)+"
NAME, NUMBER = r"^_symmetry_space_group_name_H-M.*\n", r"^_symmetry_Int_Tables_number.*\n"
FORMULA = r"^_chemical_formula_sum.*"
COORDINATES = ("fract_x", "fract_y", "fract_z")


def group(name: str) -> Callable[[list[str]], list[str]]:
    return lambda row: [name, f"{name}{row[1][-1]}", *row[2:]]


def unplaced(mark: str) -> Callable[[list[str]], list[str]]:
    return lambda row: [*row[:3], mark, mark, mark, *row[6:]]


def rounded(decimals: int) -> Callable[[str], str]:
    return each(*(column(axis, lambda _, x: f"{float(x):.{decimals}f}") for axis in COORDINATES))


def uncertain(text: str) -> str:
    return re.sub(r"(?<=\s)(\d+\.\d+)(?=\s)", r"\1(3)", text)


def per_unit(text: str) -> str:
    """The formula of one formula unit, as the standard has it."""
    units = int(re.search(r"units_Z\s+(\d+)", text)[1])  # type: ignore[index]
    before, formula, after = re.split(r"(?<=_chemical_formula_sum)(.*)", text, maxsplit=1)
    return before + re.sub(r"\d+", lambda m: str(int(m[0]) // units), formula) + after


def scaled_cell(text: str) -> str:
    def shrink(match: re.Match[str]) -> str:
        return f"{match[1]}{float(match[2]) / (1000 if 'volume' in match[1] else 10):.8f}"

    return re.sub(r"(_cell_(?:length_.|volume)\s+)(\S+)", shrink, text)


def shifted(text: str) -> str:
    """Coordinates below 0 and above 1."""
    moved = column("fract_x", lambda n, x: f"{float(x) + 2 * (n % 2) - 1:.8f}")
    return moved(column("fract_z", lambda _, x: f"{float(x) + 1:.8f}")(text))


def reversed_columns(text: str) -> str:
    head, tags, rows = atoms(text)
    return join(head, tags[::-1], [row[::-1] for row in rows])


def atoms_first(text: str) -> str:
    head, tags, rows = atoms(text)
    header, _, rest = head.partition("_symmetry_space")
    return header + join("", tags, rows) + "_symmetry_space" + rest


def doubled(text: str) -> str:
    head, tags, rows = atoms(text)
    return join(head, tags, [row for row in rows for _ in range(2)])


def with_images(text: str) -> str:
    """The atom list of the whole cell beside the operations that make it, for one translation."""
    head, tags, rows = atoms(text)
    x = tags.index("_atom_site_fract_x")
    images = [
        [*row[:x], *(f"{float(v) + 1:.8f}" for v in row[x : x + 3]), *row[x + 3 :]] for row in rows
    ]
    return join(head, tags, rows + images)


def text_labels(text: str) -> str:
    """Labels as text fields."""
    return column("label", lambda _, x: f"\n;{x}\n;\n")(text)


def one_operation_less(text: str) -> str:
    lines = text.splitlines(keepends=True)
    found = [k for k, line in enumerate(lines) if re.match(r"  \d+  '", line)]
    return "".join(line for k, line in enumerate(lines) if k != found[-1])


def charged(_: int, symbol: str) -> str:
    return f"{symbol}2+"


_ANISO = "loop_\n_atom_site_aniso_label\n_atom_site_aniso_U_11\n"
_QUOTED = f"_publ_section_comment\n;\nas in\n{OTHER};\n"

NOT_FORMULA = "is not the formula"

WAYS: dict[str, Way] = {
    # atoms that are missing
    "an element is missing": Way(
        last_element(lambda row: None), f"{NOT_FORMULA}|list of atoms is damaged"
    ),
    "an element has coordinates ?": Way(
        last_element(unplaced("?")), f"left out: coordinates.*{NOT_FORMULA}|no atom of the list"
    ),
    "an element has coordinates .": Way(
        last_element(unplaced(".")), f"left out: coordinates.*{NOT_FORMULA}|no atom of the list"
    ),
    "an element has occupancy 0": Way(
        last_element(lambda row: [*row[:-1], "0"]), f"{NOT_FORMULA}|no atom of the list"
    ),
    "an atom is missing": Way(
        lambda text: text.rstrip().rpartition("\n")[0] + "\n",
        f"{NOT_FORMULA}|units of the formula|list of atoms is damaged",
    ),
    # names of atoms
    **{
        f"the type is {name}": Way(last_element(group(name)), f"is the group {name}")
        for name in ("OH", "Wat", "NH3", "H2O", "NH4", "CH3")
    },
    **{
        f"the label is {name} and there is no type": Way(
            each(last_element(group(name)), without("type_symbol")),
            f"is the group|{NOT_FORMULA}",
            may_be_right=True,
        )
        for name in ("OH", "NH3", "HOH")
    },
    "the label is Wat and there is no type": Way(
        each(last_element(group("Wat")), without("type_symbol")), "is the group Wat"
    ),
    "no labels": Way(without("label")),
    "no types": Way(without("type_symbol")),
    "neither labels nor types": Way(without("label", "type_symbol"), "neither a label nor a type"),
    "types with charges": Way(column("type_symbol", charged)),
    "types in capitals": Way(column("type_symbol", lambda _, x: x.upper())),
    "a type that is no element": Way(
        last_element(lambda row: ["Xx", *row[1:]]), "type 'Xx' of atom .* is no element"
    ),
    "a vacancy": Way(last_element(lambda row: ["Vac", *row[1:]]), "type 'Vac' .* is no element"),
    "deuterium for hydrogen": Way(column("type_symbol", lambda _, x: "D" if x == "H" else x)),
    # occupancies
    "occupancies 1.002(5)": Way(column("occupancy", lambda *_: "1.002(5)")),
    "occupancies 0.995": Way(column("occupancy", lambda *_: "0.995")),
    "occupancies ?": Way(column("occupancy", lambda *_: "?")),
    "no occupancies": Way(without("occupancy")),
    "occupancies 1.4": Way(column("occupancy", lambda *_: "1.4"), "1.4, which cannot be"),
    "occupancies that are no numbers": Way(
        column("occupancy", lambda *_: "full"), "'full' of .* is no number"
    ),
    # numbers
    "uncertainties everywhere": Way(uncertain),
    "decimal commas": Way(
        lambda text: re.sub(r"(?<=\d)\.(?=\d)", ",", text), "write a decimal point"
    ),
    "numbers in quotes": Way(lambda text: re.sub(r"(?<=\s)(\d+\.\d+)(?=\s)", r"'\1'", text)),
    "coordinates with two decimals": Way(
        rounded(2), "apart|special position", may_be_right=True, moved=0.15
    ),
    "coordinates with three decimals": Way(rounded(3)),
    "coordinates with four decimals": Way(rounded(4)),
    "coordinates below 0 and above 1": Way(shifted),
    "a minus of typography": Way(column("fract_x", lambda _, x: f"−{x}"), "no number"),
    # grammar
    "tags in capitals": Way(lambda text: re.sub(r"_[a-z][\w-]+", lambda m: m[0].upper(), text)),
    "tags with dots": Way(substitute(r"_(cell|atom_site|chemical_formula)_", r"_\1.")),
    "a line of data_ in a text field": Way(before_cell("_publ_section\n;\ndata_used are\n;")),
    "a crystal in a text field": Way(before_cell(_QUOTED)),
    "a crystal in a text field at the end": Way(lambda text: text + _QUOTED),
    "a text field that is not closed": Way(
        before_cell("_publ_section\n;\nnot closed"), "text field begins with ; and is never closed"
    ),
    "a quote that is not closed": Way(before_cell("_publ_author 'Miller, J.")),
    "a quote in a quote": Way(before_cell("_publ_author 'O'Brien, J.'")),
    "a value that belongs to no tag": Way(before_cell("_publ_author J. Miller")),
    "a tag without a value": Way(before_cell("_publ_author")),
    "a loop without values": Way(before_cell("loop_\n_publ_author"), "2 tags but 1 values"),
    "a save frame": Way(before_cell(f"save_frame\n{OTHER.partition(chr(10))[2]}save_")),
    "tabs": Way(substitute(" +", "\t")),
    "comments in loops": Way(substitute(r"^(  .*)$", r"\1 # as measured\n# data_x")),
    "labels as text fields": Way(text_labels),
    "columns in another order": Way(reversed_columns),
    "atoms before the cell": Way(atoms_first),
    "no data_ line": Way(substitute(r"^data_.*\n", "")),
    "a value too many": Way(lambda text: text + "  0.5\n", "list of atoms is damaged: the loop at"),
    "a value too few": Way(
        lambda text: text.rstrip().rpartition(" ")[0], "list of atoms is damaged: the loop at"
    ),
    "a loop of vibrations": Way(lambda text: f"{text}{_ANISO}X1 0.01\nX2 0.02\n"),
    "a damaged loop of vibrations": Way(lambda text: f"{text}{_ANISO}X1 0.01\nX2\n"),
    "the same tag twice": Way(before_cell("_cell_formula_units_Z 1\n_cell_length_a 9.9"), "twice"),
    "a list of atoms twice": Way(lambda text: text + "loop_\n" + text.rpartition("loop_\n")[2]),
    "two lists of atoms": Way(
        lambda text: text + OTHER[OTHER.index("loop_") :], "two lists of atoms, at lines"
    ),
    # cut
    "cut in the list of atoms": Way(
        lambda text: text[: text.rindex("_atom_site_occupancy") + 30], "list of atoms is damaged"
    ),
    "cut in the last number": Way(
        lambda text: without("occupancy")(text)[:-7],
        "with a number that is shorter than the others|list of atoms is damaged",
    ),
    "cut in the cell": Way(lambda text: text[: text.index("_cell_angle_beta")], "no structures"),
    "cut before the atoms": Way(lambda text: text[: text.rindex("loop_")], "no structures"),
    "nothing": Way(lambda text: "", "the file is empty"),
    "only a comment": Way(lambda text: "# generated using pymatgen\n", "no structures"),
    "a page of the web": Way(
        lambda text: "<!DOCTYPE html>\n<html><body>404</body></html>", "no structures"
    ),
    # encodings and ends of lines
    "CR LF": Way(lambda text: text.replace("\n", "\r\n").encode()),
    "CR": Way(lambda text: text.replace("\n", "\r").encode()),
    "UTF-16": Way(lambda text: text.encode("utf-16")),
    "UTF-8 with a mark": Way(lambda text: text.encode("utf-8-sig")),
    "Latin-1": Way(lambda text: before_cell("_publ_author 'Müller, J.'")(text).encode("latin-1")),
    # cell
    "an angle is missing": Way(
        substitute(r"^_cell_angle_gamma.*\n", ""), "_cell_angle_gamma is missing", True
    ),
    "an angle is ?": Way(
        substitute(r"^(_cell_angle_gamma).*$", r"\1 ?"), "_cell_angle_gamma is missing", True
    ),
    "a length is missing": Way(substitute(r"^_cell_length_b.*\n", ""), "no _cell_length_b"),
    "a length is wrong": Way(
        lambda text: re.sub(r"(?<=_cell_length_c)(.*)", lambda m: f" {1.02 * float(m[1])}", text),
        "give a cell of .* Å³, _cell_volume is",
    ),
    "a length is 0": Way(substitute(r"^(_cell_length_c +).*", r"\g<1>0"), "there is no cell"),
    "lengths in nm": Way(scaled_cell, "too small for any crystal|apart"),
    "Cartesian coordinates": Way(
        substitute("_atom_site_fract_", "_atom_site_Cartn_"), "Cartesian coordinates"
    ),
    "no coordinate y": Way(without("fract_y"), "has no _atom_site_fract_y"),
    # symmetry
    "no symmetry": Way(
        each(substitute(OPERATIONS, ""), substitute(NAME, ""), substitute(NUMBER, "")),
        "no symmetry is given",
        True,
    ),
    "a name of the space group without operations": Way(
        each(substitute(OPERATIONS, ""), substitute(NUMBER, "")), "settings that fit", True
    ),
    "a number of the space group without operations": Way(
        each(substitute(OPERATIONS, ""), substitute(NAME, "")), "settings that fit", True
    ),
    "a space group that does not exist": Way(
        each(
            substitute(OPERATIONS, ""),
            substitute(NUMBER, ""),
            substitute(NAME, "_space_group_name_H-M_alt 'Q 1'\n"),
        ),
        "space group 'Q 1' is unknown",
    ),
    # Where all atoms lie on a mirror plane, the mirror is not missed.
    "an operation is missing": Way(
        one_operation_less,
        "no complete list of operations|2 tags but 0 values|is not the formula|units of",
        may_be_right=True,
    ),
    "an operation that is none": Way(
        substitute(r"'x, y, z'", "'x, y'"), "is no symmetry operation"
    ),
    "operations with a fourth part": Way(
        substitute(r"^(  \d+  '[^']*)'", r"\1, +1'"),
    ),
    "magnetic operations": Way(
        each(
            substitute("_symmetry_equiv_pos_as_xyz", "_space_group_symop_magn_operation.xyz"),
            substitute("_symmetry_equiv_pos_site_id", "_space_group_symop_magn_operation.id"),
            substitute(r"^(  \d+  '[^']*)'", r"\1, -1'"),
        )
    ),
    "atoms listed twice": Way(doubled),
    "atoms listed with their images": Way(with_images),
    # formula
    "another formula": Way(substitute(FORMULA, "_chemical_formula_sum 'Po3 At'"), NOT_FORMULA),
    "the formula of a unit": Way(per_unit),
    "formula ?": Way(substitute(FORMULA, "_chemical_formula_sum ?")),
    "no formula": Way(substitute(FORMULA, "")),
    "a formula that is none": Way(substitute(FORMULA, "_chemical_formula_sum 'see text'")),
    "another number of units": Way(
        substitute(r"^(_cell_formula_units_Z +)(\d+)", r"\g<1>29"), "_cell_formula_units_z is 29"
    ),
}
