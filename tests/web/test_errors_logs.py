"""What is logged: an event and its numbers, and nothing that a client wrote.

A client can put a body into a log only if a message has a piece of it: a password out
of a form, or a line that looks like one of the log's own. So none has, whatever is
wrong with the body, and not the text of an error behind it either.
"""

from __future__ import annotations

import gzip
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

import aiostreams
from aiostreams import (
    JSON,
    InvalidContent,
    Limits,
    MalformedBody,
    MemoryStorage,
    StorageError,
    StreamError,
    iter_ndjson,
    iter_parts,
    read_bytes,
    read_content,
    read_form,
    read_json,
    read_text,
    receive,
    setup,
)
from aiostreams.stats import log_stats
from tests.servers import CHUNKED, chunk, connected, post, serving
from tests.waiting import until

# As distinct as no word of ours; and the same with what could forge a line.
SECRET = "XKCD936hunter2"
FORGED = "\r\n2026-01-01 ERROR root: forged \x1b[31m\x85\u2028\u202e" + SECRET


@dataclass
class Model:
    age: int
    name: str = ""


async def as_json(request: web.Request) -> Any:
    return JSON(await read_json(request))


async def as_model(request: web.Request) -> Any:
    await read_json(request, type=Model, content_type=None)
    return JSON(1)


async def as_text(request: web.Request) -> Any:
    return web.Response(text=await read_text(request))


async def as_form(request: web.Request) -> Any:
    await read_form(request)
    return JSON(1)


async def as_form_model(request: web.Request) -> Any:
    await read_form(request, Model)
    return JSON(1)


async def as_parts(request: web.Request) -> Any:
    async for part in iter_parts(request):
        await part.text()
    return JSON(1)


async def as_part_json(request: web.Request) -> Any:
    async for part in iter_parts(request):
        await part.json(type=Model)
    return JSON(1)


async def as_upload(request: web.Request) -> Any:
    async with receive(request, accept={"image/*"}) as upload:
        return JSON(len(upload.files))


async def as_upload_model(request: web.Request) -> Any:
    async with receive(request, form=Model):
        return JSON(1)


async def as_rows(request: web.Request) -> Any:
    return JSON([row async for row in iter_ndjson(request, type=Model)])


async def as_content(request: web.Request) -> Any:
    return await read_content(request)


async def as_bytes(request: web.Request) -> Any:
    return web.Response(body=await read_bytes(request))


HANDLERS = [
    as_json,
    as_model,
    as_text,
    as_form,
    as_form_model,
    as_parts,
    as_part_json,
    as_upload,
    as_upload_model,
    as_rows,
    as_content,
    as_bytes,
]

secret = SECRET.encode()
forged = FORGED.encode()


def part(head: bytes, content: bytes) -> bytes:
    return b"--b\r\n%b\r\n\r\n%b\r\n" % (head, content)


def field(name: bytes, content: bytes, more: bytes = b"") -> bytes:
    return part(b'Content-Disposition: form-data; name="%b"%b' % (name, more), content)


