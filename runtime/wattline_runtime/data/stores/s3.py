"""A store in a bucket of an S3-compatible server.

Texts of the server are not shown: a refusal of S3 contains the key id that was used.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, cast
from urllib.parse import urlsplit
from urllib.request import getproxies

from obstore import delete as delete_object
from obstore import get, get_range, head, put
from obstore import list as list_objects
from obstore import store as stores
from obstore.exceptions import (
    BaseError,
    NotFoundError,
    PermissionDeniedError,
    UnauthenticatedError,
)

from wattline_protocol.data.site_data import AWS_HOST
from wattline_protocol.data.store_url import StoreUrl
from wattline_runtime.data.stores.interface import (
    NotInStore,
    StoreAway,
    StoreKeys,
    StoreRefused,
)

DEFAULT_REGION = "us-east-1"
CONNECT_WITHIN_S = 5
ANSWER_WITHIN_S = 60
RETRY_WITHIN_S = 10
RETRIES = 3
PART_BYTES = 8 * 1024 * 1024
"""Of an object that is sent or read in parts; a smaller one is one request."""

NOWHERE = "http://redirects.invalid:1"
"""Proxy of all hosts but the server's own: a redirect, which the HTTP client would follow with the
session token, leads nowhere. Where the environment names a proxy, that one decides."""

_STATUS = re.compile(r"status code: ([0-9]{3})")
"""Of an error in a list of objects, which has no type of its own."""


class S3Store:
    """A bucket, or a part of one."""

    def __init__(self, url: StoreUrl, endpoint: str, region: str, keys: StoreKeys) -> None:
        self._url = url.text
        self._server = endpoint or AWS_HOST
        config: dict[str, str] = {
            "region": region or DEFAULT_REGION,
            "access_key_id": keys.key_id,
            "secret_access_key": keys.secret,
        }
        if keys.session:
            config["session_token"] = keys.session
        if endpoint:
            config["endpoint"] = endpoint
        options: dict[str, Any] = {
            "allow_http": endpoint.startswith("http://"),
            "connect_timeout": timedelta(seconds=CONNECT_WITHIN_S),
            "timeout": timedelta(seconds=ANSWER_WITHIN_S),
        }
        if not any(getproxies().get(scheme) for scheme in ("http", "https", "all")):
            host = urlsplit(endpoint).hostname if endpoint else AWS_HOST
            options |= {"proxy_url": NOWHERE, "proxy_excludes": host}
        self._store = stores.S3Store(
            url.place,
            prefix=url.prefix or None,
            config=cast("Any", config),
            client_options=cast("Any", options),
            retry_config={
                "max_retries": RETRIES,
                "retry_timeout": timedelta(seconds=RETRY_WITHIN_S),
            },
        )

    @property
    def url(self) -> str:
        """Names the store in messages."""
        return self._url

    def size(self, key: str) -> int | None:
        """Bytes of an object; None = there is none."""
        try:
            with self._errors(key):
                return int(head(self._store, key)["size"])
        except NotInStore:
            return None

    def read(self, key: str) -> Iterator[bytes]:
        """The bytes of an object. Raises NotInStore at the first of them."""
        with self._errors(key):
            found = get(self._store, key)
            size = found.meta["size"]
            if size <= PART_BYTES:
                yield bytes(found.bytes())
                return
            # The time of an answer is bounded, and so is what is asked for at once.
            for start in range(0, size, PART_BYTES):
                length = min(PART_BYTES, size - start)
                yield bytes(get_range(self._store, key, start=start, length=length))

    def write(self, key: str, chunks: Iterable[bytes]) -> None:
        """Writes an object: S3 shows all of it or nothing."""
        try:
            with self._errors(key):
                put(self._store, key, iter(chunks), chunk_size=PART_BYTES)
        except NotInStore as error:
            raise StoreRefused(f"{self._url}: there is no such bucket; make it") from error

    def settle(self) -> None:
        """Nothing is left to be done: S3 acknowledges what is durable."""

    def keys(self, prefix: str) -> Iterator[str]:
        """Keys below a prefix that ends with a slash."""
        with self._errors(prefix):
            for part in list_objects(self._store, prefix or None):
                for found in part:
                    yield found["path"]

    def delete(self, key: str) -> None:
        """Deletes an object, if there is one."""
        with suppress(NotInStore), self._errors(key):
            delete_object(self._store, key)

    @contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        where = f"{self._url}/{key}"
        refusal = f"{where}: the server refuses these keys, or they lack the permission"
        try:
            yield
        except (PermissionDeniedError, UnauthenticatedError):
            raise StoreRefused(refusal) from None
        except (NotFoundError, FileNotFoundError):
            raise NotInStore(f"{where} does not exist") from None
        except BaseError as error:
            status = _STATUS.search(str(error))
            if status is not None and status[1] in ("401", "403"):
                raise StoreRefused(refusal) from None
            if status is not None and status[1] == "404":
                raise StoreRefused(f"{self._url}: there is no such bucket; make it") from None
            text = f"{where}: no answer from {self._server}, or an error of it"
            raise StoreAway(text) from None
