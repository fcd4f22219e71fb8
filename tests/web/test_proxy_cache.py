"""A pull-through cache: fetched once, kept when whole, and never somebody else's."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from multidict import CIMultiDict

from aiostreams import (
    DiskStorage,
    KiB,
    MemoryStorage,
    MiB,
    Storage,
    StorageError,
    Stream,
    proxy,
    setup,
)
from aiostreams.sansio.caching import KeptAnswer
from aiostreams.testing import LAWS, SinkStream
from aiostreams.web.proxy import _Cache, _Keeping, _Kept
from tests.servers import Raw, connected, post, serving

PUBLIC = {"Cache-Control": "public, max-age=60"}


class Origin:
    """An upstream that counts what it is asked."""

    def __init__(self, answer: Callable[[web.Request], Any]) -> None:
        self.answer = answer
        self.seen: list[web.Request] = []

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request)
        answer = self.answer(request)
        response: web.StreamResponse = (
            answer if isinstance(answer, web.StreamResponse) else await answer
        )
        return response


class Client:
    """One connection to the proxy."""

    def __init__(self, raw: Raw) -> None:
        self._raw = raw

    async def ask(
        self, path: str = "/", *, method: str = "GET", **fields: str
    ) -> tuple[int, dict[str, str], bytes]:
        headers = [(name.replace("_", "-"), value) for name, value in fields.items()]
        body = b"" if method in {"POST", "PUT", "DELETE"} else None
        self._raw.writer.write(post(body, path=path, method=method, headers=headers))
        if method == "HEAD":
            head = (await self._raw.reader.readuntil(b"\r\n\r\n")).decode()
            lines = head.split("\r\n")
            pairs = (line.partition(": ") for line in lines[1:] if line)
            return int(lines[0].split()[1]), {n.lower(): v for n, _, v in pairs}, b""
        async with asyncio.timeout(10):
            return await self._raw.response()


@pytest.fixture(params=["memory", "disk"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    made = MemoryStorage() if request.param == "memory" else DiskStorage(tmp_path)
    yield made
    await made.close()


@contextlib.asynccontextmanager
async def caching(
    origin: Any, store: Storage, **options: Any
) -> AsyncIterator[Callable[[], Any]]:
    """A proxy with a cache; gives what connects to it."""
    async with contextlib.AsyncExitStack() as stack:

        async def answer(request: web.Request) -> web.StreamResponse:
            response: web.StreamResponse = await origin(request)
            return response

        address = await stack.enter_async_context(serving(answer))
        jar = aiohttp.DummyCookieJar()
        session = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=jar))

        async def handler(request: web.Request) -> web.StreamResponse:
            url = f"http://{address[0]}:{address[1]}{request.rel_url}"
            return await proxy(request, session, url, store=store, **options)

        app = setup(web.Application(), compression=None)
        app.router.add_route("*", "/{path:.*}", handler)
        front = await stack.enter_async_context(serving(app, auto_decompress=False))

        async def client() -> Client:
            return Client(await stack.enter_async_context(connected(front)))

        yield client


async def kept(store: Storage, what: str = "") -> list[str]:
    return [one.key async for one in store.list(f"http-cache/{what}")]


async def settled(store: Storage, count: int = 1) -> None:
    """Wait until so many answers are kept."""
    async with asyncio.timeout(20):
        while len(await kept(store, "heads/")) < count:
            await asyncio.sleep(0.005)


def text(body: str = "hello", **fields: str) -> Callable[[web.Request], web.Response]:
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    return lambda _request: web.Response(text=body, headers=headers or PUBLIC)


async def test_it_is_fetched_once_and_given_with_its_age(store: Storage) -> None:
    origin = Origin(text(Cache_Control="max-age=60", ETag='"v1"', X_Mine="yes"))
    async with caching(origin, store) as connect:
        client = await connect()
        status, first, body = await client.ask()
        assert (status, body, first["x-mine"]) == (200, b"hello", "yes")
        await settled(store)
        for _ in range(3):
            status, again, body = await client.ask()
            assert (status, body) == (200, b"hello")
            assert again["age"].isdigit()
            for name in ("x-mine", "etag", "content-length", "content-type", "date"):
                assert again[name] == first[name], name
            assert again["via"] == "1.1 aiostreams"
        status, told, _ = await client.ask(method="HEAD")
        assert (status, told["content-length"]) == (200, "5")
        assert len(origin.seen) == 1
        # Another URL is another answer.
        await client.ask("/?other")
        assert len(origin.seen) == 2


async def test_ranges_and_conditions_are_answered_from_what_is_there(
    store: Storage,
) -> None:
    origin = Origin(text("0123456789", Cache_Control="max-age=60", ETag='"v1"'))
    async with caching(origin, store) as connect:
        client = await connect()
        # What was asked for the whole is the whole, whatever the client has.
        status, _, body = await client.ask(If_None_Match='"old"')
        assert (status, body) == (200, b"0123456789")
        assert "If-None-Match" not in origin.seen[0].headers
        await settled(store)
        status, headers, body = await client.ask(Range="bytes=2-4")
        assert (status, body) == (206, b"234")
        assert headers["content-range"] == "bytes 2-4/10"
        status, _, body = await client.ask(Range="bytes=2-4", If_Range='"other"')
        assert (status, body) == (200, b"0123456789")
        assert (await client.ask(If_None_Match='"v1"'))[0] == 304
        assert (await client.ask(If_Match='"v2"'))[0] == 412
        assert (await client.ask(Range="bytes=50-"))[0] == 416
        assert len(origin.seen) == 1


async def test_a_range_of_what_is_not_there_is_the_upstreams(store: Storage) -> None:
    def part(request: web.Request) -> web.Response:
        assert request.headers["Range"] == "bytes=0-1"
        fields = {**PUBLIC, "Content-Range": "bytes 0-1/10"}
        return web.Response(status=206, body=b"01", headers=fields)

    async with caching(Origin(part), store) as connect:
        client = await connect()
        for _ in range(2):
            status, _, body = await client.ask(Range="bytes=0-1")
            assert (status, body) == (206, b"01")
    assert await kept(store) == []


async def test_it_is_validated_when_it_is_stale(store: Storage) -> None:
    version = 1

    def answer(request: web.Request) -> web.Response:
        fields = {"ETag": f'"v{version}"', "Cache-Control": "no-cache", "X-Seen": "1"}
        if request.headers.get("If-None-Match") == f'"v{version}"':
            fields["X-Seen"] = "2"
            return web.Response(status=304, headers=fields)
        return web.Response(text=f"version {version}", headers=fields)

    origin = Origin(answer)
    async with caching(origin, store) as connect:
        client = await connect()
        assert (await client.ask())[2] == b"version 1"
        await settled(store)
        status, headers, body = await client.ask()
        assert (status, body, headers["x-seen"]) == (200, b"version 1", "2")
        status, _, body = await client.ask(Range="bytes=8-")
        assert (status, body) == (206, b"1")
        assert (await client.ask(If_None_Match='"v1"'))[0] == 304
        version = 2
        assert (await client.ask())[2] == b"version 2"
        await asyncio.sleep(0.05)
        assert (await client.ask())[2] == b"version 2"
        assert len(origin.seen) == 6
        assert len(await kept(store, "bodies/")) == 1, "the old one is gone"


@pytest.mark.parametrize(
    "fields",
    [
        {"Cache-Control": "no-store, max-age=60"},
        {"Cache-Control": "private, max-age=60"},
        {"Cache-Control": "public, max-age=60", "Set-Cookie": "session=1"},
        {"Cache-Control": "public, max-age=60", "Vary": "*"},
        {},
    ],
)
async def test_what_may_not_be_kept_is_not(
    fields: dict[str, str], store: Storage
) -> None:
    def answer(request: web.Request) -> web.Response:
        return web.Response(text=request.headers["X-Who"], headers=fields)

    origin = Origin(answer)
    async with caching(origin, store) as connect:
        clients = [await connect() for _ in range(5)]
        asking = (c.ask(X_Who=str(n)) for n, c in enumerate(clients))
        answers = await asyncio.gather(*asking)
        assert [body for _, _, body in answers] == [b"0", b"1", b"2", b"3", b"4"]
    assert len(origin.seen) == 5
    assert await kept(store) == []


@pytest.mark.parametrize("secret", ["Authorization", "Cookie"])
async def test_nobody_gets_anothers_answer(secret: str, store: Storage) -> None:
    """Of an upstream that says no more than for how long it is fresh."""

    def answer(request: web.Request) -> web.Response:
        who = request.headers.get(secret, "nobody")
        return web.Response(text=who, headers={"Cache-Control": "max-age=60"})

    origin = Origin(answer)
    async with caching(origin, store) as connect:
        client = await connect()
        for who in ("alice", "bob", "alice"):
            assert (await client.ask(**{secret: who}))[2] == who.encode()
        assert (await client.ask())[2] == b"nobody"
        await settled(store)
        assert (await client.ask())[2] == b"nobody"
        assert len(origin.seen) == 4
        assert (await client.ask(**{secret: "bob"}))[2] == b"bob"


async def test_an_answer_for_all_is_also_for_those_with_a_cookie(
    store: Storage,
) -> None:
    origin = Origin(text())
    async with caching(origin, store) as connect:
        client = await connect()
        await client.ask(Cookie="a=b")
        await settled(store)
        await client.ask(Cookie="c=d")
        await client.ask()
    assert len(origin.seen) == 1


async def test_what_varies_is_kept_for_each(store: Storage) -> None:
    def answer(request: web.Request) -> web.Response:
        language = request.headers.get("Accept-Language", "none")
        return web.Response(
            text=language, headers={**PUBLIC, "Vary": "Accept-Language"}
        )

    origin = Origin(answer)
    async with caching(origin, store) as connect:
        client = await connect()
        for language in ("fr", "de", "fr", "de"):
            got = (await client.ask(Accept_Language=language))[2]
            assert got == language.encode()
            await asyncio.sleep(0.05)
        assert (await client.ask())[2] == b"none"
    assert len(origin.seen) == 3


async def test_another_host_is_another_key(store: Storage) -> None:
    """What the upstream makes links of must not be one client's invention."""

    def answer(request: web.Request) -> web.Response:
        return web.Response(text=request.headers["X-Forwarded-Host"], headers=PUBLIC)

    async with caching(Origin(answer), store, trusted=True) as connect:
        client = await connect()
        assert (await client.ask(X_Forwarded_Host="evil"))[2] == b"evil"
        await settled(store)
        assert (await client.ask())[2] == b"localhost"


