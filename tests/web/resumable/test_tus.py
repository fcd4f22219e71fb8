"""tus 1.0.0 over HTTP: each rule of the protocol, and each extension."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
import zlib
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from aiohttp import web

from aiostreams import JSON, Limits, Storage, Text, read_bytes, receive, upload_of
from tests.servers import CHUNKED, chunk, connected, post, serving

from .server import Client, Service, chunked, client, metadata

DATA = bytes(range(256)) * 40


async def test_an_upload_in_pieces(storage: Storage) -> None:
    service = Service(storage)
    async with service.running() as send:
        url = await send.create(
            len(DATA), Upload_Metadata=metadata(filename="ü b.txt", note="hi", empty="")
        )
        assert url.startswith("http://127.0.0.1:")
        assert "/files?upload=" in url
        for start in range(0, len(DATA), 1000):
            told = await send.tus("HEAD", url)
            assert (told.status, told.offset, told.body) == (200, start, b"")
            piece = DATA[start : start + 1000]
            answer = await send.tus("PATCH", url, piece, Upload_Offset=str(start))
            assert (answer.status, answer.body) == (204, b"")
            assert answer.offset == start + len(piece)
            assert answer.headers["Tus-Resumable"] == "1.0.0"
        key = answer.headers["X-Key"]
        assert "Content-Type" not in answer.headers
        assert service.bodies == [DATA]
        [upload] = service.ran
        assert upload is not None
        assert (upload.protocol, upload.offset, upload.length) == (
            "tus", len(DATA), len(DATA)
        )  # fmt: skip
        assert upload.id == url[-26:]
        assert upload.metadata == {"filename": "ü b.txt", "note": "hi", "empty": ""}
        assert await service.keys() == [key]
        # Nothing more happens, whoever asks.
        told = await send.tus("HEAD", url)
        assert (told.status, told.offset) == (200, len(DATA))
        again = await send.tus("PATCH", url, b"", Upload_Offset=str(len(DATA)))
        assert (again.status, again.headers["X-Key"]) == (204, key)
        assert len(service.ran) == 1


async def test_creation_with_upload_in_one_request(storage: Storage) -> None:
    service = Service(storage)
    async with service.running() as send:
        answer = await send.tus(
            "POST",
            "/files",
            DATA,
            Upload_Length=str(len(DATA)),
            Content_Type="application/offset+octet-stream",
        )
        assert (answer.status, answer.offset, answer.body) == (201, len(DATA), b"")
        assert answer.headers["X-Key"] == (await service.keys())[0]
        told = await send.tus("HEAD", answer.headers["Location"])
        assert told.offset == len(DATA)
    assert service.bodies == [DATA]


async def test_creation_with_a_part_of_the_upload(storage: Storage) -> None:
    service = Service(storage)
    async with service.running() as send:
        answer = await send.tus(
            "POST",
            "/files",
            DATA[:5000],
            Upload_Length=str(len(DATA)),
            Content_Type="application/offset+octet-stream",
        )
        assert (answer.status, answer.offset) == (201, 5000)
        url = answer.headers["Location"]
        answer = await send.tus("PATCH", url, DATA[5000:], Upload_Offset="5000")
        assert answer.status == 204
    assert service.bodies == [DATA]


async def test_an_empty_upload_is_complete_at_once(storage: Storage) -> None:
    service = Service(storage)
    async with service.running() as send:
        answer = await send.tus("POST", "/files", Upload_Length="0")
        assert (answer.status, answer.offset) == (201, 0)
        assert "X-Key" in answer.headers
    assert service.bodies == [b""]


@pytest.mark.parametrize("version", ["0.2.2", "1.0.1", "", "1.0"])
async def test_another_version_is_refused(storage: Storage, version: str) -> None:
    service = Service(storage)
    async with service.running() as send:
        url = await send.create(5)
        for method in ("POST", "HEAD", "PATCH", "DELETE"):
            answer = await send.tus(
                method, url if method != "POST" else "/files", Upload_Length="5",
                Tus_Resumable=version, Upload_Offset="0"
            )  # fmt: skip
            assert answer.status == 412
            assert answer.headers["Tus-Version"] == "1.0.0"
            assert answer.headers["Tus-Resumable"] == "1.0.0"
        assert (await send.tus("HEAD", url)).offset == 0


async def test_options_tell_what_there_is(storage: Storage) -> None:
    service = Service(storage, max_size=1234)
    async with service.running() as send:
        for version in ("1.0.0", "9.9.9", None):
            headers = {} if version is None else {"Tus_Resumable": version}
            answer = await send("OPTIONS", "/files", **headers)
            assert answer.status == 204
            assert answer.headers["Tus-Version"] == "1.0.0"
            assert answer.headers["Tus-Max-Size"] == "1234"
            extensions = set(answer.headers["Tus-Extension"].split(","))
            assert "concatenation-unfinished" in extensions
            assert "checksum-trailer" not in extensions
            algorithms = set(answer.headers["Tus-Checksum-Algorithm"].split(","))
            assert algorithms == {"sha1", "sha256", "sha512", "md5", "crc32"}
            assert answer.headers["Upload-Limit"] == "max-size=1234"


async def test_methods_that_cannot_be_sent(storage: Storage) -> None:
    """A POST may say that it is meant as another method, and nothing else may."""
    service = Service(storage)
    async with service.running() as send:
        url = await send.create(5)
        answer = await send.tus(
            "POST", url, b"123", X_HTTP_Method_Override="PATCH", Upload_Offset="0",
            Content_Type="application/offset+octet-stream",
        )  # fmt: skip
        assert (answer.status, answer.offset) == (204, 3)
        answer = await send.tus("HEAD", url, X_HTTP_Method_Override="DELETE")
        assert answer.offset == 3
        answer = await send.tus("POST", url, X_HTTP_Method_Override="HEAD")
        assert (answer.status, answer.offset) == (200, 3)
        answer = await send.tus("POST", url, X_HTTP_Method_Override="DELETE")
        assert answer.status == 204
        assert (await send.tus("HEAD", url)).status == 404


async def test_head_tells_what_was_said(storage: Storage) -> None:
    service = Service(storage)
    said = "filename ZmlsZS50eHQ=,is_confidential,x "
    async with service.running() as send:
        url = await send.create(None, Upload_Metadata=said, Upload_Concat="partial")
        told = await send.tus("HEAD", url)
        assert told.headers["Upload-Metadata"] == said.strip()
        assert told.headers["Upload-Concat"] == "partial"
        assert told.headers["Upload-Defer-Length"] == "1"
        assert "Upload-Length" not in told.headers
        assert told.headers["Cache-Control"] == "no-store"
        assert told.headers["Upload-Offset"] == "0"
        url = await send.create(7)
        told = await send.tus("HEAD", url)
        assert told.headers["Upload-Length"] == "7"
        assert "Upload-Defer-Length" not in told.headers
        assert "Upload-Metadata" not in told.headers


@pytest.mark.parametrize(
    "upload_id",
    [
        "",
        "x",
        "..",
        "%2e%2e%2f",
        "a" * 26,
        "A" * 26,
        "a" * 5000,
        "%00" * 26,
        "%C3%A9" * 13,
    ],
)
async def test_what_is_no_upload_is_not_found(storage: Storage, upload_id: str) -> None:
    service = Service(storage)
    async with service.running() as send:
        for method in ("HEAD", "PATCH", "DELETE"):
            answer = await send.tus(
                method, f"/files?upload={upload_id}", Upload_Offset="0"
            )
            # An id of long ago has expired.
            assert answer.status in {404, 410}, answer
            assert answer.offset is None
            assert answer.headers["Tus-Resumable"] == "1.0.0"


async def test_an_id_of_long_ago_has_expired(storage: Storage) -> None:
    service = Service(storage)
    async with service.running() as send:
        answer = await send.tus("HEAD", "/files?upload=0000" + "a" * 22)
        assert answer.status == 410


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 400),
        ({"Upload_Length": "-1"}, 400),
        ({"Upload_Length": "x"}, 400),
        ({"Upload_Length": "1", "Upload_Defer_Length": "1"}, 400),
        ({"Upload_Defer_Length": "2"}, 400),
        ({"Upload_Length": "1", "Upload_Metadata": "a *"}, 400),
        ({"Upload_Length": "1", "Upload_Metadata": "a YQ==,a YQ=="}, 400),
        ({"Upload_Length": "1", "Upload_Concat": "middle"}, 400),
        ({"Upload_Length": "1", "Upload_Checksum": "md4 YQ=="}, 400),
        ({"Upload_Length": str(2 * 1024**3)}, 413),
        ({"Upload_Length": "1", "Upload_Metadata": ""}, 201),
    ],
)
async def test_creations_that_are_refused(
    storage: Storage, headers: dict[str, str], status: int
) -> None:
    service = Service(storage)
    async with service.running() as send:
        answer = await send.tus("POST", "/files", **headers)
        assert answer.status == status, answer
        assert answer.headers["Tus-Resumable"] == "1.0.0"
        assert ("Location" in answer.headers) == (status == 201)


async def test_a_creation_whose_content_is_none_of_the_upload(
    storage: Storage,
) -> None:
    service = Service(storage)
    async with service.running() as send:
        answer = await send.tus(
            "POST", "/files", b"x", Upload_Length="1", Content_Type="text/plain"
        )
        assert answer.status == 415
        # aiotus sends this with a content of no bytes.
        answer = await send.tus(
            "POST", "/files", b"", Upload_Length="1",
            Content_Type="application/octet-stream",
        )  # fmt: skip
        assert answer.status == 201


async def test_appends_that_are_refused_change_nothing(storage: Storage) -> None:
    service = Service(storage)
    async with service.running() as send:
        url = await send.create(10)
        await send.tus("PATCH", url, b"123", Upload_Offset="0")
        for headers, data, status in (
            ({"Content_Type": "text/plain", "Upload_Offset": "3"}, b"4", 415),
            ({"Upload_Offset": "0"}, b"4", 409),
            ({"Upload_Offset": "4"}, b"4", 409),
            ({}, b"4", 400),
            ({"Upload_Offset": "x"}, b"4", 400),
            ({"Upload_Offset": "3", "Upload_Length": "11"}, b"4", 400),
            ({"Upload_Offset": "3"}, b"45678901", 413),
        ):
            answer = await send.tus("PATCH", url, data, **headers)
            assert answer.status == status, (headers, answer)
            if status == 409:
                assert answer.offset == 3
            assert (await send.tus("HEAD", url)).offset == 3
    assert service.ran == []


async def test_a_chunked_content_that_is_too_long(storage: Storage) -> None:
    """The upload goes on at its offset, which is not the end."""
    service = Service(storage)
    async with service.running() as send:
        url = await send.create(6)
        answer = await send.tus(
            "PATCH", url, chunked(b"1234", b"5678"), Upload_Offset="0"
        )
        assert answer.status == 413
        told = await send.tus("HEAD", url)
        assert told.offset is not None
        assert told.offset < 6
        answer = await send.tus(
            "PATCH", url, b"123456"[told.offset :], Upload_Offset=str(told.offset)
        )
        assert answer.status == 204
    assert service.bodies == [b"123456"]


async def test_a_deferred_length(storage: Storage) -> None:
    service = Service(storage, max_size=8)
    async with service.running() as send:
        url = await send.create(None)
        await send.tus("PATCH", url, b"1234", Upload_Offset="0")
        answer = await send.tus("PATCH", url, b"56789", Upload_Offset="4")
        assert answer.status == 413
        answer = await send.tus("PATCH", url, chunked(b"5678", b"9"), Upload_Offset="4")
        assert answer.status == 413
        offset = (await send.tus("HEAD", url)).offset
        assert offset is not None
        answer = await send.tus(
            "PATCH", url, b"", Upload_Offset=str(offset), Upload_Length="9"
        )
        assert answer.status == 413
        answer = await send.tus(
            "PATCH", url, b"123456"[offset:], Upload_Offset=str(offset),
            Upload_Length="6",
        )  # fmt: skip
        assert answer.status == 204
    assert service.bodies == [b"123456"]


async def test_a_deferred_length_that_is_reached_already(storage: Storage) -> None:
    service = Service(storage)
    async with service.running() as send:
        url = await send.create(None)
        await send.tus("PATCH", url, b"1234", Upload_Offset="0")
        assert service.ran == []
        answer = await send.tus("PATCH", url, b"", Upload_Offset="4", Upload_Length="4")
        assert answer.status == 204
    assert service.bodies == [b"1234"]


async def test_when_an_upload_expires_is_told(storage: Storage) -> None:
    service = Service(storage, expires=100, max_age=150)
    async with service.running() as send:
        begun = time.time()
        created = await send.tus("POST", "/files", Upload_Length="5")
        url = created.headers["Location"]
        for answer in (
            created,
            await send.tus("PATCH", url, b"12", Upload_Offset="0"),
            await send.tus("HEAD", url),
        ):
            told = parsedate_to_datetime(answer.headers["Upload-Expires"]).timestamp()
            assert begun + 98 <= told <= time.time() + 101


async def test_an_expired_upload_is_gone(storage: Storage) -> None:
    service = Service(storage, expires=0.2)
    async with service.running() as send:
        url = await send.create(5)
        await asyncio.sleep(0.25)
        for method in ("HEAD", "PATCH", "DELETE"):
            answer = await send.tus(method, url, Upload_Offset="0")
            assert answer.status == 410
            assert answer.offset is None


def checksum(name: str, data: bytes) -> str:
    digest = (
        zlib.crc32(data).to_bytes(4, "big")
        if name == "crc32"
        else hashlib.new(name, data).digest()
    )
    return f"{name} {base64.b64encode(digest).decode()}"


@pytest.mark.parametrize("name", ["sha1", "sha256", "sha512", "md5", "crc32"])
async def test_checksums(storage: Storage, name: str) -> None:
    service = Service(storage)
    async with service.running() as send:
        url = await send.create(len(DATA))
        at = 0
        for size in (0, 1, 5000):
            piece = DATA[at : at + size]
            wrong = await send.tus(
                "PATCH", url, piece, Upload_Offset=str(at),
                Upload_Checksum=checksum(name, piece + b"x"),
            )  # fmt: skip
            assert wrong.status == 460
            assert (await send.tus("HEAD", url)).offset == at
            right = await send.tus(
                "PATCH", url, piece, Upload_Offset=str(at),
                Upload_Checksum=checksum(name, piece),
            )  # fmt: skip
            at += size
            assert (right.status, right.offset) == (204, at)
        answer = await send.tus(
            "PATCH", url, DATA[at:], Upload_Offset=str(at),
            Upload_Checksum=checksum(name, DATA[at:]),
        )  # fmt: skip
        assert answer.status == 204
    assert service.bodies == [DATA]


async def test_a_content_with_checksum_that_breaks_off_is_not_kept(
    storage: Storage,
) -> None:
    service = Service(storage)
    async with serving(service.app()) as address, client(address) as send:
        url = await send.create(len(DATA))
        path = url.partition(f":{address[1]}")[2]
        async with connected(address) as raw:
            head = post(
                DATA, method="PATCH", path=path,
                headers=[
                    ("Tus-Resumable", "1.0.0"), ("Upload-Offset", "0"),
                    ("Content-Type", "application/offset+octet-stream"),
                    ("Upload-Checksum", checksum("sha1", DATA)),
                ],
            )  # fmt: skip
            await raw.send(head[:-10])
        assert (await send.tus("HEAD", url)).offset == 0


async def test_what_arrived_before_the_connection_broke_is_kept(
    storage: Storage,
) -> None:
    service = Service(storage)
    async with serving(service.app()) as address, client(address) as send:
        url = await send.create(len(DATA))
        path = url.partition(f":{address[1]}")[2]
        offset = 0
        for cut in (1, 100, 5000):
            async with connected(address) as raw:
                rest = DATA[offset:]
                head = post(
                    rest, method="PATCH", path=path,
                    headers=[
                        ("Tus-Resumable", "1.0.0"), ("Upload-Offset", str(offset)),
                        ("Content-Type", "application/offset+octet-stream"),
                    ],
                )  # fmt: skip
                await raw.send(head[: -len(rest) + cut])
                await service.taken(cut)
                raw.reset() if cut == 100 else None
            told = (await send.tus("HEAD", url)).offset
            assert told is not None
            assert offset <= told <= offset + cut
            if cut != 100:  # a reset may lose what the kernel had
                assert told == offset + cut
            offset = told
        answer = await send.tus("PATCH", url, DATA[offset:], Upload_Offset=str(offset))
        assert answer.status == 204
    assert service.bodies == [DATA]


async def test_a_request_cut_at_each_byte(storage: Storage) -> None:
    """What was heard never decreases, and is no more than was sent."""
    service = Service(storage)
    async with serving(service.app()) as address, client(address) as send:
        url = await send.create(len(DATA))
        path = url.partition(f":{address[1]}")[2]
        offset = cut = 0
        whole = False
        while not whole:
            cut += 1
            fields = [
                ("Tus-Resumable", "1.0.0"), ("Upload-Offset", str(offset)),
                ("Content-Type", "application/offset+octet-stream"),
            ]  # fmt: skip
            rest = DATA[offset:]
            request = post(rest, method="PATCH", path=path, headers=fields)
            head = len(request) - len(rest)
            async with connected(address) as raw:
                await raw.send(request[:cut])
            if cut % 20 and cut < head:
                continue
            told = (await send.tus("HEAD", url)).offset
            assert told is not None
            assert offset <= told <= offset + max(0, cut - head)
            offset = told
            whole = cut - head > 20
        status = 409
        while status == 409:  # one of these may still be on its way
            offset = (await send.tus("HEAD", url)).offset or 0
            answer = await send.tus(
                "PATCH", url, DATA[offset:], Upload_Offset=str(offset)
            )
            status = answer.status
        assert status == 204
    assert service.bodies == [DATA]


async def test_a_stalled_request_is_taken_over(storage: Storage) -> None:
    """The cable was pulled: the old connection is open, and nothing comes."""
    service = Service(storage)
    async with serving(service.app()) as address, client(address) as send:
        url = await send.create(len(DATA))
        path = url.partition(f":{address[1]}")[2]
        async with connected(address) as raw:
            head = post(
                DATA, method="PATCH", path=path,
                headers=[
                    ("Tus-Resumable", "1.0.0"), ("Upload-Offset", "0"),
                    ("Content-Type", "application/offset+octet-stream"),
                ],
            )  # fmt: skip
            await raw.send(head[: -len(DATA) + 3000])
            await service.taken(3000)
            begun = time.monotonic()
            told = await send.tus("HEAD", url)
            assert (told.status, told.offset) == (200, 3000)
            assert time.monotonic() - begun < 5
            # Who is still there hears of it.
            status, headers, _ = await raw.response()
            assert status == 409
            assert headers["upload-offset"] == "3000"
            answer = await send.tus("PATCH", url, DATA[3000:], Upload_Offset="3000")
            assert answer.status == 204
    assert service.bodies == [DATA]


async def test_a_deleted_upload_ends_its_request(storage: Storage) -> None:
    service = Service(storage)
    async with serving(service.app()) as address, client(address) as send:
        url = await send.create(len(DATA))
        path = url.partition(f":{address[1]}")[2]
        async with connected(address) as raw:
            head = post(
                DATA, method="PATCH", path=path,
                headers=[
                    ("Tus-Resumable", "1.0.0"), ("Upload-Offset", "0"),
                    ("Content-Type", "application/offset+octet-stream"),
                ],
            )  # fmt: skip
            await raw.send(head[: -len(DATA) + 3000])
            await service.taken(3000)
            assert (await send.tus("DELETE", url)).status == 204
            assert (await raw.response())[0] in {409, 410, 404}
        assert (await send.tus("HEAD", url)).status in {404, 410}


async def test_termination_of_a_finished_upload_leaves_its_file(
    storage: Storage,
) -> None:
    service = Service(storage)
    async with service.running() as send:
        url = await send.create(3)
        await send.tus("PATCH", url, b"123", Upload_Offset="0")
        assert (await send.tus("DELETE", url)).status == 204
        assert (await send.tus("DELETE", url)).status in {404, 410}
        assert (await send.tus("PATCH", url, b"", Upload_Offset="3")).status in {
            404,
            410,
        }
        assert len(await service.keys()) == 1


# -- concatenation -----------------------------------------------------------------------


async def part(send: Client, data: bytes, *, done: bool = True) -> str:
    url = await send.create(len(data), Upload_Concat="partial")
    if done:
        answer = await send.tus(
            "PATCH", url, data, Upload_Offset="0", Upload_Concat="partial"
        )
        assert answer.status == 204
    return url


async def test_concatenation(storage: Storage) -> None:
    service = Service(storage)
    async with service.running() as send:
        one, two = await part(send, b"12345"), await part(send, b"6789")
        assert service.ran == []
        path = two.partition("/files")[1] + two.partition("/files")[2]
        answer = await send.tus(
            "POST", "/files", Upload_Concat=f"final;{one} {path} {one}",
            Upload_Metadata=metadata(filename="a.txt"),
        )  # fmt: skip
        assert answer.status == 201
        assert service.bodies == [b"12345678912345"]
        url = answer.headers["Location"]
        told = await send.tus("HEAD", url)
        assert told.headers["Upload-Concat"] == f"final;{one} {path} {one}"
        assert (told.offset, told.headers["Upload-Length"]) == (14, "14")
        answer = await send.tus("PATCH", url, b"x", Upload_Offset="14")
        assert answer.status == 403
        [upload] = service.ran
        assert upload is not None
        assert upload.metadata == {"filename": "a.txt"}


@pytest.mark.parametrize("asks", [False, True])
async def test_concatenation_of_what_is_not_finished(
    storage: Storage, asks: bool
) -> None:
    service = Service(storage)
    async with service.running() as send:
        one, two = await part(send, b"12345", done=False), await part(send, b"6789")
        answer = await send.tus("POST", "/files", Upload_Concat=f"final;{one} {two}")
        assert (answer.status, answer.offset) == (201, None)
        url = answer.headers["Location"]
        told = await send.tus("HEAD", url)
        assert (told.status, told.offset) == (200, None)
        assert (await send.tus("PATCH", one, b"123", Upload_Offset="0")).status == 204
        assert service.ran == []
        assert (await send.tus("PATCH", one, b"45", Upload_Offset="3")).status == 204
        if asks:
            told = await send.tus("HEAD", url)
            assert (told.status, told.offset) == (200, 9)
    assert service.bodies == [b"123456789"]


async def test_concatenation_of_what_is_no_part(storage: Storage) -> None:
    service = Service(storage, max_size=12)
    async with service.running() as send:
        one = await part(send, b"12345")
        whole = await send.create(5)
        gone = await part(send, b"1")
        await send.tus("DELETE", gone)
        for urls, status in (
            (f"{one} {whole}", 400),
            (f"{one} {gone}", 400),
            (f"{one} /files?upload=../../etc/passwd", 400),
            (f"{one} http://example.org/{'a' * 26}", 400),
            (f"{one} file:///etc/passwd", 400),
            (f"{one} {one} {one}", 413),
        ):
            answer = await send.tus("POST", "/files", Upload_Concat=f"final;{urls}")
            assert answer.status == status, urls
    assert service.ran == []


# -- what the handler answers ------------------------------------------------------------


@pytest.mark.parametrize("with_upload", [False, True])
async def test_a_handler_that_refuses(storage: Storage, with_upload: bool) -> None:
    """Its answer passes, is given again, and the upload is not complete for anybody."""
    service = Service(storage)

    async def refuse(request: web.Request) -> Any:
        raise web.HTTPUnprocessableEntity(text="no", headers={"X-Why": "because"})

    service.handler = refuse
    async with service.running() as send:
        if with_upload:
            answer = await send.tus(
                "POST", "/files", b"123", Upload_Length="3",
                Content_Type="application/offset+octet-stream",
            )  # fmt: skip
            url = answer.headers["Location"]
        else:
            url = await send.create(3)
            answer = await send.tus("PATCH", url, b"123", Upload_Offset="0")
        again = await send.tus("PATCH", url, b"", Upload_Offset="3")
        for answer in (answer, again):  # noqa: B020
            assert (answer.status, answer.body) == (422, b"no")
            assert answer.headers["X-Why"] == "because"
            assert answer.headers["Tus-Resumable"] == "1.0.0"
        assert (await send.tus("HEAD", url)).status == 410
    assert len(service.ran) == 1


async def test_a_handler_that_fails(storage: Storage) -> None:
    service = Service(storage)

    async def fail(request: web.Request) -> Any:
        raise ZeroDivisionError

    service.handler = fail
    async with service.running() as send:
        url = await send.create(3)
        answer = await send.tus("PATCH", url, b"123", Upload_Offset="0")
        assert answer.status == 500
        assert answer.headers["Tus-Resumable"] == "1.0.0"
        assert (await send.tus("PATCH", url, b"", Upload_Offset="3")).status == 500
        assert (await send.tus("HEAD", url)).status == 410
    assert len(service.ran) == 1


async def test_an_upload_that_receive_refuses_leaves_nothing(storage: Storage) -> None:
    service = Service(storage)

    async def images(request: web.Request) -> Any:
        async with receive(request, accept={"image/*"}):
            return Text("never")

    service.handler = images
    async with service.running() as send:
        url = await send.create(3)
        answer = await send.tus("PATCH", url, b"123", Upload_Offset="0")
        assert answer.status == 415
        assert await service.keys() == []


async def test_a_redirect_passes(storage: Storage) -> None:
    service = Service(storage)

    async def there(request: web.Request) -> Any:
        raise web.HTTPSeeOther("/there")

    service.handler = there
    async with service.running() as send:
        url = await send.create(1)
        for data, at in ((b"1", "0"), (b"", "1")):
            answer = await send.tus("PATCH", url, data, Upload_Offset=at)
            assert (answer.status, answer.headers["Location"]) == (303, "/there")


async def test_the_handler_reads_as_it_likes(storage: Storage) -> None:
    """By each helper, by aiohttp's own calls, and more than once."""
    service = Service(storage)
    read: list[Any] = []

    async def handle(request: web.Request) -> Any:
        assert request.method == "POST"
        assert request.path_qs == "/files"
        assert request.content_type == "application/json"
        assert request.can_read_body
        assert request.content_length == 7
        read.append(await read_bytes(request))
        read.append(await request.json())
        read.append(await request.read())
        upload = upload_of(request)
        assert upload is not None
        return JSON(upload.id)

    service.handler = handle
    async with service.running() as send:
        url = await send.create(
            7, Upload_Metadata=metadata(filetype="application/json")
        )
        await send.tus("PATCH", url, b'{"a', Upload_Offset="0")
        answer = await send.tus("PATCH", url, b'":1}', Upload_Offset="3")
        assert answer.status == 204
    assert read == [b'{"a":1}', {"a": 1}, b'{"a":1}']


