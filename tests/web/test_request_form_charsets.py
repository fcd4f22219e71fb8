"""Forms that are not UTF-8: what tells their charset, wherever it stands.

Over real connections, by ``read_form`` and by ``receive``, with a Content-Length and in
chunks of every size: the same fields, whichever of its ways the package takes.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from aiostreams import MemoryStorage, iter_parts, read_form, receive, setup
from tests.multiparts import cut, form, plain
from tests.servers import CHUNKED, chunk, connected, post, serving

U = "ü".encode("latin-1")
FIELD = (plain("a"), U)
UTF_8 = (plain("b") + b"\r\nContent-Type: text/plain; charset=utf-8", "ü".encode())
NAMED = (b'Content-Disposition: form-data; name="\xfc"', U)
FILE = (b'Content-Disposition: form-data; name="\xfc"; filename="x"', U)
CHARSET = (plain("_charset_"), b"iso-8859-1")
SAYS_NOTHING = (plain("_charset_"), b"")
NO_FIELD = (plain("_charset_", "file"), b"utf-16")

TEXTS = [["a", "ü"], ["b", "ü"], ["ü", "ü"]]


async def handler(request: web.Request) -> web.Response:
    match request.path:
        case "/parts":
            fields = []
            async for part in iter_parts(request):
                if part.filename is None:
                    fields.append([part.name, await part.text()])
            return web.json_response([fields, []])
        case "/form":
            value = await read_form(request)
            return web.json_response([list(value.form.items()), list(value.files)])
    async with receive(request) as upload:
        files = [file.field for file in upload.files.values()]
        assert files == list(upload.files)
        return web.json_response([list(upload.form.items()), files])


@pytest.fixture
async def address() -> AsyncIterator[tuple[str, int]]:
    app = setup(web.Application(), storage=MemoryStorage())
    app.router.add_route("*", "/{path:.*}", handler)
    async with serving(app) as found:
        yield found


async def answers(
    address: tuple[str, int], path: str, body: bytes, charset: str = ""
) -> list[tuple[int, object]]:
    """The status and JSON of the body whole, and in chunks."""
    kind = [("Content-Type", f"multipart/form-data; boundary=B{charset}")]
    found = []
    for size in (0, 1, 7, 4096):
        async with connected(address) as raw:
            if size:
                await raw.send(post(path=path, headers=[*kind, *CHUNKED]))
                pieces = [chunk(piece) for piece in cut(body, size)]
                raw.writer.write(b"".join(pieces) + chunk(b""))
            else:
                raw.writer.write(post(body, path=path, headers=kind))
            status, _, data = await raw.response()
            found.append((status, json.loads(data)))
    return found


@pytest.mark.parametrize("path", ["/form", "/receive"])
@pytest.mark.parametrize(
    ("charset", "parts"),
    [
        ("", [CHARSET, FIELD, UTF_8, NAMED, FILE]),
        ("", [FIELD, UTF_8, NAMED, FILE, CHARSET]),
        ("", [SAYS_NOTHING, FIELD, UTF_8, CHARSET, NO_FIELD, NAMED, FILE]),
        ("; charset=ISO-8859-1", [FIELD, UTF_8, NAMED, FILE]),
        ('; charset="latin-1"', [FIELD, UTF_8, SAYS_NOTHING, NAMED, FILE, NO_FIELD]),
        ("; charset=utf-16", [FIELD, CHARSET, UTF_8, NAMED, FILE]),
        ("; charset=utf-8", [FIELD, UTF_8, NAMED, FILE, CHARSET]),
        ("; charset=nonsense", [FIELD, UTF_8, NAMED, FILE, CHARSET]),
    ],
)
async def test_a_form_in_latin_1(
    path: str,
    charset: str,
    parts: list[tuple[bytes, bytes]],
    address: tuple[str, int],
) -> None:
    for status, value in await answers(address, path, form(*parts), charset):
        assert status == 200
        assert isinstance(value, list)
        fields, files = value
        assert [field for field in fields if field[0] != "_charset_"] == TEXTS
        assert [name for name in files if name != "_charset_"] == ["ü"]


@pytest.mark.parametrize("path", ["/parts", "/form", "/receive"])
@pytest.mark.parametrize("charset", ["", "; charset=utf-8", "; charset=us-ascii"])
async def test_a_form_in_utf_8(
    path: str, charset: str, address: tuple[str, int]
) -> None:
    body = form((plain("ü"), "ü€".encode()))
    for answer in await answers(address, path, body, charset):
        assert answer == (200, [[["ü", "ü€"]], []])


async def test_parts_know_the_charset_of_the_form(address: tuple[str, int]) -> None:
    body = form(FIELD, UTF_8, NO_FIELD, FIELD)
    for answer in await answers(address, "/parts", body, "; charset=iso-8859-1"):
        assert answer == (200, [[["a", "ü"], ["b", "ü"], ["a", "ü"]], []])


@pytest.mark.parametrize("path", ["/form", "/receive"])
@pytest.mark.parametrize("charset", ["", "; charset=utf-8", "; charset=nonsense"])
async def test_bytes_outside_of_the_charset_are_400(
    path: str, charset: str, address: tuple[str, int]
) -> None:
    body = form((plain("a"), b"x"), FIELD)
    for status, problem in await answers(address, path, body, charset):
        assert status == 400
        assert isinstance(problem, dict)
        assert problem["detail"] == "field 2 of the form is not utf-8"


@pytest.mark.parametrize("path", ["/form", "/receive"])
async def test_a_byte_order_mark_is_what_the_field_has(
    path: str, address: tuple[str, int]
) -> None:
    body = form((plain("a"), "\ufeffx".encode()))
    for answer in await answers(address, path, body):
        assert answer == (200, [[["a", "\ufeffx"]], []])
