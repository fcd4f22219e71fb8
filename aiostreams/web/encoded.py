"""What an encoded response is: its bytes, and the fields that speak of them.

Content codings make another representation out of one (RFC 9110 section 8.4), so
whoever encodes also has to change what was said about the bytes before.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from aiohttp import hdrs, web

from aiostreams.limits import KiB, MiB
from aiostreams.sansio.negotiation import choose_coding, join_lines, merge_vary
from aiostreams.sansio.validators import EntityTag, EntityTags
from aiostreams.streams.codecs import make_encoder
from aiostreams.streams.worker import Job
from aiostreams.web.body import tally_of
from aiostreams.web.fields import OF_THE_BYTES

if TYPE_CHECKING:
    from multidict import CIMultiDict

__all__ = [
    "WHOLE",
    "encode_whole",
    "mark_encoded",
    "match_variant",
    "vary",
    "weaken_etag",
    "wished_coding",
]

# A body in memory of up to this size is encoded before its header section is sent,
# and so has a Content-Length. It then is there twice; a larger one goes in pieces.
WHOLE: Final = 2 * MiB
# An encoder is quick that takes as much in half a millisecond at the worst; then a
# thread hop costs more than it is worth. How much it is given at a time, and after how
# many seconds the event loop has a turn: each costs it 10 us.
_QUICK: Final = 64 * KiB
_PIECE: Final = 128 * KiB
_TURN: Final = 0.0005


async def encode_whole(
    request: web.BaseRequest, data: bytes, coding: str, level: int | None
) -> bytes:
    """Encode the body of a response to ``request`` that is in memory.

    A quick encoder does it in place, with turns of the event loop in between; a slow
    one in a worker thread, in one call: cut to blocks as by ``EncodedStream``, br has
    8 % more bytes.
    """
    tally = tally_of(request)
    if tally is not None:
        tally.plain = len(data)
    encoder = make_encoder(coding, level)
    if len(data) <= encoder.inline:
        return encoder.encode(data) + encoder.finish()
    if encoder.inline < _QUICK:
        job = Job(lambda: encoder.encode(data) + encoder.finish())
        await job.wait()
        return job.result()
    output = []
    view = memoryview(data)
    turn = time.perf_counter()
    for start in range(0, len(data), _PIECE):
        output.append(encoder.encode(view[start : start + _PIECE]))
        if time.perf_counter() - turn > _TURN:
            await asyncio.sleep(0)
            turn = time.perf_counter()
    return b"".join([*output, encoder.finish()])


def mark_encoded(headers: CIMultiDict[str], coding: str) -> None:
    """Say that the body is encoded now: another one than the fields spoke of."""
    headers[hdrs.CONTENT_ENCODING] = coding
    headers.popall(hdrs.CONTENT_LENGTH, None)
    # Ranges are of the representation that can seek, and this one cannot.
    headers.popall(hdrs.ACCEPT_RANGES, None)
    weaken_etag(headers)


def weaken_etag(headers: CIMultiDict[str]) -> None:
    """Make the ETag weak: encoders differ, so the bytes may (RFC 9110 8.8.1)."""
    etag = EntityTag.parse(headers.get(hdrs.ETAG, ""))
    if etag is not None:
        headers[hdrs.ETAG] = str(etag.weakened())


def vary(headers: CIMultiDict[str]) -> None:
    """Tell caches that the response depends on ``Accept-Encoding``, once."""
    headers[hdrs.VARY] = merge_vary(headers.popall(hdrs.VARY, ()), hdrs.ACCEPT_ENCODING)


def match_variant(request: web.Request, headers: CIMultiDict[str]) -> None:
    """Give a 304 the tag of the 200 that the client has, when that was encoded.

    A handler that answers conditions itself knows nothing of the weak tag, and a
    cache would not find what it should refresh (RFC 9111 section 4.3.4).
    """
    etag = EntityTag.parse(headers.get(hdrs.ETAG, ""))
    known = join_lines(request.headers.getall(hdrs.IF_NONE_MATCH, ()))
    if etag is None or etag.weak or known is None:
        return
    if etag.weakened() in EntityTags.parse(known).tags:
        weaken_etag(headers)
        vary(headers)


def wished_coding(
    request: web.BaseRequest,
    response: web.Response,
    force: bool | web.ContentCoding | None,  # noqa: FBT001 - as aiohttp takes it
    chosen: tuple[str, int | None] | None,
) -> tuple[str, int | None] | None:
    """The coding of a response whose handler asked for one, and the level.

    Args:
        request: what it answers.
        response: with the status and the fields of a whole representation.
        force: the coding that the handler names, if it does.
        chosen: what the compression middleware chose.
    """
    headers = response.headers
    if response.status in {204, 206, 304} or not headers.keys().isdisjoint(
        OF_THE_BYTES
    ):
        return chosen
    if isinstance(force, bool):  # as before there was ContentCoding
        force = web.ContentCoding.deflate if force else web.ContentCoding.identity
    if force is not None:
        return None if force is web.ContentCoding.identity else (force.value, None)
    if chosen is not None:
        return chosen
    vary(headers)
    accepted = request.headers.getall(hdrs.ACCEPT_ENCODING, None)
    coding = choose_coding(accepted, ("gzip", "deflate"))
    return None if coding is None or coding == "identity" else (coding, None)
