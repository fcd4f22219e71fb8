"""Checks of a file while it arrives."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from aiohttp import web

from aiostreams import (
    DiskStorage,
    FileRule,
    InvalidContent,
    Limits,
    MemoryStorage,
    StorageError,
    StoredFile,
    receive,
)
from aiostreams.testing import check_stream
from aiostreams.testing.laws import SAMPLE
from aiostreams.uploads import checks as checks_module
from tests.servers import post
from tests.web.test_receive import Part, chunked, folder, keys, posted, run

DATA = bytes(range(256)) * 4000
FORMS: list[list[Part]] = [
    [("a", "a.bin", None, DATA)],
    [("a", "a.bin", None, DATA[:100])],
    [("a", "a.bin", None, b"")],
]
SENT = [posted(form) for form in FORMS] + [chunked(form, 9000)[0] for form in FORMS]


def sizes(sent: bytes) -> int:
    return len(FORMS[SENT.index(sent) % 3][0][3])


@pytest.mark.parametrize("sent", SENT)
async def test_several_checks_see_all_and_nothing_is_visible_meanwhile(
    tmp_path: Any, sent: bytes
) -> None:
    storage = DiskStorage(tmp_path)
    seen: list[bytes] = []

    async def check(stream: Any, file: Any) -> None:
        assert file.filename == "a.bin"
        seen.append(await stream.read())
        assert await keys(storage) == []

    async def script(request: web.Request) -> Any:
        rules = {"a": FileRule(check=check)}
        async with receive(request, storage, files=rules, check=[check, check]) as got:
            return got.files["a"]

    file = await run(script, sent)
    size = sizes(sent)
    assert seen == [DATA[:size]] * 3
    async with await file.open() as stream:
        assert await stream.read() == DATA[:size]


@pytest.mark.parametrize("sent", SENT)
@pytest.mark.parametrize(
    "error",
    [InvalidContent("a virus"), web.HTTPForbidden(), ZeroDivisionError("a mistake")],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("after", [0, 50, 500_000, 2_000_000])
async def test_what_a_check_raises_refuses_the_file(
    tmp_path: Any, sent: bytes, error: Exception, after: int
) -> None:
    async def check(stream: Any, file: Any) -> None:
        await stream.read(after)
        raise error

    async def patient(stream: Any, file: Any) -> None:
        await stream.read()

    async def script(request: web.Request) -> Any:
        both = [patient, check]
        async with receive(request, DiskStorage(tmp_path), check=both):
            raise AssertionError("entered")

    with pytest.raises(type(error)) as raised:
        await run(script, sent)
    assert raised.value is error
    assert folder(tmp_path) == []


@pytest.mark.parametrize("sent", SENT)
async def test_a_check_need_not_read(sent: bytes) -> None:
    async def check(stream: Any, file: Any) -> None:
        pass

    async def first(stream: Any, file: Any) -> None:
        await stream.read(10)

    storage = MemoryStorage()

    async def script(request: web.Request) -> Any:
        async with receive(request, storage, check=[check, first]) as got:
            return got.files["a"].size

    assert await run(script, sent) == sizes(sent)
    assert len(await keys(storage)) == 1


@pytest.mark.parametrize("sent", SENT)
@pytest.mark.parametrize("reads", [0, 10])
async def test_a_check_that_hangs_is_given_up(sent: bytes, reads: int) -> None:
    ended = []

    async def check(stream: Any, file: Any) -> None:
        try:
            await stream.read(reads)
            await asyncio.Event().wait()
        finally:
            ended.append(file.key)

    storage = MemoryStorage()

    async def script(request: web.Request) -> Any:
        limits = Limits(idle_timeout=0.2)
        async with receive(request, storage, check=check, limits=limits):
            raise AssertionError("entered")

    with pytest.raises(StorageError, match=r"0\.2 seconds") as raised:
        await run(script, sent)
    assert raised.value.status == 503
    assert await keys(storage) == []
    assert len(ended) == 1


async def test_a_client_that_leaves_ends_the_check() -> None:
    ended = asyncio.Event()

    async def check(stream: Any, file: Any) -> None:
        try:
            await stream.read()
        finally:
            ended.set()

    async def script(request: web.Request) -> Any:
        async with receive(request, MemoryStorage(), check=check):
            raise AssertionError("entered")

    head = post(headers=[("Content-Length", str(len(DATA)))])
    with pytest.raises(Exception, match="client"):
        await run(script, head + DATA[:300_000], leave=True)
    assert ended.is_set()
    gc.collect()
    assert not [t for t in asyncio.all_tasks() if "_run" in repr(t.get_coro())]


async def test_a_slow_check_slows_the_client_and_holds_little() -> None:
    held = []
    gate = asyncio.Event()

    async def check(stream: Any, file: Any) -> None:
        await stream.readany()
        await gate.wait()
        assert len(await stream.read()) > 0

    async def script(request: web.Request) -> Any:
        def progress(done: int, total: int | None) -> None:
            held.append(done)

        async def receiving() -> int:
            storage = MemoryStorage()
            async with receive(
                request, storage, check=check, on_progress=progress
            ) as got:
                size: int = got.files["file"].size
                return size

        task = asyncio.create_task(receiving())
        before = -1
        while not held or held[-1] != before:
            before = held[-1] if held else -1
            await asyncio.sleep(0.2)  # until no more is read
        assert before < 3_000_000
        assert not task.done()
        gate.set()
        return await task

    data = bytes(20_000_000)
    assert await run(script, post(data, method="PUT")) == len(data)


async def test_pieces_that_are_here_do_not_wait_for_the_checks_turn() -> None:
    """A write that waits is a task, a timer and two switches for each piece."""
    got = []

    async def check(stream: Any, file: Any) -> None:
        got.append(await stream.read())

    piece = bytes(256 * 1024)
    async with checks_module.Checks(
        [check], StoredFile("f", None, "a/b", 0, {}, "k"), 1
    ) as checks:
        for _ in range(4):
            with pytest.raises(StopIteration):
                checks.write(piece).send(None)
        await checks.write(piece)  # which is over the ceiling, and waits
        await checks.verdict()
    assert got == [piece * 5]


@pytest.mark.parametrize("at_hand", [False, True])
async def test_the_stream_of_a_check_keeps_the_laws(*, at_hand: bool) -> None:
    """Its source never fails: what fails an upload ends its checks."""

    async def idle(stream: Any, file: Any) -> None:
        pass

    def make() -> Any:
        file = StoredFile("f", None, "a/b", 0, {}, "k")
        feed = checks_module._Feed(idle, file, 1, SAMPLE if at_hand else None)
        if not at_hand:
            feed._pieces.extend(
                SAMPLE[at : at + 1000] for at in range(0, len(SAMPLE), 1000)
            )
            feed._over = True
        return checks_module._CheckStream(feed, "a/b")

    await check_stream(make)