async def test_aiohttp_s_own_content_is_the_upload(storage: Storage) -> None:
    service = Service(storage)
    read = []

    async def handle(request: web.Request) -> Any:
        while not request.content.at_eof():
            read.append(await request.content.read(3))
        return Text("")

    service.handler = handle
    async with service.running() as send:
        url = await send.create(5)
        await send.tus("PATCH", url, b"1234", Upload_Offset="0")
        await send.tus("PATCH", url, b"5", Upload_Offset="4")
    assert b"".join(read) == b"12345"


async def test_the_length_of_a_route_holds(storage: Storage) -> None:
    """``max_body`` is the largest upload where nothing else is said."""
    service = Service(storage, limits=Limits(max_body=10))
    async with service.running() as send:
        assert (await send("OPTIONS", "/files")).headers["Tus-Max-Size"] == "10"
        answer = await send.tus("POST", "/files", Upload_Length="11")
        assert answer.status == 413
        answer = await send.tus(
            "POST", "/files", b"x" * 20, Upload_Length="20",
            Content_Type="application/offset+octet-stream",
        )  # fmt: skip
        assert answer.status == 413
        assert answer.headers["Tus-Resumable"] == "1.0.0"
        url = await send.create(10)
        answer = await send.tus("PATCH", url, b"x" * 10, Upload_Offset="0")
        assert answer.status == 204


