"""Other people's packages beside ``setup()``: each real, in a small application.

Middlewares, signals and handlers of theirs see what they know from aiohttp: responses,
``HTTPException``, plain bytes, and the body of the request, whoever reads it first.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import inspect
import json
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import BytesPayload, ClientSession, CookieJar, FormData, web
from blockbuster import BlockBuster

from aiostreams import (
    HTML,
    JSON,
    File,
    InvalidContent,
    IterStream,
    Limits,
    MemoryStorage,
    MultiPart,
    StreamError,
    Text,
    read_form,
    read_json,
    receive,
    respond,
    setup,
)
from tests.docs.session import ENVIRONMENT, free_ports
from tests.servers import serving

PAGE = "<html><head></head><body>" + "word " * 1000 + "</body></html>"
# Some of these packages are older than parts of aiohttp.
pytestmark = [
    pytest.mark.filterwarnings("ignore::aiohttp.web.NotAppKeyWarning"),
    pytest.mark.filterwarnings("ignore:Inheritance class"),
]
ORIGIN = {"Origin": "https://shop.example"}
ALLOWED = "Access-Control-Allow-Origin"


@contextlib.asynccontextmanager
async def client_of(app: web.Application) -> AsyncIterator[ClientSession]:
    """A client of the application, served as ``run_app`` of this package does it."""
    async with serving(app, auto_decompress=False) as (host, port):
        base = f"http://{host}:{port}"
        async with ClientSession(base, cookie_jar=CookieJar(unsafe=True)) as client:
            yield client


def _real(module: str) -> Any:
    return pytest.importorskip(module, reason=f"needs {module}, of the extra plugins")


def as_json(data: bytes) -> BytesPayload:
    return BytesPayload(data, content_type="application/json")


async def echo(request: web.Request) -> Any:
    return JSON(await read_json(request))


async def refuse(_request: web.Request) -> Any:
    raise InvalidContent("no such colour")


async def page(_request: web.Request) -> Any:
    return HTML(PAGE)


async def streamed_page(_request: web.Request) -> Any:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(PAGE), 1000):
            yield PAGE[start : start + 1000].encode()

    return respond(IterStream(pieces(), content_type="text/html"))


async def own_file(_request: web.Request) -> Any:
    return File(__file__)


async def missing(_request: web.Request) -> Any:
    return File("/nowhere/at-all")


async def breaking(_request: web.Request) -> Any:
    async def pieces() -> AsyncIterator[bytes]:
        yield bytes(-1)  # a ValueError

    return respond(IterStream(pieces(), content_type="text/plain"))


class View(web.View):
    async def get(self) -> Any:
        return JSON({"view": True})


def routes() -> list[web.RouteDef]:
    return [
        web.post("/echo", echo),
        web.post("/refuse", refuse),
        web.get("/page", page),
        web.get("/streamed", streamed_page),
        web.get("/file", own_file),
        web.get("/missing", missing),
        web.get("/breaking", breaking),
        web.view("/view", View),
    ]


SMALL = Limits(max_body=1000)


# -- aiohttp-session, aiohttp-security ------------------------------------------------


async def test_session_is_saved_with_a_value_and_with_an_error() -> None:
    sessions: Any = _real("aiohttp_session")

    async def count(request: web.Request) -> Any:
        session = await sessions.get_session(request)
        session["count"] = session.get("count", 0) + 1
        if (await read_json(request)) == "refuse":
            raise InvalidContent("refused")
        return JSON(session["count"])

    app = web.Application()
    setup(app)
    sessions.setup(app, sessions.SimpleCookieStorage())
    app.router.add_post("/", count)
    async with client_of(app) as client:
        async with client.post("/", json="") as answer:
            assert (answer.status, await answer.json()) == (200, 1)
        async with client.post("/", json="refuse") as answer:
            assert answer.status == 422
            assert "AIOHTTP_SESSION" in answer.cookies
        async with client.post("/", data=as_json(b"{")) as answer:
            assert answer.status == 400
        async with client.post("/", json="") as answer:
            assert await answer.json() == 4


async def test_session_passes_a_file_as_it_passes_a_file_response() -> None:
    """It takes all that is no ``web.Response`` for a stream that has begun."""
    sessions: Any = _real("aiohttp_session")

    async def aiohttps_file(request: web.Request) -> Any:
        (await sessions.get_session(request))["seen"] = True
        return web.FileResponse(__file__)

    async def file(request: web.Request) -> Any:
        (await sessions.get_session(request))["seen"] = True
        return File(__file__)

    app = web.Application()
    sessions.setup(app, sessions.SimpleCookieStorage())
    setup(app)
    app.add_routes([web.get("/theirs", aiohttps_file), web.get("/ours", file)])
    async with client_of(app) as client:
        for path in ("/theirs", "/ours"):
            async with client.get(path) as answer:
                assert answer.status == 200
                assert "AIOHTTP_SESSION" not in answer.cookies
                assert await answer.read() == Path(__file__).read_bytes()


async def test_security_logs_in_by_a_form_of_ours() -> None:
    sessions: Any = _real("aiohttp_session")
    security: Any = _real("aiohttp_security")

    class Policy(security.AbstractAuthorizationPolicy):  # type: ignore[misc]
        async def authorized_userid(self, identity: str) -> str:
            return identity

        async def permits(
            self, identity: str | None, permission: str, _context: Any = None
        ) -> bool:
            return identity == "ada" and permission == "read"

    async def log_in(request: web.Request) -> Any:
        form = await read_form(request)
        response = respond(JSON({"hello": form.form["name"]}))
        await security.remember(request, response, form.form["name"])
        return response

    async def read(request: web.Request) -> Any:
        await security.check_permission(request, "read")
        return Text("secret")

    async def write(request: web.Request) -> Any:
        await security.check_permission(request, "write")
        return Text("written")

    app = setup(web.Application())
    sessions.setup(app, sessions.SimpleCookieStorage())
    security.setup(app, security.SessionIdentityPolicy(), Policy())
    app.add_routes(
        [web.post("/", log_in), web.get("/read", read), web.get("/write", write)]
    )
    async with client_of(app) as client:
        async with client.get("/read") as answer:
            assert answer.status == 401
        async with client.post("/", data={"name": "ada"}) as answer:
            assert await answer.json() == {"hello": "ada"}
        async with client.get("/read") as answer:
            assert await answer.text() == "secret"
        async with client.get("/write") as answer:
            assert answer.status == 403


# -- CORS -----------------------------------------------------------------------------


async def assert_cors(app: web.Application) -> None:
    """Each answer that a browser's script shall read says so."""
    async with client_of(app) as client:
        tried = [
            ("GET", "/page", b"", 200),
            ("GET", "/streamed", b"", 200),
            ("GET", "/file", b"", 200),
            ("GET", "/view", b"", 200),
            ("POST", "/echo", b"[1]", 200),
            ("POST", "/echo", b"[" * 2000, 413),
            ("POST", "/echo", b"[", 400),
            ("POST", "/refuse", b"", 422),
        ]
        for method, path, data, status in tried:
            async with client.request(
                method, path, data=as_json(data) if data else None, headers=ORIGIN
            ) as answer:
                assert (path, answer.status) == (path, status)
                assert answer.headers.getall(ALLOWED) == [ORIGIN["Origin"]]
                text = await answer.text()
                if path in {"/page", "/streamed"}:
                    assert text == PAGE
        # Answered when the response is prepared, after the handler.
        refused: list[tuple[str, dict[str, str], int]] = [
            ("/missing", {}, 404),
            ("/breaking", {}, 500),
            ("/file", {"Range": "bytes=99999999-"}, 416),
            ("/file", {"If-None-Match": "*"}, 304),
            ("/file", {"Accept-Encoding": "identity;q=0"}, 406),
        ]
        for path, headers, status in refused:
            async with client.get(path, headers=ORIGIN | headers) as answer:
                assert (path, answer.status) == (path, status)
                assert answer.headers.getall(ALLOWED) == [ORIGIN["Origin"]]
        async with client.options(
            "/echo", headers=ORIGIN | {"Access-Control-Request-Method": "POST"}
        ) as answer:
            assert answer.status == 200
            assert answer.headers[ALLOWED] == ORIGIN["Origin"]


