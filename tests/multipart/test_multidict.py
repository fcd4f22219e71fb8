"""Pairs, through its simplest subclass; Form and Files add their own tests."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import MultiDict, MultiMapping

from aiostreams.multipart.multidict import ImmutableMultiDict


class Numbers(ImmutableMultiDict[int]):
    _value_type = int


SAMPLE = [("a", 1), ("b", 2), ("a", 3), ("a", 1)]
PAIRS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3)))


@pytest.mark.parametrize(
    ("given_", "pairs"),
    [
        (None, []),
        ({}, []),
        ({"a": 1, "b": 2}, [("a", 1), ("b", 2)]),
        ({"a": [1, 3], "b": (2,), "c": []}, [("a", 1), ("a", 3), ("b", 2)]),
        (SAMPLE, SAMPLE),
        (iter(SAMPLE), SAMPLE),
        (MultiDict(SAMPLE), SAMPLE),
        (Numbers(SAMPLE), SAMPLE),
    ],
)
def test_made_from_mappings_and_pairs(
    given_: Mapping[str, int] | None, pairs: list[tuple[str, int]]
) -> None:
    assert list(Numbers(given_).items()) == pairs


def test_every_pair_is_seen_in_every_view() -> None:
    """A view that shows the first value of a key only loses the others on the way."""
    numbers = Numbers(SAMPLE)
    assert isinstance(numbers, MultiMapping)
    assert list(numbers.items()) == SAMPLE
    assert list(numbers.keys()) == list(numbers) == list(MultiDict(SAMPLE))
    assert list(numbers.values()) == [1, 2, 3, 1]
    assert len(numbers) == 4


def test_reading_by_key() -> None:
    numbers = Numbers(SAMPLE)
    assert numbers["a"] == numbers.getone("a") == numbers.get("a") == 1
    assert numbers.getall("a") == [1, 3, 1]
    assert "b" in numbers
    assert "c" not in numbers
    assert 1 not in numbers  # type: ignore[comparison-overlap]
    with pytest.raises(KeyError):
        numbers["c"]
    with pytest.raises(KeyError):
        numbers.getone("c")
    with pytest.raises(KeyError):
        numbers.getall("c")


def test_a_default_is_given_back_whatever_it_is() -> None:
    numbers = Numbers()
    assert numbers.get("c") is None
    assert numbers.get("c", "default") == "default"
    assert numbers.get("c", default=7) == 7
    assert numbers.getone("c", 7) == 7
    assert numbers.getone("c", default=None) is None
    assert numbers.getall("c", []) == []
    assert numbers.getall("c", default=None) is None


def test_it_does_not_change() -> None:
    with pytest.raises(TypeError):
        Numbers(SAMPLE)["a"] = 1  # type: ignore[index]


@pytest.mark.parametrize(
    "pairs", [{"a": "1"}, [("a", None)], {"a": [1, "2"]}, [(1, 1)], [(b"a", 1)]]
)
def test_a_wrong_type_is_a_type_error(pairs: object) -> None:
    with pytest.raises(TypeError, match=r"not (str|NoneType|int|bytes)"):
        Numbers(pairs)  # type: ignore[call-overload]


@given(PAIRS, PAIRS)
def test_equal_means_the_same_pairs_in_order_and_the_same_hash(
    one: list[tuple[str, int]], other: list[tuple[str, int]]
) -> None:
    assert (Numbers(one) == Numbers(other)) == (one == other)
    if one == other:
        assert hash(Numbers(one)) == hash(Numbers(other))


def test_equal_order_of_values_counts() -> None:
    one = Numbers([("a", 1), ("a", 2)])
    assert one != Numbers([("a", 2), ("a", 1)])
    assert one != "a"
    assert len({one, Numbers([("a", 1), ("a", 2)])}) == 1


def test_copies_and_pickles() -> None:
    numbers = Numbers(SAMPLE)
    assert copy.deepcopy(numbers) == pickle.loads(pickle.dumps(numbers)) == numbers
