"""iter_json: the values of a document while it arrives, and one of them in memory."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import types
import weakref
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import web

from aiostreams import (
    JSON,
    InvalidContent,
    LimitExceeded,
    Limits,
    MalformedBody,
    Stream,
    iter_json,
    open_stream,
    read_json,
    setup,
)
from aiostreams.web.state import body_of
from tests.servers import CHUNKED, chunk, connected, post, serving
from tests.web.scripts import dripped, run


@pytest.fixture
def ijson() -> None:
    pytest.importorskip("ijson", reason="needs the extra ijson")


with_ijson = pytest.mark.usefixtures("ijson")

DOCUMENT = {"rows": [{"id": 1, "x": 1.5}, "two", None], "more": {"a": [1], "b": "]"}}


@with_ijson
@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("rows.item", DOCUMENT["rows"]),
        ("rows.item.id", [1]),
        ("", [DOCUMENT]),
        ("*", list(DOCUMENT.items())),
        ("more.*", [("a", [1]), ("b", "]")]),
        ("nowhere", []),
    ],
)
async def test_iter_json_paths(path: str, values: list[Any]) -> None:
    async def script(request: web.BaseRequest) -> Any:
        return [value async for value in iter_json(request, path)]

    body = json.dumps(DOCUMENT).encode()
    assert await run(script, post(body)) == values
    assert await run(script, *dripped(body)) == values


@with_ijson
async def test_iter_json_gives_values_as_they_arrive() -> None:
    first = asyncio.Event()
    result: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def handler(request: web.Request) -> web.Response:
        got = []
        async for value in iter_json(request):
            got.append(value)
            first.set()
        result.set_result(got)
        return web.Response()

    async with serving(handler) as address, connected(address) as raw:
        await raw.send(post(headers=CHUNKED), chunk(b'[{"a": 1}, '))
        await first.wait()
        await raw.send(chunk(b"2]"), b"0\r\n\r\n")
        assert await result == [{"a": 1}, 2]


@with_ijson
@pytest.mark.parametrize(
    "body",
    [b"", b"[1, 2", b"[1 2]", b'["\xff"]', b"{]", b"[" * 5000, b"[1] trailing"],
)
async def test_iter_json_of_what_is_not_json(body: bytes) -> None:
    async def script(request: web.BaseRequest) -> Any:
        return [value async for value in iter_json(request)]

    with pytest.raises(MalformedBody):
        await run(script, post(body))


@with_ijson
async def test_iter_json_bounds_one_value() -> None:
    async def script(request: web.BaseRequest) -> Any:
        body_of(request).limits = Limits(max_memory=1000)
        return [len(value) async for value in iter_json(request)]

    fits = json.dumps(["x" * 500] * 2000).encode()
    assert await run(script, *dripped_in(fits, 200)) == [500] * 2000
    bomb = b'["' + b"x" * 5_000_000
    with pytest.raises(LimitExceeded) as caught:
        await run(script, *dripped_in(bomb[:300_000], 100_000))
    assert caught.value.limit == 1000


@with_ijson
@pytest.mark.parametrize("before", [0, 3])
@pytest.mark.parametrize(
    ("ceiling", "pieces"),
    [
        *[(160, 1), (160, 7), (160, None), (1600, 7), (1600, 100), (1600, None)],
        *[(16_000, 1000), (16_000, 16_000), (16_000, None)],
    ],
)
async def test_iter_json_lets_no_more_than_a_sixteenth_pass_beyond_its_bound(
    ceiling: int, before: int, pieces: int | None
) -> None:
    """However much arrives at once, and whatever stands before the value."""

    async def script(request: web.BaseRequest) -> Any:
        body_of(request).limits = Limits(max_memory=ceiling)
        return [len(value) async for value in iter_json(request)]

    def body(size: int) -> bytes:
        values = ["x" * 10] * before + ["y" * (size - 2)]  # and its quotes
        return json.dumps(values, separators=(",", ":")).encode()

    def sent(size: int) -> list[bytes]:
        cut = body(size)
        return [post(cut)] if pieces is None else dripped_in(cut, pieces)

    fits = ceiling - 1  # and a comma or a bracket
    assert await run(script, *sent(fits)) == [10] * before + [fits - 2]
    with pytest.raises(LimitExceeded) as caught:
        await run(script, *sent(ceiling + ceiling // 16))
    assert (caught.value.limit, caught.value.seen) == (ceiling, ceiling + 1)


@with_ijson
@pytest.mark.parametrize("path", ["item", "*"])
async def test_iter_json_of_a_bad_coding_keeps_nothing(path: str) -> None:
    """Its parser is out of the garbage collector's sight: no circle may go through."""
    streams: list[weakref.ref[Stream]] = []

    async def handler(request: web.Request) -> Any:
        streams.append(weakref.ref(open_stream(request)))
        return JSON([value async for value in iter_json(request, path)])

    app = web.Application()
    app.router.add_post("/", handler)
    setup(app)
    async with serving(app, auto_decompress=False, lingering_time=0) as address:
        for _ in range(5):
            async with connected(address) as raw:
                await raw.send(post(b"x" * 30, headers=[("Content-Encoding", "gzip")]))
                assert (await raw.response())[0] == 400
    gc.collect()
    assert [stream() for stream in streams] == [None] * 5


