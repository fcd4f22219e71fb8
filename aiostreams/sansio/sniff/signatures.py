"""Signatures: what the first bytes of a file say, and which names a type goes by.

The data of ``sniff``: facts, no decisions. ``PREFIXES`` are the signatures that are
bytes at the very beginning and nothing more, from the WHATWG's MIME Sniffing standard
(section 4) and, for what it does not know, from the formats' own specifications. Where
the standard's name for a type is not the registered one, the name here is the one that
``guess_content_type`` gives for a file of that type: one type has one name in this
package. ``ALIASES`` are other names in use for it.

A container does not always show what it contains: every ``.doc`` and every ``.msi`` is
an OLE file. ``FAMILIES`` lists what a container may turn out to be, on the word of
whoever sends it; nothing outside of the family is believed.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "ALIASES",
    "BRANDS",
    "CONTAINED",
    "FAMILIES",
    "HTML_TAGS",
    "PACKAGED",
    "PREFIXES",
    "TEXTUAL",
]
_OFFICE: Final = "application/vnd.openxmlformats-officedocument."
_OPEN: Final = "application/vnd.oasis.opendocument."
PREFIXES: Final[tuple[tuple[bytes, str], ...]] = (
    # Images
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"II+\x00\x08\x00", "image/tiff"),  # BigTIFF
    (b"MM\x00+\x00\x08", "image/tiff"),
    (b"II\xbc\x01", "image/jxr"),
    (b"\xff\x0a", "image/jxl"),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "image/jxl"),
    (b"8BPS\x00\x01", "image/vnd.adobe.photoshop"),
    (b"8BPS\x00\x02", "image/vnd.adobe.photoshop"),
    (b"AT&TFORM", "image/vnd.djvu"),
    # Sound and moving pictures
    (b"ID3", "audio/mpeg"),
    (b"fLaC", "audio/flac"),
    (b"MThd\x00\x00\x00\x06", "audio/midi"),
    (b"#!AMR", "audio/amr"),
    (b".snd\x00\x00\x00", "audio/basic"),
    (b"FLV\x01", "video/x-flv"),
    (b"\x00\x00\x01\xba", "video/mpeg"),
    (b"\x00\x00\x01\xb3", "video/mpeg"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c",
     "video/x-ms-asf"),
    # Archives and compressed files
    (b"\x1f\x8b\x08", "application/gzip"),
    (b"PK\x05\x06", "application/zip"),  # without any entry
    (b"PK\x07\x08PK", "application/zip"),  # one of several volumes
    (b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (b"Rar!\x1a\x07", "application/vnd.rar"),
    (b"\xfd7zXZ\x00", "application/x-xz"),
    (b"\x28\xb5\x2f\xfd", "application/zstd"),
    (b"\x04\x22\x4d\x18", "application/x-lz4"),
    (b"LZIP\x01", "application/x-lzip"),
    (b"\x1f\x9d", "application/x-compress"),
    (b"MSCF\x00\x00\x00\x00", "application/vnd.ms-cab-compressed"),
    (b"!<arch>\ndebian-binary", "application/vnd.debian.binary-package"),
    (b"!<arch>\n", "application/x-archive"),
    (b"\xed\xab\xee\xdb", "application/x-rpm"),
    # Documents
    (b"%PDF-", "application/pdf"),
    (b"%!PS-Adobe-", "application/postscript"),
    (b"{\\rtf", "text/rtf"),
    # Fonts
    (b"wOFF", "font/woff"),
    (b"wOF2", "font/woff2"),
    (b"OTTO\x00", "font/otf"),
    (b"true\x00", "font/ttf"),
    (b"ttcf\x00", "font/collection"),
    # Programs
    (b"\x00asm", "application/wasm"),
    (b"\x7fELF", "application/x-executable"),
    (b"\xfe\xed\xfa\xce", "application/x-mach-binary"),
    (b"\xfe\xed\xfa\xcf", "application/x-mach-binary"),
    (b"\xce\xfa\xed\xfe", "application/x-mach-binary"),
    (b"\xcf\xfa\xed\xfe", "application/x-mach-binary"),
    (b"FWS", "application/vnd.adobe.flash.movie"),
    (b"CWS", "application/vnd.adobe.flash.movie"),
    (b"ZWS", "application/vnd.adobe.flash.movie"),
    (b"L\x00\x00\x00\x01\x14\x02\x00", "application/x-ms-shortcut"),
    # Data
    (b"SQLite format 3\x00", "application/vnd.sqlite3"),
    (b"PAR1", "application/vnd.apache.parquet"),
    (b"ARROW1\x00\x00", "application/vnd.apache.arrow.file"),
    (b"\x89HDF\r\n\x1a\n", "application/x-hdf5"),
    (b"\x93NUMPY", "application/x-npy"),
    (b"glTF\x02\x00\x00\x00", "model/gltf-binary"),
)  # fmt: skip
# Brands of ISO base media files (ISO/IEC 14496-12), as padded to four bytes.
BRANDS: Final[dict[bytes, str]] = {
    brand.ljust(4).encode(): media_type
    for media_type, brands in {
        "image/avif": "avif avis",
        "image/heic": "heic heix heim heis",
        "image/heic-sequence": "hevc hevx hevm hevs",
        "image/heif": "mif1",
        "image/heif-sequence": "msf1",
        "image/x-canon-cr3": "crx",
        "image/jp2": "jp2",
        "image/jpx": "jpx",
        "image/jpm": "jpm",
        "video/mj2": "mjp2",
        "audio/mp4": "M4A M4B M4P F4A F4B",
        "video/x-m4v": "M4V M4VH M4VP",
        "video/quicktime": "qt",
        "video/3gpp": "3gp4 3gp5 3gp6 3gp7 3gp8 3gp9 3ge6 3ge7 3gg6 3gr6 3gs6 3gs7",
        "video/3gpp2": "3g2a 3g2b 3g2c",
        "video/mp4": "isom iso2 iso3 iso4 iso5 iso6 iso7 iso8 iso9 mp41 mp42 mp71 "
        "avc1 dash cmfc cmf2 MSNV f4v F4V F4P mmp4 NDSC NDSH NDSM XAVC",
    }.items()
    for brand in brands.split()
}
# What the entry "mimetype" of a zip file may say (ODF 1.2 part 3 section 3.3, EPUB OCF
# section 3.3): a client's words are compared, never repeated.
PACKAGED: Final[dict[bytes, str]] = {
    media_type.encode(): media_type
    for media_type in (
        "application/epub+zip",
        *(
            _OPEN + kind + variant
            for kind in (
                "text", "spreadsheet", "presentation", "graphics", "chart", "formula",
                "image", "database", "text-master", "text-web",
            )
            for variant in ("", "-template")
        ),
        "image/openraster",
        "application/x-krita",
    )
}  # fmt: skip
# The folder of an Office Open XML package that tells which one it is (ECMA-376).
CONTAINED: Final[dict[bytes, str]] = {
    b"word/": _OFFICE + "wordprocessingml.document",
    b"xl/": _OFFICE + "spreadsheetml.sheet",
    b"ppt/": _OFFICE + "presentationml.presentation",
}
# Templates, slide shows and files with macros have the same folders; which of them a
# file is stands in an entry that is compressed.
_VARIANTS: Final[dict[str, str]] = {
    CONTAINED[b"word/"]: _OFFICE + "wordprocessingml.template "
    "application/vnd.ms-word.document.macroenabled.12 "
    "application/vnd.ms-word.template.macroenabled.12",
    CONTAINED[b"xl/"]: _OFFICE + "spreadsheetml.template "
    "application/vnd.ms-excel.sheet.macroenabled.12 "
    "application/vnd.ms-excel.sheet.binary.macroenabled.12 "
    "application/vnd.ms-excel.template.macroenabled.12 "
    "application/vnd.ms-excel.addin.macroenabled.12",
    CONTAINED[b"ppt/"]: _OFFICE + "presentationml.template "
    + _OFFICE + "presentationml.slideshow "
    "application/vnd.ms-powerpoint.presentation.macroenabled.12 "
    "application/vnd.ms-powerpoint.slideshow.macroenabled.12 "
    "application/vnd.ms-powerpoint.template.macroenabled.12 "
    "application/vnd.ms-powerpoint.addin.macroenabled.12",
}  # fmt: skip
ALIASES: Final[dict[str, str]] = {
    alias: media_type
    for media_type, aliases in {
        "image/bmp": "image/x-bmp image/x-ms-bmp",
        "image/jpeg": "image/jpg image/pjpeg",
        "image/png": "image/x-png",
        "image/svg+xml": "image/svg",
        "image/vnd.adobe.photoshop": "image/x-photoshop application/x-photoshop",
        "image/vnd.microsoft.icon": "image/x-icon image/ico image/icon",
        "audio/aac": "audio/x-aac audio/aacp audio/x-hx-aac-adts",
        "audio/aiff": "audio/x-aiff",
        "audio/flac": "audio/x-flac",
        "audio/matroska": "audio/x-matroska",
        "audio/midi": "audio/x-midi audio/mid",
        "audio/mp4": "audio/x-m4a audio/m4a",
        "audio/mpeg": "audio/mp3 audio/x-mp3 audio/x-mpeg audio/mpeg3",
        "audio/wav": "audio/x-wav audio/wave audio/vnd.wave audio/x-pn-wav",
        "video/matroska": "video/x-matroska",
        "video/x-m4v": "video/m4v",
        "video/x-msvideo": "video/avi video/msvideo video/vnd.avi",
        "application/gzip": "application/x-gzip application/x-gunzip",
        "application/java-vm": "application/x-java-applet application/java-byte-code",
        "application/vnd.adobe.flash.movie": "application/x-shockwave-flash",
        "application/vnd.debian.binary-package": "application/x-debian-package "
        "application/x-deb",
        "application/vnd.microsoft.portable-executable": "application/x-dosexec "
        "application/x-msdownload application/x-msdos-program application/exe",
        "application/vnd.ms-fontobject": "application/x-font-eot",
        "application/vnd.rar": "application/x-rar-compressed application/x-rar",
        "application/vnd.sqlite3": "application/x-sqlite3 application/x-sqlite",
        "application/x-7z-compressed": "application/x-7zip application/x-7z",
        "application/x-bzip2": "application/x-bzip application/bzip2",
        "application/x-executable": "application/x-elf application/x-sharedlib "
        "application/x-pie-executable application/x-object application/x-coredump",
        "application/x-httpd-php": "text/x-php application/php application/x-php",
        "application/x-ole-storage": "application/cdfv2 application/x-cfb",
        "application/x-tar": "application/x-gtar application/x-ustar application/tar",
        "application/x-xz": "application/xz",
        "application/json": "text/json text/x-json application/x-json",
        "application/x-ndjson": "application/jsonl application/ndjson "
        "application/x-jsonlines",
        "application/yaml": "text/yaml text/x-yaml application/x-yaml",
        "application/zip": "application/x-zip-compressed application/x-zip",
        "application/zstd": "application/x-zstd",
        "font/collection": "application/font-collection",
        "font/otf": "application/x-font-otf application/font-otf "
        "application/vnd.ms-opentype font/opentype",
        "font/ttf": "application/x-font-ttf application/font-ttf "
        "application/x-font-truetype",
        "font/woff": "application/font-woff application/x-font-woff",
        "font/woff2": "application/font-woff2",
        "text/csv": "application/csv application/x-csv text/x-csv "
        "text/comma-separated-values text/x-comma-separated-values",
        "text/javascript": "application/javascript application/x-javascript",
        "text/markdown": "text/x-markdown",
        "text/rtf": "application/rtf application/x-rtf",
        "text/xml": "application/xml",
    }.items()
    for alias in aliases.split()
}
FAMILIES: Final[dict[str, frozenset[str]]] = {
    media_type: frozenset(members.split())
    for media_type, members in {
        "application/gzip": "application/x-compressed-tar application/x-tgz",
        "application/ogg": "audio/ogg video/ogg audio/opus",
        "application/pdf": "application/illustrator application/vnd.adobe.illustrator",
        "application/vnd.sqlite3": "application/geopackage+sqlite3",
        "application/x-ole-storage": "application/msword application/vnd.ms-excel "
        "application/vnd.ms-powerpoint application/vnd.ms-outlook "
        "application/vnd.ms-project application/vnd.visio application/vnd.ms-works "
        "application/vnd.ms-publisher application/x-mspublisher application/x-msi",
        **_VARIANTS,
        "application/zip": " ".join(
            (
                *CONTAINED.values(),
                *PACKAGED.values(),
                *_VARIANTS.values(),
                "application/oxps",
                "application/vnd.apple.keynote",
                "application/vnd.apple.numbers",
                "application/vnd.apple.pages",
                "application/vnd.apple.pkpass",
                "application/vnd.ms-visio.drawing",
                "application/vnd.ms-visio.drawing.main+xml",
                "application/vnd.ms-xpsdocument",
                "application/java-archive",
                "application/vnd.android.package-archive",
                "application/vnd.google-earth.kmz",
                "application/vnd.comicbook+zip",
                "application/x-xpinstall",
                "model/3mf",
            )
        ),
        "audio/ogg": "audio/opus",
        "font/otf": "font/sfnt application/font-sfnt",
        "font/ttf": "font/sfnt application/font-sfnt",
        "image/heic": "image/heif",
        "image/heic-sequence": "image/heif-sequence",
        "image/heif": "image/heic",
        "image/png": "image/apng",
        "image/tiff": "image/tiff-fx image/x-adobe-dng image/dng image/x-canon-cr2 "
        "image/x-nikon-nef image/x-sony-arw image/x-pentax-pef image/x-olympus-orf",
        "video/3gpp": "audio/3gpp",
        "video/3gpp2": "audio/3gpp2",
        "video/matroska": "audio/matroska video/matroska-3d",
        "video/mp4": "audio/mp4 video/x-m4v application/mp4 video/iso.segment",
        "video/webm": "audio/webm",
        "video/x-ms-asf": "video/x-ms-wmv audio/x-ms-wma",
    }.items()
}
# Text without a type of its own in ``text/``; as in ``+json``, ``+xml`` and ``+yaml``.
TEXTUAL: Final = frozenset(
    """
    application/ecmascript application/graphql application/json application/json5
    application/n-quads application/n-triples application/pem-certificate-chain
    application/sql application/toml application/trig application/x-ndjson
    application/x-pem-file application/x-sh application/x-subrip application/x-tex
    application/x-latex application/x-texinfo application/x-www-form-urlencoded
    application/xml-dtd application/yaml message/rfc822
    """.split()  # noqa: SIM905 - reads as the list it is
)
# The standard's, and other elements that make a browser, or what pretends to be one,
# render what it was told is text.
HTML_TAGS: Final = frozenset(
    """
    a abbr address applet area article aside audio b base bdi bdo big blink blockquote
    body br button canvas caption center cite code col details dialog dir div dl dt em
    embed fieldset figure font footer form frame frameset h1 h2 h3 h4 h5 h6 head header
    hr html i iframe img input ins kbd keygen label layer legend li link main map mark
    marquee math menu meta meter nav nobr noembed noframes noscript object ol optgroup
    option output p param picture plaintext pre progress q s script section select
    small source span strike strong style sub summary sup table tbody td template
    textarea tfoot th thead time title tr track tt u ul var video wbr xmp
    """.split()  # noqa: SIM905
)
