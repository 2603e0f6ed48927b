"""Values in and out of their travelling form: small data inline, large data as an artefact.

See ``engine.wire`` for the form. ``unpack`` follows references, so it bounds how deep and how large
what it makes may become: a value comes from a task's result, which nobody checked.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, islice
from typing import Any, overload

import orjson

from engine.artefacts.store import ArtefactStore
from engine.errors import Permanent
from engine.wire import INLINE_LIMIT_BYTES, Value

DEPTH_MAX = 64
"""Lists and maps of values inside each other that ``unpack`` follows."""

UNPACKED_MAX_BYTES = 256 * 1024 * 1024
"""JSON text that one ``unpack`` may read from artefacts."""


# Plain JSON only: what orjson would turn into text on the way out would come back as text.
_PLAIN = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_SUBCLASS


def pack(data: Any, store: ArtefactStore, limit: int = INLINE_LIMIT_BYTES) -> Value:
    """``data`` as a value: inline up to ``limit`` bytes of JSON text, else as an artefact.

    Raises
    ------
    Permanent
        The data is not JSON: it holds bytes, a set, an integer past 64 bits, or nests too deep.
    Unavailable
        The artefact cannot be stored.
    """
    try:
        text = orjson.dumps(data, option=_PLAIN)
    except (orjson.JSONEncodeError, RecursionError) as error:
        raise Permanent(f"not JSON data: {error}") from error
    return {"v": data} if len(text) <= limit else _reference(text, store)


def pack_text(json_bytes: bytes, store: ArtefactStore, limit: int = INLINE_LIMIT_BYTES) -> Value:
    """The same for data that is JSON text already."""
    if len(json_bytes) > limit:
        return _reference(json_bytes, store)
    try:
        return {"v": orjson.loads(json_bytes)}
    except orjson.JSONDecodeError as error:
        raise Permanent(f"not JSON data: {error}") from error


def pack_rows(rows: Iterable[Any], store: ArtefactStore, page: int = 1000) -> Value:
    """A long list as pages of ``page`` rows each; holds one page in memory. Raises as ``pack`` does."""
    pages: list[dict[str, Any]] = []
    total = 0
    iterator = iter(rows)
    while part := list(islice(iterator, page)):
        pages.append(_reference(orjson.dumps(part, option=_PLAIN), store) | {"count": len(part)})
        total += len(part)
    return {"pages": pages, "count": total}


class PagedRows(Sequence[Value]):
    """The rows of a paged list, as values, read page by page; the last few pages are kept.

    Raises ``Unavailable`` where a page cannot be read.
    """

    def __init__(self, value: Value, store: ArtefactStore, keep: int = 8) -> None:
        self._pages, self._count = value["pages"], int(value["count"])
        self._starts = list(accumulate((page["count"] for page in self._pages), initial=0))
        self._store, self._keep = store, keep
        self._read: OrderedDict[int, list[Any]] = OrderedDict()

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Value: ...
    @overload
    def __getitem__(self, index: slice) -> list[Value]: ...
    def __getitem__(self, index: int | slice) -> Value | list[Value]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(self._count))]
        if not 0 <= index < self._count:
            raise IndexError(index)
        number = bisect_right(self._starts, index) - 1
        return {"v": self._page(number)[index - self._starts[number]]}

    def _page(self, number: int) -> list[Any]:
        if number not in self._read:
            rows: list[Any] = unpack({"pages": [self._pages[number]], "count": 0}, self._store)
            self._read[number] = rows
            while len(self._read) > self._keep:
                self._read.popitem(last=False)
        self._read.move_to_end(number)
        return self._read[number]


def unpack(value: Value, store: ArtefactStore) -> Any:
    """The data of ``value``, artefacts read.

    Raises
    ------
    Permanent
        The value is malformed, nests deeper than ``DEPTH_MAX``, or is larger than
        ``UNPACKED_MAX_BYTES``.
    Unavailable
        An artefact is missing, damaged, or cannot be read.
    """
    return _Unpacking(store).data(value, 0)


def references(value: Value) -> Iterator[str]:
    """The digests of all artefacts that ``value`` refers to. User data in ``v`` is never looked at."""
    if isinstance(value.get("ref"), str):
        yield value["ref"]
    for part in (*value.get("list", ()), *value.get("pages", ()), *value.get("map", {}).values()):
        yield from references(part)


class _Unpacking:
    """One ``unpack``: counts what it reads."""

    def __init__(self, store: ArtefactStore) -> None:
        self._store = store
        self._left = UNPACKED_MAX_BYTES

    def data(self, value: Any, depth: int) -> Any:
        if not isinstance(value, dict) or depth > DEPTH_MAX:
            raise Permanent("malformed value: not an object" if depth <= DEPTH_MAX else "value nests too deep")
        match value:
            case {"v": data}:
                return data
            case {"ref": str(digest), "value": True}:
                return self.data(self._read(digest), depth + 1)
            case {"ref": str(digest)}:
                return self._read(digest)
            case {"pages": list(pages)}:
                return [row for page in pages for row in self._read(str(page["ref"]))]
            case {"list": list(parts)}:
                return [self.data(part, depth + 1) for part in parts]
            case {"map": dict(parts)}:
                return {name: self.data(part, depth + 1) for name, part in parts.items()}
        raise Permanent("malformed value: it has none of v, ref, pages, list and map")

    def _read(self, digest: str) -> Any:
        text = self._store.get(digest)
        self._left -= len(text)
        if self._left < 0:
            raise Permanent(f"value is larger than {UNPACKED_MAX_BYTES} bytes")
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise Permanent(f"artefact {digest} is not JSON: {error}") from error


def _reference(text: bytes, store: ArtefactStore) -> Value:
    return {"ref": store.put(text), "bytes": len(text)}
