"""What users of other servers for resumable uploads complain about does not happen here.

docs/design/resumable.md has the list, and which tests cover what; these are those that
stand nowhere else. Where both protocols are concerned, each test runs for both.
"""

from __future__ import annotations

import asyncio
import collections
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from yarl import URL

from aiostreams import (
    IterStream,
    Limits,
    MemoryStorage,
    ObjectStorage,
    Storage,
    StorageError,
    Text,
    read_bytes,
    receive,
    respond,
    sweep_uploads,
    upload_of,
)
from aiostreams.resumable import engine
from tests.servers import connected, serving
from tests.storage.buckets import Bucket, store_of
from tests.waiting import until

from .server import Answer, Client, Service, chunked, client, metadata

DATA = bytes((i * 7 + (i >> 8)) & 255 for i in range(30_000))
CHUNK = "application/offset+octet-stream"
PARTIAL = "application/partial-upload"

both = pytest.mark.parametrize("protocol", ["tus", "rufh"])


class Speaker:
    """A client that speaks one of the two protocols."""

    def __init__(self, protocol: str, send: Client) -> None:
        self.is_tus = protocol == "tus"
        self.send = send

    async def create(self, length: int | None, **fields: Any) -> Answer:
        """Create an upload without content."""
        if self.is_tus:
            if length is None:
                fields["Upload_Defer_Length"] = "1"
            else:
                fields["Upload_Length"] = str(length)
            if (kind := fields.pop("Content_Type", None)) is not None:
                fields["Upload_Metadata"] = metadata(filetype=kind)
            return await self.send.tus("POST", "/files", **fields)
        if length is not None:
            fields["Upload_Length"] = str(length)
        return await self.send.rufh("POST", "/files", Upload_Complete="?0", **fields)

    async def begin(self, length: int | None, **fields: Any) -> str:
        """Create an upload; gives its URL."""
        answer = await self.create(length, **fields)
        assert answer.status == 201, answer
        return URL(answer.headers["Location"]).raw_path_qs

    async def append(
        self, url: str, data: Any, at: int, *, last: bool = False, **fields: Any
    ) -> Answer:
        fields["Upload_Offset"] = str(at)
        if self.is_tus:
            return await self.send.tus("PATCH", url, data, **fields)
        fields["Upload_Complete"] = "?1" if last else "?0"
        return await self.send.rufh("PATCH", url, data, **fields)

    async def ask(self, url: str, **fields: Any) -> Answer:
        if self.is_tus:
            return await self.send.tus("HEAD", url, **fields)
        return await self.send.rufh("HEAD", url, **fields)

    def head(self, url: str, length: int, at: int = 0) -> bytes:
        """The head of a request that appends all that is missing, for a socket."""
        fields = (
            f"Tus-Resumable: 1.0.0\r\nContent-Type: {CHUNK}"
            if self.is_tus
            else "Upload-Draft-Interop-Version: 9\r\nUpload-Complete: ?1\r\n"
            f"Content-Type: {PARTIAL}"
        )
        return (
            f"PATCH {url} HTTP/1.1\r\nHost: x\r\n{fields}\r\nUpload-Offset: {at}\r\n"
            f"Content-Length: {length}\r\n\r\n"
        ).encode()


# -- one engine: what one protocol refuses, the other does -------------------------------


@both
async def test_no_way_around_the_largest_size(protocol: str, storage: Storage) -> None:
    """Not by saying no length, not by saying it late, not by chunks."""
    service = Service(storage, max_size=100)
    async with service.running() as send:
        speaker = Speaker(protocol, send)
        refused = await speaker.create(101)
        assert refused.status == 413
        assert b"limit 100" in refused.body
        url = await speaker.begin(None)
        assert (await speaker.append(url, b"x" * 101, 0)).status == 413
        url = await speaker.begin(None)
        assert (await speaker.append(url, b"x" * 60, 0)).status == 204
        assert (await speaker.append(url, b"x" * 41, 60)).status == 413
        body = chunked(*[b"x" * 10] * 5)
        assert (await speaker.append(url, body, 60)).status == 413
        told = (await speaker.ask(url)).offset
        assert told is not None
        assert told <= 100
        late = await speaker.append(url, b"", told, Upload_Length="101")
        assert late.status == 413
    assert service.ran == []


@both
async def test_no_way_around_the_size_of_a_request(
    protocol: str, storage: Storage
) -> None:
    service = Service(storage, uploads={"max_append_size": 10})
    async with service.running() as send:
        speaker = Speaker(protocol, send)
        url = await speaker.begin(50)
        for body in (b"x" * 11, chunked(b"x" * 6, b"x" * 6)):
            assert (await speaker.append(url, body, 0)).status == 413
        told = (await speaker.ask(url)).offset
        assert told is not None
        assert told <= 10
        assert (await speaker.append(url, b"x" * 10, told)).status == 204


