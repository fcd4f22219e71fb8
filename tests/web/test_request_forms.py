"""Forms over real connections: read in parts or whole, cut anywhere, broken anywhere."""

from __future__ import annotations

import asyncio
import gc
import gzip
import hashlib
import json
import os
import struct
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from aiostreams import (
    ByteStream,
    ClientGone,
    File,
    FileStream,
    Form,
    HTTPStream,
    IterStream,
    KiB,
    LimitExceeded,
    Limits,
    MalformedBody,
    MiB,
    MultiPart,
    MultiPartStream,
    Part,
    StreamClosed,
    StreamError,
    UnsupportedContent,
    copy,
    iter_parts,
    limit,
    read_bytes,
    read_content,
    read_form,
    respond,
    setup,
)
from aiostreams.sansio.ranges import ByteRange
from aiostreams.web.response import byteranges
from tests.files.disks import descriptors
from tests.multiparts import cut, form, plain
from tests.servers import CHUNKED, chunk, connected, post, serving
from tests.waiting import until

Handler = Callable[[web.Request], Awaitable[Any]]
Answer = tuple[int, dict[str, str], bytes]

TYPE = (("Content-Type", "multipart/form-data; boundary=B"),)
BODY = form(
    (plain("a"), b"first"),
    (plain("f", "me.txt") + b"\r\nContent-Type: text/plain", b"a file" * 100),
    (plain("a"), b"zweites"),
)
PARTS = [["a", None, "first"], ["f", "me.txt", "a file" * 100], ["a", None, "zweites"]]
GOOD = post(BODY, headers=TYPE)


def app_of(handler: Handler, **kwargs: Any) -> web.Application:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    return setup(app, **kwargs)


async def ask(app: web.Application, *pieces: bytes) -> Answer:
    async with (
        serving(app, auto_decompress=False) as address,
        connected(address) as raw,
    ):
        await raw.send(*pieces)
        return await raw.response()


async def parts_handler(request: web.Request) -> web.Response:
    parts = [
        [part.name, part.filename, (await part.read()).decode("latin-1")]
        async for part in iter_parts(request)
    ]
    return web.json_response(parts)


async def form_handler(request: web.Request) -> web.Response:
    value = await read_form(request)
    parts: list[Any] = [[name, None, text] for name, text in value.form.items()]
    for name, file in value.files.items():
        async with file as stream:
            data = await stream.read()
        parts.append([name, getattr(file, "filename", None), data.decode("latin-1")])
    return web.json_response(parts)


def in_order(parts: list[Any]) -> list[Any]:
    return sorted(parts, key=lambda part: part[1] is not None)


HANDLERS = {"iter_parts": parts_handler, "read_form": form_handler}
each_handler = pytest.mark.parametrize(
    "handler", HANDLERS.values(), ids=HANDLERS.keys()
)


def ways_of(
    body: bytes, headers: Iterable[tuple[str, str]] = TYPE
) -> dict[str, list[bytes]]:
    """A request in the ways in which it may arrive."""
    headers = tuple(headers)
    head = post(headers=(*headers, ("Content-Length", str(len(body)))))
    chunked = post(headers=headers + CHUNKED)
    return {
        "whole": [head + body],
        "head first": [head, body],
        "in two": [head + body[:60], body[60:]],
        "chunked": [chunked + b"".join(map(chunk, [body] * bool(body))) + b"0\r\n\r\n"],
        "chunks of 7": [chunked + b"".join(map(chunk, cut(body, 7))) + b"0\r\n\r\n"],
    }


@each_handler
@pytest.mark.parametrize("way", ways_of(BODY).values(), ids=ways_of(BODY).keys())
async def test_a_form_in_each_way(handler: Handler, way: list[bytes]) -> None:
    status, _, body = await ask(app_of(handler), *way)
    assert status == 200
    assert in_order(json.loads(body)) == in_order(PARTS)


@each_handler
async def test_a_form_byte_by_byte(handler: Handler) -> None:
    async with serving(app_of(handler)) as address, connected(address) as raw:
        for byte in GOOD:
            raw.writer.write(bytes([byte]))
            await asyncio.sleep(0)
        status, _, body = await raw.response()
    assert status == 200
    assert in_order(json.loads(body)) == in_order(PARTS)


