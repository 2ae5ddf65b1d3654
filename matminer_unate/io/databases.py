"""Databases and data sets by name → inputs like files: counted, streamed, told when they change.

- ``matminer:NAME``: a data set of matminer with a column ``structure``
- ``jarvis:NAME``: a data set of JARVIS, as ``dft_3d`` (extra ``jarvis``)
- ``mp:all`` or ``mp:KEY=VALUE,…``: the Materials Project (extra ``mp``, key in ``MP_API_KEY``)
- ``optimade:https://host/path?filter=…``: a provider of OPTIMADE

Values of the Materials Project are those of ``MPRester.materials.summary.search``: ``true``,
``false``, numbers, text, ``low:high`` for a range, and ``a|b`` for a list. So these are the small
crystals near the hull, without those of GNoMe, which have another licence (CC BY-NC 4.0)::

    mp:energy_above_hull=0:0.05,num_sites=1:40,include_gnome=false

A database is first asked which entries it has, and when each was changed, so that a run that was
stopped goes on only with the same ones; structures are fetched as they are asked for. The clients
are imported when they are needed. matminer and JARVIS load a data set whole, and keep it on disk;
its other scalar columns are carried, as those of a table are. The others are only asked for
structures.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.parse import parse_qsl, quote, urlencode, urljoin, urlsplit
from urllib.request import Request, urlopen

from matminer_unate.errors import InputError, StructureError
from matminer_unate.io.input_rows import InputRow, Ranges, Source, selected, within
from matminer_unate.io.objects import as_structure
from matminer_unate.io.parsing import attempt
from matminer_unate.io.structure_dicts import from_jarvis, from_optimade
from matminer_unate.io.table_rows import ID_COLUMNS, carried_columns
from matminer_unate.io.tables import cast, typed_table

if TYPE_CHECKING:
    import pyarrow as pa

Content = tuple[str, str, Any, dict[str, Any]]
"""Identifier of an entry, its place for people, the structure as the database gives it, and the
other values that it carries."""

MP_BATCH = 500
"""Structures of the Materials Project that are in memory at once."""

MP_LISTS = ("elements", "exclude_elements", "possible_species", "has_props", "material_ids")
"""Criteria of the Materials Project that are lists; of a text its client would join the letters."""

OPTIMADE_FIELDS = (
    "lattice_vectors", "cartesian_site_positions", "species", "species_at_sites",
    "dimension_types", "structure_features",
)  # fmt: skip

RETRY_WAITS = (1.0, 5.0, 25.0)
"""Seconds before a request is tried again."""

_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?")  # not NaN or InF, which are formulas


def is_database(source: str) -> bool:
    """Whether a source is one of those above, and not a table, folder or structure file."""
    return source.partition(":")[0] in _OPENERS


def open_database(source: str) -> Source:
    """Ask which entries a source of the kinds above has.

    Raises
    ------
    InputError
        The source does not exist, or does not understand the query.
    ImportError
        Its client is not installed.
    """
    kind, _, query = source.partition(":")
    return _OPENERS[kind](query)


def _source(
    name: str,
    fetch: Callable[[Ranges], Iterator[tuple[int, Content]]],
    parse: Callable[[Any], Any],
    entries: Iterable[Any],
    columns: _Carried | None = None,
) -> Source:
    """A database, whose entries are told apart by what is JSON of each."""
    digest, n = hashlib.sha256(), 0
    for entry in entries:
        digest.update(json.dumps(entry, sort_keys=True, default=str).encode() + b"\n")
        n += 1
    return Source(
        name,
        fetch,
        partial(_row, parse),
        n,
        (),
        carried=columns.types if columns else {},
        short_integers=columns.short_integers if columns else frozenset(),
        left_behind=columns.left_behind if columns else (),
        digest=digest.hexdigest(),
    )


def _row(parse: Callable[[Any], Any], number: int, content: Content) -> list[InputRow]:
    identifier, place, given, carried = content
    parsed = attempt(parse, given)
    return [InputRow(identifier, place, parsed.structure, parsed.error, carried)]


# -- data sets ------------------------------------------------------------------------------------


def open_matminer(name: str) -> Source:
    """A data set by its name in ``matminer.datasets.get_available_datasets()``."""
    try:
        table = _client("matminer.datasets").load_dataset(name, pbar=False)
    except ValueError as e:  # no such name; it proposes others
        raise InputError(f"matminer:{name}: {' '.join(str(e).split())}") from e
    if "structure" not in table:
        raise InputError(
            f"matminer:{name} has no column 'structure'; it has {', '.join(map(str, table))}"
        )
    key = next((column for column in ID_COLUMNS if column in table), None)
    own = [f"matminer:{name}#{n}" for n in range(len(table))] if key is None else table[key]
    others = [_plain(row) for row in table.drop(columns="structure").to_dict("records")]
    columns = _carried(f"matminer:{name}", others, key)
    contents = [
        (str(identifier), f"matminer:{name}, row {n}", structure, values)
        for n, (identifier, structure, values) in enumerate(
            zip(own, table["structure"], columns.values, strict=True)
        )
    ]
    told = ((identifier, _written(given), values) for identifier, _, given, values in contents)
    return _source(
        f"matminer:{name}",
        partial(selected, contents),
        as_structure,
        told,
        columns,
    )


@dataclass(frozen=True)
class _Carried:
    """What the entries of a data set carry.

    Attributes
    ----------
    values : list of dict
        By entry.
    types : dict of str to pyarrow.DataType
    short_integers : frozenset of str
        Columns of whole numbers that are exact as floats too.
    left_behind : tuple of str
        Columns that are not carried.
    """

    values: list[dict[str, Any]]
    types: dict[str, pa.DataType]
    short_integers: frozenset[str]
    left_behind: tuple[str, ...]


def _carried(name: str, others: list[dict[str, Any]], identifier: str | None) -> _Carried:
    """The scalar columns of a data set that is in memory, without its structures."""
    table = typed_table(Path(name), partial(selected, [(None, entry) for entry in others]))
    types, left_behind = carried_columns(table, (), identifier)
    values = [{n: cast(entry.get(n), kind) for n, kind in types.items()} for entry in others]
    return _Carried(values, types, table.short_integers, left_behind)


def _plain(row: dict[Any, Any]) -> dict[str, Any]:
    """Cells of a frame as Python's numbers and lists; None for what pandas calls missing."""
    import pandas as pd

    cells = {str(name): v.tolist() if hasattr(v, "tolist") else v for name, v in row.items()}
    missing = (pd.NA, pd.NaT)
    return {name: None if any(v is one for one in missing) else v for name, v in cells.items()}


