"""One matrix of conditions and ranges, over every source that can seek.

The answers are worked out here once more, from the text of RFC 9110 (13.2.2, 14.2)
and with none of the package's own decisions, and are compared with those of a real
server. Every source has the same bytes; its validators are asked of the server, as
a client would.
"""

from __future__ import annotations

import asyncio
import contextlib
import email
import email.policy
import functools
import itertools
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from email.utils import formatdate, parsedate_to_datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web

from aiostreams import (
    ByteStream,
    DiskStorage,
    File,
    FileStream,
    MemoryStorage,
    ObjectStorage,
    Storage,
    Stream,
    respond,
    setup,
)
from tests.digests import digest_of
from tests.servers import Raw, connected, post, serving

DATA = bytes(range(256)) * 4
DAY = 86_400
MODIFIED = 1_600_000_000


class Mine(Stream):
    """A user's own source: it says that it can seek by overriding ``slice``."""

    etag = "mine-1"
    last_modified = MODIFIED

    def __init__(self, data: bytes = DATA) -> None:
        super().__init__(size=len(data), content_type="text/x-mine")
        self.data = data

    async def readany(self) -> bytes:
        return self.data[self.position :][:100]

    async def slice(self, offset: int, length: int | None = None) -> Stream:
        end = None if length is None else offset + length
        return Mine(self.data[offset:end])


Make = Callable[[], Awaitable[Any]]


@contextlib.asynccontextmanager
async def plain(make: Callable[[Path], Any], folder: Path) -> AsyncIterator[Make]:
    path = folder / "data.txt"
    path.write_bytes(DATA)

    async def value() -> Any:
        return make(path)

    yield value


@contextlib.asynccontextmanager
async def stored(
    storage: Callable[[Path], Storage], folder: Path
) -> AsyncIterator[Make]:
    async with storage(folder / "root") as store:
        async with await store.create("a/data.txt", content_type="text/plain") as sink:
            await sink.write(DATA)
        yield lambda: store.open("a/data.txt")


def object_storage(folder: Path) -> Storage:
    obstore = pytest.importorskip("obstore.store", reason="needs the extra s3")
    return ObjectStorage(obstore.MemoryStore(), prefix="here")


def given(make: Callable[[], Any]) -> Any:
    return respond(make(), etag="given", last_modified=MODIFIED)


def in_fields(make: Callable[[], Any]) -> Any:
    date = formatdate(MODIFIED, usegmt=True)
    return respond(make(), headers={"ETag": '"field"', "Last-Modified": date})


SOURCES: dict[str, Callable[[Path], contextlib.AbstractAsyncContextManager[Make]]] = {
    "bytes": functools.partial(plain, lambda path: given(lambda: ByteStream(DATA))),
    "bytes, fields": functools.partial(
        plain, lambda path: in_fields(lambda: ByteStream(DATA))
    ),
    "File": functools.partial(plain, File),
    "File of bytes": functools.partial(
        plain, lambda path: given(lambda: File(DATA, name="a.txt"))
    ),
    "File of a Stream": functools.partial(
        plain, lambda path: File(Mine(), name="a.html", content_type="text/html")
    ),
    "FileStream": functools.partial(plain, FileStream),
    "a user's Stream": functools.partial(plain, lambda path: Mine()),
    "MemoryStorage": functools.partial(stored, lambda folder: MemoryStorage()),
    "DiskStorage": functools.partial(stored, DiskStorage),
    "ObjectStorage": functools.partial(stored, object_storage),
}


