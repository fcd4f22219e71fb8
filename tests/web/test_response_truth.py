"""What a response says of itself is true: to middlewares, and to what a signal calls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiohttp import web

from aiostreams import (
    HTML,
    JSON,
    NDJSON,
    ByteStream,
    EventStream,
    File,
    Form,
    IterStream,
    MultiPart,
    Text,
    respond,
    setup,
)
from tests.servers import connected, serving
from tests.web.variants import LONG, ask


class Said(NamedTuple):
    """What one response says."""

    status: int
    content_type: str
    content_length: int | None
    body: Any
    text: Any
    prepared: bool
    is_response: bool


def said(response: Any) -> Said:
    return Said(
        response.status,
        response.content_type,
        response.content_length,
        response.body,
        response.text,
        response.prepared,
        isinstance(response, web.Response),
    )


async def pieces() -> AsyncIterator[bytes]:
    yield LONG


JSON_BYTES = b'{"name":"zelda"}'
# What is made, its type, its bytes, and whether these are in memory and of known size.
KINDS: dict[str, tuple[Callable[[Path], Any], str, bytes, bool, bool]] = {
    "JSON": (
        lambda path: JSON({"name": "zelda"}), "application/json", JSON_BYTES, True, True
    ),
    "respond(JSON)": (
        lambda path: respond(JSON({"name": "zelda"})),
        "application/json", JSON_BYTES, True, True,
    ),
    "Text": (lambda path: Text("é"), "text/plain", "é".encode(), True, True),
    "HTML": (lambda path: HTML("<p>"), "text/html", b"<p>", True, True),
    "long Text": (
        lambda path: Text(LONG.decode()), "text/plain", LONG, True, True
    ),
    "empty Text": (lambda path: Text(""), "text/plain", b"", True, True),
    "Form": (
        lambda path: Form({"a": "1"}),
        "application/x-www-form-urlencoded", b"a=1", True, True,
    ),
    "bytes": (
        lambda path: ByteStream(b"abc", content_type="image/x-mine"),
        "image/x-mine", b"abc", True, True,
    ),
    "File": (File, "text/plain", LONG, False, True),
    "respond(File)": (lambda path: respond(File(path)), "text/plain", LONG, False, True),
    "Stream of a size": (
        lambda path: IterStream([LONG], size=len(LONG)),
        "application/octet-stream", LONG, False, True,
    ),
    "Stream": (
        lambda path: IterStream(pieces(), content_type="text/csv"),
        "text/csv", LONG, False, False,
    ),
    "EventStream": (
        lambda path: EventStream(["x"]),
        "text/event-stream", b"data: x\n\n", False, False,
    ),
    "NDJSON": (
        lambda path: NDJSON([1]), "application/x-ndjson", b"1\n", False, False
    ),
    "MultiPart": (
        lambda path: MultiPart({"a": "1"}, boundary="b"),
        "multipart/form-data",
        b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--b--\r\n',
        False, True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
async def test_a_response_tells_the_truth(kind: str, tmp_path: Path) -> None:
    make, content_type, content, in_memory, sized = KINDS[kind]
    path = tmp_path / "page.txt"
    path.write_bytes(LONG)
    seen: list[tuple[str, Said]] = []

    @web.middleware
    async def own(request: web.Request, handler: Any) -> web.StreamResponse:
        response: web.StreamResponse = await handler(request)
        seen.append(("middleware", said(response)))
        return response

    async def signal(_request: web.Request, response: web.StreamResponse) -> None:
        seen.append(("signal", said(response)))

    async def handler(_request: web.Request) -> Any:
        return make(path)

    app = web.Application(middlewares=[own])
    app.router.add_get("/", handler)
    app.on_response_prepare.append(signal)
    text = content.decode() if in_memory else None
    whole = Said(
        200,
        content_type,
        len(content) if sized else None,
        content if in_memory else None,
        text,
        False,
        in_memory,
    )
    async with serving(setup(app)) as address, connected(address) as raw:
        for coding in (None, "gzip"):
            for method in ("GET", "HEAD"):
                seen.clear()
                answer = await ask(raw, coding, method=method)
                assert answer.status == 200
                if method == "GET":
                    assert answer.body == content
                assert seen == [
                    ("middleware", whole),
                    ("signal", whole._replace(prepared=True)),
                ]


@pytest.mark.parametrize("kind", ["JSON", "File", "bytes"])
async def test_what_a_condition_or_range_makes_of_it_is_told_to_signals(
    kind: str, tmp_path: Path
) -> None:
    make, _, content, in_memory, _ = KINDS[kind]
    path = tmp_path / "page.txt"
    path.write_bytes(LONG)
    seen: list[Said] = []

    async def signal(_request: web.Request, response: web.StreamResponse) -> None:
        seen.append(said(response))

    async def handler(_request: web.Request) -> Any:
        response = make(path)
        return respond(response, etag="v1")

    app = web.Application()
    app.router.add_get("/", handler)
    app.on_response_prepare.append(signal)
    async with serving(setup(app)) as address, connected(address) as raw:
        await ask(raw, Range="bytes=1-2")
        await ask(raw, If_None_Match='"v1"')
        await ask(raw, If_Match='"v2"')
        await ask(raw, Range="bytes=999999-")
    part, same, failed, beyond = seen
    assert (part.status, part.content_length) == (206, 2)
    assert part.body == (content[1:3] if in_memory else None)
    assert (same.status, same.content_length, same.body) == (304, 0, b"")
    for refused in (failed, beyond):
        assert refused.status in {412, 416}
        assert refused.content_type == "text/plain"
        assert refused.content_length == len(refused.body)


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_a_body_has_no_length(status: int) -> None:
    assert respond(Text("left out"), status=status).content_length == 0


async def test_a_promise_is_told_where_nobody_knows_better() -> None:
    stream = IterStream(pieces())
    response = respond(stream, headers={"Content-Length": str(len(LONG))})
    assert response.content_length == len(LONG)
    assert respond(Text("abc"), headers={"Content-Length": "5"}).content_length == 3
    response.content_length = None
    assert response.content_length is None
    await stream.close()


async def test_a_response_is_named_while_it_lives() -> None:
    names: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        response = respond(IterStream([b"abc"]))
        names.append(repr(response))
        await response.prepare(request)
        names.append(repr(response))
        assert response.task is request.task
        with pytest.raises(RuntimeError, match="sends its stream"):
            await response.write(b"more")
        await response.write_eof()
        names.append(repr(response))
        assert response.body_length > 3
        return response

    async with serving(handler) as address, connected(address) as raw:
        assert (await ask(raw)).raw == b"abc"
    assert names == [
        "<BodyResponse 200 OK not prepared>",
        "<BodyResponse 200 OK GET />",
        "<BodyResponse 200 OK eof>",
    ]
