"""What other people's middlewares see: in every application, whenever they came."""

from __future__ import annotations

import functools
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from aiostreams import (
    JSON,
    ClientGone,
    File,
    InvalidContent,
    IterStream,
    LimitExceeded,
    Limits,
    MalformedBody,
    ObjectNotFound,
    StreamError,
    Text,
    compression_middleware,
    limit,
    read_bytes,
    read_json,
    respond,
    setup,
    stream_middleware,
)
from tests.servers import connected, post, serving
from tests.web.variants import LONG, ask

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Answer = tuple[int, dict[str, str], bytes]


async def get(
    app: web.Application, path: str = "/", *, body: bytes | None = None
) -> Answer:
    method = "GET" if body is None else "POST"
    async with serving(app) as address, connected(address) as raw:
        await raw.send(post(body, method=method, path=path))
        return await raw.response()


class Spy:
    """A middleware that notes what it sees."""

    def __init__(self, name: str = "") -> None:
        self.seen: list[Any] = []
        self.name = name

        @web.middleware
        async def middleware(
            request: web.Request, handler: Handler
        ) -> web.StreamResponse:
            try:
                response = await handler(request)
            except BaseException as error:
                self.seen.append(error)
                raise
            assert isinstance(response, web.StreamResponse)
            self.seen.append(response)
            response.headers.add("X-Seen", name)
            return response

        self.middleware = middleware


class Values(web.View):
    async def get(self) -> Any:
        return JSON({"method": "get"})

    async def query(self) -> Any:
        return Text("asked")


async def value(_request: web.Request) -> Any:
    return JSON({"method": "get"})


async def streamed(_request: web.Request) -> Any:
    return IterStream([b'{"method"', b':"get"}'], content_type="application/json")


KINDS = {"function": value, "stream": streamed, "view": Values}


def nested(handler: Any, spies: list[Spy], set_up: tuple[int, ...]) -> web.Application:
    """Three applications, one inside of the other, each with a middleware."""
    app: web.Application | None = None
    for depth in (2, 1, 0):
        outer = web.Application(middlewares=[spies[depth].middleware])
        if app is None:
            outer.router.add_route("*", "/", handler)
        else:
            outer.add_subapp("/sub", app)
        if depth in set_up:
            setup(outer)
        app = outer
    assert app is not None
    return app


