"""One question each, asked of a running server, and the answer in a few words.

A probe is a coroutine no more than it has to be: it sends over blocking sockets. What
is asked of the one that speaks tus is the same thing in that protocol, where there is
one; where there is not, the answer is ``NOT``.
"""

from __future__ import annotations

import gzip
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from aiostreams import GiB, KiB, MiB
from tests.benchmarks.server import Server
from tests.peers.contenders import CONTENDERS, Contender, ours_images
from tests.peers.wire import TYPE, Reply, Tus, field, file, form, send

__all__ = ["NOT", "PROBES", "Asked", "Probe", "serving"]

NOT = "–"  # noqa: RUF001 - a dash in a table, as printers make it
_GIF = b"GIF89a" + bytes(1000)


@dataclass(frozen=True)
class Asked:
    """A server that answers, and where it keeps its files."""

    contender: Contender
    server: Server
    folder: Path

    @property
    def port(self) -> int:
        return self.server.port

    @property
    def files(self) -> set[Path]:
        """Those with something in them."""
        return {
            path
            for path in self.folder.rglob("*")
            if path.is_file()
            and path.stat().st_size
            # What tus remembers of an upload is no file of it.
            and path.parent.name != ".metadata"
        }


@contextmanager
def serving(name: str, folder: Path, *, generous: bool) -> Iterator[Asked]:
    """A contender that runs.

    Raises:
        LookupError: it, or what it needs, is not installed.
    """
    contender = CONTENDERS[name]
    contestant = contender.generous if generous else contender.default
    if contestant.missing is not None:
        raise LookupError(contestant.missing)
    for path in ("file.txt", "answer.txt"):
        (folder / path).write_text("some words, again and again\n" * 1000)
    server = Server(contestant, str(folder), quiet=True)
    try:
        yield Asked(contender, server, folder)
    finally:
        server.close()


def _status(reply: Reply) -> str:
    if reply.status == 0:
        return "no answer"
    return str(reply.status)


# -- limits ----------------------------------------------------------------------------


def body_limit(asked: Asked) -> str:
    """A body announced as 2 GiB, of which 3 MiB come."""
    start = file(bytes(3 * MiB))[:-2]
    if asked.contender.tus:
        tus = Tus(asked.port, 2 * GiB, "huge.bin")
        reply = tus.patch(bytes(3 * MiB), 0, length=2 * GiB)
        return f"{_status(reply)}, in chunks {_status(tus.created)}"
    reply = send(asked.port, start, length=2 * GiB, wait=1.0)
    return _status(reply) if reply.status else "reads on"


def many_parts(asked: Asked) -> str:
    """A form of 5,000 fields."""
    if asked.contender.tus:
        return NOT
    body = form(*(field(f"f{number}", "x") for number in range(5000)))
    return _status(send(asked.port, body))


def memory(asked: Asked) -> str:
    """How far the memory grows while a file of 64 MiB arrives."""
    small, large = os.urandom(KiB), os.urandom(MiB) * 64
    asked.server.ask("memory")
    if asked.contender.tus:
        Tus(asked.port, KiB, "small").patch(small, 0)
        asked.server.ask("memory")
        reply = Tus(asked.port, 64 * MiB, "large").patch(large, 0)
    else:
        send(asked.port, form(file(small)))
        asked.server.ask("memory")
        reply = send(asked.port, form(file(large)))
    if not 200 <= reply.status < 300:
        return _status(reply)
    grown = asked.server.ask("memory")
    if grown is None:
        return NOT
    return "below 16 MiB" if grown < 16 * MiB else "all of the request"


def bomb(asked: Asked) -> str:
    """A field of 64 MiB of zeros, compressed to 64 KiB."""
    if asked.contender.tus:
        return NOT
    body = gzip.compress(form(file(bytes(64 * MiB))))
    fields = [f"Content-Type: {TYPE}", "Content-Encoding: gzip"]
    return _status(send(asked.port, body, fields=fields))


# -- what is wrong with a body ---------------------------------------------------------


def whole_form(asked: Asked) -> str:
    """A form of two fields and a file, to see that all is well."""
    if asked.contender.tus:
        reply = Tus(asked.port, 10, "well.bin").patch(b"0123456789", 0)
        return "204" if reply.status == 204 else _status(reply)
    reply = send(asked.port, form(field("a"), field("b"), file(b"0123456789")))
    return "200" if reply.body.endswith(b"2 10") else f"{reply.status} {reply.body!r}"


def truncated(asked: Asked) -> str:
    """A form that ends within its file, all announced bytes being there."""
    if asked.contender.tus:
        return NOT
    body = form(field("a"), file(bytes(50_000)))[:-20_000]
    return _status(send(asked.port, body))


def malformed(asked: Asked) -> str:
    """A part whose header section is no header section."""
    if asked.contender.tus:
        return NOT
    body = form(field("a")).replace(b"Content-Disposition: ", b"Content Disposition ")
    return _status(send(asked.port, body))


def no_boundary(asked: Asked) -> str:
    """A type without the boundary."""
    if asked.contender.tus:
        return NOT
    fields = ["Content-Type: multipart/form-data"]
    return _status(send(asked.port, form(field("a")), fields=fields))


def compressed(asked: Asked) -> str:
    """A form compressed by gzip, as its Content-Encoding says."""
    if asked.contender.tus:
        return NOT
    fields = [f"Content-Type: {TYPE}", "Content-Encoding: gzip"]
    reply = send(asked.port, gzip.compress(form(field("a"), field("b"))), fields=fields)
    return "read" if reply.body.endswith(b"2 0") else _status(reply)


