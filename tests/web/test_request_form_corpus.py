"""The corpus of multipart bodies through a real server, part by part and as forms.

The same bodies as in ``tests/test_corpus.py``, now over kept-alive connections, with a
Content-Length and chunked. Whatever they are, the answer is 200 with parts that are
among the listed ones, or 4xx: never 5xx, never silence.

Parts are read as sent, and once with their codings undone. Some listed outcomes of the
latter lack a content type, which the peer that gave them does not tell; and
``sfd-extra-headers`` lists none, since no peer decodes its quoted-printable.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from aiostreams import Limits, iter_parts, read_form, setup
from tests.servers import CHUNKED, Raw, chunk, connected, post, serving
from tests.test_corpus import THEIRS, Case, cases, load, needs_corpus

# Two bodies are truncated after their 1001st part.
LIMITS = Limits(max_parts=2000)
DECODED = {"sfd-extra-headers"}
# Right as bytes; as text, its field is in a charset that nobody knows.
NO_TEXT = {"rk-content-type-and-unknown-charset"}


async def parts_handler(request: web.Request) -> web.Response:
    decode = True if request.path == "/decoded" else None
    parts = []
    async for part in iter_parts(request, decode=decode):
        data = await part.read()
        digest = hashlib.sha256(data).hexdigest()
        parts.append([part.name, part.filename, part.content_type, len(data), digest])
    return web.json_response(parts)


async def form_handler(request: web.Request) -> web.Response:
    value = await read_form(request)
    return web.json_response([len(value.form), len(value.files)])


@pytest.fixture
async def address() -> AsyncIterator[tuple[str, int]]:
    app = setup(web.Application(), limits=LIMITS)
    app.router.add_post("/form", form_handler)
    app.router.add_post("/{path:.*}", parts_handler)
    async with serving(app, auto_decompress=False) as found:
        yield found


def requests(case: Case, body: bytes, path: str) -> list[bytes]:
    kind = case["content_type"].encode("latin-1")
    head = post(path=path)[:-2] + b"Content-Type: " + kind + b"\r\n"
    length = b"Content-Length: %d\r\n\r\n" % len(body)
    te = b"%b: %b\r\n\r\n" % tuple(text.encode() for text in CHUNKED[0])
    pieces = b"".join(chunk(body[at : at + 99]) for at in range(0, len(body), 99))
    return [head + length + body, head + te + pieces + b"0\r\n\r\n"]


def fits(got: list[Any], parts: list[Case], *, decoded: bool) -> bool:
    return len(got) == len(parts) and all(
        name in [part["name"], *part.get("name_alt", [])]
        and filename in [part["filename"], *part.get("filename_alt", [])]
        and (content_type == part["content_type"] or decoded)
        and (length, digest) == (part["length"], part["sha256"])
        for (name, filename, content_type, length, digest), part in zip(
            got, parts, strict=True
        )
    )


def allowed(case: Case, status: int, got: list[Any] | None, *, decoded: bool) -> bool:
    choices = [case.get("parts", [])]
    choices += [choice["parts"] for choice in case.get("alternatives", [])]
    if case["expect"] == "accept":
        return got is not None and fits(got, case["parts"], decoded=decoded)
    if case["expect"] == "reject":
        return status in case["status"]
    if got is None:
        return 400 <= status < 500 and bool(case.get("reject_ok", True))
    return any(fits(got, parts, decoded=decoded) for parts in choices)


async def send(raw: Raw, request: bytes) -> tuple[int, bytes]:
    raw.writer.write(request)
    async with asyncio.timeout(10):
        status, headers, body = await raw.response()
    if headers.get("connection") == "close":
        raise ConnectionResetError
    return status, body


def whole_text(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


@needs_corpus
@pytest.mark.skipif(not THEIRS, reason="AIOSTREAMS_CORPUS is not set")
@pytest.mark.parametrize("path", ["/parts", "/decoded", "/form"])
async def test_the_corpus_over_connections(path: str, address: tuple[str, int]) -> None:
    wrong = []
    assert THEIRS is not None
    for file in cases(Path(THEIRS, "multipart")):
        case, body = load(file)
        async with connected(address) as raw:
            for request in requests(case, body, path):
                status, answer = await send(raw, request)
                got = json.loads(answer) if status == 200 else None
                if path == "/form":
                    fine = status < 500 and (
                        status == 200
                        or case["expect"] != "accept"
                        or not whole_text(body)
                        or (case["id"] in NO_TEXT and status == 415)
                    )
                elif path == "/decoded" and case["id"] in DECODED:
                    fine = status == 200
                else:
                    fine = allowed(case, status, got, decoded=path == "/decoded")
                if not fine:
                    wrong.append((case["id"], case["expect"], status, answer[:200]))
    assert not wrong
