"""The error tree: statuses, what else an error is, and what it carries."""

from __future__ import annotations

import copy
import errno
import pickle

import pytest

from aiostreams import errors
from aiostreams.errors import (
    InvalidContent,
    LimitExceeded,
    SizeMismatch,
    StorageError,
    StreamError,
    UnsupportedContent,
)

ALL = [getattr(errors, name) for name in errors.__all__ if name != "exceeded"]


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