@each_handler
async def test_many_forms_over_one_connection(handler: Handler) -> None:
    async with serving(app_of(handler)) as address, connected(address) as raw:
        for _ in range(20):
            await raw.send(GOOD)
            assert (await raw.response())[0] == 200


@each_handler
async def test_a_gzipped_form(handler: Handler) -> None:
    headers = (*TYPE, ("Content-Encoding", "gzip"))
    status, _, body = await ask(
        app_of(handler), post(gzip.compress(BODY), headers=headers)
    )
    assert status == 200
    assert in_order(json.loads(body)) == in_order(PARTS)


@each_handler
async def test_without_the_middleware(handler: Handler) -> None:
    async with serving(handler) as address, connected(address) as raw:
        await raw.send(GOOD)
        assert in_order(json.loads((await raw.response())[2])) == in_order(PARTS)


async def test_a_low_level_server_too() -> None:
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        value = await read_form(request)
        return web.Response(text=value.form["a"])

    server = web.Server(handler)
    runner = web.ServerRunner(server)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        async with connected(runner.addresses[0][:2]) as raw:
            await raw.send(GOOD)
            assert (await raw.response())[2] == b"first"
    finally:
        await runner.cleanup()


# -- unread, half read ------------------------------------------------------------------


@pytest.mark.parametrize("read", [None, 0, 1, 2])
@pytest.mark.parametrize("size", [10, 300_000])
async def test_the_next_request_is_read_right(read: int | None, size: int) -> None:
    """Whatever a handler left unread of the last one."""
    large = form((plain("a"), b"x"), (plain("f", "x"), bytes(size)), (plain("b"), b"y"))

    async def handler(request: web.Request) -> web.Response:
        if request.path == "/second":
            return await parts_handler(request)
        if read is not None:
            seen = 0
            async for part in iter_parts(request):
                seen += 1
                if seen > read:
                    await part.read(5)
                    break
        return web.Response(text="first")

    async with serving(app_of(handler)) as address, connected(address) as raw:
        await raw.send(
            post(large, headers=TYPE) + post(BODY, headers=TYPE, path="/second")
        )
        assert (await raw.response())[2] == b"first"
        assert json.loads((await raw.response())[2]) == PARTS


async def test_skipped_parts_are_closed() -> None:
    async def handler(request: web.Request) -> web.Response:
        parts = [part async for part in iter_parts(request)]
        with pytest.raises(StreamClosed):
            await parts[1].read()
        return web.Response(text=" ".join(part.name or "" for part in parts))

    assert (await ask(app_of(handler), GOOD))[2] == b"a f a"


@each_handler
async def test_an_epilogue_is_dropped(handler: Handler) -> None:
    async with serving(app_of(handler)) as address, connected(address) as raw:
        for _ in range(2):
            await raw.send(post(BODY + b"\r\nepilogue" * 1000, headers=TYPE))
            status, _, body = await raw.response()
            assert status == 200
            assert in_order(json.loads(body)) == in_order(PARTS)


