"""The bytes that a stream has received and nobody has consumed yet.

A deque of chunks, and how far the first one is consumed. Chunks are never joined
or copied before somebody asks for them in one piece, so passing a chunk through
costs nothing, and taking many small reads out of a large chunk copies each byte
once.
"""

from __future__ import annotations

from collections import deque

__all__ = ["Buffer"]


class Buffer:
    """Chunks in order; ``held`` is the number of bytes left in them."""

    __slots__ = ("_chunks", "_offset", "held")

    def __init__(self) -> None:
        self._chunks: deque[bytes] = deque()
        self._offset = 0
        self.held: int = 0

    def put(self, chunk: bytes, offset: int = 0) -> None:
        """Append ``chunk``; into an empty buffer, its first bytes may be left out."""
        self._chunks.append(chunk)
        if offset:
            self._offset = offset
        self.held += len(chunk) - offset

    def put_back(self, pieces: list[bytes]) -> None:
        """Put non-empty ``pieces`` before everything else."""
        if self._offset:
            first = self._chunks.popleft()
            self._chunks.appendleft(first[self._offset :])
            self._offset = 0
        self._chunks.extendleft(reversed(pieces))
        self.held += sum(map(len, pieces))

    def find_in_first(self, separator: bytes) -> int:
        """The length up to and with ``separator`` in the first chunk, or -1."""
        found = self._chunks[0].find(separator, self._offset)
        return -1 if found < 0 else found + len(separator) - self._offset

    def take(self, n: int) -> bytes:
        """Consume ``n`` bytes, of which there are enough."""
        first = self._chunks[0]
        start = self._offset
        end = start + n
        self.held -= n
        if end < len(first):
            self._offset = end
            return first[start:end]
        pieces = [first[start:] if start else first]
        missing = end - len(first)
        self._chunks.popleft()
        self._offset = 0
        while missing:
            first = self._chunks[0]
            if missing < len(first):
                pieces.append(first[:missing])
                self._offset = missing
                break
            pieces.append(first)
            missing -= len(first)
            self._chunks.popleft()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def take_chunk(self) -> bytes:
        """Consume what is left of the first chunk."""
        chunk = self._chunks.popleft()
        if self._offset:
            chunk = chunk[self._offset :]
            self._offset = 0
        self.held -= len(chunk)
        return chunk

    def take_all(self) -> list[bytes]:
        """Consume everything, as the chunks it came in."""
        if not self.held:
            return []
        pieces = list(self._chunks)
        if self._offset:
            pieces[0] = pieces[0][self._offset :]
        self.clear()
        return pieces

    def peek(self, n: int) -> bytes:
        """Up to ``n`` bytes, without consuming them."""
        first = self._chunks[0][self._offset : self._offset + n]
        if len(first) == n or len(self._chunks) == 1:
            return first
        pieces = [first]
        missing = n - len(first)
        for chunk in list(self._chunks)[1:]:
            pieces.append(chunk[:missing])
            missing -= len(pieces[-1])
            if not missing:
                break
        return b"".join(pieces)

    def clear(self) -> None:
        """Forget everything."""
        self._chunks.clear()
        self._offset = 0
        self.held = 0
