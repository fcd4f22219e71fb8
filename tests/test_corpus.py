"""Multipart bodies on disk: ours, and the corpus that other parsers were asked about.

``tests/corpus`` has bodies made by hand, each with what it must give. The larger
corpus is found through the environment variable AIOSTREAMS_CORPUS; its README tells
the format. Its bodies are ``accept``, ``reject`` or, where peers differ, ``either``.
Each body is parsed whole, in pieces of six sizes, and small ones at every split in
two: one outcome for all.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from aiostreams import Limits, MalformedBody, StreamError
from aiostreams.sansio.headers import boundary_of
from tests.multiparts import Outcome, outcome, stable

OURS = Path(__file__).parent / "corpus"
THEIRS = os.environ.get("AIOSTREAMS_CORPUS")
# Two bodies are truncated after their 1001st part.
LIMITS = Limits(max_parts=2000)

Case = dict[str, Any]


def cases(folder: Path) -> list[Path]:
    found = sorted(folder.glob("*.json"))
    assert found, folder
    return found


def load(file: Path) -> tuple[Case, bytes]:
    case = json.loads(file.read_text("utf-8"))
    return case, file.with_suffix(".bin").read_bytes()


@pytest.mark.parametrize("file", cases(OURS), ids=lambda file: file.stem)
def test_our_bodies(file: Path) -> None:
    case, body = load(file)
    boundary = case["boundary"].encode("latin-1")
    result = stable(boundary, body, form_data=case["form_data"])
    if "error" in case:
        assert result.error is not None
        assert result.error[0].__name__ == case["error"]
        assert not result.ended
    else:
        assert result.error is None
        assert [
            {
                "name": begin.name,
                "filename": begin.filename,
                "content_type": begin.content_type,
                "text": data.decode("utf-8"),
            }
            for begin, data in result.parts
        ] == case["parts"]


def fits(result: Outcome, parts: list[Case]) -> bool:
    """Whether the outcome is one that gives exactly ``parts``."""
    return len(result.parts) == len(parts) and all(
        begin.name in [part["name"], *part.get("name_alt", [])]
        and begin.filename in [part["filename"], *part.get("filename_alt", [])]
        and begin.content_type == part["content_type"]
        and len(data) == part["length"]
        and hashlib.sha256(data).hexdigest() == part["sha256"]
        for (begin, data), part in zip(result.parts, parts, strict=True)
    )


def allowed(case: Case, result: Outcome) -> bool:
    if result.error is not None:
        rejected = issubclass(result.error[0], StreamError)
        match case["expect"]:
            case "accept":
                return False
            case "reject":
                return rejected and result.error[0].status in case["status"]
            case _:
                return rejected and bool(case.get("reject_ok", True))
    choices = [case.get("parts", [])]
    choices += [choice["parts"] for choice in case.get("alternatives", [])]
    match case["expect"]:
        case "accept":
            return fits(result, case["parts"])
        case "reject":
            return False
        case _:
            return any(fits(result, parts) for parts in choices)


their_cases = pytest.mark.parametrize(
    "file",
    cases(Path(THEIRS, "multipart")) if THEIRS else [],
    ids=lambda file: file.stem,
)
needs_corpus = pytest.mark.skipif(not THEIRS, reason="AIOSTREAMS_CORPUS is not set")


@needs_corpus
@their_cases
def test_their_bodies(file: Path) -> None:
    case, body = load(file)
    assert len(body) == case["body_length"]
    try:
        boundary = boundary_of(case["content_type"])
    except MalformedBody:
        assert case["expect"] == "either"
        assert case.get("reject_ok", True)
        return
    result = stable(boundary, body, limits=LIMITS)
    assert allowed(case, result), result
    # Any multipart: other rules, and still one outcome.
    stable(boundary, body, limits=LIMITS, form_data=False)


@needs_corpus
@their_cases
def test_their_prefixes(file: Path) -> None:
    """Cut before its close delimiter is complete, no accepted body is accepted."""
    case, body = load(file)
    if case["expect"] != "accept":
        return
    boundary = boundary_of(case["content_type"])
    assert outcome(boundary, [body], limits=LIMITS).error is None
    end = body.rindex(b"--" + boundary + b"--") + len(boundary) + 4
    # Each one of small bodies, a prime step through large ones and their end.
    sizes = {*range(0, end, 1 if end < 3000 else 997), *range(max(end - 90, 0), end)}
    for size in sizes:
        result = outcome(boundary, [body[:size]], limits=LIMITS)
        assert result.error is not None
        assert result.error[0] is MalformedBody
        assert "ends" in result.error[1]
