"""Limits of a task that shares its GPU: in its environment, and with its MPS daemon."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from support.node.keepers import order
from wattline_agent.core.ports import LaunchContext
from wattline_agent.executor.launch import environment_of
from wattline_agent.executor.layout import TaskDir
from wattline_agent.executor.mps import DAEMON, PID_FILE, PIPES_VARIABLE, find_pipes
from wattline_agent.keeper.mounts import NotLocal
from wattline_protocol.ids import GpuIndex
from wattline_protocol.wire.task_order import TaskOrder

UID = os.getuid()
HALF = order("true", gpus=(GpuIndex(0),), gpu_share_permille=500)
CONTEXT = LaunchContext(("GPU-aa",), "", None, "n", gpu_memory_bytes=(40 << 30) + 7)


def freely(_: str) -> None:
    """Nothing hangs."""


def pipes_for(
    task: TaskOrder,
    environ: dict[str, str],
    uid: int | None,
    proc: Path,
    touch: Callable[[str], None] = freely,
) -> str:
    return find_pipes(task, environ, uid, touch, proc)


def daemon(root: Path, *, name: str = DAEMON) -> tuple[Path, Path]:
    """A pipe directory and a /proc in which its daemon, this user's, is alive."""
    pipes, proc = root / "pipes", root / "proc"
    (proc / "42").mkdir(parents=True)
    (proc / "42" / "comm").write_text(f"{name}\n")
    pipes.mkdir()
    (pipes / PID_FILE).write_text("42\n")
    return pipes, proc


def test_the_daemon_of_the_agents_environment_serves_its_user(tmp_path: Path) -> None:
    pipes, proc = daemon(tmp_path)
    environ = {PIPES_VARIABLE: str(pipes)}
    assert pipes_for(HALF, environ, UID, proc) == str(pipes)


def test_a_job_may_name_its_own_daemon(tmp_path: Path) -> None:
    pipes, proc = daemon(tmp_path)
    job = order("true", gpu_share_permille=500, env={PIPES_VARIABLE: str(pipes)})
    assert pipes_for(job, {PIPES_VARIABLE: str(tmp_path)}, UID, proc) == str(pipes)


def test_a_task_with_a_whole_gpu_is_not_limited(tmp_path: Path) -> None:
    pipes, proc = daemon(tmp_path)
    assert pipes_for(order("true"), {PIPES_VARIABLE: str(pipes)}, UID, proc) == ""


@pytest.mark.parametrize("what", ["no daemon", "ended", "another program", "nonsense"])
def test_without_a_living_daemon_there_is_none(tmp_path: Path, what: str) -> None:
    pipes, proc = daemon(tmp_path, name="sleep" if what == "another program" else DAEMON)
    if what == "no daemon":
        (pipes / PID_FILE).unlink()
    if what == "nonsense":
        (pipes / PID_FILE).write_text("none")
    if what == "ended":
        (pipes / PID_FILE).write_text("43")
    assert pipes_for(HALF, {PIPES_VARIABLE: str(pipes)}, UID, proc) == ""


@pytest.mark.parametrize("what", ["pipe", "link"])
def test_what_a_job_names_neither_holds_the_agent_up_nor_is_followed(
    tmp_path: Path, what: str
) -> None:
    pipes, proc = daemon(tmp_path)
    file = pipes / PID_FILE
    file.rename(tmp_path / "pid")
    if what == "pipe":
        os.mkfifo(file)
    else:
        file.symlink_to(tmp_path / "pid")
    assert pipes_for(HALF, {PIPES_VARIABLE: str(pipes)}, UID, proc) == ""


def test_nothing_of_a_file_system_that_may_hang_is_touched(tmp_path: Path) -> None:
    """Its answer would keep the agent from its caps; so would a name that begins nowhere."""
    pipes, proc = daemon(tmp_path)
    asked: list[str] = []

    def away(path: str) -> None:
        asked.append(path)
        raise NotLocal(path)

    assert pipes_for(HALF, {PIPES_VARIABLE: str(pipes)}, UID, proc, away) == ""
    assert asked == [str(pipes)]
    for name in (os.path.relpath(pipes), "x"):
        assert pipes_for(HALF, {PIPES_VARIABLE: name}, UID, proc) == ""


def test_a_daemon_of_another_user_does_not_serve(tmp_path: Path) -> None:
    pipes, proc = daemon(tmp_path)
    for other in (UID + 1, None):
        found = pipes_for(HALF, {PIPES_VARIABLE: str(pipes)}, other, proc)
        assert found == (str(pipes) if UID == 0 else "")
    (pipes / PID_FILE).unlink()
    assert pipes_for(HALF, {PIPES_VARIABLE: str(pipes)}, None, proc) == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
@pytest.mark.parametrize("what", ["directory", "link", "file"])
def test_pipes_that_another_user_could_have_laid_out_are_not_used(
    tmp_path: Path, what: str
) -> None:
    """Where everybody may make a directory somebody can be there before the daemon."""
    pipes, proc = daemon(tmp_path)
    named = pipes
    if what == "link":
        named = tmp_path / "named"
        named.symlink_to(pipes)
    environ = {PIPES_VARIABLE: str(named)}
    assert pipes_for(HALF, environ, None, proc) == str(named)
    os.chown(pipes / PID_FILE if what == "file" else named, 12345, 12345, follow_symlinks=False)
    assert pipes_for(HALF, environ, None, proc) == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a process's files away")
def test_pipes_that_root_made_for_a_users_daemon_are_that_users(tmp_path: Path) -> None:
    pipes, proc = daemon(tmp_path)
    os.chown(proc / "42", 12345, 12345)
    environ = {PIPES_VARIABLE: str(pipes)}
    assert pipes_for(HALF, environ, 12345, proc) == str(pipes)
    assert pipes_for(HALF, environ, None, proc) == ""


def environment(mps_pipes: str = "", env: dict[str, str] | None = None) -> dict[str, str]:
    task = order("true", gpus=(GpuIndex(0),), gpu_share_permille=333, env=env or {})
    return environment_of(task, CONTEXT, TaskDir(Path("/x"), task.ref), "/x", mps_pipes)


def test_a_task_is_told_its_share_and_memory() -> None:
    env = environment()
    assert env["CUDA_VISIBLE_DEVICES"] == "GPU-aa"
    assert env["WATTLINE_GPU_SHARE"] == "0.333"
    assert env["WATTLINE_GPU_MEMORY_BYTES"] == str((40 << 30) + 7)
    assert not any(name.startswith("CUDA_MPS") for name in env)


def test_a_daemon_is_told_the_limits_in_its_own_words() -> None:
    env = environment("/run/mps", env={"CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "100"})
    assert env["CUDA_MPS_PIPE_DIRECTORY"] == "/run/mps"
    assert env["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] == "34"
    assert env["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] == f"0={40 << 10}M"


def test_without_a_gpu_there_is_no_share() -> None:
    task = order("true", gpus=())
    env = environment_of(task, LaunchContext((), "", None), TaskDir(Path("/x"), task.ref), "/")
    assert (env["WATTLINE_GPU_SHARE"], env["WATTLINE_GPU_MEMORY_BYTES"]) == ("0", "0")
