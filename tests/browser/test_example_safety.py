"""Uploads that try to act as the site, in Chromium.

Each tells by one of three ways that it has run: a message to whoever opened or framed
it, a request to the app, or what it has done to the page. None may.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from mimetypes import guess_type
from pathlib import Path
from typing import Any

import aiohttp
import pytest_asyncio
from aiohttp import web

from aiostreams import DiskStorage, MiB
from example_app.app import Settings, create_app
from tests.servers import serving

PROBE = (
    "try { document.title = 'ran' } catch {};"
    "try { new Image().src = '/files/ran-' + document.cookie } catch {};"
    "try { fetch('/files/mine.txt', {method: 'DELETE'}) } catch {};"
    "try { (window.opener || parent).postMessage('ran', '*') } catch {}"
)
SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9" onload="{0}">'
    "<script>{0}</script></svg>"
).format(PROBE.replace("&", "&amp;").replace("'", "&apos;"))
UPLOADS = {
    "evil.html": f'<!doctype html><body onload="{PROBE}"><script>{PROBE}</script>',
    "evil.svg": SVG,
    "evil.xhtml": f'<html xmlns="http://www.w3.org/1999/xhtml"><script>{PROBE}</script></html>',
    # Not what their names say.
    "page.png": f"<!doctype html><script>{PROBE}</script>",
    "page.txt": f"<!doctype html><script>{PROBE}</script>",
    "evil.js": PROBE,
    "evil.css": "body { background: red }",
}


@dataclass
class Site:
    """The app, and what is asked of it."""

    address: str = ""
    asked: list[str] = field(default_factory=list)
    # As if what was uploaded were sent to be shown.
    inline: bool = False


@pytest_asyncio.fixture(loop_scope="session")
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    found = Site()
    app = create_app(DiskStorage(tmp_path / "root"), Settings(max_file=MiB))

    async def note(request: web.Request, response: web.StreamResponse) -> None:
        found.asked.append(f"{request.method} {request.path}")
        if found.inline:
            response.headers.popall("Content-Disposition", None)

    app.on_response_prepare.append(note)
    async with serving(app, auto_decompress=False) as (host, port):
        found.address = f"http://{host}:{port}"
        async with aiohttp.ClientSession(found.address) as client:
            for name, content in {**UPLOADS, "mine.txt": "mine"}.items():
                kind = guess_type(name)[0] or "application/xhtml+xml"
                async with client.put(
                    f"/files/{name}", data=content, headers={"Content-Type": kind}
                ) as response:
                    assert response.status == 201
        found.asked.clear()
        yield found


async def nothing_ran(page: Any, asked: list[str]) -> None:
    await page.wait_for_timeout(150)
    assert not [line for line in asked if "ran-" in line or "DELETE" in line]
    assert await page.evaluate("window.heard ?? []") == []


async def test_uploads_do_not_run_where_they_are_opened(page: Any, site: Site) -> None:
    """Even if they were no attachments: then the sandbox has to hold."""
    address, asked = site.address, site.asked
    await page.context.add_cookies([{"name": "secret", "value": "1", "url": address}])

    site.inline = True
    opened = set()
    for name in UPLOADS:
        for area in ("files", "proxy"):
            response = await page.goto(f"{address}/{area}/{name}")
            assert response.status == 200
            assert await page.title() != "ran"
            origin = await page.evaluate("self.origin")
            assert origin == "null", "the sandbox gives it an origin of its own"
            opened.add(await page.evaluate("document.contentType"))
    await nothing_ran(page, asked)
    # They were taken for what they are: it is not the type that has stopped them.
    assert {"text/html", "image/svg+xml"} <= opened


async def test_uploads_do_not_run_where_they_are_embedded(
    page: Any, site: Site
) -> None:
    """By markup that somebody has got into the app's own page."""
    address, asked = site.address, site.asked
    # Without the page's own policy, which would not load any of this.
    session = await page.context.new_cdp_session(page)
    await session.send("Page.setBypassCSP", {"enabled": True})
    await page.goto(address)
    await page.evaluate(
        "addEventListener('message', e => (window.heard ??= []).push(e.data))"
    )
    results = await page.evaluate(
        """async names => {
            const results = {};
            for (const [tag, attribute] of [
                ['img', 'src'], ['iframe', 'src'], ['embed', 'src'], ['object', 'data'],
                ['script', 'src'], ['link', 'href'],
            ]) for (const name of names) for (const area of ['files', 'preview']) {
                const made = document.createElement(tag);
                if (tag === 'link') made.rel = 'stylesheet';
                const done = new Promise(resolve => {
                    made.onload = () => resolve('loaded');
                    made.onerror = () => resolve('failed');
                    setTimeout(() => resolve('silent'), 400);
                });
                made[attribute] = `/${area}/${name}`;
                document.body.append(made);
                (results[tag] ??= new Set()).add(await done);
            }
            try {
                await navigator.serviceWorker.register('/files/evil.js');
                results.worker = 'registered';
            } catch { results.worker = 'refused'; }
            return {...Object.fromEntries(Object.entries(results).map(
                ([tag, found]) => [tag, found instanceof Set ? [...found] : found]))};
        }""",
        list(UPLOADS),
    )
    await nothing_ran(page, asked)
    assert await page.title() != "ran"
    assert results["script"] == ["failed"]
    assert results["link"] == ["failed"]
    assert results["worker"] == "refused"
    assert "loaded" in results["img"]  # an SVG as a picture is one, and runs nothing
    background = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background != "rgb(255, 0, 0)"


