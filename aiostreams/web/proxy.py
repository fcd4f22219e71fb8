"""A reverse proxy: a request passed on, and its answer passed back, both as streams.

Nothing is held: a client that stops reading stops the upstream, one that leaves ends
the upstream's response, and an upstream that fails breaks the connection instead of
ending the body early. That is no fault of this application: it takes one line of the
log, and no traceback.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from aiohttp import ClientError, ClientPayloadError, hdrs, web
from multidict import CIMultiDict

from aiostreams.errors import ClientGone, StreamError
from aiostreams.sansio.forwarding import (
    CLAIMS,
    end_to_end,
    forwarded_for,
    is_trusted,
)
from aiostreams.streams.http import HTTPStream, is_decoded
from aiostreams.streams.transforms import Transform
from aiostreams.web.digests import CONTENT_DIGEST, REPR_DIGEST
from aiostreams.web.response import BodyResponse
from aiostreams.web.state import body_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aiohttp import ClientResponse, ClientSession
    from yarl import URL

__all__ = ["UpstreamBroken", "proxy"]

_logger = logging.getLogger("aiostreams.web")

_VIA: Final = "1.1 aiostreams"
# What aiohttp's client would say of itself, where the client has said nothing.
_NOT_OURS: Final = (
    hdrs.ACCEPT,
    hdrs.ACCEPT_ENCODING,
    hdrs.CONTENT_TYPE,
    hdrs.USER_AGENT,
)


async def proxy(
    request: web.BaseRequest,
    session: ClientSession,
    url: str | URL,
    *,
    headers: Mapping[str, str] | None = None,
    trusted: bool | Iterable[str] = False,
) -> web.StreamResponse:
    """Send ``request`` to ``url``, and give back what that answers.

    Method, body, and all header fields that may pass go both ways; so ranges,
    conditions and content codings are between the client and the upstream.
    Redirects are passed back. ``Via`` and ``X-Forwarded-For``, ``-Proto`` and
    ``-Host`` are added. The header section of the answer goes out as soon as it is
    there. A byte of a field that is no UTF-8, which aiohttp cannot write, goes as the
    character that it is in ISO-8859-1.

    Args:
        request: what to pass on; its limits hold for the body.
        session: a client session of the application; one without cookies of its
            own (``cookie_jar=aiohttp.DummyCookieJar()``).
        url: where to; query included.
        headers: fields for the upstream that win over the client's.
        trusted: whether the client is a gateway that tells the truth of those before
            it: ``True``, or the addresses and networks (``"10.0.0.0/8"``) of those
            that do. From others ``X-Forwarded-Host``, ``-Proto``, ``-Port``,
            ``-Prefix``, ``-Server``, ``Forwarded`` and ``X-Real-IP`` do not pass;
            to ``X-Forwarded-For`` their address is added in any case.

    Raises:
        ValueError: ``trusted`` has something that is no address or network.
        web.HTTPBadGateway: the upstream cannot be reached.
        web.HTTPGatewayTimeout: it does not answer in the session's time.
        StreamError: as raised by the request's body.
    """
    body = body_of(request)
    upload = None
    encoded = body.untouched
    if request.can_read_body:
        upload = _Upload(body.open_encoded() if encoded else body.source("proxy()"))
        body.call_on_close(upload.close)
    try:
        upstream = await session.request(
            request.method,
            url,
            headers=_request_headers(
                request, headers, trusted, encoded=encoded or not body.changed
            ),
            data=upload,
            allow_redirects=False,
            auto_decompress=False,
            skip_auto_headers=_NOT_OURS,
        )
    except (ClientError, TimeoutError) as error:
        if upload is not None and upload.failure is not None:
            raise upload.failure from error
        if isinstance(error, TimeoutError):
            raise web.HTTPGatewayTimeout from error
        raise web.HTTPBadGateway from error
    if upload is not None:
        upload.upstream = upstream
    try:
        return _response(request, upstream, upload)
    except ValueError as error:  # a field that no parser should have let in
        upstream.close()
        raise web.HTTPBadGateway from error


class _Upload(Transform):
    """The client's body, which remembers why it failed: aiohttp would not tell.

    Nor would it wake who waits for more of the upstream's answer, when that in turn
    waits for the rest of the body.
    """

    failure: StreamError | None = None
    upstream: ClientResponse | None = None

    async def readany(self) -> bytes:
        # What the upstream has said by now is read before more is written: a write to
        # one that has closed already would lose it.
        await asyncio.sleep(0)
        try:
            return await super().readany()
        except StreamError as error:
            self.failure = error
            if self.upstream is not None and not self.upstream.content.is_eof():
                self.upstream.close()
            raise


class UpstreamBroken(ClientPayloadError, ConnectionError):
    """The rest of an answer will not come; it has been logged.

    aiohttp closes the connection to the client for a ``ConnectionError``, quietly.
    """


class _Download(HTTPStream):
    """The upstream's body; when it breaks off, one line says so."""

    # The client has the header section when it is there, and each piece.
    live = True
    request: web.BaseRequest
    upload: _Upload | None = None

    async def readany(self) -> bytes:
        try:
            return await super().readany()
        except (ClientError, OSError) as error:  # a timeout is an OSError
            failure = None if self.upload is None else self.upload.failure
            if isinstance(failure, ClientGone):
                raise failure from error
            cause = type(failure or error).__name__
            whole = "" if self.size is None else f" of {self.size}"
            seen = f"{cause} after {self.position}{whole} bytes"
            request = self.request
            path = request.path[:200].encode("unicode_escape").decode()
            # No traceback: it would be aiohttp's, and the same each time.
            _logger.error(  # noqa: TRY400
                "upstream broke off: %s %s: %s", request.method, path, seen
            )
            raise UpstreamBroken(f"the upstream broke off: {seen}") from error


