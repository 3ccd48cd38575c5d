"""The demo of a burst."""

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from wattline.client import Client
from wattline.demo.burst import plan
from wattline.demo.burst.findings import BurstFindings
from wattline.demo.burst.script import BurstScript
from wattline.demo.play import Demo, Report
from wattline.demo.steps import Pace

if TYPE_CHECKING:
    from rich.console import RenderableType


class Burst(Demo):
    """A service whose load triples beside training."""

    plan = plan.PLAN
    steady_s: ClassVar[float] = 5.0
    burst_s: ClassVar[float] = 60.0
    """How long the load stays low, and high."""

    def __init__(self, root: Path, pace: Pace) -> None:
        super().__init__(root, pace)
        self.outcome = self.findings = BurstFindings()

    def steps(self, client: Client) -> None:
        script = BurstScript(self.stage, client, self.findings, self.pace)
        script.run(self.steady_s, self.burst_s)

    def gather(self, client: Client) -> None:
        """The steps have read it all."""

    def judged(self) -> "tuple[Report, RenderableType]":
        from wattline.demo.burst.report import make_report, render

        report = make_report(self.findings)
        return report, render(report, self.findings.took_s)
