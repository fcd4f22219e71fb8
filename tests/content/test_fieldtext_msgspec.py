"""Constraints of msgspec, on the texts of a form."""

from __future__ import annotations

from typing import Annotated, Any

import pytest

from aiostreams.content import jsontext
from aiostreams.content.fieldtext import check_of, field_text

pytest.importorskip("msgspec", reason="needs the extra msgspec")

import msgspec


def read(kind: Any, text: str) -> Any:
    reader = field_text(kind)
    assert reader is not None
    return reader.read(text)


def test_constraints_hold() -> None:
    small = Annotated[int, msgspec.Meta(ge=0, lt=10)]
    assert read(small, "9") == 9
    with pytest.raises(ValueError, match=r"^expected `int` "):
        read(small, "10")
    word = Annotated[str, msgspec.Meta(pattern="^[a-z]+$", max_length=5)]
    with pytest.raises(ValueError, match=r"^expected `str` matching"):
        read(word, "12")
    with pytest.raises(TypeError):
        field_text(Annotated[str, msgspec.Meta(gt=1)])


def test_there_are_no_constraints_without_msgspec(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jsontext, "msgspec", None)
    assert check_of(int, [msgspec.Meta(ge=0)]) is None