async def test_back_pressure_reaches_the_client() -> None:
    """A part that nobody reads on is not taken from the connection."""
    going_on = asyncio.Event()

    async def handler(request: web.Request) -> web.Response:
        size = 0
        async for part in iter_parts(request):
            await part.read(1)
            await going_on.wait()
            size += 1 + len(await part.read())
        return web.Response(text=str(size))

    total = 32 * MiB
    head = form((plain("f", "x"), b"*")).partition(b"*")[0]
    tail = b"\r\n--B--\r\n"
    length = ("Content-Length", str(len(head) + total + len(tail)))
    async with serving(app_of(handler)) as address, connected(address) as raw:
        await raw.send(post(headers=(*TYPE, length)) + head)

        async def send() -> None:
            for _ in range(total // MiB):
                raw.writer.write(bytes(MiB))
                await raw.writer.drain()
            raw.writer.write(tail)

        sending = asyncio.create_task(send())
        done, _ = await asyncio.wait([sending], timeout=0.3)
        assert not done
        going_on.set()
        await sending
        assert (await raw.response())[2] == str(total).encode()


# -- refused ---------------------------------------------------------------------------

MALFORMED = {
    "empty": b"",
    "no delimiter": b"hello",
    "truncated": BODY[:-4],
    "cut in a head": BODY[:30],
    "cut in a part": BODY[:60],
    "LF only": BODY.replace(b"\r\n", b"\n"),
    "no name": form((b"Content-Disposition: form-data", b"")),
    "no disposition": form((b"A: b", b"")),
    "disposition twice": form((plain("a") + b"\r\n" + plain("b"), b"")),
    "name twice": form((plain("a") + b"; name=b", b"")),
    "space before the colon": form((plain("a") + b"\r\nA : b", b"")),
    "folded": form((plain("a") + b"\r\nA: b\r\n c", b"")),
    "wrong length": form((plain("a") + b"\r\nContent-Length: 5", b"abc")),
    "preamble": b"x" * 17 * KiB + b"\r\n" + BODY,
}


@each_handler
@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
async def test_malformed_forms_are_400(
    handler: Handler, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "aiostreams")
    for pieces in ways_of(body).values():
        caplog.clear()
        status, headers, answer = await ask(app_of(handler), *pieces)
        assert status == 400
        assert headers["x-content-type-options"] == "nosniff"
        assert len(caplog.records) == 1
        assert b"hello" not in answer


@each_handler
@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("multipart/form-data", 400),
        ("multipart/form-data; boundary=", 400),
        ("multipart/form-data; boundary=" + "x" * 71, 400),
        ("multipart/form-data; boundary=a; boundary=b", 400),
        ('multipart/form-data; boundary="B', 400),
        ("text/plain", 415),
        ("application/json; boundary=B", 415),
        (None, 415),
    ],
)
async def test_types_that_are_refused(
    handler: Handler, kind: str | None, status: int
) -> None:
    headers = [] if kind is None else [("Content-Type", kind)]
    got, answer, _ = await ask(app_of(handler), post(BODY, headers=headers))
    assert got == status
    assert ("accept" in answer) == (status == 415)


async def test_read_form_takes_forms_only() -> None:
    headers = (("Content-Type", "multipart/mixed; boundary=B"),)
    status, answer, _ = await ask(app_of(form_handler), post(BODY, headers=headers))
    assert status == 415
    assert answer["accept"] == "multipart/form-data, application/x-www-form-urlencoded"
    assert (await ask(app_of(parts_handler), post(BODY, headers=headers)))[0] == 200


def sized(name: str, size: int, filename: str | None = None) -> tuple[bytes, bytes]:
    return plain(name, filename), b"x" * size


LIMITED: dict[str, tuple[Limits, bytes, bytes]] = {
    "max_parts": (
        Limits(max_parts=3),
        form(*[sized("a", 1)] * 3),
        form(*[sized("a", 1)] * 4),
    ),
    "max_field": (Limits(max_field=9), form(sized("a", 9)), form(sized("a", 10))),
    "max_file": (
        Limits(max_file=9),
        form(sized("a", 9, "x")),
        form(sized("a", 10, "x")),
    ),
    "max_headers": (
        Limits(max_headers=2),
        form((plain("a") + b"\r\nA: b", b"")),
        form((plain("a") + b"\r\nA: b\r\nB: c", b"")),
    ),
    "max_header_size": (
        Limits(max_header_size=len(plain("a")) + 2),
        form((plain("a"), b"")),
        form((plain("ab"), b"")),
    ),
    "max_body": (
        Limits(max_body=len(form(sized("a", 100)))),
        form(sized("a", 100)),
        form(sized("a", 101)),
    ),
    "declared part": (
        Limits(max_field=9),
        form((plain("a") + b"\r\nContent-Length: 9", b"x" * 9)),
        form((plain("a") + b"\r\nContent-Length: 10", b"x" * 10)),
    ),
}


@each_handler
@pytest.mark.parametrize("name", LIMITED)
async def test_limits_at_n_and_one_more(handler: Handler, name: str) -> None:
    limits, good, bad = LIMITED[name]
    for body, expected in ((good, 200), (bad, 413)):
        for pieces in ways_of(body).values():
            status, _, _ = await ask(app_of(handler, limits=limits), *pieces)
            assert status == expected


@each_handler
async def test_a_limit_of_the_preamble_is_malformed(handler: Handler) -> None:
    limits = Limits(max_preamble=8)
    for body, expected in (
        (b"12345678\r\n" + BODY, 200),
        (b"123456789\r\n" + BODY, 400),
    ):
        for pieces in ways_of(body).values():
            assert (await ask(app_of(handler, limits=limits), *pieces))[0] == expected


