"""What the node screen says of one host: facts, figures of its host, charts, processes."""

import time

import msgspec

from support.core.site_views import NOON, busy_site, lost
from support.programs.feeds import PlayedFeed
from support.programs.screens import pressed, screen_text, settled
from wattline_protocol.ids import GpuIndex, JobId
from wattline_protocol.wire.mig import MigView
from wattline_protocol.wire.nodes.gpu_cordon import GpuCordon
from wattline_tui.app import TopApp
from wattline_tui.listing.drawn import Drawn
from wattline_tui.listing.gpus import GpuRow, gpu_table
from wattline_tui.messages import SiteArrived
from wattline_tui.screens.node import facts_of


def test_labels_stand_beside_the_rack() -> None:
    node = busy_site().nodes[0]
    plain = facts_of(node, 0.0).splitlines()[0]
    assert "rack r1 · heard" in plain
    labelled = msgspec.structs.replace(node, labels={"fabric": "ib", "disk": "nvme"})
    assert "rack r1 · disk=nvme, fabric=ib · heard" in facts_of(labelled, 0.0)


def test_a_divided_gpu_names_its_devices_and_who_has_them() -> None:
    gpu = busy_site().nodes[0].gpus[0]
    devices = (MigView("MIG-1", "3g.40gb", 1, JobId(17)), MigView("MIG-2", "1g.10gb", 1, None))
    assert msgspec.structs.replace(gpu, mig=devices).jobs == "3g.40gb 17, 1g.10gb –"


def test_a_cordoned_gpu_says_so_before_what_limits_it() -> None:
    gpu = msgspec.structs.replace(busy_site().nodes[0].gpus[0], is_cordoned=True)
    assert gpu_table(NOON).column("limited").cell(GpuRow(gpu)) == "cordoned · power cap"


def test_a_lost_gpu_has_no_readings() -> None:
    row = GpuRow(lost(busy_site().nodes[0].gpus[0]))
    names = ("draw", "cap", "temp", "margin", "util", "mhz")
    assert {gpu_table(NOON).column(name).cell(row) for name in names} == {"–"}
    memory, limited = gpu_table(NOON).column("memory"), gpu_table(NOON).column("limited")
    assert isinstance(memory, Drawn)
    assert (memory.draw(row, 20), limited.cell(row)) == ("–", "lost")


async def test_host_charts_and_processes_are_on_a_small_screen() -> None:
    app = TopApp(PlayedFeed(busy_site()))
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await pressed(pilot, ["2", "enter"])
        shown = screen_text(app)
        for text in ("31 % of 128", "ib0", "╵-15m", "╵now", "process 4711: 1.0#1 resnet"):
            assert text in shown
        assert "GPU 0 " in shown, "the chart is that of the GPU under the cursor"
        await pressed(pilot, ["down", "down"])
        assert "GPU 2 " in screen_text(app)


async def test_gpus_that_a_picture_omits_come_with_the_details() -> None:
    """As on a site of more than `MAX_GPUS_SHOWN`; the scheduler is of an earlier release."""
    site = busy_site()
    bare = tuple(msgspec.structs.replace(one, gpus=()) for one in site.nodes)
    feed = PlayedFeed(site)
    feed.host = None
    app = TopApp(feed)
    async with app.run_test(size=(120, 40)) as pilot:
        await settled(pilot)
        await pressed(pilot, ["2", "enter"])
        feed_site = msgspec.structs.replace(site, nodes=bare)
        app.post_message(SiteArrived(feed_site, time.monotonic()))
        await settled(pilot)
        for text in ("power cap", "host not reported", "1.0#1 resnet-ablation"):
            assert text in screen_text(app)


def test_the_facts_say_who_cordoned_a_gpu_and_why() -> None:
    node = busy_site().nodes[0]
    cordon = GpuCordon("GPU-3", GpuIndex(3), "XID 79 twice", "olga", NOON)
    gone = msgspec.structs.replace(cordon, is_absent=True)
    facts = facts_of(msgspec.structs.replace(node, cordons=(cordon, gone)), NOON).splitlines()
    assert facts[-2].startswith("! cordoned: GPU 3 by olga since ")
    assert facts[-2].endswith(": XID 79 twice")
    assert "GPU GPU-3, not listed, by olga" in facts[-1]


def test_a_margin_is_marked_once_it_is_small() -> None:
    gpu = busy_site().nodes[0].gpus[0]
    table = gpu_table(NOON)
    column = table.column("margin")
    cells = []
    for temp_c, limit_c in ((60, 87), (84, 87), (90, 87), (60, None)):
        row = GpuRow(msgspec.structs.replace(gpu, temp_c=temp_c, temp_limit_c=limit_c))
        cells.append((column.cell(row), column.is_alarm is not None and column.is_alarm(row)))
    assert cells == [("27 °C", False), ("3 °C", True), ("-3 °C", True), ("–", False)]


def test_locked_clocks_show_their_ceiling() -> None:
    gpu = msgspec.structs.replace(busy_site().nodes[0].gpus[0], locked_mhz=1_500)
    assert gpu_table(NOON).column("mhz").cell(GpuRow(gpu)) == f"{gpu.sm_clock_mhz} ≤ 1500"
