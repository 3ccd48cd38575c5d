"""Meters and cooling plant through the core: what is kept free, what is alarmed, what survives."""

import msgspec
import pytest

from support.core.harness import Harness, joined
from support.core.sites import job, site
from support.programs.fake_agents import FakeAgent
from wattline_protocol.ids import DomainId
from wattline_protocol.site.sensing import CommandSource, OutsidePoint, Plant, Sensor
from wattline_protocol.wire.client_messages import Denied, SetUnits
from wattline_scheduler.core.agents.heartbeat import DOUBTED_BEATS
from wattline_scheduler.core.leases.measured_draw import all_draws
from wattline_scheduler.core.leases.meter_control import modelled_load
from wattline_scheduler.core.model.events import DomainMetered, ZoneSensed

PDU, SITE, ROOM = DomainId("pdu-a"), DomainId("site"), DomainId("room")


def metered(**rules: object) -> Harness:
    return joined(site().rack("a", 2, kw=20.0).metered("a", **rules).build())


def drawn_mw(h: Harness) -> int:
    """What the two nodes draw, as far as the scheduler can tell."""
    state = h.cluster.state
    return modelled_load(state, state.meters[PDU], all_draws(state)).drawn_mw


def meter_for(h: Harness, seconds: int, factor: float = 1.0, plus_mw: int = 0) -> None:
    """Readings every 5 s that say so much of what the nodes draw."""
    for _ in range(seconds // 5):
        h.handle(DomainMetered(PDU, round(drawn_mw(h) * factor) + plus_mw))
        h.run(5)


def extra_mw(h: Harness, domain: DomainId = PDU) -> int:
    return h.cluster.state.domains.extra_mw(domain)


# --- meters ---------------------------------------------------------------------------------


def test_a_meter_that_agrees_changes_nothing() -> None:
    h = metered()
    before = h.cluster.state.domains.usable_mw(PDU)
    meter_for(h, 60)
    meter = h.cluster.state.meters[PDU]
    assert (meter.trust, meter.factor_permille, meter.held_mw) == ("ok", 1000, 0)
    assert h.cluster.state.domains.usable_mw(PDU) == before


def test_load_that_nobody_booked_is_kept_free_and_above_too() -> None:
    h = metered()
    meter_for(h, 20)
    h.handle(DomainMetered(PDU, drawn_mw(h) + 2_000_000))
    assert extra_mw(h) == 0, "the beats of that moment are on their way"
    h.run(3)
    assert extra_mw(h) == pytest.approx(2_000_000, rel=0.05)
    assert extra_mw(h, SITE) == extra_mw(h)
    assert "2 kW" in h.events("load_unexplained")[-1].text


def test_it_is_given_back_slowly() -> None:
    h = metered()
    meter_for(h, 20)
    meter_for(h, 10, plus_mw=2_000_000)
    at_once = extra_mw(h)
    meter_for(h, 60)
    assert at_once * 0.8 < extra_mw(h) < at_once
    meter_for(h, 1_800)
    assert extra_mw(h) == 0
    assert len(h.events("load_explained")) == 1


def test_a_growth_is_refused_where_the_meter_shows_that_there_is_no_room() -> None:
    h = joined(site().rack("a", 2, kw=14.0).metered("a").build())
    meter_for(h, 10, plus_mw=4_000_000)
    number = h.submit(job().gpus(8).nodes(2))
    h.run(20)
    committed_mw = h.cluster.state.books.committed_in(PDU)
    assert committed_mw + 4_000_000 <= 14_000_000
    assert h.state_of(number) in ("RUNNING", "PENDING")


def test_load_that_a_meter_shows_makes_no_job_impossible() -> None:
    """It may be gone in a minute, or the meter lies: the job waits."""
    h = metered()
    meter_for(h, 20)
    meter_for(h, 15, plus_mw=20_000_000)
    assert extra_mw(h) > 15_000_000
    waits = h.submit(job().gpus(8))
    h.run(2)
    assert h.state_of(waits) == "PENDING"
    assert "watts" in h.job(waits).wait_reason


def test_a_meter_that_vanishes_is_alarmed_and_the_books_go_on() -> None:
    h = metered()
    meter_for(h, 20)
    budget_mw = h.cluster.state.domains.budget_mw(PDU)
    h.handle(DomainMetered(PDU, None, "connection refused"))
    h.run(20)
    text = h.events("meter_stale")[-1].text
    assert "connection refused" in text
    assert "the books stay in force" in text
    assert h.cluster.state.domains.budget_mw(PDU) == budget_mw
    meter_for(h, 10)
    assert not h.events("meter_back"), "one that comes and goes is not believed each time"
    meter_for(h, 10)
    assert len(h.events("meter_back")) == 1


def test_a_meter_that_was_never_read_is_stale_as_well() -> None:
    h = metered()
    h.run(20)
    assert h.cluster.state.meters[PDU].trust == "stale"


def test_the_fallback_budget_is_in_force_while_the_meter_is_doubted() -> None:
    h = metered(fallback_mw=12_000_000)
    h.run(20)
    assert h.cluster.state.domains.budget_mw(PDU) == 12_000_000
    h.restart_scheduler()
    h.join()
    assert h.cluster.state.domains.budget_mw(PDU) == 12_000_000
    meter_for(h, 20)
    assert h.cluster.state.domains.budget_mw(PDU) == 20_000_000


def with_domain(h: Harness, domain: DomainId, **changes: object) -> None:
    """The site file says something else of a domain, and the scheduler starts again."""
    domains = tuple(
        msgspec.structs.replace(d, **changes) if d.id == domain else d for d in h.site.domains
    )
    h.site = msgspec.structs.replace(h.site, domains=domains)
    h.restart_scheduler()
    h.join()


def test_a_fallback_budget_ends_when_the_site_file_has_none_any_more() -> None:
    h = metered(fallback_mw=12_000_000)
    h.run(20)
    meter = h.site.domains[1].meter
    assert meter is not None
    with_domain(h, PDU, meter=msgspec.structs.replace(meter, fallback_mw=None))
    assert h.cluster.state.domains.budget_mw(PDU) == 20_000_000


def test_a_limit_of_inlets_ends_when_the_site_file_watches_none_any_more() -> None:
    plant = Plant(units=3, unit_mw=6_000_000, inlet_limit_c=27.0)
    h = Harness(
        site().rack("a", 2).zone_budget(18.0).cooled(**msgspec.structs.asdict(plant)).build()
    )
    h.join()
    for _ in range(30):
        for agent in h.agents.values():
            agent.say_beat(inlet_c=33.0)
        for _ in range(7):
            h.tick()
    assert room_mw(h) < 17_000_000
    with_domain(h, ROOM, plant=msgspec.structs.replace(plant, inlet_limit_c=None))
    assert room_mw(h) == 18_000_000


def test_a_fallback_above_the_budget_raises_nothing() -> None:
    h = metered(fallback_mw=50_000_000)
    h.run(20)
    assert h.cluster.state.domains.budget_mw(PDU) == 20_000_000


def test_what_a_meter_showed_survives_a_restart() -> None:
    h = metered()
    meter_for(h, 20)
    meter_for(h, 10, plus_mw=2_000_000)
    before_mw = extra_mw(h)
    h.restart_scheduler()
    assert before_mw <= extra_mw(h) <= before_mw + 200_000


def test_readings_of_what_the_site_file_does_not_name_change_nothing() -> None:
    h = metered()
    h.handle(DomainMetered(SITE, 1))
    h.handle(ZoneSensed(ROOM, 1, 1.0))
    assert list(h.cluster.state.meters) == [PDU]
    assert not h.cluster.state.zones


# --- nodes' own sensors -----------------------------------------------------------------------


@pytest.mark.parametrize(("node_mw", "words"), [(100_000, "GPUs alone"), (99_000_000, "nameplate")])
def test_a_node_sensor_that_cannot_be_is_replaced_by_the_model(node_mw: int, words: str) -> None:
    h = metered()
    agent: FakeAgent = h.agent("a1")
    for _ in range(DOUBTED_BEATS):
        assert h.events("power_implausible") == []
        h.say("a1", msgspec.structs.replace(agent.beat(), node_mw=node_mw, node_source="hwmon"))
    draw = all_draws(h.cluster.state)[h.node("a1").id]
    assert draw.mw not in (0, node_mw)
    assert not draw.is_measured
    assert words in h.events("power_implausible")[-1].text
    h.run(2)
    assert len(h.events("power_plausible")) == 1


# --- cooling ----------------------------------------------------------------------------------


def cooled(**keys: object) -> Harness:
    builder = site().rack("a", 2, kw=20.0).zone_budget(18.0)
    return joined(builder.cooled(units=3, unit_mw=6_000_000, **keys).build())


def room_mw(h: Harness) -> int:
    return h.cluster.state.domains.budget_mw(ROOM)


def sense_units(h: Harness, units: int, seconds: int) -> None:
    """A reading every 5 s."""
    for _ in range(seconds // 5):
        h.handle(ZoneSensed(ROOM, units, None))
        h.run(5)


SENSED = Sensor(CommandSource(("units",)))


def test_a_failed_unit_counts_at_once_and_comes_back_slowly() -> None:
    h = cooled(units_sensor=SENSED)
    h.handle(ZoneSensed(ROOM, 3, None))
    assert room_mw(h) == 18_000_000
    h.handle(ZoneSensed(ROOM, 2, None))
    assert room_mw(h) == 12_000_000
    sense_units(h, 3, 30)
    assert 12_400_000 < room_mw(h) < 12_700_000
    sense_units(h, 3, 330)
    assert room_mw(h) == 18_000_000


def test_an_operator_says_that_a_unit_is_out_and_it_survives_a_restart() -> None:
    h = cooled()
    text = h.do(SetUnits(ROOM, 1, "compressor"), user="olga")
    assert "1 of 3 units" in text
    assert room_mw(h) == 6_000_000
    assert "compressor" in h.events("cooling_units_said")[-1].text
    h.restart_scheduler()
    h.join()
    h.run(2)
    assert 5_900_000 < room_mw(h) <= 6_000_000
    h.do(SetUnits(ROOM, 3))
    h.run(700)
    assert room_mw(h) == 18_000_000


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (SetUnits(PDU, 1), "has units in the site file (room)"),
        (SetUnits(ROOM, 4), "has 3 units"),
        (SetUnits(ROOM, -1), "has 3 units"),
    ],
)
def test_units_that_cannot_be_are_refused(request_: SetUnits, words: str) -> None:
    answer = cooled().ask(request_)
    assert isinstance(answer, Denied)
    assert words in answer.reason


