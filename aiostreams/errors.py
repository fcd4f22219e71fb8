"""The errors of this package: one root, an HTTP status on every class.

    StreamError                     500  the root: catches everything below
    ├── StreamClosed       ValueError    500  used after close()
    ├── StreamBusy         RuntimeError  500  two tasks read one stream at once
    ├── SizeMismatch       ValueError    500  more or fewer bytes than promised
    ├── MalformedBody      ValueError    400  truncated, or breaks its own syntax
    ├── BodyTimeout        TimeoutError  408  the client is too slow
    ├── LengthRequired                   411  no Content-Length where one is needed
    ├── LimitExceeded      ValueError    413  over one of the Limits
    ├── UnsupportedContent               415  unsupported media type or content coding
    ├── InvalidContent     ValueError    422  well-formed, fails its schema or digest
    ├── InvalidSignature                 403  not signed by a key that is trusted
    ├── ClientGone         ConnectionError    the client left; nothing can be sent
    ├── InvalidKey         ValueError    400  a storage key that could escape its root
    ├── ObjectNotFound     FileNotFoundError  404
    ├── ObjectExists       FileExistsError    409
    └── StorageError       OSError       507 for a full disk or quota, else 503, 500

A message says what, how much, and the limit; never bytes of a body. Only
``aiostreams.web.errors`` turns a status into an HTTP response.
"""

from __future__ import annotations

import errno
import math
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "BodyTimeout",
    "ClientGone",
    "InvalidContent",
    "InvalidKey",
    "InvalidSignature",
    "LengthRequired",
    "LimitExceeded",
    "MalformedBody",
    "ObjectExists",
    "ObjectNotFound",
    "SizeMismatch",
    "StorageError",
    "StreamBusy",
    "StreamClosed",
    "StreamError",
    "UnsupportedContent",
    "as_pointer",
    "exceeded",
    "pointer_to",
]


class StreamError(Exception):
    """The base class of all errors that this package raises for a body.

    Attributes:
        status: the HTTP status (RFC 9110 section 15) that fits when the error
            is answered to a client.
        logged: what a log says instead, where the message has a name that the client
            has given to a file; ``None`` where the message will do.
        members: more members for the problem document (RFC 9457) that answers it.
        retry_after: in how many seconds the client may try again, sent as
            ``Retry-After``; ``None`` where nothing is known of that.
    """

    status: int = 500
    logged: str | None = None
    retry_after: float | None = None
    members: Mapping[str, object] = {}


class StreamClosed(StreamError, ValueError):
    """The stream was used after ``close()`` or ``abort()``."""


class StreamBusy(StreamError, RuntimeError):
    """A second task used a stream while another one was waiting in it."""


class SizeMismatch(StreamError, ValueError):
    """A source delivered more or fewer bytes than its ``size`` promised.

    Attributes:
        expected: the promised number of bytes, if known.
        seen: the bytes delivered when that became known, if given; when the source
            was longer this is the first count beyond ``expected``.
    """

    # Optional, since unpickling and copying call the class with the message alone.
    def __init__(
        self, message: str = "", *, expected: int | None = None, seen: int | None = None
    ) -> None:
        super().__init__(message)
        self.expected = expected
        self.seen = seen


class MalformedBody(StreamError, ValueError):
    """The body is cut short, or breaks the syntax of its content type."""

    status = 400


class BodyTimeout(StreamError, TimeoutError):
    """The body arrived too slowly (RFC 9110 section 15.5.9)."""

    status = 408


class LengthRequired(StreamError):
    """The request has no Content-Length, but this resource requires one."""

    status = 411


class LimitExceeded(StreamError, ValueError):
    """A body, or a part of one, exceeds a limit.

    Attributes:
        limit: the limit, in the unit the message names (bytes or a count); NaN
            when it was not given.
        seen: what was declared, or counted when reading stopped; or NaN.
    """

    status = 413

    def __init__(
        self,
        message: str = "",
        *,
        limit: float = math.nan,
        seen: float = math.nan,
    ) -> None:
        super().__init__(message)
        self.limit = limit
        self.seen = seen


def exceeded(
    what: str, seen: int, limit: int, unit: str = "bytes", *, exact: bool = False
) -> LimitExceeded:
    """Make the error for a limit that is exceeded: one wording for all of them.

    Args:
        what: what is too large, with its article.
        seen: how much was declared, or counted until now.
        limit: the limit.
        unit: what both numbers count.
        exact: whether ``seen`` is all, and not only what was counted until now.
    """
    least = "" if exact else "at least "
    return LimitExceeded(
        f"{what} has {least}{seen} {unit}, limit {limit}", limit=limit, seen=seen
    )


class UnsupportedContent(StreamError):
    """This resource does not read that media type or content coding.

    Attributes:
        accept: the media types it would read, for the ``Accept`` field of the
            answer (RFC 9110 section 12.5.1).
        accept_encoding: the codings it would read, for ``Accept-Encoding``
            (RFC 9110 section 12.5.3).
    """

    status = 415

    def __init__(
        self,
        message: str = "",
        *,
        accept: str | None = None,
        accept_encoding: str | None = None,
    ) -> None:
        super().__init__(message)
        self.accept = accept
        self.accept_encoding = accept_encoding


