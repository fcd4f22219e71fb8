"""RFC 9110 section 14: every shape of Range, and the ones made to hurt."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiostreams.sansio.ranges import (
    MAX_RANGES,
    ByteRange,
    select_ranges,
    unsatisfied_content_range,
)

DATA = bytes(range(100))


def sliced(value: str | None, size: int = 100) -> list[tuple[int, int]] | None:
    """First and last position of each range, as a Content-Range tells them."""
    ranges = select_ranges(value, size)
    if ranges is None:
        return None
    return [(one.start, one.stop - 1) for one in ranges]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        # int-range
        ("bytes=0-0", [(0, 0)]),
        ("bytes=0-99", [(0, 99)]),
        ("bytes=10-19", [(10, 19)]),
        ("bytes=99-99", [(99, 99)]),
        ("bytes=90-100", [(90, 99)]),
        ("bytes=90-99999", [(90, 99)]),
        ("bytes=0090-00095", [(90, 95)]),
        # open
        ("bytes=0-", [(0, 99)]),
        ("bytes=99-", [(99, 99)]),
        # suffix
        ("bytes=-1", [(99, 99)]),
        ("bytes=-100", [(0, 99)]),
        ("bytes=-101", [(0, 99)]),
        ("bytes=-99999", [(0, 99)]),
        ("bytes=-007", [(93, 99)]),
        # not satisfiable
        ("bytes=-0", []),
        ("bytes=-000", []),
        ("bytes=100-", []),
        ("bytes=100-100", []),
        ("bytes=100-200", []),
        ("bytes=100-, -0, 500-600", []),
        # several
        ("bytes=0-0,-1", [(0, 0), (99, 99)]),
        ("bytes=50-59, 0-9", [(50, 59), (0, 9)]),
        ("bytes=0-9,200-300,10-19", [(0, 9), (10, 19)]),
        ("bytes=0-9,200-300", [(0, 9)]),
        ("bytes= 0-9 ,\t,, 20-29 ,", [(0, 9), (20, 29)]),
        ("bytes=0-49,50-99", [(0, 49), (50, 99)]),
        # neighbours do not overlap, however many
        ("bytes=0-9,10-19,20-29,30-39", [(0, 9), (10, 19), (20, 29), (30, 39)]),
        # two may overlap
        ("bytes=0-19,10-29", [(0, 19), (10, 29)]),
        ("bytes=10-29,0-19", [(10, 29), (0, 19)]),
        ("bytes=5-5,5-5", [(5, 5), (5, 5)]),
        ("bytes=0-19,10-29,40-49", [(0, 19), (10, 29), (40, 49)]),
        # unit
        ("Bytes=0-0", [(0, 0)]),
        ("BYTES=0-0", [(0, 0)]),
        ("items=0-0", None),
        ("none", None),
        ("byte=0-0", None),
        ("bytess=0-0", None),
        ("bytes =0-0", None),
        ("", None),
        # huge numbers
        (f"bytes=0-{10**18}", [(0, 99)]),
        (f"bytes=0-{10**30}", [(0, 99)]),
        (f"bytes=0-{'9' * 5000}", [(0, 99)]),
        (f"bytes={'0' * 5000}5-{'0' * 6000}6", [(5, 6)]),
        (f"bytes={'9' * 5000}-", []),
        (f"bytes={'9' * 5000}-{'9' * 5001}", []),
        (f"bytes={'9' * 5001}-{'9' * 5000}", None),
        (f"bytes=2{'0' * 30}-1{'0' * 30}", None),
        (f"bytes=-{'9' * 5000}", [(0, 99)]),
        ("bytes=18446744073709551616-18446744073709551617", []),
        ("bytes=0-18446744073709551615", [(0, 99)]),
        # malformed: one bad member spoils all
        ("bytes", None),
        ("bytes=", None),
        ("bytes=,", None),
        ("bytes=-", None),
        ("bytes=--1", None),
        ("bytes=5", None),
        ("bytes=a-b", None),
        ("bytes=0-9-", None),
        ("bytes=0-9,", [(0, 9)]),
        ("bytes=0-9,x", None),
        ("bytes=x,0-9", None),
        ("bytes=200-300,x", None),
        ("bytes=9-0", None),
        ("bytes=5-4", None),
        ("bytes=0-9,5-4", None),
        ("bytes=300-200", None),
        ("bytes=0 - 9", None),
        ("bytes=0-9;q=1", None),
        ("bytes=+0-9", None),
        ("bytes=0-+9", None),
        ("bytes=0x0-0x9", None),
        ("bytes=1_0-2_0", None),
        ("bytes=1e1-", None),
        ("bytes=1.0-", None),
        ("bytes==0-9", None),
        ("bytes=0-9\n", None),
        ("bytes=\u00a00-9", None),
        ("bytes=0-9, bytes=20-29", None),
        # digits that are not ASCII
        ("bytes=\u0660-\u0669", None),
        ("bytes=0-\u0669", None),
        ("bytes=\uff10-", None),
        ("bytes=-\u00b2", None),
    ],
)
def test_select_ranges_when_given(
    value: str | None, expected: list[tuple[int, int]] | None
) -> None:
    assert sliced(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        # more than the whole
        "bytes=0-99,0-0",
        "bytes=0-,0-",
        "bytes=0-59,40-99",
        "bytes=-60,0-59",
        # three or more that overlap
        "bytes=5-5,5-5,5-5",
        "bytes=0-9,5-14,10-19",
        "bytes=0-19,1-2,4-5",
        "bytes=1-2,4-5,0-19",
        "bytes=0-9,0-9,20-29,20-29",
        "bytes=0-," + ",".join(f"5-{n}" for n in range(50)),  # CVE-2011-3192
    ],
)
def test_select_ranges_when_amplifying(value: str) -> None:
    assert sliced(value) is None


def test_select_ranges_when_count_is_at_the_cap() -> None:
    """100 small ranges are served, 101 are not, whatever they are."""
    specs = [f"{2 * n}-{2 * n}" for n in range(MAX_RANGES + 1)]
    at_cap = select_ranges("bytes=" + ",".join(specs[:-1]), 10_000)
    assert at_cap is not None
    assert len(at_cap) == MAX_RANGES == 100
    assert select_ranges("bytes=" + ",".join(specs), 10_000) is None
    assert select_ranges("bytes=" + "9999999-," * 200, 10_000) is None
    assert select_ranges("bytes=0-0" + "," * 200, 10_000) is None


@pytest.mark.parametrize("size", [0, -1])
@pytest.mark.parametrize(
    "value", ["bytes=0-", "bytes=0-0", "bytes=-5", "bytes=5-", "x"]
)
def test_select_ranges_when_representation_is_empty(value: str, size: int) -> None:
    assert select_ranges(value, size) is None


@pytest.mark.parametrize(
    ("value", "expected"), [("bytes=0-0", [(0, 0)]), ("bytes=-5", [(0, 0)])]
)
def test_select_ranges_when_representation_is_one_byte(
    value: str, expected: list[tuple[int, int]]
) -> None:
    assert sliced(value, 1) == expected
    assert sliced("bytes=1-", 1) == []


positions = st.integers(0, 130)
specs = st.one_of(
    st.tuples(positions, positions).map(lambda pair: f"{min(pair)}-{max(pair)}"),
    positions.map("{}-".format),
    positions.map("-{}".format),
)


@given(st.lists(specs, min_size=1, max_size=4))
def test_select_ranges_when_any_set_agrees_with_slicing(members: list[str]) -> None:
    """Byte for byte what Python's slices give, or a documented reason to ignore."""
    wanted = []
    for member in members:
        first, _, last = member.partition("-")
        if not first:
            wanted.append(DATA[-int(last) :] if int(last) else b"")
        else:
            wanted.append(DATA[int(first) : int(last) + 1 if last else None])
    wanted = [one for one in wanted if one]
    ranges = select_ranges("bytes=" + ",".join(members), len(DATA))
    if ranges is not None:
        assert [DATA[one.start : one.stop] for one in ranges] == wanted
    else:
        sets = [set(one) for one in wanted]  # DATA's bytes are all different
        overlapping = [
            one
            for number, one in enumerate(sets)
            if any(one & other for n, other in enumerate(sets) if n != number)
        ]
        assert sum(map(len, wanted)) > len(DATA) or len(overlapping) > 2


