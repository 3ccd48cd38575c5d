"""Manifest of a version: path, size and SHA-256 of each file, a line of JSON each.

The first line counts the files and their bytes; the others follow in the order of their paths.
Keys are sorted and separators compact, so that equal trees have equal manifests: a version is
identified by the SHA-256 of its manifest. Read and written in parts: a million files take about
150 MB as lines and more as objects.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator

import msgspec

from wattline_protocol.data.requests import MAX_FILES
from wattline_protocol.text.visible import visible_line
from wattline_protocol.wire.bounds import CONTROL, MAX_SERIAL

FORMAT = 1
MAX_PATH_BYTES = 1_024
MAX_LINE_BYTES = 8 * 1_024
"""A path of `MAX_PATH_BYTES` as JSON, each of its characters escaped, and the rest of its line."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


class ManifestError(ValueError):
    """A manifest that is damaged, or a path that none may hold; the text names the place."""


class Entry(msgspec.Struct, frozen=True):
    """One file. Fields in the order of their keys in a manifest."""

    bytes: int
    path: str
    sha256: str


class Head(msgspec.Struct, frozen=True):
    """The first line."""

    bytes: int
    files: int
    wattline_manifest: int = FORMAT


_encoder = msgspec.json.Encoder()
_entry_decoder = msgspec.json.Decoder(Entry, strict=True)
_head_decoder = msgspec.json.Decoder(Head, strict=True)


def check_path(path: str) -> str:
    """`path` itself. Raises ManifestError where it cannot name a file of a data set."""
    shown = visible_line(path[:MAX_PATH_BYTES])
    try:
        size = len(path.encode())
    except UnicodeEncodeError as error:
        raise ManifestError(f"{shown!a}: the name is not UTF-8; rename the file") from error
    if CONTROL.search(path) is not None:
        raise ManifestError(f"{shown}: the name has control characters; rename the file")
    if size > MAX_PATH_BYTES:
        text = f"{shown[:80]}…: the path has {size} bytes, at most {MAX_PATH_BYTES}"
        raise ManifestError(f"{text}; shorten its names")
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise ManifestError(f"{shown!r} is not a path below the folder of a data set")
    return path


def entry_line(entry: Entry) -> bytes:
    """The line of a file."""
    return _encoder.encode(entry) + b"\n"


def head_line(files: int, size: int) -> bytes:
    """The first line. Raises ManifestError for more files than a version may have, or none."""
    if not 1 <= files <= MAX_FILES:
        raise ManifestError(f"{files:,} files: a version has 1 to {MAX_FILES:,}")
    return _encoder.encode(Head(size, files)) + b"\n"


class Manifest:
    """A manifest that is read from chunks of bytes: the head at once, entries as iterated, once.

    Every entry is checked, and at the end the counts. Raises ManifestError.
    """

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._digest = hashlib.sha256()
        self._lines = self._split(chunks)
        self.head = self._read_head()

    @property
    def sha256(self) -> str:
        """Of all bytes, after the last entry."""
        return self._digest.hexdigest()

    def __iter__(self) -> Iterator[Entry]:
        files = size = 0
        before = ""
        begun: dict[int, str] = {}
        for line in self._lines:
            entry = _entry(line, files + 2)
            if entry.path <= before:
                raise ManifestError(f"line {files + 2}: {entry.path!r} is not after {before!r}")
            _check_no_folder(entry.path, begun)
            if files == self.head.files:
                raise ManifestError(f"it lists more than the {files:,} files of its first line")
            before, files, size = entry.path, files + 1, size + entry.bytes
            yield entry
        if (files, size) != (self.head.files, self.head.bytes):
            text = f"{files:,} files of {size:,} bytes"
            wanted = f"{self.head.files:,} of {self.head.bytes:,}"
            raise ManifestError(f"it lists {text}, and its first line counts {wanted}")

    def _read_head(self) -> Head:
        line = next(self._lines, b"")
        try:
            head = _head_decoder.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ManifestError(f"its first line is not that of a manifest: {error}") from error
        if head.wattline_manifest != FORMAT:
            raise ManifestError(f"it has format {head.wattline_manifest}; known here is {FORMAT}")
        if line != head_line(head.files, head.bytes) or head.bytes < 0:
            raise ManifestError("its first line is not in the one form of a manifest")
        return head

    def _split(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Lines with their ends."""
        rest = b""
        for chunk in chunks:
            self._digest.update(chunk)
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                yield line + b"\n"
            if len(rest) > MAX_LINE_BYTES:
                raise ManifestError(f"a line of it has more than {MAX_LINE_BYTES} bytes")
        if rest:
            raise ManifestError("it is cut off")


def _check_no_folder(path: str, begun: dict[int, str]) -> None:
    """Raises ManifestError for a file inside a file. `begun`: files whose paths `path` begins with,
    by the lengths of these; in the order of paths, none that it does not begin with returns."""
    while begun and not path.startswith(next(reversed(begun.values()))):
        begun.popitem()
    at = path.find("/")
    while at >= 0:
        if at in begun:
            raise ManifestError(f"{begun[at]!r} is a file and a folder")
        at = path.find("/", at + 1)
    begun[len(path)] = path


def _entry(line: bytes, number: int) -> Entry:
    try:
        entry = _entry_decoder.decode(line)
        check_path(entry.path)
    except (msgspec.MsgspecError, UnicodeDecodeError, ManifestError) as error:
        raise ManifestError(f"line {number}: {error}") from error
    if _SHA256.fullmatch(entry.sha256) is None or not 0 <= entry.bytes <= MAX_SERIAL:
        raise ManifestError(f"line {number}: a size or a digest that no file has")
    if entry_line(entry) != line:
        raise ManifestError(f"line {number}: not in the one form of a manifest")
    return entry


def object_key(sha256: str) -> str:
    """Key of a file's bytes in a store."""
    return f"objects/{sha256[:2]}/{sha256}"


def manifest_key(sha256: str) -> str:
    """Key of a manifest in a store."""
    return f"manifests/{sha256}"


def summary_key(sha256: str) -> str:
    """Key of the summary of columns of the version with this manifest."""
    return f"summaries/{sha256}"
