"""Budgets by hand: ramps, schedules and events over real processes, one of them killed."""

import json
import signal
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from support.programs.cli_site import CliSite
from wattline_protocol.views.site_views import DomainView

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180), pytest.mark.xdist_group("cli-site")]

FULL_W = 32_000.0
SCHEDULED_W = 28_800.0
LATE_S = 10.0
"""A machine that stands still may end a shed so much later; never earlier."""


SHOWN = (b"feed-a", b"LIMIT", b"peak tariff")


def open_now() -> str:
    """A window that is open for hours to come and closes once a day."""
    hours = "00:00-20:00" if datetime.now(UTC).hour < 12 else "04:00-00:00"
    return f"Mon-Sun {hours}"


def with_schedule(site_file: str) -> str:
    return (
        f"{site_file}\n[[schedule]]\n"
        f'domain = "feed-a"\nwhen = ["{open_now()}"]\nlimit = "90%"\nreason = "peak tariff"\n'
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CliSite]:
    with CliSite(tmp_path_factory.mktemp("power"), edit=with_schedule) as made:
        made.start_node("n1")
        yield made


def feed(site: CliSite) -> DomainView:
    return site.client.power()[0]


def times(site: CliSite, what: str) -> list[float]:
    """When the budget was shed, began to rise, or was restored, by the audit log."""
    events = map(json.loads, site.wattline("events", "--json").splitlines())
    return [event["unix_s"] for event in events if event["kind"] == f"budget_{what}"]


def test_a_window_that_is_open_limits_the_budget_and_is_shown(site: CliSite) -> None:
    site.until(lambda: feed(site).budget_w == SCHEDULED_W, "the schedule's budget")
    shown = site.wattline("power")
    assert "limited by schedule 1" in shown
    assert "peak tariff" in shown
    assert "schedule 1 limits the budget" in site.wattline("events")
    (limit,) = site.json("power", "limits", "--where", "source=schedule and phase!=planned")
    assert (limit["name"], limit["domain"]) == ("schedule 1", "feed-a")


def test_a_scheduler_that_is_killed_on_a_ramp_goes_on_with_it(site: CliSite) -> None:
    job = site.submit("--gpus", "8", "--", "sleep", "300")
    site.until_state(job, "RUNNING")
    reported = site.wattline(
        "power", "shed", "80%", "--ramp", "12s", "--for", "20s", "--release", "5s"
    )
    assert "80% shed by admin over 12s for 20s" in reported
    site.until(lambda: feed(site).budget_w < 0.9 * SCHEDULED_W, "a lower budget")
    site.stop("scheduler", signal.SIGKILL)
    site.start_scheduler()
    view = feed(site)
    limits = {limit.name: limit for limit in view.limits}
    assert limits["shed"].requester == "admin"
    if limits["shed"].phase == "falling":
        assert 0.2 * FULL_W < view.budget_w < 0.9 * SCHEDULED_W
    site.until(lambda: feed(site).budget_w == pytest.approx(0.2 * FULL_W), "the shed's budget")
    site.until(lambda: site.client.node("n1").state == "ok", "the node reports again")
    site.until(lambda: feed(site).headroom_w >= 0, "leases within it")
    site.until(lambda: [one.name for one in feed(site).limits] == ["schedule 1"], "its end")
    assert feed(site).budget_w == SCHEDULED_W
    told_at = {kind: times(site, kind) for kind in ("shed", "rising", "restored")}
    (shed_at,), (rising_at,), (restored_at,) = told_at.values()
    assert 20 <= rising_at - shed_at < 20 + LATE_S
    assert 25 <= restored_at - shed_at < 25 + LATE_S
    site.wattline("cancel", job)


def test_why_says_what_limits_a_node(site: CliSite) -> None:
    hot = ("--env", "WATTLINE_SIM_PROFILE=training-hot")
    job = site.submit("--gpus", "8", *hot, "--", "sh", "-c", "while :; do :; done")
    site.until_state(job, "RUNNING")
    site.until(lambda: (site.client.node("n1").measured_w or 0.0) > 5_000, "heat")
    site.wattline("power", "shed", "75%", "--reason", "grid is short")
    site.until(lambda: site.client.why("n1").binding == "feed-a", "feed-a binds the node")
    said = (
        "feed-a limits it since ",
        "shed to 8 kW until restored, by admin: grid is short",
        "It has the highest priority in feed-a.",
    )
    site.until_all_shown(said, "power", "why", "n1")

    def is_feed(value: Any) -> bool:
        return value["domain"] is not None and value["domain"]["id"] == "feed-a"

    value = site.until_json(is_feed, "power", "why", "n1")
    assert value["why"]["node"] == "n1"
    done = site.run("power", "why", "n9")
    assert (done.returncode, "there is no node 'n9'; " in done.stderr) == (3, True)
    site.wattline("power", "restore")
    site.wattline("cancel", job)


def test_an_event_is_planned_listed_and_cancelled(site: CliSite) -> None:
    start = f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%dT%H:%MZ}"
    again = ("power", "event", "add", "dr-1", "25%", "--start", start, "--for", "1h")
    assert "event dr-1 limits the budget to 24 kW from " in site.wattline(*again)
    assert "already announced" in site.wattline(*again)
    listed = site.json("power", "event", "list")
    assert [(limit["name"], limit["phase"]) for limit in listed] == [("event dr-1", "planned")]
    assert "event dr-1" in site.wattline("power", "event", "list")
    other = site.run("power", "event", "add", "dr-1", "30%", "--start", start, "--for", "1h")
    assert (other.returncode, "under a new id" in other.stderr) == (1, True)
    reported = site.wattline("power", "event", "cancel", "dr-1", "--reason", "called off")
    assert "event dr-1 is cancelled" in reported
    assert "(called off)" in site.wattline("events")
    assert site.json("power", "event", "list")[0]["phase"] == "cancelled"
    done = site.run("power", "event", "add", "dr-2", "25%")
    assert (done.returncode, "either --for 3h or --end" in done.stderr) == (2, True)


def test_a_watch_goes_on_in_a_pipe_and_over_a_restart(site: CliSite) -> None:
    watch = subprocess.Popen(
        site.command("power", "--watch", "0.5s", "--where", "domain=feed-a"),
        env=site.environ,
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    assert watch.stdout is not None
    with watch, watch.stdout as lines:
        assert any(line.startswith("feed-a ") and "28.8 kW" in line for line in lines)
        site.stop("scheduler", signal.SIGKILL)
        assert any("not fresh: " in line for line in lines)
        site.start_scheduler()
        assert any(line.startswith("feed-a ") and "28.8 kW" in line for line in lines)
        watch.send_signal(signal.SIGINT)
    assert watch.returncode == 130


def test_a_watch_draws_in_place_on_a_terminal(site: CliSite) -> None:
    shown, status = site.in_terminal("power", "--watch", until=SHOWN, then=signal.SIGINT)
    assert status == 130, shown
