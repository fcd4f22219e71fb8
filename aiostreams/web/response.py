"""Responses: the one class that a value becomes, and how it goes out.

A ``BodyResponse`` has a Stream for its body. Bytes in memory make a
``MemoryResponse``, which is one, and a ``web.Response`` as well: what middlewares ask
before they read ``body`` or ``text``. A body that is streamed has neither, and is a
``web.StreamResponse`` and no more, as aiohttp's own ``FileResponse`` is.

Everything about it is decided when it is prepared, in this order:

1. The source is opened. What goes wrong from here to step 4 is still answered as an
   error: the first piece of a body that is made while it is sent is read there too.
2. The content coding is chosen; a file that lies next to one may be sent in its place.
3. ``sansio.plan`` says which status, which bytes and which fields follow from the
   request's conditions and ranges. A source that can seek (see ``Stream.slice``)
   answers these; one that cannot is sent in full.
4. ``on_response_prepare`` is sent, which sees plain bytes, and may change them.
5. The content coding is applied to a whole representation, and only then are the
   fields that frame the message written: from what is sent, whatever they said.

A file goes out by ``sendfile`` where that is possible, bytes in memory at once.

A path may come from a URL, so what is wrong with it is answered as a web server
answers it: 404 for what is not there, 403 for what may not be read, 503 while no
more files can be open. Anything else (a FIFO, a device, a disk that fails) is the
server's own fault.
"""

from __future__ import annotations

import asyncio
import errno
import time
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from aiohttp import Payload, hdrs, payload, web
from aiohttp.http import SERVER_SOFTWARE, HttpVersion11
from multidict import istr

