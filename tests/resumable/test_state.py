"""Ids, and the steps of an upload's state."""

from __future__ import annotations

import dataclasses
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiostreams import LimitExceeded
from aiostreams.resumable.state import (
    Answer,
    LengthDiffers,
    UploadBusy,
    UploadGone,
    UploadInfo,
    UploadState,
    day_of,
    find_id,
    folder_of,
    is_id,
    new_id,
)

from .stagings import info_of

# Written down, so that every process that shares the tests out names them alike.
ID = "0g2p2tsposzuydtzxi9jld8331"


def test_an_id_has_its_day_and_chance() -> None:
    ids = {new_id(1.8e9 + 86399 - 1.8e9 % 86400) for _ in range(1000)}
    assert len(ids) == 1000
    assert all(is_id(one) and day_of(one) == int(1.8e9 // 86400) for one in ids)
    assert folder_of(ID) == f"20270115/{ID}"


@pytest.mark.parametrize(
    "text",
    [
        "", "..", "../" + ID, ID + "/..", ID[:-1], ID + "a", ID.upper(), "%2f" + ID[3:],
        "\0" * 26, "é" * 26, "a" * 10**6, ID + "\n", "." * 26,
    ],
)  # fmt: skip
def test_what_is_no_id(text: str) -> None:
    assert not is_id(text)
    # A line end is none of a URL's characters, and not seen.
    assert find_id(f"/files?upload={text}") is None or text.endswith("\n")


def test_an_id_of_any_day_has_a_folder() -> None:
    assert folder_of("z" * 26) == "65680818/" + "z" * 26


@pytest.mark.parametrize(
    "url",
    [
        f"/files/{ID}", f"http://h:1/a/b/{ID}", f"/files?upload={ID}", ID,
        f"https://h/x?a=b&upload={ID}#f", f"/x?upload=y&upload={ID}",
    ],
)  # fmt: skip
def test_an_id_in_a_url(url: str) -> None:
    assert find_id(url) == ID


@pytest.mark.parametrize(
    "url",
    ["", "http://[", f"/{ID}/", f"/{ID}?upload=", f"/?u={ID}", "/?" + "a=&" * 200],
)
def test_a_url_without_an_id(url: str) -> None:
    found = find_id(url)
    assert found is None or url == f"/{ID}?upload="


@given(st.text(max_size=100))
def test_any_url_has_an_id_or_none(url: str) -> None:
    found = find_id(url)
    assert found is None or is_id(found)


def test_what_was_said_comes_back() -> None:
    info = info_of(
        length=5,
        max_size=10,
        fields={"Content-Type": "text/plain", "X": "ü"},
        metadata="a YQ==",
        concat="final;/a /b",
        parts=(ID, ID),
        owner="o",
    )
    assert UploadInfo.decode(info.encode()) == info
    for broken in (b"", b"{", b"[]", b"{}", b'{"id": 1}', b"\xff"):
        with pytest.raises(UploadGone):
            UploadInfo.decode(broken)


@given(
    st.builds(
        UploadState,
        offset=st.integers(0),
        length=st.none() | st.integers(0),
        expires=st.floats(0, 1e12),
        complete=st.booleans(),
        invalid=st.booleans(),
        deleted=st.booleans(),
        claim=st.none() | st.text(),
        claimed=st.floats(0, 1e12),
        runs=st.integers(0),
        answer=st.none()
        | st.builds(
            Answer,
            st.integers(100, 599),
            st.lists(st.tuples(st.text(), st.text())).map(tuple),
            st.none() | st.binary(),
        ),
        digests=st.dictionaries(st.text(), st.text()),
        waiting=st.lists(st.text()).map(tuple),
        fences=st.integers(0),
    )
)
def test_a_state_comes_back(state: UploadState) -> None:
    assert UploadState.load(json.loads(json.dumps(state.dump()))) == state


@pytest.mark.parametrize(
    "members", [{"x": 1}, {"answer": 5}, {"answer": [1]}, {"waiting": 5}]
)
def test_a_state_that_is_another_thing(members: dict[str, object]) -> None:
    with pytest.raises(UploadGone):
        UploadState.load(members)


def test_a_length_is_said_once_and_fits() -> None:
    state = UploadState(offset=5)
    assert state.expecting(None, 1) is state
    known = state.expecting(9, 9)
    assert known.length == 9
    assert known.expecting(9, 9) is known
    with pytest.raises(LengthDiffers, match="is 8, but it was given as 9"):
        known.expecting(8, None)
    with pytest.raises(LengthDiffers, match="is 4, but the upload already has 5 bytes"):
        state.expecting(4, None)
    with pytest.raises(LimitExceeded, match="limit 9"):
        state.expecting(10, 9)


def test_an_upload_is_complete_at_its_length() -> None:
    with pytest.raises(LengthDiffers):
        UploadState(offset=5, length=6).completed()
    done = UploadState(offset=5).completed({"sha256": "x"})
    assert (done.length, done.complete, done.open) == (5, True, False)
    assert done.completed() is done


def test_a_claim_is_one_process_s_until_it_lapses() -> None:
    done = UploadState(offset=0).completed()
    mine = done.claimed_by("me", 100, 10)
    assert (mine.claim, mine.claimed, mine.runs) == ("me", 110, 1)
    assert mine.claimed_by("me", 105, 10).runs == 1
    with pytest.raises(UploadBusy) as caught:
        mine.claimed_by("you", 105, 10)
    assert caught.value.retry_after == 5
    yours = mine.claimed_by("you", 110, 10)
    assert (yours.claim, yours.runs) == ("you", 2)
    assert mine.released_by("you") is mine
    assert mine.released_by("me").claim is None
    answered = yours.answered_by("you", Answer(201), 500)
    assert (answered.claim, answered.answer, answered.expires) == (
        None, Answer(201), 500
    )  # fmt: skip
    assert answered.answered_by("you", Answer(200), 0) is answered
    assert mine.is_running(109)
    assert not mine.is_running(110)
    assert not answered.is_running(0)


def test_the_first_answer_stays_and_a_late_failure_counts_for_nothing() -> None:
    done = UploadState(offset=0).completed()
    yours = done.claimed_by("me", 100, 10).claimed_by("you", 110, 10)
    assert yours.answered_by("me", Answer(500), 0) is yours
    early = yours.answered_by("me", Answer(200), 500)
    assert (early.claim, early.answer, early.expires) == ("you", Answer(200), 500)
    assert early.is_running(119)
    late = early.answered_by("you", Answer(500), 600)
    assert (late.claim, late.answer, late.expires) == (None, Answer(200), 500)
    # One that nobody runs any more takes any answer.
    assert yours.released_by("you").answered_by("me", Answer(500), 0).answer == (
        Answer(500)
    )


def test_no_step_lowers_the_offset() -> None:
    state = UploadState(offset=5, length=5)
    for step in (
        state.fenced(1),
        state.touched(1),
        state.appended(3),
        state.completed(),
        dataclasses.replace(state, invalid=True),
        state.claimed_by("a", 0, 1),
        state.claimed_by("a", 0, 1).answered_by("a", Answer(200), 1),
    ):
        assert step.offset >= 5


def test_the_end_of_an_upload_slides_but_not_beyond_its_age() -> None:
    info = info_of(now=1000.0, expires=10.0, max_age=25.0)
    assert info.begin().expires == 1010
    assert info.until(1005) == 1015
    assert info.until(1020) == 1025
    assert info_of(now=1000.0, expires=10.0, max_age=5.0).begin().expires == 1005
    state = info.begin()
    state.check(1009)
    with pytest.raises(UploadGone, match="expired"):
        state.check(1010)
    assert time.time() > 1010
