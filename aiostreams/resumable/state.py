"""An upload that grows over several requests: what is known of it, what may follow.

``UploadInfo`` is said once, at creation. ``UploadState`` is all that changes; each step
makes a new one or refuses, and knows nothing of where it is kept. An upload is open
until it is complete; then it is claimed by whoever runs its handler, and answered. A
claim that lapses, or is given back, can be made anew. At any time it may be deleted; an
open one can be made invalid by its client. No step lowers the offset.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
from dataclasses import dataclass, field, replace
from datetime import date
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, Self
from urllib.parse import parse_qs, urlsplit

from aiostreams.errors import MalformedBody, StreamError, exceeded
from aiostreams.sansio.disposition import parse_disposition

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "Answer",
    "Fenced",
    "LengthDiffers",
    "OffsetDiffers",
    "Protocol",
    "ResumableUpload",
    "UploadBusy",
    "UploadGone",
    "UploadInfo",
    "UploadNotFound",
    "UploadState",
    "day_of",
    "filename_of",
    "find_id",
    "folder_of",
    "is_id",
    "new_id",
]

Protocol = Literal["tus", "rufh"]

_DAY: Final = 86400
_EPOCH: Final = date(1970, 1, 1).toordinal()
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
# The day takes 4 digits, which lasts for 4,598 years; 22 are random: 113 bits.
_DAY_DIGITS: Final = 4
_RANDOM_DIGITS: Final = 22
_id = re.compile(r"[a-z0-9]{26}", re.ASCII).fullmatch


class UploadNotFound(StreamError):
    """There is no upload of that id here, or it is somebody else's."""

    status = 404


class UploadGone(StreamError):
    """The upload was there: it has expired, was deleted, refused or made invalid."""

    status = 410


class OffsetDiffers(StreamError):
    """The content begins elsewhere than where the upload ends.

    Attributes:
        expected: the upload's offset in bytes.
        provided: the request's.
    """

    status = 409

    def __init__(self, expected: int, provided: int) -> None:
        super().__init__(
            f"the content begins at {provided} bytes, the upload is at {expected}"
        )
        self.expected = expected
        self.provided = provided


class Fenced(StreamError):
    """Another request has continued the upload, or asked for its offset, meanwhile."""

    status = 409


class LengthDiffers(StreamError):
    """The upload's length was said to be another one, or it is longer already."""

    status = 400


class UploadBusy(StreamError):
    """The upload can't be used just now.

    Attributes:
        retry_after: in how many seconds to ask again.
        status: 423 for one that is in use, 429 for one that was asked too often.
    """

    status: int = 423

    def __init__(self, message: str, retry_after: float, *, status: int = 423) -> None:
        super().__init__(message)
        self.retry_after: float | None = retry_after
        self.status: int = status


