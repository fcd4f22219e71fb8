"""The gauge tells exactly when JSON text nests too deeply, however it is cut."""

from __future__ import annotations

import json
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiostreams.errors import MalformedBody
from aiostreams.sansio.jsonpieces import NestingGauge


def too_deep(text: bytes, limit: int, *cuts: int) -> bool:
    gauge = NestingGauge(limit)
    places = [0, *sorted(cuts), len(text)]
    try:
        for start, end in pairwise(places):
            gauge.feed(text[start:end])
    except MalformedBody:
        return True
    return False


def depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


TEXT = st.text(alphabet='[]{}"\\a\n€', max_size=6)
VALUES = st.recursive(
    TEXT | st.integers() | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3)
    ),
    max_leaves=15,
)


@given(VALUES, st.booleans())
def test_the_limit_is_exact_at_every_cut(value: object, escape: bool) -> None:
    text = json.dumps(value, ensure_ascii=escape).encode()
    deepest = depth(value)
    for cut in range(len(text) + 1):
        assert not too_deep(text, deepest, cut)
        if deepest:
            assert too_deep(text, deepest - 1, cut)
    assert not too_deep(text, deepest, *range(len(text)), *range(len(text)))


def test_a_bomb_is_refused_at_the_limit() -> None:
    assert not too_deep(b"[" * 1000, 1000)
    assert too_deep(b"[" * 1001, 1000)
    assert too_deep(b'{"a":' * 1001, 1000, 17, 900)


@pytest.mark.parametrize("text", [b"]]]]}}", b'"never ends [[[', b'\\"[[', b'"\\'])
def test_what_is_not_json_is_left_to_the_parser(text: bytes) -> None:
    for cut in range(len(text)):
        assert not too_deep(text, 3, cut)


@pytest.mark.parametrize("unit", [b'"', b"\\", b'"\\', b'\\"', b'"[', b"a"])
def test_time_is_linear(unit: bytes) -> None:
    def cost(size: int) -> float:
        gauge = NestingGauge(10**9)
        text = (unit * size)[:size]
        before = time.process_time()
        for start in range(0, size, 65536):
            gauge.feed(text[start : start + 65536])
        return time.process_time() - before

    cost(2**16)
    assert cost(2**19) < max(16 * cost(2**16), 0.2)
