"""Parts and their reader: in order, one at a time, whatever the body does."""

from __future__ import annotations

import asyncio
import base64
import gzip
import os
import quopri
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from aiostreams import (
    ByteStream,
    FileStream,
    InvalidContent,
    IterStream,
    KiB,
    LimitExceeded,
    Limits,
    MalformedBody,
    MemoryStorage,
    MiB,
    Part,
    Stream,
    StreamBusy,
    StreamClosed,
    UnsupportedContent,
    copy,
    iter_parts,
)
from aiostreams.multipart.body import NestedTooDeeply
from aiostreams.testing import DripStream, FailStream, SpyStream, StallStream
from tests.multiparts import cut, form, plain
from tests.waiting import turns

TYPE = "multipart/form-data; boundary=B"
BODY = form(
    (plain("a"), b"first"),
    (plain("f", "me.txt") + b"\r\nContent-Type: text/plain", b"\r\n--A\x00" * 50),
    (plain("a"), b""),
)
EXPECTED = [
    ("a", None, b"first"),
    ("f", "me.txt", b"\r\n--A\x00" * 50),
    ("a", None, b""),
]


def of(body: bytes, content_type: str = TYPE, *, pieces: int | None = None) -> Stream:
    if pieces is None:
        return ByteStream(body, content_type=content_type)
    return DripStream(body, pieces, content_type=content_type)


async def contents(
    parts: AsyncIterator[Part],
) -> list[tuple[str | None, str | None, bytes]]:
    return [(part.name, part.filename, await part.read()) async for part in parts]


async def only(body: bytes, content_type: str = TYPE, **kwargs: object) -> Part:
    """The first part, readable."""
    parts = iter_parts(of(body, content_type), **kwargs)  # type: ignore[arg-type]
    return await anext(parts)


@pytest.mark.parametrize("pieces", [None, 1, 2, 3, 7, 64])
async def test_parts_come_in_order(pieces: int | None) -> None:
    assert await contents(iter_parts(of(BODY, pieces=pieces))) == EXPECTED


async def test_parts_are_the_same_at_every_split() -> None:
    for at in range(len(BODY)):
        stream = IterStream([BODY[:at], BODY[at:]], content_type=TYPE)
        assert await contents(iter_parts(stream)) == EXPECTED


async def test_the_head_of_a_part() -> None:
    part = await only(
        form(
            (
                plain("doc", "C:\\x\\../me.txt")
                + b"\r\nContent-Type: Text/Plain; charset=ISO-8859-1\r\nX-A: 1\r\nX-A: \xe9",
                b"",
            )
        )
    )
    assert part.name == "doc"
    assert part.filename == "C:\\x\\../me.txt"
    assert part.safe_filename == "me.txt"
    assert part.content_type == "Text/Plain; charset=ISO-8859-1"
    assert part.charset == "ISO-8859-1"
    assert part.headers["content-TYPE"] == part.content_type
    assert part.headers.getall("x-a") == ["1", "\ufffd"]
    assert part.headers is part.headers
    assert part.raw_headers.endswith(b"\r\nX-A: 1\r\nX-A: \xe9\r\n")
    assert part.size is None
    assert (
        repr(part) == "<Part name='doc' filename='C:\\\\x\\\\../me.txt' 0 bytes open>"
    )


async def test_a_part_without_anything() -> None:
    part = await only(form((b"X-A: 1", b"x")), "multipart/mixed; boundary=B")
    assert (part.name, part.filename, part.content_type) == (None, None, None)
    assert part.charset is None
    assert part.safe_filename == "file"
    assert await part.text() == "x"
    assert repr(part) == "<Part 1 bytes ended>"


async def test_charset_of_a_type_without_one() -> None:
    part = await only(form((plain("a") + b"\r\nContent-Type: text/css; x=y", b"")))
    assert part.charset is None


@pytest.mark.parametrize(
    ("parameter", "text"),
    [
        ("", "ü"),
        ("; charset=utf-8", "ü"),
        ("; charset=us-ascii", "ü"),
        ("; charset=rot13", "ü"),
        ("; x=charset", "ü"),
        ("; charset=ISO-8859-1", "\u00c3\u00bc"),
    ],
)
async def test_the_charset_of_the_form_is_that_of_its_parts(
    parameter: str, text: str
) -> None:
    """And of form-data only: elsewhere a part says nothing by saying nothing."""
    body = form((plain("a"), "ü".encode()))
    part = await only(body, f"multipart/form-data; boundary=B{parameter}")
    assert await part.text() == text
    part = await only(body, f"multipart/mixed; boundary=B{parameter}")
    assert await part.text() == "ü"