def new_id(now: float) -> str:
    """Make an id: 26 characters of ``[a-z0-9]``, the day of creation and 113 bits.

    Args:
        now: in POSIX seconds.
    """
    day = int(now // _DAY)
    digits = [secrets.choice(_DIGITS) for _ in range(_RANDOM_DIGITS)]
    for _ in range(_DAY_DIGITS):
        day, digit = divmod(day, len(_DIGITS))
        digits.insert(0, _DIGITS[digit])
    return "".join(digits)


def is_id(text: str) -> bool:
    """Tell whether ``text`` can be the id of an upload."""
    return _id(text) is not None


def day_of(upload_id: str) -> int:
    """Return the day of creation, counted from 1970-01-01."""
    return int(upload_id[:_DAY_DIGITS], len(_DIGITS))


def folder_of(upload_id: str) -> str:
    """Return an upload's folder: ``yyyymmdd/<id>``, so that old ones are adjacent."""
    day = date.fromordinal(_EPOCH + day_of(upload_id))  # before the year 6600
    return f"{day:%Y%m%d}/{upload_id}"


def find_id(url: str) -> str | None:
    """Return the id in an upload's URL: its query's ``upload``, or the last segment."""
    try:
        split = urlsplit(url)
        query = parse_qs(split.query, max_num_fields=100)
    except ValueError:
        return None
    given = query.get("upload")
    found = given[-1] if given else split.path.rpartition("/")[2]
    return found if is_id(found) else None


def filename_of(fields: Mapping[str, str]) -> str | None:
    """Return the name that the fields of a creation give a file, if they do."""
    disposition = fields.get("Content-Disposition")
    if disposition is None:
        return None
    try:
        return parse_disposition(disposition).filename
    except MalformedBody:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadInfo:
    """What was said of an upload when it was created.

    Nothing secret is kept: no ``Authorization``, no ``Cookie``, no query of a URL.

    Attributes:
        id: its id.
        protocol: which one it was created by.
        method: of the request.
        path: of the request, decoded.
        created: when, in POSIX seconds.
        expires: how many seconds it is kept without being used.
        max_age: how many seconds it is kept at all.
        length: in bytes, as far as the creation said so.
        max_size: how long it may be.
        fields: fields of the creation that speak of the representation.
        metadata: ``Upload-Metadata`` as sent, or ``None``.
        concat: ``Upload-Concat`` as sent, or ``None``.
        parts: the ids of the uploads that it is made of.
        owner: whose it is, hashed, or ``None``.
    """

    id: str
    protocol: Protocol
    method: str
    path: str
    created: float
    expires: float
    max_age: float
    length: int | None = None
    max_size: int | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    metadata: str | None = None
    concat: str | None = None
    parts: tuple[str, ...] = ()
    owner: str | None = None

    @property
    def partial(self) -> bool:
        """Whether it is a part of another upload, and no handler's by itself."""
        return self.concat is not None and not self.parts

    def begin(self) -> UploadState:
        """Return the state of the upload when it has just been created."""
        return UploadState(
            length=self.length, expires=self.created + min(self.expires, self.max_age)
        )

    def until(self, now: float) -> float:
        """Return when the upload expires if used ``now``, both in POSIX seconds."""
        return min(now + self.expires, self.created + self.max_age)

    def encode(self) -> bytes:
        """Write it as JSON."""
        return _dump({name: getattr(self, name) for name in self.__slots__})

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read what :meth:`encode` has written.

        Raises:
            UploadGone: it is something else; a state that is lost ends the upload.
        """
        try:
            members = json.loads(data)
            members["parts"] = tuple(members["parts"])
            return cls(**members)
        except (ValueError, TypeError, KeyError) as error:
            raise UploadGone("the state of the upload is lost") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumableUpload:
    """A resumable upload, as a handler sees it.

    Attributes:
        id: 26 characters; the same in each run of the handler for one upload.
        protocol: ``"tus"`` or ``"rufh"``, the IETF's.
        offset: how many bytes have arrived.
        length: how many there will be; ``None`` while that is not known.
        metadata: what ``Upload-Metadata`` says, decoded; without one, ``filename``
            and ``filetype`` by ``Content-Disposition`` and ``Content-Type`` of the
            request that created the upload, as far as they are there.
    """

    id: str
    protocol: Protocol
    offset: int
    length: int | None
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "metadata", MappingProxyType(dict(self.metadata)))


@dataclass(frozen=True, slots=True)
class Answer:
    """The final response to an upload.

    Attributes:
        status: its status code.
        fields: its header fields.
        body: its content; ``None`` when that was too long to keep.
    """

    status: int
    fields: tuple[tuple[str, str], ...] = ()
    body: bytes | None = b""

    @property
    def refused(self) -> bool:
        """Whether the upload was not taken."""
        return self.status >= 400


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadState:
    """What is known of an upload now.

    Attributes:
        offset: how many bytes are there, and need not be sent again.
        length: how many there will be, or ``None``.
        expires: when it expires, in POSIX seconds.
        complete: whether all bytes are there.
        invalid: whether it was broken by its client, for good.
        deleted: whether its client, or its age, has ended it.
        claim: who runs the handler: a random token.
        claimed: until when that counts, in POSIX seconds.
        runs: how often the handler was begun.
        answer: what it has answered.
        digests: algorithm to hex digest of all bytes, as far as they are known.
        waiting: the ids of uploads that this one is a part of, and that wait for it.
        fences: how often the offset was asked for since bytes were added.
    """

    offset: int = 0
    length: int | None = None
    expires: float = 0.0
    complete: bool = False
    invalid: bool = False
    deleted: bool = False
    claim: str | None = None
    claimed: float = 0.0
    runs: int = 0
    answer: Answer | None = None
    digests: Mapping[str, str] = field(default_factory=dict)
    waiting: tuple[str, ...] = ()
    fences: int = 0

    @property
    def open(self) -> bool:
        """Whether bytes may be added."""
        return not (self.complete or self.invalid or self.deleted)

    def check(self, now: float) -> None:
        """Refuse an upload that is no more.

        Raises:
            UploadGone: it has expired, was deleted, or is invalid.
        """
        if self.deleted:
            raise UploadGone("the upload was deleted")
        if self.invalid:
            raise UploadGone("the upload was made invalid by content beyond its length")
        if now >= self.expires:
            raise UploadGone("the upload has expired")

    def fenced(self, until: float) -> UploadState:
        """Return the state after its offset was asked for: appenders begin anew."""
        return replace(self, expires=until, fences=self.fences + 1)

    def touched(self, until: float) -> UploadState:
        """Return the state after it was used."""
        return self if self.expires == until else replace(self, expires=until)

    def appended(self, size: int) -> UploadState:
        """``size`` bytes more are there."""
        return replace(self, offset=self.offset + size, fences=0)

    def expecting(self, length: int | None, max_size: int | None) -> UploadState:
        """Return the state after a request said what its length is.

        Raises:
            LengthDiffers: it was said to be another one, or it is longer already.
            LimitExceeded: that is more than ``max_size``.
        """
        if length is None or length == self.length:
            return self
        if self.length is not None:
            raise LengthDiffers(
                f"the length is {length}, but it was given as {self.length} before"
            )
        if length < self.offset:
            raise LengthDiffers(
                f"the length is {length}, but the upload already has "
                f"{self.offset} bytes"
            )
        if max_size is not None and length > max_size:
            raise exceeded("the upload", length, max_size, exact=True)
        return replace(self, length=length)

    def completed(self, digests: Mapping[str, str] | None = None) -> UploadState:
        """Return the state with all bytes there.

        Raises:
            LengthDiffers: they are fewer than its length.
        """
        if self.complete:
            return self
        if self.length is not None and self.length != self.offset:
            raise LengthDiffers(
                f"the upload ends after {self.offset} bytes, but its length is "
                f"{self.length}"
            )
        return replace(
            self, complete=True, length=self.offset, digests=dict(digests or {})
        )

    def claimed_by(self, token: str, now: float, patience: float) -> UploadState:
        """Return the state in which the handler is about to run.

        Args:
            token: who runs it.
            now: in POSIX seconds.
            patience: for how many seconds it counts as running.

        Raises:
            UploadBusy: it runs already, or did when its process was killed.
        """
        if self.claim not in {None, token} and now < self.claimed:
            raise UploadBusy(
                "the upload is complete and is being processed", self.claimed - now
            )
        runs = self.runs if self.claim == token else self.runs + 1
        return replace(self, claim=token, claimed=now + patience, runs=runs)

    def is_running(self, now: float) -> bool:
        """Whether the handler may be running, and reads the bytes."""
        return self.claim is not None and now < self.claimed

    def released_by(self, token: str) -> UploadState:
        """Return the state after the handler has ended, and no answer of it counts."""
        return replace(self, claim=None) if self.claim == token else self

    def answered_by(self, token: str, answer: Answer, until: float) -> UploadState:
        """Return the state after the handler has answered.

        The first answer stays. Who took so long that another process runs the handler
        too leaves it the claim, and failures of its own count for nothing then.
        """
        if self.answer is not None:
            return self.released_by(token)
        if self.claim in {None, token}:
            return replace(self, claim=None, answer=answer, expires=until)
        return self if answer.refused else replace(self, answer=answer, expires=until)

    def dump(self) -> dict[str, Any]:
        """Return what of it is not as usual, for JSON."""
        kept: dict[str, Any] = {}
        for name in self.__slots__:
            value = getattr(self, name)
            if value != getattr(_USUAL, name):
                kept[name] = value
        if self.answer is not None:
            body = self.answer.body
            kept["answer"] = [
                self.answer.status,
                self.answer.fields,
                None if body is None else base64.b64encode(body).decode(),
            ]
        return kept

    @classmethod
    def load(cls, members: Mapping[str, Any]) -> Self:
        """Read what :meth:`dump` has given.

        Raises:
            UploadGone: it is something else.
        """
        try:
            kept = dict(members)
            if kept.get("answer") is not None:
                status, fields, body = kept["answer"]
                kept["answer"] = Answer(
                    status,
                    tuple((name, value) for name, value in fields),
                    None if body is None else base64.b64decode(body),
                )
            kept["waiting"] = tuple(kept.get("waiting", ()))
            return cls(**kept)
        except (ValueError, TypeError) as error:
            raise UploadGone("the state of the upload is lost") from error


_USUAL: Final = UploadState()


def _dump(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