async def test_page_refuses_scripts_that_are_not_its_own(page: Any, site: Site) -> None:
    address, asked = site.address, site.asked
    await page.goto(address)
    blocked = await page.evaluate(
        """async () => {
            const blocked = new Set();
            addEventListener('securitypolicyviolation', e => blocked.add(e.effectiveDirective));
            const script = document.createElement('script');
            const tries = [
                () => { script.textContent = 'document.title = "ran"'; },
                () => { document.body.innerHTML += '<img src=x onerror="document.title=\\'ran\\'">'; },
                () => setTimeout('document.title = "ran"'),
                () => document.body.setAttribute('onclick', 'document.title = "ran"'),
            ];
            for (const attempt of tries) try { attempt(); } catch {}
            document.body.append(script);
            document.body.click();
            const image = new Image();
            image.src = 'http://127.0.0.1:9/x.png';
            const style = document.createElement('style');
            style.textContent = 'body { background: red }';
            document.head.append(style);
            const frame = document.createElement('iframe');
            frame.src = '/';
            document.body.append(frame);
            await new Promise(resolve => setTimeout(resolve, 300));
            return [...blocked].sort();
        }"""
    )
    assert await page.title() != "ran"
    assert {
        "frame-src",
        "img-src",
        "require-trusted-types-for",
        "style-src-elem",
    } <= set(blocked)
    await nothing_ran(page, asked)


async def test_another_site_can_neither_change_nor_read_nor_frame(
    page: Any, site: Site, tmp_path: Path
) -> None:
    address, asked = site.address, site.asked

    async def evil(_request: web.Request) -> web.Response:
        return web.Response(
            text=f"<!doctype html><title>evil</title><form id=f method=post "
            f"action='{address}/files' enctype=multipart/form-data target=_blank>"
            "<input name=file type=file></form>",
            content_type="text/html",
        )

    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    async with serving(evil) as (_, port):
        # Another port of the same machine is another origin on the same site;
        # another name is another site.
        for host in ("127.0.0.1", "localhost"):
            await page.goto(f"http://{host}:{port}/")
            results = await page.evaluate(
                """async address => {
                    const results = {};
                    const body = new FormData();
                    body.append('file', new Blob(['x']), 'x.txt');
                    results.post = await fetch(`${address}/files`,
                        {method: 'POST', body, mode: 'no-cors'}).then(r => r.type, () => 'failed');
                    results.delete = await fetch(`${address}/files/mine.txt`,
                        {method: 'DELETE'}).then(r => r.status, () => 'failed');
                    results.read = await fetch(`${address}/files`).then(r => r.status, () => 'failed');
                    results.image = await new Promise(resolve => {
                        const image = new Image();
                        image.onload = () => resolve('loaded');
                        image.onerror = () => resolve('failed');
                        image.src = `${address}/static/icon.svg`;
                    });
                    const frame = document.createElement('iframe');
                    frame.src = address;
                    document.body.append(frame);
                    await new Promise(resolve => { frame.onload = resolve; });
                    return results;
                }""",
                address,
            )
            assert (
                results
                == {
                    "post": "failed",  # it was sent, and refused, and its answer is not theirs
                    "delete": "failed",
                    "read": "failed",
                    "image": "failed",
                }
            ), host
            assert [text for text in said if "frame-ancestors 'none'" in text]
            said.clear()
            async with page.context.expect_page() as opened:
                await page.evaluate("document.getElementById('f').submit()")
            sent = await opened.value
            await sent.wait_for_load_state()
            assert "This is not allowed from here" in await sent.inner_text("h1")
            await sent.close()
    root = tmp_path / "root"
    kept = {path.name for path in root.iterdir() if path.is_file()}
    assert kept == {*UPLOADS, "mine.txt"}
    assert "POST /files" in asked