@both
async def test_no_way_around_the_type(protocol: str, storage: Storage) -> None:
    service = Service(storage, accept={"image/*"})
    async with service.running() as send:
        speaker = Speaker(protocol, send)
        assert (await speaker.create(5, Content_Type="video/mp4")).status == 415
        png = b"\x89PNG\r\n\x1a\n" + bytes(5000)
        pdf = b"%PDF-1.7\n" + bytes(5000)
        url = await speaker.begin(len(pdf), Content_Type="image/png")
        assert (await speaker.append(url, pdf, 0, last=True)).status == 415
        # What one byte does not show, all of them do.
        url = await speaker.begin(len(pdf), Content_Type="image/png")
        await speaker.append(url, pdf[:1], 0)
        assert (await speaker.append(url, pdf[1:], 1, last=True)).status == 415
        assert service.ran == []
        url = await speaker.begin(len(png), Content_Type="image/png")
        assert (await speaker.append(url, png, 0, last=True)).status < 300
    assert service.bodies == [png]


@both
async def test_no_way_around_owner_and_quota(protocol: str, storage: Storage) -> None:
    def check(request: web.Request, upload: Any) -> None:
        if upload.length is None or upload.length > 10:
            raise web.HTTPForbidden(text="10 bytes are left")

    service = Service(
        storage, owner=lambda request: request.headers["X-User"], on_create=check
    )
    async with service.running() as send:
        speaker = Speaker(protocol, send)
        for length in (11, None):
            answer = await speaker.create(length, X_User="me")
            assert (answer.status, answer.body) == (403, b"10 bytes are left")
        url = await speaker.begin(5, X_User="me")
        for answer in (
            await speaker.ask(url, X_User="you"),
            await speaker.append(url, b"12345", 0, last=True, X_User="you"),
        ):
            assert (answer.status, answer.offset) == (404, None)
        # Nor by the other protocol.
        other = Speaker("rufh" if protocol == "tus" else "tus", send)
        assert (await other.ask(url, X_User="you")).status == 404
        answer = await speaker.append(url, b"12345", 0, last=True, X_User="me")
        assert answer.status < 300


@both
async def test_too_slow_a_client_is_ended_and_its_bytes_are_kept(
    protocol: str, storage: Storage
) -> None:
    service = Service(storage, limits=Limits(idle_timeout=0.2))
    async with serving(service.app()) as address, client(address) as send:
        speaker = Speaker(protocol, send)
        url = await speaker.begin(len(DATA))
        async with connected(address) as raw:
            await raw.send(speaker.head(url, len(DATA)) + DATA[:3000])
            status, headers, _ = await raw.response()
            assert (status, headers["upload-offset"]) == (408, "3000")
        assert (await speaker.ask(url)).offset == 3000


# -- a handler, and its answer -----------------------------------------------------------


@both
async def test_a_client_that_does_not_wait_for_the_handler_has_its_answer_later(
    protocol: str, storage: Storage
) -> None:
    """Its connection timed out: it asks, is asked for patience, and gets the answer."""
    service = Service(storage)
    running, go_on = asyncio.Event(), asyncio.Event()

    async def handle(request: web.Request) -> Any:
        running.set()
        await go_on.wait()
        return respond(Text("done"), headers={"X-Key": "abc"})

    service.handler = handle
    async with serving(service.app()) as address, client(address) as send:
        speaker = Speaker(protocol, send)
        url = await speaker.begin(len(DATA))
        async with connected(address) as raw:
            await raw.send(speaker.head(url, len(DATA)), DATA)
            await running.wait()
        told = await speaker.ask(url)
        assert told.offset == len(DATA)
        if protocol == "rufh":
            assert told.complete is False  # no final response yet
        again = await speaker.append(url, b"", len(DATA), last=True)
        assert again.status == (423 if protocol == "tus" else 503)
        assert int(again.headers["Retry-After"]) > 0
        go_on.set()
        for _ in range(2):
            while again.status in {423, 503}:
                await asyncio.sleep(0.01)
                again = await speaker.append(url, b"", len(DATA), last=True)
            assert again.status == (204 if protocol == "tus" else 200)
            assert again.headers["X-Key"] == "abc"
            if protocol == "rufh":
                assert again.body == b"done"
            again = await speaker.append(url, b"", len(DATA), last=True)
    assert len(service.ran) == 1


