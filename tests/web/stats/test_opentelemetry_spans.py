"""Spans of requests: one each, to the last byte, below the client's and above ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
from aiohttp import web
from pytest_aiohttp.plugin import AiohttpClient

from aiostreams import IterStream, Limits, read_bytes, setup
from aiostreams.stats import opentelemetry_tracing
from aiostreams.web.stats.log import STATS_LOGGER

pytest.importorskip("opentelemetry.sdk", reason="needs the extra opentelemetry")

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


class Spans:
    """A provider, and the spans that have ended."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    async def ended(self, count: int) -> list[ReadableSpan]:
        """The spans, once there are so many; a request ends after its answer."""
        while len(self._exporter.get_finished_spans()) < count:
            await asyncio.sleep(0)
        found = list(self._exporter.get_finished_spans())
        assert len(found) == count
        return found


@pytest.fixture
def spans() -> Iterator[Spans]:
    found = Spans()
    yield found
    found.provider.shutdown()


Serve = Callable[..., Awaitable[Any]]


@pytest.fixture
def serve(spans: Spans, aiohttp_client: AiohttpClient) -> Serve:
    async def start(handler: Any, **options: Any) -> Any:
        app = web.Application()
        app.router.add_post("/files/{name}", handler)
        setup(app, on_stats=opentelemetry_tracing(spans.provider), **options)
        return await aiohttp_client(app)

    return start


async def test_a_request_is_one_span_below_the_clients(
    serve: Serve, spans: Spans
) -> None:
    async def handler(request: web.Request) -> Any:
        await read_bytes(request)
        with spans.provider.get_tracer("mine").start_as_current_span("work"):
            pass
        return web.Response(text="hello")

    client = await serve(handler)
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    async with client.post("/files/x", data=b"12345", headers=headers) as response:
        assert await response.text() == "hello"
    inner, outer = await spans.ended(2)
    assert inner.parent is not None
    assert outer.context is not None
    assert inner.parent.span_id == outer.context.span_id
    assert outer.parent is not None
    assert f"{outer.parent.span_id:x}" == PARENT
    assert f"{outer.context.trace_id:032x}" == TRACE
    assert (outer.name, outer.kind) == ("POST /files/{name}", trace.SpanKind.SERVER)
    attributes = dict(outer.attributes or {})
    assert attributes.pop("aiostreams.request.wait") >= 0  # type: ignore[operator]
    assert attributes == {
        "http.request.method": "POST",
        "http.route": "/files/{name}",
        "http.response.status_code": 200,
        "http.request.body.size": 5,
        "http.response.body.size": 5,
        "network.protocol.version": "1.1",
        "url.scheme": "http",
        "url.path": "/files/x",
        "aiostreams.outcome": "ok",
        "aiostreams.request.parts": 0,
    }


async def test_the_span_ends_with_the_last_byte(serve: Serve, spans: Spans) -> None:
    sent = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"first"
        await sent.wait()
        yield b"last"

    async def handler(_request: web.Request) -> Any:
        return IterStream(pieces())

    client = await serve(handler)
    async with client.post("/files/x") as response:
        assert await response.content.readexactly(5) == b"first"
        assert await spans.ended(0) == []
        sent.set()
        assert await response.read() == b"last"
    (span,) = await spans.ended(1)
    assert (span.attributes or {})["http.response.body.size"] == 9


async def test_what_fails_is_an_error_and_what_is_refused_is_none(
    serve: Serve, spans: Spans
) -> None:
    async def handler(request: web.Request) -> Any:
        await read_bytes(request)
        raise RuntimeError("broken")

    client = await serve(handler, limits=Limits(max_body=10))
    assert (await client.post("/files/x", data=bytes(11))).status == 413
    (refused,) = await spans.ended(1)
    assert refused.status.status_code is trace.StatusCode.UNSET
    assert (refused.attributes or {})["aiostreams.outcome"] == "refused"
    assert (await client.post("/files/x")).status == 500
    _, failed = await spans.ended(2)
    assert failed.status.status_code is trace.StatusCode.ERROR
    assert (failed.attributes or {})["error.type"] == "RuntimeError"


async def test_nested_applications_make_one_span(
    spans: Spans, aiohttp_client: AiohttpClient
) -> None:
    async def handler(_request: web.Request) -> Any:
        return web.Response()

    tracing = opentelemetry_tracing(spans.provider)
    inner = setup(web.Application(), on_stats=tracing)
    inner.router.add_get("/x", handler)
    app = setup(web.Application(), on_stats=tracing)
    app.add_subapp("/in", inner)
    client = await aiohttp_client(app)
    await client.get("/in/x")
    (span,) = await spans.ended(1)
    assert span.name == "GET /in/x"


# Its Application is a subclass of aiohttp's, which aiohttp would rather not see.
@pytest.mark.filterwarnings("ignore:Inheritance class:DeprecationWarning")
async def test_beside_opentelemetrys_own_there_is_no_second_span(
    spans: Spans, aiohttp_client: AiohttpClient
) -> None:
    instrumentation = pytest.importorskip(
        "opentelemetry.instrumentation.aiohttp_server",
        reason="opentelemetry-instrumentation-aiohttp-server is not installed",
    )
    instrumentor = instrumentation.AioHttpServerInstrumentor()
    instrumentor.instrument(tracer_provider=spans.provider)
    try:
        app = web.Application()

        async def handler(request: web.Request) -> Any:
            await read_bytes(request)
            return web.Response()

        app.router.add_post("/", handler)
        setup(app, on_stats=opentelemetry_tracing(spans.provider))
        client = await aiohttp_client(app)
        await client.post("/", data=b"12345")
        (span,) = await spans.ended(1)
    finally:
        instrumentor.uninstrument()
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.name != "aiostreams"
    attributes = span.attributes or {}
    assert attributes["aiostreams.request.parts"] == 0
    assert "aiostreams.request.wait" in attributes


async def test_a_tracer_that_fails_fails_no_request(
    aiohttp_client: AiohttpClient, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def begin(self, request: web.Request) -> Any:
            raise RuntimeError(f"no tracer for {request.method}")

        def install(self, app: web.Application) -> None: ...

    async def handler(_request: web.Request) -> Any:
        return web.Response()

    app = setup(web.Application(), on_stats=Broken())
    app.router.add_get("/", handler)
    client = await aiohttp_client(app)
    assert (await client.get("/")).status == 200
    assert [record.name for record in caplog.records] == [STATS_LOGGER]
