"""JSON pieces: whatever parser comes next, values are those of the whole document."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiostreams.errors import MalformedBody
from aiostreams.sansio.jsonpieces import JSONPieces

_INTS = st.one_of(
    st.integers(),
    st.integers(-(2**200), 2**200),
    st.sampled_from([2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64, 10**18, 10**19]),
)
_VALUES: Any = st.recursive(
    st.none()
    | st.booleans()
    | _INTS
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.just('"12345678901234567890123"'),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def passed(pieces: JSONPieces, *texts: bytes) -> bytes:
    return b"".join(map(pieces.feed, texts)) + pieces.end()


def parsed(*texts: bytes) -> Any:
    """As by a parser that knows integers of 64 bits only."""

    def integer(text: str) -> int:
        value = int(text)
        assert -(2**63) <= value < 2**63
        return value

    pieces = JSONPieces()
    return pieces.restore(json.loads(passed(pieces, *texts), parse_int=integer))


@given(_VALUES, st.booleans(), st.integers(1, 40))
def test_values_come_through_however_they_are_cut(
    value: Any, escaped: bool, size: int
) -> None:
    try:
        text = json.dumps(value, ensure_ascii=escaped).encode()
    except UnicodeEncodeError:
        return
    if escaped and json.dumps(value, ensure_ascii=False).isascii() is False:
        text = json.dumps(value).encode()
    cut = [text[at : at + size] for at in range(0, len(text), size)]
    assert parsed(text) == value
    assert parsed(*cut) == value


@pytest.mark.parametrize(
    "text",
    [
        "[18446744073709551615, -18446744073709551616,9223372036854775808]",
        '{"a":{"b":[12345678901234567890123, "12345678901234567890123"]}}',
        "123456789012345678901234567890",
        "-123456789012345678901234567890",
        "[0.1234567890123456789012345, 1.5e10, 12345678901234567890123.5, 1e-5]",
        "[12345678901234567890123e2, 1E+2, -1e-5, 1e-12345678901234567890]",
        r'["\ud83d\ude00", "\\ud83d", "\u0041\u00e9\ud7ff\ue000"]',
        '["\\\\", "a\\"b", "\u00e9", "1234567890123456789012"]',
        " [ 1 , 22222222222222222222 ] ",
        "",
    ],
)
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_every_cut_of_one_text(text: str, mark: bytes) -> None:
    whole = mark + text.encode()
    if not text:
        assert passed(JSONPieces(), *(bytes([byte]) for byte in mark)) == b""
        return
    value = json.loads(text)
    for at in range(len(whole) + 1):
        assert parsed(*filter(None, (whole[:at], whole[at:]))) == value
    assert parsed(*(bytes([byte]) for byte in whole)) == value
    for size in (2, 3, 5, 7):
        cut = [whole[at : at + size] for at in range(0, len(whole), size)]
        assert parsed(*cut) == value


@pytest.mark.parametrize(
    "text",
    [
        rb'["\ud800"]',
        rb'["\uDC00"]',
        rb'["\ud800\ud800"]',
        rb'["\ud800\u0041"]',
        rb'["\ud800 \udc00"]',
        rb'["\\\ud800"]',
        rb'["\ude00\ud83d"]',
        b"[\x0c1]",
        b"[1\x0b]",
        "[\uff11]".encode(),
        "[1,\u00a02]".encode(),
        b"[" * 1001,
        b'["\\ud83d',
    ],
)
def test_what_parsers_would_take_is_refused_however_it_is_cut(text: bytes) -> None:
    for size in (len(text), 1, 2, 3, 7):
        pieces = JSONPieces()
        cut = [text[at : at + size] for at in range(0, len(text), size)]
        with pytest.raises(MalformedBody):
            passed(pieces, *cut)


@pytest.mark.parametrize("cut", [1, 1000, 100_000])
def test_an_integer_has_as_many_digits_as_python_takes(cut: int) -> None:
    most = sys.get_int_max_str_digits()
    fits = b"[" + b"9" * most + b"]"
    assert parsed(*(fits[at : at + cut] for at in range(0, len(fits), cut)))
    beyond = b"[" + b"9" * (most + 1) + b"]"
    with pytest.raises(MalformedBody, match="digits"):
        parsed(*(beyond[at : at + cut] for at in range(0, len(beyond), cut)))


def test_a_value_is_not_held_back() -> None:
    pieces = JSONPieces()
    assert pieces.feed(b'[1, "a", true') == b'[1, "a", true'
    assert pieces.feed(b", 12") == b", "
    assert pieces.feed(b"3, ") == b"123, "


def test_infinities_of_a_doubtful_parser() -> None:
    pieces = JSONPieces(doubtful=True)
    assert pieces.restore([{"a": 1.5}, 2]) == [{"a": 1.5}, 2]
    for value in (float("inf"), [{"a": [float("-inf")]}]):
        with pytest.raises(MalformedBody, match="double"):
            pieces.restore(value)


@pytest.mark.parametrize(
    "unit", [b"1", b'\\"', b"12345678901234567890,", b"\\u0041", b"-"]
)
def test_the_cost_is_linear(unit: bytes) -> None:
    def cost(size: int) -> float:
        pieces = JSONPieces()
        text = (b'["' if unit.startswith(b"\\") else b"[0.") + unit * (
            size // len(unit)
        )
        before = time.process_time()
        for at in range(0, len(text), 4096):
            pieces.feed(text[at : at + 4096])
        return time.process_time() - before

    cost(2**16)
    assert cost(2**20) < max(32 * cost(2**16), 0.5)
