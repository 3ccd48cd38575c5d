"""A part of a store: all keys below one prefix."""

from collections.abc import Iterable, Iterator

from wattline_runtime.data.stores.interface import Store


class Below:
    """A `Store` of its own inside another one. An empty prefix is the whole store."""

    def __init__(self, store: Store, prefix: str) -> None:
        self._store = store
        self._prefix = f"{prefix.strip('/')}/" if prefix else ""

    @property
    def url(self) -> str:
        """Names the store in messages."""
        return f"{self._store.url}/{self._prefix}".rstrip("/")

    def size(self, key: str) -> int | None:
        """Bytes of an object; None = there is none."""
        return self._store.size(self._prefix + key)

    def read(self, key: str) -> Iterator[bytes]:
        """The bytes of an object. Raises NotInStore at the first of them."""
        return self._store.read(self._prefix + key)

    def write(self, key: str, chunks: Iterable[bytes]) -> None:
        """Writes an object: others see all of it or nothing."""
        self._store.write(self._prefix + key, chunks)

    def settle(self) -> None:
        """Returns when all that was written is durable."""
        self._store.settle()

    def keys(self, prefix: str) -> Iterator[str]:
        """Keys below a prefix that ends with a slash; all keys with an empty one."""
        for key in self._store.keys(self._prefix + prefix):
            yield key.removeprefix(self._prefix)

    def delete(self, key: str) -> None:
        """Deletes an object, if there is one."""
        self._store.delete(self._prefix + key)
