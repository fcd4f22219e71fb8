"""One request of a resumable upload: what both protocols need of it.

An ``Exchange`` knows the request, the route's options and the application's service. It
makes the upload's URL and limits, refuses what is not welcome before its bytes arrive,
appends the content, runs the handler on all of it, and makes responses.

The handler gets a clone of the request that completes the upload: its method, its URL
and the fields of its representation are those of the creation, its body is the upload,
everything else (who asks, by which cookies) is of the request at hand.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import inspect
import logging
import math
import re
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from aiohttp import HttpVersion11, hdrs, web
from multidict import CIMultiDict
from yarl import URL

from aiostreams.errors import (
    StreamError,
    UnsupportedContent,
    exceeded,
)
from aiostreams.limits import KiB, Limits
from aiostreams.resumable.state import (
    Answer,
    Fenced,
    Protocol,
    ResumableUpload,
    UploadGone,
    UploadInfo,
    UploadNotFound,
    UploadState,
    day_of,
    filename_of,
    is_id,
    new_id,
)
from aiostreams.sansio.mediatype import media_type_of
from aiostreams.sansio.sniff.types import SNIFF_BYTES, accepted_type, sniff
from aiostreams.sansio.tus import parse_metadata
from aiostreams.uploads.rules import FileRule
from aiostreams.web.digests import CONTENT_DIGEST, verified
from aiostreams.web.errors import error_response
from aiostreams.web.respond import response_of
from aiostreams.web.resumable.config import DAY
from aiostreams.web.resumable.service import APP_UPLOADS
from aiostreams.web.state import body_of, new_body, tally_of
from aiostreams.web.stats.model import UploadStats

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping

    from aiostreams.resumable.engine import Append, Appended
    from aiostreams.resumable.staging import StagedUpload
    from aiostreams.streams.base import Stream
    from aiostreams.web.resumable.config import Options
    from aiostreams.web.resumable.service import Service

__all__ = [
    "Exchange",
    "FinalAnswer",
    "answer_of",
    "id_in",
    "replayed",
    "upload_in",
]

# What of an answer is kept, to be given again.
_MAX_ANSWER: Final = 64 * KiB
# Fields that a connection, or the moment, makes; and secrets.
_NOT_KEPT: Final = frozenset(
    {
        "connection",
        "content-length",
        "date",
        "keep-alive",
        "server",
        "set-cookie",
        "transfer-encoding",
        "upgrade",
    }
)
# Fields of the request at hand that speak of its content, or of the upload.
_OF_THE_CONTENT: Final = frozenset(
    {
        "content-digest",
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-length",
        "content-range",
        "content-type",
        "expect",
        "repr-digest",
        "transfer-encoding",
        "x-http-method-override",
    }
)
# Fields of the creation that speak of the representation.
_KEPT: Final = (
    hdrs.CONTENT_TYPE,
    hdrs.CONTENT_ENCODING,
    hdrs.CONTENT_DISPOSITION,
    hdrs.CONTENT_LANGUAGE,
    "Repr-Digest",
)
_LONGEST_FIELD: Final = 1024
# Fields by which a proxy shows, and how often the offset is asked for in vain before
# one is suspected.
_OF_PROXIES: Final = frozenset(
    {"forwarded", "via", "x-forwarded-for", "x-forwarded-proto", "x-real-ip"}
)
_FENCES_IN_VAIN: Final = 3
_host = re.compile(r"[A-Za-z0-9.\-_\[\]:]{1,255}").fullmatch

_logger = logging.getLogger("aiostreams.resumable")


def id_in(request: web.Request, options: Options) -> str | None:
    """Return the id of the upload that a request is for; ``""`` for what is none."""
    if options.in_path:
        return request.match_info.get("upload")
    return request.query.get("upload")


@dataclass(frozen=True, slots=True)
class FinalAnswer:
    """The final answer to an upload.

    Attributes:
        answer: what is kept of it.
        response: what the handler has returned, or raised, when it has run just now.
    """

    answer: Answer
    response: web.StreamResponse | Exception | None = None


class Exchange:
    """One request of a resumable upload."""

    def __init__(
        self,
        request: web.Request,
        options: Options,
        call: Callable[[web.Request], Awaitable[Any]],
    ) -> None:
        self.request: web.Request = request
        self.options: Options = options
        self.upload_id: str | None = id_in(request, options)
        self._call = call
        service = request.config_dict.get(APP_UPLOADS)
        if service is None:
            raise RuntimeError("resumable uploads need aiostreams.setup(app, ...)")
        self.service: Service = service
        self.limits: Limits = body_of(request).limits
        self._owner: str | None = None
        # Whether the offset was asked for since the last bytes came.
        self._asked = False

    async def identify(self) -> None:
        """Ask whose request it is."""
        if self.options.owner is not None:
            owner = self.options.owner(self.request)
            self._owner = await owner if inspect.isawaitable(owner) else owner

    # -- numbers and names ---------------------------------------------------------

    @property
    def max_size(self) -> int:
        """How long an upload may be."""
        size = self.options.max_size
        return self.limits.max_body if size is None else size

    def limit_members(self, state: UploadState | None = None) -> dict[str, int]:
        """Return the members of ``Upload-Limit``.

        Args:
            state: of the upload whose limits they are, if there is one.
        """
        members = {"max-size": self.max_size}
        if self.service.config.max_append_size is not None:
            members["max-append-size"] = self.service.config.max_append_size
        if state is not None:
            members["max-age"] = max(0, math.floor(state.expires - time.time()))
        return members

    @property
    def path(self) -> str:
        """The path of the resource that uploads are created at, decoded."""
        path = self.request.path
        if self.options.in_path and self.upload_id is not None:
            path = path.rpartition("/")[0]
        return path

    def target(self) -> URL:
        """Return the URL of that resource, relative, with the rest of the query."""
        url = self.request.rel_url
        if not self.options.in_path:
            return url.without_query_params("upload")
        if self.upload_id is None:
            return url
        raw = url.raw_path.rpartition("/")[0]
        return URL.build(path=raw, query_string=url.raw_query_string, encoded=True)

    def location(self, upload_id: str) -> str:
        """Return the URL of an upload, absolute."""
        target = self.target()
        if self.options.in_path:
            raw = f"{target.raw_path.rstrip('/')}/{upload_id}"
            target = URL.build(
                path=raw, query_string=target.raw_query_string, encoded=True
            )
        else:
            target = target.extend_query(upload=upload_id)
        return self._origin() + str(target)

    def _origin(self) -> str:
        config = self.service.config
        if callable(config.location):
            return config.location(self.request).rstrip("/")
        if config.location is not None:
            return config.location.rstrip("/")
        scheme, host = self.request.scheme, self.request.host
        if config.forwarded:
            scheme, host = _forwarded(self.request, scheme, host)
        return f"{scheme}://{host}"

    # -- which upload --------------------------------------------------------------

    def check(self, info: UploadInfo, _state: UploadState) -> None:
        """Refuse an upload that is another resource's, or another owner's.

        Raises:
            UploadNotFound: it is.
        """
        if info.path != self.path or info.owner != self._owner_of(info.id):
            raise UploadNotFound("there is no such upload")

    def _owner_of(self, upload_id: str) -> str | None:
        if self._owner is None:
            return None
        # With the id, so that two uploads of one owner do not look alike.
        return hashlib.sha256(f"{upload_id}\0{self._owner}".encode()).hexdigest()

    @contextlib.contextmanager
    def known(self) -> Iterator[None]:
        """Tell uploads that were here from those that never were.

        Raises:
            UploadGone: the id is so old that its upload has expired.
        """
        try:
            yield
        except UploadNotFound:
            assert self.upload_id is not None
            age = time.time() / DAY - day_of(self.upload_id)
            if age > self._max_age / DAY + 1:
                raise UploadGone("the upload has expired") from None
            raise

    def require_id(self) -> str:
        """Return the id in the URL.

        Raises:
            UploadNotFound: there is none.
        """
        if self.upload_id is None or not is_id(self.upload_id):
            raise UploadNotFound("there is no such upload")
        return self.upload_id

    async def find(self) -> StagedUpload:
        """Find the upload of the URL.

        Raises:
            UploadNotFound, UploadGone, StorageError: as ``Uploads.find``.
        """
        upload_id = self.require_id()
        with self.known():
            upload = await self.service.uploads.find(upload_id, self.check)
        self._asked = upload.state.fences > 0
        return self._meet(upload)

    async def fence(self) -> StagedUpload:
        """Find the upload of the URL, whose offset may be sent.

        Raises:
            UploadNotFound, UploadGone, UploadBusy: as ``Uploads.fence``.
        """
        upload_id = self.require_id()
        with self.known():
            upload = await self.service.uploads.fence(upload_id, self.check)
        self._suspect_buffering(upload.state)
        return self._meet(upload)

    def _suspect_buffering(self, state: UploadState) -> None:
        """Warn, once, of a proxy that seems to take complete requests first.

        Of a request that breaks off such a proxy passes nothing on, so its client asks
        for the offset again and again, and it stays what it is.
        """
        service, request = self.service, self.request
        if service.warned or not state.open or state.fences < _FENCES_IN_VAIN:
            return
        if request.version < HttpVersion11 or not _OF_PROXIES.isdisjoint(
            name.lower() for name in request.headers
        ):
            service.warned = True
            _logger.warning(
                "upload without progress behind a proxy: %s: it was asked for %d times "
                "and got no byte in between. A proxy that takes complete requests "
                "before it passes them on (nginx without 'proxy_request_buffering "
                "off') makes resuming impossible",
                self.upload_id,
                state.fences,
            )

    async def cancel(self) -> None:
        """End the upload of the URL.

        Raises:
            UploadNotFound, UploadGone, StorageError: as ``Uploads.cancel``.
        """
        upload_id = self.require_id()
        with self.known():
            self._meet(await self.service.uploads.cancel(upload_id, self.check))

    # -- statistics ----------------------------------------------------------------

    def _meet(self, upload: StagedUpload) -> StagedUpload:
        """Have the statistics of the request say which upload it is for."""
        tally = tally_of(self.request)
        if tally is not None and tally.upload is None:
            info = upload.info
            tally.upload = UploadStats(
                id=info.id, protocol=info.protocol, offset=upload.state.offset
            )
        return upload

    def _note(self, **changes: Any) -> None:
        """Have them say what has become of it."""
        tally = tally_of(self.request)
        if tally is not None and tally.upload is not None:
            tally.upload = replace(tally.upload, **changes)

    # -- creation ------------------------------------------------------------------

    @property
    def _max_age(self) -> float:
        age = self.options.max_age
        return self.service.config.max_age if age is None else age

    def describe(
        self,
        protocol: Protocol,
        *,
        length: int | None,
        metadata: str | None,
        concat: str | None = None,
        parts: tuple[str, ...] = (),
    ) -> UploadInfo:
        """Return what is to be kept of a creation.

        Args:
            protocol: which one creates it.
            length: of the upload, if it is known.
            metadata: ``Upload-Metadata`` as sent.
            concat: ``Upload-Concat`` as sent.
            parts: the ids of the uploads that it is made of.
        """
        now = time.time()
        upload_id = new_id(now)
        expires = self.options.expires
        return UploadInfo(
            id=upload_id,
            protocol=protocol,
            method=self.request.method,
            path=self.path,
            created=now,
            expires=self.service.config.expires if expires is None else expires,
            max_age=self._max_age,
            length=length,
            max_size=self.max_size,
            fields=self._fields(protocol, metadata),
            metadata=metadata,
            concat=concat,
            parts=parts,
            owner=self._owner_of(upload_id),
        )

    def _fields(self, protocol: Protocol, metadata: str | None) -> dict[str, str]:
        """Return the fields of the representation, for the handler to know it."""
        fields: dict[str, str] = {}
        if protocol == "rufh":
            for name in _KEPT:
                lines = self.request.headers.getall(name, ())
                if lines and len(value := ", ".join(lines)) <= _LONGEST_FIELD:
                    fields[name] = value
            if (
                media_type_of(fields.get(hdrs.CONTENT_TYPE))
                == "application/partial-upload"
            ):
                del fields[hdrs.CONTENT_TYPE]
        told = parse_metadata(metadata)
        kind = told.get("filetype") or told.get("contentType") or told.get("type")
        if kind and _is_field(kind):
            fields.setdefault(hdrs.CONTENT_TYPE, kind)
        filename = told.get("filename") or told.get("name")
        if filename and hdrs.CONTENT_DISPOSITION not in fields:
            # Only as it is: beside it, a plain one would count.
            encoded = quote(filename[:_LONGEST_FIELD], safe="")
            fields[hdrs.CONTENT_DISPOSITION] = f"inline; filename*=UTF-8''{encoded}"
        return fields

    async def admit(self, info: UploadInfo) -> None:
        """Refuse an upload before its bytes arrive.

        Raises:
            UnsupportedContent: its type is not welcome.
            Exception: as raised by ``on_create``.
        """
        accept, declared = self.options.accept, info.fields.get(hdrs.CONTENT_TYPE)
        if (
            accept is not None
            and media_type_of(info.fields.get(hdrs.CONTENT_TYPE)) not in _UNSAID
        ):
            assert not isinstance(accept, str)
            if accepted_type(declared, declared, accept) is None:
                raise _unwelcome(
                    media_type_of(info.fields.get(hdrs.CONTENT_TYPE)), accept
                )
        if self.options.on_create is not None:
            called = self.options.on_create(self.request, upload_in(info))
            if inspect.isawaitable(called):
                await called

    async def create(self, info: UploadInfo) -> StagedUpload:
        """Begin an upload.

        Raises:
            StorageError: as ``Uploads.create``; or uploads cannot rely on the storage.
        """
        await self.service.try_storage()
        upload = self._meet(await self.service.uploads.create(info))
        self._note(begun=True)
        return upload

    def check_size(self, length: int | None) -> None:
        """Refuse a length, or a content, above the limits.

        Raises:
            LimitExceeded: it is.
        """
        if length is not None and length > self.max_size:
            raise exceeded("the upload", length, self.max_size, exact=True)
        most = self.service.config.max_append_size
        content = self.content_length
        if most is not None and content is not None and content > most:
            raise exceeded("the content of one request", content, most, exact=True)

    # -- content -------------------------------------------------------------------

    @property
    def content_length(self) -> int | None:
        """The bytes of the request's content; ``None`` when they are not known."""
        return self.request.content_length if self.request.body_exists else 0

    def content(self) -> Stream:
        """Return the content of the request in its codings, held to its digest.

        Raises:
            MalformedBody: a digest field cannot be read.
        """
        content = body_of(self.request).open_content()
        digests = self.request.headers.getall(CONTENT_DIGEST, None)
        if digests is None:
            return content
        lines = CIMultiDict((CONTENT_DIGEST, line) for line in digests)
        return verified(content, lines)

    async def append(
        self,
        upload_id: str,
        wanted: Append,
        content: Stream,
        on_commit: Callable[[int], Awaitable[None]] | None = None,
    ) -> Appended:
        """Add the content to an upload.

        Raises:
            StreamError: as ``Uploads.append``.
            UnsupportedContent: the first bytes are not of a type that is welcome; the
                upload is removed.
        """
        most = self.service.config.max_append_size
        if most is not None:
            wanted = replace(wanted, max_content=most)
        uploads = self.service.uploads
        if not wanted.offset and self.options.accept is not None:
            await self._look(upload_id, content)
        known = contextlib.nullcontext() if self.upload_id is None else self.known()

        async def committed(offset: int) -> None:
            self._note(offset=offset, added=offset - wanted.offset)
            if on_commit is not None:
                await on_commit(offset)

        try:
            with known:
                added = await uploads.append(
                    upload_id, self.check, wanted, content, committed
                )
        except Fenced:
            self._note(taken_over=True)
            raise
        except asyncio.CancelledError:
            self._note(added=None)
            raise
        offset = added.upload.state.offset
        self._note(
            offset=offset,
            added=added.received,
            resumed=self._asked and added.received > 0,
            taken_over=isinstance(added.error, Fenced),
        )
        if self._asked:
            _logger.debug("upload resumed: %s", upload_id)
        return added

    async def _look(self, upload_id: str, content: Stream) -> None:
        """Refuse an upload by its first bytes, as far as these show anything."""
        accept = self.options.accept
        assert accept is not None
        assert not isinstance(accept, str)
        upload = await self.service.uploads.find(upload_id, self.check)
        fields = upload.info.fields
        if upload.state.offset or not _is_file(fields):
            return
        try:
            head = await content.peek(SNIFF_BYTES)
        except StreamError:
            return  # the append will find it as well, and keep what has arrived
        shown = sniff(head)
        if shown is None:
            return
        if accepted_type(shown, fields.get(hdrs.CONTENT_TYPE), accept) is None:
            await self.service.uploads.cancel(upload_id, self.check)
            raise _unwelcome(shown, accept)

    # -- the handler ---------------------------------------------------------------

    async def finish(
        self, upload: StagedUpload, *, token: str | None = None
    ) -> FinalAnswer:
        """Return the final answer to an upload that is complete.

        Raises:
            UploadBusy, UploadNotFound, UploadGone, StorageError: as
                ``Uploads.process``.
        """
        uploads = self.service.uploads
        results: list[tuple[Answer, web.StreamResponse | Exception]] = []

        async def run(staged: StagedUpload) -> Answer:
            result = await self._handle(staged)
            results.append((answer_of(result), result))
            return results[0][0]

        async def clear() -> None:
            if results:
                await uploads.clear(upload.info.id)

        # Not before the response was sent: it may be made of these bytes.
        body_of(self.request).call_on_close(clear)
        answer = await uploads.process(upload, run, token=token)
        if results and not answer.refused:
            self._note(finished=True)
            _logger.debug("upload finished: %s", upload.info.id)
        if not results:
            return FinalAnswer(answer)
        own, result = results[0]
        if own == answer or (
            isinstance(result, web.StreamResponse) and result.prepared
        ):
            return FinalAnswer(answer, result)
        # Another process was stopped while it ran the handler, and answered first.
        if isinstance(result, Exception):
            _logger.error(
                "handler failed for an upload that was answered: %s",
                upload.info.id,
                exc_info=result,
            )
        return FinalAnswer(answer)

    async def _handle(self, upload: StagedUpload) -> web.StreamResponse | Exception:
        """Return what the handler returns for the upload, or raise what it raises."""
        request = self._clone(upload.info, upload.state)
        outer = body_of(self.request)
        body = new_body(request, self._final_limits())
        body.belong(request)  # as no helper is called with it before its handler is
        body.tally = outer.tally
        body.upload = upload_in(upload.info, upload.state)
        body.rerun = upload.state.runs > 1
        outer.call_on_close(body.close)
        try:
            stream = await self.service.uploads.open(upload)
            body.give(stream, outer)
            body.refuse_declared()
            await self._check_type(upload.info, stream)
            result = await self._call(request)
            return await response_of(result, request)
        except StreamError as error:
            answer = error_response(error, request)
            if isinstance(answer, web.HTTPException):
                answer.__cause__ = error
            return answer
        except Exception as error:  # noqa: BLE001 - raised when it is kept
            return error

    async def _check_type(self, info: UploadInfo, stream: Stream) -> None:
        """Refuse an upload by its first bytes, all of which are there now.

        Raises:
            UnsupportedContent: its type is not welcome.
        """
        accept = self.options.accept
        if accept is None or not _is_file(info.fields):
            return
        head = await stream.read(SNIFF_BYTES)
        stream.unread(head)
        declared = info.fields.get(hdrs.CONTENT_TYPE)
        FileRule(accept=accept).check_type("file", head, declared)

    def _clone(self, info: UploadInfo, state: UploadState) -> web.Request:
        headers = CIMultiDict(
            (name, value)
            for name, value in self.request.headers.items()
            if (lower := name.lower()) not in _OF_THE_CONTENT
            and not lower.startswith(("upload-", "tus-"))
        )
        headers.update(info.fields)
        headers[hdrs.CONTENT_LENGTH] = str(state.offset)
        return self.request.clone(
            method=info.method, rel_url=self.target(), headers=headers
        )

    def _final_limits(self) -> Limits:
        """Return the route's limits, with that of the body raised to the upload's.

        A limit for files that was not below that for bodies goes with it.
        """
        limits, most = self.limits, self.max_size
        if most <= limits.max_body:
            return limits.replace(max_body=most)
        if limits.max_file >= limits.max_body:
            return limits.replace(max_body=most, max_file=most)
        return limits.replace(max_body=most)

    async def finish_waiting(self, upload: StagedUpload) -> None:
        """Process the uploads that have waited for a part, which is complete now."""
        for upload_id in upload.state.waiting:
            try:
                whole = await self.service.uploads.find(upload_id, self.check)
                whole = await self.service.uploads.assemble(whole)
                if whole.state.complete:
                    await self.finish(whole)
            except StreamError as error:
                _logger.info("upload of parts not finished: %s: %s", upload_id, error)


