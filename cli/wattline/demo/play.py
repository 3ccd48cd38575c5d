"""A demo as it is played: its programs, its steps, its end, and what it reports."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import msgspec

from wattline.client import Client, WattlineError
from wattline.demo import layout
from wattline.demo.findings import Outcome
from wattline.demo.processes import ProgramEnded
from wattline.demo.stage import CommandFailed, Stage, build_stage
from wattline.demo.steps import Pace, StepFailed
from wattline.demo.watcher import Watcher
from wattline_protocol.text.wording import counted

if TYPE_CHECKING:
    from rich.console import RenderableType

EXPECTED = (StepFailed, CommandFailed, ProgramEnded, WattlineError)
"""Errors that may occur in a run; they are reported, and the rest is shown anyway."""


class Report(msgspec.Struct, frozen=True):
    """What `--json` writes."""

    ok: bool


class Demo(ABC):
    """One run. `play` may run in a thread; `close` cleans up."""

    plan: ClassVar[layout.Plan]
    outcome: Outcome

    def __init__(self, root: Path, pace: Pace) -> None:
        self.pace = pace
        self.stage: Stage = build_stage(root, self.plan)
        self.watcher: Watcher | None = None

    def open(self) -> None:
        """Start every program of the site."""
        nodes = counted(len(self.plan.nodes), "node")
        self.pace.say(f"Starting a site of {nodes} in {self.stage.root}.")
        self.pace.say(self.stage.runs_as.text)
        self.stage.start_physics()
        self.stage.start_scheduler()
        for node in self.plan.nodes:
            self.stage.start_agent(node)
        self.stage.start_gateway()
        self.watcher = Watcher(self.client())

    def client(self) -> Client:
        """A new client of the site, as its operator."""
        return Client(self.stage.bundle(layout.OPERATOR))

    def play(self) -> None:
        """Run the steps to their end, or to the first that fails."""
        with self.client() as client:
            try:
                self.steps(client)
            except EXPECTED as error:
                self.outcome.trouble.append(str(error))
            try:
                self.gather(client)
            except EXPECTED as error:
                text = f"the jobs could not be read at the end: {error}"
                self.outcome.trouble.append(text)

    def close(self) -> None:
        """Stop every process; any left over is a finding."""
        if self.watcher is not None:
            self.watcher.stop()
        self.outcome.leftovers = self.stage.processes.stop_all()
        self.outcome.took_s = self.pace.elapsed_s

    def watching(self) -> Watcher:
        """What watches the site since it was opened."""
        if self.watcher is None:
            raise RuntimeError("open the stage before playing on it")
        return self.watcher

    @abstractmethod
    def steps(self, client: Client) -> None:
        """All steps. Raises one of `EXPECTED` at the first that fails."""

    @abstractmethod
    def gather(self, client: Client) -> None:
        """Fetch what is reported of the jobs, whatever failed."""

    @abstractmethod
    def judged(self) -> "tuple[Report, RenderableType]":
        """The report, and the same for display; after `close`."""