def _written(structure: Any) -> Any:
    return structure.as_dict() if hasattr(structure, "as_dict") else structure


def open_jarvis(name: str) -> Source:
    """A data set by its name in ``jarvis.db.figshare`` (Choudhary et al. 2020,
    doi:10.1038/s41524-020-00440-1)."""
    try:
        entries = _client("jarvis.db.figshare", "jarvis").data(name)
    except ValueError as e:
        raise InputError(f"jarvis:{name}: {e}") from e
    if not any(entry.get("atoms") for entry in entries):
        raise InputError(f"jarvis:{name} has no entry with 'atoms'; name a data set of structures")
    others = [{k: value for k, value in entry.items() if k != "atoms"} for entry in entries]
    key = next((key for key in ("jid", "id") if any(key in entry for entry in entries)), None)
    columns = _carried(f"jarvis:{name}", others, key)
    contents = []
    for n, (entry, values) in enumerate(zip(entries, columns.values, strict=True)):
        identifier = str(entry.get("jid", entry.get("id", n)))
        contents.append((identifier, f"jarvis:{name}, {identifier}", entry.get("atoms"), values))
    return _source(
        f"jarvis:{name}",
        partial(selected, contents),
        from_jarvis,
        contents,
        columns,
    )


# -- Materials Project ----------------------------------------------------------------------------


