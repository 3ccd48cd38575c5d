"""A beat that changes nothing costs nothing: it is answered, and that is all."""

import msgspec
import pytest

from support.core.harness import Harness
from support.core.sites import job, site
from wattline_protocol.ids import UnixTime
from wattline_protocol.wire.agent_messages import Beat, BeatSeen, TaskReport
from wattline_scheduler.core.model.effects import Effect, Send


def quiet_site(kw: float) -> Harness:
    """Two nodes whose jobs draw the same for long; with few watts their caps bind."""
    h = Harness(site().rack("a", 2, kw=kw).site_budget(kw).build())
    h.join()
    for priority in (25, 75):
        h.submit(job().gpus(8).priority(priority))
    for agent in h.agents.values():
        agent.wants_mw = 600_000
    h.run(90)
    assert all(agent.tasks for agent in h.agents.values())
    return h


def later(report: TaskReport, at: int) -> TaskReport:
    """The same a second later: it has used more, and its agent computes its start anew."""
    usage = msgspec.structs.replace(report.usage, run_s=100.0 + at, gpu_s=800.0 + 8 * at)
    start = UnixTime(1.0 + at * 1e-7)
    return msgspec.structs.replace(report, usage=usage, started_unix_s=start)


def beat_on(h: Harness, beats: int) -> None:
    for at in range(beats):
        for name, agent in h.agents.items():
            tasks = tuple(later(report, at) for report in agent.reports())
            h.say(name, agent.beat(tasks=tasks))
        for _ in range(7):
            h.tick()


def is_answer(effect: Effect) -> bool:
    return isinstance(effect, Send) and isinstance(effect.message, BeatSeen)


@pytest.mark.parametrize("kw", [30.0, 11.0], ids=["plenty", "caps-bind"])
def test_nothing_is_saved_sent_or_divided_for_beats_that_say_the_same(kw: float) -> None:
    h = quiet_site(kw)
    fleet = h.cluster.state.fleet
    bound = [s.cap_bound_ms for agent in h.agents.values() for s in agent.beat().gpus]
    assert any(bound) == (kw < 30)
    divided, loads = fleet.newest, dict(fleet.loads)
    h.effects.clear()
    beat_on(h, 20)
    assert [effect for effect in h.effects if not is_answer(effect)] == []
    assert sum(map(is_answer, h.effects)) == 40
    assert fleet.newest is divided
    assert all(fleet.loads[node] is load for node, load in loads.items())


def test_the_event_of_a_beat_does_nothing_else_either() -> None:
    h = quiet_site(30.0)
    beat: Beat = h.agent("a1").beat()
    effects = h.say("a1", beat)
    assert effects == [Send(h.node("a1").id, BeatSeen(beat.epoch, beat.incarnation, beat.seq))]
    assert not h.cluster.state.wants_rebalance
    assert not h.cluster.wants_plan


def test_a_node_that_asks_for_more_is_a_reason_to_divide_anew() -> None:
    h = quiet_site(30.0)
    divided = h.cluster.state.fleet.newest
    h.agent("a1").wants_mw = 690_000
    beat_on(h, 2)
    assert h.cluster.state.fleet.newest is not divided
