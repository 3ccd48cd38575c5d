"""Cluster, agents and a room in a closed loop: inlets stay below their limit, work goes on."""

from collections.abc import Callable

import pytest

from support.core.harness import Harness
from support.core.rooms import Room
from support.core.sites import job, site
from wattline_protocol.ids import DomainId
from wattline_protocol.site.sensing import CommandSource, Sensor
from wattline_protocol.wire.agent_messages import PauseTask
from wattline_scheduler.core.model.events import TimePassed, ZoneSensed

ROOM = DomainId("room")
LIMIT_C = 27.0
FULL_MW = 22_500_000
"""Three units of 7.5 kW."""


class Hall:
    """Three full nodes in one room, second by second."""

    def __init__(self, **keys: object) -> None:
        plant = {"units": 3, "unit_mw": 7_500_000, "inlet_limit_c": LIMIT_C, **keys}
        built = site().rack("a", 3, kw=40.0).zone_budget(FULL_MW / 1e6).cooled(**plant).build()
        self.h = Harness(built)
        self.h.join()
        self.h.run(2)
        self.room = Room(3.0, sensor_lag_s=20.0, noise_c=0.03)
        self.inlets_c: list[float] = []
        self.budgets_mw: list[int] = []

    def heat(self) -> float:
        """Permille of the zone's budget that the nodes draw under their caps."""
        return sum(agent.holding_mw() for agent in self.h.agents.values()) * 1000 / FULL_MW

    def run(self, seconds: int, units: Callable[[], float], sensed: int | None = None) -> None:
        """`units` run in truth, permille of all; `sensed` of them are reported, if any is."""
        h = self.h
        for second in range(seconds):
            told_c = self.room.step(self.heat(), units())
            if sensed is not None and second % 5 == 0:
                h.handle(ZoneSensed(ROOM, sensed, None))
            for agent in h.agents.values():
                agent.say_beat(inlet_c=told_c)
            for _ in range(4):
                h.mono_s += 0.25
                h.handle(TimePassed())
                h.settle()
            self.inlets_c.append(self.room.inlet_c)
            self.budgets_mw.append(h.cluster.state.domains.budget_mw(ROOM))

    def paused(self) -> int:
        return sum(len(self.h.sent_to(node, PauseTask)) for node in self.h.agents)


@pytest.fixture
def hall() -> Hall:
    made = Hall()
    for _ in range(3):
        made.h.submit(job().gpus(8))
    made.run(60, lambda: 1000.0)
    return made


def test_a_unit_that_fails_unannounced(hall: Hall) -> None:
    before_mw = hall.budgets_mw[-1]
    hall.run(1500, lambda: 667.0)
    assert max(hall.inlets_c) < LIMIT_C
    assert FULL_MW * 0.6 < hall.budgets_mw[-1] < FULL_MW * 0.75
    assert hall.budgets_mw[-1] < before_mw
    assert hall.paused() == 0
    assert not hall.h.events("over_budget"), "leases follow the ramp ahead of it"
    assert len(hall.h.events("inlets_warm")) == 1
    low_mw = hall.budgets_mw[-1]
    hall.run(400, lambda: 1000.0)
    assert low_mw < hall.budgets_mw[-1] <= low_mw + FULL_MW * 0.41


def test_a_unit_that_fails_and_says_so_warms_nobody() -> None:
    hall = Hall(units_sensor=Sensor(CommandSource(("units",))))
    for _ in range(3):
        hall.h.submit(job().gpus(8))
    hall.run(60, lambda: 1000.0, sensed=3)
    hall.run(600, lambda: 667.0, sensed=2)
    assert max(hall.inlets_c) < LIMIT_C - 0.5
    assert hall.budgets_mw[-1] == 15_000_000
    assert hall.paused() == 0
    assert len(hall.h.events("cooling_units")) == 1


def test_inlets_that_nobody_tells_any_more(hall: Hall) -> None:
    for _ in range(100):
        hall.h.run(1)
    assert hall.h.cluster.state.domains.budget_mw(ROOM) < FULL_MW
    assert len(hall.h.events("inlets_unseen")) == 1
    hall.run(10, lambda: 1000.0)
    assert not hall.h.cluster.state.zones[ROOM].inlets.is_blind  # type: ignore[union-attr]  # it has a limit


def test_far_too_warm_work_is_paused_lowest_priority_first(hall: Hall) -> None:
    hall.room.coil_per_c = 0.0
    hall.run(2000, lambda: 260.0)  # less than floors take, more than idle nodes do
    assert hall.paused() > 0
    assert hall.h.events("inlets_over")
    assert max(hall.inlets_c) < LIMIT_C + 9
    assert max(hall.inlets_c[-60:]) < max(hall.inlets_c) - 0.1


def test_a_restart_in_the_middle_lets_nothing_rise(hall: Hall) -> None:
    hall.run(600, lambda: 667.0)
    before_mw = hall.budgets_mw[-1]
    hall.h.restart_scheduler()
    hall.h.join()
    assert before_mw * 0.98 <= hall.h.cluster.state.domains.budget_mw(ROOM) <= before_mw
    hall.run(20, lambda: 667.0)
    assert max(hall.budgets_mw[-20:]) < before_mw * 1.02
    hall.run(300, lambda: 667.0)
    assert max(hall.inlets_c) < LIMIT_C


def test_a_zone_that_overbooks_books_what_is_not_drawn_while_its_inlets_are_cool() -> None:
    hall = Hall(overbook_permille=1_300)
    hall.run(5, units=lambda: 1000.0, sensed=3)
    assert hall.budgets_mw[-1] == pytest.approx(FULL_MW, rel=0.01)
    hall.run(420, units=lambda: 1000.0, sensed=3)
    assert hall.budgets_mw[-1] == FULL_MW * 13 // 10
    assert not hall.h.events("inlets_warm")
    hall.run(10, units=lambda: 667.0, sensed=2)
    assert hall.budgets_mw[-1] == pytest.approx(15_000_000, rel=0.03), "what two units remove"


def test_where_more_is_drawn_than_the_cooling_removes_inlets_take_back_what_was_overbooked() -> (
    None
):
    hall = Hall(overbook_permille=1_300)
    hall.run(420, units=lambda: 700.0, sensed=3)
    for _ in range(3):
        hall.h.submit(job().gpus(8))
    hall.run(700, units=lambda: 700.0, sensed=3)
    assert max(hall.inlets_c) < LIMIT_C
    assert 600 < hall.budgets_mw[-1] * 1000 / FULL_MW < 800
