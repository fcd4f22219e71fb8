"""RFC 9110 8.8.3 (entity tags) and 5.6.7 (dates), read from hostile headers too."""

from __future__ import annotations

import email.utils
import math
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiostreams.sansio.validators import (
    EntityTag,
    EntityTags,
    Validators,
    format_http_date,
    parse_http_date,
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('"xyzzy"', EntityTag("xyzzy")),
        ('W/"xyzzy"', EntityTag("xyzzy", weak=True)),
        ('""', EntityTag("")),
        ('W/""', EntityTag("", weak=True)),
        (' "a" ', EntityTag("a")),
        ('"a,b;c"', EntityTag("a,b;c")),
        ('"\\"', EntityTag("\\")),
        ('"\xe9\xff"', EntityTag("\xe9\xff")),
        ('"\udcff"', EntityTag("\udcff")),
        ('"*"', EntityTag("*")),
        ("", None),
        ("*", None),
        ("xyzzy", None),
        ('"xyzzy', None),
        ('xyzzy"', None),
        ('w/"xyzzy"', None),
        ('W/ "xyzzy"', None),
        ('W"xyzzy"', None),
        ('"a b"', None),
        ('"a\x7f"', None),
        ('"a\x00"', None),
        ('"a", "b"', None),
        ('"a""b"', None),
        ('"a"\n', None),
    ],
)
def test_entity_tag_parse_when_given(value: str, expected: EntityTag | None) -> None:
    parsed = EntityTag.parse(value)
    assert parsed == expected
    if parsed is not None:
        assert str(parsed) == value.strip()


@pytest.mark.parametrize("opaque", ["a b", 'a"b', "a\r\nb", "\x00", "\x7f", "\t", " "])
def test_entity_tag_when_no_header_could_carry_it(opaque: str) -> None:
    with pytest.raises(ValueError, match="a control character or a quote") as caught:
        EntityTag(opaque)
    assert ascii(opaque) in str(caught.value)
    with pytest.raises(ValueError, match="entity tag of 61 characters contains a sp"):
        EntityTag(opaque + "x" * (61 - len(opaque)))


@pytest.mark.parametrize(
    ("one", "other", "strong", "weak"),
    [  # the table of section 8.8.3.2
        ('W/"1"', 'W/"1"', False, True),
        ('W/"1"', 'W/"2"', False, False),
        ('W/"1"', '"1"', False, True),
        ('"1"', '"1"', True, True),
    ],
)
def test_entity_tag_comparison_when_strong_or_weak(
    one: str, other: str, strong: bool, weak: bool
) -> None:
    left, right = EntityTag.parse(one), EntityTag.parse(other)
    assert left is not None
    assert right is not None
    for a, b in ((left, right), (right, left)):
        assert a.strongly_equals(b) is strong
        assert a.weakly_equals(b) is weak


def test_entity_tag_when_weakened() -> None:
    assert str(EntityTag("a").weakened()) == 'W/"a"'
    assert str(EntityTag("a", weak=True).weakened()) == 'W/"a"'


@pytest.mark.parametrize(
    ("value", "everything", "tags"),
    [
        ("", False, []),
        ("*", True, []),
        (" * ", True, []),
        ('"a", *', True, ['"a"']),
        ("**", False, []),
        ("* *", False, []),
        ('"*"', False, ['"*"']),
        ('"a"', False, ['"a"']),
        ('"a","b"', False, ['"a"', '"b"']),
        ('"a" ,\t, W/"b" ,', False, ['"a"', 'W/"b"']),
        (',,"a"', False, ['"a"']),
        ('"a,b", "c"', False, ['"a,b"', '"c"']),
        ('",", ",,"', False, ['","', '",,"']),
        ('"*,*"', False, ['"*,*"']),
        # members that are none are dropped, the others count
        ('a, "b"', False, ['"b"']),
        ('"a b", "c"', False, ['"c"']),
        ('"a" "b", "c"', False, ['"c"']),
        ('"a""b", "c"', False, ['"c"']),
        ('"a"x, "c"', False, ['"c"']),
        ('w/"a", W/"b"', False, ['W/"b"']),
        ('"unclosed, "c"', False, ['"c"']),
        ('"unclosed,"c"', False, ['"c"']),
        ('"unclosed,c', False, []),
        ('"a", "unclosed', False, ['"a"']),
        ('"a", "unclosed, x', False, ['"a"']),
    ],
)
def test_entity_tags_parse_when_given(
    value: str, everything: bool, tags: list[str]
) -> None:
    parsed = EntityTags.parse(value)
    assert parsed.any is everything
    assert [str(tag) for tag in parsed.tags] == tags


