"""Validation by libraries: every kind of model, all faults at once, alike in both."""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime as dt
import decimal
import enum
import json
import traceback
import tracemalloc
import uuid
from collections.abc import Iterator
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NotRequired,
    Optional,
    Required,
    TypedDict,
    TypeVar,
    Union,
)

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("msgspec", reason="needs the extra msgspec")
pytest.importorskip("pydantic", reason="needs the extra pydantic")

import msgspec
import pydantic
import pydantic.alias_generators
import pydantic_core
from pydantic import BaseModel, Field, TypeAdapter

from aiostreams import (
    JSON,
    ByteStream,
    File,
    InvalidContent,
    MalformedBody,
    StoredFile,
    add_validator,
)
from aiostreams.content import members, models
from aiostreams.content.json import json_reader
from aiostreams.content.models import model_of
from aiostreams.errors import as_pointer, pointer_to

T = TypeVar("T")
SECRET = "XKCD936-hunter2"


def read(kind: Any, value: Any) -> Any:
    """What a JSON text with that value is as the type."""
    return json_reader(kind)(json.dumps(value).encode())


def faults(kind: Any, value: Any) -> dict[str, str]:
    """The pointers and details of what is wrong with a value."""
    with pytest.raises(InvalidContent) as caught:
        read(kind, value)
    assert caught.value.status == 422
    found: dict[str, str] = {}
    for name, detail in caught.value.errors:
        pointer = as_pointer(name)
        found[pointer] = f"{found[pointer]}; {detail}" if pointer in found else detail
    return found


# -- every kind of model ---------------------------------------------------------------


@dataclasses.dataclass
class DataPhoto:
    caption: str
    size: int = 0


@dataclasses.dataclass
class DataAlbum:
    title: str
    photos: list[DataPhoto]
    day: dt.date | None = None
    tags: dict[str, int] = dataclasses.field(default_factory=dict)


@attrs.define
class AttrsPhoto:
    caption: str
    size: int = 0


@attrs.define
class AttrsAlbum:
    title: str
    photos: list[AttrsPhoto]
    day: dt.date | None = None
    tags: dict[str, int] = attrs.Factory(dict)


class DictPhoto(TypedDict):
    caption: str
    size: NotRequired[int]


class DictAlbum(TypedDict, total=False):
    title: Required[str]
    photos: Required[list[DictPhoto]]
    day: dt.date | None
    tags: dict[str, int]


class StructPhoto(msgspec.Struct):
    caption: str
    size: int = 0


class StructAlbum(msgspec.Struct):
    title: str
    photos: list[StructPhoto]
    day: dt.date | None = None
    tags: dict[str, int] = {}


class ModelPhoto(BaseModel):
    caption: str
    size: int = 0


class ModelAlbum(BaseModel):
    title: str
    photos: list[ModelPhoto]
    day: dt.date | None = None
    tags: dict[str, int] = {}


@pydantic.dataclasses.dataclass
class PydanticPhoto:
    caption: str
    size: int = 0


@pydantic.dataclasses.dataclass
class PydanticAlbum:
    title: str
    photos: list[PydanticPhoto]
    day: dt.date | None = None
    tags: dict[str, int] = dataclasses.field(default_factory=dict)


# Of one library with members of the other.
@dataclasses.dataclass
class MixedAlbum:
    title: str
    photos: list[ModelPhoto]
    day: dt.date | None = None
    tags: dict[str, int] = dataclasses.field(default_factory=dict)


ALBUMS: list[Any] = [
    DataAlbum,
    AttrsAlbum,
    DictAlbum,
    StructAlbum,
    ModelAlbum,
    PydanticAlbum,
    TypeAdapter(ModelAlbum),
    TypeAdapter(DataAlbum),
    MixedAlbum,
    Annotated[DataAlbum, "documented"],
]
ALBUM = {
    "title": "x",
    "photos": [{"caption": "a", "size": 1}, {"caption": "é", "size": 0}],
    "day": "2026-01-31",
    "tags": {"k/~": 2},
}


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


def ids(kind: Any) -> str:
    return getattr(kind, "__name__", repr(kind))


@pytest.mark.parametrize("kind", ALBUMS, ids=ids)
async def test_each_kind_of_model_is_read_and_written(kind: Any) -> None:
    made = (await JSON.decode(ByteStream(json.dumps(ALBUM).encode()), type=kind)).data
    if isinstance(made, dict):
        assert made["day"] == dt.date(2026, 1, 31)
    else:
        assert made.day == dt.date(2026, 1, 31)
        assert made.photos[1].caption == "é"
    text = await JSON(made).encode().read()
    assert json.loads(text) == ALBUM
    again = await JSON.decode(ByteStream(text), type=kind)
    assert again.data == made
    if isinstance(kind, type):
        assert read(list[kind], [ALBUM]) == [made]
        assert read(dict[str, kind], {"a": ALBUM}) == {"a": made}


