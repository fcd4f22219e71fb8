"""Typed handlers: what they return becomes a response, with setup() and without."""

from __future__ import annotations

import ast
import functools
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("msgspec", reason="needs the extra msgspec")

from aiohttp import ClientSession, FormData, web

from aiostreams import (
    JSON,
    IterStream,
    MalformedBody,
    MemoryStorage,
    Result,
    RouteTableDef,
    StoredFile,
    Text,
    handler,
    limit,
    open_stream,
    read_bytes,
    read_json,
    setup,
)
from tests.servers import serving
from tests.web import typed_app


@pytest.fixture(params=["setup", "alone"])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[ClientSession]:
    app = typed_app.make_app(with_setup=request.param == "setup")
    async with (
        serving(app) as (host, port),
        ClientSession(f"http://{host}:{port}") as session,
    ):
        yield session


@pytest.mark.parametrize(
    ("path", "status", "content_type", "body"),
    [
        ("/json", 200, "application/json", b'{"path":"/json"}'),
        ("/typed-json", 200, "application/json", b"[1,2]"),
        ("/ndjson", 200, "application/x-ndjson", b'{"a":1}\n{"a":2}\n'),
        ("/text", 200, "text/plain", b"text"),
        ("/html", 200, "text/html", b"<p>html"),
        ("/form", 200, "application/x-www-form-urlencoded", b"a=1"),
        ("/file", 200, "text/plain", b"file"),
        ("/stream", 200, "application/octet-stream", b"ab"),
        ("/response", 200, "text/plain", b"response"),
        ("/any", 200, "text/plain", b"any"),
        ("/any?a=1", 201, "application/json", b"1"),
        ("/either?a=1", 200, "application/json", b"1"),
        ("/either", 204, "application/octet-stream", b""),
        ("/view", 200, "application/json", b'["view"]'),
        ("/handled-view", 200, "application/json", b'["view"]'),
        ("/method", 200, "text/plain", b"hello"),
        ("/partial", 200, "text/plain", b"xxx"),
        ("/decorated", 200, "application/json", b'"decorated"'),
        ("/decorated-method", 200, "text/plain", b"hello!"),
        ("/def", 200, "application/json", b'{"path":"/def"}'),
    ],
)
async def test_whatever_is_returned_is_a_response(
    client: ClientSession, path: str, status: int, content_type: str, body: bytes
) -> None:
    async with client.get(path) as response:
        assert response.status == status
        assert response.content_type == content_type
        assert await response.read() == body


async def test_events_and_multipart_too(client: ClientSession) -> None:
    async with client.get("/events") as response:
        assert (await response.read()).strip() == b"data: one"
    async with client.get("/multipart") as response:
        assert response.content_type == "multipart/form-data"
        assert b'name="a"' in await response.read()
    async with client.get("/gzip") as response:
        assert (await response.read())[:2] == b"\x1f\x8b"


async def test_bodies_in(client: ClientSession) -> None:
    item = {"name": "a", "price": 1.0}
    for path in ("/items", "/body-items", "/view"):
        async with client.post(path, json={"name": "a", "price": 1}) as response:
            assert await response.json() == item
    async with client.post("/buy", json={"name": "a"}) as response:
        assert await response.text() == "hello a"
    async with client.post("/body-items", data={"name": "a", "price": "1"}) as response:
        assert await response.json() == item
    async with client.post("/notes", data={"text": "n"}) as response:
        assert await response.text() == "n"
    async with client.post("/echo", data=b"echo") as response:
        assert await response.read() == b"echo"
    lines = b'{"name":"a"}\n{"name":"b"}\n'
    async with client.post("/lines", data=lines) as response:
        assert await response.json() == ["a", "b"]


async def test_errors_are_answered(client: ClientSession) -> None:
    """Without setup() as well: the handler has the middleware around it."""
    for path in ("/items", "/body-items", "/view"):
        async with client.post(path, json={"price": "x"}) as response:
            assert response.status == 422
            assert response.content_type == "application/problem+json"
            assert (await response.json())["errors"] == [
                {"pointer": "#/name", "detail": "required"},
                {"pointer": "#/price", "detail": "Expected `float`, got `str`"},
            ]
        async with client.post(
            path, data=b"{", headers={"Content-Type": "application/json"}
        ) as response:
            assert response.status == 400
        async with client.post(
            path, data=b"x", headers={"Content-Type": "image/png"}
        ) as response:
            assert response.status == 415
            assert "application/json" in response.headers["Accept"]
    for path in ("/items", "/view"):  # limited
        async with client.post(path, json={"name": "x" * 2000}) as response:
            assert response.status == 413
    async with client.delete("/view") as response:
        assert response.status == 405


