"""The writing half of ``FileStream``: chunks on their way into a draft, and its end.

The draft knows how a file takes its place; here is decided whether it does, and
nothing is decided before the thread that writes has ended.
"""

from __future__ import annotations

import functools
import warnings
from typing import TYPE_CHECKING

from aiostreams.streams.worker import Job
from aiostreams.streams.writebehind import WriteBehind

if TYPE_CHECKING:
    from aiostreams.streams.draft import Draft

__all__ = ["FileWriter"]


class FileWriter:
    """A draft, the bytes on their way into it, and its end."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self.behind: WriteBehind = WriteBehind(draft.write)
        self._begun = False
        self._ended = False

    async def open(self) -> None:
        if self._begun or self.behind.taken:
            await self.behind.settle()
        else:
            self._begun = True
            await self.behind.flush()

    async def commit(self) -> None:
        committing: Job[None] | None = None
        try:
            await self.behind.settle()
            committing = Job(
                functools.partial(self._draft.commit, self.behind.take()),
                waits=self._draft.waits,
            )
            await committing.wait()
            committing.result()
        finally:
            await self.discard(committing)

    async def discard(self, committing: Job[None] | None = None) -> None:
        """Remove what is left: after a commit, nothing.

        Waits through cancellations and raises them afterwards.
        """
        self._ended = True
        try:
            await self.behind.stop()
            if committing is not None and not committing.done:
                self._draft.abandoned = True
                await committing.finish()
        finally:
            # A thread that still hangs takes the draft with it when it ends.
            busy = self.behind.busy or (committing is not None and not committing.done)
            if not busy and not self._draft.empty:
                await Job(self._draft.discard).finish()

    def __del__(self) -> None:
        if (self._begun or self.behind.taken) and not self._ended:
            warnings.warn(
                f"unclosed file {self._draft.name!r}: what was written is discarded",
                ResourceWarning,
                2,
                source=self,
            )
