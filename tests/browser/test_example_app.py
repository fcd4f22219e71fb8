"""The example app in Chromium: several files, progress, cancel, refusals, deletion."""

from __future__ import annotations

import asyncio
import hashlib
import struct
import zipfile
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio

from aiostreams import DiskStorage, MiB
from example_app.app import Settings, create_app
from tests.servers import serving


def png() -> bytes:
    def piece(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", 2, 2, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"\0" + b"\xff\0\0" * 2 + b"\0" + b"\0\0\xff" * 2)
    return (
        b"\x89PNG\r\n\x1a\n"
        + piece(b"IHDR", header)
        + piece(b"IDAT", rows)
        + piece(b"IEND", b"")
    )


SUN = png()
TEXT = b"a few words\n" * 1000


@pytest_asyncio.fixture(loop_scope="session")
async def opened(page: Any, tmp_path: Path) -> AsyncIterator[Any]:
    """The page of an app that takes images and text; it must not complain."""
    settings = Settings(
        max_file=30 * MiB, accept=frozenset({"image/*", "text/plain", "video/*"})
    )
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console",
        lambda message: (
            complaints.append(message.text)
            # What the browser says of any answer above 399 is not a complaint.
            if message.type in {"error", "warning"}
            and "Failed to load resource" not in message.text
            else None
        ),
    )
    storage = DiskStorage(tmp_path / "root")
    async with serving(create_app(storage, settings), auto_decompress=False) as address:
        await page.goto(f"http://{address[0]}:{address[1]}/")
        yield page
    assert complaints == []


def file(name: str, kind: str, content: bytes) -> dict[str, Any]:
    return {"name": name, "mimeType": kind, "buffer": content}


def stored(tmp_path: Path) -> list[Path]:
    """The files that are kept, and the bytes of those that are not whole yet."""
    return [
        path
        for path in (tmp_path / "root").rglob("*")
        if path.is_file()
        # What is known of an upload stays for a day, for who asks again.
        and not (".aiostreams-uploads" in path.parts and path.name != "data")
    ]


async def test_several_files_are_stored_shown_and_deleted(
    opened: Any, tmp_path: Path
) -> None:
    files = [
        file("sun.png", "image/png", SUN),
        file("<b>words</b>.txt", "text/plain", TEXT),
        file("fake.png", "image/png", b"<html><script>alert(1)</script>"),
    ]
    await opened.set_input_files("#picker", files)
    await opened.wait_for_selector("#transfers li.failed")
    await opened.wait_for_function(
        "() => document.querySelectorAll('#transfers li.done').length == 2"
    )
    transfers = await opened.locator("#transfers").inner_text()
    assert hashlib.sha256(SUN).hexdigest() in transfers
    assert hashlib.sha256(TEXT).hexdigest() in transfers
    assert "This kind of file is not welcome here" in transfers
    await opened.wait_for_function(
        "() => document.querySelectorAll('#files li').length == 2"
        " && document.querySelector('#files img')?.naturalWidth == 2"
    )
    assert len(stored(tmp_path)) == 2
    # Of a name nothing becomes markup.
    assert await opened.locator("#files b").count() == 0

    item = opened.locator("#files li", has_text="sun.png")
    await item.locator("a", has_text="SHA-256").click()
    await item.locator(f"text={hashlib.sha256(SUN).hexdigest()}").wait_for()
    async with opened.expect_download() as download:
        await item.locator("a.name").click()
    saved = await (await download.value).path()
    assert Path(saved).read_bytes() == SUN
    await item.locator("button", has_text="Delete").click()
    await opened.locator("#confirm button", has_text="Keep").click()
    assert len(stored(tmp_path)) == 2
    await item.locator("button", has_text="Delete").click()
    await opened.locator("#confirm button", has_text="Delete").click()
    await opened.wait_for_function(
        "() => document.querySelectorAll('#files li').length == 1"
    )
    assert [path.read_bytes() for path in stored(tmp_path)] == [TEXT]


async def test_upload_that_is_cancelled_leaves_nothing(
    opened: Any, tmp_path: Path
) -> None:
    film = tmp_path / "film.mp4"
    film.write_bytes(b"\0\0\0\x18ftypmp42" + bytes(20 * MiB))
    network = await opened.context.new_cdp_session(opened)
    await network.send("Network.enable")
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1}
    await network.send(
        "Network.emulateNetworkConditions", {**slow, "uploadThroughput": 2 * MiB}
    )
    await opened.set_input_files("#picker", str(film))
    await opened.wait_for_function(
        "() => document.querySelector('#transfers progress')?.value > 0.05"
    )
    await opened.locator("#transfers button", has_text="Cancel").click()
    await opened.wait_for_selector("#transfers li.cancelled")
    async with asyncio.timeout(20):
        while stored(tmp_path):
            await asyncio.sleep(0.05)


async def test_refusal_reaches_a_browser_that_is_still_sending(
    opened: Any, tmp_path: Path
) -> None:
    """It is of a wrong type by its first bytes; 20 MiB are on their way."""
    fake = tmp_path / "fake.mp4"
    fake.write_bytes(b"%PDF-1.7\n" + bytes(20 * MiB))
    await opened.set_input_files("#picker", str(fake))
    failed = opened.locator("#transfers li.failed")
    await failed.wait_for()
    assert "application/pdf; accepted" in await failed.inner_text()
    assert stored(tmp_path) == []