# What clients say who do not know.
_UNSAID: Final = frozenset({"", "application/octet-stream"})


def _is_file(fields: Mapping[str, str]) -> bool:
    """Return whether the bytes are a file's as they are: neither coded nor a form's."""
    form = media_type_of(fields.get(hdrs.CONTENT_TYPE)) == "multipart/form-data"
    return not form and hdrs.CONTENT_ENCODING not in fields


def _is_field(value: str) -> bool:
    """Return whether a client's text can be the value of a header field."""
    return len(value) <= _LONGEST_FIELD and value.isascii() and value.isprintable()


def _unwelcome(kind: str, accept: Collection[str]) -> UnsupportedContent:
    welcome = ", ".join(sorted(accept))
    return UnsupportedContent(
        f"the upload is {kind[:80]}; accepted: {welcome}", accept=welcome
    )


def upload_in(info: UploadInfo, state: UploadState | None = None) -> ResumableUpload:
    """Return what a handler can know of an upload."""
    metadata = parse_metadata(info.metadata)
    if not metadata and info.protocol == "rufh":
        kind = info.fields.get(hdrs.CONTENT_TYPE)
        if kind is not None:
            metadata["filetype"] = kind
        filename = filename_of(info.fields)
        if filename:
            metadata["filename"] = filename
    if state is None:
        state = info.begin()
    return ResumableUpload(
        id=info.id,
        protocol=info.protocol,
        offset=state.offset,
        length=state.length,
        metadata=metadata,
    )


