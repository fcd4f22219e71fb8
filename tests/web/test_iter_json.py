"""iter_json: the values of a document while it arrives, and one of them in memory."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref
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
def msgspec() -> None:
    pytest.importorskip("msgspec", reason="needs the extra msgspec")


with_msgspec = pytest.mark.usefixtures("msgspec")

DOCUMENT = {"rows": [{"id": 1, "x": 1.5}, "two", None], "more": {"a": [1], "b": "]"}}


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


@pytest.mark.parametrize(
    "body",
    [b"", b"[1, 2", b"[1 2]", b'["\xff"]', b"{]", b"[" * 5000, b"[1] trailing"],
)
async def test_iter_json_of_what_is_not_json(body: bytes) -> None:
    async def script(request: web.BaseRequest) -> Any:
        return [value async for value in iter_json(request)]

    with pytest.raises(MalformedBody):
        await run(script, post(body))


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


@pytest.mark.parametrize("before", [0, 3])
@pytest.mark.parametrize("pieces", [1, 7, 100, 16_000, None])
@pytest.mark.parametrize("nested", [0, 1, 5])
@pytest.mark.parametrize("path", ["item", "beside"])
async def test_iter_json_lets_a_value_of_n_bytes_pass_and_no_more(
    path: str, nested: int, pieces: int | None, before: int
) -> None:
    """However much arrives at once, whatever stands before it, asked for or not."""
    ceiling = 1600

    async def script(request: web.BaseRequest) -> Any:
        body_of(request).limits = Limits(max_memory=ceiling)
        return len([value async for value in iter_json(request, path)])

    def sent(size: int) -> list[bytes]:
        value: Any = "y" * (size - 2 - 2 * nested)  # its quotes and brackets
        for _ in range(nested):
            value = [value]
        cut = json.dumps(["x" * 10] * before + [value]).encode()
        return [post(cut)] if pieces is None else dripped_in(cut, pieces)

    assert await run(script, *sent(ceiling)) == (before + 1 if path == "item" else 0)
    with pytest.raises(LimitExceeded, match="a value of the JSON") as caught:
        await run(script, *sent(ceiling + 1))
    assert (caught.value.limit, caught.value.seen) == (ceiling, ceiling + 1)


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


@dataclass
class Row:
    id: int
    name: str = ""


@with_msgspec
async def test_iter_json_makes_values_of_a_type() -> None:
    async def script(request: web.BaseRequest) -> Any:
        return [value async for value in iter_json(request, "rows.item", type=Row)]

    body = json.dumps({"rows": [{"id": 1}, {"id": 2, "name": "b"}]}).encode()
    assert await run(script, post(body)) == [Row(1), Row(2, "b")]


@with_msgspec
async def test_iter_json_makes_the_values_of_members() -> None:
    async def script(request: web.BaseRequest) -> Any:
        return [value async for value in iter_json(request, "*", type=Row)]

    body = json.dumps({"a": {"id": 1}, "b": {"id": 2}}).encode()
    assert await run(script, post(body)) == [("a", Row(1)), ("b", Row(2))]


async def fault(path: str, kind: Any, document: Any) -> tuple[str, list[Any]]:
    """The pointer to the one value that is wrong, and what came before it."""
    got: list[Any] = []

    async def script(request: web.BaseRequest) -> Any:
        async for value in iter_json(request, path, type=kind):
            got.append(value)

    body = json.dumps(document).encode()
    for arrived in (post(body),), dripped(body):
        got.clear()
        with pytest.raises(InvalidContent) as caught:
            await run(script, *arrived)
    ((pointer, detail),) = caught.value.errors
    assert detail == "Expected `int`, got `str`"
    return pointer, got


@with_msgspec
async def test_iter_json_names_the_value_that_does_not_fit() -> None:
    pointer, got = await fault("item", Row, [{"id": 1}, {"id": "two"}])
    assert pointer == "#/1/id"
    assert got == [Row(1)]


@with_msgspec
@pytest.mark.parametrize(
    ("path", "document", "pointer"),
    [
        ("", "x", "#"),
        ("a.b", {"a": {"b": "x"}}, "#/a/b"),
        ("rows.item", {"rows": [1, "x"]}, "#/rows/1"),
        ("*", {"a": 1, "b/c": "x"}, "#/b~1c"),
        ("rows.*", {"rows": {"a": 1, "b": "x"}}, "#/rows/b"),
        # Items without a value at the path count as well.
        ("item.id", [{"id": 1}, {}, 5, {"id": "x"}], "#/3/id"),
        ("item.item", [[1, 2], [], 7, [3, "x"]], "#/3/1"),
        ("item.*", [{"a": 1}, {}, {"b.c": 2, "d": "x"}], "#/2/d"),
        ("a.item.b.item", {"a": [{"b": [1]}, {"c": [[]], "b": [2, "x"]}]}, "#/a/1/b/1"),
        # A member may be called "item".
        ("item.item", {"item": {"item": "x"}}, "#/item/item"),
        ("item.item.id", {"item": [{"id": 1}, {"id": "x"}]}, "#/item/1/id"),
        ("item.item.id", [{"item": {"id": 1}}, {"item": {"id": "x"}}], "#/1/item/id"),
    ],
)
async def test_iter_json_points_into_the_whole_document(
    path: str, document: Any, pointer: str
) -> None:
    assert (await fault(path, int, document))[0] == pointer


@with_msgspec
async def test_iter_json_with_a_type_gives_what_it_gives_without() -> None:
    document = [
        {"rows": [{"a": [1, {"b": "c"}]}, 2**80, None]},
        {},
        {"rows": [[], {}, "x", 1.5]},
    ]

    def script(path: str, kind: Any) -> Any:
        async def read(request: web.BaseRequest) -> Any:
            return [value async for value in iter_json(request, path, type=kind)]

        return read

    body = json.dumps(document).encode()
    for path in ("item", "item.rows", "item.rows.item", "item.*", "item.rows.item.a"):
        plain = await run(script(path, None), post(body))
        assert plain
        assert await run(script(path, Any), post(body)) == plain
        assert await run(script(path, Any), *dripped(body)) == plain


async def test_long_integers_in_members_are_whole() -> None:
    async def script(request: web.BaseRequest) -> Any:
        return [value async for value in iter_json(request, "*")]

    body = json.dumps({"a": 10**40, "b": [10**40]}).encode()
    assert await run(script, post(body)) == [("a", 10**40), ("b", [10**40])]


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


@pytest.mark.parametrize(
    "body",
    [
        rb'["\ud800"]',
        rb'["\ud888\u1234"]',
        b"[\x0c1]",
        b"[1e999]",
        "[\uff11]".encode(),
        b'["\t"]',
        rb'["\x"]',
        rb'["\u12"]',
        b"[NaN]",
        b"[1,]",
        b"[,1]",
        b"[01]",
        b'[{"a" 1}]',
        b'[{"a":1 "b":2}]',
        b"[1}",
        b"[[1}]",
        b"",
        b" ",
    ],
)
@pytest.mark.parametrize("path", ["item", "x.item", "*"])
async def test_iter_json_refuses_what_read_json_refuses(path: str, body: bytes) -> None:
    """Whether it is asked for or passed by."""

    async def iterated(request: web.BaseRequest) -> Any:
        return [value async for value in iter_json(request, path)]

    async def read(request: web.BaseRequest) -> Any:
        return await read_json(request)

    with pytest.raises(MalformedBody):
        await run(read, post(body))
    for arrived in (post(body),), dripped(body):
        with pytest.raises(MalformedBody):
            await run(iterated, *arrived)


async def test_iter_json_names_the_value_that_is_not_json() -> None:
    async def script(request: web.BaseRequest) -> Any:
        return [value async for value in iter_json(request, "rows.item")]

    with pytest.raises(MalformedBody, match=r"^#/rows/1: JSON: "):
        await run(script, post(b'{"rows": [1, tru, 3]}'))


async def test_iter_json_gives_what_came_before_an_error() -> None:
    got: list[Any] = []

    async def script(request: web.BaseRequest) -> Any:
        async for value in iter_json(request):
            got.append(value)

    with pytest.raises(MalformedBody):
        await run(script, post(b'[1, {"a": 2}, "three" 4]'))
    assert got == [1, {"a": 2}, "three"]


async def test_iter_json_of_many_small_values_lets_others_have_their_turn() -> None:
    """Also when all of it is there already, and nothing has to be waited for."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def script(request: web.BaseRequest) -> Any:
        stream = open_stream(request)
        stream.unread(await stream.read())
        counting = asyncio.create_task(count())
        before = turns
        got = [value async for value in iter_json(request)]
        counting.cancel()
        return len(got), turns - before

    values, taken = await run(script, post(b"[" + b"1," * 200_000 + b"1]"))
    assert values == 200_001
    assert taken > 20
