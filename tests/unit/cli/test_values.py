"""Values on the command line."""

from datetime import datetime

import pytest

from support.programs.time_zone import local_time
from wattline.acts.report import moment
from wattline.failures import ActFailed
from wattline.verbs.values import shed_amount
from wattline_protocol.text.moments import moment_unix_s


@pytest.mark.parametrize(
    ("text", "amount"),
    [("25%", (0.25, 0)), ("12.5 %", (0.125, 0)), ("40kW", (0.0, 40_000_000)), ("1W", (0.0, 1000))],
)
def test_shed_amount(text: str, amount: tuple[float, int]) -> None:
    assert shed_amount(text) == amount


@pytest.mark.parametrize("text", ["0%", "100%", "120%", "0kW", "25", "kW", "-3kW", "40 horses"])
def test_wrong_shed_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"%|kW"):
        shed_amount(text)


def test_moments() -> None:
    assert moment("1h30m", 10_000.0) == 10_000.0 - 5400.0
    assert moment("2026-11-01T00:00:00+00:00", 0.0) == 1_793_491_200.0
    with pytest.raises(ActFailed, match="time ago") as failed:
        moment("yesterday", 0.0)
    assert failed.value.status == 2


@pytest.mark.parametrize(
    ("text", "after", "at"),
    [
        ("16:00", "2026-11-25T12:00", "2026-11-25T16:00"),
        ("16:00", "2026-11-25T16:00", "2026-11-26T16:00"),
        ("02:30:15", "2026-11-25T12:00", "2026-11-26T02:30:15"),
        ("in 1h30m", "2026-11-25T12:00", "2026-11-25T13:30"),
        ("now", "2026-11-25T12:00", "2026-11-25T12:00"),
        ("2026-12-01T16:00", "2026-11-25T12:00", "2026-12-01T16:00"),
        ("2026-12-01", "2026-11-25T12:00", "2026-12-01T00:00"),
        ("2026-12-01T16:00Z", "2026-11-25T12:00", "2026-12-01T17:00"),
    ],
)
def test_moments_are_local_times(text: str, after: str, at: str) -> None:
    with local_time("Europe/Berlin"):
        after_s, at_s = (
            datetime.fromisoformat(one).astimezone().timestamp() for one in (after, at)
        )
        assert moment_unix_s(text, after_s) == at_s


@pytest.mark.parametrize("text", ["soon", "25:00", "in a while", "16", ""])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a time; write 16:00|expected a duration"):
        moment_unix_s(text, 0.0)