def open_materials_project(query: str) -> Source:
    """Crystals of the Materials Project (Jain et al. 2013, doi:10.1063/1.4812323) that fit a query.

    The identifiers come first and the structures by batches, so that few are in memory at once.
    """
    criteria = parse_query(query)
    if not os.environ.get("MP_API_KEY"):
        raise InputError(
            f"mp:{query} needs your key of the Materials Project in the environment variable "
            "MP_API_KEY; find it at https://next-gen.materialsproject.org/api"
        )
    # With no criterion at all the client would download every field of every material.
    found = _search(["material_id", "last_updated"], **{"deprecated": False, **criteria})
    entries = sorted((str(one["material_id"]), str(one.get("last_updated"))) for one in found)
    fetch = partial(_materials, [identifier for identifier, _ in entries])
    return _source(f"mp:{query}", fetch, _given, entries)


def _search(fields: list[str], **criteria: Any) -> list[dict[str, Any]]:
    client = _client("mp_api.client", "mp").MPRester(
        os.environ["MP_API_KEY"], use_document_model=False, mute_progress_bars=True
    )
    with client as rester:
        search = rester.materials.summary.search
        try:
            return list(search(**criteria, all_fields=False, fields=fields))
        except (
            Exception
        ) as e:  # of criteria that it does not know, the client says all sorts of things
            raise InputError(
                f"the client of the Materials Project failed ({type(e).__name__}: {e}); check the "
                "query by MPRester.materials.summary.search, or try again later"
            ) from e


def _materials(identifiers: Sequence[str], ranges: Ranges) -> Iterator[tuple[int, Content]]:
    for start in range(0, len(identifiers), MP_BATCH):
        numbers = [n for part in within(ranges, start, start + MP_BATCH) for n in part]
        asked = [identifiers[n] for n in numbers if n < len(identifiers)]
        if not asked:
            continue
        found = {
            str(document["material_id"]): document.get("structure")
            for document in _search(["material_id", "structure"], material_ids=asked)
        }
        for number, identifier in zip(numbers, asked, strict=False):
            yield number, (identifier, f"mp:{identifier}", found.get(identifier, _GONE), {})


_GONE = StructureError("the Materials Project did not return it; ask for it again later")


def _given(content: Any) -> Any:
    if isinstance(content, StructureError):
        raise content
    return as_structure(content)


def parse_query(query: str) -> dict[str, Any]:
    """``is_stable=true,band_gap=0.5:3`` → keyword arguments of a search; ``all`` → none.

    Raises
    ------
    InputError
        A part is not ``key=value``, or a bound of a range is not a number.
    """
    if query == "all":
        return {}
    criteria: dict[str, Any] = {}
    for part in query.split(","):
        key, equals, value = (text.strip() for text in part.partition("="))
        bounds = value.split(":")
        if not (key.isidentifier() and equals and value) or (
            len(bounds) > 1 and not (len(bounds) == 2 and all(map(_NUMBER.fullmatch, bounds)))
        ):
            raise InputError(
                f"mp:{query}: {part!r} is not key=value with one value, a|b or low:high; e.g. "
                "mp:is_stable=true,num_sites=1:40 or mp:all"
            )
        if len(bounds) == 2:
            criteria[key] = tuple(map(_value, bounds))
        elif "|" in value or key in MP_LISTS:
            criteria[key] = list(map(_value, value.split("|")))
        else:
            found = _value(value)
            # The client leaves out what is false, such as a plain 0.
            criteria[key] = (found, found) if found == 0 and found is not False else found
    return criteria


def _value(text: str) -> bool | int | float | str:
    if text in ("true", "false"):
        return text == "true"
    if _NUMBER.fullmatch(text):
        return int(text) if text.lstrip("+-").isdigit() else float(text)
    return text


# -- OPTIMADE -------------------------------------------------------------------------------------


def open_optimade(url: str, fetch: Callable[[str], dict[str, Any]] | None = None) -> Source:
    """Structures of an OPTIMADE provider (Andersen et al. 2021, doi:10.1038/s41597-021-00974-z).

    Its pages are gone through twice: for the identifiers, and for the structures.

    Parameters
    ----------
    url : str
        Base URL of the provider, with or without version, and the query: ``filter`` in the
        language of OPTIMADE, and whatever else the provider knows.
    fetch : callable, optional
        URL → parsed JSON; by default over HTTP.
    """
    fetch = fetch or fetch_json
    first, base = optimade_url(url, ("last_modified",))
    entries = [
        (str(entry["id"]), (entry.get("attributes") or {}).get("last_modified"))
        for entry in _optimade_entries(first, fetch)
    ]
    identifiers = [identifier for identifier, _ in entries]
    pages = partial(_optimade_contents, url, base, identifiers, fetch)
    return _source(f"optimade:{url}", pages, from_optimade, entries)


