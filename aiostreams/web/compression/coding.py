"""The content coding of one response: chosen from what its client accepts.

Every response has its coding chosen here, whoever made it and whoever asks: the
``Compression`` of the application (see ``compression_middleware``), or a handler by
``response.enable_compression()``.

A file in a content coding may lie next to a file: ``page.html.zst``, ``.br``, ``.gz``.
It is served in its place, as it is: no work, and by ``sendfile``. One that is older
than its original is stale and does not count; nor does what is no regular file, a
symbolic link above all: it could lead anywhere.
"""

from __future__ import annotations

import functools
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from aiohttp import hdrs, web

from aiostreams.codings.registry import coding_aliases, find_coding, supported_codings
from aiostreams.errors import StreamError
from aiostreams.files.file import FileStream
from aiostreams.sansio.conditions import RETRIEVING
from aiostreams.sansio.mediatype import media_type_of
from aiostreams.sansio.negotiation import choose_coding
from aiostreams.streams.threads import ThreadCall
from aiostreams.web.compression.config import Candidate, Compression
from aiostreams.web.errors import not_acceptable
from aiostreams.web.response_headers import OF_THE_BYTES, vary

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from multidict import CIMultiDict

    from aiostreams.sansio.negotiation import FieldLines

__all__ = [
    "Coding",
    "check_acceptable",
    "choose",
    "is_whole",
    "is_worth_it",
    "may_refuse",
    "open_precompressed",
]

# The name of a coding, and the level; None for the coding's default.
Coding: TypeAlias = tuple[str, int | None]
# What enable_compression() knows.
_OF_AIOHTTP: Final = ("gzip", "deflate")


def choose(
    request: web.BaseRequest,
    response: web.StreamResponse,
    size: int | None,
    compression: Compression | None,
    *,
    static: bool,
    wish: tuple[bool | web.ContentCoding | None] | None = None,
) -> Coding | None:
    """Choose the coding of the body of ``response``, and the level; ``None`` for none.

    When it depends on what the client accepts, ``Vary`` says so afterwards.

    Args:
        request: what is answered.
        response: with the status and the fields of a whole representation.
        size: the bytes of its body, if known.
        compression: of the application, if it compresses responses.
        static: whether the encoded body is likely kept by somebody.
        wish: the argument of ``enable_compression``, if that was called.
    """
    status, headers = response.status, response.headers
    forced = None if wish is None else wish[0]
    if isinstance(forced, bool):  # as before there was ContentCoding
        forced = web.ContentCoding.deflate if forced else web.ContentCoding.identity
    if forced is not None and _speaks_of_no_bytes(status, headers):
        return None if forced is web.ContentCoding.identity else (forced.value, None)
    accepted = request.headers.getall(hdrs.ACCEPT_ENCODING, None)
    if compression is not None and is_whole(status, headers) and size != 0:
        small = size is not None and size < compression.minimum_size
        # Refused as it is, it has to be encoded whatever that gains.
        refused = accepted is not None and choose_coding(accepted, (), {}) is None
        if refused or not (
            small or not is_worth_it(request, headers, size, compression)
        ):
            vary(headers)
            if accepted is None:
                return None
            coding = choose_coding(accepted, _available(compression), coding_aliases())
            if coding is not None and coding != "identity":
                return coding, compression.level(coding, static=static)
    if wish is not None and _speaks_of_no_bytes(status, headers):
        vary(headers)
        coding = choose_coding(accepted, _OF_AIOHTTP, coding_aliases())
        if coding is not None and coding != "identity":
            return coding, None
    return None


def may_refuse(request: web.BaseRequest) -> bool:
    """Return whether a client may not take bodies as they are: it has a zero weight."""
    lines = request.headers.getall(hdrs.ACCEPT_ENCODING, None)
    return lines is not None and any("0" in line for line in lines)


def check_acceptable(
    request: web.BaseRequest,
    response: web.StreamResponse,
    size: int | None,
    compression: Compression,
) -> None:
    """Refuse a client that refuses the body as it is, and every coding there is.

    Only when it asked to GET something. Responses to other methods, and errors, are
    sent uncompressed.

    Raises:
        web.HTTPNotAcceptable: RFC 9110 section 12.5.3.
    """
    if (
        not may_refuse(request)
        or request.method not in RETRIEVING
        or response.status >= 300
        or size == 0
        or not is_whole(response.status, response.headers)
    ):
        return
    available = _available(compression)
    accepted = request.headers.getall(hdrs.ACCEPT_ENCODING, None)
    if choose_coding(accepted, available, coding_aliases()) is not None:
        return
    vary(response.headers)
    raise not_acceptable(
        "no acceptable content coding; available: "
        + ", ".join([*available, "identity"]),
        request,
        {hdrs.VARY: response.headers[hdrs.VARY]},
    )


def _available(compression: Compression) -> list[str]:
    """Return the codings of ``compression`` whose libraries are there, best first."""
    supported = supported_codings()
    return [name for name in compression.preference if name in supported]


def is_worth_it(
    request: web.BaseRequest,
    headers: CIMultiDict[str],
    size: int | None,
    compression: Compression,
) -> bool:
    """Return whether a body shrinks, whatever the client accepts."""
    media_type = media_type_of(headers.get(hdrs.CONTENT_TYPE))
    return compression.when(Candidate(request, media_type, size))


def is_whole(status: int, headers: CIMultiDict[str]) -> bool:
    """Return whether a body is a representation that nothing forbids to encode."""
    if not _speaks_of_no_bytes(status, headers):
        return False
    control = headers.getall(hdrs.CACHE_CONTROL, None)
    if control is None:
        return True
    from aiostreams.sansio.caching import cache_directives  # noqa: PLC0415 - rare

    return "no-transform" not in cache_directives(control)


def _speaks_of_no_bytes(status: int, headers: CIMultiDict[str]) -> bool:
    if status < 200 or status in {204, 206, 304}:
        return False
    return headers.keys().isdisjoint(OF_THE_BYTES)


async def open_precompressed(
    path: str, accept_encoding: FieldLines, codings: Sequence[str]
) -> tuple[str, FileStream] | None:
    """Open what lies next to the file at ``path`` in the coding a client likes best.

    Args:
        path: the file itself.
        accept_encoding: the lines of the field.
        codings: those that may be sent, best first.

    Returns:
        The coding and the open stream, or ``None`` when the file itself is better.
    """
    aliases = coding_aliases()
    beside = {
        name: path + coding.extension
        for name in codings
        if (coding := find_coding(name)) is not None
        and coding.extension is not None
        and choose_coding(accept_encoding, (name,), aliases) == name
    }
    if not beside:
        return None
    looking = ThreadCall(functools.partial(_up_to_date, path, beside))
    await looking.finish()
    chosen = choose_coding(accept_encoding, looking.result(), aliases)
    if chosen is None or chosen == "identity":
        return None
    stream = FileStream(beside[chosen], follow_symlinks=False)
    try:
        await stream.open()
    except (OSError, StreamError):
        # Replaced or removed since.
        await stream.close()
        return None
    return chosen, stream


def _up_to_date(path: str, beside: Mapping[str, str]) -> list[str]:
    """Return the codings whose file is there and not older than the one at ``path``."""
    found = []
    try:
        modified = Path(path).stat().st_mtime_ns
        for coding, encoded in beside.items():
            try:
                status = Path(encoded).lstat()
            except FileNotFoundError:
                continue
            if stat.S_ISREG(status.st_mode) and status.st_mtime_ns >= modified:
                found.append(coding)
    except OSError:
        return []
    return found