def test_submitters_do_not_say_what_units_run() -> None:
    answer = cooled().ask(SetUnits(ROOM, 1), user="ada", role="submitter")
    assert isinstance(answer, Denied)
    assert answer.kind == "not_allowed"


def test_units_that_nobody_tells_count_one_fewer_and_are_alarmed() -> None:
    h = cooled(units_sensor=SENSED)
    h.handle(ZoneSensed(ROOM, 3, None))
    h.handle(ZoneSensed(ROOM, None, None, "timeout"))
    h.run(20)
    assert room_mw(h) == 12_000_000
    assert "timeout" in h.events("cooling_unseen")[-1].text
    h.handle(ZoneSensed(ROOM, 3, None))
    h.run(1)
    assert len(h.events("cooling_seen")) == 1


def test_a_node_that_tells_no_inlet_is_named_once() -> None:
    h = cooled(inlet_limit_c=27.0)
    for _ in range(5):
        h.agent("a1").say_beat(inlet_c=24.0)
        h.agent("a2").say_beat(inlet_c=300.0)
        h.run(1)
    alarms = [e for e in h.events("cooling_unseen") if "inlet" in e.text]
    assert len(alarms) == 1


def test_more_units_than_there_are_is_not_believed() -> None:
    h = cooled(units_sensor=SENSED)
    h.handle(ZoneSensed(ROOM, 2, None))
    h.handle(ZoneSensed(ROOM, 7, None))
    assert room_mw(h) == 12_000_000


