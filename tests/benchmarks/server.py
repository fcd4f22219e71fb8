"""A contestant's process, as the one sees it that measures: started, asked, ended.

``Server`` starts ``tests.benchmarks.serve`` and returns at once, so that several come
up side by side; ``connect()`` waits for the port. What a shell may have set for
debugging is taken out of the environment: it would be measured too. Temporary files
of all contestants go to the folder that ours writes to.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cached_property
from typing import Any

from tests.benchmarks.client import Client
from tests.benchmarks.contestants import FOLDER_VARIABLE, Contestant
from tests.benchmarks.machine import ROOT

__all__ = ["Server"]

_CLEARED = (
    "AIOHTTP_NO_EXTENSIONS",
    "AIOHTTP_NOSENDFILE",
    "MULTIDICT_NO_EXTENSIONS",
    "PYTHONASYNCIODEBUG",
    "PYTHONDEVMODE",
    "PYTHONHASHSEED",
    "PYTHONMALLOC",
    "PYTHONOPTIMIZE",
    "PYTHONTRACEMALLOC",
    "PYTHONWARNINGS",
    "WEB_CONCURRENCY",
    "YARL_NO_EXTENSIONS",
)


class Server:
    """One server process and a connection to it.

    Args:
        contestant: what it serves.
        folder: where it writes.
        quiet: whether what it writes to its standard error is thrown away.
    """

    def __init__(
        self, contestant: Contestant, folder: str, *, quiet: bool = False
    ) -> None:
        inherited = {
            name: value for name, value in os.environ.items() if name not in _CLEARED
        }
        self._others: list[Client] = []
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.benchmarks.serve",
                contestant.module,
                contestant.name,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if quiet else None,
            cwd=ROOT,
            env={
                **inherited,
                "TMPDIR": folder,
                **contestant.env,
                FOLDER_VARIABLE: folder,
            },
        )

    @cached_property
    def port(self) -> int:
        """Where it listens; known when it does."""
        return int(self._answer())

    @cached_property
    def client(self) -> Client:
        """A connection to it, made when first asked for."""
        return Client(self.port)

    def at_once(self, count: int) -> list[Client]:
        """So many connections to it; the first is ``client``."""
        while len(self._others) < count - 1:
            self._others.append(Client(self.port))
        return [self.client, *self._others[: count - 1]]

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a server has died: {self._process.args!r}")
        return json.loads(line)

    def ask(self, command: str) -> Any:
        """The answer to one command; those that there are stand in ``serve``."""
        assert self.port
        assert self._process.stdin is not None
        self._process.stdin.write(command.encode() + b"\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """Close the connection, and end the process."""
        if "client" in self.__dict__:
            for client in self.at_once(1 + len(self._others)):
                client.close()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