@both
async def test_reading_an_upload_locks_nothing(protocol: str, storage: Storage) -> None:
    """A handler sends what it received, to a client that does not read it."""
    service = Service(storage)

    async def handle(request: web.Request) -> Any:
        body = await read_bytes(request)
        return respond(IterStream([body] * 400, size=len(body) * 400))

    service.handler = handle
    async with serving(service.app()) as address, client(address) as send:
        speaker = Speaker("rufh", send)
        url = await speaker.begin(len(DATA))
        async with connected(address) as raw:
            await raw.send(speaker.head(url, len(DATA)), DATA)
            await raw.reader.readuntil(b"\r\n\r\n")
            asking = Speaker(protocol, send)
            async with asyncio.timeout(20):
                # The final response was begun, and is not at its end.
                assert (await asking.ask(url)).offset == len(DATA)
                other = await asking.begin(4)
                answer = await asking.append(other, b"1234", 0)
                assert answer.status == 204
                assert (await send.tus("DELETE", url)).status == 204


# -- clients that vanish -----------------------------------------------------------------

STAGES = {
    "in the head": 40,
    "behind the head": 0,
    "in the body": 7000,
    "at the end": -1,
}


@both
@pytest.mark.parametrize("how", ["RST", "FIN"])
@pytest.mark.parametrize("stage", STAGES)
async def test_a_client_that_is_killed_harms_nothing(
    protocol: str,
    how: str,
    stage: str,
    storage: Storage,
    caplog: pytest.LogCaptureFixture,
) -> None:
    service = Service(storage)
    async with serving(service.app()) as address, client(address) as send:
        speaker = Speaker(protocol, send)
        url = await speaker.begin(len(DATA))
        head = speaker.head(url, len(DATA))
        cut = STAGES[stage]
        sent = head[:cut] if stage == "in the head" else head + DATA[:cut]
        if stage == "behind the head":
            sent = head
        async with connected(address) as raw:
            await raw.send(sent)
            if stage != "in the head":
                await until(lambda: service.method == "PATCH")
                await service.taken(len(sent) - len(head))
            if how == "RST":
                raw.reset()
        told = await speaker.ask(url)
        assert told.offset is not None
        assert told.offset <= max(0, len(sent) - len(head))
        if how == "FIN" and stage in {"in the body", "at the end"}:
            assert told.offset == len(sent) - len(head)
        answer = await speaker.append(url, DATA[told.offset :], told.offset, last=True)
        assert answer.status < 300
    assert service.bodies == [DATA]
    assert "Traceback" not in caplog.text
    assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []


@pytest.mark.parametrize("version", [3, 5, 6, 8])
async def test_a_client_that_sends_all_again_learns_the_offset(
    version: int, storage: Storage
) -> None:
    """As iOS does when it has lost the connection, in each version that it speaks."""
    service = Service(storage)
    names = ("Upload_Incomplete", "?0") if version == 3 else ("Upload_Complete", "?1")
    async with service.running() as send:
        fields = {names[0]: "?1" if version == 3 else "?0"}
        begun = await send.rufh(
            "POST", "/files", DATA[:9000], version=version, **fields
        )
        assert begun.status == 201
        url = begun.headers["Location"]
        fields = {names[0]: names[1]}
        again = await send.rufh(
            "PATCH", url, DATA, version=version, Upload_Offset="0", **fields
        )
        assert (again.status, again.offset) == (409, 9000)
        answer = await send.rufh(
            "PATCH", url, DATA[9000:], version=version, Upload_Offset="9000", **fields
        )
        assert answer.status == 200
    assert service.bodies == [DATA]


# -- storages ----------------------------------------------------------------------------


