"""The request helpers: every way to read a body, remembered, limited, refused."""

from __future__ import annotations

import asyncio
import dataclasses
import gzip
import json
import threading
from typing import Any

import pytest
from aiohttp import web

from aiostreams import (
    JSON,
    NDJSON,
    ClientGone,
    File,
    Form,
    InvalidContent,
    LimitExceeded,
    Limits,
    MalformedBody,
    MemoryStorage,
    Text,
    UnsupportedContent,
    expect_continue,
    iter_json,
    iter_ndjson,
    iter_parts,
    limit,
    open_stream,
    read_bytes,
    read_content,
    read_form,
    read_json,
    read_text,
    receive,
    setup,
)
from aiostreams.content.base import INLINE
from aiostreams.web.state import body_of
from tests.servers import CHUNKED, chunk, connected, post, serving
from tests.web.scripts import Script, dripped, run, typed


async def test_open_stream_is_the_same_object_at_every_call() -> None:
    async def script(request: web.BaseRequest) -> Any:
        stream = open_stream(request)
        assert open_stream(request) is stream
        return stream.size, stream.content_type, await stream.read()

    assert await run(script, typed("text/plain", b"abc")) == (3, "text/plain", b"abc")


async def test_read_bytes_is_remembered_for_every_helper() -> None:
    async def script(request: web.BaseRequest) -> Any:
        return [
            await read_bytes(request),
            await read_bytes(request),
            await read_json(request),
            await read_text(request),
            (await read_content(request)).data,  # type: ignore[attr-defined]
            await open_stream(request).read(),
            await read_bytes(request),
        ]

    got = await run(script, typed("application/json", b"[1]"))
    assert got == [b"[1]", b"[1]", [1], "[1]", [1], b"[1]", b"[1]"]


async def test_what_is_remembered_is_parsed_from_its_beginning_each_time() -> None:
    async def multipart(request: web.BaseRequest) -> Any:
        await read_bytes(request)
        names = []
        for _ in range(2):
            names += [part.name async for part in iter_parts(request)]
            async with receive(request, MemoryStorage()) as upload:
                names += upload.form
            async for part in iter_parts(request):
                names.append(part.name)
                break
        return names, list((await read_form(request)).form.items())

    async def values(request: web.BaseRequest) -> Any:
        await read_bytes(request)
        got: list[Any] = []
        for _ in range(2):
            got += [value async for value in iter_json(request)]
            got += [value async for value in iter_ndjson(request)]
        return got

    form = (
        b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
        b'--x\r\nContent-Disposition: form-data; name="b"\r\n\r\n2\r\n--x--\r\n'
    )
    got = await run(multipart, typed("multipart/form-data; boundary=x", form))
    assert got == (["a", "b", "a", "b", "a"] * 2, [("a", "1"), ("b", "2")])
    assert await run(values, typed("application/json", b"[1]")) == [1, [1]] * 2


@pytest.mark.parametrize("rest", [(), (b"cd",)], ids=["arrived", "arriving"])
async def test_what_read_bytes_has_read_is_in_the_stream(rest: tuple[bytes]) -> None:
    async def script(request: web.BaseRequest) -> Any:
        whole = await read_bytes(request)
        stream = open_stream(request)
        assert open_stream(request) is stream
        facts = stream.position, stream.size, stream.content_type
        return whole, facts, await stream.read(), await read_bytes(request)

    head = post(headers=[("Content-Type", "text/x"), ("Content-Length", "4")])
    first = b"ab" if rest else b"abcd"
    facts = (0, 4, "text/x")
    expected = (b"abcd", facts, b"abcd", b"abcd")
    assert await run(script, head + first, *rest) == expected


async def test_a_body_beyond_the_limit_is_an_error_as_soon_as_it_is_seen() -> None:
    async def script(request: web.BaseRequest) -> Any:
        body_of(request).limits = Limits(max_body=3)
        stream = open_stream(request)
        first = await stream.readany()
        for _ in range(2):
            with pytest.raises(LimitExceeded) as caught:
                await stream.readany()
        return first, caught.value.limit, caught.value.seen

    # The client says no more, and waits.
    unfinished = post(headers=CHUNKED) + chunk(b"abcd")
    assert await run(script, unfinished) == (b"abc", 3, 4)


async def test_what_is_left_of_a_body_is_not_remembered_as_the_whole() -> None:
    async def script(request: web.BaseRequest) -> Any:
        head = await open_stream(request).read(2)
        return head, await read_bytes(request), await read_bytes(request)

    assert await run(script, post(b"abcd")) == (b"ab", b"cd", b"")


