"""Validation without msgspec, and beside it: where both know a type, they agree."""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime as dt
import decimal
import enum
import json
import uuid
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Optional,
    Required,
    TypedDict,
    TypeVar,
    Union,
)

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiostreams.content.schema import Schema
from aiostreams.errors import InvalidContent, MalformedBody

T = TypeVar("T")


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Odd(enum.Enum):
    A = 1.5


class Item(TypedDict):
    name: str
    price: NotRequired[float]


class Sparse(TypedDict, total=False):
    a: Required[int]
    b: Annotated[int, "documented"]


@dataclasses.dataclass
class Tree:
    value: int
    children: list[Tree] = dataclasses.field(default_factory=list)
    parent: Tree | None = None


@dataclasses.dataclass(frozen=True)
class Positive:
    n: int
    twice: int = dataclasses.field(init=False, default=0)

    def __post_init__(self) -> None:
        if self.n <= 0:
            raise ValueError("n must be positive")


@dataclasses.dataclass
class Everything:
    color: Color
    level: Level
    item: Item
    when: dt.datetime
    day: dt.date
    at: dt.time
    id: uuid.UUID
    amount: decimal.Decimal
    kind: Literal["a", 1, None]  # noqa: PYI061 - null among the literals is tested
    anything: Any
    union: int | str | list[int]
    numbers: tuple[int, float]
    many: tuple[str, ...]
    names: set[str]
    frozen: frozenset[int]
    table: dict[str, list[Item]]
    positive: Positive
    flag: bool
    none: None = None
    maybe: Item | None = None


@dataclasses.dataclass
class Init:
    a: dataclasses.InitVar[int]


@dataclasses.dataclass
class Box(Generic[T]):
    content: T


class Pair(NamedTuple):
    x: int


Name = NewType("Name", str)

GOOD = {
    "color": "red",
    "level": 2,
    "item": {"name": "x", "price": 1, "unknown": 3},
    "when": "2026-01-31T10:20:30.5+02:00",
    "day": "2026-01-31",
    "at": "10:20:30",
    "id": "00000000-0000-0000-0000-000000000001",
    "amount": "1.10",
    "kind": None,
    "anything": {"a": [1]},
    "union": [1, 2],
    "numbers": [1, 2],
    "many": ["a", "b"],
    "names": ["a", "b", "a"],
    "frozen": [1, 1],
    "table": {"a": [{"name": "y"}]},
    "positive": {"n": 1},
    "flag": True,
}


def test_a_whole_record() -> None:
    made = Schema(Everything).validate(GOOD)
    assert made.item == {"name": "x", "price": 1.0}
    assert type(made.item["price"]) is float
    assert made.numbers == (1, 2.0)
    assert made.names == {"a", "b"}


def test_msgspec_makes_the_same_of_a_whole_record() -> None:
    msgspec = pytest.importorskip("msgspec", reason="needs the extra msgspec")
    made = Schema(Everything).validate(GOOD)
    assert made == msgspec.convert(GOOD, Everything)


def test_every_error_is_named_with_its_path() -> None:
    """msgspec alone stops at the first."""
    bad = GOOD | {
        "color": "green",
        "level": True,
        "item": {"price": "1"},
        "day": "31.1.2026",
        "kind": 1.0,
        "union": 1.5,
        "numbers": [1],
        "many": ["a", 2],
        "table": {"secret": [{"name": "y"}, {"name": None}, []]},
        "positive": {"n": 0},
    }
    del bad["flag"]
    with pytest.raises(InvalidContent) as info:
        Schema(Everything).validate(bad)
    assert str(info.value).split("; ") == [
        "$.color: expected one of 'red', 'blue'",
        "$.level: expected Level, got bool",
        "$.item.name: required, but missing",
        "$.item.price: expected float, got str",
        "$.day: not a valid date",
        "$.kind: expected Literal, got float",
        "$.union: expected int | str | array, got float",
        "$.numbers: expected array of 2 items, got 1",
        "$.many[1]: expected str, got int",
        "$.table[...][1].name: expected str, got null",
        "$.table[...][2]: expected object, got array",
        "$.positive: n must be positive",
        "$.flag: required, but missing",
    ]


def test_the_list_of_errors_has_an_end() -> None:
    with pytest.raises(InvalidContent) as info:
        Schema(list[int]).validate(["x"] * 100_000)
    parts = str(info.value).split("; ")
    assert len(parts) == 21
    assert parts[19:] == ["$[19]: expected int, got str", "and more"]
    with pytest.raises(InvalidContent) as info:
        Schema(list[int]).validate(["x"] * 20)
    assert "and more" not in str(info.value)


