"""Random walks of the core with meters and plant that say anything: I1 holds, sense comes back."""

import math

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.core.harness import Harness
from support.core.sites import job, site
from wattline_protocol.ids import DomainId
from wattline_protocol.site.sensing import CommandSource, OutsidePoint, Sensor
from wattline_protocol.wire.client_messages import SetUnits
from wattline_scheduler.core.leases.measured_draw import all_draws
from wattline_scheduler.core.leases.meter_control import modelled_load
from wattline_scheduler.core.model.events import DomainMetered, ZoneSensed

PDU, ROOM = DomainId("pdu-a"), DomainId("room")
SENSED = Sensor(CommandSource(("read",)))
UNITS, UNIT_MW = 3, 9_000_000
NODES = 2

WATTS = st.none() | st.sampled_from([-1, 0, 1, 3_000_000, 1 << 62]) | st.integers(0, 60_000_000)
COUNTS = st.none() | st.integers(-1, 5) | st.just(1 << 40)
DEGREES = st.none() | st.sampled_from([math.nan, math.inf, -400.0]) | st.floats(-20, 55)
INLETS = st.none() | st.sampled_from([math.nan, -60.0, 127.0]) | st.floats(15, 45)

STEPS = st.one_of(
    st.tuples(st.just("meter"), WATTS),
    st.tuples(st.just("zone"), st.tuples(COUNTS, DEGREES)),
    st.tuples(st.just("units"), st.integers(0, UNITS)),
    st.tuples(st.just("inlet"), INLETS),
    st.tuples(st.just("submit"), st.integers(1, 8)),
    st.tuples(st.just("run"), st.integers(1, 20)),
    st.tuples(st.just("restart"), st.none()),
)


class Walk:
    """A site whose agents are honest and whose sensors are not."""

    def __init__(self) -> None:
        built = site().rack("a", NODES, kw=24.0).zone_budget(UNITS * UNIT_MW / 1e6).metered("a")
        built = built.cooled(
            units=UNITS,
            unit_mw=UNIT_MW,
            inlet_limit_c=27.0,
            units_sensor=SENSED,
            outside_sensor=SENSED,
            capacity_at=(OutsidePoint(35.0, 1000), OutsidePoint(45.0, 700)),
        )
        self.h = Harness(built.build())
        self.inlet_c: float | None = 24.0
        self.h.join()

    def run(self, seconds: int) -> None:
        h = self.h
        for _ in range(seconds):
            for agent in h.agents.values():
                agent.say_beat(inlet_c=self.inlet_c)
            for _ in range(2):
                h.mono_s += 0.4
                h.tick()
            self.check()

    def check(self) -> None:
        """Invariants are checked after every event by the harness; these are of this part."""
        domains = self.h.cluster.state.domains
        for name, domain in domains.by_id.items():
            assert domains.budget_mw(name) <= domain.budget_mw
            assert 0 <= domains.extra_mw(name) <= domain.rating_mw

    def take(self, kind: str, value: object) -> None:
        h = self.h
        match kind, value:
            case "meter", int() | None as wall_mw:
                h.handle(DomainMetered(PDU, wall_mw, "" if wall_mw is not None else "gone"))
            case "zone", (int() | None as units, float() | None as outside_c):
                h.handle(ZoneSensed(ROOM, units, outside_c))
            case "units", int() as units:
                h.ask(SetUnits(ROOM, units))
            case "inlet", float() | None as inlet_c:
                self.inlet_c = inlet_c
            case "submit", int() as gpus:
                h.submit(job().gpus(gpus))
            case "run", int() as seconds:
                self.run(seconds)
            case _:
                h.restart_scheduler()
                h.join()
        h.settle()
        self.check()

    def heal(self, seconds: int) -> None:
        """Sensors that tell the truth, for a while."""
        self.inlet_c = 24.0
        self.h.ask(SetUnits(ROOM, UNITS))
        for _ in range(seconds // 5):
            state = self.h.cluster.state
            drawn_mw = modelled_load(state, state.meters[PDU], all_draws(state)).drawn_mw
            # A digit that flickers, as of any real meter.
            self.h.handle(DomainMetered(PDU, drawn_mw + int(self.h.mono_s) % 7))
            self.h.handle(ZoneSensed(ROOM, UNITS, 20.0))
            self.run(5)


@settings(
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.lists(STEPS, min_size=5, max_size=30))
def test_sensors_that_say_anything(steps: list[tuple[str, object]]) -> None:
    walk = Walk()
    for kind, value in steps:
        walk.take(kind, value)
    walk.heal(60)
    state = walk.h.cluster.state
    assert state.meters[PDU].trust == "ok"
    assert not state.zones[ROOM].problems


def test_everything_is_given_back_in_the_end() -> None:
    walk = Walk()
    walk.heal(20)
    for kind, value in (
        ("meter", 15_000_000),
        ("meter", 15_000_000),
        ("zone", (1, 44.0)),
        ("inlet", 33.0),
        ("run", 60),
        ("restart", None),
    ):
        walk.take(kind, value)
    state = walk.h.cluster.state
    assert state.domains.extra_mw(PDU) > 1_000_000
    assert state.domains.budget_mw(ROOM) < UNIT_MW
    walk.heal(3600)
    state = walk.h.cluster.state
    assert state.domains.extra_mw(PDU) == 0
    assert state.domains.budget_mw(ROOM) == UNITS * UNIT_MW