@pytest.mark.parametrize("handler", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("set_up", [(0,), (0, 1), (0, 2), (0, 1, 2), (2,)])
async def test_values_are_responses_at_every_depth(
    handler: Any, set_up: tuple[int, ...]
) -> None:
    spies = [Spy(str(depth)) for depth in range(3)]
    app = nested(handler, spies, set_up)
    async with serving(app) as address, connected(address) as raw:
        for _ in range(3):  # the chain is kept
            answer = await ask(raw, path="/sub/sub/")
            assert json.loads(answer.body) == {"method": "get"}
    assert [len(spy.seen) for spy in spies] == [3, 3, 3]
    for first, second in zip(spies[0].seen, spies[2].seen, strict=True):
        assert first is second


@pytest.mark.parametrize("set_up", [(0,), (0, 1, 2), (2,)])
async def test_errors_are_http_exceptions_at_every_depth(
    set_up: tuple[int, ...],
) -> None:
    async def refuse(_request: web.Request) -> Any:
        raise InvalidContent("not so")

    spies = [Spy() for _ in range(3)]
    status, fields, body = await get(nested(refuse, spies, set_up), "/sub/sub/")
    assert (status, json.loads(body)["detail"]) == (422, "not so")
    assert fields["content-type"].startswith("application/problem+json")
    for spy in spies:
        (error,) = spy.seen
        assert isinstance(error, web.HTTPUnprocessableEntity)
        assert isinstance(error.__cause__, InvalidContent)


async def test_a_tracer_in_every_application_breaks_nothing() -> None:
    """As instrumentation does: a middleware that every Application is made with."""
    tracer = Spy()

    def application() -> web.Application:
        return web.Application(middlewares=[tracer.middleware])

    sub = application()
    sub.router.add_get("/value", value)
    sub.router.add_view("/view", Values)
    app = application()
    app.add_subapp("/sub", sub)
    setup(app)
    for path in ("/sub/value", "/sub/view"):
        status, _, body = await get(app, path)
        assert (status, body) == (200, b'{"method":"get"}')


@pytest.mark.parametrize("when", ["before", "after", "first", "at startup"])
async def test_the_order_of_registration_does_not_matter(when: str) -> None:
    spy = Spy()
    app = web.Application(middlewares=[spy.middleware] if when == "before" else [])
    app.router.add_get("/", value)
    setup(app)
    if when == "after":
        app.middlewares.append(spy.middleware)
    elif when == "first":
        app.middlewares.insert(0, spy.middleware)
    elif when == "at startup":

        async def late(app: web.Application) -> None:
            app.middlewares.append(spy.middleware)

        app.on_startup.append(late)
    assert (await get(app))[0] == 200
    assert len(spy.seen) == 1


async def test_a_middleware_that_is_put_outside_may_still_raise_ours() -> None:
    @web.middleware
    async def own(request: web.Request, handler: Handler) -> web.StreamResponse:
        await handler(request)
        raise MalformedBody("refused by a middleware")

    app = web.Application()
    app.router.add_get("/", value)
    setup(app)
    app.middlewares.insert(0, own)
    status, _, body = await get(app)
    assert (status, json.loads(body)["detail"]) == (400, "refused by a middleware")


async def test_no_route_is_no_matter_of_ours() -> None:
    spy = Spy()
    app = web.Application(middlewares=[spy.middleware])
    app.router.add_get("/", value)
    setup(app, limits=Limits(max_body=10))
    assert (await get(app, "/nowhere"))[0] == 404
    assert (await get(app, body=b"x" * 100))[0] == 405
    assert [type(error) for error in spy.seen] == [
        web.HTTPNotFound,
        web.HTTPMethodNotAllowed,
    ]


# -- middlewares as there are --------------------------------------------------------


@web.middleware
async def cors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """As CORS middlewares do it: fields on responses and on what is raised."""
    try:
        response = await handler(request)
    except web.HTTPException as error:
        error.headers["Access-Control-Allow-Origin"] = "*"
        raise
    response.headers["Access-Control-Allow-Origin"] = "*"
    return response


@pytest.mark.parametrize("sub", [False, True])
async def test_cors_fields_stand_on_every_answer(tmp_path: Path, sub: bool) -> None:
    @limit(max_body=10)
    async def small(request: web.Request) -> Any:
        return JSON(len(await read_bytes(request)))

    async def typed(request: web.Request) -> Any:
        return JSON(await read_json(request, type=dict[str, int]))

    async def missing(_request: web.Request) -> Any:
        return File(tmp_path / "missing")

    app = web.Application(middlewares=[cors])
    app.router.add_post("/small", small)
    app.router.add_post("/json", typed)
    app.router.add_get("/missing", missing)
    app.router.add_get("/value", value)
    if sub:
        inner, app = app, web.Application()
        app.add_subapp("/sub", inner)
    setup(app)
    prefix = "/sub" if sub else ""
    head = [("Content-Type", "application/json")]
    text = [("Content-Type", "text/plain")]
    async with serving(app) as address, connected(address) as raw:
        for request, expected in (
            (post(b"x" * 11, path=f"{prefix}/small"), 413),
            (post(b"{", path=f"{prefix}/json", headers=head), 400),
            (post(b'{"a":"b"}', path=f"{prefix}/json", headers=head), 422),
            (post(b"{}", path=f"{prefix}/json", headers=text), 415),
            (post(None, path=f"{prefix}/missing", method="GET"), 404),
            (post(None, path=f"{prefix}/value", method="GET"), 200),
        ):
            await raw.send(request)
            status, fields, _ = await raw.response()
            assert status == expected
            assert fields["access-control-allow-origin"] == "*", status


async def test_a_site_has_a_page_for_a_missing_file(tmp_path: Path) -> None:
    causes: list[BaseException | None] = []

    @web.middleware
    async def pages(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPNotFound as error:
            causes.append(error.__cause__)
            return web.Response(text="<p>gone", status=404, content_type="text/html")

    async def missing(_request: web.Request) -> Any:
        return File(tmp_path / "missing")

    app = web.Application(middlewares=[pages])
    app.router.add_get("/", missing)
    status, fields, body = await get(setup(app))
    assert (status, body) == (404, b"<p>gone")
    assert [type(cause) for cause in causes] == [ObjectNotFound]
    assert fields["content-type"].startswith("text/html")


async def test_who_makes_500s_of_what_is_unknown_leaves_ours() -> None:
    @web.middleware
    async def catching(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException:
            raise
        except Exception:
            return web.Response(status=500)

    async def refuse(_request: web.Request) -> Any:
        raise LimitExceeded("too much", limit=1, seen=2)

    app = web.Application(middlewares=[catching])
    app.router.add_get("/", refuse)
    assert (await get(setup(app)))[0] == 413


async def test_authentication_comes_before_the_size_of_a_body() -> None:
    @web.middleware
    async def known(request: web.Request, handler: Handler) -> web.StreamResponse:
        raise web.HTTPUnauthorized

    app = web.Application(middlewares=[known])
    app.router.add_post("/", value)
    setup(app, limits=Limits(max_body=1))
    assert (await get(app, body=b"12"))[0] == 401


async def test_a_client_that_has_gone_is_no_answer_to_anybody() -> None:
    async def gone(_request: web.Request) -> Any:
        raise ClientGone("left")

    spy = Spy()
    app = web.Application(middlewares=[spy.middleware])
    app.router.add_get("/", gone)
    setup(app)
    async with serving(app) as address, connected(address) as raw:
        await raw.send(post(None, method="GET"))
        assert await raw.reader.read() == b""
    assert [type(error) for error in spy.seen] == [ClientGone]


async def test_a_middleware_may_return_a_value_too(tmp_path: Path) -> None:
    made: list[Any] = [Text("mine"), IterStream([b"mine"]), File(tmp_path / "missing")]

    @web.middleware
    async def own(request: web.Request, handler: Handler) -> Any:
        await handler(request)
        return made.pop(0)

    app = web.Application(middlewares=[own])
    app.router.add_get("/", value)
    setup(app)
    async with serving(app) as address, connected(address) as raw:
        answers = [await ask(raw) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 404]
    assert [answer.raw for answer in answers[:2]] == [b"mine", b"mine"]


async def test_marks_of_a_handler_are_seen_through_the_chain() -> None:
    seen: list[Any] = []

    @web.middleware
    async def own(request: web.Request, handler: Any) -> web.StreamResponse:
        seen.append((handler.public, handler.__name__, request.match_info.handler))
        response: web.StreamResponse = await handler(request)
        return response

    async def marked(_request: web.Request) -> Any:
        return Text("x")

    marked.public = True  # type: ignore[attr-defined]
    app = web.Application(middlewares=[own])
    app.router.add_get("/", marked)
    setup(app)
    for _ in range(2):
        assert (await get(app))[0] == 200
    assert seen == [(True, "marked", marked)] * 2


async def test_a_handler_may_be_a_partial_of_its_own() -> None:
    async def of_two(handler: str, request: web.Request) -> Any:
        return Text(handler + request.path)

    spy = Spy()
    app = web.Application(middlewares=[spy.middleware])
    app.router.add_get("/", functools.partial(of_two, "path "))
    assert (await get(setup(app)))[2] == b"path /"
    assert len(spy.seen) == 1


@pytest.mark.filterwarnings("ignore:old-style middleware:DeprecationWarning")
async def test_old_style_middlewares_get_what_they_always_got() -> None:
    async def old(_app: web.Application, handler: Any) -> Any:
        async def middleware(request: web.Request) -> Any:
            return await handler(request)

        return middleware

    app = web.Application(middlewares=[old])  # type: ignore[list-item]
    app.router.add_get("/", value)
    assert (await get(setup(app)))[::2] == (200, b'{"method":"get"}')


async def test_a_view_answers_a_query() -> None:
    app = web.Application()
    app.router.add_view("/", Values)
    setup(app)
    async with serving(app) as address, connected(address) as raw:
        answer = await ask(raw, method="QUERY")
        assert (answer.status, answer.raw) == (200, b"asked")
        assert (await ask(raw, method="PURGE")).status == 405


# -- plain bytes -----------------------------------------------------------------------


async def plain_of_ours(_request: web.Request) -> Any:
    return respond(Text(LONG.decode()), etag="v1")


async def plain_of_aiohttp(_request: web.Request) -> Any:
    return web.Response(text=LONG.decode())


async def plain_and_raised(_request: web.Request) -> Any:
    raise web.HTTPConflict(text=LONG.decode())


@pytest.mark.parametrize(
    "handler", [plain_of_ours, plain_of_aiohttp, plain_and_raised, value]
)
@pytest.mark.parametrize("where", ["root", "sub set up", "both set up"])
async def test_signals_and_middlewares_see_plain_bytes(
    handler: Any, where: str
) -> None:
    seen: list[bytes] = []

    def note(response: web.StreamResponse) -> None:
        assert isinstance(response, web.Response)
        assert "Content-Encoding" not in response.headers
        assert isinstance(response.body, bytes)
        assert response.content_length == len(response.body)
        seen.append(response.body)

    @web.middleware
    async def own(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            response = await handler(request)
        except web.HTTPException as error:
            note(error)
            raise
        note(response)
        return response

    async def signal(_request: web.Request, response: web.StreamResponse) -> None:
        note(response)

    app = web.Application(middlewares=[own])
    app.on_response_prepare.append(signal)
    if where == "root":
        app.router.add_get("/sub/", handler)
        setup(app)
    else:
        sub = web.Application(middlewares=[own])
        sub.on_response_prepare.append(signal)
        sub.router.add_get("/", handler)
        setup(sub)
        app.add_subapp("/sub", sub)
        if where == "both set up":
            setup(app)
    async with serving(app) as address, connected(address) as raw:
        answer = await ask(raw, "gzip", path="/sub/")
    assert set(seen) == {answer.body}
    assert len(seen) == (2 if where == "root" else 4)
    assert answer.coding == (None if handler is value else "gzip")


@pytest.mark.parametrize("handler", [plain_of_ours, plain_of_aiohttp])
async def test_a_signal_that_changes_and_tags_what_is_sent(handler: Any) -> None:
    """It is encoded as it is then, and the tag is weak: HEAD says the same."""

    async def signal(request: web.Request, response: web.StreamResponse) -> None:
        assert isinstance(response, web.Response)
        assert isinstance(response.body, bytes)
        response.headers["X-Length"] = str(len(response.body))
        if request.path == "/more":
            response.body = response.body + b"and more"
        response.etag = "made"

    app = web.Application()
    app.router.add_get("/{path:.*}", handler)
    app.on_response_prepare.append(signal)
    setup(app)
    async with serving(app) as address, connected(address) as raw:
        for path, body in (("/", LONG), ("/more", LONG + b"and more")):
            plain = await ask(raw, path=path)
            assert (plain.raw, plain.etag) == (body, '"made"')
            for coding in ("gzip", "zstd"):
                answer = await ask(raw, coding, path=path)
                assert (answer.coding, answer.body) == (coding, body)
                assert answer.etag == 'W/"made"'
                assert answer.headers["x-length"] == str(len(LONG))
                assert answer.headers["content-length"] == str(len(answer.raw))
                head = await ask(raw, coding, path=path, method="HEAD")
                assert (head.coding, head.etag) == (coding, 'W/"made"')
                assert head.vary == answer.vary == "Accept-Encoding"


async def test_a_signal_may_say_that_the_bytes_stay() -> None:
    async def signal(_request: web.Request, response: web.StreamResponse) -> None:
        response.headers["Cache-Control"] = "no-transform"

    app = web.Application()
    app.router.add_get("/ours", plain_of_ours)
    app.router.add_get("/theirs", plain_of_aiohttp)
    app.on_response_prepare.append(signal)
    setup(app)
    async with serving(app) as address, connected(address) as raw:
        for path in ("/ours", "/theirs"):
            answer = await ask(raw, "gzip", path=path)
            assert (answer.coding, answer.raw) == (None, LONG)


async def test_cookies_of_middlewares_and_signals_are_sent() -> None:
    async def signal(_request: web.Request, response: web.StreamResponse) -> None:
        response.set_cookie("late", "2")

    @web.middleware
    async def own(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        response.set_cookie("early", "1")
        return response

    app = web.Application(middlewares=[own])
    app.router.add_get("/", value)
    app.on_response_prepare.append(signal)
    async with serving(setup(app)) as address, connected(address) as raw:
        await raw.send(post(None, method="GET"))
        head = (await raw.reader.readuntil(b"\r\n\r\n")).decode()
    assert head.count("Set-Cookie: early=1; Path=/\r\n") == 1
    assert head.count("Set-Cookie: late=2; Path=/\r\n") == 1


async def test_the_middlewares_by_hand_do_the_same() -> None:
    spy = Spy()
    app = web.Application(
        middlewares=[compression_middleware(), stream_middleware(), spy.middleware]
    )
    app.router.add_get("/", plain_of_ours)
    async with serving(app) as address, connected(address) as raw:
        answer = await ask(raw, "gzip")
    assert (answer.coding, answer.body) == ("gzip", LONG)
    (seen,) = spy.seen
    assert isinstance(seen, web.Response)


async def test_errors_are_stream_errors_where_no_middleware_is() -> None:
    """Without any of this, they reach the caller as they are."""
    caught: list[BaseException] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        try:
            await read_json(request)
        except StreamError as error:
            caught.append(error)
        return web.Response()

    app = web.Application()
    app.router.add_post("/", handler)
    assert (await get(app, body=b"{"))[0] == 200
    assert len(caught) == 1