async def test_an_upload_larger_than_a_body_may_be(storage: Storage) -> None:
    service = Service(storage, limits=Limits(max_body=10, max_file=10), max_size=100)
    async with service.running() as send:
        url = await send.create(50)
        answer = await send.tus("PATCH", url, b"x" * 50, Upload_Offset="0")
        assert answer.status == 204
        # An ordinary body is held to what holds for those.
        assert (await send("POST", "/files", b"x" * 50)).status == 413
    assert service.bodies == [b"x" * 50]


async def test_a_file_that_is_larger_than_files_may_be(storage: Storage) -> None:
    service = Service(storage, limits=Limits(max_body=100, max_file=10), max_size=200)
    async with service.running() as send:
        url = await send.create(50)
        answer = await send.tus("PATCH", url, b"x" * 50, Upload_Offset="0")
        assert answer.status == 413


async def test_the_size_of_one_request(storage: Storage) -> None:
    service = Service(storage, uploads={"max_append_size": 10})
    async with service.running() as send:
        limits = (await send("OPTIONS", "/files")).headers["Upload-Limit"]
        assert "max-append-size=10" in limits
        url = await send.create(50)
        answer = await send.tus("PATCH", url, b"x" * 11, Upload_Offset="0")
        assert answer.status == 413
        answer = await send.tus(
            "PATCH", url, chunked(b"x" * 6, b"x" * 6), Upload_Offset="0"
        )
        assert answer.status == 413
        at = (await send.tus("HEAD", url)).offset
        assert at is not None
        while at < 50:
            answer = await send.tus(
                "PATCH",
                url,
                b"x" * 10 if at < 40 else b"x" * (50 - at),
                Upload_Offset=str(at),
            )
            assert answer.status == 204
            assert answer.offset is not None
            at = answer.offset
    assert service.bodies == [b"x" * 50]