def dripped_in(body: bytes, size: int) -> list[bytes]:
    pieces = [chunk(body[i : i + size]) for i in range(0, len(body), size)]
    return [post(headers=CHUNKED), b"".join(pieces), b"0\r\n\r\n"]


async def test_iter_json_without_ijson_names_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "ijson", None)

    async def script(request: web.BaseRequest) -> Any:
        return iter_json(request)

    with pytest.raises(ImportError, match=r"aiostreams\[ijson\]"):
        await run(script, post(b"[]"))


@dataclass
class Row:
    id: int
    name: str = ""


@with_ijson
async def test_iter_json_makes_values_of_a_type() -> None:
    async def script(request: web.BaseRequest) -> Any:
        return [value async for value in iter_json(request, "rows.item", type=Row)]

    body = json.dumps({"rows": [{"id": 1}, {"id": 2, "name": "b"}]}).encode()
    assert await run(script, post(body)) == [Row(1), Row(2, "b")]


@with_ijson
async def test_iter_json_makes_the_values_of_members() -> None:
    async def script(request: web.BaseRequest) -> Any:
        return [value async for value in iter_json(request, "*", type=Row)]

    body = json.dumps({"a": {"id": 1}, "b": {"id": 2}}).encode()
    assert await run(script, post(body)) == [("a", Row(1)), ("b", Row(2))]


@with_ijson
async def test_iter_json_names_the_value_that_does_not_fit() -> None:
    got = []

    async def script(request: web.BaseRequest) -> Any:
        async for value in iter_json(request, type=Row):
            got.append(value)

    body = json.dumps([{"id": 1}, {"id": "two"}]).encode()
    with pytest.raises(InvalidContent, match=r"^value 2: \$.id: expected int, got str"):
        await run(script, post(body))
    assert got == [Row(1)]


async def test_an_ijson_that_lets_the_decoders_error_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Some versions of some of its back ends do."""

    async def items_async(source: Any, path: str, **_kwargs: Any) -> AsyncIterator[Any]:
        while data := await source.read(99):
            yield data.decode()

    error = type("JSONError", (Exception,), {})
    fake = types.SimpleNamespace(JSONError=error, items_async=items_async)
    monkeypatch.setitem(sys.modules, "ijson", fake)

    async def script(request: web.BaseRequest) -> Any:
        return [value async for value in iter_json(request)]

    assert await run(script, post(b"abc")) == ["abc"]
    with pytest.raises(MalformedBody, match="not UTF-8, at byte 2"):
        await run(script, post(b'a"\xff'))


@with_ijson
@pytest.mark.parametrize(
    ("body", "values"),
    [
        (b"[18446744073709551615, 1]", [2**64 - 1, 1]),
        (
            b'[{"id": -9223372036854775809, "x": [1.5]}]',
            [{"id": -(2**63) - 1, "x": [1.5]}],
        ),
        (b"\xef\xbb\xbf[1]", [1]),
        (rb'["\ud83d\ude00"]', ["\U0001f600"]),
    ],
)
async def test_iter_json_gives_what_read_json_gives(
    body: bytes, values: list[Any]
) -> None:
    async def iterated(request: web.BaseRequest) -> Any:
        return [value async for value in iter_json(request)]

    async def read(request: web.BaseRequest) -> Any:
        return await read_json(request)

    assert await run(read, post(body)) == values
    assert await run(iterated, post(body)) == values
    assert await run(iterated, *dripped(body)) == values


@with_ijson
@pytest.mark.parametrize(
    "body",
    [rb'["\ud800"]', rb'["\ud888\u1234"]', b"[\x0c1]", b"[1e999]", "[\uff11]".encode()],
)
@pytest.mark.parametrize("backend", ["yajl2_c", "python"])
async def test_iter_json_refuses_what_read_json_refuses(
    monkeypatch: pytest.MonkeyPatch, backend: str, body: bytes
) -> None:
    import ijson

    try:
        chosen = ijson.get_backend(backend)
    except ImportError:
        pytest.skip("this parser of ijson is not built here")
    monkeypatch.setattr(ijson, "items_async", chosen.items_async)
    monkeypatch.setattr(ijson, "backend", backend)

    async def iterated(request: web.BaseRequest) -> Any:
        return [value async for value in iter_json(request)]

    async def read(request: web.BaseRequest) -> Any:
        return await read_json(request)

    for script in (iterated, read):
        with pytest.raises(MalformedBody):
            await run(script, post(body))


@with_ijson
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("body", [b'["\t"]', rb'["\x"]', rb'["\u12"]'])
async def test_iter_json_of_a_bad_string_by_the_parser_in_python(
    monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    import ijson

    monkeypatch.setattr(ijson, "items_async", ijson.get_backend("python").items_async)

    async def script(request: web.BaseRequest) -> Any:
        return [value async for value in iter_json(request)]

    with pytest.raises(MalformedBody):
        await run(script, post(body))
    gc.collect()  # its generators complain when they go