@pytest.mark.parametrize("kind", ALBUMS, ids=ids)
def test_all_faults_come_at_once_and_at_the_same_places(kind: Any) -> None:
    wrong = {
        "photos": [{"caption": "a"}, {"size": "many"}, {"caption": [], "size": {}}, 3],
        "day": "31.1.2026",
        "tags": {"a/b~c é": "no"},
    }
    found = faults(kind, wrong)
    assert set(found) == {
        "#/title",
        "#/photos/1/caption",
        "#/photos/1/size",
        "#/photos/2/caption",
        "#/photos/2/size",
        "#/photos/3",
        "#/day",
        "#/tags/a~1b~0c%20%C3%A9",
    }
    assert found["#/title"] == found["#/photos/1/caption"] == "required"
    for word in ("many", "31.1", "no;"):
        assert word not in " ".join(found.values())


@pytest.mark.parametrize("kind", ALBUMS, ids=ids)
def test_a_value_of_another_type_is_at_the_root(kind: Any) -> None:
    values: list[Any] = [None, 3, [], "x"]
    for value in values:
        assert set(faults(kind, value)) == {"#"}


@pytest.mark.parametrize("kind", ALBUMS, ids=ids)
def test_what_is_no_json_is_malformed_whatever_is_wrong_before(kind: Any) -> None:
    for text in (
        b"",
        b'{"title": 3,',
        b'{"title": 3} x',
        b'{"title": NaN, "photos": []}',
        b'{"title": "x", "photos": [{"caption": "a", "size": 1e999}]}',
        b'{"title": "x", "photos": [], "more": -Infinity}',
        b'{"title": "\\ud800", "photos": []}',
        b'{"title": "\xff", "photos": []}',
        b'{"title": "x", "photos": [], "more": ' + b"9" * 5000 + b"}",
    ):
        skipped = b"more" in text and model_of(kind).strict
        if skipped:  # msgspec looks into members of the type only
            continue
        with pytest.raises(MalformedBody):
            json_reader(kind)(text)


@pytest.mark.parametrize("kind", ALBUMS, ids=ids)
def test_what_is_json_is_read_by_both(kind: Any) -> None:
    for text in (
        b'\xef\xbb\xbf{"title": "x", "photos": []}',
        b'{"title": "NaN Infinity 1e999", "photos": []}',
        b'{"title": "w", "title": "x", "photos": []}',
        b' {"title": "\\ud83d\\ude00", "photos": [], "more": {"a": [1]}} ',
        b'{"title": "x", "photos": [], "more": ' + b"9" * 400 + b"}",
    ):
        json_reader(kind)(text)


@pytest.mark.parametrize("kind", ALBUMS, ids=ids)
def test_text_of_another_charset_is_read(kind: Any) -> None:
    assert json_reader(kind)('{"title": "é", "photos": []}') is not None
    with pytest.raises(InvalidContent):
        json_reader(kind)('{"title": 1, "photos": []}')


@pytest.mark.parametrize("kind", ALBUMS, ids=ids)
def test_a_value_of_another_parser_is_checked(kind: Any) -> None:
    reader = json_reader(kind, json.loads)
    assert reader(json.dumps(ALBUM).encode()) == read(kind, ALBUM)
    with pytest.raises(InvalidContent, match="photos: required"):
        reader(b'{"title": "x"}')


# -- places ----------------------------------------------------------------------------


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str


class TaggedCat(msgspec.Struct, tag_field="kind", tag="cat"):
    lives: int


class TaggedDog(msgspec.Struct, tag_field="kind", tag="dog"):
    name: str


class Owner(BaseModel):
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    other: Cat | Dog | None = None


class StructOwner(msgspec.Struct):
    pet: TaggedCat | TaggedDog
    other: TaggedCat | TaggedDog | None = None


@pytest.mark.parametrize("kind", [Owner, StructOwner], ids=ids)
def test_a_tagged_union_is_named_by_its_members(kind: Any) -> None:
    assert read(kind, {"pet": {"kind": "cat", "lives": 9}}).pet.lives == 9
    assert faults(kind, {"pet": {"kind": "cat"}}) == {"#/pet/lives": "required"}
    assert faults(kind, {"pet": {}}) == {"#/pet/kind": "required"}
    wrong = faults(kind, {"pet": {"kind": SECRET}})
    assert list(wrong) == ["#/pet/kind"]
    assert "'cat', 'dog'" in wrong["#/pet/kind"]
    assert set(faults(kind, {"pet": 3})) == {"#/pet"}
    assert set(faults(kind, {"pet": {"kind": [1]}})) == {"#/pet/kind"}