class Recording(MemoryStorage):
    """Counts how often each key is written, and writes slowly, or not at all."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: collections.Counter[str] = collections.Counter()
        self.fails = False
        self.go_on = asyncio.Event()
        self.go_on.set()

    @property
    def hidden(self) -> Any:
        """None of its own: what is staged is in its keys, where it is counted."""
        return None

    async def put(self, key: str, data: Any, **kwargs: Any) -> None:
        if self.fails:
            raise StorageError("the store fails")
        self.writes[key] += 1
        await self.go_on.wait()
        await super().put(key, data, **kwargs)


@both
async def test_a_store_that_fails_restarts_no_client(
    protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """tus-js-client begins anew after any other 4xx or 5xx to a HEAD than 423."""
    monkeypatch.setattr(engine, "_PAUSE", 0.001)
    storage = Recording()
    service = Service(storage)
    async with service.running() as send:
        speaker = Speaker(protocol, send)
        url = await speaker.begin(len(DATA))
        await speaker.append(url, DATA[:9000], 0)
        storage.fails = True
        answer = await speaker.ask(url)
        assert answer.status == (423 if protocol == "tus" else 503)
        assert int(answer.headers["Retry-After"]) > 0
        storage.fails = False
        assert (await speaker.ask(url)).offset == 9000
        answer = await speaker.append(url, DATA[9000:], 9000, last=True)
        assert answer.status < 300
    assert service.bodies == [DATA]


@both
async def test_nothing_is_written_twice(protocol: str) -> None:
    """Google's store allows one change a second of an object; so there is none."""
    storage = Recording()
    service = Service(storage)
    app = service.app()
    async with serving(app) as address, client(address) as send:
        storage.writes.clear()
        speaker = Speaker(protocol, send)
        url = await speaker.begin(len(DATA))
        for at in range(0, len(DATA), 3000):
            assert (await speaker.ask(url)).offset == at
            last = at + 3000 >= len(DATA)
            answer = await speaker.append(url, DATA[at : at + 3000], at, last=last)
            assert answer.status < 300
        await speaker.append(url, b"", len(DATA), last=True)
        await send.tus("DELETE", url)
        await sweep_uploads(app)
    assert service.bodies == [DATA]
    assert len(storage.writes) > 20
    assert set(storage.writes.values()) == {1}


@both
async def test_a_store_slower_than_its_client_ends_nothing(protocol: str) -> None:
    """No time-out of the client's runs while the store takes its time."""
    storage = Recording()
    service = Service(storage, limits=Limits(idle_timeout=0.1, min_rate=1e9))
    async with service.running() as send:
        speaker = Speaker(protocol, send)
        url = await speaker.begin(len(DATA))
        storage.go_on.clear()
        asyncio.get_running_loop().call_later(0.5, storage.go_on.set)
        answer = await speaker.append(url, DATA, 0, last=True)
        assert answer.status < 300, answer
    assert service.bodies == [DATA]


@both
async def test_names_that_are_not_ascii_reach_a_bucket(
    protocol: str, bucket: Bucket
) -> None:
    """They are in no field of the store's requests that could not take them."""
    service = Service(ObjectStorage(store_of(bucket.port)))
    seen: list[Any] = []

    async def handle(request: web.Request) -> Any:
        async with receive(request) as upload:
            [file] = upload.files.values()
            seen.append((file.filename, file.declared_type))
        told = upload_of(request)
        assert told is not None
        seen.append(told.metadata["filename"])
        return Text("")

    service.handler = handle
    name = "žluťoučký kůň 馬 🐴.txt"
    async with service.running() as send:
        speaker = Speaker(protocol, send)
        if protocol == "tus":
            said = metadata(filename=name, filetype="text/plain", note="ü\n\r\0")
            url = await speaker.begin(len(DATA), Upload_Metadata=said)
            assert (await speaker.ask(url)).headers["Upload-Metadata"] == said
        else:
            encoded = "".join(f"%{byte:02X}" for byte in name.encode())
            url = await speaker.begin(
                len(DATA),
                Content_Type="text/plain",
                Content_Disposition=f"inline; filename*=UTF-8''{encoded}",
            )
        await speaker.append(url, DATA[:9000], 0)
        answer = await speaker.append(url, DATA[9000:], 9000, last=True)
        assert answer.status < 300, answer
    assert seen == [(name, "text/plain"), name]


# -- proxies -----------------------------------------------------------------------------


@pytest.fixture
async def buffered(
    storage: Storage, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[tuple[Client, pytest.LogCaptureFixture]]:
    caplog.set_level(logging.WARNING, "aiostreams.resumable")
    async with Service(storage).running() as send:
        yield send, caplog


@both
async def test_a_proxy_that_takes_complete_requests_is_suspected_once(
    protocol: str, buffered: tuple[Client, pytest.LogCaptureFixture]
) -> None:
    send, caplog = buffered
    speaker = Speaker(protocol, send)
    url = await speaker.begin(len(DATA))
    for _ in range(2):
        await speaker.ask(url, X_Forwarded_For="1.2.3.4")
    assert caplog.text == ""
    for _ in range(3):
        await speaker.ask(url, X_Forwarded_For="1.2.3.4")
    assert caplog.text.count("proxy_request_buffering off") == 1


async def test_no_proxy_is_suspected_where_there_is_none_or_there_is_progress(
    buffered: tuple[Client, pytest.LogCaptureFixture],
) -> None:
    send, caplog = buffered
    speaker = Speaker("tus", send)
    url = await speaker.begin(len(DATA))
    for _ in range(5):
        await speaker.ask(url)
    for at in range(5):
        await speaker.append(url, DATA[at : at + 1], at)
        await speaker.ask(url, X_Forwarded_For="1.2.3.4")
    assert caplog.text == ""
