"""Conditional requests: RFC 9110 section 13, as decisions without side effects.

    Conditions       the request fields, picked out once
    check_if_...     one condition: True (it holds), False, or None: does not apply
    evaluate         13.2.2, the order among them: a Decision
    range_applies    If-Range: may Range be used?

A condition does not apply when its field is absent, or unreadable where the RFC says
to ignore it. The lists are read member by member: what is no entity tag matches
nothing, so a broken If-Match refuses and a broken If-None-Match lets pass, and both
err towards a full, correct answer. Nothing in this module raises.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final, NamedTuple, Self, TypeAlias

from aiostreams.sansio.validators import (
    EntityTag,
    EntityTags,
    Validators,
    parse_http_date,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "RETRIEVING",
    "Conditions",
    "Decision",
    "check_if_match",
    "check_if_modified_since",
    "check_if_none_match",
    "check_if_unmodified_since",
    "evaluate",
    "range_applies",
]


# The methods that ask for a representation: safe, so that conditions and ranges are
# about what is answered. QUERY asks with a body (RFC 10008).
RETRIEVING: Final = frozenset({"GET", "HEAD", "QUERY"})


class Conditions(NamedTuple):
    """The request fields that decide: those of section 13.1, and Range."""

    if_match: str | None = None
    if_none_match: str | None = None
    if_modified_since: str | None = None
    if_unmodified_since: str | None = None
    if_range: str | None = None
    range: str | None = None

    @classmethod
    def from_fields(cls, fields: Iterable[tuple[str, str]]) -> Self:
        """Pick them out of all request fields, as ``headers.items()`` gives them.

        Several lines of one field are joined (5.3): right for the two lists, and
        a value that cannot be read, so is ignored, for the rest.
        """
        found: dict[str, str] = {}
        for name, value in fields:
            # Nearly every field ends here, for the price of one lower().
            attribute = _FIELDS.get(name.lower())
            if attribute is not None:
                known = found.get(attribute)
                found[attribute] = value if known is None else f"{known}, {value}"
        return cls(**found)


_FIELDS: Final = {name.replace("_", "-"): name for name in Conditions._fields}

Verdict: TypeAlias = bool | None


def check_if_match(conditions: Conditions, validators: Validators) -> Verdict:
    """If-Match (13.1.1): one of the tags is, strongly, the current one."""
    if conditions.if_match is None:
        return None
    wanted = EntityTags.parse(conditions.if_match)
    if wanted.any:
        return validators.exists
    etag = validators.etag if validators.exists else None
    return etag is not None and any(map(etag.strongly_equals, wanted.tags))


def check_if_none_match(conditions: Conditions, validators: Validators) -> Verdict:
    """If-None-Match (13.1.2): none of the tags is, even weakly, the current one."""
    if conditions.if_none_match is None:
        return None
    unwanted = EntityTags.parse(conditions.if_none_match)
    if unwanted.any:
        return not validators.exists
    etag = validators.etag if validators.exists else None
    return etag is None or not any(map(etag.weakly_equals, unwanted.tags))


def check_if_modified_since(
    conditions: Conditions, validators: Validators, *, now: float | None = None
) -> Verdict:
    """If-Modified-Since (13.1.3): it changed after that date."""
    seconds = _since(conditions.if_modified_since, validators, now)
    return None if seconds is None else seconds > 0


def check_if_unmodified_since(
    conditions: Conditions, validators: Validators, *, now: float | None = None
) -> Verdict:
    """If-Unmodified-Since (13.1.4): it did not change after that date."""
    seconds = _since(conditions.if_unmodified_since, validators, now)
    return None if seconds is None else seconds <= 0


def _since(field: str | None, validators: Validators, now: float | None) -> int | None:
    """Seconds from the field's date to the last change; None: ignore the field."""
    modified = validators.modified_second
    if field is None or modified is None or not validators.exists:
        return None
    date = parse_http_date(field, now=now)
    return None if date is None else modified - date


class Decision(enum.Enum):
    """What the preconditions of a request come to."""

    PROCEED = "perform the method"
    NOT_MODIFIED = "304 (Not Modified)"
    PRECONDITION_FAILED = "412 (Precondition Failed)"


def evaluate(
    method: str,
    conditions: Conditions,
    validators: Validators,
    *,
    now: float | None = None,
) -> Decision:
    """Evaluate the preconditions of a request in the order of section 13.2.2.

    Call it when the request would otherwise be answered 2xx, and before anything is
    changed (13.2.1). If-Range, step 5, is :func:`range_applies`.

    Args:
        method: the request method; CONNECT, OPTIONS and TRACE have no conditions.
        conditions: the fields of the request.
        validators: the representation before the method is performed.
        now: see :func:`parse_http_date`.
    """
    if method in {"CONNECT", "OPTIONS", "TRACE"}:
        return Decision.PROCEED
    retrieves = method in RETRIEVING
    unchanged = check_if_match(conditions, validators)  # steps 1 and 2
    if unchanged is None:
        unchanged = check_if_unmodified_since(conditions, validators, now=now)
    if unchanged is False:
        return Decision.PRECONDITION_FAILED
    changed = check_if_none_match(conditions, validators)  # steps 3 and 4
    if changed is None and retrieves:
        changed = check_if_modified_since(conditions, validators, now=now)
    if changed is False:
        return Decision.NOT_MODIFIED if retrieves else Decision.PRECONDITION_FAILED
    return Decision.PROCEED


def range_applies(
    conditions: Conditions, validators: Validators, *, now: float | None = None
) -> bool:
    """Return whether If-Range lets Range be used (13.1.5); true without an If-Range.

    A tag has to be, strongly, the current one. A date has to be exactly the current
    one, and strong: a change within the same second would leave it the same, so
    with ``now`` a date less than a second old does not count (8.8.2.2). Without,
    the date is trusted as nginx does, for clients are held to that rule as well.
    """
    field = conditions.if_range
    if field is None:
        return True
    if '"' in field[:3]:  # the RFC's own way to tell the two apart
        wanted, etag = EntityTag.parse(field), validators.etag
        return wanted is not None and etag is not None and etag.strongly_equals(wanted)
    modified = validators.modified_second
    if modified is None or (now is not None and now < modified + 1):
        return False
    return parse_http_date(field, now=now) == modified