@given(st.text() | st.text(alphabet="bytes=-,0123456789 \t").map("bytes={}".format))
def test_select_ranges_when_fed_anything_never_raises(value: str) -> None:
    for size in (0, 1, 50, 10**18):
        ranges = select_ranges(value, size) or ()
        assert sum(one.length for one in ranges) <= size
        assert all(one.stop <= size for one in ranges)


@pytest.mark.parametrize(
    "unit", ["0-0,", ",", "-", "0", "9", "0-,", " ", " ,", "-1,", "00000000000-", "\t0"]
)
def test_select_ranges_time_when_header_is_hostile(unit: str) -> None:
    def cpu(size: int) -> float:
        value = "bytes=" + (unit * size)[:size]
        best = 1.0
        for _ in range(3):
            start = time.process_time()
            select_ranges(value, 10**12)
            best = min(best, time.process_time() - start)
        return best

    assert cpu(64 * 1024) < 9 * cpu(16 * 1024) + 0.002


def test_byte_range_when_told_as_content_range() -> None:
    one = ByteRange(10, 5)
    assert one.stop == 15
    assert one.content_range(100) == "bytes 10-14/100"
    assert one.content_range(15) == "bytes 10-14/15"
    assert one.content_range(None) == "bytes 10-14/*"
    assert unsatisfied_content_range(100) == "bytes */100"
    with pytest.raises(ValueError, match="ends at 15, behind 14 bytes"):
        one.content_range(14)


def test_byte_range_when_someone_would_change_it() -> None:
    one = ByteRange(0, 1)
    with pytest.raises(AttributeError):
        one.start = 5  # type: ignore[misc]
    assert not hasattr(one, "__dict__")


@pytest.mark.parametrize(("start", "length"), [(-1, 1), (0, 0), (5, -1)])
def test_byte_range_when_there_is_none(start: int, length: int) -> None:
    with pytest.raises(ValueError, match="no range has"):
        ByteRange(start, length)
