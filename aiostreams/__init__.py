"""Every HTTP body in aiohttp, in or out, is a Stream, and every Stream composes.

The public names, and nothing else.
"""

from __future__ import annotations

from aiostreams.content.base import Content
from aiostreams.content.events import Event, EventStream
from aiostreams.content.file import File
from aiostreams.content.files import Files
from aiostreams.content.form import Form
from aiostreams.content.json import JSON
from aiostreams.content.multipart import MultiPart
from aiostreams.content.ndjson import NDJSON
from aiostreams.content.part import Part
from aiostreams.content.text import HTML, Text
from aiostreams.errors import (
    BodyTimeout,
    ClientGone,
    InvalidContent,
    InvalidKey,
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
from aiostreams.limits import GiB, KiB, Limits, MiB
from aiostreams.sansio.sniff.types import magic_sniffer, sniff
from aiostreams.streams.base import Stream
from aiostreams.streams.decoding import DecodedStream, GUnzipStream
from aiostreams.streams.encoding import EncodedStream, GZipStream
from aiostreams.streams.file import FileStream
from aiostreams.streams.hashing import HashStream
from aiostreams.streams.http import HTTPStream
from aiostreams.streams.iterable import IterStream
from aiostreams.streams.memory import ByteStream
from aiostreams.streams.multipart import MultiPartStream
from aiostreams.streams.pump import copy
from aiostreams.streams.sections import ChainStream, SliceStream
from aiostreams.streams.spooled import SpooledStream
from aiostreams.streams.transforms import LimitStream, ProgressStream, TeeStream
from aiostreams.uploads.disk import DiskStorage
from aiostreams.uploads.formmodel import FormField
from aiostreams.uploads.memory import MemoryStorage
from aiostreams.uploads.objectstore import ObjectStorage
from aiostreams.uploads.receiver import Incoming
from aiostreams.uploads.rules import FileRule
from aiostreams.uploads.storage import (
    Storage,
    StoredObject,
    check_attributes,
    check_key,
    check_prefix,
)
from aiostreams.uploads.stored import StoredFile
from aiostreams.uploads.url import storage_from_url
from aiostreams.web.appstorage import storage_of
from aiostreams.web.body import limit, limits_of
from aiostreams.web.compressible import Predicate, compressible, path_prefix
from aiostreams.web.compression import (
    Compression,
    compression_middleware,
    uncompressed,
)
from aiostreams.web.expect import expect_continue
from aiostreams.web.forms import read_form
from aiostreams.web.iterjson import iter_json
from aiostreams.web.middleware import stream_middleware
from aiostreams.web.opentelemetry import opentelemetry_stats
from aiostreams.web.parts import iter_parts
from aiostreams.web.prometheus import prometheus_stats
from aiostreams.web.proxy import proxy
from aiostreams.web.receive import Upload, receive
from aiostreams.web.request import (
    iter_ndjson,
    open_stream,
    read_bytes,
    read_content,
    read_json,
    read_text,
)
from aiostreams.web.response import respond
from aiostreams.web.setup import run_app, setup
from aiostreams.web.stats import BodyStats
from aiostreams.web.statslog import log_stats

__all__ = [
    "HTML",
    "JSON",
    "NDJSON",
    "BodyStats",
    "BodyTimeout",
    "ByteStream",
    "ChainStream",
    "ClientGone",
    "Compression",
    "Content",
    "DecodedStream",
    "DiskStorage",
    "EncodedStream",
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
    "Incoming",
    "InvalidContent",
    "InvalidKey",
    "IterStream",
    "KiB",
    "LengthRequired",
    "LimitExceeded",
    "LimitStream",
    "Limits",
    "MalformedBody",
    "MemoryStorage",
    "MiB",
    "MultiPart",
    "MultiPartStream",
    "ObjectExists",
    "ObjectNotFound",
    "ObjectStorage",
    "Part",
    "Predicate",
    "ProgressStream",
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
    "UnsupportedContent",
    "Upload",
    "check_attributes",
    "check_key",
    "check_prefix",
    "compressible",
    "compression_middleware",
    "copy",
    "expect_continue",
    "iter_json",
    "iter_ndjson",
    "iter_parts",
    "limit",
    "limits_of",
    "log_stats",
    "magic_sniffer",
    "open_stream",
    "opentelemetry_stats",
    "path_prefix",
    "prometheus_stats",
    "proxy",
    "read_bytes",
    "read_content",
    "read_form",
    "read_json",
    "read_text",
    "receive",
    "respond",
    "run_app",
    "setup",
    "sniff",
    "storage_from_url",
    "storage_of",
    "stream_middleware",
    "uncompressed",
]
