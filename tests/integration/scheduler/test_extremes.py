"""A stolen key says extremes in every field: the scheduler runs on, and others notice nothing.

A fixed part of all messages each; `wattline bench abuse` says all of them.
"""

import time

import pytest

from support.core.sites import job
from support.programs.live_scheduler import (
    SchedulerProcess,
    SiteDirectory,
    WireAgent,
    WireClient,
    pump_until,
)
from wattline_bench.abuse.fields import by_agent, by_submitter
from wattline_protocol.ids import NodeId
from wattline_protocol.views.site_views import NodeView
from wattline_protocol.wire.client_messages import (
    GetNode,
    GetPower,
    GetSite,
    ListJobs,
    Nodes,
    Power,
    SiteNow,
    Submit,
    Submitted,
)

STEP = 12
"""One of so many messages."""
WITHIN_S = 100.0


def committed(client: WireClient) -> dict[str, float]:
    answer = client.ask(GetPower())
    assert isinstance(answer, Power)
    return {domain.id: domain.committed_w for domain in answer.domains}


def node(client: WireClient, name: str) -> NodeView:
    answer = client.ask(GetNode(NodeId(name)))
    assert isinstance(answer, Nodes)
    return answer.nodes[0]


@pytest.mark.timeout(180)
@pytest.mark.parametrize("member", ["ada", "ops", "gate"])
def test_extremes_of_a_client_end_nothing(
    directory: SiteDirectory, scheduler: SchedulerProcess, member: str
) -> None:
    step = STEP if member == "ada" else 5 * STEP
    with WireClient(directory.bundle("bob")).welcomed() as honest:
        before = committed(honest)
        sent = by_submitter(directory.bundle(member), time.monotonic() + WITHIN_S, step=step)
        assert sent > 500
        after = committed(honest)
        assert isinstance(honest.ask(Submit(job().build(), "honest")), Submitted)
        assert isinstance(honest.ask(GetSite()), SiteNow)
        assert honest.ask(ListJobs()) is not None
    if member != "ops":
        assert after == before
    assert scheduler.process.poll() is None


@pytest.mark.timeout(180)
def test_extremes_of_an_agent_end_nothing_and_change_no_other_node(
    directory: SiteDirectory, scheduler: SchedulerProcess
) -> None:
    with (
        WireClient(directory.bundle("bob")).welcomed() as honest,
        WireAgent(directory.bundle("a2")).join() as healthy,
    ):
        assert isinstance(honest.ask(Submit(job().build(), "work")), Submitted)
        pump_until([healthy], lambda: node(honest, "a2").tasks, "work on the other node")
        sent = by_agent(directory.bundle("a1"), time.monotonic() + WITHIN_S, step=STEP)
        assert sent > 500
        incarnation = healthy.fake.incarnation
        pump_until([healthy], lambda: node(honest, "a2").state == "ok", "the other node is ok")
        assert healthy.fake.incarnation == incarnation
        pump_until([healthy], lambda: node(honest, "a2").tasks, "its work is there")
    assert scheduler.process.poll() is None
