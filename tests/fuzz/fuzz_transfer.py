"""Transfer decoders: the same however cut, and as the standard library decodes."""

from __future__ import annotations

import base64
import binascii
import sys
from pathlib import Path

import atheris

sys.path[:0] = [str(Path(__file__).parents[2])]

with atheris.instrument_imports():
    from aiostreams.errors import MalformedBody
    from aiostreams.sansio.transfer import TransferDecoder, transfer_decoder


def run(name: str, pieces: list[bytes]) -> bytes | None:
    decoder: TransferDecoder | None = transfer_decoder(name)
    assert decoder is not None
    try:
        decoded = b"".join([decoder.feed(piece) for piece in pieces])
        decoder.close()
    except MalformedBody:
        return None
    return decoded


def check(data: bytes) -> None:
    size, body = 1 + sum(data[:1]) % 9, data[1:]
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    for name in ("base64", "quoted-printable"):
        whole = run(name, [body])
        assert run(name, pieces) == whole
        if whole is not None and name == "base64":
            assert whole == base64.b64decode(body)
        elif whole is not None:
            assert whole == binascii.a2b_qp(body)


if __name__ == "__main__":
    atheris.Setup([*sys.argv, "-max_len=200"], check)
    atheris.Fuzz()
