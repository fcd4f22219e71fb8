"""The middleware: limits, errors to statuses, order, and nothing left behind."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from aiostreams import (
    JSON,
    BodyTimeout,
    ByteStream,
    File,
    HTTPStream,
    InvalidContent,
    LengthRequired,
    LimitExceeded,
    Limits,
    LimitStream,
    MalformedBody,
    ObjectExists,
    SizeMismatch,
    SpooledStream,
    StorageError,
    Stream,
    StreamClosed,
    StreamError,
    Text,
    UnsupportedContent,
    limit,
    open_stream,
    read_bytes,
    read_json,
    respond,
    setup,
    stream_middleware,
)
from aiostreams.web.response import BodyResponse
from aiostreams.web.state import body_of
from tests.servers import CHUNKED, chunk, connected, post, serving
from tests.waiting import until

Handler = Callable[[web.Request], Awaitable[Any]]
Answer = tuple[int, dict[str, str], bytes]


def app_of(handler: Handler | type[web.View], **kwargs: Any) -> web.Application:
    app = web.Application()
    app.router.add_route("*", "/", handler)
    return setup(app, **kwargs)


async def ask(app: web.Application, *pieces: bytes, **kwargs: Any) -> Answer:
    async with serving(app, **kwargs) as address, connected(address) as raw:
        await raw.send(*pieces)
        return await raw.response()


async def count(request: web.Request) -> JSON[int]:
    total = 0
    async for piece in open_stream(request).iter_any():
        total += len(piece)
    return JSON(total)


def dripped(size: int) -> list[bytes]:
    return [post(headers=CHUNKED), chunk(b"x") * size, chunk(b"")]


# -- limits ------------------------------------------------------------------------


@pytest.mark.parametrize("size", [100, 101])
@pytest.mark.parametrize("chunked", [False, True])
async def test_max_body_lets_n_pass_and_refuses_one_more(
    size: int, chunked: bool
) -> None:
    app = app_of(count, limits=Limits(max_body=100))
    pieces = dripped(size) if chunked else [post(b"x" * size)]
    status, _, body = await ask(app, *pieces)
    assert status == (200 if size == 100 else 413)
    if status == 413:
        problem = json.loads(body)
        assert (problem["limit"], problem["seen"]) == (100, 101)
        assert "101 bytes, limit 100" in problem["detail"]


async def test_a_declared_size_is_refused_although_nobody_would_look() -> None:
    called = False

    async def careless(request: web.Request) -> Text:
        nonlocal called
        called = True
        return Text("done")

    app = app_of(careless, limits=Limits(max_body=100))
    head = post(headers=[("Content-Length", "101")])
    status, _, _ = await ask(app, head)
    assert status == 413
    assert not called


@pytest.mark.parametrize("value", ["-1", "+5", "0x10", "1 2", "٣", "1e3"])
async def test_a_content_length_that_is_no_number(value: str) -> None:
    head = post(headers=[("Content-Length", value)])
    status, _, _ = await ask(app_of(count), head)
    assert status == 400


async def test_a_content_length_beyond_any_machine() -> None:
    head = post(headers=[("Content-Length", "9" * 18)])
    assert (await ask(app_of(count), head))[0] == 413


async def test_limit_overrides_for_its_route() -> None:
    @limit(max_body=5)
    @limit(max_body=9, max_memory=7)
    async def handler(request: web.Request) -> JSON[Any]:
        limits = body_of(request).limits
        return JSON([limits.max_body, limits.max_memory, limits.max_parts])

    app = app_of(handler, limits=Limits(max_parts=3))
    assert (await ask(app, post(b"12345")))[2] == b"[5,7,3]"
    assert (await ask(app_of(handler), post(b"123456")))[0] == 413


async def test_limit_of_a_class_and_of_its_method() -> None:
    @limit(max_body=5, max_memory=6)
    class Resource(web.View):
        async def get(self) -> web.StreamResponse:
            return self.tell()

        @limit(max_body=7)
        async def post(self) -> web.StreamResponse:
            return self.tell()

        def tell(self) -> web.StreamResponse:
            limits = body_of(self.request).limits
            return respond(JSON([limits.max_body, limits.max_memory]))

    app = app_of(Resource)
    assert (await ask(app, post(None, method="GET")))[2] == b"[5,6]"
    assert (await ask(app_of(Resource), post(b"")))[2] == b"[7,6]"


def test_limit_refuses_what_is_no_ceiling() -> None:
    with pytest.raises(TypeError):
        limit(max_boddy=5)
    with pytest.raises(ValueError, match="negative"):
        limit(max_body=-1)


async def test_helpers_without_the_middleware_keep_to_the_route() -> None:
    @limit(max_body=3)
    async def handler(request: web.Request) -> web.Response:
        with pytest.raises(LimitExceeded):
            await read_bytes(request)
        return web.Response(text="refused")

    app = web.Application()
    app.router.add_post("/", handler)
    assert (await ask(app, *dripped(4)))[2] == b"refused"


# -- errors ------------------------------------------------------------------------

ERRORS: list[tuple[StreamError, int]] = [
    (MalformedBody("cut short"), 400),
    (ObjectExists("there already"), 409),
    (LengthRequired("how long?"), 411),
    (LimitExceeded("too much", limit=1, seen=2), 413),
    (UnsupportedContent("no", accept="text/a", accept_encoding="gzip"), 415),
    (InvalidContent("not so"), 422),
    (BodyTimeout("too slow"), 408),
    (StorageError("full", OSError(28, "no space")), 507),
    (StorageError("broken", OSError(5, "io")), 500),
    (SizeMismatch("lied", expected=1, seen=2), 500),
]


@pytest.mark.parametrize(("error", "status"), ERRORS, ids=lambda value: str(value))
async def test_errors_become_problems(
    error: StreamError, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(request: web.Request) -> Any:
        raise error

    caplog.set_level(logging.INFO)
    got, headers, body = await ask(app_of(handler), post(b""))
    assert got == status
    assert headers["content-type"] == "application/problem+json; charset=utf-8"
    assert headers["x-content-type-options"] == "nosniff"
    problem = json.loads(body)
    assert problem["status"] == status
    if status < 500:
        assert problem["detail"] == str(error)
    else:
        assert str(error) not in body.decode()
    records = [record for record in caplog.records if "aiostreams" in record.name]
    assert len(records) == 1
    assert not [r for r in caplog.records if r.name == "aiohttp.server"]
    if status == 415:
        assert headers["accept"] == "text/a"
        assert headers["accept-encoding"] == "gzip"
    if status == 408:
        assert headers["connection"] == "close"


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", "application/problem+json"),
        ("application/json", "application/problem+json"),
        ("application/problem+json", "application/problem+json"),
        ("text/plain", "text/plain"),
        ("text/html", "text/plain"),
        ("text/html, */*;q=0.8", "application/problem+json"),
    ],
)
async def test_who_takes_no_problem_gets_text(accept: str, kind: str) -> None:
    async def handler(request: web.Request) -> Any:
        raise MalformedBody("cut short")

    _, headers, body = await ask(
        app_of(handler), post(b"", headers=[("Accept", accept)])
    )
    assert headers["content-type"] == f"{kind}; charset=utf-8"
    assert (body == b"400: cut short") == (kind == "text/plain")


@pytest.mark.parametrize(
    ("head", "body", "status"),
    [
        ("application/json", b"{", 400),
        ("application/json; charset=nobody", b"{}", 415),
        ("application/json; charset=utf-8", b'"\xff"', 400),
        ("text/plain", b"{}", 415),
        ("application/json", b'{"a":"' + b"x" * 2**20 + b'"}', 413),
    ],
)
async def test_bad_bodies_through_the_middleware(
    head: str, body: bytes, status: int
) -> None:
    async def handler(request: web.Request) -> Any:
        return JSON(await read_json(request))

    request = post(body, headers=[("Content-Type", head)])
    assert (await ask(app_of(handler), request))[0] == status


async def test_a_handler_that_raises_midway_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handler(request: web.Request) -> Any:
        await open_stream(request).read(3)
        raise ZeroDivisionError("bug")

    status, _, body = await ask(app_of(handler), post(b"abcdef"))
    assert status == 500
    assert b"bug" not in body
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 1


async def test_an_error_after_the_response_began_breaks_the_connection() -> None:
    async def handler(request: web.Request) -> Any:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"begun")
        raise MalformedBody("too late to say")

    async with serving(app_of(handler)) as address, connected(address) as raw:
        await raw.send(post(b""))
        got = await raw.reader.read()
    assert got.endswith(b"begun\r\n")
    assert b"400" not in got


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
@pytest.mark.parametrize("cancel", [False, True], ids=["", "handler_cancellation"])
async def test_a_client_that_leaves_midway(
    reset: bool, cancel: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    ended: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
    opened: list[Stream] = []

    async def handler(request: web.Request) -> Any:
        spool = SpooledStream()
        body_of(request).call_on_close(spool.close)
        opened.extend([open_stream(request), spool])
        try:
            return JSON(len(await read_bytes(request)))
        except BaseException as error:
            ended.set_result(error)
            raise

    async with serving(app_of(handler), handler_cancellation=cancel) as address:
        async with connected(address) as raw:
            await raw.send(post(headers=[("Content-Length", "100")]), b"some")
            if reset:
                raw.reset()
        error = await ended
        assert type(error).__name__ in {"ClientGone", "CancelledError"}
        assert (type(error).__name__ == "CancelledError") <= cancel
        await until(lambda: all(stream.closed for stream in opened))
    assert all(stream.closed for stream in opened)
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


async def test_keep_alive_after_an_unread_body() -> None:
    async def handler(request: web.Request) -> Any:
        if request.headers.get("X-Refuse"):
            raise UnsupportedContent("not this")
        return JSON(len(await read_bytes(request)))

    async with serving(app_of(handler)) as address, connected(address) as raw:
        await raw.send(post(b"x" * 100_000, headers=[("X-Refuse", "1")]))
        assert (await raw.response())[0] == 415
        await raw.send(post(b"GET / HTTP/1.1"))
        assert (await raw.response())[2] == b"14"


# -- order and ends ----------------------------------------------------------------


async def test_the_apps_own_middlewares_see_responses_whenever_they_came() -> None:
    seen: list[str] = []

    def spy(name: str) -> Any:
        @web.middleware
        async def middleware(request: web.Request, handler: Any) -> Any:
            response = await handler(request)
            seen.append(f"{name} {isinstance(response, web.StreamResponse)}")
            return response

        return middleware

    async def handler(request: web.Request) -> Any:
        return Text("x")

    app = web.Application(middlewares=[spy("before")])
    app.router.add_get("/", handler)
    assert setup(app) is app
    app.middlewares.append(spy("after"))
    assert (await ask(app, post(None, method="GET")))[0] == 200
    assert seen == ["after True", "before True"]


async def test_an_error_of_the_apps_own_middleware_is_answered_like_any() -> None:
    @web.middleware
    async def strict(request: web.Request, handler: Any) -> Any:
        raise InvalidContent("signature does not fit")

    async def handler(request: web.Request) -> Any:
        return Text("x")

    for early in (True, False):
        app = web.Application(middlewares=[strict] if early else [])
        app.router.add_get("/", handler)
        setup(app)
        if not early:
            app.middlewares.append(strict)
        assert (await ask(app, post(None, method="GET")))[0] == 422


async def test_a_signature_is_checked_before_the_handler_reads() -> None:
    @web.middleware
    async def signed(request: web.Request, handler: Any) -> Any:
        if not (await read_bytes(request)).startswith(b"[1"):
            raise web.HTTPForbidden
        return await handler(request)

    async def handler(request: web.Request) -> Any:
        return JSON(
            [
                await read_json(request, content_type=None),
                await read_bytes(request) == b"[1]",
            ]
        )

    app = web.Application(middlewares=[signed])
    app.router.add_post("/", handler)
    setup(app)
    assert (await ask(app, post(b"[1]")))[2] == b"[[1],true]"


async def test_setup_twice_is_a_mistake() -> None:
    app = setup(web.Application())
    with pytest.raises(RuntimeError, match="twice"):
        setup(app)


async def test_the_middleware_alone_does_it_all() -> None:
    async def handler(request: web.Request) -> Any:
        return JSON(len(await read_bytes(request)))

    app = web.Application(middlewares=[stream_middleware(limits=Limits(max_body=4))])
    app.router.add_post("/", handler)
    assert (await ask(app, post(b"1234")))[2] == b"4"


async def test_a_sub_application_is_covered_by_its_parent() -> None:
    async def handler(request: web.Request) -> Any:
        return JSON(len(await read_bytes(request)))

    sub = web.Application()
    sub.router.add_post("/x", handler)
    app = web.Application()
    app.add_subapp("/sub", sub)
    setup(app, limits=Limits(max_body=4))
    assert (await ask(app, post(b"1234", path="/sub/x")))[2] == b"4"


@pytest.mark.parametrize("size", [9, 10, 11])
@pytest.mark.parametrize("outer", [1, 100])
async def test_a_sub_application_may_have_limits_of_its_own(
    size: int, outer: int
) -> None:
    """Larger or smaller ones than its parent, which sees the request first."""

    async def handler(request: web.Request) -> Any:
        return JSON(len(await read_bytes(request)))

    sub = web.Application()
    sub.router.add_post("/x", handler)
    setup(sub, limits=Limits(max_body=10))
    app = web.Application()
    app.add_subapp("/sub", sub)
    setup(app, limits=Limits(max_body=outer))
    status, _, body = await ask(app, post(b"x" * size, path="/sub/x"))
    assert status == (200 if size <= 10 else 413)
    assert (body == b"%d" % size) is (size <= 10)


async def test_what_was_opened_is_closed_after_the_response_was_sent() -> None:
    opened: list[Stream] = []

    async def echo(request: web.Request) -> Any:
        stream = open_stream(request)
        opened.append(stream)
        return stream

    status, headers, body = await ask(app_of(echo), post(b"abc" * 50_000))
    assert (status, body) == (200, b"abc" * 50_000)
    assert headers["content-length"] == "150000"
    assert opened[0].closed
    _, headers, body = await ask(app_of(echo), *dripped(20))
    assert (headers["transfer-encoding"], body) == ("chunked", b"x" * 20)
    assert opened[1].closed


async def test_what_was_opened_is_closed_after_aiohttps_own_response() -> None:
    opened: list[Stream] = []

    async def handler(request: web.Request) -> Any:
        opened.append(open_stream(request))
        kind = request.headers.get("X-Kind")
        if kind == "payload":
            return web.Response(body=open_stream(request))
        if kind == "error":
            raise web.HTTPConflict
        return web.Response(text="unread")

    for kind in ("payload", "error", "plain"):
        await ask(app_of(handler), post(b"abc", headers=[("X-Kind", kind)]))
        assert opened[-1].closed, kind


async def test_aiohttps_own_payload_may_read_the_request_while_it_is_sent() -> None:
    opened: list[Stream] = []

    async def handler(request: web.Request) -> Any:
        stream = open_stream(request)
        opened.append(stream)

        async def upper() -> AsyncIterator[bytes]:
            async for piece in stream.iter_any():
                yield piece.upper()

        return web.Response(body=upper(), content_type="text/plain")

    body = b"abc" * 50_000
    status, headers, answer = await ask(app_of(handler), post(body))
    assert (status, answer) == (200, body.upper())
    assert headers["content-type"] == "text/plain"
    assert opened[0].closed
    head = await ask(app_of(handler), post(body, method="HEAD"))
    assert head[0] == 200
    assert opened[1].closed


@pytest.mark.parametrize("instead", ["plain", "wrapped", "error"])
async def test_a_response_that_a_middleware_replaces_is_closed(
    instead: str, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 1000)
    made: list[BodyResponse] = []

    @web.middleware
    async def usurper(request: web.Request, handler: Any) -> Any:
        response = await handler(request)
        made.append(response)
        if instead == "error":
            raise web.HTTPConflict
        if instead == "plain":
            return web.Response(text="mine")
        return respond(LimitStream(response.stream, 1000))

    async def handler(request: web.Request) -> Any:
        return File(path)

    app = web.Application(middlewares=[usurper])
    app.router.add_get("/", handler)
    setup(app)
    async with serving(app) as address, connected(address) as raw:
        await raw.send(post(None, method="GET"))
        status, _, body = await raw.response()
        assert (status, len(body)) == {
            "plain": (200, 4),
            "wrapped": (200, 1000),
            "error": (409, 13),
        }[instead]
        await asyncio.sleep(0.01)
        assert made[0].stream.closed


async def test_a_cancelled_closer_does_not_keep_the_others() -> None:
    closed: list[int] = []
    entered = asyncio.Event()

    async def closer(n: int) -> None:
        if n == 2:
            entered.set()
            await asyncio.Event().wait()
        closed.append(n)

    async def handler(request: web.Request) -> Any:
        for n in range(3):
            body_of(request).call_on_close(partial(closer, n))
        return web.Response()

    app = app_of(handler)
    async with serving(app, handler_cancellation=True) as address:
        async with connected(address) as raw:
            await raw.send(post(None, method="GET"))
            await entered.wait()
        await until(lambda: len(closed) > 1)
    assert closed == [1, 0]  # the one that was cancelled came first


async def test_a_closer_that_fails_does_not_keep_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    spool = SpooledStream()

    async def broken() -> None:
        raise OSError("cannot close")

    async def handler(request: web.Request) -> Any:
        body_of(request).call_on_close(spool.close)
        body_of(request).call_on_close(broken)
        return Text("x")

    assert (await ask(app_of(handler), post(b"")))[0] == 200
    assert spool.closed
    assert len([r for r in caplog.records if r.name == "aiostreams.web"]) == 1


async def test_a_response_that_nobody_sends_is_cleaned_up_with_its_connection() -> None:
    opened: list[Stream] = []

    @web.middleware
    async def usurper(request: web.Request, handler: Any) -> Any:
        await handler(request)
        return web.Response(text="mine")

    async def echo(request: web.Request) -> Any:
        opened.append(open_stream(request))
        return opened[0]

    inner = web.Application()
    inner.router.add_post("/", echo)
    setup(inner)
    outer = web.Application(middlewares=[usurper])
    outer.add_subapp("/in", inner)
    async with serving(outer) as address, connected(address) as raw:
        await raw.send(post(b"abc", path="/in/"))
        assert (await raw.response())[2] == b"mine"
        raw.writer.close()
        await until(lambda: opened[0].closed)
    assert opened[0].closed


async def test_the_stream_of_a_request_is_of_no_use_afterwards() -> None:
    kept: list[Stream] = []

    async def handler(request: web.Request) -> Any:
        kept.append(open_stream(request))
        return Text("x")

    await ask(app_of(handler), post(b"abc"))
    with pytest.raises(StreamClosed):
        await kept[0].read()


async def test_class_based_views_return_values_too() -> None:
    class View(web.View):
        async def get(self) -> Any:
            return JSON([1])

        async def post(self) -> Any:
            return ByteStream(await read_bytes(self.request))

        async def put(self) -> web.StreamResponse:
            return web.Response(text="own")

    class Own(web.View):
        async def _iter(self) -> web.StreamResponse:
            return web.Response(text=self.request.method)

    for path, method, status, answer in (
        ("/", "GET", 200, b"[1]"),
        ("/", "POST", 200, b"abc"),
        ("/", "PUT", 200, b"own"),
        ("/", "DELETE", 405, b"405: Method Not Allowed"),
        ("/", "PURGE", 405, b"405: Method Not Allowed"),
        ("/own", "GET", 200, b"GET"),
    ):
        app = web.Application()
        app.router.add_view("/", View)
        app.router.add_view("/own", Own)
        setup(app)
        got = await ask(app, post(b"abc", method=method, path=path))
        assert (got[0], got[2]) == (status, answer), method


# -- leaks -------------------------------------------------------------------------


async def test_a_thousand_bad_requests_leave_nothing_behind() -> None:
    async def handler(request: web.Request) -> Any:
        spool = SpooledStream(max_memory=0)
        body_of(request).call_on_close(spool.close)
        await spool.write(b"to disk")
        return JSON(await read_json(request))

    app = app_of(handler, limits=Limits(max_body=1000))
    requests = [
        post(b"{"),
        post(b"x" * 1001),
        post(headers=CHUNKED) + chunk(b"x" * 1001) + chunk(b""),
        post(b"[1]"),
    ]

    async def round_of(count: int, address: tuple[str, int]) -> None:
        for n in range(count):
            async with connected(address) as raw:
                raw.writer.write(requests[n % len(requests)])
                if n % 5:
                    await raw.response()

    async with serving(app) as address:
        await round_of(100, address)
        await asyncio.sleep(0.1)
        before = await asyncio.to_thread(lambda: len(os.listdir("/proc/self/fd")))
        tasks = len(asyncio.all_tasks())
        await round_of(900, address)
        await asyncio.sleep(0.2)
        gc.collect()
        after = await asyncio.to_thread(lambda: len(os.listdir("/proc/self/fd")))
        assert abs(after - before) <= 2
        assert len(asyncio.all_tasks()) <= tasks + 2


async def test_cancelling_a_handler_at_every_step_closes_what_it_opened() -> None:
    """A cancel at each await of a request that reads, spools and answers."""

    async def work(request: web.Request, opened: list[Stream]) -> Any:
        spool = SpooledStream(max_memory=3)
        opened.append(spool)
        body_of(request).call_on_close(spool.close)
        async for piece in open_stream(request).iter_any():
            await spool.write(piece)
        await spool.rewind()
        return respond(ByteStream(await spool.read()))

    for steps in range(0, 60, 3):
        opened: list[Stream] = []

        async def handler(
            request: web.Request, steps: int = steps, opened: list[Stream] = opened
        ) -> Any:
            task = asyncio.current_task()
            assert task is not None
            loop = asyncio.get_running_loop()

            def later(left: int) -> None:
                if left:
                    loop.call_soon(later, left - 1)
                else:
                    task.cancel()

            later(steps)
            try:
                return await work(request, opened)
            finally:
                # Whoever is done before its cancel must not take it outside.
                while steps and not task.cancelling():
                    try:
                        await asyncio.sleep(0)
                    except asyncio.CancelledError:
                        break
                task.uncancel()

        app = app_of(handler)
        async with serving(app) as address, connected(address) as raw:
            await raw.send(post(b"abcdef" * 1000))
            await asyncio.wait({asyncio.create_task(raw.reader.read(1))}, timeout=0.5)
            raw.writer.close()
            for stream in opened:
                await until(partial(getattr, stream, "closed"))
        assert all(stream.closed for stream in opened), steps


async def test_the_helpers_take_a_base_request() -> None:
    """No Application at all: a low-level server."""

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        data = await read_json(request, content_type=None)
        assert isinstance(HTTPStream.from_request(request), Stream)
        return respond(JSON(data))

    server = web.Server(handler)
    runner = web.ServerRunner(server)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        async with connected(runner.addresses[0]) as raw:
            await raw.send(post(b"[1]"))
            assert (await raw.response())[2] == b"[1]"
    finally:
        await runner.cleanup()
