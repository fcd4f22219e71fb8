"""The validators of a response: what its handler gave, else what its source says.

A handler may give them as arguments of ``respond`` or as header fields; either way
the conditions of a request are evaluated against what the response is sent with.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from aiohttp import ETag, hdrs

from aiostreams.sansio.validators import EntityTag, Validators, parse_http_date

if TYPE_CHECKING:
    from multidict import CIMultiDict

    from aiostreams.streams.base import Stream

__all__ = ["find_validators", "given_validators"]


def given_validators(
    etag: str | ETag | None, last_modified: float | dt.datetime | str | None
) -> Validators:
    """The arguments of ``respond``.

    Raises:
        ValueError: the tag cannot be sent, or the text is not an HTTP date.
    """
    if isinstance(etag, ETag):
        tag: EntityTag | None = EntityTag(etag.value, etag.is_weak)
    else:
        tag = None if etag is None else EntityTag(etag)
    return Validators(etag=tag, last_modified=_seconds(last_modified))


def _seconds(moment: float | dt.datetime | str | None) -> float | None:
    if isinstance(moment, str):
        seconds = parse_http_date(moment)
        if seconds is None:
            raise ValueError(f"{moment!r} is not an HTTP date")
        return seconds
    return moment.timestamp() if isinstance(moment, dt.datetime) else moment


def find_validators(
    headers: CIMultiDict[str], given: Validators, stream: Stream
) -> Validators:
    """What the response will say: fields win over arguments, those over the source.

    A field that cannot be read is sent as it is, and matches no condition.

    Args:
        headers: of the response.
        given: the arguments of ``respond``.
        stream: the body; its attributes ``etag`` (opaque, without quotes) and
            ``last_modified`` (POSIX seconds) count, if it has them.
    """
    etag, modified = given.etag, given.last_modified
    if (field := headers.get(hdrs.ETAG)) is not None:
        etag = EntityTag.parse(field)
    elif etag is None and (opaque := getattr(stream, "etag", None)) is not None:
        etag = EntityTag(opaque)
    if (field := headers.get(hdrs.LAST_MODIFIED)) is not None:
        modified = parse_http_date(field)
    elif modified is None:
        modified = getattr(stream, "last_modified", None)
    return Validators(etag=etag, last_modified=modified)
