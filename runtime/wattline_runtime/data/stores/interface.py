"""What a store can do, and its errors.

Keys are such as `objects/ab/ab12…`. An object is written once and never changed; readers
compare its SHA-256 with its key.
"""

from collections.abc import Iterable, Iterator
from typing import Protocol

import msgspec

CHUNK_BYTES = 1024 * 1024
"""Of a read."""


class StoreError(Exception):
    """A store did not do what was asked; the text names the store, and never its keys."""


class StoreAway(StoreError):
    """The store cannot be reached, or not now: the same request may succeed later."""


class StoreFull(StoreAway):
    """The store has no space left for what is written."""


class StoreRefused(StoreError):
    """The store refuses: wrong keys or permissions. A repeat is refused as well."""


class NotInStore(StoreError):
    """There is no object of that key."""


class StoreKeys(msgspec.Struct, frozen=True):
    """Credentials for a bucket. Their text shows none of them."""

    key_id: str
    secret: str
    session: str = ""

    def __repr__(self) -> str:
        return "StoreKeys(…)"


class Store(Protocol):
    """Bytes by key. Methods may be called from several threads; each raises StoreError."""

    @property
    def url(self) -> str:
        """Names the store in messages."""

    def size(self, key: str) -> int | None:
        """Bytes of an object; None = there is none."""

    def read(self, key: str) -> Iterator[bytes]:
        """The bytes of an object. Raises NotInStore at the first of them."""

    def write(self, key: str, chunks: Iterable[bytes]) -> None:
        """Writes an object: others see all of it or nothing. It survives a loss of power once
        `settle` has returned. What `chunks` raises is raised, and nothing is written."""

    def settle(self) -> None:
        """Returns when all that was written is durable."""

    def keys(self, prefix: str) -> Iterator[str]:
        """Keys below a prefix that ends with a slash."""

    def delete(self, key: str) -> None:
        """Deletes an object, if there is one."""
