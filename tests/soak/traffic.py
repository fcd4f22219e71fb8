"""What clients do to the example app: each kind of traffic is a coroutine.

A kind goes through one exchange and checks every byte that it gets. It raises
``Wrong`` when the server answered what it must not. Whatever else it raises is the
network's: a worker may have ended meanwhile, or the client itself left.

A file's bytes follow from its seed, so that a file of any age can be checked without
being kept. ``Ledger`` knows which files were acknowledged: those must be there.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import hashlib
import io
import json
import random
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import unquote

import aiohttp
from yarl import URL

from tests.servers import connected, post

__all__ = ["KINDS", "Client", "Kind", "Ledger", "Wrong", "key_of"]

LARGEST = 512 * 1024
TUS = {"Tus-Resumable": "1.0.0"}
# Whatever an answer is made of arrives within this time, in seconds.
PATIENCE = aiohttp.ClientTimeout(total=60, sock_read=30)


class Wrong(AssertionError):
    """The server broke a promise."""


def content(seed: int, size: int) -> bytes:
    """Return the bytes of a file: one half is noise, the other compresses."""
    noise = random.Random(seed).randbytes(size // 2)
    return noise + bytes(size - len(noise))


@dataclass
class Ledger:
    """The files that the server said it has.

    Attributes:
        files: seed and size of each, by its key.
        unanswered: how many may be there besides: their uploads had no answer.
    """

    files: dict[str, tuple[int, int]] = field(default_factory=dict)
    unanswered: int = 0


@dataclass
class Client:
    """Who sends the traffic."""

    session: aiohttp.ClientSession
    url: URL
    random: random.Random
    ledger: Ledger
    sent: int = 0
    received: int = 0

    def new_file(self, largest: int = LARGEST) -> tuple[int, int, bytes]:
        """Return seed, size and bytes of a file that nobody has."""
        seed = self.random.getrandbits(48)
        size = int(largest ** self.random.random())
        return seed, size, content(seed, size)

    def some_file(self) -> tuple[str, bytes] | None:
        """Return a key that was acknowledged, and what it must have."""
        if not self.ledger.files:
            return None
        key = self.random.choice(list(self.ledger.files))
        return key, content(*self.ledger.files[key])

    def checked(self, got: bytes, expected: bytes, what: str) -> None:
        """Raise Wrong unless they are the same."""
        self.received += len(got)
        if got != expected:
            message = f"{what}: {len(got)} bytes, expected {len(expected)}"
            raise Wrong(message)

    async def check(self, key: str, seed: int, size: int) -> None:
        """Fetch a file, and raise Wrong unless it has the bytes it must have."""
        async with self.session.get(self.url / "files" / key) as answer:
            expect(answer.status, 200, what="at the end")
            self.checked(await answer.read(), content(seed, size), "at the end")


def key_of(described: dict[str, str]) -> str:
    """Return the key of a file that the app describes."""
    return unquote(described["url"]).removeprefix("/files/")


def expect(status: int, *expected: int, what: str) -> None:
    """Raise Wrong for a status that is none of those expected."""
    if status not in expected:
        message = f"{what}: status {status}, expected {expected}"
        raise Wrong(message)


async def form(client: Client) -> None:
    """Upload up to three files by a form, and hold their digests against ours."""
    data = aiohttp.FormData()
    data.add_field("note", "soak")
    files = {}
    for number in range(client.random.randint(1, 3)):
        seed, size, body = client.new_file()
        name = f"{seed}-{number}.bin"
        files[name] = (seed, size, hashlib.sha256(body).hexdigest())
        data.add_field("file", io.BytesIO(body), filename=name)
        client.sent += size
    client.ledger.unanswered += len(files)
    async with client.session.post(client.url / "files", data=data) as answer:
        expect(answer.status, 201, what="form")
        listed = (await answer.json())["files"]
    client.ledger.unanswered -= len(files)
    if len(listed) != len(files):
        message = f"form: {len(listed)} files stored, {len(files)} sent"
        raise Wrong(message)
    for stored in listed:
        seed, size, digest = files[stored["path"].rpartition("/")[2]]
        if (stored["size"], stored["sha256"]) != (size, digest):
            message = f"form: {stored['path']} is stored as something else"
            raise Wrong(message)
        client.ledger.files[key_of(stored)] = seed, size


async def pieces(body: bytes) -> AsyncIterator[bytes]:
    """Yield the bytes in pieces, so that they are sent in chunks."""
    for start in range(0, len(body), 9000):
        yield body[start : start + 9000]


async def put(client: Client) -> None:
    """Put a file: with a length, in chunks, or compressed."""
    seed, size, body = client.new_file()
    key = f"put/{seed}.bin"
    headers: dict[str, str] = {}
    sent: bytes | AsyncIterator[bytes] = body
    how = client.random.choice(("length", "chunks", "gzip"))
    if how == "gzip":
        headers["Content-Encoding"] = "gzip"
        sent = gzip.compress(body, 1)
    elif how == "chunks":
        sent = pieces(body)
    client.sent += size
    client.ledger.unanswered += 1
    async with client.session.put(
        client.url / "files" / key, data=sent, headers=headers
    ) as answer:
        expect(answer.status, 201, what=f"put by {how}")
    client.ledger.unanswered -= 1
    client.ledger.files[key] = seed, size


async def download(client: Client) -> None:
    """Fetch a file, and again if it has changed, which it has not."""
    chosen = client.some_file()
    if chosen is None:
        return
    key, expected = chosen
    url = client.url / "files" / key
    async with client.session.get(url) as answer:
        expect(answer.status, 200, what="download")
        client.checked(await answer.read(), expected, "download")
        etag = answer.headers["ETag"]
    async with client.session.get(url, headers={"If-None-Match": etag}) as answer:
        expect(answer.status, 304, what="download again")


async def ranges(client: Client) -> None:
    """Fetch a file in pieces, as one that resumes a download does."""
    chosen = client.some_file()
    if chosen is None or len(chosen[1]) < 2:
        return
    key, expected = chosen
    cut = client.random.randrange(1, len(expected))
    got = b""
    for asked in (f"bytes=0-{cut - 1}", f"bytes={cut}-"):
        async with client.session.get(
            client.url / "files" / key, headers={"Range": asked}
        ) as answer:
            expect(answer.status, 206, what=f"range {asked}")
            got += await answer.read()
    client.checked(got, expected, "ranges")


async def events(client: Client) -> None:
    """Follow what happens for a while, leave, and come back where it was."""
    last = None
    for _ in range(2):
        headers: dict[str, str] = {} if last is None else {"Last-Event-ID": last}
        async with client.session.get(client.url / "events", headers=headers) as answer:
            expect(answer.status, 200, what="events")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(client.random.uniform(1, 10)):
                    async for line in answer.content:
                        client.received += len(line)
                        if line.startswith(b"id: "):
                            last = line[4:].decode().strip()
                        elif line.startswith(b"data: "):
                            json.loads(line[6:])


async def proxied(client: Client) -> None:
    """Fetch a file by the proxy."""
    chosen = client.some_file()
    if chosen is None:
        return
    key, expected = chosen
    async with client.session.get(client.url / "proxy" / key) as answer:
        expect(answer.status, 200, what="proxy")
        client.checked(await answer.read(), expected, "proxy")


async def archive(client: Client) -> None:
    """Fetch some files as one archive, and read it."""
    chosen = [client.some_file() for _ in range(3)]
    members = dict(filter(None, chosen))
    if not members:
        return
    url = (client.url / "archive").with_query([("key", key) for key in members])
    async with client.session.get(url) as answer:
        expect(answer.status, 200, what="archive")
        packed = await answer.read()
        if len(packed) != answer.content_length:
            message = f"archive: {len(packed)} bytes, said {answer.content_length}"
            raise Wrong(message)
    with zipfile.ZipFile(io.BytesIO(packed)) as file:
        found = {info.filename: file.read(info) for info in file.infolist()}
    client.received += len(packed)
    if sorted(found.values()) != sorted(members.values()):
        message = f"archive: {sorted(found)}, expected {sorted(members)}"
        raise Wrong(message)


async def summary(client: Client) -> None:
    """Send JSON that is right, and some that is not."""
    values = [client.random.randint(-9, 9) for _ in range(client.random.randint(1, 99))]
    url = client.url / "api/summary"
    async with client.session.post(url, json={"values": values}) as answer:
        expect(answer.status, 200, what="summary")
        if (await answer.json())["sum"] != sum(values):
            message = "summary: another sum"
            raise Wrong(message)
    async with client.session.post(url, json={"values": ["x"]}) as answer:
        expect(answer.status, 422, what="summary of a word")


async def running(client: Client) -> None:
    """Send lines one by one, each when the one before was answered."""
    lines: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def body() -> AsyncIterator[bytes]:
        while (line := await lines.get()) is not None:
            yield line

    count = client.random.randint(1, 20)
    lines.put_nowait(b'{"value": 1}\n')
    async with client.session.post(
        client.url / "api/running",
        data=body(),
        headers={"Content-Type": "application/x-ndjson"},
    ) as answer:
        expect(answer.status, 200, what="running")
        for number in range(1, count + 1):
            line = json.loads(await answer.content.readline())
            if "error" in line:  # the status has been sent: the app says it in a line
                raise ConnectionError(line["error"])
            if line["count"] != number:
                message = f"running: line {number} has another count"
                raise Wrong(message)
            lines.put_nowait(b'{"value": 1}\n' if number < count else None)
        client.checked(await answer.read(), b"", "running")


async def slow(client: Client) -> None:
    """Read a file a little at a time, then leave."""
    chosen = client.some_file()
    if chosen is None:
        return
    key, expected = chosen
    async with client.session.get(client.url / "files" / key) as answer:
        expect(answer.status, 200, what="slow download")
        got = b""
        async for piece in answer.content.iter_chunked(2048):
            got += piece
            if len(got) > 64 * 1024:
                break
            await asyncio.sleep(0.1)
        client.checked(got, expected[: len(got)], "slow download")


async def vanishing(client: Client) -> None:
    """Leave in the middle of an upload, by a reset or without a word."""
    seed, size, body = client.new_file()
    key = f"vanished/{seed}.bin"
    request = post(body, path=f"/files/{key}", method="PUT")
    assert client.url.host is not None
    assert client.url.port is not None
    cut = client.random.randrange(1, len(request) - size) + size // 2
    async with connected((client.url.host, client.url.port)) as raw:
        await raw.send(request[: min(cut, len(request) - 1)])
        client.sent += cut
        if client.random.random() < 0.5:
            raw.reset()
    async with client.session.get(client.url / "files" / key) as answer:
        expect(answer.status, 404, what="an upload that was left")


async def malformed(client: Client) -> None:
    """Send what is to be refused."""
    bomb = gzip.compress(bytes(32 << 20), 9)
    cases: tuple[tuple[str, str, bytes, dict[str, str], tuple[int, ...]], ...] = (
        ("POST", "files", b"--b\r\ncut", {"Content-Type": "multipart/form-data; boundary=b"}, (400,)),
        ("POST", "files", b"x", {"Content-Type": "multipart/form-data"}, (400,)),
        ("PUT", "files/bomb.bin", bomb, {"Content-Encoding": "gzip"}, (413,)),
        ("PUT", "files/cut.bin", gzip.compress(b"x" * 999)[:-9], {"Content-Encoding": "gzip"}, (400,)),
        ("PUT", "files/..%2fup", b"x", {}, (400, 404)),
        ("POST", "api/summary", b"[" * 100_000, {"Content-Type": "application/json"}, (400, 413)),
    )  # fmt: skip
    method, path, body, headers, statuses = client.random.choice(cases)
    url = client.url.join(URL(f"/{path}", encoded=True))
    async with client.session.request(
        method, url, data=body, headers=headers
    ) as answer:
        expect(answer.status, *statuses, what=f"malformed: {method} {path}")


async def resumed(client: Client) -> None:
    """Upload by tus: be cut off again and again, ask, and go on until all is there."""
    seed, size, body = client.new_file(4 * LARGEST)
    size = max(size, 1)
    body = content(seed, size)
    name = f"{seed}-tus.bin"
    encoded = base64.b64encode(name.encode()).decode()
    headers = {
        **TUS,
        "Upload-Length": str(size),
        "Upload-Metadata": f"filename {encoded}",
    }
    client.ledger.unanswered += 1
    async with client.session.post(client.url / "files", headers=headers) as answer:
        expect(answer.status, 201, what="tus: create")
        url = client.url.join(URL(answer.headers["Location"], encoded=True))
    offset = sent = reach = 0
    while offset < size:
        piece = body[offset : offset + client.random.randint(1, size)]
        cut = client.random.randint(1, 2 * len(piece))
        sent += min(cut, len(piece))
        with contextlib.suppress(aiohttp.ClientError, OSError):
            await append(client, url, offset, piece, cut)
        # A worker may come late to a request that was left, and take its bytes after
        # it was asked for the offset.
        reach = max(reach, offset + min(cut, len(piece)))
        now = await told(client, url)
        if not offset <= now <= reach:
            message = f"tus: offset {now} after {offset}, {reach} bytes were sent"
            raise Wrong(message)
        offset = now
    client.sent += sent
    query = client.url.joinpath("files").with_query(q=name)
    # Line by line, of all files: a page looks at the first 10,000 only, and says so.
    every = {"Accept": "application/x-ndjson"}
    async with client.session.get(query, headers=every) as answer:
        expect(answer.status, 200, what="tus: search")
        found = [key_of(json.loads(line)) async for line in answer.content]
    if len(found) != 1:
        message = f"tus: {len(found)} files of one upload"
        raise Wrong(message)
    client.ledger.unanswered -= 1
    client.ledger.files[found[0]] = seed, size


async def append(client: Client, url: URL, offset: int, piece: bytes, cut: int) -> None:
    """Send a piece, or break off after its first ``cut`` bytes."""

    async def body() -> AsyncIterator[bytes]:
        yield piece[:cut]
        if cut < len(piece):
            raise ConnectionAbortedError

    headers = {
        **TUS,
        "Content-Type": "application/offset+octet-stream",
        "Content-Length": str(len(piece)),
        "Upload-Offset": str(offset),
    }
    async with client.session.patch(url, data=body(), headers=headers) as answer:
        # 409: the bytes of the request before came after all. 423: are coming.
        expect(answer.status, 204, 409, 423, what="tus: append")


async def told(client: Client, url: URL) -> int:
    """Ask how many bytes are there."""
    async with client.session.head(url, headers=TUS) as answer:
        expect(answer.status, 200, what="tus: ask")
        return int(answer.headers["Upload-Offset"])


async def deleted(client: Client) -> None:
    """Put a file, remove it, and find that it is gone."""
    seed, size, body = client.new_file()
    url = client.url / "files" / f"deleted/{seed}.bin"
    client.sent += size
    client.ledger.unanswered += 1
    async with client.session.put(url, data=body) as answer:
        expect(answer.status, 201, what="put, to be deleted")
    async with client.session.delete(url) as answer:
        expect(answer.status, 204, 404, what="delete")
        if answer.status == 404:
            # aiohttp's client sends a DELETE again when its connection breaks off: the
            # worker that was killed had removed the file, and could not say so.
            raise ConnectionResetError("delete: the first answer was lost")
    client.ledger.unanswered -= 1
    async with client.session.get(url) as answer:
        expect(answer.status, 404, what="a file that was deleted")


Kind = Callable[[Client], Awaitable[None]]
# Each with the pause between two of them, in seconds, for each of its clients.
KINDS: dict[Kind, float] = {
    form: 1.0,
    put: 1.0,
    resumed: 1.0,
    download: 0.5,
    ranges: 0.5,
    events: 0.1,
    proxied: 1.0,
    archive: 3.0,
    summary: 0.5,
    running: 1.0,
    slow: 1.0,
    vanishing: 1.0,
    malformed: 0.5,
    deleted: 0.5,
}
