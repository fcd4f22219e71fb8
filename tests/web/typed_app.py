"""An application of twenty handlers that type checkers take without a single ignore.

mypy and pyright check it with the other tests, strictly; ``test_handlers`` runs it.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated

from aiohttp import web

from aiostreams import (
    HTML,
    JSON,
    NDJSON,
    ByteStream,
    Content,
    Event,
    EventStream,
    File,
    FileRule,
    Form,
    GZipStream,
    IterStream,
    KiB,
    MemoryStorage,
    MultiPart,
    Result,
    RouteTableDef,
    StoredFile,
    Stream,
    Text,
    handler,
    iter_ndjson,
    limit,
    open_stream,
    read_form,
    read_json,
    receive,
    respond,
    setup,
)


@dataclass
class Item:
    name: str
    price: float = 0.0


@dataclass
class Photo:
    title: str
    file: Annotated[StoredFile, FileRule(max_size=64 * KiB)]


@dataclass
class Note:
    text: str
    file: File | None = None


routes = RouteTableDef()


@routes.get("/json")
async def as_json(request: web.Request) -> JSON:
    return JSON({"path": request.path})


@routes.get("/typed-json")
async def as_typed_json(request: web.Request) -> JSON[list[int]]:
    return JSON([1, 2])


@routes.get("/ndjson")
async def as_ndjson(request: web.Request) -> NDJSON:
    return NDJSON([{"a": 1}, {"a": 2}])


@routes.get("/text")
async def as_text(request: web.Request) -> Text:
    return Text("text")


@routes.get("/html")
async def as_html(request: web.Request) -> HTML:
    return HTML("<p>html")


@routes.get("/form")
async def as_form(request: web.Request) -> Form:
    return Form({"a": "1"})


@routes.get("/multipart")
async def as_multipart(request: web.Request) -> MultiPart:
    return MultiPart(form={"a": "1"})


@routes.get("/file")
async def as_file(request: web.Request) -> File:
    return File(b"file", name="a.txt")


@routes.get("/events")
async def as_events(request: web.Request) -> EventStream:
    async def events() -> AsyncIterator[Event]:
        yield Event(data="one")

    return EventStream(events())


@routes.get("/stream")
async def as_stream(request: web.Request) -> Stream:
    return IterStream([b"a", b"b"])


@routes.get("/gzip")
async def as_gzip(request: web.Request) -> GZipStream:
    return GZipStream(ByteStream(b"gzip"))


@routes.get("/response")
async def as_response(request: web.Request) -> web.Response:
    return web.Response(text="response")


@routes.get("/any")
async def as_any(request: web.Request) -> Result:
    return respond(JSON(1), status=201) if request.query else Text("any")


@routes.get("/either")
async def as_either(request: web.Request) -> JSON | web.Response:
    return JSON(1) if request.query else web.Response(status=204)


@routes.post("/items")
@limit(max_body=1 * KiB)
async def add_item(request: web.Request) -> JSON[Item]:
    item = await read_json(request, type=Item)
    return JSON(item)


@routes.post("/lines")
async def add_lines(request: web.Request) -> JSON:
    return JSON([item.name async for item in iter_ndjson(request, type=Item)])


@routes.post("/notes")
async def add_note(request: web.Request) -> Text:
    note = await read_form(request, Note)
    return Text(note.text)


@routes.put("/photos")
async def add_photo(request: web.Request) -> JSON[str]:
    async with receive(request, form=Photo) as photo:
        return JSON(photo.file.content_type)


@routes.post("/echo")
async def echo(request: web.Request) -> Stream:
    return open_stream(request)


@routes.post("/body-items")
@handler(body=Item)
async def with_body(request: web.Request, item: Item) -> JSON[Item]:
    return JSON(item)


@routes.post("/body-photos")
@handler(body=Photo)
async def with_photo(request: web.Request, photo: Photo) -> JSON[str]:
    return JSON(photo.file.key)


@routes.view("/view")
class Items(web.View):
    async def get(self) -> JSON:
        return JSON(["view"])

    @limit(max_body=1 * KiB)
    async def post(self) -> Result:
        return JSON(await read_json(self.request, type=Item))


class Api:
    def __init__(self, greeting: str) -> None:
        self.greeting = greeting

    async def greet(self, request: web.Request) -> Text:
        return Text(self.greeting)

    @handler
    async def decorated(self, request: web.Request) -> Text:
        return Text(f"{self.greeting}!")

    @handler(body=Item)
    async def buy(self, request: web.Request, item: Item) -> Text:
        return Text(f"{self.greeting} {item.name}")


async def partly(size: int, request: web.Request) -> Content:
    return Text("x" * size)


@handler
async def decorated(request: web.Request) -> JSON:
    return JSON("decorated")


def make_app(*, with_setup: bool) -> web.Application:
    app = web.Application()
    api = Api("hello")
    app.add_routes(routes)
    app.router.add_get("/method", handler(api.greet))
    app.router.add_get("/partial", handler(functools.partial(partly, 3)))
    app.router.add_get("/decorated", decorated)
    app.router.add_get("/decorated-method", api.decorated)
    app.router.add_post("/buy", api.buy)
    app.router.add_view("/handled-view", handler(Items))
    app.add_routes([web.get("/def", handler(as_json))])
    return (
        setup(app, storage=MemoryStorage(), models=[Item, Photo, Note])
        if with_setup
        else app
    )
