"""The cutter gives the values at a path, however the text is cut, and nothing else."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiostreams import LimitExceeded, MalformedBody
from aiostreams.content import jsontext
from aiostreams.sansio.json_cutter import MAX_NESTING, JSONCutter

MiB = 2**20


def cut_up(text: bytes, size: int) -> list[bytes]:
    return [text[at : at + size] for at in range(0, len(text), size)]


def cut(path: str, *pieces: bytes, ceiling: int = MiB) -> list[Any]:
    """Places and values, as a helper would hand them out."""
    cutter = JSONCutter(path, jsontext.parse, ceiling=ceiling)
    return [
        (place, jsontext.parse(text))
        for piece in (*filter(None, pieces), b"")
        for place, text in cutter.feed(piece)
    ]


def walked(value: Any, path: str) -> Iterator[Any]:
    """The same, out of the whole value: what the path means."""
    members = path == "*" or path.endswith(".*")
    target = path[:-1].removesuffix(".") if members else path

    def walk(value: Any, prefix: str | None, place: tuple[str | int, ...]) -> Any:
        if (prefix or "") == target:
            if not members:
                yield place, value
                return
            if isinstance(value, dict):
                yield from (((*place, name), item) for name, item in value.items())
                return
        if isinstance(value, dict):
            for name, item in value.items():
                inner = name if prefix is None else f"{prefix}.{name}"
                yield from walk(item, inner, (*place, name))
        elif isinstance(value, list):
            inner = "item" if prefix is None else f"{prefix}.item"
            for index, item in enumerate(value):
                yield from walk(item, inner, (*place, index))

    return walk(value, None, ())  # type: ignore[no-any-return]


# Names that collide with steps of a path, and what has to be escaped.
NAMES = st.sampled_from(["a", "b", "item", "a.b", "*", "é", '"', "\\", "x" * 20])
ATOMS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**200), 2**200)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(alphabet='[]{}"\\,: \na€😀', max_size=6)
)
VALUES: Any = st.recursive(
    ATOMS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4)
    ),
    max_leaves=25,
)
PATHS = st.lists(
    st.sampled_from(["a", "b", "item", "a.b"]), min_size=0, max_size=3
).flatmap(lambda steps: st.sampled_from([".".join(steps), ".".join([*steps, "*"])]))


@given(VALUES, PATHS, st.booleans(), st.sampled_from([None, 1]), st.integers(1, 40))
def test_values_are_those_of_the_whole_document(
    value: Any, path: str, escape: bool, indent: int | None, size: int
) -> None:
    text = json.dumps(value, ensure_ascii=escape, indent=indent).encode()
    expected = list(walked(value, path))
    assert cut(path, text) == expected
    assert cut(path, *cut_up(text, size)) == expected


DOCUMENT = (
    '\ufeff {"rows": [{"id": 1, "x": [[[[{"y": "]}"}]]]]}, "two\\"\\\\", null, -1.5e3,'
    ' true , [ ] , {} ], "more": {"a": [1], "b": "\\ud83d\\ude00"}, "é": 18446744073709'
    "551616} \r\n"
).encode()


@pytest.mark.parametrize(
    "path", ["", "*", "rows.item", "rows.item.x.item", "rows.item.*", "more.*", "none"]
)
def test_every_cut_of_one_text(path: str) -> None:
    expected = list(walked(json.loads(DOCUMENT.decode("utf-8-sig")), path))
    for at in range(len(DOCUMENT) + 1):
        assert cut(path, DOCUMENT[:at], DOCUMENT[at:]) == expected
    for size in (1, 2, 3, 5, 7):
        assert cut(path, *cut_up(DOCUMENT, size)) == expected


@pytest.mark.parametrize("text", ["1", "-0.5", '"x"', "true", "[]", "{}", " 12 "])
def test_a_document_that_is_one_value(text: str) -> None:
    data = text.encode()
    for size in (1, 99):
        assert cut("", *cut_up(data, size)) == [((), json.loads(text))]
        assert cut("item", *cut_up(data, size)) == []


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" ",
        b"\xef\xbb",
        b"\xef\xbb\xbf",
        b"[",
        b"[1",
        b"[1,",
        b"[1,]",
        b"[,1]",
        b"[1 2]",
        b"[1]]",
        b"[1] 2",
        b"[1}",
        b"[[1}]",
        b'["a',
        b'["a\\',
        b'["\\"]',
        b"{",
        b'{"a"',
        b'{"a":',
        b'{"a":}',
        b'{"a":1',
        b'{"a":1,}',
        b'{"a":1 "b":2}',
        b'{"a" 1}',
        b"{1:2}",
        b'{"a":1]',
        b'{"a\x00":1}',
        b'{"\\ud800":1}',
        b"[tru]",
        b"[\xff]",
        b'["\xff"]',
        b"[\x0c1]",
        b"\xc2\xa0[1]",
        b"]",
        b"nul",
    ],
)
@pytest.mark.parametrize("path", ["", "*", "item", "a", "b.item"])
def test_what_is_not_json_is_refused_however_it_is_cut(text: bytes, path: str) -> None:
    for size in (1, 2, 3, 99):
        with pytest.raises(MalformedBody):
            cut(path, *cut_up(text, size))


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


@pytest.mark.parametrize("path", ["", "item", "item.item.item", "b"])
@pytest.mark.parametrize("size", [1, 7, 9999])
def test_the_bound_of_the_nesting_is_exact(path: str, size: int) -> None:
    def cut_only(text: bytes) -> None:
        # Without the parser, which has a bound of its own.
        cutter = JSONCutter(path, lambda text: text, ceiling=MiB)
        for piece in (*cut_up(text, size), b""):
            list(cutter.feed(piece))

    cut_only(nested(MAX_NESTING))
    for text in (nested(MAX_NESTING + 1), b"[" * 5000, b'{"a":' * 5000):
        with pytest.raises(MalformedBody, match="deeper than 1000"):
            cut_only(text)


@pytest.mark.parametrize("path", ["item", "a"])
@pytest.mark.parametrize("size", [1, 10, 99])
def test_a_value_of_n_bytes_passes_and_one_of_n_and_1_does_not(
    path: str, size: int
) -> None:
    def text(value: bytes) -> list[bytes]:
        return cut_up(b"[1, " + value + b" ,2]", size)

    for begin, end in ((b'"', b'"'), (b"[[[[[", b"]]]]]"), (b'{"a":"', b'"}')):
        fits = begin + b"1" * (30 - len(begin + end)) + end
        cut(path, *text(fits), ceiling=30)
        with pytest.raises(LimitExceeded, match="at least 31 bytes, limit 30"):
            cut(path, *text(b"1".join((fits[:15], fits[15:]))), ceiling=30)


def test_a_value_is_given_as_soon_as_it_is_complete() -> None:
    cutter = JSONCutter("item", jsontext.parse, ceiling=MiB)
    found = [
        [text for _, text in cutter.feed(piece)]
        for piece in (b'[1, "a"', b', {"b"', b": 2}", b", 12", b"3 ", b"]", b"")
    ]
    # Only its end tells a number.
    assert found == [[b"1", b'"a"'], [], [b'{"b": 2}'], [], [b"123"], [], []]


def test_what_came_before_an_error_is_given_before_it() -> None:
    cutter = JSONCutter("item", jsontext.parse, ceiling=MiB)
    values = cutter.feed(b"[1, 2, 3 4]")
    assert [next(values)[1] for _ in range(3)] == [b"1", b"2", b"3"]
    with pytest.raises(MalformedBody, match="without a comma"):
        next(values)


def test_what_was_passed_by_is_not_held() -> None:
    cutter = JSONCutter("last.item", jsontext.parse, ceiling=100)
    held = []
    for number in range(1000):
        piece = b'%b "x%d": [1, 2, 3]%b' % (b" " if number else b"{", number, b"," * 1)
        assert list(cutter.feed(piece + b" " * 100)) == []
        held.append(len(cutter._data))
    assert max(held) < 500


@pytest.mark.parametrize("piece", [4096, 7])
@pytest.mark.parametrize(
    "unit",
    [
        b"1",
        b'\\"',
        b'"",',
        b"[",
        b"[],",
        b"{},",
        b'{"a":[[[[1]]]]},',
        b" ",
        b"[[",
        b"{",
    ],
)
@pytest.mark.parametrize("begin", [b"[", b'["', b"[[", b'{"a":['])
def test_the_cost_is_linear(begin: bytes, unit: bytes, piece: int) -> None:
    def cost(size: int) -> float:
        cutter = JSONCutter("item", lambda text: text, ceiling=2**30)
        text = begin + unit * (size // len(unit))
        before = time.process_time()
        try:
            for part in cut_up(text, piece):
                for _ in cutter.feed(part):
                    pass
        except MalformedBody:
            pass
        return time.process_time() - before

    small = 2**13 if piece < 100 else 2**16
    cost(small)
    assert cost(16 * small) < max(32 * cost(small), 0.5)
