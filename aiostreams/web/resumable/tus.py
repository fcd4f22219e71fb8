"""tus 1.0.0 on a route: which request means what, and how it is answered.

A file of its own, as each of the two protocols has one: who reads the one need not know
the other.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final

from aiohttp import hdrs, web
from multidict import CIMultiDict

from aiostreams.errors import (
    MalformedBody,
    StreamError,
    UnsupportedContent,
    exceeded,
)
from aiostreams.resumable.engine import Append
from aiostreams.resumable.state import (
    Fenced,
    OffsetDiffers,
    UploadBusy,
    UploadGone,
    UploadNotFound,
    find_id,
)
from aiostreams.sansio import tus
from aiostreams.sansio.mediatype import media_type_of
from aiostreams.streams.hashing import HashStream
from aiostreams.streams.memory import ByteStream
from aiostreams.web.digests import CONTENT_DIGEST
from aiostreams.web.errors import error_response
from aiostreams.web.resumable.exchange import replayed

if TYPE_CHECKING:
    from aiostreams.resumable.engine import Appended
    from aiostreams.resumable.staging import StagedUpload
    from aiostreams.streams.base import Stream
    from aiostreams.web.resumable.exchange import Exchange, FinalAnswer

__all__ = ["OVERRIDE", "RESUMABLE", "announcement", "serve_tus"]

RESUMABLE: Final = "Tus-Resumable"
# Some clients can send neither PATCH nor DELETE; they POST, and say so.
OVERRIDE: Final = "X-HTTP-Method-Override"
_EXPIRES: Final = "Upload-Expires"
_CHECKSUM: Final = "Upload-Checksum"
# The fields of an answer that speak of its content, which a 204 does not have.
_OF_CONTENT: Final = ("content-", "accept-ranges", "etag", "last-modified")


class _ChecksumMismatch(StreamError):
    """The content is not what ``Upload-Checksum`` says."""

    status = 460


class _Forbidden(StreamError):
    """The upload is made of parts, and takes no bytes."""

    status = 403


def announcement(exchange: Exchange) -> dict[str, str]:
    """Return the fields by which an ``OPTIONS`` says what is spoken here."""
    return {
        RESUMABLE: tus.VERSION,
        "Tus-Version": tus.VERSION,
        "Tus-Extension": ",".join(tus.EXTENSIONS),
        "Tus-Max-Size": str(exchange.max_size),
        "Tus-Checksum-Algorithm": ",".join(tus.CHECKSUMS),
    }


async def serve_tus(exchange: Exchange) -> web.StreamResponse:
    """Answer a request with ``Tus-Resumable``."""
    request = exchange.request
    if request.headers.get(RESUMABLE) != tus.VERSION:
        return web.Response(
            status=412,
            headers={RESUMABLE: tus.VERSION, "Tus-Version": tus.VERSION},
            text=f"412: this is tus {tus.VERSION}",
        )
    method = request.method
    if method == hdrs.METH_POST:
        method = request.headers.get(OVERRIDE, method).upper()
    answer = _Tus(exchange)
    try:
        if method == hdrs.METH_POST:
            return await answer.create()
        if method == hdrs.METH_PATCH:
            return await answer.append()
        if method == hdrs.METH_HEAD:
            return await answer.tell()
        if method == hdrs.METH_DELETE:
            await exchange.cancel()
            return answer.response(204)
    except StreamError as error:
        refusal = answer.refuse(error)
        if isinstance(refusal, web.HTTPException):
            raise refusal from error
        return refusal
    raise web.HTTPMethodNotAllowed(
        method, ("POST", "HEAD", "PATCH", "DELETE"), headers={RESUMABLE: tus.VERSION}
    )


class _Tus:
    """One request, and the fields that its response has gathered."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._request = exchange.request
        self._fields = CIMultiDict({RESUMABLE: tus.VERSION})
        self._created = False

    # -- requests ------------------------------------------------------------------

    async def create(self) -> web.StreamResponse:
        """``POST``: begin an upload, maybe with its first bytes, or out of parts."""
        exchange, headers = self._exchange, self._request.headers
        if exchange.upload_id is not None:
            raise UploadNotFound(
                "an upload cannot be created at the URL of another one"
            )
        said = tus.parse_creation(headers)
        has_content = self._has_content()
        checksum = tus.parse_checksum(headers.getall(_CHECKSUM, None))
        exchange.check_size(said.length)
        parts = await self._parts(said.parts)
        info = exchange.describe(
            "tus",
            length=said.length,
            metadata=said.metadata,
            concat=said.concat,
            parts=tuple(part.info.id for part in parts),
        )
        await exchange.admit(info)
        upload = await exchange.create(info)
        self._fields[hdrs.LOCATION] = exchange.location(info.id)
        self._created = True
        token = None
        if parts:
            upload = await self._assembled(upload, parts)
        elif has_content or said.length == 0:
            added = await self._append(
                info.id, 0, checksum, has_content=has_content, process=not said.partial
            )
            upload, token = added.upload, added.token
        return await self._added(upload, token)

    async def append(self) -> web.StreamResponse:
        """``PATCH``: add bytes."""
        exchange, headers = self._exchange, self._request.headers
        if media_type_of(headers.get(hdrs.CONTENT_TYPE)) != tus.CHUNK_TYPE:
            raise UnsupportedContent(
                f"the content must be {tus.CHUNK_TYPE}", accept=tus.CHUNK_TYPE
            )
        offset = tus.parse_offset(headers)
        length = tus.parse_length(headers)
        checksum = tus.parse_checksum(headers.getall(_CHECKSUM, None))
        exchange.check_size(length)
        upload = await exchange.find()
        if upload.info.parts:
            raise _Forbidden("the upload is made of parts, so it accepts no bytes")
        if not upload.state.complete:
            try:
                added = await self._append(
                    upload.info.id,
                    offset,
                    checksum,
                    length=length,
                    process=not upload.info.partial,
                )
                return await self._added(added.upload, added.token)
            except OffsetDiffers:
                upload = await exchange.find()
                if not upload.state.complete:
                    raise
                # Another request has completed it just now.
        state = upload.state
        if offset != state.offset:
            raise OffsetDiffers(state.offset, offset)
        state.expecting(length, upload.info.max_size)
        await self._refuse_more(state.offset)
        return await self._added(upload, None)

    async def tell(self) -> web.StreamResponse:
        """``HEAD``: how far is it?"""
        exchange = self._exchange
        upload = await exchange.fence()
        info = upload.info
        upload = await exchange.service.uploads.assemble(upload)
        state = upload.state
        if state.complete and not info.partial:
            answer = state.answer
            if answer is None:
                # Who sent the last bytes was killed; its client may ask no other way.
                try:
                    answer = (await exchange.finish(upload)).answer
                except UploadBusy:
                    pass
            if answer is not None and answer.refused:
                raise UploadGone("the upload was refused")
        if not info.parts or state.complete:
            self._fields[tus.OFFSET] = str(state.offset)
        if state.length is not None:
            self._fields[tus.LENGTH] = str(state.length)
        elif not info.parts:
            self._fields[tus.DEFER_LENGTH] = "1"
        if info.metadata is not None:
            self._fields[tus.METADATA] = info.metadata
        if info.concat is not None:
            self._fields[tus.CONCAT] = info.concat
        self._fields[_EXPIRES] = tus.format_expires(state.expires)
        self._fields[hdrs.CACHE_CONTROL] = "no-store"
        return self.response(200)

    # -- steps ---------------------------------------------------------------------

    def _has_content(self) -> bool:
        """Return whether a creation has bytes of the upload.

        Raises:
            UnsupportedContent: it has a content that is called something else.
        """
        request = self._request
        if media_type_of(request.headers.get(hdrs.CONTENT_TYPE)) == tus.CHUNK_TYPE:
            return True
        if self._exchange.content_length != 0:
            raise UnsupportedContent(
                f"the content must be {tus.CHUNK_TYPE}", accept=tus.CHUNK_TYPE
            )
        return False

    async def _append(
        self,
        upload_id: str,
        offset: int,
        checksum: tuple[str, bytes] | None,
        *,
        length: int | None = None,
        has_content: bool = True,
        process: bool,
    ) -> Appended:
        """Add the content of the request.

        Raises:
            StreamError: what ended the content, too; what had arrived is kept.
        """
        exchange = self._exchange
        content: Stream = ByteStream()
        size: int | None = 0
        if has_content:
            content, size = exchange.content(), exchange.content_length
        held = checksum is not None or CONTENT_DIGEST in self._request.headers
        if checksum is not None:
            content = _ChecksumStream(content, *checksum)
        wanted = Append(
            offset=offset,
            content_length=size,
            length=length,
            held=held,
            process=process,
        )
        added = await exchange.append(upload_id, wanted, content)
        if added.error is not None:
            self._fields[tus.OFFSET] = str(added.upload.state.offset)
            raise added.error
        return added

    async def _refuse_more(self, offset: int) -> None:
        """Refuse content for an upload that has all of its bytes.

        Raises:
            LimitExceeded: there is some.
        """
        if await self._exchange.content().peek(1):
            self._fields[tus.OFFSET] = str(offset)
            raise exceeded("the upload", offset + 1, offset)

    async def _added(
        self, upload: StagedUpload, token: str | None
    ) -> web.StreamResponse:
        """Make the response to a request that added to an upload, or created it."""
        state = upload.state
        if not upload.info.parts or state.complete:
            self._fields[tus.OFFSET] = str(state.offset)
        self._fields[_EXPIRES] = tus.format_expires(state.expires)
        if state.complete and not upload.info.partial:
            final = await self._exchange.finish(upload, token=token)
            return self._final(final)
        if state.complete and state.waiting:
            await self._exchange.finish_waiting(upload)
        return self.response(201 if self._created else 204)

    async def _parts(self, urls: tuple[str, ...]) -> list[StagedUpload]:
        """Return the uploads that a new one is to be made of.

        Raises:
            MalformedBody: a URL is none of a part, of this resource and this owner.
            LimitExceeded: together they are too long.
        """
        exchange = self._exchange
        found: dict[str, StagedUpload] = {}
        parts: list[StagedUpload] = []
        for number, url in enumerate(urls, 1):
            upload_id = find_id(url)
            wrong = MalformedBody(f"URL {number} of {tus.CONCAT} is no part to be had")
            if upload_id is None:
                raise wrong
            if upload_id not in found:
                try:
                    found[upload_id] = await exchange.service.uploads.find(
                        upload_id, exchange.check
                    )
                except (UploadNotFound, UploadGone) as error:
                    raise wrong from error
            if not found[upload_id].info.partial:
                raise wrong
            parts.append(found[upload_id])
        total = sum(part.state.length or part.state.offset for part in parts)
        exchange.check_size(total)
        return parts

    async def _assembled(
        self, upload: StagedUpload, parts: list[StagedUpload]
    ) -> StagedUpload:
        """Make the upload of these parts, complete if they are; else they know it."""
        uploads = self._exchange.service.uploads
        for part in parts:
            if not part.state.complete:
                await uploads.await_part(part.info.id, upload.info.id)
        return await uploads.assemble(upload)

    # -- responses -----------------------------------------------------------------

    def response(self, status: int) -> web.Response:
        """Make a response without content."""
        return web.Response(status=status, headers=self._fields)

    def refuse(self, error: StreamError) -> web.HTTPException | web.StreamResponse:
        """Make the response to a request that is refused."""
        if isinstance(error, OffsetDiffers):
            self._fields[tus.OFFSET] = str(error.expected)
        response = error_response(error, self._request)
        response.headers.update(self._fields)
        if isinstance(error, Fenced):
            response.force_close()  # the rest of its content would be in the way
        return response

    def _final(self, final: FinalAnswer) -> web.StreamResponse:
        """Make the final response: 204, or 201 for a creation, instead of a 2xx."""
        answer, response = final.answer, final.response
        if isinstance(response, web.StreamResponse) and response.prepared:
            return response
        if 200 <= answer.status < 300:
            fields = CIMultiDict(
                (name, value)
                for name, value in answer.fields
                if not name.lower().startswith(_OF_CONTENT)
            )
            fields.update(self._fields)
            made = web.Response(status=201 if self._created else 204, headers=fields)
            if isinstance(response, web.StreamResponse):
                made.cookies.update(response.cookies)
            return made
        if response is None:
            response = replayed(answer)
        if isinstance(response, web.StreamResponse):
            response.headers.update(self._fields)
        if isinstance(response, Exception):
            raise response
        return response


class _ChecksumStream(HashStream):
    """``source``, whose end is only reached when its checksum is right.

    Args:
        source: the content.
        algorithm: the name of the checksum.
        expected: its bytes.
    """

    def __init__(self, source: Stream, algorithm: str, expected: bytes) -> None:
        super().__init__(source, algorithm)
        self._algorithm = algorithm
        self._expected = expected

    async def readany(self) -> bytes:
        """Return the source's next piece."""
        piece = await super().readany()
        if not piece:
            found = bytes.fromhex(self.digests[self._algorithm])
            if not hmac.compare_digest(found, self._expected):
                raise _ChecksumMismatch(f"the {self._algorithm} of the content differs")
        return piece
