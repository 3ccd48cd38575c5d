"""From an order to argv and environment, and metrics from a task's file."""

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import psutil
import pytest

from support.node.keepers import CONTEXT, order, ref
from wattline.checkpoint_watch import __main__ as watcher
from wattline_agent.executor.launch import (
    STOP_PATIENCE,
    NotLaunchable,
    argv_of,
    environment_of,
    spec_of,
)
from wattline_agent.executor.launchers import enter_container
from wattline_agent.executor.layout import TaskDir, key_of, ref_of
from wattline_agent.executor.metrics import MAX_BYTES_PER_LOOK, MAX_METRICS, MetricsTail
from wattline_agent.executor.tasklib import checkpoint_watch
from wattline_agent.host.address import address_towards, interface_towards
from wattline_agent.keeper import spec as keeper_spec
from wattline_protocol.job.http_server import bridge_command
from wattline_protocol.job.spec import LAUNCHERS, STOP_SIGNALS, HttpServer, Launcher, SecretUse
from wattline_protocol.wire.agents.data_messages import TaskData
from wattline_protocol.wire.task_order import Rendezvous
from wattline_runtime.train import ray_cluster

MEET = Rendezvous("10.0.0.1", 29500, 1, 2, 4)
RUN = (
    "/lib/wattline/rendezvous.py",
    "10.0.0.1",
    "29500",
    "1",
    "--nnodes=2",
    "--nproc-per-node=4",
    "--max-restarts=0",
    "--log-dir=/s/tasks/1.0.1/.wattline-torchrun",
    "/lib/wattline/rank.py",
    str(64 * 1024 * 1024 // 4),
)
FOLDER, TASKLIB = TaskDir(Path("/s"), ref()), Path("/lib")


def torchrun(*command: str) -> tuple[str, ...]:
    return argv_of(order(*command, launcher="torchrun", rendezvous=MEET), FOLDER, TASKLIB)


def test_a_stored_checkpoint_is_no_data_set_to_its_task() -> None:
    data = (TaskData("digits", 3, "5" * 64), TaskData("x", 40, "6" * 64, is_checkpoint=True))
    context = replace(CONTEXT, data_root="/cache")
    found = environment_of(order("x", data=data), context, FOLDER, "/c")
    paths = {name: path for name, path in found.items() if path.startswith("/cache")}
    assert paths == {
        "WATTLINE_DATA_DIGITS": f"/cache/{'5' * 64}",
        "WATTLINE_STORED_CHECKPOINT": f"/cache/{'6' * 64}",
    }


def test_a_process_is_started_as_written() -> None:
    argv = argv_of(order("anything", "--at", "all"), FOLDER, TASKLIB)
    assert argv == ("anything", "--at", "all")


def test_each_program_in_front_of_a_command_knows_all_stop_signals_of_jobs() -> None:
    """Each runs without the others' packages, so each has a list of its own."""
    signals = {signal.Signals[f"SIG{name}"] for name in STOP_SIGNALS}
    for program in (keeper_spec, watcher, enter_container, ray_cluster):
        assert set(program.STOP_SIGNALS) == signals, program.__name__


def test_a_program_with_a_pattern_of_checkpoints_is_watched() -> None:
    watched = order("sh", "train.sh", checkpoints="out/checkpoint-*")
    again = msgspec.structs.replace(watched, has_run_before=True, saved_step=5, from_scratch=True)
    watch = checkpoint_watch(TASKLIB)
    program = ("--", "out/checkpoint-*", "sh", "train.sh")
    assert argv_of(watched, FOLDER, TASKLIB) == (*watch, *program)
    flags = ("--has-run-before", "--saved-step=5")
    assert argv_of(again, FOLDER, TASKLIB) == (*watch, *flags, *program)
    of_site = spec_of(again, CONTEXT, FOLDER, "/c", TASKLIB, site_id="0123")
    assert of_site.argv == (*watch, *flags, "--site=0123", *program)
    environments = [environment_of(one, CONTEXT, FOLDER, "/c") for one in (watched, again)]
    assert [one.get("WATTLINE_FROM_SCRATCH") for one in environments] == [None, "1"]
    stopped = spec_of(order("x", stop_signal="USR1"), CONTEXT, FOLDER, "/c", TASKLIB)
    assert (stopped.stop_signal, "stop_signal" in stopped.to_json(5)) == (signal.SIGUSR1, False)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (("python", "train.py", "--lr", "1"), ("python", *RUN, "train.py", "--lr", "1")),
        (("/v/bin/python3.11", "-u", "t.py"), ("/v/bin/python3.11", "-u", *RUN, "t.py")),
        (
            ("python3", "-X", "dev", "-m", "pkg.train"),
            ("python3", "-X", "dev", *RUN, "-m", "pkg.train"),
        ),
        (("train.py", "-m"), ("python3", *RUN, "train.py", "-m")),
    ],
)
def test_torchrun_takes_over_a_python_command(
    command: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    assert torchrun(*command) == expected


@pytest.mark.parametrize(
    "command", [("bash", "x.sh"), ("python",), ("python", "-c", "1"), ("pythonic",)]
)
def test_torchrun_refuses_what_it_cannot_start(command: tuple[str, ...]) -> None:
    with pytest.raises(NotLaunchable, match="torchrun"):
        torchrun(*command)


def test_the_bridge_is_for_services_only() -> None:
    argv = argv_of(order("wattline-bridge", "--", "true"), FOLDER, TASKLIB)
    assert argv == ("wattline-bridge", "--", "true")


def test_an_http_server_starts_behind_the_agents_own_bridge(tmp_path: Path) -> None:
    """Whatever PYTHONPATH of the job shadows, and whatever Python its PATH has."""
    server = HttpServer(health="/up", methods=("chat", "predict"), capacity=7)
    command = bridge_command(server, ("true", "--port", "{port}"))
    argv = argv_of(order(*command, kind="service"), FOLDER, TASKLIB)
    assert argv[0] == sys.executable
    assert argv[-4:] == ("--", "true", "--port", "{port}")
    (tmp_path / "wattline_runtime.py").write_text("raise SystemExit(9)")
    env = {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "set WATTLINE_WORKER_SECRET_FILE" in done.stderr, "its arguments are right"


def test_torchrun_on_one_node_needs_no_meeting_point() -> None:
    argv = argv_of(order("python", "t.py", launcher="torchrun"), FOLDER, TASKLIB)
    assert argv[:3] == ("python", "/lib/wattline/rendezvous.py", "--standalone")
    assert "--nproc-per-node=2" in argv


def test_ours_wins_over_the_jobs_and_the_jobs_over_defaults(tmp_path: Path) -> None:
    task = order("true", env={"CUDA_VISIBLE_DEVICES": "0,1,2,3", "PYTHONUNBUFFERED": ""})
    env = environment_of(task, CONTEXT, TaskDir(tmp_path, task.ref), str(tmp_path))
    assert env["CUDA_VISIBLE_DEVICES"] == "GPU-aa,GPU-bb"
    assert env["PYTHONUNBUFFERED"] == ""
    assert "WATTLINE_GATEWAY" not in env


def test_a_scheduler_that_sends_one_key_for_all_gateways_is_understood(tmp_path: Path) -> None:
    task = order("true", kind="service", gateways=("tcp://a:1",), gateway_public_key="k")
    env = environment_of(task, CONTEXT, TaskDir(tmp_path, task.ref), str(tmp_path))
    assert (env["WATTLINE_GATEWAY"], env["WATTLINE_GATEWAY_KEY"]) == ("tcp://a:1", "k")


def test_an_attempt_without_gpus_sees_none(tmp_path: Path) -> None:
    task = order("true", gpus=())
    context = CONTEXT.__class__((), "", None, "n")
    env = environment_of(task, context, TaskDir(tmp_path, task.ref), str(tmp_path))
    assert env["CUDA_VISIBLE_DEVICES"] == ""


@pytest.mark.parametrize("index", [None, 0, 7])
def test_only_a_task_of_an_array_has_an_index(index: int | None, tmp_path: Path) -> None:
    task = order("true", array_index=index)
    env = environment_of(task, CONTEXT, TaskDir(tmp_path, task.ref), str(tmp_path))
    assert env.get("WATTLINE_ARRAY_INDEX") == (None if index is None else str(index))


def test_a_task_knows_the_size_of_its_gang_and_its_part_of_the_batch(tmp_path: Path) -> None:
    task = order("x", nodes=3, node_rank=2, processes=12, global_batch_size=480)
    env = environment_of(task, CONTEXT, TaskDir(tmp_path, task.ref), str(tmp_path))
    names = ("NODES", "NODE_RANK", "WORLD_SIZE", "GLOBAL_BATCH_SIZE", "LOCAL_BATCH_SIZE")
    assert [env[f"WATTLINE_{name}"] for name in names] == ["3", "2", "12", "480", "40"]
    task = order("x", nodes=3, node_rank=2, processes=12)
    env = environment_of(task, CONTEXT, TaskDir(tmp_path, task.ref), str(tmp_path))
    assert "WATTLINE_LOCAL_BATCH_SIZE" not in env


@pytest.mark.parametrize(
    ("launcher", "cpus", "env", "threads"),
    [
        ("process", 8, {}, "8"),
        ("torchrun", 8, {}, "4"),
        ("torchrun", 1, {}, "1"),
        ("torchrun", 8, {"OMP_NUM_THREADS": "3"}, "3"),
        ("torchrun", 0, {}, None),
    ],
)
def test_a_rank_computes_on_its_part_of_the_cpus(
    launcher: Launcher, cpus: int, env: dict[str, str], threads: str | None, tmp_path: Path
) -> None:
    task = order("x", launcher=launcher, cpus=cpus, env=env, grace_s=90.5)
    found = environment_of(task, CONTEXT, TaskDir(tmp_path, task.ref), str(tmp_path))
    assert found.get("OMP_NUM_THREADS") == threads
    patience = "91" if launcher == "torchrun" else None
    assert found.get(STOP_PATIENCE) == patience, "torchrun kills no rank that may still save"


def test_a_relative_workdir_is_refused(tmp_path: Path) -> None:
    task = order("true", workdir="here")
    with pytest.raises(NotLaunchable, match="absolute"):
        spec_of(task, CONTEXT, TaskDir(tmp_path, task.ref), str(tmp_path), tmp_path)


@pytest.mark.parametrize("how", LAUNCHERS)
def test_every_launcher_passes_the_directory_of_secrets(how: Launcher) -> None:
    uses = {"KEY": SecretUse("wandb", env=True), "FILE": SecretUse("deploy")}
    task = order("python", "train.py", launcher=how, image="i", secrets=uses)
    spec = spec_of(task, CONTEXT, FOLDER, "/c", TASKLIB, secrets="/run/s/1.0.1")
    assert spec.env["WATTLINE_SECRETS_DIR"] == "/run/s/1.0.1"
    assert spec.env_files == {"KEY": "/run/s/1.0.1/KEY"}
    assert (spec.rlimits["core"], "KEY" in spec.env) == (1, False)
    is_mounted = "/run/s/1.0.1:ro" in " ".join(spec.argv)
    assert is_mounted is (how == "container")
    older = keeper_spec.SECRETS_PROTOCOL - 1
    assert "env_files" not in spec.to_json(older)


def test_names_of_attempts_go_both_ways() -> None:
    assert ref_of(key_of(ref(12, 345, 6))) == ref(12, 345, 6)


def report(**values: object) -> str:
    return json.dumps({"unix_s": 1.0, "metrics": values}) + "\n"


def test_the_newest_value_of_each_metric_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    tail = MetricsTail(str(path))
    tail.poll()
    assert tail.latest == {}
    path.write_text(report(loss=2.0, step=1) + report(loss=1.5))
    tail.poll()
    assert tail.latest == {"loss": 1.5, "step": 1.0}
    with path.open("a") as file:
        half = report(loss=1.0)
        file.write(half[:10])
        file.flush()
        tail.poll()
        assert tail.latest["loss"] == 1.5
        file.write(half[10:])
    tail.poll()
    assert tail.latest["loss"] == 1.0
    path.write_text(report(loss=9.0))
    tail.poll()
    assert tail.latest["loss"] == 9.0


def test_what_is_no_report_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('junk\n[1]\n{"metrics": 3}\n{"a": 1}\n' + report(a="x", b=True, c=None, d=4))
    tail = MetricsTail(str(path))
    tail.poll()
    assert tail.latest == {"d": 4.0}


@pytest.mark.parametrize(
    "line",
    [
        '{"metrics": ' + "[" * 100_000,
        '{"metrics": {"x": 1' + "0" * 400 + "}}",
        '{"metrics": {"\\ud800": 1}}',
        '{"metrics": {"\\u001b[2J": 1}}',
    ],
    ids=["deep", "huge", "half a character", "control"],
)
def test_no_line_of_a_task_upsets_the_agent(tmp_path: Path, line: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(f"{line}\n" + report(d=4))
    tail = MetricsTail(str(path))
    tail.poll()
    assert tail.latest == {"d": 4.0}


def test_a_task_that_holds_its_file_shut_does_not_hold_up_the_agent(tmp_path: Path) -> None:
    """With a lease on the file, whose holder the kernel asks for 45 s before it lets others in."""
    path = tmp_path / "metrics.jsonl"
    path.write_text(report(d=4))
    text = (
        "import fcntl, os, signal, sys; signal.signal(signal.SIGIO, signal.SIG_IGN); "
        "file = os.open(sys.argv[1], os.O_WRONLY); "
        "fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK); print(flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", text, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.read(1) == b"\n"
        tail = MetricsTail(str(path))
        tail.poll()
        assert tail.latest == {}
        holder.communicate()
    tail.poll()
    assert tail.latest == {"d": 4.0}


def test_metrics_are_bounded_in_number_and_in_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    many = report(**{f"m{i}": i for i in range(MAX_METRICS + 10)})
    path.write_text(report(early=1.0) + "x" * 2 * MAX_BYTES_PER_LOOK + "\n" + many)
    tail = MetricsTail(str(path))
    tail.poll()
    assert "early" not in tail.latest
    assert len(tail.latest) == MAX_METRICS


@pytest.mark.parametrize(
    ("asked", "host", "expected"),
    [
        ("", "10.0.0.1", "eth0"),
        ("", "127.0.0.1", None),
        ("ib0", "10.0.0.1", "ib0"),
        ("ib0", "127.0.0.1", "ib0"),
    ],
)
def test_a_gang_meets_on_the_interface_of_its_job_or_on_the_way_to_the_scheduler(
    asked: str, host: str, expected: str | None, tmp_path: Path
) -> None:
    meet = Rendezvous(host, 29500, 1, 2, 4)
    task = order("python", "t.py", launcher="torchrun", rendezvous=meet, interface=asked)
    folder = TaskDir(tmp_path, task.ref)
    env = environment_of(task, CONTEXT, folder, "/c", interface="eth0")
    assert env.get("GLOO_SOCKET_IFNAME") == expected
    assert env.get("NCCL_SOCKET_IFNAME") == (expected and f"={expected}")
    own = msgspec.structs.replace(task, env={"GLOO_SOCKET_IFNAME": "mine"})
    assert environment_of(own, CONTEXT, folder, "/c")["GLOO_SOCKET_IFNAME"] == "mine"


def test_the_containers_of_a_gang_know_where_to_meet(tmp_path: Path) -> None:
    task = order("sh", "train.sh", launcher="container", image="a", rendezvous=MEET)
    folder = TaskDir(tmp_path, task.ref)
    env = environment_of(task, CONTEXT, folder, "/c", interface="eth0")
    names = ("MASTER_ADDR", "MASTER_PORT", "GLOO_SOCKET_IFNAME")
    assert [env.get(name) for name in names] == ["10.0.0.1", "29500", "eth0"]
    alone = msgspec.structs.replace(task, rendezvous=None)
    env = environment_of(alone, CONTEXT, folder, "/c", interface="eth0")
    assert [env.get(name) for name in names] == [None] * 3


def test_the_way_to_a_scheduler_on_this_host_is_no_interface_for_others() -> None:
    assert interface_towards("tcp://127.0.0.1:7701") == ""
    assert address_towards("tcp://[::1]:7701") in {"", "::1"}, "a host may have no IPv6"
    assert interface_towards("tcp://192.0.2.1:7701") in {"", *psutil.net_if_addrs()}


def test_ray_starts_in_the_interpreter_of_the_command_with_what_the_task_was_given() -> None:
    asked = order(
        "python3.12", "sweep.py", launcher="ray", rendezvous=MEET, cpus=8, memory_bytes=1000
    )
    interpreter, launcher, plan, *command = argv_of(asked, FOLDER, TASKLIB)
    assert (interpreter, launcher) == ("python3.12", "/lib/wattline/ray_cluster.py")
    assert command == ["python3.12", "sweep.py"]
    assert json.loads(plan) == {
        "host": "10.0.0.1",
        "port": 29500,
        "node_rank": 1,
        "nodes": 2,
        "gpus": 2,
        "cpus": 8,
        "memory_bytes": 1000,
    }
    assert argv_of(order("sweep", launcher="ray"), FOLDER, TASKLIB)[0] == "python3"