async def test_a_body_that_aiohttp_has_read_can_be_had() -> None:
    async def script(request: web.BaseRequest) -> Any:
        await request.read()
        return await read_json(request), await open_stream(request).read()

    assert await run(script, typed("application/json", b'{"a":1}')) == (
        {"a": 1},
        b'{"a":1}',
    )


async def test_no_body_is_an_empty_body() -> None:
    async def script(request: web.BaseRequest) -> Any:
        return await read_bytes(request), open_stream(request).size

    assert await run(script, post(None, method="GET")) == (b"", 0)


@pytest.mark.parametrize("extra", [0, 1])
@pytest.mark.parametrize("chunked", [False, True])
async def test_max_memory_lets_n_pass_and_refuses_one_more(
    chunked: bool, extra: int
) -> None:
    limits = Limits(max_memory=100)
    body = b"x" * (100 + extra)

    async def script(request: web.BaseRequest) -> Any:
        try:
            return len(await read_bytes(request, limits=limits))
        except LimitExceeded as error:
            # Nothing is lost: what was read is there for others.
            return error.limit, error.seen, len(await open_stream(request).read())

    pieces = dripped(body) if chunked else [post(body)]
    assert await run(script, *pieces) == ((100, 101, 101) if extra else 100)


async def test_a_body_too_large_by_its_own_account_is_refused_unread() -> None:
    async def script(request: web.BaseRequest) -> Any:
        with pytest.raises(LimitExceeded) as caught:
            open_stream(request)
        return caught.value.limit, caught.value.seen, request.content.total_bytes

    head = post(headers=[("Content-Length", str(1024**3 + 1))])
    assert await run(script, head) == (1024**3, 1024**3 + 1, 0)


@dataclasses.dataclass
class User:
    name: str
    score: int


async def test_read_json_into_a_type() -> None:
    async def script(request: web.BaseRequest) -> User:
        return await read_json(request, type=User)

    good = typed("application/json", b'{"name":"zelda","score":478}')
    assert await run(script, good) == User("zelda", 478)
    bad = typed("application/json", b'{"name":"zelda","score":"478"}')
    with pytest.raises(InvalidContent, match="score"):
        await run(script, bad)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b'{"a":}', b"[1,2", b"\xff", b"NaN", b"[Infinity]", b"[" * 100_000],
)
async def test_malformed_json(body: bytes) -> None:
    with pytest.raises(MalformedBody):
        await run(read_json, typed("application/json", body))


async def test_read_json_takes_only_json_unless_told() -> None:
    xml = typed("application/xml", b"[1]")
    with pytest.raises(UnsupportedContent) as caught:
        await run(read_json, xml)
    assert caught.value.accept == "application/json"

    async def anything(request: web.BaseRequest) -> Any:
        return await read_json(request, content_type=None)

    async def special(request: web.BaseRequest) -> Any:
        return await read_json(request, content_type="application/xml")

    assert await run(anything, xml) == [1]
    assert await run(special, xml) == [1]
    assert await run(read_json, post(b"[1]")) == [1]
    for name in ("application/json; charset=utf-8", "application/problem+json"):
        assert await run(read_json, typed(name, b"[1]")) == [1]


@pytest.mark.parametrize("charset", ["latin-1", "utf-16", "utf-8"])
async def test_read_json_in_the_charset_that_the_client_names(charset: str) -> None:
    body = '{"name":"é"}'.encode(charset)
    sent = typed(f"application/json; charset={charset}", body)
    assert await run(read_json, sent) == {"name": "é"}


@pytest.mark.parametrize("over", [0, 1])
async def test_read_json_of_a_large_body_is_parsed_beside_the_loop(over: int) -> None:
    body = json.dumps("x" * (INLINE + over - 2)).encode()
    assert len(body) == INLINE + over
    here = threading.get_ident()

    async def script(request: web.BaseRequest) -> Any:
        return await read_json(
            request, loads=lambda text: (threading.get_ident(), json.loads(text))
        )

    where, value = await run(script, typed("application/json", body))
    assert (where != here) is bool(over)
    assert len(value) == len(body) - 2


async def test_limits_of_an_inner_middleware_replace_those_of_the_outer() -> None:
    async def script(request: web.BaseRequest) -> Any:
        found = [body_of(request).limits.max_parts]
        found.append(body_of(request, Limits(max_parts=3)).limits.max_parts)
        return [*found, body_of(request).limits.max_parts]

    assert await run(script, post(b"")) == [Limits().max_parts, 3, 3]


