"""Nodes one by one; their agreement with msgspec is tested with the Schema."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import uuid
from typing import Any

import pytest

from aiostreams.content.node import (
    SIMPLE,
    WRONG,
    Enough,
    Errors,
    Node,
    apply,
    enum_node,
    literal_node,
)


class Color(enum.Enum):
    RED = "red"


def run(node: Node, value: object) -> Any:
    """The converted value, or the message."""
    errors = Errors(1)
    made = apply(node, value, None, errors)
    assert (made is WRONG) == bool(errors.messages)
    return errors.messages[0] if errors.messages else made


@pytest.mark.parametrize(
    ("kind", "value", "made"),
    [
        (None, None, None),
        (bool, True, True),
        (int, 3, 3),
        (int, True, "$: expected int, got bool"),
        (int, 1.0, "$: expected int, got float"),
        (float, 3, 3.0),
        (float, 10**400, "$: an integer too large for a float"),
        (str, {}, "$: expected str, got object"),
        (str, [], "$: expected str, got array"),
        (str, None, "$: expected str, got null"),
        (uuid.UUID, "0" * 32, uuid.UUID(int=0)),
        (uuid.UUID, "{" + "0" * 32 + "}", "$: not a valid UUID"),
        (dt.date, "2026-01-31", dt.date(2026, 1, 31)),
        (dt.date, "2026-02-30", "$: not a valid date"),
        (dt.time, "01:02:03.9999999", dt.time(1, 2, 4)),
        (dt.time, "01:02:03.5", dt.time(1, 2, 3, 500_000)),
        (
            dt.datetime,
            "2026-01-31 01:02:03.0000005",
            dt.datetime(2026, 1, 31, 1, 2, 3, 1),
        ),
        (dt.datetime, "9999-12-31T23:59:59.9999999", "$: not a valid datetime"),
        (decimal.Decimal, "1.10", decimal.Decimal("1.10")),
        (decimal.Decimal, "x", "$: not a valid decimal"),
    ],
)
def test_simple_types(kind: Any, value: object, made: object) -> None:
    assert run(SIMPLE[kind], value) == made


def test_literals_are_compared_with_their_type() -> None:
    node = literal_node((1, "a", None))
    assert run(node, 1) == 1
    assert run(node, "a") == "a"
    assert run(node, None) is None
    assert run(node, True) == "$: expected Literal, got bool"
    assert run(node, 2) == "$: expected one of 1, 'a', None"
    with pytest.raises(TypeError):
        literal_node((b"x",))


def test_enums_are_found_by_value() -> None:
    assert run(enum_node(Color), "red") is Color.RED
    assert run(enum_node(Color), "RED") == "$: expected one of 'red'"
    with pytest.raises(TypeError):
        enum_node(enum.Enum("Odd", {"A": 1.5}))  # type: ignore[arg-type]


def test_paths_name_members_and_items_but_no_key_of_the_client() -> None:
    errors = Errors(5)
    errors.add((((None, "items"), 3), "price"), "wrong")
    errors.add(((None, None), "a"), "wrong")
    assert errors.messages == ["$.items[3].price: wrong", "$[...].a: wrong"]


def test_errors_stop_when_there_are_enough() -> None:
    errors = Errors(2)
    errors.add(None, "one")
    errors.add(None, "two")
    with pytest.raises(Enough):
        errors.add(None, "three")
    assert errors.messages == ["$: one", "$: two", "and more"]