async def test_a_client_that_is_too_slow_keeps_its_bytes(storage: Storage) -> None:
    service = Service(storage, limits=Limits(idle_timeout=0.2))
    async with serving(service.app()) as address, client(address) as send:
        url = await send.create(len(DATA))
        path = url.partition(f":{address[1]}")[2]
        async with connected(address) as raw:
            head = post(
                DATA, method="PATCH", path=path,
                headers=[
                    ("Tus-Resumable", "1.0.0"), ("Upload-Offset", "0"),
                    ("Content-Type", "application/offset+octet-stream"),
                ],
            )  # fmt: skip
            await raw.send(head[: -len(DATA) + 3000])
            status, headers, _ = await raw.response()
            assert (status, headers["upload-offset"]) == (408, "3000")
        assert (await send.tus("HEAD", url)).offset == 3000


async def test_a_content_is_asked_for_when_it_is_wanted(storage: Storage) -> None:
    service = Service(storage)
    async with serving(service.app()) as address, client(address) as send:
        url = await send.create(5)
        path = url.partition(f":{address[1]}")[2]
        for offset, expected in (("3", b"HTTP/1.1 409"), ("0", b"HTTP/1.1 100")):
            async with connected(address) as raw:
                head = post(
                    method="PATCH",
                    path=path,
                    headers=[
                        ("Tus-Resumable", "1.0.0"),
                        ("Upload-Offset", offset),
                        ("Content-Type", "application/offset+octet-stream"),
                        ("Content-Length", "5"),
                        ("Expect", "100-continue"),
                    ],
                )
                await raw.send(head)
                assert (await raw.reader.readline()).startswith(expected)
                if expected.endswith(b"100"):
                    await raw.reader.readline()
                    await raw.send(b"12345")
                    assert (await raw.response())[0] == 204
    assert service.bodies == [b"12345"]


