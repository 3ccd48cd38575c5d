"""Opens the store of a URL."""

from collections.abc import Mapping

from wattline_protocol.data.requests import DataPlace
from wattline_protocol.data.store_url import parse_store_url
from wattline_runtime.data.stores.interface import Store, StoreKeys, StoreRefused
from wattline_runtime.data.stores.local import LocalStore

KEY_ID, SECRET, SESSION = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"


def open_store(place: DataPlace, keys: StoreKeys | None) -> Store:
    """The store of a place; `keys` for a bucket. Raises StoreError, ValueError for a bad URL."""
    url = parse_store_url(place.store)
    if url.kind == "local":
        return LocalStore(url.place)
    if keys is None:
        raise StoreRefused(f"{url.text}: no keys; set {KEY_ID} and {SECRET}")
    try:
        from wattline_runtime.data.stores.s3 import S3Store
    except ModuleNotFoundError as error:
        text = f"{url.text}: {error.name} is missing; install it with pip install 'wattline[data]'"
        raise StoreRefused(text) from error

    return S3Store(url, place.endpoint, place.region, keys)


def keys_of(values: Mapping[str, str]) -> StoreKeys | None:
    """Keys by the usual names of variables; None = there are none."""
    key_id, secret = values.get(KEY_ID, ""), values.get(SECRET, "")
    return StoreKeys(key_id, secret, values.get(SESSION, "")) if key_id and secret else None


def keys_in(secret: bytes) -> StoreKeys | None:
    """The same in the lines NAME=VALUE of a secret."""
    lines = secret.decode(errors="replace").splitlines()
    pairs = (line.partition("=")[::2] for line in lines)
    return keys_of({name.strip(): text.strip() for name, text in pairs})
