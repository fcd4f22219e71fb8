"""Values to responses.

``respond``, and a value that a handler returns, become a ``BodyResponse``. It
decides late, in ``prepare``: then the request is known, the source is opened, and
``sansio.plan`` says which status, which bytes and which fields follow from them.

A source that can seek (see ``Stream.slice``) answers conditions and ranges; one that
cannot is sent whole. A file goes out by ``sendfile`` where that is possible. A whole
representation is sent in the content coding that the compression middleware chose.

What applications of aiohttp do with any response, done with one that is a stream.

Their middlewares read ``response.body`` to hash or sign it, put another one in its
place, and call ``enable_compression()``. A value that a handler returns is a plain
``web.Response`` or a stream by what the client asks for, and they must not notice.

Opening the source of a response, while it can still be answered otherwise.

A path may come from a URL, so what is wrong with it is answered as a web server
answers it: 404 for what is not there, 403 for what may not be read, 503 while no
more files can be open. Anything else (a FIFO, a device, a disk that fails) is the
server's own fault.

The body of a 206: one range, or several as multipart/byteranges (RFC 9110 14.6).
"""

from __future__ import annotations

import errno
import time
from typing import TYPE_CHECKING, Any, Final

from aiohttp import Payload, hdrs, web

from aiostreams.codings.encoded import WHOLE, EncodedStream, encode_whole
from aiostreams.codings.registry import coding_aliases
from aiostreams.content.base import Content
from aiostreams.content.events import EventStream
from aiostreams.content.file import File
from aiostreams.errors import ObjectNotFound, StorageError, StreamClosed, StreamError
from aiostreams.files.file import FileStream
from aiostreams.sansio.conditions import Conditions
from aiostreams.sansio.negotiation import choose_coding
from aiostreams.sansio.plan import plan_response
from aiostreams.sansio.validators import Validators
from aiostreams.streams.memory import ByteStream
from aiostreams.streams.multipart import MultiPartStream
from aiostreams.streams.sections import ChainStream
from aiostreams.web.digests import CONTENT_DIGEST, REPR_DIGEST, digest_field
from aiostreams.web.disconnect import DisconnectWatch
from aiostreams.web.errors import describe
from aiostreams.web.payload import StreamPayload
from aiostreams.web.payload_stream import PayloadStream, prompt
from aiostreams.web.response_headers import (
    OF_THE_BYTES,
    find_validators,
    keep_to_part,
    keep_to_refusal,
    mark_encoded,
    uncarriable,
    vary,
    weaken_etag,
)
from aiostreams.web.sendfile import may_sendfile, sendfile
from aiostreams.web.state import count_plain, hold

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from aiohttp.abc import AbstractStreamWriter
    from multidict import CIMultiDict

    from aiostreams.sansio.plan import ResponsePlan
    from aiostreams.sansio.ranges import ByteRange
    from aiostreams.streams.base import Stream

__all__ = [
    "BodyResponse",
    "StreamedResponse",
    "byteranges",
    "open_source",
    "partial_body",
    "wished_coding",
]


class StreamedResponse(web.Response):
    """A response whose body comes from ``stream``.

    Attributes:
        stream: the body. A middleware may put another one around it before the
            response is prepared.
        path: where a local file is that it sends, else ``None``.
        wish: the argument of ``enable_compression``, if that was called.
    """

    stream: Stream
    path: str | None = None
    wish: tuple[bool | web.ContentCoding | None] | None = None

    @property
    def body(self) -> bytes | bytearray | Payload | None:
        """The bytes, while they are in memory; ``None`` of a stream.

        What is assigned is sent in the place of the stream.
        """
        body = super().body
        if body is None and not self.prepared and isinstance(self.stream, ByteStream):
            return None if self.stream.closed else self.stream.getvalue()
        return body

    @body.setter
    def body(self, body: Any) -> None:
        web.Response.body.__set__(self, body)  # type: ignore[attr-defined]

    @property
    def text(self) -> str | None:
        """``body`` as text, by the charset of the content type."""
        body = self.body
        return None if body is None else body.decode(self.charset or "utf-8")

    @text.setter
    def text(self, text: str) -> None:
        web.Response.text.__set__(self, text)  # type: ignore[attr-defined]

    def enable_compression(
        self,
        force: bool | web.ContentCoding | None = None,  # noqa: FBT001 - aiohttp's
        strategy: int | None = None,  # noqa: ARG002 - aiohttp's
    ) -> None:
        """As aiohttp has it, by this package's encoders: whole representations only.

        aiohttp would encode a range, and end a 304 or the answer to a HEAD with
        bytes of its encoder, which the client takes for the next response.
        """
        self.wish = (force,)

    async def adopt(self) -> None:
        """Make what was assigned to ``body`` or ``text`` the stream, if anything was.

        The validators of the source go with it; those that the handler gave stay.
        """
        body = super().body
        if body is None:
            return
        self.body = None
        source, self.path = self.stream, None
        if isinstance(body, Payload):
            self.stream = PayloadStream(body)
        else:
            self.stream = ByteStream(body)
        await source.close()


