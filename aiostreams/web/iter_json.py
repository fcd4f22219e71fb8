"""Values out of a huge JSON document while it arrives."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from aiostreams.content import jsontext
from aiostreams.content.base import offload
from aiostreams.content.json import json_reader
from aiostreams.errors import InvalidContent, MalformedBody, pointer_to
from aiostreams.limits import KiB
from aiostreams.sansio.json_cutter import JSONCutter
from aiostreams.web.state import body_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aiohttp import web

__all__ = ["iter_json"]

# How many bytes are cut up between two turns of the event loop. They may hold half as
# many values, at a microsecond each.
_STEP: Final = 16 * KiB


def iter_json(
    request: web.BaseRequest,
    path: str = "item",
    *,
    type: Any = None,  # noqa: A002 - as in read_json
) -> AsyncIterator[Any]:
    """Read the values at ``path`` of a JSON body, as they arrive.

    They are the values that ``read_json`` would give. Memory holds one at a time.

    Args:
        request: whose body.
        path: where the values are, as ijson writes it: ``item`` for the elements of
            the outermost array, ``data.rows.item`` for those of an array inside,
            ``""`` for the document as a whole. A path that ends in ``*`` gives the
            members of an object as ``(name, value)``: ``*`` of the outermost one,
            ``data.*`` of one inside.
        type: what each value has to be, as for ``read_json``; of members, the value.

    Raises:
        LimitExceeded: one value, at the path or next to it, has more than
            ``max_memory`` bytes.
        MalformedBody: it is not JSON, ends too early, or nests deeper than 1,000.
        InvalidContent: a value is not of ``type``; each fault is named by the JSON
            Pointer into the whole document.
        ImportError: the extra that ``type`` needs is missing.
        TypeError: no validator supports ``type``.
        StreamError: as raised by the stream.
    """
    return _values(request, path, json_reader(type))


async def _values(
    request: web.BaseRequest, path: str, read: Callable[[bytes | str], Any]
) -> AsyncIterator[Any]:
    body = body_of(request)
    stream = body.source("iter_json()")
    cutter = JSONCutter(path, jsontext.parse, ceiling=body.limits.max_memory)
    members = path == "*" or path.endswith(".*")
    while True:
        piece = await stream.readany()
        for at in range(0, len(piece) or 1, _STEP):
            if at:
                await asyncio.sleep(0)
            for place, text in cutter.feed(piece[at : at + _STEP]):
                try:
                    value = await offload(read, text)
                except InvalidContent as error:
                    raise error.within(*place) from error
                except MalformedBody as error:
                    raise MalformedBody(f"{pointer_to(place)}: {error}") from error
                yield (place[-1], value) if members else value
        if not piece:
            return