async def test_fields_together_hold_to_max_memory() -> None:
    limits = Limits(max_memory=1000)
    for count, expected in ((10, 200), (11, 413)):
        body = form(*[sized("a", 100)] * count, sized("f", 5000, "x"))
        for pieces in ways_of(body).values():
            status, _, _ = await ask(app_of(form_handler, limits=limits), *pieces)
            assert status == expected


async def test_limits_given_and_limits_of_a_route() -> None:
    async def given(request: web.Request) -> web.Response:
        await read_form(request, limits=Limits(max_parts=2))
        return web.Response()

    @limit(max_parts=2)
    async def route(request: web.Request) -> web.Response:
        async for _ in iter_parts(request):
            pass
        return web.Response()

    for handler in (given, route):
        assert (await ask(app_of(handler), GOOD))[0] == 413


async def test_depth_over_a_request() -> None:
    async def handler(request: web.Request) -> web.Response:
        async def walk(parts: AsyncIterator[Part]) -> int:
            leaves = 0
            async for part in parts:
                if (part.content_type or "").startswith("multipart/"):
                    leaves += await walk(iter_parts(part))
                else:
                    leaves += 1
            return leaves

        return web.Response(text=str(await walk(iter_parts(request))))

    body = form((b"A: b", b""), boundary=b"D0")
    for depth in range(1, 5):
        headers = (("Content-Type", f"multipart/mixed; boundary=D{depth - 1}"),)
        status, _, _ = await ask(app_of(handler), post(body, headers=headers))
        assert status == (200 if depth <= 3 else 400)
        kind = b"Content-Type: " + headers[0][1].encode()
        body = form((kind, body), boundary=b"D%d" % depth)


# -- read_form -------------------------------------------------------------------------


async def outcome(
    script: Handler, *pieces: bytes, leave: bool = False, **kwargs: Any
) -> Any:
    """What the script returns or raises, under the middleware."""
    result: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def handler(request: web.Request) -> web.Response:
        try:
            result.set_result(await script(request))
        except BaseException as error:
            result.set_exception(error)
        return web.Response()

    async with serving(app_of(handler, **kwargs)) as address, connected(address) as raw:
        await raw.send(*pieces)
        if leave:
            raw.reset()
        return await result


async def test_the_form_is_remembered() -> None:
    async def script(request: web.Request) -> bool:
        return await read_form(request) is await read_form(request)

    for pieces in ways_of(BODY).values():
        assert await outcome(script, *pieces)
    urlencoded = (("Content-Type", "application/x-www-form-urlencoded"),)
    assert await outcome(script, post(b"a=1", headers=urlencoded))


async def test_the_body_first_and_the_form_after() -> None:
    """A middleware that checks a signature, then a handler."""

    async def ours(request: web.Request) -> list[str]:
        assert await read_bytes(request) == BODY
        return (await read_form(request)).form.getall("a")

    async def theirs(request: web.Request) -> list[str]:
        assert await request.read() == BODY
        return (await read_form(request)).form.getall("a")

    for script in (ours, theirs):
        for pieces in ways_of(BODY).values():
            assert await outcome(script, *pieces) == ["first", "zweites"]


async def test_a_form_that_was_read_can_be_read_again_while_it_is_small() -> None:
    async def again(request: web.Request) -> Any:
        form = await read_form(request)
        names = [part.name async for part in iter_parts(request)]
        return form.form.getall("a"), names[0], await read_bytes(request) == BODY

    for pieces in ways_of(BODY).values():
        assert await outcome(again, *pieces) == (["first", "zweites"], "a", True)


async def test_reading_a_body_after_its_form_is_not_the_clients_mistake() -> None:
    async def again(request: web.Request) -> None:
        await read_form(request)
        with pytest.raises(RuntimeError, match=r"read_bytes\(\) before") as caught:
            await read_bytes(request)
        assert str(caught.value).startswith(
            "read_bytes() comes too late: read_form() has read the body"
        )
        with pytest.raises(RuntimeError, match=r"read_bytes\(\) before"):
            iter_parts(request)

    for pieces in ways_of(BODY).values():
        await outcome(again, *pieces, limits=Limits(max_memory=len(BODY) - 1))


