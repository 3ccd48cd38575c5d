"""URLs of stores: `/srv/data`, `file:///srv/data`, `s3://bucket/prefix`."""

import re
from typing import Literal, NamedTuple

MAX_URL_CHARS = 1_024

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PART = re.compile(r"[A-Za-z0-9!_.*'()=+,@-]+")
_EXPECTED = 'expected a store such as "/srv/data" or "s3://bucket/prefix"'


class StoreUrl(NamedTuple):
    """Where bytes lie."""

    kind: Literal["local", "s3"]
    place: str
    """The directory, or the bucket."""
    prefix: str = ""
    """Of the keys in a bucket, without slashes at its ends."""

    @property
    def text(self) -> str:
        """The one form of each URL, by which stores are compared."""
        if self.kind == "local":
            return self.place
        return f"s3://{self.place}" + (f"/{self.prefix}" if self.prefix else "")


def parse_store_url(text: str) -> StoreUrl:
    """Raises ValueError with what would be valid."""
    if len(text) > MAX_URL_CHARS:
        raise ValueError(f"the URL of a store has at most {MAX_URL_CHARS} characters")
    if text.startswith("s3://"):
        return _s3(text)
    path = text.removeprefix("file://")
    if not path.startswith("/"):
        raise ValueError(f"{_EXPECTED}, not {text!r}")
    parts = [part for part in path.split("/") if part]
    if not parts or any(part in (".", "..") for part in parts):
        raise ValueError(f'{_EXPECTED}: a directory, without "." and ".."; it is {text!r}')
    return StoreUrl("local", "/" + "/".join(parts))


def _s3(text: str) -> StoreUrl:
    bucket, _, prefix = text.removeprefix("s3://").partition("/")
    if _BUCKET.fullmatch(bucket) is None:
        raise ValueError(f"{_EXPECTED}: {bucket!r} is no name of a bucket")
    parts = [part for part in prefix.split("/") if part]
    for part in parts:
        if part in (".", "..") or _PART.fullmatch(part) is None:
            raise ValueError(f"{_EXPECTED}: {part!r} cannot be part of a prefix")
    return StoreUrl("s3", bucket, "/".join(parts))


def is_below(path: str, directory: str) -> bool:
    """Whether a path is a directory or inside it; both as `parse_store_url` gives them."""
    return path == directory or path.startswith(f"{directory.rstrip('/')}/")
