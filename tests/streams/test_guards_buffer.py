"""The buffer beside a plain ``bytes``: the same bytes, and chunks as they came."""

from __future__ import annotations

import time

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)

from aiostreams.streams.guards import Buffer

PIECES = st.binary(min_size=1, max_size=6)


class Beside(RuleBasedStateMachine):
    """Any calls in any order, each of them compared."""

    def __init__(self) -> None:
        super().__init__()
        self.buffer = Buffer()
        self.model = b""

    @rule(piece=PIECES)
    def put(self, piece: bytes) -> None:
        self.buffer.put(piece)
        self.model += piece

    @precondition(lambda self: not self.model)
    @rule(piece=PIECES, data=st.data())
    def put_without_its_first_bytes(self, piece: bytes, data: st.DataObject) -> None:
        offset = data.draw(st.integers(0, len(piece) - 1))
        self.buffer.put(piece, offset)
        self.model = piece[offset:]

    @rule(pieces=st.lists(PIECES, max_size=3))
    def put_back(self, pieces: list[bytes]) -> None:
        self.buffer.put_back(pieces)
        self.model = b"".join(pieces) + self.model

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def take(self, data: st.DataObject) -> None:
        n = data.draw(st.integers(0, len(self.model)))
        assert self.buffer.take(n) == self.model[:n]
        self.model = self.model[n:]

    @precondition(lambda self: self.model)
    @rule()
    def take_chunk(self) -> None:
        chunk = self.buffer.take_chunk()
        assert chunk
        assert self.model.startswith(chunk)
        self.model = self.model[len(chunk) :]

    @rule()
    def take_all(self) -> None:
        pieces = self.buffer.take_all()
        assert all(pieces)
        assert b"".join(pieces) == self.model
        self.model = b""

    @precondition(lambda self: self.model)
    @rule(n=st.integers(1, 20))
    def peek(self, n: int) -> None:
        assert self.buffer.peek(n) == self.model[:n]

    @precondition(lambda self: self.model)
    @rule(separator=st.binary(min_size=1, max_size=2))
    def find(self, separator: bytes) -> None:
        length = self.buffer.find_in_first(separator)
        if length >= 0:
            assert length == self.model.index(separator) + len(separator)

    @rule()
    def clear(self) -> None:
        self.buffer.clear()
        self.model = b""

    @invariant()
    def counts(self) -> None:
        assert self.buffer.held == len(self.model)


TestBeside = Beside.TestCase


def test_a_chunk_passes_uncopied() -> None:
    chunk = b"x" * 100_000
    buffer = Buffer()
    buffer.put(chunk)
    assert buffer.take_chunk() is chunk
    buffer.put(chunk)
    assert buffer.take(len(chunk)) is chunk
    buffer.put(chunk)
    assert buffer.take_all()[0] is chunk


def test_a_separator_is_found_in_the_first_chunk_only() -> None:
    """Over a border ``readuntil`` joins the chunks, once."""
    buffer = Buffer()
    buffer.put(b"ab\r")
    buffer.put(b"\n")
    assert buffer.find_in_first(b"b") == 2
    assert buffer.find_in_first(b"\r\n") == -1


def test_many_small_reads_of_a_large_chunk_take_linear_time() -> None:
    """Cutting the chunk each time would copy 50 GB."""
    buffer = Buffer()
    buffer.put(bytes(1_000_000))
    began = time.process_time()
    while buffer.held:
        buffer.take(10)
    assert time.process_time() - began < 2
