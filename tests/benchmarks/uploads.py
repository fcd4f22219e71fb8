"""Uploads into a storage, beside what a handler without one would do.

The small form is held against the least there can be, a loop of blocking writes of
the bare file into a new name, and against ``request.post()`` with such a write. The
large file is held against the sum of its parts: a loop of blocking writes, and then
the hash of as many bytes that lie in the processor's cache.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import secrets
from typing import Any

from aiohttp import web

from aiostreams import (
    DiskStorage,
    FileStream,
    KiB,
    MiB,
    StoredFile,
    Stream,
    copy,
    open_stream,
    receive,
)
from tests.benchmarks.client import put
from tests.benchmarks.contestants import (
    FOLDER,
    aiohttp_app,
    aiostreams_app,
    starlette_app,
)
from tests.benchmarks.forms import _TYPE, _file, _form, _large_form, _part, _small_form
from tests.benchmarks.put_to_disk import removed
from tests.benchmarks.rows import Entry, Peer, Row, at_most, times_less

__all__ = ["ROWS", "posted", "received", "starlette_posted"]


@aiostreams_app("receive", storage=DiskStorage(FOLDER / "stored"))
async def received(request: web.Request) -> web.Response:
    if request.method == "GET":
        return web.Response(text="here")
    async with receive(request) as upload:
        file = upload.files["file"]
        text = f"{len(upload.form)} {file.size} {len(file.digests['sha256'])}"
    if file.size > MiB:
        assert file.storage is not None
        await file.storage.delete(file.key)
    return web.Response(text=text)


_earlier: list[StoredFile] = []


async def _replaced(request: web.Request, **options: Any) -> web.Response:
    """Begins by removing the last file, as its peers do: see ``put_to_disk``."""
    while _earlier:
        file = _earlier.pop()
        assert file.storage is not None
        await file.storage.delete(file.key)
    async with receive(request, **options) as upload:
        file = upload.files["file"]
    _earlier.append(file)
    text = f"{len(upload.form)} {file.size} {len(file.digests['sha256'])}"
    return web.Response(text=text)


@aiostreams_app("receive", storage=DiskStorage(FOLDER / "stored"))
async def replaced(request: web.Request) -> web.Response:
    return await _replaced(request)


@aiostreams_app("receive", storage=DiskStorage(FOLDER / "stored"))
async def at_once(request: web.Request) -> web.Response:
    """Each file is in its place as soon as it is written."""
    return await _replaced(request, staged=False)


@aiostreams_app("receive", storage=DiskStorage(FOLDER / "stored"))
async def checked(request: web.Request) -> web.Response:
    return await _replaced(request, check=[_all_of_it, _beginning])


async def _all_of_it(stream: Stream, _file: StoredFile) -> None:
    while await stream.readany():
        pass


async def _beginning(stream: Stream, _file: StoredFile) -> None:
    await stream.read(16)


@aiohttp_app()
async def bare_file(request: web.Request) -> web.Response:
    size = 0
    with open(FOLDER / secrets.token_hex(16), "wb") as file:
        async for chunk in request.content.iter_any():
            size += file.write(chunk)
    return web.Response(text=str(size))


@aiohttp_app()
async def post_and_write(request: web.Request) -> web.Response:
    form = await request.post()
    sent = form["file"]
    assert isinstance(sent, web.FileField)
    with open(FOLDER / secrets.token_hex(16), "wb") as file:
        size = file.write(sent.file.read())
    return web.Response(text=f"{len(form) - 1} {size}")


def _hash_alone(size: int) -> str:
    digest = hashlib.sha256()
    block = bytes(MiB)
    for _ in range(size // MiB):
        digest.update(block)
    return f"{size} {len(digest.hexdigest())}"


@aiohttp_app()
async def blocking_and_hashed(request: web.Request) -> web.Response:
    """Blocking writes, and then ``hashlib`` alone for as many bytes."""
    size = 0
    with open(FOLDER / "blocking", "wb") as file:
        async for chunk in request.content.iter_any():
            size += file.write(chunk)
    return web.Response(text=_hash_alone(size))


@aiostreams_app()
async def drained_and_hashed(request: web.Request) -> web.Response:
    """Likewise, with the writes that we make."""
    async with FileStream(await removed("summed"), "wb") as file:
        size = await copy(open_stream(request), file)
    return web.Response(text=_hash_alone(size))


@aiostreams_app()
async def drained(request: web.Request) -> web.Response:
    async with FileStream(await removed("drained"), "wb") as file:
        size = await copy(open_stream(request), file)
    return web.Response(text=str(size))


# -- for the crowd, which asks for something small meanwhile --------------------------


@aiohttp_app()
async def posted(request: web.Request) -> web.Response:
    if request.method == "GET":
        return web.Response(text="here")
    file = (await request.post())["file"]
    assert isinstance(file, web.FileField)
    return web.Response(text=str(os.fstat(file.file.fileno()).st_size))


@starlette_app("python_multipart")
async def starlette_posted(request: Any) -> Any:
    from starlette.responses import PlainTextResponse

    if request.method == "GET":
        return PlainTextResponse("here")
    async with request.form() as form:
        return PlainTextResponse(str(form["file"].size))


_SMALL = 10 * KiB
_MIDDLE = 300 * KiB
_LARGE = 256 * MiB


def _middle_form() -> bytes:
    return _form(_part("note", b"middle"), _file(os.urandom(_MIDDLE)))


_SMALL_FORM = put(_small_form, fields=_TYPE, answer=f"3 {_SMALL} 64".encode())
_SMALL_POST = put(_small_form, fields=_TYPE, answer=f"3 {_SMALL}".encode())
_SMALL_FILE = put(lambda: os.urandom(_SMALL), answer=str(_SMALL).encode())
_SMALL_FORMS = dataclasses.replace(_SMALL_FORM, at_once=64)
_SMALL_POSTS = dataclasses.replace(_SMALL_POST, at_once=64)
_SMALL_FILES = dataclasses.replace(_SMALL_FILE, at_once=64)
_LARGE_FORM = put(_large_form, fields=_TYPE, answer=f"1 {_LARGE} 64".encode())
_MIDDLE_FORM = put(_middle_form, fields=_TYPE, answer=f"1 {_MIDDLE} 64".encode())
_SIZES = {"10 KiB": _SMALL_FORM, "300 KiB": _MIDDLE_FORM, "256 MiB": _LARGE_FORM}
_LARGE_FILE = put(lambda: os.urandom(MiB) * 256, answer=str(_LARGE).encode())
_LARGE_SUM = put(lambda: os.urandom(MiB) * 256, answer=f"{_LARGE} 64".encode())

ROWS = [
    Row(
        "receive 3 fields and 10 KiB file",
        6,
        Entry("receive() into DiskStorage", received, _SMALL_FORM),
        [
            Peer(
                Entry("bare file, blocking", bare_file, _SMALL_FILE),
                at_most(1.5),
                kin=True,
            ),
            Peer(
                Entry("aiohttp post(), blocking write", post_and_write, _SMALL_POST),
                times_less(3),
            ),
        ],
    ),
    Row(
        "receive 10 KiB file, 64 at once",
        19,
        Entry("receive() into DiskStorage", received, _SMALL_FORMS),
        [
            Peer(Entry("bare file, blocking", bare_file, _SMALL_FILES), kin=True),
            Peer(
                Entry("aiohttp post(), blocking write", post_and_write, _SMALL_POSTS),
                times_less(3),
            ),
        ],
    ),
    Row(
        "receive 10 KiB file, on uvloop",
        19,
        Entry("receive() into DiskStorage", received.on_uvloop(), _SMALL_FORM),
        [
            Peer(
                Entry("bare file, blocking", bare_file.on_uvloop(), _SMALL_FILE),
                kin=True,
            ),
            Peer(
                Entry(
                    "aiohttp post(), blocking write",
                    post_and_write.on_uvloop(),
                    _SMALL_POST,
                ),
                times_less(3),
            ),
            Peer(Entry("receive(), on asyncio", received, _SMALL_FORM), kin=True),
        ],
    ),
    Row(
        "receive 256 MiB file, sha-256",
        6,
        Entry("receive() into DiskStorage", replaced, _LARGE_FORM),
        [
            Peer(
                Entry("blocking writes + hashlib", blocking_and_hashed, _LARGE_SUM),
                at_most(1.3),
                kin=True,
            ),
            Peer(Entry("copy() + hashlib", drained_and_hashed, _LARGE_SUM), kin=True),
            Peer(Entry("copy() alone", drained, _LARGE_FILE), kin=True),
        ],
        stall=0.050,
    ),
    *(
        Row(
            f"receive {size} file, staged",
            18,
            Entry("receive()", replaced, request),
            [
                Peer(Entry("staged=False", at_once, request), at_most(1.1), kin=True),
            ],
        )
        for size, request in _SIZES.items()
    ),
    *(
        Row(
            f"receive {size} file, two checks",
            18,
            Entry("receive(check=[...])", checked, request),
            [
                Peer(Entry("no check", replaced, request), at_most(1.15), kin=True),
            ],
        )
        for size, request in _SIZES.items()
    ),
]