def photo(content: bytes = b"GIF89a") -> FormData:
    form = FormData({"title": "t"})
    form.add_field("file", content, filename="a.gif")
    return form


async def test_a_body_with_files_is_received() -> None:
    app = typed_app.make_app(with_setup=True)
    async with (
        serving(app) as (host, port),
        ClientSession(f"http://{host}:{port}") as client,
    ):
        async with client.put("/photos", data=photo()) as response:
            assert await response.json() == "image/gif"
        async with client.post("/body-photos", data=photo()) as response:
            assert (await response.json()).endswith(".gif")
        async with client.post("/body-photos", data={"title": "t"}) as response:
            assert response.status == 422
            assert (await response.json())["errors"] == [
                {"pointer": "#/file", "detail": "a file is required"}
            ]
        # A file that has to be there cannot come as JSON.
        async with client.post("/body-photos", json={"title": "t"}) as response:
            assert response.status == 415
            assert "json" not in response.headers["Accept"]


async def test_what_was_received_goes_when_the_handler_fails() -> None:
    storage = MemoryStorage()

    @handler(body=typed_app.Photo)
    async def fail(request: web.Request, photo: typed_app.Photo) -> JSON:
        raise web.HTTPConflict

    app = web.Application()
    app.router.add_post("/", fail)
    setup(app, storage=storage)
    async with (
        serving(app) as (host, port),
        ClientSession() as client,
        client.post(f"http://{host}:{port}/", data=photo()) as response,
    ):
        assert response.status == 409
    assert [stored async for stored in storage.list("")] == []


async def test_what_is_opened_is_closed_without_setup() -> None:
    closed = []

    class Source(IterStream):
        async def close(self) -> None:
            closed.append(True)
            await super().close()

    @handler
    async def stream(request: web.Request) -> IterStream:
        open_stream(request)
        return Source([b"a"])

    @handler
    async def fail(request: web.Request) -> JSON:
        raise MalformedBody("no good")

    app = web.Application()
    app.router.add_get("/", stream)
    app.router.add_get("/fail", fail)
    async with serving(app) as (host, port), ClientSession() as client:
        async with client.get(f"http://{host}:{port}/") as response:
            assert await response.read() == b"a"
        async with client.get(f"http://{host}:{port}/fail") as response:
            assert response.status == 400
    assert closed


def test_a_decorated_function_is_itself() -> None:
    routes = RouteTableDef()

    @routes.get("/")
    async def report(request: web.Request) -> JSON:
        """Its docstring."""
        return JSON(1)

    @routes.view("/view")
    class Report(web.View):
        async def get(self) -> JSON:
            return JSON(1)

    (route, view) = list(routes)
    assert isinstance(route, web.RouteDef)
    assert isinstance(view, web.RouteDef)
    assert report.__name__ == route.handler.__name__ == "report"
    assert route.handler.__doc__ == "Its docstring."
    assert isinstance(view.handler, type)
    assert issubclass(view.handler, Report)
    assert view.handler.__qualname__ == Report.__qualname__
    assert (route.method, view.method) == ("GET", "*")


async def test_marks_hold_on_either_side_of_a_route() -> None:
    routes = RouteTableDef()

    @limit(max_body=5)
    @routes.post("/outside")
    async def outside(request: web.Request) -> JSON:
        return JSON(len(await read_bytes(request)))

    @routes.post("/inside")
    @limit(max_body=5)
    async def inside(request: web.Request) -> JSON:
        return JSON(len(await read_bytes(request)))

    for install in (setup, lambda app: app):
        app = web.Application()
        app.add_routes(routes)
        install(app)
        async with serving(app) as (host, port), ClientSession() as client:
            for path, size, status in (
                ("/outside", 5, 200),
                ("/outside", 6, 413),
                ("/inside", 6, 413),
            ):
                url = f"http://{host}:{port}{path}"
                async with client.post(url, data=b"x" * size) as response:
                    assert response.status == status


async def test_middlewares_see_responses() -> None:
    seen = []

    @web.middleware
    async def look(request: web.Request, handler: Any) -> web.StreamResponse:
        response: web.StreamResponse = await handler(request)
        seen.append(isinstance(response, web.StreamResponse))
        return response

    for install in (setup, lambda app: app):
        app = web.Application(middlewares=[look])
        app.add_routes(typed_app.routes)
        install(app)
        async with serving(app) as (host, port), ClientSession() as client:
            for path in ("/json", "/stream", "/view"):
                async with client.get(f"http://{host}:{port}{path}") as response:
                    assert response.status == 200
    assert seen == [True] * 6


