"""Validators: what a representation is known by, RFC 9110 section 8.8.

    EntityTag, EntityTags               8.8.3, with strong and weak comparison
    parse_http_date, format_http_date   5.6.7, all three formats
    Validators                          both of them, for one representation

Reading never raises: what a client sent wrong is None, or missing from the list.
Building does: a tag or a date that no header could carry is a programmer's mistake,
and has to be stopped before it becomes one. Times are POSIX seconds; a fraction is
dropped, as HTTP has none. The clock is asked in one place only, and for years.
"""

from __future__ import annotations

import calendar
import datetime as dt
import math
import re
import time
from typing import Final, NamedTuple, Self

__all__ = [
    "EntityTag",
    "EntityTags",
    "Validators",
    "format_http_date",
    "parse_http_date",
]

_OWS: Final = " \t"
# etagc (8.8.3): commas, semicolons and obs-text belong to a tag; spaces, controls and
# the quote do not. How obs-text was decoded, with surrogates or not, does not matter.
_opaque = re.compile(r'[^\x00-\x20"\x7f]*').fullmatch
_entity_tag = re.compile(r'(W/)?"([^\x00-\x20"\x7f]*+)"').fullmatch
# One member of a list, or else whatever stands there up to the next comma. Possessive:
# a tag that fails is looked at once, and the next one begins behind its comma.
_members = re.compile(
    r'[ \t,]*+(?:(W/)?"([^\x00-\x20"\x7f]*+)"[ \t]*+(?=,|\Z)|([^,]*+))'
).finditer

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = (
    *("Jan", "Feb", "Mar", "Apr", "May", "Jun"),
    *("Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
)
_day, _month = "|".join(_DAYS), "|".join(_MONTHS)
_time = "([0-9]{2}):([0-9]{2}):([0-9]{2})"
# These are compiled by `re` when the first date is read, and kept there.
#
# One digit for the day as well: mail allows it, so what writes dates for mail sends it,
# and to ignore such an If-Unmodified-Since would let a change through.
_IMF_FIXDATE: Final = rf"(?:{_day}), ([0-9]{{1,2}}) ({_month}) ([0-9]{{4}}) {_time} GMT"
_RFC850_DATE: Final = (
    r"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, "
    rf"([0-9]{{2}})-({_month})-([0-9]{{2}}) {_time} GMT"
)
_ASCTIME_DATE: Final = rf"(?:{_day}) ({_month}) ([ 0-9][0-9]) {_time} ([0-9]{{4}})"


# As it stands in a header field.
_QUOTED: Final = r'(?:[Ww]/)?"[^"]*"'


def _shown(opaque: str) -> str:
    return ascii(opaque) if len(opaque) <= 60 else f"of {len(opaque)} characters"


class _Tag(NamedTuple):
    opaque: str
    weak: bool = False


class EntityTag(_Tag):
    """An entity tag (8.8.3).

    Attributes:
        opaque: what stands between the quotes.
        weak: whether it may be shared by representations that differ in bytes.

    Raises:
        ValueError: ``opaque`` has a space, a control character or a quote.
    """

    __slots__ = ()

    def __new__(cls, opaque: str, weak: bool = False) -> Self:  # noqa: FBT001, FBT002
        """Check the tag."""
        if not _opaque(opaque):
            wrong = f"the entity tag {_shown(opaque)} contains "
            if re.fullmatch(_QUOTED, opaque):
                raise ValueError(wrong + "its quotes; give it without them")
            raise ValueError(wrong + "a space, a control character or a quote")
        return super().__new__(cls, opaque, weak)

    @classmethod
    def parse(cls, value: str) -> Self | None:
        """Read exactly one entity tag; ``None`` for anything else."""
        match = _entity_tag(value.strip(_OWS))
        return cls(match[2], weak=match[1] is not None) if match else None

    def __str__(self) -> str:
        return f'{"W/" * self.weak}"{self.opaque}"'

    def strongly_equals(self, other: EntityTag) -> bool:
        """Strong comparison (8.8.3.2): same tag, and neither is weak."""
        return self.opaque == other.opaque and not self.weak and not other.weak

    def weakly_equals(self, other: EntityTag) -> bool:
        """Weak comparison (8.8.3.2): same tag, whichever is weak."""
        return self.opaque == other.opaque

    def weakened(self) -> EntityTag:
        """Return the weak tag, for a variant with other bytes, such as compressed."""
        return EntityTag(self.opaque, weak=True)


class EntityTags(NamedTuple):
    """The value of If-Match or If-None-Match: ``*``, or a list of tags."""

    any: bool = False
    tags: tuple[EntityTag, ...] = ()

    @classmethod
    def parse(cls, value: str) -> Self:
        """Read a field value, dropping the members that are no entity tags.

        A ``*`` counts wherever it stands alone between commas.
        """
        tags: list[EntityTag] = []
        everything = False
        for member in _members(value):
            weak, opaque, other = member.groups()
            if opaque is not None:
                tags.append(EntityTag(opaque, weak=weak is not None))
            elif other.rstrip(_OWS) == "*":
                everything = True
        return cls(everything, tuple(tags))


def parse_http_date(value: str, *, now: float | None = None) -> int | None:
    """Read an HTTP-date (5.6.7): IMF-fixdate, RFC 850 or asctime.

    An IMF-fixdate may have a day of one digit; nothing else is a date.

    Args:
        value: the field value.
        now: POSIX seconds that decide the century of a two-digit year: the date is
            not more than 50 years in the future. The clock's, unless given.

    Returns:
        POSIX seconds, or ``None`` for what is no date; it never raises. The name of
        the weekday is not checked against the date: no implementation does.
    """
    value = value.strip(_OWS)
    if match := re.fullmatch(_IMF_FIXDATE, value):
        day, month, year, *clock = match.groups()
    elif match := re.fullmatch(_ASCTIME_DATE, value):
        month, day, *clock, year = match.groups()
    elif match := re.fullmatch(_RFC850_DATE, value):
        day, month, year, *clock = match.groups()
        today = time.gmtime(time.time() if now is None else now).tm_year
        year = str(today // 100 * 100 + int(year))
        if int(year) > today + 50:
            year = str(int(year) - 100)
    else:
        return None
    hour, minute, second = map(int, clock)
    if hour > 23 or minute > 59 or second > 60:  # 60: a leap second
        return None
    try:
        date = dt.date(int(year), _MONTHS.index(month) + 1, int(day))
    except ValueError:
        return None
    return calendar.timegm((*date.timetuple()[:3], hour, minute, second))


def format_http_date(seconds: float) -> str:
    """Write an IMF-fixdate (5.6.7), whatever the locale.

    Raises:
        ValueError: a year before 1 or after 9999, or not a finite number.
    """
    try:
        moment = dt.datetime.fromtimestamp(0, dt.UTC)
        moment += dt.timedelta(seconds=math.floor(seconds))
    except (OverflowError, ValueError) as exc:
        raise ValueError(f"{seconds!r} seconds do not fit in an HTTP date") from exc
    return (
        f"{_DAYS[moment.weekday()]}, {moment.day:02} {_MONTHS[moment.month - 1]} "
        f"{moment.year:04} {moment:%H:%M:%S} GMT"
    )


class _Known(NamedTuple):
    etag: EntityTag | None = None
    last_modified: float | None = None
    exists: bool = True


class Validators(_Known):
    """What the selected representation is at the moment of the request.

    Attributes:
        etag: its entity tag, if it has one.
        last_modified: when it last changed, in POSIX seconds, if that is known.
        exists: whether there is a current representation at all.

    Raises:
        ValueError: ``last_modified`` is not a finite number.
    """

    __slots__ = ()

    def __new__(
        cls,
        *,
        etag: EntityTag | None = None,
        last_modified: float | None = None,
        exists: bool = True,
    ) -> Self:
        """Check the time."""
        if last_modified is not None and not math.isfinite(last_modified):
            raise ValueError(f"last_modified is {last_modified}, not a time")
        return super().__new__(cls, etag, last_modified, exists)

    @property
    def modified_second(self) -> int | None:
        """The second of ``last_modified``, as a Last-Modified field tells it."""
        return None if self.last_modified is None else math.floor(self.last_modified)