TYPES: list[Any] = [
    Any,
    object,
    None,
    bool,
    int,
    float,
    str,
    dict,
    list,
    tuple,
    dict[str, int],
    dict[int, int],
    dict[float, int],
    dict[Level, int],
    dict[Color, int],
    dict[dt.date, int],
    dict[Literal[1, 2], str],
    collections.abc.Mapping[str, float],
    collections.abc.Sequence[int],
    list[int],
    list[Item],
    set[int],
    frozenset[str],
    tuple[int, str],
    tuple[int, ...],
    tuple[()],
    int | None,
    float | int,
    float | str,
    int | str | None,
    Optional[Tree],  # noqa: UP045 - both spellings are tested
    Union[Item, list[int], int],  # noqa: UP007 - likewise
    Literal["a", "b", 1],
    Literal[1, None],  # noqa: PYI061 - likewise
    Color,
    Level,
    dt.date,
    dt.time,
    dt.datetime,
    uuid.UUID,
    decimal.Decimal,
    Name,
    Annotated[int, "documented"],
    Item,
    Sparse,
    Tree,
    Positive,
]

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-2, 3)
    | st.just(10**400)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["a", "b", "red", "1", "-0", "01", "1.5", "1e2", ""])
    | st.sampled_from(["x", "2026-01-31", "2026-02-30", "10:20:30", "24:00:00"])
    | st.sampled_from(["2026-01-31T10:20:30Z", "2026-01-31 10:20:30.1234567+0100"])
    | st.sampled_from(["20260131", "2026-01-31T10:20Z", "2026-W01-1", "٢٠٢٦-01-31"])
    | st.sampled_from(["10:20:30.9999999", "9999-12-31T23:59:59.9999999", "10:20"])
    | st.sampled_from(["2026-01-31t10:20:30z", "2026-01-31T10:20:30-25:00"])
    | st.sampled_from(["0" * 32, "00000000-0000-0000-0000-00000000000F", "0" * 31])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "price", "a", "b", "n", "value", "children"])
            | st.sampled_from(["parent", "red", "1", "01", "1.5", "2026-01-31", "-0"]),
            inner,
            max_size=3,
        )
        | st.builds(lambda v, c: {"value": v, "children": c}, inner, inner)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_msgspec_and_schema_agree(kind: Any) -> None:
    """An application behaves the same whether the extra is installed or not."""
    msgspec = pytest.importorskip("msgspec", reason="needs the extra msgspec")
    schema = Schema(kind)

    @settings(max_examples=40)
    @given(VALUES)
    def agree(value: Any) -> None:
        text = json.dumps(value)
        try:
            expected = repr(msgspec.json.decode(text, type=kind))
        except msgspec.ValidationError:
            expected = "invalid"
        try:
            found = repr(schema.validate(json.loads(text)))
        except InvalidContent:
            found = "invalid"
        assert found == expected

    agree()


def test_dates_and_times_as_rfc_3339_has_them() -> None:
    at = Schema(dt.time)
    assert at.validate("23:59:59.9999999") == dt.time(0)
    assert at.validate("10:00:00.1234564+01:00").microsecond == 123456
    with pytest.raises(InvalidContent):
        at.validate("10:00")
    when = Schema(dt.datetime)
    assert when.validate("2026-12-31T23:59:59.9999999") == dt.datetime(2027, 1, 1)
    with pytest.raises(InvalidContent, match="not a valid datetime"):
        when.validate("9999-12-31T23:59:59.9999999")


def test_a_decimal_keeps_the_digits_of_a_string() -> None:
    schema = Schema(decimal.Decimal)
    assert str(schema.validate("1.10")) == "1.10"
    assert schema.validate(1) == 1
    assert schema.validate(decimal.Decimal("1.10")) == decimal.Decimal("1.10")
    with pytest.raises(InvalidContent, match="not a valid decimal"):
        schema.validate("one")


def test_several_strings_in_a_union_are_tried_in_order() -> None:
    """msgspec refuses such a union; without it there is no reason to."""
    schema = Schema(dt.date | uuid.UUID | Color)
    assert schema.validate("2026-01-31") == dt.date(2026, 1, 31)
    assert schema.validate("red") is Color.RED
    with pytest.raises(InvalidContent, match=r"\$: fits none of date \| UUID \| Color"):
        schema.validate("x")


def test_keys_of_other_types_are_read_from_their_names() -> None:
    assert Schema(dict[float, int]).validate({"1.5e1": 1, "2": 2}) == {15.0: 1, 2.0: 2}
    assert Schema(dict[int, int]).validate({"-3": 1}) == {-3: 1}
    for name in ("x", "01", "1.5.1", "1e999"):
        with pytest.raises(InvalidContent, match=r"\$\[...\]: expected float, got str"):
            Schema(dict[float, int]).validate({name: 1})


def test_a_huge_key_is_an_error_not_a_crash() -> None:
    with pytest.raises(InvalidContent):
        Schema(dict[int, int]).validate({"9" * 5000: 1})
    with pytest.raises(InvalidContent):
        Schema(float).validate(10**400)


def test_a_value_too_deep_to_check_is_malformed() -> None:
    value: dict[str, Any] = {"value": 1}
    for _ in range(100_000):
        value = {"value": 1, "parent": value}
    with pytest.raises(MalformedBody, match="nested too deeply"):
        Schema(Tree).validate(value)


def test_type_aliases_are_looked_through() -> None:
    class TypeAliasType:
        """As ``type Number = int | float`` makes it in Python 3.12."""

        __value__ = int | float

    assert Schema(TypeAliasType()).validate(1) == 1


def test_read_only_members_are_members() -> None:
    typing_extensions = pytest.importorskip("typing_extensions")
    record = typing_extensions.TypedDict(
        "record", {"a": typing_extensions.ReadOnly[int]}
    )
    assert Schema(record).validate({"a": 1}) == {"a": 1}


@pytest.mark.parametrize(
    "kind",
    [
        bytes,
        complex,
        Pair,
        Odd,
        Init,
        Box[int],
        Item | Tree,
        list[int] | set[str],
        dict[str, int] | Item,
        list[bytes],
        dict[bool, int],
        dict[tuple[int], int],
        dict[int, bytes],
        Literal[b"x"],
        T,
        "Tree",
        3,
    ],
    ids=str,
)
def test_other_types_are_a_type_error_when_compiled(kind: Any) -> None:
    with pytest.raises(TypeError):
        Schema(kind)


def test_an_unknown_type_names_the_extra() -> None:
    msgspec = pytest.importorskip("msgspec", reason="needs the extra msgspec")
    point = msgspec.defstruct("Point", [("x", int)])
    with pytest.raises(TypeError, match=r"aiostreams\[msgspec\]"):
        Schema(list[point])  # type: ignore[valid-type]