def test_no_pointer_has_the_name_of_a_type() -> None:
    """pydantic names the choices of a union between the members."""

    class Model(BaseModel):
        pet: Cat | Dog | None = None
        either: int | dict[str, int] | list[int] = 0
        sized: Annotated[str, Field(max_length=3)] | Annotated[int, Field(ge=3)] = "a"
        keyed: dict[int, int] = {}
        json_: pydantic.Json[list[int]] = Field([], alias="json")

    assert set(faults(Model, {"pet": {"kind": "cat"}})) == {
        "#/pet/lives", "#/pet/kind", "#/pet/name",
    }  # fmt: skip
    assert set(faults(Model, {"pet": {"Cat": 1, "Dog": {"name": 3}}})) == {
        "#/pet/kind", "#/pet/lives", "#/pet/name",
    }  # fmt: skip
    # Members that are called as choices are.
    assert set(faults(Model, {"either": {"int": "z"}})) == {
        "#/either", "#/either/int",
    }  # fmt: skip
    assert set(faults(Model, {"either": {"dict[str,int]": "z"}})) == {
        "#/either", "#/either/dict%5Bstr,int%5D",
    }  # fmt: skip
    assert set(faults(Model, {"either": [1, "z"]})) == {"#/either", "#/either/1"}
    assert set(faults(Model, {"sized": "four"})) == {"#/sized"}
    assert set(faults(Model, {"keyed": {"x": 1, "1": "y"}})) == {
        "#/keyed/x", "#/keyed/1",
    }  # fmt: skip
    assert set(faults(Model, {"json": '[1, "x"]'})) == {"#/json"}


def test_a_union_of_msgspec_goes_on_with_the_one_that_fits() -> None:
    class Model(msgspec.Struct):
        either: int | dict[str, int] | list[int] | None = None
        plain: DataPhoto | list[DataPhoto] | str = ""
        keyed: dict[int, int] = {}

    assert faults(
        Model, {"either": {"int": "z"}, "plain": [{}, 1], "keyed": {"x": "y"}}
    ) == {
        "#/either/int": "Expected `int`, got `str`",
        "#/plain/0/caption": "required",
        "#/plain/1": "Expected `object`, got `int`",
        "#/keyed/x": "Expected `int`, got `str`",
    }
    assert set(faults(Model, {"either": 1.5, "plain": 3})) == {"#/either", "#/plain"}


