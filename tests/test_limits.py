"""Ceilings: every one finite or refused, none of them changed behind one's back."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from aiostreams import GiB, KiB, Limits, MiB
from aiostreams.errors import exceeded
from aiostreams.limits import DEFAULT_LIMITS

FIELDS = {field.name: field for field in dataclasses.fields(Limits)}


def test_units_are_powers_of_two() -> None:
    assert (KiB, MiB, GiB) == (2**10, 2**20, 2**30)


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("value", [None, True, 0, 1.5, -1, "1", float("nan")])
def test_a_ceiling_is_what_its_type_says_or_refused(name: str, value: Any) -> None:
    changes: dict[str, Any] = {name: value}
    kind = str(FIELDS[name].type)
    if value is None:
        fits = "None" in kind
    elif isinstance(value, bool):
        fits = kind == "bool"
    else:
        fits = kind != "bool" and isinstance(value, int | float) and value >= 0
    if fits:
        assert getattr(DEFAULT_LIMITS.replace(**changes), name) == value
        return
    with pytest.raises((TypeError, ValueError), match=name):
        Limits(**changes)


def test_below_nothing_is_a_value_error_and_no_number_a_type_error() -> None:
    with pytest.raises(ValueError, match="max_body must not be negative: -1"):
        Limits(max_body=-1)
    with pytest.raises(TypeError, match="max_body must be a number, not '1'"):
        Limits(max_body="1")  # type: ignore[arg-type]


def test_replace_makes_a_copy() -> None:
    changed = DEFAULT_LIMITS.replace(max_parts=3)
    assert (changed.max_parts, DEFAULT_LIMITS.max_parts) == (3, Limits().max_parts)
    assert changed.replace(max_parts=Limits().max_parts) == DEFAULT_LIMITS
    with pytest.raises(TypeError):
        DEFAULT_LIMITS.replace(max_prats=3)


def test_nobody_changes_them() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        DEFAULT_LIMITS.max_body = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("exact", "message"),
    [
        (False, "the body has at least 4 parts, limit 3"),
        (True, "the body has 4 parts, limit 3"),
    ],
)
def test_a_passed_ceiling_is_worded_alike(exact: bool, message: str) -> None:
    error = exceeded("the body", 4, 3, "parts", exact=exact)
    assert (str(error), error.seen, error.limit) == (message, 4, 3)
