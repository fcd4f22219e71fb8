"""Every HTTP body in aiohttp, in or out, is a Stream, and every Stream composes.

The public names, and nothing else. A name is imported from its module when it is used
first: an application loads what it needs, and that when it is imported itself.
"""

from __future__ import annotations

import importlib
import sys
import types
import typing

if typing.TYPE_CHECKING:
    from aiostreams.codings.decoded import DecodedStream, GUnzipStream
    from aiostreams.codings.encoded import EncodedStream, GZipStream
    from aiostreams.content.base import Content
    from aiostreams.content.csv import CSV
    from aiostreams.content.events import Event, EventStream
    from aiostreams.content.file import File
    from aiostreams.content.json import JSON
    from aiostreams.content.models import Validator, add_validator
    from aiostreams.content.msgpack import MsgPack
    from aiostreams.content.ndjson import NDJSON
    from aiostreams.content.text import HTML, Text
    from aiostreams.content.zip import Zip, ZipMember, ZipStream
    from aiostreams.errors import (
        BodyTimeout,
        ClientGone,
        InvalidContent,
        InvalidKey,
        InvalidSignature,
        LengthRequired,
        LimitExceeded,
        MalformedBody,
        ObjectExists,
        ObjectNotFound,
        SizeMismatch,
        StorageError,
        StreamBusy,
        StreamClosed,
        StreamError,
        UnsupportedContent,
    )
    from aiostreams.files.file import FileStream
    from aiostreams.files.replay import Replay
    from aiostreams.files.spooled import SpooledStream
    from aiostreams.limits import GiB, KiB, Limits, MiB
    from aiostreams.multipart.form import Form
    from aiostreams.multipart.multipart import Files, MultiPart
    from aiostreams.multipart.part import Part
    from aiostreams.resumable.state import ResumableUpload
    from aiostreams.storage.base import (
        Storage,
        StoredObject,
    )
    from aiostreams.storage.disk import DiskStorage
    from aiostreams.storage.encrypted import EncryptedStorage
    from aiostreams.storage.ledger import MemoryLedger, QuotaEntry, QuotaLedger
    from aiostreams.storage.memory import MemoryStorage
    from aiostreams.storage.object_store import ObjectStorage
    from aiostreams.storage.quota import QuotaStorage
    from aiostreams.storage.url import storage_from_url
    from aiostreams.streams.base import Stream
    from aiostreams.streams.copy import copy
    from aiostreams.streams.hashing import HashStream
    from aiostreams.streams.http import HTTPStream
    from aiostreams.streams.iterable import IterStream
    from aiostreams.streams.memory import ByteStream
    from aiostreams.streams.multipart import MultiPartStream
    from aiostreams.streams.sections import ChainStream, SliceStream
    from aiostreams.streams.transforms import (
        LimitStream,
        ProgressStream,
        RateStream,
        TeeStream,
        Transform,
    )
    from aiostreams.uploads.clamd import clamd
    from aiostreams.uploads.direct import DirectUpload, confirm_upload, direct_upload
    from aiostreams.uploads.formmodel import FormField
    from aiostreams.uploads.openapi import body_schema, problem_responses
    from aiostreams.uploads.receiver import IncomingFile, by_digest
    from aiostreams.uploads.rules import FileRule
    from aiostreams.uploads.stored import StoredFile
    from aiostreams.web.channel import Channel
    from aiostreams.web.compression.config import (
        Compression,
    )
    from aiostreams.web.compression.middleware import (
        compression_middleware,
        uncompressed,
    )
    from aiostreams.web.contents import negotiate, read_content, register_content
    from aiostreams.web.expect import expect_continue
    from aiostreams.web.handlers import Result, RouteTableDef, handler
    from aiostreams.web.iter_json import iter_json
    from aiostreams.web.middleware import stream_middleware
    from aiostreams.web.proxy import proxy
    from aiostreams.web.receive import Upload, receive
    from aiostreams.web.request import (
        iter_ndjson,
        iter_parts,
        open_stream,
        read_bytes,
        read_form,
        read_json,
        read_text,
    )
    from aiostreams.web.respond import respond
    from aiostreams.web.resumable.config import ResumableUploads, upload_of
    from aiostreams.web.resumable.route import resumable, resumable_route
    from aiostreams.web.resumable.service import sweep_uploads
    from aiostreams.web.setup import run_app, setup
    from aiostreams.web.state import limit, limits_of, storage_of
    from aiostreams.web.wrap_body import keep_body, signed_body, wrap_body
    from aiostreams.web.wrap_response import wrap_response