async def test_a_chunked_content_is_appended(storage: Storage) -> None:
    service = Service(storage)
    async with serving(service.app()) as address, client(address) as send:
        url = await send.create(5)
        path = url.partition(f":{address[1]}")[2]
        async with connected(address) as raw:
            await raw.send(
                post(
                    method="PATCH", path=path,
                    headers=[
                        ("Tus-Resumable", "1.0.0"), ("Upload-Offset", "0"),
                        ("Content-Type", "application/offset+octet-stream"), *CHUNKED,
                    ],
                ),
                chunk(b"123"), chunk(b"45"), b"0\r\n\r\n",
            )  # fmt: skip
            assert (await raw.response())[0] == 204
    assert service.bodies == [b"12345"]


async def test_patch_without_the_version_is_told_what_is_missing(
    storage: Storage,
) -> None:
    """No other protocol has that media type."""
    service = Service(storage)
    async with service.running() as send:
        url = await send.create(5)
        answer = await send(
            "PATCH", url, b"12345", Upload_Offset="0",
            Content_Type="application/offset+octet-stream",
        )  # fmt: skip
        assert answer.status == 412
        assert answer.headers["Tus-Version"] == "1.0.0"
        assert (await send.tus("HEAD", url)).offset == 0


async def test_two_at_one_offset(storage: Storage) -> None:
    """At most one is answered 2xx, and the bytes of exactly one count."""
    service = Service(storage)
    async with service.running() as send:
        for _ in range(10):
            url = await send.create(1000)
            bodies = [bytes([65 + n]) * 1000 for n in range(4)]
            answers = await asyncio.gather(
                *(send.tus("PATCH", url, body, Upload_Offset="0") for body in bodies)
            )
            good = [n for n, answer in enumerate(answers) if answer.status == 204]
            assert len(good) == 1, answers
            assert {answer.status for answer in answers} <= {204, 409, 423}
            assert service.bodies.pop() == bodies[good[0]]
            assert not service.bodies
