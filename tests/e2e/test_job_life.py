"""What decides when a job starts and when it must end: real processes, simulated GPUs."""

import signal
from datetime import UTC, datetime, timedelta

import pytest

from support.programs.cli_site import CliSite
from wattline_protocol.text.windows import DAYS

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180), pytest.mark.xdist_group("job-life")]


def test_a_chain_of_jobs_waits_runs_and_ends_with_its_first_failure(site: CliSite) -> None:
    first = site.submit("--gpus", "0", "--", "sh", "-c", "sleep 300; exit 3")
    second = site.submit("--gpus", "0", "--after-ok", first, "--", "true")
    third = site.submit("--gpus", "0", "--after-ok", second, "--", "true")
    clean_up = site.submit("--gpus", "0", "--after-any", f"{first},{third}", "--", "true")
    site.until_state(first, "RUNNING")
    said = (f"waits for job {first} (running)", "dependencies")
    site.until_all_shown(said, "explain", second)
    site.stop("scheduler", signal.SIGKILL)
    site.start_scheduler()
    site.until_shown(f"waits for jobs {first}", "job", clean_up)
    site.wattline("cancel", first)
    for number in (second, third):
        ended = site.until_state(number, "CANCELLED")
        assert "requires its success" in ended["reason"]
    site.until_state(clean_up, "COMPLETED")
    refused = site.run("submit", "--after-ok", first, "--", "true")
    assert refused.returncode == 1
    assert f"job {first} ended CANCELLED" in refused.stderr


def test_a_job_starts_only_in_its_window_and_is_refused_where_it_would_be_late(
    site: CliSite,
) -> None:
    soon = datetime.now(UTC) + timedelta(days=3)
    window = f"{DAYS[soon.weekday()]} 03:00-03:01"
    opens = f"{soon:%Y-%m-%d} 03:00 UTC"
    number = site.submit("--gpus", "0", "--start-only", window, "--", "true")
    site.until(
        lambda: f"which opens {opens}" in site.client.job(int(number)).reason,
        "the job says when its window opens",
    )
    site.until_shown("window", "explain", number)
    late = ("--start-only", window, "--deadline", f"{soon:%Y-%m-%d}T02:00")
    refused = site.run("submit", *late, "--", "true")
    assert refused.returncode == 1
    assert f"its next start window opens {opens}" in refused.stderr
    site.wattline("update", number, "--start-only", "Mon-Sun")
    site.until_state(number, "COMPLETED")


def test_a_job_is_stopped_at_its_energy_limit_with_notice(site: CliSite) -> None:
    script = "trap 'echo stopped in order; exit 0' TERM; while :; do sleep 0.1; done"
    number = site.submit("--energy", "0.4Wh", "--grace", "20s", "--", "bash", "-c", script)
    ended = site.until_state(number, "TIMEOUT")
    assert ended["reason"] == "reached its energy limit of 0.4Wh"
    assert ended["energy_kwh"] >= 0.0004
    assert "stopped in order" in site.wattline("logs", number)
    assert "limit_reached" in site.wattline("events")
    assert "of 0.4Wh" in site.wattline("job", number)


def test_a_job_whose_gpus_idle_is_stopped(site: CliSite) -> None:
    rule = "below=0.05,for=3s,action=stop"
    quiet = ("--env", "WATTLINE_SIM_PROFILE=idle")
    number = site.submit("--gpus", "2", "--idle-gpu", rule, *quiet, "--", "sleep", "300")
    ended = site.until_state(number, "TIMEOUT")
    assert "stopped because its GPUs idle" in ended["reason"]


def test_a_crash_loop_is_held_until_it_is_released(site: CliSite) -> None:
    number = site.submit("--gpus", "0", "--retries", "9", "--", "sh", "-c", "exit 7")
    held = site.until_state(number, "HELD")
    assert held["reason"].startswith("held: 3 attempts in a row failed within 30 s")
    assert len(held["attempts"]) == 3
    site.wattline("release", number)
    site.until(lambda: len(site.client.job(int(number)).attempts) > 3, "it is tried again")
    site.wattline("cancel", number)