async def test_urlencoded_forms_have_no_files() -> None:
    async def script(request: web.Request) -> MultiPart:
        return await read_form(request)

    headers = (("Content-Type", "Application/X-WWW-form-urlencoded ; charset=utf-8"),)
    for pieces in ways_of(b"a=1&a=%C3%BC&b=+", headers).values():
        value = await outcome(script, *pieces)
        assert value == MultiPart([("a", "1"), ("a", "ü"), ("b", " ")])
    with pytest.raises(LimitExceeded):
        await outcome(
            script, post(b"a=1&b=2", headers=headers), limits=Limits(max_parts=1)
        )
    with pytest.raises(MalformedBody):
        await outcome(script, post(b"a=%FF", headers=headers))


async def test_read_content_gives_a_multipart() -> None:
    async def script(request: web.Request) -> Any:
        return await read_content(request)

    value = await outcome(script, GOOD)
    assert isinstance(value, MultiPart)
    assert value.form["a"] == "first"

    async def other(request: web.Request) -> Any:
        return await read_content(request, Form)

    with pytest.raises(UnsupportedContent):
        await outcome(other, GOOD)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("ending", ["return", "raise", "limit", "malformed", "leave"])
async def test_files_are_closed_at_the_end_whatever_happens(
    ending: str, temporary: Path
) -> None:
    large = form((plain("f", "x"), bytes(MiB)), (plain("a"), b"x"))
    bad = {
        "limit": large + b"",
        "malformed": large[:-5] + b"oh no",
        "leave": large[: -MiB // 2],
    }
    kept: list[Any] = []

    async def handler(request: web.Request) -> web.Response:
        try:
            value = await read_form(request)
        except StreamError as error:
            kept.append(error)
            raise
        kept.append(value)
        if ending == "raise":
            raise RuntimeError("the handler's own")
        async with value.files["f"] as stream:
            return web.Response(text=str(len(await stream.read())))

    limits = Limits(max_memory=1000, max_field=0 if ending == "limit" else 1000)
    async with serving(app_of(handler, limits=limits)) as address:
        before = descriptors()
        async with connected(address) as raw:
            head = post(headers=(*TYPE, ("Content-Length", str(len(large)))))
            await raw.send(head, bad.get(ending, large))
            if ending == "leave":
                raw.reset()
            else:
                status, _, body = await raw.response()
                expected = {"return": 200, "raise": 500, "limit": 413, "malformed": 400}
                assert status == expected[ending]
                if ending == "return":
                    assert body == str(MiB).encode()
        await until(lambda: kept and descriptors() == before)
        assert descriptors() == before
    if ending == "leave":
        assert isinstance(kept[0], ClientGone)
    if ending in {"return", "raise"}:
        with pytest.raises(StreamClosed):
            await kept[0].files["f"].encode().read()
    assert list(temporary.iterdir()) == []


async def test_a_received_file_as_the_response(temporary: Path) -> None:
    """It is still there while it is sent."""
    data = os.urandom(MiB)
    body = form((plain("f", "me.bin"), data))

    async def handler(request: web.Request) -> Any:
        value = await read_form(request)
        return respond(value.files["f"], filename="me.bin")

    for limits in (Limits(max_memory=1000), Limits(max_memory=4 * MiB)):
        before = descriptors()
        status, headers, answer = await ask(
            app_of(handler, limits=limits), post(body, headers=TYPE)
        )
        assert status == 200
        assert headers["content-disposition"] == 'attachment; filename="me.bin"'
        assert answer == data
        assert descriptors() <= before


async def test_a_disconnect_in_a_part() -> None:
    async def script(request: web.Request) -> None:
        async for part in iter_parts(request):
            await part.read()

    large = form((plain("f", "x"), bytes(MiB)))
    head = post(headers=(*TYPE, ("Content-Length", str(len(large)))))
    with pytest.raises(ClientGone):
        await outcome(script, head, large[:5000], leave=True)


async def test_a_hundred_failed_forms_leave_nothing(temporary: Path) -> None:
    limits = Limits(max_memory=1000)
    bad = post(form((plain("f", "x"), bytes(300_000)))[:-4] + b"oops", headers=TYPE)
    async with serving(app_of(form_handler, limits=limits)) as address:
        async with connected(address) as raw:
            await raw.send(bad)
            await raw.response()
        before = descriptors(), len(asyncio.all_tasks())
        for _ in range(100):
            async with connected(address) as raw:
                raw.writer.write(bad)
                assert (await raw.response())[0] == 400
        await asyncio.sleep(0.05)
        assert descriptors() <= before[0]
        assert len(asyncio.all_tasks()) <= before[1]
    assert list(temporary.iterdir()) == []


def alive() -> int:
    return sum(type(thing) is web.Request for thing in gc.get_objects())


@each_handler
async def test_a_request_leaves_no_circle(handler: Handler) -> None:
    """What was read of its body is free without the garbage collector."""
    async with serving(app_of(handler)) as address, connected(address) as raw:
        await raw.send(GOOD)
        await raw.response()
        gc.collect()
        gc.disable()
        try:
            before = alive()
            for _ in range(5):
                await raw.send(GOOD)
                await raw.response()
            after = alive()
        finally:
            gc.enable()
    # The last one may still be a local of the connection's task.
    assert after <= before + 1


# -- to disk, to a client, from a client ------------------------------------------------


async def test_parts_to_files(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.Response:
        async for part in iter_parts(request):
            if part.filename is None:
                continue
            await part.save(tmp_path / part.safe_filename)
        return web.Response()

    data = os.urandom(3 * MiB)
    body = form((plain("a"), b"x"), (plain("f", "../../me.bin"), data))
    assert (await ask(app_of(handler), post(body, headers=TYPE)))[0] == 200
    assert [file.name for file in tmp_path.iterdir()] == ["me.bin"]
    assert (tmp_path / "me.bin").read_bytes() == data


async def test_a_cut_upload_leaves_no_file(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.Response:
        async for part in iter_parts(request):
            async with FileStream(tmp_path / "x", "wb") as file:
                await copy(part, file)
        return web.Response()

    body = form((plain("f", "x"), bytes(MiB)))
    assert (await ask(app_of(handler), post(body[:-3], headers=TYPE)))[0] == 400
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("known", [True, False])
async def test_a_multipart_as_a_clients_body(known: bool, tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.Response:
        response = await form_handler(request)
        length = request.headers.get("Content-Length")
        response.headers["X-Length"] = str(length)
        return response

    path = tmp_path / "me.txt"
    path.write_bytes(b"in a file")
    file: Any = b"in a file"
    if not known:
        file = File(IterStream([b"in a ", b"file"]), name="me.txt")
    value = MultiPart({"a": "ü"}, {"f": file, "g": File(b"x", name="é.bin")})
    async with (
        serving(app_of(handler)) as (host, port),
        aiohttp.ClientSession() as session,
        session.post(f"http://{host}:{port}/", data=value) as response,
    ):
        assert response.status == 200
        parts = await response.json()
        length = response.headers["X-Length"]
    name = "f" if known else "me.txt"
    assert parts == [["a", None, "ü"], ["f", name, "in a file"], ["g", "é.bin", "x"]]
    assert length == (str(value.encode().size) if known else "None")


async def test_a_multipart_with_an_opened_file_has_its_length(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.Response:
        value = await read_form(request)
        async with value.files["f"] as stream:
            digest = hashlib.sha256(await stream.read()).hexdigest()
        return web.Response(text=f"{request.content_length} {digest}")

    path = tmp_path / "me.bin"
    data = os.urandom(2 * MiB)
    path.write_bytes(data)
    async with (
        serving(app_of(handler)) as (host, port),
        aiohttp.ClientSession() as session,
        MultiPart(files={"f": path}) as stream,
    ):
        await stream.open()
        size = stream.size
        async with session.post(f"http://{host}:{port}/", data=stream) as response:
            text = await response.text()
    assert text == f"{size} {hashlib.sha256(data).hexdigest()}"


async def test_a_form_that_was_received_is_sent_on() -> None:
    """Parse, then forward as a client's body, of exact size."""

    async def front(request: web.Request) -> web.Response:
        value = await read_form(request)
        stream = value.encode()
        async with session.post(
            f"http://{back[0]}:{back[1]}/", data=stream
        ) as response:
            assert response.request_info.headers["Content-Length"] == str(stream.size)
            return web.Response(body=await response.read())

    async with (
        serving(app_of(form_handler)) as back,
        aiohttp.ClientSession() as session,
    ):
        for limits in (Limits(), Limits(max_memory=100)):
            for pieces in ways_of(BODY).values():
                _, _, body = await ask(app_of(front, limits=limits), *pieces)
                if limits.max_memory > 100:
                    assert in_order(json.loads(body)) == in_order(PARTS)


async def test_a_part_that_lies_breaks_the_connection() -> None:
    """Nobody takes a cut body for a whole one, on either side."""

    async def handler(request: web.Request) -> Any:
        if request.method == "GET":
            return MultiPartStream([({}, IterStream([b"12345"], size=told))])
        async for part in iter_parts(request):
            await part.read()
        return web.Response()

    for told in (4, 6):
        async with (
            serving(app_of(handler)) as (host, port),
            aiohttp.ClientSession() as session,
        ):
            url = f"http://{host}:{port}/"
            with pytest.raises(aiohttp.ClientError):
                async with session.get(url) as response:
                    await response.read()
            body = MultiPartStream(
                [
                    (
                        {"Content-Disposition": "form-data; name=a"},
                        IterStream([b"12345"], size=told),
                    )
                ]
            )
            with pytest.raises((aiohttp.ClientError, ValueError)):
                async with session.post(url, data=body) as response:
                    response.raise_for_status()


async def test_a_multipart_response_read_by_a_client() -> None:
    async def handler(request: web.Request) -> Any:
        return MultiPartStream(
            [({"A": "1"}, b"one"), ({"A": "2"}, b"two" * 10_000)], subtype="mixed"
        )

    async with (
        serving(app_of(handler)) as (host, port),
        aiohttp.ClientSession() as session,
        session.get(f"http://{host}:{port}/") as response,
    ):
        assert response.headers["Content-Length"]
        parts = iter_parts(HTTPStream.from_response(response))
        got = [(part.headers["A"], await part.read()) async for part in parts]
    assert got == [("1", b"one"), ("2", b"two" * 10_000)]


async def test_byteranges_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "digits"
    path.write_bytes(b"0123456789" * 100)

    async def handler(request: web.Request) -> Any:
        return File(path)

    headers = {"Range": "bytes=0-4,-3,100-109"}
    async with (
        serving(app_of(handler)) as (host, port),
        aiohttp.ClientSession() as session,
        session.get(f"http://{host}:{port}/", headers=headers) as response,
    ):
        assert response.status == 206
        parts = iter_parts(HTTPStream.from_response(response))
        got = [
            (part.headers["Content-Range"], await part.read()) async for part in parts
        ]
    assert got == [
        ("bytes 0-4/1000", b"01234"),
        ("bytes 997-999/1000", b"789"),
        ("bytes 100-109/1000", b"0123456789"),
    ]


async def test_a_large_upload_does_not_hold_the_event_loop(tmp_path: Path) -> None:
    """The loop turns every few milliseconds, and little memory is taken."""

    async def handler(request: web.Request) -> web.Response:
        value = await read_form(request)
        file = value.files["f"]
        return web.Response(text=str(getattr(file, "size", None)))

    total = 48 * MiB
    head = form((plain("f", "x"), b"*")).partition(b"*")[0]

    async def body() -> AsyncIterator[bytes]:
        yield head
        for number in range(total // MiB):
            yield struct.pack("I", number) * (MiB // 4)
        yield b"\r\n--B--\r\n"

    async with (
        serving(app_of(handler)) as (host, port),
        aiohttp.ClientSession() as session,
        session.post(
            f"http://{host}:{port}/", data=body(), headers=dict(TYPE)
        ) as response,
    ):
        assert await response.text() == str(total)


class Unsliceable(ByteStream):
    """A source whose second slice fails."""

    async def slice(self, offset: int, length: int | None = None) -> ByteStream:
        if offset:
            raise OSError("no more slices")
        self.first = await super().slice(offset, length)
        return self.first


async def test_byteranges_close_what_they_had_when_one_fails() -> None:
    source = Unsliceable(bytes(100))
    with pytest.raises(OSError, match="no more"):
        await byteranges(source, (ByteRange(0, 9), ByteRange(20, 29)), "a/b")
    assert source.first.closed
    with pytest.raises(ValueError, match="header"):
        await byteranges(source, (ByteRange(0, 9),), "a/b\r\nX: y")
    assert source.first.closed
