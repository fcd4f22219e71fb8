"""Names that are not ASCII, as clients send them: what is read of them, and written on.

No text that a handler is given may be one that it cannot give back: as JSON, as the
name of a download, as a form of its own. The clients are real, or their bytes are
written out here: urllib3 1.x and .NET send ``filename*``, others whatever bytes their
users' machines have.
"""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
import requests
from aiohttp import web

from aiostreams import (
    JSON,
    MemoryStorage,
    iter_parts,
    open_stream,
    read_form,
    receive,
    respond,
    setup,
)
from aiostreams.multipart.received import ReceivedFile
from tests.multiparts import cut, form
from tests.servers import CHUNKED, chunk, connected, post, serving

WAYS = ["/parts", "/form", "/receive"]
NAME = "naïve 日本.txt"
HEAD = b'Content-Disposition: form-data; name="f"; '


async def handler(request: web.Request) -> Any:
    """Everything that is known of the one file, as JSON."""
    match request.path:
        case "/parts":
            async for part in iter_parts(request):
                if part.filename is not None:
                    return JSON(
                        {
                            "name": part.name,
                            "filename": part.filename,
                            "content_type": part.content_type,
                            "headers": list(part.headers.items()),
                            "repr": repr(part),
                        }
                    )
            return JSON(None)
        case "/form":
            value = await read_form(request)
            ((name, received),) = value.files.items()
            assert isinstance(received, ReceivedFile)
            return JSON(
                {
                    "name": name,
                    "filename": received.filename,
                    "content_type": received.content_type,
                    "headers": list(received.headers.items()),
                }
            )
        case "/receive":
            async with receive(request) as upload:
                (file,) = upload.files.values()
                return JSON(
                    {
                        "name": file.field,
                        "filename": file.filename,
                        "content_type": file.content_type,
                        "declared_type": file.declared_type,
                        "key": file.key,
                    }
                )
        case "/download":
            async with receive(request) as upload:
                (file,) = upload.files.values()
                return respond(await file.open(), filename=file.filename)
        case "/again":
            return await read_form(request)
    return open_stream(request)


@pytest.fixture
async def address() -> AsyncIterator[tuple[str, int]]:
    app = setup(web.Application(), storage=MemoryStorage())
    app.router.add_route("*", "/{path:.*}", handler)
    async with serving(app) as found:
        yield found


async def answer(
    address: tuple[str, int], path: str, *heads: bytes, **extra: Any
) -> tuple[int, dict[str, str], bytes]:
    body = form(*((head, b"content") for head in heads))
    kind = [("Content-Type", "multipart/form-data; boundary=B" + extra.get("more", ""))]
    async with connected(address) as raw:
        raw.writer.write(post(body, path=path, headers=kind))
        return await raw.response()


async def given(address: tuple[str, int], path: str, *heads: bytes) -> Any:
    status, _, body = await answer(address, path, *heads)
    assert status == 200, body
    return json.loads(body)


@pytest.mark.parametrize("path", WAYS)
@pytest.mark.parametrize(
    "disposition",
    [
        pytest.param(f"filename*=utf-8''{quote(NAME)}".encode(), id="urllib3 1.x"),
        pytest.param(
            b'filename="=?utf-8?B?bmHDr3ZlIOaXpeacrC50eHQ=?="; '
            + f"filename*=utf-8''{quote(NAME)}".encode(),
            id=".NET",
        ),
        pytest.param(f'filename="{NAME}"'.encode(), id="browsers"),
        pytest.param(
            f"filename=\"{NAME}\"; filename*=UTF-8''other.txt".encode(), id="both plain"
        ),
    ],
)
async def test_filename_star(
    path: str, disposition: bytes, address: tuple[str, int]
) -> None:
    found = await given(address, path, HEAD + disposition)
    assert (found["name"], found["filename"]) == ("f", NAME)


@pytest.mark.parametrize("path", WAYS)
async def test_a_malformed_filename_star_is_a_file_without_a_name(
    path: str, address: tuple[str, int]
) -> None:
    for value in (b"utf-8''%C3", b"naive.txt", b"klingon''a", b"utf-8''%0", b""):
        found = await given(address, path, HEAD + b"filename*=" + value)
        assert (found["name"], found["filename"]) == ("f", "")


@pytest.mark.parametrize("path", WAYS)
@pytest.mark.parametrize(
    ("codec", "text"),
    [
        ("latin-1", "Größe"),
        ("gbk", "文件"),
        ("shift_jis", "表示"),
        ("cp1251", "файл"),
    ],
)
async def test_bytes_that_are_not_utf8(
    path: str, codec: str, text: str, address: tuple[str, int]
) -> None:
    """In every place of a head; with the charset told, they are what they mean."""
    raw = text.encode(codec)
    head = (
        b'Content-Disposition: form-data; name="f%b"; filename="%b.txt"\r\n'
        b'Content-Type: text/plain; name="%b.txt"\r\nX-Note: %b' % (raw, raw, raw, raw)
    )
    found = await given(address, path, head)
    shown = raw.decode("utf-8", "replace")
    assert (found["name"], found["filename"]) == (f"f{shown}", f"{shown}.txt")
    charset = (b'Content-Disposition: form-data; name="_charset_"', codec.encode())
    for parts in ([charset, (head, b"content")], [(head, b"content"), charset]):
        body = form(*parts)
        for fields, sent in (
            ((), body),
            (CHUNKED, b"".join(map(chunk, cut(body, 40))) + chunk(b"")),
        ):
            async with connected(address) as raw_socket:
                kind = ("Content-Type", "multipart/form-data; boundary=B")
                request = post(
                    None if fields else sent, path=path, headers=[kind, *fields]
                )
                raw_socket.writer.write(request + (sent if fields else b""))
                status, _, data = await raw_socket.response()
            assert status == 200
            found = json.loads(data)
            # A part that has passed is not called by what comes after it.
            known = text if path != "/parts" or parts[0] is charset else shown
            assert (found["name"], found["filename"]) == (f"f{known}", f"{known}.txt")


