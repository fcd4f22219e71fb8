"""Clients of the guides on resumable uploads, as the guides have them.

Their connections break in the middle; what is stored is what was sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from yarl import URL

from tests.docs.page import ROOT, Page
from tests.docs.session import ENVIRONMENT, Session
from tests.node import FOLDER, node_with
from tests.servers import connected
from tests.storage.buckets import store_of
from tests.web.resumable.chaos import Chaos
from tests.web.resumable.server import client

__all__ = ["CHUNKS", "FILM", "PAGE", "Guide", "block", "breaking", "serving"]

PAGE = Page(ROOT / "docs/guides/resumable.md")
FILM = b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + bytes(
    (i * 31 + (i >> 8)) & 255 for i in range(3_000_000)
)


CHUNKS = Page(ROOT / "docs/guides/resumable-chunks.md")


def block(title: str, page: Page = PAGE) -> str:
    """A program of a guide, also one that its sessions do not run."""
    [text] = [found.text for found in page.blocks if found.title == title]
    return text


class Guide:
    """The guide's application, and a way to it that breaks.

    Attributes:
        folder: where it runs, and its clients.
        port: of the way to it.
        chaos: that way.
    """

    def __init__(self, folder: Path, chaos: Chaos) -> None:
        self.folder = folder
        self.chaos = chaos
        self.port = chaos.port
        (folder / "film.mp4").write_bytes(FILM)

    async def run(self, name: str, program: str, *command: str) -> str:
        """Run a client of the guide, which finds the application at ``port``."""
        path = self.folder / name
        path.write_text(program.replace("8080", str(self.port)))
        ran = await asyncio.to_thread(
            subprocess.run,
            [*command, name],
            cwd=self.folder,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
            timeout=50,
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def check(self, breaks: int = 3) -> None:
        """The film was stored, once, although connections broke."""
        assert self.chaos.count["cut"] == breaks
        folders = ("videos", "files")
        [folder] = [
            self.folder / name for name in folders if (self.folder / name).exists()
        ]
        [stored] = [path for path in folder.iterdir() if path.is_file()]
        assert stored.read_bytes() == FILM


@contextlib.asynccontextmanager
async def serving(
    folder: Path, chaos: Chaos, *, page: Page = PAGE, url: str | None = None
) -> AsyncIterator[Guide]:
    """Serve a guide's ``app.py`` behind ``chaos``, which has no port yet.

    Args:
        folder: where it runs.
        chaos: the way to it.
        page: the guide.
        url: of a storage in place of its own.
    """
    session = Session(page, folder, {})
    path = folder / "app.py"
    if url is not None:
        program = path.read_text().replace("DiskStorage,", "storage_from_url,")
        path.write_text(
            program.replace('DiskStorage("videos")', f"storage_from_url({url!r})")
        )
    secrets = "AWS_ACCESS_KEY_ID=AK AWS_SECRET_ACCESS_KEY=SK"
    server = session.serving(f"{secrets} python -W error app.py")
    await asyncio.to_thread(server.__enter__)
    try:
        chaos.ports = [session.ports["8080"]]
        async with chaos.running():
            yield Guide(folder, chaos)
    finally:
        await asyncio.to_thread(server.__exit__, None, None, None)


def breaking() -> Chaos:
    """A way on which three connections break, each in the middle of a chunk."""
    return Chaos(
        [], seed=4, weights=(1, 0, 0, 0), longest=900_000, shortest=20_000, breaks=3
    )


@pytest.fixture
async def guide(tmp_path: Path) -> AsyncIterator[Guide]:
    chaos = breaking()
    async with serving(tmp_path, chaos) as made:
        yield made


async def test_tus_js_client(guide: Guide) -> None:
    node = node_with("tus-js-client")
    (guide.folder / "node_modules").symlink_to(FOLDER / "node_modules")
    assert await guide.run("upload.mjs", block("upload.mjs"), node) == "done\n"
    guide.check()


async def test_tuspy(guide: Guide) -> None:
    pytest.importorskip("tusclient", reason="tuspy is not installed")
    # Chunks of the guide's size would be the complete film.
    program = block("upload.py").replace("4_000_000", "1_000_000")
    printed = await guide.run("upload.py", program, sys.executable)
    assert printed == f"{len(FILM)}\n"
    guide.check()


async def test_an_object_store(tmp_path: Path, seaweed: int) -> None:
    node = node_with("tus-js-client")
    url = f"s3://bkt/guide?endpoint=http://127.0.0.1:{seaweed}"
    chaos = breaking()
    async with serving(tmp_path, chaos, url=url) as guide:
        (tmp_path / "node_modules").symlink_to(FOLDER / "node_modules")
        assert await guide.run("upload.mjs", block("upload.mjs"), node) == "done\n"
    assert chaos.count["cut"] == 3
    store = store_of(seaweed)
    found = [
        meta["path"]
        async for page in store.list("guide/")
        for meta in page
        if ".aiostreams" not in meta["path"]
    ]
    assert len(found) == 1
    stored = await (await store.get_async(found[0])).bytes_async()
    assert bytes(stored) == FILM


# -- chunks ------------------------------------------------------------------------------


async def test_a_chunk_counts_once_and_completely(tmp_path: Path) -> None:
    """Whatever broke: its request, or the answer to it, the last one too."""
    chaos = breaking()
    chaos.calm = True
    async with serving(tmp_path, chaos, page=CHUNKS) as guide:
        address = "127.0.0.1", guide.port
        async with client(address) as send:
            url = URL(await send.create(6)).raw_path_qs
            async with connected(address) as raw:
                await raw.send(
                    f"PATCH {url} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\n"
                    "Upload-Offset: 0\r\nContent-Length: 3\r\n\r\nab".encode()
                )
            assert (await send.tus("HEAD", url)).offset == 0
            for at, chunk in ((0, b"abc"), (0, b"abc"), (3, b"def"), (3, b"def")):
                answer = await send.tus("PATCH", url, chunk, Upload_Offset=str(at))
                assert (answer.status, answer.offset) == (200, at + 3)
            answer = await send.tus("PATCH", url, b"abc", Upload_Offset="0")
            assert (answer.status, answer.offset) == (409, 6)
        [stored] = [path for path in (tmp_path / "files").iterdir() if path.is_file()]
        assert stored.read_bytes() == b"abcdef"


# -- what is proven ----------------------------------------------------------------------

TESTS = ROOT / "tests"


def test_every_complaint_has_its_tests() -> None:
    """Those that docs/design/resumable.md names exist; and none of the 37 has none."""
    page = (ROOT / "docs/design/resumable.md").read_text()
    there = {
        name
        for folder in ("resumable", "web/resumable", "sansio")
        for path in (TESTS / folder).glob("test_*.py")
        for name in re.findall(
            r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE
        )
    }
    rows = re.findall(r"^\| (\d+) \|.*\| ([^|]+) \|$", page, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 38))
    for number, cell in rows:
        named = re.findall(r"`(\w+)`", cell)
        assert named, number
        assert set(named) <= there, number
    everywhere = set(re.findall(r"`(test_\w+)`", page))
    assert everywhere <= there, everywhere - there
    for name in re.findall(r"`(\w+\.py)`", page):
        assert list(TESTS.glob(f"**/resumable/{name}")), name
