"""A terminal on an allocation: typed in, left, attached again, taken over, flooded, ended."""

import re
import signal
from pathlib import Path

import pytest

from support.programs.cli_site import CliSite
from support.programs.user_terminal import UserTerminal
from wattline import exits

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180), pytest.mark.xdist_group("terminals")]


def test_a_shell_is_used_left_and_attached_again(site: CliSite) -> None:
    run = ("run", "--gpus", "1", "--pty", "--", "bash", "--norc")
    with UserTerminal(site, *run) as user:
        job = user.until(r"attached to job (\d+)")[1].decode()
        user.until(r"bash-[0-9.]+[#$] ")
        user.type("stty size; echo gpus=[${#CUDA_VISIBLE_DEVICES}]; tty\r")
        user.until(r"30 100\r\n")
        user.until(r"gpus=\[[1-9]\d*\]\r\n/dev/pts/\d+")

        user.resize(132, 43)
        user.type("while [ \"$(stty size)\" != '43 132' ]; do :; done; echo re''sized\r")
        user.until("resized")

        user.type("echo re''ady; cat\r")
        user.until("ready\r\n")
        user.type("here\r")
        user.until("here\r\nhere\r\n")
        user.type("\x03")  # the program's, not the client's
        user.until(r"\^C[^$#]*bash-[0-9.]+[#$] ")
        user.type("left=$$; echo pid=$left\r")
        pid = user.until(r"pid=(\d+)")[1]
        user.type("\r~.")
        assert user.ended() == 0
        assert f"`wattline attach {job}` attaches again".encode() in user.shown
        assert user.modes == user.before

    assert site.client.job(int(job)).state == "RUNNING"
    with UserTerminal(site, "attach", job) as again:
        again.until(r"pid=" + pid.decode())  # what was shown before
        late = UserTerminal(site, "attach", job)
        assert again.ended() == 1
        assert b"admin has attached to this terminal" in again.shown
    with late:
        late.until("attached to")
        late.type('echo "still $left"; exit 7\r')
        late.until(r"still " + pid.decode())
        assert late.ended() == 7
        assert late.modes == late.before

    log = site.wattline("logs", job)
    assert "resized" in log
    assert f"still {pid.decode()}" in log
    acts = site.wattline("events", "--acts")
    assert f"attached to the terminal of job {job} of user admin" in acts
    assert f"detached from the terminal of job {job} of user admin" in acts


def test_another_user_is_refused_and_on_record(site: CliSite) -> None:
    job = site.submit("--gpus", "0", "--pty", "--", "sleep", "600")
    plain = site.submit("--gpus", "0", "--", "sleep", "600")
    site.wattline("enroll", "eve", "--role", "operator", "--site", str(site.site))
    site.until_state(job, "RUNNING")
    with UserTerminal(site, "attach", job, user="eve") as eve:
        assert eve.ended() == 4
        assert b"belongs to admin; only its owner may use its terminal" in eve.shown
    assert "may not attach to the terminal of job" in site.wattline("events", "--acts")
    with UserTerminal(site, "attach", plain) as user:
        assert user.ended() != 0
        assert b"submitted without --pty" in user.shown
    refused = site.run("attach", job)
    assert (refused.returncode, "must be a terminal" in refused.stderr) == (2, True)
    site.wattline("cancel", f"{job},{plain}")


def test_a_flood_delays_no_other_and_outlasts_scheduler_and_agent(
    site: CliSite, tmp_path: Path
) -> None:
    goal = tmp_path / "goal"
    answer = "read -t 0.1 line && echo got $line $((m++))"
    beats = f"until test -e {goal}; do echo beat $((n++)).; {answer}; done; true"
    flood = f"stty -echo; read go; yes | head -c 1000000; {beats}"
    with UserTerminal(site, "run", "--gpus", "0", "--pty", "--", "bash", "-c", flood) as user:
        job = user.until(r"attached to job (\d+)")[1].decode()
        user.type("\r")
        user.until(r"(y\r\n){1000}")
        number = site.submit("--gpus", "0", "--", "true")
        user.until("beat")
        site.until_state(number, "COMPLETED")
        assert user.shown.count(b"y\r\n") == 500_000

        site.stop("scheduler")
        site.start_scheduler()
        site.stop("agent-n1", signal.SIGKILL)
        site.start_agent("n1")
        user.type("typed\r")
        user.until("got typed 0\r\n")
        goal.touch()
        assert user.ended() == 0, user.shown[-500:]
        beats_shown = [int(number) for number in re.findall(rb"beat (\d+)\.", user.shown)]
        assert beats_shown == list(range(len(beats_shown))), "none is lost, none shown twice"
    assert site.client.job(int(job)).state == "COMPLETED"


def test_a_client_that_is_ended_by_a_signal_restores_its_terminal(site: CliSite) -> None:
    command = ("run", "--gpus", "0", "--pty", "--", "sh", "-c", r"printf '\033[?1049h'; exec cat")
    with UserTerminal(site, *command) as user:
        job = user.until(r"attached to job (\d+)")[1].decode()
        user.until(r"\[\?1049h")
        assert user.modes != user.before
        user.process.send_signal(signal.SIGTERM)
        assert user.ended() == 128 + signal.SIGTERM
        assert user.modes == user.before
        assert b"\x1b[?1049l" in user.shown
    assert site.client.job(int(job)).state == "RUNNING"
    site.wattline("cancel", job)
    site.until_state(job, "CANCELLED")


def test_a_requeued_job_is_attached_again_and_a_cancelled_one_ends(site: CliSite) -> None:
    with UserTerminal(site, "run", "--gpus", "0", "--pty", "--", "bash", "--norc") as user:
        job = user.until(r"attached to job (\d+)")[1].decode()
        user.until(r"bash-[0-9.]+[#$] ")
        site.wattline("requeue", job)
        user.until(f"Its terminal has ended; job {job} has not")
        user.until(f"attached to job {job}")
        user.until(r"bash-[0-9.]+[#$] ")
        user.type("echo fr''esh\r")
        user.until("fresh")
        site.wattline("cancel", job)
        assert user.ended() == exits.JOB_CANCELLED
        assert user.modes == user.before
    with UserTerminal(site, "run", "-q", "--gpus", "0", "--pty", "--", "no-such-program") as user:
        assert user.ended() == 127
        assert b"no-such-program: No such file or directory" in user.shown, "attached or not"