class InvalidContent(StreamError, ValueError):
    """The body is well-formed, but a value fails its schema or a digest differs.

    Args:
        message: what is wrong; made of ``errors`` unless given.
        errors: see below.

    Attributes:
        errors: the JSON Pointer (RFC 6901 section 6, ``#/photos/0/caption``) of each
            value that is wrong, and what is wrong with it; empty where the message is
            all there is to say. A name without ``#`` is that of a member, or of a
            form's field.
    """

    status = 422

    def __init__(
        self, message: str = "", *, errors: Iterable[tuple[str, str]] = ()
    ) -> None:
        self.errors: tuple[tuple[str, str], ...] = tuple(
            (pointer, _tidy(detail)) for pointer, detail in errors
        )
        if self.errors and not message:
            message = "; ".join(
                f"{place}: {detail}" if (place := as_pointer(pointer)[2:]) else detail
                for pointer, detail in self.errors
            )
            # A pointer may have a name that the client chose.
            count = len(self.errors)
            self.logged: str | None = f"{count} value{'s' * (count != 1)} invalid"
        super().__init__(message)

    def within(self, *path: str | int, note: str = "") -> InvalidContent:
        """Return the same error of a document that has this one's at ``path``.

        Args:
            path: names of members, and numbers of items, from the outermost on.
            note: where that is, in front of each detail.
        """
        prefix = pointer_to(path)
        note = note and f"{note}: "
        if not self.errors:
            return InvalidContent(errors=[(prefix, f"{note}{self}")])
        return InvalidContent(
            errors=[
                (prefix + as_pointer(at)[1:], f"{note}{text}")
                for at, text in self.errors
            ]
        )


# What one detail may take, and a name that a client may have chosen.
_LONGEST_DETAIL: Final = 400
_LONGEST_NAME: Final = 64


def pointer_to(path: Iterable[str | int]) -> str:
    """Make the JSON Pointer to a value, as a URI fragment (RFC 6901, 3 and 6).

    Args:
        path: names of members, and numbers of items, from the outermost on. A name of
            more than 64 characters is cut.
    """
    return "#" + "".join(f"/{_token(key)}" for key in path)


def _token(key: str | int) -> str:
    name = str(key)
    if len(name) > _LONGEST_NAME:
        name = f"{name[:_LONGEST_NAME]}..."
    name = name.replace("~", "~0").replace("/", "~1")
    return quote(name, safe="~!$&'()*+,;=:@?", errors="replace")


def as_pointer(text: str) -> str:
    """Return the JSON Pointer that a text is, or that a member's name makes."""
    if text.startswith("#"):
        return text
    return pointer_to([text]) if text else "#"


def _tidy(detail: str) -> str:
    if not detail.isprintable():
        detail = detail.encode("unicode_escape").decode()
    if len(detail) > _LONGEST_DETAIL:
        detail = f"{detail[: _LONGEST_DETAIL - 3]}..."
    return detail


class InvalidSignature(StreamError):
    """No trusted key has signed the body, or it was signed too long ago."""

    status = 403


class ClientGone(StreamError, ConnectionError):
    """The client disconnected before the request or response body was complete."""


class InvalidKey(StreamError, ValueError):
    """A storage key is empty, too long, or could lead outside the storage's root."""

    status = 400


class ObjectNotFound(StreamError, FileNotFoundError):
    """No object is stored under that key."""

    status = 404


class ObjectExists(StreamError, FileExistsError):
    """An object is already stored under that key, and may not be overwritten."""

    status = 409


# Insufficient Storage (RFC 4918 section 11.5) when a disk or a quota is full; Service
# Unavailable when all file descriptors are taken, which passes by itself.
_STATUSES = {
    errno.ENOSPC: 507,
    getattr(errno, "EDQUOT", errno.ENOSPC): 507,
    errno.EMFILE: 503,
    errno.ENFILE: 503,
}


class _Status:
    """500 on the class; on an error what its cause says, as in ``raise ... from``."""

    def __get__(self, error: StorageError | None, owner: type[StorageError]) -> int:
        if error is None:
            return 500
        cause = error.__cause__
        number = error.errno
        if number is None and isinstance(cause, OSError):
            number = cause.errno
        return 500 if number is None else _STATUSES.get(number, 500)


class StorageError(StreamError, OSError):
    """A storage failed; ``status`` is 507 if a disk or a quota is full.

    It is 503 when the process or the system has no file descriptor left.

    The first argument is the message; ``errno`` is taken from ``cause`` when
    that is an ``OSError``.
    """

    status: int = cast("int", _Status())

    def __init__(self, message: str = "", cause: BaseException | None = None) -> None:
        super().__init__(message)
        self.errno: int | None = cause.errno if isinstance(cause, OSError) else None
        self.__cause__: BaseException | None = cause

    def __reduce__(self) -> tuple[Any, ...]:
        # OSError's own forgets what is not in ``args``.
        return type(self), self.args, {**vars(self), "errno": self.errno}
