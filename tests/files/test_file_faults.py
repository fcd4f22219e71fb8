"""Reading a large file does not ask the system for the same memory again and again."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from aiostreams import MiB

SIZE = 64 * MiB

READ = """
import asyncio, resource, sys
from aiostreams import FileStream

async def main():
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        async with FileStream(sys.argv[1]) as stream:
            while await stream.readany():
                pass
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

asyncio.run(main())
"""


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="other libraries have other habits"
)
def test_memory_of_a_piece_serves_the_next(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(SIZE)
    command = [sys.executable, "-c", READ, str(path)]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    # A fault for each page would be 16,384; of a handful of pieces it is 1,000.
    assert int(done.stdout) < 3_000