__all__ = [
    "CSV",
    "HTML",
    "JSON",
    "NDJSON",
    "BodyTimeout",
    "ByteStream",
    "ChainStream",
    "Channel",
    "ClientGone",
    "Compression",
    "Content",
    "DecodedStream",
    "DirectUpload",
    "DiskStorage",
    "EncodedStream",
    "EncryptedStorage",
    "Event",
    "EventStream",
    "File",
    "FileRule",
    "FileStream",
    "Files",
    "Form",
    "FormField",
    "GUnzipStream",
    "GZipStream",
    "GiB",
    "HTTPStream",
    "HashStream",
    "IncomingFile",
    "InvalidContent",
    "InvalidKey",
    "InvalidSignature",
    "IterStream",
    "KiB",
    "LengthRequired",
    "LimitExceeded",
    "LimitStream",
    "Limits",
    "MalformedBody",
    "MemoryLedger",
    "MemoryStorage",
    "MiB",
    "MsgPack",
    "MultiPart",
    "MultiPartStream",
    "ObjectExists",
    "ObjectNotFound",
    "ObjectStorage",
    "Part",
    "ProgressStream",
    "QuotaEntry",
    "QuotaLedger",
    "QuotaStorage",
    "RateStream",
    "Replay",
    "Result",
    "ResumableUpload",
    "ResumableUploads",
    "RouteTableDef",
    "SizeMismatch",
    "SliceStream",
    "SpooledStream",
    "Storage",
    "StorageError",
    "StoredFile",
    "StoredObject",
    "Stream",
    "StreamBusy",
    "StreamClosed",
    "StreamError",
    "TeeStream",
    "Text",
    "Transform",
    "UnsupportedContent",
    "Upload",
    "Validator",
    "Zip",
    "ZipMember",
    "ZipStream",
    "add_validator",
    "body_schema",
    "by_digest",
    "clamd",
    "compression_middleware",
    "confirm_upload",
    "copy",
    "direct_upload",
    "expect_continue",
    "handler",
    "iter_json",
    "iter_ndjson",
    "iter_parts",
    "keep_body",
    "limit",
    "limits_of",
    "negotiate",
    "open_stream",
    "problem_responses",
    "proxy",
    "read_bytes",
    "read_content",
    "read_form",
    "read_json",
    "read_text",
    "receive",
    "register_content",
    "respond",
    "resumable",
    "resumable_route",
    "run_app",
    "setup",
    "signed_body",
    "storage_from_url",
    "storage_of",
    "stream_middleware",
    "sweep_uploads",
    "uncompressed",
    "upload_of",
    "wrap_body",
    "wrap_response",
]

