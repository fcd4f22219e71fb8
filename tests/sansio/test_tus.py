"""tus 1.0.0: its fields, read by its grammar and written back."""

from __future__ import annotations

import base64
import hashlib
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from aiostreams import MalformedBody
from aiostreams.sansio import tus

# The example of the specification.
SPEC = "filename d29ybGRfZG9taW5hdGlvbl9wbGFuLnBkZg==,is_confidential"


def fields(**values: str) -> CIMultiDict[str]:
    return CIMultiDict(
        (name.replace("_", "-"), value) for name, value in values.items()
    )


def test_metadata_of_the_specification() -> None:
    assert tus.parse_metadata(SPEC) == {
        "filename": "world_domination_plan.pdf",
        "is_confidential": "",
    }


@pytest.mark.parametrize(
    ("value", "metadata"),
    [
        (None, {}),
        ("", {}),  # tuspy sends it so
        ("  ", {}),
        ("a ", {"a": ""}),
        ("a", {"a": ""}),
        ("a  ,b", {"a": "", "b": ""}),
        ("a YQ==, b Yg==", {"a": "a", "b": "b"}),
        ("a/b-c_d.é YQ==", None),
        ("naïve YQ==", None),
        ("a YQ==,,b Yg==", None),
        ("a YQ==,", None),
        ("a YQ", None),
        ("a YQ==YQ==", None),
        ("a Y*==", None),
        ("a YQ== x", None),
        ("a  YQ==", None),
        (" YQ==", {"YQ==": ""}),
        ("a YQ==,a Yg==", None),
        ("a YQ==\r\nX: y", None),
        ("a\tYQ==", None),
        ("a /w==", {"a": "\ufffd"}),
        ("name w7xu7bCp", {"name": "ün\ufffd\ufffd\ufffd"}),
    ],
)
def test_metadata(value: str | None, metadata: dict[str, str] | None) -> None:
    if metadata is None:
        with pytest.raises(MalformedBody):
            tus.parse_metadata(value)
    else:
        assert tus.parse_metadata(value) == metadata


def test_metadata_of_several_lines_are_one_list() -> None:
    assert tus.parse_metadata(["a YQ==", "b"]) == {"a": "a", "b": ""}


@given(
    st.dictionaries(
        st.text(
            st.characters(
                min_codepoint=0x21, max_codepoint=0x7E, exclude_characters=","
            ),
            min_size=1,
        ),
        st.text(st.characters(exclude_categories=["Cs"])),
    )
)
def test_metadata_come_back(metadata: dict[str, str]) -> None:
    assert tus.parse_metadata(tus.format_metadata(metadata)) == metadata


@given(st.text(max_size=60))
def test_metadata_are_read_or_refused(value: str) -> None:
    """What was read can be sent back as it is: nothing in it ends a header line."""
    try:
        tus.parse_metadata(value)
    except MalformedBody:
        return
    assert not value.strip() or value.strip(" \t").isascii()
    assert not value.strip() or not set(value) & set("\r\n\0")


@pytest.mark.parametrize("key", ["", "a b", "a,b", "é", "a\n"])
def test_a_key_of_metadata_is_checked(key: str) -> None:
    with pytest.raises(ValueError, match="printable"):
        tus.format_metadata({key: "x"})


def test_one_indication_of_length_is_needed() -> None:
    for sent in (
        fields(),
        fields(Upload_Length="1", Upload_Defer_Length="1"),
        fields(Upload_Length="1", Upload_Concat="final;/a"),
        fields(Upload_Defer_Length="1", Upload_Concat="final;/a"),
        fields(Upload_Concat="partial"),
    ):
        with pytest.raises(MalformedBody, match="exactly 1"):
            tus.parse_creation(sent)
    assert tus.parse_creation(fields(Upload_Length="0")).length == 0
    assert tus.parse_creation(fields(Upload_Defer_Length="1")).length is None


