"""Opens the store of a URL."""

from wattline_protocol.data.requests import DataPlace
from wattline_protocol.data.store_url import parse_store_url
from wattline_runtime.data.stores.interface import Store, StoreRefused
from wattline_runtime.data.stores.local import LocalStore


def open_store(place: DataPlace) -> Store:
    """The store of a place. Raises StoreError, ValueError for a bad URL."""
    url = parse_store_url(place.store)
    if url.kind == "local":
        return LocalStore(url.place)
    raise StoreRefused(f"{url.text}: buckets cannot be opened by this version")