async def test_clients_of_a_gateway_share_what_is_kept(store: Storage) -> None:
    """A gateway may send the address of each: it is no part of the cache's key."""

    def answer(request: web.Request) -> web.Response:
        return web.Response(text=request.headers["X-Real-IP"], headers=PUBLIC)

    origin = Origin(answer)
    async with caching(origin, store, trusted=True) as connect:
        client = await connect()
        assert (await client.ask(X_Real_IP="192.0.2.1"))[2] == b"192.0.2.1"
        await settled(store)
        assert (await client.ask(X_Real_IP="192.0.2.2"))[2] == b"192.0.2.1"
    assert len(origin.seen) == 1


async def test_all_who_ask_meanwhile_share_one_fetch(store: Storage) -> None:
    size = 3 * MiB
    go, begun = asyncio.Event(), asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=PUBLIC)
        response.content_length = size
        await response.prepare(request)
        await response.write(bytes(1000))
        begun.set()
        await go.wait()
        await response.write(bytes(size - 1000))
        return response

    origin = Origin(answer)
    async with caching(origin, store) as connect:
        clients = [await connect() for _ in range(20)]
        tasks = [asyncio.create_task(client.ask()) for client in clients[:10]]
        await begun.wait()
        tasks += [asyncio.create_task(client.ask()) for client in clients[10:]]
        await asyncio.sleep(0.1)
        assert await kept(store) == [], "nothing is there that is not whole"
        go.set()
        for status, headers, body in await asyncio.gather(*tasks):
            assert (status, len(body)) == (200, size)
            assert headers["content-length"] == str(size)
        await settled(store)
        assert len((await clients[0].ask())[2]) == size
    assert len(origin.seen) == 1


