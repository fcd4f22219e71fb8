"""Texts to values: lenient where inputs are, alike in both libraries."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import math
import uuid
from typing import Annotated, Any, Literal, NewType, Union

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("msgspec", reason="needs the extra msgspec")
pytest.importorskip("pydantic", reason="needs the extra pydantic")

import pydantic

from aiostreams import InvalidContent
from aiostreams.content.fieldtext import Shape, is_blank, prepared, shape_of
from aiostreams.content.models import model_of

Age = NewType("Age", int)


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Lax(enum.Enum):
    NONE = ""
    ONE = "one"

    @classmethod
    def _missing_(cls, value: object) -> Lax | None:
        return cls.ONE if str(value).lower() == "one" else None


class TypeAliasType:
    """As ``type X = Annotated[Age, 3]`` makes one from Python 3.12 on."""

    __value__ = Annotated[Age, 3]


def of_msgspec(kind: Any) -> Any:
    return dataclasses.make_dataclass("Model", [("a", kind)])


def of_pydantic(kind: Any) -> Any:
    return pydantic.create_model("Model", a=(kind, ...))


LIBRARIES = [of_msgspec, of_pydantic]


def read(make: Any, kind: Any, text: str) -> Any:
    """What a model's member of that type is for that text."""
    ready = prepared(text, shape_of(kind))
    return model_of(make(kind)).fill({"a": ready}, {"a"}).a


@pytest.mark.parametrize("make", LIBRARIES)
@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (str, "", ""),
        (str, " a ", " a "),
        (Any, "a", "a"),
        (int, "42", 42),
        (int, " -42\n", -42),
        (int, "+007", 7),
        (int, "0", 0),
        (Age, "7", 7),
        (Annotated[int, "documented"], "7", 7),
        (float, "1", 1.0),
        (float, "1.5", 1.5),
        (float, "1.", 1.0),
        (float, ".5", 0.5),
        (float, "-1e3", -1000.0),
        (decimal.Decimal, "1.10", decimal.Decimal("1.10")),
        (decimal.Decimal, "1e9999", decimal.Decimal("1e9999")),
        (bool, "on", True),
        (bool, "TRUE", True),
        (bool, " 1 ", True),
        (bool, "yes", True),
        (bool, "off", False),
        (bool, "False", False),
        (bool, "0", False),
        (bool, "no", False),
        (dt.date, "2026-01-31", dt.date(2026, 1, 31)),
        (dt.time, "08:30", dt.time(8, 30)),
        (dt.time, "08:30:15.5", dt.time(8, 30, 15, 500000)),
        (dt.datetime, "2026-01-31T08:30", dt.datetime(2026, 1, 31, 8, 30)),
        (
            dt.datetime,
            " 2026-01-31 08:30:01Z",
            dt.datetime(2026, 1, 31, 8, 30, 1, tzinfo=dt.UTC),
        ),
        (
            uuid.UUID,
            "12345678-1234-5678-1234-567812345678",
            uuid.UUID("12345678123456781234567812345678"),
        ),
        (Color, "red", Color.RED),
        (Level, "2", Level.HIGH),
        (Lax, "ONE", Lax.ONE),
        (Lax, "", Lax.NONE),
        (Literal["a", "b"], "a", "a"),
        (str | None, "null", "null"),
        (int | None, "7", 7),
        (str | int, "x", "x"),
        (Union[int, float], "1.5", 1.5),  # noqa: UP007 - another class until 3.14
    ],
)
def test_a_text_becomes_a_value(make: Any, kind: Any, text: str, value: Any) -> None:
    made = read(make, kind, text)
    assert made == value
    assert isinstance(made, type(value))


@pytest.mark.parametrize("make", LIBRARIES)
@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (int, "1.5"),
        (int, "0x10"),
        (int, "\u0661"),
        (int, ""),
        (float, "."),
        (float, "one"),
        (decimal.Decimal, "one"),
        (bool, ""),
        (bool, "maybe"),
        (dt.date, "31.1.2026"),
        (dt.date, "2026-02-31"),
        (dt.time, "8:30"),
        (dt.time, "25:30"),
        (uuid.UUID, "1234"),
        (Color, "green"),
        (Level, "3"),
        (Literal["a"], "b"),
        (int | float, "x"),
        (int | None, "null"),
    ],
)
def test_what_does_not_fit_is_refused_without_repeating_it(
    make: Any, kind: Any, text: str
) -> None:
    with pytest.raises(InvalidContent) as caught:
        read(make, kind, text)
    for pointer, detail in caught.value.errors:  # of a union, pydantic has several
        assert pointer == "#/a"
        assert len(text) < 3 or text not in detail


