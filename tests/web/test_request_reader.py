"""aiohttp's own calls and ours read one body: the same bytes, whichever comes first."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from aiostreams import (
    HTTPStream,
    LimitExceeded,
    Limits,
    MemoryStorage,
    expect_continue,
    iter_json,
    iter_ndjson,
    iter_parts,
    open_stream,
    read_bytes,
    read_content,
    read_form,
    read_json,
    read_text,
    receive,
    setup,
)
from tests.multiparts import form, plain
from tests.servers import CHUNKED, chunk, connected, post, serving

Read = Callable[[web.Request], Awaitable[Any]]

VALUE = [1, {"name": "zelda"}, "ü" * 50]
TEXT = json.dumps(VALUE)
FIELDS = [["a", "first"], ["b", "x" * 300], ["a", "zweites"]]
MULTIPART = form(*((plain(name), text.encode()) for name, text in FIELDS))
URLENCODED = "&".join(f"{name}={text}" for name, text in FIELDS).encode()


# -- every way to read a JSON body -------------------------------------------------


async def all_of_ours(request: web.Request) -> Any:
    return json.loads(await open_stream(request).read())


async def content_of_ours(request: web.Request) -> Any:
    return (await read_content(request)).data  # type: ignore[attr-defined]


async def items(request: web.Request) -> Any:
    return [value async for value in iter_json(request)]


async def lines(request: web.Request) -> Any:
    return await anext(aiter(iter_ndjson(request)))


async def bytes_of_ours(request: web.Request) -> Any:
    return json.loads(await read_bytes(request))


async def text_of_ours(request: web.Request) -> Any:
    return json.loads(await read_text(request))


async def read(request: web.Request) -> Any:
    return json.loads(await request.read())


async def text(request: web.Request) -> Any:
    return json.loads(await request.text())


async def content(request: web.Request) -> Any:
    return json.loads(await request.content.read())


async def content_lines(request: web.Request) -> Any:
    return json.loads(b"".join([line async for line in request.content]))


async def content_chunks(request: web.Request) -> Any:
    pieces = [piece async for piece, _ in request.content.iter_chunks()]
    return json.loads(b"".join(pieces))


async def content_in_sevens(request: web.Request) -> Any:
    pieces = [piece async for piece in request.content.iter_chunked(7)]
    assert max(map(len, pieces)) <= 7
    return json.loads(b"".join(pieces))


JSON_READERS: dict[str, Read] = {
    "read_bytes()": bytes_of_ours,
    "read_text()": text_of_ours,
    "read_json()": read_json,
    "read_content()": content_of_ours,
    "iter_json()": items,
    "iter_ndjson()": lines,
    "open_stream()": all_of_ours,
    "request.read()": read,
    "request.text()": text,
    "request.json()": web.Request.json,
    "request.content": content,
    "request.content, by line": content_lines,
    "request.content, in chunks": content_chunks,
    "request.content, in sevens": content_in_sevens,
}


# -- and a form --------------------------------------------------------------------


async def form_of_ours(request: web.Request) -> Any:
    return sorted(map(list, (await read_form(request)).form.items()))


async def received(request: web.Request) -> Any:
    async with receive(request, MemoryStorage()) as upload:
        return sorted(map(list, upload.form.items()))


async def parts_of_ours(request: web.Request) -> Any:
    return sorted(
        [[part.name, await part.text()] async for part in iter_parts(request)]
    )


async def post_of_theirs(request: web.Request) -> Any:
    return sorted(map(list, (await request.post()).items()))


async def parts_of_theirs(request: web.Request) -> Any:
    found = []
    async for part in await request.multipart():
        assert isinstance(part, aiohttp.BodyPartReader)
        found.append([part.name, await part.text()])
    return sorted(found)


FORM_READERS: dict[str, Read] = {
    "read_form()": form_of_ours,
    "receive()": received,
    "request.post()": post_of_theirs,
}
MULTIPART_READERS = {
    **FORM_READERS,
    "iter_parts()": parts_of_ours,
    "request.multipart()": parts_of_theirs,
}
# What lets the bytes pass and keeps none, and so must come alone.
STREAMING = frozenset(
    {
        "iter_json()", "iter_ndjson()", "open_stream()", "iter_parts()", "receive()",
        "request.content", "request.content, by line", "request.content, in chunks",
        "request.content, in sevens",
    }
)  # fmt: skip

KINDS: dict[str, tuple[str, bytes, Any, dict[str, Read]]] = {
    "json": ("application/json", TEXT.encode(), VALUE, JSON_READERS),
    "multipart": (
        "multipart/form-data; boundary=B",
        MULTIPART,
        sorted(FIELDS),
        MULTIPART_READERS,
    ),
    "urlencoded": (
        "application/x-www-form-urlencoded",
        URLENCODED,
        sorted(FIELDS),
        FORM_READERS,
    ),
}


def ways_of(content_type: str, body: bytes) -> dict[str, list[bytes]]:
    """A request in the ways in which it may arrive."""
    kind = ("Content-Type", content_type)
    coded = gzip.compress(body)
    coding = ("Content-Encoding", "gzip")
    half = len(coded) // 2
    return {
        "whole": [post(body, headers=[kind])],
        "head first": [post(body, headers=[kind])[: -len(body)], body],
        "chunked": [
            post(headers=[kind, *CHUNKED]),
            b"".join(chunk(body[i : i + 1]) for i in range(len(body) // 2)),
            chunk(body[len(body) // 2 :]) + b"0\r\n\r\n",
        ],
        "gzip": [post(coded, headers=[kind, coding])],
        "gzip, chunked": [
            post(headers=[kind, coding, *CHUNKED]),
            chunk(coded[:half]),
            chunk(coded[half:]) + b"0\r\n\r\n",
        ],
    }


def app_of(handler: Any, **kwargs: Any) -> web.Application:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    return setup(app, **kwargs)


async def given(
    handler: Callable[[web.Request], Awaitable[Any]], *pieces: bytes, **limits: Any
) -> Any:
    """What ``handler`` returns for this request; the server decodes nothing."""
    result: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def outer(request: web.Request) -> web.Response:
        try:
            result.set_result(await handler(request))
        except BaseException as error:
            result.set_exception(error)
        return web.Response()

    app = app_of(outer, limits=Limits(**limits))
    async with (
        serving(app, auto_decompress=False) as address,
        connected(address) as raw,
    ):
        await raw.send(*pieces)
        return await result


PAIRS = [
    pytest.param(kind, first, second, id=f"{kind}: {first}, then {second}")
    for kind, (_, _, _, readers) in KINDS.items()
    for first in readers
    for second in readers
]


@pytest.mark.parametrize(("kind", "first", "second"), PAIRS)
async def test_two_readers_get_the_same_or_the_second_an_error(
    kind: str, first: str, second: str
) -> None:
    content_type, body, value, readers = KINDS[kind]
    for way, pieces in ways_of(content_type, body).items():

        async def script(request: web.Request) -> Any:
            found = await readers[first](request)
            try:
                return found, await readers[second](request)
            except RuntimeError as error:
                return found, str(error)
            except ValueError:
                if own_affair(first, second):
                    return found, "nothing"
                raise

        found, again = await given(script, *pieces)
        assert found == value, way
        if again == "nothing":
            continue
        if keeps(first, kind, way):
            assert again == value, way
        elif again != value:
            assert again.startswith(second.partition(",")[0]), way
            assert first.partition(",")[0] in again, way


def own_affair(first: str, second: str) -> bool:
    """Whether the second is at the end of what both share, and is to see that."""
    both = {first.partition(",")[0], second.partition(",")[0]}
    return both in (
        {"open_stream()"},
        {"request.multipart()"},
        {"request.content"},
        {"request.content", "request.read()"},
        {"request.content", "request.text()"},
        {"request.content", "request.json()"},
    )


def keeps(first: str, kind: str, way: str) -> bool:
    """Whether all others get the same after ``first``."""
    if first == "receive()":
        # A small upload that says its size is taken in one piece.
        return kind == "urlencoded" or way in {"whole", "head first"}
    return first not in STREAMING


# -- large bodies, whose bytes nobody keeps ----------------------------------------


@pytest.mark.parametrize("second", ["request.post()", "request.multipart()"])
async def test_after_a_large_form_the_second_reader_is_told(second: str) -> None:
    async def script(request: web.Request) -> Any:
        assert await form_of_ours(request) == sorted(FIELDS)
        with pytest.raises(RuntimeError) as caught:
            await MULTIPART_READERS[second](request)
        return str(caught.value)

    for pieces in ways_of(KINDS["multipart"][0], MULTIPART).values():
        said = await given(script, *pieces, max_memory=len(MULTIPART) - 1)
        assert said.startswith(f"{second} comes too late: read_form() has read")


async def test_what_aiohttp_keeps_is_had_from_the_call_that_keeps_it() -> None:
    """More than ``max_memory``, which holds for us and not for ``request.read()``."""

    async def script(request: web.Request) -> Any:
        data = await request.read()
        assert await request.text() == data.decode()
        with pytest.raises(RuntimeError, match=r"request.read\(\) has read"):
            await read_bytes(request, limits=Limits())
        return len(data)

    assert await given(script, post(b"x" * 100), max_memory=99) == 100


async def test_a_refused_read_leaves_the_body_to_the_next_reader() -> None:
    """``client_max_size`` is the application's, and is held against its own calls."""

    async def handler(request: web.Request) -> web.Response:
        with pytest.raises(web.HTTPRequestEntityTooLarge):
            await request.read()
        return web.json_response(len(await read_bytes(request)))

    app = web.Application(client_max_size=10)
    app.router.add_post("/", handler)
    async with serving(setup(app)) as address, connected(address) as raw:
        for pieces in ([post(b"x" * 100)], [post(b"x" * 100)[:-50], b"x" * 50]):
            await raw.send(*pieces)
            assert (await raw.response())[2] == b"100"


