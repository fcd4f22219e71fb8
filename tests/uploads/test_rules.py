"""FileRule: what it takes, and what it says."""

from __future__ import annotations

import pytest

from aiostreams import FileRule, InvalidContent, UnsupportedContent
from aiostreams.uploads.rules import call_file

PNG = b"\x89PNG\r\n\x1a\n"


def test_patterns_are_tidied_and_kept_as_a_set() -> None:
    assert FileRule(accept=["Image/PNG", " image/*"]).accept == {"image/png", "image/*"}
    assert FileRule(accept="image/png, text/csv").accept == {"image/png", "text/csv"}
    assert FileRule().accept is None
    assert hash(FileRule(accept=["image/*"])) == hash(FileRule(accept={"image/*"}))


def test_a_rule_that_cannot_be_met_is_an_error() -> None:
    with pytest.raises(ValueError, match="not a media type"):
        FileRule(accept={".png"})
    with pytest.raises(ValueError, match="not a media type"):
        FileRule(accept="")
    with pytest.raises(ValueError, match="max_size must not be negative, got -1"):
        FileRule(max_size=-1)
    with pytest.raises(ValueError, match="min_count 2 exceeds max_count 1"):
        FileRule(min_count=2, max_count=1)


def test_check_type_gives_the_type_that_is_let_in() -> None:
    images = FileRule(accept={"image/*"})
    assert images.check_type("a", PNG, "text/html", "a.html") == "image/png"
    assert FileRule().check_type("a", PNG, "text/html") == "image/png"
    assert FileRule().check_type("a", b"hi", "text/csv") == "text/csv"


def test_check_type_asks_the_name_where_the_client_does_not_know() -> None:
    table = FileRule(accept={"text/csv"})
    for declared in (None, "", "application/octet-stream"):
        assert table.check_type("a", b"1,2", declared, "a.csv").startswith("text/csv")
        with pytest.raises(UnsupportedContent):
            table.check_type("a", b"1,2", declared, "a.txt")
        with pytest.raises(UnsupportedContent):
            table.check_type("a", b"\x00\x01", declared, "a.csv")
        with pytest.raises(UnsupportedContent):
            table.check_type("a", b"<html>", declared, "a.csv")


def test_check_type_says_what_it_is_and_what_is_accepted() -> None:
    with pytest.raises(UnsupportedContent) as caught:
        FileRule(accept={"image/*", "application/pdf"}).check_type(
            "a\n" * 40, b"<html>", "image/png"
        )
    assert caught.value.accept == "application/pdf, image/*"
    assert str(caught.value) == (
        "the file in '" + "a\\n" * 20 + "'... is text/html; "
        "accepted: application/pdf, image/*"
    )
    with pytest.raises(
        UnsupportedContent, match=r"^the file 'b.png' in 'a' is text/"
    ) as e:
        FileRule(accept={"image/*"}).check_type("a", b"x", "image/png", "../b.png")
    assert e.value.logged == "the file in 'a' is text/plain; accepted: image/*"
    with pytest.raises(UnsupportedContent, match="is of an unknown type; accepted"):
        FileRule(accept={"image/*"}).check_type("a", b"\x00\x01", "image/png")


@pytest.mark.parametrize(
    ("filename", "called"),
    [
        (None, "the file in 'a'"),
        ("", "the file in 'a'"),
        ("me.png", "the file 'me.png' in 'a'"),
        ("/etc/\x1b[31mred\n.png", "the file '[31mred.png' in 'a'"),
        ("gpj.\u202eexe", "the file 'gpj.exe' in 'a'"),
        (
            "\u0444\u043e\u0442\u043e.png",
            "the file '\u0444\u043e\u0442\u043e.png' in 'a'",
        ),
        ("x" * 60, f"the file '{'x' * 60}' in 'a'"),
        ("x" * 8000 + ".png", f"the file '{'x' * 60}'... in 'a'"),
    ],
)
def test_a_file_is_called_by_its_name_made_harmless(
    filename: str | None, called: str
) -> None:
    assert call_file("a", filename) == called


def test_check_type_asks_another_sniffer() -> None:
    rule = FileRule(accept={"model/*", "text/csv"})
    assert (
        rule.check_type("a", b"x", None, sniffer=lambda _: "model/own") == "model/own"
    )
    assert rule.check_type("a", b"x", "text/csv", sniffer=lambda _: None) == "text/csv"


def test_check_count() -> None:
    rule = FileRule(min_count=2, max_count=3)
    rule.check_count("a", 1, None)
    rule.check_count("a", 3, None)
    with pytest.raises(InvalidContent, match="a: at most 3 files, got 4"):
        rule.check_count("a", 4, None)
    with pytest.raises(InvalidContent) as caught:
        rule.check_count("a/b", 4, "../é\n.png")
    assert caught.value.errors == (
        ("#/a~1b", "'é.png' is too many: at most 3 files, got 4"),
    )
    assert rule.miscount(1) == "at least 2 files, got 1"
    assert FileRule(min_count=1).miscount(0) == "a file is required"
    assert FileRule(max_count=1).miscount(2) == "at most 1 file, got 2"
    assert FileRule().miscount(0) is None
