"""Environment of the demo: folders, keys, ports, and the real processes of the site."""

import os
import random
import socket
import subprocess
import sys
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from wattline.acts import site as site_acts
from wattline.demo import layout
from wattline.demo.processes import Processes
from wattline.demo.runs_as import RunsAs, choose, give
from wattline_protocol.site.model import Role
from wattline_protocol.trust.members import init_site_keys
from wattline_sim.node import NodeDir, prepare

COMMAND_S = 60.0
"""Longest a single `wattline` command may take on a busy machine."""


class CommandFailed(Exception):
    """A `wattline` command of the demo was refused; the text has the command and its output."""


PORTS = range(26_000, 32_000)
"""Below the kernel's ephemeral ports: one of those may be taken before it is used."""


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nothing listens on now."""
    free = (port for port in random.sample(PORTS, len(PORTS)) if _is_free(port))
    return list(islice(free, count))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@dataclass(frozen=True, slots=True)
class Stage:
    """A prepared site. Programs are started and killed by name."""

    root: Path
    plan: layout.Plan
    ports: layout.Ports
    nodes: dict[str, NodeDir]
    processes: Processes
    runs_as: RunsAs

    @property
    def site(self) -> Path:
        """The site directory."""
        return self.root / "site"

    @property
    def checkpoints(self) -> Path:
        """Checkpoint directory mounted by every node."""
        return self.root / "checkpoints"

    @property
    def store(self) -> Path:
        """The store of data sets."""
        return self.root / layout.STORE

    @property
    def starts(self) -> Path:
        """Where tasks record their starts."""
        return self.root / "starts.jsonl"

    @property
    def http_address(self) -> str:
        """Where the gateway serves."""
        return f"127.0.0.1:{self.ports.http}"

    def bundle(self, name: str) -> Path:
        """A member's join bundle."""
        return self.site / site_acts.BUNDLES / f"{name}.toml"

    def start_physics(self) -> None:
        """The process that simulates the hardware of all nodes."""
        folders = [part for node in self.nodes.values() for part in ("--dir", str(node.path))]
        command = [sys.executable, "-m", "wattline_sim.node", *folders, "--exit-with-parent"]
        self.processes.start("physics", command)

    def start_scheduler(self) -> None:
        """Also after it was killed: the state directory stays."""
        where = ["--site", str(self.site), "--state-dir", str(self.root / "scheduler")]
        self.processes.start("scheduler", wattline("scheduler", *where))

    def start_gateway(self) -> None:
        """The inference gateway."""
        bundle = str(self.bundle(layout.GATEWAY))
        command = wattline("gateway", "--bundle", bundle, "--site", str(self.site))
        self.processes.start("gateway", command)

    def start_agent(self, node: str) -> int:
        """The agent of one node, on that node's simulated hardware; its process id."""
        folder = self.nodes[node]
        command = wattline(
            "agent",
            "--bundle",
            str(self.bundle(node)),
            "--state-dir",
            str(self.root / "agents" / node),
            "--sysfs-root",
            str(folder.sysfs),
        )
        return self.processes.start(f"agent-{node}", command, folder.env())

    def run(self, *arguments: str) -> str:
        """Run a `wattline` command as an operator types it; returns its output."""
        done = subprocess.run(
            wattline(*arguments),
            cwd=self.root,  # jobs start where they are submitted
            env={**os.environ, "WATTLINE_BUNDLE": str(self.bundle(layout.OPERATOR))},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip()
            raise CommandFailed(
                f"`wattline {' '.join(arguments)}` ended with {done.returncode}: {said}"
            )
        return done.stdout


def wattline(*arguments: str) -> list[str]:
    """The command line of `wattline`, independent of PATH."""
    return [sys.executable, "-m", "wattline", *arguments]


def build_stage(root: Path, plan: layout.Plan) -> Stage:
    """Create the site, its keys, all bundles and the nodes' folders below `root`."""
    ports = layout.Ports(*free_ports(4))
    for folder in ("site", "agents", "checkpoints", "logs", "nodes", layout.STORE):
        (root / folder).mkdir(parents=True)
    nodes = {
        name: prepare(root / "nodes" / name, model=layout.MODEL, gpus=plan.gpus, seed=at, name=name)
        for at, name in enumerate(plan.nodes, start=1)
    }
    # As in an activated environment: tasks find the Python in which torch is installed.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    processes = Processes(root / "logs", {**os.environ, "PATH": path})
    stage = Stage(root, plan, ports, nodes, processes, choose(root, layout.OPERATOR))
    give(stage.runs_as, stage.checkpoints, stage.starts)
    init_site_keys(stage.site)
    text = plan.site_text(ports, stage.checkpoints, stage.runs_as.table)
    (stage.site / site_acts.SITE_FILE).write_text(text, encoding="utf-8")
    members: list[tuple[str, Role]] = [
        (layout.OPERATOR, "operator"),
        (layout.GATEWAY, "gateway"),
        *((node, "agent") for node in plan.nodes),
    ]
    for name, role in members:
        site_acts.enroll(name=name, role=role, site=str(stage.site), out=None)
    return stage