def compressed_damaged(asked: Asked) -> str:
    """The same, with a wrong checksum."""
    if asked.contender.tus:
        return NOT
    body = bytearray(gzip.compress(form(field("a"), field("b"))))
    body[-8] ^= 0xFF
    fields = [f"Content-Type: {TYPE}", "Content-Encoding: gzip"]
    return _status(send(asked.port, bytes(body), fields=fields))


def compressed_cut(asked: Asked) -> str:
    """The same without the eight bytes at its end: checksum and length."""
    if asked.contender.tus:
        return NOT
    body = gzip.compress(form(field("a"), field("b")))[:-8]
    fields = [f"Content-Type: {TYPE}", "Content-Encoding: gzip"]
    return _status(send(asked.port, body, fields=fields))


def false_type(asked: Asked) -> str:
    """A program called ``me.png``, where pictures are asked for."""
    if asked.contender is not CONTENDERS["aiostreams"]:
        return "the handler's"
    with_images = Server(ours_images, str(asked.folder), quiet=True)
    try:
        good = send(with_images.port, form(file(_GIF, "me.gif")))
        bad = send(with_images.port, form(file(b"\x7fELF" + bytes(1000), "me.png")))
    finally:
        with_images.close()
    return _status(bad) if good.status == 200 else f"refuses all: {good.status}"


# -- files -----------------------------------------------------------------------------


def cut(asked: Asked) -> str:
    """What is left of a file whose client leaves in the middle of it."""
    if asked.contender.tus:
        tus = Tus(asked.port, 8 * MiB, "cut.bin")
        tus.patch(bytes(MiB), 0)
        tus.patch(bytes(MiB), MiB, length=7 * MiB)
        kept = tus.offset()
        return f"kept, to be resumed from {kept // MiB} MiB" if kept > 0 else "nothing"
    before = asked.files
    body = form(field("a"), file(bytes(8 * MiB)))
    send(asked.port, body[: 4 * MiB], length=len(body), wait=0.5)
    time.sleep(0.3)
    return "a part of it" if asked.files - before else "nothing"


def failed(asked: Asked) -> str:
    """What is left of a file whose handler fails after it has kept it."""
    before = asked.files
    if asked.contender.tus:
        reply = Tus(asked.port, 10, "fail").patch(b"0123456789", 0)
    else:
        reply = send(asked.port, form(field("fail"), file(b"0123456789")))
    if reply.status != 500:
        return _status(reply)
    time.sleep(0.3)
    return "the file" if asked.files - before else "nothing"


def resumed(asked: Asked) -> str:
    """Whether an upload by tus goes on where it was interrupted, and is whole then.

    Once between two chunks, and once in the middle of one.
    """
    data = os.urandom(3 * MiB)
    before = asked.files
    tus = Tus(asked.port, len(data), "resumed.bin")
    if tus.created.status != 201:
        return "no"
    tus.patch(data[:MiB], 0)
    tus.patch(data[MiB : 2 * MiB], MiB, length=2 * MiB)
    kept = tus.offset()
    tus.patch(data[kept:], kept)
    if data not in [path.read_bytes() for path in asked.files - before]:
        return "no"
    return {2 * MiB: "yes", MiB: "yes, from the last whole chunk"}.get(kept, "no")


# -- answers ---------------------------------------------------------------------------


def one_range(asked: Asked) -> str:
    """A piece of a file."""
    return _range(asked, "bytes=0-3", b"some")


def ranges(asked: Asked) -> str:
    """Two pieces of it in one answer."""
    return _range(asked, "bytes=0-3,5-9", b"words")


def _range(asked: Asked, wanted: str, found: bytes) -> str:
    if asked.contender.tus:
        return NOT
    fields = [f"Range: {wanted}", "Accept-Encoding: identity"]
    reply = send(asked.port, method="GET", path="/file.txt", fields=fields)
    if reply.status == 206 and found in reply.body and len(reply.body) < 1000:
        return "206"
    return _status(reply) + (" and all of it" if reply.status == 200 else "")


def answer_coding(asked: Asked) -> str:
    """The coding of an answer for who takes zstd, br and gzip."""
    if asked.contender.tus:
        return NOT
    fields = ["Accept-Encoding: gzip, br, zstd"]
    reply = send(asked.port, method="GET", path="/answer.txt", fields=fields)
    return reply.header("Content-Encoding") or "none"


# -- all of them -----------------------------------------------------------------------


@dataclass(frozen=True)
class Probe:
    """A question.

    Attributes:
        text: as it stands in the table.
        ask: what finds the answer.
        generous: whether it is asked of a server with the limit on the body raised.
    """

    text: str
    ask: Callable[[Asked], str]
    generous: bool = True


PROBES = {
    probe.ask.__name__: probe
    for probe in (
        Probe("A well-formed form or upload", whole_form),
        Probe("A body of 2 GiB, by default", body_limit, generous=False),
        Probe("A form of 5,000 fields, by default", many_parts, generous=False),
        Probe("Memory for a file of 64 MiB in one request", memory),
        Probe("A form that is cut short", truncated),
        Probe("Malformed headers of a part", malformed),
        Probe("No boundary", no_boundary),
        Probe("A form compressed by gzip", compressed),
        Probe("The same with a wrong checksum", compressed_damaged),
        Probe("The same cut short, its checksum missing", compressed_cut),
        Probe("A gzip bomb, 64 MiB in 64 KiB, by default", bomb, generous=False),
        Probe("An ELF program called me.png", false_type),
        Probe("Left of a file whose client goes midway", cut),
        Probe("Left of a file whose handler fails at last", failed),
        Probe("An interrupted upload is resumed", resumed),
        Probe("A download's range", one_range),
        Probe("Two ranges at once", ranges),
        Probe("An answer's coding, of zstd, br and gzip", answer_coding),
    )
}
