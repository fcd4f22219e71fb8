"""The IETF's resumable uploads on a route: what a request means, how it is answered.

Answers are a superset of what the versions of the draft ask for, see ``sansio.rufh``.
``Upload-Complete: ?1`` stands where the handler speaks, or the route's own rules in its
place; ``?0`` where the protocol does.

A file of its own, as each of the two protocols has one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import HttpVersion11, hdrs, web
from multidict import CIMultiDict

from aiostreams.errors import (
    MalformedBody,
    StreamError,
    UnsupportedContent,
)
from aiostreams.resumable.engine import Append, TooLong
from aiostreams.resumable.state import (
    Fenced,
    LengthDiffers,
    OffsetDiffers,
    UploadBusy,
    UploadNotFound,
)
from aiostreams.sansio import rufh, tus
from aiostreams.sansio.mediatype import media_type_of
from aiostreams.streams.http import is_decoded
from aiostreams.web.digests import CONTENT_DIGEST
from aiostreams.web.errors import error_response
from aiostreams.web.resumable.exchange import replayed
from aiostreams.web.state import body_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiostreams.resumable.engine import Appended
    from aiostreams.resumable.staging import StagedUpload
    from aiostreams.resumable.state import UploadState
    from aiostreams.web.resumable.exchange import Exchange, FinalAnswer

__all__ = ["announcement", "serve_rufh"]

_WITHOUT_CONTENT: Final = frozenset({hdrs.METH_HEAD, hdrs.METH_DELETE})


def announcement(exchange: Exchange) -> dict[str, str]:
    """Return the fields by which an ``OPTIONS`` says what is spoken here."""
    return {
        rufh.LIMIT: rufh.format_limits(exchange.limit_members()),
        "Accept-Patch": rufh.PARTIAL_TYPE,
    }


async def serve_rufh(exchange: Exchange) -> web.StreamResponse | None:
    """Answer a request of the IETF's protocol.

    Returns:
        The response; ``None`` for a creation that is not to be resumed, and is handled
        as an ordinary request.
    """
    answer = _Rufh(exchange)
    method = exchange.request.method
    try:
        if exchange.upload_id is None:
            return await answer.create()
        if method == hdrs.METH_PATCH:
            return await answer.append()
        if method == hdrs.METH_HEAD:
            return await answer.tell()
        if method == hdrs.METH_DELETE:
            answer.check_strict()
            await exchange.cancel()
            return answer.response(204, announced_only=True)
        raise UploadNotFound("an upload cannot be created at the URL of another one")
    except StreamError as error:
        refusal = answer.refuse(error)
        if isinstance(refusal, web.HTTPException):
            raise refusal from error
        return refusal


class _Rufh:
    """One request, and what its response says of the upload."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._request = exchange.request
        self._said = rufh.parse_fields(
            self._request.headers, exchange.service.config.versions
        )
        self._state: UploadState | None = None
        self._location: str | None = None
        self._refused_by_target = False

    # -- requests ------------------------------------------------------------------

    async def create(self) -> web.StreamResponse | None:
        """Any method with content: begin an upload, maybe with all of its bytes."""
        exchange, said, request = self._exchange, self._said, self._request
        if request.method in _WITHOUT_CONTENT or said.complete is None:
            raise UploadNotFound("there is no such upload")
        coded = hdrs.CONTENT_ENCODING in request.headers
        if coded and is_decoded(body_of(request).reader):
            # aiohttp has undone the coding, and offsets count coded bytes.
            if said.complete:
                return None
            raise UnsupportedContent("a body with a content coding cannot be resumed")
        length = rufh.declared_length(said, 0, exchange.content_length)
        exchange.check_size(length)
        metadata = request.headers.get(tus.METADATA)
        try:
            tus.parse_metadata(metadata)
        except MalformedBody:
            metadata = None  # a field of another protocol
        info = exchange.describe("rufh", length=length, metadata=metadata)
        self._refused_by_target = True
        try:
            await exchange.admit(info)
        except web.HTTPException as refusal:
            refusal.headers.update(self._fields(complete=True))
            raise
        self._refused_by_target = False
        upload = await exchange.create(info)
        self._state = upload.state
        self._location = exchange.location(info.id)
        await self._inform({hdrs.LOCATION: self._location}, limits=True)
        return await self._append(info.id, 0)

    async def append(self) -> web.StreamResponse:
        """``PATCH``: add bytes."""
        exchange, said, request = self._exchange, self._said, self._request
        kind = media_type_of(request.headers.get(hdrs.CONTENT_TYPE))
        if said.interop.labelled and kind != rufh.PARTIAL_TYPE:
            raise UnsupportedContent(
                f"the content must be {rufh.PARTIAL_TYPE}", accept=rufh.PARTIAL_TYPE
            )
        if said.complete is None or said.offset is None:
            name = rufh.OFFSET if said.offset is None else rufh.COMPLETE
            raise MalformedBody(f"{name} is missing, or is of another type")
        exchange.require_id()
        exchange.check_size(said.length)
        upload = await exchange.find()
        state = self._state = upload.state
        if not state.complete:
            try:
                return await self._append(upload.info.id, said.offset)
            except OffsetDiffers:
                upload = await exchange.find()
                state = self._state = upload.state
                if not state.complete:
                    raise
                # Another request has completed it just now.
        if said.offset != state.offset:
            raise OffsetDiffers(state.offset, said.offset)
        if await exchange.content().peek(1):
            raise LengthDiffers(
                f"the content goes beyond the {state.offset} bytes of a complete upload"
            )
        if not said.complete:
            raise _AlreadyComplete("the upload is complete")
        return await self._finish(upload)

    async def tell(self) -> web.StreamResponse:
        """``HEAD``: how far is it?"""
        self.check_strict()
        upload = await self._exchange.fence()
        state = self._state = upload.state
        response = self.response(204, complete=state.answer is not None)
        response.headers[hdrs.CACHE_CONTROL] = "no-store"
        if state.length is not None:
            response.headers[rufh.LENGTH] = str(state.length)
        return response

    def check_strict(self) -> None:
        """Refuse fields of an upload where version 3 forbids them.

        Raises:
            MalformedBody: there is one.
        """
        said = self._said
        if said.interop.strict and (
            said.offset is not None or said.complete is not None
        ):
            raise MalformedBody(
                f"a {self._request.method} must not have {rufh.OFFSET} or "
                f"{rufh.INCOMPLETE}"
            )

    # -- steps ---------------------------------------------------------------------

    async def _append(self, upload_id: str, offset: int) -> web.StreamResponse:
        exchange, said, request = self._exchange, self._said, self._request
        size = exchange.content_length
        wanted = Append(
            offset=offset,
            content_length=size,
            length=rufh.declared_length(said, offset, size),
            complete=said.complete,
            held=CONTENT_DIGEST in request.headers,
            process=True,
        )
        try:
            added = await exchange.append(
                upload_id, wanted, exchange.content(), self._progress
            )
            self._state = added.upload.state
            if added.error is not None:
                raise added.error
        except TooLong:
            # A client that does not know its upload any more.
            await exchange.service.uploads.invalidate(upload_id)
            raise
        except LengthDiffers:
            await self._look_again(upload_id)
            raise
        except UnsupportedContent:
            self._refused_by_target, self._location = True, None
            raise
        return await self._added(added)

    async def _look_again(self, upload_id: str) -> None:
        found = await self._exchange.service.uploads.find(
            upload_id, self._exchange.check
        )
        self._state = found.state

    async def _added(self, added: Appended) -> web.StreamResponse:
        if added.upload.state.complete:
            return await self._finish(added.upload, added.token)
        created = self._location is not None
        return self.response(201 if created else self._said.interop.appended)

    async def _finish(
        self, upload: StagedUpload, token: str | None = None
    ) -> web.StreamResponse:
        return self._final(await self._exchange.finish(upload, token=token))

    # -- interim responses ---------------------------------------------------------

    async def _progress(self, offset: int) -> None:
        if self._said.interop.progress:
            await self._inform({rufh.OFFSET: str(offset)})

    async def _inform(self, fields: Mapping[str, str], *, limits: bool = False) -> None:
        """Send ``104 (Upload Resumption Supported)``, if that is wanted and allowed."""
        request, said = self._request, self._said
        config = self._exchange.service.config
        if not (config.interim and said.announced and request.version >= HttpVersion11):
            return
        fields = {rufh.INTEROP: str(said.interop.number), **fields}
        if limits:
            members = self._exchange.limit_members(self._state)
            fields[rufh.LIMIT] = rufh.format_limits(members)
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        await request.writer.write(
            f"HTTP/1.1 104 Upload Resumption Supported\r\n{lines}\r\n".encode()
        )
        # The response proper has not begun.
        request.writer.output_size = 0

    # -- responses -----------------------------------------------------------------

    def _fields(self, *, complete: bool, limits: bool = True) -> dict[str, str]:
        state = self._state
        fields = rufh.answer_fields(
            self._said.interop,
            complete=complete,
            announced=self._said.announced,
            offset=None if state is None else state.offset,
            limits=self._exchange.limit_members(state) if limits else None,
        )
        if self._location is not None:
            fields[hdrs.LOCATION] = self._location
        return fields

    def response(
        self, status: int, *, complete: bool = False, announced_only: bool = False
    ) -> web.Response:
        """Make a response without content."""
        if announced_only:
            said = self._said
            number = {rufh.INTEROP: str(said.interop.number)} if said.announced else {}
            return web.Response(status=status, headers=number)
        return web.Response(status=status, headers=self._fields(complete=complete))

    def refuse(self, error: StreamError) -> web.HTTPException | web.StreamResponse:
        """Make the response to a request that is refused."""
        error = _explained(error)
        response = error_response(error, self._request)
        fields = self._fields(complete=self._refused_by_target)
        if isinstance(error, OffsetDiffers):
            fields[rufh.OFFSET] = str(error.expected)
        if error.status in {404, 410}:
            del fields[rufh.LIMIT]
        response.headers.update(fields)
        if error.status == 415 and self._request.method == hdrs.METH_PATCH:
            response.headers["Accept-Patch"] = rufh.PARTIAL_TYPE
        if isinstance(error, Fenced):
            response.force_close()  # the rest of its content would be in the way
        return response

    def _final(self, final: FinalAnswer) -> web.StreamResponse:
        """Return the final response: the handler's."""
        response = final.response
        if isinstance(response, web.StreamResponse) and response.prepared:
            return response
        if response is None:
            response = replayed(final.answer)
        if isinstance(response, web.StreamResponse):
            fields = CIMultiDict(self._fields(complete=True))
            if hdrs.LOCATION in response.headers:
                fields.popall(hdrs.LOCATION, None)
            response.headers.update(fields)
        if isinstance(response, Exception):
            raise response
        return response


class _AlreadyComplete(StreamError):
    """Nothing can be added to the upload, not even nothing."""

    status = 400
    members = rufh.problem_members("completed-upload", "upload is already completed")


def _explained(error: StreamError) -> StreamError:
    """``error``, as the draft has it: with its status and its problem type."""
    if isinstance(error, OffsetDiffers):
        error.members = rufh.problem_members(
            "mismatching-upload-offset",
            "offset from request does not match offset of resource",
            expected_offset=error.expected,
            provided_offset=error.provided,
        )
    elif isinstance(error, LengthDiffers | TooLong | rufh.InconsistentLength):
        error.members = rufh.problem_members(
            "inconsistent-upload-length", "inconsistent length values for upload"
        )
        error.status = 400
    elif isinstance(error, UploadBusy) and error.status == 423:
        error.status = 503  # the one that clients of the draft try again
    return error