class Renamed(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    first_name: str
    last_name: str = ""


class Aliased(BaseModel):
    model_config = pydantic.ConfigDict(
        alias_generator=pydantic.alias_generators.to_camel, extra="forbid"
    )
    first_name: str
    last_name: str = ""


class Chosen(BaseModel):
    model_config = pydantic.ConfigDict(populate_by_name=True, extra="forbid")
    first_name: str = Field(
        validation_alias=pydantic.AliasChoices("firstName", "first"),
        serialization_alias="firstName",
    )
    last_name: str = Field("", alias="lastName")


@pytest.mark.parametrize("kind", [Renamed, Aliased, Chosen], ids=ids)
async def test_aliases_are_what_the_client_sees(kind: Any) -> None:
    made = read(kind, {"firstName": "Zelda"})
    assert made.first_name == "Zelda"
    assert json.loads(await JSON(made).encode().read()) == {
        "firstName": "Zelda",
        "lastName": "",
    }
    assert faults(kind, {"lastName": 3}) == {
        "#/firstName": "required",
        "#/lastName": faults(kind, {"firstName": "", "lastName": 3})["#/lastName"],
    }


@pytest.mark.parametrize("kind", [Renamed, Aliased, Chosen], ids=ids)
def test_an_unknown_member_is_named_where_it_is_forbidden(kind: Any) -> None:
    found = faults(kind, {"firstName": "Zelda", "no such": SECRET, "x" * 200: 1})
    assert found == {
        "#/no%20such": "no such member",
        f"#/{'x' * 64}...": "no such member",
    }


def test_extra_members_are_what_the_model_says() -> None:
    class Open(BaseModel):
        model_config = pydantic.ConfigDict(extra="allow")

    assert read(Open, {"a": 1}).model_extra == {"a": 1}
    assert read(ModelPhoto, {"caption": "a", "b": 1}).model_extra is None
    assert read(StructPhoto, {"caption": "a", "b": 1}) == StructPhoto("a")


class Pair(NamedTuple):
    x: int
    y: DataPhoto = DataPhoto("none")


class PydanticPair(BaseModel):
    pair: tuple[int, str]
    many: tuple[int, ...] = ()


class Listed(msgspec.Struct, array_like=True):
    x: int
    y: str = ""


async def test_tuples_are_arrays() -> None:
    assert read(Pair, [1, {"caption": "a"}]) == Pair(1, DataPhoto("a"))
    assert await JSON(Pair(1, DataPhoto("a"))).encode().read() == (
        b'[1,{"caption":"a","size":0}]'
    )
    assert faults(Pair, []) == {"#/0": "required"}
    assert faults(Pair, ["x", {}, 3]) == {
        "#/0": "Expected `int`, got `str`",
        "#/1/caption": "required",
        "#/2": "no such member",
    }
    assert set(faults(Pair, {"x": 1})) == {"#"}
    assert read(Listed, [1]) == Listed(1)
    assert faults(list[Listed], [[1], ["x"], []]).keys() == {"#/1/0", "#/2"}
    assert faults(tuple[int, str], [1]) == {
        "#": "Expected `array` of length 2, got 1",
    }
    assert faults(PydanticPair, {"pair": [1], "many": [1, "x"]}) == {
        "#/pair/1": "required",
        "#/many/1": "Input should be a valid integer, unable to parse string as an integer",
    }


def test_a_set_refuses_what_cannot_be_in_it() -> None:
    assert read(set[int], [1, 1]) == {1}
    assert faults(set[DictPhoto], [{"caption": "a"}]) == {
        "#": "an item cannot be in a set",
    }


@dataclasses.dataclass
class Page(Generic[T]):
    items: list[T]
    next: Optional[Page[T]] = None  # noqa: UP045 - a forward reference


class StructPage(msgspec.Struct, Generic[T]):
    items: list[T]
    next: Optional[StructPage[T]] = None  # noqa: UP045


class ModelPage(BaseModel, Generic[T]):
    items: list[T]
    next: Optional[ModelPage[T]] = None  # noqa: UP045


@pytest.mark.parametrize(
    "kind", [Page[DataPhoto], StructPage[DataPhoto], ModelPage[ModelPhoto]], ids=repr
)
def test_generic_models(kind: Any) -> None:
    made = read(kind, {"items": [{"caption": "a"}], "next": {"items": []}})
    assert made.items[0].caption == "a"
    assert made.next.items == []
    wrong = {"items": [{"caption": "a"}, {"size": "x"}], "next": {"items": [1]}}
    assert set(faults(kind, wrong)) == {
        "#/items/1/caption", "#/items/1/size", "#/next/items/0",
    }  # fmt: skip


def test_constraints_are_the_librarys() -> None:
    class Model(msgspec.Struct):
        age: Annotated[int, msgspec.Meta(ge=0)]
        tags: Annotated[
            list[Annotated[str, msgspec.Meta(max_length=3)]], msgspec.Meta(min_length=2)
        ]
        by_name: Annotated[dict[str, int], msgspec.Meta(max_length=1)] = {}

    assert faults(
        Model, {"age": -1, "tags": ["four"], "by_name": {"a": 1, "b": "x"}}
    ) == {
        "#/age": "Expected `int` >= 0",
        "#/tags/0": "Expected `str` of length <= 3",
        "#/tags": "Expected `array` of length >= 2",
        "#/by_name/b": "Expected `int`, got `str`",
        "#/by_name": "Expected `object` of length <= 1",
    }

    class Other(BaseModel):
        age: Annotated[int, Field(ge=0)]
        tags: Annotated[list[Annotated[str, Field(max_length=3)]], Field(min_length=2)]

    assert set(faults(Other, {"age": -1, "tags": ["four"]})) == {"#/age", "#/tags/0"}
    assert set(faults(Other, {"age": 1, "tags": ["a"]})) == {"#/tags"}
    # Without a model, pydantic's constraints are still pydantic's.
    assert set(faults(Annotated[int, Field(ge=0)], -1)) == {"#"}
    assert set(faults(list[Annotated[int, Field(ge=0)]], [1, -1])) == {"#/1"}
    assert set(faults(list[pydantic.HttpUrl], ["http://a", "b"])) == {"#/1"}
    assert read(ModelPhoto | None, None) is None


def test_choices_are_named_and_what_was_chosen_is_not() -> None:
    @dataclasses.dataclass
    class Model:
        color: Color
        size: Literal["s", "m"] | None = None
        level: Literal[1, 2] = 1

    assert faults(Model, {"color": SECRET, "size": SECRET, "level": 936}) == {
        "#/color": "Expected one of 'red', 'blue'",
        "#/size": "Expected one of 's', 'm'",
        "#/level": "Expected one of 1, 2",
    }


def test_the_list_of_faults_has_an_end() -> None:
    for kind in (list[int], list[ModelPhoto]):
        with pytest.raises(InvalidContent) as caught:
            read(kind, ["x"] * 10_000)
        assert len(caught.value.errors) == 101
        assert caught.value.errors[-1] == ("#", "and more than these 100 faults")
        with pytest.raises(InvalidContent) as caught:
            read(kind, ["x"] * 100)
        assert len(caught.value.errors) == 100


def test_very_many_faults_of_pydantic_are_not_listed_first() -> None:
    """A list of them would take a kilobyte for two bytes of the body."""

    class Model(BaseModel):
        rows: Annotated[list[list[int]], Field(min_length=150)]
        more: dict[str, int] = {}

    rows = [["x"] * 200] * 200
    tracemalloc.start()
    with pytest.raises(InvalidContent) as caught:
        read(Model, {"rows": rows})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.errors[9][0] == "#/rows/0/9"
    assert caught.value.errors[-1] == ("#", "and more than these 100 faults")
    assert peak < 20e6
    wide = {f"k{n}": "x" for n in range(2000)}
    assert faults(Model, {"rows": rows[:1] * 150, "more": wide}).keys() >= {"#"}
    assert faults(Model, {"rows": [[1]] * 150, "more": wide}) == {"#": "2000 faults"}
    # Nothing that only the sample is too short for.
    many = [["x"] * 5] * 250
    assert all(at != "#/rows" for at in faults(Model, {"rows": many}))


# -- nothing of a client's value -------------------------------------------------------


class Picky(BaseModel):
    ident: uuid.UUID | None = None
    url: pydantic.HttpUrl | None = None
    when: dt.datetime | None = None
    day: dt.date | None = None
    at: dt.time | None = None
    span: dt.timedelta | None = None
    amount: decimal.Decimal | None = None
    aware: Annotated[dt.datetime, Field()] | None = None
    pattern: Annotated[str, Field(pattern="^a+$")] | None = None
    kind: Literal["a"] | None = None
    number: int | None = None
    ratio: float | None = None
    raw: pydantic.Base64Bytes | None = None
    address: pydantic.IPvAnyAddress | None = None
    small: Annotated[str, Field(max_length=3)] | None = None
    pet: Annotated[Cat | Dog, Field(discriminator="kind")] | None = None
    custom: str | None = None
    asserted: str | None = None
    partial: str | None = None
    template: str | None = None

    @pydantic.field_validator("custom")
    @classmethod
    def _custom(cls, value: str) -> str:
        raise ValueError(f"no such thing as {value!r}")

    @pydantic.field_validator("asserted")
    @classmethod
    def _asserted(cls, value: str) -> str:
        assert value.islower(), f"{value.upper()} is not lower"
        return value

    @pydantic.field_validator("partial")
    @classmethod
    def _partial(cls, value: str) -> str:
        raise ValueError(f"{value[:14]}... is too long")

    @pydantic.field_validator("template")
    @classmethod
    def _template(cls, value: str) -> str:
        raise pydantic_core.PydanticCustomError("own", "not {value}", {"value": value})


@pytest.mark.parametrize("name", [name for name in Picky.model_fields if name != "pet"])
@pytest.mark.parametrize(
    "value",
    [
        SECRET,
        f"\r\n{SECRET}\x1b",
        f"<{SECRET}>",
        f"\"{SECRET}'`é",
        [SECRET],
        {SECRET: SECRET},
    ],
)
def test_no_detail_of_pydantic_repeats_the_value(name: str, value: Any) -> None:
    found = faults(Picky, {name: value})
    for pointer, detail in found.items():
        assert pointer == f"#/{name}"
        assert SECRET.casefold() not in detail.casefold()
        assert "936" not in detail
        assert detail.isprintable()
        assert "`" not in detail


def test_no_detail_of_pydantic_has_a_tag() -> None:
    assert faults(Picky, {"pet": {"kind": SECRET}}) == {
        "#/pet/kind": "Input should be one of 'cat', 'dog'"
    }


@dataclasses.dataclass
class Refusing:
    name: str = ""
    age: int = 0

    def __post_init__(self) -> None:
        if self.name:
            raise ValueError(f"{self.name!r} is not welcome")
        if self.age:
            raise ValueError("age must be 0")


class RefusingStruct(msgspec.Struct):
    name: str = ""
    age: int = 0

    def __post_init__(self) -> None:
        Refusing(self.name, self.age)


@pytest.mark.parametrize("kind", [Refusing, RefusingStruct], ids=ids)
def test_a_message_of_the_application_is_told_unless_it_repeats(kind: Any) -> None:
    assert faults(kind, {"age": 1}) == {"#": "age must be 0"}
    assert faults(kind, {"name": SECRET}) == {"#": "the value is refused"}
    assert faults(kind, {"name": f"\n{SECRET}\x00"}) == {"#": "the value is refused"}
    assert faults(list[kind], [{}, {"age": 2}, {"name": "me"}, {"age": "x"}]) == {
        "#/1": "age must be 0",
        "#/2": "'me' is not welcome",  # too short to be told from words
        "#/3/age": "Expected `int`, got `str`",
    }


def test_a_message_about_very_much_is_not_told() -> None:
    @dataclasses.dataclass
    class Model:
        items: list[int]

        def __post_init__(self) -> None:
            raise ValueError("never")

    assert faults(Model, {"items": [1]}) == {"#": "never"}
    assert faults(Model, {"items": [1] * 20_000}) == {"#": "the value is refused"}


def test_a_message_of_the_library_is_told_whatever_was_sent() -> None:
    for value in ("valid", "should", "Input", "integer"):
        assert faults(Picky, {"number": value})["#/number"].startswith("Input should")
    assert faults(list[int], ["Expected", "int"])["#/0"] == "Expected `int`, got `str`"


def test_faults_of_the_application_are_told() -> None:
    @dataclasses.dataclass
    class Model:
        a: int

        def __post_init__(self) -> None:
            raise InvalidContent(errors=[("a", "not that"), ("", "nor this")])

    class Other(BaseModel):
        a: int

        @pydantic.model_validator(mode="after")
        def _check(self) -> Other:
            raise InvalidContent(errors=[("a", "not that"), ("", "nor this")])

    for kind in (Model, Other):
        assert faults(list[kind], [{"a": 1}]) == {  # type: ignore[valid-type]
            "#/0/a": "not that",
            "#/0": "nor this",
        }


class Crashing(BaseModel):
    name: str

    @pydantic.field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        raise KeyError(value)


@dataclasses.dataclass
class CrashingData:
    name: str

    def __post_init__(self) -> None:
        raise KeyError(self.name)


@pytest.mark.parametrize("kind", [Crashing, CrashingData, list[Crashing]], ids=ids)
@pytest.mark.parametrize("loads", [None, json.loads])
def test_a_validator_that_fails_is_no_fault_of_the_client(
    kind: Any, loads: Any
) -> None:
    value: Any = {"name": SECRET}
    if not isinstance(kind, type):
        value = [value]
    with pytest.raises(RuntimeError, match="raised KeyError") as caught:
        json_reader(kind, loads)(json.dumps(value).encode())
    logged = "".join(traceback.format_exception(caught.value))
    assert SECRET not in logged
    assert "raise KeyError(" in logged  # where


def test_an_answer_that_a_validator_raises_is_one() -> None:
    class Answer(Exception):
        status = 409

    @dataclasses.dataclass
    class Model:
        a: int

        def __post_init__(self) -> None:
            raise Answer

    with pytest.raises(Answer):
        read(Model, {"a": 1})


# -- deep ------------------------------------------------------------------------------


class Tree(BaseModel):
    child: Tree | None = None


@pytest.mark.parametrize("depth", [150, 250, 900, 5000, 100_000])
def test_what_is_too_deep_for_pydantic_is_malformed(depth: int) -> None:
    text = b'{"child":' * depth + b"null" + b"}" * depth
    if depth < 200:
        assert json_reader(Tree)(text).child
    else:
        with pytest.raises(MalformedBody, match="deep"):
            json_reader(Tree)(text)


def test_what_is_deep_and_wrong_is_refused() -> None:
    text = b'{"child":' * 60 + b"3" + b"}" * 60
    assert faults(Tree, json.loads(text)).keys() == {"#" + "/child" * 60}
    for depth in (50, 600):
        text = b'{"value":1,"parent":' * depth + b'{"child":3}' + b"}" * depth
        with pytest.raises(InvalidContent) as caught:
            json_reader(Node)(text)
        assert str(caught.value) == f"{'parent/' * depth}value: required"


# -- early -----------------------------------------------------------------------------


class Unknown:
    """A class that no library knows."""


@dataclasses.dataclass
class HasUnknown:
    ok: int
    inner: list[dict[str, Unknown]]


@dataclasses.dataclass
class Outer:
    inner: HasUnknown | None


class Forward(BaseModel):
    key: Nowhere  # type: ignore[name-defined]  # noqa: F821


@dataclasses.dataclass
class PydanticConstraint:
    age: Annotated[int, Field(ge=1)]


@dataclasses.dataclass
class WithInitVar:
    a: dataclasses.InitVar[int]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Unknown, "no validator supports Unknown"),
        (Outer, r"no validator supports Unknown \(HasUnknown.inner\)"),
        (list[complex], "complex"),
        (dict[str, int] | DataPhoto, "msgspec cannot validate into .*dict-like"),
        (dt.date | str, "str-like"),
        (Forward, r"annotation of .*Forward.* 'Nowhere' is not defined"),
        (
            PydanticConstraint,
            r"PydanticConstraint.age: msgspec does not know FieldInfo",
        ),
        (WithInitVar, "InitVar"),
        ("Tree", "Tree"),
        (3, "3"),
    ],
    ids=str,
)
def test_what_cannot_be_validated_is_named_when_compiled(
    kind: Any, message: str
) -> None:
    with pytest.raises(TypeError, match=message) as caught:
        model_of(kind)
    assert any("start-up" in note for note in caught.value.__notes__)
    with pytest.raises(TypeError) as caught:
        model_of(kind, early=True)
    assert not hasattr(caught.value, "__notes__")


