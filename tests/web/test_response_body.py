"""Middlewares written for aiohttp's responses, over ours."""

from __future__ import annotations

import hashlib
import io
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web

from aiostreams import (
    JSON,
    ByteStream,
    File,
    IterStream,
    Stream,
    Text,
    respond,
    setup,
)
from aiostreams.web.response import BodyResponse
from tests.servers import Raw, connected, serving
from tests.web.variants import LONG, Answer, ask

After = Callable[[BodyResponse], Any]


async def answer(
    make: Callable[[], Any],
    after: After,
    accept: str | None = None,
    place: str = "inside",
    /,
    **headers: str,
) -> Answer:
    """What a client gets when a middleware has had the response."""

    async def handler(request: web.Request) -> Any:
        return make()

    @web.middleware
    async def middleware(request: web.Request, handler: Any) -> web.StreamResponse:
        response = await handler(request)
        assert isinstance(response, BodyResponse)
        after(response)
        return response

    app = web.Application()
    app.router.add_get("/", handler)
    if place == "outside":
        app.middlewares.append(middleware)
    setup(app)
    if place == "inside":
        app.middlewares.append(middleware)
    async with serving(app) as address, connected(address) as raw:
        return await _twice(raw, accept, headers)


async def _twice(raw: Raw, accept: str | None, headers: dict[str, str]) -> Answer:
    first = await ask(raw, accept, **headers)
    again = await ask(raw, accept, **headers)
    assert (first.status, first.raw) == (again.status, again.raw)
    return first


@pytest.mark.parametrize("headers", [{}, {"If_None_Match": '"x"'}, {"Range": "x"}])
async def test_what_is_in_memory_is_there_to_be_read(headers: dict[str, str]) -> None:
    """The condition of a client changes nothing for the application."""

    def check(response: BodyResponse) -> None:
        assert response.body == b'{"a":1}'
        assert response.text == '{"a":1}'

    for make in (lambda: JSON({"a": 1}), lambda: respond(JSON({"a": 1}))):
        got = await answer(make, check, **headers)
        assert (got.status, got.body) == (200, b'{"a":1}')
    latin = await answer(
        lambda: respond(ByteStream(b"\xe9", content_type="text/x; charset=latin-1")),
        lambda response: response.headers.update({"X-Text": str(response.text == "é")}),
    )
    assert latin.headers["x-text"] == "True"


async def test_a_middleware_that_tags_what_it_reads() -> None:
    def tag(response: BodyResponse) -> None:
        assert isinstance(response.body, bytes)
        response.etag = hashlib.md5(response.body).hexdigest()

    first = await answer(lambda: JSON([1, 2]), tag)
    assert (first.status, first.body) == (200, b"[1,2]")
    again = await answer(lambda: JSON([1, 2]), tag, If_None_Match=first.etag or "")
    assert (again.status, again.etag, again.raw) == (304, first.etag, b"")


async def test_a_stream_is_not_read_for_anybody() -> None:
    def check(response: BodyResponse) -> None:
        assert (response.body, response.text) == (None, None)

    assert (await answer(lambda: IterStream([b"a"]), check)).body == b"a"


@pytest.mark.parametrize("place", ["inside", "outside"])
@pytest.mark.parametrize("what", ["body", "text", "payload"])
async def test_what_is_put_in_the_place_of_the_body_is_sent(
    what: str, place: str
) -> None:
    sources: list[Stream] = []

    def make() -> Any:
        sources.append(IterStream([LONG], content_type="text/plain; charset=utf-8"))
        return respond(sources[-1], etag="a")

    def replace(response: BodyResponse) -> None:
        if what == "text":
            response.text = "é" * 2000
        elif what == "body":
            response.body = ("é" * 2000).encode()
        else:
            response.body = io.BytesIO(("é" * 2000).encode())

    got = await answer(make, replace, None, place)
    assert (got.status, got.raw.decode()) == (200, "é" * 2000)
    got = await answer(make, replace, "gzip", place)
    assert (got.coding, got.body.decode()) == ("gzip", "é" * 2000)
    if what != "payload":
        got = await answer(make, replace, None, place, Range="bytes=2-3")
        assert (got.status, got.raw.decode()) == (206, "é")
    same = await answer(make, replace, None, place, If_None_Match='"a"')
    assert (same.status, same.raw) == (304, b"")
    assert all(source.closed for source in sources)


async def test_a_small_answer_in_the_place_of_a_large_one_is_not_encoded() -> None:
    def shorten(response: BodyResponse) -> None:
        response.text = "short"

    got = await answer(lambda: respond(Text(LONG.decode())), shorten, "gzip")
    assert (got.coding, got.raw) == (None, b"short")


async def test_a_generator_in_the_place_of_a_file(tmp_path: Any) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(LONG)

    async def lines() -> AsyncIterator[bytes]:
        yield b"one\n"
        yield b"two\n"

    def replace(response: BodyResponse) -> None:
        response.body = lines()

    got = await answer(lambda: File(path), replace)
    assert (got.status, got.raw) == (200, b"one\ntwo\n")
    assert "etag" not in got.headers
    assert "content-length" not in got.headers
