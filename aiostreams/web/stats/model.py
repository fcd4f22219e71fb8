"""Per-request statistics, passed to callbacks at the end.

``BodyStats`` is plain data, made by the ``Tally`` of a request and read by the
callbacks of ``setup(on_stats=...)``. Everything in it that could be a label of a metric
(method, route, codings, outcome, error) has few values whatever clients send: a client
must not be able to make a monitoring system remember it.

Sizes are those of the content in RFC 9110's sense (section 6.4): without the header
section, and without the framing of a chunked body. OpenTelemetry's
``http.server.request.body.size`` and ``.response.body.size`` are the same.

The upper bounds of histograms, of times and of sizes, are here for every backend.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias

from aiostreams.limits import GiB, KiB, MiB

if TYPE_CHECKING:
    from aiohttp import web

    from aiostreams.resumable.state import Protocol as UploadProtocol

__all__ = [
    "ADVISED_DURATIONS",
    "DURATIONS",
    "SIZES",
    "BodyStats",
    "OnStats",
    "Outcome",
    "RequestTracer",
    "StatsCallback",
    "UploadStats",
]

Outcome: TypeAlias = Literal["ok", "refused", "failed", "client_gone", "cancelled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadStats:
    """What a request has done for a resumable upload. Sizes are bytes.

    Attributes:
        id: of the upload: 26 characters, made by the server. No label for a metric.
        protocol: ``"tus"`` or ``"rufh"``, by which the upload was created.
        offset: where the upload was when the request had done with it.
        added: bytes of the request's body that are kept; all others that came have to
            be sent again. ``None`` when the request was cancelled before that was
            known.
        begun: whether the request has created the upload.
        resumed: whether it has added bytes after the offset was asked for. A client
            does that when it was interrupted; some do it before each request.
        taken_over: whether another request, here or in another process, has gone on
            with the upload, or asked for its offset, while this one added to it.
        finished: whether the handler has taken the upload, in this request; for a part,
            whether it has taken the upload that waited for it.
    """

    id: str
    protocol: UploadProtocol
    offset: int
    added: int | None = 0
    begun: bool = False
    resumed: bool = False
    taken_over: bool = False
    finished: bool = False

    @property
    def events(self) -> tuple[str, ...]:
        """The names of what has happened, as labels."""
        names = ("begun", "resumed", "taken_over", "finished")
        return tuple(name for name in names if getattr(self, name))


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyStats:
    """One request that is over, and its response. Sizes are bytes, times seconds.

    Attributes:
        method: the request method; ``"_OTHER"`` for one that neither RFC 9110 nor
            RFC 5789 knows.
        route: the path of the route as it was registered, ``"/files/{name}"``, and
            never the path that was asked for; ``None`` when no route matched.
        scheme: ``"http"`` or ``"https"``.
        http_version: ``"1.1"`` or ``"1.0"``.
        status: the status code that was sent; ``None`` when none was.
        outcome: ``"ok"``: the application's answer went out complete, whatever its
            status. ``"refused"``: this package answered for it, and the fault was
            the client's (4xx). ``"failed"``: it was ours: the handler raised, storage
            failed, or the source of the response did. ``"client_gone"``: the client
            left before its body, or the response, was complete. ``"cancelled"``: the
            handler was, as when the server stops.
        error: the name of the class of what went wrong, as ``"LimitExceeded"``;
            ``None`` when nothing did.
        request_body_size: bytes of the body that came, read or not, in the codings
            that they came in.
        request_decoded_size: bytes of it without those codings, as far as they were
            undone; ``None`` when the body has one that was not undone.
        request_codings: the content codings of the body, as sent; ``"_OTHER"`` for
            one that is neither built in nor registered.
        request_parts: how many parts of a multipart body were read, in all levels.
        request_wait: how long reading the body waited for the client.
        response_body_size: bytes of the body that went out, encoded; by ``sendfile``
            too. What follows a 101 is no HTTP any more, and not counted.
        response_decoded_size: bytes of it before it was encoded, as far as they were
            read; ``None`` for a body that the application had encoded.
        response_codings: the content codings of the response.
        response_start: how long it took until the response began; ``None`` when it
            never did.
        duration: how long it took altogether: from the header section of the request
            to the last byte of the response, as handed to the operating system, or to
            when it broke off.
        upload: the resumable upload that the request was for; ``None`` for any other
            request, and when there was no such upload.
    """

    method: str
    route: str | None
    scheme: str
    http_version: str
    status: int | None
    outcome: Outcome
    error: str | None
    request_body_size: int
    request_decoded_size: int | None
    request_codings: tuple[str, ...]
    request_parts: int
    request_wait: float
    response_body_size: int
    response_decoded_size: int | None
    response_codings: tuple[str, ...]
    response_start: float | None
    duration: float
    upload: UploadStats | None = None

    @property
    def resent(self) -> int:
        """Bytes that came for a resumable upload and have to be sent again."""
        upload = self.upload
        if upload is None or upload.added is None:
            return 0
        return max(0, self.request_body_size - upload.added)


# Plain or async. Called once for each request, when it is over. One that has a method
# ``expire_upload`` hears by that of each resumable upload that has expired.
StatsCallback: TypeAlias = Callable[[BodyStats], Awaitable[None] | None]


class RequestTracer(Protocol):
    """What hears of the beginning of each request, and of its end."""

    def begin(self, request: web.Request) -> Callable[[BodyStats], None] | None:
        """Begin a request; called before middlewares and handler, in its own task.

        Returns:
            What is called when the request is over; ``None``: nothing.
        """
        ...

    def install(self, app: web.Application) -> None:
        """Install it on an application; called once, by ``setup``."""
        ...


OnStats: TypeAlias = (
    StatsCallback | RequestTracer | Iterable[StatsCallback | RequestTracer]
)


# Seconds, as OpenTelemetry's conventions advise for HTTP; services compare by them.
ADVISED_DURATIONS: Final = (
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0),
)
# An upload may well take longer.
DURATIONS: Final = (*ADVISED_DURATIONS, 30.0, 60.0, 300.0)
# Bytes. No body at all is one thing, all others go by factors of four.
SIZES: Final = (
    *(0, 256, 1 * KiB, 4 * KiB, 16 * KiB, 64 * KiB, 256 * KiB),
    *(1 * MiB, 4 * MiB, 16 * MiB, 64 * MiB, 256 * MiB, 1 * GiB),
)
