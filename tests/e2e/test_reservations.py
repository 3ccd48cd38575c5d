"""Reservations by hand on a real site: who waits, who runs, the scheduler killed meanwhile."""

import json
import signal

import pytest

from support.programs.cli_site import CliSite

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180), pytest.mark.xdist_group("reservations")]


def kinds(site: CliSite) -> list[str]:
    """What the audit log says of reservations."""
    events = map(json.loads, site.wattline("events", "--json").splitlines())
    return [event["kind"] for event in events if event["kind"].startswith("reservation_")]


def remedies(site: CliSite) -> list[str]:
    """What would let a job of one GPU start now."""
    view = json.loads(site.wattline("whatif", "--json", "--gpus", "1", "--", "true"))
    return [one["kind"] for one in view["remedies"]]


def test_maintenance_begins_and_ends_by_itself(site: CliSite) -> None:
    reported = site.wattline("reserve", "fans", "--nodes", "n*", "--for", "15s", "--maintenance")
    assert "fans: 1 node (n1) for maintenance from " in reported
    waits = site.client.submit(command=["true"], gpus=1)  # a verb may take seconds
    said = "reserved as fans for maintenance until "
    site.until(lambda: said in site.client.explain(waits).refusals[0].missing, said)
    (listed,) = site.client.reservations()
    assert (listed.state, listed.nodes, listed.gpus) == ("active", ("n1",), 8)
    assert site.client.job(waits).state == "PENDING"
    site.until_state(str(waits), "COMPLETED")
    assert site.json("reservations") == []
    assert kinds(site) == ["reservation_made", "reservation_begun", "reservation_over"]


def test_it_holds_over_a_scheduler_that_is_killed(site: CliSite) -> None:
    still = site.submit("--gpus", "2", "--", "sleep", "300")
    site.until_state(still, "RUNNING")
    for_admin = ("--count", "1", "--for", "1h", "--user", "admin", "--reason", "course")
    reported = site.wattline("reserve", "lab", *for_admin)
    assert f"; job {still} still runs there" in reported
    inside = site.submit("--gpus", "2", "--reservation", "lab", "--", "sleep", "300")
    outside = site.submit("--gpus", "2", "--", "sleep", "300")
    site.until_state(inside, "RUNNING")

    site.stop("scheduler", signal.SIGKILL)
    site.start_scheduler()
    site.until(lambda: site.client.node("n1").state == "ok", "the node reports again")
    there = ([int(inside)], [int(still)])
    (listed,) = site.until_json(
        lambda reported: [(one["jobs"], one["others"]) for one in reported] == [there],
        "reservations",
    )
    assert (listed["gpus_free"], listed["who"], listed["why"]) == (4, "admin", "course")
    shown = site.wattline("reservations")
    assert "STILL THERE" in shown
    assert "4/8" in shown
    # A node that reports again is asked for its limits first.
    site.until_shown("reserved as lab for user admin", "explain", outside)
    states = [site.json("job", job)["state"] for job in (still, inside, outside)]
    assert states == ["RUNNING", "RUNNING", "PENDING"]

    assert f"job {inside} in it continues" in site.wattline("unreserve", "lab", "--reason", "moved")
    site.until_state(outside, "RUNNING")
    assert "was cancelled (moved)" in site.wattline("events")
    for job in (still, inside, outside):
        site.wattline("cancel", job)


def test_what_is_refused_says_why_and_exits_so(site: CliSite) -> None:
    done = site.run("submit", "--reservation", "lab", "--", "true")
    assert (done.returncode, "there is no reservation 'lab'" in done.stderr) == (3, True)
    done = site.run("reserve", "lab", "--nodes", "n1", "--for", "1h")
    assert (done.returncode, "or --maintenance" in done.stderr) == (2, True)
    done = site.run("reserve", "lab", "--nodes", "n1", "--user", "eve", "--for", "1h")
    nobody = "there is no user 'eve'; the site has admin; enroll new users first"
    assert (done.returncode, nobody in done.stderr) == (3, True), done.stderr
    site.wattline("enroll", "eve", "--role", "submitter", "--site", str(site.site))
    done = site.run("reserve", "lab", "--nodes", "n1", "--user", "eve", "--from", "tomorrow")
    assert (done.returncode, "either --until 20:00 or --for 2h" in done.stderr) == (2, True)
    planned = ("--nodes", "n1", "--user", "eve", "--from", "in 1h", "--for", "1h")
    site.wattline("reserve", "lab", *planned)
    done = site.run("submit", "--reservation", "lab", "--", "true")
    assert (done.returncode, "is for user eve; this is user admin" in done.stderr) == (4, True)
    done = site.run("reserve", "two", "--nodes", "n1", "--user", "eve", "--for", "2h")
    assert (done.returncode, "overlaps reservation lab" in done.stderr) == (1, True)
    site.until(lambda: remedies(site) == ["time"], "another time is what would help")
    site.wattline("unreserve", "lab")
