"""What statistics, metrics and logs say of resumable uploads."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from yarl import URL

from aiostreams import (
    MemoryStorage,
    ResumableUploads,
    Storage,
    resumable,
    setup,
    sweep_uploads,
)
from aiostreams.stats import (
    BodyStats,
    UploadStats,
    log_stats,
    opentelemetry_stats,
    opentelemetry_tracing,
    prometheus_stats,
)
from aiostreams.web.resumable.service import APP_UPLOADS
from tests.servers import connected, post, serving
from tests.waiting import until

from .server import Client, Service, client, metadata

DATA = b"0123456789"
SECRET = "never-logged"


class Reports:
    """A server that reports, and what it has reported."""

    def __init__(self, storage: Storage, **options: Any) -> None:
        self.service = Service(storage, **options)
        self.told: asyncio.Queue[BodyStats] = asyncio.Queue()
        self.expired: list[str] = []
        self.app: web.Application
        self.send: Client
        self.address: tuple[str, int]

    def __call__(self, stats: BodyStats) -> None:
        self.told.put_nowait(stats)

    def expire_upload(self, protocol: str) -> None:
        self.expired.append(protocol)

    async def next(self) -> BodyStats:
        async with asyncio.timeout(10):
            return await self.told.get()

    async def upload(self) -> UploadStats:
        upload = (await self.next()).upload
        assert upload is not None
        return upload

    @contextlib.asynccontextmanager
    async def running(self, *callbacks: Any) -> AsyncIterator[Client]:
        app = self.app = web.Application()
        app.router.add_post(
            "/files", resumable(**self.service.options)(self.service.handle)
        )
        setup(
            app,
            storage=self.service.storage,
            on_stats=[self, *callbacks],
            resumable=ResumableUploads(**self.service.uploads),
        )
        async with serving(app) as self.address, client(self.address) as send:
            self.send = send
            yield send

    async def appending(self) -> None:
        """Wait until a request adds to an upload."""
        await until(lambda: self.app[APP_UPLOADS].uploads._active)

    async def cut(self, url: str, sent: bytes, announced: int, **fields: str) -> None:
        """A PATCH whose client leaves after ``sent``."""
        async with connected(self.address) as raw:
            headers = [
                (name.replace("_", "-"), value) for name, value in fields.items()
            ]
            head = post(
                method="PATCH",
                path=URL(url).raw_path_qs,
                headers=[*headers, ("Content-Length", str(announced))],
            )
            await raw.send(head + sent)
            await self.appending()


@pytest.fixture
def reports(storage: Storage) -> Reports:
    return Reports(storage)


CHUNK = {
    "Tus_Resumable": "1.0.0",
    "Content_Type": "application/offset+octet-stream",
}


async def test_upload_over_three_requests(reports: Reports) -> None:
    async with reports.running() as send:
        url = await send.create(10, Upload_Metadata=metadata(filename="a"))
        begun = await reports.upload()
        await send.tus("PATCH", url, DATA[:4], Upload_Offset="0")
        middle = await reports.upload()
        await send.tus("PATCH", url, DATA[4:], Upload_Offset="4")
        end = await reports.upload()
    upload_id = URL(url).query["upload"]
    assert begun == UploadStats(id=upload_id, protocol="tus", offset=0, begun=True)
    assert middle == UploadStats(id=upload_id, protocol="tus", offset=4, added=4)
    assert end == UploadStats(
        id=upload_id, protocol="tus", offset=10, added=6, finished=True
    )


async def test_upload_of_the_drafts(reports: Reports) -> None:
    async with reports.running() as send:
        url = await send.begin(DATA[:4])
        begun = await reports.upload()
        await send.rufh("HEAD", url)
        asked = await reports.upload()
        await send.rufh("PATCH", url, DATA[4:], Upload_Offset="4", Upload_Complete="?1")
        end = await reports.upload()
    assert (begun.protocol, begun.offset, begun.added) == ("rufh", 4, 4)
    assert (begun.events, asked.events) == (("begun",), ())
    assert (asked.offset, asked.added) == (4, 0)
    assert end.events == ("resumed", "finished")


async def test_interrupted_upload_is_resumed(reports: Reports) -> None:
    async with reports.running() as send:
        url = await send.create(10)
        await reports.next()
        await reports.cut(url, DATA[:4], 10, Upload_Offset="0", **CHUNK)
        broken = await reports.next()
        assert (await send.tus("HEAD", url)).offset == 4
        await reports.next()
        await send.tus("PATCH", url, DATA[4:], Upload_Offset="4")
        end = await reports.next()
    assert broken.outcome == "client_gone"
    assert broken.upload is not None
    assert (broken.upload.offset, broken.upload.added, broken.resent) == (4, 4, 0)
    assert end.upload is not None
    assert end.upload.events == ("resumed", "finished")
    assert end.resent == 0


async def test_stalled_request_is_taken_over(reports: Reports) -> None:
    async with reports.running() as send:
        url = await send.create(10)
        await reports.next()
        async with connected(reports.address) as raw:
            fields = [(name.replace("_", "-"), value) for name, value in CHUNK.items()]
            head = post(
                method="PATCH",
                path=URL(url).raw_path_qs,
                headers=[*fields, ("Upload-Offset", "0"), ("Content-Length", "10")],
            )
            await raw.send(head + DATA[:4])
            await reports.appending()
            assert (await send.tus("HEAD", url)).offset == 4
            status, _, _ = await raw.response()
        assert status == 409
        stats = [await reports.next(), await reports.next()]
    [older] = [one for one in stats if one.method == "PATCH"]
    assert older.upload is not None
    assert older.upload.events == ("taken_over",)
    assert (older.outcome, older.error, older.upload.added) == ("refused", "Fenced", 4)


@pytest.mark.parametrize(
    ("offset", "fields", "status"),
    [
        ("3", {}, 409),
        ("0", {"Upload_Checksum": "sha1 AAAAAAAAAAAAAAAAAAAAAAAAAAA="}, 460),
    ],
    ids=["offset", "checksum"],
)
async def test_bytes_that_do_not_count_are_to_be_resent(
    reports: Reports, offset: str, fields: dict[str, str], status: int
) -> None:
    async with reports.running() as send:
        url = await send.create(10)
        await reports.next()
        answer = await send.tus("PATCH", url, DATA, Upload_Offset=offset, **fields)
        assert answer.status == status
        stats = await reports.next()
    assert stats.upload is not None
    assert (stats.upload.added, stats.resent) == (0, 10)
    assert stats.upload.events == ()


async def test_refused_upload_is_not_finished(reports: Reports) -> None:
    async def refuse(_request: web.Request) -> Any:
        raise web.HTTPConflict

    reports.service.handler = refuse
    async with reports.running() as send:
        answer = await send.tus(
            "POST", "/files", DATA, Upload_Length="10",
            Content_Type="application/offset+octet-stream",
        )  # fmt: skip
        assert answer.status == 409
        assert (await reports.upload()).events == ("begun",)


async def test_deleted_upload_is_named(reports: Reports) -> None:
    async with reports.running() as send:
        url = await send.create(10)
        begun = await reports.upload()
        await send.tus("DELETE", url)
        assert (await reports.upload()).id == begun.id


async def test_what_is_no_upload_has_none(reports: Reports) -> None:
    async with reports.running() as send:
        assert (await send("POST", "/files", DATA)).status == 200
        assert (await reports.next()).upload is None
        url = f"/files?upload={'z' * 26}"
        assert (await send.tus("HEAD", url)).status == 404
        assert (await reports.next()).upload is None


async def test_another_owners_upload_has_none(storage: Storage) -> None:
    reports = Reports(storage, owner=lambda request: request.headers["X-User"])
    async with reports.running() as send:
        url = await send.create(10, X_User="a")
        await reports.next()
        assert (await send.tus("HEAD", url, X_User="b")).status == 404
        assert (await reports.next()).upload is None


async def test_expired_upload_is_reported(
    reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that were complete are only removed."""
    async with reports.running() as send:
        await send.create(10)
        await send.begin(DATA)
        await send.tus(
            "POST", "/files", DATA, Upload_Length="10",
            Content_Type="application/offset+octet-stream",
        )  # fmt: skip
        assert await sweep_uploads(reports.app) == 0
        assert reports.expired == []
        later = time.time() + 8 * 86400
        monkeypatch.setattr("time.time", lambda: later)
        assert await sweep_uploads(reports.app) == 3
        assert sorted(reports.expired) == ["rufh", "tus"]
        assert await sweep_uploads(reports.app) == 0