def _optimade_contents(
    url: str,
    base: str,
    identifiers: Sequence[str],
    fetch: Callable[[str], dict[str, Any]],
    ranges: Ranges,
) -> Iterator[tuple[int, Content]]:
    for number, entry in selected(_optimade_entries(optimade_url(url)[0], fetch), ranges):
        if number >= len(identifiers) or str(entry["id"]) != identifiers[number]:
            raise InputError(f"optimade:{url} changed while it was read; start anew")
        place = f"{base}/{entry['id']}"
        yield number, (place, place, entry.get("attributes") or {}, {})


def _optimade_entries(
    page_url: str, fetch: Callable[[str], dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """All entries from a page on."""
    seen: set[str] = set()
    while page_url:
        if page_url in seen:
            raise InputError(f"{page_url} names itself as the next page; ask the provider")
        seen.add(page_url)
        page = fetch(page_url)
        if not isinstance(page, dict) or not isinstance(page.get("data"), list):
            raise InputError(f"{page_url} is no list of OPTIMADE structures; check the base URL")
        yield from page["data"]
        following = (page.get("links") or {}).get("next")
        if isinstance(following, dict):  # a JSON:API link may be an object
            following = following.get("href")
        page_url = urljoin(page_url, following) if following else ""


def optimade_url(url: str, fields: Sequence[str] = OPTIMADE_FIELDS) -> tuple[str, str]:
    """URL of the first page, and the base without protocol, version or query, for identifiers."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise InputError(f"optimade:{url} is no URL; e.g. optimade:https://host/path?filter=…")
    path = re.sub(r"/structures$", "", parts.path.rstrip("/"))
    version = re.search(r"/v\d+(\.\d+)*$", path)
    base = path[: version.start()] if version else path
    path += "/structures" if version else "/v1/structures"
    query = {"page_limit": "100", **dict(parse_qsl(parts.query))}
    query["response_fields"] = ",".join(fields)
    encoded = urlencode(query, quote_via=quote)
    return parts._replace(path=path, query=encoded, fragment="").geturl(), parts.netloc + base


def fetch_json(url: str) -> dict[str, Any]:
    """Get one page of JSON over HTTP; a busy server is asked again.

    Raises
    ------
    InputError
        The server refuses, does not answer, or answers something else.
    """
    request = Request(url, headers={"Accept": "application/json", "User-Agent": "matminer_unate"})
    for wait in (*RETRY_WAITS, None):
        try:
            with urlopen(request, timeout=60) as response:
                return dict(json.load(response))
        except HTTPError as e:
            with e:
                said = e.read(500).decode(errors="replace")
            if wait is None or e.code not in (429, 500, 502, 503, 504):
                raise InputError(f"{url}: HTTP {e.code}, {said}; check the filter") from e
        except (OSError, HTTPException) as e:  # URLError is one, and an answer that was cut short
            if wait is None:
                raise InputError(f"{url} does not answer ({e}); try again later") from e
        except ValueError as e:
            raise InputError(f"{url} is no JSON ({e}); check the base URL") from e
        time.sleep(wait)
    raise AssertionError("the last attempt returns or raises")


# -- all ------------------------------------------------------------------------------------------

_OPENERS: dict[str, Callable[[str], Source]] = {
    "matminer": open_matminer,
    "jarvis": open_jarvis,
    "mp": open_materials_project,
    "optimade": open_optimade,
}


def _client(module: str, extra: str = "") -> Any:
    """Import the client of a database."""
    try:
        return importlib.import_module(module)
    except ImportError as e:
        cure = f'pip install "matminer_unate[{extra}]"' if extra else f"pip install {module}"
        raise ImportError(f"this source needs {module.partition('.')[0]} ({e}): {cure}") from e
