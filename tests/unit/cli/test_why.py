"""`power why`: sentences over what the scheduler's core really says."""

import io

from rich.console import Console

from support.core.harness import Harness, joined
from support.core.sites import job, site
from support.programs.time_zone import local_time
from wattline.acts.power import NodeWhy
from wattline.show.why import lines, why
from wattline_protocol.ids import JobId
from wattline_protocol.wire.client_messages import Shed
from wattline_scheduler.views.domains_view import domain_views
from wattline_scheduler.views.why_view import why_view


def two_jobs() -> tuple[Harness, JobId, JobId]:
    """A whole node at low and one at high priority, under a shed."""
    h = joined(site().rack("a", 2, kw=15.0).build())
    low = h.submit(job("low").gpus(8).priority(25))
    high = h.submit(job("high").gpus(8).priority(75))
    h.run(10)
    h.do(Shed(None, by_mw=986_500_000, reason="test"))
    h.run(5)
    return h, low, high


def asked(h: Harness, name: str) -> NodeWhy:
    view = why_view(h.cluster.state, h.node(name))
    domains = domain_views(h.cluster.state, h.now)
    return NodeWhy(view, next((d for d in domains if d.id == view.binding), None))


def said(h: Harness, name: str) -> str:
    with local_time("UTC"):
        return "\n".join(lines(asked(h, name), h.now.unix_s))


def test_a_node_that_is_bound_is_told_by_what_and_behind_whom() -> None:
    h, low, high = two_jobs()
    name = h.gang(low).live[0].node
    text = said(h, name)
    assert f"{name} has a lease of " in text
    assert "its tasks request " in text
    assert "site limits it since 22:13:32 (5s)" in text
    assert (
        "The budget of site is 13.5 kW of 1 MW:\n  shed to 13.5 kW until restored, by ops" in text
    )
    assert f"Served before it in site: 8 GPUs of priority 75 (job {high}) have " in text
    assert f"Served beside it in site: 8 GPUs of priority 25 (job {low}) have " in text
    assert "8 below their demand" in text


def test_a_node_that_nothing_binds_says_so() -> None:
    h, _, high = two_jobs()
    text = said(h, h.gang(high).live[0].node)
    assert "No domain limits it: its demand is covered" in text
    assert "Served" not in text


def test_a_node_whose_lease_cannot_be_set_says_why() -> None:
    h = Harness(site().rack("a", 1).build())
    text = said(h, "a1")
    assert text.startswith("a1 has a lease of 10.2 kW.\nNo domain limits it: ")


def test_the_table_has_a_line_for_every_busy_gpu() -> None:
    h, low, _ = two_jobs()
    console = Console(file=io.StringIO(), width=120, color_system=None)
    with console.capture() as captured:
        console.print(why(asked(h, h.gang(low).live[0].node)))
    text = captured.get()
    header, *rows = text.split("\n\n")[1].splitlines()
    assert header.split() == [
        "GPU",
        "JOB",
        "PRIORITY",
        "MINIMUM",
        "USEFUL",
        "CAP",
        "DEMAND",
        "GRANTED",
        "BOUND",
        "BY",
    ]
    assert len(rows) == 8
    assert all(row.rstrip().endswith("site") for row in rows)