FORM = "multipart/form-data; boundary=b"
URLENCODED = "application/x-www-form-urlencoded"
BODIES: dict[str, tuple[str, bytes]] = {
    "json cut": ("application/json", b'{"password": "' + secret),
    "json word": ("application/json", secret),
    "json twice": ("application/json", b'{"a":1}' + secret),
    "json bytes": ("application/json", b'"\xff' + secret + b'"'),
    "json control": ("application/json", b'"' + forged + b'"'),
    "json wrong type": ("application/json", b'{"age": "%b"}' % secret),
    "json wrong name": ("application/json", b'{"%b": 1}' % secret),
    "json deep": ("application/json", b"[" * 5000 + secret),
    "json number": ("application/json", b'{"age": 1e999, "name": "%b"}' % secret),
    "ndjson": ("application/x-ndjson", b'{"age": 1}\n{"age": "' + secret + b'"}\n'),
    "ndjson cut": ("application/x-ndjson", b'{"age": 1}\n' + secret),
    "text charset": ("text/plain; charset=utf-8", secret + b"\xff" + secret),
    "text unknown": ("text/plain; charset=made-up", secret),
    "text utf-16": ("text/plain; charset=utf-16", secret[:-1]),
    "form value": (URLENCODED, b"age=" + secret),
    "form name": (URLENCODED, secret + b"=1"),
    "form bytes": (URLENCODED, b"age=%FF" + secret),
    "multipart cut": (FORM, field(b"age", secret)),
    "multipart value": (FORM, field(b"age", secret) + b"--b--\r\n"),
    "multipart bytes": (FORM, field(b"age", secret + b"\xff") + b"--b--\r\n"),
    "multipart preamble": (FORM, secret * 2000 + field(b"a", b"") + b"--b--\r\n"),
    "multipart no delimiter": (FORM, secret * 10),
    "multipart bad delimiter": (FORM, b"--b" + secret + b"\r\n"),
    "multipart bad line": (FORM, part(secret, b"") + b"--b--\r\n"),
    "multipart no colon": (FORM, part(secret + b"\r\n" + secret, b"")),
    "multipart long line": (FORM, part(b"A: " + secret * 1000, b"")),
    "multipart many lines": (FORM, part(b"\r\n".join([b"A: " + secret] * 99), b"")),
    "multipart no name": (FORM, part(b"A: " + secret, secret) + b"--b--\r\n"),
    "multipart forged name": (FORM, field(forged, secret) + b"--b--\r\n"),
    "multipart escaped name": (
        FORM,
        field(b"%0D%0A2026 ERROR root: forged", b"\xff") + b"--b--\r\n",
    ),
    "multipart bad base64": (
        "multipart/mixed; boundary=b",
        part(b"Content-Transfer-Encoding: base64", b"!" + secret) + b"--b--\r\n",
    ),
    "multipart unknown transfer": (
        FORM,
        part(b"Content-Transfer-Encoding: " + secret, b"x") + b"--b--\r\n",
    ),
    "multipart part coding": (
        "multipart/mixed; boundary=b",
        part(b"Content-Encoding: gzip", secret) + b"--b--\r\n",
    ),
    "multipart large field": (FORM, field(b"a", secret * 200) + b"--b--\r\n"),
    "multipart many parts": (FORM, field(b"a", secret) * 9 + b"--b--\r\n"),
    "multipart large file": (
        FORM,
        field(b"f", secret * 2000, b'; filename="f"') + b"--b--\r\n",
    ),
    "file of another type": (
        FORM,
        field(b"f", secret, b'; filename="%b.png"' % secret) + b"--b--\r\n",
    ),
    "file with a forged name": (
        FORM,
        field(b"f", secret, b'; filename="%0A' + FORGED[2:].encode() + b'"')
        + b"--b--\r\n",
    ),
    "raw of another type": ("image/png", secret),
    "raw large": ("image/png", secret * 2000),
}
# Ways to send any of them.
WAYS: dict[str, tuple[list[tuple[str, str]], Any]] = {
    "plain": ([], lambda body: body),
    "gzip": ([("Content-Encoding", "gzip")], gzip.compress),
    "not gzip": ([("Content-Encoding", "gzip")], lambda body: body),
    "cut gzip": ([("Content-Encoding", "gzip")], lambda body: gzip.compress(body)[:-3]),
    "another digest": (
        [("Content-Digest", "sha-256=:" + "A" * 43 + "=:")],
        lambda body: body,
    ),
    "forged coding": (
        [("Content-Encoding", "forged\u202e\u2028" + SECRET)],
        lambda body: body,
    ),
}
LIMITS = Limits(
    max_memory=8192, max_body=20_000, max_field=2000, max_parts=5, max_file=20_000
)