def test_without_msgspec_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "msgspec", None)
    models._cached_model.cache_clear()
    for kind in (DataAlbum, list[int], AttrsAlbum):
        with pytest.raises(ImportError, match=r"aiostreams\[msgspec\]") as caught:
            model_of(kind)
        assert ids(kind) in str(caught.value)
    assert read(ModelAlbum, ALBUM).title == "x"
    models._cached_model.cache_clear()


# -- attrs -----------------------------------------------------------------------------


def strip(text: str) -> str:
    return text.strip()


@attrs.define
class Checked:
    _age: int = attrs.field(validator=attrs.validators.ge(1))
    name: str = attrs.field(default="", converter=strip)
    made: int = attrs.field(init=False, default=3)


async def test_the_validators_of_attrs_are_run() -> None:
    made = read(Checked, {"_age": 1, "name": " a "})
    assert made == Checked(1, "a")
    assert made.name == "a"
    assert faults(list[Checked], [{"_age": 0}, {"name": 3}]).keys() == {
        "#/0", "#/1/_age", "#/1/name",
    }  # fmt: skip
    assert json.loads(await JSON(made).encode().read()) == {
        "_age": 1, "name": "a", "made": 3,
    }  # fmt: skip


# -- files -----------------------------------------------------------------------------


FILE = StoredFile("photo", "a.png", "image/png", 3, {"sha256": "00"}, "key")