# -- limits, pace and codings hold for them too --------------------------------------


async def refusal(app: web.Application, *pieces: bytes) -> tuple[int, bytes]:
    async with (
        serving(app, auto_decompress=False, lingering_time=0) as address,
        connected(address) as raw,
    ):
        await raw.send(*pieces)
        status, _, body = await raw.response()
        return status, body


THEIRS = {name: call for name, call in JSON_READERS.items() if "request" in name}


@pytest.mark.parametrize("name", THEIRS)
async def test_their_calls_are_held_to_the_limits(name: str) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response(await THEIRS[name](request))

    def app(**limits: Any) -> web.Application:
        return app_of(handler, limits=Limits(**limits))

    gzipped = ("Content-Encoding", "gzip")
    long = post(headers=CHUNKED), chunk(b"[" * 50), chunk(b"[" * 51)
    status, said = await refusal(app(max_body=100), *long)
    assert (status, b"limit 100" in said) == (413, True)
    status, said = await refusal(app(max_body=100), post(b" " * 101))
    assert (status, b"101 bytes, limit 100" in said) == (413, True)
    bomb = post(gzip.compress(b" " * 10**7), headers=[gzipped])
    assert (await refusal(app(), bomb))[0] == 413
    cut = post(gzip.compress(TEXT.encode())[:-4], headers=[gzipped])
    assert (await refusal(app(), cut))[0] == 400
    odd = post(b"[1]", headers=[("Content-Encoding", "nobody")])
    assert (await refusal(app(), odd))[0] == 415
    silent = post(headers=[("Content-Length", "9")])
    assert (await refusal(app(idle_timeout=0.05), silent, b"1"))[0] == 408


