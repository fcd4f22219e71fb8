"""From a ``Tally`` to ``BodyStats``, when the request is over.

How it ended is told by three things: what aiohttp's task for the request ended with,
the exception that left the application, and the error that was answered in its place.
The task's result is aiohttp's own affair, so it is only taken for what it is known to
be: a response, and whether the connection was lost over it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from aiohttp import hdrs, web
from aiohttp.abc import AbstractStreamWriter

from aiostreams.errors import ClientGone
from aiostreams.streams.base import Stream
from aiostreams.streams.http import is_decoded
from aiostreams.web.body import time_waited
from aiostreams.web.payload import StreamPayload
from aiostreams.web.stats import BodyStats

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from aiostreams.web.stats import Outcome
    from aiostreams.web.tally import Tally

__all__ = ["summarize"]

# A label of its own for each is worth it; others could be made up by a client.
_CODINGS: Final = {
    "gzip": "gzip",
    "x-gzip": "gzip",
    "deflate": "deflate",
    "br": "br",
    "zstd": "zstd",
}
_OTHER: Final = "_OTHER"
# aiohttp's writers tell what they write from 3.14.4 on.
_TELLS: Final = hasattr(AbstractStreamWriter, "on_body_write")


def summarize(request: web.Request, tally: Tally, task: asyncio.Task[Any]) -> BodyStats:
    """The numbers of ``request``, which ``task`` has handled to the end."""
    now = time.perf_counter()
    outcome, error = _outcome(tally, task)
    received, decoded, codings = _request_sizes(request, tally)
    sent, plain, response_codings = _response_sizes(request, tally, task)
    started = tally.response_started
    body_parts = tally.parts + sum(reader.seen[0] for reader in tally.readers)
    major, minor = request.version
    return BodyStats(
        method=request.method if request.method in hdrs.METH_ALL else _OTHER,
        route=_route(request),
        scheme=request.scheme,
        http_version=f"{major}.{minor}",
        status=None if tally.response is None else tally.response.status,
        outcome=outcome,
        error=error,
        request_body_size=received,
        request_decoded_size=decoded,
        request_codings=codings,
        request_parts=body_parts,
        request_wait=time_waited(request),
        response_body_size=sent,
        response_decoded_size=plain,
        response_codings=response_codings,
        response_start=None if started is None else started - tally.started,
        duration=now - tally.started,
    )


def _route(request: web.Request) -> str | None:
    resource = request.match_info.route.resource
    return None if resource is None else resource.canonical


def _outcome(tally: Tally, task: asyncio.Task[Any]) -> tuple[Outcome, str | None]:
    raised = tally.raised
    if task.cancelled():
        # aiohttp cancels for one of two reasons, and leaves the same traces.
        stopping = any(listener.stopping for listener in tally.listeners)
        if not stopping and (raised is None or tally.gone):
            return "client_gone", ClientGone.__name__
        return "cancelled", "CancelledError"
    exception = task.exception()
    if exception is not None:
        # The connection breaks. With a ConnectionError aiohttp says that an answer
        # was begun already when it was about to answer an exception.
        cause = raised or type(exception)
        if tally.gone and issubclass(cause, ConnectionError):
            return "client_gone", ClientGone.__name__
        return "failed", cause.__name__
    broken = _broken(task)
    if tally.answered is not None:
        kind, status = tally.answered
        if issubclass(kind, ClientGone):
            return "client_gone", ClientGone.__name__
        # Unless the application has put another answer in its place.
        if broken or tally.response is None or tally.response.status == status:
            return "failed" if status >= 500 else "refused", kind.__name__
    if raised is not None:
        if broken and tally.gone and issubclass(raised, ConnectionError):
            return "client_gone", ClientGone.__name__
        return "failed", raised.__name__
    if broken:
        failure = _failure(tally.response)
        if failure is not None:
            return "failed", failure
        return "client_gone", ClientGone.__name__
    return "ok", None


def _broken(task: asyncio.Task[Any]) -> bool:
    """Whether aiohttp lost the connection over the response."""
    result = task.result()
    return isinstance(result, tuple) and result[-1] is True


def _failure(response: web.StreamResponse | None) -> str | None:
    """The error of the response's source, where it looks like a lost connection."""
    body = response.body if isinstance(response, web.Response) else None
    return body.failure if isinstance(body, StreamPayload) else None


def _codings(lines: Sequence[str]) -> tuple[str, ...]:
    names = [
        _CODINGS.get(name, _OTHER)
        for line in lines
        for name in (member.strip().lower() for member in line.split(","))
        if name and name != "identity"
    ]
    return tuple(names) if len(names) <= 2 else (_OTHER,)


def _request_sizes(
    request: web.Request, tally: Tally
) -> tuple[int, int | None, tuple[str, ...]]:
    reader = request.content
    total = reader.total_bytes
    lines = request.headers.getall(hdrs.CONTENT_ENCODING, None)
    codings = () if lines is None else _codings(lines)
    if not codings:
        return total, total, ()
    if is_decoded(reader):
        return reader.total_raw_bytes, total, codings
    if tally.decoded is not None:
        return total, _received(tally.decoded), codings
    return total, None if total else 0, codings


def _response_sizes(
    request: web.Request, tally: Tally, task: asyncio.Task[Any]
) -> tuple[int, int | None, tuple[str, ...]]:
    response = tally.response
    if response is None:
        return 0, 0, ()
    lines = response.headers.getall(hdrs.CONTENT_ENCODING, None)
    codings = () if lines is None else _codings(lines)
    status = response.status
    if request.method == "HEAD" or status in {204, 304} or status < 200:
        return 0, 0, codings
    whole = not task.cancelled() and not task.exception() and not _broken(task)
    sent = _sent(request, tally, response, whole=whole)
    if not codings:
        return sent, sent, ()
    plain = tally.plain
    if isinstance(plain, Stream):
        return sent, _received(plain), codings
    if plain is None and response.compression:
        body = response.body if isinstance(response, web.Response) else None
        plain = len(body) if isinstance(body, (bytes, bytearray)) else tally.sent
    return sent, plain, codings


def _sent(
    request: web.Request, tally: Tally, response: web.StreamResponse, *, whole: bool
) -> int:
    """How many bytes of content went out, encoded."""
    length = response.headers.get(hdrs.CONTENT_LENGTH) if whole else None
    if length is not None and isinstance(response, web.FileResponse):
        return int(length)  # it goes past aiohttp's writer
    if _TELLS and not response.compression:
        return tally.sent + tally.sent_file
    # It does not tell, or not what comes out where aiohttp itself encodes.
    if length is not None:
        return int(length)
    total = request.writer.output_size - _head_size(response)
    return max(0, total) + tally.sent_file


def _head_size(response: web.StreamResponse) -> int:
    """How many bytes the header section of ``response`` has."""
    fields = [f"{name}: {value}" for name, value in response.headers.items()]
    status_line = f"HTTP/1.1 {response.status} {response.reason}"
    return len("\r\n".join([status_line, *fields, "", ""]).encode())


def _received(stream: Stream) -> int:
    return stream._life.received  # noqa: SLF001 - what was put back counts, too
