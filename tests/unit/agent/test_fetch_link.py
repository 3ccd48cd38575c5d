"""Orders to the fetch process: whatever users store and name, they are within the bound."""

from pathlib import Path
from typing import cast

import msgspec
import pytest

from wattline_agent.fetch_link import CacheConfig, FetchLink
from wattline_agent.keeper_link import KeeperLink
from wattline_agent.logs import Log
from wattline_agent.secrets.secret_store import SecretStore
from wattline_protocol.data.secrets import MAX_VALUE_BYTES
from wattline_protocol.data.store_url import MAX_URL_CHARS
from wattline_protocol.text.names import MAX_NAME_CHARS
from wattline_protocol.wire.agents.data_messages import (
    MAX_HELD,
    MAX_IN_USE,
    MAX_KEYS_BYTES,
    MAX_LINE_BYTES,
    DataToHold,
    FetchOrder,
    HoldOrder,
)
from wattline_protocol.wire.bounds import MAX_SERIAL


class Secrets(SecretStore):
    """Each entry has a value of the same size."""

    def __init__(self, size: int) -> None:
        self._size = size

    def read(self, user: str, entry: str) -> bytes:
        return b"\xff" * self._size


@pytest.mark.parametrize("size", [MAX_KEYS_BYTES, MAX_VALUE_BYTES])
def test_the_largest_order_is_within_the_bound(tmp_path: Path, size: int) -> None:
    name = "n" * (MAX_NAME_CHARS - 3)
    versions = tuple(
        DataToHold(
            f"{at:064x}",
            name,
            MAX_SERIAL,
            MAX_SERIAL,
            MAX_SERIAL,
            MAX_SERIAL,
            store="/" + "\N{GRINNING FACE}" * (MAX_URL_CHARS - 1),
            endpoint="https://" + "h" * 253,
            region="r" * 253,
            account=name,
            user=name,
            secret=f"{name}{at:03}",
        )
        for at in range(MAX_HELD)
    )
    keeper, log = cast("KeeperLink", None), cast("Log", None)  # not used
    link = FetchLink(tmp_path, CacheConfig(tmp_path, 1), keeper, Secrets(size), log)
    hashes = tuple(f"{at:064x}" for at in range(MAX_IN_USE))
    order = HoldOrder(versions, hashes, hashes[:MAX_HELD])
    values = link._values(order)
    assert len(values) == (MAX_HELD if size == MAX_KEYS_BYTES else 0)
    assert len(msgspec.json.encode(FetchOrder(order, values))) < MAX_LINE_BYTES
