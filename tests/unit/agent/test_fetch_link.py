"""Orders to the fetch process: whatever users store and name, they are within the bound."""

import socket
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest

from wattline_agent.core.events import CacheSeen
from wattline_agent.fetch_link import MOST_STARTS, CacheConfig, FetchLink
from wattline_agent.keeper_link import KeeperLink
from wattline_agent.logs import Log, make_log
from wattline_agent.secrets.secret_store import SecretStore
from wattline_protocol.data.secrets import MAX_VALUE_BYTES
from wattline_protocol.data.store_url import MAX_URL_CHARS
from wattline_protocol.text.names import MAX_NAME_CHARS
from wattline_protocol.wire.agents.data_messages import (
    MAX_HELD,
    MAX_IN_USE,
    MAX_KEYS_BYTES,
    MAX_LINE_BYTES,
    CacheReport,
    CheckpointsToStore,
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
    copies = tuple(
        CheckpointsToStore(
            store="s3://bucket/" + "p" * (MAX_URL_CHARS - 12),
            endpoint="https://" + "h" * 253,
            region="r" * 253,
            account=name,
            user=name,
            secret=f"{name[:-1]}x{at:03}",
            job=MAX_SERIAL,
            attempt=MAX_SERIAL,
            prefix=f"checkpoints/{name}/{MAX_SERIAL}",
            root="/" + "d" * 1_000,
        )
        for at in range(MAX_HELD)
    )
    order = HoldOrder(versions, hashes, hashes[:MAX_HELD], to_store=copies)
    values = link._values(order)
    assert len(values) == (2 * MAX_HELD if size == MAX_KEYS_BYTES else 0)
    assert len(msgspec.json.encode(FetchOrder(order, values))) < MAX_LINE_BYTES


def test_the_directory_of_checkpoints_is_the_nodes_own_or_that_of_all(tmp_path: Path) -> None:
    starts, log = Starts(), make_log(is_json=True)
    keeper = cast("KeeperLink", starts)
    link = FetchLink(tmp_path, CacheConfig(tmp_path, 1), keeper, Secrets(8), log)
    own = CheckpointsToStore(
        store="s3://b", user="ada", secret="store", job=1, attempt=1, prefix="c"
    )
    link.order(HoldOrder((), to_store=(own, msgspec.structs.replace(own, root="/mnt/all"))))
    assert link._order is not None
    roots = [one.root for one in link._order.to_store]
    assert roots == [str(tmp_path / "checkpoints"), "/mnt/all"]
    assert list(link._values(link._order)) == ["ada/store"]
    assert starts.count == 1, "it is needed for copies alone"


class Starts:
    """A keeper whose programs do not start; counts what it is ordered to start."""

    count = 0

    def do(self, _: object) -> None:
        self.count += 1


def test_a_fetch_process_that_does_not_start_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 1_000.0
    clock = SimpleNamespace(monotonic=lambda: now_s)
    monkeypatch.setattr("wattline_agent.fetch_link.time", clock)
    monkeypatch.chdir(tmp_path)  # the path of a socket is limited to 107 characters
    starts, log = Starts(), make_log(is_json=True)
    keeper = cast("KeeperLink", starts)
    link = FetchLink(tmp_path, CacheConfig(tmp_path, 1), keeper, SecretStore(tmp_path), log)
    assert link.tick() == [], "nothing is wanted"
    link.order(HoldOrder((DataToHold("0" * 64, "digits", 1, 1, store="/srv"),)))
    seen: list[CacheSeen] = []
    while not seen:
        now_s += 1.0
        seen = link.tick()
    assert (starts.count, now_s) == (MOST_STARTS + 1, 1_030.0)
    assert "does not start" in seen[0].report.error
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("fetch.sock")
        listener.listen()
        now_s += 1.0
        assert link.tick() == []
        server, _ = listener.accept()
        with server:
            assert b'"digits"' in server.recv(4096)
            server.sendall(b'{"x": ' + b"[" * 5_000 + b"\n")
            assert link.reports() == [], "it is no report"
            server.sendall(msgspec.json.encode(CacheReport((), 0, 0, "no cache at /x")) + b"\n")
        assert [one.report.error for one in link.reports()] == ["no cache at /x"]
        assert link.fileno() is None
