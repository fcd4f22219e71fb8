"""An immutable multidict, the common half of Form and Files.

A thin shell around ``multidict.MultiDict``. The views are the multidict's own: those
that ``collections.abc.Mapping`` would make show the first value of each key only,
and every further one would be lost on the way out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar, overload

from multidict import MultiDict, MultiMapping

if TYPE_CHECKING:
    from collections.abc import (
        ItemsView,
        Iterable,
        Iterator,
        KeysView,
        Sequence,
        ValuesView,
    )

__all__ = ["ImmutableMultiDict", "flat_pairs"]

V = TypeVar("V")
D = TypeVar("D")


class ImmutableMultiDict(MultiMapping[V]):
    """Keys with one value or several, in order, never changed.

    ``[]`` and ``get`` give the first value, ``getall`` every one; ``items`` and
    ``values`` show every pair in order, and ``len`` counts them. ``keys`` and
    iteration are as the installed ``multidict`` has them. Equal to another one of
    the same class with the same pairs in the same order, which is also what the
    hash is made of.

    Args:
        pairs: a mapping of names to a value, or to a list or tuple of values; or
            pairs; or ``None`` for none.

    Raises:
        TypeError: a name is not a ``str``, or a value of another type.
    """

    # What a value has to be.
    _value_type: ClassVar[type]

    # Overloads, not one union: mypy finds the type of {"a": [x, y], "b": z} by them.
    @overload
    def __init__(self, pairs: Mapping[str, V | Sequence[V]]) -> None: ...
    @overload
    def __init__(self, pairs: Iterable[tuple[str, V]] | None = None) -> None: ...
    def __init__(
        self,
        pairs: Mapping[str, V | Sequence[V]] | Iterable[tuple[str, V]] | None = None,
    ) -> None:
        self._pairs: MultiDict[V] = MultiDict(
            self._check(name, value) for name, value in flat_pairs(pairs or ())
        )

    @classmethod
    def _of(cls, pairs: list[tuple[str, V]]) -> Self:
        """Of pairs that are known to be right."""
        self = cls.__new__(cls)
        self._pairs = MultiDict(pairs)
        return self

    def _check(self, name: object, value: Any) -> tuple[str, V]:
        if not isinstance(name, str):
            raise TypeError(f"a field name must be a str, not {type(name).__name__}")
        if not isinstance(value, self._value_type):
            raise TypeError(
                f"field {name!r} takes a {self._value_type.__name__}, "
                f"not {type(value).__name__}"
            )
        return name, value  # type: ignore[return-value] # just checked

    def __getitem__(self, key: str) -> V:
        return self._pairs[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)

    def __contains__(self, key: object) -> bool:
        return key in self._pairs

    @overload
    def get(self, key: str, /) -> V | None: ...
    @overload
    def get(self, key: str, /, default: V | D) -> V | D: ...
    def get(self, key: str, /, default: Any = None) -> Any:
        """Return the first value of ``key``, or ``default``."""
        return self._pairs.get(key, default)

    @overload
    def getone(self, key: str) -> V: ...
    @overload
    def getone(self, key: str, default: D) -> V | D: ...
    def getone(self, key: str, *default: Any, **named: Any) -> Any:
        """Return the first value of ``key``.

        Raises:
            KeyError: there is none, and no default.
        """
        return self._pairs.getone(key, *default, **named)

    @overload
    def getall(self, key: str) -> list[V]: ...
    @overload
    def getall(self, key: str, default: D) -> list[V] | D: ...
    def getall(self, key: str, *default: Any, **named: Any) -> Any:
        """Every value of ``key``, in order.

        Raises:
            KeyError: there is none, and no default.
        """
        return self._pairs.getall(key, *default, **named)

    def keys(self) -> KeysView[str]:
        """Return the keys, as ``multidict`` shows them."""
        return self._pairs.keys()

    def values(self) -> ValuesView[V]:
        """Return the value of every pair."""
        return self._pairs.values()

    def items(self) -> ItemsView[str, V]:
        """Every pair."""
        return self._pairs.items()

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return list(self._pairs.items()) == list(other._pairs.items())

    def __hash__(self) -> int:
        return hash((type(self), *self._pairs.items()))


def flat_pairs(
    pairs: Mapping[str, Any] | Iterable[tuple[str, Any]],
) -> Iterable[tuple[Any, Any]]:
    """Names and values one by one, out of a mapping of either to one or several."""
    if not isinstance(pairs, Mapping):
        yield from pairs
        return
    for name, value in pairs.items():
        if isinstance(value, (list, tuple)):
            for item in value:
                yield name, item
        else:
            yield name, value
