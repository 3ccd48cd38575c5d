"""A job whose goal is efficiency leaves what it does not need to others."""

import msgspec

from support.core.harness import Harness
from support.core.preempting import work
from support.core.sites import job, site
from wattline_protocol.ids import JobId
from wattline_protocol.job.selection import only
from wattline_protocol.wire.client_messages import Update
from wattline_scheduler.power.demand.energy_goal import BEGIN_S, EVERY_S

W = 1000


def caps_w(h: Harness, number: JobId) -> set[int]:
    return {
        h.agent(a.node).caps_mw[index] // W for a in h.gang(number).live for index in a.record.gpus
    }


def test_its_watts_go_to_another_job_once_it_has_begun() -> None:
    h = Harness(site().rack("a", 2).site_budget(11.0).build())
    h.join()
    for agent in h.agents.values():
        agent.wants_mw = 690 * W
    h.run(2)
    efficient = h.submit(job("efficient").gpus(8).goal("efficiency"))
    other = h.submit(job("other").gpus(8))
    h.run(20)
    assert min(caps_w(h, efficient)) > 480, "it is measured without the cap of its goal"
    before_w = max(caps_w(h, other))
    work(h, efficient, BEGIN_S)
    h.run(20)
    assert max(caps_w(h, efficient)) < 480
    assert min(caps_w(h, other)) > before_w
    work(h, efficient, EVERY_S)
    h.run(20)
    assert min(caps_w(h, efficient)) > 480, "it is measured again"
    work(h, efficient, 1.5 * EVERY_S)
    h.run(20)
    assert max(caps_w(h, efficient)) < 480
    h.do(Update(only(efficient), {"goal": "throughput"}))
    h.run(20)
    assert min(caps_w(h, efficient)) > 480


def test_gpus_that_draw_nothing_and_have_no_least_cap_end_nothing() -> None:
    h = Harness(site().rack("a", 2).site_budget(11.0).build())
    for agent, most_mw in zip(h.agents.values(), (0, 1), strict=True):
        zero = {"cap_min_mw": 0, "idle_mw": 0, "cap_default_mw": most_mw, "cap_max_mw": most_mw}
        agent.gpus = [msgspec.structs.replace(gpu, **zero) for gpu in agent.gpus]
        agent.wants_mw = 0
    h.join()
    h.run(2)
    assert (len(h.node("a1").gpus), len(h.node("a2").gpus)) == (0, 8), "its Hello is refused"
    efficient = h.submit(job("efficient").gpus(8).goal("efficiency"))
    h.run(10)
    work(h, efficient, BEGIN_S)
    h.run(20)
    assert h.state_of(efficient) == "RUNNING"
