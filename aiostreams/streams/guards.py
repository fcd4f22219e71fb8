"""The guards that keep a source within the laws.

A source overrides ``readany``, ``write``, ``close`` or ``abort`` as if nobody else
existed. The class statement then wraps each of these methods:

* ``readany`` serves what was pushed back first, refuses a second reader, remembers
  the end and the first error, holds the count of bytes against ``size``, and turns
  the wake-up of a ``close()`` into ``StreamClosed``;
* ``write`` refuses a second writer and a closed stream;
* ``close`` and ``abort`` run the source's method once, after the state has changed
  and whoever waits has been woken.

A method reached through ``super()`` is the plain one: the guard of a class steps
aside unless that class is the outermost one to define the method.
"""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any, ClassVar, Self

from aiostreams.errors import StreamBusy
from aiostreams.streams.life import OPEN, Life, State

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["Guarded"]


class Guarded:
    """Gives each instance a life, and each subclass its guards."""

    _life: Life
    # The outermost class's own methods, as they were written.
    _source_readany: ClassVar[Callable[[Any], Awaitable[bytes]]]
    _source_write: ClassVar[Callable[[Any, Any], Awaitable[None]]]
    _source_close: ClassVar[Callable[[Any], Awaitable[None]]]
    _source_abort: ClassVar[Callable[[Any], Awaitable[None]]]

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self:
        # Here, so that a source need not call super().__init__().
        self = super().__new__(cls)
        self._life = Life(cls.__name__)
        return self

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, guard in _GUARDS.items():
            method = cls.__dict__.get(name)
            if method is not None and not hasattr(method, "__wrapped__"):
                setattr(cls, f"_source_{name}", method)
                setattr(cls, name, guard(method))

    if TYPE_CHECKING:  # Stream has it

        @property
        def size(self) -> int | None:
            """The length of the whole stream in bytes, or ``None`` when unknown."""


def _guard_readany(
    source: Callable[[Any], Awaitable[bytes]],
) -> Callable[[Any], Awaitable[bytes]]:
    @functools.wraps(source)
    async def readany(self: Guarded) -> bytes:
        if type(self)._source_readany is not source:  # noqa: SLF001
            return await source(self)  # reached through super()
        life = self._life
        if life.reader is not None:
            life.check_idle()
        if life.buffer.held:
            return life.buffer.take_chunk()
        if life.state is not OPEN:
            life.check_usable()
            return b""
        task = life.reader = asyncio.current_task()
        try:
            chunk = await source(self)
        except BaseException as error:
            settled = life.settle(error, task)
            if settled is error:
                raise
            raise settled from None
        return life.arrived(chunk, self.size, task)

    return readany


def _guard_write(
    source: Callable[[Any, Any], Awaitable[None]],
) -> Callable[[Any, Any], Awaitable[None]]:
    @functools.wraps(source)
    async def write(self: Guarded, data: bytes | bytearray | memoryview) -> None:
        if type(self)._source_write is not source:  # noqa: SLF001
            await source(self, data)  # reached through super()
            return
        life = self._life
        life.check_open()
        if life.writer is not None:
            raise StreamBusy(f"another task is writing this {life.name}")
        task = life.writer = asyncio.current_task()
        try:
            await source(self, data)
        except BaseException as error:
            life.writer = None
            if life.closed:
                closed = life.after_close(error, task)
                if closed is not error:
                    raise closed from None
            raise
        life.writer = None
        if life.closed:
            raise life.after_close(None, task)

    return write


def _guard_close(
    source: Callable[[Any], Awaitable[None]],
) -> Callable[[Any], Awaitable[None]]:
    name = f"_source_{source.__name__}"  # of close, or of abort

    @functools.wraps(source)
    async def close(self: Guarded) -> None:
        if getattr(type(self), name) is not source:
            await source(self)  # reached through super()
        elif self._life.state is not State.CLOSED:
            self._life.shut()
            await source(self)

    return close


_GUARDS: dict[str, Callable[[Any], Any]] = {
    "readany": _guard_readany,
    "write": _guard_write,
    "close": _guard_close,
    "abort": _guard_close,
}
