"""Tasks under a real keeper: how they end, what they leave, what they may write."""

import json
import os
import pwd
import signal
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from support.node.keepers import CONTEXT, LiveKeeper, connect, keeper, order, ref, shell
from support.node.simnode import wait_until
from wattline_agent.core.ports import LaunchContext, LogSlice
from wattline_protocol.ids import UnixTime
from wattline_protocol.wire.task_order import Notice


@pytest.fixture(params=["cgroup", "session"])
def live(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LiveKeeper]:
    """A keeper that uses cgroups where this host has them, and one that does not."""
    options = [] if request.param == "cgroup" else ["--no-cgroup"]
    with keeper(tmp_path, *options) as started:
        yield started


def test_exit_codes_and_signals_are_told_apart(live: LiveKeeper) -> None:
    ends = {
        number: live.run(shell(text, of=ref(number))).exit
        for number, text in enumerate(["true", "exit 3", "exit 127", "kill -SEGV $$", "kill -9 $$"])
    }
    assert [(e.kind, e.code, e.signal) for e in ends.values() if e] == [
        ("exited", 0, None),
        ("exited", 3, None),
        ("exited", 127, None),
        ("signaled", None, signal.SIGSEGV),
        ("signaled", None, signal.SIGKILL),
    ]


@pytest.mark.parametrize(
    ("command", "kind", "words"),
    [
        ("trian.py", "not_found", "command not found: trian.py"),
        ("./missing", "not_found", "command not found: ./missing"),
        ("/etc/passwd", "not_startable", "/etc/passwd is not executable"),
        ("/tmp", "not_startable", "/tmp is a directory"),
    ],
)
def test_what_cannot_be_started_is_said_in_words(
    live: LiveKeeper, command: str, kind: str, words: str
) -> None:
    end = live.run(order(command)).exit
    assert end is not None
    assert end.kind == kind
    assert words in end.detail
    assert end.code is None


def test_a_script_without_an_interpreter_line_says_so(live: LiveKeeper) -> None:
    script = live.state_dir / "run.sh"
    script.write_text("echo hello\n")
    script.chmod(0o755)
    end = live.run(order(str(script))).exit
    assert end is not None
    assert (end.kind, "#!" in end.detail) == ("not_startable", True)


def test_a_missing_workdir_is_named(live: LiveKeeper) -> None:
    end = live.run(shell("true", workdir="/no/such/place")).exit
    assert end is not None
    assert end.kind == "not_startable"
    assert "/no/such/place does not exist" in end.detail


def test_a_command_is_looked_up_on_the_jobs_own_path(live: LiveKeeper) -> None:
    tools = live.state_dir / "tools"
    tools.mkdir()
    tool = tools / "train-it"
    tool.write_text("#!/bin/sh\necho trained in $PWD\n")
    tool.chmod(0o755)
    seen = live.run(order("train-it", env={"PATH": f"{tools}:/usr/bin:/bin"}))
    assert seen.exit is not None
    assert seen.exit.code == 0
    assert live.log() == f"trained in {live.task_dir()}\n"


def test_the_task_sees_its_contract(live: LiveKeeper) -> None:
    task = shell("env", of=ref(7, 3, 2), env={"SEED": "1", "WATTLINE_JOB": "999"}, array_index=3)
    live.run(task)
    lines = dict(line.split("=", 1) for line in live.log(task.ref).splitlines() if "=" in line)
    folder = live.task_dir(task.ref)
    assert lines["SEED"] == "1"
    assert lines["WATTLINE_JOB"] == "7"
    assert lines["WATTLINE_TASK"] == "3"
    assert lines["WATTLINE_ATTEMPT"] == "2"
    assert lines["WATTLINE_ARRAY_INDEX"] == "3"
    assert lines["WATTLINE_NODE"] == "node-1"
    assert lines["WATTLINE_METRICS"] == f"{folder}.metrics.jsonl"
    assert lines["CUDA_VISIBLE_DEVICES"] == "GPU-aa,GPU-bb"
    assert lines["PYTHONPATH"].endswith(str(live.state_dir / "tasklib"))
    assert Path(lines["WATTLINE_CHECKPOINT_DIR"]).is_dir()


def test_a_task_hears_nothing_of_the_keepers_own_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"STATE_DIRECTORY": "/var/lib/x", "MEMORY_PRESSURE_WATCH": "/x", "SITE_PROXY": "here"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with keeper(tmp_path) as started:
        started.run(shell("env"), replace(CONTEXT, pass_env=("*_DIRECTORY", "M*", "SITE_*")))
        seen = dict(line.split("=", 1) for line in started.log().splitlines() if "=" in line)
    assert {name: seen[name] for name in given if name in seen} == {"SITE_PROXY": "here"}