# Where each name is; type checkers read the imports above.
_MODULES = {
    "CSV": "content.csv",
    "HTML": "content.text",
    "JSON": "content.json",
    "NDJSON": "content.ndjson",
    "BodyTimeout": "errors",
    "ByteStream": "streams.memory",
    "ChainStream": "streams.sections",
    "Channel": "web.channel",
    "ClientGone": "errors",
    "Compression": "web.compression.config",
    "Content": "content.base",
    "DecodedStream": "codings.decoded",
    "DirectUpload": "uploads.direct",
    "DiskStorage": "storage.disk",
    "EncodedStream": "codings.encoded",
    "EncryptedStorage": "storage.encrypted",
    "Event": "content.events",
    "EventStream": "content.events",
    "File": "content.file",
    "FileRule": "uploads.rules",
    "FileStream": "files.file",
    "Files": "multipart.multipart",
    "Form": "multipart.form",
    "FormField": "uploads.formmodel",
    "GUnzipStream": "codings.decoded",
    "GZipStream": "codings.encoded",
    "GiB": "limits",
    "HTTPStream": "streams.http",
    "HashStream": "streams.hashing",
    "IncomingFile": "uploads.receiver",
    "InvalidContent": "errors",
    "InvalidKey": "errors",
    "InvalidSignature": "errors",
    "IterStream": "streams.iterable",
    "KiB": "limits",
    "LengthRequired": "errors",
    "LimitExceeded": "errors",
    "LimitStream": "streams.transforms",
    "Limits": "limits",
    "MalformedBody": "errors",
    "MemoryLedger": "storage.ledger",
    "MemoryStorage": "storage.memory",
    "MiB": "limits",
    "MsgPack": "content.msgpack",
    "MultiPart": "multipart.multipart",
    "MultiPartStream": "streams.multipart",
    "ObjectExists": "errors",
    "ObjectNotFound": "errors",
    "ObjectStorage": "storage.object_store",
    "Part": "multipart.part",
    "ProgressStream": "streams.transforms",
    "QuotaEntry": "storage.ledger",
    "QuotaLedger": "storage.ledger",
    "QuotaStorage": "storage.quota",
    "RateStream": "streams.transforms",
    "Replay": "files.replay",
    "Result": "web.handlers",
    "ResumableUpload": "resumable.state",
    "ResumableUploads": "web.resumable.config",
    "RouteTableDef": "web.handlers",
    "SizeMismatch": "errors",
    "SliceStream": "streams.sections",
    "SpooledStream": "files.spooled",
    "Storage": "storage.base",
    "StorageError": "errors",
    "StoredFile": "uploads.stored",
    "StoredObject": "storage.base",
    "Stream": "streams.base",
    "StreamBusy": "errors",
    "StreamClosed": "errors",
    "StreamError": "errors",
    "TeeStream": "streams.transforms",
    "Text": "content.text",
    "Transform": "streams.transforms",
    "UnsupportedContent": "errors",
    "Upload": "web.receive",
    "Validator": "content.models",
    "Zip": "content.zip",
    "ZipMember": "content.zip",
    "ZipStream": "content.zip",
    "add_validator": "content.models",
    "body_schema": "uploads.openapi",
    "by_digest": "uploads.receiver",
    "clamd": "uploads.clamd",
    "compression_middleware": "web.compression.middleware",
    "confirm_upload": "uploads.direct",
    "copy": "streams.copy",
    "direct_upload": "uploads.direct",
    "expect_continue": "web.expect",
    "handler": "web.handlers",
    "iter_json": "web.iter_json",
    "iter_ndjson": "web.request",
    "iter_parts": "web.request",
    "keep_body": "web.wrap_body",
    "limit": "web.state",
    "limits_of": "web.state",
    "negotiate": "web.contents",
    "open_stream": "web.request",
    "problem_responses": "uploads.openapi",
    "proxy": "web.proxy",
    "read_bytes": "web.request",
    "read_content": "web.contents",
    "read_form": "web.request",
    "read_json": "web.request",
    "read_text": "web.request",
    "receive": "web.receive",
    "register_content": "web.contents",
    "respond": "web.respond",
    "resumable": "web.resumable.route",
    "resumable_route": "web.resumable.route",
    "run_app": "web.setup",
    "setup": "web.setup",
    "signed_body": "web.wrap_body",
    "storage_from_url": "storage.url",
    "storage_of": "web.state",
    "stream_middleware": "web.middleware",
    "sweep_uploads": "web.resumable.service",
    "uncompressed": "web.compression.middleware",
    "upload_of": "web.resumable.config",
    "wrap_body": "web.wrap_body",
    "wrap_response": "web.wrap_response",
}


class _Root(types.ModuleType):
    """This module: a name is looked up once, and kept."""

    if not typing.TYPE_CHECKING:  # else any name would seem to be there

        def __getattr__(self, name: str) -> object:
            module = _MODULES.get(name)
            if module is None:
                raise AttributeError(f"module {self.__name__!r} has no {name!r}")
            value = getattr(importlib.import_module(f"{self.__name__}.{module}"), name)
            setattr(self, name, value)
            return value

    def __setattr__(self, name: str, value: object) -> None:
        # The import system gives a folder's name to the folder: here `resumable` is
        # the decorator, and `import aiostreams.resumable.state` may come before it.
        if name not in _MODULES or not isinstance(value, types.ModuleType):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *__all__})


sys.modules[__name__].__class__ = _Root
