"""A ledger that fails, for the tests of quotas and the uploads that go wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any

from aiostreams import MemoryLedger, QuotaEntry

__all__ = ["FaultyLedger"]


class FaultyLedger(MemoryLedger):
    """Fails at one kind of call, or at any, after so many that went well.

    Attributes:
        fault: the name of the call, or ``"any"``; and ``"raise"``, ``"hang"``, or
            ``"late"``: it hangs, and is done when nobody waits any more.
        after: how many calls go well first.
        late: what is still to be done.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fault: tuple[str, str] | None = None
        self.after = 0
        self.late: list[Callable[[], Awaitable[Any]]] = []

    async def _maybe(self, name: str, call: Callable[[], Awaitable[Any]]) -> Any:
        if self.fault is not None and self.fault[0] in {name, "any"}:
            self.after -= 1
            if self.after >= 0:
                return await call()
            how = self.fault[1]
            if how == "raise":
                raise ConnectionResetError("the database is away: secret")
            if how == "late":
                self.late.append(call)
            await asyncio.get_running_loop().create_future()
        return await call()

    async def reserve(self, entry: QuotaEntry, **kwargs: Any) -> int:
        call = super().reserve
        total: int = await self._maybe("reserve", lambda: call(entry, **kwargs))
        return total

    async def settle(self, entry: QuotaEntry, replaced: Collection[str] = ()) -> None:
        call = super().settle
        await self._maybe("settle", lambda: call(entry, replaced))

    async def release(self, tokens: Collection[str]) -> None:
        call = super().release
        await self._maybe("release", lambda: call(tokens))

    async def find(self, key: str) -> Sequence[QuotaEntry]:
        call = super().find
        found: Sequence[QuotaEntry] = await self._maybe("find", lambda: call(key))
        return found

    async def lapsed(self) -> Sequence[QuotaEntry]:
        call = super().lapsed
        found: Sequence[QuotaEntry] = await self._maybe("lapsed", call)
        return found
