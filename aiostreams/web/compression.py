"""Response compression: what to compress, in which coding, and how to say so.

``Compression`` is the configuration, ``choose`` the decision (RFC 9110 sections
12.5.3 and 8.8.3), ``compression_middleware`` has it applied: to a ``BodyResponse``
when that prepares itself, since only then it knows whether it sends a whole
representation; to aiohttp's own ``web.Response`` at once. A ``StreamResponse``
written by hand is left alone, and so is one that asked aiohttp to compress it.

A word on BREACH: where a response has a secret and something that its reader can
choose, the length of the compressed body tells about the secret. Mark such a handler
with ``@uncompressed``, or send ``Cache-Control: no-transform``.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from aiohttp import Payload, hdrs, web

from aiostreams.errors import StreamError
from aiostreams.limits import KiB, MiB
from aiostreams.sansio.negotiation import choose_coding, merge_vary
from aiostreams.streams.codecs import supported_codings
from aiostreams.streams.encoding import EncodedStream
from aiostreams.streams.file import FileStream
from aiostreams.streams.memory import ByteStream
from aiostreams.streams.worker import Job
from aiostreams.web.compressible import Candidate, Predicate, compressible
from aiostreams.web.payload import StreamPayload
from aiostreams.web.pipe import PayloadStream
from aiostreams.web.response import BodyResponse, mark_encoded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp.typedefs import Handler, Middleware
    from multidict import CIMultiDict

__all__ = [
    "DEFAULT_COMPRESSION",
    "Compression",
    "compression_middleware",
    "uncompressed",
]

_Handler = TypeVar("_Handler")
_OFF: Final = "__aiostreams_uncompressed__"
# A body of bytes up to this size is compressed as a whole and so has a length.
_WHOLE: Final = 2 * MiB
_EXTENSIONS: Final = {"zstd": ".zst", "br": ".br", "gzip": ".gz"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Compression:
    """How responses are compressed.

    Args:
        codings: what may be used, best first among what a client likes equally.
            One whose library is missing is left out.
        minimum_size: smaller bodies are sent as they are, in bytes. One network
            packet holds about 1,400.
        when: what is worth it; ``compressible()`` knows the types that are. Combine
            predicates with ``&``, ``|`` and ``~``.
        levels: the level for a body that is made anew for each response, by coding.
            The default of each coding is quick and good.
        static_levels: the level for a body that is likely kept by somebody: one
            with an ETag or a Last-Modified.
        precompressed: whether ``page.html.zst``, ``.br`` or ``.gz`` beside a
            ``File("page.html")``, if it is not older, is served in its place.
    """

    codings: tuple[str, ...] = ("zstd", "br", "gzip")
    minimum_size: int = 1 * KiB
    when: Predicate = field(default_factory=compressible)
    levels: Mapping[str, int] = field(default_factory=dict)
    static_levels: Mapping[str, int] = field(
        default_factory=lambda: {"zstd": 6, "br": 5, "gzip": 6}
    )
    precompressed: bool = True

    def __post_init__(self) -> None:
        known = {"zstd", "br", "gzip", "deflate"}
        if unknown := set(self.codings) - known:
            raise ValueError(f"no content coding {unknown.pop()!r}; there are {known}")

    def level(self, coding: str, *, static: bool) -> int | None:
        """The level for one response."""
        if static and coding in self.static_levels:
            return self.static_levels[coding]
        return self.levels.get(coding)


DEFAULT_COMPRESSION: Final = Compression()


def uncompressed(handler: _Handler) -> _Handler:
    """Have the responses of one handler, or view class, sent as they are."""
    setattr(handler, _OFF, True)
    return handler


def compression_middleware(
    compression: Compression = DEFAULT_COMPRESSION,
) -> Middleware:
    """Compress responses as :class:`Compression` says.

    It has to be the outermost middleware that looks at bodies. See the module's
    first lines for what is compressed, and for BREACH.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        if (
            response.prepared
            or response.compression
            or getattr(request.match_info.handler, _OFF, False)
        ):
            return response
        if isinstance(response, BodyResponse):
            try:
                await _encode_body(Encoder(compression, request), response)
            except BaseException:
                await response.discard()
                raise
        elif isinstance(response, web.Response):
            await _encode_response(Encoder(compression, request), response)
        return response

    return middleware


