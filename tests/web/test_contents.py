"""Content of one's own: registered, read, offered, and refused truthfully."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import ClientSession, web

from aiostreams import (
    CSV,
    HTML,
    JSON,
    NDJSON,
    ByteStream,
    Content,
    MsgPack,
    Stream,
    Text,
    negotiate,
    read_content,
    register_content,
    setup,
)
from aiostreams.web import contents
from tests.servers import serving


class Mine(Content):
    """Numbers, one digit each."""

    def __init__(self, digits: list[int]) -> None:
        if not isinstance(digits, list):
            raise TypeError("digits are a list")
        self.digits = digits

    @property
    def content_type(self) -> str:
        return "text/x-mine"

    def encode(self) -> Stream:
        text = "".join(map(str, self.digits))
        return ByteStream(text.encode(), content_type=self.content_type)

    @classmethod
    async def decode(cls, stream: Stream, *, limits: Any = None) -> Mine:  # noqa: ARG003
        return cls([int(digit) for digit in (await stream.read()).decode()])


@pytest.fixture
def mine() -> Iterator[None]:
    types, suffixes = dict(contents._types), dict(contents._suffixes)
    assert register_content("text/x-mine", "text/x-old", suffix="+mine")(Mine) is Mine
    yield
    contents._types.clear()
    contents._types.update(types)
    contents._suffixes.clear()
    contents._suffixes.update(suffixes)


async def asked(handler: Any, *, body: bytes | None = None, **headers: Any) -> Any:
    """Status, header fields and body of an answer."""
    app = web.Application()
    app.router.add_route("*", "/", handler)
    setup(app)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    async with (
        serving(app) as (host, port),
        ClientSession() as client,
        client.request(
            "GET" if body is None else "POST",
            f"http://{host}:{port}/",
            data=body,
            headers=sent,
            skip_auto_headers=["Accept", "Content-Type"],
        ) as response,
    ):
        return response.status, response.headers, await response.read()


# -- read_content ----------------------------------------------------------------------


@pytest.mark.usefixtures("mine")
@pytest.mark.parametrize(
    "kind", ["text/x-mine", "TEXT/X-Mine; charset=utf-8", "text/x-old", "a/b+mine"]
)
async def test_a_registered_class_is_read_and_sent(kind: str) -> None:
    async def double(request: web.Request) -> Any:
        content = await read_content(request)
        assert isinstance(content, Mine)
        return Mine(content.digits * 2)

    status, headers, body = await asked(double, body=b"12", Content_Type=kind)
    assert (status, headers["Content-Type"], body) == (200, "text/x-mine", b"1212")


@pytest.mark.usefixtures("mine")
async def test_415_says_what_would_be_welcome() -> None:
    async def read(request: web.Request) -> Any:
        return Text(type(await read_content(request, Mine, JSON)).__name__)

    status, headers, body = await asked(read, body=b"1", Content_Type="text/html")
    assert status == 415
    assert headers["Accept"] == "application/json, text/x-mine, text/x-old"
    assert b"application/json, text/x-mine, text/x-old" in body
    status, _, body = await asked(read, body=b"1", Content_Type="a/b+json")
    assert (status, body) == (200, b"JSON")


async def test_a_class_that_is_not_registered_is_a_mistake() -> None:
    async def read(request: web.Request) -> Any:
        return await read_content(request, Mine)

    assert (await asked(read, body=b"1", Content_Type="text/html"))[0] == 500


@pytest.mark.parametrize(
    ("kind", "body", "name"),
    [
        ("text/csv", b"x\n1\n", "CSV"),
        ("application/x-ndjson", b"1\n", "NDJSON"),
        ("application/msgpack", b"\x01", "MsgPack"),
        ("application/x-msgpack", b"\x01", "MsgPack"),
        ("application/vnd.msgpack", b"\x01", "MsgPack"),
        ("text/html", b"x", "HTML"),
        ("application/x-www-form-urlencoded", b"a=1", "MultiPart"),
        ("image/png", b"x", "File"),
    ],
)
async def test_what_is_registered_by_the_package(
    kind: str, body: bytes, name: str
) -> None:
    if name == "MsgPack":
        pytest.importorskip("msgspec", reason="needs the extra msgspec")

    async def read(request: web.Request) -> Any:
        content = await read_content(request)
        if isinstance(content, (CSV, NDJSON)):
            assert [row async for row in content]
        return Text(type(content).__name__)

    status, _, answer = await asked(read, body=body, Content_Type=kind)
    expected = "Form" if name == "MultiPart" else name
    assert (status, answer.decode()) == (200, expected)


# -- registration ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "text", "text/*", "a/b; c=d", "a b/c", "*/*"])
def test_a_type_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not a media type"):
        register_content(name)


@pytest.mark.parametrize("suffix", ["mine", "+", "+a b", ""])
def test_a_suffix_that_is_none_is_refused(suffix: str) -> None:
    with pytest.raises(ValueError, match="is not a suffix"):
        register_content("text/x-mine", suffix=suffix)


class NoDecode(Mine):
    decode = None  # type: ignore[assignment]


class NoClassMethod(Mine):
    async def decode(self, stream: Stream, *, limits: Any = None) -> Any:  # type: ignore[override]
        return self


class NoCoroutine(Mine):
    @classmethod
    def decode(cls, stream: Stream, *, limits: Any = None) -> Any:  # noqa: ARG003
        return cls([])


class NoLimits(Mine):
    @classmethod
    async def decode(cls, stream: Stream) -> Any:  # type: ignore[override]  # noqa: ARG003
        return cls([])


class Abstract(Content):
    pass


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (int, "is not a class of Content"),
        (Mine([]), "is not a class of Content"),
        (Abstract, "Abstract lacks content_type, decode, encode"),
        (NoDecode, "is not a classmethod"),
        (NoClassMethod, "is not a classmethod"),
        (NoCoroutine, "is not a coroutine function"),
        (NoLimits, r"does not take \(stream, \*, limits\)"),
    ],
)
def test_a_class_that_does_not_fit_is_refused(cls: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        register_content("text/x-none")(cls)
    assert contents._class_of("text/x-none") is None


# -- negotiate -------------------------------------------------------------------------

ROWS = [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("text/csv", "text/csv; charset=utf-8"),
        ("text/csv;q=0.5, application/json;q=0.4", "text/csv; charset=utf-8"),
        ("text/*", "text/csv; charset=utf-8"),
        ("application/x-ndjson", "application/x-ndjson"),
    ],
)
async def test_the_class_that_is_liked_best(
    accept: str | None, content_type: str
) -> None:
    async def named(request: web.Request) -> Any:
        return negotiate(request, ROWS, JSON, CSV, NDJSON)

    async def every(request: web.Request) -> Any:
        return negotiate(request, ROWS)

    for handler in (named, every):
        more: dict[str, Any] = {} if accept is None else {"Accept": accept}
        status, headers, _ = await asked(handler, **more)
        assert (status, headers["Content-Type"]) == (200, content_type)
        assert "Accept" in headers["Vary"].split(", ")


async def test_406_names_what_there_is() -> None:
    async def handler(request: web.Request) -> Any:
        return negotiate(request, ROWS, JSON, CSV)

    status, headers, body = await asked(handler, Accept="image/png")
    assert status == 406
    assert b"application/json, text/csv" in body
    assert "Accept" in headers["Vary"]


@pytest.mark.usefixtures("mine")
async def test_a_registered_class_is_offered() -> None:
    async def handler(request: web.Request) -> Any:
        return negotiate(request, [1, 2])

    status, headers, body = await asked(handler, Accept="text/x-mine")
    assert (status, headers["Content-Type"], body) == (200, "text/x-mine", b"12")
    assert (await asked(handler, Accept="text/csv"))[0] == 406  # no rows


async def test_what_cannot_be_made_is_not_offered() -> None:
    async def handler(request: web.Request) -> Any:
        return negotiate(request, iter([[1], [2]]))

    status, headers, body = await asked(handler)
    assert (status, headers["Content-Type"]) == (200, "application/x-ndjson")
    assert body == b"[1]\n[2]\n"


async def test_markup_is_not_made_of_a_value_unless_asked_for() -> None:
    async def every(request: web.Request) -> Any:
        return negotiate(request, "<script>")

    async def named(request: web.Request) -> Any:
        return negotiate(request, "<p>", HTML, Text)

    browser = "text/html,application/xml;q=0.9,*/*;q=0.8"
    _, headers, _ = await asked(every, Accept=browser)
    assert headers["Content-Type"] == "application/json"
    assert (await asked(every, Accept="text/html"))[0] == 406
    _, headers, _ = await asked(named, Accept=browser)
    assert headers["Content-Type"].startswith("text/html")


async def test_a_value_that_nothing_can_be_made_of_is_a_mistake() -> None:
    async def handler(request: web.Request) -> Any:
        return negotiate(request, float("nan"), JSON)

    async def other(request: web.Request) -> Any:
        return negotiate(request, 1, Mine)

    async def third(request: web.Request) -> Any:
        return negotiate(request, 1, Text)

    for wrong in (handler, other, third):
        assert (await asked(wrong))[0] == 500


async def test_messagepack_is_offered() -> None:
    pytest.importorskip("msgspec", reason="needs the extra msgspec")

    async def handler(request: web.Request) -> Any:
        return negotiate(request, {"a": 1}, JSON, MsgPack)

    status, headers, body = await asked(handler, Accept="application/vnd.msgpack")
    assert (status, body) == (200, b"\x81\xa1a\x01")
    assert headers["Content-Type"] == "application/vnd.msgpack"