@pytest.mark.parametrize("name", THEIRS)
async def test_a_client_that_leaves_their_calls(name: str) -> None:
    caught: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def handler(request: web.Request) -> web.Response:
        try:
            await THEIRS[name](request)
        except ConnectionError as error:
            caught.set_result(type(error))
            raise
        return web.Response()

    async with serving(app_of(handler)) as address:
        async with connected(address) as raw:
            await raw.send(post(headers=[("Content-Length", "9")]), b"[1")
        assert issubclass(await caught, ConnectionError)


async def test_continue_is_asked_for_by_their_first_read() -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response(await request.json())

    app = web.Application()
    app.router.add_post("/", handler, expect_handler=expect_continue)
    head = post(headers=[("Content-Length", "3"), ("Expect", "100-continue")])
    async with serving(setup(app)) as address, connected(address) as raw:
        await raw.send(head)
        line = await raw.reader.readuntil(b"\r\n\r\n")
        assert line == b"HTTP/1.1 100 Continue\r\n\r\n"
        await raw.send(b"[1]")
        assert (await raw.response())[2] == b"[1]"


async def test_digests_are_verified_for_their_calls() -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response(await request.json())

    wrong = ("Content-Digest", f"sha-256=:{base64.b64encode(bytes(32)).decode()}:")
    status, said = await refusal(app_of(handler), post(b"[1]", headers=[wrong]))
    assert (status, b"digest of the body differs" in said) == (422, True)


