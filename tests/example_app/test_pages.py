"""What the example app shows to browsers, with and without scripts."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest
from aiohttp import ClientSession
from yarl import URL

from aiostreams import DiskStorage, MemoryStorage, MiB
from example_app.app import Settings, create_app
from example_app.markup import Markup, Template
from tests.servers import serving

from .service import PNG, form, kept

STATIC = Path(__file__).parents[2] / "example_app/static"
# What a browser sends when somebody follows a link, or sends a form.
NAVIGATION = {
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Sec-Fetch-Site": "same-origin",
    "Sec-Fetch-Mode": "navigate",
}


@pytest.mark.parametrize(
    ("path", "script"),
    [("/", "app.js"), ("/api", "numbers.js"), ("/delete/a.txt", ""), ("/no/thing", "")],
)
async def test_page_and_what_it_loads(
    url: URL, client: ClientSession, tmp_path: Path, path: str, script: str
) -> None:
    (tmp_path / "uploads/a.txt").write_text("a")
    async with client.get(url.join(URL(path)), headers=NAVIGATION) as response:
        page = await response.text()
        assert response.content_type == "text/html"
        policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    # Nothing in the page needs what the policy forbids.
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?! src=)", page)
    loaded = set(re.findall(r'(?:href|src)="(/static/[^"]+)"', page))
    names = {Path(path).name for path in loaded}
    assert names == {"icon.svg", "style.css", *filter(None, [script])}
    types = {"icon.svg": "image/svg+xml", "style.css": "text/css"}
    # What the scripts import is loaded as well.
    for name in [file.name for file in STATIC.iterdir()]:
        async with client.get(url / "static" / name) as response:
            assert response.status == 200
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.content_type == types.get(name, "text/javascript")
            # A new version is used at once, and an old one not sent again.
            assert response.headers["Cache-Control"] == "no-cache"
            assert "ETag" in response.headers


async def test_page_is_not_sent_twice_but_when_something_is_new(
    url: URL, client: ClientSession
) -> None:
    async with client.get(url) as response:
        etag = response.headers["ETag"]
    condition = {"If-None-Match": etag}
    async with client.get(url, headers=condition) as response:
        assert response.status == 304
    async with client.put(url / "files/new.txt", data=b"new") as response:
        assert response.status == 201
    async with client.get(url, headers=condition) as response:
        assert response.status == 200
        assert "new.txt" in await response.text()


@pytest.mark.parametrize(
    "path", ["static/app.py", "static/..%2Fapp.py", "static/frame.html", "nothing"]
)
async def test_nothing_else_is_served(
    url: URL, client: ClientSession, path: str
) -> None:
    # A file could be put at /nothing, therefore 405.
    async with client.get(URL(f"{url}/{path}", encoded=True)) as response:
        assert response.status == (405 if path == "nothing" else 404)


async def test_form_without_a_script_leads_back_to_the_page(
    url: URL, client: ClientSession, tmp_path: Path
) -> None:
    files = form(("sun.png", PNG), ("a.txt", b"a"))
    async with client.post(
        url / "files", data=files, headers=NAVIGATION, allow_redirects=False
    ) as response:
        assert response.status == 303
        location = response.headers["Location"]
    assert len([path for path in kept(tmp_path) if "." in path]) == 2
    async with client.get(url.join(URL(location)), headers=NAVIGATION) as response:
        page = await response.text()
    assert "2 stored" in page
    assert 'src="/preview/' in page
    assert page.count("<li ") == 2


async def test_delete_without_a_script_asks_first(
    url: URL, client: ClientSession, tmp_path: Path
) -> None:
    async with client.put(url / "files/a b.txt", data=b"a") as response:
        assert response.status == 201
    async with client.get(url, headers=NAVIGATION) as response:
        found = re.search(r'action="(/delete/[^"]+)"', await response.text())
    assert found is not None
    address = url.join(URL(html.unescape(found[1]), encoded=True))
    async with client.get(address, headers=NAVIGATION) as response:
        page = await response.text()
    assert "a b.txt" in page
    assert f'method="post" action="{found[1]}"' in page
    assert kept(tmp_path) == ["a b.txt"]
    async with client.post(
        address, headers=NAVIGATION, allow_redirects=False
    ) as response:
        assert (response.status, response.headers["Location"]) == (303, "/")
    assert kept(tmp_path) == []
    async with client.get(address, headers=NAVIGATION) as response:
        assert response.status == 404


async def test_search_and_pages_without_a_script(
    url: URL, client: ClientSession, tmp_path: Path
) -> None:
    for number in range(60):
        (tmp_path / f"uploads/report {number:02}.txt").write_text("r")
    (tmp_path / "uploads/picture.txt").write_text("p")
    seen: list[str] = []
    query = {"q": "REPORT"}
    for _ in range(2):
        async with client.get(url.with_query(query), headers=NAVIGATION) as response:
            page = await response.text()
        assert "60 files with “REPORT”" in page
        seen += re.findall(r'data-name="([^"]+)"', page)
        hidden = re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page)
        query = {name: html.unescape(value) for name, value in hidden}
    assert len(seen) == 60
    assert sorted(seen) == [f"report {number:02}.txt" for number in range(60)]
    assert query == {"q": "REPORT", "after": ""}  # back to the newest
    async with client.get(url.with_query(q="none"), headers=NAVIGATION) as response:
        assert "No file with “none”" in await response.text()


async def test_errors_are_pages_for_people_and_documents_for_programs(
    client: ClientSession,
) -> None:
    settings = Settings(max_file=MiB, accept=frozenset({"image/*"}))
    async with serving(create_app(MemoryStorage(), settings)) as (host, port):
        url = URL.build(scheme="http", host=host, port=port)
        for status, words, files in [
            (415, "This kind of file is not welcome here", form(("a", b"<html>"))),
            (413, "This is too large", form(("a", PNG + bytes(MiB)))),
            (422, "Something is missing", form()),
        ]:
            async with client.post(
                url / "files", data=files, headers=NAVIGATION
            ) as response:
                page = await response.text()
                assert response.status == status
                assert response.content_type == "text/html"
                assert (
                    "default-src 'none'" in response.headers["Content-Security-Policy"]
                )
            assert f"<h1>{words}</h1>" in page
        assert "there is no file in this body" in page
        async with client.get(url / "files/none", headers=NAVIGATION) as response:
            assert "<h1>This is not here</h1>" in await response.text()
        async with client.get(
            url.with_query(limit="x"), headers={"Accept": "application/json"}
        ) as response:
            assert response.content_type == "application/problem+json"


async def test_error_page_is_compressed_whole(url: URL, client: ClientSession) -> None:
    headers = {**NAVIGATION, "Accept-Encoding": "gzip"}
    async with client.get(url / "files/none", headers=headers) as response:
        assert (await response.text()).rstrip().endswith("</html>")


async def test_names_become_no_markup(
    url: URL, client: ClientSession, tmp_path: Path
) -> None:
    name = "\"><img src=x onerror=alert(1)>&amp;'.txt"
    (tmp_path / "uploads" / name).write_text("x")
    async with client.get(url, headers=NAVIGATION) as response:
        page = await response.text()
    assert "<img src=x" not in page
    assert f'data-name="{html.escape(name)}"' in page
    async with client.get(
        url.with_query(q='"><script>'), headers=NAVIGATION
    ) as response:
        assert '"><script>' not in await response.text()


async def test_dangerous_host_becomes_no_markup(client: ClientSession) -> None:
    settings = Settings(max_file=MiB, hosts=frozenset({"*"}))
    async with serving(create_app(MemoryStorage(), settings)) as (host, port):
        headers = {**NAVIGATION, "Host": 'a"><script>b'}
        async with client.get(f"http://{host}:{port}/api", headers=headers) as response:
            assert "<script>b" not in await response.text()


def test_template_escapes_what_is_not_markup() -> None:
    template = Template("notice.html")
    made = template(text="<&>\"'")
    assert "&lt;&amp;&gt;&quot;&#x27;" in made
    assert template(text=Markup("<b>")).count("<b>") == 1
    with pytest.raises(KeyError):
        template()


async def test_storage_that_others_fill_is_shown(
    client: ClientSession, tmp_path: Path
) -> None:
    """Files that were not uploaded have no type but by their names."""
    (tmp_path / "sun.PNG").write_bytes(PNG)
    (tmp_path / "unknown.qqq").write_bytes(b"?")
    app = create_app(DiskStorage(tmp_path), Settings(max_file=MiB))
    async with serving(app) as (host, port):
        url = URL.build(scheme="http", host=host, port=port)
        async with client.get(url, headers=NAVIGATION) as response:
            page = await response.text()
        assert "image/png" in page
        assert "application/octet-stream" in page
        async with client.get(url / "preview/sun.PNG") as response:
            assert (response.status, response.content_type) == (200, "image/png")
            assert await response.read() == PNG
