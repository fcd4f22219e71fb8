"""The quick way for whole forms agrees with the push parser, or gives no answer."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiostreams import Limits, MalformedBody
from aiostreams.limits import DEFAULT_LIMITS
from aiostreams.sansio.headers import boundary_of
from aiostreams.sansio.wholeform import FormPart, parse_whole_form
from tests.multiparts import form, outcome, plain

A = plain("a")
FILE = plain("f", "x.txt") + b"\r\nContent-Type: text/plain"


def agree(
    boundary: bytes, body: bytes, limits: Limits = DEFAULT_LIMITS
) -> list[FormPart] | None:
    """The answer, asserted to be that of the push parser when there is one."""
    parts = parse_whole_form(body, boundary, limits)
    if parts is not None:
        result = outcome(boundary, [body], limits=limits)
        assert result.error is None
        assert [
            (b.raw, b.name, b.filename, b.content_type, data)
            for b, data in result.parts
        ] == parts
    return parts


def test_an_ordinary_form_has_its_parts() -> None:
    parts = agree(b"B", form((A, b"1"), (FILE, b"\r\n2\r\n"), (plain("é", ""), b"")))
    assert parts == [
        FormPart(A + b"\r\n", "a", None, None, b"1"),
        FormPart(FILE + b"\r\n", "f", "x.txt", "text/plain", b"\r\n2\r\n"),
        FormPart(plain("é", "") + b"\r\n", "é", "", None, b""),
    ]
    assert agree(b"B", b"--B--") == []
    assert agree(b"B", form((A, b"1")) + b"epilogue") is not None


def test_bytes_that_are_not_utf8_are_replaced() -> None:
    head = b'Content-Disposition: form-data; name="\xff"; filename="\xe9"'
    parts = agree(b"B", form((head, b"")))
    assert parts is not None
    assert (parts[0].name, parts[0].filename) == ("\ufffd", "\ufffd")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--B",
        b"--B-",
        b"\r\n--B--",
        b"x\r\n" + form((A, b"1")),
        form((A, b"1"))[:-5],
        form((A, b"1"))[:-8],
        form((A, b"1")).replace(b"B\r\n", b"B \r\n"),
        form((A, b"\r\n--Bx")),
        form((A, b"\r\n--B--")),
        b"--B\r\n" + A + b"\r\n\r\n--B--",
        form((A + b"\r\nX: y", b"1")),
        form((A.lower(), b"1")),
        form((plain("a%22b"), b"1")),
        form((plain("a\\b"), b"1")),
        form((plain("a\x00b"), b"1")),
        form((plain("a") + b"; filename*=x", b"1")),
        form((A + b"\r\nContent-Type: ", b"1")),
        form((A + b"\r\nContent-Type: a\x7f", b"1")),
        form((A, b"1")).replace(b"\r\n", b"\n"),
        form((A, b"1")) + b"\r\n--B\r\n" + A + b"\r\n\r\n2\r\n--B--",
    ],
)
def test_what_is_out_of_the_ordinary_has_no_answer(body: bytes) -> None:
    assert agree(b"B", body) is None


@pytest.mark.parametrize(
    ("most", "least"),
    [
        (Limits(max_parts=3), Limits(max_parts=2)),
        (Limits(max_field=4), Limits(max_field=3)),
        (Limits(max_file=5), Limits(max_file=4)),
        (Limits(max_header_size=len(FILE) + 2), Limits(max_header_size=len(FILE) + 1)),
        (Limits(max_headers=2), Limits(max_headers=1)),
    ],
)
def test_a_form_over_a_limit_has_no_answer(most: Limits, least: Limits) -> None:
    body = form((A, b"1"), (FILE, b"12345"), (A, b"1234"))
    assert agree(b"B", body, most) is not None
    assert agree(b"B", body, least) is None


pieces = st.lists(
    st.sampled_from(
        [
            b"--B",
            b"\r\n--B",
            b"\r\n",
            b"--",
            A + b"\r\n\r\n",
            FILE + b"\r\n\r\n",
            A,
            b"x",
            b"\r\n--B\r\n" + A + b"\r\n\r\nv",
            b"\r\n--B--\r\n",
            b" ",
        ]
    ),
    max_size=10,
).map(b"".join)


@settings(max_examples=500)
@given(pieces)
def test_the_two_parsers_agree_on_anything(body: bytes) -> None:
    agree(b"B", body)
    agree(b"B", b"--B\r\n" + A + b"\r\n\r\n" + body + b"\r\n--B--")
    agree(b"B", body, Limits(max_parts=1, max_field=3, max_file=1, max_header_size=60))


def mutations(body: bytes, count: int, seed: int) -> list[bytes]:
    rng = random.Random(seed)
    found = []
    for _ in range(count):
        mutated = bytearray(body)
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(mutated) + 1)
            match rng.randrange(4):
                case 0:
                    mutated[at:at] = rng.choice(
                        [b"\r\n", b"-", b"\r", b" ", b"\x00", b'"']
                    )
                case 1:
                    del mutated[at : at + rng.randint(1, 4)]
                case 2:
                    mutated[at : at + 1] = rng.randbytes(1)
                case _:
                    start = rng.randrange(len(mutated) + 1)
                    mutated[at:at] = mutated[start : start + rng.randint(1, 30)]
        found.append(bytes(mutated))
    return found


def test_the_two_parsers_agree_on_mutations() -> None:
    body = form((A, b"1"), (FILE, b"22"), (A, b"")) + b"end"
    answers = [agree(b"B", mutated) for mutated in mutations(body, 5000, seed=1)]
    # The comparison means something: both kinds of answer occur.
    assert 0 < answers.count(None) < len(answers)


@pytest.mark.skipif("AIOSTREAMS_CORPUS" not in os.environ, reason="no corpus")
def test_the_two_parsers_agree_on_the_corpus() -> None:
    answers = 0
    folder = Path(os.environ["AIOSTREAMS_CORPUS"], "multipart")
    for file in sorted(folder.glob("*.json")):
        case = json.loads(file.read_text("utf-8"))
        body = file.with_suffix(".bin").read_bytes()
        try:
            boundary = boundary_of(case["content_type"])
        except MalformedBody:
            continue
        answers += agree(boundary, body) is not None
        if 0 < len(body) < 3000:
            for mutated in mutations(body, 10, seed=len(body)):
                agree(boundary, mutated)
    assert answers > 50
