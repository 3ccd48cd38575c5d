"""The README's tour by hand: real processes, every step a `wattline` command."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from support.programs.cli_site import CliSite

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180), pytest.mark.xdist_group("cli-site")]


READ_LIMITS = """
import pynvml as nvml
nvml.nvmlInit()
for index in range(nvml.nvmlDeviceGetCount()):
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    print(nvml.nvmlDeviceGetEnforcedPowerLimit(handle))
"""


def test_node_is_listed_with_its_gpus(site: CliSite) -> None:
    node = site.json("node", "n1")
    assert len(node["gpus"]) == 8
    assert node["simulated"]
    assert "n1" in site.wattline("nodes")
    assert "H100" in site.wattline("node", "n1")


def test_node_reports_its_host(site: CliSite) -> None:
    """Real figures of this host, by way of agent and scheduler."""
    node = site.until_json(lambda one: one["host"]["memory_used_bytes"], "node", "n1")
    host, disk = node["host"], os.statvfs(site.state("n1"))
    assert host["cpus"] == os.cpu_count()
    assert host["memory_bytes"] == psutil.virtual_memory().total
    assert host["load"]["disk_bytes"] == disk.f_blocks * disk.f_frsize
    assert 0 < host["load"]["disk_used_bytes"] <= host["load"]["disk_bytes"]
    assert node["gpus"][0]["temp_limit_c"] == 87
    shown = site.wattline("node", "n1")
    assert f"% of {os.cpu_count()}" in shown
    assert all(name in shown for name in ("memory", "disk"))


def test_job_runs_and_its_log_is_read(site: CliSite) -> None:
    job = site.submit("--gpus", "2", "--", "sh", "-c", "echo gpus $CUDA_VISIBLE_DEVICES; echo done")
    ended = site.until_state(job, "COMPLETED")
    assert ended["attempts"][0]["node"] == "n1"
    log = site.wattline("logs", job)
    assert log.startswith("gpus GPU-")
    assert log.endswith("done\n")
    assert job in site.wattline("jobs", "--all")


@pytest.mark.parametrize(
    ("command", "status"),
    [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -15 $$", 143)],
)
def test_wait_gives_the_jobs_own_status(site: CliSite, command: str, status: int) -> None:
    done = site.run("submit", "--wait", "--", "sh", "-c", command)
    assert done.returncode == status, done.stderr + done.stdout


def test_failed_job_says_why_with_the_tail_of_its_log(site: CliSite) -> None:
    job = site.submit("--", "sh", "-c", "echo no such data set >&2; exit 3")
    site.until_state(job, "FAILED")
    shown = site.wattline("job", job)
    assert "no such data set" in shown
    missing = site.submit("--", "no-such-program")
    ended = site.until_state(missing, "FAILED")
    assert "no-such-program" in json.dumps(ended["attempts"][0]["exit"])


def test_log_can_be_followed_to_the_end(site: CliSite) -> None:
    job = site.submit("--", "sh", "-c", "for i in 1 2 3; do echo line $i; sleep 0.3; done")
    assert site.wattline("logs", "-f", job) == "line 1\nline 2\nline 3\n"


def test_time_limit(site: CliSite) -> None:
    done = site.run("submit", "--wait", "--time", "1s", "--grace", "1s", "--", "sleep", "60")
    assert done.returncode == 124, done.stdout + done.stderr


def test_held_job_waits_for_its_release(site: CliSite) -> None:
    job = site.submit("--hold", "--", "true")
    assert site.json("job", job)["state"] == "HELD"
    assert site.json("explain", job)["state"] == "HELD"
    site.wattline("release", "last")
    site.until_state(job, "COMPLETED")


def test_jobs_are_cancelled_by_range(site: CliSite) -> None:
    first = site.submit("--", "sleep", "300")
    second = site.submit("--hold", "--", "sleep", "300")
    site.until_state(first, "RUNNING")
    site.wattline("cancel", f"{first}-{second}")
    for job in (first, second):
        site.until_state(job, "CANCELLED")


def test_requeued_job_runs_again_and_finds_its_checkpoints(site: CliSite) -> None:
    job = site.submit("--", "sh", "-c", "echo try >> $WATTLINE_CHECKPOINT_DIR/tries; sleep 300")
    tries = site.state("n1") / "checkpoints" / job / "tries"
    site.until_state(job, "RUNNING")
    site.until(lambda: tries.exists() and tries.read_text() == "try\n", "the first try")
    assert "is requeued" in site.wattline("requeue", job)
    site.until(lambda: tries.read_text() == "try\ntry\n", "the second try")
    ended = site.until_state(job, "RUNNING")
    assert [a["state"] for a in ended["attempts"]] == ["CANCELLED", "RUNNING"]
    site.wattline("cancel", job)
    site.until_state(job, "CANCELLED")
    site.wattline("requeue", job)
    site.until(lambda: tries.read_text() == 3 * "try\n", "a try after the end")
    site.wattline("cancel", job)
    site.until_state(job, "CANCELLED")
    refused = site.run("requeue", site.submit("--hold", "--name", "held", "--", "true"))
    assert refused.returncode == 1
    assert "is held; release it with `wattline release`" in refused.stderr
    site.wattline("cancel", "--name", "held")


def test_a_job_is_updated_and_what_is_too_late_says_so(site: CliSite) -> None:
    job = site.submit("--gpus", "1", "--", "sleep", "300")
    site.until_state(job, "RUNNING")
    reported = site.wattline("update", job, "--priority", "high", "--queue", "urgent")
    assert reported == f"job {job}: queue default → urgent, priority 50 → 75\n"
    shown = site.json("job", job)
    assert (shown["priority"], shown["queue"], shown["state"]) == (75, "urgent", "RUNNING")
    site.wattline("update", job, "--time", "1s", "--grace", "1s")
    assert site.until_state(job, "TIMEOUT")["attempts"][0]["exit"]["kind"] == "runtime_limit"
    job = site.submit("--gpus", "1", "--queue", "urgent", "--", "sleep", "300")
    site.until_state(job, "RUNNING")
    refused = site.run("update", job, "--gpus", "2")
    assert refused.returncode == 1
    assert "can change only while it does not run" in refused.stderr
    refused = site.run("update", job)
    assert refused.returncode == 2
    assert "what to change" in refused.stderr
    moved = site.json("update", "--from-queue", "urgent", "--queue", "day", "--dry-run")
    assert [str(one["job"]) for one in moved["jobs"]] == [job]
    site.wattline("cancel", job)
    site.until_state(job, "CANCELLED")


def test_indices_of_an_array_are_acted_on_alone(site: CliSite) -> None:
    job = site.submit("--array", "5-8", "--", "sleep", "300")

    def running() -> set[int]:
        attempts = site.client.job(int(job)).attempts
        return {a.task for a in attempts if a.state == "RUNNING"}

    site.until(lambda: running() == {0, 1, 2, 3}, "four tasks")
    assert f"job {job}[5,7-8]" in site.wattline("cancel", f"{job}.5,{job}[7-8]")
    site.until(lambda: running() == {1}, "one task is left")
    site.wattline("requeue", f"{job}[7]")
    site.until(lambda: running() == {1, 2}, "a cancelled index runs again")
    refused = site.run("cancel", f"{job}.9")
    assert refused.returncode == 3
    assert f"job {job} has no index 9; it has 5-8" in refused.stderr
    site.wattline("cancel", job)
    site.until_state(job, "CANCELLED")


def test_filters_choose_jobs_and_a_dry_run_lists_them(site: CliSite) -> None:
    jobs = [site.submit("--hold", "--name", f"night-{n}", "--", "true") for n in range(2)]
    other = site.submit("--hold", "--name", "day", "--", "true")
    listed = site.json("cancel", "--name", "night-*", "--state", "HELD", "--dry-run")
    assert [str(job["job"]) for job in listed["jobs"]] == jobs
    assert site.json("job", jobs[0])["state"] == "HELD"
    assert "2 jobs" in site.wattline("cancel", "--name", "night-*")
    assert [site.json("job", job)["state"] for job in jobs] == ["CANCELLED", "CANCELLED"]
    assert site.json("job", other)["state"] == "HELD"
    where = f"state=held and name=d*y and not job={jobs[0]}"
    assert other in site.wattline("jobs", "--where", where, "--columns", "job,state", "--csv")
    assert f"job {other} " in site.wattline("cancel", "--where", where)
    assert site.json("jobs", "--where", where) == []
    assert site.run("cancel", "--where", "stat=held").stderr.endswith("the nearest is state\n")
    assert "No job matches." in site.wattline("cancel", "--name", "night-*")
    refused = site.run("cancel")
    assert refused.returncode == 2
    assert "specify jobs" in refused.stderr


def test_waiting_job_is_explained(site: CliSite) -> None:
    holder = site.submit("--gpus", "8", "--", "sleep", "300")
    site.until_state(holder, "RUNNING")
    waiting = site.submit("--gpus", "8", "--", "true")
    shown = site.until_shown(
        f"Start: unknown: job {holder} holds the resources it needs", "explain", waiting
    )
    assert "n1" in shown
    why = site.json("explain", waiting)
    assert why["nodes_feasible"] == 0
    assert why["refusals"]
    wanted = ("--gpus", "8", "--priority", "high")

    def is_remedy() -> bool:
        what_if = json.loads(site.wattline("whatif", *wanted, "--json", "--", "true"))
        texts = [one["text"] for one in what_if["remedies"] if one["kind"] == "preempt"]
        way = f"if job {holder} (priority 50) of lower priority were preempted"
        return any(way in text for text in texts)

    # Nobody would be sent away from a node that is late with a beat.
    site.until(is_remedy, "that the holder would be preempted")
    refused = site.run("whatif", "--gpus", "9", "--", "true")
    assert refused.returncode == 1
    assert "no node has more than 8" in refused.stderr
    site.until_shown("resources are free now", "whatif", "--gpus", "0", "--", "true")
    site.wattline("cancel", holder)
    site.until_state(waiting, "COMPLETED")


def test_drained_node_gets_nothing_new(site: CliSite) -> None:
    site.wattline("drain", "n1", "--reason", "fan swap")
    job = site.submit("--", "true")
    assert site.json("job", job)["state"] == "PENDING"
    site.until_shown("fan swap", "nodes")
    site.wattline("undrain", "n1")
    site.until_state(job, "COMPLETED")


def test_a_drain_is_waited_for_until_the_last_task_has_left(site: CliSite) -> None:
    short = site.submit(
        "--time",
        "1h",
        "--",
        "sh",
        "-c",
        "cd $WATTLINE_TASK_DIR; while ! test -e go; do sleep 0.1; done",
    )
    site.until_state(short, "RUNNING")
    reported = site.wattline("drain", "n1", "--after-jobs", "--reason", "new fan")
    assert "n1 is draining: 1 task still runs, for " in reported
    site.until_shown("1 task left, until", "nodes")
    site.start("drain", "drain", "n1", "--wait")
    site.until(lambda: "still runs" in site.tail("drain"), "it waits")
    (folder,) = filter(Path.is_dir, (site.state("n1") / "tasks").glob(f"{short}.*"))
    (folder / "go").touch()
    assert site.ended("drain") == 0
    assert "n1 is drained" in site.tail("drain")
    assert site.json("node", "n1")["drained_unix_s"] is not None
    site.until_shown("since 20", "nodes")
    site.wattline("undrain", "n1")
    long = site.submit("--", "sleep", "300")
    site.until_state(long, "RUNNING")
    site.wattline("drain", "n1", "--now", "--wait")
    assert site.json("job", long)["state"] == "PENDING"
    refused = site.run("drain", "n1", "--now", "--after-jobs")
    assert refused.returncode == 2
    site.wattline("undrain", "n1")
    site.until_state(long, "RUNNING")
    site.wattline("cancel", long)
    site.until_state(long, "CANCELLED")


def test_budget_is_shed_and_restored(site: CliSite) -> None:
    full_w = site.json("power")[0]["budget_w"]
    site.wattline("power", "shed", "25%", "--for", "1h", "--reason", "grid event")
    domain = site.json("power")[0]
    assert domain["budget_w"] == pytest.approx(0.75 * full_w)
    assert "grid event" in site.wattline("power")
    site.wattline("power", "restore")
    assert site.json("power")[0]["budget_w"] == full_w
    kinds = [json.loads(line)["kind"] for line in site.wattline("events", "--json").splitlines()]
    assert {"budget_shed", "budget_restored"} <= set(kinds)


def test_task_outlives_its_agent(site: CliSite) -> None:
    job = site.submit("--gpus", "1", "--", "sleep", "300")
    before = site.until_state(job, "RUNNING")["attempts"][0]
    site.stop("agent-n1", signal.SIGKILL)
    assert psutil.pid_exists(before["pid"])
    site.start_agent("n1")
    site.until(lambda: site.json("job", job)["attempts"][0]["readopted"] == 1, "taken over again")
    after = site.json("job", job)["attempts"]
    assert [(a["attempt"], a["pid"]) for a in after] == [(before["attempt"], before["pid"])]
    site.wattline("cancel", job)
    site.until_state(job, "CANCELLED")


def test_jobs_outlive_the_scheduler(site: CliSite) -> None:
    running = site.submit("--", "sleep", "300")
    held = site.submit("--hold", "--", "true")
    before = site.until_state(running, "RUNNING")["attempts"]
    site.stop("scheduler", signal.SIGKILL)
    assert psutil.pid_exists(before[0]["pid"])
    site.start_scheduler()
    site.until(lambda: site.client.node("n1").state == "ok", "the node reports again")
    assert site.json("job", held)["state"] == "HELD"
    after = site.until_state(running, "RUNNING")
    assert [(a["attempt"], a["pid"]) for a in after["attempts"]] == [
        (a["attempt"], a["pid"]) for a in before
    ]
    site.wattline("cancel", f"{running},{held}")
    site.until_state(running, "CANCELLED")


def test_report_accounts_for_what_ran(site: CliSite) -> None:
    job = site.submit("--", "true")
    site.until_state(job, "COMPLETED")
    value = site.json("report")
    assert value["simulated"]
    assert value["site_energy_kwh"] > 0
    assert "COMPLETED" in [one["state"] for one in value["jobs"] if str(one["id"]) == job]
    assert "feed-a" in site.wattline("report", "--since", "1h")


def test_killed_task_is_told_apart_from_a_failed_one(site: CliSite) -> None:
    job = site.submit("--", "sleep", "300")
    pid = site.until_state(job, "RUNNING")["attempts"][0]["pid"]
    os.kill(pid, signal.SIGKILL)
    ended = site.until_state(job, "FAILED")
    assert ended["attempts"][0]["exit"]["signal"] == signal.SIGKILL


def test_agent_says_what_works_on_its_host(site: CliSite) -> None:
    hardware = site.folder / "hw-n1"
    site.environ["LD_LIBRARY_PATH"] = str(hardware)
    done = site.run("agent", "--check", "--json", "--state-dir", str(site.folder / "other"))
    del site.environ["LD_LIBRARY_PATH"]
    checks = {check["name"]: check for check in json.loads(done.stdout)}
    assert checks["NVML"]["verdict"] == "ok"
    assert "8 GPUs (simulated)" in checks["NVML"]["found"]


def test_terminal_opens_over_the_site_and_is_left(site: CliSite) -> None:
    shown, status = site.in_terminal("top", until=(b"n1", b"feed-a"), then=b"q")
    assert status == 0, shown


def test_floors_are_set_without_an_agent(site: CliSite) -> None:
    hardware = site.folder / "hw-spare"
    site.start("sim-spare", "sim", "node", "--dir", str(hardware), "--name", "spare")
    site.until((hardware / "node.json").exists, "the spare hardware")
    seen = {**site.environ, "LD_LIBRARY_PATH": str(hardware)}
    for command in (site.command("agent", "--floors"), [sys.executable, "-c", READ_LIMITS]):
        done = subprocess.run(
            command, env=seen, capture_output=True, text=True, timeout=60, check=True
        )
    assert done.stdout.split() == ["200000"] * 8
