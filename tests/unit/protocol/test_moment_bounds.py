"""Times that have no date in every time zone are refused where they are read."""

from datetime import UTC
from zoneinfo import ZoneInfo

import msgspec
import pytest

from support.core.sites import site
from wattline.acts.report import moment as report_moment
from wattline.failures import ActFailed
from wattline_protocol.job.file import JobFileError, job_from_options
from wattline_protocol.site.model import Site
from wattline_protocol.text.moments import moment_unix_s
from wattline_scheduler.core.model.calendar import Calendar
from wattline_scheduler.shell.http_api.json_forms import BadForm, grid_event

BEYOND = (
    "9999-12-31T23:59:59-14:00",
    "9999-12-31T23:59:59",
    "0001-01-01T00:00:00+14:00",
    "0001-01-01",
    "1999-12-31T23:59",
    "2200-01-01T00:00",
)
NOW = 1.7e9


def in_zone(zone: str) -> Site:
    return msgspec.structs.replace(site().rack("a", 1, kw=14.0).build(), time_zone=zone)


@pytest.mark.parametrize("text", BEYOND)
def test_dates_beyond_are_refused_in_words_wherever_they_enter(text: str) -> None:
    with pytest.raises(JobFileError, match="expected a date from 2000 to 2199"):
        job_from_options(command="x", deadline=text)
    with pytest.raises(ValueError, match="expected a date from 2000 to 2199"):
        moment_unix_s(text, NOW, UTC)
    with pytest.raises(ActFailed, match="expected a date from 2000 to 2199"):
        report_moment(text, NOW)
    if "T" in text:
        aware = text if text[-6] in "+-" else f"{text}+00:00"
        body = f'{{"id": "a", "start": "{aware}", "duration": "1h", "shed": "25%"}}'
        with pytest.raises(BadForm, match="expected a date from 2000 to 2199"):
            grid_event(body.encode(), NOW)


@pytest.mark.parametrize("text", ["2000-01-01", "2199-12-31T23:59:59-14:00"])
def test_the_years_allowed_are_read_everywhere(text: str) -> None:
    spec = job_from_options(command="x", deadline=text)
    unix_s = moment_unix_s(text, NOW, UTC)
    for zone in ("UTC", "Pacific/Kiritimati", "Etc/GMT+12"):
        calendar = Calendar(in_zone(zone))
        assert calendar.moment(spec.windows.deadline) > 0
        assert calendar.text(unix_s)
        assert calendar.month(unix_s).end_unix_s > unix_s


def test_too_long_from_now_is_refused() -> None:
    with pytest.raises(ValueError, match="too far ahead"):
        moment_unix_s("in 3650d", 7.2e9, ZoneInfo("UTC"))


@pytest.mark.parametrize("unix_s", [-1e18, -1.0, 1e18, 3e11])
def test_what_was_stored_before_has_a_date_all_the_same(unix_s: float) -> None:
    for zone in ("UTC", "Pacific/Kiritimati", "Etc/GMT+12"):
        calendar = Calendar(in_zone(zone))
        assert calendar.text(unix_s)
        assert calendar.day(unix_s).end_unix_s
        assert calendar.moment("9999-12-31T23:59:59-14:00") == calendar.moment("9999-12-31")