opaques = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters='"\x7f')
)


@given(st.lists(st.builds(EntityTag, opaques, st.booleans()), max_size=5), opaques)
def test_entity_tags_parse_when_formatted_by_us(
    tags: list[EntityTag], junk: str
) -> None:
    """Whatever tags we write, and whatever junk stands between, they are read back."""
    junk = junk.replace(",", "")
    value = f", {junk} ,".join(map(str, tags))
    assert EntityTags.parse(value) == EntityTags(
        junk == "*" and len(tags) > 1, tuple(tags)
    )


EXAMPLE = 784111777


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        # the RFC's own three
        ("Sun, 06 Nov 1994 08:49:37 GMT", EXAMPLE),
        ("Sunday, 06-Nov-94 08:49:37 GMT", EXAMPLE),
        ("Sun Nov  6 08:49:37 1994", EXAMPLE),
        (" Sun, 06 Nov 1994 08:49:37 GMT\t", EXAMPLE),
        ("Mon, 06 Nov 1994 08:49:37 GMT", EXAMPLE),  # a wrong weekday
        ("Sun Nov 16 08:49:37 1994", EXAMPLE + 864000),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Wed, 31 Dec 1969 23:59:59 GMT", -1),
        ("Sat, 01 Jan 0001 00:00:00 GMT", -62135596800),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 253402300799),
        ("Sat, 29 Feb 2020 12:00:00 GMT", 1582977600),
        ("Sat, 31 Dec 2016 23:59:60 GMT", 1483228800),  # a leap second
        # a day of one digit, as mail has it
        ("Sun, 6 Nov 1994 08:49:37 GMT", EXAMPLE),
        ("Sun, 0 Nov 1994 08:49:37 GMT", None),
        ("Sun,  6 Nov 1994 08:49:37 GMT", None),
        ("Sun, 006 Nov 1994 08:49:37 GMT", None),
        # no dates
        ("", None),
        ("0", None),
        ("784111777", None),
        ("Sun, 06 Nov 0000 08:49:37 GMT", None),
        ("Sun, 29 Feb 2021 08:49:37 GMT", None),
        ("Sun, 31 Nov 1994 08:49:37 GMT", None),
        ("Sun, 00 Nov 1994 08:49:37 GMT", None),
        ("Sun Nov  0 08:49:37 1994", None),
        ("Sun Nov   08:49:37 1994", None),
        ("Sun, 06 Nov 1994 24:00:00 GMT", None),
        ("Sun, 06 Nov 1994 08:60:37 GMT", None),
        ("Sun, 06 Nov 1994 08:49:61 GMT", None),
        ("Sun, 06 Nov 94 08:49:37 GMT", None),
        ("Sun, 06 Nov 1994 08:49:37", None),
        ("Sun, 06 Nov 1994 08:49:37 UTC", None),
        ("Sun, 06 Nov 1994 08:49:37 +0000", None),
        ("Sun, 06 Nov 1994 08:49:37 GMT; length=1", None),
        ("Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT", None),
        ("sun, 06 nov 1994 08:49:37 gmt", None),
        ("Sun, 06 Nov 1994 08:49:37 GMT\n", None),
        ("Sun, \u0660\u0666 Nov 1994 08:49:37 GMT", None),
        ("1994-11-06T08:49:37Z", None),
    ],
)
def test_parse_http_date_when_given(value: str, expected: int | None) -> None:
    assert parse_http_date(value, now=EXAMPLE) == expected


