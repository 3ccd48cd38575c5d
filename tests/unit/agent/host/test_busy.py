"""How busy disks and links are."""

import errno

import psutil
import pytest

from wattline_agent.host.busy import Busy, BusyMeter, Counters, busy_between
from wattline_protocol.wire.agents.host_load import LinkLoad

BEFORE = Counters(10.0, {"sda": 0, "sdb": 0, "loop0": 0}, {"eth0": (0, 0), "veth": (0, 0)})


def test_the_busiest_disk_and_link_count() -> None:
    disks = {"sda": 500, "sdb": 1_500, "loop0": 2_000}
    after = Counters(12.0, disks, {"eth0": (10**6, 125 * 10**6), "veth": (10**12, 0)})
    busy = busy_between(BEFORE, after, {"eth0": 1000, "veth": 0})
    link = LinkLoad("eth0", received_bytes_s=62.5e6, sent_bytes_s=0.5e6, speed_bytes_s=125e6)
    assert busy == Busy(disk=0.75, network=0.5, link=link), "a link without a speed is not judged"


def test_where_no_speed_is_known_the_link_that_carries_most_is_reported() -> None:
    after = Counters(12.0, {}, {"eth0": (10**6, 4 * 10**6), "veth": (2 * 10**6, 0)})
    assert busy_between(BEFORE, after, {"veth": -1}).link == LinkLoad("eth0", 2e6, 0.5e6)


def test_of_idle_links_that_which_has_carried_most_is_reported() -> None:
    idle = {"eth0": (10**6, 10**9), "ifb1": (0, 0)}
    busy = busy_between(Counters(1.0, {}, idle), Counters(2.0, {}, idle), {})
    assert busy.link == LinkLoad("eth0", 0.0, 0.0)


def test_a_link_whose_counters_begin_again_carries_nothing() -> None:
    before = Counters(1.0, {}, {"eth0": (10**9, 10**9)})
    after = Counters(2.0, {}, {"eth0": (5, 7)})
    assert busy_between(before, after, {}).link == LinkLoad("eth0", 0.0, 0.0)


def test_what_is_not_there_is_not_measured() -> None:
    assert busy_between(BEFORE, BEFORE, {}) == Busy()
    assert busy_between(BEFORE, Counters(11.0, {}, {}), {"eth0": 1000}) == Busy()
    reset = busy_between(Counters(1.0, {"sda": 9_000}, {}), Counters(2.0, {"sda": 5}, {}), {})
    assert reset == Busy(disk=0.0)


def test_the_first_reading_has_nothing_to_compare_with() -> None:
    meter = BusyMeter()
    assert meter.read(1.0) == Busy()
    second = meter.read(2.0)
    assert all(share is None or 0.0 <= share <= 1.0 for share in (second.disk, second.network))


@pytest.mark.parametrize("name", ["disk_io_counters", "net_io_counters", "net_if_stats"])
@pytest.mark.parametrize("error", [OSError(errno.EIO, "driver"), ValueError("not a line")])
def test_what_the_host_does_not_say_is_not_measured(
    monkeypatch: pytest.MonkeyPatch, name: str, error: Exception
) -> None:
    def fail(**_: object) -> None:
        raise error

    meter = BusyMeter()
    meter.read(1.0)
    monkeypatch.setattr(psutil, name, fail)
    busy = meter.read(2.0)
    assert {"disk_io_counters": busy.disk, "net_io_counters": busy.link}.get(name) is None
    assert name != "net_if_stats" or busy.network is None