class Encoder:
    """Chooses and applies a coding for one response.

    Args:
        compression: the configuration.
        request: whom it answers.
    """

    def __init__(self, compression: Compression, request: web.BaseRequest) -> None:
        self._compression = compression
        self._request = request
        self._accepted = request.headers.getall(hdrs.ACCEPT_ENCODING, None)
        self._available = tuple(
            coding for coding in compression.codings if coding in supported_codings()
        )

    def choose(
        self, status: int, headers: CIMultiDict[str], size: int | None
    ) -> str | None:
        """The coding for a body, or ``None`` to leave it; says so in ``Vary``.

        Raises:
            web.HTTPNotAcceptable: the client refuses the body as it is, and every
                coding there is (RFC 9110 section 12.5.3).
        """
        if (
            status < 200
            or status in {204, 206, 304}
            or hdrs.CONTENT_ENCODING in headers
            or hdrs.CONTENT_RANGE in headers
            or "no-transform" in headers.get(hdrs.CACHE_CONTROL, "").lower()
        ):
            return None
        media_type = headers.get(hdrs.CONTENT_TYPE, "").partition(";")[0].strip()
        candidate = Candidate(self._request, media_type.lower(), size)
        small = size is not None and size < self._compression.minimum_size
        worth_it = not small and self._compression.when(candidate)
        # A client may want it encoded at any price, or else not at all.
        refuses_plain = choose_coding(self._accepted, ()) is None
        if size == 0 or not (worth_it or refuses_plain):
            return None
        vary(headers)
        coding = choose_coding(self._accepted, self._available)
        if coding is None:
            raise web.HTTPNotAcceptable(
                text="406: no acceptable content coding; there are "
                + ", ".join((*self._available, "identity")),
                headers={hdrs.VARY: headers[hdrs.VARY]},
            )
        return None if coding == "identity" else coding

    def level(self, coding: str, *, static: bool) -> int | None:
        """The level: a better one for what caches will keep."""
        return self._compression.level(coding, static=static)

    async def precompressed(
        self, path: str, content_type: str, headers: CIMultiDict[str]
    ) -> FileStream | None:
        """What lies beside a file in a coding that the client likes, opened."""
        media_type = content_type.partition(";")[0].strip().lower()
        candidate = Candidate(self._request, media_type, None)
        if not self._compression.precompressed or not self._compression.when(candidate):
            return None
        wanted = {
            coding: path + _EXTENSIONS[coding]
            for coding in self._compression.codings
            if coding in _EXTENSIONS
            and choose_coding(self._accepted, [coding]) == coding
        }
        if not wanted:
            return None
        looking = Job(functools.partial(_up_to_date, path, wanted))
        await looking.finish()
        coding = choose_coding(self._accepted, looking.result())
        if coding is None or coding == "identity":
            return None
        stream = FileStream(
            wanted[coding], content_type=content_type, follow_symlinks=False
        )
        try:
            await stream.open()
        except (OSError, StreamError):
            await stream.close()
            return None
        headers[hdrs.CONTENT_ENCODING] = coding
        vary(headers)
        return stream


def _up_to_date(path: str, wanted: dict[str, str]) -> list[str]:
    """The codings whose file is there and not older than the one at ``path``."""
    there = []
    for coding, beside in wanted.items():
        try:
            if Path(beside).lstat().st_mtime_ns >= Path(path).stat().st_mtime_ns:
                there.append(coding)
        except OSError:
            continue
    return there


def vary(headers: CIMultiDict[str]) -> None:
    """Tell caches that the response depends on ``Accept-Encoding``, once."""
    headers[hdrs.VARY] = merge_vary(headers.popall(hdrs.VARY, ()), hdrs.ACCEPT_ENCODING)


async def _encode_body(encoder: Encoder, response: BodyResponse) -> None:
    """Choose the coding of one of ours; it applies it when it is prepared."""
    headers = response.headers
    content_type = headers[hdrs.CONTENT_TYPE]
    if response.path is not None and response.status == 200:
        beside = await encoder.precompressed(response.path, content_type, headers)
        if beside is not None:
            await response.stream.close()
            response.stream = beside
            return
    coding = encoder.choose(response.status, headers, response.stream.size)
    if coding is not None:
        validators = response.validators
        static = validators.etag is not None or validators.last_modified is not None
        response.coding = coding, encoder.level(coding, static=static)


async def _encode_response(encoder: Encoder, response: web.Response) -> None:
    """Encode the body of one of aiohttp's own responses."""
    body = response.body
    if body is None:
        return
    size = body.size if isinstance(body, Payload) else len(body)
    coding = encoder.choose(response.status, response.headers, size)
    if coding is None:
        return
    static = hdrs.ETAG in response.headers or hdrs.LAST_MODIFIED in response.headers
    level = encoder.level(coding, static=static)
    if isinstance(body, StreamPayload):
        body.stream = EncodedStream(body.stream, coding, level=level)
    elif isinstance(body, Payload):
        stream = EncodedStream(PayloadStream(body), coding, level=level)
        response.body = StreamPayload(stream)
    elif len(body) > _WHOLE:
        stream = EncodedStream(ByteStream(body), coding, level=level)
        response.body = StreamPayload(stream)
    else:
        async with EncodedStream(ByteStream(body), coding, level=level) as stream:
            encoded = await stream.read()
        response.body = encoded
    mark_encoded(response.headers, coding)