async def test_it_is_fetched_to_its_end_whoever_leaves(store: Storage) -> None:
    go = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=PUBLIC)
        response.content_length = 10
        await response.prepare(request)
        await response.write(b"01234")
        await go.wait()
        await response.write(b"56789")
        return response

    origin = Origin(answer)
    async with caching(origin, store) as connect:
        client = await connect()
        client._raw.writer.write(post(None, method="GET"))
        await client._raw.reader.readuntil(b"01234")
        client._raw.reset()
        await asyncio.sleep(0.05)
        go.set()
        await settled(store)
        assert (await (await connect()).ask())[2] == b"0123456789"
    assert len(origin.seen) == 1


@pytest.mark.parametrize("chunked", [False, True])
async def test_what_breaks_off_is_not_kept_and_breaks(
    chunked: bool, store: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "aiostreams.web")

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=PUBLIC)
        if not chunked:
            response.content_length = 100_000
        await response.prepare(request)
        await response.write(bytes(50_000))
        assert request.transport is not None
        request.transport.abort()
        return response

    async with caching(Origin(answer), store) as connect:
        for _ in range(2):
            client = await connect()
            with pytest.raises(
                (asyncio.IncompleteReadError, ConnectionError, ValueError)
            ):
                await client.ask()
        await asyncio.sleep(0.05)
    assert await kept(store) == []