@dataclasses.dataclass
class DataWithFile:
    name: str
    photo: StoredFile | None = None


class StructWithFile(msgspec.Struct):
    name: str
    photo: StoredFile | None = None


@attrs.define
class AttrsWithFile:
    name: str
    photo: StoredFile | None = None


class ModelWithFile(BaseModel):
    name: str
    photo: StoredFile | None = None


@pydantic.dataclasses.dataclass
class PydanticWithFile:
    name: str
    photo: StoredFile | None = None


WITH_FILE = [
    DataWithFile, StructWithFile, AttrsWithFile, ModelWithFile, PydanticWithFile,
]  # fmt: skip


@pytest.mark.parametrize("kind", WITH_FILE, ids=ids)
async def test_no_client_can_make_up_a_stored_file(kind: Any) -> None:
    assert read(kind, {"name": "x"}).photo is None
    assert read(kind, {"name": "x", "photo": None}).photo is None
    made_up = FILE.to_dict()
    assert set(faults(kind, {"photo": made_up})) == {"#/name", "#/photo"}
    assert set(faults(list[kind], [{"name": "x", "photo": "key"}])) == {"#/0/photo"}
    made = model_of(kind).fill({"name": "x", "photo": FILE})
    assert made.photo is FILE
    assert json.loads(await JSON(made).encode().read()) == {
        "name": "x",
        "photo": made_up,
    }
    assert "storage" not in made_up