def test_creation_of_parts_and_wholes() -> None:
    part = tus.parse_creation(fields(Upload_Length="5", Upload_Concat="partial"))
    assert (part.partial, part.parts, part.length) == (True, (), 5)
    late = tus.parse_creation(fields(Upload_Defer_Length="1", Upload_Concat="partial"))
    assert (late.partial, late.length) == (True, None)
    whole = tus.parse_creation(fields(Upload_Concat="final;/a http://h/b /a"))
    assert whole.parts == ("/a", "http://h/b", "/a")
    assert not whole.partial
    assert whole.concat == "final;/a http://h/b /a"


def test_metadata_are_kept_as_sent() -> None:
    made = tus.parse_creation(fields(Upload_Length="1", Upload_Metadata=SPEC))
    assert made.metadata == SPEC
    with pytest.raises(MalformedBody):
        tus.parse_creation(fields(Upload_Length="1", Upload_Metadata="a *"))


@pytest.mark.parametrize(
    "value",
    [
        "", "-1", "+1", "1.5", "0x1", "one", "1 1", "1,1", "\u0661", "1" * 19, "1_0",
        "1\n2",
    ],
)  # fmt: skip
def test_numbers_are_digits(value: str) -> None:
    with pytest.raises(MalformedBody):
        tus.parse_offset(fields(Upload_Offset=value))
    with pytest.raises(MalformedBody):
        tus.parse_length(fields(Upload_Length=value))


def test_offset_is_needed_once() -> None:
    assert tus.parse_offset(fields(Upload_Offset=" 70 ")) == 70
    with pytest.raises(MalformedBody, match="missing"):
        tus.parse_offset(fields())
    twice: CIMultiDict[str] = CIMultiDict(
        [("Upload-Offset", "1"), ("Upload-Offset", "1")]
    )
    with pytest.raises(MalformedBody):
        tus.parse_offset(twice)


@pytest.mark.parametrize("value", ["0", "2", "", "true"])
def test_deferred_length_is_said_by_1(value: str) -> None:
    with pytest.raises(MalformedBody, match="not 1"):
        tus.parse_creation(fields(Upload_Defer_Length=value))


@pytest.mark.parametrize("name", tus.CHECKSUMS)
def test_checksum_of_each_algorithm(name: str) -> None:
    data = b"x" * 100
    digest = (
        zlib.crc32(data).to_bytes(4, "big")
        if name == "crc32"
        else hashlib.new(name, data).digest()
    )
    value = f"{name} {base64.b64encode(digest).decode()}"
    assert tus.parse_checksum(value) == (name, digest)
    with pytest.raises(MalformedBody, match="expected"):
        tus.parse_checksum(f"{name} {base64.b64encode(digest[1:]).decode()}")


@pytest.mark.parametrize(
    "value",
    ["", "sha1", "sha1 ", "sha1 *", "sha1  YQ==", "md4 YQ==", "SHA1 YQ==", "sha1 YQ"],
)
def test_checksum_that_cannot_be_read(value: str) -> None:
    with pytest.raises(MalformedBody):
        tus.parse_checksum(value)


def test_no_checksum() -> None:
    assert tus.parse_checksum(None) is None


@pytest.mark.parametrize(
    "value",
    ["", "final", "final;", "final; ", "partial;", "Partial", "partial;/a", "x"],
)
def test_concat_that_is_neither(value: str) -> None:
    with pytest.raises(MalformedBody, match="neither"):
        tus.parse_concat(value)


def test_expires_is_a_fixdate() -> None:
    assert tus.format_expires(0) == "Thu, 01 Jan 1970 00:00:00 GMT"
    assert tus.format_expires(1e9 + 0.9) == "Sun, 09 Sep 2001 01:46:40 GMT"


def test_trailers_are_not_announced() -> None:
    assert "checksum-trailer" not in tus.EXTENSIONS
    assert {"checksum", "concatenation-unfinished"} <= set(tus.EXTENSIONS)