async def test_page_fits_a_phone(opened: Any) -> None:
    await opened.set_viewport_size({"width": 320, "height": 700})
    long = "a" * 120 + ".txt"
    await opened.set_input_files("#picker", [file(long, "text/plain", TEXT)])
    await opened.wait_for_selector("#files li")
    assert await opened.evaluate("document.documentElement.scrollWidth") <= 320


async def count(opened: Any, selector: str, expected: int) -> None:
    await opened.wait_for_function(
        "([selector, count]) => document.querySelectorAll(selector).length == count",
        arg=[selector, expected],
    )


async def test_files_are_dropped_anywhere_and_pasted(
    opened: Any, tmp_path: Path
) -> None:
    await opened.evaluate(
        """() => {
            const given = new DataTransfer();
            for (const name of ['one.txt', 'two.txt', 'three.txt'])
                given.items.add(new File([name], name, {type: 'text/plain'}));
            const options = {dataTransfer: given, bubbles: true, cancelable: true};
            document.body.dispatchEvent(new DragEvent('dragenter', options));
            window.marked = document.querySelector('#drop').classList.contains('over');
            document.querySelector('h2').dispatchEvent(new DragEvent('drop', options));
            window.after = document.querySelector('#drop').classList.contains('over');
            const pasted = new DataTransfer();
            pasted.items.add(new File(['four'], 'four.txt', {type: 'text/plain'}));
            document.dispatchEvent(new ClipboardEvent('paste', {clipboardData: pasted}));
        }"""
    )
    assert await opened.evaluate("[marked, after]") == [True, False]
    await count(opened, "#transfers li.done", 4)
    await count(opened, "#files li", 4)
    assert sorted(path.read_text() for path in stored(tmp_path)) == [
        "four",
        "one.txt",
        "three.txt",
        "two.txt",
    ]
    await opened.locator("#clear").click()
    await count(opened, "#transfers li", 0)