async def test_a_content_length_is_the_size() -> None:
    part = await only(form((plain("a") + b"\r\nContent-Length: 2", b"ab")))
    assert part.size == 2
    part = await only(form((plain("a") + b"\r\nContent-Length: 2", b"a")))
    with pytest.raises(MalformedBody, match="Content-Length is 2"):
        await part.read()


async def test_what_is_unread_is_skipped_and_closed() -> None:
    parts = iter_parts(of(BODY, pieces=5))
    seen = [part async for part in parts]
    assert [part.name for part in seen] == ["a", "f", "a"]
    assert [part.closed for part in seen] == [True, True, True]
    with pytest.raises(StreamClosed):
        await seen[1].read()
    with pytest.raises(StopAsyncIteration):
        await anext(parts)


async def test_half_read_and_closed_parts_are_skipped() -> None:
    names = []
    async for part in iter_parts(of(BODY, pieces=5)):
        names.append(part.name)
        await part.read(3)
        await part.close()
    assert names == ["a", "f", "a"]


async def test_nothing_is_read_before_it_is_asked_for() -> None:
    """Back-pressure: one chunk of the source for each chunk of the part."""
    head, tail = form((plain("f", "x"), b"*")).split(b"*")
    spy = SpyStream(IterStream([head, *[b"x" * 1000] * 50, tail], content_type=TYPE))
    parts = iter_parts(spy)
    assert spy.reads == 0
    part = await anext(parts)
    assert spy.reads == 1
    for reads in range(2, 20):
        assert await part.readany() == b"x" * 1000
        assert spy.reads == reads
    assert [part async for part in parts] == []


async def test_a_chunk_that_is_all_data_is_passed_as_it_is() -> None:
    head, tail = form((plain("f", "x"), b"*")).split(b"*")
    chunk = bytes(100 * KiB)
    part = await anext(iter_parts(IterStream([head, chunk, tail], content_type=TYPE)))
    assert await part.readany() is chunk


async def test_breaking_out_leaves_the_source_where_it_is() -> None:
    spy = SpyStream(of(BODY * 1, pieces=200))
    async for part in iter_parts(spy):
        assert part.name == "a"
        break
    assert spy.reads == 1
    assert spy.closings == 0


async def test_the_epilogue_is_read_up_to_its_limit() -> None:
    spy = SpyStream(of(BODY + b"x" * 64 * KiB, pieces=KiB))
    assert await contents(iter_parts(spy)) == EXPECTED
    assert await spy.read() == b""
    spy = SpyStream(of(BODY + b"x" * 10 * MiB, pieces=KiB))
    assert await contents(iter_parts(spy)) == EXPECTED
    assert 64 * KiB < spy.pulled <= 66 * KiB + len(BODY)


async def test_a_cancelled_epilogue_goes_on() -> None:
    stream = StallStream(BODY, 4096, content_type=TYPE)
    parts = iter_parts(stream)
    for _ in range(3):
        await anext(parts)
    for _ in range(2):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await anext(parts)


# -- errors ---------------------------------------------------------------------------


@pytest.mark.parametrize("pieces", [None, 1, 7])
async def test_a_truncated_body_reaches_whoever_reads(pieces: int | None) -> None:
    for end in range(len(BODY) - 4):
        parts = iter_parts(of(BODY[:end], pieces=pieces))
        got = []
        with pytest.raises(MalformedBody):
            async for part in parts:
                got.append((part.name, part.filename, await part.read()))
        assert got == EXPECTED[: len(got)]
        # Again and again, and the traceback does not grow.
        for _ in range(3):
            with pytest.raises(MalformedBody) as caught:
                await anext(parts)
        assert len(caught.traceback) < 8


async def test_data_come_before_the_error_of_their_chunk() -> None:
    body = form((plain("a"), b"1234567"), (b"no colon", b""))
    parts = iter_parts(of(body))
    part = await anext(parts)
    assert await part.read() == b"1234567"
    with pytest.raises(MalformedBody, match="is not 'name: value'"):
        await anext(parts)


