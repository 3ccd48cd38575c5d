"""What is said of a host apart from its GPUs, and of one that does not say it."""

import msgspec

from wattline_protocol.views.host_view import HostView
from wattline_protocol.wire.agents.host_load import HostLoad, LinkLoad

LINK = LinkLoad("ib0", received_bytes_s=2.25e9, sent_bytes_s=30e3, speed_bytes_s=25e9)
LOAD = HostLoad(disk_bytes=4 << 40, disk_used_bytes=3 << 40, disk_busy=0.12, link=LINK)
HOST = HostView(128, 41.4, 2 << 40, 812 << 30, LOAD)


def test_figures_stand_beside_what_there_is() -> None:
    assert HOST.cpu_text == "41 % of 128"
    assert HOST.memory_text == "812 GiB of 2 TiB"
    assert HOST.disk_text == "75 % of 4 TiB, busy 12 %"
    assert HOST.link_text == "ib0 18 Gb/s in, 240 kb/s out, of 200 Gb/s"
    assert (HOST.disk_share, HOST.link_share) == (0.75, 0.09)


def test_of_an_earlier_release_processors_and_memory_are_known() -> None:
    old = msgspec.structs.replace(HOST, load=None)
    assert (old.cpu_text, old.memory_text) == (HOST.cpu_text, HOST.memory_text)
    assert (old.disk_text, old.disk_share, old.link_text, old.link_share) == ("", None, "", None)


def test_what_is_not_measured_is_not_said() -> None:
    slow = msgspec.structs.replace(LINK, speed_bytes_s=None)
    shown = msgspec.structs.replace(HOST, load=HostLoad(link=slow))
    assert (shown.disk_text, shown.disk_share) == ("", None)
    assert (shown.link_text, shown.link_share) == ("ib0 18 Gb/s in, 240 kb/s out", None)
    assert msgspec.structs.replace(HOST, memory_bytes=0).memory_share is None
