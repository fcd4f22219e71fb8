"""Values out of a huge JSON document while it arrives."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from aiostreams.content.models import model_of
from aiostreams.errors import InvalidContent, MalformedBody, exceeded
from aiostreams.extras import require
from aiostreams.limits import KiB
from aiostreams.sansio.jsonpieces import JSONPieces
from aiostreams.web.state import body_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from aiostreams.content.model import Model
    from aiostreams.streams.base import Stream

__all__ = ["iter_json"]

# What ijson itself reads at once, unless told otherwise.
_LARGEST: Final = 64 * KiB
# Beyond the ceiling of a value, one part in so many may pass.
_PARTS: Final = 16


def iter_json(
    request: web.BaseRequest,
    path: str = "item",
    *,
    type: Any = None,  # noqa: A002 - as in read_json
) -> AsyncIterator[Any]:
    """The values at ``path`` of a JSON body, as they arrive.

    Memory holds one value at a time. Needs the extra ``ijson``.

    Args:
        request: whose body.
        path: where the values are, as ijson writes it: ``item`` for the elements of
            the outermost array, ``data.rows.item`` for those of an array inside,
            ``""`` for the document as a whole. A path that ends in ``*`` gives the
            members of an object as ``(name, value)``: ``*`` of the outermost one,
            ``data.*`` of one inside.
        type: what each value has to be, as for ``read_json``; of members, the value.

    Raises:
        ImportError: ijson is not installed.
        LimitExceeded: one value, with what stands between it and the last one, has
            more than ``max_memory`` bytes. Up to a sixteenth of that more may pass,
            and at most 64 KiB: the parser does not say where in a piece a value ends.
        MalformedBody: it is not JSON, ends too early, or nests deeper than 1,000.
        InvalidContent: a value is not of ``type``; each fault is named by the JSON
            Pointer into the whole document.
        ImportError: the extra that ``type`` needs is missing.
        TypeError: nothing here can validate into ``type``.
        StreamError: as raised by the stream.
    """
    ijson = require("ijson", extra="ijson", what="iter_json")
    if type is None:
        return _values(request, path, ijson)
    return _checked(request, path, ijson, model_of(type))


def _are_members(path: str) -> bool:
    return path == "*" or path.endswith(".*")


async def _checked(
    request: web.BaseRequest, path: str, ijson: Any, model: Model
) -> AsyncIterator[Any]:
    """The values as their type; a fault is named by where it is in the document."""
    members = _are_members(path)
    steps = path.split(".") if path else []
    # Items of one array: to count them is enough. Elsewhere the parser has to tell
    # each bracket, at some 2 us of Python each.
    counted = "item" not in steps[:-1]
    number = 0
    values = _values(request, path, ijson, places=not counted)
    async for value in values:
        if counted:
            place = [*steps[:-1], number] if steps and steps[-1] == "item" else steps
            found = value
        else:
            place, found = value
        number += 1
        name = None
        if members:
            name, found = found
            place = [*place[:-1], name] if counted else [*place, name]
        try:
            checked = model.check(found)
        except InvalidContent as error:
            raise error.within(*place) from error
        yield (name, checked) if members else checked


async def _values(
    request: web.BaseRequest, path: str, ijson: Any, *, places: bool = False
) -> AsyncIterator[Any]:
    body = body_of(request)
    # Only the parser in pure Python lets infinities through.
    pieces = JSONPieces(doubtful=getattr(ijson, "backend", "") == "python")
    source = _Source(body.source("iter_json()"), body.limits.max_memory, pieces)
    parse = _located if places else _parse
    try:
        # The parser has no name here: its object cannot be seen by the garbage
        # collector, and would keep the request alive in a circle with an error whose
        # traceback has this frame.
        async for value in parse(source, path, ijson):
            source.unclaimed = 0
            yield (
                _restored(value, pieces)
                if type(value) is tuple
                else (pieces.restore(value))
            )
    except (ijson.JSONError, json.JSONDecodeError) as error:
        raise MalformedBody(f"the body is not JSON: {_reason(error)}") from error
    except UnicodeDecodeError as error:
        raise MalformedBody(f"the body is not UTF-8, at byte {error.start}") from error


def _restored(pair: tuple[Any, Any], pieces: JSONPieces) -> tuple[Any, Any]:
    """A name or a place, and its value."""
    first, value = pair
    if type(value) is tuple:
        return first, _restored(value, pieces)
    return first, pieces.restore(value)


def _parse(source: _Source, path: str, ijson: Any) -> AsyncIterator[Any]:
    if _are_members(path):
        members: AsyncIterator[Any]
        members = ijson.kvitems_async(source, path[:-2], use_float=True)
        return members
    values: AsyncIterator[Any] = ijson.items_async(source, path, use_float=True)
    return values


async def _located(source: _Source, path: str, ijson: Any) -> AsyncIterator[Any]:
    """What ``_parse`` gives, each with its place in the document."""
    members = _are_members(path)
    target = path[:-2] if members else path
    # How many items each array that is open has had.
    counts: dict[str, int] = {}
    builder: Any = None
    begun = name = ""
    place: list[str | int] = []
    async for prefix, event, value in ijson.parse_async(source, use_float=True):
        if builder is None:
            if event == "map_key":
                name = value
                continue
            if event.startswith("end_"):
                continue
            outer, _, last = prefix.rpartition(".")
            if last == "item" and outer in counts:
                counts[outer] += 1
            wanted = target
            if members:
                wanted = f"{target}.{name}" if target else name
            if prefix == wanted:
                builder = ijson.ObjectBuilder()
                begun, place = prefix, _place(target, counts)
            elif event == "start_array":
                counts[prefix] = -1
            elif event == "start_map":
                counts.pop(prefix, None)
        if builder is not None:
            builder.event(event, value)
            if prefix == begun and event != "map_key" and not event.startswith("start"):
                found, builder = builder.value, None
                yield place, ((name, found) if members else found)


def _place(target: str, counts: dict[str, int]) -> list[str | int]:
    place: list[str | int] = []
    steps = target.split(".")
    for index, step in enumerate(steps):
        outer = ".".join(steps[:index])
        count = counts.get(outer) if step == "item" else None
        place.append(step if count is None else count)
    return place


def _reason(error: Exception) -> str:
    # yajl's messages go on with a picture of the text: the client's bytes.
    first = error.args[0] if error.args else ""
    text = first.decode("utf-8", "replace") if isinstance(first, bytes) else str(first)
    return text.partition("\n")[0][:100]


class _Source:
    """What ijson reads from: pieces as they arrive, counted between two values.

    A piece in which a value has ended counts for nothing: what of it belongs to the
    next one is not known. So the pieces are small beside the ceiling, and the last one
    that may pass ends at it.
    """

    def __init__(self, stream: Stream, ceiling: int, pieces: JSONPieces) -> None:
        self._stream = stream
        self._ceiling = ceiling
        self._step = max(1, min(_LARGEST, ceiling // _PARTS))
        self._pieces = pieces
        self._arrived = b""
        self._ended = False
        self._given = 0
        self.unclaimed = 0

    async def read(self, size: int = -1) -> bytes:
        if size == 0:
            return b""  # ijson asks what type it will get
        while self._given == len(self._arrived):
            if self._ended:
                return b""
            piece = await self._stream.readany()
            self._ended = not piece
            self._arrived = (
                self._pieces.end() if self._ended else self._pieces.feed(piece)
            )
            self._given = 0
        room = self._ceiling - self.unclaimed
        if room <= 0:
            raise exceeded(
                "JSON without a value at the path", self.unclaimed + 1, self._ceiling
            )
        begin = self._given
        piece = self._arrived[begin : begin + min(room, self._step)]
        self._given = begin + len(piece)
        self.unclaimed += len(piece)
        return piece
