"""JSON text: strict from bytes to values, strict from values to bytes.

Both ways hold to RFC 8259 and to each other: what is read can be written again. So
``NaN`` and ``Infinity``, numbers that a double cannot hold, and lone surrogates are
refused in both directions, though ``json.loads`` takes them. The last of several
members of the same name wins. A byte order mark is ignored (RFC 8259 section 8.1).
Integers are exact, up to the digits that ``int()`` takes (4,300 unless changed).

msgspec, when installed, reads 1.3 to 2.5 times as fast, and refuses everything that is
refused here. For what it cannot read the standard library is asked again: it knows
the position of an error, and what msgspec alone dislikes is let through.
"""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Any, Final

from aiostreams.content.models import dump
from aiostreams.errors import MalformedBody

if TYPE_CHECKING:
    import types
    from collections.abc import Callable

__all__ = ["may_be_no_number", "msgspec", "parse", "parse_with", "serialise"]

msgspec: types.ModuleType | None
try:
    import msgspec
except ImportError:
    msgspec = None

_BOM: Final = b"\xef\xbb\xbf"
# Digits and "+" become 0, so that two fast searches find what could be too large for
# a double: three digits of exponent without minus, or 200 digits in a row. That is 8
# to 18 % of the parsing; a float hook in Python would tell too, but is 15 to 45 %.
_SHAPE: Final = bytes.maketrans(b"123456789+E", b"0000000000e")
_LARGE: Final = b"0e000"
_LONG: Final = b"0" * 200
_MAYBE_LONE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
# From the start, over everything but a lone surrogate.
_NO_LONE: Final = re.compile(
    r"(?:[^\\]++"
    r"|\\(?!u[dD][89a-fA-F])."
    r"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})*+",
    re.DOTALL,
)


def _refuse_constant(name: str) -> Any:
    raise MalformedBody(f"JSON: {name} is not a number in JSON")


def _finite(text: str) -> float:
    number = float(text)
    if number - number:  # NaN for an infinity, and NaN is true
        raise MalformedBody("a number of the JSON text does not fit in a double")
    return number


_PLAIN: Final = json.JSONDecoder(parse_constant=_refuse_constant)
_CAREFUL: Final = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)


def parse(text: bytes | str) -> Any:
    """Parse a JSON text; bytes are UTF-8.

    Raises:
        MalformedBody: it is not JSON, or nested too deeply for the parser.
    """
    if msgspec is not None:
        try:
            return msgspec.json.decode(text)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            pass
    return _parse_strictly(text)


def _parse_strictly(text: bytes | str) -> Any:
    if isinstance(text, bytes):
        data = text
        try:
            text = data.removeprefix(_BOM).decode()
        except UnicodeDecodeError as exc:
            raise MalformedBody(f"JSON: byte {exc.start} is not UTF-8") from exc
    else:
        data = text.encode("utf-8", "replace")
    if not text or text.isspace():
        raise MalformedBody("JSON: the text is empty")
    decoder = _CAREFUL if _may_overflow(data) else _PLAIN
    try:
        value = decoder.decode(text)
    except MalformedBody:
        raise
    except json.JSONDecodeError as exc:
        raise MalformedBody(f"JSON: {exc.msg}, {_position(exc)}") from exc
    except RecursionError as exc:
        raise MalformedBody("JSON: nested too deeply") from exc
    except ValueError as exc:
        digits = sys.get_int_max_str_digits()
        raise MalformedBody(f"JSON: an integer has more than {digits} digits") from exc
    if b"\\" in data and _MAYBE_LONE.search(data):
        match = _NO_LONE.match(text)
        assert match is not None
        if match.end() != len(text):
            raise MalformedBody("JSON: a string has a lone surrogate")
    return value


def may_be_no_number(text: bytes | str) -> bool:
    """Return whether a lax parser may make NaN or an infinity of the text.

    A quick look, that may be wrong about text in strings.
    """
    data = text.encode("utf-8", "replace") if isinstance(text, str) else text
    # To look for one byte first takes a twentieth of the time.
    return (
        (b"N" in data and b"NaN" in data)
        or (b"I" in data and b"Infinity" in data)
        or _may_overflow(data)
    )


def _may_overflow(data: bytes) -> bool:
    shape = data.translate(_SHAPE)
    return _LARGE in shape or _LONG in shape


def _position(error: json.JSONDecodeError) -> str:
    if error.lineno == 1:
        return f"column {error.colno}"
    return f"line {error.lineno} column {error.colno}"


def parse_with(loads: Callable[[Any], Any], text: bytes | str) -> Any:
    """Parse a value by the parser given, with this module's errors.

    Raises:
        MalformedBody: ``loads`` raised ``ValueError`` or ``RecursionError``.
    """
    if isinstance(text, bytes):
        text = text.removeprefix(_BOM)
    try:
        return loads(text)
    except MalformedBody:
        raise
    except RecursionError as exc:
        raise MalformedBody("JSON: nested too deeply") from exc
    except ValueError as exc:
        if isinstance(exc, json.JSONDecodeError):
            raise MalformedBody(f"JSON: {exc.msg}, {_position(exc)}") from exc
        raise MalformedBody("JSON: the text is malformed") from exc


_ENCODER: Final = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=dump
)


def serialise(value: Any) -> bytes:
    """``value`` as compact JSON in UTF-8, in the order of its members.

    Besides what ``json`` writes: models of every library (by alias), dataclasses,
    dates and times (ISO 8601), ``UUID`` and ``Decimal`` (as strings), ``Enum`` (its
    value), sets, and read-only views of dicts.

    Raises:
        ValueError: NaN, an infinity, a lone surrogate, a value inside itself, or
            nested too deeply.
        TypeError: JSON has nothing for an object, or for the key of one.
    """
    try:
        return _ENCODER.encode(value).encode()
    except UnicodeEncodeError:
        raise ValueError(
            "a string has a lone surrogate, which JSON cannot encode"
        ) from None
    except RecursionError:
        raise ValueError("the value is nested too deeply for JSON") from None
