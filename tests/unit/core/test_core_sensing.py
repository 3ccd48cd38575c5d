"""Readings of meters and cooling plant reach the state; a silent sensor is told once."""

import pytest

from support.harness import Harness
from support.sites import site
from wattline_protocol.ids import DomainId
from wattline_scheduler.core.events import DomainMetered, ZoneSensed

PDU, ROOM = DomainId("pdu-a"), DomainId("room")


@pytest.fixture
def h() -> Harness:
    return Harness(site().rack("a", 2, kw=20.0).build())


def test_a_reading_is_kept_with_its_time(h: Harness) -> None:
    h.handle(DomainMetered(PDU, 3_000_000))
    meter = h.cluster.state.meters[PDU]
    assert (meter.wall_mw, meter.read_at, meter.error) == (3_000_000, h.now.mono_s, "")


def test_a_reading_without_a_value_keeps_the_last_one_and_is_told_once(h: Harness) -> None:
    h.handle(DomainMetered(PDU, 3_000_000))
    for _ in range(3):
        h.handle(DomainMetered(PDU, None, "connection refused"))
    assert h.cluster.state.meters[PDU].wall_mw == 3_000_000
    assert ["connection refused" in e.text for e in h.events("sensing_failed")] == [True]
    h.handle(DomainMetered(PDU, 3_100_000))
    assert len(h.events("sensing_back")) == 1


def test_what_a_zone_reading_does_not_say_stays(h: Harness) -> None:
    h.handle(ZoneSensed(ROOM, 3, None))
    h.handle(ZoneSensed(ROOM, None, 31.5))
    zone = h.cluster.state.zones[ROOM]
    assert (zone.units_in_service, zone.outside_c) == (3, 31.5)


def test_readings_of_nothing_change_nothing(h: Harness) -> None:
    h.handle(DomainMetered(DomainId("pdu-z"), 1))
    h.handle(ZoneSensed(PDU, 1, 1.0))
    assert not h.cluster.state.meters
    assert not h.cluster.state.zones
