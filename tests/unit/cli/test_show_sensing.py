"""Meters and cooling zones as tables: what is doubted, what is over, what nobody knows."""

import io

import msgspec
import pytest
from rich.console import Console, RenderableType

from support.core.list_pages import page_of
from support.core.site_views import domain
from wattline.acts import sensing as acts
from wattline.failures import ActFailed
from wattline.show import sensing
from wattline_protocol.lists.domain_table import note
from wattline_protocol.views.site_views import DomainView, MeterView, PlantView


def text_of(thing: RenderableType, width: int = 160) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    with console.capture() as captured:
        console.print(thing, highlight=False, markup=False)
    return captured.get()


WATTS = (30_000.0, 35_000.0, 38_000.0)
FINE = MeterView("ok", "", 31_200.0, 2.0, 1.04, 1_200.0, 0.0)
FROZEN = MeterView("frozen", "says the same for long", 31_200.0, 2.0, 1.0, 0.0, 0.0)
HEATER = MeterView("ok", "", 33_000.0, 2.0, 1.0, 3_000.0, 3_100.0)


def metered(meter: MeterView) -> DomainView:
    return msgspec.structs.replace(domain("pdu-a", "power", None, WATTS), meter=meter)


def cooled(plant: PlantView | None) -> DomainView:
    return msgspec.structs.replace(domain("room", "cooling", None, WATTS), plant=plant)


def test_a_meter_with_its_factor_and_what_it_leaves_unexplained() -> None:
    shown = text_of(page_of(sensing.METERS, [metered(FINE)]))
    assert {"31.2", "1.04", "1.2", "ok", "2s"} <= set(shown.split())


def test_a_doubted_meter_says_why_also_among_the_domains() -> None:
    assert "frozen: it says the same" in text_of(page_of(sensing.METERS, [metered(FROZEN)]))
    assert "its meter says the same" in note(metered(FROZEN))
    assert "3.1 kW unbooked load" in note(metered(HEATER))


def test_a_zone_with_a_failed_unit_and_warm_inlets() -> None:
    plant = PlantView(3, 2, 2, 41.5, 27.4, 27.0, 66_000.0, ("the outside temperature is unknown",))
    shown = text_of(page_of(sensing.ZONES, [cooled(plant)]))
    for words in ("2 of 3", "66 kW", "27.4 °C of 27", "41.5 °C", "units set by an operator"):
        assert words in shown
    assert "the outside temperature is unknown" in shown


def test_a_zone_of_which_nothing_is_known_shows_its_budget() -> None:
    shown = text_of(page_of(sensing.ZONES, [cooled(None)]))
    assert "room" in shown
    assert "-" in shown.split()


def test_nothing_configured_says_where_to_read() -> None:
    assert "docs/site-file.md" in text_of(page_of(sensing.METERS, []))


class OneZone:
    """Stands for a client: one zone, one domain."""

    def power(self) -> tuple[DomainView, ...]:
        return (metered(FINE), cooled(None))

    def set_units(self, zone: str, units: int, *, reason: str = "") -> str:
        return f"{zone} {units} {reason}"


def ask(**named: object) -> object:
    given = {"zone": None, "units_in_service": None, "reason": "", **named}
    return acts.cooling(OneZone(), **given)  # type: ignore[arg-type]  # a stand-in


def test_what_the_verb_does_with_and_without_a_zone() -> None:
    assert ask() == (cooled(None),)
    assert ask(zone="room") == (cooled(None),)
    assert ask(zone="room", units_in_service=2, reason="x") == "room 2 x"


@pytest.mark.parametrize(
    ("named", "words"),
    [({"units_in_service": 2}, "specify a zone"), ({"zone": "hall"}, "has room")],
)
def test_what_the_verb_refuses(named: dict[str, object], words: str) -> None:
    with pytest.raises(ActFailed, match=words):
        ask(**named)
