"""The configuration of resumable uploads: of an application, and of a route.

Also ``upload_of``: what a handler can know of the upload that it handles.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from aiohttp import web

from aiostreams.resumable.state import ResumableUpload
from aiostreams.sansio.rufh import VERSIONS
from aiostreams.sansio.sniff.types import check_pattern
from aiostreams.web.state import body_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from aiostreams.storage.base import Storage

__all__ = [
    "DAY",
    "DEFAULT_UPLOADS",
    "Options",
    "ResumableUploads",
    "upload_of",
]

DAY: Final = 86400.0


def upload_of(request: web.BaseRequest) -> ResumableUpload | None:
    """Return the resumable upload that ``request`` completes; ``None`` for others."""
    return body_of(request).upload


OnCreate: TypeAlias = Callable[
    [web.Request, ResumableUpload], Awaitable[object] | object
]
Owner: TypeAlias = Callable[[web.Request], Awaitable[str] | str]
Location: TypeAlias = Callable[[web.Request], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumableUploads:
    """How the resumable uploads of an application are kept, and spoken of.

    Attributes:
        staging: where uploads grow; next to the files of ``setup(storage=...)`` unless
            given. On that one's own disk, or in its own bucket, a finished upload is
            moved into its place without being read.
        expires: how many seconds an upload is kept that is not continued.
        max_age: how many seconds it is kept at all.
        claim: for how many seconds a handler counts as running whose process may have
            been killed; it is run again afterwards. A handler that runs longer in a
            process that lives is left alone.
        interim: whether ``104 (Upload Resumption Supported)`` is sent. Only where each
            proxy on the way forwards it: nginx does not, and hangs.
        versions: the interop versions of the IETF's drafts that are answered by 104.
        max_append_size: how many bytes one request may have; what the proxies on the
            way allow.
        cors: the origins that may upload from a browser: an iterable, or ``"*"``;
            ``None`` leaves all that to the application.
        location: the beginning of the URLs of uploads, as ``"https://example.org"``,
            or a function of the request; that of the request's own URL unless given.
        forwarded: whether ``Forwarded``, or ``X-Forwarded-Proto`` and ``-Host``, say
            what the client has asked for. Only behind a proxy that sets them.

    Raises:
        ValueError: a number is not positive, or a version is not known.
    """

    staging: Storage | None = None
    expires: float = DAY
    max_age: float = 7 * DAY
    claim: float = 600.0
    interim: bool = False
    versions: Collection[int] = (3, 5, 6, 7, 8, 9)
    max_append_size: int | None = None
    cors: Iterable[str] | None = None
    location: str | Location | None = None
    forwarded: bool = False

    def __post_init__(self) -> None:
        for name in ("expires", "max_age", "claim", "max_append_size"):
            number = getattr(self, name)
            if number is not None and not number > 0:
                raise ValueError(f"{name} must be positive, not {number}")
        unknown = set(self.versions) - set(VERSIONS)
        if unknown:
            raise ValueError(
                f"unknown interop versions {sorted(unknown)}; expected some of "
                f"{sorted(VERSIONS)}"
            )
        object.__setattr__(self, "versions", frozenset(self.versions))
        if self.cors is not None and not isinstance(self.cors, str):
            object.__setattr__(self, "cors", frozenset(self.cors))


DEFAULT_UPLOADS: Final = ResumableUploads()


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What holds for the uploads of one route; see ``resumable``."""

    max_size: int | None = None
    accept: Collection[str] | None = None
    on_create: OnCreate | None = None
    owner: Owner | None = None
    expires: float | None = None
    max_age: float | None = None
    # Whether the id is the last segment of the path, and not in the query.
    in_path: bool = False

    def __post_init__(self) -> None:
        for name in ("max_size", "expires", "max_age"):
            number = getattr(self, name)
            if number is not None and number < 0:
                raise ValueError(f"{name} must not be negative, got {number}")
        accept = self.accept
        if accept is not None:
            listed = accept.split(",") if isinstance(accept, str) else accept
            tidy = frozenset(check_pattern(pattern) for pattern in listed)
            object.__setattr__(self, "accept", tidy)