def test_a_task_sees_nothing_else_of_the_environment_that_started_the_keeper(
    tmp_path: Path,
) -> None:
    usual = {"LANG": "C.UTF-8", "LC_TIME": "C", "TZ": "UTC", "LD_LIBRARY_PATH": "/nowhere"}
    private = {
        "AWS_SECRET_ACCESS_KEY": "x",
        "SSH_AUTH_SOCK": "/x",
        "WATTLINE_BUNDLE": "/x",
        "PYTHONPATH": "/x",
        "LD_PRELOAD": "",
        "HOME": "/x",
        "USER": "x",
        "LC": "x",
    }
    with keeper(tmp_path, env={**usual, **private, "NCCL_DEBUG": "INFO", "NCCL": "x"}) as started:
        started.run(order("/usr/bin/env"), replace(CONTEXT, pass_env=("NCCL_*", "WATTLINE_*")))
        seen = dict(line.split("=", 1) for line in started.log().splitlines())
    ours = {name for name in seen if name.startswith(("WATTLINE_", "CUDA_", "PYTHON"))}
    assert "WATTLINE_BUNDLE" not in ours
    assert seen["PYTHONPATH"] == str(tmp_path / "tasklib")
    me = pwd.getpwuid(os.geteuid())
    assert {name: seen[name] for name in seen.keys() - ours} == {
        **usual,
        "PATH": os.environ["PATH"],
        "NCCL_DEBUG": "INFO",
        "HOME": me.pw_dir,
        "USER": me.pw_name,
        "LOGNAME": me.pw_name,
        "SHELL": me.pw_shell,
    }


def test_an_agents_end_of_it_leaves_nothing_open_behind(live: LiveKeeper) -> None:
    """Each time that a keeper is lost there is another one."""
    open_now = Path("/proc/self/fd")
    before = {one.name for one in open_now.iterdir()}
    connect(live.state_dir).close()
    assert {one.name for one in open_now.iterdir()} <= before


def test_a_long_search_for_a_command_holds_up_nobody(live: LiveKeeper, tmp_path: Path) -> None:
    """2,000 places that are 400 directories deep: the child looks there, as on a server's."""
    deep = tmp_path.joinpath(*["d"] * 400)
    subprocess.run(["mkdir", "-p", str(deep)], check=True)
    search = order("no-such", of=ref(1), workdir=str(deep), env={"PATH": ":" * 2_000})
    live.runner.launch(search, CONTEXT)
    assert live.run(shell("true", of=ref(2))).exit is not None
    end = live.until("ended", ref(1)).exit
    assert end is not None
    assert end.kind == "not_found"


def test_a_task_runs_at_ordinary_priority_without_core_dumps(live: LiveKeeper) -> None:
    live.run(shell("nice; ulimit -c; cat /proc/self/oom_score_adj; ls /proc/self/fd | wc -l"))
    assert live.log().split() == ["0", "0", "300", "4"]


def test_a_task_begins_with_default_signals(live: LiveKeeper) -> None:
    live.run(order("grep", "-E", "Sig(Ign|Blk)", "/proc/self/status"))
    assert {line.split()[1] for line in live.log().splitlines()} == {"0" * 16}


STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
def detach(own_session):
    if os.fork() == 0:
        if own_session:
            os.setsid()
        if os.fork() == 0:
            time.sleep(1000)
        os._exit(0)