NAMES = [
    *(f'filename="{text}"'.encode(codec) for codec, text in [
        ("latin-1", "Größe.txt"), ("gbk", "文件.txt"), ("shift_jis", "表示.txt"),
    ]),
    b'filename="a%22b%0D%0Ac.txt"',
    b'filename="a\tb.txt"',
    b'filename="..\\..\\a.txt"',
    'filename="\u202egpj.exe"'.encode(),
    'filename="a\u2028b\x85c"'.encode(),
    b"filename*=utf-8''%E2%80%A8%C2%85",
    b"filename*=iso-8859-1''%A3%81",
    b"filename*=utf-8''%ED%A0%80",
    b"filename*=nonsense",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
async def test_a_file_can_be_sent_back_under_its_name(
    name: bytes, address: tuple[str, int]
) -> None:
    status, headers, body = await answer(address, "/download", HEAD + name)
    assert (status, body) == (200, b"content")
    assert headers["content-disposition"].startswith("attachment")


@pytest.mark.parametrize("name", [name for name in NAMES if b"\t" not in name])
async def test_a_form_can_be_sent_back(name: bytes, address: tuple[str, int]) -> None:
    status, headers, body = await answer(address, "/again", HEAD + name)
    assert status == 200
    assert headers["content-type"].startswith("multipart/form-data")
    assert b"content" in body


@pytest.mark.parametrize("path", [*WAYS, "/echo"])
async def test_a_body_whose_type_is_not_utf8(
    path: str, address: tuple[str, int]
) -> None:
    """Such a header field of the request is written on as well, or refused."""
    for kind in (b'text/plain; name="\xe9.txt"', b"text/\xe9", b"\x8f\xfa"):
        async with connected(address) as raw:
            head = post(b"content", path=path)
            raw.writer.write(
                head.replace(b"\r\n\r\n", b"\r\nContent-Type: " + kind + b"\r\n\r\n")
            )
            status, _, body = await raw.response()
        assert status < 500, (kind, body)
        if path in {"/receive", "/echo"}:
            assert status == 200


async def test_a_raw_upload_whose_name_is_not_utf8(address: tuple[str, int]) -> None:
    for value, name in (
        (b'attachment; filename="\xe9.txt"', "\ufffd.txt"),
        (b"attachment; filename*=UTF-8''%C3%A9.txt", "é.txt"),
        (b"inline; filename*=%", ""),
    ):
        async with connected(address) as raw:
            head = post(b"content", path="/receive")
            more = b"\r\nContent-Disposition: " + value + b"\r\n\r\n"
            raw.writer.write(head.replace(b"\r\n\r\n", more))
            status, _, body = await raw.response()
        assert status == 200
        assert json.loads(body)["filename"] == name


@pytest.mark.parametrize("path", WAYS)
async def test_requests(path: str, address: tuple[str, int]) -> None:
    url = "http://{}:{}".format(*address) + path

    def send() -> Any:
        files = {"f": (NAME, io.BytesIO(b"content"))}
        return requests.post(url, files=files, timeout=10).json()

    assert (await asyncio.to_thread(send))["filename"] == NAME


@pytest.mark.parametrize("path", WAYS)
async def test_aiohttp_with_and_without_quoting(
    path: str, address: tuple[str, int]
) -> None:
    """Quoted is aiohttp's default, and what nobody can tell from a name with a %."""
    url = "http://{}:{}".format(*address) + path
    async with aiohttp.ClientSession() as session:
        for quoting, expected in ((True, quote(NAME)), (False, NAME)):
            data = aiohttp.FormData(quote_fields=quoting)
            data.add_field("f", b"content", filename=NAME)
            async with session.post(url, data=data) as response:
                assert (await response.json())["filename"] == expected


@pytest.mark.parametrize("path", WAYS)
async def test_curl(path: str, address: tuple[str, int], tmp_path: Path) -> None:
    """The name as the shell has it, in whatever charset that is."""
    (tmp_path / "x").write_bytes(b"content")
    url = "http://{}:{}".format(*address) + path

    async def send(name: bytes) -> Any:
        process = await asyncio.create_subprocess_exec(
            b"curl", b"-s", b"-F", b"f=@x;filename=" + name, url.encode(),
            cwd=tmp_path, stdout=subprocess.PIPE,
        )  # fmt: skip
        out, _ = await process.communicate()
        return json.loads(out)["filename"]

    assert await send(NAME.encode()) == NAME
    assert await send("Größe.txt".encode("latin-1")) == "Gr\ufffd\ufffde.txt"


async def test_names_reach_no_handler_as_surrogates(address: tuple[str, int]) -> None:
    """Whatever the bytes: each of the 128 that may be no UTF-8, in each place."""
    for path in WAYS:
        for code in range(128, 256):
            byte = bytes([code])
            head = (
                b'Content-Disposition: form-data; name="%b"; filename="%b"\r\n'
                b"Content-Type: a/b; c=%b" % (byte, byte, byte)
            )
            found = await given(address, path, head)
            assert (found["name"], found["filename"]) == ("\ufffd", "\ufffd")
