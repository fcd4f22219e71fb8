"""What handlers return, and ``respond``: the responses that these make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from aiostreams import (
    JSON,
    NDJSON,
    ByteStream,
    Content,
    EventStream,
    File,
    IterStream,
    KiB,
    Limits,
    MiB,
    Stream,
    Text,
    respond,
    setup,
)
from aiostreams.web.response import BodyResponse, MemoryResponse

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.typedefs import Handler


class Raw(Content):
    """Encodes to whatever stream it is given."""

    def __init__(self, make: Callable[[], Stream]) -> None:
        self._make = make

    @property
    def content_type(self) -> str:
        return "application/octet-stream"

    def encode(self) -> Stream:
        return self._make()

    @classmethod
    async def decode(cls, stream: Stream, *, limits: Limits | None = None) -> Raw:
        raise NotImplementedError


class Feed(IterStream):
    """A body that is made while it is sent."""

    def __init__(self) -> None:
        super().__init__([b"one", b"two"])


class Answering:
    """An application that returns one value, and what its own middleware sees."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.seen: list[type[web.StreamResponse]] = []

        async def handler(_request: web.Request) -> Any:
            return make()

        @web.middleware
        async def spy(request: web.Request, handler: Handler) -> web.StreamResponse:
            response = await handler(request)
            self.seen.append(type(response))
            return response

        app = web.Application(middlewares=[spy])
        app.router.add_route("*", "/", handler)
        self.client = TestClient(TestServer(setup(app)))

    async def __aenter__(self) -> Self:
        await self.client.start_server()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.client.close()


async def test_small_json_is_a_response_as_others_expect_it() -> None:
    async with Answering(lambda: JSON({"name": "zelda"})) as app:
        answer = await app.client.get("/")
        assert await answer.read() == b'{"name":"zelda"}'
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["Content-Length"] == "16"
        assert answer.headers["Accept-Ranges"] == "bytes"
        assert app.seen == [MemoryResponse]


async def test_only_methods_with_ranges_tell_of_ranges() -> None:
    async with Answering(lambda: Text("done")) as app:
        assert "Accept-Ranges" not in (await app.client.post("/")).headers
        head = await app.client.head("/")
        assert head.headers["Accept-Ranges"] == "bytes"
        assert head.headers["Content-Length"] == "4"
        assert app.seen == [MemoryResponse, MemoryResponse]


@pytest.mark.parametrize(
    ("fields", "status", "body"),
    [
        ({"Range": "bytes=1-3"}, 206, b"234"),
        ({"Range": "bytes=10-"}, 416, None),
        ({"If-Match": '"x"'}, 412, None),
        ({"If-None-Match": "*"}, 304, b""),
        ({"If-Modified-Since": "Sat, 21 Nov 2026 00:00:00 GMT"}, 200, b"12345"),
        ({"If-Unmodified-Since": "Sat, 21 Nov 2026 00:00:00 GMT"}, 200, b"12345"),
    ],
)
async def test_what_a_request_asks_for_is_evaluated(
    fields: dict[str, str], status: int, body: bytes | None
) -> None:
    async with Answering(lambda: JSON(12345)) as app:
        answer = await app.client.get("/", headers=fields)
        assert answer.status == status
        if body is not None:
            assert await answer.read() == body


async def test_validators_of_the_bytes_are_sent() -> None:
    def tagged() -> Stream:
        stream = ByteStream(b"tagged")
        stream.etag = "v1"  # type: ignore[attr-defined]
        return stream

    async with Answering(lambda: Raw(tagged)) as app:
        answer = await app.client.get("/")
        assert answer.headers["ETag"] == '"v1"'
        answer = await app.client.get("/", headers={"If-None-Match": '"v1"'})
        assert answer.status == 304


async def test_much_is_sent_in_pieces() -> None:
    text = "x" * (257 * KiB)
    async with Answering(lambda: Text(text)) as app:
        answer = await app.client.get("/", headers={"Accept-Encoding": "identity"})
        assert await answer.text() == text
        assert answer.headers["Content-Length"] == str(len(text))
        assert app.seen == [MemoryResponse]


@pytest.mark.parametrize("fields", [{}, {"Range": "bytes=0-1"}, {"If-Match": "*"}])
async def test_what_a_client_asks_changes_nothing_for_middlewares(
    fields: dict[str, str],
) -> None:
    for make, kind in ((lambda: JSON(123), MemoryResponse), (Feed, BodyResponse)):
        async with Answering(make) as app:
            assert (await app.client.get("/", headers=fields)).status in {200, 206}
            assert app.seen == [kind]


def test_only_what_is_in_memory_is_a_response_with_a_body() -> None:
    """Whoever asks ``isinstance(response, web.Response)`` goes on to read ``body``."""
    assert isinstance(respond(JSON(1)), web.Response)
    assert isinstance(respond(ByteStream(bytes(MiB))), web.Response)
    for source in (Feed(), EventStream([]), File("somewhere"), NDJSON([1])):
        streamed = respond(source)
        assert isinstance(streamed, web.StreamResponse)
        assert not isinstance(streamed, web.Response)


async def test_a_file_of_bytes_is_not_sniffed() -> None:
    async with Answering(lambda: File(ByteStream(b"<b>"), name="a.txt")) as app:
        answer = await app.client.get("/")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_bytes_that_were_read_from_go_on_where_they_are() -> None:
    stream = ByteStream(b"12345")
    await stream.read(2)
    async with Answering(lambda: Raw(lambda: stream)) as app:
        assert await (await app.client.get("/")).read() == b"345"


async def test_a_type_that_no_field_can_carry_is_our_own_fault() -> None:
    odd = ByteStream(b"x", content_type="text/plain\r\nX-Evil: 1")
    async with Answering(lambda: Raw(lambda: odd)) as app:
        answer = await app.client.get("/")
        assert answer.status == 500
        assert "X-Evil" not in answer.headers
