"""What is compared: rows, the entries in them, and the targets they are held to.

A row has our entry and those it is compared with; an entry is a request and the
contestant that answers it. Areas make rows; ``measure`` runs them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.benchmarks.client import Request
from tests.benchmarks.contestants import Contestant

__all__ = ["Entry", "Peer", "Row", "Target", "at_most", "times_less"]


@dataclass(frozen=True)
class Target:
    """A bound on our CPU time as a multiple of a peer's."""

    bound: float
    text: str


def at_most(factor: float) -> Target:
    """Ours is at most ``factor`` times the peer's."""
    return Target(factor, f"at most {factor:g} x")


def times_less(factor: float) -> Target:
    """The peer's is at least ``factor`` times ours."""
    return Target(1 / factor, f"{factor:g} x less")


@dataclass(frozen=True)
class Entry:
    """A contestant and the request that it answers."""

    title: str
    contestant: Contestant
    request: Request


@dataclass(frozen=True)
class Peer:
    """An entry we are compared with, by CPU time and perhaps by bytes sent.

    Attributes:
        target: for the CPU time; only shown when ``None``.
        size: the most bytes we may send, as a multiple of the peer's.
        kin: whether it is no peer but something of our own, or a lower bound: shown,
            and not counted when it is asked where others are better.
    """

    entry: Entry
    target: Target | None = None
    size: float | None = None
    kin: bool = False


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        name: what is measured.
        issue: where the targets stand.
        stall: the longest that our event loop may be blocked, in seconds; with it
            the loop is watched, in rounds of their own.
    """

    name: str
    issue: int
    ours: Entry
    peers: Sequence[Peer] = ()
    stall: float | None = None

    @property
    def entries(self) -> list[Entry]:
        return [self.ours, *(peer.entry for peer in self.peers)]
