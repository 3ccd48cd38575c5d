"""What a node claims denies no job of others, and moves no time out of the accounts."""

from typing import Any

import pytest

from support.core.harness import Harness
from support.core.sites import NAMEPLATE_MW, gpu, job, site
from wattline_protocol.ids import NodeId, UnixTime
from wattline_protocol.job.spec import JobSpec, Resources
from wattline_protocol.wire.agent_messages import GpuInfo, TaskExit, TaskReport, TaskUpdate
from wattline_protocol.wire.client_messages import Submit, Submitted

LIAR, OTHER = "a1", "a2"
BOTH_KW = 21.0
"""Both nodes at their nameplates, and nothing beside."""


def gpus(
    *, count: int = 8, idle_mw: int = 80_000, cap_max_mw: int = 700_000, **more: object
) -> list[GpuInfo]:
    cap: dict[str, Any] = {
        "cap_min_mw": min(200_000, cap_max_mw),
        "cap_default_mw": cap_max_mw,
        **more,
    }
    return [gpu(i, idle_mw=idle_mw, cap_max_mw=cap_max_mw, **cap) for i in range(count)]


def with_work(kw: float = BOTH_KW) -> Harness:
    """The other node works at full; the liar has said nothing yet."""
    h = Harness(site().rack("a", 2, kw=kw).build())
    h.join(OTHER)
    h.run(2)
    h.submit(job("work").gpus(8))
    h.run(2)
    return h


def assert_denies_nothing(h: Harness) -> None:
    (work, *_) = h.cluster.state.work.jobs.values()
    assert work.gangs[0].phase_name == "running"
    for wanted in (1, 8):
        spec = JobSpec("small", ("true",), resources=Resources(gpus_per_node=wanted))
        h.mono_s += 0.001  # another token
        answer = h.ask(Submit(spec, f"{h.mono_s}-{wanted}"), user="bob", role="submitter")
        assert isinstance(answer, Submitted), answer


LIES = {
    "idle": gpus(idle_mw=NAMEPLATE_MW, cap_max_mw=NAMEPLATE_MW),
    "idle together": gpus(idle_mw=NAMEPLATE_MW // 8, cap_max_mw=NAMEPLATE_MW // 8),
    "cap_min": gpus(cap_min_mw=NAMEPLATE_MW // 4, cap_max_mw=NAMEPLATE_MW // 4),
    "cap_max": gpus(cap_max_mw=NAMEPLATE_MW // 4),
    "raised": gpus(cap_max_mw=NAMEPLATE_MW // 4, raised=True),
    "not managed": gpus(cap_max_mw=NAMEPLATE_MW // 4, managed=False),
    "not cappable": gpus(cap_max_mw=NAMEPLATE_MW // 4, can_cap=False),
    "far above": gpus(cap_max_mw=10**10, managed=False),
    "very many": gpus(count=1_024),
}


@pytest.mark.parametrize("lie", LIES)
def test_gpus_that_cannot_be_deny_no_job_of_others(lie: str) -> None:
    h = with_work()
    agent = h.agent(LIAR)
    agent.gpus = LIES[lie]
    h.say(LIAR, agent.hello())
    agent.said.clear()
    assert_denies_nothing(h)
    h.run(4)
    assert_denies_nothing(h)


# --- times --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reported", "booked"), [(1.0, "placed"), (7e9, "now"), (0.0, "now"), (None, "now")]
)
def test_times_that_an_agent_tells_lie_between_placing_and_now(
    reported: float | None, booked: str
) -> None:
    h = Harness(site().rack("a", 1).build())
    h.join()
    number = h.submit(job().gpus(1))
    h.run(3)
    (attempt,) = h.gang(number).live
    record = attempt.record
    at = record.started_unix_s
    assert at is not None
    assert at == record.placed_unix_s, "the fake says 1970"
    unix_s = h.now.unix_s if reported is None else UnixTime(reported)
    agent = h.agent(LIAR)
    ended = TaskReport(
        record.ref, "ended", record.gpus, exit=TaskExit("exited", code=0, ended_unix_s=unix_s)
    )
    h.say(LIAR, TaskUpdate(agent.epoch, agent.incarnation, ended))
    past = h.gang(number).past[-1].record
    assert past.ended_unix_s == (at if booked == "placed" else h.now.unix_s)
    assert h.cluster.state.books.entry(NodeId(LIAR)).standing == "leased"
