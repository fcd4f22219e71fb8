"""One upload handler for each way, as its documentation shows it.

All take a form with fields and files, keep the files in ``FOLDER / "kept"``, and answer
how many fields there were and how many bytes the files had. A field called ``fail``
makes the handler raise after all of it was read, as an insert into a database would.
With ``GET`` they send the file whose name is the path. Limits are the defaults.

``generous`` has the limit on the whole body raised, for those questions that need more.
"""

from __future__ import annotations

import functools
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import BodyPartReader, web

import aiostreams
from aiostreams import DiskStorage, File, GiB, Limits, resumable, setup
from tests.benchmarks.contestants import FOLDER, Contestant

__all__ = ["CONTENDERS", "Contender"]

KEPT = FOLDER / "kept"


class DatabaseError(Exception):
    """What goes wrong in a handler once everything has arrived."""


def told(fields: int, size: int) -> str:
    return f"{fields} {size}"


# -- aiostreams ------------------------------------------------------------------------


@resumable()
async def receive_form(request: web.Request) -> Any:
    if request.method == "GET":
        return File(FOLDER / request.path[1:])
    async with aiostreams.receive(request) as upload:
        if "fail" in upload.form:
            raise DatabaseError
        sizes = [file.size for file in upload.files.values()]
        return web.Response(text=told(len(upload.form), sum(sizes)))


async def receive_images(request: web.Request) -> Any:
    async with aiostreams.receive(request, accept={"image/*"}) as upload:
        return web.Response(text=told(len(upload.form), len(upload.files)))


def _aiostreams(handler: Any, limits: Limits) -> web.Application:
    app = setup(web.Application(), limits=limits, storage=DiskStorage(KEPT))
    app.router.add_route("*", "/{path:.*}", handler)
    return app


# -- aiohttp ---------------------------------------------------------------------------


def _keep(file: Any) -> int:
    """Copy an uploaded file to where it stays."""
    KEPT.mkdir(exist_ok=True)
    with open(KEPT / secrets.token_hex(8), "wb") as kept:
        shutil.copyfileobj(file, kept)
        return kept.tell()


async def post_form(request: web.Request) -> web.StreamResponse:
    if request.method == "GET":
        return await _aiohttp_file(request)
    form = await request.post()
    size = 0
    fields = 0
    for value in form.values():
        if isinstance(value, web.FileField):
            size += _keep(value.file)
        else:
            fields += 1
    if "fail" in form:
        raise DatabaseError
    return web.Response(text=told(fields, size))


async def read_multipart(request: web.Request) -> web.StreamResponse:
    if request.method == "GET":
        return await _aiohttp_file(request)
    size = 0
    names = []
    KEPT.mkdir(exist_ok=True)
    async for part in await request.multipart():
        assert isinstance(part, BodyPartReader)
        if part.filename is None:
            await part.text()
            names.append(part.name)
            continue
        with open(KEPT / secrets.token_hex(8), "wb") as file:
            while chunk := await part.read_chunk(2**16):
                size += file.write(chunk)
    if "fail" in names:
        raise DatabaseError
    return web.Response(text=told(len(names), size))


async def _aiohttp_file(request: web.Request) -> web.StreamResponse:
    if request.path == "/answer.txt":
        response = web.Response(text=(FOLDER / "answer.txt").read_text())
        response.enable_compression()
        return response
    return web.FileResponse(FOLDER / request.path[1:])


def _aiohttp(handler: Any, **options: Any) -> web.Application:
    app = web.Application(**options)
    app.router.add_route("*", "/{path:.*}", handler)
    return app


# -- Starlette -------------------------------------------------------------------------


async def starlette_form(request: Any) -> Any:
    from starlette.datastructures import UploadFile
    from starlette.responses import FileResponse, PlainTextResponse

    if request.method == "GET":
        return FileResponse(FOLDER / request.url.path[1:])
    fields = size = 0
    async with request.form() as form:
        for _, value in form.multi_items():
            if isinstance(value, UploadFile):
                size += _keep(value.file)
            else:
                fields += 1
        if "fail" in form:
            raise DatabaseError
    return PlainTextResponse(told(fields, size))


def _starlette() -> Any:
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.gzip import GZipMiddleware
    from starlette.routing import Route

    return Starlette(
        routes=[Route("/{path:path}", starlette_form, methods=["GET", "POST"])],
        middleware=[Middleware(GZipMiddleware)],
    )


# -- aiohttp-tus -----------------------------------------------------------------------


def _tus(**options: Any) -> web.Application:
    from aiohttp_tus import setup_tus

    KEPT.mkdir(exist_ok=True)

    async def done(request: web.Request, resource: Any, path: Any) -> None:
        if path.name == "fail":
            raise DatabaseError

    app: web.Application = setup_tus(
        web.Application(**options), upload_path=KEPT, on_upload_done=done
    )
    return app


# -- all of them -----------------------------------------------------------------------


@dataclass(frozen=True)
class Contender:
    """A way to take uploads.

    Attributes:
        title: what it is called.
        default: with the limits that it has by itself.
        generous: with a limit of 1 GiB on the body.
        tus: whether it speaks that instead of forms.
    """

    title: str
    default: Contestant
    generous: Contestant
    tus: bool = False


def _contestant(
    name: str, make: Callable[[], Any], *needs: str, **more: Any
) -> Contestant:
    kind = "asgi" if "starlette" in needs else "aiohttp"
    return Contestant(__name__, name, kind, make, needs, **more)


def _of(title: str, name: str, make: Callable[..., Any], *needs: str) -> Contender:
    found = Contender(
        title,
        _contestant(name, make, *needs),
        _contestant(
            f"{name}_generous",
            functools.partial(make, client_max_size=GiB)
            if "starlette" not in needs
            else make,
            *needs,
        ),
        tus="aiohttp_tus" in needs,
    )
    globals()[found.default.name] = found.default
    globals()[found.generous.name] = found.generous
    return found


ours = _contestant(
    "ours", lambda: _aiostreams(receive_form, Limits()), auto_decompress=False
)
ours_images = _contestant(
    "ours_images", lambda: _aiostreams(receive_images, Limits()), auto_decompress=False
)

CONTENDERS = {
    "aiostreams": Contender("aiostreams `receive()`", ours, ours),
    "post": _of(
        "aiohttp `request.post()`", "post", functools.partial(_aiohttp, post_form)
    ),
    "multipart": _of(
        "aiohttp `request.multipart()`",
        "multipart",
        functools.partial(_aiohttp, read_multipart),
    ),
    "starlette": _of(
        "Starlette `request.form()`",
        "starlette",
        _starlette,
        "starlette",
        "uvicorn",
        "python_multipart",
    ),
    "tus": _of("aiohttp-tus", "tus", _tus, "aiohttp_tus"),
}
