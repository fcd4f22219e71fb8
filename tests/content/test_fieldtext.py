"""Text to values: lenient where inputs are, and nowhere else."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import math
import uuid
from typing import Annotated, Any, Literal, NewType, Union

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiostreams.content.fieldtext import check_of, field_text, peel, union_of

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


class Odd(enum.Enum):
    A = 1.5


class TypeAliasType:
    """As ``type X = Annotated[Age, 3]`` makes one from Python 3.12 on."""

    __value__ = Annotated[Age, 3]


def read(kind: Any, text: str) -> Any:
    reader = field_text(kind)
    assert reader is not None
    return reader.read(text)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (str, "", ""),
        (str, " a ", " a "),
        (Any, "a", "a"),
        (object, "a", "a"),
        (int, "42", 42),
        (int, " -42\n", -42),
        (int, "+007", 7),
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
        (Literal["a", 1, True], "a", "a"),
        (Literal["a", 1, 2], "2", 2),
        (Literal[True], "true", True),
        (int | str, "42", 42),
        (str | int, "42", 42),
        (str | int, "x", "x"),
        (Union[int, float], "1.5", 1.5),  # noqa: UP007 - another class until 3.14
    ],
)
def test_a_text_becomes_a_value(kind: Any, text: str, value: Any) -> None:
    made = read(kind, text)
    assert made == value
    assert type(made) is type(value)


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        (int, "1_000", "not a valid int"),
        (int, "1.0", "not a valid int"),
        (int, "0x10", "not a valid int"),
        (int, "\u0661", "not a valid int"),
        (int, "9" * 5000, "not a valid int"),
        (int, "", "not a valid int"),
        (float, "nan", "not a valid float"),
        (float, "inf", "not a valid float"),
        (float, "1e999", "too large for a float"),
        (float, "-1e999", "too large for a float"),
        (float, "1e99999", "not a valid float"),
        (float, ".", "not a valid float"),
        (decimal.Decimal, "1e99999", "not a valid decimal"),
        (decimal.Decimal, "sNaN", "not a valid decimal"),
        (bool, "", "not a valid bool"),
        (bool, "maybe", "not a valid bool"),
        (dt.date, "31.1.2026", "not a valid date"),
        (dt.date, "2026-02-31", "not a valid date"),
        (dt.time, "8:30", "not a valid time"),
        (dt.time, "25:30", "not a valid time"),
        (dt.datetime, "2026-01-31", "not a valid datetime"),
        (uuid.UUID, "1234", "not a valid UUID"),
        (Color, "green", "expected one of 'red', 'blue'"),
        (Level, "3", "expected one of '1', '2'"),
        (Literal["a", 1], "b", "expected one of 'a', '1'"),
        (int | float, "x", "not a valid int; not a valid float"),
    ],
)
def test_what_does_not_fit_is_said_without_repeating_it(
    kind: Any, text: str, message: str
) -> None:
    with pytest.raises(ValueError) as caught:
        read(kind, text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "kind",
    [dict, list[int], None, int | None, int | list[int], int | dict[str, int], bytes],
)
def test_what_no_text_can_say_is_left_to_others(kind: Any) -> None:
    assert field_text(kind) is None


@pytest.mark.parametrize("kind", [Odd, Literal[b"a"]])
def test_choices_without_a_text_are_an_error(kind: Any) -> None:
    with pytest.raises(TypeError, match="no text of a form can name"):
        field_text(kind)


def test_an_empty_text_is_a_value_of_some_types() -> None:
    assert [
        reader.empty
        for kind in (str, int, Lax, Color, Literal["", "a"], int | str, int | float)
        if (reader := field_text(kind)) is not None
    ] == [True, False, True, False, True, True, False]


def test_other_annotations_are_no_constraints() -> None:
    assert check_of(int, ["documented"]) is None


def test_peel_and_union() -> None:
    assert peel(Annotated[Annotated[Age, 1], 2]) == (int, [1, 2])
    assert peel(TypeAliasType()) == (int, [3])
    assert union_of(int | None) == ([int], True)
    assert union_of(int | str) == ([int, str], False)
    assert union_of(int) == ([int], False)


@given(
    st.sampled_from(
        [int, float, decimal.Decimal, bool, dt.date, dt.time, dt.datetime, uuid.UUID,
         Color, Level, Lax, int | float | bool, Literal["a", 1]]
    ),
    st.text(alphabet="0123456789+-.:eETZ/_ \t\u0661naifx", max_size=40) | st.text(),
)  # fmt: skip
def test_no_text_makes_it_fail_otherwise(kind: Any, text: str) -> None:
    try:
        made = read(kind, text)
    except ValueError:
        return
    assert not isinstance(made, float) or math.isfinite(made)


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False))
def test_what_python_writes_is_read(number: float) -> None:
    if len(str(number)) < 1000:
        assert read(type(number), str(number)) == number
