"""A returned value that is a few bytes in memory: a plain ``web.Response``.

Most answers of an API are a few hundred bytes of JSON. They gain nothing from a
response that opens a source, evaluates conditions and writes a stream, and would pay
35 us for it, as much as aiohttp takes for the whole request. Where the request has a
condition or a range, or the bytes are many or not there yet, the answer is a stream,
and everything goes its usual way.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from aiohttp import hdrs, web

from aiostreams.content.events import EventStream
from aiostreams.content.file import File
from aiostreams.limits import KiB
from aiostreams.streams.memory import ByteStream

if TYPE_CHECKING:
    from aiostreams.content.base import Content
    from aiostreams.streams.base import Stream

__all__ = ["respond_at_once", "uncarriable"]

# No field can carry these (RFC 9110 section 5.5); what else is wrong with a value is
# between those who wrote and those who read it.
uncarriable: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]").search

# More is sent in pieces of this size, each when there is room for it.
_FEW: Final = 256 * KiB
_CONDITIONS: Final = (
    hdrs.RANGE,
    hdrs.IF_NONE_MATCH,
    hdrs.IF_MODIFIED_SINCE,
    hdrs.IF_MATCH,
    hdrs.IF_UNMODIFIED_SINCE,
)


def respond_at_once(
    content: Content, request: web.BaseRequest
) -> web.Response | Stream | Content:
    """The response, or what is to be made a response in the usual way.

    Nothing is left to be closed with the response: the bytes belong to it.

    Raises:
        ValueError: ``content`` cannot be encoded.
    """
    if isinstance(content, (File, EventStream)):
        return content  # these have more to say than their bytes
    stream = content.encode()
    if type(stream) is not ByteStream or stream.position:
        return stream
    data = stream.getvalue()
    content_type = stream.content_type or "application/octet-stream"
    if len(data) > _FEW or uncarriable(content_type) or _says_more(stream):
        return stream
    headers = {hdrs.CONTENT_TYPE: content_type}
    if request.method in {"GET", "HEAD"}:
        asked = request.headers
        for name in _CONDITIONS:
            if name in asked:
                return stream
        headers[hdrs.ACCEPT_RANGES] = "bytes"
    return web.Response(body=data, headers=headers)


def _says_more(stream: ByteStream) -> bool:
    """Whether somebody gave it validators: see ``Stream.slice``."""
    said = vars(stream)
    return "etag" in said or "last_modified" in said
