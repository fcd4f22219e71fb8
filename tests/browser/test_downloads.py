"""Chromium saves a download under the name that it was given, and completes it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from aiostreams import HTML, File, MiB, respond, setup
from tests.servers import serving

NAMES = {
    "plain.txt": "plain.txt",
    "größer, naïve.txt": "größer, naïve.txt",
    "文件 №1.pdf": "文件 №1.pdf",
    "emoji 😀.bin": "emoji 😀.bin",
    "50%41; a=b.txt": "50%41; a=b.txt",  # no percent encoding, no parameters
    "it's (1) *'x'.txt": "it's (1) _'x'.txt",  # no file of every system has a star
    'the "best".txt': "the _best_.txt",
    "..\\up/and\\away.txt": None,  # a path: whatever it is called, it has none
    "=?utf-8?Q?a?=.txt": "=_utf-8_Q_a_=.txt",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "source"
    file.write_bytes(os.urandom(3 * MiB))
    return file


async def test_names_are_what_was_given(page: Any, path: Path, tmp_path: Path) -> None:
    names = list(NAMES)

    async def index(_request: web.Request) -> Any:
        return HTML("".join(f"<a href=/{n}>x</a>" for n in range(len(names))))

    async def download(request: web.Request) -> Any:
        return respond(File(path), filename=names[int(request.match_info["n"])])

    app = web.Application()
    app.router.add_get("/", index)
    app.router.add_get("/{n}", download)
    async with serving(setup(app)) as (host, port):
        await page.goto(f"http://{host}:{port}/")
        for n, (name, expected) in enumerate(NAMES.items()):
            async with page.expect_download() as caught:
                await page.click(f"a[href='/{n}']")
            found = await caught.value
            suggested = found.suggested_filename
            if expected is None:
                assert not {"/", "\\"} & set(suggested), name
            else:
                assert suggested == expected, name
            await found.save_as(tmp_path / "saved")
            content = await asyncio.to_thread((tmp_path / "saved").read_bytes)
            assert content == path.read_bytes()


async def test_a_download_that_breaks_off_is_no_download(page: Any, path: Path) -> None:
    """The source fails behind the first megabyte: Chromium says so."""

    async def index(_request: web.Request) -> Any:
        return HTML("<a href=/file>x</a>")

    async def cut(request: web.Request) -> Any:
        response = respond(File(path), filename="cut.bin")
        await response.prepare(request)
        await asyncio.to_thread(os.truncate, path, MiB)
        return response

    app = web.Application()
    app.router.add_get("/", index)
    app.router.add_get("/file", cut)
    async with serving(setup(app)) as (host, port):
        await page.goto(f"http://{host}:{port}/")
        async with page.expect_download() as caught:
            await page.click("a")
        assert await (await caught.value).failure() is not None