async def test_upload_that_failed_is_tried_again(opened: Any, tmp_path: Path) -> None:
    """By itself when the connection broke, and else when that is wanted."""
    calls = 0

    async def broken(route: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            await route.abort("connectionreset")
        elif calls == 2:
            await route.fulfill(
                status=507,
                content_type="application/problem+json",
                body='{"title": "Insufficient Storage", "status": 507, "detail": "no room"}',
            )
        else:
            await route.continue_()

    await opened.route("**/files", broken)
    await opened.set_input_files("#picker", [file("a.txt", "text/plain", TEXT)])
    failed = opened.locator("#transfers li.failed")
    await failed.locator("text=The storage is full").wait_for()
    await failed.locator("button", has_text="Try again").click()
    await count(opened, "#transfers li.done", 1)
    await count(opened, "#files li", 1)
    assert [path.read_bytes() for path in stored(tmp_path)] == [TEXT]
    # What would be too large is not even sent.
    await opened.evaluate(
        """() => {
            const given = new DataTransfer();
            given.items.add(new File([new Uint8Array(31 << 20)], 'big.txt'));
            document.dispatchEvent(new DragEvent('drop', {dataTransfer: given}));
        }"""
    )
    await failed.wait_for()
    assert "31 MiB, and 30 MiB is the most" in await failed.inner_text()
    assert await failed.locator("button").count() == 0
    assert calls == 3


async def test_previews_search_and_link(opened: Any, tmp_path: Path) -> None:
    await opened.context.grant_permissions(["clipboard-read", "clipboard-write"])
    files = [
        file("sun.png", "image/png", SUN),
        file("words.txt", "text/plain", b"In <script>alert(1)</script> " + TEXT * 10),
    ]
    await opened.set_input_files("#picker", files)
    await count(opened, "#files li", 2)
    picture = opened.locator("#files li", has_text="sun.png")
    await picture.locator("[data-action=preview]").click()
    await opened.wait_for_function(
        "() => document.querySelector('#shown img')?.naturalWidth == 2"
    )
    # A click beside it closes it, and nothing of it stays loaded.
    await opened.mouse.click(2, 2)
    await count(opened, "#shown > *", 0)
    text = opened.locator("#files li", has_text="words.txt")
    await text.locator("[data-action=preview]").click()
    await opened.locator("#shown pre", has_text="a few words").wait_for()
    shown = await opened.locator("#shown pre").inner_text()
    assert shown.startswith("In <script>alert(1)</script> a few words")
    assert "[the first 64 KiB of 117 KiB]" in shown
    await opened.keyboard.press("Escape")

    await opened.fill("#query", "WORDS")
    # What happens meanwhile does not make it forget what is looked for.
    await opened.evaluate("import('/static/files.js').then(files => files.refresh())")
    await count(opened, "#files li", 1)
    assert "q=WORDS" in opened.url
    await opened.reload()
    await count(opened, "#files li", 1)
    assert await opened.input_value("#query") == "WORDS"
    await opened.locator("[data-action=copy]").click()
    await opened.locator("button", has_text="Copied").wait_for()
    link = await opened.evaluate("navigator.clipboard.readText()")
    assert link.endswith("/words.txt")
    assert (
        await opened.evaluate(
            "async link => (await fetch(link)).headers.get('Content-Disposition')", link
        )
        == 'attachment; filename="words.txt"'
    )
    await opened.fill("#query", "")
    await count(opened, "#files li", 2)


async def test_pages_of_the_list(opened: Any, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir(exist_ok=True)
    for number in range(60):
        (tmp_path / f"root/{number:02}.txt").write_text("x")
    await opened.reload()
    await count(opened, "#files li", 50)
    assert await opened.inner_text("#summary") == "60 files"
    await opened.click("text=Older files")
    await count(opened, "#files li", 10)
    assert await opened.evaluate("document.activeElement.id") == "files-title"
    await opened.go_back()
    await count(opened, "#files li", 50)
    await opened.go_forward()
    await count(opened, "#files li", 10)
    await opened.click("text=Back to the newest")
    await count(opened, "#files li", 50)


async def test_page_without_scripts(opened: Any, tmp_path: Path) -> None:
    context = await opened.context.browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    await page.goto(opened.url)
    assert await page.locator("#happening").is_hidden()
    files = [file("a.txt", "text/plain", b"a"), file("sun.png", "image/png", SUN)]
    await page.set_input_files("#picker", files)
    await page.click("#upload button")
    await page.locator("text=2 stored").wait_for()
    assert await page.locator("#files li").count() == 2
    await page.fill("#query", "sun")
    await page.click("#search button")
    assert await page.locator("#files li").count() == 1
    await page.click("#files [data-action=delete]")
    await page.locator("h1", has_text="Delete this file?").wait_for()
    await page.click("button.danger")
    await page.wait_for_url(opened.url)
    assert await page.locator("#files li").count() == 1
    assert [path.read_bytes() for path in stored(tmp_path)] == [b"a"]
    await page.set_input_files("#picker", [file("b.txt", "text/plain", b"<html>")])
    await page.click("#upload button")
    await page.locator("h1", has_text="This kind of file is not welcome").wait_for()
    await page.click("text=To the files")
    assert await page.locator("#files li").count() == 1
    # And whoever has scripts has seen it happen.
    await opened.locator("#log .deleted", has_text="sun.png").wait_for()
    await count(opened, "#files li", 1)


async def test_numbers_as_json_and_line_by_line(opened: Any) -> None:
    await opened.click("text=API")
    answer = opened.locator("#answer")
    await opened.click("text=Send as JSON")
    await answer.locator("pre", has_text='"count":3').wait_for()
    await opened.locator("button", has_text="Line by line").click()
    await answer.locator("pre", has_text='"count":2').wait_for()
    for fault, words in [
        ("type", "Something in it is not as it should be"),
        ("syntax", "This cannot be done"),
        ("size", "This is too large"),
        ("media", "This kind of file is not welcome here"),
    ]:
        await opened.select_option("#fault", fault)
        await opened.click("text=Send as JSON")
        await answer.locator(f"text={words}").wait_for()


async def test_nothing_can_be_pressed_before_its_script_listens(opened: Any) -> None:
    """A form that only a script can send would reload the page, and say nothing."""
    held = asyncio.Event()

    async def hold(route: Any) -> None:
        await held.wait()
        await route.continue_()

    await opened.route("**/static/numbers.js", hold)
    await opened.click("text=API")
    button = opened.locator("button", has_text="Send as JSON")
    await button.wait_for(state="attached")
    assert not await button.is_visible()
    held.set()
    await button.click()
    await opened.locator("#answer pre", has_text='"count":3').wait_for()


async def test_chosen_files_come_as_one_archive(opened: Any, tmp_path: Path) -> None:
    """The browser writes it to a file, which another reader of archives opens."""
    files = [
        file("sun.png", "image/png", SUN),
        file("words.txt", "text/plain", TEXT),
        file("left out.txt", "text/plain", b"not chosen"),
        file("wörter & mehr.txt", "text/plain", b"a few more"),
    ]
    await opened.set_input_files("#picker", files)
    await count(opened, "#files li", 4)
    for name in ("sun.png", "words.txt", "wörter & mehr.txt"):
        await opened.get_by_label(f"Choose {name}").check()
    async with opened.expect_download() as download:
        await opened.click("text=Download the chosen as zip")
    saved = await (await download.value).path()
    with zipfile.ZipFile(saved) as archive:
        assert archive.testzip() is None
        found = {name: archive.read(name) for name in archive.namelist()}
    assert found == {
        "sun.png": SUN,
        "words.txt": TEXT,
        "wörter & mehr.txt": b"a few more",
    }
    # None chosen is said, and the page is still there.
    for name in ("sun.png", "words.txt", "wörter & mehr.txt"):
        await opened.get_by_label(f"Choose {name}").uncheck()
    await opened.click("text=Download the chosen as zip")
    await opened.locator("text=choose 1 to 100 files, not 0").wait_for()