from aiostreams.codings.encoded import WHOLE, EncodedStream, encode_whole
from aiostreams.content.base import Content
from aiostreams.errors import ObjectNotFound, StorageError, StreamClosed, StreamError
from aiostreams.files.file import FileStream
from aiostreams.limits import KiB, MiB
from aiostreams.sansio.conditions import RETRIEVING, Conditions
from aiostreams.sansio.digest import DIGEST_ALGORITHMS
from aiostreams.sansio.plan import plan_response
from aiostreams.sansio.validators import Validators, format_http_date
from aiostreams.streams.guards import is_new
from aiostreams.streams.hashing import hash_whole
from aiostreams.streams.memory import ByteStream
from aiostreams.web.compression.coding import (
    check_acceptable,
    choose,
    is_whole,
    is_worth_it,
    may_refuse,
    open_precompressed,
)
from aiostreams.web.digests import (
    CONTENT_DIGEST,
    REPR_DIGEST,
    digest_field,
    wanted_algorithms,
)
from aiostreams.web.disconnect import DisconnectWatch
from aiostreams.web.errors import Problem, describe, describe_failure
from aiostreams.web.payload import StreamPayload, mismatch, reset_unless_chunked, send
from aiostreams.web.payload_stream import PayloadStream, prompt
from aiostreams.web.response_headers import (
    carry_on,
    drop_framing,
    drop_length,
    find_validators,
    frames_nothing,
    keep_to_part,
    keep_to_refusal,
    mark_encoded,
    promised_length,
    uncarriable,
    vary,
    weaken_etag,
)
from aiostreams.web.sendfile import may_sendfile, sendfile
from aiostreams.web.state import (
    compression_of,
    count_plain,
    gives_etags,
    hold,
    state_of,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from http.cookies import SimpleCookie

    from aiohttp.abc import AbstractStreamWriter
    from multidict import CIMultiDict

    from aiostreams.sansio.plan import ResponsePlan
    from aiostreams.sansio.ranges import ByteRange
    from aiostreams.streams.base import Stream
    from aiostreams.web.compression.coding import Coding

__all__ = [
    "BodyResponse",
    "MemoryResponse",
    "begin_reading",
    "byteranges",
    "make_response",
    "open_source",
    "partial_body",
    "sends_body",
]

# What is hashed on the event loop, for its entity tag: in 20 to 100 us.
_HASHED_IN_PLACE: Final = 32 * KiB
# Of the tag, in hex digits.
_TAG_SIZE: Final = 32
# A source of up to this size is read once more where a client wants a digest of it that
# its handler has not asked for.
_HASHED_UNASKED: Final = 64 * MiB
# How long the first piece of a body is waited for, in seconds.
_PATIENCE: Final = 0.5
# More is sent in pieces of this size, each when there is room for it.
_FEW: Final = 256 * KiB
_CONDITIONS: Final = (
    hdrs.RANGE,
    hdrs.IF_NONE_MATCH,
    hdrs.IF_MODIFIED_SINCE,
    hdrs.IF_MATCH,
    hdrs.IF_UNMODIFIED_SINCE,
    istr(f"Want-{CONTENT_DIGEST}"),
    istr(f"Want-{REPR_DIGEST}"),
)


def make_response(
    source: Content | Stream,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    validators: Validators | None = None,
    digest: tuple[str, ...] = (),
) -> BodyResponse:
    """Make the response whose body is ``source``, by what that encodes to.

    Raises:
        ValueError: a field cannot be sent, or ``source`` cannot be encoded.
    """
    content: Content | None = None
    if isinstance(source, Content):
        content, source = source, source.encode()
    stream = _left_of(source)
    kind = MemoryResponse if type(stream) is ByteStream else BodyResponse
    response = kind(stream, status=status, headers=headers, validators=validators)
    if digest:
        response.digest = digest
    if content is not None:
        if content.path is not None:
            response.path = content.path
        response.tagged = content.tagged
        if fields := content.response_headers:
            for name, value in fields.items():
                response.headers.setdefault(name, value)
    return response


def _left_of(stream: Stream) -> Stream:
    """Return what is left of ``stream``, of bytes in memory as a stream of its own."""
    if type(stream) is not ByteStream or is_new(stream) or not stream.position:
        return stream
    left = stream.getvalue()[stream.position :]
    return ByteStream(left, content_type=stream.content_type)


class BodyResponse(web.StreamResponse):
    """A response whose body is a Stream.

    Attributes:
        stream: the body; owned.
        path: where a local file is that it sends, else ``None``.
        digest: the algorithms of the digests to send.
        tagged: whether an entity tag is made of its bytes, if they are in memory.
        untagged: whether it has none but what its fields say.
        given: what its handler says that the representation is known by.
        wish: the argument of ``enable_compression``, if that was called.
        held: whether the request knows that something is open here, and closes it
            if another response is sent.
        failure: the class of the error that sending the body ended in.

    Args:
        stream: the body.
        status: the status code.
        headers: the fields.
        validators: what the representation is known by, in addition to what fields and
            stream say.

    Raises:
        ValueError: a field cannot be sent.
    """

    # Whether conditions and ranges are for this response to answer.
    evaluates = True
    path: str | None = None
    digest: tuple[str, ...] = ()
    tagged: bool = False
    untagged: bool = False
    held: bool = False
    failure: type[BaseException] | None = None

    _closers: tuple[Callable[[], Awaitable[None]], ...] = ()
    given: Validators | None = None
    wish: tuple[bool | web.ContentCoding | None] | None = None
    _coding: Coding | None = None
    _tag: str | None = None
    # The algorithms of the two digest fields, as the client wants them.
    _content_digests: tuple[str, ...] = ()
    _repr_digests: tuple[str, ...] = ()
    # A body of aiohttp's that was assigned, and is read by ``stream``.
    _payload: Payload | None = None
    # Once it is prepared: whom it answers, where it goes, how long it is.
    _asked: web.BaseRequest | None = None
    _out: AbstractStreamWriter | None = None
    _length: int | None = None
    _without_body: bool = False
    _persistent: bool | None = None
    # Whether the header section does not wait for the first piece of the body.
    _opens_early: bool = False
    # Whether anybody has asked for the cookies: they are made to be asked for.
    _has_cookies: bool = False
    _ended: bool = False
    _sent: int = 0

    def __init__(
        self,
        stream: Stream,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        validators: Validators | None = None,
    ) -> None:
        # Not web.Response's, of a MemoryResponse: all that it makes is made here.
        web.StreamResponse.__init__(self, status=status, headers=headers)
        self.stream: Stream = stream
        if validators is not None:
            self.given = validators
        fields = self.headers
        if hdrs.CONTENT_TYPE not in fields:
            fields[hdrs.CONTENT_TYPE] = (
                stream.content_type or "application/octet-stream"
            )
        if stream.live and self.evaluates:
            # nginx as a proxy in front would hold the pieces back, and others do
            # that know this field of its.
            fields.setdefault("X-Accel-Buffering", "no")
        for name, value in fields.items():
            if not value.isprintable() and uncarriable(value):
                # aiohttp would find it too late for any answer.
                raise ValueError(f"{name}: {value!r} cannot be sent")

    # -- what aiohttp's responses say of themselves ---------------------------------

    @property
    def at_hand(self) -> bool:
        """Whether the bytes are in memory."""
        return type(self.stream) is ByteStream

    @property
    def body(self) -> bytes | bytearray | Payload | None:
        """The bytes, while they are in memory; ``None`` of a stream.

        What is assigned is sent in the place of the stream.
        """
        if self._payload is not None:
            return self._payload
        stream = self.stream
        if type(stream) is ByteStream and not stream.closed:
            return stream.getvalue()
        return None

    @body.setter
    def body(self, body: Any) -> None:
        self.call_on_close(self.stream.close)
        if body is None:
            self.replace(ByteStream())
        elif isinstance(body, (bytes, bytearray)):
            self.replace(ByteStream(body))
        else:
            try:
                made = payload.PAYLOAD_REGISTRY.get(body)
            except payload.LookupError:
                raise ValueError(f"unsupported body type {type(body)!r}") from None
            self.replace(
                made.stream if isinstance(made, StreamPayload) else PayloadStream(made)
            )
            self._payload = made
            for name, value in made.headers.items():
                self.headers.setdefault(name, value)

    def replace(self, stream: Stream) -> None:
        """Send ``stream``, and nothing that was known of the one before counts."""
        self.stream = stream
        self._payload = self.path = None
        if not stream.seekable:
            self.digest = ()

    @property
    def text(self) -> str | None:
        """``body`` as text, by the charset of the content type."""
        body = self.body
        return None if body is None else body.decode(self.charset or "utf-8")

    @text.setter
    def text(self, text: str) -> None:
        if self.content_type == "application/octet-stream":
            self.content_type = "text/plain"
        if self.charset is None:
            self.charset = "utf-8"
        self.body = text.encode(self.charset or "utf-8")

    @property
    def content_length(self) -> int | None:
        """The bytes of the body, as a GET would be answered; ``None`` when unknown.

        Until a file is open, that is of its own. What is assigned counts for a body
        of which no other caller knows it.
        """
        if self._out is not None:
            return self._length
        if self.chunked:
            return None
        if _has_no_content(self.status) or (self.status == 304 and self.evaluates):
            return 0
        size = self._size()
        return promised_length(self.headers, None) if size is None else size

    @content_length.setter
    def content_length(self, value: int | None) -> None:
        if value is None:
            self.headers.popall(hdrs.CONTENT_LENGTH, None)
        else:
            self.headers[hdrs.CONTENT_LENGTH] = str(int(value))

    def _size(self) -> int | None:
        stream = self.stream
        size = stream.size
        if size is None or type(stream) is ByteStream:
            return size
        return size - stream.position

    @property
    def prepared(self) -> bool:
        """Whether the header section was written, or is about to be."""
        return self._ended or self._out is not None

    @property
    def keep_alive(self) -> bool | None:
        """Whether the connection is kept; ``None`` as long as that is undecided."""
        return self._persistent

    def force_close(self) -> None:
        """Close the connection when this was sent."""
        self._persistent = False

    @property
    def body_length(self) -> int:
        """How many bytes were written, those of the header section among them."""
        return self._sent

    @property
    def cookies(self) -> SimpleCookie:
        """The cookies to set, to be read and changed."""
        self._has_cookies = True
        return super().cookies

    def set_cookie(self, name: str, value: str, **attributes: Any) -> None:
        """Set a cookie, as for any response."""
        self._has_cookies = True
        super().set_cookie(name, value, **attributes)

    @property
    def task(self) -> asyncio.Task[None] | None:
        """The task that handles the request, while this is sent."""
        return None if self._asked is None else self._asked.task

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

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Refuse: what is sent comes from ``stream``.

        Raises:
            RuntimeError: always.
        """
        del data
        raise RuntimeError("this response sends its stream, so it cannot be written to")

    def __repr__(self) -> str:
        if self._ended:
            info = "eof"
        elif self._asked is not None:
            info = f"{self._asked.method} {self._asked.path}"
        else:
            info = "not prepared"
        return f"<{type(self).__name__} {self.status} {self.reason} {info}>"

    @property
    def validators(self) -> Validators:
        """What the representation is known by: as given, else as its source says."""
        found = find_validators(self.headers, self.given or Validators(), self.stream)
        if self.untagged and hdrs.ETAG not in self.headers:
            return Validators(last_modified=found.last_modified)
        return found

    # -- up to the header section ------------------------------------------------------

    async def open(self) -> None:
        """Open the source, so that a missing file can still become a 404.

        Raises:
            ObjectNotFound: there is no such file.
            StreamError: it cannot be read.
        """
        await open_source(self.stream)

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Open the source, decide, and write the header section."""
        if self._ended:
            return None
        if self._out is not None:
            return self._out
        try:
            if not self._is_usual(request):
                await self._decide(request)
            await self._write_head(request, request.writer)
        except BaseException:
            await self.discard()
            raise
        return self._out

    def _is_usual(self, request: web.BaseRequest) -> bool:
        """Return whether it is a small answer to a plain request: nothing to decide.

        Most answers of an API are a few hundred bytes of JSON. What is left out here
        costs as much as aiohttp takes for all of the rest.
        """
        stream = self.stream
        if (
            type(stream) is not ByteStream
            or self.status != 200
            or self.given is not None
            or self.wish is not None
            or self.digest
            or not self.evaluates
            or _says_more(stream)
        ):
            return False
        data = stream.getvalue()
        state = state_of(request)
        compression = None if state is None else state.compression
        if compression is not None and (
            len(data) >= compression.minimum_size or may_refuse(request)
        ):
            return False
        if request.method in RETRIEVING:
            if not request.headers.keys().isdisjoint(_CONDITIONS):
                return False
            fields = self.headers
            if (
                self.tagged
                and not self.untagged
                and (state is None or state.etags)
                and hdrs.ETAG not in fields
            ):
                if len(data) > _HASHED_IN_PLACE:
                    return False
                fields[hdrs.ETAG] = self._tag = _tag_of(data)
            fields.setdefault(hdrs.ACCEPT_RANGES, "bytes")
        return True

    async def _decide(self, request: web.BaseRequest) -> None:
        """Find out what is answered, which may be that something is wrong."""
        try:
            await self._find_out(request)
        except web.HTTPException as error:
            self._become(Problem(error.status, dict(error.headers), error.text or ""))
        except ConnectionError:
            raise  # the client has gone, or somebody wants it to look so
        except StreamError as error:
            self._become(describe(error, request))
        except Exception as error:  # noqa: BLE001 (logged)
            self._become(describe_failure(error, request))

    async def _find_out(self, request: web.BaseRequest) -> None:
        returned = self.held
        if not self.at_hand:
            await self.open()
            if not returned:  # prepared by hand, and maybe not returned
                self.held = True
                hold(request, self)
        self._choose_digests(request)
        await self._choose_coding(request)
        if self.status == 200 and self.evaluates:
            await self._add_tag(request)
            await self._evaluate(request)
        if self.at_hand:
            return
        if self.stream.seekable:  # several ranges together are not
            await self._add_digests(request)
        if (
            returned
            and self.evaluates
            and not self.stream.live
            and sends_body(request, self)
        ):
            await self._begin_reading(request)

    def _choose_digests(self, request: web.BaseRequest) -> None:
        """Find out which digests are sent: what the handler says, and the client."""
        content = representation = self.digest
        if self.evaluates and 200 <= self.status < 300:
            asked = request.headers
            content = wanted_algorithms(asked, CONTENT_DIGEST, content)
            representation = wanted_algorithms(asked, REPR_DIGEST, representation)
        stream = self.stream
        if not (content or representation) or self.at_hand or self.digest:
            pass
        elif not stream.seekable or (stream.size or 0) > _HASHED_UNASKED:
            known = {
                name
                for name, plain in DIGEST_ALGORITHMS.items()
                if plain in stream.known_digests
            }
            content = tuple(name for name in content if name in known)
            representation = tuple(name for name in representation if name in known)
        self._content_digests, self._repr_digests = content, representation

    async def _choose_coding(self, request: web.BaseRequest) -> None:
        compression = compression_of(request)
        if compression is not None:
            check_acceptable(request, self, self._size(), compression)
        elif self.wish is None:
            return
        if (
            self.path is not None
            and self.status == 200
            and compression is not None
            and compression.precompressed
            and is_whole(200, self.headers)
            and is_worth_it(request, self.headers, self.stream.size, compression)
        ):
            vary(self.headers)
            found = await open_precompressed(
                self.path,
                request.headers.getall(hdrs.ACCEPT_ENCODING, None),
                compression.preference,
            )
            if found is not None:
                await self._send_instead(*found)
                return
        if (self._content_digests or self._repr_digests) and not self.at_hand:
            # The digest is of the encoded bytes, and stands before them.
            return
        validators = self.validators
        self._coding = choose(
            request,
            self,
            self._size(),
            compression,
            static=validators.etag is not None or validators.last_modified is not None,
            wish=self.wish,
        )

    async def _send_instead(self, coding: str, stream: Stream) -> None:
        """Send ``stream``, which is the source in a content coding already.

        It has its own validators; a tag that was given for the source is sent as a
        weak one.
        """
        source, self.stream = self.stream, stream
        await source.close()
        self.headers[hdrs.CONTENT_ENCODING] = coding
        weaken_etag(self.headers)
        given = self.given
        if given is not None and given.etag is not None:
            self.given = Validators(
                etag=given.etag.weakened(), last_modified=given.last_modified
            )

    async def _add_tag(self, request: web.BaseRequest) -> None:
        """Give bytes in memory an entity tag, if no other was given."""
        stream = self.stream
        if (
            not self.tagged
            or self.untagged
            or type(stream) is not ByteStream
            or request.method not in RETRIEVING
            or self.validators.etag is not None
            or not gives_etags(request)
        ):
            return
        data = stream.getvalue()
        if len(data) <= _HASHED_IN_PLACE:
            self._tag = _tag_of(data)
        else:
            hashes = await hash_whole(data, ("sha256",))
            self._tag = f'"{hashes["sha256"][:_TAG_SIZE]}"'
        self.headers[hdrs.ETAG] = self._tag

    async def _evaluate(self, request: web.BaseRequest) -> None:
        """Answer the conditions of the request, and the range it asks for."""
        stream = self.stream
        plan = plan_response(
            request.method,
            Conditions.from_fields(request.headers.items()),
            self.validators,
            size=stream.size,
            accept_ranges=stream.seekable
            and not stream.position
            and self.headers.get(hdrs.ACCEPT_RANGES) != "none",
            now=time.time(),
        )
        if plan.status in {304, 412, 416}:
            self._answer_without(plan)
            return
        if plan.ranges:
            if self._repr_digests:
                self.headers[REPR_DIGEST] = await digest_field(
                    stream, self._repr_digests
                )
            self.stream = await partial_body(stream, plan.ranges, self.headers)
            keep_to_part(self.headers)
            self.set_status(206)
            self._coding = None
        for name, value in plan.headers.items():
            self.headers.setdefault(name, value)

    def _answer_without(self, plan: ResponsePlan) -> None:
        """Answer by a 304, 412 or 416: nothing of the representation is sent."""
        self.set_status(plan.status)
        keep_to_refusal(self.headers, plan.status)
        self.headers.update(plan.headers)
        if self._coding is not None:
            # What a 200 would have: the tag of the encoded representation.
            weaken_etag(self.headers)
        self._coding, self._content_digests, self._repr_digests = None, (), ()
        self.body = b""
        if plan.status != 304:
            self.headers[hdrs.CONTENT_TYPE] = "text/plain; charset=utf-8"
            self.body = f"{self.status}: {self.reason}".encode()

    def _become(self, problem: Problem) -> None:
        """Answer that something is wrong, instead of what was to be sent.

        What middlewares have said that is not about the body stays.
        """
        self.set_status(problem.status)
        if problem.status >= 500:
            self.force_close()
        self._coding, self._content_digests, self._repr_digests = None, (), ()
        keep_to_refusal(self.headers, problem.status)
        self.headers.update(problem.headers)
        self.body = problem.text.encode()

    async def _begin_reading(self, request: web.BaseRequest) -> None:
        """Read the first piece, of a body that is not sent by ``sendfile``.

        One that is silent for long is begun all the same, and its header section
        sent: a client may wait for that.
        """
        if may_sendfile(request, self) and isinstance(self.stream, FileStream):
            return
        self._opens_early = not await begin_reading(self.stream, self.content_length)

    async def _write_head(
        self, request: web.BaseRequest, writer: AbstractStreamWriter
    ) -> None:
        headers = self.headers
        self._asked, self._out = request, writer
        self._without_body = not sends_body(request, self)
        if hdrs.DATE not in headers:
            headers[hdrs.DATE] = _date()
        headers.setdefault(hdrs.SERVER, SERVER_SOFTWARE)
        written: list[tuple[str, str]] = []
        if self._has_cookies:
            written = _written(self.cookies)
            headers.extend(written)
        if signals := _signals(request):
            own = self._frame(request, {})
            stream = self.stream
            for signal in signals:
                await signal.send(request, self)
            if self.stream is not stream and headers.get(hdrs.ETAG) == self._tag:
                headers.popall(hdrs.ETAG, None)  # it was of the bytes before
            if self._has_cookies:
                late = [one for one in _written(self.cookies) if one not in written]
                headers.extend(late)
        else:
            own = {}
        if self._coding is not None and is_whole(self.status, headers):
            await self._encode(request, *self._coding)
        if (self._content_digests or self._repr_digests) and self.at_hand:
            await self._add_digests(request)
        self._frame(request, own)
        if hdrs.TRANSFER_ENCODING in headers:
            writer.enable_chunking()
        else:
            writer.length = self._length
        carry_on(headers)
        version = request.version
        await writer.write_headers(
            f"HTTP/{version[0]}.{version[1]} {self.status} {self.reason}", headers
        )

    async def _encode(
        self, request: web.BaseRequest, coding: str, level: int | None
    ) -> None:
        stream = self.stream
        if isinstance(stream, ByteStream) and (
            self._content_digests
            or self._repr_digests
            or (len(stream.getvalue()) <= WHOLE and not self._without_body)
        ):
            plain = stream.getvalue()
            count_plain(request, len(plain))
            self.stream = ByteStream(await encode_whole(plain, coding, level))
        else:
            stream = prompt(stream)
            count_plain(request, stream)
            self.stream = EncodedStream(stream, coding, level=level)
        mark_encoded(self.headers, coding)

    async def _add_digests(self, request: web.BaseRequest) -> None:
        headers, field = self.headers, None
        if self._repr_digests and REPR_DIGEST not in headers:
            field = await digest_field(self.stream, self._repr_digests)
            headers[REPR_DIGEST] = field
        # The content of the answer to a HEAD is empty.
        if self._content_digests and request.method != "HEAD":
            if field is None or self._content_digests != self._repr_digests:
                field = await digest_field(self.stream, self._content_digests)
            headers[CONTENT_DIGEST] = field

    def _frame(
        self, request: web.BaseRequest, before: Mapping[str, str]
    ) -> dict[str, str]:
        """Write the fields that frame the message, in place of those of ``before``.

        What others say there is dropped, but for the length of a body of which
        it is unknown: that is a promise, and kept. See RFC 9112 sections 6 and 9.
        """
        headers = self.headers
        modern = request.version >= HttpVersion11
        length = self._size()
        if (
            not before
            and modern
            and length is not None
            and frames_nothing(headers)
            and self._persistent is None
            and request.keep_alive
            and not (self._without_body or self.chunked)
        ):
            # As most are: it takes half of the time.
            self._length, self._persistent = length, True
            headers[hdrs.CONTENT_LENGTH] = text = str(length)
            return {hdrs.CONTENT_LENGTH: text}
        for name, value in before.items():
            if headers.get(name) == value:
                del headers[name]
        if drop_framing(headers, self.status):
            self._persistent = False
        persistent = request.keep_alive and self._persistent is not False
        own: dict[str, str] = {}
        told = not self._without_body or self._tells_length(request)
        if not told:
            length = 0
        elif self.chunked and modern:
            drop_length(headers)
            length = None
        elif hdrs.CONTENT_LENGTH in headers:
            length = promised_length(headers, length)
        self._length = length
        if length is not None:
            if told:
                own[hdrs.CONTENT_LENGTH] = str(length)
        elif self._without_body:
            pass
        elif modern:
            own[hdrs.TRANSFER_ENCODING] = "chunked"
        else:
            persistent = False
        if not persistent:
            if modern:
                own[hdrs.CONNECTION] = "close"
        elif not modern:
            own[hdrs.CONNECTION] = "keep-alive"
        for name, value in own.items():
            headers[name] = value
        self._persistent = persistent
        return own

    def _tells_length(self, request: web.BaseRequest) -> bool:
        """Return whether a response without content has the length that a GET has.

        One that is passed on has what its maker has said, unless nothing may be said.
        """
        nothing = _has_no_content(self.status) or request.method == "CONNECT"
        if nothing or (self.status == 304 and self.evaluates):
            self.headers.popall(hdrs.CONTENT_LENGTH, None)
            return False
        return self.evaluates

    # -- the body ----------------------------------------------------------------------

    async def write_eof(self, data: bytes = b"") -> None:
        """Send the body; whatever happens, its stream is closed afterwards."""
        if self._ended:
            return
        assert not data, "this response sends its stream"
        request, writer = self._asked, self._out
        assert request is not None, "the response was not prepared"
        assert writer is not None
        stream = self.stream
        try:
            if self._without_body:
                await writer.write_eof()
            elif type(stream) is ByteStream and (self._length or 0) <= _FEW:
                await writer.write_eof(stream.getvalue())
            else:
                await self._send(request, writer)
                await writer.write_eof()
            self._ended = True
        finally:
            self._sent = writer.output_size
            if self._closers or type(stream) is not ByteStream:
                await self.discard()

    async def _send(
        self, request: web.BaseRequest, writer: AbstractStreamWriter
    ) -> None:
        stream = self.stream
        watch = DisconnectWatch.over(request, stream)
        try:
            if (
                isinstance(stream, FileStream)
                and not stream.position
                and may_sendfile(request, self)
                and await sendfile(stream, request, writer)
            ):
                return
            transport = request.transport
            if self._opens_early and transport and not transport.is_closing():
                writer.send_headers()  # one that has left is told by the watch
            await send(stream, writer, self._length)
        except BaseException as error:
            if stream.failed:
                self.failure = type(error)
            if self._length is None:
                reset_unless_chunked(writer)
            await stream.abort()
            if isinstance(error, StreamClosed) and watch is not None and watch.lost:
                raise ConnectionResetError("Connection lost") from error
            raise
        finally:
            if watch is not None:
                await watch.stop()

    def call_on_close(self, closer: Callable[[], Awaitable[None]]) -> None:
        """Await ``closer`` once the response was sent, or could not be."""
        self._closers += (closer,)

    async def discard(self) -> None:
        """Close everything; also for a response that will not be sent."""
        if type(self.stream) is ByteStream and not self._closers:
            return  # nothing is held that would have to be closed
        closers, self._closers = self._closers, ()
        try:
            await self.stream.close()
        finally:
            for closer in closers:
                await closer()


class MemoryResponse(BodyResponse, web.Response):
    """A response whose body is in memory: a ``web.Response``, as others expect it.

    Its ``body`` and ``text`` can be read, and changed.
    """


def sends_body(request: web.BaseRequest, response: web.StreamResponse) -> bool:
    """Return whether content follows the header section (RFC 9112 section 6.3)."""
    status, method = response.status, request.method
    return not (
        method == "HEAD"
        or status == 304
        or _has_no_content(status)
        or (method == "CONNECT" and status < 300)
    )


def _has_no_content(status: int) -> bool:
    return status < 200 or status == 204


def _signals(request: web.BaseRequest) -> list[Any]:
    """Return the signals that aiohttp sends before headers: of each application."""
    signals: list[Any] = []
    if isinstance(request, web.Request):
        for app in request.match_info.apps:
            if signal := app.on_response_prepare:
                signals.append(signal)  # noqa: PERF401 - a list that is empty is made
    return signals


_format_date: Final = lru_cache(maxsize=1)(format_http_date)


def _date() -> str:
    return _format_date(int(time.time()))


def _written(cookies: SimpleCookie) -> list[tuple[str, str]]:
    """Return the fields of cookies."""
    return [
        (hdrs.SET_COOKIE, cookie.output(header="")[1:]) for cookie in cookies.values()
    ]


def _tag_of(data: bytes) -> str:
    return f'"{sha256(data).hexdigest()[:_TAG_SIZE]}"'


def _says_more(stream: Stream) -> bool:
    """Return whether it was given validators: see ``Stream.slice``."""
    return hasattr(stream, "etag") or hasattr(stream, "last_modified")


async def begin_reading(stream: Stream, length: int | None) -> bool:
    """Read the first piece and put it back: what fails before any byte can be answered.

    A body that has ended with its first piece is known to have ended well.

    Args:
        stream: the body; nothing of it was sent.
        length: how many bytes it is to have, if anybody says so.

    Returns:
        False if nothing came for a while.

    Raises:
        SizeMismatch: it is longer than it is to be.
        Exception: what reading it raises.
    """
    patience = asyncio.timeout(_PATIENCE)
    try:
        async with patience:
            first = await stream.readany()
            if first and length is not None and len(first) >= length:
                seen = len(first) + len(await stream.readany())
                if seen > length:
                    raise mismatch(length, seen, "gave at least")
    except TimeoutError:
        if not patience.expired():
            raise
        return False
    stream.unread(first)
    return True


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
    """Make a body with a part for each range; its size is exact.

    Args:
        stream: a source that can seek and knows its size; not closed.
        ranges: what to send, in this order.
        content_type: of the whole, if it says one; each part repeats it.

    Raises:
        OSError: a slice cannot be had; those before it are closed.
        ValueError: the content type is none that a header can have; likewise.
    """
    # Few clients ask for several ranges.
    from aiostreams.streams.multipart import MultiPartStream  # noqa: PLC0415
    from aiostreams.streams.sections import ChainStream  # noqa: PLC0415

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
    """Make the body of a 206, out of slices of ``stream``, which is closed."""
    try:
        if len(ranges) == 1:
            return await stream.slice(ranges[0].start, ranges[0].length)
        body = await byteranges(stream, ranges, headers.get(hdrs.CONTENT_TYPE))
        headers[hdrs.CONTENT_TYPE] = body.content_type or ""
        return body
    finally:
        await stream.close()
