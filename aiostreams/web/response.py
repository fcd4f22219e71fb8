"""Values to responses.

``respond``, and a value that a handler returns, become a ``BodyResponse``. It
decides late, in ``prepare``: then the request is known, the source is opened, and
``sansio.plan`` says which status, which bytes and which fields follow from them.

A source that can seek (see ``Stream.slice``) answers conditions and ranges; one that
cannot is sent whole. A file goes out by ``sendfile`` where that is possible. A whole
representation is sent in the content coding that the compression middleware chose.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from aiohttp import hdrs, web

from aiostreams.content.base import Content
from aiostreams.content.events import EventStream
from aiostreams.content.file import File
from aiostreams.errors import StreamClosed, StreamError
from aiostreams.sansio.conditions import Conditions
from aiostreams.sansio.disposition import content_disposition
from aiostreams.sansio.plan import plan_response
from aiostreams.sansio.validators import Validators
from aiostreams.streams.encoding import EncodedStream
from aiostreams.streams.file import FileStream
from aiostreams.streams.memory import ByteStream
from aiostreams.web.body import offer
from aiostreams.web.byteranges import partial_body
from aiostreams.web.digests import (
    CONTENT_DIGEST,
    REPR_DIGEST,
    check_algorithms,
    digest_field,
)
from aiostreams.web.encoded import (
    WHOLE,
    encode_whole,
    mark_encoded,
    weaken_etag,
    wished_coding,
)
from aiostreams.web.errors import describe
from aiostreams.web.fields import keep_to_part, keep_to_refusal
from aiostreams.web.inmemory import uncarriable
from aiostreams.web.opening import open_source
from aiostreams.web.payload import StreamPayload
from aiostreams.web.pipe import prompt
from aiostreams.web.sendfile import may_sendfile, sendfile
from aiostreams.web.streamed import StreamedResponse
from aiostreams.web.validators import find_validators, given_validators
from aiostreams.web.watch import Watch

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from aiohttp import ETag
    from aiohttp.abc import AbstractStreamWriter

    from aiostreams.sansio.plan import ResponsePlan
    from aiostreams.streams.base import Stream

__all__ = ["BodyResponse", "respond"]


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
    offered = False

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
        if not self.offered:  # prepared by hand, and maybe not returned
            offer(request, self)
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
            encoded = await encode_whole(request, stream.getvalue(), coding, level)
            self.stream = ByteStream(encoded)
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
        watch = None if sending is None else Watch.over(sending[0], self.stream)
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

    def closing(self, closer: Callable[[], Awaitable[None]]) -> None:
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


def respond(
    source: Content | Stream,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    filename: str | None = None,
    disposition: str | None = None,
    etag: str | ETag | None = None,
    last_modified: float | dt.datetime | str | None = None,
    digest: str | Iterable[str] = (),
) -> web.StreamResponse:
    """A response whose body is ``source``, for when there is more to say.

    A body of known size has a Content-Length, another one is chunked. With status
    200, a source that can seek answers conditions and ranges (RFC 9110 sections 13
    and 14). A source that fails midway breaks the connection.

    Args:
        source: the body. A Content is encoded here and now.
        status: the status code.
        headers: more header fields; they win over what is set from the source.
        filename: the name to save it under; makes it an attachment.
        disposition: ``"inline"`` or ``"attachment"`` (RFC 6266).
        etag: the entity tag, unquoted, or an ``aiohttp.ETag``; strong.
        last_modified: POSIX seconds, a ``datetime``, or an HTTP date.
        digest: send ``Content-Digest`` and ``Repr-Digest`` (RFC 9530) by these
            algorithms: ``sha-256``, ``sha-512``. The source is read once more for
            each of the two that differ, and a file is not compressed on its way.

    Raises:
        ValueError: a header, name, tag or algorithm cannot be sent, a digest is
            wanted of a source that cannot be read twice, or ``source`` cannot be
            encoded.
    """
    algorithms = check_algorithms(digest)
    response = BodyResponse(
        source,
        status=status,
        headers=headers,
        validators=given_validators(etag, last_modified),
        digest=algorithms,
    )
    if algorithms and not response.stream.seekable:
        raise ValueError(
            f"the digest stands before the body, and {response.stream!r} can be "
            "read only once"
        )
    if filename is not None or disposition is not None:
        response.headers[hdrs.CONTENT_DISPOSITION] = content_disposition(
            disposition or "attachment", filename
        )
    return response
