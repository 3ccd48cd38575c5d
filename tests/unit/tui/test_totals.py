"""Totals of lists, and what the terminal knows of jobs besides their views."""

import msgspec

from support.core.site_views import NOON, busy_site, troubled_site
from support.programs.time_zone import local_time
from wattline_protocol.ids import JobId, UnixTime
from wattline_protocol.views.queue_views import QueuedView
from wattline_tui.listing.jobs import beside, jobs_of_terminal
from wattline_tui.listing.places import targets
from wattline_tui.listing.totals import job_totals, node_totals
from wattline_tui.model import View
from wattline_tui.render.blocks import filled


def test_nodes_are_counted_by_use() -> None:
    assert (
        node_totals(troubled_site().nodes)
        == "2 in use, 1 draining, 1 lost · free GPUs: 2 H100 · 19.2 kW"
    )
    assert node_totals(()) == "free GPUs: none · 0 W"


def test_jobs_are_counted_by_state() -> None:
    assert job_totals(busy_site().jobs) == "2 running · 1 waiting · 1 ended"


def test_watts_are_of_gpus_that_a_job_has_alone_and_starts_of_the_queue() -> None:
    site = busy_site()
    shared = msgspec.structs.replace(site.nodes[1].gpus[0], others=(JobId(2),))
    node = msgspec.structs.replace(site.nodes[1], gpus=(shared,))
    queue = (QueuedView(JobId(3), UnixTime(NOON + 90)), QueuedView(JobId(2), None))
    site = msgspec.structs.replace(site, nodes=(site.nodes[0], node), queue=queue)
    table = jobs_of_terminal(NOON, beside(site))
    with local_time("UTC"):
        cells = {
            one.id: [table.column(name).cell(one) for name in ("watts", "starts")]
            for one in site.jobs
        }
    assert cells == {1: ["3.4 kW", "-"], 2: ["-", "-"], 3: ["-", "~20:28:10"], 4: ["-", "-"]}


def test_users_and_services_can_be_gone_to_though_they_have_no_row() -> None:
    site = busy_site()
    job = msgspec.structs.replace(site.jobs[0], kind="service", owner="a b*")
    found = targets(View(msgspec.structs.replace(site, jobs=(job,))))
    assert [(one.kind, one.key) for one in found if one.kind in ("where", "service")] == [
        ("service", "resnet-ablation"),
        ("where", r"user='a b\*'"),
    ]


def test_a_bar_is_full_only_where_all_is_used() -> None:
    assert [filled(part, 4) for part in (0.0, 0.5, 1.0, 2.0)] == ["    ", "██  ", "████", "████"]
    assert filled(0.5, 0) == ""
