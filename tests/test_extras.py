"""Optional libraries: the right one, or an error that says how to get it."""

from __future__ import annotations

import json
import sys

import pytest

from aiostreams.extras import require


def test_what_is_there_is_imported() -> None:
    assert require("json", extra="speed", what="reading") is json


def test_what_is_missing_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "fast_json", None)
    with pytest.raises(ImportError) as caught:
        require("fast_json", extra="speed", what="reading")
    assert str(caught.value) == (
        "reading needs fast_json: pip install 'aiostreams[speed]'"
    )
    assert caught.value.name == "fast_json"
    assert isinstance(caught.value.__cause__, ImportError)