# -- the rest of what their reader can do --------------------------------------------


@pytest.mark.parametrize("ours", [False, True], ids=["aiohttp alone", "setup()"])
async def test_the_borders_of_http_chunks_are_told(ours: bool) -> None:
    begun = asyncio.Event()

    async def borders(request: web.Request) -> Any:
        found = []
        async for data, end in request.content.iter_chunks():
            found.append([data.decode(), end])
            begun.set()
        return web.json_response(found)

    app = web.Application()
    app.router.add_post("/", borders)
    if ours:
        setup(app)
    async with serving(app) as address, connected(address) as raw:
        await raw.send(post(headers=CHUNKED) + chunk(b"ab") + chunk(b"c") + b"4\r\nde")
        await begun.wait()
        await raw.send(b"fg\r\n", b"0\r\n\r\n")
        found = json.loads((await raw.response())[2])
    joined: list[str] = [""]
    for data, end in found:
        joined[-1] += data
        if end:
            joined.append("")
    assert [whole for whole in joined if whole] == ["ab", "c", "defg"]


async def test_borders_of_a_body_in_one_piece_and_of_one_that_is_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def script(request: web.Request) -> Any:
        return [chunk async for chunk in request.content.iter_chunks()]

    assert await given(script, post(b"abc")) == [(b"abc", False)]
    coded = post(gzip.compress(b"abc"), headers=[("Content-Encoding", "gzip")])
    assert await given(script, coded) == [(b"abc", False)]
    # All requests without a body share a reader of aiohttp's, which says once in the
    # life of a process that it has ended.
    monkeypatch.setattr(aiohttp.streams.EMPTY_PAYLOAD, "_read_eof_chunk", False)
    assert await given(script, post(b"")) == []


async def test_a_chunk_beyond_the_limit_or_never_sent() -> None:
    async def handler(request: web.Request) -> web.Response:
        with pytest.raises((LimitExceeded, TimeoutError)) as caught:
            while True:
                await request.content.readchunk()
        with pytest.raises(caught.type):
            await request.content.readchunk()
        raise caught.value

    app = app_of(handler, limits=Limits(max_body=3, idle_timeout=0.05))
    head = post(headers=CHUNKED)
    assert (await refusal(app, head + chunk(b"abcd")))[0] == 413
    app = app_of(handler, limits=Limits(max_body=3, idle_timeout=0.05))
    assert (await refusal(app, head + chunk(b"abc")))[0] == 408


async def test_a_cancelled_chunk_is_not_lost() -> None:
    seen = asyncio.Event()

    async def handler(request: web.Request) -> web.Response:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await request.content.readchunk()
        seen.set()
        return web.json_response((await request.content.readchunk())[1])

    async with serving(app_of(handler)) as address, connected(address) as raw:
        await raw.send(post(headers=CHUNKED))
        await seen.wait()
        await raw.send(chunk(b"abc"))
        assert (await raw.response())[2] == b"true"


