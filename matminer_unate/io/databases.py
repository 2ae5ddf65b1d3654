"""Databases and data sets by name → structures, one at a time, each failure with its entry.

- ``matminer:NAME``: a data set of matminer with a column ``structure``
- ``jarvis:NAME``: a data set of JARVIS, as ``dft_3d`` (extra ``jarvis``)
- ``mp:all`` or ``mp:KEY=VALUE,…``: the Materials Project (extra ``mp``, key in ``MP_API_KEY``)
- ``optimade:https://host/path?filter=…``: a provider of OPTIMADE

Values of the Materials Project are those of ``MPRester.materials.summary.search``: ``true``,
``false``, numbers, text, ``low:high`` for a range, and ``a|b`` for a list. So these are the small
crystals near the hull, without those of GNoMe, which have another licence (CC BY-NC 4.0)::

    mp:energy_above_hull=0:0.05,num_sites=1:40,include_gnome=false

The clients are imported when they are needed. matminer and JARVIS keep what they have downloaded;
from the others, write a table once with ``training/sources.py``.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import parse_qsl, quote, urlencode, urljoin, urlsplit
from urllib.request import Request, urlopen

from matminer_unate.errors import InputError
from matminer_unate.io.input_rows import InputRow
from matminer_unate.io.objects import as_structure
from matminer_unate.io.parsing import attempt
from matminer_unate.io.structure_dicts import from_jarvis, from_optimade
from matminer_unate.io.table_rows import ID_COLUMNS

MP_BATCH = 500
"""Structures of the Materials Project that are in memory at once."""

OPTIMADE_FIELDS = (
    "lattice_vectors", "cartesian_site_positions", "species", "species_at_sites",
    "dimension_types", "structure_features",
)  # fmt: skip

RETRY_WAITS = (1.0, 5.0, 25.0)
"""Seconds before a request is tried again."""

_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?")  # not NaN or InF, which are formulas


def is_database(source: str) -> bool:
    """Whether a source is one of those above, and not a table, folder or structure file."""
    return source.partition(":")[0] in _READERS


def read_database(source: str) -> Iterator[InputRow]:
    """Read one source of the kinds above.

    Raises
    ------
    InputError
        The source does not exist, or does not understand the query.
    ImportError
        Its client is not installed.
    """
    kind, _, query = source.partition(":")
    return _READERS[kind](query)


# -- data sets ------------------------------------------------------------------------------------


def read_matminer(name: str) -> Iterator[InputRow]:
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
    identifiers = range(len(table)) if key is None else table[key]
    for n, (own, content) in enumerate(zip(identifiers, table["structure"], strict=True)):
        identifier = f"matminer:{name}#{n}" if key is None else str(own)
        yield _row(identifier, f"matminer:{name}, row {n}", as_structure, content)


def read_jarvis(name: str) -> Iterator[InputRow]:
    """A data set by its name in ``jarvis.db.figshare`` (Choudhary et al. 2020,
    doi:10.1038/s41524-020-00440-1)."""
    for entry in _client("jarvis.db.figshare", "jarvis").data(name):
        identifier = str(entry["jid"])
        yield _row(identifier, f"jarvis:{name}, {identifier}", from_jarvis, entry["atoms"])


# -- Materials Project ----------------------------------------------------------------------------


def read_materials_project(query: str) -> Iterator[InputRow]:
    """Crystals of the Materials Project (Jain et al. 2013, doi:10.1063/1.4812323) that fit a query.

    The identifiers come first and the structures by batches, so that few are in memory at once.
    """
    criteria = parse_query(query)
    key = os.environ.get("MP_API_KEY")
    if not key:
        raise InputError(
            f"mp:{query} needs your key of the Materials Project in the environment variable "
            "MP_API_KEY; find it at https://next-gen.materialsproject.org/api"
        )
    client = _client("mp_api.client", "mp").MPRester(
        key, use_document_model=False, mute_progress_bars=True
    )
    with client as rester:
        search = rester.materials.summary.search
        # With no criterion at all the client would download every field of every material.
        found = search(
            **{"deprecated": False, **criteria}, all_fields=False, fields=["material_id"]
        )
        identifiers = [str(document["material_id"]) for document in found]
        for start in range(0, len(identifiers), MP_BATCH):
            documents = search(
                material_ids=identifiers[start : start + MP_BATCH],
                all_fields=False,
                fields=["material_id", "structure"],
            )
            for document in documents:
                identifier = str(document["material_id"])
                yield _row(identifier, f"mp:{identifier}", as_structure, document.get("structure"))


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
        else:
            criteria[key] = list(map(_value, value.split("|"))) if "|" in value else _value(value)
    return criteria


def _value(text: str) -> bool | int | float | str:
    if text in ("true", "false"):
        return text == "true"
    if _NUMBER.fullmatch(text):
        return int(text) if text.lstrip("+-").isdigit() else float(text)
    return text


# -- OPTIMADE -------------------------------------------------------------------------------------


def read_optimade(
    url: str, fetch: Callable[[str], dict[str, Any]] | None = None
) -> Iterator[InputRow]:
    """Structures of an OPTIMADE provider (Andersen et al. 2021, doi:10.1038/s41597-021-00974-z).

    Parameters
    ----------
    url : str
        Base URL of the provider, with or without version, and the query: ``filter`` in the
        language of OPTIMADE, and whatever else the provider knows.
    fetch : callable, optional
        URL → parsed JSON; by default over HTTP.
    """
    fetch = fetch or fetch_json
    page_url, base = optimade_url(url)
    seen: set[str] = set()
    while page_url:
        if page_url in seen:
            raise InputError(f"{page_url} names itself as the next page; ask the provider")
        seen.add(page_url)
        page = fetch(page_url)
        if not isinstance(page, dict) or not isinstance(page.get("data"), list):
            raise InputError(f"{page_url} is no list of OPTIMADE structures; check the base URL")
        for entry in page["data"]:
            place = f"{base}/{entry['id']}"
            yield _row(place, place, from_optimade, entry.get("attributes") or {})
        following = (page.get("links") or {}).get("next")
        if isinstance(following, dict):  # a JSON:API link may be an object
            following = following.get("href")
        page_url = urljoin(page_url, following) if following else ""


def optimade_url(url: str) -> tuple[str, str]:
    """URL of the first page, and the base without protocol, version or query, for identifiers."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise InputError(f"optimade:{url} is no URL; e.g. optimade:https://host/path?filter=…")
    path = re.sub(r"/structures$", "", parts.path.rstrip("/"))
    version = re.search(r"/v\d+(\.\d+)*$", path)
    base = path[: version.start()] if version else path
    path += "/structures" if version else "/v1/structures"
    query = {"page_limit": "100", **dict(parse_qsl(parts.query))}
    query["response_fields"] = ",".join(OPTIMADE_FIELDS)
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
        except (URLError, TimeoutError, ConnectionError) as e:
            if wait is None:
                raise InputError(f"{url} does not answer ({e}); try again later") from e
        except ValueError as e:
            raise InputError(f"{url} is no JSON ({e}); check the base URL") from e
        time.sleep(wait)
    raise AssertionError("the last attempt returns or raises")


# -- all ------------------------------------------------------------------------------------------

_READERS: dict[str, Callable[[str], Iterator[InputRow]]] = {
    "matminer": read_matminer,
    "jarvis": read_jarvis,
    "mp": read_materials_project,
    "optimade": read_optimade,
}


def _row(identifier: str, place: str, parse: Callable[..., Any], *content: Any) -> InputRow:
    parsed = attempt(parse, *content)
    return InputRow(identifier, place, parsed.structure, parsed.error)


def _client(module: str, extra: str = "") -> Any:
    """Import the client of a database."""
    try:
        return importlib.import_module(module)
    except ImportError as e:
        cure = f'pip install "matminer_unate[{extra}]"' if extra else f"pip install {module}"
        raise ImportError(f"this source needs {module.partition('.')[0]} ({e}): {cure}") from e