async def test_cors_fields_are_on_every_answer() -> None:
    cors_package: Any = _real("aiohttp_cors")
    app = setup(web.Application(), limits=SMALL)
    app.add_routes([route for route in routes() if route.path != "/view"])
    app.router.add_get("/view", View)
    cors = cors_package.setup(
        app,
        defaults={
            ORIGIN["Origin"]: cors_package.ResourceOptions(
                allow_headers="*", expose_headers="*"
            )
        },
    )
    for route in list(app.router.routes()):
        cors.add(route)
    await assert_cors(app)


@pytest.mark.parametrize("first", [True, False], ids=["setup first", "setup last"])
async def test_cors_middleware_has_every_answer(*, first: bool) -> None:
    middlewares: Any = _real("aiohttp_middlewares")
    app = web.Application()
    if first:
        setup(app, limits=SMALL)
    app.middlewares.append(middlewares.cors_middleware(origins=[ORIGIN["Origin"]]))
    if not first:
        setup(app, limits=SMALL)
    app.add_routes(routes())
    await assert_cors(app)


# -- aiohttp-middlewares, aiohttp-remotes ---------------------------------------------


async def test_error_middleware_knows_the_status() -> None:
    middlewares: Any = _real("aiohttp_middlewares")
    seen: list[Any] = []

    async def answer_error(request: web.Request) -> Any:
        with middlewares.error_context(request) as context:
            seen.append(context.err)
            return web.json_response({"status": context.status}, status=context.status)

    app = setup(web.Application(), limits=SMALL)
    app.middlewares.append(middlewares.error_middleware(default_handler=answer_error))
    app.middlewares.append(middlewares.timeout_middleware(20))
    app.middlewares.append(middlewares.shield_middleware(methods=frozenset({"POST"})))
    app.add_routes(routes())
    async with client_of(app) as client:
        for path, data, status in [
            ("/echo", b"[" * 2000, 413),
            ("/echo", b"[", 400),
            ("/refuse", b"", 422),
        ]:
            async with client.post(path, data=as_json(data)) as answer:
                assert (answer.status, await answer.json()) == (
                    status,
                    {"status": status},
                )
        async with client.post("/echo", json=[1]) as answer:
            assert await answer.json() == [1]
    assert [isinstance(error, web.HTTPException) for error in seen] == [True] * 3
    assert all(isinstance(error.__cause__, StreamError) for error in seen)