detach(False); detach(True)
os.wait(); os.wait()
print("ready", flush=True)
time.sleep(1000)
"""


def test_a_stubborn_tree_is_ended_to_the_last_process(live: LiveKeeper) -> None:
    live.runner.launch(order("python3", "-c", STUBBORN), CONTEXT)
    wait_until(lambda: "ready" in live.log(), "the tree stands")
    assert len(live.processes()) == 3
    live.runner.stop(ref(), 0.2, "cancelled by ada")
    seen = live.until("ended")
    assert seen.exit is not None
    assert (seen.exit.kind, seen.exit.signal) == ("signaled", signal.SIGKILL)
    assert "killed after its grace" in seen.exit.detail
    assert seen.exit.leftover_pids == ()
    assert seen.group_ended
    assert live.processes() == set()


def test_a_detached_child_does_not_outlive_the_task(live: LiveKeeper) -> None:
    live.run(shell("setsid sleep 1000 & sleep 1000 & exit 0"))
    assert live.processes() == set()


def test_children_may_use_the_grace_after_their_shell_has_died(live: LiveKeeper) -> None:
    child = (
        "import signal,time,sys\n"
        "def bye(*_): time.sleep(0.3); print('saved', flush=True); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, bye); print('ready', flush=True); time.sleep(1000)\n"
    )
    live.runner.launch(shell(f'python3 -c "{child}"; true'), CONTEXT)
    wait_until(lambda: "ready\n" in live.log(), "the child runs")
    live.runner.stop(ref(), 20, "shed")
    live.until("ended")
    assert live.log() == "ready\nsaved\n"
    assert live.beside("stop").read_text() == "shed\n"


COUNTER = "i=0; while true; do i=$((i+1)); echo $i > progress; done"


def test_a_stop_signal_reaches_the_program_and_ends_no_launcher(live: LiveKeeper) -> None:
    program = "trap 'echo saved; exit 3' USR1; echo ready; while :; do sleep 0.05; done"
    saves = shell(f'sh -c "{program}"; echo ended with $?', stop_signal="USR1")
    live.runner.launch(saves, CONTEXT)
    live.runner.launch(shell("sleep 1000", of=ref(2), stop_signal="USR1"), CONTEXT)
    wait_until(lambda: "ready" in live.log(), "the program handles the signal")
    for of in (ref(), ref(2)):
        live.runner.stop(of, 20, "requeued")
    ends = [live.until("ended", of).exit for of in (ref(), ref(2))]
    assert [(end.code, end.signal) for end in ends if end] == [(0, None), (None, signal.SIGTERM)]
    assert live.log() == "ready\nsaved\nended with 3\n"


def test_freeze_stops_every_process_and_thaw_lets_it_go_on(live: LiveKeeper) -> None:
    live.runner.launch(shell(f"({COUNTER}) & wait"), CONTEXT)
    progress = live.task_dir() / "progress"
    wait_until(lambda: progress.exists(), "it counts")
    live.runner.freeze(ref())
    live.until("paused")
    before = (progress.stat().st_mtime_ns, live.seen().cpu_s)
    states = {live_state(pid) for pid in live.processes()}
    assert before[0] == progress.stat().st_mtime_ns
    assert states <= {"T", "D", "S"}
    live.runner.thaw(ref())
    wait_until(lambda: progress.stat().st_mtime_ns > before[0], "it counts again")
    live.until("running")
    live.runner.freeze(ref())
    live.until("paused")
    live.runner.stop(ref(), 10, "cancelled")
    seen = live.until("ended")
    assert seen.exit is not None
    assert seen.exit.signal == signal.SIGTERM
    assert seen.group_ended


def live_state(pid: int) -> str:
    text = Path(f"/proc/{pid}/stat").read_text()
    return text.rsplit(")", 1)[1].split()[0]


def test_a_kill_says_why(live: LiveKeeper) -> None:
    live.runner.launch(shell("sleep 1000"), CONTEXT)
    live.runner.kill(ref(), "emergency", "the site was shed below its floor")
    end = live.until("ended").exit
    assert end is not None
    assert (end.kind, end.detail) == ("emergency", "the site was shed below its floor")


def test_a_notice_is_one_line_of_json_that_outlives_the_agent(live: LiveKeeper) -> None:
    live.runner.launch(shell("sleep 1000"), CONTEXT)
    live.until("running")
    notice = Notice("pause", UnixTime(1_700_000_000.5), 'the budget of "hall" falls', 0.0)
    live.runner.notify(ref(), notice)
    (line,) = live.beside("notice").read_text().splitlines()
    assert json.loads(line) == {
        "what": "pause",
        "at_unix_s": 1_700_000_000.5,
        "why": 'the budget of "hall" falls',
        "grace_s": 0.0,
    }
    assert stat.S_IMODE(live.beside("notice").stat().st_mode) == 0o644
    live.runner.close()
    live.runner = connect(live.state_dir)
    assert live.seen().notice == notice
    live.runner.notify(ref(), None)
    assert not live.beside("notice").exists()
    assert live.seen().notice is None


def test_the_runtime_limit_is_kept_with_notice_and_grace(live: LiveKeeper) -> None:
    task = shell(
        "trap 'echo asked; exit 0' TERM; sleep 1000 & wait", runtime_limit_s=1.5, grace_s=20.0
    )
    end = live.run(task).exit
    assert end is not None
    assert (end.kind, end.code) == ("runtime_limit", 0)
    assert "1.5 s" in end.detail
    assert live.log() == "asked\n"


def test_a_pause_is_no_run_time_and_nothing_is_thawed_to_be_stopped(live: LiveKeeper) -> None:
    paused, clock = ref(1), ref(2)
    live.runner.launch(shell("sleep 1000", of=paused, runtime_limit_s=2.0), CONTEXT)
    live.runner.freeze(paused)
    live.until("paused", paused)
    live.runner.launch(shell("sleep 1000", of=clock, runtime_limit_s=2.5), CONTEXT)
    live.until("ended", clock)
    seen = live.seen(paused)
    assert (seen.phase, seen.run_s < 2.0) == ("paused", True)
    live.runner.thaw(paused)
    end = live.until("ended", paused).exit
    assert end is not None
    assert end.kind == "runtime_limit"


def test_a_runtime_limit_can_be_changed_while_it_runs(live: LiveKeeper) -> None:
    live.runner.launch(shell("sleep 1000", runtime_limit_s=2.0), CONTEXT)
    live.runner.limit(ref(), 1_000.0)
    assert live.seen().order.runtime_limit_s == 1_000.0
    wait_until(lambda: live.seen().run_s > 2.2, "it outlives its first limit")
    assert live.seen().exit is None
    live.runner.limit(ref(), 0.5)
    end = live.until("ended").exit
    assert end is not None
    assert (end.kind, "0.5 s" in end.detail) == ("runtime_limit", True)


def test_a_task_lease_is_kept_without_grace_and_can_be_renewed(live: LiveKeeper) -> None:
    import time

    now_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    leased = LaunchContext((), "", now_s + 1.5, "node-1")
    one, two, later = ref(1), ref(2), ref(3)
    live.runner.launch(shell("trap '' TERM; sleep 1000 & wait; sleep 1000", of=one), leased)
    live.runner.launch(shell("sleep 1000", of=two), CONTEXT)
    live.runner.launch(shell("sleep 1000", of=later), CONTEXT)
    assert [live.seen(of).has_task_lease for of in (one, two, later)] == [True, False, False]
    live.runner.grant_lease(later, now_s + 1.5)
    live.runner.renew(now_s + 2.0)
    assert live.seen(later).has_task_lease
    end = live.until("ended", one).exit
    assert end is not None
    assert end.kind == "task_lease_expired"
    assert end.ended_unix_s - time.time() < 5
    ended_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert ended_s >= now_s + 2.0
    end = live.until("ended", later).exit
    assert end is not None
    assert end.kind == "task_lease_expired"
    assert live.seen(two).phase == "running"


def test_the_log_is_bounded_and_keeps_the_newest(live: LiveKeeper) -> None:
    text = "i=0; while [ $i -lt 40000 ]; do echo line-$i-........; i=$((i+1)); done"
    live.run(shell(text, log_limit_bytes=128 * 1024))
    kept = live.beside("log").stat().st_size + live.beside("log.1").stat().st_size
    assert kept <= 128 * 1024
    whole = sum(len(f"line-{i}-........\n") for i in range(40000))
    first = live.runner.read_log(ref(), 0, 1000)
    assert first.data.startswith(b"[wattline: %d earlier bytes were cut" % (whole - kept))
    last = live.runner.read_log(ref(), -40, 1000)
    assert last.data.endswith(b"line-39999-........\n")
    assert (last.next_offset, last.at_end) == (whole, True)


def test_reading_the_log_in_pieces_gives_all_of_it(live: LiveKeeper) -> None:
    live.run(shell("i=0; while [ $i -lt 2000 ]; do echo $i; i=$((i+1)); done"))
    data, offset = b"", 0
    while True:
        piece = live.runner.read_log(ref(), offset, 1000)
        data, offset = data + piece.data, piece.next_offset
        if piece.at_end:
            break
    assert data.decode().split() == [str(i) for i in range(2000)]


def test_usage_of_the_whole_tree_is_counted(live: LiveKeeper) -> None:
    busy = "import time\nx=bytearray(60_000_000)\nwhile time.process_time()<0.3: pass\n"
    seen = live.run(shell(f'python3 -c "{busy}"; true'))
    assert seen.cpu_s >= 0.25
    assert seen.max_rss_bytes >= 60_000_000
    assert seen.run_s >= 0.3


def test_metrics_and_log_tail_come_with_the_report(live: LiveKeeper) -> None:
    code = (
        "from wattline import task; task.metric(loss=0.5, step=3); print('bye')\n"
        "with task.saving(4, background=True) as path: path.write_bytes(b'weights')\n"
        "task.wait_saved(); task.save(5, lambda path: open('/dev/full', 'wb').write(b'x' * 9999))"
    )
    seen = live.run(order("python3", "-S", "-c", code))
    assert seen.metrics == {"loss": 0.5, "step": 3.0}
    assert seen.checkpoint is not None
    assert (seen.checkpoint.step, seen.checkpoint.bytes) == (4, 7)
    assert seen.checkpoint_trouble is not None
    assert (seen.checkpoint_trouble.step, seen.checkpoint_trouble.in_a_row) == (5, 1)
    assert seen.exit is not None
    assert seen.exit.log_tail.startswith("bye\n")


def test_a_service_gets_a_key_that_only_it_can_read(live: LiveKeeper) -> None:
    task = shell(
        'cat "$WATTLINE_WORKER_SECRET_FILE"; env',
        kind="service",
        gateways=("tcp://127.0.0.1:1", "tcp://127.0.0.1:2"),
        gateway_keys=("k" * 40, "l" * 40),
    )
    seen = live.run(task)
    secret = live.beside("worker.secret")
    assert len(seen.worker_public_key) == 40
    assert secret.stat().st_mode & 0o777 == 0o600
    assert live.log().startswith(secret.read_text())
    assert "WATTLINE_GATEWAY=tcp://127.0.0.1:1,tcp://127.0.0.1:2\n" in live.log()
    assert f"WATTLINE_GATEWAY_KEY={'k' * 40},{'l' * 40}\n" in live.log()
    live.runner.drop(ref())
    assert not secret.exists()


def test_a_dropped_attempt_is_forgotten_but_its_log_stays(live: LiveKeeper) -> None:
    live.run(shell("echo kept"))
    live.runner.drop(ref())
    assert live.runner.observe() == []
    assert live.log() == "kept\n"


def test_the_output_of_an_attempt_stays_until_it_is_dropped(live: LiveKeeper) -> None:
    live.run(shell("echo x > $WATTLINE_OUTPUT/a; stat -c %a $WATTLINE_OUTPUT", has_output=True))
    assert live.log() == "700\n"
    output = live.beside("output")
    live.runner.close()
    live.runner = connect(live.state_dir)
    assert (output / "a").read_text() == "x\n"
    live.runner.drop(ref())
    wait_until(lambda: not output.exists(), "the removal of the output")
    live.run(shell("true", of=ref(2)))  # the launch puts the drop on disk
    output.mkdir()  # as by an agent that died before the removal
    live.runner.close()
    live.runner = connect(live.state_dir)
    wait_until(lambda: not output.exists(), "the removal of what was left")


def test_directories_that_were_left_empty_serve_the_next_attempts(live: LiveKeeper) -> None:
    where = "stat -c %i:%a . $WATTLINE_CHECKPOINT_DIR"
    for job in (1, 2):
        live.run(shell(where, of=ref(job)))
        live.runner.drop(ref(job))
    assert set(live.log(ref(1)).split()) == set(live.log(ref(2)).split())
    assert not live.task_dir(ref(1)).exists()
    live.run(shell("echo x > mine; echo x > $WATTLINE_CHECKPOINT_DIR/saved", of=ref(3)))
    live.runner.drop(ref(3))
    live.run(shell("ls -A . $WATTLINE_CHECKPOINT_DIR | grep -v :", of=ref(4)))
    assert live.log(ref(4)).split() == []
    assert (live.task_dir(ref(3)) / "mine").exists()
    assert (live.state_dir / "checkpoints" / "3" / "saved").exists()


def test_a_directory_whose_rights_were_changed_serves_nobody_else(live: LiveKeeper) -> None:
    live.run(shell("chmod 777 ."))
    live.runner.drop(ref())
    live.run(shell("stat -c %a .", of=ref(2)))
    assert live.log(ref(2)) == "700\n"
    assert live.task_dir().exists()


def test_what_wrote_nothing_has_an_empty_log(live: LiveKeeper) -> None:
    live.run(shell("true"))
    assert not live.beside("log").exists()
    assert live.runner.read_log(ref(), 0, 100) == LogSlice(b"", 0, at_end=True)
    live.runner.drop(ref())
    assert live.runner.read_log(ref(), 0, 100) == LogSlice(b"", 0, at_end=True)
    assert "no log" in live.runner.read_log(ref(9), 0, 100).error


def test_launching_twice_runs_once(live: LiveKeeper) -> None:
    task = shell("echo x >> count; sleep 1000")
    live.runner.launch(task, CONTEXT)
    first = live.until("running").pid
    live.runner.launch(task, CONTEXT)
    assert live.seen().pid == first
    assert os.getpgid(first or 0) == first
