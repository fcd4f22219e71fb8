"""Chromium's forms: plain ones and FormData, odd names, empty and several files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from aiostreams import HTML, Limits, iter_parts, read_form, setup
from aiostreams.multipart.received import ReceivedFile
from tests.servers import serving

PAGE = """<!doctype html><meta charset=utf-8>
<form method=post enctype="multipart/form-data" action="{action}">
<input name="größe &quot;x&quot; \\ ;" value="ü; &quot;\\">
<input name=same value=1><input name=same value=2>
<textarea name=text>one
two</textarea>
<input type=hidden name="_charset_">
<input type=file name=many multiple>
<input type=file name=none>
<button>send</button></form>"""
ODD = 'größe "x" \\ ;'
FIELDS = [
    [ODD, 'ü; "\\'],
    ["same", "1"],
    ["same", "2"],
    ["text", "one\r\ntwo"],
    ["_charset_", "UTF-8"],
]


async def form(request: web.Request) -> web.Response:
    value = await read_form(request)
    files = []
    for name, file in value.files.items():
        assert isinstance(file, ReceivedFile)
        async with file as stream:
            data = (await stream.read()).decode("latin-1")
        files.append([name, file.filename, file.content_type, data])
    return web.json_response([[list(pair) for pair in value.form.items()], files])


async def parts(request: web.Request) -> web.Response:
    fields: list[Any] = []
    files: list[Any] = []
    async for part in iter_parts(request):
        if part.filename is None:
            fields.append([part.name, await part.text()])
        elif part.filename:
            data = (await part.read()).decode("latin-1")
            files.append([part.name, part.filename, part.content_type, data])
        else:
            assert await part.read() == b""
    return web.json_response([fields, files])


def application(limits: Limits) -> web.Application:
    async def index(request: web.Request) -> Any:
        return HTML(PAGE.format(action=request.query["action"]))

    app = web.Application()
    app.router.add_get("/", index)
    app.router.add_post("/form", form)
    app.router.add_post("/parts", parts)
    return setup(app, limits=limits)


@pytest.mark.parametrize("action", ["/form", "/parts"])
async def test_a_plain_form(page: Any, action: str, tmp_path: Path) -> None:
    names = ["naïve ü.txt", "semi;colon.bin", "empty"]
    contents = ["größe".encode(), bytes(range(256)) * 5000, b""]
    for name, content in zip(names, contents, strict=True):
        (tmp_path / name).write_bytes(content)
    types = ["text/plain", "application/octet-stream", "application/octet-stream"]
    for limits in (Limits(), Limits(max_memory=20_000)):
        async with serving(application(limits)) as (host, port):
            await page.goto(f"http://{host}:{port}/?action={action}")
            await page.set_input_files(
                "input[name=many]", [tmp_path / name for name in names]
            )
            async with page.expect_navigation():
                await page.click("button")
            fields, files = json.loads(await page.inner_text("body"))
        assert fields == FIELDS
        assert [file[:2] for file in files] == [["many", name] for name in names]
        assert [file[3].encode("latin-1") for file in files] == contents
        assert [file[2] for file in files] == types


@pytest.mark.parametrize("action", ["/form", "/parts"])
async def test_nothing_chosen_is_no_file(page: Any, action: str) -> None:
    async with serving(application(Limits())) as (host, port):
        await page.goto(f"http://{host}:{port}/?action={action}")
        async with page.expect_navigation():
            await page.click("button")
        assert json.loads(await page.inner_text("body")) == [FIELDS, []]


@pytest.mark.parametrize("action", ["/form", "/parts"])
async def test_form_data(page: Any, action: str) -> None:
    script = """async action => {
        const data = new FormData();
        data.append('größe "x" \\\\ ;', 'ü');
        data.append('line\\nbreak', 'a\\nb');
        data.append('json', new Blob(['{"a":1}'], {type: 'application/json'}));
        data.append('f', new File(['x'.repeat(2000000)], 'naïve "q" \\\\ ü.txt'));
        data.append('f', new File([], 'empty'));
        return await (await fetch(action, {method: 'POST', body: data})).json();
    }"""
    async with serving(application(Limits(max_memory=100_000))) as (host, port):
        await page.goto(f"http://{host}:{port}/?action={action}")
        fields, files = await page.evaluate(script, action)
        empty = """async action => {
            const answer = await fetch(action, {method: 'POST', body: new FormData()});
            return await answer.json();
        }"""
        assert await page.evaluate(empty, action) == [[], []]
    assert fields == [[ODD, "ü"], ["line\r\nbreak", "a\r\nb"]]
    octets = "application/octet-stream"
    assert files == [
        ["json", "blob", "application/json", '{"a":1}'],
        ["f", 'naïve "q" \\ ü.txt', octets, "x" * 2_000_000],
        ["f", "empty", octets, ""],
    ]
