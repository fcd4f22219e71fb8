"""Processes of Python that are there at once, to be killed, or seen to their end.

Each is forked from one that has imported already what they need: that takes some
milliseconds, where to start Python and import the package takes half a second.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["Forks", "forks"]

ROOT = Path(__file__).parents[1]

# Comes after the code of the test. It starts no thread, so that it can fork.
_PARENT = """
def _serve():
    import json, os, sys
    while line := sys.stdin.readline():
        pid = os.fork()
        if not pid:
            print(os.getpid(), flush=True)
            return main(*json.loads(line))
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print("ended", status, flush=True)
_serve()
"""


class Forks:
    """The process that forks, seen from the test; one child at a time."""

    def __init__(self, parent: subprocess.Popen[str]) -> None:
        self._parent = parent

    def start(self, *arguments: object) -> int:
        """Have a child run ``main(*arguments)``; gives its process id."""
        assert self._parent.stdin is not None
        self._parent.stdin.write(json.dumps(arguments, default=str) + "\n")
        self._parent.stdin.flush()
        return int(self.line())

    def line(self) -> str:
        """Wait for the next line that the child prints."""
        assert self._parent.stdout is not None
        return self._parent.stdout.readline()

    def ended(self) -> int:
        """Wait until the child has ended, past what it prints; gives its exit code."""
        # It may have been killed in the middle of a line of its own.
        while "ended " not in (line := self.line()):
            assert line, "the parent has ended"
        return int(line.rpartition("ended ")[2])


@contextlib.contextmanager
def forks(code: str, folder: Path | None = None) -> Iterator[Forks]:
    """Import what ``code`` does, and fork children that run its ``main``.

    A child that returns from there ends as any interpreter does; it is killed at the
    end if it has not.
    """
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    parent = subprocess.Popen(
        [sys.executable, "-c", code + _PARENT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=environ,
        start_new_session=True,
    )
    try:
        yield Forks(parent)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(parent.pid, 9)
        parent.communicate()
