"""Multipart forms: many fields, few fields, a large file, and the worst of inputs.

``request.post()`` and ``request.form()`` leave a large file in a temporary one without
a name, ``request.multipart()`` in one that the handler has opened; ours takes the place
of a named one in one step. The peers have no less to do for what is asked of them.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Collection
from typing import Any

from aiohttp import BodyPartReader, web

import aiostreams
from aiostreams import FileStream, KiB, MiB, copy
from tests.benchmarks import drain
from tests.benchmarks.client import Request, put
from tests.benchmarks.contestants import (
    FOLDER,
    aiohttp_app,
    aiostreams_app,
    starlette_app,
)
from tests.benchmarks.put_to_disk import blocking_writes, removed
from tests.benchmarks.rows import Entry, Peer, Row, at_most, times_less

__all__ = ["ROWS"]

_BOUNDARY = b"----WebKitFormBoundary7MA4YWxkTrZu0gW"
_TYPE = f"Content-Type: multipart/form-data; boundary={_BOUNDARY.decode()}\r\n"


def _part(name: str, value: bytes, more: str = "") -> bytes:
    head = f'Content-Disposition: form-data; name="{name}"{more}\r\n\r\n'
    return b"--%b\r\n%b%b\r\n" % (_BOUNDARY, head.encode(), value)


def _form(*parts: bytes) -> bytes:
    return b"".join([*parts, b"--%b--\r\n" % _BOUNDARY])


def _file(value: bytes) -> bytes:
    more = '; filename="me.bin"\r\nContent-Type: application/octet-stream'
    return _part("file", value, more)


@functools.cache
def _thousand_fields() -> bytes:
    return _form(*(_part(f"field{n}", v.encode()) for n, v in enumerate(_VALUES)))


@functools.cache
def _small_form() -> bytes:
    return _form(
        _part("name", b"zelda"),
        _part("email", b"zelda@example.org"),
        _part("note", b"a few words about it"),
        _file(os.urandom(10 * KiB)),
    )


def _large_form() -> bytes:
    return _form(_part("note", b"large"), _file(os.urandom(MiB) * 256))


# -- whole forms: the number of fields, their characters, and the bytes of all files --


def _told(values: Collection[str], size: int) -> str:
    """What each answers: so nobody gets by with values that are only half read."""
    return f"{len(values)} {sum(map(len, values))} {size}"


@aiostreams_app("read_form")
async def ours_form(request: web.Request) -> web.Response:
    form = await aiostreams.read_form(request)
    size = sum([len(await file.encode().read()) for file in form.files.values()])
    return web.Response(text=_told(form.form.values(), size))


@aiohttp_app()
async def aiohttp_form(request: web.Request) -> web.Response:
    form = await request.post()
    fields = [value for value in form.values() if isinstance(value, str)]
    files = [value for value in form.values() if isinstance(value, web.FileField)]
    size = sum(len(file.file.read()) for file in files)
    return web.Response(text=_told(fields, size))


@starlette_app("python_multipart")
async def starlette_form(request: Any) -> Any:
    from starlette.datastructures import UploadFile
    from starlette.responses import PlainTextResponse

    async with request.form() as form:
        items = [value for _, value in form.multi_items()]
        fields = [value for value in items if isinstance(value, str)]
        files = [value for value in items if isinstance(value, UploadFile)]
        size = sum([len(await file.read()) for file in files])
    return PlainTextResponse(_told(fields, size))


@aiohttp_app("multipart")
async def multipart_form(request: web.Request) -> web.Response:
    import multipart

    _, options = multipart.parse_options_header(request.headers["Content-Type"])
    parser = multipart.PushMultipartParser(options["boundary"])
    fields: dict[str, str] = {}
    size = 0
    segment: Any = None
    pieces: list[bytes] = []
    async for chunk in request.content.iter_any():
        for event in parser.parse(chunk):
            if event is None:
                if segment.filename is None:
                    fields[segment.name] = b"".join(pieces).decode()
                else:
                    size += sum(map(len, pieces))
                pieces = []
            elif isinstance(event, multipart.MultipartSegment):
                segment = event
            else:
                pieces.append(bytes(event))
    parser.close()
    return web.Response(text=_told(fields.values(), size))


@aiohttp_app("python_multipart")
async def python_multipart_form(request: web.Request) -> web.Response:
    import python_multipart

    fields: dict[str, str] = {}
    files: list[Any] = []

    def on_field(field: Any) -> None:
        fields[field.field_name.decode()] = field.value.decode()

    _, options = python_multipart.multipart.parse_options_header(
        request.headers["Content-Type"]
    )
    parser = python_multipart.FormParser(
        "multipart/form-data", on_field, files.append, boundary=options[b"boundary"]
    )
    async for chunk in request.content.iter_any():
        parser.write(chunk)
    parser.finalize()
    size = sum(file.size for file in files)
    return web.Response(text=_told(fields.values(), size))


# -- a large file to disk --------------------------------------------------------------


@aiostreams_app("iter_parts")
async def parts_to_disk(request: web.Request) -> web.Response:
    size = 0
    async for part in aiostreams.iter_parts(request):
        if part.filename is not None:
            async with FileStream(await removed("part"), "wb") as file:
                size += await copy(part, file)
    return web.Response(text=str(size))


@aiohttp_app()
async def aiohttp_reader(request: web.Request) -> web.Response:
    size = 0
    async for part in await request.multipart():
        assert isinstance(part, BodyPartReader)
        if part.filename is not None:
            with open(FOLDER / "reader", "wb") as file:
                while chunk := await part.read_chunk(64 * KiB):
                    size += file.write(chunk)
    return web.Response(text=str(size))


@aiohttp_app()
async def aiohttp_post(request: web.Request) -> web.Response:
    file = (await request.post())["file"]
    assert isinstance(file, web.FileField)
    return web.Response(text=str(os.fstat(file.file.fileno()).st_size))


@starlette_app("python_multipart")
async def starlette_upload(request: Any) -> Any:
    from starlette.responses import PlainTextResponse

    async with request.form() as form:
        return PlainTextResponse(str(form["file"].size))


# -- the worst inputs ------------------------------------------------------------------


@aiostreams_app("iter_parts")
async def parts_drained(request: web.Request) -> web.Response:
    size = 0
    async for part in aiostreams.iter_parts(request):
        async for chunk in part.iter_any():
            size += len(chunk)
    return web.Response(text=str(size))


def _form_request(body: Callable[[], bytes], answer: str) -> Request:
    return put(body, fields=_TYPE, answer=answer.encode())


def _worst(unit: bytes) -> Callable[[], bytes]:
    def body() -> bytes:
        value = unit * (64 * MiB // len(unit))
        return _form(_file(value + unit[: 64 * MiB - len(value)]))

    return body


def _random() -> bytes:
    return _form(_file(os.urandom(MiB) * 64))


def _one_byte_chunks(unit: bytes) -> Request:
    size = 256 * KiB
    value = (unit * (size // len(unit) + 1))[:size]

    def body() -> bytes:
        form = _form(_file(value))
        return b"".join(b"1\r\n%c\r\n" % byte for byte in form) + b"0\r\n\r\n"

    return put(
        body,
        fields=f"{_TYPE}Transfer-Encoding: chunked\r\n",
        answer=str(size).encode(),
    )


_VALUES = [f"value {number * 7919}" for number in range(1000)]
_FIELDS = _form_request(_thousand_fields, _told(_VALUES, 0))
_SMALL = _form_request(
    _small_form,
    _told(["zelda", "zelda@example.org", "a few words about it"], 10 * KiB),
)
_LARGE = _form_request(_large_form, str(256 * MiB))
_RAW = put(lambda: os.urandom(MiB) * 256, answer=str(256 * MiB).encode())


def _drained(body: Callable[[], bytes]) -> Entry:
    request = put(body, fields=_TYPE)
    return Entry("mere draining", drain.of_aiohttp, request)


def _worst_row(name: str, unit: bytes) -> Row:
    calm = _form_request(_random, str(64 * MiB))
    return Row(
        f"64 MiB part of {name}",
        3,
        Entry(name, parts_drained, _form_request(_worst(unit), str(64 * MiB))),
        [Peer(Entry("random bytes", parts_drained, calm), at_most(1.5), kin=True)],
    )


def _tiny_row(name: str, unit: bytes) -> Row:
    return Row(
        f"256 KiB part of {name}, in 1-byte chunks",
        3,
        Entry(name, parts_drained, _one_byte_chunks(unit)),
        [
            Peer(
                Entry("random bytes", parts_drained, _one_byte_chunks(os.urandom(997))),
                at_most(1.5),
                kin=True,
            )
        ],
    )


ROWS = [
    Row(
        "form of 1,000 fields",
        3,
        Entry("read_form", ours_form, _FIELDS),
        [
            Peer(
                Entry("aiohttp request.post()", aiohttp_form, _FIELDS), times_less(60)
            ),
            Peer(
                Entry("Starlette request.form()", starlette_form, _FIELDS),
                times_less(6),
            ),
            Peer(Entry("multipart", multipart_form, _FIELDS), times_less(1.5)),
            Peer(Entry("python-multipart", python_multipart_form, _FIELDS)),
            Peer(_drained(_thousand_fields), kin=True),
        ],
    ),
    Row(
        "form of 3 fields and 10 KiB file",
        3,
        Entry("read_form", ours_form, _SMALL),
        [
            Peer(Entry("aiohttp request.post()", aiohttp_form, _SMALL), times_less(6)),
            Peer(
                Entry("Starlette request.form()", starlette_form, _SMALL),
                times_less(1.8),
            ),
            Peer(Entry("multipart", multipart_form, _SMALL)),
            Peer(Entry("python-multipart", python_multipart_form, _SMALL)),
            Peer(_drained(_small_form), at_most(1.5), kin=True),
        ],
    ),
    Row(
        "form with 256 MiB file to disk",
        3,
        Entry("iter_parts, copy()", parts_to_disk, _LARGE),
        [
            Peer(
                Entry("raw body, blocking writes", blocking_writes, _RAW),
                at_most(1.25),
                kin=True,
            ),
            Peer(Entry("aiohttp request.post()", aiohttp_post, _LARGE), times_less(3)),
            Peer(
                Entry("Starlette request.form()", starlette_upload, _LARGE),
                times_less(3),
            ),
            Peer(Entry("aiohttp request.multipart()", aiohttp_reader, _LARGE)),
            Peer(_drained(_large_form), kin=True),
        ],
        stall=0.020,
    ),
    _worst_row("CR LF", b"\r\n"),
    _worst_row("CR LF - -", b"\r\n--"),
    _worst_row("delimiter prefixes", b"\r\n--" + _BOUNDARY[:-1]),
    _tiny_row("CR LF", b"\r\n"),
    _tiny_row("delimiter prefixes", b"\r\n--" + _BOUNDARY[:-1]),
]