class Served:
    """A source on a server, and one connection to it.

    Attributes:
        etag: as the server says, quoted.
        modified: of Last-Modified, in POSIX seconds.
    """

    etag: str
    modified: float

    def __init__(self, raw: Raw) -> None:
        self._raw = raw

    async def ask(
        self, fields: Iterable[tuple[str, str]] = (), method: str = "GET"
    ) -> tuple[int, dict[str, str], bytes]:
        self._raw.writer.write(post(None, method=method, headers=fields))
        if method != "HEAD":
            return await self._raw.response()
        head = (await self._raw.reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.rstrip().split("\r\n")
        pairs = [line.split(": ", 1) for line in lines]
        return int(first.split()[1]), {k.lower(): v for k, v in pairs}, b""


@pytest.fixture(params=list(SOURCES.values()), ids=list(SOURCES))
async def served(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Served]:
    # Tomorrow, for If-Range does not trust a date that is not over.
    tomorrow = SimpleNamespace(time=lambda: time.time() + DAY)
    monkeypatch.setattr("aiostreams.web.response.time", tomorrow)
    async with request.param(tmp_path) as make:

        async def handler(_request: web.Request) -> Any:
            return await make()

        app = web.Application()
        app.router.add_route("*", "/", handler)
        async with serving(setup(app)) as address, connected(address) as raw:
            source = Served(raw)
            status, headers, body = await source.ask()
            assert (status, body) == (200, DATA)
            assert headers["accept-ranges"] == "bytes"
            assert headers["content-length"] == str(len(DATA))
            source.etag = headers["etag"]
            source.modified = parsedate_to_datetime(
                headers["last-modified"]
            ).timestamp()
            yield source


# -- the RFC, once more -------------------------------------------------------------

# Each field's values, by what they are to the representation.
MATCH = {"none": None, "same": '"x", %s', "other": '"other"', "weak": "W/%s", "*": "*"}
SINCE = {"none": None, "same": 0, "earlier": -DAY, "later": DAY, "no date": "soon"}
IF_RANGE = {**MATCH, "date": 0, "other date": -DAY}
del IF_RANGE["*"]
RANGE = {
    "none": None,
    "one": "bytes=5-9",
    "suffix": "bytes=-7",
    "two": "bytes=0-0, 1000-",
    "beyond": "bytes=1024-",
    "unit": "lines=1-2",
    "malformed": "bytes=9-5",
}
METHODS = ("GET", "HEAD")


def expected(
    method: str, match: str, unmodified: str, none: str, modified: str, ranged: str
) -> int:
    """The status by RFC 9110 13.2.2, but for If-Range and Range."""
    if match == "none":
        if unmodified == "earlier":
            return 412
    elif match not in {"same", "*"}:
        return 412
    if none == "none":
        if modified in {"same", "later"}:
            return 304
    elif none in {"same", "weak", "*"}:
        return 304
    if method == "HEAD":
        return 200
    return {"one": 206, "suffix": 206, "two": 206, "beyond": 416}.get(ranged, 200)


def fields(source: Served, **kinds: str) -> list[tuple[str, str]]:
    tables: dict[str, dict[str, Any]] = {
        "If-Match": MATCH,
        "If-Unmodified-Since": SINCE,
        "If-None-Match": MATCH,
        "If-Modified-Since": SINCE,
        "If-Range": IF_RANGE,
        "Range": RANGE,
    }
    found = []
    for (name, table), kind in zip(tables.items(), kinds.values(), strict=False):
        value = table[kind]
        if isinstance(value, int):
            value = formatdate(source.modified + value, usegmt=True)
        elif value is not None and "%s" in value:
            value %= source.etag
        if value is not None:
            # One If-Range is one tag, no list.
            found.append(
                (name, value.removeprefix('"x", ') if name == "If-Range" else value)
            )
    return found


async def check(source: Served, method: str, kinds: tuple[str, ...]) -> None:
    names = ("match", "unmodified", "none", "modified", "if_range", "ranged")
    chosen = dict(zip(names, kinds, strict=True))
    sent = fields(source, **chosen)
    status, headers, body = await source.ask(sent, method)
    if_range = chosen.pop("if_range")
    if if_range not in {"none", "same", "date"}:
        chosen["ranged"] = "none"
    wanted = expected(method, **chosen)
    assert status == wanted, (method, sent)
    if status == 200:
        assert body == (b"" if method == "HEAD" else DATA)
        assert headers["content-length"] == str(len(DATA))
        assert headers["etag"] == source.etag
    elif status == 206:
        assert headers["etag"] == source.etag
        assert headers["content-length"] == str(len(body))
        start, stop = {"one": (5, 10), "suffix": (1017, 1024)}.get(
            chosen["ranged"], (0, 0)
        )
        if stop:
            assert body == DATA[start:stop]
            assert headers["content-range"] == f"bytes {start}-{stop - 1}/1024"
        else:
            assert [part[1] for part in parts(headers, body)] == [DATA[:1], DATA[1000:]]
    elif status == 304:
        assert headers["etag"] == source.etag
        assert not {"content-type", "content-length", "content-range"} & set(headers)
    elif status == 412:
        assert "etag" not in headers
    else:
        assert headers["content-range"] == "bytes */1024"


def parts(headers: dict[str, str], body: bytes) -> list[tuple[dict[str, str], bytes]]:
    """The parts of a multipart/byteranges body, read by the standard library."""
    head = f"Content-Type: {headers['content-type']}\r\n\r\n".encode()
    message = email.message_from_bytes(head + body, policy=email.policy.HTTP)
    assert message.get_content_type() == "multipart/byteranges"
    assert not message.defects
    read = []
    # It knows no binary: the contents are cut out here.
    boundary = b"\r\n--" + str(message.get_boundary()).encode()
    assert body.endswith(boundary + b"--\r\n")
    for part in (b"\r\n" + body).split(boundary)[1:-1]:
        top, _, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        lines = (line.partition(": ") for line in top.decode().split("\r\n"))
        read.append(({name.lower(): value for name, _, value in lines}, content))
    assert len(list(message.iter_parts())) == len(read)
    return read


async def test_preconditions_are_evaluated_in_the_order_of_13_2_2(
    served: Served,
) -> None:
    """Every pair of methods and of the four fields: 1,250 requests for a source."""
    for method, *kinds in itertools.product(METHODS, MATCH, SINCE, MATCH, SINCE):
        await check(served, method, (*kinds, "none", "none"))


async def test_if_range_and_range_come_after_the_preconditions(
    served: Served,
) -> None:
    for method, if_range, ranged in itertools.product(METHODS, IF_RANGE, RANGE):
        await check(served, method, ("none",) * 4 + (if_range, ranged))
    # All six together are 52,500; some of them, the same ones each time.
    draw = random.Random(9110)
    tables = (MATCH, SINCE, MATCH, SINCE, IF_RANGE, RANGE)
    for _ in range(400):
        kinds = tuple(draw.choice(list(table)) for table in tables)
        await check(served, draw.choice(METHODS), kinds)


async def test_many_ranges_are_parts_in_the_order_they_were_asked_for(
    served: Served,
) -> None:
    ends = [(first, first + first % 7) for first in range(990, 0, -10)]
    value = "bytes=" + ",".join(f"{first}-{last}" for first, last in ends)
    status, headers, body = await served.ask([("Range", value)])
    assert status == 206
    assert "content-range" not in headers
    kind = (await served.ask(method="HEAD"))[1]["content-type"]
    found = parts(headers, body)
    assert [content for _, content in found] == [DATA[a : b + 1] for a, b in ends]
    assert [part["content-range"] for part, _ in found] == [
        f"bytes {first}-{last}/1024" for first, last in ends
    ]
    assert {part["content-type"] for part, _ in found} == {kind}


@pytest.mark.parametrize(
    "value",
    [
        "bytes=" + ",".join(f"{n}-{n}" for n in range(1000)),  # too many
        "bytes=" + "0-," * 99 + "0-",  # more than there is
        "bytes=0-5,3-9,4-12",  # three that overlap
        "bytes=" + "1" * 5000 + "-",  # int() would not take it; beyond, yet
        "bytes=٣-٤",  # digits, but not of ASCII
        "bytes=0-0;q=1",
        "bytes=-",
        "bytes",
    ],
)
async def test_hostile_ranges_cost_no_more_than_the_whole(
    served: Served, value: str
) -> None:
    status, headers, body = await served.ask([("Range", value)])
    if "11111" in value:
        assert (status, headers["content-range"]) == (416, "bytes */1024")
    else:
        assert (status, body) == (200, DATA)


async def test_a_client_puts_a_download_together(served: Served) -> None:
    """Piece by piece, each bound to the version of the first by If-Range."""
    got = b""
    while len(got) < len(DATA):
        asked = [
            ("Range", f"bytes={len(got)}-{len(got) + 99}"),
            ("If-Range", served.etag),
        ]
        status, _, body = await served.ask(asked)
        assert status == 206
        got += body
    assert got == DATA


# -- what a handler says about it ---------------------------------------------------


@contextlib.asynccontextmanager
async def answering(make: Callable[[], Any]) -> AsyncIterator[Served]:
    async def handler(_request: web.Request) -> Any:
        return make()

    app = web.Application()
    app.router.add_route("*", "/", handler)
    async with serving(setup(app)) as address, connected(address) as raw:
        yield Served(raw)


async def test_cache_control_goes_with_the_representation_only() -> None:
    more = {
        "Cache-Control": "max-age=31536000, immutable",
        "Vary": "Cookie",
        "X-Id": "7",
    }
    async with answering(
        lambda: respond(ByteStream(DATA), etag="a", headers=more)
    ) as served:
        for asked, status in (
            ((), 200),
            (("Range", "bytes=0-1"), 206),
            (("If-None-Match", '"a"'), 304),
        ):
            got, headers, _ = await served.ask([asked] if asked else [])
            assert got == status
            assert headers["cache-control"] == "max-age=31536000, immutable"
            assert "Cookie" in headers["vary"]
        for asked, status in (
            (("Range", "bytes=5000-"), 416),
            (("If-Match", '"b"'), 412),
        ):
            got, headers, _ = await served.ask([asked])
            # A cache would keep the refusal for a year.
            assert (got, "cache-control" in headers) == (status, False)
            assert headers["x-id"] == "7"


async def test_a_handlers_own_fields_do_not_contradict_the_answer() -> None:
    length = {"Content-Length": str(len(DATA))}
    async with answering(lambda: respond(ByteStream(DATA), headers=length)) as served:
        assert (await served.ask())[2] == DATA
        for value, size in (("bytes=1-2", 2), ("bytes=1-2,5-5", None)):
            status, headers, body = await served.ask([("Range", value)])
            assert (status, headers["content-length"]) == (206, str(len(body)))
            assert size in {None, len(body)}
    no_ranges = {"Accept-Ranges": "none"}
    async with answering(
        lambda: respond(ByteStream(DATA), headers=no_ranges)
    ) as served:
        status, headers, body = await served.ask([("Range", "bytes=1-2")])
        assert (status, headers["accept-ranges"], body) == (200, "none", DATA)
    unreadable = {"ETag": "v1", "Last-Modified": "today"}
    async with answering(
        lambda: respond(ByteStream(DATA), etag="a", headers=unreadable)
    ) as served:
        asked = [("If-None-Match", '"a"'), ("Range", "bytes=1-2"), ("If-Range", '"a"')]
        status, headers, body = await served.ask(asked)
        assert (status, headers["etag"], body) == (200, "v1", DATA)


async def test_what_is_said_of_the_whole_is_not_said_of_less() -> None:
    more = {
        "Content-Digest": digest_of(DATA),
        "Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg==",
        "Repr-Digest": digest_of(DATA),
        "Content-Language": "de",
    }
    of_the_content = {"content-digest", "content-md5"}
    names = {name.lower() for name in more}
    async with answering(
        lambda: respond(ByteStream(DATA), etag="a", headers=more)
    ) as served:
        for fields, expected, kept in (
            ([], 200, names),
            ([("Range", "bytes=1-2")], 206, names - of_the_content),
            ([("Range", "bytes=1-2,5-5")], 206, names - of_the_content),
            ([("Range", f"bytes={len(DATA)}-")], 416, set()),
            ([("If-Match", '"b"')], 412, set()),
            ([("If-None-Match", '"a"')], 304, set()),
        ):
            status, headers, _ = await served.ask(fields)
            assert (status, names.intersection(headers)) == (expected, kept)


async def test_ranges_of_a_body_that_says_no_type() -> None:
    def make() -> web.StreamResponse:
        response = respond(ByteStream(DATA))
        del response.headers["Content-Type"]
        return response

    async with answering(make) as served:
        status, headers, body = await served.ask([("Range", "bytes=0-1,5-6")])
        assert status == 206
        assert headers["content-type"].startswith("multipart/byteranges; boundary=")
        assert b"Content-Type" not in body
        assert DATA[5:7] in body


async def test_a_weak_tag_finds_its_304_and_no_range() -> None:
    headers = {"ETag": 'W/"a"'}
    async with answering(lambda: respond(ByteStream(DATA), headers=headers)) as served:
        assert (await served.ask([("If-None-Match", '"a"')]))[0] == 304
        assert (await served.ask([("If-Match", 'W/"a"')]))[0] == 412
        ranged = ("Range", "bytes=0-1")
        assert (await served.ask([ranged, ("If-Range", 'W/"a"')]))[0] == 200
        assert (await served.ask([ranged]))[0] == 206


async def test_other_methods_answer_whole() -> None:
    async with answering(lambda: respond(ByteStream(DATA), etag="a")) as served:
        asked = [("Range", "bytes=0-1"), ("If-None-Match", '"a"')]
        for method in ("POST", "PUT", "DELETE"):
            status, _, body = await served.ask(asked, method)
            assert (status, body) == (200, DATA)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ByteStream(DATA, content_type="text/html\r\nX-Evil: 1"),
        lambda: File(DATA, content_type="text/html\nX-Evil: 1"),
        lambda: File(DATA, content_type="text/html\0"),
        lambda: respond(ByteStream(DATA), headers={"X-Name": "a\r\nX-Evil: 1"}),
        lambda: respond(ByteStream(DATA), disposition="inline\r\nX-Evil: 1"),
        lambda: respond(ByteStream(DATA), disposition="inline; x"),
        lambda: respond(ByteStream(DATA), etag='a"\r\nX-Evil: 1'),
    ],
)
@pytest.mark.parametrize("value", [None, "bytes=0-1", "bytes=0-1,5-6"])
async def test_a_type_or_name_that_would_inject_is_a_500(
    make: Callable[[], Any], value: str | None
) -> None:
    async with answering(make) as served:
        asked = [] if value is None else [("Range", value)]
        status, headers, body = await served.ask(asked)
        assert status == 500
        assert "x-evil" not in headers
        assert b"Evil" not in body


async def test_what_cannot_be_answered_is_closed() -> None:
    stream = ByteStream(DATA, content_type="text/html\n")
    async with answering(lambda: stream) as served:
        assert (await served.ask())[0] == 500
    assert stream.closed


async def test_a_source_replaced_between_two_ranges_is_never_mixed(
    tmp_path: Path,
) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"old" * 100)
    async with answering(lambda: File(path)) as served:
        _, headers, first = await served.ask([("Range", "bytes=0-149")])
        (tmp_path / "new").write_bytes(b"new" * 100)
        await asyncio.to_thread((tmp_path / "new").replace, path)
        asked = [("Range", "bytes=150-"), ("If-Range", headers["etag"])]
        status, headers, body = await served.ask(asked)
    assert (status, first, body) == (200, b"old" * 50, b"new" * 100)