def answer_of(result: web.StreamResponse | Exception) -> Answer:
    """Return what is kept of what a handler has returned or raised."""
    if not isinstance(result, web.StreamResponse):
        return Answer(500)
    fields = tuple(
        (name, value)
        for name, value in result.headers.items()
        if name.lower() not in _NOT_KEPT
    )
    body: bytes | None = None
    if isinstance(result, web.Response):
        data: Any = result.body
        if isinstance(data, bytes | bytearray) and len(data) <= _MAX_ANSWER:
            body = bytes(data)
        elif data is None and type(result) is web.Response:
            body = b""
    return Answer(result.status, fields, body)


def replayed(answer: Answer) -> web.Response:
    """Make the response of an answer again."""
    headers = CIMultiDict(answer.fields)
    return web.Response(status=answer.status, headers=headers, body=answer.body or b"")


def _forwarded(request: web.Request, scheme: str, host: str) -> tuple[str, str]:
    """Return what the proxy next to us says that the client has asked for."""
    headers = request.headers
    told = dict(request.forwarded[-1]) if request.forwarded else {}
    scheme_told = told.get("proto") or _last(headers.get("X-Forwarded-Proto"))
    host_told = told.get("host") or _last(headers.get("X-Forwarded-Host"))
    if scheme_told in {"http", "https"}:
        scheme = scheme_told
    if host_told and _host(host_told):
        host = host_told
    return scheme, host


def _last(value: str | None) -> str:
    return "" if value is None else value.rpartition(",")[2].strip()
