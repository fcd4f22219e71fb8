"""The fields of resumable uploads by the IETF's drafts, in each version."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from aiostreams.sansio import rufh

ALL = tuple(rufh.VERSIONS)


def fields(**values: str) -> CIMultiDict[str]:
    return CIMultiDict(
        (name.replace("_", "-"), value) for name, value in values.items()
    )


@pytest.mark.parametrize("version", [5, 6, 7, 8, 9])
def test_completeness_by_its_field(version: int) -> None:
    sent = fields(
        Upload_Draft_Interop_Version=str(version),
        Upload_Complete="?0",
        Upload_Offset="7",
        Upload_Length="9",
    )
    read = rufh.parse_fields(sent, ALL)
    assert (read.interop.number, read.announced) == (version, True)
    assert (read.complete, read.offset, read.length) == (False, 7, 9)


def test_version_3_means_the_opposite() -> None:
    sent = fields(Upload_Draft_Interop_Version="3", Upload_Incomplete="?0")
    read = rufh.parse_fields(sent, ALL)
    assert (read.interop.number, read.complete) == (3, True)
    answer = rufh.answer_fields(read.interop, complete=True, offset=5)
    assert answer == {
        "Upload-Incomplete": "?0",
        "Upload-Offset": "5",
        "Upload-Draft-Interop-Version": "3",
    }
    # The other version's field says nothing to it.
    sent = fields(Upload_Draft_Interop_Version="3", Upload_Complete="?1")
    assert rufh.parse_fields(sent, ALL).complete is None


@pytest.mark.parametrize("version", [None, "4", "2", "10", "?1", "x", "-8", "8.0"])
def test_another_version_is_not_announced(version: str | None) -> None:
    """Without a version of ours no interim response may be sent; all else works."""
    sent = fields(Upload_Complete="?1")
    if version is not None:
        sent["Upload-Draft-Interop-Version"] = version
    read = rufh.parse_fields(sent, ALL)
    assert (read.announced, read.complete) == (False, True)
    assert read.interop is rufh.NEWEST
    answer = rufh.answer_fields(read.interop, complete=False, announced=False)
    assert answer == {"Upload-Complete": "?0"}


def test_version_3_without_its_number() -> None:
    read = rufh.parse_fields(fields(Upload_Incomplete="?1"), ALL)
    assert (read.interop.number, read.announced, read.complete) == (3, False, False)
    read = rufh.parse_fields(fields(Upload_Incomplete="?1"), (8, 9))
    assert (read.interop.number, read.complete) == (9, None)


def test_a_version_that_was_turned_off() -> None:
    sent = fields(Upload_Draft_Interop_Version="5", Upload_Complete="?1")
    read = rufh.parse_fields(sent, (8, 9))
    assert (read.announced, read.interop.number) == (False, 9)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Upload-Offset", "-1"),
        ("Upload-Offset", "?1"),
        ("Upload-Offset", "1.5"),
        ("Upload-Length", '"5"'),
        ("Upload-Length", "1000000000000000"),
        ("Upload-Complete", "1"),
        ("Upload-Complete", "?2"),
        ("Upload-Complete", "true"),
    ],
)
def test_a_field_of_another_type_is_ignored(name: str, value: str) -> None:
    read = rufh.parse_fields(CIMultiDict([(name, value)]), ALL)
    assert (read.complete, read.offset, read.length) == (None, None, None)


@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_any_field_is_read_or_ignored(one: str, two: str, three: str) -> None:
    sent = fields(Upload_Offset=one, Upload_Complete=two, Upload_Length=three)
    read = rufh.parse_fields(sent, ALL)
    assert read.offset is None or read.offset >= 0
    assert read.length is None or read.length >= 0


def test_two_indications_of_length_have_to_match() -> None:
    def length_of(offset: int, content: int | None, **values: str) -> int | None:
        return rufh.declared_length(
            rufh.parse_fields(fields(**values), ALL), offset, content
        )

    assert length_of(0, 5, Upload_Complete="?0") is None
    assert length_of(0, 5, Upload_Complete="?1") == 5
    assert length_of(10, 5, Upload_Complete="?1") == 15
    assert length_of(10, 5, Upload_Complete="?1", Upload_Length="15") == 15
    assert length_of(10, None, Upload_Complete="?1", Upload_Length="15") == 15
    assert length_of(10, None, Upload_Complete="?1") is None
    assert length_of(10, 5, Upload_Complete="?0", Upload_Length="20") == 20
    for offset, content in ((10, 4), (9, 5), (0, 0)):
        with pytest.raises(rufh.InconsistentLength, match="15") as caught:
            length_of(offset, content, Upload_Complete="?1", Upload_Length="15")
        assert caught.value.status == 400


def test_an_answer_has_all_fields() -> None:
    answer = rufh.answer_fields(
        rufh.VERSIONS[6],
        complete=False,
        offset=10,
        length=20,
        limits={"max-size": 100, "max-age": 60},
    )
    assert answer == {
        "Upload-Complete": "?0",
        "Upload-Offset": "10",
        "Upload-Length": "20",
        "Upload-Limit": "max-size=100, max-age=60",
        "Upload-Draft-Interop-Version": "6",
    }


def test_no_limit_is_said_too() -> None:
    assert rufh.format_limits({}) == "min-size=0"


def test_statuses_of_an_append_that_is_not_the_last() -> None:
    assert {n: v.appended for n, v in rufh.VERSIONS.items()} == {
        3: 201, 5: 201, 6: 201, 7: 204, 8: 204, 9: 204
    }  # fmt: skip


def test_which_versions_name_the_media_type_of_an_append() -> None:
    assert [n for n, v in rufh.VERSIONS.items() if v.labelled] == [6, 7, 8, 9]


def test_problem_documents_of_the_draft() -> None:
    assert rufh.problem_members(
        "mismatching-upload-offset", "differs", expected_offset=5, provided_offset=7
    ) == {
        "type": "https://iana.org/assignments/http-problem-types#mismatching-upload-offset",
        "title": "differs",
        "expected-offset": 5,
        "provided-offset": 7,
    }
