"""The same exchanges with ``@tus/server``, the server of those who keep the protocol.

Each is a question, and what is heard a few words. Where the two differ the page on
resumable uploads says so: ``python -m tests.web.resumable.test_tus_server`` writes
its table, and the test holds it to what is heard.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import re
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

from aiostreams import (
    DiskStorage,
    Text,
    resumable_route,
    setup,
)
from tests.node import FOLDER, node, node_with
from tests.servers import connected, post, serving

from .server import Answer, Client

PAGE = Path(__file__).parents[3] / "docs/design/resumable.md"
SCRIPT = Path(__file__).parents[2] / "benchmarks/tus_server.mjs"
CHUNK = "application/offset+octet-stream"
MOST = 1000
# For how long a client stays behind its bytes, in seconds. Of one that leaves at once
# @tus/server may keep nothing, and that depends on the moment.
NOTICED = 1.0


# -- the two servers -------------------------------------------------------------------


@contextlib.asynccontextmanager
async def ours(folder: Path) -> AsyncIterator[Client]:
    async def done(_request: web.Request, _file: Any) -> Text:
        return Text("stored")

    app = web.Application()
    app.add_routes([resumable_route("/files", done, max_size=MOST)])
    setup(app, storage=DiskStorage(folder))
    async with (
        serving(app) as (host, port),
        aiohttp.ClientSession(f"http://{host}:{port}") as session,
    ):
        yield Client(session)


@contextlib.asynccontextmanager
async def theirs(folder: Path) -> AsyncIterator[Client]:
    process = await asyncio.create_subprocess_exec(
        node(), str(SCRIPT), str(FOLDER), str(folder), json.dumps({"maxSize": MOST}),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30):
            port = int(await process.stdout.readline())
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            yield Client(session)
    finally:
        process.kill()
        await process.wait()


# -- exchanges -------------------------------------------------------------------------

Exchange = Callable[[Client], Awaitable[str]]
EXCHANGES: dict[str, Exchange] = {}


def asks(question: str) -> Callable[[Exchange], Exchange]:
    def add(exchange: Exchange) -> Exchange:
        EXCHANGES[question] = exchange
        return exchange

    return add


async def create(send: Client, length: int = 10, **fields: str) -> str:
    answer = await send.tus("POST", "/files", Upload_Length=str(length), **fields)
    assert answer.status == 201, answer
    return answer.headers["Location"]


async def patch(
    send: Client, url: str, data: bytes, offset: int = 0, **fields: str
) -> Answer:
    return await send.tus("PATCH", url, data, Upload_Offset=str(offset), **fields)


async def offset_of(send: Client, url: str) -> str:
    answer = await send.tus("HEAD", url)
    if answer.status >= 400:
        return f"HEAD {answer.status}"
    return f"offset {answer.headers.get('Upload-Offset', 'not said')}"


def both(answer: Answer, then: str) -> str:
    return f"{answer.status}, {then}"


@asks("`POST` with a length")
async def _(send: Client) -> str:
    answer = await send.tus("POST", "/files", Upload_Length="10")
    url = answer.headers["Location"]
    kind = "absolute" if url.startswith("http") else "relative"
    return f"{answer.status}, {kind} `Location`"


@asks("`POST` without one")
async def _(send: Client) -> str:
    return str((await send.tus("POST", "/files")).status)


@asks("`POST` with one, and with `Upload-Defer-Length`")
async def _(send: Client) -> str:
    fields = {"Upload_Length": "10", "Upload_Defer_Length": "1"}
    return str((await send.tus("POST", "/files", **fields)).status)


@asks("`POST` with a length that is no number")
async def _(send: Client) -> str:
    return str((await send.tus("POST", "/files", Upload_Length="ten")).status)


@asks("`POST` above the largest size")
async def _(send: Client) -> str:
    return str((await send.tus("POST", "/files", Upload_Length="1001")).status)


@asks("`POST` with a key twice in `Upload-Metadata`")
async def _(send: Client) -> str:
    answer = await send.tus(
        "POST", "/files", Upload_Length="10", Upload_Metadata="a YQ==,a Yg=="
    )
    return str(answer.status)


@asks("`POST` with a value that is no base64")
async def _(send: Client) -> str:
    answer = await send.tus("POST", "/files", Upload_Length="10", Upload_Metadata="a *")
    return str(answer.status)


@asks("`POST` with all bytes")
async def _(send: Client) -> str:
    answer = await send.tus(
        "POST", "/files", b"0123456789", Upload_Length="10", Content_Type=CHUNK
    )
    return f"{answer.status}, offset {answer.offset}"


@asks("`POST` of length 0")
async def _(send: Client) -> str:
    return await offset_of(send, await create(send, 0))


@asks("Another version in `Tus-Resumable`")
async def _(send: Client) -> str:
    answer = await send.tus("POST", "/files", Upload_Length="10", Tus_Resumable="0.2.2")
    told = answer.headers.get("Tus-Version")
    return f"{answer.status}, " + (f"`Tus-Version: {told}`" if told else "nothing")


@asks("`PATCH` without `Tus-Resumable`")
async def _(send: Client) -> str:
    url = await create(send)
    fields = {"Content-Type": CHUNK, "Upload-Offset": "0"}
    answer = await send.send("PATCH", url, b"01234", fields)
    return both(answer, await offset_of(send, url))


@asks("`OPTIONS`")
async def _(send: Client) -> str:
    answer = await send("OPTIONS", "/files")
    said = answer.headers.get("Tus-Extension", "").split(",")
    return f"{answer.status}, {', '.join(sorted(name.strip() for name in said))}"


@asks("`HEAD` of a new upload")
async def _(send: Client) -> str:
    answer = await send.tus("HEAD", await create(send))
    cache = answer.headers.get("Cache-Control")
    length = answer.headers.get("Upload-Length")
    return f"{answer.status}, offset {answer.offset} of {length}, `{cache}`"


@asks("`HEAD` of none")
async def _(send: Client) -> str:
    url = await create(send)
    answer = await send.tus("HEAD", url[:-3] + "zzz")
    return str(answer.status)


@asks("`PATCH` of another media type")
async def _(send: Client) -> str:
    url = await create(send)
    answer = await patch(send, url, b"01234", Content_Type="text/plain")
    return both(answer, await offset_of(send, url))


@asks("`PATCH` at another offset")
async def _(send: Client) -> str:
    url = await create(send)
    answer = await patch(send, url, b"01234", 5)
    told = "with the right one" if answer.offset == 0 else "without the right one"
    return both(answer, f"{told}, {await offset_of(send, url)}")


@asks("`PATCH` without an offset")
async def _(send: Client) -> str:
    url = await create(send)
    answer = await send.tus("PATCH", url, b"01234")
    return both(answer, await offset_of(send, url))


@asks("`PATCH` with more than is missing")
async def _(send: Client) -> str:
    url = await create(send)
    answer = await patch(send, url, b"0123456789abc")
    return both(answer, await offset_of(send, url))


@asks("`PATCH` with more than is missing, of unknown length")
async def _(send: Client) -> str:
    url = await create(send)

    async def pieces() -> AsyncIterator[bytes]:
        yield b"01234"
        yield b"56789abc"

    answer = await patch(send, url, pieces())  # type: ignore[arg-type]
    return both(answer, await offset_of(send, url))


@asks("`PATCH` with the last bytes")
async def _(send: Client) -> str:
    url = await create(send)
    first = await patch(send, url, b"01234")
    return f"{first.status}, {(await patch(send, url, b'56789', 5)).status}"


@asks("`PATCH` with nothing, when all is there")
async def _(send: Client) -> str:
    url = await create(send)
    await patch(send, url, b"0123456789")
    return str((await patch(send, url, b"", 10)).status)


def started(url: str, *more: tuple[str, str]) -> bytes:
    fields = [
        ("Tus-Resumable", "1.0.0"),
        ("Content-Type", CHUNK),
        ("Upload-Offset", "0"),
        ("Content-Length", "10"),
        *more,
    ]
    return post(method="PATCH", path=URL(url).raw_path_qs, headers=fields)


def address_of(send: Client) -> tuple[str, int]:
    base = send.session._base_url
    assert base is not None
    return str(base.host), int(base.port or 0)


async def settled(send: Client, url: str) -> str:
    """How far it is once it has noticed that its client is gone, which takes a moment."""
    now = ""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(5):
            while (now := await offset_of(send, url)) != "offset 5":
                await asyncio.sleep(0.1)
    return now


@asks("`PATCH` that is cut short after 5 of 10 bytes")
async def _(send: Client) -> str:
    url = await create(send)
    async with connected(address_of(send)) as raw:
        await raw.send(started(url) + b"01234")
        await asyncio.sleep(NOTICED)
    return await settled(send, url)


@asks("`PATCH` that is cut short, with a checksum")
async def _(send: Client) -> str:
    url = await create(send)
    digest = base64.b64encode(hashlib.sha1(b"0123456789").digest()).decode()
    async with connected(address_of(send)) as raw:
        await raw.send(started(url, ("Upload-Checksum", f"sha1 {digest}")) + b"01234")
        await asyncio.sleep(NOTICED)
    return await settled(send, url)


@asks("`PATCH` that falls silent, and another one")
async def _(send: Client) -> str:
    url = await create(send)
    async with connected(address_of(send)) as raw:
        await raw.send(started(url) + b"01234")
        await asyncio.sleep(NOTICED)
        try:
            async with asyncio.timeout(20):
                kept = await settled(send, url)
                offset = int(kept.removeprefix("offset "))
                answer = await patch(send, url, b"0123456789"[offset:], offset)
        except TimeoutError:
            return "no"
    return both(answer, kept)


@asks("A wrong `Upload-Checksum`")
async def _(send: Client) -> str:
    url = await create(send)
    wrong = base64.b64encode(bytes(20)).decode()
    answer = await patch(send, url, b"01234", Upload_Checksum=f"sha1 {wrong}")
    return both(answer, await offset_of(send, url))


@asks("A deferred length")
async def _(send: Client) -> str:
    answer = await send.tus("POST", "/files", Upload_Defer_Length="1")
    url = answer.headers["Location"]
    told = await send.tus("HEAD", url)
    deferred = told.headers.get("Upload-Defer-Length")
    answer = await patch(send, url, b"01234", Upload_Length="5")
    return f"`Upload-Defer-Length: {deferred}`, {answer.status}"


@asks("A length that is another one later")
async def _(send: Client) -> str:
    url = await create(send)
    answer = await patch(send, url, b"01234", Upload_Length="20")
    return both(answer, await offset_of(send, url))


@asks("A deferred length above the largest size")
async def _(send: Client) -> str:
    answer = await send.tus("POST", "/files", Upload_Defer_Length="1")
    url = answer.headers["Location"]
    answer = await patch(send, url, bytes(1001))
    return both(answer, await offset_of(send, url))


@asks("`DELETE`")
async def _(send: Client) -> str:
    url = await create(send)
    answer = await send.tus("DELETE", url)
    return both(answer, await offset_of(send, url))


@asks("`DELETE` when all is there")
async def _(send: Client) -> str:
    url = await create(send)
    await patch(send, url, b"0123456789")
    answer = await send.tus("DELETE", url)
    return both(answer, await offset_of(send, url))


@asks("`X-HTTP-Method-Override`")
async def _(send: Client) -> str:
    url = await create(send)
    answer = await send.tus(
        "POST", url, b"01234", Upload_Offset="0", Content_Type=CHUNK,
        X_HTTP_Method_Override="PATCH",
    )  # fmt: skip
    return both(answer, await offset_of(send, url))


@asks("`Upload-Concat`")
async def _(send: Client) -> str:
    answer = await send.tus(
        "POST", "/files", Upload_Length="5", Upload_Concat="partial"
    )
    if answer.status != 201:
        return str(answer.status)
    part = answer.headers["Location"]
    await patch(send, part, b"01234")
    answer = await send.tus("POST", "/files", Upload_Concat=f"final;{part} {part}")
    if answer.status != 201:
        return str(answer.status)
    return both(answer, await offset_of(send, answer.headers["Location"]))


# -- what is heard ---------------------------------------------------------------------


async def heard(server: Any) -> dict[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        async with server(Path(folder)) as send:
            return {
                question: await exchange(send)
                for question, exchange in EXCHANGES.items()
            }


async def table() -> str:
    """All questions in which the two differ."""
    one, other = await asyncio.gather(heard(ours), heard(theirs))
    package = FOLDER / "node_modules/@tus/server/package.json"
    version = json.loads(package.read_text())["version"]
    rows = [f"| | aiostreams | @tus/server {version} |", "|---|---|---|"]
    rows += [
        f"| {question} | {one[question]} | {other[question]} |"
        for question in EXCHANGES
        if one[question] != other[question]
    ]
    same = sum(one[question] == other[question] for question in EXCHANGES)
    rows += ["", f"In {same} of {len(EXCHANGES)} exchanges both answer the same."]
    return "\n".join(rows)


_PLACE = re.compile(r"(<!-- tus-server -->\n).*?(<!-- end -->)", re.DOTALL)


def with_table(page: str, made: str) -> str:
    return _PLACE.sub(f"\\1{made}\n\n\\2", page)


async def test_differences_are_those_of_the_page() -> None:
    node_with("@tus/server")
    text = PAGE.read_text()
    assert _PLACE.search(text)
    assert text == with_table(text, await table()), f"python -m {__name__}"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(asyncio.run(table()))
    else:
        PAGE.write_text(with_table(PAGE.read_text(), asyncio.run(table())))
