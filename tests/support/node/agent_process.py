"""A real agent process on a simulated node, with a keeper of its own; nothing is left behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.node.simnode import DEADLINE_S, wait_until
from wattline_sim.node import NodeDir

KEEPER_PID = "keeper.pid"


class AgentProcess:
    """Starts, kills and restarts one agent."""

    def __init__(self, node: NodeDir, bundle: Path, state_dir: Path, *options: str) -> None:
        self.node = node
        self.state_dir = state_dir
        self._command = [
            sys.executable,
            "-m",
            "wattline_agent",
            "--bundle",
            str(bundle),
            "--state-dir",
            str(state_dir),
            "--sysfs-root",
            str(node.sysfs),
            "--nvml-lib",
            str(node.library),
            "--json",
            *options,
        ]
        self.log = state_dir.with_suffix(".log")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> subprocess.Popen[bytes]:
        """Run it; its environment makes tasks visible to the simulated node."""
        env = {**os.environ, **self.node.env()}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self._command, env=env, stderr=log)
        return self.process

    def kill(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(DEADLINE_S)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(DEADLINE_S)

    def ended(self) -> int:
        """Wait for it to end by itself; the exit code."""
        assert self.process is not None
        return self.process.wait(DEADLINE_S)

    def logged(self) -> str:
        """Its log so far."""
        return self.log.read_text()

    def clean_up(self) -> None:
        """End agent and keeper, and with the keeper all tasks."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(DEADLINE_S)
        pid_file = self.state_dir / KEEPER_PID
        if pid_file.exists():
            end(int(pid_file.read_text()))


def end(pid: int) -> None:
    """SIGTERM a process that is not our child, and wait until it is gone."""
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    wait_until(lambda: not is_alive(pid), f"end of process {pid}")


def is_alive(pid: int) -> bool:
    """Runs, and is no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


@contextmanager
def agent_on(node: NodeDir, bundle: Path, state_dir: Path, *options: str) -> Iterator[AgentProcess]:
    """A running agent for a block."""
    agent = AgentProcess(node, bundle, state_dir, *options)
    try:
        agent.start()
        yield agent
    finally:
        agent.clean_up()
