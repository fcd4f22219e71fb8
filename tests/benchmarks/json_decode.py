"""CPU time of JSON.decode beside json.loads of the same bytes.

    python -m tests.benchmarks.json_decode

1 KiB is bound by what surrounds the parser (reading a stream, one coroutine), 1 MiB
by the parser and the thread it runs in. Both are measured with msgspec and without.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiostreams.content import jsontext
from aiostreams.content.json import JSON
from aiostreams.limits import Limits, MiB
from aiostreams.streams.memory import ByteStream

ROW = {"id": 7, "name": "row 7", "price": 1.75, "tags": ["alpha", "beta"], "ok": True}
LIMITS = Limits(max_memory=4 * MiB)
ROUNDS = 15


async def loads(text: bytes) -> Any:
    """The yardstick, in a coroutine too."""
    return json.loads(text)


async def decode(text: bytes) -> Any:
    return await JSON.decode(ByteStream(text), limits=LIMITS)


async def cpu(
    read: Callable[[bytes], Awaitable[Any]], text: bytes, times: int
) -> float:
    """Microseconds of CPU time for one."""
    before = time.process_time()
    for _ in range(times):
        await read(text)
    return (time.process_time() - before) / times * 1e6


async def main() -> None:
    rows = json.dumps([ROW]).encode()
    for size, times in ((1024, 500), (1 * MiB, 3)):
        text = json.dumps([ROW] * (size // len(rows) + 1)).encode()
        best: dict[str, float] = {}
        installed = jsontext.msgspec
        for _ in range(ROUNDS):  # in turns, so that all see the same machine
            for name, read in (
                ("json.loads", loads),
                ("JSON.decode", decode),
                ("JSON.decode without msgspec", decode),
            ):
                jsontext.msgspec = (
                    None if name.endswith("without msgspec") else installed
                )
                found = await cpu(read, text, times)
                best[name] = min(found, best.get(name, found))
        jsontext.msgspec = installed
        print(f"{len(text):,} bytes")
        for name, found in best.items():
            print(f"  {name:30}{found:10.1f} us  {found / best['json.loads']:5.2f} x")


if __name__ == "__main__":
    asyncio.run(main())
