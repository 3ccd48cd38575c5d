"""How a job ends badly, and what its user sees: real processes, real kills."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from support.node.memory_group import memory_group
from support.programs.cli_site import PATIENCE_S, CliSite

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120), pytest.mark.xdist_group("faults-jobs")]


def _scarce(site_file: str) -> str:
    """Too little power for all eight GPUs of the node at once, enough for four."""
    return site_file.replace('rating = "40kW"', 'rating = "9kW"')


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CliSite]:
    """One node of eight GPUs below a small breaker."""
    with CliSite(tmp_path_factory.mktemp("jobs"), edit=_scarce) as made:
        made.start_node("n1")
        yield made


def started(site: CliSite, *arguments: str) -> tuple[str, int]:
    """A job that runs, and the process id of its task."""
    job = site.submit(*arguments, "--", "sh", "-c", "echo begun; exec sleep 300")
    return job, pid_of(site, job, attempt=1)


def pid_of(site: CliSite, job: str, *, attempt: int) -> int:
    """The process id of an attempt, once it runs."""

    def pid() -> int | None:
        attempts = site.client.job(int(job)).attempts
        running = [a.pid for a in attempts if (a.attempt, a.state) == (attempt, "RUNNING")]
        return running[0] if running else None

    site.until(lambda: bool(pid()), f"attempt {attempt} of job {job} runs")
    return pid() or 0


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (("--gpus", "9"), "requests 9 GPUs per node; no node has more than 8"),
        (("--gpus", "1", "--gpu-type", "mi300"), "the site has NVIDIA H100"),
        (("--gpus", "1", "--gpu-memory", "141GiB"), "the largest has 79.6 GiB"),
        (("--nodes", "2"), "requests 2 nodes; the site has 1"),
        (("--memory", "900TiB"), "no node has more than"),
        (("--gpus", "8"), " W more in feed-a"),
    ],
)
def test_the_impossible_is_refused_at_once_with_what_would_fit(
    site: CliSite, wanted: tuple[str, ...], said: str
) -> None:
    before = len(site.client.jobs())
    done = site.run("submit", *wanted, "--", "true")
    assert said in done.stderr
    assert done.returncode == 1
    assert len(site.client.jobs()) == before


@pytest.mark.parametrize(
    ("script", "said", "status"),
    [
        ("echo no such data set >&2; exit 3", "exited with status 3", 3),
        ("echo half way; kill -SEGV $$", "killed by signal 11 (SIGSEGV)", 139),
        ("echo half way; kill -TERM $$", "killed by signal 15 (SIGTERM)", 143),
    ],
)
def test_a_failed_job_says_which_with_the_tail_of_its_log(
    site: CliSite, script: str, said: str, status: int
) -> None:
    done = site.run("submit", "--wait", "--quiet", "--", "sh", "-c", script)
    assert done.returncode == status, done.stderr
    shown = site.wattline("job", done.stdout.strip())
    assert said in shown
    assert "FAILED" in shown
    assert "Last lines of task 0, attempt 1:" in shown
    assert ("no such data set" if status == 3 else "half way") in shown


def test_a_command_that_is_not_there_is_named_and_not_tried_again(site: CliSite) -> None:
    done = site.run("submit", "--wait", "--quiet", "--retries", "3", "--", "no-such-program")
    assert done.returncode != 0
    job = done.stdout.strip()
    assert len(site.json("job", job)["attempts"]) == 1
    shown = site.wattline("job", job)
    assert "FAILED" in shown
    assert "no-such-program" in shown
    assert "not found" in shown


def test_out_of_memory_is_told_apart_from_any_other_kill(site: CliSite, tmp_path: Path) -> None:
    with memory_group(64 * 2**20) as enter:
        eat = f"print('loading', flush=True); {enter}; b = bytearray(2**29)"
        job = site.submit("--", sys.executable, "-c", eat)
        ended = site.until_state(job, "FAILED")
    end = ended["attempts"][0]["exit"]
    assert end["kind"] == "out_of_memory", end
    assert "loading" in end["log_tail"]
    assert "out of memory" in site.wattline("job", job)


def test_a_killed_task_fails_its_job_and_says_by_what(site: CliSite) -> None:
    job, pid = started(site)
    os.kill(pid, signal.SIGKILL)
    site.until_state(job, "FAILED")
    shown = site.wattline("job", job)
    assert "killed by signal 9 (SIGKILL)" in shown
    assert "begun" in shown


def test_a_killed_task_is_tried_again_where_the_job_allows_it(site: CliSite) -> None:
    job, pid = started(site, "--retries", "1")
    os.kill(pid, signal.SIGKILL)
    assert pid_of(site, job, attempt=2) != pid
    first = site.json("job", job)["attempts"][0]
    assert (first["state"], first["exit"]["signal"]) == ("FAILED", 9)
    site.wattline("cancel", job)


def test_a_killed_keeper_takes_its_tasks_along_and_the_job_runs_again(site: CliSite) -> None:
    job, pid = started(site, "--grace", "1s")
    keeper = int((site.state("n1") / "keeper.pid").read_text())
    os.kill(keeper, signal.SIGKILL)
    site.until(lambda: not psutil.pid_exists(pid), "the task dies with its keeper")
    assert pid_of(site, job, attempt=2) != pid
    first = site.json("job", job)["attempts"][0]
    assert (first["state"], first["exit"]["kind"]) == ("NODE_FAIL", "keeper_lost")
    assert "keeper" in site.wattline("job", job)
    assert "keeper" in site.wattline("events")
    site.wattline("cancel", job)
    site.until_state(job, "CANCELLED")


def test_a_cancelled_job_ends_the_wait_with_its_own_code(site: CliSite) -> None:
    with waiting(site, "submit", "--wait", "--", "sleep", "300") as process:
        site.until(lambda: bool(running(site)), "the job runs")
        site.wattline("cancel", running(site)[0])
        assert process.wait(PATIENCE_S) == 125


def test_ctrl_c_ends_the_wait_and_leaves_the_job_alone(site: CliSite) -> None:
    with waiting(site, "submit", "--wait", "--", "sleep", "300") as process:
        site.until(lambda: bool(running(site)), "the job runs")
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=PATIENCE_S)[1]
    assert process.returncode == 130
    assert "Traceback" not in said
    (job,) = running(site)
    site.wattline("cancel", job)
    site.until_state(job, "CANCELLED")


def test_ctrl_c_ends_a_followed_log_and_leaves_the_job_alone(site: CliSite) -> None:
    job, _ = started(site)
    with waiting(site, "logs", "-f", job) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGINT)
        rest, said = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, rest, said.strip()) == (130, "", "")
    assert site.json("job", job)["state"] == "RUNNING"
    site.wattline("cancel", job)
    site.until_state(job, "CANCELLED")


def running(site: CliSite) -> list[str]:
    """Numbers of the jobs that run."""
    return [str(job.id) for job in site.client.jobs(ended=False) if job.state == "RUNNING"]


def waiting(site: CliSite, *arguments: str) -> subprocess.Popen[str]:
    """A verb that stays, as the site's admin."""
    return subprocess.Popen(
        site.command(*arguments),
        env=site.environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