async def test_reads_as_documented_for_a_stream_reader() -> None:
    async def script(request: web.Request) -> Any:
        content = request.content
        assert isinstance(content, aiohttp.StreamReader)
        assert "RequestReader" in repr(content) or "OwnReader" in repr(content)
        await content.wait_eof()
        assert (content.is_eof(), content.at_eof()) == (True, False)
        assert (request.can_read_body, request.body_exists) == (True, True)
        found: list[Any] = [await content.read(0), await content.read(2)]
        found.append(content.read_nowait(1))
        found.append(await content.readexactly(2))
        content.unread_data(b"e")
        found += [await content.readline(), await content.readuntil(b"--")]
        found += [content.read_nowait(), content.read_nowait(), await content.read()]
        assert (content.at_eof(), request.can_read_body) == (True, False)
        assert content.exception() is None
        assert content.total_bytes == content.total_raw_bytes == 15
        assert content.get_read_buffer_limits()[0] > 0
        ended = asyncio.Event()
        content.on_eof(ended.set)
        assert ended.is_set()
        with pytest.raises(asyncio.IncompleteReadError):
            await content.readexactly(1)
        return b"|".join(found)

    expected = b"|ab|c|de|ef\n|gh--|ijkl||"
    assert await given(script, post(b"abcdef\ngh--ijkl")) == expected


async def test_reading_across_a_piece_that_is_longer() -> None:
    """Small reads out of a large piece: none waits, none is lost."""

    async def script(request: web.Request) -> Any:
        content = request.content
        found = [await content.read(3)]
        while data := await content.read(4):
            found.append(data)
        return found

    coded = post(gzip.compress(b"0123456789"), headers=[("Content-Encoding", "gzip")])
    for pieces in (coded, post(b"0123456789")):
        assert await given(script, pieces) == [b"012", b"3456", b"789"]


