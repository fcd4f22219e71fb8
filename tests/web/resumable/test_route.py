"""The decorator and the endpoint in an application: its routes, middlewares, origins."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import web

from aiostreams import (
    JSON,
    HashStream,
    MemoryStorage,
    ResumableUploads,
    Storage,
    StoredFile,
    Stream,
    Text,
    limit,
    limits_of,
    receive,
    resumable,
    resumable_route,
    setup,
    upload_of,
    wrap_body,
)
from tests.servers import serving

from .server import Service, client, metadata

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def store(request: web.Request) -> Any:
    async with receive(request) as upload:
        [file] = upload.files.values()
        return JSON({"key": file.key, **dict(request.match_info)})


async def whole(send: Any, url: str, data: bytes, **headers: str) -> Any:
    """A tus upload in two requests."""
    answer = await send.tus("POST", url, Upload_Length=str(len(data)), **headers)
    assert answer.status == 201, answer
    location = answer.headers["Location"]
    half = len(data) // 2
    answer = await send.tus(
        "PATCH", location, data[:half], Upload_Offset="0", **headers
    )
    assert answer.status == 204, answer
    return await send.tus(
        "PATCH", location, data[half:], Upload_Offset=str(half), **headers
    )


# -- in an application -------------------------------------------------------------------


async def test_a_request_of_neither_protocol_is_as_without(storage: Storage) -> None:
    service = Service(storage)
    async with service.running() as send:
        answer = await send("POST", "/files", b"data", Content_Type="text/plain")
        assert answer.status == 200
        for name in ("Upload-Complete", "Tus-Resumable", "Upload-Limit"):
            assert name not in answer.headers
        for method in ("PATCH", "HEAD", "DELETE", "GET", "PUT"):
            answer = await send(method, "/files")
            assert answer.status == 405, method
            assert "POST" in answer.headers["Allow"]
    assert service.ran == [None]


async def test_requests_of_uploads_pass_the_middlewares(storage: Storage) -> None:
    """Authorisation holds for each of them, by what each says."""
    service = Service(storage)
    seen: list[tuple[str, Any]] = []

    @web.middleware
    async def auth(request: web.Request, handler: Handler) -> web.StreamResponse:
        seen.append((request.method, request.match_info.route.resource))
        if request.headers.get("Authorization") != "Bearer good":
            raise web.HTTPUnauthorized
        return await handler(request)

    service.middlewares.append(auth)
    async with service.running() as send:
        good = {"Authorization": "Bearer good"}
        answer = await send.tus("POST", "/files", Upload_Length="4")
        assert answer.status == 401
        assert answer.headers["Tus-Resumable"] == "1.0.0"
        url = await send.create(4, **good)
        for method in ("HEAD", "PATCH", "DELETE"):
            answer = await send.tus(method, url, b"1234", Upload_Offset="0")
            assert answer.status == 401
        # A token that was renewed midway is as good.
        await send.tus("PATCH", url, b"12", Upload_Offset="0", **good)
        answer = await send.tus("PATCH", url, b"34", Upload_Offset="2", **good)
        assert answer.status == 204
    assert {method for method, _ in seen} == {"POST", "HEAD", "PATCH", "DELETE"}
    assert len({resource for _, resource in seen}) == 1


async def test_path_and_query_are_the_handler_s(storage: Storage) -> None:
    seen: list[Any] = []

    async def handle(request: web.Request) -> Any:
        seen.append((request.match_info["user"], request.path_qs, request.method))
        return Text("ok")

    app = web.Application()
    app.router.add_post("/users/{user}/files", resumable()(handle))
    setup(app, storage=storage)
    async with serving(app) as address, client(address) as send:
        url = "/users/z%C3%A9/files?album=3&tag=%C3%A9"
        answer = await send.tus("POST", url, Upload_Length="4")
        location = answer.headers["Location"]
        assert "/users/z%C3%A9/files?album=3&tag=%C3%A9&upload=" in location
        answer = await send.tus("PATCH", location, b"1234", Upload_Offset="0")
        assert answer.status == 204
        # Another user's path is another resource.
        other = location.replace("z%C3%A9", "other")
        assert (await send.tus("HEAD", other)).status == 404
    assert seen == [("zé", "/users/z%C3%A9/files?album=3&tag=%C3%A9", "POST")]


async def test_the_head_of_a_get_stays(storage: Storage) -> None:
    """Wherever that is: on the same resource, on another one before or behind it."""

    async def show(request: web.Request) -> web.Response:
        return web.Response(text="shown", headers={"X-Shown": "yes"})

    def together(app: web.Application) -> None:
        app.router.add_get("/files", show)
        app.router.add_post("/files", resumable()(store))

    def apart(app: web.Application) -> None:
        app.router.add_get("/files", show)
        app.router.add_get("/other", show)
        app.router.add_post("/files", resumable()(store))

    def behind(app: web.Application) -> None:
        app.router.add_post("/files", resumable()(store))
        app.router.add_get("/other", show)
        app.router.add_get("/files", show)
        app.router.add_delete("/files", show)
        app.router.add_route("PATCH", "/files", show)

    for add in (together, apart, behind):
        app = web.Application()
        add(app)
        setup(app, storage=MemoryStorage())
        async with serving(app) as address, client(address) as send:
            for method in ("GET", "HEAD"):
                answer = await send(method, "/files")
                assert (answer.status, answer.headers["X-Shown"]) == (200, "yes")
            if add is behind:
                for method in ("PATCH", "DELETE"):
                    assert (await send(method, "/files")).body == b"shown"
            assert (await whole(send, "/files", b"1234")).status == 204
            url = (await send.tus("POST", "/files", Upload_Length="4")).headers[
                "Location"
            ]
            assert (await send.tus("HEAD", url)).offset == 0
            assert (await send.tus("DELETE", url)).status == 204


async def test_in_a_sub_application(storage: Storage) -> None:
    ran: list[str] = []

    @web.middleware
    async def inner(request: web.Request, handler: Handler) -> web.StreamResponse:
        ran.append(request.method)
        return await handler(request)

    app, sub = web.Application(), web.Application(middlewares=[inner])
    sub.router.add_post("/files", resumable()(store))
    setup(app, storage=storage)
    app.add_subapp("/api", sub)
    async with serving(app) as address, client(address) as send:
        assert (await whole(send, "/api/files", b"1234")).status == 204
    assert ran == ["POST", "PATCH", "PATCH"]


async def test_a_sub_application_with_a_storage_of_its_own() -> None:
    outer, inner = MemoryStorage(), MemoryStorage()
    app, sub = web.Application(), web.Application()
    sub.router.add_post("/files", resumable()(store))
    app.router.add_post("/files", resumable()(store))
    setup(sub, storage=inner, resumable=ResumableUploads(max_append_size=50))
    setup(app, storage=outer)
    app.add_subapp("/api", sub)
    async with serving(app) as address, client(address) as send:
        assert (await whole(send, "/api/files", b"1234")).status == 204
        assert len([o async for o in inner.list()]) == 1
        assert [o async for o in outer.list()] == []
        assert (await whole(send, "/files", b"1234")).status == 204
        assert len([o async for o in outer.list()]) == 1
        answer = await send("OPTIONS", "/api/files")
        assert "max-append-size=50" in answer.headers["Upload-Limit"]


async def test_a_class_based_view(storage: Storage) -> None:
    class Files(web.View):
        @resumable(max_size=100)
        async def post(self) -> Any:
            return await store(self.request)

        async def get(self) -> web.Response:
            return web.Response(text="shown")

    class Others(web.View):
        @resumable()
        async def post(self) -> Any:
            return await store(self.request)

        async def delete(self) -> web.Response:
            return web.Response(text="deleted")

    app = web.Application()
    app.router.add_view("/files", Files)
    app.router.add_post("/others", Others)
    setup(app, storage=storage)
    async with serving(app) as address, client(address) as send:
        assert (await whole(send, "/files", b"1234")).status == 204
        assert (await send("GET", "/files")).body == b"shown"
        assert (await send("DELETE", "/files")).status == 405
        answer = await send("OPTIONS", "/files")
        assert answer.headers["Tus-Max-Size"] == "100"
        assert (await whole(send, "/others", b"1234")).status == 204
        answer = await send("POST", "/files", b"plain")
        assert answer.status == 200


async def test_methods_and_any_method(storage: Storage) -> None:
    class Files:
        @resumable()
        async def add(self, request: web.Request) -> Any:
            if request.method != "POST":
                return Text(request.method)
            return await store(request)

    app = web.Application()
    app.router.add_post("/files", Files().add)
    app.router.add_route("*", "/any", Files().add)
    setup(app, storage=storage)
    async with serving(app) as address, client(address) as send:
        for path in ("/files", "/any"):
            assert (await whole(send, path, b"1234")).status == 204
        assert (await send("PATCH", "/any")).body == b"PATCH"
        assert (await send("OPTIONS", "/any")).body == b"OPTIONS"


async def test_ceilings_of_the_route_hold_for_each_request(storage: Storage) -> None:
    seen: list[Any] = []

    @resumable()
    @limit(max_body=10, max_parts=7)
    async def handle(request: web.Request) -> Any:
        seen.append((limits_of(request).max_body, limits_of(request).max_parts))
        return await store(request)

    app = web.Application()
    app.router.add_post("/files", handle)
    setup(app, storage=storage)
    async with serving(app) as address, client(address) as send:
        answer = await send("OPTIONS", "/files")
        assert answer.headers["Tus-Max-Size"] == "10"
        assert (await whole(send, "/files", b"1234567890")).status == 204
    assert seen == [(10, 7)]


async def test_setup_is_needed() -> None:
    app = web.Application()
    app.router.add_post("/files", resumable()(store))
    async with serving(app) as address, client(address) as send:
        answer = await send.tus("POST", "/files", Upload_Length="4")
        assert answer.status == 500


async def test_a_storage_is_needed() -> None:
    app = web.Application()
    app.router.add_post("/files", resumable()(store))
    setup(app)
    with pytest.raises(RuntimeError, match="need a storage"):
        async with serving(app):
            raise AssertionError
    await asyncio.sleep(0)


async def test_without_a_resumable_route_nothing_is_done(tmp_path: Any) -> None:
    from aiostreams import DiskStorage

    app = web.Application()
    app.router.add_post("/files", store)
    setup(app, storage=DiskStorage(tmp_path / "uploads"))
    async with serving(app) as address, client(address) as send:
        assert (await send("POST", "/files", b"x")).status == 200
        answer = await send.tus("POST", "/files", Upload_Length="4")
        assert "Location" not in answer.headers
    assert [path.name for path in (tmp_path / "uploads").glob(".aiostreams-*")] == []


async def test_what_middlewares_wrap_is_the_whole_body(storage: Storage) -> None:
    """A wrap stands around the upload, not around its pieces."""
    wrapped: list[HashStream] = []

    def make(stream: Stream) -> Stream:
        wrapped.append(HashStream(stream, "md5"))
        return wrapped[-1]

    @web.middleware
    async def wrap(request: web.Request, handler: Handler) -> web.StreamResponse:
        wrap_body(request, make)
        return await handler(request)

    service = Service(storage)
    service.middlewares.append(wrap)
    async with service.running() as send:
        assert (await whole(send, "/files", b"1234")).status == 204
    [only] = wrapped
    assert only.digests["md5"] == "81dc9bdb52d04dc20036dbd8313ed055"


async def test_a_middleware_that_reads_each_body(storage: Storage) -> None:
    from aiostreams import read_bytes

    read: list[bytes] = []

    @web.middleware
    async def sign(request: web.Request, handler: Handler) -> web.StreamResponse:
        read.append(await read_bytes(request))
        return await handler(request)

    service = Service(storage)
    service.middlewares.append(sign)
    async with service.running() as send:
        assert (await whole(send, "/files", b"1234")).status == 204
    assert read == [b"", b"12", b"34"]
    assert service.bodies == [b"1234"]


@dataclass
class Photo:
    title: str
    stars: int
    picture: StoredFile


async def test_a_typed_form_of_metadata(storage: Storage) -> None:
    """Pairs are the fields, the body is the one file."""
    pytest.importorskip("msgspec", reason="needs the extra msgspec")
    service = Service(storage)
    seen: list[Photo] = []

    async def handle(request: web.Request) -> Any:
        async with receive(request, form=Photo) as photo:
            seen.append(photo)
            return JSON({"key": photo.picture.key})

    service.handler = handle
    async with service.running() as send:
        said = metadata(title="ü", stars="5", filename="a.txt", filetype="text/x-mine")
        answer = await whole(send, "/files", b"1234", Upload_Metadata=said)
        assert answer.status == 204
        said = metadata(title="ü", stars="many", filename="a.txt")
        answer = await whole(send, "/files", b"1234", Upload_Metadata=said)
        assert answer.status == 422
        assert b"stars" in answer.body
    [photo] = seen
    assert (photo.title, photo.stars, photo.picture.filename) == ("ü", 5, "a.txt")
    assert photo.picture.size == 4
    assert photo.picture.declared_type == "text/x-mine"


# -- owners ------------------------------------------------------------------------------


@pytest.mark.parametrize("plain", [False, True])
async def test_another_owner_s_upload_is_not_found(
    storage: Storage, plain: bool
) -> None:
    def who(request: web.Request) -> str:
        return request.headers.get("X-User", "")

    async def who_async(request: web.Request) -> str:
        return request.headers.get("X-User", "")

    service = Service(storage, owner=who if plain else who_async)
    async with service.running() as send:
        url = await send.create(4, X_User="me", Upload_Concat="partial")
        for method in ("HEAD", "PATCH", "DELETE"):
            for user in ("you", ""):
                answer = await send.tus(method, url, Upload_Offset="0", X_User=user)
                assert (answer.status, answer.offset) == (404, None)
                answer = await send.rufh(
                    method, url, Upload_Offset="0", Upload_Complete="?0", X_User=user
                )
                assert (answer.status, answer.offset) == (404, None)
        answer = await send.tus("PATCH", url, b"1234", Upload_Offset="0", X_User="me")
        assert answer.status == 204
        answer = await send.tus(
            "POST", "/files", Upload_Concat=f"final;{url}", X_User="you"
        )
        assert answer.status == 400
        answer = await send.tus(
            "POST", "/files", Upload_Concat=f"final;{url}", X_User="me"
        )
        assert answer.status == 201


# -- where it is -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uploads", "headers", "begins"),
    [
        ({}, {"Host": "example.org:81"}, "http://example.org:81/files?upload="),
        ({}, {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil"}, "http://127."),
        (
            {"forwarded": True},
            {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "a.org"},
            "https://a.org/files?upload=",
        ),
        (
            {"forwarded": True},
            {"X-Forwarded-Proto": "ftp", "X-Forwarded-Host": "a.org/@evil"},
            "http://127.",
        ),
        (
            {"forwarded": True},
            {"Forwarded": "for=1.2.3.4;proto=http;host=x, proto=https;host=b.org"},
            "https://b.org/files?upload=",
        ),
        ({"location": "https://c.org/api/"}, {}, "https://c.org/api/files?upload="),
        (
            {"location": lambda request: "https://d.org" + request.path[:0]},
            {},
            "https://d.org/files?upload=",
        ),
    ],
)
async def test_the_url_of_an_upload(
    uploads: dict[str, Any], headers: dict[str, str], begins: str
) -> None:
    service = Service(MemoryStorage(), uploads=uploads)
    async with service.running() as send:
        answer = await send.send(
            "POST",
            "/files",
            None,
            {"Tus-Resumable": "1.0.0", "Upload-Length": "5", **headers},
        )
        assert answer.headers["Location"].startswith(begins)


# -- origins -----------------------------------------------------------------------------

EXPOSED = {
    "Location",
    "Upload-Offset",
    "Upload-Length",
    "Tus-Resumable",
    "Upload-Limit",
}


def exposed(answer: Any) -> set[str]:
    return set(answer.headers["Access-Control-Expose-Headers"].split(", "))


@pytest.mark.parametrize("cors", ["*", ["https://a.org", "https://b.org"]])
async def test_uploads_from_another_origin(cors: Any) -> None:
    service = Service(MemoryStorage(), uploads={"cors": cors})
    async with service.running() as send:
        answer = await send(
            "OPTIONS", "/files", Origin="https://a.org",
            Access_Control_Request_Method="PATCH",
            Access_Control_Request_Headers="x-mine, tus-resumable",
        )  # fmt: skip
        assert answer.status == 204
        allowed = answer.headers["Access-Control-Allow-Origin"]
        assert allowed == ("*" if cors == "*" else "https://a.org")
        methods = answer.headers["Access-Control-Allow-Methods"]
        assert {"POST", "HEAD", "PATCH", "DELETE"} <= set(methods.split(", "))
        assert answer.headers["Access-Control-Allow-Headers"] == "x-mine, tus-resumable"
        origin = {"Origin": "https://a.org"}
        url = await send.create(5, **origin)
        # The reasons of a refusal are not hidden.
        for answer, status in (
            (await send.tus("HEAD", url, **origin), 200),
            (await send.tus("PATCH", url, b"1", Upload_Offset="3", **origin), 409),
            (await send.tus("HEAD", url, Tus_Resumable="0.1", **origin), 412),
            (await send.tus("PATCH", url, b"1", Upload_Offset="0",
                            Upload_Checksum="md5 AAAAAAAAAAAAAAAAAAAAAA==",
                            **origin), 460),
            (await send.tus("HEAD", "/files?upload=x", **origin), 404),
        ):  # fmt: skip
            assert answer.status == status
            assert answer.headers["Access-Control-Allow-Origin"] == allowed
            assert exposed(answer) >= EXPOSED
        if cors != "*":
            assert answer.headers["Vary"] == "Accept, Origin"
            answer = await send.tus("HEAD", url, Origin="https://evil.org")
            assert "Access-Control-Allow-Origin" not in answer.headers
        answer = await send.tus("HEAD", url)
        assert "Access-Control-Expose-Headers" not in answer.headers


async def test_an_application_that_does_it_itself() -> None:
    """What it exposes is not taken away, and ours is added."""

    @web.middleware
    async def cors(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            response = await handler(request)
        except web.HTTPException as error:
            error.headers["Access-Control-Allow-Origin"] = "https://mine.org"
            error.headers["Access-Control-Expose-Headers"] = "X-Mine"
            raise
        response.headers["Access-Control-Allow-Origin"] = "https://mine.org"
        response.headers["Access-Control-Expose-Headers"] = "X-Mine"
        return response

    service = Service(MemoryStorage())
    service.middlewares.append(cors)
    async with service.running() as send:
        url = await send.create(5)
        for path in (url, "/files?upload=x"):
            answer = await send.tus("HEAD", path, Origin="https://mine.org")
            assert exposed(answer) >= EXPOSED | {"X-Mine"}
            origin = answer.headers["Access-Control-Allow-Origin"]
            assert origin == "https://mine.org"


async def test_without_origins_nothing_is_said_of_them(storage: Storage) -> None:
    service = Service(storage)
    async with service.running() as send:
        answer = await send.tus(
            "POST", "/files", Upload_Length="5", Origin="https://a.org"
        )
        assert not [name for name in answer.headers if name.startswith("Access-")]


# -- the endpoint ------------------------------------------------------------------------


async def test_an_endpoint(storage: Storage) -> None:
    done: list[Any] = []

    async def on_complete(request: web.Request, file: StoredFile) -> Any:
        done.append((upload_of(request), file.filename, file.size))
        return None

    app = web.Application()
    app.add_routes([resumable_route("/files", on_complete, max_size=100)])
    setup(app, storage=storage)
    async with serving(app) as address, client(address) as send:
        answer = await send.tus(
            "POST",
            "/files",
            Upload_Length="4",
            Upload_Metadata=metadata(filename="a.b"),
        )
        url = answer.headers["Location"]
        assert url.rpartition("/")[0].endswith("/files")
        assert len(url.rpartition("/")[2]) == 26
        answer = await send.tus("PATCH", url, b"12", Upload_Offset="0")
        assert (await send.tus("HEAD", url)).offset == 2
        answer = await send.tus(
            "POST", url, b"34", Upload_Offset="2", X_HTTP_Method_Override="PATCH",
            Content_Type="application/offset+octet-stream",
        )  # fmt: skip
        assert answer.status == 204
        answer = await send.rufh("POST", "/files", b"12345", Upload_Complete="?1")
        assert answer.status == 201
        assert b"key" in answer.body
        url = await send.begin(b"12")
        answer = await send.rufh(
            "PATCH", url, b"345", Upload_Offset="2", Upload_Complete="?1"
        )
        assert answer.status == 201
        assert (await send.tus("DELETE", url)).status == 204
        for path in ("/files/x", "/files/" + "a" * 26, "/files/..%2f..%2fetc"):
            assert (await send.tus("HEAD", path)).status in {404, 410}
        assert (await send("OPTIONS", "/files")).headers["Tus-Max-Size"] == "100"
        assert (await send("OPTIONS", url)).status == 204
        assert (await send("GET", url)).status == 405
        # An ordinary POST is an upload as well.
        answer = await send("POST", "/files", b"plain")
        assert answer.status == 201
    assert [(name, size) for _, name, size in done] == [
        ("a.b", 4), (None, 5), (None, 5), (None, 5)
    ]  # fmt: skip


async def test_an_endpoint_that_answers(storage: Storage) -> None:
    async def on_complete(request: web.Request, file: StoredFile) -> Any:
        if file.size > 4:
            raise web.HTTPForbidden(text="no")
        return JSON({"size": file.size})

    app = web.Application()
    app.add_routes([resumable_route("/", on_complete, accept={"text/plain"})])
    setup(app, storage=storage)
    async with serving(app) as address, client(address) as send:
        answer = await send.rufh("POST", "/", b"1234", Upload_Complete="?1")
        assert (answer.status, answer.body) == (200, b'{"size":4}')
        assert len([o async for o in storage.list()]) == 1
        answer = await send.rufh("POST", "/", b"12345", Upload_Complete="?1")
        assert (answer.status, answer.body) == (403, b"no")
        assert len([o async for o in storage.list()]) == 1
        answer = await send.rufh(
            "POST", "/", b"\x89PNG\r\n\x1a\n" + b"x" * 100, Upload_Complete="?1"
        )
        assert answer.status == 415


# -- what is given -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"max_size": -1},
        {"expires": -1},
        {"accept": ["image"]},
    ],
)
def test_options_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"negative|image"):
        resumable(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"expires": 0},
        {"max_age": -1},
        {"claim": 0},
        {"max_append_size": 0},
        {"versions": (4,)},
    ],
)
def test_the_configuration_is_checked(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"positive|unknown"):
        ResumableUploads(**options)
