"""Resumable Uploads for HTTP, the IETF's draft: fields, versions, problem documents.

``draft-ietf-httpbis-resumable-upload``; sections are those of its revision 12.

The versions that clients speak differ little. One superset of an answer suits all from
5 on: ``Upload-Offset``, ``Upload-Complete`` and ``Upload-Limit`` in each. Version 3
calls the second one ``Upload-Incomplete`` and means the opposite. What else differs is
a row of ``VERSIONS``. A field of another type than it should have is ignored as a whole
(section 4.1), never an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiostreams.errors import StreamError
from aiostreams.sansio.structured import (
    format_boolean,
    format_integers,
    parse_boolean,
    parse_integer,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from multidict import CIMultiDict, CIMultiDictProxy

    Headers = CIMultiDictProxy[str] | CIMultiDict[str]

__all__ = [
    "COMPLETE",
    "INCOMPLETE",
    "INTEROP",
    "LENGTH",
    "LIMIT",
    "NEWEST",
    "OFFSET",
    "PARTIAL_TYPE",
    "VERSIONS",
    "InconsistentLength",
    "Interop",
    "UploadFields",
    "answer_fields",
    "declared_length",
    "format_limits",
    "parse_fields",
    "problem_members",
]

OFFSET: Final = "Upload-Offset"
LENGTH: Final = "Upload-Length"
COMPLETE: Final = "Upload-Complete"
INCOMPLETE: Final = "Upload-Incomplete"
LIMIT: Final = "Upload-Limit"
INTEROP: Final = "Upload-Draft-Interop-Version"
PARTIAL_TYPE: Final = "application/partial-upload"

_PROBLEM: Final = "https://iana.org/assignments/http-problem-types#"


@dataclass(frozen=True, slots=True)
class Interop:
    """What one version has that others have not.

    Attributes:
        number: what ``Upload-Draft-Interop-Version`` says.
        inverted: whether completeness is said by ``Upload-Incomplete``.
        strict: whether a HEAD or DELETE with a field of an upload is refused.
        labelled: whether the content of an append has to be called
            ``application/partial-upload``.
        appended: the status of an append that was processed and is not the last.
        progress: whether interim responses tell the offset.
    """

    number: int
    inverted: bool = False
    strict: bool = False
    labelled: bool = True
    appended: int = 204
    progress: bool = True


# Draft -01, -03, -04 and -05, -06 to -08, -09 to -11, and -12 on.
VERSIONS: Final[Mapping[int, Interop]] = {
    3: Interop(
        3, inverted=True, strict=True, labelled=False, appended=201, progress=False
    ),
    5: Interop(5, labelled=False, appended=201),
    6: Interop(6, appended=201),
    7: Interop(7),
    8: Interop(8),
    9: Interop(9),
}
NEWEST: Final = VERSIONS[9]
_OLDEST: Final = VERSIONS[3]


class InconsistentLength(StreamError):
    """Two indications of an upload's length differ (section 4.1.3)."""

    status = 400


@dataclass(frozen=True, slots=True)
class UploadFields:
    """The fields of a request.

    Attributes:
        interop: the version that the answer is written in.
        announced: whether the client said so; without that no interim response may be
            sent to it.
        complete: whether the content is, or ends, the representation; ``None`` when
            nothing that can be read says so.
        offset: where the content begins, if that was said.
        length: of the whole representation in bytes, if that was said.
    """

    interop: Interop
    announced: bool
    complete: bool | None
    offset: int | None
    length: int | None


def parse_fields(headers: Headers, versions: Collection[int]) -> UploadFields:
    """Read the fields of a request.

    Args:
        headers: of the request.
        versions: those that are spoken here. A request in another one is read like one
            without a version: as the newest, or as version 3 if it has its field.
    """
    number = parse_integer(headers.getall(INTEROP, None))
    announced = number is not None and number in versions and number in VERSIONS
    complete = parse_boolean(headers.getall(COMPLETE, None))
    incomplete = parse_boolean(headers.getall(INCOMPLETE, None))
    if announced:
        assert number is not None
        interop = VERSIONS[number]
    elif incomplete is not None and complete is None and 3 in versions:
        interop = _OLDEST
    else:
        interop = NEWEST
    if interop.inverted:
        complete = None if incomplete is None else not incomplete
    return UploadFields(
        interop,
        announced,
        complete,
        parse_integer(headers.getall(OFFSET, None)),
        parse_integer(headers.getall(LENGTH, None)),
    )


def declared_length(
    fields: UploadFields, offset: int, content_length: int | None
) -> int | None:
    """Return the length of the upload by its request (section 4.1.3).

    Args:
        fields: of the request.
        offset: where its content begins.
        content_length: of the content; ``None`` when that is chunked.

    Raises:
        InconsistentLength: it says two things.
    """
    length = fields.length
    if fields.complete and content_length is not None:
        end = offset + content_length
        if length is not None and length != end:
            raise InconsistentLength(
                f"the content ends the upload at {end} bytes, Upload-Length says "
                f"{length}"
            )
        return end
    return length


def answer_fields(
    interop: Interop,
    *,
    complete: bool,
    announced: bool = True,
    offset: int | None = None,
    length: int | None = None,
    limits: Mapping[str, int] | None = None,
) -> dict[str, str]:
    """Write the fields of a response.

    Args:
        interop: the version of the request.
        complete: whether the target resource speaks (``?1``), or the upload's (``?0``).
        announced: whether the request named its version, which is then echoed.
        offset: how many bytes need not be sent again, if that is sent.
        length: of the upload, if that is known and sent.
        limits: as :func:`format_limits` takes them.
    """
    fields: dict[str, str] = {}
    if interop.inverted:
        fields[INCOMPLETE] = format_boolean(not complete)
    else:
        fields[COMPLETE] = format_boolean(complete)
    if offset is not None:
        fields[OFFSET] = str(offset)
    if length is not None:
        fields[LENGTH] = str(length)
    if limits is not None:
        fields[LIMIT] = format_limits(limits)
    if announced:
        fields[INTEROP] = str(interop.number)
    return fields


def format_limits(limits: Mapping[str, int]) -> str:
    """Write ``Upload-Limit``; without any limit it says so by ``min-size=0``."""
    return format_integers(limits or {"min-size": 0})


def problem_members(name: str, title: str, **members: object) -> dict[str, object]:
    """Return the members of a problem document of a type of the draft (section 7).

    Args:
        name: ``mismatching-upload-offset``, ``inconsistent-upload-length`` or
            ``completed-upload``.
        title: in words.
        members: of the type; underscores become hyphens.
    """
    return {
        "type": _PROBLEM + name,
        "title": title,
        **{key.replace("_", "-"): value for key, value in members.items()},
    }