async def test_a_read_of_n_bytes_waits_for_no_more_than_has_arrived() -> None:
    """As aiohttp's own: a client that waits for an answer to its first bytes gets it."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while data := await request.content.read(100):
            await response.write(data)
        return response

    async with serving(app_of(handler)) as address, connected(address) as raw:
        await raw.send(post(headers=CHUNKED), chunk(b"ping"))
        assert await raw.reader.readuntil(b"ping")
        await raw.send(chunk(b"pong"), chunk(b""))
        assert await raw.reader.readuntil(b"pong")


async def test_two_tasks_at_once_are_refused() -> None:
    async def handler(request: web.Request) -> web.Response:
        first = asyncio.ensure_future(request.content.readany())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError):  # as aiohttp's own reader does
            await request.content.readany()
        with pytest.raises(RuntimeError):
            request.content.read_nowait()
        first.cancel()
        await asyncio.wait([first])
        return web.Response(text=str(first.cancelled()))

    async with serving(app_of(handler)) as address, connected(address) as raw:
        await raw.send(post(headers=[("Content-Length", "9")]))
        assert (await raw.response())[2] == b"True"


async def test_a_request_is_sent_on_as_their_docs_show() -> None:
    async def upstream(request: web.Request) -> web.Response:
        return web.Response(body=request.content)

    async with serving(app_of(upstream)) as (host, port):
        url = f"http://{host}:{port}/"

        async def handler(request: web.Request) -> web.Response:
            async with (
                aiohttp.ClientSession() as session,
                session.post(url, data=request.content) as response,
            ):
                return web.Response(body=await response.read())

        app = app_of(handler)
        coded = gzip.compress(TEXT.encode())
        for sent in (
            post(TEXT.encode()),
            post(coded, headers=[("Content-Encoding", "gzip")]),
        ):
            assert await refusal(app, sent) == (200, TEXT.encode())


async def test_their_reader_is_a_source_for_a_stream_of_ours() -> None:
    async def script(request: web.Request) -> Any:
        stream = HTTPStream.from_request(request)
        return stream.size, await stream.read(), stream.total_raw_bytes

    assert await given(script, post(b"abcd")) == (4, b"abcd", 4)
    coded = gzip.compress(b"abcd")
    sent = post(coded, headers=[("Content-Encoding", "gzip")])
    assert await given(script, sent) == (None, b"abcd", len(coded))


# -- clones, and requests that were there before -------------------------------------


async def test_a_clone_is_read_and_then_its_request() -> None:
    async def script(request: web.Request) -> Any:
        clone = request.clone(method="PUT")
        first = await clone.read()
        return [first, await request.read(), await read_bytes(request)]

    for pieces in ways_of("text/plain", b"abcdef").values():
        assert await given(script, *pieces) == [b"abcdef"] * 3


async def test_a_request_is_read_by_us_and_then_its_clone() -> None:
    async def script(request: web.Request) -> Any:
        first = await read_bytes(request)
        clone = request.clone(headers={"Content-Type": "text/plain"})
        return [first, await clone.read(), await read_bytes(clone), await clone.text()]

    for pieces in ways_of("text/plain", b"abcdef").values():
        found = await given(script, *pieces)
        assert found == [b"abcdef", b"abcdef", b"abcdef", "abcdef"]


async def test_who_looked_at_the_content_before_us_gets_ours_after() -> None:
    """The application inside is set up, the one around it is not."""

    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=await request.content.read())

    @web.middleware
    async def look(request: web.Request, handler: Any) -> web.StreamResponse:
        assert not request.content.at_eof()
        response: web.StreamResponse = await handler(request)
        return response

    inner = web.Application()
    inner.router.add_post("/", handler)
    app = web.Application(middlewares=[look])
    app.add_subapp("/inner", setup(inner))
    coded = gzip.compress(b"abc")
    sent = post(coded, path="/inner/", headers=[("Content-Encoding", "gzip")])
    assert await refusal(app, sent) == (200, b"abc")


@pytest.mark.parametrize("first", ["read", "post", "content"])
async def test_a_body_that_was_read_before_we_were_asked(first: str) -> None:
    """Without ``setup()`` nothing is kept of it but what aiohttp keeps."""
    urlencoded = ("Content-Type", "application/x-www-form-urlencoded")
    result: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def handler(request: web.Request) -> web.Response:
        if first == "content":
            await request.content.read()
        else:
            await getattr(request, first)()
        try:
            result.set_result(await read_bytes(request))
        except RuntimeError as error:
            result.set_result(str(error))
        return web.Response()

    async with serving(handler) as address, connected(address) as raw:
        await raw.send(post(b"a=1", headers=[urlencoded]))
        found = await result
    if first == "content":
        assert "request.post(), .multipart() or .content has read this body" in found
    else:
        assert found == b"a=1"


@pytest.mark.parametrize("ours", [read_json, read_form, open_stream])
async def test_who_comes_when_all_is_over_is_told(ours: Any) -> None:
    """A middleware of the application around, which reads what was let go of."""
    said: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        found = ours(request)
        await (found.read() if ours is open_stream else found)
        return web.Response()

    @web.middleware
    async def late(request: web.Request, handler: Any) -> web.StreamResponse:
        response: web.StreamResponse = await handler(request)
        with pytest.raises(RuntimeError) as caught:
            await request.text()
        said.append(str(caught.value))
        return response

    inner = web.Application()
    inner.router.add_post("/", handler)
    app = web.Application(middlewares=[late])
    app.add_subapp("/inner", setup(inner))
    kind = "application/x-www-form-urlencoded" if ours is read_form else "x/json"
    body = b"a=1" if ours is read_form else b"[1]"
    kind = kind.replace("x/json", "application/json")
    headers = [("Content-Type", kind)]
    await refusal(app, post(body, path="/inner/", headers=headers))
    assert said[0].startswith(f"request.text() comes too late: {ours.__name__}() has")


async def test_no_body_is_as_aiohttp_has_it() -> None:
    async def script(request: web.Request) -> Any:
        assert not request.body_exists
        assert not request.can_read_body
        return await request.read(), await read_bytes(request), await request.text()

    assert await given(script, post(None, method="GET")) == (b"", b"", "")
