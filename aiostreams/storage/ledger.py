"""Who has stored how much: the ledger of a ``QuotaStorage``, and one in memory.

A ledger is a set of entries, one for each object and one for each upload that is under
way. What an account has is the sum over its keys; a key that has several entries,
because its object is being replaced, counts as the largest of them. So an entry too
many does little harm, and the storage adds the new one before it removes the old one.

A file of its own: one's own ledger is written to what stands here.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence

__all__ = ["MemoryLedger", "QuotaEntry", "QuotaLedger"]

# How many entries that have lapsed are looked after at once.
_LAPSED: Final = 100


@dataclass(frozen=True, slots=True)
class QuotaEntry:
    """One object, or one upload.

    Attributes:
        token: what no other entry has.
        account: who has it.
        key: where the object is, or will be.
        size: its bytes; of an upload, what is reserved for it.
    """

    token: str
    account: str
    key: str
    size: int


class QuotaLedger(Protocol):
    """Keeps entries, in a database for example. Each call is one transaction.

    A call that fails has done nothing. One that was cancelled may have been done. What
    an account has is the sum over its keys of the largest entry of each, reserved or
    settled.
    """

    async def reserve(self, entry: QuotaEntry, *, limit: int, expires: float) -> int:
        """Reserve the bytes of ``entry``, unless the account then has too many.

        The entry takes the place of the one with its token, if there is one, and is new
        again.

        Args:
            entry: an upload.
            limit: how many bytes its account may have.
            expires: in how many seconds it lapses, if it is not renewed by then.

        Returns:
            What the account has with it. If that is more than ``limit``, nothing was
            done.
        """
        ...

    async def settle(self, entry: QuotaEntry, replaced: Collection[str] = ()) -> None:
        """Count an object, for good, and whatever the limit.

        Args:
            entry: the object; takes the place of the one with its token, if any.
            replaced: tokens of entries that end; its own may be among them.
        """

    async def release(self, tokens: Collection[str]) -> None:
        """End entries; those that are not there as well."""

    async def find(self, key: str) -> Sequence[QuotaEntry]:
        """Return the settled entries of a key."""
        ...

    async def lapsed(self) -> Sequence[QuotaEntry]:
        """Return reserved entries that have lapsed. They count until they end.

        A hundred at most; there may be more.
        """
        ...

    def entries(self) -> AsyncIterator[QuotaEntry]:
        """Return all settled entries. What changes meanwhile may show or not."""
        ...


class MemoryLedger:
    """A :class:`QuotaLedger` in this process's memory: for tests, and one process.

    After a start it is empty: let ``QuotaStorage.recount()`` fill it.
    """

    def __init__(self) -> None:
        self._entries: dict[str, QuotaEntry] = {}
        # When those that are reserved lapse.
        self._until: dict[str, float] = {}
        # By key, and by token.
        self._keys: dict[str, dict[str, QuotaEntry]] = {}
        self._totals: dict[str, int] = {}

    def used(self, account: str) -> int:
        """Return how many bytes an account has, with those that are reserved."""
        return self._totals.get(account, 0)

    async def reserve(self, entry: QuotaEntry, *, limit: int, expires: float) -> int:
        """See :meth:`QuotaLedger.reserve`."""
        before = self._remove(entry.token)
        self._add(entry)
        total = self.used(entry.account)
        if total <= limit:
            self._until[entry.token] = time.monotonic() + expires
        else:
            self._remove(entry.token)
            if before is not None:
                self._add(before)
        return total

    async def settle(self, entry: QuotaEntry, replaced: Collection[str] = ()) -> None:
        """See :meth:`QuotaLedger.settle`."""
        for token in (entry.token, *replaced):
            self._end(token)
        self._add(entry)

    async def release(self, tokens: Collection[str]) -> None:
        """See :meth:`QuotaLedger.release`."""
        for token in tokens:
            self._end(token)

    async def find(self, key: str) -> Sequence[QuotaEntry]:
        """See :meth:`QuotaLedger.find`."""
        entries = self._keys.get(key, {}).values()
        return [entry for entry in entries if entry.token not in self._until]

    async def lapsed(self) -> Sequence[QuotaEntry]:
        """See :meth:`QuotaLedger.lapsed`."""
        now = time.monotonic()
        tokens = (token for token, until in self._until.items() if until < now)
        return [self._entries[token] for token in itertools.islice(tokens, _LAPSED)]

    async def entries(self) -> AsyncIterator[QuotaEntry]:
        """See :meth:`QuotaLedger.entries`."""
        for token in list(self._entries):
            if token in self._entries and token not in self._until:
                yield self._entries[token]

    def _end(self, token: str) -> None:
        self._until.pop(token, None)
        self._remove(token)

    def _add(self, entry: QuotaEntry) -> None:
        before = self._share(entry)
        self._entries[entry.token] = entry
        self._keys.setdefault(entry.key, {})[entry.token] = entry
        self._count(entry.account, self._share(entry) - before)

    def _remove(self, token: str) -> QuotaEntry | None:
        entry = self._entries.pop(token, None)
        if entry is None:
            return None
        before = self._share(entry)
        entries = self._keys[entry.key]
        del entries[token]
        if not entries:
            del self._keys[entry.key]
        self._count(entry.account, self._share(entry) - before)
        return entry

    def _share(self, entry: QuotaEntry) -> int:
        """Return what the key of an entry counts in its account."""
        entries = self._keys.get(entry.key, {}).values()
        return max((e.size for e in entries if e.account == entry.account), default=0)

    def _count(self, account: str, change: int) -> None:
        total = self.used(account) + change
        if total:
            self._totals[account] = total
        else:
            self._totals.pop(account, None)
