"""The error tree: statuses, what else an error is, and what it carries."""

from __future__ import annotations

import copy
import errno
import pickle

import pytest

from aiostreams import (
    InvalidContent,
    LimitExceeded,
    SizeMismatch,
    StorageError,
    StreamError,
    UnsupportedContent,
    errors,
)
from aiostreams.errors import as_pointer, pointer_to

ALL = [getattr(errors, name) for name in errors.__all__ if name[0].isupper()]


@pytest.mark.parametrize("error", ALL, ids=lambda error: error.__name__)
def test_every_error_is_a_stream_error(error: type[StreamError]) -> None:
    assert issubclass(error, StreamError)


@pytest.mark.parametrize(
    ("cause", "status"),
    [
        (OSError(errno.ENOSPC, "full"), 507),
        (OSError(errno.EDQUOT, "over quota"), 507),
        (OSError(errno.EMFILE, "too many open files"), 503),
        (OSError(errno.ENFILE, "too many open files in the system"), 503),
        (OSError(errno.EIO, "broken"), 500),
        (OSError("without a number"), 500),
        (ValueError("no system error"), 500),
        (None, 500),
    ],
)
def test_a_full_disk_is_told_from_a_broken_one(
    cause: BaseException | None, status: int
) -> None:
    error = StorageError("cannot write", cause)
    assert (error.status, str(error)) == (status, "cannot write")
    with pytest.raises(StorageError, match="cannot write") as caught:
        raise StorageError("cannot write") from cause
    assert caught.value.status == status
    assert error.errno == getattr(cause, "errno", None)
    assert error.__cause__ is cause


def test_errors_carry_what_a_handler_needs() -> None:
    over = LimitExceeded("too much", limit=1, seen=2)
    assert (over.limit, over.seen, over.status) == (1, 2, 413)
    wrong = SizeMismatch("lied", expected=3, seen=4)
    assert (wrong.expected, wrong.seen, wrong.status) == (3, 4, 500)
    other = UnsupportedContent("no", accept="text/a", accept_encoding="gzip")
    assert (other.accept, other.accept_encoding) == ("text/a", "gzip")
    invalid = InvalidContent("a: bad", errors=[("a", "bad")])
    assert invalid.errors == (("a", "bad"),)
    assert InvalidContent("bad").errors == ()


def test_an_error_of_several_values_says_all_of_them() -> None:
    error = InvalidContent(errors=[("#/a/0", "bad"), ("b", "wo\nrse"), ("", "x" * 999)])
    assert str(error) == f"a/0: bad; b: wo\\nrse; {'x' * 397}..."
    assert error.logged == "3 values invalid"
    inner = error.within("rows", 3, note="line 4")
    assert inner.errors[:2] == (
        ("#/rows/3/a/0", "line 4: bad"),
        ("#/rows/3/b", "line 4: wo\\nrse"),
    )
    assert inner.errors[2][0] == "#/rows/3"
    assert InvalidContent("no").within("a").errors == (("#/a", "no"),)


@pytest.mark.parametrize(
    ("path", "pointer"),
    [
        ([], "#"),
        (["a", 0, "b"], "#/a/0/b"),
        ([""], "#/"),
        (["a/b~c"], "#/a~1b~0c"),
        (['é %^|"<>\\\n#'], "#/%C3%A9%20%25%5E%7C%22%3C%3E%5C%0A%23"),
        (["-._~!$&'()*+,;=:@?"], "#/-._~0!$&'()*+,;=:@?"),
        (["x" * 64], "#/" + "x" * 64),
        (["x" * 65], "#/" + "x" * 64 + "..."),
        (["\udc80"], "#/?"),
    ],
)
def test_a_pointer_is_a_fragment(path: list[str | int], pointer: str) -> None:
    """RFC 6901 section 6, with the characters of RFC 3986 section 3.5."""
    assert pointer_to(path) == pointer


@pytest.mark.parametrize(
    ("text", "pointer"), [("", "#"), ("#/a", "#/a"), ("a/b", "#/a~1b"), ("#", "#")]
)
def test_a_name_is_made_a_pointer(text: str, pointer: str) -> None:
    assert as_pointer(text) == pointer


@pytest.mark.parametrize("error", ALL, ids=lambda error: error.__name__)
def test_the_class_tells_its_status(error: type[StreamError]) -> None:
    assert isinstance(error.status, int)
    assert error("told").status == error.status


@pytest.mark.parametrize(
    "error",
    [
        *(error("told") for error in ALL),
        LimitExceeded("too large", limit=1, seen=2),
        SizeMismatch("too short", expected=3, seen=2),
        UnsupportedContent("no", accept="text/plain", accept_encoding="gzip"),
        InvalidContent("no", errors=[("age", "too low")]),
        StorageError("full", OSError(errno.ENOSPC, "full")),
    ],
    ids=repr,
)
def test_an_error_survives_the_way_to_another_process(error: StreamError) -> None:
    for other in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(other) is type(error)
        assert (str(other), other.status) == (str(error), error.status)
        assert repr(vars(other)) == repr(vars(error))
