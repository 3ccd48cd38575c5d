"""`wattline capacity` at 80 columns, and its flags."""

import io

import pytest
from rich.console import Console

from wattline.acts.serving.capacity import growth_of, slo_of
from wattline.failures import ActFailed
from wattline.show.serving.capacity import hour, shown
from wattline_protocol.job.spec import Slo
from wattline_protocol.views.capacity_views import CapacityView, HourPlan, LoadPlan, Tier

HOUR = HourPlan(31, 200.0, 50.0, 4, 16, 6_400.0, 4.2, 33.0)
PLAN = LoadPlan(1.0, (HOUR,), 4, 16, 6_400.0, 4.2, 33.0, Tier(1, 672.0), Tier(3, 12.0))
VIEW = CapacityView("chat", Slo(0.2), 4, 1, 100.0, 0.08, 4, (PLAN,), ("money: no price",))


def test_a_plan_is_shown_with_what_is_not_known() -> None:
    console = Console(file=io.StringIO(), width=80, color_system=None)
    with console.capture() as captured:
        console.print(shown(VIEW), highlight=False, markup=False)
    lines = [line.rstrip() for line in captured.get().splitlines()]
    assert max(map(len, lines)) <= 80
    assert "history  1 of 168 hours of a week, 4 weeks" in lines
    assert "work     tokens where its model reports them, else requests" in lines
    assert any(line.startswith("Tue 07") for line in lines)
    assert lines[-1] == "not known: money: no price"


def test_hours_begin_on_monday() -> None:
    assert [hour(0), hour(24), hour(167)] == ["Mon 00", "Tue 00", "Sun 23"]


def test_flags() -> None:
    assert (growth_of("2x"), growth_of("1.5")) == (2.0, 1.5)
    assert slo_of("p95=200ms") == Slo(0.2)


@pytest.mark.parametrize("text", ["", "x", "0x", "-1", "nan", "inf", "1001x"])
def test_a_factor_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ActFailed, match="as in 2x"):
        growth_of(text)


def test_an_slo_that_is_none_is_refused() -> None:
    with pytest.raises(ActFailed, match="--slo p95=fast"):
        slo_of("p95=fast")
