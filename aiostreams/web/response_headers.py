"""Header fields of a response: those that describe its body, and those that frame it.

* Fields that describe the body are set by a handler for the complete representation. A
  coding, a range, or a response without content makes some of them wrong; these are
  dropped (RFC 9110 sections 8 and 15.4.5, RFC 9530).
* Validators come from the handler, else from the source. A handler may give them as
  arguments of ``respond`` or as header fields; either way the conditions of a request
  are evaluated against what the response is sent with.
* Fields that frame the message (RFC 9112 sections 6 and 9) are the server's to set:
  what a handler, a middleware or a signal sets there is dropped, with a log record.
"""

from __future__ import annotations

import datetime as dt
import logging
import re
from typing import TYPE_CHECKING, Final

from aiohttp import ETag, hdrs, web
from multidict import istr

from aiostreams.sansio.headers import carried_text
from aiostreams.sansio.negotiation import join_lines, merge_vary
from aiostreams.sansio.validators import (
    EntityTag,
    EntityTags,
    Validators,
    parse_http_date,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from multidict import CIMultiDict

    from aiostreams.streams.base import Stream

__all__ = [
    "OF_THE_BYTES",
    "before_head",
    "carry_on",
    "drop_framing",
    "drop_length",
    "find_validators",
    "frames_nothing",
    "given_validators",
    "keep_to_part",
    "keep_to_refusal",
    "mark_encoded",
    "match_variant",
    "promised_length",
    "uncarriable",
    "vary",
    "weaken_etag",
]

_logger = logging.getLogger("aiostreams.web")

# What concerns one connection alone (RFC 9110 section 7.6.1).
_OF_THE_CONNECTION: Final = (
    hdrs.TRANSFER_ENCODING,
    hdrs.CONNECTION,
    hdrs.KEEP_ALIVE,
    hdrs.UPGRADE,
    hdrs.TE,
    hdrs.TRAILER,
    istr("Proxy-Connection"),
)
_FRAMING: Final = (*_OF_THE_CONNECTION, hdrs.CONTENT_LENGTH)
_CONTENT_DIGEST: Final = istr("Content-Digest")
_OF_THE_CONTENT: Final = (hdrs.CONTENT_LENGTH, _CONTENT_DIGEST, hdrs.CONTENT_MD5)
# They speak of the very bytes of the body: it must not be encoded.
OF_THE_BYTES: Final = (
    hdrs.CONTENT_ENCODING,
    hdrs.CONTENT_RANGE,
    _CONTENT_DIGEST,
    istr("Repr-Digest"),
    istr("Digest"),
    hdrs.CONTENT_MD5,
)
# What describes the representation, and so has no place in an answer without it.
_OF_THE_REPRESENTATION: Final = (
    *OF_THE_BYTES,
    hdrs.CONTENT_TYPE,
    hdrs.CONTENT_DISPOSITION,
    hdrs.CONTENT_LANGUAGE,
    hdrs.CONTENT_LENGTH,
)
# What is said of the representation beside that, and true with a 304: which one it
# is, and for how long it may be kept. A refusal is not to be kept for a year.
_OF_THE_CACHE: Final = (
    hdrs.CACHE_CONTROL,
    hdrs.ETAG,
    hdrs.EXPIRES,
    hdrs.LAST_MODIFIED,
)


def keep_to_part(headers: CIMultiDict[str]) -> None:
    """Drop what is not true of a range: the length and the digests of the content."""
    _drop(headers, _OF_THE_CONTENT)


def keep_to_refusal(headers: CIMultiDict[str], status: int) -> None:
    """Drop what is not true of a 304, 412 or 416."""
    _drop(headers, _OF_THE_REPRESENTATION)
    if status != 304:
        _drop(headers, _OF_THE_CACHE)


def before_head(
    request: web.Request, act: Callable[[CIMultiDict[str]], Awaitable[None]]
) -> None:
    """Register ``act``, awaited when a header section is about to be written.

    It is given the fields, and may change them. aiohttp has no hook of its own that
    follows its signals; the writer and its method are public, and what is put in the
    place of that is gone with the request.
    """
    writer = request.writer
    write_headers = writer.write_headers

    async def acting(status_line: str, headers: CIMultiDict[str]) -> None:
        writer.write_headers = write_headers  # type: ignore[method-assign]
        await act(headers)
        await write_headers(status_line, headers)

    writer.write_headers = acting  # type: ignore[method-assign]


def drop_framing(headers: CIMultiDict[str], status: int) -> bool:
    """Drop the fields of the connection, with a log record.

    An ``Upgrade`` belongs to a 426 and to a switch of protocols, and stays there.

    Returns:
        Whether one of them wished that the connection be closed.
    """
    closes = False
    if headers.keys().isdisjoint(_OF_THE_CONNECTION):
        return closes
    for name in _OF_THE_CONNECTION:
        if name not in headers:
            continue
        if status in {101, 426} and name in {hdrs.UPGRADE, hdrs.CONNECTION}:
            continue
        values = headers.popall(name)
        if name == hdrs.CONNECTION and [value.lower() for value in values] == ["close"]:
            closes = True
        else:
            _logger.warning("response field dropped: %s is the server's to say", name)
    return closes


def frames_nothing(headers: CIMultiDict[str]) -> bool:
    """Whether no field says anything of the connection, or of a length."""
    return headers.keys().isdisjoint(_FRAMING)


def promised_length(headers: CIMultiDict[str], size: int | None) -> int | None:
    """Return the Content-Length that was given for a body, if it is true or may be.

    Another one is dropped, with a log record.

    Args:
        headers: of the response.
        size: how many bytes the body has, if that is known; then this is returned.
    """
    lines = headers.getall(hdrs.CONTENT_LENGTH, None)
    if lines is None:
        return size
    if len(lines) == 1 and _digits(lines[0]) and size in {None, int(lines[0])}:
        return int(lines[0])
    drop_length(headers, "unknown" if size is None else size)
    return size


def drop_length(headers: CIMultiDict[str], size: int | str = "unknown") -> None:
    """Drop the Content-Length, if there is one, with a log record."""
    if lines := headers.popall(hdrs.CONTENT_LENGTH, None):
        said = ", ".join(lines)[:40]
        _logger.warning(
            "response field dropped: Content-Length is %s, the body has %s bytes",
            said,
            size,
        )


_digits: Final = re.compile(r"[0-9]{1,19}").fullmatch


def _drop(headers: CIMultiDict[str], names: tuple[str, ...]) -> None:
    for name in names:
        headers.popall(name, None)


def given_validators(
    etag: str | ETag | None, last_modified: float | dt.datetime | str | None
) -> Validators:
    """Return the arguments of ``respond``.

    Raises:
        ValueError: the tag cannot be sent, or the text is not an HTTP date.
    """
    if isinstance(etag, ETag):
        tag: EntityTag | None = EntityTag(etag.value, etag.is_weak)
    else:
        tag = None if etag is None else EntityTag(etag)
    return Validators(etag=tag, last_modified=_seconds(last_modified))


def _seconds(moment: float | dt.datetime | str | None) -> float | None:
    if isinstance(moment, str):
        seconds = parse_http_date(moment)
        if seconds is None:
            raise ValueError(f"{moment!r} is not an HTTP date")
        return seconds
    return moment.timestamp() if isinstance(moment, dt.datetime) else moment


def find_validators(
    headers: CIMultiDict[str], given: Validators, stream: Stream
) -> Validators:
    """Find what the response will say: fields before arguments before the source.

    A field that cannot be read is sent as it is, and matches no condition.

    Args:
        headers: of the response.
        given: the arguments of ``respond``.
        stream: the body; its attributes ``etag`` (opaque, without quotes) and
            ``last_modified`` (POSIX seconds) count, if it has them.
    """
    etag, modified = given.etag, given.last_modified
    if (field := headers.get(hdrs.ETAG)) is not None:
        etag = EntityTag.parse(field)
    elif etag is None and (opaque := getattr(stream, "etag", None)) is not None:
        etag = EntityTag(opaque)
    if (field := headers.get(hdrs.LAST_MODIFIED)) is not None:
        modified = parse_http_date(field)
    elif modified is None:
        modified = getattr(stream, "last_modified", None)
    return Validators(etag=etag, last_modified=modified)


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
    if hdrs.VARY not in headers:
        headers[hdrs.VARY] = "Accept-Encoding"
        return
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


# No field can carry these (RFC 9110 section 5.5); what else is wrong with a value is
# between those who wrote and those who read it.
uncarriable: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]").search


def carry_on(headers: CIMultiDict[str]) -> None:
    """Keep a client's bytes that are no UTF-8 in the header section."""
    if not all(map(str.isprintable, headers.values())):
        fields = [(name, carried_text(value)) for name, value in headers.items()]
        headers.clear()
        headers.extend(fields)
