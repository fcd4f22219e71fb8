"""Structured fields: what is an Integer or a Boolean, and what is none (RFC 9651)."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiostreams.sansio.structured import (
    MAX_INTEGER,
    format_boolean,
    format_integers,
    parse_boolean,
    parse_integer,
)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("0", 0),
        ("1", 1),
        (" 42 ", 42),
        ("007", 7),
        ("-0", 0),
        ("999999999999999", MAX_INTEGER),
        ("5;a", 5),
        ('5;a=1;b=?0; c="x\\"y";d=tok/en;e=:AA==:;f=1.5;g=@1;h=%"%c3%a9"', 5),
    ],
)  # fmt: skip
def test_integer(value: str, number: int) -> None:
    assert parse_integer(value) == number
    assert parse_integer([value]) == number


@pytest.mark.parametrize(
    "value",
    [
        "", " ", "-1", "+1", "1.0", "1.", ".5", "1e3", "0x10", "1 2", "1,2", "1;", "1;A",
        "1;a=", "1;a=é", "1000000000000000", "?1", '"1"', "one", ":MQ==:", "@1", "\t1",
        "\u0661", "1\u00a0", "(1)", "1\n", '1;a="',
    ],
)  # fmt: skip
def test_no_integer_is_none(value: str) -> None:
    assert parse_integer(value) is None


def test_absent_and_repeated_fields_are_none() -> None:
    """Two lines are a list, which is no item."""
    assert parse_integer(None) is None
    assert parse_integer([]) is None
    assert parse_integer(["1", "1"]) is None
    assert parse_boolean(["?1", "?1"]) is None
    assert parse_boolean(None) is None


@pytest.mark.parametrize(
    ("value", "meant"),
    [("?1", True), ("?0", False), (" ?1 ", True), ("?0;q=1", False)],
)
def test_boolean(value: str, meant: bool) -> None:
    assert parse_boolean(value) is meant
    assert parse_boolean(format_boolean(meant)) is meant


@pytest.mark.parametrize(
    "value", ["", "1", "0", "true", "?2", "? 1", "?", "?1?0", "?1;", "\t?1", "?\u0661"]
)
def test_no_boolean_is_none(value: str) -> None:
    assert parse_boolean(value) is None


@given(st.text(max_size=40))
def test_anything_is_read_or_ignored(value: str) -> None:
    number = parse_integer(value)
    assert number is None or 0 <= number <= MAX_INTEGER
    assert parse_boolean(value) in {None, True, False}


def test_a_hostile_field_takes_linear_time() -> None:
    begun = time.process_time()
    for text in ("1" + ";a=1" * 20_000 + "!", "1;" + " " * 80_000, "1" + ";a" * 40_000):
        assert parse_integer(text + ",") is None
    assert time.process_time() - begun < 1


def test_dictionary_of_integers() -> None:
    assert format_integers({}) == ""
    assert format_integers({"max-size": 5, "max-age": 0}) == "max-size=5, max-age=0"
    assert format_integers({"max-size": 10**18}) == f"max-size={MAX_INTEGER}"