async def test_an_error_in_a_part_is_sticky_there_and_in_the_reader() -> None:
    body = form((plain("a"), b"12345\r\n--Bx"))
    parts = iter_parts(of(body))
    part = await anext(parts)
    assert await part.readany() == b"12345"
    for _ in range(2):
        with pytest.raises(MalformedBody):
            await part.read()
    with pytest.raises(MalformedBody):
        await anext(parts)


async def test_an_error_of_the_source_passes() -> None:
    stream = FailStream(BODY, 150, ConnectionResetError("gone"))
    parts = iter_parts(stream, TYPE)
    assert (await anext(parts)).name == "a"
    part = await anext(parts)
    with pytest.raises(ConnectionResetError):
        await part.read()
    with pytest.raises(ConnectionResetError):
        await anext(parts)


async def test_a_cancelled_step_loses_no_part() -> None:
    parts = iter_parts(of(b"preamble\r\n" + BODY, pieces=1))
    got = []
    patience = 0
    while True:
        step = asyncio.ensure_future(anext(parts, None))
        for _ in range(patience % 40):
            await asyncio.sleep(0)
        step.cancel()
        try:
            part = await step
        except asyncio.CancelledError:
            patience += 1
            continue
        if part is None:
            break
        got.append((part.name, part.filename, await part.read()))
    assert got == EXPECTED


async def test_the_next_part_while_another_task_reads_this_one() -> None:
    head = form((plain("f", "x"), b"*")).partition(b"*")[0]
    parts = iter_parts(StallStream(head, 1000, content_type=TYPE))
    part = await anext(parts)
    reading = asyncio.create_task(part.read())
    await turns()
    with pytest.raises(StreamBusy, match="another task is reading <Part name='f'"):
        await anext(parts)
    await part.close()
    with pytest.raises(StreamClosed):
        await reading


# -- limits ---------------------------------------------------------------------------


@pytest.mark.parametrize("pieces", [None, 1])
@pytest.mark.parametrize(
    ("limits", "good", "bad"),
    [
        (Limits(max_parts=3), BODY, form(*[(plain("a"), b"")] * 4)),
        (
            Limits(max_field=5),
            form((plain("a"), b"12345")),
            form((plain("a"), b"123456")),
        ),
        (
            Limits(max_file=5),
            form((plain("a", "x"), b"12345")),
            form((plain("a", "x"), b"123456")),
        ),
        (
            Limits(max_headers=3),
            form((plain("a") + b"\r\nA: 1\r\nB: 2", b"")),
            form((plain("a") + b"\r\nA: 1\r\nB: 2\r\nC: 3", b"")),
        ),
        (
            Limits(max_header_size=len(plain("a")) + 2),
            form((plain("a"), b"")),
            form((plain("ab"), b"")),
        ),
        (Limits(max_preamble=9), b"preamble\r\n" + BODY, b"preamble!!\r\n" + BODY),
    ],
    ids=["parts", "field", "file", "headers", "header size", "preamble"],
)
async def test_limits_at_n_and_one_more(
    limits: Limits, good: bytes, bad: bytes, pieces: int | None
) -> None:
    await contents(iter_parts(of(good, pieces=pieces), limits=limits))
    with pytest.raises(LimitExceeded):
        await contents(iter_parts(of(bad, pieces=pieces), limits=limits))


async def test_text_and_json_hold_to_max_memory() -> None:
    limits = Limits(max_memory=4)
    body = form((plain("a"), b"1234"), (plain("a"), b"12345"), (plain("a"), b"12345"))
    parts = iter_parts(of(body, pieces=1), limits=limits)
    assert await (await anext(parts)).json() == 1234
    with pytest.raises(LimitExceeded):
        await (await anext(parts)).text()
    with pytest.raises(LimitExceeded):
        await (await anext(parts)).json()


