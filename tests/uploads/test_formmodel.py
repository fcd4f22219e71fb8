"""A form bound to a model: what each type takes, and all that is wrong at once."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    TypedDict,
    TypeVar,
    assert_type,
)

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("msgspec", reason="needs the extra msgspec")

from aiostreams import (
    File,
    FileRule,
    FormField,
    InvalidContent,
    MemoryStorage,
    StoredFile,
)
from aiostreams.multipart.received import ReceivedFile
from aiostreams.uploads.formmodel import bind, file_rules, json_fields

T = TypeVar("T")


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Point(TypedDict):
    x: int
    y: int


@dataclass(frozen=True)
class Item:
    name: str
    price: Decimal = Decimal(0)


@dataclass
class Repeating:
    text: str

    def __post_init__(self) -> None:
        raise ValueError(self.text)


@dataclass
class Box:
    width: int


def stored(name: str = "a.png", size: int = 1) -> StoredFile:
    return StoredFile("photo", name, "image/png", size, {}, f"key-{name}")


def errors_of(model: type, *fields: tuple[str, str], **more: Any) -> dict[str, str]:
    with pytest.raises(InvalidContent) as caught:
        bind(model, fields, **more)
    assert caught.value.status == 422
    for pointer, message in caught.value.errors:
        assert f"{pointer[2:]}: {message}".removeprefix(": ") in str(caught.value)
    return dict(caught.value.errors)


# -- single values ---------------------------------------------------------------------


@dataclass
class Everything:
    text: str
    number: int
    ratio: float
    price: Decimal
    ticked: bool
    born: dt.date
    at: dt.time
    when: dt.datetime
    id: uuid.UUID
    color: Color
    size: Literal["s", "m"]
    point: Point
    box: Box
    named: Annotated[str, FormField("first-name")]
    maybe: int | None
    note: str | None
    level: int = 3
    tags: list[str] = field(default_factory=lambda: ["none"])


FIELDS = {
    "text": " hi ",
    "number": "42",
    "ratio": "0.5",
    "price": "9.90",
    "ticked": "on",
    "born": "2026-01-31",
    "at": "08:30",
    "when": "2026-01-31T08:30",
    "id": "12345678-1234-5678-1234-567812345678",
    "color": "red",
    "size": "m",
    "point": '{"x": 1, "y": 2}',
    "box": '{"width": 1}',
    "first-name": "Zelda",
}


def test_every_type_has_its_text() -> None:
    made = bind(Everything, FIELDS.items())
    assert_type(made, Everything)
    assert made == Everything(
        text=" hi ",
        number=42,
        ratio=0.5,
        price=Decimal("9.90"),
        ticked=True,
        born=dt.date(2026, 1, 31),
        at=dt.time(8, 30),
        when=dt.datetime(2026, 1, 31, 8, 30),
        id=uuid.UUID("12345678-1234-5678-1234-567812345678"),
        color=Color.RED,
        size="m",
        point={"x": 1, "y": 2},
        box=Box(1),
        named="Zelda",
        maybe=None,
        note=None,
        level=3,
        tags=["none"],
    )


def test_every_error_is_said_at_once() -> None:
    assert errors_of(Everything, *((name, "?") for name in FIELDS)) == {
        "#/number": "Expected `int`, got `str`",
        "#/ratio": "Expected `float`, got `str`",
        "#/price": "Invalid decimal string",
        "#/ticked": "Expected `bool`, got `str`",
        "#/born": "Invalid RFC3339 encoded date",
        "#/at": "Invalid RFC3339 encoded time",
        "#/when": "Invalid RFC3339 encoded datetime",
        "#/id": "Invalid UUID",
        "#/color": "Expected one of 'red', 'blue'",
        "#/size": "Expected one of 's', 'm'",
        "#/point": "JSON: Expecting value, column 1",
        "#/box": "JSON: Expecting value, column 1",
    }


def test_what_is_not_there_is_required_or_has_its_default() -> None:
    missing = errors_of(Everything)
    assert set(missing) == {f"#/{name}" for name in FIELDS} - {"#/ticked"}
    assert set(missing.values()) == {"required"}


def test_an_empty_text_is_not_filled_in_except_for_str() -> None:
    @dataclass
    class Model:
        text: str
        note: str | None
        maybe: int | None
        ticked: bool
        level: int = 3
        given: int | None = 5

    made = bind(
        Model, [(name, "") for name in ("text", "note", "maybe", "ticked", "level")]
    )
    assert made == Model("", "", None, False, 3, 5)
    assert bind(Model, [("text", "x"), ("given", " "), ("level", "7")]).level == 7

    @dataclass
    class Strict:
        level: int
        point: Point

    assert errors_of(Strict, ("level", " "), ("point", "")) == {
        "#/level": "required",
        "#/point": "required",
    }


def test_an_unticked_box_is_false_and_a_default_stands() -> None:
    @dataclass
    class Model:
        plain: bool
        ticked: bool = True
        maybe: bool | None = None

    assert bind(Model, []) == Model(False, True, None)
    assert bind(Model, [("plain", "on"), ("ticked", "off"), ("maybe", "0")]) == (
        Model(True, False, False)
    )


def test_fields_that_are_not_given_by_forms_are_left_alone() -> None:
    @dataclass
    class Model:
        a: int
        b: int = field(init=False, default=9)

    assert bind(Model, [("a", "1"), ("b", "2")]).b == 9


# -- JSON ------------------------------------------------------------------------------


def test_json_is_strict_and_names_the_place() -> None:
    assert errors_of(
        Everything,
        *{**FIELDS, "point": '{"x": "1"}', "box": '{"width": "0"}'}.items(),
    ) == {
        "#/point/x": "Expected `int`, got `str`",
        "#/point/y": "required",
        "#/box/width": "Expected `int`, got `str`",
    }


def test_json_collections() -> None:
    @dataclass
    class Model:
        items: list[Item]
        more: Sequence[Item] = ()
        by_name: dict[str, int] = field(default_factory=dict)
        grid: list[list[int]] = field(default_factory=list)
        pair: tuple[Item, int] | None = None
        unique: set[Item] | None = None
        either: int | list[int] | None = None

    one = '{"name": "a", "price": "1.50"}'
    item = Item("a", Decimal("1.50"))
    assert bind(Model, [("items", one), ("items", one)]).items == [item, item]
    assert bind(Model, [("items", f" [{one}, {one}]")]).items == [item, item]
    assert bind(Model, [("items", "[]")]).items == []
    assert bind(Model, []).items == []
    made = bind(
        Model,
        [
            ("more", one),
            ("by_name", '{"a": 1}'),
            ("grid", "[1, 2]"),
            ("grid", "[3]"),
            ("pair", f"[{one}, 2]"),
            ("unique", one),
            ("unique", one),
            ("either", "[1]"),
        ],
    )
    assert made.more == [item]
    assert made.by_name == {"a": 1}
    assert made.grid == [[1, 2], [3]]
    assert made.pair == (item, 2)
    assert made.unique == {item}
    assert made.either == [1]
    assert errors_of(
        Model, ("items", one), ("items", "{}"), ("grid", "1"), ("more", "[{}]")
    ) == {
        "#/items/1/name": "required",
        "#/grid/0": "Expected `array`, got `int`",
        "#/more/0/name": "required",
    }


def test_json_that_cannot_be_in_a_set_is_refused() -> None:
    @dataclass
    class Model:
        values: set[dict[str, int]]

    assert errors_of(Model, ("values", "{}")) == {
        "#/values": "an item cannot be in a set"
    }


def test_a_message_of_the_application_that_repeats_a_value_is_left_out() -> None:
    @dataclass
    class Model:
        inner: Repeating

    assert errors_of(Model, ("inner", '{"text": "a\\nb%s"}' % ("x" * 1000))) == {
        "#/inner": "the value is refused"
    }


# -- collections -----------------------------------------------------------------------


def test_collections_take_every_field_of_their_name() -> None:
    @dataclass
    class Model:
        numbers: list[int]
        words: tuple[str, ...]
        colors: set[Color]
        frozen: frozenset[int]
        bare: list  # type: ignore[type-arg]
        pair: tuple[int, str] = (0, "")
        maybe: list[int] | None = None
        default: list[int] = field(default_factory=lambda: [1])

    assert bind(Model, []) == Model([], (), set(), frozenset(), [])
    made = bind(
        Model,
        [
            ("numbers", "1"),
            ("words", "a"),
            ("numbers", "2"),
            ("numbers", ""),
            ("words", ""),
            ("colors", "red"),
            ("colors", "red"),
            ("frozen", "3"),
            ("bare", "x"),
            ("pair", "1"),
            ("pair", ""),
            ("maybe", "5"),
            ("default", "6"),
        ],
    )
    assert made == Model(
        [1, 2], ("a", ""), {Color.RED}, frozenset({3}), ["x"], (1, ""), [5], [6]
    )


def test_each_wrong_item_is_named_up_to_a_number() -> None:
    @dataclass
    class Model:
        numbers: list[int]
        pair: tuple[int, int]

    with pytest.raises(InvalidContent) as caught:
        bind(Model, [("numbers", "x")] * 1000 + [("pair", "1")])
    assert caught.value.errors == (
        *((f"#/numbers/{n}", "Expected `int`, got `str`") for n in range(100)),
        ("#", "and more than these 100 faults"),
    )


# -- files -----------------------------------------------------------------------------


@dataclass
class Album:
    title: str
    cover: Annotated[StoredFile, FileRule(accept={"image/*"}, max_size=100)]
    back: StoredFile | None
    pages: Annotated[list[StoredFile], FileRule(min_count=1, max_count=2)]
    extra: tuple[Annotated[StoredFile, FileRule(max_size=5)], ...] = ()
    late: StoredFile | None = None


def test_files_are_bound() -> None:
    cover, page = stored("cover"), stored("page")
    made = bind(Album, [("title", "x")], [("cover", cover), ("pages", page)])
    assert made == Album("x", cover, None, [page])
    made = bind(
        Album,
        [("title", "x"), ("late", "")],
        [("cover", cover), ("pages", page), ("pages", cover), ("extra", page)],
    )
    assert made == Album("x", cover, None, [page, cover], (page,))


def test_file_rules_say_what_the_types_say() -> None:
    assert file_rules(Album) == {
        "cover": FileRule(accept={"image/*"}, max_size=100, min_count=1, max_count=1),
        "back": FileRule(max_count=1),
        "pages": FileRule(min_count=1, max_count=2),
        "extra": FileRule(max_size=5),
        "late": FileRule(max_count=1),
    }

    @dataclass
    class Kept:
        photo: Annotated[StoredFile, FileRule(storage=STORAGE), FormField("my-photo")]

    assert file_rules(Kept)["my-photo"].storage is STORAGE


STORAGE = MemoryStorage()


def test_wrong_files_are_named() -> None:
    file = stored()
    assert errors_of(
        Album,
        ("title", "x"),
        files=[("back", file), ("back", file), *[("pages", file)] * 3, ("late", file)],
    ) == {
        "#/cover": "a file is required",
        "#/back": "'a.png' is too many: at most 1 file, got 2",
        "#/pages": "'a.png' is too many: at most 2 files, got 3",
    }
    assert errors_of(
        Album, ("cover", "x"), ("late", ""), files=[("title", file), ("pages", file)]
    ) == {
        "#/title": "expected text, got a file",
        "#/cover": "expected a file, got text",
    }


def test_files_of_a_form_in_memory() -> None:
    @dataclass
    class Model:
        photo: File
        more: list[ReceivedFile]

    file = ReceivedFile(b"x", "a.png", None, b"")
    made = bind(Model, [], [("photo", file), ("more", file)], file_type=ReceivedFile)
    assert made == Model(file, [file])
    assert set(file_rules(Model, file_type=ReceivedFile)) == {"photo", "more"}


def test_files_of_another_class_are_an_error() -> None:
    @dataclass
    class Mixed:
        photo: File
        other: StoredFile | None = None

    with pytest.raises(TypeError, match="the files of this form are File, not Stored"):
        bind(Mixed, [], [], file_type=File)


@dataclass
class Inner:
    photo: StoredFile


class InnerDict(TypedDict):
    photo: list[StoredFile]


class InnerTuple(NamedTuple):
    photo: File


@pytest.mark.parametrize(
    "kind",
    [
        Inner,
        InnerDict,
        InnerTuple,
        list[Inner],
        dict[str, StoredFile],
        list[dict[str, list[File]]],
        StoredFile | dict[str, int],
        StoredFile | str,
        tuple[StoredFile, dict[str, int]] | None,
    ],
)
def test_no_client_can_make_up_a_stored_file(kind: Any) -> None:
    model = dataclasses.make_dataclass("Model", [("inner", kind)])
    with pytest.raises(TypeError):
        file_rules(model)


# -- policies --------------------------------------------------------------------------


@dataclass
class One:
    a: str = "default"


def test_duplicates() -> None:
    twice = [("a", "1"), ("a", "2"), ("a", "3")]
    assert bind(One, twice).a == "3"
    assert bind(One, twice, duplicates="first").a == "1"
    assert errors_of(One, *twice, duplicates="refuse") == {
        "#/a": "expected once, got 3 times"
    }
    assert bind(One, twice[:1], duplicates="refuse").a == "1"


def test_the_last_of_a_hidden_field_and_a_box_counts() -> None:
    @dataclass
    class Model:
        box: bool = True

    assert bind(Model, [("box", "off"), ("box", "on")]).box is True
    assert bind(Model, [("box", "off")]).box is False


def test_unknown_fields_are_ignored_or_refused() -> None:
    fields = [("_charset_", "utf-8"), ("b\r\n" + "x" * 100, "secret"), ("c", "")]
    assert bind(One, fields, [("f", stored())]) == One()
    assert errors_of(One, *fields, files=[("f", stored())], unknown="forbid") == {
        "#/b%0D%0A" + "x" * 61 + "...": "no such field",
        "#/c": "no such field",
        "#/f": "no such field",
    }
    assert bind(One, fields[:1], unknown="forbid") == One()
    many = errors_of(One, *((str(n), "") for n in range(99)), unknown="forbid")
    assert len(many) == 11
    assert many["#"] == "and 89 more fields that are not known"


def test_what_the_model_refuses_is_said() -> None:
    @dataclass
    class Model:
        a: int

        def __post_init__(self) -> None:
            if self.a == 1:
                raise ValueError("a must not be 1")
            if self.a == 2:
                raise InvalidContent("a must not be 2")
            if self.a == 3:
                raise InvalidContent("all wrong", errors=[("a", "not 3")])

    assert errors_of(Model, ("a", "1")) == {"#": "a must not be 1"}
    assert errors_of(Model, ("a", "2")) == {"#": "a must not be 2"}
    assert errors_of(Model, ("a", "3")) == {"#/a": "not 3"}


def test_json_fields_are_told() -> None:
    assert json_fields(Everything) == {"point", "box"}
    assert json_fields(Album) == frozenset()


# -- models that are none --------------------------------------------------------------


class Odd(enum.Enum):
    A = 1.5


class Pair(Generic[T]):
    pass


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Odd, "Model.a: Enums must contain either all str or all int"),
        (Annotated[str, FileRule()], "has a rule for files, but takes none"),
        (Annotated[StoredFile, FileRule(), FileRule()], "has 2 rules"),
        (
            Annotated[StoredFile, FileRule(min_count=2)],
            "min_count 2 exceeds max_count 1",
        ),
    ],
)
def test_a_type_that_no_form_gives_is_an_error(kind: Any, message: str) -> None:
    model = dataclasses.make_dataclass("Model", [("a", kind)])
    with pytest.raises(TypeError, match=message):
        bind(model, [])


@dataclass
class Initialised:
    a: dataclasses.InitVar[int]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (int, "int has no members"),
        (list[int], "has no members"),
        (One("x"), "is not supported|unhashable"),
        (Initialised, "InitVar"),
    ],
)
def test_a_model_that_is_none_is_an_error(model: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        bind(model, [])


def test_two_members_of_one_field_are_an_error() -> None:
    model = dataclasses.make_dataclass(
        "Model", [("a", str), ("b", Annotated[str, FormField("a")])]
    )
    with pytest.raises(TypeError, match="two members for the field 'a'"):
        bind(model, [])


def test_a_policy_that_is_none_is_an_error() -> None:
    with pytest.raises(ValueError, match="unknown must be"):
        bind(One, [], unknown="whatever")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="duplicates must be"):
        bind(One, [], duplicates="whatever")  # type: ignore[arg-type]


# -- any input -------------------------------------------------------------------------

NAMES = st.sampled_from([*FIELDS, "maybe", "tags", "level", "other", ""])
TEXTS = (
    st.sampled_from([*FIELDS.values(), "", "[]", "{}", "null", "1", "[" * 3000])
    | st.text()
)


@given(st.lists(st.tuples(NAMES, TEXTS)), st.booleans())
def test_any_form_is_bound_or_refused(
    fields: list[tuple[str, str]],
    refuse: bool,
) -> None:
    try:
        bind(
            Everything,
            [*FIELDS.items(), *fields],
            unknown="forbid" if refuse else "ignore",
        )
    except InvalidContent as error:
        errors = error.errors
    else:
        return
    assert errors
    for name, message in errors:
        assert name.isprintable()
        assert message.isprintable()
        assert len(message) <= 400