async def test_a_view_that_dispatches_itself() -> None:
    class Own(web.View):
        async def _iter(self) -> web.StreamResponse:
            return web.Response(text=f"own {self.request.method}")

    app = web.Application()
    app.router.add_view("/", handler(Own))
    async with (
        serving(app) as (host, port),
        ClientSession() as client,
        client.put(f"http://{host}:{port}/") as response,
    ):
        assert await response.text() == "own PUT"


# -- early -----------------------------------------------------------------------------


class Unknown:
    pass


@dataclass
class Wrong:
    inner: Unknown


@dataclass
class WrongForm:
    files: dict[str, StoredFile]


def test_a_model_is_looked_at_when_a_handler_is_decorated() -> None:
    with pytest.raises(TypeError, match=r"Unknown \(Wrong.inner\)"):
        handler(body=Wrong)
    with pytest.raises(TypeError, match=r"WrongForm.files has StoredFile"):
        handler(body=WrongForm)


def test_a_model_is_looked_at_by_setup() -> None:
    for model in (Wrong, WrongForm):
        app = web.Application()
        with pytest.raises(TypeError):
            setup(app, models=[typed_app.Item, model])
        setup(app)  # nothing was installed
    setup(web.Application(), models=[typed_app.Item, list[typed_app.Item], int])


async def test_the_first_request_says_where_it_could_have_been_seen(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @handler
    async def read(request: web.Request) -> JSON:
        return JSON(await read_json(request, type=Wrong))

    app = web.Application()
    app.router.add_post("/", read)
    setup(app)
    with caplog.at_level(logging.ERROR):
        async with (
            serving(app) as (host, port),
            ClientSession() as client,
            client.post(f"http://{host}:{port}/", json={}) as response,
        ):
            assert response.status == 500
            assert "Unknown" not in await response.text()
    assert "Unknown (Wrong.inner)" in caplog.text
    assert "setup(app, models=[Wrong]) finds this at start-up" in caplog.text


def test_what_is_no_handler_is_refused() -> None:
    with pytest.raises(TypeError, match="a handler must be a function or a view"):
        handler(3)  # type: ignore[call-overload]


async def test_a_function_without_room_for_the_body_reads_it_itself() -> None:
    @handler(body=typed_app.Item)
    async def read(request: web.Request) -> JSON:
        return JSON((await read_json(request, type=typed_app.Item)).name)

    async def more(extra: str, request: web.Request, item: typed_app.Item) -> Text:
        return Text(extra + item.name)

    app = web.Application()
    app.router.add_post("/", read)
    app.router.add_post(
        "/partial", handler(body=typed_app.Item)(functools.partial(more, "x"))
    )
    async with serving(app) as (host, port), ClientSession() as client:
        async with client.post(
            f"http://{host}:{port}/", json={"name": "n"}
        ) as response:
            assert await response.json() == "n"
        url = f"http://{host}:{port}/partial"
        async with client.post(url, json={"name": "n"}) as response:
            assert await response.text() == "xn"


async def test_a_list_of_models_is_a_body() -> None:
    @handler(body=list[typed_app.Item])
    async def names(request: web.Request, items: list[typed_app.Item]) -> JSON:
        return JSON([item.name for item in items])

    @handler(body=typed_app.Note)
    async def note(request: web.Request, note: typed_app.Note) -> Result:
        return note.file or JSON(note.text)

    app = web.Application()
    app.router.add_post("/", names)
    app.router.add_post("/note", note)
    setup(app)
    async with serving(app) as (host, port), ClientSession() as client:
        url = f"http://{host}:{port}/"
        async with client.post(url, json=[{"name": "n"}]) as response:
            assert await response.json() == ["n"]
        async with client.post(url, data={"name": "n"}) as response:
            assert response.status == 415
            assert response.headers["Accept"] == "application/json"
        form = FormData({"text": "t"})
        form.add_field("file", b"content", filename="a.txt")
        async with client.post(f"{url}note", data=form) as response:
            assert await response.read() == b"content"
        async with client.post(f"{url}note", json={"text": "t"}) as response:
            assert await response.json() == "t"


def test_the_typed_application_has_twenty_handlers_and_no_ignore() -> None:
    text = Path(typed_app.__file__).read_text()
    functions = [
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.AsyncFunctionDef) and node.name != "events"
    ]
    assert len(functions) >= 20
    assert "ignore" not in text.replace("without a single ignore", "")