async def test_read_json_with_another_parser() -> None:
    async def script(request: web.BaseRequest) -> Any:
        return await read_json(request, loads=lambda text: ["parsed", len(text)])

    assert await run(script, post(b"123")) == ["parsed", 3]


async def test_read_text_by_its_charset() -> None:
    latin = typed("text/plain; charset=iso-8859-1", b"caf\xe9")
    assert await run(read_text, latin) == "café"
    assert await run(read_text, post("café".encode())) == "café"
    with pytest.raises(MalformedBody):
        await run(read_text, typed("text/plain; charset=utf-8", b"caf\xe9"))
    for charset in ("nobody-knows", "zlib_codec", "idna"):
        with pytest.raises(UnsupportedContent):
            await run(read_text, typed(f"text/plain; charset={charset}", b"x"))


async def test_iter_ndjson_gives_values_as_they_arrive() -> None:
    first = asyncio.Event()

    async def script(request: web.BaseRequest) -> Any:
        got = []
        async for value in iter_ndjson(request):
            got.append(value)
            first.set()
        return got

    result: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def handler(request: web.Request) -> web.Response:
        result.set_result(await script(request))
        return web.Response()

    async with serving(handler) as address, connected(address) as raw:
        await raw.send(post(headers=CHUNKED), chunk(b'{"a":1}\n[2'))
        await first.wait()
        await raw.send(chunk(b"]\n\n3"), b"0\r\n\r\n")
        assert await result == [{"a": 1}, [2], 3]


async def test_iter_ndjson_errors_name_the_line() -> None:
    async def script(request: web.BaseRequest) -> Any:
        return [value async for value in iter_ndjson(request, type=int)]

    with pytest.raises(MalformedBody, match="line 2"):
        await run(script, post(b"1\n{\n"))
    with pytest.raises(InvalidContent, match="line 2"):
        await run(script, post(b'1\n"x"\n'))

    async def strict(request: web.BaseRequest) -> Any:
        kind = "application/x-ndjson"
        return [value async for value in iter_ndjson(request, content_type=kind)]

    with pytest.raises(UnsupportedContent):
        await run(strict, typed("text/csv", b"1\n"))

    async def short(request: web.BaseRequest) -> Any:
        return [value async for value in iter_ndjson(request, max_line_length=4)]

    assert await run(short, post(b"123\n456\n")) == [123, 456]
    with pytest.raises(LimitExceeded):
        await run(short, post(b"123\n4567\n"))


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        ("application/json", b"[1]", JSON([1])),
        ("application/vnd.api+json", b"[1]", JSON([1])),
        ("application/x-www-form-urlencoded", b"a=1%2B1", Form({"a": "1+1"})),
        ("text/plain; charset=utf-8", b"hi", Text("hi")),
    ],
)
async def test_read_content_by_its_type(
    content_type: str, body: bytes, expected: Any
) -> None:
    assert await run(read_content, typed(content_type, body)) == expected


async def test_read_content_streams_what_it_cannot_hold() -> None:
    async def rows(request: web.BaseRequest) -> Any:
        content = await read_content(request)
        assert isinstance(content, NDJSON)
        return [value async for value in content]

    for name in ("x-ndjson", "ndjson", "jsonl", "x-jsonlines"):
        assert await run(rows, typed(f"application/{name}", b"1\n2\n")) == [1, 2]

    async def file(request: web.BaseRequest) -> Any:
        content = await read_content(request)
        assert isinstance(content, File)
        async with content as stream:
            return await stream.read()

    assert await run(file, typed("video/webm", b"\x1a\x45")) == b"\x1a\x45"
    assert await run(file, post(b"who knows")) == b"who knows"


async def test_read_content_of_welcome_types_only() -> None:
    async def script(request: web.BaseRequest) -> Any:
        return await read_content(request, JSON, Form)

    with pytest.raises(UnsupportedContent) as caught:
        await run(script, typed("text/plain", b"x"))
    assert caught.value.accept == (
        "application/json, application/x-www-form-urlencoded"
    )
    assert await run(script, typed("application/json", b"1")) == JSON(1)


@pytest.mark.parametrize("helper", [read_bytes, read_text, read_json])
@pytest.mark.parametrize("left", [0, 1, 5])
async def test_a_client_that_leaves(helper: Script, left: int) -> None:
    head = post(headers=[("Content-Length", "10")])
    with pytest.raises(ClientGone):
        await run(helper, head + b"12345"[:left], leave=True)


