"""Forms as real clients send them, and our forms as real servers read them."""

from __future__ import annotations

import asyncio
import functools
import io
import json
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import multipart
import pytest
import requests
from aiohttp import web
from werkzeug.formparser import parse_form_data

from aiostreams import ByteStream, File, MultiPart, iter_parts, read_form, setup
from aiostreams.multipart.received import ReceivedFile
from tests.servers import serving

NAME = 'naïve "x"; ü.txt'
CONTENT = bytes(range(256)) * 20


async def handler(request: web.Request) -> web.Response:
    if request.path == "/parts":
        got = []
        async for part in iter_parts(request):
            data = await part.read()
            got.append([part.name, part.filename, data.decode("latin-1")])
        return web.json_response(got)
    value = await read_form(request)
    got = [
        [name, None, text.encode().decode("latin-1")]
        for name, text in value.form.items()
    ]
    for name, file in value.files.items():
        assert isinstance(file, ReceivedFile)
        async with file as stream:
            got.append([name, file.filename, (await stream.read()).decode("latin-1")])
    return web.json_response(got)


@pytest.fixture(params=["/parts", "/form"])
async def url(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    app = setup(web.Application())
    app.router.add_post("/{path:.*}", handler)
    async with serving(app, auto_decompress=False) as (host, port):
        yield f"http://{host}:{port}{request.param}"


def texts(got: list[list[Any]]) -> list[tuple[str, str | None, bytes]]:
    return [(name, file, data.encode("latin-1")) for name, file, data in got]


EXPECTED = [
    ("a", None, "größe".encode()),
    ("a", None, b""),
    ("f", NAME, CONTENT),
    ("f", "empty", b""),
]


async def test_requests(url: str) -> None:
    def send() -> Any:
        return requests.post(
            url,
            data=[("a", "größe"), ("a", "")],
            files=[("f", (NAME, CONTENT)), ("f", ("empty", b""))],
            timeout=10,
        ).json()

    assert texts(await asyncio.to_thread(send)) == EXPECTED


async def test_httpx(url: str) -> None:
    async with httpx.AsyncClient() as client:
        response = await client.post(
            url,
            data={"a": ["größe", ""]},
            files=[("f", (NAME, CONTENT)), ("f", ("empty", b""))],
        )
    assert texts(response.json()) == EXPECTED


async def test_aiohttp(url: str) -> None:
    # Quoted as by default, a filename that is not ASCII comes percent-encoded.
    form = aiohttp.FormData(quote_fields=False, default_to_multipart=True)
    form.add_field("a", "größe")
    form.add_field("a", "")
    form.add_field("f", CONTENT, filename=NAME.replace('"', "'"))
    form.add_field("f", b"", filename="empty")
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=form) as response,
    ):
        got = texts(await response.json())
    expected = [list(part) for part in EXPECTED]
    expected[2][1] = NAME.replace('"', "'")
    assert [list(part) for part in got] == expected


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_curl(url: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    (tmp_path / "empty").write_bytes(b"")
    quoted = NAME.replace('"', '\\"')
    process = await asyncio.create_subprocess_exec(
        "curl", "-sS", "--form-escape", url,
        "-F", "a=größe", "-F", "a=",
        "-F", f'f=@{tmp_path}/file;filename="{quoted}"',
        "-F", f"f=@{tmp_path}/empty",
        stdout=subprocess.PIPE,
    )  # fmt: skip
    out, _ = await process.communicate()
    assert texts(json.loads(out)) == EXPECTED


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_curl_with_backslashes_and_chunked(url: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT * 200)
    quoted = NAME.replace('"', '\\"')
    process = await asyncio.create_subprocess_exec(
        "curl", "-sS", "-H", "Transfer-Encoding: chunked", url,
        "-F", f'f=@{tmp_path}/file;filename="{quoted}"',
        stdout=subprocess.PIPE,
    )  # fmt: skip
    out, _ = await process.communicate()
    assert texts(json.loads(out)) == [("f", NAME, CONTENT * 200)]


# -- what we write, read by others ------------------------------------------------------

Fields = list[tuple[str, str | None, bytes]]


def by_werkzeug(body: bytes, kind: str) -> Fields:
    environ = {
        "wsgi.input": io.BytesIO(body),
        "CONTENT_LENGTH": str(len(body)),
        "CONTENT_TYPE": kind,
        "REQUEST_METHOD": "POST",
    }
    _, form, files = parse_form_data(environ, silent=False)
    got: Fields = [(name, None, text.encode()) for name, text in form.items(multi=True)]
    for name, file in files.items(multi=True):
        got.append((name, file.filename, file.read()))
        file.close()
    return got


def by_multipart(body: bytes, kind: str) -> Fields:
    _, options = multipart.parse_options_header(kind)
    got: Fields = []
    parser = multipart.PushMultipartParser(options["boundary"])
    segment: Any = None
    pieces: list[bytes] = []
    for event in parser.parse(body):
        if event is None:
            got.append((segment.name, segment.filename, b"".join(pieces)))
            pieces = []
        elif isinstance(event, multipart.MultipartSegment):
            segment = event
        else:
            pieces.append(bytes(event))
    parser.close()
    return got


async def by_starlette(body: bytes, kind: str) -> Fields:
    pytest.importorskip("starlette", reason="starlette is not installed")
    from starlette.datastructures import UploadFile
    from starlette.requests import Request

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    headers = [(b"content-type", kind.encode())]
    scope = {"type": "http", "method": "POST", "headers": headers}
    got: Fields = []
    async with Request(scope, receive).form() as form:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                got.append((name, value.filename, await value.read()))
            else:
                got.append((name, None, value.encode()))
    return got


async def by_aiohttp(body: bytes, kind: str) -> Fields:
    result: Fields = []

    async def read(request: web.Request) -> web.Response:
        reader = await request.multipart()
        while (part := await reader.next()) is not None:
            assert isinstance(part, aiohttp.BodyPartReader)
            assert part.name is not None
            result.append((part.name, part.filename, bytes(await part.read())))
        return web.Response()

    async with (
        serving(read) as (host, port),
        aiohttp.ClientSession() as session,
        session.post(
            f"http://{host}:{port}/", data=body, headers={"Content-Type": kind}
        ) as response,
    ):
        assert response.status == 200
    return result


BUSBOY = """
const busboy = require('busboy');
let input = '';
process.stdin.on('data', d => { input += d; }).on('end', () => {
  const answers = [];
  const next = jobs => {
    if (!jobs.length) { console.log(JSON.stringify(answers)); return; }
    const [kind, body] = jobs.shift();
    const got = [], waits = [];
    const bb = busboy({ headers: { 'content-type': kind }, defParamCharset: 'utf8',
                        preservePath: true });
    bb.on('field', (n, v) => got.push([n, null, Buffer.from(v).toString('base64')]));
    bb.on('file', (n, s, info) => {
      const chunks = [], place = got.length; got.push(null);
      s.on('data', c => chunks.push(c));
      waits.push(new Promise(done => s.on('close', () => {
        got[place] = [n, info.filename === undefined ? '' : info.filename,
                      Buffer.concat(chunks).toString('base64')]; done(); })));
    });
    bb.on('close', () => Promise.all(waits).then(() => { answers.push(got); next(jobs); }));
    bb.on('error', e => { answers.push(['error', String(e)]); next(jobs); });
    bb.end(Buffer.from(body, 'base64'));
  };
  next(JSON.parse(input));
});
"""


@functools.cache
def busboy_folder() -> str | None:
    """A folder with busboy in it, or why there is none."""
    import tempfile

    if shutil.which("npm") is None or shutil.which("node") is None:
        return None
    folder = tempfile.mkdtemp(prefix="aiostreams-busboy-")
    done = subprocess.run(
        ["npm", "install", "--silent", "--no-fund", "--no-audit", "busboy"],
        cwd=folder,
        capture_output=True,
        timeout=120,
        check=False,
    )
    return folder if done.returncode == 0 else None


def by_busboy(bodies: list[tuple[bytes, str]]) -> list[Any]:
    import base64

    folder = busboy_folder()
    if folder is None:
        pytest.skip("npm cannot install busboy here")
    jobs = [[kind, base64.b64encode(body).decode()] for body, kind in bodies]
    done = subprocess.run(
        ["node", "-e", BUSBOY],
        cwd=folder,
        input=json.dumps(jobs).encode(),
        capture_output=True,
        check=True,
        timeout=60,
    )
    return [
        [(name, file, base64.b64decode(data)) for name, file, data in answer]
        for answer in json.loads(done.stdout)
    ]


async def written(value: MultiPart) -> tuple[bytes, str]:
    async with value as stream:
        return await stream.read(), value.content_type


PEERS: dict[str, Callable[[bytes, str], Any]] = {
    "werkzeug": by_werkzeug,
    "multipart": by_multipart,
    "starlette": by_starlette,
    "aiohttp": by_aiohttp,
}


async def read_by(peer: str, body: bytes, kind: str) -> Fields:
    if peer == "busboy":
        return (await asyncio.to_thread(by_busboy, [(body, kind)]))[0]  # type: ignore[no-any-return]
    got = PEERS[peer](body, kind)
    return await got if asyncio.iscoroutine(got) else got  # type: ignore[no-any-return]


@pytest.mark.timeout(180)
@pytest.mark.parametrize("peer", [*PEERS, "busboy"])
@pytest.mark.parametrize("boundary", [None, "with space:?"])
async def test_a_form_of_ours_is_read_by_others(
    peer: str, boundary: str | None
) -> None:
    value = MultiPart(
        [("a", "größe"), ("ü", ""), ("a", "two\r\nlines")],
        [
            ("f", File(CONTENT, name="naïve; x.bin")),
            ("f", File(b"", name="empty")),
            ("f", File(b"\r\n--\r\n" * 100, name="100% 'x', y=z")),
        ],
        boundary=boundary,
    )
    body, kind = await written(value)
    got = await read_by(peer, body, kind)
    if peer == "werkzeug":  # its multidict groups by name
        got.insert(1, got.pop(2))
    assert got == [
        ("a", None, "größe".encode()),
        ("ü", None, b""),
        ("a", None, b"two\r\nlines"),
        ("f", "naïve; x.bin", CONTENT),
        ("f", "empty", b""),
        ("f", "100% 'x', y=z", b"\r\n--\r\n" * 100),
    ]


def variants(text: str) -> set[str]:
    """How a peer may give a name: as it is, or with its escapes left as they were.

    Werkzeug undoes %22 and no other; python-multipart (below Starlette) and aiohttp
    none. Werkzeug and aiohttp take a backslash for an escape of RFC 822, and so drop
    it; busboy takes it for that before a quote or another backslash only.
    """
    some = text.replace("\r", "%0D").replace("\n", "%0A")
    every = some.replace('"', "%22")
    return {
        text, some, every,
        *(form.replace("\\", "") for form in (text, some, every)),
    }  # fmt: skip


CHARACTERS = [chr(code) for code in range(256)]


async def every_character(where: str) -> list[tuple[str, bytes, str]]:
    """Of each character, whatever can be written with it in that place."""
    found = []
    for character in CHARACTERS:
        odd = f"p{character}q"
        try:
            match where:
                case "name":
                    value = MultiPart({odd: "x"}, {odd: File(b"y", name="n")})
                case "filename":
                    file = File(b"y", name="n")
                    file.name = odd  # with directories, which a File drops
                    value = MultiPart({"a": "x"}, {"b": file})
                case "type":
                    file = File(b"y", name="n", content_type=f"a/{odd}")
                    value = MultiPart({"a": "x"}, {"b": file})
                case _:
                    file = File(b"y", name="n", headers={"X-Odd": odd})
                    value = MultiPart({"a": "x"}, {"b": file})
            body, kind = await written(value)
        except ValueError:
            continue
        found.append((odd, body, kind))
    return found


@pytest.mark.timeout(180)
@pytest.mark.parametrize("where", ["name", "filename", "type", "header"])
@pytest.mark.parametrize("peer", [*PEERS, "busboy"])
async def test_no_character_injects_anything(peer: str, where: str) -> None:
    """Each is refused, or two parts arrive of which the rest is as it was."""
    bodies = await every_character(where)
    assert len(bodies) > 150
    if peer == "busboy":
        answers = await asyncio.to_thread(
            by_busboy, [(body, kind) for _, body, kind in bodies]
        )
    else:
        answers = [await read_by(peer, body, kind) for _, body, kind in bodies]
    for (odd, _, _), got in zip(bodies, answers, strict=True):
        assert len(got) == 2, odd
        (field, nothing, text), (name, filename, data) = got
        assert (nothing, text, data) == (None, b"x", b"y"), odd
        assert field in (variants(odd) if where == "name" else {"a"}), odd
        assert name in (variants(odd) if where == "name" else {"b"}), odd
        assert filename in (variants(odd) if where == "filename" else {"n"}), odd


async def test_every_character_is_exact_among_ourselves() -> None:
    for where in ("name", "filename", "type", "header"):
        for odd, body, kind in await every_character(where):
            parts = [
                (part.name, part.filename, part.content_type, part.headers.get("X-Odd"))
                async for part in iter_parts(ByteStream(body), kind)
            ]
            assert len(parts) == 2
            name, filename, content_type, header = parts[1]
            assert name == (odd if where == "name" else "b")
            assert filename == (odd if where == "filename" else "n")
            if where == "type":
                assert content_type == f"a/{odd}"
            if where == "header":
                assert header == odd