def _request_headers(
    request: web.BaseRequest,
    more: Mapping[str, str] | None,
    trusted: bool | Iterable[str],  # noqa: FBT001
    *,
    encoded: bool,
) -> CIMultiDict[str]:
    """What goes upstream; ``encoded``: with the bytes that the client has sent."""
    drop: list[str] = [hdrs.HOST, hdrs.CONTENT_LENGTH, hdrs.EXPECT]
    if not encoded or is_decoded(body_of(request).reader):
        drop += [hdrs.CONTENT_ENCODING, CONTENT_DIGEST, REPR_DIGEST]
    elif request.content_length is not None:
        drop.remove(hdrs.CONTENT_LENGTH)
    if not is_trusted(request.remote, trusted):
        drop += CLAIMS
    headers = CIMultiDict(end_to_end(request.headers.items(), *drop))
    headers.add(hdrs.VIA, _VIA)
    headers[hdrs.X_FORWARDED_FOR] = forwarded_for(
        headers.getall(hdrs.X_FORWARDED_FOR, ()), request.remote
    )
    headers.setdefault(hdrs.X_FORWARDED_PROTO, request.scheme)
    headers.setdefault(hdrs.X_FORWARDED_HOST, request.host)
    headers.update(more or {})
    return headers


def _response(
    request: web.BaseRequest, upstream: ClientResponse, upload: _Upload | None
) -> web.StreamResponse:
    stream = _Download.from_response(upstream)
    stream.request, stream.upload = request, upload
    headers = CIMultiDict(end_to_end(upstream.headers.items()))
    headers.add(hdrs.VIA, _VIA)
    response = _Passed(stream, status=upstream.status, headers=headers)
    if hdrs.CONTENT_TYPE not in headers:
        response.headers.popall(hdrs.CONTENT_TYPE, None)
    if upstream.reason:
        response.set_status(upstream.status, upstream.reason)
    return response


class _Passed(BodyResponse):
    """Somebody else's answer: nothing about it is decided here."""

    evaluates = False