def test_a_file_of_a_form_is_taken_by_pydantic() -> None:
    class Model(BaseModel):
        photo: File

    file = File(b"x", name="a.png")
    made = Model(photo=file)
    assert made.photo is file
    assert made.model_dump(mode="json") == {
        "photo": {"filename": "a.png", "content_type": "image/png"}
    }
    assert Model.model_json_schema()["properties"]["photo"]["contentMediaType"] == (
        "application/octet-stream"
    )


# -- validators of one's own -----------------------------------------------------------


class Money:
    """A class of no library."""

    def __init__(self, cents: int) -> None:
        self.cents = cents


class MoneyValidator:
    """Validates it, and sees how it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, bool]] = []

    def accepts(self, kind: Any, /) -> bool:
        return kind is Money

    def validate(self, kind: Any, value: Any, /, *, text: bool) -> Any:
        self.asked.append((value, text))
        if value == "crash":
            raise KeyError(value)
        if not isinstance(value, int):
            raise InvalidContent(errors=[("", "cents are an int")])
        return Money(value)

    def dump(self, value: Any, /) -> Any:
        return value.cents


@pytest.fixture
def money() -> Iterator[MoneyValidator]:
    validator = MoneyValidator()
    add_validator(validator)
    yield validator
    models._added.remove(validator)
    models._cached_model.cache_clear()


async def test_a_third_kind_of_validator(money: MoneyValidator) -> None:
    assert read(Money, 3).cents == 3
    assert faults(Money, "x") == {"#": "cents are an int"}
    with pytest.raises(RuntimeError, match="raised KeyError"):
        read(Money, "crash")
    assert await JSON({"a": Money(3)}).encode().read() == b'{"a":3}'
    assert all(text is False for _, text in money.asked)


async def test_a_third_kind_inside_of_msgspecs(money: MoneyValidator) -> None:
    @dataclasses.dataclass
    class Order:
        total: Money
        others: list[Money] = dataclasses.field(default_factory=list)

    assert read(Order, {"total": 3, "others": [4]}).others[0].cents == 4
    assert faults(Order, {"total": "x", "others": [1, "y"]}) == {
        "#/total": "cents are an int",
        "#/others/1": "cents are an int",
    }
    with pytest.raises(RuntimeError, match="raised KeyError"):
        read(Order, {"total": "crash"})
    assert await JSON(Order(Money(1))).encode().read() == b'{"total":1,"others":[]}'


def test_the_last_validator_is_asked_first(money: MoneyValidator) -> None:
    class Other(MoneyValidator):
        def validate(self, kind: Any, value: Any, /, *, text: bool) -> Any:
            return Money(-1)

    assert read(Money, 3).cents == 3
    other = Other()
    add_validator(other)
    assert read(Money, 3).cents == -1
    models._added.remove(other)


def test_what_is_no_validator_is_refused() -> None:
    with pytest.raises(TypeError, match=r"not a validator: it has no accepts\(\)"):
        add_validator(object())  # type: ignore[arg-type]


# -- out -------------------------------------------------------------------------------


async def test_models_are_written_with_what_is_in_them() -> None:
    class Inner(msgspec.Struct):
        day: dt.date
        model: ModelPhoto

    class Outside(BaseModel):
        model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
        struct: Any
        url: pydantic.HttpUrl
        secret: pydantic.SecretStr = pydantic.SecretStr(SECRET)

    value = Outside(
        struct=Inner(dt.date(2026, 1, 31), ModelPhoto(caption="a")),
        url=pydantic.HttpUrl("http://a/b"),
    )
    text = await JSON([value, value.url, dt.timedelta(seconds=90)]).encode().read()
    assert json.loads(text) == [
        {
            "struct": {"day": "2026-01-31", "model": {"caption": "a", "size": 0}},
            "url": "http://a/b",
            "secret": "**********",
        },
        "http://a/b",
        "PT90S" if b"PT90S" in text else "PT1M30S",
    ]


def test_nan_in_a_model_is_an_error() -> None:
    class Model(BaseModel):
        x: float

    with pytest.raises(ValueError, match="not JSON compliant"):
        JSON(Model(x=float("nan"))).encode()


# -- any value -------------------------------------------------------------------------


class Positive(msgspec.Struct):
    n: int

    def __post_init__(self) -> None:
        if self.n <= 0:
            raise ValueError("n must be positive")


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Sparse(TypedDict, total=False):
    a: Required[int]
    b: Annotated[int, "documented"]


@dataclasses.dataclass
class Node:
    value: int
    children: list[Node] = dataclasses.field(default_factory=list)
    parent: Node | None = None


TYPES: list[Any] = [
    Any, None, bool, int, float, str, dict, list, tuple,
    dict[str, int], dict[int, int], dict[float, int], dict[Level, int],
    collections.abc.Mapping[str, float], collections.abc.Sequence[int],
    list[int], list[DictPhoto], set[int], frozenset[str],
    tuple[int, str], tuple[int, ...], int | None, float | int, int | str | None,
    Optional[Node], Union[Sparse, list[int], int],  # noqa: UP007, UP045
    Literal["a", "b"], Literal[1, 2], Level, dt.date, dt.time, dt.datetime, uuid.UUID,
    decimal.Decimal, Annotated[int, msgspec.Meta(ge=0)],
    Annotated[list[int], msgspec.Meta(max_length=2)],
    DictPhoto, Sparse, Node, Positive, list[Positive], Pair, Renamed,
    TaggedCat | TaggedDog, Page[int], AttrsPhoto, MixedAlbum,
]  # fmt: skip

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-2, 3)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["a", "b", "cat", "dog", "1", "-0", "1.5", "", "x"])
    | st.sampled_from(["2026-01-31", "10:20:30", "2026-01-31T10:20:30Z", "0" * 32])
)
NAMES = st.sampled_from(
    ["caption", "size", "a", "b", "n", "value", "children", "parent", "kind", "lives",
     "name", "items", "next", "firstName", "title", "photos", "1", "x", "int", "Cat"]
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(NAMES, inner, max_size=4)
        | st.builds(lambda v, c: {"value": v, "children": c}, inner, inner)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_member_by_member_is_as_in_one_step(kind: Any) -> None:
    """What msgspec refuses has a fault, and what it takes has none and is the same."""
    model: Any = model_of(kind)

    @settings(max_examples=60, deadline=None)
    @given(VALUES)
    def agree(value: Any) -> None:
        found = type(model).check
        try:
            expected = repr(model._convert(value, kind))
        except msgspec.ValidationError:
            expected = "invalid"
        decode, model._decode = model._decode, None
        try:
            made = repr(found(model, value))
        except InvalidContent as error:
            made = "invalid"
            for pointer, _ in error.errors:
                assert leads(pointer, value), (pointer, value)
        finally:
            model._decode = decode
        assert made == expected

    agree()


def leads(pointer: str, value: Any) -> bool:
    """Whether all but the last step of a pointer is there."""
    *steps, last = ["", *pointer.split("/")[1:]]
    del last
    for step in steps[1:]:
        if isinstance(value, dict):
            names = {pointer_to([name])[2:]: name for name in value}
            if step not in names:
                return False
            value = value[names[step]]
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return False
    return len(pointer) == 1 or isinstance(value, (dict, list))


class Anything(BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    a: int | list[Anything] | dict[str, int] | None = None
    b: Cat | Dog | tuple[int, str] | None = None
    kind: Annotated[Cat | Dog, Field(discriminator="kind")] | None = None
    items: dict[int, Anything | str] = {}
    next: Optional[Anything] = Field(None, alias="x")  # noqa: UP045


@pytest.mark.parametrize(
    "kind",
    [Anything, list[Anything], dict[str, Anything], Owner, Page[Anything]],
    ids=str,
)
@settings(max_examples=150, deadline=None)
@given(value=VALUES)
def test_pydantics_faults_lead_into_the_value(kind: Any, value: Any) -> None:
    try:
        read(kind, value)
    except InvalidContent as error:
        found = error.errors
    else:
        return
    assert found
    for pointer, detail in found:
        assert leads(pointer, value), (pointer, value)
        assert detail