async def test_a_request_that_remotes_clone_has_its_body() -> None:
    remotes: Any = _real("aiohttp_remotes")

    async def who(request: web.Request) -> Any:
        return JSON([request.remote, request.scheme, await read_json(request)])

    async def upload(request: web.Request) -> Any:
        async with receive(request) as upload:
            return JSON([request.remote, upload.files["file"].size])

    app = setup(web.Application(), storage=MemoryStorage())
    app.add_routes([web.post("/", who), web.put("/", upload), *routes()])
    await remotes.setup(app, remotes.XForwardedRelaxed())
    forwarded = {"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "https"}
    async with client_of(app) as client:
        for coding, body in (("identity", b"[1]"), ("gzip", gzip.compress(b"[1]"))):
            async with client.post(
                "/",
                data=as_json(body),
                headers=forwarded | {"Content-Encoding": coding},
            ) as answer:
                assert await answer.json() == ["192.0.2.1", "https", [1]]
        async with client.put("/", data=b"12345", headers=forwarded) as answer:
            assert await answer.json() == ["192.0.2.1", 5]
        async with client.post(
            "/echo", data=as_json(b"["), headers=forwarded
        ) as answer:
            assert answer.status == 400


async def test_remotes_refuse_before_the_body() -> None:
    remotes: Any = _real("aiohttp_remotes")
    app = setup(web.Application())
    app.add_routes(routes())
    await remotes.setup(app, remotes.BasicAuth("ada", "secret", "here"))
    async with client_of(app) as client:
        async with client.post("/echo", json=[1]) as answer:
            assert answer.status == 401
        known = {"Authorization": "Basic YWRhOnNlY3JldA=="}
        async with client.post("/echo", json=[1], headers=known) as answer:
            assert await answer.json() == [1]


# -- aiohttp-jinja2, aiohttp-debugtoolbar ---------------------------------------------


async def test_templates_beside_values_in_a_sub_application() -> None:
    package: Any = _real("aiohttp_jinja2")
    jinja2: Any = _real("jinja2")

    async def greet(request: web.Request) -> Any:
        form = await read_form(request)
        return package.render_template(
            "hello.html", request, {"name": form.form["name"]}
        )

    sub = web.Application()
    package.setup(
        sub,
        loader=jinja2.DictLoader({"hello.html": "{{ site }}: {{ name }}" + " " * 2000}),
        context_processors=[package.request_processor, _site],
    )
    sub.middlewares.append(package.context_processors_middleware)
    sub.add_routes([web.post("/hello", greet), *routes()])
    app = setup(web.Application())
    app.add_subapp("/sub/", sub)
    async with client_of(app) as client:
        async with client.post("/sub/hello", data={"name": "<Ada>"}) as answer:
            assert answer.headers["Content-Encoding"] in {"gzip", "br", "zstd"}
            assert (await answer.text()).strip() == "aiostreams: &lt;Ada&gt;"
        async with client.get("/sub/view") as answer:
            assert await answer.json() == {"view": True}
        async with client.post("/sub/refuse") as answer:
            assert answer.status == 422


async def _site(_request: web.Request) -> dict[str, str]:
    return {"site": "aiostreams"}


@pytest.mark.parametrize("first", [True, False], ids=["setup first", "setup last"])
async def test_debugtoolbar_changes_what_it_can(
    *, first: bool, blockbuster: BlockBuster
) -> None:
    toolbar: Any = _real("aiohttp_debugtoolbar")
    blockbuster.deactivate()  # it reads the source of handlers, and templates

    async def form(request: web.Request) -> Any:
        return JSON(sorted((await read_form(request)).form))

    app = web.Application()
    if first:
        setup(app)
    toolbar.setup(app, check_host=False, intercept_exc=False)
    if not first:
        setup(app)
    app.add_routes([web.post("/form", form), *routes()])
    async with client_of(app) as client:
        async with client.get("/page") as answer:
            text = await answer.text()
            assert answer.status == 200
            assert "pDebugToolbarHandle" in text
            assert text.count("word") == 1000
        async with client.get("/streamed") as answer:
            assert (answer.status, await answer.text()) == (200, PAGE)
        async with client.get("/file") as answer:
            assert answer.status == 200
            assert await answer.read() == Path(__file__).read_bytes()
        # It shows the fields of the form, read by request.post() after the handler.
        for encoded in (FormData({"b": "1", "a": "2"}), _multipart_form()):
            async with client.post("/form", data=encoded) as answer:
                assert (answer.status, await answer.json()) == (200, ["a", "b"])
            ((_, shown),) = app[toolbar.APP_KEY]["request_history"].last(1)
            (panel,) = (p for p in shown.panels if p.name == "RequestVars")
            assert panel.data["post"] == [("a", "['2']"), ("b", "['1']")]
        async with client.post("/echo", json=[1]) as answer:
            assert await answer.json() == [1]
        async with client.post("/refuse") as answer:
            assert answer.status == 422
        async with client.get("/_debugtoolbar") as answer:
            assert answer.status == 200


def _multipart_form() -> FormData:
    form = FormData()
    form.add_field("b", "1")
    form.add_field("a", "2", content_type="text/plain")
    return form


# -- aiohttp-sse, aiojobs -------------------------------------------------------------


async def test_events_of_another_package() -> None:
    sse: Any = _real("aiohttp_sse")

    async def events(request: web.Request) -> Any:
        async with sse.sse_response(request) as response:
            for number in range(3):
                await response.send(str(number))
        return response

    app = setup(web.Application())
    app.router.add_get("/", events)
    async with client_of(app) as client, client.get("/") as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        assert "Content-Encoding" not in answer.headers
        text = (await answer.text()).replace("\r\n", "\n")
        assert text == "data: 0\n\ndata: 1\n\ndata: 2\n\n"


async def test_a_job_that_reads_returns_a_value_or_fails() -> None:
    jobs: Any = _real("aiojobs.aiohttp")
    done = asyncio.Event()

    async def later() -> None:
        done.set()

    async def spawning(request: web.Request) -> Any:
        await jobs.spawn(request, later())
        return JSON(await read_json(request))

    async def upload(request: web.Request) -> Any:
        async with receive(request) as upload:
            return JSON(upload.files["file"].size)

    sub = web.Application()
    sub.add_routes(
        [
            web.post("/atomic", jobs.atomic(echo)),
            web.put("/atomic", jobs.atomic(upload)),
            web.post("/spawning", spawning),
        ]
    )
    app = setup(web.Application(), storage=MemoryStorage())
    jobs.setup(app)
    app.add_subapp("/sub/", sub)
    async with client_of(app) as client:
        for path in ("/sub/atomic", "/sub/spawning"):
            async with client.post(path, json=[1]) as answer:
                assert await answer.json() == [1]
            async with client.post(path, data=as_json(b"[")) as answer:
                assert answer.status == 400
        async with client.put("/sub/atomic", data=bytes(70_000)) as answer:
            assert await answer.json() == 70_000
        await asyncio.wait_for(done.wait(), 10)


# -- tracers --------------------------------------------------------------------------


@pytest.fixture
def spans() -> Iterator[Any]:
    """The finished spans of a server whose every ``web.Application`` is traced."""
    package: Any = _real("opentelemetry.instrumentation.aiohttp_server")
    sdk: Any = _real("opentelemetry.sdk.trace")
    export: Any = _real("opentelemetry.sdk.trace.export")
    memory: Any = pytest.importorskip(
        "opentelemetry.sdk.trace.export.in_memory_span_exporter"
    )
    exporter = memory.InMemorySpanExporter()
    provider = sdk.TracerProvider()
    provider.add_span_processor(export.SimpleSpanProcessor(exporter))
    instrumentor = package.AioHttpServerInstrumentor()
    instrumentor.instrument(tracer_provider=provider, skip_dep_check=True)
    try:
        yield exporter
    finally:
        instrumentor.uninstrument()
        provider.shutdown()


async def test_an_instrumentor_in_every_sub_application(spans: Any) -> None:
    app = setup(web.Application(), limits=SMALL)
    sub, deeper = web.Application(), web.Application()
    for traced in (app, sub, deeper):
        traced.add_routes(routes())
        assert len(traced.middlewares) == (2 if traced is app else 1)
    sub.add_subapp("/deeper/", deeper)
    app.add_subapp("/sub/", sub)
    async with client_of(app) as client:
        for depth, prefix in enumerate(("", "/sub", "/sub/deeper"), 1):
            for method, path, data, status in [
                ("GET", "/page", b"", 200),
                ("GET", "/view", b"", 200),
                ("GET", "/file", b"", 200),
                ("GET", "/streamed", b"", 200),
                ("POST", "/echo", b"[1]", 200),
                ("POST", "/echo", b"[", 400),
                ("POST", "/echo", b"[" * 2000, 413),
            ]:
                spans.clear()
                async with client.request(
                    method, prefix + path, data=as_json(data) if data else None
                ) as answer:
                    assert (prefix, path, answer.status) == (prefix, path, status)
                    await answer.read()
                found = [
                    span.attributes["http.status_code"]
                    for span in spans.get_finished_spans()
                ]
                assert found == [status] * depth


# Sentry patches aiohttp for good: in a process of its own.
SENTRY = """
import asyncio, json
import sentry_sdk
from aiohttp import ClientSession, web
from sentry_sdk.integrations.aiohttp import AioHttpIntegration
from sentry_sdk.integrations.logging import ignore_logger
from sentry_sdk.transport import Transport
from aiostreams import JSON, StorageError, read_json, setup

events = []

class Kept(Transport):
    def capture_envelope(self, envelope):
        for item in envelope.items:
            if item.payload.json is not None:
                events.append(item.payload.json)

sentry_sdk.init(
    dsn="http://key@127.0.0.1:9/1", transport=Kept, traces_sample_rate=1.0,
    integrations=[AioHttpIntegration()],
    max_request_body_size="always",
)
ignore_logger("aiostreams.web")  # of an error that is raised as well

async def echo(request):
    return JSON(await read_json(request))

async def disk(request):
    await read_json(request)
    raise StorageError("the disk is full")

async def fault(request):
    await read_json(request)
    await request.read()  # what Sentry shows
    raise ValueError("a fault")

async def main():
    app = setup(web.Application())
    sub = web.Application()
    sub.add_routes([web.post("/echo", echo), web.post("/disk", disk),
                    web.post("/fault", fault)])
    app.add_subapp("/sub/", sub)
    runner = web.AppRunner(app, auto_decompress=False, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    statuses = []
    async with ClientSession(
        f"http://127.0.0.1:{port}/sub/", headers={"Content-Type": "application/json"}
    ) as client:
        for path, data in [("echo", b"[1]"), ("echo", b"["), ("disk", b"[2]"),
                           ("fault", b"[3]")]:
            async with client.post(path, data=data) as answer:
                statuses.append(answer.status)
    await runner.cleanup()
    print(json.dumps({
        "statuses": statuses,
        "errors": [[[e["type"] for e in event["exception"]["values"]],
                    event["request"].get("data")]
                   for event in events if "exception" in event],
        "traces": [event["contexts"]["trace"]["data"]["http.response.status_code"]
                   for event in events
                   if event.get("type") == "transaction"
                   and event["contexts"]["trace"]["op"] == "http.server"
                   and "http.response.status_code"
                   in event["contexts"]["trace"].get("data", {})],
    }))

asyncio.run(main())
"""


def test_sentry_sees_faults_and_statuses(tmp_path: Path) -> None:
    _real("sentry_sdk")
    ran = subprocess.run(
        [sys.executable, "-c", SENTRY],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert ran.returncode == 0, ran.stderr
    seen = json.loads(ran.stdout)
    assert seen["statuses"] == [200, 400, 500, 500]
    # A client's mistake is none of the server's; faults come with their cause.
    assert seen["errors"] == [
        [["StorageError", "HTTPInternalServerError"], None],
        [["ValueError"], "[3]"],
    ]
    assert seen["traces"] == [200, 400, 500]


# -- strawberry-graphql, python-socketio ----------------------------------------------

QUERY = json.dumps({"query": '{ hello(name: "Ada") }'}).encode()


def _graphql(**options: Any) -> Any:
    strawberry: Any = _real("strawberry")
    views: Any = _real("strawberry.aiohttp.views")
    uploads: Any = _real("strawberry.file_uploads")

    def hello(name: str) -> str:
        return f"Hello {name}"

    async def size(file: Any) -> int:
        return len(file.read())

    size.__annotations__ = {"file": uploads.Upload, "return": int}
    query = type("Query", (), {"__annotations__": {"hello": str}})
    query.hello = strawberry.field(resolver=hello)  # type: ignore[attr-defined]
    mutation = type("Mutation", (), {"__annotations__": {"size": int}})
    mutation.size = strawberry.mutation(resolver=size)  # type: ignore[attr-defined]
    schema = strawberry.Schema(
        query=strawberry.type(query), mutation=strawberry.type(mutation)
    )
    view = views.GraphQLView(schema=schema, **options)
    if sys.version_info >= (3, 12):
        # It has the mark of asyncio, which counts no more from Python 3.14 on.
        inspect.markcoroutinefunction(view)
    return view


@pytest.mark.parametrize("read_before", [False, True], ids=["unread", "read before"])
async def test_graphql_reads_what_we_decode(*, read_before: bool) -> None:
    view = _graphql()

    @web.middleware
    async def reading(request: web.Request, handler: Any) -> Any:
        if read_before:
            assert "query" in await read_json(request)
        return await handler(request)

    app = setup(web.Application(middlewares=[reading]))
    app.router.add_route("*", "/graphql", view)
    async with client_of(app) as client:
        for coding, body in (("identity", QUERY), ("gzip", gzip.compress(QUERY))):
            async with client.post(
                "/graphql",
                data=as_json(body),
                headers={"Content-Encoding": coding},
            ) as answer:
                assert (answer.status, await answer.json()) == (
                    200,
                    {"data": {"hello": "Hello Ada"}},
                )


@pytest.mark.parametrize("read_before", [False, True], ids=["unread", "read before"])
@pytest.mark.parametrize("coding", ["identity", "gzip"])
async def test_graphql_takes_uploads(coding: str, *, read_before: bool) -> None:
    @web.middleware
    async def reading(request: web.Request, handler: Any) -> Any:
        if read_before:
            assert sorted((await read_form(request)).form) == ["map", "operations"]
        return await handler(request)

    app = setup(web.Application(middlewares=[reading]))
    app.router.add_route("*", "/graphql", _graphql(multipart_uploads_enabled=True))
    query = "mutation($file: Upload!) { size(file: $file) }"
    operations = json.dumps({"query": query, "variables": {"file": None}})
    form = MultiPart(
        {"operations": operations, "map": '{"0": ["variables.file"]}'},
        {"0": File(__file__)},
    )
    async with form.encode() as stream:
        body, kind = await stream.read(), stream.content_type or ""
    headers = {"Content-Type": kind, "Content-Encoding": coding}
    if coding == "gzip":
        body = gzip.compress(body)
    async with (
        client_of(app) as client,
        client.post("/graphql", data=body, headers=headers) as answer,
    ):
        size = Path(__file__).stat().st_size
        assert (answer.status, await answer.json()) == (200, {"data": {"size": size}})


async def test_graphql_is_held_to_the_limits() -> None:
    app = setup(web.Application(), limits=SMALL)
    app.router.add_route("*", "/graphql", _graphql())
    large = json.dumps({"query": "{ hello }" + " " * 2000}).encode()
    async with client_of(app) as client:
        for body in (large, gzip.compress(large)):
            headers = {} if body is large else {"Content-Encoding": "gzip"}
            async with client.post(
                "/graphql", data=as_json(body), headers=headers
            ) as answer:
                assert answer.status == 413


async def test_socketio_polls_and_upgrades() -> None:
    socketio: Any = _real("socketio")
    server = socketio.AsyncServer(async_mode="aiohttp")
    app = setup(web.Application())
    server.attach(app)

    async def double(_sid: str, data: int) -> int:
        return 2 * data

    server.on("double", double)
    async with client_of(app) as client:
        path = "/socket.io/?EIO=4&transport=polling"
        async with client.get(path) as answer:
            opened = await answer.text()
            assert (answer.status, opened[0]) == (200, "0")
        sid = json.loads(opened[1:])["sid"]
        async with client.post(
            f"{path}&sid={sid}",
            data=gzip.compress(b"40"),
            headers={"Content-Encoding": "gzip"},
        ) as answer:
            assert await answer.text() == "OK"
        async with client.get(f"{path}&sid={sid}") as answer:
            assert (await answer.text()).startswith("40{")
        async with client.post(f"{path}&sid={sid}", data='421["double",21]') as answer:
            assert await answer.text() == "OK"
        async with client.get(f"{path}&sid={sid}") as answer:
            assert await answer.text() == "431[42]"
        path = path.replace("polling", "websocket")
        async with client.ws_connect(path) as socket:
            assert (await socket.receive_str()).startswith("0{")
            await socket.send_str("40")
            assert (await socket.receive_str()).startswith("40{")
            await socket.send_str('422["double",4]')
            assert await socket.receive_str() == "432[8]"
    await server.shutdown()


# -- gunicorn -------------------------------------------------------------------------

GUNICORN = """
from aiohttp import web
from aiostreams import JSON, MemoryStorage, read_json, receive, setup

async def echo(request):
    return JSON(await read_json(request))

async def upload(request):
    async with receive(request) as upload:
        return JSON(upload.files["file"].size)

app = setup(web.Application(), storage=MemoryStorage())
app.add_routes([web.post("/", echo), web.put("/", upload)])

async def make_runner():
    made = setup(web.Application(), storage=MemoryStorage())
    made.add_routes([web.post("/", echo), web.put("/", upload)])
    return web.AppRunner(made, auto_decompress=False, access_log=None)
"""


@pytest.mark.parametrize("target", ["app:app", "app:make_runner"])
@pytest.mark.parametrize("worker", ["GunicornWebWorker", "GunicornUVLoopWebWorker"])
async def test_gunicorn(worker: str, target: str, tmp_path: Path) -> None:
    _real("gunicorn")
    if "UVLoop" in worker:
        _real("uvloop")
    (tmp_path / "app.py").write_text(GUNICORN)
    (port,) = free_ports(1)
    bound = f"127.0.0.1:{port}"
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "gunicorn", target, "--bind", bound),
            *("--worker-class", f"aiohttp.{worker}"),
        ],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        await _listening(server, port)
        async with ClientSession(f"http://{bound}") as client:
            for coding, body in (("identity", b"[1]"), ("gzip", gzip.compress(b"[1]"))):
                headers = {"Content-Encoding": coding}
                async with client.post(
                    "/", data=as_json(body), headers=headers
                ) as answer:
                    assert await answer.json() == [1]
            async with client.post("/", data=as_json(b"[")) as answer:
                assert answer.status == 400
            async with client.put("/", data=bytes(300_000)) as answer:
                assert await answer.json() == 300_000
    finally:
        server.send_signal(signal.SIGTERM)
        output, _ = await asyncio.to_thread(server.communicate, timeout=30)
    assert server.returncode == 0, output
    assert "Traceback" not in output


async def _listening(server: subprocess.Popen[str], port: int) -> None:
    async with asyncio.timeout(30):
        while True:
            with socket.socket() as sock:
                if sock.connect_ex(("127.0.0.1", port)) == 0:
                    return
            assert server.poll() is None
            await asyncio.sleep(0.05)
