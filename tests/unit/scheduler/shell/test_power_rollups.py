"""Seconds add up to steps: energy from what is heard, peaks without what was never heard."""

import pytest

from support.core.harness import Harness
from support.core.sites import NAMEPLATE_MW, site
from wattline_protocol.ids import DomainId, Incarnation, Instant, NodeId, Now, UnixTime
from wattline_protocol.wire.agent_messages import Rollup, Rollups
from wattline_scheduler.shell.power_rollups import (
    GAP_MAX_S,
    SPOOLED_AT_ONCE,
    SPOOLED_PER_S,
    PowerRollups,
    SpooledRollups,
    Step,
)
from wattline_scheduler.store.rollups import (
    DOMAIN_STEP_S,
    SPOOL_AHEAD_S,
    DomainRollup,
    NodeRollup,
)

T0 = 1_700_000_000.0


class Metered:
    """A harness read by a meter once a second."""

    def __init__(self) -> None:
        self.h = Harness(site().rack("a", 2).build())
        self.meter = PowerRollups(self.h.cluster.state)
        self.done: list[Step] = []

    def seconds(self, count: int) -> None:
        for _ in range(count):
            self.h.run(1.0)
            self.done += self.meter.read(self.h.now)

    def domain(self, name: str) -> list[DomainRollup]:
        steps = [*self.done, *self.meter.peek()]
        return [s for s in steps if isinstance(s, DomainRollup) and s.domain == DomainId(name)]

    def node(self, name: str) -> list[NodeRollup]:
        steps = [*self.done, *self.meter.peek()]
        return [s for s in steps if isinstance(s, NodeRollup) and s.node == NodeId(name)]


def test_energy_is_draw_times_time() -> None:
    m = Metered()
    m.h.join()
    m.seconds(31)
    steps = m.node("a1")
    idle_mw = (1_000_000 + 8 * 80_000) * 1000 / 950
    assert sum(s.seconds for s in steps) == pytest.approx(m.h.mono_s - 1_001.05, abs=0.5)
    assert sum(s.node_energy_mj for s in steps) == pytest.approx(
        idle_mw * sum(s.seconds for s in steps), rel=0.001
    )
    assert sum(s.gpu_energy_mj for s in steps) == pytest.approx(
        640_000 * sum(s.seconds for s in steps), rel=0.001
    )
    assert len(steps) == 4
    assert all(s.start_unix_s % DOMAIN_STEP_S == 0 for s in steps)


def test_a_step_is_given_out_when_the_next_begins() -> None:
    m = Metered()
    m.h.join()
    m.seconds(21)
    starts = [s.start_unix_s for s in m.done if isinstance(s, DomainRollup) and s.domain == "site"]
    assert starts == sorted(set(starts))
    assert len(starts) == 2


def test_a_node_never_heard_is_no_peak_and_no_energy() -> None:
    m = Metered()
    m.h.join("a1")
    m.seconds(3)
    assert m.node("a2") == []
    (step,) = m.domain("pdu-a")
    assert step.committed_max_mw - step.leased_max_mw == NAMEPLATE_MW
    assert step.measured_max_mw < NAMEPLATE_MW


def test_a_silent_node_counts_with_its_lease_but_its_energy_is_its_own_affair() -> None:
    m = Metered()
    m.h.join()
    m.seconds(3)
    heard_s = sum(s.seconds for s in m.meter.peek() if isinstance(s, NodeRollup))
    m.h.cut_off.update(m.h.agents)
    m.seconds(20)
    silent = m.domain("pdu-a")[-1]
    assert silent.measured_max_mw == m.h.cluster.state.books.committed_in(DomainId("pdu-a"))
    seconds = sum(s.seconds for s in [*m.node("a1"), *m.node("a2")])
    assert seconds <= heard_s + 2 * 4.0


def test_a_standstill_is_not_made_up() -> None:
    m = Metered()
    m.h.join()
    m.seconds(1)
    m.h.mono_s += 1_000.0
    m.h.run(1.0)
    m.meter.read(m.h.now)
    (step,) = m.domain("site")[-1:]
    assert step.seconds <= GAP_MAX_S


def test_cap_bound_time_counts_once_a_beat() -> None:
    m = Metered()
    m.h.join("a1")
    samples = m.h.agent("a1").beat().gpus
    bound = tuple(type(s)(s.index, s.power_mw, s.cap_mw, cap_bound_ms=250) for s in samples)
    m.h.say("a1", m.h.agent("a1").beat(gpus=bound))
    m.meter.read(m.h.now)
    m.h.mono_s += 1.0
    m.meter.read(m.h.now)
    (step,) = m.node("a1")
    assert step.cap_bound_gpu_ms == 8 * 250


def spooled(*starts: float) -> Rollups:
    items = tuple(Rollup(UnixTime(at), 60.0, 9_000, (1, 2, 3), 500, 7) for at in starts)
    return Rollups(Incarnation(1), 1, items)


def at(mono_s: float) -> Now:
    return Now(Instant(mono_s), UnixTime(T0 + mono_s))


def test_spooled_minutes_become_steps_of_their_own() -> None:
    steps = SpooledRollups().steps(NodeId("a1"), spooled(60.0), at(0.0))
    assert steps == [NodeRollup(NodeId("a1"), UnixTime(60.0), "spool", 60.0, 9_000, 6, 500, 7)]


def test_spooled_minutes_of_the_future_are_not_stored() -> None:
    ahead = spooled(T0, T0 + SPOOL_AHEAD_S, T0 + SPOOL_AHEAD_S + 1.0, 2 * T0)
    steps = SpooledRollups().steps(NodeId("a1"), ahead, at(0.0))
    assert steps is not None
    assert [step.start_unix_s for step in steps] == [T0, T0 + SPOOL_AHEAD_S]


def test_a_node_may_send_a_full_spool_at_once_and_then_as_many_as_its_beats_make() -> None:
    intake, batch = SpooledRollups(), spooled(*(T0 - 60.0 * n for n in range(60)))
    sent = [intake.steps(NodeId("a1"), batch, at(0.0)) for _ in range(400)]
    stored = sum(len(steps) for steps in sent if steps is not None)
    assert 10_080 <= stored == SPOOLED_AT_ONCE
    assert intake.steps(NodeId("a1"), spooled(), at(0.0)) is None, "an empty one counts too"
    assert intake.steps(NodeId("a2"), batch, at(0.0)) is not None, "no other node is delayed"
    assert intake.steps(NodeId("a1"), batch, at(59.0 / SPOOLED_PER_S)) is None
    assert intake.steps(NodeId("a1"), batch, at(61.0 / SPOOLED_PER_S)) is not None


def test_a_peak_between_two_readings_is_not_missed() -> None:
    m = Metered()
    m.h.join()
    m.seconds(2)
    books, node = m.h.cluster.state.books, NodeId("a1")
    before_mw = books.committed_in(DomainId("pdu-a"))
    held_mw = books.committed_mw(node)
    books.distrust(node)
    m.meter.booked([node])
    books.adopt(node, held_mw)
    m.meter.booked([node])
    m.seconds(1)
    (step,) = m.domain("pdu-a")[-1:]
    assert max(s.leased_max_mw for s in m.domain("pdu-a")) == before_mw - held_mw + NAMEPLATE_MW
    assert step.measured_max_mw <= before_mw