async def test_many_parts_within_limits_and_one_beyond() -> None:
    count = 100_000

    def body(parts: int) -> Iterator[bytes]:
        one = form((plain("a"), b"x"))[: -len(b"--B--\r\n")]
        for _ in range(parts // 1000):
            yield one * 1000
        yield one * (parts % 1000) + b"--B--\r\n"

    limits = Limits(max_parts=count)
    seen = 0
    async for _ in iter_parts(IterStream(body(count)), TYPE, limits=limits):
        seen += 1
    assert seen == count
    with pytest.raises(LimitExceeded, match="at least 100001 parts, limit 100000"):
        async for _ in iter_parts(IterStream(body(count + 1)), TYPE, limits=limits):
            pass


async def test_memory_does_not_grow_with_a_part() -> None:
    head, tail = form((plain("f", "x"), b"*")).split(b"*")
    block = bytes(range(256)) * 256

    def body() -> Iterator[bytes]:
        yield head
        for _ in range(2048):
            yield block
        yield tail

    tracemalloc.start()
    try:
        size = 0
        async for part in iter_parts(IterStream(body()), TYPE):
            async for chunk in part.iter_any():
                size += len(chunk)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size == 2048 * len(block)
    assert peak < 1 * MiB


# -- what is wrapped around a content --------------------------------------------------


def coded(headers: bytes, data: bytes, filename: str | None = "x") -> bytes:
    return form(
        (plain("f", filename) + b"\r\n" + headers, data), (plain("a"), b"after")
    )


@pytest.mark.parametrize("pieces", [None, 1, 2, 3, 5])
@pytest.mark.parametrize(
    ("headers", "encode"),
    [
        (b"Content-Transfer-Encoding: base64", base64.encodebytes),
        (b"CONTENT-TRANSFER-ENCODING: Base64", base64.b64encode),
        (b"Content-Transfer-Encoding: quoted-printable", quopri.encodestring),
        (b"Content-Transfer-Encoding: binary", bytes),
        (b"Content-Encoding: gzip", lambda data: gzip.compress(data, mtime=0)),
        (b"Content-Encoding: identity", bytes),
        (
            b"Content-Encoding: gzip\r\nContent-Transfer-Encoding: base64",
            lambda data: base64.b64encode(gzip.compress(data, mtime=0)),
        ),
    ],
)
async def test_codings_are_undone(
    headers: bytes, encode: type[bytes], pieces: int | None
) -> None:
    data = "Zelda écrit à Link=\n".encode() * 20
    body = coded(headers, encode(data))
    mixed = "multipart/mixed; boundary=B"
    for kind, decode in ((mixed, None), (mixed, True), (TYPE, True)):
        parts = iter_parts(of(body, kind, pieces=pieces), decode=decode)
        part = await anext(parts)
        assert await part.read() == data
        assert part.size is None
        assert await (await anext(parts)).read() == b"after"
    # And left alone in forms, and where that is asked for.
    for kind, decode in ((mixed, False), (TYPE, None), (TYPE, False)):
        part = await anext(iter_parts(of(body, kind, pieces=pieces), decode=decode))
        assert await part.read() == encode(data)


@pytest.mark.parametrize(
    ("headers", "data", "error"),
    [
        (b"Content-Transfer-Encoding: base64", b"abc", MalformedBody),
        (b"Content-Transfer-Encoding: base64", b"a$==", MalformedBody),
        (b"Content-Transfer-Encoding: uuencode", b"abc", UnsupportedContent),
        (b"Content-Encoding: gzip", b"not gzip", MalformedBody),
        (
            b"Content-Encoding: gzip",
            gzip.compress(b"x" * 99, mtime=0)[:-3],
            MalformedBody,
        ),
        (b"Content-Encoding: pigeon", b"abc", UnsupportedContent),
        (b"Content-Encoding: gzip", gzip.compress(bytes(1001), mtime=0), LimitExceeded),
    ],
)
async def test_wrong_codings_fail_when_read_and_only_then(
    headers: bytes, data: bytes, error: type[Exception]
) -> None:
    body = coded(headers, data)
    limits = Limits(max_file=1000)
    parts = iter_parts(of(body), limits=limits, decode=True)
    part = await anext(parts)
    for _ in range(2):
        with pytest.raises(error):
            await part.read()
    assert await (await anext(parts)).read() == b"after"
    assert [
        part.name async for part in iter_parts(of(body), limits=limits, decode=True)
    ] == [
        "f",
        "a",
    ]


async def test_a_decoded_field_is_held_to_max_field() -> None:
    body = coded(b"Content-Encoding: gzip", gzip.compress(bytes(1001), mtime=0), None)
    part = await only(body, limits=Limits(max_field=1000), decode=True)
    with pytest.raises(LimitExceeded):
        await part.read()
    part = await only(body, limits=Limits(max_field=1001), decode=True)
    assert len(await part.read()) == 1001


async def test_a_coded_part_is_skipped_while_it_is_decoded() -> None:
    data = gzip.compress(bytes(5 * MiB), 0)
    body = coded(b"Content-Encoding: gzip", data)
    parts = iter_parts(of(body, pieces=200 * KiB), decode=True)
    part = await anext(parts)
    assert await part.read(10) == bytes(10)
    assert await (await anext(parts)).read() == b"after"
    # Twice cancelled, a read ahead for the decoder may still be on its way out.
    for turn in range(12):
        parts = iter_parts(of(body, pieces=200 * KiB), decode=True)
        part = await anext(parts)
        reading = asyncio.create_task(part.read())
        for _ in range(turn):
            await asyncio.sleep(0)
        reading.cancel()
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert await (await anext(parts)).read() == b"after"


# -- filename*, charset, JSON ----------------------------------------------------------


async def test_filename_star_where_there_is_no_plain_filename() -> None:
    head = b"Content-Disposition: form-data; name=f; filename*=UTF-8''na%C3%AFve.txt"
    part = await only(form((head, b"")))
    assert part.filename == "naïve.txt"
    assert part.raw_filename == b"UTF-8''na%C3%AFve.txt"
    part = await only(form((head + b"; filename=plain.txt", b"")))
    assert part.filename == "plain.txt"
    part = await only(form((head + b'; filename="=?utf-8?B?eA==?="', b"")))
    assert part.filename == "naïve.txt"
    broken = b"Content-Disposition: form-data; name=f; filename*=UTF-8''%C3"
    part = await only(form((broken, b"")))
    assert (part.filename, part.safe_filename) == ("", "file")
    assert part.raw_filename == b"UTF-8''%C3"


async def test_a_part_with_filename_star_is_a_file_of_max_file_bytes() -> None:
    limits = Limits(max_field=3, max_file=5)
    head = b"Content-Disposition: form-data; name=f; filename*=UTF-8''a"

    async def read(head: bytes, data: bytes) -> bytes:
        return await (await only(form((head, data)), limits=limits)).read()

    assert await read(head, b"12345") == b"12345"
    with pytest.raises(LimitExceeded, match="at least 6 bytes, limit 5"):
        await read(head, b"123456")
    with pytest.raises(LimitExceeded, match="at least 4 bytes, limit 3"):
        await read(plain("f"), b"1234")


async def test_names_that_are_not_utf8() -> None:
    """Replaced; in the charset of the form where it is known; and as they were sent."""
    name = "Größe".encode("latin-1")
    named = b'Content-Disposition: form-data; name="%b"; filename="%b.txt"' % (
        name,
        name,
    )
    charset = (plain("_charset_"), b"latin-1")
    parts = iter_parts(of(form((named, b""), charset, (named, b"")), pieces=7))
    part = await anext(parts)
    assert (part.name, part.filename) == ("Gr\ufffd\ufffde", "Gr\ufffd\ufffde.txt")
    assert (part.raw_name, part.raw_filename) == (name, name + b".txt")
    assert (await anext(parts)).raw_filename is None
    part = await anext(parts)
    assert (part.name, part.filename) == ("Größe", "Größe.txt")
    assert (part.raw_name, part.raw_filename) == (name, name + b".txt")


@pytest.mark.parametrize("pieces", [None, 1, 30])
async def test_a_charset_field_is_data_and_the_default(pieces: int | None) -> None:
    text = "Größe".encode("latin-1")
    body = form(
        (plain("a"), text),
        (plain("_charset_"), b"ISO-8859-1"),
        (plain("a"), text),
        (plain("a") + b"\r\nContent-Type: text/plain; charset=utf-8", "Größe".encode()),
    )
    texts: list[str | None] = []
    async for part in iter_parts(of(body, pieces=pieces)):
        try:
            texts.append(await part.text())
        except MalformedBody:
            texts.append(None)
    assert texts == [None, "ISO-8859-1", "Größe", "Größe"]


@pytest.mark.parametrize(
    "label", [b"", b"nonsense", b"\xff", b"utf-8" * 20, b"zlib_codec"]
)
async def test_a_charset_field_with_no_charset_says_nothing(label: bytes) -> None:
    body = form((plain("_charset_"), label), (plain("a"), "ü".encode()))
    parts = iter_parts(of(body, pieces=9))
    assert await (await anext(parts)).read() == label
    assert await (await anext(parts)).text() == "ü"


async def test_a_charset_field_is_one_in_forms_only() -> None:
    body = form((plain("_charset_"), b"latin-1"), (plain("a"), "ü".encode()))
    parts = iter_parts(of(body, "multipart/mixed; boundary=B"))
    await anext(parts)
    assert await (await anext(parts)).text() == "ü"


async def test_a_step_cancelled_in_the_charset_field_loses_nothing() -> None:
    body = form((plain("_charset_"), b"latin-1"), (plain("a"), b"\xfc"))
    cancelled = 0
    for turn in range(len(body)):
        parts = iter_parts(of(body, pieces=1))
        await anext(parts)
        step = asyncio.ensure_future(anext(parts))
        for _ in range(turn):
            await asyncio.sleep(0)
        step.cancel()
        try:
            part = await step
        except asyncio.CancelledError:
            cancelled += 1
            part = await anext(parts)
        assert await part.text() == "ü"
    assert cancelled > len(b"latin-1")


async def test_text_by_its_charset() -> None:
    def typed(charset: bytes, data: bytes) -> bytes:
        return form(
            (plain("a") + b"\r\nContent-Type: text/plain; charset=" + charset, data)
        )

    assert await (await only(typed(b"latin-1", b"\xe9"))).text() == "é"
    assert await (await only(typed(b'"utf-16"', "é".encode("utf-16")))).text() == "é"
    assert await (await only(typed(b"utf-8", b"\xef\xbb\xbfx"))).text() == "x"
    with pytest.raises(MalformedBody):
        await (await only(typed(b"utf-8", b"\xff"))).text()
    for charset in (b"klingon", b"zlib_codec", b"idna"):
        with pytest.raises(UnsupportedContent):
            await (await only(typed(charset, b"x"))).text()


async def test_json() -> None:
    body = form(
        (plain("a", "blob") + b"\r\nContent-Type: application/json", b'{"a":1}')
    )
    assert await (await only(body)).json() == {"a": 1}
    assert await (await only(body)).json(type=dict[str, int]) == {"a": 1}
    assert await (await only(body)).json(loads=len) == 7
    with pytest.raises(InvalidContent):
        await (await only(body)).json(type=list[int])
    with pytest.raises(MalformedBody):
        await (await only(form((plain("a"), b"{")))).json()


async def test_save_is_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "x"
    part = await only(form((plain("f", "x"), b"content")))
    assert await part.save(path) == 7
    assert path.read_bytes() == b"content"
    part = await only(form((plain("f", "x"), b"other"))[:-5])
    with pytest.raises(MalformedBody):
        await part.save(str(path), fsync=True)
    assert path.read_bytes() == b"content"
    assert list(tmp_path.iterdir()) == [path]


async def test_save_to_a_storage_is_whole_or_not_at_all() -> None:
    storage = MemoryStorage()
    typed = plain("f", "x") + b"\r\nContent-Type: text/plain"
    part = await only(form((typed, b"content")))
    assert await part.save(storage, key="kept") == 7
    assert (await storage.stat("kept")).content_type == "text/plain"
    part = await only(form((plain("f", "x"), b"other"))[:-5])
    with pytest.raises(MalformedBody):
        await part.save(storage, key="lost")
    assert [stored.key async for stored in storage.list()] == ["kept"]


async def test_a_key_is_for_a_storage_and_a_storage_needs_one(tmp_path: Path) -> None:
    part = await only(form((plain("f", "x"), b"content")))
    with pytest.raises(TypeError, match="the key for the storage is missing"):
        await part.save(MemoryStorage())
    with pytest.raises(TypeError, match="given with a path"):
        await part.save(tmp_path / "x", key="k")
    assert await part.read() == b"content"


async def test_closing_an_encoded_part_leaves_its_reader_to_the_next() -> None:
    """What was read ahead for the decoder is on its way out when close() returns."""
    stall = asyncio.Event()

    async def source() -> AsyncIterator[bytes]:
        data = gzip.compress(os.urandom(200_000), mtime=0)
        yield form((plain("f", "x") + b"\r\nContent-Encoding: gzip", data))[:100_000]
        await stall.wait()

    stream = IterStream(source(), content_type=TYPE)
    part = await anext(iter_parts(stream, decode=True))
    task = asyncio.create_task(part.read())
    await turns()
    await part.close()
    with pytest.raises(StreamClosed):
        await task
    assert part._sent is not None
    assert not part._sent.busy  # of the body, which is the next part's now
    await stream.close()


# -- inside of each other --------------------------------------------------------------


def nested(depth: int) -> tuple[bytes, str]:
    """A body of ``depth`` levels, and its type."""
    body, kind = (
        form((plain("leaf"), b"deep"), boundary=b"L0"),
        "multipart/mixed; boundary=L0",
    )
    for level in range(1, depth):
        boundary = b"L%d" % level
        body = form((b"Content-Type: " + kind.encode(), body), boundary=boundary)
        kind = f"multipart/mixed; boundary={boundary.decode()}"
    return body, kind


async def descend(body: bytes, kind: str, **kwargs: object) -> list[bytes]:
    async def level(parts: AsyncIterator[Part]) -> AsyncIterator[bytes]:
        async for part in parts:
            if (part.content_type or "").startswith("multipart/"):
                async for leaf in level(iter_parts(part)):
                    yield leaf
            else:
                yield await part.read()

    parts = iter_parts(of(body, kind, pieces=11), **kwargs)  # type: ignore[arg-type]
    return [leaf async for leaf in level(parts)]


async def test_nested_bodies_down_to_max_depth() -> None:
    assert await descend(*nested(1)) == [b"deep"]
    assert await descend(*nested(3)) == [b"deep"]
    with pytest.raises(NestedTooDeeply, match="4 levels, limit 3") as caught:
        await descend(*nested(4))
    assert caught.value.status == 400
    assert isinstance(caught.value, LimitExceeded)
    assert await descend(*nested(4), limits=Limits(max_depth=4)) == [b"deep"]


async def test_a_nested_body_ends_before_the_outer_one_goes_on() -> None:
    inner = form((plain("x"), b"1"), (plain("y"), b"2"), boundary=b"I")
    body = form(
        (plain("files") + b"\r\nContent-Type: multipart/mixed; boundary=I", inner),
        (plain("a"), b"after"),
    )
    parts = iter_parts(of(body, pieces=7))
    outer = await anext(parts)
    first = await anext(iter_parts(outer))
    assert (first.name, await first.read()) == ("x", b"1")
    assert await (await anext(parts)).read() == b"after"
    with pytest.raises(StreamClosed):
        await outer.read()


async def test_parts_of_all_levels_are_counted_together() -> None:
    inner = form(*[(b"A: b", b"")] * 5, boundary=b"I")
    outer = (b"Content-Type: multipart/mixed; boundary=I", inner)
    body, kind = form(outer, outer), "multipart/mixed; boundary=B"
    assert len(await descend(body, kind, limits=Limits(max_parts=12))) == 10
    with pytest.raises(LimitExceeded, match="at least 12 parts, limit 11"):
        await descend(body, kind, limits=Limits(max_parts=11))


# -- what is no multipart --------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", [None, "", "text/plain", "multipart", "multipartx/mixed"]
)
async def test_other_types_are_refused(kind: str | None) -> None:
    with pytest.raises(UnsupportedContent, match="must be multipart") as caught:
        iter_parts(ByteStream(BODY, content_type=kind))
    assert caught.value.accept == "multipart/*"
    assert (
        await contents(iter_parts(ByteStream(BODY, content_type=kind), TYPE))
        == EXPECTED
    )


@pytest.mark.parametrize(
    "boundary",
    ["", "; boundary=", "; boundary=" + "x" * 71, "; boundary=a; boundary=b"],
)
async def test_a_bad_boundary_is_refused(boundary: str) -> None:
    with pytest.raises(MalformedBody):
        iter_parts(ByteStream(BODY, content_type="multipart/form-data" + boundary))


async def test_quoted_and_long_boundaries() -> None:
    for boundary in ("a b:c?", "x" * 70, "'()+_,-./:=?"):
        body = form((plain("a"), b"1"), boundary=boundary.encode())
        kind = f'MULTIPART/Form-Data; BOUNDARY="{boundary}"'
        assert await contents(iter_parts(of(body, kind))) == [("a", None, b"1")]


async def test_a_large_part_into_a_file(tmp_path: Path) -> None:
    head, tail = form((plain("f", "x"), b"*")).split(b"*")
    data = bytes(range(256)) * 4 * KiB
    stream = IterStream([head, *cut(data, 100_003), tail], content_type=TYPE)
    async for part in iter_parts(stream):
        async with FileStream(tmp_path / "x", "wb") as sink:
            assert await copy(part, sink) == len(data)
    assert (tmp_path / "x").read_bytes() == data