async def test_callback_that_fails_does_not_end_the_sweep(
    reports: Reports, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def __call__(self, stats: BodyStats) -> None:
            pass

        def expire_upload(self, protocol: str) -> None:
            raise ValueError(protocol)

    async with reports.running(Broken()) as send:
        await send.create(10)
        later = time.time() + 8 * 86400
        monkeypatch.setattr("time.time", lambda: later)
        assert await sweep_uploads(reports.app) == 1
    assert "callback for stats failed" in caplog.text


async def interrupted_upload(reports: Reports) -> None:
    """One that is interrupted and resumed; 10 bytes come twice on its way."""
    send = reports.send
    url = await send.create(10)
    await send.tus("PATCH", url, DATA, Upload_Offset="5")
    await reports.cut(url, DATA[:4], 10, Upload_Offset="0", **CHUNK)
    for _ in range(3):
        await reports.next()
    assert (await send.tus("HEAD", url)).offset == 4
    await send.tus("PATCH", url, DATA[4:], Upload_Offset="4")
    for _ in range(2):
        await reports.next()


async def test_metrics_of_prometheus(
    reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = pytest.importorskip("prometheus_client")
    registry = client.CollectorRegistry()
    async with reports.running(prometheus_stats(registry)) as send:
        await interrupted_upload(reports)
        await send.create(10)
        await reports.next()
        later = time.time() + 8 * 86400
        monkeypatch.setattr("time.time", lambda: later)
        await sweep_uploads(reports.app)

    def value(name: str, **labels: str) -> float | None:
        labels = {"route": "/files", "protocol": "tus", **labels}
        found: float | None = registry.get_sample_value(name, labels)
        return found

    name = "aiostreams_uploads_total"
    assert value(name, event="begun") == 2
    assert value(name, event="resumed") == 1
    assert value(name, event="finished") == 1
    assert value(name, event="taken_over") is None
    assert value(name, route="", event="expired") == 1
    assert value("aiostreams_uploads_resent_bytes_total") == 10


async def test_metrics_of_opentelemetry(
    reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    sdk = pytest.importorskip("opentelemetry.sdk.metrics")
    export = pytest.importorskip("opentelemetry.sdk.metrics.export")
    reader = export.InMemoryMetricReader()
    provider = sdk.MeterProvider([reader])
    async with reports.running(opentelemetry_stats(provider)) as send:
        await interrupted_upload(reports)
        await send.create(10)
        await reports.next()
        later = time.time() + 8 * 86400
        monkeypatch.setattr("time.time", lambda: later)
        await sweep_uploads(reports.app)
    [resource] = reader.get_metrics_data().resource_metrics
    [scope] = resource.scope_metrics
    points = {
        (metric.name, point.attributes.get("aiostreams.upload.event")): point.value
        for metric in scope.metrics
        if metric.name.startswith("aiostreams.upload.")
        for point in metric.data.data_points
    }
    provider.shutdown()
    events = "aiostreams.upload.events"
    assert points == {
        (events, "begun"): 2,
        (events, "resumed"): 1,
        (events, "finished"): 1,
        (events, "expired"): 1,
        ("aiostreams.upload.resent_size", None): 10,
    }


async def test_spans_have_the_upload(reports: Reports) -> None:
    trace = pytest.importorskip("opentelemetry.sdk.trace")
    export = pytest.importorskip("opentelemetry.sdk.trace.export")
    memory = pytest.importorskip(
        "opentelemetry.sdk.trace.export.in_memory_span_exporter"
    ).InMemorySpanExporter()
    provider = trace.TracerProvider()
    provider.add_span_processor(export.SimpleSpanProcessor(memory))
    async with reports.running(opentelemetry_tracing(provider)) as send:
        url = await send.create(10)
        await reports.next()
        await send.tus("PATCH", url, DATA[:4], Upload_Offset="0")
        upload = await reports.upload()
        while len(memory.get_finished_spans()) < 2:
            await asyncio.sleep(0)
    attributes = memory.get_finished_spans()[1].attributes
    assert {
        name.rpartition(".")[2]: value
        for name, value in attributes.items()
        if name.startswith("aiostreams.upload.")
    } == {"id": upload.id, "protocol": "tus", "offset": 4}


async def test_logs_have_the_id_and_no_metadata(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "aiostreams")
    reports = Reports(MemoryStorage())
    async with reports.running(log_stats()) as send:
        url = await send.create(10, Upload_Metadata=metadata(filename=SECRET, k=SECRET))
        await send.tus("PATCH", url, DATA[:4], Upload_Offset="0")
        await send.tus("HEAD", url)
        await send.tus("PATCH", url, DATA[4:], Upload_Offset="4")
        for _ in range(4):
            await reports.next()
    upload_id = URL(url).query["upload"]
    assert [
        record.getMessage()
        for record in caplog.records
        if record.name == "aiostreams.resumable"
    ] == [
        f"upload begun: {upload_id}",
        f"upload resumed: {upload_id}",
        f"upload finished: {upload_id}",
    ]
    lines = [r.getMessage() for r in caplog.records if r.name == "aiostreams.stats"]
    assert [line.rpartition(", ")[2] for line in lines] == [
        f"upload {upload_id} at {offset} bytes" for offset in (0, 4, 4, 10)
    ]
    assert SECRET not in caplog.text