async def test_an_answer_of_unknown_length_is_kept_as_it_passes(store: Storage) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=PUBLIC)
        await response.prepare(request)
        for _ in range(10):
            await response.write(b"x" * 10_000)
        return response

    origin = Origin(answer)
    async with caching(origin, store) as connect:
        client = await connect()
        assert len((await client.ask())[2]) == 100_000
        await settled(store)
        status, headers, body = await client.ask(Range="bytes=-5")
        assert (status, body) == (206, b"xxxxx")
        assert headers["content-range"].endswith("/100000")
    assert len(origin.seen) == 1


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("name", ["Content-Digest", "Repr-Digest"])
async def test_it_is_held_to_its_digest(
    name: str, right: bool, store: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "aiostreams.web")
    digest = base64.b64encode(hashlib.sha256(b"hello" if right else b"x").digest())
    fields = {**PUBLIC, name: f"sha-256=:{digest.decode()}:"}
    origin = Origin(lambda _request: web.Response(text="hello", headers=fields))
    async with caching(origin, store) as connect:
        client = await connect()
        for _ in range(2):
            assert (await client.ask())[2] == b"hello", "it passes all the same"
            await asyncio.sleep(0.05)
    assert len(origin.seen) == (1 if right else 2)
    assert bool(await kept(store)) == right


async def test_no_more_is_kept_than_max_size(store: Storage) -> None:
    def answer(request: web.Request) -> web.Response:
        size = int(request.query["size"])
        if "chunked" in request.query:
            return web.Response(body=iterate(size), headers=PUBLIC)
        return web.Response(body=bytes(size), headers=PUBLIC)

    async def iterate(size: int) -> AsyncIterator[bytes]:
        for start in range(0, size, 1000):
            yield bytes(min(1000, size - start))

    async def sizes() -> list[int]:
        return [one.size async for one in store.list("http-cache/bodies/")]

    async with caching(Origin(answer), store, max_size=100 * KiB) as connect:
        client = await connect()
        for path in ("/?size=200000", "/?size=200000&chunked"):
            status, _, body = await client.ask(path)
            assert (status, len(body)) == (200, 200_000), "it passes all the same"
        assert await sizes() == []
        for n in range(12):
            assert len((await client.ask(f"/?size=20000&n={n}"))[2]) == 20_000
            await asyncio.sleep(0.02)
        async with asyncio.timeout(20):
            while sum(await sizes()) > 100 * KiB:
                await asyncio.sleep(0.01)
        assert len(await sizes()) >= 3
        async with asyncio.timeout(20):
            while len(await kept(store, "heads/")) != len(await sizes()):
                await asyncio.sleep(0.01)


async def test_what_was_changed_is_forgotten(store: Storage) -> None:
    value = "one"

    async def answer(request: web.Request) -> web.Response:
        nonlocal value
        if request.method == "PUT":
            value = "two"
            return web.Response(status=204)
        if request.method == "POST":
            return web.Response(status=400)
        return web.Response(text=value, headers=PUBLIC)

    async with caching(Origin(answer), store) as connect:
        client = await connect()
        assert (await client.ask())[2] == b"one"
        await settled(store)
        await client.ask(method="POST")
        assert len(await kept(store)) == 2, "what failed has changed nothing"
        await client.ask(method="PUT")
        assert await kept(store) == []
        assert (await client.ask())[2] == b"two"


