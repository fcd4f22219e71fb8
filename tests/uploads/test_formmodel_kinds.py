"""A form with files as a model of every kind, by bind and by receive."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterator
from typing import Annotated, Any, NamedTuple, NotRequired, TypedDict

import pytest

pytest.importorskip("msgspec", reason="needs the extra msgspec")
pytest.importorskip("pydantic", reason="needs the extra pydantic")

import attrs
import msgspec
import pydantic
from aiohttp import ClientSession, FormData, web

from aiostreams import (
    JSON,
    File,
    FileRule,
    FormField,
    InvalidContent,
    MemoryStorage,
    StoredFile,
    add_validator,
    iter_parts,
    read_form,
    receive,
    setup,
)
from aiostreams.content import models
from aiostreams.uploads.formmodel import bind, file_rules, json_fields
from tests.servers import serving

RULE = FileRule(accept={"image/gif"}, max_size=100)


@dataclasses.dataclass
class Point:
    x: int


class ModelPoint(pydantic.BaseModel):
    x: int


@dataclasses.dataclass
class DataAlbum:
    title: Annotated[str, FormField("album-title")]
    cover: Annotated[StoredFile, RULE]
    public: bool
    born: dt.date | None
    level: int = 3
    tags: list[str] = dataclasses.field(default_factory=list)
    numbers: set[int] = dataclasses.field(default_factory=set)
    point: Point | None = None
    pages: Annotated[list[StoredFile], FileRule(max_count=2)] = dataclasses.field(
        default_factory=list
    )
    back: StoredFile | None = None


class StructAlbum(msgspec.Struct):
    title: Annotated[str, FormField("album-title")]
    cover: Annotated[StoredFile, RULE]
    public: bool
    born: dt.date | None
    level: int = 3
    tags: list[str] = []
    numbers: set[int] = set()
    point: Point | None = None
    pages: Annotated[list[StoredFile], FileRule(max_count=2)] = []
    back: StoredFile | None = None


@attrs.define
class AttrsAlbum:
    title: Annotated[str, FormField("album-title")]
    cover: Annotated[StoredFile, RULE]
    public: bool
    born: dt.date | None
    level: int = 3
    tags: list[str] = attrs.Factory(list)
    numbers: set[int] = attrs.Factory(set)
    point: Point | None = None
    pages: Annotated[list[StoredFile], FileRule(max_count=2)] = attrs.Factory(list)
    back: StoredFile | None = None


class DictAlbum(TypedDict):
    title: Annotated[str, FormField("album-title")]
    cover: Annotated[StoredFile, RULE]
    public: bool
    born: dt.date | None
    level: NotRequired[int]
    tags: NotRequired[list[str]]
    numbers: NotRequired[set[int]]
    point: NotRequired[Point | None]
    pages: NotRequired[Annotated[list[StoredFile], FileRule(max_count=2)]]
    back: NotRequired[StoredFile | None]


class TupleAlbum(NamedTuple):
    title: Annotated[str, FormField("album-title")]
    cover: Annotated[StoredFile, RULE]
    public: bool
    born: dt.date | None
    level: int = 3
    tags: list[str] = []  # noqa: RUF012
    numbers: set[int] = set()  # noqa: RUF012
    point: Point | None = None
    pages: Annotated[list[StoredFile], FileRule(max_count=2)] = []  # noqa: RUF012
    back: StoredFile | None = None


class ModelAlbum(pydantic.BaseModel):
    title: Annotated[str, FormField("album-title")]
    cover: Annotated[StoredFile, RULE]
    public: bool
    born: dt.date | None
    level: int = 3
    tags: list[str] = []
    numbers: set[int] = set()
    point: ModelPoint | None = None
    pages: Annotated[list[StoredFile], FileRule(max_count=2)] = []
    back: StoredFile | None = None


@pydantic.dataclasses.dataclass
class PydanticAlbum:
    title: Annotated[str, FormField("album-title")]
    cover: Annotated[StoredFile, RULE]
    public: bool
    born: dt.date | None
    level: int = 3
    tags: list[str] = dataclasses.field(default_factory=list)
    numbers: set[int] = dataclasses.field(default_factory=set)
    point: ModelPoint | None = None
    pages: Annotated[list[StoredFile], FileRule(max_count=2)] = dataclasses.field(
        default_factory=list
    )
    back: StoredFile | None = None


KINDS: list[Any] = [
    DataAlbum,
    StructAlbum,
    AttrsAlbum,
    DictAlbum,
    TupleAlbum,
    ModelAlbum,
    PydanticAlbum,
    pydantic.TypeAdapter(ModelAlbum),
    pydantic.TypeAdapter(PydanticAlbum),
]
every_kind = pytest.mark.parametrize(
    "kind", KINDS, ids=lambda kind: getattr(kind, "__name__", repr(kind)[:40])
)
FILE = StoredFile("cover", "a.gif", "image/gif", 3, {}, "key")
PAIRS = [
    ("album-title", ""),
    ("public", "on"),
    ("born", " 2026-01-31 "),
    ("level", ""),
    ("tags", "a"),
    ("tags", ""),
    ("numbers", "1"),
    ("numbers", " +2"),
    ("numbers", " "),
    ("point", '{"x": 3}'),
    ("unknown", "x"),
]


def of(made: Any, name: str) -> Any:
    return made[name] if isinstance(made, dict) else getattr(made, name)


@every_kind
def test_a_form_becomes_a_model(kind: Any) -> None:
    made = bind(kind, PAIRS, [("cover", FILE), ("pages", FILE), ("unknown", FILE)])
    assert of(made, "title") == ""
    assert of(made, "cover") is FILE
    assert of(made, "public") is True
    assert of(made, "born") == dt.date(2026, 1, 31)
    assert of(made, "tags") == ["a", ""]
    assert of(made, "numbers") == {1, 2}
    assert of(made, "point").x == 3
    assert of(made, "pages") == [FILE]
    if not isinstance(made, dict):
        assert made.level == 3
        assert made.back is None


@every_kind
def test_what_is_not_filled_in(kind: Any) -> None:
    made = bind(kind, [("album-title", "t"), ("cover", "")], [("cover", FILE)])
    assert of(made, "public") is False
    assert of(made, "born") is None
    if not isinstance(made, dict):
        assert made.tags == []


@every_kind
def test_all_faults_of_a_form_are_named_by_its_fields(kind: Any) -> None:
    fields = [
        ("public", "?"),
        ("born", "31.1."),
        ("level", "nan"),
        ("numbers", "1"),
        ("numbers", "x"),
        ("point", '{"x": []}'),
        ("back", "made up"),
        ("nmae", "x"),
    ]
    files = [("pages", FILE)] * 3
    with pytest.raises(InvalidContent) as caught:
        bind(kind, fields, files, unknown="forbid")
    assert dict(caught.value.errors).keys() == {
        "#/album-title", "#/cover", "#/public", "#/born", "#/level", "#/numbers/1",
        "#/point/x", "#/pages", "#/back", "#/nmae",
    }  # fmt: skip
    found = dict(caught.value.errors)
    assert found["#/album-title"] == "required"
    assert found["#/cover"] == "a file is required"
    assert found["#/pages"] == "'a.gif' is too many: at most 2 files, got 3"
    assert found["#/back"] == "expected a file, got text"
    assert found["#/nmae"] == "no such field"
    assert "31.1." not in found["#/born"]


@every_kind
def test_rules_and_json_are_known(kind: Any) -> None:
    assert set(file_rules(kind)) == {"cover", "pages", "back"}
    assert file_rules(kind)["cover"].accept == {"image/gif"}
    assert json_fields(kind) == {"point"}


def test_the_models_own_policy_on_unknown_fields_holds() -> None:
    class Closed(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(extra="forbid")
        a: int = 0

    class Open(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(extra="allow")
        a: int = 0

    class ClosedStruct(msgspec.Struct, forbid_unknown_fields=True):
        a: int = 0

    fields = [("b", "1"), ("c", "2"), ("c", "3"), ("_charset_", "utf-8")]
    for kind in (Closed, ClosedStruct):
        with pytest.raises(InvalidContent) as caught:
            bind(kind, fields)
        assert dict(caught.value.errors) == {
            "#/b": "no such field",
            "#/c": "no such field",
        }
    assert bind(Open, fields).model_extra == {"b": "1", "c": ["2", "3"]}


def test_validators_of_pydantic_see_the_text() -> None:
    class Model(pydantic.BaseModel):
        tags: str
        total: int = 0

        @pydantic.field_validator("tags", mode="before")
        @classmethod
        def _split(cls, value: str) -> str:
            return value.replace(",", "|")

        @pydantic.model_validator(mode="after")
        def _whole(self) -> Model:
            if self.total > 9:
                raise ValueError("too much in all")
            return self

    assert bind(Model, [("tags", "a,b")]).tags == "a|b"
    with pytest.raises(InvalidContent) as caught:
        bind(Model, [("tags", "a"), ("total", "10")])
    assert caught.value.errors == (("#", "too much in all"),)


class Own:
    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values


class OwnValidator:
    def accepts(self, kind: Any, /) -> bool:
        return kind is Own

    def validate(self, kind: Any, value: Any, /, *, text: bool) -> Any:
        assert text
        if "a" not in value:
            raise InvalidContent(errors=[("a", "is missing")])
        return Own(value)

    def dump(self, value: Any, /) -> Any:
        return value.values


@pytest.fixture
def own() -> Iterator[None]:
    validator = OwnValidator()
    add_validator(validator)
    yield
    models._added.remove(validator)
    models._cached_model.cache_clear()


@pytest.mark.usefixtures("own")
def test_a_validator_of_ones_own_takes_fields_and_files() -> None:
    made = bind(Own, [("a", "1"), ("b", "2"), ("b", "3")], [("f", FILE)])
    assert made.values == {"a": "1", "b": ["2", "3"], "f": FILE}
    with pytest.raises(InvalidContent, match="a: is missing"):
        bind(Own, [])


# -- over a connection -----------------------------------------------------------------


class Note(pydantic.BaseModel):
    text: str
    file: File | None = None
    more: list[File] = []


@every_kind
async def test_a_model_is_received(kind: Any) -> None:
    storage = MemoryStorage()

    async def handler(request: web.Request) -> Any:
        async with receive(request, form=kind) as album:
            return JSON([of(album, "cover").size, of(album, "title")])

    app = web.Application()
    app.router.add_post("/", handler)
    setup(app, storage=storage)
    async with serving(app) as (host, port), ClientSession() as client:
        url = f"http://{host}:{port}/"
        form = FormData({"album-title": "t", "point": '{"x": 1}'})
        form.add_field("cover", b"GIF89a", filename="a.gif")
        async with client.post(url, data=form) as response:
            assert await response.json() == [6, "t"]
        form = FormData({"album-title": "t", "point": '{"x": "no"}'})
        form.add_field("cover", b"GIF89a", filename="a.gif")
        async with client.post(url, data=form) as response:
            assert response.status == 422
            ((fault),) = (await response.json())["errors"]
            assert fault["pointer"] == "#/point/x"
    assert len([stored async for stored in storage.list("")]) == 1


@pytest.mark.usefixtures("own")
async def test_a_validator_of_ones_own_receives() -> None:
    async def handler(request: web.Request) -> Any:
        async with receive(request, form=Own) as made:
            return JSON([made.values["a"], made.values["f"].size])

    app = web.Application()
    app.router.add_post("/", handler)
    setup(app, storage=MemoryStorage())
    async with serving(app) as (host, port), ClientSession() as client:
        form = FormData({"a": "1"})
        form.add_field("f", b"content", filename="a.txt")
        async with client.post(f"http://{host}:{port}/", data=form) as response:
            assert await response.json() == ["1", 7]


async def test_a_form_in_memory_becomes_a_model_of_pydantic() -> None:
    async def handler(request: web.Request) -> Any:
        note = await read_form(request, Note)
        assert note.file is not None
        async with note.file as stream:
            return JSON([note.text, (await stream.read()).decode(), len(note.more)])

    app = web.Application()
    app.router.add_post("/", handler)
    setup(app)
    async with serving(app) as (host, port), ClientSession() as client:
        form = FormData({"text": "t"})
        form.add_field("file", b"content", filename="a.txt")
        form.add_field("more", b"1", filename="b.txt")
        form.add_field("more", b"2", filename="c.txt")
        async with client.post(f"http://{host}:{port}/", data=form) as response:
            assert await response.json() == ["t", "content", 2]


async def test_the_json_of_a_part_is_named_by_the_part() -> None:
    async def handler(request: web.Request) -> Any:
        async for part in iter_parts(request):
            await part.json(type=list[Point])
        return JSON(None)

    app = web.Application()
    app.router.add_post("/", handler)
    setup(app)
    async with serving(app) as (host, port), ClientSession() as client:
        body = (
            '--b\r\nContent-Disposition: form-data; name="méta"\r\n\r\n'
            '[{"x": 1}, {"x": "no"}]\r\n--b--\r\n'
        ).encode()
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        url = f"http://{host}:{port}/"
        async with client.post(url, data=body, headers=headers) as response:
            assert response.status == 422
            ((fault),) = (await response.json())["errors"]
    assert fault == {
        "pointer": "#/1/x",
        "detail": r"part 'm\xe9ta': Expected `int`, got `str`",
    }
