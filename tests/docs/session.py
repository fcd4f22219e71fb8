"""A session on a page, run as a reader would run it: a folder, a shell, and servers.

The files of the page are in the folder. A command that ends in ``&`` is a server: it
goes on until the page ends (or ``kill %1``, or ``kill %%`` for the one that was started
last), and the next command waits until it listens. Any other command is run by
``/bin/sh``, and prints what stands below it; ``...`` there stands for anything. A page
that starts no server of its own has its ``app.py`` started.

Ports that pages name (8080 to 8099) become free ones, so that pages can be run side by
side, and become what they were in what is printed.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import aiostreams
from tests.docs.page import Command, Page

__all__ = ["ENVIRONMENT", "Session"]

_PORT = re.compile(r"\b80[89]\d\b")
# What a machine may be without; anything else that is missing is a mistake on the page.
_OPTIONAL = re.compile(r"(?:^|[|;&(]\s*|\s)(curl|gunicorn|nginx|openssl|xz)\s")
_SECONDS = 100
_WATCHED = "PYTHONASYNCIODEBUG"

# The package under test, wherever it is imported from, and the programs beside this
# interpreter first.
ENVIRONMENT = {
    # Readers do not watch their event loop, which takes twice as long.
    **{name: value for name, value in os.environ.items() if name != _WATCHED},
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
    "PYTHONPATH": str(Path(aiostreams.__file__).parents[1]),
    "PYTHONUNBUFFERED": "1",
    # No folder of a page shall have what its author did not make there.
    **(
        {"PYTHONPYCACHEPREFIX": sys.pycache_prefix}
        if sys.pycache_prefix
        else {"PYTHONDONTWRITEBYTECODE": "1"}
    ),
    # Programs that look around for settings find those of the page alone.
    "PYTEST_ADDOPTS": "-p no:cacheprovider",
    "LC_ALL": "C.UTF-8",
}


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in sockets]


class Session:
    """The sessions of one page.

    Args:
        page: which one.
        folder: where its files go, and where commands are run.
        ports: further ports to replace: as written, and as they are.
    """

    def __init__(self, page: Page, folder: Path, ports: dict[str, int]) -> None:
        self.page = page
        self.folder = folder
        named = sorted(set(_PORT.findall(page.text)))
        self.ports = dict(zip(named, free_ports(len(named)), strict=True))
        self.foreign = ports
        self.servers: list[subprocess.Popen[bytes]] = []
        for name, text in page.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self._actual(text))

    def missing(self) -> str | None:
        """What a command needs that is not on this machine."""
        if self.page.missing is not None:
            return self.page.missing
        for command in self.page.commands:
            for program in _OPTIONAL.findall(command.line):
                if shutil.which(program, path=ENVIRONMENT["PATH"]) is None:
                    return str(program)
        return None

    def run(self) -> None:
        """Run all commands; the first that prints something else fails."""
        with self._ending():
            serves = any(command.in_background for command in self.page.commands)
            if "app.py" in self.page.files and not serves:
                self._start(Command("python -W error app.py &", "", self.page.name))
            for command in self.page.commands:
                if command.in_background:
                    self._start(command)
                else:
                    self._check(command)

    @contextlib.contextmanager
    def serving(self, command: str) -> Iterator[None]:
        """Have a server of the page listen, for a test of its own."""
        with self._ending():
            self._start(Command(command, "", self.page.name))
            yield

    def _check(self, command: Command) -> None:
        ran = self._shell(self._actual(command.line))
        # A shell's next prompt comes on a line of its own.
        printed = self._shown(ran.stdout.replace("\r\n", "\n").strip("\n"))
        printed = printed and printed + "\n"
        assert _alike(command.output, printed), (
            f"{command.where}: $ {command.line}\n"
            f"-- the page says\n{command.output}-- it printed\n{printed}"
            f"-- and on stderr\n{ran.stderr}-- the servers said\n{self._logs()[-1500:]}"
        )

    def _shell(self, line: str) -> subprocess.CompletedProcess[str]:
        ended: list[subprocess.Popen[bytes]] = []

        # No other job has a number: a shell gives that of an ended one to the next,
        # or not, depending on when it has noticed the end.
        def job(match: re.Match[str]) -> str:
            alive = [server for server in self.servers if server.poll() is None]
            ended.append(alive[-1] if match[2] == "%" else self.servers[0])
            return f"{match[1]}{ended[-1].pid}"

        line = re.sub(r"\b(kill (?:-9 )?)%([1%])", job, line)
        ran = subprocess.run(
            ["/bin/sh", "-c", line],
            cwd=self.folder,
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_SECONDS,
        )
        for server in ended:
            server.wait(_SECONDS)
        return ran

    def _start(self, command: Command) -> None:
        """Start a server, and wait until it listens where nobody did before."""
        line = self._actual(command.line.removesuffix(" &")).replace("\\\n", " ")
        # So that the process is the server, and not a shell that waits for it.
        line = re.sub(r"^((?:[A-Z_]+=\S+\s+)*)", r"\1exec ", line)
        silent = [port for port in self.ports.values() if not _listens(port)]
        log = self.folder / f".server-{len(self.servers)}.log"
        with log.open("wb") as output:
            server = subprocess.Popen(
                ["/bin/sh", "-c", line],
                cwd=self.folder,
                env=ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self.servers.append(server)
        until = time.monotonic() + _SECONDS
        while not any(map(_listens, silent)):
            gone = server.poll() is not None
            assert not gone, f"{command.where}: {line} ended\n{self._logs()}"
            assert time.monotonic() < until, f"{command.where}: {line} is silent"
            time.sleep(0.02)
        if not command.output:
            return
        printed = self._shown(log.read_text(errors="replace"))
        assert _alike(command.output, printed), f"{command.where}: {printed}"

    @contextlib.contextmanager
    def _ending(self) -> Iterator[None]:
        try:
            yield
        finally:
            for server in self.servers:
                server.terminate()
            for server in self.servers:
                try:
                    server.wait(10)
                except subprocess.TimeoutExpired:
                    server.kill()
                    server.wait()
        if not self.page.shows_accidents:
            logs = self._logs()
            assert "Traceback" not in logs, f"{self.page.name}: {logs}"

    def _logs(self) -> str:
        logs = sorted(self.folder.glob(".server-*.log"))
        return "".join(log.read_text(errors="replace")[-4000:] for log in logs)

    def _actual(self, text: str) -> str:
        text = _PORT.sub(lambda port: str(self.ports[port[0]]), text)
        for written, port in self.foreign.items():
            text = re.sub(rf"\b{written}\b", str(port), text)
        return text

    def _shown(self, text: str) -> str:
        for written, port in (*self.ports.items(), *self.foreign.items()):
            text = re.sub(rf"(?<=[:=]){port}\b", written, text)
        return text


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def _alike(expected: str, printed: str) -> bool:
    pattern = ".*?".join(map(re.escape, expected.split("...")))
    return re.fullmatch(pattern, printed, re.DOTALL) is not None