class BodyResponse(StreamedResponse):
    """A response whose body is a Stream.

    Attributes:
        coding: the content coding to apply if a whole representation is sent, and
            the level for it; ``None`` for none.
        digest: the algorithms of the digests to send.
    """

    # Whether conditions and ranges are for this response to answer.
    evaluates = True
    # Whether the request knows that something is open here.
    held = False

    def __init__(
        self,
        source: Content | Stream,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        validators: Validators | None = None,
        digest: tuple[str, ...] = (),
    ) -> None:
        super().__init__(status=status, headers=headers)
        self.stream: Stream = source.encode() if isinstance(source, Content) else source
        self._given = validators or Validators()
        self._sending: tuple[web.BaseRequest, AbstractStreamWriter] | None = None
        self._closers: list[Callable[[], Awaitable[None]]] = []
        self.coding: tuple[str, int | None] | None = None
        self.digest = digest
        self.headers.setdefault(
            hdrs.CONTENT_TYPE, self.stream.content_type or "application/octet-stream"
        )
        if isinstance(source, File):
            self.path: str | None = source.path
            # Served as it was sent, it must not be taken for something else.
            self.headers.setdefault("X-Content-Type-Options", "nosniff")
        if isinstance(source, EventStream):
            # Events are news: a cache has no use for them.
            self.headers.setdefault(hdrs.CACHE_CONTROL, "no-store")
        if self.stream.live and self.evaluates:
            # nginx as a proxy in front would hold the pieces back, and others do
            # that know this field of its.
            self.headers.setdefault("X-Accel-Buffering", "no")
        for name, value in self.headers.items():
            if uncarriable(value):
                # aiohttp would find it too late for any answer.
                raise ValueError(f"{name}: {value!r} cannot be sent")

    async def open(self) -> None:
        """Open the source, so that a missing file can still become a 404.

        Raises:
            ObjectNotFound: there is no such file.
            StreamError: it cannot be read.
        """
        await open_source(self.stream)

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Open the source, decide, and write the header section."""
        if self.prepared:
            return await super().prepare(request)
        await self.adopt()
        try:
            await self.open()
        except StreamError as error:
            problem = describe(error, request)
            self.set_status(problem.status)
            self.headers.clear()
            self.headers.update(problem.headers)
            self.text = problem.text
            return await super().prepare(request)
        if not self.held:  # prepared by hand, and maybe not returned
            hold(request, self)
        try:
            await self._decide(request)
            writer = await super().prepare(request)
        except BaseException:
            await self.discard()
            raise
        assert writer is not None  # None is for responses that are over
        self._sending = request, writer
        return writer

    async def _decide(self, request: web.BaseRequest) -> None:
        stream = self.stream
        # A digest stands before a body, so encoded it has to be there as a whole.
        if self.wish and not (self.digest and not isinstance(stream, ByteStream)):
            self.coding = wished_coding(request, self, self.wish[0], self.coding)
            if self.coding is not None:
                self.stream = stream = prompt(stream)
        if self.status == 200 and self.evaluates:
            plan = plan_response(
                request.method,
                Conditions.from_fields(request.headers.items()),
                self.validators,
                size=stream.size,
                accept_ranges=stream.seekable
                and self.headers.get(hdrs.ACCEPT_RANGES) != "none",
                now=time.time(),
            )
            if plan.status in {304, 412, 416}:
                self._answer_without(plan)
                return
            if plan.ranges:
                if self.digest:
                    self.headers[REPR_DIGEST] = await digest_field(stream, self.digest)
                self.stream = await partial_body(stream, plan.ranges, self.headers)
                keep_to_part(self.headers)
                self.set_status(206)
            for name, value in plan.headers.items():
                self.headers.setdefault(name, value)
        if self.coding is not None and self.status != 206:
            await self._encode(request, *self.coding)
        if self.digest and self.stream.seekable:  # several ranges together are not
            digest = await digest_field(self.stream, self.digest)
            self.headers.setdefault(REPR_DIGEST, digest)
            if request.method != "HEAD":  # its content is empty
                self.headers[CONTENT_DIGEST] = digest
        self.body = StreamPayload(self.stream)

    async def _encode(
        self, request: web.BaseRequest, coding: str, level: int | None
    ) -> None:
        stream = self.stream
        only_head = request.method == "HEAD"
        if isinstance(stream, ByteStream) and (
            self.digest or (len(stream.getvalue()) <= WHOLE and not only_head)
        ):
            plain = stream.getvalue()
            count_plain(request, len(plain))
            self.stream = ByteStream(await encode_whole(plain, coding, level))
        else:
            self.stream = EncodedStream(stream, coding, level=level)
        mark_encoded(self.headers, coding)

    async def send_instead(self, coding: str, stream: Stream) -> None:
        """Send ``stream``, which is the source in a content coding already.

        It has its own validators; a tag that was given for the source is sent as a
        weak one.
        """
        await self.stream.close()
        self.stream = stream
        self.headers[hdrs.CONTENT_ENCODING] = coding
        weaken_etag(self.headers)
        if self._given.etag is not None:
            self._given = Validators(
                etag=self._given.etag.weakened(),
                last_modified=self._given.last_modified,
            )

    @property
    def validators(self) -> Validators:
        """What the representation is known by: as given, else as its source says."""
        return find_validators(self.headers, self._given, self.stream)

    def _answer_without(self, plan: ResponsePlan) -> None:
        """A 304, 412 or 416: nothing of the representation is sent."""
        self.set_status(plan.status)
        keep_to_refusal(self.headers, plan.status)
        self.headers.update(plan.headers)
        if self.coding is not None:
            # What a 200 would have: the tag of the encoded representation.
            weaken_etag(self.headers)
        if plan.status != 304:
            self.headers[hdrs.CONTENT_TYPE] = "text/plain; charset=utf-8"
            self.body = f"{self.status}: {self.reason}".encode()

    async def write_eof(self, data: bytes = b"") -> None:
        """Send the body; whatever happens, its stream is closed afterwards."""
        sending, self._sending = self._sending, None
        watch = (
            None if sending is None else DisconnectWatch.over(sending[0], self.stream)
        )
        try:
            if sending is not None and await self._sendfile(*sending):
                self.body = None
            await super().write_eof(data)
        except StreamClosed as error:
            if watch is None or not watch.lost:
                raise
            raise ConnectionResetError("Connection lost") from error
        finally:
            try:
                if watch is not None:
                    await watch.stop()
            finally:
                await self.discard()

    async def _sendfile(
        self, request: web.BaseRequest, writer: AbstractStreamWriter
    ) -> bool:
        stream, body = self.stream, self.body
        return (
            isinstance(stream, FileStream)
            and isinstance(body, StreamPayload)
            and body.stream is stream
            and not stream.position
            and may_sendfile(request, self)
            and await sendfile(stream, request, writer)
        )

    def call_on_close(self, closer: Callable[[], Awaitable[None]]) -> None:
        """Have ``closer`` awaited once the response was sent, or could not be."""
        self._closers.append(closer)

    async def discard(self) -> None:
        """Close everything; also for a response that will not be sent."""
        closers, self._closers = self._closers, []
        try:
            await self.stream.close()
        finally:
            for closer in closers:
                await closer()


_NOT_THERE: Final = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
# Names that no file can have, and links that lead nowhere.
_NOWHERE: Final = frozenset({errno.ENAMETOOLONG, errno.ELOOP})
_TOO_MANY: Final = frozenset({errno.EMFILE, errno.ENFILE})


class _Forbidden(StreamError, PermissionError):
    """The file is there, and not for this process."""

    status = 403


async def open_source(stream: Stream) -> None:
    """Open ``stream``, or close it.

    Raises:
        ObjectNotFound: there is no such file.
        StorageError: too many files are open.
        StreamError: it cannot be read.
    """
    try:
        await stream.open()
    except OSError as error:
        await stream.close()
        if isinstance(error, ObjectNotFound):
            raise
        if isinstance(error, _NOT_THERE) or error.errno in _NOWHERE:
            raise ObjectNotFound("there is no such file") from error
        if isinstance(error, PermissionError):
            raise _Forbidden("the file may not be read") from error
        if error.errno in _TOO_MANY and not isinstance(error, StreamError):
            raise StorageError("too many files are open", error) from error
        raise
    except BaseException:
        await stream.close()
        raise


async def byteranges(
    stream: Stream, ranges: tuple[ByteRange, ...], content_type: str | None
) -> Stream:
    """A body with a part for each range; its size is exact.

    Args:
        stream: a source that can seek and knows its size; not closed.
        ranges: what to send, in this order.
        content_type: of the whole, if it says one; each part repeats it.

    Raises:
        OSError: a slice cannot be had; those before it are closed.
        ValueError: the content type is none that a header can have; likewise.
    """
    slices: list[Stream] = []
    parts = []
    try:
        for span in ranges:
            head = {"Content-Range": span.content_range(stream.size)}
            if content_type is not None:
                head = {"Content-Type": content_type, **head}
            slices.append(await stream.slice(span.start, span.length))
            parts.append((head, slices[-1]))
        return MultiPartStream(parts, subtype="byteranges")
    except BaseException:
        await ChainStream(*slices).close()
        raise


async def partial_body(
    stream: Stream, ranges: tuple[ByteRange, ...], headers: CIMultiDict[str]
) -> Stream:
    """The body of a 206, out of slices of ``stream``, which is closed."""
    try:
        if len(ranges) == 1:
            return await stream.slice(ranges[0].start, ranges[0].length)
        body = await byteranges(stream, ranges, headers.get(hdrs.CONTENT_TYPE))
        headers[hdrs.CONTENT_TYPE] = body.content_type or ""
        return body
    finally:
        await stream.close()


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
    coding = choose_coding(accepted, ("gzip", "deflate"), coding_aliases())
    return None if coding is None or coding == "identity" else (coding, None)