class Lines(logging.Handler):
    """All that this package logs, as it would stand in a file: with tracebacks."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        self.lines.append(self.format(record))


@pytest.fixture
def log() -> Iterator[Lines]:
    logger = logging.getLogger("aiostreams")
    lines = Lines()
    logger.addHandler(lines)
    before = logger.level
    logger.setLevel(logging.DEBUG)
    yield lines
    logger.setLevel(before)
    logger.removeHandler(lines)


def application() -> web.Application:
    app = web.Application()
    for handler in HANDLERS:
        app.router.add_post(f"/{handler.__name__}/{{rest:[\\s\\S]*}}", handler)
    return setup(app, limits=LIMITS, storage=MemoryStorage(), on_stats=log_stats())


def check(log: Lines) -> None:
    for line in log.lines:
        assert SECRET not in line, line
        assert "2026-01-01 ERROR" not in line, line
        for record_line in line.split("\n"):
            assert record_line.isprintable(), ascii(record_line)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("handler", HANDLERS)
async def test_no_body_is_logged(handler: Any, way: str, log: Lines) -> None:
    headers, change = WAYS[way]
    statuses = set()
    async with serving(application(), auto_decompress=False) as address:
        for kind, body in BODIES.values():
            sent = [("Content-Type", kind), ("Connection", "close"), *headers]
            head = post(path=f"/{handler.__name__}/", headers=[*sent, *CHUNKED])
            async with connected(address) as raw:
                raw.writer.write(head + chunk(change(body)) + chunk(b""))
                answer = await raw.reader.read()
            # Nothing, where a body is sent back that is found bad at once.
            statuses.add(int(answer.split()[1]) if answer else 0)
    assert max(statuses) < 500
    assert statuses - {200}  # something was wrong, and logged
    assert any(record.name == "aiostreams.web" for record in log.records)
    check(log)


async def test_path_is_escaped_and_cut(log: Lines) -> None:
    async with serving(application()) as address, connected(address) as raw:
        path = "/as_json/%0D%0A%1B[31m%E2%80%AE" + "x" * 2000
        await raw.send(post(b"{", path=path))
        assert (await raw.response())[0] == 400
    (line,) = (line for line in log.lines if "body refused" in line)
    assert r"/as_json/\r\n\x1b[31m\u202ex" in line
    assert len(line) < 700
    check(log)


async def test_client_that_goes_is_logged_with_numbers_only(log: Lines) -> None:
    async with serving(application()) as address:
        async with connected(address) as raw:
            await raw.send(post(secret * 100, path="/as_text/")[:-1])
        await until(lambda: log.lines and "request" in log.lines[-1])
    check(log)
    assert [(record.name, record.levelname) for record in log.records] == [
        ("aiostreams.web", "INFO"),
        ("aiostreams.stats", "INFO"),
    ]


@pytest.mark.parametrize(
    ("error", "levels"),
    [
        (MalformedBody("the body is no good"), ["INFO"]),
        (InvalidContent("no", errors=[("age", "Input should be 1")]), ["INFO"]),
        (StorageError("the disk is full"), ["ERROR"]),
        (StreamError("ours"), ["ERROR"]),
    ],
)
async def test_level_says_whose_fault_it_is(
    error: StreamError, levels: list[str], log: Lines
) -> None:
    async def fail(request: web.Request) -> web.Response:
        raise error

    app = web.Application()
    app.router.add_post("/", fail)
    setup(app)
    async with serving(app) as address, connected(address) as raw:
        await raw.send(post(b""))
        await raw.response()
    assert [record.levelname for record in log.records] == levels
    # Ours come with a traceback.
    assert ["Traceback" in line for line in log.lines] == [levels == ["ERROR"]]


def test_loggers_are_those_of_the_guide() -> None:
    root = Path(aiostreams.__file__).parent
    used = set()
    for path in root.rglob("*.py"):
        text = path.read_text()
        used |= set(re.findall(r'getLogger\("([\w.]+)"\)', text))
        used |= set(
            re.findall(r'^STATS_LOGGER: Final = "([\w.]+)"', text, re.MULTILINE)
        )
    page = (root.parent / "docs/guides/stats.md").read_text()
    named = set(re.findall(r"^\| `(aiostreams\.\w+)` \|", page, re.MULTILINE))
    assert named == used