def test_after_a_restart_the_last_known_capacity_holds_until_a_sensor_speaks() -> None:
    h = cooled(units_sensor=SENSED)
    h.handle(ZoneSensed(ROOM, 2, None))
    h.restart_scheduler()
    h.join()
    h.run(5)
    assert 11_800_000 <= room_mw(h) <= 12_000_000
    h.handle(ZoneSensed(ROOM, 1, None))
    assert room_mw(h) == 6_000_000


def test_a_unit_that_came_back_while_the_scheduler_was_away_is_given_out_slowly() -> None:
    h = cooled(units_sensor=SENSED)
    h.handle(ZoneSensed(ROOM, 2, None))
    h.restart_scheduler()
    h.join()
    sense_units(h, 3, 20)
    assert 12_000_000 < room_mw(h) < 12_500_000


def test_a_hot_day_lowers_the_budget_at_a_slow_pace() -> None:
    points = (OutsidePoint(35.0, 1000), OutsidePoint(45.0, 800))
    h = cooled(capacity_at=points, outside_sensor=SENSED)
    h.handle(ZoneSensed(ROOM, None, 30.0))
    assert room_mw(h) == 18_000_000
    h.handle(ZoneSensed(ROOM, None, 40.0))
    h.run(5)
    assert 17_800_000 < room_mw(h) < 18_000_000
    h.run(5)
    h.handle(ZoneSensed(ROOM, None, 40.0))
    h.run(14)
    h.handle(ZoneSensed(ROOM, None, 40.0))
    assert h.cluster.state.zones[ROOM].units(h.now.mono_s) == 3
    for _ in range(12):
        h.run(10)
        h.handle(ZoneSensed(ROOM, None, 40.0))
    assert room_mw(h) == 16_200_000


def test_a_node_on_two_feeds_explains_half_of_itself_on_each_for_certain_nothing() -> None:
    two = (DomainId("pdu-a"), DomainId("pdu-b"))
    builder = site().rack("a", 1, kw=20.0).rack("b", 1, kw=20.0).metered("a")
    built = builder.build()
    nodes = (msgspec.structs.replace(built.nodes[0], inputs=two), built.nodes[1])
    h = joined(msgspec.structs.replace(built, nodes=nodes))
    state = h.cluster.state
    both = modelled_load(state, state.meters[PDU], all_draws(state))
    whole_mw = all_draws(state)[h.node("a1").id].mw
    assert (both.drawn_mw, both.most_mw, both.least_mw) == (whole_mw // 2, whole_mw, 0)
