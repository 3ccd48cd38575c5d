"""A site made and run by hand, as the README's tour does it: every step a `wattline` command."""

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import psutil

from support.programs.ports import free_ports
from support.programs.verbs import ASKING, verbs
from wattline import Client
from wattline.client.errors import Unreachable
from wattline_protocol.trust.keys import load_bundle
from wattline_protocol.views.site_views import JobView

COMMAND_S = 60.0
PATIENCE_S = 60.0
LOOK_S = 0.05

Done = subprocess.CompletedProcess[str]


class CliSite:
    """Scheduler, simulated nodes and agents as processes; ended, with all below them, at exit."""

    def __init__(
        self,
        folder: Path,
        nodes: tuple[str, ...] = ("n1",),
        edit: Callable[[str], str] = lambda site_file: site_file,
        within: Mapping[str, tuple[str, ...]] | None = None,
        run_as: str = 'others = "keeper"',
    ) -> None:
        """`run_as`: that table of the site file, by default as the keeper, root too; empty = what
        `init` wrote. `edit` changes the site file before the scheduler reads it. `within` has what
        is put before the commands of "scheduler" and "agent": see `small_disk`."""
        self.folder, self.site, self.nodes = folder, folder / "site", nodes
        self.environ = {**os.environ, "NO_COLOR": "1"}
        self._within = within or {}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._heard: set[str] = set()
        """Nodes whose agents were started."""
        self.agent_options: tuple[str, ...] = ()
        """Further options of agents."""
        self.is_left_over = False
        """A test failed half way: see `aftermath.settle`."""
        flags = [flag for node in nodes for flag in ("--node", node)]
        port = str(free_ports(4))
        if run_as:  # and no account is made for jobs
            flags += ["--run-as", "root"]
        made = self.wattline("init", str(self.site), *flags, "--port", port, "--json")
        self.environ["WATTLINE_BUNDLE"] = json.loads(made)["admin_bundle"]
        self.client = Client(load_bundle(self.bundle("admin")))
        """For looking often: a verb costs half a second."""
        file = self.site / "site.toml"
        text = file.read_text()
        if run_as:
            text = re.sub(r"(?m)^\[run_as\]\n.*\n.*\n", f"[run_as]\n{run_as}\n", text)
        file.write_text(edit(text))
        with ExitStack() as stack:
            stack.push(self)
            self.start_scheduler()
            stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:  # nobody else can tell any more
            error.add_note("\n".join(f"{log}:\n{text}" for log, text in self.tails()))
        self.client.close()
        for name in reversed(list(self._running)):
            self.stop(name)
        for process in self.keepers():
            with suppress(psutil.NoSuchProcess):  # a keeper that is idle ends with its agent
                process.kill()
                process.wait(timeout=PATIENCE_S)

    # --- programs -------------------------------------------------------------------------

    def start(
        self,
        name: str,
        *arguments: str,
        within: tuple[str, ...] = (),
        pass_fds: tuple[int, ...] = (),
        **environ: str,
    ) -> int:
        """Start a `wattline` program that stays, by way of `within`; its process id."""
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [*within, *self.command(*arguments)],
                env={**self.environ, **environ},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=pass_fds,
            )
        self._running[name] = process
        return process.pid

    def stop(self, name: str, number: signal.Signals = signal.SIGTERM) -> None:
        """Signal a program and wait for its end."""
        process = self._running.pop(name)
        process.send_signal(number)
        process.wait(timeout=PATIENCE_S)

    def revive(self) -> None:
        """The scheduler and the agents run, and nothing else but simulated hardware."""
        lasting = {"scheduler", *(f"agent-{node}" for node in self._heard)}
        for name, process in list(self._running.items()):
            if process.poll() is not None:
                del self._running[name]
            elif name not in lasting and not name.startswith("sim-"):
                self.stop(name, signal.SIGKILL)
        if "scheduler" not in self._running:
            self.start_scheduler()
        for node in self._heard:
            if f"agent-{node}" not in self._running:
                self.start_agent(node)

    def running(self, name: str) -> subprocess.Popen[bytes]:
        """The process of a program that was started."""
        return self._running[name]

    def ended(self, name: str) -> int:
        """Wait for a program to end by itself; its exit status."""
        return self._running.pop(name).wait(timeout=PATIENCE_S)

    def start_scheduler(self, *options: str) -> None:
        """Run the scheduler and wait until it answers."""
        self.begin_scheduler(*options)
        self.until(self._is_answered, "the scheduler answers")

    def begin_scheduler(self, *options: str) -> int:
        """Run the scheduler; its process id."""
        within = self._within.get("scheduler", ())
        where = ("--site", str(self.site))
        return self.start("scheduler", "scheduler", *where, *options, within=within)

    def start_node(self, node: str = "n1", gpus: int = 8, mig: tuple[str, ...] = ()) -> int:
        """Simulate its hardware, enroll it, run its agent, and wait until it is heard; the agent's
        process id."""
        hardware = self.hardware(node)
        made = ["--dir", str(hardware), "--name", node, "--gpus", str(gpus)]
        made += [word for one in mig for word in ("--mig", one)]
        self.start(f"sim-{node}", "sim", "node", *made)
        self.until((hardware / "node.json").exists, f"the hardware of {node}")
        if not self.bundle(node).exists():
            self.wattline("enroll", node, "--role", "agent", "--site", str(self.site))
        return self.start_agent(node)

    def start_agent(self, node: str = "n1") -> int:
        """Run the agent of a simulated node and wait until it is heard; its process id."""
        pid = self.begin_agent(node)
        self.until(lambda: self.client.node(node).state == "ok", f"{node} is heard")
        return pid

    def begin_agent(self, node: str = "n1") -> int:
        """Run the agent of a simulated node; its process id."""
        self._heard.add(node)
        hardware = self.hardware(node)
        where = ["--bundle", str(self.bundle(node)), "--state-dir", str(self.state(node))]
        sensors = ["--sysfs-root", str(hardware / "sysfs")]
        within, library = self._within.get("agent", ()), str(hardware)
        return self.start(
            f"agent-{node}",
            "agent",
            *where,
            *sensors,
            *self.agent_options,
            within=within,
            LD_LIBRARY_PATH=library,
        )

    def hardware(self, node: str = "n1") -> Path:
        """The folder of its simulated hardware."""
        return self.folder / f"hw-{node}"

    def bundle(self, name: str) -> Path:
        """A member's join bundle."""
        return self.site / "bundles" / f"{name}.toml"

    def state(self, node: str) -> Path:
        """The agent's state directory."""
        return self.folder / f"agent-{node}"

    # --- commands -------------------------------------------------------------------------

    def command(self, *arguments: str) -> list[str]:
        """The command line of a verb."""
        return [sys.executable, "-m", "wattline", *arguments]

    def run(self, *arguments: str) -> Done:
        """A verb as the site's admin, whatever its exit code."""
        if arguments and arguments[0] in ASKING:
            return verbs().run(arguments, self.environ, COMMAND_S)
        return subprocess.run(
            self.command(*arguments),
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )

    def wattline(self, *arguments: str) -> str:
        """What a verb prints; it must succeed."""
        done = self.run(*arguments)
        assert done.returncode == 0, f"wattline {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def json(self, *arguments: str) -> Any:
        """What a verb prints with --json."""
        return json.loads(self.wattline(*arguments, "--json"))

    def in_terminal(
        self, *arguments: str, until: tuple[bytes, ...], then: bytes | signal.Signals
    ) -> tuple[bytes, int]:
        """A verb on a terminal of 100 x 30: what it shows, and its exit code.

        Once all of `until` was seen, the keys `then` are pressed, or the signal is sent; it must
        end by itself after that.
        """
        ours, theirs = os.openpty()
        termios.tcsetwinsize(theirs, (30, 100))
        environ = {**self.environ, "TERM": "xterm-256color"}
        process = subprocess.Popen(
            self.command(*arguments), env=environ, stdin=theirs, stdout=theirs, stderr=theirs
        )
        os.close(theirs)
        shown, is_pressed, until_s = b"", False, time.monotonic() + PATIENCE_S
        with os.fdopen(ours, "r+b", buffering=0) as terminal:
            while process.poll() is None:
                assert time.monotonic() < until_s, f"never seen or left: {shown[-500:]!r}"
                if select.select([terminal], [], [], LOOK_S)[0]:
                    with contextlib.suppress(OSError):  # the other side was closed meanwhile
                        shown += terminal.read(65536)
                if not is_pressed and all(text in shown for text in until):
                    if isinstance(then, bytes):
                        terminal.write(then)
                    else:
                        process.send_signal(then)
                    is_pressed = True
        return shown, process.returncode

    def submit(self, *arguments: str) -> str:
        """Submit a job; its number."""
        return self.wattline("submit", "--quiet", *arguments).strip()

    def until(
        self,
        holds: Callable[[], object],
        what: str | Callable[[], str],
        patience_s: float = PATIENCE_S,
    ) -> None:
        """Wait until `holds`; fail with `what`, the awaited event, after `patience_s` seconds."""
        until_s = time.monotonic() + patience_s
        while not holds():
            for name, process in self._running.items():
                assert process.poll() is None, f"{name} ended: {self.tail(name)}"
            if time.monotonic() >= until_s:
                raise AssertionError(f"never seen: {what if isinstance(what, str) else what()}")
            time.sleep(LOOK_S)

    def until_state(self, job: str, state: str, patience_s: float = PATIENCE_S) -> Any:
        """Wait until a job is in `state`; the job as `job --json` shows it then."""
        number = int(job)
        found = self.client.job(number)

        def is_so() -> bool:
            nonlocal found
            found = self.client.job(number)
            return found.state == state

        self.until(is_so, lambda: f"job {job} {state}; it is {_told(found)}", patience_s)
        return json.loads(msgspec.json.encode(found))

    def until_shown(self, text: str, *arguments: str) -> str:
        """Wait until a verb shows `text`; all that it shows then.

        For whatever depends on the moment: a node that greets anew, or is late with a beat, is
        for that time no place for work, and the scheduler says so.
        """
        return self.until_all_shown((text,), *arguments)

    def until_all_shown(self, texts: Iterable[str], *arguments: str) -> str:
        """The same for several texts at a time."""
        shown = ""

        def is_shown() -> bool:
            nonlocal shown
            shown = self.wattline(*arguments)
            return all(text in shown for text in texts)

        verb = " ".join(arguments)
        self.until(is_shown, lambda: f"{texts!r} in what `wattline {verb}` shows:\n{shown}")
        return shown

    def until_json(self, holds: Callable[[Any], object], *arguments: str) -> Any:
        """Wait until `holds` of what a verb prints with --json; that."""
        found: Any = None

        def is_so() -> object:
            nonlocal found
            found = self.json(*arguments)
            return holds(found)

        verb = " ".join(arguments)
        self.until(is_so, lambda: f"what is wanted of `wattline {verb} --json`: {found}")
        return found

    def tail(self, name: str, lines: int = 10) -> str:
        """The last lines of a program's output."""
        text = (self.folder / f"{name}.log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def tails(self) -> list[tuple[str, str]]:
        """Every program, and the last lines of its output."""
        names = sorted(log.stem for log in self.folder.glob("*.log"))
        return [(f"end of the log of {name}", self.tail(name, 25)) for name in names]

    def _is_answered(self) -> bool:
        try:
            self.client.power()
        except Unreachable:
            return False
        return True

    def keepers(self) -> list[psutil.Process]:
        """Keepers outlive their agents on purpose; those of this site are found by their folder."""
        states = {str(self.state(node)) for node in self.nodes}
        found = []
        for process in psutil.process_iter(["cmdline"]):
            line = process.info["cmdline"] or []
            if "wattline_agent.keeper" in line and states & set(line):
                found.append(process)
        return found


def _told(job: JobView) -> str:
    tries = ", ".join(f"{one.attempt} {one.state}" for one in job.attempts)
    return f"{job.state} ({job.reason or 'no reason'}; attempts: {tries or 'none'})"
