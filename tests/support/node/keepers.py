"""Real keepers for tests: started in a folder, asked through the agent's own runner."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.node.simnode import DEADLINE_S, wait_until
from wattline_agent.core.ports import KeeperAbsent, LaunchContext, TaskSeen
from wattline_agent.executor.runner import KeeperRunner
from wattline_agent.keeper.life import START_PATIENCE_S
from wattline_agent.keeper.processes import tree
from wattline_protocol.ids import AttemptNo, GpuIndex, JobId, TaskNo, TaskRef
from wattline_protocol.wire.task_order import TaskOrder

PATIENT = """
import runpy
from wattline_agent.keeper import life

life.START_PATIENCE_S = {patience_s}
runpy.run_module("wattline_agent.keeper", run_name="__main__")
"""
CONTEXT = LaunchContext(("GPU-aa", "GPU-bb"), "", None, "node-1")


def ref(job: int = 1, task: int = 0, attempt: int = 1) -> TaskRef:
    """Name of an attempt."""
    return TaskRef(JobId(job), TaskNo(task), AttemptNo(attempt))


def order(*command: str, of: TaskRef | None = None, **more: object) -> TaskOrder:
    """An order for a plain process on two GPUs."""
    values: dict[str, object] = {
        "ref": of or ref(),
        "job_name": "try",
        "owner": "ada",
        "kind": "batch",
        "command": command,
        "env": {},
        "gpus": (GpuIndex(0), GpuIndex(1)),
        "launcher": "process",
        **more,
    }
    return TaskOrder(**values)  # type: ignore[arg-type]  # built from overrides


def shell(text: str, of: TaskRef | None = None, **more: object) -> TaskOrder:
    """An order that runs `text` in sh."""
    return order("/bin/sh", "-c", text, of=of, **more)


@dataclass
class LiveKeeper:
    """A keeper process and the agent's runner on it."""

    state_dir: Path
    process: subprocess.Popen[bytes]
    runner: KeeperRunner

    def seen(self, of: TaskRef | None = None) -> TaskSeen:
        """The attempt as it is now."""
        return next(seen for seen in self.observe() if seen.ref == (of or ref()))

    def observe(self) -> list[TaskSeen]:
        """All attempts."""
        return self.runner.observe()

    def until(self, phase: str, of: TaskRef | None = None) -> TaskSeen:
        """Wait for a phase."""
        wait_until(lambda: self.seen(of).phase == phase, f"{of or ref()} is {phase}")
        return self.seen(of)

    def until_ended(self, of: TaskRef, deadline_s: float) -> TaskSeen:
        """Wait for the end of something slow."""
        wait_until(lambda: self.seen(of).phase == "ended", f"{of} has ended", deadline_s)
        return self.seen(of)

    def run(self, task: TaskOrder, context: LaunchContext = CONTEXT) -> TaskSeen:
        """Launch and wait for the end."""
        self.runner.launch(task, context)
        return self.until("ended", task.ref)

    def task_dir(self, of: TaskRef | None = None) -> Path:
        """The attempt's directory."""
        name = of or ref()
        return self.state_dir / "tasks" / f"{name.job}.{name.task}.{name.attempt}"

    def beside(self, name: str, of: TaskRef | None = None) -> Path:
        """A file of the attempt."""
        folder = self.task_dir(of)
        return folder.with_name(f"{folder.name}.{name}")

    def log(self, of: TaskRef | None = None) -> str:
        """The whole log, as the runner gives it."""
        return self.runner.read_log(of or ref(), 0, 10**9).data.decode()

    def processes(self, of: TaskRef | None = None) -> set[int]:
        """Living processes anywhere on this host that carry the attempt's marker."""
        marker = tree.marker_of(str(self.task_dir(of)))
        table = tree.all_processes()
        return {p.pid for p in table.values() if not p.is_dead and tree.has_marker(p.pid, marker)}


def connect(state_dir: Path) -> KeeperRunner:
    """A runner, once the keeper answers; one that waits longer for answers than agents do."""
    found: list[KeeperRunner] = []

    def answers() -> bool:
        try:
            found.append(KeeperRunner(state_dir, DEADLINE_S))
        except KeeperAbsent:
            return False
        return True

    wait_until(answers, "the keeper answers")
    return found[0]


def start_keeper(
    state_dir: Path,
    *options: str,
    env: dict[str, str] | None = None,
    inside: Sequence[str] = (),
    patience_s: float = START_PATIENCE_S,
) -> subprocess.Popen[bytes]:
    """A keeper process in a session of its own, as the agent starts it; `inside`: a command that
    executes the one behind it in other surroundings; `patience_s`: how long a start may take."""
    program = ["-m", "wattline_agent.keeper"]
    if patience_s != START_PATIENCE_S:
        program = ["-c", PATIENT.format(patience_s=patience_s)]
    command = [*inside, sys.executable, *program, "--state-dir", str(state_dir)]
    return subprocess.Popen(
        [*command, *options], start_new_session=True, env={**os.environ, **(env or {})}
    )


@contextmanager
def keeper(
    state_dir: Path,
    *options: str,
    env: dict[str, str] | None = None,
    inside: Sequence[str] = (),
    patience_s: float = START_PATIENCE_S,
) -> Iterator[LiveKeeper]:
    """A keeper for a block; it and all its tasks are gone afterwards."""
    process = start_keeper(state_dir, *options, env=env, inside=inside, patience_s=patience_s)
    live = LiveKeeper(state_dir, process, connect(state_dir))
    try:
        yield live
    finally:
        live.runner.close()
        if live.process.poll() is None:
            live.process.send_signal(signal.SIGTERM)
        live.process.wait(30)


def replace_keeper(live: LiveKeeper, *options: str) -> None:
    """Kill the keeper the hard way and start another on the same directory."""
    live.process.kill()
    live.process.wait(10)
    with pytest.raises(KeeperAbsent):
        live.runner.observe()
    live.runner.close()
    live.process = start_keeper(live.state_dir, *options)
    live.runner = connect(live.state_dir)