async def test_a_gzip_body_is_decoded_once_under_aiohttps_own_decoding() -> None:
    body = gzip.compress(b"[1]")
    head = [("Content-Encoding", "gzip"), ("Content-Type", "application/json")]
    assert await run(read_json, post(body, headers=head)) == [1]


# -- PUT with Content-Range ----------------------------------------------------------


async def received(request: web.BaseRequest) -> Any:
    async with receive(request, MemoryStorage()) as upload:
        return upload


async def parts_of(request: web.BaseRequest) -> Any:
    return [part async for part in iter_parts(request)]


async def streamed(request: web.BaseRequest) -> Any:
    return await open_stream(request).read()


async def values_of(request: web.BaseRequest) -> Any:
    return [value async for value in iter_json(request)]


async def lines_of(request: web.BaseRequest) -> Any:
    return [value async for value in iter_ndjson(request)]


async def posted(request: web.BaseRequest) -> Any:
    return dict(await request.post())


async def content_of(request: web.BaseRequest) -> Any:
    return await request.content.read()


JSON_TYPE = "application/json"
FORM_TYPE = "application/x-www-form-urlencoded"
MULTIPART = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--\r\n'


@pytest.mark.parametrize(
    ("call", "content_type", "body"),
    [
        (read_bytes, JSON_TYPE, b"[1]"),
        (read_text, JSON_TYPE, b"[1]"),
        (read_json, JSON_TYPE, b"[1]"),
        (read_content, JSON_TYPE, b"[1]"),
        (read_content, "video/webm", b"\x1a\x45"),
        (values_of, JSON_TYPE, b"[1]"),
        (lines_of, JSON_TYPE, b"[1]"),
        (streamed, JSON_TYPE, b"[1]"),
        (read_form, FORM_TYPE, b"a=1"),
        (read_form, "multipart/form-data; boundary=x", MULTIPART),
        (parts_of, "multipart/form-data; boundary=x", MULTIPART),
        (received, "multipart/form-data; boundary=x", MULTIPART),
        (received, FORM_TYPE, b"a=1"),
        (received, "video/webm", b"\x1a\x45"),
        (web.BaseRequest.read, JSON_TYPE, b"[1]"),
        (web.BaseRequest.text, JSON_TYPE, b"[1]"),
        (web.BaseRequest.json, JSON_TYPE, b"[1]"),
        (content_of, JSON_TYPE, b"[1]"),
        (posted, FORM_TYPE, b"a=1"),
        (posted, "multipart/form-data; boundary=x", MULTIPART),
    ],
)
async def test_a_part_is_not_put_in_place_of_the_whole(
    call: Script, content_type: str, body: bytes
) -> None:
    """RFC 9110 section 14.5: by no way of reading, unless the route says so."""
    seen: list[Any] = []

    async def refusing(request: web.Request) -> web.Response:
        await call(request)
        return web.Response(text="taken")

    @limit(partial_put=True)
    async def taking(request: web.Request) -> web.Response:
        seen.append(await call(request))
        return web.Response(text="taken")

    app = web.Application()
    for method in ("PUT", "PATCH", "POST"):
        app.router.add_route(method, "/", refusing)
    app.router.add_put("/parts", taking)
    headers = [("Content-Type", content_type), ("Content-Range", "bytes 5-7/8")]
    whole = [("Content-Type", content_type)]
    async with serving(setup(app)) as address, connected(address) as raw:

        async def answer(method: str, path: str, fields: Any) -> int:
            await raw.send(post(body, headers=fields, method=method, path=path))
            status, _, said = await raw.response()
            assert (said == b"taken") is (status == 200)
            assert (b"Content-Range" in said) is (status == 400)
            return status

        assert await answer("PUT", "/", headers) == 400
        assert await answer("PUT", "/", whole) == 200
        assert await answer("PUT", "/parts", headers) == 200
        # Only with PUT does it have a meaning that is known.
        assert await answer("PATCH", "/", headers) == 200
        assert await answer("POST", "/", headers) == 200
    assert len(seen) == 1


async def test_a_part_is_refused_before_it_is_asked_for() -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=await read_bytes(request))

    app = web.Application()
    app.router.add_put("/", handler, expect_handler=expect_continue)
    headers = [
        ("Content-Length", "5"),
        ("Content-Range", "bytes 5-9/10"),
        ("Expect", "100-continue"),
    ]
    async with (
        serving(setup(app), lingering_time=0) as address,
        connected(address) as raw,
    ):
        await raw.send(post(headers=headers, method="PUT"))
        assert (await raw.response())[0] == 400
