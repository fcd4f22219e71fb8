"""Entity tags of what is in memory, how long it may be kept, and QUERY."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from aiostreams import (
    HTML,
    JSON,
    ByteStream,
    Content,
    File,
    IterStream,
    KiB,
    Text,
    read_json,
    respond,
    setup,
)
from tests.servers import connected, post, serving
from tests.web.variants import LONG, Answer, ask, asked


def returning(make: Callable[[], Any]) -> Any:
    async def handler(_request: web.Request) -> Any:
        return make()

    return handler


TAGGED: dict[str, Callable[[], Content]] = {
    "JSON": lambda: JSON({"name": "zelda"}),
    "Text": lambda: Text("text"),
    "HTML": lambda: HTML("<p>" + LONG.decode()),
    "large": lambda: Text("x" * (200 * KiB)),
}


@pytest.mark.parametrize("make", TAGGED.values(), ids=TAGGED)
async def test_bytes_in_memory_are_tagged_and_answer_conditions(
    make: Callable[[], Content],
) -> None:
    async with asked(returning(make)) as raw:
        first = await ask(raw)
        assert first.etag is not None
        assert (await ask(raw, method="HEAD")).etag == first.etag
        assert (await ask(raw)).etag == first.etag
        for condition in (first.etag, f"W/{first.etag}", "*", f'"x", {first.etag}'):
            same = await ask(raw, If_None_Match=condition)
            assert (same.status, same.raw, same.etag) == (304, b"", first.etag)
        assert (await ask(raw, If_None_Match='"other"')).raw == first.raw
        assert (await ask(raw, If_Match='"other"')).status == 412
        part = await ask(raw, Range="bytes=0-1", If_Range=first.etag)
        assert (part.status, part.raw) == (206, first.raw[:2])
        whole = await ask(raw, Range="bytes=0-1", If_Range='"other"')
        assert (whole.status, whole.raw) == (200, first.raw)


async def test_a_tag_is_of_the_bytes() -> None:
    values = iter([JSON([1]), JSON([2]), JSON([1]), respond(JSON([1]))])
    async with asked(returning(lambda: next(values))) as raw:
        one, two, again, by_hand = [(await ask(raw)).etag for _ in range(4)]
    assert one == again == by_hand != two


async def test_a_tag_is_weak_where_its_body_is_encoded() -> None:
    async with asked(returning(lambda: Text(LONG.decode()))) as raw:
        plain = await ask(raw)
        encoded = await ask(raw, "gzip")
        assert (encoded.coding, encoded.etag) == ("gzip", f"W/{plain.etag}")
        same = await ask(raw, "gzip", If_None_Match=encoded.etag or "")
        assert (same.status, same.etag) == (304, encoded.etag)
        assert same.vary == "Accept-Encoding"


async def test_who_has_said_a_tag_is_left(tmp_path: Path) -> None:
    makes: list[Callable[[], Any]] = [
        lambda: respond(Text("x"), etag="own"),
        lambda: respond(Text("x"), headers={"ETag": '"own"'}),
    ]
    for make in makes:
        async with asked(returning(make)) as raw:
            assert (await ask(raw)).etag == '"own"'


async def test_no_tag_where_there_is_nothing_to_ask_for_again(tmp_path: Path) -> None:
    makes: list[Callable[[], Any]] = [
        lambda: respond(Text("x"), status=201),
        lambda: ByteStream(b"x"),
        lambda: IterStream([b"x"]),
        lambda: File(b"x", name="a.txt"),
    ]
    for make in makes:
        async with asked(returning(make)) as raw:
            assert (await ask(raw)).etag is None
    async with asked(returning(lambda: Text("x"))) as raw:
        assert (await ask(raw, method="POST")).etag is None


async def test_one_word_turns_it_off(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"x")
    makes: list[Callable[[], Any]] = [
        lambda: respond(Text("x"), etag=False),
        lambda: respond(File(path), etag=False),
    ]
    for make in makes:
        async with asked(returning(make)) as raw:
            assert (await ask(raw)).etag is None
            assert (await ask(raw, If_None_Match='"x"')).status == 200
    app = web.Application()
    app.router.add_get("/", returning(lambda: Text("x")))
    setup(app, etags=False)
    async with serving(app) as address, connected(address) as raw:
        assert (await ask(raw)).etag is None
        assert (await ask(raw, If_None_Match='"x"')).status == 200


async def test_a_middleware_may_change_the_bytes_and_a_signal_too() -> None:
    @web.middleware
    async def longer(request: web.Request, handler: Any) -> web.StreamResponse:
        response: Any = await handler(request)
        if request.query_string == "middleware":
            response.text += "!"
        assert isinstance(response, web.StreamResponse)
        return response

    async def signal(request: web.Request, response: Any) -> None:
        if request.query_string == "signal":
            response.body += b"!"

    app = web.Application(middlewares=[longer])
    app.router.add_get("/", returning(lambda: Text("x")))
    app.on_response_prepare.append(signal)
    async with serving(setup(app)) as address, connected(address) as raw:
        plain = await ask(raw)
        changed = await ask(raw, path="/?middleware")
        assert changed.raw == b"x!"
        assert changed.etag not in {None, plain.etag}
        late = await ask(raw, path="/?signal")
        assert (late.raw, late.etag) == (b"x!", None)


@pytest.mark.parametrize(
    ("cache", "field"),
    [
        (60, "max-age=60"),
        (0, "max-age=0"),
        (1.9, "max-age=1"),
        (False, "no-store"),
        ("public, max-age=5, immutable", "public, max-age=5, immutable"),
    ],
)
async def test_how_long_it_may_be_kept(cache: Any, field: str) -> None:
    assert respond(Text("x"), cache=cache).headers["Cache-Control"] == field


@pytest.mark.parametrize("cache", [-1, float("nan"), float("inf"), True, "a\r\nb: c"])
def test_times_that_nothing_can_be_kept(cache: Any) -> None:
    with pytest.raises(ValueError, match="ache"):
        respond(Text("x"), cache=cache)


# -- QUERY -------------------------------------------------------------------------------


async def query(raw: Any, body: bytes, **headers: str) -> Answer:
    fields = [(name.replace("_", "-"), value) for name, value in headers.items()]
    fields.append(("Content-Type", "application/json"))
    await raw.send(post(body, method="QUERY", headers=fields))
    return Answer(*await raw.response())


async def test_a_query_is_a_get_with_a_body(tmp_path: Path) -> None:
    path = tmp_path / "page.txt"
    path.write_bytes(LONG)

    async def handler(request: web.Request) -> Any:
        asked_for = await read_json(request)
        return File(path) if asked_for == "file" else Text(asked_for * 1000)

    app = web.Application()
    app.router.add_route("QUERY", "/", handler)
    async with asked(app) as raw:
        for body, content in ((b'"file"', LONG), (b'"ab"', b"ab" * 1000)):
            first = await query(raw, body)
            assert (first.status, first.raw) == (200, content)
            assert first.headers["accept-ranges"] == "bytes"
            same = await query(raw, body, If_None_Match=first.etag or "")
            assert (same.status, same.raw) == (304, b"")
            part = await query(raw, body, Range="bytes=1-3")
            assert (part.status, part.raw) == (206, content[1:4])
            encoded = await query(raw, body, Accept_Encoding="gzip")
            assert (encoded.coding, encoded.body) == ("gzip", content)
            refused = await query(raw, body, Accept_Encoding="*;q=0")
            assert refused.status == 406
