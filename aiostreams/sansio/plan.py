"""One decision for one response: conditions and ranges together, before any I/O.

``plan_response`` takes what the client asked and what the representation is, and
gives a frozen ``ResponsePlan``: status, ranges, header fields. The shell then opens,
seeks and sends what the plan says, and decides nothing itself. It follows the order
of RFC 9110 section 13.2.2: preconditions, then If-Range, then Range.

Left to the shell: Content-Type, Content-Encoding, Vary and Cache-Control; the parts
of a multipart/byteranges body (each with ``range.content_range(size)``); a problem
document for 412 and 416; and finding out whether anything exists at all, since 404
comes before any condition.

A file of its own: the decision is made without I/O, and tested without a response.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from aiostreams.sansio.conditions import (
    RETRIEVING,
    Decision,
    evaluate,
    range_applies,
)
from aiostreams.sansio.ranges import (
    ByteRange,
    select_ranges,
    unsatisfied_content_range,
)
from aiostreams.sansio.validators import format_http_date

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiostreams.sansio.conditions import Conditions
    from aiostreams.sansio.validators import Validators

__all__ = ["ResponsePlan", "plan_response"]


class ResponsePlan(NamedTuple):
    """What to answer.

    Attributes:
        status: 200, 206, 304, 412 or 416.
        headers: the fields that follow from the decision: ``ETag``,
            ``Last-Modified``, ``Accept-Ranges``, ``Content-Range``.
        ranges: with 206, what to send, in this order; otherwise empty. Several are
            the parts of a multipart/byteranges body, whose ``Content-Range`` is
            not in ``headers``.
    """

    status: int
    headers: Mapping[str, str]
    ranges: tuple[ByteRange, ...] = ()


def plan_response(
    method: str,
    conditions: Conditions,
    validators: Validators,
    *,
    size: int | None,
    accept_ranges: bool = True,
    now: float | None = None,
) -> ResponsePlan:
    """Plan the answer to a request for a representation that exists.

    Only GET, HEAD and QUERY are conditional here. Any other method has done its work
    when there is something to answer, and its conditions had to be evaluated before
    (:func:`~aiostreams.sansio.conditions.evaluate`): to fail it now would be a lie.
    Do not call it for an answer other than 200 (13.2.1).

    Args:
        method: the request method.
        conditions: the fields of the request.
        validators: what the representation is.
        size: its bytes, or ``None`` when that is not known.
        accept_ranges: whether its source can seek. Without that, or without a size,
            Range is ignored.
        now: the clock, in POSIX seconds. When given, Last-Modified is never later
            (8.8.2.1), and If-Range trusts no date of this very second (8.8.2.2).
    """
    headers: dict[str, str] = {}
    if validators.etag is not None:
        headers["ETag"] = str(validators.etag)
    modified = validators.last_modified
    if modified is not None:
        try:
            headers["Last-Modified"] = format_http_date(
                modified if now is None else min(modified, now)
            )
        except ValueError:
            # File systems hold times that HTTP has no year for; then it is unknown.
            pass
    if method not in RETRIEVING:
        return ResponsePlan(200, headers)
    decision = evaluate(method, conditions, validators, now=now)
    if decision is Decision.PRECONDITION_FAILED:
        # The validators would describe the error document: left out, as in nginx.
        return ResponsePlan(412, {})
    if decision is Decision.NOT_MODIFIED:
        if "ETag" in headers:
            # 15.4.5: no more metadata than guides the cache.
            headers.pop("Last-Modified", None)
        return ResponsePlan(304, headers)
    ranges: tuple[ByteRange, ...] | None = None
    if size is not None and accept_ranges:
        headers["Accept-Ranges"] = "bytes"
        # Range is defined for GET (14.2), and for QUERY as well (RFC 10008); HEAD
        # tells of the whole.
        if method != "HEAD" and range_applies(conditions, validators, now=now):
            ranges = select_ranges(conditions.range, size)
            if ranges is not None and not ranges:
                return ResponsePlan(
                    416, {"Content-Range": unsatisfied_content_range(size)}
                )
    if ranges is None:
        return ResponsePlan(200, headers)
    first, *others = ranges
    if not others:
        headers["Content-Range"] = first.content_range(size)
    return ResponsePlan(206, headers, ranges)