async def test_what_the_request_says(store: Storage) -> None:
    origin = Origin(text())
    async with caching(origin, store) as connect:
        client = await connect()
        assert (await client.ask(Cache_Control="only-if-cached"))[0] == 504
        await client.ask(Cache_Control="no-store")
        assert await kept(store) == []
        await client.ask()
        await settled(store)
        assert (await client.ask(Cache_Control="only-if-cached"))[0] == 200
        assert len(origin.seen) == 2
        await client.ask(Cache_Control="no-cache")
        assert len(origin.seen) == 3


async def test_a_body_or_a_head_that_is_gone_or_broken_is_fetched_again(
    store: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    origin = Origin(text())
    async with caching(origin, store) as connect:
        client = await connect()
        await client.ask()
        await settled(store)
        [body] = await kept(store, "bodies/")
        await store.delete(body)
        assert (await client.ask())[2] == b"hello"
        await asyncio.sleep(0.05)
        [head] = await kept(store, "heads/")
        await store.put(head, b'[{"status": 200}]', overwrite=True)
        assert (await client.ask())[2] == b"hello"
        await asyncio.sleep(0.05)
        assert (await client.ask())[2] == b"hello"
    assert len(origin.seen) == 3
    assert "a head cannot be read" in caplog.text


async def test_a_storage_that_fails_keeps_nobody_from_an_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Full(MemoryStorage):
        async def create(self, key: str, **options: Any) -> Stream:
            error = StorageError("no space left")
            return SinkStream(fail_at=1000, error=error)

    def answer(request: web.Request) -> web.Response:
        return web.Response(body=bytes(int(request.query["size"])), headers=PUBLIC)

    async with caching(Origin(answer), Full()) as connect:
        client = await connect()
        for size in (10, 10, 100_000, 100_000):
            assert len((await client.ask(f"/?size={size}"))[2]) == size
    assert "an answer was not kept" in caplog.text


async def test_an_upstream_that_cannot_be_reached_is_a_502_to_each(
    store: Storage,
) -> None:
    async with serving(web.Application()) as (_, port):
        pass
    async with aiohttp.ClientSession() as session:

        async def handler(request: web.Request) -> web.StreamResponse:
            return await proxy(
                request, session, f"http://127.0.0.1:{port}/", store=store
            )

        app = setup(web.Application())
        app.router.add_get("/", handler)
        async with serving(app) as front, contextlib.AsyncExitStack() as stack:
            clients = [
                Client(await stack.enter_async_context(connected(front)))
                for _ in range(5)
            ]
            answers = await asyncio.gather(*(client.ask() for client in clients))
    assert [status for status, _, _ in answers] == [502] * 5


async def test_a_client_that_leaves_before_the_answer_closes_what_is_its_own(
    store: Storage,
) -> None:
    go = asyncio.Event()
    ended = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        await go.wait()
        response = web.StreamResponse(headers={"Cache-Control": "no-store"})
        await response.prepare(request)
        try:
            while True:
                await response.write(bytes(10_000))
        finally:
            ended.set()

    async with caching(Origin(answer), store) as connect:
        client = await connect()
        client._raw.writer.write(post(None, method="GET"))
        await asyncio.sleep(0.05)
        client._raw.reset()
        await asyncio.sleep(0.05)
        go.set()
        async with asyncio.timeout(10):
            await ended.wait()


# -- the streams of it -----------------------------------------------------------------


def keeping(source: Stream) -> Stream:
    kept = KeptAnswer.of(
        CIMultiDict[str](),
        200,
        "OK",
        CIMultiDict(PUBLIC),
        requested=0.0,
        received=0.0,
        body="http-cache/bodies/x",
        size=0,
    )
    store = MemoryStorage()
    stream = _Keeping(source, _Cache.over(store, MiB), "x", kept)
    stream._store_itself = store  # type: ignore[attr-defined] # a cache does not hold it
    return stream


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
async def test_law(law: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "aiostreams.web")
    await law(keeping)
    await law(_Kept)