@pytest.mark.parametrize("kind", [float, decimal.Decimal, float | None])
@pytest.mark.parametrize("text", ["nan", " NaN", "-inf", "Infinity", "sNaN", "nan12"])
def test_what_is_no_finite_number_is_refused(kind: Any, text: str) -> None:
    with pytest.raises(ValueError, match="not a finite number"):
        prepared(text, shape_of(kind))


def test_numbers_have_an_end() -> None:
    with pytest.raises(ValueError, match="too large for a float"):
        prepared("-1e999", shape_of(float))
    with pytest.raises(ValueError, match="more than 1000 digits"):
        prepared("9" * 1001, shape_of(int))
    assert prepared("9" * 1000, shape_of(int)) == "9" * 1000


# -- shapes ----------------------------------------------------------------------------


@dataclasses.dataclass
class Point:
    x: int


@pytest.mark.parametrize(
    "kind",
    [
        dict,
        dict[str, int],
        Point,
        int | list[int],
        int | dict[str, int],
        tuple[Point, int],
        Point | None,
    ],
)
def test_what_no_text_can_say_is_json(kind: Any) -> None:
    shape = shape_of(kind)
    assert shape.is_json
    assert not shape.several


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        (list[int], Shape(frozenset({int}), False, False, several=True)),
        (set[str] | None, Shape(frozenset({str}), True, True, several=True)),
        (list, Shape(frozenset({Any}), False, True, several=True)),
        (tuple[int, str], Shape(frozenset({int, str}), False, True, several=True)),
        (list[int | float], Shape(frozenset({int, float}), False, False, several=True)),
        (
            list[Point],
            Shape(frozenset(), False, False, several=True, is_json=True, whole=True),
        ),
        (
            list[list[int]],
            Shape(frozenset(), False, False, several=True, is_json=True),
        ),
        (int | str | None, Shape(frozenset({int, str}), True, True)),
        (Annotated[Point, pydantic.Json], Shape(frozenset({object}), False, False)),
    ],
)
def test_collections_take_several_texts(kind: Any, shape: Shape) -> None:
    assert shape_of(kind) == shape


def test_an_empty_text_is_a_value_of_some_types() -> None:
    assert [
        shape_of(kind).empty
        for kind in (str, int, Lax, Color, Literal["", "a"], int | str, int | float)
    ] == [True, False, True, False, True, True, False]


def test_a_box_is_a_bool_alone() -> None:
    assert shape_of(bool).is_bool
    assert shape_of(bool | None).is_bool
    assert not shape_of(bool | int).is_bool
    assert not shape_of(list[bool]).is_bool


def test_blank_is_white_space_of_ascii() -> None:
    assert is_blank("")
    assert is_blank(" \t\r\n\f")
    assert not is_blank("\xa0")


def test_a_type_alias_is_looked_through() -> None:
    assert shape_of(TypeAliasType()) == shape_of(int)


@given(
    st.sampled_from(
        [int, float, decimal.Decimal, bool, dt.date, dt.time, dt.datetime, uuid.UUID,
         Color, Level, Lax, int | float | bool, Literal["a", "b"]]
    ),
    st.sampled_from(LIBRARIES),
    st.text(alphabet="0123456789+-.:eETZ/_ \t\u0661naifx", max_size=40) | st.text(),
)  # fmt: skip
def test_no_text_makes_it_fail_otherwise(kind: Any, make: Any, text: str) -> None:
    try:
        made = read(make, kind, text)
    except ValueError:  # InvalidContent is one
        return
    assert not isinstance(made, float) or math.isfinite(made)


@given(
    st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(LIBRARIES),
)
def test_what_python_writes_is_read(number: float, make: Any) -> None:
    if len(str(number)) < 1000:
        assert read(make, type(number), str(number)) == number