@pytest.mark.parametrize(
    ("this_year", "two_digits", "expected"),
    [
        (1994, 94, 1994),
        (1994, 0, 1900),
        (2025, 94, 1994),
        (2025, 75, 2075),
        (2025, 76, 1976),
        (2025, 0, 2000),
        (2099, 0, 2000),
    ],
)
def test_parse_http_date_when_year_has_two_digits(
    this_year: int, two_digits: int, expected: int
) -> None:
    """5.6.7: more than 50 years in the future means the past."""
    now = parse_http_date(f"Mon, 15 Jun {this_year} 00:00:00 GMT")
    moment = parse_http_date(f"Monday, 15-Jun-{two_digits:02} 00:00:00 GMT", now=now)
    assert moment == parse_http_date(f"Mon, 15 Jun {expected} 00:00:00 GMT")


def test_parse_http_date_when_now_is_not_given() -> None:
    assert parse_http_date("Sunday, 06-Nov-94 08:49:37 GMT") == EXAMPLE


@given(st.integers(-62135596800, 253402300799))
def test_http_dates_when_written_and_read(seconds: int) -> None:
    written = format_http_date(seconds)
    assert parse_http_date(written) == seconds
    if seconds >= -30610224000:  # the email package moves the years before 1000
        parsed = email.utils.parsedate_to_datetime(written)
        assert written == email.utils.format_datetime(parsed, usegmt=True)


def test_format_http_date_when_fraction() -> None:
    assert format_http_date(EXAMPLE + 0.999) == "Sun, 06 Nov 1994 08:49:37 GMT"
    assert format_http_date(-0.5) == "Wed, 31 Dec 1969 23:59:59 GMT"


@pytest.mark.parametrize(
    "seconds", [253402300800, -62135596801, 1e30, -1e30, math.nan, math.inf]
)
def test_format_http_date_when_there_is_no_such_date(seconds: float) -> None:
    with pytest.raises(ValueError, match="do not fit in an HTTP date"):
        format_http_date(seconds)


def test_validators_when_time_has_a_fraction_or_none() -> None:
    assert Validators().modified_second is None
    assert Validators(last_modified=5.9).modified_second == 5
    assert Validators(last_modified=-0.1).modified_second == -1


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -math.inf])
def test_validators_when_time_is_none_at_all(seconds: float) -> None:
    with pytest.raises(ValueError, match="not a time"):
        Validators(last_modified=seconds)


header_like = st.text() | st.text(alphabet='W/"*, \tabGMT0123456789:-', max_size=60)


@given(header_like)
def test_readers_when_fed_anything_never_raise(value: str) -> None:
    EntityTag.parse(value)
    EntityTags.parse(value)
    seconds = parse_http_date(value)
    assert seconds is None or isinstance(seconds, int)


READERS: list[Callable[[str], object]] = [
    EntityTag.parse,
    EntityTags.parse,
    parse_http_date,
]


@pytest.mark.parametrize(
    "unit",
    [
        '"',
        '"a',
        '"a,',
        '"a",',
        'W/"a", ',
        '"a" ',
        ",",
        ", ",
        " ",
        "a,",
        '",',
        "W/",
        "*,",
    ],
)
@pytest.mark.parametrize("reader", READERS)
def test_reading_time_when_header_is_hostile(
    reader: Callable[[str], object], unit: str
) -> None:
    def cpu(size: int) -> float:
        value = (unit * size)[:size]
        best = 1.0
        for _ in range(3):
            start = time.process_time()
            reader(value)
            best = min(best, time.process_time() - start)
        return best

    assert cpu(64 * 1024) < 9 * cpu(16 * 1024) + 0.005
