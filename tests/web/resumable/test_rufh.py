"""The IETF's resumable uploads over HTTP: each rule of the draft, in each version."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import json
from typing import Any

import pytest
from aiohttp import web

from aiostreams import (
    JSON,
    Limits,
    Storage,
    Text,
    read_form,
    read_json,
    receive,
    upload_of,
)
from tests.servers import CHUNKED, Raw, chunk, connected, post, serving

from .server import Answer, Service, chunked, client, metadata

DATA = bytes(range(256)) * 40
VERSIONS = [5, 6, 7, 8, 9]
PROBLEM = "https://iana.org/assignments/http-problem-types#"


def limits_of(answer: Answer) -> dict[str, int]:
    pairs = answer.headers["Upload-Limit"].split(", ")
    return {name: int(value) for name, value in (pair.split("=") for pair in pairs)}


@pytest.mark.parametrize("version", VERSIONS)
async def test_an_upload_in_one_request(storage: Storage, version: int) -> None:
    service = Service(storage)
    async with service.running() as send:
        answer = await send.rufh(
            "POST", "/files", DATA, version=version, Upload_Complete="?1",
            Content_Type="text/plain",
            Content_Disposition='inline; filename="a.txt"',
        )  # fmt: skip
        assert (answer.status, answer.complete) == (200, True)
        assert json.loads(answer.body)["name"] == "a.txt"
        assert answer.offset == len(DATA)
        assert answer.headers["Upload-Draft-Interop-Version"] == str(version)
        assert limits_of(answer)["max-size"] == 2**30
        url = answer.headers["Location"]
        told = await send.rufh("HEAD", url, version=version)
        assert (told.status, told.complete, told.offset) == (204, True, len(DATA))
        assert told.headers["Upload-Length"] == str(len(DATA))
    assert service.bodies == [DATA]
    [upload] = service.ran
    assert upload is not None
    assert upload.protocol == "rufh"
    assert upload.metadata == {"filetype": "text/plain", "filename": "a.txt"}


@pytest.mark.parametrize("version", VERSIONS)
async def test_an_upload_in_pieces(storage: Storage, version: int) -> None:
    service = Service(storage)
    async with service.running() as send:
        created = await send.rufh(
            "POST", "/files", DATA[:100], version=version, Upload_Complete="?0",
            Upload_Length=str(len(DATA)),
        )  # fmt: skip
        assert (created.status, created.complete, created.offset) == (201, False, 100)
        url = created.headers["Location"]
        assert limits_of(created)["max-age"] > 86000
        at = 100
        for size in (0, 1, 5000):
            told = await send.rufh("HEAD", url, version=version)
            assert (told.status, told.complete, told.offset) == (204, False, at)
            assert told.headers["Cache-Control"] == "no-store"
            assert told.headers["Upload-Length"] == str(len(DATA))
            assert limits_of(told)["max-size"] == 2**30
            answer = await send.rufh(
                "PATCH", url, DATA[at : at + size], version=version,
                Upload_Offset=str(at), Upload_Complete="?0",
            )  # fmt: skip
            at += size
            assert answer.status == (201 if version <= 6 else 204)
            assert (answer.complete, answer.offset) == (False, at)
            assert "Location" not in answer.headers
        answer = await send.rufh(
            "PATCH", url, DATA[at:], version=version,
            Upload_Offset=str(at), Upload_Complete="?1",
        )  # fmt: skip
        assert (answer.status, answer.complete) == (200, True)
        assert answer.offset == len(DATA)
        key = json.loads(answer.body)["key"]
        # The final answer, for whoever has not heard it.
        again = await send.rufh(
            "PATCH", url, b"", version=version,
            Upload_Offset=str(len(DATA)), Upload_Complete="?1",
        )  # fmt: skip
        assert (again.status, again.complete) == (200, True)
        assert again.body == answer.body
        assert again.headers["X-Key"] == key
    assert service.bodies == [DATA]
    assert len(service.ran) == 1


async def test_version_3_says_the_opposite(storage: Storage) -> None:
    service = Service(storage)
    async with service.running() as send:
        created = await send.rufh(
            "POST", "/files", DATA[:100], version=3, Upload_Incomplete="?1"
        )
        assert created.status == 201
        assert created.headers["Upload-Incomplete"] == "?1"
        assert "Upload-Complete" not in created.headers
        url = created.headers["Location"]
        told = await send.rufh("HEAD", url, version=3)
        assert (told.status, told.offset) == (204, 100)
        assert told.headers["Upload-Incomplete"] == "?1"
        for method in ("HEAD", "DELETE"):
            fields: list[dict[str, Any]] = [
                {"Upload_Offset": "0"},
                {"Upload_Incomplete": "?0"},
            ]
            for field in fields:
                answer = await send.rufh(method, url, version=3, **field)
                assert answer.status == 400
        answer = await send.rufh(
            "PATCH", url, DATA[100:200], version=3, Content_Type="text/x",
            Upload_Offset="100", Upload_Incomplete="?1",
        )  # fmt: skip
        assert (answer.status, answer.offset) == (201, 200)
        answer = await send.rufh(
            "PATCH", url, DATA[200:], version=3,
            Upload_Offset="200", Upload_Incomplete="?0",
        )  # fmt: skip
        assert (answer.status, answer.headers["Upload-Incomplete"]) == (200, "?0")
    assert service.bodies == [DATA]


@pytest.mark.parametrize("version", [None, 4, 99])
async def test_another_version_or_none(storage: Storage, version: int | None) -> None:
    """All works but interim responses."""
    service = Service(storage, uploads={"interim": True})
    async with service.running() as send:
        url = await send.begin(DATA[:10], version=version)
        answer = await send.rufh(
            "PATCH", url, DATA[10:], version=version,
            Upload_Offset="10", Upload_Complete="?1",
        )  # fmt: skip
        assert (answer.status, answer.complete) == (200, True)
        assert "Upload-Draft-Interop-Version" not in answer.headers
    assert service.bodies == [DATA]


@pytest.mark.parametrize("value", ["1", "true", "?2", "x", "?1, ?1", "?", ""])
async def test_a_field_that_is_none_is_an_ordinary_request(
    storage: Storage, value: str
) -> None:
    service = Service(storage)
    async with service.running() as send:
        answer = await send.rufh("POST", "/files", DATA, Upload_Complete=value)
        assert (answer.status, answer.complete) == (200, None)
        assert "Upload-Limit" not in answer.headers
    assert service.ran == [None]


async def test_the_last_byte_does_not_complete(storage: Storage) -> None:
    service = Service(storage)
    async with service.running() as send:
        url = await send.begin(DATA, Upload_Length=str(len(DATA)))
        told = await send.rufh("HEAD", url)
        assert (told.complete, told.offset) == (False, len(DATA))
        assert service.ran == []
        answer = await send.rufh(
            "PATCH", url, b"", Upload_Offset=str(len(DATA)), Upload_Complete="?1"
        )
        assert (answer.status, answer.complete) == (200, True)
    assert service.bodies == [DATA]


@pytest.mark.parametrize("complete", ["?0", "?1"])
async def test_a_creation_of_nothing(storage: Storage, complete: str) -> None:
    service = Service(storage)
    async with service.running() as send:
        answer = await send.rufh("POST", "/files", Upload_Complete=complete)
        assert "Location" in answer.headers
        assert answer.status == (200 if complete == "?1" else 201)
    assert service.bodies == ([b""] if complete == "?1" else [])


async def test_the_wrong_offset(storage: Storage) -> None:
    service = Service(storage)
    async with service.running() as send:
        url = await send.begin(DATA[:10])
        for offset in (0, 9, 11):
            answer = await send.rufh(
                "PATCH", url, b"x", Upload_Offset=str(offset), Upload_Complete="?0"
            )
            assert (answer.status, answer.complete, answer.offset) == (409, False, 10)
            problem = json.loads(answer.body)
            assert problem["type"] == PROBLEM + "mismatching-upload-offset"
            assert problem["expected-offset"] == 10
            assert problem["provided-offset"] == offset
        assert (await send.rufh("HEAD", url)).offset == 10


async def test_lengths_that_do_not_match(storage: Storage) -> None:
    service = Service(storage)
    async with service.running() as send:
        answer = await send.rufh(
            "POST", "/files", b"12345", Upload_Complete="?1", Upload_Length="6"
        )
        assert (answer.status, answer.complete) == (400, False)
        problem = json.loads(answer.body)
        assert problem["type"] == PROBLEM + "inconsistent-upload-length"
        url = await send.begin(b"12345", Upload_Length="10")
        for data, complete, length in (
            (b"67", "?0", "11"), (b"67", "?1", None), (b"67", "?1", "10"),
        ):  # fmt: skip
            headers: dict[str, Any] = (
                {} if length is None else {"Upload_Length": length}
            )
            answer = await send.rufh(
                "PATCH", url, data, Upload_Offset="5", Upload_Complete=complete,
                **headers,
            )  # fmt: skip
            assert (answer.status, answer.complete) == (400, False), (data, answer)
            assert json.loads(answer.body)["type"].endswith(
                "inconsistent-upload-length"
            )
            assert (await send.rufh("HEAD", url)).offset == 5
        # Short, and nobody could know before its end.
        answer = await send.rufh(
            "PATCH", url, chunked(b"67"), Upload_Offset="5", Upload_Complete="?1"
        )
        assert (answer.status, answer.complete, answer.offset) == (400, False, 7)
        answer = await send.rufh(
            "PATCH", url, b"890", Upload_Offset="7", Upload_Complete="?1"
        )
        assert answer.status == 200
    assert service.bodies == [b"1234567890"]


@pytest.mark.parametrize("known", [False, True])
async def test_content_beyond_the_length_makes_the_upload_invalid(
    storage: Storage, known: bool
) -> None:
    service = Service(storage)
    async with service.running() as send:
        url = await send.begin(b"12345", Upload_Length="10")
        data = b"678901" if known else chunked(b"67", b"8901")
        answer = await send.rufh(
            "PATCH", url, data, Upload_Offset="5", Upload_Complete="?0"
        )
        assert (answer.status, answer.complete) == (400, False)
        for method in ("HEAD", "PATCH", "DELETE"):
            answer = await send.rufh(
                method, url, Upload_Offset="5", Upload_Complete="?0"
            )
            assert answer.status == 410
    assert service.ran == []


async def test_a_limit_is_told_where_it_is_passed(storage: Storage) -> None:
    service = Service(storage, max_size=10)
    async with service.running() as send:
        answers = [
            await send.rufh("POST", "/files", b"x" * 11, Upload_Complete="?1"),
            await send.rufh("POST", "/files", b"x", Upload_Complete="?0",
                            Upload_Length="11"),
            await send.rufh("POST", "/files", chunked(b"x" * 6, b"x" * 6),
                            Upload_Complete="?1"),
        ]  # fmt: skip
        url = await send.begin(b"12345")
        answers += [
            await send.rufh("PATCH", url, b"678901", Upload_Offset="5",
                            Upload_Complete="?0"),
            await send.rufh("PATCH", url, chunked(b"67", b"8901"), Upload_Offset="5",
                            Upload_Complete="?0"),
        ]  # fmt: skip
        for answer in answers:
            assert (answer.status, answer.complete) == (413, False), answer
            assert limits_of(answer)["max-size"] == 10
        # It goes on, within the limit.
        at = (await send.rufh("HEAD", url)).offset
        assert at is not None
        answer = await send.rufh(
            "PATCH", url, b"x" * (10 - at), Upload_Offset=str(at), Upload_Complete="?1"
        )
        assert answer.status == 200


async def test_the_body_limit_of_the_route_is_told_too(storage: Storage) -> None:
    """Also that by Content-Length, which is held against a body before its handler."""
    service = Service(storage, limits=Limits(max_body=10))
    async with service.running() as send:
        answer = await send.rufh("POST", "/files", b"x" * 11, Upload_Complete="?1")
        assert (answer.status, answer.complete) == (413, False)
        assert limits_of(answer) == {"max-size": 10}
        ordinary = await send("POST", "/files", b"x" * 11)
        assert (ordinary.status, ordinary.complete) == (413, None)


async def test_the_size_of_one_request(storage: Storage) -> None:
    service = Service(storage, uploads={"max_append_size": 5})
    async with service.running() as send:
        options = await send("OPTIONS", "/files")
        assert limits_of(options)["max-append-size"] == 5
        for data in (b"123456", chunked(b"123", b"456")):
            answer = await send.rufh("POST", "/files", data, Upload_Complete="?1")
            assert (answer.status, answer.complete) == (413, False)
            assert limits_of(answer)["max-append-size"] == 5
        url = await send.begin(b"12345")
        answer = await send.rufh(
            "PATCH", url, b"678901", Upload_Offset="5", Upload_Complete="?1"
        )
        assert answer.status == 413
        answer = await send.rufh(
            "PATCH", url, b"67890", Upload_Offset="5", Upload_Complete="?1"
        )
        assert answer.status == 200


async def test_options(storage: Storage) -> None:
    service = Service(storage)
    async with service.running() as send:
        answer = await send("OPTIONS", "/files")
        assert limits_of(answer) == {"max-size": 2**30}
        assert answer.headers["Accept-Patch"] == "application/partial-upload"
        assert answer.complete is None


async def test_ends_of_limits_do_not_move_earlier(storage: Storage) -> None:
    service = Service(storage, expires=1000)
    async with service.running() as send:
        url = await send.begin(b"1")
        ages = []
        for at in range(1, 4):
            await asyncio.sleep(0.01)
            answer = await send.rufh(
                "PATCH", url, b"1", Upload_Offset=str(at), Upload_Complete="?0"
            )
            ages.append(limits_of(answer)["max-age"])
        assert all(998 <= age <= 1000 for age in ages)


@pytest.mark.parametrize("version", [6, 7, 8, 9, None])
async def test_the_media_type_of_an_append(
    storage: Storage, version: int | None
) -> None:
    service = Service(storage)
    async with service.running() as send:
        url = await send.begin(b"1", version=version)
        answer = await send.rufh(
            "PATCH", url, b"2", version=version, Content_Type="text/plain",
            Upload_Offset="1", Upload_Complete="?0",
        )  # fmt: skip
        assert (answer.status, answer.complete) == (415, False)
        assert answer.headers["Accept-Patch"] == "application/partial-upload"
        assert (await send.rufh("HEAD", url)).offset == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"Upload_Complete": "?0"},
        {"Upload_Offset": "1"},
        {"Upload_Offset": "-1", "Upload_Complete": "?0"},
        {"Upload_Offset": "1", "Upload_Complete": "0"},
    ],
)
async def test_appends_that_say_too_little(
    storage: Storage, headers: dict[str, Any]
) -> None:
    service = Service(storage)
    async with service.running() as send:
        url = await send.begin(b"1")
        answer = await send.rufh("PATCH", url, b"2", **headers)
        assert (answer.status, answer.complete) == (400, False)
        assert (await send.rufh("HEAD", url)).offset == 1


async def test_appends_to_a_complete_upload(storage: Storage) -> None:
    service = Service(storage)
    async with service.running() as send:
        answer = await send.rufh("POST", "/files", b"12345", Upload_Complete="?1")
        url = answer.headers["Location"]
        for offset, data, complete, status, kind in (
            ("5", b"6", "?1", 400, "inconsistent-upload-length"),
            ("5", b"", "?0", 400, "completed-upload"),
            ("0", b"12345", "?1", 409, "mismatching-upload-offset"),
        ):
            answer = await send.rufh(
                "PATCH", url, data, Upload_Offset=offset, Upload_Complete=complete
            )
            assert (answer.status, answer.complete) == (status, False)
            assert json.loads(answer.body)["type"] == PROBLEM + kind
            told = await send.rufh("HEAD", url)
            assert (told.offset, told.complete) == (5, True)
    assert len(service.ran) == 1


async def test_cancellation(storage: Storage) -> None:
    service = Service(storage)
    async with service.running() as send:
        url = await send.begin(b"1")
        assert (await send.rufh("DELETE", url)).status == 204
        for method in ("HEAD", "PATCH", "DELETE"):
            answer = await send.rufh(
                method, url, Upload_Offset="1", Upload_Complete="?1"
            )
            assert answer.status in {404, 410}
            assert answer.offset is None


async def test_redirects_are_never_sent_for_an_upload(storage: Storage) -> None:
    """Those of the handler are its own: with ?1."""
    service = Service(storage)

    async def there(request: web.Request) -> Any:
        raise web.HTTPFound("/there")

    service.handler = there
    async with service.running() as send:
        answer = await send.rufh("POST", "/files", b"1", Upload_Complete="?1")
        assert (answer.status, answer.complete) == (302, True)
        assert answer.headers["Location"] == "/there"


async def test_a_handler_that_refuses(storage: Storage) -> None:
    service = Service(storage)

    async def refuse(request: web.Request) -> Any:
        raise web.HTTPUnprocessableEntity(text="no")

    service.handler = refuse
    async with service.running() as send:
        answer = await send.rufh("POST", "/files", b"1", Upload_Complete="?1")
        assert (answer.status, answer.complete, answer.body) == (422, True, b"no")
        url = answer.headers["Location"]
        told = await send.rufh("HEAD", url)
        assert (told.status, told.complete) == (204, True)
        again = await send.rufh(
            "PATCH", url, b"", Upload_Offset="1", Upload_Complete="?1"
        )
        assert (again.status, again.complete, again.body) == (422, True, b"no")
    assert len(service.ran) == 1


async def test_an_answer_of_any_kind_is_given_again(storage: Storage) -> None:
    service = Service(storage)
    big = Text("x" * 100_000)

    async def handle(request: web.Request) -> Any:
        return big

    service.handler = handle
    async with service.running() as send:
        answer = await send.rufh("POST", "/files", b"1", Upload_Complete="?1")
        assert answer.body == b"x" * 100_000
        again = await send.rufh(
            "PATCH", answer.headers["Location"], b"", Upload_Offset="1",
            Upload_Complete="?1",
        )  # fmt: skip
        # Too long to be kept, so without its content.
        assert (again.status, again.complete, again.body) == (200, True, b"")


async def test_the_handler_may_send_what_it_receives(storage: Storage) -> None:
    """The bytes are there until the response is."""
    service = Service(storage)

    async def echo(request: web.Request) -> Any:
        from aiostreams import open_stream

        return open_stream(request)

    service.handler = echo
    async with service.running() as send:
        url = await send.begin(DATA)
        answer = await send.rufh(
            "PATCH", url, b"", Upload_Offset=str(len(DATA)), Upload_Complete="?1"
        )
        assert (answer.status, answer.body) == (200, DATA)


async def test_no_secret_is_kept(storage: Storage) -> None:
    service = Service(storage)

    async def handle(request: web.Request) -> Any:
        assert request.headers["Authorization"] == "Bearer finishing"
        assert request.cookies["session"] == "finishing"
        response = web.Response(text="hello")
        response.set_cookie("secret", "answer")
        return response

    service.handler = handle
    async with service.running() as send:
        url = await send.begin(
            b"1", Authorization="Bearer creating", Cookie="session=creating"
        )
        answer = await send.rufh(
            "PATCH", url, b"", Upload_Offset="1", Upload_Complete="?1",
            Authorization="Bearer finishing", Cookie="session=finishing",
        )  # fmt: skip
        assert answer.headers["Set-Cookie"].startswith("secret=answer")
        again = await send.rufh(
            "PATCH", url, b"", Upload_Offset="1", Upload_Complete="?1"
        )
        assert again.body == b"hello"
        assert "Set-Cookie" not in again.headers
        hidden: Any = storage.hidden  # type: ignore[attr-defined]
        async for found in hidden.list():
            async with await hidden.open(found.key) as stream:
                kept = await stream.read()
            for word in (b"creating", b"finishing", b"secret"):
                assert word not in kept, found.key


# -- bodies of other kinds ---------------------------------------------------------------


async def test_json_and_forms_are_read_as_ever(storage: Storage) -> None:
    service = Service(storage)
    seen: list[Any] = []

    async def handle(request: web.Request) -> Any:
        seen.append(await read_json(request))
        return JSON("ok")

    service.handler = handle
    async with service.running() as send:
        url = await send.begin(b'{"a"', Content_Type="application/json")
        answer = await send.rufh(
            "PATCH", url, b":1}", Upload_Offset="4", Upload_Complete="?1"
        )
        assert answer.status == 200
    assert seen == [{"a": 1}]


BODY = (
    b"--b\r\nContent-Disposition: form-data; name=note\r\n\r\nhello\r\n"
    b'--b\r\nContent-Disposition: form-data; name=file; filename="a.txt"\r\n\r\n'
    + DATA
    + b"\r\n--b--\r\n"
)


@pytest.mark.parametrize("how", ["receive", "read_form", "post"])
async def test_a_whole_form_is_resumed(storage: Storage, how: str) -> None:
    service = Service(storage)
    seen: list[Any] = []

    async def handle(request: web.Request) -> Any:
        if how == "receive":
            async with receive(request) as upload:
                seen.append(upload.form["note"])
                stream = await upload.files["file"].open()
                async with stream:
                    seen.append(await stream.read())
        elif how == "read_form":
            form = await read_form(request)
            async with form.files["file"] as stream:
                seen.extend((form.form["note"], await stream.read()))
        else:
            posted: Any = await request.post()
            with posted["file"].file as file:
                seen.extend((posted["note"], file.read()))
        return JSON("ok")

    service.handler = handle
    async with service.running() as send:
        url = await send.begin(
            BODY[:100], Content_Type="multipart/form-data; boundary=b"
        )
        answer = await send.rufh(
            "PATCH", url, BODY[100:], Upload_Offset="100", Upload_Complete="?1"
        )
        assert answer.status == 200, answer
    assert seen == ["hello", DATA]


async def test_a_coded_body_is_staged_coded(storage: Storage) -> None:
    """Offsets count coded bytes; the coding is undone when all are there."""
    service = Service(storage)
    coded = gzip.compress(DATA)
    async with service.running(auto_decompress=False) as send:
        url = await send.begin(coded[:50], Content_Encoding="gzip")
        assert (await send.rufh("HEAD", url)).offset == 50
        answer = await send.rufh(
            "PATCH", url, coded[50:], Upload_Offset="50", Upload_Complete="?1"
        )
        assert answer.status == 200, answer
    assert service.bodies == [DATA]


async def test_a_coded_body_that_aiohttp_has_decoded(storage: Storage) -> None:
    """It cannot be resumed; in one request it is an ordinary one."""
    service = Service(storage)
    coded = gzip.compress(DATA)
    async with service.running() as send:
        answer = await send.rufh(
            "POST", "/files", coded, Upload_Complete="?1", Content_Encoding="gzip"
        )
        assert (answer.status, answer.complete) == (200, None)
        answer = await send.rufh(
            "POST", "/files", coded, Upload_Complete="?0", Content_Encoding="gzip"
        )
        assert answer.status == 415
    assert service.bodies == [DATA]
    assert service.ran == [None]


async def test_digests_of_the_representation(storage: Storage) -> None:
    service = Service(storage)
    right = base64.b64encode(hashlib.sha256(DATA).digest()).decode()
    wrong = base64.b64encode(hashlib.sha256(b"x").digest()).decode()
    async with service.running() as send:
        for digest, status in ((right, 200), (wrong, 422)):
            url = await send.begin(DATA[:100], Repr_Digest=f"sha-256=:{digest}:")
            answer = await send.rufh(
                "PATCH", url, DATA[100:], Upload_Offset="100", Upload_Complete="?1"
            )
            assert (answer.status, answer.complete) == (status, True)
        assert len(await service.keys()) == 1


async def test_digests_of_a_content(storage: Storage) -> None:
    """A content that is not as its digest says is not appended."""
    service = Service(storage)
    async with service.running() as send:
        url = await send.begin(DATA[:100])
        piece = DATA[100:]
        for data, status in ((piece + b"x", 422), (piece, 200)):
            digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
            answer = await send.rufh(
                "PATCH", url, piece, Upload_Offset="100", Upload_Complete="?1",
                Content_Digest=f"sha-256=:{digest}:",
            )  # fmt: skip
            assert answer.status == status
            if status == 422:
                assert (answer.complete, answer.offset) == (False, 100)
                assert (await send.rufh("HEAD", url)).offset == 100
    assert service.bodies == [DATA]


async def test_what_tus_js_client_says_in_this_protocol(storage: Storage) -> None:
    """Upload-Metadata, and a creation that is labelled as a part."""
    service = Service(storage)
    async with service.running() as send:
        answer = await send.rufh(
            "POST", "/files", DATA, version=6, Upload_Complete="?1",
            Content_Type="application/partial-upload", Upload_Defer_Length="1",
            Upload_Metadata=metadata(filename="b.txt", filetype="text/plain", note="x"),
        )  # fmt: skip
        told = json.loads(answer.body)
        assert (told["name"], told["note"]) == ("b.txt", "x")
    [upload] = service.ran
    assert upload is not None
    assert upload.metadata["filetype"] == "text/plain"


async def test_metadata_of_the_other_protocol_that_cannot_be_read(
    storage: Storage,
) -> None:
    service = Service(storage)
    async with service.running() as send:
        answer = await send.rufh(
            "POST", "/files", DATA, Upload_Complete="?1", Upload_Metadata="a *"
        )
        assert answer.status == 200


# -- interim responses -------------------------------------------------------------------


async def interim(raw: Raw) -> tuple[int, dict[str, str]]:
    head = await raw.reader.readuntil(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    fields = (line.partition(":") for line in lines[1:] if line)
    return int(lines[0].split()[1]), {n.lower(): v.strip() for n, _, v in fields}


def creation(version: str | None, http: str = "1.1", **headers: str) -> bytes:
    lines = [f"POST /files HTTP/{http}", "Host: localhost", "Upload-Complete: ?1"]
    if version is not None:
        lines.append(f"Upload-Draft-Interop-Version: {version}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


@pytest.mark.parametrize("version", [3, 5, 6, 7, 8, 9])
async def test_the_upload_is_announced_before_its_bytes(
    storage: Storage, version: int
) -> None:
    service = Service(storage, uploads={"interim": True})
    async with serving(service.app()) as address, connected(address) as raw:
        field = {"Upload_Incomplete": "?0"} if version == 3 else {}
        await raw.send(creation(str(version), Content_Length="5", **field))
        status, headers = await interim(raw)
        assert status == 104
        assert headers["upload-draft-interop-version"] == str(version)
        assert "max-size=" in headers["upload-limit"]
        await raw.send(b"12345")
        final, told, _ = await raw.response()
        assert final == 200
        assert told["location"] == headers["location"]
    assert service.bodies == [b"12345"]


async def test_an_interrupted_creation_goes_on_at_the_url_of_the_104(
    storage: Storage,
) -> None:
    service = Service(storage, uploads={"interim": True})
    async with serving(service.app()) as address, client(address) as send:
        async with connected(address) as raw:
            await raw.send(creation("8", Content_Length="10"), b"12345")
            _, headers = await interim(raw)
        path = headers["location"].removeprefix("http://localhost")
        told = await send.rufh("HEAD", path)
        assert (told.offset, told.complete) == (5, False)
        assert told.headers["Upload-Length"] == "10"
        answer = await send.rufh(
            "PATCH", path, b"67890", Upload_Offset="5",
            Upload_Complete="?1",
        )  # fmt: skip
        assert answer.status == 200
    assert service.bodies == [b"1234567890"]


async def test_progress_is_told_when_bytes_count(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aiostreams.resumable import engine

    monkeypatch.setattr(engine, "_COMMIT_BYTES", 5)
    service = Service(storage, uploads={"interim": True})
    async with serving(service.app()) as address, client(address) as send:
        url = await send.begin(b"")
        path = url.partition(f":{address[1]}")[2]
        async with connected(address) as raw:
            head = post(
                method="PATCH", path=path,
                headers=[
                    ("Upload-Offset", "0"), ("Upload-Complete", "?0"),
                    ("Upload-Draft-Interop-Version", "9"),
                    ("Content-Type", "application/partial-upload"), *CHUNKED,
                ],
            )  # fmt: skip
            await raw.send(head, chunk(b"12345"))
            status, headers = await interim(raw)
            assert (status, headers["upload-offset"]) == (104, "5")
            assert "location" not in headers
            await raw.send(chunk(b"6789012"))
            assert (await interim(raw))[1]["upload-offset"] == "12"
            await raw.send(b"0\r\n\r\n")
            final, told, _ = await raw.response()
            assert (final, told["upload-offset"]) == (204, "12")


@pytest.mark.parametrize(
    ("on", "version", "http"),
    [
        (False, "9", "1.1"),
        (True, None, "1.1"),
        (True, "4", "1.1"),
        (True, "5", "1.1"),
        (True, "9", "1.0"),
    ],
)
async def test_no_interim_response_is_sent(
    storage: Storage, on: bool, version: str | None, http: str
) -> None:
    """Not unless asked for, without a version of ours, nor to HTTP/1.0."""
    uploads = {"interim": on, "versions": (6, 7, 8, 9)}
    service = Service(storage, uploads=uploads)
    async with serving(service.app()) as address, connected(address) as raw:
        await raw.send(creation(version, http, Content_Length="5"), b"12345")
        assert (await raw.response())[0] == 200


async def test_100_is_sent_beside_104(storage: Storage) -> None:
    from aiostreams import ResumableUploads, expect_continue, resumable, setup

    service = Service(storage)
    app = web.Application()
    app.router.add_post(
        "/files", resumable()(service.handle), expect_handler=expect_continue
    )
    setup(app, storage=storage, resumable=ResumableUploads(interim=True))
    async with serving(app) as address, connected(address) as raw:
        await raw.send(creation("9", Content_Length="5", Expect="100-continue"))
        assert (await interim(raw))[0] == 104
        assert (await interim(raw))[0] == 100
        await raw.send(b"12345")
        assert (await raw.response())[0] == 200


# -- early refusals ----------------------------------------------------------------------


async def test_a_type_that_is_not_welcome_is_refused_before_its_bytes(
    storage: Storage,
) -> None:
    service = Service(storage, accept={"image/*"})
    async with serving(service.app()) as address, client(address) as send:
        answer = await send.rufh(
            "POST", "/files", b"x", Upload_Complete="?0", Content_Type="text/plain"
        )
        assert (answer.status, answer.complete) == (415, True)
        assert answer.headers["Accept"] == "image/*"
        # One that is not declared may be any.
        url = await send.begin(b"")
        path = url.partition(f":{address[1]}")[2]
        async with connected(address) as raw:
            head = post(
                method="PATCH", path=path,
                headers=[
                    ("Upload-Offset", "0"), ("Upload-Complete", "?1"),
                    ("Content-Length", "100000"),
                    ("Content-Type", "application/partial-upload"),
                ],
            )  # fmt: skip
            await raw.send(head, b"%PDF-1.7\n" + b"x" * 600)
            status, headers, _ = await raw.response()
            assert (status, headers["upload-complete"]) == (415, "?1")
        assert (await send.rufh("HEAD", url)).status in {404, 410}
    assert service.ran == []


async def test_what_shows_its_type_late_is_refused_at_the_end(
    storage: Storage,
) -> None:
    service = Service(storage, accept={"image/*"})
    async with service.running() as send:
        url = await send.begin(b"")
        answer = await send.rufh(
            "PATCH", url, b"not an image", Upload_Offset="0", Upload_Complete="?1"
        )
        assert (answer.status, answer.complete) == (415, True)
        told = await send.rufh("HEAD", url)
        assert (told.status, told.complete) == (204, True)
    assert service.ran == []


async def test_on_create_may_refuse(storage: Storage) -> None:
    asked: list[Any] = []

    async def on_create(request: web.Request, upload: Any) -> None:
        asked.append(upload)
        assert upload_of(request) is None
        if upload.length is None or upload.length > 5:
            raise web.HTTPForbidden(text="too much for you")

    service = Service(storage, on_create=on_create)
    async with service.running() as send:
        answer = await send.rufh(
            "POST", "/files", b"123456", Upload_Complete="?1",
            Content_Disposition='inline; filename="a.txt"',
        )  # fmt: skip
        assert (answer.status, answer.body) == (403, b"too much for you")
        assert answer.complete is True
        assert asked[0].offset == 0
        assert asked[0].length == 6
        assert asked[0].metadata == {"filename": "a.txt"}
        answer = await send.rufh("POST", "/files", b"12345", Upload_Complete="?1")
        assert answer.status == 200
        answer = await send.tus("POST", "/files", Upload_Length="9")
        assert (answer.status, answer.body) == (403, b"too much for you")
        assert answer.headers["Tus-Resumable"] == "1.0.0"


async def test_any_method_with_content_may_create(storage: Storage) -> None:
    from aiostreams import resumable, setup

    service = Service(storage)
    app = web.Application()
    app.router.add_put("/x/{name}", resumable()(service.handle))
    setup(app, storage=storage)
    async with serving(app) as address, client(address) as send:
        answer = await send.rufh("PUT", "/x/y", DATA[:10], Upload_Complete="?0")
        url = answer.headers["Location"]
        assert "/x/y?upload=" in url
        answer = await send.rufh(
            "PATCH", url, DATA[10:], Upload_Offset="10", Upload_Complete="?1"
        )
        assert answer.status == 200
    assert service.bodies == [DATA]
